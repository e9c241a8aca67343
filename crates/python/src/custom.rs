//! Operators written in Python: what they take and give, and what they compute, in floats.

use crate::array;
use crate::callbacks::{Callbacks, described, raised, wrong};
use crate::error::During;
use crate::interpreter::attached;
use crate::types::{ValueType, told};
use lowbit::ir::{CustomOp, Customs, Type};
use lowbit::{Error, Result, Tensor};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};
use std::sync::Arc;

/// An object with a name, `infer(*types)` and `run(*arrays)`.
struct Own {
    name: String,
    object: Py<PyAny>,
    callbacks: Callbacks,
}

/// The name of something of the user's, which is text.
pub fn name_of(what: &str, object: &Bound<'_, PyAny>) -> PyResult<String> {
    let name = object.getattr("name")?;
    let wrong = || PyTypeError::new_err(format!("expected text as the name of {what}, found {}", told(&name)));
    name.extract().map_err(|_| wrong())
}

/// The table of these operators.
pub fn customs(objects: &[Bound<'_, PyAny>], callbacks: &Callbacks) -> PyResult<Customs> {
    objects.iter().try_fold(Customs::default(), |customs, object| {
        let has = |name: &str| object.hasattr(name);
        if object.is_instance_of::<PyType>() || !(has("name")? && has("infer")? && has("run")?) {
            let message = format!("expected an object with a name and the methods infer and run, found {object}");
            return Err(PyTypeError::new_err(message));
        }
        let name: String = name_of("an operator", object)?;
        let own = Own { name, object: object.clone().unbind(), callbacks: callbacks.clone() };
        customs.with(Arc::new(own)).map_err(|e| During::Model.raise(&e))
    })
}

impl Own {
    /// Calls a method with these arguments; several results are a list or a tuple. `through` is what calls it, a function of
    /// the package, for what is to be done with the results where the method runs.
    fn call<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        through: Option<&str>,
        arguments: Vec<Bound<'py, PyAny>>,
    ) -> Result<(Vec<Bound<'py, PyAny>>, String)> {
        let object = self.object.bind(py);
        let who = || match object.getattr(method) {
            Ok(function) => described("the operator", &function),
            Err(_) => format!("the operator '{}'", self.name),
        };
        let called = || -> PyResult<Vec<Bound<'py, PyAny>>> {
            let method = object.getattr(method)?;
            let found = match through {
                None => self.callbacks.call(py, &method, arguments)?,
                Some(function) => {
                    let function = py.import("lowbit._threads")?.getattr(function)?;
                    let all = std::iter::once(method).chain(arguments).collect();
                    self.callbacks.call(py, &function, all)?
                }
            };
            Ok(match (found.cast::<PyList>(), found.cast::<PyTuple>()) {
                (Ok(list), _) => list.iter().collect(),
                (_, Ok(tuple)) => tuple.iter().collect(),
                (Err(_), Err(_)) => vec![found],
            })
        };
        called().map(|found| (found, who())).map_err(|e| raised(py, "CallbackError", e, &who()))
    }
}

impl CustomOp for Own {
    fn name(&self) -> &str {
        &self.name
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        attached(|py| {
            let keep = |e: PyErr| raised(py, "CallbackError", e, &format!("the operator '{}'", self.name));
            let types = inputs.iter().map(|ty| Ok(Bound::new(py, ValueType::of(ty))?.into_any()));
            let types = types.collect::<PyResult<Vec<_>>>().map_err(keep)?;
            let (found, who) = self.call(py, "infer", None, types)?;
            let ty = |given: &Bound<'_, PyAny>| match given.cast::<ValueType>() {
                Ok(ty) => ty.get().ty(),
                Err(_) => {
                    let e = Error::new(format!("expected a lowbit.ValueType for every output, found {}", told(given)));
                    Err(wrong("CallbackError", e, &who))
                }
            };
            found.iter().map(ty).collect()
        })
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        attached(|py| {
            let keep = |e: PyErr| raised(py, "CallbackError", e, &format!("the operator '{}'", self.name));
            let arrays = inputs.iter().map(|t| array::array(py, t)).collect::<PyResult<Vec<_>>>().map_err(keep)?;
            let (found, _) = self.call(py, "run", Some("results"), arrays)?;
            found.iter().map(array::tensor).collect::<PyResult<Vec<_>>>().map_err(keep)
        })
    }
}
