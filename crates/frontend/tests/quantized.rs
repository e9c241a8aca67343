//! QDQ models in and out: types from parameters, narrow and wide integers, and the metadata that ONNX has no words for.

mod common;

use common::*;
use lowbit_arithmetic::Rounding;
use lowbit_frontend::onnx::proto::ModelProto;
use lowbit_frontend::{ImportOptions, export, load_bytes};
use lowbit_ir::op::{Binary, MatMul, Reduce, ReduceKind, Unary};
use lowbit_ir::text::print;
use lowbit_ir::{DType, Dim, Granularity, Graph, Op, Quant, Shape, Tensor, Type, ValueId, infer};
use prost::Message;

fn add(g: &mut Graph, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
    infer::apply(g, name, op, &inputs.iter().map(|v| Some(*v)).collect::<Vec<_>>()).unwrap()
}

fn quantized(g: &mut Graph, name: &str, x: ValueId, dtype: DType, quant: Quant, rounding: Rounding) -> ValueId {
    let ty = Type::quantized(dtype, g.ty(x).shape.clone(), quant);
    let q = infer::apply_as(g, name, Op::Quantize { rounding }, &[Some(x)], ty).unwrap();
    add(g, &format!("{name}.real"), Op::Dequantize, &[q])
}

fn batch(g: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let dims = std::iter::once(Dim::Symbol("N".into())).chain(dims.iter().map(|d| Dim::Known(*d)));
    g.add_input(name, Type::f32(Shape(dims.collect())))
}

/// Writes and reads; both graphs must print the same, and a second writing must give the same bytes.
#[track_caller]
fn round_trip(g: &Graph) -> ModelProto {
    let bytes = export(g).unwrap();
    let again = load_bytes(bytes.clone().into(), None, &ImportOptions::default()).unwrap();
    assert_eq!(print(&g.compact()), print(&again));
    assert_eq!(bytes, export(&again).unwrap());
    ModelProto::decode(bytes.as_slice()).unwrap()
}

fn op_types(model: &ModelProto) -> Vec<&str> {
    model.graph.as_ref().unwrap().node.iter().map(|n| n.op_type()).collect()
}

fn opset(model: &ModelProto) -> i64 {
    model.opset_import[0].version()
}

#[test]
fn a_convolution_with_scales_per_channel() {
    let mut g = Graph::new("net");
    g.meta.properties.insert("lowbit.labels".into(), "[]".into());
    g.meta.producer = "someone 1.0".into();
    let x = batch(&mut g, "x", &[1, 2, 2]);
    let x = quantized(&mut g, "xq", x, DType::U8, Quant::per_tensor(0.5, 3, 0, 255), Rounding::HalfEven);
    let w = integers(DType::I8, &[2, 1, 1, 1], &[-127, 127]);
    let w = g.add_const("w", w.with_quant(Some(Quant::per_channel(vec![0.5, 0.25], 0, -127, 127))));
    let w = add(&mut g, "w.real", Op::Dequantize, &[w]);
    let b = integers(DType::I32, &[2], &[1000, -1000]);
    let (lo, hi) = DType::I32.range().unwrap();
    let b = g.add_const("b", b.with_quant(Some(Quant::per_channel(vec![0.25, 0.125], 0, lo, hi))));
    let b = add(&mut g, "b.real", Op::Dequantize, &[b]);
    let conv = lowbit_ir::op::Conv { strides: vec![1, 1], pads: vec![0; 4], dilations: vec![1, 1], group: 1 };
    let y = add(&mut g, "y", Op::Conv(conv), &[x, w, b]);
    let y = add(&mut g, "r", Op::Relu, &[y]);
    let y = quantized(&mut g, "yq", y, DType::I8, Quant::per_tensor(0.5, -128, -128, 127), Rounding::HalfEven);
    let last = g.producer(y).unwrap();
    g.node_mut(last).rule = Some("Conv: the default".into());
    g.outputs.push(y);
    let model = round_trip(&g);
    assert_eq!(opset(&model), 13);
    assert_eq!(model.ir_version(), 7);
    assert_eq!(op_types(&model).iter().filter(|t| **t == "DequantizeLinear").count(), 4);
    assert!(model.metadata_props.iter().any(|p| p.key() == "lowbit.labels"));
    assert!(model.metadata_props.iter().any(|p| p.key() == "lowbit.format" && p.value() == "1"));
}

