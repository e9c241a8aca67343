//! Arithmetic with constants in one form: x + c, x * c, constant second.

use super::{Prepare, rewrite};
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, Tensor};

pub const PASS: Pass<Prepare> = Pass {
    name: "simplify-binary",
    summary: "x - c as x + -c, x / c as x * 1/c, constants second, drop x + 0 and x * 1",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, simplify)
}

fn simplify(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (Op::Binary(kind), [Some(a), Some(b)], [y]) = (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return Ok(false);
    };
    let (kind, a, b, y) = (*kind, *a, *b, *y);
    if !g.ty(a).dtype.is_float() {
        return Ok(false);
    }
    let swapped =
        matches!(kind, Binary::Add | Binary::Mul | Binary::Min | Binary::Max) && rewrite::floats(g, a).is_some();
    let (a, b) = if swapped { (b, a) } else { (a, b) };
    if swapped {
        g.node_mut(id).inputs.swap(0, 1);
    }
    let Some(c) = rewrite::floats(g, b) else { return Ok(swapped) };
    let rewritten = match kind {
        Binary::Sub => Some((Binary::Add, c.iter().map(|c| -c).collect())),
        // A reciprocal that is no normal number would change the result; exact powers of two change nothing.
        Binary::Div if c.iter().all(|c| c.recip().is_normal()) => {
            Some((Binary::Mul, c.iter().map(|c| c.recip()).collect()))
        }
        Binary::PRelu => {
            if let Some(alpha) = rewrite::uniform(g, b) {
                let node = g.node_mut(id);
                node.op = Op::Unary(Unary::LeakyRelu { alpha });
                node.inputs.truncate(1);
                return Ok(true);
            }
            None
        }
        _ => None,
    };
    if let Some((new, data)) = rewritten {
        let ty = g.ty(b).clone();
        rewrite::replace_constant(g, id, 1, Tensor::from_floats(ty, data)?);
        g.node_mut(id).op = Op::Binary(new);
        return Ok(true);
    }
    let neutral = match kind {
        Binary::Add => rewrite::uniform(g, b) == Some(0.0),
        Binary::Mul => rewrite::uniform(g, b) == Some(1.0),
        _ => false,
    };
    Ok(swapped | (neutral && g.ty(a) == g.ty(y) && rewrite::bypass(g, id, a)))
}
