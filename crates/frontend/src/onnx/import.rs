//! A model file: checks, what it is given, the walk over its nodes, what it gives, and one report of all that failed.

use super::external::External;
use super::limits::Limits;
use super::notes::Notes;
use super::plan::{domain, plan};
use super::proto::{
    FunctionProto, GraphProto, ModelProto, OperatorSetIdProto, ValueInfoProto, tensor_shape_proto::dimension,
    type_proto,
};
use super::scope::{Scope, all_names};
use super::walk::{File, walk};
use super::{NEWEST_OPSET, OLDEST_OPSET, tensor};
use crate::ImportOptions;
use crate::build;
use crate::build::remarks::{Place, Remark};
use crate::build::{Builder, Item, failures};
use bytes::Bytes;
use lowbit_ir::{Dim, Error, Graph, Metadata, Result, Shape, Type, ValueId, bail, check_float_mode, infer, verify};
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The graph of a model file, and what was read differently than the file says it. Weights share the file's bytes.
pub fn import(bytes: Bytes, base_dir: Option<&Path>, options: &ImportOptions) -> Result<(Graph, Vec<Remark>)> {
    // Wide floats are narrowed, and shapes computed from scales.
    check_float_mode()?;
    let mut model = decode(bytes)?;
    let functions = functions(&mut model)?;
    let graph = graph_of(&model)?;
    let opset = opset(&model)?;
    let mut meta = metadata(&model)?;
    let mut notes = Notes::take(&mut meta.properties)?;
    notes.prune(&graph.node.iter().map(|n| (n.name(), n.op_type())).collect());
    let external = External::new(base_dir, options.max_memory);
    let (things, limits, failures) = (HashMap::new(), Limits::default(), Vec::new());
    let mut file = File { notes, external, functions, opset, things, limits, failures };
    let mut builder = Builder::new(options.max_memory);
    builder.customs = options.customs.clone();
    builder.graph = Graph::new(graph.name());
    builder.graph.meta = meta;
    builder.reserved = all_names(graph).map(String::from).collect();
    builder.results = graph.output.iter().map(|o| o.name().to_string()).collect();
    graph.output.iter().chain(&graph.value_info).try_for_each(check_sizes)?;
    builder.remarks.extend(shared_names(graph));
    initializers(graph, &mut builder, &mut file.external)?;
    let constants: HashSet<String> = builder.items.keys().cloned().collect();
    add_inputs(graph, &|name| constants.contains(name), &mut builder, options)?;
    let results: Vec<&str> = graph.output.iter().map(|o| o.name()).collect();
    let given = |name: &str| builder.items.contains_key(name);
    let plan = plan(&graph.node, &results, &given, &|_| false, &file, &builder.customs, true)?;
    let stated = graph.value_info.iter().chain(&graph.output).map(|v| (v.name(), v)).collect();
    walk(&plan, &Scope::root(graph, opset), &stated, &mut builder, &mut file);
    failures::report(std::mem::take(&mut file.failures))?;
    outputs(graph, &mut builder, &file)?;
    output_shapes(graph, &mut builder, options);
    let (mut graph, mut remarks) = (builder.graph, builder.remarks);
    remarks.sort();
    graph.sweep();
    let mut graph = graph.compact();
    // Integers may have got their meaning from one that reads them when others had read them already.
    infer::refresh(&mut graph, &options.customs).map_err(|e| e.context("checking the graph that was read"))?;
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
    default_opset(&model.opset_import)?
        .ok_or_else(|| Error::new("expected the opset of ONNX's own operators, found none"))
}

/// The opset of ONNX's own operators among these, if there is one; it must be one that is read.
pub fn default_opset(all: &[OperatorSetIdProto]) -> Result<Option<i64>> {
    match all.iter().find(|o| domain(o.domain()).is_empty()).map(|o| o.version()) {
        Some(v @ OLDEST_OPSET..=NEWEST_OPSET) => Ok(Some(v)),
        Some(v) => Err(Error::new(format!("expected an opset in {OLDEST_OPSET}..={NEWEST_OPSET}, found {v}"))
            .hint("convert the model with onnx.version_converter")),
        None => Ok(None),
    }
}

/// The functions of a model, taken out of it.
fn functions(model: &mut ModelProto) -> Result<HashMap<(String, String, String), Arc<FunctionProto>>> {
    let mut all = HashMap::new();
    for f in std::mem::take(&mut model.functions) {
        let key = (domain(f.domain()).to_string(), f.name().to_string(), f.overload().to_string());
        if all.insert(key, Arc::new(f)).is_some() {
            bail!("expected functions with names of their own, found two with one domain, name and overload");
        }
    }
    Ok(all)
}

fn metadata(model: &ModelProto) -> Result<Metadata> {
    let producer = match (model.producer_name(), model.producer_version()) {
        (name, "") => name.to_string(),
        (name, version) => format!("{name} {version}"),
    };
    let properties = model.metadata_props.iter().map(|p| (p.key().to_string(), p.value().to_string())).collect();
    Ok(Metadata { producer, doc: model.doc_string().to_string(), properties })
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

/// What a model file takes, with the user's shapes, without reading its nodes.
pub fn inputs(bytes: Bytes, options: &ImportOptions) -> Result<Vec<(String, Type)>> {
    let model = decode(bytes)?;
    let graph = graph_of(&model)?;
    let mut builder = Builder::new(options.max_memory);
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    add_inputs(graph, &|name| constants.contains(name), &mut builder, options)?;
    let typed = |v: &ValueId| (builder.graph.value(*v).name.clone(), builder.graph.ty(*v).clone());
    Ok(builder.graph.inputs.iter().map(typed).collect())
}

fn decode(bytes: Bytes) -> Result<ModelProto> {
    ModelProto::decode(bytes).map_err(|e| {
        Error::new(format!("expected an ONNX model, found other or damaged data: {e}"))
            .hint("check that the file is complete and is an .onnx file")
    })
}

fn graph_of(model: &ModelProto) -> Result<&GraphProto> {
    model.graph.as_ref().ok_or_else(|| Error::new("expected a model with a graph, found none"))
}

/// The inputs that are not initializers (before IR version 4 these were listed too), with the user's shapes.
fn add_inputs(
    graph: &GraphProto,
    is_constant: &dyn Fn(&str) -> bool,
    builder: &mut Builder,
    options: &ImportOptions,
) -> Result<()> {
    let mut given = Vec::new();
    for info in graph.input.iter().filter(|i| !is_constant(i.name())) {
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
    let names: Vec<&str> = builder.graph.inputs.iter().map(|v| builder.graph.value(*v).name.as_str()).collect();
    let given = build::inputs::named(&options.shapes, &names).unwrap_or_default();
    let rebatched = given.iter().any(|(name, dims)| {
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
pub fn value_type(info: &ValueInfoProto) -> Result<Type> {
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

fn outputs(graph: &GraphProto, builder: &mut Builder, file: &File) -> Result<()> {
    let mut seen = HashSet::new();
    if let Some(again) = graph.output.iter().find(|o| !seen.insert(o.name())) {
        return Err(Error::new("expected outputs with names of their own").at_value(again.name()));
    }
    if graph.output.is_empty() {
        bail!("expected a model with outputs, found none");
    }
    for info in &graph.output {
        let name = info.name();
        let item = file.tensor(name, builder).map_err(|e| e.context("looking for the outputs"))?;
        let v = builder.value(&item).map_err(|e| e.at_value(name))?;
        builder.graph.outputs.push(v);
        tensor::remark(builder, Place::Output, name, element_code(info));
    }
    Ok(())
}
