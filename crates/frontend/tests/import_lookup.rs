//! Looking up, scattering, order, sampling and boxes in ONNX files, and these operators written and read again.

mod common;

use common::*;
use lowbit_frontend::onnx::proto::{ModelProto, NodeProto};
use lowbit_frontend::{ImportOptions, export, load_bytes, remark_lines};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::text::parse;
use lowbit_ir::{DType, Engine, Graph, Op, Tensor};
use prost::Message;

/// The examples that the interpreter is compared by, as graphs: operands and results with their types.
fn graphs() -> Vec<Graph> {
    let constant = |name: &str, value: &str| {
        let (ty, elements) = value.trim().rsplit_once(" [").unwrap();
        format!("const %{name}: {ty} = [{elements}\n")
    };
    let graph = |line: &str| {
        let (left, right) = line.rsplit_once(" = ").unwrap();
        let (operator, operands) = left.split_once(" | ").unwrap();
        let (name, attributes) = operator.split_once(' ').unwrap();
        let (mut text, mut names) = (String::new(), Vec::new());
        for (i, operand) in operands.split(" | ").enumerate() {
            text += &constant(&format!("x{i}"), operand);
            names.push(format!("%x{i}"));
        }
        let results: Vec<String> = (0..right.split(" | ").count()).map(|i| format!("%y{i}")).collect();
        text += &format!("{} = {name}({}) {attributes}\n", results.join(", "), names.join(", "));
        results.iter().for_each(|y| text += &format!("output {y}\n"));
        parse(&format!("graph \"example\" {{\n{text}}}")).unwrap()
    };
    include_str!("../../ir/tests/reference.txt").lines().map(graph).collect()
}

fn results(g: &Graph) -> Vec<Tensor> {
    Interpreter::default().load(g, &[]).unwrap().run(&[]).unwrap().outputs
}

