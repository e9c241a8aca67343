//! Errors of the core as exceptions: the same text, with its parts to look at.

use crate::callbacks::Wrong;
use crate::interpreter::entered;
use lowbit::Error;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use std::error::Error as _;

/// The exception classes, which are defined in `lowbit/errors.py`: by what was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum During {
    /// A model file, or a graph, was read or written.
    Model,
    /// A configuration was read.
    Config,
    /// Data was opened or read.
    Data,
    /// A model was quantized or calibrated.
    Quantize,
    /// A program was compiled.
    Compile,
    /// A program ran, or was measured.
    Run,
}

impl During {
    fn class(self) -> &'static str {
        match self {
            During::Model => "ModelError",
            During::Config => "ConfigError",
            During::Data => "DataError",
            During::Quantize => "QuantizeError",
            During::Compile => "CompileError",
            During::Run => "RunError",
        }
    }

    /// The error as the exception of what was being done, or of the function of the user's that it came of, with what
    /// that raised as its cause. What ends programs, as Ctrl-C does, is raised again as it was.
    pub fn raise(self, error: &Error) -> PyErr {
        // Whoever raises holds the interpreter, so that nobody rests here who does.
        Python::attach(|py| {
            let _inside = entered(py);
            let Some(wrong) = error.source().and_then(|cause| cause.downcast_ref::<Wrong>()) else {
                return made(py, self.class(), error);
            };
            match wrong.cause.as_ref().map(|cause| cause.clone_ref(py)) {
                Some(cause) if !cause.is_instance_of::<PyException>(py) => cause,
                cause => {
                    let raised = made(py, wrong.class, error);
                    raised.set_cause(py, cause);
                    raised
                }
            }
        })
    }
}

/// The error as an exception of this class.
fn made(py: Python<'_>, class: &str, error: &Error) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let class = py.import("lowbit.errors")?.getattr(class)?;
        let parts = (error.to_string(), error.message(), error.node(), error.value());
        Ok(PyErr::from_value(class.call1(parts)?))
    };
    // Without the package there is still its text.
    made().unwrap_or_else(|_| PyRuntimeError::new_err(error.to_string()))
}
