//! Layers of bytes: `gemm`, `rowconv` and `dwconv`, between which the compiler chooses, and `gemm`'s row sums.

use super::{Allowed, Call, Contest, Method, Multipliers, Numbers, Unit, bytes, sum};
use crate::point;
use crate::program::Window;
use lowbit_ir::{Error, Result};
use lowbit_kernels::gemm::{Gemm, SumsArgs};
use lowbit_kernels::requant::{Epilogue, Requant, Residual};
use lowbit_kernels::rowconv::Shape;
use lowbit_kernels::{Features, Row, dwconv, gemm, pick, rowconv};
use std::hint::black_box;

/// Some output lines of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    shape: Shape,
    lines: usize,
    width: usize,
}

const fn layer(kernel: usize, stride: usize, channels: usize, outputs: usize, width: usize) -> Layer {
    let (kernel, strides) = ([kernel; 2], [stride; 2]);
    let shape = Shape { kernel, strides, channels, outputs, depthwise: false, residual: false };
    Layer { shape, lines: 4, width }
}

const fn depthwise(kernel: usize, stride: usize, channels: usize, width: usize) -> Layer {
    let layer = layer(kernel, stride, channels, channels, width);
    Layer { shape: Shape { depthwise: true, ..layer.shape }, ..layer }
}

const fn residual(layer: Layer) -> Layer {
    Layer { shape: Shape { residual: true, ..layer.shape }, ..layer }
}

const fn dense(channels: usize, outputs: usize) -> Layer {
    Layer { lines: 1, ..layer(1, 1, channels, outputs, 1) }
}

/// Those that networks have: first convolutions, 3x3, pointwise, dense.
static FULL: &[Layer] = &[
    layer(3, 2, 3, 8, 48),
    layer(3, 2, 3, 16, 48),
    layer(3, 2, 3, 32, 112),
    layer(7, 2, 3, 64, 112),
    layer(3, 1, 16, 16, 32),
    layer(3, 2, 16, 32, 16),
    layer(3, 1, 32, 32, 16),
    layer(3, 1, 64, 64, 56),
    residual(layer(3, 1, 64, 64, 56)),
    layer(3, 2, 64, 128, 28),
    layer(3, 1, 128, 128, 28),
    layer(3, 1, 256, 256, 14),
    layer(1, 1, 16, 96, 112),
    layer(1, 1, 32, 192, 28),
    layer(1, 1, 64, 256, 56),
    residual(layer(1, 1, 64, 256, 56)),
    layer(1, 1, 96, 24, 56),
    layer(1, 1, 144, 24, 56),
    layer(1, 1, 256, 64, 56),
    layer(1, 1, 192, 64, 14),
    layer(1, 1, 512, 512, 14),
    dense(512, 1000),
    dense(64, 10),
];

static DEPTHWISE: &[Layer] = &[
    depthwise(3, 1, 8, 48),
    depthwise(3, 2, 16, 24),
    depthwise(3, 1, 24, 24),
    depthwise(3, 1, 32, 112),
    depthwise(3, 2, 96, 56),
    depthwise(3, 1, 144, 56),
    depthwise(3, 1, 512, 14),
    depthwise(5, 1, 128, 14),
];

/// Those whose accumulators are stored.
static ACCUMULATORS: &[Layer] = &[dense(512, 1000), dense(64, 10), layer(1, 1, 64, 64, 16)];

impl Layer {
    pub const fn plain(channels: usize, outputs: usize, kernel: usize) -> Layer {
        layer(kernel, 1, channels, outputs, 14)
    }

    pub const fn depthwise(channels: usize) -> Layer {
        depthwise(3, 1, channels, 14)
    }

    pub const fn outputs(&self) -> usize {
        self.shape.outputs
    }

    pub const fn sizes(&self) -> gemm::Sizes {
        let Shape { outputs, .. } = self.shape;
        gemm::Sizes { outputs, pixels: self.pixels(), depth: self.shape.taps() * self.shape.k() }
    }

