//! AVX-512 rows.
//!
//! The tile is 6 pixels by 64 channels: 24 accumulators, 4 registers of weights and one of pixels fit the 32 registers,
//! a step takes 10 loads for 24 products (so neither one nor two products a cycle starve), 64 channels are what
//! networks have multiples of and one packed register of bytes stores, and 6 row pointers fit the general registers.
//! Smaller tiles are instances of their own, down to one row and 16 channels.
//!
//! Layers of up to 32 or 16 channels have tiles of 12 by 32 and 24 by 16: the same accumulators, of which four registers
//! hold two or four pixels instead of one. So their bytes too are packed into one register, and what a tile costs
//! besides its products is paid for four times as many pixels.

use super::{FArgs, QArgs};
use crate::requant::{Epilogue, Requant, Residual, Scales};
use crate::x86::lanes::first16;
use crate::x86::rescale::{
    Aim, Bytes, Fixed16, Float16, Join16, Rescale16, Rounded16, Shift16, Wide16, store_bytes, with_join,
};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Rows of a tile.
pub const MR: usize = 6;
/// Channels of a tile.
pub const NR: usize = 64;
/// How many weights ahead a tile of f32 asks for: 4 KB, a page, beyond which the processor does not ask by itself.
const F32_AHEAD: usize = 1024;

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q8(a: &QArgs) {
    static TILES: [[unsafe fn(&QArgs); NR / 16]; MR] = [
        [q8_tile::<1, 1, 1>, q8_tile::<1, 2, 1>, q8_tile::<1, 3, 1>, q8_tile::<1, 4, 1>],
        [q8_tile::<2, 1, 1>, q8_tile::<2, 2, 1>, q8_tile::<2, 3, 1>, q8_tile::<2, 4, 1>],
        [q8_tile::<3, 1, 1>, q8_tile::<3, 2, 1>, q8_tile::<3, 3, 1>, q8_tile::<3, 4, 1>],
        [q8_tile::<4, 1, 1>, q8_tile::<4, 2, 1>, q8_tile::<4, 3, 1>, q8_tile::<4, 4, 1>],
        [q8_tile::<5, 1, 1>, q8_tile::<5, 2, 1>, q8_tile::<5, 3, 1>, q8_tile::<5, 4, 1>],
        [q8_tile::<6, 1, 1>, q8_tile::<6, 2, 1>, q8_tile::<6, 3, 1>, q8_tile::<6, 4, 1>],
    ];
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 16)) {
        // SAFETY: the caller's promise; the instance has the rows and at least the channels of the arguments.
        unsafe { tile(a) }
    }
}

/// Tiles of `P` rows a group: up to `6 * P` rows of `64 / P` channels, computed in whole groups.
///
/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q8_narrow<const P: usize>(a: &QArgs) {
    let tile = match a.rows.div_ceil(P) {
        0 => return,
        1 => q8_tile::<1, 4, P>,
        2 => q8_tile::<2, 4, P>,
        3 => q8_tile::<3, 4, P>,
        4 => q8_tile::<4, 4, P>,
        5 => q8_tile::<5, 4, P>,
        _ => q8_tile::<6, 4, P>,
    };
    // SAFETY: the caller's promise; the instance has at least the rows and the channels of the arguments.
    unsafe { tile(a) }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn f32(a: &FArgs) {
    macro_rules! tiles {
        ($($r:literal)*) => {
            [$([f32_tile::<$r, 1, MR, NR>, f32_tile::<$r, 2, MR, NR>, f32_tile::<$r, 3, MR, NR>, f32_tile::<$r, 4, MR, NR>]),*]
        };
    }
    static TILES: [[unsafe fn(&FArgs); NR / 16]; MR] = tiles!(1 2 3 4 5 6);
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 16)) {
        // SAFETY: as in `q8`.
        unsafe { tile(a) }
    }
}

