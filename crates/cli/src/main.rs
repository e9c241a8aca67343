//! The binary `lowbit`: the command line of the library, with the arguments of the process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(lowbit_cli::run(std::env::args_os()))
}
