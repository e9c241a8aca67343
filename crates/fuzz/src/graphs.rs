//! Graphs made of bytes: every step is an operator that fits what is there, so that nearly all of them run.

use crate::choices::Choices;
use lowbit::Graph;
use lowbit::ir::infer::infer;
use lowbit::ir::op::{
    Binary, Conv, Coordinates, CumSum, GridMode, GridPadding, GridSample, MatMul, Nearest, Pad, PadMode, Pool,
    QAvgPool, Reduce, ReduceKind, Rescale, Resize, ResizeMode, Scatter, SliceAxis, TopK, Unary,
};
use lowbit::ir::{Customs, DType, Op, Quant, Tensor, Type, ValueId, memory};
use lowbit_arithmetic::{Method, Rounding};

/// Bytes that a value may take, and multiply-accumulates of a layer: every graph runs in a moment.
const LARGEST: usize = 16 << 10;
const MOST_MACS: u64 = 1 << 18;

const ROUNDINGS: [Rounding; 6] = [
    Rounding::HalfEven,
    Rounding::HalfUp,
    Rounding::HalfAway,
    Rounding::TowardZero,
    Rounding::Floor,
    Rounding::Stochastic { seed: 5 },
];

/// What a graph may be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Floats, as a model before it is quantized.
    Floats,
    /// Floats, plain integers and quantized ones.
    Everything,
}

/// A graph of up to twelve operators, with one or two inputs and at least one output.
pub fn graph(c: &mut Choices<'_>, of: Of) -> Graph {
    let mut made = Made { g: Graph::new("made"), of };
    let count = c.range(1, 12);
    made.input(c);
    if c.once_in(3) {
        made.input(c);
    }
    for _ in 0..count {
        made.step(c);
    }
    let read = made.g.users();
    let computed: Vec<ValueId> = made.g.nodes().flat_map(|(_, n)| n.outputs.iter().copied()).collect();
    let last = computed.iter().rev().filter(|v| read.of(**v).is_empty()).take(3).copied().collect::<Vec<_>>();
    made.g.outputs = match last.is_empty() {
        false => last,
        true => made.g.inputs.clone(),
    };
    // A value that is read and given out as well stays whole.
    if c.once_in(4)
        && let Some(v) = computed.first()
        && !made.g.outputs.contains(v)
    {
        made.g.outputs.push(*v);
    }
    made.g.sweep();
    made.g
}

struct Made {
    g: Graph,
    of: Of,
}

impl Made {
    fn input(&mut self, c: &mut Choices<'_>) {
        let channels = c.pick(&[3, 1, 2, 4, 8, 16, 17, 32, 5]);
        let (h, w) = (c.range(1, 9), c.range(1, 9));
        let batch = c.pick(&[1, 1, 2]);
        let dims = match c.below(8) {
            0..5 => vec![batch, channels, h, w],
            5 => vec![batch, channels, h],
            6 => vec![batch, channels],
            _ => vec![1, 2, 3, h, w],
        };
        let ty = match (self.of, c.below(4)) {
            (Of::Everything, 3) => quantized(c, &dims),
            _ => Type::f32(dims),
        };
        let name = format!("x{}", self.g.inputs.len());
        self.g.add_input(&name, ty);
    }

    /// A value that is there, more often a late one.
    fn value(&mut self, c: &mut Choices<'_>) -> ValueId {
        let constant = |v: &ValueId| self.g.constant(*v).is_some();
        let all: Vec<ValueId> = self.g.values().map(|(v, _)| v).filter(|v| !constant(v)).collect();
        let back = c.byte();
        let at = if back < 128 { 0 } else { usize::from(back) % all.len() };
        all[all.len() - 1 - at]
    }

