//! All that was seen.

use super::{Observer, Range};

pub const OBSERVER: Observer = Observer {
    name: "minmax",
    summary: "all that was seen, outliers included",
    range: |seen, _| {
        let (low, high) = seen.range();
        Range { low, high }
    },
};