    const fn pixels(&self) -> usize {
        self.lines * self.width
    }

    /// Elements from input line to input line.
    const fn line(&self) -> usize {
        self.shape.row_bytes(self.width)
    }

    /// What its pixels read, of elements of so many bytes.
    fn window(&self, size: usize) -> Window {
        let Shape { kernel, strides, channels, .. } = self.shape;
        Window {
            batch: 1,
            input: [0, 1].map(|axis| ([self.lines, self.width][axis] - 1) * strides[axis] + kernel[axis]),
            output: [self.lines, self.width],
            kernel,
            strides,
            pads: [0; 2],
            dilations: [1; 2],
            pixel: channels * size,
        }
    }

    /// Elements of input.
    pub const fn input(&self) -> usize {
        ((self.lines - 1) * self.shape.strides[0] + self.shape.kernel[0]) * self.line()
    }

    pub const fn macs(&self) -> (usize, Unit) {
        (self.pixels() * self.shape.outputs * self.shape.taps() * self.shape.k(), Unit::Macs)
    }

    pub fn name(&self) -> String {
        let Shape { kernel: [side, _], strides: [stride, _], channels, outputs, depthwise, residual } = self.shape;
        if self.pixels() == 1 {
            return format!("dense {channels} to {outputs}");
        }
        let what = if depthwise { format!("depthwise {channels}") } else { format!("{channels} to {outputs}") };
        let stride = if stride == 1 { String::new() } else { format!(", stride {stride}") };
        let more = if residual { ", and a residual" } else { "" };
        format!("{side}x{side} {what}{stride}, {} pixels{more}", self.width)
    }
}

/// Layers with the default requantize, some with the others, and those whose accumulators are stored.
pub fn contests(allowed: &Allowed) -> Vec<Contest> {
    let ways = |layer: &'static Layer| {
        let others = matches!(layer.width, 56 | 112) && matches!(layer.shape.channels, 16 | 64 | 144);
        let methods = if others { &[Method::Float32, Method::Fixed, Method::Shift][..] } else { &[Method::Float32] };
        methods.iter().map(move |method| (layer, *method))
    };
    let full = FULL.iter().flat_map(ways).map(|(layer, method)| full(allowed, layer, method));
    let depthwise = DEPTHWISE.iter().flat_map(ways).map(|(layer, method)| by_channel(allowed, layer, method));
    let here = *allowed;
    let accumulators = ACCUMULATORS.iter().map(|layer| {
        let case = format!("{}, accumulators", layer.name());
        let fits = |row: &gemm::QGemm| (row.suits)(layer.sizes());
        Contest::of(allowed, case, layer.macs(), gemm::Q8, fits, move |row| {
            products(&here, row, layer, 4, bytes(layer.input())?, (|i| i as i8, |i| i as i32), |_, _| {
                Epilogue::Accumulator
            })
        })
    });
    full.chain(depthwise).chain(accumulators).chain([sums(allowed), split(allowed)]).collect()
}

/// Stored bytes: rows of `gemm`, and those of `rowconv` that are said to be faster.
fn full(allowed: &Allowed, layer: &'static Layer, method: Method) -> Contest {
    let (work, unit) = layer.macs();
    let mut contest = Contest { case: case(layer, method), work, unit, entries: Vec::new() };
    let here = *allowed;
    contest.enter(
        allowed,
        gemm::Q8,
        |_| true,
        move |row| {
            let epilogue = requantized(layer, method)?;
            products(&here, row, layer, 1, bytes(layer.input())?, (|i| i as i8, |i| i as i32), epilogue)
        },
    );
    let other = pick(gemm::Q8, allowed.features, |row| (row.suits)(layer.sizes()));
    by_lines(&mut contest, allowed, layer, method, other);
    contest
}

