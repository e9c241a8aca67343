//! Long work: on a thread of its own, so that the thread that called it can hear Ctrl-C and show progress.
//!
//! The work looks at [`Job::check`] wherever it asks for a sample or a stage begins. Whoever interrupts it does not wait
//! for that longer than [`PATIENCE`]: what still runs then ends by itself at the next look, and nobody hears of it.

use crate::callbacks::Callbacks;
use crate::error::During;
use crate::interpreter::{Place, away, entered, is_ending};
use lowbit::ir::pass::{Flow, Watch};
use lowbit::ir::{Graph, catching};
use lowbit::{Error, Result};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How long an interrupted job is waited for.
const PATIENCE: Duration = Duration::from_millis(400);

/// So many works and runs may wait for one another: each has a thread, or a part of a thread's stack.
const DEEPEST: usize = 32;

/// The place of a work or a run within what this thread is in.
pub fn deeper(during: During) -> PyResult<Place> {
    let mut place = Place::here();
    place.depth += 1;
    if place.depth > DEEPEST {
        let e = format!("expected up to {DEEPEST} works or runs within one another, found more");
        return Err(during.raise(&Error::new(e).hint(
            "a function of yours is asked again by what it does, as a rule that quantizes or an operator that runs itself",
        )));
    }
    Ok(place)
}

/// What the work tells while it goes on.
enum Told<T> {
    /// A stage began, with so many samples if it looks at any.
    Stage(String, Option<usize>),
    /// A sample was looked at.
    Step,
    Done(Result<T>),
}

/// The work's side.
pub struct Job {
    stopped: AtomicBool,
    tell: Mutex<Tell>,
}

/// Tells that a stage began, with its samples, or with none that one more sample was looked at.
type Tell = Box<dyn FnMut(Option<(String, Option<usize>)>) + Send>;

impl Job {
    /// An error if somebody does not want the result any more.
    pub fn check(&self) -> Result<()> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(Error::new("the work was interrupted")),
            false => Ok(()),
        }
    }

    /// A stage begins, with so many samples if it looks at any.
    pub fn stage(&self, name: &str, samples: Option<usize>) {
        self.told(Some((name.to_string(), samples)));
    }

    /// A sample was looked at.
    pub fn step(&self) {
        self.told(None);
    }

    fn told(&self, what: Option<(String, Option<usize>)>) {
        (self.tell.lock().unwrap_or_else(PoisonError::into_inner))(what);
    }
}

/// Stages are told, and stop an interrupted job.
pub struct Stages<'a> {
    /// Whose.
    pub job: &'a Job,
    /// Samples that calibration looks at.
    pub samples: Option<usize>,
}

impl Watch for Stages<'_> {
    fn before(&mut self, pass: &str, _: &Graph) {
        self.job.stage(pass, self.samples.filter(|_| pass == "calibrate"));
    }

    fn after(&mut self, _: &str, _: &Graph, _: bool) -> Flow {
        match self.job.check() {
            Ok(()) => Flow::Continue,
            Err(_) => Flow::Stop,
        }
    }
}

/// Runs `work` while this thread looks for signals and tells `progress`, a Python function that is called with a stage and
/// its samples, or with None for a sample more; at the end with an empty stage.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    during: During,
    progress: Option<&Bound<'_, PyAny>>,
    callbacks: &[&Callbacks],
    work: impl FnOnce(&Arc<Job>) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let _inside = entered(py);
    if is_ending() {
        // What it may ask of Python, nobody answers.
        return Err(during.raise(&Error::new("the interpreter is ending, and no work begins any more")));
    }
    let (sender, receiver): (Sender<Told<T>>, Receiver<Told<T>>) = channel();
    // It is read by this thread alone, but while the interpreter is let go.
    let receiver = Mutex::new(receiver);
    let tell = sender.clone();
    let job = Arc::new(Job {
        stopped: AtomicBool::new(false),
        tell: Mutex::new(Box::new(move |what| {
            // Whoever was interrupted does not listen any more.
            let _ = tell.send(match what {
                Some((name, samples)) => Told::Stage(name, samples),
                None => Told::Step,
            });
        })),
    });
    let working = job.clone();
    // Operators are called where it runs, and belong to it.
    let mut place = deeper(during)?;
    let own = place.work.insert(Arc::default()).clone();
    let callbacks_of_bar = match progress {
        Some(_) => Callbacks::default().in_context(py)?.at(place.clone()),
        None => Callbacks::default(),
    };
    let mut bar = Bar { tell: progress, callbacks: callbacks_of_bar };
    let started = std::thread::Builder::new().name("lowbit".into()).spawn(move || {
        let done = place.during(|| catching("the work", || work(&working)));
        let _ = sender.send(Told::Done(done));
    });
    started.map_err(|e| during.raise(&Error::new(format!("cannot start a thread: {e}"))))?;
    let found = listen(py, &receiver, &mut bar);
    let ended = bar.end();
    match found {
        Ok(Ok(done)) => ended.map(|()| done),
        Ok(Err(error)) => Err(during.raise(&error)),
        Err(interrupted) => {
            job.stopped.store(true, Ordering::Relaxed);
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until && !away(py, || ends(&receiver, LOOK)) {
                // What fails here fails to hurry, and the interruption is what the caller is to hear of.
                let _ = own.interrupt(py);
                let _ = callbacks.iter().try_for_each(|callbacks| callbacks.interrupt(py));
            }
            Err(interrupted)
        }
    }
}

/// Waits so long for the end of the work; whether it came.
fn ends<T>(receiver: &Mutex<Receiver<Told<T>>>, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Told::Done(_)) | Err(RecvTimeoutError::Disconnected) => return true,
            Ok(Told::Stage(..) | Told::Step) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// The function that is told where the work is, until it fails.
struct Bar<'a, 'py> {
    tell: Option<&'a Bound<'py, PyAny>>,
    callbacks: Callbacks,
}

impl Bar<'_, '_> {
    fn tell(&mut self, stage: Option<&str>, samples: Option<usize>) -> PyResult<()> {
        let Some(tell) = self.tell else { return Ok(()) };
        let py = tell.py();
        let arguments = vec![stage.into_pyobject(py)?.into_any(), samples.into_pyobject(py)?.into_any()];
        let told = self.callbacks.call(py, tell, arguments);
        if told.is_err() {
            self.tell = None;
        }
        told.map(|_| ())
    }

    /// Nothing goes on any more; one that failed hears no more of it.
    fn end(mut self) -> PyResult<()> {
        self.tell(Some(""), None)
    }
}

/// Listens for signals; other threads than the main one hear none, and may be interrupted.
pub fn hear(py: Python<'_>) -> PyResult<()> {
    py.check_signals()?;
    py.import("lowbit._threads")?.call_method0("look").map(|_| ())
}

/// Waits for the end, looking for signals; an exception is that of a signal or of the progress.
fn listen<T: Send>(py: Python<'_>, receiver: &Mutex<Receiver<Told<T>>>, bar: &mut Bar<'_, '_>) -> PyResult<Result<T>> {
    let mut looked = Instant::now();
    loop {
        match away(py, || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LOOK)) {
            Ok(Told::Done(done)) => return Ok(done),
            Ok(Told::Stage(name, samples)) => bar.tell(Some(&name), samples)?,
            Ok(Told::Step) => bar.tell(None, None)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Error::new("the work ended without a result"))),
        }
        if looked.elapsed() >= LOOK {
            hear(py)?;
            looked = Instant::now();
        }
    }
}
