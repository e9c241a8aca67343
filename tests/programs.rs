//! A model that leaves sizes open runs on inputs of any that fit, with the bits of the model that has them fixed.

use lowbit::data::{Dataset, npy};
use lowbit::frontend::ImportOptions;
use lowbit::frontend::onnx::Message;
use lowbit::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};
use lowbit::frontend::onnx::tensor;
use lowbit::programs::KEPT;
use lowbit::{Model, Programs, Quantize, Sessions, Target, Tensor};
use std::path::PathBuf;

const NET: &str = r#"
graph "net" {
  input %x: f32[Nx2xHxW]
  const %w: f32[3x2x3x3] = [0.5, -0.25, 0.125, 1, 0.5, -1, 0.75, 0.25, -0.5, 0.5, -0.25, 0.125, 1, 0.5, -1, 0.75, 0.25, -0.5, 0.5, -0.25, 0.125, 1, 0.5, -1, 0.75, 0.25, -0.5, 0.5, -0.25, 0.125, 1, 0.5, -1, 0.75, 0.25, -0.5, 0.5, -0.25, 0.125, 1, 0.5, -1, 0.75, 0.25, -0.5, 0.5, -0.25, 0.125, 1, 0.5, -1, 0.75, 0.25, -0.5]
  %c: f32[Nx3xHxW] = Conv(%x, %w) {strides [2, 2], pads [1, 1, 1, 1]}
  %r = Relu(%c)
  %y = GlobalAvgPool(%r)
  output %r
  output %y
}
"#;

