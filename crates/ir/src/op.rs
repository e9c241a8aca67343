//! The closed list of operators.
//!
//! Operators follow ONNX's meaning and its NCHW layout, in canonical form: whatever a file computes to describe a shape
//! is folded into attributes by the frontend, `Gemm` is a [`Op::MatMul`] with bias, `auto_pad` is explicit padding.
//! The same operator serves floats and integers: operand types choose the arithmetic (docs/arithmetic.md).
//! To add one: add a variant here and follow the compiler's list of non-exhaustive matches (CONTRIBUTING.md).

use crate::{DType, Request};
use lowbit_arithmetic::{Method, Rounding};
use std::sync::Arc;

/// An operator with its attributes. Inputs and outputs are listed as (inputs) -> (outputs); `?` marks an optional one.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    // ---- multiply-accumulate ----
    /// (x, w, bias?) -> y. Correlation over the spatial axes; `w` is [out, in / group, k...].
    Conv(Conv),
    /// (a, b, bias?) -> y. Batched matrix product, numpy broadcasting of leading axes; `bias` is [n].
    MatMul(MatMul),

    // ---- normalization ----
    /// (x, scale, bias, mean, variance) -> y, along axis 1.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// (x, scale, bias?) -> y, over the axes from `axis` on.
    LayerNorm {
        /// First normalized axis.
        axis: i64,
        /// Added to the variance.
        epsilon: f32,
    },
    /// (x) -> y, along one axis.
    Softmax {
        /// The axis that sums to one.
        axis: i64,
    },

    // ---- element by element ----
    /// (x) -> max(x, 0).
    Relu,
    /// (x) -> x limited to `min..=max`; infinite bounds are open.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// (x) -> f(x).
    Unary(Unary),
    /// (a, b) -> f(a, b), numpy broadcasting.
    Binary(Binary),
    /// (condition: bool, a, b) -> a where true, else b; numpy broadcasting.
    Where,
    /// (x) -> x converted; float to integer truncates toward zero.
    Cast {
        /// Target type.
        to: DType,
    },

    // ---- pooling and reduction ----
    /// (x) -> y.
    MaxPool(Pool),
    /// (x) -> y.
    AvgPool(Pool),
    /// (x) -> mean over all spatial axes, kept as size 1.
    GlobalAvgPool,
    /// (x) -> y reduced over axes.
    Reduce(Reduce),

    // ---- moving data ----
    /// (x...) -> y.
    Concat {
        /// The joined axis.
        axis: i64,
    },
    /// (x) -> (y...): consecutive parts along an axis.
    Split {
        /// The divided axis.
        axis: i64,
        /// Size of each part.
        sizes: Vec<usize>,
    },
    /// (x) -> y: start, end and step per listed axis.
    Slice(Vec<SliceAxis>),
    /// (x) -> y.
    Pad(Pad),
    /// (x) -> y: sizes; 0 copies the input's size at that place, one -1 takes what is left.
    Reshape {
        /// Target sizes.
        dims: Vec<i64>,
    },
    /// (x) -> 2-D: axes before `axis` joined, axes from it on joined.
    Flatten {
        /// First axis of the second half.
        axis: i64,
    },
    /// (x) -> x without these axes of size 1.
    Squeeze {
        /// Removed axes.
        axes: Vec<i64>,
    },
    /// (x) -> x with axes of size 1 inserted; positions count in the output.
    Unsqueeze {
        /// Inserted axes.
        axes: Vec<i64>,
    },
    /// (x) -> y: output axis i is input axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// (data, indices) -> y: slices of `data` along an axis; negative indices count from the end.
    Gather {
        /// The indexed axis.
        axis: i64,
    },
    /// (x) -> x repeated to the broadcast of its shape and these sizes.
    Expand {
        /// Sizes to broadcast with.
        dims: Vec<usize>,
    },
    /// (x) -> y resampled over the spatial axes.
    Resize(Resize),
    /// (x) -> x.
    Identity,

    // ---- quantization ----
    /// (x: float) -> quantized integers of the output's type.
    Quantize {
        /// How reals become integers.
        rounding: Rounding,
    },
    /// (q) -> f32.
    Dequantize,
    /// (q) -> q of the output's type.
    Requantize(Rescale),
    /// (a, b: quantized) -> a + b in the output's type.
    QAdd(Rescale),
    /// (a, b: quantized) -> a * b in the output's type, numpy broadcasting.
    QMul(Rescale),
    /// (x: quantized) -> average in the output's type.
    QAvgPool(QAvgPool),
    /// (x: quantized, table: [2^bits] of the output's storage type) -> table[x - lowest x].
    Table,
    /// (x: float) -> x: a place to quantize, until calibration knows its range.
    Simulate(Request),

    /// An operator of the user's, resolved by the engine's [`Customs`](crate::Customs) table.
    Custom(CustomId),
}