/// Depthwise: rows of `dwconv`, and those of `rowconv` that are said to be faster.
fn by_channel(allowed: &Allowed, layer: &'static Layer, method: Method) -> Contest {
    let (work, unit) = layer.macs();
    let mut contest = Contest { case: case(layer, method), work, unit, entries: Vec::new() };
    contest.enter(
        allowed,
        dwconv::Q8,
        |_| true,
        move |row| {
            let epilogue = requantized(layer, method)?;
            channels(row, layer, 1, bytes(layer.input())?, (|i| i as i8, |i| i as i32), epilogue)
        },
    );
    by_lines(&mut contest, allowed, layer, method, pick(dwconv::Q8, allowed.features, |_| true));
    contest
}

fn case(layer: &Layer, method: Method) -> String {
    match method {
        Method::Float32 => layer.name(),
        _ => format!("{}, {}", layer.name(), method.name()),
    }
}

/// Adds `rowconv`'s rows, of which one is picked if it beats `other`, as the compiler has it.
fn by_lines<R: Row>(
    contest: &mut Contest,
    allowed: &Allowed,
    layer: &'static Layer,
    method: Method,
    other: Option<&'static R>,
) {
    let needs = other.map_or(Features::NONE, Row::needs);
    let beats = |row: &rowconv::QRow| row.beats(needs, &layer.shape, layer.width);
    // The scalar row is the reference of all, and no other need compute what it does not suit.
    let fits = |row: &rowconv::QRow| row.needs == Features::NONE || (row.suits)(&layer.shape);
    contest.enter(allowed, rowconv::Q8, fits, move |row| lines(row, layer, method));
    contest.mark(pick(rowconv::Q8, allowed.features, beats).map(Row::name).or(other.map(Row::name)));
}

/// What is stored of a layer, as bytes: the epilogue of a tile that starts with a pixel and a channel.
fn requantized(layer: &Layer, method: Method) -> Result<impl Fn(usize, usize) -> Epilogue + 'static> {
    let Shape { outputs, residual, .. } = layer.shape;
    let (multipliers, other) = (Multipliers::of(method, rowconv::padded(outputs))?, bytes(layer.pixels() * outputs)?);
    Ok(move |pixel: usize, channel: usize| {
        let requant = multipliers.requant(255);
        let requant = Requant { scales: requant.scales.from(channel), ..requant };
        let r = other.ptr().wrapping_add(pixel * outputs + channel);
        match residual {
            true => Epilogue::RequantAdd(requant, Residual { r, r_stride: outputs, add: sum(method) }),
            false => Epilogue::Requant(requant),
        }
    })
}

