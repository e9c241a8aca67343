//! Damaged weights, odd channels and odd data: an error that names the place, or a result that is right.

mod common;

use common::{Random, graph, only_integers, outputs, run_pipeline};
use lowbit_ir::{Graph, Tensor};
use lowbit_quantize::Options;

const LAYERS: &str = r#"
graph "layers" {
  input %x: f32[1x2x4x4]
  const %w1: f32[3x2x1x1] = random
  const %b1: f32[3] = random
  const %w2: f32[2x3x1x1] = random
  %c1 = Conv(%x, %w1, %b1)
  %r1 = Relu(%c1)
  %y = Conv(%r1, %w2)
  output %y
}
"#;

fn with(g: &mut Graph, name: &str, change: impl Fn(usize, f32) -> f32) {
    let v = g.find(name).unwrap();
    let t = g.constant(v).unwrap();
    let data = t.floats().unwrap().iter().enumerate().map(|(i, x)| change(i, *x)).collect();
    let t = Tensor::from_f32(t.dims(), data).unwrap();
    g.set_const(v, t);
}

#[test]
fn weights_and_biases_that_are_not_finite_are_named() {
    for (name, bad) in [("w1", f32::NAN), ("w2", f32::INFINITY), ("b1", f32::NEG_INFINITY)] {
        let mut g = graph(LAYERS);
        with(&mut g, name, |i, x| if i == 1 { bad } else { x });
        // Whatever is found first, it must be an error with a place: an infinite weight makes infinite activations.
        let samples = Random(1).samples(&g, 2);
        let error = run_pipeline(&g, &Options::default(), &samples).unwrap_err().to_string();
        assert!(error.contains("finite"), "{name}: {error}");
        assert!(error.contains("value '") || error.contains("node '"), "{name}: {error}");
    }
}

#[test]
fn data_that_is_not_finite_is_named() {
    let g = graph(LAYERS);
    let mut samples = Random(1).samples(&g, 2);
    let mut data = samples[1][0].floats().unwrap().into_owned();
    data[5] = f32::NAN;
    samples[1][0] = Tensor::from_f32(samples[1][0].dims(), data).unwrap();
    let error = run_pipeline(&g, &Options::default(), &samples).unwrap_err().to_string();
    assert!(error.contains("value 'x'") && error.contains("sample 1") && error.contains("element 5"), "{error}");
}

#[test]
fn channels_of_zeros_keep_their_bias() {
    let mut g = graph(LAYERS);
    with(&mut g, "w1", |i, x| if i < 2 { 0.0 } else { x });
    let samples = Random(1).samples(&g, 4);
    let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
    assert!(only_integers(&q.integer));
    for sample in &samples {
        for (f, i) in outputs(&g, sample)[0].iter().zip(&outputs(&q.integer, sample)[0]) {
            assert!((f - i).abs() < 0.02, "{f} {i}");
        }
    }
}

#[test]
fn a_layer_of_zeros_gives_zeros() {
    let mut g = graph(LAYERS);
    with(&mut g, "w2", |_, _| 0.0);
    let samples = Random(1).samples(&g, 2);
    let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
    assert!(only_integers(&q.integer));
    for sample in &samples {
        assert!(outputs(&q.integer, sample)[0].iter().all(|y| *y == 0.0));
    }
}

#[test]
fn constant_data_has_normal_scales() {
    let g = graph(LAYERS);
    for constant in [0.0, 1.0, -3.5, 1e-30, 1e20] {
        let sample = vec![Tensor::from_f32(&[1, 2, 4, 4], vec![constant; 32]).unwrap()];
        let q =
            run_pipeline(&g, &Options::default(), &vec![sample.clone()]).unwrap_or_else(|e| panic!("{constant}: {e}"));
        for chosen in &q.report.values {
            assert!(chosen.scale.is_normal() && chosen.scale > 0.0, "{constant}: {chosen:?}");
        }
        let (float, integer) = (outputs(&g, &sample), outputs(&q.integer, &sample));
        let largest = float[0].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (f, i) in float[0].iter().zip(&integer[0]) {
            assert!((f - i).abs() <= 0.03 * largest, "{constant}: {f} {i}");
        }
    }
}

#[test]
fn a_bias_beyond_its_integer_widens_the_scale_and_says_so() {
    let mut g = graph(LAYERS);
    with(&mut g, "w1", |i, x| if i < 2 { x * 1e-7 } else { x });
    with(&mut g, "b1", |i, x| if i == 0 { 100.0 } else { x });
    let samples = Random(1).samples(&g, 2);
    let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
    let w1 = q.report.values.iter().find(|c| c.value == "w1").unwrap();
    assert_eq!(w1.widened_for_bias, 1);
    let (float, integer) = (outputs(&g, &samples[0]), outputs(&q.integer, &samples[0]));
    for (f, i) in float[0].iter().zip(&integer[0]) {
        assert!((f - i).abs() < 0.01 * 100.0, "{f} {i}");
    }
}

#[test]
fn weights_without_a_scale_leave_their_layer_float() {
    for (factor, why) in [(1e-38, "too small"), (1e-30, "too small"), (1e25, "too large")] {
        let mut g = graph(LAYERS);
        with(&mut g, "w2", |_, x| x * factor);
        let samples = Random(1).samples(&g, 2);
        let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
        let left: Vec<_> = q.report.left_float.iter().filter(|l| l.op == "Conv").collect();
        let [left] = left.as_slice() else { panic!("{left:?}") };
        assert!(left.node == "y" && left.rule == "conv" && left.reason.contains(why), "{left:?}");
        let (float, integer) = (outputs(&g, &samples[0]), outputs(&q.integer, &samples[0]));
        let largest = float[0].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(largest > 0.0);
        for (f, i) in float[0].iter().zip(&integer[0]) {
            assert!((f - i).abs() <= 0.03 * largest, "{factor}: {f} {i}");
        }
    }
}

