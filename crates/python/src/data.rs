//! Data sets: what files hold, and what Python holds, sample by sample.

use crate::array;
use crate::callbacks::{Callbacks, raised};
use crate::error::During;
use crate::interpreter::{Place, attached, entered};
use crate::job;
use crate::model::{Model, memory_or};
use crate::turn::Turns;
use crate::types::{Count, mapping, told};
use lowbit::data::preprocess::{self, Overrides};
use lowbit::data::{self, InputSpec, Preprocess, SampleAxis};
use lowbit::ir::memory;
use lowbit::ir::suggest::did_you_mean;
use lowbit::{Error, Result, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyString, PyTuple};
use std::sync::Arc;

/// Samples for a model, read when asked for.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug, Clone)]
pub struct Dataset {
    pub data: Arc<data::Dataset>,
    /// What it is called in messages.
    pub name: String,
    /// What is known of the functions that it calls.
    pub callbacks: Callbacks,
    /// What Python holds, if it is that.
    given: Option<Arc<Given>>,
}

/// What Python holds, as every work reads it.
#[derive(Debug)]
struct Given {
    held: Held,
    inputs: Vec<InputSpec>,
    len: usize,
    labels: Option<Vec<u32>>,
    max_memory: usize,
    /// What is behind a sequence, such as one file, may be at one place at a time: who reads takes turns.
    turns: Turns,
}

#[pymethods]
impl Dataset {
    /// Opens a folder of images or of .npy or .npz files, one of these, an idx pair, or "random".
    #[staticmethod]
    #[pyo3(signature = (spec, model, *, preprocess = None, max_memory = None))]
    fn open(
        py: Python<'_>,
        spec: &Bound<'_, PyAny>,
        model: &Model,
        preprocess: Option<&Bound<'_, PyAny>>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Dataset> {
        let _inside = entered(py);
        let Some(name) = named(spec)? else {
            let message = format!("expected a path, or \"random\", found {}: Dataset.of takes arrays", spec.get_type());
            return Err(PyTypeError::new_err(message));
        };
        open(py, name, model, preprocess, memory_or(max_memory, model)?)
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
        let _inside = entered(samples.py());
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
    fn sample<'py>(&self, py: Python<'py>, i: Count) -> PyResult<Bound<'py, PyDict>> {
        let _inside = entered(py);
        let Dataset { data, callbacks, .. } = self.for_work()?;
        let sample = job::run(py, During::Data, None, &[&callbacks], move |_| data.sample(i.0))?;
        let arrays = PyDict::new(py);
        for (name, tensor) in &sample.inputs {
            arrays.set_item(name, array::array(py, tensor)?)?;
        }
        Ok(arrays)
    }

    /// The class of sample `i`, if known.
    fn label(&self, i: Count) -> PyResult<Option<u32>> {
        self.data.label(i.0).map_err(|e| During::Data.raise(&e))
    }

    fn __len__(&self) -> usize {
        self.data.len()
    }

    fn __repr__(&self) -> String {
        let labels = if self.data.has_labels() { " with labels" } else { "" };
        format!("<lowbit.Dataset '{}': {} samples{labels}>", self.name, self.data.len())
    }
}

impl Dataset {
    /// What Python holds, for a work that begins here.
    fn held(name: &str, given: Arc<Given>) -> PyResult<Dataset> {
        let mut place = Place::here();
        let held = place.held.clone();
        place.hold(&given.turns.thing);
        let callbacks = Callbacks::default().at(Place { work: None, ..place });
        let (named, from, kept) = (name.to_string(), given.clone(), callbacks.clone());
        // Nobody holds the interpreter who waits.
        let read = move |i: usize| {
            let turn = match from.held {
                Held::Sequence(_) => Some(from.turns.take(&kept.work(), &held)),
                Held::Arrays(_) => None,
            };
            let turn = turn.transpose().map_err(|e| e.context(format!("reading the data '{named}' for sample {i}")))?;
            let read = attached(|py| read(py, &from.held, &from.inputs, i, &kept, &named));
            drop(turn);
            read
        };
        let Given { inputs, len, labels, max_memory, .. } = &*given;
        let data = data::Dataset::given(name, inputs, *len, labels.clone(), *max_memory, read);
        let data = Arc::new(data.map_err(|e| During::Data.raise(&e))?);
        Ok(Dataset { data, name: name.into(), callbacks, given: Some(given) })
    }

    /// The same for a work of its own, which alone is interrupted with it. A function that gives one of its samples may not
    /// read it, which would wait for itself.
    fn for_work(&self) -> PyResult<Dataset> {
        let Some(given) = &self.given else { return Ok(self.clone()) };
        if Place::here().held.iter().any(|held| Arc::ptr_eq(held, &given.turns.thing)) {
            let e = Error::new(format!("the data '{}' is read by the function that gives its samples", self.name));
            return Err(During::Data.raise(&e.hint("what the data set was made of, instead of the data set")));
        }
        Dataset::held(&self.name, given.clone())
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
            (None, None) => dataset.get().for_work(),
        };
    }
    if let Some(name) = named(given)? {
        return match labels {
            Some(_) => refuse("labels", "the name of a file or folder, which holds them"),
            None => open(given.py(), name, model, preprocess, max_memory),
        };
    }
    match preprocess {
        Some(_) => refuse("preprocess", "arrays, which are taken as they are"),
        None => self::given(given, model, labels, "data", max_memory),
    }
}

