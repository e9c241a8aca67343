//! A multiply-accumulate with constant weights, seen as one row of weights and one bias per output channel.

use super::rewrite;
use lowbit_ir::op::{Conv, Layer};
use lowbit_ir::{Error, Graph, NodeId, Op, Result, Tensor};

/// Multiplies the outputs of a Conv or MatMul by `factor` and adds `shift`, channel by channel, through its constants.
pub fn scale_outputs(g: &mut Graph, mac: NodeId, factor: &[f64], shift: &[f64]) -> Result<()> {
    let node = g.node(mac);
    let (Some(w), bias) = (node.input(1), node.input(2)) else {
        return Err(Error::new("expected a weight operand").at_node(node.name.clone()));
    };
    let bias: Vec<f64> = match bias {
        Some(b) => rewrite::floats(g, b).unwrap_or_default().iter().map(|b| f64::from(*b)).collect(),
        None => vec![0.0; factor.len()],
    };
    let moved = bias.iter().zip(factor).zip(shift).map(|((b, f), s)| (b * f + s) as f32).collect();
    if factor.iter().any(|f| *f != 1.0) {
        let axis = output_axis(&node.op, g.ty(w).shape.rank());
        let scaled = scale_along(g.constant(w), axis, factor)?;
        rewrite::replace_constant(g, mac, 1, scaled);
    }
    rewrite::replace_constant(g, mac, 2, Tensor::from_f32(&[factor.len()], moved)?);
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

/// Number of output channels of a Conv or of columns of a MatMul.
pub fn outputs(g: &Graph, mac: NodeId) -> Option<usize> {
    let node = g.node(mac);
    let dims = g.constant(node.input(1)?)?.dims();
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
