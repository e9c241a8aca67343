//! Data sets: what files hold, and what Python holds, sample by sample.

use crate::array;
use crate::callbacks::Callbacks;
use crate::error::During;
use crate::model::{Model, memory_or};
use lowbit::data::preprocess::{self, Overrides};
use lowbit::data::{self, InputSpec, Preprocess, SampleAxis};
use lowbit::ir::suggest::did_you_mean;
use lowbit::{Error, Result, Tensor};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Samples for a model, read when asked for.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug, Clone)]
pub struct Dataset {
    pub data: Arc<data::Dataset>,
    name: String,
    /// What is known of the functions that it calls.
    pub callbacks: Callbacks,
}

#[pymethods]
impl Dataset {
    /// Opens a folder of images or of .npy or .npz files, one of these, an idx pair, or "random".
    #[staticmethod]
    #[pyo3(signature = (spec, model, *, preprocess = None, max_memory = None))]
    fn open(
        py: Python<'_>,
        spec: PathBuf,
        model: &Model,
        preprocess: Option<&Bound<'_, PyAny>>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Dataset> {
        open(py, &spec, model, preprocess, memory_or(max_memory, model)?)
    }

    /// Samples that Python holds: arrays whose first axis counts them, or a sequence with a sample at every index.
    #[staticmethod]
    #[pyo3(signature = (samples, model, *, labels = None, name = "data", max_memory = None))]
    fn of(
        samples: &Bound<'_, PyAny>,
        model: &Model,
        labels: Option<&Bound<'_, PyAny>>,
        name: &str,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Dataset> {
        given(samples, model, labels, name, memory_or(max_memory, model)?)
    }

    /// Whether the right classes are known.
    #[getter]
    fn has_labels(&self) -> bool {
        self.data.has_labels()
    }

    /// Whether it is noise.
    #[getter]
    fn is_random(&self) -> bool {
        self.data.is_random()
    }

    /// How its images become inputs, as a model stores it; None of arrays.
    #[getter]
    fn preprocess(&self) -> Option<String> {
        self.data.preprocess().and_then(|p| p.to_json().ok())
    }

    /// Sample `i`: an array for every input by name, with a batch of one.
    fn sample<'py>(&self, py: Python<'py>, i: usize) -> PyResult<Bound<'py, PyDict>> {
        let sample = py.detach(|| self.data.sample(i)).map_err(|e| self.callbacks.told(py, During::Data, &e))?;
        let arrays = PyDict::new(py);
        for (name, tensor) in &sample.inputs {
            arrays.set_item(name, array::array(py, tensor)?)?;
        }
        Ok(arrays)
    }

    /// The class of sample `i`, if known.
    fn label(&self, py: Python<'_>, i: usize) -> PyResult<Option<u32>> {
        let sample = py.detach(|| self.data.sample(i)).map_err(|e| self.callbacks.told(py, During::Data, &e))?;
        Ok(sample.label)
    }

    fn __len__(&self) -> usize {
        self.data.len()
    }

    fn __repr__(&self) -> String {
        let labels = if self.data.has_labels() { " with labels" } else { "" };
        format!("<lowbit.Dataset '{}': {} samples{labels}>", self.name, self.data.len())
    }
}

/// Whatever stands for data: a data set, what names one, or arrays.
pub fn resolve(
    given: &Bound<'_, PyAny>,
    model: &Model,
    labels: Option<&Bound<'_, PyAny>>,
    preprocess: Option<&Bound<'_, PyAny>>,
) -> PyResult<Dataset> {
    let max_memory = model.model.max_memory();
    let refuse = |what: &str, data: &str| {
        Err(PyTypeError::new_err(format!("expected no {what} beside {data}, found some: leave it out")))
    };
    if let Ok(dataset) = given.cast::<Dataset>() {
        return match (labels, preprocess) {
            (Some(_), _) => refuse("labels", "a Dataset, which holds its own"),
            (_, Some(_)) => refuse("preprocess", "a Dataset, which was opened with one"),
            (None, None) => Ok(dataset.get().clone()),
        };
    }
    let is_path = given.is_instance_of::<PyString>() || given.hasattr("__fspath__")?;
    if is_path {
        return match labels {
            Some(_) => refuse("labels", "the name of a file or folder, which holds them"),
            None => open(given.py(), &given.extract::<PathBuf>()?, model, preprocess, max_memory),
        };
    }
    match preprocess {
        Some(_) => refuse("preprocess", "arrays, which are taken as they are"),
        None => self::given(given, model, labels, "data", max_memory),
    }
}

