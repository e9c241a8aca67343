//! Bias correction: quantized weights shift the mean of a channel; the bias takes the shift back.
//!
//! `bias-correction` compares each layer with its quantized form on the float network's activations, all layers in one
//! pass over the samples. `bias-correction-sequential` compares the two networks as a whole, layer after layer, so that
//! what earlier layers still get wrong is corrected too. That takes a pass for every layer: two layers corrected from
//! one pass would both take back what the first of them hands on.

use super::{Correction, Refine, Refinement, pairs};
use crate::calibrate::source;
use crate::each_sample::{Work, each_sample, no_pause};
use crate::prepare::rewrite;
use lowbit_ir::{Error, Graph, NodeId, Op, Result, Tensor, Type, ValueId};

pub const LOCAL: Refinement = Refinement {
    name: "bias-correction",
    summary: "each layer's mean error on the float network's activations goes into its bias; one pass",
    run: local,
};

pub const SEQUENTIAL: Refinement = Refinement {
    name: "bias-correction-sequential",
    summary: "each layer's mean error in the quantized network goes into its bias, first to last; a pass each",
    run: sequential,
};

fn local(g: &mut Graph, cx: &Refine) -> Result<Vec<Correction>> {
    let layers = pairs::layers(cx.float, g);
    let mut paired = cx.float.clone();
    let mut taps = Vec::new();
    for pair in &layers {
        let made = paired.order().len();
        let shadow = add_shadow(&mut paired, pair, g)?;
        let op = paired.node(pair.float).op.clone();
        let Some(y) = rewrite::output(paired.node(pair.float)) else { continue };
        taps.push(pairs::mean_per_channel(&mut paired, &op, y)?);
        taps.push(pairs::mean_per_channel(&mut paired, &op, shadow)?);
        // At the end of the order all activations would have to be kept for them.
        paired.move_behind(pair.float, made);
    }
    let means = means(&paired, &taps, cx)?;
    layers
        .iter()
        .zip(means.chunks_exact(2))
        .map(|(pair, means)| correct(g, pair.quantized, &means[0], &means[1], LOCAL.name))
        .collect()
}

/// Adds the quantized form of a layer beside it, on the same input; gives its result.
fn add_shadow(paired: &mut Graph, pair: &pairs::Pair, quantized: &Graph) -> Result<ValueId> {
    let layer = paired.node(pair.float);
    let (op, name) = (layer.op.clone(), layer.name.clone());
    let x = layer.input(0);
    let q = quantized.node(pair.quantized).input(0).and_then(|x| source(quantized, x));
    let (Some(x), Some(q)) = (x, q) else { return Err(Error::new("expected a quantized input").at_node(name)) };
    let declared: Type = quantized.ty(q).with_shape(paired.ty(x).shape.clone());
    // Integers that were moved here, or entered the model, have no Quantize of their own.
    let quantize = match rewrite::producer(quantized, q).map(|(_, n)| &n.op) {
        Some(Op::Quantize { rounding }) => Op::Quantize { rounding: *rounding },
        Some(_) | None => Op::Quantize { rounding: lowbit_arithmetic::Rounding::HalfEven },
    };
    let q = lowbit_ir::infer::apply_as(paired, &format!("{name}.shadow.q"), quantize, &[Some(x)], declared)?;
    let x = lowbit_ir::infer::apply(paired, &format!("{name}.shadow.dq"), Op::Dequantize, &[Some(q)])?;
    let mut inputs = vec![Some(x)];
    for (i, what) in [(1, "weight"), (2, "bias")] {
        let Some(v) = quantized.node(pair.quantized).input(i) else { continue };
        inputs.push(Some(add_constant(paired, &format!("{name}.shadow.{what}"), quantized, v)?));
    }
    lowbit_ir::infer::apply(paired, &format!("{name}.shadow"), op, &inputs)
}

/// Adds a constant of another graph: floats, or integers with a Dequantize, whose bytes both graphs share.
fn add_constant(to: &mut Graph, name: &str, from: &Graph, v: ValueId) -> Result<ValueId> {
    let integers = source(from, v);
    let tensor = from.constant(integers.unwrap_or(v));
    let tensor = tensor.ok_or_else(|| Error::new("expected a constant").at_value(&from.value(v).name))?;
    match integers {
        Some(_) => {
            let added = to.add_const(&format!("{name}.q"), tensor.clone());
            lowbit_ir::infer::apply(to, name, Op::Dequantize, &[Some(added)])
        }
        None => Ok(to.add_const(name, Tensor::from_f32(tensor.dims(), tensor.floats()?.into_owned())?)),
    }
}

fn sequential(g: &mut Graph, cx: &Refine) -> Result<Vec<Correction>> {
    let layers = pairs::layers(cx.float, g);
    let (float, taps) = with_means(cx.float, layers.iter().map(|p| p.float))?;
    let targets = means(&float, &taps, cx)?;
    let mut corrections = Vec::new();
    for (pair, target) in layers.iter().zip(&targets) {
        let (graph, taps) = with_means(g, std::iter::once(pair.quantized))?;
        let found = means(&graph, &taps, cx)?;
        for found in &found {
            corrections.push(correct(g, pair.quantized, target, found, SEQUENTIAL.name)?);
        }
    }
    Ok(corrections)
}

/// The graph with the mean of each of these layers' results, to be tapped.
fn with_means(g: &Graph, layers: impl Iterator<Item = NodeId>) -> Result<(Graph, Vec<ValueId>)> {
    let mut g = g.clone();
    let mut taps = Vec::new();
    for id in layers {
        let (op, y) = (g.node(id).op.clone(), rewrite::output(g.node(id)));
        let y = y.ok_or_else(|| Error::new("expected a result").at_node(&g.node(id).name))?;
        let made = g.order().len();
        taps.push(pairs::mean_per_channel(&mut g, &op, y)?);
        g.move_behind(id, made);
    }
    Ok((g, taps))
}

/// The mean of each tap over the samples, channel by channel; channels are a tap's last axis.
fn means(graph: &Graph, taps: &[ValueId], cx: &Refine) -> Result<Vec<Vec<f64>>> {
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); taps.len()];
    let work =
        Work { engine: cx.engine, graph, taps, samples: cx.samples, limit: cx.limit, skip: 0, doing: "correcting on" };
    let mut add = |taps: Vec<Tensor>| {
        for (sum, tap) in sums.iter_mut().zip(&taps) {
            let data = tap.floats()?;
            let channels = tap.dims().last().copied().unwrap_or(1).max(1);
            let rows = (data.len() / channels) as f64;
            sum.resize(channels, 0.0);
            for row in data.chunks_exact(channels) {
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x) / rows);
            }
        }
        Ok(())
    };
    let count = each_sample(&work, &|_, outputs| Ok(outputs.taps.clone()), &mut add, &mut no_pause)?;
    if count == 0 {
        return Err(Error::new("expected at least one sample to correct on, found none"));
    }
    Ok(sums.into_iter().map(|sum| sum.into_iter().map(|s| s / count as f64).collect()).collect())
}

fn correct(g: &mut Graph, layer: NodeId, target: &[f64], found: &[f64], refinement: &str) -> Result<Correction> {
    let delta: Vec<f64> = target.iter().zip(found).map(|(t, f)| t - f).collect();
    let node = g.node(layer).name.clone();
    let largest = pairs::add_to_bias(g, layer, &delta).map_err(|e| e.at_node(&node))?;
    Ok(Correction { node, refinement: refinement.into(), largest })
}
