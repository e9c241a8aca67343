//! How wide the accumulator of a layer must be.

use lowbit_ir::{DType, Graph, Node, bounds};

/// The narrowest accumulator that no input can overflow (see [`bounds`]), or why there is none.
pub fn choose(g: &Graph, layer: &Node, allowed_bits: u8) -> Result<DType, String> {
    let bound = bounds::bound(g, layer).map_err(|e| e.message().to_string())?;
    match (bound.map(|b| b.bits_needed()), allowed_bits) {
        (None, _) => Err("its operands are not integers".into()),
        (Some(..=32), _) => Ok(DType::I32),
        (Some(_), 64) => Ok(DType::I64),
        (Some(bits), _) => Err(format!("its sums need {bits} bits, more than the {allowed_bits} of accumulator_bits")),
    }
}