/// The name of data, if this names any: a path, or as text "random". A file of that name needs a path that is none.
fn named(given: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let text = if given.is_instance_of::<PyString>() {
        given.clone()
    } else if given.hasattr("__fspath__")? {
        given.call_method0("__fspath__")?
    } else if given.is_instance_of::<PyBytes>() || given.is_instance_of::<PyByteArray>() {
        return Err(PyTypeError::new_err(
            "expected data or its path as text, found bytes: os.fsdecode(path) of a path",
        ));
    } else {
        return Ok(None);
    };
    let Ok(name) = text.extract::<String>() else {
        return Err(PyTypeError::new_err(format!("expected a path that is Unicode text, found {}", text.repr()?)));
    };
    match name == "random" && !given.is_instance_of::<PyString>() {
        true => Ok(Some("./random".into())),
        false => Ok(Some(name)),
    }
}

fn open(
    py: Python<'_>,
    name: String,
    model: &Model,
    how: Option<&Bound<'_, PyAny>>,
    max_memory: usize,
) -> PyResult<Dataset> {
    let preset = how.map(preset).transpose()?;
    let (model, spec) = (model.model.clone(), name.clone());
    let opened = move || -> Result<data::Dataset> {
        let name = spec;
        let preprocess = match (data::Dataset::takes_preprocess(&name)?, preset) {
            (true, Some(given)) => given.over(model.preprocess())?,
            (true, None) => Some(model.stored_preprocess()?.ok_or_else(|| {
                Error::new(format!(
                    "expected how images become inputs for '{name}', and the model stores nothing of it"
                ))
                .hint(format!("preprocess=\"imagenet\", or another of {}, or a dictionary", preprocess::preset_names()))
            })?),
            (false, Some(_)) => {
                return Err(Error::new(format!(
                    "expected images for a preprocess, found '{name}': arrays and noise are taken as they are"
                ))
                .hint("leave it out; an array holds what the model takes, already normalized"));
            }
            (false, None) => None,
        };
        data::Dataset::open_within(&name, &model.inputs(), preprocess.as_ref(), max_memory)
    };
    let data = job::run(py, During::Data, None, &[], move |_| opened())?;
    Ok(Dataset { data: Arc::new(data), name, callbacks: Callbacks::default(), given: None })
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
    let Some(choices) = mapping(how)? else {
        let message = "expected the name of a preset or a dictionary for preprocess";
        return Err(PyTypeError::new_err(format!("{message}, found {}", how.get_type())));
    };
    if choices.is_empty() {
        let e = Error::new("expected choices in the dictionary for preprocess, found none");
        return Err(During::Data.raise(&e.hint("leave it out: the preprocessing that the model stores then holds")));
    }
    let mut preset = Preset { name: None, overrides: Overrides::default() };
    for (key, value) in choices {
        let numbers = || value.extract::<Vec<f32>>().or_else(|_| value.extract::<f32>().map(|x| vec![x]));
        let o = &mut preset.overrides;
        match key.extract::<String>()?.as_str() {
            "preset" => preset.name = Some(value.extract()?),
            "resize" => o.resize = Some(pixels(&key, &value)?),
            "crop" => o.crop = Some(pixels(&key, &value)?),
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

/// A number of pixels, or that there is no such step.
fn pixels(key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
    let is_none = value.is_none() || value.extract::<String>().is_ok_and(|word| word == "none");
    if is_none {
        return Ok(None);
    }
    let found = value.extract::<Count>().and_then(|n| Ok(u32::try_from(n.0)?));
    found.map(Some).map_err(|e| {
        let message = format!("expected a number of pixels or None for {key} of preprocess, found {}", told(value));
        match e.is_instance_of::<PyValueError>(value.py()) {
            true => PyValueError::new_err(message),
            false => PyTypeError::new_err(message),
        }
    })
}

/// What Python holds of one input, or of all.
#[derive(Debug)]
enum Held {
    /// An array for every input, whose first axis counts samples.
    Arrays(Vec<(Py<PyAny>, SampleAxis)>),
    /// A sample at every index.
    Sequence(Py<PyAny>),
}

/// What a sample takes besides its elements.
const KEPT: usize = 128;

fn given(
    samples: &Bound<'_, PyAny>,
    model: &Model,
    labels: Option<&Bound<'_, PyAny>>,
    name: &str,
    max_memory: usize,
) -> PyResult<Dataset> {
    let inputs = model.model.inputs();
    let (held, len) = held(samples, &inputs, max_memory)?;
    let labels = labels.map(|labels| classes(labels, len, name)).transpose()?;
    let given = Given { held, inputs, len, labels, max_memory, turns: Turns::default() };
    Dataset::held(name, Arc::new(given))
}

/// The classes of so many samples.
fn classes(labels: &Bound<'_, PyAny>, samples: usize, data: &str) -> PyResult<Vec<u32>> {
    let wrong = |e: Error| During::Data.raise(&e.context(format!("reading the labels of the data '{data}'")));
    let labels = array::plain(labels)?;
    let found: usize = labels.getattr("size")?.extract()?;
    let dims: Vec<usize> = labels.getattr("shape")?.extract()?;
    if found != samples || dims.len() > 1 && dims.first() != Some(&samples) {
        let e = Error::new(format!("expected {samples} labels, found an array of the sizes {dims:?}"));
        return Err(wrong(e.hint("one number for each sample: labels.argmax(1) of one-hot ones")));
    }
    let dtype = labels.getattr("dtype")?;
    if !matches!(dtype.getattr("kind")?.extract()?, 'i' | 'u') {
        let e = Error::new(format!("expected labels that are integers, the numbers of classes, found {dtype}"));
        return Err(wrong(
            e.hint("labels.astype(int) where these are whole numbers, labels.argmax(1) of one-hot ones"),
        ));
    }
    let class = |l: i64| {
        let out = || Error::new(format!("expected labels from 0 to {}, found {l}", u32::MAX));
        u32::try_from(l).map_err(|_| out())
    };
    array::tensor(&labels)?.ints().and_then(|all| all.into_iter().map(class).collect()).map_err(wrong)
}

fn held(samples: &Bound<'_, PyAny>, inputs: &[InputSpec], max_memory: usize) -> PyResult<(Held, usize)> {
    let data = |e: Error| During::Data.raise(&e);
    let is_array = |of: &Bound<'_, PyAny>| of.hasattr("__array__").unwrap_or(false);
    if let Some(named) = mapping(samples)? {
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
    let sequence = match samples.hasattr("__getitem__")? && samples.hasattr("__len__")? {
        true => samples.clone(),
        false => kept(samples, max_memory)?.into_any(),
    };
    let len = sequence.len()?;
    Ok((Held::Sequence(sequence.unbind()), len))
}

/// All that can only be gone through once, if that fits memory.
fn kept<'py>(samples: &Bound<'py, PyAny>, max_memory: usize) -> PyResult<Bound<'py, PyList>> {
    let py = samples.py();
    if !samples.hasattr("__iter__")? && !samples.hasattr("__getitem__")? {
        return Err(PyTypeError::new_err(format!(
            "expected data, found {}: a path, an array, a dictionary of arrays, a sequence, or what gives samples one by one",
            samples.get_type()
        )));
    }
    let all = PyList::empty(py);
    let mut bytes = 0_usize;
    for sample in samples.try_iter()? {
        let sample = sample?;
        py.check_signals()?;
        // What is no array takes something too.
        let size = |of: &Bound<'py, PyAny>| of.getattr("nbytes").and_then(|n| n.extract::<usize>()).unwrap_or(0);
        let of_all = match (sample.cast::<PyTuple>(), sample.cast::<PyDict>()) {
            (Ok(parts), _) => parts.iter().map(|part| size(&part)).sum(),
            (_, Ok(parts)) => parts.values().iter().map(|part| size(&part)).sum(),
            (Err(_), Err(_)) => size(&sample),
        };
        bytes = bytes.saturating_add(of_all).saturating_add(KEPT);
        if bytes > max_memory {
            let e = Error::new(format!(
                "expected samples that end, or fit {} together, found more than {} samples, all of which are kept",
                memory::text(max_memory),
                all.len()
            ));
            let hint = "a sequence with len() and samples by index, which is read when it is asked for";
            return Err(During::Data.raise(&e.hint(hint)));
        }
        all.append(sample)?;
    }
    Ok(all)
}

fn one_array(array: &Bound<'_, PyAny>, input: &InputSpec) -> PyResult<(Py<PyAny>, SampleAxis, usize)> {
    let array = array::plain(array)?;
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
    let keep = |e: PyErr| raised(py, "DataError", e, &format!("the data '{name}' for sample {i}"));
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
            let get = || {
                let item = py.import("lowbit._threads")?.getattr("item")?;
                callbacks.call(py, &item, vec![sequence.clone(), i.into_pyobject(py)?.into_any()])
            };
            let sample = get().map_err(keep)?;
            let arrays = sample_arrays(&sample, inputs).map_err(keep)?;
            let one = |(array, input): (Bound<'_, PyAny>, &InputSpec)| {
                let array = array::plain(&array).map_err(keep)?;
                let dims: Vec<usize> = array.getattr("shape").and_then(|dims| dims.extract()).map_err(keep)?;
                let axis = SampleAxis::of(&dims, input)?;
                let tensor = array::tensor(&array).map_err(keep)?;
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
    if let Some(named) = mapping(sample)? {
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
