//! Operators of ONNX files against numbers worked out by hand, in their old and new forms.

mod common;

use common::*;
use lowbit_frontend::onnx::proto;
use lowbit_ir::op::{MatMul, Unary};
use lowbit_ir::{DType, Op};

fn line(data: &[f32]) -> lowbit_ir::Tensor {
    f32s(&[data.len()], data)
}

fn values(opset: i64, op: &str, x: &[f32], attributes: Vec<lowbit_frontend::onnx::proto::AttributeProto>) -> Vec<f32> {
    apply(opset, op, &line(x), &[], attributes).1
}

#[test]
fn functions_of_one_element() {
    let x = [-2.0, -0.5, 0.0, 0.5, 2.0];
    near(&values(13, "Relu", &x, vec![]), &[0.0, 0.0, 0.0, 0.5, 2.0]);
    near(&values(13, "Abs", &x, vec![]), &[2.0, 0.5, 0.0, 0.5, 2.0]);
    near(&values(13, "Neg", &x, vec![]), &[2.0, 0.5, 0.0, -0.5, -2.0]);
    near(&values(13, "Round", &[0.5, 1.5, -2.5], vec![]), &[0.0, 2.0, -2.0]);
    near(&values(13, "Floor", &[-0.5, 1.5], vec![]), &[-1.0, 1.0]);
    near(&values(13, "Ceil", &[-0.5, 1.5], vec![]), &[0.0, 2.0]);
    near(&values(13, "Sqrt", &[4.0, 2.25], vec![]), &[2.0, 1.5]);
    near(&values(13, "Reciprocal", &[4.0], vec![]), &[0.25]);
    near(&values(13, "Exp", &[0.0, 1.0], vec![]), &[1.0, std::f32::consts::E]);
    near(&values(13, "Log", &[1.0, std::f32::consts::E], vec![]), &[0.0, 1.0]);
    near(&values(13, "Sigmoid", &[0.0], vec![]), &[0.5]);
    near(&values(13, "Tanh", &[0.0, 20.0], vec![]), &[0.0, 1.0]);
    near(&values(13, "Erf", &[0.0, 0.5], vec![]), &[0.0, 0.520_499_9]);
    near(&values(13, "Softplus", &[0.0], vec![]), &[std::f32::consts::LN_2]);
    near(&values(13, "Softsign", &x, vec![]), &[-2.0 / 3.0, -1.0 / 3.0, 0.0, 1.0 / 3.0, 2.0 / 3.0]);
    near(&values(13, "HardSigmoid", &[-3.0, 0.0, 1.0, 3.0], vec![]), &[0.0, 0.5, 0.7, 1.0]);
    near(&values(13, "HardSigmoid", &[1.0], vec![float("alpha", 0.25), float("beta", 0.25)]), &[0.5]);
    near(&values(14, "HardSwish", &[-4.0, 3.0, 1.0], vec![]), &[0.0, 3.0, 4.0 / 6.0]);
    near(&values(13, "LeakyRelu", &x, vec![]), &[-0.02, -0.005, 0.0, 0.5, 2.0]);
    near(&values(13, "LeakyRelu", &[-2.0], vec![float("alpha", 0.5)]), &[-1.0]);
    near(&values(13, "Elu", &[-1.0, 1.0], vec![float("alpha", 2.0)]), &[2.0 * (-1f32).exp_m1(), 1.0]);
    near(&values(13, "Selu", &[-1.0, 1.0], vec![]), &[1.050_701 * 1.673_263_2 * (-1f32).exp_m1(), 1.050_701]);
    near(&values(13, "Celu", &[-1.0, 1.0], vec![float("alpha", 2.0)]), &[2.0 * (-0.5f32).exp_m1(), 1.0]);
    near(&values(13, "ThresholdedRelu", &[0.5, 1.5], vec![]), &[0.0, 1.5]);
    near(&values(18, "Mish", &[0.0, 1.0], vec![]), &[0.0, 0.865_098_4]);
    near(&values(20, "Gelu", &[1.0], vec![]), &[0.841_344_7]);
    near(&values(20, "Gelu", &[1.0], vec![text("approximate", "tanh")]), &[0.841_192]);
    near(&values(24, "Swish", &[1.0], vec![]), &[0.731_058_6]);
    near(&values(24, "Swish", &[1.0], vec![float("alpha", 2.0)]), &[0.880_797]);
}

