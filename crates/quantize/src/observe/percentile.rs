//! All but a small share of what was seen, cut off half at either end.

use super::{Histogram, Parameter, Range, Row};

pub const OBSERVER: Row = Row {
    name: "percentile",
    summary: "this percentage of what was seen",
    parameter: Some(Parameter { meaning: "a percentage", usual: 99.999, between: (0.0, 100.0) }),
    known: true,
    needs_samples: true,
    range: |seen, _, percent| Ok(keep(&seen.histogram, percent / 100.0)),
};

fn keep(seen: &Histogram, share: f64) -> Range {
    let cut = (seen.count() as f64 * (1.0 - share) / 2.0) as u64;
    let bins: Vec<(f64, u64)> = seen.bins().collect();
    let half = seen.width() / 2.0;
    let (min, max) = seen.range();
    // The outer edge of the bin in which the share is reached.
    let low = reach(bins.iter(), cut).map_or(0.0, |c| c - half);
    let high = reach(bins.iter().rev(), cut).map_or(0.0, |c| c + half);
    Range { low: (low as f32).max(min).min(0.0), high: (high as f32).min(max).max(0.0) }
}

/// The centre of the first bin at which more than `cut` values have been passed.
fn reach<'a>(bins: impl Iterator<Item = &'a (f64, u64)>, cut: u64) -> Option<f64> {
    let mut passed = 0u64;
    for (centre, count) in bins {
        passed += count;
        if passed > cut {
            return Some(*centre);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_cut_and_the_rest_is_kept() {
        let mut data: Vec<f32> = (0..1_000_000).map(|i| i as f32 / 1e6).collect();
        data.extend([100.0; 3]);
        let mut seen = Histogram::default();
        seen.add(&data).unwrap();
        let range = keep(&seen, 0.9999);
        assert!(range.high >= 0.99 && range.high < 1.1, "{range:?}");
        assert_eq!(range.low, 0.0);
    }

    #[test]
    fn few_values_are_all_kept() {
        let mut seen = Histogram::default();
        seen.add(&[-1.0, 2.0]).unwrap();
        assert_eq!(keep(&seen, 0.99999), Range { low: -1.0, high: 2.0 });
    }
}
