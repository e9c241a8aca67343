//! lowbit: a quantization workflow and integer compiler for neural networks.
//!
//! ```text
//! import -> prepare -> equalize -> annotate -> calibrate -> refine -> realize -> compile -> run
//! ```
//!
//! [`Model`] is a file or a graph; [`Model::quantize`] makes a [`Quantized`] of it, [`Model::compile`] a program.
//! [`data`] reads samples, [`evaluate`] measures accuracy, [`verify`] proves that every executor gives the same bits,
//! [`bench`] times, [`inspect`] describes.
//! The crates behind are re-exported whole: [`ir`], [`frontend`], [`quantization`], [`compiler`], [`runtime`].
#![forbid(unsafe_code)]

pub mod bench;
pub mod data;
pub mod engine;
pub mod evaluate;
pub mod inspect;
pub mod listing;
pub mod model;
pub mod prefetch;
pub mod verify;

pub use engine::{Compiled, cores};
pub use lowbit_compile as compiler;
pub use lowbit_compile::Target;
pub use lowbit_frontend as frontend;
pub use lowbit_ir as ir;
pub use lowbit_ir::{Error, Graph, Result, Tensor};
pub use lowbit_kernels as kernels;
pub use lowbit_quantize as quantization;
pub use lowbit_quantize::{Config, Report, Rules};
pub use lowbit_runtime as runtime;
pub use lowbit_runtime::{Isa, Program, Session};
pub use model::{Model, Quantize, Quantized};
