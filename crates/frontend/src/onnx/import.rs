//! The walk over a model file: checks, order, one import function after the other, and one report of all that failed.

use super::external::External;
use super::node::Site;
use super::notes::{Notes, standin};
use super::ops::{self, OpRow};
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use super::{NEWEST_OPSET, OLDEST_OPSET, standard, tensor};
use crate::ImportOptions;
use crate::build;
use crate::build::failures::{self, Failure};
use crate::build::remarks::{Place, Remark};
use crate::build::{Builder, Item};
use bytes::Bytes;
use lowbit_ir::op::CustomId;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Customs, Dim, Error, Graph, Metadata, Op, Result, Shape, Type, bail, check_float_mode, verify};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

/// What a file says beyond its graph.
#[derive(Debug)]
pub struct File {
    /// What ONNX cannot say.
    pub notes: Notes,
    /// The data files beside the model.
    pub external: External,
}

/// The graph of a model file, and what was read differently than the file says it. Weights share the file's bytes.
pub fn import(bytes: Bytes, base_dir: Option<&Path>, options: &ImportOptions) -> Result<(Graph, Vec<Remark>)> {
    // Wide floats are narrowed, and shapes computed from scales.
    check_float_mode()?;
    let model = ModelProto::decode(bytes).map_err(|e| {
        Error::new(format!("expected an ONNX model, found other or damaged data: {e}"))
            .hint("check that the file is complete and is an .onnx file")
    })?;
    let graph = model.graph.as_ref().ok_or_else(|| Error::new("expected a model with a graph, found none"))?;
    let opset = opset(&model)?;
    let mut meta = metadata(&model)?;
    let mut notes = Notes::take(&mut meta.properties)?;
    notes.prune(&graph.node.iter().map(|n| (n.name(), n.op_type())).collect());
    let mut file = File { notes, external: External::new(base_dir, options.max_memory) };
    let mut builder = Builder::new(options.max_memory);
    builder.customs = options.customs.clone();
    builder.graph = Graph::new(graph.name());
    builder.graph.meta = meta;
    builder.reserved = all_names(graph);
    builder.results = graph.output.iter().map(|o| o.name().to_string()).collect();
    graph.output.iter().chain(&graph.value_info).try_for_each(check_sizes)?;
    builder.remarks.extend(shared_names(graph));
    initializers(graph, &mut builder, &mut file.external)?;
    inputs(graph, &mut builder, options)?;
    let plan = plan(graph, &builder, &file.notes)?;
    walk(&model, graph, opset, &plan, &mut builder, &mut file)?;
    outputs(graph, &mut builder)?;
    output_shapes(graph, &mut builder, options);
    let (mut graph, mut remarks) = (builder.graph, builder.remarks);
    remarks.sort();
    graph.sweep();
    let graph = graph.compact();
    verify::verify_with(&graph, &options.customs).map_err(|e| e.context("checking the graph that was read"))?;
    Ok((graph, remarks))
}

/// Versions first: what is newer than this room is refused before it is misread.
fn opset(model: &ModelProto) -> Result<i64> {
    match model.ir_version {
        Some(3..) => {}
        Some(old) => bail!("expected IR version 3 or newer, found {old}"),
        None => bail!("expected an ONNX model, found no IR version"),
    }
    let default = |domain: &str| matches!(domain, "" | "ai.onnx");
    let import = model.opset_import.iter().find(|o| default(o.domain()));
    match import.map(|o| o.version()) {
        Some(v @ OLDEST_OPSET..=NEWEST_OPSET) => Ok(v),
        Some(v) => Err(Error::new(format!("expected an opset in {OLDEST_OPSET}..={NEWEST_OPSET}, found {v}"))
            .hint("convert the model with onnx.version_converter")),
        None => bail!("expected the opset of ONNX's own operators, found none"),
    }
}

