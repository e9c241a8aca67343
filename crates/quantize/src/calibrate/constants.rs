//! Constants as integers: weights per output channel, biases at the accumulator's scale.

use super::{Choice, Chosen, Parameters, insert, is_weight, spec};
use crate::config::{By, Spec};
use crate::observe::{self, Affine, Bounds, Fit, Observers, Range};
use crate::origin::BIAS;
use crate::prepare::rewrite;
use crate::share;
use lowbit_arithmetic::quantize_to_bytes;
use lowbit_ir::request::Sharing;
use lowbit_ir::{DType, Error, Granularity, Graph, NodeId, Op, Quant, Request, Result, Tensor, Type, ValueId, infer};
use std::borrow::Cow;

/// Largest magnitude of an integer bias: half of what 32 bits hold, so that the products have room.
const LARGEST_BIAS: f64 = (1u64 << 30) as f64;

/// Chooses scales for all weights, on so many threads.
pub fn choose_weights(threads: usize, g: &Graph, observers: &Observers, chosen: &mut Parameters) -> Result<()> {
    let weights: Vec<NodeId> = g.order().iter().copied().filter(|id| is_weight(g, *id)).collect();
    let choose = |id: &NodeId| {
        let (Some(spec), Some(w)) = (spec(g, *id), g.node(*id).input(0)) else { return Ok(None) };
        let choice = choose_weight(g, (*id, w), spec, observers, chosen);
        choice.map(|choice| Some((*id, choice))).map_err(|e| e.at_value(&g.value(w).name))
    };
    let choices = share::map(threads, &weights, &choose)?;
    chosen.of.extend(choices.into_iter().flatten());
    Ok(())
}

fn choose_weight(
    g: &Graph,
    (id, w): (NodeId, ValueId),
    spec: &Request,
    observers: &Observers,
    chosen: &Parameters,
) -> Result<Choice> {
    let dims = g.ty(w).shape.require()?;
    let data = g.constant(w).filter(|t| t.dtype().is_float()).map(Tensor::floats).transpose()?.unwrap_or_default();
    let not_finite = |_| match data.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Error::new("expected finite weights, found others"),
        Some((at, bad)) => Error::new(format!("expected finite weights, found {bad} (element {at})"))
            .hint("the model is damaged or diverged in training"),
    };
    let groups = insert::shares(&data, &dims, spec.sharing);
    let extremes = groups.iter().map(|w| extremes(w)).collect::<Result<Vec<Range>>>().map_err(not_finite)?;
    let observer = observers.find_for_weights(&spec.observer)?;
    let choose = |w: &Cow<[f32]>| Ok(observe::choose(observer.range_of_weights(w, spec)?, Bounds::NONE, spec));
    let mut affines = groups.iter().map(choose).collect::<Result<Vec<Affine>>>()?;
    // A channel of zeros takes any scale; one like its neighbours' keeps its bias precise.
    let is_zero = |r: &Range| r.low == 0.0 && r.high == 0.0;
    let of_others = affines.iter().zip(&extremes).filter(|(_, r)| !is_zero(r)).map(|(a, _)| a.scale);
    let largest = of_others.fold(0.0, f32::max);
    for (a, _) in affines.iter_mut().zip(&extremes).filter(|(_, r)| largest > 0.0 && is_zero(r)) {
        a.scale = largest;
    }
    let mut widened_for_bias = 0;
    // A block is no channel, and the sums of blocks have a step of their own.
    let by_block = matches!(spec.sharing, Sharing::Block { .. });
    let least = if by_block { Vec::new() } else { least_scales(g, id, affines.len(), chosen)? };
    for (channel, least) in least.into_iter().enumerate() {
        if let Some(a) = affines.get_mut(channel).filter(|a| f64::from(a.scale) < least) {
            a.scale = match spec.scale {
                lowbit_ir::request::ScaleForm::Float => (least as f32).next_up(),
                lowbit_ir::request::ScaleForm::PowerOfTwo => least.log2().ceil().exp2() as f32,
            };
            widened_for_bias += 1;
        }
    }
    let too_small = extremes.iter().filter(|r| observe::fit(**r, spec) == Fit::TooSmall).count();
    let seen = extremes.iter().fold((0.0f32, 0.0f32), |(low, high), r| (low.min(r.low), high.max(r.high)));
    let clipped = (beyond(&groups, &affines), data.len() as u64);
    Ok(Choice { affines, seen, clipped, limited_by: None, widened_for_bias, too_small, shares_with: None })
}

