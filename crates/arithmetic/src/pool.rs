//! Sums over windows and reduced axes: one order, one division.

use crate::requant::{Rescale, requantize};
use crate::rounding::Rounding;

/// The sum from left to right, starting at +0.
#[inline]
pub fn sum(xs: impl Iterator<Item = f32>) -> f32 {
    xs.fold(0.0, |sum, x| sum + x)
}

/// The sum from left to right divided once by the count.
///
/// The count is given because padded taps may count without being added.
#[inline]
pub fn mean(xs: impl Iterator<Item = f32>, count: u32) -> f32 {
    sum(xs) / count as f32
}

/// The greater value; NaN if any is NaN; -infinity for none; +0 counts as greater than -0.
#[inline]
pub fn max(xs: impl Iterator<Item = f32>) -> f32 {
    xs.fold(f32::NEG_INFINITY, max2)
}

/// The greater of two; NaN if either is NaN; +0 counts as greater than -0.
#[inline]
pub fn max2(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        f32::NAN
    } else if a > b || (a == b && b.is_sign_negative()) {
        a
    } else {
        b
    }
}

/// The least value; NaN if any is NaN; infinity for none; -0 counts as less than +0.
#[inline]
pub fn min(xs: impl Iterator<Item = f32>) -> f32 {
    xs.fold(f32::INFINITY, min2)
}

/// The lesser of two; NaN if either is NaN; -0 counts as less than +0.
#[inline]
pub fn min2(a: f32, b: f32) -> f32 {
    -max2(-a, -b)
}

/// The greatest magnitude; NaN if any is NaN; -infinity for none, as of [`max`].
#[inline]
pub fn largest(xs: impl Iterator<Item = f32>) -> f32 {
    max(xs.map(f32::abs))
}

/// The mean of integers: the exact sum of q - zero_in, rescaled once.
///
/// `by` comes from [`Rescale::for_average`] with the same count.
#[inline]
#[expect(clippy::too_many_arguments, reason = "the operands of one formula")]
pub fn average(
    qs: impl Iterator<Item = i32>,
    zero_in: i32,
    by: Rescale,
    r: Rounding,
    zero_out: i32,
    qmin: i32,
    qmax: i32,
    index: u64,
) -> i32 {
    let acc = qs.fold(0i64, |acc, q| acc + (i64::from(q) - i64::from(zero_in)));
    requantize(acc, by, r, zero_out, qmin, qmax, index)
}
