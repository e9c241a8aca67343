//! Quantizing and calibrating, with rules, observers and passes that Python gives.

use crate::config::Config;
use crate::data::resolve;
use crate::error::During;
use crate::graph::{Graph, passes};
use crate::job::{self, Stages};
use crate::model::{Model, report, target};
use crate::observer::{Own, observer};
use crate::program::Program;
use crate::rules::rules;
use crate::stats::Stats;
use lowbit::data::Dataset;
use lowbit::ir::Customs;
use lowbit::prefetch::Prefetch;
use lowbit::{Compiled, Passes, Quantize, Result, Rules};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::Arc;

/// A quantized model and the account of how it came about.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Quantized {
    quantized: lowbit::Quantized,
    /// The quantized model, which is what is saved.
    #[pyo3(get)]
    model: Model,
    customs: Customs,
}

#[pymethods]
impl Quantized {
    /// The float graph in canonical form: what the integers are compared with.
    #[getter]
    fn float(&self) -> Graph {
        Graph::new(self.quantized.float.clone(), self.customs.clone())
    }

    /// The float graph as a model.
    #[getter]
    fn reference(&self) -> Model {
        let model = self.model.model.with_graph(self.quantized.float.clone());
        Model { model, ..self.model.clone() }
    }

    /// The integer program's graph: what is compiled.
    #[getter]
    fn integer(&self) -> Graph {
        Graph::new(self.quantized.integer.clone(), self.customs.clone())
    }

    /// What was done and chosen.
    #[getter]
    fn report(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        report(py, "Report", &self.quantized.report)
    }

    /// The choices in force.
    #[getter]
    fn config(&self) -> Config {
        Config(self.quantized.report.config.clone())
    }

    /// Its parameters: constants of the quantized model by name.
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.model.params(py)
    }

    /// Writes the quantized model as ONNX, whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.quantized.save(path)).map_err(|e| During::Model.raise(&e))
    }

    /// Compiles the integer program for this machine.
    #[pyo3(signature = (*, isa = None, threads = None))]
    fn compile(&self, py: Python<'_>, isa: Option<&str>, threads: Option<usize>) -> PyResult<Program> {
        let compiled =
            py.detach(|| self.quantized.compile(target(isa, threads, &self.customs, self.model.max_memory)?));
        let program = compiled.map_err(|e| self.model.raised.told(py, During::Compile, &e))?;
        Ok(Program::new(program, self.model.raised.clone()))
    }

    /// The model and its parameters, as the classic workflow has them: `qgraph, qparams = quantize(...)`.
    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let pair = (Bound::new(py, slf.get().model.clone())?, slf.get().params(py)?);
        pair.into_pyobject(py)?.into_any().call_method0("__iter__")
    }

    fn __repr__(&self) -> String {
        let r = &self.quantized.report;
        let integer = r.layers.iter().filter(|l| l.integer).count();
        format!(
            "<lowbit.Quantized '{}': {integer} of {} layers on integers, {} of {} bytes of constants>",
            self.quantized.integer.name,
            r.layers.len(),
            r.bytes_after,
            r.bytes_before
        )
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.py().import("lowbit._html")?.call_method1("quantized", (slf,))?.extract()
    }
}

/// What both take, as keywords.
struct How<'a, 'py> {
    model: &'a Model,
    config: Config,
    rules: &'a Bound<'py, PyDict>,
    observers: &'a [Bound<'py, PyAny>],
    passes: &'a [Bound<'py, PyAny>],
    threads: Option<usize>,
    isa: Option<&'a str>,
}

/// The same as the core has it, to be taken along to the job's thread.
struct Made {
    config: lowbit::Config,
    rules: Rules,
    observers: Vec<Own>,
    passes: Passes,
    engine: Compiled,
}

impl How<'_, '_> {
    fn made(self) -> PyResult<Made> {
        let raised = &self.model.raised;
        let engine = || -> Result<Compiled> {
            let threads = self.threads.unwrap_or_else(lowbit::cores).max(1);
            Compiled::new(target(self.isa, Some(threads), &self.model.customs, self.model.max_memory)?, threads)
        };
        Ok(Made {
            rules: rules(self.rules, raised)?,
            observers: self.observers.iter().map(|o| observer(o, raised)).collect::<PyResult<_>>()?,
            passes: passes(self.passes, &self.model.customs, raised)?,
            engine: engine().map_err(|e| During::Quantize.raise(&e))?,
            config: self.config.0,
        })
    }
}

