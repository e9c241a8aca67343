//! Models in the forms that other tools quantize to: they become integers, and those are the integers that the file's own
//! operators give, up to one step where a float sum was rounded.

mod common;

use common::*;
use lowbit_frontend::onnx::proto::AttributeProto;
use lowbit_ir::{DType, Graph, Op, Tensor, verify};
use lowbit_quantize::{Config, LeftFloat, Prepare, Realizers, prepare, realize};

/// The graph of a file, and the integer graph that it becomes.
fn realized(model: &Model) -> (Graph, Graph, Vec<LeftFloat>) {
    let file = model.import().unwrap();
    let mut g = file.clone();
    let _ = prepare(&mut g, &mut Prepare::default(), &mut ()).unwrap();
    let left = realize(&mut g, &Config::default(), &Realizers::standard()).unwrap();
    g.sweep();
    verify::verify(&g).unwrap();
    (file, g, left)
}

/// All becomes integers, and the output (a dequantized value of this scale) is within one step of the file's.
#[track_caller]
fn runs_as_integers(model: &Model, x: &Tensor, step: f32) {
    let (file, g, left) = realized(model);
    assert_eq!(left, [], "{}", lowbit_ir::text::print(&g));
    for (_, node) in g.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_) | Op::MatMul(_))) {
        assert!(g.ty(node.outputs[0]).dtype.is_integer(), "{}", node.name);
    }
    let (expected, found) = (run(&file, std::slice::from_ref(x)), run(&g, std::slice::from_ref(x)));
    let (expected, found) = (expected[0].f32s().unwrap(), found[0].f32s().unwrap());
    assert_eq!(expected.len(), found.len());
    assert!(expected.iter().any(|y| *y != expected[0]), "a test that cannot fail: {expected:?}");
    for (a, b) in expected.iter().zip(found.iter()) {
        assert!((a - b).abs() <= step * 1.001, "{expected:?} and {found:?}");
    }
}

/// Numbers from -1 to 1 in no order.
fn ramp(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    f32s(dims, &(0..n).map(|i| ((i * 37) % n) as f32 / n as f32 * 2.0 - 1.0).collect::<Vec<_>>())
}

fn scalar(s: f32) -> Tensor {
    f32s(&[], &[s])
}

/// QuantizeLinear and DequantizeLinear of value `of` as `to`, with parameters `s`, `z`.
fn pair(model: Model, of: &str, to: &str, parameters: &str, attributes: &[AttributeProto]) -> Model {
    model.node("QuantizeLinear", &format!("{of} {parameters}"), &format!("{to}.q"), attributes.to_vec()).node(
        "DequantizeLinear",
        &format!("{to}.q {parameters}"),
        to,
        attributes.to_vec(),
    )
}

#[test]
fn widths_of_newer_opsets() {
    for (x, w) in [
        (DType::U8, DType::I8),
        (DType::I8, DType::U8),
        (DType::U8, DType::U8),
        (DType::U8, DType::I4),
        (DType::I8, DType::U4),
        (DType::I16, DType::I8),
        (DType::U16, DType::I8),
        (DType::I16, DType::I4),
        (DType::U16, DType::U16),
        (DType::U4, DType::I4),
    ] {
        let (low, high) = x.range().unwrap();
        let zero = (low + high + 1) / 2;
        let step = 2.2 / (high - low) as f32;
        let (wl, wh) = w.range().unwrap();
        let middle = (wl + wh + 1) / 2;
        let weights: Vec<i64> = [-7, 5, 3, -2, 7, 1].iter().map(|q| q + middle).collect();
        let model = Model::new(21)
            .input("x", DType::F32, &["1", "3", "2", "2"])
            .constant("s", &scalar(step))
            .constant("z", &integers(x, &[], &[zero]))
            .constant("w.q", &integers(w, &[2, 3, 1, 1], &weights))
            .constant("w.s", &f32s(&[2], &[0.125, 0.0625]))
            .constant("w.z", &integers(w, &[2], &[middle, middle]))
            .constant("b.q", &integers(DType::I32, &[2], &[40, -30]))
            .constant("b.s", &f32s(&[2], &[step * 0.125, step * 0.0625]))
            .constant("b.z", &integers(DType::I32, &[2], &[0, 0]))
            .constant("y.s", &scalar(step * 2.0));
        let axis = vec![int("axis", -4)];
        let bias = vec![int("axis", 0)];
        let model = pair(model, "x", "xd", "s z", &[])
            .node("DequantizeLinear", "w.q w.s w.z", "w", axis)
            .node("DequantizeLinear", "b.q b.s b.z", "b", bias)
            .node("Conv", "xd w b", "c", vec![])
            .node("Relu", "c", "r", vec![]);
        // The same zero point as the input's, under another scale.
        let model = pair(model, "r", "y", "y.s z", &[]).output("y");
        runs_as_integers(&model, &ramp(&[1, 3, 2, 2]), step * 2.0);
    }
}

