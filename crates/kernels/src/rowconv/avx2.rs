//! The AVX2 row.
//!
//! AVX2 has no exact product of bytes (see `x86::dot`), so that activations are multiplied as words. A byte becomes a word
//! once a call, not once for each tap and panel of channels that reads it: the call's input lines are widened to its
//! scratch, and the words under a kernel row are one run there.
//!
//! The tile is 6 pixels by 16 channels: 12 accumulators, 2 registers of weights, one of pixels and one of products fit the
//! 16 registers. A step multiplies pairs of words. Weights stay bytes in memory, as words they would be twice as many to
//! fetch. Panels of channels are the outer loop: a panel is widened to the scratch too, read again for every block of
//! pixels, and stays in the nearest cache, lines in the next one. Where all panels are few bytes they are widened at once,
//! and the outer loop is one of stretches of pixels, whose outputs stay in the nearest cache until they have all channels.
//! For few blocks the bytes of a panel are widened as they are loaded, which is one instruction in thirteen.

use super::scalar::window_sums;
use super::{Pace, QArgs, Shape};
use crate::gemm::{self, avx2::MR, avx2::NR};
use crate::requant::{Epilogue, Requant};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// As measured on a Zen 3.
pub const PACE: Pace = Pace { macs: 26.0, block: [1, MR], input: 10.0, weights: 12.0 };

/// Weights of a 1x1 kernel for fewer of which a call costs more than it saves, as `gemm` makes nothing ready.
const FEW: usize = 1024;

/// Layers that it computes.
pub fn suits(shape: &Shape) -> bool {
    let few = shape.taps() == 1 && shape.channels.saturating_mul(shape.outputs) < FEW;
    !shape.depthwise && shape.taps() > 0 && shape.channels > 0 && !few
}

/// Steps of a kernel row: pairs of words, the last filled up with a weight of zero.
fn pairs(shape: &Shape) -> usize {
    shape.run().div_ceil(2)
}

/// Bytes of a panel's packed weights.
fn panel_bytes(shape: &Shape) -> usize {
    shape.kernel[0] * pairs(shape) * 2 * NR
}

/// Bytes of packed weights: whole panels.
pub fn packed(shape: &Shape) -> usize {
    shape.outputs.div_ceil(NR) * panel_bytes(shape)
}

/// Packs `[panel][kernel row][pair][channel][2]`.
pub fn pack(shape: &Shape, w: &[i8], out: &mut [i8]) {
    let (rows, run, pairs) = (shape.kernel[0], shape.run(), pairs(shape).max(1));
    for (step, out) in out.chunks_exact_mut(2 * NR).enumerate() {
        let (line, pair) = (step / pairs, step % pairs);
        let (panel, ky) = (line / rows, line % rows);
        for (channel, out) in out.chunks_exact_mut(2).enumerate() {
            let output = panel * NR + channel;
            let from = match output < shape.outputs {
                true => w.get((output * rows + ky) * run + 2 * pair..(output * rows + ky + 1) * run),
                false => None,
            };
            let from = from.unwrap_or_default();
            out.iter_mut().enumerate().for_each(|(i, out)| *out = from.get(i).copied().unwrap_or(0));
        }
    }
}

/// Words from a widened line to the next: whole registers, with a word behind the last for a pair that is filled up.
fn line_words(shape: &Shape, pixels: usize) -> usize {
    shape.row_bytes(pixels).saturating_add(1).next_multiple_of(WORDS)
}

/// Words a register.
const WORDS: usize = 16;
/// Blocks of pixels for more of which a panel is widened in memory.
const BLOCKS: usize = 2;
/// Bytes of all panels as words, with more of which one is held at a time.
const HELD: usize = 24 << 10;
/// Pixels of a stretch.
const STRETCH: usize = 8 * MR;

/// Panels that are held as words: all, or one.
fn held(shape: &Shape) -> usize {
    let panels = shape.outputs.div_ceil(NR);
    if panels.saturating_mul(panel_bytes(shape)) <= HELD / 2 { panels } else { 1 }
}

/// Bytes of the panels that are held and of lines as words, and of the sums of what each pixel reads.
pub fn scratch(shape: &Shape, lines: usize, pixels: usize) -> usize {
    let input = (lines.saturating_sub(1)).saturating_mul(shape.strides[0]).saturating_add(shape.kernel[0]);
    let words = input.saturating_mul(line_words(shape, pixels)).saturating_mul(2);
    words
        .saturating_add(sums_bytes(lines, pixels))
        .saturating_add(held(shape).saturating_mul(panel_bytes(shape)).saturating_mul(2))
}

/// Bytes of a sum for every pixel of a call.
pub fn sums_bytes(lines: usize, pixels: usize) -> usize {
    lines.saturating_mul(pixels).saturating_add(MR).saturating_mul(4)
}

