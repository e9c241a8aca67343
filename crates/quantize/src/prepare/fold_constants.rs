//! What depends on constants only is computed now, by the interpreter.

use super::{Prepare, rewrite};
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, Tensor, Type, interp, memory};

pub const PASS: Pass<Prepare> = Pass { name: "fold-constants", summary: "compute what depends on constants only", run };

/// The part of the memory that may be taken which constants may grow by, all together: one in so many. What would be
/// larger stays a computation: an `Expand` must not blow up the file.
const PART: usize = 8;

fn run(g: &mut Graph, cx: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, |g, id| fold(g, id, cx))
}

fn fold(g: &mut Graph, id: NodeId, cx: &mut Prepare) -> Result<bool> {
    let node = g.node(id);
    // Dequantizing a constant would undo its quantization; a placeholder waits for calibration.
    let stays = matches!(node.op, Op::Dequantize | Op::Simulate(_) | Op::Custom(_));
    let constant = node.operands().all(|v| g.constant(v).is_some());
    if stays || !constant || node.inputs.is_empty() {
        return Ok(false);
    }
    let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(|v| v.and_then(|v| g.constant(v))).collect();
    let types: Vec<Type> = node.outputs.iter().map(|v| g.ty(*v).clone()).collect();
    let operand_types: Vec<Option<&Type>> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let bytes = |types: &mut dyn Iterator<Item = &Type>| types.map(memory::bytes).fold(0, usize::saturating_add);
    let operands = bytes(&mut operand_types.iter().flatten().copied());
    let folded = cx.folded.saturating_add(bytes(&mut types.iter()).saturating_sub(operands));
    let needed = folded.saturating_add(interp::workspace_beyond(&node.op, &operand_types, &types));
    if folded > cx.max_memory / PART || needed > cx.max_memory {
        return Ok(false);
    }
    cx.folded = folded;
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
