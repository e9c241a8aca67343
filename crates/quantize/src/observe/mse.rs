//! The range with the least mean squared error: clipping the few against coarseness for the many.

use super::scale::nearest;
use super::{Bounds, Histogram, Range, Row, WeightRow, choose};
use lowbit_ir::Request;

pub const OBSERVER: Row = Row {
    name: "mse",
    summary: "the least mean squared error over a search of both ends",
    parameter: None,
    known: true,
    needs_samples: true,
    range: |seen, request, _| Ok(search(&seen.histogram, request)),
};

pub const WEIGHT_OBSERVER: WeightRow = WeightRow {
    name: "mse",
    summary: "the least mean squared error over a search of the largest magnitude",
    range: search_weights,
};

/// Candidates for an end of the range, as shares of what was seen.
const STEPS: u32 = 100;

/// Ends are searched in turn; the second round sees the other end's choice.
const ROUNDS: usize = 2;

fn search(seen: &Histogram, spec: &Request) -> Range {
    let bins: Vec<(f64, u64)> = seen.bins().collect();
    let (min, max) = seen.range();
    let mut best = Range { low: min, high: max };
    let mut least = error(&bins, best, spec);
    let mut consider = |best: &mut Range, candidate: Range| {
        let e = error(&bins, candidate, spec);
        if e < least {
            (least, *best) = (e, candidate);
        }
    };
    for _ in 0..ROUNDS {
        let from = best;
        for high in ends(max) {
            consider(&mut best, Range { high, ..from });
        }
        let from = best;
        for low in ends(min) {
            consider(&mut best, Range { low, ..from });
        }
    }
    // Both ends shrunk alike: what is symmetric is found here.
    for (low, high) in ends(min).zip(ends(max)) {
        consider(&mut best, Range { low, high });
    }
    best
}

/// From the end itself down to a hundredth of it.
fn ends(end: f32) -> impl Iterator<Item = f32> {
    (1..=STEPS).rev().map(move |i| end * (i as f32 / STEPS as f32))
}

fn error(bins: &[(f64, u64)], range: Range, spec: &Request) -> f64 {
    let a = choose(range, Bounds::NONE, spec);
    let (scale, zero) = (f64::from(a.scale), f64::from(a.zero_point));
    let (low, high) = (f64::from(a.qmin), f64::from(a.qmax));
    let inverse = 1.0 / scale;
    let one = |(x, n): &(f64, u64)| {
        let q = nearest(x * inverse + zero).clamp(low, high);
        let e = x - (q - zero) * scale;
        e * e * *n as f64
    };
    bins.iter().map(one).sum()
}

/// Smallest share of the largest magnitude that is tried for weights.
const LEAST_SHARE: u32 = 20;

fn search_weights(weights: &[f32], spec: &Request) -> Range {
    let all = (super::max::OBSERVER.range)(weights, spec);
    let bins: Vec<(f64, u64)> = weights.iter().map(|w| (f64::from(*w), 1)).collect();
    let candidates = (LEAST_SHARE..=STEPS).rev().map(|i| {
        let share = i as f32 / STEPS as f32;
        Range { low: all.low * share, high: all.high * share }
    });
    let mut best = (f64::INFINITY, all);
    for candidate in candidates {
        let e = error(&bins, candidate, spec);
        if e < best.0 {
            best = (e, candidate);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use lowbit_ir::Kind;

    #[test]
    fn an_outlier_is_clipped_for_the_many() {
        let mut seen = Histogram::default();
        // Clipping at h costs (20 - h)^2, the coarser steps cost 1.28 h^2: the least is at 8.8.
        seen.add(&(0..1_000_000).map(|i| i as f32 / 1e6).collect::<Vec<_>>()).unwrap();
        seen.add(&[20.0]).unwrap();
        let spec = Spec::default().request(Kind::Input, 0, 0);
        let found = search(&seen, &spec);
        assert!((8.0..10.0).contains(&found.high), "{found:?}");
        let all = Range { low: 0.0, high: 20.0 };
        let bins: Vec<_> = seen.bins().collect();
        assert!(error(&bins, found, &spec) < error(&bins, all, &spec));
    }

    #[test]
    fn even_values_keep_their_range() {
        let mut seen = Histogram::default();
        seen.add(&(-1000..1000).map(|i| i as f32 / 1e3).collect::<Vec<_>>()).unwrap();
        let found = search(&seen, &Spec::default().request(Kind::Input, 0, 0));
        assert!(found.low <= -0.98 && found.high >= 0.97, "{found:?}");
    }

    #[test]
    fn weights_are_clipped_at_few_bits_only() {
        let mut weights: Vec<f32> = (-500..500).map(|i| i as f32 / 1e4).collect();
        weights.push(1.0);
        let range = |bits| search_weights(&weights, &Spec::bits(bits).request(Kind::Weight, 0, 1));
        assert!(range(4).high < 1.0);
        assert!(range(8).high > range(4).high);
    }
}
