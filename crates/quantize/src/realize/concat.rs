//! Concat: a copy of integers where all operands are quantized alike, else each operand is rescaled first.

use super::{Outcome, Realize, operand, settle};
use crate::prepare::rewrite;
use lowbit_ir::{Graph, NodeId, Op, Result, Type, ValueId, infer};

pub fn realize(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let node = g.node(id);
    let operands: Result<Vec<ValueId>, String> = node.inputs.iter().map(|v| operand::narrow(g, *v)).collect();
    let operands = match operands {
        Ok(operands) => operands,
        Err(why) => return Ok(Outcome::Float(why)),
    };
    let op = node.op.clone();
    let types: Vec<Option<&Type>> = operands.iter().map(|v| Some(g.ty(*v))).collect();
    if let Ok(inferred) = infer::infer(&op, &types, &[], &Default::default()) {
        g.node_mut(id).inputs = operands.into_iter().map(Some).collect();
        settle::behind_dequantize(g, id, inferred, cx)?;
        return Ok(Outcome::Integer);
    }
    let outcome = settle::per_sink(g, id, cx, |g, sink, cx| {
        let rescaled = operands.iter().map(|q| rescale(g, id, *q, sink, cx)).collect();
        Ok(Some((op.clone(), rescaled)))
    })?;
    Ok(match outcome {
        Outcome::Float(why) => Outcome::Float(format!("its operands have different scales, and {why}")),
        done => done,
    })
}

fn rescale(g: &mut Graph, concat: NodeId, q: ValueId, sink: &settle::Sink, cx: &Realize) -> ValueId {
    let ty = sink.ty.with_shape(g.ty(q).shape.clone());
    if *g.ty(q) == ty {
        return q;
    }
    let name = format!("{}.rq", g.value(q).name);
    let node = g.add_node_before(concat, &name, Op::Requantize(cx.rescale_to(sink)), vec![Some(q)], &[(&name, ty)]);
    rewrite::output(g.node(node)).unwrap_or(q)
}
