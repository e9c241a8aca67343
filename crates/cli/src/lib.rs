//! The command line `lowbit`: the facade's nouns as verbs, one file each.
//!
//! A verb takes its arguments and gives an [`Outcome`](output::Outcome): a text for people and an object for programs.
//! Printing, exit codes and the terminal are decided here and in [`output`], [`table`] and [`progress`].
//!
//! [`run`] is all that others call: the binary `lowbit` does, and whatever offers the same command from within a process
//! of its own.
#![forbid(unsafe_code)]

mod account;
mod args;
mod bench;
mod calibrate;
mod compare;
mod config;
mod diff;
mod evaluate;
mod explain;
mod format;
mod inspect;
mod interrupt;
mod list;
mod output;
mod progress;
mod quantize;
mod reproduce;
mod run;
mod table;
mod verify;

pub use interrupt::{INTERRUPTED, Interrupt};

use clap::{Parser, Subcommand};
use output::{Outcome, Paper};
use std::ffi::OsString;
use std::io::{self, Write};

/// Quantize neural networks and run them as integers.
#[derive(Debug, Parser)]
#[command(name = "lowbit", bin_name = "lowbit", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    /// Print one JSON object on standard output and nothing else
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Quantize a float model and tell what was gained and lost
    Quantize(Box<quantize::Arguments>),
    /// Run data through a float model and keep what quantizing needs of it, for quantize --stats
    Calibrate(calibrate::Arguments),
    /// Measure the accuracy of a model, and its agreement with a reference
    Evaluate(evaluate::Arguments),
    /// Run a model on arrays
    Run(run::Arguments),
    /// Compare two models layer by layer: what each layer adds, and what comes together
    Compare(compare::Arguments),
    /// Time a model: percentiles of a run, and every step with --profile
    Bench(bench::Arguments),
    /// Prove that the interpreter, every instruction set and every number of threads give the same bits
    Verify(verify::Arguments),
    /// Say why a model is quantized as it is: who chose the parameters of every tensor, and why what is float is float
    Explain(explain::Arguments),
    /// Say what changed between two quantized models: exit code 0 if they are the same, 1 if not, 2 for an error
    Diff(diff::Arguments),
    /// Quantize again by the recipe in a model's file: exit code 0 if the bytes are the same, 1 if not, 2 for an error
    Reproduce(reproduce::Arguments),
    /// Describe a model
    Inspect(inspect::Arguments),
    /// Show every choice of a quantization with who made it, or the schema of a configuration's file
    Config(config::Arguments),
    /// List what there is: operators, rules, kernels, passes, ...
    List(list::Arguments),
}

impl Verb {
    /// The exit code of an error: where 1 says that two things differ, it is another one.
    fn failure(&self) -> u8 {
        match self {
            Verb::Diff(_) | Verb::Reproduce(_) => 2,
            Verb::Quantize(_)
            | Verb::Calibrate(_)
            | Verb::Evaluate(_)
            | Verb::Run(_)
            | Verb::Compare(_)
            | Verb::Bench(_)
            | Verb::Verify(_)
            | Verb::Explain(_)
            | Verb::Inspect(_)
            | Verb::Config(_)
            | Verb::List(_) => 1,
        }
    }
}

/// Does what a command line says, and gives the exit code: 0 for success, 1 for an error or a negative result, 2 for a
/// command line that is not understood, and for an error of `diff` and `reproduce`, of which 1 says that things differ.
///
/// The first argument is the name of the program, as in [`std::env::args_os`]; it is not looked at, since the help always
/// says `lowbit`.
/// Results, help and version go to the standard output of the process, errors and progress to its standard error; both
/// are flushed when this returns, so the process may go on or end in any way.
/// It never ends the process, handles no signals and keeps nothing for the next call.
///
/// ```
/// # use std::ffi::OsString;
/// assert_eq!(lowbit_cli::run(["lowbit", "list", "presets"].map(OsString::from)), 0);
/// assert_eq!(lowbit_cli::run(["lowbit", "quantise"].map(OsString::from)), 2);
/// ```
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    run_until(args, &Interrupt::default())
}

/// As [`run`], for whoever ends the work before its end: by [`Interrupt::end`], from another thread.
pub fn run_until(args: impl IntoIterator<Item = OsString>, interrupt: &Interrupt) -> u8 {
    let code = match Arguments::try_parse_from(args) {
        Ok(arguments) => obey(&arguments, interrupt),
        Err(said) => {
            // Help and version come this way too. Where nobody reads them, there is nobody to tell.
            let _ = said.print();
            u8::try_from(said.exit_code()).unwrap_or(2)
        }
    };
    // Only a Rust program flushes what is buffered when it ends.
    let _ = io::stdout().flush();
    code
}

/// Does it, and tells what was found or what went wrong.
fn obey(arguments: &Arguments, interrupt: &Interrupt) -> u8 {
    let paper = Paper::new(arguments.json);
    let found = match &arguments.verb {
        Verb::Quantize(a) => quantize::run(a, &paper, interrupt),
        Verb::Calibrate(a) => calibrate::run(a, &paper, interrupt),
        Verb::Evaluate(a) => evaluate::run(a, &paper),
        Verb::Run(a) => run::run(a, &paper, interrupt),
        Verb::Compare(a) => compare::run(a, &paper),
        Verb::Bench(a) => bench::run(a, &paper),
        Verb::Verify(a) => verify::run(a, &paper),
        Verb::Inspect(a) => inspect::run(a, &paper),
        Verb::Explain(a) => explain::run(a, &paper),
        Verb::Diff(a) => diff::run(a, &paper),
        Verb::Reproduce(a) => reproduce::run(a, &paper),
        Verb::Config(a) => config::run(a, &paper),
        Verb::List(a) => list::run(a, &paper),
    };
    let printed = found.and_then(|outcome| paper.print(&outcome).map(|()| outcome));
    match printed {
        Ok(Outcome { success: true, .. }) => 0,
        Ok(Outcome { success: false, .. }) => 1,
        Err(e) if interrupt.is_asked() => {
            output::tell(&format!("interrupted: {e}\n{}", interrupt.farewell()));
            INTERRUPTED
        }
        Err(e) => {
            output::tell(&format!("error: {e}"));
            arguments.verb.failure()
        }
    }
}
