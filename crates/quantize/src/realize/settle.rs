//! Where integer values meet the Quantize nodes behind them.

use super::{Outcome, Realize};
use crate::prepare::rewrite;
use lowbit_arithmetic::{Rounding, quantize};
use lowbit_ir::{Graph, NodeId, Op, Result, Type, ValueId};

/// A Quantize behind a float value, with nothing but Relu and Clip between.
pub struct Sink {
    /// The Quantize.
    pub node: NodeId,
    /// What it reads: the float value that its integers stand for.
    pub reads: ValueId,
    /// Its type, with the limits between as limits of the integers.
    pub ty: Type,
    /// Limits between that are other integers in one channel than in another, for which a type has no words.
    pub limits: Option<(f32, f32)>,
    /// How it rounds.
    pub rounding: Rounding,
}

/// Every sink of a float value, and whether anything else reads the value or what is limited of it.
pub fn sinks(g: &Graph, v: ValueId, cx: &Realize) -> (Vec<Sink>, bool) {
    let mut found = Vec::new();
    let others = walk(g, v, (f32::NEG_INFINITY, f32::INFINITY), cx, &mut found);
    (found, others)
}

fn walk(g: &Graph, v: ValueId, limits: (f32, f32), cx: &Realize, found: &mut Vec<Sink>) -> bool {
    let mut others = g.is_output(v);
    for (reader, _) in g.users().of(v) {
        let node = g.node(*reader);
        // A later limit has the last word.
        let limited = |min: f32, max: f32| (limits.0.max(min).min(max), limits.1.max(min).min(max));
        match (&node.op, rewrite::output(node)) {
            // A limit that is to stay float is nobody's part.
            _ if cx.declined.contains_key(&node.name) => others = true,
            (Op::Relu, Some(y)) => others |= walk(g, y, limited(0.0, f32::INFINITY), cx, found),
            (Op::Clip { min, max }, Some(y)) => others |= walk(g, y, limited(*min, *max), cx, found),
            (Op::Quantize { rounding }, Some(q)) => {
                let (ty, limits) = match narrowed(g.ty(q), limits, *rounding) {
                    Some(ty) => (ty, None),
                    None => (g.ty(q).clone(), Some(limits)),
                };
                found.push(Sink { node: *reader, reads: v, ty, limits, rounding: *rounding });
            }
            _ => others = true,
        }
    }
    others
}

/// A type whose integers are limited to those of the reals within `limits`; `None` if those are other integers in one
/// channel than in another.
///
/// What is limited and then rounded is what is rounded and then limited alike; chance is each element's own, and what it
/// gives for the limit itself the nearest has to stand for.
fn narrowed(ty: &Type, limits: (f32, f32), rounding: Rounding) -> Option<Type> {
    let mut quant = ty.quant.clone()?;
    let rounding = match rounding {
        Rounding::Stochastic { .. } => Rounding::HalfEven,
        other => other,
    };
    let bound = |x: f32| -> Option<i64> {
        let at = |i| quant.affine_at(i).ok().map(|a| i64::from(quantize(x, &a, rounding, 0)));
        let first = at(0)?;
        (1..quant.scale.len()).all(|i| at(i) == Some(first)).then_some(first)
    };
    let low = if limits.0 > f32::NEG_INFINITY { bound(limits.0)? } else { quant.qmin };
    let high = if limits.1 < f32::INFINITY { bound(limits.1)? } else { quant.qmax };
    (quant.qmin, quant.qmax) = (quant.qmin.max(low), quant.qmax.min(high));
    Some(Type { quant: Some(quant), ..ty.clone() })
}

/// Makes the readers of a sink read the integers `q`, and removes what nothing reads any more.
pub fn absorb(g: &mut Graph, sink: &Sink, q: ValueId, cx: &mut Realize) {
    if let Some(old) = rewrite::output(g.node(sink.node)) {
        // Integers that leave the model leave it under their name.
        if g.is_output(old) && !g.is_output(q) {
            g.take_name(q, old);
        }
        g.replace_uses(old, q);
        cx.own_names.push((q, g.value(old).name.clone()));
    }
    g.remove_node(sink.node);
    cx.names.push((q, g.value(sink.reads).name.clone()));
    let mut v = sink.reads;
    while let Some((id, node)) = rewrite::producer(g, v) {
        let limit = matches!(node.op, Op::Relu | Op::Clip { .. });
        let (true, Some(x)) = (limit && !is_read(g, v), node.input(0)) else { break };
        g.remove_node(id);
        v = x;
    }
}

fn is_read(g: &Graph, v: ValueId) -> bool {
    g.is_output(v) || g.nodes().any(|(_, n)| n.operands().any(|o| o == v))
}