/// How many weights are beyond the integers by more than half a step.
fn beyond(groups: &[Cow<[f32]>], affines: &[Affine]) -> u64 {
    let outside = |(group, a): (&Cow<[f32]>, &Affine)| {
        let real = |q: i32, half: f64| ((f64::from(q) - f64::from(a.zero_point) + half) * f64::from(a.scale)) as f32;
        let (least, greatest) = (real(a.qmin, -0.5), real(a.qmax, 0.5));
        group.iter().filter(|w| **w < least || **w > greatest).count() as u64
    };
    groups.iter().zip(affines).map(outside).sum()
}

/// Least and greatest weight, zero included; an error if one is not finite.
fn extremes(weights: &[f32]) -> Result<Range> {
    observe::ends(weights).map(|(least, greatest)| Range { low: least.min(0.0), high: greatest.max(0.0) })
}

/// For each channel the least weight scale with which every reader's bias fits its integer.
fn least_scales(g: &Graph, placeholder: NodeId, count: usize, chosen: &Parameters) -> Result<Vec<f64>> {
    let mut least = vec![0.0f64; count];
    let narrow = rewrite::output(g.node(placeholder));
    for (_, layer) in g.nodes().filter(|(_, n)| n.inputs.get(1).copied().flatten() == narrow) {
        let bias = layer.input(2).and_then(|b| rewrite::floats(g, b)).unwrap_or_default();
        if let Some((at, bad)) = bias.iter().enumerate().find(|(_, b)| !b.is_finite()) {
            return Err(Error::new(format!("expected a finite bias, found {bad} (element {at})")).at_node(&layer.name));
        }
        let x = layer.input(0).and_then(|x| g.producer(x)).and_then(|p| chosen.of.get(&p)?.affines.first());
        let Some(x) = x else { continue };
        for (i, b) in bias.iter().enumerate() {
            let needed = f64::from(b.abs()) / (f64::from(x.scale) * LARGEST_BIAS);
            if let Some(l) = least.get_mut(i.min(count.saturating_sub(1))) {
                *l = l.max(needed);
            }
        }
    }
    Ok(least)
}

/// A float constant as integers of this type.
pub fn quantize_tensor(t: &Tensor, ty: &Type, spec: &Request) -> Result<Tensor> {
    let q = ty.quant()?;
    let (data, dims) = (t.floats()?, t.dims());
    let affines = (0..q.scale.len()).map(|i| q.affine_at(i)).collect::<Result<Vec<_>>>()?;
    // Most constants are bytes whose entries have runs of them, which are quantized a run at a time.
    if let (DType::I8 | DType::U8, Some(run)) = (ty.dtype, run_of_entry(q, dims).filter(|run| *run > 0)) {
        let mut bytes = vec![0; data.len()];
        for (i, (part, out)) in data.chunks(run).zip(bytes.chunks_mut(run)).enumerate() {
            if let Some(a) = affines.get(i % affines.len().max(1)) {
                quantize_to_bytes(part, a, spec.rounding, (i * run) as u64, out);
            }
        }
        return Tensor::from_bytes(ty.clone(), bytes.into());
    }
    let entries = lowbit_ir::tensor::entries(q, dims);
    let ints: Vec<i64> = data
        .iter()
        .zip(entries)
        .enumerate()
        .map(|(i, (x, e))| match affines.get(e) {
            Some(a) => i64::from(lowbit_arithmetic::quantize(*x, a, spec.rounding, i as u64)),
            None => 0,
        })
        .collect();
    Tensor::from_ints(ty.clone(), &ints)
}

/// How many neighbours have an entry of `q` in common, before those of the next one; none where that is not so simple.
fn run_of_entry(q: &Quant, dims: &[usize]) -> Option<usize> {
    match q.granularity {
        _ if q.is_per_tensor() => Some(dims.iter().product()),
        Granularity::Channel { axis } if dims.get(axis) == Some(&q.scale.len()) => {
            Some(dims[axis + 1..].iter().product())
        }
        Granularity::Tensor | Granularity::Channel { .. } | Granularity::Block { .. } => None,
    }
}

