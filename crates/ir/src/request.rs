//! What is asked of a value before its range is known: the attributes of [`Op::Simulate`](crate::Op::Simulate).

use lowbit_arithmetic::Rounding;
use std::fmt;
use std::sync::Arc;

/// The role a quantized value plays, in the words of the classic workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// What a multiply-accumulate reads, and in general any value that is written to memory.
    #[default]
    Input,
    /// A constant that a multiply-accumulate reads.
    Weight,
    /// The wide value between a multiply-accumulate and the next input.
    Activation,
}

/// How fine parameters are, before axes are known: an operator's rule says which axis is its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// One scale a tensor.
    #[default]
    Tensor,
    /// One scale per slice along this axis.
    Channel(usize),
    /// One scale per run of elements along an axis.
    Block {
        /// The axis that is cut.
        axis: usize,
        /// Elements a block.
        size: usize,
    },
}

/// Which scales are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ScaleForm {
    /// Any positive float.
    #[default]
    Float,
    /// Powers of two, so that rescaling is a shift.
    PowerOfTwo,
}

/// A request: quantize this value so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Request {
    /// Role of the value.
    pub kind: Kind,
    /// Width, 2..=32.
    pub bits: u8,
    /// Whether negative integers are used.
    pub signed: bool,
    /// Zero point in the middle (0 for signed).
    pub symmetric: bool,
    /// Whether a signed symmetric range leaves out its lowest value (-127..127).
    pub narrow: bool,
    /// What shares a scale.
    pub sharing: Sharing,
    /// Which scales are allowed.
    pub scale: ScaleForm,
    /// How values are rounded to integers.
    pub rounding: Rounding,
    /// Name of the observer that finds the range, from the table of observers.
    pub observer: Arc<str>,
}

impl Request {
    /// The integers that this spec uses.
    pub fn range(&self) -> (i64, i64) {
        let half = 1i64 << (self.bits.clamp(2, 32) - 1);
        match (self.signed, self.narrow) {
            (true, true) => (-(half - 1), half - 1),
            (true, false) => (-half, half - 1),
            (false, _) => (0, 2 * half - 1),
        }
    }
}

/// `input u8 asymmetric tensor mse half-even`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Input => "input",
            Kind::Weight => "weight",
            Kind::Activation => "activation",
        };
        let sign = if self.signed { 'i' } else { 'u' };
        let symmetry = if self.symmetric { "symmetric" } else { "asymmetric" };
        write!(f, "{kind} {sign}{} {symmetry} ", self.bits)?;
        if self.narrow {
            f.write_str("narrow ")?;
        }
        match self.sharing {
            Sharing::Tensor => f.write_str("tensor ")?,
            Sharing::Channel(axis) => write!(f, "channel({axis}) ")?,
            Sharing::Block { axis, size } => write!(f, "block({axis},{size}) ")?,
        }
        match self.scale {
            ScaleForm::Float => {}
            ScaleForm::PowerOfTwo => f.write_str("power-of-two ")?,
        }
        write!(f, "{} {}", self.observer, self.rounding)
    }
}
