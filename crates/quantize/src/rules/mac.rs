//! Multiply-accumulates: a narrow input, narrow weights, a wide result.

use super::Rule;
use crate::annotate::{Annotator, Call, Decision};
use lowbit_ir::{DType, Kind, Result, infer};

pub const CONV: Rule = Rule {
    name: "conv",
    summary: "narrow input and weights per output channel, wide accumulator and bias",
    run: constant_weights,
};

pub const MATMUL: Rule = Rule {
    name: "matmul",
    summary: "as conv with constant weights; of two computed values both are narrow per tensor",
    run: matmul,
};

fn matmul(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    let (a, b) = (call.data()?, call.weight()?);
    if cx.graph().constant(b).is_some() {
        return constant_weights(call, cx);
    }
    if let Some(declined) = unfit(call, cx)? {
        return Ok(declined);
    }
    let a = cx.simulate_input(a)?;
    let b = cx.simulate_input(b)?;
    cx.keep(call, [a, b])
}

fn constant_weights(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    let (x, w) = (call.data()?, call.weight()?);
    if let Some(declined) = unfit(call, cx)? {
        return Ok(declined);
    }
    if cx.graph().constant(w).is_none() {
        return Ok(Decision::Float("its weights are computed".into()));
    }
    let axis = infer::weight_axis(&call.op, &cx.graph().ty(w).shape).unwrap_or(0);
    let spec = cx.config().weight_spec(axis)?;
    let x = cx.simulate_input(x)?;
    let w = cx.simulate(w, Kind::Weight, spec)?;
    cx.keep(call, [x, w])
}

/// What no integer layer can be: half precision, or a bias that is computed.
fn unfit(call: &Call, cx: &Annotator) -> Result<Option<Decision>> {
    let g = cx.graph();
    let float = |why: String| Ok(Some(Decision::Float(why)));
    if let Some(other) = call.operands.iter().flatten().map(|v| g.ty(*v)).find(|ty| ty.dtype != DType::F32) {
        return float(format!("an operand is {}", other.dtype));
    }
    match call.operands.get(2).copied().flatten() {
        Some(bias) if g.constant(bias).is_none() => float("its bias is computed".into()),
        Some(_) | None => Ok(None),
    }
}
