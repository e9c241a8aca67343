//! What is to be done for the nodes of a body, and in which order.

use super::ops::{self, OpRow};
use super::proto::{FunctionProto, GraphProto, NodeProto};
use super::walk::File;
use super::{notes::standin, standard};
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Customs, Error, Op, Result};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What is to be done for a node.
#[derive(Debug)]
pub enum Task {
    /// A row of the table reads it.
    Read(&'static OpRow),
    /// The last of several nodes that spell this operator, with the names of its operands.
    StandIn(Op, Vec<String>),
    /// An operator of the user's.
    Custom,
    /// A function of the model.
    Inline(Arc<FunctionProto>),
    /// Nothing can be done, for this reason.
    Refuse(String),
}

/// A node and what is to be done for it.
#[derive(Debug)]
pub struct Planned<'a> {
    /// The node.
    pub node: &'a NodeProto,
    /// The node's name: the file's, or `<OpType>_<first output>`.
    pub name: String,
    /// What is to be done.
    pub task: Task,
    /// Names that its subgraphs see outside of themselves.
    captured: Vec<&'a str>,
}

impl Planned<'_> {
    /// What must be there before it, by the names of its scope.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.operands().chain(self.captured.iter().copied())
    }

    /// Its operands, by the names of its scope.
    pub fn operands(&self) -> impl Iterator<Item = &str> {
        let own: &[String] = match &self.task {
            Task::StandIn(_, inputs) => inputs,
            Task::Read(_) | Task::Inline(_) | Task::Custom | Task::Refuse(_) => &self.node.input,
        };
        own.iter().map(String::as_str).filter(|n| !n.is_empty())
    }
}

/// The nodes that the results of a body need, in topological order (the file's where it is one).
#[derive(Debug)]
pub struct Plan<'a> {
    /// The nodes.
    pub nodes: Vec<Planned<'a>>,
    /// Names that one of them reads, or that are results.
    pub used: HashSet<String>,
}

/// Plans a body. `given` says of a name whether the body starts with it, `seen` whether it sees it elsewhere; `notes` are
/// those of the model's graph, which no other body has.
pub fn plan<'a>(
    nodes: &'a [NodeProto],
    results: &[&'a str],
    given: &dyn Fn(&str) -> bool,
    seen: &dyn Fn(&str) -> bool,
    file: &File,
    customs: &Customs,
    notes: bool,
) -> Result<Plan<'a>> {
    let mut all: Vec<Option<Planned>> = Vec::with_capacity(nodes.len());
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        let name = match node.name() {
            "" => format!("{}_{}", node.op_type(), node.output.first().map_or("", String::as_str)),
            name => name.to_string(),
        };
        for output in node.output.iter().filter(|n| !n.is_empty()) {
            if given(output) || makers.insert(output, i).is_some() {
                return Err(Error::new("two nodes, inputs or initializers give this value")
                    .at_node(name)
                    .at_value(output));
            }
        }
        let note = file.notes.nodes.get(node.name()).filter(|_| notes).and_then(|n| n.stands_for.as_ref());
        let task = match note.and_then(|n| standin(&n.op).map(|op| Task::StandIn(op, n.inputs.clone()))) {
            Some(task) => task,
            None => task(node, file, customs),
        };
        all.push(Some(Planned { node, name, task, captured: captured(node) }));
    }
    let nodes = sort(results, all, &makers, &|name| given(name) || seen(name))?;
    let used = nodes.iter().flat_map(Planned::reads).chain(results.iter().copied()).map(String::from).collect();
    Ok(Plan { nodes, used })
}

