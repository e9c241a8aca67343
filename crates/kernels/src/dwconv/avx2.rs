//! AVX2 rows.
//!
//! Integers: the bytes of four taps are interleaved, so that a register has four taps of each of eight channels, and four
//! registers have 32 channels of one pixel or, where no more are left, 16 of two. Interleaving within 128-bit lanes
//! leaves the channels in block order, register `j` with channels `4 * j ..= 4 * j + 3` of each lane; narrowing works
//! within lanes too and puts them back. So weights are packed, and bias and multipliers loaded, in that order.
//!
//! The sums of some pixels are computed by a function of the instruction set ([`sums`]) and finished by one for all.

use super::{FArgs, QArgs, padded};
use crate::requant::{Epilogue, Requant, Scales};
use crate::x86::dot::{Dot, Words};
use crate::x86::lanes8::Ymm;
use crate::x86::rescale::Aim;
use crate::x86::rescale8::{Bytes8, Fixed8, Float8, Joined8, Rescale8, Rounded8, Shift8, Sum8, Wide8, store_bytes8};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Registers of pixels whose sums are computed before they are finished.
pub const CHUNK: usize = 16;

/// A register of sums for each four channels of a lane.
pub type Block = [__m256i; 4];

/// Computes the sums of up to [`CHUNK`] blocks: (call, first channel, its weights, first block, blocks, sums).
///
/// Safe to call as [`super::Dw::run`] is, if the channels and blocks are among the call's.
pub type SumsFn = unsafe fn(&QArgs, usize, *const i8, usize, usize, &mut [Block; CHUNK]);

/// Bytes of a register of weights, all parts of it.
pub const fn stored<D: Dot>() -> usize {
    32 * D::PARTS
}

/// Bytes of packed weights: blocks of 32 channels, `[taps / 4][register]`, each as [`Dot::put`] stores it.
pub fn packed<D: Dot>(channels: usize, taps: usize) -> usize {
    channels.div_ceil(32) * taps.div_ceil(4) * 4 * stored::<D>()
}

