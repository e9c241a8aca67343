//! Accumulators to bytes, eight at a time: as [`rescale`](super::rescale), on registers of 256 bits.
//!
//! AVX2 has no arithmetic shift of 64-bit integers and no minimum of them. A shift is one of the unsigned integer 2^63
//! higher, whose quotient is 2^63 / 2^shift too high: floor((x + 2^63) / 2^s) = floor(x / 2^s) + 2^(63 - s) for s up to 63.

use super::lanes8::first8;
use super::rescale::{Aim, ByteSum, byte_sum};
use crate::requant::{AddParams, Requant};
use core::arch::x86_64::*;
use lowbit_arithmetic::{AddRescale, Rounding};

/// Multipliers of eight channels.
pub trait Rescale8: Copy {
    /// As [`Rescale16::new`](super::rescale::Rescale16::new).
    ///
    /// # Safety
    /// AVX2 and FMA are enabled.
    unsafe fn new(m: __m256i, shift: __m256i, aim: Aim) -> Self;

    /// The rescaled accumulators: saturating i32 without zero point.
    ///
    /// # Safety
    /// AVX2 and FMA are enabled.
    unsafe fn apply(self, acc: __m256i) -> __m256i;
}

/// `Rescale::Float32`.
#[derive(Clone, Copy)]
pub struct Float8 {
    m: __m256,
    top: __m256,
}

impl Rescale8 for Float8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn new(m: __m256i, _shift: __m256i, aim: Aim) -> Self {
        // An upper bound, below 2^24 and so exact, because the conversion to integers would turn too large a value
        // into the least i32; too small a value may become that.
        Float8 { m: _mm256_castsi256_ps(m), top: _mm256_set1_ps(aim.top as f32) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, acc: __m256i) -> __m256i {
        let v = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), self.m);
        // Rounds half to even, as MXCSR has it. The bound is an integer, so the order of rounding and bound is free.
        _mm256_cvtps_epi32(_mm256_min_ps(v, self.top))
    }
}

/// `Rescale::Fixed` where no shift is below 31, as with any ratio below 1: the result fits 32 bits.
#[derive(Clone, Copy)]
pub struct Fixed8 {
    m: [__m256i; 2],
    half: [__m256i; 2],
    by: [RightShift; 2],
}

impl Fixed8 {
    /// Whether these shifts suit this type.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn fits(shift: __m256i) -> bool {
        _mm256_movemask_epi8(_mm256_cmpgt_epi32(_mm256_set1_epi32(31), shift)) == 0
    }
}

impl Rescale8 for Fixed8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn new(m: __m256i, shift: __m256i, _aim: Aim) -> Self {
        // A product is below 2^62 in magnitude, so that from a shift of 63 on every result is 0, and it is at 63.
        let shift = even_odd(_mm256_min_epi32(shift, _mm256_set1_epi32(63)));
        Fixed8 { m: even_odd(m), half: half_of(shift), by: right_shift(shift) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, acc: __m256i) -> __m256i {
        let odd = _mm256_srli_epi64::<32>(acc);
        let even = _mm256_add_epi64(_mm256_mul_epi32(acc, self.m[0]), self.half[0]);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(odd, self.m[1]), self.half[1]);
        join(self.by[0].apply(even), self.by[1].apply(odd))
    }
}

/// `Rescale::Shift` where every shift is to the right.
#[derive(Clone, Copy)]
pub struct Shift8 {
    less_one: __m256i,
}

impl Shift8 {
    /// Whether these shifts suit this type.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn fits(shift: __m256i) -> bool {
        _mm256_movemask_epi8(_mm256_cmpgt_epi32(_mm256_set1_epi32(1), shift)) == 0
    }
}