/// The name of a user's operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CustomId(pub Arc<str>);

/// Convolution attributes; every vector has one entry a spatial axis (`pads`: begins, then ends).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Zeros added: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Distance between taps.
    pub dilations: Vec<usize>,
    /// Number of channel groups.
    pub group: usize,
}

/// Matrix product attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MatMul {
    /// Whether the last two axes of `b` are [n, k] instead of [k, n].
    pub trans_b: bool,
}

/// Pooling window attributes, as [`Conv`]'s.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Window sizes.
    pub kernel: Vec<usize>,
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Padding: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Distance between taps.
    pub dilations: Vec<usize>,
    /// Whether partial windows at the end count.
    pub ceil_mode: bool,
    /// Whether an average divides by padding too.
    pub count_include_pad: bool,
}

/// What an integer average pools over, and how it rescales.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QAvgPool {
    /// The window; `None` for all spatial axes.
    pub pool: Option<Pool>,
    /// How the sum becomes the average.
    pub rescale: Rescale,
}

/// How an integer of one scale becomes an integer of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rescale {
    /// Arithmetic.
    pub method: Method,
    /// The one rounding.
    pub rounding: Rounding,
}

/// Reduction attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Reduced axes; empty means all.
    pub axes: Vec<i64>,
    /// Whether reduced axes stay with size 1.
    pub keep_dims: bool,
}

/// What a [`Reduce`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Sum divided by the count.
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

/// One sliced axis, as in ONNX: negative positions count from the end, positions beyond an end are limited to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SliceAxis {
    /// Which axis.
    pub axis: i64,
    /// First position.
    pub start: i64,
    /// One past the last position.
    pub end: i64,
    /// Step, not 0.
    pub step: i64,
}

/// Padding attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// Elements added before (negative: removed), one entry an axis.
    pub begins: Vec<i64>,
    /// Elements added after (negative: removed), one entry an axis.
    pub ends: Vec<i64>,
    /// What is added.
    pub mode: PadMode,
}

/// What a [`Pad`] adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PadMode {
    /// This real value.
    Constant(f32),
    /// The mirror image without the edge.
    Reflect,
    /// The edge.
    Edge,
}

/// Resampling attributes, as in ONNX Resize.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// Output size = floor(input * scale) per axis; all axes listed.
    pub scales: Vec<f32>,
    /// Explicit output sizes per axis instead; then scales are size / input.
    pub sizes: Option<Vec<usize>>,
    /// How samples are taken.
    pub mode: ResizeMode,
    /// How output coordinates map to the input.
    pub coordinates: Coordinates,
}

/// How a [`Resize`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// The nearest element.
    Nearest(Nearest),
    /// Multilinear.
    Linear,
}

/// How a nearest coordinate is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nearest {
    /// Half goes down.
    RoundPreferFloor,
    /// Half goes up.
    RoundPreferCeil,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// How [`Resize`] maps output coordinates to the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// (x + 0.5) / scale - 0.5.
    HalfPixel,
    /// As half pixel, but 0 where the output has size 1.
    PytorchHalfPixel,
    /// x * (in - 1) / (out - 1).
    AlignCorners,
    /// x / scale.
    Asymmetric,
}

