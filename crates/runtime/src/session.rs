//! A session: one arena, one set of threads, any number of runs.

use crate::exec::{Memory, run_tile, tiles};
use crate::floatenv::DefaultFloat;
use crate::memory::Aligned;
use crate::pool::{Pool, Tiles};
use crate::program::{Program, port_bytes};
use bytes::Bytes;
use lowbit_ir::{Error, Result, Tensor, catching, memory};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Runs a program. It owns the activations; after the first run nothing is allocated, unless the program has reference
/// steps or results are taken out as tensors.
#[derive(Debug)]
pub struct Session {
    program: Arc<Program>,
    pool: Arc<Pool>,
    arena: Aligned,
    scratch: Vec<Aligned>,
    /// Of every step.
    tiles: Vec<Tiles>,
}

impl Session {
    /// A session on the calling thread alone.
    pub fn new(program: Arc<Program>) -> Result<Session> {
        let pool = Pool::new(1)?;
        Session::with_pool(program, Arc::new(pool))
    }

    /// A session on this many threads, the calling one among them.
    pub fn with_threads(program: Arc<Program>, threads: usize) -> Result<Session> {
        let pool = Pool::new(threads)?;
        Session::with_pool(program, Arc::new(pool))
    }

    /// A session that shares a pool with others; their runs take turns.
    ///
    /// Every thread has scratch of its own, and results are taken out of the activations: what all of that takes is compared
    /// with what the program may take.
    pub fn with_pool(program: Arc<Program>, pool: Arc<Pool>) -> Result<Session> {
        if !crate::isa::detect().has(program.isa().features) {
            return Err(Error::new(format!(
                "the program was compiled for '{}', which this CPU lacks",
                program.isa().name
            )));
        }
        let threads = pool.threads();
        let results = program.outputs().iter().map(|port| memory::bytes(&port.ty)).fold(0, usize::saturating_add);
        let scratch = program.scratch().saturating_mul(threads);
        let needed = [scratch, results, program.arena()].into_iter().fold(0, usize::saturating_add);
        let what = format!("activations, results and the scratch of {threads} threads");
        memory::check(&what, needed, program.max_memory())?;
        let arena = Aligned::zeroed(program.arena())?;
        let scratch = (0..threads).map(|_| Aligned::zeroed(program.scratch())).collect::<Result<_>>()?;
        let tiles = program.steps().iter().map(|s| Tiles::new(tiles(&s.kind), threads)).collect();
        Ok(Session { program, pool, arena, scratch, tiles })
    }

    /// The program it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// How many threads take part.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The bytes of input `i`, to be written before [`Session::execute`].
    ///
    /// Integers outside the range of the port's type are not looked for here; what they give is unspecified.
    pub fn input_mut(&mut self, i: usize) -> Result<&mut [u8]> {
        let port = self.program.inputs().get(i).ok_or_else(|| no_port("input", i, self.program.inputs().len()))?;
        let bytes = port_bytes(port)?;
        match port.place {
            crate::Place::Arena(at) => Ok(&mut self.arena.as_mut_slice()[at..at + bytes]),
            crate::Place::Const(_) => Err(Error::new("an input cannot be a constant").at_value(port.name.clone())),
        }
    }

    /// The bytes of output `i`, after [`Session::execute`].
    pub fn output(&self, i: usize) -> Result<&[u8]> {
        let port = self.program.outputs().get(i).ok_or_else(|| no_port("output", i, self.program.outputs().len()))?;
        let bytes = port_bytes(port)?;
        match port.place {
            crate::Place::Arena(at) => Ok(&self.arena.as_slice()[at..at + bytes]),
            crate::Place::Const(at) => Ok(&self.program.consts().as_slice()[at..at + bytes]),
        }
    }

    /// Runs all steps over the inputs as they lie.
    pub fn execute(&mut self) -> Result<()> {
        self.execute_timed(None, None)
    }

    /// As [`Session::execute`], asking between steps whether to go on, on the thread that calls; an error of `go_on` ends
    /// the run.
    pub fn execute_while(&mut self, go_on: &(dyn Fn() -> Result<()> + Sync)) -> Result<()> {
        self.execute_timed(None, Some(go_on))
    }

    /// As [`Session::execute`], adding every step's nanoseconds to `profile` (one entry a step).
    pub fn profile(&mut self, profile: &mut Vec<u64>) -> Result<()> {
        profile.resize(self.program.steps().len(), 0);
        self.execute_timed(Some(profile), None)
    }

