//! Which nodes become one step: with the multiply-accumulate before them, or with the function of rows between them.
//!
//! Integer: `Conv|MatMul -> Requantize [-> QAdd]`; float: `Conv|MatMul [-> Relu|Clip] [-> Add] [-> Relu|Clip]`.
//! Rows: `[Dequantize ->] Softmax|LayerNorm [-> Quantize]` and `[Abs ->] Reduce`, of which the largest magnitude is one
//! function.
//! Elements: `[Dequantize of an accumulator ->] functions of f32 [-> Quantize]`, at least two nodes of what is left.
//! A value that somebody else reads, or that the graph gives out, ends a chain.

use crate::lower::{binary, unary};
use crate::weights;
use lowbit_arithmetic::Rounding;
use lowbit_ir::graph::Users;
use lowbit_ir::op::{Binary, ReduceKind, Rescale, Unary};
use lowbit_ir::{DType, Granularity, Graph, NodeId, Op, ValueId};
use std::collections::{HashMap, HashSet};

/// A multiply-accumulate and what follows it in registers.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The Conv or MatMul.
    pub mac: NodeId,
    /// All its nodes, in order.
    pub nodes: Vec<NodeId>,
    /// What it stores.
    pub output: ValueId,
    /// What happens before the store.
    pub tail: Tail,
}

/// What happens between the accumulator and memory.
#[derive(Debug, Clone)]
pub enum Tail {
    /// Nothing: integer accumulators are stored.
    Accumulator,
    /// Rescaled to the value `to`.
    Requant {
        /// How.
        rescale: Rescale,
        /// The narrow value, whose type says the rest.
        to: ValueId,
        /// Then added to another value.
        add: Option<(Rescale, ValueId)>,
    },
    /// Float: clamped, added to another value, clamped.
    Float {
        /// First clamp.
        clamp: (f32, f32),
        /// Another value and the second clamp.
        add: Option<(ValueId, (f32, f32))>,
    },
}

/// No limits.
pub const OPEN: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// Chains by their last node, and the nodes that vanish into them.
pub fn chains(g: &Graph) -> (HashMap<NodeId, Chain>, HashSet<NodeId>) {
    let users = g.users();
    let mut by_last = HashMap::new();
    let mut absorbed = HashSet::new();
    // Later chains claim a shared Add first: all its other operands are ready by then.
    for (id, node) in g.nodes().collect::<Vec<_>>().into_iter().rev() {
        if !node.op.is_layer() {
            continue;
        }
        let chain = match g.ty(node.outputs[0]).dtype {
            DType::F32 => float_chain(g, &users, id, &absorbed),
            _ => integer_chain(g, &users, id, &absorbed),
        };
        absorbed.extend(chain.nodes.iter().copied());
        if let Some(last) = chain.nodes.last() {
            by_last.insert(*last, chain);
        }
    }
    let lasts: Vec<NodeId> = by_last.keys().copied().collect();
    lasts.iter().for_each(|id| {
        absorbed.remove(id);
    });
    absorbed.extend(g.order().iter().filter(|id| weights::is_packed(g, &users, **id)));
    (by_last, absorbed)
}

/// A function of rows and what is done to each row before and after it.
#[derive(Debug, Clone)]
pub struct RowChain {
    /// The Softmax, LayerNorm or Reduce.
    pub f: NodeId,
    /// All its nodes, in order.
    pub nodes: Vec<NodeId>,
    /// What it reads.
    pub input: ValueId,
    /// What it stores.
    pub output: ValueId,
}

/// Row chains by their last node, and the nodes that vanish into them.
pub fn row_chains(g: &Graph) -> (HashMap<NodeId, RowChain>, HashSet<NodeId>) {
    let users = g.users();
    let (mut by_last, mut absorbed) = (HashMap::new(), HashSet::new());
    for (f, node) in g.nodes() {
        if let (Op::Reduce(r), Some(x), &[output]) = (&node.op, node.input(0), &*node.outputs) {
            let chain = reduction(g, &users, f, r.kind, x, output, &absorbed);
            absorbed.extend(chain.nodes.iter().copied().filter(|id| *id != f));
            by_last.insert(f, chain);
            continue;
        }
        let (Op::Softmax { .. } | Op::LayerNorm { .. }, Some(x), &[y]) = (&node.op, node.input(0), &*node.outputs)
        else {
            continue;
        };
        let made = |id: &NodeId| matches!(g.node(*id).op, Op::Dequantize) && next(g, &users, x, &absorbed) == Some(f);
        let before = g.producer(x).filter(made).and_then(|id| Some((id, g.node(id).input(0)?)));
        let before = before.filter(|(_, of)| of_one_scale(g, *of));
        let after = next(g, &users, y, &absorbed).filter(|id| {
            let half_even = matches!(g.node(*id).op, Op::Quantize { rounding: Rounding::HalfEven });
            half_even && g.node(*id).outputs.iter().all(|v| narrow(g, *v))
        });
        let nodes: Vec<NodeId> = before.map(|(id, _)| id).into_iter().chain([f]).chain(after).collect();
        let Some((last, others)) = nodes.split_last() else { continue };
        let output = after.and_then(|id| g.node(id).outputs.first().copied()).unwrap_or(y);
        absorbed.extend(others.iter().copied());
        by_last.insert(*last, RowChain { f, input: before.map_or(x, |(_, of)| of), output, nodes: nodes.clone() });
    }
    (by_last, absorbed)
}

