//! Means over all of a picture in one form.

use super::{Prepare, rewrite};
use lowbit_ir::op::ReduceKind;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, infer};

pub const PASS: Pass<Prepare> = Pass {
    name: "global-pools",
    summary: "ReduceMean over the spatial axes and AvgPool over the whole picture as GlobalAvgPool",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, rewrite_pool)
}

fn rewrite_pool(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let Some(x) = node.input(0) else { return Ok(false) };
    let shape = g.ty(x).shape.clone();
    match &node.op {
        Op::Reduce(r) if r.kind == ReduceKind::Mean && shape.rank() >= 4 => {
            let mut axes = r.axes.iter().map(|a| shape.axis(*a)).collect::<Result<Vec<_>>>()?;
            axes.sort_unstable();
            if !axes.iter().copied().eq(2..shape.rank()) {
                return Ok(false);
            }
            if r.keep_dims {
                g.node_mut(id).op = Op::GlobalAvgPool;
                return Ok(true);
            }
            // The pool keeps its axes, so they are squeezed behind it.
            let name = g.node(id).name.clone();
            let pool = Op::GlobalAvgPool;
            let pooled = infer::infer(&pool, &[Some(g.ty(x))], &[], &Default::default())?;
            let ty = pooled.into_iter().next().unwrap_or_else(|| g.ty(x).clone());
            let pool =
                g.add_node_before(id, &format!("{name}.pool"), pool, vec![Some(x)], &[(&format!("{name}.pool"), ty)]);
            let pooled = rewrite::output(g.node(pool));
            let node = g.node_mut(id);
            node.op = Op::Squeeze { axes: axes.iter().map(|a| *a as i64).collect() };
            node.inputs = vec![pooled];
            quantize_first(g, id)?;
            Ok(true)
        }
        Op::AvgPool(p) => {
            let whole = shape.0.iter().skip(2).map(|d| d.known()).eq(p.kernel.iter().map(|k| Some(*k)));
            let plain = p.pads.iter().all(|n| *n == 0) && p.dilations.iter().all(|d| *d == 1);
            if whole && plain {
                g.node_mut(id).op = Op::GlobalAvgPool;
            }
            Ok(whole && plain)
        }
        _ => Ok(false),
    }
}

/// Squeeze and Quantize of one scale as Quantize and Squeeze, so that the average finds how its result is quantized.
fn quantize_first(g: &mut Graph, squeeze: NodeId) -> Result<()> {
    let (Some(pooled), Some(y)) = (g.node(squeeze).input(0), rewrite::output(g.node(squeeze))) else { return Ok(()) };
    let Some(id) = rewrite::sole_user(g, y) else { return Ok(()) };
    let Some(q) = rewrite::output(g.node(id)) else { return Ok(()) };
    let quantize = g.node(id).op.clone();
    let one_scale = g.ty(q).quant.as_ref().is_some_and(lowbit_ir::Quant::is_per_tensor);
    // The index of an element, which chance asks for, is the same in both shapes.
    if !matches!(quantize, Op::Quantize { .. }) || !one_scale {
        return Ok(());
    }
    let name = format!("{}.pooled", g.value(q).name);
    let ty = g.ty(q).with_shape(g.ty(pooled).shape.clone());
    let first = g.add_node_before(squeeze, &name, quantize, vec![Some(pooled)], &[(&name, ty)]);
    let (op, first) = (g.node(squeeze).op.clone(), rewrite::output(g.node(first)));
    let node = g.node_mut(id);
    (node.op, node.inputs) = (op, vec![first]);
    g.remove_node(squeeze);
    Ok(())
}
