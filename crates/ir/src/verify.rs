//! What is true of every graph, checked after every pass.
//!
//! 1. The order lists every live node exactly once.
//! 2. The order is topological: a node reads inputs of the graph, constants, and outputs of earlier nodes only.
//! 3. Every id that a node, the inputs or the outputs of the graph mention is that of a live value.
//! 4. Every value has a single definition and knows it: an input value is listed once among the inputs, a computed
//!    value is listed by its node at its place and nowhere else.
//! 5. Names are not empty, the name of a value finds it, and no two nodes share a name.
//! 6. Nothing dangles: every constant is read or is an output of the graph, and of every node so is some output.
//! 7. A node has as many operands and outputs as its operator takes, and only trailing optional operands are absent.
//! 8. The type of a constant is its tensor's type, and its integers lie within the quantized range.
//! 9. Only integer types are quantized.
//! 10. Quantization is well formed: the axis is within the rank, there is one scale and one zero point for every entry
//!     that granularity and shape ask for, scales are positive, normal and finite, zero points are within the storage
//!     type, and qmin <= qmax are, too.
//! 11. Output types are what inference says of the operator and its operand types.
//! 12. Rescaling is possible: the method can express every ratio of scales that it meets, output ranges fit 32 bits, and
//!     what is asked of a value still to be quantized is a width of 2 to 32 bits.
//! 13. Results keep to the range that their type declares, if operands do: what a table holds, or could hold where it is
//!     no constant, lies within the range of what is looked up in it, and no zero point of a rectified value is above its
//!     range. All other operators limit their results or give integers of their operands ([`ranges`](crate::ranges)),
//!     accumulators are proven before anything is compiled ([`bounds`](crate::bounds)).
//!
//! A violation is a bug of the pass or importer that made the graph; all are reported at once, up to twenty.
//! Attributes are checked where they are used: by inference.

use crate::{Customs, Def, Error, Granularity, Graph, Node, NodeId, Op, Quant, Result, Type, ValueId, infer, ranges};
use lowbit_arithmetic::{AddRescale, Rescale, requant::check_scale};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;

/// How many violations one error lists.
pub const LIMIT: usize = 20;

/// Checks all invariants; types behind custom operators are believed.
pub fn verify(g: &Graph) -> Result<()> {
    check(g, None)
}

/// Checks all invariants, those of custom operators too.
pub fn verify_with(g: &Graph, customs: &Customs) -> Result<()> {
    check(g, Some(customs))
}

fn check(g: &Graph, customs: Option<&Customs>) -> Result<()> {
    let mut found = Violations::default();
    order(g, &mut found);
    references(g, &mut found);
    definitions(g, &mut found);
    names(g, &mut found);
    reads(g, &mut found);
    for (_, value) in g.values() {
        constant(&value.name, &value.ty, &value.def, &mut found);
        quantization(&value.name, &value.ty, &mut found);
    }
    for (_, node) in nodes(g) {
        // Later checks read types by id and by place, so they need a node that 3 and 7 have nothing against.
        let sound =
            arity(node, &mut found) && node.operands().chain(node.outputs.iter().copied()).all(|v| g.has_value(v));
        if sound {
            types(g, node, customs, &mut found);
            rescaling(g, node, &mut found);
            if let Err(e) = ranges::check_node(g, node) {
                found.node(13, node, e.message());
            }
        }
    }
    found.into_result(&g.name)
}

/// What is wrong so far: the first [`LIMIT`] in words, and how many in all.
#[derive(Default)]
struct Violations {
    lines: Vec<String>,
    count: usize,
    /// The first error that one of them is, for what it came of.
    error: Option<Error>,
}

impl Violations {
    fn graph(&mut self, invariant: usize, what: impl Display) {
        self.count += 1;
        if self.lines.len() < LIMIT {
            self.lines.push(format!("[{invariant}] {what}"));
        }
    }

    fn node(&mut self, invariant: usize, node: &Node, what: impl Display) {
        self.graph(invariant, format_args!("node '{}': {what}", node.name));
    }

    fn value(&mut self, invariant: usize, name: &str, what: impl Display) {
        self.graph(invariant, format_args!("value '{name}': {what}"));
    }

    fn into_result(mut self, graph: &str) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        if self.count > self.lines.len() {
            self.lines.push(format!("and {} more", self.count - self.lines.len()));
        }
        let s = if self.count == 1 { "" } else { "s" };
        let lines = self.lines.join("\n  ");
        let all =
            Error::new(format!("expected a valid graph, found {} violation{s} in '{graph}':\n  {lines}", self.count));
        Err(self.error.iter().fold(all, Error::caused_as))
    }
}