#[test]
fn what_is_written_computes_the_same_when_read() {
    let graphs = graphs();
    assert!(graphs.len() > 20);
    for g in &graphs {
        let name = g.nodes().next().unwrap().1.op.name();
        let bytes = export(g).unwrap_or_else(|e| panic!("{name}: {e}"));
        let read = load_bytes(bytes.into(), None, &ImportOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (a, b) in results(g).iter().zip(results(&read)) {
            assert_eq!((a.ty(), a.bytes()), (b.ty(), b.bytes()), "{name}");
        }
    }
}

fn indices(
    op: &str,
    x: &Tensor,
    attributes: Vec<lowbit_frontend::onnx::proto::AttributeProto>,
) -> (Vec<usize>, Vec<f32>) {
    apply(13, op, x, &[], attributes)
}

#[test]
fn places_of_extremes() {
    let x = f32s(&[2, 4], &[1.0, 3.0, 3.0, 0.0, 5.0, -2.0, -2.0, 5.0]);
    let last = |axis| vec![int("axis", axis), int("select_last_index", 1)];
    assert_eq!(indices("ArgMax", &x, vec![int("axis", 1)]), (vec![2, 1], vec![1.0, 0.0]));
    assert_eq!(indices("ArgMin", &x, vec![int("axis", -1), int("keepdims", 0)]), (vec![2], vec![3.0, 1.0]));
    assert_eq!(indices("ArgMax", &x, last(1)), (vec![2, 1], vec![2.0, 3.0]));
    let flat = [last(-1), vec![int("keepdims", 0)]].concat();
    assert_eq!(indices("ArgMin", &x, flat), (vec![2], vec![3.0, 2.0]));
    assert_eq!(indices("ArgMax", &x, vec![]), (vec![1, 4], vec![1.0, 0.0, 0.0, 1.0]));
    // The last place is counted from the end of the axis, which must be known for that.
    let open = |last| {
        let attributes = vec![int("axis", 0), int("select_last_index", last)];
        Model::new(13).input("x", DType::F32, &["N", "4"]).node("ArgMax", "x", "y", attributes).output("y").import()
    };
    assert!(open(0).is_ok());
    assert!(open(1).unwrap_err().to_string().contains("--shape"));
}

#[test]
fn the_greatest_in_old_and_new_forms() {
    let x = f32s(&[4], &[1.0, 4.0, 3.0, 4.0]);
    let values = |opset, constants: &[Option<Tensor>], attributes| {
        let model = Model::new(opset).input("x", DType::F32, &["4"]);
        let model = match constants {
            [Some(k)] => model.constant("k", k).node("TopK", "x k", "v i", attributes),
            _ => model.node("TopK", "x", "v i", attributes),
        };
        let out = run(&model.output("v").output("i").import().unwrap(), std::slice::from_ref(&x));
        (out[0].f32s().unwrap().to_vec(), out[1].ints().unwrap())
    };
    let two = (vec![4.0, 4.0], vec![1, 3]);
    assert_eq!(values(9, &[], vec![int("k", 2)]), two);
    assert_eq!(values(10, &[Some(i64s(&[2]))], vec![]), two);
    assert_eq!(values(11, &[Some(i64s(&[2]))], vec![int("sorted", 0)]), two);
    assert_eq!(values(11, &[Some(i64s(&[2]))], vec![int("largest", 0)]), (vec![1.0, 3.0], vec![0, 2]));
}

#[test]
fn shapes_are_looked_up_in_every_form() {
    // The batch comes through each of these to the Reshape.
    let reshape = |op: &str, operands: &str, at: &Tensor| {
        Model::new(18)
            .input("x", DType::F32, &["N", "3", "4"])
            .constant("at", at)
            .constant("rest", &i64s(&[-1]))
            .constant("base", &i64s(&[7, 12]))
            .constant("first", &integers(DType::I64, &[1, 1], &[0]))
            .node("Shape", "x", "shape", vec![])
            .node("GatherElements", "shape at", "batch", vec![])
            .node(op, operands, "picked", vec![])
            .node("Concat", if op == "Concat" { "batch rest" } else { "picked" }, "target", vec![int("axis", 0)])
            .node("Reshape", "x target", "y", vec![])
            .output("y")
            .import()
            .unwrap()
    };
    let zero = i64s(&[0]);
    for (op, operands) in
        [("Identity", "base"), ("ScatterElements", "base at batch"), ("ScatterND", "base first batch")]
    {
        let g = reshape(op, operands, &zero);
        let shape = g.ty(g.outputs[0]).shape.to_string();
        assert_eq!(shape, if op == "Identity" { "7x12" } else { "Nx12" }, "{op}");
    }
}

#[test]
fn products_of_open_sizes_and_of_numbers() {
    let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(apply(13, "ReduceProd", &x, &[], vec![ints("axes", &[1])]), (vec![2, 1], vec![6.0, 120.0]));
    let axes = Some(i64s(&[0]));
    assert_eq!(apply(18, "ReduceProd", &x, &[axes], vec![int("keepdims", 0)]), (vec![3], vec![4.0, 10.0, 18.0]));
    let g = Model::new(13)
        .input("x", DType::F32, &["N", "3"])
        .node("Shape", "x", "shape", vec![])
        .node("ReduceProd", "shape", "all", vec![])
        .node("Reshape", "x all", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(g.ty(g.outputs[0]).shape.to_string(), "N*3");
}

#[test]
fn rows_of_no_use_are_told() {
    let model = Model::new(11)
        .input("boxes", DType::F32, &["1", "6", "4"])
        .input("scores", DType::F32, &["1", "2", "6"])
        .constant("most", &i64s(&[3]))
        .node("NonMaxSuppression", "boxes scores most", "kept", vec![])
        .output("kept");
    let (g, remarks) = lowbit_frontend::onnx::import(model.bytes().into(), None, &ImportOptions::default()).unwrap();
    assert_eq!(g.ty(g.outputs[0]).to_string(), "i64[6x3]");
    let expected = "'kept' has 6 rows, all that there can be: those that are not filled are -1";
    assert_eq!(remark_lines(&remarks), [expected]);
    // Another runtime has as many rows only with what follows there.
    let file = ModelProto::decode(export(&g).unwrap().as_slice()).unwrap();
    let last = file.graph.as_ref().and_then(|g| g.node.last()).map(NodeProto::op_type);
    assert_eq!(last, Some("Pad"));
    let computed = Model::new(11)
        .input("boxes", DType::F32, &["1", "6", "4"])
        .input("scores", DType::F32, &["1", "2", "6"])
        .input("most", DType::I64, &["1"])
        .node("NonMaxSuppression", "boxes scores most", "kept", vec![])
        .output("kept");
    assert!(computed.import().unwrap_err().to_string().contains("limit of boxes"));
}

#[test]
fn resizes_keep_proportions() {
    let x = f32s(&[1, 1, 2, 4], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let to = |policy: &str, sizes: &[i64]| {
        let attributes = vec![text("keep_aspect_ratio_policy", policy), ints("axes", &[2, 3])];
        apply(18, "Resize", &x, &[None, None, Some(i64s(sizes))], attributes).0
    };
    assert_eq!(to("not_larger", &[7, 8]), [1, 1, 4, 8]);
    assert_eq!(to("not_smaller", &[7, 8]), [1, 1, 7, 14]);
    assert_eq!(to("stretch", &[7, 8]), [1, 1, 7, 8]);
    // 2 * 3/4 is rounded up, and the scale stays.
    assert_eq!(to("not_larger", &[9, 3]), [1, 1, 2, 3]);
    let open = Model::new(18)
        .input("x", DType::F32, &["N", "1", "2", "4"])
        .constant("sizes", &i64s(&[4, 9]))
        .node(
            "Resize",
            "x _ _ sizes",
            "y",
            vec![text("keep_aspect_ratio_policy", "not_larger"), ints("axes", &[2, 3]), text("mode", "cubic")],
        )
        .output("y")
        .import()
        .unwrap();
    assert_eq!(open.ty(open.outputs[0]).shape.to_string(), "Nx1x4x8");
    let cubic = open.nodes().any(|(_, n)| matches!(&n.op, Op::Resize(r) if r.scales == [1.0, 1.0, 2.0, 2.0]));
    assert!(cubic);
}
