//! What depends on constants only is computed now, by the interpreter.

use super::{Prepare, rewrite};
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, Tensor, interp};

pub const PASS: Pass<Prepare> = Pass { name: "fold-constants", summary: "compute what depends on constants only", run };

/// A constant larger than this stays a computation: an `Expand` must not blow up the file.
const LARGEST: usize = 1 << 28;

fn run(g: &mut Graph, cx: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, |g, id| fold(g, id, cx))
}

fn fold(g: &mut Graph, id: NodeId, cx: &Prepare) -> Result<bool> {
    let node = g.node(id);
    // Dequantizing a constant would undo its quantization; a placeholder waits for calibration.
    let stays = matches!(node.op, Op::Dequantize | Op::Simulate(_) | Op::Custom(_));
    let constant = node.operands().all(|v| g.constant(v).is_some());
    let small = node.outputs.iter().all(|v| {
        let ty = g.ty(*v);
        ty.shape.count().and_then(|n| ty.dtype.bytes(n)).is_some_and(|n| n <= LARGEST)
    });
    if stays || !constant || !small || node.inputs.is_empty() {
        return Ok(false);
    }
    let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(|v| v.and_then(|v| g.constant(v))).collect();
    let types: Vec<_> = node.outputs.iter().map(|v| g.ty(*v).clone()).collect();
    let results = interp::eval(&node.op, &inputs, &types, &cx.customs)?;
    for (old, tensor) in node.outputs.clone().into_iter().zip(results) {
        let name = g.value(old).name.clone();
        let new = g.add_const(&name, tensor);
        g.replace_uses(old, new);
        g.take_name(new, old);
    }
    g.remove_node(id);
    Ok(true)
}
