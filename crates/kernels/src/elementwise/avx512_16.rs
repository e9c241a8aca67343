//! AVX-512 rows for words, 32 a step, and for wide accumulators; inputs are loaded whole beyond the end, outputs are not.

use super::{Integers, MulParams, RequantAny, Stored, scalar};
use crate::requant::{AddParams, rounding_of};
use crate::x86::lanes::first16;
use crate::x86::rescale::{Aim, Rescale16, Rounded16, Sum16, store_bytes};
use crate::x86::wide::{Any8, Fixed8, Float8, Kind, Multipliers, Rescale8, Words, halves, with_rescale8};
use core::arch::x86_64::*;
use lowbit_arithmetic::Rounding;

/// # Safety
/// The CPU has AVX-512, and the pointers are valid as the module's contract says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn add_u16(n: usize, a: *const u16, b: *const u16, y: *mut u16, how: &AddParams) {
    let words = Words::new(how.zero_point, how.lo, how.hi);
    let sum = Sum16::new(how);
    let (z1, z2) = (_mm512_set1_epi32(how.z1), _mm512_set1_epi32(how.z2));
    let zero = _mm512_setzero_si512();
    for i in (0..n).step_by(32) {
        // SAFETY: inputs are readable for 64 bytes from any element on, the output is written within n.
        unsafe {
            let (a, b) = (_mm512_loadu_si512(a.add(i).cast()), _mm512_loadu_si512(b.add(i).cast()));
            let add = |a: __m512i, b: __m512i| sum.apply::<true>(_mm512_sub_epi32(a, z1), _mm512_sub_epi32(b, z2));
            // Within 128-bit lanes, as they are narrowed.
            let low = add(_mm512_unpacklo_epi16(a, zero), _mm512_unpacklo_epi16(b, zero));
            let high = add(_mm512_unpackhi_epi16(a, zero), _mm512_unpackhi_epi16(b, zero));
            store_bytes(y.add(i).cast(), (n - i).min(32) * 2, words.pack_lanes(low, high));
        }
    }
}

/// # Safety
/// As [`add_u16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn mul_u16(n: usize, a: *const u16, b: *const u16, y: *mut u16, how: &MulParams) {
    if how.rounding != rounding_of(&how.rescale) {
        // SAFETY: passed on.
        return unsafe { scalar::mul_u16(n, a, b, y, how) };
    }
    let words = Words::new(how.zero_point, how.lo, how.hi);
    let (z1, z2) = (_mm512_set1_epi64(how.z1.into()), _mm512_set1_epi64(how.z2.into()));
    // SAFETY: as in `add_u16`.
    unsafe {
        with_rescale8!(how.rescale, how.hi - how.zero_point, by => {
            for i in (0..n).step_by(32) {
                // A product of two differences takes 33 bits.
                let part = |j: usize| {
                    let a = _mm512_cvtepu16_epi64(_mm_loadu_si128(a.add(i + 8 * j).cast()));
                    let b = _mm512_cvtepu16_epi64(_mm_loadu_si128(b.add(i + 8 * j).cast()));
                    by.apply(_mm512_mul_epi32(_mm512_sub_epi64(a, z1), _mm512_sub_epi64(b, z2)))
                };
                let packed = words.pack(halves(part(0), part(1)), halves(part(2), part(3)));
                store_bytes(y.add(i).cast(), (n - i).min(32) * 2, packed);
            }
        });
    }
}

/// # Safety
/// As [`add_u16`]; `table` leads to 65536 words.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn table_u16(n: usize, x: *const u16, table: *const u16, y: *mut u16) {
    for i in (0..n).step_by(16) {
        // SAFETY: as in `add_u16`; the table is 32768 pairs of words, one for each index without its last bit.
        unsafe {
            let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.add(i).cast()));
            let pairs = _mm512_i32gather_epi32::<4>(_mm512_srli_epi32::<1>(x), table.cast());
            let odd = _mm512_test_epi32_mask(x, _mm512_set1_epi32(1));
            let found = _mm512_mask_srli_epi32::<16>(pairs, odd, pairs);
            _mm256_mask_storeu_epi16(y.add(i).cast(), first16(n - i), _mm512_cvtepi32_epi16(found));
        }
    }
}