    /// Another value that fits this one element by element, or a constant.
    fn partner(&mut self, c: &mut Choices<'_>, x: ValueId) -> ValueId {
        let ty = self.g.ty(x).clone();
        let alike: Vec<ValueId> =
            self.g.values().map(|(v, _)| v).filter(|v| self.g.ty(*v).dtype == ty.dtype && *v != x).collect();
        if !alike.is_empty() && c.below(2) == 0 {
            return c.pick(&alike);
        }
        let mut dims = ty.shape.dims().unwrap_or_default();
        match c.below(4) {
            0 => {}
            1 => dims.iter_mut().for_each(|d| *d = 1),
            2 => dims.iter_mut().enumerate().filter(|(i, _)| *i != 1).for_each(|(_, d)| *d = 1),
            _ => dims = Vec::new(),
        }
        self.tensor(c, &ty.with_shape(dims)).unwrap_or(x)
    }

    /// A constant of this type.
    fn tensor(&mut self, c: &mut Choices<'_>, ty: &Type) -> Option<ValueId> {
        let dims = ty.shape.dims()?;
        let made = match ty.dtype {
            DType::F32 => c.floats(&dims),
            _ => c.ints(ty),
        };
        let name = format!("c{}", self.g.value_bound());
        made.ok().map(|t| self.g.add_const(&name, t))
    }

    fn weights(&mut self, c: &mut Choices<'_>, dims: Vec<usize>) -> Option<ValueId> {
        let made = c.floats(&dims).ok()?;
        let name = format!("w{}", self.g.value_bound());
        Some(self.g.add_const(&name, made))
    }

    /// Indices of an axis of `n` elements, a few of them counted from its end and, seldom, one beyond it.
    fn indices(&mut self, c: &mut Choices<'_>, dims: Vec<usize>, n: usize) -> Option<ValueId> {
        let n = i64::try_from(n).ok()?;
        let beyond = i64::from(c.once_in(32));
        let mut numbers = c.numbers();
        let data = (0..dims.iter().product()).map(|_| numbers.int(-n, n - 1 + beyond)).collect();
        let made = Tensor::from_i64(&dims, data).ok()?;
        let name = format!("i{}", self.g.value_bound());
        Some(self.g.add_const(&name, made))
    }

    /// Adds a node if its operands suit it and its results are small; its first result.
    fn add(&mut self, op: Op, inputs: &[Option<ValueId>], declared: &[Type]) -> Option<ValueId> {
        let types: Vec<Option<&Type>> = inputs.iter().map(|v| v.map(|v| self.g.ty(v))).collect();
        let found = infer(&op, &types, declared, &Customs::default()).ok()?;
        let bytes: usize = found.iter().map(memory::bytes).fold(0, usize::saturating_add);
        if bytes > LARGEST {
            return None;
        }
        let name = format!("n{}", self.g.node_bound());
        let names: Vec<String> = (0..found.len()).map(|i| format!("{name}.{i}")).collect();
        let outputs: Vec<(&str, Type)> = names.iter().map(String::as_str).zip(found).collect();
        let node = self.g.add_node(&name, op, inputs.to_vec(), &outputs);
        if lowbit::ir::infer::macs(&self.g, node) > MOST_MACS {
            self.g.remove_node(node);
            return None;
        }
        self.g.node(node).outputs.first().copied()
    }

    /// One operator more, if what was chosen fits.
    fn step(&mut self, c: &mut Choices<'_>) -> Option<ValueId> {
        let x = self.value(c);
        let ty = self.g.ty(x).clone();
        match (ty.is_quantized(), ty.dtype) {
            (true, _) if self.of == Of::Everything => self.integer_step(c, x, &ty),
            (false, DType::F32) => self.float_step(c, x, &ty),
            _ => self.any_step(c, x, &ty),
        }
    }

