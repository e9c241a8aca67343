//! AVX-512 rows.
//!
//! Depthwise 3x3: a register holds 64 bytes of an output row, whatever pixels they belong to. At stride 1 the bytes under a
//! tap are the input row's bytes some pixels further on; at stride 2 every other pixel of 8, 16 or 32 channels is picked
//! out of two registers. Which channels a register holds repeats after some registers: this is the period, and each phase
//! of it has its own weights. Four taps are interleaved for a dot product as in `dwconv`, in the same order of channels.
//!
//! Few input channels: the lanes are 16 neighbouring output pixels, and the weights are broadcast. What all the pixels
//! read of an input row lies in two registers, out of which a byte permutation takes the next four bytes of each pixel's
//! window; these run over the taps of a kernel row without a gap.

use super::{QArgs, Shape};
use crate::requant::Scales;
use crate::x86::interleave::{interleave, spread_all};
use crate::x86::rescale::{Aim, Bytes, Fixed16, Float16, Rescale16, Rounded16, Shift16, Wide16, store_bytes};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Output pixels that `full` computes together.
const PIXELS: usize = 16;
/// Bytes of an input row that it permutes.
const WINDOW: usize = 128;
/// The most groups of four bytes that it takes of all kernel rows together.
const GROUPS: usize = 48;

/// Bytes of weights of a phase: three groups of four taps (the last has one) by the registers of a block.
const PHASE: usize = 3 * 4 * 64;

/// Layers for [`depthwise`]. With more channels `dwconv` is faster, which keeps columns from pixel to pixel.
pub fn depthwise_suits(shape: &Shape) -> bool {
    let stride = match shape.strides[1] {
        1 => shape.channels.is_multiple_of(8) && shape.channels <= 96,
        2 => matches!(shape.channels, 8 | 16 | 32),
        _ => false,
    };
    shape.depthwise
        && !shape.residual
        && shape.kernel == [3, 3]
        && stride
        && shape.channels > 0
        && shape.outputs == shape.channels
}

/// Registers of a row after which the same channels come again; channels are a multiple of 8.
fn period(channels: usize) -> usize {
    channels / (1 << channels.trailing_zeros().min(6))
}

/// Bytes of packed weights: whole registers.
pub fn depthwise_packed(shape: &Shape) -> usize {
    period(shape.channels) * PHASE
}

/// Packs `[phase][taps / 4][byte of the block in block order][4]`.
pub fn depthwise_pack(shape: &Shape, w: &[i8], out: &mut [i8]) {
    for (phase, out) in out.chunks_exact_mut(PHASE).enumerate() {
        for (i, slot) in out.iter_mut().enumerate() {
            let (group, register, lane, byte, tap) = (i / 256, i / 64 % 4, i / 16 % 4, i / 4 % 4, i % 4);
            let channel = (phase * 64 + lane * 16 + register * 4 + byte) % shape.channels;
            let tap = group * 4 + tap;
            *slot = if tap < 9 { w.get(channel * 9 + tap).copied().unwrap_or(0) } else { 0 };
        }
    }
}

/// # Safety
/// As [`super::QRow::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn depthwise(a: &QArgs) {
    let ones = [_mm512_set1_epi32(1); 4];
    for phase in 0..period(a.shape.channels) {
        let fours = fours(phase, a.shape.channels);
        // SAFETY: there is a multiplier for every channel.
        let block = |from: *const i32| unsafe { block(from, &fours) };
        // SAFETY: and a bias.
        let bias = block(a.bias);
        // SAFETY: the caller's promise.
        unsafe {
            match a.requant.scales {
                scales if !a.requant.is_default() => {
                    let (m, shift) = match scales {
                        Scales::Float32(m) => (block(m.cast()), [_mm512_setzero_si512(); 4]),
                        Scales::Fixed(m, shift) => (block(m), block(shift)),
                        Scales::Shift(shift) => (ones, block(shift)),
                    };
                    depthwise_by::<Rounded16>(a, phase, bias, m, shift);
                }
                Scales::Float32(m) => {
                    let m = block(m.cast());
                    depthwise_by::<Float16>(a, phase, bias, m, m);
                }
                Scales::Fixed(m, shift) => {
                    let (m, shift) = (block(m), block(shift));
                    if shift.iter().all(|&shift| Fixed16::fits(shift)) {
                        depthwise_by::<Fixed16>(a, phase, bias, m, shift);
                    } else {
                        depthwise_by::<Wide16>(a, phase, bias, m, shift);
                    }
                }
                Scales::Shift(shift) => {
                    let shift = block(shift);
                    if shift.iter().all(|&shift| Shift16::fits(shift)) {
                        depthwise_by::<Shift16>(a, phase, bias, ones, shift);
                    } else {
                        depthwise_by::<Wide16>(a, phase, bias, ones, shift);
                    }
                }
            }
        }
    }
}

