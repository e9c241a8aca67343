//! Wide accumulators to words, eight at a time.
//!
//! What [`rescale`](super::rescale) is for 32-bit accumulators and bytes: [`Rescale8::apply`] multiplies and rounds,
//! [`Words::pack`] adds the zero point, clamps and narrows. Between them travels the same saturating i32.
//!
//! A product of 64 by 31 bits takes 95. It is `t * 2^32 + r` with `0 <= r < 2^32`, where `t` is what the upper half of
//! the accumulator makes, and what the lower half carries. With a shift by 33 or more the half that is added before the
//! shift is a multiple of 2^32 too, so that `r` never decides: `t` alone, which 64 bits hold, is rounded and shifted.
//! With a smaller shift an accumulator beyond 32 bits saturates whatever its multiplier is, so that one limited to 32
//! bits, whose product 64 bits hold, does the same.

use super::lanes::first16;
use crate::requant::Scales;
use core::arch::x86_64::*;
use lowbit_arithmetic::Rescale;

/// The least shift of [`Fixed8`].
const FAR: i32 = 33;

/// Multipliers of eight channels.
pub trait Rescale8: Copy {
    /// From the channels' multipliers (bits of f32 or integers in 2^30 .. 2^31) and shifts. `top` is the highest stored
    /// value less the zero point.
    ///
    /// # Safety
    /// AVX-512 is enabled.
    unsafe fn new(m: __m256i, shift: __m256i, top: i32) -> Self;

    /// The rescaled accumulators: saturating i32 without zero point.
    ///
    /// # Safety
    /// AVX-512 is enabled.
    unsafe fn apply(self, acc: __m512i) -> __m256i;
}

/// `Rescale::Float32`.
#[derive(Clone, Copy)]
pub struct Float8 {
    m: __m256,
    top: __m256,
}

impl Rescale8 for Float8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m256i, _shift: __m256i, top: i32) -> Self {
        // A bound above, as in `Float16`, because too large a value would become the least integer.
        Float8 { m: _mm256_castsi256_ps(m), top: _mm256_set1_ps(top as f32) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m256i {
        let v = _mm256_mul_ps(_mm512_cvtepi64_ps(acc), self.m);
        _mm256_cvtps_epi32(_mm256_min_ps(v, self.top))
    }
}

/// `Rescale::Fixed` where no shift is below 33, as with any ratio up to 1/8.
#[derive(Clone, Copy)]
pub struct Fixed8 {
    m: __m512i,
    half: __m512i,
    shift: __m512i,
}

impl Fixed8 {
    /// t / 2^(shift - 32), rounded half up.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn rescaled(self, acc: __m512i) -> __m512i {
        let upper = _mm512_mul_epi32(_mm512_srli_epi64::<32>(acc), self.m);
        let carried = _mm512_srli_epi64::<32>(_mm512_mul_epu32(acc, self.m));
        // t is at least -2^62 and below 2^62, the half at most 2^62.
        let t = _mm512_add_epi64(upper, carried);
        _mm512_srav_epi64(_mm512_add_epi64(t, self.half), self.shift)
    }
}

impl Rescale8 for Fixed8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m256i, shift: __m256i, _top: i32) -> Self {
        // From a shift of 95, that is of t by 63, on every result is 0.
        let shift = _mm256_sub_epi32(_mm256_min_epi32(shift, _mm256_set1_epi32(95)), _mm256_set1_epi32(32));
        let shift = _mm512_cvtepi32_epi64(shift);
        Fixed8 { m: _mm512_cvtepu32_epi64(m), half: half_of(shift), shift }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m256i {
        _mm512_cvtsepi64_epi32(self.rescaled(acc))
    }
}

/// `Rescale::Fixed` with any shift: rare, and slower.
#[derive(Clone, Copy)]
pub struct Any8 {
    far: Fixed8,
    is_near: __mmask8,
    half: __m512i,
    shift: __m512i,
}