    fn float_step(&mut self, c: &mut Choices<'_>, x: ValueId, ty: &Type) -> Option<ValueId> {
        let dims = ty.shape.dims()?;
        let rank = dims.len();
        match c.below(20) {
            0..4 if rank >= 3 => {
                let (conv, weights) = convolution(c, &dims);
                let outs = *weights.first()?;
                let w = self.weights(c, weights)?;
                let bias = if c.below(2) == 0 { self.weights(c, vec![outs]) } else { None };
                self.add(Op::Conv(conv), &[Some(x), Some(w), bias], &[])
            }
            0..6 if rank >= 2 => {
                let (k, n) = (*dims.last()?, c.pick(&[1, 2, 5, 8, 16, 33]));
                let trans_b = c.once_in(3);
                if c.once_in(4) {
                    let other = self.partner(c, x);
                    return self.add(Op::MatMul(MatMul { trans_b }), &[Some(x), Some(other)], &[]);
                }
                let w = self.weights(c, if trans_b { vec![n, k] } else { vec![k, n] })?;
                let bias = if c.below(2) == 0 { self.weights(c, vec![n]) } else { None };
                self.add(Op::MatMul(MatMul { trans_b }), &[Some(x), Some(w), bias], &[])
            }
            6 => self.add(Op::Relu, &[Some(x)], &[]),
            7 => {
                let (a, b) = (c.float(), c.float());
                self.add(Op::Clip { min: a.min(b), max: a.max(b) }, &[Some(x)], &[])
            }
            8 | 9 => {
                let f = c.pick(&Unary::all()).with(|| c.float());
                self.add(Op::Unary(f), &[Some(x)], &[])
            }
            10..13 => {
                let f = c.pick(&[Binary::Add, Binary::Mul, Binary::Add, Binary::Sub]);
                let f = if c.once_in(3) { c.pick(&Binary::all()) } else { f };
                let y = self.partner(c, x);
                let operands = if c.below(2) == 0 { [Some(x), Some(y)] } else { [Some(y), Some(x)] };
                self.add(Op::Binary(f), &operands, &[])
            }
            13 => {
                let op = if c.below(2) == 0 { Op::MaxPool(pool(c, rank)) } else { Op::AvgPool(pool(c, rank)) };
                self.add(op, &[Some(x)], &[])
            }
            14 => self.add(Op::GlobalAvgPool, &[Some(x)], &[]),
            15 => {
                let axis = c.int(-1, i64::try_from(rank).ok()?.max(1) - 1);
                self.add(Op::Softmax { axis }, &[Some(x)], &[])
            }
            16 => {
                let n = *dims.last()?;
                let (scale, bias) = (self.weights(c, vec![n])?, self.weights(c, vec![n]));
                self.add(Op::LayerNorm { axis: -1, epsilon: 1e-5 }, &[Some(x), Some(scale), bias], &[])
            }
            17 if self.of == Of::Everything => {
                let to = quantized(c, &dims);
                self.add(Op::Quantize { rounding: c.pick(&ROUNDINGS) }, &[Some(x)], &[to])
            }
            17 => {
                let n = *dims.get(1)?;
                let four: Vec<ValueId> = (0..4).filter_map(|_| self.weights(c, vec![n])).collect();
                // A variance is not negative.
                let data = (0..n).map(|i| 0.5 + i as f32 / 8.0).collect();
                let variance =
                    self.g.add_const(&format!("v{}", self.g.value_bound()), Tensor::from_f32(&[n], data).ok()?);
                let operands = [x, *four.first()?, *four.get(1)?, *four.get(2)?, variance].map(Some);
                self.add(Op::BatchNorm { epsilon: 1e-3 }, &operands, &[])
            }
            18 => self.resample(c, x, &dims),
            _ => self.any_step(c, x, ty),
        }
    }

