//! One step, one tile: from places to pointers, and the kernel call.
//!
//! All pointers are made by [`Memory::at`] from places that [`Program::new`](crate::Program::new) checked: each span a
//! step names lies within the arena or the constants, both of which are readable [`SLACK`](lowbit_kernels::SLACK) bytes
//! further. Two tiles of one step write different bytes, and no step starts before the one before it is
//! complete.

use crate::memory::Aligned;
use crate::point;
use crate::program::{
    AccumulatorRow, Affines, Averages, Cut, Dw, Epilogue, Epilogue16, FMatMul, FloatEpilogue, Gather, Gemm, Integer,
    Kind, Link, Links, LinksFrom, LinksTo, Map, MapFn, Narrow, Other, Pad, Panel, Place, Pool, PoolKind, QMatMul, QRow,
    Reduce, Reference, Requant, Rows, RowsFn, RowsFrom, RowsTo, Scales, Transpose, Zip, ZipFn, product, type_bytes,
};
use crate::spans::Store;
use lowbit_arithmetic::Affine;
use lowbit_ir::{Customs, Result, Tensor, Type, interp};
use lowbit_kernels::{copy, dwconv, elementwise, gemm, pool, requant, rowconv};

/// Elements of an element-by-element step that one tile covers.
const RUN: usize = 16 * 1024;

/// The memory of one run.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'a> {
    arena: *mut u8,
    arena_len: usize,
    consts: &'a Aligned,
    customs: &'a Customs,
}

// SAFETY: tiles of one step write disjoint bytes and a step starts when all tiles of the last are complete, so sharing the arena pointer
// among the threads of a run makes no race.
unsafe impl Send for Memory<'_> {}
// SAFETY: as above.
unsafe impl Sync for Memory<'_> {}

impl<'a> Memory<'a> {
    /// The memory of a run over this arena.
    pub fn new(arena: &mut Aligned, consts: &'a Aligned, customs: &'a Customs) -> Self {
        Memory { arena: arena.as_mut_ptr(), arena_len: arena.len(), consts, customs }
    }

    /// The pointer of a place. Spans from it are valid as far as the program's check covered them.
    fn at<T>(&self, place: Place) -> *const T {
        match place {
            Place::Arena(at) => self.arena.wrapping_add(at.min(self.arena_len)).cast::<T>().cast_const(),
            Place::Const(at) => self.consts.as_ptr().wrapping_add(at.min(self.consts.len())).cast::<T>(),
        }
    }

    /// The pointer of a place that is written; the program's check lets no constant be one.
    fn at_mut<T>(&self, place: Place) -> *mut T {
        self.at::<T>(place).cast_mut()
    }
}

/// How many tiles a step has; those of an empty output may be none.
pub fn tiles(kind: &Kind) -> usize {
    let ceil = |n: usize, by: usize| n.div_ceil(by.max(1)).max(1);
    match kind {
        Kind::QGemm(s) => gemm_tiles(s.window.pixels(), s.row.mr, s.panels.len(), s.cut),
        Kind::QGemm16(s) => gemm_tiles(s.window.pixels(), s.row.mr, s.panels.len(), s.cut),
        Kind::QGemm16W16(s) => gemm_tiles(s.window.pixels(), s.row.mr, s.panels.len(), s.cut),
        Kind::QGemm8W16(s) => gemm_tiles(s.window.pixels(), s.row.mr, s.panels.len(), s.cut),
        Kind::FGemm(s) => gemm_tiles(s.window.pixels(), s.row.mr, s.panels.len(), s.cut),
        Kind::QDw(s) => s.window.rows(),
        Kind::QDw16(s) => s.window.rows(),
        Kind::QRow(s) if s.window.pixels() == 0 => 0,
        Kind::QRow(s) => s.tiles().into_iter().fold(s.window.batch, |all, n| all * n),
        Kind::QDw16W16(s) => s.window.rows(),
        Kind::QDw8W16(s) => s.window.rows(),
        Kind::FDw(s) => s.window.rows(),
        Kind::FMatMul(s) => s.batch.len() * s.n.div_ceil(s.row.nr),
        Kind::QMatMul(s) => s.batch.len() * s.n.div_ceil(s.row.nr),
        Kind::Pool(s) => s.window.rows(),
        Kind::Map(s) => ceil(s.n, RUN),
        Kind::Zip(s) => ceil(s.rows, runs_of(s.n)),
        Kind::DequantizeAcc { rows, channels, .. } => ceil(*rows, runs_of(*channels)),
        Kind::Rows(s) => ceil(s.rows, rows_of(s.n)),
        Kind::Reduce(s) => ceil(s.rows, runs_of(s.n)),
        Kind::Links(s) => ceil(s.rows, blocks_of(s)),
        Kind::Transpose(s) if product([s.rows, s.cols]) == 0 => 0,
        Kind::Transpose(s) => s.matrices() * s.cols.div_ceil(s.columns(RUN)),
        Kind::CopyRows { rows, bytes, .. } => ceil(*rows, runs_of(*bytes)),
        Kind::Gather(s) => ceil(s.count(), runs_of(s.run)),
        Kind::Pad(_) | Kind::Reference(_) => 1,
    }
}

/// Runs of `n` elements that one tile covers.
fn runs_of(n: usize) -> usize {
    RUN.div_ceil(n.max(1))
}

/// Rows of `n` elements that one tile covers, of which much more is computed.
fn rows_of(n: usize) -> usize {
    (RUN / 8).div_ceil(n.max(1))
}

/// Rows that one tile covers: whole blocks.
fn blocks_of(s: &Links) -> usize {
    runs_of(s.n).next_multiple_of(s.block)
}

fn gemm_tiles(pixels: usize, mr: usize, panels: usize, cut: Cut) -> usize {
    pixels.div_ceil(mr).div_ceil(cut.blocks) * panels.div_ceil(cut.panels)
}

