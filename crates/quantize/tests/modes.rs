//! Which of a layer is quantized, and when: static, dynamic, weight-only.

mod common;

use common::{Random, graph, ops, outputs, run_pipeline};
use lowbit_ir::{Graph, Op, verify};
use lowbit_quantize::{Config, Options, Quantized};

const MODEL: &str = r#"
graph "model" {
  input %x: f32[Nx3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[5x4] = random
  const %b3: f32[5] = random
  %c1 = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %a = Add(%c2, %r1)
  %p = GlobalAvgPool(%a)
  %f = Flatten(%p)
  %y = MatMul(%f, %w3, %b3) {trans_b}
  output %y
}
"#;

fn quantized(text: &str) -> Quantized {
    let g = graph(MODEL);
    let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    let data: Vec<_> = (0..4).map(|i| vec![Random(i).tensor(&[1, 3, 6, 6], 1.0)]).collect();
    let found = run_pipeline(&g, &options, &data).unwrap_or_else(|e| panic!("{text}: {e}"));
    verify::verify(&found.qdq).unwrap();
    verify::verify(&found.integer).unwrap();
    found
}

fn refused(text: &str) -> String {
    let g = graph(MODEL);
    let options = Options { config: Config::from_toml(text).unwrap(), ..Options::default() };
    let data = vec![vec![Random(1).tensor(&[1, 3, 6, 6], 1.0)]];
    run_pipeline(&g, &options, &data).unwrap_err().to_string()
}

/// Layers whose operands are integers.
fn integer_layers(g: &Graph) -> usize {
    let integer = |n: &lowbit_ir::Node| n.input(0).is_some_and(|v| g.ty(v).is_quantized());
    g.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_) | Op::MatMul(_)) && integer(n)).count()
}

