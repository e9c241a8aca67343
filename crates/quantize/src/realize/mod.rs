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
//! What does not match stays as it is, between Dequantize and Quantize, with a reason: that is always correct. So does
//! what the rules declined, which the metadata tells.

mod accumulator;
mod average;
mod blocks;
mod concat;
mod element;
mod layer;
mod movement;
mod settle;
mod storage;
mod wide;

pub use settle::{Sink, behind_dequantize, per_sink};

use crate::calibrate::source;
use crate::config::Config;
use crate::declined;
use crate::prepare::rewrite;
use lowbit_arithmetic::Rounding;
use lowbit_ir::op::facts::Results;
use lowbit_ir::op::{Binary, Category, ReduceKind, Rescale, ResizeMode};
use lowbit_ir::text::{OPERATORS, canonical, operator_meant};
use lowbit_ir::{Error, Graph, Node, NodeId, Op, Result, ValueId, catching, check_float_mode};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A node that stays float, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftFloat {
    /// Name of the node.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// Makes integers of all that matches; gives back what stays float, in graph order.
///
/// Operators of the user's rules are theirs; the standard functions see all others.
pub fn realize(g: &mut Graph, config: &Config, own: &Realizers) -> Result<Vec<LeftFloat>> {
    own.check()?;
    check_float_mode()?;
    let mut cx = Realize {
        rescale: config.rescale()?,
        accumulator: accumulator::Allowed { bits: config.accumulator_bits, limit: config.accumulator_limit },
        wide: !config.store_lowbit,
        declined: declined::reasons(g),
        names: Vec::new(),
        own_names: Vec::new(),
        wide_names: Vec::new(),
    };
    storage::in_whole_bytes(g)?;
    let mut left = Vec::new();
    if config.simulate_only {
        let reason = || "simulate_only = true".to_string();
        let nodes = g.nodes().filter(|(_, n)| computes_floats(g, n) || rescales_on_floats(g, n));
        return Ok(nodes.map(|(_, n)| LeftFloat { node: n.name.clone(), reason: reason() }).collect());
    }
    rewrite::each_node(g, |g, id| {
        let name = g.node(id).name.clone();
        let done = match cx.declined.get(&name) {
            Some(reason) if computes_floats(g, g.node(id)) => Outcome::Float(reason.clone()),
            Some(_) | None => own.one(g, id, &mut cx).unwrap_or_else(|| one(g, id, &mut cx))?,
        };
        match done {
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
    let rescaled = g.nodes().filter(|(_, n)| rescales_on_floats(g, n));
    let reason = || "its operand is dequantized and quantized again, on floats".to_string();
    left.extend(rescaled.map(|(_, n)| LeftFloat { node: n.name.clone(), reason: reason() }));
    cx.give_names(g);
    Ok(left)
}

/// Whether a node gives floats that it computed, and not merely dequantized.
fn computes_floats(g: &Graph, node: &Node) -> bool {
    let float = rewrite::output(node).is_some_and(|v| g.ty(v).dtype.is_float());
    node.op.category() != Category::Quantization && float
}

/// Whether a node is a Quantize of what was dequantized: integers from one scale to another by way of floats.
pub(crate) fn rescales_on_floats(g: &Graph, node: &Node) -> bool {
    let from = node.input(0).and_then(|v| source(g, v));
    matches!(node.op, Op::Quantize { .. }) && from.is_some_and(|q| g.constant(q).is_none())
}

type Closure = Arc<dyn Fn(&mut Graph, NodeId, &mut Realize) -> Result<Outcome> + Send + Sync>;

/// The realize functions of the user's, by operator.
#[derive(Clone, Default)]
pub struct Realizers {
    own: BTreeMap<String, Closure>,
}

impl Realizers {
    /// None: every operator is realized by the standard function.
    pub fn standard() -> Self {
        Realizers::default()
    }

    /// Replaces the function of the operator of this name, such as `Add`, or of another spelling of it.
    ///
    /// It makes integer operators of a node whose operands are behind Dequantize, with [`operand::narrow`] to look behind
    /// them and [`per_sink`] or [`behind_dequantize`] to join the integers to those who read them; or it leaves the
    /// graph as it is, with [`Outcome::Float`] and a reason. A file of the model does not hold the closure: who loads it
    /// gives it again, and is told if they do not.
    #[must_use]
    pub fn override_op(
        mut self,
        op: &str,
        realize: impl Fn(&mut Graph, NodeId, &mut Realize) -> Result<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.own.insert(canonical(op).unwrap_or(op).into(), Arc::new(realize));
        self
    }

    /// The operators that have one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }

    /// Refuses names that no operator has.
    pub(crate) fn check(&self) -> Result<()> {
        match self.names().find(|name| !OPERATORS.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!(
                "a function realizes the operator '{name}', which does not exist{}",
                operator_meant(name)
            ))
            .hint("the names that lowbit list ops gives")),
        }
    }

    fn one(&self, g: &mut Graph, id: NodeId, cx: &mut Realize) -> Option<Result<Outcome>> {
        let own = self.own.get(g.node(id).op.name())?;
        let float = rewrite::output(g.node(id)).is_some_and(|v| g.ty(v).dtype.is_float());
        let at = g.node(id).name.clone();
        float.then(|| catching("the realize function", || own(g, id, cx)).map_err(|e| e.at_node(at)))
    }
}

impl fmt::Debug for Realizers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// What realizing an operator needs to know, and what it notes for the end.
pub struct Realize {
    /// How integers move between scales where no Quantize says how to round.
    pub rescale: Rescale,
    accumulator: accumulator::Allowed,
    /// Whether wide values are read as they are.
    wide: bool,
    /// The nodes that the rules left float, and why.
    declined: BTreeMap<String, String>,
    /// Narrow integers, and the source's name of the float they stand for.
    names: Vec<(ValueId, String)>,
    /// Narrow integers, and the name of those that their Quantize made.
    own_names: Vec<(ValueId, String)>,
    /// Accumulators, and the source's name of the float they stand for; they stand back behind narrow values.
    wide_names: Vec<(ValueId, String)>,
}

impl Realize {
    /// How integers become those of a Quantize: rounded as it rounds.
    ///
    /// To the nearest with ties to even is what every Quantize does that says nothing; there the rescaling has the ties
    /// of its method.
    pub fn rescale_to(&self, sink: &Sink) -> Rescale {
        match sink.rounding {
            Rounding::HalfEven => self.rescale,
            rounding => Rescale { rounding, ..self.rescale },
        }
    }

    /// Gives integers the source's names, where no float needs them any more.
    ///
    /// A value that is narrow in several ways has one name: all but the first keep that of their Quantize, by which the
    /// simulation knows them.
    fn give_names(&self, g: &mut Graph) {
        let free = |g: &Graph, v, name: &str| g.has_value(v) && g.find(name).is_none() && !g.is_output(v);
        for (v, name) in self.names.iter().chain(&self.wide_names) {
            if free(g, *v, name) {
                g.rename(*v, name);
            }
        }
        for (v, name) in &self.own_names {
            let has_source_name = |g: &Graph| self.names.iter().any(|(of, name)| of == v && g.value(*v).name == *name);
            if free(g, *v, name) && !has_source_name(g) {
                g.rename(*v, name);
            }
        }
    }
}

/// What became of a node.
pub enum Outcome {
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
        Op::Reduce(r) if matches!(r.kind, ReduceKind::Sum | ReduceKind::Mean) => {
            float("sums and means have an integer form over the spatial axes only")
        }
        Op::Resize(r) if !matches!(r.mode, ResizeMode::Nearest(_)) => float("interpolation has no integer form"),
        Op::Dequantize => settle::dequantize(g, id, cx),
        Op::BatchNorm { .. } => float("its parameters are not constant"),
        Op::Custom(_) => float("operators of the user's are float"),
        Op::Simulate(_) => float("it waits for calibration"),
        Op::Relu | Op::Clip { .. } => movement::realize(g, id, cx),
        // Operators without an integer form of their own, by what their results are made of.
        op => match (op.category(), op.facts().results) {
            (Category::Quantization, _) => Ok(Outcome::Other),
            (Category::Pool | Category::Transform, Results::Elements) => movement::realize(g, id, cx),
            (_, Results::Elements | Results::Computed | Results::Integers | Results::Sums) => {
                Ok(Outcome::Float(format!("{} has no integer form", op.name())))
            }
        },
    }
}

/// What operands are when they are narrow integers.
pub mod operand {
    use crate::calibrate::source;
    use lowbit_ir::{Graph, ValueId};

    /// The narrow integers behind a float operand, or why there are none.
    pub fn integers(g: &Graph, v: Option<ValueId>) -> Result<ValueId, String> {
        let v = v.ok_or("an operand is missing")?;
        let q = source(g, v).ok_or_else(|| format!("its operand '{}' is not quantized", g.value(v).name))?;
        match g.ty(q).dtype.bits() > 16 {
            true => Err(format!("its operand '{}' is wide", g.value(v).name)),
            false => Ok(q),
        }
    }

    /// The narrow integers with one scale behind a float operand, or why there are none.
    pub fn narrow(g: &Graph, v: Option<ValueId>) -> Result<ValueId, String> {
        let q = integers(g, v)?;
        match &g.ty(q).quant {
            Some(quant) if quant.is_per_tensor() => Ok(q),
            Some(_) | None => {
                Err(format!("its operand '{}' has a scale per channel", v.map_or("", |v| &g.value(v).name)))
            }
        }
    }
}
