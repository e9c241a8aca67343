//! Models of operators on integers, as ONNX Runtime's quantizer writes them beside QDQ: each is read as Dequantize, the
//! float operator and Quantize, and gives the integers that its definition says.

mod common;

use common::*;
use lowbit_frontend::onnx::proto::AttributeProto;
use lowbit_ir::text::print;
use lowbit_ir::{DType, Graph, Tensor, verify};

/// A model of one operator of a domain on `x`, which is u8, and constants named after their place among the operands.
fn one(
    domain: &str,
    op: &str,
    x: &[usize],
    operands: &str,
    constants: &[(&str, Tensor)],
    a: Vec<AttributeProto>,
) -> Model {
    let dims: Vec<String> = x.iter().map(usize::to_string).collect();
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let mut model = Model::new(13).input("x", DType::U8, &dims).output("y").node(op, operands, "y", a);
    model.graph().node[0].domain = Some(domain.into());
    for (name, tensor) in constants {
        model = model.constant(name, tensor);
    }
    model
}

const MS: &str = "com.microsoft";

fn scale(s: f32) -> Tensor {
    f32s(&[], &[s])
}

fn zero(z: i64) -> Tensor {
    integers(DType::U8, &[], &[z])
}

fn imported(model: &Model) -> Graph {
    let g = model.import().unwrap();
    verify::verify(&g).unwrap();
    g
}

/// The integers that a model gives for `x`.
fn given(model: &Model, dims: &[usize], x: &[i64]) -> Vec<i64> {
    let g = imported(model);
    let x = integers(DType::U8, dims, x).with_quant(g.ty(g.inputs[0]).quant.clone());
    run(&g, &[x])[0].ints().unwrap()
}

fn operators(g: &Graph) -> String {
    g.nodes().map(|(_, n)| n.op.name()).collect::<Vec<_>>().join(" ")
}

/// The nearest integers to real numbers, ties to even, in the range of u8.
fn stored(reals: &[f64], scale: f64, zero: i64) -> Vec<i64> {
    reals.iter().map(|r| ((r / scale).round_ties_even() as i64 + zero).clamp(0, 255)).collect()
}

#[test]
fn a_convolution_with_a_bias() {
    let constants = [
        ("xs", scale(0.5)),
        ("xz", zero(3)),
        ("w", integers(DType::I8, &[2, 1, 1, 2], &[1, 2, -3, 4])),
        ("ws", f32s(&[2], &[0.25, 0.5])),
        ("wz", integers(DType::I8, &[2], &[0, 1])),
        ("ys", scale(0.75)),
        ("yz", zero(100)),
        ("b", integers(DType::I32, &[2], &[10, -20])),
    ];
    for domain in ["", MS] {
        let model = one(domain, "QLinearConv", &[1, 1, 1, 3], "x xs xz w ws wz ys yz b", &constants, vec![]);
        let g = imported(&model);
        assert_eq!(operators(&g), "Dequantize Dequantize Dequantize Conv Quantize");
        let x = [7i64, 0, 255];
        let real = |w: [f64; 2], z: f64, ws: f64, b: f64| {
            let at = |i: usize| (x[i] - 3) as f64;
            (0..2).map(|i| 0.5 * ws * ((w[0] - z) * at(i) + (w[1] - z) * at(i + 1) + b)).collect::<Vec<f64>>()
        };
        let expected = [real([1.0, 2.0], 0.0, 0.25, 10.0), real([-3.0, 4.0], 1.0, 0.5, -20.0)].concat();
        assert_eq!(given(&model, &[1, 1, 1, 3], &x), stored(&expected, 0.75, 100));
    }
}

