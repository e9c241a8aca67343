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
    "weight.bits = 3\nweight.signed = false\nweight.symmetric = false",
    "input.bits = 4\nweight.bits = 4",
    "input.bits = 2\nweight.bits = 2",
    "input.bits = 3\nweight.bits = 5\nrequantize = 'fixed'",
    "input.rounding = 'half-away'\nweight.rounding = 'floor'",
    "input.rounding = 'half-up'",
    "input.rounding = 'floor'",
    "[op.Conv]\ninput.rounding = 'floor'",
    "[op.Add]\ninput.rounding = 'toward-zero'",
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
    "weight.per = 'block(16)'",
    "weight.per = 'block(4)'\nweight.bits = 12\nactivation.bits = 14",
    "weight.per = 'block(3)'\nweight.bits = 4\nrequantize = 'fixed'",
    "weight.per = 'block(5)'\nweight.bits = 5\nweight.signed = false\nweight.symmetric = false\ninput.bits = 12\naccumulator_limit = 'widen'",
    "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'\nweight.per = 'block(4)'",
    "weight.per = 'block(16)'\ninput.bits = 14\naccumulator_bits = 64",
    "store_lowbit = false\nactivation.bits = 16",
    "store_lowbit = false\ninput.bits = 16\naccumulator_bits = 64",
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
    // One takes values for whole numbers, which those of a network are not.
    let found = OBSERVERS.iter().filter(|o| o.name != "whole");
    for text in found.map(|o| format!("input.observer = '{}'", o.name)).chain([classic]) {
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
    let folder = std::env::temp_dir().join(format!("lowbit-combinations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.onnx");
    let readme = example();
    for text in COMBINATIONS.iter().copied().chain([readme.as_str()]) {
        let config = Config { samples: 8, refinements: Vec::new(), ..Config::from_toml(text).unwrap() };
        let found = model.quantize(Quantize::default().data(&images).config(config));
        let quantized = found.unwrap_or_else(|e| panic!("{text}: {e}"));
        // Weights of up to 4 bits take half a byte each.
        let narrow = |t: &lowbit::ir::Tensor| t.ty().quant.as_ref().is_some_and(|q| q.qmax - q.qmin < 16);
        for (_, value) in quantized.model.graph().values() {
            if let lowbit::ir::Def::Const(t) = &value.def
                && narrow(t)
            {
                assert_eq!(t.bytes().len(), t.count().div_ceil(2), "{text}: {}", value.name);
            }
        }
        let same = verify(&quantized.integer, &Customs::default(), &Prefetch::new(&images, 1)).unwrap();
        assert!(same.identical, "{text}: {:?}", same.difference);
        // The file gives the same integers.
        quantized.model.save(&path).unwrap();
        let (again, _) = Model::load(&path).unwrap().lowered().unwrap();
        assert_eq!(contents(&again), contents(&quantized.integer), "{text}");
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

/// What is quantized by channel, and back, has kernels.
#[test]
fn scales_by_channel_of_values_have_kernels() {
    let model = Model::load("demo/model.onnx").unwrap();
    let images =
        Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess().unwrap().as_ref()).unwrap();
    for text in ["", "input.bits = 10\ninput.signed = true", "input.rounding = 'floor'"] {
        let text = format!("samples = 4\nrefinements = []\ninput.per = 'channel'\n{text}");
        let config = Config::from_toml(&text).unwrap();
        let quantized = model.quantize(Quantize::default().data(&images).config(config)).unwrap();
        let same = verify(&quantized.integer, &Customs::default(), &Prefetch::new(&images, 1)).unwrap();
        assert!(same.identical, "{text}: {:?}", same.difference);
        let program = quantized.compile(lowbit::Target::host()).unwrap();
        let slow: Vec<_> = program.reference_steps().map(|s| s.name.clone()).collect();
        assert!(!slow.iter().any(|s| s.contains("Quantize") || s.contains("Dequantize")), "{text}: {slow:?}");
    }
}

/// Who quantized elsewhere chose no limit to the sums, so they are as wide as they need to be.
#[test]
fn a_file_that_stores_no_configuration_has_no_limit_to_its_sums() {
    let model = Model::load("demo/model.onnx").unwrap();
    let images =
        Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess().unwrap().as_ref()).unwrap();
    let config = Config::from_toml("samples = 4\nrefinements = []\ninput.bits = 16\nweight.bits = 16").unwrap();
    let quantized = model.quantize(Quantize::default().data(&images).config(config)).unwrap();
    let limited = |why: &str| why.contains("sums need");
    assert!(quantized.report.left_float.iter().any(|l| limited(&l.reason)), "{:?}", quantized.report.left_float);
    let mut graph = quantized.model.graph().clone();
    graph.meta.properties.remove(lowbit::model::CONFIG).unwrap();
    let (integer, left) = Model::from(graph).lowered().unwrap();
    assert!(!left.iter().any(|l| limited(&l.reason)), "{left:?}");
    let same = verify(&integer, &Customs::default(), &Prefetch::new(&images, 1)).unwrap();
    assert!(same.identical, "{:?}", same.difference);
}

/// The nodes of a graph, and the integers of its constants by what reads them.
fn contents(g: &lowbit::ir::Graph) -> Vec<(String, String, Vec<Vec<i64>>)> {
    let integers = |v| g.constant(v).filter(|t| !t.dtype().is_float()).map(|t| t.ints().unwrap());
    let mut nodes: Vec<_> = g
        .nodes()
        .map(|(_, n)| (n.name.clone(), format!("{:?}", n.op), n.operands().filter_map(integers).collect()))
        .collect();
    nodes.sort();
    nodes
}
