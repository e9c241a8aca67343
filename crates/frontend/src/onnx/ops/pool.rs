//! Pooling.

use super::window::{list, window};
use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_ir::op::{Pool, Reduce, ReduceKind};
use lowbit_ir::{Op, Result, bail};

/// The attributes of a pool over `x`.
pub fn attributes(site: &mut Site<'_>, x: &Item) -> Result<Pool> {
    let shape = site.shape(x);
    let Some(kernel) = list(site, "kernel_shape", shape.rank().saturating_sub(2))? else {
        bail!("expected attribute 'kernel_shape', found none");
    };
    let window = window(site, &shape, &kernel)?;
    Ok(Pool {
        kernel,
        strides: window.strides,
        pads: window.pads,
        dilations: window.dilations,
        ceil_mode: site.flag("ceil_mode", false)?,
        count_include_pad: site.flag("count_include_pad", false)?,
    })
}

/// MaxPool; its indices are not computed.
pub fn max(site: &mut Site<'_>) -> Result<()> {
    // The storage order matters to the indices only.
    site.ignore(&["storage_order"]);
    let x = site.input(0)?;
    let pool = attributes(site, &x)?;
    site.finish(Op::MaxPool(pool), &[&x])
}

/// AveragePool.
pub fn average(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let pool = attributes(site, &x)?;
    site.finish(Op::AvgPool(pool), &[&x])
}

/// GlobalAveragePool.
pub fn global_average(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    site.finish(Op::GlobalAvgPool, &[&x])
}

/// GlobalMaxPool.
pub fn global_max(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let axes = (2..site.shape(&x).rank()).map(|a| a as i64).collect();
    site.finish(Op::Reduce(Reduce { kind: ReduceKind::Max, axes, keep_dims: true }), &[&x])
}
