//! What a rule sees and gives: calls and the values they read.

use crate::array;
use crate::graph::attributes;
use crate::interpreter::entered;
use crate::types::shape;
use lowbit::ir::{Dim, Graph, Op, ValueId};
use lowbit::quantization::config::Per;
use lowbit::quantization::config::Scale;
use lowbit::quantization::{self};
use lowbit::{Kind, Rounding, Spec, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::Arc;

/// A kind's name.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Input => "input",
        Kind::Weight => "weight",
        Kind::Activation => "activation",
    }
}

fn kind_named(name: &str) -> PyResult<Kind> {
    [Kind::Input, Kind::Weight, Kind::Activation]
        .into_iter()
        .find(|kind| kind_name(*kind) == name)
        .ok_or_else(|| PyValueError::new_err(format!("expected the kind input, weight or activation, found '{name}'")))
}

/// A value that a call reads, perhaps simulated: to be made narrow.
#[pyclass(frozen, module = "lowbit", from_py_object)]
#[derive(Debug, Clone)]
pub struct Value {
    /// Of which call it is an argument: ids mean nothing in another graph.
    pub of: Arc<()>,
    pub id: ValueId,
    /// Its name in the model.
    #[pyo3(get)]
    pub name: String,
    /// numpy's name of its element type.
    #[pyo3(get)]
    dtype: &'static str,
    dims: Vec<Dim>,
    constant: Option<Tensor>,
    /// The operator that computes it; None of inputs and constants.
    #[pyo3(get)]
    producer: Option<&'static str>,
    /// How it is to be made narrow, if it is.
    pub simulate: Option<(Kind, Spec)>,
}

impl Value {
    fn of(g: &Graph, id: ValueId, of: &Arc<()>) -> Value {
        let value = g.value(id);
        Value {
            of: of.clone(),
            id,
            name: value.name.clone(),
            dtype: array::dtype_name(value.ty.dtype),
            dims: value.ty.shape.0.to_vec(),
            constant: g.constant(id).cloned(),
            producer: g.producer(id).map(|node| g.node(node).op.name()),
            simulate: None,
        }
    }
}

#[pymethods]
impl Value {
    /// Its sizes; those that are open are names.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        shape(py, &self.dims)
    }

    /// Whether it is known, as weights are.
    #[getter]
    fn is_constant(&self) -> bool {
        self.constant.is_some()
    }

    /// Whether it is to be made narrow.
    #[getter]
    fn is_simulated(&self) -> bool {
        self.simulate.is_some()
    }

    /// The elements of a constant.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.constant {
            Some(tensor) => array::array(py, tensor),
            None => Err(PyValueError::new_err(format!("'{}' is computed: only constants have elements", self.name))),
        }
    }

    fn __repr__(&self) -> String {
        let dims: Vec<String> = self.dims.iter().map(ToString::to_string).collect();
        let kind = self.simulate.as_ref().map(|(kind, _)| format!(" as {}", kind_name(*kind))).unwrap_or_default();
        format!("<lowbit.Value '{}' {}[{}]{kind}>", self.name, self.dtype, dims.join("x"))
    }

    /// This value, to be made narrow so; what is left open, the configuration says.
    #[pyo3(signature = (kind = None, signed = None, rounding = None, bits = None, symmetric = None, narrow = None,
                        per = None, scale = None, observer = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn simulated(
        &self,
        kind: Option<&str>,
        signed: Option<bool>,
        rounding: Option<&str>,
        bits: Option<u8>,
        symmetric: Option<bool>,
        narrow: Option<bool>,
        per: Option<&str>,
        scale: Option<&str>,
        observer: Option<String>,
    ) -> PyResult<Value> {
        if self.simulate.is_some() {
            return Err(PyValueError::new_err(format!("'{}' is simulated already", self.name)));
        }
        let kind = match kind {
            Some(name) => kind_named(name)?,
            None if self.constant.is_some() => Kind::Weight,
            None => Kind::Input,
        };
        let wrong = |e: lowbit::Error| PyValueError::new_err(e.to_string());
        let scale = match scale {
            None => None,
            Some("float") => Some(Scale::Float),
            Some("power-of-two") => Some(Scale::PowerOfTwo),
            Some(other) => {
                let message = format!("expected the scale float or power-of-two, found '{other}'");
                return Err(PyValueError::new_err(message));
            }
        };
        let rounding = rounding.map(|name| match name {
            // The classic workflow's names.
            "round" => Ok(Rounding::HalfEven),
            "stochastic_round" => Ok(Rounding::Stochastic { seed: 0 }),
            other => other.parse().map_err(|e| PyValueError::new_err(format!("{e}, found '{other}'"))),
        });
        let spec = Spec {
            bits,
            signed,
            symmetric,
            narrow,
            per: per.map(str::parse::<Per>).transpose().map_err(wrong)?,
            scale,
            rounding: rounding.transpose()?,
            observer,
        };
        spec.check(kind).map_err(wrong)?;
        Ok(Value { simulate: Some((kind, spec)), ..self.clone() })
    }
}

