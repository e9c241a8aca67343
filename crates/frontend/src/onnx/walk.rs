//! The walk over planned nodes, one import function after the other, and what of a file is known on the way.

use super::external::External;
use super::limits::Limits;
use super::node::Site;
use super::notes::Notes;
use super::ops::{self, OpRow};
use super::plan::{Plan, Planned, Task, domain};
use super::proto::{FunctionProto, NodeProto, ValueInfoProto};
use super::scope::{Call, Scope};
use super::{import, inline};
use crate::build::failures::Failure;
use crate::build::{Builder, Item};
use lowbit_ir::op::CustomId;
use lowbit_ir::{Error, Op, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// What a file says beyond its graph, and what was met of it.
#[derive(Debug)]
pub struct File {
    /// What ONNX cannot say.
    pub notes: Notes,
    /// The data files beside the model.
    pub external: External,
    /// The functions of the model by domain, name and overload.
    pub functions: HashMap<(String, String, String), Arc<FunctionProto>>,
    /// The opset of ONNX's own operators in the model's graph.
    pub opset: i64,
    /// Values that are no tensors, by name; all others are the builder's.
    pub things: HashMap<String, Thing>,
    /// What reading functions and subgraphs over and over may take.
    pub limits: Limits,
    /// What could not be read.
    pub failures: Vec<Failure>,
}

/// A value of a file, such as operators of sequences and optional values see it.
#[derive(Debug, Clone)]
pub enum Thing {
    /// A tensor.
    Tensor(Item),
    /// A sequence whose length is known, of tensors that need not be.
    Sequence(Arc<Vec<Item>>),
    /// An optional value that is not there.
    Nothing,
}

impl File {
    /// The function that a node calls, if it calls one.
    pub fn function(&self, node: &NodeProto) -> Option<Arc<FunctionProto>> {
        if self.functions.is_empty() {
            return None;
        }
        let key = (domain(node.domain()).to_string(), node.op_type().to_string(), node.overload().to_string());
        self.functions.get(&key).cloned()
    }

    /// Whether a value was read.
    pub fn has(&self, name: &str, builder: &Builder) -> bool {
        builder.items.contains_key(name) || self.things.contains_key(name)
    }

    /// A value of this name, if it was read.
    pub fn thing(&self, name: &str, builder: &Builder) -> Option<Thing> {
        let tensor = || builder.items.get(name).cloned().map(Thing::Tensor);
        self.things.get(name).cloned().or_else(tensor)
    }

    /// Makes this the value of a name.
    pub fn set(&mut self, name: &str, thing: Thing, builder: &mut Builder) {
        match thing {
            Thing::Tensor(item) => drop(builder.items.insert(name.to_string(), item)),
            other => drop(self.things.insert(name.to_string(), other)),
        }
    }

    /// The tensor of a name, or an error that says what there is in its place.
    pub fn tensor(&self, name: &str, builder: &Builder) -> Result<Item> {
        let found = match self.things.get(name) {
            Some(Thing::Sequence(_)) => "a sequence",
            Some(Thing::Nothing) => "an optional value that is not there",
            Some(Thing::Tensor(_)) | None => return builder.find(name),
        };
        Err(Error::new(format!("expected a tensor, found {found}")).at_value(name))
    }
}

/// Reads node by node. After a failure it goes on, as far as the file itself states the types of what is missing.
pub fn walk(
    plan: &Plan<'_>,
    scope: &Scope<'_>,
    stated: &HashMap<&str, &ValueInfoProto>,
    builder: &mut Builder,
    file: &mut File,
) {
    for planned in &plan.nodes {
        let call = Call::new(planned.node, &planned.name, scope);
        let before = file.failures.len();
        if let Err(error) = one(planned, &call, plan, scope, builder, file) {
            let kind = qualified(planned.node.domain(), planned.node.op_type());
            file.failures.push(Failure { kind, error: error.at_node(&call.name) });
        }
        if file.failures.len() > before {
            for (local, name) in planned.node.output.iter().zip(&call.output).filter(|(_, n)| !n.is_empty()) {
                let ty = stated.get(local.as_str()).and_then(|info| import::value_type(info).ok());
                if let Some(ty) = ty.filter(|_| !file.has(name, builder)) {
                    let v = builder.graph.add_input(name, ty);
                    builder.items.insert(name.clone(), Item::Value(v));
                }
            }
        } else if scope.depth == 0
            && let (Some(note), Some(made)) = (
                file.notes.nodes.get(planned.node.name()).and_then(|n| n.rule.clone()),
                call.output.iter().find(|n| !n.is_empty()).and_then(|n| builder.graph.find(n)),
            )
            && let Some(made) = builder.graph.producer(made)
        {
            builder.graph.node_mut(made).rule = Some(note.into());
        }
    }
}

fn one(
    planned: &Planned<'_>,
    call: &Call<'_>,
    plan: &Plan<'_>,
    scope: &Scope<'_>,
    builder: &mut Builder,
    file: &mut File,
) -> Result<()> {
    let readable = match &planned.task {
        Task::StandIn(_, inputs) => inputs.iter().filter(|n| !n.is_empty()).all(|n| file.has(n, builder)),
        _ => call.input.iter().filter(|n| !n.is_empty()).all(|n| file.has(n, builder)),
    };
    match &planned.task {
        Task::Refuse(why) => Err(Error::new(why.clone())),
        // What of a function can be read although an operand is missing shows more of what cannot.
        Task::Inline(function) => inline::call(call, function, scope, builder, file),
        // It reads what an earlier failure did not give: nothing can be said about it.
        Task::Read(_) | Task::StandIn(..) | Task::Custom if !readable => Ok(()),
        Task::Read(row) => read(planned, call, row, plan, scope, builder, file),
        Task::StandIn(op, inputs) => emit_stand_in(call, op, inputs, builder, &file.notes),
        Task::Custom => emit_custom(call, builder),
    }
}

fn read(
    planned: &Planned<'_>,
    call: &Call<'_>,
    row: &OpRow,
    plan: &Plan<'_>,
    scope: &Scope<'_>,
    builder: &mut Builder,
    file: &mut File,
) -> Result<()> {
    let before = file.failures.len();
    let mut site = Site::new(call, scope, builder, file);
    (row.import)(&mut site)?;
    site.all_read()?;
    if scope.depth > 0 {
        file.limits.computed(call, builder)?;
    }
    // What a body did not give for a failure in it was told there.
    if file.failures.len() > before {
        return Ok(());
    }
    let mut outputs = planned.node.output.iter().zip(&call.output).filter(|(_, name)| !name.is_empty());
    match outputs.find(|(local, name)| plan.used.contains(*local) && !file.has(name, builder)) {
        Some((_, name)) => {
            Err(Error::new("this output of the operator is not supported, but something reads it").at_value(name))
        }
        None => Ok(()),
    }
}

/// An operator of the user's gets operands and nothing else: what a file says besides would be passed over.
fn emit_custom(call: &Call<'_>, builder: &mut Builder) -> Result<()> {
    if let Some((attribute, _)) = call.attribute.first() {
        return Err(Error::new(format!(
            "expected no attributes of an operator of your own, found '{attribute}', which it would not see"
        ))
        .hint("make what it says a constant operand, or an operator of another name"));
    }
    let operand = |name: &String| (!name.is_empty()).then(|| builder.find(name)).transpose();
    let operands = call.input.iter().map(operand).collect::<Result<Vec<_>>>()?;
    let own = |(i, name): (usize, &String)| match name.is_empty() {
        true => builder.fresh(&format!("{}.{i}", call.name)),
        false => name.clone(),
    };
    let outputs: Vec<String> = call.output.iter().enumerate().map(own).collect();
    let op = Op::Custom(CustomId(call.op_type.into()));
    let items = builder.emit(&call.name, op, &operands, &outputs, &[])?;
    builder.items.extend(outputs.into_iter().zip(items));
    Ok(())
}

fn emit_stand_in(call: &Call<'_>, op: &Op, inputs: &[String], builder: &mut Builder, notes: &Notes) -> Result<()> {
    let operands: Vec<Option<Item>> =
        inputs.iter().map(|n| (!n.is_empty()).then(|| builder.find(n)).transpose()).collect::<Result<_>>()?;
    let outputs: Vec<String> = call.output.iter().filter(|n| !n.is_empty()).cloned().collect();
    let items = match op {
        Op::Quantize { .. } => ops::quantize_stand_in(builder, notes, &call.name, &operands, &outputs)?,
        Op::Dequantize => ops::dequantize_stand_in(builder, notes, &call.name, inputs, &operands, &outputs)?,
        other => builder.emit(&call.name, other.clone(), &operands, &outputs, &[])?,
    };
    builder.items.extend(outputs.into_iter().zip(items));
    Ok(())
}

fn qualified(name: &str, op_type: &str) -> String {
    match domain(name) {
        "" => op_type.to_string(),
        domain => format!("{domain}.{op_type}"),
    }
}
