//! The AMX row.
//!
//! A block is up to 32 neighbouring output pixels by 32 channels, the sums of four tiles (see `x86::amx`). The bytes of a
//! pixel's window, kernel row after kernel row, are the inner side of the product, in chunks of 64.
//!
//! A tile's rows are loaded fast only if none of them lies across two cache lines, which takes several times as long. Where
//! a pixel has a multiple of 64 channels, they are loaded from where they are: 16 neighbours are at a constant distance.
//! So are the first pixel of a line and the pixel that would follow the last of the line before, were there no end to it;
//! hence lines shorter than tiles are computed as one, and the sums that belong to no pixel are thrown away. All other
//! layers have the windows of a call's pixels copied to its scratch, one behind the other; so have short lines at a stride,
//! between whose pixels too much would be computed, where there are enough channels to make up for it.
//!
//! Tiles may have fewer than 16 rows and are faster then, but to change their shape takes as long as a dozen products. So
//! all blocks of a call have the same shape: blocks overlap where pixels cannot be divided evenly.

use super::scalar::window_sums;
use super::{QArgs, Shape};
use crate::requant::Scales;
use crate::x86::amx::{self, ROW, Rows, SIDE, TILE, TILES};
use crate::x86::rescale::{
    Aim, Alone, Bytes, Fixed16, Float16, Join16, Rescale16, Rounded16, Shift16, Wide16, store_bytes, with_join,
};
use core::arch::x86_64::*;

/// Pixels of a block.
const PIXELS: usize = 2 * SIDE;
/// Channels of a block.
pub const COLS: usize = 2 * SIDE;
/// Pixels that the end of a block takes at once, whose bytes are one register.
const PAIR: usize = 2;

/// Layers that it computes: those for which it is faster than the rows of AVX-512.
///
/// The cycles of an output pixel, as measured on a CPU with 16 cycles for a product of tiles. There: a chunk and the end
/// of a block for each 16 channels of whole panels, and 6 cycles for each register that is copied. Here: 8 bytes of the
/// window a cycle, and the end, for whole registers of 16 channels.
pub fn suits(shape: &Shape) -> bool {
    let (window, copied) = (shape.taps() * shape.channels, shape.kernel[0] * shape.run().div_ceil(ROW));
    let copying = if shape.channels.is_multiple_of(ROW) { 0.0 } else { 6.0 * copied as f32 + 8.0 };
    let lanes = |panel: usize| (shape.outputs.next_multiple_of(panel) / SIDE) as f32;
    let tiles = lanes(COLS) * (1.1 * chunks(shape) as f32 + 5.5) + copying;
    let registers = lanes(SIDE) * (window as f32 / 8.0 + 3.0);
    !shape.depthwise && shape.step() > 0 && window > 0 && tiles < registers
}

/// Chunks of a window.
fn chunks(shape: &Shape) -> usize {
    (shape.taps() * shape.channels).div_ceil(ROW)
}

/// Whether windows are copied, of lines of so many pixels.
fn copies(shape: &Shape, pixels: usize) -> bool {
    let strided = shape.strides != [1, 1] && pixels <= SIDE && shape.outputs >= MANY;
    strided || !shape.channels.is_multiple_of(ROW)
}

/// Channels for which a window may be copied if that saves computing much in vain.
const MANY: usize = 128;

/// Bytes from a copied window to the next: an odd number of cache lines, so that neighbours do not meet in a set.
fn apart(shape: &Shape) -> usize {
    (chunks(shape) | 1).saturating_mul(ROW)
}

