//! Integers at the model's inputs and outputs (`io = "int8"` and the like): the host does the first Quantize and the last
//! Dequantize, or has integers anyway. A float layer at the edge is read and written in integers all the same: what is
//! between stands for reals.

use crate::config::Io;
use crate::prepare::rewrite;
use lowbit_ir::{Def, Error, Graph, NodeId, Op, Result, ValueId};

/// Makes float inputs and outputs integers, where every reader and the producer allow it; else an error lists those that
/// do not.
pub fn integers(g: &mut Graph, io: Io) -> Result<()> {
    if io == Io::Float {
        return Ok(());
    }
    let mut wrong = Vec::new();
    for v in g.inputs.clone() {
        if g.ty(v).dtype.is_float() && !input(g, v) {
            wrong.push(format!("the input '{}' is read as a float", g.value(v).name));
        }
    }
    for v in g.outputs.clone() {
        if g.ty(v).dtype.is_float() && !output(g, v) {
            wrong.push(format!("the output '{}' is computed as a float", g.value(v).name));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => {
            Err(Error::new(format!("integers cannot be all that enters and leaves the model: {}", wrong.join("; ")))
                .hint("io = \"float\" keeps floats there"))
        }
    }
}

/// An input that is quantized in one way, and read in no other, becomes the integers.
fn input(g: &mut Graph, v: ValueId) -> bool {
    let quantizes: Vec<NodeId> = g.users().of(v).iter().map(|(id, _)| *id).collect();
    let results: Option<Vec<ValueId>> = quantizes
        .iter()
        .map(|id| matches!(g.node(*id).op, Op::Quantize { .. }).then(|| rewrite::output(g.node(*id))).flatten())
        .collect();
    let Some(results) = results else { return false };
    let Some(first) = results.first().copied() else { return true };
    let ty = g.ty(first).clone();
    if results.iter().any(|q| g.ty(*q) != &ty) || g.is_output(v) {
        return false;
    }
    g.set_ty(v, ty);
    for (id, q) in quantizes.into_iter().zip(results) {
        g.replace_uses(q, v);
        g.remove_node(id);
    }
    true
}

/// An output that is dequantized last becomes the integers.
fn output(g: &mut Graph, v: ValueId) -> bool {
    let Some((id, node)) = rewrite::producer(g, v).filter(|(_, n)| n.op == Op::Dequantize) else { return false };
    let Some(q) = node.input(0).filter(|q| !matches!(g.value(*q).def, Def::Const(_))) else { return false };
    for output in g.outputs.iter_mut().filter(|o| **o == v) {
        *output = q;
    }
    let name = g.value(v).name.clone();
    let used = !g.users().of(v).is_empty();
    let float_name = g.fresh_name(&format!("{name}.float"));
    g.rename(v, &float_name);
    g.rename(q, &name);
    if !used {
        g.remove_node(id);
    }
    true
}
