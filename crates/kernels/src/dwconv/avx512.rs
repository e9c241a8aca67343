//! AVX-512 rows.
//!
//! Integers: the bytes of four taps are interleaved, so that a dot product instruction does four taps of a channel.
//! Interleaving 64 channels within 128-bit lanes leaves them in four registers of which register `j` holds channels
//! `4 * j ..= 4 * j + 3` of each lane; narrowing works within lanes too and puts them back in order. So weights are
//! packed, and bias and multipliers shuffled once a call, in that order: no permutation is left in the loop.
//! A single last tap, as of 3x3 and 5x5, needs no interleaving, only zeros between its bytes.
//! Up to 16 channels at the end are a block of their own, of the same steps on 128-bit registers.

use super::{FArgs, QArgs, padded};
use crate::requant::{Epilogue, Requant, Scales};
use crate::x86::lanes::first16;
use crate::x86::rescale::{Bytes, Fixed16, Float16, Joined, Rescale16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Channels of a whole block.
const BLOCK: usize = 64;
/// Channels of the small block.
const SMALL: usize = 16;

/// Blocks of 64 channels; the last may reach beyond the channels, unless a small block takes it.
const fn whole_blocks(channels: usize) -> usize {
    let rest = channels % BLOCK;
    channels / BLOCK + if rest > SMALL { 1 } else { 0 }
}

/// Bytes of packed weights: blocks of `[taps / 4][channel in block order][4]`.
pub fn packed(channels: usize, taps: usize) -> usize {
    let rest = channels % BLOCK;
    let small = if rest > 0 && rest <= SMALL { SMALL } else { 0 };
    (whole_blocks(channels) * BLOCK + small) * taps.next_multiple_of(4)
}

/// Packs weights given as `w[channel * taps + tap]`.
pub fn pack(w: &[i8], channels: usize, taps: usize, out: &mut [i8]) {
    let whole = whole_blocks(channels);
    let mut slots = out.iter_mut();
    for block in 0..channels.div_ceil(BLOCK) {
        let lanes = if block < whole { 4 } else { 1 };
        for group in (0..taps).step_by(4) {
            for register in 0..4 {
                for lane in 0..lanes {
                    for i in 0..4 {
                        let channel = block * BLOCK + lane * 16 + register * 4 + i;
                        for tap in group..group + 4 {
                            let Some(slot) = slots.next() else { return };
                            let here = channel < channels && tap < taps;
                            *slot = if here { w.get(channel * taps + tap).copied().unwrap_or(0) } else { 0 };
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`super::QDw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q8(a: &QArgs) {
    let mut w = a.w;
    let mut first = 0;
    while first < a.channels {
        // SAFETY: the caller's promise; `w` advances by the weights of a block, as `pack` laid them out.
        unsafe {
            if a.channels - first > SMALL {
                block(a, first, w);
                w = w.add(BLOCK * a.taps.next_multiple_of(4));
            } else {
                small_block(a, first, w);
            }
        }
        first += BLOCK;
    }
}

/// 64 channels from `first` on.
///
/// # Safety
/// As [`super::QDw::run`]; `w` are the block's weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block(a: &QArgs, first: usize, w: *const i8) {
    // SAFETY: bias and multipliers are padded to whole blocks.
    unsafe {
        match &a.epilogue {
            Epilogue::Accumulator => {
                let order = [0, 1, 2, 3].map(|j: i32| {
                    let lane = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51);
                    _mm512_add_epi32(lane, _mm512_set1_epi32(4 * j))
                });
                let inside = _mm512_set1_epi32((a.channels - first).min(BLOCK) as i32);
                pixels(a, first, w, |pixel, acc| {
                    let y = a.y.add(pixel * a.y_stride).cast::<i32>().add(first);
                    unroll!(4, j => {
                        let mask = _mm512_cmplt_epi32_mask(order[j], inside);
                        _mm512_mask_i32scatter_epi32::<4>(y, mask, order[j], acc[j]);
                    });
                });
            }
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => match how.scales {
                Scales::Float32(m) => {
                    let m = in_lanes(m.add(first).cast());
                    requantized::<Float16>(a, first, w, how, m, m);
                }
                Scales::Fixed(m, shift) => {
                    let (m, shift) = (in_lanes(m.add(first)), in_lanes(shift.add(first)));
                    if shift.iter().all(|&shift| Fixed16::fits(shift)) {
                        requantized::<Fixed16>(a, first, w, how, m, shift);
                    } else {
                        requantized::<Wide16>(a, first, w, how, m, shift);
                    }
                }
                Scales::Shift(shift) => {
                    let (m, shift) = ([_mm512_set1_epi32(1); 4], in_lanes(shift.add(first)));
                    if shift.iter().all(|&shift| Shift16::fits(shift)) {
                        requantized::<Shift16>(a, first, w, how, m, shift);
                    } else {
                        requantized::<Wide16>(a, first, w, how, m, shift);
                    }
                }
            },
        }
    }
}

/// A block that is requantized, and joined by another tensor where there is one.
///
/// # Safety
/// As [`block`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn requantized<S: Rescale16>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    how: &Requant,
    m: [__m512i; 4],
    shift: [__m512i; 4],
) {
    let n = (a.channels - first).min(BLOCK);
    // SAFETY: outputs are written and the other tensor is read within the channels.
    unsafe {
        let top = how.hi - how.zero_point;
        let by = [
            S::new(m[0], shift[0], top),
            S::new(m[1], shift[1], top),
            S::new(m[2], shift[2], top),
            S::new(m[3], shift[3], top),
        ];
        match &a.epilogue {
            Epilogue::RequantAdd(_, residual) => {
                let joined = Joined::new(how, &residual.add);
                let bytes = Bytes::new(residual.add.zero_point, residual.add.lo, residual.add.hi);
                let mask = crate::x86::lanes::first64(n);
                pixels(a, first, w, |pixel, acc| {
                    let other = residual.r.add(pixel * residual.r_stride + first);
                    let other = interleave([
                        _mm512_maskz_loadu_epi8(mask, other.cast()),
                        _mm512_setzero_si512(),
                        _mm512_setzero_si512(),
                        _mm512_setzero_si512(),
                    ]);
                    let [p, q, r, s] = [0, 1, 2, 3].map(|j| joined.apply(by[j].apply(acc[j]), other[j]));
                    let y = a.y.add(pixel * a.y_stride + first);
                    store_bytes(y, n, bytes.pack_lanes(p, q, r, s));
                });
            }
            Epilogue::Requant(_) | Epilogue::Accumulator => {
                let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
                pixels(a, first, w, |pixel, acc| {
                    let packed = bytes.pack_lanes(
                        by[0].apply(acc[0]),
                        by[1].apply(acc[1]),
                        by[2].apply(acc[2]),
                        by[3].apply(acc[3]),
                    );
                    store_bytes(a.y.add(pixel * a.y_stride + first), n, packed);
                });
            }
        }
    }
}

/// The sums of each pixel of a block, in block order, handed to `store`.
///
/// # Safety
/// As [`block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn pixels(a: &QArgs, first: usize, w: *const i8, mut store: impl FnMut(usize, [__m512i; 4])) {
    // SAFETY: rows of `x` are readable for 64 bytes from any channel on, weights are whole groups of four taps.
    unsafe {
        let bias = in_lanes(a.bias.add(first));
        for pixel in 0..a.pixels {
            let x = a.x.add(pixel * a.taps);
            let load = |tap: usize| _mm512_loadu_si512((*x.add(tap)).add(first).cast());
            let zero = _mm512_setzero_si512();
            let mut acc = bias;
            let mut w = w;
            let mut tap = 0;
            while tap + 4 <= a.taps {
                let x = interleave([load(tap), load(tap + 1), load(tap + 2), load(tap + 3)]);
                unroll!(4, j => acc[j] = _mm512_dpbusd_epi32(acc[j], x[j], _mm512_loadu_si512(w.add(64 * j).cast())));
                w = w.add(256);
                tap += 4;
            }
            let x = match a.taps - tap {
                0 => {
                    store(pixel, acc);
                    continue;
                }
                1 => spread(load(tap)),
                2 => interleave([load(tap), load(tap + 1), zero, zero]),
                _ => interleave([load(tap), load(tap + 1), load(tap + 2), zero]),
            };
            unroll!(4, j => acc[j] = _mm512_dpbusd_epi32(acc[j], x[j], _mm512_loadu_si512(w.add(64 * j).cast())));
            store(pixel, acc);
        }
    }
}

/// The bytes of four taps side by side, channels in block order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn interleave(x: [__m512i; 4]) -> [__m512i; 4] {
    let low = [_mm512_unpacklo_epi8(x[0], x[1]), _mm512_unpacklo_epi8(x[2], x[3])];
    let high = [_mm512_unpackhi_epi8(x[0], x[1]), _mm512_unpackhi_epi8(x[2], x[3])];
    [
        _mm512_unpacklo_epi16(low[0], low[1]),
        _mm512_unpackhi_epi16(low[0], low[1]),
        _mm512_unpacklo_epi16(high[0], high[1]),
        _mm512_unpackhi_epi16(high[0], high[1]),
    ]
}

/// [`interleave`] of one tap and three of zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn spread(x: __m512i) -> [__m512i; 4] {
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

/// 64 consecutive integers in block order.
///
/// # Safety
/// `from` leads to 64 integers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn in_lanes(from: *const i32) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = unsafe {
        [
            _mm512_loadu_si512(from.cast()),
            _mm512_loadu_si512(from.add(16).cast()),
            _mm512_loadu_si512(from.add(32).cast()),
            _mm512_loadu_si512(from.add(48).cast()),
        ]
    };
    // The transpose of four by four lanes.
    let [ab, cd] = [_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d)];
    let [ab2, cd2] = [_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d)];
    [
        _mm512_shuffle_i32x4::<0x88>(ab, cd),
        _mm512_shuffle_i32x4::<0xdd>(ab, cd),
        _mm512_shuffle_i32x4::<0x88>(ab2, cd2),
        _mm512_shuffle_i32x4::<0xdd>(ab2, cd2),
    ]
}

/// At most 16 channels from `first` on. Their four registers of four channels make one of sixteen.
///
/// # Safety
/// As [`super::QDw::run`]; `w` are the block's weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn small_block(a: &QArgs, first: usize, w: *const i8) {
    let n = a.channels - first;
    // SAFETY: bias and multipliers are padded to 64 channels; outputs are written within the channels.
    unsafe {
        match &a.epilogue {
            Epilogue::Accumulator => small_pixels(a, first, w, |pixel, acc| {
                let y = a.y.add(pixel * a.y_stride).cast::<i32>().add(first);
                _mm512_mask_storeu_epi32(y, first16(n), acc);
            }),
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => match how.scales {
                Scales::Float32(m) => {
                    let m = _mm512_loadu_si512(m.add(first).cast());
                    small_requantized::<Float16>(a, first, w, how, m, m);
                }
                Scales::Fixed(m, shift) => {
                    let m = _mm512_loadu_si512(m.add(first).cast());
                    let shift = _mm512_loadu_si512(shift.add(first).cast());
                    if Fixed16::fits(shift) {
                        small_requantized::<Fixed16>(a, first, w, how, m, shift);
                    } else {
                        small_requantized::<Wide16>(a, first, w, how, m, shift);
                    }
                }
                Scales::Shift(shift) => {
                    let one = _mm512_set1_epi32(1);
                    let shift = _mm512_loadu_si512(shift.add(first).cast());
                    if Shift16::fits(shift) {
                        small_requantized::<Shift16>(a, first, w, how, one, shift);
                    } else {
                        small_requantized::<Wide16>(a, first, w, how, one, shift);
                    }
                }
            },
        }
    }
}

/// [`requantized`] for a small block.
///
/// # Safety
/// As [`small_block`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn small_requantized<S: Rescale16>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    how: &Requant,
    m: __m512i,
    shift: __m512i,
) {
    let n = a.channels - first;
    // SAFETY: outputs are written and the other tensor is read within the channels.
    unsafe {
        let by = S::new(m, shift, how.hi - how.zero_point);
        match &a.epilogue {
            Epilogue::RequantAdd(_, residual) => {
                let joined = Joined::new(how, &residual.add);
                let bytes = Bytes::new(residual.add.zero_point, residual.add.lo, residual.add.hi);
                small_pixels(a, first, w, |pixel, acc| {
                    let other = residual.r.add(pixel * residual.r_stride + first);
                    let other = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first16(n), other.cast()));
                    let q = joined.apply(by.apply(acc), other);
                    store_bytes(a.y.add(pixel * a.y_stride + first), n, bytes.pack(q, q, q, q));
                });
            }
            Epilogue::Requant(_) | Epilogue::Accumulator => {
                let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
                small_pixels(a, first, w, |pixel, acc| {
                    let q = by.apply(acc);
                    store_bytes(a.y.add(pixel * a.y_stride + first), n, bytes.pack(q, q, q, q));
                });
            }
        }
    }
}

