//! The AVX2 rows with accumulators of 64 bits: u16 by i8, u16 by i16 and u8 by i16.
//!
//! Products of words are added in pairs (`vpmaddwd`), and the pairs of some steps in 32 bits, from where they move to 64.
//! A u16 is no signed word. With weights of bytes it is taken 32768 lower, and 32768 times the sum of the weights, which
//! one more product a step finds for all rows, is added in the end. With weights of words two such products would not fit
//! 32 bits, so its two bytes have sums of their own.

use super::{Args, Epilogue16, Q8W16Args, Q16Args, Q16W16Args};
use crate::x86::unroll;
use crate::x86::wide8::{Store8, add_wide};
use core::arch::x86_64::*;

/// Rows of a tile.
pub const MR: usize = 4;
/// Channels of a tile with one sum each.
pub const NR: usize = 16;
/// Channels of a tile with two.
pub const NR_PARTS: usize = 8;

/// How two activations and two weights of a channel become pairs of signed words.
trait Pairs {
    type X;
    type W;
    /// Words an activation takes, the first less significant: 1 or 2.
    const PARTS: usize;
    /// Whether activations are taken 32768 lower.
    const LOWER: bool;
    /// The largest magnitude of a word of activations times that of a weight.
    const PRODUCT: i64;
    /// Steps that 32 bits hold.
    const STEPS: usize = (i32::MAX as i64 / (2 * Self::PRODUCT)) as usize;

    /// Part `PART` of two activations in every lane.
    ///
    /// # Safety
    /// AVX2 is enabled; `x` is readable for two.
    unsafe fn x<const PART: usize>(x: *const Self::X) -> __m256i;

    /// Two weights of each of eight channels.
    ///
    /// # Safety
    /// AVX2 is enabled; `w` is readable for sixteen.
    unsafe fn w(w: *const Self::W) -> __m256i;
}

struct WordsByBytes;
struct WordsByWords;
struct BytesByWords;

impl Pairs for WordsByBytes {
    type X = u16;
    type W = i8;
    const PARTS: usize = 1;
    const LOWER: bool = true;
    const PRODUCT: i64 = 32768 * 128;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn x<const PART: usize>(x: *const u16) -> __m256i {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) };
        _mm256_xor_si256(x, _mm256_set1_epi16(i16::MIN))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn w(w: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(w.cast())) }
    }
}

impl Pairs for WordsByWords {
    type X = u16;
    type W = i16;
    const PARTS: usize = 2;
    const LOWER: bool = false;
    const PRODUCT: i64 = 255 * 32768;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn x<const PART: usize>(x: *const u16) -> __m256i {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) };
        match PART {
            0 => _mm256_and_si256(x, _mm256_set1_epi16(0xff)),
            _ => _mm256_srli_epi16::<8>(x),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn w(w: *const i16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(w.cast()) }
    }
}

impl Pairs for BytesByWords {
    type X = u8;
    type W = i16;
    const PARTS: usize = 1;
    const LOWER: bool = false;
    const PRODUCT: i64 = 255 * 32768;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn x<const PART: usize>(x: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepu8_epi16(_mm_set1_epi16(x.cast::<i16>().read_unaligned())) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn w(w: *const i16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(w.cast()) }
    }
}

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn u16_by_bytes(a: &Q16Args) {
    // SAFETY: the caller's promise.
    unsafe { tile::<WordsByBytes, 2, 1>(a) }
}

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn u16_by_words(a: &Q16W16Args) {
    // SAFETY: the caller's promise.
    unsafe { tile::<WordsByWords, 1, 2>(a) }
}

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn u8_by_words(a: &Q8W16Args) {
    // SAFETY: the caller's promise.
    unsafe { tile::<BytesByWords, 2, 1>(a) }
}

/// All `MR` rows of `8 * V` channels are computed, as all their pointers are valid; `rows` by `cols` are stored.
///
/// # Safety
/// As [`super::Gemm::run`]; `PARTS` are those of `P`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<P: Pairs, const V: usize, const PARTS: usize>(a: &Args<P::X, P::W, i64, u8, Epilogue16>) {
    const { assert!(PARTS == P::PARTS && P::STEPS > 0) };
    // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` elements and slack; the panel has a whole
    // number of groups of 2 weights a channel, the bias an entry for each of its channels.
    unsafe {
        let zero = _mm256_setzero_si256();
        let mut totals = [[[zero; 2]; V]; MR];
        unroll!(V, v => {
            let bias = [0, 4].map(|i| _mm256_loadu_si256(a.bias.add(8 * v + i).cast()));
            unroll!(MR, r => totals[r][v] = bias);
        });
        let pairs = a.k.div_ceil(2);
        let mut w = a.w;
        let (mut tap, mut at) = (0, 0);
        while tap < a.taps && pairs > 0 {
            let mut sums = [[[zero; PARTS]; V]; MR];
            let mut of_weights = [zero; V];
            let mut left = P::STEPS;
            while tap < a.taps && left > 0 {
                let mut x = [*a.x; MR];
                unroll!(MR, r => x[r] = *a.x.add(tap * MR + r));
                let end = pairs.min(at + left);
                left -= end - at;
                while at < end {
                    let mut weights = [zero; V];
                    unroll!(V, v => {
                        weights[v] = P::w(w.add(16 * v));
                        if P::LOWER {
                            let pair = _mm256_madd_epi16(weights[v], _mm256_set1_epi16(1));
                            of_weights[v] = _mm256_add_epi32(of_weights[v], pair);
                        }
                    });
                    unroll!(MR, r => unroll!(PARTS, part => {
                        let x = if part == 0 { P::x::<0>(x[r].add(2 * at)) } else { P::x::<1>(x[r].add(2 * at)) };
                        unroll!(V, v => {
                            let product = _mm256_madd_epi16(x, weights[v]);
                            sums[r][v][part] = _mm256_add_epi32(sums[r][v][part], product);
                        });
                    }));
                    w = w.add(16 * V);
                    at += 1;
                }
                if at == pairs {
                    (tap, at) = (tap + 1, 0);
                }
            }
            unroll!(MR, r => unroll!(V, v => {
                totals[r][v] = add_wide::<0>(totals[r][v], sums[r][v][0]);
                if PARTS > 1 {
                    totals[r][v] = add_wide::<8>(totals[r][v], sums[r][v][PARTS - 1]);
                }
                if P::LOWER {
                    totals[r][v] = add_wide::<15>(totals[r][v], of_weights[v]);
                }
            }));
        }
        unroll!(V, v => {
            let n = a.cols.saturating_sub(8 * v).min(8);
            let how = Store8::new(&a.epilogue, 8 * v, n);
            for (r, totals) in totals.iter().enumerate().take(a.rows) {
                how.store(&a.epilogue, totals[v], r, 8 * v, n, a.y, a.y_stride);
            }
        });
    }
}