/// Packs weights given as `w[channel * taps + tap]` into zeros.
pub fn pack<D: Dot>(w: &[i8], channels: usize, taps: usize, out: &mut [i8]) {
    let mut registers = out.chunks_exact_mut(stored::<D>());
    for first in (0..channels).step_by(32) {
        for group in (0..taps).step_by(4) {
            for j in 0..4 {
                let Some(out) = registers.next() else { return };
                for lane in 0..8 {
                    // With 16 channels left both halves of a register have the same ones.
                    let half = if channels - first > 16 { lane / 4 * 16 } else { 0 };
                    let channel = first + half + 4 * j + lane % 4;
                    for i in (0..4).filter(|i| channel < channels && group + i < taps) {
                        D::put(w.get(channel * taps + group + i).copied().unwrap_or(0), lane, i, out);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn q8(a: &QArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        match a.offset.is_null() {
            true => run(a, [q8_sums::<1, false>, q8_sums::<2, false>], stored::<Words>()),
            false => run(a, [q8_sums::<1, true>, q8_sums::<2, true>], stored::<Words>()),
        }
    }
}

/// # Safety
/// As [`sums`], on a CPU with AVX2.
#[target_feature(enable = "avx2,fma")]
unsafe fn q8_sums<const P: usize, const OFFSET: bool>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    block: usize,
    blocks: usize,
    out: &mut [Block; CHUNK],
) {
    // SAFETY: the caller's promise, and AVX2 is enabled.
    unsafe { sums::<Words, P, OFFSET>(a, first, w, block, blocks, out) }
}

/// The sums of `blocks` blocks of `P` pixels from `block` on. Pixels beyond the last stand for copies of it.
///
/// # Safety
/// As [`super::Dw::run`]; `first` is a channel of the call, `w` are the weights from there on, and what `D` needs is
/// enabled. With an `OFFSET` the sums of windows are taken too.
#[inline(always)]
pub unsafe fn sums<D: Dot, const P: usize, const OFFSET: bool>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    block: usize,
    blocks: usize,
    out: &mut [Block; CHUNK],
) {
    // SAFETY: `x` has the pointers of all pixels, rows of it are readable for a block from any channel on, weights are
    // whole groups of four taps, and the bias is padded to whole blocks.
    unsafe {
        let bias = in_lanes::<P>(a.bias.add(first));
        let offset = if OFFSET { in_lanes::<P>(a.offset.add(first)) } else { [_mm256_setzero_si256(); 4] };
        let zero = _mm256_setzero_si256();
        for (i, out) in out.iter_mut().enumerate().take(blocks) {
            let last = a.pixels - 1;
            let pixel = (block + i) * P;
            let rows = [a.x.add(pixel.min(last) * a.taps), a.x.add((pixel + 1).min(last) * a.taps)];
            macro_rules! load {
                ($tap:expr) => {{
                    let at = (*rows[0].add($tap)).add(first);
                    if P == 1 {
                        _mm256_loadu_si256(at.cast())
                    } else {
                        let next = (*rows[1].add($tap)).add(first);
                        let low = _mm256_castsi128_si256(_mm_loadu_si128(at.cast()));
                        _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(next.cast()))
                    }
                }};
            }
            let mut acc = bias;
            let mut window = [zero; 4];
            let mut w = w;
            let mut tap = 0;
            while tap + 1 < a.taps {
                let third = if tap + 2 < a.taps { load!(tap + 2) } else { zero };
                let fourth = if tap + 3 < a.taps { load!(tap + 3) } else { zero };
                let x = interleave([load!(tap), load!(tap + 1), third, fourth]);
                unroll!(4, j => {
                    acc[j] = part::<D, 0>(acc[j], x[j], w.add(stored::<D>() * j));
                    if D::PARTS > 1 {
                        acc[j] = part::<D, 1>(acc[j], x[j], w.add(stored::<D>() * j));
                    }
                });
                if OFFSET {
                    unroll!(4, j => window[j] = D::count(window[j], x[j]));
                }
                w = w.add(4 * stored::<D>());
                tap += 4;
            }
            if tap < a.taps {
                let x = spread_all(load!(tap));
                // Only the first of each four bytes is not 0, and the first part has it.
                unroll!(4, j => acc[j] = part::<D, 0>(acc[j], x[j], w.add(stored::<D>() * j)));
                if OFFSET {
                    unroll!(4, j => window[j] = D::count(window[j], x[j]));
                }
            }
            if OFFSET {
                // What each weight of a channel lacks meets the sum of the window.
                unroll!(4, j => acc[j] = _mm256_add_epi32(acc[j], _mm256_mullo_epi32(window[j], offset[j])));
            }
            *out = acc;
        }
    }
}

/// One part of four products a lane, by stored weights.
///
/// # Safety
/// As [`sums`]; `w` is a stored register.
#[inline(always)]
unsafe fn part<D: Dot, const PART: usize>(acc: __m256i, x: __m256i, w: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { D::step(acc, D::x::<PART>(x), _mm256_loadu_si256(w.add(32 * PART).cast())) }
}

/// The bytes of four taps side by side, channels in block order.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn interleave(x: [__m256i; 4]) -> Block {
    let low = [_mm256_unpacklo_epi8(x[0], x[1]), _mm256_unpacklo_epi8(x[2], x[3])];
    let high = [_mm256_unpackhi_epi8(x[0], x[1]), _mm256_unpackhi_epi8(x[2], x[3])];
    [
        _mm256_unpacklo_epi16(low[0], low[1]),
        _mm256_unpackhi_epi16(low[0], low[1]),
        _mm256_unpacklo_epi16(high[0], high[1]),
        _mm256_unpackhi_epi16(high[0], high[1]),
    ]
}

/// [`interleave`] of one tap and three of zeros, which is also the bytes as integers in block order.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn spread_all(x: __m256i) -> Block {
    let zeros = 0x8080_8000u32 as i32;
    let mut out = [x; 4];
    unroll!(4, j => {
        let at = 4 * j as i32;
        let pattern = _mm_setr_epi32(zeros | at, zeros | (at + 1), zeros | (at + 2), zeros | (at + 3));
        out[j] = _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(pattern));
    });
    out
}

/// A block's consecutive integers in block order, the same for each of `P` pixels.
///
/// # Safety
/// `from` leads to a block of integers.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn in_lanes<const P: usize>(from: *const i32) -> Block {
    let mut out = [_mm256_setzero_si256(); 4];
    // SAFETY: the caller's promise.
    unsafe {
        unroll!(4, j => {
            let low = _mm_loadu_si128(from.add(4 * j).cast());
            let high = if P == 1 { _mm_loadu_si128(from.add(16 + 4 * j).cast()) } else { low };
            out[j] = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
        });
    }
    out
}