impl Rescale8 for Shift8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn new(_m: __m256i, shift: __m256i, _aim: Aim) -> Self {
        Shift8 { less_one: _mm256_sub_epi32(shift, _mm256_set1_epi32(1)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, acc: __m256i) -> __m256i {
        // floor((a + 1) / 2) of a = floor(acc / 2^(shift - 1)), without the overflow of a + 1. Counts beyond 31 leave
        // the sign, from which the rest makes 0.
        let a = _mm256_srav_epi32(acc, self.less_one);
        _mm256_add_epi32(_mm256_srai_epi32::<1>(a), _mm256_and_si256(a, _mm256_set1_epi32(1)))
    }
}

/// Any multiplier of `Rescale::Fixed` or `Rescale::Shift` (whose multiplier is 1): rare, and slower.
#[derive(Clone, Copy)]
pub struct Wide8 {
    m: [__m256i; 2],
    left: [__m256i; 2],
    half: [__m256i; 2],
    by: [RightShift; 2],
}

impl Rescale8 for Wide8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn new(m: __m256i, shift: __m256i, _aim: Aim) -> Self {
        let zero = _mm256_setzero_si256();
        let right = _mm256_max_epi32(_mm256_min_epi32(shift, _mm256_set1_epi32(63)), zero);
        // A multiplier from 2^30 makes any product but 0 large enough to need no shift to the left. With the multiplier
        // 1 a shift by 15 does.
        let left = _mm256_max_epi32(_mm256_sub_epi32(zero, _mm256_max_epi32(shift, _mm256_set1_epi32(-15))), zero);
        let left = _mm256_and_si256(left, _mm256_cmpeq_epi32(m, _mm256_set1_epi32(1)));
        let right = even_odd(right);
        Wide8 { m: even_odd(m), left: even_odd(left), half: half_of(right), by: right_shift(right) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, acc: __m256i) -> __m256i {
        let accs = [acc, _mm256_srli_epi64::<32>(acc)];
        let mut out = accs;
        for i in 0..2 {
            let x = _mm256_sllv_epi64(_mm256_mul_epi32(accs[i], self.m[i]), self.left[i]);
            out[i] = saturate(self.by[i].apply(_mm256_add_epi64(x, self.half[i])));
        }
        join(out[0], out[1])
    }
}

/// Any rounding but the one by chance, of any method: as [`Rounded16`](super::rescale::Rounded16).
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "a value lives in registers, for no longer than a loop")]
pub enum Rounded8 {
    /// Floats.
    Float(Float8, Rounding),
    /// Floors of shifts to the right, which take one instruction.
    Floor(__m256i),
    /// Integers.
    Wide(Wide8, [Nudge8; 2]),
}

impl Rescale8 for Rounded8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn new(m: __m256i, shift: __m256i, aim: Aim) -> Self {
        // SAFETY: AVX2 and FMA are enabled.
        unsafe {
            if aim.float {
                return Rounded8::Float(Float8::new(m, shift, aim), aim.rounding);
            }
            let alone = _mm256_movemask_epi8(_mm256_cmpeq_epi32(m, _mm256_set1_epi32(1))) == -1;
            if alone && Shift8::fits(shift) && matches!(aim.rounding, Rounding::Floor) {
                return Rounded8::Floor(shift);
            }
            let by = Wide8::new(m, shift, aim);
            Rounded8::Wide(by, [Nudge8::new(by.by[0], aim.rounding), Nudge8::new(by.by[1], aim.rounding)])
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, acc: __m256i) -> __m256i {
        match self {
            Rounded8::Float(by, rounding) => {
                let v = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), by.m);
                rounded(_mm256_min_ps(v, by.top), rounding)
            }
            Rounded8::Floor(shift) => _mm256_srav_epi32(acc, shift),
            Rounded8::Wide(by, nudge) => {
                let accs = [acc, _mm256_srli_epi64::<32>(acc)];
                let mut out = accs;
                for i in 0..2 {
                    let x = _mm256_sllv_epi64(_mm256_mul_epi32(accs[i], by.m[i]), by.left[i]);
                    out[i] = saturate(nudge[i].shifted(x, by.by[i]));
                }
                join(out[0], out[1])
            }
        }
    }
}

/// As [`Nudge`](super::rescale::Nudge).
#[derive(Clone, Copy)]
pub struct Nudge8 {
    /// Always.
    half: __m256i,
    /// Where x is below 0.
    below: __m256i,
    /// 1 where an odd floor adds one, else 0.
    odd: __m256i,
}