/// Functions of one element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// |x|.
    Abs,
    /// -x.
    Neg,
    /// e^x.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// 1 / x.
    Reciprocal,
    /// Error function.
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x * sigmoid(x).
    Silu,
    /// x * (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// The tanh form of Gelu.
    GeluTanh,
    /// x * tanh(softplus(x)).
    Mish,
    /// ln(1 + e^x).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
    /// clamp(alpha * x + beta, 0, 1).
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// x * HardSigmoid(1/6, 1/2)(x).
    HardSwish,
    /// x or alpha * x below 0.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// x or alpha * (e^x - 1) below 0.
    Elu {
        /// Limit below 0.
        alpha: f32,
    },
    /// gamma * x or gamma * alpha * (e^x - 1) below 0.
    Selu {
        /// Limit below 0, before `gamma`.
        alpha: f32,
        /// Slope above 0.
        gamma: f32,
    },
    /// x or alpha * (e^(x / alpha) - 1) below 0.
    Celu {
        /// Limit below 0.
        alpha: f32,
    },
    /// x above alpha, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// Toward minus infinity.
    Floor,
    /// Toward plus infinity.
    Ceil,
    /// Half to even.
    Round,
    /// Boolean negation.
    Not,
}

/// Functions of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a * b.
    Mul,
    /// a / b; integers truncate toward zero.
    Div,
    /// a ^ b.
    Pow,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// a below 0 times b, else a.
    PRelu,
    /// a == b, as bool.
    Equal,
    /// a < b, as bool.
    Less,
    /// a > b, as bool.
    Greater,
    /// Both, of bools.
    And,
    /// Either, of bools.
    Or,
}

/// Families of operators, in netron's words, for reports and colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Multiply-accumulate.
    Layer,
    /// Element by element.
    Activation,
    /// Pooling and reduction.
    Pool,
    /// Normalization.
    Normalization,
    /// Moving data.
    Transform,
    /// Quantization.
    Quantization,
    /// The user's own.
    Custom,
}

/// A multiply-accumulate, by its kind: what is true of one need not be true of another, so whoever tells them apart
/// tells all apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer<'a> {
    /// [`Op::Conv`].
    Conv(&'a Conv),
    /// [`Op::MatMul`].
    MatMul(MatMul),
}

impl Op {
    /// Whether it is a multiply-accumulate: operands 0 and 1 are multiplied, operand 2 is the bias.
    pub fn is_layer(&self) -> bool {
        self.layer().is_some()
    }

