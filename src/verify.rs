//! The promise kept: the interpreter, every instruction set and every number of threads give the same bits.

use crate::engine::Compiled;
use crate::model::{entering, sized_for};
use crate::prefetch::Prefetch;
use lowbit_compile::Target;
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Customs, Engine, Graph, Outputs, Result, Run, Tensor, ValueId, memory};
use lowbit_quantize::analysis::NotFinite;
use lowbit_runtime::Isa;
use serde::Serialize;

/// What was compared, and where it first differed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Whether all bits were the same.
    pub identical: bool,
    /// Number of samples.
    pub samples: usize,
    /// What was compared with the interpreter.
    pub executors: Vec<String>,
    /// Values compared a sample: all of the graph that a sample computes.
    pub values: usize,
    /// The first value that is not finite: it is the same everywhere, and hardly what was meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_finite: Option<NotFinite>,
    /// The first difference, in the order of the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// A value that came out differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Who computed it.
    pub executor: String,
    /// On which sample.
    pub sample: String,
    /// The value's name.
    pub value: String,
    /// The element, row-major.
    pub element: usize,
    /// The interpreter's.
    pub expected: String,
    /// The executor's.
    pub found: String,
}

/// A sample, and what the interpreter makes of it.
struct Expected {
    name: String,
    inputs: Vec<Tensor>,
    outputs: Outputs,
}

impl Expected {
    fn bytes(&self) -> usize {
        let all = self.outputs.taps.iter().chain(&self.outputs.outputs).chain(&self.inputs);
        all.map(|t| t.bytes().len()).sum()
    }
}

/// The interpreter with a graph of the last sample's sizes: as in a program, the batch may be another than the model says.
struct Reference {
    customs: Customs,
    max_memory: usize,
    loaded: Option<(Sizes, Box<dyn Run>)>,
}

/// The sizes of all inputs.
type Sizes = Vec<Vec<usize>>;

impl Reference {
    fn run(&mut self, graph: &Graph, taps: &[ValueId], inputs: &[Tensor]) -> Result<Outputs> {
        let inputs = &*entering(graph, inputs)?;
        let sizes: Sizes = inputs.iter().map(|t| t.dims().to_vec()).collect();
        let run = match self.loaded.take() {
            Some((loaded, run)) if loaded == sizes => run,
            Some(_) | None => {
                let sized = sized_for(graph, inputs, &self.customs)?;
                Interpreter { customs: self.customs.clone(), max_memory: self.max_memory }.load(&sized, taps)?
            }
        };
        self.loaded.insert((sizes, run)).1.run(inputs)
    }
}

/// Compares the interpreter with every instruction set of this machine on 1 to 4 threads, value by value.
///
/// Every executor runs twice: as it is deployed, with everything fused, where the outputs are compared; and with every
/// value read out, where all are.
pub fn verify(graph: &Graph, customs: &Customs, data: &Prefetch<'_>) -> Result<Verification> {
    verify_within(graph, customs, memory::MAX_MEMORY, data)
}

