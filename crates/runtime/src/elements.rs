//! Steps element by element: which function over which run, and which entry and index each element takes.

use crate::program::{Place, Requant, product};
use lowbit_arithmetic::{Affine, Rescale, Rounding};
use lowbit_kernels::elementwise::{self, BinaryFn, MulParams, UnaryFn};
use lowbit_kernels::isa::Kernel;
use lowbit_kernels::requant::AddParams;

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
    Dequantize8(&'static Kernel<elementwise::DequantizeFn<u8>>, Affine),
    /// u16 to f32.
    Dequantize16(&'static Kernel<elementwise::DequantizeFn<u16>>, Affine),
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
    pub affine: Affine,
    /// Any rounding.
    pub rounding: Rounding,
    /// For stochastic rounding.
    pub indices: Indices,
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
    /// What is done.
    pub how: elementwise::Pair,
    /// Any rounding.
    pub rounding: Rounding,
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