/// The nodes in order, those that are live: an invalid graph must not bring the verifier down.
fn nodes(g: &Graph) -> impl Iterator<Item = (NodeId, &Node)> {
    g.order().iter().filter(|id| g.has_node(**id)).map(|id| (*id, g.node(*id)))
}

/// A value's name for messages, also where there is none.
fn name(g: &Graph, id: ValueId) -> String {
    match g.has_value(id) {
        true => format!("'{}'", g.value(id).name),
        false => format!("#{} (removed)", id.0),
    }
}

/// Invariants 1 and 2.
fn order(g: &Graph, found: &mut Violations) {
    let mut listed = HashSet::new();
    for id in g.order() {
        if !g.has_node(*id) {
            found.graph(1, format_args!("the order lists the removed node #{}", id.0));
        } else if !listed.insert(*id) {
            found.node(1, g.node(*id), "the order lists it twice");
        }
    }
    for id in (0..g.node_bound()).map(|i| NodeId(i as u32)).filter(|id| g.has_node(*id) && !listed.contains(id)) {
        found.node(1, g.node(id), "the order does not list it");
    }
    let mut known: HashSet<ValueId> =
        g.values().filter(|(_, v)| !matches!(v.def, Def::Node(..))).map(|(id, _)| id).collect();
    for (_, node) in nodes(g) {
        for v in node.operands().filter(|v| g.has_value(*v) && !known.contains(v)) {
            found.node(2, node, format_args!("it reads {}, which nothing before it computes", name(g, v)));
        }
        known.extend(&node.outputs);
    }
}

/// Invariant 3.
fn references(g: &Graph, found: &mut Violations) {
    for (_, node) in nodes(g) {
        for (i, v) in node.inputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?))) {
            if !g.has_value(v) {
                found.node(3, node, format_args!("operand {i} is the value {}", name(g, v)));
            }
        }
        for v in node.outputs.iter().filter(|v| !g.has_value(**v)) {
            found.node(3, node, format_args!("an output is the value {}", name(g, *v)));
        }
    }
    for v in g.inputs.iter().filter(|v| !g.has_value(**v)) {
        found.graph(3, format_args!("the graph's inputs list the value {}", name(g, *v)));
    }
    for v in g.outputs.iter().filter(|v| !g.has_value(**v)) {
        found.graph(3, format_args!("the graph's outputs list the value {}", name(g, *v)));
    }
}

/// Invariant 4.
fn definitions(g: &Graph, found: &mut Violations) {
    let mut listings: HashMap<ValueId, usize> = HashMap::new();
    for v in &g.inputs {
        *listings.entry(*v).or_default() += 1;
        if g.has_value(*v) && g.value(*v).def != Def::Input {
            found.value(4, &g.value(*v).name, "the graph's inputs list it, but it is none");
        }
    }
    for (id, node) in nodes(g) {
        for (i, v) in node.outputs.iter().enumerate().filter(|(_, v)| g.has_value(**v)) {
            *listings.entry(*v).or_default() += 1;
            if g.value(*v).def != Def::Node(id, i) {
                let what = format_args!("output {i} is {}, which is defined elsewhere", name(g, *v));
                found.node(4, node, what);
            }
        }
    }
    for (id, value) in g.values() {
        let listed = listings.get(&id).copied().unwrap_or(0);
        match (&value.def, listed) {
            (Def::Const(_), _) | (Def::Input | Def::Node(..), 1) => {}
            (Def::Input, 0) => found.value(4, &value.name, "it is an input, but the graph's inputs do not list it"),
            (Def::Node(..), 0) => found.value(4, &value.name, "no node lists it among its outputs"),
            (Def::Input | Def::Node(..), n) => found.value(4, &value.name, format_args!("it is defined {n} times")),
        }
    }
}

/// Invariant 5.
fn names(g: &Graph, found: &mut Violations) {
    for (id, value) in g.values() {
        if value.name.is_empty() {
            found.graph(5, format_args!("the value #{} has no name", id.0));
        } else if g.find(&value.name) != Some(id) {
            found.value(5, &value.name, "its name finds another value");
        }
    }
    let mut seen = HashSet::new();
    for (id, node) in nodes(g) {
        if node.name.is_empty() {
            found.graph(5, format_args!("the node #{} has no name", id.0));
        } else if !seen.insert(&node.name) {
            found.node(5, node, "another node has this name");
        }
    }
}

/// Invariant 6.
fn reads(g: &Graph, found: &mut Violations) {
    let mut read: HashSet<ValueId> = g.outputs.iter().copied().collect();
    nodes(g).for_each(|(_, node)| read.extend(node.operands()));
    for (id, value) in g.values() {
        if matches!(value.def, Def::Const(_)) && !read.contains(&id) {
            found.value(6, &value.name, "nothing reads this constant");
        }
    }
    for (_, node) in nodes(g) {
        if !node.outputs.iter().any(|v| read.contains(v)) {
            found.node(6, node, "nothing reads any output of it");
        }
    }
}

