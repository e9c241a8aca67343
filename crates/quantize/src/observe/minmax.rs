//! All that was seen.

use super::{Range, Row};

pub const OBSERVER: Row = Row {
    name: "minmax",
    summary: "all that was seen, outliers included",
    parameter: None,
    known: true,
    needs_samples: true,
    range: |seen, _, _| {
        let (low, high) = seen.histogram.range();
        Ok(Range { low, high })
    },
};
