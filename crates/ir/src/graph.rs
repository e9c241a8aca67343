//! The arena of nodes and values.
//!
//! Ids are stable: removing a node leaves a hole, and nothing is renumbered until [`Graph::compact`].
//! Nodes have an order, always topological: [`Graph::order`]. Values keep their source names through every pass.

use crate::{Error, Metadata, Op, Result, Tensor, Type};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Names a node of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Names a value of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// An operator applied to values.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The source's name of it; unique.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Operands; `None` for an optional one left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Which rule or config line made this node what it is, for reports.
    pub rule: Option<Arc<str>>,
}

impl Node {
    /// Operand `i`, if given.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// The operands that are given.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().copied().flatten()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Def {
    /// It is given at every run.
    Input,
    /// It is known.
    Const(Tensor),
    /// It is the output of this node with this index.
    Node(NodeId, usize),
}

/// Something that flows.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The source's name of it; unique.
    pub name: String,
    /// What it is.
    pub ty: Type,
    /// Where it comes from.
    pub def: Def,
}

/// A program: float, annotated (QDQ) or integer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// What the model says about itself.
    pub meta: Metadata,
    /// Values given at every run, in order.
    pub inputs: Vec<ValueId>,
    /// Results, in order.
    pub outputs: Vec<ValueId>,
    nodes: Vec<Option<Node>>,
    values: Vec<Option<Value>>,
    order: Vec<NodeId>,
    names: HashMap<String, ValueId>,
    node_names: HashSet<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    // ---- reading ----

    /// The nodes in topological order.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The nodes in topological order, with their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|id| (*id, self.node(*id)))
    }

    /// All values, in the order of their making.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().filter_map(|(i, v)| Some((ValueId(i as u32), v.as_ref()?)))
    }

    /// A node of this graph.
    ///
    /// # Panics
    /// If the id is of another graph or the node was removed: ids never come from files, so that is a bug.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("a live node of this graph")
    }

    /// A node of this graph, to change its operator or rule. Operands change by [`Graph::set_input`].
    ///
    /// # Panics
    /// As [`Graph::node`].
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("a live node of this graph")
    }

    /// A value of this graph.
    ///
    /// # Panics
    /// As [`Graph::node`].
    pub fn value(&self, id: ValueId) -> &Value {
        self.values[id.0 as usize].as_ref().expect("a live value of this graph")
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.value(id).ty
    }

    /// Replaces the type of a value (a constant's type is its tensor's: see [`Graph::set_const`]).
    ///
    /// # Panics
    /// As [`Graph::node`].
    pub fn set_ty(&mut self, id: ValueId, ty: Type) {
        self.values[id.0 as usize].as_mut().expect("a live value of this graph").ty = ty;
    }

    /// Whether this id names a live node.
    pub fn has_node(&self, id: NodeId) -> bool {
        self.nodes.get(id.0 as usize).is_some_and(Option::is_some)
    }

    /// Whether this id names a live value.
    pub fn has_value(&self, id: ValueId) -> bool {
        self.values.get(id.0 as usize).is_some_and(Option::is_some)
    }

    /// One past the largest value id, for tables indexed by value.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// One past the largest node id, for tables indexed by node.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }

    /// The value of this name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// The tensor of a constant value.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        match &self.value(id).def {
            Def::Const(t) => Some(t),
            Def::Input | Def::Node(..) => None,
        }
    }

    /// The node that computes a value.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        match self.value(id).def {
            Def::Node(node, _) => Some(node),
            Def::Input | Def::Const(_) => None,
        }
    }

    /// For every value, the nodes that read it with the operand index, in topological order.
    pub fn users(&self) -> Users {
        // Counted first, so that one piece of memory holds all: passes ask this often.
        let mut starts = vec![0u32; self.values.len() + 1];
        for v in self.nodes().flat_map(|(_, node)| node.operands()) {
            starts[v.0 as usize + 1] += 1;
        }
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let mut free = starts.clone();
        let mut readers = vec![(NodeId(0), 0); starts.last().map_or(0, |n| *n as usize)];
        for (id, node) in self.nodes() {
            for (i, v) in node.inputs.iter().enumerate() {
                if let Some(v) = v {
                    let at = &mut free[v.0 as usize];
                    readers[*at as usize] = (id, i);
                    *at += 1;
                }
            }
        }
        Users { starts, readers }
    }

    /// Whether the value is a result of the graph.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.contains(&id)
    }

    // ---- building ----

    /// A name not yet taken: `base`, or `base.1`, `base.2`, ...
    pub fn fresh_name(&self, base: &str) -> String {
        fresh(base, |n| self.names.contains_key(n))
    }

    /// A node name not yet taken.
    pub fn fresh_node_name(&self, base: &str) -> String {
        fresh(base, |n| self.node_names.contains(n))
    }

    fn add_value(&mut self, name: &str, ty: Type, def: Def) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        let name = self.fresh_name(name);
        self.names.insert(name.clone(), id);
        self.values.push(Some(Value { name, ty, def }));
        id
    }

    /// A new input.
    pub fn add_input(&mut self, name: &str, ty: Type) -> ValueId {
        let id = self.add_value(name, ty, Def::Input);
        self.inputs.push(id);
        id
    }

    /// A new constant; it shares the tensor's bytes.
    pub fn add_const(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.add_value(name, tensor.ty().clone(), Def::Const(tensor))
    }

    /// A new node at the end of the order, with outputs of these names and types; taken names get a suffix.
    pub fn add_node(&mut self, name: &str, op: Op, inputs: Vec<Option<ValueId>>, outputs: &[(&str, Type)]) -> NodeId {
        let at = self.order.len();
        self.insert_node(at, name, op, inputs, outputs)
    }

    /// A new node before another in the order.
    pub fn add_node_before(
        &mut self,
        before: NodeId,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: &[(&str, Type)],
    ) -> NodeId {
        let at = self.order.iter().position(|n| *n == before).unwrap_or(self.order.len());
        self.insert_node(at, name, op, inputs, outputs)
    }

    /// A new node after another in the order.
    pub fn add_node_after(
        &mut self,
        after: NodeId,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: &[(&str, Type)],
    ) -> NodeId {
        let at = self.order.iter().position(|n| *n == after).map_or(self.order.len(), |i| i + 1);
        self.insert_node(at, name, op, inputs, outputs)
    }

    /// Moves the last nodes of the order, those from place `from` on, right behind another that they were added for: they
    /// read nothing that is computed later.
    pub fn move_behind(&mut self, node: NodeId, from: usize) {
        let Some(at) = self.order.iter().position(|n| *n == node) else { return };
        if let Some(behind) = self.order.get_mut(at + 1..) {
            behind.rotate_left(from.saturating_sub(at + 1).min(behind.len()));
        }
    }

    fn insert_node(
        &mut self,
        at: usize,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: &[(&str, Type)],
    ) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let outputs =
            outputs.iter().enumerate().map(|(i, (n, ty))| self.add_value(n, ty.clone(), Def::Node(id, i))).collect();
        let name = self.fresh_node_name(name);
        self.node_names.insert(name.clone());
        self.nodes.push(Some(Node { name, op, inputs, outputs, rule: None }));
        self.order.insert(at, id);
        id
    }

    // ---- rewriting ----

    /// Makes operand `i` of a node another value.
    pub fn set_input(&mut self, node: NodeId, i: usize, value: Option<ValueId>) {
        let inputs = &mut self.node_mut(node).inputs;
        if inputs.len() <= i {
            inputs.resize(i + 1, None);
        }
        inputs[i] = value;
    }

    /// Makes a constant another tensor (and its type that tensor's).
    ///
    /// # Panics
    /// As [`Graph::node`].
    pub fn set_const(&mut self, id: ValueId, tensor: Tensor) {
        let value = self.values[id.0 as usize].as_mut().expect("a live value of this graph");
        value.ty = tensor.ty().clone();
        value.def = Def::Const(tensor);
    }

    /// Makes every reader of `old`, and the graph's outputs, read `new` instead.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for node in self.nodes.iter_mut().flatten() {
            for v in node.inputs.iter_mut().filter(|v| **v == Some(old)) {
                *v = Some(new);
            }
        }
        for v in self.outputs.iter_mut().filter(|v| **v == old) {
            *v = new;
        }
    }

    /// Gives `new` the name of `old`, which gets a suffix: for passes that replace a value by its better self.
    pub fn take_name(&mut self, new: ValueId, old: ValueId) {
        let name = self.value(old).name.clone();
        let other = self.fresh_name(&format!("{name}.was"));
        self.rename(old, &other);
        self.rename(new, &name);
    }

    /// Renames a value; a taken name gets a suffix.
    ///
    /// # Panics
    /// As [`Graph::node`].
    pub fn rename(&mut self, id: ValueId, name: &str) {
        let name = self.fresh_name(name);
        let value = self.values[id.0 as usize].as_mut().expect("a live value of this graph");
        let old = std::mem::replace(&mut value.name, name.clone());
        self.names.remove(&old);
        self.names.insert(name, id);
    }

    /// Removes a node and its output values. Nothing may read them any more.
    pub fn remove_node(&mut self, id: NodeId) {
        if let Some(node) = self.nodes[id.0 as usize].take() {
            self.node_names.remove(&node.name);
            node.outputs.iter().for_each(|v| self.remove_value(*v));
            self.order.retain(|n| *n != id);
        }
    }

    /// Removes a value that nothing reads and no node computes.
    pub fn remove_value(&mut self, id: ValueId) {
        if let Some(value) = self.values[id.0 as usize].take() {
            self.names.remove(&value.name);
        }
    }

    /// Removes nodes and constants that no output needs. Inputs stay. Returns whether anything went.
    pub fn sweep(&mut self) -> bool {
        let mut live: HashSet<ValueId> = self.outputs.iter().copied().collect();
        let mut dead = Vec::new();
        for id in self.order.iter().rev() {
            let node = self.node(*id);
            match node.outputs.iter().any(|v| live.contains(v)) {
                true => live.extend(node.operands()),
                false => dead.push(*id),
            }
        }
        let dead_nodes: HashSet<NodeId> = dead.iter().copied().collect();
        self.order.retain(|n| !dead_nodes.contains(n));
        for id in &dead {
            self.remove_node(*id);
        }
        let unused: Vec<ValueId> = self
            .values()
            .filter(|(id, v)| matches!(v.def, Def::Const(_)) && !live.contains(id))
            .map(|(id, _)| id)
            .collect();
        unused.iter().for_each(|id| self.remove_value(*id));
        !dead.is_empty() || !unused.is_empty()
    }

    /// Sorts the nodes topologically, keeping the present order where it can; an error names a node on a cycle.
    pub fn sort(&mut self) -> Result<()> {
        let mut ready: HashSet<ValueId> =
            self.values().filter(|(_, v)| !matches!(v.def, Def::Node(..))).map(|(id, _)| id).collect();
        let users = self.users();
        let mut missing: HashMap<NodeId, usize> = HashMap::new();
        let position: HashMap<NodeId, usize> = self.order.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        let mut queue = std::collections::BTreeSet::new();
        for (id, node) in self.nodes() {
            let wait = node.operands().filter(|v| !ready.contains(v)).count();
            missing.insert(id, wait);
            if wait == 0 {
                queue.insert((position[&id], id));
            }
        }
        let mut sorted = Vec::with_capacity(self.order.len());
        while let Some((_, id)) = queue.pop_first() {
            sorted.push(id);
            for v in self.node(id).outputs.clone() {
                ready.insert(v);
                for (user, _) in users.of(v) {
                    let wait = missing.entry(*user).or_insert(1);
                    *wait -= 1;
                    if *wait == 0 {
                        queue.insert((position[user], *user));
                    }
                }
            }
        }
        if sorted.len() < self.order.len() {
            let stuck = self.nodes().find(|(id, _)| missing.get(id).is_some_and(|m| *m > 0));
            let name = stuck.map(|(_, n)| n.name.clone()).unwrap_or_default();
            return Err(Error::new("the node is part of a cycle or reads a value that nothing computes").at_node(name));
        }
        self.order = sorted;
        Ok(())
    }

    /// The same graph with ids renumbered without holes: nodes in order, values by first appearance.
    pub fn compact(&self) -> Graph {
        let mut g = Graph { name: self.name.clone(), meta: self.meta.clone(), ..Graph::default() };
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        for v in &self.inputs {
            let value = self.value(*v);
            map.insert(*v, g.add_input(&value.name, value.ty.clone()));
        }
        let bring = |g: &mut Graph, map: &mut HashMap<ValueId, ValueId>, v: ValueId| {
            if let (Some(t), false) = (self.constant(v), map.contains_key(&v)) {
                map.insert(v, g.add_const(&self.value(v).name, t.clone()));
            }
            map.get(&v).copied()
        };
        for (_, node) in self.nodes() {
            let inputs = node.inputs.iter().map(|v| v.and_then(|v| bring(&mut g, &mut map, v))).collect();
            let outputs: Vec<(&str, Type)> =
                node.outputs.iter().map(|v| (self.value(*v).name.as_str(), self.ty(*v).clone())).collect();
            let id = g.add_node(&node.name, node.op.clone(), inputs, &outputs);
            g.node_mut(id).rule = node.rule.clone();
            let new = g.node(id).outputs.clone();
            map.extend(node.outputs.iter().copied().zip(new));
        }
        g.outputs = self.outputs.iter().filter_map(|v| bring(&mut g, &mut map, *v)).collect();
        g
    }
}

fn fresh(base: &str, taken: impl Fn(&str) -> bool) -> String {
    if !base.is_empty() && !taken(base) {
        return base.to_string();
    }
    (1u64..).map(|i| format!("{base}.{i}")).find(|n| !taken(n)).unwrap_or_default()
}

/// Who reads each value: a snapshot, made by [`Graph::users`].
#[derive(Debug, Clone)]
pub struct Users {
    /// Where the readers of each value start; one entry more than there are values.
    starts: Vec<u32>,
    readers: Vec<(NodeId, usize)>,
}

impl Users {
    /// The nodes that read a value, with the operand index.
    pub fn of(&self, id: ValueId) -> &[(NodeId, usize)] {
        let bound = |i: usize| self.starts.get(i).map(|n| *n as usize);
        let range = bound(id.0 as usize).zip(bound(id.0 as usize + 1)).map(|(from, to)| from..to);
        range.and_then(|range| self.readers.get(range)).unwrap_or(&[])
    }

    /// The node that reads a value, if it is read exactly once.
    pub fn only(&self, id: ValueId) -> Option<NodeId> {
        match self.of(id) {
            [(node, _)] => Some(*node),
            _ => None,
        }
    }
}
