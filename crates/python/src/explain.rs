//! Why a model is as it is, what changed between two, and making one again: what `--json` of the command line says.

use crate::callbacks::Callbacks;
use crate::config::Config;
use crate::data::resolve;
use crate::error::During;
use crate::interpreter::entered;
use crate::job;
use crate::model::{Model, report};
use crate::quantize::{How, spread};
use crate::stats::Stats;
use crate::types::{Count, FilePath, Listed, told};
use lowbit::explain as why;
use lowbit::frontend::ImportOptions;
use lowbit::reproduce::{self as recipes, check_evidence, check_float, is_source, recipe};
use pyo3::exceptions::{PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use std::ffi::CString;

/// What every tensor's parameters are and who chose them, and why what is float is float; of one value or node, or of all.
#[pyfunction]
#[pyo3(signature = (model, name, *, config, rules, observers))]
pub fn explain(
    py: Python<'_>,
    model: &Model,
    name: Option<String>,
    config: Config,
    rules: &Bound<'_, PyDict>,
    observers: Listed<'_>,
) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let choices = config.sourced().map_err(|e| During::Config.raise(&e))?;
    let how = How { model, config, rules, observers: &observers.0, passes: &[], threads: Some(Count(1)), isa: None };
    let made = how.made(py)?;
    let (ours, own) = (model.model.clone(), made.callbacks.clone());
    let found = job::run(py, During::Model, None, &[&model.callbacks, &own], move |_| {
        let all = why::explain_with(&ours, &choices, &made.how())?;
        name.map_or_else(|| Ok(all.clone()), |name| all.about(&name))
    })?;
    report(py, "Explanation", &found)
}

/// What changed from one quantized model to another.
#[pyfunction]
#[pyo3(signature = (before, after, *, tolerance))]
pub fn diff(py: Python<'_>, before: &Model, after: &Model, tolerance: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let wrong = || format!("expected a number from 0 for tolerance, such as 0.01, found {}", told(tolerance));
    let number = match tolerance.is_instance_of::<PyBool>() {
        false => tolerance.extract::<f64>().map_err(|_| PyTypeError::new_err(wrong()))?,
        true => return Err(PyTypeError::new_err(wrong())),
    };
    if !number.is_finite() || number < 0.0 {
        return Err(PyValueError::new_err(wrong()));
    }
    let (a, b) = (before.model.clone(), after.model.clone());
    let all = [&before.callbacks, &after.callbacks];
    let found = job::run(py, During::Model, None, &all, move |_| lowbit::diff::diff(&a, &b, number))?;
    report(py, "Difference", &found)
}

/// Makes the quantized model of a file again by the recipe in it, and says whether it is the same to the byte.
#[pyfunction]
#[pyo3(signature = (path, source, *, params, data, stats, rules, observers, passes, threads, isa, progress))]
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub fn reproduce(
    py: Python<'_>,
    path: FilePath,
    source: &Bound<'_, PyAny>,
    params: Option<FilePath>,
    data: Option<&Bound<'_, PyAny>>,
    stats: Option<&Bound<'_, Stats>>,
    rules: &Bound<'_, PyDict>,
    observers: Listed<'_>,
    passes: Listed<'_>,
    threads: Option<Count>,
    isa: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    const WORDS: [&str; 3] = ["data", "stats", "neither data nor stats"];
    let _inside = entered(py);
    let [of_data, of_stats, nothing] = WORDS;
    let given = match (data, stats) {
        (Some(_), Some(_)) => return Err(PyTypeError::new_err("expected data or stats, found both")),
        (Some(_), None) => of_data,
        (None, Some(_)) => of_stats,
        (None, None) => nothing,
    };
    let quantized_path = path.0.clone();
    let quantized = job::run(py, During::Model, None, &[], move |_| {
        let quantized = lowbit::Model::load(&quantized_path)?;
        check_evidence(&recipe(&quantized)?, given, WORDS).map(|()| quantized)
    })?;
    let mut source = float(py, source, params, &quantized)?;
    let wanted = recipe(&quantized).map_err(|e| During::Model.raise(&e))?;
    if !is_source(&wanted, &source.model) {
        let text = CString::new("the source is not the float model of the recipe").unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 2)?;
    }
    // Images went the way that the quantized model stores.
    if let Some(preprocess) = quantized.preprocess() {
        source.model.set_preprocess(preprocess.into());
    }
    let config = quantized.config().map_err(|e| During::Config.raise(&e))?;
    let samples = config.samples;
    let how = How {
        model: &source,
        config: Config::in_force(config),
        rules,
        observers: &observers.0,
        passes: &passes.0,
        threads,
        isa,
    };
    let made = how.made(py)?;
    let own = made.callbacks.clone();
    let data = data.map(|d| resolve(d, &source, None, None)).transpose()?;
    let stats = stats.map(|stats| stats.get().shard.clone());
    let held = data.as_ref().map(|data| data.callbacks.clone()).unwrap_or_default();
    let model = source.model.clone();
    let found = job::run(py, During::Quantize, progress, &[&own, &source.callbacks, &held], move |job| {
        let how = made.how();
        let how = match (&data, stats) {
            (Some(data), _) => {
                let samples = spread(&data.data, samples, job)?;
                job.stage("reproduce", Some(samples.count()));
                how.data(samples)
            }
            (None, Some(stats)) => how.stats(stats),
            (None, None) => how.without_data(),
        };
        recipes::reproduce(&path.0, &model, how)
    })?;
    report(py, "Reproduction", &found)
}

/// The float model of a quantized one: a model, or the path of one, which is read with the sizes that were given for it.
fn float(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    params: Option<FilePath>,
    quantized: &lowbit::Model,
) -> PyResult<Model> {
    if let Ok(model) = source.cast::<Model>() {
        if params.is_some() {
            return Err(PyTypeError::new_err("expected no params beside a model, which holds its own, found some"));
        }
        check_float(&model.get().model).map_err(|e| During::Model.raise(&e))?;
        return Ok(model.get().clone());
    }
    let path = source.extract::<FilePath>()?.0;
    let quantized = quantized.clone();
    let model = job::run(py, During::Model, None, &[], move |_| {
        let load = |shapes| {
            let params = params.as_ref().map(|path| path.0.clone());
            lowbit::Model::read(&path, &ImportOptions { shapes, params, ..ImportOptions::default() })
        };
        recipes::source(&quantized, load).map_err(|e| e.context(format!("reading '{}'", path.display())))
    })?;
    Ok(Model::new(model, Callbacks::default()))
}
