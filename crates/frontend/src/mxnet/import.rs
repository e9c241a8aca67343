//! The walk over a symbol: its arrays and inputs, one import function after the other, one report of all that failed.

use super::inputs::{self, Uses};
use super::node::{Site, output_name};
use super::symbol::{Entry, Node, Symbol};
use super::{ops, params, symbol};
use crate::ImportOptions;
use crate::build::failures::{self, Failure};
use crate::build::{self, Builder, Item};
use bytes::Bytes;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Graph, Metadata, Result, Type, bail, check_float_mode, verify};
use std::collections::{BTreeMap, HashSet};

pub use crate::build::remarks::Remark;

/// The graph of a symbol and its parameters, and what was read differently than the files say it. Weights share the
/// parameters' bytes.
pub fn import(symbol: &[u8], parameters: Option<Bytes>, options: &ImportOptions) -> Result<(Graph, Vec<Remark>)> {
    check_float_mode()?;
    let symbol = symbol::parse(symbol)?;
    let (arrays, remarks) = match parameters {
        Some(bytes) => params::read(bytes).map_err(|e| e.context("reading the parameters"))?,
        None => (BTreeMap::new(), Vec::new()),
    };
    let uses = Uses::of(&symbol);
    let mut builder = Builder::new(options.max_memory);
    builder.graph = Graph::new("");
    builder.graph.meta = Metadata { producer: producer(&symbol), ..Metadata::default() };
    builder.reserved = all_names(&symbol, &arrays);
    builder.remarks = remarks;
    let variables: HashSet<&str> = symbol.nodes.iter().filter(|n| n.is_variable()).map(|n| n.name.as_str()).collect();
    let unread = arrays.keys().filter(|name| !variables.contains(name.as_str()));
    builder.remarks.extend(unread.map(|name| Remark::Unread { name: name.clone() }));
    let given = inputs::find(&symbol, &uses, &arrays, &options.shapes, &mut builder.remarks)?;
    let known = arrays.into_iter().map(|(name, t)| (name.clone(), Item::Const(name.into(), t)));
    builder.items.extend(known);
    build::inputs::add(&mut builder, given, &options.shapes)?;
    let results = walk(&symbol, &uses, &mut builder)?;
    outputs(&symbol, &results, &mut builder)?;
    let Builder { mut graph, mut remarks, .. } = builder;
    remarks.sort();
    graph.sweep();
    let graph = graph.compact();
    verify::verify(&graph).map_err(|e| e.context("checking the graph that was read"))?;
    // Arrays that nothing reads are no part of the graph.
    remarks.retain(|r| match r {
        Remark::Type { value, place: build::remarks::Place::Constant, .. } => graph.find(value).is_some(),
        Remark::Type { .. } | Remark::Name { .. } | Remark::Shape { .. } | Remark::Rows { .. } => true,
        Remark::Unread { .. } => true,
    });
    Ok((graph, remarks))
}

/// What a symbol takes, with the user's shapes, without reading its operators: some can be read only with known sizes.
pub fn inputs(symbol: &[u8], parameters: Bytes, options: &ImportOptions) -> Result<Vec<(String, Type)>> {
    let symbol = symbol::parse(symbol)?;
    let (arrays, _) = params::read(parameters).map_err(|e| e.context("reading the parameters"))?;
    inputs::find(&symbol, &Uses::of(&symbol), &arrays, &options.shapes, &mut Vec::new())
}

/// MXNet's version: 10901 is 1.9.1.
fn producer(symbol: &Symbol) -> String {
    match symbol.version {
        Some(v) => format!("MXNet {}.{}.{}", v / 10_000, v / 100 % 100, v % 100),
        None => "MXNet".into(),
    }
}

/// Every name that a value of the files has.
fn all_names(symbol: &Symbol, arrays: &BTreeMap<String, lowbit_ir::Tensor>) -> HashSet<String> {
    let variables = symbol.nodes.iter().filter(|n| n.is_variable()).map(|n| n.name.clone());
    let computed = symbol.nodes.iter().filter(|n| !n.is_variable()).map(|n| output_name(&n.name, 0, 1));
    variables.chain(computed).chain(arrays.keys().cloned()).collect()
}

