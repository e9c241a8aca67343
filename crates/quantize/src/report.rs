//! What a quantization did: what became integers, what stayed float and why, and what it chose.

use crate::annotate::Declined;
use crate::calibrate::Chosen;
use crate::config::Config;
use crate::equalize::Equalized;
use crate::prepare::rewrite;
use crate::realize::{LeftFloat, rescales_on_floats};
use crate::refine::Correction;
use lowbit_ir::infer::{self, macs};
use lowbit_ir::{Def, Error, Graph, Node, NodeId, Op, Result, ValueId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The account of a quantization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Every choice that was in force.
    pub config: Config,
    /// The multiply-accumulate layers, in order.
    pub layers: Vec<Layer>,
    /// Everything that stays float, in order.
    pub left_float: Vec<Left>,
    /// Share of multiply-accumulates on integers, 0..=100.
    pub integer_macs_percent: f64,
    /// Bytes of all constants before and after.
    pub bytes_before: u64,
    /// Bytes of all constants of the integer program.
    pub bytes_after: u64,
    /// The parameters of all values.
    pub values: Vec<Chosen>,
    /// What equalization changed.
    pub equalized: Vec<Equalized>,
    /// What refinements changed.
    pub corrections: Vec<Correction>,
    /// What was wanted and left out for want of samples.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
}

/// A stage or a refinement that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub stage: String,
    /// Why.
    pub reason: String,
}

impl Skipped {
    pub(crate) fn new(stage: &str, reason: &str) -> Skipped {
        Skipped { stage: stage.into(), reason: reason.into() }
    }
}

/// A multiply-accumulate layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Whether it computes on integers.
    pub integer: bool,
    /// The rule that decided.
    pub rule: String,
    /// Its multiply-accumulates for a sample of the size that the data's first has; 0 where that leaves sizes open.
    pub macs: u64,
    /// Bytes of its weights and bias before.
    pub bytes_before: u64,
    /// Bytes of its weights and bias after.
    pub bytes_after: u64,
}

/// A node that stays float.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The rule or stage that declined it.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// Its share of all multiply-accumulates, 0..=100.
    pub macs_percent: f64,
    /// Its share of all elements that operators write, 0..=100.
    pub elements_percent: f64,
}

/// What the stages said, to be gathered into a report.
pub struct Findings<'a> {
    /// The prepared float graph.
    pub float: &'a Graph,
    /// The integer program.
    pub integer: &'a Graph,
    /// The sizes of the inputs, for which work is counted; empty if no sample told them.
    pub sizes: &'a [Vec<usize>],
    /// What annotate declined.
    pub declined: &'a [Declined],
    /// What realize left.
    pub left: &'a [LeftFloat],
    /// What calibrate chose.
    pub values: Vec<Chosen>,
    /// What equalize changed.
    pub equalized: Vec<Equalized>,
    /// What refine changed.
    pub corrections: Vec<Correction>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

impl Report {
    /// Gathers what the stages said.
    pub fn new(config: &Config, found: Findings) -> Self {
        let (float, integer) = (sized(found.float, found.sizes), sized(found.integer, found.sizes));
        let (float, integer) = (&float, &integer);
        let found = Findings { float, integer, ..found };
        let total_macs: u64 = float.nodes().map(|(id, _)| macs(float, id)).sum();
        let total_elements: u64 = float.nodes().map(|(_, n)| elements(float, n)).sum();
        let after = by_name(integer);
        let of_layer = |(id, n): (NodeId, &Node)| layer(&found, id, n, after.get(n.name.as_str()).copied());
        let layers: Vec<Layer> = float.nodes().filter(|(_, n)| n.op.is_layer()).map(of_layer).collect();
        let on_integers: u64 = layers.iter().filter(|l| l.integer).map(|l| l.macs).sum();
        let (sources, whys) = (by_name(float), whys(&found));
        let left = |(_, node): (NodeId, &Node)| {
            let (rule, reason) = whys.get(node.name.as_str()).copied().unwrap_or(("realize", "it did not match"));
            let (rule, reason) = (rule.to_string(), reason.to_string());
            let source = sources.get(node.name.as_str()).copied();
            Left {
                node: node.name.clone(),
                op: node.op.name().to_string(),
                rule,
                reason,
                macs_percent: percent(source.map_or(0, |id| macs(float, id)), total_macs),
                elements_percent: percent(elements(integer, node), total_elements),
            }
        };
        Report {
            config: config.filled(),
            left_float: integer.nodes().filter(|(_, n)| is_float(integer, n)).map(left).collect(),
            integer_macs_percent: percent(on_integers, total_macs),
            bytes_before: constant_bytes(float),
            bytes_after: constant_bytes(integer),
            values: found.values,
            equalized: found.equalized,
            corrections: found.corrections,
            skipped: found.skipped,
            layers,
        }
    }
}