impl Rescale8 for Any8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn new(m: __m256i, shift: __m256i, top: i32) -> Self {
        let least = _mm256_set1_epi32(FAR);
        // A shift to the left saturates any accumulator but 0, and so does no shift with a multiplier from 2^30.
        let near = _mm256_min_epi32(_mm256_max_epi32(shift, _mm256_setzero_si256()), _mm256_set1_epi32(FAR - 1));
        let near = _mm512_cvtepi32_epi64(near);
        Any8 {
            // SAFETY: AVX-512 is enabled.
            far: unsafe { Fixed8::new(m, _mm256_max_epi32(shift, least), top) },
            is_near: _mm256_cmplt_epi32_mask(shift, least),
            half: half_of(near),
            shift: near,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn apply(self, acc: __m512i) -> __m256i {
        let far = self.far.rescaled(acc);
        let low = _mm512_set1_epi64(i32::MIN as i64);
        let limited = _mm512_min_epi64(_mm512_max_epi64(acc, low), _mm512_set1_epi64(i32::MAX as i64));
        let near = _mm512_add_epi64(_mm512_mul_epi32(limited, self.far.m), self.half);
        _mm512_cvtsepi64_epi32(_mm512_mask_srav_epi64(far, self.is_near, near, self.shift))
    }
}

/// 2^(shift - 1), or 0 for the shift 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn half_of(shift: __m512i) -> __m512i {
    _mm512_srli_epi64::<1>(_mm512_sllv_epi64(_mm512_set1_epi64(1), shift))
}

/// A multiplier and a shift as [`Rescale8`] has them, with what suits them. A shift alone is that of a product
/// with 2^30.
const fn parts(rescale: Rescale) -> (i32, i32, Kind) {
    let (m, shift) = match rescale {
        Rescale::Float32 { m } => return (m.to_bits() as i32, FAR, Kind::Float),
        Rescale::Fixed { m, shift } => (m, shift),
        Rescale::Shift { shift } => (1 << 30, shift.saturating_add(30)),
    };
    (m, shift, if shift < FAR { Kind::Any } else { Kind::Fixed })
}

/// What suits some multipliers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Float8`].
    Float,
    /// [`Fixed8`].
    Fixed,
    /// [`Any8`].
    Any,
    /// None, as there are floats and integers.
    Mixed,
}

/// The multipliers of up to 32 channels.
pub struct Multipliers {
    m: [i32; 32],
    shift: [i32; 32],
    /// What suits all of them.
    pub kind: Kind,
}

impl Multipliers {
    /// Those of the first `n` channels, at most 32.
    ///
    /// # Safety
    /// `scales` leads to `n` entries.
    #[inline]
    pub unsafe fn read(scales: *const Rescale, n: usize) -> Self {
        let mut of = Multipliers { m: [0; 32], shift: [FAR; 32], kind: Kind::Mixed };
        let mut seen = [false; 3];
        for (i, (m, shift)) in of.m.iter_mut().zip(&mut of.shift).enumerate().take(n) {
            let kind;
            // SAFETY: i < n.
            (*m, *shift, kind) = parts(unsafe { *scales.add(i) });
            seen[0] |= kind == Kind::Float;
            seen[1] |= kind == Kind::Fixed;
            seen[2] |= kind == Kind::Any;
        }
        of.kind = match seen {
            [true, false, false] => Kind::Float,
            [false, _, false] => Kind::Fixed,
            [false, _, true] => Kind::Any,
            [true, _, _] => Kind::Mixed,
        };
        of
    }