/// For an operator that needs to know the type of its result: makes it compute the integers of its sink.
///
/// Of several sinks each has an integer node of its own, and whoever else reads the float result keeps the float node.
pub fn per_sink(
    g: &mut Graph,
    id: NodeId,
    cx: &mut Realize,
    make: impl Fn(&mut Graph, &Sink, &Realize) -> Result<Option<(Op, Vec<ValueId>)>>,
) -> Result<Outcome> {
    let Some(y) = rewrite::output(g.node(id)) else { return Ok(Outcome::Other) };
    let (mut sinks, mut others) = sinks(g, y, cx);
    // These operators give narrow integers of one scale.
    let one_scale = |s: &Sink| s.limits.is_none() && s.ty.quant.as_ref().is_some_and(lowbit_ir::Quant::is_per_tensor);
    let fits = |s: &Sink| s.ty.dtype.bits() <= 16 && one_scale(s);
    others |= !sinks.iter().all(fits);
    sinks.retain(fits);
    if sinks.is_empty() {
        return Ok(Outcome::Float("its result is not quantized".into()));
    }
    let last = sinks.len() - 1;
    for (i, sink) in sinks.iter().enumerate() {
        let Some((op, inputs)) = make(g, sink, cx)? else {
            return Ok(Outcome::Float("its scales have no rescaling".into()));
        };
        let inputs = inputs.into_iter().map(Some).collect();
        let q = if i == last && !others {
            // Nobody needs the float node any more, so it becomes the integer one and keeps its name.
            let node = g.node_mut(id);
            (node.op, node.inputs) = (op, inputs);
            g.set_ty(y, sink.ty.clone());
            Some(y)
        } else {
            let (name, rule) = (g.node(id).name.clone(), g.node(id).rule.clone());
            let value = format!("{}.int", g.value(sink.reads).name);
            let new = g.add_node_before(sink.node, &name, op, inputs, &[(&value, sink.ty.clone())]);
            g.node_mut(new).rule = rule;
            rewrite::output(g.node(new))
        };
        if let Some(q) = q {
            absorb(g, sink, q, cx);
        }
    }
    match others {
        true => Ok(Outcome::Float("somebody reads its result as a float".into())),
        false => Ok(Outcome::Integer),
    }
}

/// Makes a node compute integers of type `ty` from the operands it has now, in front of a Dequantize, and settles those
/// who read it.
pub fn behind_dequantize(g: &mut Graph, id: NodeId, types: Vec<Type>, cx: &mut Realize) -> Result<()> {
    for (y, ty) in g.node(id).outputs.clone().into_iter().zip(types) {
        // Indices, such as those of a TopK, are what they were.
        if !ty.is_quantized() {
            continue;
        }
        let name = g.value(y).name.clone();
        let wide = ty.dtype.bits() > 16;
        let dq_name = format!("{name}.dq");
        let dq =
            g.add_node_after(id, &dq_name, Op::Dequantize, vec![Some(y)], &[(&dq_name, Type::f32(ty.shape.clone()))]);
        let Some(d) = rewrite::output(g.node(dq)) else { continue };
        g.replace_uses(y, d);
        g.set_input(dq, 0, Some(y));
        g.set_ty(y, ty);
        // The float keeps the name; the integers get it in the end if nobody needs the float.
        g.take_name(d, y);
        // Not ".q", by which the QDQ graph knows what a Quantize makes of the float.
        let integer_name = g.fresh_name(&format!("{name}.{}", if wide { "acc" } else { "int" }));
        g.rename(y, &integer_name);
        match wide {
            true => cx.wide_names.push((y, name)),
            false => cx.names.push((y, name)),
        }
        requantize_sinks(g, y, d, cx);
        if !is_read(g, d) {
            g.remove_node(dq);
        }
    }
    Ok(())
}

/// A Quantize right behind a Dequantize is a Requantize.
pub fn dequantize(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let node = g.node(id);
    if let (Some(q), Some(d)) = (node.input(0), rewrite::output(node))
        && g.constant(q).is_none()
    {
        requantize_sinks(g, q, d, cx);
    }
    Ok(Outcome::Other)
}

/// Every sink of `d`, which is `q` dequantized, becomes a Requantize of `q`, or `q` itself where nothing changes.
fn requantize_sinks(g: &mut Graph, q: ValueId, d: ValueId, cx: &mut Realize) {
    for sink in sinks(g, d, cx).0 {
        if sink.limits.is_none() && same_integers(g.ty(q), &sink.ty) {
            absorb(g, &sink, q, cx);
            continue;
        }
        let name = format!("{}.rq", g.value(sink.reads).name);
        let op = Op::Requantize(cx.rescale_to(&sink));
        let node = g.add_node_before(sink.node, &name, op, vec![Some(q)], &[(&name, sink.ty.clone())]);
        g.node_mut(node).rule = g.node(sink.node).rule.clone();
        let Some(mut new) = rewrite::output(g.node(node)) else { continue };
        if let Some((min, max)) = sink.limits {
            let (name, op) = (format!("{}.limited", g.value(sink.reads).name), Op::Clip { min, max });
            let clip = g.add_node_before(sink.node, &name, op, vec![Some(new)], &[(&name, sink.ty.clone())]);
            new = rewrite::output(g.node(clip)).unwrap_or(new);
        }
        absorb(g, &sink, new, cx);
    }
}

/// Whether integers of one type are integers of the other without change.
fn same_integers(from: &Type, to: &Type) -> bool {
    match (&from.quant, &to.quant) {
        (Some(a), Some(b)) => {
            let within = a.qmin >= b.qmin && a.qmax <= b.qmax;
            from.dtype == to.dtype && a.scale == b.scale && a.zero_point == b.zero_point && within
        }
        _ => false,
    }
}