#[test]
fn products_of_matrices() {
    let constants = [
        ("xs", scale(0.5)),
        ("xz", zero(1)),
        ("w", integers(DType::I8, &[2, 2], &[1, -2, 3, 4])),
        ("ws", f32s(&[2], &[0.25, 0.5])),
        ("wz", integers(DType::I8, &[2], &[0, 0])),
        ("b", integers(DType::I32, &[2], &[8, -8])),
        ("ys", scale(0.125)),
        ("yz", zero(128)),
    ];
    let x = [3i64, 5];
    let columns = [0.5 * 0.25 * (2.0 + 4.0 * 3.0), 0.5 * 0.5 * (-2.0 * 2.0 + 4.0 * 4.0)];
    let model = one("", "QLinearMatMul", &[1, 2], "x xs xz w ws wz ys yz", &constants, vec![]);
    let used = |m: &Model| operators(&imported(m));
    assert_eq!(used(&model), "Dequantize Dequantize MatMul Quantize");
    assert_eq!(given(&model, &[1, 2], &x), stored(&columns, 0.125, 128));
    let turned = vec![int("transB", 1)];
    let model = one(MS, "QGemm", &[1, 2], "x xs xz w ws wz b ys yz", &constants, turned.clone());
    let rows = [0.5 * 0.25 * (2.0 - 2.0 * 4.0 + 8.0), 0.5 * 0.5 * (3.0 * 2.0 + 4.0 * 4.0 - 8.0)];
    assert_eq!(given(&model, &[1, 2], &x), stored(&rows, 0.125, 128));
    // Without a scale of the result it is a float.
    let model = one(MS, "QGemm", &[1, 2], "x xs xz w ws wz b", &constants, turned);
    let g = imported(&model);
    let x = integers(DType::U8, &[1, 2], &x).with_quant(g.ty(g.inputs[0]).quant.clone());
    near(run(&g, &[x])[0].f32s().unwrap().as_ref(), &rows.map(|r| r as f32));
}

#[test]
fn sums_products_and_choices() {
    let constants = [
        ("xs", scale(0.5)),
        ("xz", zero(10)),
        ("b", integers(DType::U8, &[3], &[1, 20, 255])),
        ("bs", scale(0.25)),
        ("bz", zero(5)),
        ("ys", scale(0.3)),
        ("yz", zero(7)),
        ("c", Tensor::from_ints(lowbit_ir::Type::plain(DType::Bool, vec![3]), &[1, 0, 1]).unwrap()),
    ];
    let x = [0i64, 17, 200];
    let reals = |i: usize| (0.5 * (x[i] - 10) as f64, 0.25 * ([1i64, 20, 255][i] - 5) as f64);
    let each = |f: fn(f64, f64) -> f64| (0..3).map(|i| f(reals(i).0, reals(i).1)).collect::<Vec<f64>>();
    for (op, expected) in [("QLinearAdd", each(|a, b| a + b)), ("QLinearMul", each(|a, b| a * b))] {
        let model = one(MS, op, &[3], "x xs xz b bs bz ys yz", &constants, vec![]);
        assert_eq!(given(&model, &[3], &x), stored(&expected, 0.3, 7), "{op}");
    }
    // Zero points that are left out are 0.
    let model = one(MS, "QLinearAdd", &[3], "x xs _ b bs _ ys", &constants, vec![]);
    let expected: Vec<f64> = (0..3).map(|i| 0.5 * x[i] as f64 + 0.25 * [1.0, 20.0, 255.0][i]).collect();
    assert_eq!(given(&model, &[3], &x), stored(&expected, 0.3, 0));
    let model = one(MS, "QLinearWhere", &[3], "c x xs xz b bs bz ys yz", &constants, vec![]);
    let expected = [reals(0).0, reals(1).1, reals(2).0];
    assert_eq!(given(&model, &[3], &x), stored(&expected, 0.3, 7));
    let model = one(MS, "QLinearConcat", &[3], "ys yz x xs xz b bs bz", &constants, vec![int("axis", 0)]);
    let expected: Vec<f64> = (0..3).map(|i| reals(i).0).chain((0..3).map(|i| reals(i).1)).collect();
    assert_eq!(given(&model, &[3], &x), stored(&expected, 0.3, 7));
}

