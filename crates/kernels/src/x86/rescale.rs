//! Accumulators to bytes or words, sixteen at a time.
//!
//! The steps of an epilogue: [`Rescale16::apply`] multiplies and rounds, [`Sum16::apply`] (where another tensor is added)
//! does so again with the sum, and [`Bytes::pack`] adds the zero point, clamps and narrows. Between the steps travels a
//! *saturating* i32: the exact rescaled value, or, where that lies beyond 2^17 in magnitude, any value of the same sign
//! beyond 2^17. Added to a zero point in 0..=65535 and clamped to 16 bits both are the same.

use crate::requant::{AddParams, Requant, Scales};
use core::arch::x86_64::*;
use lowbit_arithmetic::{AddRescale, Rounding};

/// What rescaled integers are to become.
#[derive(Clone, Copy)]
pub struct Aim {
    /// The highest stored value less the zero point.
    pub top: i32,
    /// Asked for by [`Rounded16`] only: the other types are of their method's default.
    pub rounding: Rounding,
    /// Whether the multipliers are floats.
    pub float: bool,
}

impl Aim {
    /// Of an epilogue.
    pub const fn of(how: &Requant) -> Self {
        let float = matches!(how.scales, Scales::Float32(_));
        Aim { top: how.hi - how.zero_point, rounding: how.rounding, float }
    }
}

/// Multipliers of sixteen channels.
pub trait Rescale16: Copy {
    /// From the channels' multipliers (bits of f32 or integers, 1 for a shift alone) and shifts, as `Scales` has them.
    ///
    /// # Safety
    /// AVX-512 is enabled.
    unsafe fn new(m: __m512i, shift: __m512i, aim: Aim) -> Self;

    /// The rescaled accumulators: saturating i32 without zero point.
    ///
    /// # Safety
    /// AVX-512 is enabled.
    unsafe fn apply(self, acc: __m512i) -> __m512i;
}

/// `Rescale::Float32`.
#[derive(Clone, Copy)]
pub struct Float16 {
    m: __m512,
    top: __m512,
}

impl Rescale16 for Float16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m512i, _shift: __m512i, aim: Aim) -> Self {
        // An upper bound, below 2^24 and so exact, because the conversion to integers would turn too large a value
        // into the least i32; too small a value may become that.
        Float16 { m: _mm512_castsi512_ps(m), top: _mm512_set1_ps(aim.top as f32) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m512i {
        let v = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), self.m);
        // Rounds half to even, as MXCSR has it. The bound is an integer, so the order of rounding and bound is free.
        _mm512_cvtps_epi32(_mm512_min_ps(v, self.top))
    }
}

/// `Rescale::Fixed` where no shift is below 31, as with any ratio below 1: the result fits 32 bits.
#[derive(Clone, Copy)]
pub struct Fixed16 {
    m: [__m512i; 2],
    shift: [__m512i; 2],
    half: [__m512i; 2],
}

impl Fixed16 {
    /// The least shift that suits this type.
    pub const LEAST: i32 = 31;

    /// Whether these shifts suit this type.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn fits(shift: __m512i) -> bool {
        _mm512_cmplt_epi32_mask(shift, _mm512_set1_epi32(Self::LEAST)) == 0
    }
}

impl Rescale16 for Fixed16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m512i, shift: __m512i, _aim: Aim) -> Self {
        // A product is below 2^62 in magnitude, so that from a shift of 63 on every result is 0, and it is at 63.
        let shift = even_odd(_mm512_min_epi32(shift, _mm512_set1_epi32(63)));
        Fixed16 { m: even_odd(m), shift, half: half_of(shift) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m512i {
        let odd = _mm512_srli_epi64::<32>(acc);
        let even = _mm512_add_epi64(_mm512_mul_epi32(acc, self.m[0]), self.half[0]);
        let odd = _mm512_add_epi64(_mm512_mul_epi32(odd, self.m[1]), self.half[1]);
        join(_mm512_srav_epi64(even, self.shift[0]), _mm512_srav_epi64(odd, self.shift[1]))
    }
}

/// `Rescale::Shift` where every shift is to the right.
#[derive(Clone, Copy)]
pub struct Shift16 {
    less_one: __m512i,
}

impl Shift16 {
    /// The least shift that suits this type.
    pub const LEAST: i32 = 1;

