//! Softmax in its many names.

use crate::build::{Item, compose};
use crate::mxnet::node::Site;
use crate::mxnet::ops::pass;
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::{Op, Result, bail};

/// softmax along an axis, with a temperature.
pub fn softmax(site: &mut Site<'_>) -> Result<()> {
    let x = warmed(site)?;
    let axis = site.int("axis")?.unwrap_or(-1);
    site.finish(Op::Softmax { axis }, &[&x])
}

/// softmin: softmax of the negative.
pub fn softmin(site: &mut Site<'_>) -> Result<()> {
    let x = warmed(site)?;
    let axis = site.int("axis")?.unwrap_or(-1);
    let x = site.step("negative", Op::Unary(Unary::Neg), &[&x])?;
    site.finish(Op::Softmax { axis }, &[&x])
}

/// log_softmax along an axis, with a temperature.
pub fn log_softmax(site: &mut Site<'_>) -> Result<()> {
    let x = warmed(site)?;
    let axis = site.int("axis")?.unwrap_or(-1);
    let (op, [a, b]) = compose::log_softmax(site.builder, site.name(), &x, axis)?;
    site.finish(op, &[&a, &b])
}

/// The operand, divided by the temperature.
fn warmed(site: &mut Site<'_>) -> Result<Item> {
    let temperature = site.float("temperature", 1.0)?;
    if site.flag("use_length", false)? {
        bail!("softmax over lengths (use_length) is not supported");
    }
    pass::remark_type(site, "dtype")?;
    let x = site.input(0)?;
    if temperature == 1.0 {
        return Ok(x);
    }
    let by = site.number("temperature", temperature);
    site.step("warmed", Op::Binary(Binary::Div), &[&x, &by])
}

/// SoftmaxActivation: over channels or, as MXNet computes the mode `instance`, over the last axis.
pub fn activation(site: &mut Site<'_>) -> Result<()> {
    let axis = if site.word("mode", &["instance", "channel"])? == "channel" { 1 } else { -1 };
    let x = site.input(0)?;
    site.finish(Op::Softmax { axis }, &[&x])
}

/// SoftmaxOutput at inference: (data, label).
pub fn output(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["grad_scale", "ignore_label", "use_ignore", "normalization", "out_grad", "smooth_alpha"]);
    let (multi, keep) = (site.flag("multi_output", false)?, site.flag("preserve_shape", false)?);
    let x = site.input(0)?;
    match (multi, keep) {
        (true, _) => site.finish(Op::Softmax { axis: 1 }, &[&x]),
        (false, true) => site.finish(Op::Softmax { axis: -1 }, &[&x]),
        (false, false) => over_all(site, &x),
    }
}

/// All axes but the batch sum to one together.
fn over_all(site: &mut Site<'_>, x: &Item) -> Result<()> {
    if site.shape(x).rank() <= 2 {
        return site.finish(Op::Softmax { axis: -1 }, &[x]);
    }
    let flat = site.step("flat", Op::Flatten { axis: 1 }, &[x])?;
    let rows = site.step("rows", Op::Softmax { axis: -1 }, &[&flat])?;
    let target = site.dims(x);
    site.finish_reshape(&rows, &target)
}
