//! Reductions.

use crate::mxnet::node::Site;
use lowbit_ir::op::{Reduce, ReduceKind};
use lowbit_ir::{Op, Result, bail};

/// mean, sum, max and min over some axes or, with `exclude`, over all others.
pub fn reduce(site: &mut Site<'_>) -> Result<()> {
    let kind = match site.op().trim_end_matches("_axis") {
        "mean" => ReduceKind::Mean,
        "sum" => ReduceKind::Sum,
        "max" => ReduceKind::Max,
        "min" => ReduceKind::Min,
        other => bail!("'{other}' is not a reduction"),
    };
    let keep_dims = site.flag("keepdims", false)?;
    let exclude = site.flag("exclude", false)?;
    let named = site.ints("axis")?.unwrap_or_default();
    let x = site.input(0)?;
    let shape = site.shape(&x);
    let mut axes = named.iter().map(|a| shape.axis(*a).map(|a| a as i64)).collect::<Result<Vec<_>>>()?;
    if exclude {
        axes = (0..shape.rank() as i64).filter(|a| !axes.contains(a)).collect();
        if axes.is_empty() {
            return site.finish(Op::Identity, &[&x]);
        }
    }
    let all = axes.is_empty() || (0..shape.rank() as i64).all(|axis| axes.contains(&axis));
    let reduce = Op::Reduce(Reduce { kind, axes, keep_dims });
    match all && !keep_dims {
        false => site.finish(reduce, &[&x]),
        // MXNet has no arrays without axes: what is reduced over all of them is an array of one number.
        true => {
            let number = site.step("number", reduce, &[&x])?;
            site.finish(Op::Unsqueeze { axes: vec![0] }, &[&number])
        }
    }
}