    /// Whether these shifts suit this type.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn fits(shift: __m512i) -> bool {
        _mm512_cmplt_epi32_mask(shift, _mm512_set1_epi32(Self::LEAST)) == 0
    }
}

impl Rescale16 for Shift16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(_m: __m512i, shift: __m512i, _aim: Aim) -> Self {
        Shift16 { less_one: _mm512_sub_epi32(shift, _mm512_set1_epi32(1)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m512i {
        // floor((a + 1) / 2) of a = floor(acc / 2^(shift - 1)), without the overflow of a + 1. Counts beyond 31 leave
        // the sign, from which the rest makes 0.
        let a = _mm512_srav_epi32(acc, self.less_one);
        _mm512_add_epi32(_mm512_srai_epi32::<1>(a), _mm512_and_si512(a, _mm512_set1_epi32(1)))
    }
}

/// Any multiplier of `Rescale::Fixed` or `Rescale::Shift` (whose multiplier is 1): rare, and slower.
#[derive(Clone, Copy)]
pub struct Wide16 {
    m: [__m512i; 2],
    left: [__m512i; 2],
    shift: [__m512i; 2],
    half: [__m512i; 2],
}

impl Rescale16 for Wide16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m512i, shift: __m512i, _aim: Aim) -> Self {
        let zero = _mm512_setzero_si512();
        let right = _mm512_max_epi32(_mm512_min_epi32(shift, _mm512_set1_epi32(63)), zero);
        // A multiplier from 2^30 makes any product but 0 large enough to need no shift to the left. With the multiplier
        // 1 a shift by 20 does.
        let left = _mm512_max_epi32(_mm512_sub_epi32(zero, _mm512_max_epi32(shift, _mm512_set1_epi32(-20))), zero);
        let one = _mm512_cmpeq_epi32_mask(m, _mm512_set1_epi32(1));
        let left = _mm512_maskz_mov_epi32(one, left);
        let shift = even_odd(right);
        Wide16 { m: even_odd(m), left: even_odd(left), shift, half: half_of(shift) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m512i {
        let accs = [acc, _mm512_srli_epi64::<32>(acc)];
        let mut out = accs;
        for i in 0..2 {
            let x = _mm512_sllv_epi64(_mm512_mul_epi32(accs[i], self.m[i]), self.left[i]);
            out[i] = saturate(_mm512_srav_epi64(_mm512_add_epi64(x, self.half[i]), self.shift[i]));
        }
        join(out[0], out[1])
    }
}

/// Any rounding but the one by chance, of any method.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "a value lives in registers, for no longer than a loop")]
pub enum Rounded16 {
    /// Floats.
    Float(Float16, Rounding),
    /// Floors of shifts to the right, which take one instruction.
    Floor(__m512i),
    /// Integers.
    Wide(Wide16, [Nudge; 2]),
}

impl Rescale16 for Rounded16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m512i, shift: __m512i, aim: Aim) -> Self {
        // SAFETY: AVX-512 is enabled.
        unsafe {
            if aim.float {
                return Rounded16::Float(Float16::new(m, shift, aim), aim.rounding);
            }
            let alone = _mm512_cmpneq_epi32_mask(m, _mm512_set1_epi32(1)) == 0;
            if alone && Shift16::fits(shift) && matches!(aim.rounding, Rounding::Floor) {
                return Rounded16::Floor(shift);
            }
            let by = Wide16::new(m, shift, aim);
            Rounded16::Wide(by, [Nudge::new(by.shift[0], aim.rounding), Nudge::new(by.shift[1], aim.rounding)])
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m512i {
        match self {
            Rounded16::Float(by, rounding) => {
                let v = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), by.m);
                rounded(_mm512_min_ps(v, by.top), rounding)
            }
            Rounded16::Floor(shift) => _mm512_srav_epi32(acc, shift),
            Rounded16::Wide(by, nudge) => {
                let accs = [acc, _mm512_srli_epi64::<32>(acc)];
                let mut out = accs;
                for i in 0..2 {
                    let x = _mm512_sllv_epi64(_mm512_mul_epi32(accs[i], by.m[i]), by.left[i]);
                    out[i] = saturate(nudge[i].shifted(x, by.shift[i]));
                }
                join(out[0], out[1])
            }
        }
    }
}

