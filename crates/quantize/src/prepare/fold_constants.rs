//! What depends on constants only is computed now, by the interpreter.
//!
//! What moves the reals of a quantized constant moves its integers, with the axis of its scales, so that whoever reads
//! them finds them right behind their Dequantize.

use super::{Prepare, rewrite};
use crate::calibrate::source;
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, Tensor, Type, infer, interp, memory};

pub const PASS: Pass<Prepare> = Pass { name: "fold-constants", summary: "compute what depends on constants only", run };

/// The part of the memory that may be taken which constants may grow by, all together: one in so many. What would be
/// larger stays a computation: an `Expand` must not blow up the file.
const PART: usize = 8;

fn run(g: &mut Graph, cx: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, |g, id| Ok(move_integers(g, id, cx)? || fold(g, id, cx)?))
}

/// Dequantize and a move of a constant's reals, as a move of its integers and Dequantize.
fn move_integers(g: &mut Graph, id: NodeId, cx: &Prepare) -> Result<bool> {
    let node = g.node(id);
    let moves = matches!(
        node.op,
        Op::Transpose { .. } | Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. }
    );
    let Some(q) = node.input(0).filter(|_| moves).and_then(|x| source(g, x)) else { return Ok(false) };
    let Some(tensor) = g.constant(q) else { return Ok(false) };
    // Scales that have no axis afterwards, as of blocks, stay where they are.
    let Ok(types) = infer::infer(&node.op, &[Some(tensor.ty())], &[], &cx.customs) else { return Ok(false) };
    let moved = interp::eval(&node.op, &[Some(tensor)], &types, &cx.customs)?;
    let name = g.value(q).name.clone();
    for moved in moved {
        let q = g.add_const(&name, moved);
        let node = g.node_mut(id);
        (node.op, node.inputs) = (Op::Dequantize, vec![Some(q)]);
    }
    Ok(true)
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
