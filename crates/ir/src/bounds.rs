//! How large accumulators can get: from the actual weights and the input's range, channel by channel.

/// Bits of the two's complement integer that holds every value of `low..=high`.
pub fn bits_needed(low: i64, high: i64) -> u32 {
    let magnitude = |v: i64| if v < 0 { !v } else { v };
    65 - magnitude(low).leading_zeros().min(magnitude(high).leading_zeros())
}
