//! Convolutions: groups, depthwise, every width of activations and weights, and what fuses with them.

use super::{Build, Case, KERNELS, METHODS, Random, geometry, rescale, scale_for};
use lowbit_arithmetic::Method;
use lowbit_ir::op::{Binary, Conv};
use lowbit_ir::{DType, Op, Quant, Tensor, Type};

/// Integer convolutions: groups, depthwise, methods, signs, residuals, wide outputs.
pub fn integer_convs(out: &mut Vec<Case>) {
    for seed in 0..120 {
        let r = &mut Random(seed << 32);
        let method = METHODS[seed as usize % 3];
        let (mut conv, kernel, input) = geometry(r);
        let depthwise = r.below(3) == 0;
        conv.group = if depthwise { r.pick(&[3, 8, 16, 20, 64, 70]) } else { r.pick(&[1, 1, 1, 2, 3]) };
        let per_group = if depthwise { 1 } else { r.pick(&[1, 3, 4, 5, 8, 17, 33]) };
        let out_per_group = if depthwise { 1 } else { r.pick(&[1, 2, 7, 16, 31, 64, 65]) };
        let (ci, co) = (conv.group * per_group, conv.group * out_per_group);
        let batch = r.range(1, 2);
        let signed = r.below(2) == 0;
        let mut b = Build::new(&format!("conv.q8.{seed}"));
        let mut xt = r.narrow(&[batch, ci, input[0], input[1]], signed);
        xt.quant.as_mut().unwrap().scale = [scale_for(method, r)].into();
        let x = r.ints(&xt);
        let x = b.input(x);
        let per_channel = r.below(3) > 0;
        let scales: Vec<f32> = (0..if per_channel { co } else { 1 }).map(|_| scale_for(method, r)).collect();
        let wq = match per_channel {
            true => Quant::per_channel(scales.clone(), 0, -127, 127),
            false => Quant::per_tensor(scales[0], 0, -127, 127),
        };
        let w = r.ints(&Type::quantized(DType::I8, vec![co, per_group, kernel[0], kernel[1]], wq));
        let w = b.g.add_const("w", w);
        let sx = xt.quant().unwrap().scale[0];
        let mut operands = vec![x, w];
        if r.below(4) > 0 {
            let bias_scales: Vec<f32> = scales.iter().map(|s| sx * s).collect();
            let q = match per_channel {
                true => Quant::per_channel(bias_scales, 0, i32::MIN.into(), i32::MAX.into()),
                false => Quant::per_tensor(bias_scales[0], 0, i32::MIN.into(), i32::MAX.into()),
            };
            let data: Vec<i64> = (0..co).map(|_| r.int(-30_000, 30_000)).collect();
            operands
                .push(b.g.add_const("b", Tensor::from_ints(Type::quantized(DType::I32, vec![co], q), &data).unwrap()));
        }
        let acc = b.op("acc", Op::Conv(conv), &operands);
        let dims = b.g.ty(acc).shape.dims().unwrap();
        let narrow = |r: &mut Random, signed: bool| {
            let mut ty = r.narrow(&dims, signed);
            let q = ty.quant.as_mut().unwrap();
            q.scale = [scale_for(method, r) * if method == Method::Shift { 16.0 } else { 8.0 }].into();
            if r.below(3) == 0 {
                q.qmin = i64::from(q.zero_point[0]);
            }
            ty
        };
        let signed_out = r.below(2) == 0;
        let case = match r.below(4) {
            0 => {
                let y = b.op("y", Op::Dequantize, &[acc]);
                b.case(&[y])
            }
            1 => {
                let relu = b.op("relu", Op::Relu, &[acc]);
                let y = b.op_as("y", Op::Requantize(rescale(method)), &[relu], narrow(r, signed_out));
                b.case(&[y])
            }
            2 => {
                let y = b.op_as("y", Op::Requantize(rescale(method)), &[acc], narrow(r, signed_out));
                b.case(&[y, acc])
            }
            _ => {
                let y = b.op_as("y", Op::Requantize(rescale(method)), &[acc], narrow(r, signed_out));
                let ty = narrow(r, signed_out);
                let other = r.ints(&ty);
                let other = b.input(other);
                let operands = if r.below(2) == 0 { [y, other] } else { [other, y] };
                let sum = b.op_as("sum", Op::QAdd(rescale(method)), &operands, narrow(r, signed_out));
                b.case(&[sum])
            }
        };
        out.push(case);
    }
}

