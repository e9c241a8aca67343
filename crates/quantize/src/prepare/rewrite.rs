//! What the rewriting passes share: how to look around a node and how to replace it.

use lowbit_ir::op::Binary;
use lowbit_ir::{Graph, Node, NodeId, Op, Result, Tensor, ValueId};

/// Offers every node, in order, to `rewrite`; tells whether any was rewritten.
pub fn each_node(g: &mut Graph, mut rewrite: impl FnMut(&mut Graph, NodeId) -> Result<bool>) -> Result<bool> {
    let mut changed = false;
    for id in g.order().to_vec() {
        if g.has_node(id) {
            let name = g.node(id).name.clone();
            changed |= rewrite(g, id).map_err(|e| e.at_node(name))?;
        }
    }
    Ok(changed)
}

/// The node that computes a value.
pub fn producer(g: &Graph, v: ValueId) -> Option<(NodeId, &Node)> {
    g.producer(v).map(|id| (id, g.node(id)))
}

/// The one node that reads a value, if it is read exactly once and is no result of the graph.
pub fn sole_user(g: &Graph, v: ValueId) -> Option<NodeId> {
    if g.is_output(v) {
        return None;
    }
    let mut readers = g.nodes().flat_map(|(id, n)| n.operands().filter(|o| *o == v).map(move |_| id));
    match (readers.next(), readers.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The first result of a node; every operator but a custom one has at least one.
pub fn output(node: &Node) -> Option<ValueId> {
    node.outputs.first().copied()
}

/// The elements of a float constant.
pub fn floats(g: &Graph, v: ValueId) -> Option<Vec<f32>> {
    let t = g.constant(v)?;
    t.dtype().is_float().then(|| t.floats().ok().map(|f| f.into_owned())).flatten()
}

/// The value of a float constant whose elements are all equal.
pub fn uniform(g: &Graph, v: ValueId) -> Option<f32> {
    let data = floats(g, v)?;
    let first = *data.first()?;
    data.iter().all(|x| x.to_bits() == first.to_bits()).then_some(first)
}

/// A float constant that varies along one axis of a tensor of this rank only, spread to `channels` elements.
pub fn along_axis(g: &Graph, v: ValueId, rank: usize, axis: usize, channels: usize) -> Option<Vec<f32>> {
    let dims = g.constant(v)?.dims();
    let lead = rank.checked_sub(dims.len())?;
    let fits = dims.iter().enumerate().all(|(i, d)| *d == 1 || (i + lead == axis && *d == channels));
    if !fits {
        return None;
    }
    let data = floats(g, v)?;
    match data.as_slice() {
        [one] => Some(vec![*one; channels]),
        _ => Some(data),
    }
}

/// The two operands of a binary operator of this kind.
pub fn binary(node: &Node, kind: Binary) -> Option<(ValueId, ValueId)> {
    match (&node.op, node.inputs.as_slice()) {
        (Op::Binary(k), [Some(a), Some(b)]) if *k == kind => Some((*a, *b)),
        _ => None,
    }
}

/// Makes every reader of a node's only result read `value` instead, which takes over its name, and removes the node.
///
/// For values that now compute what the node computed.
pub fn supersede(g: &mut Graph, node: NodeId, value: ValueId) {
    if let Some(old) = output(g.node(node)) {
        g.replace_uses(old, value);
        g.take_name(value, old);
        g.remove_node(node);
    }
}

/// Removes a node whose result is its operand `value`; the operand keeps its name unless the result is the graph's.
///
/// A graph whose result is its own input or another result keeps the node: both names are the user's.
pub fn bypass(g: &mut Graph, node: NodeId, value: ValueId) -> bool {
    let Some(old) = output(g.node(node)) else { return false };
    if g.is_output(old) {
        if g.producer(value).is_none() || g.is_output(value) {
            return false;
        }
        supersede(g, node, value);
    } else {
        g.replace_uses(old, value);
        g.remove_node(node);
    }
    true
}

/// Changes a constant for one reader: in place if nobody else reads it, else as a new value.
pub fn replace_constant(g: &mut Graph, reader: NodeId, operand: usize, tensor: Tensor) {
    match g.node(reader).input(operand) {
        Some(old) if sole_user(g, old) == Some(reader) => g.set_const(old, tensor),
        Some(old) => {
            let name = g.value(old).name.clone();
            let new = g.add_const(&name, tensor);
            g.set_input(reader, operand, Some(new));
        }
        None => {
            let name = format!("{}.bias", g.node(reader).name);
            let new = g.add_const(&name, tensor);
            g.set_input(reader, operand, Some(new));
        }
    }
}