#[test]
fn functions_and_averages() {
    let constants = [("xs", scale(0.05)), ("xz", zero(100)), ("ys", scale(0.02)), ("yz", zero(128))];
    let x = [90i64, 110, 101, 99];
    let dims = [1, 2, 1, 2];
    let r: Vec<f64> = x.iter().map(|q| 0.05 * (q - 100) as f64).collect();
    let sigmoid = r.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let leaky = r.iter().map(|x| if *x < 0.0 { 0.25 * x } else { *x }).collect();
    let mean = vec![(r[0] + r[1]) / 2.0, (r[2] + r[3]) / 2.0];
    let soft = |a: f64, b: f64| [a.exp() / (a.exp() + b.exp()), b.exp() / (a.exp() + b.exp())];
    let softmax = [soft(r[0], r[1]), soft(r[2], r[3])].concat();
    let first = int("channels_last", 0);
    let cases: Vec<(&str, Vec<AttributeProto>, Vec<f64>, &str)> = vec![
        ("QLinearSigmoid", vec![], sigmoid, "Sigmoid"),
        ("QLinearLeakyRelu", vec![float("alpha", 0.25)], leaky, "LeakyRelu"),
        ("QLinearGlobalAveragePool", vec![first.clone()], mean.clone(), "GlobalAvgPool"),
        ("QLinearAveragePool", vec![ints("kernel_shape", &[1, 2]), first], mean.clone(), "AvgPool"),
        ("QLinearReduceMean", vec![ints("axes", &[2, 3]), int("keepdims", 0)], mean, "ReduceMean"),
        ("QLinearSoftmax", vec![int("axis", -1), int("opset", 13)], softmax.clone(), "Softmax"),
        ("QLinearSoftmax", vec![int("axis", 3), int("opset", 12)], softmax, "Softmax"),
    ];
    for (op, attributes, expected, name) in cases {
        let model = one(MS, op, &dims, "x xs xz ys yz", &constants, attributes);
        assert_eq!(operators(&imported(&model)), format!("Dequantize {name} Quantize"), "{op}");
        assert_eq!(given(&model, &dims, &x), stored(&expected, 0.02, 128), "{op}");
    }
}

/// Plain operators between keep what the integers stand for, and integers keep the file's names.
#[test]
fn plain_operators_between_keep_the_integers() {
    let model = Model::new(13)
        .input("x", DType::U8, &["1", "1", "2", "2"])
        .constant("s", &scale(0.5))
        .constant("z", &zero(3))
        .constant("t", &scale(0.25))
        .node("MaxPool", "x", "m", vec![ints("kernel_shape", &[1, 2])])
        .node("QLinearSigmoid", "m s z t z", "a", vec![])
        .node("MaxPool", "a", "p", vec![ints("kernel_shape", &[2, 1])])
        .node("Flatten", "p", "f", vec![])
        .node("DequantizeLinear", "f t z", "y", vec![])
        .output("y");
    let mut model = model;
    model.graph().node[1].domain = Some(MS.into());
    let g = imported(&model);
    let text = print(&g);
    // What the model is given means reals too, through the pool before the first operator that says so.
    assert!(text.contains("input %x: u8[1x1x2x2]{0.5 * (q - 3)}"), "{text}");
    assert!(text.contains("%m: u8[1x1x2x1]{0.5 * (q - 3)}") && text.contains("%a: f32[1x1x2x1] = Sigmoid"), "{text}");
    assert!(text.contains("%f: u8[1x1]{0.25 * (q - 3)}"), "{text}");
}