impl Nudge8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(by: RightShift, rounding: Rounding) -> Self {
        let (zero, one) = (_mm256_setzero_si256(), _mm256_set1_epi64x(1));
        let power = _mm256_sllv_epi64(one, by.count);
        let half = _mm256_srli_epi64::<1>(power);
        let any = _mm256_and_si256(_mm256_cmpgt_epi64(by.count, zero), one);
        let (half, below, odd) = match rounding {
            Rounding::HalfUp => (half, zero, zero),
            Rounding::HalfAway => (half, _mm256_sub_epi64(zero, any), zero),
            Rounding::HalfEven => (_mm256_sub_epi64(half, any), zero, any),
            Rounding::TowardZero => (zero, _mm256_sub_epi64(power, one), zero),
            Rounding::Floor | Rounding::Stochastic { .. } => (zero, zero, zero),
        };
        Nudge8 { half, below, odd }
    }

    /// The quotient of x, rounded.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn shifted(self, x: __m256i, by: RightShift) -> __m256i {
        let below = _mm256_and_si256(_mm256_cmpgt_epi64(_mm256_setzero_si256(), x), self.below);
        let odd = _mm256_and_si256(by.apply(x), self.odd);
        by.apply(_mm256_add_epi64(x, _mm256_add_epi64(self.half, _mm256_add_epi64(below, odd))))
    }
}

/// As [`rounded`](super::rescale) of sixteen.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rounded(x: __m256, rounding: Rounding) -> __m256i {
    let half = _mm256_set1_ps(0.5);
    match rounding {
        Rounding::HalfEven => _mm256_cvtps_epi32(x),
        Rounding::HalfUp => {
            let floor = _mm256_floor_ps(x);
            let up = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_sub_ps(x, floor), half);
            // A true comparison is -1.
            _mm256_sub_epi32(_mm256_cvtps_epi32(floor), _mm256_castps_si256(up))
        }
        Rounding::HalfAway => {
            let cut = _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(x);
            let rest = _mm256_sub_ps(x, cut);
            let up = _mm256_cmp_ps::<_CMP_GE_OQ>(rest, half);
            let down = _mm256_cmp_ps::<_CMP_LE_OQ>(rest, _mm256_set1_ps(-0.5));
            let cut = _mm256_sub_epi32(_mm256_cvtps_epi32(cut), _mm256_castps_si256(up));
            _mm256_add_epi32(cut, _mm256_castps_si256(down))
        }
        Rounding::TowardZero => _mm256_cvttps_epi32(x),
        Rounding::Floor | Rounding::Stochastic { .. } => _mm256_cvtps_epi32(_mm256_floor_ps(x)),
    }
}

/// `with_rescale8!(rescale, rounding, top, by => body)`: the body with `by`, a [`Rescale8`] of one multiplier for all
/// lanes.
macro_rules! with_rescale8 {
    ($rescale:expr, $rounding:expr, $top:expr, $by:ident => $body:expr) => {{
        use lowbit_arithmetic::Rescale;
        use $crate::x86::rescale::Aim;
        use $crate::x86::rescale8::{Fixed8, Float8, Rescale8, Rounded8, Shift8, Wide8};
        let float = matches!($rescale, Rescale::Float32 { .. });
        let aim = Aim { top: $top, rounding: $rounding, float };
        let (m, shift) = match $rescale {
            Rescale::Float32 { m } => (m.to_bits() as i32, 0),
            Rescale::Fixed { m, shift } => (m, shift),
            Rescale::Shift { shift } => (1, shift),
        };
        let (m, lanes) = (_mm256_set1_epi32(m), _mm256_set1_epi32(shift));
        match $rescale {
            other if aim.rounding != $crate::requant::rounding_of(&other) => {
                let $by = Rounded8::new(m, lanes, aim);
                $body
            }
            Rescale::Float32 { .. } => {
                let $by = Float8::new(m, lanes, aim);
                $body
            }
            Rescale::Fixed { .. } if shift >= 31 => {
                let $by = Fixed8::new(m, lanes, aim);
                $body
            }
            Rescale::Shift { .. } if shift >= 1 => {
                let $by = Shift8::new(m, lanes, aim);
                $body
            }
            Rescale::Fixed { .. } | Rescale::Shift { .. } => {
                let $by = Wide8::new(m, lanes, aim);
                $body
            }
        }
    }};
}
pub(crate) use with_rescale8;

/// The arithmetic shift to the right of four 64-bit integers, each by its own count of 0..=63.
#[derive(Clone, Copy)]
struct RightShift {
    count: __m256i,
    /// 2^63 / 2^count
    excess: __m256i,
}

