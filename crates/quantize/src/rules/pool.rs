//! Averages: exact integer sums, rescaled once.

use super::{Rule, leaves_model};
use crate::annotate::{Annotator, Call, Decision, Readers};
use lowbit_ir::{DType, Result};

pub const AVERAGE: Rule = Rule {
    name: "average",
    summary: "a narrow input, an exact integer sum, rescaled once to the narrow average",
    run: average,
};

fn average(call: &Call, cx: &mut Annotator) -> Result<Decision> {
    if cx.graph().ty(call.output).dtype != DType::F32 {
        return Ok(Decision::Float("it computes in half precision".into()));
    }
    let readers = cx.readers(call);
    let x = cx.simulate_input(call.data()?)?;
    let kept = cx.keep(call, [x])?;
    match readers {
        // What is averaged is read from memory, narrow, also where the average leaves the model wide.
        Readers::Tail => return Ok(leaves_model()),
        Readers::Float => cx.narrow_results(call)?,
        Readers::Integer => {}
    }
    Ok(kept)
}