#[test]
fn sums_of_integers_without_scales() {
    let constants = [
        ("w", integers(DType::I8, &[2, 2], &[1, -2, 3, 4])),
        ("xz", zero(10)),
        ("wz", integers(DType::I8, &[2], &[1, 0])),
        ("k", integers(DType::I8, &[1, 1, 2], &[5, -7])),
        ("kz", integers(DType::I8, &[], &[1])),
    ];
    let model = one("", "MatMulInteger", &[1, 2], "x w xz wz", &constants, vec![]);
    assert_eq!(operators(&imported(&model)), "MatMul");
    assert_eq!(given(&model, &[1, 2], &[11, 7]), [2 * -3, -2 + 4 * -3]);
    let model = one("", "MatMulInteger", &[1, 2], "x w", &constants, vec![]);
    assert_eq!(given(&model, &[1, 2], &[11, 7]), [11 + 3 * 7, -2 * 11 + 4 * 7]);
    let model = one("", "ConvInteger", &[1, 1, 3], "x k xz kz", &constants, vec![]);
    assert_eq!(given(&model, &[1, 1, 3], &[11, 7, 0]), [4 + 8 * 3, -3 * 4 + 8 * 10]);
    // Behind a QuantizeLinear the sums have its scale; converting them to floats counts them all the same.
    let model = Model::new(13)
        .input("x", DType::F32, &["1", "2"])
        .constant("s", &scale(0.3))
        .constant("xz", &zero(10))
        .constant("w", &constants[0].1)
        .constant("factor", &scale(0.5))
        .node("QuantizeLinear", "x s xz", "q", vec![])
        .node("MatMulInteger", "q w xz", "sums", vec![])
        .node("Cast", "sums", "floats", vec![int("to", 1)])
        .node("Mul", "floats factor", "y", vec![])
        .output("y");
    let y = run(&imported(&model), &[f32s(&[1, 2], &[0.9, -1.5])]);
    near(y[0].f32s().unwrap().as_ref(), &[0.5 * (3.0 - 15.0), 0.5 * (-6.0 - 20.0)]);
}

/// What is refused, and in which words.
#[test]
fn refusals_name_the_node_and_the_reason() {
    let constants = [
        ("s", scale(0.5)),
        ("two", f32s(&[2], &[0.5, 0.25])),
        ("bad", scale(-1.0)),
        ("nan", scale(f32::NAN)),
        ("z", zero(3)),
        ("zi", integers(DType::I8, &[], &[3])),
        ("w", integers(DType::I8, &[1, 1, 1, 1], &[1])),
        ("wf", f32s(&[1, 1, 1, 1], &[1.0])),
        ("b", integers(DType::I32, &[3], &[1, 2, 3])),
        ("bf", f32s(&[1], &[1.0])),
        ("m", integers(DType::I8, &[4], &[1, 2, 3, 4])),
        ("n", integers(DType::I8, &[2, 2], &[1, 2, 3, 4])),
    ];
    let dims = [1, 1, 2, 2];
    let cases: Vec<(&str, &str, &str, Vec<AttributeProto>, &str)> = vec![
        ("", "QLinearConv", "x s z w s zi s z b", vec![], "expected a bias"),
        ("", "QLinearConv", "x s z w s zi s z bf", vec![], "bias of i32"),
        ("", "QLinearConv", "x s z wf s zi s z", vec![], "stand for reals, found f32"),
        ("", "QLinearConv", "x s z w s zi", vec![], "expected a scale, found none"),
        ("", "QLinearConv", "x bad z w s zi s z", vec![], "positive, normal scales, found -1.0"),
        ("", "QLinearConv", "x nan z w s zi s z", vec![], "positive, normal scales"),
        ("", "QLinearConv", "x s zi w s zi s z", vec![], "zero point of the integers' type, u8, found i8"),
        ("", "QLinearConv", "x two z w s zi s z", vec![], "expected one scale, found 2"),
        ("", "QLinearConv", "x s z w two zi s z", vec![], "one for each of axis 0"),
        ("", "QLinearConv", "x s z w s zi s z", vec![int("group", -4)], "positive group"),
        ("", "QLinearConv", "x s z w s zi s z", vec![int("group", i64::MAX)], "groups"),
        ("", "QLinearConv", "x s z w s zi s z", vec![ints("strides", &[0, 1])], "positive window sizes"),
        ("", "QLinearConv", "x s z m s zi s z", vec![], "expected an input of"),
        ("", "QLinearConv", "", vec![], "operand 0 is missing"),
        (MS, "QLinearConv", "x s z w s zi s z", vec![int("channels_last", 1)], "'channels_last' 1"),
        (MS, "QLinearGlobalAveragePool", "x s z s z", vec![int("channels_last", 1)], "'channels_last' 1"),
        (MS, "QLinearAveragePool", "x s z s z", vec![], "'kernel_shape'"),
        (MS, "QLinearAdd", "x s z", vec![], "operand 3 is missing"),
        (MS, "QLinearConcat", "s z", vec![int("axis", 0)], "operands to join"),
        (MS, "QLinearConcat", "s z x s z", vec![int("axis", 9)], "axis"),
        (MS, "QLinearConcat", "s z x s z", vec![], "'axis'"),
        (MS, "QLinearSoftmax", "x s z s z", vec![int("opset", 11)], "over several axes"),
        (MS, "QLinearSoftmax", "x s z s z", vec![int("axis", i64::MIN)], "axis"),
        (MS, "QLinearReduceMean", "x s z s z", vec![ints("axes", &[i64::MAX])], "axis"),
        (MS, "QGemm", "x s z w s zi b s z", vec![], "two dimensions"),
        (MS, "QGemm", "x s z w s zi b s z", vec![float("alpha", f32::INFINITY)], "'alpha' inf"),
        ("", "QLinearMatMul", "x s z n s zi s z b", vec![], "at most 8 operands"),
        ("", "MatMulInteger", "x wf", vec![], "stand for reals, found f32"),
        ("", "ConvInteger", "x m", vec![], "expected an input of"),
        ("", "DynamicQuantizeLinear", "x", vec![], "expected floats to quantize, found u8"),
        (MS, "DynamicQuantizeMatMul", "x w s", vec![], "expected floats to quantize, found u8"),
        (MS, "MatMulIntegerToFloat", "x wf s s", vec![], "stand for reals, found f32"),
        (MS, "MatMulNBits", "x w s", vec![], "a positive 'N'"),
        (MS, "QLinearSpecial", "x", vec![], "the operator is not supported"),
    ];
    for (domain, op, operands, attributes, why) in cases {
        let used: Vec<(&str, Tensor)> =
            constants.iter().filter(|(n, _)| operands.split(' ').any(|o| o == *n)).cloned().collect();
        let model = one(domain, op, &dims, operands, &used, attributes);
        let error = model.import().unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(op), "{op} {operands}: {error}");
    }
}

