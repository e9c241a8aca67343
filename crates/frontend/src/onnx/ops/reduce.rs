//! Reductions over axes.

use crate::build::Builder;
use crate::build::sizes::{Size, Sizes};
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{Op, Result, bail};

/// ReduceSum, Mean, Max, Min, and those that are a sum of something.
pub fn reduce(site: &mut Site<'_>) -> Result<()> {
    let op_type = site.op_type();
    let axes = site.ints_or_input("axes", 1)?.unwrap_or_default();
    let keep_dims = site.flag("keepdims", true)?;
    let no_op = site.flag("noop_with_empty_axes", false)? && axes.is_empty();
    let mut x = site.input(0)?;
    match op_type {
        "ReduceL1" => x = site.step("abs", Op::Unary(Unary::Abs), &[&x])?,
        "ReduceL2" | "ReduceSumSquare" => x = site.step("square", Op::Binary(Binary::Mul), &[&x, &x])?,
        _ => {}
    }
    let kind = match op_type {
        "ReduceMean" => ReduceKind::Mean,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        _ => ReduceKind::Sum,
    };
    let op = if no_op { Op::Identity } else { Op::Reduce(Reduce { kind, axes, keep_dims }) };
    match op_type {
        "ReduceL2" => {
            let sum = site.step("sum", op, &[&x])?;
            site.finish(Op::Unary(Unary::Sqrt), &[&sum])
        }
        _ => site.finish(op, &[&x]),
    }
}

/// ReduceProd, as exporters multiply the sizes of a shape with it.
pub fn product(site: &mut Site<'_>) -> Result<()> {
    let axes = site.ints_or_input("axes", 1)?;
    let keep_dims = site.flag("keepdims", true)?;
    site.ignore(&["noop_with_empty_axes"]);
    let Some(list) = site.sizes(0, "list of integers")? else { bail!("expected an operand, found none") };
    if list.dims.len() != 1 || axes.is_some_and(|a| !matches!(a.as_slice(), [] | [0] | [-1])) {
        bail!("only the product of a list of integers is supported, found sizes {:?}", list.dims);
    }
    let element = list.elements.iter().fold(Size::Known(1), |p, s| p.times(s));
    let dims = if keep_dims { vec![1] } else { Vec::new() };
    let name = site.output_name(0);
    site.set(0, Builder::of_sizes(&name, Sizes { dims, elements: vec![element] }));
    Ok(())
}
