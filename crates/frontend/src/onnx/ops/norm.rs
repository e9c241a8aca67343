//! Normalization: BatchNormalization, LayerNormalization, InstanceNormalization, Softmax, LogSoftmax.

use crate::onnx::builder::Item;
use crate::onnx::node::{Site, known_from};
use crate::onnx::sizes::{Size, Sizes};
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
    let spatial = known_from(&site.shape(&x), 2)?;
    let ones = site.known("ones", Tensor::from_f32(&spatial, vec![1.0; spatial.iter().product()])?);
    let normal = site.step("normal", Op::LayerNorm { axis: 2, epsilon }, &[&x, &ones])?;
    let axes: Vec<i64> = (1..).take(spatial.len()).collect();
    let scale = site.step("scale", Op::Unsqueeze { axes: axes.clone() }, &[&scale])?;
    let bias = site.step("bias", Op::Unsqueeze { axes }, &[&bias])?;
    let scaled = site.step("scaled", Op::Binary(Binary::Mul), &[&normal, &scale])?;
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
