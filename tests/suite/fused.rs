//! Layers whose requantization, and the sum behind it, must not leave the registers.

use super::{Build, Case, METHODS, Random};
use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::{Conv, MatMul, Rescale};
use lowbit_ir::{DType, Op, Quant, Tensor, Type};

/// What the names begin with.
pub const FUSED: &str = "fused.";

/// Those that no place in the sample is asked for.
const ROUNDINGS: [Rounding; 5] =
    [Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfAway, Rounding::TowardZero, Rounding::Floor];

/// Input channels a group, groups, output channels, kernel, stride; no kernel is a dense layer.
const LAYERS: [(usize, usize, usize, usize, usize); 9] = [
    (3, 1, 20, 3, 2),
    (24, 1, 70, 1, 1),
    (5, 2, 12, 3, 1),
    (1, 8, 8, 3, 1),
    (1, 16, 16, 3, 2),
    (1, 70, 70, 3, 1),
    (1, 20, 20, 5, 1),
    (70, 1, 17, 1, 1),
    (33, 1, 40, 0, 1),
];

/// Weights of every kind of zero point and multipliers of every method and rounding, by activations of 8 and 16 bits.
pub fn fused(out: &mut Vec<Case>) {
    let weights = [(DType::I8, [0, 0]), (DType::U8, [7, 7]), (DType::U8, [0, 255]), (DType::I8, [-128, 100])];
    let kinds = ROUNDINGS.iter().flat_map(|r| METHODS.map(|m| (*r, m)));
    for (i, (rounding, method)) in kinds.enumerate() {
        for (j, layer) in LAYERS.into_iter().enumerate() {
            let weights = weights[(i + j) % weights.len()];
            out.push(layer_of(DType::U8, layer, weights, Rescale { method, rounding }, (i + j) % 3 == 0));
            out.push(layer_of(DType::U16, layer, (DType::I8, [0, 0]), Rescale { method, rounding }, false));
        }
    }
}

fn layer_of(
    activations: DType,
    (per_group, group, outs, kernel, stride): (usize, usize, usize, usize, usize),
    (weights, zeros): (DType, [i32; 2]),
    how: Rescale,
    joined: bool,
) -> Case {
    let name = format!("{FUSED}{activations}.{weights}.{zeros:?}.{per_group}x{group}.{kernel}.{how:?}.{joined}");
    let r = &mut Random((name.len() as u64 * 77 + outs as u64) << 32);
    let mut b = Build::new(&name);
    let top = activations.range().unwrap().1;
    let quant = |scale: f32, zero: i64| Quant::per_tensor(scale, zero as i32, 0, top);
    let k = per_group * group;
    let dims = if kernel == 0 { vec![5, k] } else { vec![2, k, 7, 9] };
    let x = r.ints(&Type::quantized(activations, dims, quant(0.5, top * 2 / 5)));
    let x = b.input(x);
    let (lo, hi) = weights.range().unwrap();
    let dims = if kernel == 0 { vec![k, outs] } else { vec![outs, per_group, kernel, kernel] };
    let scales = (0..outs).map(|c| if how.method == Method::Shift { 0.25 } else { 0.2 + 0.003 * c as f32 });
    let mut wq = Quant::per_channel(scales.collect(), if kernel == 0 { 1 } else { 0 }, lo, hi);
    wq.zero_point = (0..outs).map(|c| zeros[c % 2]).collect();
    let w = Type::quantized(weights, dims, wq);
    // The ends of the range too, which bytes less their zero points do not reach.
    let data: Vec<i64> = (0..w.shape.count().unwrap())
        .map(|_| if r.below(4) == 0 { r.pick(&[lo, hi]) } else { r.int(lo, hi) })
        .collect();
    let w = b.g.add_const("w", Tensor::from_ints(w, &data).unwrap());
    let op = match kernel {
        0 => Op::MatMul(MatMul { trans_b: false }),
        _ => Op::Conv(Conv { strides: vec![stride; 2], pads: vec![kernel / 2; 4], dilations: vec![1, 1], group }),
    };
    let acc = b.op("acc", op, &[x, w]);
    let dims = b.g.ty(acc).shape.dims().unwrap();
    let of = |scale: f32, zero: i64| Type::quantized(activations, dims.clone(), quant(scale, zero));
    let y = b.op_as("y", Op::Requantize(how), &[acc], of(16.0, top / 2));
    if !joined {
        return b.case(&[y]);
    }
    let other = r.ints(&of(8.0, 3));
    let other = b.input(other);
    let sum = b.op_as("sum", Op::QAdd(how), &[y, other], of(32.0, top / 3));
    b.case(&[sum])
}