/// As [`verify`], with at most this many bytes for each run beside the model.
pub fn verify_within(graph: &Graph, customs: &Customs, max_memory: usize, data: &Prefetch<'_>) -> Result<Verification> {
    let values: Vec<ValueId> = graph.nodes().flat_map(|(_, n)| n.outputs.iter().copied()).collect();
    let mut reference = Reference { customs: customs.clone(), max_memory, loaded: None };
    let mut engines = Vec::new();
    for isa in Isa::available() {
        for threads in 1..=4 {
            let target = Target::isa(isa.name)?.customs(customs.clone()).max_memory(max_memory);
            engines.push(Compiled::new(target, threads)?);
        }
    }
    let mut found = Verification {
        identical: true,
        samples: data.count(),
        executors: engines.iter().map(Engine::name).collect(),
        values: values.len(),
        not_finite: None,
        difference: None,
    };
    let mut i = 0;
    while i < data.count() {
        // As many samples at once as there is room for, so that executors are few at a time and seldom made again.
        let mut samples: Vec<Expected> = Vec::new();
        let mut kept = 0usize;
        while i < data.count() && (samples.is_empty() || kept < max_memory / KEPT) {
            let sample = data.get(i)?;
            let inputs: Vec<Tensor> = sample.inputs.into_iter().map(|(_, t)| t).collect();
            let outputs = reference.run(graph, &values, &inputs)?;
            let name = |v: &ValueId| graph.value(*v).name.as_str();
            let all = graph.inputs.iter().map(name).zip(&inputs).chain(values.iter().map(name).zip(&outputs.taps));
            found.not_finite = found.not_finite.or_else(|| NotFinite::first(i, all));
            samples.push(Expected { name: sample.name, inputs, outputs });
            kept = kept.saturating_add(samples.last().map_or(0, Expected::bytes));
            i += 1;
        }
        for engine in &engines {
            let taps = |run: &Outputs| run.taps.clone();
            let outputs = |run: &Outputs| run.outputs.clone();
            let difference = match differs(engine, graph, &values, &values, &samples, taps)? {
                Some(difference) => Some(difference),
                None => differs(engine, graph, &[], &graph.outputs, &samples, outputs)?,
            };
            if difference.is_some() {
                return Ok(Verification { identical: false, difference, ..found });
            }
        }
    }
    Ok(found)
}

/// The part of the memory, one in so many, that what the interpreter found may take while executors are compared with it.
const KEPT: usize = 4;

/// The first of `values` that an executor makes otherwise than the interpreter; `of` is where they are in what a run gives.
fn differs(
    engine: &Compiled,
    graph: &Graph,
    taps: &[ValueId],
    values: &[ValueId],
    samples: &[Expected],
    of: impl Fn(&Outputs) -> Vec<Tensor>,
) -> Result<Option<Difference>> {
    let mut run = engine.load(graph, taps)?;
    for sample in samples {
        let (expected, made) = (of(&sample.outputs), of(&run.run(&sample.inputs)?));
        let mut pairs = values.iter().zip(expected.iter().zip(&made));
        let other = pairs.find_map(|(v, (a, b))| Some((*v, difference(a, b)?)));
        if let Some((v, (element, expected, found))) = other {
            let (executor, sample) = (engine.name(), sample.name.clone());
            let value = graph.value(v).name.clone();
            return Ok(Some(Difference { executor, sample, value, element, expected, found }));
        }
    }
    Ok(None)
}

/// The first element that differs, as text. NaNs are equal whatever their payload: the arithmetic does not define it.
pub fn difference(a: &Tensor, b: &Tensor) -> Option<(usize, String, String)> {
    if a.ty() != b.ty() {
        return Some((0, a.ty().to_string(), b.ty().to_string()));
    }
    if a.bytes() == b.bytes() {
        return None;
    }
    match (a.floats(), b.floats()) {
        (Ok(x), Ok(y)) => {
            let same = |x: &f32, y: &f32| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            let i = x.iter().zip(y.iter()).position(|(x, y)| !same(x, y))?;
            Some((i, format!("{:?}", x[i]), format!("{:?}", y[i])))
        }
        _ => {
            let (x, y) = (a.ints().ok()?, b.ints().ok()?);
            let i = x.iter().zip(&y).position(|(x, y)| x != y)?;
            Some((i, x[i].to_string(), y[i].to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::model::inputs_of;

    #[test]
    fn a_batch_that_the_model_fixes_is_no_obstacle() {
        let text = "graph \"g\" {\n  input %x: f32[4x3x5]\n  %y = Softmax(%x) {axis 2}\n  output %y\n}\n";
        let graph = lowbit_ir::text::parse(text).unwrap();
        let data = Dataset::open("random", &inputs_of(&graph), None).unwrap();
        let found = verify(&graph, &Customs::default(), &Prefetch::new(&data, 2)).unwrap();
        assert!(found.identical && found.samples == 2, "{found:?}");
    }
}