/// The greatest difference from the float model, as a part of its greatest result.
fn off(found: &Quantized, seed: u64, scale: f32) -> f32 {
    let sample = vec![Random(seed).tensor(&[1, 3, 6, 6], scale)];
    let (float, integer) = (outputs(&found.float, &sample), outputs(&found.integer, &sample));
    let most = float[0].iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    float[0].iter().zip(&integer[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / most
}

#[test]
fn dynamic_scales_follow_what_is_run() {
    let fixed = quantized("");
    let found = quantized("mode = 'dynamic'");
    assert_eq!(integer_layers(&found.integer), 3, "{:?}", ops(&found.integer));
    assert!(off(&found, 9, 1.0) < 0.05, "{}", off(&found, 9, 1.0));
    // What is a hundred times what calibration saw is cut by scales that it found, and by these it is not.
    assert!(off(&found, 9, 100.0) < 0.05, "{}", off(&found, 9, 100.0));
    assert!(off(&fixed, 9, 100.0) > 0.5, "{}", off(&fixed, 9, 100.0));
    // Means of sums in units of scales that change are corrected by nothing.
    assert!(found.report.corrections.is_empty(), "{:?}", found.report.corrections);
    // Every scale of what is read says who chose it, and all that stays float says why.
    let read: Vec<_> = found.report.values.iter().filter(|v| v.observer == "whole").collect();
    assert_eq!(read.len(), 3);
    assert!(read.iter().all(|v| v.scale == 1.0), "{read:?}");
    let dynamic = found.report.left_float.iter().filter(|l| l.reason.contains("mode = \"dynamic\"")).count();
    assert!(dynamic > 10, "{:?}", found.report.left_float);
    assert!(found.report.layers.iter().all(|l| l.integer));
}

#[test]
fn a_sample_does_not_depend_on_the_others_of_its_batch() {
    let found = quantized("mode = 'dynamic'");
    let (small, large) = (Random(3).tensor(&[1, 3, 6, 6], 0.1), Random(4).tensor(&[1, 3, 6, 6], 50.0));
    let both = [small.floats().unwrap(), large.floats().unwrap()].concat();
    let both = lowbit_ir::Tensor::from_f32(&[2, 3, 6, 6], both).unwrap();
    let together = &outputs(&found.integer, &[both])[0];
    let alone = [small, large].map(|x| outputs(&found.integer, &[x])[0].clone()).concat();
    assert_eq!(*together, alone);
}

#[test]
fn zeros_have_a_scale() {
    let found = quantized("mode = 'dynamic'");
    let zeros = lowbit_ir::Tensor::from_f32(&[1, 3, 6, 6], vec![0.0; 108]).unwrap();
    let y = &outputs(&found.integer, &[zeros])[0];
    assert!(y.iter().all(|y| y.is_finite()), "{y:?}");
}

/// One layer whose weights are whole multiples of their scale, so that only what it reads is rounded.
#[test]
fn the_smallest_numbers_have_a_scale_and_what_is_no_number_spreads() {
    let layer = r#"
graph "layer" {
  input %x: f32[Nx2]
  const %w: f32[2x2] = [127, 0, 0, 127]
  const %b: f32[2] = [0, 1]
  %y = MatMul(%x, %w, %b)
  output %y
}
"#;
    let options = Options { config: Config::from_toml("mode = 'dynamic'").unwrap(), ..Options::default() };
    let found = lowbit_quantize::quantize_without_samples(graph(layer), &options, &mut ()).unwrap().unwrap();
    assert_eq!(integer_layers(&found.integer), 1);
    let run = |row: [f32; 2]| {
        let x = lowbit_ir::Tensor::from_f32(&[1, 2], row.to_vec()).unwrap();
        outputs(&found.integer, &[x])[0].clone()
    };
    assert_eq!(run([0.0, -0.0]), [0.0, 1.0]);
    // From the least number on to where the steps are normal: never more than half of a step off, nor of the least one.
    for exponent in -149..=-100 {
        let most =
            f32::from_bits(if exponent < -126 { 1 << (exponent + 149) } else { ((exponent + 127) as u32) << 23 });
        for x in [most, most * 1.5, -most] {
            let step = f64::from(x.abs()) / 127.0;
            let near = step.max(f64::from(f32::MIN_POSITIVE)) * 0.5001 * 127.0;
            let y = run([x, 0.0]);
            assert!((f64::from(y[0]) - f64::from(x) * 127.0).abs() <= near, "2^{exponent}: {x:e} gives {y:?}");
            assert_eq!(y[1], 1.0);
        }
    }
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(run([odd, 1.0]).iter().all(|y| y.is_nan()), "{odd}: {:?}", run([odd, 1.0]));
    }
}

#[test]
fn weights_alone_are_narrow() {
    let found = quantized("mode = 'weight-only'\nweight.bits = 4");
    assert_eq!(integer_layers(&found.integer), 0);
    assert!(found.report.values.iter().all(|v| v.integers == (-7, 7)), "{:?}", found.report.values);
    assert_eq!(found.report.values.len(), 3);
    let reasons: Vec<&str> = found.report.left_float.iter().map(|l| l.reason.as_str()).collect();
    assert_eq!(reasons.iter().filter(|r| r.contains("its weights alone are narrow")).count(), 3, "{reasons:?}");
    assert_eq!(reasons.iter().filter(|r| r.contains("it has no weights")).count(), 4, "{reasons:?}");
    assert!(found.report.bytes_after < found.report.bytes_before / 2);
    assert!(off(&found, 9, 100.0) < 0.3);
}

#[test]
fn layers_and_operators_have_modes_of_their_own() {
    let found = quantized("op.MatMul.mode = 'dynamic'\nlayer.\"c2*\".mode = 'weight-only'");
    assert_eq!(integer_layers(&found.integer), 2, "{:?}", ops(&found.integer));
    // What has no weights is quantized where its own mode, or that of all, is static.
    let added = quantized("op.Add.mode = 'weight-only'");
    assert!(added.report.left_float.iter().any(|l| l.node == "a" && l.reason.contains("it has no weights")));
    let back = quantized("mode = 'dynamic'\nop.Conv.mode = 'static'");
    assert_eq!(back.report.values.iter().filter(|v| v.observer == "whole").count(), 1);
    // Other widths.
    let narrow = quantized("mode = 'dynamic'\ninput.bits = 4\nlayer.\"c1*\".input.bits = 16");
    let widths: Vec<_> = narrow.report.values.iter().filter(|v| v.observer == "whole").map(|v| v.integers).collect();
    assert_eq!(widths, [(-32767, 32767), (-7, 7), (-7, 7)]);
}

#[test]
fn dynamic_scales_need_no_samples() {
    let options = Options { config: Config::from_toml("mode = 'dynamic'").unwrap(), ..Options::default() };
    let found = lowbit_quantize::quantize_without_samples(graph(MODEL), &options, &mut ()).unwrap().unwrap();
    assert_eq!(integer_layers(&found.integer), 3);
    assert!(off(&found, 9, 100.0) < 0.05, "{}", off(&found, 9, 100.0));
}

#[test]
fn a_mode_that_does_nothing_is_refused() {
    let skipped = refused("op.Conv.mode = 'dynamic'\nskip_k_conv = 2");
    assert!(skipped.contains("op.Conv.mode = \"dynamic\" has no effect"), "{skipped}");
    assert!(
        refused("mode = 'dynamic'\ninput.observer = 'minmax'").contains("input.observer = \"minmax\" has no effect")
    );
    assert!(refused("mode = 'weight-only'\ninput.bits = 4").contains("input.bits = 4 has no effect"));
    for choice in ["per = 'channel'", "scale = 'power-of-two'"] {
        let error = refused(&format!("mode = 'dynamic'\ninput.{choice}"));
        assert!(error.contains("has no effect: all that layers read has a float scale"), "{error}");
    }
    for (mode, choice, said) in [
        ("dynamic", "requantize = 'fixed'", "requantize = \"fixed\""),
        ("weight-only", "requantize = 'fixed'", "requantize = \"fixed\""),
        ("weight-only", "rounding = 'floor'", "rounding = \"floor\""),
        ("weight-only", "store_lowbit = false", "store_lowbit = false"),
    ] {
        let error = refused(&format!("mode = '{mode}'\n{choice}"));
        assert!(error.contains(&format!("{said} has no effect: no layer reads or leaves integers")), "{error}");
    }
    // What a layer has of its own is rescaled, and floats that are quantized are rounded.
    quantized("mode = 'dynamic'\nrequantize = 'fixed'\nop.Conv.mode = 'static'");
    quantized("mode = 'dynamic'\nrounding = 'floor'");
    let wrong = Config::from_toml("mode = 'weights'").unwrap_err().to_string();
    assert!(wrong.contains("static, dynamic or weight-only"), "{wrong}");
}
