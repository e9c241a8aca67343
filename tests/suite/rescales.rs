//! What rounds: every rounding of every operator, and changes of width.

use super::{Build, Case, KERNELS, METHODS, Random, both_layouts, one_pixel, rescale, scale_for};
use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::{Conv, Pool, QAvgPool, Rescale};
use lowbit_ir::{DType, Op, Quant, Type, ValueId};

const ROUNDINGS: [Rounding; 6] = [
    Rounding::HalfEven,
    Rounding::HalfUp,
    Rounding::HalfAway,
    Rounding::TowardZero,
    Rounding::Floor,
    Rounding::Stochastic { seed: 11 },
];

/// Every rounding of everything that rounds, in both layouts, with accumulators that two nodes read.
pub fn roundings(out: &mut Vec<Case>) {
    for (i, (rounding, method)) in
        ROUNDINGS.iter().flat_map(|r| [Method::Float32, Method::Fixed].map(|m| (*r, m))).enumerate()
    {
        let how = Rescale { method, rounding };
        for channels_last in [false, true] {
            let r = &mut Random((7000 + 2 * i as u64 + u64::from(channels_last)) << 32);
            let lies = if channels_last { "last" } else { "plain" };
            let mut b = Build::new(&format!("{KERNELS}rounding.{rounding}.{method}.{lies}"));
            let dims = [2, 5, 4, 3];
            let x = r.floats(&dims);
            let mut x = b.input(x);
            if channels_last {
                x = b.op("pool", Op::MaxPool(one_pixel()), &[x]);
            }
            let signed = r.below(2) == 0;
            let t = r.narrow(&dims, signed);
            let q = b.op_as("q", Op::Quantize { rounding }, &[x], t);
            let wide = Quant::per_tensor(0.0003, 30000, 0, 65535);
            let t = Type::quantized(DType::U16, dims.to_vec(), wide.clone());
            let q16 = b.op_as("q16", Op::Quantize { rounding }, &[x], t);
            let per_channel = r.below(2) == 0;
            let wq = match per_channel {
                true => Quant::per_channel((0..6).map(|c| 0.01 + 0.003 * c as f32).collect(), 0, -127, 127),
                false => Quant::per_tensor(0.02, 0, -127, 127),
            };
            let w = r.ints(&Type::quantized(DType::I8, vec![6, 5, 3, 3], wq));
            let w = b.g.add_const("w", w);
            let conv = Conv { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1], group: 1 };
            let acc = b.op("acc", Op::Conv(conv.clone()), &[q, w]);
            let acc16 = b.op("acc16", Op::Conv(conv), &[q16, w]);
            let out_dims = [2, 6, 4, 3];
            let mut narrow = |b: &mut Build, name: &str, from: ValueId, scale: f32| {
                let mut t = r.narrow(&out_dims, signed);
                t.quant.as_mut().unwrap().scale = [scale].into();
                b.op_as(name, Op::Requantize(how), &[from], t)
            };
            let y = narrow(&mut b, "y", acc, 0.2);
            let again = narrow(&mut b, "again", acc, 0.5);
            let small = narrow(&mut b, "small", acc16, 0.1);
            let t = Type::quantized(DType::U16, out_dims.to_vec(), Quant::per_tensor(0.01, 20000, 10, 60000));
            let large = b.op_as("large", Op::Requantize(how), &[acc16], t.clone());
            let larger = b.op_as("larger", Op::Requantize(how), &[y], t.clone());
            let smaller = narrow(&mut b, "smaller", large, 0.7);
            let re = narrow(&mut b, "re", y, 0.3);
            let sum = b.op_as("sum", Op::QAdd(how), &[y, again], b.g.ty(re).clone());
            let mixed = b.op_as("mixed", Op::QAdd(how), &[large, small], t.clone());
            let product = b.op_as("product", Op::QMul(how), &[again, re], b.g.ty(y).clone());
            let global = b.op_as("global", Op::QAvgPool(QAvgPool { pool: None, rescale: how }), &[sum], t.clone());
            let pool = Pool { kernel: vec![2, 3], pads: vec![1, 1, 0, 1], ..one_pixel() };
            let pool = QAvgPool { pool: Some(pool), rescale: how };
            let pooled = b.op_as("pooled", Op::QAvgPool(pool.clone()), &[product], b.g.ty(y).clone());
            let pooled16 = b.op_as("pooled16", Op::QAvgPool(pool), &[larger], t.clone());
            // One factor a channel, which is broadcast.
            let gated = b.op_as("gated", Op::QMul(how), &[mixed, global], t);
            let real = b.op("real", Op::Dequantize, &[acc16]);
            out.push(b.case(&[smaller, pooled, pooled16, gated, real, re]));
        }
    }
}

/// From 16 bits to 8 and back, by every method, signed and unsigned.
pub fn requantizes(out: &mut Vec<Case>) {
    for (seed, method) in METHODS.into_iter().cycle().take(12).enumerate() {
        let r = &mut Random((7000 + seed as u64) << 32);
        let mut b = Build::new(&format!("requantize.{seed}"));
        let dims = [r.range(1, 2), r.pick(&[1, 5, 16, 33]), 3, 7];
        let (dtype, lo, hi) = r.pick(&[(DType::U16, 0, 65535), (DType::I16, -32768, 32767)]);
        let wide = |r: &mut Random| {
            let quant = Quant::per_tensor(scale_for(method, r), r.int(lo / 2, hi / 2) as i32, lo, hi);
            Type::quantized(dtype, dims.to_vec(), quant)
        };
        let narrow = |r: &mut Random, signed| {
            let mut ty = r.narrow(&dims, signed);
            ty.quant.as_mut().unwrap().scale = [scale_for(method, r) * 128.0].into();
            ty
        };
        let x = wide(r);
        let x = r.ints(&x);
        let xs = both_layouts(&mut b, x);
        let mut outputs = Vec::new();
        for (i, x) in xs.into_iter().enumerate() {
            for signed in [false, true] {
                let ty = narrow(r, signed);
                let y = b.op_as(&format!("narrow{i}.{signed}"), Op::Requantize(rescale(method)), &[x], ty);
                let ty = wide(r);
                outputs.push(b.op_as(&format!("wide{i}.{signed}"), Op::Requantize(rescale(method)), &[y], ty));
                outputs.push(y);
            }
        }
        out.push(b.case(&outputs));
    }
}
