//! Bytes of several registers side by side, for dot products of four.
//!
//! Interleaving stays within 128-bit lanes: register `j` of the result has bytes `4 * j ..= 4 * j + 3` of each lane. This
//! is called block order; packing to bytes within lanes undoes it.

use core::arch::x86_64::*;

/// The bytes of four taps side by side, channels in block order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn interleave(x: [__m512i; 4]) -> [__m512i; 4] {
    let low = [_mm512_unpacklo_epi8(x[0], x[1]), _mm512_unpacklo_epi8(x[2], x[3])];
    let high = [_mm512_unpackhi_epi8(x[0], x[1]), _mm512_unpackhi_epi8(x[2], x[3])];
    [
        _mm512_unpacklo_epi16(low[0], low[1]),
        _mm512_unpackhi_epi16(low[0], low[1]),
        _mm512_unpacklo_epi16(high[0], high[1]),
        _mm512_unpackhi_epi16(high[0], high[1]),
    ]
}

/// [`interleave`] of one tap and three of zeros, which is also the bytes as integers in block order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn spread_all(x: __m512i) -> [__m512i; 4] {
    let zeros = 0x8080_8000u32 as i32;
    let pattern =
        |j: i32| _mm512_broadcast_i32x4(_mm_setr_epi32(zeros | j, zeros | (j + 1), zeros | (j + 2), zeros | (j + 3)));
    [
        _mm512_shuffle_epi8(x, pattern(0)),
        _mm512_shuffle_epi8(x, pattern(4)),
        _mm512_shuffle_epi8(x, pattern(8)),
        _mm512_shuffle_epi8(x, pattern(12)),
    ]
}