fn metadata(model: &ModelProto) -> Result<Metadata> {
    let producer = match (model.producer_name(), model.producer_version()) {
        (name, "") => name.to_string(),
        (name, version) => format!("{name} {version}"),
    };
    let properties = model.metadata_props.iter().map(|p| (p.key().to_string(), p.value().to_string())).collect();
    Ok(Metadata { producer, doc: model.doc_string().to_string(), properties })
}

/// Every name that a value of the file has.
fn all_names(graph: &GraphProto) -> HashSet<String> {
    let inputs = graph.input.iter().map(|v| v.name());
    let constants = graph.initializer.iter().map(|t| t.name());
    let computed = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str));
    inputs.chain(constants).chain(computed).filter(|n| !n.is_empty()).map(String::from).collect()
}

/// Refuses sizes that a file states of a value and that nothing can have.
fn check_sizes(info: &ValueInfoProto) -> Result<()> {
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Ok(());
    };
    let sizes = tensor.shape.iter().flat_map(|shape| &shape.dim).enumerate();
    let mut stated = sizes.map(|(i, d)| (i, &d.value));
    match stated.find(|(_, d)| matches!(d, Some(dimension::Value::DimValue(..=-2)))) {
        Some((i, Some(dimension::Value::DimValue(n)))) => Err(wrong_size(*n, i).at_value(info.name())),
        Some(_) | None => Ok(()),
    }
}

fn wrong_size(found: i64, axis: usize) -> Error {
    Error::new(format!("expected a size from 1, or 0 or -1 for an open one, found {found} (dimension {axis})"))
}

/// Remarks on names that several nodes have, where the graph has one name a node.
fn shared_names(graph: &GraphProto) -> Vec<Remark> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    graph.node.iter().filter(|n| !n.name().is_empty()).for_each(|n| *counts.entry(n.name()).or_default() += 1);
    let shared = counts.into_iter().filter(|(_, count)| *count > 1);
    shared.map(|(name, count)| Remark::Name { name: name.to_string(), count }).collect()
}

fn initializers(graph: &GraphProto, builder: &mut Builder, external: &mut External) -> Result<()> {
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |t| t.name());
        return Err(Error::new("sparse initializers are not supported").at_value(name));
    }
    for proto in &graph.initializer {
        let tensor = tensor::import(proto, external)?;
        tensor::remark(builder, Place::Constant, proto.name(), proto.data_type());
        if proto.name().is_empty() {
            bail!("expected initializers with names, found one without");
        }
        if builder.items.insert(proto.name().to_string(), Item::Const(proto.name().into(), tensor)).is_some() {
            return Err(Error::new("two initializers have this name").at_value(proto.name()));
        }
    }
    Ok(())
}

/// The inputs that are not initializers (before IR version 4 these were listed too), with the user's shapes.
fn inputs(graph: &GraphProto, builder: &mut Builder, options: &ImportOptions) -> Result<()> {
    let mut given = Vec::new();
    let open: Vec<_> = graph.input.iter().filter(|i| !builder.items.contains_key(i.name())).collect();
    for info in open {
        let ty = value_type(info).map_err(|e| e.at_value(info.name()))?;
        if info.name().is_empty() || given.iter().any(|(name, _)| name == info.name()) {
            return Err(Error::new("expected inputs with names of their own").at_value(info.name()));
        }
        tensor::remark(builder, Place::Input, info.name(), element_code(info));
        given.push((info.name().to_string(), ty));
    }
    build::inputs::add(builder, given, &options.shapes)
}

