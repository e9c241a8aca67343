//! Accuracy, comparison, verification and time: what `--json` of the command line says, as reports.

use crate::data::resolve;
use crate::error::During;
use crate::interpreter::{away, entered};
use crate::job;
use crate::model::{Model, batch_of, engine, report, target, threads_of};
use crate::quantize::spread;
use crate::types::{Count, FilePath, count, told};
use lowbit::Error;
use lowbit::bench::{Effort, interleaved_while, noise};
use lowbit::compare::{Sort, compare_graphs, is_swapped};
use lowbit::compiler::compile;
use lowbit::evaluate as measure;
use lowbit::model::with_batch_and;
use lowbit::report::{Look, Pair, between};
use lowbit::verify::verify_within;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;
use std::path::PathBuf;
use std::time::Duration;

/// Accuracy on labelled data, and agreement with a reference.
#[pyfunction]
#[pyo3(signature = (model, data, *, reference = None, labels = None, preprocess = None, samples = 0, output = None,
                    threads = None, isa = None, progress = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn evaluate(
    py: Python<'_>,
    model: &Model,
    data: &Bound<'_, PyAny>,
    reference: Option<&Model>,
    labels: Option<&Bound<'_, PyAny>>,
    preprocess: Option<&Bound<'_, PyAny>>,
    #[pyo3(from_py_with = count)] samples: usize,
    output: Option<String>,
    threads: Option<Count>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let data = resolve(data, model, labels, preprocess)?;
    if !data.data.has_labels() && reference.is_none() {
        let e = Error::new(format!("expected data with labels, or a reference; '{}' has no labels", data.name));
        return Err(During::Run.raise(&e.hint("labels=..., data that has them, or reference=model to agree with")));
    }
    let engine = engine(&model.model, isa, threads_of(threads)?).map_err(|e| During::Run.raise(&e))?;
    let held = data.callbacks.clone();
    let mut all = vec![&model.callbacks, &held];
    all.extend(reference.map(|r| &r.callbacks));
    let (ours, theirs) = (model.model.clone(), reference.map(|r| r.model.clone()));
    let found = job::run(py, During::Run, progress, &all, move |job| {
        let graph = ours.lowered()?.0;
        let reference = theirs.map(|r| r.lowered()).transpose()?.map(|(graph, _)| graph);
        let samples = spread(&data.data, samples, job)?;
        job.stage("evaluate", Some(samples.count()));
        measure::evaluate(&graph, reference.as_ref(), &engine, &samples, output.as_deref())
    })?;
    report(py, "Evaluation", &found)
}

/// Compares a model with a reference, layer by layer.
#[pyfunction]
#[pyo3(signature = (reference, model, data, *, preprocess = None, samples = 32, sort = "sqnr", threads = None, isa = None,
                    progress = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn compare(
    py: Python<'_>,
    reference: &Model,
    model: &Model,
    data: &Bound<'_, PyAny>,
    preprocess: Option<&Bound<'_, PyAny>>,
    #[pyo3(from_py_with = count)] samples: usize,
    sort: &str,
    threads: Option<Count>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let (reference, model) = match is_swapped(&reference.model, &model.model) {
        true => (model, reference),
        false => (reference, model),
    };
    let sort: Sort = sort.parse().map_err(|e| During::Run.raise(&e))?;
    let data = resolve(data, reference, None, preprocess)?;
    let engine = engine(&model.model, isa, threads_of(threads)?).map_err(|e| During::Run.raise(&e))?;
    let held = data.callbacks.clone();
    let all = [&model.callbacks, &reference.callbacks, &held];
    let (float, other) = (reference.model.clone(), model.model.clone());
    let found = job::run(py, During::Run, progress, &all, move |job| {
        let samples = spread(&data.data, samples, job)?;
        job.stage("compare", Some(samples.count()));
        let mut found = compare_graphs(&float.lowered()?.0, &other.lowered()?.0, &engine, &samples, 0)?;
        found.sort(sort);
        Ok(found)
    })?;
    report(py, "Comparison", &found)
}

