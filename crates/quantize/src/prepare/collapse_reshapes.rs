//! Of a chain of nodes that only rename axes, the last one is enough.

use super::{Prepare, rewrite};
use lowbit_ir::pass::Pass;
use lowbit_ir::{Dim, Graph, NodeId, Op, Result, Shape};

pub const PASS: Pass<Prepare> = Pass {
    name: "collapse-reshapes",
    summary: "chains of Reshape, Flatten, Squeeze and Unsqueeze as one Reshape",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, collapse)
}

fn collapse(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (true, Some(x), Some(y)) = (is_view(&node.op), node.input(0), rewrite::output(node)) else { return Ok(false) };
    let Some((_, first)) = rewrite::producer(g, x) else { return Ok(false) };
    let (true, Some(source)) = (is_view(&first.op), first.input(0)) else { return Ok(false) };
    if rewrite::sole_user(g, x) != Some(id) {
        return Ok(false);
    }
    let Some(dims) = target(&g.ty(source).shape, &g.ty(y).shape) else { return Ok(false) };
    let node = g.node_mut(id);
    node.op = Op::Reshape { dims };
    node.inputs = vec![Some(source)];
    Ok(true)
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. })
}

/// The Reshape attribute that leads from one shape to the other, open dimensions included.
fn target(from: &Shape, to: &Shape) -> Option<Vec<i64>> {
    let mut open = 0;
    let dims =
        to.0.iter()
            .enumerate()
            .map(|(i, d)| match d {
                Dim::Known(0) => None,
                Dim::Known(n) => i64::try_from(*n).ok(),
                Dim::Symbol(_) if from.0.get(i) == Some(d) => Some(0),
                Dim::Symbol(_) => {
                    open += 1;
                    Some(-1)
                }
            })
            .collect::<Option<Vec<i64>>>()?;
    (open <= 1).then_some(dims)
}