/// Remarks on outputs whose sizes are others than the file declares: what is computed holds, but whoever made the file
/// meant something else.
fn output_shapes(graph: &GraphProto, builder: &mut Builder, options: &ImportOptions) {
    let declared = |infos: &[ValueInfoProto], name: &str| {
        let info = infos.iter().find(|i| i.name() == name)?;
        value_type(info).ok().map(|ty| ty.shape)
    };
    // Another batch than the file's changes its declarations too.
    let rebatched = options.shapes.iter().any(|(name, dims)| {
        let before = declared(&graph.input, name).and_then(|shape| shape.0.first()?.known());
        before.is_some() && before != dims.first().copied()
    });
    if rebatched {
        return;
    }
    for (info, v) in graph.output.iter().zip(builder.graph.outputs.clone()) {
        let Ok(stated) = value_type(info).map(|ty| ty.shape) else { continue };
        let computed = &builder.graph.ty(v).shape;
        let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
        if stated.rank() != computed.rank() || stated.0.iter().zip(&computed.0).any(differs) {
            let (declared, computed) = (stated.to_string(), computed.to_string());
            builder.remarks.push(Remark::Shape { value: info.name().to_string(), declared, computed });
        }
    }
}

/// The type that a file states for a value; a size that is left open gets a name of its own.
fn value_type(info: &ValueInfoProto) -> Result<Type> {
    let tensor = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(t)) => t,
        _ => bail!("expected a tensor, found another kind of value or no type"),
    };
    let dtype = tensor::dtype(tensor.elem_type())?;
    let shape = tensor.shape.as_ref().ok_or_else(|| {
        Error::new("expected a shape, found none").hint("run onnx.shape_inference, or export the model with shapes")
    })?;
    let own = |i: usize| build::inputs::symbol(info.name(), i);
    let dims = shape.dim.iter().enumerate().map(|(i, d)| match &d.value {
        // Writers mark an open size by 0, by -1 or by nothing.
        Some(dimension::Value::DimValue(-1 | 0)) | None => Ok(own(i)),
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).map(Dim::Known).map_err(|_| wrong_size(*n, i)),
        Some(dimension::Value::DimParam(s)) if s.is_empty() => Ok(own(i)),
        Some(dimension::Value::DimParam(s)) => Ok(Dim::Symbol(s.as_str().into())),
    });
    Ok(Type::plain(dtype, Shape(dims.collect::<Result<_>>()?)))
}

/// The code of the element type that a file states for a value; 0, which means none, if it does not.
fn element_code(info: &ValueInfoProto) -> i32 {
    match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(t)) => t.elem_type(),
        Some(_) | None => 0,
    }
}

/// What is to be done for a node.
enum Task {
    Read(&'static OpRow),
    StandIn(Op, Vec<String>),
    /// An operator of the user's.
    Custom,
    Refuse(String),
}

struct Planned<'a> {
    node: &'a NodeProto,
    name: String,
    task: Task,
}

impl Planned<'_> {
    fn reads(&self) -> impl Iterator<Item = &str> {
        let own: &[String] = match &self.task {
            Task::StandIn(_, inputs) => inputs,
            Task::Read(_) | Task::Custom | Task::Refuse(_) => &self.node.input,
        };
        own.iter().map(String::as_str).filter(|n| !n.is_empty())
    }

    fn makes(&self) -> impl Iterator<Item = &str> {
        self.node.output.iter().map(String::as_str).filter(|n| !n.is_empty())
    }
}

/// The nodes that the outputs need, in topological order (the file's where it is one).
fn plan<'a>(graph: &'a GraphProto, builder: &Builder, notes: &Notes) -> Result<Vec<Planned<'a>>> {
    let mut all: Vec<Option<Planned>> = Vec::with_capacity(graph.node.len());
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        let name = match node.name() {
            "" => format!("{}_{}", node.op_type(), node.output.first().map_or("", String::as_str)),
            name => name.to_string(),
        };
        for output in node.output.iter().filter(|n| !n.is_empty()) {
            if builder.items.contains_key(output) || makers.insert(output, i).is_some() {
                return Err(Error::new("two nodes, inputs or initializers give this value")
                    .at_node(name)
                    .at_value(output));
            }
        }
        let note = notes.nodes.get(node.name()).and_then(|n| n.stands_for.as_ref());
        let task = match note.and_then(|n| standin(&n.op).map(|op| Task::StandIn(op, n.inputs.clone()))) {
            Some(task) => task,
            None => task(node, &builder.customs),
        };
        all.push(Some(Planned { node, name, task }));
    }
    sort(graph, builder, all, &makers)
}

