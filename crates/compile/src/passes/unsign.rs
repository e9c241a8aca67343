//! Signed activations become unsigned ones: q + 128 with zero point + 128 stands for the same real, and the instructions
//! that multiply bytes want one side unsigned. Weights stay signed. What crosses the graph's edge keeps its type, behind
//! a Requantize that only relabels.
//!
//! Activations none of which is negative, as those after a Relu, are unsigned already: they keep their numbers, for
//! products of small bytes cost a processor less than those of large ones.

use crate::weights;
use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::Rescale;
use lowbit_ir::{DType, Error, Graph, Op, Quant, Result, Tensor, Type, ValueId};
use std::collections::{HashMap, HashSet};

/// Runs the pass.
pub fn run(g: &mut Graph, _: &mut super::Context) -> Result<bool> {
    let kept = fence(g);
    let mut changed = !kept.is_empty();
    let edges: Vec<Option<Type>> =
        g.outputs.iter().map(|v| signed_result(g, *v).filter(|_| !kept.contains(v))).collect();
    for input in g.inputs.clone() {
        if let Some(ty) = unsigned(g.ty(input))? {
            relabel_input(g, input, ty);
            changed = true;
        }
    }
    let mut constants = HashMap::new();
    let users = g.users();
    for id in g.order().to_vec() {
        for v in g.node(id).outputs.clone() {
            if let Some(ty) = unsigned(g.ty(v))?.filter(|_| !kept.contains(&v)) {
                if matches!(g.node(id).op, Op::Table) {
                    relabel_table(g, id, ty.dtype, shift(g.ty(v)).unwrap_or(0))?;
                }
                g.set_ty(v, ty);
                changed = true;
            }
        }
        for (i, v) in g.node(id).inputs.clone().into_iter().enumerate() {
            let weight = (i > 0 && g.node(id).op.is_layer()) || weights::is_packed(g, &users, id);
            let own = matches!(g.node(id).op, Op::Custom(_));
            if let (Some(v), false) = (v, weight || own)
                && let Some(new) = relabel_constant(g, v, &mut constants)?
            {
                g.set_input(id, i, Some(new));
                changed = true;
            }
        }
    }
    for (i, ty) in edges.into_iter().enumerate() {
        if let Some(ty) = ty {
            relabel_output(g, i, ty)?;
        }
    }
    Ok(g.sweep() || changed)
}

/// The values around operators of the user's that keep their signed types: what such an operator reads and gives is what
/// its author wrote it for. Behind each a Requantize that only relabels stands, as at the graph's edge.
fn fence(g: &mut Graph) -> HashSet<ValueId> {
    let mut kept = HashSet::new();
    for id in g.order().to_vec() {
        let node = g.node(id);
        if !matches!(node.op, Op::Custom(_)) {
            continue;
        }
        let (own, inputs, outputs) = (node.name.clone(), node.inputs.clone(), node.outputs.clone());
        for (i, v) in inputs.into_iter().enumerate() {
            let Some(v) = v.filter(|v| shift(g.ty(*v)).is_some() && g.constant(*v).is_none()) else { continue };
            let (name, ty) = (format!("{own}/{i}"), g.ty(v).clone());
            let node = g.add_node_before(id, &name, relabel(), vec![Some(v)], &[(&name, ty)]);
            let new = g.node(node).outputs[0];
            g.set_input(id, i, Some(new));
            kept.insert(new);
        }
        for v in outputs.into_iter().filter(|v| shift(g.ty(*v)).is_some()).collect::<Vec<_>>() {
            let (name, ty) = (format!("{}/unsign", g.value(v).name), g.ty(v).clone());
            let users = g.users();
            let node = g.add_node_after(id, &name, relabel(), vec![Some(v)], &[(&name, ty)]);
            let new = g.node(node).outputs[0];
            for (user, i) in users.of(v) {
                g.set_input(*user, *i, Some(new));
            }
            kept.insert(v);
        }
    }
    kept
}

