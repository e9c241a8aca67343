//! AVX-512 tiles of neighbouring pixels.
//!
//! These are the tiles of `gemm` for 64, 32 and 16 channels, with the same accumulators and the same end. There every row of a
//! tile has a pointer for each tap, more than registers hold. Here the pixels of a tile are neighbours, so the distance
//! from one to the next is known when this is compiled, and one pointer serves them all; a kernel row's taps follow each
//! other without a gap and are one run of bytes.

use super::scalar::window_sums;
use super::{QArgs, Shape};
use crate::gemm;
use crate::gemm::avx512::{MR, NR, q8_finish, q8_offset};
use crate::requant::{Epilogue, Requant};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Layers for tiles of `P` pixels a group, which have `NR / P` channels: those for which no wider group would do.
pub fn suits<const P: usize>(shape: &Shape) -> bool {
    let channels = match P {
        1 => shape.outputs > 32,
        2 => (17..=32).contains(&shape.outputs),
        _ => (1..=16).contains(&shape.outputs),
    };
    let known = matches!((shape.step(), P), (16 | 32 | 64, _) | (128 | 256, 1));
    !shape.depthwise && known && shape.taps() > 1 && channels
}

/// Channels of a panel.
pub const fn panel<const P: usize>() -> usize {
    NR / P
}

/// Groups of four bytes of a kernel row.
fn row_groups(shape: &Shape) -> usize {
    shape.run().div_ceil(4)
}

/// Bytes of a panel's packed weights.
fn panel_bytes<const P: usize>(shape: &Shape) -> usize {
    shape.kernel[0] * row_groups(shape) * NR / P * 4
}

/// Bytes of packed weights.
pub fn packed<const P: usize>(shape: &Shape) -> usize {
    shape.outputs.div_ceil(NR / P) * panel_bytes::<P>(shape)
}

/// Packs `[panel of channels][kernel row][group of its bytes][channel][4]`.
pub fn pack<const P: usize>(shape: &Shape, w: &[i8], out: &mut [i8]) {
    let (row, groups, channels) = (shape.run(), row_groups(shape), NR / P);
    let rows = shape.kernel[0];
    for (i, out) in out.chunks_exact_mut(channels * 4).enumerate() {
        let (panel, ky, first) = (i / (rows * groups), i / groups % rows, i % groups * 4);
        for (output, four) in (panel * channels..).zip(out.chunks_exact_mut(4)) {
            let n = if output < shape.outputs { row.saturating_sub(first).min(4) } else { 0 };
            let from = w.get((output * rows + ky) * row + first..).and_then(|w| w.get(..n)).unwrap_or_default();
            let (used, rest) = four.split_at_mut(from.len());
            used.copy_from_slice(from);
            rest.fill(0);
        }
    }
}

/// # Safety
/// As [`super::QRow::run`].
pub unsafe fn run<const P: usize>(a: &QArgs) {
    // SAFETY: passed on, with the distance between pixels that the shape has.
    unsafe {
        match a.shape.step() {
            16 => lines::<P, 16>(a),
            32 => lines::<P, 32>(a),
            64 => lines::<P, 64>(a),
            128 => lines::<P, 128>(a),
            _ => lines::<P, 256>(a),
        }
    }
}

/// Panel after panel of lines.
///
/// # Safety
/// As [`super::QRow::run`]; output pixels are `STEP` bytes apart in the input.
unsafe fn lines<const P: usize, const STEP: usize>(a: &QArgs) {
    for panel in a.first / panel::<P>()..a.last.div_ceil(panel::<P>()) {
        for line in 0..a.lines {
            // SAFETY: the caller's promise.
            unsafe { row::<P, STEP>(a, panel, line) };
        }
    }
}

