//! The AMX row.
//!
//! A block is up to 32 neighbouring output pixels by 32 channels, the sums of four tiles (see `x86::amx`). The bytes of a
//! pixel's window, kernel row after kernel row, are the inner side of the product, in chunks of 64.
//!
//! A tile's rows are loaded fast only if none of them lies across two cache lines, which takes several times as long. Where
//! a pixel has a multiple of 64 channels, they are loaded from where they are: 16 neighbours are at a constant distance.
//! So are the first pixel of a line and the pixel that would follow the last of the line before, were there no end to it;
//! hence lines shorter than tiles are computed as one, and the sums that belong to no pixel are thrown away. All other
//! layers have the windows of a call's pixels copied to its scratch, one behind the other.
//!
//! Tiles may have fewer than 16 rows and are faster then, but to change their shape takes as long as a dozen products. So
//! all blocks of a call have the same shape: blocks overlap where pixels cannot be divided evenly.

use super::scalar::window_sums;
use super::{QArgs, Shape};
use crate::gemm;
use crate::gemm::avx512::{q8_finish, q8_offset};
use crate::requant::{Epilogue, Requant};
use crate::x86::amx::{self, ROW, Rows, SIDE, TILE};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Pixels of a block.
const PIXELS: usize = 2 * SIDE;
/// Channels of a block.
pub const COLS: usize = 2 * SIDE;
/// Rows that the end of a block takes at once, two a group of registers.
const FINISH: usize = 12;

/// Layers that it computes: those with enough products for what the end costs.
pub fn suits(shape: &Shape) -> bool {
    !shape.depthwise && shape.step() > 0 && shape.taps() * shape.channels >= 16
}

/// Chunks of a window.
fn chunks(shape: &Shape) -> usize {
    (shape.taps() * shape.channels).div_ceil(ROW)
}

/// Whether windows are read where they are.
fn in_place(shape: &Shape) -> bool {
    shape.channels.is_multiple_of(ROW)
}

/// Bytes of the windows of so many pixels, if they are copied. The last may be copied in whole registers.
pub fn scratch(shape: &Shape, pixels: usize) -> usize {
    let window = chunks(shape).saturating_mul(ROW);
    if in_place(shape) { 0 } else { pixels.saturating_mul(window).saturating_add(ROW) }
}

/// Bytes of a panel's packed weights.
fn panel_bytes(shape: &Shape) -> usize {
    chunks(shape) * 2 * TILE
}

/// Bytes of packed weights: whole tiles.
pub fn packed(shape: &Shape) -> usize {
    shape.outputs.div_ceil(COLS) * panel_bytes(shape)
}

/// Packs `[panel][chunk][half of the channels][k / 4][channel][4]`.
pub fn pack(shape: &Shape, w: &[i8], out: &mut [i8]) {
    let (window, panel) = (shape.taps() * shape.channels, panel_bytes(shape).max(1));
    for (i, slot) in out.iter_mut().enumerate() {
        let (first, i) = (i / panel * COLS, i % panel);
        let (chunk, half, group, channel, byte) =
            (i / (2 * TILE), i / TILE % 2, i / ROW % SIDE, i / 4 % SIDE, i % 4);
        let (output, k) = (first + half * SIDE + channel, chunk * ROW + group * 4 + byte);
        let here = output < shape.outputs && k < window;
        *slot = if here { w.get(output * window + k).copied().unwrap_or(0) } else { 0 };
    }
}

/// How the pixels of a call lie before the tiles.
struct Walk {
    /// Where kernel row 0 of position 0 starts.
    x: *const u8,
    /// Bytes from position to position.
    step: usize,
    /// Bytes from a kernel row to the next, and how many there are.
    row: (usize, usize),
    /// Chunks of a kernel row.
    chunks: usize,
    /// Runs of positions that are computed on their own, and bytes from one to the next.
    runs: (usize, usize),
    /// Positions of a run.
    positions: usize,
    /// Positions from line to line.
    per_line: usize,
    /// How many of these are pixels.
    pixels: usize,
}

/// # Safety
/// As [`super::QRow::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn run(a: &QArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        let walk = if in_place(&a.shape) { walk_in_place(a) } else { walk_copied(a) };
        if walk.positions > SIDE { blocks::<true>(a, &walk) } else { blocks::<false>(a, &walk) }
    }
}

/// Windows that are read where they are.
fn walk_in_place(a: &QArgs) -> Walk {
    let (step, down) = (a.shape.step(), a.shape.strides[0] * a.line);
    let (row, chunks) = ((a.line, a.shape.kernel[0]), a.shape.run() / ROW);
    let pixels = a.pixels;
    let walk = |runs, positions, per_line| Walk { x: a.x, step, row, chunks, runs, positions, per_line, pixels };
    let per_line = down / step;
    let together = (a.lines - 1) * per_line + pixels;
    // What lines take alone: whole tiles, as those of few rows take longer than a row's share.
    let alone = a.lines * pixels.next_multiple_of(SIDE);
    match down.is_multiple_of(step) && per_line >= pixels && together <= alone {
        true => walk((1, 0), together, per_line),
        false => walk((a.lines, down), pixels, pixels),
    }
}

