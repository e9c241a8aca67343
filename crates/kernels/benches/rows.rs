//! Times every row of the tables that matter: `cargo bench -p lowbit-kernels [-- PART-OF-A-NAME]`.
//!
//! Of many short runs the least time counts, so that other work on the machine disturbs little. Cycles are those of the
//! time stamp counter's clock measured by a chain of dependent additions, that is, of the core.

use lowbit_kernels::requant::{Epilogue, FloatEpilogue, Requant, Scales};
use lowbit_kernels::{Features, SLACK, gemm};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let bench = Bench { hertz: clock(), features: detect() };
    println!("clock {:.2} GHz", bench.hertz / 1e9);
    for row in gemm::Q8.iter().filter(|r| bench.features.has(r.needs) && wanted(r.name)) {
        bench.q8(row);
    }
    for row in gemm::F32.iter().filter(|r| bench.features.has(r.needs) && wanted(r.name)) {
        bench.f32(row);
    }
}

struct Bench {
    hertz: f64,
    features: Features,
}

impl Bench {
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

    fn q8(&self, row: &gemm::QGemm) {
        let (mr, nr) = (row.mr, row.nr);
        for (what, epilogue) in [("accumulator", 0), ("float32", 1), ("fixed", 2), ("shift", 3)] {
            for (rows, cols, taps, k) in
                [(mr, nr, 9, 64), (mr, nr, 1, 512), (mr, nr, 1, 64), (mr, nr, 1, 16), (1, nr, 1, 512), (mr, 16, 1, 96)]
            {
                let cols = cols.min(nr);
                let x = vec![3u8; mr * taps * k + SLACK];
                let pointers: Vec<*const u8> =
                    (0..taps * mr).map(|i| x[i / mr * k + i % mr * taps * k..].as_ptr()).collect();
                let w = vec![1i8; gemm::packed_q8(nr, taps, k, nr)];
                let bias = vec![5i32; nr];
                let (float, fixed, shift, less) =
                    (vec![0.01f32; nr], vec![(1 << 30) + 12345i32; nr], vec![38i32; nr], vec![8i32; nr]);
                let scales = match epilogue {
                    2 => Scales::Fixed(fixed.as_ptr(), shift.as_ptr()),
                    3 => Scales::Shift(less.as_ptr()),
                    _ => Scales::Float32(float.as_ptr()),
                };
                let mut y = vec![0u8; mr * nr * 4];
                let args = gemm::QArgs {
                    rows,
                    cols,
                    x: pointers.as_ptr(),
                    taps,
                    k,
                    w: w.as_ptr(),
                    bias: bias.as_ptr(),
                    y: y.as_mut_ptr(),
                    y_stride: nr * 4,
                    epilogue: match epilogue {
                        0 => Epilogue::Accumulator,
                        _ => Epilogue::Requant(Requant { scales, zero_point: 3, lo: 0, hi: 255 }),
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

    fn f32(&self, row: &gemm::FGemm) {
        let (mr, nr) = (row.mr, row.nr);
        for (rows, cols, taps, k) in
            [(mr, nr, 9, 64), (mr, nr, 1, 512), (mr, nr, 1, 16), (1, nr, 1, 512), (mr, 16, 1, 96)]
        {
            let cols = cols.min(nr);
            let x = vec![1f32; mr * taps * k + SLACK];
            let pointers: Vec<*const f32> =
                (0..taps * mr).map(|i| x[i / mr * k + i % mr * taps * k..].as_ptr()).collect();
            let w = vec![1f32; gemm::packed_f32(nr, taps, k, nr)];
            let bias = vec![5f32; nr];
            let mut y = vec![0f32; mr * nr];
            let args = gemm::FArgs {
                rows,
                cols,
                x: pointers.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
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
}

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
    let mut features = Features::NONE;
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            features = features.and(Features::AVX2);
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            features = features.and(Features::AVX512);
        }
        if is_x86_feature_detected!("avx512vnni") {
            features = features.and(Features::AVX512_VNNI);
        }
        if is_x86_feature_detected!("avx512vbmi") {
            features = features.and(Features::AVX512_VBMI);
        }
    }
    features
}
