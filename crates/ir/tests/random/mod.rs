//! Random graphs: every operator, every dtype, odd names, shapes and parameters. They print and parse, no more: types
//! do not fit operators, and quantization may be malformed.

use bytes::Bytes;
use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::{
    Conv, Coordinates, Crop, CumSum, CustomId, GridMode, GridPadding, GridSample, MatMul, Nearest, NonMaxSuppression,
    Pad, PadMode, Pool, QAvgPool, Recurrent, Reduce, ReduceKind, Rescale, Resize, ResizeMode, RoiAlign, RoiMode,
    Scatter, SliceAxis, TopK, Unary,
};
use lowbit_ir::request::{Kind, Request, ScaleForm, Sharing};
use lowbit_ir::text::OPERATORS;
use lowbit_ir::{DType, Dim, Granularity, Graph, Op, Quant, Shape, Tensor, Type, ValueId};
use strum::IntoEnumIterator;

/// SplitMix64: the same numbers for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn list<T>(&mut self, longest: usize, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(longest + 1)).map(|_| item(self)).collect()
    }

    fn int(&mut self) -> i64 {
        let wide = self.bits() as i64;
        let narrow = wide % 10;
        self.pick(&[narrow, narrow, narrow, wide, i64::MIN, i64::MAX])
    }

    fn size(&mut self) -> usize {
        let wide = self.bits() as usize;
        self.pick(&[wide % 10, wide % 10, wide % 10, wide, usize::MAX])
    }

    /// Any bits; without NaN if the seed asks for graphs that can be compared.
    fn float(&mut self, nan: bool) -> f32 {
        let any = f32::from_bits(self.bits() as u32);
        let usual = self.below(1000) as f32 / 64.0;
        let odd_nan = f32::from_bits(self.bits() as u32 | 0x7f80_0001);
        let x = self.pick(&[
            usual,
            any,
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            odd_nan,
            f32::MIN_POSITIVE,
            1e-45,
        ]);
        if x.is_nan() && !nan { usual } else { x }
    }

    fn name(&mut self) -> String {
        const NAMES: [&str; 16] = [
            "x",
            "conv1.weight",
            "123",
            "/layer1/Conv_output_0",
            "a b",
            "_",
            ".",
            "scalar",
            "naïve 日本語",
            "\"",
            "\\",
            "line\nbreak\ttab\r",
            "//",
            "\u{1}\u{85}\u{202e}",
            "%x: f32[1]",
            "}",
        ];
        let name = self.pick(&NAMES);
        if self.chance(50) { format!("{name}{}", self.below(100)) } else { name.to_string() }
    }
}

fn shape(r: &mut Random, known: bool) -> Shape {
    const SYMBOLS: [&str; 8] = ["N", "batch", "max", "scalar", "x", "", "(H+1)/2", "a.b"];
    let dims = r.list(4, |r| match known || r.chance(70) {
        true => Dim::Known(r.below(5)),
        false => Dim::Symbol(r.pick(&SYMBOLS).into()),
    });
    Shape(dims)
}

fn quant(r: &mut Random, nan: bool) -> Quant {
    let granularity = match r.below(3) {
        0 => Granularity::Tensor,
        1 => Granularity::Channel { axis: r.below(4) },
        _ => Granularity::Block { axis: r.below(4), size: r.size() },
    };
    let scales = if r.chance(50) { 1 } else { r.below(9) };
    let zeros = if r.chance(80) { scales } else { r.below(9) };
    let zero = r.bits() as i32;
    let zero_point = match r.below(3) {
        0 => vec![0; zeros],
        1 => vec![zero; zeros],
        _ => (0..zeros).map(|_| r.bits() as i32 % 200).collect(),
    };
    let (qmin, qmax) = r.pick(&[(0, 255), (-127, 127), (i64::MIN, i64::MAX), (-2147483648, 2147483647), (7, -7)]);
    let scale: Vec<f32> = (0..scales).map(|_| r.float(nan)).collect();
    Quant { scale: scale.into(), zero_point: zero_point.into(), qmin, qmax, granularity }
}

fn ty(r: &mut Random, known: bool, nan: bool) -> Type {
    let dtype = r.pick(&DType::ALL);
    let shape = shape(r, known);
    let quant = r.chance(40).then(|| quant(r, nan));
    Type { dtype, shape, quant }
}

fn constant(r: &mut Random, nan: bool) -> Tensor {
    let ty = ty(r, true, nan);
    let count = ty.shape.count().unwrap();
    let len = ty.dtype.bytes(count).unwrap();
    // Any bytes: NaNs with payloads, padding bits that are not zero, bools that are neither 0 nor 1.
    let few = r.chance(50);
    let bytes: Vec<u8> = (0..len).map(|_| if few { r.below(2) as u8 } else { r.bits() as u8 }).collect();
    Tensor::from_bytes(ty, Bytes::from(bytes)).unwrap()
}

fn rounding(r: &mut Random) -> Rounding {
    let seed = r.bits();
    use Rounding::*;
    r.pick(&[HalfEven, HalfUp, HalfAway, TowardZero, Floor, Stochastic { seed }])
}

