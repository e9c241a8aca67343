//! What every format is read into: the graph under construction, sizes that depend on open dimensions, what was read
//! differently than a file says it, and what could not be read.

pub mod builder;
pub mod compose;
pub mod failures;
pub mod inputs;
pub mod remarks;
pub mod sizes;
pub mod transposed;

pub use builder::{Builder, Item, MOST_FOLDED};
