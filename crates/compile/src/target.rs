//! What a program is compiled for.

use lowbit_ir::{Customs, Result};
use lowbit_runtime::Isa;

/// A machine kind.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kernels that may be used.
    pub isa: Isa,
    /// The user's operators.
    pub customs: Customs,
}

impl Target {
    /// This machine at its best.
    pub fn host() -> Target {
        Target { isa: Isa::host(), customs: Customs::default() }
    }

    /// This machine, restricted to a row set by name.
    pub fn isa(name: &str) -> Result<Target> {
        Ok(Target { isa: Isa::named(name)?, customs: Customs::default() })
    }

    /// The same with operators of the user's.
    #[must_use]
    pub fn customs(self, customs: Customs) -> Target {
        Target { customs, ..self }
    }
}