/// A rounding of quotients x / 2^s as what is added to x before the floor of the quotient is taken.
///
/// The half for ties up; one less of it below 0 for ties away from zero; 2^s - 1 below 0 for those toward zero; and one
/// less, but the last bit of the floor, for ties to even. Nothing where s is 0, for then nothing is to be rounded.
#[derive(Clone, Copy)]
pub struct Nudge {
    /// Always.
    half: __m512i,
    /// Where x is below 0.
    below: __m512i,
    /// 1 where an odd floor adds one, else 0.
    odd: __m512i,
}

impl Nudge {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(shift: __m512i, rounding: Rounding) -> Self {
        let (zero, one) = (_mm512_setzero_si512(), _mm512_set1_epi64(1));
        let power = _mm512_sllv_epi64(one, shift);
        let half = _mm512_srli_epi64::<1>(power);
        let any = _mm512_min_epu64(shift, one);
        let (half, below, odd) = match rounding {
            Rounding::HalfUp => (half, zero, zero),
            Rounding::HalfAway => (half, _mm512_sub_epi64(zero, any), zero),
            Rounding::HalfEven => (_mm512_sub_epi64(half, any), zero, any),
            Rounding::TowardZero => (zero, _mm512_sub_epi64(power, one), zero),
            Rounding::Floor | Rounding::Stochastic { .. } => (zero, zero, zero),
        };
        Nudge { half, below, odd }
    }

    /// x / 2^shift, rounded.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn shifted(self, x: __m512i, shift: __m512i) -> __m512i {
        let below = _mm512_and_si512(_mm512_srai_epi64::<63>(x), self.below);
        let odd = _mm512_and_si512(_mm512_srav_epi64(x, shift), self.odd);
        let nudge = _mm512_add_epi64(self.half, _mm512_add_epi64(below, odd));
        _mm512_srav_epi64(_mm512_add_epi64(x, nudge), shift)
    }
}

/// Floats to integers; what is too small may become the least one.
///
/// What is left of a float without its floor or its integral part is exact, but where it is above a half anyway.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn rounded(x: __m512, rounding: Rounding) -> __m512i {
    const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    const CUT: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
    let (half, one) = (_mm512_set1_ps(0.5), _mm512_set1_epi32(1));
    match rounding {
        Rounding::HalfEven => _mm512_cvtps_epi32(x),
        Rounding::HalfUp => {
            let floor = _mm512_roundscale_ps::<DOWN>(x);
            let up = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_sub_ps(x, floor), half);
            let floor = _mm512_cvtps_epi32(floor);
            _mm512_mask_add_epi32(floor, up, floor, one)
        }
        Rounding::HalfAway => {
            let cut = _mm512_roundscale_ps::<CUT>(x);
            let rest = _mm512_sub_ps(x, cut);
            let cut = _mm512_cvtps_epi32(cut);
            let up = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(rest, half);
            let down = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(rest, _mm512_set1_ps(-0.5));
            let cut = _mm512_mask_add_epi32(cut, up, cut, one);
            _mm512_mask_sub_epi32(cut, down, cut, one)
        }
        Rounding::TowardZero => _mm512_cvttps_epi32(x),
        Rounding::Floor | Rounding::Stochastic { .. } => _mm512_cvtps_epi32(_mm512_roundscale_ps::<DOWN>(x)),
    }
}

