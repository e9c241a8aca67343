//! A multiply-accumulate with constant weights, seen as one row of weights and one bias per output channel.

use super::rewrite;
use crate::calibrate::source;
use lowbit_ir::op::{Conv, Layer};
use lowbit_ir::{Error, Granularity, Graph, NodeId, Op, Quant, Result, Tensor, Type, ValueId};

/// Multiplies the outputs of a Conv or MatMul by `factor` and adds `shift`, channel by channel, through its constants;
/// for layers that [`takes_factors`].
pub fn scale_outputs(g: &mut Graph, mac: NodeId, factor: &[f64], shift: &[f64]) -> Result<()> {
    let node = g.node(mac);
    let (Some(w), bias) = (node.input(1), node.input(2)) else {
        return Err(Error::new("expected a weight operand").at_node(node.name.clone()));
    };
    let bias: Vec<f64> = match bias {
        Some(b) => constant_reals(g, b).unwrap_or_default().iter().map(|b| f64::from(*b)).collect(),
        None => vec![0.0; factor.len()],
    };
    let moved = bias.iter().zip(factor).zip(shift).map(|((b, f), s)| (b * f + s) as f32).collect();
    if factor.iter().any(|f| *f != 1.0) {
        let axis = output_axis(&node.op, g.ty(w).shape.rank());
        match source(g, w) {
            Some(q) => {
                let scaled = scale_integers(g, q, axis, factor)
                    .ok_or_else(|| Error::new("expected integer weights whose scales take the factors"))?;
                replace_integers(g, mac, q, scaled)?;
            }
            None => {
                let scaled = scale_along(g.constant(w), axis, factor)?;
                rewrite::replace_constant(g, mac, 1, scaled);
            }
        }
    }
    let moved = Tensor::from_f32(&[factor.len()], moved)?;
    match g.node(mac).input(2).filter(|b| g.constant(*b).is_none()) {
        Some(real) => {
            let name = g.value(real).name.clone();
            let new = g.add_const(&name, moved);
            g.set_input(mac, 2, Some(new));
            g.sweep();
        }
        None => rewrite::replace_constant(g, mac, 2, moved),
    }
    Ok(())
}

/// The elements of a constant: floats, or integers behind a Dequantize.
fn constant_reals(g: &Graph, v: ValueId) -> Option<Vec<f32>> {
    match source(g, v) {
        Some(q) => g.constant(q)?.reals().ok().map(|r| r.to_vec()),
        None => rewrite::floats(g, v),
    }
}

/// Integers times one factor an output channel: the scales take it. A negative factor turns the integers of its channel
/// around, a factor of zero makes them zero. `None` if a scale leaves what a float holds in full precision, or if the
/// weights have scales along another axis.
fn scale_integers(g: &Graph, q: ValueId, axis: usize, factor: &[f64]) -> Option<Tensor> {
    let tensor = g.constant(q)?;
    let quant = tensor.ty().quant.as_ref()?;
    match quant.granularity {
        _ if quant.is_per_tensor() => {}
        Granularity::Channel { axis: found } if found == axis && quant.scale.len() == factor.len() => {}
        Granularity::Tensor | Granularity::Channel { .. } | Granularity::Block { .. } => return None,
    }
    let count = tensor.dims().get(axis).copied().filter(|n| *n == factor.len())?;
    let inner: usize = tensor.dims().iter().skip(axis + 1).product::<usize>().max(1);
    let zero = |c: usize| quant.zero_point.get(if quant.is_per_tensor() { 0 } else { c }).copied().map_or(0, i64::from);
    let mut ints = tensor.ints().ok()?;
    // Turned around its zero point a channel may leave the range by one; turned around the middle of the range it never
    // does, and its zero point turns with it.
    let mut around: Vec<i64> = (0..count).map(|c| 2 * zero(c)).collect();
    for (i, q) in ints.iter().enumerate() {
        let sum = around.get_mut(i / inner % count)?;
        if !(quant.qmin..=quant.qmax).contains(&(*sum - q)) {
            *sum = quant.qmin + quant.qmax;
        }
    }
    let turned = |c: usize, q: i64| match factor.get(c) {
        Some(f) if *f < 0.0 => around.get(c).map_or(q, |sum| sum - q),
        Some(f) if *f == 0.0 => zero(c).clamp(quant.qmin, quant.qmax),
        Some(_) | None => q,
    };
    for (i, q) in ints.iter_mut().enumerate() {
        *q = turned(i / inner % count, *q);
    }
    let scaled = |(c, f): (usize, &f64)| {
        let old = quant.scale_at(c)?;
        let new = if *f == 0.0 { old } else { (f64::from(old) * f.abs()) as f32 };
        new.is_normal().then_some(new)
    };
    let scale: Vec<f32> = factor.iter().enumerate().map(scaled).collect::<Option<_>>()?;
    let zero_point = (0..count).map(|c| i32::try_from(turned(c, zero(c))).ok()).collect::<Option<Vec<i32>>>()?;
    let granularity = Granularity::Channel { axis };
    let quant = Quant { scale: scale.into(), zero_point: zero_point.into(), granularity, ..quant.clone() };
    Tensor::from_ints(Type { quant: Some(quant), ..tensor.ty().clone() }, &ints).ok()
}

