//! What the names of a file mean where a node stands: in the model's graph, in a subgraph, in a function that is called.
//!
//! A subgraph sees the names around it and has its own besides; a function sees nothing but what it is called with.
//! Values of both enter the graph under names of their own, which begin with the name of the node that they are read for,
//! so that one body can be read any number of times.

use super::proto::{AttributeProto, GraphProto, NodeProto};
use std::collections::HashMap;

/// The names that a node sees.
#[derive(Debug)]
pub struct Scope<'a> {
    outer: Option<&'a Scope<'a>>,
    /// What each name is in the graph under construction; nothing for an operand that a caller leaves out.
    names: HashMap<&'a str, String>,
    /// Attributes of the function that is called, if one is.
    attributes: Option<HashMap<&'a str, &'a AttributeProto>>,
    /// The name that nodes in here begin with; empty in the model's graph.
    prefix: String,
    /// The opset of ONNX's own operators.
    pub opset: i64,
    /// How many subgraphs and functions are around.
    pub depth: usize,
}

impl<'a> Scope<'a> {
    /// Of the model's graph: every name is what it says.
    pub fn root(graph: &'a GraphProto, opset: i64) -> Scope<'a> {
        let names = all_names(graph).map(|n| (n, n.to_string())).collect();
        Scope { outer: None, names, attributes: None, prefix: String::new(), opset, depth: 0 }
    }

    /// Of a subgraph of a node in this scope.
    pub fn inside(&'a self, prefix: String) -> Scope<'a> {
        let names = HashMap::new();
        Scope { outer: Some(self), names, attributes: None, prefix, opset: self.opset, depth: self.depth + 1 }
    }

    /// Of a function that a node in this scope calls.
    pub fn called<'b>(
        &self,
        prefix: String,
        opset: i64,
        attributes: HashMap<&'b str, &'b AttributeProto>,
    ) -> Scope<'b> {
        let attributes = Some(attributes);
        Scope { outer: None, names: HashMap::new(), attributes, prefix, opset, depth: self.depth + 1 }
    }

    /// Makes a name of this scope mean a value.
    pub fn bind(&mut self, name: &'a str, value: String) {
        self.names.insert(name, value);
    }

    /// The value that a name means here, if it means one.
    pub fn find(&self, name: &str) -> Option<&str> {
        match self.names.get(name) {
            Some(value) => Some(value),
            None => self.outer.and_then(|outer| outer.find(name)),
        }
    }

    /// The name that something of this scope has in the graph, unless it is taken.
    pub fn full(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_string(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// The function's attributes, in a function or in subgraphs of it.
    fn attributes(&self) -> Option<&HashMap<&'a str, &'a AttributeProto>> {
        self.attributes.as_ref().or_else(|| self.outer.and_then(Scope::attributes))
    }
}

/// Every name that a value of the graph has.
pub fn all_names(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let inputs = graph.input.iter().map(|v| v.name());
    let constants = graph.initializer.iter().map(|t| t.name());
    let computed = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str));
    inputs.chain(constants).chain(computed).filter(|n| !n.is_empty())
}

/// A node as it is read in its scope: names are those of the graph under construction, attributes have their values.
#[derive(Debug)]
pub struct Call<'a> {
    /// The node's name.
    pub name: String,
    /// The kind of node, as the file names it.
    pub op_type: &'a str,
    /// Its operands; what is left out has no name.
    pub input: Vec<String>,
    /// Its results; what is left out has no name.
    pub output: Vec<String>,
    /// Its attributes by name.
    pub attribute: Vec<(&'a str, &'a AttributeProto)>,
}

impl<'a> Call<'a> {
    /// Of a node in a scope; `name` is its name there.
    pub fn new(node: &'a NodeProto, name: &str, scope: &'a Scope<'_>) -> Call<'a> {
        let value = |name: &String| scope.find(name).unwrap_or_default().to_string();
        Call {
            name: scope.full(name),
            op_type: node.op_type(),
            input: node.input.iter().map(value).collect(),
            output: node.output.iter().map(value).collect(),
            attribute: node.attribute.iter().filter_map(|a| attribute(a, scope)).collect(),
        }
    }

    /// Operands listed, trailing empty ones not counted.
    pub fn operands(&self) -> usize {
        self.input.iter().rposition(|n| !n.is_empty()).map_or(0, |i| i + 1)
    }
}

/// What an attribute is here: one that refers to an attribute of the function is that one, and is left out where the
/// caller leaves that out. Outside of a function it stays a reference, which whoever reads it refuses.
fn attribute<'a>(a: &'a AttributeProto, scope: &'a Scope<'_>) -> Option<(&'a str, &'a AttributeProto)> {
    match scope.attributes() {
        Some(of_function) if !a.ref_attr_name().is_empty() => Some((a.name(), *of_function.get(a.ref_attr_name())?)),
        Some(_) | None => Some((a.name(), a)),
    }
}
