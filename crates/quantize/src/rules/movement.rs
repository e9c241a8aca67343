//! Moving data: the same integers in another place, so operand and result share one quantization.

use super::{Rule, follows_readers, leaves_model};
use crate::annotate::{Annotator, Call, Decision, Readers};
use crate::prepare::rewrite;
use lowbit_ir::op::PadMode;
use lowbit_ir::{DType, Graph, Op, Result, ValueId};

pub const MOVE: Rule = Rule {
    name: "move",
    summary: "views, slices, maxima, nearest resampling: the integers move, the quantization is the operand's",
    run: shift,
};

pub const PAD: Rule = Rule {
    name: "pad",
    summary: "as move, where what is added is zero, an edge, a mirror image or the other end",
    run: pad,
};

pub const CONCAT: Rule =
    Rule { name: "concat", summary: "operands are quantized as the result, so joining copies integers", run: concat };

fn shift(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    match cx.readers(call) {
        // A maximum reads more than it writes, so its operand is narrow in memory in any case.
        Readers::Tail if matches!(call.op, Op::MaxPool(_) | Op::Reduce(_)) => {
            let x = cx.simulate_input(call.data()?)?;
            cx.keep(call, [x])?;
            return Ok(leaves_model());
        }
        Readers::Tail => return Ok(leaves_model()),
        Readers::Float => return Ok(follows_readers()),
        Readers::Integer => {}
    }
    if cx.graph().ty(call.output).dtype != DType::F32 {
        return Ok(Decision::Float("it moves half precision".into()));
    }
    let x = match call.op {
        Op::MaxPool(_) | Op::Reduce(_) => cx.simulate_input(call.data()?)?,
        _ => cx.simulate_joined(call.data()?)?,
    };
    cx.keep(call, [x])
}

fn pad(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    match &call.op {
        Op::Pad(p) => match p.mode {
            PadMode::Constant(0.0) | PadMode::Reflect | PadMode::Edge | PadMode::Wrap => shift(call, cx),
            PadMode::Constant(v) => {
                Ok(Decision::Float(format!("it pads with {v}, which may lie outside of the range")))
            }
        },
        _ => shift(call, cx),
    }
}

fn concat(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    if cx.graph().ty(call.output).dtype != DType::F32 {
        return Ok(Decision::Float("it joins half precision".into()));
    }
    let readers = cx.readers(call);
    let operands: Vec<_> = call.operands.iter().flatten().copied().collect();
    // What leaves the model is joined as floats, so that boxes and scores need not share a scale.
    let joins_tail =
        |cx: &Annotator, v| readers == Readers::Tail && is_moved(cx.graph(), v) && cx.leads_only_out(v, call);
    let narrow = operands
        .into_iter()
        .map(|v| if joins_tail(cx, v) { Ok(v) } else { cx.simulate_input(v) })
        .collect::<Result<Vec<_>>>()?;
    let kept = cx.keep(call, narrow)?;
    match readers {
        Readers::Tail => return Ok(leaves_model()),
        Readers::Float => cx.narrow_results(call)?,
        Readers::Integer => {}
    }
    Ok(kept)
}

/// Whether a value was merely moved or joined.
fn is_moved(g: &Graph, v: ValueId) -> bool {
    rewrite::producer(g, v).is_some_and(|(_, n)| match super::standard(&n.op).name {
        name if name == MOVE.name => !matches!(n.op, Op::MaxPool(_) | Op::Reduce(_)),
        name => name == CONCAT.name || name == PAD.name,
    })
}
