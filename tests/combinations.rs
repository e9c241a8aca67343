//! Many ways to quantize one network, each of which keeps the two promises: every executor gives the interpreter's bits,
//! and every layer is within one step of its simulation.

use lowbit::compare::compare;
use lowbit::data::Dataset;
use lowbit::ir::Customs;
use lowbit::prefetch::Prefetch;
use lowbit::verify::verify;
use lowbit::{Compiled, Config, Model, Quantize};

/// Each is a configuration file.
const COMBINATIONS: &[&str] = &[
    "",
    "requantize = 'fixed'",
    "round_for_shift = true\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
    "global_scale = 8.0\nskip_k_conv = 1\nskip_dense = true",
    "io = 'int8'",
    "input.signed = true\ninput.symmetric = true",
    "input.symmetric = true\ninput.narrow = true",
    "weight.per = 'tensor'\nweight.signed = false\nweight.symmetric = false",
    "input.bits = 16",
    "input.bits = 16\nrequantize = 'fixed'",
    "input.bits = 16\nweight.bits = 16\naccumulator_bits = 64",
    "input.bits = 13\nweight.bits = 11\naccumulator_bits = 64",
    "input.bits = 10\nweight.bits = 7",
    "weight.bits = 4",
    "input.bits = 4\nweight.bits = 4",
    "input.bits = 2\nweight.bits = 2",
    "input.bits = 3\nweight.bits = 5\nrequantize = 'fixed'",
    "input.rounding = 'half-away'\nweight.rounding = 'floor'",
    "input.rounding = 'half-up'",
    "input.rounding = 'floor'",
    "input.rounding = 'toward-zero'\nrequantize = 'fixed'",
    "input.rounding = 'stochastic(5)'",
    "input.rounding = 'floor'\ninput.bits = 16",
    "input.rounding = 'floor'\nstore_lowbit = false",
    "activation.bits = 12\nactivation.rounding = 'half-up'",
    "activation.bits = 12\nactivation.rounding = 'half-away'",
    "activation.bits = 12\nactivation.rounding = 'floor'",
    "activation.bits = 12\nactivation.rounding = 'toward-zero'\nrequantize = 'fixed'",
    "activation.bits = 12\nactivation.rounding = 'stochastic(3)'",
    "activation.bits = 24\nactivation.rounding = 'floor'\ninput.rounding = 'toward-zero'",
    "rounding = 'half-even'\nrequantize = 'fixed'",
    "rounding = 'half-up'",
    "rounding = 'half-away'",
    "rounding = 'toward-zero'",
    "rounding = 'floor'\nrequantize = 'fixed'",
    "rounding = 'stochastic(9)'",
    "requantize = 'shift'\nround_for_shift = false\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
    "requantize = 'shift'\ninput.rounding = 'half-away'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
    "store_lowbit = false\nactivation.bits = 16",
    "store_lowbit = false\nactivation.bits = 9",
    "activation.bits = 24",
    "activation.bits = 16",
    "activation.bits = 10",
    "activation.bits = 31",
    "store_lowbit = false",
    "store_lowbit = false\nrequantize = 'fixed'",
    "store_lowbit = false\nactivation.bits = 20",
    "[op.Conv]\nweight.per = 'block(8)'\nweight.bits = 4",
    "input.observer = 'entropy'\nweight.observer = 'mse'",
    "[op.Add]\ninput.bits = 16\n[op.Conv]\ninput.bits = 6",
];

#[test]
fn every_combination_is_the_same_everywhere_and_within_a_step_of_its_simulation() {
    let model = Model::load("demo/model.onnx").unwrap();
    let images =
        Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess().unwrap().as_ref()).unwrap();
    for text in COMBINATIONS {
        let config = Config { samples: 8, refinements: Vec::new(), ..Config::from_toml(text).unwrap() };
        let found = model.quantize(Quantize::default().data(&images).config(config));
        let quantized = found.unwrap_or_else(|e| panic!("{text}: {e}"));
        let same = verify(&quantized.integer, &Customs::default(), &Prefetch::new(&images, 1)).unwrap();
        assert!(same.identical, "{text}: {:?}", same.difference);
        let simulated = quantized.model.simulated().unwrap();
        let apart = compare(&simulated, &quantized.model, &Compiled::host().unwrap(), &images, 2).unwrap();
        assert!(apart.isolated, "{text}: {:?}", quantized.report.left_float);
        let mut compared = 0;
        for layer in &apart.layers {
            let alone = layer.isolated.unwrap();
            compared += usize::from(alone.max_steps.is_some());
            assert!(alone.max_steps <= Some(1), "{text}: {layer:?}");
        }
        assert!(compared >= 10, "{text}: {compared} values were compared");
    }
}
