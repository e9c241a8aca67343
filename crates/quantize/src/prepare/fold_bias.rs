//! A product or sum with one constant per channel behind a layer goes into its weights and bias.

use super::{Prepare, linear, rewrite};
use lowbit_ir::op::Binary;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result};

pub const PASS: Pass<Prepare> = Pass {
    name: "fold-bias",
    summary: "Mul and Add of per-channel constants behind Conv or MatMul into its weights and bias",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, fold)
}

fn fold(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (Op::Binary(kind @ (Binary::Add | Binary::Mul)), [Some(x), Some(c)], Some(y)) =
        (&node.op, node.inputs.as_slice(), rewrite::output(node))
    else {
        return Ok(false);
    };
    let (kind, x, c) = (*kind, *x, *c);
    let Some((mac, _)) = rewrite::producer(g, x) else { return Ok(false) };
    let (Some(channels), true, true) =
        (linear::outputs(g, mac), rewrite::sole_user(g, x) == Some(id), g.ty(x).shape == g.ty(y).shape)
    else {
        return Ok(false);
    };
    let rank = g.ty(x).shape.rank();
    let axis = linear::channel_axis(&g.node(mac).op, rank);
    let Some(c) = rewrite::along_axis(g, c, rank, axis, channels) else { return Ok(false) };
    let c: Vec<f64> = c.into_iter().map(f64::from).collect();
    let (factor, shift) = match kind {
        Binary::Mul => (c, vec![0.0; channels]),
        _ => (vec![1.0; channels], c),
    };
    if !linear::takes_factors(g, mac, &factor) {
        return Ok(false);
    }
    linear::scale_outputs(g, mac, &factor, &shift)?;
    rewrite::supersede(g, id, x);
    Ok(true)
}