/// Copies the windows of all pixels to the scratch.
///
/// # Safety
/// As [`super::QRow::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn walk_copied(a: &QArgs) -> Walk {
    let (run, chunks) = (a.shape.run(), chunks(&a.shape));
    let window = chunks * ROW;
    // SAFETY: a kernel row of a window may be read to the end of its last register, as there is slack behind its line; what
    // is written so behind it is written again, but for the last of a window, which has room up to the next, and the last
    // window of all, which has a register more.
    unsafe {
        let mut to = a.scratch;
        for line in 0..a.lines {
            for pixel in 0..a.pixels {
                for ky in 0..a.shape.kernel[0] {
                    let (from, to) = (a.row(line, ky).add(pixel * a.shape.step()), to.add(ky * run));
                    for at in (0..run).step_by(ROW) {
                        _mm512_storeu_si512(to.add(at).cast(), _mm512_loadu_si512(from.add(at).cast()));
                    }
                }
                to = to.add(window);
            }
        }
    }
    let positions = a.lines * a.pixels;
    let (x, step, row, runs) = (a.scratch.cast_const(), window, (0, 1), (1, 0));
    Walk { x, step, row, chunks, runs, positions, per_line: positions, pixels: positions }
}

/// Room for the sums of a block, and for those that its end may read behind them.
#[repr(align(64))]
struct Sums([i32; (PIXELS + FINISH) * COLS]);

/// All blocks of a call, of two tiles of pixels or one.
///
/// # Safety
/// As [`super::QRow::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn blocks<const SECOND: bool>(a: &QArgs, walk: &Walk) {
    let count = walk.positions.div_ceil(PIXELS);
    let pixels = walk.positions.div_ceil(count);
    let first = if SECOND { pixels.div_ceil(2) } else { pixels };
    let panel_bytes = panel_bytes(&a.shape);
    let mut sums = Sums([0; (PIXELS + FINISH) * COLS]);
    // SAFETY: every position of a run that a block has is one before the last, so that it lies within the lines or between
    // two of them; there are as many weights and biases as `pack` and the contract say.
    unsafe {
        amx::configure([first, pixels - first]);
        for panel in a.first / COLS..a.last.div_ceil(COLS) {
            for run in 0..walk.runs.0 {
                for block in 0..count {
                    let start = if count > 1 { block * (walk.positions - pixels) / (count - 1) } else { 0 };
                    let mut x = walk.x.add(run * walk.runs.1 + start * walk.step);
                    let mut w = a.w.add(panel * panel_bytes);
                    amx::start::<SECOND>(a.bias.add(panel * COLS));
                    for _ in 0..walk.row.1 {
                        let rows = Rows { first: x, second: x.wrapping_add(first * walk.step), step: walk.step };
                        w = amx::products::<SECOND>(rows, w, walk.chunks);
                        x = x.wrapping_add(walk.row.0);
                    }
                    amx::store::<SECOND>(sums.0.as_mut_ptr(), first);
                    end(a, walk, panel * COLS, run, start, pixels, &sums);
                }
            }
        }
        amx::release();
    }
}

/// Stores the pixels among `count` positions from `start` on of a run.
///
/// # Safety
/// As [`super::QRow::run`]; the positions are the run's, and `sums` are theirs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn end(a: &QArgs, walk: &Walk, channel: usize, run: usize, start: usize, count: usize, sums: &Sums) {
    let mut at = 0;
    while at < count {
        let (line, column) = ((start + at) / walk.per_line, (start + at) % walk.per_line);
        let here = walk.pixels.saturating_sub(column).min(count - at);
        let pixel = (run + line) * a.pixels + column;
        let mut done = 0;
        while done < here {
            let rows = (here - done).min(FINISH);
            // SAFETY: the caller's promise; there are sums for FINISH rows from any of a block's on.
            unsafe {
                let sums = sums.0.as_ptr().add((at + done) * COLS);
                match rows.div_ceil(2) {
                    1 => finish::<1>(a, channel, pixel + done, rows, sums),
                    2 => finish::<2>(a, channel, pixel + done, rows, sums),
                    3 => finish::<3>(a, channel, pixel + done, rows, sums),
                    4 => finish::<4>(a, channel, pixel + done, rows, sums),
                    5 => finish::<5>(a, channel, pixel + done, rows, sums),
                    _ => finish::<6>(a, channel, pixel + done, rows, sums),
                }
            }
            done += rows;
        }
        at += if here > 0 { here } else { walk.per_line - column };
    }
}

/// Stores `rows` pixels from `pixel` on, in the last of `G` groups of two.
///
/// # Safety
/// As [`super::QRow::run`]; the pixels are the call's, and `sums` are those of whole groups.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn finish<const G: usize>(a: &QArgs, channel: usize, pixel: usize, rows: usize, sums: *const i32) {
    let outputs = a.shape.outputs;
    // SAFETY: the caller's promise; bias, offsets and multipliers are padded to whole panels.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); 4]; G];
        unroll!(G, g => unroll!(4, v => acc[g][v] = _mm512_loadu_si512(sums.add(g * 2 * COLS + v * SIDE).cast())));
        let how = Requant { scales: a.requant.scales.from(channel), ..a.requant };
        let epilogue = match a.residual {
            None => Epilogue::Requant(how),
            Some(mut other) => {
                other.r = other.r.add(pixel * other.r_stride + channel);
                Epilogue::RequantAdd(how, other)
            }
        };
        let mut windows = [0; FINISH];
        let end = gemm::QArgs {
            rows,
            cols: (outputs - channel).min(COLS),
            x: core::ptr::null(),
            taps: 0,
            k: 0,
            w: a.w,
            bias: a.bias.add(channel),
            offset: a.offset.wrapping_add(channel),
            sums: windows.as_mut_ptr(),
            y: a.y.add(pixel * outputs + channel),
            y_stride: outputs,
            epilogue,
        };
        if !a.offset.is_null() {
            window_sums(a, pixel, windows.get_mut(..rows).unwrap_or_default());
            q8_offset::<G, 4, 2>(&mut acc, &end);
        }
        q8_finish::<G, 4, 2>(acc, &end);
    }
}
