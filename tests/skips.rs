//! What is to stay float computes on floats, whichever operator it is: in the integer program, and in that of the file.

use lowbit::data::Dataset;
use lowbit::ir::{Graph, text};
use lowbit::left::left_float;
use lowbit::quantization::Decision;
use lowbit::{Config, Model, Quantize, Quantized, Rules};
use std::path::Path;

/// An operator, the lines that compute %t from the narrow values %a and %b, and the channels of %t.
const OPERATORS: &[(&str, &str, usize)] = &[
    ("Relu", "%t = Relu(%a)", 4),
    ("Relu", "%c = Conv(%a, %v)\n  %t = Relu(%c)", 4),
    ("Relu", "%c = Add(%a, %b)\n  %t = Relu(%c)", 4),
    ("Clip", "%t = Clip(%a) {min -0.5, max 0.5}", 4),
    ("Clip", "%c = Conv(%a, %v)\n  %t = Clip(%c) {min 0, max 6}", 4),
    ("Add", "%t = Add(%a, %b)", 4),
    ("Mul", "%t = Mul(%a, %b)", 4),
    ("LeakyRelu", "%t = LeakyRelu(%a) {alpha 0.1}", 4),
    ("HardSwish", "%t = HardSwish(%a)", 4),
    ("Sigmoid", "%t = Sigmoid(%a)", 4),
    ("Abs", "%t = Abs(%a)", 4),
    ("AvgPool", "%t = AvgPool(%a) {kernel [2, 2], strides [2, 2]}", 4),
    ("GlobalAvgPool", "%t = GlobalAvgPool(%a)", 4),
    ("MaxPool", "%t = MaxPool(%a) {kernel [2, 2], strides [2, 2]}", 4),
    ("ReduceMax", "%t = ReduceMax(%a) {axes [2, 3], keep_dims}", 4),
    ("ReduceMin", "%t = ReduceMin(%a) {axes [3], keep_dims}", 4),
    ("Concat", "%t = Concat(%a, %b) {axis 1}", 8),
    ("Split", "%t, %u = Split(%a) {axis 1, sizes [2, 2]}", 2),
    ("Slice", "%t = Slice(%a) {axes [1], starts [1], ends [3], steps [1]}", 2),
    ("Pad", "%f = Pad(%a) {begins [0, 0, 1, 1], ends [0, 0, 0, 0], mode constant, value 0}\n  %t = Relu(%f)", 4),
    ("Reshape", "%t = Reshape(%a) {dims [1, 8, 4, 8]}", 8),
    ("Flatten", "%f = Flatten(%a)\n  %g = Relu(%f)\n  %t = Reshape(%g) {dims [1, 4, 8, 8]}", 4),
    ("Unsqueeze", "%f = Unsqueeze(%a) {axes [4]}\n  %g = Relu(%f)\n  %t = Reshape(%g) {dims [1, 4, 8, 8]}", 4),
    ("Squeeze", "%f = Squeeze(%a) {axes [0]}\n  %g = Relu(%f)\n  %t = Reshape(%g) {dims [1, 4, 8, 8]}", 4),
    ("Transpose", "%t = Transpose(%a) {perm [0, 1, 3, 2]}", 4),
    ("Gather", "%t = Gather(%a, %picks) {axis 1}", 2),
    ("Expand", "%f = GlobalAvgPool(%a)\n  %t = Expand(%f) {dims [1, 4, 2, 2]}", 4),
    ("Resize", "%t = Resize(%a) {scales [1, 1, 2, 2], mode nearest, nearest floor, coordinates asymmetric}", 4),
    ("Conv", "%t = Conv(%a, %v)", 4),
    ("MatMul", "%t = MatMul(%a, %m)", 4),
];

fn network(lines: &str, channels: usize) -> Graph {
    let weights = |n: usize| {
        (0..n).map(|i| format!("{}", ((i * 37 + 11) % 64) as f32 / 64.0 - 0.45)).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        r#"
graph "skips" {{
  input %x: f32[1x3x8x8]
  const %first: f32[4x3x1x1] = [{}]
  const %second: f32[4x4x1x1] = [{}]
  const %v: f32[4x4x1x1] = [{}]
  const %m: f32[8x8] = [{}]
  const %last: f32[5x{channels}x1x1] = [{}]
  const %picks: i64[2] = [2, 0]
  %a: f32[1x4x8x8] = Conv(%x, %first)
  %b: f32[1x4x8x8] = Conv(%a, %second)
  %z: f32[1x4x8x8] = Conv(%b, %second)
  {lines}
  %y = Conv(%t, %last)
  output %y
  output %z
}}
"#,
        weights(12),
        weights(16),
        weights(16),
        weights(64),
        weights(5 * channels),
    );
    text::parse(&text).unwrap_or_else(|e| panic!("{lines}: {e}"))
}

