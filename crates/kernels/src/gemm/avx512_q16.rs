//! The AVX-512 row for u16 activations.
//!
//! Each activation is two bytes, `x = 256 * high + low`, and each byte has its own sum by the dot product instruction.
//! A step adds at most 4 * 255 * 128 in magnitude to a 32-bit sum, so that 2^14 steps cannot overflow it; then, and at
//! the end, the sums move to 64 bits. Two sums a channel: the tile is half as wide as that for bytes.
//!
//! Where the accumulators are proven to fit 32 bits, all of it is modulo 2^32, and the epilogue is that of bytes up to
//! the width of what is stored: nothing is widened, and sixteen channels are rescaled at once instead of eight.

use super::avx512::{rescale, rounded};
use super::avx512_store::store;
use super::{Epilogue16, Q16Args};
use crate::requant::{Requant, Scales};
use crate::x86::rescale::{Aim, Fixed16, Float16, Rescale16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use crate::x86::wide::{Words, halves};
use core::arch::x86_64::*;

/// Rows of a tile.
pub const MR: usize = 6;
/// Channels of a tile.
pub const NR: usize = 32;
/// Steps after which the 32-bit sums are moved.
const STEPS: usize = 1 << 14;
const _: () = assert!(STEPS as i64 * 4 * 255 * 128 <= i32::MAX as i64);

/// A tile of accumulators of 32 bits; safe to call as [`super::Gemm::run`] is.
type Narrow = unsafe fn(&Q16Args, &Requant);

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q16(a: &Q16Args) {
    static TILES: [[unsafe fn(&Q16Args); NR / 16]; MR] = [
        [tile::<1, 1>, tile::<1, 2>],
        [tile::<2, 1>, tile::<2, 2>],
        [tile::<3, 1>, tile::<3, 2>],
        [tile::<4, 1>, tile::<4, 2>],
        [tile::<5, 1>, tile::<5, 2>],
        [tile::<6, 1>, tile::<6, 2>],
    ];
    static NARROW: [[Narrow; NR / 16]; MR] = [
        [narrow::<1, 1>, narrow::<1, 2>],
        [narrow::<2, 1>, narrow::<2, 2>],
        [narrow::<3, 1>, narrow::<3, 2>],
        [narrow::<4, 1>, narrow::<4, 2>],
        [narrow::<5, 1>, narrow::<5, 2>],
        [narrow::<6, 1>, narrow::<6, 2>],
    ];
    let (row, vector) = (a.rows.wrapping_sub(1), a.cols.wrapping_sub(1) / 16);
    if let Epilogue16::Requant { how, narrow: true } = &a.epilogue {
        if let Some(tile) = NARROW.get(row).and_then(|tiles| tiles.get(vector)) {
            // SAFETY: as below.
            unsafe { tile(a, how) }
        }
        return;
    }
    if let Some(tile) = TILES.get(row).and_then(|tiles| tiles.get(vector)) {
        // SAFETY: the caller's promise; the instance has the rows and at least the channels of the arguments.
        unsafe { tile(a) }
    }
}

/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const R: usize, const V: usize>(a: &Q16Args) {
    // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` elements, readable in groups of 4; the
    // panel has a whole number of groups of NR * 4 weights, the bias NR entries.
    unsafe {
        let zero = _mm512_setzero_si512();
        // For each vector of channels its lower and its upper half.
        let mut totals = [[[zero; 2]; V]; R];
        unroll!(V, v => {
            let bias = [0, 8].map(|i| _mm512_loadu_si512(a.bias.add(16 * v + i).cast()));
            unroll!(R, r => totals[r][v] = bias);
        });
        let groups = a.k.div_ceil(4);
        let mut w = a.w;
        let (mut tap, mut at) = (0, 0);
        while tap < a.taps && groups > 0 {
            let mut low = [[zero; V]; R];
            let mut high = [[zero; V]; R];
            let mut x = [a.bias.cast::<u16>(); R];
            let mut left = STEPS;
            while tap < a.taps && left > 0 {
                unroll!(R, r => x[r] = *a.x.add(tap * MR + r));
                let end = groups.min(at + left);
                left -= end - at;
                while at < end {
                    step(&mut low, &mut high, &x, at, w);
                    w = w.add(NR * 4);
                    at += 1;
                }
                if at == groups {
                    (tap, at) = (tap + 1, 0);
                }
            }
            unroll!(R, r => unroll!(V, v => {
                totals[r][v][0] = join(
                    totals[r][v][0],
                    _mm512_castsi512_si256(low[r][v]),
                    _mm512_castsi512_si256(high[r][v]),
                );
                totals[r][v][1] = join(
                    totals[r][v][1],
                    _mm512_extracti64x4_epi64::<1>(low[r][v]),
                    _mm512_extracti64x4_epi64::<1>(high[r][v]),
                );
            }));
        }
        store(&totals, a);
    }
}

/// The tile of accumulators of 32 bits.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn narrow<const R: usize, const V: usize>(a: &Q16Args, how: &Requant) {
    // SAFETY: as in `tile`; multipliers have an entry for each channel of a panel.
    unsafe {
        let mut low = [[_mm512_setzero_si512(); V]; R];
        let mut high = low;
        let mut w = a.w;
        let mut x = [a.bias.cast::<u16>(); R];
        for tap in 0..a.taps {
            unroll!(R, r => x[r] = *a.x.add(tap * MR + r));
            for at in 0..a.k.div_ceil(4) {
                step(&mut low, &mut high, &x, at, w);
                w = w.add(NR * 4);
            }
        }
        let mut acc = low;
        unroll!(V, v => {
            let bias = [0, 8].map(|i| _mm512_cvtepi64_epi32(_mm512_loadu_si512(a.bias.add(16 * v + i).cast())));
            let bias = halves(bias[0], bias[1]);
            unroll!(R, r => {
                let high = _mm512_slli_epi32::<8>(high[r][v]);
                acc[r][v] = _mm512_add_epi32(_mm512_add_epi32(low[r][v], high), bias);
            });
        });
        rescale!(acc, how, R, V, V, rounded::<R, V, 1>);
        let words = Words::new(how.zero_point, how.lo, how.hi);
        unroll!(R, r => store_bytes(a.y.add(r * a.y_stride), 2 * a.cols, words.pack(acc[r][0], acc[r][V - 1])));
    }
}