/// Tiles of 12 rows by 32 channels, for layers of so few: as many accumulators, where 6 rows would have a half or a
/// quarter of them and wait for sums.
///
/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn f32_narrow(a: &FArgs) {
    macro_rules! tiles {
        ($($r:literal)*) => { [$([f32_tile::<$r, 1, { 2 * MR }, { NR / 2 }>, f32_tile::<$r, 2, { 2 * MR }, { NR / 2 }>]),*] };
    }
    static TILES: [[unsafe fn(&FArgs); NR / 32]; 2 * MR] = tiles!(1 2 3 4 5 6 7 8 9 10 11 12);
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 16)) {
        // SAFETY: as in `q8`.
        unsafe { tile(a) }
    }
}

/// Multiplies and rounds a tile `acc` of `G` groups of `V` registers, each of which holds vector `v % W` of its row.
macro_rules! rescale {
    ($acc:ident, $how:ident, $G:ident, $V:ident, $W:expr, $rounded:expr) => {
        let aim = Aim::of($how);
        match $how.scales {
            _ if !$how.is_default() => $acc = $rounded($acc, $how),
            Scales::Float32(m) => unroll!($V, v => {
                let m = _mm512_loadu_si512(m.add(16 * (v % $W)).cast());
                let by = Float16::new(m, m, aim);
                unroll!($G, g => $acc[g][v] = by.apply($acc[g][v]));
            }),
            Scales::Fixed(m, shift) => unroll!($V, v => {
                let m = _mm512_loadu_si512(m.add(16 * (v % $W)).cast());
                let shift = _mm512_loadu_si512(shift.add(16 * (v % $W)).cast());
                if Fixed16::fits(shift) {
                    let by = Fixed16::new(m, shift, aim);
                    unroll!($G, g => $acc[g][v] = by.apply($acc[g][v]));
                } else {
                    let by = Wide16::new(m, shift, aim);
                    unroll!($G, g => $acc[g][v] = by.apply($acc[g][v]));
                }
            }),
            Scales::Shift(shift) => unroll!($V, v => {
                let one = _mm512_set1_epi32(1);
                let shift = _mm512_loadu_si512(shift.add(16 * (v % $W)).cast());
                if Shift16::fits(shift) {
                    let by = Shift16::new(one, shift, aim);
                    unroll!($G, g => $acc[g][v] = by.apply($acc[g][v]));
                } else {
                    let by = Wide16::new(one, shift, aim);
                    unroll!($G, g => $acc[g][v] = by.apply($acc[g][v]));
                }
            }),
        }
    };
}

pub(super) use rescale;

/// A tile of `G` groups of `P` rows. A group has `V` registers, `W = V / P` for each of its rows.
///
/// # Safety
/// As [`super::Gemm::run`], with `a.rows` in the last of the groups and `a.cols` in the last of the `W` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_tile<const G: usize, const V: usize, const P: usize>(a: &QArgs) {
    // SAFETY: the caller's promise, passed on.
    unsafe { q8_finish::<G, V, P>(q8_products::<G, V, P>(a), a) }
}

/// Stores the sums of a tile as the epilogue says.
///
/// # Safety
/// As [`q8_tile`], but for what its products read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn q8_finish<const G: usize, const V: usize, const P: usize>(mut acc: [[__m512i; V]; G], a: &QArgs) {
    // SAFETY: the caller's promise, passed on; multipliers have an entry for each channel of a panel.
    unsafe {
        let how = match &a.epilogue {
            Epilogue::Accumulator => return q8_store_accumulators::<G, V, P>(&acc, a),
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => how,
        };
        rescale!(acc, how, G, V, V / P, rounded::<G, V, P>);
        if let Epilogue::RequantAdd(_, residual) = &a.epilogue {
            return with_join!(how, &residual.add, join => q8_join::<G, V, P, _>(&acc, a, join, residual));
        }
        let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
        unroll!(G, g => {
            let [p, q, s, t] = quarters::<V>(&acc[g]);
            q8_store::<P>(a, g * P, bytes.pack(p, q, s, t));
        });
    }
}

