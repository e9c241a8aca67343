//! AVX-512 rows.
//!
//! Integers: the bytes of four taps are interleaved, so that a dot product instruction does four taps of a channel.
//! A register holds 64 channels of one pixel, 32 of two or 16 of four, so that few channels fill it too: whole blocks
//! of 64 channels come first, and what is left makes one block of 64, 32 or 16.
//! Interleaving within 128-bit lanes leaves the channels in four registers of which register `j` holds channels
//! `4 * j ..= 4 * j + 3` of each lane; narrowing works within lanes too and puts them back in order. So weights are
//! packed, and bias and multipliers loaded once a call, in that order: no permutation is left in the loop.
//! A single last tap, as of 5x5, needs no interleaving, only zeros between its bytes.
//! 3x3 kernels are interleaved by column, because neighbouring pixels share columns: of a pixel's three columns two (at
//! stride 1) or one (at stride 2) are still there from the pixel before. The pointers tell which.

use super::{FArgs, QArgs, padded};
use crate::requant::{Epilogue, Requant, Scales};
use crate::x86::interleave::{interleave, spread_all};
use crate::x86::lanes::first16;
use crate::x86::rescale::{Aim, Bytes, Fixed16, Float16, Joined, Rescale16, Rounded16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// How many channels the block that starts `rest` channels before the end has: 64, 32 or 16.
const fn width(rest: usize) -> usize {
    match rest {
        0..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

/// Bytes of packed weights: blocks of `[taps / 4][channel in block order][4]`.
pub fn packed(channels: usize, taps: usize) -> usize {
    let rest = channels % 64;
    let last = if rest == 0 { 0 } else { width(rest) };
    (channels - rest + last) * taps.next_multiple_of(4)
}

/// Packs weights given as `w[channel * taps + tap]`.
pub fn pack(w: &[i8], channels: usize, taps: usize, out: &mut [i8]) {
    let mut slots = out.iter_mut();
    for first in (0..channels).step_by(64) {
        let lanes = width(channels - first) / 16;
        for group in (0..taps).step_by(4) {
            for register in 0..4 {
                for lane in 0..lanes {
                    for i in 0..4 {
                        let channel = first + lane * 16 + register * 4 + i;
                        for place in group..group + 4 {
                            let Some(slot) = slots.next() else { return };
                            let tap = if taps == 9 { column_tap(place) } else { place };
                            let here = channel < channels && tap < taps;
                            *slot = if here { w.get(channel * taps + tap).copied().unwrap_or(0) } else { 0 };
                        }
                    }
                }
            }
        }
    }
}

/// The tap of a 3x3 kernel at each of twelve places: three columns of three and one of zeros.
const fn column_tap(place: usize) -> usize {
    if place % 4 == 3 { usize::MAX } else { place % 4 * 3 + place / 4 }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q8(a: &QArgs) {
    let mut w = a.w;
    for first in (0..a.channels).step_by(64) {
        let width = width(a.channels - first);
        // SAFETY: the caller's promise; `w` advances by the weights of a block, as `pack` laid them out.
        unsafe {
            match width {
                16 => block::<4>(a, first, w),
                32 => block::<2>(a, first, w),
                _ => block::<1>(a, first, w),
            }
            w = w.add(width * a.taps.next_multiple_of(4));
        }
    }
}

/// [`pixels`] with or without an offset: together they would cost the common case registers.
macro_rules! pixels {
    ($P:ident, $a:ident, $first:ident, $w:ident, $store:expr) => {
        match $a.offset.is_null() {
            true => pixels::<$P, false>($a, $first, $w, $store),
            false => pixels::<$P, true>($a, $first, $w, $store),
        }
    };
}

/// The channels of a block from `first` on, `P` pixels at once.
///
/// # Safety
/// As [`super::Dw::run`]; `w` are the block's weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block<const P: usize>(a: &QArgs, first: usize, w: *const i8) {
    // SAFETY: bias and multipliers are padded to whole blocks.
    unsafe {
        match &a.epilogue {
            Epilogue::Accumulator => pixels!(P, a, first, w, |pixel: [usize; 4], acc: [__m512i; 4]| {
                for (j, acc) in acc.into_iter().enumerate() {
                    for (lane, acc) in lanes_of(acc).into_iter().enumerate() {
                        let pixel = pixel[lane / (4 / P)];
                        let channel = first + lane % (4 / P) * 16 + j * 4;
                        if pixel < a.pixels && channel < a.channels {
                            let y = a.y.add(pixel * a.y_stride).cast::<i32>().add(channel);
                            _mm_mask_storeu_epi32(y, first16(a.channels - channel) as __mmask8, acc);
                        }
                    }
                }
            }),
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => match how.scales {
                scales if !how.is_default() => {
                    let (m, shift) = match scales {
                        Scales::Float32(m) => (in_lanes::<P>(m.add(first).cast()), [_mm512_setzero_si512(); 4]),
                        Scales::Fixed(m, shift) => (in_lanes::<P>(m.add(first)), in_lanes::<P>(shift.add(first))),
                        Scales::Shift(shift) => ([_mm512_set1_epi32(1); 4], in_lanes::<P>(shift.add(first))),
                    };
                    requantized::<P, Rounded16>(a, first, w, how, m, shift);
                }
                Scales::Float32(m) => {
                    let m = in_lanes::<P>(m.add(first).cast());
                    requantized::<P, Float16>(a, first, w, how, m, m);
                }
                Scales::Fixed(m, shift) => {
                    let (m, shift) = (in_lanes::<P>(m.add(first)), in_lanes::<P>(shift.add(first)));
                    if shift.iter().all(|&shift| Fixed16::fits(shift)) {
                        requantized::<P, Fixed16>(a, first, w, how, m, shift);
                    } else {
                        requantized::<P, Wide16>(a, first, w, how, m, shift);
                    }
                }
                Scales::Shift(shift) => {
                    let (m, shift) = ([_mm512_set1_epi32(1); 4], in_lanes::<P>(shift.add(first)));
                    if shift.iter().all(|&shift| Shift16::fits(shift)) {
                        requantized::<P, Shift16>(a, first, w, how, m, shift);
                    } else {
                        requantized::<P, Wide16>(a, first, w, how, m, shift);
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
unsafe fn requantized<const P: usize, S: Rescale16>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    how: &Requant,
    m: [__m512i; 4],
    shift: [__m512i; 4],
) {
    // SAFETY: outputs are written within the channels, the other tensor is read within a block.
    unsafe {
        let aim = Aim::of(how);
        let by = [
            S::new(m[0], shift[0], aim),
            S::new(m[1], shift[1], aim),
            S::new(m[2], shift[2], aim),
            S::new(m[3], shift[3], aim),
        ];
        match &a.epilogue {
            Epilogue::RequantAdd(_, residual) => {
                let joined = Joined::new(how, &residual.add);
                let bytes = Bytes::new(residual.add.zero_point, residual.add.lo, residual.add.hi);
                pixels!(P, a, first, w, |pixel: [usize; 4], acc: [__m512i; 4]| {
                    let last = a.pixels - 1;
                    let other = |p: usize| residual.r.add(pixel[p].min(last) * residual.r_stride + first);
                    let other = spread_all(load::<P>(other));
                    let mut q = acc;
                    unroll!(4, j => q[j] = joined.apply::<true>(by[j].apply(acc[j]), other[j]));
                    store::<P>(a, pixel, first, bytes.pack_lanes(q[0], q[1], q[2], q[3]));
                });
            }
            Epilogue::Requant(_) | Epilogue::Accumulator => {
                let bytes = Bytes::new(how.zero_point, how.lo, how.hi);
                pixels!(P, a, first, w, |pixel: [usize; 4], acc: [__m512i; 4]| {
                    let mut q = acc;
                    unroll!(4, j => q[j] = by[j].apply(acc[j]));
                    store::<P>(a, pixel, first, bytes.pack_lanes(q[0], q[1], q[2], q[3]));
                });
            }
        }
    }
}

/// The sums of `P` pixels of a block at a time, in block order, handed to `store` with the pixels' numbers.
///
/// The pixels are cut into `P` runs that go side by side, so that the pixel before is the neighbour in each of them.
/// Numbers beyond the last pixel stand for copies of it. With an `OFFSET` the sums of windows are taken too.
///
/// # Safety
/// As [`block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn pixels<const P: usize, const OFFSET: bool>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    mut store: impl FnMut([usize; 4], [__m512i; 4]),
) {
    // SAFETY: `x` has the pointers of all pixels, rows of it are readable for a block from any channel on, weights are
    // whole groups of four taps.
    unsafe {
        let bias = in_lanes::<P>(a.bias.add(first));
        let offset = if OFFSET { in_lanes::<P>(a.offset.add(first)) } else { [_mm512_setzero_si512(); 4] };
        let ones = _mm512_set1_epi8(1);
        let run = a.pixels.div_ceil(P);
        let mut columns = [[_mm512_setzero_si512(); 4]; 3];
        let mut before = [a.x; 4];
        for i in 0..run {
            let at = [i, run + i, 2 * run + i, 3 * run + i];
            let rows = at.map(|pixel| a.x.add(pixel.min(a.pixels - 1) * a.taps));
            let mut acc = bias;
            if a.taps == 9 {
                // Column `now` of these pixels is column `then` of those before.
                let same = |now: usize, then: usize| {
                    i > 0
                        && (0..P).all(|p| {
                            *rows[p].add(now) == *before[p].add(then)
                                && *rows[p].add(now + 3) == *before[p].add(then + 3)
                                && *rows[p].add(now + 6) == *before[p].add(then + 6)
                        })
                };
                let column = |c: usize| {
                    let tap = |tap: usize| load::<P>(|p| (*rows[p].add(tap)).add(first));
                    interleave([tap(c), tap(c + 3), tap(c + 6), _mm512_setzero_si512()])
                };
                if same(0, 1) && same(1, 2) {
                    columns[0] = columns[1];
                    columns[1] = columns[2];
                } else if same(0, 2) {
                    columns[0] = columns[2];
                    columns[1] = column(1);
                } else {
                    columns[0] = column(0);
                    columns[1] = column(1);
                }
                columns[2] = column(2);
                before = rows;
                unroll!(3, c => unroll!(4, j => {
                    let w = weights::<P>(w.add((4 * c + j) * (64 / P)));
                    acc[j] = _mm512_dpbusd_epi32(acc[j], columns[c][j], w);
                }));
                if OFFSET {
                    // What each weight of a channel lacks meets the sum of the window.
                    unroll!(4, j => {
                        let mut sum = _mm512_setzero_si512();
                        unroll!(3, c => sum = _mm512_dpbusd_epi32(sum, columns[c][j], ones));
                        acc[j] = _mm512_add_epi32(acc[j], _mm512_mullo_epi32(sum, offset[j]));
                    });
                }
            } else {
                acc = sums::<P, OFFSET>(a.taps, rows, first, w, bias, offset);
            }
            // Called once, so that it is compiled into the loop.
            store(at, acc);
        }
    }
}

/// The sums of `P` pixels whose pointers are at `rows`.
///
/// # Safety
/// As [`pixels`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn sums<const P: usize, const OFFSET: bool>(
    taps: usize,
    rows: [*const *const u8; 4],
    first: usize,
    mut w: *const i8,
    mut acc: [__m512i; 4],
    offset: [__m512i; 4],
) -> [__m512i; 4] {
    let (zero, ones) = (_mm512_setzero_si512(), _mm512_set1_epi8(1));
    let mut window = [zero; 4];
    let step = 64 / P;
    // SAFETY: the caller's promise.
    unsafe {
        let at = |tap: usize| load::<P>(|p| (*rows[p].add(tap)).add(first));
        let mut tap = 0;
        while tap < taps {
            let x = match taps - tap {
                1 => spread_all(at(tap)),
                2 => interleave([at(tap), at(tap + 1), zero, zero]),
                3 => interleave([at(tap), at(tap + 1), at(tap + 2), zero]),
                _ => interleave([at(tap), at(tap + 1), at(tap + 2), at(tap + 3)]),
            };
            unroll!(4, j => acc[j] = _mm512_dpbusd_epi32(acc[j], x[j], weights::<P>(w.add(step * j))));
            if OFFSET {
                unroll!(4, j => window[j] = _mm512_dpbusd_epi32(window[j], x[j], ones));
            }
            w = w.add(4 * step);
            tap += 4;
        }
        if OFFSET {
            unroll!(4, j => acc[j] = _mm512_add_epi32(acc[j], _mm512_mullo_epi32(window[j], offset[j])));
        }
    }
    acc
}

/// A register of the same block of `P` pixels.
///
/// # Safety
/// Each pointer is readable for a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn load<const P: usize>(at: impl Fn(usize) -> *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        match P {
            1 => _mm512_loadu_si512(at(0).cast()),
            2 => {
                let x = _mm512_castsi256_si512(_mm256_loadu_si256(at(0).cast()));
                _mm512_inserti64x4::<1>(x, _mm256_loadu_si256(at(1).cast()))
            }
            _ => {
                let x = _mm512_castsi128_si512(_mm_loadu_si128(at(0).cast()));
                let x = _mm512_inserti32x4::<1>(x, _mm_loadu_si128(at(1).cast()));
                let x = _mm512_inserti32x4::<2>(x, _mm_loadu_si128(at(2).cast()));
                _mm512_inserti32x4::<3>(x, _mm_loadu_si128(at(3).cast()))
            }
        }
    }
}

/// A register of a block's weights, the same for each pixel.
///
/// # Safety
/// `w` is readable for a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn weights<const P: usize>(w: *const i8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        match P {
            1 => _mm512_loadu_si512(w.cast()),
            2 => _mm512_broadcast_i64x4(_mm256_loadu_si256(w.cast())),
            _ => _mm512_broadcast_i32x4(_mm_loadu_si128(w.cast())),
        }
    }
}

