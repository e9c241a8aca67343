//! Random graphs, where no file is in the way: the executors against each other, and a network against its integers.

use crate::choices::Choices;
use crate::executors::{self, MEMORY, accepted};
use crate::graphs::{Of, graph};
use lowbit::compare::compare;
use lowbit::ir::{Customs, DType, Engine, Op, interp::Interpreter, text};
use lowbit::{Compiled, Config, Graph, Isa, Model, Quantize, Result, Target, Tensor, frontend};

/// A graph of floats and integers: the interpreter against every kernel row.
pub fn executors(data: &[u8]) -> bool {
    let c = &mut Choices::of(data);
    let (taps, threads) = (c.once_in(4), if c.once_in(16) { 3 } else { 1 });
    let isas = isas(c);
    let g = graph(c, Of::Everything);
    let Ok(inputs) = inputs(c, &g) else { return false };
    executors::compare(&g, &inputs, &isas, taps, threads).is_some()
}

/// A graph through its text and back, and through an ONNX file and back, where it may go into one: the same values.
pub fn roundtrip(data: &[u8]) -> bool {
    let c = &mut Choices::of(data);
    let g = graph(c, Of::Everything);
    let printed = text::print(&g);
    let again = text::parse(&printed).unwrap_or_else(|e| panic!("what was printed is not read: {e}\n{printed}"));
    assert_eq!(text::print(&again), text::print(&g.compact()), "the text of a graph is not the text of its text");
    let Ok(inputs) = inputs(c, &g) else { return false };
    let interpret = |g: &Graph| {
        let interpreter = Interpreter { customs: Customs::default(), max_memory: MEMORY };
        // A file says of integers what they stand for where they are read; an input that nobody reads is plain there.
        let as_read = g.inputs.iter().zip(&inputs).map(|(v, t)| t.with_quant(g.ty(*v).quant.clone()));
        let inputs: Vec<Tensor> = as_read.collect();
        interpreter.load(g, &[]).and_then(|mut run| run.run(&inputs))
    };
    let Some(expected) = accepted(interpret(&g)) else { return false };
    let found = interpret(&again).unwrap_or_else(|e| panic!("the text of a graph does not run: {e}"));
    same("the text", &expected.outputs, &found.outputs);
    if has_halves(&g) {
        return true;
    }
    let Some(bytes) = accepted(frontend::export(&g)) else { return false };
    let read = frontend::load_bytes(bytes.into(), None, &crate::files::import_options());
    let read = read.unwrap_or_else(|e| panic!("what was written is not read: {e}\n{printed}"));
    let found = interpret(&read).unwrap_or_else(|e| panic!("what was written does not run: {e}\n{printed}"));
    // Nor does it of outputs that nobody dequantizes.
    let plain = |all: &[Tensor]| all.iter().map(|t| t.with_quant(None)).collect::<Vec<Tensor>>();
    same("the file", &plain(&expected.outputs), &plain(&found.outputs));
    true
}

/// A float network is quantized, simulated and made integers: every executor gives the interpreter's bits, the file
/// holds the same integers, and every layer is within a step of its simulation.
pub fn quantized(data: &[u8]) -> bool {
    let c = &mut Choices::of(data);
    let (config, isas) = (config(c), isas(c));
    let g = graph(c, Of::Floats);
    if !executors::is_small(&g) || has_halves(&g) || g.outputs.iter().all(|v| g.inputs.contains(v)) {
        return false;
    }
    let Ok(samples) = (0..2).map(|_| inputs(c, &g)).collect::<Result<Vec<_>>>() else { return false };
    let Some(choices) = accepted(Config::from_toml(&config)) else { return false };
    let engine = || Compiled::new(Target::host().max_memory(MEMORY), 1).ok();
    let (Some(first), Some(second)) = (engine(), engine()) else { return false };
    let model = Model::from(g).within(MEMORY);
    let how = Quantize::default().data(samples.clone()).config(choices).engine(first);
    let Some(quantized) = accepted(model.quantize(how)) else { return false };

    for inputs in &samples {
        let entering = |g: &Graph| lowbit::model::entering(g, inputs).map(|i| i.into_owned());
        let Some(integers) = accepted(entering(&quantized.integer)) else { return false };
        let Some(expected) = executors::compare(&quantized.integer, &integers, &isas, false, 1) else { return false };
        let bytes = frontend::export(quantized.model.graph());
        let bytes = bytes.unwrap_or_else(|e| panic!("a quantized model is not written: {e}"));
        let read = frontend::load_bytes(bytes.into(), None, &crate::files::import_options());
        let read = Model::from(read.unwrap_or_else(|e| panic!("a quantized model is not read: {e}"))).within(MEMORY);
        let (again, _) = read.lowered().unwrap_or_else(|e| panic!("a file's integers are not made: {e}"));
        let interpreter = Interpreter { customs: Customs::default(), max_memory: MEMORY };
        let found = interpreter.load(&again, &[]).and_then(|mut run| run.run(&entering(&again)?));
        let found = found.unwrap_or_else(|e| panic!("a file's integers do not run: {e}"));
        same("the integers of the file", &expected.outputs, &found.outputs);
    }

    let Some(simulated) = accepted(quantized.model.simulated()) else { return true };
    let Some(apart) = accepted(compare(&simulated, &quantized.model, &second, &samples, 2)) else { return true };
    let texts = || format!("{config}\n{}", text::print(quantized.model.graph()));
    let stochastic = config.contains("stochastic");
    for layer in &apart.layers {
        if stochastic && reads_limits(quantized.model.graph(), &layer.value) {
            continue;
        }
        let steps = layer.isolated.and_then(|alone| alone.max_steps);
        assert!(
            steps <= Some(1),
            "'{}' ({}) is {steps:?} steps from its simulation: {}",
            layer.value,
            layer.op,
            texts()
        );
    }
    true
}

