//! Scales: from reals to integers and back, and from one integer scale to another.
//!
//! A quantized value q stands for the real number scale * (q - zero_point).
//! Every float operation below is one IEEE 754 operation, rounded to nearest even; none is fused.

use core::fmt;
use core::str::FromStr;

use crate::rounding::{Rounding, round_to_integer, shift_right, shift_right_wide};

/// One channel of a quantized type: real = scale * (q - zero_point), qmin <= q <= qmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Positive, normal and finite.
    pub scale: f32,
    /// The integer that stands for the real number zero.
    pub zero_point: i32,
    /// The least integer of the type.
    pub qmin: i32,
    /// The greatest integer of the type.
    pub qmax: i32,
}

/// How an integer moves from one scale to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// Convert to f32, multiply once, round.
    #[default]
    Float32,
    /// Multiply by a 31-bit integer and shift with one rounding; no float anywhere.
    Fixed,
    /// Shift with one rounding; the ratio of the scales must be a power of two.
    Shift,
}

/// A change of scale, ready to be applied to accumulators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rescale {
    /// round(f32(acc) * m)
    Float32 {
        /// The ratio of the scales.
        m: f32,
    },
    /// round(acc * m / 2^shift)
    Fixed {
        /// In 2^30 .. 2^31.
        m: i32,
        /// May be negative: then it shifts left.
        shift: i32,
    },
    /// round(acc / 2^shift)
    Shift {
        /// May be negative: then it shifts left.
        shift: i32,
    },
}

/// Quantizes one real number: one division, one rounding, clamp; NaN becomes the zero point.
#[inline]
pub fn quantize(x: f32, to: &Affine, r: Rounding, index: u64) -> i32 {
    let q = round_to_integer(x / to.scale, r, index);
    offset_and_clamp(q, to.zero_point, to.qmin, to.qmax)
}