impl RightShift {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(count: __m256i) -> Self {
        RightShift { count, excess: _mm256_srlv_epi64(_mm256_set1_epi64x(i64::MIN), count) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn apply(self, x: __m256i) -> __m256i {
        let above = _mm256_xor_si256(x, _mm256_set1_epi64x(i64::MIN));
        _mm256_sub_epi64(_mm256_srlv_epi64(above, self.count), self.excess)
    }
}

/// The shifts of [`even_odd`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn right_shift(count: [__m256i; 2]) -> [RightShift; 2] {
    [RightShift::new(count[0]), RightShift::new(count[1])]
}

/// The even and the odd ones of eight integers, as the low halves of four each.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn even_odd(x: __m256i) -> [__m256i; 2] {
    [_mm256_and_si256(x, _mm256_set1_epi64x(0xffff_ffff)), _mm256_srli_epi64::<32>(x)]
}

/// The inverse of [`even_odd`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn join(even: __m256i, odd: __m256i) -> __m256i {
    _mm256_blend_epi32::<0b1010_1010>(even, _mm256_slli_epi64::<32>(odd))
}

/// Limits 64-bit values so that they are saturating i32.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn saturate(x: __m256i) -> __m256i {
    let (most, least) = (_mm256_set1_epi64x(1 << 16), _mm256_set1_epi64x(-(1 << 16)));
    let x = _mm256_blendv_epi8(x, most, _mm256_cmpgt_epi64(x, most));
    _mm256_blendv_epi8(x, least, _mm256_cmpgt_epi64(least, x))
}

/// 2^(shift - 1), or 0 for the shift 0.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn half_of(shift: [__m256i; 2]) -> [__m256i; 2] {
    let one = _mm256_set1_epi64x(1);
    [_mm256_srli_epi64::<1>(_mm256_sllv_epi64(one, shift[0])), _mm256_srli_epi64::<1>(_mm256_sllv_epi64(one, shift[1]))]
}

/// An addition of two tensors, for eight pairs.
pub trait Add8: Copy {
    /// The rescaled sums of operands without zero points: saturating i32 without zero point.
    ///
    /// # Safety
    /// AVX2 and FMA are enabled.
    unsafe fn apply(self, a: __m256i, b: __m256i) -> __m256i;
}

/// By float multipliers of which no product of a stored value is infinite, so that no sum is a NaN, rounded to the nearest:
/// what [`Sum8`] does, without a question an element.
#[derive(Clone, Copy)]
pub struct FloatSum8 {
    m1: __m256,
    m2: __m256,
    top: __m256,
}

impl FloatSum8 {
    /// If the addition is of this kind.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn of(how: &AddParams) -> Option<FloatSum8> {
        let AddRescale::Float32 { m1, m2 } = how.rescale else { return None };
        let plain = m1 < 1e30 && m2 < 1e30 && how.rounding == Rounding::HalfEven;
        let top = _mm256_set1_ps((how.hi - how.zero_point) as f32);
        plain.then_some(FloatSum8 { m1: _mm256_set1_ps(m1), m2: _mm256_set1_ps(m2), top })
    }
}

impl Add8 for FloatSum8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, a: __m256i, b: __m256i) -> __m256i {
        let a = _mm256_mul_ps(_mm256_cvtepi32_ps(a), self.m1);
        let b = _mm256_mul_ps(_mm256_cvtepi32_ps(b), self.m2);
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_add_ps(a, b), self.top))
    }
}

/// `AddRescale::Fixed` in 32 bits: see [`byte_sum`].
#[derive(Clone, Copy)]
pub struct ByteSum8 {
    high: __m256i,
    low: __m256i,
    half: __m256i,
    right: __m128i,
}

impl ByteSum8 {
    /// If the addition is of this kind.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn of(how: &AddParams) -> Option<ByteSum8> {
        let ByteSum { high, low, half, right } = byte_sum(how)?;
        let all = |x: i32| _mm256_set1_epi32(x);
        Some(ByteSum8 { high: all(high), low: all(low), half: all(half), right: _mm_cvtsi32_si128(right) })
    }
}

impl Add8 for ByteSum8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, a: __m256i, b: __m256i) -> __m256i {
        let pairs = _mm256_blend_epi16::<0xaa>(a, _mm256_slli_epi32::<16>(b));
        let low = _mm256_srai_epi32::<16>(_mm256_madd_epi16(pairs, self.low));
        let high = _mm256_add_epi32(_mm256_madd_epi16(pairs, self.high), self.half);
        _mm256_sra_epi32(_mm256_add_epi32(high, low), self.right)
    }
}

