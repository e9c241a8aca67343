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

/// A number has no channels, also where everything else has a scale for each.
#[test]
fn a_number_beside_channels_has_one_scale() {
    let g = graph(
        r#"
graph "scaled" {
  input %x: f32[4x6]
  const %w: f32[6x8] = random
  const %half: f32[scalar] = [0.5]
  %m = MatMul(%x, %w)
  %r = Relu(%m)
  %s = Mul(%r, %half)
  %t = Add(%s, %half)
  const %k: f32[8x5] = random
  %y = MatMul(%t, %k)
  output %y
}
"#,
    );
    let samples = Random(1).samples(&g, 3);
    let options = Options { config: Config::from_toml("input.per = 'channel'").unwrap(), ..Options::default() };
    let q = run_pipeline(&g, &options, &samples).unwrap();
    assert!(distance(&g, &q.integer, &samples) < 0.05);
}

/// A value has its channels along one axis, whoever reads it.
#[test]
fn the_channels_of_a_value_are_those_of_whoever_made_it() {
    let text = r#"
graph "tokens" {
  input %x: f32[1x5x8]
  const %b: f32[8] = random
  const %w: f32[8x6] = random
  const %k: f32[4x5x3] = random
  %a: f32[1x5x8] = Add(%x, %b)
  %m: f32[1x5x6] = MatMul(%a, %w)
  %s: f32[1x5x8] = Add(%x, %a)
  %t: f32[1x5x8] = Mul(%s, %a)
  %n: f32[1x5x6] = MatMul(%t, %w)
  %y: f32[1x5x6] = Add(%n, %m)
  output %y
}
"#;
    let images = text.replace("%n: f32[1x5x6] = MatMul(%t, %w)", "%n: f32[1x4x6] = Conv(%t, %k)");
    let images = images.replace("%y: f32[1x5x6] = Add(%n, %m)\n  output %y", "output %n\n  output %m");
    for (text, axis) in [(text.to_string(), 2), (images, 1)] {
        let g = graph(&text);
        let samples = Random(1).samples(&g, 3);
        let config = Config::from_toml("input.per = 'channel'").unwrap();
        let q = run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap();
        for name in ["x", "a"] {
            let v = q.qdq.find(name).unwrap();
            let made: Vec<_> = q.qdq.users().of(v).iter().filter_map(|(n, _)| q.qdq.node(*n).outputs.first()).collect();
            let axes: Vec<_> = made.iter().filter_map(|v| Some(q.qdq.ty(**v).quant.as_ref()?.granularity)).collect();
            assert_eq!(axes, [lowbit_ir::Granularity::Channel { axis }], "{name}");
        }
        assert!(distance(&q.qdq, &q.integer, &samples) < 0.05);
    }
}

/// A block that covers all that a matrix product sums is one scale an output channel.
#[test]
fn a_block_of_everything_is_a_channel() {
    let (_, _, block) = quantized("weight.per = 'block(1000)'");
    let (_, _, channel) = quantized("");
    let of = |q: &Quantized, name: &str| {
        let w = q.qdq.find(name).unwrap();
        (q.qdq.ty(w).clone(), q.qdq.constant(w).unwrap().ints().unwrap())
    };
    for name in ["w3.q", "w4.q"] {
        assert_eq!(of(&block, name), of(&channel, name));
    }
    assert_ne!(of(&block, "w1.q").0, of(&channel, "w1.q").0);
}

/// Six rows and columns are averaged, which no shift divides by.
#[test]
fn an_average_over_any_count_keeps_integers_under_shifts() {
    let g = graph(&RESIDUAL.replace("8x8]", "6x6]"));
    let samples = Random(1).samples(&g, 6);
    let text = "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'\ninteger_only = true";
    let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    let q = run_pipeline(&g, &options, &samples).unwrap();
    assert!(ops(&q.integer).contains(&"QAvgPool") && only_integers(&q.integer), "{:?}", q.report.left_float);
    assert!(distance(&q.qdq, &q.integer, &samples) < 0.03);
    let device = format!("{text}\nhardware = 'shift-only'\ninput.signed = true\ninput.symmetric = true\nio = 'int8'");
    let options = Options { config: Config::from_toml(&device).unwrap(), ..Options::default() };
    let error = run_pipeline(&g, &options, &samples).unwrap_err().to_string();
    assert!(error.contains("'p': an average over 36 values needs a multiplier"), "{error}");
}