    fn resample(&mut self, c: &mut Choices<'_>, x: ValueId, dims: &[usize]) -> Option<ValueId> {
        if c.once_in(3) {
            let grid = [*dims.first()?, c.range(1, 5), c.range(1, 5), 2];
            let grid = self.weights(c, grid.to_vec())?;
            let sample = GridSample {
                mode: c.pick(&[GridMode::Linear, GridMode::Nearest, GridMode::Cubic]),
                padding: c.pick(&[GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection]),
                align_corners: c.below(2) == 0,
            };
            return self.add(Op::GridSample(sample), &[Some(x), Some(grid)], &[]);
        }
        let nearest = c.pick(&[Nearest::RoundPreferFloor, Nearest::RoundPreferCeil, Nearest::Floor, Nearest::Ceil]);
        let scales: Vec<f32> = dims
            .iter()
            .enumerate()
            .map(|(i, _)| if i < 2 { 1.0 } else { c.pick(&[2.0, 1.0, 0.5, 1.5, 0.3]) })
            .collect();
        let resize = Resize {
            scales,
            sizes: None,
            mode: c.pick(&[ResizeMode::Nearest(nearest), ResizeMode::Linear, ResizeMode::Cubic { a: -0.75 }]),
            coordinates: c.pick(&[
                Coordinates::Asymmetric,
                Coordinates::HalfPixel,
                Coordinates::PytorchHalfPixel,
                Coordinates::AlignCorners,
                Coordinates::HalfPixelSymmetric,
            ]),
            antialias: c.once_in(5),
            exclude_outside: c.once_in(5),
        };
        self.add(Op::Resize(resize), &[Some(x)], &[])
    }

