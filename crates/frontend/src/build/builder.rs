//! The graph under construction, and the three things a value of a file can be meanwhile.
//!
//! Whatever an import function asks for passes through [`Builder::emit`], which folds constants and shape arithmetic,
//! so that no import function needs to know about either.

use super::remarks::Remark;
use super::sizes::{self, Size, Sizes, open_error, reshape_dims};
use lowbit_ir::{Customs, DType, Error, Graph, Op, Result, Shape, Tensor, Type, ValueId, bail, infer, interp, memory};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Constants with more elements are not computed while reading, so that a small file cannot ask for all memory.
pub const MOST_FOLDED: usize = 1 << 26;

/// Most integers at a time that are followed while dimensions are open: sizes are few.
const MOST_SIZES: usize = 1 << 16;

/// A value of the file.
#[derive(Debug, Clone)]
pub enum Item {
    /// Known; it enters the graph, under this name, when a node reads it.
    Const(Arc<str>, Tensor),
    /// Computed from open dimensions; it never enters the graph.
    Sizes(Sizes),
    /// In the graph.
    Value(ValueId),
}

/// A graph under construction.
#[derive(Debug)]
pub struct Builder {
    /// What is built.
    pub graph: Graph,
    /// The values of the file so far, by name.
    pub items: HashMap<String, Item>,
    /// Names of values in the file, which values of our own keep clear of.
    pub reserved: HashSet<String>,
    /// Names of what the model gives out.
    pub results: HashSet<String>,
    /// What was read differently than the file says it.
    pub remarks: Vec<Remark>,
    /// Constants in the graph by source name; one name has several if it is read under several quantized types.
    constants: HashMap<Arc<str>, Vec<ValueId>>,
    /// Operators of the user's.
    pub customs: Customs,
    /// Bytes that constants computed here may take beyond those they are computed from.
    room: usize,
    taken: usize,
}

impl Builder {
    /// Of a model that may ask for so much memory beyond itself.
    pub fn new(max_memory: usize) -> Builder {
        Builder {
            graph: Graph::default(),
            items: HashMap::new(),
            reserved: HashSet::new(),
            results: HashSet::new(),
            remarks: Vec::new(),
            constants: HashMap::new(),
            customs: Customs::default(),
            room: max_memory,
            taken: 0,
        }
    }

