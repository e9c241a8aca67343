//! Realize: a QDQ graph, ours or anyone's, becomes an integer program.
//!
//! In a QDQ graph every integer operator is written as Dequantize, the float operator, Quantize. Nodes are visited in
//! order, one function per operator:
//! - a layer becomes its exact integer form in front of a Dequantize of its accumulator, whatever follows;
//! - an operator that moves integers moves in front of the Dequantize of its operand;
//! - then `settle` turns every Quantize behind such a Dequantize into a Requantize, together with the Relu and Clip
//!   between, which become the limits of the integers;
//! - sums, products, averages and tables need to know the scale of their result, so they look for that Quantize first.
//!
//! What does not match stays as it is, between Dequantize and Quantize, with a reason: that is always correct.

mod accumulator;
mod average;
mod concat;
mod element;
mod layer;
mod movement;
mod settle;

use crate::config::Config;
use crate::prepare::rewrite;
use lowbit_ir::op::{Binary, ReduceKind, Rescale, ResizeMode};
use lowbit_ir::{Graph, NodeId, Op, Result, ValueId, check_float_mode};

/// A node that stays float, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftFloat {
    /// Name of the node.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// Makes integers of all that matches; gives back what stays float, in graph order.
pub fn realize(g: &mut Graph, config: &Config) -> Result<Vec<LeftFloat>> {
    check_float_mode()?;
    let mut cx = Realize {
        rescale: config.rescale()?,
        accumulator_bits: config.accumulator_bits,
        names: Vec::new(),
        wide_names: Vec::new(),
    };
    let mut left = Vec::new();
    rewrite::each_node(g, |g, id| {
        let name = g.node(id).name.clone();
        match one(g, id, &mut cx)? {
            Outcome::Integer => Ok(true),
            Outcome::Other => Ok(false),
            Outcome::Float(reason) => {
                left.push(LeftFloat { node: name, reason });
                Ok(false)
            }
        }
    })?;
    g.sweep();
    g.sort()?;
    cx.give_names(g);
    Ok(left)
}

/// What realizing an operator needs to know, and what it notes for the end.
struct Realize {
    rescale: Rescale,
    accumulator_bits: u8,
    /// Narrow integers, and the source's name of the float they stand for.
    names: Vec<(ValueId, String)>,
    /// The same of accumulators, which stand back behind narrow values.
    wide_names: Vec<(ValueId, String)>,
}

impl Realize {
    /// Gives integers the source's names, where no float needs them any more.
    fn give_names(&self, g: &mut Graph) {
        for (v, name) in self.names.iter().chain(&self.wide_names) {
            if g.has_value(*v) && g.find(name).is_none() && !g.is_output(*v) {
                g.rename(*v, name);
            }
        }
    }
}

/// What became of a node.
enum Outcome {
    /// It computes on integers.
    Integer,
    /// It stays float, for this reason.
    Float(String),
    /// It is neither: it quantizes, or computes shapes or masks.
    Other,
}

fn float(reason: &str) -> Result<Outcome> {
    Ok(Outcome::Float(reason.into()))
}

fn one(g: &mut Graph, id: NodeId, cx: &mut Realize) -> Result<Outcome> {
    let node = g.node(id);
    if rewrite::output(node).is_none_or(|v| !g.ty(v).dtype.is_float()) {
        return Ok(Outcome::Other);
    }
    match &node.op {
        Op::Conv(_) | Op::MatMul(_) => layer::realize(g, id, cx),
        Op::Binary(Binary::Add) => element::add(g, id, cx),
        Op::Binary(Binary::Mul) => element::mul(g, id, cx),
        Op::Unary(f) => element::table(g, id, *f, cx),
        Op::AvgPool(p) => average::realize(g, id, Some(p.clone()), cx),
        Op::GlobalAvgPool => average::realize(g, id, None, cx),
        Op::Concat { .. } => concat::realize(g, id, cx),
        Op::Reduce(r) => match r.kind {
            ReduceKind::Max | ReduceKind::Min => movement::realize(g, id, cx),
            ReduceKind::Sum | ReduceKind::Mean => {
                float("sums and means have an integer form over the spatial axes only")
            }
        },
        Op::Resize(r) => match r.mode {
            ResizeMode::Nearest(_) => movement::realize(g, id, cx),
            ResizeMode::Linear => float("linear interpolation has no integer form"),
        },
        Op::MaxPool(_)
        | Op::Relu
        | Op::Clip { .. }
        | Op::Split { .. }
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. }
        | Op::Transpose { .. }
        | Op::Gather { .. }
        | Op::Expand { .. }
        | Op::Identity => movement::realize(g, id, cx),
        Op::Dequantize => settle::dequantize(g, id, cx),
        Op::BatchNorm { .. } => float("its parameters are not constant"),
        Op::LayerNorm { .. } | Op::Softmax { .. } | Op::Binary(_) | Op::Where | Op::Cast { .. } => {
            Ok(Outcome::Float(format!("{} has no integer form", node.op.name())))
        }
        Op::Custom(_) => float("operators of the user's are float"),
        Op::Simulate(_) => float("it waits for calibration"),
        Op::Quantize { .. } | Op::Requantize(_) | Op::QAdd(_) | Op::QMul(_) | Op::QAvgPool(_) | Op::Table => {
            Ok(Outcome::Other)
        }
    }
}

/// What operands are when they are narrow integers.
mod operand {
    use crate::calibrate::source;
    use lowbit_ir::{Graph, ValueId};

    /// The narrow integers with one scale behind a float operand, or why there are none.
    pub fn narrow(g: &Graph, v: Option<ValueId>) -> Result<ValueId, String> {
        let v = v.ok_or("an operand is missing")?;
        let q = source(g, v).ok_or_else(|| format!("its operand '{}' is not quantized", g.value(v).name))?;
        let ty = g.ty(q);
        match &ty.quant {
            _ if ty.dtype.bits() > 16 => Err(format!("its operand '{}' is wide", g.value(v).name)),
            Some(quant) if quant.is_per_tensor() => Ok(q),
            Some(_) | None => Err(format!("its operand '{}' has a scale per channel", g.value(v).name)),
        }
    }
}
