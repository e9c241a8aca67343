//! Which values share their parameters: those that are the same integers in another place.
//!
//! An operator that only moves integers gives its result the operand's parameters. Operands that only a Concat reads
//! take the result's, so that joining copies integers; one that others read too keeps its own and is rescaled there.

use crate::prepare::rewrite;
use crate::rules::keeps_quantization;
use lowbit_ir::request::Sharing;
use lowbit_ir::{Graph, NodeId, Op, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Placeholders that get the same parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// All of them, in graph order.
    pub members: Vec<NodeId>,
    /// Those whose values are not moved copies of others: what they see is what the group sees.
    pub roots: Vec<NodeId>,
}

/// The groups of all placeholders but those for weights, in graph order.
pub fn groups(g: &Graph) -> Vec<Group> {
    let placeholders: Vec<NodeId> = g
        .nodes()
        .filter(|(id, n)| matches!(n.op, Op::Simulate(_)) && !super::is_weight(g, *id))
        .map(|(id, _)| id)
        .collect();
    let mut leader: HashMap<NodeId, NodeId> = placeholders.iter().map(|id| (*id, *id)).collect();
    let mut moved: Vec<NodeId> = Vec::new();
    for (from, to) in ties(g, &placeholders) {
        moved.push(to);
        let (a, b) = (find(&leader, from), find(&leader, to));
        // The earlier one leads, whatever the order of the ties.
        leader.insert(a.max(b), a.min(b));
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    let position: HashMap<NodeId, usize> = placeholders.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    for id in &placeholders {
        let at = position.get(&find(&leader, *id)).copied().unwrap_or(0);
        let group = groups.entry(at).or_insert_with(|| Group { members: Vec::new(), roots: Vec::new() });
        group.members.push(*id);
        if !moved.contains(id) {
            group.roots.push(*id);
        }
    }
    groups.into_values().collect()
}

fn find(leader: &HashMap<NodeId, NodeId>, mut id: NodeId) -> NodeId {
    while let Some(next) = leader.get(&id).filter(|next| **next != id) {
        id = *next;
    }
    id
}

/// Pairs of placeholders: the operand's, the result's.
fn ties(g: &Graph, placeholders: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let mut ties = Vec::new();
    for (_, node) in g.nodes() {
        let is_concat = matches!(node.op, Op::Concat { .. });
        if !is_concat && !keeps_quantization(&node.op) {
            continue;
        }
        // Only the first operand moves; a Gather's indices do not.
        let operands: Vec<ValueId> =
            if is_concat { node.operands().collect() } else { node.input(0).into_iter().collect() };
        // What moves may land in another channel, so scales by channel do not move along.
        let moves_along = |id: &NodeId| {
            placeholders.contains(id) && super::spec(g, *id).is_some_and(|s| s.sharing == Sharing::Tensor)
        };
        for from in operands.into_iter().filter_map(|v| g.producer(v)).filter(moves_along) {
            if is_concat && !is_free(g, from) {
                continue;
            }
            let results =
                placeholders.iter().filter(|to| g.node(**to).input(0).is_some_and(|v| node.outputs.contains(&v)));
            ties.extend(results.filter(|to| g.node(**to).op == g.node(from).op).map(|to| (from, *to)));
        }
    }
    ties
}

/// Whether a placeholder in front of a Concat may take any parameters: nobody else reads it, and its value was not
/// moved from elsewhere with parameters of its own.
fn is_free(g: &Graph, placeholder: NodeId) -> bool {
    let node = g.node(placeholder);
    let alone = rewrite::output(node).is_some_and(|v| rewrite::sole_user(g, v).is_some());
    let fresh = node
        .input(0)
        .and_then(|v| rewrite::producer(g, v))
        .is_some_and(|(_, n)| !matches!(n.op, Op::Concat { .. }) && !moves(g, n));
    alone && fresh
}

/// Whether a node moves values that are narrow already (a Relu behind a layer does not: it is part of the layer).
fn moves(g: &Graph, node: &lowbit_ir::Node) -> bool {
    let from_placeholder =
        node.input(0).and_then(|v| rewrite::producer(g, v)).is_some_and(|(_, p)| matches!(p.op, Op::Simulate(_)));
    keeps_quantization(&node.op) && from_placeholder
}
