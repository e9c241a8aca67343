//! The graph of lowbit: what every other crate speaks.
//!
//! Reading order: [`dtype`] and [`quant`] (what a number is), [`types`] (dtype + shape + quantization),
//! [`tensor`] (a type with bytes), [`op`] (the closed list of operators), [`graph`] (the arena of nodes and values),
//! [`engine`] (how anybody runs a graph), [`meta`] (what a model says about itself), [`spec`] (what a user asks of a
//! value before its range is known). Then what is computed of them: [`infer`] (types and shapes), [`interp`] (the meaning of
//! every operator), [`ranges`] (that integers keep to what types declare), [`bounds`] (how large accumulators get),
//! [`hardware`] (what a device can compute), [`memory`] (how much of it may be asked for).
#![forbid(unsafe_code)]

pub mod bounds;
pub mod dtype;
pub mod engine;
pub mod error;
pub mod golden;
pub mod graph;
pub mod hardware;
pub mod infer;
pub mod interp;
pub mod memory;
pub mod meta;
pub mod op;
pub mod pass;
pub mod quant;
pub mod ranges;
pub mod request;
pub mod suggest;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;

pub use dtype::DType;
pub use engine::{CustomOp, Customs, Engine, Outputs, Run, check_float_mode};
pub use error::{Error, Result, catching};
pub use graph::{Def, Graph, Node, NodeId, Users, Value, ValueId};
pub use meta::Metadata;
pub use op::Op;
pub use quant::{Granularity, Quant};
pub use request::{Kind, Request};
pub use tensor::Tensor;
pub use types::{Dim, Shape, Type};
