//! Model files written by hand, for the tests.
#![allow(dead_code)]

use lowbit_frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto,
};
use lowbit_frontend::onnx::tensor;
use lowbit_frontend::{ImportOptions, load_bytes};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{DType, Engine, Graph, Result, Tensor, Type};
use prost::Message;

/// A model under construction.
#[derive(Clone)]
pub struct Model(pub ModelProto);

impl Model {
    pub fn new(opset: i64) -> Self {
        Model(ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            graph: Some(GraphProto { name: Some("test".into()), ..GraphProto::default() }),
            ..ModelProto::default()
        })
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    /// An input; sizes are numbers or names.
    pub fn input(mut self, name: &str, dtype: DType, dims: &[&str]) -> Self {
        let dim = |d: &&str| Dimension {
            value: Some(match d.parse() {
                Ok(n) => dimension::Value::DimValue(n),
                Err(_) => dimension::Value::DimParam(d.to_string()),
            }),
            ..Dimension::default()
        };
        let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
        let ty = type_proto::Tensor { elem_type: Some(tensor::code(dtype)), shape: Some(shape) };
        let info = ValueInfoProto {
            name: Some(name.into()),
            r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(ty)), ..TypeProto::default() }),
            ..ValueInfoProto::default()
        };
        self.graph().input.push(info);
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() });
        self
    }

    pub fn constant(mut self, name: &str, tensor: &Tensor) -> Self {
        self.graph().initializer.push(tensor::export(name, tensor));
        self
    }

    pub fn raw(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    /// A node without a name; operands and results are separated by spaces, `_` is one left out.
    pub fn node(mut self, op_type: &str, inputs: &str, outputs: &str, attribute: Vec<AttributeProto>) -> Self {
        let names = |s: &str| s.split_whitespace().map(|n| n.replace('_', "")).collect();
        self.graph().node.push(NodeProto {
            op_type: Some(op_type.into()),
            input: names(inputs),
            output: names(outputs),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    pub fn import(&self) -> Result<Graph> {
        self.import_with(&[])
    }

    pub fn import_with(&self, shapes: &[(&str, &[usize])]) -> Result<Graph> {
        let shapes = shapes.iter().map(|(n, d)| (n.to_string(), d.to_vec())).collect();
        load_bytes(self.bytes().into(), None, &ImportOptions { shapes, ..ImportOptions::default() })
    }
}

pub fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    Interpreter::default().load(graph, &[]).unwrap().run(inputs).unwrap().outputs
}

pub fn f32s(dims: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_f32(dims, data.to_vec()).unwrap()
}

pub fn i64s(data: &[i64]) -> Tensor {
    Tensor::from_i64(&[data.len()], data.to_vec()).unwrap()
}

pub fn integers(dtype: DType, dims: &[usize], data: &[i64]) -> Tensor {
    Tensor::from_ints(Type::plain(dtype, dims.to_vec()), data).unwrap()
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attribute(name, AttributeType::Int) }
}

pub fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto { ints: v.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) }
}

pub fn floats(name: &str, v: &[f32]) -> AttributeProto {
    AttributeProto { floats: v.to_vec(), ..attribute(name, AttributeType::Floats) }
}

pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Some(s.as_bytes().to_vec().into()), ..attribute(name, AttributeType::String) }
}

pub fn value(name: &str, t: &Tensor) -> AttributeProto {
    AttributeProto { t: Some(tensor::export("", t)), ..attribute(name, AttributeType::Tensor) }
}

/// One node `y = op(x, constants...)` with `x` of f32, run on `x`: the sizes and numbers of `y`.
pub fn apply(
    opset: i64,
    op_type: &str,
    x: &Tensor,
    constants: &[Option<Tensor>],
    attributes: Vec<AttributeProto>,
) -> (Vec<usize>, Vec<f32>) {
    let dims: Vec<String> = x.dims().iter().map(usize::to_string).collect();
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let mut model = Model::new(opset).input("x", x.dtype(), &dims).output("y");
    let mut operands = "x".to_string();
    for (i, c) in constants.iter().enumerate() {
        match c {
            Some(c) => {
                model = model.constant(&format!("c{i}"), c);
                operands += &format!(" c{i}");
            }
            None => operands += " _",
        }
    }
    let graph = model.node(op_type, &operands, "y", attributes).import().unwrap();
    let y = run(&graph, std::slice::from_ref(x)).remove(0);
    (y.dims().to_vec(), y.with_quant(None).reals().unwrap().to_vec())
}

/// Whether two lists agree to f32's precision.
#[track_caller]
pub fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{found:?} and {expected:?}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 2e-6 * (1.0 + b.abs()), "{found:?} and {expected:?}");
    }
}