/// Values of 4 bits go through every kind of operator, not only through those that multiply.
#[test]
fn values_of_four_bits() {
    for dtype in [DType::U4, DType::I4] {
        let (low, high) = dtype.range().unwrap();
        for (op, attributes) in [
            ("HardSwish", vec![]),
            ("Tanh", vec![]),
            ("LeakyRelu", vec![]),
            ("Elu", vec![]),
            ("Erf", vec![]),
            ("Relu", vec![]),
            ("GlobalAveragePool", vec![]),
            ("Flatten", vec![]),
            ("Transpose", vec![ints("perm", &[0, 2, 3, 1])]),
            ("MaxPool", vec![ints("kernel_shape", &[2, 2])]),
            ("Concat", vec![int("axis", 1)]),
            ("Add", vec![]),
        ] {
            let operands = if matches!(op, "Add" | "Concat") { "xd xd" } else { "xd" };
            let step = 2.5 / (high - low) as f32;
            let model = Model::new(22)
                .input("x", DType::F32, &["1", "3", "2", "2"])
                .constant("s", &scalar(step))
                .constant("z", &integers(dtype, &[], &[(low + high + 1) / 2]));
            let model = pair(model, "x", "xd", "s z", &[]).node(op, operands, "r", attributes);
            let model = pair(model, "r", "y", "s z", &[]).output("y");
            runs_as_integers(&model, &ramp(&[1, 3, 2, 2]), step);
            let (_, g, _) = realized(&model);
            let packed = g.nodes().flat_map(|(_, n)| &n.outputs).filter(|v| g.ty(**v).dtype.bits() < 8).count();
            assert_eq!(packed, 0, "{op} of {dtype}: {}", lowbit_ir::text::print(&g));
        }
    }
}

/// A number that none of the operand's integers stands for is one of the result's, or a float.
#[test]
fn numbers_between_integers() {
    let base = |s: f32, to: f32, z: i64| {
        let model = Model::new(13)
            .input("x", DType::F32, &["1", "2", "3"])
            .constant("s", &scalar(s))
            .constant("z", &integers(DType::U8, &[], &[z]))
            .constant("to.s", &scalar(to))
            .constant("to.z", &integers(DType::U8, &[], &[128]));
        pair(model, "x", "xd", "s z", &[])
    };
    let x = ramp(&[1, 2, 3]);
    for value in [-1.0, 0.005, 5.0] {
        let model = base(0.01, 0.02, 0).constant("p", &i64s(&[0, 0, 1, 0, 0, 1])).constant("v", &scalar(value)).node(
            "Pad",
            "xd p v",
            "m",
            vec![],
        );
        let model = pair(model, "m", "y", "to.s to.z", &[]).output("y");
        runs_as_integers(&model, &x, 0.02);
    }
    for (high, floats) in [(0.35, 2), (0.0, 0), (99.0, 0)] {
        let model = base(0.1, 0.005, 128).constant("high", &scalar(high)).node("Min", "xd high", "n", vec![]).node(
            "Transpose",
            "n",
            "m",
            vec![ints("perm", &[0, 2, 1])],
        );
        let model = pair(model, "m", "y", "to.s to.z", &[]).output("y");
        let (file, g, left) = realized(&model);
        assert_eq!(left.len(), floats, "{high}: {left:?}");
        let [expected, found] = [file, g].map(|g| run(&g, std::slice::from_ref(&x))[0].f32s().unwrap().into_owned());
        assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() <= 0.00501), "{high}: {expected:?} {found:?}");
    }
}

