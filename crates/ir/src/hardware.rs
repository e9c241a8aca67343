//! What a device can compute: numeric constraints, not speed.

use lowbit_arithmetic::Method;

/// The numeric constraints of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// Name in configurations and messages.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Widest accumulator.
    pub accumulator_bits: u32,
    /// Widest operand of a multiply-accumulate.
    pub operand_bits: u32,
    /// Requantize methods it has.
    pub methods: &'static [Method],
    /// Whether islands of float operators may remain between the integers.
    pub float: bool,
    /// Whether weights may have a scale per output channel.
    pub per_channel: bool,
    /// Whether zero points other than 0 exist.
    pub zero_points: bool,
}
