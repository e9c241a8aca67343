//! Long work: on a thread of its own, so that the thread that called it can hear Ctrl-C and show progress.
//!
//! The work looks at [`Job::check`] wherever it asks for a sample or a stage begins. Whoever interrupts it does not wait
//! for that longer than [`PATIENCE`]: what still runs then ends by itself at the next look, and nobody hears of it.

use crate::callbacks::{Callbacks, told};
use crate::error::During;
use lowbit::ir::pass::{Flow, Watch};
use lowbit::ir::{Graph, catching};
use lowbit::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How long an interrupted job is waited for.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long it is waited for when the interpreter ends.
const PATIENCE_AT_EXIT: Duration = Duration::from_secs(10);

/// So many works may wait for one another: each has a thread.
const DEEPEST: usize = 32;

thread_local! {
    /// How many works this thread is within.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
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
    let depth = DEPTH.get() + 1;
    if depth > DEEPEST {
        let e = format!("expected up to {DEEPEST} works within one another, found more");
        return Err(
            during.raise(&Error::new(e).hint("a rule in force that quantizes is asked again by what it quantizes"))
        );
    }
    let started = std::thread::Builder::new().name("lowbit".into()).spawn(move || {
        DEPTH.set(depth);
        let done = catching("the work", || work(&working));
        let _ = sender.send(Told::Done(done));
    });
    started.map_err(|e| during.raise(&Error::new(format!("cannot start a thread: {e}"))))?;
    let found = listen(py, &receiver, progress);
    if let Some(progress) = progress {
        progress.call1(("",)).map(|_| ()).or_else(|e| if found.is_ok() { Err(e) } else { Ok(()) })?;
    }
    match found {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(told(py, during, &error, callbacks)),
        Err(interrupted) => {
            job.stopped.store(true, Ordering::Relaxed);
            // What fails here fails to hurry, and the interruption is what the caller is to hear of.
            let _ = callbacks.iter().try_for_each(|callbacks| callbacks.interrupt(py));
            let receiver = Arc::new(receiver);
            if !py.detach(|| ends(&receiver, PATIENCE)) {
                let _ = wait_at_exit(py, receiver);
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

/// Makes the interpreter wait for work that nobody wants any more, before it takes itself away from under a function of
/// the user's.
fn wait_at_exit<T: Send + 'static>(py: Python<'_>, receiver: Arc<Mutex<Receiver<Told<T>>>>) -> PyResult<()> {
    let wait = PyCFunction::new_closure(
        py,
        None,
        None,
        move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            arguments.py().detach(|| ends(&receiver, PATIENCE_AT_EXIT))
        },
    )?;
    py.import("atexit")?.call_method1("register", (wait,)).map(|_| ())
}

/// Waits for the end, looking for signals; an exception is that of a signal or of the progress.
fn listen<T: Send>(
    py: Python<'_>,
    receiver: &Mutex<Receiver<Told<T>>>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Result<T>> {
    let mut looked = Instant::now();
    loop {
        match py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LOOK)) {
            Ok(Told::Done(done)) => return Ok(done),
            Ok(Told::Stage(name, samples)) => {
                if let Some(progress) = progress {
                    progress.call1((name, samples))?;
                }
            }
            Ok(Told::Step) => {
                if let Some(progress) = progress {
                    progress.call1((py.None(),))?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Error::new("the work ended without a result"))),
        }
        if looked.elapsed() >= LOOK {
            py.check_signals()?;
            looked = Instant::now();
        }
    }
}