/// Stores the bytes of `P` pixels within the pixels and channels.
///
/// # Safety
/// The output is writable within the pixels and channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn store<const P: usize>(a: &QArgs, pixel: [usize; 4], first: usize, bytes: __m512i) {
    let n = (a.channels - first).min(64 / P);
    let put = |p: usize, bytes: __m512i| {
        if pixel[p] < a.pixels {
            // SAFETY: the caller's promise.
            unsafe { store_bytes(a.y.add(pixel[p] * a.y_stride + first), n, bytes) };
        }
    };
    match P {
        1 => put(0, bytes),
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

/// A block's consecutive integers in block order, the same for each pixel.
///
/// # Safety
/// `from` leads to a block of integers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn in_lanes<const P: usize>(from: *const i32) -> [__m512i; 4] {
    let mut out = [_mm512_setzero_si512(); 4];
    // SAFETY: the caller's promise; lanes repeat after those of one pixel.
    unsafe {
        unroll!(4, j => {
            let lane = |lane: usize| _mm_loadu_si128(from.add(lane % (4 / P) * 16 + 4 * j).cast());
            let x = _mm512_castsi128_si512(lane(0));
            let x = _mm512_inserti32x4::<1>(x, lane(1));
            let x = _mm512_inserti32x4::<2>(x, lane(2));
            out[j] = _mm512_inserti32x4::<3>(x, lane(3));
        });
    }
    out
}

