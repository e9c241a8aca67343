//! A compiled program: steps over one arena of bytes, with every address decided.
//!
//! A [`Place`] is an offset into the arena or into the constants. [`Program::new`] is the only way to make a program and
//! nothing changes one afterwards, so what it checks is what the pointers in [`exec`](crate::exec) rest on: every span a
//! step touches lies within its memory, what a step writes it does not read, kernels are rows of their tables and need
//! no more than the program's instruction set.

use crate::isa::Isa;
use crate::memory::Aligned;
use lowbit_arithmetic::{Affine, Rescale, Rounding};
use lowbit_ir::{Customs, Error, Op, Result, Type};
use lowbit_kernels::elementwise::{BinaryFn, MulParams, UnaryFn};
use lowbit_kernels::isa::Kernel;
use lowbit_kernels::requant::AddParams;
use lowbit_kernels::{elementwise, pool, rowconv, rows};
use std::collections::BTreeSet;
use std::sync::Arc;

mod layers;
mod links;
#[cfg(test)]
mod refusals;

pub use layers::*;
pub use links::*;

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Bytes from the arena's start.
    Arena(usize),
    /// Bytes from the constants' start.
    Const(usize),
}

impl Place {
    /// The address `bytes` further on.
    pub fn plus(self, bytes: usize) -> Place {
        match self {
            Place::Arena(at) => Place::Arena(at + bytes),
            Place::Const(at) => Place::Const(at + bytes),
        }
    }
}

/// A value that crosses the program's edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The graph value's name.
    pub name: String,
    /// Its type, all dimensions known.
    pub ty: Type,
    /// Where it lies, row-major.
    pub place: Place,
}

/// What a program is made of, before [`Program::new`] has looked at it.
#[derive(Debug)]
pub struct Parts {
    /// The model's name.
    pub name: String,
    /// The row set that the steps were chosen from.
    pub isa: Isa,
    /// What runs, in order.
    pub steps: Vec<Step>,
    /// Bytes of the arena.
    pub arena: usize,
    /// Weights and tables.
    pub consts: Aligned,
    /// What enters.
    pub inputs: Vec<Port>,
    /// What leaves.
    pub outputs: Vec<Port>,
    /// Operators of the user's.
    pub customs: Customs,
    /// Bytes that a session may take for activations and scratch.
    pub max_memory: usize,
}

/// A program for one machine kind, shared by any number of sessions.
#[derive(Debug)]
pub struct Program {
    parts: Parts,
    scratch: usize,
}

/// One kernel call over the whole of its output, divided into tiles that any thread may take.
#[derive(Debug)]
pub struct Step {
    /// The graph nodes that became this step, joined by ` + `.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Multiply-accumulates, for reports.
    pub macs: u64,
}

/// What a step does. Sizes count elements unless they say bytes.
#[derive(Debug)]
pub enum Kind {
    /// Integer convolution or dense layer.
    QGemm(QGemm),
    /// Convolution or dense layer of 16-bit activations.
    QGemm16(QGemm16),
    /// Float convolution or dense layer.
    FGemm(FGemm),
    /// Integer depthwise convolution.
    QDw(QDw),
    /// Integer convolution of few channels, row by row.
    QRow(QRow),
    /// Depthwise convolution of 16-bit activations.
    QDw16(QDw16),
    /// Convolution or dense layer of 16-bit activations and weights.
    QGemm16W16(QGemm16W16),
    /// Convolution or dense layer of 16-bit weights.
    QGemm8W16(QGemm8W16),
    /// Depthwise convolution of 16-bit activations and weights.
    QDw16W16(QDw16W16),
    /// Depthwise convolution of 16-bit weights.
    QDw8W16(QDw8W16),
    /// Float depthwise convolution.
    FDw(FDw),
    /// Float matrix product of two activations.
    FMatMul(FMatMul),
    /// Integer matrix product of two activations.
    QMatMul(QMatMul),
    /// Pooling.
    Pool(Pool),
    /// A function of one element.
    Map(Map),
    /// A function of two elements.
    Zip(Zip),
    /// Accumulators `[rows, channels]` to f32.
    DequantizeAcc {
        /// Kernel row.
        row: AccumulatorRow,
        /// Accumulators.
        x: Place,
        /// f32 output.
        y: Place,
        /// Number of rows.
        rows: usize,
        /// Channels a row.
        channels: usize,
        /// One scale a channel, or one in all.
        scale: Place,
        /// 0 for one scale in all, 1 for one a channel.
        scale_step: usize,
    },
    /// A function of rows.
    Rows(Rows),
    /// Rows reduced to a number each.
    Reduce(Reduce),
    /// Functions of one element after another.
    Links(Links),
    /// Matrices transposed.
    Transpose(Transpose),
    /// `rows` runs of bytes, each with its stride: joins and splits.
    CopyRows {
        /// Input.
        x: Place,
        /// Output.
        y: Place,
        /// Number of runs.
        rows: usize,
        /// Bytes a run.
        bytes: usize,
        /// Bytes between runs of the input.
        x_stride: usize,
        /// Bytes between runs of the output.
        y_stride: usize,
    },
    /// General data movement by offset tables.
    Gather(Gather),
    /// A filled border around runs of the input.
    Pad(Pad),
    /// An operator without a kernel: the interpreter runs it. Allocates; the compiler lists these.
    Reference(Box<Reference>),
}

