//! The AMX row for u16 activations.
//!
//! A tile is up to 32 pixels by 32 channels, the sums of four AMX tiles (see `x86::amx`), first of the planes of upper
//! bytes, then of those of lower ones. Both sums meet in the end, as in the AVX-512 row: see there also for why 32 bits hold
//! them, of deep layers span by span.

use super::avx512::{rescale, rounded};
use super::avx512_q16::{SPAN, join};
use super::avx512_store::store;
use super::{Epilogue16, Q16Args};
use crate::requant::{Requant, Scales};
use crate::x86::amx::{self, PAIRS, ROW, Rows, SIDE};
use crate::x86::rescale::{Aim, Fixed16, Float16, Rescale16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use crate::x86::wide::{Words, halves};
use core::arch::x86_64::*;

/// Rows of a tile.
pub const MR: usize = 2 * SIDE;
/// Channels of a tile.
pub const NR: usize = 2 * SIDE;
/// Rows that the end of a tile takes at once.
const GROUP: usize = 4;

/// Room for the sums of a tile.
#[repr(align(64))]
struct Sums([i32; MR * NR]);

/// What sums start with.
static ZEROS: Sums = Sums([0; MR * NR]);

/// Sums of the upper and of the lower bytes.
struct Both {
    high: Sums,
    low: Sums,
}

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q16(a: &Q16Args) {
    let mut both = Both { high: Sums([0; MR * NR]), low: Sums([0; MR * NR]) };
    // SAFETY: passed on.
    unsafe {
        match &a.epilogue {
            Epilogue16::Requant { how, narrow: true } => {
                // Of no products there is not even a step.
                if a.k > 0 {
                    sums(a, 0, a.k, &mut both);
                }
                narrow(a, how, &both);
            }
            Epilogue16::Accumulator | Epilogue16::Requant { .. } => wide(a, &mut both),
        }
    }
}

/// The sums over a span of the planes.
///
/// # Safety
/// As [`q16`]; the span is of whole registers, and there is one.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn sums(a: &Q16Args, first: usize, last: usize, both: &mut Both) {
    let upper = if a.rows > SIDE { a.rows.div_ceil(2) } else { a.rows };
    // SAFETY: by the contract each row has two planes of `a.k` bytes, rows are equally far apart, and the panel has NR
    // weights for each byte of a plane.
    unsafe {
        amx::configure([upper, a.rows - upper]);
        let (x, step) = ((*a.x).cast::<u8>(), super::apart(a.k));
        let w = a.w.add(first * NR);
        for (plane, sums) in [(0, &mut both.high), (a.k, &mut both.low)] {
            let x = x.add(plane + first);
            let rows = Rows { first: x, second: x.wrapping_add(upper * step), step };
            let (chunks, sums) = ((last - first) / ROW, sums.0.as_mut_ptr());
            match a.rows > SIDE {
                true => {
                    amx::start::<true>(ZEROS.0.as_ptr());
                    amx::products::<true>(rows, w, PAIRS, chunks);
                    amx::store::<true>(sums, upper);
                }
                false => {
                    amx::start::<false>(ZEROS.0.as_ptr());
                    amx::products::<false>(rows, w, PAIRS, chunks);
                    amx::store::<false>(sums, upper);
                }
            }
        }
        amx::release();
    }
}

/// Stores a tile of accumulators of 32 bits.
///
/// # Safety
/// As [`q16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn narrow(a: &Q16Args, how: &Requant, both: &Both) {
    // SAFETY: multipliers and bias have an entry for each channel of a panel, sums are whole tiles, and rows are written
    // within the tile.
    unsafe {
        let bias = [0, 16].map(|i| {
            let of = |i: usize| _mm512_cvtepi64_epi32(_mm512_loadu_si512(a.bias.add(i).cast()));
            halves(of(i), of(i + 8))
        });
        let words = Words::new(how.zero_point, how.lo, how.hi);
        for first in (0..a.rows).step_by(GROUP) {
            let mut acc = [[_mm512_setzero_si512(); 2]; GROUP];
            unroll!(GROUP, r => unroll!(2, v => {
                let at = (first + r) * NR + SIDE * v;
                let [high, low] = [&both.high, &both.low].map(|sums| _mm512_load_si512(sums.0.as_ptr().add(at).cast()));
                acc[r][v] = _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low), bias[v]);
            }));
            const V: usize = 2;
            rescale!(acc, how, GROUP, V, V, rounded::<GROUP, V, 1>);
            for (r, acc) in (first..a.rows).zip(acc) {
                store_bytes(a.y.add(r * a.y_stride), 2 * a.cols, words.pack(acc[0], acc[1]));
            }
        }
    }
}

/// Computes and stores a tile of accumulators of 64 bits.
///
/// # Safety
/// As [`q16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn wide(a: &Q16Args, both: &mut Both) {
    // SAFETY: as in `narrow`.
    unsafe {
        let bias = [0, 8, 16, 24].map(|i| _mm512_loadu_si512(a.bias.add(i).cast()));
        let mut totals = [[[bias[0], bias[1]], [bias[2], bias[3]]]; MR];
        for first in (0..a.k).step_by(SPAN) {
            sums(a, first, a.k.min(first + SPAN), both);
            for (r, total) in totals.iter_mut().enumerate().take(a.rows) {
                for (i, total) in total.as_flattened_mut().iter_mut().enumerate() {
                    let of = |sums: &Sums| _mm256_load_si256(sums.0.as_ptr().add(r * NR + 8 * i).cast());
                    *total = join(*total, of(&both.low), of(&both.high));
                }
            }
        }
        store(&totals, a);
    }
}
