//! `MatMul(a, Transpose(b))` reads `b` by rows instead of by columns where that leaves less to be moved: a Transpose whose
//! last two axes are swapped back keeps runs of elements together, or has nothing left to do.
//! Attention is written so: heads are moved before the sequence, and the keys are turned.

use lowbit_ir::infer::infer;
use lowbit_ir::op::MatMul;
use lowbit_ir::{Graph, Op, Result};

/// Runs the pass.
pub fn run(g: &mut Graph, context: &mut super::Context) -> Result<bool> {
    let mut changed = false;
    for id in g.order().to_vec() {
        let (&Op::MatMul(MatMul { trans_b }), Some(b)) = (&g.node(id).op, g.node(id).input(1)) else { continue };
        let Some(transpose) = g.producer(b) else { continue };
        let (Op::Transpose { perm }, Some(x)) = (&g.node(transpose).op, g.node(transpose).input(0)) else { continue };
        let last = perm.len().saturating_sub(1);
        // What was the last axis is the last but one: columns are runs in memory.
        if last < 1 || perm.get(last - 1) != Some(&last) || g.ty(x).shape.0.len() != perm.len() {
            continue;
        }
        let mut perm = perm.clone();
        perm.swap(last - 1, last);
        let in_order = perm.iter().enumerate().all(|(i, axis)| i == *axis);
        let turned = match in_order {
            true => x,
            false => {
                let op = Op::Transpose { perm };
                let ty = infer(&op, &[Some(g.ty(x))], &[], &context.customs)?;
                let name = format!("{}/turned", g.value(b).name);
                let node = g.node(transpose).name.clone();
                let outputs: Vec<(&str, _)> = ty.into_iter().map(|ty| (name.as_str(), ty)).collect();
                let node = g.add_node_before(id, &node, op, vec![Some(x)], &outputs);
                g.node(node).outputs[0]
            }
        };
        g.node_mut(id).op = Op::MatMul(MatMul { trans_b: !trans_b });
        g.set_input(id, 1, Some(turned));
        changed = true;
    }
    Ok(g.sweep() || changed)
}