#[test]
fn widths_and_roundings_that_onnx_lacks_come_back() {
    let cases = [
        // bits, storage, zero point, range, lowest opset, operators
        (DType::U8, 3, (0, 7), 13, "Clip QuantizeLinear DequantizeLinear"),
        (DType::I8, 0, (-32, 31), 13, "Clip QuantizeLinear DequantizeLinear"),
        (DType::U8, 40, (0, 127), 13, "Clip QuantizeLinear DequantizeLinear"),
        (DType::I16, 0, (-2048, 2047), 21, "Clip QuantizeLinear DequantizeLinear"),
        (DType::I16, 5, (-32768, 32767), 21, "QuantizeLinear DequantizeLinear"),
        (DType::U4, 8, (0, 15), 21, "QuantizeLinear DequantizeLinear"),
        (DType::I2, 0, (-2, 1), 25, "QuantizeLinear DequantizeLinear"),
        (DType::I32, 0, (-8388608, 8388607), 13, "Div Round Clip Cast Add DequantizeLinear"),
        (DType::I32, 77, (-8388608, 8388607), 13, "Div Round Clip Cast Add Sub Cast Mul"),
    ];
    for (dtype, zero, (lo, hi), lowest, expected) in cases {
        for rounding in [Rounding::HalfEven, Rounding::HalfUp, Rounding::Stochastic { seed: 7 }] {
            let mut g = Graph::new("net");
            let x = batch(&mut g, "x", &[4]);
            let y = quantized(&mut g, "q", x, dtype, Quant::per_tensor(0.3, zero, lo, hi), rounding);
            g.outputs.push(y);
            let model = round_trip(&g);
            assert_eq!(opset(&model), lowest, "{dtype}");
            assert_eq!(op_types(&model).join(" "), expected, "{dtype}");
        }
    }
}

#[test]
fn any_width_is_written_by_channel_too() {
    for (dtype, zeros, (lo, hi)) in [
        (DType::U8, [3, 1, 0], (0, 7)),
        (DType::I8, [0, 0, 0], (-8, 7)),
        (DType::U16, [500, 0, 1023], (0, 1023)),
        (DType::I16, [0, 5, -5], (-4096, 4095)),
    ] {
        let mut g = Graph::new("net");
        let x = batch(&mut g, "x", &[3, 11]);
        let granularity = Granularity::Channel { axis: 1 };
        let (scale, zero_point) = ([0.3, 0.011, 7.0].into(), zeros.into());
        let quant = Quant { scale, zero_point, qmin: lo, qmax: hi, granularity };
        let y = quantized(&mut g, "q", x, dtype, quant, Rounding::HalfEven);
        g.outputs.push(y);
        let mut model = round_trip(&g);
        assert_eq!(op_types(&model).join(" "), "Max Min QuantizeLinear DequantizeLinear", "{dtype}");
        // The nodes alone say the same.
        model.metadata_props.clear();
        let plain = load_bytes(model.encode_to_vec().into(), None, &ImportOptions::default()).unwrap();
        let data: Vec<f32> = (0..330).map(|i| (i - 165) as f32 * 0.7311).collect();
        let x = f32s(&[10, 3, 11], &data);
        assert_eq!(run(&g, std::slice::from_ref(&x))[0].bytes(), run(&plain, &[x])[0].bytes(), "{dtype}");
    }
}

#[test]
fn constants_are_joined_with_integers_of_a_scale_a_channel() {
    let mut g = Graph::new("net");
    let x = g.add_input("x", Type::plain(DType::F32, vec![1, 3, 2]));
    let (scale, zero_point) = ([0.3, 0.011, 7.0].into(), [3, 1, 0].into());
    let quant = Quant { scale, zero_point, qmin: 0, qmax: 20, granularity: Granularity::Channel { axis: 1 } };
    let ty = Type::quantized(DType::U8, vec![1, 3, 2], quant.clone());
    let q = infer::apply_as(&mut g, "q", Op::Quantize { rounding: Rounding::HalfEven }, &[Some(x)], ty).unwrap();
    let ends = Tensor::from_ints(Type::plain(DType::U8, vec![1, 3, 1]), &[20, 0, 7]).unwrap();
    let ends = g.add_const("ends", ends.with_quant(Some(quant)));
    let y = add(&mut g, "y", Op::Concat { axis: 2 }, &[ends, q, ends]);
    g.outputs.push(y);
    round_trip(&g);
}

