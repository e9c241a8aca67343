//! The largest weight decides.

use super::{Range, WeightRow, ends};

pub const OBSERVER: WeightRow = WeightRow {
    name: "max",
    summary: "the largest magnitude; no weight is clipped",
    range: |weights, _| {
        // Weights are finite: whoever asks has looked.
        let (least, greatest) = ends(weights).unwrap_or((0.0, 0.0));
        Range { low: least.min(0.0), high: greatest.max(0.0) }
    },
};
