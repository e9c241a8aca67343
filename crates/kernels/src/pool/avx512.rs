//! AVX-512 rows: 64 channels a step (or as many as a register has), taps innermost, whole registers loaded at the end.

use super::{Args, QAverage};
use crate::requant::rounding_of;
use crate::x86::lanes::first16;
use crate::x86::rescale::{Bytes, store_bytes, with_rescale};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// # Safety
/// The CPU has AVX-512, and the pointers are valid as the module's contract says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn max_u8(a: &Args<u8>) {
    for first in (0..a.channels).step_by(64) {
        // SAFETY: rows are readable for a register from any channel on; the output is written within the channels.
        unsafe {
            let mut most = _mm512_setzero_si512();
            for tap in 0..a.taps {
                most = _mm512_max_epu8(most, _mm512_loadu_si512((*a.x.add(tap)).add(first).cast()));
            }
            store_bytes(a.y.add(first), (a.channels - first).min(64), most);
        }
    }
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn max_u16(a: &Args<u16>) {
    for first in (0..a.channels).step_by(32) {
        // SAFETY: as in `max_u8`.
        unsafe {
            let mut most = _mm512_setzero_si512();
            for tap in 0..a.taps {
                most = _mm512_max_epu16(most, _mm512_loadu_si512((*a.x.add(tap)).add(first).cast()));
            }
            store_bytes(a.y.add(first).cast(), (a.channels - first).min(32) * 2, most);
        }
    }
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn max_f32(a: &Args<f32>) {
    /// `range`: the greater operand, +0 greater than -0.
    const GREATER: i32 = 0b0101;
    for first in (0..a.channels).step_by(16) {
        // SAFETY: as in `max_u8`.
        unsafe {
            let mut most = _mm512_set1_ps(f32::NEG_INFINITY);
            let mut nan = 0;
            for tap in 0..a.taps {
                let x = _mm512_loadu_ps((*a.x.add(tap)).add(first));
                nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
                most = _mm512_range_ps::<GREATER>(most, x);
            }
            let most = _mm512_mask_blend_ps(nan, most, _mm512_set1_ps(f32::NAN));
            _mm512_mask_storeu_ps(a.y.add(first), first16(a.channels - first), most);
        }
    }
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn avg_u8(a: &Args<u8>, how: &QAverage) {
    let bytes = Bytes::new(how.zero_out, how.lo, how.hi);
    // SAFETY: AVX-512 is enabled; as in `max_u8`.
    unsafe {
        with_rescale!(how.rescale, rounding_of(&how.rescale), how.hi - how.zero_out, by => {
            for first in (0..a.channels).step_by(64) {
                let [p, q, r, s] = sums(a, first, how.zero_in);
                let packed = bytes.pack_lanes(by.apply(p), by.apply(q), by.apply(r), by.apply(s));
                store_bytes(a.y.add(first), (a.channels - first).min(64), packed);
            }
        });
    }
}

/// The sums less their zero points of 64 channels: in register `j` the channels `4 * j ..= 4 * j + 3` of each 128-bit
/// lane, which is the order in which they are narrowed.
///
/// # Safety
/// As [`max_u8`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sums(a: &Args<u8>, first: usize, zero_point: i32) -> [__m512i; 4] {
    let zero = _mm512_setzero_si512();
    let mut sums = [_mm512_set1_epi32((a.taps as i32).wrapping_mul(-zero_point)); 4];
    let mut tap = 0;
    while tap < a.taps {
        // 256 bytes add up to less than 2^16.
        let end = a.taps.min(tap + 256);
        let (mut low, mut high) = (zero, zero);
        for tap in tap..end {
            // SAFETY: rows are readable for a register from any channel on.
            let x = unsafe { _mm512_loadu_si512((*a.x.add(tap)).add(first).cast()) };
            low = _mm512_add_epi16(low, _mm512_unpacklo_epi8(x, zero));
            high = _mm512_add_epi16(high, _mm512_unpackhi_epi8(x, zero));
        }
        sums = [
            _mm512_add_epi32(sums[0], _mm512_unpacklo_epi16(low, zero)),
            _mm512_add_epi32(sums[1], _mm512_unpackhi_epi16(low, zero)),
            _mm512_add_epi32(sums[2], _mm512_unpacklo_epi16(high, zero)),
            _mm512_add_epi32(sums[3], _mm512_unpackhi_epi16(high, zero)),
        ];
        tap = end;
    }
    sums
}

/// # Safety
/// As [`max_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn avg_f32(a: &Args<f32>, count: f32) {
    // Four registers at once, as one chain of additions would wait for itself.
    let mut first = 0;
    while first + 64 <= a.channels {
        // SAFETY: as in `max_u8`.
        unsafe { avg_f32_of::<4>(a, count, first) };
        first += 64;
    }
    while first < a.channels {
        // SAFETY: as in `max_u8`.
        unsafe { avg_f32_of::<1>(a, count, first) };
        first += 16;
    }
}

/// `V` registers of channels from `first` on.
///
/// # Safety
/// As [`max_u8`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avg_f32_of<const V: usize>(a: &Args<f32>, count: f32, first: usize) {
    // SAFETY: as in `max_u8`.
    unsafe {
        let mut sum = [_mm512_setzero_ps(); V];
        for tap in 0..a.taps {
            let x = (*a.x.add(tap)).add(first);
            unroll!(V, v => sum[v] = _mm512_add_ps(sum[v], _mm512_loadu_ps(x.add(16 * v))));
        }
        unroll!(V, v => {
            let mean = _mm512_div_ps(sum[v], _mm512_set1_ps(count));
            _mm512_mask_storeu_ps(a.y.add(first + 16 * v), first16(a.channels - first - 16 * v), mean);
        });
    }
}
