//! Normalization over channels, groups and rows; Softmax and LogSoftmax.

use crate::onnx::builder::Item;
use crate::onnx::node::{Site, known_from};
use crate::onnx::sizes::{Size, Sizes};
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{Dim, Op, Result, Shape, Tensor, bail};

/// BatchNormalization with the statistics of training.
pub fn batch(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["momentum"]);
    if site.flag("training_mode", false)? {
        bail!("training mode is not supported; export the model for inference");
    }
    if !site.flag("spatial", true)? {
        bail!("statistics per activation (spatial = 0) are not supported");
    }
    let inputs = site.inputs()?;
    site.finish(Op::BatchNorm { epsilon }, &inputs.iter().collect::<Vec<_>>())
}

/// LayerNormalization: (x, scale, bias?).
pub fn layer(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(-1);
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let inputs = [site.maybe(0)?, site.maybe(1)?, site.maybe(2)?];
    site.finish_as(Op::LayerNorm { axis, epsilon }, &inputs, 1, &[])
}

/// InstanceNormalization: every channel of every sample by its own statistics.
pub fn instance(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    let (x, scale, bias) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let spatial = known_from(&site.shape(&x), 2)?;
    let ones = site.builder.ones(&spatial)?;
    let ones = site.known("ones", ones);
    let normal = site.step("normal", Op::LayerNorm { axis: 2, epsilon }, &[&x, &ones])?;
    per_channel(site, &normal, &scale, &bias, spatial.len())
}

/// GroupNormalization: groups of channels by their own statistics, then scale and bias per channel.
pub fn group(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let groups = site.int("num_groups")?.unwrap_or(0);
    let (x, scale, bias) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let shape = site.shape(&x);
    let known = known_from(&shape, 1)?;
    let count = usize::try_from(groups).ok().filter(|g| *g > 0 && known.first().is_some_and(|c| c % g == 0));
    let (Some(count), Some(channels)) = (count, known.first()) else {
        bail!("expected 'num_groups' to divide the channels of {shape}, found {groups}");
    };
    if site.shape(&scale).dims() != Some(vec![*channels]) {
        bail!("expected one scale for each of {channels} channels, found {}", site.shape(&scale));
    }
    let Some(size) = Shape::known(&known).count().map(|n| n / count) else {
        bail!("expected sizes that fit in memory, found {shape}");
    };
    let apart = site.step("groups", Op::Reshape { dims: vec![0, groups, -1] }, &[&x])?;
    let ones = site.builder.ones(&[size])?;
    let ones = site.known("ones", ones);
    let normal = site.step("normal", Op::LayerNorm { axis: 2, epsilon }, &[&apart, &ones])?;
    let whole = site.reshape("whole", &normal, &Sizes::of_shape(&shape.0).elements)?;
    per_channel(site, &whole, &scale, &bias, known.len() - 1)
}

/// RMSNormalization: x / sqrt(mean(x^2) + epsilon) * scale, over the axes from `axis` on.
pub fn rms(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let (x, scale) = (site.input(0)?, site.input(1)?);
    let shape = site.shape(&x);
    let axis = shape.axis(site.int("axis")?.unwrap_or(-1))?;
    let axes = (axis..shape.rank()).map(|a| a as i64).collect();
    let square = site.step("square", Op::Binary(Binary::Mul), &[&x, &x])?;
    let mean = Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims: true });
    let mean = site.step("mean", mean, &[&square])?;
    let epsilon = site.known("epsilon", Tensor::scalar(epsilon));
    let sum = site.step("sum", Op::Binary(Binary::Add), &[&mean, &epsilon])?;
    let root = site.step("root", Op::Unary(Unary::Sqrt), &[&sum])?;
    let normal = site.step("normal", Op::Binary(Binary::Div), &[&x, &root])?;
    site.finish(Op::Binary(Binary::Mul), &[&normal, &scale])
}

/// The result: scale and bias of each channel, which have `spatial` axes after them.
fn per_channel(site: &mut Site<'_>, normal: &Item, scale: &Item, bias: &Item, spatial: usize) -> Result<()> {
    let axes: Vec<i64> = (1..).take(spatial).collect();
    let scale = site.step("scale", Op::Unsqueeze { axes: axes.clone() }, &[scale])?;
    let bias = site.step("bias", Op::Unsqueeze { axes }, &[bias])?;
    let scaled = site.step("scaled", Op::Binary(Binary::Mul), &[normal, &scale])?;
    site.finish(Op::Binary(Binary::Add), &[&scaled, &bias])
}

/// Softmax along one axis; before opset 13 over all axes from `axis` on together.
pub fn softmax(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    match joined_axes(site, &x)? {
        Axes::One(axis) => site.finish(Op::Softmax { axis }, &[&x]),
        Axes::Joined(axis) => {
            let flat = site.step("flat", Op::Flatten { axis }, &[&x])?;
            let y = site.step("rows", Op::Softmax { axis: -1 }, &[&flat])?;
            let back = unflatten(site, &x, &y)?;
            site.finish(back, &[&y])
        }
    }
}

/// LogSoftmax: x - max - ln(sum(exp(x - max))).
pub fn log_softmax(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    match joined_axes(site, &x)? {
        Axes::One(axis) => {
            let (shifted, log) = log_sum(site, &x, axis)?;
            site.finish(Op::Binary(Binary::Sub), &[&shifted, &log])
        }
        Axes::Joined(axis) => {
            let flat = site.step("flat", Op::Flatten { axis }, &[&x])?;
            let (shifted, log) = log_sum(site, &flat, -1)?;
            let y = site.step("rows", Op::Binary(Binary::Sub), &[&shifted, &log])?;
            let back = unflatten(site, &x, &y)?;
            site.finish(back, &[&y])
        }
    }
}

fn log_sum(site: &mut Site<'_>, x: &Item, axis: i64) -> Result<(Item, Item)> {
    let over = |kind| Op::Reduce(Reduce { kind, axes: vec![axis], keep_dims: true });
    let max = site.step("max", over(ReduceKind::Max), &[x])?;
    let shifted = site.step("shifted", Op::Binary(Binary::Sub), &[x, &max])?;
    let exp = site.step("exp", Op::Unary(Unary::Exp), &[&shifted])?;
    let sum = site.step("sum", over(ReduceKind::Sum), &[&exp])?;
    let log = site.step("log", Op::Unary(Unary::Log), &[&sum])?;
    Ok((shifted, log))
}

enum Axes {
    One(i64),
    Joined(i64),
}

/// Which axes sum to one: old opsets join all axes from `axis` on, which is one axis if the others there have size 1.
fn joined_axes(site: &mut Site<'_>, x: &Item) -> Result<Axes> {
    let shape = site.shape(x);
    if site.opset >= 13 {
        return Ok(Axes::One(site.int("axis")?.unwrap_or(-1)));
    }
    let axis = shape.axis(site.int("axis")?.unwrap_or(1))?;
    let alone = shape.0.iter().skip(axis + 1).all(|d| *d == Dim::Known(1));
    let axis = axis as i64;
    Ok(if alone { Axes::One(axis) } else { Axes::Joined(axis) })
}

fn unflatten(site: &mut Site<'_>, x: &Item, flat: &Item) -> Result<Op> {
    let target: Vec<Size> = Sizes::of_shape(&site.shape(x).0).elements;
    let dims = crate::onnx::sizes::reshape_dims(&target, &site.shape(flat))?;
    Ok(Op::Reshape { dims })
}
