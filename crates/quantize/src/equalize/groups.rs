//! Values whose channels can only be multiplied together, and the layers around them.

use crate::prepare::{linear, rewrite};
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::{Graph, NodeId, Op, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Values that must be multiplied alike, with every layer that computes or reads one of them.
#[derive(Debug)]
pub struct Group {
    /// All of them: also those that stay inside a kernel, between a layer and its activation, carry the factors.
    pub members: Vec<ValueId>,
    /// The values among them that go to memory.
    pub values: Vec<ValueId>,
    /// Layers that compute one of them.
    pub producers: Vec<NodeId>,
    /// Layers that read one of them, and which.
    pub readers: Vec<(NodeId, ValueId)>,
    /// How many channels they have.
    pub channels: usize,
    /// Whether channels lie along the last axis, as a MatMul has them, or along the second.
    pub last: bool,
}

impl Group {
    /// The axis of the channels in a tensor of this rank.
    pub fn axis(&self, rank: usize) -> usize {
        if self.last { rank.saturating_sub(1) } else { 1 }
    }
}

/// What an operator is to the channels of its operands and results.
enum Part {
    /// Commutes with a positive factor for each channel.
    Channelwise,
    /// Takes a factor into constants, on either side.
    Layer,
    /// Gives other channels, or other numbers of them.
    Other,
}

fn part(g: &Graph, id: NodeId) -> Part {
    let node = g.node(id);
    match &node.op {
        Op::Conv(_) | Op::MatMul(_) if linear::has_constants(g, id) => Part::Layer,
        Op::Relu
        | Op::Unary(Unary::LeakyRelu { .. })
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Identity => Part::Channelwise,
        Op::Clip { min, .. } if *min == 0.0 => Part::Channelwise,
        Op::Binary(Binary::Add) => {
            let shape = |i| node.input(i).filter(|v| g.constant(*v).is_none()).map(|v| &g.ty(v).shape);
            match (shape(0), shape(1)) {
                (Some(a), Some(b)) if a == b => Part::Channelwise,
                _ => Part::Other,
            }
        }
        // Whatever else computes with channels of different scales is left as it is.
        _ => Part::Other,
    }
}

/// All groups with a layer on either side and nothing else around them, in graph order.
pub fn find(g: &Graph) -> Vec<Group> {
    let mut sets = Sets::default();
    let constants = g.values().map(|(v, _)| v).filter(|v| g.constant(*v).is_some());
    let mut blocked: BTreeSet<ValueId> = g.inputs.iter().chain(&g.outputs).copied().chain(constants).collect();
    for (id, node) in g.nodes() {
        match part(g, id) {
            Part::Channelwise => {
                if let Some(y) = rewrite::output(node) {
                    node.operands().for_each(|x| sets.join(x, y));
                }
            }
            Part::Layer => {}
            Part::Other => blocked.extend(node.operands().chain(node.outputs.iter().copied())),
        }
    }
    let blocked: BTreeSet<ValueId> = blocked.into_iter().map(|v| sets.of(v)).collect();
    let mut around: BTreeMap<ValueId, Around> = BTreeMap::new();
    for (id, node) in g.nodes().filter(|(id, _)| matches!(part(g, *id), Part::Layer)) {
        if let Some(y) = rewrite::output(node) {
            around.entry(sets.of(y)).or_default().producers.push(id);
        }
        if let Some(x) = node.input(0) {
            around.entry(sets.of(x)).or_default().readers.push((id, x));
        }
    }
    let users = g.users();
    let free = around.into_iter().filter(|(set, _)| !blocked.contains(set));
    free.filter_map(|(set, Around { producers, readers })| {
        let channels = linear::outputs(g, *producers.first()?)?;
        let last = matches!(g.node(*producers.first()?).op, Op::MatMul(_));
        let is_last = |id: NodeId| matches!(g.node(id).op, Op::MatMul(_)) == last;
        let alike = producers.iter().all(|p| is_last(*p) && linear::outputs(g, *p) == Some(channels))
            && readers.iter().all(|(r, _)| is_last(*r));
        if !alike || readers.is_empty() {
            return None;
        }
        // A value that only an activation reads stays inside a kernel.
        let in_memory = |v: ValueId| users.of(v).iter().any(|(id, _)| !is_activation(&g.node(*id).op));
        let members: Vec<ValueId> = g.values().map(|(v, _)| v).filter(|v| sets.of(*v) == set).collect();
        let values = members.iter().copied().filter(|v| in_memory(*v)).collect();
        Some(Group { members, values, producers, readers, channels, last })
    })
    .collect()
}

/// The layers around a set of values.
#[derive(Default)]
struct Around {
    producers: Vec<NodeId>,
    readers: Vec<(NodeId, ValueId)>,
}

fn is_activation(op: &Op) -> bool {
    matches!(op, Op::Relu | Op::Clip { .. })
}

/// Sets of values, joined as needed: each value points to another of its set, the last to itself.
#[derive(Default)]
struct Sets {
    next: HashMap<ValueId, ValueId>,
}

impl Sets {
    fn of(&self, mut v: ValueId) -> ValueId {
        while let Some(next) = self.next.get(&v) {
            v = *next;
        }
        v
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.of(a), self.of(b));
        if a != b {
            self.next.insert(a.max(b), a.min(b));
        }
    }
}