/// Scales and zero points per channel of what depthwise convolutions read, and of what is stored.
pub fn channel_activations(out: &mut Vec<Case>) {
    for i in 0..48u64 {
        let mut r = Random(40_000 + i * 131);
        let (mut conv, kernel, size) = geometry(&mut r);
        conv.group = r.pick(&[2, 3, 8, 16, 20, 70]);
        let share = r.pick(&[1, 1, 1, 2]);
        let (channels, outs) = (conv.group, conv.group * share);
        let method = METHODS[i as usize % 3];
        let dtype = r.pick(&[DType::U8, DType::U8, DType::I8, DType::U16]);
        let (lo, hi) = dtype.range().unwrap();
        // Zero points: all alike, as kernels take them for good, or different ones.
        let zeros = |r: &mut Random, n: usize, alike: bool| -> Vec<i32> {
            let one = r.int(lo.max(-99), hi.min(99)) as i32;
            (0..n).map(|_| if alike { one } else { r.int(lo.max(-99), hi.min(99)) as i32 }).collect()
        };
        let per_channel = |r: &mut Random, n: usize, alike: bool| Quant {
            zero_point: zeros(r, n, alike).into(),
            ..Quant::per_channel((0..n).map(|_| scale_for(method, r)).collect(), 1, lo, hi)
        };
        // What kernels take: any zero points of what is read, one of what is stored. Signed values are relabelled at the
        // graph's edge, which the interpreter does where scales differ.
        let (alike_in, alike_out) = (r.below(2) == 0, r.below(2) == 0);
        let kernels = alike_out && i % 2 == 0 && dtype != DType::I8;
        let prefix = if kernels { KERNELS } else { "" };
        let mut b = Build::new(&format!("{prefix}channels.{i}.{method:?}.{dtype}"));
        let xq = per_channel(&mut r, channels, alike_in);
        let x = r.ints(&Type::quantized(dtype, vec![2, channels, size[0], size[1]], xq));
        let x = b.input(x);
        let scales = (0..outs).map(|_| scale_for(method, &mut r)).collect();
        let wq = match r.below(2) {
            0 => Quant::per_channel(scales, 0, -127, 127),
            _ => Quant::per_tensor(scale_for(method, &mut r), 0, -127, 127),
        };
        let w = r.ints(&Type::quantized(DType::I8, vec![outs, 1, kernel[0], kernel[1]], wq));
        let w = b.g.add_const("w", w);
        let acc = b.op("acc", Op::Conv(conv), &[x, w]);
        let y = Type { dtype, quant: Some(per_channel(&mut r, outs, alike_out)), shape: b.g.ty(acc).shape.clone() };
        let y = b.op_as("y", Op::Requantize(rescale(method)), &[acc], y);
        let case = match i % 4 {
            0 => b.case(&[y]),
            1 => {
                let clipped = b.op("clipped", Op::Clip { min: -0.3, max: 0.4 }, &[y]);
                b.case(&[acc, clipped])
            }
            2 => {
                let quant = Some(Quant::per_tensor(0.25, 3, 0, 255));
                let narrow = Type { dtype: DType::U8, quant, shape: b.g.ty(y).shape.clone() };
                let narrow = b.op_as("narrow", Op::Requantize(rescale(method)), &[y], narrow);
                b.case(&[narrow])
            }
            _ => {
                let real = b.op("real", Op::Dequantize, &[y]);
                b.case(&[real])
            }
        };
        out.push(case);
    }
}

/// 16-bit activations: wide accumulators, and what fuses with them.
pub fn wide_convs(out: &mut Vec<Case>) {
    for seed in 0..24 {
        let r = &mut Random((500 + seed) << 32);
        let method = METHODS[seed as usize % 3];
        let (mut conv, kernel, input) = geometry(r);
        let depthwise = r.below(3) == 0;
        conv.group = if depthwise { r.pick(&[3, 16, 70]) } else { r.pick(&[1, 1, 2]) };
        let per_group = if depthwise { 1 } else { r.pick(&[1, 3, 5, 17]) };
        let (ci, co) = (conv.group * per_group, conv.group * if depthwise { 1 } else { r.pick(&[1, 7, 9]) });
        let mut b = Build::new(&format!("conv.q16.{seed}"));
        let signed = r.below(2) == 0;
        let (dtype, lo, hi) = if signed { (DType::I16, -32768, 32767) } else { (DType::U16, 0, 65535) };
        let narrow = |r: &mut Random, dims: &[usize]| {
            let scale = scale_for(method, r);
            Type::quantized(dtype, dims.to_vec(), Quant::per_tensor(scale, r.int(lo / 2, hi / 2) as i32, lo, hi))
        };
        let xt = narrow(r, &[1, ci, input[0], input[1]]);
        let x = r.ints(&xt);
        let x = b.input(x);
        let scales: Vec<f32> = (0..co).map(|_| scale_for(method, r)).collect();
        let quant = Quant::per_channel(scales, 0, -127, 127);
        let w = r.ints(&Type::quantized(DType::I8, vec![co, per_group, kernel[0], kernel[1]], quant));
        let w = b.g.add_const("w", w);
        let acc = b.op("acc", Op::Conv(conv), &[x, w]);
        let mut ty = b.g.ty(acc).clone();
        let dims = ty.shape.dims().unwrap();
        ty.dtype = DType::I64;
        let quant = ty.quant.as_mut().unwrap();
        (quant.qmin, quant.qmax) = (i64::MIN, i64::MAX);
        b.g.set_ty(acc, ty);
        let mut to = narrow(r, &dims);
        to.quant.as_mut().unwrap().scale = [if method == Method::Shift { 32.0 } else { 20.0 }].into();
        let y = b.op_as("y", Op::Requantize(rescale(method)), &[acc], to);
        let t = narrow(r, &dims);
        let sum = b.op_as("sum", Op::QAdd(rescale(method)), &[y, y], t);
        let case = if r.below(4) == 0 { b.case(&[acc, sum]) } else { b.case(&[sum]) };
        out.push(case);
    }
}

