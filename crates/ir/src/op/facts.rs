//! What is true of operators by their nature: one line each.
//!
//! Whoever treats operators differently for reasons of their own says so where they do it, for those operators alone.

use super::{Cell, Coordinates, Op, ReduceKind, ResizeMode};

/// Families of operators, in netron's words, for reports and colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Multiply-accumulate.
    Layer,
    /// Element by element: each result depends on the elements at its own place.
    Activation,
    /// Pooling and reduction.
    Pool,
    /// Normalization.
    Normalization,
    /// Recurrent cells.
    Recurrent,
    /// Moving data.
    Transform,
    /// Quantization.
    Quantization,
    /// The user's own.
    Custom,
}

/// What is known of an operator beside what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The name that configs, reports and the text form use.
    pub name: &'static str,
    /// What it computes, in a few words.
    pub meaning: &'static str,
    /// The family.
    pub category: Category,
    /// How many inputs it takes: least and most.
    pub arity: (usize, usize),
    /// What its results are made of.
    pub results: Results,
}

/// What the results of an operator are made of, and so which integers they can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Results {
    /// Sums of products: accumulators, which [`bounds`](crate::bounds) proves.
    Sums,
    /// Elements of the operands, or a limit or border of these, in their type: whatever quantization the operands have,
    /// the results have too.
    Elements,
    /// Computed anew: never quantized, for there is no integer form of it.
    Computed,
    /// Computed anew as integers within the range of the result's type.
    Integers,
}

const fn facts(
    name: &'static str,
    meaning: &'static str,
    category: Category,
    arity: (usize, usize),
    results: Results,
) -> Facts {
    Facts { name, meaning, category, arity, results }
}

/// Sums of products of the first two operands, and perhaps a bias.
const fn layer(name: &'static str, meaning: &'static str) -> Facts {
    facts(name, meaning, Category::Layer, (2, 3), Results::Sums)
}

/// Floats out of floats across elements.
const fn normalization(name: &'static str, meaning: &'static str, least: usize, most: usize) -> Facts {
    facts(name, meaning, Category::Normalization, (least, most), Results::Computed)
}

const fn each(name: &'static str, meaning: &'static str, operands: usize, results: Results) -> Facts {
    facts(name, meaning, Category::Activation, (operands, operands), results)
}

const fn pool(name: &'static str, meaning: &'static str, results: Results) -> Facts {
    facts(name, meaning, Category::Pool, (1, 1), results)
}

/// Elements of operands in other places.
const fn moves(name: &'static str, meaning: &'static str, least: usize, most: usize) -> Facts {
    facts(name, meaning, Category::Transform, (least, most), Results::Elements)
}

/// Computed of floats at places that are computed too.
const fn samples(name: &'static str, meaning: &'static str, operands: usize) -> Facts {
    facts(name, meaning, Category::Transform, (operands, operands), Results::Computed)
}

/// Elements of operands in other places, or computed with what is there. The operands need not have one type.
const fn scatters(name: &'static str, meaning: &'static str) -> Facts {
    facts(name, meaning, Category::Transform, (3, 3), Results::Computed)
}

const fn quantization(name: &'static str, meaning: &'static str, operands: usize, results: Results) -> Facts {
    facts(name, meaning, Category::Quantization, (operands, operands), results)
}

