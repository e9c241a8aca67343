//! Functions of the user's that the core calls: in whose scopes they run, which run now, and what they raised.

use crate::error::{During, raise};
use lowbit::Error;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of the functions that Python gave to somebody.
#[derive(Debug, Clone, Default)]
pub struct Callbacks {
    shared: Arc<Shared>,
    /// The scopes that they run in: those of who called for the work; none where each call has its own.
    context: Option<Arc<Py<PyAny>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What they did wrong. The core knows the text alone, and an error finds its cause by it; it is kept until it is told,
    /// and only the latest of what never was.
    wrong: Mutex<VecDeque<Wrong>>,
    /// The threads that run them now, as Python counts threads.
    running: Mutex<Vec<u64>>,
}

/// So many are kept: each thread that works on a model may have one on its way.
const KEPT: usize = 16;

/// What an error says, the class of exception that it becomes, and what was raised if anything was.
#[derive(Debug)]
struct Wrong {
    message: String,
    class: &'static str,
    cause: Option<PyErr>,
}

impl Callbacks {
    /// The same, in the scopes of who calls now.
    pub fn in_context(&self, py: Python<'_>) -> PyResult<Callbacks> {
        let context = py.import("contextvars")?.call_method0("copy_context")?.unbind();
        Ok(Callbacks { shared: self.shared.clone(), context: Some(Arc::new(context)) })
    }

    /// Calls a function in these scopes, where [`Callbacks::interrupt`] reaches it.
    pub fn call<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        arguments: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // The interpreter does not end while a function runs.
        let gate = py.import("lowbit._interrupt")?;
        let thread: u64 = gate.call_method0("enter")?.extract()?;
        locked(&self.shared.running).push(thread);
        let called = self.run(py, function, arguments);
        let mut running = locked(&self.shared.running);
        if let Some(at) = running.iter().position(|t| *t == thread) {
            running.swap_remove(at);
        }
        drop(running);
        gate.call_method0("leave")?;
        called
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        arguments: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(context) = &self.context else { return function.call1(PyTuple::new(py, arguments)?) };
        // A scope is entered by one thread at a time, so that each call has a copy.
        let context = context.bind(py).call_method0("copy")?;
        let all = std::iter::once(function.clone()).chain(arguments);
        context.call_method1("run", PyTuple::new(py, all.collect::<Vec<_>>())?)
    }

    /// Makes those that run now end with KeyboardInterrupt, as soon as they do anything.
    pub fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        let running = locked(&self.shared.running).clone();
        let interrupt = py.import("lowbit._interrupt")?.getattr("interrupt")?;
        running.into_iter().try_for_each(|thread| interrupt.call1((thread,)).map(|_| ()))
    }

    /// Keeps an exception, and gives the error that the core is told in its place; `who` says which function it was.
    pub fn keep(&self, py: Python<'_>, class: &'static str, cause: PyErr, who: &str) -> Error {
        let kind = cause.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        let line = raised_at(py, &cause).map(|at| format!(", at {at}")).unwrap_or_default();
        let told = Error::new(format!("{kind}: {}", cause.value(py))).context(format!("calling {who}{line}"));
        self.put(Wrong { message: told.message().into(), class, cause: Some(cause) });
        told
    }

    /// Keeps that a function gave what it must not.
    pub fn wrong(&self, class: &'static str, error: Error, who: &str) -> Error {
        self.put(Wrong { message: error.message().into(), class, cause: None });
        error.context(format!("reading what {who} gave"))
    }

    fn put(&self, wrong: Wrong) {
        let mut all = locked(&self.shared.wrong);
        let oldest = if all.len() >= KEPT { all.pop_front() } else { None };
        all.push_back(wrong);
        drop(all);
        // An exception's end may run code of the user's, so nothing is locked then.
        drop(oldest);
    }

    /// What was kept of an error.
    fn take(&self, error: &Error) -> Option<Wrong> {
        let mut all = locked(&self.shared.wrong);
        // What gathers errors, as checks of a graph do, holds their texts.
        let text = error.to_string();
        let at = all.iter().rposition(|wrong| text.contains(&wrong.message))?;
        all.remove(at)
    }

    /// An error as an exception: where Python raised something, that is its cause. What ends programs, as Ctrl-C does, is
    /// raised again as it was.
    pub fn told(&self, py: Python<'_>, during: During, error: &Error) -> PyErr {
        told(py, during, error, &[self])
    }
}

/// As [`Callbacks::told`], by whichever of these knows it.
pub fn told(py: Python<'_>, during: During, error: &Error, all: &[&Callbacks]) -> PyErr {
    match all.iter().find_map(|callbacks| callbacks.take(error)) {
        None => during.raise(error),
        Some(Wrong { cause: Some(cause), .. }) if !cause.is_instance_of::<PyException>(py) => cause,
        Some(Wrong { class, cause, .. }) => {
            let raised = raise(class, error);
            raised.set_cause(py, cause);
            raised
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// File and line of the innermost frame of an exception that is not the package's own.
fn raised_at(py: Python<'_>, error: &PyErr) -> Option<String> {
    let package: String = py.import("lowbit").ok()?.getattr("__file__").ok()?.extract().ok()?;
    let package = Path::new(&package).parent()?.to_path_buf();
    let (mut frame, mut found) = (error.traceback(py)?.into_any(), None);
    while !frame.is_none() {
        let line: usize = frame.getattr("tb_lineno").ok()?.extract().ok()?;
        let code = frame.getattr("tb_frame").ok()?.getattr("f_code").ok()?;
        let file: String = code.getattr("co_filename").ok()?.extract().ok()?;
        if !Path::new(&file).starts_with(&package) {
            found = Some(format!("{file}:{line}"));
        }
        frame = frame.getattr("tb_next").ok()?;
    }
    found
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