/// The first channel of each four of a phase.
fn fours(phase: usize, channels: usize) -> [usize; 16] {
    let mut at = phase * 64 % channels;
    core::array::from_fn(|_| {
        let here = at;
        at += 4;
        if at >= channels {
            at -= channels;
        }
        here
    })
}

/// A phase's integers in block order, one a channel.
///
/// # Safety
/// `from` leads to four integers from each of `fours` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block(from: *const i32, fours: &[usize; 16]) -> [__m512i; 4] {
    let mut out = [_mm512_setzero_si512(); 4];
    unroll!(4, j => {
        // SAFETY: the caller's promise.
        let lane = |lane: usize| unsafe { _mm_loadu_si128(from.add(fours[4 * lane + j]).cast()) };
        let x = _mm512_castsi128_si512(lane(0));
        let x = _mm512_inserti32x4::<1>(x, lane(1));
        let x = _mm512_inserti32x4::<2>(x, lane(2));
        out[j] = _mm512_inserti32x4::<3>(x, lane(3));
    });
    out
}

/// # Safety
/// As [`super::QRow::run`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn depthwise_by<S: Rescale16>(
    a: &QArgs,
    phase: usize,
    bias: [__m512i; 4],
    m: [__m512i; 4],
    shift: [__m512i; 4],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match a.shape.strides[1] {
            1 if a.offset.is_null() => depthwise_phase::<S, 1, false>(a, phase, bias, m, shift),
            1 => depthwise_phase::<S, 1, true>(a, phase, bias, m, shift),
            _ if a.offset.is_null() => depthwise_phase::<S, 2, false>(a, phase, bias, m, shift),
            _ => depthwise_phase::<S, 2, true>(a, phase, bias, m, shift),
        }
    }
}

/// # Safety
/// As [`super::QRow::run`], at `STRIDE`, 1 or 2, with an `OFFSET` or none; bias and multipliers are the phase's in block order.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn depthwise_phase<S: Rescale16, const STRIDE: usize, const OFFSET: bool>(
    a: &QArgs,
    phase: usize,
    bias: [__m512i; 4],
    m: [__m512i; 4],
    shift: [__m512i; 4],
) {
    let channels = a.shape.channels;
    let n = a.pixels * channels;
    let (even, odd) = every_other(channels);
    let bytes = Bytes::new(a.requant.zero_point, a.requant.lo, a.requant.hi);
    let aim = Aim::of(&a.requant);
    // SAFETY: the shape suits, so there are three rows. A block reads up to 128 bytes from its own first byte of a row
    // under a tap on, which is within the slack; weights are whole registers; outputs are written within n.
    unsafe {
        let w = a.w.add(phase * PHASE);
        let by = [
            S::new(m[0], shift[0], aim),
            S::new(m[1], shift[1], aim),
            S::new(m[2], shift[2], aim),
            S::new(m[3], shift[3], aim),
        ];
        let offset = if OFFSET { block(a.offset, &fours(phase, channels)) } else { [_mm512_setzero_si512(); 4] };
        let one = _mm512_set1_epi8(1);
        let load = |at: *const u8| _mm512_loadu_si512(at.cast());
        let blocks = || (64 * phase..n).step_by(64 * period(channels));
        for (line, at) in (0..a.lines).flat_map(|line| blocks().map(move |at| (line, at))) {
            let rows = [a.row(line, 0), a.row(line, 1), a.row(line, 2)];
            let mut x = [_mm512_setzero_si512(); 9];
            unroll!(3, ky => {
                let row = rows[ky].add(at * STRIDE);
                if STRIDE == 1 {
                    unroll!(3, kx => x[3 * ky + kx] = load(row.add(kx * channels)));
                } else {
                    let (low, high) = (load(row), load(row.add(64)));
                    x[3 * ky] = _mm512_permutex2var_epi64(low, even, high);
                    x[3 * ky + 1] = _mm512_permutex2var_epi64(low, odd, high);
                    let (low, high) = (load(row.add(2 * channels)), load(row.add(2 * channels + 64)));
                    x[3 * ky + 2] = _mm512_permutex2var_epi64(low, even, high);
                }
            });
            let taps = [interleave([x[0], x[1], x[2], x[3]]), interleave([x[4], x[5], x[6], x[7]]), spread_all(x[8])];
            let mut acc = bias;
            unroll!(3, group => unroll!(4, j => {
                let w = _mm512_loadu_si512(w.add(64 * (4 * group + j)).cast());
                acc[j] = _mm512_dpbusd_epi32(acc[j], taps[group][j], w);
            }));
            if OFFSET {
                // What each weight of a channel lacks meets the sum of the window.
                unroll!(4, j => {
                    let mut sum = _mm512_setzero_si512();
                    unroll!(3, group => sum = _mm512_dpbusd_epi32(sum, taps[group][j], one));
                    acc[j] = _mm512_add_epi32(acc[j], _mm512_mullo_epi32(sum, offset[j]));
                });
            }
            unroll!(4, j => acc[j] = by[j].apply(acc[j]));
            store_bytes(a.y.add(line * n + at), (n - at).min(64), bytes.pack_lanes(acc[0], acc[1], acc[2], acc[3]));
        }
    }
}