/// A function of rows of floats, which are made of integers and become integers again without leaving the nearest cache.
#[derive(Debug)]
pub struct Rows {
    /// The function.
    pub f: RowsFn,
    /// What the rows are made of.
    pub from: RowsFrom,
    /// What they become.
    pub to: RowsTo,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Number of rows.
    pub rows: usize,
    /// Elements a row.
    pub n: usize,
}

/// A function of a row.
#[derive(Debug, Clone, Copy)]
pub enum RowsFn {
    /// Softmax.
    Softmax(&'static Kernel<rows::SoftmaxFn>),
    /// Layer normalization.
    LayerNorm {
        /// Kernel row.
        row: &'static Kernel<rows::LayerNormFn>,
        /// One factor an element of a row.
        scale: Place,
        /// One summand an element of a row.
        bias: Option<Place>,
        /// Added to the variance.
        epsilon: f32,
    },
}

/// Contiguous rows of f32, each reduced to a number.
#[derive(Debug, Clone, Copy)]
pub struct Reduce {
    /// Kernel row.
    pub row: &'static Kernel<rows::ReduceRun>,
    /// What becomes of a row.
    pub f: rows::ReduceFn,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Number of rows.
    pub rows: usize,
    /// Elements a row.
    pub n: usize,
}

/// What a row of floats is made of.
#[derive(Debug, Clone, Copy)]
pub enum RowsFrom {
    /// Itself.
    Float,
    /// Accumulators of one scale.
    Accumulator(AccumulatorRow, Place),
    /// u8.
    Bytes(&'static Kernel<elementwise::DequantizeFn<u8>>, Affine),
}

/// What a row of floats becomes.
#[derive(Debug, Clone, Copy)]
pub enum RowsTo {
    /// Itself.
    Float,
    /// u8.
    Bytes(&'static Kernel<elementwise::QuantizeFn<u8>>, Affine),
}

impl Rows {
    /// Bytes an element of the input and of the output.
    pub fn sizes(&self) -> (usize, usize) {
        let from = match self.from {
            RowsFrom::Float => 4,
            RowsFrom::Accumulator(row, _) => row.size(),
            RowsFrom::Bytes(..) => 1,
        };
        let to = match self.to {
            RowsTo::Float => 4,
            RowsTo::Bytes(..) => 1,
        };
        (from, to)
    }
}

/// A kernel for accumulators, by their width.
#[derive(Debug, Clone, Copy)]
pub enum AccumulatorRow {
    /// i32.
    Narrow(&'static Kernel<elementwise::DequantizeAccFn>),
    /// i64.
    Wide(&'static Kernel<elementwise::DequantizeWideFn>),
}

impl AccumulatorRow {
    /// Bytes an accumulator.
    pub fn size(&self) -> usize {
        match self {
            AccumulatorRow::Narrow(_) => 4,
            AccumulatorRow::Wide(_) => 8,
        }
    }
}

/// Integers to read, by their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Integer {
    U8,
    U16,
    I16,
    I32,
    I64,
}

impl Integer {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Integer::U8 => 1,
            Integer::U16 | Integer::I16 => 2,
            Integer::I32 => 4,
            Integer::I64 => 8,
        }
    }
}

/// Integers to store, by their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Narrow {
    U8,
    U16,
    I16,
}

impl Narrow {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Narrow::U8 => 1,
            Narrow::U16 | Narrow::I16 => 2,
        }
    }
}

impl From<Narrow> for Integer {
    fn from(narrow: Narrow) -> Self {
        match narrow {
            Narrow::U8 => Integer::U8,
            Narrow::U16 => Integer::U16,
            Narrow::I16 => Integer::I16,
        }
    }
}

/// Which of some entries (channels) an element takes that lies at `i` in memory: entry `i / inner % count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// How many there are.
    pub count: usize,
    /// Neighbours that share one.
    pub inner: usize,
}

/// Where an element lies in its sample's row-major order, which stochastic rounding asks: in memory a sample is `pixels`
/// runs of `channels` elements, in row-major order it is `channels` runs of `pixels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indices {
    /// Elements of a run.
    pub channels: usize,
    /// Runs of a sample.
    pub pixels: usize,
}

impl Indices {
    /// For roundings that do not ask: one run.
    pub const NONE: Indices = Indices { channels: usize::MAX, pixels: 1 };

