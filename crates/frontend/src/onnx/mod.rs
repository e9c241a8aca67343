//! ONNX: opsets 7 to 28, IR versions 3 and later.
//!
//! Reading order: [`proto`] (the messages, generated), [`tensor`] (their tensors), [`node`] (one node as an import
//! function sees it), [`ops`] (the table of import functions), [`import`](mod@import) (a model), [`mod@plan`] (what is to be
//! done for its nodes, and in which order), [`mod@walk`] (doing it), [`scope`] (what names mean in subgraphs and functions),
//! [`inline`] (reading these in place), [`limits`] (what that may take), [`notes`] (what ONNX cannot say, kept in its
//! metadata), [`export`](mod@export) (the way back).

pub mod export;
pub mod external;
pub mod import;
pub mod inline;
pub mod limits;
pub mod node;
pub mod notes;
pub mod ops;
pub mod plan;
pub mod proto;
pub mod scope;
pub mod standard;
mod steps;
pub mod tensor;
pub mod walk;

pub use export::export;
pub use import::{import, inputs};
pub use ops::OPS;
pub use prost::Message;

/// The oldest opset of the default domain that is read.
pub const OLDEST_OPSET: i64 = 7;
/// The newest opset of the default domain that is read.
pub const NEWEST_OPSET: i64 = 28;
