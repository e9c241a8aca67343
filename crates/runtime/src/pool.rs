//! Threads that enter once per run.
//!
//! A run is one call of [`Pool::run`]: the caller and every worker that comes in time get the same job and their own
//! numbers, walk the program's steps together and share each step's [`Tiles`]. Nobody waits for a thread, only for tiles:
//! a worker that the system does not let run holds up nothing unless it holds a tile, and joins in wherever the others
//! are by then. Workers wait for a run by spinning for a moment and then parking, so an idle pool costs nothing. One
//! thread needs no pool at all: the job runs in place.

use lowbit_ir::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker spins for the next run before it parks, and a thread for a step's last tile before it yields.
const SPIN: Duration = Duration::from_micros(100);

/// A job: called at most once by every thread with its number.
type Job = dyn Fn(usize) + Sync;

struct Shared {
    /// Counts runs; a change calls the workers.
    generation: AtomicUsize,
    /// Workers in the present run. Counted up under the lock of `job`.
    busy: AtomicUsize,
    /// The present job while it may be entered.
    job: Mutex<Option<*const Job>>,
    wake: Condvar,
    stop: AtomicBool,
    panicked: AtomicBool,
}

// SAFETY: the raw job pointer is only followed by workers that found it in `job` and are counted in `busy`; `Pool::run`,
// which borrows the job, takes it out of there and waits for them before it returns. The job itself is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above; all other fields are Sync.
unsafe impl Sync for Shared {}

/// More threads than this are a slip of the keyboard.
pub const MAX_THREADS: usize = 256;

/// A team of `threads` threads, the caller's among them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One run at a time: a second caller waits.
    turn: Mutex<()>,
    /// Where its threads are.
    process: u32,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads (at least one: the caller's), up to [`MAX_THREADS`].
    pub fn new(threads: usize) -> Result<Pool> {
        if threads > MAX_THREADS {
            return Err(Error::new(format!("expected up to {MAX_THREADS} threads, found {threads}")));
        }
        let shared = Arc::new(Shared {
            generation: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            job: Mutex::new(None),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        // Built first, so that a thread that cannot be started drops (and joins) those that were.
        let mut pool = Pool { shared, workers: Vec::new(), turn: Mutex::new(()), process: std::process::id() };
        for i in 1..threads.max(1) {
            let shared = pool.shared.clone();
            let name = format!("lowbit-{i}");
            let worker = std::thread::Builder::new().name(name).spawn(move || work(&shared, i));
            let started = worker.map_err(|e| {
                Error::new(format!("cannot start {threads} threads: {e}"))
                    .hint("fewer threads, or more memory and processes for this one (ulimit -v, ulimit -u)")
            });
            pool.workers.push(started?);
        }
        Ok(pool)
    }

    /// How many threads take part.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job` on this thread with the number 0 and on each worker that comes before this thread is done, with its
    /// number below `threads`; returns when all have left it. The job must be complete when this thread has run it.
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
            self.shared.generation.fetch_add(1, Ordering::Release);
            self.shared.wake.notify_all();
        }
        let mine = catch_unwind(AssertUnwindSafe(|| job(0)));
        *self.shared.job.lock().unwrap_or_else(|e| e.into_inner()) = None;
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
        if std::process::id() != self.process {
            // In a copy of the process there are no such threads: to wait for them would fail, or last for ever.
            self.workers.drain(..).for_each(std::mem::forget);
            return;
        }
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
            if slot.is_some() {
                shared.busy.fetch_add(1, Ordering::Relaxed);
            }
            *slot
        };
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Some(job) = job {
            // SAFETY: `Pool::run` keeps the job alive until `busy` is 0, and this worker is counted there.
            let job = unsafe { &*job };
            if catch_unwind(AssertUnwindSafe(|| job(number))).is_err() {
                shared.panicked.store(true, Ordering::Relaxed);
            }
            shared.busy.fetch_sub(1, Ordering::Release);
        }
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

/// The tiles of one step, which the threads of a run share.
///
/// Each thread has a range of neighbouring tiles of its own, which it takes first: neighbours share inputs, and the same
/// part of the next step reads what this part wrote, so that both stay in the caches of one core. Who is done with its
/// own range takes of those of others.
#[derive(Debug)]
pub struct Tiles {
    ranges: Box<[Range]>,
    count: usize,
    done: Line,
}

/// On a line of its own: threads that take tiles of one range should not disturb those that take of another.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicUsize);

/// Neighbouring tiles.
#[derive(Debug)]
struct Range {
    next: Line,
    start: usize,
    end: usize,
}

/// A tile that one thread has; dropping it says that it is complete, even when a panic drops it.
#[derive(Debug)]
pub struct Tile<'a> {
    /// Its number, below the step's count.
    pub number: usize,
    of: &'a Tiles,
}

impl Tiles {
    /// A step of this many tiles, for so many threads.
    pub fn new(count: usize, threads: usize) -> Self {
        let threads = threads.max(1);
        // In the middle nothing can overflow: there are fewer threads than tiles that fit memory.
        let at = |thread: usize| (count / threads) * thread + (count % threads * thread) / threads;
        let range = |thread| Range { next: Line(AtomicUsize::new(at(thread))), start: at(thread), end: at(thread + 1) };
        Tiles { ranges: (0..threads).map(range).collect(), count, done: Line::default() }
    }

