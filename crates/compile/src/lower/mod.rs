//! From nodes to steps: one function an operator family, weights packed on the way.
//!
//! Values of rank 3 and 4 may lie in memory channels last, which is what convolutions and pools read and write; all
//! others, and the graph's edges, are row-major. [`Lower::place`] gives a value in the layout asked for and adds the
//! transposition if it must. An operator without a kernel becomes a reference step, which the interpreter runs.

mod elementwise;
mod layout;
mod links;
mod mac;
mod movement;
mod pool;
mod rows;

pub use elementwise::{binary, unary};
pub use layout::Layout;

use crate::constants::Constants;
use crate::fuse::{chains, element_chains, row_chains};
use crate::plan::virtual_place;
use crate::target::Target;
use lowbit_ir::graph::Users;
use lowbit_ir::{Graph, Node, NodeId, Op, Result, ValueId, infer, memory};
use lowbit_kernels::{Features, Row, pick};
use lowbit_runtime::program::{Reference, type_bytes};
use lowbit_runtime::{Kind, Place, Step};
use std::collections::HashSet;

/// A program before its memory is planned.
#[derive(Debug, Default)]
pub struct Lowered {
    /// Steps over virtual places.
    pub steps: Vec<Step>,
    /// Size of each buffer in bytes.
    pub buffers: Vec<usize>,
    /// Weights, biases, tables.
    pub constants: Constants,
    /// Bytes of the tables of positions that steps hold.
    pub tables: usize,
    /// Where each graph input is expected.
    pub inputs: Vec<(ValueId, Place)>,
    /// Where each graph output is found.
    pub outputs: Vec<(ValueId, Place)>,
}

/// The state of lowering.
struct Lower<'a> {
    g: &'a Graph,
    features: Features,
    out: Lowered,
    /// Where each value lies: row-major, channels last, or both.
    places: Vec<[Option<Place>; 2]>,
    /// The nodes that read each value.
    users: Users,
    /// Values that lie within the one that a Concat makes of them, channels last.
    within: HashSet<ValueId>,
    /// Bytes that a program may take beyond its model.
    max_memory: usize,
}

/// Turns a verified graph into steps.
pub fn lower(g: &Graph, target: &Target) -> Result<Lowered> {
    let places = vec![[None; 2]; g.value_bound()];
    let (features, max_memory) = (target.isa.features, target.max_memory);
    let mut cx =
        Lower { g, features, out: Lowered::default(), places, users: g.users(), within: HashSet::new(), max_memory };
    for v in &g.inputs {
        let place = cx.define(*v, Layout::Plain)?;
        cx.out.inputs.push((*v, place));
    }
    let (by_last, absorbed) = chains(g);
    let (rows, in_rows) = row_chains(g);
    let ends = by_last.keys().chain(rows.keys());
    let taken = absorbed.iter().chain(&in_rows).chain(ends).copied().collect();
    let (elements, in_elements) = element_chains(g, &taken);
    for (id, node) in g.nodes() {
        if absorbed.contains(&id) || in_rows.contains(&id) || in_elements.contains(&id) {
            continue;
        }
        let lowered = cx.fits(node).and_then(|()| match (by_last.get(&id), rows.get(&id)) {
            (Some(chain), _) => mac::lower(&mut cx, chain),
            (None, Some(chain)) => rows::lower(&mut cx, chain),
            (None, None) => match elements.get(&id) {
                Some(chain) => links::lower(&mut cx, chain),
                None => cx.node(id, node),
            },
        });
        lowered.map_err(|e| e.at_node(node.name.clone()))?;
    }
    for v in &g.outputs {
        let place = cx.place(*v, Layout::Plain)?;
        cx.out.outputs.push((*v, place));
    }
    Ok(cx.out)
}

impl<'a> Lower<'a> {
    /// Refuses results that no program could hold, before anything is made that grows with them.
    fn fits(&self, node: &Node) -> Result<()> {
        let bytes = |v: ValueId| memory::bytes(self.g.ty(v));
        let Some(v) = node.outputs.iter().find(|v| bytes(**v) > self.max_memory) else { return Ok(()) };
        // What to allow is not what this value takes: others are there at the same time.
        let computed = |n: &Node| n.operands().filter(|v| self.g.constant(*v).is_none()).collect::<Vec<_>>();
        let together =
            |n: &Node| n.outputs.iter().copied().chain(computed(n)).map(bytes).fold(0, usize::saturating_add);
        let needed = self.g.nodes().map(|(_, n)| together(n)).max().unwrap_or(0);
        let what = format!("activations, of which {} are a value of this node", memory::text(bytes(*v)));
        memory::check(&what, needed, self.max_memory).map_err(|e| e.at_value(self.g.value(*v).name.clone()))
    }

    /// Asks for the memory of tables with these numbers of positions, before they are made.
    fn ask_tables(&mut self, positions: impl IntoIterator<Item = usize>) -> Result<()> {
        let entries = positions.into_iter().fold(0, usize::saturating_add);
        self.out.tables = entries.saturating_mul(size_of::<usize>()).saturating_add(self.out.tables);
        memory::check("tables of positions", self.out.tables, self.max_memory)
    }

