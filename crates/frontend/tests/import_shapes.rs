//! Shape arithmetic of exporters, open dimensions, and the order and names of files.

mod common;

use common::*;
use lowbit_ir::{DType, Graph, Op};

fn reshape_dims(graph: &Graph) -> Vec<i64> {
    let found = graph.nodes().find_map(|(_, n)| match &n.op {
        Op::Reshape { dims } => Some(dims.clone()),
        _ => None,
    });
    found.unwrap()
}

/// `x.view(x.size(0), -1)` and `x.view(n, c * h * w)`, as PyTorch writes them.
#[test]
fn views_of_an_open_batch_become_static() {
    let base = || Model::new(13).input("x", DType::F32, &["N", "2", "3"]);
    let minus = base()
        .node("Shape", "x", "s", vec![])
        .constant("zero", &lowbit_ir::Tensor::from_i64(&[], vec![0]).unwrap())
        .node("Gather", "s zero", "n", vec![])
        .constant("first", &i64s(&[0]))
        .node("Unsqueeze", "n first", "u", vec![])
        .constant("rest", &i64s(&[-1]))
        .node("Concat", "u rest", "t", vec![int("axis", 0)])
        .node("Reshape", "x t", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(minus.order().len(), 1);
    assert_eq!(reshape_dims(&minus), [0, -1]);
    assert_eq!(minus.ty(minus.outputs[0]).shape.to_string(), "Nx6");

    let product = base()
        .node("Shape", "x", "n", vec![int("end", 1)])
        .node("Shape", "x", "cd", vec![int("start", 1)])
        .node("ReduceProd", "cd", "p", vec![ints("axes", &[0])])
        .node("Concat", "n p", "t", vec![int("axis", 0)])
        .node("Reshape", "x t", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(reshape_dims(&product), [0, 6]);

    let heads = base()
        .node("Shape", "x", "s", vec![])
        .constant("a", &i64s(&[0]))
        .constant("b", &i64s(&[1]))
        .node("Slice", "s a b", "n", vec![])
        .constant("two", &i64s(&[2]))
        .node("Mul", "n two", "nh", vec![])
        .constant("three", &i64s(&[3]))
        .node("Concat", "nh three", "t", vec![int("axis", 0)])
        .node("Reshape", "x t", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(reshape_dims(&heads), [-1, 3]);
}

#[test]
fn known_shape_arithmetic_folds_to_constants() {
    let graph = Model::new(13)
        .input("x", DType::F32, &["1", "2", "3"])
        .node("Shape", "x", "s", vec![])
        .node("Size", "x", "count", vec![])
        .constant("axis", &i64s(&[0]))
        .node("Unsqueeze", "count axis", "c1", vec![])
        .node("ConstantOfShape", "axis1", "ones", vec![value("value", &i64s(&[-1]))])
        .constant("axis1", &i64s(&[3]))
        .node("Equal", "s ones", "open", vec![])
        .node("Where", "open ones s", "same", vec![])
        .node("Expand", "x same", "e", vec![])
        .node("Reshape", "e c1", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(graph.ty(graph.outputs[0]).shape.to_string(), "6");
    let range = Model::new(13)
        .input("x", DType::F32, &["4"])
        .constant("a", &lowbit_ir::Tensor::from_i64(&[], vec![3]).unwrap())
        .constant("b", &lowbit_ir::Tensor::from_i64(&[], vec![-1]).unwrap())
        .constant("c", &lowbit_ir::Tensor::from_i64(&[], vec![-2]).unwrap())
        .node("Range", "a b c", "r", vec![])
        .node("Gather", "x r", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(run(&range, &[f32s(&[4], &[0.0, 1.0, 2.0, 3.0])])[0].f32s().unwrap()[..], [3.0, 1.0]);
}

#[test]
fn what_stays_open_says_how_to_bind_it() {
    let model = Model::new(13)
        .input("x", DType::F32, &["N", "2"])
        .input("y", DType::F32, &["1", "2"])
        .node("Shape", "x", "s", vec![])
        .node("Expand", "y s", "z", vec![])
        .output("z");
    let error = model.import().unwrap_err().to_string();
    assert!(error.contains("Expand_z") && error.contains("--shape"), "{error}");
    let bound = model.import_with(&[("x", &[3, 2])]).unwrap();
    assert_eq!(bound.ty(bound.outputs[0]).shape.to_string(), "3x2");
    let wrong = model.import_with(&[("x", &[3, 4])]).unwrap_err().to_string();
    assert!(wrong.contains("'x'") && wrong.contains("Nx2"), "{wrong}");
    let unknown = model.import_with(&[("xx", &[3, 2])]).unwrap_err().to_string();
    assert!(unknown.contains("no input is named 'xx'"), "{unknown}");
}

#[test]
fn one_symbol_is_bound_at_all_inputs() {
    let graph = Model::new(13)
        .input("a", DType::F32, &["N", "2"])
        .input("b", DType::F32, &["N", "2"])
        .node("Add", "a b", "y", vec![])
        .output("y")
        .import_with(&[("a", &[5, 2])])
        .unwrap();
    assert_eq!(graph.ty(graph.find("b").unwrap()).shape.to_string(), "5x2");
}

#[test]
fn nodes_may_stand_in_any_order_and_unused_ones_go() {
    let mut model = Model::new(13)
        .input("x", DType::F32, &["2"])
        .node("Relu", "b", "y", vec![])
        .node("Neg", "a", "b", vec![])
        .node("Abs", "x", "a", vec![])
        .node("Loop", "x", "unused", vec![])
        .output("y");
    model.0.opset_import[0].domain = Some("ai.onnx".into());
    model.graph().node[0].domain = Some("ai.onnx".into());
    let graph = model.import().unwrap();
    let names: Vec<&str> = graph.nodes().map(|(_, n)| n.name.as_str()).collect();
    assert_eq!(names, ["Abs_a", "Neg_b", "Relu_y"]);
}

#[test]
fn initializers_may_be_listed_as_inputs_too() {
    let graph = Model::new(8)
        .input("x", DType::F32, &["2"])
        .input("w", DType::F32, &["2"])
        .constant("w", &f32s(&[2], &[1.0, 2.0]))
        .node("Mul", "x w", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(graph.inputs.len(), 1);
    // The weight's bytes are the file's.
    assert!(graph.constant(graph.find("w").unwrap()).is_some());
}

#[test]
fn weights_share_the_bytes_of_the_file() {
    let model = Model::new(13)
        .input("x", DType::F32, &["2"])
        .constant("w", &f32s(&[2], &[1.0, 2.0]))
        .node("Mul", "x w", "y", vec![])
        .output("y");
    let file = bytes::Bytes::from(model.bytes());
    let graph = lowbit_frontend::load_bytes(file.clone(), None, &Default::default()).unwrap();
    let weight = graph.constant(graph.find("w").unwrap()).unwrap().bytes().as_ptr() as usize;
    let start = file.as_ptr() as usize;
    assert!((start..start + file.len()).contains(&weight));
}
