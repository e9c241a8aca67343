//! Layer normalization that older exporters write out becomes one operator again.

use super::{Prepare, rewrite};
use lowbit_ir::op::{Binary, ReduceKind, Unary};
use lowbit_ir::pass::Pass;
use lowbit_ir::{DType, Graph, NodeId, Op, Result, Tensor, Type, ValueId, memory};

pub const PASS: Pass<Prepare> = Pass {
    name: "recognize-layer-norm",
    summary: "LayerNorm from (x - mean) / sqrt(mean((x - mean)^2) + eps) over the last axis",
    run,
};

fn run(g: &mut Graph, cx: &mut Prepare) -> Result<bool> {
    let whole = rewrite::each_node(g, folded)?;
    Ok(whole | rewrite::each_node(g, |g, id| normalize(g, id, cx))? | rewrite::each_node(g, absorb_affine)?)
}

/// d / sqrt(mean(d^2) + eps) with d = x - mean(x).
fn normalize(g: &mut Graph, id: NodeId, cx: &Prepare) -> Result<bool> {
    let Some((x, epsilon)) = normalized(g, id) else { return Ok(false) };
    let Some(dims) = g.ty(x).shape.0.last().and_then(|d| d.known()) else { return Ok(false) };
    // A row may be of any size in a graph that never runs; the constant would be made now.
    if memory::bytes(&Type::plain(DType::F32, vec![dims])) > cx.max_memory {
        return Ok(false);
    }
    let scale = g.add_const(&format!("{}.scale", g.node(id).name), Tensor::from_f32(&[dims], vec![1.0; dims])?);
    let node = g.node_mut(id);
    node.op = Op::LayerNorm { axis: -1, epsilon };
    node.inputs = vec![Some(x), Some(scale)];
    Ok(true)
}

fn normalized(g: &Graph, id: NodeId) -> Option<(ValueId, f32)> {
    let node = g.node(id);
    let (d, variance) = match rewrite::binary(node, Binary::Div) {
        Some((d, deviation)) => (d, root(g, deviation)?),
        None => {
            let (a, b) = rewrite::binary(node, Binary::Mul)?;
            reciprocal_root(g, b).map(|v| (a, v)).or_else(|| reciprocal_root(g, a).map(|v| (b, v)))?
        }
    };
    let x = centered(g, d)?;
    Some((x, epsilon_of_variance(g, variance, x)?))
}

/// The x of x - mean(x).
fn centered(g: &Graph, d: ValueId) -> Option<ValueId> {
    let (x, mean) = rewrite::binary(rewrite::producer(g, d)?.1, Binary::Sub)?;
    (mean_over_last_axis(g, mean)? == x).then_some(x)
}

/// The v of sqrt(v), also as a power.
fn root(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (_, node) = rewrite::producer(g, v)?;
    match &node.op {
        Op::Unary(Unary::Sqrt) => node.input(0),
        Op::Binary(Binary::Pow) => (rewrite::uniform(g, node.input(1)?)? == 0.5).then(|| node.input(0)).flatten(),
        _ => None,
    }
}

/// The v of 1 / sqrt(v).
fn reciprocal_root(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (_, node) = rewrite::producer(g, v)?;
    match &node.op {
        Op::Unary(Unary::Reciprocal) => root(g, node.input(0)?),
        Op::Binary(Binary::Div) => (rewrite::uniform(g, node.input(0)?)? == 1.0).then(|| root(g, node.input(1)?))?,
        Op::Binary(Binary::Pow) => (rewrite::uniform(g, node.input(1)?)? == -0.5).then(|| node.input(0)).flatten(),
        _ => None,
    }
}

/// The epsilon of `v`, which is mean((x - mean(x))^2) + epsilon. Some exporters subtract the mean twice.
fn epsilon_of_variance(g: &Graph, v: ValueId, x: ValueId) -> Option<f32> {
    let (variance, epsilon) = rewrite::binary(rewrite::producer(g, v)?.1, Binary::Add)?;
    let epsilon = rewrite::uniform(g, epsilon)?;
    let (_, square) = rewrite::producer(g, mean_over_last_axis(g, variance)?)?;
    let d = square.input(0)?;
    let squared = match &square.op {
        Op::Binary(Binary::Pow) => rewrite::uniform(g, square.input(1)?)? == 2.0,
        Op::Binary(Binary::Mul) => square.input(1)? == d,
        _ => false,
    };
    (squared && centered(g, d) == Some(x)).then_some(epsilon)
}

