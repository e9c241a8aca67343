//! Normalization by the neighbours or by a norm: LRN, LpNormalization, MeanVarianceNormalization; Hardmax.

use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Pool, ReduceKind, Unary};
use lowbit_ir::{Op, Result, Tensor, bail};

/// Windows over more channels are a mistake, which would take long to compute.
const MOST_NEIGHBOURS: usize = 1 << 16;

/// LRN: x / (bias + alpha * mean(x^2 of the neighbouring channels))^beta, the mean being a pool over the channels.
pub fn lrn(site: &mut Site<'_>) -> Result<()> {
    let (alpha, beta, bias) = (site.float("alpha", 1e-4)?, site.float("beta", 0.75)?, site.float("bias", 1.0)?);
    let size = match site.int("size")?.map(usize::try_from) {
        Some(Ok(size @ 1..=MOST_NEIGHBOURS)) => size,
        found => bail!("expected 'size' in 1..={MOST_NEIGHBOURS}, found {found:?}"),
    };
    let x = site.input(0)?;
    let rank = site.shape(&x).rank();
    if !(3..=5).contains(&rank) {
        bail!("expected an input [n, c, 1 to 3 spatial axes], found {}", site.shape(&x));
    }
    let squares = site.binary("squares", Binary::Mul, &x, &x)?;
    // The channels become a spatial axis, with which the first spatial one changes places.
    let swap: Vec<usize> = [0, 2, 1].into_iter().chain(3..rank).collect();
    let spatial = rank - 2;
    let first = |of_first: usize, of_others: usize| {
        let mut list = vec![of_others; spatial];
        list[0] = of_first;
        list
    };
    // The mean divides by all of the window, also where it leaves the channels.
    let pool = Pool {
        kernel: first(size, 1),
        strides: vec![1; spatial],
        pads: [first((size - 1) / 2, 0), first(size / 2, 0)].concat(),
        dilations: vec![1; spatial],
        ceil_mode: false,
        count_include_pad: true,
    };
    let turned = site.turned("turned", &squares, &swap)?;
    let means = site.step("means", Op::AvgPool(pool), &[&turned])?;
    let means = site.turned("back", &means, &swap)?;
    let scaled = site.scaled("scaled", &means, alpha)?;
    let sum = site.with_number("sum", Binary::Add, &scaled, bias)?;
    let power = site.with_number("power", Binary::Pow, &sum, beta)?;
    site.finish(Op::Binary(Binary::Div), &[&x, &power])
}

/// LpNormalization: x / norm of x along an axis, 0 where the norm is 0.
pub fn lp_normalization(site: &mut Site<'_>) -> Result<()> {
    let (axis, p) = (site.int("axis")?.unwrap_or(-1), site.int("p")?.unwrap_or(2));
    let x = site.input(0)?;
    let norm = match p {
        1 => {
            let abs = site.unary("abs", Unary::Abs, &x)?;
            site.reduced("norm", ReduceKind::Sum, &[axis], &abs)?
        }
        2 => {
            let squares = site.binary("squares", Binary::Mul, &x, &x)?;
            let sum = site.reduced("sum", ReduceKind::Sum, &[axis], &squares)?;
            site.unary("norm", Unary::Sqrt, &sum)?
        }
        other => bail!("expected 'p' to be 1 or 2, found {other}"),
    };
    let zero = site.known("zero", Tensor::scalar(0.0));
    let infinity = site.known("infinity", Tensor::scalar(f32::INFINITY));
    let none = site.binary("none", Binary::Equal, &norm, &zero)?;
    let divisor = site.chosen("divisor", &none, &infinity, &norm)?;
    site.finish(Op::Binary(Binary::Div), &[&x, &divisor])
}

/// MeanVarianceNormalization: (x - mean) / (deviation + 1e-9), the number being that of ONNX's definition.
pub fn mean_variance(site: &mut Site<'_>) -> Result<()> {
    let axes = site.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let x = site.input(0)?;
    let mean = site.reduced("mean", ReduceKind::Mean, &axes, &x)?;
    let centered = site.binary("centered", Binary::Sub, &x, &mean)?;
    let squares = site.binary("squares", Binary::Mul, &centered, &centered)?;
    let variance = site.reduced("variance", ReduceKind::Mean, &axes, &squares)?;
    let deviation = site.unary("deviation", Unary::Sqrt, &variance)?;
    let deviation = site.with_number("above", Binary::Add, &deviation, 1e-9)?;
    site.finish(Op::Binary(Binary::Div), &[&centered, &deviation])
}

/// Hardmax: 1 at the first largest element along an axis, 0 elsewhere; before opset 13 along all axes from `axis` on.
pub fn hardmax(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    super::norm::along(site, x, |site, x, axis| {
        let size = site.known_size(x, axis)?;
        // Positions as floats, which hold these integers exactly.
        if size > 1 << 24 {
            bail!("expected at most {} elements along an axis, found {size}", 1 << 24);
        }
        site.room_for(lowbit_ir::DType::F32, &[size])?;
        let rank = site.shape(x).rank();
        let after = rank - 1 - site.shape(x).axis(axis)?;
        let mut dims = vec![1; after + 1];
        dims[0] = size;
        let positions = Tensor::from_f32(&dims, (0..size).map(|i| i as f32).collect())?;
        let positions = site.known("positions", positions);
        let beyond = site.known("beyond", Tensor::scalar(size as f32));
        let max = site.reduced("max", ReduceKind::Max, &[axis], x)?;
        let largest = site.binary("largest", Binary::Equal, x, &max)?;
        let candidates = site.chosen("candidates", &largest, &positions, &beyond)?;
        let first = site.reduced("first", ReduceKind::Min, &[axis], &candidates)?;
        let hot = site.binary("hot", Binary::Equal, &positions, &first)?;
        site.step("ones", Op::Cast { to: lowbit_ir::DType::F32 }, &[&hot])
    })
}
