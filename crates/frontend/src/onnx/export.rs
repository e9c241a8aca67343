//! Under construction.
use lowbit_ir::{Error, Graph, Result};

/// Under construction.
pub fn export(_graph: &Graph) -> Result<Vec<u8>> {
    Err(Error::new("export is under construction"))
}
