//! The AVX-512 row for u16 activations.
//!
//! Each activation is two bytes, `x = 256 * high + low`, which come in planes of their own, and each byte has its own sum
//! by the dot product instruction. A step adds at most 4 * 255 * 128 in magnitude to a 32-bit sum, so that 2^14 steps
//! cannot overflow it; then, and at the end, the sums move to 64 bits.
//!
//! Where the accumulators are proven to fit 32 bits, all of it is modulo 2^32: one sum takes the upper bytes, is shifted and
//! takes the lower ones. The epilogue is that of bytes up to the width of what is stored: nothing is widened, and sixteen
//! channels are rescaled at once instead of eight.
//!
//! The tile is that of bytes for 32 channels, 24 accumulators of two rows a group; 32 channels of words are one register.

use super::avx512::{rescale, rounded};
use super::avx512_store::store;
use super::{Epilogue16, Q16Args};
use crate::requant::{Requant, Scales};
use crate::x86::rescale::{Aim, Fixed16, Float16, Rescale16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use crate::x86::wide::{Words, halves};
use core::arch::x86_64::*;
use core::ops::Range;

/// Rows of a group.
const P: usize = 2;
/// Registers of a group.
const V: usize = 4;
/// Registers of a row.
const W: usize = V / P;
/// Groups of a tile.
const GROUPS: usize = 6;
/// Rows of a tile.
pub const MR: usize = GROUPS * P;
/// Channels of a tile.
pub const NR: usize = 16 * W;
/// Steps after which the 32-bit sums are moved.
const STEPS: usize = 1 << 14;
const _: () = assert!(STEPS as i64 * 4 * 255 * 128 <= i32::MAX as i64);
/// Bytes of a plane after which sums are moved.
pub const SPAN: usize = 4 * STEPS;

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q16(a: &Q16Args) {
    let groups = a.rows.div_ceil(P);
    // SAFETY: the caller's promise; the instance has at least the rows of the arguments.
    unsafe {
        match (&a.epilogue, groups) {
            (_, 0) => (),
            (Epilogue16::Requant { how, narrow: true }, 1) => narrow::<1>(a, how),
            (Epilogue16::Requant { how, narrow: true }, 2) => narrow::<2>(a, how),
            (Epilogue16::Requant { how, narrow: true }, 3) => narrow::<3>(a, how),
            (Epilogue16::Requant { how, narrow: true }, 4) => narrow::<4>(a, how),
            (Epilogue16::Requant { how, narrow: true }, 5) => narrow::<5>(a, how),
            (Epilogue16::Requant { how, narrow: true }, _) => narrow::<GROUPS>(a, how),
            (Epilogue16::Accumulator | Epilogue16::Requant { .. }, 1) => tile::<1>(a),
            (Epilogue16::Accumulator | Epilogue16::Requant { .. }, 2) => tile::<2>(a),
            (Epilogue16::Accumulator | Epilogue16::Requant { .. }, 3) => tile::<3>(a),
            (Epilogue16::Accumulator | Epilogue16::Requant { .. }, 4) => tile::<4>(a),
            (Epilogue16::Accumulator | Epilogue16::Requant { .. }, 5) => tile::<5>(a),
            (Epilogue16::Accumulator | Epilogue16::Requant { .. }, _) => tile::<GROUPS>(a),
        }
    }
}

/// # Safety
/// As [`super::Gemm::run`], with `a.rows` in the last of `G` groups.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const G: usize>(a: &Q16Args) {
    // SAFETY: by the contract each of the MR rows has two planes of `k` bytes, a multiple of 4; the panel has NR * 4
    // weights for every four of them, the bias NR entries.
    unsafe {
        // For each vector of channels its lower and its upper half.
        let bias = [0, 8, 16, 24].map(|i| _mm512_loadu_si512(a.bias.add(i).cast()));
        let mut totals = [[[bias[0], bias[1]], [bias[2], bias[3]]]; MR];
        let x = rows::<G>(a);
        let groups = a.k / 4;
        for first in (0..groups).step_by(STEPS) {
            let last = groups.min(first + STEPS);
            let high = products([[_mm512_setzero_si512(); V]; G], &x, 0, first..last, a.w);
            let low = products([[_mm512_setzero_si512(); V]; G], &x, a.k, first..last, a.w);
            let sums = low.as_flattened().iter().zip(high.as_flattened());
            for (total, (&low, &high)) in totals.as_flattened_mut().iter_mut().zip(sums) {
                total[0] = join(total[0], _mm512_castsi512_si256(low), _mm512_castsi512_si256(high));
                let upper = [low, high].map(|sums| _mm512_extracti64x4_epi64::<1>(sums));
                total[1] = join(total[1], upper[0], upper[1]);
            }
        }
        store(&totals, a);
    }
}

