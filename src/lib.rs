//! lowbit: a quantization workflow and integer compiler for neural networks.
//!
//! ```text
//! import -> prepare -> equalize -> annotate -> calibrate -> refine -> realize -> compile -> run
//! ```
//!
//! [`Model`] is a file or a graph; [`Model::quantize`] makes a [`Quantized`] of it, [`Model::compile`] a program, and
//! [`Programs`] one for every set of sizes that inputs have, which [`Sessions`] run.
//! [`data`] reads samples, [`evaluate`] measures accuracy, [`verify`] proves that every executor gives the same bits,
//! [`compare`] says which layer is to blame, [`bench`] times, [`inspect`] describes, [`explain`] says why, [`diff`] what
//! changed between two models, [`reproduce`] whether a model is what its [`recipe`] gives, [`stats`] keeps what calibration
//! saw in files.
//!
//! ```
//! use lowbit::data::Dataset;
//! use lowbit::{Config, Model, Quantize, Target};
//!
//! # fn main() -> lowbit::Result<()> {
//! let model = Model::load("demo/model.onnx")?;
//! let images = Dataset::open("demo/calibration", &model.inputs(), model.stored_preprocess()?.as_ref())?;
//! let config = Config { samples: 16, ..Config::default() };
//! let quantized = model.quantize(Quantize::default().data(&images).config(config))?;
//! assert_eq!(quantized.report.integer_macs_percent, 100.0);
//!
//! let program = quantized.compile(Target::host())?;
//! let sample = images.sample(0)?;
//! let (name, pixels) = &sample.inputs[0];
//! let logits = program.session().run([(name, pixels)])?;
//! assert_eq!(logits[0].dims(), [1, 12]);
//! # Ok(())
//! # }
//! ```
//!
//! The crates behind are re-exported whole: [`ir`], [`frontend`], [`quantization`], [`compiler`], [`runtime`].
#![forbid(unsafe_code)]

pub mod bench;
pub mod choices;
pub mod compare;
pub mod contests;
pub mod data;
pub mod diff;
pub mod engine;
pub mod evaluate;
pub mod explain;
pub mod inspect;
pub mod left;
pub mod listing;
pub mod model;
pub mod numbers;
pub mod prefetch;
pub mod programs;
pub mod recipe;
pub mod report;
pub mod reproduce;
pub mod stats;
pub mod verify;

pub use engine::{Compiled, cores};
pub use lowbit_compile as compiler;
pub use lowbit_compile::Target;
pub use lowbit_frontend as frontend;
pub use lowbit_ir as ir;
pub use lowbit_ir::{Error, Graph, Kind, Result, Tensor};
pub use lowbit_kernels as kernels;
pub use lowbit_quantize as quantization;
pub use lowbit_quantize::config::Rounding;
pub use lowbit_quantize::{Checkpoint, Config, Observer, Passes, Phase, Realizers, Report, Rules, Shard, Spec};
pub use lowbit_runtime as runtime;
pub use lowbit_runtime::{Isa, MAX_THREADS, NamedSession, Program, Session};
pub use model::{Model, Quantize, Quantized};
pub use programs::{Programs, Sessions};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
