//! Float and QDQ graphs as ONNX, at the lowest opset that can say them, from 13 on.
//!
//! What ONNX lacks is spelled out in several nodes or noted in the metadata ([`super::notes`]), so that reading the
//! file gives the same graph back. The same graph always gives the same bytes.

mod ops;
mod quantize;
mod resample;

use super::notes::{NodeNote, Notes, StandsFor, TypeNote};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension, type_proto,
};
use super::tensor;
use lowbit_ir::{Dim, Error, Graph, Node, Result, Tensor, Type, ValueId};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The oldest opset that is written: the first with scales per channel (DESIGN.md says why none before it).
const BASE_OPSET: i64 = 13;
/// Protobuf messages end below 2 GiB.
const MOST_BYTES: usize = i32::MAX as usize;

/// The key of what is told of nodes.
const TOLD: &str = "lowbit";

/// The bytes of an ONNX file for a float or QDQ graph, with what is told of nodes by their names: it is for people, and
/// nothing reads it back.
pub fn export(graph: &Graph, told: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let opset = lowest_opset(graph)?;
    let mut writer = Writer::new(graph, opset, told);
    for (_, node) in graph.nodes() {
        writer.node(node).map_err(|e| e.at_node(&node.name).context(format!("writing {} to ONNX", node.op.name())))?;
    }
    let model = writer.finish()?;
    let length = model.encoded_len();
    if length > MOST_BYTES {
        return Err(Error::new(format!("an ONNX file holds less than 2 GiB, and this model has {length} bytes")));
    }
    Ok(model.encode_to_vec())
}

/// Refuses what ONNX cannot hold at all, and finds the opset for the rest.
fn lowest_opset(graph: &Graph) -> Result<i64> {
    let mut opset = BASE_OPSET;
    for (_, node) in graph.nodes() {
        let needed = ops::needed_opset(graph, node);
        opset = opset.max(needed.map_err(|e| e.at_node(&node.name).context("choosing an ONNX opset"))?);
    }
    Ok(opset)
}

/// The IR version that came with an opset.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        28.. => 14,
    }
}

/// The domain of operators of the user's.
const CUSTOM_DOMAIN: &str = "lowbit.custom";

/// A file under construction.
struct Writer<'g> {
    graph: &'g Graph,
    opset: i64,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Names of the initializers written, and of all else that the file adds to the graph.
    names: HashSet<String>,
    node_names: HashSet<String>,
    notes: Notes,
    /// Names of the scale and zero point of the quantized values so far.
    parameters: HashMap<ValueId, (String, String)>,
    /// Domains of operators besides ONNX's own.
    domains: BTreeSet<&'static str>,
    told: &'g BTreeMap<String, String>,
}

impl<'g> Writer<'g> {
    fn new(graph: &'g Graph, opset: i64, told: &'g BTreeMap<String, String>) -> Self {
        let node_names = graph.nodes().map(|(_, n)| n.name.clone()).collect();
        Writer {
            graph,
            opset,
            nodes: Vec::new(),
            initializers: Vec::new(),
            names: HashSet::new(),
            node_names,
            notes: Notes::default(),
            parameters: HashMap::new(),
            domains: BTreeSet::new(),
            told,
        }
    }

    /// The file's name of a value; a constant is written when it is first asked for.
    fn name(&mut self, v: ValueId) -> String {
        let value = self.graph.value(v);
        if let Some(t) = self.graph.constant(v)
            && self.names.insert(value.name.clone())
        {
            self.initializers.push(tensor::export(&value.name, t));
        }
        self.note_range(&value.name, &value.ty);
        value.name.clone()
    }

    /// Ranges that are not those of the storage type.
    fn note_range(&mut self, name: &str, ty: &Type) {
        if let Some(q) = &ty.quant
            && Some((q.qmin, q.qmax)) != ty.dtype.range()
        {
            let note = self.notes.types.entry(name.to_string()).or_insert(TypeNote {
                qmin: 0,
                qmax: 0,
                dtype: None,
                axis: None,
            });
            (note.qmin, note.qmax) = (q.qmin, q.qmax);
        }
    }

    /// The names of a node's operands; one left out is empty.
    fn operands(&mut self, node: &Node) -> Vec<String> {
        node.inputs.iter().map(|v| v.map(|v| self.name(v)).unwrap_or_default()).collect()
    }

    /// A new initializer whose name begins with `base`.
    fn constant(&mut self, base: &str, tensor: &Tensor) -> String {
        let name = self.fresh(base);
        self.initializers.push(tensor::export(&name, tensor));
        name
    }

    /// A value name that neither the graph nor the file has.
    fn fresh(&mut self, base: &str) -> String {
        let taken = |n: &str| self.graph.find(n).is_some() || self.names.contains(n);
        let name = free(base, taken);
        self.names.insert(name.clone());
        name
    }

    fn fresh_node(&mut self, base: &str) -> String {
        let name = free(base, |n| self.node_names.contains(n));
        self.node_names.insert(name.clone());
        name
    }

