//! Elements found by indices or put where they say, the greatest and least, and running sums.

use crate::build::Item;
use crate::build::sizes::open_error;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, CumSum, Scatter, SliceAxis, TopK};
use lowbit_ir::{Dim, Error, Op, Result, Tensor, bail};

/// Gather.
pub fn gather(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    let (data, indices) = (site.input(0)?, site.input(1)?);
    site.finish(Op::Gather { axis }, &[&data, &indices])
}

/// GatherElements.
pub fn gather_elements(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    let (data, indices) = (site.input(0)?, site.input(1)?);
    site.finish(Op::GatherElements { axis }, &[&data, &indices])
}

/// GatherND.
pub fn gather_nd(site: &mut Site<'_>) -> Result<()> {
    let given = site.int("batch_dims")?.unwrap_or(0);
    let Ok(batch_dims) = usize::try_from(given) else { bail!("expected 'batch_dims' of at least 0, found {given}") };
    let (data, indices) = (site.input(0)?, site.input(1)?);
    site.finish(Op::GatherNd { batch_dims }, &[&data, &indices])
}

/// ScatterElements, and Scatter as it was called before opset 11.
pub fn scatter_elements(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    let reduction = reduction(site)?;
    let (data, indices, updates) = (site.input(0)?, site.input(1)?, site.input(2)?);
    site.finish(Op::ScatterElements { axis, reduction }, &[&data, &indices, &updates])
}

/// ScatterND.
pub fn scatter_nd(site: &mut Site<'_>) -> Result<()> {
    let reduction = reduction(site)?;
    let (data, indices, updates) = (site.input(0)?, site.input(1)?, site.input(2)?);
    site.finish(Op::ScatterNd { reduction }, &[&data, &indices, &updates])
}

fn reduction(site: &mut Site<'_>) -> Result<Scatter> {
    Ok(match site.text("reduction", "none")?.as_str() {
        "none" => Scatter::Replace,
        "add" => Scatter::Add,
        "mul" => Scatter::Mul,
        "min" => Scatter::Min,
        "max" => Scatter::Max,
        other => bail!("expected reduction none, add, mul, min or max, found '{other}'"),
    })
}

/// TopK: how many is an attribute before opset 10, then an operand.
pub fn top_k(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(-1);
    let (largest, sorted) = (site.flag("largest", true)?, site.flag("sorted", true)?);
    let k = match site.opset < 10 {
        true => site.int("k")?.map(|k| vec![k]),
        false => site.known_ints(1, "k")?,
    };
    let k = match k.as_deref() {
        Some([k]) => usize::try_from(*k).map_err(|_| Error::new(format!("expected k of at least 0, found {k}")))?,
        other => bail!("expected one number k, found {other:?}"),
    };
    let x = site.input(0)?;
    site.finish_as(Op::TopK(TopK { axis, k, largest, sorted }), &[Some(x)], 2, &[])
}

/// ArgMax and ArgMin: where the first of TopK stands. The last of several is the first from behind.
pub fn arg(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    let keep_dims = site.flag("keepdims", true)?;
    let last = site.flag("select_last_index", false)?;
    let largest = site.op_type() == "ArgMax";
    let mut x = site.input(0)?;
    let shape = site.shape(&x);
    let size = shape.0.get(shape.axis(axis)?).and_then(Dim::known);
    if size == Some(0) {
        bail!("expected elements along axis {axis} of {shape}, found none");
    }
    if last {
        let backwards = SliceAxis { axis, start: -1, end: i64::MIN, step: -1 };
        x = site.step("backwards", Op::Slice(vec![backwards]), &[&x])?;
    }
    let top = Op::TopK(TopK { axis, k: 1, largest, sorted: true });
    let found = second(site, "top", top, &x)?;
    let place = match (last, keep_dims) {
        (false, true) => return site.finish(Op::Identity, &[&found]),
        (false, false) => found,
        (true, _) => {
            let size = size
                .and_then(|n| i64::try_from(n).ok())
                .ok_or_else(|| open_error(format!("the last place on axis {axis} of {shape} is not known")))?;
            let end = site.known("end", Tensor::from_i64(&[], vec![size - 1])?);
            match keep_dims {
                true => return site.finish(Op::Binary(Binary::Sub), &[&end, &found]),
                false => site.step("forwards", Op::Binary(Binary::Sub), &[&end, &found])?,
            }
        }
    };
    site.finish(Op::Squeeze { axes: vec![axis] }, &[&place])
}

/// The second result of an operator of two, on the way to the result of the node.
fn second(site: &mut Site<'_>, suffix: &str, op: Op, x: &Item) -> Result<Item> {
    let node = format!("{}.{suffix}", site.name);
    let names = [site.builder.fresh(&format!("{node}.values")), site.builder.fresh(&format!("{node}.indices"))];
    let mut items = site.builder.emit(&node, op, &[Some(x.clone())], &names, &[])?;
    items.pop().ok_or_else(|| Error::new("expected two results"))
}

/// CumSum.
pub fn cum_sum(site: &mut Site<'_>) -> Result<()> {
    let (exclusive, reverse) = (site.flag("exclusive", false)?, site.flag("reverse", false)?);
    let x = site.input(0)?;
    let axis = match site.known_ints(1, "axis")?.as_deref() {
        Some([axis]) => *axis,
        other => bail!("expected one axis, found {other:?}"),
    };
    site.finish(Op::CumSum(CumSum { axis, exclusive, reverse }), &[&x])
}
