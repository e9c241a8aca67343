//! The AVX2 row of 3x3 kernels by Winograd's minimal filtering, F(2x2, 3x3), in integers.
//!
//! Four outputs of a 3x3 kernel take 36 products of an input channel. Of a transformed window of 4 by 4 pixels and a
//! transformed kernel they take 16, one at each of 16 points, which are summed over the channels before they are
//! transformed back (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.1). As AVX2
//! multiplies words whatever the activations are, the transformed ones, which need eleven bits, cost nothing more.
//!
//! Nothing is rounded. The kernel's transform has halves in two of its four rows; these rows are taken twice as large, by
//! which the products at some points are twice or four times what they should be. All are brought to four times on the
//! way back, so that what comes out is four times the sum, exactly, and is shifted. It keeps to 32 bits as long as the sum
//! keeps to 29, as that of [`CHANNELS`] does.
//!
//! Points are matrices of their own: tiles of pixels by input channels, times input by output channels. The tile of
//! registers is that of `avx2`, with weights that are words already.

use super::avx2::{End, Product, products, sum_up, sums_bytes};
use super::{Pace, QArgs, Shape};
use crate::gemm::{self, avx2::MR, avx2::NR};
use crate::x86::unroll;
use core::arch::x86_64::*;

/// Points of a transformed window.
const POINTS: usize = 16;
/// Pixels of a tile in each direction.
const SIDE: usize = 2;
/// Words a register.
const WORDS: usize = 16;
/// The most input channels: 9 * 1024 products of 255 by 128 are less than 2^29.
const CHANNELS: usize = 1024;
/// The most bytes of transformed weights, which are 3.6 times those of the kernels: with more of them, fetching takes the
/// time that fewer products save.
const WEIGHTS: usize = 4 << 20;
/// Bytes of transformed windows that are held at a time: they are read again for every panel, from the second-level cache.
const HELD: usize = 192 << 10;

/// As measured on a Zen 3.
pub const PACE: Pace = Pace { macs: 45.0, block: [SIDE, MR * SIDE * SIDE], input: 3.0, weights: 16.0 };

/// Layers that it computes.
pub fn suits(shape: &Shape) -> bool {
    let three = shape.kernel == [3, 3] && shape.strides == [1, 1] && !shape.depthwise;
    let whole = shape.channels.is_multiple_of(WORDS) && (WORDS..=CHANNELS).contains(&shape.channels);
    three && whole && packed(shape) <= WEIGHTS
}

/// Bytes of a panel's weights at one point.
fn point_bytes(shape: &Shape) -> usize {
    shape.channels * NR * 2
}

/// Bytes of packed weights: whole panels of all points.
pub fn packed(shape: &Shape) -> usize {
    shape.outputs.div_ceil(NR).saturating_mul(POINTS).saturating_mul(point_bytes(shape))
}

/// Packs `[panel][point][pair of input channels][channel][2]`, transformed to words.
pub fn pack(shape: &Shape, w: &[i8], out: &mut [i8]) {
    let (channels, panel) = (shape.channels, POINTS * point_bytes(shape));
    for (first, out) in (0..shape.outputs).step_by(NR).zip(out.chunks_exact_mut(panel.max(1))) {
        out.fill(0);
        for channel in 0..NR.min(shape.outputs - first) {
            let kernel = w.get((first + channel) * 9 * channels..).unwrap_or_default();
            for i in 0..channels {
                let tap = |t: usize| kernel.get(t * channels + i).map_or(0, |w| i16::from(*w));
                let columns = [0, 1, 2].map(|x| forth([tap(x), tap(3 + x), tap(6 + x)]));
                for y in 0..4 {
                    for (x, value) in forth(columns.map(|c| c[y])).into_iter().enumerate() {
                        let at = (y * 4 + x) * point_bytes(shape) + (i / 2 * NR + channel) * 4 + i % 2 * 2;
                        let bytes = value.to_le_bytes().map(|b| b as i8);
                        out.iter_mut().skip(at).zip(bytes).for_each(|(out, b)| *out = b);
                    }
                }
            }
        }
    }
}