/// The node that makes %t or is named otherwise, by its operator: the last of them that makes it.
fn subject(g: &Graph, op: &str) -> String {
    let of_the_lines = |name: &str| !matches!(name, "a" | "b" | "z" | "y");
    g.nodes().find(|(_, n)| n.op.name() == op && of_the_lines(&n.name)).map(|(_, n)| n.name.clone()).unwrap()
}

/// Checks that a node computes on floats and is listed with its reason: in the program, and in that of the file.
/// `test` names its file: two tests run at once.
fn stays_float(test: &str, q: &Quantized, name: &str, reason: &str, what: &str) {
    let listed = q.report.left_float.iter().find(|l| l.node == name);
    assert!(listed.is_some_and(|l| l.reason == reason), "{what}: {:?}", q.report.left_float);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skips-{test}.onnx"));
    q.model.save(&file).unwrap();
    let loaded = Model::load(&file).unwrap();
    let again = |model: &Model| {
        let (graph, left) = model.lowered().unwrap();
        (graph.clone(), left_float(&graph, &left))
    };
    for (graph, left) in [(q.integer.clone(), None), (again(&loaded).0, Some(again(&loaded).1))] {
        let found: Vec<_> = graph.nodes().filter(|(_, n)| n.name == name).collect();
        assert_eq!(found.len(), 1, "{what}");
        let node = found[0].1;
        let data = node.operands().chain(node.outputs.iter().copied()).filter(|v| graph.constant(*v).is_none());
        let floats: Vec<bool> = data.map(|v| graph.ty(v).dtype.is_float()).collect();
        assert!(floats.len() >= 2 && floats.iter().all(|f| *f), "{what}: {}", text::print(&graph));
        if let Some(left) = left {
            let listed = left.iter().find(|l| l.node == name);
            assert!(listed.is_some_and(|l| l.reason == reason), "{what}, loaded: {left:?}");
        }
    }
}

#[test]
fn a_skipped_operator_computes_on_floats_and_is_listed() {
    for (op, lines, channels) in OPERATORS {
        let g = network(lines, *channels);
        let node = subject(&g, op);
        let model = Model::from(g);
        let noise = Dataset::open("random", &model.inputs(), None).unwrap();
        let config = |text: &str| Config { samples: 4, ..Config::from_toml(text).unwrap() };
        let quantized = |text: &str| model.quantize(Quantize::default().data(&noise).config(config(text)));
        // As it is, it is integers.
        let usual = quantized("").unwrap();
        assert!(usual.report.left_float.iter().all(|l| l.node != node), "{op}: {:?}", usual.report.left_float);
        for (key, whole) in
            [(format!("layer.\"{node}\""), false), (format!("op.{op}"), matches!(*op, "Conv" | "Reshape"))]
        {
            if whole {
                continue;
            }
            let text = format!("[{key}]\nskip = true");
            stays_float(
                "skipped",
                &quantized(&text).unwrap(),
                &node,
                &format!("{key}.skip = true"),
                &format!("{lines}, {key}"),
            );
            let error = quantized(&format!("integer_only = true\n{text}")).unwrap_err().to_string();
            assert!(error.contains(&format!("{op} '{node}': {key}.skip = true")), "{lines}: {error}");
        }
    }
}

#[test]
fn what_a_rule_of_the_users_leaves_float_computes_on_floats_and_is_listed() {
    for (op, lines, channels) in OPERATORS {
        let g = network(lines, *channels);
        let node = subject(&g, op);
        let model = Model::from(g);
        let noise = Dataset::open("random", &model.inputs(), None).unwrap();
        let own = node.clone();
        // Also where the rule made its operand narrow.
        let rules = Rules::standard().override_op(op, move |call, cx| {
            let x = cx.simulate_input(call.data()?)?;
            let kept = cx.keep(call, [x])?;
            Ok(if call.name == own { Decision::Float("I want it so".into()) } else { kept })
        });
        let config = Config { samples: 4, ..Config::default() };
        let quantized = model.quantize(Quantize::default().data(&noise).config(config.clone()).rules(rules.clone()));
        stays_float("rule", &quantized.unwrap(), &node, "I want it so", lines);
        let config = Config { integer_only: true, ..config };
        let error = model.quantize(Quantize::default().data(&noise).config(config).rules(rules)).unwrap_err();
        assert!(error.to_string().contains(&format!("{op} '{node}': I want it so")), "{lines}: {error}");
    }
}
