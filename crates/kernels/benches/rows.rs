//! Times every row of the tables that matter: `cargo bench -p lowbit-kernels [-- PART-OF-A-NAME]`.
//!
//! Of many short runs the least time counts, so that other work on the machine disturbs little. Cycles are those of the
//! time stamp counter's clock measured by a chain of dependent additions, that is, of the core.

use lowbit_arithmetic::{AddRescale, Affine, Rescale, Rounding};
use lowbit_kernels::elementwise::{BinaryFn, MulParams, UnaryFn};
use lowbit_kernels::pool::QAverage;
use lowbit_kernels::requant::{AddParams, Epilogue, FloatEpilogue, Requant, Residual, Scales};
use lowbit_kernels::{Features, Row, SLACK, copy, dwconv, elementwise, gemm, pool, rowconv, rows};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let filter = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let bench = Bench { hertz: clock(), features: detect(), filter };
    println!("clock {:.2} GHz", bench.hertz / 1e9);
    bench.rows(gemm::Q8).for_each(|row| bench.gemm(row));
    bench.rows(gemm::Q16).for_each(|row| bench.gemm16(row));
    bench.rows(gemm::F32).for_each(|row| bench.gemm_f32(row));
    bench.rows(dwconv::Q8).for_each(|row| bench.dwconv(row));
    bench.rows(rowconv::Q8).for_each(|row| bench.rowconv(row));
    bench.rows(dwconv::F32).for_each(|row| bench.dwconv_f32(row));
    bench.pools();
    bench.integers();
    bench.floats();
    bench.copies();
}

struct Bench {
    hertz: f64,
    features: Features,
    filter: Vec<String>,
}

