//! The binary `lowbit`: the command line of the library, with the arguments of the process, which Ctrl-C ends cleanly.
#![forbid(unsafe_code)]

use lowbit_cli::{Interrupt, run_until};
use std::process::{ExitCode, exit};

fn main() -> ExitCode {
    let interrupt = Interrupt::default();
    let ending = interrupt.clone();
    // Where there is no handler Ctrl-C ends the process as it always did.
    let _ = ctrlc::set_handler(move || exit(ending.end().into()));
    ExitCode::from(run_until(std::env::args_os(), &interrupt))
}