/// A layer by tiles of a row of `gemm`, whose results take `stored` bytes.
pub fn products<X: Copy + 'static, W: Copy + 'static, B: Copy + 'static, Y: 'static, E: 'static>(
    allowed: &Allowed,
    row: &'static Gemm<gemm::Args<X, W, B, Y, E>>,
    layer: &Layer,
    stored: usize,
    x: Numbers<X>,
    (weight, bias): (impl Fn(usize) -> W, impl Fn(usize) -> B),
    epilogue: impl Fn(usize, usize) -> E + 'static,
) -> Result<Call> {
    let (layer, taps, k, outputs) = (*layer, layer.shape.taps(), layer.shape.k(), layer.shape.outputs);
    let pixels = layer.pixels();
    let w = Numbers::of(row.packed(outputs, taps, k), weight)?;
    let bias = Numbers::of(outputs.next_multiple_of(row.nr), bias)?;
    let y: Numbers<u8> = Numbers::of(pixels * outputs * stored, |_| 0)?;
    let missing = || Error::new("expected a row that splits the words that a kernel wants as planes, found none");
    let split = match row.planes {
        0 => None,
        _ => Some(pick(gemm::SPLIT, allowed.features, |_| true).filter(|_| size_of::<X>() == 2).ok_or_else(missing)?),
    };
    let window = layer.window(size_of::<X>());
    let (seen, depth) = row.depth(taps, k);
    let apart = gemm::apart(depth);
    let room: Numbers<*const u8> = Numbers::of(taps * row.mr, |_| x.ptr().cast())?;
    let planes: Numbers<u8> = Numbers::of(if split.is_some() { row.mr * apart } else { 0 }, |_| 0)?;
    let to_planes: Vec<*const u8> = (0..row.mr).map(|r| planes.ptr().wrapping_add(r * apart)).collect();
    Ok(Box::new(move || {
        for pixel in (0..pixels).step_by(row.mr) {
            let rows = (pixels - pixel).min(row.mr);
            // Pointing is a part of the work, and so is splitting.
            if let Some(split) = split {
                let runs: *mut gemm::Run = room.out().cast();
                for row in 0..rows {
                    // SAFETY: rows with planes are those of words, there is room for more than a run a tap, and for the
                    // planes.
                    unsafe {
                        let count = point::runs(&window, pixel + row, k, x.ptr().cast(), x.ptr().cast(), runs);
                        let (plane, planes) = (depth, planes.out().wrapping_add(row * apart));
                        (split.run)(&gemm::SplitArgs { runs, count, plane, planes });
                    }
                }
            } else {
                // SAFETY: there is room for a pointer for each tap of each row, and these are pixels of the layer.
                unsafe { point::point(&window, pixel, rows, row.mr, x.ptr().cast(), x.ptr().cast(), room.out()) };
            }
            for first in (0..outputs).step_by(row.nr) {
                let args = gemm::Args {
                    rows,
                    cols: (outputs - first).min(row.nr),
                    x: if row.planes > 0 { to_planes.as_ptr().cast() } else { room.ptr().cast() },
                    taps: seen,
                    k: depth,
                    w: w.ptr().wrapping_add(row.packed(first, taps, k)),
                    bias: bias.ptr().wrapping_add(first),
                    offset: std::ptr::null(),
                    sums: std::ptr::null(),
                    y: y.out().wrapping_add((pixel * outputs + first) * stored).cast(),
                    y_stride: outputs * stored,
                    epilogue: epilogue(pixel, first),
                };
                // SAFETY: rows enter only what the CPU can run; pointers, weights, bias, multipliers and results are as
                // long as the contract asks, as they were made for this row and layer.
                unsafe { (row.run)(black_box(&args)) };
            }
        }
    }))
}

/// A layer by lines of a row of `dwconv`, whose results take `stored` bytes.
pub fn channels<X: Copy + 'static, W: Copy + 'static, B: Copy + 'static, Y: 'static, E: 'static>(
    row: &'static dwconv::Dw<dwconv::Args<X, W, B, Y, E>, W>,
    layer: &Layer,
    stored: usize,
    x: Numbers<X>,
    (weight, bias): (impl Fn(usize) -> W, impl Fn(usize) -> B),
    epilogue: impl Fn(usize, usize) -> E + 'static,
) -> Result<Call> {
    let (layer, taps, channels, pixels) = (*layer, layer.shape.taps(), layer.shape.channels, layer.width);
    let w = Numbers::of((row.packed)(channels, taps), weight)?;
    let bias = Numbers::of(dwconv::padded(channels), bias)?;
    let y: Numbers<u8> = Numbers::of(layer.pixels() * channels * stored, |_| 0)?;
    let (window, room) = (layer.window(size_of::<X>()), Numbers::of(pixels * taps, |_| x.ptr().cast::<u8>())?);
    Ok(Box::new(move || {
        for line in 0..layer.lines {
            // SAFETY: there is room for a pointer for each tap of a line.
            unsafe { point::point_row(&window, line, x.ptr().cast(), x.ptr().cast(), room.out()) };
            let args = dwconv::Args {
                pixels,
                channels,
                taps,
                x: room.ptr().cast(),
                w: w.ptr(),
                bias: bias.ptr(),
                offset: std::ptr::null(),
                y: y.out().wrapping_add(line * pixels * channels * stored).cast(),
                y_stride: channels * stored,
                epilogue: epilogue(line * pixels, 0),
            };
            // SAFETY: as above.
            unsafe { (row.run)(black_box(&args)) };
        }
    }))
}

