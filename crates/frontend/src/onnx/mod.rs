//! ONNX: opsets 7 to 28, IR versions 3 and later.
//!
//! Reading order: [`proto`] (the messages, generated), [`tensor`] (their tensors), [`node`] (one node as an import
//! function sees it), [`ops`] (the table of import functions), [`import`](mod@import) (the walk over a model), [`notes`]
//! (what ONNX cannot say, kept in its metadata), [`export`](mod@export) (the way back).

pub mod export;
pub mod external;
pub mod import;
pub mod node;
pub mod notes;
pub mod ops;
pub mod proto;
pub mod standard;
pub mod tensor;

pub use export::export;
pub use import::import;
pub use ops::OPS;
pub use prost::Message;

/// The oldest opset of the default domain that is read.
pub const OLDEST_OPSET: i64 = 7;
/// The newest opset of the default domain that is read.
pub const NEWEST_OPSET: i64 = 28;
