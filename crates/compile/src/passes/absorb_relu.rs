//! `Requantize(Relu(acc))` is `Requantize(acc)` with a higher lowest value: rescaling is monotone and takes 0 to the zero
//! point, so limiting before or after gives the same integers.
//! Clips are not absorbed: their upper bound is rounded at the accumulator's scale, not at the output's.

use lowbit_ir::op::Category;
use lowbit_ir::{Graph, Op, Result, Type};

/// Runs the pass.
pub fn run(g: &mut Graph, _: &mut super::Context) -> Result<bool> {
    let users = g.users();
    let mut changed = false;
    for id in g.order().to_vec() {
        let node = g.node(id);
        let (Op::Requantize(_), Some(x), &[y]) = (&node.op, node.input(0), node.outputs.as_slice()) else { continue };
        let Some(relu) = g.producer(x).filter(|p| matches!(g.node(*p).op, Op::Relu)) else { continue };
        let Some(acc) = g.node(relu).input(0) else { continue };
        let zero_in = g.ty(acc).quant().is_ok_and(|q| q.zero_point.iter().all(|z| *z == 0));
        if users.of(x).len() != 1 || g.is_output(x) || !zero_in {
            continue;
        }
        let mut quant = g.ty(y).quant()?.clone();
        let (&[zero], true) = (&*quant.zero_point, quant.is_per_tensor()) else { continue };
        quant.qmin = quant.qmin.max(i64::from(zero)).min(quant.qmax);
        let ty = Type { quant: Some(quant), ..g.ty(y).clone() };
        // Readers that pass the integers on require the same type on both sides; only a value that nobody hands through
        // may change its range alone.
        if users.of(y).iter().any(|(n, _)| hands_through(&g.node(*n).op)) || g.is_output(y) {
            continue;
        }
        g.set_ty(y, ty);
        g.set_input(id, 0, Some(acc));
        changed = true;
    }
    Ok(g.sweep() || changed)
}

/// Whether an operator may pass its operand's integers on by a type or a table that goes with theirs. What is rescaled,
/// multiplied or made real reads each integer for itself. Of all others it is not known: of a table the first entry is
/// for the lowest integer of its operand's type, and the inference of a user's operator may look at the range.
fn hands_through(op: &Op) -> bool {
    let reads_each = matches!(op, Op::Quantize { .. } | Op::Dequantize | Op::Simulate(_)) || op.rescale().is_some();
    !reads_each && !matches!(op.category(), Category::Layer | Category::Normalization)
}
