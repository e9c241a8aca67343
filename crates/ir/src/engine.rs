//! How anybody runs a graph: an engine takes a graph and taps and gives a run.
//!
//! Calibration and evaluation know no other way, so the interpreter, the compiled program and a remote device are
//! interchangeable.

use crate::{Error, Graph, Result, Tensor, Type, ValueId};
use std::fmt;
use std::sync::Arc;

/// Something that can run graphs.
pub trait Engine {
    /// A name for messages and reports, such as `interpreter` or `avx512vnni`.
    fn name(&self) -> String;

    /// How many threads it computes on: whoever works between its runs keeps to these.
    fn threads(&self) -> usize {
        1
    }

    /// Prepares `graph` for running; besides its outputs, the values `taps` are to be read out.
    fn load(&self, graph: &Graph, taps: &[ValueId]) -> Result<Box<dyn Run>>;

    /// As [`Engine::load`], for several samples at a time, of which `inputs` is one: as many runs, at least one, as are
    /// faster side by side on threads of their own than one after the other. They give the same bits.
    fn load_side_by_side(&self, graph: &Graph, taps: &[ValueId], inputs: &[Tensor]) -> Result<Vec<Box<dyn Run>>> {
        let _ = inputs;
        Ok(vec![self.load(graph, taps)?])
    }
}

/// A graph made ready by an [`Engine`].
pub trait Run: Send {
    /// Runs once. `inputs` are in the order of [`Graph::inputs`], of exactly their types with all dimensions known.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs>;
}

/// What a run gives.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// In the order of [`Graph::outputs`].
    pub outputs: Vec<Tensor>,
    /// In the order of the taps given to [`Engine::load`].
    pub taps: Vec<Tensor>,
}

/// An operator of the user's own, float only.
pub trait CustomOp: Send + Sync {
    /// The name that [`Op::Custom`](crate::Op::Custom) refers to.
    fn name(&self) -> &str;
    /// Types of the outputs from the types of the inputs.
    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>>;
    /// The outputs from the inputs.
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;
}

/// Refuses a thread whose floats flush subnormal numbers to zero or do not round to nearest even.
///
/// The promised bits need the default environment, and a host process may have left another one behind. So everything
/// that computes with floats on the thread that calls it, and no kernel alone, asks this first: who quantizes, compiles,
/// reads a file or interprets.
pub fn check_float_mode() -> Result<()> {
    match lowbit_arithmetic::float::environment_is_ieee() {
        true => Ok(()),
        false => Err(Error::new(
            "this thread's floats flush subnormal numbers to zero or do not round to nearest even, so results would differ",
        )
        .hint("reset the mode: a library built with -ffast-math sets FTZ and DAZ, fesetround the rounding")),
    }
}

/// The table that resolves [`Op::Custom`](crate::Op::Custom), given to an engine by value: nothing is global.
#[derive(Clone, Default)]
pub struct Customs(Vec<Arc<dyn CustomOp>>);

impl Customs {
    /// Adds an operator; its name must be new.
    pub fn with(mut self, op: Arc<dyn CustomOp>) -> Result<Self> {
        if self.0.iter().any(|o| o.name() == op.name()) {
            return Err(Error::new(format!("a custom operator named '{}' is in the table already", op.name())));
        }
        self.0.push(op);
        Ok(self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of all, in the order in which they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|o| o.name())
    }

    /// The operator of this name, or an error that lists those there are.
    pub fn get(&self, name: &str) -> Result<&dyn CustomOp> {
        self.0.iter().find(|o| o.name() == name).map(|o| &**o).ok_or_else(|| {
            let known: Vec<&str> = self.0.iter().map(|o| o.name()).collect();
            Error::new(format!("no custom operator is named '{name}' (known: {known:?})"))
                .hint("give the engine a Customs table that holds it")
        })
    }
}

impl fmt::Debug for Customs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|o| o.name())).finish()
    }
}
