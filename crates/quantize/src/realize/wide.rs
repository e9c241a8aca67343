//! Wide values between a layer and the next input (`store_lowbit = false`): integers of 32 bits that stay what they are.
//!
//! An accumulator with a scale per channel is brought to one scale for all when something other than a Quantize reads
//! it. Sums take the finer of the two scales, so the coarser operand is multiplied up; where 32 bits could not hold that,
//! the scale is doubled until they can, and where a sum would have few bits, as one of narrow operands has, it is halved
//! until rounding to it is no error to speak of. The bounds of what the operands hold decide both.

use super::{Outcome, Realize, settle};
use crate::calibrate::source;
use crate::prepare::rewrite;
use lowbit_arithmetic::{AddRescale, Rescale};
use lowbit_ir::{DType, Graph, NodeId, Op, Quant, Result, Type, ValueId, bounds};

/// What a wide value can reach, as integers and as reals.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// Greatest magnitude of the value, in units of the float.
    real: f64,
    /// The finest scale of its channels.
    finest: f32,
}

/// The integers with one scale behind a float operand, narrow or wide; an accumulator of many scales is rescaled first.
pub fn operand(g: &mut Graph, v: Option<ValueId>, cx: &Realize) -> Result<std::result::Result<ValueId, String>> {
    let Some(v) = v else { return Ok(Err("an operand is missing".into())) };
    let name = g.value(v).name.clone();
    let Some(q) = source(g, v) else { return Ok(Err(format!("its operand '{name}' is not quantized"))) };
    let quant = g.ty(q).quant()?.clone();
    if quant.is_per_tensor() {
        return Ok(Ok(q));
    }
    let Some(reach) = reach(g, q)? else { return Ok(Err(format!("its operand '{name}' has a scale per channel"))) };
    let to = scale(reach.finest, reach.real);
    let possible = quant.scale.iter().all(|s| Rescale::new(cx.rescale.method, *s, to).is_ok());
    if !possible {
        return Ok(Err(format!("the scales of its operand '{name}' have no rescaling to one")));
    }
    let ty = wide_type(g, q, to, reach.real);
    let producer = g.producer(q);
    let unified = format!("{name}.one-scale");
    let (op, outputs) = (Op::Requantize(cx.rescale), [(&*unified, ty)]);
    let node = match producer {
        Some(id) => g.add_node_after(id, &unified, op, vec![Some(q)], &outputs),
        None => return Ok(Err(format!("its operand '{name}' has a scale per channel"))),
    };
    Ok(Ok(rewrite::output(g.node(node)).unwrap_or(q)))
}

/// A sum that is wide, of operands of any width.
pub fn add(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let operands = g.node(id).inputs.clone();
    let mut sides = Vec::new();
    for v in operands.into_iter().take(2) {
        match operand(g, v, cx)? {
            Ok(q) => sides.push(q),
            Err(why) => return Ok(Outcome::Float(why)),
        }
    }
    let [a, b] = sides[..] else { return Ok(Outcome::Float("an operand is missing".into())) };
    let (Some(x), Some(y)) = (reach(g, a)?, reach(g, b)?) else {
        return Ok(Outcome::Float("the bounds of its operands are not known".into()));
    };
    let real = x.real + y.real;
    let to = scale(x.finest.min(y.finest), real);
    if AddRescale::new(cx.rescale.method, x.finest, y.finest, to).is_err() {
        return Ok(Outcome::Float("its scales have no rescaling".into()));
    }
    let Some(output) = rewrite::output(g.node(id)) else { return Ok(Outcome::Other) };
    let ty = wide_type(g, output, to, real);
    let node = g.node_mut(id);
    (node.op, node.inputs) = (Op::QAdd(cx.rescale), vec![Some(a), Some(b)]);
    settle::behind_dequantize(g, id, vec![ty], cx)?;
    Ok(Outcome::Integer)
}

/// The scale by powers of two from `finest` at which `real` has 20 bits at least, and 30 at most.
///
/// A value of another scale is rounded to it, by half a step: below 20 bits that would be an error of its own, which
/// the simulation, with no Quantize here, does not make. Above 30 there would be nothing to spare in 32 bits.
fn scale(finest: f32, real: f64) -> f32 {
    let mut scale = finest;
    while real / f64::from(scale) > f64::from(1 << 30) {
        scale *= 2.0;
    }
    while real / f64::from(scale) < f64::from(1 << 20) && (scale / 2.0).is_normal() {
        scale /= 2.0;
    }
    scale
}

/// Integers of 32 bits of this scale that reach no further than `real`.
fn wide_type(g: &Graph, like: ValueId, scale: f32, real: f64) -> Type {
    // What rounding may add on the way is a step or two.
    let most = (real / f64::from(scale)).ceil() as i64 + 2;
    Type::quantized(DType::I32, g.ty(like).shape.clone(), Quant::per_tensor(scale, 0, -most, most))
}

/// How far a quantized value reaches: a layer's accumulator as its weights allow, anything else as its type does.
fn reach(g: &Graph, q: ValueId) -> Result<Option<Reach>> {
    let quant = g.ty(q).quant()?;
    let finest = quant.scale.iter().copied().fold(f32::INFINITY, f32::min);
    let bound = match rewrite::producer(g, q) {
        Some((_, node)) => bounds::bound(g, node)?,
        None => None,
    };
    let real = match bound {
        Some(bound) => {
            let channels = bound.channels.iter().enumerate().map(|(c, (low, high))| {
                let scale = quant.scale.get(if quant.is_per_tensor() { 0 } else { c }).copied().unwrap_or(0.0);
                low.unsigned_abs().max(high.unsigned_abs()) as f64 * f64::from(scale)
            });
            channels.fold(0.0, f64::max)
        }
        None => {
            let Some(scale) = quant.scale.first().filter(|_| quant.is_per_tensor()) else { return Ok(None) };
            let zero = quant.zero_point.first().copied().unwrap_or(0);
            let most = (quant.qmin - i64::from(zero)).unsigned_abs().max((quant.qmax - i64::from(zero)).unsigned_abs());
            most as f64 * f64::from(*scale)
        }
    };
    Ok(Some(Reach { real, finest }))
}
