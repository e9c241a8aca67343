//! lowbit for Python: the extension module `lowbit._lowbit`.
//!
//! It says in Python what the Rust API says, and computes nothing of its own. The Python files beside it add what only
//! Python can have: scopes, decorators, pictures.
//!
//! [`array`] is where numpy arrays become tensors and back, [`job`] where long work runs so that Ctrl-C and progress
//! reach it, [`error`] where errors become exceptions, [`callbacks`] what functions of the user's have in common,
//! [`interpreter`] how threads leave the interpreter and come to it, [`turn`] who waits for whom. The rest is a file a noun.
#![forbid(unsafe_code)]

mod array;
mod call;
mod callbacks;
mod config;
mod custom;
mod data;
mod error;
mod explain;
mod graph;
mod interpreter;
mod job;
mod measure;
mod model;
mod observer;
mod program;
mod quantize;
mod rules;
mod stats;
mod turn;
mod types;

use crate::interpreter::away;
use pyo3::prelude::*;

/// The command line, in this process: its exit code.
#[pyfunction]
fn cli(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
    away(py, || lowbit_cli::run(arguments))
}

/// The native half of the package `lowbit`.
#[pymodule]
mod _lowbit {
    #[pymodule_export]
    use super::cli;
    #[pymodule_export]
    use crate::call::{Call, Value};
    #[pymodule_export]
    use crate::callbacks::Called;
    #[pymodule_export]
    use crate::config::Config;
    #[pymodule_export]
    use crate::data::Dataset;
    #[pymodule_export]
    use crate::explain::{diff, explain, reproduce};
    #[pymodule_export]
    use crate::graph::{Graph, Node};
    #[pymodule_export]
    use crate::interpreter::{end, forked, inside};
    #[pymodule_export]
    use crate::measure::{bench, compare, evaluate, verify, write_report};
    #[pymodule_export]
    use crate::model::{Model, listing, operator, version};
    #[pymodule_export]
    use crate::observer::{Request, Seen};
    #[pymodule_export]
    use crate::program::{Program, Session};
    #[pymodule_export]
    use crate::quantize::{Quantized, calibrate, quantize};
    #[pymodule_export]
    use crate::rules::{Context, Standard};
    #[pymodule_export]
    use crate::stats::Stats;
    #[pymodule_export]
    use crate::types::ValueType;
}
