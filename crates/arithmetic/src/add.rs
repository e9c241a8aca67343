//! Addition of two integers of different scales.

use crate::requant::{
    Method, ScaleError, check_scale, exponent, power_of_two_shift, scaled_by_power_of_two, shift_saturating,
};
use crate::rounding::{Rounding, round_to_integer, shift_right};

/// The change of scale of both operands of an addition, with one rounding of the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AddRescale {
    /// round(f32(a) * m1 + f32(b) * m2), three f32 operations
    Float32 {
        /// s1 / s_out
        m1: f32,
        /// s2 / s_out
        m2: f32,
    },
    /// round((a * m1 + b * m2) / 2^shift); the method `shift` has powers of two here
    Fixed {
        /// Of the first operand.
        m1: i32,
        /// Of the second operand.
        m2: i32,
        /// Common to both; may be negative: then it shifts left.
        shift: i32,
    },
}

impl AddRescale {
    /// From operands of scales `s1` and `s2` to a sum of scale `s_out`.
    pub fn new(method: Method, s1: f32, s2: f32, s_out: f32) -> Result<Self, ScaleError> {
        check_scale(s1)?;
        check_scale(s2)?;
        check_scale(s_out)?;
        match method {
            Method::Float32 => {
                let ratio = |s_in: f32| {
                    let m = s_in / s_out;
                    if m.is_normal() { Ok(m) } else { Err(ScaleError::Ratio { s_in, s_out, method }) }
                };
                Ok(AddRescale::Float32 { m1: ratio(s1)?, m2: ratio(s2)? })
            }
            Method::Fixed => {
                let ratio1 = f64::from(s1) / f64::from(s_out);
                let ratio2 = f64::from(s2) / f64::from(s_out);
                let greater = ratio1.max(ratio2);
                let mut shift = 30 - exponent(greater);
                if scaled_by_power_of_two(greater, shift) == 1 << 31 {
                    shift -= 1;
                }
                Ok(AddRescale::Fixed {
                    m1: scaled_by_power_of_two(ratio1, shift) as i32,
                    m2: scaled_by_power_of_two(ratio2, shift) as i32,
                    shift,
                })
            }
            Method::Shift => {
                let k1 = power_of_two_shift(s1, s_out)?;
                let k2 = power_of_two_shift(s2, s_out)?;
                let shift = k1.max(k2);
                let power = |k: i32| match shift - k {
                    left @ 0..=30 => Ok(1 << left),
                    _ => Err(ScaleError::Apart { s1, s2 }),
                };
                Ok(AddRescale::Fixed { m1: power(k1)?, m2: power(k2)?, shift })
            }
        }
    }

    /// The rescaled sum of a = q1 - z1 and b = q2 - z2, saturated to 64 bits; the zero point of
    /// the output is not added yet.
    #[inline]
    pub fn apply(self, a: i64, b: i64, r: Rounding, index: u64) -> i64 {
        match self {
            AddRescale::Float32 { m1, m2 } => round_to_integer((a as f32 * m1) + (b as f32 * m2), r, index),
            AddRescale::Fixed { m1, m2, shift } => match (i32::try_from(a), i32::try_from(b)) {
                // Two products below 2^62: the sum fits 64 bits.
                (Ok(a), Ok(b)) if shift >= 0 => {
                    let sum = i64::from(a) * i64::from(m1) + i64::from(b) * i64::from(m2);
                    shift_right(sum, shift as u32, r, index)
                }
                (Ok(_) | Err(_), Ok(_) | Err(_)) => {
                    let sum = i128::from(a) * i128::from(m1) + i128::from(b) * i128::from(m2);
                    shift_saturating(sum, shift, r, index)
                }
            },
        }
    }
}