/// A panel's channels of a line, in tiles of as equal a size as there can be, as a small one at the end would cost as much as a large one.
///
/// # Safety
/// As [`lines`].
unsafe fn row<const P: usize, const STEP: usize>(a: &QArgs, panel: usize, line: usize) {
    let groups = a.pixels.div_ceil(P);
    let tiles = groups.div_ceil(MR).max(1);
    let mut group = 0;
    for i in 0..tiles {
        let end = groups * (i + 1) / tiles;
        let (first, last) = (group * P, (end * P).min(a.pixels));
        let tile = match end - group {
            1 => tile::<1, 4, P, STEP>,
            2 => tile::<2, 4, P, STEP>,
            3 => tile::<3, 4, P, STEP>,
            4 => tile::<4, 4, P, STEP>,
            5 => tile::<5, 4, P, STEP>,
            _ => tile::<6, 4, P, STEP>,
        };
        // SAFETY: the caller's promise; the instance has as many groups as the tile.
        unsafe { tile(a, panel, line, first, last - first) };
        group = end;
    }
}

/// A panel's channels of `pixels` output pixels from `first` on of a line, in the last of `G` groups of `P`, each of `V` registers.
///
/// # Safety
/// As [`row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const G: usize, const V: usize, const P: usize, const STEP: usize>(
    a: &QArgs,
    panel: usize,
    line: usize,
    first: usize,
    pixels: usize,
) {
    let (outputs, run) = (a.shape.outputs, a.shape.run());
    let channel = panel * (NR / P);
    // SAFETY: a row is readable for all taps of the last pixel and SLACK bytes beyond, which are more than the P - 1
    // pixels of at most 64 bytes that a group may lack and the rest of a group of four bytes; weights are whole registers
    // for each group of a kernel row, bias and multipliers have 64 entries; outputs are written within `pixels`.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); V]; G];
        unroll!(V, v => {
            let bias = _mm512_loadu_si512(a.bias.add(channel + 16 * (v % (V / P))).cast());
            unroll!(G, g => acc[g][v] = bias);
        });
        let mut w = a.w.add(panel * panel_bytes::<P>(&a.shape));
        for ky in 0..a.shape.kernel[0] {
            let x = a.row(line, ky).add(first * STEP);
            for k in (0..run).step_by(4) {
                let mut weights = [_mm512_setzero_si512(); V];
                unroll!(V / P, v => weights[v] = _mm512_loadu_si512(w.add(64 * v).cast()));
                let x = x.add(k);
                unroll!(G, g => unroll!(P, p => {
                    let x = _mm512_set1_epi32(x.add((g * P + p) * STEP).cast::<i32>().read_unaligned());
                    unroll!(V / P, v => {
                        let at = p * (V / P) + v;
                        acc[g][at] = _mm512_dpbusd_epi32(acc[g][at], x, weights[v]);
                    });
                }));
                w = w.add(NR / P * 4);
            }
        }
        let mut sums = [0; MR * 4];
        let pixel = line * a.pixels + first;
        let how = Requant { scales: a.requant.scales.from(channel), ..a.requant };
        let epilogue = match a.residual {
            None => Epilogue::Requant(how),
            Some(mut other) => {
                other.r = other.r.add(pixel * other.r_stride + channel);
                Epilogue::RequantAdd(how, other)
            }
        };
        if !a.offset.is_null() {
            window_sums(a, pixel, sums.get_mut(..pixels).unwrap_or_default());
        }
        let end = gemm::QArgs {
            rows: pixels,
            cols: (outputs - channel).min(NR / P),
            x: core::ptr::null(),
            taps: 0,
            k: 0,
            w: a.w,
            bias: a.bias.add(channel),
            offset: a.offset.wrapping_add(channel),
            sums: sums.as_ptr(),
            y: a.y.add(pixel * a.y_stride + channel),
            y_stride: a.y_stride,
            epilogue,
        };
        if !a.offset.is_null() {
            q8_offset::<G, V, P>(&mut acc, &end);
        }
        q8_finish::<G, V, P>(acc, &end);
    }
}