    /// The node that gives the graph's own outputs.
    fn write(&mut self, node: &Node, op_type: &str, inputs: Vec<String>, attributes: Vec<AttributeProto>) {
        let outputs = node.outputs.iter().map(|v| self.graph.value(*v).name.clone()).collect();
        self.push(node.name.clone(), op_type, inputs, outputs, attributes);
        for v in &node.outputs {
            let value = self.graph.value(*v);
            self.note_range(&value.name, &value.ty);
        }
        if let Some(rule) = &node.rule {
            self.note(node).rule = Some(rule.to_string());
        }
    }

    /// Says of the node that was written last that its operator is of this domain, none of ONNX's own.
    fn in_domain(&mut self, domain: &'static str) {
        if let Some(node) = self.nodes.last_mut() {
            node.domain = Some(domain.into());
            self.domains.insert(domain);
        }
    }

    fn push(
        &mut self,
        name: String,
        op_type: &str,
        mut inputs: Vec<String>,
        outputs: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let told = self.told.get(&name).map(|text| entry((TOLD.to_string(), text.clone())));
        self.nodes.push(NodeProto {
            input: inputs,
            output: outputs,
            metadata_props: told.into_iter().collect(),
            name: Some(name),
            op_type: Some(op_type.to_string()),
            attribute,
            ..NodeProto::default()
        });
    }

    /// A node on the way to the result, and the name of its output.
    fn step(
        &mut self,
        spelled: &mut Spelled,
        suffix: &str,
        op_type: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let base = format!("{}.{suffix}", spelled.name);
        let (name, output) = (self.fresh_node(&base), self.fresh(&base));
        spelled.steps.push((name.clone(), op_type.to_string()));
        self.push(name, op_type, inputs, vec![output.clone()], attributes);
        output
    }

    /// The last node of an operator that is spelled out, and the note that says which one it is.
    fn last(
        &mut self,
        spelled: Spelled,
        node: &Node,
        op_type: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        self.write(node, op_type, inputs, attributes);
        let mut steps = spelled.steps;
        steps.push((node.name.clone(), op_type.to_string()));
        let stands_for =
            StandsFor { op: spelled.op.to_string(), inputs: spelled.inputs, steps: steps.into_iter().collect() };
        self.note(node).stands_for = Some(stands_for);
    }

    fn note(&mut self, node: &Node) -> &mut NodeNote {
        self.notes.nodes.entry(node.name.clone()).or_default()
    }

    fn finish(mut self) -> Result<ModelProto> {
        let input = self.graph.inputs.iter().map(|v| self.info(*v)).collect();
        let output = self.graph.outputs.iter().map(|v| self.info(*v)).collect();
        for v in &self.graph.outputs {
            self.name(*v);
        }
        let mut properties = self.graph.meta.properties.clone();
        self.notes.put(&mut properties)?;
        let graph = GraphProto {
            node: self.nodes,
            name: Some(self.graph.name.clone()),
            initializer: self.initializers,
            input,
            output,
            ..GraphProto::default()
        };
        let text = |s: &str| (!s.is_empty()).then(|| s.to_string());
        let import = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
        let domains = self.domains.iter().map(|domain| import(domain, 1));
        Ok(ModelProto {
            ir_version: Some(ir_version(self.opset)),
            opset_import: std::iter::once(import("", self.opset)).chain(domains).collect(),
            producer_name: text(&self.graph.meta.producer),
            doc_string: text(&self.graph.meta.doc),
            graph: Some(graph),
            metadata_props: properties.into_iter().map(entry).collect(),
            ..ModelProto::default()
        })
    }

    fn info(&self, v: ValueId) -> ValueInfoProto {
        let value = self.graph.value(v);
        let dim = |d: &Dim| Dimension {
            value: Some(match d {
                Dim::Known(n) => dimension::Value::DimValue(*n as i64),
                Dim::Symbol(s) => dimension::Value::DimParam(s.to_string()),
            }),
            ..Dimension::default()
        };
        let shape = TensorShapeProto { dim: value.ty.shape.0.iter().map(dim).collect() };
        let tensor = type_proto::Tensor { elem_type: Some(tensor::code(value.ty.dtype)), shape: Some(shape) };
        ValueInfoProto {
            name: Some(value.name.clone()),
            r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
            ..ValueInfoProto::default()
        }
    }
}

/// An operator that takes several nodes: which, of what, and the nodes so far.
struct Spelled {
    name: String,
    op: &'static str,
    inputs: Vec<String>,
    steps: Vec<(String, String)>,
}

fn entry((key, value): (String, String)) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key), value: Some(value) }
}

fn free(base: &str, taken: impl Fn(&str) -> bool) -> String {
    match taken(base) {
        false => base.to_string(),
        true => (1u64..).map(|i| format!("{base}.{i}")).find(|n| !taken(n)).unwrap_or_default(),
    }
}

// ---- attributes ----

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_string()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn sizes(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto { ints: values.iter().map(|v| *v as i64).collect(), ..attribute(name, AttributeType::Ints) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec().into()), ..attribute(name, AttributeType::String) }
}