/// A call with the functions for blocks of one and of two pixels, whose registers of weights take `stored` bytes.
///
/// # Safety
/// As [`super::Dw::run`], and the functions may be called.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run(a: &QArgs, sums: [SumsFn; 2], stored: usize) {
    let mut w = a.w;
    for first in (0..a.channels).step_by(32) {
        // SAFETY: the caller's promise; `w` advances by the weights of a block, as `pack` laid them out.
        unsafe {
            match a.channels - first {
                ..=16 => channels::<2>(a, first, w, sums[1]),
                _ => channels::<1>(a, first, w, sums[0]),
            }
            w = w.add(a.taps.div_ceil(4) * 4 * stored);
        }
    }
}

/// The channels of a block from `first` on, `P` pixels at once.
///
/// # Safety
/// As [`run`]; `w` are the block's weights.
#[target_feature(enable = "avx2,fma")]
unsafe fn channels<const P: usize>(a: &QArgs, first: usize, w: *const i8, sums: SumsFn) {
    // SAFETY: bias and multipliers are padded to whole blocks, outputs are written within the channels.
    unsafe {
        match &a.epilogue {
            Epilogue::Accumulator => blocks::<P>(a, first, w, sums, |pixel, acc| {
                // Back in the order of channels: eight registers of four.
                let mut in_order = [0i32; 32];
                unroll!(4, j => {
                    _mm_storeu_si128(in_order.as_mut_ptr().add(4 * j).cast(), _mm256_castsi256_si128(acc[j]));
                    let high = _mm256_extracti128_si256::<1>(acc[j]);
                    _mm_storeu_si128(in_order.as_mut_ptr().add(16 + 4 * j).cast(), high);
                });
                let n = (a.channels - first).min(32 / P);
                for (p, of_pixel) in in_order.chunks_exact(32 / P).enumerate().take(a.pixels - pixel) {
                    let y = a.y.add((pixel + p) * a.y_stride).cast::<i32>().add(first);
                    of_pixel.iter().enumerate().take(n).for_each(|(i, &acc)| y.add(i).write_unaligned(acc));
                }
            }),
            Epilogue::Requant(how) | Epilogue::RequantAdd(how, _) => match how.scales {
                scales if !how.is_default() => {
                    let (m, shift) = match scales {
                        Scales::Float32(m) => (in_lanes::<P>(m.add(first).cast()), [_mm256_setzero_si256(); 4]),
                        Scales::Fixed(m, shift) => (in_lanes::<P>(m.add(first)), in_lanes::<P>(shift.add(first))),
                        Scales::Shift(shift) => ([_mm256_set1_epi32(1); 4], in_lanes::<P>(shift.add(first))),
                    };
                    requantized::<P, Rounded8>(a, first, w, sums, how, m, shift);
                }
                Scales::Float32(m) => {
                    let m = in_lanes::<P>(m.add(first).cast());
                    requantized::<P, Float8>(a, first, w, sums, how, m, m);
                }
                Scales::Fixed(m, shift) => {
                    let (m, shift) = (in_lanes::<P>(m.add(first)), in_lanes::<P>(shift.add(first)));
                    if shift.iter().all(|&shift| Fixed8::fits(shift)) {
                        requantized::<P, Fixed8>(a, first, w, sums, how, m, shift);
                    } else {
                        requantized::<P, Wide8>(a, first, w, sums, how, m, shift);
                    }
                }
                Scales::Shift(shift) => {
                    let (m, shift) = ([_mm256_set1_epi32(1); 4], in_lanes::<P>(shift.add(first)));
                    if shift.iter().all(|&shift| Shift8::fits(shift)) {
                        requantized::<P, Shift8>(a, first, w, sums, how, m, shift);
                    } else {
                        requantized::<P, Wide8>(a, first, w, sums, how, m, shift);
                    }
                }
            },
        }
    }
}

/// A block that is requantized, and joined by another tensor where there is one.
///
/// # Safety
/// As [`channels`].
#[target_feature(enable = "avx2,fma")]
unsafe fn requantized<const P: usize, S: Rescale8>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    sums: SumsFn,
    how: &Requant,
    m: Block,
    shift: Block,
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
                let joined = Joined8::new(how, &residual.add, Sum8::new(&residual.add));
                let bytes = Bytes8::new(residual.add.zero_point, residual.add.lo, residual.add.hi);
                blocks::<P>(a, first, w, sums, |pixel, acc| {
                    let row = |p: usize| residual.r.add(p.min(a.pixels - 1) * residual.r_stride + first);
                    let other = if P == 1 {
                        _mm256_loadu_si256(row(pixel).cast())
                    } else {
                        let low = _mm256_castsi128_si256(_mm_loadu_si128(row(pixel).cast()));
                        _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(row(pixel + 1).cast()))
                    };
                    let other = spread_all(other);
                    let mut q = acc;
                    unroll!(4, j => q[j] = joined.apply(by[j].apply(acc[j]), other[j]));
                    store::<P>(a, pixel, first, bytes.pack_lanes(q[0], q[1], q[2], q[3]));
                });
            }
            Epilogue::Requant(_) | Epilogue::Accumulator => {
                let bytes = Bytes8::new(how.zero_point, how.lo, how.hi);
                blocks::<P>(a, first, w, sums, |pixel, acc| {
                    let mut q = acc;
                    unroll!(4, j => q[j] = by[j].apply(acc[j]));
                    store::<P>(a, pixel, first, bytes.pack_lanes(q[0], q[1], q[2], q[3]));
                });
            }
        }
    }
}

