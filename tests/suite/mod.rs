//! The operator suite: graphs with inputs, as values, for every executor to run.

pub mod fused;

use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::infer::{apply, apply_as};
use lowbit_ir::op::{
    Binary, Conv, Coordinates, CustomId, MatMul, Nearest, Pad, PadMode, Pool, QAvgPool, Reduce, ReduceKind, Rescale,
    Resize, ResizeMode, SliceAxis, Unary,
};
use lowbit_ir::{CustomOp, Customs, DType, Error, Graph, Op, Quant, Result, Tensor, Type, ValueId};
use std::sync::Arc;

/// One graph with one set of inputs.
pub struct Case {
    pub name: String,
    pub graph: Graph,
    pub inputs: Vec<Tensor>,
}

/// A small counter-based generator: the suite is the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        lowbit_arithmetic::rounding::hash(0x10b_1735, self.0)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    pub fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        match hi.wrapping_sub(lo).wrapping_add(1) as u64 {
            // All of i64.
            0 => self.bits() as i64,
            count => lo.wrapping_add((self.bits() % count) as i64),
        }
    }

    /// Roughly normal.
    pub fn float(&mut self) -> f32 {
        let u = |b: u64| (b >> 40) as f32 / (1u64 << 24) as f32;
        (0..4).map(|_| u(self.bits()) - 0.5).sum::<f32>() * 2.0
    }

    pub fn floats(&mut self, dims: &[usize]) -> Tensor {
        let data = (0..dims.iter().product()).map(|_| self.float()).collect();
        Tensor::from_f32(dims, data).unwrap()
    }

    pub fn ints(&mut self, ty: &Type) -> Tensor {
        let (lo, hi) = ty.quant.as_ref().map_or(ty.dtype.range().unwrap(), |q| (q.qmin, q.qmax));
        let data: Vec<i64> = (0..ty.shape.count().unwrap()).map(|_| self.int(lo, hi)).collect();
        Tensor::from_ints(ty.clone(), &data).unwrap()
    }

    /// An activation type of 8 bits.
    pub fn narrow(&mut self, dims: &[usize], signed: bool) -> Type {
        let scale = 0.01 + 0.05 * self.below(100) as f32 / 100.0;
        match signed {
            true => {
                Type::quantized(DType::I8, dims.to_vec(), Quant::per_tensor(scale, self.int(-20, 20) as i32, -128, 127))
            }
            false => {
                Type::quantized(DType::U8, dims.to_vec(), Quant::per_tensor(scale, self.int(0, 255) as i32, 0, 255))
            }
        }
    }
}

/// A graph under construction, with its inputs.
struct Build {
    g: Graph,
    inputs: Vec<Tensor>,
}

impl Build {
    fn new(name: &str) -> Self {
        Build { g: Graph::new(name), inputs: Vec::new() }
    }

    fn input(&mut self, t: Tensor) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        let v = self.g.add_input(&name, t.ty().clone());
        self.inputs.push(t);
        v
    }

    fn op(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        apply(&mut self.g, name, op, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn op_as(&mut self, name: &str, op: Op, inputs: &[ValueId], ty: Type) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|v| Some(*v)).collect();
        apply_as(&mut self.g, name, op, &inputs, ty).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn case(mut self, outputs: &[ValueId]) -> Case {
        self.g.outputs = outputs.to_vec();
        Case { name: self.g.name.clone(), graph: self.g, inputs: self.inputs }
    }
}

/// Random convolution geometry that gives at least one output pixel.
fn geometry(r: &mut Random) -> (Conv, [usize; 2], [usize; 2]) {
    let kernel = [r.range(1, 4), r.range(1, 4)];
    let dilations = [r.range(1, 2), r.range(1, 2)];
    let pads: Vec<usize> = (0..4).map(|_| r.below(3)).collect();
    let reach = |i: usize| (kernel[i] - 1) * dilations[i] + 1;
    let size = |r: &mut Random, i: usize| reach(i).saturating_sub(pads[i] + pads[i + 2]).max(1) + r.below(9);
    let input = [size(r, 0), size(r, 1)];
    let conv = Conv { strides: vec![r.range(1, 3), r.range(1, 2)], pads, dilations: dilations.to_vec(), group: 1 };
    (conv, kernel, input)
}

