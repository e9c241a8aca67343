//! AVX-512 rows.
//!
//! The tile is 6 pixels by 64 channels: 24 accumulators, 4 registers of weights and one of pixels fit the 32 registers,
//! a step takes 10 loads for 24 products (so neither one nor two products a cycle starve), 64 channels are what
//! networks have multiples of and one packed register of bytes stores, and 6 row pointers fit the general registers.
//! Smaller tiles are instances of their own, down to one row and 16 channels.

use super::{FArgs, QArgs};
use crate::requant::{Epilogue, Requant, Residual, Scales};
use crate::x86::lanes::first16;
use crate::x86::rescale::{Bytes, Fixed16, Float16, Joined, Rescale16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Rows of a tile.
pub const MR: usize = 6;
/// Channels of a tile.
pub const NR: usize = 64;

/// `tiles!(tile)` is the array of `tile::<rows, vectors of 16 channels>`, by rows - 1 and vectors - 1.
macro_rules! tiles {
    ($tile:ident) => {
        [
            [$tile::<1, 1>, $tile::<1, 2>, $tile::<1, 3>, $tile::<1, 4>],
            [$tile::<2, 1>, $tile::<2, 2>, $tile::<2, 3>, $tile::<2, 4>],
            [$tile::<3, 1>, $tile::<3, 2>, $tile::<3, 3>, $tile::<3, 4>],
            [$tile::<4, 1>, $tile::<4, 2>, $tile::<4, 3>, $tile::<4, 4>],
            [$tile::<5, 1>, $tile::<5, 2>, $tile::<5, 3>, $tile::<5, 4>],
            [$tile::<6, 1>, $tile::<6, 2>, $tile::<6, 3>, $tile::<6, 4>],
        ]
    };
}

/// # Safety
/// As [`super::QGemm::run`].
pub unsafe fn q8(a: &QArgs) {
    static TILES: [[unsafe fn(&QArgs); NR / 16]; MR] = tiles!(q8_tile);
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 16)) {
        // SAFETY: the caller's promise; the instance has the rows and at least the channels of the arguments.
        unsafe { tile(a) }
    }
}

/// # Safety
/// As [`super::FGemm::run`].
pub unsafe fn f32(a: &FArgs) {
    static TILES: [[unsafe fn(&FArgs); NR / 16]; MR] = tiles!(f32_tile);
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 16)) {
        // SAFETY: as in `q8`.
        unsafe { tile(a) }
    }
}

/// Multiplies and rounds a tile `acc` of `R` rows by `V` vectors, in place.
macro_rules! rescale {
    ($acc:ident, $how:ident, $R:ident, $V:ident) => {
        let top = $how.hi - $how.zero_point;
        match $how.scales {
            Scales::Float32(m) => unroll!($V, v => {
                let m = _mm512_loadu_si512(m.add(16 * v).cast());
                let by = Float16::new(m, m, top);
                unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
            }),
            Scales::Fixed(m, shift) => unroll!($V, v => {
                let m = _mm512_loadu_si512(m.add(16 * v).cast());
                let shift = _mm512_loadu_si512(shift.add(16 * v).cast());
                if Fixed16::fits(shift) {
                    let by = Fixed16::new(m, shift, top);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                } else {
                    let by = Wide16::new(m, shift, top);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                }
            }),
            Scales::Shift(shift) => unroll!($V, v => {
                let one = _mm512_set1_epi32(1);
                let shift = _mm512_loadu_si512(shift.add(16 * v).cast());
                if Shift16::fits(shift) {
                    let by = Shift16::new(one, shift, top);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                } else {
                    let by = Wide16::new(one, shift, top);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                }
            }),
        }
    };
}

/// # Safety
/// As [`super::QGemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_tile<const R: usize, const V: usize>(a: &QArgs) {
    // SAFETY: the caller's promise, passed on; multipliers have NR entries.
    unsafe {
        let mut acc = q8_products::<R, V>(a);
        let how = match &a.epilogue {
            Epilogue::Accumulator => return q8_store_accumulators(&acc, a),
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => how,
        };
        rescale!(acc, how, R, V);
        if let Epilogue::RequantAdd(_, residual) = &a.epilogue {
            return q8_join(acc, a, how, residual);
        }
        let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
        unroll!(R, r => {
            let [p, q, s, t] = quarters::<V>(&acc[r]);
            store_bytes(a.y.add(r * a.y_stride), a.cols, bytes.pack(p, q, s, t));
        });
    }
}

