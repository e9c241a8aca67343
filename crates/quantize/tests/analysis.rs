//! Comparisons of the forms that one network has: float, simulated, integer.

mod common;

use common::{Random, graph, run_pipeline};
use lowbit_arithmetic::Rounding;
use lowbit_ir::interp::{self, Interpreter};
use lowbit_ir::{Customs, Graph, Op, Tensor};
use lowbit_quantize::analysis::{Comparison, Form, form, measure};
use lowbit_quantize::{Config, Options};

const NETWORK: &str = r#"
graph "network" {
  input %x: f32[1x3x8x8]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[10x4] = random
  %c1 = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %a = Add(%c2, %r1)
  %r2 = Clip(%a) {min 0, max 6}
  %p = GlobalAvgPool(%r2)
  %f = Flatten(%p)
  %y = MatMul(%f, %w3) {trans_b}
  output %y
}
"#;

const CHOICES: [&str; 6] = [
    "",
    "equalize = false",
    "activation.bits = 16",
    // A range that cuts off, of integers whose steps say nothing.
    "activation.bits = 20\nactivation.observer = 'percentile(99.7)'",
    // Two forms of one value, each for its reader.
    "[op.Add]\ninput.bits = 16\n[op.Conv]\ninput.bits = 6",
    // A float layer in front of a Quantize that stands for its Relu.
    "skip_k_conv = 1",
];

fn of(a: &Graph, b: &Graph, samples: &Vec<Vec<Tensor>>) -> Comparison {
    measure(a, b, &Interpreter::default(), samples, 0, form(a) < form(b)).unwrap()
}

#[test]
fn every_form_is_compared_by_what_it_makes_of_a_value() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 6);
    for text in CHOICES {
        let quantized = |more: &str| {
            let config = Config { refinements: Vec::new(), ..Config::from_toml(&format!("{more}\n{text}")).unwrap() };
            run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap().integer
        };
        let (simulated, integer) = (quantized("simulate_only = true"), quantized(""));
        assert_eq!((form(&simulated), form(&integer)), (Form::Simulated, Form::Integer), "{text}");
        for (name, other) in [("simulated", &simulated), ("integer", &integer)] {
            let found = of(&g, other, &samples);
            assert!(found.cumulative.iter().any(|e| e.value == "r1"), "{text}: {found:?}");
            for e in found.cumulative.iter().chain(&found.isolated) {
                assert!(e.sqnr_db > 25.0, "{text}: {name}: {e:?}");
            }
        }
        let apart = of(&simulated, &integer, &samples);
        assert!(apart.isolated.iter().filter(|e| e.max_steps.is_some()).count() >= 3, "{text}: {apart:?}");
        assert!(apart.isolated.iter().all(|e| e.max_steps <= Some(1)), "{text}: {apart:?}");
        // What is wider than steps can be told of is as exact as floats are: it is no narrow form of itself.
        for wide in apart.isolated.iter().filter(|e| e.max_steps.is_none()) {
            assert!(wide.sqnr_db > 100.0, "{text}: {wide:?}");
        }
        let same = of(&simulated, &simulated, &samples);
        assert!(same.cumulative.iter().all(|e| e.sqnr_db == f64::INFINITY), "{text}: {same:?}");
        // Another simulation is as far away as its steps say, and not by what a Relu would take away.
        let finer = of(&simulated, &quantized("simulate_only = true\nweight.bits = 12"), &samples);
        assert!(finer.cumulative.iter().all(|e| e.sqnr_db > 25.0), "{text}: {finer:?}");
    }
}

/// The integers that leave a model have another name than the accumulator they are made of, which is compared as it is.
#[test]
fn an_accumulator_is_no_narrow_form_of_itself() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 6);
    let quantized = |text: &str| {
        let config = Config { refinements: Vec::new(), ..Config::from_toml(text).unwrap() };
        run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap().integer
    };
    let (simulated, integer) = (quantized("io = 'int8'\nsimulate_only = true"), quantized("io = 'int8'"));
    let ty = integer.ty(integer.inputs[0]);
    let entering = |sample: &Vec<Tensor>| {
        let op = Op::Quantize { rounding: Rounding::HalfEven };
        interp::eval(&op, &[Some(&sample[0])], std::slice::from_ref(ty), &Customs::default()).unwrap()
    };
    let found = of(&simulated, &integer, &samples.iter().map(entering).collect());
    let wide: Vec<_> = found.isolated.iter().filter(|e| e.max_steps.is_none()).collect();
    assert!(wide.iter().any(|e| e.value == "y.wide"), "{found:?}");
    assert!(wide.iter().all(|e| e.sqnr_db > 100.0), "{wide:?}");
}