/// Reads node by node; what each gives. After a failure it goes on with all that does not depend on it.
fn walk(symbol: &Symbol, uses: &Uses, builder: &mut Builder) -> Result<Vec<Option<Vec<Item>>>> {
    let mut results: Vec<Option<Vec<Item>>> = Vec::with_capacity(symbol.nodes.len());
    let mut failures = Vec::new();
    let mut names = HashSet::new();
    for (at, node) in symbol.nodes.iter().enumerate() {
        if !uses.needed[at] {
            results.push(None);
            continue;
        }
        if node.is_variable() {
            results.push(Some(vec![builder.find(&node.name)?]));
            continue;
        }
        if !names.insert(node.name.as_str()) {
            return Err(Error::new("two nodes have this name").at_node(&node.name));
        }
        let made = match refusal(node) {
            Some(error) => Err(error),
            None => match operands(node, &results) {
                // It reads what an earlier failure did not give: nothing can be said about it.
                None => {
                    results.push(None);
                    continue;
                }
                Some(operands) => operands.and_then(|operands| read(node, operands, uses.outputs[at], builder)),
            },
        };
        match made {
            Ok(items) => results.push(Some(items)),
            Err(error) => {
                failures.push(Failure { kind: node.op.clone(), error: error.at_node(&node.name) });
                results.push(None);
            }
        }
    }
    failures::report(failures)?;
    Ok(results)
}

/// Why nothing reads a node, if nothing does.
fn refusal(node: &Node) -> Option<Error> {
    if node.has_subgraphs {
        return Some(Error::new("control flow (subgraphs) is not supported"));
    }
    if ops::find(&node.op).is_some() {
        return None;
    }
    if node.op.starts_with("_contrib_quantize") || node.op.starts_with("_sg_mkldnn") {
        return Some(Error::new("MXNet's own integers are not supported").hint("read the float model instead"));
    }
    let near = did_you_mean(&node.op, ops::OPS.iter().map(|r| r.op));
    Some(Error::new(format!("the operator is not supported{near}")))
}

/// What a node reads, labels left out; `None` if some of it was not made.
fn operands(node: &Node, results: &[Option<Vec<Item>>]) -> Option<Result<Vec<Item>>> {
    let mut items = Vec::with_capacity(node.inputs.len());
    for (_, Entry { node: from, output }) in node.inputs.iter().enumerate().filter(|(i, _)| inputs::is_read(node, *i)) {
        let made = results.get(*from)?.as_ref()?;
        match made.get(*output) {
            Some(item) => items.push(item.clone()),
            None => {
                let why = format!("operand {} is output {output} of its node, which is not supported", items.len());
                return Some(Err(Error::new(why)));
            }
        }
    }
    Some(Ok(items))
}

fn read(node: &Node, operands: Vec<Item>, outputs: usize, builder: &mut Builder) -> Result<Vec<Item>> {
    let Some(row) = ops::find(&node.op) else { bail!("the operator is not supported") };
    let mut site = Site::new(node, operands, outputs, builder);
    (row.import)(&mut site)?;
    site.done()
}

fn outputs(symbol: &Symbol, results: &[Option<Vec<Item>>], builder: &mut Builder) -> Result<()> {
    let mut seen = HashSet::new();
    for head in &symbol.heads {
        let name = symbol.nodes.get(head.node).map_or("", |n| n.name.as_str());
        let made = results.get(head.node).and_then(Option::as_ref).and_then(|made| made.get(head.output));
        let Some(item) = made else {
            return Err(Error::new(format!("output {} of this node is not supported", head.output)).at_node(name));
        };
        if !seen.insert(*head) {
            return Err(Error::new("expected outputs of their own, found one twice").at_node(name));
        }
        let v = builder.value(item)?;
        builder.graph.outputs.push(v);
    }
    Ok(())
}