/// `with_rescale!(rescale, rounding, top, by => body)`: the body with `by`, a [`Rescale16`] of one multiplier for all
/// lanes.
macro_rules! with_rescale {
    ($rescale:expr, $rounding:expr, $top:expr, $by:ident => $body:expr) => {{
        use lowbit_arithmetic::Rescale;
        use $crate::x86::rescale::{Aim, Fixed16, Float16, Rescale16, Rounded16, Shift16, Wide16};
        let float = matches!($rescale, Rescale::Float32 { .. });
        let aim = Aim { top: $top, rounding: $rounding, float };
        let (m, shift) = match $rescale {
            Rescale::Float32 { m } => (m.to_bits() as i32, 0),
            Rescale::Fixed { m, shift } => (m, shift),
            Rescale::Shift { shift } => (1, shift),
        };
        let (m, lanes) = (_mm512_set1_epi32(m), _mm512_set1_epi32(shift));
        match $rescale {
            other if aim.rounding != $crate::requant::rounding_of(&other) => {
                let $by = Rounded16::new(m, lanes, aim);
                $body
            }
            Rescale::Float32 { .. } => {
                let $by = Float16::new(m, lanes, aim);
                $body
            }
            Rescale::Fixed { .. } if shift >= 31 => {
                let $by = Fixed16::new(m, lanes, aim);
                $body
            }
            Rescale::Shift { .. } if shift >= 1 => {
                let $by = Shift16::new(m, lanes, aim);
                $body
            }
            Rescale::Fixed { .. } | Rescale::Shift { .. } => {
                let $by = Wide16::new(m, lanes, aim);
                $body
            }
        }
    }};
}
pub(crate) use with_rescale;

/// The even and the odd ones of sixteen integers, as the low halves of eight each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn even_odd(x: __m512i) -> [__m512i; 2] {
    [_mm512_and_si512(x, _mm512_set1_epi64(0xffff_ffff)), _mm512_srli_epi64::<32>(x)]
}

/// The inverse of [`even_odd`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn join(even: __m512i, odd: __m512i) -> __m512i {
    _mm512_mask_shuffle_epi32::<_MM_PERM_CCAA>(even, 0xaaaa, odd)
}

/// Limits 64-bit values so that they are saturating i32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn saturate(x: __m512i) -> __m512i {
    let bound = _mm512_set1_epi64(1 << 20);
    _mm512_min_epi64(_mm512_max_epi64(x, _mm512_set1_epi64(-(1 << 20))), bound)
}

/// 2^(shift - 1), or 0 for the shift 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn half_of(shift: [__m512i; 2]) -> [__m512i; 2] {
    let one = _mm512_set1_epi64(1);
    [_mm512_srli_epi64::<1>(_mm512_sllv_epi64(one, shift[0])), _mm512_srli_epi64::<1>(_mm512_sllv_epi64(one, shift[1]))]
}

/// An addition of two tensors, for sixteen pairs.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "a value lives in registers, for no longer than a loop")]
pub enum Sum16 {
    /// `AddRescale::Float32`.
    Float {
        /// Of the first operand.
        m1: __m512,
        /// Of the second operand.
        m2: __m512,
        /// As in [`Float16`].
        top: __m512,
    },
    /// `AddRescale::Fixed` with a shift to the left.
    Left {
        /// Of the first operand.
        m1: __m512i,
        /// Of the second operand.
        m2: __m512i,
        /// To the left.
        left: __m128i,
    },
    /// `AddRescale::Fixed`.
    Fixed {
        /// Of the first operand.
        m1: __m512i,
        /// Of the second operand.
        m2: __m512i,
        /// 2^(right - 1), or 0.
        half: __m512i,
        /// To the right.
        right: __m128i,
    },
    /// Another rounding than the default of its method.
    Rounded(RoundedSum),
}

