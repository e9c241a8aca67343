//! Limits in one form: a Clip of a Clip is one, a Clip from 0 up is a Relu.

use super::{Prepare, rewrite};
use lowbit_ir::op::Binary;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result};

pub const PASS: Pass<Prepare> = Pass {
    name: "merge-clips",
    summary: "min and max with constants as Clip, chains as one, Clip(0, inf) as Relu",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, merge)
}

fn merge(g: &mut Graph, id: NodeId) -> Result<bool> {
    let Some((mut x, mut min, mut max)) = limits(g, id) else { return Ok(false) };
    if !g.ty(x).dtype.is_float() {
        return Ok(false);
    }
    // A limit that only this node reads joins it; the outer limit has the last word.
    if let Some((inner, _)) = rewrite::producer(g, x)
        && rewrite::sole_user(g, x) == Some(id)
        && let Some((x0, low, high)) = limits(g, inner)
    {
        (min, max) = (low.max(min).min(max), high.max(min).min(max));
        x = x0;
    }
    let op = match (min, max) {
        (0.0, f32::INFINITY) => Op::Relu,
        (min, max) => Op::Clip { min, max },
    };
    let node = g.node_mut(id);
    let changed = node.op != op || node.inputs != [Some(x)];
    node.op = op;
    node.inputs = vec![Some(x)];
    Ok(changed)
}

/// The operand and bounds of a node that limits.
fn limits(g: &Graph, id: NodeId) -> Option<(lowbit_ir::ValueId, f32, f32)> {
    let node = g.node(id);
    let x = node.input(0)?;
    match &node.op {
        Op::Relu => Some((x, 0.0, f32::INFINITY)),
        Op::Clip { min, max } => Some((x, *min, *max)),
        Op::Binary(kind @ (Binary::Min | Binary::Max)) => {
            let bound = rewrite::uniform(g, node.input(1)?)?;
            let same_shape = g.ty(x) == g.ty(rewrite::output(node)?);
            let (min, max) = match kind {
                Binary::Min => (f32::NEG_INFINITY, bound),
                _ => (bound, f32::INFINITY),
            };
            (same_shape && !bound.is_nan()).then_some((x, min, max))
        }
        _ => None,
    }
}
