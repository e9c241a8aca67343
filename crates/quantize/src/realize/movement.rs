//! Operators that give back integers they got: they move in front of the Dequantize of their operand.

use super::{Outcome, Realize, operand, settle, wide};
use lowbit_ir::{Graph, NodeId, Result, Type, infer};

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