/// A layer reads a narrow form of what a sum reads as it is: neither has the name that the simulation has for the other.
#[test]
fn a_narrow_form_beside_what_it_is_made_of_is_no_other_value() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 6);
    let quantized = |more: &str| {
        let text = format!("{more}\nstore_lowbit = false\nactivation.bits = 16\ninput.bits = 10");
        let config = Config { refinements: Vec::new(), ..Config::from_toml(&text).unwrap() };
        run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap().integer
    };
    let (simulated, integer) = (quantized("simulate_only = true"), quantized(""));
    let found = of(&simulated, &integer, &samples);
    let steps: Vec<_> = found.isolated.iter().filter(|e| e.max_steps.is_some()).collect();
    assert!(steps.iter().any(|e| e.value == "r1"), "{found:?}");
    assert!(steps.iter().all(|e| e.max_steps <= Some(1)), "{steps:?}");
}

#[test]
fn every_narrow_form_of_a_value_is_compared() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 6);
    let quantized = |more: &str| {
        let text = format!("{more}\n[op.Add]\ninput.bits = 16\n[op.Conv]\ninput.bits = 6");
        let config = Config { refinements: Vec::new(), ..Config::from_toml(&text).unwrap() };
        run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap().integer
    };
    let (simulated, integer) = (quantized("simulate_only = true"), quantized(""));
    let found = of(&simulated, &integer, &samples);
    // 'r1' is read with 6 bits by a convolution and with 16 by a sum.
    let forms: Vec<_> = found.isolated.iter().filter(|e| e.value.starts_with("r1")).collect();
    let widths = |e: &&lowbit_quantize::analysis::ValueError| {
        integer.ty(integer.find(&e.value).unwrap()).quant.as_ref().unwrap().qmax
    };
    let mut most: Vec<i64> = forms.iter().map(widths).collect();
    most.sort();
    assert_eq!(most, [63, 65535], "{forms:?}");
    assert!(forms.iter().all(|e| e.max_steps <= Some(1)), "{forms:?}");
}

/// `y = Relu(x) * w` of two elements; x is kept as integers 0..=3 of scale 1, and w is exact.
const HAND: [&str; 2] = [
    r#"
graph "g" {
  input %x: f32[1x4]
  const %w: f32[4x4] = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
  %r = Relu(%x)
  %y = MatMul(%r, %w) @product
  output %y
}
"#,
    r#"
graph "g" {
  input %x: f32[1x4]
  const %w.q: i8[4x4]{1 * q} = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
  %w = Dequantize(%w.q)
  %r = Relu(%x)
  %r.q: u8[1x4]{1 * q in 0..3} = Quantize(%r) {rounding half-even}
  %r.dq = Dequantize(%r.q)
  %y = MatMul(%r.dq, %w) @product
  output %y
}
"#,
];

#[test]
fn clipping_and_rounding_are_what_a_hand_computes() {
    let [float, quantized] = HAND.map(|text| lowbit_ir::text::parse(text).unwrap());
    let found = |x: [f32; 4]| {
        let samples = vec![vec![Tensor::from_f32(&[1, 4], x.to_vec()).unwrap()]];
        let found = of(&float, &quantized, &samples);
        let tensor = found.tensors.iter().find(|t| t.value == "r").unwrap().clone();
        let weights = found.tensors.iter().find(|t| t.value == "w").unwrap();
        assert_eq!((weights.kind.as_str(), weights.node.as_str(), weights.mse), ("weight", "product", 0.0));
        let layer = found.isolated.iter().find(|e| e.value == "r").unwrap();
        assert_eq!((layer.mse, layer.parts), (tensor.mse, Some(tensor.parts)));
        assert_eq!(found.isolated.iter().find(|e| e.value == "y").unwrap().mse, tensor.mse);
        (tensor.mse, tensor.parts.clipping, tensor.parts.rounding, tensor.parts.clipped_percent)
    };
    // All that is lost is beyond 3: 2 and 4, squared, of four elements.
    assert_eq!(found([1.0, 2.0, 5.0, 7.0]), (5.0, 5.0, 0.0, 50.0));
    // All that is lost is a quarter and a half of a step; up to half a step beyond 3 it is still rounding.
    assert_eq!(found([1.25, 0.5, 2.0, 3.5]), ((0.0625 + 0.25 + 0.25) / 4.0, 0.0, (0.0625 + 0.25 + 0.25) / 4.0, 0.0));
    // Both: 0.25 in one element, 1 in another.
    assert_eq!(found([0.5, 3.0, 4.0, 0.0]), ((0.25 + 1.0) / 4.0, 0.25, 0.0625, 25.0));
    // What a Relu takes away is no error of the integers.
    assert_eq!(found([-5.0, 3.0, 1.0, 0.0]), (0.0, 0.0, 0.0, 0.0));
}