/// How much higher a signed 8- or 16-bit quantized value is stored. Operators that hand integers on have one quantization
/// on both sides, so that it is the same on both.
fn shift(ty: &Type) -> Option<i32> {
    let q = ty.quant.as_ref()?;
    let most = match ty.dtype {
        DType::I8 => 128,
        DType::I16 => 32768,
        DType::F32
        | DType::F16
        | DType::BF16
        | DType::U8
        | DType::U16
        | DType::I32
        | DType::I64
        | DType::Bool
        | DType::I4
        | DType::U4
        | DType::I2
        | DType::U2 => return None,
    };
    let negative = q.qmin < 0 || q.zero_point.iter().any(|z| *z < 0);
    Some(if negative { most } else { 0 })
}

/// The unsigned twin of a signed 8- or 16-bit quantized type.
fn unsigned(ty: &Type) -> Result<Option<Type>> {
    let (Some(shift), Some(q)) = (shift(ty), &ty.quant) else { return Ok(None) };
    let quant = Quant {
        zero_point: q.zero_point.iter().map(|z| z + shift).collect(),
        qmin: q.qmin + i64::from(shift),
        qmax: q.qmax + i64::from(shift),
        ..q.clone()
    };
    let dtype = if ty.dtype == DType::I8 { DType::U8 } else { DType::U16 };
    Ok(Some(Type { dtype, shape: ty.shape.clone(), quant: Some(quant) }))
}

/// Same scale on both sides: any method gives the same integers.
fn relabel() -> Op {
    Op::Requantize(Rescale { method: Method::Float32, rounding: Rounding::HalfEven })
}

fn relabel_input(g: &mut Graph, input: ValueId, ty: Type) {
    let name = g.value(input).name.clone();
    let Some(first) = g.order().first().copied() else { return };
    let users = g.users();
    let node = g.add_node_before(
        first,
        &format!("{name}/unsign"),
        relabel(),
        vec![Some(input)],
        &[(&format!("{name}/unsign"), ty)],
    );
    let new = g.node(node).outputs[0];
    for (user, i) in users.of(input) {
        g.set_input(*user, *i, Some(new));
    }
}

/// The type of an output that a node computes and that is about to become unsigned.
fn signed_result(g: &Graph, output: ValueId) -> Option<Type> {
    let ty = g.ty(output);
    (g.producer(output).is_some() && shift(ty).is_some()).then(|| ty.clone())
}

fn relabel_output(g: &mut Graph, i: usize, ty: Type) -> Result<()> {
    let value = g.outputs[i];
    let Some(producer) = g.producer(value) else { return Ok(()) };
    let name = g.value(value).name.clone();
    let node = g.add_node_after(producer, &format!("{name}/sign"), relabel(), vec![Some(value)], &[(&name, ty)]);
    let new = g.node(node).outputs[0];
    g.take_name(new, value);
    g.outputs[i] = new;
    Ok(())
}

fn relabel_constant(g: &mut Graph, v: ValueId, done: &mut HashMap<ValueId, ValueId>) -> Result<Option<ValueId>> {
    if let Some(new) = done.get(&v) {
        return Ok(Some(*new));
    }
    let Some(tensor) = g.constant(v).cloned() else { return Ok(None) };
    let Some(ty) = unsigned(tensor.ty())? else { return Ok(None) };
    let name = format!("{}/unsign", g.value(v).name);
    let new = g.add_const(&name, shifted(&tensor, ty, shift(tensor.ty()).unwrap_or(0))?);
    done.insert(v, new);
    Ok(Some(new))
}

/// A table's entries are integers of its output's type: they move with it. Which entry stands for which number of the
/// operand counts from the lowest one, wherever that is.
fn relabel_table(g: &mut Graph, node: lowbit_ir::NodeId, dtype: DType, shift: i32) -> Result<()> {
    let table = g.node(node).input(1).ok_or_else(|| Error::new("expected a table"))?;
    let Some(tensor) = g.constant(table).cloned() else {
        return Err(Error::new("expected a constant table").at_node(g.node(node).name.clone()));
    };
    let new = shifted(&tensor, Type { dtype, shape: tensor.ty().shape.clone(), quant: None }, shift)?;
    let name = format!("{}/unsign", g.value(table).name);
    let new = g.add_const(&name, new);
    g.set_input(node, 1, Some(new));
    Ok(())
}

fn shifted(tensor: &Tensor, ty: Type, shift: i32) -> Result<Tensor> {
    let ints: Vec<i64> = tensor.ints()?.into_iter().map(|v| v + i64::from(shift)).collect();
    Tensor::from_ints(ty, &ints)
}