    /// The multiply-accumulate that it is, if it is one. Exhaustive: a new operator must say.
    pub fn layer(&self) -> Option<Layer<'_>> {
        match self {
            Op::Conv(c) => Some(Layer::Conv(c)),
            Op::MatMul(m) => Some(Layer::MatMul(*m)),
            Op::BatchNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Softmax { .. }
            | Op::Relu
            | Op::Clip { .. }
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Where
            | Op::Cast { .. }
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Reduce(_)
            | Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Transpose { .. }
            | Op::Gather { .. }
            | Op::Expand { .. }
            | Op::Resize(_)
            | Op::Identity
            | Op::Quantize { .. }
            | Op::Dequantize
            | Op::Requantize(_)
            | Op::QAdd(_)
            | Op::QMul(_)
            | Op::QAvgPool(_)
            | Op::Table
            | Op::Simulate(_)
            | Op::Custom(_) => None,
        }
    }

    /// The operator's name, as configs, reports and the text form use it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::MatMul(_) => "MatMul",
            Op::BatchNorm { .. } => "BatchNorm",
            Op::LayerNorm { .. } => "LayerNorm",
            Op::Softmax { .. } => "Softmax",
            Op::Relu => "Relu",
            Op::Clip { .. } => "Clip",
            Op::Unary(f) => f.name(),
            Op::Binary(f) => f.name(),
            Op::Where => "Where",
            Op::Cast { .. } => "Cast",
            Op::MaxPool(_) => "MaxPool",
            Op::AvgPool(_) => "AvgPool",
            Op::GlobalAvgPool => "GlobalAvgPool",
            Op::Reduce(r) => match r.kind {
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Mean => "ReduceMean",
                ReduceKind::Max => "ReduceMax",
                ReduceKind::Min => "ReduceMin",
            },
            Op::Concat { .. } => "Concat",
            Op::Split { .. } => "Split",
            Op::Slice(_) => "Slice",
            Op::Pad(_) => "Pad",
            Op::Reshape { .. } => "Reshape",
            Op::Flatten { .. } => "Flatten",
            Op::Squeeze { .. } => "Squeeze",
            Op::Unsqueeze { .. } => "Unsqueeze",
            Op::Transpose { .. } => "Transpose",
            Op::Gather { .. } => "Gather",
            Op::Expand { .. } => "Expand",
            Op::Resize(_) => "Resize",
            Op::Identity => "Identity",
            Op::Quantize { .. } => "Quantize",
            Op::Dequantize => "Dequantize",
            Op::Requantize(_) => "Requantize",
            Op::QAdd(_) => "QAdd",
            Op::QMul(_) => "QMul",
            Op::QAvgPool(_) => "QAvgPool",
            Op::Table => "Table",
            Op::Simulate(_) => "Simulate",
            Op::Custom(_) => "Custom",
        }
    }

    /// The operator's family.
    pub fn category(&self) -> Category {
        match self {
            Op::Conv(_) | Op::MatMul(_) => Category::Layer,
            Op::BatchNorm { .. } | Op::LayerNorm { .. } | Op::Softmax { .. } => Category::Normalization,
            Op::Relu | Op::Clip { .. } | Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast { .. } => {
                Category::Activation
            }
            Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool | Op::Reduce(_) => Category::Pool,
            Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Transpose { .. }
            | Op::Gather { .. }
            | Op::Expand { .. }
            | Op::Resize(_)
            | Op::Identity => Category::Transform,
            Op::Quantize { .. }
            | Op::Dequantize
            | Op::Requantize(_)
            | Op::QAdd(_)
            | Op::QMul(_)
            | Op::QAvgPool(_)
            | Op::Table
            | Op::Simulate(_) => Category::Quantization,
            Op::Custom(_) => Category::Custom,
        }
    }

    /// How many inputs it takes: least and most (trailing optional ones may be left out).
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Op::Conv(_) | Op::MatMul(_) => (2, 3),
            Op::BatchNorm { .. } => (5, 5),
            Op::LayerNorm { .. } => (2, 3),
            Op::Where => (3, 3),
            Op::Binary(_) | Op::Gather { .. } | Op::QAdd(_) | Op::QMul(_) | Op::Table => (2, 2),
            Op::Concat { .. } => (1, usize::MAX),
            Op::Custom(_) => (0, usize::MAX),
            Op::Softmax { .. }
            | Op::Relu
            | Op::Clip { .. }
            | Op::Unary(_)
            | Op::Cast { .. }
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Reduce(_)
            | Op::Split { .. }
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Transpose { .. }
            | Op::Expand { .. }
            | Op::Resize(_)
            | Op::Identity
            | Op::Quantize { .. }
            | Op::Dequantize
            | Op::Requantize(_)
            | Op::QAvgPool(_)
            | Op::Simulate(_) => (1, 1),
        }
    }
}

impl Unary {
    /// The function's name.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Abs => "Abs",
            Unary::Neg => "Neg",
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Sqrt => "Sqrt",
            Unary::Reciprocal => "Reciprocal",
            Unary::Erf => "Erf",
            Unary::Sin => "Sin",
            Unary::Cos => "Cos",
            Unary::Tanh => "Tanh",
            Unary::Sigmoid => "Sigmoid",
            Unary::Silu => "Silu",
            Unary::Gelu => "Gelu",
            Unary::GeluTanh => "GeluTanh",
            Unary::Mish => "Mish",
            Unary::Softplus => "Softplus",
            Unary::Softsign => "Softsign",
            Unary::HardSigmoid { .. } => "HardSigmoid",
            Unary::HardSwish => "HardSwish",
            Unary::LeakyRelu { .. } => "LeakyRelu",
            Unary::Elu { .. } => "Elu",
            Unary::Selu { .. } => "Selu",
            Unary::Celu { .. } => "Celu",
            Unary::ThresholdedRelu { .. } => "ThresholdedRelu",
            Unary::Floor => "Floor",
            Unary::Ceil => "Ceil",
            Unary::Round => "Round",
            Unary::Not => "Not",
        }
    }
}

impl Binary {
    /// Every function.
    pub const ALL: [Binary; 13] = {
        use Binary::*;
        [Add, Sub, Mul, Div, Pow, Min, Max, PRelu, Equal, Less, Greater, And, Or]
    };

    /// The function's name.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Pow => "Pow",
            Binary::Min => "Min",
            Binary::Max => "Max",
            Binary::PRelu => "PRelu",
            Binary::Equal => "Equal",
            Binary::Less => "Less",
            Binary::Greater => "Greater",
            Binary::And => "And",
            Binary::Or => "Or",
        }
    }
}
