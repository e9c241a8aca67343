//! Normalization over channels, groups and rows; Softmax and LogSoftmax.

use crate::build::sizes::{Size, Sizes};
use crate::build::{Item, compose};
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{Dim, Op, Result, Tensor, bail};

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
    let (op, [a, b]) = compose::instance_norm(site.builder, &site.name, &x, &scale, &bias, epsilon)?;
    site.finish(op, &[&a, &b])
}

/// GroupNormalization: groups of channels by their own statistics, then scale and bias per channel.
pub fn group(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let groups = site.int("num_groups")?.unwrap_or(0);
    let (x, scale, bias) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let (op, [a, b]) = compose::group_norm(site.builder, &site.name, &x, &scale, &bias, groups, epsilon)?;
    site.finish(op, &[&a, &b])
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
            let (op, [a, b]) = compose::log_softmax(site.builder, &site.name, &x, axis)?;
            site.finish(op, &[&a, &b])
        }
        Axes::Joined(axis) => {
            let flat = site.step("flat", Op::Flatten { axis }, &[&x])?;
            let (op, [a, b]) = compose::log_softmax(site.builder, &site.name, &flat, -1)?;
            let y = site.step("rows", op, &[&a, &b])?;
            let back = unflatten(site, &x, &y)?;
            site.finish(back, &[&y])
        }
    }
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
    let dims = crate::build::sizes::reshape_dims(&target, &site.shape(flat))?;
    Ok(Op::Reshape { dims })
}