/// Parts of a [`Sum16`] with any rounding but the one by chance.
#[derive(Clone, Copy)]
pub struct RoundedSum {
    /// Multipliers, of either method.
    m: [__m512i; 2],
    /// As in [`Float16`], for floats.
    top: Option<__m512>,
    rounding: Rounding,
    nudge: Nudge,
    right: __m512i,
}

impl RoundedSum {
    /// As [`Sum16::apply`].
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn apply(&self, a: __m512i, b: __m512i) -> __m512i {
        let [m1, m2] = self.m;
        if let Some(top) = self.top {
            let a = _mm512_mul_ps(_mm512_cvtepi32_ps(a), _mm512_castsi512_ps(m1));
            let b = _mm512_mul_ps(_mm512_cvtepi32_ps(b), _mm512_castsi512_ps(m2));
            let sum = _mm512_add_ps(a, b);
            let ordered = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(sum, sum);
            return _mm512_maskz_mov_epi32(ordered, rounded(_mm512_min_ps(sum, top), self.rounding));
        }
        let half_sum = |a: __m512i, b: __m512i| {
            let sum = _mm512_add_epi64(_mm512_mul_epi32(a, m1), _mm512_mul_epi32(b, m2));
            saturate(self.nudge.shifted(sum, self.right))
        };
        join(half_sum(a, b), half_sum(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b)))
    }
}

impl Sum16 {
    /// The multipliers of an addition of bytes or words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(how: &AddParams) -> Self {
        match how.rescale {
            AddRescale::Float32 { m1, m2 } => {
                let (m1, m2) = (_mm512_set1_ps(m1), _mm512_set1_ps(m2));
                let top = _mm512_set1_ps((how.hi - how.zero_point) as f32);
                match how.rounding {
                    Rounding::HalfEven => Sum16::Float { m1, m2, top },
                    rounding => Sum16::Rounded(RoundedSum {
                        m: [_mm512_castps_si512(m1), _mm512_castps_si512(m2)],
                        top: Some(top),
                        rounding,
                        nudge: Nudge::new(_mm512_setzero_si512(), rounding),
                        right: _mm512_setzero_si512(),
                    }),
                }
            }
            AddRescale::Fixed { m1, m2, shift } => {
                let (m1, m2) = (_mm512_set1_epi32(m1), _mm512_set1_epi32(m2));
                if shift < 0 {
                    // A shift by 20 makes any sum but 0 saturate.
                    return Sum16::Left { m1, m2, left: _mm_cvtsi64_si128(i64::from(-shift.max(-20))) };
                }
                // The sum of two products of 17 and 31 bits is below 2^49: a shift of 62 leaves 0 of it.
                let right = i64::from(shift.min(62));
                let lanes = _mm512_set1_epi64(right);
                match how.rounding {
                    Rounding::HalfUp => Sum16::Fixed {
                        m1,
                        m2,
                        half: _mm512_set1_epi64((1 << right) >> 1),
                        right: _mm_cvtsi64_si128(right),
                    },
                    rounding => Sum16::Rounded(RoundedSum {
                        m: [m1, m2],
                        top: None,
                        rounding,
                        nudge: Nudge::new(lanes, rounding),
                        right: lanes,
                    }),
                }
            }
        }
    }

    /// Whether [`Sum16::apply`] must be told so.
    pub const fn is_rounded(&self) -> bool {
        matches!(self, Sum16::Rounded(_))
    }

    /// The rescaled sums of operands without zero points: saturating i32 without zero point. Where roundings are their
    /// method's, and `ROUNDED` is false, the loop around has no call in it, which would take all its registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply<const ROUNDED: bool>(self, a: __m512i, b: __m512i) -> __m512i {
        match self {
            Sum16::Float { m1, m2, top } => {
                let a = _mm512_mul_ps(_mm512_cvtepi32_ps(a), m1);
                let b = _mm512_mul_ps(_mm512_cvtepi32_ps(b), m2);
                // Infinities of both signs make a NaN, which `min` would turn into the bound; it stands for 0.
                let sum = _mm512_add_ps(a, b);
                let ordered = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(sum, sum);
                _mm512_maskz_cvtps_epi32(ordered, _mm512_min_ps(sum, top))
            }
            Sum16::Rounded(ref sum) if ROUNDED => sum.apply(a, b),
            Sum16::Rounded(_) => a,
            Sum16::Left { m1, m2, left } => {
                let half_sum = |a: __m512i, b: __m512i| {
                    let sum = _mm512_add_epi64(_mm512_mul_epi32(a, m1), _mm512_mul_epi32(b, m2));
                    // Saturated before, so that nothing is shifted out.
                    saturate(_mm512_sll_epi64(saturate(sum), left))
                };
                join(half_sum(a, b), half_sum(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b)))
            }
            Sum16::Fixed { m1, m2, half, right } => {
                let half_sum = |a: __m512i, b: __m512i| {
                    let sum = _mm512_add_epi64(_mm512_mul_epi32(a, m1), _mm512_mul_epi32(b, m2));
                    saturate(_mm512_sra_epi64(_mm512_add_epi64(sum, half), right))
                };
                join(half_sum(a, b), half_sum(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b)))
            }
        }
    }
}