/// [`quantize`] of many, in its lowest byte; `index` is that of the first.
pub fn quantize_to_bytes(data: &[f32], to: &Affine, r: Rounding, index: u64, out: &mut [u8]) {
    // Integers of so few bits are exact as floats, and so are their sums with each other.
    const FEW: i32 = 1 << 20;
    let few = -FEW..=FEW;
    if r != Rounding::HalfEven || [to.zero_point, to.qmin, to.qmax].iter().any(|q| !few.contains(q)) {
        let one = |(i, (out, x)): (u64, (&mut u8, &f32))| *out = quantize(*x, to, r, index.wrapping_add(i)) as u8;
        return (0u64..).zip(out.iter_mut().zip(data)).for_each(one);
    }
    // Floats around this number are whole numbers, one apart, so that a sum with it is rounded half to even.
    const WHOLE: f32 = (3 << 22) as f32;
    let most = (2 * FEW) as f32;
    for (out, x) in out.iter_mut().zip(data) {
        let q = x / to.scale;
        let q = if q.is_nan() { 0.0 } else { q };
        // What is beyond is beyond the integers too, whatever the zero point.
        let q = if q < -most { -most } else { q };
        let q = if q > most { most } else { q };
        let q = (q + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32 + to.zero_point;
        let q = if q < to.qmin { to.qmin } else { q };
        *out = (if q > to.qmax { to.qmax } else { q }) as u8;
    }
}

/// The real number that q stands for: one conversion, one multiplication.
#[inline]
pub fn dequantize(q: i32, from: &Affine) -> f32 {
    dequantize_wide(i64::from(q), from.scale, i64::from(from.zero_point))
}

/// [`dequantize`] for accumulators of up to 64 bits.
#[inline]
pub fn dequantize_wide(q: i64, scale: f32, zero_point: i64) -> f32 {
    q.saturating_sub(zero_point) as f32 * scale
}

/// Moves an accumulator (zero point already subtracted) to the scale and range of its output.
#[inline]
pub fn requantize(acc: i64, by: Rescale, r: Rounding, zero_point: i32, qmin: i32, qmax: i32, index: u64) -> i32 {
    offset_and_clamp(by.apply(acc, r, index), zero_point, qmin, qmax)
}

/// q + zero_point, clamped to qmin..=qmax; an empty range gives qmax.
#[inline]
pub fn offset_and_clamp(q: i64, zero_point: i32, qmin: i32, qmax: i32) -> i32 {
    // Not Ord::clamp, which panics on an empty range. The result lies within i32 either way.
    q.saturating_add(i64::from(zero_point)).max(i64::from(qmin)).min(i64::from(qmax)) as i32
}

impl Rescale {
    /// From the scale `s_in` of an accumulator to the scale `s_out`.
    pub fn new(method: Method, s_in: f32, s_out: f32) -> Result<Self, ScaleError> {
        Self::for_average(method, s_in, s_out, 1)
    }

    /// From a sum of `count` values of scale `s_in` to their mean at the scale `s_out`.
    ///
    /// A shift cannot divide by a count that is no power of two: there the method [`Method::Shift`] gives the multiplier
    /// of [`Method::Fixed`].
    pub fn for_average(method: Method, s_in: f32, s_out: f32, count: u32) -> Result<Self, ScaleError> {
        check_scale(s_in)?;
        check_scale(s_out)?;
        if count == 0 {
            return Err(ScaleError::Count);
        }
        match method {
            Method::Float32 => {
                let ratio = s_in / s_out;
                let m = ratio / count as f32;
                if ratio.is_normal() && m.is_normal() {
                    Ok(Rescale::Float32 { m })
                } else {
                    Err(ScaleError::Ratio { s_in, s_out, method })
                }
            }
            Method::Fixed => {
                let ratio = f64::from(s_in) / (f64::from(s_out) * f64::from(count));
                let (m, shift) = fixed_point(ratio);
                Ok(Rescale::Fixed { m, shift })
            }
            Method::Shift => {
                let shift = power_of_two_shift(s_in, s_out)?;
                match count.is_power_of_two() {
                    true => Ok(Rescale::Shift { shift: shift + count.trailing_zeros() as i32 }),
                    // No shift divides by 49; a fixed-point multiplier does, without floats.
                    false => Self::for_average(Method::Fixed, s_in, s_out, count),
                }
            }
        }
    }

    /// From the product of values of scales `s1` and `s2` to the scale `s_out`.
    pub fn for_product(method: Method, s1: f32, s2: f32, s_out: f32) -> Result<Self, ScaleError> {
        check_scale(s1)?;
        check_scale(s2)?;
        Self::new(method, s1 * s2, s_out)
    }

    /// The rescaled accumulator, saturated to 64 bits; the zero point is not added yet.
    #[inline]
    pub fn apply(self, acc: i64, r: Rounding, index: u64) -> i64 {
        match self {
            Rescale::Float32 { m } => round_to_integer(acc as f32 * m, r, index),
            Rescale::Fixed { m, shift } => match i32::try_from(acc) {
                // A 32-bit accumulator times 31 bits fits 64 bits.
                Ok(acc) if shift >= 0 => shift_right(i64::from(acc) * i64::from(m), shift as u32, r, index),
                Ok(_) | Err(_) => shift_saturating(i128::from(acc) * i128::from(m), shift, r, index),
            },
            Rescale::Shift { shift } if shift >= 0 => shift_right(acc, shift as u32, r, index),
            Rescale::Shift { shift } => shift_saturating(i128::from(acc), shift, r, index),
        }
    }
}

/// x / 2^shift rounded, or x * 2^-shift, saturated to 64 bits.
#[inline]
pub fn shift_saturating(x: i128, shift: i32, r: Rounding, index: u64) -> i64 {
    let shifted = if shift >= 0 {
        shift_right_wide(x, shift as u32, r, index)
    } else {
        let left = shift.unsigned_abs();
        let moved = x.checked_shl(left).unwrap_or(0);
        match moved.checked_shr(left) {
            Some(back) if back == x => moved,
            Some(_) | None => match x.signum() {
                0 => 0,
                1 => i128::MAX,
                _ => i128::MIN,
            },
        }
    };
    shifted.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// A positive normal ratio as (m, shift) with ratio ~ m / 2^shift and m in 2^30 .. 2^31.
pub(crate) fn fixed_point(ratio: f64) -> (i32, i32) {
    let shift = 30 - exponent(ratio);
    let m = scaled_by_power_of_two(ratio, shift);
    if m == 1 << 31 { (1 << 30, shift - 1) } else { (m as i32, shift) }
}

/// ratio * 2^shift to the nearest integer, ties to even, for a positive normal ratio and a
/// result that is at most 2^31.
pub(crate) fn scaled_by_power_of_two(ratio: f64, shift: i32) -> i64 {
    let mantissa = (ratio.to_bits() & ((1 << 52) - 1) | 1 << 52) as i64;
    // ratio = mantissa * 2^(exponent - 52)
    let right = 52 - exponent(ratio) - shift;
    shift_right(mantissa, right.max(0) as u32, Rounding::HalfEven, 0)
}

/// The e of 2^e <= x < 2^(e+1) for a positive normal x.
pub(crate) fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52) as i32 - 1023
}

