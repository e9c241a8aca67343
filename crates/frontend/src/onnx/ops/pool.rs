//! Pooling.

use super::window::{list, window};
use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Pool, Reduce, ReduceKind, Unary};
use lowbit_ir::{Op, Result, Shape, Type, bail, infer};

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

/// LpPool: the p-th root of the sum of |x|^p in a window, which is its mean with padding times its size.
pub fn lp(site: &mut Site<'_>) -> Result<()> {
    let p = order(site)?;
    let x = site.input(0)?;
    let mut pool = attributes(site, &x)?;
    // Padding adds zeros to a sum, so what is divided by must not depend on it.
    pool.count_include_pad = true;
    let pool = whole_windows(pool, &site.shape(&x))?;
    let window: usize = pool.kernel.iter().fold(1, |n: usize, k| n.saturating_mul(*k));
    let powers = powers(site, &x, p)?;
    let mean = site.step("mean", Op::AvgPool(pool), &[&powers])?;
    let sum = site.scaled("sum", &mean, window as f32)?;
    root(site, &sum, p)
}

/// GlobalLpPool.
pub fn global_lp(site: &mut Site<'_>) -> Result<()> {
    let p = order(site)?;
    let x = site.input(0)?;
    let axes: Vec<i64> = (2..site.shape(&x).rank()).map(|a| a as i64).collect();
    if axes.is_empty() {
        bail!("expected an input with spatial axes, found {}", site.shape(&x));
    }
    let powers = powers(site, &x, p)?;
    let sum = site.reduced("sum", ReduceKind::Sum, &axes, &powers)?;
    root(site, &sum, p)
}

fn order(site: &mut Site<'_>) -> Result<i64> {
    match site.int("p")?.unwrap_or(2) {
        // Exactly an f32.
        p @ 1..=1024 => Ok(p),
        p => bail!("expected 'p' in 1..=1024, found {p}"),
    }
}

fn powers(site: &mut Site<'_>, x: &Item, p: i64) -> Result<Item> {
    match p {
        1 => site.unary("abs", Unary::Abs, x),
        2 => site.binary("square", Binary::Mul, x, x),
        p => {
            let abs = site.unary("abs", Unary::Abs, x)?;
            site.with_number("powers", Binary::Pow, &abs, p as f32)
        }
    }
}

fn root(site: &mut Site<'_>, sum: &Item, p: i64) -> Result<()> {
    let y = match p {
        1 => sum.clone(),
        2 => site.unary("root", Unary::Sqrt, sum)?,
        p => site.with_number("root", Binary::Pow, sum, 1.0 / p as f32)?,
    };
    site.give(0, y)
}

/// Padding enough for whole windows, where a last partial one would have less beyond it and all of it counts.
pub fn whole_windows(mut pool: Pool, x: &Shape) -> Result<Pool> {
    if !(pool.ceil_mode && pool.count_include_pad) {
        return Ok(pool);
    }
    let pooled = infer::infer(&Op::AvgPool(pool.clone()), &[Some(&Type::f32(x.clone()))], &[], &Default::default())?;
    let positions = pooled.first().map(|ty| ty.shape.0.clone()).unwrap_or_default();
    let spatial = pool.kernel.len();
    for (axis, (size, count)) in x.0.iter().zip(&positions).skip(2).enumerate() {
        let (Some(size), Some(count)) = (size.known(), count.known()) else {
            bail!("expected known sizes to average with padding and ceil_mode, found {x}");
        };
        let window = pool.dilations[axis] * (pool.kernel[axis] - 1) + 1;
        let reached = (count.saturating_sub(1) * pool.strides[axis] + window).saturating_sub(size + pool.pads[axis]);
        pool.pads[spatial + axis] = pool.pads[spatial + axis].max(reached);
    }
    pool.ceil_mode = false;
    Ok(pool)
}
