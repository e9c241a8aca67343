//! Nodes that give back their operand go.

use super::{Prepare, rewrite};
use lowbit_ir::op::PadMode;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, Type};

pub const PASS: Pass<Prepare> =
    Pass { name: "remove-identities", summary: "remove nodes that give back their operand", run };

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, remove)
}

fn remove(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (Some(x), [y]) = (node.input(0), node.outputs.as_slice()) else { return Ok(false) };
    let gone = is_identity(&node.op, node.inputs.len(), g.ty(x), g.ty(*y));
    Ok(gone && rewrite::bypass(g, id, x))
}

fn is_identity(op: &Op, operands: usize, x: &Type, y: &Type) -> bool {
    let same_shape = x.shape == y.shape && x.shape.dims().is_some();
    match op {
        Op::Identity => true,
        Op::Cast { to } => x.dtype == *to && x.quant == y.quant,
        Op::Clip { min, max } => *min == f32::NEG_INFINITY && *max == f32::INFINITY,
        Op::Concat { .. } | Op::Split { .. } => operands == 1 && same_shape,
        Op::Transpose { perm } => perm.iter().enumerate().all(|(i, p)| i == *p),
        Op::Pad(p) => {
            p.begins.iter().chain(&p.ends).all(|n| *n == 0)
                && matches!(p.mode, PadMode::Constant(_) | PadMode::Edge | PadMode::Wrap)
        }
        Op::Slice(axes) => same_shape && axes.iter().all(|a| a.step > 0),
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } | Op::Expand { .. } => {
            same_shape
        }
        // A pool of one tap; everything else computes.
        Op::MaxPool(p) | Op::AvgPool(p) => {
            same_shape
                && p.kernel.iter().all(|k| *k == 1)
                && p.strides.iter().all(|s| *s == 1)
                && p.pads.iter().all(|n| *n == 0)
        }
        _ => false,
    }
}
