//! One node of a file, as an import function sees it: attributes, operands, results.

use super::inline::{self, Block};
use super::proto::{AttributeProto, GraphProto, attribute_proto::AttributeType};
use super::scope::{Call, Scope};
use super::tensor;
use super::walk::{File, Thing};
use crate::build::remarks::Place;
use crate::build::sizes::{Size, Sizes, open_error};
use crate::build::{Builder, Item};
use lowbit_arithmetic::dequantize;
use lowbit_ir::{DType, Error, Op, Quant, Result, Shape, Tensor, Type, ValueId, bail};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

/// A node being imported.
pub struct Site<'a> {
    /// The node's name: the file's, or `<OpType>_<first output>`.
    pub name: String,
    /// The opset of the node's domain.
    pub opset: i64,
    /// The graph it goes to.
    pub builder: &'a mut Builder,
    /// What the file says beyond its graph.
    pub file: &'a mut File,
    call: &'a Call<'a>,
    scope: &'a Scope<'a>,
    read: HashSet<&'a str>,
    /// How many nodes the graph had before this one.
    before: usize,
    /// How many operands were looked at, the last one and all before it.
    reached: Cell<usize>,
}

impl<'a> Site<'a> {
    /// A view of a node in its scope.
    pub fn new(call: &'a Call<'a>, scope: &'a Scope<'a>, builder: &'a mut Builder, file: &'a mut File) -> Self {
        let (name, opset) = (call.name.clone(), scope.opset);
        let before = builder.graph.order().len();
        Site { name, opset, builder, file, call, scope, read: HashSet::new(), before, reached: Cell::new(0) }
    }