#[test]
fn circular_and_hyperbolic_functions() {
    let x = [-0.75f32, 0.0, 0.5];
    let of = |f: fn(f32) -> f32| x.map(f);
    near(&values(13, "Sign", &x, vec![]), &[-1.0, 0.0, 1.0]);
    near(&values(13, "Tan", &x, vec![]), &of(f32::tan));
    near(&values(13, "Asin", &x, vec![]), &of(f32::asin));
    near(&values(13, "Acos", &x, vec![]), &of(f32::acos));
    near(&values(13, "Atan", &x, vec![]), &of(f32::atan));
    near(&values(13, "Sinh", &x, vec![]), &of(f32::sinh));
    near(&values(13, "Cosh", &x, vec![]), &of(f32::cosh));
    near(&values(13, "Asinh", &x, vec![]), &of(f32::asinh));
    near(&values(13, "Atanh", &x, vec![]), &of(f32::atanh));
    near(&values(13, "Acosh", &[1.0, 2.5], vec![]), &[0.0, 2.5f32.acosh()]);
}

#[test]
fn remainders_bits_and_special_values() {
    let pair = |op: &str, attributes, a: &[i64], b: &[i64]| {
        let file = Model::new(18).input("x", DType::I32, &["2"]).constant("y", &integers(DType::I32, &[2], b));
        let graph = file.node(op, "x y", "z", attributes).output("z").import().unwrap();
        run(&graph, &[integers(DType::I32, &[2], a)])[0].ints().unwrap()
    };
    assert_eq!(pair("Mod", vec![], &[-7, 7], &[3, -3]), [2, -2]);
    assert_eq!(pair("Mod", vec![int("fmod", 1)], &[-7, 7], &[3, -3]), [-1, 1]);
    assert_eq!(pair("BitShift", vec![text("direction", "LEFT")], &[1, 3], &[4, 1]), [16, 6]);
    assert_eq!(pair("BitShift", vec![text("direction", "RIGHT")], &[16, 7], &[4, 1]), [1, 3]);
    assert_eq!(pair("BitwiseAnd", vec![], &[6, 5], &[3, 4]), [2, 4]);
    assert_eq!(pair("BitwiseXor", vec![], &[6, 5], &[3, 4]), [5, 1]);
    let told = |op: &str, attributes| {
        let file = Model::new(13).input("x", DType::F32, &["4"]).node(op, "x", "z", attributes).output("z");
        run(&file.import().unwrap(), &[line(&[1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY])])[0].ints().unwrap()
    };
    assert_eq!(told("IsNaN", vec![]), [0, 1, 0, 0]);
    assert_eq!(told("IsInf", vec![]), [0, 0, 1, 1]);
    assert_eq!(told("IsInf", vec![int("detect_negative", 0)]), [0, 0, 1, 0]);
    assert_eq!(told("IsInf", vec![int("detect_positive", 0)]), [0, 0, 0, 1]);
    assert_eq!(told("IsInf", vec![int("detect_negative", 0), int("detect_positive", 0)]), [0; 4]);
}

