//! A rule of your own: how an operator is annotated for quantization.
//!
//! A rule sees a call (operands, attributes, name) and puts placeholders where values must be narrow. What a [`Spec`]
//! leaves open, the configuration says; what it says, only the choices of a layer can overrule.
//!
//! Run it with `cargo run --release --example 01_rule`.

use lowbit::data::Dataset;
use lowbit::ir::Op;
use lowbit::{Config, Kind, Model, Quantize, Result, Rounding, Rules, Spec};

/// The example, which checks what it says.
pub fn main() -> Result<()> {
    let model = Model::load("demo/model.onnx")?;
    let images = Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess()?.as_ref())?;

    // Depthwise layers have few weights, so they keep 8 bits; all others get 4.
    let rules = Rules::standard().override_op("Conv", |call, cx| {
        let depthwise = matches!(&call.op, Op::Conv(c) if c.group > 1);
        let x = cx.simulate(call.data(), Kind::Input, Spec::bits(8).unsigned().rounding(Rounding::HalfEven))?;
        let w = cx.simulate(call.weight(), Kind::Weight, Spec::bits(if depthwise { 8 } else { 4 }).per_channel())?;
        cx.keep(call, [x, w])
    });
    let config = Config { samples: 32, ..Config::default() };
    let quantized = model.quantize(Quantize::default().rules(rules).config(config).data(&images))?;

    let weights = quantized.report.values.iter().filter(|v| v.value.ends_with("weight"));
    for value in weights.take(4) {
        println!("{}: {:?} by the rule '{}'", value.value, value.integers, value.rule);
    }
    let (before, after) = (quantized.report.bytes_before, quantized.report.bytes_after);
    println!("{before} bytes of constants became {after}");
    assert!(quantized.report.values.iter().any(|v| v.rule == "override Conv" && v.integers == (-7, 7)));
    assert_eq!(quantized.report.integer_macs_percent, 100.0);
    Ok(())
}
