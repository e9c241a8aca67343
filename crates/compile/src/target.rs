//! What a program is compiled for.

use lowbit_ir::{Customs, Result, memory};
use lowbit_runtime::Isa;
use std::num::NonZero;

/// A machine kind.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kernels that may be used.
    pub isa: Isa,
    /// The user's operators.
    pub customs: Customs,
    /// Threads that pack weights; the program is the same whatever their number.
    pub threads: usize,
    /// Bytes that a program may need beyond its model: activations, scratch, and constants that the model lacks.
    pub max_memory: usize,
}

impl Target {
    /// This machine at its best.
    pub fn host() -> Target {
        Target::of(Isa::host())
    }

    /// This machine, restricted to a row set by name.
    pub fn isa(name: &str) -> Result<Target> {
        Ok(Target::of(Isa::named(name)?))
    }

    fn of(isa: Isa) -> Target {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Target { isa, customs: Customs::default(), threads, max_memory: memory::MAX_MEMORY }
    }

    /// The same with another limit to the memory that a program may need beyond its model.
    #[must_use]
    pub fn max_memory(self, max_memory: usize) -> Target {
        Target { max_memory, ..self }
    }

    /// The same with another number of threads that pack weights; all cores' unless said otherwise.
    #[must_use]
    pub fn threads(self, threads: usize) -> Target {
        Target { threads, ..self }
    }

    /// The same with operators of the user's.
    #[must_use]
    pub fn customs(self, customs: Customs) -> Target {
        Target { customs, ..self }
    }
}