#[test]
fn a_number_is_resized_to_itself() {
    let text = "graph \"net\" {\n  input %x: f32[scalar]\n  %y = Resize(%x) {scales [], mode nearest, nearest floor, \
                coordinates half_pixel}\n  output %y\n}\n";
    let g = lowbit_ir::text::parse(text).unwrap();
    let read = load_bytes(export(&g).unwrap().into(), None, &ImportOptions::default()).unwrap();
    let x = f32s(&[], &[1.5]);
    assert_eq!(run(&g, std::slice::from_ref(&x))[0].bytes(), run(&read, &[x])[0].bytes());
}

/// What another runtime computes from the file: the nodes without our notes give the same integers.
#[test]
fn the_clip_alone_says_the_same() {
    for (dtype, zero, (lo, hi)) in
        [(DType::U8, 3, (0i64, 7i64)), (DType::I16, -9, (-2048, 2047)), (DType::I32, 5, (-999, 999))]
    {
        let mut g = Graph::new("net");
        let x = batch(&mut g, "x", &[1001]);
        let y = quantized(&mut g, "q", x, dtype, Quant::per_tensor(0.3, zero, lo, hi), Rounding::HalfEven);
        g.outputs.push(y);
        let mut model = ModelProto::decode(export(&g).unwrap().as_slice()).unwrap();
        model.metadata_props.clear();
        let plain = load_bytes(model.encode_to_vec().into(), None, &ImportOptions::default()).unwrap();
        assert_ne!(print(&plain), print(&g.compact()));
        let data: Vec<f32> = (-500..=500).map(|i| i as f32 * 0.7311).collect();
        let x = f32s(&[1, 1001], &data);
        assert_eq!(run(&g, std::slice::from_ref(&x))[0].bytes(), run(&plain, &[x])[0].bytes(), "{dtype}");
    }
}

#[test]
fn notes_about_changed_nodes_are_not_believed() {
    let mut g = Graph::new("net");
    let x = batch(&mut g, "x", &[4]);
    let y = add(&mut g, "y", Op::Unary(Unary::Silu), &[x]);
    g.outputs.push(y);
    let mut model = round_trip(&g);
    assert_eq!(op_types(&model), ["Sigmoid", "Mul"]);
    model.graph.as_mut().unwrap().node[0].op_type = Some("Tanh".into());
    let changed = load_bytes(model.encode_to_vec().into(), None, &ImportOptions::default()).unwrap();
    let names: Vec<&str> = changed.nodes().map(|(_, n)| n.op.name()).collect();
    assert_eq!(names, ["Tanh", "Mul"]);
}

#[test]
fn float_operators_come_back() {
    let mut g = Graph::new("net");
    let x = batch(&mut g, "x", &[4, 8]);
    let w = g.add_const("w", f32s(&[8, 8], &[0.125; 64]));
    let b = g.add_const("b", f32s(&[8], &[1.0; 8]));
    let mut y = add(&mut g, "linear", Op::MatMul(MatMul { trans_b: false }), &[x, w, b]);
    y = add(&mut g, "turned", Op::MatMul(MatMul { trans_b: true }), &[y, w, b]);
    for f in [
        Unary::Silu,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Mish,
        Unary::HardSwish,
        Unary::Elu { alpha: 0.5 },
        Unary::Selu { alpha: 1.5, gamma: 1.25 },
        Unary::Celu { alpha: 0.5 },
        Unary::ThresholdedRelu { alpha: 0.5 },
    ] {
        y = add(&mut g, f.name(), Op::Unary(f), &[y]);
    }
    y = add(&mut g, "norm", Op::LayerNorm { axis: -1, epsilon: 1e-6 }, &[y, b, b]);
    y = add(&mut g, "soft", Op::Softmax { axis: -1 }, &[y]);
    y = add(&mut g, "clip", Op::Clip { min: f32::NEG_INFINITY, max: 6.0 }, &[y]);
    let over = Reduce { kind: ReduceKind::Mean, axes: vec![1], keep_dims: true };
    let mean = add(&mut g, "mean", Op::Reduce(over), &[y]);
    y = add(&mut g, "centred", Op::Binary(Binary::Sub), &[y, mean]);
    y = add(&mut g, "flat", Op::Reshape { dims: vec![0, -1] }, &[y]);
    let dense = g.add_const("dense", f32s(&[2, 32], &[0.5; 64]));
    y = add(&mut g, "logits", Op::MatMul(MatMul { trans_b: true }), &[y, dense]);
    g.outputs.push(y);
    let model = round_trip(&g);
    assert_eq!(opset(&model), 17);
    assert_eq!(op_types(&model).last(), Some(&"Gemm"));
}

