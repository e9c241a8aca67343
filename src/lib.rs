//! lowbit: a quantization workflow and integer compiler for neural networks.
#![forbid(unsafe_code)]

pub mod data;
pub mod engine;
