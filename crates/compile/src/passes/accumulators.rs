//! An accumulator has the width that its kernel sums in: 32 bits for bytes by bytes, where the bound proves it, else 64.
//! Rescaling and making real give the same for one integer in either width, so a value that nothing else reads may
//! change its width.

use crate::weights::{self, Width};
use lowbit_ir::graph::Users;
use lowbit_ir::{DType, Graph, Op, Result, Type, ValueId, bounds};

/// Runs the pass.
pub fn run(g: &mut Graph, _: &mut super::Context) -> Result<bool> {
    let users = g.users();
    let mut changed = false;
    for id in g.order().to_vec() {
        let node = g.node(id);
        let &[acc] = node.outputs.as_slice() else { continue };
        let (true, Some(x), Some(w)) = (node.op.is_layer(), node.input(0), node.input(1)) else {
            continue;
        };
        let Some(width) = weights::width(g, w) else { continue };
        let want = match (g.ty(x).dtype, width) {
            (DType::U8, Width::Bytes | Width::Shifted) => DType::I32,
            (DType::U8, Width::Words) | (DType::U16, Width::Bytes | Width::Shifted | Width::Words) => DType::I64,
            _ => continue,
        };
        if g.ty(acc).dtype == want || !is_only_rescaled(g, &users, acc) {
            continue;
        }
        let Some(ty) = of_width(g.ty(acc), want) else { continue };
        if bounds::bound(g, node)?.is_some_and(|b| b.fits(&ty)) {
            g.set_ty(acc, ty);
            changed = true;
        }
    }
    Ok(changed)
}

/// Whether all that reads a value is a change of scale or makes it real.
fn is_only_rescaled(g: &Graph, users: &Users, v: ValueId) -> bool {
    let rescales = |op: &Op| matches!(op, Op::Requantize(_) | Op::Dequantize);
    !g.is_output(v) && users.of(v).iter().all(|(n, _)| rescales(&g.node(*n).op))
}

/// The type with its range limited to what the width holds.
fn of_width(ty: &Type, dtype: DType) -> Option<Type> {
    let (mut ty, (lo, hi)) = (ty.clone(), dtype.range()?);
    let quant = ty.quant.as_mut()?;
    (quant.qmin, quant.qmax) = (quant.qmin.max(lo), quant.qmax.min(hi));
    ty.dtype = dtype;
    Some(ty)
}
