//! `cargo xtask coverage`: which lines of the crates the fuzz targets' corpus and changes of it run, as the compiler counts
//! them.
//!
//! The figures go into the table of docs/reliability.md. What a library of the command line alone would run, or a device
//! of another kind, no target can reach.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::Table;
use crate::{Result, cargo, python};

/// The crates that targets feed with bytes, and what is theirs.
static CRATES: &[(&str, &str)] = &[
    ("arithmetic", "crates/arithmetic/src/"),
    ("ir", "crates/ir/src/"),
    ("frontend", "crates/frontend/src/"),
    ("quantize", "crates/quantize/src/"),
    ("compile", "crates/compile/src/"),
    ("kernels", "crates/kernels/src/"),
    ("runtime", "crates/runtime/src/"),
    ("lowbit", "src/"),
];

/// Runs every target with so many changes of its corpus, and writes what that covered.
pub fn run(root: &Path, changes: &str) -> Result<bool> {
    if changes.parse::<usize>().is_err() {
        return Err(format!("expected a number of changes, found `{changes}`"));
    }
    let tools = tools(root)?;
    let build = cargo::build_folder(root).join("coverage");
    let profiles = build.join("profiles");
    // What other runs left would count too.
    let _ = fs::remove_dir_all(&profiles);
    let test = ["test", "--package", "lowbit-fuzz", "--test", "corpus"];
    let test = |rest: &[&str]| {
        let mut command = cargo::command(root, &[&test[..], rest].concat());
        command.env("CARGO_TARGET_DIR", &build).env("RUSTFLAGS", "-C instrument-coverage");
        command.env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw")).env("LOWBIT_FUZZ", changes);
        command
    };
    let built = python::output(&mut test(&["--no-run", "--message-format", "json"]))?;
    let program = program(&built).ok_or("cargo built no test of the corpus")?;
    // What build scripts and macros did is nothing that a target ran.
    let _ = fs::remove_dir_all(&profiles);
    if !test(&["every", "--", "--nocapture"]).status().is_ok_and(|s| s.success()) {
        return Err("a target breaks on its corpus or a change of it".into());
    }
    let merged = build.join("merged.profdata");
    let files = fs::read_dir(&profiles).map_err(|e| format!("{}: {e}", profiles.display()))?;
    let files: Vec<PathBuf> = files.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let profdata = tools.join("llvm-profdata");
    python::output(Command::new(profdata).args(["merge", "-sparse", "-o"]).arg(&merged).args(files))?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "-summary-only", "-instr-profile"]).arg(&merged).arg(program);
    let told: Value =
        serde_json::from_slice(&python::output(&mut export)?).map_err(|e| format!("unreadable coverage: {e}"))?;
    let mut table = Table::new("coverage", &["crate", "lines", "covered", "%"]);
    for (name, lines, covered) in by_crate(root, &told) {
        let percent = 100.0 * covered as f64 / lines.max(1) as f64;
        table.row(&[name.to_string(), lines.to_string(), covered.to_string(), format!("{percent:.1}")]);
    }
    table.write(root, "docs/reliability.md", &[])?;
    Ok(true)
}

/// Lines in all and lines that ran, of every crate.
fn by_crate(root: &Path, told: &Value) -> Vec<(&'static str, u64, u64)> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for file in told["data"][0]["files"].as_array().into_iter().flatten() {
        let path = Path::new(file["filename"].as_str().unwrap_or_default());
        let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str) else { continue };
        let Some((_, folder)) = CRATES.iter().find(|(_, folder)| path.starts_with(folder)) else { continue };
        let lines = |key: &str| file["summary"]["lines"][key].as_u64().unwrap_or(0);
        let sum = sums.entry(folder).or_default();
        *sum = (sum.0 + lines("count"), sum.1 + lines("covered"));
    }
    CRATES.iter().filter_map(|(name, folder)| sums.get(folder).map(|(all, ran)| (*name, *all, *ran))).collect()
}

/// The program of a test that cargo says it built.
fn program(told: &[u8]) -> Option<PathBuf> {
    let lines = String::from_utf8_lossy(told);
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|m| m["target"]["name"] == "corpus");
    programs.find_map(|m| m["executable"].as_str().map(PathBuf::from))
}

/// The folder of LLVM's tools, which are of the compiler's own version.
fn tools(root: &Path) -> Result<PathBuf> {
    let asked = python::output(Command::new("rustc").args(["--print", "target-libdir"]).current_dir(root))?;
    let library = PathBuf::from(String::from_utf8_lossy(&asked).trim());
    let tools = library.parent().map(|folder| folder.join("bin")).unwrap_or_default();
    match tools.join(format!("llvm-cov{}", std::env::consts::EXE_SUFFIX)).is_file() {
        true => Ok(tools),
        false => Err("llvm-cov is missing; try: rustup component add llvm-tools".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_counted_by_crate() {
        let file = |name: &str, count: u64, covered: u64| json!({"filename": name, "summary": {"lines": {"count": count, "covered": covered}}});
        let files = [
            file("/a/crates/ir/src/lib.rs", 10, 4),
            file("/a/crates/ir/src/text/parse.rs", 5, 5),
            file("/a/src/model.rs", 8, 2),
            file("/a/crates/fuzz/src/lib.rs", 9, 9),
            file("/registry/bytes/src/lib.rs", 3, 3),
        ];
        let told = json!({"data": [{"files": files}]});
        assert_eq!(by_crate(Path::new("/a"), &told), [("ir", 15, 9), ("lowbit", 8, 2)]);
    }
}
