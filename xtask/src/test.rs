//! `cargo xtask test`: every test of the workspace, and a summary that can be read at a glance.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Result, cargo, python};

/// What the tests may take, the build included, on a machine with two cores.
const BUDGET: Duration = Duration::from_secs(25 * 60);

/// Tests of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `cargo test`.
    Rust,
    /// Those of the Python package.
    Python,
    /// Those of it that need packages of other tools.
    Peers,
}

/// What `cargo xtask test` runs.
pub const ALL: [Part; 2] = [Part::Rust, Part::Python];

/// Runs the tests of these parts; true if all pass.
pub fn run(root: &Path, parts: &[Part]) -> Result<bool> {
    let start = Instant::now();
    let shared = find_shared(env::var_os("LOWBIT_SHARED").map(PathBuf::from), root)?;
    println!("{}", describe(&shared));
    fetch_if_needed(root)?;
    let mut passed = true;
    let mut told = String::new();
    for part in parts {
        let (content, summary) = match part {
            Part::Rust => rust(root, &shared)?,
            Part::Python => (python::test(root, shared.folder())?, String::new()),
            Part::Peers => (python::test_peers(root, shared.folder())?, String::new()),
        };
        passed &= content;
        told += &summary;
        told += &format!("{part:?}: {}\n", if content { "passed" } else { "FAILED" });
    }
    print!("\n{told}");
    println!("{}", describe(&shared));
    let took = start.elapsed();
    let late = if took > BUDGET { " - MORE THAN THE 25 MINUTES IT MAY TAKE" } else { "" };
    println!("cargo xtask test: {} in {:.0} s{late}", if passed { "passed" } else { "FAILED" }, took.as_secs_f64());
    Ok(passed)
}

/// Runs Rust's tests; whether all pass, and a summary.
fn rust(root: &Path, shared: &Shared) -> Result<(bool, String)> {
    // One pipe for both streams keeps cargo's headers in front of the tests they announce.
    let (reader, writer) = std::io::pipe().map_err(|e| format!("cannot make a pipe: {e}"))?;
    let mut command = cargo::command(root, &["test", "--workspace", "--offline", "--no-fail-fast"]);
    command.stdout(writer.try_clone().map_err(|e| format!("cannot copy a pipe: {e}"))?).stderr(writer);
    match shared.folder() {
        Some(folder) => command.env("LOWBIT_SHARED", folder),
        None => command.env_remove("LOWBIT_SHARED"),
    };
    let mut child = command.spawn().map_err(|e| format!("cannot start cargo test: {e}"))?;
    // The command holds the writing end; reading ends when cargo's copies are closed too.
    drop(command);
    let mut summary = Summary::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(|e| format!("cannot read the output of cargo test: {e}"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.read(&line);
    }
    let status = child.wait().map_err(|e| format!("cargo test is gone: {e}"))?;

    Ok((status.success() && summary.passed() > 0, summary.describe()))
}

/// Where the real models are, which are not part of the project.
#[derive(Debug, PartialEq)]
enum Shared {
    /// The folder that the environment variable LOWBIT_SHARED names.
    Named(PathBuf),
    /// The folder `shared` beside the workspace.
    Beside(PathBuf),
    Absent,
}

impl Shared {
    fn folder(&self) -> Option<&Path> {
        match self {
            Shared::Named(folder) | Shared::Beside(folder) => Some(folder),
            Shared::Absent => None,
        }
    }
}

/// A folder that is named and not there is an error: tests that are silently skipped would pass for passed.
fn find_shared(named: Option<PathBuf>, root: &Path) -> Result<Shared> {
    let is_shared = |folder: &Path| folder.join("models").is_dir();
    if let Some(folder) = named {
        // Tests run in the folders of their crates, so a relative path is made absolute here.
        return match folder.canonicalize() {
            Ok(folder) if is_shared(&folder) => Ok(Shared::Named(folder)),
            _ => Err(format!("LOWBIT_SHARED is `{}`, which has no folder `models` in it", folder.display())),
        };
    }
    match root.join("../shared").canonicalize() {
        Ok(folder) if is_shared(&folder) => Ok(Shared::Beside(folder)),
        _ => Ok(Shared::Absent),
    }
}

fn describe(shared: &Shared) -> String {
    match shared {
        Shared::Named(folder) => format!("real models: in {}, as LOWBIT_SHARED says", folder.display()),
        Shared::Beside(folder) => format!("real models: in {}, beside the workspace", folder.display()),
        Shared::Absent => "real models: NONE FOUND, tests on real models ARE SKIPPED \
            (LOWBIT_SHARED is not set, and ../shared/models is not there)"
            .to_owned(),
    }
}

/// On a machine that never built the project the sources of dependencies are fetched, once; the tests are offline.
fn fetch_if_needed(root: &Path) -> Result<()> {
    // Without the platform, cargo would ask for what only other platforms need.
    let platform = format!("--target={}", host(root)?);
    if cargo::output(root, &["fetch", "--offline", &platform])?.status.success() {
        return Ok(());
    }
    println!("fetching the sources of dependencies, which are not all on this machine: cargo fetch --locked");
    let fetched = cargo::output(root, &["fetch", "--locked", &platform])?;
    if !fetched.status.success() {
        println!("{}\nThat failed; the tests are tried nevertheless.", cargo::text(&fetched).trim());
    }
    Ok(())
}

fn host(root: &Path) -> Result<String> {
    let text = cargo::text(&cargo::output(root, &["--version", "--verbose"])?);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`cargo --version --verbose` does not say the host".to_owned())
}

/// What `cargo test` said, read line by line.
#[derive(Default)]
struct Summary {
    suites: Vec<Suite>,
}

/// One test program.
#[derive(Debug, Default, PartialEq)]
struct Suite {
    name: String,
    failed_tests: Vec<String>,
    /// Nothing if the program ended without a result.
    result: Option<Counts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
    seconds: f64,
}

impl Summary {
    fn read(&mut self, line: &str) {
        if let Some(name) = suite_name(line) {
            self.suites.push(Suite { name, ..Suite::default() });
        }
        let Some(suite) = self.suites.last_mut() else { return };
        if let Some(counts) = counts(line) {
            // A suite of documentation tests may print several results.
            let sum = suite.result.unwrap_or_default();
            suite.result = Some(Counts {
                passed: sum.passed + counts.passed,
                failed: sum.failed + counts.failed,
                ignored: sum.ignored + counts.ignored,
                seconds: sum.seconds + counts.seconds,
            });
        } else if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            suite.failed_tests.push(test.to_owned());
        }
    }

    fn passed(&self) -> usize {
        self.suites.iter().filter_map(|suite| Some(suite.result?.passed)).sum()
    }

    /// The slowest suites, then what failed, then the sums.
    fn describe(&self) -> String {
        let finished = || self.suites.iter().filter_map(|suite| Some((suite, suite.result?)));
        let mut slow: Vec<(&Suite, Counts)> = finished().filter(|(_, counts)| counts.seconds >= 1.0).collect();
        slow.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        let mut text = String::new();
        for (suite, counts) in slow.iter().take(8) {
            text += &format!("{:7.1} s  {} ({} tests)\n", counts.seconds, suite.name, counts.passed + counts.failed);
        }
        for suite in &self.suites {
            for test in &suite.failed_tests {
                text += &format!("FAILED: {}: {test}\n", suite.name);
            }
            if suite.result.is_none() {
                text += &format!("NO RESULT: {}\n", suite.name);
            }
        }
        let sum = |count: fn(Counts) -> usize| finished().map(|(_, counts)| count(counts)).sum::<usize>();
        let (failed, ignored) = (sum(|counts| counts.failed), sum(|counts| counts.ignored));
        let suites = self.suites.len();
        text + &format!("{} tests passed, {failed} failed, {ignored} ignored, in {suites} suites\n", self.passed())
    }
}

