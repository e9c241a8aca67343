//! One node of a symbol, as an import function sees it: attributes, which are texts, operands, results.

use super::symbol::Node;
use crate::build::sizes::{Size, reshape_dims};
use crate::build::{Builder, Item};
use lowbit_ir::{Dim, Error, Op, Result, Shape, Tensor, Type, bail};
use std::collections::HashSet;

/// A node being imported.
pub struct Site<'a> {
    /// The graph it goes to.
    pub builder: &'a mut Builder,
    node: &'a Node,
    operands: Vec<Item>,
    /// How many outputs of it something reads.
    outputs: usize,
    read: HashSet<&'a str>,
    reached: usize,
    results: Vec<Item>,
}

impl<'a> Site<'a> {
    /// A view of `node`, which reads these operands and whose first `outputs` outputs are read.
    pub fn new(node: &'a Node, operands: Vec<Item>, outputs: usize, builder: &'a mut Builder) -> Self {
        Site { builder, node, operands, outputs, read: HashSet::new(), reached: 0, results: Vec::new() }
    }

    /// The node's name.
    pub fn name(&self) -> &'a str {
        &self.node.name
    }

    /// The operator, as the file names it.
    pub fn op(&self) -> &'a str {
        &self.node.op
    }

    /// The results; an error if an attribute or an operand was never read: then its meaning would be lost silently.
    pub fn done(self) -> Result<Vec<Item>> {
        if let Some((key, value)) = self.node.attributes.iter().find(|(key, _)| !self.read.contains(key.as_str())) {
            bail!("attribute '{key}' ({value}) is not supported");
        }
        match self.operands.len() > self.reached {
            true => bail!("expected at most {} operands, found {}", self.reached, self.operands.len()),
            false => Ok(self.results),
        }
    }

    // ---- attributes ----

    /// A text that is neither empty nor "None".
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let (key, value) = self.node.attributes.get_key_value(key)?;
        self.read.insert(key);
        Some(value.trim()).filter(|v| !v.is_empty() && *v != "None")
    }

    /// One of several words, the first of which is the default.
    pub fn word(&mut self, key: &str, words: &[&'static str]) -> Result<&'static str> {
        let found = self.text(key);
        match words.iter().find(|w| found.is_none_or(|found| found == **w)) {
            Some(word) => Ok(word),
            None => bail!("expected '{key}' to be one of {}, found '{}'", words.join(", "), found.unwrap_or_default()),
        }
    }

    /// True or False.
    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        match self.text(key) {
            None => Ok(default),
            Some("True" | "true" | "1") => Ok(true),
            Some("False" | "false" | "0") => Ok(false),
            Some(other) => bail!("expected '{key}' to be True or False, found '{other}'"),
        }
    }

    /// A whole number.
    pub fn int(&mut self, key: &str) -> Result<Option<i64>> {
        self.text(key).map(|text| whole(key, text)).transpose()
    }

    /// A whole number that must be given.
    pub fn required(&mut self, key: &str) -> Result<i64> {
        self.int(key)?.ok_or_else(|| Error::new(format!("expected attribute '{key}', found none")))
    }

    /// A count.
    pub fn count(&mut self, key: &str, default: usize) -> Result<usize> {
        match self.int(key)? {
            None => Ok(default),
            Some(n) => usize::try_from(n).map_err(|_| Error::new(format!("expected '{key}' from 0, found {n}"))),
        }
    }

    /// A number.
    pub fn float(&mut self, key: &str, default: f32) -> Result<f32> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Error::new(format!("expected '{key}' to be a number, found '{text}'")))
        };
        self.text(key).map_or(Ok(default), parse)
    }

    /// A list of whole numbers, some of which may be "None"; a single number is a list of one.
    pub fn maybe_ints(&mut self, key: &str) -> Result<Option<Vec<Option<i64>>>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let inner = text.trim_matches(['(', ')', '[', ']']);
        let parts = inner.split(',').map(str::trim).filter(|p| !p.is_empty());
        let entry = |p: &str| if p == "None" { Ok(None) } else { whole(key, p).map(Some) };
        parts.map(entry).collect::<Result<_>>().map(Some)
    }

    /// A list of whole numbers.
    pub fn ints(&mut self, key: &str) -> Result<Option<Vec<i64>>> {
        let Some(list) = self.maybe_ints(key)? else { return Ok(None) };
        let all = list.into_iter().collect::<Option<Vec<i64>>>();
        all.map(Some).ok_or_else(|| Error::new(format!("expected '{key}' without None")))
    }

    /// A list of sizes.
    pub fn sizes(&mut self, key: &str) -> Result<Option<Vec<usize>>> {
        let Some(list) = self.ints(key)? else { return Ok(None) };
        let sizes = list.iter().map(|n| usize::try_from(*n)).collect::<Result<Vec<_>, _>>();
        sizes.map(Some).map_err(|_| Error::new(format!("expected '{key}' without negative entries, found {list:?}")))
    }

    /// Attributes that make no difference to inference.
    pub fn ignore(&mut self, keys: &[&str]) {
        self.read.extend(self.node.attributes.keys().map(String::as_str).filter(|k| keys.contains(k)));
    }

    // ---- operands ----

    /// Number of operands.
    pub fn operands(&self) -> usize {
        self.operands.len()
    }

    /// Operand `i`.
    pub fn input(&mut self, i: usize) -> Result<Item> {
        self.reached = self.reached.max(i + 1);
        let found = self.operands.get(i).cloned();
        found.ok_or_else(|| Error::new(format!("expected at least {} operands, found {}", i + 1, self.operands.len())))
    }

    /// All operands.
    pub fn inputs(&mut self) -> Vec<Item> {
        self.reached = self.operands.len();
        self.operands.clone()
    }

    /// Operand `i`, a parameter which files before version 0.9 do not list among the operands: then it has the node's
    /// name with this one behind it.
    pub fn parameter(&mut self, i: usize, name: &str) -> Result<Item> {
        match i < self.operands.len() {
            true => self.input(i),
            false => self.builder.find(&format!("{}_{name}", self.node.name)),
        }
    }

    /// The type of an item.
    pub fn ty(&self, item: &Item) -> Type {
        self.builder.ty(item)
    }

    /// The shape of an item.
    pub fn shape(&self, item: &Item) -> Shape {
        self.builder.shape(item)
    }

    /// The sizes of an item.
    pub fn dims(&self, item: &Item) -> Vec<Size> {
        self.shape(item).0.iter().map(Size::from).collect()
    }

    // ---- results ----

    /// A constant of our own.
    pub fn known(&mut self, suffix: &str, tensor: Tensor) -> Item {
        self.builder.known(&self.node.name, suffix, tensor)
    }

    /// A number of our own.
    pub fn number(&mut self, suffix: &str, value: f32) -> Item {
        self.known(suffix, Tensor::scalar(value))
    }

    /// An operator on the way to the result.
    pub fn step(&mut self, suffix: &str, op: Op, operands: &[&Item]) -> Result<Item> {
        self.builder.step(&self.node.name, suffix, op, operands)
    }

    /// Reshapes on the way to the result.
    pub fn reshape(&mut self, suffix: &str, item: &Item, target: &[Size]) -> Result<Item> {
        self.builder.reshape(&self.node.name, suffix, item, target)
    }

    /// The operator that makes the first output.
    pub fn finish(&mut self, op: Op, operands: &[&Item]) -> Result<()> {
        self.finish_as(op, operands, 1)
    }

    /// The operator that makes all outputs.
    pub fn finish_as(&mut self, op: Op, operands: &[&Item], count: usize) -> Result<()> {
        let names: Vec<String> = (0..count).map(|k| output_name(&self.node.name, k, count)).collect();
        let operands: Vec<Option<Item>> = operands.iter().map(|i| Some((*i).clone())).collect();
        self.results = self.builder.emit(&self.node.name, op, &operands, &names, &[])?;
        Ok(())
    }

    /// Results that are made already.
    pub fn set(&mut self, results: Vec<Item>) {
        self.results = results;
    }

    /// The reshape that makes the first output.
    pub fn finish_reshape(&mut self, item: &Item, target: &[Size]) -> Result<()> {
        let dims = reshape_dims(target, &self.shape(item))?;
        self.finish(Op::Reshape { dims }, &[item])
    }

    /// How many outputs something reads.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The known size of an axis.
    pub fn known_dim(&self, item: &Item, axis: usize) -> Result<usize> {
        let shape = self.shape(item);
        shape
            .0
            .get(axis)
            .and_then(Dim::known)
            .ok_or_else(|| crate::build::sizes::open_error(format!("expected axis {axis} of {shape} to be known")))
    }
}

/// The name that MXNet gives an output.
pub fn output_name(node: &str, k: usize, count: usize) -> String {
    match count {
        1 => format!("{node}_output"),
        _ => format!("{node}_output{k}"),
    }
}

/// A whole number, as Python 2 wrote it too (`3L`).
fn whole(key: &str, text: &str) -> Result<i64> {
    let digits = text.strip_suffix('L').unwrap_or(text);
    digits.parse().map_err(|_| Error::new(format!("expected whole numbers in '{key}', found '{text}'")))
}
