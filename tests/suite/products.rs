//! Dense layers and products of two activations.

use super::{Build, Case, KERNELS, METHODS, Random, rescale, scale_for};
use lowbit_ir::op::{Conv, MatMul, Unary};
use lowbit_ir::{DType, Op, Quant, Type};

/// Dense layers and batched products.
pub fn dense(out: &mut Vec<Case>) {
    for seed in 0..40 {
        let r = &mut Random((2000 + seed) << 32);
        let (m, k, n) = (r.range(1, 20), r.range(1, 70), r.range(1, 100));
        let trans_b = r.below(2) == 0;
        let wd = if trans_b { [n, k] } else { [k, n] };
        let mut b = Build::new(&format!("dense.{seed}"));
        if seed.is_multiple_of(2) {
            let lead = if r.below(2) == 0 { vec![m] } else { vec![r.range(1, 3), m] };
            let dims: Vec<usize> = lead.into_iter().chain([k]).collect();
            let x = r.floats(&dims);
            let x = b.input(x);
            let w = r.floats(&wd);
            let w = b.g.add_const("w", w);
            let bias = r.floats(&[n]);
            let bias = b.g.add_const("b", bias);
            let y = b.op("y", Op::MatMul(MatMul { trans_b }), &[x, w, bias]);
            let y = b.op("gelu", Op::Unary(Unary::Gelu), &[y]);
            out.push(b.case(&[y]));
        } else {
            let xt = r.narrow(&[m, k], r.0.is_multiple_of(3));
            let x = r.ints(&xt);
            let x = b.input(x);
            let scales = (0..n).map(|i| 0.01 + 0.001 * i as f32).collect();
            let axis = if trans_b { 0 } else { 1 };
            let w = r.ints(&Type::quantized(DType::I8, wd.to_vec(), Quant::per_channel(scales, axis, -127, 127)));
            let w = b.g.add_const("w", w);
            let acc = b.op("acc", Op::MatMul(MatMul { trans_b }), &[x, w]);
            let y = b.op("y", Op::Dequantize, &[acc]);
            let y = b.op("softmax", Op::Softmax { axis: -1 }, &[y]);
            out.push(b.case(&[y]));
        }
        let mut b = Build::new(&format!("matmul.{seed}"));
        let (h, batch) = (r.range(1, 3), r.range(1, 2));
        let a = r.floats(&[batch, h, m, k]);
        let a = b.input(a);
        let bd = if trans_b { [1, h, n, k] } else { [1, h, k, n] };
        let w = r.floats(&bd);
        let w = b.input(w);
        let y = b.op("y", Op::MatMul(MatMul { trans_b }), &[a, w]);
        out.push(b.case(&[y]));
    }
}

