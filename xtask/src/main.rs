//! The chores of the project, as `cargo xtask <command>`: [`tidy`] says whether the tree is in order, [`test`] runs
//! every test, [`docs`] writes the generated reference.
//!
//! This crate depends on no other crate of the workspace, so that it works while they do not compile.
#![forbid(unsafe_code)]

mod cargo;
mod docs;
mod measure;
mod test;
mod tidy;
mod tree;

use std::env;
use std::process::ExitCode;

use tree::workspace_root;

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  tidy   check format, clippy, arrows between crates, files and documents; change nothing
  test   run all tests, documentation tests included, offline
  docs   write docs/reference.md from `lowbit list --markdown`
  help   print this

  accuracy [MODEL...]      measure float and integer accuracy on real models for docs/accuracy.md
  choices [MODEL...]       the same of choices that other tools' tables have too
  observers [MODEL...]     the same of every observer of values in memory
  verify [MODEL...]        compare the interpreter with every executor on real models, likewise
  onnxruntime [MODEL...]   run our files in ONNX Runtime, layer by layer, likewise; PYTHON names a Python that has
                           onnx, onnxruntime and numpy
  prequantized [FILE...]   run the quantized files of other tools and compare with what ONNX Runtime gave for them,
                           likewise
  roundtrip [MODEL...]     read, write, check and run the float models beside ONNX Runtime, likewise
  speed [MODEL...]         time the ImageNet models beside ONNX Runtime and write the README's table, likewise

Real models are looked for in the folder that LOWBIT_SHARED names, else in `../shared`.
The exit code is 0 for success, 1 for findings and failures, 2 for a command line that is not understood.
";

/// What went wrong, in a sentence for the reader of a terminal.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        ["tidy"] => workspace_root().and_then(|root| tidy::run(&root)),
        ["test"] => workspace_root().and_then(|root| test::run(&root)),
        ["docs"] => workspace_root().and_then(|root| docs::write(&root)).map(|()| true),
        ["accuracy", ref names @ ..] => {
            workspace_root().and_then(|root| measure::accuracy(&root, names)).map(|()| true)
        }
        ["choices", ref names @ ..] => workspace_root().and_then(|root| measure::choices(&root, names)).map(|()| true),
        ["observers", ref names @ ..] => {
            workspace_root().and_then(|root| measure::observers(&root, names)).map(|()| true)
        }
        ["verify", ref names @ ..] => workspace_root().and_then(|root| measure::verify(&root, names)).map(|()| true),
        ["prequantized", ref names @ ..] => {
            workspace_root().and_then(|root| measure::prequantized(&root, names)).map(|()| true)
        }
        ["roundtrip", ref names @ ..] => workspace_root().and_then(|root| measure::roundtrip(&root, names)),
        ["speed", ref names @ ..] => workspace_root().and_then(|root| measure::speed(&root, names)).map(|()| true),
        ["onnxruntime", ref names @ ..] => {
            workspace_root().and_then(|root| measure::onnxruntime(&root, names)).map(|()| true)
        }
        _ => {
            eprint!("cargo xtask: `{}` is not a command\n\n{HELP}", arguments.join(" "));
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