#[test]
fn clip_in_both_forms() {
    let x = line(&[-5.0, 0.5, 5.0]);
    let bound = |v| Some(f32s(&[], &[v]));
    assert_eq!(apply(6 + 1, "Clip", &x, &[], vec![float("min", 0.0), float("max", 1.0)]).1, [0.0, 0.5, 1.0]);
    assert_eq!(apply(11, "Clip", &x, &[bound(0.0), bound(1.0)], vec![]).1, [0.0, 0.5, 1.0]);
    assert_eq!(apply(11, "Clip", &x, &[None, bound(1.0)], vec![]).1, [-5.0, 0.5, 1.0]);
    assert_eq!(apply(13, "Clip", &x, &[bound(0.0)], vec![]).1, [0.0, 0.5, 5.0]);
    // ONNX: the upper bound wins where they cross.
    assert_eq!(apply(13, "Clip", &x, &[bound(2.0), bound(1.0)], vec![]).1, [1.0; 3]);
    // Bounds that are computed become Max and Min.
    let graph = Model::new(13)
        .input("x", DType::F32, &["3"])
        .input("low", DType::F32, &[])
        .constant("high", &f32s(&[], &[1.0]))
        .node("Clip", "x low high", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(run(&graph, &[x, f32s(&[], &[0.75])])[0].f32s().unwrap()[..], [0.75, 0.75, 1.0]);
}

#[test]
fn functions_of_several_elements() {
    let x = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let row = Some(f32s(&[2], &[2.0, -2.0]));
    let with = |op: &str| apply(13, op, &x, std::slice::from_ref(&row), vec![]).1;
    assert_eq!(with("Add"), [3.0, 0.0, 5.0, 2.0]);
    assert_eq!(with("Sub"), [-1.0, 4.0, 1.0, 6.0]);
    assert_eq!(with("Mul"), [2.0, -4.0, 6.0, -8.0]);
    assert_eq!(with("Div"), [0.5, -1.0, 1.5, -2.0]);
    assert_eq!(with("Pow"), [1.0, 0.25, 9.0, 0.0625]);
    assert_eq!(with("PRelu"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(with("Greater"), [0.0, 1.0, 1.0, 1.0]);
    assert_eq!(with("GreaterOrEqual"), [0.0, 1.0, 1.0, 1.0]);
    assert_eq!(with("LessOrEqual"), [1.0, 0.0, 0.0, 0.0]);
    let three = [row, Some(f32s(&[], &[3.0]))];
    let many = |op: &str| apply(13, op, &x, &three, vec![]).1;
    assert_eq!(many("Max"), [3.0, 3.0, 3.0, 4.0]);
    assert_eq!(many("Min"), [1.0, -2.0, 2.0, -2.0]);
    assert_eq!(many("Sum"), [6.0, 3.0, 8.0, 5.0]);
    near(&many("Mean"), &[2.0, 1.0, 8.0 / 3.0, 5.0 / 3.0]);
    // An exponent may have another type.
    assert_eq!(apply(13, "Pow", &x, &[Some(i64s(&[2]))], vec![]).1, [1.0, 4.0, 9.0, 16.0]);
    assert_eq!(apply(13, "Cast", &line(&[1.9, -1.9]), &[], vec![int("to", 6)]).1, [1.0, -1.0]);
}

#[test]
fn conv_with_all_its_attributes() {
    let x = f32s(&[1, 1, 3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let w = Some(f32s(&[1, 1, 2, 2], &[1.0, 0.0, 0.0, -1.0]));
    let plain = apply(11, "Conv", &x, std::slice::from_ref(&w), vec![]);
    assert_eq!(plain, (vec![1, 1, 2, 2], vec![-4.0; 4]));
    let bias = [w.clone(), Some(line(&[10.0]))];
    let all = vec![
        ints("kernel_shape", &[2, 2]),
        ints("strides", &[2, 2]),
        ints("pads", &[1, 1, 0, 0]),
        ints("dilations", &[1, 1]),
        int("group", 1),
    ];
    assert_eq!(apply(11, "Conv", &x, &bias, all), (vec![1, 1, 2, 2], vec![9.0, 7.0, 3.0, 6.0]));
    let w = std::slice::from_ref(&w);
    let dilated = apply(11, "Conv", &x, w, vec![ints("dilations", &[2, 2])]);
    assert_eq!(dilated, (vec![1, 1, 1, 1], vec![-8.0]));
    // SAME puts the odd padding at the end, or at the begin.
    let upper = apply(11, "Conv", &x, w, vec![text("auto_pad", "SAME_UPPER")]);
    assert_eq!(upper.1, [-4.0, -4.0, 3.0, -4.0, -4.0, 6.0, 7.0, 8.0, 9.0]);
    let lower = apply(11, "Conv", &x, w, vec![text("auto_pad", "SAME_LOWER")]);
    assert_eq!(lower.1, [-1.0, -2.0, -3.0, -4.0, -4.0, -4.0, -7.0, -4.0, -4.0]);
    let strided = apply(11, "Conv", &x, w, vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])]);
    assert_eq!(strided, (vec![1, 1, 2, 2], vec![-4.0, 3.0, 7.0, 9.0]));
    assert_eq!(apply(11, "Conv", &x, w, vec![text("auto_pad", "VALID")]).0, [1, 1, 2, 2]);
    // One axis, two groups.
    let x = f32s(&[1, 2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
    let w = Some(f32s(&[2, 1, 2], &[1.0, 1.0, 1.0, -1.0]));
    assert_eq!(apply(11, "Conv", &x, &[w], vec![int("group", 2)]), (vec![1, 2, 2], vec![3.0, 5.0, -10.0, -10.0]));
}

#[test]
fn gemm_becomes_one_matmul_where_it_can() {
    let x = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let w = f32s(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    let gemm = |c: lowbit_ir::Tensor, attributes: Vec<_>| {
        Model::new(13)
            .input("x", DType::F32, &["N", "2"])
            .constant("w", &w)
            .constant("c", &c)
            .node("Gemm", "x w c", "y", attributes)
            .output("y")
            .import()
            .unwrap()
    };
    for c in [f32s(&[3], &[1.0, 2.0, 3.0]), f32s(&[1, 3], &[1.0, 2.0, 3.0])] {
        let graph = gemm(c, vec![int("transB", 1)]);
        let ops: Vec<&Op> = graph.nodes().map(|(_, n)| &n.op).collect();
        assert_eq!(ops, [&Op::MatMul(MatMul { trans_b: true })]);
        assert_eq!(run(&graph, std::slice::from_ref(&x))[0].f32s().unwrap()[..], [2.0, 4.0, 6.0, 4.0, 6.0, 10.0]);
    }
    let scaled = gemm(f32s(&[], &[1.0]), vec![int("transB", 1), float("alpha", 2.0), float("beta", 3.0)]);
    assert_eq!(scaled.order().len(), 1);
    assert_eq!(run(&scaled, std::slice::from_ref(&x))[0].f32s().unwrap()[..], [5.0, 7.0, 9.0, 9.0, 11.0, 17.0]);
    // A bias a row, and a turned operand, are operators of their own.
    let columns = apply(
        13,
        "Gemm",
        &x,
        &[Some(f32s(&[2, 1], &[1.0, -1.0])), Some(f32s(&[2, 1], &[10.0, 20.0]))],
        vec![int("transA", 1)],
    );
    assert_eq!(columns, (vec![2, 1], vec![8.0, 18.0]));
}

#[test]
fn matmul_takes_vectors() {
    let x = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(apply(13, "MatMul", &x, &[Some(line(&[1.0, -1.0]))], vec![]), (vec![2], vec![-1.0, -1.0]));
    let y = apply(13, "MatMul", &line(&[1.0, -1.0]), &[Some(x)], vec![]);
    assert_eq!(y, (vec![2], vec![-2.0, -2.0]));
}

#[test]
fn normalization() {
    let x = f32s(&[1, 2, 1, 2], &[1.0, 3.0, 10.0, 30.0]);
    let two = |a, b| Some(line(&[a, b]));
    let statistics = [two(1.0, 2.0), two(0.0, 1.0), two(2.0, 20.0), two(1.0, 25.0)];
    let batch = apply(9, "BatchNormalization", &x, &statistics, vec![float("epsilon", 0.0), float("momentum", 0.9)]);
    near(&batch.1, &[-1.0, 1.0, -3.0, 5.0]);
    assert!(apply(7, "BatchNormalization", &x, &statistics, vec![int("spatial", 1)]).1.len() == 4);
    let ones = [two(2.0, 2.0), two(1.0, 1.0)];
    let layer =
        apply(17, "LayerNormalization", &f32s(&[2, 2], &[1.0, 3.0, 10.0, 30.0]), &ones, vec![float("epsilon", 0.0)]);
    near(&layer.1, &[-1.0, 3.0, -1.0, 3.0]);
    let instance = apply(13, "InstanceNormalization", &x, &ones, vec![float("epsilon", 0.0)]);
    near(&instance.1, &[-1.0, 3.0, -1.0, 3.0]);
    let groups = apply(21, "GroupNormalization", &x, &ones, vec![float("epsilon", 0.0), int("num_groups", 2)]);
    near(&groups.1, &[-1.0, 3.0, -1.0, 3.0]);
    let rows = f32s(&[1, 2], &[3.0, 4.0]);
    let rms = apply(23, "RMSNormalization", &rows, &[two(5.0, 10.0)], vec![float("epsilon", 0.0)]);
    near(&rms.1, &[15.0 / 12.5f32.sqrt(), 40.0 / 12.5f32.sqrt()]);
}

#[test]
fn softmax_joined_all_axes_before_opset_13() {
    let x = f32s(&[1, 2, 2], &[0.0, 0.0, 0.0, 0.0]);
    near(&apply(11, "Softmax", &x, &[], vec![]).1, &[0.25; 4]);
    near(&apply(13, "Softmax", &x, &[], vec![]).1, &[0.5; 4]);
    near(&apply(11, "Softmax", &x, &[], vec![int("axis", 2)]).1, &[0.5; 4]);
    near(&apply(13, "Softmax", &x, &[], vec![int("axis", 1)]).1, &[0.5; 4]);
    near(&apply(11, "LogSoftmax", &x, &[], vec![]).1, &[-4f32.ln(); 4]);
    near(&apply(13, "LogSoftmax", &x, &[], vec![]).1, &[-2f32.ln(); 4]);
}

#[test]
fn pooling() {
    let x = f32s(&[1, 1, 3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let window = |more: Vec<_>| [vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])], more].concat();
    assert_eq!(apply(12, "MaxPool", &x, &[], window(vec![])).1, [5.0]);
    assert_eq!(apply(12, "MaxPool", &x, &[], window(vec![int("ceil_mode", 1)])).1, [5.0, 6.0, 8.0, 9.0]);
    assert_eq!(apply(12, "MaxPool", &x, &[], window(vec![text("auto_pad", "SAME_LOWER")])).1, [1.0, 3.0, 7.0, 9.0]);
    let padded = vec![ints("pads", &[1, 1, 0, 0])];
    assert_eq!(apply(12, "AveragePool", &x, &[], window(padded.clone())).1, [1.0, 2.5, 5.5, 7.0]);
    let counted = [padded, vec![int("count_include_pad", 1)]].concat();
    assert_eq!(apply(12, "AveragePool", &x, &[], window(counted)).1, [0.25, 1.25, 2.75, 7.0]);
    assert_eq!(apply(12, "GlobalAveragePool", &x, &[], vec![]), (vec![1, 1, 1, 1], vec![5.0]));
    assert_eq!(apply(12, "GlobalMaxPool", &x, &[], vec![]), (vec![1, 1, 1, 1], vec![9.0]));
}

#[test]
fn reductions_take_axes_as_attribute_or_operand() {
    let x = f32s(&[2, 2], &[1.0, 2.0, 3.0, -4.0]);
    for (op, opset) in [("ReduceSum", 11), ("ReduceMean", 13), ("ReduceMax", 13), ("ReduceMin", 13)] {
        let old = apply(opset, op, &x, &[], vec![ints("axes", &[1]), int("keepdims", 0)]);
        let new = apply(18, op, &x, &[Some(i64s(&[-1]))], vec![int("keepdims", 0)]);
        assert_eq!(old, new);
        assert_eq!(old.0, [2]);
    }
    assert_eq!(apply(13, "ReduceMean", &x, &[], vec![]), (vec![1, 1], vec![0.5]));
    assert_eq!(apply(18, "ReduceSum", &x, &[], vec![int("noop_with_empty_axes", 1)]).1, [1.0, 2.0, 3.0, -4.0]);
    assert_eq!(apply(18, "ReduceL1", &x, &[Some(i64s(&[1]))], vec![int("keepdims", 0)]).1, [3.0, 7.0]);
    near(&apply(18, "ReduceL2", &x, &[Some(i64s(&[1]))], vec![]).1, &[5f32.sqrt(), 5.0]);
    assert_eq!(apply(18, "ReduceSumSquare", &x, &[], vec![]).1, [30.0]);
}

#[test]
fn moving_data() {
    let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let slice = vec![ints("starts", &[1]), ints("ends", &[9]), ints("axes", &[1])];
    assert_eq!(apply(9, "Slice", &x, &[], slice), (vec![2, 2], vec![2.0, 3.0, 5.0, 6.0]));
    let at = |v: &[i64]| Some(i64s(v));
    let back = apply(13, "Slice", &x, &[at(&[-1]), at(&[i64::MIN]), at(&[1]), at(&[-2])], vec![]);
    assert_eq!(back, (vec![2, 2], vec![3.0, 1.0, 6.0, 4.0]));
    let padded = (vec![2, 5], vec![9.0, 1.0, 2.0, 3.0, 9.0, 9.0, 4.0, 5.0, 6.0, 9.0]);
    assert_eq!(apply(10, "Pad", &x, &[], vec![ints("pads", &[0, 1, 0, 1]), float("value", 9.0)]), padded);
    let nine = Some(f32s(&[], &[9.0]));
    assert_eq!(apply(13, "Pad", &x, &[at(&[0, 1, 0, 1]), nine.clone()], vec![]), padded);
    assert_eq!(apply(18, "Pad", &x, &[at(&[1, 1]), nine, at(&[-1])], vec![]), padded);
    let mirrored = apply(13, "Pad", &x, &[at(&[0, 2, 0, 0])], vec![text("mode", "reflect")]);
    assert_eq!(mirrored.1, [3.0, 2.0, 1.0, 2.0, 3.0, 6.0, 5.0, 4.0, 5.0, 6.0]);
    assert_eq!(apply(13, "Transpose", &x, &[], vec![]).1, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(apply(13, "Gather", &x, &[at(&[-1, 0])], vec![int("axis", 1)]).1, [3.0, 1.0, 6.0, 4.0]);
    assert_eq!(apply(13, "Expand", &line(&[1.0, 2.0]), &[at(&[2, 1])], vec![]), (vec![2, 2], vec![1.0, 2.0, 1.0, 2.0]));
    let tiled = apply(13, "Tile", &f32s(&[1, 2], &[1.0, 2.0]), &[at(&[2, 2])], vec![]);
    assert_eq!(tiled, (vec![2, 4], vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]));
    assert_eq!(apply(13, "Flatten", &f32s(&[1, 2, 1], &[1.0, 2.0]), &[], vec![int("axis", 2)]).0, [2, 1]);
    assert_eq!(apply(11, "Squeeze", &f32s(&[1, 2, 1], &[1.0, 2.0]), &[], vec![ints("axes", &[0])]).0, [2, 1]);
    assert_eq!(apply(13, "Squeeze", &f32s(&[1, 2, 1], &[1.0, 2.0]), &[], vec![]).0, [2]);
    assert_eq!(apply(11, "Unsqueeze", &x, &[], vec![ints("axes", &[0, -1])]).0, [1, 2, 3, 1]);
    assert_eq!(apply(13, "Unsqueeze", &x, &[at(&[1])], vec![]).0, [2, 1, 3]);
}

#[test]
fn split_in_all_its_forms() {
    let x = line(&[1.0, 2.0, 3.0]);
    let parts = |model: Model| -> Vec<Vec<f32>> {
        let graph = model.output("a").output("b").import().unwrap();
        run(&graph, std::slice::from_ref(&x)).iter().map(|t| t.f32s().unwrap().to_vec()).collect()
    };
    let base = |opset| Model::new(opset).input("x", DType::F32, &["3"]);
    let expected = [vec![1.0, 2.0], vec![3.0]];
    assert_eq!(parts(base(11).node("Split", "x", "a b", vec![ints("split", &[2, 1])])), expected);
    assert_eq!(parts(base(13).constant("s", &i64s(&[2, 1])).node("Split", "x s", "a b", vec![])), expected);
    assert_eq!(parts(base(18).node("Split", "x", "a b", vec![int("num_outputs", 2)])), expected);
}

#[test]
fn blocks_of_depth_and_space() {
    let x = f32s(&[1, 4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
    let spread = apply(13, "DepthToSpace", &x, &[], vec![int("blocksize", 2)]);
    assert_eq!(spread, (vec![1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]));
    let x = f32s(&[1, 8, 1, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let dcr = apply(13, "DepthToSpace", &x, &[], vec![int("blocksize", 2)]).1;
    assert_eq!(dcr, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    let crd = apply(13, "DepthToSpace", &x, &[], vec![int("blocksize", 2), text("mode", "CRD")]).1;
    assert_eq!(crd, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let x = f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(
        apply(13, "SpaceToDepth", &x, &[], vec![int("blocksize", 2)]),
        (vec![1, 4, 1, 1], vec![1.0, 2.0, 3.0, 4.0])
    );
}

#[test]
fn resizing_by_scales_and_sizes() {
    let x = f32s(&[1, 1, 1, 2], &[1.0, 3.0]);
    let scales = Some(f32s(&[4], &[1.0, 1.0, 1.0, 2.0]));
    let doubled = (vec![1, 1, 1, 4], vec![1.0, 1.0, 3.0, 3.0]);
    assert_eq!(apply(7, "Upsample", &x, &[], vec![floats("scales", &[1.0, 1.0, 1.0, 2.0])]), doubled);
    assert_eq!(apply(9, "Upsample", &x, std::slice::from_ref(&scales), vec![]), doubled);
    assert_eq!(apply(10, "Resize", &x, std::slice::from_ref(&scales), vec![]), doubled);
    let asymmetric = || vec![text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
    assert_eq!(apply(13, "Resize", &x, &[None, scales.clone()], asymmetric()), doubled);
    let sizes = Some(i64s(&[1, 1, 1, 4]));
    assert_eq!(apply(13, "Resize", &x, &[None, None, sizes], asymmetric()), doubled);
    let width = [ints("axes", &[3])].to_vec();
    assert_eq!(apply(18, "Resize", &x, &[None, None, Some(i64s(&[4]))], [asymmetric(), width].concat()), doubled);
    let linear = apply(13, "Resize", &x, &[None, scales.clone()], vec![text("mode", "linear")]).1;
    near(&linear, &[1.0, 1.5, 2.5, 3.0]);
    let corners = vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")];
    near(&apply(13, "Resize", &x, &[None, scales], corners).1, &[1.0, 5.0 / 3.0, 7.0 / 3.0, 3.0]);
}

#[test]
fn constants_in_all_their_forms() {
    let forms = [
        vec![value("value", &f32s(&[1], &[2.0]))],
        vec![float("value_float", 2.0)],
        vec![floats("value_floats", &[2.0])],
    ];
    for form in forms {
        let graph = Model::new(13)
            .input("x", DType::F32, &["2"])
            .node("Constant", "", "c", form)
            .node("Mul", "x c", "y", vec![])
            .output("y")
            .import()
            .unwrap();
        assert_eq!(run(&graph, &[line(&[1.0, 2.0])])[0].f32s().unwrap()[..], [2.0, 4.0]);
    }
    for form in [ints("value_ints", &[1, 2]), value("value", &i64s(&[1, 2]))] {
        let graph = Model::new(13)
            .input("x", DType::F32, &["2"])
            .node("Constant", "", "c", vec![form])
            .node("Reshape", "x c", "y", vec![])
            .output("y")
            .import()
            .unwrap();
        assert_eq!(graph.ty(graph.outputs[0]).shape.to_string(), "1x2");
    }
}

#[test]
fn what_does_nothing_keeps_its_name() {
    let graph = Model::new(13)
        .input("x", DType::F32, &["2"])
        .node("Dropout", "x", "d mask", vec![])
        .node("Identity", "d", "i", vec![])
        .node("Sigmoid", "i", "s", vec![])
        .node("Mul", "i s", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    let names: Vec<&str> = graph.nodes().map(|(_, n)| n.name.as_str()).collect();
    assert_eq!(names, ["Dropout_d", "Identity_i", "Sigmoid_s", "Mul_y"]);
    assert!(graph.nodes().any(|(_, n)| n.op == Op::Unary(Unary::Sigmoid)));
    assert!(["x", "d", "i", "s", "y"].iter().all(|n| graph.find(n).is_some()));
}

#[test]
fn activations_of_one_node_are_one_operator() {
    // Celu leaves positive numbers as they are, whatever alpha divides and multiplies.
    let x = [0.1f32, 1e-30, 7.3, 1e38, f32::INFINITY];
    assert_eq!(values(13, "Celu", &x, vec![float("alpha", 3.0)]), x);
    for (op, attributes, expected) in [
        ("Celu", vec![float("alpha", 3.0)], Unary::Celu { alpha: 3.0 }),
        ("Selu", vec![], Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 }),
        ("ThresholdedRelu", vec![float("alpha", 0.5)], Unary::ThresholdedRelu { alpha: 0.5 }),
    ] {
        let graph =
            Model::new(13).input("x", DType::F32, &["2"]).node(op, "x", "y", attributes).output("y").import().unwrap();
        let ops: Vec<&Op> = graph.nodes().map(|(_, n)| &n.op).collect();
        assert_eq!(ops, [&Op::Unary(expected)]);
    }
}

#[track_caller]
fn refused(
    opset: i64,
    op: &str,
    x: &lowbit_ir::Tensor,
    constants: &[lowbit_ir::Tensor],
    attributes: Vec<proto::AttributeProto>,
    part: &str,
) {
    let dims: Vec<String> = x.dims().iter().map(usize::to_string).collect();
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let mut model = Model::new(opset).input("x", x.dtype(), &dims).output("y");
    let mut operands = "x".to_string();
    for (i, c) in constants.iter().enumerate() {
        model = model.constant(&format!("c{i}"), c);
        operands += &format!(" c{i}");
    }
    let error = model.node(op, &operands, "y", attributes).import().unwrap_err().to_string();
    assert!(error.contains(part) && error.contains(&format!("{op}_y")), "expected '{part}' in: {error}");
}

/// What one opset ignores or forbids and another one means is refused, not guessed.
#[test]
fn meanings_of_other_opsets_are_refused() {
    let x = line(&[-5.0, 0.5, 5.0]);
    let image = f32s(&[1, 1, 3, 3], &[0.0; 9]);
    // Bounds and positions were attributes once.
    refused(10, "Clip", &x, &[f32s(&[], &[0.0])], vec![], "at most 1 operands in opset 10");
    refused(9, "Slice", &x, &[i64s(&[0]), i64s(&[1])], vec![ints("starts", &[0]), ints("ends", &[1])], "operands");
    refused(11, "ReduceSum", &x, &[i64s(&[0])], vec![ints("axes", &[0])], "operands");
    // Equal parts, before opset 18.
    let two = Model::new(13).input("x", DType::F32, &["3"]).node("Split", "x", "a b", vec![]).output("a").output("b");
    assert!(two.import().unwrap_err().to_string().contains("2 equal parts"));
    // Both kinds of padding, with different amounts.
    let w = f32s(&[1, 1, 2, 2], &[0.0; 4]);
    let both = |pads: &[i64]| vec![text("auto_pad", "SAME_UPPER"), ints("pads", pads)];
    refused(11, "Conv", &image, std::slice::from_ref(&w), both(&[1, 1, 0, 0]), "auto_pad SAME_UPPER");
    assert_eq!(apply(11, "Conv", &image, &[Some(w.clone())], both(&[0, 0, 1, 1])).0, [1, 1, 3, 3]);
    assert_eq!(apply(11, "Conv", &image, &[Some(w)], both(&[0, 0, 0, 0])).0, [1, 1, 3, 3]);
    // A pad value that the graph's f32 cannot hold.
    let large = lowbit_ir::Tensor::from_i64(&[], vec![16_777_217]).unwrap();
    refused(13, "Pad", &i64s(&[1]), &[i64s(&[1, 0]), large], vec![], "16777217");
    let one_row = f32s(&[1, 2], &[1.0, 2.0]);
    let square = f32s(&[2, 2], &[0.0; 4]);
    refused(13, "Gemm", &one_row, &[square.clone(), square], vec![], "addend c");
    let z = [f32s(&[], &[1.0]), integers(DType::I8, &[], &[0])];
    refused(21, "QuantizeLinear", &x, &z, vec![int("output_dtype", 2)], "output_dtype");
    refused(14, "BatchNormalization", &image, &vec![line(&[1.0]); 4], vec![int("training_mode", 1)], "training");
    refused(7, "BatchNormalization", &image, &vec![line(&[1.0]); 4], vec![int("spatial", 0)], "spatial");
    let training = integers(DType::Bool, &[], &[1]);
    refused(13, "Dropout", &x, &[f32s(&[], &[0.5]), training], vec![], "training");
}

#[test]
fn resampling_before_opset_11_takes_the_element_above_where_it_shrinks() {
    let x = f32s(&[1, 1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let scales = [1.0, 1.0, 0.6, 0.6];
    let found = apply(10, "Resize", &x, &[Some(line(&scales))], vec![]);
    assert_eq!(found, (vec![1, 1, 1, 2], vec![1.0, 3.0]));
    assert_eq!(apply(7, "Upsample", &x, &[], vec![floats("scales", &scales)]), found);
    // Where one axis grows and another shrinks, each has its own.
    let both = apply(10, "Resize", &x, &[Some(line(&[1.0, 1.0, 1.5, 0.6]))], vec![]);
    assert_eq!(both, (vec![1, 1, 3, 2], vec![1.0, 3.0, 1.0, 3.0, 5.0, 7.0]));
    // 1 / 0.6 lies between the second and the third element.
    let linear = apply(10, "Resize", &x, &[Some(line(&scales))], vec![text("mode", "linear")]).1;
    near(&linear, &[1.0, 1.0 + 1.0 / 0.6]);
}

#[test]
fn an_integer_base_may_have_a_real_exponent() {
    let x = i64s(&[4, 9]);
    let y = apply(13, "Pow", &x, &[Some(f32s(&[], &[0.5]))], vec![]);
    assert_eq!(y.1, [2.0, 3.0]);
    assert_eq!(apply(13, "Pow", &x, &[Some(integers(DType::I32, &[], &[2]))], vec![]).1, [16.0, 81.0]);
}

#[test]
fn slices_backwards_start_at_an_element() {
    let x = line(&[1.0, 2.0, 3.0]);
    let at = |v: i64| Some(i64s(&[v]));
    let y = apply(13, "Slice", &x, &[at(-9), at(i64::MIN), at(0), at(-1)], vec![]);
    assert_eq!(y.1, [1.0]);
}
