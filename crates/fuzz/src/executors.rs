//! One graph on every executor: the interpreter's bits, or the same refusal.

use lowbit::data::Dataset;
use lowbit::ir::interp::Interpreter;
use lowbit::ir::{Customs, Engine, Outputs, memory, text, verify};
use lowbit::{Compiled, Graph, Isa, Result, Target, Tensor};

/// Bytes that a run may take beside its model: little, so that it is quick, and so that the limit is met often.
pub const MEMORY: usize = 4 << 20;

/// Bytes that the values of a graph may have in all, and its multiply-accumulates: more takes longer than it teaches.
const MOST_BYTES: usize = 8 << 20;
const MOST_MACS: u64 = 8 << 20;

/// Runs a graph on the interpreter and on these instruction sets of this machine, and compares all bits: those of its
/// outputs, and of every value where `taps` says so. `threads` are those of the executors.
///
/// Gives what the interpreter gave, or nothing where the graph is refused by all.
pub fn compare(graph: &Graph, inputs: &[Tensor], isas: &[Isa], taps: bool, threads: usize) -> Option<Outputs> {
    if verify::verify(graph).is_err() || !is_small(graph) {
        return None;
    }
    // A batch may be another than the graph says, as in a program.
    let graph = &accepted(lowbit::model::sized_for(graph, inputs, &Customs::default()))?;
    let values = match taps {
        true => graph.nodes().flat_map(|(_, n)| n.outputs.iter().copied()).collect(),
        false => Vec::new(),
    };
    let interpreter = Interpreter { customs: Customs::default(), max_memory: MEMORY };
    let expected = interpreter.load(graph, &values).and_then(|mut run| run.run(inputs));
    if let Err(e) = &expected {
        is_refusal(e);
    }
    let mut refused: Option<(&str, String)> = None;
    let mut ran: Option<&str> = None;
    for isa in isas {
        let target = Target { isa: *isa, ..Target::host() }.max_memory(MEMORY);
        let found = Compiled::new(target, threads)
            .and_then(|engine| engine.load(graph, &values))
            .and_then(|mut run| run.run(inputs));
        match (&expected, found) {
            (Ok(expected), Ok(found)) => {
                ran = Some(isa.name);
                let names = graph.outputs.iter().chain(&values).map(|v| &graph.value(*v).name);
                let pairs = expected.outputs.iter().chain(&expected.taps).zip(found.outputs.iter().chain(&found.taps));
                for (name, (a, b)) in names.zip(pairs) {
                    if let Some(difference) = difference(a, b) {
                        panic!("'{name}' on {}: {difference}\n{}", isa.name, text::print(graph));
                    }
                }
            }
            // A program proves its accumulators and asks for its memory at once: it may refuse what an interpreter runs.
            (_, Err(e)) => {
                is_refusal(&e);
                refused = Some((isa.name, e.to_string()));
            }
            // What computing takes is not the same for both.
            (Err(e), Ok(_)) if e.to_string().contains("of memory") => {}
            (Err(e), Ok(_)) => panic!("{} runs what the interpreter refuses: {e}", isa.name),
        }
    }
    if let (Some(ran), Some((isa, e))) = (ran, &refused)
        && !e.contains("of memory")
    {
        panic!("{isa} refuses what {ran} runs: {e}");
    }
    match refused {
        Some(_) => None,
        None => expected.ok(),
    }
}

/// The least or the best instruction set, by the number of nodes: random graphs are compared on all of them.
pub fn chosen(graph: &Graph) -> Vec<Isa> {
    let all = Isa::available();
    let odd = graph.node_bound() % 2;
    all.iter().copied().skip(odd * (all.len() - 1)).take(1).collect()
}

/// An error must be one of the input: neither a panic that was caught, nor what the compiler says of itself.
pub fn is_refusal(e: &lowbit::Error) {
    let text = e.to_string();
    // What stands in quotes is the input's, and fuzzers do find these very words.
    let own =
        text.split_once('\'').map_or("", |(head, _)| head).to_owned() + text.rsplit('\'').next().unwrap_or_default();
    assert!(!own.contains("panicked") && !own.contains("a defect of"), "{text}");
    assert!(!text.is_empty(), "an error says something");
}

/// What an input is refused with, which is checked to be a refusal.
pub fn accepted<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(is_refusal).ok()
}

/// Noise for every input of a graph.
pub fn noise(graph: &Graph) -> Result<Vec<Tensor>> {
    let data = Dataset::open_within("random", &lowbit::model::inputs_of(graph), None, MEMORY)?;
    Ok(data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor).collect())
}

/// Whether a graph runs in a moment.
pub fn is_small(graph: &Graph) -> bool {
    let mut bytes = 0usize;
    for (_, value) in graph.values() {
        bytes = bytes.saturating_add(memory::bytes(&value.ty));
    }
    let macs = graph.nodes().map(|(id, _)| lowbit::ir::infer::macs(graph, id)).fold(0, u64::saturating_add);
    bytes <= MOST_BYTES && macs <= MOST_MACS
}

/// The first element that differs, NaNs being equal whatever their payload.
pub fn difference(a: &Tensor, b: &Tensor) -> Option<String> {
    if a.ty() != b.ty() {
        return Some(format!("expected {}, found {}", a.ty(), b.ty()));
    }
    if a.bytes() == b.bytes() {
        return None;
    }
    if a.dtype().is_float() {
        let (x, y) = (a.floats().ok()?, b.floats().ok()?);
        let same = |x: f32, y: f32| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
        let at = x.iter().zip(y.iter()).position(|(x, y)| !same(*x, *y))?;
        return Some(format!("element {at} of {}: expected {:?}, found {:?}", a.ty(), x[at], y[at]));
    }
    let (x, y) = (a.ints().ok()?, b.ints().ok()?);
    let at = x.iter().zip(&y).position(|(x, y)| x != y)?;
    Some(format!("element {at} of {}: expected {}, found {}", a.ty(), x[at], y[at]))
}
