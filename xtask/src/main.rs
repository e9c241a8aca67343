//! The chores of the project, as `cargo xtask <command>`: [`tidy`] says whether the tree is in order, [`test`] runs
//! every test, [`docs`] writes the generated reference.
//!
//! This crate depends on no other crate of the workspace, so that it works while they do not compile.
#![forbid(unsafe_code)]

mod aarch64;
mod cargo;
mod coverage;
mod docs;
mod fuzz;
mod measure;
mod python;
mod sanitize;
mod test;
mod tidy;
mod tree;

use std::env;
use std::process::ExitCode;

use aarch64::Extent;
use measure::{MEASURES, Measure};
use tree::workspace_root;

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  tidy   check format, clippy, arrows between crates, files and documents; change nothing
  test   run all tests: Rust's, documentation tests included, then those of the Python package, which `pip install .`
         puts into an environment below the build folder; offline once that is made
  test --rust     only Rust's, for a machine without Python
  test --python   only Python's
  test --peers    only those that need packages of other tools, in environments of their own
  docs   write docs/reference.md and docs/config.schema.json, as the command line prints them
  aarch64 [--quick|--all]
         the tests of arithmetic, kernels, interpreter and executors on an emulated machine of another kind: with a sample
         of the kernels' cases or all of them, or only those of arithmetic and kernels
  fuzz [--seconds N] [--executions N] [TARGET...]
         run the fuzz targets with libFuzzer, one after the other; `fuzz list` names them
  coverage [CHANGES]
         which lines the fuzz targets' corpus and so many changes of it run, for docs/reliability.md; 1000 unless given
  sanitize
         the kernels and the runtime under Miri, AddressSanitizer and ThreadSanitizer
  help   print this

{measures}
The measurements, which take minutes to hours, write the tables of docs/accuracy.md and the README; for chosen models
they print them. Those named bench-... update the rows of what they measure, and of this machine, in docs/performance.md.
Real models are looked for in the folder that LOWBIT_SHARED names, else in `../shared`; PYTHON names a Python that has
onnx, onnxruntime and numpy.
The exit code is 0 for success, 1 for findings and failures, 2 for a command line that is not understood.
";

/// The help with a line for every measurement.
fn help() -> String {
    let usage = |m: &Measure| format!("{} [{}...]", m.name, m.names);
    let lines: Vec<String> = MEASURES.iter().map(|m| format!("  {:<24} {}\n", usage(m), m.about)).collect();
    HELP.replace("{measures}\n", &format!("{}\n", lines.concat()))
}

fn measure(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|m| m.name == name)
}

/// What went wrong, in a sentence for the reader of a terminal.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] | ["help" | "--help" | "-h"] => {
            print!("{}", help());
            Ok(true)
        }
        [name, "--help" | "-h"] if measure(name).is_some() => {
            print!("{}", help());
            Ok(true)
        }
        ["tidy"] => workspace_root().and_then(|root| tidy::run(&root)),
        ["test"] => workspace_root().and_then(|root| test::run(&root, &test::ALL)),
        ["test", "--rust"] => workspace_root().and_then(|root| test::run(&root, &[test::Part::Rust])),
        ["test", "--python"] => workspace_root().and_then(|root| test::run(&root, &[test::Part::Python])),
        ["test", "--peers"] => workspace_root().and_then(|root| test::run(&root, &[test::Part::Peers])),
        ["aarch64"] => workspace_root().and_then(|root| aarch64::run(&root, Extent::Usual)),
        ["aarch64", "--quick"] => workspace_root().and_then(|root| aarch64::run(&root, Extent::Quick)),
        ["aarch64", "--all"] => workspace_root().and_then(|root| aarch64::run(&root, Extent::All)),
        ["fuzz", ref rest @ ..] => workspace_root().and_then(|root| fuzz::run(&root, rest)),
        ["coverage"] => workspace_root().and_then(|root| coverage::run(&root, "1000")),
        ["coverage", changes] => workspace_root().and_then(|root| coverage::run(&root, changes)),
        ["sanitize"] => workspace_root().and_then(|root| sanitize::run(&root)),
        ["docs"] => workspace_root().and_then(|root| docs::write(&root)).map(|()| true),
        [name, ref names @ ..] if measure(name).is_some() => {
            workspace_root().and_then(|root| measure(name).map_or(Ok(()), |m| (m.run)(&root, names)).map(|()| true))
        }
        _ => {
            eprint!("cargo xtask: `{}` is not a command\n\n{}", arguments.join(" "), help());
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