#[test]
fn graphs_that_onnx_cannot_say_are_refused_with_a_way_out() {
    let mut g = Graph::new("net");
    let x = batch(&mut g, "x", &[4]);
    let ty = Type::quantized(DType::U8, g.ty(x).shape.clone(), Quant::per_tensor(0.5, 0, 0, 255));
    let q =
        infer::apply_as(&mut g, "q", Op::Quantize { rounding: Rounding::HalfEven }, &[Some(x)], ty.clone()).unwrap();
    let r = infer::apply_as(&mut g, "r", Op::Requantize(Default::default()), &[Some(q)], ty).unwrap();
    g.outputs.push(r);
    let error = export(&g).unwrap_err().to_string();
    assert!(error.contains("'r'") && error.contains("Requantize") && error.contains("annotated"), "{error}");
}

#[test]
fn saving_replaces_the_file_as_a_whole() {
    let folder = std::env::temp_dir().join(format!("lowbit-save-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.onnx");
    std::fs::write(&path, "old").unwrap();
    let mut g = Graph::new("net");
    let x = batch(&mut g, "x", &[4]);
    g.outputs.push(x);
    // A value still to be calibrated cannot be written: the old file stays.
    let mut broken = g.clone();
    let r = infer::apply_as(
        &mut broken,
        "r",
        Op::Quantize { rounding: Rounding::HalfEven },
        &[Some(x)],
        Type::quantized(DType::I64, g.ty(x).shape.clone(), Quant::per_tensor(0.5, 0, 0, 255)),
    );
    broken.outputs = vec![r.unwrap()];
    assert!(lowbit_frontend::save(&broken, &path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    let y = add(&mut g, "y", Op::Relu, &[x]);
    g.outputs = vec![y];
    lowbit_frontend::save(&g, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), export(&g).unwrap());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert!(lowbit_frontend::save(&g, &folder.join("no/such/folder.onnx")).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

fn parameters(
    dtype: DType,
    scale: Tensor,
    zero: Option<Tensor>,
    more: Vec<lowbit_frontend::onnx::proto::AttributeProto>,
) -> Model {
    let count = if dtype == DType::I2 { [1, 0, -2, 1, 0, -1] } else { [1, 2, 3, 4, 5, 6] };
    let mut model = Model::new(25).constant("w", &integers(dtype, &[2, 3], &count)).constant("s", &scale);
    let names = match zero {
        Some(z) => {
            model = model.constant("z", &z);
            "w s z"
        }
        None => "w s",
    };
    model.node("DequantizeLinear", names, "y", more).output("y")
}

#[test]
fn dequantized_constants_get_a_type() {
    let ty = |model: Model| {
        let g = model.import().unwrap();
        let w = g.find("w").unwrap();
        (g.ty(w).quant.clone().unwrap().granularity, run(&g, &[])[0].f32s().unwrap().to_vec())
    };
    let half = || f32s(&[], &[0.5]);
    let one = |dtype, data: &[i64]| Some(integers(dtype, &[data.len()], data));
    let whole = ty(parameters(DType::U8, half(), Some(integers(DType::U8, &[], &[1])), vec![]));
    assert_eq!(whole, (Granularity::Tensor, vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5]));
    for dtype in [DType::I8, DType::I16, DType::U16, DType::I32, DType::I4, DType::U4] {
        let found = ty(parameters(dtype, half(), None, vec![]));
        assert_eq!(found, (Granularity::Tensor, vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0]), "{dtype}");
    }
    assert_eq!(ty(parameters(DType::I2, half(), None, vec![])).1, [0.5, 0.0, -1.0, 0.5, 0.0, -0.5]);
    let channels = || f32s(&[3], &[1.0, 2.0, 3.0]);
    for axis in [1, -1] {
        let found = ty(parameters(DType::I8, channels(), one(DType::I8, &[0, 1, 0]), vec![int("axis", axis)]));
        assert_eq!(found, (Granularity::Channel { axis: 1 }, vec![1.0, 2.0, 9.0, 4.0, 8.0, 18.0]));
    }
    let blocks = parameters(
        DType::I8,
        f32s(&[2, 2], &[1.0, 10.0, 100.0, 1000.0]),
        None,
        vec![int("axis", 1), int("block_size", 2)],
    );
    let expected = vec![1.0, 2.0, 30.0, 400.0, 500.0, 6000.0];
    assert_eq!(ty(blocks), (Granularity::Block { axis: 1, size: 2 }, expected));
}

#[test]
fn wrong_parameters_are_refused() {
    let refused = |model: Model, part: &str| {
        let error = model.import().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("DequantizeLinear_y"), "{error}");
    };
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        refused(parameters(DType::I8, f32s(&[], &[scale]), None, vec![]), "positive, normal");
    }
    refused(parameters(DType::I8, f32s(&[2], &[1.0, 1.0]), None, vec![]), "axis 1");
    let zero = integers(DType::U8, &[], &[1]);
    refused(parameters(DType::I8, f32s(&[], &[1.0]), Some(zero), vec![]), "zero point");
    let axis = vec![int("axis", 5)];
    refused(parameters(DType::I8, f32s(&[2], &[1.0, 1.0]), None, axis), "axis");
}