/// Invariant 7; whether it holds.
fn arity(node: &Node, found: &mut Violations) -> bool {
    let before = found.count;
    let (least, most) = node.op.arity();
    let given = node.inputs.len();
    if !(least..=most).contains(&given) {
        let expected = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        found.node(7, node, format_args!("expected {expected} operands of {}, found {given}", node.op.name()));
    }
    // Where any number of operands is taken, none of them is optional.
    let required = if most == usize::MAX { given } else { least };
    for i in (0..required.min(given)).filter(|i| node.input(*i).is_none()) {
        found.node(7, node, format_args!("operand {i} of {} is absent but not optional", node.op.name()));
    }
    let outputs = node.outputs.len();
    let fits = match &node.op {
        Op::Split { sizes, .. } => outputs == sizes.len(),
        Op::Recurrent(r) => outputs == if r.cell.has_memory() { 3 } else { 2 },
        Op::TopK(_) => outputs == 2,
        Op::Custom(_) => outputs > 0,
        _ => outputs == 1,
    };
    if !fits {
        found.node(7, node, format_args!("found {outputs} outputs, which {} does not give", node.op.name()));
    }
    found.count == before
}

/// Invariant 8.
fn constant(name: &str, ty: &Type, def: &Def, found: &mut Violations) {
    let Def::Const(tensor) = def else { return };
    if tensor.ty() != ty {
        found.value(8, name, format_args!("the type is {ty}, but the tensor's is {}", difference(ty, tensor.ty())));
    }
    // The value's type and the tensor's are the same, or that is a violation already.
    if let Err(e) = ranges::check_constant(tensor) {
        found.value(8, name, e.message());
    }
}

/// Invariants 9 and 10.
fn quantization(name: &str, ty: &Type, found: &mut Violations) {
    let Some(q) = &ty.quant else { return };
    let Some((lo, hi)) = ty.dtype.range().filter(|_| ty.dtype.is_integer()) else {
        return found.value(9, name, format_args!("{} cannot be quantized", ty.dtype));
    };
    match entry_count(q, ty) {
        Err(what) => found.value(10, name, what),
        Ok(expected) => {
            let fits = |n: usize| expected.map_or(n > 0, |expected| n == expected);
            let expected = expected.map_or("some".to_string(), |n| n.to_string());
            for (what, n) in [("scales", q.scale.len()), ("zero points", q.zero_point.len())] {
                if !fits(n) {
                    found.value(10, name, format_args!("expected {expected} {what} for {ty}, found {n}"));
                }
            }
            if q.scale.len() != q.zero_point.len() && fits(q.scale.len()) && fits(q.zero_point.len()) {
                let (s, z) = (q.scale.len(), q.zero_point.len());
                found.value(10, name, format_args!("expected as many zero points as scales, found {z} and {s}"));
            }
        }
    }
    if let Some((i, e)) = q.scale.iter().enumerate().find_map(|(i, s)| Some((i, check_scale(*s).err()?))) {
        found.value(10, name, format_args!("entry {i}: {e}"));
    }
    if let Some((i, z)) = q.zero_point.iter().enumerate().find(|(_, z)| !(lo..=hi).contains(&i64::from(**z))) {
        found.value(10, name, format_args!("entry {i}: the zero point {z} is outside of {} ({lo}..{hi})", ty.dtype));
    }
    if !(lo <= q.qmin && q.qmin <= q.qmax && q.qmax <= hi) {
        let range = format!("{}..{}", q.qmin, q.qmax);
        found.value(10, name, format_args!("the range {range} is empty or outside of {} ({lo}..{hi})", ty.dtype));
    }
}

/// How many scales granularity and shape ask for; `None` if that depends on an open dimension.
fn entry_count(q: &Quant, ty: &Type) -> Result<Option<usize>, String> {
    let dim = |axis: usize| match ty.shape.0.get(axis) {
        Some(d) => Ok(d.known()),
        None => Err(format!("the quantized axis {axis} is outside of the shape {}", ty.shape)),
    };
    match q.granularity {
        Granularity::Tensor => Ok(Some(1)),
        Granularity::Channel { axis } => dim(axis),
        Granularity::Block { size: 0, .. } => Err("expected blocks of at least one element, found 0".into()),
        Granularity::Block { axis, size } => {
            dim(axis)?;
            let blocks = |(i, d): (usize, usize)| if i == axis { d.div_ceil(size) } else { d };
            let dims = ty.shape.dims();
            Ok(dims.and_then(|d| d.into_iter().enumerate().map(blocks).try_fold(1usize, usize::checked_mul)))
        }
    }
}