/// The tile of accumulators of 32 bits.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn narrow<const G: usize>(a: &Q16Args, how: &Requant) {
    // SAFETY: as in `tile`; multipliers have an entry for each channel of a panel.
    unsafe {
        let x = rows::<G>(a);
        let mut acc = products([[_mm512_setzero_si512(); V]; G], &x, 0, 0..a.k / 4, a.w);
        unroll!(W, v => {
            let bias = [0, 8].map(|i| _mm512_cvtepi64_epi32(_mm512_loadu_si512(a.bias.add(16 * v + i).cast())));
            let bias = halves(bias[0], bias[1]);
            unroll!(G, g => unroll!(P, p => {
                let at = p * W + v;
                acc[g][at] = _mm512_add_epi32(_mm512_slli_epi32::<8>(acc[g][at]), bias);
            }));
        });
        let mut acc = products(acc, &x, a.k, 0..a.k / 4, a.w);
        rescale!(acc, how, G, V, W, rounded::<G, V, P>);
        let words = Words::new(how.zero_point, how.lo, how.hi);
        unroll!(G, g => unroll!(P, p => {
            let row = g * P + p;
            if row < a.rows {
                store_bytes(a.y.add(row * a.y_stride), 2 * a.cols, words.pack(acc[g][p * W], acc[g][p * W + 1]));
            }
        }));
    }
}

/// Where the planes of rows start.
///
/// # Safety
/// There is a pointer for each row of a tile.
#[inline(always)]
unsafe fn rows<const G: usize>(a: &Q16Args) -> [[*const u8; P]; G] {
    let mut x = [[a.w.cast(); P]; G];
    // SAFETY: the caller's promise.
    unroll!(G, g => unroll!(P, p => x[g][p] = unsafe { *a.x.add(g * P + p) }.cast()));
    x
}

/// Adds the products of a plane, which starts `plane` bytes behind a row's first, over a range of groups of four.
///
/// # Safety
/// As [`tile`]; the groups are the plane's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn products<const G: usize>(
    mut acc: [[__m512i; V]; G],
    x: &[[*const u8; P]; G],
    plane: usize,
    groups: Range<usize>,
    w: *const i8,
) -> [[__m512i; V]; G] {
    // SAFETY: the caller's promise.
    unsafe {
        for at in groups {
            let mut weights = [_mm512_setzero_si512(); W];
            unroll!(W, v => weights[v] = _mm512_loadu_si512(w.add(at * NR * 4 + 64 * v).cast()));
            unroll!(G, g => unroll!(P, p => {
                let x = _mm512_set1_epi32(x[g][p].add(plane + 4 * at).cast::<i32>().read_unaligned());
                unroll!(W, v => acc[g][p * W + v] = _mm512_dpbusd_epi32(acc[g][p * W + v], x, weights[v]));
            }));
        }
    }
    acc
}

/// total + low + 256 * high
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn join(total: __m512i, low: __m256i, high: __m256i) -> __m512i {
    let high = _mm512_slli_epi64::<8>(_mm512_cvtepi32_epi64(high));
    _mm512_add_epi64(total, _mm512_add_epi64(_mm512_cvtepi32_epi64(low), high))
}