/// Makes a layer read other integers as its weights; other readers of the old ones keep them.
fn replace_integers(g: &mut Graph, mac: NodeId, old: ValueId, tensor: Tensor) -> Result<()> {
    let Some(real) = g.node(mac).input(1) else { return Err(Error::new("expected a weight operand")) };
    if rewrite::sole_user(g, real) == Some(mac) && rewrite::sole_user(g, old) == g.producer(real) {
        g.set_const(old, tensor);
        return Ok(());
    }
    let shape = tensor.ty().shape.clone();
    let name = g.value(old).name.clone();
    let new = g.add_const(&name, tensor);
    let name = g.value(real).name.clone();
    let node = g.add_node_before(mac, &name, Op::Dequantize, vec![Some(new)], &[(&name, Type::f32(shape))]);
    let new_real = rewrite::output(g.node(node));
    g.set_input(mac, 1, new_real);
    g.sweep();
    Ok(())
}

/// Makes a Conv (without padding) or MatMul take `x` where it took `x * factor + shift`, input channel by channel.
pub fn scale_inputs(g: &mut Graph, mac: NodeId, factor: &[f64], shift: &[f64]) -> Result<()> {
    let node = g.node(mac);
    let w = node.input(1).and_then(|w| g.constant(w)).ok_or_else(|| Error::new("expected constant weights"))?;
    let bias = node.input(2).and_then(|b| rewrite::floats(g, b));
    let (data, dims) = (w.floats()?.into_owned(), w.dims().to_vec());
    let map = InputMap::new(&node.op, &dims);
    let mut sums = vec![0.0f64; map.outputs];
    let mut scaled = Vec::with_capacity(data.len());
    for (i, w) in data.iter().enumerate() {
        let (output, input) = map.of(i);
        let at = |v: &[f64]| v.get(input).copied().unwrap_or(0.0);
        sums[output] += f64::from(*w) * at(shift);
        scaled.push((f64::from(*w) * at(factor)) as f32);
    }
    let bias = bias.unwrap_or_else(|| vec![0.0; map.outputs]);
    let moved = bias.iter().zip(sums).map(|(b, s)| (f64::from(*b) + s) as f32).collect::<Vec<_>>();
    rewrite::replace_constant(g, mac, 1, Tensor::from_f32(&dims, scaled)?);
    rewrite::replace_constant(g, mac, 2, Tensor::from_f32(&[moved.len()], moved)?);
    Ok(())
}

/// Whether weights are constant floats and the bias is one or absent, so that the above apply.
pub fn has_constants(g: &Graph, mac: NodeId) -> bool {
    let node = g.node(mac);
    let is_float = |v| rewrite::floats(g, v).is_some();
    let kind = match node.op.layer() {
        Some(Layer::Conv(_)) => true,
        // Batched weights have one matrix a batch entry, and one bias for all.
        Some(Layer::MatMul(_)) => node.input(1).is_some_and(|w| g.ty(w).shape.rank() == 2),
        None => false,
    };
    kind && node.input(1).is_some_and(is_float) && node.input(2).is_none_or(is_float)
}