    /// The kind of node, as the file names it.
    pub fn op_type(&self) -> &'a str {
        self.call.op_type
    }

    // ---- attributes ----

    fn attribute(&mut self, name: &str, expected: AttributeType) -> Result<Option<&'a AttributeProto>> {
        let Some((own, a)) = self.call.attribute.iter().find(|(own, _)| *own == name) else { return Ok(None) };
        self.read.insert(own);
        if !a.ref_attr_name().is_empty() {
            bail!("attribute '{name}' refers to a function's attribute, outside of a function");
        }
        // Before IR version 2 the type field did not exist, and some writers still leave it out.
        if a.r#type != Some(expected as i32) && a.r#type.is_some_and(|t| t != 0) {
            let found = AttributeType::try_from(a.r#type.unwrap_or(0)).map_or("an unknown type", |t| t.as_str_name());
            bail!("expected attribute '{name}' of type {}, found {found}", expected.as_str_name());
        }
        Ok(Some(a))
    }

    /// An integer attribute.
    pub fn int(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.attribute(name, AttributeType::Int)?.map(|a| a.i()))
    }

    /// An integer attribute that is 0 or 1.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => bail!("expected attribute '{name}' to be 0 or 1, found {other}"),
        }
    }

    /// A float attribute.
    pub fn float(&mut self, name: &str, default: f32) -> Result<f32> {
        Ok(self.attribute(name, AttributeType::Float)?.map_or(default, |a| a.f()))
    }

    /// A list of integers.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.clone()))
    }

    /// A list of floats.
    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.clone()))
    }

    /// A text.
    pub fn text(&mut self, name: &str, default: &str) -> Result<String> {
        Ok(self
            .attribute(name, AttributeType::String)?
            .map_or(default.to_string(), |a| String::from_utf8_lossy(a.s()).into_owned()))
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let found = self.attribute(name, AttributeType::Strings)?;
        Ok(found.map(|a| a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()))
    }

    /// A tensor.
    pub fn tensor(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(a) = self.attribute(name, AttributeType::Tensor)? else { return Ok(None) };
        let t =
            a.t.as_ref().ok_or_else(|| Error::new(format!("expected a tensor in attribute '{name}', found none")))?;
        let tensor = tensor::import(t, &mut self.file.external).map_err(|e| e.at_value(self.first_output()))?;
        tensor::remark(self.builder, Place::Constant, self.first_output(), t.data_type());
        Ok(Some(tensor))
    }

    /// Whether an attribute is given.
    pub fn has(&self, name: &str) -> bool {
        self.call.attribute.iter().any(|(own, _)| *own == name)
    }

    /// The type of an attribute that holds an element type's code, to which this node converts.
    pub fn converts_to(&mut self, code: i64) -> Result<DType> {
        let code = i32::try_from(code).map_err(|_| Error::new(format!("expected an element type, found {code}")))?;
        tensor::remark(self.builder, Place::Conversion, self.first_output(), code);
        tensor::dtype(code)
    }

    /// Attributes that make no difference to inference.
    pub fn ignore(&mut self, names: &[&str]) {
        self.read.extend(self.call.attribute.iter().map(|(own, _)| *own).filter(|a| names.contains(a)));
    }

    /// An error if an attribute or an operand was never read: then its meaning would be lost silently.
    pub fn all_read(&self) -> Result<()> {
        if let Some((name, _)) = self.call.attribute.iter().find(|(own, _)| !self.read.contains(own)) {
            bail!("attribute '{name}' is not supported");
        }
        let (given, read) = (self.operands(), self.reached.get());
        match given > read {
            true => bail!("expected at most {read} operands in opset {}, found {given}", self.opset),
            false => Ok(()),
        }
    }

    // ---- operands ----

    /// Number of operands listed, trailing empty ones not counted.
    pub fn operands(&self) -> usize {
        self.call.operands()
    }

    /// Operand `i`, if given.
    pub fn maybe(&self, i: usize) -> Result<Option<Item>> {
        self.reached.set(self.reached.get().max(i + 1));
        match self.call.input.get(i).filter(|n| !n.is_empty()) {
            Some(name) => self.file.tensor(name, self.builder).map(Some),
            None => Ok(None),
        }
    }

    /// Operand `i`.
    pub fn input(&self, i: usize) -> Result<Item> {
        self.maybe(i)?
            .ok_or_else(|| Error::new(format!("expected at least {} operands, operand {i} is missing", i + 1)))
    }

    /// Name of operand `i` in the file.
    pub fn input_name(&self, i: usize) -> &'a str {
        self.call.input.get(i).map_or("", String::as_str)
    }

    /// All operands; none may be left out.
    pub fn inputs(&self) -> Result<Vec<Item>> {
        (0..self.operands()).map(|i| self.input(i)).collect()
    }

    /// The type of an item.
    pub fn ty(&self, item: &Item) -> Type {
        self.builder.ty(item)
    }

    /// The shape of an item.
    pub fn shape(&self, item: &Item) -> Shape {
        self.ty(item).shape
    }

    /// The tensor of operand `i`, if given; it must be known.
    pub fn constant(&self, i: usize, what: &str) -> Result<Option<Tensor>> {
        match self.maybe(i)? {
            None => Ok(None),
            Some(Item::Const(_, t)) => Ok(Some(t)),
            Some(Item::Sizes(s)) => Err(open_error(format!("{what} {s} depends on open dimensions"))),
            Some(Item::Value(v)) => {
                match self.builder.dequantized(v)? {
                    Some(t) => Ok(Some(t)),
                    None => Err(Error::new(format!(
                        "expected a constant {what}, found one that is computed while running"
                    ))
                    .at_value(self.input_name(i))
                    .hint("fix the input shapes (--shape name=1x3x224x224) or export the model with constants there")),
                }
            }
        }
    }

    /// The integers of operand `i`, if given; they must be known.
    pub fn known_ints(&self, i: usize, what: &str) -> Result<Option<Vec<i64>>> {
        self.constant(i, what)?.map(|t| t.ints()).transpose()
    }

    /// The floats of operand `i`, if given; they must be known.
    pub fn known_floats(&self, i: usize, what: &str) -> Result<Option<Vec<f32>>> {
        self.constant(i, what)?.map(|t| Ok(t.floats()?.into_owned())).transpose()
    }

    /// The integers of operand `i`, if given, with open dimensions as symbols.
    pub fn sizes(&self, i: usize, what: &str) -> Result<Option<Sizes>> {
        match self.maybe(i)? {
            Some(Item::Sizes(s)) => Ok(Some(s)),
            _ => self.constant(i, what)?.map(|t| Sizes::of_tensor(&t)).transpose(),
        }
    }

    /// A list of integers that is an attribute in old opsets and operand `i` in newer ones.
    pub fn ints_or_input(&mut self, name: &str, i: usize) -> Result<Option<Vec<i64>>> {
        match self.ints(name)? {
            Some(v) => Ok(Some(v)),
            None => self.known_ints(i, name),
        }
    }

    // ---- sequences, optional values and subgraphs ----

    /// Operand `i`, whatever it is; nothing if it is not given.
    pub fn thing(&self, i: usize) -> Result<Thing> {
        self.reached.set(self.reached.get().max(i + 1));
        match self.call.input.get(i).filter(|n| !n.is_empty()) {
            Some(name) => match self.file.thing(name, self.builder) {
                Some(thing) => Ok(thing),
                None => self.builder.find(name).map(Thing::Tensor),
            },
            None => Ok(Thing::Nothing),
        }
    }

    /// Operand `i`, which must be a sequence.
    pub fn sequence(&self, i: usize) -> Result<Arc<Vec<Item>>> {
        match self.thing(i)? {
            Thing::Sequence(items) => Ok(items),
            Thing::Tensor(_) => Err(Error::new("expected a sequence, found a tensor").at_value(self.input_name(i))),
            Thing::Nothing => bail!("expected a sequence as operand {i}, found none"),
        }
    }

    /// Makes output `k` this, which has a name already; a tensor of the graph gets the output's name besides.
    pub fn pass_on(&mut self, k: usize, thing: Thing) -> Result<()> {
        match self.call.output.get(k).filter(|n| !n.is_empty()) {
            Some(name) => inline::pass_on(&self.name, thing, name, self.builder, self.file),
            None => Ok(()),
        }
    }

    /// Makes output `k` a sequence.
    pub fn set_sequence(&mut self, k: usize, items: Vec<Item>) -> Result<()> {
        self.file.limits.sequence(items.len())?;
        self.pass_on(k, Thing::Sequence(Arc::new(items)))
    }

    /// The subgraph of an attribute, looked at and not yet read.
    pub fn block(&mut self, name: &str) -> Result<Block<'a>> {
        let graph: Option<&'a GraphProto> = self.attribute(name, AttributeType::Graph)?.and_then(|a| a.g.as_ref());
        let graph = graph.ok_or_else(|| Error::new(format!("expected a subgraph '{name}', found none")))?;
        Block::new(graph, &self.name, self.scope, self.builder, self.file)
    }

    /// Reads a subgraph once; see [`Block::read`].
    pub fn read_block(
        &mut self,
        block: &Block<'_>,
        prefix: &str,
        given: &[Thing],
        named: &[String],
    ) -> Result<Option<Vec<Thing>>> {
        block.read(prefix, given, named, self.scope, self.builder, self.file)
    }

    /// The names of all outputs, empty where the file leaves one out.
    pub fn output_names(&self) -> &'a [String] {
        &self.call.output
    }

    // ---- results ----

    /// Number of outputs the file names.
    pub fn outputs(&self) -> usize {
        self.call.output.iter().rposition(|n| !n.is_empty()).map_or(0, |i| i + 1)
    }

    /// The file's name of output 0.
    pub fn first_output(&self) -> &'a str {
        self.call.output.first().map_or("", String::as_str)
    }

    /// The name of output `k`; a name of our own if the file leaves it empty.
    pub fn output_name(&mut self, k: usize) -> String {
        match self.call.output.get(k).filter(|n| !n.is_empty()) {
            Some(name) => name.clone(),
            None => {
                let base = format!("{}.{k}", self.name);
                self.builder.fresh(&base)
            }
        }
    }

    /// A constant of our own.
    pub fn known(&mut self, suffix: &str, tensor: Tensor) -> Item {
        self.builder.known(&self.name, suffix, tensor)
    }

    /// An operator on the way to the result.
    pub fn step(&mut self, suffix: &str, op: Op, operands: &[&Item]) -> Result<Item> {
        self.builder.step(&self.name, suffix, op, operands)
    }

    /// The operator that makes output 0 from operands all of which are given.
    pub fn finish(&mut self, op: Op, operands: &[&Item]) -> Result<()> {
        self.finish_as(op, &operands.iter().map(|i| Some((*i).clone())).collect::<Vec<_>>(), 1, &[])
    }

    /// The operator that makes the first `count` outputs, of the `declared` types where it does not determine them.
    pub fn finish_as(&mut self, op: Op, operands: &[Option<Item>], count: usize, declared: &[Type]) -> Result<()> {
        let given = operands.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let names: Vec<String> = (0..count).map(|k| self.output_name(k)).collect();
        let items = self.builder.emit(&self.name, op, &operands[..given], &names, declared)?;
        items.into_iter().enumerate().for_each(|(k, item)| self.set(k, item));
        Ok(())
    }

    /// Makes output `k` this item as it is. A value of the graph keeps its name: use [`Site::finish`] with Identity
    /// where the output's own name must live.
    pub fn set(&mut self, k: usize, item: Item) {
        if let Some(name) = self.call.output.get(k).filter(|n| !n.is_empty()) {
            let item = match item {
                Item::Const(_, t) => Item::Const(name.as_str().into(), t),
                other => other,
            };
            self.builder.items.insert(name.clone(), item);
        }
    }

    /// Makes output `k` what the last step to it gave: a value of this node takes over the output's name.
    pub fn give(&mut self, k: usize, item: Item) -> Result<()> {
        let Some(name) = self.call.output.get(k).filter(|n| !n.is_empty()).cloned() else { return Ok(()) };
        match item {
            Item::Value(v) if self.is_own(v) => {
                self.builder.graph.rename(v, &name);
                self.set(k, Item::Value(v));
            }
            Item::Value(_) => {
                let node = format!("{}.{k}", self.name);
                let items = self.builder.emit(&node, Op::Identity, &[Some(item)], &[name], &[])?;
                items.into_iter().for_each(|item| self.set(k, item));
            }
            Item::Const(..) | Item::Sizes(_) => self.set(k, item),
        }
        Ok(())
    }

    /// Whether a value was made by a step of this node and is no output of it yet.
    fn is_own(&self, v: ValueId) -> bool {
        let graph = &self.builder.graph;
        let own = graph.order().get(self.before..).unwrap_or_default();
        let named = self.call.output.iter().any(|n| *n == graph.value(v).name);
        !named && graph.producer(v).is_some_and(|id| own.contains(&id))
    }

    /// Reshapes on the way to the result.
    pub fn reshape(&mut self, suffix: &str, item: &Item, target: &[Size]) -> Result<Item> {
        self.builder.reshape(&self.name, suffix, item, target)
    }
}

/// What the integer `q` of values with this quantization stands for, as operators mean it that know no quantization.
pub fn stands_for(quant: &Quant, q: i32) -> Result<f32> {
    match quant.is_per_tensor() {
        true => Ok(dequantize(q, &quant.affine()?)),
        // The zero point is 0 in any unit.
        false if quant.zero_point.iter().all(|z| *z == q) => Ok(0.0),
        false => bail!("expected integers with one scale beside the integer {q}, found {} scales", quant.scale.len()),
    }
}

/// A list as sizes: no entry may be negative.
pub fn sizes_of(name: &str, list: &[i64]) -> Result<Vec<usize>> {
    let size = |v: &i64| {
        usize::try_from(*v)
            .map_err(|_| Error::new(format!("expected '{name}' without negative entries, found {list:?}")))
    };
    list.iter().map(size).collect()
}