/// A tile rescaled with another rounding than its method's default, by way of memory as in [`q8_join`].
///
/// # Safety
/// As [`q8_tile`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn rounded<const G: usize, const V: usize, const P: usize>(
    mut acc: [[__m512i; V]; G],
    how: &Requant,
) -> [[__m512i; V]; G] {
    let aim = Aim::of(how);
    for v in 0..V {
        // SAFETY: multipliers have an entry for each channel of a panel.
        let by = unsafe {
            let load = |from: *const i32| _mm512_loadu_si512(from.add(16 * (v % (V / P))).cast());
            match how.scales {
                Scales::Float32(m) => Rounded16::new(load(m.cast()), _mm512_setzero_si512(), aim),
                Scales::Fixed(m, shift) => Rounded16::new(load(m), load(shift), aim),
                Scales::Shift(shift) => Rounded16::new(_mm512_set1_epi32(1), load(shift), aim),
            }
        };
        for group in &mut acc {
            // SAFETY: AVX-512 is enabled.
            group[v] = unsafe { by.apply(group[v]) };
        }
    }
    acc
}

/// The sums of a tile.
///
/// # Safety
/// As [`q8_tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_products<const G: usize, const V: usize, const P: usize>(a: &QArgs) -> [[__m512i; V]; G] {
    // SAFETY: by the contract each of the `taps * MR * P` pointers, those beyond `rows` too, leads to `k` bytes, readable
    // in groups of 4; the panel has a whole number of groups of NR / P * 4 weights, the bias NR / P entries.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); V]; G];
        unroll!(V, v => {
            let bias = _mm512_loadu_si512(a.bias.add(16 * (v % (V / P))).cast());
            unroll!(G, g => acc[g][v] = bias);
        });
        let mut w = a.w;
        let mut x = [[a.w.cast::<u8>(); P]; G];
        for tap in 0..a.taps {
            unroll!(G, g => unroll!(P, p => x[g][p] = *a.x.add((tap * MR + g) * P + p)));
            let mut k = 0;
            while k < a.k {
                let mut weights = [_mm512_setzero_si512(); V];
                unroll!(V / P, v => weights[v] = _mm512_loadu_si512(w.add(64 * v).cast()));
                unroll!(G, g => unroll!(P, p => {
                    let x = _mm512_set1_epi32(x[g][p].add(k).cast::<i32>().read_unaligned());
                    unroll!(V / P, v => {
                        let at = p * (V / P) + v;
                        acc[g][at] = _mm512_dpbusd_epi32(acc[g][at], x, weights[v]);
                    });
                }));
                w = w.add(NR / P * 4);
                k += 4;
            }
        }
        if !a.offset.is_null() {
            q8_offset::<G, V, P>(&mut acc, a);
        }
        acc
    }
}

/// Adds what the weights of a tile lack: it is the same for all of a channel, so it meets the sum of what a row reads.
///
/// # Safety
/// There is an offset for each channel of a panel and a sum for each row of the tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn q8_offset<const G: usize, const V: usize, const P: usize>(acc: &mut [[__m512i; V]; G], a: &QArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        unroll!(V, v => {
            let offset = _mm512_loadu_si512(a.offset.add(16 * (v % (V / P))).cast());
            unroll!(G, g => {
                let sum = _mm512_set1_epi32(*a.sums.add(g * P + v / (V / P)));
                acc[g][v] = _mm512_add_epi32(acc[g][v], _mm512_mullo_epi32(offset, sum));
            });
        });
    }
}

/// The four quarters of a packed register; those it lacks do not matter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn quarters<const V: usize>(acc: &[__m512i; V]) -> [__m512i; 4] {
    [acc[0], acc[if 1 < V { 1 } else { 0 }], acc[if 2 < V { 2 } else { 0 }], acc[if 3 < V { 3 } else { 0 }]]
}

