//! The closed list of operators.
//!
//! Operators follow ONNX's meaning and its NCHW layout, in canonical form: whatever a file computes to describe a shape
//! is folded into attributes by the frontend, `Gemm` is a [`Op::MatMul`] with bias, `auto_pad` is explicit padding.
//! The same operator serves floats and integers: operand types choose the arithmetic (docs/arithmetic.md).
//! To add one: add a variant here and follow the compiler's list of non-exhaustive matches (CONTRIBUTING.md).
//!
//! What is true of an operator by its nature stands in [`facts`], one line each; whoever treats most operators alike asks
//! there. Functions of single elements are families of their own, [`Unary`] and [`Binary`], with their facts beside them.

mod attributes;
mod binary;
pub mod facts;
mod unary;

pub use attributes::*;
pub use binary::{Binary, BinaryFacts, Pairs};
pub use facts::{Category, Facts};
pub use unary::{Takes, Unary, UnaryFacts};

use crate::{DType, Request};
use lowbit_arithmetic::Rounding;
use std::sync::LazyLock;
use strum::{EnumIter, IntoEnumIterator};

/// An operator with its attributes. Inputs and outputs are listed as (inputs) -> (outputs); `?` marks an optional one.
#[derive(Debug, Clone, PartialEq, EnumIter)]
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

    // ---- recurrent cells ----
    /// (x [steps, n, in], w [1, gates h, in], r [1, gates h, h], bias? [1, 2 gates h], lengths?: i32 [n],
    /// first h? [1, n, h], first c? [1, n, h], peepholes? [1, 3 h]) -> (y [steps, 1, n, h], last h [1, n, h], and of LSTM
    /// last c [1, n, h]): one direction of ONNX's.
    Recurrent(Recurrent),

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
    /// (x) -> sums of the elements along an axis up to each of them.
    CumSum(CumSum),

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
    /// (data, indices) -> y of the indices' shape: each element is looked up along an axis, at its own place on the others.
    GatherElements {
        /// The indexed axis.
        axis: i64,
    },
    /// (data, indices) -> y: each row of `indices` is a place in `data`, behind the first `batch_dims` axes of both.
    GatherNd {
        /// How many leading axes go side by side.
        batch_dims: usize,
    },
    /// (data, indices, updates) -> data with each update at its index along an axis, and at its own place on the others.
    ScatterElements {
        /// The indexed axis.
        axis: i64,
        /// What becomes of what is there.
        reduction: Scatter,
    },
    /// (data, indices, updates) -> data with each update at the place that its row of `indices` says.
    ScatterNd {
        /// What becomes of what is there.
        reduction: Scatter,
    },
    /// (x) -> (values, indices: i64): the greatest or least elements along an axis, and where they stand there.
    TopK(TopK),
    /// (x) -> x repeated to the broadcast of its shape and these sizes.
    Expand {
        /// Sizes to broadcast with.
        dims: Vec<usize>,
    },
    /// (x) -> y resampled over the spatial axes.
    Resize(Resize),
    /// (x: [n, c, image...], grid: [n, out..., axes of the image]) -> y [n, c, out...] sampled where the grid says.
    GridSample(GridSample),
    /// (x: [n, c, h, w], rois: [r, 4], batch: [r]) -> y [r, c, height, width]: a rectangle of an image, pooled, for each r.
    RoiAlign(RoiAlign),
    /// (boxes: [n, k, 4], scores: [n, classes, k]) -> [rows, 3] i64: batch, class and box of those that are kept, then -1.
    NonMaxSuppression(NonMaxSuppression),
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

/// A multiply-accumulate, by its kind: what is true of one need not be true of another, so whoever tells them apart
/// tells all apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer<'a> {
    /// [`Op::Conv`].
    Conv(&'a Conv),
    /// [`Op::MatMul`].
    MatMul(MatMul),
}

/// The name of every operator, in the order of their declaration, as [`Op::name`] gives it.
pub static OPERATORS: LazyLock<Vec<&'static str>> = LazyLock::new(|| Op::all().iter().map(Op::name).collect());

impl Op {
    /// One of every operator, with attributes of no meaning. The compiler makes the list of the variants.
    pub fn all() -> Vec<Op> {
        let each = |op| match op {
            Op::Unary(_) => Unary::all().into_iter().map(Op::Unary).collect(),
            Op::Binary(_) => Binary::all().into_iter().map(Op::Binary).collect(),
            Op::Reduce(_) => ReduceKind::iter().map(|kind| Op::Reduce(Reduce { kind, ..Reduce::default() })).collect(),
            Op::Recurrent(_) => {
                Cell::all().into_iter().map(|cell| Op::Recurrent(Recurrent { cell, ..Recurrent::default() })).collect()
            }
            op => vec![op],
        };
        Op::iter().flat_map(each).collect()
    }

    /// The operator of this name, with attributes of no meaning.
    pub fn named(name: &str) -> Option<Op> {
        Op::all().into_iter().find(|op| op.name() == name)
    }

    /// Whether it is a multiply-accumulate: operands 0 and 1 are multiplied, operand 2 is the bias.
    pub fn is_layer(&self) -> bool {
        self.layer().is_some()
    }

    /// The multiply-accumulate that it is: of the category [`Category::Layer`].
    pub fn layer(&self) -> Option<Layer<'_>> {
        match self {
            Op::Conv(c) => Some(Layer::Conv(c)),
            Op::MatMul(m) => Some(Layer::MatMul(*m)),
            _ => None,
        }
    }

    /// How it changes scales, if it does.
    pub fn rescale(&self) -> Option<&Rescale> {
        match self {
            Op::Requantize(r) | Op::QAdd(r) | Op::QMul(r) => Some(r),
            Op::QAvgPool(q) => Some(&q.rescale),
            _ => None,
        }
    }

    /// The operator's name, as configs, reports and the text form use it.
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// The operator's family.
    pub fn category(&self) -> Category {
        self.facts().category
    }

    /// How many inputs it takes: least and most (trailing optional ones may be left out).
    pub fn arity(&self) -> (usize, usize) {
        self.facts().arity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_of_one_operator() {
        let names: BTreeSet<&str> = OPERATORS.iter().copied().collect();
        assert_eq!(names.len(), OPERATORS.len());
        assert!(OPERATORS.iter().all(|name| Op::named(name).is_some_and(|op| op.name() == *name)));
    }

    #[test]
    fn the_set_can_be_held_in_the_head() {
        assert!(Op::iter().count() <= 60, "more than 60 kinds of operators: which are a family?");
    }

    #[test]
    fn layers_are_those_of_their_category() {
        for op in Op::all() {
            assert_eq!(op.is_layer(), op.category() == Category::Layer, "{}", op.name());
            let rescales = op.rescale().is_some();
            assert!(!rescales || op.category() == Category::Quantization, "{}", op.name());
        }
    }
}
