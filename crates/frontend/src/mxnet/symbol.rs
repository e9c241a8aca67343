//! The JSON of a symbol, which came in three forms, as one.
//!
//! A node's parameters stand in `param` up to version 0.8, together with the user's own attributes in `attr` up to 1.1,
//! and in `attrs` since then. An operand is [node, output] or [node, output, version]. All values are texts.

use lowbit_ir::{Error, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A symbol: nodes of which each reads earlier ones only.
#[derive(Debug, Clone, PartialEq)]
pub struct Symbol {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What the symbol gives out.
    pub heads: Vec<Entry>,
    /// The version that wrote it, as MXNet counts (10901 is 1.9.1), where it says so.
    pub version: Option<i64>,
}

/// An output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Which node.
    pub node: usize,
    /// Which of its outputs.
    pub output: usize,
}

/// A node: an operator, or a variable if its operator is `null`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// The operator.
    pub op: String,
    /// The node's name.
    pub name: String,
    /// Its attributes without those that concern training or devices.
    pub attributes: BTreeMap<String, String>,
    /// What it reads.
    pub inputs: Vec<Entry>,
    /// Whether it runs symbols of its own.
    pub has_subgraphs: bool,
}

impl Node {
    /// Whether it is a variable: a parameter or an input.
    pub fn is_variable(&self) -> bool {
        self.op == "null"
    }
}

#[derive(Deserialize)]
struct RawSymbol {
    nodes: Vec<RawNode>,
    heads: Vec<Vec<i64>>,
    #[serde(default)]
    attrs: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct RawNode {
    op: String,
    name: String,
    #[serde(default)]
    param: Option<BTreeMap<String, String>>,
    #[serde(default)]
    attr: Option<BTreeMap<String, String>>,
    #[serde(default)]
    attrs: Option<BTreeMap<String, String>>,
    #[serde(default)]
    inputs: Vec<Vec<i64>>,
    #[serde(default)]
    subgraphs: Vec<serde_json::Value>,
}

/// Reads a symbol. Nodes that read later ones, or ones that are not there, are refused.
pub fn parse(bytes: &[u8]) -> Result<Symbol> {
    let raw: RawSymbol = serde_json::from_slice(bytes).map_err(|e| {
        Error::new(format!("expected the symbol of an MXNet model, found other or damaged data: {e}"))
            .hint("check that the file is complete and is a -symbol.json file")
    })?;
    let count = raw.nodes.len();
    let mut nodes = Vec::with_capacity(count);
    for (i, node) in raw.nodes.into_iter().enumerate() {
        let inputs = node.inputs.iter().map(|e| entry(e, i)).collect::<Result<_>>();
        let inputs = inputs.map_err(|e| e.at_node(&node.name))?;
        nodes.push(Node {
            attributes: attributes(node.param, node.attr, node.attrs),
            op: node.op,
            name: node.name,
            inputs,
            has_subgraphs: !node.subgraphs.is_empty(),
        });
    }
    let heads = raw.heads.iter().map(|e| entry(e, count)).collect::<Result<Vec<_>>>();
    let heads = heads.map_err(|e| e.context("reading the outputs of the symbol"))?;
    if heads.is_empty() {
        bail!("expected a symbol with outputs, found none");
    }
    // ["int", 10901]
    let version = raw.attrs.get("mxnet_version").and_then(|v| v.get(1)).and_then(serde_json::Value::as_i64);
    Ok(Symbol { nodes, heads, version })
}

/// An operand: a node before `limit`, so that no symbol has a cycle.
fn entry(list: &[i64], limit: usize) -> Result<Entry> {
    let number = |i: usize| list.get(i).and_then(|n| usize::try_from(*n).ok());
    match (list.len(), number(0), number(1)) {
        (2 | 3, Some(node), Some(output)) if node < limit => Ok(Entry { node, output }),
        _ => bail!("expected operands as [node, output] with a node before number {limit}, found {list:?}"),
    }
}

/// What concerns training or where a node runs, also with the name of a parameter before it.
const HIDDEN: &[&str] = &["ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage", "profiler_scope"];

/// What variables say of themselves.
const SAID: &[&str] = &["__shape__", "__dtype__"];

/// The operator's own attributes of whatever era, and what variables say of themselves (`__shape__`, `__dtype__`).
fn attributes(
    param: Option<BTreeMap<String, String>>,
    attr: Option<BTreeMap<String, String>>,
    attrs: Option<BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let first_era = param.is_some();
    let own = param.into_iter().flatten();
    // In the first era all of `attr` was the user's.
    let mixed = attr.into_iter().flatten().filter(|(key, _)| !first_era || key.starts_with("__"));
    let all = own.chain(mixed).chain(attrs.into_iter().flatten());
    let hidden = |key: &str| HIDDEN.iter().any(|h| key == *h || key.ends_with(&format!("_{h}")));
    all.filter(|(key, _)| (!key.starts_with("__") && !hidden(key)) || SAID.contains(&key.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(node: &str) -> Node {
        let text = format!(
            r#"{{"nodes": [{{"op": "null", "name": "x", "inputs": []}}, {node}], "heads": [[1, 0, 0]],
                "arg_nodes": [0], "attrs": {{"mxnet_version": ["int", 10901]}}}}"#
        );
        let symbol = parse(text.as_bytes()).unwrap();
        assert_eq!(symbol.version, Some(10901));
        assert_eq!(symbol.heads, [Entry { node: 1, output: 0 }]);
        symbol.nodes[1].clone()
    }

    #[test]
    fn every_era_says_the_same() {
        let expected = [("act_type".to_string(), "relu".to_string())];
        for node in [
            r#"{"op": "Activation", "param": {"act_type": "relu"}, "attr": {"lr": "2", "__lr_mult__": "1"}, "name": "a",
                "inputs": [[0, 0]], "backward_source_id": -1}"#,
            r#"{"op": "Activation", "attr": {"act_type": "relu", "weight_lr_mult": "2"}, "name": "a", "inputs": [[0, 0]]}"#,
            r#"{"op": "Activation", "attrs": {"act_type": "relu", "__profiler_scope__": "a:"}, "name": "a",
                "inputs": [[0, 0, 0]]}"#,
        ] {
            let node = one(node);
            assert_eq!((node.op.as_str(), node.name.as_str()), ("Activation", "a"));
            assert_eq!(node.attributes.into_iter().collect::<Vec<_>>(), expected);
            assert_eq!(node.inputs, [Entry { node: 0, output: 0 }]);
        }
    }

    #[test]
    fn what_is_no_symbol_is_refused() {
        let cases = [
            ("{}", "missing field"),
            (r#"{"nodes": [], "heads": []}"#, "a symbol with outputs"),
            (r#"{"nodes": [{"op": "null", "name": "x"}], "heads": [[1, 0, 0]]}"#, "a node before number 1"),
            (r#"{"nodes": [{"op": "Flatten", "name": "x", "inputs": [[0, 0]]}], "heads": [[0, 0]]}"#, "node 'x'"),
            (r#"{"nodes": [{"op": "null", "name": "x"}], "heads": [[-1, 0]]}"#, "found [-1, 0]"),
            (r#"{"nodes": [{"op": "null", "name": "x"}], "heads": [[0]]}"#, "found [0]"),
        ];
        for (text, expected) in cases {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let deep = "[".repeat(100_000);
        parse(format!("{{\"nodes\": {deep}").as_bytes()).unwrap_err();
    }
}