/// Every width of activations into every other, with and without a residual: what a kernel stores is not what it reads.
pub fn mixed_widths(out: &mut Vec<Case>) {
    let widths = [DType::U8, DType::I8, DType::U16, DType::I16];
    for (i, (from, to)) in widths.iter().flat_map(|from| widths.iter().map(move |to| (*from, *to))).enumerate() {
        for residual in [false, true] {
            let r = &mut Random((700 + i as u64) << 32);
            let channels = r.pick(&[3, 20]);
            let quantized = |r: &mut Random, dtype: DType, scale: f32| {
                let (lo, hi) = dtype.range().unwrap();
                let quant = Quant::per_tensor(scale, r.int(lo / 2, hi / 2) as i32, lo, hi);
                Type::quantized(dtype, vec![1, channels, 5, 4], quant)
            };
            let mut b = Build::new(&format!("conv.{from}.{to}{}", if residual { ".residual" } else { "" }));
            let ty = quantized(r, from, 0.01);
            let x = r.ints(&ty);
            let x = b.input(x);
            let conv = Conv { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1], group: 1 };
            let w = r.ints(&Type::quantized(
                DType::I8,
                vec![channels, channels, 3, 3],
                Quant::per_tensor(0.02, 0, -127, 127),
            ));
            let w = b.g.add_const("w", w);
            let acc = b.op("acc", Op::Conv(conv), &[x, w]);
            // A scale that uses the whole of the output's range.
            let wide = |dtype: DType| if dtype.bits() == 16 { 65536.0 } else { 256.0 };
            let scale = 0.01 * 0.02 * wide(from) * 127.0 * 4.0 / wide(to);
            let ty = quantized(r, to, scale);
            let mut y = b.op_as("y", Op::Requantize(rescale(Method::Float32)), &[acc], ty.clone());
            if residual {
                let other = r.ints(&ty);
                let other = b.input(other);
                let sum = quantized(r, to, scale * 1.5);
                y = b.op_as("sum", Op::QAdd(rescale(Method::Float32)), &[y, other], sum);
            }
            out.push(b.case(&[y]));
        }
    }
}

/// Float convolutions with the clamps and residuals that fuse.
pub fn float_convs(out: &mut Vec<Case>) {
    for seed in 0..60 {
        let r = &mut Random((1000 + seed) << 32);
        let (mut conv, kernel, input) = geometry(r);
        let depthwise = r.below(3) == 0;
        conv.group = if depthwise { r.pick(&[3, 16, 20, 70]) } else { r.pick(&[1, 1, 2]) };
        let per_group = if depthwise { 1 } else { r.pick(&[1, 3, 5, 16]) };
        let out_per_group = if depthwise { 1 } else { r.pick(&[1, 7, 32, 33]) };
        let (ci, co) = (conv.group * per_group, conv.group * out_per_group);
        let mut b = Build::new(&format!("conv.f32.{seed}"));
        let batch = r.range(1, 2);
        let x = r.floats(&[batch, ci, input[0], input[1]]);
        let x = b.input(x);
        let w = r.floats(&[co, per_group, kernel[0], kernel[1]]);
        let w = b.g.add_const("w", w);
        let mut operands = vec![x, w];
        if r.below(3) > 0 {
            let bias = r.floats(&[co]);
            operands.push(b.g.add_const("b", bias));
        }
        let mut y = b.op("conv", Op::Conv(conv), &operands);
        if r.below(2) == 0 {
            y = b.op("clip", Op::Clip { min: -0.5, max: 1.5 }, &[y]);
        }
        if r.below(2) == 0 {
            let dims = b.g.ty(y).shape.dims().unwrap();
            let other = r.floats(&dims);
            let other = b.input(other);
            y = b.op("add", Op::Binary(Binary::Add), &[other, y]);
        }
        if r.below(2) == 0 {
            y = b.op("relu", Op::Relu, &[y]);
        }
        out.push(b.case(&[y]));
    }
}

