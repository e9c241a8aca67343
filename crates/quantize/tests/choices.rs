//! What the configuration can choose, over the interpreter: scopes, switches, wide values, observers.

mod common;

use common::{Random, graph, only_integers, ops, outputs, run_pipeline};
use lowbit_arithmetic::{Rounding, quantize};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{DType, Graph, Op, Tensor};
use lowbit_quantize::analysis::measure;
use lowbit_quantize::{Config, Options, Quantized};

const RESIDUAL: &str = r#"
graph "residual" {
  input %x: f32[1x3x8x8]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[4x4x1x1] = random
  const %w4: f32[10x4] = random
  const %b4: f32[10] = random
  %c1: f32[1x4x8x8] = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1: f32[1x4x8x8] = Relu(%c1)
  %c2: f32[1x4x8x8] = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %a: f32[1x4x8x8] = Add(%c2, %r1)
  %r2: f32[1x4x8x8] = Relu(%a)
  %c3: f32[1x4x8x8] = Conv(%r2, %w3)
  %p: f32[1x4x1x1] = GlobalAvgPool(%c3)
  %f: f32[1x4] = Flatten(%p)
  %y: f32[1x10] = MatMul(%f, %w4, %b4) {trans_b}
  output %y
}
"#;

fn quantized(text: &str) -> (Graph, Vec<Vec<lowbit_ir::Tensor>>, Quantized) {
    let g = graph(RESIDUAL);
    let samples = Random(1).samples(&g, 6);
    let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    let q = run_pipeline(&g, &options, &samples).unwrap_or_else(|e| panic!("{text}: {e}"));
    (g, samples, q)
}

/// The greatest difference of two graphs' results, as a share of the greatest result.
fn distance(a: &Graph, b: &Graph, samples: &[Vec<lowbit_ir::Tensor>]) -> f32 {
    let (mut worst, mut largest) = (0.0f32, 0.0f32);
    for sample in samples {
        for (x, y) in outputs(a, sample)[0].iter().zip(&outputs(b, sample)[0]) {
            worst = worst.max((x - y).abs());
            largest = largest.max(x.abs());
        }
    }
    worst / largest
}

fn refused(text: &str) -> String {
    let g = graph(RESIDUAL);
    let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    run_pipeline(&g, &options, &Random(1).samples(&g, 2)).unwrap_err().to_string()
}

/// Every layer is within one step of its simulation, from the inputs that the simulation has.
fn within_a_step(q: &Quantized, samples: &Vec<Vec<Tensor>>, text: &str) {
    let found = measure(&q.qdq, &q.integer, &Interpreter::default(), samples, 0, true).unwrap();
    let steps: Vec<(&str, u64)> =
        found.isolated.iter().filter_map(|e| Some((e.value.as_str(), e.max_steps?))).collect();
    assert!(steps.len() >= 3 && steps.iter().all(|(_, steps)| *steps <= 1), "{text}: {steps:?}");
}

/// Signal to noise of the results, in decibels.
fn sqnr(a: &Graph, b: &Graph, samples: &Vec<Vec<Tensor>>) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    for sample in samples {
        for (x, y) in outputs(a, sample)[0].iter().zip(&outputs(b, sample)[0]) {
            signal += f64::from(*x).powi(2);
            noise += f64::from(x - y).powi(2);
        }
    }
    10.0 * (signal / noise).log10()
}

#[test]
fn every_width_and_method_is_a_step_from_its_simulation_and_as_far_from_float_as_its_bits_say() {
    // Decibels from the float network: six for every bit of the coarsest operand; a bit less where scales are powers of
    // two, and where an observer cuts off what it saw.
    for (text, decibels) in [
        ("", 48.0),
        ("input.bits = 16\nweight.bits = 16\naccumulator_bits = 64", 96.0),
        ("input.bits = 12\nweight.bits = 10", 60.0),
        ("input.bits = 16", 48.0),
        ("input.bits = 6\nweight.bits = 6", 36.0),
        ("input.bits = 4\nweight.bits = 4", 24.0),
        ("input.bits = 3\nweight.bits = 5", 18.0),
        ("activation.bits = 16", 48.0),
        ("activation.bits = 10", 48.0),
        ("activation.bits = 24", 48.0),
        ("activation.bits = 31\nrequantize = 'fixed'", 48.0),
        ("weight.signed = false\nweight.symmetric = false\nweight.per = 'tensor'", 48.0),
        ("input.signed = true", 48.0),
        ("requantize = 'fixed'\ninput.narrow = true\ninput.signed = true", 48.0),
        ("store_lowbit = false", 48.0),
        ("store_lowbit = false\nrequantize = 'fixed'", 48.0),
        (
            "store_lowbit = false\nrequantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
            42.0,
        ),
        ("input.observer = 'entropy'", 42.0),
        ("input.observer = 'moving_average'", 24.0),
        ("input.observer = 'percentile(99.9)'", 42.0),
        ("weight.observer = 'power2'\nweight.per = 'tensor'", 42.0),
        ("weight.observer = 'mse'\nweight.bits = 4", 24.0),
    ] {
        let (g, samples, q) = quantized(text);
        assert!(only_integers(&q.integer), "{text}: {:?}", q.report.left_float);
        within_a_step(&q, &samples, text);
        let found = sqnr(&g, &q.integer, &samples);
        assert!(found > decibels, "{text}: {found} dB from float");
    }
}

