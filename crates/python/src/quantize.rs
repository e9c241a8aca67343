//! Quantizing and calibrating, with rules, observers and passes that Python gives.

use crate::callbacks::Callbacks;
use crate::config::Config;
use crate::data::resolve;
use crate::error::During;
use crate::graph::{Graph, passes};
use crate::interpreter::{away, entered};
use crate::job::{self, Stages};
use crate::model::{Model, batch_of, engine, of_package, report, target, threads_of};
use crate::observer::{Own, observers};
use crate::program::Program;
use crate::rules::{self, rules};
use crate::stats::Stats;
use crate::types::{Count, FilePath, Listed};
use lowbit::choices::{Wish, Without, needing_samples};
use lowbit::data::Dataset;
use lowbit::ir::memory;
use lowbit::prefetch::Prefetch;
use lowbit::quantization::Checkpoint;
use lowbit::quantization::report::Skipped;
use lowbit::{Compiled, Error, Observer, Passes, Quantize, Result, Rules, stats};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
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
}

#[pymethods]
impl Quantized {
    /// The float graph in canonical form: what the integers are compared with.
    #[getter]
    fn float(&self) -> Graph {
        Graph::copy(self.quantized.float.clone(), &self.model)
    }

    /// The float graph as a model.
    #[getter]
    fn reference(&self) -> Model {
        let model = self.model.model.with_graph(self.quantized.float.clone());
        self.model.with(model)
    }

    /// The integer program's graph: what is compiled.
    #[getter]
    fn integer(&self) -> Graph {
        Graph::copy(self.quantized.integer.clone(), &self.model)
    }

    /// What was done and chosen.
    #[getter]
    fn report(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        report(py, "Report", &self.quantized.report)
    }

    /// The choices in force.
    #[getter]
    fn config(&self) -> Config {
        Config::in_force(self.quantized.report.config.clone())
    }

    /// Its parameters: constants of the quantized model by name.
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.model.params(py)
    }

    /// Writes the quantized model as ONNX, whole or not at all.
    fn save(&self, py: Python<'_>, path: FilePath) -> PyResult<()> {
        let _inside = entered(py);
        away(py, || self.quantized.save(path.0)).map_err(|e| During::Model.raise(&e))
    }

    /// Compiles the integer program for this machine.
    #[pyo3(signature = (*, batch = None, isa = None, threads = None, max_memory = None))]
    fn compile(
        &self,
        py: Python<'_>,
        batch: Option<Count>,
        isa: Option<&str>,
        threads: Option<Count>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Program> {
        let (quantized, batch, threads) = (self.quantized.clone(), batch_of(batch)?, threads_of(threads)?);
        let (isa, model) = (isa.map(String::from), self.model.limited(max_memory)?);
        let program = job::run(py, During::Compile, None, &[&self.model.callbacks], move |_| {
            quantized.compile_batch(batch, target(&model, isa.as_deref(), threads)?)
        })?;
        Ok(Program::new(program, self.model.callbacks.clone()))
    }

    /// As `Model.run`, of the quantized model.
    #[pyo3(signature = (*args, **kwargs))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.model.run(py, args, kwargs)
    }

    /// As `Model.evaluate`, of the quantized model.
    #[pyo3(signature = (*args, **kwargs))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.of_model(py, "evaluate", args, kwargs)
    }

    /// As `Model.verify`, of the quantized model.
    #[pyo3(signature = (*args, **kwargs))]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.of_model(py, "verify", args, kwargs)
    }

    /// As `Model.explain`, of the quantized model.
    #[pyo3(signature = (*args, **kwargs))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.of_model(py, "explain", args, kwargs)
    }

    /// As `lowbit.write_report`, of the quantized model beside the float one.
    #[pyo3(signature = (folder, data, **choices))]
    fn write_report<'py>(
        slf: &Bound<'py, Self>,
        folder: Bound<'py, PyAny>,
        data: Bound<'py, PyAny>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let _inside = entered(py);
        let reference = Bound::new(py, slf.get().reference())?;
        of_package(py, "write_report", (folder, reference, slf, data), choices)
    }

    /// The model and its parameters, as the classic workflow has them: `qgraph, qparams = quantize(...)`.
    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let _inside = entered(py);
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
        let _inside = entered(slf.py());
        slf.py().import("lowbit._html")?.call_method1("quantized", (slf,))?.extract()
    }
}