fn rescale(r: &mut Random) -> Rescale {
    Rescale { method: r.pick(&[Method::Float32, Method::Fixed, Method::Shift]), rounding: rounding(r) }
}

fn pool(r: &mut Random) -> Pool {
    Pool {
        kernel: r.list(3, Random::size),
        strides: r.list(3, Random::size),
        pads: r.list(6, Random::size),
        dilations: r.list(3, Random::size),
        ceil_mode: r.chance(50),
        count_include_pad: r.chance(50),
    }
}

fn reduce(r: &mut Random, kind: ReduceKind) -> Op {
    Op::Reduce(Reduce { kind, axes: r.list(3, Random::int), keep_dims: r.chance(50) })
}

fn resize(r: &mut Random, nan: bool) -> Resize {
    let nearest = r.pick(&[Nearest::RoundPreferFloor, Nearest::RoundPreferCeil, Nearest::Floor, Nearest::Ceil]);
    let cubic = ResizeMode::Cubic { a: r.float(nan) };
    let crop = Coordinates::Crop(Crop {
        begins: r.list(4, |r| r.float(nan)),
        ends: r.list(4, |r| r.float(nan)),
        outside: r.float(nan),
    });
    Resize {
        scales: r.list(4, |r| r.float(nan)),
        sizes: r.chance(50).then(|| r.list(4, Random::size)),
        mode: r.pick(&[ResizeMode::Linear, ResizeMode::Nearest(nearest), cubic]),
        coordinates: r.pick(&[
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
            Coordinates::HalfPixelSymmetric,
            crop,
        ]),
        antialias: r.chance(20),
        exclude_outside: r.chance(20),
    }
}

fn spec(r: &mut Random) -> Request {
    let (axis, size) = (r.size(), r.size());
    Request {
        kind: r.pick(&[Kind::Input, Kind::Weight, Kind::Activation]),
        bits: r.bits() as u8,
        signed: r.chance(50),
        symmetric: r.chance(50),
        narrow: r.chance(50),
        sharing: r.pick(&[Sharing::Tensor, Sharing::Channel(axis), Sharing::Block { axis, size }]),
        scale: r.pick(&[ScaleForm::Float, ScaleForm::PowerOfTwo]),
        rounding: rounding(r),
        observer: r.name().into(),
    }
}

const SCATTER: [Scatter; 5] = [Scatter::Replace, Scatter::Add, Scatter::Mul, Scatter::Min, Scatter::Max];

