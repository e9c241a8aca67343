//! The text form of graphs: for people first, and exact.
//!
//! ```text
//! graph "net" {
//!   meta producer "pytorch"
//!   property "lowbit.labels" "[...]"
//!   input %x: u8[Nx3x32x32]{0.02 * (q - 128) in 0..255}
//!   const %w: i8[16x3x3x3]{[0.01, ...] * q in -127..127, axis 0} = hex "00ff..."
//!   const %b: i32[16]{[0.0002, ...] * q, axis 0} = [1, -2, ...]
//!   %acc: i32[Nx16x32x32]{[0.0002, ...] * q, axis 1} = Conv(%x, %w, %b) {strides [1, 1], pads [1, 1, 1, 1], ...} @conv1
//!   %y: u8[Nx16x32x32]{0.05 * q} = Requantize(%acc) {method float32, rounding half-even} @"conv1/rq" rule "Conv"
//!   output %y
//! }
//! ```
//!
//! Names are bare if they consist of letters of ASCII, digits, `_` and `.`, otherwise quoted: `%"a/b c"`. Strings know
//! the escapes `\" \\ \n \r \t \u{1f}`. Comments run from `//` to the end of the line.
//!
//! A type is `dtype[shape]`, with `{scale * (q - zero) in qmin..qmax, axis a, block n}` if it is quantized: a zero point
//! of 0 and the full range of the dtype are left out; lists have one entry a channel or block; one zero point beside a
//! list of scales stands for all. A scalar's shape is the word `scalar`. Symbols in shapes that are not words without
//! an `x` are quoted. A node may leave its output types out: then they are inferred.
//!
//! Data stands in the order of the elements: a list of up to sixteen, or the little-endian bytes in hexadecimal.
//! Floats print with the fewest digits that give the same bits back; `inf`, `-inf`, `-0.0`, `nan`, and `nan(0x7fc00001)`
//! for any other bits of a NaN. An absent operand is `_`. Attributes with a usual value (ONNX's default) may be left out
//! when written by hand. The name of a node follows `@`, unless it is that of its first output. Nodes stand in their
//! order, a constant before its first reader: reading gives exactly [`Graph::compact`] of what was printed.

mod attributes;
mod number;
mod parse;
mod print;
mod scan;
mod spellings;

pub use crate::op::OPERATORS;
pub use attributes::{Attr, attributes, op_of};
pub use spellings::{SPELLINGS, canonical, operator_meant, spellings};

use crate::{Customs, Graph, Result};

/// What is printed of large constants and long parameter lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constants {
    /// Everything, so that the text can be read back.
    Full,
    /// Size and hash, for people only.
    Elided,
}

/// The whole graph as text that [`parse`] reads back.
pub fn print(g: &Graph) -> String {
    print::graph(g, Constants::Full)
}

/// The graph as text, large constants as asked.
pub fn print_with(g: &Graph, constants: Constants) -> String {
    print::graph(g, constants)
}

/// Reads a graph. Errors carry line and column; whether the graph is valid is for [`verify`](crate::verify) to say.
pub fn parse(text: &str) -> Result<Graph> {
    parse_with(text, &Customs::default())
}

/// As [`parse`], with operators of the user's, which say what their results are where the text does not.
pub fn parse_with(text: &str, customs: &Customs) -> Result<Graph> {
    parse::graph(text, customs)
}