impl Quantized {
    /// A method of the quantized model's.
    fn of_model<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _inside = entered(py);
        Bound::new(py, self.model.clone())?.call_method(name, args.clone(), kwargs)
    }
}

/// What both take, as keywords.
pub struct How<'a, 'py> {
    pub model: &'a Model,
    pub config: Config,
    pub rules: &'a Bound<'py, PyDict>,
    pub observers: &'a [Bound<'py, PyAny>],
    pub passes: &'a [Bound<'py, PyAny>],
    pub threads: Option<Count>,
    pub isa: Option<&'a str>,
}

/// The same as the core has it, to be taken along to the job's thread.
pub struct Made {
    /// What is known of all of these functions.
    pub callbacks: Callbacks,
    config: lowbit::Config,
    rules: Rules,
    own_rules: Vec<rules::Own>,
    observers: Vec<Own>,
    passes: Passes,
    engine: Compiled,
}

impl How<'_, '_> {
    /// As the core has it.
    pub fn made(self, py: Python<'_>) -> PyResult<Made> {
        // Rules, observers and passes see the scopes of who quantizes.
        let own = self.model.callbacks.in_context(py)?;
        let callbacks = &own;
        let threads = threads_of(self.threads)?;
        let engine = engine(&self.model.model, self.isa, threads).map_err(|e| During::Quantize.raise(&e))?;
        let (rules, own_rules) = rules(self.rules, callbacks)?;
        Ok(Made {
            callbacks: own.clone(),
            rules,
            own_rules,
            observers: observers(self.observers, callbacks)?,
            passes: passes(self.passes, self.model.model.operators(), callbacks)?,
            engine,
            config: self.config.0,
        })
    }
}

impl Made {
    /// How to quantize, but for the data.
    pub fn how<'a>(self) -> Quantize<'a> {
        let how = Quantize::default().config(self.config).rules(self.rules).passes(&self.passes).engine(self.engine);
        self.observers.into_iter().fold(how, Quantize::observer)
    }
}

/// Samples of a job: an even spread, which moves its bar and stops it.
pub fn spread<'a>(data: &'a Dataset, samples: usize, job: &'a Arc<job::Job>) -> Result<Prefetch<'a>> {
    let (step, stop) = (job.clone(), job.clone());
    let count = if samples == 0 { data.len() } else { samples.min(data.len()) };
    // What says that it is endless is looked at in part only.
    memory::check("the numbers of so many samples", count.saturating_mul(size_of::<usize>()), memory::MAX_MEMORY)
        .map_err(|e| e.hint("samples=512, or another number of samples to look at"))?;
    Ok(Prefetch::new(data, samples).seen(move || step.step()).until(move || stop.check()))
}

/// Rules that nothing asked. One that is registered for all models is none of this one's mistakes, but nobody should
/// believe that it was used.
fn idle(rules: Vec<rules::Own>) -> impl Iterator<Item = Skipped> {
    rules.into_iter().filter(|own| !own.was_asked()).map(|own| {
        let reason = format!("the model has no call of {} that a rule is asked about", own.op);
        Skipped { stage: own.who, reason }
    })
}

/// Where a calibration keeps what it has seen, to go on from there.
struct Resume(PathBuf);

impl Resume {
    /// Of a path, if one is given; only data is run.
    fn of(given: Option<FilePath>, has_data: bool) -> PyResult<Option<Resume>> {
        match given {
            Some(_) if !has_data => {
                Err(PyTypeError::new_err("expected data for resume, found none: no samples are run"))
            }
            given => Ok(given.map(|path| Resume(path.0))),
        }
    }