/// Invariant 11.
fn types(g: &Graph, node: &Node, customs: Option<&Customs>, found: &mut Violations) {
    let none = Customs::default();
    let customs = match (&node.op, customs) {
        (_, Some(customs)) => customs,
        (Op::Custom(_), None) => return,
        (_, None) => &none,
    };
    let inputs: Vec<Option<&Type>> = node.inputs.iter().map(|v| v.map(|v| g.ty(v))).collect();
    let declared: Vec<Type> = node.outputs.iter().map(|v| g.ty(*v).clone()).collect();
    let inferred = match infer::infer(&node.op, &inputs, &declared, customs) {
        Ok(inferred) => inferred,
        Err(e) => {
            // Of what is the user's own, who and where it was is told too.
            match std::error::Error::source(&e) {
                None => found.node(11, node, e.message()),
                Some(_) => found.node(11, node, &e),
            }
            found.error.get_or_insert(e);
            return;
        }
    };
    if inferred.len() != declared.len() {
        let (n, m) = (declared.len(), inferred.len());
        found.node(11, node, format_args!("expected {m} outputs of {}, found {n}", node.op.name()));
    }
    for ((v, declared), inferred) in node.outputs.iter().zip(&declared).zip(&inferred) {
        if declared != inferred {
            let (v, other) = (name(g, *v), difference(declared, inferred));
            found.node(11, node, format_args!("its output {v} is {declared}, but inference says {other}"));
        }
    }
}

/// The other type, with a word on what differs where the short forms of both read the same.
fn difference(one: &Type, other: &Type) -> String {
    if one.to_string() != other.to_string() {
        return other.to_string();
    }
    let what = match (&one.quant, &other.quant) {
        (Some(a), Some(b)) if a.scale != b.scale => "another scale",
        (Some(a), Some(b)) if a.zero_point != b.zero_point => "another zero point",
        (Some(a), Some(b)) if a.granularity != b.granularity => "another granularity",
        _ => "another dimension of the same name",
    };
    format!("{other} with {what}")
}

/// Invariant 12.
fn rescaling(g: &Graph, node: &Node, found: &mut Violations) {
    let result = match &node.op {
        Op::Requantize(r) => each_ratio(g, node, |s, out| Ok(Rescale::new(r.method, s[0], out).map(|_| ())?)),
        Op::QAdd(r) => each_ratio(g, node, |s, out| Ok(AddRescale::new(r.method, s[0], s[1], out).map(|_| ())?)),
        Op::QMul(r) => each_ratio(g, node, |s, out| Ok(Rescale::for_product(r.method, s[0], s[1], out).map(|_| ())?)),
        Op::QAvgPool(p) => {
            // Windows cut off by padding count fewer: those ratios are known only where the windows are.
            let taps = match &p.pool {
                Some(pool) => pool.kernel.iter().try_fold(1usize, |n, k| n.checked_mul(*k)),
                None => node
                    .input(0)
                    .and_then(|x| g.ty(x).shape.0.get(2..)?.iter().try_fold(1usize, |n, d| n.checked_mul(d.known()?))),
            };
            let count = taps.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
            each_ratio(g, node, |s, out| Ok(Rescale::for_average(p.rescale.method, s[0], out, count).map(|_| ())?))
        }
        Op::Simulate(spec) if !(2..=32).contains(&spec.bits) => {
            Err(Error::new(format!("expected a width of 2 to 32 bits, found {}", spec.bits)))
        }
        _ => Ok(()),
    };
    if let Err(e) = result {
        found.node(12, node, e.message());
    }
}

/// Checks the scales of the operands against that of the output, entry by entry.
fn each_ratio(g: &Graph, node: &Node, possible: impl Fn([f32; 2], f32) -> Result<()>) -> Result<()> {
    let out = node.outputs.first().map(|v| g.ty(*v).quant()).transpose()?;
    let ins: Vec<&Quant> = node.operands().map(|v| g.ty(v).quant()).collect::<Result<_>>()?;
    let (Some(out), Some(first)) = (out, ins.first()) else { return Ok(()) };
    for (what, q) in [("qmin", out.qmin), ("qmax", out.qmax)] {
        if i32::try_from(q).is_err() {
            return Err(Error::new(format!("expected an output range within 32 bits, found {what} {q}")));
        }
    }
    let second = ins.get(1).unwrap_or(first);
    let entries = [*first, *second, out].iter().map(|q| q.scale.len()).max().unwrap_or(0);
    // A per-tensor scale stands for every entry; other lengths that differ are a matter of 10 and 11.
    let at = |q: &Quant, i: usize| q.scale.get(if q.is_per_tensor() { 0 } else { i }).copied();
    for i in 0..entries {
        if let (Some(a), Some(b), Some(o)) = (at(first, i), at(second, i), at(out, i)) {
            possible([a, b], o)?;
        }
    }
    Ok(())
}
