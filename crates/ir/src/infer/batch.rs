//! Whether a batch that a model fixes may become another.
//!
//! A first dimension of 4 is a batch if samples go through the graph side by side, each on its own. That is told by
//! giving it a symbol and inferring all types again: whatever is computed from an input must have the symbol as its first
//! dimension, and nowhere else. What shapes cannot tell, such as a softmax over the batch, is told by attributes.

use super::infer_all;
use crate::op::{Category, CumSum, TopK};
use crate::{Customs, Dim, Graph, Node, Op, Type, ValueId};
use std::collections::HashMap;

/// The name of the symbol, which no file can have: names of files have no line breaks.
const BATCH: &str = "batch\n";

/// Why the first dimension of these inputs is no batch that may change; `None` if it is one.
pub fn fixed(g: &Graph, inputs: &[ValueId], customs: &Customs) -> Option<String> {
    let symbolic = |ty: &Type| {
        let mut shape = ty.shape.clone();
        if let Some(first) = shape.0.first_mut() {
            *first = Dim::Symbol(BATCH.into());
        }
        ty.with_shape(shape)
    };
    let replaced: HashMap<ValueId, Type> = inputs.iter().map(|v| (*v, symbolic(g.ty(*v)))).collect();
    let inferred = match infer_all(g, customs, &replaced) {
        Ok(inferred) => inferred,
        Err(e) => return Some(e.to_string().lines().next().unwrap_or_default().to_string()),
    };
    let of = |v: ValueId| replaced.get(&v).or_else(|| inferred.get(&v)).unwrap_or(g.ty(v));
    let depends = |v: ValueId| of(v).shape.0.iter().any(has_batch);
    for (_, node) in g.nodes() {
        let fed: Vec<bool> = node.inputs.iter().map(|v| v.is_some_and(depends)).collect();
        if !fed.contains(&true) {
            continue;
        }
        let apart = node.outputs.iter().all(|v| keeps(&of(*v).shape.0));
        if !apart || mixes(node, &fed, &of) {
            return Some(format!("node '{}' ({}) computes across it", node.name, node.op.name()));
        }
    }
    None
}

fn has_batch(d: &Dim) -> bool {
    matches!(d, Dim::Symbol(s) if s.contains(BATCH))
}

/// Whether the batch is the first dimension, and nowhere else.
fn keeps(dims: &[Dim]) -> bool {
    let is_batch = |d: &Dim| matches!(d, Dim::Symbol(s) if **s == *BATCH);
    dims.first().is_some_and(is_batch) && !dims.iter().skip(1).any(has_batch)
}

/// Whether an operator looks along the first dimension although its result has it too.
fn mixes<'a>(node: &Node, fed: &[bool], of: &impl Fn(ValueId) -> &'a Type) -> bool {
    let rank = node.input(0).map_or(0, |v| of(v).shape.rank()) as i64;
    let first = |axis: i64| axis == 0 || axis + rank == 0;
    match &node.op {
        Op::Softmax { axis } | Op::LayerNorm { axis, .. } => first(*axis),
        Op::Slice(axes) => axes.iter().any(|a| first(a.axis)),
        Op::Concat { axis } | Op::Split { axis, .. } => first(*axis),
        Op::TopK(TopK { axis, .. }) | Op::CumSum(CumSum { axis, .. }) => first(*axis),
        // Looking up in what the samples are made of mixes them; looking up by them does not.
        Op::Gather { axis } => fed.first() == Some(&true) && first(*axis),
        // Each index stands beside the elements of its own sample, unless it is along the samples or for all of them.
        Op::GatherElements { axis } | Op::ScatterElements { axis, .. } => first(*axis) || fed.contains(&false),
        Op::GatherNd { batch_dims } => *batch_dims == 0 && fed.first() == Some(&true),
        Op::Reduce(r) => r.axes.is_empty() || r.axes.iter().any(|a| first(*a)),
        Op::Pad(p) => p.begins.first() != Some(&0) || p.ends.first() != Some(&0),
        // Weights and tables that are computed from the samples belong to all of them.
        Op::Conv(_) | Op::Table | Op::BatchNorm { .. } => fed.iter().skip(1).any(|f| *f),
        Op::MatMul(_) => {
            let matrix = node.input(1).is_some_and(|b| of(b).shape.rank() <= 2);
            fed.get(1) == Some(&true) && matrix
        }
        Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. }
        | Op::Transpose { .. }
        | Op::Expand { .. }
        | Op::Resize(_)
        | Op::GridSample(_)
        | Op::Identity => false,
        // What is not said to leave samples apart is taken to mix them.
        op => match op.category() {
            Category::Activation | Category::Pool | Category::Quantization => false,
            Category::Layer
            | Category::Normalization
            | Category::Recurrent
            | Category::Transform
            | Category::Custom => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    fn told(body: &str) -> Option<String> {
        let g = parse(&format!("graph \"g\" {{\n{body}}}\n")).unwrap();
        let batched: Vec<ValueId> = g.inputs.iter().copied().filter(|v| g.ty(*v).shape.0[0] == Dim::Known(4)).collect();
        fixed(&g, &batched, &Customs::default())
    }

    #[test]
    fn samples_side_by_side_are_a_batch() {
        for body in [
            "  input %x: f32[4x3]\n  const %w: f32[3x2] = [1, 2, 3, 4, 5, 6]\n  %y = MatMul(%x, %w)\n  output %y\n",
            "  input %x: f32[4x3x5]\n  %a = Softmax(%x) {axis 2}\n  %y = MatMul(%a, %x) {trans_b}\n  output %y\n",
            "  input %x: f32[4x3]\n  input %m: f32[3]\n  %y = Add(%x, %m)\n  output %y\n",
            "  input %i: i64[4x2]\n  const %t: f32[9x1] = [1, 2, 3, 4, 5, 6, 7, 8, 9]\n  %y = Gather(%t, %i) {axis 0}\n  output %y\n",
            "  input %x: f32[4x2x3]\n  %y = Reshape(%x) {dims [0, -1]}\n  output %y\n",
        ] {
            assert_eq!(told(body), None, "{body}");
        }
    }

    #[test]
    fn what_looks_across_is_named() {
        for (body, why) in [
            ("  input %x: f32[4x3]\n  %y = ReduceMean(%x) {axes [0], keep_dims}\n  output %y\n", "'y' (Reduce"),
            ("  input %x: f32[4x3]\n  %y = Softmax(%x) {axis 0}\n  output %y\n", "'y' (Softmax)"),
            ("  input %x: f32[4x3]\n  %y = Transpose(%x) {perm [1, 0]}\n  output %y\n", "'y' (Transpose)"),
            ("  input %x: f32[4x6]\n  %y = Reshape(%x) {dims [4, 2, 3]}\n  output %y\n", "y"),
            (
                "  input %x: f32[4x3]\n  input %c: f32[4x3]\n  %y = MatMul(%x, %c) {trans_b}\n  output %y\n",
                "'y' (MatMul)",
            ),
            (
                "  input %x: f32[4x3]\n  const %c: f32[4x3] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]\n  %y = Add(%x, %c)\n  output %y\n",
                "'y' (Add)",
            ),
        ] {
            let found = told(body).expect(body);
            assert!(found.contains(why), "{why}: {found}");
        }
    }
}
