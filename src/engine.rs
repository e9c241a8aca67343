//! The compiled engine: compile + runtime behind the interface that calibration and evaluation know.

use crate::model::{entering, sized_for};
use crate::programs::KEPT;
use lowbit_compile::{Target, compile};
use lowbit_ir::{Engine, Error, Graph, Outputs, Result, Run, Tensor, ValueId, memory};
use lowbit_runtime::{Pool, Program, Session};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs graphs as programs on this machine.
///
/// A graph with open dimensions is compiled when the first inputs say what they are, and again when they change; the
/// programs for the latest [`KEPT`] sizes are kept.
#[derive(Debug, Clone)]
pub struct Compiled {
    target: Target,
    pool: Arc<Pool>,
}

impl Compiled {
    /// An engine for a target on this many threads.
    pub fn new(target: Target, threads: usize) -> Result<Compiled> {
        let pool = Pool::new(threads)?;
        Ok(Compiled { target: target.threads(threads), pool: Arc::new(pool) })
    }

    /// The best this machine has, on all its cores.
    pub fn host() -> Result<Compiled> {
        Compiled::new(Target::host(), cores())
    }
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes that runs side by side may take in all: each has activations, results and scratch of its own.
const SIDE_BY_SIDE: usize = 96 << 20;

impl Engine for Compiled {
    fn name(&self) -> String {
        format!("{} x{}", self.target.isa.name, self.pool.threads())
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn load(&self, graph: &Graph, taps: &[ValueId]) -> Result<Box<dyn Run>> {
        Ok(Box::new(self.load_compiled(graph, taps)))
    }

    fn load_side_by_side(&self, graph: &Graph, taps: &[ValueId], inputs: &[Tensor]) -> Result<Vec<Box<dyn Run>>> {
        let loaded = self.load_compiled(graph, taps);
        let threads = self.pool.threads();
        // What cannot run fails in the run, which tells the sample.
        let program = entering(&loaded.graph, inputs).and_then(|inputs| loaded.compiled(&inputs));
        let Some(program) = program.ok().filter(|_| threads > 1) else { return Ok(vec![Box::new(loaded)]) };
        let results: usize = program.outputs().iter().map(|port| memory::bytes(&port.ty)).sum();
        // Every thread has its own scratch, whichever run it belongs to.
        let room =
            SIDE_BY_SIDE.min(self.target.max_memory / 4).saturating_sub(threads.saturating_mul(program.scratch()));
        let fit = room / (program.arena() + results).max(1);
        let runs = fit.clamp(1, threads);
        let run = |i: usize| -> Result<Box<dyn Run>> {
            // The first ones take what is left over.
            let own = threads / runs + usize::from(i < threads % runs);
            let engine = if runs == 1 { self.clone() } else { Compiled::new(self.target.clone(), own)? };
            Ok(Box::new(loaded.beside(engine)))
        };
        (0..runs).map(run).collect()
    }
}

impl Compiled {
    /// As [`Engine::load`], with the program to look at.
    pub fn load_compiled(&self, graph: &Graph, taps: &[ValueId]) -> Loaded {
        let mut g = graph.clone();
        let outputs = g.outputs.len();
        // A tap is one more output: whatever would fuse it away sees that somebody wants it.
        g.outputs.extend_from_slice(taps);
        Loaded {
            engine: self.clone(),
            graph: Arc::new(g),
            outputs,
            latest: Arc::default(),
            session: None,
            results: Vec::new(),
        }
    }
}

/// A graph on the compiled engine.
#[derive(Debug)]
pub struct Loaded {
    engine: Compiled,
    graph: Arc<Graph>,
    outputs: usize,
    /// What was compiled of late, the latest first, by this or by one of those that run beside it.
    latest: Arc<Mutex<Vec<Arc<Program>>>>,
    session: Option<Session>,
    /// What the last run gave: memory for the next one, unless somebody holds it still.
    results: Vec<Tensor>,
}

impl Loaded {
    /// The program that ran last; none before the first run.
    pub fn program(&self) -> Option<&Program> {
        self.session.as_ref().map(|s| &**s.program())
    }

    /// Another one of the same graph.
    fn beside(&self, engine: Compiled) -> Loaded {
        let (graph, latest) = (self.graph.clone(), self.latest.clone());
        Loaded { engine, graph, outputs: self.outputs, latest, session: None, results: Vec::new() }
    }

    /// A program for inputs of these sizes.
    fn compiled(&self, inputs: &[Tensor]) -> Result<Arc<Program>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = latest.iter().find(|program| fits(program, inputs)) {
            return Ok(program.clone());
        }
        // Samples of a few sizes come in any order; of others the one before is of no use to anybody who asks now.
        latest.truncate(KEPT - 1);
        let bound = sized_for(&self.graph, inputs, &self.engine.target.customs)?;
        let program = compile(&bound, &self.engine.target)?;
        latest.insert(0, program.clone());
        Ok(program)
    }

    /// A session for inputs of these sizes.
    fn session(&mut self, inputs: &[Tensor]) -> Result<&mut Session> {
        if self.session.as_ref().is_some_and(|s| fits(s.program(), inputs)) {
            // The borrow checker wants the look-up twice.
            return self.session.as_mut().ok_or_else(|| Error::new("the session is gone"));
        }
        self.session = None;
        let program = self.compiled(inputs)?;
        Ok(self.session.insert(Session::with_pool(program, self.engine.pool.clone())?))
    }
}

/// Whether a program is for inputs of these sizes.
fn fits(program: &Program, inputs: &[Tensor]) -> bool {
    let ports = program.inputs();
    ports.len() == inputs.len() && ports.iter().zip(inputs).all(|(p, t)| p.ty.shape == t.ty().shape)
}

impl Run for Loaded {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs> {
        let graph = self.graph.clone();
        let inputs = &*entering(&graph, inputs)?;
        let before = std::mem::take(&mut self.results);
        let mut outputs = self.session(inputs)?.run_reusing(inputs, before)?;
        self.results = outputs.clone();
        let taps = outputs.split_off(self.outputs);
        Ok(Outputs { outputs, taps })
    }
}