#[test]
fn an_integer_input_takes_the_type_of_its_dequantize() {
    let g = Model::new(13)
        .input("x", DType::U8, &["N", "2"])
        .constant("s", &f32s(&[], &[0.5]))
        .constant("z", &integers(DType::U8, &[], &[128]))
        .node("DequantizeLinear", "x s z", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert!(g.ty(g.inputs[0]).is_quantized());
    let x = Tensor::from_ints(g.ty(g.inputs[0]).with_shape(vec![1, 2]), &[128, 130]).unwrap();
    assert_eq!(run(&g, &[x])[0].f32s().unwrap()[..], [0.0, 1.0]);
    round_trip(&g);
}

#[test]
fn one_weight_under_two_scales_is_two_constants() {
    let g = Model::new(13)
        .constant("w", &integers(DType::I8, &[2], &[1, 2]))
        .constant("s", &f32s(&[], &[0.5]))
        .constant("t", &f32s(&[], &[2.0]))
        .node("DequantizeLinear", "w s", "a", vec![])
        .node("DequantizeLinear", "w t", "b", vec![])
        .node("Add", "a b", "y", vec![])
        .output("y")
        .import()
        .unwrap();
    assert_eq!(run(&g, &[])[0].f32s().unwrap()[..], [2.5, 5.0]);
}

#[test]
fn plain_integers_need_a_newer_opset_than_floats() {
    for (dtype, f, lowest) in [
        (DType::F32, Op::Binary(Binary::Add), 13),
        (DType::I32, Op::Binary(Binary::Add), 13),
        (DType::I8, Op::Binary(Binary::Add), 14),
        (DType::U16, Op::Binary(Binary::Mul), 14),
        (DType::U16, Op::Binary(Binary::Max), 13),
    ] {
        let mut g = Graph::new("net");
        let x = g.add_input("x", Type::plain(dtype, vec![4]));
        let y = add(&mut g, "y", f, &[x, x]);
        g.outputs.push(y);
        assert_eq!(opset(&round_trip(&g)), lowest, "{dtype}");
    }
    let mut g = Graph::new("net");
    let x = g.add_input("x", Type::plain(DType::I64, vec![4]));
    let y = add(&mut g, "y", Op::Relu, &[x]);
    g.outputs.push(y);
    assert_eq!(opset(&round_trip(&g)), 14);
}
