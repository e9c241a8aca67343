//! Errors of the core as exceptions: the same text, with its parts to look at.

use lowbit::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// What Python functions did wrong while the core called them: an error of the core holds the text alone.
#[derive(Debug, Clone, Default)]
pub struct Raised(Arc<Mutex<Option<Wrong>>>);

/// The class of exception that it becomes, and what was raised if anything was.
#[derive(Debug)]
struct Wrong {
    class: &'static str,
    cause: Option<PyErr>,
}

impl Raised {
    /// Keeps an exception, and gives the error that the core is told in its place; `who` says which function it was.
    pub fn keep(&self, py: Python<'_>, class: &'static str, cause: PyErr, who: &str) -> Error {
        let kind = cause.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        let line = raised_at(py, &cause).map(|at| format!(", at {at}")).unwrap_or_default();
        let told = Error::new(format!("{kind}: {}", cause.value(py))).context(format!("calling {who}{line}"));
        self.put(Some(Wrong { class, cause: Some(cause) }));
        told
    }

    /// Keeps that a function gave what it must not.
    pub fn wrong(&self, class: &'static str, error: Error, who: &str) -> Error {
        self.put(Some(Wrong { class, cause: None }));
        error.context(format!("reading what {who} gave"))
    }

    /// Forgets what was kept.
    pub fn clear(&self) {
        self.put(None);
    }

    /// An error as an exception: where Python raised something, that is its cause.
    pub fn told(&self, py: Python<'_>, during: During, error: &Error) -> PyErr {
        let kept = self.lock().take();
        match kept {
            None => during.raise(error),
            Some(Wrong { class, cause }) => {
                let raised = raise(class, error);
                raised.set_cause(py, cause);
                raised
            }
        }
    }

    /// As [`Raised::told`], for who has no interpreter at hand.
    pub fn told_now(&self, during: During, error: &Error) -> PyErr {
        Python::attach(|py| self.told(py, during, error))
    }

    /// What was there goes when nothing is locked: an exception's end may run code of the user's.
    fn put(&self, wrong: Option<Wrong>) {
        let before = std::mem::replace(&mut *self.lock(), wrong);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wrong>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// File and line of the innermost frame of an exception.
fn raised_at(py: Python<'_>, error: &PyErr) -> Option<String> {
    let mut frame = error.traceback(py)?.into_any();
    while let Ok(next) = frame.getattr("tb_next")
        && !next.is_none()
    {
        frame = next;
    }
    let line: usize = frame.getattr("tb_lineno").ok()?.extract().ok()?;
    let file: String =
        frame.getattr("tb_frame").ok()?.getattr("f_code").ok()?.getattr("co_filename").ok()?.extract().ok()?;
    Some(format!("{file}:{line}"))
}

/// What a function of the user's is called in messages: its kind, its name, and where it is defined.
pub fn described(kind: &str, function: &Bound<'_, PyAny>) -> String {
    let text = |of: &Bound<'_, PyAny>, name: &str| of.getattr(name).ok().map(|t| t.to_string());
    let name =
        text(function, "__qualname__").or_else(|| text(&function.get_type(), "__qualname__")).unwrap_or_default();
    let code =
        function.getattr("__code__").or_else(|_| function.getattr("__func__").and_then(|f| f.getattr("__code__")));
    let at = code
        .ok()
        .and_then(|code| Some(format!(" ({}:{})", text(&code, "co_filename")?, text(&code, "co_firstlineno")?)));
    format!("{kind} '{name}'{}", at.unwrap_or_default())
}
