//! What the AVX-512 rows with sums of 64 bits do with them.

use super::{Args, Epilogue16};
use crate::x86::rescale::store_bytes;
use crate::x86::wide::{Any8, Fixed8, Float8, Kind, Multipliers, Rescale8, Words, halves};
use core::arch::x86_64::*;

/// Stores a tile: for each row `V` vectors of 16 channels, each of them the sums of its lower and its upper half.
///
/// # Safety
/// As [`super::Gemm::run`], with AVX-512 enabled, `a.rows` at most the length of `totals` and `a.cols` at most `16 * V`,
/// which is 16 or 32.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn store<const V: usize, X, W>(totals: &[[[__m512i; 2]; V]], a: &Args<X, W, i64, u8, Epilogue16>) {
    let rows = totals.iter().take(a.rows).enumerate();
    match a.epilogue {
        Epilogue16::Accumulator => {
            for (r, row) in rows {
                for (i, &total) in row.as_flattened().iter().enumerate() {
                    let mask = ((1u32 << a.cols.saturating_sub(8 * i).min(8)) - 1) as __mmask8;
                    // SAFETY: row r is one of the output's, which is written within `a.cols`.
                    unsafe {
                        let y = a.y.add(r * a.y_stride).cast::<i64>();
                        _mm512_mask_storeu_epi64(y.wrapping_add(8 * i), mask, total);
                    }
                }
            }
        }
        Epilogue16::Requant { how, .. } => {
            let words = Words::new(how.zero_point, how.lo, how.hi);
            let top = how.hi - how.zero_point;
            // SAFETY: there is a multiplier for each of the tile's channels; the rest is the caller's promise.
            unsafe {
                let multipliers = Multipliers::of_scales(how.scales, a.cols);
                match if how.is_default() { multipliers.kind } else { Kind::Mixed } {
                    Kind::Float => requantized::<V, Float8, X, W>(totals, a, &multipliers, top, words),
                    Kind::Fixed => requantized::<V, Fixed8, X, W>(totals, a, &multipliers, top, words),
                    Kind::Any => requantized::<V, Any8, X, W>(totals, a, &multipliers, top, words),
                    Kind::Mixed => {
                        for (r, row) in rows {
                            for (i, &total) in row.as_flattened().iter().enumerate() {
                                let mut lanes = [0i64; 8];
                                _mm512_storeu_si512(lanes.as_mut_ptr().cast(), total);
                                for (lane, &acc) in lanes.iter().enumerate().take(a.cols.saturating_sub(8 * i)) {
                                    a.epilogue.store(acc, r, 8 * i + lane, a.y, a.y_stride);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`store`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn requantized<const V: usize, S: Rescale8, X, W>(
    totals: &[[[__m512i; 2]; V]],
    a: &Args<X, W, i64, u8, Epilogue16>,
    multipliers: &Multipliers,
    top: i32,
    words: Words,
) {
    const { assert!(V == 1 || V == 2) };
    // SAFETY: AVX-512 is enabled; there are multipliers for 32 channels, and the output is written within the tile.
    unsafe {
        let of = |v: usize| -> [S; 2] {
            [multipliers.of(16 * v, 16 * v + 4, top), multipliers.of(16 * v + 8, 16 * v + 12, top)]
        };
        let (first, last) = (of(0), of(V - 1));
        let rescaled = |by: [S; 2], sums: [__m512i; 2]| halves(by[0].apply(sums[0]), by[1].apply(sums[1]));
        for (r, row) in totals.iter().take(a.rows).enumerate() {
            let low = rescaled(first, row[0]);
            let packed = words.pack(low, if V == 1 { low } else { rescaled(last, row[V - 1]) });
            store_bytes(a.y.add(r * a.y_stride), 2 * a.cols, packed);
        }
    }
}