/// Three weights at four points; at the two in the middle twice what they should be.
const fn forth([a, b, c]: [i16; 3]) -> [i16; 4] {
    [a, a + b + c, a - b + c, c]
}

/// How a call is cut: tiles down and across, and how many lines of tiles are computed at a time.
struct Walk {
    down: usize,
    across: usize,
    held: usize,
    /// Words from a tile's window at a point to the next tile's: a cache line more than it has channels, so that neighbours
    /// do not meet in a set of the cache.
    window: usize,
}

impl Walk {
    fn new(shape: &Shape, lines: usize, pixels: usize) -> Walk {
        let (down, across) = (lines.div_ceil(SIDE), pixels.div_ceil(SIDE));
        let window = shape.channels.saturating_add(2 * WORDS);
        let line = across.saturating_mul(window).saturating_mul(POINTS * 2).max(1);
        Walk { down, across, held: (HELD / line).clamp(1, down.max(1)), window }
    }

    /// Tiles at a time.
    fn tiles(&self) -> usize {
        self.held.saturating_mul(self.across)
    }

    /// Tiles from a point's sums to the next's: an odd number, so that points do not meet in a set of the cache.
    fn apart(&self) -> usize {
        self.tiles() | 1
    }
}

/// Bytes of the transformed windows, of a panel's sums at all points, of its sums at all pixels, and of the sums of what
/// each pixel reads.
pub fn scratch(shape: &Shape, lines: usize, pixels: usize) -> usize {
    let walk = Walk::new(shape, lines, pixels);
    let windows = walk.tiles().saturating_mul(walk.window).saturating_mul(POINTS * 2);
    let points = walk.apart().saturating_mul(POINTS * NR * 4);
    let sums = walk.tiles().saturating_mul(SIDE * SIDE * NR * 4);
    windows.saturating_add(points).saturating_add(sums).saturating_add(sums_bytes(lines, pixels))
}

/// The sums of a tile at a point.
type Sums = unsafe fn(&Product, *mut i32);
/// What becomes of the sums of neighbouring pixels.
type Store = unsafe fn(*const i32, &gemm::QArgs);

/// Where the parts of the scratch are.
struct Room {
    windows: *mut i16,
    points: *mut i32,
    sums: *mut i32,
    /// Sums of what pixels read, or null.
    read: *const i32,
}

/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX2.
pub unsafe fn run(a: &QArgs) {
    let walk = Walk::new(&a.shape, a.lines, a.pixels);
    let tiles = walk.tiles();
    // SAFETY: the caller's promise; the scratch has room for the parts, in this order.
    unsafe {
        let windows = a.scratch.cast::<i16>();
        let points = windows.add(tiles * walk.window * POINTS).cast::<i32>();
        let sums = points.add(walk.apart() * POINTS * NR);
        let read = sums.add(tiles * SIDE * SIDE * NR);
        let room = Room { windows, points, sums, read: sum_up(a, read) };
        for top in (0..walk.down).step_by(walk.held.max(1)) {
            let held = walk.held.min(walk.down - top);
            for line in 0..held {
                transform(a, &walk, top + line, line, windows);
            }
            for channel in (a.first..a.last).step_by(NR) {
                multiply(a, &walk, &room, held * walk.across, channel);
                if a.last - channel > 8 {
                    back::<2>(a, &walk, &room, [top, held], channel);
                } else {
                    back::<1>(a, &walk, &room, [top, held], channel);
                }
            }
        }
    }
}

/// Four values of a window at four points.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn at_points(d: [__m256i; 4]) -> [__m256i; 4] {
    [
        _mm256_sub_epi16(d[0], d[2]),
        _mm256_add_epi16(d[1], d[2]),
        _mm256_sub_epi16(d[2], d[1]),
        _mm256_sub_epi16(d[1], d[3]),
    ]
}