/// Stores the bytes of `P` rows from `first` on, as far as there are.
///
/// # Safety
/// The output is writable for `a.rows` rows of `a.cols` bytes, and `first` is one of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_store<const P: usize>(a: &QArgs, first: usize, bytes: __m512i) {
    let put = |p: usize, bytes: __m512i| {
        if first + p < a.rows {
            // SAFETY: the caller's promise.
            unsafe { store_bytes(a.y.add((first + p) * a.y_stride), a.cols, bytes) };
        }
    };
    match P {
        1 => put(0, bytes),
        // SAFETY: whole rows that follow each other are one register of the output.
        _ if a.cols == NR / P && a.y_stride == NR / P && first + P <= a.rows => unsafe {
            _mm512_storeu_si512(a.y.add(first * a.y_stride).cast(), bytes);
        },
        2 => {
            put(0, bytes);
            put(1, _mm512_castsi256_si512(_mm512_extracti64x4_epi64::<1>(bytes)));
        }
        _ => {
            put(0, bytes);
            put(1, _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<1>(bytes)));
            put(2, _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<2>(bytes)));
            put(3, _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<3>(bytes)));
        }
    }
}

/// # Safety
/// The output is writable for `a.rows` rows of `a.cols` accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_store_accumulators<const G: usize, const V: usize, const P: usize>(acc: &[[__m512i; V]; G], a: &QArgs) {
    unroll!(G, g => unroll!(V, v => {
        let (row, channel) = (g * P + v / (V / P), 16 * (v % (V / P)));
        if row < a.rows && channel < a.cols {
            // SAFETY: the caller's promise; the mask ends at `a.cols`.
            unsafe {
                let y = a.y.add(row * a.y_stride).cast::<i32>().add(channel);
                _mm512_mask_storeu_epi32(y, first16(a.cols - channel), acc[g][v]);
            }
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
unsafe fn q8_join<const G: usize, const V: usize, const P: usize, J: Join16>(
    acc: &[[__m512i; V]; G],
    a: &QArgs,
    join: J,
    residual: &Residual,
) {
    // SAFETY: the caller's promise; rows of the other tensor are readable for whole registers, and those beyond the tile
    // stand for its last.
    unsafe {
        let bytes = Bytes::new(residual.add.zero_point, residual.add.lo, residual.add.hi);
        for (g, acc) in acc.iter().enumerate() {
            let mut acc = *acc;
            unroll!(V, v => {
                let row = (g * P + v / (V / P)).min(a.rows - 1);
                acc[v] = join.join(acc[v], residual.r.add(row * residual.r_stride + 16 * (v % (V / P))));
            });
            let [p, q, s, t] = quarters::<V>(&acc);
            q8_store::<P>(a, g * P, bytes.pack(p, q, s, t));
        }
    }
}

/// # Safety
/// As [`super::Gemm::run`] of a row of `M` by `N`, with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn f32_tile<const R: usize, const V: usize, const M: usize, const N: usize>(a: &FArgs) {
    // SAFETY: by the contract each of the `taps * M` pointers leads to `k` elements; the panel has N weights a step,
    // the bias N entries; outputs and the other tensor are accessed within `a.cols`. Prefetching reads nothing.
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
                *x = *a.x.add(tap * M + r);
            }
            for k in 0..a.k {
                let mut weights = [_mm512_setzero_ps(); V];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_loadu_ps(w.add(16 * v));
                    _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(16 * v + F32_AHEAD).cast());
                }
                for r in 0..R {
                    let x = _mm512_set1_ps(*x[r].add(k));
                    for v in 0..V {
                        acc[r][v] = _mm512_fmadd_ps(x, weights[v], acc[r][v]);
                    }
                }
                w = w.add(N);
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