fn refused(text: &str) -> String {
    let g = graph(RESIDUAL);
    let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    run_pipeline(&g, &options, &Random(1).samples(&g, 2)).map(|_| text).unwrap_err().to_string()
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
        ("weight.per = 'block(2)'", 4),
        ("weight.per = 'block(1000)'", 4),
        ("weight.per = 'block(3)'\nweight.bits = 4\nrequantize = 'fixed'", 4),
        ("[layer.c3]\nweight.per = 'block(2)'\nweight.bits = 4", 4),
        (
            "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'\nweight.per = 'block(2)'",
            4,
        ),
        ("input.bits = 14\nweight.per = 'block(2)'\naccumulator_limit = 'widen'", 4),
        ("input.bits = 16\nweight.per = 'block(2)'\naccumulator_limit = 'widen'", 0),
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
fn one_scale_for_every_value_whatever_is_known_of_it() {
    let net = r#"
graph "limits" {
  input %x: f32[1x3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %w2: f32[4x4x1x1] = random
  const %w3: f32[2x4x1x1] = random
  const %k: f32[1x4x1x1] = [0.5, 1, 2, 40]
  %c1 = Conv(%x, %w1) {pads [1, 1, 1, 1]}
  %r = Clip(%c1) {min 0, max 6}
  %c2 = Conv(%r, %w2)
  %t = Tanh(%c2)
  %a = Add(%t, %k)
  %y = Conv(%a, %w3)
  output %y
}
"#;
    let g = graph(net);
    let samples = Random(1).samples(&g, 6);
    for (kind, zero_point) in [("signed = true\ninput.symmetric = true", 0), ("signed = false", 128)] {
        let text = format!("global_scale = 16\ninput.observer = 'global_scale'\ninput.{kind}\nrefinements = []");
        let options = Options { config: Config::from_toml(&text).unwrap(), ..Options::default() };
        let q = run_pipeline(&g, &options, &samples).unwrap();
        let values: Vec<_> = q.report.values.iter().filter(|v| v.observer == "global_scale(16)").collect();
        assert!(values.len() >= 5, "{values:?}");
        for v in values {
            assert_eq!(
                (v.scale, v.zero_point, &v.limited_by),
                (16.0 / 128.0, zero_point, &None),
                "{text}: {}",
                v.value
            );
        }
        assert!(only_integers(&q.integer), "{text}: {:?}", q.report.left_float);
        assert!(distance(&q.qdq, &q.integer, &samples) < 0.02, "{text}");
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
fn a_wide_sum_of_narrow_values_loses_nothing_of_either() {
    let g = graph(
        r#"
graph "narrow" {
  input %x: f32[1x3x8x8]
  input %z: f32[1x3x8x8]
  %p = MaxPool(%x) {kernel [1, 1]}
  %y = Add(%p, %z)
  output %y
}
"#,
    );
    let samples = Random(3).samples(&g, 4);
    for method in ["float32", "fixed"] {
        let text = format!("integer_only = true\nstore_lowbit = false\nrequantize = '{method}'");
        let options = Options { config: Config::from_toml(&text).unwrap(), ..Options::default() };
        let q = run_pipeline(&g, &options, &samples).unwrap_or_else(|e| panic!("{text}: {e}"));
        let sum = q.integer.nodes().find(|(_, n)| matches!(n.op, Op::QAdd(_))).map(|(_, n)| n.clone()).unwrap();
        let bits: Vec<usize> = sum.operands().map(|v| q.integer.ty(v).dtype.bits()).collect();
        assert_eq!((bits, q.integer.ty(sum.outputs[0]).dtype.bits()), (vec![8, 8], 32), "{method}");
        // Half a step of 20 bits, where the finer operand's own step would be a 256th.
        assert!(distance(&q.qdq, &q.integer, &samples) < 1e-5, "{method}");
    }
}

/// How often integers are dequantized only to be quantized again.
fn by_way_of_floats(g: &Graph) -> usize {
    let dequantized = |v| g.producer(v).is_some_and(|id| g.node(id).op == Op::Dequantize);
    g.nodes().filter(|(_, n)| matches!(n.op, Op::Quantize { .. }) && n.operands().any(dequantized)).count()
}

#[test]
fn a_wide_activation_comes_from_its_accumulator_by_integers() {
    for (text, bits) in [
        ("activation.bits = 24", 24),
        ("activation.bits = 31", 31),
        ("activation.bits = 18\nrequantize = 'fixed'", 18),
        ("activation.bits = 24\nstore_lowbit = false", 24),
    ] {
        let (g, samples, q) = quantized(&format!("integer_only = true\n{text}"));
        assert_eq!(by_way_of_floats(&q.integer), 0, "{text}");
        let most = (1i64 << (bits - 1)) - 1;
        let wide = |g: &Graph, v| g.ty(v).quant.as_ref().is_some_and(|q| q.qmax == most);
        let made = q.integer.nodes().filter(|(_, n)| n.outputs.iter().any(|v| wide(&q.integer, *v)));
        let made: Vec<&str> = made.map(|(_, n)| n.op.name()).filter(|op| *op != "Relu").collect();
        // One behind each layer but the last, whose result leaves the model as it is.
        assert_eq!(made, ["Requantize"; 3], "{text}");
        assert!(distance(&g, &q.integer, &samples) < 0.05, "{text}");
        assert!(distance(&q.qdq, &q.integer, &samples) < 0.02, "{text}");
    }
}

#[test]
fn a_rescaling_by_way_of_floats_is_counted_as_what_it_is() {
    let (_, _, q) = quantized("activation.bits = 24\nsimulate_only = true");
    assert!(by_way_of_floats(&q.integer) > 0);
    let counted = q.report.left_float.iter().filter(|l| l.op == "Quantize").count();
    assert_eq!(counted, by_way_of_floats(&q.integer), "{:?}", q.report.left_float);
}

#[test]
fn wide_sums_of_few_bits_are_integers_too() {
    for text in ["activation.bits = 16", "activation.bits = 10", "activation.bits = 20", ""] {
        let text = format!("integer_only = true\nstore_lowbit = false\n{text}");
        let g = graph(
            r#"
graph "sums" {
  input %x: f32[1x3x8x8]
  const %w1: f32[4x3x3x3] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[4x4x1x1] = random
  %c1 = Conv(%x, %w1) {pads [1, 1, 1, 1]}
  %c2 = Conv(%c1, %w2) {pads [1, 1, 1, 1]}
  %a = Add(%c1, %c2)
  %c3 = Conv(%a, %w3)
  %b = Add(%a, %c3)
  %y = Conv(%b, %w3)
  output %y
}
"#,
        );
        let samples = Random(2).samples(&g, 6);
        let options = Options { config: Config::from_toml(&text).unwrap(), ..Options::default() };
        let q = run_pipeline(&g, &options, &samples).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(ops(&q.integer).iter().filter(|op| **op == "QAdd").count(), 2, "{text}");
        assert!(distance(&g, &q.integer, &samples) < 0.1, "{text}");
        assert!(distance(&q.qdq, &q.integer, &samples) < 0.03, "{text}");
    }
}

#[test]
fn integers_round_as_their_simulation_does() {
    const SCALES: &str = "input.scale = 'power-of-two'\nweight.scale = 'power-of-two'\nrequantize = 'shift'\n";
    // Each of these rescales to the narrow output, from integers that are the same in both.
    let operators = [
        "%y = Conv(%x, %w)",
        "%c = Conv(%x, %w)\n  %y = Clip(%c) {min -0.71, max 0.93}",
        "%y = Add(%x, %z)",
        "%y = Mul(%x, %z)",
        "%y = AvgPool(%x) {kernel [2, 2]}",
        "%y = Concat(%x, %z) {axis 1}",
    ];
    for lines in operators {
        let declared =
            "graph \"g\" {\n  input %x: f32[1x4x8x8]\n  input %z: f32[1x4x8x8]\n  const %w: f32[8x4x1x1] = random\n";
        let g = graph(&format!("{declared}  {lines}\n  %u = Add(%x, %z)\n  output %y\n  output %u\n}}\n"));
        let samples = Random(8).samples(&g, 4);
        for rounding in ["half-even", "half-up", "half-away", "toward-zero", "floor", "stochastic(4)"] {
            for text in [
                format!("input.rounding = '{rounding}'"),
                format!("input.rounding = '{rounding}'\nrequantize = 'fixed'"),
                format!("rounding = '{rounding}'"),
                format!("rounding = '{rounding}'\nrequantize = 'fixed'"),
                format!("input.bits = 6\n{SCALES}input.rounding = '{rounding}'"),
                format!("input.bits = 6\n{SCALES}round_for_shift = false"),
            ] {
                let what = format!("{lines}, {text}");
                let config = format!("output = 'narrow'\ninteger_only = true\nrefinements = []\n{text}");
                let options = Options { config: Config::from_toml(&config).unwrap(), ..Options::default() };
                let q = run_pipeline(&g, &options, &samples).unwrap_or_else(|e| panic!("{what}: {e}"));
                let scale = q.report.values.iter().find(|v| v.value.starts_with('y')).unwrap().scale;
                let (mut same, mut all) = (0, 0);
                for sample in &samples {
                    for (a, b) in outputs(&q.qdq, sample)[0].iter().zip(&outputs(&q.integer, sample)[0]) {
                        let steps = ((a - b) / scale).abs().round();
                        assert!(steps <= 1.0, "{what}: {a} {b}");
                        (same, all) = (same + usize::from(steps == 0.0), all + 1);
                    }
                }
                // Of a shift by a bit or two many are ties, which are the method's own where the nearest is asked for;
                // and what a limit itself becomes by chance is one integer for all elements.
                let least = match rounding {
                    "half-even" if text.contains("shift") && !text.contains("round_for_shift") => continue,
                    "stochastic(4)" if lines.contains("Clip") => 90,
                    _ => 97,
                };
                assert!(100 * same >= least * all, "{what}: {same} of {all} are the same");
            }
        }
    }
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
fn an_operator_goes_by_any_of_its_names() {
    let ours = Config::from_toml("[op.Conv]\nskip = true\n[op.MatMul]\nweight.bits = 4").unwrap();
    for text in [
        "[op.'nn.conv2d']\nskip = true\n[op.Gemm]\nweight.bits = 4",
        "[op.Convolution]\nskip = true\n[op.'nn.dense']\nweight.bits = 4",
    ] {
        assert_eq!(Config::from_toml(text).unwrap(), ours, "{text}");
    }
    // One that is merged later has the last word, whatever either calls it.
    let set = |assignment: &str| ours.set(assignment).unwrap().op["Conv"].skip;
    assert_eq!((set("op.\"nn.conv1d\".skip=false"), set("op.Conv.skip=false")), (Some(false), Some(false)));
    assert_eq!(Config::assigned("op.\"nn.conv2d\".skip=true").unwrap(), ["op.Conv.skip"]);
    for (text, why) in [
        (
            "[op.'nn.conv2d']\nskip = true\n[op.Conv]\nweight.bits = 4",
            "op.Conv and op.\"nn.conv2d\" are the same operator, Conv",
        ),
        ("op.Gemm.skip = true\nop.'nn.dense'.skip = true", "op.Gemm and op.\"nn.dense\" are the same operator, MatMul"),
        ("[op.nn.conv2d]\nskip = true", "expected quotes around the operator nn.conv2d, found op.nn.conv2d"),
        ("[op.'nn.conv2d']\nskp = true", "there is no choice 'op.\"nn.conv2d\".skp'"),
    ] {
        let error = Config::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    // A configuration that is made without a text is told how the operator is called here.
    let mut made = Config::default();
    made.op.insert("nn.conv2d".into(), ours.op["Conv"].clone());
    let (g, options) = (graph(RESIDUAL), Options { config: made, ..Options::default() });
    let error = run_pipeline(&g, &options, &Random(1).samples(&g, 1)).unwrap_err();
    assert!(error.to_string().contains("(nn.conv2d is Conv here)"), "{error}");
}

#[test]
fn names_that_match_nothing_are_refused() {
    for (text, why) in [
        ("[layer.c9]\nskip = true", "layer.\"c9\" names no node of the model (did you mean 'c1'?)"),
        ("[op.Cnv]\nskip = true", "op.Cnv names no operator (did you mean 'Conv'?)"),
        (
            "[op.DepthToSpace]\nskip = true",
            "op.DepthToSpace names no operator (the file's DepthToSpace becomes Reshape",
        ),
        (
            "[op.'nn.con2d']\nskip = true",
            "op.\"nn.con2d\" names no operator (did you mean 'nn.conv2d', which is Conv here?)",
        ),
        ("[op.'nn.prelu']\nskip = true", "op.PRelu: the model has no such operator"),
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
fn choices_without_effect_are_refused() {
    for (text, why) in [
        (
            "activation.signed = false",
            "activation.signed = false has no effect: nothing leaves a wide value that is narrowed",
        ),
        ("activation.observer = 'mse'", "activation.bits below 32"),
        ("skip_k_conv = 3\nactivation.bits = 16", "activation.bits = 16 has no effect"),
        ("[layer.y]\nactivation.bits = 16", "layer.\"y\".activation.bits = 16 has no effect"),
        (
            "[op.GlobalAvgPool]\nweight.bits = 3",
            "op.GlobalAvgPool.weight.bits = 3 has no effect: nothing of that name has weights",
        ),
        ("[layer.f]\nweight.bits = 16", "layer.\"f\".weight.bits = 16 has no effect"),
        (
            "[op.Relu]\ninput.bits = 3",
            "op.Relu.input.bits = 3 has no effect: nothing of that name reads a narrow value",
        ),
        ("[layer.c1]\nskip = true\ninput.bits = 4", "layer.\"c1\".input.bits = 4 has no effect"),
        ("[layer.c1]\ninput.narrow = true", "layer.\"c1\".input.narrow = true has no effect on unsigned integers"),
        ("global_scale = 4.0", "global_scale = 4 has no effect: nothing has the observer global_scale"),
        ("global_scale = 4.0\ninput.observer = 'global_scale(2)'", "input.observer = \"global_scale\""),
        ("skip_k_conv = 4", "expected skip_k_conv up to 3, the number of convolutions, found 4"),
        ("skip_k_conv = 3\nskip_dense = true\nweight.bits = 4", "weight.bits = 4 has no effect: nothing has weights"),
        // It is read by a layer, or is one with the kernel before it.
        ("[layer.c1]\noutput = 'wide'", "layer.\"c1\".output = \"wide\" has no effect: all of that name is read"),
        (
            "[op.GlobalAvgPool]\nskip = true\n[layer.c3]\nskip = true\noutput = 'narrow'",
            "layer.\"c3\".output = \"narrow\" has no effect: nothing",
        ),
        ("io = 'int8'\n[layer.y]\noutput = 'wide'", "layer.\"y\".output = \"wide\" has no effect"),
        (
            "io = 'int8'\n[layer.c1]\ninput.bits = 4",
            "layer.\"c1\".input.bits = 4 has no effect: io = \"int8\" says what",
        ),
        ("io = 'int8'\n[layer.c1]\ninput.signed = false", "input.signed = false has no effect: io = \"int8\""),
        ("io = 'int8'\n[layer.'c1*']\ninput.bits = 4", "layer.\"c1*\".input.bits = 4 has no effect: io"),
        ("equalize = false\nrefinements = []\nrefine_samples = 3", "refine_samples = 3 has no effect"),
    ] {
        let error = refused(text);
        assert!(error.contains(why), "{text}: {error}");
    }
    // What some of many ask for has one.
    for text in [
        "[op.Conv]\nactivation.bits = 16",
        "[layer.'c*']\nweight.bits = 6",
        "weight.signed = false\nweight.symmetric = false",
        "weight.narrow = true\n[op.MatMul]\nweight.signed = false\nweight.symmetric = false",
        "global_scale = 4.0\n[op.Conv]\ninput.observer = 'global_scale'",
        // What agrees with io, and what speaks of other operands too.
        "io = 'int8'\n[layer.c1]\ninput.bits = 8",
        "io = 'int8'\n[op.Conv]\ninput.bits = 6",
    ] {
        quantized(text);
    }
}

/// What a result echoes is a configuration that gives the same result.
#[test]
fn what_is_echoed_is_accepted_and_gives_the_same() {
    let shift = "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'\n";
    for text in [
        "",
        "rounding = 'floor'",
        "rounding = 'half-away'\n[op.Conv]\ninput.bits = 7",
        shift,
        &format!("{shift}round_for_shift = false"),
        "store_lowbit = false\nactivation.bits = 16",
        "weight.signed = false\nweight.symmetric = false",
        "io = 'int8'\nskip_k_conv = 1",
        "equalize = false\nrefinements = []",
        "input.observer = 'global_scale'\nglobal_scale = 4.0",
    ] {
        let (_, _, first) = quantized(text);
        let (_, _, second) = quantized(&first.report.config.to_toml().unwrap());
        assert_eq!(first.integer, second.integer, "{text}");
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
    let why = "more than the 16 of accumulator_bits; accumulator_bits = 32 or accumulator_limit = \"widen\"";
    assert!(float.report.left_float.iter().any(|l| l.reason.contains(why)), "{:?}", float.report.left_float);
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