/// Bytes of the windows of so many pixels, if they may be copied. The last may be copied in whole registers.
pub fn scratch(shape: &Shape, lines: usize, pixels: usize) -> usize {
    let (window, pixels) = (apart(shape), lines.saturating_mul(pixels));
    if copies(shape, 1) { pixels.saturating_mul(window).saturating_add(ROW) } else { 0 }
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
    let (window, chunks) = (shape.taps() * shape.channels, chunks(shape).max(1));
    for (tile, out) in out.chunks_exact_mut(TILE).enumerate() {
        let (panel, chunk, half) = (tile / 2 / chunks, tile / 2 % chunks, tile % 2);
        let (rows, _) = out.as_chunks_mut::<ROW>();
        let count = window.saturating_sub(chunk * ROW).min(ROW);
        for channel in 0..SIDE {
            let output = panel * COLS + half * SIDE + channel;
            let from = w.get(output * window + chunk * ROW..).and_then(|w| w.get(..count));
            let from = from.filter(|_| output < shape.outputs).unwrap_or_default();
            let (fours, rest) = from.as_chunks::<4>();
            let mut last = [0; 4];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            let zeros = core::iter::repeat(&[0; 4]);
            for (row, four) in rows.iter_mut().zip(fours.iter().chain([&last]).chain(zeros)) {
                if let Some(to) = row.get_mut(4 * channel..4 * channel + 4) {
                    to.copy_from_slice(four);
                }
            }
        }
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
        let walk = if copies(&a.shape, a.pixels) { walk_copied(a) } else { walk_in_place(a) };
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
    let window = apart(&a.shape);
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
struct Sums([i32; (PIXELS + PAIR) * COLS]);

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
    let mut sums = Sums([0; (PIXELS + PAIR) * COLS]);
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
                        w = match run + block {
                            0 => amx::first_products::<SECOND>(rows, w, walk.chunks),
                            _ => amx::products::<SECOND>(rows, w, TILES, walk.chunks),
                        };
                        x = x.wrapping_add(walk.row.0);
                    }
                    amx::store::<SECOND>(sums.0.as_mut_ptr(), first);
                    let block = Block { channel: panel * COLS, run, start, count: pixels };
                    if !a.offset.is_null() {
                        add_offsets(a, walk, &block, &mut sums);
                    }
                    end(a, walk, &block, &sums);
                }
            }
        }
        amx::release();
    }
}

/// The sums of a block: `count` positions of a run by the channels of a panel.
struct Block {
    channel: usize,
    run: usize,
    start: usize,
    count: usize,
}

/// The pixels among a block's positions, in runs of neighbours: the first of them among the call's pixels, where its sums
/// are, and how many there are.
#[inline]
fn pixels(a: &QArgs, walk: &Walk, block: &Block) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        while at < block.count {
            let (line, column) = ((block.start + at) / walk.per_line, (block.start + at) % walk.per_line);
            let (here, count) = (at, walk.pixels.saturating_sub(column).min(block.count - at));
            at += if count > 0 { count } else { walk.per_line - column };
            if count > 0 {
                return Some(((block.run + line) * a.pixels + column, here, count));
            }
        }
        None
    })
}

/// Adds what the weights lack, for weights with zero points, which are rare.
///
/// # Safety
/// As [`super::QRow::run`]; there is an offset for each channel of the block's panel.
#[inline(never)]
unsafe fn add_offsets(a: &QArgs, walk: &Walk, block: &Block, sums: &mut Sums) {
    for (pixel, at, count) in pixels(a, walk, block) {
        for (pixel, sums) in (pixel..).zip(sums.0.chunks_exact_mut(COLS).skip(at).take(count)) {
            let mut window = [0];
            // SAFETY: the caller's promise.
            unsafe { window_sums(a, pixel, &mut window) };
            for (channel, sum) in (block.channel..).zip(sums) {
                // SAFETY: the caller's promise.
                let offset = unsafe { *a.offset.add(channel) };
                *sum = sum.wrapping_add(window[0].wrapping_mul(offset));
            }
        }
    }
}

/// Stores the pixels of a block.
///
/// # Safety
/// As [`super::QRow::run`]; the block is one of the call's, and `sums` are its sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn end(a: &QArgs, walk: &Walk, block: &Block, sums: &Sums) {
    // SAFETY: passed on.
    unsafe {
        let Some(other) = &a.residual else { return end_with(a, walk, block, sums, Alone) };
        with_join!(&a.requant, &other.add, join => end_with(a, walk, block, sums, join));
    }
}