/// The sums of each pixel of a small block, handed to `store`.
///
/// # Safety
/// As [`small_block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn small_pixels(a: &QArgs, first: usize, w: *const i8, mut store: impl FnMut(usize, __m512i)) {
    // SAFETY: rows of `x` are readable for 16 bytes from any channel on, weights are whole groups of four taps.
    unsafe {
        let bias = _mm512_loadu_si512(a.bias.add(first).cast());
        // From four taps of sixteen channels, a tap a lane, to sixteen channels of four taps.
        let gather = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let turn = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        for pixel in 0..a.pixels {
            let x = a.x.add(pixel * a.taps);
            let load = |tap: usize| _mm_loadu_si128((*x.add(tap)).add(first).cast());
            let zero = _mm_setzero_si128();
            let mut acc = bias;
            let mut w = w;
            let mut tap = 0;
            while tap < a.taps {
                let rest = a.taps - tap;
                let x = _mm512_castsi128_si512(load(tap));
                let x = _mm512_inserti32x4::<1>(x, if rest > 1 { load(tap + 1) } else { zero });
                let x = _mm512_inserti32x4::<2>(x, if rest > 2 { load(tap + 2) } else { zero });
                let x = _mm512_inserti32x4::<3>(x, if rest > 3 { load(tap + 3) } else { zero });
                let x = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(gather, x), turn);
                acc = _mm512_dpbusd_epi32(acc, x, _mm512_loadu_si512(w.cast()));
                w = w.add(64);
                tap += 4;
            }
            store(pixel, acc);
        }
    }
}

