//! The AVX-512 row for averages of words: 32 channels a step, taps innermost, whole registers loaded at the end.

use super::{Args, QAverage};
use crate::requant::rounding_of;
use crate::x86::rescale::{store_bytes, with_rescale};
use crate::x86::wide::{Words, halves, with_rescale8};
use core::arch::x86_64::*;

/// Taps of which 32 bits hold the sum, whatever the zero point.
const MOST: usize = 1 << 15;
const _: () = assert!(MOST as i64 * 65535 <= i32::MAX as i64);

/// # Safety
/// The CPU has AVX-512, and the pointers are valid as the module's contract says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn avg_u16(a: &Args<u16>, how: &QAverage) {
    let words = Words::new(how.zero_out, how.lo, how.hi);
    let top = how.hi - how.zero_out;
    // SAFETY: AVX-512 is enabled; rows are readable for a register from any channel on; the output is written within the
    // channels.
    unsafe {
        let put = |first: usize, [low, high]: [__m512i; 2]| {
            let packed = words.pack_lanes(low, high);
            store_bytes(a.y.add(first).cast(), (a.channels - first).min(32) * 2, packed);
        };
        if a.taps <= MOST {
            let start = _mm512_set1_epi32((a.taps as i32).wrapping_mul(-how.zero_in));
            with_rescale!(how.rescale, rounding_of(&how.rescale), top, by => {
                for first in (0..a.channels).step_by(32) {
                    let sums = sums(a, first, 0, a.taps, start);
                    put(first, [by.apply(sums[0]), by.apply(sums[1])]);
                }
            });
            return;
        }
        let start = _mm512_set1_epi64(-(a.taps as i64 * i64::from(how.zero_in)));
        with_rescale8!(how.rescale, top, by => {
            for first in (0..a.channels).step_by(32) {
                let mut totals = [[start; 2]; 2];
                for from in (0..a.taps).step_by(MOST) {
                    let sums = sums(a, first, from, a.taps.min(from + MOST), _mm512_setzero_si512());
                    for (total, sum) in totals.iter_mut().zip(sums) {
                        let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum));
                        let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(sum));
                        *total = [_mm512_add_epi64(total[0], low), _mm512_add_epi64(total[1], high)];
                    }
                }
                let [low, high] = totals;
                put(first, [
                    halves(by.apply(low[0]), by.apply(low[1])),
                    halves(by.apply(high[0]), by.apply(high[1])),
                ]);
            }
        });
    }
}

/// The sums of 32 channels over some taps: of each 128-bit lane's eight channels the first four and the last four.
///
/// # Safety
/// As [`avg_u16`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sums(a: &Args<u16>, first: usize, from: usize, to: usize, start: __m512i) -> [__m512i; 2] {
    let zero = _mm512_setzero_si512();
    let mut sums = [start; 2];
    for tap in from..to {
        // SAFETY: rows are readable for a register from any channel on.
        let x = unsafe { _mm512_loadu_si512((*a.x.add(tap)).add(first).cast()) };
        sums[0] = _mm512_add_epi32(sums[0], _mm512_unpacklo_epi16(x, zero));
        sums[1] = _mm512_add_epi32(sums[1], _mm512_unpackhi_epi16(x, zero));
    }
    sums
}
