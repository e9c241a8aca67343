//! How wide the accumulator of a layer must be.

use crate::config::Limit;
use lowbit_ir::{DType, Error, Graph, Node, Result, bounds};

/// What accumulators may be.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Widest, in bits.
    pub bits: u8,
    /// What becomes of a layer that needs more.
    pub limit: Limit,
}

impl Allowed {
    /// 32 bits, else float.
    pub const OR_FLOAT: Allowed = Allowed { bits: 32, limit: Limit::Float };
}

/// The narrowest accumulator that no input can overflow (see [`bounds`]), or why the layer stays float.
pub fn choose(g: &Graph, layer: &Node, allowed: Allowed) -> Result<std::result::Result<DType, String>> {
    let bound = match bounds::bound(g, layer) {
        Ok(bound) => bound,
        Err(e) => return Ok(Err(e.reason())),
    };
    let Some(bits) = bound.map(|b| b.bits_needed()) else { return Ok(Err("its operands are not integers".into())) };
    let dtype = if bits <= 32 { DType::I32 } else { DType::I64 };
    if bits <= u32::from(allowed.bits) {
        return Ok(Ok(dtype));
    }
    let why = format!("its sums need {bits} bits, more than the {} of accumulator_bits", allowed.bits);
    match allowed.limit {
        Limit::Float if bits <= 64 => Ok(Err(format!(
            "{why}; accumulator_bits = {} or accumulator_limit = \"widen\" makes it integers",
            bits.next_power_of_two()
        ))),
        Limit::Float => Ok(Err(why)),
        Limit::Widen if bits <= 64 => Ok(Ok(dtype)),
        Limit::Error | Limit::Widen => Err(Error::new(why)
            .at_node(&layer.name)
            .hint("fewer bits for its input or weights, a greater accumulator_bits, or accumulator_limit = \"float\"")),
    }
}