/// Whether a value is computed from what a Clip limits: a limit is one integer, where the simulation's real may be rounded
/// either way at random. That is a step, and whoever multiplies it is further apart.
fn reads_limits(g: &Graph, value: &str) -> bool {
    let producer = |v| g.producer(v).map(|id| g.node(id));
    let Some(node) = g.find(value).and_then(producer) else { return false };
    node.operands().any(|operand| {
        let mut at = producer(operand);
        while let Some(node) = at.filter(|n| matches!(n.op, Op::Quantize { .. } | Op::Dequantize)) {
            at = node.input(0).and_then(producer);
        }
        at.is_some_and(|n| matches!(n.op, Op::Clip { .. }))
    })
}

/// All instruction sets of this machine once in a while, and else one of them: so more graphs are seen in the same time.
fn isas(c: &mut Choices<'_>) -> Vec<Isa> {
    let mut all = Isa::available();
    match c.byte() {
        0..64 => all,
        byte => vec![all.swap_remove(usize::from(byte) % all.len())],
    }
}

/// Choices as a file of them.
fn config(c: &mut Choices<'_>) -> String {
    const LINES: [&str; 30] = [
        "",
        "requantize = 'fixed'",
        "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'",
        "input.bits = 4",
        "weight.bits = 4",
        "input.bits = 16",
        "weight.per = 'tensor'",
        "weight.signed = false\nweight.symmetric = false",
        "input.signed = true\ninput.symmetric = true",
        "input.narrow = true",
        "rounding = 'half-up'",
        "rounding = 'floor'",
        "rounding = 'toward-zero'",
        "rounding = 'stochastic(9)'",
        "store_lowbit = false",
        "activation.bits = 16",
        "activation.bits = 24",
        "weight.per = 'block(4)'",
        "accumulator_bits = 64",
        "accumulator_limit = 'widen'",
        "io = 'int8'",
        "io = 'uint8'",
        "output = 'narrow'",
        "equalize = false",
        "refinements = []",
        "refinements = ['bias-correction-sequential']",
        "input.observer = 'entropy'",
        "input.observer = 'mse'",
        "weight.bits = 16",
        "input.per = 'channel'",
    ];
    let count = c.below(4);
    // A key that is there twice is an error of the language of the file: the one that comes first stays.
    let mut keys: Vec<&str> = Vec::new();
    let mut text = String::from("samples = 2\n");
    for line in (0..count).flat_map(|_| c.pick(&LINES).lines()) {
        let key = line.split(" = ").next().unwrap_or_default();
        if !keys.contains(&key) {
            keys.push(key);
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A tensor for every input.
fn inputs(c: &mut Choices<'_>, g: &Graph) -> Result<Vec<Tensor>> {
    let one = |v: &lowbit::ir::ValueId| {
        let ty = g.ty(*v);
        match ty.dtype.is_float() {
            true => c.floats(&ty.shape.require()?),
            false => c.ints(ty),
        }
    };
    g.inputs.iter().map(one).collect()
}

/// Whether there are floats of 16 bits, which files are read with as floats of 32, as a remark says.
fn has_halves(g: &Graph) -> bool {
    g.values().any(|(_, v)| matches!(v.ty.dtype, DType::F16 | DType::BF16))
}

fn same(what: &str, expected: &[Tensor], found: &[Tensor]) {
    assert_eq!(expected.len(), found.len(), "{what} has other outputs");
    for (i, (a, b)) in expected.iter().zip(found).enumerate() {
        if let Some(difference) = executors::difference(a, b) {
            panic!("output {i} of {what}: {difference}");
        }
    }
}
