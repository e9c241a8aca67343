//! Errors of the core as exceptions: the same text, with its parts to look at.

use lowbit::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

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

    /// The error as the exception of what was being done.
    pub fn raise(self, error: &Error) -> PyErr {
        raise(self.class(), error)
    }
}

/// The error as an exception of this class.
pub fn raise(class: &str, error: &Error) -> PyErr {
    Python::attach(|py| {
        let made = || -> PyResult<PyErr> {
            let class = py.import("lowbit.errors")?.getattr(class)?;
            let parts = (error.to_string(), error.message(), error.node(), error.value());
            Ok(PyErr::from_value(class.call1(parts)?))
        };
        // Without the package there is still its text.
        made().unwrap_or_else(|_| PyRuntimeError::new_err(error.to_string()))
    })
}