fn open(
    py: Python<'_>,
    spec: &Path,
    model: &Model,
    how: Option<&Bound<'_, PyAny>>,
    max_memory: usize,
) -> PyResult<Dataset> {
    let name = spec.to_string_lossy().into_owned();
    let preset = how.map(preset).transpose()?;
    let inputs = model.model.inputs();
    let opened = || -> Result<data::Dataset> {
        let preprocess = match (data::Dataset::takes_preprocess(&name)?, preset) {
            (true, Some(given)) => given.over(model.model.preprocess())?,
            (true, None) => model.model.stored_preprocess()?,
            (false, Some(_)) => {
                return Err(Error::new(format!(
                    "expected images for a preprocess, found '{name}': arrays and noise are taken as they are"
                ))
                .hint("leave it out; an array holds what the model takes, already normalized"));
            }
            (false, None) => None,
        };
        data::Dataset::open_within(&name, &inputs, preprocess.as_ref(), max_memory)
    };
    let data = py.detach(opened).map_err(|e| During::Data.raise(&e))?;
    Ok(Dataset { data: Arc::new(data), name, callbacks: Callbacks::default() })
}

/// What `preprocess=` says: a preset by name, or a dictionary.
struct Preset {
    name: Option<String>,
    overrides: Overrides,
}

impl Preset {
    fn over(self, stored: Option<&str>) -> Result<Option<Preprocess>> {
        preprocess::resolve(self.name.as_deref(), stored, &self.overrides)
    }
}

fn preset(how: &Bound<'_, PyAny>) -> PyResult<Preset> {
    if let Ok(name) = how.extract::<String>() {
        return Ok(Preset { name: Some(name), overrides: Overrides::default() });
    }
    let Ok(choices) = how.cast::<PyDict>() else {
        let message = "expected the name of a preset or a dictionary for preprocess";
        return Err(PyTypeError::new_err(format!("{message}, found {}", how.get_type())));
    };
    let mut preset = Preset { name: None, overrides: Overrides::default() };
    for (key, value) in choices {
        let numbers = || value.extract::<Vec<f32>>().or_else(|_| value.extract::<f32>().map(|x| vec![x]));
        let o = &mut preset.overrides;
        match key.extract::<String>()?.as_str() {
            "preset" => preset.name = Some(value.extract()?),
            "resize" => o.resize = Some(value.extract()?),
            "crop" => o.crop = Some(value.extract()?),
            "mean" => o.mean = Some(numbers()?),
            "std" => o.std = Some(numbers()?),
            "channels" => {
                let text: String = value.extract()?;
                o.channels = Some(text.parse().map_err(|e| During::Data.raise(&e))?);
            }
            other => {
                let near = did_you_mean(other, ["preset", "resize", "crop", "mean", "std", "channels"]);
                return Err(During::Data.raise(&Error::new(format!("preprocess has no key '{other}'{near}"))));
            }
        }
    }
    Ok(preset)
}

/// What Python holds of one input, or of all.
enum Held {
    /// An array for every input, whose first axis counts samples.
    Arrays(Vec<(Py<PyAny>, SampleAxis)>),
    /// A sample at every index.
    Sequence(Py<PyAny>),
}