    /// The index of the element at `i` in memory, what a neighbour adds to it, and how many neighbours do.
    pub fn at(&self, i: usize) -> (u64, u64, usize) {
        let in_sample = i % product([self.channels, self.pixels]);
        let (pixel, channel) = (in_sample / self.channels, in_sample % self.channels);
        ((channel * self.pixels + pixel) as u64, self.pixels as u64, self.channels - channel)
    }
}

impl Entries {
    /// The same for all.
    pub const ONE: Entries = Entries { count: 1, inner: 1 };

    /// The entry of the element at `i` in memory, what a neighbour adds to it, and how many neighbours do.
    pub fn at(&self, i: usize) -> (usize, usize, usize) {
        match self {
            Entries { count: 1, .. } => (0, 0, usize::MAX),
            Entries { count, inner: 1 } => (i % count, 1, count - i % count),
            Entries { count, inner } => (i / inner % count, 0, inner - i % inner),
        }
    }
}

/// Where output pixels find their input pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Images.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Steps.
    pub strides: [usize; 2],
    /// Padding before.
    pub pads: [usize; 2],
    /// Distances between taps.
    pub dilations: [usize; 2],
    /// Bytes between input pixels.
    pub pixel: usize,
}

impl Window {
    /// A window of one tap over `rows` pixels in a row.
    pub fn dense(rows: usize, pixel: usize) -> Self {
        Window {
            batch: 1,
            input: [1, rows],
            output: [1, rows],
            kernel: [1, 1],
            strides: [1, 1],
            pads: [0, 0],
            dilations: [1, 1],
            pixel,
        }
    }

    /// Whether output pixel `i` reads input pixel `i` and no other.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.strides == [1, 1] && self.pads == [0, 0] && self.input == self.output
    }

    /// Whether no tap lies in the padding.
    pub fn is_within(&self) -> bool {
        let last = |n: usize, by: usize| product([n.saturating_sub(1), by]);
        (0..2).all(|axis| {
            let end = last(self.output[axis], self.strides[axis])
                .saturating_add(last(self.kernel[axis], self.dilations[axis]));
            self.pads[axis] == 0 && end < self.input[axis]
        })
    }

    /// The sizes of a convolution by rows of u8; its columns are neighbours.
    pub fn row_shape(&self, outputs: usize, depthwise: bool, residual: bool) -> rowconv::Shape {
        let (kernel, strides, channels) = (self.kernel, self.strides, self.pixel);
        rowconv::Shape { kernel, strides, channels, outputs, depthwise, residual }
    }

    /// Kernel taps.
    pub fn taps(&self) -> usize {
        product([self.kernel[0], self.kernel[1]])
    }

    /// Output pixels of all images.
    pub fn pixels(&self) -> usize {
        product([self.batch, self.output[0], self.output[1]])
    }

    /// Output rows of all images; none if they are empty.
    pub fn rows(&self) -> usize {
        if self.output[1] == 0 { 0 } else { product([self.batch, self.output[0]]) }
    }

    /// Bytes of all input pixels.
    pub fn input_bytes(&self) -> usize {
        product([self.batch, self.input[0], self.input[1], self.pixel])
    }

    /// Whether every position that a tap can have, and the bytes before it, are numbers: they are added up without a
    /// check.
    pub fn is_countable(&self) -> bool {
        (0..2).all(|i| {
            let last = self.output[i].max(1) - 1;
            let Some(reach) = self.kernel[i].checked_sub(1) else { return false };
            let far = product([last, self.strides[i]]).saturating_add(product([reach, self.dilations[i]]));
            let all = far.saturating_add(self.input[i]).saturating_add(self.pads[i]).saturating_add(1);
            product([all, self.pixel.max(1)]) < isize::MAX as usize
        })
    }

    /// Image, row and column of an output pixel.
    pub fn position(&self, pixel: usize) -> [usize; 3] {
        let [h, w] = self.output;
        [pixel / (h * w), pixel / w % h, pixel % w]
    }

    /// Every number of taps that lie inside the image at some position, in ascending order; with padding counted in,
    /// that is all taps everywhere.
    pub fn counts(&self, include_pad: bool) -> BTreeSet<usize> {
        if self.pixels() == 0 {
            return BTreeSet::new();
        }
        if include_pad {
            return [self.taps()].into();
        }
        let along = |i: usize| -> BTreeSet<usize> {
            let (pad, dilation) = (self.pads[i], self.dilations[i].max(1));
            let inside = |position: usize| {
                let start = position * self.strides[i];
                // The first tap inside, and the first one behind.
                let first = pad.saturating_sub(start).div_ceil(dilation);
                let end = (pad + self.input[i]).saturating_sub(start).div_ceil(dilation).min(self.kernel[i]);
                end.saturating_sub(first)
            };
            (0..self.output[i]).map(inside).collect()
        };
        let (high, wide) = (along(0), along(1));
        high.iter().flat_map(|h| wide.iter().map(move |w| h * w)).collect()
    }

    /// Byte offset of the input pixel under a tap; `None` in the padding.
    #[inline]
    pub fn offset(&self, [image, oy, ox]: [usize; 3], ky: usize, kx: usize) -> Option<usize> {
        let y =
            (oy * self.strides[0] + ky * self.dilations[0]).checked_sub(self.pads[0]).filter(|y| *y < self.input[0])?;
        let x =
            (ox * self.strides[1] + kx * self.dilations[1]).checked_sub(self.pads[1]).filter(|x| *x < self.input[1])?;
        Some(((image * self.input[0] + y) * self.input[1] + x) * self.pixel)
    }
}