/// Whether [`scale_outputs`] can multiply a layer by these factors: its constants are floats, or integers behind a
/// Dequantize whose scales take them.
pub fn takes_factors(g: &Graph, mac: NodeId, factor: &[f64]) -> bool {
    let node = g.node(mac);
    let Some(w) = node.input(1) else { return false };
    let is_layer = match &node.op {
        Op::Conv(_) => true,
        Op::MatMul(_) => g.ty(w).shape.rank() == 2,
        _ => false,
    };
    let axis = output_axis(&node.op, g.ty(w).shape.rank());
    let alone = factor.iter().all(|f| *f == 1.0);
    let weights = match source(g, w) {
        Some(q) => g.constant(q).is_some() && (alone || scale_integers(g, q, axis, factor).is_some()),
        None => rewrite::floats(g, w).is_some(),
    };
    is_layer && weights && node.input(2).is_none_or(|b| constant_reals(g, b).is_some())
}

/// Number of output channels of a Conv or of columns of a MatMul.
pub fn outputs(g: &Graph, mac: NodeId) -> Option<usize> {
    let node = g.node(mac);
    let w = node.input(1)?;
    let dims = g.constant(source(g, w).unwrap_or(w))?.dims();
    dims.get(output_axis(&node.op, dims.len())).copied()
}

/// The axis of the weights along which output channels lie.
pub fn output_axis(op: &Op, rank: usize) -> usize {
    match op.layer() {
        Some(Layer::MatMul(m)) if m.trans_b => rank.saturating_sub(2),
        Some(Layer::MatMul(_)) => rank.saturating_sub(1),
        Some(Layer::Conv(_)) | None => 0,
    }
}

/// The axis of the result along which output channels lie.
pub fn channel_axis(op: &Op, rank: usize) -> usize {
    match op.layer() {
        Some(Layer::MatMul(_)) => rank.saturating_sub(1),
        Some(Layer::Conv(_)) | None => 1,
    }
}

fn scale_along(t: Option<&Tensor>, axis: usize, factor: &[f64]) -> Result<Tensor> {
    let t = t.ok_or_else(|| Error::new("expected constant weights"))?;
    let inner: usize = t.dims().iter().skip(axis + 1).product();
    let data = t.floats()?;
    let at = |i: usize| factor.get((i / inner.max(1)) % factor.len().max(1)).copied().unwrap_or(1.0);
    let scaled = data.iter().enumerate().map(|(i, w)| (f64::from(*w) * at(i)) as f32).collect();
    Tensor::from_floats(t.ty().clone(), scaled)
}

/// Which output and input channel a weight joins.
pub(crate) struct InputMap {
    pub(crate) outputs: usize,
    /// Elements of one input channel of one output channel (Conv), or columns (MatMul).
    inner: usize,
    /// Input channels of a group.
    per_group: usize,
    /// Output channels of a group.
    group_outputs: usize,
    matrix: Option<bool>,
}

impl InputMap {
    pub(crate) fn new(op: &Op, dims: &[usize]) -> Self {
        let dim = |i: usize| dims.get(i).copied().unwrap_or(1).max(1);
        let trans_b = match op.layer() {
            Some(Layer::Conv(Conv { group, .. })) => {
                return InputMap {
                    outputs: dim(0),
                    inner: dims.iter().skip(2).product::<usize>().max(1),
                    per_group: dim(1),
                    group_outputs: (dim(0) / (*group).max(1)).max(1),
                    matrix: None,
                };
            }
            Some(Layer::MatMul(m)) => m.trans_b,
            None => false,
        };
        let outputs = if trans_b { dim(0) } else { dim(1) };
        InputMap { outputs, inner: dim(1), per_group: 1, group_outputs: 1, matrix: Some(trans_b) }
    }

    pub(crate) fn of(&self, i: usize) -> (usize, usize) {
        match self.matrix {
            Some(true) => (i / self.inner, i % self.inner),
            Some(false) => (i % self.inner, i / self.inner),
            None => {
                let (output, channel) = (i / self.inner / self.per_group, i / self.inner % self.per_group);
                (output, output / self.group_outputs * self.per_group + channel)
            }
        }
    }
}
