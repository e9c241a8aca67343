//! Equalization: which values it takes together, what it keeps, and what it gains.

mod common;

use common::{Random, graph, outputs, run_pipeline};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Graph, Tensor};
use lowbit_quantize::analysis::{ValueError, measure};
use lowbit_quantize::{Config, Equalized, Options, equalize};

/// A depthwise block with a residual, as MobileNets have.
const BLOCK: &str = r#"
graph "block" {
  input %x: f32[1x3x6x6]
  const %w0: f32[8x3x1x1] = random
  const %b0: f32[8] = random
  const %w1: f32[8x8x1x1] = random
  const %w2: f32[8x1x3x3] = random
  const %b2: f32[8] = random
  const %w3: f32[8x8x1x1] = random
  const %w4: f32[5x8x1x1] = random
  %stem = Conv(%x, %w0, %b0)
  %c1 = Conv(%stem, %w1)
  %r1 = Clip(%c1) {min 0, max 6}
  %c2 = Conv(%r1, %w2, %b2) {pads [1, 1, 1, 1], group 8}
  %r2 = Relu(%c2)
  %c3 = Conv(%r2, %w3)
  %sum = Add(%stem, %c3)
  %y = Conv(%sum, %w4)
  output %y
}
"#;

/// Makes the channels that a constant's rows compute differ by powers of two.
fn spread_rows(g: &mut Graph, name: &str) {
    let v = g.find(name).unwrap();
    let t = g.constant(v).unwrap().clone();
    let rows = t.dims()[0];
    let per = t.count() / rows;
    let data = t.floats().unwrap().iter().enumerate().map(|(i, w)| w * 0.5f32.powi((i / per) as i32)).collect();
    g.set_const(v, Tensor::from_f32(t.dims(), data).unwrap());
}

fn uneven() -> Graph {
    let mut g = graph(BLOCK);
    ["w1", "w2", "b2"].iter().for_each(|w| spread_rows(&mut g, w));
    g
}

fn equalized(g: &mut Graph, samples: &Vec<Vec<Tensor>>) -> Vec<Equalized> {
    equalize(g, &Config::default(), &Interpreter::default(), samples).unwrap()
}

fn values(of: &[Equalized]) -> Vec<Vec<&str>> {
    of.iter().map(|e| e.values.iter().map(String::as_str).collect()).collect()
}

#[test]
fn what_it_computes_stays() {
    let mut g = uneven();
    let samples = Random(3).samples(&g, 6);
    let before: Vec<_> = samples.iter().map(|s| outputs(&g, s)).collect();
    let found = equalized(&mut g, &samples);
    assert!(values(&found).contains(&vec!["r1"]) && values(&found).contains(&vec!["r2"]), "{found:?}");
    lowbit_ir::verify::verify(&g).unwrap();
    for (sample, before) in samples.iter().zip(&before) {
        for (a, b) in before.iter().flatten().zip(outputs(&g, sample).iter().flatten()) {
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} became {b}");
        }
    }
}

#[test]
fn the_recorded_factors_lead_back_to_the_source() {
    let (source, mut g) = (uneven(), uneven());
    let samples = Random(3).samples(&g, 6);
    equalized(&mut g, &samples);
    let record = lowbit_quantize::equalize::recorded(&g).unwrap();
    assert!(record.values().flat_map(|f| &f.channels).any(|f| *f >= 2.0), "{record:?}");
    // What stands in front of an activation carries the factors as well.
    let names: std::collections::BTreeSet<&str> = record.keys().map(String::as_str).collect();
    assert!(["c1", "r1", "c2", "r2"].iter().all(|name| names.contains(name)), "{names:?}");
    for (name, factors) in &record {
        let of = |g: &Graph| {
            let mut tapped = g.clone();
            tapped.outputs = vec![g.find(name).unwrap()];
            tapped.sweep();
            outputs(&tapped, &samples[0]).remove(0)
        };
        let (before, after) = (of(&source), of(&g));
        let inner = before.len() / factors.channels.len();
        for (i, (a, b)) in before.iter().zip(&after).enumerate() {
            let expected = a * factors.channels[i / inner] as f32;
            assert!((expected - b).abs() <= 1e-5 * expected.abs().max(1.0), "{name}[{i}]: {a} became {b}");
        }
    }
}

#[test]
fn values_that_are_added_are_multiplied_alike() {
    let mut g = graph(BLOCK);
    ["w0", "b0", "w3"].iter().for_each(|w| spread_rows(&mut g, w));
    let samples = Random(3).samples(&g, 6);
    let found = equalized(&mut g, &samples);
    assert!(values(&found).contains(&vec!["stem", "c3", "sum"]), "{found:?}");
}

