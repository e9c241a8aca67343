//! Element by element: limits, lookup tables, sums and products.

use super::{Rule, follows_readers, leaves_model};
use crate::annotate::{Annotator, Call, Decision, Readers};
use crate::prepare::rewrite;
use lowbit_ir::op::Binary;
use lowbit_ir::{DType, Graph, Op, Result, ValueId};

pub const LIMIT: Rule = Rule {
    name: "limit",
    summary: "Relu and Clip belong to the kernel before them, which clamps anyway; else they limit the integers",
    run: limit,
};

pub const TABLE: Rule = Rule {
    name: "table",
    summary: "a function of one narrow element is a lookup table from integers to integers",
    run: table,
};

pub const ADD: Rule =
    Rule { name: "add", summary: "both operands narrow, each with its own scale; the sum is rescaled once", run: pair };

pub const MUL: Rule = Rule { name: "mul", summary: "both operands narrow; the product is rescaled once", run: pair };

fn limit(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    match cx.readers(call) {
        Readers::Tail => return Ok(leaves_model()),
        Readers::Float => return Ok(follows_readers()),
        Readers::Integer => {}
    }
    let x = call.data()?;
    if rescales(cx.graph(), x) && rewrite::sole_user(cx.graph(), x) == Some(call.node) {
        return Ok(Decision::Fused);
    }
    let x = cx.simulate_joined(x)?;
    cx.keep(call, [x])
}

/// Whether a value comes from an operator whose integer form ends in a rescaling, which clamps for free.
fn rescales(g: &Graph, v: ValueId) -> bool {
    rewrite::producer(g, v).is_some_and(|(_, n)| match &n.op {
        Op::Conv(_) | Op::MatMul(_) | Op::AvgPool(_) | Op::GlobalAvgPool | Op::Binary(Binary::Add | Binary::Mul) => {
            true
        }
        Op::Unary(f) => f.facts().table,
        _ => false,
    })
}

fn table(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    match cx.readers(call) {
        Readers::Tail => return Ok(leaves_model()),
        Readers::Float => return Ok(follows_readers()),
        Readers::Integer => {}
    }
    if let Some(declined) = half_precision(call, cx) {
        return Ok(declined);
    }
    let x = cx.simulate_input(call.data()?)?;
    cx.keep(call, [x])
}

fn pair(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    let (a, b) = (call.data()?, call.operand(1)?);
    if let Some(declined) = half_precision(call, cx) {
        return Ok(declined);
    }
    let with_constant = cx.graph().constant(a).is_some() || cx.graph().constant(b).is_some();
    let readers = cx.readers(call);
    match (readers, with_constant) {
        (Readers::Tail, true) => return Ok(leaves_model()),
        (Readers::Float, true) => return Ok(follows_readers()),
        // The operands are read from memory, narrow, also where the sum leaves the model wide.
        (Readers::Integer | Readers::Float | Readers::Tail, _) => {}
    }
    let sums = call.op == Op::Binary(Binary::Add);
    let narrow = |v, cx: &mut Annotator| if sums { cx.simulate_joined(v) } else { cx.simulate_input(v) };
    let (a, b) = (narrow(a, cx)?, narrow(b, cx)?);
    let kept = cx.keep(call, [a, b])?;
    match readers {
        Readers::Tail => return Ok(leaves_model()),
        Readers::Float => cx.narrow_results(call)?,
        Readers::Integer => {}
    }
    Ok(kept)
}

fn half_precision(call: &Call, cx: &Annotator) -> Option<Decision> {
    let dtype = cx.graph().ty(call.output).dtype;
    (dtype != DType::F32).then(|| Decision::Float(format!("it computes in {dtype}")))
}