/// # Safety
/// As [`add_u16`]; `scale` with step 0 leads to one element.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn dequantize_wide(n: usize, x: *const i64, scale: *const f32, scale_step: usize, y: *mut f32) {
    for i in (0..n).step_by(8) {
        let mask = first16((n - i).min(8)) as __mmask8;
        // SAFETY: everything is accessed within n.
        unsafe {
            let x = _mm512_cvtepi64_ps(_mm512_maskz_loadu_epi64(mask, x.add(i)));
            let scale = match scale_step {
                0 => _mm256_set1_ps(*scale),
                _ => _mm256_maskz_loadu_ps(mask, scale.add(i)),
            };
            _mm256_mask_storeu_ps(y.add(i), mask, _mm256_mul_ps(x, scale));
        }
    }
}

/// Bytes and words in vectors: of any accumulator by the default roundings, of those of 32 bits by all but the one by
/// chance. All else as the plain row.
///
/// # Safety
/// The CPU has AVX-512; each pointer leads to `n` elements, `rescale` with step 0 to one.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn requant_any(a: &RequantAny) {
    let words = 0..=65535;
    let stored =
        matches!(a.y, Stored::U8(_) | Stored::U16(_)) && [a.zero_point, a.lo, a.hi].iter().all(|q| words.contains(q));
    // The difference of a wide accumulator and a zero point would have to saturate.
    let exact = a.zero_in == 0 || !matches!(a.x, Integers::I64(_));
    // Whether no difference is beyond 32 bits.
    let narrow = match a.x {
        Integers::U8(_) | Integers::U16(_) | Integers::I16(_) => a.zero_in.unsigned_abs() <= 65536,
        Integers::I32(_) => a.zero_in == 0,
        Integers::I64(_) => false,
    };
    // SAFETY: the caller's promise, of elements within n and their multipliers.
    unsafe {
        if !(stored && exact) || a.n == 0 {
            return scalar::requant_any(a);
        }
        let mut multipliers = Multipliers::repeat(*a.rescale);
        for i in (0..a.n).step_by(32) {
            let n = (a.n - i).min(32);
            if a.rescale_step != 0 {
                multipliers = Multipliers::read(a.rescale.add(i * a.rescale_step), n);
            }
            match (multipliers.kind, a.rounding) {
                (Kind::Float, Rounding::HalfEven) => requantized::<Float8>(a, i, n, &multipliers),
                (Kind::Fixed, Rounding::HalfUp) => requantized::<Fixed8>(a, i, n, &multipliers),
                (Kind::Any, Rounding::HalfUp) => requantized::<Any8>(a, i, n, &multipliers),
                (
                    Kind::Float | Kind::Fixed | Kind::Any,
                    Rounding::HalfUp | Rounding::HalfAway | Rounding::HalfEven | Rounding::TowardZero | Rounding::Floor,
                ) if narrow => rounded(a, i, n, &multipliers),
                _ => scalar::requant_any(&RequantAny {
                    n,
                    x: a.x.from(i),
                    rescale: a.rescale.add(i * a.rescale_step),
                    index: a.index.wrapping_add(a.index_step.wrapping_mul(i as u64)),
                    y: a.y.from(i),
                    ..*a
                }),
            }
        }
    }
}

/// Up to 32 elements from `i` on, which have these multipliers.
///
/// # Safety
/// AVX-512 is enabled; there are elements `i .. i + n`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn requantized<S: Rescale8>(a: &RequantAny, i: usize, n: usize, multipliers: &Multipliers) {
    let words = Words::new(a.zero_point, a.lo, a.hi);
    let zero_in = _mm512_set1_epi64(a.zero_in.into());
    // SAFETY: elements are accessed within `i .. i + n`, and there are multipliers for 32.
    unsafe {
        let part = |j: usize| {
            let mask = first16(n.saturating_sub(8 * j).min(8)) as __mmask8;
            let by: S = multipliers.of(8 * j, 8 * j + 4, a.hi - a.zero_point);
            by.apply(_mm512_sub_epi64(a.x.eight(i + 8 * j, mask), zero_in))
        };
        store(a, i, n, words.pack(halves(part(0), part(1)), halves(part(2), part(3))));
    }
}

