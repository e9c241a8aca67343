//! What a model would have on integers, and stays float.

use crate::model::with_batch;
use lowbit_ir::infer::macs;
use lowbit_ir::{Graph, Node, NodeId};
use lowbit_quantize::declined;
use lowbit_quantize::realize::LeftFloat;
use serde::Serialize;

/// A node of a quantized model that stays float.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Left {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// The rule that left it float: of the annotation where the file says so, else of realize.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// Its share of all multiply-accumulates for a batch of one, 0..=100; 0 where other sizes are open.
    pub macs_percent: f64,
}

/// What the lowered graph of a quantized model has left, as [`Model::lowered`](crate::Model::lowered) gives both.
pub fn left_float(graph: &Graph, left: &[LeftFloat]) -> Vec<Left> {
    let sized = with_batch(graph, None).ok();
    let work = |id: NodeId| sized.as_ref().map_or(0, |g| macs(g, id));
    let total: u64 = graph.nodes().map(|(id, _)| work(id)).sum();
    let percent = |part: u64| if total == 0 { 0.0 } else { 100.0 * part as f64 / total as f64 };
    let mut declined = declined::reasons(graph);
    let described = |(id, node): (NodeId, &Node)| {
        let found = left.iter().find(|l| l.node == node.name)?;
        let (rule, reason) = match (declined.remove(&node.name), &node.rule) {
            (Some(reason), Some(rule)) => (rule.to_string(), reason),
            (Some(_) | None, _) => ("realize".into(), found.reason.clone()),
        };
        Some(Left { node: node.name.clone(), op: node.op.name(), rule, reason, macs_percent: percent(work(id)) })
    };
    graph.nodes().filter_map(described).collect()
}