/// A call of an operator: what a rule is asked about, and what it gives.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Call {
    /// The operator's name.
    #[pyo3(get)]
    pub op: String,
    /// What it is called with.
    #[pyo3(get)]
    pub args: Vec<Value>,
    /// The operator's attributes, by name.
    #[pyo3(get)]
    pub attrs: Py<PyDict>,
    /// The name of the node; None of a call that a rule made.
    #[pyo3(get)]
    pub name: Option<String>,
}

impl Call {
    /// What a rule is asked about: of a layer data and weight, of any other operator all that it reads.
    pub fn of(py: Python<'_>, g: &Graph, call: &quantization::Call) -> PyResult<Call> {
        let given = call.operands.iter().flatten();
        let operands = given.take(if call.op.is_layer() { 2 } else { usize::MAX });
        let of = Arc::new(());
        Ok(Call {
            op: call.op.name().into(),
            args: operands.map(|v| Value::of(g, *v, &of)).collect(),
            attrs: attributes(py, &call.op)?.unbind(),
            name: Some(call.name.clone()),
        })
    }

    /// Whether it is a call of this operator with just these attributes; an error says what is another.
    pub fn check_same(&self, py: Python<'_>, op: &Op) -> PyResult<Option<String>> {
        let name = lowbit::ir::text::canonical(&self.op);
        if name != Some(op.name()) {
            return Ok(Some(format!("expected a call of {}, found one of {}", op.name(), self.op)));
        }
        let expected = attributes(py, op)?;
        Ok(match expected.eq(self.attrs.bind(py))? {
            true => None,
            false => Some(format!("expected the attributes {expected}, found {}", self.attrs.bind(py))),
        })
    }
}

#[pymethods]
impl Call {
    #[new]
    #[pyo3(signature = (op, args, attrs = None))]
    fn new(
        py: Python<'_>,
        op: String,
        args: Vec<Bound<'_, PyAny>>,
        attrs: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Call> {
        let _inside = entered(py);
        let value = |a: &Bound<'_, PyAny>| {
            a.extract::<Value>().map_err(|_| {
                PyTypeError::new_err(format!(
                    "expected values for the arguments of a call, found {}",
                    a.repr().map_or_else(|_| a.get_type().to_string(), |r| r.to_string())
                ))
            })
        };
        let args = args.iter().map(value).collect::<PyResult<_>>()?;
        Ok(Call { op, args, attrs: attrs.unwrap_or_else(|| PyDict::new(py)).unbind(), name: None })
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let _inside = entered(py);
        let args: Vec<&str> = self.args.iter().map(|a| a.name.as_str()).collect();
        let name = self.name.as_ref().map(|n| format!(" '{n}'")).unwrap_or_default();
        format!("<lowbit.Call{name}: {}({}) {}>", self.op, args.join(", "), self.attrs.bind(py))
    }
}
