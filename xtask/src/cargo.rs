//! Calls of cargo: the one that started this program, in the workspace, without colours in what is read back.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Result;

/// `cargo <arguments>` at the workspace root, not yet started.
pub fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root).env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs cargo and gives its exit status and output.
pub fn output(root: &Path, arguments: &[&str]) -> Result<Output> {
    command(root, arguments).output().map_err(|e| format!("cannot start cargo {}: {e}", arguments.join(" ")))
}

/// The output streams of a finished command as text, one after the other.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).join("\n")
}

/// Where cargo builds.
pub fn build_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