    /// Applies an operator: folded if the operands are known, else a node of the graph.
    /// `declared` is the quantized type of the output, where the operator does not determine it.
    pub fn emit(
        &mut self,
        node: &str,
        op: Op,
        operands: &[Option<Item>],
        outputs: &[String],
        declared: &[Type],
    ) -> Result<Vec<Item>> {
        let types: Vec<Option<Type>> = operands.iter().map(|i| i.as_ref().map(|i| self.ty(i))).collect();
        let refs: Vec<Option<&Type>> = types.iter().map(Option::as_ref).collect();
        let types = infer::infer(&op, &refs, declared, &self.customs)?;
        if types.len() != outputs.len() {
            bail!("expected {} outputs of {}, found {}", types.len(), op.name(), outputs.len());
        }
        let keep = matches!(op, Op::Quantize { .. } | Op::Dequantize);
        if !keep && operands.iter().flatten().any(|i| matches!(i, Item::Sizes(_))) {
            return self.fold_sizes(&op, operands, &types, outputs);
        }
        if !keep && let Some(folded) = self.fold(&op, operands, &types, outputs)? {
            return Ok(folded);
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for item in operands {
            inputs.push(item.as_ref().map(|i| self.value(i)).transpose()?);
        }
        let named: Vec<(&str, Type)> = outputs.iter().map(String::as_str).zip(types).collect();
        let id = self.graph.add_node(node, op, inputs, &named);
        Ok(self.graph.node(id).outputs.iter().map(|v| Item::Value(*v)).collect())
    }

    fn fold(
        &mut self,
        op: &Op,
        operands: &[Option<Item>],
        types: &[Type],
        outputs: &[String],
    ) -> Result<Option<Vec<Item>>> {
        let mut tensors = Vec::with_capacity(operands.len());
        for item in operands {
            match item {
                None => tensors.push(None),
                Some(Item::Const(_, t)) => tensors.push(Some(t)),
                Some(Item::Sizes(_) | Item::Value(_)) => return Ok(None),
            }
        }
        if tensors.iter().all(Option::is_none) || types.iter().any(|t| t.shape.count().is_none_or(|n| n > MOST_FOLDED))
        {
            return Ok(None);
        }
        let operands = tensors.iter().flatten().map(|t| t.bytes().len()).sum();
        self.take(types, operands)?;
        let operand_types: Vec<Option<&Type>> = tensors.iter().map(|t| t.map(Tensor::ty)).collect();
        let needed = interp::workspace_beyond(op, &operand_types, types).saturating_add(self.taken);
        memory::check("computing a constant while reading", needed, self.room)?;
        let results = interp::eval(op, &tensors, types, &self.customs)?;
        Ok(Some(results.into_iter().zip(outputs).map(|(t, name)| Item::Const(name.as_str().into(), t)).collect()))
    }

    /// Takes what constants that are computed here have more than their operands off what is allowed.
    pub fn take(&mut self, types: &[Type], operands: usize) -> Result<()> {
        let bytes = types.iter().map(memory::bytes).fold(0, usize::saturating_add);
        self.taken = self.taken.saturating_add(bytes.saturating_sub(operands));
        memory::check("the constants that are computed while reading, up to this one", self.taken, self.room)
    }

    /// Takes a constant of ones off what is allowed, and makes it.
    pub fn ones(&mut self, dims: &[usize]) -> Result<Tensor> {
        let ty = Type::plain(DType::F32, dims.to_vec());
        self.take(std::slice::from_ref(&ty), 0)?;
        Tensor::from_f32(dims, vec![1.0; dims.iter().product()])
    }

    fn fold_sizes(&self, op: &Op, operands: &[Option<Item>], types: &[Type], outputs: &[String]) -> Result<Vec<Item>> {
        let lift = |item: &Item| match item {
            Item::Const(_, t) if t.dtype().is_integer() || t.dtype() == DType::Bool => Sizes::of_tensor(t).map(Some),
            Item::Sizes(s) => Ok(Some(s.clone())),
            Item::Const(..) | Item::Value(_) => Ok(None),
        };
        let of_operands = operands.iter().flatten().map(|item| self.ty(item));
        let largest = of_operands.chain(types.iter().cloned()).map(|ty| ty.shape.count().unwrap_or(usize::MAX)).max();
        if largest.is_some_and(|n| n > MOST_SIZES) {
            return Err(open_error(format!(
                "{} of integers that depend on open dimensions: expected up to {MOST_SIZES} of them, found more",
                op.name()
            )));
        }
        let mut all = Vec::with_capacity(operands.len());
        for item in operands {
            all.push(item.as_ref().map(lift).transpose()?.flatten());
        }
        let lost = operands.iter().zip(&all).any(|(item, s)| item.is_some() && s.is_none());
        let found = if lost { None } else { sizes::eval(op, &all, types, &self.customs)? };
        let found = found.ok_or_else(|| {
            let open: Vec<String> = all.iter().flatten().map(Sizes::to_string).collect();
            open_error(format!("{} of integers that depend on open dimensions: {}", op.name(), open.join(" and ")))
        })?;
        Ok(found.into_iter().zip(outputs).map(|(s, name)| Self::of_sizes(name, s)).collect())
    }

    /// Integers as an item: a constant if all are known.
    pub fn of_sizes(name: &str, sizes: Sizes) -> Item {
        match sizes.tensor() {
            Some(t) => Item::Const(name.into(), t),
            None => Item::Sizes(sizes),
        }
    }

    /// The type of an item.
    pub fn ty(&self, item: &Item) -> Type {
        match item {
            Item::Const(_, t) => t.ty().clone(),
            Item::Sizes(s) => Type::plain(DType::I64, s.dims.clone()),
            Item::Value(v) => self.graph.ty(*v).clone(),
        }
    }

    /// What a value of the graph is known to be although it stays there: a constant that is dequantized, or quantized
    /// before that, as quantizers write parameters of operators.
    pub fn dequantized(&self, v: ValueId) -> Result<Option<Tensor>> {
        let Some(node) = self.graph.producer(v).map(|id| self.graph.node(id)) else { return Ok(None) };
        let (Op::Dequantize | Op::Quantize { .. }, Some(x)) = (&node.op, node.input(0)) else { return Ok(None) };
        let known = match self.graph.constant(x) {
            Some(known) => Some(known.clone()),
            None if node.op == Op::Dequantize => self.dequantized(x)?,
            None => None,
        };
        let Some(known) = known else { return Ok(None) };
        let types = std::slice::from_ref(self.graph.ty(v));
        Ok(interp::eval(&node.op, &[Some(&known)], types, &self.customs)?.into_iter().next())
    }

    /// The item as a value of the graph.
    pub fn value(&mut self, item: &Item) -> Result<ValueId> {
        match item {
            Item::Value(v) => Ok(*v),
            Item::Sizes(s) => Err(open_error(format!("an operand {s} depends on open dimensions"))),
            Item::Const(name, tensor) => Ok(self.constant(name, tensor)),
        }
    }

    fn constant(&mut self, name: &Arc<str>, tensor: &Tensor) -> ValueId {
        let known = self.constants.entry(name.clone()).or_default();
        let same = |v: &&ValueId| {
            // Sharing bytes is certain sameness; comparing contents would cost more than a second constant.
            self.graph
                .constant(**v)
                .is_some_and(|t| t.ty() == tensor.ty() && t.bytes().as_ptr() == tensor.bytes().as_ptr())
        };
        if let Some(v) = known.iter().find(same) {
            return *v;
        }
        let v = self.graph.add_const(name, tensor.clone());
        known.push(v);
        v
    }

    /// A constant of our own, which `node` needs.
    pub fn known(&mut self, node: &str, suffix: &str, tensor: Tensor) -> Item {
        let name = self.fresh(&format!("{node}.{suffix}"));
        Item::Const(name.into(), tensor)
    }

    /// An operator on the way to the result of `node`.
    pub fn step(&mut self, node: &str, suffix: &str, op: Op, operands: &[&Item]) -> Result<Item> {
        let node = format!("{node}.{suffix}");
        let output = self.fresh(&node);
        let operands: Vec<Option<Item>> = operands.iter().map(|i| Some((*i).clone())).collect();
        let mut items = self.emit(&node, op, &operands, &[output], &[])?;
        items.pop().ok_or_else(|| Error::new("expected one output"))
    }

    /// Reshapes on the way to the result of `node`.
    pub fn reshape(&mut self, node: &str, suffix: &str, item: &Item, target: &[Size]) -> Result<Item> {
        let dims = reshape_dims(target, &self.shape(item))?;
        self.step(node, suffix, Op::Reshape { dims }, &[item])
    }

    /// The shape of an item.
    pub fn shape(&self, item: &Item) -> Shape {
        self.ty(item).shape
    }

    /// A name for a value of our own that no value of the file has.
    pub fn fresh(&mut self, base: &str) -> String {
        let taken = |n: &str| self.reserved.contains(n) || self.graph.find(n).is_some();
        let name = match taken(base) {
            false => base.to_string(),
            true => (1u64..).map(|i| format!("{base}.{i}")).find(|n| !taken(n)).unwrap_or_default(),
        };
        self.reserved.insert(name.clone());
        name
    }

    /// The item of this name, or an error.
    pub fn find(&self, name: &str) -> Result<Item> {
        self.items.get(name).cloned().ok_or_else(|| Error::new("nothing computes this value").at_value(name))
    }
}