/// `AddRescale::Fixed` of operands below 256 in magnitude, rounded half up, in 32 bits: see [`byte_sum`].
#[derive(Clone, Copy)]
pub struct ByteSum16 {
    high: __m512i,
    low: __m512i,
    half: __m512i,
    right: __m128i,
}

impl ByteSum16 {
    /// If the addition is of this kind.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn of(add: &AddParams) -> Option<ByteSum16> {
        byte_sum(add).map(|by| ByteSum16 {
            high: _mm512_set1_epi32(by.high),
            low: _mm512_set1_epi32(by.low),
            half: _mm512_set1_epi32(by.half),
            right: _mm_cvtsi32_si128(by.right),
        })
    }

    /// As [`Sum16::apply`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply(self, a: __m512i, b: __m512i) -> __m512i {
        let pairs = _mm512_mask_blend_epi16(0xaaaa_aaaa, a, _mm512_slli_epi32::<16>(b));
        let low = _mm512_srai_epi32::<16>(_mm512_madd_epi16(pairs, self.low));
        let high = _mm512_add_epi32(_mm512_madd_epi16(pairs, self.high), self.half);
        _mm512_sra_epi32(_mm512_add_epi32(high, low), self.right)
    }
}

/// Parameters of [`byte_sum`].
pub struct ByteSum {
    /// The upper words of both multipliers, that of the first operand below.
    pub high: i32,
    /// The lower words.
    pub low: i32,
    /// Half of 2^`right`.
    pub half: i32,
    /// Less the 16 that the lower words take.
    pub right: i32,
}

