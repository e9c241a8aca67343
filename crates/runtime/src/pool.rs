//! Threads that enter once per run.
//!
//! A run is one call of [`Pool::run`]: every thread gets the same job and its own number, walks the program's steps
//! together with the others and meets them at a [`Barrier`] between steps. Workers wait for a run by spinning for a
//! moment and then parking, so an idle pool costs nothing. One thread needs no pool at all: the job runs in place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker spins for the next run before it parks, and a thread at a barrier before it yields.
const SPIN: Duration = Duration::from_micros(100);

/// A job: called once by every thread with its number.
type Job = dyn Fn(usize) + Sync;

struct Shared {
    /// Counts runs; a change calls the workers.
    generation: AtomicUsize,
    /// Workers still in the present run.
    busy: AtomicUsize,
    /// The present job; valid while `busy` is not 0.
    job: Mutex<Option<*const Job>>,
    wake: Condvar,
    stop: AtomicBool,
    panicked: AtomicBool,
}

// SAFETY: the raw job pointer is only followed between the start and the end of `Pool::run`, which borrows the job for
// that long; the job itself is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above; all other fields are Sync.
unsafe impl Sync for Shared {}

/// A team of `threads` threads, the caller's among them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One run at a time: a second caller waits.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads (at least one: the caller's).
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            generation: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            job: Mutex::new(None),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        // Built first, so that a thread that cannot be started drops (and joins) those that were.
        let mut pool = Pool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for i in 1..threads.max(1) {
            let shared = pool.shared.clone();
            let name = format!("lowbit-{i}");
            pool.workers.push(std::thread::Builder::new().name(name).spawn(move || work(&shared, i))?);
        }
        Ok(pool)
    }

    /// How many threads take part.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job` once on every thread, with numbers `0..threads`, and returns when all are done.
    ///
    /// # Panics
    /// If the job panicked on any thread.
    pub fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() {
            return job(0);
        }
        let _turn = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        // SAFETY: only the lifetime is erased; this function does not return before every worker has left the job.
        let erased: *const Job = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const Job>(job) };
        {
            let mut slot = self.shared.job.lock().unwrap_or_else(|e| e.into_inner());
            *slot = Some(erased);
            self.shared.busy.store(self.workers.len(), Ordering::Relaxed);
            self.shared.generation.fetch_add(1, Ordering::Release);
            self.shared.wake.notify_all();
        }
        let mine = catch_unwind(AssertUnwindSafe(|| job(0)));
        wait_until(|| self.shared.busy.load(Ordering::Acquire) == 0);
        let others = self.shared.panicked.swap(false, Ordering::Relaxed);
        if let Err(panic) = mine {
            std::panic::resume_unwind(panic);
        }
        assert!(!others, "a worker thread panicked while running a program");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _slot = self.shared.job.lock().unwrap_or_else(|e| e.into_inner());
            self.shared.stop.store(true, Ordering::Relaxed);
            self.shared.generation.fetch_add(1, Ordering::Release);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker's panic was reported by the run it happened in.
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared, number: usize) {
    let mut seen = 0;
    loop {
        let called = || shared.generation.load(Ordering::Acquire) != seen;
        let start = Instant::now();
        while !called() && start.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        let job = {
            let mut slot = shared.job.lock().unwrap_or_else(|e| e.into_inner());
            while !called() {
                slot = shared.wake.wait(slot).unwrap_or_else(|e| e.into_inner());
            }
            seen = shared.generation.load(Ordering::Acquire);
            *slot
        };
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Some(job) = job {
            // SAFETY: `Pool::run` keeps the job alive until `busy` is 0, and this worker has not left yet.
            let job = unsafe { &*job };
            if catch_unwind(AssertUnwindSafe(|| job(number))).is_err() {
                shared.panicked.store(true, Ordering::Relaxed);
            }
        }
        shared.busy.fetch_sub(1, Ordering::Release);
    }
}

/// Spins, and after a moment yields: threads may outnumber cores.
fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
    let start = Instant::now();
    while !done() {
        match start.elapsed() < SPIN {
            true => std::hint::spin_loop(),
            false => std::thread::yield_now(),
        }
    }
}

/// Where the threads of one run meet.
#[derive(Debug)]
pub struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
}

impl Barrier {
    /// A barrier for this many threads.
    pub fn new(threads: usize) -> Self {
        Barrier { threads, arrived: AtomicUsize::new(0), generation: AtomicUsize::new(0) }
    }

    /// Returns when all threads are here; what they wrote before is visible after.
    pub fn wait(&self) {
        if self.threads == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            wait_until(|| self.generation.load(Ordering::Acquire) != generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_runs_every_job_once() {
        for threads in 1..=4 {
            let pool = Pool::new(threads).unwrap();
            for _ in 0..200 {
                let ran: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                pool.run(&|i| {
                    ran[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|r| r.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn barriers_keep_steps_apart() {
        let threads = 3;
        let pool = Pool::new(threads).unwrap();
        let barrier = Barrier::new(threads);
        let count = AtomicUsize::new(0);
        pool.run(&|_| {
            for step in 1..=500 {
                count.fetch_add(1, Ordering::Relaxed);
                barrier.wait();
                assert_eq!(count.load(Ordering::Relaxed), step * threads);
                barrier.wait();
            }
        });
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = Pool::new(2).unwrap();
        let failed = catch_unwind(AssertUnwindSafe(|| pool.run(&|i| assert_eq!(i, 0, "worker fails"))));
        assert!(failed.is_err());
        let ran = AtomicUsize::new(0);
        pool.run(&|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.load(Ordering::Relaxed), 2);
    }
}
