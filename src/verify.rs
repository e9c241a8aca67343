//! The promise kept: the interpreter, every instruction set and every number of threads give the same bits.

use crate::engine::Compiled;
use crate::model::{entering, sized_for};
use crate::prefetch::Prefetch;
use lowbit_compile::Target;
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Customs, Engine, Graph, Outputs, Result, Run, Tensor, ValueId, memory};
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

/// What is compared with the interpreter.
struct Executor {
    name: String,
    /// As it is deployed, with everything fused.
    deployed: Box<dyn Run>,
    /// With every value read out.
    opened: Box<dyn Run>,
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
    let mut executors: Vec<Executor> = Vec::new();
    for isa in Isa::available() {
        for threads in 1..=4 {
            let target = Target::isa(isa.name)?.customs(customs.clone()).max_memory(max_memory);
            let engine = Compiled::new(target, threads)?;
            executors.push(Executor {
                name: engine.name(),
                deployed: engine.load(graph, &[])?,
                opened: engine.load(graph, &values)?,
            });
        }
    }
    let mut found = Verification {
        identical: true,
        samples: data.count(),
        executors: executors.iter().map(|e| e.name.clone()).collect(),
        values: values.len(),
        difference: None,
    };
    for i in 0..data.count() {
        let sample = data.get(i)?;
        let inputs: Vec<Tensor> = sample.inputs.into_iter().map(|(_, t)| t).collect();
        let expected = reference.run(graph, &values, &inputs)?;
        for executor in &mut executors {
            let opened = executor.opened.run(&inputs)?;
            let pairs = values.iter().zip(expected.taps.iter().zip(&opened.taps));
            let inner = pairs.filter_map(|(v, (a, b))| Some((*v, difference(a, b)?))).next();
            let deployed = executor.deployed.run(&inputs)?;
            let pairs = graph.outputs.iter().zip(expected.outputs.iter().zip(&deployed.outputs));
            let outer = pairs.filter_map(|(v, (a, b))| Some((*v, difference(a, b)?))).next();
            if let Some((v, (element, expected, found_value))) = inner.or(outer) {
                found.identical = false;
                found.difference = Some(Difference {
                    executor: executor.name.clone(),
                    sample: sample.name,
                    value: graph.value(v).name.clone(),
                    element,
                    expected,
                    found: found_value,
                });
                return Ok(found);
            }
        }
    }
    Ok(found)
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
