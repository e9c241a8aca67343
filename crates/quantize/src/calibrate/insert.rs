//! Placeholders become Quantize and Dequantize.

use super::constants::quantize_tensor;
use super::{Choice, Parameters, spec};
use crate::declined;
use crate::prepare::rewrite;
use crate::rules::keeps_quantization;
use lowbit_arithmetic::{Rounding, quantize};
use lowbit_ir::request::Sharing;
use lowbit_ir::tensor::entries;
use lowbit_ir::{DType, Error, Granularity, Graph, Kind, NodeId, Op, Quant, Request, Result, Type, ValueId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// How integers as a spec asks are stored: weights of up to 4 bits two a byte, values in whole bytes.
pub fn storage(g: &Graph, v: ValueId, spec: &Request) -> DType {
    let bits = u32::from(spec.bits);
    match spec.kind == Kind::Weight && g.constant(v).is_some() {
        true => DType::packing(bits, spec.signed),
        false => DType::holding(bits, spec.signed),
    }
}

/// Replaces every placeholder: a value by Quantize, a constant by integers, and in front of each reader a Dequantize
/// of its own, so that other tools match their patterns. Gives the names of the integers.
pub fn replace_placeholders(g: &mut Graph, chosen: &Parameters) -> Result<HashMap<NodeId, String>> {
    let mut names = HashMap::new();
    for id in g.order().to_vec() {
        let Some(spec) = spec(g, id).cloned() else { continue };
        let node = g.node(id);
        let (Some(v), Some(s), rule) = (node.input(0), rewrite::output(node), node.rule.clone()) else { continue };
        let value = g.value(v);
        let name = value.name.clone();
        let choice =
            chosen.of.get(&id).ok_or_else(|| Error::new("calibration chose nothing for this value").at_value(&name))?;
        let ty = Type::quantized(storage(g, v, &spec), value.ty.shape.clone(), quant(choice, &spec));
        let q_name = format!("{}.q", base(&name));
        let q = match g.constant(v).cloned() {
            Some(t) => {
                let ints = quantize_tensor(&t, &ty, &spec).map_err(|e| e.at_value(&name))?;
                g.add_const(&q_name, ints)
            }
            None => {
                let rounding = if is_on_grid(g, v, &ty) { Rounding::HalfEven } else { spec.rounding };
                let op = Op::Quantize { rounding };
                let node = g.add_node_before(id, &q_name, op, vec![Some(v)], &[(&q_name, ty)]);
                g.node_mut(node).rule = rule.clone();
                rewrite::output(g.node(node)).unwrap_or(v)
            }
        };
        names.insert(id, g.value(q).name.clone());
        dequantize_for_readers(g, id, s, q, &rule);
    }
    Ok(names)
}

/// Whether a value is made of integers of this type by moving them: the nearest of such a real is the same integer, which
/// no other rounding promises, as the real may be a little less than it stands for.
fn is_on_grid(g: &Graph, v: ValueId, ty: &Type) -> bool {
    let Some((_, node)) = rewrite::producer(g, v) else { return false };
    let is_moved = match &node.op {
        Op::Clip { .. } => false,
        Op::Concat { .. } => true,
        op => keeps_quantization(op),
    };
    let count = if matches!(node.op, Op::Concat { .. }) { node.inputs.len() } else { 1 };
    is_moved
        && (0..count).all(|i| {
            let from = node.input(i).and_then(|x| rewrite::producer(g, x)).filter(|(_, n)| n.op == Op::Dequantize);
            let quant = from.and_then(|(_, n)| g.ty(n.input(0)?).quant.as_ref());
            quant.zip(ty.quant.as_ref()).is_some_and(|(a, b)| a.scale == b.scale && a.zero_point == b.zero_point)
        })
}

/// The source's name of a value: an output that is written narrow left its name to its narrow form.
fn base(name: &str) -> &str {
    name.strip_suffix(".wide").unwrap_or(name)
}

/// The elements that share each scale.
pub fn shares<'a>(data: &'a [f32], dims: &[usize], sharing: Sharing) -> Vec<Cow<'a, [f32]>> {
    match sharing {
        Sharing::Tensor => return vec![Cow::Borrowed(data)],
        // Where channels are outermost, each lies in one piece.
        Sharing::Channel(axis) if dims.iter().take(axis).all(|d| *d == 1) && !data.is_empty() => {
            let channels = dims.get(axis).copied().unwrap_or(1).max(1);
            return data.chunks((data.len() / channels).max(1)).map(Cow::Borrowed).collect();
        }
        Sharing::Channel(_) | Sharing::Block { .. } => {}
    }
    // Which elements an entry is for does not depend on what it says, but one entry would be for all.
    let (scale, zero_point) = ([1.0; 2].into(), [0; 2].into());
    let form = Quant { scale, zero_point, qmin: 0, qmax: 0, granularity: granularity(sharing) };
    let mut shares: Vec<Vec<f32>> = Vec::new();
    for (x, entry) in data.iter().zip(entries(&form, dims)) {
        shares.resize_with(shares.len().max(entry + 1), Vec::new);
        shares[entry].push(*x);
    }
    shares.into_iter().map(Cow::Owned).collect()
}