#[test]
fn what_becomes_zero_for_want_of_a_scale_is_counted() {
    let mut g = graph(LAYERS);
    // One channel of three is as good as dead: that is no reason for a float layer.
    with(&mut g, "w1", |i, x| if i < 2 { x * 1e-38 } else { x });
    let samples = Random(1).samples(&g, 2);
    let q = run_pipeline(&g, &Options::default(), &samples).unwrap();
    assert!(only_integers(&q.integer));
    let too_small = |name: &str| q.report.values.iter().find(|c| c.value == name).unwrap().too_small;
    assert_eq!((too_small("w1"), too_small("w2"), too_small("x")), (1, 0, 0));

    let faint = vec![vec![Tensor::from_f32(&[1, 2, 4, 4], vec![1e-30; 32]).unwrap()]];
    let q = run_pipeline(&graph(LAYERS), &Options::default(), &faint).unwrap();
    assert_eq!(q.report.values.iter().find(|c| c.value == "x").unwrap().too_small, 1);
}

#[test]
fn data_that_no_scale_fits_is_named() {
    let g = graph(LAYERS);
    for large in [1e21, 3e38] {
        let sample = vec![Tensor::from_f32(&[1, 2, 4, 4], vec![large; 32]).unwrap()];
        let e = run_pipeline(&g, &Options::default(), &vec![sample]).unwrap_err().to_string();
        assert!(e.contains("value 'x'") && e.contains("calibration data"), "{large}: {e}");
    }
}

#[test]
fn work_is_counted_for_the_size_that_the_data_has() {
    let g = graph(&LAYERS.replace("f32[1x2x4x4]", "f32[Nx2xHxW]"));
    let sample = vec![Random(1).tensor(&[1, 2, 5, 7], 2.0)];
    let q = run_pipeline(&g, &Options::default(), &vec![sample]).unwrap();
    let macs: Vec<u64> = q.report.layers.iter().map(|l| l.macs).collect();
    assert_eq!(macs, [2 * 3 * 35, 3 * 2 * 35]);
}

/// Statistics of channels grow with their number, a few bytes of a configuration: what there is no room for is known after
/// the first sample.
#[test]
fn statistics_that_take_too_much_are_refused_on_the_first_sample() {
    use lowbit_ir::{Result, interp::Interpreter};
    use lowbit_quantize::{Config, Samples, gather};
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counted(Vec<Tensor>, AtomicUsize);
    impl Samples for Counted {
        fn len(&self) -> usize {
            9
        }
        fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
            self.1.fetch_max(i, Ordering::Relaxed);
            Ok(self.0.clone())
        }
    }
    let g = graph(&LAYERS.replace("f32[1x2x4x4]", "f32[1x64x4x4]").replace("f32[3x2x1x1]", "f32[3x64x1x1]"));
    let config = Config::from_toml("input.per = 'channel'\nequalize = false\nrefinements = []").unwrap();
    let run = |max_memory: usize| {
        let options = Options { config: config.clone(), max_memory, ..Options::default() };
        let samples = Counted(vec![Random(3).tensor(&[1, 64, 4, 4], 2.0)], AtomicUsize::new(0));
        let found = gather(g.clone(), &options, &Interpreter::default(), &samples, &mut ());
        (found, samples.1.into_inner())
    };
    let (found, last) = run(64 << 20);
    assert_eq!((found.unwrap().unwrap().stats.samples, last), (9, 8));
    let (found, last) = run(1 << 20);
    let e = found.unwrap_err().to_string();
    assert!(e.contains("value 'x'") && e.contains("statistics of values") && e.contains("at most 1 MiB"), "{e}");
    assert!(e.contains("on sample 0"), "{e}");
    assert_eq!(last, 0, "no other sample was run for it");
}

/// What is computed of constants grows by a part of the memory that is allowed, all together.
#[test]
fn folded_constants_follow_the_memory_that_is_allowed() {
    use lowbit_ir::Customs;
    use lowbit_quantize::{Prepare, prepare};
    let text = r#"
graph "g" {
  input %x: f32[1000]
  const %c: f32[1] = [1]
  %a = Expand(%c) {dims [1000]}
  %b = Expand(%c) {dims [1000]}
  %t = Relu(%c)
  %s = Add(%x, %a)
  %r = Mul(%s, %b)
  %y = Add(%r, %t)
  output %y
}
"#;
    let left = |max_memory: usize| {
        let mut g = graph(text);
        let _ = prepare(&mut g, &mut Prepare::new(Customs::default(), max_memory), &mut ()).unwrap();
        let mut left: Vec<String> =
            g.nodes().filter(|(_, n)| n.op.name() == "Expand").map(|(_, n)| n.name.clone()).collect();
        left.sort();
        left
    };
    assert_eq!(left(2 << 30), [""; 0]);
    assert_eq!(left(8 * 8000), [""; 0]);
    assert_eq!(left(8 * 6000), ["b"], "the first took what there is");
    assert_eq!(left(8 * 1000), ["a", "b"]);
}
