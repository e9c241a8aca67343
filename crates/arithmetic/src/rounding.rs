//! Rounding: six ways from a real number to an integer.
//!
//! Every function here rounds once and exactly: the real value is compared with the integers around
//! it, and no intermediate result is rounded on the way.
//! `index` counts the element within its sample and matters to `Stochastic` only.

use core::fmt;
use core::str::FromStr;

/// How a real number becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To the nearest integer, ties to the even one (IEEE 754's default).
    #[default]
    HalfEven,
    /// To the nearest integer, ties towards plus infinity: floor(x + 1/2).
    HalfUp,
    /// To the nearest integer, ties away from zero (C's `round`).
    HalfAway,
    /// Towards zero (truncation).
    TowardZero,
    /// Towards minus infinity.
    Floor,
    /// Up with a probability equal to the fractional part, by a hash of seed and element index.
    Stochastic {
        /// Chooses the sequence; the same seed always gives the same result.
        seed: u64,
    },
}

impl Rounding {
    /// The names in the order of the variants; `stochastic` is followed by its seed in parentheses.
    pub const NAMES: [&'static str; 6] = ["half-even", "half-up", "half-away", "toward-zero", "floor", "stochastic"];

    /// The name without the seed.
    pub const fn name(self) -> &'static str {
        match self {
            Rounding::HalfEven => Self::NAMES[0],
            Rounding::HalfUp => Self::NAMES[1],
            Rounding::HalfAway => Self::NAMES[2],
            Rounding::TowardZero => Self::NAMES[3],
            Rounding::Floor => Self::NAMES[4],
            Rounding::Stochastic { .. } => Self::NAMES[5],
        }
    }
}

/// Rounds to an integral f32; infinities, NaN and the sign of zero pass through.
#[inline]
pub fn round(x: f32, r: Rounding, index: u64) -> f32 {
    const INTEGRAL: f32 = 8_388_608.0; // 2^23: from here on every f32 is an integer.
    // NaN is not below anything, so it leaves here too.
    let below = x.abs() < INTEGRAL;
    if !below {
        return x;
    }
    let truncated = (x as i32) as f32;
    let rest = (x - truncated).abs(); // Exact: the low bits of x.
    let away = if x < 0.0 { truncated - 1.0 } else { truncated + 1.0 };
    let go_away = match r {
        Rounding::HalfEven => rest > 0.5 || (rest == 0.5 && (x as i32) & 1 != 0),
        Rounding::HalfUp => rest > 0.5 || (rest == 0.5 && x > 0.0),
        Rounding::HalfAway => rest >= 0.5,
        Rounding::TowardZero => false,
        Rounding::Floor => rest > 0.0 && x < 0.0,
        Rounding::Stochastic { seed } => {
            // 24 bits of the hash are an exact f32 in [0, 1), and so is 1 - u.
            let u = (hash(seed, index) >> 40) as f32 * (1.0 / 16_777_216.0);
            if x < 0.0 { rest > 0.0 && rest >= 1.0 - u } else { rest > u }
        }
    };
    (if go_away { away } else { truncated }).copysign(x)
}

/// [`round`] and the conversion of its result to an integer, which saturates and sends NaN to zero.
///
/// The same numbers, reached without a branch on the operand: what it is cannot be guessed, and guessing costs more than
/// all of the arithmetic.
#[inline]
pub fn round_to_integer(x: f32, r: Rounding, index: u64) -> i64 {
    let truncated = x as i64;
    // Exact wherever x is no integer; of an integer 0, beyond 64 bits of the sign of x, which saturates alike.
    let rest = x - truncated as f32;
    let (up, down) = match r {
        Rounding::HalfEven => {
            let odd = truncated & 1 != 0;
            ((rest > 0.5) | ((rest == 0.5) & odd), (rest < -0.5) | ((rest == -0.5) & odd))
        }
        Rounding::HalfUp => (rest >= 0.5, rest < -0.5),
        Rounding::HalfAway => (rest >= 0.5, rest <= -0.5),
        Rounding::TowardZero => (false, false),
        Rounding::Floor => (false, rest < 0.0),
        Rounding::Stochastic { .. } => return round(x, r, index) as i64,
    };
    truncated.saturating_add(i64::from(up) - i64::from(down))
}

/// Rounds to an integral f64; `Stochastic` compares with 53 bits of the hash.
#[inline]
pub fn round_f64(x: f64, r: Rounding, index: u64) -> f64 {
    const INTEGRAL: f64 = 4_503_599_627_370_496.0; // 2^52
    let below = x.abs() < INTEGRAL;
    if !below {
        return x;
    }
    let truncated = (x as i64) as f64;
    let rest = (x - truncated).abs();
    let away = if x < 0.0 { truncated - 1.0 } else { truncated + 1.0 };
    let go_away = match r {
        Rounding::HalfEven => rest > 0.5 || (rest == 0.5 && (x as i64) & 1 != 0),
        Rounding::HalfUp => rest > 0.5 || (rest == 0.5 && x > 0.0),
        Rounding::HalfAway => rest >= 0.5,
        Rounding::TowardZero => false,
        Rounding::Floor => rest > 0.0 && x < 0.0,
        Rounding::Stochastic { seed } => {
            let u = (hash(seed, index) >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0);
            if x < 0.0 { rest > 0.0 && rest >= 1.0 - u } else { rest > u }
        }
    };
    (if go_away { away } else { truncated }).copysign(x)
}