/// An operator of this name with random attributes.
pub fn op(name: &str, r: &mut Random, nan: bool) -> Op {
    let unary = |f: Unary| Op::Unary(f);
    match name {
        "Conv" => Op::Conv(Conv {
            strides: r.list(3, Random::size),
            pads: r.list(6, Random::size),
            dilations: r.list(3, Random::size),
            group: r.size(),
        }),
        "MatMul" => Op::MatMul(MatMul { trans_b: r.chance(50) }),
        "BatchNorm" => Op::BatchNorm { epsilon: r.float(nan) },
        "LayerNorm" => Op::LayerNorm { axis: r.int(), epsilon: r.float(nan) },
        "Softmax" => Op::Softmax { axis: r.int() },
        "Relu" => Op::Relu,
        "Clip" => Op::Clip { min: r.float(nan), max: r.float(nan) },
        "Where" => Op::Where,
        "Cast" => Op::Cast { to: r.pick(&DType::ALL) },
        "MaxPool" => Op::MaxPool(pool(r)),
        "AvgPool" => Op::AvgPool(pool(r)),
        "GlobalAvgPool" => Op::GlobalAvgPool,
        "ReduceSum" => reduce(r, ReduceKind::Sum),
        "ReduceMean" => reduce(r, ReduceKind::Mean),
        "ReduceMax" => reduce(r, ReduceKind::Max),
        "ReduceMin" => reduce(r, ReduceKind::Min),
        "ReduceProd" => reduce(r, ReduceKind::Prod),
        "CumSum" => Op::CumSum(CumSum { axis: r.int(), exclusive: r.chance(50), reverse: r.chance(50) }),
        "Concat" => Op::Concat { axis: r.int() },
        "Split" => Op::Split { axis: r.int(), sizes: r.list(4, Random::size) },
        "Slice" => Op::Slice(r.list(4, |r| SliceAxis { axis: r.int(), start: r.int(), end: r.int(), step: r.int() })),
        "Pad" => {
            let value = PadMode::Constant(r.float(nan));
            let mode = r.pick(&[value, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
            Op::Pad(Pad { begins: r.list(4, Random::int), ends: r.list(4, Random::int), mode })
        }
        "Reshape" => Op::Reshape { dims: r.list(4, Random::int) },
        "Flatten" => Op::Flatten { axis: r.int() },
        "Squeeze" => Op::Squeeze { axes: r.list(4, Random::int) },
        "Unsqueeze" => Op::Unsqueeze { axes: r.list(4, Random::int) },
        "Transpose" => Op::Transpose { perm: r.list(4, Random::size) },
        "Gather" => Op::Gather { axis: r.int() },
        "GatherElements" => Op::GatherElements { axis: r.int() },
        "GatherNd" => Op::GatherNd { batch_dims: r.size() },
        "ScatterElements" => Op::ScatterElements { axis: r.int(), reduction: r.pick(&SCATTER) },
        "ScatterNd" => Op::ScatterNd { reduction: r.pick(&SCATTER) },
        "TopK" => Op::TopK(TopK { axis: r.int(), k: r.size(), largest: r.chance(50), sorted: r.chance(50) }),
        "Expand" => Op::Expand { dims: r.list(4, Random::size) },
        "Resize" => Op::Resize(resize(r, nan)),
        "GridSample" => Op::GridSample(GridSample {
            mode: r.pick(&GridMode::iter().collect::<Vec<_>>()),
            padding: r.pick(&GridPadding::iter().collect::<Vec<_>>()),
            align_corners: r.chance(50),
        }),
        "RoiAlign" => Op::RoiAlign(RoiAlign {
            mode: r.pick(&[RoiMode::Avg, RoiMode::Max]),
            height: r.size(),
            width: r.size(),
            sampling: r.size(),
            scale: r.float(nan),
            half_pixel: r.chance(50),
        }),
        "NonMaxSuppression" => Op::NonMaxSuppression(NonMaxSuppression {
            most: r.size(),
            iou: r.float(nan),
            score: r.chance(50).then(|| r.float(nan)),
            center: r.chance(50),
        }),
        "Identity" => Op::Identity,
        "Quantize" => Op::Quantize { rounding: rounding(r) },
        "Dequantize" => Op::Dequantize,
        "Requantize" => Op::Requantize(rescale(r)),
        "QAdd" => Op::QAdd(rescale(r)),
        "QMul" => Op::QMul(rescale(r)),
        "QAvgPool" => Op::QAvgPool(QAvgPool { pool: r.chance(50).then(|| pool(r)), rescale: rescale(r) }),
        "Table" => Op::Table,
        "Simulate" => Op::Simulate(spec(r)),
        "Custom" => Op::Custom(CustomId(r.name().into())),
        "Lstm" | "CoupledLstm" | "Gru" | "LinearGru" | "Rnn" => {
            let Some(Op::Recurrent(of)) = Op::named(name) else { panic!("{name} is a recurrent cell") };
            let functions = (0..of.cell.functions()).map(|_| r.pick(&Unary::all()).with(|| r.float(nan))).collect();
            let clip = if r.chance(50) { f32::INFINITY } else { r.float(nan) };
            Op::Recurrent(Recurrent { hidden: r.size(), reverse: r.chance(50), activations: functions, clip, ..of })
        }
        "HardSigmoid" => unary(Unary::HardSigmoid { alpha: r.float(nan), beta: r.float(nan) }),
        "LeakyRelu" => unary(Unary::LeakyRelu { alpha: r.float(nan) }),
        "Elu" => unary(Unary::Elu { alpha: r.float(nan) }),
        "Selu" => unary(Unary::Selu { alpha: r.float(nan), gamma: r.float(nan) }),
        "Celu" => unary(Unary::Celu { alpha: r.float(nan) }),
        "ThresholdedRelu" => unary(Unary::ThresholdedRelu { alpha: r.float(nan) }),
        // Those without attributes.
        _ => Op::named(name).unwrap_or_else(|| panic!("the operator {name} is made here")),
    }
}

/// A graph whose constants are all read; with `nan`, floats that do not equal themselves occur.
pub fn graph(seed: u64, nan: bool) -> Graph {
    let r = &mut Random(seed);
    let mut g = Graph::new(r.name());
    if r.chance(50) {
        (g.meta.producer, g.meta.doc) = (r.name(), r.name());
        g.meta.properties = r.list(3, |r| (r.name(), r.name())).into_iter().collect();
    }
    for _ in 0..r.below(3) {
        let (name, ty) = (r.name(), ty(r, false, nan));
        g.add_input(&name, ty);
    }
    let constants: Vec<ValueId> =
        r.list(4, |r| (r.name(), constant(r, nan))).into_iter().map(|(n, t)| g.add_const(&n, t)).collect();
    for _ in 0..r.below(9) {
        let known: Vec<ValueId> = g.values().map(|(id, _)| id).collect();
        let inputs = r.list(4, |r| (!known.is_empty() && r.chance(90)).then(|| r.pick(&known)));
        let op = op(r.pick(&OPERATORS), r, nan);
        let outputs: Vec<(String, Type)> = r.list(3, |r| (r.name(), ty(r, false, nan)));
        let outputs: Vec<(&str, Type)> = outputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let name = if r.chance(50) { outputs.first().map_or("n", |o| o.0).to_string() } else { r.name() };
        let id = g.add_node(&name, op, inputs, &outputs);
        g.node_mut(id).rule = r.chance(30).then(|| r.name().into());
    }
    let all: Vec<ValueId> = g.values().map(|(id, _)| id).collect();
    g.outputs = all.iter().copied().filter(|_| r.chance(20)).collect();
    g.outputs.extend(constants);
    g
}
