//! Which values share their parameters: those that are the same integers in another place.
//!
//! An operator that only moves integers gives its result the operand's parameters. Operands that only a Concat reads
//! take the result's, so that joining copies integers; one that others read too keeps its own and is rescaled there.
//! The result's cover all operands, whoever reads them.

use crate::declined;
use crate::prepare::rewrite;
use crate::rules::keeps_quantization;
use lowbit_ir::request::Sharing;
use lowbit_ir::{Graph, Node, NodeId, Op};
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
    for (whole, copy) in ties(g, &placeholders) {
        moved.push(copy);
        let (a, b) = (find(&leader, whole), find(&leader, copy));
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

/// Pairs of placeholders with the same parameters: that of what is copied, that of the copy.
fn ties(g: &Graph, placeholders: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let (mut ties, declined) = (Vec::new(), declined::reasons(g));
    // What stays float moves no integers.
    for (_, node) in g.nodes().filter(|(_, n)| !declined.contains_key(&n.name)) {
        let results: Vec<NodeId> = placeholders
            .iter()
            .copied()
            .filter(|to| g.node(*to).input(0).is_some_and(|v| node.outputs.contains(&v)))
            .collect();
        // What moves may land in another channel, so scales by channel do not move along.
        let moves_along = |from: &NodeId, to: &NodeId| {
            let one_scale = super::spec(g, *from).is_some_and(|s| s.sharing == Sharing::Tensor);
            placeholders.contains(from) && one_scale && g.node(*from).op == g.node(*to).op
        };
        if matches!(node.op, Op::Concat { .. }) {
            for to in results {
                ties.extend(joined(g, node).filter(|from| moves_along(from, &to)).map(|from| (to, from)));
            }
        } else if keeps_quantization(&node.op) {
            // Only the first operand moves; a Gather's indices do not.
            let from = node.input(0).and_then(|v| g.producer(v));
            let moved = from.into_iter().flat_map(|from| results.iter().map(move |to| (from, *to)));
            ties.extend(moved.filter(|(from, to)| moves_along(from, to)));
        }
    }
    ties
}

/// The operands of a Concat that take its result's parameters.
///
/// They are parts of the result, which has seen all that they have, and what the other operands have besides.
fn joined<'a>(g: &'a Graph, concat: &'a Node) -> impl Iterator<Item = NodeId> + 'a {
    concat.operands().filter_map(|v| g.producer(v)).filter(|from| is_free(g, *from))
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
fn moves(g: &Graph, node: &Node) -> bool {
    let from_placeholder =
        node.input(0).and_then(|v| rewrite::producer(g, v)).is_some_and(|(_, p)| matches!(p.op, Op::Simulate(_)));
    keeps_quantization(&node.op) && from_placeholder
}
