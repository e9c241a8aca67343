//! Functions of one element after another, which are one step: what dynamic quantization leaves behind a layer, and what
//! exporters write out.

use super::{Build, Case, KERNELS, Random, both_layouts};
use lowbit_ir::op::{Binary, Conv, MatMul, Unary};
use lowbit_ir::{DType, Op, Quant, Type, ValueId};

/// What the names of cases whose functions are one step begin with.
pub const LINKS: &str = "kernels.links.";

/// Chains behind accumulators and of floats alone.
pub fn links(out: &mut Vec<Case>) {
    assert!(LINKS.starts_with(KERNELS));
    // A convolution, or a product where there is no image.
    for (i, (batch, channels, image)) in
        [(1, 70, [5, 9]), (1, 3, [41, 40]), (1, 64, [1, 1]), (1, 1, [7, 3]), (9, 16, [0, 0]), (3, 1500, [0, 0])]
            .into_iter()
            .enumerate()
    {
        for (j, per_channel) in [false, true].into_iter().enumerate() {
            let r = &mut Random((13000 + 2 * i as u64 + j as u64) << 32);
            let mut b = Build::new(&format!("{LINKS}layer.{i}.{per_channel}"));
            let conv = image[0] > 0;
            let dims = if conv { vec![batch, 4, image[0], image[1]] } else { vec![batch, 4] };
            let x = r.ints(&Type::quantized(DType::U8, dims, Quant::per_tensor(1.0, 128, 0, 255)));
            let x = b.input(x);
            let axis = if conv { 0 } else { 1 };
            let scales = (0..channels).map(|c| 0.01 + 0.0001 * c as f32).collect();
            let wq = if per_channel {
                Quant::per_channel(scales, axis, -127, 127)
            } else {
                Quant::per_tensor(0.02, 0, -127, 127)
            };
            let dims = if conv { vec![channels, 4, 1, 1] } else { vec![4, channels] };
            let w = r.ints(&Type::quantized(DType::I8, dims, wq));
            let w = b.g.add_const("w", w);
            let op = match conv {
                true => Op::Conv(Conv { strides: vec![1, 1], pads: vec![0; 4], dilations: vec![1, 1], group: 1 }),
                false => Op::MatMul(MatMul { trans_b: false }),
            };
            let acc = b.op("acc", op, &[x, w]);
            let real = b.op("real", Op::Dequantize, &[acc]);
            let one = if conv { vec![batch, 1, 1, 1] } else { vec![batch, 1] };
            let scale = r.floats(&one);
            let scale = b.input(scale);
            let scaled = b.op("scaled", Op::Binary(Binary::Mul), &[real, scale]);
            let bias = r.floats(&if conv { vec![1, channels, 1, 1] } else { vec![channels] });
            // Known, and computed.
            let bias = if j == 0 { b.g.add_const("bias", bias) } else { b.input(bias) };
            let biased = b.op("biased", Op::Binary(Binary::Add), &[bias, scaled]);
            let clipped = b.op("clipped", Op::Clip { min: -1.5, max: 2.0 }, &[biased]);
            let ty = b.g.ty(clipped).shape.dims().unwrap();
            let ty = Type::quantized(DType::U8, ty, Quant::per_tensor(0.02, 100, 0, 255));
            let y = match i % 2 {
                0 => b.op_as("y", Op::Quantize { rounding: lowbit_arithmetic::Rounding::HalfEven }, &[clipped], ty),
                _ => clipped,
            };
            out.push(b.case(&[y]));
        }
    }
    for (i, dims) in [vec![2, 5, 6, 7], vec![1, 33, 9, 8], vec![7, 1100], vec![2, 3, 50], vec![2, 2, 2, 3, 5]]
        .into_iter()
        .enumerate()
    {
        let r = &mut Random((13500 + i as u64) << 32);
        let mut b = Build::new(&format!("{LINKS}floats.{i}"));
        let x = r.floats(&dims);
        let mut outputs = Vec::new();
        let inputs = if dims.len() == 4 { both_layouts(&mut b, x).to_vec() } else { vec![b.input(x)] };
        for (layout, x) in inputs.into_iter().enumerate() {
            let other = r.floats(&dims);
            let (other, number) = (b.input(other), r.floats(&[]));
            let number = b.input(number);
            let step = |b: &mut Build, name: &str, op: Op, operands: &[ValueId]| {
                b.op(&format!("{name}.{layout}"), op, operands)
            };
            // A function whose operand is the chain's own input, in either place.
            let gate = step(&mut b, "gate", Op::Unary(Unary::Sigmoid), &[x]);
            let gated = step(&mut b, "gated", Op::Binary(Binary::Sub), &[x, gate]);
            let below = step(&mut b, "below", Op::Binary(Binary::Div), &[number, gated]);
            let joined = step(&mut b, "joined", Op::Binary(Binary::Add), &[other, below]);
            outputs.push(step(&mut b, "limited", Op::Relu, &[joined]));
            // The one square, and what starts at the second operand.
            let square = step(&mut b, "square", Op::Binary(Binary::Mul), &[x, x]);
            let less = step(&mut b, "less", Op::Binary(Binary::Sub), &[number, square]);
            outputs.push(step(&mut b, "most", Op::Binary(Binary::Max), &[less, other]));
            let scaled = step(&mut b, "scaled", Op::Binary(Binary::PRelu), &[number, other]);
            outputs.push(step(&mut b, "size", Op::Unary(Unary::Abs), &[scaled]));
        }
        out.push(b.case(&outputs));
    }
}