/// Transforms the windows of a line of tiles: `[point][tile][channel]`, the tiles from line `to` of those held on.
/// Windows of tiles at the end may reach beyond the last line or pixel that there is: what they make of it is not stored,
/// and the last one stands for it.
///
/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX2; `windows` has room for the held lines of tiles.
#[target_feature(enable = "avx2")]
unsafe fn transform(a: &QArgs, walk: &Walk, line: usize, to: usize, windows: *mut i16) {
    let (channels, point) = (a.shape.channels, walk.tiles() * walk.window);
    let lines = [0, 1, 2, 3].map(|y| (line * SIDE + y).min(a.lines + 1));
    // SAFETY: the caller's promise: a call reads two lines and two pixels more than it computes, and channels are whole
    // registers.
    unsafe {
        let rows = lines.map(|y| a.x.add(y * a.line));
        let column = |x: usize, c: usize| {
            let at = x.min(a.pixels + 1) * channels + c;
            at_points(rows.map(|row| _mm256_cvtepu8_epi16(_mm_loadu_si128(row.add(at).cast()))))
        };
        for c in (0..channels).step_by(WORDS) {
            let (mut first, mut second) = (column(0, c), column(1, c));
            for tile in 0..walk.across {
                let (third, fourth) = (column(tile * SIDE + 2, c), column(tile * SIDE + 3, c));
                let out = windows.add((to * walk.across + tile) * walk.window + c);
                unroll!(4, y => {
                    let row = at_points([first[y], second[y], third[y], fourth[y]]);
                    unroll!(4, x => _mm256_storeu_si256(out.add((y * 4 + x) * point).cast(), row[x]));
                });
                (first, second) = (third, fourth);
            }
        }
    }
}

/// A panel's sums at all points, `[point][tile][channel]`.
///
/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX2; the room's windows are those of so many tiles.
unsafe fn multiply(a: &QArgs, walk: &Walk, room: &Room, tiles: usize, channel: usize) {
    static TILES: [[Sums; NR / 8]; MR] = [
        [sums::<1, 1>, sums::<1, 2>],
        [sums::<2, 1>, sums::<2, 2>],
        [sums::<3, 1>, sums::<3, 2>],
        [sums::<4, 1>, sums::<4, 2>],
        [sums::<5, 1>, sums::<5, 2>],
        [sums::<6, 1>, sums::<6, 2>],
    ];
    static NONE: [i32; NR] = [0; NR];
    let (channels, vectors) = (a.shape.channels, (a.last - channel).min(NR).div_ceil(8));
    // SAFETY: the caller's promise; there are weights of all points for each panel.
    unsafe {
        let weights = a.w.add(channel / NR * POINTS * point_bytes(&a.shape));
        for point in 0..POINTS {
            let windows = room.windows.add(point * walk.tiles() * walk.window).cast::<u16>();
            let out = room.points.add(point * walk.apart() * NR);
            for first in (0..tiles).step_by(MR) {
                let rows = (tiles - first).min(MR);
                let product = Product {
                    x: core::array::from_fn(|r| windows.add((first + r.min(rows - 1)) * walk.window).cast_const()),
                    rows: 1,
                    down: 0,
                    pairs: channels / 2,
                    w: weights.add(point * point_bytes(&a.shape)),
                    bias: NONE.as_ptr(),
                };
                if let Some(tile) = TILES.get(rows.wrapping_sub(1)).and_then(|tiles| tiles.get(vectors - 1)) {
                    tile(&product, out.add(first * NR));
                }
            }
        }
    }
}