/// The sums of a tile.
///
/// # Safety
/// As [`q8_tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_products<const R: usize, const V: usize>(a: &QArgs) -> [[__m512i; V]; R] {
    // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` bytes, readable in groups of 4; the panel
    // has a whole number of groups of NR * 4 weights, the bias NR entries.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); V]; R];
        unroll!(V, v => {
            let bias = _mm512_loadu_si512(a.bias.add(16 * v).cast());
            unroll!(R, r => acc[r][v] = bias);
        });
        let mut w = a.w;
        let mut x = [a.w.cast::<u8>(); R];
        for tap in 0..a.taps {
            unroll!(R, r => x[r] = *a.x.add(tap * MR + r));
            let mut k = 0;
            while k < a.k {
                let mut weights = [_mm512_setzero_si512(); V];
                unroll!(V, v => weights[v] = _mm512_loadu_si512(w.add(64 * v).cast()));
                unroll!(R, r => {
                    let x = _mm512_set1_epi32(x[r].add(k).cast::<i32>().read_unaligned());
                    unroll!(V, v => acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], x, weights[v]));
                });
                w = w.add(NR * 4);
                k += 4;
            }
        }
        acc
    }
}

/// The four quarters of a packed row; those it lacks do not matter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn quarters<const V: usize>(acc: &[__m512i; V]) -> [__m512i; 4] {
    [acc[0], acc[if 1 < V { 1 } else { 0 }], acc[if 2 < V { 2 } else { 0 }], acc[if 3 < V { 3 } else { 0 }]]
}

/// # Safety
/// The output is writable for `R` rows of `a.cols` accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_store_accumulators<const R: usize, const V: usize>(acc: &[[__m512i; V]; R], a: &QArgs) {
    unroll!(R, r => unroll!(V, v => {
        // SAFETY: the caller's promise; the mask ends at `a.cols`.
        unsafe {
            let y = a.y.add(r * a.y_stride).cast::<i32>().add(16 * v);
            _mm512_mask_storeu_epi32(y, first16(a.cols - 16 * v), acc[r][v]);
        }
    }));
}

/// The rest of the epilogue that adds another tensor to a rescaled tile.
///
/// The tile passes through memory and rows are not unrolled, for this is much code for each of the tile's instances.
///
/// # Safety
/// As [`q8_tile`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_join<const R: usize, const V: usize>(
    acc: [[__m512i; V]; R],
    a: &QArgs,
    how: &Requant,
    residual: &Residual,
) {
    // SAFETY: the caller's promise; rows of the other tensor are readable for whole registers.
    unsafe {
        let joined = Joined::new(how, &residual.add);
        let bytes = Bytes::new(residual.add.zero_point, residual.add.lo, residual.add.hi);
        for (r, acc) in acc.iter().enumerate() {
            let mut acc = *acc;
            let other = residual.r.add(r * residual.r_stride);
            unroll!(V, v => {
                let other = _mm_loadu_si128(other.add(16 * v).cast());
                acc[v] = joined.apply(acc[v], _mm512_cvtepu8_epi32(other));
            });
            let [p, q, s, t] = quarters::<V>(&acc);
            store_bytes(a.y.add(r * a.y_stride), a.cols, bytes.pack(p, q, s, t));
        }
    }
}

/// # Safety
/// As [`super::FGemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn f32_tile<const R: usize, const V: usize>(a: &FArgs) {
    // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` elements; the panel has NR weights a step,
    // the bias NR entries; outputs and the other tensor are accessed within `a.cols`.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); V]; R];
        for v in 0..V {
            let bias = _mm512_loadu_ps(a.bias.add(16 * v));
            for acc in &mut acc {
                acc[v] = bias;
            }
        }
        let mut w = a.w;
        let mut x = [a.w; R];
        for tap in 0..a.taps {
            for (r, x) in x.iter_mut().enumerate() {
                *x = *a.x.add(tap * MR + r);
            }
            for k in 0..a.k {
                let mut weights = [_mm512_setzero_ps(); V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_loadu_ps(w.add(16 * v));
                }
                for r in 0..R {
                    let x = _mm512_set1_ps(*x[r].add(k));
                    for v in 0..V {
                        acc[r][v] = _mm512_fmadd_ps(x, weights[v], acc[r][v]);
                    }
                }
                w = w.add(NR);
            }
        }
        let bounds = |(lo, hi): (f32, f32)| (_mm512_set1_ps(lo), _mm512_set1_ps(hi));
        // The bounds come first: `max` and `min` give the second operand for a NaN or two zeros.
        let clamp = |v: __m512, (lo, hi): (__m512, __m512)| _mm512_min_ps(hi, _mm512_max_ps(lo, v));
        let first = bounds(a.epilogue.clamp);
        for acc in &mut acc {
            for acc in acc {
                *acc = clamp(*acc, first);
            }
        }
        if let Some((other, stride, second)) = a.epilogue.add {
            let second = bounds(second);
            for (r, acc) in acc.iter_mut().enumerate() {
                let other = other.byte_add(r * stride);
                for (v, acc) in acc.iter_mut().enumerate() {
                    let other = _mm512_maskz_loadu_ps(first16(a.cols - 16 * v), other.add(16 * v));
                    *acc = clamp(_mm512_add_ps(*acc, other), second);
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            let y = a.y.byte_add(r * a.y_stride);
            for (v, &acc) in acc.iter().enumerate() {
                _mm512_mask_storeu_ps(y.add(16 * v), first16(a.cols - 16 * v), acc);
            }
        }
    }
}