impl Bench {
    /// The rows of a table that this CPU runs and the command line names.
    fn rows<R: Row>(&self, table: &'static [R]) -> impl Iterator<Item = &'static R> {
        table.iter().filter(|row| {
            let named = self.filter.is_empty() || self.filter.iter().any(|part| row.name().contains(part.as_str()));
            named && self.features.has(row.needs())
        })
    }

    /// The least time of a call in cycles.
    fn cycles(&self, mut call: impl FnMut()) -> f64 {
        let mut repeat = 1u32;
        let mut least = f64::INFINITY;
        let begin = Instant::now();
        while begin.elapsed().as_millis() < 60 {
            let start = Instant::now();
            for _ in 0..repeat {
                call();
            }
            let time = start.elapsed().as_secs_f64();
            if time < 20e-6 {
                repeat *= 2;
            } else {
                least = least.min(time / f64::from(repeat));
            }
        }
        least * self.hertz
    }

    fn gemm(&self, row: &gemm::QGemm) {
        let (mr, nr) = (row.mr, row.nr);
        for (what, epilogue) in [("accumulator", 0), ("float32", 1), ("fixed", 2), ("shift", 3), ("residual", 4)] {
            for (rows, cols, taps, k) in
                [(mr, nr, 9, 64), (mr, nr, 1, 512), (mr, nr, 1, 64), (mr, nr, 1, 16), (1, nr, 1, 512), (mr, 16, 1, 96)]
            {
                let cols = cols.min(nr);
                let x = aligned(mr * taps * k + SLACK, 3u8);
                let pointers: Vec<*const u8> =
                    (0..taps * mr).map(|i| x[i / mr * k + i % mr * taps * k..].as_ptr()).collect();
                let w = aligned(row.packed(nr, taps, k), 1i8);
                let bias = aligned(nr, 5i32);
                let (float, fixed, shift, less) =
                    (aligned(nr, 0.01f32), aligned(nr, (1 << 30) + 12345i32), aligned(nr, 38i32), aligned(nr, 8i32));
                let scales = match epilogue {
                    2 => Scales::Fixed(fixed.as_ptr(), shift.as_ptr()),
                    3 => Scales::Shift(less.as_ptr()),
                    _ => Scales::Float32(float.as_ptr()),
                };
                let y = aligned(mr * nr * 4, 0u8);
                let other = aligned(mr * nr, 9u8);
                let requant = Requant { scales, rounding: scales.rounding(), zero_point: 3, lo: 0, hi: 255 };
                let args = gemm::QArgs {
                    rows,
                    cols,
                    x: pointers.as_ptr(),
                    taps,
                    k,
                    w: w.as_ptr(),
                    bias: bias.as_ptr(),
                    offset: std::ptr::null(),
                    sums: std::ptr::null(),
                    y: y.as_mut_ptr(),
                    y_stride: nr * 4,
                    epilogue: match epilogue {
                        0 => Epilogue::Accumulator,
                        4 => Epilogue::RequantAdd(requant, Residual { r: other.as_ptr(), r_stride: nr, add: SUM }),
                        _ => Epilogue::Requant(requant),
                    },
                };
                // SAFETY: the row's features are there, and the buffers are as large as the contract asks.
                let cycles = self.cycles(|| unsafe { (row.run)(black_box(&args)) });
                let macs = (rows * cols * taps * k) as f64;
                println!(
                    "{:28} {what:12} {rows}x{cols} k {taps}x{k}: {:7.0} cycles, {:6.1} MAC/cycle, {:6.1} GMAC/s",
                    row.name,
                    cycles,
                    macs / cycles,
                    macs / cycles * self.hertz / 1e9
                );
            }
        }
    }

    fn gemm_f32(&self, row: &gemm::FGemm) {
        let (mr, nr) = (row.mr, row.nr);
        for (rows, cols, taps, k) in
            [(mr, nr, 9, 64), (mr, nr, 1, 512), (mr, nr, 1, 16), (1, nr, 1, 512), (mr, 16, 1, 96)]
        {
            let cols = cols.min(nr);
            let x = aligned(mr * taps * k + SLACK, 1f32);
            let pointers: Vec<*const f32> =
                (0..taps * mr).map(|i| x[i / mr * k + i % mr * taps * k..].as_ptr()).collect();
            let w = aligned(row.packed(nr, taps, k), 1f32);
            let bias = aligned(nr, 5f32);
            let y = aligned(mr * nr, 0f32);
            let args = gemm::FArgs {
                rows,
                cols,
                x: pointers.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: nr * 4,
                epilogue: FloatEpilogue { clamp: (0.0, f32::INFINITY), add: None },
            };
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&args)) });
            let macs = (rows * cols * taps * k) as f64;
            println!(
                "{:28} {rows}x{cols} k {taps}x{k}: {:7.0} cycles, {:6.1} MAC/cycle, {:6.1} GMAC/s",
                row.name,
                cycles,
                macs / cycles,
                macs / cycles * self.hertz / 1e9
            );
        }
    }

    fn gemm16(&self, row: &gemm::QGemm16) {
        let (mr, nr) = (row.mr, row.nr);
        for (taps, k) in [(9, 64), (1, 512), (1, 16)] {
            let x = aligned(mr * taps * k + SLACK, 3u16);
            let pointers: Vec<*const u16> =
                (0..taps * mr).map(|i| x[i / mr * k + i % mr * taps * k..].as_ptr()).collect();
            let w = aligned(row.packed(nr, taps, k), 1i8);
            let bias = aligned(nr, 5i64);
            let float = aligned(nr, 0.01f32);
            let how = Requant {
                scales: Scales::Float32(float.as_ptr()),
                rounding: Rounding::HalfEven,
                zero_point: 3,
                lo: 0,
                hi: 65535,
            };
            let y = aligned(mr * nr * 8, 0u8);
            let args = gemm::Q16Args {
                rows: mr,
                cols: nr,
                x: pointers.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: nr * 8,
                epilogue: gemm::Epilogue16::Requant { how, narrow: true },
            };
            // SAFETY: the row's features are there, and the buffers are as large as the contract asks.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&args)) });
            let macs = (mr * nr * taps * k) as f64;
            println!("{:32} k {taps}x{k}: {:7.0} cycles, {:6.1} MAC/cycle", row.name, cycles, macs / cycles);
        }
    }

    fn dwconv(&self, row: &dwconv::QDw) {
        for what in ["float32", "fixed", "shift"] {
            for (channels, taps) in
                [(64, 9), (128, 9), (512, 9), (128, 25), (16, 9), (8, 9), (24, 9), (32, 9), (48, 9), (144, 9)]
            {
                let pixels = 28;
                let x = aligned(3 * 30 * channels + SLACK, 3u8);
                let pointers: Vec<*const u8> = (0..pixels * taps)
                    .map(|i| x[(i / taps + i % taps % 3 + i % taps / 3 % 3 * 30) * channels..].as_ptr())
                    .collect();
                let w = aligned((row.packed)(channels, taps), 1i8);
                let padded = dwconv::padded(channels);
                let bias = aligned(padded, 5i32);
                let (float, fixed, shift, less) = (
                    aligned(padded, 0.01f32),
                    aligned(padded, (1 << 30) + 12345i32),
                    aligned(padded, 38i32),
                    aligned(padded, 8i32),
                );
                let scales = match what {
                    "fixed" => Scales::Fixed(fixed.as_ptr(), shift.as_ptr()),
                    "shift" => Scales::Shift(less.as_ptr()),
                    _ => Scales::Float32(float.as_ptr()),
                };
                let y = aligned(pixels * channels, 0u8);
                let args = dwconv::QArgs {
                    pixels,
                    channels,
                    taps,
                    x: pointers.as_ptr(),
                    w: w.as_ptr(),
                    bias: bias.as_ptr(),
                    offset: std::ptr::null(),
                    y: y.as_mut_ptr(),
                    y_stride: channels,
                    epilogue: Epilogue::Requant(Requant {
                        scales,
                        rounding: scales.rounding(),
                        zero_point: 3,
                        lo: 0,
                        hi: 255,
                    }),
                };
                // SAFETY: as above.
                let cycles = self.cycles(|| unsafe { (row.run)(black_box(&args)) });
                self.print(&format!("{} {what} {channels} channels {taps} taps", row.name), pixels * channels, cycles);
            }
        }
    }

    fn rowconv(&self, row: &rowconv::QRow) {
        let shape = |side, stride, channels, outputs| {
            let (kernel, strides) = ([side; 2], [stride; 2]);
            rowconv::Shape { kernel, strides, channels, outputs, depthwise: false, residual: false }
        };
        let depthwise = |channels, stride| rowconv::Shape { depthwise: true, ..shape(3, stride, channels, channels) };
        let residual = |shape| rowconv::Shape { residual: true, ..shape };
        for shape in [
            shape(3, 2, 3, 8),
            shape(3, 2, 3, 16),
            shape(3, 2, 3, 32),
            shape(3, 2, 3, 64),
            shape(7, 2, 3, 64),
            shape(3, 1, 16, 16),
            shape(3, 2, 16, 32),
            shape(3, 1, 32, 32),
            shape(3, 1, 64, 64),
            residual(shape(3, 1, 64, 64)),
            shape(1, 1, 16, 96),
            shape(1, 1, 32, 192),
            shape(1, 1, 64, 256),
            residual(shape(1, 1, 64, 256)),
            shape(1, 1, 96, 24),
            shape(1, 1, 256, 64),
            shape(1, 1, 512, 512),
            depthwise(8, 1),
            depthwise(16, 2),
            depthwise(24, 1),
            depthwise(96, 1),
        ] {
            let rowconv::Shape { kernel: [side, _], strides: [stride, _], channels, outputs, .. } = shape;
            if row.needs != Features::NONE && !(row.suits)(&shape) {
                continue;
            }
            let (pixels, padded) = (112, rowconv::padded(outputs));
            let line = shape.row_bytes(pixels).next_multiple_of(64);
            let x = aligned(side * line + SLACK, 3u8);
            let other = aligned(pixels * outputs + SLACK, 7u8);
            let residual = shape.residual.then_some(Residual { r: other.as_ptr(), r_stride: outputs, add: SUM });
            let scratch = aligned((row.scratch)(&shape, pixels), 0u8);
            let w = aligned((row.packed)(&shape), 1i8);
            let (bias, float) = (aligned(padded, 5i32), aligned(padded, 0.01f32));
            let y = aligned(pixels * outputs, 0u8);
            let args = rowconv::QArgs {
                shape,
                lines: 1,
                pixels,
                first: 0,
                last: outputs,
                x: x.as_ptr(),
                line,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                y: y.as_mut_ptr(),
                requant: Requant {
                    scales: Scales::Float32(float.as_ptr()),
                    rounding: Rounding::HalfEven,
                    zero_point: 3,
                    lo: 0,
                    hi: 255,
                },
                residual,
                scratch: scratch.as_mut_ptr(),
            };
            // SAFETY: as above; the row suits the shape.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&args)) });
            let what = if shape.residual { " and a residual" } else { "" };
            let what = format!("{} {side}x{side} {channels} to {outputs} stride {stride}{what}", row.name);
            self.print(&what, pixels * outputs, cycles);
        }
    }

    fn dwconv_f32(&self, row: &dwconv::FDw) {
        for (channels, taps) in [(64, 9), (128, 9), (16, 9)] {
            let pixels = 28;
            let x = aligned(30 * channels + SLACK, 3f32);
            let pointers: Vec<*const f32> =
                (0..pixels * taps).map(|i| x[(i / taps + i % taps % 3) * channels..].as_ptr()).collect();
            let w = aligned((row.packed)(channels, taps), 1f32);
            let bias = aligned(dwconv::padded(channels), 5f32);
            let y = aligned(pixels * channels, 0f32);
            let args = dwconv::FArgs {
                pixels,
                channels,
                taps,
                x: pointers.as_ptr(),
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: channels * 4,
                epilogue: FloatEpilogue { clamp: (0.0, 6.0), add: None },
            };
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&args)) });
            self.print(&format!("{} {channels} channels {taps} taps", row.name), pixels * channels, cycles);
        }
    }

    fn pools(&self) {
        let (channels, taps) = (256, 9);
        let bytes = aligned(channels + SLACK, 3u8);
        let floats = aligned(channels + SLACK, 3f32);
        let (x, xf) = (vec![bytes.as_ptr(); 49], vec![floats.as_ptr(); 49]);
        let (y, yf) = (aligned(channels, 0u8), aligned(channels, 0f32));
        let mut args = |taps| pool::Args { channels, taps, x: x.as_ptr(), y: y.as_mut_ptr() };
        let (nine, all) = (args(taps), args(49));
        for row in self.rows(pool::MAX_U8) {
            // SAFETY: as above; so below.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&nine)) });
            self.print(&format!("{} {taps} taps", row.name), channels, cycles);
        }
        for row in self.rows(pool::AVG_U8) {
            let rescale = Rescale::Float32 { m: 0.02 };
            let by = QAverage { rescale, zero_in: 3, zero_out: 4, lo: 0, hi: 255 };
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&all), &by) });
            self.print(&format!("{} 49 taps", row.name), channels, cycles);
        }
        let mut args = |taps| pool::Args { channels, taps, x: xf.as_ptr(), y: yf.as_mut_ptr() };
        let (nine, all) = (args(taps), args(49));
        for row in self.rows(pool::MAX_F32) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&nine)) });
            self.print(&format!("{} {taps} taps", row.name), channels, cycles);
        }
        for row in self.rows(pool::AVG_F32) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(black_box(&all), 49.0) });
            self.print(&format!("{} 49 taps", row.name), channels, cycles);
        }
    }

    fn integers(&self) {
        let n = 4096;
        let (a, b) = (aligned(n + SLACK, 3u8), aligned(n + SLACK, 5u8));
        let (y, yf) = (aligned(n, 0u8), aligned(n, 0f32));
        let (x, words) = (aligned(n + SLACK, 1.5f32), aligned(n + SLACK, 1234i32));
        let scale = aligned(n + SLACK, 0.01f32);
        let fixed = AddParams {
            rescale: AddRescale::Fixed { m1: 1 << 30, m2: 1 << 29, shift: 31 },
            rounding: Rounding::HalfUp,
            ..SUM
        };
        for (what, sum) in [("float32", SUM), ("fixed", fixed)] {
            for row in self.rows(elementwise::QADD) {
                // SAFETY: as above; so below.
                let cycles =
                    self.cycles(|| unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), black_box(&sum)) });
                self.print(&format!("{} {what}", row.name), n, cycles);
            }
        }
        let product = MulParams {
            rescale: Rescale::Float32 { m: 0.01 },
            rounding: Rounding::HalfEven,
            z1: 1,
            z2: 2,
            zero_point: 3,
            lo: 0,
            hi: 255,
        };
        for row in self.rows(elementwise::QMUL) {
            // SAFETY: as above.
            let cycles =
                self.cycles(|| unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), black_box(&product)) });
            self.print(row.name, n, cycles);
        }
        for row in self.rows(elementwise::TABLE8) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr()) });
            self.print(row.name, n, cycles);
        }
        let affine = Affine { scale: 0.02, zero_point: 3, qmin: 0, qmax: 255 };
        for row in self.rows(elementwise::QUANTIZE8) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr(), black_box(&affine)) });
            self.print(row.name, n, cycles);
        }
        for row in self.rows(elementwise::DEQUANTIZE8) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(n, a.as_ptr(), yf.as_mut_ptr(), black_box(&affine)) });
            self.print(row.name, n, cycles);
        }
        let how = Requant {
            scales: Scales::Float32(scale.as_ptr()),
            rounding: Rounding::HalfEven,
            zero_point: 3,
            lo: 0,
            hi: 255,
        };
        for row in self.rows(elementwise::REQUANT_ACC) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(n, words.as_ptr(), y.as_mut_ptr(), black_box(&how)) });
            self.print(row.name, n, cycles);
        }
    }

    fn floats(&self) {
        let n = 2048;
        let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.003 - 3.0).collect();
        let y = aligned(n, 0f32);
        for row in self.rows(elementwise::UNARY) {
            for f in [
                UnaryFn::Exp,
                UnaryFn::Erf,
                UnaryFn::Tanh,
                UnaryFn::Sigmoid,
                UnaryFn::Gelu,
                UnaryFn::Silu,
                UnaryFn::Sin,
            ] {
                // SAFETY: as above; so below.
                let cycles = self.cycles(|| unsafe { (row.run)(f, n, x.as_ptr(), y.as_mut_ptr()) });
                self.print(&format!("{} {f:?}", row.name), n, cycles);
            }
        }
        for row in self.rows(elementwise::BINARY) {
            for f in [BinaryFn::Add, BinaryFn::Max, BinaryFn::Pow] {
                // SAFETY: as above.
                let cycles = self.cycles(|| unsafe { (row.run)(f, n, x.as_ptr(), 1, x.as_ptr(), 1, y.as_mut_ptr()) });
                self.print(&format!("{} {f:?}", row.name), n, cycles);
            }
        }
        for row in self.rows(rows::SOFTMAX) {
            // SAFETY: as above.
            let cycles = self.cycles(|| unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr()) });
            self.print(row.name, n, cycles);
        }
        for row in self.rows(rows::LAYER_NORM) {
            // SAFETY: as above.
            let cycles =
                self.cycles(|| unsafe { (row.run)(n, x.as_ptr(), x.as_ptr(), x.as_ptr(), 1e-5, y.as_mut_ptr()) });
            self.print(row.name, n, cycles);
        }
    }

    fn copies(&self) {
        for row in self.rows(copy::TRANSPOSE) {
            for (size, height, width) in
                [(1, 128, 128), (4, 128, 128), (2, 128, 128), (4, 3, 4096), (1, 3, 4096), (4, 4096, 3), (1, 64, 49)]
            {
                let x = aligned(size * height * width, 3u8);
                let y = aligned(x.len(), 0u8);
                // SAFETY: as above.
                let cycles = self.cycles(|| unsafe {
                    (row.run)(size, height, width, x.as_ptr(), width * size, y.as_mut_ptr(), height * size);
                });
                self.print(&format!("{} {height}x{width} of {size} bytes", row.name), height * width, cycles);
            }
        }
    }

    fn print(&self, what: &str, n: usize, cycles: f64) {
        let per_16 = cycles * 16.0 / n as f64;
        println!("{what:58} {per_16:8.2} cycles for 16, {:6.2} G/s", n as f64 / cycles * self.hertz / 1e9);
    }
}