#[test]
fn parameters_in_other_places() {
    // The scale from a Constant node and shared by all, the type from an attribute, no zero point anywhere.
    let model = Model::new(21)
        .input("x", DType::F32, &["1", "4"])
        .constant("w.q", &integers(DType::I8, &[4, 2], &[1, -2, 3, 4, -5, 6, 7, 8]))
        .node("Constant", "", "s", vec![value("value", &scalar(0.05))])
        .node("QuantizeLinear", "x s", "x.q", vec![int("output_dtype", 3)])
        .node("DequantizeLinear", "x.q s", "xd", vec![])
        .node("DequantizeLinear", "w.q s", "w", vec![])
        .node("MatMul", "xd w", "p", vec![])
        .node("QuantizeLinear", "p s", "p.q", vec![int("output_dtype", 5)])
        .node("DequantizeLinear", "p.q s", "y", vec![])
        .output("y");
    let (file, ..) = realized(&model);
    assert_eq!(file.ty(file.find("x.q").unwrap()).dtype, DType::I8);
    assert_eq!(file.ty(file.find("p.q").unwrap()).dtype, DType::I16);
    runs_as_integers(&model, &ramp(&[1, 4]), 0.05);
    // Without either it is u8, as ONNX says.
    let model = Model::new(13)
        .input("x", DType::F32, &["4"])
        .constant("s", &scalar(0.05))
        .node("QuantizeLinear", "x s", "q", vec![])
        .output("q");
    let file = model.import().unwrap();
    assert_eq!(file.ty(file.outputs[0]).dtype, DType::U8);
}

/// Weights in blocks become integers of more bits with one scale an output channel.
#[test]
fn blocks_along_what_is_summed_and_along_the_channels() {
    for (axis, scales) in [(0, [2, 2]), (1, [4, 1])] {
        let blocks = vec![int("axis", axis), int("block_size", 2)];
        let model = Model::new(21)
            .input("x", DType::F32, &["1", "4"])
            .constant("s", &scalar(0.05))
            .constant("y.s", &scalar(0.25))
            .constant("z", &integers(DType::U8, &[], &[128]))
            .constant("w.q", &integers(DType::I4, &[4, 2], &[1, -2, 3, 4, -5, 6, 7, -8]))
            .constant("w.s", &f32s(&scales, &[0.5, 0.25, 0.125, 1.0]))
            .node("DequantizeLinear", "w.q w.s", "w", blocks);
        let model = pair(model, "x", "xd", "s z", &[]).node("MatMul", "xd w", "p", vec![]);
        runs_as_integers(&pair(model, "p", "y", "y.s z", &[]).output("y"), &ramp(&[1, 4]), 0.25);
    }
}