impl Made {
    fn how<'a>(self) -> Quantize<'a> {
        let how = Quantize::default().config(self.config).rules(self.rules).passes(&self.passes).engine(self.engine);
        self.observers.into_iter().fold(how, Quantize::observer)
    }
}

/// Samples of a job: an even spread, which moves its bar and stops it.
pub fn spread<'a>(data: &'a Dataset, samples: usize, job: &'a Arc<job::Job>) -> Prefetch<'a> {
    let (step, stop) = (job.clone(), job.clone());
    Prefetch::new(data, samples).seen(move || step.step()).until(move || stop.check())
}

/// Quantizes a float model; without data and statistics by the global scale.
#[pyfunction]
#[pyo3(signature = (model, *, config, rules, data = None, stats = None, preprocess = None,
                    observers = Vec::new(), passes = Vec::new(), threads = None, isa = None, progress = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn quantize(
    py: Python<'_>,
    model: &Model,
    config: Config,
    rules: &Bound<'_, PyDict>,
    data: Option<&Bound<'_, PyAny>>,
    stats: Option<&Bound<'_, Stats>>,
    preprocess: Option<&Bound<'_, PyAny>>,
    observers: Vec<Bound<'_, PyAny>>,
    passes: Vec<Bound<'_, PyAny>>,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Quantized> {
    let samples = config.0.samples;
    let how = How { model, config, rules, observers: &observers, passes: &passes, threads, isa };
    let made = how.made()?;
    let data = data.map(|d| resolve(d, model, None, preprocess, model.max_memory)).transpose()?;
    let stats = stats.map(|stats| stats.get().0.clone());
    let (float, customs) = (model.model.clone(), model.customs.clone());
    let done = job::run(py, During::Quantize, progress, &model.raised, move |job| {
        let count = data.as_ref().map(|data| if samples == 0 { data.len() } else { samples.min(data.len()) });
        let mut stages = Stages { job, samples: count };
        let how = made.how();
        let quantized = match (&data, stats) {
            (Some(data), None) => float.quantize_watched(how.data(spread(data, samples, job)), &mut stages),
            (None, Some(stats)) => float.quantize_watched(how.stats(stats), &mut stages),
            (None, None) => float.quantize_watched(how.without_data(), &mut stages),
            (Some(data), Some(stats)) => {
                float.quantize_watched(how.data(spread(data, samples, job)).stats(stats), &mut stages)
            }
        }?;
        quantized.map_or_else(|| job.check().and(Err(lowbit::Error::new("the quantization was stopped"))), Ok)
    })?;
    let quantized = Model { model: done.model.clone(), ..model.clone() };
    Ok(Quantized { quantized: done, model: quantized, customs })
}

/// Runs calibration data through a float model and keeps what quantizing needs of it.
#[pyfunction]
#[pyo3(signature = (model, data, *, config, rules, preprocess = None, observers = Vec::new(), passes = Vec::new(),
                    threads = None, isa = None, progress = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn calibrate(
    py: Python<'_>,
    model: &Model,
    data: &Bound<'_, PyAny>,
    config: Config,
    rules: &Bound<'_, PyDict>,
    preprocess: Option<&Bound<'_, PyAny>>,
    observers: Vec<Bound<'_, PyAny>>,
    passes: Vec<Bound<'_, PyAny>>,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Stats> {
    let samples = config.0.samples;
    let how = How { model, config, rules, observers: &observers, passes: &passes, threads, isa };
    let made = how.made()?;
    let data = resolve(data, model, None, preprocess, model.max_memory)?;
    let float = model.model.clone();
    job::run(py, During::Quantize, progress, &model.raised, move |job| {
        let count = if samples == 0 { data.len() } else { samples.min(data.len()) };
        let mut stages = Stages { job, samples: Some(count) };
        let found = float.calibrate_watched(made.how().data(spread(&data, samples, job)), &mut stages)?;
        found.map_or_else(|| job.check().and(Err(lowbit::Error::new("the calibration was stopped"))), Ok)
    })
    .map(Stats)
}
