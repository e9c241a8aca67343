//! AVX2 rows: 32 channels a step (or as many as a register has), taps innermost, whole registers loaded at the end.

use super::{Args, QAverage};
use crate::elementwise::max2;
use crate::requant::rounding_of;
use crate::x86::lanes8::Ymm;
use crate::x86::rescale8::{Bytes8, store_bytes8, with_rescale8};
use crate::x86::unroll;
use core::arch::x86_64::*;
use lowbit_arithmetic::Lanes;

/// # Safety
/// The CPU has AVX2 and FMA, and the pointers are valid as the module's contract says.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn max_u8(a: &Args<u8>) {
    for first in (0..a.channels).step_by(32) {
        // SAFETY: rows are readable for a register from any channel on; the output is written within the channels.
        unsafe {
            let mut most = _mm256_setzero_si256();
            for tap in 0..a.taps {
                most = _mm256_max_epu8(most, _mm256_loadu_si256((*a.x.add(tap)).add(first).cast()));
            }
            store_bytes8(a.y.add(first), a.channels - first, most);
        }
    }
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn max_u16(a: &Args<u16>) {
    for first in (0..a.channels).step_by(16) {
        // SAFETY: as in `max_u8`.
        unsafe {
            let mut most = _mm256_setzero_si256();
            for tap in 0..a.taps {
                most = _mm256_max_epu16(most, _mm256_loadu_si256((*a.x.add(tap)).add(first).cast()));
            }
            store_bytes8(a.y.add(first).cast(), 2 * (a.channels - first), most);
        }
    }
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn max_f32(a: &Args<f32>) {
    for first in (0..a.channels).step_by(8) {
        // SAFETY: as in `max_u8`.
        unsafe {
            let mut most = Ymm::splat(f32::NEG_INFINITY);
            for tap in 0..a.taps {
                most = max2(most, Ymm(_mm256_loadu_ps((*a.x.add(tap)).add(first))));
            }
            most.store(a.y.add(first), a.channels - first);
        }
    }
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn avg_u8(a: &Args<u8>, how: &QAverage) {
    let bytes = Bytes8::new(how.zero_out, how.lo, how.hi);
    // SAFETY: AVX2 is enabled; as in `max_u8`.
    unsafe {
        with_rescale8!(how.rescale, rounding_of(&how.rescale), how.hi - how.zero_out, by => {
            for first in (0..a.channels).step_by(32) {
                let [p, q, r, s] = sums(a, first, how.zero_in);
                let packed = bytes.pack_lanes(by.apply(p), by.apply(q), by.apply(r), by.apply(s));
                store_bytes8(a.y.add(first), a.channels - first, packed);
            }
        });
    }
}

/// The sums less their zero points of 32 channels: in register `j` the channels `4 * j ..= 4 * j + 3` of each 128-bit
/// lane, which is the order in which they are narrowed.
///
/// # Safety
/// As [`max_u8`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums(a: &Args<u8>, first: usize, zero_point: i32) -> [__m256i; 4] {
    let zero = _mm256_setzero_si256();
    let mut sums = [_mm256_set1_epi32((a.taps as i32).wrapping_mul(-zero_point)); 4];
    let mut tap = 0;
    while tap < a.taps {
        // 256 bytes add up to less than 2^16.
        let end = a.taps.min(tap + 256);
        let (mut low, mut high) = (zero, zero);
        for tap in tap..end {
            // SAFETY: rows are readable for a register from any channel on.
            let x = unsafe { _mm256_loadu_si256((*a.x.add(tap)).add(first).cast()) };
            low = _mm256_add_epi16(low, _mm256_unpacklo_epi8(x, zero));
            high = _mm256_add_epi16(high, _mm256_unpackhi_epi8(x, zero));
        }
        sums = [
            _mm256_add_epi32(sums[0], _mm256_unpacklo_epi16(low, zero)),
            _mm256_add_epi32(sums[1], _mm256_unpackhi_epi16(low, zero)),
            _mm256_add_epi32(sums[2], _mm256_unpacklo_epi16(high, zero)),
            _mm256_add_epi32(sums[3], _mm256_unpackhi_epi16(high, zero)),
        ];
        tap = end;
    }
    sums
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn avg_f32(a: &Args<f32>, count: f32) {
    // Four registers at once, as one chain of additions would wait for itself.
    let mut first = 0;
    while first + 32 <= a.channels {
        // SAFETY: as in `max_u8`.
        unsafe { avg_f32_of::<4>(a, count, first) };
        first += 32;
    }
    while first < a.channels {
        // SAFETY: as in `max_u8`.
        unsafe { avg_f32_of::<1>(a, count, first) };
        first += 8;
    }
}

/// `V` registers of channels from `first` on.
///
/// # Safety
/// As [`max_u8`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn avg_f32_of<const V: usize>(a: &Args<f32>, count: f32, first: usize) {
    // SAFETY: as in `max_u8`.
    unsafe {
        let mut sum = [_mm256_setzero_ps(); V];
        for tap in 0..a.taps {
            let x = (*a.x.add(tap)).add(first);
            unroll!(V, v => sum[v] = _mm256_add_ps(sum[v], _mm256_loadu_ps(x.add(8 * v))));
        }
        unroll!(V, v => {
            let mean = _mm256_div_ps(sum[v], _mm256_set1_ps(count));
            Ymm(mean).store(a.y.add(first + 8 * v), a.channels - first - 8 * v);
        });
    }
}