/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX2.
pub unsafe fn run(a: &QArgs) {
    static TILES: [[[Tile; NR / 8]; MR]; 2] = [
        [
            [tile::<1, 1, 1>, tile::<1, 1, 2>],
            [tile::<1, 2, 1>, tile::<1, 2, 2>],
            [tile::<1, 3, 1>, tile::<1, 3, 2>],
            [tile::<1, 4, 1>, tile::<1, 4, 2>],
            [tile::<1, 5, 1>, tile::<1, 5, 2>],
            [tile::<1, 6, 1>, tile::<1, 6, 2>],
        ],
        [
            [tile::<2, 1, 1>, tile::<2, 1, 2>],
            [tile::<2, 2, 1>, tile::<2, 2, 2>],
            [tile::<2, 3, 1>, tile::<2, 3, 2>],
            [tile::<2, 4, 1>, tile::<2, 4, 2>],
            [tile::<2, 5, 1>, tile::<2, 5, 2>],
            [tile::<2, 6, 1>, tile::<2, 6, 2>],
        ],
    ];
    let shape = &a.shape;
    let (step, down, all) = (shape.step(), line_words(shape, a.pixels), a.lines * a.pixels);
    let lines = (a.lines - 1) * shape.strides[0] + shape.kernel[0];
    let (panel, held, wide) = (panel_bytes(shape), held(shape), all > BLOCKS * MR);
    let (tiles, stretch) = (&TILES[usize::from(wide)], if held > 1 { STRETCH } else { all });
    // SAFETY: the caller's promise: lines may be read to the end of their last register, as there is slack behind them; the
    // scratch has room for the panels that are held and all lines as words and for a sum of every pixel; there are as many
    // weights and biases as `pack` and the contract say, and outputs lie within the pixels and channels.
    unsafe {
        let widened = a.scratch.cast::<i16>();
        let words = widened.add(held * panel).cast::<u16>();
        widen_lines(a, lines, words);
        let sums = sum_up(a, words.add(lines * down).cast());
        let weights = a.w.add(a.first / NR * panel);
        if wide && held > 1 {
            widen_panels(weights, (a.last - a.first).div_ceil(NR) * panel, widened);
        }
        for from in (0..all).step_by(stretch) {
            for (i, channel) in (a.first..a.last).step_by(NR).enumerate() {
                let w = match (wide, held) {
                    (false, _) => weights.add(i * panel),
                    (true, 1) => {
                        widen_panels(weights.add(i * panel), panel, widened);
                        widened.cast::<i8>().cast_const()
                    }
                    (true, _) => widened.add(i * panel).cast::<i8>().cast_const(),
                };
                let (rows, pairs, bias) = (shape.kernel[0], pairs(shape), a.bias.add(channel));
                let mut product = Product { x: [words.cast_const(); MR], rows, down, pairs, w, bias };
                let (mut end, cols) = (End::new(a, channel, sums), (a.last - channel).min(NR));
                let (mut line, mut pixel) = (from / a.pixels, from % a.pixels);
                for first in (from..all.min(from + stretch)).step_by(MR) {
                    let rows = (all - first).min(MR);
                    for x in product.x.iter_mut().take(rows) {
                        *x = words.add(line * shape.strides[0] * down + pixel * step);
                        pixel += 1;
                        if pixel == a.pixels {
                            (line, pixel) = (line + 1, 0);
                        }
                    }
                    if let Some(tile) = tiles.get(rows.wrapping_sub(1)).and_then(|tiles| tiles.get((cols - 1) / 8)) {
                        tile(&product, end.at(first, rows));
                    }
                }
            }
        }
    }
}

/// The sums of what each pixel of a call reads, if weights have offsets; null if not.
///
/// # Safety
/// As [`super::QRow::run`]; there is room for a sum of every pixel.
pub unsafe fn sum_up(a: &QArgs, sums: *mut i32) -> *const i32 {
    if a.offset.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the caller's promise.
    unsafe {
        let all = a.lines * a.pixels;
        sums.write_bytes(0, all + MR);
        window_sums(a, 0, core::slice::from_raw_parts_mut(sums, all));
    }
    sums
}

/// What becomes of the sums of tiles of some channels.
pub struct End {
    args: gemm::QArgs,
    y: *mut u8,
    sums: *const i32,
    other: *const u8,
}