fn task(node: &NodeProto, file: &File, customs: &Customs) -> Task {
    let domain = domain(node.domain());
    // A function of the model is what its file says, whatever else has its name; but who gives an operator of that name
    // wants that one.
    if let Some(function) = file.function(node)
        && (customs.get(node.op_type()).is_err() || ops::find(domain, node.op_type()).is_some())
    {
        return Task::Inline(function);
    }
    match ops::find(domain, node.op_type()) {
        Some(row) => Task::Read(row),
        None if customs.get(node.op_type()).is_ok() => Task::Custom,
        None if graphs(node).next().is_some() => {
            Task::Refuse("control flow (subgraphs) is supported in If, Loop, Scan and SequenceMap alone".into())
        }
        None if !ops::OPS.iter().any(|r| r.domain == domain) => Task::Refuse(format!(
            "operators of the domain '{domain}' are not supported, unless one of that name is given (customs)"
        )),
        None if domain.is_empty() && standard::is_operator(node.op_type()) => {
            Task::Refuse("this operator of ONNX is not supported".into())
        }
        None => {
            let near = did_you_mean(node.op_type(), ops::OPS.iter().filter(|r| r.domain == domain).map(|r| r.op_type));
            Task::Refuse(format!("the operator is not supported{near}"))
        }
    }
}

/// A domain under one name: ONNX's own has two.
pub fn domain(name: &str) -> &str {
    match name {
        "ai.onnx" => "",
        name => name,
    }
}

/// The subgraphs of a node.
fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// How many nodes these are, with those of their subgraphs. A file cannot nest deeply: decoding it has a limit.
pub fn weight(nodes: &[NodeProto]) -> usize {
    let of_one = |n: &NodeProto| 1 + graphs(n).map(|g| weight(&g.node)).sum::<usize>();
    nodes.iter().map(of_one).sum()
}

/// Names that the subgraphs of a node see outside of themselves.
fn captured(node: &NodeProto) -> Vec<&str> {
    let mut all = Vec::new();
    graphs(node).for_each(|g| all.extend(free(g)));
    all
}

fn free(graph: &GraphProto) -> Vec<&str> {
    let own: HashSet<&str> = super::scope::all_names(graph).collect();
    let inner = graph.node.iter().flat_map(captured);
    let direct = graph.node.iter().flat_map(|n| &n.input).map(String::as_str);
    let results = graph.output.iter().map(|o| o.name());
    let seen: HashSet<&str> =
        direct.chain(inner).chain(results).filter(|n| !n.is_empty() && !own.contains(n)).collect();
    seen.into_iter().collect()
}

/// Depth first from the results back, without recursion, so that a long chain is no danger.
fn sort<'a>(
    results: &[&str],
    mut all: Vec<Option<Planned<'a>>>,
    makers: &HashMap<&str, usize>,
    known: &dyn Fn(&str) -> bool,
) -> Result<Vec<Planned<'a>>> {
    let mut needed: BTreeSet<usize> = BTreeSet::new();
    let mut stack: Vec<usize> = results.iter().filter_map(|name| makers.get(name).copied()).collect();
    while let Some(i) = stack.pop() {
        if let (true, Some(Some(planned))) = (needed.insert(i), all.get(i)) {
            stack.extend(planned.reads().filter_map(|n| makers.get(n).copied()));
        }
    }
    let mut waiting: HashMap<usize, usize> = HashMap::new();
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut ready: BTreeSet<usize> = BTreeSet::new();
    for &i in &needed {
        let Some(Some(planned)) = all.get(i) else { continue };
        if let Some(name) = planned.operands().find(|n| !makers.contains_key(n) && !known(n)) {
            return Err(Error::new("nothing gives this value: no input, initializer or node has its name")
                .at_node(&planned.name)
                .at_value(name));
        }
        // What only a subgraph reads is looked for when the subgraph is read, if it is.
        let from: BTreeSet<usize> = planned.reads().filter_map(|n| makers.get(n).copied()).collect();
        for maker in &from {
            readers.entry(*maker).or_default().push(i);
        }
        match from.len() {
            0 => drop(ready.insert(i)),
            n => drop(waiting.insert(i, n)),
        }
    }
    let mut sorted = Vec::with_capacity(needed.len());
    while let Some(i) = ready.pop_first() {
        sorted.extend(all.get_mut(i).and_then(Option::take));
        for reader in readers.get(&i).into_iter().flatten() {
            if let Some(n) = waiting.get_mut(reader) {
                *n -= 1;
                if *n == 0 {
                    waiting.remove(reader);
                    ready.insert(*reader);
                }
            }
        }
    }
    match waiting.keys().min().and_then(|i| all.get(*i)) {
        Some(Some(stuck)) => Err(Error::new("the node is part of a cycle, or reads from one").at_node(&stuck.name)),
        _ => Ok(sorted),
    }
}
