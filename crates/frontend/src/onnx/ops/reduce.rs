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

/// ReduceProd. Of a list of integers that a shape is computed from it stays one of sizes; of others it is halves times
/// halves, down to one element an axis.
pub fn product(site: &mut Site<'_>) -> Result<()> {
    let axes = axes(site)?;
    let x = site.input(0)?;
    if let Item::Sizes(list) = &x {
        if axes.none || list.dims.len() != 1 || !matches!(axes.axes.as_slice(), [] | [0] | [-1]) {
            bail!("only the product of a list of integers is followed, found sizes {:?}", list.dims);
        }
        let element = list.elements.iter().fold(Size::Known(1), |p, s| p.times(s));
        let dims = if axes.keep_dims { vec![1] } else { Vec::new() };
        let name = site.output_name(0);
        site.set(0, Builder::of_sizes(&name, Sizes { dims, elements: vec![element] }));
        return Ok(());
    }
    if axes.none {
        return site.finish(Op::Identity, &[&x]);
    }
    let all = all_if_none(axes.axes, site.shape(&x).rank());
    let mut y = x;
    for axis in &all {
        y = multiplied(site, y, *axis)?;
    }
    match axes.keep_dims || all.is_empty() {
        true => site.give(0, y),
        false => site.finish(Op::Squeeze { axes: all }, &[&y]),
    }
}

/// Longer axes are refused: a product of so many factors is a mistake, and every halving is a step of the graph.
const MOST_FACTORS: usize = 1 << 16;

fn multiplied(site: &mut Site<'_>, x: Item, axis: i64) -> Result<Item> {
    let mut size = site.known_size(&x, axis)?;
    if size == 0 || size > MOST_FACTORS {
        bail!("expected 1 to {MOST_FACTORS} factors, found {size} along axis {axis}");
    }
    let mut y = x;
    while size > 1 {
        let half = (size / 2) as i64;
        let first = site.part(&format!("first{half}"), &y, axis, (0, half, 1))?;
        let second = site.part(&format!("second{half}"), &y, axis, (half, 2 * half, 1))?;
        let mut product = site.binary(&format!("product{half}"), Binary::Mul, &first, &second)?;
        if size % 2 == 1 {
            // The odd one out is a factor of one element's product.
            let odd = site.part(&format!("odd{half}"), &y, axis, (2 * half, i64::MAX, 1))?;
            product = site.joined(&format!("joined{half}"), axis, &[&product, &odd])?;
        }
        size = size.div_ceil(2);
        y = product;
    }
    Ok(y)
}
