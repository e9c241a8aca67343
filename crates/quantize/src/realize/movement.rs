//! Operators that give back integers they got: they move in front of the Dequantize of their operand.

use super::{Outcome, Realize, Sink, operand, settle, wide};
use crate::prepare::rewrite;
use lowbit_arithmetic::{Affine, Rounding, dequantize, quantize};
use lowbit_ir::op::PadMode;
use lowbit_ir::{Graph, NodeId, Op, Result, Type, ValueId, infer};

pub fn realize(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let input = g.node(id).input(0);
    let x = match operand::narrow(g, input) {
        Err(_) if cx.wide => wide::operand(g, input, cx)?,
        narrow => narrow,
    };
    let x = match x {
        Ok(x) => x,
        Err(why) => return Ok(Outcome::Float(why)),
    };
    if let Some((number, what)) = between(&g.node(id).op, g.ty(x)) {
        return match g.node(id).op.clone() {
            // To quantize what is padded is to pad what is quantized, with the result's integers.
            op @ Op::Pad(_) => settle::per_sink(g, id, cx, |g, sink, cx| padded(g, id, &op, x, sink, cx)),
            _ => Ok(Outcome::Float(format!("{what} {number} is none of its operand's integers"))),
        };
    }
    let node = g.node(id);
    let mut inputs = node.inputs.clone();
    inputs[0] = Some(x);
    let types: Vec<Option<&Type>> = inputs.iter().map(|v| v.map(|v| g.ty(v))).collect();
    let inferred = match infer::infer(&node.op, &types, &[], &Default::default()) {
        Ok(inferred) => inferred,
        Err(e) => return Ok(Outcome::Float(e.message().to_string())),
    };
    g.node_mut(id).inputs = inputs;
    settle::behind_dequantize(g, id, inferred, cx)?;
    Ok(Outcome::Integer)
}

/// A number that an operator brings along and that none of the operand's integers stands for, and what it is.
///
/// The integers of wide values are finer than anything that is made of them.
fn between(op: &Op, x: &Type) -> Option<(f32, &'static str)> {
    let quant = x.quant.as_ref().filter(|_| x.dtype.bits() <= 16)?;
    let affines: Vec<Affine> = (0..quant.scale.len()).filter_map(|i| quant.affine_at(i).ok()).collect();
    let nearest = |v: f32, a: &Affine| dequantize(quantize(v, a, Rounding::HalfEven, 0), a);
    let is_none = |v: f32| affines.iter().any(|a| nearest(v, a) != v);
    // A bound beyond the range cuts off nothing.
    let (low, high) = (|a: &Affine| dequantize(a.qmin, a), |a: &Affine| dequantize(a.qmax, a));
    let cuts = |v: f32, beyond: &dyn Fn(&Affine) -> bool| is_none(v) && !affines.iter().all(beyond);
    match op {
        Op::Pad(p) => match p.mode {
            PadMode::Constant(v) => is_none(v).then_some((v, "the number it pads with,")),
            PadMode::Edge | PadMode::Reflect | PadMode::Wrap => None,
        },
        Op::Clip { min, .. } if cuts(*min, &|a| *min <= low(a)) => Some((*min, "its lower bound")),
        Op::Clip { max, .. } if cuts(*max, &|a| *max >= high(a)) => Some((*max, "its upper bound")),
        _ => None,
    }
}

/// A Pad of integers of the sink's type.
fn padded(
    g: &mut Graph,
    id: NodeId,
    pad: &Op,
    x: ValueId,
    sink: &Sink,
    cx: &Realize,
) -> Result<Option<(Op, Vec<ValueId>)>> {
    let name = format!("{}.rq", g.value(x).name);
    let ty = sink.ty.with_shape(g.ty(x).shape.clone());
    let op = Op::Requantize(cx.rescale_to(sink));
    let node = g.add_node_before(id, &name, op, vec![Some(x)], &[(&name, ty)]);
    g.node_mut(node).rule = g.node(sink.node).rule.clone();
    Ok(rewrite::output(g.node(node)).map(|x| (pad.clone(), vec![x])))
}