#[test]
fn scales_by_channel_and_by_block_are_simulated_and_integers_where_sums_allow() {
    for (text, layers) in [
        // Only the first three sum over channels of different scales; the last layer has one scale for all it sums.
        ("input.per = 'channel'", 0),
        ("[layer.c2]\ninput.per = 'channel'", 3),
        ("weight.per = 'block(2)'", 0),
        ("[layer.c3]\nweight.per = 'block(2)'\nweight.bits = 4", 3),
    ] {
        let (g, samples, q) = quantized(text);
        let found = q.report.layers.iter().filter(|l| l.integer).count();
        assert_eq!(found, layers, "{text}: {:?}", q.report.left_float);
        let float = distance(&g, &q.integer, &samples);
        assert!(float < 0.1, "{text}: {float}");
        assert!(distance(&q.qdq, &q.integer, &samples) < 0.03, "{text}");
    }
}

#[test]
fn wide_values_stay_wide_until_a_layer_reads_them() {
    let (_, _, q) = quantized("store_lowbit = false");
    // The sum joins two accumulators that were brought to one scale each; nothing in front of it is narrow.
    let sum = q.integer.nodes().find(|(_, n)| matches!(n.op, Op::QAdd(_))).map(|(_, n)| n.clone()).unwrap();
    let operands: Vec<usize> = sum.operands().map(|v| q.integer.ty(v).dtype.bits()).collect();
    assert_eq!((operands, q.integer.ty(sum.outputs[0]).dtype.bits()), (vec![32, 32], 32));
    let narrow = |g: &Graph| g.nodes().filter(|(_, n)| matches!(n.op, Op::Quantize { .. })).count();
    let (_, _, usual) = quantized("");
    assert!(narrow(&q.qdq) < narrow(&usual.qdq), "{} {}", narrow(&q.qdq), narrow(&usual.qdq));
}

#[test]
fn the_more_specific_choice_wins_and_is_told() {
    let text = r#"
[op.Conv]
weight.bits = 6
input.observer = "minmax"
[layer."c*"]
weight.bits = 5
[layer.c2]
weight.bits = 4
"#;
    let (_, _, q) = quantized(text);
    let integers = |name: &str| {
        let v = q.report.values.iter().find(|v| v.value == name).unwrap();
        (v.integers.1, v.rule.clone())
    };
    assert_eq!(integers("w1"), (15, "conv, op.Conv, layer.\"c*\"".into()));
    assert_eq!(integers("w2"), (7, "conv, op.Conv, layer.\"c*\", layer.\"c2\"".into()));
    assert_eq!(integers("w4"), (127, "matmul".into()));
    let x = q.report.values.iter().find(|v| v.value == "x").unwrap();
    assert_eq!((x.observer.as_str(), x.rule.as_str()), ("minmax", "conv, op.Conv"));
}

#[test]
fn what_is_skipped_stays_float_and_says_why() {
    for (text, left) in [
        ("skip_k_conv = 1", vec![("c1", "skip_k_conv = 1")]),
        ("skip_k_conv = 2", vec![("c1", "skip_k_conv = 2"), ("c2", "skip_k_conv = 2")]),
        ("skip_dense = true", vec![("y", "skip_dense = true")]),
        ("[layer.c2]\nskip = true", vec![("c2", "layer.\"c2\".skip = true")]),
        ("skip_k_conv = 1\n[layer.c1]\nskip = false", vec![]),
        (
            "[op.Conv]\nskip = true\n[layer.c3]\nskip = false",
            vec![("c1", "op.Conv.skip = true"), ("c2", "op.Conv.skip = true")],
        ),
    ] {
        let (_, _, q) = quantized(text);
        let layers = q.report.left_float.iter().filter(|l| matches!(l.op.as_str(), "Conv" | "MatMul"));
        let found: Vec<(&str, &str)> = layers.map(|l| (l.node.as_str(), l.reason.as_str())).collect();
        assert_eq!(found, left, "{text}");
    }
}

