//! Quantizing with nothing to look at: one range for all values, and reasons where that cannot be.

mod common;

use common::{Random, graph, only_integers, outputs, run_pipeline};
use lowbit_ir::{Kind, Request, Result};
use lowbit_quantize::observe::{Range, Seen};
use lowbit_quantize::{Config, Observer, Options, Quantized, Rules, Spec, quantize_without_samples};

const MODEL: &str = r#"
graph "model" {
  input %x: f32[Nx3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[5x4] = random
  %c1 = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1 = Clip(%c1) {min 0.0, max 6.0}
  %c2 = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %a = Add(%c2, %r1)
  %s = Sigmoid(%a)
  %p = GlobalAvgPool(%s)
  %f = Flatten(%p)
  %y = MatMul(%f, %w3) {trans_b}
  output %y
}
"#;

fn options(text: &str) -> Options {
    Options { config: Config::from_toml(text).unwrap(), ..Options::default() }
}

fn alone(options: &Options) -> Result<Quantized> {
    Ok(quantize_without_samples(graph(MODEL), options, &mut ())?.expect("nobody stopped it"))
}

fn refused(options: &Options) -> String {
    alone(options).unwrap_err().to_string()
}

#[test]
fn it_is_what_samples_give_with_the_observer_that_looks_at_none() {
    let g = graph(MODEL);
    let data: Vec<_> = (0..3).map(|i| vec![Random(i).tensor(&[1, 3, 6, 6], 3.0)]).collect();
    for text in [
        "",
        "global_scale = 4.0",
        "activation.bits = 16\nglobal_scale = 16.0\nskip_k_conv = 1",
        "activation.bits = 24\nskip_k_conv = 1",
        "input.signed = true\ninput.symmetric = true\ninput.scale = 'power-of-two'",
        "output = 'narrow'\nglobal_scale = 3.0",
        "io = 'int8'",
        "input.observer = 'global_scale(2)'",
        "store_lowbit = false\nactivation.bits = 20",
    ] {
        let found = alone(&options(text)).unwrap_or_else(|e| panic!("{text}: {e}"));
        let observer = if text.contains("global_scale(2)") { "" } else { "input.observer = 'global_scale'\n" };
        let plain = format!(
            "samples = 0\nequalize = false\nrefinements = []\nactivation.observer = 'global_scale'\n{observer}{text}"
        );
        let plain = options(&plain);
        let expected = run_pipeline(&g, &plain, &data).unwrap_or_else(|e| panic!("{text}: {e}"));
        // What was seen is not the same, and has no say.
        let unseen = |g: &lowbit_ir::Graph| {
            let mut g = g.clone();
            g.meta.properties.remove(lowbit_ir::meta::CHOSEN).expect("what was chosen is recorded");
            g
        };
        assert_eq!(unseen(&found.qdq), unseen(&expected.qdq), "{text}");
        assert_eq!(found.integer, expected.integer, "{text}");
        // The observer carries the configuration's parameter, also where only the model's end asks.
        assert!(found.report.values.iter().all(|c| c.observer != "global_scale"), "{text}");
        assert_eq!(found.report.config, Config { samples: 0, ..plain.config.filled() }, "{text}");
        let skipped: Vec<&str> = found.report.skipped.iter().map(|s| s.stage.as_str()).collect();
        assert_eq!(skipped, ["equalize", "bias-correction"]);
        assert!(found.report.skipped.iter().all(|s| s.reason.ends_with("there are none")));
        assert_eq!(alone(&plain).unwrap().report.skipped, []);
        // What was in force can be asked for again.
        let again = Options { config: found.report.config.clone(), ..Options::default() };
        assert_eq!(alone(&again).unwrap().qdq, found.qdq, "{text}");
    }
}

#[test]
fn every_value_has_the_one_scale_whatever_is_known_of_it() {
    let found = alone(&options("global_scale = 4.0")).unwrap();
    assert!(only_integers(&found.integer));
    let values = found.report.values.iter().filter(|c| c.observer == "global_scale(4)");
    let scales: Vec<(f32, &str)> = values.map(|c| (c.scale, c.dtype.as_str())).collect();
    // The input, the clipped, the sum and the sigmoid, of which the last two are known to be smaller.
    assert!(scales.len() >= 4 && scales.iter().all(|s| *s == (4.0 / 128.0, "u8")), "{scales:?}");
    assert!(found.report.values.iter().all(|c| c.too_small == 0 && c.limited_by.is_none()));
    // It computes: values within the range come out nearly as floats.
    let sample = vec![Random(5).tensor(&[1, 3, 6, 6], 0.5)];
    let (float, integer) = (outputs(&found.float, &sample), outputs(&found.integer, &sample));
    let off = float[0].iter().zip(&integer[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 0.1, "{float:?} {integer:?}");
}

#[test]
fn channels_have_their_scales_without_samples_too() {
    let g = graph(
        r#"
graph "depthwise" {
  input %x: f32[Nx3x6x6]
  const %w: f32[3x1x3x3] = random
  %c = Conv(%x, %w) {group 3}
  output %c
}
"#,
    );
    let options = options("input.per = 'channel'");
    let found = quantize_without_samples(g.clone(), &options, &mut ()).unwrap().unwrap();
    let input = found.report.values.iter().find(|c| c.value == "x").unwrap();
    assert_eq!((input.scales, input.scale, input.least_scale), (3, 8.0 / 128.0, 8.0 / 128.0));
    assert!(only_integers(&found.integer));
}

#[test]
fn a_model_without_anything_to_quantize_stays_as_it_is() {
    let g = graph("graph \"g\" {\n  input %x: f32[1x4]\n  %y = Log(%x)\n  output %y\n}");
    let found = quantize_without_samples(g.clone(), &Options::default(), &mut ()).unwrap().unwrap();
    assert_eq!(found.report.values, []);
}

#[test]
fn what_looks_at_samples_is_refused_where_it_stands() {
    for (text, why) in [
        ("input.observer = 'minmax'", "input.observer = \"minmax\" looks at samples, and there are none"),
        ("activation.observer = 'mse'\nactivation.bits = 16", "activation.observer = \"mse\" looks at samples"),
        (
            "[op.Conv]\ninput.observer = 'percentile(99)'",
            "op.Conv.input.observer = \"percentile(99)\" looks at samples",
        ),
        ("[layer.'c*']\ninput.observer = 'mse'", "layer.\"c*\".input.observer = \"mse\" looks at samples"),
    ] {
        let error = refused(&options(text));
        assert!(error.contains(why) && error.contains("global_scale"), "{text}: {error}");
    }
    // Weights are known, whatever observes them.
    alone(&options("weight.observer = 'mse'")).unwrap();
    let error = refused(&options("input.scale = 'power-of-two'\nglobal_scale = 3.0"));
    assert!(error.contains("no power of two"), "{error}");
    // The numbers of samples that were wanted are told.
    let found = alone(&options("samples = 7\nrefine_samples = 5")).unwrap();
    let skipped: Vec<&str> = found.report.skipped.iter().map(|s| s.stage.as_str()).collect();
    assert_eq!(skipped, ["equalize", "bias-correction", "refine_samples", "samples"]);
}

/// A range that nobody has seen, or that of what was.
struct Own(bool);

impl Observer for Own {
    fn name(&self) -> &str {
        "own"
    }

    fn range(&self, _: &Seen, _: &Request) -> Result<Range> {
        Ok(Range { low: -1.0, high: 1.0 })
    }

    fn needs_samples(&self) -> bool {
        self.0
    }
}

#[test]
fn observers_and_rules_of_the_user_are_asked_whether_they_need_samples() {
    let with = |own: Own| {
        let options = options("input.observer = 'own'");
        Options { observers: options.observers.clone().with(own), ..options }
    };
    let found = alone(&with(Own(false))).unwrap();
    let input = found.report.values.iter().find(|c| c.value == "x").unwrap();
    assert_eq!((input.observer.as_str(), input.scale), ("own", 2.0 / 255.0));
    assert!(refused(&with(Own(true))).contains("input.observer = \"own\" looks at samples"));
    // A rule may ask for an observer that no configuration names.
    let rules = Rules::standard().override_op("Conv", |call, cx| {
        let x = cx.simulate(call.data(), Kind::Input, Spec::default().observer("minmax"))?;
        let w = cx.simulate(call.weight(), Kind::Weight, Spec::default())?;
        cx.keep(call, [x, w])
    });
    let error = refused(&Options { rules, ..Options::default() });
    assert!(error.contains("the observer 'minmax' looks at samples, and there are none"), "{error}");
    assert!(error.contains("value '"), "{error}");
}