/// An addition of bytes less their zero points by fixed-point multipliers, as sums of words by words in 32 bits.
///
/// A multiplier is 2^16 h + l with words h and l that have signs. So the sum is 2^16 (h1 a + h2 b) + (l1 a + l2 b), both
/// sums below 2^25 in magnitude for operands below 256. Of a shift by 16 + s the floor is that of the shift by s of the
/// first sum and the floor of the second by 2^16; half of the shift's power, from a shift of 17 on, joins the first sum.
/// Multipliers that are words themselves, as those of scales that are powers of two, need the first sum alone: it is 2^24
/// at most, to which half of a shift up to 30 can be added.
pub fn byte_sum(add: &AddParams) -> Option<ByteSum> {
    let AddRescale::Fixed { m1, m2, shift } = add.rescale else { return None };
    let words = |m: i32| {
        let low = m as i16;
        let high = i16::try_from((i64::from(m) - i64::from(low)) >> 16).ok()?;
        Some((i32::from(high), i32::from(low)))
    };
    let pair = |first: i32, second: i32| first & 0xffff | second << 16;
    let half_up = matches!(add.rounding, Rounding::HalfUp);
    if let (Ok(m1), Ok(m2), 0..=30) = (i16::try_from(m1), i16::try_from(m2), shift) {
        let high = pair(i32::from(m1), i32::from(m2));
        return half_up.then_some(ByteSum { high, low: 0, half: (1 << shift) >> 1, right: shift });
    }
    let ((high1, low1), (high2, low2)) = (words(m1)?, words(m2)?);
    let usual = half_up && (17..=46).contains(&shift);
    usual.then(|| ByteSum {
        high: pair(high1, high2),
        low: pair(low1, low2),
        half: 1 << (shift - 17),
        right: shift - 16,
    })
}

/// Requantized accumulators joined by another tensor.
#[derive(Clone, Copy)]
pub struct Joined {
    lo: __m512i,
    hi: __m512i,
    offset: __m512i,
    z2: __m512i,
    sum: Sum16,
}

impl Joined {
    /// The parameters in registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(how: &Requant, add: &AddParams) -> Self {
        Joined {
            lo: _mm512_set1_epi32(how.lo - how.zero_point),
            hi: _mm512_set1_epi32(how.hi - how.zero_point),
            offset: _mm512_set1_epi32(how.zero_point - add.z1),
            z2: _mm512_set1_epi32(add.z2),
            sum: Sum16::new(add),
        }
    }

    /// From rescaled accumulators and the stored values of the other tensor to saturating i32; `ROUNDED` as for
    /// [`Sum16::apply`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply<const ROUNDED: bool>(&self, rescaled: __m512i, r: __m512i) -> __m512i {
        // Bounded before the zero point is added, which so cannot overflow.
        let q = _mm512_min_epi32(_mm512_max_epi32(rescaled, self.lo), self.hi);
        self.sum.apply::<ROUNDED>(_mm512_add_epi32(q, self.offset), _mm512_sub_epi32(r, self.z2))
    }
}

/// What becomes of rescaled accumulators before they are bytes. A type for each case, so that a loop asks nothing and keeps
/// its numbers in registers.
pub trait Join16: Copy {
    /// From rescaled accumulators, and from sixteen bytes of the other tensor where one is added, to saturating i32.
    ///
    /// # Safety
    /// AVX-512 is enabled; where another tensor is added, `r` leads to sixteen bytes.
    unsafe fn join(self, rescaled: __m512i, r: *const u8) -> __m512i;
}

/// Nothing is added.
#[derive(Clone, Copy)]
pub struct Alone;

impl Join16 for Alone {
    #[inline(always)]
    unsafe fn join(self, rescaled: __m512i, _r: *const u8) -> __m512i {
        rescaled
    }
}

/// Any addition.
impl Join16 for Joined {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn join(self, rescaled: __m512i, r: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let r = unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(r.cast())) };
        self.apply::<true>(rescaled, r)
    }
}

/// An addition by ordinary floats, rounded half to even.
#[derive(Clone, Copy)]
pub struct FloatJoin {
    lo: __m512i,
    hi: __m512i,
    offset: __m512i,
    z2: __m512i,
    m1: __m512,
    m2: __m512,
    top: __m512,
}

impl FloatJoin {
    /// If the addition is of this kind: no product of a stored value is infinite, so that no sum is a NaN.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn of(joined: &Joined, add: &AddParams) -> Option<FloatJoin> {
        let (Sum16::Float { m1, m2, top }, AddRescale::Float32 { m1: first, m2: second }) = (joined.sum, add.rescale)
        else {
            return None;
        };
        let Joined { lo, hi, offset, z2, .. } = *joined;
        (first < 1e30 && second < 1e30).then_some(FloatJoin { lo, hi, offset, z2, m1, m2, top })
    }
}

