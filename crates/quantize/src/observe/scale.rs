//! From a range of reals to a scale and a zero point.

use lowbit_arithmetic::dequantize;
use lowbit_ir::Request;
use lowbit_ir::request::ScaleForm;

pub use lowbit_arithmetic::Affine;

/// A range of reals that integers are to cover.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Lower end.
    pub low: f32,
    /// Upper end.
    pub high: f32,
}

/// Limits that values are known to keep, from a Relu, a Clip or a function of bounded range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// No value is below.
    pub low: f32,
    /// No value is above.
    pub high: f32,
}

impl Bounds {
    /// No limits.
    pub const NONE: Bounds = Bounds { low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// Scales are kept in this range, so that products of two of them are normal floats.
const SMALLEST: f32 = 1e-18;
const LARGEST: f32 = 1e18;

/// How a range goes with the scales there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Its scale is one of them, or it is nothing but zero.
    Fits,
    /// Its scale would be below the least: what it holds becomes nearly or all zero.
    TooSmall,
    /// Its scale would be beyond the greatest: what it holds would be cut off.
    TooLarge,
}

/// How `range` goes with the scales of integers as `spec` asks.
pub fn fit(range: Range, spec: &Request) -> Fit {
    match exact_scale(range.low.min(0.0), range.high.max(0.0), spec) {
        0.0 => Fit::Fits,
        scale if scale < f64::from(SMALLEST) => Fit::TooSmall,
        scale if scale > f64::from(LARGEST) => Fit::TooLarge,
        _ => Fit::Fits,
    }
}

/// The greatest magnitude that integers as `spec` asks can stand for.
pub fn largest(spec: &Request) -> f64 {
    let (qmin, qmax) = spec.range();
    let steps = if spec.symmetric { qmax - middle(spec) } else { qmax - qmin };
    f64::from(LARGEST) * steps as f64
}

/// The integer that stands for zero where it is the middle one.
pub(super) fn middle(spec: &Request) -> i64 {
    let (qmin, qmax) = spec.range();
    if spec.signed { 0 } else { (qmin + qmax + 1) / 2 }
}

/// The scale with which integers just cover a range around zero.
fn exact_scale(low: f32, high: f32, spec: &Request) -> f64 {
    let (qmin, qmax) = spec.range();
    let middle = middle(spec);
    match spec.symmetric {
        true => (f64::from(high) / (qmax - middle) as f64).max(f64::from(-low) / (middle - qmin) as f64),
        false => (f64::from(high) - f64::from(low)) / (qmax - qmin) as f64,
    }
}

/// The scale and zero point with which integers as `spec` asks cover `range`.
///
/// Zero is always in the range and has an integer of its own, exactly. Where the range ends at a known bound, no integer
/// stands for more than the bound, so that whoever clamps integers need not clip reals. A range of nothing but zero
/// gets the scale 1.
pub fn choose(range: Range, bounds: Bounds, spec: &Request) -> Affine {
    let (qmin, qmax) = spec.range();
    let low = range.low.max(bounds.low).min(0.0);
    let high = range.high.min(bounds.high).max(0.0);
    let exact = exact_scale(low, high, spec);
    let mut scale = match spec.scale {
        ScaleForm::Float => exact as f32,
        ScaleForm::PowerOfTwo => power_of_two_above(exact),
    };
    if low == 0.0 && high == 0.0 {
        scale = 1.0;
    }
    scale = scale.clamp(SMALLEST, LARGEST);
    let zero_point = match spec.symmetric {
        true => middle(spec),
        false => (qmin + (f64::from(-low) / f64::from(scale)).round() as i64).clamp(qmin, qmax),
    };
    let mut chosen = Affine { scale, zero_point: zero_point as i32, qmin: qmin as i32, qmax: qmax as i32 };
    if spec.scale == ScaleForm::Float {
        // At most a few steps: rounding moved the scale by half a unit in its last place.
        while overshoots(&chosen, bounds) && chosen.scale.next_down() >= SMALLEST && chosen.scale > scale * 0.999 {
            chosen.scale = chosen.scale.next_down();
        }
    }
    chosen
}

/// Whether an end of the integers stands for barely more than a bound; one far above it is the rounding of the zero
/// point's doing, or an open bound.
fn overshoots(a: &Affine, bounds: Bounds) -> bool {
    let barely = |x: f32, bound: f32| x > bound && x <= bound * 1.0001;
    barely(dequantize(a.qmax, a), bounds.high) || barely(-dequantize(a.qmin, a), -bounds.low)
}

/// The nearest whole number, of two the even one: where processors have no instruction for that, `round_ties_even` calls a
/// function of the C library for every number.
pub(super) fn nearest(x: f64) -> f64 {
    // Doubles around this number are whole numbers, one apart, so that a sum with it is rounded half to even.
    const WHOLE: f64 = (3u64 << 51) as f64;
    const HALF_OF_IT: f64 = (1u64 << 51) as f64;
    if x.abs() < HALF_OF_IT { (x + WHOLE) - WHOLE } else { x.round_ties_even() }
}

/// The least power of two that is no smaller.
pub(super) fn power_of_two_above(x: f64) -> f32 {
    let e = x.max(f64::MIN_POSITIVE).log2().ceil();
    // log2 may be off by one rounding on either side of an exact power.
    [e - 1.0, e, e + 1.0].into_iter().map(f64::exp2).find(|p| *p >= x).unwrap_or(1.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use lowbit_arithmetic::{Rounding, quantize};
    use lowbit_ir::Kind;
    use proptest::prelude::*;

    fn spec(bits: u8, signed: bool, symmetric: bool) -> Request {
        Request { bits, signed, symmetric, ..Spec::default().request(Kind::Input, 0, 0) }
    }

    proptest! {
        #[test]
        fn zero_is_exact_and_the_range_is_covered(
            low in -1e4f32..0.0, high in 0f32..1e4, bits in 2u8..=16, signed: bool, symmetric: bool
        ) {
            let a = choose(Range { low, high }, Bounds::NONE, &spec(bits, signed, symmetric));
            prop_assert!(a.scale.is_normal() && a.scale > 0.0);
            let q = quantize(0.0, &a, Rounding::HalfEven, 0);
            prop_assert_eq!(dequantize(q, &a), 0.0);
            // The zero point is rounded, so an end may be short by half a step,
            for x in [low, high] {
                let back = dequantize(quantize(x, &a, Rounding::HalfEven, 0), &a);
                // and the product that gives the real back is rounded to f32.
                prop_assert!((back - x).abs() <= a.scale * 0.5001 + x.abs() * f32::EPSILON, "{x} comes back as {back}, scale {}", a.scale);
            }
        }

        #[test]
        fn a_clip_at_the_end_of_the_range_is_redundant(high in 1e-3f32..100.0, bits in 2u8..=16, seen in 0.1f32..2.0) {
            let bounds = Bounds { low: 0.0, high };
            let a = choose(Range { low: 0.0, high: high * seen }, bounds, &spec(bits, false, false));
            prop_assert!(dequantize(a.qmax, &a) <= high);
            prop_assert_eq!(quantize(high, &a, Rounding::HalfEven, 0), a.qmax);
            prop_assert_eq!(quantize(0.0, &a, Rounding::HalfEven, 0), a.qmin);
        }

        #[test]
        fn powers_of_two_are_the_least_that_cover(high in 1e-6f32..1e6) {
            let spec = Request { scale: ScaleForm::PowerOfTwo, ..spec(8, true, true) };
            let a = choose(Range { low: -high, high }, Bounds::NONE, &spec);
            prop_assert_eq!(a.scale.to_bits() & 0x7f_ffff, 0);
            prop_assert!(a.scale * 127.0 >= high && a.scale * 127.0 < 2.0001 * high);
        }
    }

    #[test]
    fn halves_go_to_even_numbers() {
        let halves = [0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 7.0, 1e9 + 0.5];
        let others = [0.49999999999999994, 2251799813685247.5, 2251799813685249.5, 1e16, -3e300, f64::INFINITY];
        for x in halves.into_iter().chain(others) {
            assert_eq!(nearest(x), x.round_ties_even(), "{x}");
        }
    }

    #[test]
    fn nothing_but_zero_has_a_normal_scale() {
        let a = choose(Range { low: 0.0, high: 0.0 }, Bounds::NONE, &spec(8, false, false));
        assert_eq!((a.scale, a.zero_point), (1.0, 0));
    }

    #[test]
    fn ranges_beyond_the_scales_are_told() {
        let (narrow, of) = (spec(8, true, true), |high: f32| Range { low: -high, high });
        let fits = [0.0, 1e-15, 1.0, 1e20, 1.2699e20].map(|high| fit(of(high), &narrow));
        assert_eq!(fits, [Fit::Fits; 5]);
        assert_eq!([1e-16, 1e-38, 1e-45].map(|high| fit(of(high), &narrow)), [Fit::TooSmall; 3]);
        assert_eq!([1.2701e20, 3e38].map(|high| fit(of(high), &narrow)), [Fit::TooLarge; 2]);
        assert!((largest(&narrow) - 1.27e20).abs() < 1e14);
    }

    #[test]
    fn tiny_ranges_have_normal_products_of_scales() {
        let a = choose(Range { low: -1e-38, high: 1e-38 }, Bounds::NONE, &spec(8, true, true));
        assert!((a.scale * a.scale).is_normal());
    }
}