/// Where the even and the odd pixels of two registers lie, in eights of bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn every_other(channels: usize) -> (__m512i, __m512i) {
    let pixel = (channels / 8).max(1);
    let mut even = [0i64; 8];
    for (i, even) in even.iter_mut().enumerate() {
        *even = (i / pixel * 2 * pixel + i % pixel) as i64;
    }
    // SAFETY: eight integers are one register.
    let even = unsafe { _mm512_loadu_si512(even.as_ptr().cast()) };
    (even, _mm512_add_epi64(even, _mm512_set1_epi64(pixel as i64)))
}

/// Layers for [`full`].
pub fn full_suits(shape: &Shape) -> bool {
    !shape.depthwise
        && !shape.residual
        && shape.row_bytes(PIXELS) <= WINDOW
        && groups(shape) <= GROUPS
        && shape.taps() > 1
}

/// Groups of four bytes of a kernel row.
fn row_groups(shape: &Shape) -> usize {
    shape.run().div_ceil(4)
}

/// Groups of all kernel rows.
fn groups(shape: &Shape) -> usize {
    shape.kernel[0] * row_groups(shape)
}

/// How many channels the block that starts `rest` channels before the end has: 16 or 8.
const fn width(rest: usize) -> usize {
    if rest > 8 { 16 } else { 8 }
}

/// Bytes of packed weights: blocks of 16 channels, the last perhaps of 8.
pub fn full_packed(shape: &Shape) -> usize {
    shape.outputs.next_multiple_of(8) * groups(shape) * 4
}