    /// Those of the first `n` channels of an epilogue, at most 32.
    ///
    /// # Safety
    /// AVX-512 is enabled; `scales` leads to `n` entries.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn of_scales(scales: Scales, n: usize) -> Self {
        let mut of = Multipliers { m: [0; 32], shift: [FAR; 32], kind: Kind::Float };
        let mut near = 0;
        for at in [0, 16] {
            let mask = first16(n.saturating_sub(at));
            // SAFETY: only the first n are read, and both arrays have 32.
            unsafe {
                let load = |from: *const i32| _mm512_maskz_loadu_epi32(mask, from.wrapping_add(at));
                let (m, shift) = match scales {
                    Scales::Float32(m) => (load(m.cast()), _mm512_set1_epi32(FAR)),
                    Scales::Fixed(m, shift) => (load(m), load(shift)),
                    Scales::Shift(shift) => {
                        (_mm512_set1_epi32(1 << 30), _mm512_add_epi32(load(shift), _mm512_set1_epi32(30)))
                    }
                };
                near |= _mm512_mask_cmplt_epi32_mask(mask, shift, _mm512_set1_epi32(FAR));
                _mm512_storeu_si512(of.m.as_mut_ptr().add(at).cast(), m);
                _mm512_storeu_si512(of.shift.as_mut_ptr().add(at).cast(), shift);
            }
        }
        of.kind = match scales {
            Scales::Float32(_) => Kind::Float,
            Scales::Fixed(..) | Scales::Shift(_) if near == 0 => Kind::Fixed,
            Scales::Fixed(..) | Scales::Shift(_) => Kind::Any,
        };
        of
    }

    /// One multiplier for all.
    #[inline]
    pub fn repeat(rescale: Rescale) -> Self {
        let (m, shift, kind) = parts(rescale);
        Multipliers { m: [m; 32], shift: [shift; 32], kind }
    }

    /// The multipliers of four channels from `i` on and four from `j` on.
    ///
    /// # Safety
    /// AVX-512 is enabled; `i` and `j` are at most 28.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn of<S: Rescale8>(&self, i: usize, j: usize, top: i32) -> S {
        // SAFETY: the caller's promise: both arrays have 32 entries.
        unsafe {
            let m = _mm256_loadu2_m128i(self.m.as_ptr().add(j).cast(), self.m.as_ptr().add(i).cast());
            let shift = _mm256_loadu2_m128i(self.shift.as_ptr().add(j).cast(), self.shift.as_ptr().add(i).cast());
            S::new(m, shift, top)
        }
    }

    /// Multipliers and shifts of sixteen channels from `i` on.
    ///
    /// # Safety
    /// AVX-512 is enabled; `i` is at most 16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn sixteen(&self, i: usize) -> (__m512i, __m512i) {
        // SAFETY: the caller's promise: both arrays have 32 entries.
        unsafe {
            (_mm512_loadu_si512(self.m.as_ptr().add(i).cast()), _mm512_loadu_si512(self.shift.as_ptr().add(i).cast()))
        }
    }
}

/// `with_rescale8!(rescale, top, by => body)`: the body with `by`, a [`Rescale8`] of one multiplier for all lanes.
macro_rules! with_rescale8 {
    ($rescale:expr, $top:expr, $by:ident => $body:expr) => {{
        use $crate::x86::wide::{Any8, Fixed8, Float8, Kind, Rescale8, splat};
        let (m, shift, kind) = splat($rescale);
        match kind {
            Kind::Float => {
                let $by = Float8::new(m, shift, $top);
                $body
            }
            Kind::Fixed => {
                let $by = Fixed8::new(m, shift, $top);
                $body
            }
            Kind::Any | Kind::Mixed => {
                let $by = Any8::new(m, shift, $top);
                $body
            }
        }
    }};
}
pub(crate) use with_rescale8;

/// One multiplier in all lanes, and what suits it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn splat(rescale: Rescale) -> (__m256i, __m256i, Kind) {
    let (m, shift, kind) = parts(rescale);
    (_mm256_set1_epi32(m), _mm256_set1_epi32(shift), kind)
}

/// Two halves of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn halves(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Zero point and clamp of stored words.
#[derive(Clone, Copy)]
pub struct Words {
    zero_point: __m512i,
    top: __m512i,
    lo: __m512i,
}

impl Words {
    /// The parameters in registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(zero_point: i32, lo: i32, hi: i32) -> Self {
        Words {
            zero_point: _mm512_set1_epi32(zero_point),
            top: _mm512_set1_epi32(hi - zero_point),
            // An upper bound below the lower one wins, as in `arithmetic`.
            lo: _mm512_set1_epi16(lo.min(hi) as i16),
        }
    }

    /// Two vectors of saturating i32 to words: in each 128-bit lane first the four of `a`, then those of `b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn pack_lanes(&self, a: __m512i, b: __m512i) -> __m512i {
        // Bounded before the zero point, which is not negative, is added: so nothing overflows.
        let offset = |v: __m512i| _mm512_add_epi32(_mm512_min_epi32(v, self.top), self.zero_point);
        _mm512_max_epu16(_mm512_packus_epi32(offset(a), offset(b)), self.lo)
    }

    /// Two vectors of saturating i32 to words in their order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn pack(&self, a: __m512i, b: __m512i) -> __m512i {
        _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), self.pack_lanes(a, b))
    }
}
