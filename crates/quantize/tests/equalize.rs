//! Equalization: which values it takes together, what it keeps, and what it gains.

mod common;

use common::{Random, graph, outputs, run_pipeline};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Graph, Tensor, meta};
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
    let record: std::collections::BTreeMap<String, Vec<u32>> =
        serde_json::from_str(&g.meta.properties[meta::EQUALIZATION]).unwrap();
    assert!(record.values().flatten().any(|k| *k >= 8), "{record:?}");
    for (name, eighths) in &record {
        let of = |g: &Graph| {
            let mut tapped = g.clone();
            tapped.outputs = vec![g.find(name).unwrap()];
            tapped.sweep();
            outputs(&tapped, &samples[0]).remove(0)
        };
        let (before, after) = (of(&source), of(&g));
        let inner = before.len() / eighths.len();
        for (i, (a, b)) in before.iter().zip(&after).enumerate() {
            let expected = a * (eighths[i / inner] as f32 / 8.0).exp2();
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