/// All blocks of `P` pixels: their sums, handed to `finish` with the number of the first pixel.
///
/// # Safety
/// As [`channels`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn blocks<const P: usize>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    sums: SumsFn,
    mut finish: impl FnMut(usize, Block),
) {
    let mut chunk = [[_mm256_setzero_si256(); 4]; CHUNK];
    let all = a.pixels.div_ceil(P);
    for block in (0..all).step_by(CHUNK) {
        let n = (all - block).min(CHUNK);
        // SAFETY: the caller's promise; the blocks are those of the call.
        unsafe { sums(a, first, w, block, n, &mut chunk) };
        for (i, &acc) in chunk.iter().enumerate().take(n) {
            finish((block + i) * P, acc);
        }
    }
}

/// Stores the bytes of `P` pixels within the pixels and channels.
///
/// # Safety
/// The output is writable within the pixels and channels.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store<const P: usize>(a: &QArgs, pixel: usize, first: usize, bytes: __m256i) {
    // SAFETY: the caller's promise.
    unsafe {
        let n = (a.channels - first).min(32 / P);
        let y = a.y.add(pixel * a.y_stride + first);
        store_bytes8(y, n, bytes);
        if P > 1 && pixel + 1 < a.pixels {
            let high = _mm256_castsi128_si256(_mm256_extracti128_si256::<1>(bytes));
            store_bytes8(y.add(a.y_stride), n, high);
        }
    }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn f32(a: &FArgs) {
    for first in (0..a.channels).step_by(32) {
        // SAFETY: the caller's promise; V vectors hold the rest of the channels, or all of a whole block.
        unsafe {
            match a.channels - first {
                0..=8 => f32_block::<1>(a, first),
                9..=16 => f32_block::<2>(a, first),
                17..=24 => f32_block::<3>(a, first),
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
#[target_feature(enable = "avx2,fma")]
unsafe fn f32_block<const V: usize>(a: &FArgs, first: usize) {
    let stride = padded(a.channels);
    // SAFETY: weights and bias are padded, rows of `x` are readable for whole registers, the other tensor is read and
    // outputs are written within the channels.
    unsafe {
        let bounds = |(lo, hi): (f32, f32)| (_mm256_set1_ps(lo), _mm256_set1_ps(hi));
        // The bounds come first: `max` and `min` give the second operand for a NaN or two zeros.
        let clamp = |v: __m256, (lo, hi): (__m256, __m256)| _mm256_min_ps(hi, _mm256_max_ps(lo, v));
        let clamped = bounds(a.epilogue.clamp);
        for pixel in 0..a.pixels {
            let x = a.x.add(pixel * a.taps);
            let y = a.y.byte_add(pixel * a.y_stride).add(first);
            let mut acc = [_mm256_setzero_ps(); V];
            unroll!(V, v => acc[v] = _mm256_loadu_ps(a.bias.add(first + 8 * v)));
            for tap in 0..a.taps {
                let x = (*x.add(tap)).add(first);
                let w = a.w.add(tap * stride + first);
                unroll!(V, v => {
                    acc[v] = _mm256_fmadd_ps(_mm256_loadu_ps(x.add(8 * v)), _mm256_loadu_ps(w.add(8 * v)), acc[v]);
                });
            }
            unroll!(V, v => acc[v] = clamp(acc[v], clamped));
            if let Some((other, other_stride, second)) = a.epilogue.add {
                let other = other.byte_add(pixel * other_stride).add(first);
                let second = bounds(second);
                unroll!(V, v => {
                    let other = Ymm::load(other.add(8 * v), a.channels - first - 8 * v);
                    acc[v] = clamp(_mm256_add_ps(acc[v], other.0), second);
                });
            }
            unroll!(V, v => Ymm(acc[v]).store(y.add(8 * v), a.channels - first - 8 * v));
        }
    }
}
