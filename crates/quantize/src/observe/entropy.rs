//! The range that loses the least information, as the Kullback-Leibler divergence counts it.
//!
//! Values beyond a threshold are cut off and taken for the last integer; within it neighbours share an integer. For every
//! threshold the whole distribution that was seen is compared with the one that integers can tell, and the threshold of
//! the least divergence wins.
//!
//! Source: Migacz, "8-bit inference with TensorRT", GTC 2017. As there, no threshold leaves fewer filled bins than there
//! are integers for them: with a bin for every integer nothing is lost within, however much is cut off, and what has
//! fewer distinct values than there are integers needs no threshold. Different from there, what is cut off is not counted
//! where it lands, which costs nothing where much lands on little, but where it was: there the integers tell of next to
//! nothing. The search goes over hundreds of thresholds of a fine histogram, whatever the width, and keeps the two ends
//! of an asymmetric range in proportion.

use super::scale::nearest;
use super::{Bounds, Histogram, Range, Row, choose};
use lowbit_arithmetic::{Affine, elementary};
use lowbit_ir::Request;

pub const OBSERVER: Row = Row {
    name: "entropy",
    summary: "the least Kullback-Leibler divergence over a search of thresholds",
    parameter: None,
    known: true,
    needs_samples: true,
    range: |seen, request, _| Ok(search(&seen.histogram, request)),
};

/// Thresholds that are tried, as shares of what was seen; the first of them is a hundredth.
const THRESHOLDS: u32 = 500;

/// The least share that is tried.
const LEAST: f64 = 0.01;

/// The share of all values that integers are taken to spread evenly over whatever was seen, so that what is cut off
/// counts by its logarithm and not as infinite.
const SMOOTHING: f64 = 1e-4;

fn search(seen: &Histogram, request: &Request) -> Range {
    let (min, max) = seen.range();
    // Zero is exact in every quantization, and where many values are zero it would hide all else. The bins beside it
    // hold what the histogram cannot tell from zero.
    let bins = Bins::new(seen.bins().filter(|(x, _)| x.abs() >= seen.width()).collect());
    let mut best = (f64::INFINITY, Range { low: min, high: max });
    for i in (0..=THRESHOLDS).rev() {
        let share = LEAST + (1.0 - LEAST) * f64::from(i) / f64::from(THRESHOLDS);
        let range = Range { low: (f64::from(min) * share) as f32, high: (f64::from(max) * share) as f32 };
        let cut = Cut::new(range, request);
        let places = cut.places(&bins.seen);
        if places.iter().filter(|p| p.kept).count() < cut.integers() {
            break;
        }
        let divergence = bins.divergence(&places);
        // Of equal ones the widest, which cuts off the least.
        if divergence < best.0 {
            best = (divergence, range);
        }
    }
    best.1
}

/// The bins, and what of them no threshold changes.
struct Bins {
    seen: Vec<(f64, u64)>,
    /// How many values there are in all of them.
    total: f64,
    /// Of each its share of these.
    shares: Vec<f64>,
    /// Of each what it adds to the divergence where it is cut off.
    lost: Vec<f64>,
    /// The share of a bin that is cut off.
    anywhere: f64,
}

impl Bins {
    fn new(seen: Vec<(f64, u64)>) -> Bins {
        let total: f64 = seen.iter().map(|(_, n)| *n as f64).sum();
        let shares: Vec<f64> = seen.iter().map(|(_, n)| *n as f64 / total).collect();
        let anywhere = SMOOTHING / seen.len() as f64;
        let lost = shares.iter().map(|p| term(*p, anywhere)).collect();
        Bins { seen, total, shares, lost, anywhere }
    }

    /// How far the distribution that these integers can tell is from the one that was seen: they tell the sum of the bins
    /// of an integer, of which each that is not cut off is taken for an equal part.
    fn divergence(&self, places: &[Place]) -> f64 {
        let mut sum = 0.0;
        let mut bins = self.shares.iter().zip(&self.lost);
        for shared in places.chunk_by(|a, b| a.integer == b.integer) {
            let all: f64 = shared.iter().map(|bin| bin.count).sum();
            let kept = shared.iter().filter(|bin| bin.kept).count();
            let told = (1.0 - SMOOTHING) * all / self.total / kept.max(1) as f64;
            for (bin, (p, lost)) in shared.iter().zip(&mut bins) {
                sum += if bin.kept { term(*p, self.anywhere + told) } else { *lost };
            }
        }
        sum
    }
}

/// What a bin of the share `p` adds to the divergence if integers tell the share `q`.
fn term(p: f64, q: f64) -> f64 {
    // The logarithm that is the same on every machine.
    p * f64::from(elementary::ln((p / q) as f32))
}

/// What a range makes of a bin.
struct Place {
    integer: f64,
    /// Whether it is not cut off.
    kept: bool,
    count: f64,
}

/// What the integers of a range make of reals.
struct Cut {
    range: Range,
    affine: Affine,
}

impl Cut {
    fn new(range: Range, request: &Request) -> Cut {
        Cut { range, affine: choose(range, Bounds::NONE, request) }
    }