    /// One node that is not part of a chain.
    fn node(&mut self, id: NodeId, node: &'a Node) -> Result<()> {
        match &node.op {
            // Always in a chain.
            Op::Conv(_) | Op::MatMul(_) | Op::Softmax { .. } | Op::LayerNorm { .. } | Op::Reduce(_) => {
                self.reference(id)
            }
            Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool | Op::QAvgPool(_) => pool::lower(self, id),
            Op::Relu
            | Op::Clip { .. }
            | Op::Unary(_)
            | Op::Quantize { .. }
            | Op::Dequantize
            | Op::Requantize(_)
            | Op::Table => elementwise::map(self, id),
            Op::Binary(_) | Op::QAdd(_) | Op::QMul(_) => elementwise::zip(self, id),
            Op::Identity | Op::Simulate(_) => movement::identity(self, id),
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => {
                movement::reshape(self, id)
            }
            Op::Transpose { perm } => movement::transpose(self, id, perm),
            Op::Slice(axes) => movement::slice(self, id, axes),
            Op::Split { axis, sizes } => movement::split(self, id, *axis, sizes),
            Op::Expand { .. } => movement::expand(self, id),
            Op::Concat { axis } => movement::concat(self, id, *axis),
            Op::Pad(p) => movement::pad(self, id, p),
            Op::Resize(r) => movement::resize(self, id, r),
            // Nobody waits for these: the interpreter is as good as a kernel.
            _ => self.reference(id),
        }
    }

    /// The kernel row for these features; every table starts with a scalar row, so there is one.
    fn row<R: Row>(&self, table: &'static [R]) -> Result<&'static R> {
        self.row_for(table, |_| true)
    }

    /// The kernel row for these features that is meant for a step.
    fn row_for<R: Row>(&self, table: &'static [R], fits: impl Fn(&R) -> bool) -> Result<&'static R> {
        pick(table, self.features, fits).ok_or_else(|| lowbit_ir::Error::new("expected a kernel row, found none"))
    }

    fn buffer(&mut self, bytes: usize) -> Place {
        self.out.buffers.push(bytes);
        virtual_place(self.out.buffers.len() - 1)
    }

    /// A new buffer for a value.
    fn define(&mut self, v: ValueId, layout: Layout) -> Result<Place> {
        let bytes = type_bytes(self.g.ty(v)).map_err(|e| e.at_value(self.g.value(v).name.clone()))?;
        let place = self.buffer(bytes);
        self.set(v, layout, place);
        Ok(place)
    }

    /// Says where a value lies. Where the layouts are the same bytes, it lies in both.
    fn set(&mut self, v: ValueId, layout: Layout, place: Place) {
        let slots = &mut self.places[v.0 as usize];
        slots[layout as usize] = Some(place);
        if layout::same_bytes(self.g.ty(v)) {
            *slots = [Some(place); 2];
        }
    }

    /// Whether a value lies channels last and not row-major.
    fn only_channels_last(&self, v: ValueId) -> bool {
        matches!(self.places[v.0 as usize], [None, Some(_)])
    }

    fn step(&mut self, nodes: &[NodeId], kind: Kind, macs: u64) {
        let names: Vec<&str> = nodes.iter().map(|n| self.g.node(*n).name.as_str()).collect();
        self.out.steps.push(Step { name: names.join(" + "), kind, macs });
    }

    /// The sizes of a value.
    fn dims(&self, v: ValueId) -> Result<Vec<usize>> {
        self.g.ty(v).shape.require().map_err(|e| e.at_value(self.g.value(v).name.clone()))
    }

    /// Operand `i` of a node, which its arity promises.
    fn input(&self, id: NodeId, i: usize) -> Result<ValueId> {
        self.g.node(id).input(i).ok_or_else(|| {
            lowbit_ir::Error::new(format!("expected an operand {i}, found none")).at_node(self.g.node(id).name.clone())
        })
    }

    /// Leaves a node to the interpreter.
    fn reference(&mut self, id: NodeId) -> Result<()> {
        let node = self.g.node(id);
        let mut inputs = Vec::new();
        for v in &node.inputs {
            inputs.push(match v {
                Some(v) => Some((self.place(*v, Layout::Plain)?, self.g.ty(*v).clone())),
                None => None,
            });
        }
        let mut outputs = Vec::new();
        for v in &node.outputs {
            outputs.push((self.define(*v, Layout::Plain)?, self.g.ty(*v).clone()));
        }
        let macs = infer::macs(self.g, id);
        self.step(&[id], Kind::Reference(Box::new(Reference { op: node.op.clone(), inputs, outputs })), macs);
        Ok(())
    }

    /// Leaves the head of a chain to the interpreter, and what else it has to be lowered alone.
    fn reference_chain(&mut self, head: NodeId, nodes: &[NodeId]) -> Result<()> {
        for id in nodes {
            match *id == head {
                true => self.reference(*id)?,
                false => self.node(*id, self.g.node(*id))?,
            }
        }
        Ok(())
    }
}