/// Where padding counts, ONNX Runtime's average of integers divides by all of a window, also beyond the padding.
#[test]
fn an_average_of_partial_windows_divides_by_whole_ones() {
    let of = |pads: &[i64]| {
        let window = vec![
            ints("kernel_shape", &[3, 3]),
            ints("strides", &[2, 2]),
            ints("pads", pads),
            int("ceil_mode", 1),
            int("count_include_pad", 1),
        ];
        let constants = [("s", scale(1.0)), ("z", zero(0))];
        let model = one(MS, "QLinearAveragePool", &[1, 1, 6, 6], "x s z s z", &constants, window);
        given(&model, &[1, 1, 6, 6], &[180; 36])
    };
    assert_eq!(of(&[0, 0, 0, 0]), [180, 180, 120, 180, 180, 120, 120, 120, 80]);
    assert_eq!(of(&[1, 1, 1, 1]), [80, 120, 120, 40, 120, 180, 180, 60, 120, 180, 180, 60, 40, 60, 60, 20]);
}

/// Between a QuantizeLinear of scale 0.5 and zero point `zero`, and its DequantizeLinear.
fn between(op: &str, operands: &str, constants: &[(&str, Tensor)], dtype: DType, z: i64) -> Model {
    let mut model = Model::new(21).input("x", DType::F32, &["1", "3"]).output("y");
    for (name, tensor) in [("s", scale(0.5)), ("z", integers(dtype, &[], &[z]))].iter().chain(constants) {
        model = model.constant(name, tensor);
    }
    let model = model.node("QuantizeLinear", "x s z", "q", vec![]).node(op, operands, "r", vec![]);
    model.node("DequantizeLinear", "r s z", "y", vec![])
}

