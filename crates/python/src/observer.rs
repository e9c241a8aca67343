//! Observers written in Python: from what was seen of a value to the range that its integers cover.

use crate::callbacks::{Callbacks, described, raised, wrong};
use crate::custom::name_of;
use crate::error::During;
use crate::interpreter::attached;
use lowbit::ir::Request as Asked;
use lowbit::quantization::observe::{OBSERVERS, Range, Seen as Shown, WEIGHT_OBSERVERS};
use lowbit::{Error, Observer, Result};
use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyType};

/// What was seen of a value: a histogram, which merges with those of other data.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Seen(Shown);

#[pymethods]
impl Seen {
    /// The least value.
    #[getter]
    fn low(&self) -> f32 {
        self.0.histogram.range().0
    }

    /// The greatest value.
    #[getter]
    fn high(&self) -> f32 {
        self.0.histogram.range().1
    }

    /// How many values.
    #[getter]
    fn count(&self) -> u64 {
        self.0.histogram.count()
    }

    /// How many of them were zero.
    #[getter]
    fn zeros(&self) -> u64 {
        self.0.histogram.zeros()
    }

    /// The middles of the bins that are not empty, in ascending order, and how many values each has.
    ///
    /// The counts are signed, as numpy's differences of unsigned ones wrap around.
    fn histogram<'py>(&self, py: Python<'py>) -> (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<i64>>) {
        let signed = |(middle, count): (f64, u64)| (middle, i64::try_from(count).unwrap_or(i64::MAX));
        let (middles, counts): (Vec<f64>, Vec<i64>) = self.0.histogram.bins().map(signed).unzip();
        (PyArray1::from_vec(py, middles), PyArray1::from_vec(py, counts))
    }

    fn __repr__(&self) -> String {
        format!("<lowbit.Seen: {} values in {}..{}>", self.count(), self.low(), self.high())
    }
}

/// What is asked of a value: the integers that a range is found for.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Request(Asked);

#[pymethods]
impl Request {
    /// "input", "weight" or "activation".
    #[getter]
    fn kind(&self) -> &'static str {
        crate::call::kind_name(self.0.kind)
    }

    /// Width in bits.
    #[getter]
    fn bits(&self) -> u8 {
        self.0.bits
    }

    /// Whether negative integers are used.
    #[getter]
    fn signed(&self) -> bool {
        self.0.signed
    }

    /// Whether the zero point is in the middle.
    #[getter]
    fn symmetric(&self) -> bool {
        self.0.symmetric
    }

    /// The least and the greatest integer.
    #[getter]
    fn integers(&self) -> (i64, i64) {
        self.0.range()
    }

    fn __repr__(&self) -> String {
        format!("<lowbit.Request: {}>", self.0)
    }
}

/// An object with a name and `range(seen, request)`.
pub struct Own {
    name: String,
    known: bool,
    for_weights: bool,
    object: Py<PyAny>,
    callbacks: Callbacks,
}

/// The observers that objects are, each with a name of its own.
pub fn observers(objects: &[Bound<'_, PyAny>], callbacks: &Callbacks) -> PyResult<Vec<Own>> {
    let mut all: Vec<Own> = Vec::new();
    for object in objects {
        let own = observer(object, callbacks)?;
        let standard = OBSERVERS.iter().map(|o| o.name).chain(WEIGHT_OBSERVERS.iter().map(|o| o.name));
        if standard.chain(all.iter().map(|o| o.name.as_str())).any(|name| name == own.name) {
            let e = Error::new(format!("there is an observer named '{}' already", own.name));
            return Err(During::Config.raise(&e.hint("another name")));
        }
        all.push(own);
    }
    Ok(all)
}

/// The observer that an object is.
fn observer(object: &Bound<'_, PyAny>, callbacks: &Callbacks) -> PyResult<Own> {
    if object.is_instance_of::<PyType>() || !object.hasattr("name")? || !object.hasattr("range")? {
        let message = format!("expected an object with a name and a method range(seen, request), found {object}");
        return Err(PyTypeError::new_err(message));
    }
    let known = object.getattr("known").ok().map_or(Ok(true), |known| known.extract())?;
    Ok(Own {
        name: name_of("an observer", object)?,
        known,
        for_weights: object.hasattr("range_of_weights")?,
        object: object.clone().unbind(),
        callbacks: callbacks.clone(),
    })
}

impl Own {
    fn call(
        &self,
        method: &str,
        shown: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>,
        asked: &Asked,
    ) -> Result<Range> {
        attached(|py| {
            let function = self.object.bind(py).getattr(method);
            let who = function.as_ref().map_or_else(|_| self.name.clone(), |f| described("the observer", f));
            let called = || {
                let asked = Bound::new(py, Request(asked.clone()))?.into_any();
                self.callbacks.call(py, &function?, vec![shown(py)?.into_bound(py), asked])
            };
            let found = called().map_err(|e| raised(py, "CallbackError", e, &who))?;
            pair(&found).map_err(|e| wrong("CallbackError", e, &who))
        })
    }
}

/// The range that a tuple, a list or an array of two numbers is.
fn pair(found: &Bound<'_, PyAny>) -> Result<Range> {
    let expected = |what: &str| Error::new(format!("expected {what}, the lower end first, found {found}"));
    let ends: Vec<f64> = match found.len() {
        Ok(2) if !found.is_instance_of::<PyDict>() && !found.is_instance_of::<PySet>() => {
            let ends = found.try_iter().and_then(|ends| ends.take(2).map(|end| end?.extract()).collect());
            ends.map_err(|_| expected("a pair of numbers"))?
        }
        Ok(_) | Err(_) => return Err(expected("a pair of numbers")),
    };
    let [low, high] = ends[..] else { return Err(expected("a pair of numbers")) };
    let range = Range { low: low as f32, high: high as f32 };
    match range.low.is_finite() && range.high.is_finite() && low <= high {
        true => Ok(range),
        false => Err(expected("two finite ends")),
    }
}

impl Observer for Own {
    fn name(&self) -> &str {
        &self.name
    }

    fn range(&self, seen: &Shown, request: &Asked) -> Result<Range> {
        let shown = |py: Python<'_>| Ok(Bound::new(py, Seen(seen.clone()))?.into_any().unbind());
        self.call("range", shown, request)
    }

    fn known(&self) -> bool {
        self.known
    }

    fn range_of_weights(&self, weights: &[f32], request: &Asked) -> Result<Range> {
        match self.for_weights {
            true => {
                let shown = |py: Python<'_>| Ok(PyArray1::from_slice(py, weights).to_dyn().clone().into_any().unbind());
                self.call("range_of_weights", shown, request)
            }
            false => {
                let mut seen = Shown::new();
                seen.add(weights)?;
                self.range(&seen, request)
            }
        }
    }
}
