//! The range that loses the least information, as the Kullback-Leibler divergence counts it.
//!
//! Values beyond a threshold are cut off, which moves what they weigh to the ends; within it neighbours share an integer.
//! For every threshold the distribution that was seen, with the tails gathered at its ends, is compared with the one that
//! integers can tell apart, and the threshold of the least divergence wins.
//!
//! Source: Migacz, "8-bit inference with TensorRT", GTC 2017. The search here goes over hundreds of thresholds of a fine
//! histogram, whatever the width, and keeps the two ends of an asymmetric range in proportion.

use super::{Histogram, Range, Row};
use lowbit_arithmetic::elementary;
use lowbit_ir::Request;

pub const OBSERVER: Row = Row {
    name: "entropy",
    summary: "the least Kullback-Leibler divergence over a search of thresholds",
    parameter: None,
    range: |seen, request, _| Ok(search(&seen.histogram, request)),
};

/// Thresholds that are tried, as shares of what was seen; the first of them is a hundredth.
const THRESHOLDS: u32 = 500;

/// The least share that is tried.
const LEAST: f64 = 0.01;

fn search(seen: &Histogram, request: &Request) -> Range {
    let (min, max) = seen.range();
    // Zero is exact in every quantization, and where many values are zero it would hide all else.
    let bins: Vec<(f64, u64)> = seen.bins().filter(|(x, _)| *x != 0.0).collect();
    let (qmin, qmax) = request.range();
    let reach = f64::from(max.max(-min));
    let mut best = (f64::INFINITY, Range { low: min, high: max });
    for i in (0..=THRESHOLDS).rev() {
        let share = LEAST + (1.0 - LEAST) * f64::from(i) / f64::from(THRESHOLDS);
        let range = Range { low: (f64::from(min) * share) as f32, high: (f64::from(max) * share) as f32 };
        let (low, high) = match request.symmetric {
            true => (-reach * share, reach * share),
            false => (f64::from(min) * share, f64::from(max) * share),
        };
        let divergence = divergence(&bins, low, high, (qmax - qmin) as usize);
        // Of equal ones the widest, which cuts off the least.
        if divergence < best.0 {
            best = (divergence, range);
        }
    }
    best.1
}

/// How far the distribution that `steps` equal steps from `low` to `high` can tell is from the one that was seen.
fn divergence(bins: &[(f64, u64)], low: f64, high: f64, steps: usize) -> f64 {
    let step = (high - low) / steps.max(1) as f64;
    if step <= 0.0 {
        return f64::INFINITY;
    }
    // Inside, what was seen; what lies beyond weighs on the outermost bins inside.
    let inside: Vec<(f64, f64)> =
        bins.iter().filter(|(x, _)| (low..=high).contains(x)).map(|(x, n)| (*x, *n as f64)).collect();
    let (Some((first, _)), Some((last, _))) = (inside.first().copied(), inside.last().copied()) else {
        return f64::INFINITY;
    };
    let below: f64 = bins.iter().filter(|(x, _)| *x < low).map(|(_, n)| *n as f64).sum();
    let above: f64 = bins.iter().filter(|(x, _)| *x > high).map(|(_, n)| *n as f64).sum();
    let total: f64 = below + above + inside.iter().map(|(_, n)| n).sum::<f64>();
    let within = total - below - above;
    let mut sum = 0.0;
    let mut start = 0;
    while let Some((x, _)) = inside.get(start) {
        // The bins of one integer: the integers tell their sum, and each is taken for an equal part of it.
        let integer = |x: f64| ((x - low) / step).round_ties_even();
        let of = integer(*x);
        let length = inside[start..].iter().take_while(|(x, _)| integer(*x) == of).count();
        let shared: f64 = inside[start..start + length].iter().map(|(_, n)| n).sum();
        let q = shared / length as f64 / within;
        for (x, n) in &inside[start..start + length] {
            let cut_below = if *x == first { below } else { 0.0 };
            let cut_above = if *x == last { above } else { 0.0 };
            let p = (n + cut_below + cut_above) / total;
            // The logarithm that is the same on every machine.
            sum += p * f64::from(elementary::ln((p / q) as f32));
        }
        start += length;
    }
    sum
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

    #[test]
    fn outliers_are_cut_off_and_even_values_kept() {
        let request = Spec::bits(8).signed().symmetric().request(Kind::Input, 0, 0);
        // Sums of uniform numbers: close to a normal distribution, with three values far outside.
        let mut state = 1u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let normal: Vec<f32> = (0..200_000).map(|_| (0..6).map(|_| uniform()).sum()).collect();
        let far = search(&seen(normal.iter().copied().chain([-60.0, 55.0, 58.0])), &request);
        assert!(far.high < 8.0 && far.high > 1.0, "{far:?}");
        let even = search(&seen((-5000..=5000).map(|i| i as f32 / 1e3)), &request);
        assert!(even.high > 4.5 && even.low < -4.5, "{even:?}");
    }

    #[test]
    fn the_divergence_is_none_where_every_bin_has_an_integer() {
        let bins: Vec<(f64, u64)> = (0..16).map(|i| (f64::from(i), 1 + i as u64)).collect();
        assert!(divergence(&bins, 0.0, 15.0, 15).abs() < 1e-6);
        // Half the integers: pairs of neighbours are taken for equal.
        assert!(divergence(&bins, 0.0, 15.0, 7) > 1e-3);
        // What is cut off is lost.
        assert!(divergence(&bins, 0.0, 10.0, 15) > 0.1);
    }
}
