//! BatchNorm is y = x * factor + shift per channel, with constants; a neighbour with weights takes it over.
//!
//! It goes into the layer before it; else into the layer behind it, where no padding lies between (a padded zero is a
//! zero behind the normalization, not in front); else it becomes a depthwise 1x1 convolution, which every later stage
//! knows. Any gamma does: a negative one flips signs of weights, a zero leaves a channel with its bias alone.

use super::{Prepare, linear, rewrite};
use lowbit_ir::op::{Binary, Conv};
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, Node, NodeId, Op, Result, Tensor, ValueId};

pub const PASS: Pass<Prepare> = Pass {
    name: "fold-batch-norm",
    summary: "BatchNorm into the Conv or MatMul before or behind it, else as a depthwise Conv or as Mul and Add",
    run,
};

/// Whether a convolution was a BatchNorm in the model.
pub fn made(node: &Node) -> bool {
    node.rule.as_deref() == Some(PASS.name)
}

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, fold)
}

fn fold(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (Op::BatchNorm { epsilon }, Some(x), Some(y)) = (&node.op, node.input(0), rewrite::output(node)) else {
        return Ok(false);
    };
    let Some((factor, shift)) = affine(g, id, *epsilon) else { return Ok(false) };
    if let Some((before, _)) = rewrite::producer(g, x)
        && rewrite::sole_user(g, x) == Some(id)
        && linear::takes_factors(g, before, &factor)
        && matches!(g.node(before).op, Op::Conv(_)) | (g.ty(x).shape.rank() == 2)
    {
        linear::scale_outputs(g, before, &factor, &shift)?;
        rewrite::supersede(g, id, x);
        return Ok(true);
    }
    if let Some(behind) = rewrite::sole_user(g, y)
        && g.node(behind).input(0) == Some(y)
        && linear::has_constants(g, behind)
        && takes_unpadded(g, behind, y)
    {
        linear::scale_inputs(g, behind, &factor, &shift)?;
        g.set_input(behind, 0, Some(x));
        return Ok(true);
    }
    match g.ty(x).shape.rank() {
        0 | 1 => Ok(false),
        2 => as_mul_add(g, id, x, &factor, &shift),
        rank => as_depthwise(g, id, rank, &factor, &shift),
    }
}

/// factor = gamma / sqrt(variance + epsilon), shift = beta - mean * factor.
fn affine(g: &Graph, id: NodeId, epsilon: f32) -> Option<(Vec<f64>, Vec<f64>)> {
    let at = |i| g.node(id).input(i).and_then(|v| rewrite::floats(g, v));
    let (gamma, beta, mean, variance) = (at(1)?, at(2)?, at(3)?, at(4)?);
    let factor: Vec<f64> =
        gamma.iter().zip(&variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + f64::from(epsilon)).sqrt()).collect();
    let shift = beta.iter().zip(&mean).zip(&factor).map(|((b, m), f)| f64::from(*b) - f64::from(*m) * f).collect();
    Some((factor, shift))
}

fn takes_unpadded(g: &Graph, behind: NodeId, y: ValueId) -> bool {
    match &g.node(behind).op {
        Op::Conv(c) => c.pads.iter().all(|p| *p == 0),
        // Its channels are the last axis only if there are two.
        Op::MatMul(_) => g.ty(y).shape.rank() == 2,
        _ => false,
    }
}

fn as_depthwise(g: &mut Graph, id: NodeId, rank: usize, factor: &[f64], shift: &[f64]) -> Result<bool> {
    let (channels, spatial) = (factor.len(), rank - 2);
    let mut dims = vec![1; rank];
    dims[0] = channels;
    let name = g.node(id).name.clone();
    let weights = g.add_const(&format!("{name}.weight"), Tensor::from_f32(&dims, narrow(factor))?);
    let bias = g.add_const(&format!("{name}.bias"), Tensor::from_f32(&[channels], narrow(shift))?);
    let node = g.node_mut(id);
    node.op = Op::Conv(Conv {
        strides: vec![1; spatial],
        pads: vec![0; 2 * spatial],
        dilations: vec![1; spatial],
        group: channels,
    });
    let x = node.input(0);
    node.inputs = vec![x, Some(weights), Some(bias)];
    // What counts the model's convolutions must not count it.
    node.rule = Some(PASS.name.into());
    Ok(true)
}

fn as_mul_add(g: &mut Graph, id: NodeId, x: ValueId, factor: &[f64], shift: &[f64]) -> Result<bool> {
    let name = g.node(id).name.clone();
    let weight = g.add_const(&format!("{name}.weight"), Tensor::from_f32(&[factor.len()], narrow(factor))?);
    let bias = g.add_const(&format!("{name}.bias"), Tensor::from_f32(&[shift.len()], narrow(shift))?);
    let ty = g.ty(x).clone();
    let scaled = format!("{name}.scaled");
    let mul = g.add_node_before(id, &scaled, Op::Binary(Binary::Mul), vec![Some(x), Some(weight)], &[(&scaled, ty)]);
    let product = rewrite::output(g.node(mul));
    let node = g.node_mut(id);
    node.op = Op::Binary(Binary::Add);
    node.inputs = vec![product, Some(bias)];
    Ok(true)
}

fn narrow(v: &[f64]) -> Vec<f32> {
    v.iter().map(|x| *x as f32).collect()
}