fn granularity(sharing: Sharing) -> Granularity {
    match sharing {
        Sharing::Tensor => Granularity::Tensor,
        Sharing::Channel(axis) => Granularity::Channel { axis },
        Sharing::Block { axis, size } => Granularity::Block { axis, size },
    }
}

fn quant(choice: &Choice, spec: &Request) -> Quant {
    let (qmin, qmax) = spec.range();
    match choice.affines.as_slice() {
        [] => Quant::per_tensor(1.0, 0, qmin, qmax),
        many => Quant {
            scale: many.iter().map(|a| a.scale).collect(),
            zero_point: many.iter().map(|a| a.zero_point).collect(),
            qmin,
            qmax,
            granularity: granularity(spec.sharing),
        },
    }
}

fn dequantize_for_readers(g: &mut Graph, placeholder: NodeId, s: ValueId, q: ValueId, rule: &Option<Arc<str>>) {
    let shape = g.ty(q).shape.clone();
    let name = g.value(q).name.trim_end_matches(".q").to_string();
    let dequantize = |g: &mut Graph, before: Option<NodeId>, name: &str| {
        let (op, inputs, outputs) = (Op::Dequantize, vec![Some(q)], [(name, Type::f32(shape.clone()))]);
        let node = match before {
            Some(reader) => g.add_node_before(reader, name, op, inputs, &outputs),
            None => g.add_node_after(placeholder, name, op, inputs, &outputs),
        };
        g.node_mut(node).rule = rule.clone();
        rewrite::output(g.node(node))
    };
    let readers: Vec<(NodeId, usize)> = g.users().of(s).to_vec();
    for (reader, i) in readers {
        let dq = dequantize(g, Some(reader), &format!("{name}.dq"));
        g.set_input(reader, i, dq);
    }
    if g.is_output(s)
        && let Some(dq) = dequantize(g, None, &format!("{name}.dq"))
    {
        g.replace_uses(s, dq);
        g.take_name(dq, s);
    }
    g.remove_node(placeholder);
}

/// Removes a Relu or Clip that the quantization behind it implies: what it would cut off becomes the same integer.
///
/// One that is to stay float stays.
pub fn drop_redundant_limits(g: &mut Graph) -> Result<()> {
    let declined = declined::reasons(g);
    rewrite::each_node(g, |g, id| {
        let node = g.node(id);
        let (min, max) = match node.op {
            _ if declined.contains_key(&node.name) => return Ok(false),
            Op::Relu => (0.0, f32::INFINITY),
            Op::Clip { min, max } => (min, max),
            _ => return Ok(false),
        };
        let (Some(x), Some(y)) = (node.input(0), rewrite::output(node)) else { return Ok(false) };
        let readers = g.users().of(y).to_vec();
        let redundant =
            !g.is_output(y) && !readers.is_empty() && readers.iter().all(|(reader, _)| implies(g, *reader, min, max));
        if !redundant {
            return Ok(false);
        }
        match rewrite::sole_user(g, x) == Some(id) && g.producer(x).is_some() {
            true => rewrite::supersede(g, id, x),
            false => return Ok(rewrite::bypass(g, id, x)),
        }
        Ok(true)
    })?;
    Ok(())
}

/// Whether a node is a Quantize that gives the least integer for `min` and the greatest for `max`.
fn implies(g: &Graph, reader: NodeId, min: f32, max: f32) -> bool {
    let node = g.node(reader);
    let Op::Quantize { rounding } = node.op else { return false };
    // Stochastic rounding may go either way: both must do.
    let roundings = match rounding {
        Rounding::Stochastic { .. } => [Rounding::Floor, Rounding::HalfAway],
        other => [other, other],
    };
    let affine = rewrite::output(node).and_then(|q| g.ty(q).quant.as_ref()?.affine().ok());
    affine.is_some_and(|a| {
        roundings.iter().all(|r| quantize(min, &a, *r, 0) == a.qmin && quantize(max, &a, *r, 0) == a.qmax)
    })
}
