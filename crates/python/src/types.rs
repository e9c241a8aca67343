//! What values are, as Python has it: of graphs, of models and programs, and of operators written in Python.

use crate::array;
use crate::interpreter::entered;
use lowbit::Result;
use lowbit::ir::{Dim, Graph, Shape, Type, ValueId};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyMapping, PyString, PyTuple};
use std::path::PathBuf;

/// A number of something: a whole number from 0, and no truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub usize);

impl<'py> FromPyObject<'_, 'py> for Count {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Count> {
        let wrong = || format!("expected a whole number from 0, found {}", told(&given));
        if given.is_instance_of::<PyBool>() {
            return Err(PyTypeError::new_err(wrong()));
        }
        let _inside = entered(given.py());
        // Numbers of numpy's have an index too, and floats have none.
        let Ok(index) = given.call_method0("__index__") else { return Err(PyTypeError::new_err(wrong())) };
        index.extract().map(Count).map_err(|_| PyValueError::new_err(wrong()))
    }
}

/// The same where a number is given or there is another.
pub fn count(given: &Bound<'_, PyAny>) -> PyResult<usize> {
    given.extract::<Count>().map(|n| n.0)
}

/// Things in a row: a list, a tuple, or whatever gives them one by one.
#[derive(Debug, Default)]
pub struct Listed<'py>(pub Vec<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Listed<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Listed<'py>> {
        match given.hasattr("__iter__")? {
            true => {
                let _inside = entered(given.py());
                given.try_iter()?.collect::<PyResult<Vec<_>>>().map(Listed)
            }
            false => Err(PyTypeError::new_err(format!("expected a list, found {}", told(&given)))),
        }
    }
}

/// The path of a file: text, or whatever says a path.
#[derive(Debug)]
pub struct FilePath(pub PathBuf);

impl FromPyObject<'_, '_> for FilePath {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<FilePath> {
        let _inside = entered(given.py());
        match given.is_instance_of::<PyString>() || given.hasattr("__fspath__")? {
            true => given.extract().map(FilePath),
            false => Err(PyTypeError::new_err(format!("expected a path, found {}", told(&given)))),
        }
    }
}

/// What was given, in the words of Python, cut where they are many.
pub fn told(given: &Bound<'_, PyAny>) -> String {
    let text = given.repr().map_or_else(|_| given.get_type().to_string(), |repr| repr.to_string());
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// What maps keys to something, as a dictionary; none if this does not.
pub fn mapping<'py>(given: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
    if let Ok(dict) = given.cast::<PyDict>() {
        return Ok(Some(dict.clone()));
    }
    match given.cast::<PyMapping>() {
        Ok(mapping) => {
            let dict = given.py().get_type::<PyDict>().call1((mapping,))?;
            Ok(Some(dict.cast_into::<PyDict>()?))
        }
        Err(_) => Ok(None),
    }
}

/// Something of the core's as the dictionaries and lists that its JSON says.
pub fn parsed(py: Python<'_>, of: &impl serde::Serialize) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let json = serde_json::to_string(of).map_err(|e| PyTypeError::new_err(e.to_string()))?;
    Ok(py.import("json")?.call_method1("loads", (json,))?.unbind())
}

/// What a value is: its element type and its sizes, of which those that are open are names.
#[pyclass(frozen, eq, module = "lowbit", from_py_object)]
#[derive(Debug, Clone, PartialEq)]
pub struct ValueType {
    /// numpy's name of the element type.
    #[pyo3(get)]
    dtype: String,
    dims: Vec<Dim>,
}

#[pymethods]
impl ValueType {
    #[new]
    #[pyo3(signature = (dtype, shape))]
    fn new(dtype: &Bound<'_, PyAny>, shape: Vec<Bound<'_, PyAny>>) -> PyResult<ValueType> {
        let _inside = entered(dtype.py());
        let named = dtype.py().import("numpy")?.call_method1("dtype", (dtype,));
        let name = named.map_or_else(|_| dtype.to_string(), |d| d.to_string());
        array::dtype_named(&name).map_err(|e| PyTypeError::new_err(e.to_string()))?;
        let dim = |d: &Bound<'_, PyAny>| match d.extract::<String>() {
            Ok(name) => Ok(Dim::Symbol(name.into())),
            Err(_) => d.extract::<Count>().map(|n| Dim::Known(n.0)).map_err(|_| {
                PyTypeError::new_err(format!("expected sizes, whole numbers from 0 or names, found {}", told(d)))
            }),
        };
        Ok(ValueType { dtype: name, dims: shape.iter().map(dim).collect::<PyResult<_>>()? })
    }

    /// Its sizes; those that are open are names.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        shape(py, &self.dims)
    }

    fn __repr__(&self) -> String {
        self.text()
    }
}

/// Sizes as Python has them.
pub fn shape<'py>(py: Python<'py>, dims: &[Dim]) -> PyResult<Bound<'py, PyTuple>> {
    let sizes = dims.iter().map(|d| match d {
        Dim::Known(n) => Ok(n.into_pyobject(py)?.into_any()),
        Dim::Symbol(name) => Ok(name.as_ref().into_pyobject(py)?.into_any()),
    });
    PyTuple::new(py, sizes.collect::<PyResult<Vec<_>>>()?)
}

impl ValueType {
    /// Of a value of the graph.
    pub fn of(ty: &Type) -> ValueType {
        ValueType { dtype: array::dtype_name(ty.dtype).into(), dims: ty.shape.0.to_vec() }
    }

    /// Such as float32[1x3x224x224].
    pub fn text(&self) -> String {
        let dims: Vec<String> = self.dims.iter().map(ToString::to_string).collect();
        format!("{}[{}]", self.dtype, dims.join("x"))
    }

    /// The type in the core's words.
    pub fn ty(&self) -> Result<Type> {
        Ok(Type::plain(array::dtype_named(&self.dtype)?, Shape(self.dims.to_vec())))
    }
}

/// Values of a graph with their types.
pub fn typed<'a>(graph: &'a Graph, values: &[ValueId]) -> Vec<(&'a str, &'a Type)> {
    values.iter().map(|v| (graph.value(*v).name.as_str(), graph.ty(*v))).collect()
}

/// Types by name, in order.
pub fn types<'py>(py: Python<'py>, all: Vec<(&str, &Type)>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, ty) in all {
        dict.set_item(name, Bound::new(py, ValueType::of(ty))?)?;
    }
    Ok(dict)
}

/// The same as text: `x: float32[1x4], y: float32[1x2]`.
pub fn listed(all: Vec<(&str, &Type)>) -> String {
    let one = |(name, ty): (&str, &Type)| format!("{name}: {}", ValueType::of(ty).text());
    all.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