/// The shift with s_in / s_out = 2^-shift, exactly.
pub(crate) fn power_of_two_shift(s_in: f32, s_out: f32) -> Result<i32, ScaleError> {
    const MANTISSA: u32 = (1 << 23) - 1;
    let (a, b) = (s_in.to_bits(), s_out.to_bits());
    if a & MANTISSA != b & MANTISSA {
        return Err(ScaleError::Ratio { s_in, s_out, method: Method::Shift });
    }
    Ok((b >> 23) as i32 - (a >> 23) as i32)
}

/// Refuses a scale that is not positive, normal and finite.
pub fn check_scale(scale: f32) -> Result<(), ScaleError> {
    if scale > 0.0 && scale.is_normal() { Ok(()) } else { Err(ScaleError::Scale { scale }) }
}

/// Scales that no rescaling can join.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScaleError {
    /// A scale that is not positive, normal and finite.
    Scale {
        /// The scale.
        scale: f32,
    },
    /// A ratio that the method cannot express.
    Ratio {
        /// The scale of the operand.
        s_in: f32,
        /// The scale of the output.
        s_out: f32,
        /// The method that was asked for.
        method: Method,
    },
    /// Two operands whose scales lie too far apart for the integer method.
    Apart {
        /// The scale of the first operand.
        s1: f32,
        /// The scale of the second operand.
        s2: f32,
    },
    /// An average over no values.
    Count,
}

impl fmt::Display for ScaleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScaleError::Scale { scale } => {
                write!(f, "scale {scale:e} is not a positive, normal and finite f32")
            }
            ScaleError::Ratio { s_in, s_out, method: Method::Shift } => write!(
                f,
                "the ratio of the scales {s_in:e} and {s_out:e} is not a power of two, \
                 which the method shift needs; choose power-of-two scales or the method fixed"
            ),
            ScaleError::Ratio { s_in, s_out, method: Method::Float32 | Method::Fixed } => {
                write!(f, "the ratio of the scales {s_in:e} and {s_out:e} is not a normal f32")
            }
            ScaleError::Apart { s1, s2 } => write!(
                f,
                "the scales {s1:e} and {s2:e} of an addition are more than 2^30 apart; \
                 choose the method fixed or float32"
            ),
            ScaleError::Count => f.write_str("an average over no values has no scale"),
        }
    }
}

impl core::error::Error for ScaleError {}

impl Method {
    /// The names in the order of the variants.
    pub const NAMES: [&'static str; 3] = ["float32", "fixed", "shift"];

    /// The name in configurations and printed graphs.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Float32 => Self::NAMES[0],
            Method::Fixed => Self::NAMES[1],
            Method::Shift => Self::NAMES[2],
        }
    }

    /// The rounding used where a configuration names none.
    pub const fn default_rounding(self) -> Rounding {
        match self {
            Method::Float32 => Rounding::HalfEven,
            Method::Fixed | Method::Shift => Rounding::HalfUp,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`Method::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMethod;

impl fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown requantize method; expected float32, fixed or shift")
    }
}

impl core::error::Error for UnknownMethod {}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        match text {
            "float32" => Ok(Method::Float32),
            "fixed" => Ok(Method::Fixed),
            "shift" => Ok(Method::Shift),
            _ => Err(UnknownMethod),
        }
    }
}
