//! The interpreter and its end: how threads leave it and come to it, and who waits for whom when it ends.
//!
//! An interpreter that ends makes threads that come back to it end where they are, in the middle of Rust, which aborts
//! the process. So nobody comes behind its back: a thread that Python started leaves it by [`away`], one of the core's
//! comes by [`attached`], and both rest for ever once it ends. The thread that ends it waits a moment for who is inside.
//!
//! Functions of the user's may be inside for long, or for ever. Those that the core's threads call, or threads that no
//! interpreter waits for, therefore run on threads that Python started for them, with nothing of Rust below, which an
//! interpreter can end as it likes. Whatever else of Python Rust calls on the user's threads is counted from where Rust
//! was [`entered`], and interrupted at the end.

use crate::callbacks::Work;
use crate::turn::Thing;
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

/// Whether the interpreter has begun to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How many times threads are inside, with something of Rust below.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Who ends it.
static ENDER: OnceLock<ThreadId> = OnceLock::new();

/// Threads of the user's, as Python counts threads, that have something of Rust below.
static THREADS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Where a thread is among functions of the user's, and those that called it.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// How many works and runs it is within.
    pub depth: usize,
    /// What those that called it have, each of which one has at a time.
    pub held: Vec<Arc<Thing>>,
    /// The work that it belongs to, if to one that can be interrupted.
    pub work: Option<Arc<Work>>,
}

thread_local! {
    /// How many times this thread is inside.
    static HERE: Cell<usize> = const { Cell::new(0) };
    /// What Python calls this thread; 0 until somebody asked.
    static PYTHON: Cell<u64> = const { Cell::new(0) };
    static PLACE: RefCell<Place> = const { RefCell::new(Place { depth: 0, held: Vec::new(), work: None }) };
}

impl Place {
    /// Where this thread is.
    pub fn here() -> Place {
        PLACE.with_borrow(Clone::clone)
    }

    /// Puts this thread there while something runs.
    pub fn during<T>(self, run: impl FnOnce() -> T) -> T {
        struct Back(Place);
        impl Drop for Back {
            fn drop(&mut self) {
                PLACE.set(std::mem::take(&mut self.0));
            }
        }
        let _back = Back(PLACE.replace(self));
        run()
    }

    /// Puts this thread there for good.
    pub fn stay(self) {
        PLACE.set(self);
    }

    /// Within this one and another: of the functions of both.
    pub fn and(mut self, other: &Place) -> Place {
        self.depth = self.depth.max(other.depth);
        other.held.iter().for_each(|thing| self.hold(thing));
        self.work = self.work.or_else(|| other.work.clone());
        self
    }

    /// Has one thing more.
    pub fn hold(&mut self, thing: &Arc<Thing>) {
        if !self.held.iter().any(|held| Arc::ptr_eq(held, thing)) {
            self.held.push(thing.clone());
        }
    }
}

/// Whether the interpreter has begun to end, so that no thread of the core comes to it any more.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// Whether nobody may come any more who is this thread.
fn is_over() -> bool {
    ENDING.load(Ordering::SeqCst) && ENDER.get() != Some(&thread::current().id())
}

/// Rests for ever. Who holds the interpreter must let it go before.
fn rest() -> ! {
    loop {
        thread::park();
    }
}

/// Comes in `times` times, or not at all: for a thread that does not hold the interpreter.
fn come(times: usize) {
    INSIDE.fetch_add(times, Ordering::SeqCst);
    if is_over() {
        INSIDE.fetch_sub(times, Ordering::SeqCst);
        rest();
    }
}

/// Is inside as long as it lives.
pub struct Inside {
    /// Whether it put its thread among those of the user's.
    listed: bool,
}

impl Inside {
    /// Of a thread that is counted as coming already.
    fn counted(listed: bool) -> Inside {
        HERE.set(HERE.get() + 1);
        Inside { listed }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.set(HERE.get().saturating_sub(1));
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        if self.listed {
            forget(PYTHON.get());
        }
    }
}

/// Takes a thread off the list of those in the way of the end.
fn forget(thread: u64) {
    let mut all = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = all.iter().position(|t| *t == thread) {
        all.swap_remove(at);
    }
}

/// A thread of the user's came to Rust, which may call Python again: what it holds until it goes back, the end waits for.
pub fn entered(py: Python<'_>) -> Inside {
    if is_over() {
        py.detach(|| rest());
    }
    // Nobody can end the interpreter meanwhile, which this thread holds.
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let listed = HERE.get() == 0;
    if listed {
        if PYTHON.get() == 0 {
            let ident = || py.import("_thread")?.call_method0("get_ident")?.extract();
            PYTHON.set(ident().unwrap_or(0));
        }
        THREADS.lock().unwrap_or_else(PoisonError::into_inner).push(PYTHON.get());
    }
    Inside::counted(listed)
}

/// Leaves the interpreter to others while something runs that needs it not.
pub fn away<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let inside = HERE.replace(0);
    INSIDE.fetch_sub(inside, Ordering::SeqCst);
    // One time more, until this thread is back.
    let done = py.detach(|| {
        let done = catch_unwind(AssertUnwindSafe(work));
        come(inside + 1);
        HERE.set(inside);
        done
    });
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Comes to the interpreter for something short; functions of the user's are for [`Callbacks`](crate::callbacks::Callbacks)
/// to call.
pub fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    match HERE.get() {
        0 => come(1),
        _ => _ = INSIDE.fetch_add(1, Ordering::SeqCst),
    }
    let _inside = Inside::counted(false);
    Python::attach(work)
}

/// The interpreter ends: who is away stays there, and nobody comes any more but who calls this.
#[pyfunction]
pub fn end() {
    let _ = ENDER.set(thread::current().id());
    ENDING.store(true, Ordering::SeqCst);
}

/// Who must get out before the interpreter may end: how many, and those of them that are threads of the user's.
#[pyfunction]
pub fn inside() -> (usize, Vec<u64>) {
    (INSIDE.load(Ordering::SeqCst), THREADS.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// This process is a copy, which has this thread alone.
#[pyfunction]
pub fn forked() {
    INSIDE.store(HERE.get(), Ordering::SeqCst);
    if let Ok(mut all) = THREADS.try_lock() {
        all.clear();
    }
}