/// The four lanes of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn lanes_of(x: __m512i) -> [__m128i; 4] {
    [
        _mm512_castsi512_si128(x),
        _mm512_extracti32x4_epi32::<1>(x),
        _mm512_extracti32x4_epi32::<2>(x),
        _mm512_extracti32x4_epi32::<3>(x),
    ]
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn f32(a: &FArgs) {
    for first in (0..a.channels).step_by(64) {
        // SAFETY: the caller's promise; V vectors hold the rest of the channels, or all of a whole block.
        unsafe {
            match a.channels - first {
                0..=16 => f32_block::<1>(a, first),
                17..=32 => f32_block::<2>(a, first),
                33..=48 => f32_block::<3>(a, first),
                _ => f32_block::<4>(a, first),
            }
        }
    }
}

/// `V` vectors of channels from `first` on. Four are best: one chain of fused steps would wait for itself.
///
/// # Safety
/// As [`super::Dw::run`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn f32_block<const V: usize>(a: &FArgs, first: usize) {
    let stride = padded(a.channels);
    // SAFETY: weights and bias are padded, rows of `x` and of the other tensor are readable for whole registers,
    // outputs are written within the channels.
    unsafe {
        let bounds = |(lo, hi): (f32, f32)| (_mm512_set1_ps(lo), _mm512_set1_ps(hi));
        // The bounds come first: `max` and `min` give the second operand for a NaN or two zeros.
        let clamp = |v: __m512, (lo, hi): (__m512, __m512)| _mm512_min_ps(hi, _mm512_max_ps(lo, v));
        let clamped = bounds(a.epilogue.clamp);
        for pixel in 0..a.pixels {
            let x = a.x.add(pixel * a.taps);
            let y = a.y.byte_add(pixel * a.y_stride).add(first);
            let mut acc = [_mm512_setzero_ps(); V];
            unroll!(V, v => acc[v] = _mm512_loadu_ps(a.bias.add(first + 16 * v)));
            for tap in 0..a.taps {
                let x = (*x.add(tap)).add(first);
                let w = a.w.add(tap * stride + first);
                unroll!(V, v => {
                    acc[v] = _mm512_fmadd_ps(_mm512_loadu_ps(x.add(16 * v)), _mm512_loadu_ps(w.add(16 * v)), acc[v]);
                });
            }
            unroll!(V, v => acc[v] = clamp(acc[v], clamped));
            if let Some((other, other_stride, second)) = a.epilogue.add {
                let other = other.byte_add(pixel * other_stride).add(first);
                let second = bounds(second);
                unroll!(V, v => {
                    let mask = first16(a.channels - first - 16 * v);
                    let other = _mm512_maskz_loadu_ps(mask, other.add(16 * v));
                    acc[v] = clamp(_mm512_add_ps(acc[v], other), second);
                });
            }
            unroll!(V, v => _mm512_mask_storeu_ps(y.add(16 * v), first16(a.channels - first - 16 * v), acc[v]));
        }
    }
}
