//! Dynamic quantization: the scale of what a layer reads is found whenever it runs.
//!
//! Types have scales that are known before, so this is spelled out in front of annotate. Around a layer y = f(x) + b, which
//! is linear, comes
//!
//! ```text
//! s = max(max |x| (1/q), tiny)               of every row of a product, of every image of a convolution
//! t = x / s                                  from -q to q, which the layer reads as integers of scale 1
//! y = f(t) s + b
//! ```
//!
//! where q is the greatest integer and tiny the least positive normal number. What every sample gives so depends on no
//! other of the batch. All of it is in the forms that `prepare` leaves as they are: a file that is read again is prepared
//! again, and must give the same bits.
//!
//! - Where all of x is 0, s is tiny: t is 0 / tiny = 0, and y is the bias.
//! - Where max |x| (1/q) is below the normal numbers, it has too few bits to divide by: t could be up to half again as much
//!   as q, or infinite. By tiny, t is at most q, and off by half of tiny at most, as with any scale.
//! - A NaN in x is one in s, as the maximum of NaN and anything is NaN: all of y is NaN.
//! - With an infinity in x, s is one too. What is finite becomes 0, the infinity a NaN, of which there is no integer but
//!   0 either, and y is 0 times infinity, all NaN.

use crate::config::{Config, Mode, Scopes};
use crate::prepare::rewrite;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{Customs, DType, Graph, Kind, NodeId, Op, Result, Tensor, ValueId, infer};
use std::collections::HashMap;

/// The observer of what is in units of its scale already.
pub const OBSERVER: &str = "whole";

/// Spells it out for the layers of that mode; gives the nodes that it adds, and why they stay float.
pub fn spell(g: &mut Graph, config: &Config, scopes: &Scopes) -> Result<HashMap<NodeId, String>> {
    let mut added = HashMap::new();
    for id in g.order().to_vec() {
        let node = g.node(id);
        let wanted = scopes.mode(config, id, &node.op) == Mode::Dynamic && scopes.skipped(id).is_none();
        if wanted && fits(g, id) {
            let most = greatest(config, scopes, id, g)?;
            around(g, id, most, &mut added)?;
        }
    }
    Ok(added)
}

/// What makes a step the scale.
const LEAST: Op = Op::Clip { min: f32::MIN_POSITIVE, max: f32::INFINITY };

/// Whether a value is in units of a scale that was found while running: sums of it are no reals that a bias would be added
/// to, and its correction would be another at every run.
pub fn is_in_units(g: &Graph, v: ValueId) -> bool {
    let producer = |v: ValueId| rewrite::producer(g, v).map(|(_, node)| node);
    let Some(scale) = producer(v).and_then(|n| rewrite::binary(n, Binary::Div)).map(|(_, scale)| scale) else {
        return false;
    };
    producer(scale).is_some_and(|n| n.op == LEAST)
}

/// Whether a node is a layer of floats with known weights and bias.
fn fits(g: &Graph, id: NodeId) -> bool {
    let node = g.node(id);
    let known = |i: usize| node.input(i).is_none_or(|v| g.constant(v).is_some());
    let floats = node.operands().all(|v| g.ty(v).dtype == DType::F32);
    let computed = node.input(0).is_some_and(|v| g.constant(v).is_none());
    matches!(node.op, Op::Conv(_) | Op::MatMul(_))
        && node.input(1).is_some()
        && known(1)
        && known(2)
        && floats
        && computed
}

/// The greatest integer of what a layer reads.
fn greatest(config: &Config, scopes: &Scopes, id: NodeId, g: &Graph) -> Result<f32> {
    let wish = scopes.spec(config, id, &g.node(id).op, Kind::Input, &crate::rules::dynamic_input())?;
    Ok(wish.spec.request(Kind::Input, 0, 0).range().1 as f32)
}

/// Puts the arithmetic of the scale around a layer.
fn around(g: &mut Graph, id: NodeId, most: f32, added: &mut HashMap<NodeId, String>) -> Result<()> {
    let node = g.node(id).clone();
    let (Some(x), Some(y)) = (node.input(0), rewrite::output(&node)) else { return Ok(()) };
    let name = g.value(y).name.clone();
    let rank = g.ty(x).shape.rank() as i64;
    let axes = if matches!(node.op, Op::Conv(_)) { (1..rank).collect() } else { vec![rank - 1] };
    let mut add =
        |g: &mut Graph, suffix: &str, op: Op, operands: &[ValueId], behind: Option<NodeId>| -> Result<ValueId> {
            let types: Vec<_> = operands.iter().map(|v| Some(g.ty(*v))).collect();
            let types = infer::infer(&op, &types, &[], &Customs::default())?;
            let named = format!("{name}.{suffix}");
            let outputs: Vec<(&str, _)> = types.into_iter().map(|ty| (named.as_str(), ty)).collect();
            let operands = operands.iter().copied().map(Some).collect();
            let made = match behind {
                Some(behind) => g.add_node_after(behind, &named, op, operands, &outputs),
                None => g.add_node_before(id, &named, op, operands, &outputs),
            };
            added.insert(made, "mode = \"dynamic\": the scale of what the layer reads is found while running".into());
            rewrite::output(g.node(made)).ok_or_else(|| lowbit_ir::Error::new("expected one output"))
        };
    let number = |g: &mut Graph, suffix: &str, x: f32| g.add_const(&format!("{name}.{suffix}"), Tensor::scalar(x));
    let part = number(g, "part", 1.0 / most);
    let sizes = add(g, "sizes", Op::Unary(Unary::Abs), &[x], None)?;
    let largest = Op::Reduce(Reduce { kind: ReduceKind::Max, axes, keep_dims: true });
    let largest = add(g, "largest", largest, &[sizes], None)?;
    let step = add(g, "step", Op::Binary(Binary::Mul), &[largest, part], None)?;
    let scale = add(g, "scale", LEAST, &[step], None)?;
    let scaled = add(g, "scaled", Op::Binary(Binary::Div), &[x, scale], None)?;
    g.set_input(id, 0, Some(scaled));
    let bias = node.input(2);
    if bias.is_some() {
        g.set_input(id, 2, None);
    }
    let readers = g.users().of(y).to_vec();
    let mut result = add(g, "real", Op::Binary(Binary::Mul), &[y, scale], Some(id))?;
    if let Some(bias) = bias {
        let bias = channels(g, &node.op, y, bias)?;
        let behind = g.producer(result);
        result = add(g, "biased", Op::Binary(Binary::Add), &[result, bias], behind)?;
    }
    for (reader, i) in readers {
        g.set_input(reader, i, Some(result));
    }
    g.outputs.iter_mut().filter(|v| **v == y).for_each(|v| *v = result);
    g.take_name(result, y);
    Ok(())
}

/// A bias that is added along the channels of y.
fn channels(g: &mut Graph, op: &Op, y: ValueId, bias: ValueId) -> Result<ValueId> {
    let after = if matches!(op, Op::Conv(_)) { g.ty(y).shape.rank().saturating_sub(2) } else { 0 };
    match g.constant(bias).cloned() {
        Some(tensor) if after > 0 => {
            let dims: Vec<usize> = tensor.dims().iter().copied().chain(std::iter::repeat_n(1, after)).collect();
            let name = g.value(bias).name.clone();
            let tensor = tensor.reshaped(&dims)?;
            Ok(g.add_const(&name, tensor))
        }
        Some(_) | None => Ok(bias),
    }
}