/// Weights of 16 bits, unsigned and asymmetric ones, into accumulators that are rescaled or made real.
pub fn weights(out: &mut Vec<Case>) {
    let kinds =
        [(DType::I16, 0), (DType::U8, 128), (DType::U8, 7), (DType::I8, 9), (DType::I16, -31), (DType::U16, 32768)];
    let inputs = [DType::U8, DType::I8, DType::U16, DType::I16];
    for (i, ((wt, zero), xt)) in kinds.iter().flat_map(|k| inputs.map(|x| (*k, x))).enumerate() {
        let r = &mut Random((8000 + i as u64) << 32);
        let mut b = Build::new(&format!("{KERNELS}weights.{wt}.{zero}.{xt}"));
        let (group, per_group, outs) = r.pick(&[(1, 5, 9), (2, 3, 4), (6, 1, 6)]);
        let range = |dtype: DType| dtype.range().unwrap();
        let (lo, hi) = range(xt);
        let x = Quant::per_tensor(0.01, r.int(lo / 2, hi / 2) as i32, lo, hi);
        let x = r.ints(&Type::quantized(xt, vec![2, group * per_group, 5, 4], x));
        let x = b.input(x);
        let (lo, hi) = range(wt);
        let mut wq = Quant::per_channel((0..outs).map(|c| 0.001 + 0.0003 * c as f32).collect(), 0, lo, hi);
        wq.zero_point = vec![zero; outs].into();
        // A twentieth of the range, so that bytes are enough for some.
        let (lo, hi) = if wt.bits() == 16 { (i64::from(zero) - 3000, i64::from(zero) + 3000) } else { (lo, hi) };
        let data: Vec<i64> =
            (0..outs * per_group * 9).map(|_| r.int(lo.max(range(wt).0), hi.min(range(wt).1))).collect();
        let w = Tensor::from_ints(Type::quantized(wt, vec![outs, per_group, 3, 3], wq), &data).unwrap();
        let w = b.g.add_const("w", w);
        let conv = Conv { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1], group };
        let acc = b.op("acc", Op::Conv(conv), &[x, w]);
        let dims = b.g.ty(acc).shape.dims().unwrap();
        let y = Quant::per_tensor(if wt.bits() == 16 { 0.5 } else { 0.05 }, 100, 0, 255);
        let y = b.op_as("y", Op::Requantize(rescale(Method::Float32)), &[acc], Type::quantized(DType::U8, dims, y));
        let real = b.op("real", Op::Dequantize, &[acc]);
        out.push(b.case(&[y, real]));
    }
}

/// Layers whose channels a Concat joins: by pointers, by lines and depthwise, beside a value that is read elsewhere too.
pub fn joined(out: &mut Vec<Case>) {
    let sizes = [(8, 64, 64), (16, 7, 9), (3, 16, 8), (20, 33, 70), (64, 128, 128)];
    for (i, ((inputs, first, second), axis)) in sizes.iter().flat_map(|s| [1, -3, 2].map(|a| (*s, a))).enumerate() {
        let r = &mut Random((9000 + i as u64) << 32);
        let mut b = Build::new(&format!("conv.joined.{i}"));
        let quantized =
            |channels: usize| Type::quantized(DType::U8, vec![2, channels, 6, 5], Quant::per_tensor(0.05, 100, 0, 255));
        let x = r.ints(&quantized(inputs));
        let x = b.input(x);
        let second = if axis == 2 { first } else { second };
        let layers = [("point", 1, first, 1), ("window", 3, second, 1), ("alone", 3, inputs, inputs)];
        let mut parts = Vec::new();
        // Joined along lines, all must have as many channels, so there are two.
        for (name, side, channels, group) in layers.into_iter().take(if axis == 2 { 2 } else { 3 }) {
            let w = Quant::per_tensor(0.02, 0, -127, 127);
            let w = r.ints(&Type::quantized(DType::I8, vec![channels, inputs / group, side, side], w));
            let w = b.g.add_const(&format!("{name}.w"), w);
            let conv = Conv { strides: vec![1, 1], pads: vec![side / 2; 4], dilations: vec![1, 1], group };
            let acc = b.op(&format!("{name}.acc"), Op::Conv(conv), &[x, w]);
            let ty = quantized(channels);
            parts.push(b.op_as(name, Op::Requantize(rescale(Method::Float32)), &[acc], ty));
        }
        let operands = if axis == 2 { parts } else { vec![parts[1], x, parts[2], parts[0]] };
        let all = b.op("all", Op::Concat { axis }, &operands);
        let twice = b.op("twice", Op::Concat { axis: 1 }, &[all, all]);
        out.push(b.case(&[twice]));
    }
}
