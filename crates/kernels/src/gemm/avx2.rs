//! AVX2 rows.
//!
//! The tile is 6 pixels by 16 channels: 12 accumulators, 2 registers of weights, one of pixels and one of products fit the
//! 16 registers. Smaller tiles are instances of their own, down to one row and 8 channels.
//!
//! Bytes become words on the way ([`Words`]): those of the pixels, which all channels share, once a tile in memory, from
//! where they are broadcast for nothing.
//!
//! [`products`] serves the AVX-VNNI row too, and [`finish_here`] also the rows of `rowconv`.

use super::{FArgs, QArgs};
use crate::requant::{Epilogue, Requant, Residual, Scales};
use crate::x86::dot::{Dot, Room, Words};
use crate::x86::lanes8::Ymm;
use crate::x86::rescale::Aim;
use crate::x86::rescale8::{
    Bytes8, Fixed8, Float8, Joined8, Rescale8, Rounded8, Shift8, Wide8, store_bytes8, store_ints8, with_sum8,
};
use crate::x86::unroll;
use core::arch::x86_64::*;
use lowbit_arithmetic::Lanes;

/// Rows of a tile.
pub const MR: usize = 6;
/// Channels of a tile.
pub const NR: usize = 16;

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q8(a: &QArgs) {
    static TILES: [[unsafe fn(&QArgs); NR / 8]; MR] = [
        [q8_tile::<1, 1>, q8_tile::<1, 2>],
        [q8_tile::<2, 1>, q8_tile::<2, 2>],
        [q8_tile::<3, 1>, q8_tile::<3, 2>],
        [q8_tile::<4, 1>, q8_tile::<4, 2>],
        [q8_tile::<5, 1>, q8_tile::<5, 2>],
        [q8_tile::<6, 1>, q8_tile::<6, 2>],
    ];
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 8)) {
        // SAFETY: the caller's promise; the instance has the rows and at least the channels of the arguments.
        unsafe { tile(a) }
    }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn f32(a: &FArgs) {
    static TILES: [[unsafe fn(&FArgs); NR / 8]; MR] = [
        [f32_tile::<1, 1>, f32_tile::<1, 2>],
        [f32_tile::<2, 1>, f32_tile::<2, 2>],
        [f32_tile::<3, 1>, f32_tile::<3, 2>],
        [f32_tile::<4, 1>, f32_tile::<4, 2>],
        [f32_tile::<5, 1>, f32_tile::<5, 2>],
        [f32_tile::<6, 1>, f32_tile::<6, 2>],
    ];
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 8)) {
        // SAFETY: as in `q8`.
        unsafe { tile(a) }
    }
}

/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx2,fma")]
unsafe fn q8_tile<const R: usize, const V: usize>(a: &QArgs) {
    // SAFETY: the caller's promise, and AVX2 is enabled.
    unsafe { finish_here(products::<Words, R, V>(a), a) }
}

/// The sums of `R` rows by `V` vectors of channels of a tile of `MR` by `NR`.
///
/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R`; what `D` needs is enabled.
#[inline(always)]
pub unsafe fn products<D: Dot, const R: usize, const V: usize>(a: &QArgs) -> [[__m256i; V]; R] {
    // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` bytes, readable in whole registers; the panel
    // has a whole number of groups of NR * 4 weights, the bias NR entries.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); V]; R];
        unroll!(V, v => {
            let bias = _mm256_loadu_si256(a.bias.add(8 * v).cast());
            unroll!(R, r => acc[r][v] = bias);
        });
        let mut w = a.w;
        let mut room = [Room::EMPTY; R];
        let mut x = [a.w.cast::<u8>(); R];
        for tap in 0..a.taps {
            let mut from = 0;
            while from < a.k {
                let n = (a.k - from).min(D::RUN);
                unroll!(R, r => x[r] = D::ready((*a.x.add(tap * MR + r)).add(from), n, &mut room[r]));
                part::<D, 0, R, V>(&mut acc, &x, n, w);
                if D::PARTS > 1 {
                    part::<D, 1, R, V>(&mut acc, &x, n, w);
                }
                w = w.add(NR * n.next_multiple_of(4));
                from += n;
            }
        }
        add_offsets(&mut acc, a);
        acc
    }
}