fn task(node: &NodeProto, customs: &Customs) -> Task {
    let domain = match node.domain() {
        "ai.onnx" => "",
        domain => domain,
    };
    if let Some((.., why, hint)) = ops::REFUSED.iter().find(|(d, op, ..)| *d == domain && *op == node.op_type()) {
        return Task::Refuse(format!("{why}; {hint}"));
    }
    match ops::find(domain, node.op_type()) {
        Some(row) => Task::Read(row),
        None if customs.get(node.op_type()).is_ok() => Task::Custom,
        None if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) => {
            Task::Refuse("control flow (subgraphs) is not supported".into())
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

/// Depth first from the outputs back, without recursion, so that a long chain is no danger.
fn sort<'a>(
    graph: &'a GraphProto,
    builder: &Builder,
    mut all: Vec<Option<Planned<'a>>>,
    makers: &HashMap<&str, usize>,
) -> Result<Vec<Planned<'a>>> {
    let mut needed: BTreeSet<usize> = BTreeSet::new();
    let mut stack: Vec<usize> = graph.output.iter().filter_map(|o| makers.get(o.name()).copied()).collect();
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
        let mut from: BTreeSet<usize> = BTreeSet::new();
        for name in planned.reads() {
            match makers.get(name) {
                Some(maker) => drop(from.insert(*maker)),
                None if builder.items.contains_key(name) => {}
                None => {
                    return Err(Error::new("nothing gives this value: no input, initializer or node has its name")
                        .at_node(&planned.name)
                        .at_value(name));
                }
            }
        }
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

/// Reads node by node. After a failure it goes on, as far as the file itself states the types of what is missing.
fn walk(
    model: &ModelProto,
    graph: &GraphProto,
    opset: i64,
    plan: &[Planned<'_>],
    builder: &mut Builder,
    file: &mut File,
) -> Result<()> {
    let used: HashSet<&str> =
        plan.iter().flat_map(|p| p.reads()).chain(graph.output.iter().map(|o| o.name())).collect();
    let stated: HashMap<&str, &ValueInfoProto> =
        graph.value_info.iter().chain(&graph.output).map(|v| (v.name(), v)).collect();
    let functions: HashSet<(&str, &str)> = model.functions.iter().map(|f| (f.domain(), f.name())).collect();
    let mut failures = Vec::new();
    for planned in plan {
        let readable = planned.reads().all(|n| builder.items.contains_key(n));
        let result = match &planned.task {
            Task::Refuse(_) if functions.contains(&(planned.node.domain(), planned.node.op_type())) => {
                Err(Error::new("functions defined in the model are not supported")
                    .hint("inline them with onnx.inliner.inline_local_functions"))
            }
            Task::Refuse(why) => Err(Error::new(why.clone())),
            // It reads what an earlier failure did not give: nothing can be said about it.
            Task::Read(_) | Task::StandIn(..) | Task::Custom if !readable => continue,
            Task::Read(row) => read(planned, row, opset, &used, builder, file),
            Task::StandIn(op, inputs) => emit_stand_in(planned, op, inputs, builder, &file.notes),
            Task::Custom => emit_custom(planned, builder),
        };
        if let Err(error) = result {
            let kind = qualified(planned.node.domain(), planned.node.op_type());
            failures.push(Failure { kind, error: error.at_node(&planned.name) });
            for name in planned.makes() {
                if let Some(ty) = stated.get(name).and_then(|info| value_type(info).ok()) {
                    let v = builder.graph.add_input(name, ty);
                    builder.items.insert(name.to_string(), Item::Value(v));
                }
            }
        } else if let (Some(note), Some(made)) = (
            file.notes.nodes.get(planned.node.name()).and_then(|n| n.rule.clone()),
            planned.makes().next().and_then(|n| builder.graph.find(n)).and_then(|v| builder.graph.producer(v)),
        ) {
            builder.graph.node_mut(made).rule = Some(note.into());
        }
    }
    failures::report(failures)
}

fn read(
    planned: &Planned<'_>,
    row: &OpRow,
    opset: i64,
    used: &HashSet<&str>,
    builder: &mut Builder,
    file: &mut File,
) -> Result<()> {
    let mut site = Site::new(planned.node, planned.name.clone(), opset, builder, file);
    (row.import)(&mut site)?;
    site.all_read()?;
    match planned.makes().find(|n| used.contains(n) && !builder.items.contains_key(*n)) {
        Some(name) => {
            Err(Error::new("this output of the operator is not supported, but something reads it").at_value(name))
        }
        None => Ok(()),
    }
}

/// An operator of the user's gets operands and nothing else: what a file says besides would be passed over.
fn emit_custom(planned: &Planned<'_>, builder: &mut Builder) -> Result<()> {
    let node = planned.node;
    if let Some(attribute) = node.attribute.first() {
        return Err(Error::new(format!(
            "expected no attributes of an operator of your own, found '{}', which it would not see",
            attribute.name()
        ))
        .hint("make what it says a constant operand, or an operator of another name"));
    }
    let operand = |name: &String| (!name.is_empty()).then(|| builder.find(name)).transpose();
    let operands = node.input.iter().map(operand).collect::<Result<Vec<_>>>()?;
    let own = |(i, name): (usize, &String)| match name.is_empty() {
        true => builder.fresh(&format!("{}.{i}", planned.name)),
        false => name.clone(),
    };
    let outputs: Vec<String> = node.output.iter().enumerate().map(own).collect();
    let op = Op::Custom(CustomId(node.op_type().into()));
    let items = builder.emit(&planned.name, op, &operands, &outputs, &[])?;
    builder.items.extend(outputs.into_iter().zip(items));
    Ok(())
}

fn emit_stand_in(
    planned: &Planned<'_>,
    op: &Op,
    inputs: &[String],
    builder: &mut Builder,
    notes: &Notes,
) -> Result<()> {
    let operands: Vec<Option<Item>> =
        inputs.iter().map(|n| (!n.is_empty()).then(|| builder.find(n)).transpose()).collect::<Result<_>>()?;
    let outputs: Vec<String> = planned.makes().map(String::from).collect();
    let items = match op {
        Op::Quantize { .. } => ops::quantize_stand_in(builder, notes, &planned.name, &operands, &outputs)?,
        Op::Dequantize => ops::dequantize_stand_in(builder, notes, &planned.name, inputs, &operands, &outputs)?,
        other => builder.emit(&planned.name, other.clone(), &operands, &outputs, &[])?,
    };
    builder.items.extend(outputs.into_iter().zip(items));
    Ok(())
}

fn qualified(domain: &str, op_type: &str) -> String {
    match domain {
        "" | "ai.onnx" => op_type.to_string(),
        domain => format!("{domain}.{op_type}"),
    }
}

fn outputs(graph: &GraphProto, builder: &mut Builder) -> Result<()> {
    let mut seen = HashSet::new();
    if let Some(again) = graph.output.iter().find(|o| !seen.insert(o.name())) {
        return Err(Error::new("expected outputs with names of their own").at_value(again.name()));
    }
    if graph.output.is_empty() {
        bail!("expected a model with outputs, found none");
    }
    for info in &graph.output {
        let name = info.name();
        let item = builder.find(name).map_err(|e| e.context("looking for the outputs"))?;
        let v = builder.value(&item).map_err(|e| e.at_value(name))?;
        builder.graph.outputs.push(v);
        tensor::remark(builder, Place::Output, name, element_code(info));
    }
    Ok(())
}
