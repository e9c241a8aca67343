//! Activations on integers: clip bounds, the rectifier and lookup tables.

use crate::requant::{Affine, dequantize, quantize};
use crate::rounding::Rounding;

/// Fills a lookup table: entry i is the quantized f of the real number that qmin + i stands for.
///
/// The table is indexed by q - from.qmin; entries past from.qmax repeat the last one.
/// Stochastic rounding becomes half-even: its chance belongs to an element, and an entry serves many.
pub fn table(from: &Affine, to: &Affine, r: Rounding, f: impl Fn(f32) -> f32, out: &mut [i32]) {
    let r = match r {
        Rounding::Stochastic { .. } => Rounding::HalfEven,
        Rounding::HalfEven | Rounding::HalfUp | Rounding::HalfAway | Rounding::TowardZero | Rounding::Floor => r,
    };
    for (i, entry) in out.iter_mut().enumerate() {
        let offset = i64::try_from(i).unwrap_or(i64::MAX);
        let q = i64::from(from.qmin).saturating_add(offset).min(i64::from(from.qmax)) as i32;
        *entry = quantize(f(dequantize(q, from)), to, r, 0);
    }
}

/// The number of entries of a table that covers every integer of the type.
pub fn table_len(from: &Affine) -> usize {
    (i64::from(from.qmax) - i64::from(from.qmin) + 1).max(0) as usize
}

/// The integers of a clip's float bounds: the bounds quantized like any other value.
pub fn clip_bounds(low: f32, high: f32, of: &Affine) -> (i32, i32) {
    let bound = |x| quantize(x, of, Rounding::HalfEven, 0);
    (bound(low), bound(high))
}

/// max(q, zero_point): the rectifier on integers.
#[inline]
pub fn relu(q: i32, zero_point: i32) -> i32 {
    q.max(zero_point)
}

/// min(max(q, low), high): the clip on integers; the upper bound wins.
#[inline]
pub fn clip(q: i32, low: i32, high: i32) -> i32 {
    q.max(low).min(high)
}
