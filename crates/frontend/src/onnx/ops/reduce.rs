//! Reductions over axes.

use crate::build::sizes::{Size, Sizes};
use crate::build::{Builder, Item};
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{DType, Op, Result, bail};

/// The attributes that all reductions share.
struct Axes {
    /// Which; empty for all.
    axes: Vec<i64>,
    keep_dims: bool,
    /// Nothing is reduced, as no axes are given and the file says that this means none.
    none: bool,
}

/// Axes are an attribute before opset 13 (ReduceSum) or 18 (the others), then an operand.
fn axes(site: &mut Site<'_>) -> Result<Axes> {
    let axes = site.ints_or_input("axes", 1)?.unwrap_or_default();
    let keep_dims = site.flag("keepdims", true)?;
    let none = site.flag("noop_with_empty_axes", false)? && axes.is_empty();
    Ok(Axes { axes, keep_dims, none })
}

impl Axes {
    fn op(self, kind: ReduceKind) -> Op {
        match self.none {
            true => Op::Identity,
            false => Op::Reduce(Reduce { kind, axes: self.axes, keep_dims: self.keep_dims }),
        }
    }
}

/// ReduceSum, Mean, Max, Min, and those that are a function of a sum of something.
pub fn reduce(site: &mut Site<'_>) -> Result<()> {
    let op_type = site.op_type();
    let axes = axes(site)?;
    let mut x = site.input(0)?;
    match op_type {
        "ReduceL1" => x = site.unary("abs", Unary::Abs, &x)?,
        "ReduceL2" | "ReduceSumSquare" => x = site.binary("square", Binary::Mul, &x, &x)?,
        _ => {}
    }
    let kind = match op_type {
        "ReduceMean" => ReduceKind::Mean,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        _ => ReduceKind::Sum,
    };
    let last = match op_type {
        "ReduceL2" => Some(Unary::Sqrt),
        "ReduceLogSum" => Some(Unary::Log),
        _ => None,
    };
    let op = axes.op(kind);
    match last {
        Some(f) => {
            let sum = site.step("sum", op, &[&x])?;
            site.finish(Op::Unary(f), &[&sum])
        }
        None if site.ty(&x).dtype == DType::Bool => {
            // Of bools the largest is whether any is true, the smallest whether all are.
            let counts = site.converted("counts", &x, DType::I32)?;
            let found = site.step("found", op, &[&counts])?;
            site.finish(Op::Cast { to: DType::Bool }, &[&found])
        }
        None => site.finish(op, &[&x]),
    }
}

/// ReduceLogSumExp: m + ln(sum(exp(x - m))) with the largest element m, so that nothing overflows.
pub fn log_sum_exp(site: &mut Site<'_>) -> Result<()> {
    let axes = axes(site)?;
    let x = site.input(0)?;
    if axes.none {
        return site.finish(Op::Identity, &[&x]);
    }
    let max = site.reduced("max", ReduceKind::Max, &axes.axes, &x)?;
    // An infinite m has no difference from an infinite x; the nearest number has, and the sum is right.
    let max = site.step("finite", Op::Clip { min: f32::MIN, max: f32::MAX }, &[&max])?;
    let shifted = site.binary("shifted", Binary::Sub, &x, &max)?;
    let exp = site.unary("exp", Unary::Exp, &shifted)?;
    let sum = site.reduced("sum", ReduceKind::Sum, &axes.axes, &exp)?;
    let log = site.unary("log", Unary::Log, &sum)?;
    if axes.keep_dims {
        return site.finish(Op::Binary(Binary::Add), &[&log, &max]);
    }
    let whole = site.binary("whole", Binary::Add, &log, &max)?;
    site.finish(Op::Squeeze { axes: all_if_none(axes.axes, site.shape(&x).rank()) }, &[&whole])
}

fn all_if_none(axes: Vec<i64>, rank: usize) -> Vec<i64> {
    if axes.is_empty() { (0..rank).map(|a| a as i64).collect() } else { axes }
}

/// ReduceProd. Exporters multiply the sizes of a shape with it, which may be open.
pub fn product(site: &mut Site<'_>) -> Result<()> {
    let Item::Sizes(list) = site.input(0)? else { return reduce(site) };
    let axes = axes(site)?;
    if list.dims.len() != 1 || !matches!(axes.axes.as_slice(), [] | [0] | [-1]) {
        bail!("expected a list of sizes to multiply, found {:?} of them and the axes {:?}", list.dims, axes.axes);
    }
    let name = site.output_name(0);
    let sizes = match axes.none {
        true => list,
        false => {
            let element = list.elements.iter().fold(Size::Known(1), |p, s| p.times(s));
            Sizes { dims: if axes.keep_dims { vec![1] } else { Vec::new() }, elements: vec![element] }
        }
    };
    site.set(0, Builder::of_sizes(&name, sizes));
    Ok(())
}
