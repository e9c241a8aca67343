//! Work that is interrupted: it leaves nothing half-written, and where it keeps what it has seen, it says how to go on.
//!
//! Most work ends where it is: it changes nothing but its outputs, and these appear whole or not at all. What is being
//! written is waited for a moment, and else its temporary file is removed. A calibration that keeps what it sees ends by
//! itself at its next look, having kept it.

use crate::output::tell;
use lowbit::Result;
use lowbit::frontend::files;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The exit code of interrupted work, as shells have it for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// How long a file that is being written is waited for.
const WRITING: Duration = Duration::from_millis(500);

/// How long a calibration that keeps what it sees is waited for: a sample of a large model takes its time.
const KEEPING: Duration = Duration::from_secs(10);

/// Between two looks.
const TICK: Duration = Duration::from_millis(5);

/// What the work of a command line and whoever interrupts it know of each other.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: AtomicBool,
    /// Whether the work looks at `asked` by itself.
    looks: AtomicBool,
    /// The file in which a calibration keeps what it has seen.
    kept: Mutex<Option<PathBuf>>,
    /// Held while a file is written: which one.
    writing: Mutex<()>,
    target: Mutex<Option<PathBuf>>,
}

impl Interrupt {
    /// Whether the work is to end.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// From now on, or no longer, the work ends by itself soon after it is asked to.
    pub fn looks(&self, looks: bool) {
        self.0.looks.store(looks && self.kept().is_some(), Ordering::SeqCst);
    }

    /// Says where a calibration keeps what it has seen.
    pub fn keeps(&self, file: &Path) {
        *lock(&self.0.kept) = Some(file.to_owned());
    }

    fn kept(&self) -> Option<PathBuf> {
        lock(&self.0.kept).clone()
    }

    /// Writes a file, which who interrupts waits for or clears away.
    pub fn writing<T>(&self, target: &Path, write: impl FnOnce() -> Result<T>) -> Result<T> {
        let _writing = lock(&self.0.writing);
        *lock(&self.0.target) = Some(target.to_owned());
        write()
    }

    /// Ends the work and gives the exit code, with which the caller ends the process: any file that is begun after this
    /// would be left half-written.
    pub fn end(&self) -> u8 {
        self.0.asked.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        while self.0.looks.load(Ordering::SeqCst) && begun.elapsed() < KEEPING {
            sleep(TICK);
        }
        let begun = Instant::now();
        let writing = loop {
            match self.0.writing.try_lock() {
                Ok(none) => break Some(none),
                Err(TryLockError::Poisoned(none)) => break Some(none.into_inner()),
                Err(TryLockError::WouldBlock) if begun.elapsed() < WRITING => sleep(TICK),
                Err(TryLockError::WouldBlock) => break None,
            }
        };
        if let Some(target) = lock(&self.0.target).as_ref().filter(|_| writing.is_none()) {
            // What cannot be removed is told by nobody: the process ends.
            let _ = files::clear(target);
        }
        let kept = self.kept().filter(|file| file.exists());
        match kept {
            Some(file) => tell(&format!("\ninterrupted; {}", how_to_go_on(&file))),
            None => tell("\ninterrupted"),
        }
        // Nothing is begun any more.
        std::mem::forget(writing);
        INTERRUPTED
    }

    /// What is said where the work has ended by itself.
    pub fn farewell(&self) -> String {
        self.kept().filter(|file| file.exists()).map_or_else(String::new, |file| how_to_go_on(&file))
    }
}

fn how_to_go_on(file: &Path) -> String {
    format!("what was seen is in '{}': the same command goes on from there", file.display())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
