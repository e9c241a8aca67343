//! Nodes whose operands are all constants are computed here, once, by the interpreter; but for the Dequantize of weights
//! in a QDQ graph that runs as it is, which is done while they are packed.

use crate::weights;
use lowbit_ir::{Graph, Op, Result, Tensor, Type, interp, memory};

/// Runs the pass: again, as long as anything becomes known, since a layer whose input does packs no weights any more.
pub fn run(g: &mut Graph, cx: &mut super::Context) -> Result<bool> {
    let (mut changed, mut folded) = (false, 0usize);
    while once(g, cx, &mut folded)? {
        changed = true;
    }
    Ok(changed)
}

/// Computes what is known, node by node; `folded` counts the bytes that this takes beyond the operands.
fn once(g: &mut Graph, cx: &mut super::Context, folded: &mut usize) -> Result<bool> {
    let mut changed = false;
    let users = g.users();
    for id in g.order().to_vec() {
        let node = g.node(id);
        // As floats they would take as much as what they are packed into, all at a time.
        if weights::is_packed(g, &users, id) {
            continue;
        }
        let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(|v| v.and_then(|v| g.constant(v))).collect();
        let known = !inputs.is_empty() && inputs.iter().zip(&node.inputs).all(|(t, v)| t.is_some() == v.is_some());
        if !known || matches!(node.op, Op::Custom(_)) || inputs.iter().all(Option::is_none) {
            continue;
        }
        let outputs = node.outputs.clone();
        let types: Vec<Type> = outputs.iter().map(|v| g.ty(*v).clone()).collect();
        let operands: usize = inputs.iter().flatten().map(|t| t.bytes().len()).sum();
        let results = types.iter().map(memory::bytes).fold(0, usize::saturating_add);
        *folded = folded.saturating_add(results.saturating_sub(operands));
        let operand_types: Vec<Option<&Type>> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
        let needed = folded.saturating_add(interp::workspace_beyond(&node.op, &operand_types, &types));
        memory::check("what is computed of constants", needed, cx.max_memory).map_err(|e| e.at_node(&node.name))?;
        let results = interp::eval(&node.op, &inputs, &types, &cx.customs).map_err(|e| e.at_node(&node.name))?;
        for (v, result) in outputs.iter().zip(results) {
            let new = g.add_const(&format!("{}/folded", g.value(*v).name), result);
            g.replace_uses(*v, new);
            g.take_name(new, *v);
        }
        changed = true;
    }
    Ok(g.sweep() || changed)
}