    /// All tiles are to be taken again.
    pub fn reset(&mut self) {
        for range in &mut self.ranges {
            *range.next.0.get_mut() = range.start;
        }
        *self.done.0.get_mut() = 0;
    }

    /// A tile that no other thread has, of this thread's range as long as there are any, until there are none left.
    pub fn take(&self, thread: usize) -> Option<Tile<'_>> {
        let (before, own) = self.ranges.split_at(thread.min(self.ranges.len()));
        own.iter().chain(before).find_map(|range| {
            // Looked at first, so that a range that is used up is not written to by all who pass.
            let left = range.next.0.load(Ordering::Relaxed) < range.end;
            let number = left.then(|| range.next.0.fetch_add(1, Ordering::Relaxed))?;
            // Not `then_some`: a tile that is made must be one that was taken, for dropping it counts.
            (number < range.end).then(|| Tile { number, of: self })
        })
    }

    /// Returns when every tile is complete; what was written for them is visible then.
    pub fn wait(&self) {
        wait_until(|| self.complete());
    }

    fn complete(&self) -> bool {
        self.done.0.load(Ordering::Acquire) == self.count
    }
}

impl Drop for Tile<'_> {
    fn drop(&mut self) {
        self.of.done.0.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_runs_a_job_twice_and_the_caller_runs_it() {
        for threads in 1..=4 {
            let pool = Pool::new(threads).unwrap();
            for _ in 0..200 {
                let ran: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                pool.run(&|i| {
                    ran[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|r| r.load(Ordering::Relaxed) <= 1));
                assert_eq!(ran[0].load(Ordering::Relaxed), 1);
            }
        }
    }

    #[test]
    fn workers_take_part() {
        let pool = Pool::new(3).unwrap();
        let came = AtomicUsize::new(0);
        pool.run(&|_| {
            came.fetch_add(1, Ordering::Relaxed);
            wait_until(|| came.load(Ordering::Relaxed) == 3);
        });
        assert_eq!(came.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_step_is_complete_when_every_tile_is() {
        let mut tiles = Tiles::new(2, 1);
        for _ in 0..2 {
            let (first, second) = (tiles.take(0).unwrap(), tiles.take(0).unwrap());
            assert_eq!((first.number, second.number), (0, 1));
            assert!(tiles.take(0).is_none() && tiles.take(0).is_none());
            assert!(!tiles.complete());
            drop(second);
            assert!(!tiles.complete());
            drop(first);
            assert!(tiles.complete());
            assert!(tiles.take(0).is_none() && tiles.complete());
            tiles.reset();
        }
    }

    #[test]
    fn a_thread_takes_of_its_own_range_first() {
        let tiles = Tiles::new(7, 3);
        let numbers = |thread: usize, n: usize| {
            (0..n).map(|_| tiles.take(thread).map(|tile| tile.number)).collect::<Option<Vec<_>>>()
        };
        assert_eq!(numbers(1, 2), Some(vec![2, 3]));
        assert_eq!(numbers(2, 4), Some(vec![4, 5, 6, 0]));
        assert_eq!(numbers(1, 1), Some(vec![1]));
        assert_eq!(numbers(0, 1), None);
    }

    #[test]
    fn steps_are_kept_apart_and_every_tile_runs_once() {
        let pool = Pool::new(3).unwrap();
        let mut steps: Vec<Tiles> = (0..50).map(|i| Tiles::new(i % 7, 3)).collect();
        for _ in 0..100 {
            steps.iter_mut().for_each(Tiles::reset);
            let ran: Vec<AtomicUsize> = steps.iter().map(|_| AtomicUsize::new(0)).collect();
            pool.run(&|thread| {
                for (i, tiles) in steps.iter().enumerate() {
                    while let Some(tile) = tiles.take(thread) {
                        let before = i.checked_sub(1).map_or(0, |b| ran[b].load(Ordering::Relaxed));
                        assert_eq!(before, i.saturating_sub(1) % 7, "the step before is complete");
                        assert!(tile.number < i % 7);
                        ran[i].fetch_add(1, Ordering::Relaxed);
                    }
                    tiles.wait();
                }
            });
            assert!(ran.iter().enumerate().all(|(i, ran)| ran.load(Ordering::Relaxed) == i % 7));
        }
    }

    #[test]
    fn a_panic_holding_a_tile_does_not_hang_the_others() {
        let pool = Pool::new(2).unwrap();
        let tiles = Tiles::new(2, 2);
        let both = AtomicUsize::new(0);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|thread| {
                let tile = tiles.take(thread);
                both.fetch_add(1, Ordering::Relaxed);
                wait_until(|| both.load(Ordering::Relaxed) == 2);
                assert_eq!(thread, 0, "the worker fails");
                drop(tile);
                tiles.wait();
            })
        }));
        assert!(failed.is_err());
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = Pool::new(2).unwrap();
        let all_come = |then: &(dyn Fn(usize) + Sync)| {
            let came = AtomicUsize::new(0);
            pool.run(&|i| {
                came.fetch_add(1, Ordering::Relaxed);
                wait_until(|| came.load(Ordering::Relaxed) == 2);
                then(i);
            });
        };
        let failed = catch_unwind(AssertUnwindSafe(|| all_come(&|i| assert_eq!(i, 0, "worker fails"))));
        assert!(failed.is_err());
        all_come(&|_| {});
    }
}
