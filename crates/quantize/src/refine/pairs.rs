//! The layers that the float graph and the calibrated graph have in common, and the means of their results.

use crate::calibrate::source;
use crate::dynamic;
use crate::prepare::{linear, rewrite};
use lowbit_ir::op::{Reduce, ReduceKind};
use lowbit_ir::{Graph, NodeId, Op, Result, Tensor, ValueId, infer};

/// A layer in both graphs.
pub struct Pair {
    /// In the float graph.
    pub float: NodeId,
    /// In the calibrated graph.
    pub quantized: NodeId,
}

/// Layers with constant weights that are quantized, in order.
pub fn layers(float: &Graph, quantized: &Graph) -> Vec<Pair> {
    let named = |name: &str| float.nodes().find(|(_, n)| n.name == name).map(|(id, _)| id);
    quantized
        .nodes()
        .filter(|(_, n)| n.op.is_layer())
        .filter(|(_, n)| n.input(0).and_then(|x| source(quantized, x)).is_some())
        .filter(|(_, n)| n.input(1).and_then(|w| source(quantized, w)).is_some_and(|w| quantized.constant(w).is_some()))
        .filter(|(_, n)| {
            let quantized_from = n.input(0).and_then(|x| source(quantized, x)).and_then(|q| quantized.producer(q));
            let read = quantized_from.and_then(|id| quantized.node(id).input(0));
            !read.is_some_and(|x| dynamic::is_in_units(quantized, x))
        })
        // The correction goes into an integer bias, which has the scale of an accumulator.
        .filter(|(_, n)| {
            let behind = |i: usize| n.input(i).and_then(|v| source(quantized, v)).map(|v| quantized.ty(v));
            behind(0).zip(behind(1)).is_some_and(|(x, w)| infer::accumulator_scales(&n.op, x, w).is_ok())
        })
        .filter_map(|(id, n)| Some(Pair { float: named(&n.name)?, quantized: id }))
        .collect()
}

/// Adds a node that gives the mean of a layer's result per output channel, for each of a batch.
pub fn mean_per_channel(g: &mut Graph, op: &Op, y: ValueId) -> Result<ValueId> {
    let rank = g.ty(y).shape.rank();
    let channel = linear::channel_axis(op, rank);
    let axes: Vec<i64> = (1..rank).filter(|a| *a != channel).map(|a| a as i64).collect();
    // An empty list would stand for all axes.
    if axes.is_empty() {
        return Ok(y);
    }
    let name = format!("{}.mean", g.value(y).name);
    infer::apply(g, &name, Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims: false }), &[Some(y)])
}

/// The constants behind the operands of a calibrated layer, as floats: weights, and the bias if there is one.
pub fn constants(g: &Graph, layer: NodeId) -> Result<(Tensor, Option<Tensor>)> {
    let real = |v: ValueId| {
        let t = source(g, v).or(Some(v)).and_then(|q| g.constant(q));
        let t = t.ok_or_else(|| lowbit_ir::Error::new("expected a constant").at_value(&g.value(v).name))?;
        Tensor::from_f32(t.dims(), t.reals()?.into_owned())
    };
    let node = g.node(layer);
    let weights = node.input(1).ok_or_else(|| lowbit_ir::Error::new("expected weights").at_node(&node.name))?;
    Ok((real(weights)?, node.input(2).map(real).transpose()?))
}

/// Adds `delta`, a number for every output channel, to the integer bias of a calibrated layer, or gives it one; tells the
/// greatest change.
pub fn add_to_bias(g: &mut Graph, layer: NodeId, delta: &[f64]) -> Result<f32> {
    let node = g.node(layer);
    let name = format!("{}.bias", node.name);
    let op = node.op.clone();
    let operand = |i: usize| node.input(i).and_then(|v| source(g, v));
    let (Some(x), Some(w)) = (operand(0), operand(1)) else { return Ok(0.0) };
    let old_operand = node.input(2);
    let old = match old_operand {
        Some(_) => constants(g, layer)?.1.map(|t| t.floats().map(|f| f.into_owned())).transpose()?.unwrap_or_default(),
        None => vec![0.0; delta.len()],
    };
    let sum: Vec<f64> = old.iter().zip(delta).map(|(b, d)| f64::from(*b) + d).collect();
    let integers = crate::calibrate::integer_bias(g, &op, x, w, &sum)?;
    let ty = lowbit_ir::Type::f32(integers.ty().shape.clone());
    match old_operand.and_then(|v| source(g, v)) {
        // Whoever shares this bias keeps it.
        Some(q) if rewrite::sole_user(g, q).is_some() => g.set_const(q, integers),
        Some(_) | None => {
            let q = g.add_const(&format!("{name}.q"), integers);
            let dq = format!("{name}.dq");
            let node = g.add_node_before(layer, &dq, Op::Dequantize, vec![Some(q)], &[(&dq, ty)]);
            let dq = rewrite::output(g.node(node));
            g.set_input(layer, 2, dq);
        }
    }
    Ok(delta.iter().map(|d| d.abs()).fold(0.0, f64::max) as f32)
}