fn ramp(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    Tensor::from_f32(dims, (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect()).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("lowbit-programs-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn net() -> Model {
    let text = NET.replace("%c: f32[Nx3xHxW] =", "%c =");
    Model::from(lowbit::ir::text::parse(&text).unwrap())
}

#[test]
fn results_are_those_of_the_fixed_model_and_few_programs_are_kept() {
    let folder = folder("net");
    let float = net();
    let quantized = float.quantize(Quantize::default().without_data()).unwrap().model;
    for (name, model) in [("float.onnx", float), ("quantized.onnx", quantized)] {
        let path = folder.join(name);
        model.save(&path).unwrap();
        let of_file = Programs::load(&path, &ImportOptions::default(), Target::host()).unwrap();
        let of_model = Programs::of(&model, Target::host()).unwrap().kept(2);
        let (mut of_file, mut of_model) = (Sessions::new(of_file, 2).unwrap(), Sessions::new(of_model, 1).unwrap());
        let sizes: [[usize; 4]; 6] =
            [[1, 2, 8, 8], [3, 2, 8, 8], [1, 2, 5, 12], [2, 2, 3, 3], [1, 2, 16, 9], [1, 2, 8, 8]];
        for dims in sizes {
            let x = ramp(&dims);
            let fixed = Model::load_with(&path, &[("x".into(), dims.to_vec())]).unwrap();
            let expected = fixed.compile(Target::host()).unwrap().session().run([("x", &x)]).unwrap();
            for sessions in [&mut of_file, &mut of_model] {
                let found = sessions.run(std::slice::from_ref(&x)).unwrap();
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(&expected) {
                    assert_eq!((a.dims(), a.bytes()), (b.dims(), b.bytes()), "{name} {dims:?}");
                }
            }
        }
        assert_eq!((of_file.programs().count(), of_model.programs().count()), (KEPT, 2));
        let told = of_file.run(&[ramp(&[1, 3, 8, 8])]).unwrap_err().to_string();
        assert!(told.contains("'x'") && told.contains("1x3x8x8"), "{told}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// `y = Identity(x)` if `x` has one row, else `Neg(x)`: it can be read only when the rows are known.
fn by_rows() -> Vec<u8> {
    let names = |s: &str| s.split_whitespace().map(String::from).collect::<Vec<String>>();
    let node = |op: &str, inputs: &str, output: &str, attribute: Vec<AttributeProto>| NodeProto {
        op_type: Some(op.into()),
        input: names(inputs),
        output: names(output),
        attribute,
        ..NodeProto::default()
    };
    let plain = |name: &str| ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() };
    let branch = |name: &str, op: &str| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(GraphProto {
            node: vec![node(op, "x", "b", vec![])],
            output: vec![plain("b")],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    let end = AttributeProto {
        name: Some("end".into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(1),
        ..AttributeProto::default()
    };
    let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
    let dims = vec![dim(dimension::Value::DimParam("N".into())), dim(dimension::Value::DimValue(2))];
    let ty = type_proto::Tensor { elem_type: Some(1), shape: Some(TensorShapeProto { dim: dims }) };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(ty)), ..TypeProto::default() };
    let one = Tensor::from_i64(&[1], vec![1]).unwrap();
    let graph = GraphProto {
        name: Some("by_rows".into()),
        input: vec![ValueInfoProto { r#type: Some(ty), ..plain("x") }],
        initializer: vec![tensor::export("one", &one)],
        node: vec![
            node("Shape", "x", "rows", vec![end]),
            node("Equal", "rows one", "single", vec![]),
            node("If", "single", "y", vec![branch("then_branch", "Identity"), branch("else_branch", "Neg")]),
        ],
        output: vec![plain("y")],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(15) }];
    ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

#[test]
fn what_only_sizes_decide_is_read_when_they_are_known() {
    let folder = folder("rows");
    let path = folder.join("by_rows.onnx");
    std::fs::write(&path, by_rows()).unwrap();
    assert!(Model::load(&path).unwrap_err().to_string().contains("--shape"));
    let programs = Programs::load(&path, &ImportOptions::default(), Target::host()).unwrap();
    assert_eq!((programs.inputs()[0].0.as_str(), programs.outputs().len()), ("x", 0));
    let mut sessions = Sessions::new(programs, 1).unwrap();
    for rows in [1, 2, 1, 3] {
        let x = ramp(&[rows, 2]);
        let y = sessions.run(std::slice::from_ref(&x)).unwrap().remove(0);
        let sign = if rows == 1 { 1.0 } else { -1.0 };
        let expected: Vec<f32> = x.floats().unwrap().iter().map(|v| sign * v).collect();
        assert_eq!(y.floats().unwrap().to_vec(), expected);
    }
    assert_eq!(sessions.programs().outputs()[0].0, "y");
    let told = sessions.run(&[ramp(&[1, 3])]).unwrap_err().to_string();
    assert!(told.contains("'x'") && told.contains("1x3"), "{told}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_of_arrays_holds_samples_of_any_sizes() {
    let folder = folder("arrays");
    for (name, dims) in [("b.npy", [1usize, 2, 5, 7]), ("a.npy", [2, 2, 4, 4]), ("c.npy", [1, 2, 3, 3])] {
        npy::write(&folder.join(name), &ramp(&dims)).unwrap();
    }
    let data = Dataset::open(folder.to_str().unwrap(), &net().inputs(), None).unwrap();
    let sizes: Vec<Vec<usize>> = (0..data.len()).map(|i| data.sample(i).unwrap().inputs[0].1.dims().to_vec()).collect();
    assert_eq!(sizes, [[1, 2, 4, 4], [1, 2, 4, 4], [1, 2, 5, 7], [1, 2, 3, 3]]);
    assert!(data.sample(4).is_err());
    // Calibration takes them as they come.
    let quantized = net().quantize(Quantize::default().data(&data)).unwrap();
    assert_eq!(quantized.report.integer_macs_percent, 100.0);
    npy::write(&folder.join("d.npy"), &ramp(&[1, 3, 3, 3])).unwrap();
    let told = Dataset::open(folder.to_str().unwrap(), &net().inputs(), None).unwrap_err().to_string();
    assert!(told.contains("d.npy"), "{told}");
    std::fs::remove_dir_all(folder).unwrap();
}
