//! What operators carry besides their operands.

use super::Unary;
use lowbit_arithmetic::{Method, Rounding};
use std::sync::Arc;
use strum::{EnumIter, IntoEnumIterator};

/// The name of a user's operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CustomId(pub Arc<str>);

/// Convolution attributes; every vector has one entry a spatial axis (`pads`: begins, then ends).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Reduced axes; empty means all.
    pub axes: Vec<i64>,
    /// Whether reduced axes stay with size 1.
    pub keep_dims: bool,
}

/// What a [`Reduce`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumIter)]
pub enum ReduceKind {
    /// Sum.
    #[default]
    Sum,
    /// Sum divided by the count.
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// Product.
    Prod,
}

/// Running sum attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CumSum {
    /// The axis that is summed along.
    pub axis: i64,
    /// Whether the element at a place itself is left out of the sum there.
    pub exclusive: bool,
    /// Whether sums begin at the last element.
    pub reverse: bool,
}

/// What is taken of an axis, by order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TopK {
    /// The axis that is looked along.
    pub axis: i64,
    /// How many elements are taken.
    pub k: usize,
    /// Whether the greatest are taken, or the least.
    pub largest: bool,
    /// Whether they stand in their order, or as in the operand.
    pub sorted: bool,
}

/// What a scattered update does to the element that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumIter)]
pub enum Scatter {
    /// It takes its place.
    #[default]
    Replace,
    /// It is added.
    Add,
    /// It is multiplied with it.
    Mul,
    /// The smaller stays.
    Min,
    /// The larger stays.
    Max,
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
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// The other end, as if the value were repeated.
    Wrap,
}

impl Default for PadMode {
    fn default() -> Self {
        PadMode::Constant(0.0)
    }
}

/// Resampling attributes, as in ONNX Resize.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resize {
    /// Output size = floor(input * scale) per axis; all axes listed. With `sizes` it may be empty: then each scale is
    /// size / input.
    pub scales: Vec<f32>,
    /// Explicit output sizes per axis instead.
    pub sizes: Option<Vec<usize>>,
    /// How samples are taken.
    pub mode: ResizeMode,
    /// How output coordinates map to the input.
    pub coordinates: Coordinates,
    /// Whether an axis that shrinks is filtered as widely as it shrinks; not for the nearest element.
    pub antialias: bool,
    /// Whether weights outside of the input are 0 and the others are scaled to sum to 1, instead of repeating the edge.
    pub exclude_outside: bool,
}

/// How a [`Resize`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ResizeMode {
    /// The nearest element.
    Nearest(Nearest),
    /// Multilinear.
    #[default]
    Linear,
    /// By cubic convolution.
    Cubic {
        /// The slope of the kernel at 1, its negative sharpness.
        a: f32,
    },
}

/// The part of the input that a [`Resize`] samples, in units of its last index: 0 to 1 is all of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Crop {
    /// Where it begins, all axes listed.
    pub begins: Vec<f32>,
    /// Where it ends, all axes listed.
    pub ends: Vec<f32>,
    /// The real value of what lies outside of the input.
    pub outside: f32,
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
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Coordinates {
    /// (x + 0.5) / scale - 0.5.
    #[default]
    HalfPixel,
    /// As half pixel, but 0 where the output has size 1.
    PytorchHalfPixel,
    /// x * (in - 1) / (out - 1).
    AlignCorners,
    /// x / scale.
    Asymmetric,
    /// As half pixel, with the centers of input and output in one place.
    HalfPixelSymmetric,
    /// From the first to the last element of a part of the input.
    Crop(Crop),
}

/// Sampling attributes, as in ONNX GridSample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GridSample {
    /// How samples are taken.
    pub mode: GridMode,
    /// What lies outside of the image.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the centers of the first and last element, or the borders of the image.
    pub align_corners: bool,
}

/// How a [`GridSample`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumIter)]
pub enum GridMode {
    /// Multilinear.
    #[default]
    Linear,
    /// The nearest element.
    Nearest,
    /// By cubic convolution.
    Cubic,
}

/// What a [`GridSample`] takes from outside of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumIter)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The nearest element of the edge.
    Border,
    /// The mirror image.
    Reflection,
}

/// Attributes of a rectangle's pooling, as in ONNX RoiAlign.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RoiAlign {
    /// What becomes of the samples of a cell.
    pub mode: RoiMode,
    /// Cells along the first axis of the image.
    pub height: usize,
    /// Cells along the second.
    pub width: usize,
    /// Samples of a cell along each axis; 0 for as many as there are elements.
    pub sampling: usize,
    /// Elements of the image per unit of a rectangle.
    pub scale: f32,
    /// Whether a rectangle's numbers are borders of elements, or their centers.
    pub half_pixel: bool,
}

/// What a [`RoiAlign`] makes of the samples of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumIter)]
pub enum RoiMode {
    /// Their mean.
    #[default]
    Avg,
    /// The largest.
    Max,
}

/// Attributes of the choice among boxes, as in ONNX NonMaxSuppression.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NonMaxSuppression {
    /// Most boxes that are kept of a class.
    pub most: usize,
    /// A box goes that shares more of its union with a kept one.
    pub iou: f32,
    /// Boxes whose score is not above it go.
    pub score: Option<f32>,
    /// Whether boxes are [x center, y center, width, height], or [y, x, y, x] of two corners.
    pub center: bool,
}

/// Attributes of a recurrent cell, as ONNX's LSTM, GRU and RNN have them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recurrent {
    /// Which cell.
    pub cell: Cell,
    /// Size of the state.
    pub hidden: usize,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// The functions of the gates, of the new state and, of LSTM, of the result, in ONNX's order.
    pub activations: Vec<Unary>,
    /// Between minus this and this the operands of the functions are limited; infinity for no limit.
    pub clip: f32,
}

/// A recurrent cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EnumIter)]
pub enum Cell {
    /// Gates i, o, f, c; two states.
    #[default]
    Lstm,
    /// As `Lstm`, with 1 - i for f.
    CoupledLstm,
    /// Gates z, r, h; the reset gate before the product with the recurrent weights.
    Gru,
    /// As `Gru`, with the reset gate behind that product.
    LinearGru,
    /// One function.
    Rnn,
}

impl Cell {
    /// Every cell.
    pub fn all() -> Vec<Cell> {
        Cell::iter().collect()
    }

    /// How many gates it has.
    pub const fn gates(self) -> usize {
        match self {
            Cell::Lstm | Cell::CoupledLstm => 4,
            Cell::Gru | Cell::LinearGru => 3,
            Cell::Rnn => 1,
        }
    }

    /// Whether it has a second state.
    pub const fn has_memory(self) -> bool {
        matches!(self, Cell::Lstm | Cell::CoupledLstm)
    }

    /// How many functions it has.
    pub const fn functions(self) -> usize {
        match self {
            Cell::Lstm | Cell::CoupledLstm => 3,
            Cell::Gru | Cell::LinearGru => 2,
            Cell::Rnn => 1,
        }
    }
}
