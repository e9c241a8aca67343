//! Conv and MatMul: exact sums of integer products, in front of a Dequantize of the accumulator.

use super::{Outcome, Realize, accumulator, blocks, operand, settle};
use crate::calibrate::{integer_bias, source};
use crate::prepare::rewrite;
use lowbit_ir::{DType, Granularity, Graph, Node, NodeId, Op, Quant, Result, Type, ValueId, infer};

pub fn realize(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let node = g.node(id);
    let op = node.op.clone();
    let (x, w) = match (operand::integers(g, node.input(0)), weights(g, &op, node.input(1))) {
        (Ok(x), Ok(w)) => (x, w),
        (Err(why), _) | (_, Err(why)) => return Ok(Outcome::Float(why)),
    };
    let found = match blocks::has(g, w) {
        true => blocks::operands(g, id, x, w, cx)?,
        false => operands(g, id, x, w, cx.accumulator)?,
    };
    let Operands { inputs, accumulator: dtype } = match found {
        Ok(found) => found,
        Err(why) => return Ok(Outcome::Float(why)),
    };
    let y = rewrite::output(g.node(id));
    let shape = y.map(|y| g.ty(y).shape.clone()).unwrap_or_default();
    // Only dtype and range are taken of the declared type.
    let declared = Type::quantized(dtype, shape, Quant::accumulator([1.0].into(), None, dtype));
    let operands: Vec<Option<&Type>> = inputs.iter().map(|v| v.map(|v| g.ty(v))).collect();
    let types = infer::infer(&op, &operands, &[declared], &Default::default())?;
    g.node_mut(id).inputs = inputs;
    settle::behind_dequantize(g, id, types, cx)?;
    Ok(Outcome::Integer)
}

/// What the integer form of a layer reads and sums in.
pub struct Operands {
    inputs: Vec<Option<ValueId>>,
    accumulator: DType,
}

/// The operands of the integer form of a layer, or why it stays float.
pub fn operands(
    g: &mut Graph,
    id: NodeId,
    x: ValueId,
    w: ValueId,
    allowed: accumulator::Allowed,
) -> Result<std::result::Result<Operands, String>> {
    let node = g.node(id).clone();
    // The input may have scales that a sum would mix, and the products of the scales may be no floats of full
    // precision.
    if let Err(e) = infer::accumulator_scales(&node.op, g.ty(x), g.ty(w)) {
        return Ok(Err(e.message().to_string()));
    }
    let bias = match node.input(2).map(|b| bias(g, &node.op, x, w, b)).transpose() {
        Ok(bias) => bias,
        Err(why) => return Ok(Err(why)),
    };
    let inputs: Vec<_> = [Some(x), Some(w)].into_iter().chain(bias.map(Some)).collect();
    let given = node.input(2).map(|b| source(g, b).unwrap_or(b));
    let integer = Node { inputs: inputs.clone(), ..node };
    let dtype = accumulator::choose(g, &integer, allowed)?;
    if let (Err(_), Some(made)) = (&dtype, bias.filter(|b| given != Some(*b))) {
        g.remove_value(made);
    }
    Ok(dtype.map(|accumulator| Operands { inputs, accumulator }))
}

/// The integers behind the second operand: one scale, one an output channel, or blocks of them.
fn weights(g: &Graph, op: &Op, w: Option<ValueId>) -> Result<ValueId, String> {
    let w = w.ok_or("its weights are missing")?;
    let q = source(g, w).ok_or_else(|| format!("its weights '{}' are not quantized", g.value(w).name))?;
    let ty = g.ty(q);
    let axis = infer::weight_axis(op, &ty.shape);
    let fits = ty.quant.as_ref().is_some_and(|quant| {
        quant.is_per_tensor()
            || match quant.granularity {
                Granularity::Channel { axis: a } => Some(a) == axis,
                Granularity::Block { .. } => true,
                Granularity::Tensor => false,
            }
    });
    match (fits, ty.dtype.bits() <= 16) {
        (true, true) => Ok(q),
        (false, _) => Err("its weights have neither one scale nor one an output channel".into()),
        (true, false) => Err(format!("its weights are {}", ty.dtype)),
    }
}

/// The bias as integers at the accumulator's scale: as it is where it fits, else quantized again.
fn bias(g: &mut Graph, op: &Op, x: ValueId, w: ValueId, b: ValueId) -> Result<ValueId, String> {
    let q = source(g, b).unwrap_or(b);
    let Some(tensor) = g.constant(q).cloned() else { return Err("its bias is computed".into()) };
    let why = |e: lowbit_ir::Error| e.message().to_string();
    let reals: Vec<f64> = match (&tensor.ty().quant, tensor.dtype()) {
        (Some(_), DType::I32 | DType::I64) if fits(g, op, x, w, q) => return Ok(q),
        (Some(_), _) => tensor.reals().map_err(why)?.iter().map(|b| f64::from(*b)).collect(),
        (None, _) => tensor.floats().map_err(why)?.iter().map(|b| f64::from(*b)).collect(),
    };
    let integers = integer_bias(g, op, x, w, &reals).map_err(why)?;
    let name = format!("{}.q", g.value(b).name);
    Ok(g.add_const(&name, integers))
}

/// Whether inference takes this bias.
fn fits(g: &Graph, op: &Op, x: ValueId, w: ValueId, bias: ValueId) -> bool {
    infer::infer(op, &[Some(g.ty(x)), Some(g.ty(w)), Some(g.ty(bias))], &[], &Default::default()).is_ok()
}
