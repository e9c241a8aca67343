//! The pipeline from float to integers on small networks, over the interpreter.

mod common;

use common::{Random, graph, only_integers, ops, outputs, run_pipeline};
use lowbit_quantize::{Config, Options};

const RESIDUAL: &str = r#"
graph "residual" {
  input %x: f32[1x3x8x8]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[10x4] = random
  const %b3: f32[10] = random
  %c1: f32[1x4x8x8] = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1: f32[1x4x8x8] = Relu(%c1)
  %c2: f32[1x4x8x8] = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %a: f32[1x4x8x8] = Add(%c2, %r1)
  %r2: f32[1x4x8x8] = Relu(%a)
  %p: f32[1x4x1x1] = GlobalAvgPool(%r2)
  %f: f32[1x4] = Flatten(%p)
  %y: f32[1x10] = MatMul(%f, %w3, %b3) {trans_b}
  output %y
}
"#;

fn residual() -> lowbit_ir::Graph {
    graph(RESIDUAL)
}

#[test]
fn a_residual_network_becomes_integers() {
    let g = residual();
    let samples = Random(1).samples(&g, 16);
    let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
    assert!(only_integers(&q.integer), "{:?}", ops(&q.integer));
    assert_eq!(
        ops(&q.integer),
        ["Quantize", "Conv", "Requantize", "Conv", "Requantize", "QAdd", "QAvgPool", "Flatten", "MatMul", "Dequantize"]
    );
    assert!(q.report.left_float.is_empty(), "{:?}", q.report.left_float);
    assert_eq!(q.report.integer_macs_percent, 100.0);
    for sample in &samples {
        let (float, qdq, integer) = (outputs(&g, sample), outputs(&q.qdq, sample), outputs(&q.integer, sample));
        let largest = float[0].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for ((f, s), i) in float[0].iter().zip(&qdq[0]).zip(&integer[0]) {
            assert!((f - s).abs() < 0.05 * largest, "{f} {s}");
            assert!((s - i).abs() < 0.02 * largest, "{s} {i}");
        }
    }
}

#[test]
fn no_samples_is_an_error_that_says_so() {
    let error = run_pipeline(&residual(), &Options::default(), &Vec::new()).unwrap_err().to_string();
    assert!(error.contains("at least one sample"), "{error}");
}

#[test]
fn methods_and_widths_run() {
    let g = residual();
    let samples = Random(1).samples(&g, 4);
    for text in [
        "requantize = 'fixed'",
        "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
        "input.bits = 16\naccumulator_bits = 64",
        "input.bits = 4\nweight.bits = 4",
        "input.signed = true\ninput.symmetric = true",
        "output = 'narrow'",
        "refinements = ['bias-correction-sequential']",
        "refinements = []\ninput.observer = 'minmax'",
    ] {
        let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
        let q = run_pipeline(&g, &options, &samples).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(only_integers(&q.integer), "{text}: {:?}", q.report.left_float);
        for sample in &samples {
            assert!(outputs(&q.integer, sample)[0].iter().all(|y| y.is_finite()));
        }
    }
}
