//! Layers of 16-bit activations or weights, with 64-bit accumulators.

use super::layers::{Layer, channels, products};
use super::{Allowed, Contest, Method, Multipliers, Numbers};
use lowbit_ir::Result;
use lowbit_kernels::gemm::{Args, Epilogue16, Gemm};
use lowbit_kernels::requant::Requant;
use lowbit_kernels::{dwconv, gemm};

static FULL: &[Layer] = &[
    Layer::plain(64, 64, 3),
    Layer::plain(256, 256, 1),
    Layer::plain(16, 96, 1),
    Layer::plain(32, 192, 1),
    Layer::plain(64, 384, 1),
];
static DEPTHWISE: &[Layer] = &[Layer::depthwise(32), Layer::depthwise(144)];

/// The three tables of `gemm` and those of `dwconv`.
pub fn contests(allowed: &Allowed) -> Vec<Contest> {
    let mut all = Vec::new();
    for layer in FULL {
        all.push(full(allowed, "u16 by i8", gemm::Q16, layer));
        all.push(full(allowed, "u16 by i16", gemm::Q16_W16, layer));
        all.push(full(allowed, "u8 by i16", gemm::Q8_W16, layer));
    }
    for layer in DEPTHWISE {
        all.push(by_channel(allowed, "u16 by i8", dwconv::Q16, layer));
        all.push(by_channel(allowed, "u16 by i16", dwconv::Q16_W16, layer));
        all.push(by_channel(allowed, "u8 by i16", dwconv::Q8_W16, layer));
    }
    all
}

/// A row of `gemm` of these types.
type Full<X, W> = Gemm<Args<X, W, i64, u8, Epilogue16>>;
/// A row of `dwconv` of these types.
type ByChannel<X, W> = dwconv::Dw<dwconv::Args<X, W, i64, u8, Epilogue16>, W>;

fn full<X, W>(allowed: &Allowed, types: &str, table: &'static [Full<X, W>], layer: &'static Layer) -> Contest
where
    X: Copy + From<u8> + 'static,
    W: Copy + From<i8> + 'static,
{
    let here = *allowed;
    Contest::of(
        allowed,
        format!("{types}, {}", layer.name()),
        layer.macs(),
        table,
        |row| (row.suits)(layer.sizes()),
        move |row| {
            products(&here, row, layer, 2, input(layer)?, (|i| W::from(i as i8), |i| i as i64), requantized(layer)?)
        },
    )
}

fn by_channel<X, W>(allowed: &Allowed, types: &str, table: &'static [ByChannel<X, W>], layer: &'static Layer) -> Contest
where
    X: Copy + From<u8> + 'static,
    W: Copy + From<i8> + 'static,
{
    Contest::of(
        allowed,
        format!("{types}, {}", layer.name()),
        layer.macs(),
        table,
        |_| true,
        move |row| channels(row, layer, 2, input(layer)?, (|i| W::from(i as i8), |i| i as i64), requantized(layer)?),
    )
}

fn input<X: Copy + From<u8>>(layer: &Layer) -> Result<Numbers<X>> {
    Numbers::of(layer.input(), |i| X::from((i * 37 % 251) as u8))
}

fn requantized(layer: &Layer) -> Result<impl Fn(usize, usize) -> Epilogue16 + 'static> {
    let multipliers = Multipliers::of(Method::Float32, dwconv::padded(layer.outputs()))?;
    Ok(move |_: usize, channel: usize| {
        let requant = multipliers.requant(65535);
        Epilogue16::Requant { how: Requant { scales: requant.scales.from(channel), ..requant }, narrow: true }
    })
}