/// Integer products of two activations: shapes, broadcasting, zero points up to the extremes, every tail.
pub fn products(out: &mut Vec<Case>) {
    for seed in 0..96 {
        let r = &mut Random((9000 + seed) << 32);
        let method = METHODS[seed as usize % 3];
        let (m, k, n) = (r.range(1, 30), r.range(1, 70), r.pick(&[1, 7, 15, 16, 17, 31, 32, 33, 64, 65, 130]));
        let trans_b = r.below(2) == 0;
        // What each operand repeats, and whether it has all axes.
        let (outer, heads) = (r.range(1, 2), r.range(1, 3));
        let leading = |r: &mut Random| match r.below(4) {
            0 => vec![],
            1 => vec![heads],
            2 => vec![outer, 1],
            _ => vec![outer, heads],
        };
        let dims =
            |leading: Vec<usize>, matrix: [usize; 2]| -> Vec<usize> { leading.into_iter().chain(matrix).collect() };
        let ty = |r: &mut Random, dims: Vec<usize>, zero: i32| match zero {
            -128..0 => Type::quantized(DType::I8, dims, Quant::per_tensor(scale_for(method, r), zero, -128, 127)),
            _ => Type::quantized(DType::U8, dims, Quant::per_tensor(scale_for(method, r), zero, 0, 255)),
        };
        let at = dims(leading(r), [m, k]);
        let bt = dims(leading(r), if trans_b { [n, k] } else { [k, n] });
        let zeros = [0, 255, 128, 127, 129, 1, -128, -1, 77];
        let (at, bt) = (ty(r, at, zeros[seed as usize % 9]), ty(r, bt, zeros[seed as usize / 9 % 9]));
        let mut b = Build::new(&format!("product.{seed}"));
        let (a, w) = (r.ints(&at), r.ints(&bt));
        let (a, w) = (b.input(a), b.input(w));
        let op = Op::MatMul(MatMul { trans_b });
        let acc = match r.below(3) {
            0 => {
                let scale = b.g.ty(a).quant.as_ref().unwrap().scale[0] * b.g.ty(w).quant.as_ref().unwrap().scale[0];
                let ty = Type::quantized(DType::I32, vec![n], Quant::per_tensor(scale, 0, -9999, 9999));
                let bias = r.ints(&ty);
                let bias = b.g.add_const("bias", bias);
                b.op("acc", op, &[a, w, bias])
            }
            _ => b.op("acc", op, &[a, w]),
        };
        let shape = b.g.ty(acc).shape.require().unwrap();
        // Sums of k products reach far: so far that all of the output's range is met.
        let coarse = Quant::per_tensor(scale_for(method, r) * 4.0, r.int(0, 255) as i32, 0, 255);
        let narrow = Type::quantized(DType::U8, shape, coarse);
        let y = match r.below(4) {
            0 => acc,
            1 => b.op("y", Op::Dequantize, &[acc]),
            2 => b.op_as("y", Op::Requantize(rescale(method)), &[acc], narrow),
            _ => {
                let y = b.op_as("y", Op::Requantize(rescale(method)), &[acc], narrow.clone());
                let other = r.ints(&narrow);
                let other = b.input(other);
                b.op_as("sum", Op::QAdd(rescale(method)), &[y, other], narrow)
            }
        };
        out.push(b.case(&[y]));
    }
}

/// Layers of floats whose weights are bytes behind a Dequantize, as in a QDQ graph that runs as it is: read once, by two
/// layers, and by somebody who needs them as floats too.
pub fn dequantized_weights(out: &mut Vec<Case>) {
    for seed in 0..24 {
        let r = &mut Random((9100 + seed) << 32);
        let (dtype, lo, hi) = if r.below(2) == 0 { (DType::I8, -128, 127) } else { (DType::U8, 0, 255) };
        let (n, k, trans_b) = (r.pick(&[1, 30, 130]), r.pick(&[1, 17, 70]), r.below(2) == 0);
        let convolves = r.below(2) == 0;
        let dims = match (convolves, trans_b) {
            (true, _) => vec![n, k, 3, 2],
            (false, true) => vec![n, k],
            (false, false) => vec![k, n],
        };
        let axis = r.below(2);
        let channels = dims[axis];
        let scales: Vec<f32> = (0..channels).map(|_| 0.01 + 0.001 * r.below(100) as f32).collect();
        let zeros = (0..channels).map(|_| r.int(lo, hi) as i32).collect();
        let quant = match r.below(3) {
            0 => Quant::per_tensor(0.03, r.int(lo, hi) as i32, lo, hi),
            _ => Quant { zero_point: zeros, ..Quant::per_channel(scales, axis, lo, hi) },
        };
        let mut b = Build::new(&format!("{KERNELS}dequantized.{seed}"));
        let x = r.floats(&if convolves { vec![1, k, 7, 6] } else { vec![5, k] });
        let x = b.input(x);
        let w = r.ints(&Type::quantized(dtype, dims, quant));
        let w = b.g.add_const("w", w);
        let w = b.op("w.dq", Op::Dequantize, &[w]);
        let bias =
            r.ints(&Type::quantized(DType::I32, vec![n], Quant::per_tensor(1e-9, 0, i32::MIN.into(), i32::MAX.into())));
        let bias = b.g.add_const("bias", bias);
        let bias = b.op("bias.dq", Op::Dequantize, &[bias]);
        let conv = Conv { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1], group: 1 };
        let op = if convolves { Op::Conv(conv) } else { Op::MatMul(MatMul { trans_b }) };
        let mut outputs = vec![b.op("y", op.clone(), &[x, w, bias])];
        if r.below(2) == 0 {
            let other = b.op("other", Op::Relu, &[x]);
            outputs.push(b.op("z", op, &[other, w]));
        }
        if r.below(4) == 0 {
            outputs.push(b.op("as floats", Op::Relu, &[w]));
        }
        out.push(b.case(&outputs));
    }
}