/// Adds what each weight lacks, which is the same for all of a channel, so that it meets the sum of what a row reads.
///
/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R`; AVX2 is enabled.
#[inline(always)]
pub unsafe fn add_offsets<const R: usize, const V: usize>(acc: &mut [[__m256i; V]; R], a: &QArgs) {
    if a.offset.is_null() {
        return;
    }
    // SAFETY: offsets have an entry for each channel of a panel, and there is a sum for each row.
    unsafe {
        unroll!(V, v => {
            let offset = _mm256_loadu_si256(a.offset.add(8 * v).cast());
            unroll!(R, r => {
                let sum = _mm256_set1_epi32(*a.sums.add(r));
                acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_mullo_epi32(offset, sum));
            });
        });
    }
}

/// One part of `n` steps of k. Parts are loops of their own, because in one loop the compiler adds their products first,
/// for which there are no registers.
///
/// # Safety
/// As [`products`]; `x` are the rows made ready, `w` the weights of the steps.
#[inline(always)]
unsafe fn part<D: Dot, const PART: usize, const R: usize, const V: usize>(
    acc: &mut [[__m256i; V]; R],
    x: &[*const u8; R],
    n: usize,
    mut w: *const i8,
) {
    let mut k = 0;
    while k < n {
        // SAFETY: the caller's promise.
        unsafe {
            let mut weights = [_mm256_setzero_si256(); V];
            unroll!(V, v => weights[v] = D::w::<PART>(_mm256_loadu_si256(w.add(32 * v).cast())));
            unroll!(R, r => {
                let x = D::broadcast::<PART>(x[r], k);
                unroll!(V, v => acc[r][v] = D::step(acc[r][v], x, weights[v]));
            });
            w = w.add(NR * 4);
        }
        k += 4;
    }
}

/// Multiplies and rounds a tile `acc` of `R` rows of `V` registers.
macro_rules! rescale {
    ($acc:ident, $how:ident, $R:ident, $V:ident) => {
        let aim = Aim::of($how);
        match $how.scales {
            _ if !$how.is_default() => $acc = rounded::<$R, $V>($acc, $how),
            Scales::Float32(m) => unroll!($V, v => {
                let m = _mm256_loadu_si256(m.add(8 * v).cast());
                let by = Float8::new(m, m, aim);
                unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
            }),
            Scales::Fixed(m, shift) => unroll!($V, v => {
                let m = _mm256_loadu_si256(m.add(8 * v).cast());
                let shift = _mm256_loadu_si256(shift.add(8 * v).cast());
                if Fixed8::fits(shift) {
                    let by = Fixed8::new(m, shift, aim);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                } else {
                    let by = Wide8::new(m, shift, aim);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                }
            }),
            Scales::Shift(shift) => unroll!($V, v => {
                let one = _mm256_set1_epi32(1);
                let shift = _mm256_loadu_si256(shift.add(8 * v).cast());
                if Shift8::fits(shift) {
                    let by = Shift8::new(one, shift, aim);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                } else {
                    let by = Wide8::new(one, shift, aim);
                    unroll!($R, r => $acc[r][v] = by.apply($acc[r][v]));
                }
            }),
        }
    };
}

/// The epilogue of a tile's sums.
///
/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn finish<const R: usize, const V: usize>(mut acc: [[__m256i; V]; R], a: &QArgs) {
    // SAFETY: the caller's promise, passed on; multipliers have an entry for each channel of a panel, and the output is
    // writable for `a.cols` of each row.
    unsafe {
        let how = match &a.epilogue {
            Epilogue::Accumulator => {
                unroll!(R, r => unroll!(V, v => {
                    let y = a.y.add(r * a.y_stride).cast::<i32>().add(8 * v);
                    store_ints8(y, a.cols - 8 * v, acc[r][v]);
                }));
                return;
            }
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => how,
        };
        rescale!(acc, how, R, V);
        match &a.epilogue {
            Epilogue::RequantAdd(_, residual) => join(acc, a, how, residual),
            Epilogue::Requant(_) | Epilogue::Accumulator => {
                store(&acc, a, Bytes8::new(how.zero_point, how.lo, how.hi));
            }
        }
    }
}

/// [`finish`] of what is most often wanted, float multipliers rounded as is usual and no other tensor, without leaving
/// registers; anything else is left to it. For tiles of few products the way there is a good part of the time.
///
/// # Safety
/// As [`finish`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn finish_here<const R: usize, const V: usize>(mut acc: [[__m256i; V]; R], a: &QArgs) {
    // SAFETY: the caller's promise, passed on; multipliers have an entry for each channel of a panel.
    unsafe {
        match &a.epilogue {
            Epilogue::Requant(how @ Requant { scales: Scales::Float32(m), .. }) if how.is_default() => {
                let aim = Aim::of(how);
                unroll!(V, v => {
                    let m = _mm256_loadu_si256(m.add(8 * v).cast());
                    let by = Float8::new(m, m, aim);
                    unroll!(R, r => acc[r][v] = by.apply(acc[r][v]));
                });
                store(&acc, a, Bytes8::new(how.zero_point, how.lo, how.hi));
            }
            _ => finish(acc, a),
        }
    }
}

/// A tile rescaled with another rounding than its method's default, by way of memory as in [`join`].
///
/// # Safety
/// As [`finish`].
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn rounded<const R: usize, const V: usize>(mut acc: [[__m256i; V]; R], how: &Requant) -> [[__m256i; V]; R] {
    let aim = Aim::of(how);
    for v in 0..V {
        // SAFETY: multipliers have an entry for each channel of a panel.
        let by = unsafe {
            let load = |from: *const i32| _mm256_loadu_si256(from.add(8 * v).cast());
            match how.scales {
                Scales::Float32(m) => Rounded8::new(load(m.cast()), _mm256_setzero_si256(), aim),
                Scales::Fixed(m, shift) => Rounded8::new(load(m), load(shift), aim),
                Scales::Shift(shift) => Rounded8::new(_mm256_set1_epi32(1), load(shift), aim),
            }
        };
        for row in &mut acc {
            // SAFETY: AVX2 is enabled.
            row[v] = unsafe { by.apply(row[v]) };
        }
    }
    acc
}

/// The rest of the epilogue that adds another tensor to a rescaled tile.
///
/// The tile passes through memory and rows are not unrolled, for this is much code for each of the tile's instances.
///
/// # Safety
/// As [`finish`].
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn join<const R: usize, const V: usize>(
    mut acc: [[__m256i; V]; R],
    a: &QArgs,
    how: &Requant,
    residual: &Residual,
) {
    // SAFETY: the caller's promise; rows of the other tensor are readable for whole registers.
    unsafe {
        with_sum8!(&residual.add, sum => {
            let joined = Joined8::new(how, &residual.add, sum);
            for (r, acc) in acc.iter_mut().enumerate() {
                let other = residual.r.add(r * residual.r_stride);
                unroll!(V, v => {
                    let other = _mm256_cvtepu8_epi32(_mm_loadl_epi64(other.add(8 * v).cast()));
                    acc[v] = joined.apply(acc[v], other);
                });
            }
        });
        store(&acc, a, Bytes8::new(residual.add.zero_point, residual.add.lo, residual.add.hi));
    }
}

/// Packs a tile to bytes, two rows a register, and stores it.
///
/// # Safety
/// As [`finish`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store<const R: usize, const V: usize>(acc: &[[__m256i; V]; R], a: &QArgs, bytes: Bytes8) {
    let put = |r: usize, bytes: __m256i| {
        // SAFETY: the output is writable for `a.cols` of each row. Whole rows are the common case.
        unsafe {
            let y = a.y.add(r * a.y_stride);
            if a.cols == NR {
                _mm_storeu_si128(y.cast(), _mm256_castsi256_si128(bytes));
            } else {
                store_bytes8(y, a.cols, bytes);
            }
        }
    };
    unroll!(R, r => {
        if r.is_multiple_of(2) {
            // An odd last row stands for the one that there is not.
            let (one, two) = (&acc[r], &acc[if r + 1 < R { r + 1 } else { r }]);
            let bytes = bytes.pack(one[0], one[V - 1], two[0], two[V - 1]);
            put(r, bytes);
            if r + 1 < R {
                put(r + 1, _mm256_castsi128_si256(_mm256_extracti128_si256::<1>(bytes)));
            }
        }
    });
}

/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx2,fma")]
unsafe fn f32_tile<const R: usize, const V: usize>(a: &FArgs) {
    // SAFETY: by the contract each of the `taps * MR` pointers leads to `k` elements; the panel has NR weights a step,
    // the bias NR entries; outputs and the other tensor are accessed within `a.cols`.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); V]; R];
        unroll!(V, v => {
            let bias = _mm256_loadu_ps(a.bias.add(8 * v));
            unroll!(R, r => acc[r][v] = bias);
        });
        let mut w = a.w;
        let mut x = [a.w; R];
        for tap in 0..a.taps {
            unroll!(R, r => x[r] = *a.x.add(tap * MR + r));
            for k in 0..a.k {
                let mut weights = [_mm256_setzero_ps(); V];
                unroll!(V, v => weights[v] = _mm256_loadu_ps(w.add(8 * v)));
                unroll!(R, r => {
                    let x = _mm256_set1_ps(*x[r].add(k));
                    unroll!(V, v => acc[r][v] = _mm256_fmadd_ps(x, weights[v], acc[r][v]));
                });
                w = w.add(NR);
            }
        }
        let bounds = |(lo, hi): (f32, f32)| (_mm256_set1_ps(lo), _mm256_set1_ps(hi));
        // The bounds come first: `max` and `min` give the second operand for a NaN or two zeros.
        let clamp = |v: __m256, (lo, hi): (__m256, __m256)| _mm256_min_ps(hi, _mm256_max_ps(lo, v));
        let first = bounds(a.epilogue.clamp);
        unroll!(R, r => unroll!(V, v => acc[r][v] = clamp(acc[r][v], first)));
        if let Some((other, stride, second)) = a.epilogue.add {
            let second = bounds(second);
            unroll!(R, r => unroll!(V, v => {
                let other = Ymm::load(other.byte_add(r * stride).add(8 * v), a.cols - 8 * v);
                acc[r][v] = clamp(Ymm(acc[r][v]).add(other).0, second);
            }));
        }
        unroll!(R, r => unroll!(V, v => {
            Ymm(acc[r][v]).store(a.y.byte_add(r * a.y_stride).add(8 * v), a.cols - 8 * v);
        }));
    }
}
