//! `cargo xtask aarch64`: the same bits on another kind of machine. The tests of arithmetic, kernels and the interpreter,
//! known digests and the operator suite on all executors are built for aarch64 and run by qemu.
//!
//! Nothing but qemu and the target's standard library is needed: the target is musl, which Rust brings along, linked by
//! the linker that Rust brings along.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::{Result, cargo};

const TARGET: &str = "aarch64-unknown-linux-musl";
const QEMU: [&str; 2] = ["qemu-aarch64", "qemu-aarch64-static"];

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Arithmetic, and a sample of the kernels' cases: what continuous integration has time for.
    Quick,
    /// The interpreter and all executors too.
    Usual,
    /// The same, with every case of the kernels.
    All,
}

/// The tests of a package, and the least extent that they belong to. Left out is what takes minutes under emulation and
/// shows what the digests show: functions that give the same bits are as near to the exact ones here as elsewhere.
const RUNS: &[(Extent, &str, &[&str])] = &[
    (Extent::Quick, "arithmetic", &["-p", "lowbit-arithmetic", "--test", "digests", "--test", "rows"]),
    (Extent::Quick, "kernels", &["-p", "lowbit-kernels", "--test", "exact"]),
    (Extent::Usual, "interpreter", &["-p", "lowbit-ir", "--lib", "--test", "reference", "--test", "verify"]),
    (Extent::Usual, "executors", &["-p", "lowbit", "--test", "executors"]),
];

/// Runs them; true if all pass. What is missing is an error that says how to get it.
pub fn run(root: &Path, extent: Extent) -> Result<bool> {
    let qemu = ready()?;
    let start = Instant::now();
    let mut passed = true;
    // Of the cases of the kernels' tests every so manieth runs.
    let sample = if extent == Extent::All { "1" } else { "8" };
    for (_, name, tests) in RUNS.iter().filter(|(least, ..)| *least == Extent::Quick || extent != Extent::Quick) {
        println!("aarch64: {name}");
        let mut command = cargo::command(root, &["test", "--offline", "--no-fail-fast", "--target", TARGET]);
        command.args(*tests).env("LOWBIT_SAMPLE", sample);
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", qemu);
        let status = command.status().map_err(|e| format!("cannot start cargo test: {e}"))?;
        passed &= status.success();
    }
    let verdict = if passed { "passed" } else { "FAILED" };
    println!("cargo xtask aarch64: {verdict} in {:.0} s, under {qemu}", start.elapsed().as_secs_f64());
    Ok(passed)
}

/// The emulator, if all that is needed is there.
fn ready() -> Result<&'static str> {
    let answers = |program: &&&str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let qemu = QEMU.iter().find(answers).copied();
    let sysroot = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let libraries = sysroot.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir());
    missing(qemu, libraries)
}

fn missing(qemu: Option<&'static str>, libraries: bool) -> Result<&'static str> {
    let mut lacks = Vec::new();
    if qemu.is_none() {
        lacks.push("qemu's user-mode emulator (apt-get install qemu-user)".to_owned());
    }
    if !libraries {
        lacks.push(format!("Rust's standard library for it (rustup target add {TARGET})"));
    }
    match (qemu, lacks.is_empty()) {
        (Some(qemu), true) => Ok(qemu),
        _ => Err(format!("the tests on aarch64 need {}", lacks.join(" and "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_how_to_get_it() {
        assert_eq!(missing(Some("qemu-aarch64"), true), Ok("qemu-aarch64"));
        let both = missing(None, false).unwrap_err();
        assert!(both.contains("apt-get install qemu-user") && both.contains("rustup target add"), "{both}");
        assert!(!missing(None, true).unwrap_err().contains("rustup"));
        assert!(!missing(Some("qemu-aarch64"), false).unwrap_err().contains("apt-get"));
    }
}