    fn execute_timed(
        &mut self,
        profile: Option<&mut Vec<u64>>,
        go_on: Option<&(dyn Fn() -> Result<()> + Sync)>,
    ) -> Result<()> {
        self.tiles.iter_mut().for_each(Tiles::reset);
        let memory = Memory::new(&mut self.arena, self.program.consts(), self.program.customs());
        let failed = AtomicBool::new(false);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        // Asking for the time takes as long as a small step, so it is asked for a profile only.
        let timed = profile.is_some();
        let times = Mutex::new(profile);
        let (steps, tiles, scratch) = (self.program.steps(), &self.tiles, &self.scratch);
        let fail = |e: Error| {
            failed.store(true, Ordering::Relaxed);
            failure.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(e);
        };
        self.pool.run(&|thread| {
            let float = DefaultFloat::enter();
            if let Err(e) = &float {
                fail(e.clone());
            }
            // The bytes behind the pointer are this thread's for the run: nobody else takes the buffer of its number.
            let scratch = scratch[thread].as_ptr().cast_mut();
            for (i, (step, tiles)) in steps.iter().zip(tiles).enumerate() {
                let start = timed.then(Instant::now);
                if thread == 0
                    && let Some(go_on) = go_on
                    && !failed.load(Ordering::Relaxed)
                    && let Err(e) = catching("the one who asks whether to go on", go_on)
                {
                    fail(e);
                }
                while let Some(tile) = tiles.take(thread) {
                    // After a failure tiles are still taken, so that all threads get to the end, but not run.
                    if failed.load(Ordering::Relaxed) {
                        continue;
                    }
                    // A panic is told like an error, and before its tile counts as complete: nothing runs after it. What
                    // it leaves half done is bytes of the arena, which are no one's after a failure.
                    let done = catch_unwind(AssertUnwindSafe(|| {
                        // SAFETY: the program was made by `Program::new`, the session's memory has its sizes, its
                        // features were checked in `with_pool`, every tile is taken by one thread, no thread goes on to
                        // the next step before all tiles are complete, and scratch is the thread's own.
                        unsafe { run_tile(&step.kind, tile.number, &memory, scratch) }
                    }));
                    match done {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => fail(e.at_node(step.name.clone())),
                        Err(panic) => fail(Error::panicked("the operator", &*panic).at_node(step.name.clone())),
                    }
                }
                tiles.wait();
                if thread == 0
                    && let Some(start) = start
                    && let Some(times) = times.lock().unwrap_or_else(|e| e.into_inner()).as_mut()
                {
                    times[i] += start.elapsed().as_nanos() as u64;
                }
            }
        });
        match failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Runs on tensors in the order of the program's inputs; returns tensors in the order of its outputs.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_reusing(inputs, Vec::new())
    }

    /// As [`Session::run`], in the memory of earlier results that nobody else holds: fresh memory costs more than what is
    /// copied into it.
    pub fn run_reusing(&mut self, inputs: &[Tensor], before: Vec<Tensor>) -> Result<Vec<Tensor>> {
        if inputs.len() != self.program.inputs().len() {
            return Err(Error::new(format!("expected {} inputs, found {}", self.program.inputs().len(), inputs.len())));
        }
        for (i, tensor) in inputs.iter().enumerate() {
            let port = &self.program.inputs()[i];
            let other_quant = tensor.ty().quant.as_ref().is_some_and(|q| Some(q) != port.ty.quant.as_ref());
            if tensor.dtype() != port.ty.dtype || tensor.ty().shape != port.ty.shape || other_quant {
                return Err(
                    Error::new(format!("expected {}, found {}", port.ty, tensor.ty())).at_value(port.name.clone())
                );
            }
            if let Some(q) = &port.ty.quant {
                tensor.check_range(q).map_err(|e| e.at_value(port.name.clone()))?;
            }
            self.input_mut(i)?.copy_from_slice(tensor.bytes());
        }
        self.execute()?;
        let program = self.program.clone();
        let mut before = before.into_iter();
        let take = |(i, port): (usize, &crate::Port)| {
            let found = self.output(i)?;
            let memory = before.next().and_then(|t| t.into_bytes().try_into_mut().ok());
            let bytes = match memory.filter(|memory| memory.len() == found.len()) {
                Some(mut memory) => {
                    memory.copy_from_slice(found);
                    memory.freeze()
                }
                None => Bytes::copy_from_slice(found),
            };
            Tensor::from_bytes(port.ty.clone(), bytes)
        };
        program.outputs().iter().enumerate().map(take).collect()
    }
}

fn no_port(what: &str, i: usize, count: usize) -> Error {
    Error::new(format!("expected one of {count} {what}s, found number {i}"))
}