    /// What every element type has: movement, reductions, look-ups, casts.
    fn any_step(&mut self, c: &mut Choices<'_>, x: ValueId, ty: &Type) -> Option<ValueId> {
        let dims = ty.shape.dims()?;
        let rank = dims.len();
        let last = i64::try_from(rank).ok()? - 1;
        let axis = c.int(-1, last.max(0));
        let place = ty.shape.axis(axis).ok();
        let size = place.and_then(|i| dims.get(i)).copied().unwrap_or(1);
        match c.below(22) {
            0 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, c.below(i + 1));
                }
                self.add(Op::Transpose { perm }, &[Some(x)], &[])
            }
            1 => {
                let all: usize = dims.iter().product();
                let d = c.pick(&[1, 2, 3, 4]);
                let target = c.pick(&[
                    vec![-1],
                    vec![0, -1],
                    vec![i64::try_from(all / d).ok()?, d.try_into().ok()?],
                    vec![1, 0, -1],
                ]);
                self.add(Op::Reshape { dims: target }, &[Some(x)], &[])
            }
            2 => self.add(Op::Flatten { axis: c.int(0, 3) }, &[Some(x)], &[]),
            3 => {
                let y = if c.below(2) == 0 { x } else { self.partner(c, x) };
                let operands = if c.below(2) == 0 { vec![Some(x), Some(y)] } else { vec![Some(y), Some(x), Some(x)] };
                self.add(Op::Concat { axis }, &operands, &[])
            }
            4 => {
                let first = c.range(1, size.clamp(1, 200));
                self.add(Op::Split { axis, sizes: vec![first, size.checked_sub(first)?] }, &[Some(x)], &[])
            }
            5 => {
                let one = SliceAxis { axis, start: c.int(-3, 3), end: c.int(-4, 20), step: c.pick(&[1, 2, -1, -2]) };
                self.add(Op::Slice(vec![one]), &[Some(x)], &[])
            }
            6 => {
                let value = if ty.is_quantized() { 0.0 } else { c.float() };
                let mode = c.pick(&[PadMode::Constant(value), PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
                let some = |c: &mut Choices<'_>| {
                    (0..rank).map(|i| if i < 2 && i < last as usize { 0 } else { c.int(-1, 2) }).collect()
                };
                let (begins, ends) = (some(c), some(c));
                self.add(Op::Pad(Pad { begins, ends, mode }), &[Some(x)], &[])
            }
            7 => self.add(Op::Squeeze { axes: vec![axis] }, &[Some(x)], &[]),
            8 => self.add(Op::Unsqueeze { axes: vec![axis] }, &[Some(x)], &[]),
            9 => {
                let shape = c.pick(&[vec![2], vec![], vec![1, 3]]);
                let indices = self.indices(c, shape, size)?;
                self.add(Op::Gather { axis }, &[Some(x), Some(indices)], &[])
            }
            10 => {
                let indices = self.indices(c, dims.clone(), size)?;
                self.add(Op::GatherElements { axis }, &[Some(x), Some(indices)], &[])
            }
            11 => {
                let indices = self.indices(c, vec![2, 1], *dims.first()?)?;
                self.add(Op::GatherNd { batch_dims: 0 }, &[Some(x), Some(indices)], &[])
            }
            12 => {
                let indices = self.indices(c, dims.clone(), size)?;
                let updates = self.partner(c, x);
                let reduction = c.pick(&[Scatter::Replace, Scatter::Add, Scatter::Mul, Scatter::Min, Scatter::Max]);
                self.add(Op::ScatterElements { axis, reduction }, &[Some(x), Some(indices), Some(updates)], &[])
            }
            13 => {
                let top =
                    TopK { axis, k: c.range(1, size.clamp(1, 8)), largest: c.below(2) == 0, sorted: c.below(3) > 0 };
                self.add(Op::TopK(top), &[Some(x)], &[])
            }
            14 => {
                let mut to = dims.clone();
                to.iter_mut().filter(|d| **d == 1).for_each(|d| *d = 2);
                self.add(Op::Expand { dims: to }, &[Some(x)], &[])
            }
            15 => {
                let kinds = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod];
                let axes = c.pick(&[vec![axis], vec![], vec![-1, -2]]);
                self.add(Op::Reduce(Reduce { kind: c.pick(&kinds), axes, keep_dims: c.below(2) == 0 }), &[Some(x)], &[])
            }
            16 => {
                let sum = CumSum { axis, exclusive: c.below(2) == 0, reverse: c.below(2) == 0 };
                self.add(Op::CumSum(sum), &[Some(x)], &[])
            }
            17 => self.add(Op::Cast { to: c.pick(&DType::ALL) }, &[Some(x)], &[]),
            18 => {
                let zero = self.tensor(c, &ty.with_shape(vec![]))?;
                let tells = self.add(
                    Op::Binary(c.pick(&[Binary::Less, Binary::Greater, Binary::Equal])),
                    &[Some(x), Some(zero)],
                    &[],
                )?;
                let y = self.partner(c, x);
                self.add(Op::Where, &[Some(tells), Some(x), Some(y)], &[])
            }
            19 => {
                let f = c.pick(&Binary::all());
                let y = self.partner(c, x);
                self.add(Op::Binary(f), &[Some(x), Some(y)], &[])
            }
            20 => self.add(Op::Unary(c.pick(&Unary::all()).with(|| 0.5)), &[Some(x)], &[]),
            _ => self.add(Op::Identity, &[Some(x)], &[]),
        }
    }

    /// What integers that stand for reals have.
    fn integer_step(&mut self, c: &mut Choices<'_>, x: ValueId, ty: &Type) -> Option<ValueId> {
        let dims = ty.shape.dims()?;
        let rank = dims.len();
        let how = rescale(c);
        match c.below(16) {
            0..4 if rank >= 3 => {
                let (conv, weights) = convolution(c, &dims);
                let outs = *weights.first()?;
                let wty = weight_type(c, weights, 0);
                let w = self.tensor(c, &wty)?;
                self.layer(c, Op::Conv(conv), x, w, outs, &wty)
            }
            0..6 if rank >= 2 => {
                let (k, n) = (*dims.last()?, c.pick(&[1, 2, 5, 8, 16, 33, 64]));
                let trans_b = c.once_in(3);
                let wty = weight_type(c, if trans_b { vec![n, k] } else { vec![k, n] }, usize::from(!trans_b));
                let w = self.tensor(c, &wty)?;
                self.layer(c, Op::MatMul(MatMul { trans_b }), x, w, n, &wty)
            }
            6 => {
                let to = quantized(c, &dims);
                self.add(Op::Requantize(how), &[Some(x)], &[to])
            }
            7 | 8 => {
                let y = self.partner(c, x);
                let op = if c.below(2) == 0 { Op::QAdd(how) } else { Op::QMul(how) };
                let to = quantized(c, &dims);
                self.add(op, &[Some(x), Some(y)], &[to])
            }
            9 => {
                let pool = if c.below(2) == 0 { Some(pool(c, rank)) } else { None };
                let to = quantized(c, &dims);
                self.add(Op::QAvgPool(QAvgPool { pool, rescale: how }), &[Some(x)], &[to])
            }
            10 => self.add(Op::MaxPool(pool(c, rank)), &[Some(x)], &[]),
            11 if ty.dtype.bits() <= 8 => {
                let to = quantized(c, &dims);
                let table = Type::plain(to.dtype, vec![1 << ty.dtype.bits()]);
                let range = Type { quant: to.quant.clone(), ..table.clone() };
                let entries = c.ints(&range).ok()?.with_quant(None);
                let name = format!("t{}", self.g.value_bound());
                let entries = self.g.add_const(&name, entries);
                self.add(Op::Table, &[Some(x), Some(entries)], &[to])
            }
            12 => self.add(Op::Relu, &[Some(x)], &[]),
            13 => self.add(Op::Dequantize, &[Some(x)], &[]),
            _ => self.any_step(c, x, ty),
        }
    }

    /// A multiply-accumulate of integers and what mostly follows it.
    fn layer(
        &mut self,
        c: &mut Choices<'_>,
        op: Op,
        x: ValueId,
        w: ValueId,
        outs: usize,
        wty: &Type,
    ) -> Option<ValueId> {
        let (of_x, of_w) = (self.g.ty(x).quant.clone()?, wty.quant.clone()?);
        let bias = match c.below(2) {
            0 if of_x.is_per_tensor() => {
                let scale: Vec<f32> = of_w.scale.iter().map(|s| s * of_x.scale[0]).collect();
                let (lo, hi) = (i64::from(i32::MIN), i64::from(i32::MAX));
                let q = match of_w.is_per_tensor() {
                    true => Quant::per_tensor(*scale.first()?, 0, lo, hi),
                    false => Quant::per_channel(scale, 0, lo, hi),
                };
                let mut numbers = c.numbers();
                let data: Vec<i64> = (0..outs).map(|_| numbers.int(-30_000, 30_000)).collect();
                let bias = Tensor::from_ints(Type::quantized(DType::I32, vec![outs], q), &data).ok()?;
                let name = format!("b{}", self.g.value_bound());
                Some(self.g.add_const(&name, bias))
            }
            _ => None,
        };
        let sums = self.add(op, &[Some(x), Some(w), bias], &[])?;
        let dims = self.g.ty(sums).shape.dims()?;
        let sums = if c.once_in(4) { self.add(Op::Relu, &[Some(sums)], &[])? } else { sums };
        match c.below(4) {
            0 => self.add(Op::Dequantize, &[Some(sums)], &[]),
            1 => Some(sums),
            _ => {
                let (how, to) = (rescale(c), quantized(c, &dims));
                self.add(Op::Requantize(how), &[Some(sums)], &[to])
            }
        }
    }
}