/// As the runtime's buffers are, from a multiple of 64 bytes on.
fn aligned<T: Copy>(n: usize, value: T) -> &'static mut [T] {
    let all = vec![value; n + 64].leak();
    let skip = all.as_ptr().align_offset(64);
    &mut all[skip..skip + n]
}

/// An addition.
const SUM: AddParams = AddParams {
    rescale: AddRescale::Float32 { m1: 0.7, m2: 0.4 },
    rounding: Rounding::HalfEven,
    z1: 3,
    z2: 4,
    zero_point: 5,
    lo: 0,
    hi: 255,
};

/// Cycles a second: a chain of additions that each wait for the one before.
fn clock() -> f64 {
    let mut best = 0.0f64;
    for _ in 0..20 {
        let start = Instant::now();
        let mut x = 1u64;
        for _ in 0..200_000 {
            x = black_box_chain(x);
        }
        black_box(x);
        best = best.max(200_000.0 * 16.0 / start.elapsed().as_secs_f64());
    }
    best
}

/// Sixteen dependent operations of one cycle each.
#[inline(always)]
fn black_box_chain(mut x: u64) -> u64 {
    for _ in 0..8 {
        x = x.wrapping_add(0x1234_5678_9abc);
        x = x.rotate_left(1);
    }
    x
}

/// What this CPU has.
fn detect() -> Features {
    lowbit_kernels::detect!()
}