/// Runs one tile of a step.
///
/// # Safety
/// `kind` is a step of a program made by [`Program::new`](crate::Program::new) and `memory` is over that program's
/// constants and an arena of its size; the CPU has the program's features; `tile < tiles(kind)`; no other thread runs
/// the same tile; all earlier steps are complete; `scratch` is this thread's own, of the program's scratch size, aligned
/// to 64 bytes.
pub unsafe fn run_tile(kind: &Kind, tile: usize, memory: &Memory<'_>, scratch: *mut u8) -> Result<()> {
    // SAFETY: passed on; each callee uses only spans that the program's check covered.
    unsafe {
        match kind {
            Kind::QGemm(s) => matmul(s, tile, memory, scratch.cast()),
            Kind::QGemm16(s) => matmul(s, tile, memory, scratch.cast()),
            Kind::QGemm16W16(s) => matmul(s, tile, memory, scratch.cast()),
            Kind::QGemm8W16(s) => matmul(s, tile, memory, scratch.cast()),
            Kind::FGemm(s) => matmul(s, tile, memory, scratch.cast()),
            Kind::QDw(s) => depthwise(s, tile, memory, scratch.cast()),
            Kind::QDw16(s) => depthwise(s, tile, memory, scratch.cast()),
            Kind::QRow(s) => qrow(s, tile, memory, scratch),
            Kind::QDw16W16(s) => depthwise(s, tile, memory, scratch.cast()),
            Kind::QDw8W16(s) => depthwise(s, tile, memory, scratch.cast()),
            Kind::FDw(s) => depthwise(s, tile, memory, scratch.cast()),
            Kind::FMatMul(s) => fmatmul(s, tile, memory, scratch),
            Kind::QMatMul(s) => qmatmul(s, tile, memory, scratch),
            Kind::Pool(s) => pooling(s, tile, memory, scratch.cast()),
            Kind::Map(s) => map(s, tile, memory),
            Kind::Zip(s) => zip(s, tile, memory),
            Kind::DequantizeAcc { row, x, y, rows, channels, scale, scale_step } => {
                let per = runs_of(*channels);
                for r in tile * per..((tile + 1) * per).min(*rows) {
                    let (x, y) = (x.plus(r * channels * row.size()), memory.at_mut(y.plus(r * channels * 4)));
                    match row {
                        AccumulatorRow::Narrow(k) => {
                            (k.run)(*channels, memory.at(x), memory.at(*scale), *scale_step, y);
                        }
                        AccumulatorRow::Wide(k) => (k.run)(*channels, memory.at(x), memory.at(*scale), *scale_step, y),
                    }
                }
            }
            Kind::Rows(s) => rowwise(s, tile, memory, scratch.cast()),
            Kind::Reduce(s) => reduce(s, tile, memory),
            Kind::Links(s) => linked(s, tile, memory, scratch.cast()),
            Kind::Transpose(s) => transpose(s, tile, memory),
            Kind::CopyRows { x, y, rows, bytes, x_stride, y_stride } => {
                // All runs lie within the step's spans, and what a step writes has no byte in common with what it reads
                // (Program::new).
                let first = tile * runs_of(*bytes);
                let count = rows.saturating_sub(first).min(runs_of(*bytes));
                let (x, y) = (memory.at(x.plus(first * x_stride)), memory.at_mut(y.plus(first * y_stride)));
                copy::runs(*bytes, count, x, *x_stride, y, *y_stride);
            }
            Kind::Gather(s) => gather(s, tile, memory),
            Kind::Pad(s) => pad(s, memory),
            Kind::Reference(s) => return reference(s, memory),
        }
    }
    Ok(())
}

/// A tile of a function of rows, each of which is in the scratch while it is floats, unless it is that from the beginning.
///
/// # Safety
/// As [`run_tile`].
unsafe fn rowwise(s: &Rows, tile: usize, memory: &Memory<'_>, scratch: *mut f32) {
    let ((from, to), n, per) = (s.sizes(), s.n, rows_of(s.n));
    for r in tile * per..((tile + 1) * per).min(s.rows) {
        let (x, y) = (s.x.plus(r * n * from), s.y.plus(r * n * to));
        // SAFETY: the scratch holds a row, x, y, scales and biases are checked spans, and the kernels read all of an
        // element before they write it.
        unsafe {
            let floats: *const f32 = match s.from {
                RowsFrom::Float => memory.at(x),
                RowsFrom::Accumulator(row, scale) => {
                    match row {
                        AccumulatorRow::Narrow(k) => (k.run)(n, memory.at(x), memory.at(scale), 0, scratch),
                        AccumulatorRow::Wide(k) => (k.run)(n, memory.at(x), memory.at(scale), 0, scratch),
                    }
                    scratch
                }
                RowsFrom::Bytes(k, of) => {
                    (k.run)(n, memory.at(x), scratch, &of);
                    scratch
                }
            };
            let result = if let RowsTo::Float = s.to { memory.at_mut(y) } else { scratch };
            match s.f {
                RowsFn::Softmax(row) => (row.run)(n, floats, result),
                RowsFn::LayerNorm { row, scale, bias, epsilon } => {
                    let bias = bias.map_or(std::ptr::null(), |b| memory.at(b));
                    (row.run)(n, floats, memory.at(scale), bias, epsilon, result);
                }
            }
            if let RowsTo::Bytes(k, to) = s.to {
                (k.run)(n, scratch, memory.at_mut(y), &to);
            }
        }
    }
}

/// # Safety
/// As [`run_tile`].
unsafe fn reduce(s: &Reduce, tile: usize, memory: &Memory<'_>) {
    let per = runs_of(s.n);
    let (x, y) = (memory.at::<f32>(s.x), memory.at_mut::<f32>(s.y));
    for r in tile * per..((tile + 1) * per).min(s.rows) {
        // SAFETY: rows and results lie within the checked spans.
        unsafe { *y.add(r) = (s.row.run)(s.f, s.n, x.add(r * s.n)) };
    }
}