impl Report {
    /// Refuses a model of which something in the middle stays float: an error that lists all of it.
    pub fn only_integers(&self) -> Result<()> {
        if self.left_float.is_empty() {
            return Ok(());
        }
        let line = |l: &Left| format!("{} '{}': {} (rule '{}')", l.op, l.node, l.reason, l.rule);
        let lines: Vec<String> = self.left_float.iter().map(line).collect();
        Err(Error::new(format!(
            "expected integers only (integer_only = true), found {} nodes that stay float:\n  {}",
            lines.len(),
            lines.join("\n  ")
        ))
        .hint("output = \"narrow\" puts the last layers' results on integers; rules and realize functions of your own can do the rest"))
    }
}

fn layer(found: &Findings, id: NodeId, node: &Node, after: Option<NodeId>) -> Layer {
    let after = after.map(|id| found.integer.node(id));
    Layer {
        node: node.name.clone(),
        op: node.op.name().to_string(),
        integer: after.is_some_and(|n| !is_float(found.integer, n)),
        rule: after.and_then(|n| n.rule.as_deref()).unwrap_or_default().to_string(),
        macs: macs(found.float, id),
        bytes_before: operand_bytes(found.float, node),
        bytes_after: after.map_or(0, |n| operand_bytes(found.integer, n)),
    }
}

/// The graph for inputs of these sizes, so that its work can be counted; as it is where they do not fit.
fn sized(g: &Graph, sizes: &[Vec<usize>]) -> Graph {
    let names = g.inputs.iter().map(|v| g.value(*v).name.as_str());
    let shapes: Vec<(&str, Vec<usize>)> = names.zip(sizes.iter().cloned()).collect();
    infer::bind(g, &shapes).unwrap_or_else(|_| g.clone())
}

/// Who left nodes float, and why, by their names: the annotate rule, else realize.
fn whys<'a>(found: &Findings<'a>) -> HashMap<&'a str, (&'a str, &'a str)> {
    let left = found.left.iter().map(|l| (l.node.as_str(), ("realize", l.reason.as_str())));
    let declined = found.declined.iter().map(|d| (d.node.as_str(), (&*d.rule, d.reason.as_str())));
    left.chain(declined).collect()
}

/// The nodes of a graph by their names.
fn by_name(g: &Graph) -> HashMap<&str, NodeId> {
    g.nodes().map(|(id, n)| (n.name.as_str(), id)).collect()
}

/// Whether a node computes floats (and not merely changes between floats and integers, where those meet).
fn is_float(g: &Graph, node: &Node) -> bool {
    let edge = matches!(node.op, Op::Quantize { .. } | Op::Dequantize);
    let computes = !edge && rewrite::output(node).is_some_and(|v| g.ty(v).dtype.is_float());
    computes || rescales_on_floats(g, node)
}

/// How many elements a node writes; results of open sizes count nothing.
pub fn elements(g: &Graph, node: &Node) -> u64 {
    node.outputs.iter().filter_map(|v| g.ty(*v).shape.count()).map(|n| n as u64).sum()
}

fn bytes_of(g: &Graph, v: ValueId) -> u64 {
    g.constant(v).map_or(0, |t| t.bytes().len() as u64)
}

fn operand_bytes(g: &Graph, node: &Node) -> u64 {
    node.operands().map(|v| bytes_of(g, v)).sum()
}

/// Bytes of all constants.
pub fn constant_bytes(g: &Graph) -> u64 {
    g.values().filter(|(_, v)| matches!(v.def, Def::Const(_))).map(|(id, _)| bytes_of(g, id)).sum()
}

/// A share, 0..=100; 0 of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
