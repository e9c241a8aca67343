//! Functions of a model, which are read where they are called, and subgraphs, which are read where they are taken.

use super::import;
use super::plan::{Plan, domain, plan, weight};
use super::proto::{AttributeProto, FunctionProto, GraphProto, ValueInfoProto};
use super::scope::{Call, Scope};
use super::tensor;
use super::walk::{File, Thing, walk};
use crate::build::remarks::Place;
use crate::build::{Builder, Item};
use lowbit_ir::{Error, Op, Result, bail};
use std::collections::{HashMap, HashSet};

/// A subgraph that was looked at, to be read any number of times.
#[derive(Debug)]
pub struct Block<'a> {
    graph: &'a GraphProto,
    plan: Plan<'a>,
    /// Its initializers by name, and the names that they have outside.
    constants: Vec<(&'a str, String)>,
    /// Nodes of a reading.
    weight: usize,
}

impl<'a> Block<'a> {
    /// Of a subgraph of a node in this scope; `name` is the node's.
    pub fn new(
        graph: &'a GraphProto,
        name: &str,
        scope: &Scope<'_>,
        builder: &mut Builder,
        file: &mut File,
    ) -> Result<Block<'a>> {
        let weight = weight(&graph.node);
        file.limits.body(weight, scope.depth + 1)?;
        let prefix = file.limits.prefix(&format!("{name}/constants"))?;
        let mut constants = Vec::new();
        for proto in &graph.initializer {
            let tensor = tensor::import(proto, &mut file.external)?;
            if scope.depth > 0 && !tensor::shares_bytes(proto) {
                file.limits.constant(&tensor)?;
            }
            let full = builder.fresh(&format!("{prefix}/{}", proto.name()));
            file.limits.named(&full)?;
            tensor::remark(builder, Place::Constant, &full, proto.data_type());
            builder.items.insert(full.clone(), Item::Const(full.as_str().into(), tensor));
            constants.push((proto.name(), full));
        }
        if !graph.sparse_initializer.is_empty() {
            bail!("sparse initializers are not supported, also in subgraphs");
        }
        let own = graph.input.iter().map(|i| i.name()).chain(constants.iter().map(|(name, _)| *name));
        let own: HashSet<&str> = own.collect();
        let results: Vec<&str> = graph.output.iter().map(|o| o.name()).collect();
        let seen = |name: &str| scope.find(name).is_some();
        let given = |name: &str| own.contains(name);
        let plan = plan(&graph.node, &results, &given, &seen, file, &builder.customs, false)?;
        Ok(Block { graph, plan, constants, weight })
    }

    /// How many inputs it has.
    pub fn inputs(&self) -> usize {
        self.graph.input.len()
    }

    /// How many results it has.
    pub fn outputs(&self) -> usize {
        self.graph.output.len()
    }

    /// Reads it once with these inputs, names under a prefix, and gives its results. Those that `named` names get these
    /// names where a node makes them. `None` after a failure in it, which is told.
    pub fn read(
        &self,
        prefix: &str,
        given: &[Thing],
        named: &[String],
        scope: &Scope<'_>,
        builder: &mut Builder,
        file: &mut File,
    ) -> Result<Option<Vec<Thing>>> {
        let inputs = &self.graph.input;
        if given.len() != inputs.len() {
            bail!("expected a subgraph of {} inputs, found {}", given.len(), inputs.len());
        }
        file.limits.body(self.weight, scope.depth + 1)?;
        let mut inner = scope.inside(file.limits.prefix(prefix)?);
        for (name, full) in &self.constants {
            inner.bind(name, full.clone());
        }
        for (info, thing) in inputs.iter().zip(given) {
            let full = builder.fresh(&inner.full(info.name()));
            file.limits.named(&full)?;
            file.set(&full, thing.clone(), builder);
            inner.bind(info.name(), full);
        }
        let results: Vec<&str> = self.graph.output.iter().map(|o| o.name()).collect();
        let wanted: Vec<(&str, &str)> = results.iter().copied().zip(named.iter().map(String::as_str)).collect();
        results_of(&self.plan, &wanted, &mut inner, builder, file)?;
        let before = file.failures.len();
        walk(&self.plan, &inner, &stated(&self.graph.value_info, &self.graph.output), builder, file);
        if file.failures.len() > before {
            return Ok(None);
        }
        let missing = |name: &str| Error::new("expected the subgraph to give this value, found nothing").at_value(name);
        let result = |name: &&str| {
            let thing = inner.find(name).and_then(|full| file.thing(full, builder));
            // What an earlier failure did not give was told there.
            if file.failures.is_empty() { thing.map(Some).ok_or_else(|| missing(name)) } else { Ok(thing) }
        };
        results.iter().map(result).collect()
    }
}

