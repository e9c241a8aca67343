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
        assert!(a == b || (a - b).abs() <= 2e-6 * (1.0 + b.abs()), "{found:?} and {expected:?}");
    }
}

/// Numbers that follow no order: of a ramp over 11 steps, from -1.25 to 1.25, taken seven by seven from the `k`-th.
pub fn ramp(k: usize, dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    f32s(dims, &(0..count).map(|i| ((i * 7 + k) % 11) as f32 / 4.0 - 1.25).collect::<Vec<_>>())
}

/// One node and what it must give.
pub struct Case {
    op_type: &'static str,
    opset: i64,
    domain: &'static str,
    operands: Vec<Option<Tensor>>,
    attributes: Vec<AttributeProto>,
    /// Whether all operands must be constants.
    known: bool,
    /// Sizes and numbers of each output; `None` for one that the node leaves out.
    results: Vec<Option<(Vec<usize>, Vec<f32>)>>,
}

impl Case {
    pub fn new(op_type: &'static str, opset: i64, operands: Vec<Option<Tensor>>) -> Self {
        Case { op_type, opset, domain: "", operands, attributes: Vec::new(), known: false, results: Vec::new() }
    }

    pub fn of(self, domain: &'static str) -> Self {
        Case { domain, ..self }
    }

    pub fn with(self, attributes: Vec<AttributeProto>) -> Self {
        Case { attributes, ..self }
    }

    /// Of constants only.
    pub fn known(self) -> Self {
        Case { known: true, ..self }
    }

    pub fn gives(mut self, dims: &[usize], data: &[f32]) -> Self {
        self.results.push(Some((dims.to_vec(), data.to_vec())));
        self
    }

    pub fn skips(mut self) -> Self {
        self.results.push(None);
        self
    }

    /// The node with its first `open` operands as inputs, as far as they are floats, and the others as constants.
    fn model(&self, open: usize) -> (Model, Vec<Tensor>) {
        let (mut model, mut inputs, mut names) = (Model::new(self.opset), Vec::new(), Vec::new());
        for (i, operand) in self.operands.iter().enumerate() {
            let name = format!("x{i}");
            match operand {
                None => {
                    names.push("_".to_string());
                    continue;
                }
                Some(t) if i < open && t.dtype().is_float() => {
                    let dims: Vec<String> = t.dims().iter().map(usize::to_string).collect();
                    model = model.input(&name, t.dtype(), &dims.iter().map(String::as_str).collect::<Vec<_>>());
                    inputs.push(t.clone());
                }
                Some(t) => model = model.constant(&name, t),
            }
            names.push(name);
        }
        let mut outputs = Vec::new();
        for (i, result) in self.results.iter().enumerate() {
            match result {
                Some(_) => outputs.push(format!("y{i}")),
                None => outputs.push("_".to_string()),
            }
        }
        model = model.node(self.op_type, &names.join(" "), &outputs.join(" "), self.attributes.clone());
        model.graph().node[0].domain = Some(self.domain.into());
        for name in outputs.iter().filter(|n| *n != "_") {
            model = model.output(name);
        }
        (model, inputs)
    }

    /// The graph with constants beside the first `open` operands.
    pub fn graph(&self, open: usize) -> Graph {
        self.model(open).0.import().unwrap_or_else(|e| panic!("{}: {e}", self.op_type))
    }

    /// Compares what is computed while running, with constants beside the first operand, and while reading.
    #[track_caller]
    pub fn check(self) {
        let all = self.operands.len();
        self.check_opened(&[all, 1, 0]);
    }

    /// As [`Case::check`], with this many operands that are no constants.
    #[track_caller]
    pub fn check_opened(self, opened: &[usize]) {
        for open in opened.iter().copied().filter(|open| *open == 0 || !self.known) {
            let (model, inputs) = self.model(open);
            let graph = model.import().unwrap_or_else(|e| panic!("{}: {e}", self.op_type));
            let found = run(&graph, &inputs);
            let expected: Vec<_> = self.results.iter().flatten().collect();
            assert_eq!(found.len(), expected.len());
            for (y, (dims, data)) in found.iter().zip(expected) {
                assert_eq!(y.dims(), dims, "{}", self.op_type);
                near(&y.with_quant(None).reals().unwrap(), data);
            }
        }
    }

    /// The error that it is refused with, with constants beside the first operand.
    #[track_caller]
    pub fn refusal(self) -> String {
        let case = if self.results.is_empty() { self.gives(&[], &[]) } else { self };
        case.model(1).0.import().expect_err(case.op_type).to_string()
    }
}
