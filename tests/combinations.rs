//! Many ways to quantize one network, each of which keeps the two promises: every executor gives the interpreter's bits,
//! and every layer is within one step of its simulation.

use lowbit::compare::compare;
use lowbit::data::Dataset;
use lowbit::evaluate::evaluate;
use lowbit::ir::Customs;
use lowbit::prefetch::Prefetch;
use lowbit::quantization::observe::OBSERVERS;
use lowbit::verify::verify;
use lowbit::{Compiled, Config, Model, Quantize};

/// Each is a configuration file.
const COMBINATIONS: &[&str] = &[
    "",
    "requantize = 'fixed'",
    "round_for_shift = true\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
    "global_scale = 8.0\nskip_k_conv = 1\nskip_dense = true",
    "io = 'int8'",
    "io = 'uint8'\nskip_dense = true",
    "input.signed = true\ninput.symmetric = true",
    "input.signed = true\ninput.symmetric = true\ninput.narrow = true",
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

/// The configuration that the README shows.
fn example() -> String {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.into()
}

/// The demo's network, and images of it.
fn demo(folder: &str) -> (Model, Dataset) {
    let model = Model::load("demo/model.onnx").unwrap();
    let preprocess = model.stored_preprocess().unwrap();
    let images = Dataset::open(&format!("demo/{folder}"), &model.inputs(), preprocess.as_ref()).unwrap();
    (model, images)
}

#[test]
fn every_observer_agrees_with_the_float_network() {
    let (model, images) = demo("calibration");
    let (_, test) = demo("test");
    // On the usual integers; the classic ones of the observer for which everything was symmetric are the same grid.
    let classic = "input.observer = 'global_scale'\ninput.signed = true\ninput.symmetric = true".to_string();
    for text in OBSERVERS.iter().map(|o| format!("input.observer = '{}'", o.name)).chain([classic]) {
        let quantized =
            model.quantize(Quantize::default().data(&images).config(Config::from_toml(&text).unwrap())).unwrap();
        let samples = Prefetch::new(&test, 240);
        let engine = Compiled::host().unwrap();
        let found = evaluate(&quantized.integer, Some(&quantized.float), &engine, &samples, None).unwrap();
        assert!(found.agreement.unwrap() >= 95.0, "{text}: {found:?}");
    }
}

#[test]
fn every_combination_is_the_same_everywhere_and_within_a_step_of_its_simulation() {
    let (model, images) = demo("calibration");
    let readme = example();
    for text in COMBINATIONS.iter().copied().chain([readme.as_str()]) {
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
