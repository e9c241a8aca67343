//! What the rows of a tile read, summed up: by it goes what is added to every weight of a channel.
//!
//! The sums are the same for all panels of channels, so they have a kernel of their own. Four rows share the steps that
//! add up a register's parts: with few channels these are most of it.

use super::SumsArgs;
#[cfg(target_arch = "x86_64")]
use crate::x86::lanes::first64;
#[cfg(target_arch = "x86_64")]
use crate::x86::unroll;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

/// # Safety
/// As [`super::SUMS`].
pub unsafe fn scalar(a: &SumsArgs) {
    for row in 0..a.rows {
        let mut sum = 0i32;
        for tap in 0..a.taps {
            for k in 0..a.k {
                // SAFETY: `x` has `taps * apart` pointers to `k` elements, and there is a sum for every row.
                sum = sum.wrapping_add(i32::from(unsafe { *(*a.x.add(tap * a.apart + row)).add(k) }));
            }
        }
        // SAFETY: as above.
        unsafe { *a.sums.add(row) = sum };
    }
}

/// # Safety
/// As [`super::SUMS`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn avx512(a: &SumsArgs) {
    let zero = _mm512_setzero_si512();
    for first in (0..a.rows).step_by(4) {
        let mut sums = [zero; 4];
        // SAFETY: rows beyond the last stand for it, what lies beyond k is not read, and sums are padded to fours.
        unsafe {
            for tap in 0..a.taps {
                unroll!(4, i => {
                    let x = *a.x.add(tap * a.apart + (first + i).min(a.rows - 1));
                    let mut at = 0;
                    while at < a.k {
                        let bytes = _mm512_maskz_loadu_epi8(first64(a.k - at), x.add(at).cast());
                        sums[i] = _mm512_add_epi64(sums[i], _mm512_sad_epu8(bytes, zero));
                        at += 64;
                    }
                });
            }
            // Modulo 2^32, as all sums are: two rows share each 64 bits, four each 128.
            let pair = |a: __m512i, b: __m512i| _mm512_mask_shuffle_epi32::<_MM_PERM_CCAA>(a, 0xaaaa, b);
            let (low, high) = (pair(sums[0], sums[1]), pair(sums[2], sums[3]));
            let all = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
            let all = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
            let all = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
            _mm_storeu_si128(a.sums.add(first).cast(), all);
        }
    }
}

/// # Safety
/// As [`super::SUMS`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn avx2(a: &SumsArgs) {
    let zero = _mm256_setzero_si256();
    for first in (0..a.rows).step_by(4) {
        let mut sums = [zero; 4];
        // SAFETY: as `avx512`; what is read beyond k, in whole registers, is masked.
        unsafe {
            for tap in 0..a.taps {
                unroll!(4, i => {
                    let x = *a.x.add(tap * a.apart + (first + i).min(a.rows - 1));
                    let mut at = 0;
                    while at < a.k {
                        let bytes = _mm256_and_si256(_mm256_loadu_si256(x.add(at).cast()), first_bytes(a.k - at));
                        sums[i] = _mm256_add_epi64(sums[i], _mm256_sad_epu8(bytes, zero));
                        at += 32;
                    }
                });
            }
            let pair = |a: __m256i, b: __m256i| _mm256_blend_epi32::<0b1010_1010>(a, _mm256_slli_epi64::<32>(b));
            let (low, high) = (pair(sums[0], sums[1]), pair(sums[2], sums[3]));
            let all = _mm256_add_epi32(_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high));
            let all = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
            _mm_storeu_si128(a.sums.add(first).cast(), all);
        }
    }
}

/// All bits of the first `n` of 32 bytes, of all if there are fewer.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn first_bytes(n: usize) -> __m256i {
    const ONES: [u8; 64] = {
        let mut ones = [0u8; 64];
        let mut i = 0;
        while i < 32 {
            ones[i] = 0xff;
            i += 1;
        }
        ones
    };
    // SAFETY: there are 32 bytes from any of the first 33 on.
    unsafe { _mm256_loadu_si256(ONES.as_ptr().add(32 - n.min(32)).cast()) }
}