/// As [`requantized`], by the rounding that is asked for.
///
/// # Safety
/// As [`requantized`]; differences to the zero point fit 32 bits, the rounding is not the one by chance, and multipliers
/// are not mixed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn rounded(a: &RequantAny, i: usize, n: usize, multipliers: &Multipliers) {
    let words = Words::new(a.zero_point, a.lo, a.hi);
    let zero_in = _mm512_set1_epi64(a.zero_in.into());
    let aim = Aim { top: a.hi - a.zero_point, rounding: a.rounding, float: multipliers.kind == Kind::Float };
    // SAFETY: elements are accessed within `i .. i + n`, and there are multipliers for 32.
    unsafe {
        let difference = |j: usize| {
            let mask = first16(n.saturating_sub(8 * j).min(8)) as __mmask8;
            _mm512_cvtepi64_epi32(_mm512_sub_epi64(a.x.eight(i + 8 * j, mask), zero_in))
        };
        let part = |j: usize| {
            let (m, shift) = multipliers.sixteen(16 * j);
            Rounded16::new(m, shift, aim).apply(halves(difference(2 * j), difference(2 * j + 1)))
        };
        store(a, i, n, words.pack(part(0), part(1)));
    }
}

/// Stores up to 32 words from element `i` on as what is asked for.
///
/// # Safety
/// AVX-512 is enabled; there are elements `i .. i + n`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn store(a: &RequantAny, i: usize, n: usize, words: __m512i) {
    // SAFETY: elements are accessed within `i .. i + n`.
    unsafe {
        match a.y {
            Stored::U8(y) => store_bytes(y.add(i), n, _mm512_castsi256_si512(_mm512_cvtepi16_epi8(words))),
            Stored::U16(y) => store_bytes(y.add(i).cast(), 2 * n, words),
            Stored::I16(y) => store_bytes(y.add(i).cast(), 2 * n, words),
        }
    }
}

impl Integers {
    /// Those from element `i` on.
    fn from(self, i: usize) -> Self {
        match self {
            Integers::U8(x) => Integers::U8(x.wrapping_add(i)),
            Integers::U16(x) => Integers::U16(x.wrapping_add(i)),
            Integers::I16(x) => Integers::I16(x.wrapping_add(i)),
            Integers::I32(x) => Integers::I32(x.wrapping_add(i)),
            Integers::I64(x) => Integers::I64(x.wrapping_add(i)),
        }
    }

    /// The elements of a mask from `i` on, widened; the others are 0.
    ///
    /// # Safety
    /// AVX-512 is enabled, and there is an element for each set lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn eight(self, i: usize, mask: __mmask8) -> __m512i {
        // SAFETY: the caller's promise; lanes outside the mask are not accessed.
        unsafe {
            match self {
                Integers::U8(x) => _mm512_cvtepu8_epi64(_mm_maskz_loadu_epi8(mask.into(), x.wrapping_add(i).cast())),
                Integers::U16(x) => _mm512_cvtepu16_epi64(_mm_maskz_loadu_epi16(mask, x.wrapping_add(i).cast())),
                Integers::I16(x) => _mm512_cvtepi16_epi64(_mm_maskz_loadu_epi16(mask, x.wrapping_add(i))),
                Integers::I32(x) => _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(mask, x.wrapping_add(i))),
                Integers::I64(x) => _mm512_maskz_loadu_epi64(mask, x.wrapping_add(i)),
            }
        }
    }
}

impl Stored {
    /// Those from element `i` on.
    fn from(self, i: usize) -> Self {
        match self {
            Stored::U8(y) => Stored::U8(y.wrapping_add(i)),
            Stored::U16(y) => Stored::U16(y.wrapping_add(i)),
            Stored::I16(y) => Stored::I16(y.wrapping_add(i)),
        }
    }
}