/// Functions of one element after another.
#[derive(Debug, Clone)]
pub struct ElementChain {
    /// All its nodes, in order.
    pub nodes: Vec<NodeId>,
    /// What it reads.
    pub input: ValueId,
    /// What it stores.
    pub output: ValueId,
}

/// Chains of elements by their last node, and the nodes that vanish into them; none of those `taken` by other chains.
pub fn element_chains(g: &Graph, taken: &HashSet<NodeId>) -> (HashMap<NodeId, ElementChain>, HashSet<NodeId>) {
    let users = g.users();
    let (mut by_last, mut absorbed) = (HashMap::new(), HashSet::new());
    for (first, node) in g.nodes() {
        let free = |id: NodeId| !taken.contains(&id) && !absorbed.contains(&id) && !by_last.contains_key(&id);
        let (true, Some(input), &[mut output]) = (free(first), node.input(0), &*node.outputs) else { continue };
        let sums = matches!(node.op, Op::Dequantize) && matches!(g.ty(input).dtype, DType::I32 | DType::I64);
        // Of two operands the chain goes through the one that has the result's shape.
        let through = |v: ValueId| g.ty(v).shape == g.ty(output).shape;
        let candidates = [Some(input), node.input(1)].into_iter().flatten();
        let input = match is_element(g, first) {
            true => candidates.into_iter().find(|v| through(*v)),
            false => Some(input).filter(|_| sums),
        };
        let Some(input) = input else { continue };
        let mut nodes = vec![first];
        while let Some(id) = next(g, &users, output, taken).filter(|id| free(*id)) {
            let (node, &[result]) = (g.node(id), &*g.node(id).outputs) else { break };
            let same = g.ty(result).shape == g.ty(output).shape;
            let twice = node.operands().filter(|v| *v == output).count() > 1;
            let ends = matches!(node.op, Op::Quantize { rounding: Rounding::HalfEven }) && narrow(g, result);
            if !same || twice || !(ends || is_element(g, id)) {
                break;
            }
            nodes.push(id);
            output = result;
            if ends {
                break;
            }
        }
        if let Some((last, others)) = nodes.split_last().filter(|(_, others)| !others.is_empty()) {
            absorbed.extend(others.iter().copied());
            by_last.insert(*last, ElementChain { nodes: nodes.clone(), input, output });
        }
    }
    (by_last, absorbed)
}

/// Whether a node is a function of floats that has a kernel, of one value or of two.
fn is_element(g: &Graph, id: NodeId) -> bool {
    let node = g.node(id);
    let floats = node.operands().chain(node.outputs.iter().copied()).all(|v| g.ty(v).dtype == DType::F32);
    let limits = matches!(node.op, Op::Relu | Op::Clip { .. });
    let of_one = matches!(node.op, Op::Unary(f) if unary(f).is_some());
    let of_two = matches!(node.op, Op::Binary(f) if binary(f).is_some());
    floats && (limits || of_one || of_two)
}

/// A reduction, with the magnitudes that it is the greatest of.
fn reduction(
    g: &Graph,
    users: &Users,
    f: NodeId,
    kind: ReduceKind,
    x: ValueId,
    output: ValueId,
    taken: &HashSet<NodeId>,
) -> RowChain {
    let sizes = g.producer(x).filter(|id| {
        let abs = matches!(g.node(*id).op, Op::Unary(Unary::Abs)) && g.ty(x).dtype == DType::F32;
        abs && kind == ReduceKind::Max && next(g, users, x, taken) == Some(f)
    });
    match sizes.and_then(|id| Some((id, g.node(id).input(0)?))) {
        Some((id, of)) => RowChain { f, nodes: vec![id, f], input: of, output },
        None => RowChain { f, nodes: vec![f], input: x, output },
    }
}

/// Whether a row of a value can be made real by one scale: bytes, or accumulators without a zero point.
fn of_one_scale(g: &Graph, v: ValueId) -> bool {
    let zero = g.ty(v).quant.as_ref().is_some_and(|q| q.zero_point.iter().all(|z| *z == 0));
    per_tensor(g, v) && (g.ty(v).dtype == DType::U8 || (matches!(g.ty(v).dtype, DType::I32 | DType::I64) && zero))
}

