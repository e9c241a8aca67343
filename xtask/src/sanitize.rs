//! `cargo xtask sanitize`: the two crates with `unsafe` code under tools that see what tests cannot: Miri, which
//! interprets the program and refuses undefined behaviour, AddressSanitizer, which watches every access of the vector rows,
//! and ThreadSanitizer, which watches the threads of a pool.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::fuzz::cargo_nightly;
use crate::{Result, cargo};

/// One tool on some tests.
struct Watched {
    name: &'static str,
    /// Flags of the compiler, or of Miri.
    flags: (&'static str, &'static str),
    arguments: &'static [&'static str],
    /// Every so manieth case of the kernels' tests.
    sample: &'static str,
}

/// Miri interprets another kind of machine, for which there are only scalar rows and no assembler, which it cannot read.
const MIRI: (&str, &str) = ("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-env-forward=LOWBIT_SAMPLE");
const MIRI_TARGET: &str = "aarch64-unknown-linux-gnu";
const HOST: &str = "x86_64-unknown-linux-gnu";

static WATCHED: &[Watched] = &[
    Watched {
        name: "Miri, kernels",
        flags: MIRI,
        arguments: &["miri", "test", "--target", MIRI_TARGET, "-p", "lowbit-kernels", "--test", "exact"],
        sample: "200",
    },
    Watched {
        name: "Miri, runtime",
        flags: MIRI,
        arguments: &[
            "miri",
            "test",
            "--target",
            MIRI_TARGET,
            "-p",
            "lowbit-runtime",
            "--lib",
            "--",
            "pool::",
            "memory::",
            "point::",
        ],
        sample: "1",
    },
    Watched {
        name: "AddressSanitizer, kernels and runtime",
        flags: ("RUSTFLAGS", "-Zsanitizer=address"),
        arguments: &["test", "--target", HOST, "-p", "lowbit-kernels", "-p", "lowbit-runtime", "--tests"],
        sample: "1",
    },
    Watched {
        name: "ThreadSanitizer, runtime",
        flags: ("RUSTFLAGS", "-Zsanitizer=thread"),
        arguments: &[
            "test",
            "-Zbuild-std",
            "--target",
            HOST,
            "-p",
            "lowbit-runtime",
            "--lib",
            "--test",
            "sessions",
            "--",
            "pool::",
            "session",
        ],
        sample: "1",
    },
];

/// Runs all of them; true if none found anything.
pub fn run(root: &Path) -> Result<bool> {
    ready(root)?;
    let mut told = Vec::new();
    for watched in WATCHED {
        println!("sanitize: {}", watched.name);
        let start = Instant::now();
        let mut command = cargo_nightly(root, watched.arguments);
        command.env(watched.flags.0, watched.flags.1).env("LOWBIT_SAMPLE", watched.sample);
        // What is built in another way lies elsewhere, or everything would be built again and again.
        command.env("CARGO_TARGET_DIR", cargo::build_folder(root).join("sanitize"));
        let status = command.status().map_err(|e| format!("cannot start cargo: {e}"))?;
        told.push((status.success(), watched.name, start.elapsed().as_secs()));
    }
    for (passed, name, seconds) in &told {
        println!("{name}: {} in {seconds} s", if *passed { "passed" } else { "FAILED" });
    }
    Ok(told.iter().all(|(passed, ..)| *passed))
}

fn ready(root: &Path) -> Result<()> {
    let has = |mut command: Command| command.output().is_ok_and(|o| o.status.success());
    if !has(cargo_nightly(root, &["--version"])) {
        return Err("sanitizers need a nightly toolchain: rustup toolchain install nightly".into());
    }
    if !has(cargo_nightly(root, &["miri", "--version"])) {
        return Err("Miri is missing: rustup component add --toolchain nightly miri rust-src".into());
    }
    Ok(())
}