/// Packs `[block of channels][kernel row][group of its bytes][channel][4]`.
pub fn full_pack(shape: &Shape, w: &[i8], out: &mut [i8]) {
    let (row, k) = (shape.kernel[1] * shape.channels, shape.channels);
    let mut slots = out.iter_mut();
    for first in (0..shape.outputs).step_by(16) {
        for ky in 0..shape.kernel[0] {
            for group in 0..row_groups(shape) {
                for output in first..first + width(shape.outputs - first) {
                    for i in group * 4..group * 4 + 4 {
                        let Some(slot) = slots.next() else { return };
                        let at = output * shape.taps() * k + ky * row + i;
                        *slot = if output < shape.outputs && i < row { w.get(at).copied().unwrap_or(0) } else { 0 };
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`super::QRow::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub unsafe fn full(a: &QArgs) {
    // SAFETY: the caller's promise: there is a shift for each channel.
    let all = |shift: *const i32, least: i32| unsafe { (0..a.shape.outputs).all(|c| *shift.add(c) >= least) };
    // SAFETY: passed on.
    unsafe {
        match a.requant.scales {
            scales if !a.requant.is_default() => {
                let (m, shift) = match scales {
                    Scales::Float32(m) => (m.cast(), m.cast()),
                    Scales::Fixed(m, shift) => (m, shift),
                    Scales::Shift(shift) => (core::ptr::null(), shift),
                };
                full_with::<Rounded16>(a, m, shift);
            }
            Scales::Float32(m) => full_with::<Float16>(a, m.cast(), m.cast()),
            Scales::Fixed(m, shift) if all(shift, Fixed16::LEAST) => full_with::<Fixed16>(a, m, shift),
            Scales::Fixed(m, shift) => full_with::<Wide16>(a, m, shift),
            Scales::Shift(shift) if all(shift, Shift16::LEAST) => full_with::<Shift16>(a, core::ptr::null(), shift),
            Scales::Shift(shift) => full_with::<Wide16>(a, core::ptr::null(), shift),
        }
    }
}

/// # Safety
/// As [`full_by`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn full_with<S: Rescale16>(a: &QArgs, m: *const i32, shift: *const i32) {
    // SAFETY: passed on.
    unsafe {
        match a.offset.is_null() {
            true => full_by::<S, false>(a, m, shift),
            false => full_by::<S, true>(a, m, shift),
        }
    }
}

/// Multipliers `m`, all 1 if null.
///
/// # Safety
/// As [`super::QRow::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn full_by<S: Rescale16, const OFFSET: bool>(a: &QArgs, m: *const i32, shift: *const i32) {
    let shape = &a.shape;
    let per_row = row_groups(shape);
    let step = shape.step();
    let mut window = [0u8; 64];
    for (i, at) in window.iter_mut().enumerate() {
        *at = (i / 4 * step + i % 4) as u8;
    }
    let mut x = [_mm512_setzero_si512(); GROUPS];
    // SAFETY: the shape suits, so the windows of 16 pixels lie in 128 bytes (what a permutation takes from beyond a
    // kernel row meets zero weights), and all groups in `x`. A row is readable for 128 bytes from any pixel on.
    unsafe {
        let window = _mm512_loadu_si512(window.as_ptr().cast());
        let blocks = || (0..a.pixels).step_by(PIXELS);
        for (line, first) in (0..a.lines).flat_map(|line| blocks().map(move |first| (line, first))) {
            let mut slots = x.iter_mut();
            for ky in 0..shape.kernel[0] {
                let row = a.row(line, ky).add(first * step);
                let (low, high) = (_mm512_loadu_si512(row.cast()), _mm512_loadu_si512(row.add(64).cast()));
                for (group, slot) in (0..per_row).zip(&mut slots) {
                    let at = _mm512_add_epi8(window, _mm512_set1_epi8(4 * group as i8));
                    *slot = _mm512_permutex2var_epi8(low, at, high);
                }
            }
            let x = x.get(..groups(shape)).unwrap_or(&[]);
            // Counted by weights of 1, but for what lies beyond a kernel row.
            let mut window = _mm512_setzero_si512();
            if OFFSET {
                let row = shape.kernel[1] * shape.channels;
                for (i, &x) in x.iter().enumerate() {
                    let here = (row - i % per_row * 4).min(4) as u32;
                    let ones = _mm512_set1_epi32((0x0101_0101u32 >> (32 - 8 * here)) as i32);
                    window = _mm512_dpbusd_epi32(window, x, ones);
                }
            }
            let mut w = a.w;
            for channel in (0..shape.outputs).step_by(16) {
                let width = width(shape.outputs - channel);
                match width {
                    8 => full_block::<S, 2, OFFSET>(a, x, window, w, m, shift, line, first, channel),
                    _ => full_block::<S, 4, OFFSET>(a, x, window, w, m, shift, line, first, channel),
                }
                w = w.add(width * 4 * x.len());
            }
        }
    }
}

/// 16 pixels from `first` on of a line, of `4 * Q` channels from `channel` on.
///
/// # Safety
/// As [`super::QRow::run`]; `w` are the block's weights for the groups `x`, `window` the sums of what the pixels read if
/// there is an offset.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
#[allow(clippy::too_many_arguments, reason = "one block of a loop over three")]
unsafe fn full_block<S: Rescale16, const Q: usize, const OFFSET: bool>(
    a: &QArgs,
    x: &[__m512i],
    window: __m512i,
    mut w: *const i8,
    m: *const i32,
    shift: *const i32,
    line: usize,
    first: usize,
    channel: usize,
) {
    let (outputs, y_stride) = (a.shape.outputs, a.y_stride);
    // SAFETY: bias and multipliers are padded to whole blocks, weights are as many as `x` and the block ask for, and
    // outputs are written within the pixels and channels.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); 4]; Q];
        unroll!(Q, q => unroll!(4, i => acc[q][i] = _mm512_set1_epi32(*a.bias.add(channel + 4 * q + i))));
        for &x in x {
            unroll!(Q, q => unroll!(4, i => {
                let w = _mm512_set1_epi32(w.add(16 * q + 4 * i).cast::<i32>().read_unaligned());
                acc[q][i] = _mm512_dpbusd_epi32(acc[q][i], x, w);
            }));
            w = w.add(16 * Q);
        }
        if OFFSET {
            unroll!(Q, q => unroll!(4, i => {
                let offset = _mm512_set1_epi32(*a.offset.add(channel + 4 * q + i));
                acc[q][i] = _mm512_add_epi32(acc[q][i], _mm512_mullo_epi32(window, offset));
            }));
        }
        let bytes = Bytes::new(a.requant.zero_point, a.requant.lo, a.requant.hi);
        let aim = Aim::of(&a.requant);
        // In each lane four channels of four pixels become four pixels of four channels.
        let turn = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        let mut quads = [_mm512_setzero_si512(); Q];
        unroll!(Q, q => {
            unroll!(4, i => {
                let at = channel + 4 * q + i;
                let m = _mm512_set1_epi32(if m.is_null() { 1 } else { *m.add(at) });
                acc[q][i] = S::new(m, _mm512_set1_epi32(*shift.add(at)), aim).apply(acc[q][i]);
            });
            let packed = bytes.pack_lanes(acc[q][0], acc[q][1], acc[q][2], acc[q][3]);
            quads[q] = _mm512_shuffle_epi8(packed, turn);
        });
        let pixels = (a.pixels - first).min(PIXELS);
        let y = a.y.add((line * a.pixels + first) * y_stride + channel);
        let low = _mm512_unpacklo_epi32(quads[0], quads[1]);
        let high = _mm512_unpackhi_epi32(quads[0], quads[1]);
        // Whole registers have no room for what others write into the same pixels.
        if Q == 2 && a.shape.outputs == 8 && y_stride == 8 {
            // Lane l has pixels 4l and 4l + 1 in `low`, the next two in `high`.
            let to = |i: i64| _mm512_setr_epi64(i, i + 1, i + 8, i + 9, i + 2, i + 3, i + 10, i + 11);
            store_bytes(y, (8 * pixels).min(64), _mm512_permutex2var_epi64(low, to(0), high));
            if pixels > 8 {
                store_bytes(y.add(64), 8 * (pixels - 8), _mm512_permutex2var_epi64(low, to(4), high));
            }
            return;
        }
        let (last_low, last_high) = match Q {
            2 => (low, high),
            _ => (_mm512_unpacklo_epi32(quads[2 % Q], quads[3 % Q]), _mm512_unpackhi_epi32(quads[2 % Q], quads[3 % Q])),
        };
        // Register i has pixel 4l + i in lane l.
        let rows = [
            _mm512_unpacklo_epi64(low, last_low),
            _mm512_unpackhi_epi64(low, last_low),
            _mm512_unpacklo_epi64(high, last_high),
            _mm512_unpackhi_epi64(high, last_high),
        ];
        let n = (outputs - channel).min(4 * Q);
        let put = |pixel: usize, bytes: __m128i| {
            if pixel < pixels {
                store_bytes(y.add(pixel * y_stride), n, _mm512_castsi128_si512(bytes));
            }
        };
        unroll!(4, i => {
            put(i, _mm512_castsi512_si128(rows[i]));
            put(4 + i, _mm512_extracti32x4_epi32::<1>(rows[i]));
            put(8 + i, _mm512_extracti32x4_epi32::<2>(rows[i]));
            put(12 + i, _mm512_extracti32x4_epi32::<3>(rows[i]));
        });
    }
}
