//! Functions of the user's that the core calls: in whose scopes they run and on which threads, how they are interrupted,
//! and what they raised.

use crate::interpreter::{Place, away};
use lowbit::Error;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::fmt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What is known of the functions that Python gave to somebody.
#[derive(Debug, Clone, Default)]
pub struct Callbacks {
    /// The work that calls them, where the place of the caller says none.
    work: Arc<Work>,
    /// The scopes that they run in: those of who called for the work; none where each call has its own.
    context: Option<Arc<Py<PyAny>>>,
    /// Where they run, besides where their callers are.
    place: Place,
}

/// A work that functions of the user's are called for, and that can be interrupted.
#[derive(Debug, Default)]
pub struct Work {
    /// The threads that run them now, as Python counts threads.
    running: Mutex<Vec<u64>>,
    /// When it was interrupted.
    interrupted: OnceLock<Instant>,
}

impl Work {
    /// It is interrupted now, if it was not before.
    pub fn interrupted(&self) {
        self.interrupted.get_or_init(Instant::now);
    }

    /// For how long it has been interrupted, if it was.
    pub fn interrupted_for(&self) -> Option<Duration> {
        self.interrupted.get().map(Instant::elapsed)
    }

    /// Makes the functions that run now end with KeyboardInterrupt, as soon as they do anything.
    pub fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        self.interrupted();
        let running = locked(&self.running).clone();
        let interrupt = py.import("lowbit._threads")?.getattr("interrupt")?;
        running.into_iter().try_for_each(|thread| interrupt.call1((thread,)).map(|_| ()))
    }
}

/// What a function of the user's did wrong, as the cause of an [`Error`].
#[derive(Debug)]
pub struct Wrong {
    /// The class of exception that it becomes.
    pub class: &'static str,
    /// What was raised, if anything was.
    pub cause: Option<PyErr>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a function of the user's went wrong")
    }
}

impl std::error::Error for Wrong {}

/// The error that the core is told in place of an exception; `who` says which function it was.
pub fn raised(py: Python<'_>, class: &'static str, cause: PyErr, who: &str) -> Error {
    let kind = cause.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
    let line = raised_at(py, &cause).map(|at| format!(", at {at}")).unwrap_or_default();
    Error::new(format!("{kind}: {}", cause.value(py)))
        .context(format!("calling {who}{line}"))
        .caused_by(Wrong { class, cause: Some(cause) })
}

/// The error of a function that gave what it must not.
pub fn wrong(class: &'static str, error: Error, who: &str) -> Error {
    error.context(format!("reading what {who} gave")).caused_by(Wrong { class, cause: None })
}

impl Callbacks {
    /// The same, in the scopes of who calls now, for a work of its own.
    pub fn in_context(&self, py: Python<'_>) -> PyResult<Callbacks> {
        let context = py.import("contextvars")?.call_method0("copy_context")?.unbind();
        Ok(Callbacks { context: Some(Arc::new(context)), ..self.anew() })
    }

    /// The same for a work of its own.
    pub fn anew(&self) -> Callbacks {
        Callbacks { work: Arc::default(), ..self.clone() }
    }

    /// The work that they are called for on this thread.
    pub fn work(&self) -> Arc<Work> {
        Place::here().work.unwrap_or_else(|| self.work.clone())
    }

    /// The same, in another place.
    pub fn at(&self, place: Place) -> Callbacks {
        Callbacks { place, ..self.clone() }
    }

    /// Calls a function in these scopes, where [`Callbacks::interrupt`] reaches it: on this thread if the interpreter waits
    /// for its end, and else on one that Python starts for it.
    pub fn call<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        arguments: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let place = Place::here().and(&self.place);
        let arguments = PyTuple::new(py, arguments)?;
        let threads = py.import("lowbit._threads")?;
        // What is called on a thread of the user's belongs to no work that could be interrupted.
        if threads.call_method0("is_waited_for")?.extract()? {
            return place.during(|| self.run(py, function, arguments));
        }
        let (sender, receiver) = sync_channel(1);
        let (given, work) = (Mutex::new(Some(sender)), self.work());
        let call = Called { given, work, thread: Mutex::default(), place };
        // A scope is entered by one thread at a time, so that each call has a copy.
        let context = self.context.as_ref().map(|context| context.bind(py).call_method0("copy")).transpose()?;
        threads.call_method1("start", (Bound::new(py, call)?, context, function, arguments))?;
        match away(py, move || receiver.recv()) {
            Ok(given) => given.map(|given| given.into_bound(py)),
            Err(_) => Err(PyKeyboardInterrupt::new_err("its thread was ended")),
        }
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        arguments: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(context) = &self.context else { return function.call1(arguments) };
        let context = context.bind(py).call_method0("copy")?;
        let all = std::iter::once(function.clone()).chain(arguments.iter());
        context.call_method1("run", PyTuple::new(py, all.collect::<Vec<_>>())?)
    }

    /// Makes those that run now end with KeyboardInterrupt, as soon as they do anything.
    pub fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        self.work.interrupt(py)
    }
}

/// A call on a thread that Python started for it, with nothing of Rust below the function. Who called hears of its end,
/// also if the thread just went.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Called {
    given: Mutex<Option<SyncSender<PyResult<Py<PyAny>>>>>,
    work: Arc<Work>,
    thread: Mutex<Option<u64>>,
    place: Place,
}

#[pymethods]
impl Called {
    /// The thread is there, and is about to call.
    fn begin(&self, thread: u64) {
        self.place.clone().stay();
        locked(&self.work.running).push(thread);
        *locked(&self.thread) = Some(thread);
    }

    /// The function gave something.
    fn gave(&self, given: Py<PyAny>) {
        self.end(Ok(given));
    }

    /// The function raised something.
    fn failed(&self, raised: Bound<'_, PyAny>) {
        self.end(Err(PyErr::from_value(raised)));
    }
}

impl Called {
    fn end(&self, given: PyResult<Py<PyAny>>) {
        self.leave();
        let sender = locked(&self.given).take();
        // Nobody hears it who does not want it any more.
        let _ = sender.map(|sender| sender.send(given));
    }

    /// Takes the thread off the list, once: whoever keeps this for longer must not take another's off that has its number.
    fn leave(&self) {
        let thread = locked(&self.thread).take();
        if let Some(thread) = thread {
            forget(&self.work.running, thread);
        }
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        self.leave();
    }
}

fn forget(all: &Mutex<Vec<u64>>, thread: u64) {
    let mut all = locked(all);
    if let Some(at) = all.iter().position(|t| *t == thread) {
        all.swap_remove(at);
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
