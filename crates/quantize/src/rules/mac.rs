//! Multiply-accumulates: a narrow input, narrow weights, a wide result.

use super::Rule;
use crate::annotate::{Annotator, Call, Decision};
use crate::config::{Mode, Per, Scale, Spec};
use crate::dynamic::OBSERVER;
use crate::observe::{Fit, Range, ends, fit};
use lowbit_ir::{DType, Kind, Request, Result};

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
    match cx.mode(call) {
        Mode::Static => {}
        mode @ (Mode::Dynamic | Mode::WeightOnly) => {
            let why = format!("mode = \"{}\" is for known weights, and both of its operands are computed", mode.name());
            return Ok(Decision::Float(why));
        }
    }
    if let Some(declined) = unfit(call, cx)? {
        return Ok(declined);
    }
    let a = cx.simulate_input(a)?;
    let b = cx.simulate_input(b)?;
    cx.simulate_activation(call)?;
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
    let (request, _) = cx.request(w, Kind::Weight, &Spec::default())?;
    if let Some(declined) = beyond_scales(call, &request, cx) {
        return Ok(declined);
    }
    let narrow = match cx.mode(call) {
        Mode::Static => Some(cx.simulate_input(x)?),
        Mode::Dynamic => Some(cx.simulate(x, Kind::Input, dynamic_input())?),
        Mode::WeightOnly => None,
    };
    let w = cx.simulate(w, Kind::Weight, Spec::default())?;
    let Some(narrow) = narrow else {
        cx.keep(call, [x, w])?;
        return Ok(Decision::Float("mode = \"weight-only\": its weights alone are narrow".into()));
    };
    cx.simulate_activation(call)?;
    cx.keep(call, [narrow, w])
}

/// What a layer reads in units of a scale that was found while running.
pub fn dynamic_input() -> Spec {
    let whole =
        Spec { observer: Some(OBSERVER.into()), per: Some(Per::Tensor), scale: Some(Scale::Float), ..Spec::default() };
    whole.signed().symmetric().narrow()
}

/// Weights that no scale fits: all of them too small, so that they would become zero, or some too large.
///
/// A channel that is too small among others is not worth a float layer; calibration counts it.
fn beyond_scales(call: &Call, spec: &Request, cx: &Annotator) -> Option<Decision> {
    let weights = cx.graph().constant(call.operand(1).ok()?)?.floats().ok()?;
    // What is not finite is an error, and calibration's to tell.
    let (least, greatest) = ends(&weights).unwrap_or((0.0, 0.0));
    let largest = greatest.max(-least).max(0.0);
    match fit(Range { low: -largest, high: largest }, spec) {
        Fit::Fits => None,
        Fit::TooSmall => Some(Decision::Float(format!(
            "its weights are too small for the scale of {} bits (none is beyond {largest:e})",
            spec.bits
        ))),
        Fit::TooLarge => Some(Decision::Float(format!(
            "its weights are too large for the scale of {} bits (up to {largest:e})",
            spec.bits
        ))),
    }
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