impl Op {
    /// What is known of it beside what it computes.
    pub fn facts(&self) -> Facts {
        use Results::{Computed, Elements, Integers};
        match self {
            Op::Conv(_) => layer("Conv", "convolution"),
            Op::MatMul(_) => layer("MatMul", "matrix product"),

            Op::BatchNorm { .. } => normalization("BatchNorm", "batch normalization with known statistics", 5, 5),
            Op::LayerNorm { .. } => normalization("LayerNorm", "normalization over the last axes", 2, 3),
            Op::Softmax { .. } => normalization("Softmax", "exponentials that sum to one along an axis", 1, 1),

            Op::Recurrent(r) => {
                let (name, meaning) = match r.cell {
                    Cell::Lstm => ("Lstm", "long short-term memory, step by step"),
                    Cell::CoupledLstm => ("CoupledLstm", "Lstm that forgets as much as it takes in"),
                    Cell::Gru => ("Gru", "gated recurrent unit, step by step"),
                    Cell::LinearGru => ("LinearGru", "Gru whose reset gate is behind the recurrent product"),
                    Cell::Rnn => ("Rnn", "one function of operand and state, step by step"),
                };
                facts(name, meaning, Category::Recurrent, (3, 8), Computed)
            }

            Op::Relu => each("Relu", "max(x, 0)", 1, Elements),
            Op::Clip { .. } => each("Clip", "x limited to a range", 1, Elements),
            Op::Unary(f) => each(f.facts().name, f.facts().meaning, 1, Computed),
            Op::Binary(f) => each(f.facts().name, f.facts().meaning, 2, f.facts().results()),
            Op::Where => each("Where", "a where the condition holds, else b", 3, Elements),
            Op::Cast { .. } => each("Cast", "another element type", 1, Computed),

            Op::MaxPool(_) => pool("MaxPool", "largest of a window", Elements),
            Op::AvgPool(_) => pool("AvgPool", "mean of a window", Computed),
            Op::GlobalAvgPool => pool("GlobalAvgPool", "mean over all spatial axes", Computed),
            Op::Reduce(r) => match r.kind {
                ReduceKind::Sum => pool("ReduceSum", "sum over axes", Computed),
                ReduceKind::Mean => pool("ReduceMean", "mean over axes", Computed),
                ReduceKind::Max => pool("ReduceMax", "largest over axes", Elements),
                ReduceKind::Min => pool("ReduceMin", "smallest over axes", Elements),
                ReduceKind::Prod => pool("ReduceProd", "product over axes", Computed),
            },
            Op::CumSum(_) => pool("CumSum", "sums up to each element of an axis", Computed),

            Op::Concat { .. } => moves("Concat", "values joined along an axis", 1, usize::MAX),
            Op::Split { .. } => moves("Split", "consecutive parts along an axis", 1, 1),
            Op::Slice(_) => moves("Slice", "a range of positions on some axes", 1, 1),
            Op::Pad(_) => moves("Pad", "a border: a constant, the edge, the mirror image or the other end", 1, 1),
            Op::Reshape { .. } => moves("Reshape", "the same elements in another shape", 1, 1),
            Op::Flatten { .. } => moves("Flatten", "two dimensions, cut at an axis", 1, 1),
            Op::Squeeze { .. } => moves("Squeeze", "without axes of size 1", 1, 1),
            Op::Unsqueeze { .. } => moves("Unsqueeze", "with axes of size 1", 1, 1),
            Op::Transpose { .. } => moves("Transpose", "axes in another order", 1, 1),
            Op::Gather { .. } => moves("Gather", "slices chosen by indices", 2, 2),
            Op::GatherElements { .. } => moves("GatherElements", "elements chosen by indices along an axis", 2, 2),
            Op::GatherNd { .. } => moves("GatherNd", "slices chosen by places", 2, 2),
            Op::ScatterElements { .. } => scatters("ScatterElements", "elements put where indices along an axis say"),
            Op::ScatterNd { .. } => scatters("ScatterNd", "slices put at places"),
            Op::TopK(_) => moves("TopK", "greatest or least along an axis, and their places", 1, 1),
            Op::Expand { .. } => moves("Expand", "repeated to a shape", 1, 1),
            Op::Resize(r) => {
                let facts = moves("Resize", "resampled, nearest, linear or cubic", 1, 1);
                match (r.mode, &r.coordinates) {
                    // What lies outside is none of the operand's elements.
                    (ResizeMode::Nearest(_), Coordinates::Crop(_)) => Facts { results: Computed, ..facts },
                    (ResizeMode::Nearest(_), _) => facts,
                    (ResizeMode::Linear | ResizeMode::Cubic { .. }, _) => Facts { results: Computed, ..facts },
                }
            }
            Op::GridSample(_) => samples("GridSample", "an image sampled at given places", 2),
            Op::RoiAlign(_) => samples("RoiAlign", "rectangles of an image, pooled", 3),
            Op::NonMaxSuppression(_) => samples("NonMaxSuppression", "the best of boxes that overlap", 2),
            Op::Identity => moves("Identity", "x", 1, 1),

            Op::Quantize { .. } => quantization("Quantize", "floats to integers", 1, Integers),
            Op::Dequantize => quantization("Dequantize", "integers to floats", 1, Computed),
            Op::Requantize(_) => {
                quantization("Requantize", "integers of one scale to integers of another", 1, Integers)
            }
            Op::QAdd(_) => quantization("QAdd", "sum of integers of two scales in a third", 2, Integers),
            Op::QMul(_) => quantization("QMul", "product of integers of two scales in a third", 2, Integers),
            Op::QAvgPool(_) => {
                quantization("QAvgPool", "mean of integers, of a window or of all spatial axes", 1, Integers)
            }
            Op::Table => quantization("Table", "a function of one integer, looked up", 2, Integers),
            Op::Simulate(_) => quantization(
                "Simulate",
                "where a value will be quantized, until calibration knows its range",
                1,
                Computed,
            ),
            Op::Custom(_) => facts("Custom", "an operator of the user's", Category::Custom, (0, usize::MAX), Integers),
        }
    }
}