/// `Running tests/a.rs (target/debug/deps/a-0123)` or `Doc-tests a`
fn suite_name(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name}: doc tests"));
    }
    let (source, program) = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let program = Path::new(program).file_stem()?.to_str()?;
    let program = program.rsplit_once('-').map_or(program, |(name, _hash)| name);
    Some(format!("{program}: {}", source.strip_prefix("unittests ").unwrap_or(source)))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
fn counts(line: &str) -> Option<Counts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let part = |name: &str| counts.split("; ").find_map(|part| part.strip_suffix(name)?.trim().parse().ok());
    let seconds = counts.rsplit_once("finished in ").and_then(|(_, time)| time.strip_suffix('s')?.parse().ok());
    Some(Counts {
        passed: part("passed")?,
        failed: part("failed")?,
        ignored: part("ignored")?,
        seconds: seconds.unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OUTPUT: &str = "
   Compiling lowbit-ir v0.1.0
     Running unittests src/lib.rs (target/debug/deps/lowbit_ir-0e5d5d4b3a)
running 3 tests
test graph::tests::one ... ok
test graph::tests::two ... FAILED
test graph::tests::three ... ignored
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.50s
     Running tests/crash.rs (target/debug/deps/crash-77)
error: test failed, to rerun pass `-p lowbit-ir --test crash`
   Doc-tests lowbit_ir
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s
";

    #[test]
    fn the_output_of_cargo_test_is_summed_up() {
        let mut summary = Summary::default();
        OUTPUT.lines().for_each(|line| summary.read(line));
        assert_eq!(summary.passed(), 6);
        assert_eq!(
            summary.describe(),
            "    2.5 s  lowbit_ir: src/lib.rs (2 tests)
FAILED: lowbit_ir: src/lib.rs: graph::tests::two
NO RESULT: crash: tests/crash.rs
6 tests passed, 1 failed, 1 ignored, in 3 suites
"
        );
    }

    #[test]
    fn the_shared_folder_is_named_or_beside_or_absent() {
        let outer = env::temp_dir().join(format!("lowbit-xtask-{}", std::process::id()));
        let (root, beside, named) = (outer.join("project"), outer.join("shared"), outer.join("named"));
        for folder in [&root, &named.join("models")] {
            fs::create_dir_all(folder).expect("the folder can be made");
        }
        let absent = find_shared(None, &root);
        fs::create_dir_all(beside.join("models")).expect("the folder can be made");
        let found = find_shared(None, &root);
        let preferred = find_shared(Some(named.clone()), &root);
        let wrong = find_shared(Some(root.clone()), &root);
        let canonical = |path: PathBuf| path.canonicalize().expect("it is there");
        let (beside, named) = (canonical(beside), canonical(named));
        fs::remove_dir_all(&outer).expect("the folder can be removed");

        assert_eq!(absent, Ok(Shared::Absent));
        assert!(describe(&Shared::Absent).contains("SKIPPED"));
        assert_eq!(found, Ok(Shared::Beside(beside)));
        assert_eq!(preferred, Ok(Shared::Named(named)));
        assert!(wrong.is_err());
    }
}