/// The integer nearest to x / 2^s in the sense of `r`, for any s.
#[inline]
pub fn shift_right(x: i64, s: u32, r: Rounding, index: u64) -> i64 {
    if s == 0 {
        return x;
    }
    if s > 63 {
        // The result is -1, 0 or 1, so the conversion cannot lose anything.
        return shift_right_wide(x as i128, s, r, index) as i64;
    }
    let floor = x >> s;
    let rest = x as u64 & ((1u64 << s) - 1); // x / 2^s = floor + rest / 2^s
    let half = 1u64 << (s - 1);
    let up = match r {
        Rounding::HalfEven => rest > half || (rest == half && floor & 1 != 0),
        Rounding::HalfUp => rest >= half,
        Rounding::HalfAway => rest > half || (rest == half && x > 0),
        Rounding::TowardZero => rest != 0 && x < 0,
        Rounding::Floor => false,
        Rounding::Stochastic { seed } => rest > hash(seed, index) >> (64 - s),
    };
    floor + i64::from(up)
}

/// [`shift_right`] for the 128-bit products of 64-bit accumulators.
#[inline]
pub fn shift_right_wide(x: i128, s: u32, r: Rounding, index: u64) -> i128 {
    if s == 0 {
        return x;
    }
    if s > 127 {
        return shift_out(x, s, r, index);
    }
    let floor = x >> s;
    let rest = x as u128 & ((1u128 << s) - 1);
    let half = 1u128 << (s - 1);
    let up = match r {
        Rounding::HalfEven => rest > half || (rest == half && floor & 1 != 0),
        Rounding::HalfUp => rest >= half,
        Rounding::HalfAway => rest > half || (rest == half && x > 0),
        Rounding::TowardZero => rest != 0 && x < 0,
        Rounding::Floor => false,
        Rounding::Stochastic { seed } => {
            let h = u128::from(hash(seed, index));
            rest > if s <= 64 { h >> (64 - s) } else { h << (s - 64) }
        }
    };
    floor + i128::from(up)
}

/// x / 2^s for s >= 128, where every value bit is shifted out and |x / 2^s| <= 1/2.
fn shift_out(x: i128, s: u32, r: Rounding, index: u64) -> i128 {
    // The only tie is -2^127 / 2^128.
    let tie = s == 128 && x == i128::MIN;
    let floor = if x < 0 { -1 } else { 0 };
    let up = match r {
        Rounding::HalfEven | Rounding::HalfUp => x < 0,
        Rounding::HalfAway => x < 0 && !tie,
        Rounding::TowardZero => x < 0,
        Rounding::Floor => false,
        Rounding::Stochastic { seed } => {
            // Up if rest / 2^s > h / 2^64, that is rest > h * 2^k, without forming either side.
            let k = s - 64;
            let h = u128::from(hash(seed, index));
            let magnitude = x.unsigned_abs();
            let whole = magnitude.checked_shr(k).unwrap_or(0);
            if x < 0 {
                // rest = 2^s - |x|
                whole < (1u128 << 64) - h
            } else {
                let inexact = whole.checked_shl(k).unwrap_or(0) != magnitude;
                whole > h || (whole == h && inexact)
            }
        }
    };
    floor + i128::from(up)
}

/// The hash of stochastic rounding: output number `index` of the SplitMix64 generator.
///
/// It depends on nothing but its arguments, so neither batches nor threads change a result.
#[inline]
pub const fn hash(seed: u64, index: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rounding::Stochastic { seed } => write!(f, "stochastic({seed})"),
            Rounding::HalfEven | Rounding::HalfUp | Rounding::HalfAway | Rounding::TowardZero | Rounding::Floor => {
                f.write_str(self.name())
            }
        }
    }
}

/// A name that is none of [`Rounding::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRounding;

impl fmt::Display for UnknownRounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "unknown rounding; expected half-even, half-up, half-away, toward-zero, floor \
             or stochastic(SEED)",
        )
    }
}

impl core::error::Error for UnknownRounding {}

impl FromStr for Rounding {
    type Err = UnknownRounding;

    /// Reads what `Display` writes; `stochastic` alone has the seed 0.
    fn from_str(text: &str) -> Result<Self, UnknownRounding> {
        match text {
            "half-even" => Ok(Rounding::HalfEven),
            "half-up" => Ok(Rounding::HalfUp),
            "half-away" => Ok(Rounding::HalfAway),
            "toward-zero" => Ok(Rounding::TowardZero),
            "floor" => Ok(Rounding::Floor),
            "stochastic" => Ok(Rounding::Stochastic { seed: 0 }),
            _ => text
                .strip_prefix("stochastic(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|seed| seed.parse().ok())
                .map(|seed| Rounding::Stochastic { seed })
                .ok_or(UnknownRounding),
        }
    }
}