impl Join16 for FloatJoin {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn join(self, rescaled: __m512i, r: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let r = unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(r.cast())) };
        let q = _mm512_min_epi32(_mm512_max_epi32(rescaled, self.lo), self.hi);
        let a = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(q, self.offset)), self.m1);
        let b = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(r, self.z2)), self.m2);
        _mm512_cvtps_epi32(_mm512_min_ps(_mm512_add_ps(a, b), self.top))
    }
}

/// An addition by integers of the usual size, rounded half up.
#[derive(Clone, Copy)]
pub struct FixedJoin {
    lo: __m512i,
    hi: __m512i,
    offset: __m512i,
    z2: __m512i,
    sum: ByteSum16,
}

impl FixedJoin {
    /// If the addition is of this kind.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn of(joined: &Joined, add: &AddParams) -> Option<FixedJoin> {
        let Joined { lo, hi, offset, z2, .. } = *joined;
        ByteSum16::of(add).map(|sum| FixedJoin { lo, hi, offset, z2, sum })
    }
}

impl Join16 for FixedJoin {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn join(self, rescaled: __m512i, r: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let r = unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(r.cast())) };
        let q = _mm512_min_epi32(_mm512_max_epi32(rescaled, self.lo), self.hi);
        self.sum.apply(_mm512_add_epi32(q, self.offset), _mm512_sub_epi32(r, self.z2))
    }
}

/// `with_join!(how, add, join => body)`: the body with `join`, the [`Join16`] of a requantization and an addition.
macro_rules! with_join {
    ($how:expr, $add:expr, $join:ident => $body:expr) => {{
        use $crate::x86::rescale::{FixedJoin, FloatJoin, Joined};
        let any = Joined::new($how, $add);
        if let Some($join) = FloatJoin::of(&any, $add) {
            $body
        } else if let Some($join) = FixedJoin::of(&any, $add) {
            $body
        } else {
            let $join = any;
            $body
        }
    }};
}
pub(crate) use with_join;

/// Zero point and clamp of stored bytes.
#[derive(Clone, Copy)]
pub struct Bytes {
    zero_point: __m512i,
    lo: __m512i,
    hi: __m512i,
}

impl Bytes {
    /// The parameters in registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(zero_point: i32, lo: i32, hi: i32) -> Self {
        Bytes {
            zero_point: _mm512_set1_epi16(zero_point as i16),
            lo: _mm512_set1_epi8(lo as i8),
            hi: _mm512_set1_epi8(hi as i8),
        }
    }

    /// Four vectors of saturating i32 to bytes: in each 128-bit lane first the four of `a`, then of `b`, `c` and `d`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn pack_lanes(&self, a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), self.zero_point);
        // An upper bound below the lower one wins, as in `arithmetic`.
        _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(ab, cd), self.lo), self.hi)
    }

    /// Four vectors of saturating i32 to bytes in their order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn pack(&self, a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, self.pack_lanes(a, b, c, d))
    }
}

/// Stores the first `n` of 64 bytes.
///
/// # Safety
/// AVX-512 is enabled; `y` is writable for `n` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn store_bytes(y: *mut u8, n: usize, bytes: __m512i) {
    // SAFETY: the caller's promise. Whole registers are stored without a mask, which is slow on some CPUs.
    unsafe {
        match n {
            64 => _mm512_storeu_si512(y.cast(), bytes),
            32 => _mm256_storeu_si256(y.cast(), _mm512_castsi512_si256(bytes)),
            16 => _mm_storeu_si128(y.cast(), _mm512_castsi512_si128(bytes)),
            8 => _mm_storel_epi64(y.cast(), _mm512_castsi512_si128(bytes)),
            n => _mm512_mask_storeu_epi8(y.cast(), super::lanes::first64(n), bytes),
        }
    }
}
