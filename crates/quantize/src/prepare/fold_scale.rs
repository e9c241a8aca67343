//! A factor behind a product of two computed values, as in attention, becomes a factor of the weights that made one.

use super::{Prepare, linear, rewrite};
use lowbit_ir::op::Binary;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, ValueId};

pub const PASS: Pass<Prepare> = Pass {
    name: "fold-scale",
    summary: "a scalar factor behind MatMul of two computed values into the weights behind its first operand",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, fold)
}

fn fold(g: &mut Graph, id: NodeId) -> Result<bool> {
    let Some((y, c)) = rewrite::binary(g.node(id), Binary::Mul) else { return Ok(false) };
    let (Some(factor), Some((_, product))) = (rewrite::uniform(g, c), rewrite::producer(g, y)) else {
        return Ok(false);
    };
    let same_shape = rewrite::output(g.node(id)).is_some_and(|v| g.ty(v).shape == g.ty(y).shape);
    let (Op::MatMul(_), Some(a), None, true) = (&product.op, product.input(0), product.input(2), same_shape) else {
        return Ok(false);
    };
    if rewrite::sole_user(g, y) != Some(id) {
        return Ok(false);
    }
    let Some((layer, channels)) = layer_behind(g, a) else { return Ok(false) };
    linear::scale_outputs(g, layer, &vec![f64::from(factor); channels], &vec![0.0; channels])?;
    rewrite::supersede(g, id, y);
    Ok(true)
}

/// The layer with constants whose result, merely moved, is `v`, if nobody else reads it on the way.
fn layer_behind(g: &Graph, mut v: ValueId) -> Option<(NodeId, usize)> {
    loop {
        rewrite::sole_user(g, v)?;
        let (id, node) = rewrite::producer(g, v)?;
        match &node.op {
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
                v = node.input(0)?
            }
            Op::MatMul(_) if linear::has_constants(g, id) => return Some((id, linear::outputs(g, id)?)),
            _ => return None,
        }
    }
}