impl End {
    /// Of a panel, in a call that [`sum_up`] gave these sums of.
    ///
    /// # Safety
    /// As [`super::QRow::run`]; `channel` is the first of a panel of the call.
    pub unsafe fn new(a: &QArgs, channel: usize, sums: *const i32) -> End {
        let requant = Requant { scales: a.requant.scales.from(channel), ..a.requant };
        // SAFETY: the caller's promise: output and other tensor have this channel, and offsets are padded as biases are.
        let (y, offset, other) = unsafe {
            let offset = if sums.is_null() { core::ptr::null() } else { a.offset.add(channel) };
            let other = a.residual.map_or(core::ptr::null(), |other| other.r.add(channel));
            (a.y.add(channel), offset, other)
        };
        let epilogue = match a.residual {
            None => Epilogue::Requant(requant),
            Some(other) => Epilogue::RequantAdd(requant, other),
        };
        let cols = (a.last - channel).min(NR);
        let (x, y_stride) = (core::ptr::null(), a.y_stride);
        let args =
            gemm::QArgs { rows: 0, cols, x, taps: 0, k: 0, w: a.w, bias: a.bias, offset, sums, y, y_stride, epilogue };
        End { args, y, sums, other }
    }

    /// Of the tile of so many pixels from `first` on.
    ///
    /// # Safety
    /// The call has these pixels.
    pub unsafe fn at(&mut self, first: usize, rows: usize) -> &gemm::QArgs {
        self.args.rows = rows;
        // SAFETY: the caller's promise.
        unsafe {
            self.args.y = self.y.add(first * self.args.y_stride);
            if !self.sums.is_null() {
                self.args.sums = self.sums.add(first);
            }
            if let Epilogue::RequantAdd(_, other) = &mut self.args.epilogue {
                other.r = self.other.add(first * other.r_stride);
            }
        }
        &self.args
    }
}

/// Widens the call's input lines to words.
///
/// # Safety
/// The CPU has AVX2; as many lines are readable to the end of their last register, and `words` has room for them.
#[target_feature(enable = "avx2")]
unsafe fn widen_lines(a: &QArgs, lines: usize, words: *mut u16) {
    let down = line_words(&a.shape, a.pixels);
    for line in 0..lines {
        for at in (0..down).step_by(WORDS) {
            // SAFETY: the caller's promise.
            unsafe {
                let bytes = _mm_loadu_si128(a.x.add(line * a.line + at).cast());
                _mm256_storeu_si256(words.add(line * down + at).cast(), _mm256_cvtepu8_epi16(bytes));
            }
        }
    }
}

/// Widens panels of weights, which are a multiple of [`NR`] bytes.
///
/// # Safety
/// The CPU has AVX2; the panels are readable, and there is room for them.
#[target_feature(enable = "avx2")]
unsafe fn widen_panels(w: *const i8, bytes: usize, words: *mut i16) {
    for at in (0..bytes).step_by(WORDS) {
        // SAFETY: the caller's promise; a register of words is as many as a panel has channels.
        unsafe {
            let bytes = _mm_loadu_si128(w.add(at).cast());
            _mm256_storeu_si256(words.add(at).cast(), _mm256_cvtepi8_epi16(bytes));
        }
    }
}

/// The products of a tile.
pub struct Product {
    /// Where each row's words start.
    pub x: [*const u16; MR],
    /// Kernel rows.
    pub rows: usize,
    /// Words from a kernel row to the next.
    pub down: usize,
    /// Steps of a kernel row.
    pub pairs: usize,
    /// The panel's weights.
    pub w: *const i8,
    /// What sums start from.
    pub bias: *const i32,
}

/// A tile with what becomes of it.
type Tile = unsafe fn(&Product, &gemm::QArgs);

/// # Safety
/// The CPU has AVX2; all that the product reads is there for `R` rows and `V` vectors of channels, and so is all that
/// the end reads and writes, as in [`gemm`](crate::gemm).
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const W: usize, const R: usize, const V: usize>(product: &Product, end: &gemm::QArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = products::<W, R, V>(product);
        gemm::avx2::add_offsets(&mut acc, end);
        gemm::avx2::finish_here(acc, end);
    }
}

/// The sums of `R` rows by `V` vectors of channels of a panel of [`NR`], whose weights have `W` bytes: words, or bytes that
/// become words.
///
/// # Safety
/// As [`tile`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn products<const W: usize, const R: usize, const V: usize>(p: &Product) -> [[__m256i; V]; R] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); V]; R];
        unroll!(V, v => {
            let bias = _mm256_loadu_si256(p.bias.add(8 * v).cast());
            unroll!(R, r => acc[r][v] = bias);
        });
        let (mut x, mut w) = (p.x, p.w);
        for _ in 0..p.rows {
            for pair in 0..p.pairs {
                let mut weights = [_mm256_setzero_si256(); V];
                unroll!(V, v => weights[v] = match W {
                    1 => _mm256_cvtepi8_epi16(_mm_loadu_si128(w.add(16 * v).cast())),
                    _ => _mm256_loadu_si256(w.add(32 * v).cast()),
                });
                unroll!(R, r => {
                    let x = _mm256_set1_epi32(x[r].add(2 * pair).cast::<i32>().read_unaligned());
                    unroll!(V, v => acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(x, weights[v])));
                });
                w = w.add(2 * NR * W);
            }
            unroll!(R, r => x[r] = x[r].add(p.down));
        }
        acc
    }
}
