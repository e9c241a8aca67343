//! An average of the samples' extremes, in which the later ones weigh more.
//!
//! Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
//! 2018, section 3.1.

use super::{Ends, Range, Row};
use lowbit_ir::Error;

pub const OBSERVER: Row = Row {
    name: "moving_average",
    summary: "the samples' extremes averaged in their order, each new one with a weight of 1/100",
    parameter: None,
    known: true,
    needs_samples: true,
    range: |seen, _, _| match seen.moving {
        Some(moving) => Ok(moving.range()),
        None => {
            Err(Error::new("a moving average depends on the order of the samples, and merged statistics have none")
                .hint("calibrate in one run, or choose another observer"))
        }
    },
};

/// Weight of a new sample.
const WEIGHT: f64 = 0.01;

/// The averages so far: of the samples' lowest and of their highest values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moving {
    /// None before the first sample.
    pub averages: Option<(f64, f64)>,
}

impl Moving {
    /// Adds a sample by its least and its greatest value, both of them finite, or infinities if there is none.
    pub(super) fn add(&mut self, (least, greatest): Ends) {
        let (low, high) = (f64::from(least.min(0.0)), f64::from(greatest.max(0.0)));
        self.averages = Some(match self.averages {
            None => (low, high),
            Some((l, h)) => (l + WEIGHT * (low - l), h + WEIGHT * (high - h)),
        });
    }

    /// The lower low and the higher high of two.
    #[must_use]
    pub fn widest(self, other: Moving) -> Moving {
        Moving {
            averages: match (self.averages, other.averages) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (one, other) => one.or(other),
            },
        }
    }

    fn range(&self) -> Range {
        let (low, high) = self.averages.unwrap_or_default();
        Range { low: low as f32, high: high as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_fades() {
        let mut moving = Moving::default();
        assert_eq!(moving.range(), Range { low: 0.0, high: 0.0 });
        moving.add((-1.0, 100.0));
        assert_eq!(moving.range(), Range { low: -1.0, high: 100.0 });
        moving.add((0.0, 2.0));
        assert_eq!(moving.range(), Range { low: -0.99, high: 99.02 });
        (0..2000).for_each(|_| moving.add((-1.0, 2.0)));
        let Range { low, high } = moving.range();
        assert!((low + 1.0).abs() < 1e-3 && (high - 2.0).abs() < 1e-3, "{low} {high}");
    }
}
