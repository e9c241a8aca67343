//! From graph to text. Nothing here fails or panics, whatever the graph: one that a pass has broken must print too.

use super::Constants;
use super::attributes::{Attr, attributes};
use super::number::{elements, f32_text, fnv, hex};
use super::scan::{name_char, quote};
use crate::{Def, Dim, Granularity, Graph, Node, Quant, Shape, Tensor, Type, ValueId};
use std::collections::HashSet;
use std::fmt::Write;

/// Constants of up to so many elements are lists.
const SMALL: usize = 16;
/// Parameter lists of up to so many entries are never elided.
const SHORT: usize = 4;

pub(super) fn graph(g: &Graph, constants: Constants) -> String {
    let mut p = Printer { g, constants, out: String::new(), shown: HashSet::new() };
    p.out.push_str("graph ");
    quote(&g.name, &mut p.out);
    p.out.push_str(" {\n");
    p.metadata();
    for v in &g.inputs {
        p.out.push_str("  input ");
        p.value(*v);
        p.out.push('\n');
    }
    for id in g.order().iter().filter(|id| g.has_node(**id)) {
        let node = g.node(*id);
        node.operands().for_each(|v| p.constant(v));
        p.node(node);
    }
    g.outputs.iter().for_each(|v| p.constant(*v));
    g.values().for_each(|(v, _)| p.constant(v));
    for v in &g.outputs {
        p.out.push_str("  output ");
        p.name(*v);
        p.out.push('\n');
    }
    p.out.push_str("}\n");
    p.out
}

struct Printer<'a> {
    g: &'a Graph,
    constants: Constants,
    out: String,
    /// The constants that stand in the text already.
    shown: HashSet<ValueId>,
}

impl Printer<'_> {
    fn metadata(&mut self) {
        let meta = &self.g.meta;
        for (key, text) in [("producer", &meta.producer), ("doc", &meta.doc)] {
            if !text.is_empty() {
                self.out.push_str("  meta ");
                self.out.push_str(key);
                self.out.push(' ');
                quote(text, &mut self.out);
                self.out.push('\n');
            }
        }
        for (key, text) in &meta.properties {
            self.out.push_str("  property ");
            quote(key, &mut self.out);
            self.out.push(' ');
            quote(text, &mut self.out);
            self.out.push('\n');
        }
    }

    /// `%name`; a value that is gone by its id, which does not parse.
    fn name(&mut self, v: ValueId) {
        match self.g.has_value(v) {
            true => sigil('%', &self.g.value(v).name, &mut self.out),
            false => self.write(format_args!("%<removed {}>", v.0)),
        }
    }

    /// `%name: type`.
    fn value(&mut self, v: ValueId) {
        self.name(v);
        if self.g.has_value(v) {
            self.out.push_str(": ");
            type_text(self.g.ty(v), self.constants, &mut self.out);
        }
    }

    fn constant(&mut self, v: ValueId) {
        if !self.g.has_value(v) {
            return;
        }
        let Def::Const(tensor) = &self.g.value(v).def else { return };
        if self.shown.insert(v) {
            self.out.push_str("  const ");
            self.value(v);
            self.out.push_str(" = ");
            self.data(tensor);
            self.out.push('\n');
        }
    }

    fn data(&mut self, t: &Tensor) {
        let small = if t.count() <= SMALL { elements(t) } else { None };
        match (small, self.constants) {
            (Some(elements), _) => bracket(elements, &mut self.out),
            (None, Constants::Full) => {
                self.out.push_str("hex \"");
                hex(t.bytes(), &mut self.out);
                self.out.push('"');
            }
            (None, Constants::Elided) => {
                self.write(format_args!("elided({} bytes, fnv {:016x})", t.bytes().len(), fnv(t.bytes())));
            }
        }
    }

    fn node(&mut self, node: &Node) {
        self.out.push_str("  ");
        for (i, v) in node.outputs.iter().enumerate() {
            self.out.push_str(if i > 0 { ", " } else { "" });
            self.value(*v);
        }
        self.out.push_str(if node.outputs.is_empty() { "() = " } else { " = " });
        self.out.push_str(node.op.name());
        self.out.push('(');
        for (i, v) in node.inputs.iter().enumerate() {
            self.out.push_str(if i > 0 { ", " } else { "" });
            match v {
                Some(v) => self.name(*v),
                None => self.out.push('_'),
            }
        }
        self.out.push(')');
        self.attributes(node);
        let named = node.outputs.first().is_some_and(|v| self.g.has_value(*v) && self.g.value(*v).name == node.name);
        if !named {
            self.out.push(' ');
            sigil('@', &node.name, &mut self.out);
        }
        if let Some(rule) = &node.rule {
            self.out.push_str(" rule ");
            quote(rule, &mut self.out);
        }
        self.out.push('\n');
    }

    fn attributes(&mut self, node: &Node) {
        for (i, (name, attr)) in attributes(&node.op).into_iter().enumerate() {
            self.out.push_str(if i > 0 { ", " } else { " {" });
            self.out.push_str(name);
            match attr {
                Attr::Flag => {}
                Attr::Token(t) => self.write(format_args!(" {t}")),
                Attr::Text(s) => {
                    self.out.push(' ');
                    quote(&s, &mut self.out);
                }
                Attr::List(ts) => {
                    self.out.push(' ');
                    bracket(ts, &mut self.out);
                }
            }
        }
        if !attributes(&node.op).is_empty() {
            self.out.push('}');
        }
    }

    fn write(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.out.write_fmt(args);
    }
}