/// A tile of functions of one element after another, of which each block is in the scratch between them.
///
/// # Safety
/// As [`run_tile`].
unsafe fn linked(s: &Links, tile: usize, memory: &Memory<'_>, scratch: *mut f32) {
    let ((from, to), per) = (s.sizes(), blocks_of(s));
    let end = ((tile + 1) * per).min(s.rows);
    let mut row = tile * per;
    while row < end {
        let rows = s.together(row, end);
        let (at, n) = (row * s.n, rows * s.n);
        let (x, y) = (s.x.plus(at * from), s.y.plus(at * to));
        // SAFETY: the scratch holds a block, x, y and the other operands are checked spans, and the kernels read all of an
        // element before they write it.
        unsafe {
            let mut now: *const f32 = match s.from {
                LinksFrom::Float => memory.at(x),
                LinksFrom::Accumulator { row, scale, step } => {
                    match row {
                        AccumulatorRow::Narrow(k) => (k.run)(n, memory.at(x), memory.at(scale), step, scratch),
                        AccumulatorRow::Wide(k) => (k.run)(n, memory.at(x), memory.at(scale), step, scratch),
                    }
                    scratch
                }
            };
            let last = s.links.len().saturating_sub(1);
            for (i, link) in s.links.iter().enumerate() {
                let stored = i == last && matches!(s.to, LinksTo::Float);
                let result = if stored { memory.at_mut(y) } else { scratch };
                match *link {
                    Link::Unary(k, f) => (k.run)(f, n, now, result),
                    Link::Clamp(k, lo, hi) => (k.run)(n, now, result, lo, hi),
                    Link::Binary { row: k, f, other, other_first } => {
                        let (other, step): (*const f32, usize) = match other {
                            Other::Full(place) => (memory.at(place.plus(at * 4)), 1),
                            Other::Number(place, rows) => (memory.at(place.plus(row / rows * 4)), 0),
                            Other::Block(place) => (memory.at(place), 1),
                        };
                        match other_first {
                            true => (k.run)(f, n, other, step, now, 1, result),
                            false => (k.run)(f, n, now, 1, other, step, result),
                        }
                    }
                }
                now = result.cast_const();
            }
            if let LinksTo::Bytes(k, to) = s.to {
                (k.run)(n, now, memory.at_mut(y), &to);
            }
        }
        row += rows;
    }
}

/// What a block of a matrix product needs to know of its tile.
struct Block {
    first: usize,
    rows: usize,
    panel: usize,
}

/// Calls `run` for every block of a tile, after telling `point` its first pixel, how many there are, and where in a pixel
/// the channels start (again for every group of channels).
fn blocks(
    pixels: usize,
    mr: usize,
    panels: &[Panel],
    cut: Cut,
    tile: usize,
    mut point: impl FnMut(usize, usize, usize),
    mut run: impl FnMut(Block),
) {
    let block_groups = pixels.div_ceil(mr).div_ceil(cut.blocks);
    let first_block = tile % block_groups * cut.blocks;
    let first_panel = tile / block_groups * cut.panels;
    let last_panel = (first_panel + cut.panels).min(panels.len());
    for block in first_block..first_block + cut.blocks {
        let first = block * mr;
        if first >= pixels {
            break;
        }
        let rows = mr.min(pixels - first);
        let mut pointed = None;
        for (panel, p) in panels.iter().enumerate().take(last_panel).skip(first_panel) {
            if pointed != Some(p.x_offset) {
                point(first, rows, p.x_offset);
                pointed = Some(p.x_offset);
            }
            run(Block { first, rows, panel });
        }
    }
}

fn requant_at(r: &Requant, entry: usize, memory: &Memory<'_>) -> requant::Requant {
    let scales = match r.scales {
        Scales::Float32(m) => requant::Scales::Float32(memory.at(m.plus(entry * 4))),
        Scales::Fixed(m, s) => requant::Scales::Fixed(memory.at(m.plus(entry * 4)), memory.at(s.plus(entry * 4))),
        Scales::Shift(s) => requant::Scales::Shift(memory.at(s.plus(entry * 4))),
    };
    requant::Requant { scales, rounding: r.rounding, zero_point: r.zero_point, lo: r.lo, hi: r.hi }
}

/// From what a step stores to what its kernel is told.
trait Resolve: Store {
    /// The kernel's epilogue.
    type Kernel;

    /// For the output element at byte `at`, `stride` bytes between rows, with channels' entries from `entry` on.
    fn at(&self, entry: usize, at: usize, stride: usize, memory: &Memory<'_>) -> Self::Kernel;
}

impl Resolve for Epilogue {
    type Kernel = requant::Epilogue;

    fn at(&self, entry: usize, at: usize, stride: usize, memory: &Memory<'_>) -> requant::Epilogue {
        match self {
            Epilogue::Accumulator => requant::Epilogue::Accumulator,
            Epilogue::Requant(r) => requant::Epilogue::Requant(requant_at(r, entry, memory)),
            Epilogue::RequantAdd(r, other, add) => requant::Epilogue::RequantAdd(
                requant_at(r, entry, memory),
                requant::Residual { r: memory.at(other.plus(at)), r_stride: stride, add: *add },
            ),
        }
    }
}

impl Resolve for FloatEpilogue {
    type Kernel = requant::FloatEpilogue;

    fn at(&self, _: usize, at: usize, stride: usize, memory: &Memory<'_>) -> requant::FloatEpilogue {
        let add = self.add.map(|(other, clamp)| (memory.at(other.plus(at)), stride, clamp));
        requant::FloatEpilogue { clamp: self.clamp, add }
    }
}

impl Resolve for Epilogue16 {
    type Kernel = gemm::Epilogue16;