fn rescale(c: &mut Choices<'_>) -> Rescale {
    let method = c.pick(&[Method::Float32, Method::Float32, Method::Fixed, Method::Shift]);
    let rounding = if c.below(2) == 0 { method.default_rounding() } else { c.pick(&ROUNDINGS) };
    Rescale { method, rounding }
}

fn scale(c: &mut Choices<'_>) -> f32 {
    match c.below(8) {
        0..5 => 0.01 + f32::from(c.byte()) / 1000.0,
        5 => 1.0,
        6 => 2f32.powi(c.int(-20, 4) as i32),
        _ => 1e-4 * (1.0 + f32::from(c.byte())),
    }
}

/// A quantized type of these sizes.
fn quantized(c: &mut Choices<'_>, dims: &[usize]) -> Type {
    let dtypes = [DType::U8, DType::U8, DType::I8, DType::U16, DType::I16, DType::U4, DType::I4, DType::I32, DType::U2];
    let dtype = c.pick(&dtypes);
    let (lo, hi) = dtype.range().unwrap_or((0, 255));
    let (mut qmin, mut qmax) = (lo, hi);
    let wide = hi - lo > 255;
    let zero = |c: &mut Choices<'_>| match c.below(4) {
        0 => 0,
        _ if wide => c.int(0, 100) * 100,
        _ => c.int(lo, hi),
    };
    let first = zero(c).clamp(lo, hi);
    match c.below(6) {
        0 => qmin = first,
        1 => qmin = lo + 1,
        2 => (qmin, qmax) = (first, (first + 20).min(hi)),
        _ => {}
    }
    let point = |z: i64| z as i32;
    let quant = match (c.once_in(8), dims.get(1)) {
        (true, Some(n)) if *n > 0 => Quant {
            zero_point: (0..*n).map(|_| point(zero(c).clamp(lo, hi))).collect(),
            ..Quant::per_channel((0..*n).map(|_| scale(c)).collect(), 1, qmin, qmax)
        },
        _ => Quant::per_tensor(scale(c), point(first), qmin, qmax),
    };
    Type::quantized(dtype, dims.to_vec(), quant)
}