/// The sole reader of a value, if the value can stay in registers until it.
fn next(g: &Graph, users: &Users, v: ValueId, taken: &HashSet<NodeId>) -> Option<NodeId> {
    users.only(v).filter(|n| !g.is_output(v) && !taken.contains(n))
}

/// The other operand of an addition, if it can be read tile by tile: same type, computed, not the chain's own value.
fn other(g: &Graph, add: NodeId, mine: ValueId) -> Option<ValueId> {
    let node = g.node(add);
    let (a, b) = (node.input(0)?, node.input(1)?);
    let other = if a == mine { b } else { a };
    let alike = g.ty(other).shape == g.ty(mine).shape && g.ty(other).dtype == g.ty(mine).dtype;
    (other != mine && alike && g.constant(other).is_none()).then_some(other)
}

fn integer_chain(g: &Graph, users: &Users, mac: NodeId, taken: &HashSet<NodeId>) -> Chain {
    let acc = g.node(mac).outputs[0];
    let plain = Chain { mac, nodes: vec![mac], output: acc, tail: Tail::Accumulator };
    let Some(requant) = next(g, users, acc, taken) else { return plain };
    let (Op::Requantize(rescale), &[to]) = (&g.node(requant).op, g.node(requant).outputs.as_slice()) else {
        return plain;
    };
    let rescale = *rescale;
    let Some(x) = g.node(mac).input(0).map(|x| g.ty(x).dtype) else { return plain };
    // Which kernel sums is decided by the activations, and each kernel stores one width.
    let fits = matches!(
        (x, g.ty(acc).dtype, g.ty(to).dtype),
        (DType::U8, DType::I32, DType::U8) | (DType::U16, DType::I32 | DType::I64, DType::U16)
    );
    if !fits || !stored_alike(g, mac, to) || by_chance(rescale) {
        return plain;
    }
    let nodes = vec![mac, requant];
    let alone = Chain { mac, nodes: nodes.clone(), output: to, tail: Tail::Requant { rescale, to, add: None } };
    let Some(add) = next(g, users, to, taken) else { return alone };
    let (Op::QAdd(how), &[sum]) = (&g.node(add).op, g.node(add).outputs.as_slice()) else { return alone };
    match other(g, add, to) {
        Some(other) if narrow(g, to) && narrow(g, sum) && !by_chance(*how) => Chain {
            mac,
            nodes: vec![mac, requant, add],
            output: sum,
            tail: Tail::Requant { rescale, to, add: Some((*how, other)) },
        },
        Some(_) | None => alone,
    }
}

/// Whether a rounding asks where in its sample an element lies, which kernels that only see a part of it do not know.
pub const fn by_chance(how: Rescale) -> bool {
    matches!(how.rounding, Rounding::Stochastic { .. })
}

/// Whether a value is what the epilogues store: u8 with one scale.
fn narrow(g: &Graph, v: ValueId) -> bool {
    g.ty(v).dtype == DType::U8 && per_tensor(g, v)
}

/// Whether the epilogues can store a value: multipliers may differ by output channel, zero points may not.
fn stored_alike(g: &Graph, mac: NodeId, v: ValueId) -> bool {
    let Some(quant) = &g.ty(v).quant else { return false };
    let axis = match &g.node(mac).op {
        Op::Conv(_) => 1,
        _ => g.ty(v).shape.rank().saturating_sub(1),
    };
    let by_channel = matches!(quant.granularity, Granularity::Channel { axis: found } if found == axis);
    quant.is_per_tensor() || (by_channel && quant.common_zero_point().is_some())
}

fn per_tensor(g: &Graph, v: ValueId) -> bool {
    g.ty(v).quant.as_ref().is_some_and(lowbit_ir::Quant::is_per_tensor)
}

fn float_chain(g: &Graph, users: &Users, mac: NodeId, taken: &HashSet<NodeId>) -> Chain {
    let mut nodes = vec![mac];
    let mut output = g.node(mac).outputs[0];
    let mut clamp = OPEN;
    let mut add = None;
    while let Some(id) = next(g, users, output, taken) {
        let node = g.node(id);
        match (&node.op, &mut add) {
            (op, None) if limits(op).is_some() && clamp == OPEN => clamp = limits(op).unwrap_or(OPEN),
            (op, Some((_, second))) if limits(op).is_some() && *second == OPEN => *second = limits(op).unwrap_or(OPEN),
            (Op::Binary(Binary::Add), None) => match other(g, id, output) {
                // Addition commutes to the bit, so the side does not matter.
                Some(other) => add = Some((other, OPEN)),
                None => break,
            },
            _ => break,
        }
        nodes.push(id);
        output = node.outputs[0];
    }
    Chain { mac, nodes, output, tail: Tail::Float { clamp, add } }
}

/// The limits of a clamp.
pub fn limits(op: &Op) -> Option<(f32, f32)> {
    match op {
        Op::Relu => Some((0.0, f32::INFINITY)),
        Op::Clip { min, max } => Some((*min, *max)),
        _ => None,
    }
}