fn sigil(sigil: char, name: &str, out: &mut String) {
    out.push(sigil);
    match !name.is_empty() && name.chars().all(name_char) {
        true => out.push_str(name),
        false => quote(name, out),
    }
}

fn bracket(items: impl IntoIterator<Item = impl AsRef<str>>, out: &mut String) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        out.push_str(item.as_ref());
    }
    out.push(']');
}

fn type_text(ty: &Type, constants: Constants, out: &mut String) {
    out.push_str(ty.dtype.name());
    out.push('[');
    shape(&ty.shape, out);
    out.push(']');
    if let Some(q) = &ty.quant {
        quant(q, ty, constants, out);
    }
}

fn shape(shape: &Shape, out: &mut String) {
    if shape.rank() == 0 {
        out.push_str("scalar");
    }
    for (i, d) in shape.0.iter().enumerate() {
        out.push_str(if i > 0 { "x" } else { "" });
        match d {
            Dim::Known(n) => out.push_str(&n.to_string()),
            Dim::Symbol(s) if is_symbol(s) && &**s != "scalar" => out.push_str(s),
            Dim::Symbol(s) => quote(s, out),
        }
    }
}

/// Whether a symbol needs no quotes: an `x` in it would read as the mark between dimensions.
fn is_symbol(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && s.chars().all(|c| name_char(c) && c != 'x')
}

fn quant(q: &Quant, ty: &Type, constants: Constants, out: &mut String) {
    let list = q.granularity != Granularity::Tensor || q.scale.len() != 1;
    let entries = |items: Vec<String>, out: &mut String| match constants {
        Constants::Elided if items.len() > SHORT => {
            let some = items.iter().take(SHORT - 1).cloned();
            bracket(some.chain([format!("... {} in all", items.len())]), out);
        }
        Constants::Full | Constants::Elided => bracket(items, out),
    };
    out.push('{');
    match (list, q.scale.first()) {
        (false, Some(s)) => out.push_str(&f32_text(*s)),
        _ => entries(q.scale.iter().map(|s| f32_text(*s)).collect(), out),
    }
    out.push_str(" * ");
    let first = q.zero_point.first().copied().unwrap_or(0);
    // One zero point stands for as many as there are scales.
    let uniform = q.zero_point.len() == q.scale.len() && q.zero_point.iter().all(|z| *z == first);
    match (uniform, first) {
        (true, 0) => out.push('q'),
        (true, z) => out.push_str(&format!("(q - {z})")),
        (false, _) => {
            out.push_str("(q - ");
            entries(q.zero_point.iter().map(i32::to_string).collect(), out);
            out.push(')');
        }
    }
    if ty.dtype.range() != Some((q.qmin, q.qmax)) {
        out.push_str(&format!(" in {}..{}", q.qmin, q.qmax));
    }
    match q.granularity {
        Granularity::Tensor => {}
        Granularity::Channel { axis } => out.push_str(&format!(", axis {axis}")),
        Granularity::Block { axis, size } => out.push_str(&format!(", axis {axis}, block {size}")),
    }
    out.push('}');
}