#[test]
fn what_somebody_else_sees_is_left_alone() {
    let mut g = uneven();
    let r1 = g.find("r1").unwrap();
    g.outputs.push(r1);
    let samples = Random(3).samples(&g, 6);
    assert!(!values(&equalized(&mut g, &samples)).contains(&vec!["r1"]));

    // A function that does not commute with factors.
    let mut g = graph(&BLOCK.replace("%r2 = Relu(%c2)", "%r2 = HardSwish(%c2)"));
    ["w2", "b2"].iter().for_each(|w| spread_rows(&mut g, w));
    let samples = Random(3).samples(&g, 6);
    assert!(!values(&equalized(&mut g, &samples)).iter().flatten().any(|v| *v == "r2" || *v == "c2"));
}

#[test]
fn uneven_channels_lose_less() {
    let g = uneven();
    let samples = Random(3).samples(&g, 16);
    let error = |equalize: bool| {
        let options = Options { config: Config { equalize, ..Config::default() }, ..Options::default() };
        let done = run_pipeline(&g, &options, &samples).unwrap();
        assert_eq!(done.report.equalized.is_empty(), !equalize);
        let (mut noise, mut signal) = (0.0, 0.0);
        for sample in &samples {
            for (a, b) in outputs(&g, sample).iter().flatten().zip(outputs(&done.integer, sample).iter().flatten()) {
                noise += f64::from(a - b).powi(2);
                signal += f64::from(*a).powi(2);
            }
        }
        noise / signal
    };
    let (with, without) = (error(true), error(false));
    assert!(with < without, "{with} against {without}");
}

#[test]
fn samples_that_are_not_finite_are_refused_by_place() {
    let mut g = uneven();
    let sample = vec![Tensor::from_f32(&[1, 3, 6, 6], vec![f32::INFINITY; 108]).unwrap()];
    let error = equalize(&mut g, &Config::default(), &Interpreter::default(), &vec![sample]).unwrap_err().to_string();
    assert!(error.contains("finite") && error.contains("sample 0"), "{error}");
}

/// A block of matrix products in front of a Relu, whose channels lie along the last of three axes.
const PRODUCTS: &str = r#"
graph "products" {
  input %x: f32[1x5x6]
  const %w1: f32[6x8] = random
  const %w2: f32[8x8] = random
  const %w3: f32[8x4] = random
  %c1 = MatMul(%x, %w1)
  %r1 = Relu(%c1)
  %c2 = MatMul(%r1, %w2)
  %r2 = Relu(%c2)
  %y = MatMul(%r2, %w3)
  output %y
}
"#;

#[test]
fn a_comparison_undoes_the_factors_of_every_value_that_carries_them() {
    let mut products = graph(PRODUCTS);
    let v = products.find("w1").unwrap();
    let data = products.constant(v).unwrap().floats().unwrap().to_vec();
    let uneven_columns = data.iter().enumerate().map(|(i, w)| w * 0.5f32.powi((i % 8) as i32)).collect();
    products.set_const(v, Tensor::from_f32(&[6, 8], uneven_columns).unwrap());
    for g in [uneven(), products] {
        let samples = Random(3).samples(&g, 8);
        let quantized = |text: &str, samples: &Vec<Vec<Tensor>>| {
            let config = Config { refinements: Vec::new(), ..Config::from_toml(text).unwrap() };
            run_pipeline(&g, &Options { config, ..Options::default() }, samples).unwrap()
        };
        let worst = |a: &Graph, b: &Graph, isolated: bool| {
            let found = measure(a, b, &Interpreter::default(), &samples, 0, isolated).unwrap();
            assert!(found.cumulative.len() >= 3, "{found:?}");
            let least = |of: &[ValueError]| of.iter().map(|e| e.sqnr_db).fold(f64::INFINITY, f64::min);
            (least(&found.cumulative), least(&found.isolated))
        };
        for text in ["", "activation.bits = 16", "store_lowbit = false"] {
            let q = quantized(text, &samples);
            assert!(!q.report.equalized.is_empty(), "{text}");
            let (cumulative, isolated) = worst(&g, &q.integer, true);
            assert!(cumulative > 25.0 && isolated > 25.0, "{}, {text}: {cumulative} {isolated}", g.name);
        }
        // Two that were equalized by other samples, each by factors of its own, are as near as two that were not.
        let apart = |text: &str| {
            let (one, two) = (quantized(text, &samples), quantized(text, &Random(5).samples(&g, 8)));
            worst(&one.integer, &two.integer, false).0
        };
        let (with, without) = (apart(""), apart("equalize = false"));
        assert!(with > without - 1.0 && with > 15.0, "{}: {with} against {without}", g.name);
    }
}