/// As torch writes a Linear: weights by channel, dequantized and then turned; and a kernel that was a matrix.
#[test]
fn weights_that_are_moved_behind_their_dequantize() {
    let axis = |axis: i64| vec![int("axis", axis)];
    let model = || {
        Model::new(13)
            .input("x", DType::F32, &["1", "4"])
            .constant("s", &scalar(0.05))
            .constant("y.s", &scalar(0.25))
            .constant("z", &integers(DType::U8, &[], &[128]))
            .constant("w.s", &f32s(&[2], &[0.5, 0.25]))
            .constant("w.q", &integers(DType::I8, &[2, 4], &[1, -2, 3, 4, -5, 6, 7, -8]))
            .node("DequantizeLinear", "w.q w.s", "w", axis(0))
    };
    let turned = pair(model(), "x", "xd", "s z", &[]).node("Transpose", "w", "wt", vec![ints("perm", &[1, 0])]).node(
        "MatMul",
        "xd wt",
        "p",
        vec![],
    );
    runs_as_integers(&pair(turned, "p", "y", "y.s z", &[]).output("y"), &ramp(&[1, 4]), 0.25);
    let shaped = Model::new(13)
        .input("x", DType::F32, &["1", "4", "1", "3"])
        .constant("s", &scalar(0.05))
        .constant("y.s", &scalar(0.25))
        .constant("z", &integers(DType::U8, &[], &[128]))
        .constant("w.s", &f32s(&[2], &[0.5, 0.25]))
        .constant("w.q", &integers(DType::I8, &[2, 4], &[1, -2, 3, 4, -5, 6, 7, -8]))
        .constant("shape", &integers(DType::I64, &[4], &[2, 4, 1, 1]))
        .node("DequantizeLinear", "w.q w.s", "w", axis(0))
        .node("Reshape", "w shape", "k", vec![]);
    let shaped = pair(shaped, "x", "xd", "s z", &[]).node("Conv", "xd k", "p", vec![]);
    runs_as_integers(&pair(shaped, "p", "y", "y.s z", &[]).output("y"), &ramp(&[1, 4, 1, 3]), 0.25);
}

/// A mean over the picture that drops its axes, quantized behind that.
#[test]
fn a_mean_that_drops_its_axes() {
    let model = Model::new(13)
        .input("x", DType::F32, &["1", "3", "2", "3"])
        .constant("s", &scalar(0.05))
        .constant("z", &integers(DType::U8, &[], &[128]));
    let model = pair(model, "x", "xd", "s z", &[]).node(
        "ReduceMean",
        "xd",
        "m",
        vec![ints("axes", &[2, 3]), int("keepdims", 0)],
    );
    runs_as_integers(&pair(model, "m", "y", "s z", &[]).output("y"), &ramp(&[1, 3, 2, 3]), 0.05);
}

/// A depthwise network as NNCF writes it: scales per channel on activations, negative axes, float biases, and
/// BatchNormalization behind weights that are quantized already.
#[test]
fn scales_per_channel_on_activations() {
    for (negative_axis, clip) in [(false, false), (true, false), (false, true), (true, true)] {
        let axis = |axis: i64, rank: i64| vec![int("axis", if negative_axis { axis - rank } else { axis })];
        let model = Model::new(13)
            .input("x", DType::F32, &["1", "2", "4", "4"])
            .constant("x.s", &scalar(1.0 / 127.0))
            .constant("x.z", &integers(DType::I8, &[], &[0]))
            .constant("w1.q", &integers(DType::I8, &[3, 2, 1, 1], &[100, -50, 127, 3, -128, 77]))
            .constant("w1.s", &f32s(&[3], &[0.01, 0.02, 0.03]))
            .constant("gamma", &f32s(&[3], &[1.5, -0.75, -1.0]))
            .constant("beta", &f32s(&[3], &[0.25, 0.5, 2.0]))
            .constant("mean", &f32s(&[3], &[0.125, -0.5, 0.0]))
            .constant("variance", &f32s(&[3], &[1.0, 2.0, 3.0]))
            .constant("a.s", &f32s(&[3], &[0.02, 0.03, 0.05]))
            .constant("a.z", &integers(DType::U8, &[3], &[0, 9, 4]))
            .constant("w2.q", &integers(DType::I8, &[3, 1, 2, 2], &[1, -9, 20, 3, 7, 7, 30, -8, 9, 10, -11, 12]))
            .constant("w2.s", &f32s(&[3], &[0.05, 0.04, 0.01]))
            .constant("b2", &f32s(&[3], &[0.5, -0.25, 0.0]))
            .constant("low", &scalar(0.0))
            .constant("high", &scalar(3.0))
            .constant("y.s", &scalar(0.03))
            .constant("y.z", &integers(DType::U8, &[], &[20]));
        let model = pair(model, "x", "xd", "x.s x.z", &[])
            .node("DequantizeLinear", "w1.q w1.s", "w1", axis(0, 4))
            .node("Conv", "xd w1", "c1", vec![])
            .node("BatchNormalization", "c1 gamma beta mean variance", "n1", vec![]);
        let model = match clip {
            true => model.node("Clip", "n1 low high", "l1", vec![]),
            false => model.node("Relu", "n1", "l1", vec![]),
        };
        let model = pair(model, "l1", "a", "a.s a.z", &axis(1, 4))
            .node("DequantizeLinear", "w2.q w2.s", "w2", axis(0, 4))
            .node("Conv", "a w2 b2", "c2", vec![int("group", 3), ints("pads", &[1, 0, 0, 1])]);
        let model = pair(model, "c2", "y", "y.s y.z", &[]).output("y");
        // One step of the first layer's output can move the second's by more than half a step.
        runs_as_integers(&model, &ramp(&[1, 2, 4, 4]), 0.06);
    }
}