/// `with_sum8!(how, sum => body)`: the body with `sum`, the [`Add8`] of an addition.
macro_rules! with_sum8 {
    ($how:expr, $sum:ident => $body:expr) => {{
        use $crate::x86::rescale8::{ByteSum8, FloatSum8, Sum8};
        if let Some($sum) = FloatSum8::of($how) {
            $body
        } else if let Some($sum) = ByteSum8::of($how) {
            $body
        } else {
            let $sum = Sum8::new($how);
            $body
        }
    }};
}
pub(crate) use with_sum8;

/// Any addition.
#[derive(Clone, Copy)]
pub enum Sum8 {
    /// `AddRescale::Float32`.
    Float {
        /// Of the first operand.
        m1: __m256,
        /// Of the second operand.
        m2: __m256,
        /// As in [`Float8`].
        top: __m256,
        /// Any but the one by chance.
        rounding: Rounding,
    },
    /// `AddRescale::Fixed`.
    Fixed(FixedSum),
    /// The same with another rounding than its default.
    FixedRounded(FixedSum, Nudge8),
}

/// Parameters of `AddRescale::Fixed`.
#[derive(Clone, Copy)]
pub struct FixedSum {
    /// Of the first operand.
    m1: __m256i,
    /// Of the second operand.
    m2: __m256i,
    /// To the left, before.
    left: __m128i,
    /// 2^(right - 1), or 0.
    half: __m256i,
    right: RightShift,
}

impl Sum8 {
    /// The multipliers of an addition of bytes.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn new(how: &AddParams) -> Self {
        match how.rescale {
            AddRescale::Float32 { m1, m2 } => Sum8::Float {
                m1: _mm256_set1_ps(m1),
                m2: _mm256_set1_ps(m2),
                top: _mm256_set1_ps((how.hi - how.zero_point) as f32),
                rounding: how.rounding,
            },
            AddRescale::Fixed { m1, m2, shift } => {
                // The sum of two products of 9 and 31 bits is below 2^41: a shift of 62 leaves 0 of it, and one by 16 to
                // the left makes any sum but 0 saturate.
                let right = i64::from(shift.clamp(0, 62));
                let left = i64::from((-shift.max(-16)).max(0));
                let by = FixedSum {
                    m1: _mm256_set1_epi32(m1),
                    m2: _mm256_set1_epi32(m2),
                    left: _mm_cvtsi64_si128(left),
                    half: _mm256_set1_epi64x((1 << right) >> 1),
                    right: RightShift::new(_mm256_set1_epi64x(right)),
                };
                match how.rounding {
                    Rounding::HalfUp => Sum8::Fixed(by),
                    rounding => Sum8::FixedRounded(by, Nudge8::new(by.right, rounding)),
                }
            }
        }
    }
}

impl Add8 for Sum8 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apply(self, a: __m256i, b: __m256i) -> __m256i {
        match self {
            Sum8::Float { m1, m2, top, rounding } => {
                let a = _mm256_mul_ps(_mm256_cvtepi32_ps(a), m1);
                let b = _mm256_mul_ps(_mm256_cvtepi32_ps(b), m2);
                bounded(_mm256_add_ps(a, b), top, rounding)
            }
            Sum8::Fixed(by) => {
                let of_even = |a, b| saturate(by.right.apply(_mm256_add_epi64(by.sums(a, b), by.half)));
                join(of_even(a, b), of_even(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b)))
            }
            Sum8::FixedRounded(by, nudge) => {
                let of_even = |a, b| saturate(nudge.shifted(by.sums(a, b), by.right));
                join(of_even(a, b), of_even(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b)))
            }
        }
    }
}

impl FixedSum {
    /// The products of the even ones, added.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn sums(self, a: __m256i, b: __m256i) -> __m256i {
        let sum = _mm256_add_epi64(_mm256_mul_epi32(a, self.m1), _mm256_mul_epi32(b, self.m2));
        _mm256_sll_epi64(sum, self.left)
    }
}

/// Rounded: exact up to `top`, the least i32 where too small, 0 for NaN (as infinities of both signs make, and `min` alone
/// would turn into the bound).
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn bounded(x: __m256, top: __m256, rounding: Rounding) -> __m256i {
    let number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
    _mm256_and_si256(rounded(_mm256_min_ps(x, top), rounding), number)
}