    fn at(&self, entry: usize, _: usize, _: usize, memory: &Memory<'_>) -> gemm::Epilogue16 {
        match self {
            None => gemm::Epilogue16::Accumulator,
            Some(r) => gemm::Epilogue16::Requant { how: requant_at(&r.how, entry, memory), narrow: r.narrow },
        }
    }
}

unsafe fn matmul<X, W, B, Y, E: Resolve>(
    s: &Gemm<gemm::Args<X, W, B, Y, E::Kernel>, E>,
    tile: usize,
    memory: &Memory<'_>,
    pointers: *mut *const u8,
) {
    let (nr, size, y_stride) = (s.row.nr, s.epilogue.size(), s.y_stride);
    let (taps, mr) = (s.window.taps(), s.row.mr);
    let (seen, k) = s.row.depth(taps, s.k);
    // What is made of the pointers lies behind them: sums, or planes and the pointers to them.
    let behind = pointers.wrapping_add(taps * mr);
    let sums: *mut i32 = behind.cast();
    let planes = pointers.cast::<u8>().wrapping_add(s.pointer_bytes());
    let (input, zero): (*const u8, *const u8) = (memory.at(s.x), memory.at(s.zero));
    let point_at = |first: usize, rows: usize, channels: usize| {
        let (input, zero) = (input.wrapping_add(channels), zero.wrapping_add(channels));
        if let Some(split) = s.split {
            let apart = gemm::apart(k);
            for row in 0..mr {
                let planes = planes.wrapping_add(row * apart);
                // SAFETY: the scratch holds mr pointers behind taps * mr, which are room for a run a tap (Gemm::check), and behind
                // these the planes of as many rows (Gemm::scratch); the group's channels lie within a pixel (Kind::check).
                unsafe {
                    *behind.add(row) = planes;
                    if row < rows {
                        let runs: *mut gemm::Run = pointers.cast();
                        let count = point::runs(&s.window, first + row, s.k, input, zero, runs);
                        (split.run)(&gemm::SplitArgs { runs, count, plane: k, planes });
                    }
                }
            }
            return;
        }
        // SAFETY: the scratch holds taps * mr pointers, and sums behind them (Gemm::scratch).
        unsafe {
            point::point(&s.window, first, rows, mr, input, zero, pointers);
            if let Some(offset) = s.offset {
                let x = pointers.cast_const();
                (offset.sums.run)(&gemm::SumsArgs { rows, x, taps, apart: mr, k: s.k, sums });
            }
        }
    };
    let x = if s.split.is_some() { behind } else { pointers };
    let run = |b: Block| {
        let p = &s.panels[b.panel];
        let at = b.first * y_stride + p.channel * size;
        let args = gemm::Args {
            rows: b.rows,
            cols: p.cols,
            x: x.cast_const().cast(),
            taps: seen,
            k,
            w: memory.at(s.w.plus(b.panel * s.panel_bytes)),
            bias: memory.at(s.bias.plus(b.panel * nr * size_of::<B>())),
            offset: s.offset.map_or(std::ptr::null(), |o| memory.at(o.place.plus(b.panel * nr * size_of::<B>()))),
            sums: sums.cast_const().cast(),
            y: memory.at_mut(s.y.plus(at)),
            y_stride,
            epilogue: s.epilogue.at(b.panel * nr, at, y_stride, memory),
        };
        // SAFETY: pointers lead into checked spans, the tile's output is its own, and there is a change of scale for
        // every column (Kind::check).
        unsafe { (s.row.run)(&args) }
    };
    blocks(s.window.pixels(), mr, &s.panels, s.cut, tile, point_at, run);
}

#[allow(clippy::type_complexity, reason = "a kernel's arguments are named by the numbers they lead to")]
unsafe fn depthwise<X, W, B, Y, E: Resolve>(
    s: &Dw<dwconv::Args<X, W, B, Y, E::Kernel>, W, E>,
    tile: usize,
    memory: &Memory<'_>,
    pointers: *mut *const u8,
) {
    let y_stride = s.channels * s.epilogue.size();
    // SAFETY: the scratch holds a row's pointers (Kind::scratch), they lead into checked spans, and there is a change of
    // scale for every channel (Kind::check).
    unsafe {
        let first = point::point_row(&s.window, tile, memory.at(s.x), memory.at(s.zero), pointers);
        let at = first * y_stride;
        (s.row.run)(&dwconv::Args {
            pixels: s.window.output[1],
            channels: s.channels,
            taps: s.window.taps(),
            x: pointers.cast_const().cast(),
            w: memory.at(s.w),
            bias: memory.at(s.bias),
            offset: s.offset.map_or(std::ptr::null(), |o| memory.at(o)),
            y: memory.at_mut(s.y.plus(at)),
            y_stride,
            epilogue: s.epilogue.at(0, at, y_stride, memory),
        });
    }
}

/// Copies `lines` input rows of an image from `top` on (which may lie above it) to `to`, with their padding.
///
/// # Safety
/// `x` leads to the whole input, `to` has room for `lines` times `line_bytes`, each of which holds `row_bytes`.
unsafe fn copy_lines(s: &QRow, image: usize, top: isize, lines: usize, x: *const u8, to: *mut u8) {
    let [height, width] = s.window.input;
    let (bytes, line_bytes) = (s.shape().row_bytes(s.window.output[1]), s.line_bytes());
    let left = (s.window.pads[1] * s.window.pixel).min(bytes);
    let inside = (width * s.window.pixel).min(bytes - left);
    for line in 0..lines {
        let to = to.wrapping_add(line * line_bytes);
        // SAFETY: left + inside <= bytes, and the row read is one of the image.
        unsafe {
            match top.checked_add_unsigned(line).and_then(|y| usize::try_from(y).ok()).filter(|y| *y < height) {
                Some(y) => {
                    let from = x.add((image * height + y) * width * s.window.pixel);
                    to.write_bytes(s.fill, left);
                    std::ptr::copy_nonoverlapping(from, to.add(left), inside);
                    to.add(left + inside).write_bytes(s.fill, bytes - left - inside);
                }
                None => to.write_bytes(s.fill, bytes),
            }
        }
    }
}

unsafe fn qrow(s: &QRow, tile: usize, memory: &Memory<'_>, scratch: *mut u8) {
    let ([height, width], strides) = (s.window.output, s.window.strides);
    // Neighbouring tiles are of the same channels, whose weights are in the caches then.
    let [down, along, _] = s.tiles();
    let (part, tile) = (tile / (s.window.batch * down * along), tile % (s.window.batch * down * along));
    let (image, top, left) = (tile / (down * along), tile / along % down, tile % along);
    let (top, left, first) = (top * s.tile.lines, left * s.tile.pixels, part * s.tile.channels);
    let lines = s.tile.lines.min(height.saturating_sub(top));
    // SAFETY: the scratch holds the lines of a tile, with the slack behind them, and what the kernel asks for (Kind::check);
    // a tile that copies lines has all pixels of them; the shape suits the kernel, which has as many weights as it asks for.
    unsafe {
        let x = match s.window.is_within() {
            true => {
                let line = (image * s.window.input[0] + top * strides[0]) * s.line_bytes();
                memory.at(s.x.plus(line + left * strides[1] * s.window.pixel))
            }
            false => {
                let above = (top * strides[0]) as isize - s.window.pads[0] as isize;
                copy_lines(s, image, above, s.lines(lines), memory.at(s.x), scratch);
                scratch.cast_const()
            }
        };
        let at = ((image * height + top) * width + left) * s.y_stride;
        (s.row.run)(&rowconv::QArgs {
            shape: s.shape(),
            lines,
            pixels: s.tile.pixels.min(width - left),
            first,
            last: first.saturating_add(s.tile.channels).min(s.channels),
            x,
            line: s.line_bytes(),
            w: memory.at(s.w),
            bias: memory.at(s.bias),
            offset: s.offset.map_or(std::ptr::null(), |o| memory.at(o)),
            y: memory.at_mut(s.y.plus(at)),
            y_stride: s.y_stride,
            requant: requant_at(&s.requant, 0, memory),
            residual: s.residual.map(|(other, add)| requant::Residual {
                r: memory.at(other.plus(at)),
                r_stride: s.channels,
                add,
            }),
            scratch: scratch.wrapping_add(s.copied_bytes()),
        });
    }
}

unsafe fn fmatmul(s: &FMatMul, tile: usize, memory: &Memory<'_>, scratch: *mut u8) {
    let (mr, nr) = (s.row.mr, s.row.nr);
    let panels = s.n.div_ceil(nr);
    let (matrix, panel) = (tile / panels, tile % panels);
    let (a_index, b_index) = s.batch[matrix];
    let first_col = panel * nr;
    let cols = nr.min(s.n - first_col);
    let pointers: *mut *const f32 = scratch.cast();
    let packed: *mut f32 = scratch.wrapping_add((mr * size_of::<*const u8>()).next_multiple_of(64)).cast();
    let b: *const f32 = memory.at(s.b.plus(b_index * s.k * s.n * 4));
    // SAFETY: the scratch holds mr pointers and k * nr floats (Kind::scratch); b, a and y are checked spans.
    unsafe {
        for k in 0..s.k {
            for c in 0..nr {
                let from = match s.trans_b {
                    true => (first_col + c) * s.k + k,
                    false => k * s.n + first_col + c,
                };
                *packed.add(k * nr + c) = if c < cols { *b.add(from) } else { 0.0 };
            }
        }
        let a: *const f32 = memory.at(s.a.plus(a_index * s.m * s.k * 4));
        for first in (0..s.m).step_by(mr) {
            let rows = mr.min(s.m - first);
            for row in 0..mr {
                *pointers.add(row) = a.add((first + row.min(rows - 1)) * s.k);
            }
            (s.row.run)(&gemm::FArgs {
                rows,
                cols,
                x: pointers.cast_const(),
                taps: 1,
                k: s.k,
                w: packed.cast_const(),
                bias: memory.at(s.bias.plus(first_col * 4)),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: memory.at_mut(s.y.plus(((matrix * s.m + first) * s.n + first_col) * 4)),
                y_stride: s.n * 4,
                epilogue: requant::FloatEpilogue { clamp: s.clamp, add: None },
            });
        }
    }
}

/// Packs columns of a matrix `b` as one panel of its integers less 128, which so are signed bytes.
///
/// # Safety
/// `b` leads to a whole matrix, which has `cols` columns from `first` on, and `cols` is at most a panel's; `scratch` has
/// room for two panels.
unsafe fn pack_panel(s: &QMatMul, b: *const u8, first: usize, cols: usize, scratch: *mut u8) -> *const i8 {
    let (nr, column, bytes) = (s.row.nr, s.column_bytes(), s.panel_bytes());
    // SAFETY: the scratch holds the columns, then the panel, each of `bytes` = nr * column bytes; they do not overlap, and
    // each is written before it is read.
    unsafe {
        let (columns, panel) = (scratch, scratch.add(bytes));
        // What a column lacks is to be a weight of 0, whatever is read there; what the panel lacks is thrown away.
        if column > s.k || cols < nr {
            columns.write_bytes(0x80, bytes);
        }
        match s.trans_b {
            true => {
                for c in 0..cols {
                    b.add((first + c) * s.k).copy_to_nonoverlapping(columns.add(c * column), s.k);
                }
            }
            false => (s.transpose.run)(1, s.k, cols, b.add(first), s.n, columns, column),
        }
        // Whole groups of 4 bytes change places.
        (s.transpose.run)(4, nr, column / 4, columns, column, panel, nr * 4);
        for weight in std::slice::from_raw_parts_mut(panel, bytes) {
            *weight ^= 0x80;
        }
        panel.cast_const().cast()
    }
}

unsafe fn qmatmul(s: &QMatMul, tile: usize, memory: &Memory<'_>, scratch: *mut u8) {
    let (mr, nr, size) = (s.row.mr, s.row.nr, s.epilogue.size());
    let panels = s.n.div_ceil(nr);
    let (matrix, first_col) = (tile / panels, tile % panels * nr);
    let (a_index, b_index) = s.batch[matrix];
    let cols = nr.min(s.n - first_col);
    let pointers: *mut *const u8 = scratch.cast();
    let bias: *mut i32 = scratch.wrapping_add(s.pointers_bytes()).cast();
    let folded: *mut i32 = bias.wrapping_byte_add(s.bias_bytes());
    let offsets: *mut i32 = folded.wrapping_byte_add(s.bias_bytes());
    let y_stride = s.n * size;
    // What a packed byte lacks of an integer of `b` less its zero point.
    let lacking = 128 - i32::from(s.b_zero);
    // SAFETY: the scratch holds pointers for a tap, three numbers a column, the panels and the sums (Kind::scratch); a, b, the row of
    // zero points, the bias and y are checked spans, and the step's kernel takes panels of this form (Kind::check).
    unsafe {
        let b = memory.at(s.b.plus(b_index * s.k * s.n));
        let w = pack_panel(s, b, first_col, cols, offsets.byte_add(s.bias_bytes()).cast());
        (0..nr).for_each(|c| *offsets.add(c) = lacking);
        let offset = if lacking == 0 { std::ptr::null() } else { offsets.cast_const() };
        let sums: *mut i32 = scratch.add(s.scratch() - s.sums_bytes()).cast();
        let point = |at: &dyn Fn(usize) -> *const u8| (0..mr).for_each(|row| *pointers.add(row) = at(row));
        let run = |rows: usize, cols: usize, bias: *const i32, y: *mut u8, y_stride: usize, epilogue| {
            let (x, taps, k) = (pointers.cast_const(), 1, s.k);
            if lacking != 0 {
                (s.sums.run)(&gemm::SumsArgs { rows, x, taps, apart: mr, k, sums });
            }
            let sums = sums.cast_const();
            (s.row.run)(&gemm::QArgs { rows, cols, x, taps, k, w, bias, offset, sums, y, y_stride, epilogue });
        };
        bias.copy_from_nonoverlapping(memory.at(s.bias.plus(first_col * 4)), nr);
        // Of sum (a - z) * w = sum a * w - z * sum w the second part is the product with a row of zero points.
        if let Some(zero) = s.zero {
            point(&|_| memory.at(zero));
            run(1, nr, bias.cast_const(), folded.cast(), nr * 4, requant::Epilogue::Accumulator);
            for c in 0..nr {
                // It comes with the bias added.
                let product = (*folded.add(c)).wrapping_sub(*bias.add(c));
                *bias.add(c) = (*bias.add(c)).wrapping_sub(product);
            }
        }
        let a: *const u8 = memory.at(s.a.plus(a_index * s.m * s.k));
        for first in (0..s.m).step_by(mr) {
            let rows = mr.min(s.m - first);
            point(&|row| a.add((first + row.min(rows - 1)) * s.k));
            let at = (matrix * s.m + first) * y_stride + first_col * size;
            let epilogue = s.epilogue.at(first_col, at, y_stride, memory);
            run(rows, cols, bias.cast_const(), memory.at_mut(s.y.plus(at)), y_stride, epilogue);
        }
    }
}

unsafe fn pooling(s: &Pool, tile: usize, memory: &Memory<'_>, pointers: *mut *const u8) {
    let w = &s.window;
    let [kh, kw] = w.kernel;
    let first = tile * w.output[1];
    let [image, oy, _] = w.position(first);
    let x: *const u8 = memory.at(s.x);
    for ox in 0..w.output[1] {
        let mut taps = 0;
        for ky in 0..kh {
            for kx in 0..kw {
                if let Some(at) = w.offset([image, oy, ox], ky, kx) {
                    // SAFETY: taps counts at most kh * kw, for which the scratch has room (Kind::scratch).
                    unsafe { *pointers.add(taps) = x.wrapping_add(at) };
                    taps += 1;
                }
            }
        }
        if taps == 0 {
            // A window that lies wholly in the padding is refused by type inference.
            continue;
        }
        let y = s.y.plus((first + ox) * s.channels * s.kind.sizes().1);
        fn args<T>(s: &Pool, taps: usize, x: *mut *const u8, y: *mut T) -> pool::Args<T> {
            pool::Args { channels: s.channels, taps, x: x.cast_const().cast(), y }
        }
        let count = |include_pad: bool| if include_pad { kh * kw } else { taps };
        // There is one for every count (Kind::check).
        let average = |a: &Averages| a.at(count(a.include_pad)).copied();
        // SAFETY: the pointers lead into checked spans; the output pixel is this tile's own.
        unsafe {
            match &s.kind {
                PoolKind::MaxU8(k) => (k.run)(&args(s, taps, pointers, memory.at_mut(y))),
                PoolKind::MaxU16(k) => (k.run)(&args(s, taps, pointers, memory.at_mut(y))),
                PoolKind::MaxF32(k) => (k.run)(&args(s, taps, pointers, memory.at_mut(y))),
                PoolKind::AvgU8(k, a) => {
                    let Some(by) = average(a) else { continue };
                    (k.run)(&args(s, taps, pointers, memory.at_mut(y)), &by);
                }
                PoolKind::AvgU16(k, a) => {
                    let Some(by) = average(a) else { continue };
                    (k.run)(&args(s, taps, pointers, memory.at_mut(y)), &by);
                }
                PoolKind::AvgAny(k, a, how) => {
                    let Some(by) = average(a) else { continue };
                    let pixels = w.output[0] * w.output[1];
                    let x = match how.from {
                        Narrow::U8 => pool::Taps::U8(pointers.cast_const()),
                        Narrow::U16 | Narrow::I16 => pool::Taps::U16(pointers.cast_const().cast()),
                    };
                    (k.run)(&pool::AvgAny {
                        channels: s.channels,
                        taps,
                        x,
                        by,
                        rounding: how.rounding,
                        index: ((first + ox) % pixels) as u64,
                        index_step: pixels as u64,
                        y: stored(how.to, y, memory),
                    });
                }
                PoolKind::AvgF32(k, pad) => (k.run)(&args(s, taps, pointers, memory.at_mut(y)), count(*pad) as f32),
            }
        }
    }
}

unsafe fn map(s: &Map, tile: usize, memory: &Memory<'_>) {
    let from = tile * RUN;
    let n = RUN.min(s.n.saturating_sub(from));
    let (x_size, y_size) = s.f.sizes();
    let (x, y) = (s.x.plus(from * x_size), s.y.plus(from * y_size));
    // SAFETY: `n` elements from here lie within the checked spans.
    unsafe {
        match &s.f {
            MapFn::Quantize8(k, to) => (k.run)(n, memory.at(x), memory.at_mut(y), to),
            MapFn::Quantize16(k, to) => (k.run)(n, memory.at(x), memory.at_mut(y), to),
            MapFn::Dequantize8(k, of) => each_run(of, from, n, |done, run, of| {
                (k.run)(run, memory.at(x.plus(done)), memory.at_mut(y.plus(done * 4)), of);
            }),
            MapFn::Dequantize16(k, of) => each_run(of, from, n, |done, run, of| {
                (k.run)(run, memory.at(x.plus(done * 2)), memory.at_mut(y.plus(done * 4)), of);
            }),
            MapFn::Table8(k, table) => (k.run)(n, memory.at(x), memory.at(*table), memory.at_mut(y)),
            MapFn::Table16(k, table) => (k.run)(n, memory.at(x), memory.at(*table), memory.at_mut(y)),
            MapFn::Unary(k, f) => (k.run)(*f, n, memory.at(x), memory.at_mut(y)),
            MapFn::Clamp(k, lo, hi) => (k.run)(n, memory.at(x), memory.at_mut(y), *lo, *hi),
            MapFn::RequantAcc(k, how, entries) => {
                let mut done = 0;
                while done < n {
                    let entry = (from + done) % entries;
                    let run = (entries - entry).min(n - done);
                    let (x, y) = (memory.at(x.plus(done * 4)), memory.at_mut(y.plus(done)));
                    (k.run)(run, x, y, &requant_at(how, entry, memory));
                    done += run;
                }
            }
            MapFn::RequantAny(k, how) => {
                let mut done = 0;
                while done < n {
                    let (entry, rescale_step, alike) = how.entries.at(from + done);
                    let (index, index_step, near) = how.indices.at(from + done);
                    let run = alike.min(near).min(n - done);
                    (k.run)(&elementwise::RequantAny {
                        n: run,
                        x: integers(how.from, x.plus(done * x_size), memory),
                        zero_in: how.zero_in,
                        rescale: how.rescales[entry..].as_ptr(),
                        rescale_step,
                        rounding: how.rounding,
                        index,
                        index_step,
                        zero_point: how.zero_point,
                        lo: how.lo,
                        hi: how.hi,
                        y: stored(how.to, y.plus(done * y_size), memory),
                    });
                    done += run;
                }
            }
            MapFn::QuantizeAny(k, how) => {
                let mut done = 0;
                while done < n {
                    let (index, index_step, near) = how.indices.at(from + done);
                    let (affine, alike) = how.affines.at(from + done);
                    let run = near.min(alike).min(n - done);
                    (k.run)(&elementwise::QuantizeAny {
                        n: run,
                        x: memory.at(x.plus(done * 4)),
                        to: *affine,
                        rounding: how.rounding,
                        index,
                        index_step,
                        y: stored(how.to, y.plus(done * y_size), memory),
                    });
                    done += run;
                }
            }
        }
    }
}

/// Calls `f` for each run of the `n` integers from `from` on that mean the same: with those before it, its length and what
/// they mean.
fn each_run(of: &Affines, from: usize, n: usize, f: impl Fn(usize, usize, &Affine)) {
    let mut done = 0;
    while done < n {
        let (affine, alike) = of.at(from + done);
        let run = alike.min(n - done);
        f(done, run, affine);
        done += run;
    }
}

fn integers(of: Integer, at: Place, memory: &Memory<'_>) -> elementwise::Integers {
    match of {
        Integer::U8 => elementwise::Integers::U8(memory.at(at)),
        Integer::U16 => elementwise::Integers::U16(memory.at(at)),
        Integer::I16 => elementwise::Integers::I16(memory.at(at)),
        Integer::I32 => elementwise::Integers::I32(memory.at(at)),
        Integer::I64 => elementwise::Integers::I64(memory.at(at)),
    }
}

fn stored(of: Narrow, at: Place, memory: &Memory<'_>) -> elementwise::Stored {
    match of {
        Narrow::U8 => elementwise::Stored::U8(memory.at_mut(at)),
        Narrow::U16 => elementwise::Stored::U16(memory.at_mut(at)),
        Narrow::I16 => elementwise::Stored::I16(memory.at_mut(at)),
    }
}

unsafe fn zip(s: &Zip, tile: usize, memory: &Memory<'_>) {
    let per = runs_of(s.n);
    let [a_size, b_size, y_size] = s.f.sizes();
    for row in tile * per..((tile + 1) * per).min(s.rows) {
        let a = s.a.0.plus(row * s.a.1 * a_size);
        let b = s.b.0.plus(row * s.b.1 * b_size);
        let y = s.y.plus(row * s.n * y_size);
        // SAFETY: a row's runs lie within the checked spans.
        unsafe {
            match &s.f {
                ZipFn::Add8(k, p) => (k.run)(s.n, memory.at(a), memory.at(b), memory.at_mut(y), p),
                ZipFn::Add16(k, p) => (k.run)(s.n, memory.at(a), memory.at(b), memory.at_mut(y), p),
                ZipFn::Mul8(k, p) => (k.run)(s.n, memory.at(a), memory.at(b), memory.at_mut(y), p),
                ZipFn::Mul16(k, p) => (k.run)(s.n, memory.at(a), memory.at(b), memory.at_mut(y), p),
                ZipFn::Any(k, how) => {
                    let mut done = 0;
                    while done < s.n {
                        let (index, index_step, near) = how.indices.at(row * s.n + done);
                        let run = near.min(s.n - done);
                        (k.run)(&elementwise::PairAny {
                            n: run,
                            a: integers(how.from[0].into(), a.plus(done * a_size), memory),
                            b: integers(how.from[1].into(), b.plus(done * b_size), memory),
                            how: how.how,
                            index,
                            index_step,
                            y: stored(how.to, y.plus(done * y_size), memory),
                        });
                        done += run;
                    }
                }
                ZipFn::Binary(k, f, a_step, b_step) => {
                    (k.run)(*f, s.n, memory.at(a), *a_step, memory.at(b), *b_step, memory.at_mut(y));
                }
            }
        }
    }
}

/// Some columns of one matrix, which are contiguous in the output.
unsafe fn transpose(s: &Transpose, tile: usize, memory: &Memory<'_>) {
    let per = s.columns(RUN);
    let tiles = s.cols.div_ceil(per);
    let (matrix, first) = (tile / tiles, tile % tiles * per);
    let (mut rest, mut at) = (matrix, first * s.elem);
    for (n, stride) in s.batch.iter().rev() {
        at += rest % n * stride;
        rest /= n;
    }
    let to = (matrix * s.cols + first) * s.rows * s.elem;
    let (x, y) = (memory.at(s.x.plus(at)), memory.at_mut(s.y.plus(to)));
    // SAFETY: the last rows of the furthest matrix lie within the input, as many columns as there are matrices' within the
    // output (Program::new), and these columns are this tile's own.
    unsafe { (s.row.run)(s.elem, s.rows, per.min(s.cols - first), x, s.x_stride, y, s.rows * s.elem) };
}

unsafe fn gather(s: &Gather, tile: usize, memory: &Memory<'_>) {
    let (count, per) = (s.count(), runs_of(s.run));
    let (mut at, end) = (tile * per, ((tile + 1) * per).min(count));
    let Some((last, outer)) = s.tables.split_last() else {
        // SAFETY: as below; without axes there is one run.
        return unsafe { std::ptr::copy_nonoverlapping(memory.at::<u8>(s.x), memory.at_mut(s.y), s.run) };
    };
    let x: *const u8 = memory.at(s.x);
    let y: *mut u8 = memory.at_mut(s.y);
    while at < end {
        // The offset of all axes but the last, which is the same for a run of its entries.
        let (mut row, first) = (at / last.len(), at % last.len());
        let mut base = 0;
        for table in outer.iter().rev() {
            base += table[row % table.len()];
            row /= table.len();
        }
        let here = &last[first..last.len().min(first + end - at)];
        // SAFETY: the largest offset of every axis together with a run lies within the input, and count * run within the
        // output (Program::new).
        unsafe {
            match s.step {
                Some(step) => copy::runs(s.run, here.len(), x.add(base + here[0]), step, y.add(at * s.run), s.run),
                None => copy::gather(s.run, here, x.add(base), y.add(at * s.run)),
            }
        }
        at += here.len();
    }
}

unsafe fn pad(s: &Pad, memory: &Memory<'_>) {
    let x: *const u8 = memory.at(s.x);
    let y: *mut u8 = memory.at_mut(s.y);
    // SAFETY: every run and the whole output lie within checked spans (Program::new).
    unsafe {
        copy::fill(s.elem, s.y_bytes / s.elem, s.fill, y);
        for (i, at) in s.offsets.iter().enumerate() {
            std::ptr::copy_nonoverlapping(x.add(i * s.run), y.add(*at), s.run);
        }
    }
}

unsafe fn reference(s: &Reference, memory: &Memory<'_>) -> Result<()> {
    let tensor = |(place, ty): &(Place, Type)| -> Result<Tensor> {
        // SAFETY: the whole value is a checked span, and no step of this time writes it.
        let bytes = unsafe { std::slice::from_raw_parts(memory.at::<u8>(*place), type_bytes(ty)?) };
        Tensor::from_bytes(ty.clone(), bytes.to_vec().into())
    };
    let inputs: Vec<Option<Tensor>> =
        s.inputs.iter().map(|i| i.as_ref().map(tensor).transpose()).collect::<Result<_>>()?;
    let operands: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let types: Vec<Type> = s.outputs.iter().map(|(_, ty)| ty.clone()).collect();
    let results = interp::eval(&s.op, &operands, &types, memory.customs)?;
    for (result, (place, ty)) in results.iter().zip(&s.outputs) {
        let bytes = result.bytes();
        if bytes.len() != type_bytes(ty)? {
            return Err(lowbit_ir::Error::new(format!("expected {ty}, found {}", result.ty())));
        }
        // SAFETY: the whole value is a checked span, written by this tile alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.at_mut(*place), bytes.len()) };
    }
    Ok(())
}
