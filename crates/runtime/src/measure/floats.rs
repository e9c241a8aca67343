//! Floats: products, functions of elements, rows, pools.

use super::layers::{Layer, channels, products};
use super::{Allowed, Contest, Numbers, Unit, floats};
use lowbit_kernels::elementwise::{BinaryFn, UnaryFn};
use lowbit_kernels::requant::FloatEpilogue;
use lowbit_kernels::rows::ReduceFn;
use lowbit_kernels::{dwconv, elementwise, gemm, pool, rows};
use std::hint::black_box;

static FULL: &[Layer] =
    &[Layer::plain(64, 64, 3), Layer::plain(256, 256, 1), Layer::plain(16, 96, 1), Layer::plain(16, 32, 3)];
static DEPTHWISE: &[Layer] = &[Layer::depthwise(32), Layer::depthwise(144)];

const UNARY: [UnaryFn; 7] =
    [UnaryFn::Exp, UnaryFn::Erf, UnaryFn::Tanh, UnaryFn::Sigmoid, UnaryFn::Gelu, UnaryFn::Silu, UnaryFn::Sin];
const BINARY: [BinaryFn; 3] = [BinaryFn::Add, BinaryFn::Max, BinaryFn::Pow];

/// Elements of a run.
const RUN: usize = 2048;

/// All tables of floats.
pub fn contests(allowed: &Allowed) -> Vec<Contest> {
    let here = *allowed;
    let full = FULL.iter().map(|layer| {
        let case = format!("f32, {}", layer.name());
        Contest::of(
            allowed,
            case,
            layer.macs(),
            gemm::F32,
            |row| (row.suits)(layer.sizes()),
            move |row| {
                products(&here, row, layer, 4, floats(layer.input())?, (|i| i as f32, |i| i as f32), |_, _| STORED)
            },
        )
    });
    let by_channel = DEPTHWISE.iter().map(|layer| {
        let case = format!("f32, {}", layer.name());
        Contest::of(
            allowed,
            case,
            layer.macs(),
            dwconv::F32,
            |_| true,
            move |row| channels(row, layer, 4, floats(layer.input())?, (|i| i as f32, |i| i as f32), |_, _| STORED),
        )
    });
    full.chain(by_channel).chain(elements(allowed)).chain(by_rows(allowed)).chain(pools(allowed)).collect()
}

const STORED: FloatEpilogue = FloatEpilogue { clamp: (0.0, 6.0), add: None };

fn elements(allowed: &Allowed) -> impl Iterator<Item = Contest> {
    let work = (RUN, Unit::Elements);
    let unary = UNARY.map(|f| {
        Contest::of(
            allowed,
            format!("f32 {f:?}"),
            work,
            elementwise::UNARY,
            |_| true,
            move |row| {
                let (x, y) = (floats(RUN)?, floats(RUN)?);
                // SAFETY: rows enter only what the CPU can run, and the runs have their elements; so below.
                Ok(Box::new(move || unsafe { (row.run)(black_box(f), RUN, x.ptr(), y.out()) }))
            },
        )
    });
    let binary = BINARY.map(|f| {
        Contest::of(
            allowed,
            format!("f32 {f:?}"),
            work,
            elementwise::BINARY,
            |_| true,
            move |row| {
                let (a, b, y) = (floats(RUN)?, floats(RUN)?, floats(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(black_box(f), RUN, a.ptr(), 1, b.ptr(), 1, y.out()) }))
            },
        )
    });
    let clamp = Contest::of(
        allowed,
        "f32 clamp".into(),
        work,
        elementwise::CLAMP,
        |_| true,
        |row| {
            let (x, y) = (floats(RUN)?, floats(RUN)?);
            // SAFETY: as above.
            Ok(Box::new(move || unsafe { (row.run)(RUN, x.ptr(), y.out(), black_box(0.0), 6.0) }))
        },
    );
    unary.into_iter().chain(binary).chain([clamp])
}

fn by_rows(allowed: &Allowed) -> impl Iterator<Item = Contest> {
    [128usize, 384]
        .into_iter()
        .flat_map(move |n| {
            let work = (n, Unit::Elements);
            let softmax = Contest::of(
                allowed,
                format!("softmax of {n}"),
                work,
                rows::SOFTMAX,
                |_| true,
                move |row| {
                    let (x, y) = (floats(n)?, floats(n)?);
                    // SAFETY: as above.
                    Ok(Box::new(move || unsafe { (row.run)(black_box(n), x.ptr(), y.out()) }))
                },
            );
            let norm = Contest::of(
                allowed,
                format!("layer norm of {n}"),
                work,
                rows::LAYER_NORM,
                |_| true,
                move |row| {
                    let (x, scale, bias, y) = (floats(n)?, floats(n)?, floats(n)?, floats(n)?);
                    // SAFETY: as above.
                    Ok(Box::new(move || unsafe {
                        (row.run)(black_box(n), x.ptr(), scale.ptr(), bias.ptr(), 1e-5, y.out());
                    }))
                },
            );
            [softmax, norm]
        })
        .chain(reductions(allowed))
}

/// Those whose order is free: the sums of all rows of the table are one.
fn reductions(allowed: &Allowed) -> impl Iterator<Item = Contest> {
    [(ReduceFn::Largest, 128), (ReduceFn::Largest, RUN), (ReduceFn::Max, RUN), (ReduceFn::Min, RUN)].into_iter().map(
        |(f, n)| {
            Contest::of(
                allowed,
                format!("{f:?} of {n}"),
                (n, Unit::Elements),
                rows::REDUCE,
                |_| true,
                move |row| {
                    let x = floats(n)?;
                    Ok(Box::new(move || {
                        // SAFETY: as above.
                        black_box(unsafe { (row.run)(black_box(f), n, x.ptr()) });
                    }))
                },
            )
        },
    )
}

fn pools(allowed: &Allowed) -> [Contest; 2] {
    let (channels, taps) = (256, 9);
    let args = move |pixels: &[*const f32], y: &Numbers<f32>| pool::Args {
        channels,
        taps: pixels.len(),
        x: pixels.as_ptr(),
        y: y.out(),
    };
    let max = Contest::of(
        allowed,
        format!("f32 maximum of {taps}, {channels} channels"),
        (taps * channels, Unit::Elements),
        pool::MAX_F32,
        |_| true,
        move |row| {
            let (x, y) = (floats(channels)?, floats(channels)?);
            let pixels = vec![x.ptr(); taps];
            Ok(Box::new(move || {
                let _ = &x;
                // SAFETY: as above.
                unsafe { (row.run)(black_box(&args(&pixels, &y))) }
            }))
        },
    );
    let average = Contest::of(
        allowed,
        format!("f32 average of 49, {channels} channels"),
        (49 * channels, Unit::Elements),
        pool::AVG_F32,
        |_| true,
        move |row| {
            let (x, y) = (floats(channels)?, floats(channels)?);
            let pixels = vec![x.ptr(); 49];
            Ok(Box::new(move || {
                let _ = &x;
                // SAFETY: as above.
                unsafe { (row.run)(black_box(&args(&pixels, &y)), 49.0) }
            }))
        },
    );
    [max, average]
}