/// Makes the float biases of layers whose operands are quantized integers at the accumulator's scale.
pub fn quantize_biases(g: &mut Graph) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    rewrite::each_node(g, |g, id| {
        let node = g.node(id);
        let (Some(x), Some(w), Some(b)) = (node.input(0), node.input(1), node.input(2)) else { return Ok(false) };
        let (Some(x), Some(w), Some(bias)) = (source(g, x), source(g, w), rewrite::floats(g, b)) else {
            return Ok(false);
        };
        // What has no accumulator, such as a layer whose weights have scales by block, keeps its float bias.
        if !node.op.is_layer() || infer::accumulator_scales(&node.op, g.ty(x), g.ty(w)).is_err() {
            return Ok(false);
        }
        let rule = node.rule.clone();
        let seen = bias.iter().fold((0.0f32, 0.0f32), |(low, high), b| (low.min(*b), high.max(*b)));
        let bias: Vec<f64> = bias.into_iter().map(f64::from).collect();
        let name = g.value(b).name.clone();
        let at = |e: Error| e.at_value(&name).at_node(&node.name);
        let integers = integer_bias(g, &node.op, x, w, &bias).map_err(at)?;
        let q = g.add_const(&format!("{name}.q"), integers);
        let shape = g.ty(q).shape.clone();
        let dq = format!("{name}.dq");
        let dequantize = g.add_node_before(id, &dq, Op::Dequantize, vec![Some(q)], &[(&dq, Type::f32(shape))]);
        let quant = g.ty(q).quant()?;
        chosen.push(Chosen {
            value: name,
            dtype: g.ty(q).dtype.to_string(),
            integers: (quant.qmin, quant.qmax),
            scales: quant.scale.len(),
            scale: quant.scale.iter().copied().fold(0.0, f32::max),
            least_scale: quant.scale.iter().copied().fold(f32::INFINITY, f32::min),
            zero_point: 0,
            seen,
            observer: "accumulator".into(),
            limited_by: None,
            rule: rule.as_deref().unwrap_or_default().to_string(),
            widened_for_bias: 0,
            too_small: 0,
            kind: BIAS.into(),
            stored_as: g.value(q).name.clone(),
            asked: Spec::default(),
            by: By::new(),
            // What would not fit is an error.
            clipped_percent: Some(0.0),
            shares_with: None,
        });
        g.node_mut(dequantize).rule = rule;
        let dq = rewrite::output(g.node(dequantize));
        g.set_input(id, 2, dq);
        Ok(true)
    })?;
    Ok(chosen)
}

/// The quantized value behind a Dequantize.
pub fn source(g: &Graph, v: ValueId) -> Option<ValueId> {
    match rewrite::producer(g, v) {
        Some((_, n)) if n.op == Op::Dequantize => n.input(0),
        _ => None,
    }
}

/// A bias as integers at the scale of the accumulator of quantized operands `x` and `w`.
pub fn integer_bias(g: &Graph, op: &Op, x: ValueId, w: ValueId, bias: &[f64]) -> Result<Tensor> {
    let (scales, per_channel) = infer::accumulator_scales(op, g.ty(x), g.ty(w))?;
    let at = |i: usize| if per_channel { scales.get(i) } else { scales.first() }.copied().unwrap_or(1.0);
    let mut ints = Vec::with_capacity(bias.len());
    for (i, b) in bias.iter().enumerate() {
        let q = (b / f64::from(at(i))).round_ties_even();
        if q.is_nan() || q.abs() > f64::from(i32::MAX) {
            return Err(Error::new(format!(
                "expected a bias within 32 bits at the scale {:e}, found {b} (channel {i})",
                at(i)
            ))
            .hint("a coarser weight scale makes room"));
        }
        ints.push(q as i64);
    }
    let quant = Quant::accumulator(scales, per_channel.then_some(0), DType::I32);
    Tensor::from_ints(Type::quantized(DType::I32, vec![bias.len()], quant), &ints)
}