    /// The checkpoint in that file, which ends with the job.
    fn checkpoint(&self, job: &Arc<job::Job>) -> Result<Checkpoint> {
        let job = job.clone();
        Ok(Checkpoint { stop: Arc::new(move || job.check().is_err()), ..stats::checkpoint(&self.0)? })
    }
}

/// A number of samples that nobody says, and that TOML can.
const UNSAID: usize = i64::MAX as usize;

/// Refuses what was said of samples where there are none.
fn refuse_what_needs_samples(config: &Config, with_stats: bool) -> Result<()> {
    let (found, without, why) = match with_stats {
        true => ("stats", Without::Samples, "statistics hold no samples to run"),
        false => ("no data", Without::Data, "no samples are run"),
    };
    let of = |what: &str, off: &str| {
        Err(Error::new(format!("expected data for {what}, found {found}: {why}")).hint(format!("data=..., or {off}")))
    };
    let samples = config.over(lowbit::Config { samples: UNSAID, ..lowbit::Config::default() })?.samples;
    if samples != UNSAID {
        return of(&format!("samples = {samples}"), "leave it out");
    }
    match needing_samples(|nothing| config.over(nothing), without)? {
        None => Ok(()),
        Some(Wish { what, off: (key, value) }) => of(&what, &format!("{key} = {value}")),
    }
}

/// Refuses what was said of the whole network where only statistics are gathered.
fn refuse_what_statistics_lack(config: &Config) -> Result<()> {
    match needing_samples(|nothing| config.over(nothing), Without::Samples)? {
        None => Ok(()),
        Some(Wish { what, off: (key, value) }) => {
            Err(Error::new(format!("expected nothing that statistics do not hold, found {what}"))
                .hint(format!("quantize with data, or {key} = {value}")))
        }
    }
}

