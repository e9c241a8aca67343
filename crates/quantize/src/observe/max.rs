//! The largest weight decides.

use super::{Range, WeightRow};

pub const OBSERVER: WeightRow = WeightRow {
    name: "max",
    summary: "the largest magnitude; no weight is clipped",
    range: |weights, _| {
        let (low, high) = weights.iter().fold((0.0f32, 0.0f32), |(low, high), w| (low.min(*w), high.max(*w)));
        Range { low, high }
    },
};