    /// The integer of a real, if there were no least and no greatest.
    fn unlimited(&self, x: f64) -> f64 {
        nearest(x / f64::from(self.affine.scale)) + f64::from(self.affine.zero_point)
    }

    fn limited(&self, integer: f64) -> f64 {
        integer.clamp(f64::from(self.affine.qmin), f64::from(self.affine.qmax))
    }

    fn integer(&self, x: f64) -> f64 {
        self.limited(self.unlimited(x))
    }

    /// Where bins come to lie. One is not cut off within the range, nor beyond it where there are integers: a symmetric
    /// range, or a scale that is a power of two, has room there. A zero point is rounded, which costs the ends half a step
    /// and no more.
    fn places(&self, bins: &[(f64, u64)]) -> Vec<Place> {
        let within = f64::from(self.range.low)..=f64::from(self.range.high);
        let place = |(x, n): &(f64, u64)| {
            let unlimited = self.unlimited(*x);
            let integer = self.limited(unlimited);
            Place { integer, kept: within.contains(x) || unlimited == integer, count: *n as f64 }
        };
        bins.iter().map(place).collect()
    }

    /// How many integers there are for the range.
    fn integers(&self) -> usize {
        (self.integer(f64::from(self.range.high)) - self.integer(f64::from(self.range.low))) as usize + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use lowbit_ir::Kind;

    fn seen(data: impl IntoIterator<Item = f32>) -> Histogram {
        let mut seen = Histogram::default();
        seen.add(&data.into_iter().collect::<Vec<_>>()).unwrap();
        seen
    }

    /// Requests of both kinds of zero points.
    fn requests(bits: u8) -> [Request; 2] {
        let spec = Spec::bits(bits);
        [spec.clone().signed().symmetric(), spec.unsigned().asymmetric()].map(|s| s.request(Kind::Input, 0, 0))
    }

    /// Numbers below one that look random, the same every time.
    fn uniform() -> impl FnMut() -> f32 {
        let mut state = 1u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        }
    }

    #[test]
    fn outliers_are_cut_off_and_even_values_kept() {
        let [request, _] = requests(8);
        // Sums of uniform numbers: close to a normal distribution, with three values far outside.
        let mut uniform = uniform();
        let normal: Vec<f32> = (0..200_000).map(|_| (0..6).map(|_| uniform() - 0.5).sum()).collect();
        let far = search(&seen(normal.iter().copied().chain([-60.0, 55.0, 58.0])), &request);
        assert!(far.high < 8.0 && far.high > 1.0, "{far:?}");
        let even = search(&seen((-5000..=5000).map(|i| i as f32 / 1e3)), &request);
        assert!(even.high > 4.5 && even.low < -4.5, "{even:?}");
    }

    #[test]
    fn few_distinct_values_are_all_kept() {
        // Pixels: levels at equal distances, some often and some seldom.
        for (levels, low, high) in [(256, 0.0, 1.0), (95, 0.0, 1.0), (256, -2.1, 2.6), (95, -2.1, 2.6), (2, -1.0, 1.0)]
        {
            let level = |i: u32| low + (high - low) * i as f32 / (levels - 1) as f32;
            let often = |i: u32| 1 + (i * 7919) % 101;
            let comb = seen((0..levels).flat_map(|i| std::iter::repeat_n(level(i), often(i) as usize)));
            for request in [8, 16].into_iter().flat_map(requests) {
                let found = search(&comb, &request);
                let whole = found.high >= 0.99 * high && found.low <= 0.99 * low;
                assert!(whole, "{levels} levels from {low} to {high}, {request}: {found:?}");
            }
        }
    }

    #[test]
    fn a_spike_at_zero_does_not_cut_off_the_rest() {
        let mut uniform = uniform();
        let rest: Vec<f32> = (0..20_000).map(|_| uniform() * 4.0).collect();
        for spike in [0.0, 1e-6] {
            for count in [1_000, 20_000, 1_000_000] {
                let mixed = seen(rest.iter().copied().chain(std::iter::repeat_n(spike, count)));
                for request in [4, 8].into_iter().flat_map(requests) {
                    let found = search(&mixed, &request);
                    assert!(found.high > 3.6, "{count} times {spike}, {request}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn the_divergence_is_none_where_every_bin_has_an_integer() {
        let bins = Bins::new((1..16).map(|i| (f64::from(i), 1 + i as u64)).collect());
        let of = |bits: u8, high: f32| {
            let request = Spec::bits(bits).unsigned().asymmetric().request(Kind::Input, 0, 0);
            bins.divergence(&Cut::new(Range { low: 0.0, high }, &request).places(&bins.seen))
        };
        assert!(of(4, 15.0).abs() < 1e-4);
        // Half the integers: pairs of neighbours are taken for equal.
        assert!(of(3, 15.0) > 1e-3);
        // What is cut off is lost, and more so the more it is.
        assert!(of(4, 10.0) > 1.0 && of(4, 5.0) > of(4, 10.0));
    }
}
