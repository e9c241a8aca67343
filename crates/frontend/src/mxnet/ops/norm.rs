//! Normalization over channels, groups, rows and neighbours.

use crate::build::{Item, compose};
use crate::mxnet::node::Site;
use lowbit_ir::op::{Binary, Pool, Reduce, ReduceKind, Unary};
use lowbit_ir::{Op, Result, bail};

/// BatchNorm with the statistics of training: (data, gamma, beta, moving_mean, moving_var).
pub fn batch(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("eps", 1e-3)?;
    let fixed = site.flag("fix_gamma", true)?;
    // At inference the moving statistics are used, whatever `use_global_stats` says.
    site.ignore(&["momentum", "use_global_stats", "cudnn_off", "key", "ndev", "output_mean_var"]);
    let (min, max) = (site.text("min_calib_range"), site.text("max_calib_range"));
    if min.is_some() || max.is_some() {
        bail!("ranges of MXNet's own quantization are not supported; read the float model");
    }
    let x = site.input(0)?;
    let axis = site.shape(&x).axis(site.int("axis")?.unwrap_or(1))?;
    if axis != 1 {
        bail!("expected the channels on axis 1, found 'axis' {axis}");
    }
    let mut gamma = site.parameter(1, "gamma")?;
    let beta = site.parameter(2, "beta")?;
    let (mean, variance) = (site.parameter(3, "moving_mean")?, site.parameter(4, "moving_var")?);
    if fixed {
        // Whatever the file holds: MXNet sets it to one.
        let Some(dims) = site.shape(&gamma).dims() else { bail!("expected a gamma of known size") };
        let ones = site.builder.ones(&dims)?;
        gamma = site.known("gamma", ones);
    }
    site.finish(Op::BatchNorm { epsilon }, &[&x, &gamma, &beta, &mean, &variance])
}

/// InstanceNorm: (data, gamma, beta).
pub fn instance(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("eps", 1e-3)?;
    let (x, gamma, beta) = (site.input(0)?, site.parameter(1, "gamma")?, site.parameter(2, "beta")?);
    let (op, [a, b]) = compose::instance_norm(site.builder, site.name(), &x, &gamma, &beta, epsilon)?;
    site.finish(op, &[&a, &b])
}

/// GroupNorm: (data, gamma, beta).
pub fn group(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("eps", 1e-5)?;
    let groups = site.int("num_groups")?.unwrap_or(1);
    site.ignore(&["output_mean_var"]);
    let (x, gamma, beta) = (site.input(0)?, site.parameter(1, "gamma")?, site.parameter(2, "beta")?);
    let gamma = per_channel(site, "gamma", &x, gamma, groups)?;
    let beta = per_channel(site, "beta", &x, beta, groups)?;
    let (op, [a, b]) = compose::group_norm(site.builder, site.name(), &x, &gamma, &beta, groups, epsilon)?;
    site.finish(op, &[&a, &b])
}

/// A parameter for each group, as MXNet 1.x has it, as one for each channel.
fn per_channel(site: &mut Site<'_>, name: &str, x: &Item, parameter: Item, groups: i64) -> Result<Item> {
    let channels = site.known_dim(x, 1)?;
    let count = usize::try_from(groups).unwrap_or(0);
    if count == 0 || channels % count != 0 || site.shape(&parameter).dims() != Some(vec![count]) || count == channels {
        return Ok(parameter);
    }
    let column = site.step(&format!("{name}.column"), Op::Unsqueeze { axes: vec![1] }, &[&parameter])?;
    let repeated = Op::Expand { dims: vec![count, channels / count] };
    let repeated = site.step(&format!("{name}.repeated"), repeated, &[&column])?;
    site.step(name, Op::Reshape { dims: vec![-1] }, &[&repeated])
}

/// LayerNorm over the last axis: (data, gamma, beta).
pub fn layer(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("eps", 1e-5)?;
    site.ignore(&["output_mean_var"]);
    let x = site.input(0)?;
    let rank = site.shape(&x).rank();
    let axis = site.shape(&x).axis(site.int("axis")?.unwrap_or(-1))?;
    if axis + 1 != rank {
        bail!("expected normalization over the last axis, found axis {axis} of {}", site.shape(&x));
    }
    let (gamma, beta) = (site.parameter(1, "gamma")?, site.parameter(2, "beta")?);
    site.finish(Op::LayerNorm { axis: -1, epsilon }, &[&x, &gamma, &beta])
}

/// L2Normalization: x / sqrt(sum(x^2) + eps) over all axes but the batch, over channels or over pixels.
pub fn l2(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("eps", 1e-10)?;
    let mode = site.word("mode", &["instance", "channel", "spatial"])?;
    let x = site.input(0)?;
    let rank = site.shape(&x).rank() as i64;
    let axes: Vec<i64> = match mode {
        "instance" => (1..rank).collect(),
        "channel" => vec![1],
        _ => (2..rank).collect(),
    };
    let square = site.step("square", Op::Binary(Binary::Mul), &[&x, &x])?;
    let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep_dims: true });
    let sum = site.step("sum", sum, &[&square])?;
    let epsilon = site.number("eps", epsilon);
    let more = site.step("more", Op::Binary(Binary::Add), &[&sum, &epsilon])?;
    let norm = site.step("norm", Op::Unary(Unary::Sqrt), &[&more])?;
    site.finish(Op::Binary(Binary::Div), &[&x, &norm])
}

/// LRN: x / (knorm + alpha / nsize * sum(x^2 of `nsize` channels around))^beta. The sum over neighbours is an average
/// with padding counted, times their number.
pub fn local_response(site: &mut Site<'_>) -> Result<()> {
    let (alpha, beta, knorm) = (site.float("alpha", 1e-4)?, site.float("beta", 0.75)?, site.float("knorm", 2.0)?);
    let size = site.count("nsize", 0)?;
    let x = site.input(0)?;
    if size % 2 == 0 || site.shape(&x).rank() != 4 {
        bail!("expected an odd 'nsize' and an input [n, c, h, w], found {size} and {}", site.shape(&x));
    }
    let square = site.step("square", Op::Binary(Binary::Mul), &[&x, &x])?;
    let apart = site.step("apart", Op::Unsqueeze { axes: vec![1] }, &[&square])?;
    let pool = Pool {
        kernel: vec![size, 1, 1],
        strides: vec![1; 3],
        pads: vec![size / 2, 0, 0, size / 2, 0, 0],
        dilations: vec![1; 3],
        ceil_mode: false,
        count_include_pad: true,
    };
    let mean = site.step("mean", Op::AvgPool(pool), &[&apart])?;
    let mean = site.step("around", Op::Squeeze { axes: vec![1] }, &[&mean])?;
    let alpha = site.number("alpha", alpha);
    let knorm = site.number("knorm", knorm);
    let power = site.number("beta", -beta);
    let scaled = site.step("scaled", Op::Binary(Binary::Mul), &[&mean, &alpha])?;
    let more = site.step("more", Op::Binary(Binary::Add), &[&scaled, &knorm])?;
    let factor = site.step("factor", Op::Binary(Binary::Pow), &[&more, &power])?;
    site.finish(Op::Binary(Binary::Mul), &[&x, &factor])
}
