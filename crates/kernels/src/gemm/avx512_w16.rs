//! The AVX-512 rows for weights of 16 bits: eight channels a register, products of 32 by 32 bits added to sums of 64.

use super::avx512_store::store;
use super::{Args, Epilogue16, Q8W16Args, Q16W16Args};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Rows of a tile.
pub const MR: usize = 6;
/// Channels of a tile: two registers of sums.
pub const NR: usize = 16;

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn u16_by_words(a: &Q16W16Args) {
    // SAFETY: the caller's promise.
    unsafe { tile(a) }
}

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn u8_by_words(a: &Q8W16Args) {
    // SAFETY: the caller's promise.
    unsafe { tile(a) }
}

/// All `MR` rows are computed, as all their pointers are valid; `rows` of them are stored.
///
/// # Safety
/// As [`super::Gemm::run`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tile<X: Copy + Into<i32>>(a: &Args<X, i16, i64, u8, Epilogue16>) {
    // SAFETY: by the contract `x` has `taps * MR` pointers to `k` readable elements, the panel has NR weights for each tap
    // and k, and NR biases.
    unsafe {
        let bias = [_mm512_loadu_si512(a.bias.cast()), _mm512_loadu_si512(a.bias.add(8).cast())];
        let mut acc = [[bias]; MR];
        for tap in 0..a.taps {
            let x: [*const X; MR] = core::array::from_fn(|row| *a.x.add(tap * MR + row));
            for k in 0..a.k {
                let w = a.w.add((tap * a.k + k) * NR);
                let w = [
                    _mm512_cvtepi16_epi64(_mm_loadu_si128(w.cast())),
                    _mm512_cvtepi16_epi64(_mm_loadu_si128(w.add(8).cast())),
                ];
                unroll!(MR, row => {
                    let x = _mm512_set1_epi64(i64::from((*x[row].add(k)).into()));
                    acc[row][0][0] = _mm512_add_epi64(acc[row][0][0], _mm512_mul_epi32(w[0], x));
                    acc[row][0][1] = _mm512_add_epi64(acc[row][0][1], _mm512_mul_epi32(w[1], x));
                });
            }
        }
        store(&acc, a);
    }
}