fn rescale(method: Method) -> Rescale {
    Rescale { method, rounding: method.default_rounding() }
}

const METHODS: [Method; 3] = [Method::Float32, Method::Fixed, Method::Shift];

/// Powers of two for shifts, anything for the others.
fn scale_for(method: Method, r: &mut Random) -> f32 {
    match method {
        Method::Shift => (2.0f32).powi(-(r.range(3, 7) as i32)),
        Method::Float32 | Method::Fixed => 0.004 + r.below(1000) as f32 * 1e-4,
    }
}

/// Integer convolutions: groups, depthwise, methods, signs, residuals, wide outputs.
fn integer_convs(out: &mut Vec<Case>) {
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
fn channel_activations(out: &mut Vec<Case>) {
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
fn wide_convs(out: &mut Vec<Case>) {
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
fn mixed_widths(out: &mut Vec<Case>) {
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
fn float_convs(out: &mut Vec<Case>) {
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

/// Dense layers and batched products.
fn dense(out: &mut Vec<Case>) {
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
fn products(out: &mut Vec<Case>) {
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

/// Pools of every kind.
fn pools(out: &mut Vec<Case>) {
    for seed in 0..60 {
        let r = &mut Random((3000 + seed) << 32);
        let kernel = vec![r.range(1, 4), r.range(1, 4)];
        let pads: Vec<usize> = (0..4).map(|i| r.below(kernel[i % 2])).collect();
        let dims = [r.range(1, 2), r.pick(&[1, 3, 16, 64, 100]), 4 + r.below(8), 4 + r.below(8)];
        let pool = Pool {
            kernel,
            strides: vec![r.range(1, 3), r.range(1, 3)],
            pads,
            dilations: vec![1, 1],
            ceil_mode: r.below(3) == 0,
            count_include_pad: r.below(2) == 0,
        };
        let mut b = Build::new(&format!("pool.{seed}"));
        let integer = seed.is_multiple_of(2);
        let x = match integer {
            true => {
                let ty = r.narrow(&dims, r.0.is_multiple_of(3));
                r.ints(&ty)
            }
            false => r.floats(&dims),
        };
        let x = b.input(x);
        // A convolution before it, so that the pool reads channels last.
        let max = b.op("max", Op::MaxPool(pool.clone()), &[x]);
        let (avg, global) = match integer {
            true => {
                let method = r.pick(&[Method::Float32, Method::Fixed]);
                let signed = b.g.ty(x).dtype == DType::I8;
                let (t1, t2) = (r.narrow(&dims, signed), r.narrow(&dims, signed));
                let q = |pool| Op::QAvgPool(QAvgPool { pool, rescale: rescale(method) });
                (b.op_as("avg", q(Some(pool)), &[x], t1), b.op_as("global", q(None), &[x], t2))
            }
            false => (b.op("avg", Op::AvgPool(pool), &[x]), b.op("global", Op::GlobalAvgPool, &[x])),
        };
        let flat = b.op("flat", Op::Flatten { axis: 1 }, &[global]);
        out.push(b.case(&[max, avg, flat]));
    }
    // More than 32 bits hold sums of.
    let mut b = Build::new("pool.large");
    let ty = Type::quantized(DType::U8, vec![1, 1, 2912, 2912], Quant::per_tensor(1.0, 0, 0, 255));
    let x = b.input(Tensor::from_bytes(ty, vec![255u8; 2912 * 2912].into()).unwrap());
    let ty = Type::quantized(DType::U8, vec![], Quant::per_tensor(2.0, 3, 0, 255));
    let y = b.op_as("y", Op::QAvgPool(QAvgPool { pool: None, rescale: rescale(Method::Float32) }), &[x], ty);
    out.push(b.case(&[y]));
    let r = &mut Random(3999 << 32);
    let mut b = Build::new("reduce");
    let x = r.floats(&[2, 5, 6, 7]);
    let x = b.input(x);
    let mut outputs = Vec::new();
    for kind in [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min] {
        for (axes, keep_dims) in [(vec![2, 3], true), (vec![-1, 2], true), (vec![1], false), (vec![], true)] {
            let name = format!("{kind:?}.{axes:?}");
            outputs.push(b.op(&name, Op::Reduce(Reduce { kind, axes, keep_dims }), &[x]));
        }
    }
    out.push(b.case(&outputs));
}

/// Element by element, on integers and floats, with broadcasting.
fn elementwise(out: &mut Vec<Case>) {
    let r = &mut Random(4000 << 32);
    let functions = [
        Unary::Abs,
        Unary::Neg,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Reciprocal,
        Unary::Erf,
        Unary::Sin,
        Unary::Cos,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Silu,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Mish,
        Unary::Softplus,
        Unary::Softsign,
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Elu { alpha: 1.5 },
        Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        Unary::Celu { alpha: 1.5 },
        Unary::ThresholdedRelu { alpha: 0.75 },
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
    ];
    let mut b = Build::new("unary");
    let mut data: Vec<f32> = (0..1000).map(|_| r.float() * 10.0).collect();
    data.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, 88.8, -103.0, 3e38, f32::MIN_POSITIVE]);
    let x = Tensor::from_f32(&[data.len()], data).unwrap();
    let x = b.input(x);
    let outputs: Vec<ValueId> = functions.iter().map(|f| b.op(f.name(), Op::Unary(*f), &[x])).collect();
    out.push(b.case(&outputs));
    for (i, (a, c)) in [
        (vec![2, 3, 4, 5], vec![2, 3, 4, 5]),
        (vec![2, 3, 4, 5], vec![3, 1, 1]),
        (vec![2, 3, 4, 5], vec![]),
        (vec![2, 3, 4, 5], vec![5]),
        (vec![2, 3, 1, 1], vec![2, 3, 4, 5]),
        (vec![1, 3, 4, 1], vec![2, 1, 4, 5]),
        (vec![7], vec![6, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut b = Build::new(&format!("binary.{i}"));
        let (x, y) = (r.floats(&a), r.floats(&c));
        let (x, y) = (b.input(x), b.input(y));
        // Through a pool of one pixel, so that one side lies channels last.
        let x = match a.len() {
            4 => b.op("pool", Op::MaxPool(one_pixel()), &[x]),
            _ => x,
        };
        use Binary::*;
        let outputs: Vec<ValueId> = [Add, Sub, Mul, Div, Min, Max, Pow, PRelu, Less]
            .iter()
            .map(|f| b.op(f.name(), Op::Binary(*f), &[x, y]))
            .collect();
        out.push(b.case(&outputs));
    }
    for seed in 0..24 {
        let r = &mut Random((4100 + seed) << 32);
        let mut b = Build::new(&format!("quantized.{seed}"));
        let signed = seed.is_multiple_of(2);
        let dims = [r.range(1, 2), r.pick(&[1, 3, 16, 70]), r.range(1, 9), r.range(1, 9)];
        let x = r.floats(&dims);
        let x = b.input(x);
        let t = r.narrow(&dims, signed);
        let q = b.op_as("q", Op::Quantize { rounding: Rounding::HalfEven }, &[x], t);
        let same = b.g.ty(q).clone();
        let relu = b.op("relu", Op::Relu, &[q]);
        let clip = b.op("clip", Op::Clip { min: -0.3, max: 0.7 }, &[relu]);
        let method = r.pick(&[Method::Float32, Method::Fixed]);
        let t = r.narrow(&dims, signed);
        let re = b.op_as("re", Op::Requantize(rescale(method)), &[clip], t);
        let t = r.narrow(&dims, signed);
        let sum = b.op_as("sum", Op::QAdd(rescale(method)), &[re, q], t);
        // A value that starts at its zero point: its table is shorter.
        let mut t = r.narrow(&dims, signed);
        let q8 = t.quant.as_mut().unwrap();
        q8.qmin = i64::from(q8.zero_point[0]);
        let entries = (q8.qmax - q8.qmin + 1) as usize;
        let product = b.op_as("product", Op::QMul(rescale(method)), &[sum, q], t);
        let table: Vec<i64> =
            (0..entries).map(|_| r.int(if signed { -128 } else { 0 }, if signed { 127 } else { 255 })).collect();
        let dtype = if signed { DType::I8 } else { DType::U8 };
        let table = b.g.add_const("table", Tensor::from_ints(Type::plain(dtype, vec![entries]), &table).unwrap());
        let t = r.narrow(&dims, signed);
        let looked = b.op_as("looked", Op::Table, &[product, table], t);
        let joined = b.op("joined", Op::Concat { axis: 1 }, &[q, clip]);
        let pad = Pad { begins: vec![0, 1, 2, 0], ends: vec![0, 0, 1, 3], mode: PadMode::Constant(0.1) };
        let padded = b.op("padded", Op::Pad(pad), &[joined]);
        let y = b.op("y", Op::Dequantize, &[looked]);
        assert_eq!(b.g.ty(clip), &same);
        let stochastic = Op::Quantize { rounding: Rounding::Stochastic { seed: 7 } };
        let t = r.narrow(&dims, signed);
        let s = b.op_as("stochastic", stochastic, &[x], t);
        out.push(b.case(&[y, padded, sum, s]));
    }
}

fn one_pixel() -> Pool {
    Pool {
        kernel: vec![1, 1],
        strides: vec![1, 1],
        pads: vec![0; 4],
        dilations: vec![1, 1],
        ceil_mode: false,
        count_include_pad: false,
    }
}

/// Rows, and moving data in both layouts.
fn movement(out: &mut Vec<Case>) {
    for (i, pooled) in [false, true].into_iter().enumerate() {
        let r = &mut Random((5000 + i as u64) << 32);
        let mut b = Build::new(&format!("movement.{i}"));
        let x = r.floats(&[2, 6, 4, 5]);
        let mut x = b.input(x);
        if pooled {
            x = b.op("pool", Op::MaxPool(one_pixel()), &[x]);
        }
        let slice = |axis, start, end, step| SliceAxis { axis, start, end, step };
        let mut outputs = vec![
            b.op("t0", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]),
            b.op("t1", Op::Transpose { perm: vec![3, 1, 0, 2] }, &[x]),
            b.op("s0", Op::Slice(vec![slice(2, 0, i64::MAX, 2), slice(-1, -2, 0, -1)]), &[x]),
            b.op("s1", Op::Slice(vec![slice(1, 1, 4, 1)]), &[x]),
            b.op("r0", Op::Reshape { dims: vec![0, -1, 10] }, &[x]),
            b.op("c0", Op::Concat { axis: 2 }, &[x, x]),
            b.op("c1", Op::Concat { axis: 0 }, &[x, x]),
            b.op("e0", Op::Expand { dims: vec![3, 2, 6, 4, 5] }, &[x]),
            b.op("softmax1", Op::Softmax { axis: 1 }, &[x]),
            b.op("softmax3", Op::Softmax { axis: 3 }, &[x]),
            b.op("softmax2", Op::Softmax { axis: 2 }, &[x]),
        ];
        let pad = |mode| Op::Pad(Pad { begins: vec![0, 1, 2, 0], ends: vec![1, 0, 1, 3], mode });
        outputs.push(b.op("p0", pad(PadMode::Constant(-1.5)), &[x]));
        outputs.push(b.op(
            "p1",
            Op::Pad(Pad { begins: vec![0, 0, 2, 1], ends: vec![0, 0, 1, 3], mode: PadMode::Reflect }),
            &[x],
        ));
        outputs.push(b.op(
            "p2",
            Op::Pad(Pad { begins: vec![0, -1, 0, 1], ends: vec![0, 0, -1, 0], mode: PadMode::Edge }),
            &[x],
        ));
        let split = Op::Split { axis: 1, sizes: vec![1, 3, 2] };
        let types = [1, 3, 2].map(|n| Type::f32(vec![2, n, 4, 5]));
        let parts: Vec<(&str, Type)> = ["a", "b", "c"].into_iter().zip(types).collect();
        let node = b.g.add_node("split", split, vec![Some(x)], &parts);
        outputs.extend(b.g.node(node).outputs.clone());
        let scale = r.floats(&[4, 5]);
        let scale = b.g.add_const("scale", scale);
        let bias = r.floats(&[4, 5]);
        let bias = b.g.add_const("bias", bias);
        outputs.push(b.op("norm", Op::LayerNorm { axis: 2, epsilon: 1e-5 }, &[x, scale, bias]));
        let indices = Tensor::from_i64(&[2, 2], vec![0, -1, 3, 1]).unwrap();
        let indices = b.g.add_const("indices", indices);
        outputs.push(b.op("gather", Op::Gather { axis: 1 }, &[x, indices]));
        out.push(b.case(&outputs));
    }
}

/// More axes than anybody writes: moved, and broadcast.
fn more_axes(out: &mut Vec<Case>) {
    let r = &mut Random(6000 << 32);
    let backwards: Vec<usize> = (0..18).rev().collect();
    for (name, dims) in [
        ("few", (0..18).map(|i| if i % 7 == 3 { 2 + i / 7 } else { 1 }).collect::<Vec<usize>>()),
        ("all", vec![2; 18]),
        ("mixed", (0..18).map(|i| if i < 8 { 1 } else { 1 + (i + 1) % 3 }).collect()),
    ] {
        let mut b = Build::new(&format!("more_axes.{name}"));
        let x = r.floats(&dims);
        let x = b.input(x);
        let turned = b.op("turned", Op::Transpose { perm: backwards.clone() }, &[x]);
        // Every other axis broadcast, which no run of elements can say.
        let comb: Vec<usize> = dims.iter().enumerate().map(|(i, d)| if i % 2 == 0 { 1 } else { *d }).collect();
        let y = r.floats(&comb);
        let y = b.input(y);
        let sum = b.op("sum", Op::Binary(Binary::Add), &[x, y]);
        out.push(b.case(&[turned, sum]));
    }
}

const ROUNDINGS: [Rounding; 6] = [
    Rounding::HalfEven,
    Rounding::HalfUp,
    Rounding::HalfAway,
    Rounding::TowardZero,
    Rounding::Floor,
    Rounding::Stochastic { seed: 11 },
];

/// Names of cases whose every node has a kernel begin so.
pub const KERNELS: &str = "kernels.";

/// Every rounding of everything that rounds, in both layouts, with accumulators that two nodes read.
fn roundings(out: &mut Vec<Case>) {
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

/// Weights of 16 bits, unsigned and asymmetric ones, into accumulators that are rescaled or made real.
fn weights(out: &mut Vec<Case>) {
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

/// A float value in the layout of the file, and one that lies channels last because a pool made it.
fn both_layouts(b: &mut Build, x: Tensor) -> [ValueId; 2] {
    let x = b.input(x);
    [x, b.op("pooled", Op::MaxPool(one_pixel()), &[x])]
}

/// Stored statistics, choices, conversions, axes of size 1, and an operator of the user's.
fn sundry(out: &mut Vec<Case>) {
    let r = &mut Random(6000 << 32);
    let mut b = Build::new("batch_norm");
    let mut outputs = Vec::new();
    let x = r.floats(&[2, 19, 4, 5]);
    let parameters: Vec<ValueId> = ["scale", "bias", "mean", "variance"]
        .map(|name| {
            let t = r.floats(&[19]);
            let data = t.f32s().unwrap().iter().map(|v| if name == "variance" { v.abs() } else { *v }).collect();
            b.g.add_const(name, Tensor::from_f32(&[19], data).unwrap())
        })
        .to_vec();
    for (i, x) in both_layouts(&mut b, x).into_iter().enumerate() {
        let operands = [&[x], parameters.as_slice()].concat();
        outputs.push(b.op(&format!("y{i}"), Op::BatchNorm { epsilon: 1e-3 }, &operands));
    }
    out.push(b.case(&outputs));

    for (i, (condition, x, y)) in [
        (vec![2, 3, 4, 5], vec![2, 3, 4, 5], vec![2, 3, 4, 5]),
        (vec![3, 1, 1], vec![2, 3, 4, 5], vec![]),
        (vec![2, 1, 4, 1], vec![5], vec![3, 1, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut b = Build::new(&format!("where.{i}"));
        let (a, zero) = (r.floats(&condition), b.g.add_const("zero", Tensor::scalar(0.0)));
        let a = b.input(a);
        let condition = b.op("condition", Op::Binary(Binary::Less), &[a, zero]);
        let (s, t) = (r.floats(&x), r.floats(&y));
        let (s, t) = (b.input(s), b.input(t));
        let floats = b.op("floats", Op::Where, &[condition, s, t]);
        let ty = r.narrow(&x, false);
        let (p, q) = (r.ints(&ty), r.ints(&ty.with_shape(y.clone())));
        let (p, q) = (b.input(p), b.input(q));
        let bytes = b.op("bytes", Op::Where, &[condition, p, q]);
        let (p, q) = (r.ints(&Type::plain(DType::I64, x.clone())), r.ints(&Type::plain(DType::I64, y)));
        let (p, q) = (b.input(p), b.input(q));
        let wide = b.op("wide", Op::Where, &[condition, p, q]);
        out.push(b.case(&[floats, bytes, wide, condition]));
    }

    let mut b = Build::new("cast");
    let mut data: Vec<f32> = (0..200).map(|_| r.float() * 300.0).collect();
    data.extend([
        0.0,
        -0.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-40,
        65504.0,
        65520.0,
        3e38,
        -3e38,
        0.5,
        2.5,
    ]);
    let n = data.len();
    let x = b.input(Tensor::from_f32(&[n], data).unwrap());
    let i = r.ints(&Type::plain(DType::I64, vec![n]));
    let i = b.input(i);
    let mut outputs = Vec::new();
    for to in DType::ALL {
        let y = b.op(&format!("float.{to}"), Op::Cast { to }, &[x]);
        let z = b.op(&format!("int.{to}"), Op::Cast { to }, &[i]);
        // Read back as f32, which shows the halves and what integers become.
        for (y, name) in [(y, "float"), (z, "int")] {
            outputs.push(match to {
                DType::F32 => y,
                _ => b.op(&format!("{name}.{to}.f32"), Op::Cast { to: DType::F32 }, &[y]),
            });
        }
    }
    out.push(b.case(&outputs));

    for integer in [false, true] {
        let mut b = Build::new(if integer { "squeeze.u8" } else { "squeeze.f32" });
        let dims = [1, 6, 1, 5];
        let x = match integer {
            true => {
                let ty = r.narrow(&dims, false);
                r.ints(&ty)
            }
            false => r.floats(&dims),
        };
        let mut outputs = Vec::new();
        for (i, x) in both_layouts(&mut b, x).into_iter().enumerate() {
            outputs.push(b.op(&format!("squeezed{i}"), Op::Squeeze { axes: vec![0, -2] }, &[x]));
            let wide = b.op(&format!("wide{i}"), Op::Unsqueeze { axes: vec![1, -1] }, &[x]);
            outputs.push(b.op(&format!("turned{i}"), Op::Transpose { perm: vec![3, 0, 5, 1, 4, 2] }, &[wide]));
            outputs.push(wide);
        }
        out.push(b.case(&outputs));
    }

    let mut b = Build::new("custom");
    let x = r.floats(&[2, 7, 3, 5]);
    let mut outputs = Vec::new();
    for (i, x) in both_layouts(&mut b, x).into_iter().enumerate() {
        let before = b.op(&format!("before{i}"), Op::Unary(Unary::Sigmoid), &[x]);
        let (y, ty) = (format!("own{i}"), Type::f32(vec![2, 7, 3, 5]));
        let own = Op::Custom(CustomId("Reversed".into()));
        let node = b.g.add_node(&y, own, vec![Some(before)], &[(&y, ty)]);
        let own = b.g.node(node).outputs[0];
        outputs.push(b.op(&format!("after{i}"), Op::Relu, &[own]));
        outputs.push(own);
    }
    out.push(b.case(&outputs));
}

/// The operator of the user's in these cases: the elements of its operand in reverse order.
struct Reversed;

impl CustomOp for Reversed {
    fn name(&self) -> &str {
        "Reversed"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        inputs.first().map(|x| vec![(*x).clone()]).ok_or_else(|| Error::new("expected one input"))
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let reversed = |x: &&Tensor| Tensor::from_f32(x.dims(), x.f32s()?.iter().rev().copied().collect());
        inputs.iter().map(reversed).collect()
    }
}

/// What an executor needs to know of the cases.
pub fn customs() -> Customs {
    Customs::default().with(Arc::new(Reversed)).unwrap()
}

/// Resampling of floats and bytes, by every mode.
fn resizes(out: &mut Vec<Case>) {
    let sizes = [(vec![1.0, 1.0, 2.0, 3.0], None), (vec![1.0, 1.0, 0.6, 1.5], None), (vec![], Some(vec![2, 5, 3, 11]))];
    let nearest = [Nearest::RoundPreferFloor, Nearest::RoundPreferCeil, Nearest::Floor, Nearest::Ceil];
    let modes: Vec<ResizeMode> = nearest.map(ResizeMode::Nearest).into_iter().chain([ResizeMode::Linear]).collect();
    let coordinates =
        [Coordinates::HalfPixel, Coordinates::PytorchHalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric];
    for (i, (scales, sizes)) in sizes.iter().enumerate() {
        let r = &mut Random((6500 + i as u64) << 32);
        for integer in [false, true] {
            let mut b = Build::new(&format!("resize.{}.{i}", if integer { "u8" } else { "f32" }));
            let dims = [2, 5, 5, 6];
            let x = match integer {
                true => {
                    let ty = r.narrow(&dims, false);
                    r.ints(&ty)
                }
                false => r.floats(&dims),
            };
            let xs = both_layouts(&mut b, x);
            let mut outputs = Vec::new();
            for mode in modes.iter().filter(|m| !integer || **m != ResizeMode::Linear) {
                for coordinates in coordinates {
                    let resize = Resize { scales: scales.clone(), sizes: sizes.clone(), mode: *mode, coordinates };
                    for x in xs {
                        let name = format!("y{}", outputs.len());
                        outputs.push(b.op(&name, Op::Resize(resize.clone()), &[x]));
                    }
                }
            }
            out.push(b.case(&outputs));
        }
    }
}

/// From 16 bits to 8 and back, by every method, signed and unsigned.
fn requantizes(out: &mut Vec<Case>) {
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

/// Moves of five and six axes.
fn many_axes(out: &mut Vec<Case>) {
    for integer in [false, true] {
        let r = &mut Random((8000 + u64::from(integer)) << 32);
        let mut b = Build::new(if integer { "axes.i8" } else { "axes.f32" });
        let dims = [2, 3, 4, 2, 5, 3];
        let x = match integer {
            true => {
                let ty = r.narrow(&dims, true);
                r.ints(&ty)
            }
            false => r.floats(&dims),
        };
        let x = b.input(x);
        let slice = |axis, start, end, step| SliceAxis { axis, start, end, step };
        let mut outputs = vec![
            b.op("t0", Op::Transpose { perm: vec![0, 2, 4, 1, 3, 5] }, &[x]),
            b.op("t1", Op::Transpose { perm: vec![5, 4, 3, 2, 1, 0] }, &[x]),
            b.op("t2", Op::Transpose { perm: vec![0, 1, 2, 3, 5, 4] }, &[x]),
            b.op("s0", Op::Slice(vec![slice(1, 1, i64::MAX, 1), slice(-2, -1, i64::MIN, -2)]), &[x]),
            b.op("s1", Op::Slice(vec![slice(4, -99, i64::MIN, -1), slice(0, 99, 0, -1)]), &[x]),
            b.op("c0", Op::Concat { axis: 3 }, &[x, x]),
            b.op("c1", Op::Concat { axis: -1 }, &[x, x]),
            b.op("r0", Op::Reshape { dims: vec![2, 12, 2, 15] }, &[x]),
            b.op("e0", Op::Expand { dims: vec![2, 2, 3, 4, 2, 5, 3] }, &[x]),
        ];
        let mode = PadMode::Constant(0.25);
        let pad = Pad { begins: vec![0, 1, 0, 0, 2, 1], ends: vec![1, 0, 0, 1, -1, 0], mode };
        outputs.push(b.op("p0", Op::Pad(pad), &[x]));
        let edge = Pad { begins: vec![0, 1, 0, 0, 2, 1], ends: vec![1, 0, 0, 1, 0, 0], mode: PadMode::Edge };
        outputs.push(b.op("p1", Op::Pad(edge), &[x]));
        let indices = b.g.add_const("indices", Tensor::from_i64(&[2, 2], vec![0, -1, 3, 1]).unwrap());
        outputs.push(b.op("g0", Op::Gather { axis: 2 }, &[x, indices]));
        for axis in [1, 3] {
            let parts = [format!("a{axis}"), format!("b{axis}")];
            let types = [1, dims[axis] - 1].map(|n| {
                let mut part = dims.to_vec();
                part[axis] = n;
                b.g.ty(x).with_shape(part)
            });
            let split = Op::Split { axis: axis as i64, sizes: vec![1, dims[axis] - 1] };
            let named: Vec<(&str, Type)> = parts.iter().map(String::as_str).zip(types).collect();
            let node = b.g.add_node(&format!("split{axis}"), split, vec![Some(x)], &named);
            outputs.extend(b.g.node(node).outputs.clone());
        }
        if !integer {
            for axis in [2, 5] {
                outputs.push(b.op(&format!("softmax{axis}"), Op::Softmax { axis }, &[x]));
            }
            for (kind, axes) in [(ReduceKind::Mean, vec![1, 4]), (ReduceKind::Max, vec![0, 2, 5])] {
                let reduce = Reduce { kind, axes, keep_dims: false };
                outputs.push(b.op(&format!("{kind:?}"), Op::Reduce(reduce), &[x]));
            }
        }
        out.push(b.case(&outputs));
    }
}

/// Windows of hundreds of taps, whole images of thousands, and three spatial axes.
fn large_pools(out: &mut Vec<Case>) {
    for (i, (dims, kernel, strides, pads)) in [
        (vec![1, 19, 40, 33], vec![13, 17], vec![3, 2], vec![6, 8, 5, 0]),
        (vec![2, 3, 70, 65], vec![70, 65], vec![1, 1], vec![0; 4]),
        (vec![1, 64, 30, 30], vec![29, 1], vec![1, 7], vec![14, 0, 14, 0]),
        (vec![1, 5, 7, 8, 9], vec![3, 4, 5], vec![2, 1, 3], vec![1, 0, 2, 1, 2, 2]),
        (vec![1, 17, 300], vec![129], vec![64], vec![64, 0]),
    ]
    .into_iter()
    .enumerate()
    {
        let pool = Pool {
            dilations: vec![1; kernel.len()],
            kernel,
            strides,
            pads,
            ceil_mode: i % 2 == 0,
            count_include_pad: i % 3 == 0,
        };
        let r = &mut Random((9000 + i as u64) << 32);
        let mut b = Build::new(&format!("large_pool.f32.{i}"));
        let x = r.floats(&dims);
        let x = b.input(x);
        let outputs = [
            b.op("max", Op::MaxPool(pool.clone()), &[x]),
            b.op("avg", Op::AvgPool(pool.clone()), &[x]),
            b.op("global", Op::GlobalAvgPool, &[x]),
        ];
        out.push(b.case(&outputs));
        for signed in [false, true] {
            let mut b = Build::new(&format!("large_pool.{}.{i}", if signed { "i8" } else { "u8" }));
            let (x, ty, global) = (r.narrow(&dims, signed), r.narrow(&dims, signed), r.narrow(&dims, signed));
            let x = r.ints(&x);
            let x = b.input(x);
            let method = r.pick(&[Method::Float32, Method::Fixed]);
            let average = |pool| Op::QAvgPool(QAvgPool { pool, rescale: rescale(method) });
            let outputs = [
                b.op("max", Op::MaxPool(pool.clone()), &[x]),
                b.op_as("avg", average(Some(pool.clone())), &[x], ty),
                b.op_as("global", average(None), &[x], global),
            ];
            out.push(b.case(&outputs));
        }
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    integer_convs(&mut out);
    channel_activations(&mut out);
    wide_convs(&mut out);
    mixed_widths(&mut out);
    float_convs(&mut out);
    dense(&mut out);
    products(&mut out);
    pools(&mut out);
    elementwise(&mut out);
    movement(&mut out);
    sundry(&mut out);
    resizes(&mut out);
    requantizes(&mut out);
    many_axes(&mut out);
    large_pools(&mut out);
    more_axes(&mut out);
    roundings(&mut out);
    weights(&mut out);
    fused::fused(&mut out);
    out
}