/// # Safety
/// The CPU has AVX2; what the product reads is there, and room for `R` rows of [`NR`] sums.
#[target_feature(enable = "avx2,fma")]
unsafe fn sums<const R: usize, const V: usize>(product: &Product, out: *mut i32) {
    // SAFETY: the caller's promise.
    unsafe {
        let acc = products::<2, R, V>(product);
        unroll!(R, r => unroll!(V, v => _mm256_storeu_si256(out.add(r * NR + 8 * v).cast(), acc[r][v])));
    }
}

/// Four points at two pixels, each twice what it should be: the points at the ends are half of what those in the middle are.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn at_pixels([a, b, c, d]: [__m256i; 4]) -> [__m256i; 2] {
    let twice = |v: __m256i| _mm256_add_epi32(v, v);
    [_mm256_add_epi32(_mm256_add_epi32(twice(a), b), c), _mm256_sub_epi32(_mm256_sub_epi32(b, c), twice(d))]
}

/// The pixels of a panel's `V` vectors of channels: transformed back, and stored as the call says.
///
/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX2; the room has the sums of the held lines of tiles from `top` on.
#[target_feature(enable = "avx2,fma")]
unsafe fn back<const V: usize>(a: &QArgs, walk: &Walk, room: &Room, [top, held]: [usize; 2], channel: usize) {
    static TILES: [[Store; NR / 8]; MR] = [
        [store::<1, 1>, store::<1, 2>],
        [store::<2, 1>, store::<2, 2>],
        [store::<3, 1>, store::<3, 2>],
        [store::<4, 1>, store::<4, 2>],
        [store::<5, 1>, store::<5, 2>],
        [store::<6, 1>, store::<6, 2>],
    ];
    let (width, point) = (walk.across * SIDE, walk.apart() * NR);
    // SAFETY: the caller's promise; biases are padded to whole panels.
    unsafe {
        for tile in 0..held * walk.across {
            let (y, x) = (tile / walk.across * SIDE, tile % walk.across * SIDE);
            for v in 0..V {
                let bias = _mm256_loadu_si256(a.bias.add(channel + 8 * v).cast());
                let from = room.points.add(tile * NR + 8 * v);
                let load = |point_y: usize, point_x: usize| {
                    _mm256_loadu_si256(from.add((point_y * 4 + point_x) * point).cast())
                };
                let mut lines = [[_mm256_setzero_si256(); 4]; 2];
                unroll!(4, x => {
                    let column = at_pixels([load(0, x), load(1, x), load(2, x), load(3, x)]);
                    unroll!(2, y => lines[y][x] = column[y]);
                });
                unroll!(2, line => {
                    let pixels = at_pixels(lines[line]);
                    unroll!(2, p => {
                        let sum = _mm256_add_epi32(_mm256_srai_epi32::<2>(pixels[p]), bias);
                        let to = room.sums.add(((y + line) * width + x + p) * NR + 8 * v);
                        _mm256_storeu_si256(to.cast(), sum);
                    });
                });
            }
        }
        let mut end = End::new(a, channel, room.read);
        for line in 0..(held * SIDE).min(a.lines - top * SIDE) {
            for first in (0..a.pixels).step_by(MR) {
                let (rows, at) = ((a.pixels - first).min(MR), (top * SIDE + line) * a.pixels + first);
                if let Some(tile) = TILES.get(rows.wrapping_sub(1)).and_then(|tiles| tiles.get(V - 1)) {
                    tile(room.sums.add((line * width + first) * NR), end.at(at, rows));
                }
            }
        }
    }
}

/// # Safety
/// The CPU has AVX2; there are sums for `R` rows of [`NR`] channels, and what the end reads and writes is there.
#[target_feature(enable = "avx2,fma")]
unsafe fn store<const R: usize, const V: usize>(sums: *const i32, end: &gemm::QArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); V]; R];
        unroll!(R, r => unroll!(V, v => acc[r][v] = _mm256_loadu_si256(sums.add(r * NR + 8 * v).cast())));
        gemm::avx2::add_offsets(&mut acc, end);
        gemm::avx2::finish_here(acc, end);
    }
}
