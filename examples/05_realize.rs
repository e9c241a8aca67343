//! A realize function of your own: which integer operators an operator becomes.
//!
//! The standard functions have no integer form of a subtraction. It can be built from what there is: a table that negates,
//! and a sum. The function sees the float operator between Dequantize and Quantize, and puts integers in its place.
//! Its rule must say first that both operands are to be narrow.
//!
//! Run it with `cargo run --release --example 05_realize`.

use lowbit::data::Dataset;
use lowbit::ir::{Op, Quant, Tensor, Type, text};
use lowbit::quantization::realize::{Outcome, operand, per_sink};
use lowbit::{Config, Model, Quantize, Realizers, Result, Rules};

const MODEL: &str = r#"
graph "difference" {
  input %left: f32[Nx3]
  input %right: f32[Nx3]
  const %w: f32[3x2] = [0.5, -0.25, 1, 0.75, -1, 0.125]
  %d = Sub(%left, %right)
  %y = MatMul(%d, %w)
  output %y
}
"#;

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let rules = Rules::standard().override_op("Sub", |call, cx| {
        let a = cx.simulate_input(call.data()?)?;
        let b = cx.simulate_input(call.operand(1)?)?;
        cx.keep(call, [a, b])
    });
    let realizers = Realizers::standard().override_op("Sub", |g, id, cx| {
        let (a, b) = match (operand::narrow(g, g.node(id).input(0)), operand::narrow(g, g.node(id).input(1))) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(why), _) | (_, Err(why)) => return Ok(Outcome::Float(why)),
        };
        per_sink(g, id, cx, |g, sink, cx| {
            // -(q - z) is (2 z - q) - z: the same scale and zero point, the integers mirrored at it.
            let ty = g.ty(b).clone();
            let q = ty.quant()?;
            let zero = i64::from(q.zero_point[0]);
            let (low, high) = (2 * zero - q.qmax, 2 * zero - q.qmin);
            let mirrored: Vec<i64> = (low..=high).rev().collect();
            let wider = Type { dtype: lowbit::ir::DType::I16, ..ty.clone() };
            let quant = Quant { qmin: low, qmax: high, ..q.clone() };
            let mirror_ty = Type { quant: Some(quant), ..wider };
            let table = Tensor::from_ints(Type::plain(mirror_ty.dtype, vec![mirrored.len()]), &mirrored)?;
            let table = g.add_const("mirror", table);
            let inputs = vec![Some(b), Some(table)];
            let node = g.add_node_before(id, "negated", Op::Table, inputs, &[("negated", mirror_ty)]);
            let negated = g.node(node).outputs[0];
            Ok(Some((Op::QAdd(cx.rescale_to(sink)), vec![a, negated])))
        })
    });

    let model = Model::from(text::parse(MODEL)?).realizers(realizers);
    let noise = Dataset::open("random", &model.inputs(), None)?;
    let config = Config { samples: 64, ..Config::default() };
    let quantized = model.quantize(Quantize::default().rules(rules).config(config).data(&noise))?;

    let operators: Vec<&str> = quantized.integer.nodes().map(|(_, n)| n.op.name()).collect();
    println!("{}", operators.join(", "));
    assert!(operators.contains(&"QAdd") && !operators.contains(&"Sub"));
    assert!(quantized.report.left_float.is_empty(), "{:?}", quantized.report.left_float);
    // Without the function the subtraction stays float, and is listed.
    let plain = Model::from(text::parse(MODEL)?);
    let left = plain.quantize(Quantize::default().data(&noise))?.report.left_float;
    assert_eq!(left[0].op, "Sub");
    Ok(())
}
