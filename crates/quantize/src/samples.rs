//! Where calibration data comes from: any list that can be read again.

use lowbit_ir::{Result, Tensor};
use std::collections::BTreeMap;

/// A list of samples. A sample has one tensor per input of the graph, of a batch of one.
///
/// Samples are asked for one at a time and not kept, so a list may read files.
pub trait Samples {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a model that was calibrated with these should remember of them, as metadata: of images how they were
    /// preprocessed.
    fn properties(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Sample `i`, the same every time.
    fn sample(&self, i: usize) -> Result<Vec<Tensor>>;
}

impl Samples for Vec<Vec<Tensor>> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        self.get(i)
            .cloned()
            .ok_or_else(|| lowbit_ir::Error::new(format!("expected one of {} samples, found {i}", self.len())))
    }
}

/// Up to `limit` indices below `len` (0: all), evenly spread and the same every time.
pub fn spread(len: usize, limit: usize) -> impl Iterator<Item = usize> {
    let count = if limit == 0 { len } else { limit.min(len) };
    (0..count).map(move |i| ((i as u128 * len as u128) / count.max(1) as u128) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_even_and_without_repeats() {
        assert_eq!(spread(10, 5).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
        assert_eq!(spread(3, 5).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(spread(3, 0).count(), 3);
        assert_eq!(spread(0, 5).count(), 0);
    }
}
