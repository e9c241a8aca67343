//! Values that are computed lie in whole bytes: other tools have types of 2 and 4 bits for them, which no kernel reads.
//!
//! The integers stay what they are, from the same least to the same greatest; weights stay packed, as layers unpack
//! them.

use lowbit_ir::{DType, Graph, NodeId, Op, Result, Tensor, Type, ValueId};

/// Stores every packed value that a node computes in whole bytes.
///
/// What only moves integers that the model is given stays packed, as its operand is.
pub fn in_whole_bytes(g: &mut Graph) -> Result<()> {
    for id in g.order().to_vec() {
        let outputs: Vec<(ValueId, Type)> =
            g.node(id).outputs.iter().filter_map(|v| Some((*v, in_bytes(g.ty(*v))?))).collect();
        if outputs.is_empty() || !unpack_operands(g, id)? {
            continue;
        }
        outputs.into_iter().for_each(|(v, ty)| g.set_ty(v, ty));
    }
    Ok(())
}

/// The same integers in whole bytes, if a type packs them.
fn in_bytes(ty: &Type) -> Option<Type> {
    let (low, _) = ty.dtype.range().filter(|_| ty.is_quantized() && ty.dtype.bits() < 8)?;
    Some(Type { dtype: DType::holding(8, low < 0), ..ty.clone() })
}

/// Unpacks the constants that a node moves; `false` if it moves what stays packed.
fn unpack_operands(g: &mut Graph, id: NodeId) -> Result<bool> {
    if g.node(id).op.is_layer() || matches!(g.node(id).op, Op::Table) {
        return Ok(true);
    }
    let stays = |v: ValueId| in_bytes(g.ty(v)).is_some() && g.constant(v).is_none();
    if g.node(id).operands().any(stays) {
        return Ok(false);
    }
    for (i, v) in g.node(id).inputs.clone().into_iter().enumerate() {
        let Some((v, ty)) = v.and_then(|v| Some((v, in_bytes(g.ty(v))?))) else { continue };
        let Some(packed) = g.constant(v).cloned() else { continue };
        let ty = ty.with_shape(packed.dims().to_vec());
        let name = g.fresh_name(&g.value(v).name.clone());
        let unpacked = g.add_const(&name, Tensor::from_ints(ty, &packed.ints()?)?);
        g.set_input(id, i, Some(unpacked));
    }
    Ok(true)
}
