//! AVX-512 rows for words, 32 a step, and for wide accumulators; inputs are loaded whole beyond the end, outputs are not.

use super::MulParams;
use crate::requant::AddParams;
use crate::x86::lanes::first16;
use crate::x86::rescale::{Sum16, store_bytes};
use crate::x86::wide::{Words, halves, with_rescale8};
use core::arch::x86_64::*;

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
            let add = |a: __m512i, b: __m512i| sum.apply(_mm512_sub_epi32(a, z1), _mm512_sub_epi32(b, z2));
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