/// As [`end`], with what is added.
///
/// # Safety
/// As [`end`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn end_with<J: Join16>(a: &QArgs, walk: &Walk, block: &Block, sums: &Sums, join: J) {
    let one = _mm512_set1_epi32(1);
    // SAFETY: there are multipliers for every channel, padded to whole panels; the rest is the caller's promise.
    unsafe {
        let of = |from: *const i32| {
            let from = from.add(block.channel);
            [_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(SIDE).cast())]
        };
        let (m, shift) = match a.requant.scales {
            Scales::Float32(m) => (of(m.cast()), [one; 2]),
            Scales::Fixed(m, shift) => (of(m), of(shift)),
            Scales::Shift(shift) => ([one; 2], of(shift)),
        };
        match a.requant.scales {
            _ if !a.requant.is_default() => end_by::<Rounded16, J>(a, walk, block, sums, m, shift, join),
            Scales::Float32(_) => end_by::<Float16, J>(a, walk, block, sums, m, shift, join),
            Scales::Fixed(..) if shift.iter().all(|&shift| Fixed16::fits(shift)) => {
                end_by::<Fixed16, J>(a, walk, block, sums, m, shift, join);
            }
            Scales::Shift(_) if shift.iter().all(|&shift| Shift16::fits(shift)) => {
                end_by::<Shift16, J>(a, walk, block, sums, m, shift, join);
            }
            Scales::Fixed(..) | Scales::Shift(_) => end_by::<Wide16, J>(a, walk, block, sums, m, shift, join),
        }
    }
}

/// As [`end_with`], with a panel's multipliers.
///
/// # Safety
/// As [`end`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn end_by<S: Rescale16, J: Join16>(
    a: &QArgs,
    walk: &Walk,
    block: &Block,
    sums: &Sums,
    m: [__m512i; 2],
    shift: [__m512i; 2],
    join: J,
) {
    let aim = Aim::of(&a.requant);
    let (bytes, r_stride) = match &a.residual {
        None => (Bytes::new(a.requant.zero_point, a.requant.lo, a.requant.hi), 0),
        Some(other) => (Bytes::new(other.add.zero_point, other.add.lo, other.add.hi), other.r_stride),
    };
    let other = a.residual.map_or(core::ptr::null(), |other| other.r.wrapping_add(block.channel));
    let (y_stride, cols) = (a.y_stride, (a.shape.outputs - block.channel).min(COLS));
    // SAFETY: the pixels are the call's, and of these the channels from the block's on, of which there are `cols`, are
    // written; there are sums for a pair from any of a block's on. The other tensor is readable in whole registers; a pixel
    // beyond the block's stands for the last.
    unsafe {
        let by = [S::new(m[0], shift[0], aim), S::new(m[1], shift[1], aim)];
        for (pixel, at, count) in pixels(a, walk, block) {
            let mut sums = sums.0.as_ptr().add(at * COLS);
            let mut y = a.y.add(pixel * y_stride + block.channel);
            let mut r = other.wrapping_add(pixel * r_stride);
            for done in (0..count).step_by(PAIR) {
                let pair = done + 1 < count;
                let next = if pair { r.wrapping_add(r_stride) } else { r };
                let load = |i: usize| _mm512_load_si512(sums.add(i * SIDE).cast());
                let packed = bytes.pack(
                    join.join(by[0].apply(load(0)), r),
                    join.join(by[1].apply(load(1)), r.wrapping_add(SIDE)),
                    join.join(by[0].apply(load(2)), next),
                    join.join(by[1].apply(load(3)), next.wrapping_add(SIDE)),
                );
                store_bytes(y, cols, packed);
                if pair {
                    store_bytes(y.add(y_stride), cols, _mm512_castsi256_si512(_mm512_extracti64x4_epi64::<1>(packed)));
                }
                sums = sums.add(PAIR * COLS);
                y = y.wrapping_add(PAIR * y_stride);
                r = r.wrapping_add(PAIR * r_stride);
            }
        }
    }
}