/// A layer by a row of `rowconv`.
fn lines(row: &'static rowconv::QRow, layer: &Layer, method: Method) -> Result<Call> {
    let (layer, shape) = (*layer, layer.shape);
    let (x, copy) = (bytes(layer.input())?, bytes(layer.input())?);
    let w = Numbers::of((row.packed)(&shape), |i| i as i8)?;
    let (bias, multipliers) = (Numbers::of(padded(&shape), |i| i as i32)?, Multipliers::of(method, padded(&shape))?);
    let (y, other) = (bytes(layer.pixels() * shape.outputs)?, bytes(layer.pixels() * shape.outputs)?);
    let scratch = bytes((row.scratch)(&shape, layer.lines, layer.width))?;
    Ok(Box::new(move || {
        let args = rowconv::QArgs {
            shape,
            lines: layer.lines,
            pixels: layer.width,
            first: 0,
            last: shape.outputs,
            x: if shape.taps() > 1 { copy.ptr() } else { x.ptr() },
            line: layer.line(),
            w: w.ptr(),
            bias: bias.ptr(),
            offset: std::ptr::null(),
            y: y.out(),
            y_stride: shape.outputs,
            requant: multipliers.requant(255),
            residual: shape.residual.then_some(Residual { r: other.ptr(), r_stride: shape.outputs, add: sum(method) }),
            scratch: scratch.out(),
        };
        // SAFETY: as above; the row suits the shape, or computes any.
        unsafe {
            if shape.taps() > 1 {
                // Where there is padding, lines are copied with it: a part of the work, as the row wants it.
                x.ptr().copy_to_nonoverlapping(copy.out(), layer.input());
            }
            (row.run)(black_box(&args));
        }
    }))
}

const fn padded(shape: &Shape) -> usize {
    rowconv::padded(shape.outputs)
}

/// Sums of what rows read.
fn sums(allowed: &Allowed) -> Contest {
    let layer = Layer::plain(64, 1, 3);
    let (taps, k, rows) = (layer.shape.taps(), layer.shape.channels, 12);
    let work = (rows * taps * k, Unit::Elements);
    Contest::of(
        allowed,
        format!("sums of {rows} rows of {taps}x{k}"),
        work,
        gemm::SUMS,
        |_| true,
        move |row| {
            let (x, sums) = (bytes(layer.input())?, Numbers::of(rows.next_multiple_of(4), |_| 0i32)?);
            let pointers: Vec<*const u8> = (0..taps * rows).map(|i| x.ptr().wrapping_add(i / rows * k)).collect();
            Ok(Box::new(move || {
                let _ = &x;
                let args = SumsArgs { rows, x: pointers.as_ptr(), taps, apart: rows, k, sums: sums.out() };
                // SAFETY: as above.
                unsafe { (row.run)(black_box(&args)) };
            }))
        },
    )
}

/// Planes of what rows read.
fn split(allowed: &Allowed) -> Contest {
    let (count, n) = (3, 192);
    let case = format!("split {count} runs of {n}");
    Contest::of(
        allowed,
        case,
        (count * n, Unit::Elements),
        gemm::SPLIT,
        |_| true,
        move |row| {
            let x: Numbers<u16> = Numbers::of(n, |i| (i * 373 % 65521) as u16)?;
            let planes: Numbers<u8> = Numbers::of(gemm::apart(count * n), |_| 0)?;
            let runs = vec![gemm::Run { x: x.ptr(), n }; count];
            Ok(Box::new(move || {
                let _ = &x;
                let plane = count * n;
                let args = gemm::SplitArgs { runs: runs.as_ptr(), count, plane, planes: planes.out() };
                // SAFETY: as above.
                unsafe { (row.run)(black_box(&args)) };
            }))
        },
    )
}
