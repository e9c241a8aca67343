//! `cargo xtask fuzz`: the targets of `crates/fuzz` under libFuzzer, for a bounded time each.
//!
//! What a fuzzer finds that covers new code goes into the build folder, beside the committed corpus, and is begun with the
//! next time; what breaks is kept in `fuzz/artifacts` and named.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Result, cargo};

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Asked {
    seconds: u64,
    executions: Option<u64>,
    targets: Vec<String>,
}

/// Bytes that a target may have at a time, and that it may ask for at once, in MiB: less than a machine has, and far more
/// than the limit that targets give lowbit.
const MOST_MIB: [&str; 2] = ["-rss_limit_mb=4096", "-malloc_limit_mb=2560"];

/// Runs targets; true if nothing broke.
pub fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    let known = targets(root)?;
    if let ["list"] = arguments {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(true);
    }
    let asked = parse(arguments, &known)?;
    ready(root)?;
    let mut rows = Vec::new();
    for target in &asked.targets {
        rows.push(fuzz(root, target, &asked)?);
    }
    println!(
        "\n| target | executions | seconds | edges covered | inputs kept | |\n| --- | --- | --- | --- | --- | --- |"
    );
    rows.iter().for_each(|row| println!("{row}"));
    Ok(rows.iter().all(|row| row.passed))
}

fn parse(arguments: &[&str], known: &[String]) -> Result<Asked> {
    let mut asked = Asked { seconds: 60, executions: None, targets: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let number = |value: Option<&&str>| -> Result<u64> {
            let value = value.ok_or_else(|| format!("expected a number after {argument}"))?;
            value.parse().map_err(|_| format!("expected a number after {argument}, found `{value}`"))
        };
        match *argument {
            "--seconds" => asked.seconds = number(rest.next())?,
            "--executions" => asked.executions = Some(number(rest.next())?),
            name if known.iter().any(|k| k == name) => asked.targets.push(name.to_owned()),
            other => return Err(format!("expected one of the targets {}, found `{other}`", known.join(", "))),
        }
    }
    if asked.targets.is_empty() {
        asked.targets = known.to_vec();
    }
    Ok(asked)
}

/// The names of the targets: a file each.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn ready(root: &Path) -> Result<()> {
    let has = |arguments: &[&str]| cargo_nightly(root, arguments).output().is_ok_and(|o| o.status.success());
    let mut lacks = Vec::new();
    if !has(&["--version"]) {
        lacks.push("a nightly toolchain (rustup toolchain install nightly)");
    } else if !has(&["fuzz", "--version"]) {
        lacks.push("cargo-fuzz (cargo install cargo-fuzz --locked)");
    }
    match lacks.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "fuzzing needs {}; on any toolchain the corpus and changes of it are run by: LOWBIT_FUZZ=10000 cargo test -p lowbit-fuzz --release",
            lacks.join(" and ")
        )),
    }
}

/// `cargo +nightly`: the cargo that started this program is of another toolchain, and says so in the environment.
pub fn cargo_nightly(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").args(arguments).current_dir(root);
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTDOC"] {
        command.env_remove(name);
    }
    command.env("CARGO_TERM_COLOR", "never");
    command
}

/// What one target did.
#[derive(Debug, PartialEq)]
struct Row {
    target: String,
    executions: u64,
    seconds: u64,
    edges: u64,
    kept: u64,
    passed: bool,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Row { target, executions, seconds, edges, kept, passed } = self;
        let verdict = if *passed { "" } else { "BROKE: see fuzz/artifacts" };
        write!(f, "| {target} | {executions} | {seconds} | {edges} | {kept} | {verdict} |")
    }
}

fn fuzz(root: &Path, target: &str, asked: &Asked) -> Result<Row> {
    println!("fuzz: {target} for {} s", asked.seconds);
    // Apart from what is built for all else: it is built in another way.
    let build = cargo::build_folder(root).join("fuzz");
    let found = build.join("found").join(target);
    fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
    let corpus = root.join("fuzz/corpus").join(target);
    let dictionary = root.join("fuzz/dictionaries").join(format!("{target}.dict"));
    let mut command = cargo_nightly(root, &["fuzz", "run", target]);
    command.env("CARGO_TARGET_DIR", &build).arg(&found).arg(&corpus).arg("--").args(MOST_MIB).args([
        "-timeout=30",
        "-print_final_stats=1",
        "-max_len=16384",
    ]);
    command.arg(format!("-max_total_time={}", asked.seconds));
    command.args(asked.executions.map(|n| format!("-runs={n}")));
    command.args(dictionary.is_file().then(|| format!("-dict={}", dictionary.display())));
    let start = Instant::now();
    let output = command.output().map_err(|e| format!("cannot start cargo fuzz: {e}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let row = summary(target, &told, start.elapsed(), output.status.success());
    if !row.passed {
        println!(
            "{}",
            told.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    println!("{row}");
    Ok(row)
}

/// Reads what libFuzzer tells in the end.
fn summary(target: &str, told: &str, took: Duration, passed: bool) -> Row {
    let after = |line: &str, word: &str| -> Option<u64> {
        line.split_once(word)?.1.split_whitespace().next()?.split('/').next()?.parse().ok()
    };
    let last = |word: &str| told.lines().rev().find_map(|line| after(line, word));
    let executions = last("stat::number_of_executed_units:").or_else(|| {
        let pulse = told.lines().rev().find(|line| line.starts_with('#'))?;
        pulse.trim_start_matches('#').split_whitespace().next()?.parse().ok()
    });
    Row {
        target: target.to_owned(),
        executions: executions.unwrap_or(0),
        seconds: took.as_secs(),
        edges: last(" cov: ").unwrap_or(0),
        kept: last(" corp: ").unwrap_or(0),
        passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let known = ["npy".to_owned(), "onnx".to_owned()];
        let all = parse(&[], &known).unwrap();
        assert_eq!((all.seconds, all.executions, all.targets.len()), (60, None, 2));
        let one = parse(&["--seconds", "5", "npy", "--executions", "100"], &known).unwrap();
        assert_eq!(one, Asked { seconds: 5, executions: Some(100), targets: vec!["npy".into()] });
        assert!(parse(&["npz"], &known).unwrap_err().contains("npy, onnx"));
        assert!(parse(&["--seconds"], &known).unwrap_err().contains("a number after --seconds"));
        assert!(parse(&["--seconds", "x"], &known).unwrap_err().contains("found `x`"));
    }

    #[test]
    fn what_a_fuzzer_tells_is_read() {
        let told = "#2\tINITED cov: 12 ft: 13 corp: 1/1b\n#900\tNEW    cov: 345 ft: 900 corp: 27/1b exec/s: 0\n\
            #1000\tDONE   cov: 345 ft: 901 corp: 28/12Kb\nstat::number_of_executed_units: 1000\n";
        let row = summary("npy", told, Duration::from_secs(9), true);
        assert_eq!(row.to_string(), "| npy | 1000 | 9 | 345 | 28 |  |");
        let broken = summary("npy", "#77\tNEW cov: 3 ft: 1 corp: 2/1b\n==1== ERROR\n", Duration::ZERO, false);
        assert_eq!((broken.executions, broken.edges, broken.passed), (77, 3, false));
    }
}