fn given(
    samples: &Bound<'_, PyAny>,
    model: &Model,
    labels: Option<&Bound<'_, PyAny>>,
    name: &str,
    max_memory: usize,
) -> PyResult<Dataset> {
    let inputs = model.model.inputs();
    let labels = labels.map(array::tensor).transpose()?;
    let labels = labels.as_ref().map(classes).transpose().map_err(|e| During::Data.raise(&e))?;
    let (held, len) = held(samples, &inputs)?;
    let (specs, held_by) = (inputs.clone(), name.to_string());
    let callbacks = Callbacks::default();
    let kept = callbacks.clone();
    // What is behind a sequence, such as one file, may be at one place at a time. Nobody holds the interpreter who waits.
    let turn = Mutex::new(());
    let read = move |i: usize| {
        let turn = matches!(held, Held::Sequence(_)).then(|| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let read = Python::attach(|py| read(py, &held, &specs, i, &kept, &held_by));
        drop(turn);
        read
    };
    let dataset = data::Dataset::given(name, &inputs, len, labels, max_memory, read);
    Ok(Dataset { data: Arc::new(dataset.map_err(|e| During::Data.raise(&e))?), name: name.into(), callbacks })
}

fn classes(labels: &Tensor) -> Result<Vec<u32>> {
    let class = |l: i64| u32::try_from(l).map_err(|_| Error::new(format!("expected labels from 0, found {l}")));
    labels.ints()?.into_iter().map(class).collect::<Result<_>>().map_err(|e| e.context("reading the labels"))
}

fn held(samples: &Bound<'_, PyAny>, inputs: &[InputSpec]) -> PyResult<(Held, usize)> {
    let py = samples.py();
    let data = |e: Error| During::Data.raise(&e);
    let is_array = |of: &Bound<'_, PyAny>| of.hasattr("__array__").unwrap_or(false);
    if let Ok(named) = samples.cast::<PyDict>() {
        let known = || inputs.iter().map(|i| i.name.as_str());
        for key in named.keys() {
            let key: String = key.extract()?;
            if !known().any(|name| name == key) {
                let near = did_you_mean(&key, known());
                let e = Error::new(format!("expected arrays with the names of inputs, found '{key}'{near}"));
                return Err(data(e.hint(format!("arrays named {}", known().collect::<Vec<_>>().join(", ")))));
            }
        }
        let mut arrays = Vec::new();
        let mut len = None;
        for input in inputs {
            let Some(array) = named.get_item(&input.name)? else {
                return Err(data(Error::new(format!("expected an array named '{}', found none", input.name))));
            };
            let (array, axis, samples) = one_array(&array, input)?;
            if let Some(first) = len.filter(|first| *first != samples) {
                let e = format!("expected {first} samples in array '{}' as in the first, found {samples}", input.name);
                return Err(data(Error::new(e)));
            }
            len = Some(samples);
            arrays.push((array, axis));
        }
        return Ok((Held::Arrays(arrays), len.unwrap_or(0)));
    }
    if is_array(samples) {
        let [input] = inputs else {
            let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
            let e = Error::new(format!("expected a model of one input for an array, found {}", names.join(", ")));
            return Err(data(e.hint("a dictionary with an array for every input by name")));
        };
        let (array, axis, samples) = one_array(samples, input)?;
        return Ok((Held::Arrays(vec![(array, axis)]), samples));
    }
    // What can only be gone through once is kept.
    let sequence = match samples.hasattr("__getitem__")? && samples.hasattr("__len__")? {
        true => samples.clone(),
        false => PyList::new(py, samples.try_iter()?.collect::<PyResult<Vec<_>>>()?)?.into_any(),
    };
    let len = sequence.len()?;
    Ok((Held::Sequence(sequence.unbind()), len))
}

fn one_array(array: &Bound<'_, PyAny>, input: &InputSpec) -> PyResult<(Py<PyAny>, SampleAxis, usize)> {
    let array = array.py().import("numpy")?.call_method1("asarray", (array,))?;
    let dims: Vec<usize> = array.getattr("shape")?.extract()?;
    let axis = SampleAxis::of(&dims, input).map_err(|e| During::Data.raise(&e))?;
    Ok((array.unbind(), axis, axis.samples(&dims)))
}

fn read(
    py: Python<'_>,
    held: &Held,
    inputs: &[InputSpec],
    i: usize,
    callbacks: &Callbacks,
    name: &str,
) -> Result<Vec<Tensor>> {
    let keep = |e: PyErr| callbacks.keep(py, "DataError", e, &format!("the data '{name}' for sample {i}"));
    match held {
        Held::Arrays(arrays) => arrays
            .iter()
            .map(|(array, axis)| {
                let array = array.bind(py);
                let row = match axis.row(i) {
                    Some(i) => array.get_item(i),
                    None => Ok(array.clone()),
                };
                axis.sized(row.and_then(|row| array::tensor(&row)).map_err(keep)?)
            })
            .collect(),
        Held::Sequence(sequence) => {
            let sequence = sequence.bind(py);
            let get = || callbacks.call(py, &sequence.getattr("__getitem__")?, vec![i.into_pyobject(py)?.into_any()]);
            let sample = get().map_err(keep)?;
            let arrays = sample_arrays(&sample, inputs).map_err(keep)?;
            let one = |(array, input): (Bound<'_, PyAny>, &InputSpec)| {
                let tensor = array::tensor(&array).map_err(keep)?;
                let axis = SampleAxis::of(tensor.dims(), input)?;
                match (axis.samples(tensor.dims()), axis) {
                    (1, SampleAxis::Outer) => tensor.reshaped(tensor.dims().get(1..).unwrap_or_default()),
                    (1, SampleAxis::Batch | SampleAxis::Whole) => Ok(tensor),
                    (1, SampleAxis::None) => axis.sized(tensor),
                    (n, _) => Err(Error::new(format!("expected one sample, found {n}")).at_value(&input.name)),
                }
            };
            arrays.into_iter().zip(inputs).map(one).collect()
        }
    }
}

/// The arrays of a sample, in the order of the inputs.
fn sample_arrays<'py>(sample: &Bound<'py, PyAny>, inputs: &[InputSpec]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let Ok(named) = sample.cast::<PyDict>() {
        let array = |input: &InputSpec| {
            let missing = || PyTypeError::new_err(format!("expected an array named '{}', found none", input.name));
            named.get_item(&input.name)?.ok_or_else(missing)
        };
        if named.len() != inputs.len() {
            let keys = named.keys();
            return Err(PyTypeError::new_err(format!("expected {} arrays, found {keys}", inputs.len())));
        }
        return inputs.iter().map(array).collect();
    }
    match sample.cast::<PyTuple>() {
        Ok(arrays) if arrays.len() == inputs.len() => Ok(arrays.iter().collect()),
        Ok(arrays) => Err(PyTypeError::new_err(format!(
            "expected a tuple of {} arrays, one for every input, found {} (labels go apart: labels=...)",
            inputs.len(),
            arrays.len()
        ))),
        Err(_) => Ok(vec![sample.clone()]),
    }
}