/// A dense convolution would mix the channels' scales: it stays float and says so.
#[test]
fn scales_per_channel_are_not_mixed() {
    let model = Model::new(13)
        .input("x", DType::F32, &["1", "2", "2", "2"])
        .constant("s", &f32s(&[2], &[0.01, 0.02]))
        .constant("z", &integers(DType::U8, &[2], &[128, 100]))
        .constant("w.q", &integers(DType::I8, &[2, 2, 1, 1], &[1, 2, 3, 4]))
        .constant("w.s", &scalar(0.5))
        .node("DequantizeLinear", "w.q w.s", "w", vec![]);
    let model = pair(model, "x", "xd", "s z", &[int("axis", 1)]).node("Conv", "xd w", "y", vec![]).output("y");
    let (_, _, left) = realized(&model);
    assert!(left.len() == 1 && left[0].reason.contains("expected an input with one scale, found 2"), "{left:?}");
}

#[test]
fn operators_on_integers() {
    let mut model = Model::new(13)
        .input("x", DType::F32, &["1", "1", "4", "4"])
        .constant("s", &scalar(1.0 / 128.0))
        .constant("z", &integers(DType::U8, &[], &[128]))
        .constant("w", &integers(DType::I8, &[2, 1, 2, 2], &[30, -20, 10, 40, -5, 60, 7, 8]))
        .constant("ws", &f32s(&[2], &[0.01, 0.02]))
        .constant("wz", &integers(DType::I8, &[2], &[0, 0]))
        .constant("b", &integers(DType::I32, &[2], &[500, -600]))
        .constant("t", &scalar(0.01))
        .constant("u", &scalar(0.013))
        .node("QuantizeLinear", "x s z", "q", vec![])
        .node("QLinearConv", "q s z w ws wz t z b", "c", vec![])
        .node("MaxPool", "c", "m", vec![ints("kernel_shape", &[2, 2])])
        .node("QLinearSigmoid", "m t z s z", "g", vec![])
        .node("QLinearMul", "m t z g s z t z", "p", vec![])
        .node("QLinearAdd", "m t z p t z u z", "a", vec![])
        .node("QLinearConcat", "u z a u z p t z", "j", vec![int("axis", 1)])
        .node("QLinearGlobalAveragePool", "j u z t z", "v", vec![])
        .node("Flatten", "v", "f", vec![])
        .node("DequantizeLinear", "f t z", "y", vec![])
        .output("y");
    for node in &mut model.graph().node {
        let microsoft = node.op_type().starts_with("QLinear") && node.op_type() != "QLinearConv";
        node.domain = Some(if microsoft { "com.microsoft" } else { "" }.into());
    }
    let (_, g, _) = realized(&model);
    let names: Vec<&str> = g.nodes().map(|(_, n)| n.op.name()).collect();
    let expected =
        "Quantize Conv Requantize MaxPool Table QMul QAdd Requantize Concat QAvgPool Flatten Dequantize".split(' ');
    assert_eq!(names, expected.collect::<Vec<_>>(), "{}", lowbit_ir::text::print(&g));
    // The integers go by the names of the file.
    for name in ["c", "m", "g", "p", "a", "j", "v", "f"] {
        assert!(g.find(name).is_some_and(|v| g.ty(v).dtype == DType::U8), "{name}");
    }
    runs_as_integers(&model, &ramp(&[1, 1, 4, 4]), 0.01);
}