/// Four of `k` from group `at` on, low and high bytes apart.
///
/// # Safety
/// As [`tile`]; `x` are the rows of a tap, `w` the weights of the group.
#[inline(always)]
unsafe fn step<const R: usize, const V: usize>(
    low: &mut [[__m512i; V]; R],
    high: &mut [[__m512i; V]; R],
    x: &[*const u16; R],
    at: usize,
    w: *const i8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (lows, highs) = (_mm512_set1_epi32(0x0604_0200), _mm512_set1_epi32(0x0705_0301));
        let mut weights = [_mm512_setzero_si512(); V];
        unroll!(V, v => weights[v] = _mm512_loadu_si512(w.add(64 * v).cast()));
        unroll!(R, r => {
            let x = _mm512_set1_epi64(x[r].add(4 * at).cast::<i64>().read_unaligned());
            let (lows, highs) = (_mm512_shuffle_epi8(x, lows), _mm512_shuffle_epi8(x, highs));
            unroll!(V, v => {
                low[r][v] = _mm512_dpbusd_epi32(low[r][v], lows, weights[v]);
                high[r][v] = _mm512_dpbusd_epi32(high[r][v], highs, weights[v]);
            });
        });
    }
}

/// total + low + 256 * high
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn join(total: __m512i, low: __m256i, high: __m256i) -> __m512i {
    let high = _mm512_slli_epi64::<8>(_mm512_cvtepi32_epi64(high));
    _mm512_add_epi64(total, _mm512_add_epi64(_mm512_cvtepi32_epi64(low), high))
}
