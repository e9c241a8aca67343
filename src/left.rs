//! What a model would have on integers, and stays float.

use crate::model::with_batch;
use lowbit_ir::infer::macs;
use lowbit_ir::{Graph, Node, NodeId};
use lowbit_quantize::declined;
use lowbit_quantize::realize::LeftFloat;
use lowbit_quantize::report::{elements, percent};

pub use lowbit_quantize::report::Left;

/// What the lowered graph of a quantized model has left, as [`Model::lowered`](crate::Model::lowered) gives both: the rule
/// is that of the annotation where the file says so, else realize. Shares are those of a batch of one, and 0 where other
/// sizes are open.
pub fn left_float(graph: &Graph, left: &[LeftFloat]) -> Vec<Left> {
    let sized = with_batch(graph, None).ok();
    let work = |id: NodeId| sized.as_ref().map_or(0, |g| macs(g, id));
    let written = |id: NodeId| sized.as_ref().map_or(0, |g| elements(g, g.node(id)));
    let all_work: u64 = graph.nodes().map(|(id, _)| work(id)).sum();
    let all_written: u64 = graph.nodes().map(|(id, _)| written(id)).sum();
    let mut declined = declined::reasons(graph);
    let described = |(id, node): (NodeId, &Node)| {
        let found = left.iter().find(|l| l.node == node.name)?;
        let (rule, reason) = match (declined.remove(&node.name), &node.rule) {
            (Some(reason), Some(rule)) => (rule.to_string(), reason),
            (Some(_) | None, _) => ("realize".into(), found.reason.clone()),
        };
        Some(Left {
            node: node.name.clone(),
            op: node.op.name().into(),
            rule,
            reason,
            macs_percent: percent(work(id), all_work),
            elements_percent: percent(written(id), all_written),
        })
    };
    graph.nodes().filter_map(described).collect()
}