/// x * r + (bias - mean(x) * r) with r = scale / sqrt(variance + epsilon), as TensorFlow writes it.
fn folded(g: &mut Graph, id: NodeId) -> Result<bool> {
    let Some((x, epsilon, scale, bias)) = folded_form(g, id) else { return Ok(false) };
    let name = g.node(id).name.clone();
    let scale = g.add_const(&format!("{name}.scale"), Tensor::from_f32(&[scale.len()], scale)?);
    let bias = g.add_const(&format!("{name}.bias"), Tensor::from_f32(&[bias.len()], bias)?);
    let node = g.node_mut(id);
    node.op = Op::LayerNorm { axis: -1, epsilon };
    node.inputs = vec![Some(x), Some(scale), Some(bias)];
    Ok(true)
}

fn folded_form(g: &Graph, id: NodeId) -> Option<(ValueId, f32, Vec<f32>, Vec<f32>)> {
    let (a, b) = rewrite::binary(g.node(id), Binary::Add)?;
    folded_sum(g, a, b).or_else(|| folded_sum(g, b, a))
}

/// The x, epsilon, scale and bias of `scaled` + `rest`.
fn folded_sum(g: &Graph, scaled: ValueId, rest: ValueId) -> Option<(ValueId, f32, Vec<f32>, Vec<f32>)> {
    let (bias, lowered) = rewrite::binary(rewrite::producer(g, rest)?.1, Binary::Sub)?;
    let (a, b) = rewrite::binary(rewrite::producer(g, scaled)?.1, Binary::Mul)?;
    let (m, n) = rewrite::binary(rewrite::producer(g, lowered)?.1, Binary::Mul)?;
    let (x, r) = if b == m || b == n { (a, b) } else { (b, a) };
    let mean = if m == r { n } else { m };
    if (m != r && n != r) || mean_over_last_axis(g, mean)? != x {
        return None;
    }
    let (inner, gamma) = rewrite::binary(rewrite::producer(g, r)?.1, Binary::Mul)?;
    let epsilon = epsilon_of_variance(g, reciprocal_root(g, inner)?, x)?;
    let shape = &g.ty(x).shape;
    let (rank, size) = (shape.rank(), shape.0.last()?.known()?);
    let row = |v: ValueId| rewrite::along_axis(g, v, rank, rank - 1, size);
    Some((x, epsilon, row(gamma)?, row(bias)?))
}

fn mean_over_last_axis(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (_, node) = rewrite::producer(g, v)?;
    let x = node.input(0)?;
    match &node.op {
        Op::Reduce(r) if r.kind == ReduceKind::Mean && r.keep_dims => match r.axes.as_slice() {
            [axis] => (g.ty(x).shape.axis(*axis).ok()? + 1 == g.ty(x).shape.rank()).then_some(x),
            _ => None,
        },
        _ => None,
    }
}

/// A product and then a sum with constants along the last axis are the normalization's scale and bias.
fn absorb_affine(g: &mut Graph, id: NodeId) -> Result<bool> {
    let node = g.node(id);
    let (kind, y, c) = match (&node.op, node.inputs.as_slice()) {
        (Op::Binary(kind @ (Binary::Mul | Binary::Add)), [Some(y), Some(c)]) => (*kind, *y, *c),
        _ => return Ok(false),
    };
    let Some((norm, n)) = rewrite::producer(g, y) else { return Ok(false) };
    let Op::LayerNorm { axis, .. } = n.op else { return Ok(false) };
    let rank = g.ty(y).shape.rank();
    let dim = g.ty(y).shape.0.last().and_then(|d| d.known());
    let (Some(dim), true, true) = (dim, g.ty(y).shape.axis(axis)? + 1 == rank, rewrite::sole_user(g, y) == Some(id))
    else {
        return Ok(false);
    };
    let Some(c) = rewrite::along_axis(g, c, rank, rank - 1, dim) else { return Ok(false) };
    let (scale, bias) = (n.input(1).and_then(|v| rewrite::floats(g, v)), n.input(2));
    match (kind, scale, bias) {
        (Binary::Mul, Some(scale), None) => {
            let scale = scale.iter().zip(&c).map(|(a, b)| a * b).collect();
            rewrite::replace_constant(g, norm, 1, Tensor::from_f32(&[dim], scale)?);
        }
        (Binary::Add, Some(_), None) => rewrite::replace_constant(g, norm, 2, Tensor::from_f32(&[dim], c)?),
        _ => return Ok(false),
    }
    rewrite::supersede(g, id, y);
    Ok(true)
}