#[test]
fn a_simulation_computes_in_floats_what_integers_give() {
    let (_, samples, q) = quantized("simulate_only = true\nrefinements = []");
    assert!(!ops(&q.integer).contains(&"Requantize"));
    assert_eq!(distance(&q.qdq, &q.integer, &samples), 0.0);
    assert_eq!(q.report.integer_macs_percent, 0.0);
    assert!(q.report.left_float.iter().all(|l| l.reason == "simulate_only = true"), "{:?}", q.report.left_float);
    let (_, _, integers) = quantized("refinements = []");
    assert!(distance(&q.integer, &integers.integer, &samples) < 0.02);
}

#[test]
fn integers_enter_and_leave_where_the_configuration_says_so() {
    let (g, samples, q) = quantized("io = 'int8'\ninteger_only = true");
    let (x, y) = (q.integer.inputs[0], q.integer.outputs[0]);
    assert_eq!((q.integer.ty(x).dtype, q.integer.ty(y).dtype), (DType::I8, DType::I8));
    assert_eq!((q.integer.value(x).name.as_str(), q.integer.value(y).name.as_str()), ("x", "y"));
    assert!(!ops(&q.integer).iter().any(|op| matches!(*op, "Quantize" | "Dequantize")), "{:?}", ops(&q.integer));
    // The host quantizes what enters, and what leaves says its scale.
    let affine = q.integer.ty(x).quant.as_ref().unwrap().affine().unwrap();
    for sample in &samples {
        let ints = sample[0]
            .floats()
            .unwrap()
            .iter()
            .map(|x| i64::from(quantize(*x, &affine, Rounding::HalfEven, 0)))
            .collect::<Vec<_>>();
        let entering = vec![Tensor::from_ints(q.integer.ty(x).clone(), &ints).unwrap()];
        let (float, integer) = (outputs(&g, sample), outputs(&q.integer, &entering));
        let largest = float[0].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(float[0].iter().zip(&integer[0]).all(|(f, i)| (f - i).abs() < 0.06 * largest), "{float:?} {integer:?}");
    }
}

#[test]
fn integers_enter_a_float_layer_and_leave_one_as_the_reals_they_stand_for() {
    for (text, left) in [
        ("skip_k_conv = 1", vec!["c1"]),
        ("skip_dense = true", vec!["y"]),
        ("skip_k_conv = 1\nskip_dense = true\nstore_lowbit = false", vec!["c1", "y"]),
    ] {
        let (g, samples, q) = quantized(&format!("io = 'uint8'\n{text}"));
        let (x, y) = (q.integer.inputs[0], q.integer.outputs[0]);
        assert_eq!((q.integer.ty(x).dtype, q.integer.ty(y).dtype), (DType::U8, DType::U8), "{text}");
        let layers = q.report.left_float.iter().filter(|l| matches!(l.op.as_str(), "Conv" | "MatMul"));
        assert_eq!(layers.map(|l| l.node.as_str()).collect::<Vec<_>>(), left, "{text}");
        // What is between the edge and a float layer is no island of its own.
        assert!(q.report.left_float.iter().all(|l| !matches!(l.op.as_str(), "Quantize" | "Dequantize")), "{text}");
        let affine = q.integer.ty(x).quant.as_ref().unwrap().affine().unwrap();
        for sample in &samples {
            let data = sample[0].floats().unwrap();
            let ints: Vec<i64> = data.iter().map(|x| i64::from(quantize(*x, &affine, Rounding::HalfEven, 0))).collect();
            let entering = vec![Tensor::from_ints(q.integer.ty(x).clone(), &ints).unwrap()];
            let (float, integer) = (outputs(&g, sample), outputs(&q.integer, &entering));
            let largest = float[0].iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!(float[0].iter().zip(&integer[0]).all(|(f, i)| (f - i).abs() < 0.06 * largest), "{text}");
        }
        let error = refused(&format!("io = 'uint8'\ninteger_only = true\n{text}"));
        assert!(left.iter().all(|node| error.contains(&format!("'{node}'"))), "{text}: {error}");
    }
}