/// Requantized accumulators joined by another tensor.
#[derive(Clone, Copy)]
pub struct Joined8<S> {
    lo: __m256i,
    hi: __m256i,
    offset: __m256i,
    z2: __m256i,
    sum: S,
}

impl<S: Add8> Joined8<S> {
    /// The parameters in registers.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn new(how: &Requant, add: &AddParams, sum: S) -> Self {
        Joined8 {
            lo: _mm256_set1_epi32(how.lo - how.zero_point),
            hi: _mm256_set1_epi32(how.hi - how.zero_point),
            offset: _mm256_set1_epi32(how.zero_point - add.z1),
            z2: _mm256_set1_epi32(add.z2),
            sum,
        }
    }

    /// From rescaled accumulators and the stored values of the other tensor to saturating i32.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn apply(&self, rescaled: __m256i, r: __m256i) -> __m256i {
        // Bounded before the zero point is added, which so cannot overflow.
        let q = _mm256_min_epi32(_mm256_max_epi32(rescaled, self.lo), self.hi);
        // SAFETY: what the sum needs is enabled.
        unsafe { self.sum.apply(_mm256_add_epi32(q, self.offset), _mm256_sub_epi32(r, self.z2)) }
    }
}

/// Zero point and clamp of stored bytes.
#[derive(Clone, Copy)]
pub struct Bytes8 {
    zero_point: __m256i,
    lo: __m256i,
    hi: __m256i,
}

impl Bytes8 {
    /// The parameters in registers.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn new(zero_point: i32, lo: i32, hi: i32) -> Self {
        Bytes8 {
            zero_point: _mm256_set1_epi16(zero_point as i16),
            lo: _mm256_set1_epi8(lo as i8),
            hi: _mm256_set1_epi8(hi as i8),
        }
    }

    /// Four vectors of saturating i32 to bytes: in each 128-bit lane first the four of `a`, then of `b`, `c` and `d`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn pack_lanes(&self, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        let ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), self.zero_point);
        let cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), self.zero_point);
        // An upper bound below the lower one wins, as in `arithmetic`.
        _mm256_min_epu8(_mm256_max_epu8(_mm256_packus_epi16(ab, cd), self.lo), self.hi)
    }

    /// Four vectors of saturating i32 to bytes in their order.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn pack(&self, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_permutevar8x32_epi32(self.pack_lanes(a, b, c, d), order)
    }
}

/// Stores the first `n` of 32 bytes, in powers of two: AVX2 has no store that takes a mask of bytes.
///
/// # Safety
/// AVX2 is enabled; `y` is writable for `n` bytes, or for 32 if there are more.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn store_bytes8(y: *mut u8, n: usize, bytes: __m256i) {
    // SAFETY: the caller's promise: what is stored adds up to n.
    unsafe {
        if n >= 32 {
            return _mm256_storeu_si256(y.cast(), bytes);
        }
        let mut part = _mm256_castsi256_si128(bytes);
        let mut y = y;
        if n & 16 != 0 {
            _mm_storeu_si128(y.cast(), part);
            (y, part) = (y.add(16), _mm256_extracti128_si256::<1>(bytes));
        }
        if n & 8 != 0 {
            _mm_storel_epi64(y.cast(), part);
            (y, part) = (y.add(8), _mm_srli_si128::<8>(part));
        }
        if n & 4 != 0 {
            y.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(part));
            (y, part) = (y.add(4), _mm_srli_si128::<4>(part));
        }
        if n & 2 != 0 {
            y.cast::<i16>().write_unaligned(_mm_cvtsi128_si32(part) as i16);
            (y, part) = (y.add(2), _mm_srli_si128::<2>(part));
        }
        if n & 1 != 0 {
            *y = _mm_cvtsi128_si32(part) as u8;
        }
    }
}

/// Stores the first `n` of eight integers.
///
/// # Safety
/// AVX2 is enabled; `y` is writable for `n` integers, or for 8 if there are more.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn store_ints8(y: *mut i32, n: usize, ints: __m256i) {
    // SAFETY: the caller's promise; lanes outside the mask are not accessed. A store without a mask is faster.
    unsafe {
        if n >= 8 {
            _mm256_storeu_si256(y.cast(), ints);
        } else {
            _mm256_maskstore_epi32(y, first8(n), ints);
        }
    }
}