/// The type of weights whose output channels lie along an axis.
fn weight_type(c: &mut Choices<'_>, dims: Vec<usize>, axis: usize) -> Type {
    let dtype = c.pick(&[DType::I8, DType::I8, DType::I8, DType::I4, DType::I16, DType::U8, DType::I2]);
    let (lo, hi) = dtype.range().unwrap_or((-128, 127));
    let low = if lo < 0 && c.below(2) == 0 { -hi } else { lo };
    let zero = match c.once_in(4) {
        true => c.int(lo.max(-100), hi.min(100)) as i32,
        false => 0,
    };
    let n = dims.get(axis).copied().unwrap_or(1);
    let quant = match c.below(2) {
        0 => Quant::per_tensor(scale(c), zero, low, hi),
        _ => Quant {
            zero_point: vec![zero; n].into(),
            ..Quant::per_channel((0..n).map(|i| 0.01 + 0.001 * (i % 7) as f32).collect(), axis, low, hi)
        },
    };
    Type::quantized(dtype, dims, quant)
}

/// A convolution of a value of these sizes, and the sizes of its weights.
fn convolution(c: &mut Choices<'_>, dims: &[usize]) -> (Conv, Vec<usize>) {
    let (channels, spatial) = (dims.get(1).copied().unwrap_or(1), dims.len() - 2);
    let group = match c.below(4) {
        0 => channels,
        1 if channels.is_multiple_of(2) => 2,
        _ => 1,
    };
    let outs = group * c.pick(&[1, 2, 3, 4, 8, 16, 17, 32]);
    let kernel: Vec<usize> = (0..spatial).map(|_| c.pick(&[3, 1, 2, 3, 5])).collect();
    let strides = (0..spatial).map(|_| c.pick(&[1, 1, 2, 3])).collect();
    let dilations = (0..spatial).map(|_| c.pick(&[1, 1, 2])).collect();
    let pads = (0..2 * spatial).map(|_| c.pick(&[1, 0, 1, 2])).collect();
    let weights = [vec![outs, channels.checked_div(group).unwrap_or(1)], kernel].concat();
    (Conv { strides, pads, dilations, group }, weights)
}

fn pool(c: &mut Choices<'_>, rank: usize) -> Pool {
    let spatial = rank.saturating_sub(2);
    Pool {
        kernel: (0..spatial).map(|_| c.range(1, 4)).collect(),
        strides: (0..spatial).map(|_| c.range(1, 3)).collect(),
        pads: (0..2 * spatial).map(|_| c.below(2)).collect(),
        dilations: (0..spatial).map(|_| c.pick(&[1, 1, 2])).collect(),
        ceil_mode: c.once_in(3),
        count_include_pad: c.once_in(3),
    }
}