#[test]
fn integers_at_the_edge_have_one_scale() {
    for text in ["io = 'int8'\ninput.per = 'channel'", "io = 'int8'\n[layer.c1]\ninput.per = 'channel'"] {
        let error = refused(text);
        assert!(error.contains("value '") && error.contains("io = \"") && error.contains("input.per"), "{error}");
    }
}

#[test]
fn names_that_match_nothing_are_refused() {
    for (text, why) in [
        ("[layer.c9]\nskip = true", "layer.\"c9\" names no node of the model (did you mean 'c1'?)"),
        ("[op.Cnv]\nskip = true", "op.Cnv names no operator (did you mean 'Conv'?)"),
        ("[op.Gemm]\nskip = true", "op.Gemm names no operator (the file's Gemm is MatMul here)"),
        ("[op.Softmax]\nskip = true", "op.Softmax: the model has no such operator"),
        ("[op.Selu]\nskip = true", "op.Selu: the model has no such operator (did you mean 'Relu'?)"),
        ("[layer.'c?']\nskip = true\n[layer.'?1']\nskip = false", "equally specific"),
        ("input.observer = 'mxi'", "no observer is named 'mxi'"),
        ("refinements = ['bias']", "no refinement is named 'bias'"),
    ] {
        let error = refused(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn integers_only_is_kept_or_refused_with_a_list() {
    let (_, _, q) = quantized("integer_only = true");
    assert!(q.report.left_float.is_empty());
    let error = refused("integer_only = true\nskip_k_conv = 2");
    assert!(error.contains("found 2 nodes that stay float"), "{error}");
    for node in ["c1", "c2"] {
        assert!(error.contains(&format!("Conv '{node}': skip_k_conv = 2 (rule 'skip')")), "{error}");
    }
}

#[test]
fn an_accumulator_that_is_too_narrow_is_what_the_configuration_says() {
    let text = |limit: &str| format!("accumulator_bits = 16\naccumulator_limit = '{limit}'\nrefinements = []");
    let (_, _, float) = quantized(&text("float"));
    assert!(float.report.left_float.iter().any(|l| l.reason.contains("more than the 16 of accumulator_bits")));
    let (_, _, widened) = quantized(&text("widen"));
    assert_eq!(widened.report.integer_macs_percent, 100.0);
    let error = refused(&text("error"));
    assert!(error.contains("more than the 16 of accumulator_bits") && error.contains("node"), "{error}");
}

#[test]
fn what_leaves_an_operator_is_narrow_or_wide_as_asked() {
    // The sum in front of a float operator is written narrow, unless what it computed is wanted.
    let float = "[op.GlobalAvgPool]\nskip = true\n[op.MatMul]\nskip = true\n[layer.c3]\nskip = true\n";
    let quantizes = |q: &Quantized, name: &str| {
        let v = q.qdq.find(name).unwrap();
        q.qdq.users().of(v).iter().any(|(n, _)| matches!(q.qdq.node(*n).op, Op::Quantize { .. }))
    };
    let (_, _, narrow) = quantized(float);
    assert!(quantizes(&narrow, "r2") || quantizes(&narrow, "a"));
    let (_, _, wide) = quantized(&format!("{float}[op.Add]\noutput = 'wide'"));
    assert!(!quantizes(&wide, "r2") && !quantizes(&wide, "a"));
    assert!(wide.report.left_float.iter().any(|l| l.node.contains('a')), "{:?}", wide.report.left_float);
    // A layer's result in front of floats is what its accumulator holds, unless it is wanted narrow.
    let (_, _, usual) = quantized("[op.GlobalAvgPool]\nskip = true");
    assert!(!quantizes(&usual, "c3"));
    let (_, _, narrow) = quantized("[op.GlobalAvgPool]\nskip = true\n[layer.c3]\noutput = 'narrow'");
    assert!(quantizes(&narrow, "c3"));
    // So it is where results leave the model.
    let leaves = |q: &Quantized| q.qdq.ty(q.qdq.outputs[0]).dtype.is_float() && quantizes(q, "y.wide");
    let (_, _, narrow) = quantized("[layer.y]\noutput = 'narrow'");
    assert!(leaves(&narrow));
    let (_, _, wide) = quantized("output = 'narrow'\n[layer.y]\noutput = 'wide'");
    assert!(wide.qdq.find("y.wide").is_none());
}