/// Quantizes a float model; without data and statistics by the global scale.
#[pyfunction]
#[pyo3(signature = (model, *, config, rules, data = None, stats = None, preprocess = None, resume = None,
                    observers = Listed::default(), passes = Listed::default(), threads = None, isa = None, progress = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn quantize(
    py: Python<'_>,
    model: &Model,
    config: Config,
    rules: &Bound<'_, PyDict>,
    data: Option<&Bound<'_, PyAny>>,
    stats: Option<&Bound<'_, Stats>>,
    preprocess: Option<&Bound<'_, PyAny>>,
    resume: Option<FilePath>,
    observers: Listed<'_>,
    passes: Listed<'_>,
    threads: Option<Count>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Quantized> {
    let _inside = entered(py);
    let samples = config.0.samples;
    let resume = Resume::of(resume, data.is_some())?;
    if data.is_none() {
        refuse_what_needs_samples(&config, stats.is_some()).map_err(|e| During::Config.raise(&e))?;
        if preprocess.is_some() {
            let found = if stats.is_some() { "stats" } else { "none" };
            return Err(PyTypeError::new_err(format!(
                "expected data for preprocess, found {found}: there are no images"
            )));
        }
    }
    let how = How { model, config, rules, observers: &observers.0, passes: &passes.0, threads, isa };
    let mut made = how.made(py)?;
    let (own_rules, own) = (std::mem::take(&mut made.own_rules), made.callbacks.clone());
    let names: Vec<String> = made.observers.iter().map(|o| o.name().to_string()).collect();
    let data = data.map(|d| resolve(d, model, None, preprocess)).transpose()?;
    let skipped = stats.map(|stats| stats.get().skipped.clone()).unwrap_or_default();
    let stats = stats.map(|stats| stats.get().shard.clone());
    let float = model.model.clone();
    let held = data.as_ref().map(|data| data.callbacks.clone()).unwrap_or_default();
    let mut done = job::run(py, During::Quantize, progress, &[&own, &model.callbacks, &held], move |job| {
        let data = data.as_ref().map(|data| &*data.data);
        let count = data.map(|data| if samples == 0 { data.len() } else { samples.min(data.len()) });
        let mut stages = Stages { job, samples: count };
        let how = match &resume {
            Some(resume) => made.how().checkpoint(resume.checkpoint(job)?),
            None => made.how(),
        };
        let quantized = match (data, stats) {
            (Some(data), None) => float.quantize_watched(how.data(spread(data, samples, job)?), &mut stages),
            (None, Some(stats)) => float.quantize_watched(how.stats(stats), &mut stages),
            (None, None) => float.quantize_watched(how.without_data(), &mut stages),
            (Some(data), Some(stats)) => {
                float.quantize_watched(how.data(spread(data, samples, job)?).stats(stats), &mut stages)
            }
        }?;
        resume.as_ref().filter(|_| quantized.is_some()).map_or(Ok(()), |resume| stats::done(&resume.0))?;
        quantized.map_or_else(|| job.check().and(Err(Error::new("the quantization was stopped"))), Ok)
    })?;
    let asked = |name: &String| done.report.values.iter().any(|v| v.observer == *name);
    if let Some(name) = names.iter().find(|name| !asked(name)) {
        let e = Error::new(format!("the observer '{name}' was given and nothing asked it"));
        return Err(During::Config.raise(&e.hint(format!("input.observer = \"{name}\", or leave it out"))));
    }
    done.report.skipped.extend(skipped.into_iter().chain(idle(own_rules)));
    let model = model.with(done.model.clone());
    Ok(Quantized { quantized: done, model })
}

/// Runs calibration data through a float model and keeps what quantizing needs of it.
#[pyfunction]
#[pyo3(signature = (model, data, *, config, rules, preprocess = None, resume = None, observers = Listed::default(), passes = Listed::default(),
                    threads = None, isa = None, progress = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn calibrate(
    py: Python<'_>,
    model: &Model,
    data: &Bound<'_, PyAny>,
    config: Config,
    rules: &Bound<'_, PyDict>,
    preprocess: Option<&Bound<'_, PyAny>>,
    resume: Option<FilePath>,
    observers: Listed<'_>,
    passes: Listed<'_>,
    threads: Option<Count>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Stats> {
    let _inside = entered(py);
    let samples = config.0.samples;
    let resume = Resume::of(resume, true)?;
    refuse_what_statistics_lack(&config).map_err(|e| During::Config.raise(&e))?;
    let entries = config.0.entries();
    let has_rules = !rules.is_empty();
    let how = How { model, config, rules, observers: &observers.0, passes: &passes.0, threads, isa };
    let mut made = how.made(py)?;
    let own_rules = std::mem::take(&mut made.own_rules);
    // Statistics serve every observer. A rule may ask for one, and nobody knows here whether it does.
    let named = |own: &Own| has_rules || entries.iter().any(|(_, value)| value.trim_matches('"') == own.name());
    if let Some(own) = made.observers.iter().find(|own| !named(own)) {
        let e = Error::new(format!("the observer '{}' was given and nothing asks for it", own.name()));
        return Err(During::Config.raise(&e.hint("leave it out: it is asked where the statistics are quantized with")));
    }
    let data = resolve(data, model, None, preprocess)?;
    let (float, held, own) = (model.model.clone(), data.callbacks.clone(), made.callbacks.clone());
    let shard = job::run(py, During::Quantize, progress, &[&own, &model.callbacks, &held], move |job| {
        let data = &*data.data;
        let count = if samples == 0 { data.len() } else { samples.min(data.len()) };
        let mut stages = Stages { job, samples: Some(count) };
        let how = match &resume {
            Some(resume) => made.how().checkpoint(resume.checkpoint(job)?),
            None => made.how(),
        };
        let found = float.calibrate_watched(how.data(spread(data, samples, job)?), &mut stages)?;
        resume.as_ref().filter(|_| found.is_some()).map_or(Ok(()), |resume| stats::done(&resume.0))?;
        found.map_or_else(|| job.check().and(Err(Error::new("the calibration was stopped"))), Ok)
    })?;
    Ok(Stats { shard, skipped: idle(own_rules).collect() })
}