/// Pooling; a tile is one output row.
#[derive(Debug)]
pub struct Pool {
    /// Which pooling on which type.
    pub kind: PoolKind,
    /// Input pixels.
    pub window: Window,
    /// Channels.
    pub channels: usize,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
}

/// A pooling kernel with its parameters.
#[derive(Debug)]
pub enum PoolKind {
    /// Largest u8.
    MaxU8(&'static Kernel<pool::MaxFn<u8>>),
    /// Largest u16.
    MaxU16(&'static Kernel<pool::MaxFn<u16>>),
    /// Largest f32.
    MaxF32(&'static Kernel<pool::MaxFn<f32>>),
    /// Mean of u8; parameters by the number that a sum is divided by.
    AvgU8(&'static pool::Average<u8>, Averages),
    /// Mean of u16.
    AvgU16(&'static pool::Average<u16>, Averages),
    /// Mean of integers of any width with any rounding.
    AvgAny(&'static Kernel<pool::AvgAnyFn>, Averages, AverageAny),
    /// Mean of f32; whether padding counts.
    AvgF32(&'static Kernel<pool::FloatAvgFn>, bool),
}

/// Integer averages, by the number that a sum is divided by.
#[derive(Debug)]
pub struct Averages {
    /// Parameters for each number of [`Window::counts`], in ascending order.
    pub by_count: Vec<(usize, pool::QAverage)>,
    /// Whether padding counts.
    pub include_pad: bool,
}

impl Averages {
    /// The parameters for one number.
    pub fn at(&self, count: usize) -> Option<&pool::QAverage> {
        self.by_count.binary_search_by_key(&count, |(n, _)| *n).ok().and_then(|i| self.by_count.get(i)).map(|(_, a)| a)
    }
}

/// What an average with any rounding needs besides.
#[derive(Debug, Clone, Copy)]
pub struct AverageAny {
    /// Input: u8 or u16.
    pub from: Narrow,
    /// Output.
    pub to: Narrow,
    /// Any rounding.
    pub rounding: Rounding,
}

/// A function of one element over `n` contiguous elements.
#[derive(Debug)]
pub struct Map {
    /// Which function.
    pub f: MapFn,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Elements.
    pub n: usize,
}

/// A function of one element, with its parameters.
#[derive(Debug)]
pub enum MapFn {
    /// f32 to u8.
    Quantize8(&'static Kernel<elementwise::QuantizeFn<u8>>, Affine),
    /// f32 to u16.
    Quantize16(&'static Kernel<elementwise::QuantizeFn<u16>>, Affine),
    /// u8 to f32.
    Dequantize8(&'static Kernel<elementwise::DequantizeFn<u8>>, Affines),
    /// u16 to f32.
    Dequantize16(&'static Kernel<elementwise::DequantizeFn<u16>>, Affines),
    /// u8 to u8 by a table of 256.
    Table8(&'static Kernel<elementwise::TableFn<u8>>, Place),
    /// u16 to u16 by a table of 65,536.
    Table16(&'static Kernel<elementwise::TableFn<u16>>, Place),
    /// f32 to f32.
    Unary(&'static Kernel<elementwise::UnaryRun>, UnaryFn),
    /// f32 limited to a range.
    Clamp(&'static Kernel<elementwise::ClampFn>, f32, f32),
    /// i32 accumulators to u8, default roundings; as many multipliers as there are entries, of which neighbours take
    /// neighbours.
    RequantAcc(&'static Kernel<elementwise::RequantAccFn>, Requant, usize),
    /// Integers to integers with any rounding.
    RequantAny(&'static Kernel<elementwise::RequantAnyFn>, RequantAny),
    /// f32 to integers with any rounding.
    QuantizeAny(&'static Kernel<elementwise::QuantizeAnyFn>, QuantizeAny),
}

/// A requantization with any rounding.
#[derive(Debug)]
pub struct RequantAny {
    /// Input.
    pub from: Integer,
    /// Output.
    pub to: Narrow,
    /// Subtracted first.
    pub zero_in: i32,
    /// One change of scale an entry.
    pub rescales: Vec<Rescale>,
    /// Which element takes which.
    pub entries: Entries,
    /// Any rounding.
    pub rounding: Rounding,
    /// For stochastic rounding.
    pub indices: Indices,
    /// Added after rounding.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// A quantization with any rounding.
#[derive(Debug)]
pub struct QuantizeAny {
    /// Output.
    pub to: Narrow,
    /// What the integers mean.
    pub affines: Affines,
    /// Any rounding.
    pub rounding: Rounding,
    /// For stochastic rounding.
    pub indices: Indices,
}

/// What integers mean, entry by entry.
#[derive(Debug)]
pub struct Affines {
    /// One an entry.
    pub list: Vec<Affine>,
    /// Which element takes which.
    pub entries: Entries,
}

impl Affines {
    /// What the integer at `i` in memory means, and how many from there on mean the same.
    pub fn at(&self, i: usize) -> (&Affine, usize) {
        let (entry, step, alike) = self.entries.at(i);
        (&self.list[entry], if step == 0 { alike } else { 1 })
    }
}

impl From<Affine> for Affines {
    fn from(all: Affine) -> Affines {
        Affines { list: vec![all], entries: Entries::ONE }
    }
}

impl MapFn {
    /// Bytes an input and an output element.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            MapFn::Quantize8(..) => (4, 1),
            MapFn::Quantize16(..) => (4, 2),
            MapFn::Dequantize8(..) => (1, 4),
            MapFn::Dequantize16(..) => (2, 4),
            MapFn::Table8(..) => (1, 1),
            MapFn::Table16(..) => (2, 2),
            MapFn::Unary(..) | MapFn::Clamp(..) => (4, 4),
            MapFn::RequantAcc(..) => (4, 1),
            MapFn::RequantAny(_, how) => (how.from.size(), how.to.size()),
            MapFn::QuantizeAny(_, how) => (4, how.to.size()),
        }
    }
}

/// A function of two elements over `rows` runs of `n`; a row stride of 0 repeats an operand's run.
#[derive(Debug)]
pub struct Zip {
    /// Which function.
    pub f: ZipFn,
    /// Left operand and the elements between its runs.
    pub a: (Place, usize),
    /// Right operand and the elements between its runs.
    pub b: (Place, usize),
    /// Output, contiguous.
    pub y: Place,
    /// Runs.
    pub rows: usize,
    /// Elements a run.
    pub n: usize,
}

/// A function of two elements, with its parameters.
#[derive(Debug)]
pub enum ZipFn {
    /// Sum of u8.
    Add8(&'static Kernel<elementwise::AddFn<u8>>, AddParams),
    /// Sum of u16.
    Add16(&'static Kernel<elementwise::AddFn<u16>>, AddParams),
    /// Product of u8.
    Mul8(&'static Kernel<elementwise::MulFn<u8>>, MulParams),
    /// Product of u16.
    Mul16(&'static Kernel<elementwise::MulFn<u16>>, MulParams),
    /// Sum or product of integers of any width with any rounding.
    Any(&'static Kernel<elementwise::PairAnyFn>, PairAny),
    /// f32; steps of 0 repeat one element of an operand along the run.
    Binary(&'static Kernel<elementwise::BinaryRun>, BinaryFn, usize, usize),
}

/// A function of two integers with any rounding.
#[derive(Debug, Clone, Copy)]
pub struct PairAny {
    /// Operands: u8 or u16.
    pub from: [Narrow; 2],
    /// Output.
    pub to: Narrow,
    /// What is done, with any rounding.
    pub how: elementwise::Pair,
    /// For stochastic rounding.
    pub indices: Indices,
}

impl ZipFn {
    /// Bytes an element of each operand and of the output.
    pub fn sizes(&self) -> [usize; 3] {
        match self {
            ZipFn::Add8(..) | ZipFn::Mul8(..) => [1; 3],
            ZipFn::Add16(..) | ZipFn::Mul16(..) => [2; 3],
            ZipFn::Any(_, PairAny { from: [a, b], to, .. }) => [a.size(), b.size(), to.size()],
            ZipFn::Binary(..) => [4; 3],
        }
    }

    /// Whether each operand advances along a run.
    pub fn steps(&self) -> (usize, usize) {
        match self {
            ZipFn::Add8(..) | ZipFn::Mul8(..) | ZipFn::Add16(..) | ZipFn::Mul16(..) | ZipFn::Any(..) => (1, 1),
            ZipFn::Binary(_, _, a, b) => (*a, *b),
        }
    }
}

/// Matrices transposed one after another: `y[b][c][r] = x[b][r][c]`, where the matrices of `x` and their rows may lie
/// apart.
#[derive(Debug)]
pub struct Transpose {
    /// Kernel row.
    pub row: &'static Kernel<lowbit_kernels::copy::TransposeFn>,
    /// Input.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Bytes an element: 1, 2, 4 or 8.
    pub elem: usize,
    /// How many matrices there are along each axis, outermost first, and the bytes between those of `x`.
    pub batch: Vec<(usize, usize)>,
    /// Rows of a matrix of `x`.
    pub rows: usize,
    /// Columns of a matrix of `x`.
    pub cols: usize,
    /// Bytes between rows of `x`.
    pub x_stride: usize,
}

impl Transpose {
    /// Matrices.
    pub fn matrices(&self) -> usize {
        match self.batch.iter().any(|(n, _)| *n == 0) {
            true => 0,
            false => self.batch.iter().map(|(n, _)| *n).fold(1, usize::saturating_mul),
        }
    }

    /// Columns of a matrix that one tile turns, of `run` elements: whole blocks of every kernel.
    pub(crate) fn columns(&self, run: usize) -> usize {
        run.div_ceil(self.rows.max(1)).next_multiple_of(16)
    }
}

/// General data movement: the output is contiguous over `dims`, the input offset of an element is the sum over the axes
/// of that axis' table at its coordinate; the innermost `run` bytes are copied together.
#[derive(Debug)]
pub struct Gather {
    /// Input.
    pub x: Place,
    /// Bytes of the whole input, for the check.
    pub x_bytes: usize,
    /// Output.
    pub y: Place,
    /// Byte offsets per outer axis.
    pub tables: Vec<Vec<usize>>,
    /// Bytes copied together.
    pub run: usize,
    /// How far apart the last axis' offsets are, if all are equally far: these need no table while they are copied.
    pub step: Option<usize>,
}

impl Gather {
    /// How many axes there can be; the compiler joins them where there are more.
    pub const AXES: usize = 16;

    /// What [`Gather::step`] is for these tables.
    pub fn even(tables: &[Vec<usize>]) -> Option<usize> {
        let last = tables.last()?;
        let step = last.get(1)?.checked_sub(*last.first()?)?;
        last.windows(2).all(|w| w[1].checked_sub(w[0]) == Some(step)).then_some(step)
    }

    /// Runs that are copied.
    pub fn count(&self) -> usize {
        match self.tables.iter().any(Vec::is_empty) {
            true => 0,
            false => self.tables.iter().map(Vec::len).fold(1, usize::saturating_mul),
        }
    }
}

/// A border: output of `y_bytes` filled with a value, then runs of the input at their offsets.
#[derive(Debug)]
pub struct Pad {
    /// Input: runs one after another.
    pub x: Place,
    /// Output.
    pub y: Place,
    /// Output bytes.
    pub y_bytes: usize,
    /// Bytes an element: 1, 2, 4 or 8.
    pub elem: usize,
    /// One element of the border, in the low bytes.
    pub fill: u64,
    /// Output offset of each run.
    pub offsets: Vec<usize>,
    /// Bytes a run.
    pub run: usize,
}

/// An operator that the interpreter runs.
#[derive(Debug)]
pub struct Reference {
    /// The operator.
    pub op: Op,
    /// Operands, row-major, with types as the graph has them.
    pub inputs: Vec<Option<(Place, Type)>>,
    /// Results.
    pub outputs: Vec<(Place, Type)>,
}

/// A span of bytes that a step touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it starts.
    pub place: Place,
    /// How long it is.
    pub bytes: usize,
    /// Whether it is written.
    pub written: bool,
}

impl Span {
    /// Whether they have a byte in common.
    pub fn meets(&self, other: &Span) -> bool {
        if self.bytes == 0 || other.bytes == 0 {
            return false;
        }
        let apart = |a: usize, b: usize| a >= b.saturating_add(other.bytes) || b >= a.saturating_add(self.bytes);
        match (self.place, other.place) {
            (Place::Arena(a), Place::Arena(b)) | (Place::Const(a), Place::Const(b)) => !apart(a, b),
            (Place::Arena(_), Place::Const(_)) | (Place::Const(_), Place::Arena(_)) => false,
        }
    }
}

/// The product of sizes; the largest number if it is no number, which no memory has room for.
pub(crate) fn product<const N: usize>(sizes: [usize; N]) -> usize {
    match sizes.contains(&0) {
        true => 0,
        false => sizes.into_iter().fold(1, usize::saturating_mul),
    }
}

impl Program {
    /// A program whose steps keep within their memory and their instruction set, or an error that names the step.
    pub fn new(parts: Parts) -> Result<Arc<Program>> {
        let Parts { isa, steps, arena, consts, inputs, outputs, .. } = &parts;
        let check = |span: Span, what: &str| {
            let (at, limit) = match span.place {
                Place::Arena(at) => (at, *arena),
                Place::Const(at) => (at, consts.len()),
            };
            if at.checked_add(span.bytes).is_none_or(|end| end > limit) {
                return Err(Error::new(format!("{what}: expected a span within {limit} bytes, found {span:?}")));
            }
            match span {
                Span { place: Place::Const(_), written: true, .. } => {
                    Err(Error::new(format!("{what}: constants cannot be written")))
                }
                Span { .. } => Ok(()),
            }
        };
        for step in steps {
            let (spans, alignment) = (step.kind.spans(), step.kind.alignment());
            for (i, span) in spans.iter().enumerate() {
                check(*span, &step.name)?;
                let (Place::Arena(at) | Place::Const(at)) = span.place;
                if at % alignment != 0 {
                    return Err(Error::new(format!("expected places at multiples of {alignment}, found {span:?}"))
                        .at_node(step.name.clone()));
                }
                // Tiles run at the same time: what one writes no other may read or write.
                if let Some(other) = spans.iter().enumerate().find(|(j, s)| *j != i && span.written && s.meets(span)) {
                    return Err(Error::new(format!(
                        "expected a step to write what it does not read, found {other:?} and {span:?}"
                    ))
                    .at_node(step.name.clone()));
                }
            }
            step.kind.check(isa.features).map_err(|e| e.at_node(step.name.clone()))?;
        }
        for port in inputs.iter().chain(outputs) {
            check(Span { place: port.place, bytes: port_bytes(port)?, written: false }, &port.name)?;
        }
        let scratch = steps.iter().map(|s| s.kind.scratch()).max().unwrap_or(0);
        Ok(Arc::new(Program { parts, scratch }))
    }

    /// Bytes that a session may take.
    pub fn max_memory(&self) -> usize {
        self.parts.max_memory
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// The row set it was compiled for.
    pub fn isa(&self) -> Isa {
        self.parts.isa
    }

    /// What runs, in order.
    pub fn steps(&self) -> &[Step] {
        &self.parts.steps
    }

    /// Bytes of activations.
    pub fn arena(&self) -> usize {
        self.parts.arena
    }

    /// Weights, biases, tables.
    pub fn consts(&self) -> &Aligned {
        &self.parts.consts
    }

    /// What goes in, in the graph's order.
    pub fn inputs(&self) -> &[Port] {
        &self.parts.inputs
    }

    /// What comes out, in the graph's order.
    pub fn outputs(&self) -> &[Port] {
        &self.parts.outputs
    }

    /// Resolves the user's operators in reference steps.
    pub fn customs(&self) -> &Customs {
        &self.parts.customs
    }

    /// Bytes of scratch a thread, from the steps.
    pub fn scratch(&self) -> usize {
        self.scratch
    }

    /// The steps that the interpreter runs, for want of a kernel.
    pub fn reference_steps(&self) -> impl Iterator<Item = &Step> {
        self.parts.steps.iter().filter(|s| matches!(s.kind, Kind::Reference(_)))
    }

    /// Multiply-accumulates of one run.
    pub fn macs(&self) -> u64 {
        self.parts.steps.iter().map(|s| s.macs).sum()
    }
}

/// Bytes of a port's value.
pub fn port_bytes(port: &Port) -> Result<usize> {
    type_bytes(&port.ty).map_err(|e| e.at_value(port.name.clone()))
}

/// Bytes of a value whose dimensions are all known.
pub fn type_bytes(ty: &Type) -> Result<usize> {
    ty.shape
        .count()
        .and_then(|n| ty.dtype.bytes(n))
        .ok_or_else(|| Error::new(format!("expected known dimensions of a size that fits, found {ty}")))
}

impl PoolKind {
    /// Bytes an element of the input and of the output.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            PoolKind::MaxU8(_) | PoolKind::AvgU8(..) => (1, 1),
            PoolKind::MaxU16(_) | PoolKind::AvgU16(..) => (2, 2),
            PoolKind::AvgAny(_, _, how) => (how.from.size(), how.to.size()),
            PoolKind::MaxF32(_) | PoolKind::AvgF32(..) => (4, 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_kernels::{Features, Row, elementwise};

    fn program(isa: Isa, kind: Kind) -> Result<Arc<Program>> {
        let steps = vec![Step { name: "step".into(), kind, macs: 0 }];
        Program::new(Parts {
            name: "p".into(),
            isa,
            steps,
            arena: 4096,
            consts: Aligned::zeroed(256)?,
            inputs: vec![],
            outputs: vec![],
            customs: Customs::default(),
            max_memory: usize::MAX,
        })
    }

    fn scalar() -> Isa {
        Isa { name: "scalar", features: Features::NONE }
    }

    fn clamp(row: &'static Kernel<elementwise::ClampFn>, x: usize, y: usize, n: usize) -> Kind {
        Kind::Map(Map { f: MapFn::Clamp(row, 0.0, 1.0), x: Place::Arena(x), y: Place::Arena(y), n })
    }

    fn refused(isa: Isa, kind: Kind, why: &str) {
        let error = program(isa, kind).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("step"), "{error}");
    }

    #[test]
    fn kernels_are_rows_of_their_tables_that_the_instruction_set_has() {
        program(scalar(), clamp(&elementwise::CLAMP[0], 0, 2048, 512)).unwrap();
        for row in elementwise::CLAMP.iter().filter(|row| row.needs() != Features::NONE) {
            refused(scalar(), clamp(row, 0, 2048, 512), "needs more than the program's instruction set");
            program(Isa { name: "all", features: row.needs() }, clamp(row, 0, 2048, 512)).unwrap();
        }
        // A copy of a row says of itself what it likes.
        let copy = Box::leak(Box::new(elementwise::CLAMP[0]));
        refused(scalar(), clamp(copy, 0, 2048, 512), "expected a row of the kernel tables");
    }

    #[test]
    fn spans_beyond_memory_are_refused_even_where_their_size_is_no_number() {
        let row = &elementwise::CLAMP[0];
        for n in [513, 1 << 62, (1 << 62) + 1, usize::MAX] {
            refused(scalar(), clamp(row, 0, 2048, n), "expected a span within 4096 bytes");
        }
        let runs = |rows, stride| {
            let (x, y) = (Place::Arena(0), Place::Arena(2048));
            Kind::CopyRows { x, y, rows, bytes: 8, x_stride: 8, y_stride: stride }
        };
        program(scalar(), runs(4, 16)).unwrap();
        refused(scalar(), runs((1 << 61) + 1, 8), "expected a span within");
        refused(scalar(), runs(5, 1 << 62), "expected a span within");
        refused(scalar(), runs(4, 4), "runs that lie apart");
        let mut window = Window::dense(4, 4);
        (window.strides, window.dilations, window.kernel) = ([1, usize::MAX], [1, usize::MAX], [1, 2]);
        let kind = PoolKind::MaxF32(&lowbit_kernels::pool::MAX_F32[0]);
        let pool = Pool { kind, window, channels: 1, x: Place::Arena(0), y: Place::Arena(2048) };
        refused(scalar(), Kind::Pool(pool), "positions can be counted");
    }

    #[test]
    fn counts_are_those_that_walking_finds() {
        let mut some = 0;
        for i in 0..3usize.pow(8) {
            let digit = |place: u32| i / 3usize.pow(place) % 3;
            let window = Window {
                batch: 1,
                input: [1 + digit(0), 2 + digit(1)],
                output: [1 + digit(2), 3],
                kernel: [1 + digit(3), 1 + digit(4)],
                strides: [1 + digit(5), 2],
                pads: [digit(6), 1],
                dilations: [1 + digit(7), 2],
                pixel: 1,
            };
            let [kh, kw] = window.kernel;
            let at = |pixel: usize| {
                let taps = (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx)));
                taps.filter(|(ky, kx)| window.offset(window.position(pixel), *ky, *kx).is_some()).count()
            };
            let walked: BTreeSet<usize> = (0..window.pixels()).map(at).collect();
            assert_eq!(window.counts(false), walked, "{window:?}");
            assert_eq!(window.counts(true), [kh * kw].into());
            some += usize::from(walked.len() > 1);
        }
        assert!(some > 1000);
    }

    #[test]
    fn elements_are_aligned() {
        let row = &elementwise::CLAMP[0];
        for (x, y) in [(1, 2048), (4, 2048), (0, 2047)] {
            refused(scalar(), clamp(row, x, y, 4), "multiples of 8");
        }
        let pool = |pixel: usize| {
            let window = Window::dense(4, pixel);
            let kind = PoolKind::MaxF32(&lowbit_kernels::pool::MAX_F32[0]);
            Kind::Pool(Pool { kind, window, channels: 1, x: Place::Arena(0), y: Place::Arena(2048) })
        };
        program(scalar(), pool(4)).unwrap();
        refused(scalar(), pool(5), "pixels of whole channels");
    }

    #[test]
    fn indices_and_entries_are_those_of_row_major_order() {
        // Two samples of 3 channels and 4 pixels, channels last.
        let (channels, pixels) = (3, 4);
        let indices = Indices { channels, pixels };
        let entries = Entries { count: channels, inner: 1 };
        for (i, (sample, pixel, channel)) in
            (0..2).flat_map(|s| (0..pixels).flat_map(move |p| (0..channels).map(move |c| (s, p, c)))).enumerate()
        {
            let (index, step, near) = indices.at(i);
            assert_eq!((index, step, near), ((channel * pixels + pixel) as u64, 4, 3 - channel), "{sample}");
            assert_eq!(entries.at(i), (channel, 1, 3 - channel));
            // The same in row-major order.
            let plain = (sample * channels + channel) * pixels + pixel;
            assert_eq!(Indices { channels: 12, pixels: 1 }.at(plain).0, index);
            assert_eq!(Entries { count: channels, inner: pixels }.at(plain), (channel, 0, pixels - pixel));
        }
        assert_eq!(Entries::ONE.at(17), (0, 0, usize::MAX));
        assert_eq!(Indices::NONE.at(17).1, 1);
    }

    #[test]
    fn what_a_step_writes_it_does_not_read() {
        let row = &elementwise::CLAMP[0];
        refused(scalar(), clamp(row, 0, 0, 4), "write what it does not read");
        refused(scalar(), clamp(row, 0, 2040, 512), "write what it does not read");
        let f = MapFn::Clamp(row, 0.0, 1.0);
        refused(scalar(), Kind::Map(Map { f, x: Place::Arena(0), y: Place::Const(0), n: 4 }), "cannot be written");
    }
}