/// Operators that know no quantization mean integers, whatever these stand for.
#[test]
fn integers_are_padded_and_limited_as_integers() {
    let x = f32s(&[1, 3], &[-1.0, 0.5, 2.0]);
    let reals = |model: &Model| run(&imported(model), std::slice::from_ref(&x))[0].f32s().unwrap().into_owned();
    let pads = ("p", i64s(&[0, 1, 0, 0]));
    for (dtype, z) in [(DType::U8, 100), (DType::I8, -10), (DType::I8, 0)] {
        // What a pad says is the integer, and 0 where it says nothing.
        let stands_for = |q: i64| (q - z) as f32 * 0.5;
        let given = between("Pad", "q p v", &[pads.clone(), ("v", integers(dtype, &[], &[110]))], dtype, z);
        assert_eq!(reals(&given), [stands_for(110), -1.0, 0.5, 2.0], "{dtype} {z}");
        let none = between("Pad", "q p", std::slice::from_ref(&pads), dtype, z);
        assert_eq!(reals(&none), [stands_for(0), -1.0, 0.5, 2.0], "{dtype} {z}");
    }
    for z in [-10, -1, 0, 3] {
        let expected: Vec<f32> = [-2, 1, 4].map(|q: i64| ((q + z).max(0) - z) as f32 * 0.5).into();
        assert_eq!(reals(&between("Relu", "q", &[], DType::I8, z)), expected, "{z}");
        let bounds = [("lo", integers(DType::I8, &[], &[-9])), ("hi", integers(DType::I8, &[], &[5]))];
        let expected: Vec<f32> = [-2, 1, 4].map(|q: i64| ((q + z).clamp(-9, 5) - z) as f32 * 0.5).into();
        assert_eq!(reals(&between("Clip", "q lo hi", &bounds, DType::I8, z)), expected, "{z}");
    }
}

/// Only a constant is padded with a number, so others need no scale for one.
#[test]
fn an_edge_is_repeated_whatever_its_scales() {
    let parameters = [("s", f32s(&[2], &[0.5, 0.25])), ("z", integers(DType::U8, &[2], &[3, 7]))];
    let mut model = Model::new(21).input("x", DType::F32, &["1", "2", "2"]).output("y");
    model = parameters.iter().fold(model, |m, (name, t)| m.constant(name, t));
    let axis = || vec![int("axis", 1)];
    let model = model
        .constant("p", &i64s(&[0, 0, 0, 0, 0, 1]))
        .node("QuantizeLinear", "x s z", "q", axis())
        .node("Pad", "q p", "m", vec![text("mode", "edge")])
        .node("DequantizeLinear", "m s z", "y", axis());
    let found = run(&imported(&model), &[f32s(&[1, 2, 2], &[1.0, 2.0, 0.25, 0.5])]);
    assert_eq!(*found[0].f32s().unwrap(), [1.0, 2.0, 2.0, 0.25, 0.5, 0.5]);
}

/// Quantizers write the number to pad with as an integer that is dequantized.
#[test]
fn a_dequantized_constant_is_a_constant() {
    let model = Model::new(21).input("x", DType::F32, &["1", "3"]).output("y").constant("p", &i64s(&[0, 1, 0, 0]));
    let model = model.constant("s", &scale(0.5)).constant("z", &zero(3)).constant("v", &zero(9));
    let model = model.node("DequantizeLinear", "v s z", "real", vec![]).node("Pad", "x p real", "y", vec![]);
    let found = run(&imported(&model), &[f32s(&[1, 3], &[-1.0, 0.5, 2.0])]);
    assert_eq!(*found[0].f32s().unwrap(), [3.0, -1.0, 0.5, 2.0]);
    let computed = Model::new(21).input("x", DType::F32, &["1", "3"]).output("y").constant("p", &i64s(&[0, 1, 0, 0]));
    let computed = computed.input("v", DType::F32, &[]).node("Pad", "x p v", "y", vec![]);
    let error = computed.import().unwrap_err().to_string();
    assert!(error.contains("expected a constant pad value, found one that is computed"), "{error}");
}