/// # Safety
/// As [`super::FDw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn f32(a: &FArgs) {
    let stride = padded(a.channels);
    // SAFETY: weights and bias are padded; inputs, outputs and the other tensor are accessed within the channels.
    unsafe {
        let bounds = |(lo, hi): (f32, f32)| (_mm512_set1_ps(lo), _mm512_set1_ps(hi));
        // The bounds come first: `max` and `min` give the second operand for a NaN or two zeros.
        let clamp = |v: __m512, (lo, hi): (__m512, __m512)| _mm512_min_ps(hi, _mm512_max_ps(lo, v));
        let clamped = bounds(a.epilogue.clamp);
        for pixel in 0..a.pixels {
            let x = a.x.add(pixel * a.taps);
            let y = a.y.byte_add(pixel * a.y_stride);
            let mut first = 0;
            while first < a.channels {
                // Four registers at once, because one chain of fused steps would wait for itself.
                let masks = [0, 16, 32, 48].map(|i| first16(a.channels.saturating_sub(first + i)));
                let mut acc = [_mm512_setzero_ps(); 4];
                unroll!(4, j => acc[j] = _mm512_loadu_ps(a.bias.add(first + 16 * j)));
                for tap in 0..a.taps {
                    let x = (*x.add(tap)).add(first);
                    let w = a.w.add(tap * stride + first);
                    unroll!(4, j => {
                        let x = _mm512_maskz_loadu_ps(masks[j], x.wrapping_add(16 * j));
                        acc[j] = _mm512_fmadd_ps(x, _mm512_loadu_ps(w.add(16 * j)), acc[j]);
                    });
                }
                unroll!(4, j => {
                    let mut v = clamp(acc[j], clamped);
                    if let Some((other, other_stride, second)) = a.epilogue.add {
                        let other = other.byte_add(pixel * other_stride).wrapping_add(first + 16 * j);
                        v = clamp(_mm512_add_ps(v, _mm512_maskz_loadu_ps(masks[j], other)), bounds(second));
                    }
                    _mm512_mask_storeu_ps(y.wrapping_add(first + 16 * j), masks[j], v);
                });
                first += 64;
            }
        }
    }
}