/// Reads a function in place of the node that calls it.
pub fn call(
    call: &Call<'_>,
    function: &FunctionProto,
    scope: &Scope<'_>,
    builder: &mut Builder,
    file: &mut File,
) -> Result<()> {
    let key = (domain(function.domain()).to_string(), function.name().to_string(), function.overload().to_string());
    if file.limits.callers.contains(&key) {
        return Err(Error::new(format!("the function '{}' calls itself, perhaps through others", function.name())));
    }
    file.limits.body(weight(&function.node), scope.depth + 1)?;
    if call.operands() > function.input.len() {
        bail!("expected at most {} operands of '{}', found {}", function.input.len(), function.name(), call.operands());
    }
    if call.output.iter().skip(function.output.len()).any(|n| !n.is_empty()) {
        bail!("expected at most {} outputs of '{}', found more", function.output.len(), function.name());
    }
    let opset = opset(function, file.opset)?;
    let mut inner = scope.called(file.limits.prefix(&call.name)?, opset, attributes(call, function)?);
    for (i, name) in function.input.iter().enumerate() {
        inner.bind(name, call.input.get(i).cloned().unwrap_or_default());
    }
    let wanted = function.output.iter().zip(&call.output).filter(|(_, full)| !full.is_empty());
    let wanted: Vec<(&str, &str)> = wanted.map(|(name, full)| (name.as_str(), full.as_str())).collect();
    let results: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let given = |name: &str| function.input.iter().any(|n| n == name);
    let plan = plan(&function.node, &results, &given, &|_| false, file, &builder.customs, false)?;
    results_of(&plan, &wanted, &mut inner, builder, file)?;
    file.limits.callers.push(key);
    walk(&plan, &inner, &stated(&function.value_info, &[]), builder, file);
    file.limits.callers.pop();
    // A result that no node makes under the caller's name is an input, or another result too.
    for (name, full) in wanted {
        if inner.find(name) == Some(full) {
            continue;
        }
        let Some(from) = inner.find(name) else {
            return Err(Error::new("nothing in the function gives this value").at_value(name));
        };
        if let Some(thing) = file.thing(from, builder) {
            pass_on(&call.name, thing, full, builder, file)?;
        }
    }
    Ok(())
}

/// Makes a value that has a name already the value of another name too.
pub fn pass_on(node: &str, thing: Thing, name: &str, builder: &mut Builder, file: &mut File) -> Result<()> {
    let thing = match thing {
        Thing::Tensor(item @ Item::Value(_)) => {
            // Whoever looks for the name finds it in the graph.
            let mut made = builder.emit(node, Op::Identity, &[Some(item)], &[name.to_string()], &[])?;
            made.pop().map_or(Thing::Nothing, Thing::Tensor)
        }
        Thing::Tensor(Item::Const(_, tensor)) => Thing::Tensor(Item::Const(name.into(), tensor)),
        other => other,
    };
    file.set(name, thing, builder);
    Ok(())
}

/// Gives a name to all that the nodes of a body make: the caller's for what is wanted, else one of the body's own.
fn results_of<'a>(
    plan: &Plan<'a>,
    wanted: &[(&str, &str)],
    inner: &mut Scope<'a>,
    builder: &mut Builder,
    file: &mut File,
) -> Result<()> {
    for planned in &plan.nodes {
        file.limits.named(&inner.full(&planned.name))?;
        for local in planned.node.output.iter().filter(|n| !n.is_empty()) {
            let full = match wanted.iter().find(|(name, full)| name == local && !full.is_empty()) {
                Some((_, full)) => full.to_string(),
                None => builder.fresh(&inner.full(local)),
            };
            file.limits.named(&full)?;
            inner.bind(local, full);
        }
    }
    Ok(())
}

fn stated<'a>(infos: &'a [ValueInfoProto], more: &'a [ValueInfoProto]) -> HashMap<&'a str, &'a ValueInfoProto> {
    infos.iter().chain(more).map(|v| (v.name(), v)).collect()
}

/// The opset that a function is written in: that of the model unless it says another.
fn opset(function: &FunctionProto, of_model: i64) -> Result<i64> {
    match import::default_opset(&function.opset_import)? {
        Some(own) => Ok(own),
        None => Ok(of_model),
    }
}

/// What the attributes of a function are in a call: the caller's, else the function's defaults.
fn attributes<'b>(call: &'b Call<'_>, function: &'b FunctionProto) -> Result<HashMap<&'b str, &'b AttributeProto>> {
    let mut all: HashMap<&str, &AttributeProto> = function.attribute_proto.iter().map(|a| (a.name(), a)).collect();
    for (name, a) in &call.attribute {
        if !all.contains_key(name) && !function.attribute.iter().any(|n| n == name) {
            bail!("the function '{}' has no attribute '{name}'", function.name());
        }
        if a.g.is_some() || !a.graphs.is_empty() {
            bail!("a subgraph as a function's attribute ('{name}') is not supported");
        }
        all.insert(name, a);
    }
    Ok(all)
}