/// Writes what can be told of a model beside a reference into a folder: a page, the same as JSON, and overlays. Gives the
/// files, the page first.
#[pyfunction]
#[pyo3(signature = (folder, reference, model, data, *, preprocess, samples, threads, isa, progress))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn write_report(
    py: Python<'_>,
    folder: FilePath,
    reference: &Model,
    model: &Model,
    data: &Bound<'_, PyAny>,
    preprocess: Option<&Bound<'_, PyAny>>,
    #[pyo3(from_py_with = count)] samples: usize,
    threads: Option<Count>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<PathBuf>> {
    let _inside = entered(py);
    away(py, || lowbit::report::check(&folder.0)).map_err(|e| During::Run.raise(&e))?;
    let (reference, model) = match is_swapped(&reference.model, &model.model) {
        true => (model, reference),
        false => (reference, model),
    };
    let (data, threads) = (resolve(data, reference, None, preprocess)?, threads_of(threads)?);
    let target = target(&model.model, isa, threads).map_err(|e| During::Run.raise(&e))?;
    let held = data.callbacks.clone();
    let all = [&model.callbacks, &reference.callbacks, &held];
    let (before, after) = (reference.model.clone(), model.model.clone());
    job::run(py, During::Run, progress, &all, move |job| {
        let samples = spread(&data.data, samples, job)?;
        let pair = Pair {
            reference: &before,
            reference_name: &before.graph().name,
            model: &after,
            model_name: &after.graph().name,
            files: None,
        };
        let look = Look {
            samples: &samples,
            data: &data.name,
            random: data.data.is_random(),
            target: &target,
            threads,
            stage: &|stage, samples| job.stage(stage, samples),
            go_on: &|| job.check(),
        };
        let found = between(&pair, &look, None)?;
        job.check()?;
        lowbit::report::write(&found, &folder.0).map(|written| written.files)
    })
}

/// Whether the interpreter, every instruction set of this machine and every number of threads give the same bits.
#[pyfunction]
#[pyo3(signature = (model, data, *, preprocess = None, samples = 8, progress = None))]
pub fn verify(
    py: Python<'_>,
    model: &Model,
    data: &Bound<'_, PyAny>,
    preprocess: Option<&Bound<'_, PyAny>>,
    #[pyo3(from_py_with = count)] samples: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let data = resolve(data, model, None, preprocess)?;
    let held = data.callbacks.clone();
    let all = [&model.callbacks, &held];
    let ours = model.model.clone();
    let found = job::run(py, During::Run, progress, &all, move |job| {
        let samples = spread(&data.data, samples, job)?;
        job.stage("verify", Some(samples.count()));
        verify_within(&ours.lowered()?.0, ours.operators(), ours.max_memory(), &samples)
    })?;
    report(py, "Verification", &found)
}

/// Times a program on noise: medians, not records.
#[pyfunction]
#[pyo3(signature = (model, *, threads, seconds, isa = None, batch = None, progress = None))]
pub fn bench(
    py: Python<'_>,
    model: &Model,
    #[pyo3(from_py_with = count)] threads: usize,
    seconds: &Bound<'_, PyAny>,
    isa: Option<&str>,
    batch: Option<Count>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let threads = threads_of(Some(Count(threads)))?;
    let wrong = || format!("expected a number of seconds from 0, found {}", told(seconds));
    let number = match seconds.is_instance_of::<PyBool>() {
        false => seconds.extract::<f64>().map_err(|_| PyTypeError::new_err(wrong()))?,
        true => return Err(PyTypeError::new_err(wrong())),
    };
    let duration = Duration::try_from_secs_f64(number).map_err(|_| PyValueError::new_err(wrong()))?;
    let (ours, isa, batch) = (model.model.clone(), isa.map(String::from), batch_of(batch)?);
    let found = job::run(py, During::Run, progress, &[&model.callbacks], move |job| {
        job.stage("time", None);
        let graph = with_batch_and(&ours.lowered()?.0, batch, ours.operators())?;
        let program = compile(&graph, &target(&ours, isa.as_deref(), threads)?)?;
        let inputs = noise(&graph)?;
        let effort = Effort { warm_up: duration / 5, duration };
        let timed = interleaved_while(&[(&program, &inputs)], threads, effort, &|| job.check())?;
        timed.into_iter().next().ok_or_else(|| Error::new("expected a timing, found none"))
    })?;
    report(py, "Timing", &found)
}
