//! The compiled engine: compile + runtime behind the interface that calibration and evaluation know.

use crate::model::{entering, sized_for};
use lowbit_compile::{Target, compile};
use lowbit_ir::{Engine, Error, Graph, Outputs, Result, Run, Tensor, ValueId};
use lowbit_runtime::{Pool, Program, Session};
use std::sync::Arc;

/// Runs graphs as programs on this machine.
///
/// A graph with open dimensions is compiled when the first inputs say what they are, and again when they change.
#[derive(Debug, Clone)]
pub struct Compiled {
    target: Target,
    pool: Arc<Pool>,
}

impl Compiled {
    /// An engine for a target on this many threads.
    pub fn new(target: Target, threads: usize) -> Result<Compiled> {
        let pool = Pool::new(threads).map_err(|e| Error::new(format!("cannot start {threads} threads: {e}")))?;
        Ok(Compiled { target, pool: Arc::new(pool) })
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

impl Engine for Compiled {
    fn name(&self) -> String {
        format!("{} x{}", self.target.isa.name, self.pool.threads())
    }

    fn load(&self, graph: &Graph, taps: &[ValueId]) -> Result<Box<dyn Run>> {
        Ok(Box::new(self.load_compiled(graph, taps)))
    }
}

impl Compiled {
    /// As [`Engine::load`], with the program to look at.
    pub fn load_compiled(&self, graph: &Graph, taps: &[ValueId]) -> Loaded {
        let mut g = graph.clone();
        let outputs = g.outputs.len();
        // A tap is one more output: whatever would fuse it away sees that somebody wants it.
        g.outputs.extend_from_slice(taps);
        Loaded { engine: self.clone(), graph: g, outputs, session: None }
    }
}

/// A graph on the compiled engine.
#[derive(Debug)]
pub struct Loaded {
    engine: Compiled,
    graph: Graph,
    outputs: usize,
    session: Option<Session>,
}

impl Loaded {
    /// The program that ran last; none before the first run.
    pub fn program(&self) -> Option<&Program> {
        self.session.as_ref().map(|s| &**s.program())
    }

    /// A session for inputs of these sizes.
    fn session(&mut self, inputs: &[Tensor]) -> Result<&mut Session> {
        let fits = |s: &Session| {
            let ports = s.program().inputs();
            ports.len() == inputs.len() && ports.iter().zip(inputs).all(|(p, t)| p.ty.shape == t.ty().shape)
        };
        if self.session.as_ref().is_some_and(fits) {
            // The borrow checker wants the look-up twice.
            return self.session.as_mut().ok_or_else(|| Error::new("the session is gone"));
        }
        let bound = sized_for(&self.graph, inputs, &self.engine.target.customs)?;
        let program = compile(&bound, &self.engine.target)?;
        Ok(self.session.insert(Session::with_pool(program, self.engine.pool.clone())?))
    }
}

impl Run for Loaded {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs> {
        let inputs = &*entering(&self.graph, inputs)?;
        let mut outputs = self.session(inputs)?.run(inputs)?;
        let taps = outputs.split_off(self.outputs);
        Ok(Outputs { outputs, taps })
    }
}
