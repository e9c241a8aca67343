//! What a user waits for before the first result, and what it takes: quantizing, loading, memory, the program file.
//!
//! These are figures of whole processes, in rounds that interleave them with the same work of other tools.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::machine::Machine;
use super::peers::{Case, Peers, median_of, models_by_name, peak_of};
use super::{Bench, PERFORMANCE, Table, output};
use crate::Result;

/// What is measured, each part by itself.
static PARTS: &[(&str, Part)] =
    &[("quantize", quantize), ("first", first_result), ("memory", memory), ("size", program_file)];

type Part = fn(&Subject, &mut Table) -> Result<()>;

/// What the parts measure with.
struct Subject {
    bench: Bench,
    peers: Peers,
}

/// The network that is quantized, and whose memory is told.
const NETWORK: &str = "resnet18";
/// The networks whose first result is timed.
const FIRST: &[&str] = &[NETWORK, "resnet8_tiny"];
/// Samples that are calibrated with.
const SAMPLES: usize = 100;
/// The ways to quantize: what the table calls them, and what `lowbit quantize` is told.
const RECIPES: &[(&str, &[&str])] = &[
    ("lowbit minmax, ranges alone", &["input.observer=minmax", ALONE[0], ALONE[1]]),
    ("lowbit percentile, ranges alone", &["input.observer=percentile", ALONE[0], ALONE[1]]),
    ("lowbit entropy, ranges alone", &["input.observer=entropy", ALONE[0], ALONE[1]]),
    ("lowbit mse, ranges alone", &["input.observer=mse", ALONE[0], ALONE[1]]),
    ("lowbit, equalized and corrected too", &[]),
];
/// Ranges and nothing else, as other tools find them.
const ALONE: [&str; 2] = ["equalize=false", "refinements=[]"];

/// Time and memory of every part, or of those that are named.
pub fn start(root: &Path, names: &[&str]) -> Result<()> {
    let known = |name: &&&str| PARTS.iter().any(|(part, _)| part == *name);
    if let Some(unknown) = names.iter().find(|n| !known(n)) {
        let all: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("no part is named {unknown}; there are {}", all.join(", ")));
    }
    let bench = Bench::new(root)?;
    let subject = Subject { peers: Peers::new(root, &bench)?, bench };
    let machine = Machine::here(root, &subject.bench)?;
    let order = order();
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    for (name, part) in PARTS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        eprintln!("{name}");
        let mut table = Table::new("start", &["what", "program", "ms", "MB"]);
        part(&subject, &mut table)?;
        // Part by part: what is measured stays, whatever becomes of the rest.
        table.update(root, PERFORMANCE, &machine, &order)?;
    }
    Ok(())
}

/// What the rows of all parts are about, in the order of the table.
fn order() -> Vec<String> {
    let first = FIRST.iter().map(|network| first_result_of(network));
    [quantizing()].into_iter().chain(first).chain([loading(), PROGRAM_FILE.into()]).collect()
}

fn quantizing() -> String {
    format!("quantizing {NETWORK} with {SAMPLES} samples")
}

fn first_result_of(network: &str) -> String {
    format!("first result of {network}")
}

fn loading() -> String {
    format!("loading {NETWORK} and running it once")
}

const PROGRAM_FILE: &str = "program file, stripped";

/// The whole process of quantizing a network on two threads.
fn quantize(s: &Subject, table: &mut Table) -> Result<()> {
    let float = s.peers.float_by_name(&s.bench, NETWORK)?;
    let data = s.samples(&float, SAMPLES)?;
    let ours = |(name, choices): &(&str, &[&str])| {
        let mut command = words(&[&s.bench.lowbit, Path::new("quantize"), &float, Path::new("--data"), &data]);
        let out = s.bench.work.join(format!("{NETWORK}.start.onnx"));
        command.extend(words(&[Path::new("-o"), &out]));
        command.extend(["--threads", "2", "--no-report"].map(String::from));
        command.extend(choices.iter().flat_map(|choice| ["--set".to_string(), choice.to_string()]));
        (name.to_string(), command)
    };
    let theirs = |(name, tool, flags): (&str, &str, &[&str])| {
        let out = s.bench.work.join(format!("{NETWORK}.start.{tool}.{}", if tool == "nncf" { "xml" } else { "onnx" }));
        let mut command = s.peers.script("quantize.py");
        command.push(tool.into());
        command.extend(words(&[&float, &out, Path::new("--samples"), &data]));
        command.extend(flags.iter().map(|flag| flag.to_string()));
        (name.to_string(), command)
    };
    let others: [(&str, &str, &[&str]); 3] = [
        ("ONNX Runtime minmax", "onnxruntime", &["--method", "minmax"]),
        ("ONNX Runtime entropy", "onnxruntime", &["--method", "entropy"]),
        ("NNCF", "nncf", &[]),
    ];
    let cases: Vec<_> = RECIPES.iter().map(ours).chain(others.map(theirs)).collect();
    rows(table, &quantizing(), &cases, &s.processes(&cases)?);
    Ok(())
}

/// From the file to the first result, in a process that is already up.
fn first_result(s: &Subject, table: &mut Table) -> Result<()> {
    for network in FIRST {
        let command = |case: Case| {
            let command = match case.runtime {
                "lowbit" => {
                    let mut command = words(&[&s.bench.lowbit, Path::new("bench"), &case.model]);
                    command.extend(["--threads", "2", "--seconds", "0.01", "--json"].map(String::from));
                    command
                }
                runtime => s.first(runtime, &case.model),
            };
            (case.name.to_string(), command)
        };
        let cases: Vec<_> = s.integer_models(network)?.into_iter().map(command).collect();
        let found = s.peers.rounds_with(&cases, json!({"time": "first_ms"}))?;
        rows(table, &first_result_of(network), &cases, &found);
    }
    Ok(())
}

/// The memory of a process that loads a network and runs it once.
fn memory(s: &Subject, table: &mut Table) -> Result<()> {
    let sample = s.samples(&s.peers.float_by_name(&s.bench, NETWORK)?, 1)?;
    let command = |case: Case| match case.runtime {
        "lowbit" => {
            let out = s.bench.work.join("start.out");
            let mut command = words(&[&s.bench.lowbit, Path::new("run"), &case.model, Path::new("--input"), &sample]);
            command.extend(words(&[Path::new("-o"), &out]));
            command.extend(["--threads", "2"].map(String::from));
            (case.name.to_string(), command)
        }
        runtime => (format!("{}, with Python", case.name), s.first(runtime, &case.model)),
    };
    let cases: Vec<_> = s.integer_models(NETWORK)?.into_iter().map(command).collect();
    rows(table, &loading(), &cases, &s.processes(&cases)?);
    Ok(())
}

/// The size of the program file without what is for debuggers.
fn program_file(s: &Subject, table: &mut Table) -> Result<()> {
    let stripped = s.bench.work.join("lowbit.stripped");
    output(Command::new("strip").arg("-o").arg(&stripped).arg(&s.bench.lowbit))?;
    let bytes = fs::metadata(&stripped).map_err(|e| format!("{}: {e}", stripped.display()))?.len();
    table.row(&[PROGRAM_FILE.into(), "lowbit".into(), "-".into(), format!("{:.1}", bytes as f64 / 1e6)]);
    Ok(())
}

impl Subject {
    /// So many samples of seeded noise for a model of one input, in one file.
    fn samples(&self, model: &Path, count: usize) -> Result<PathBuf> {
        let folder = self.bench.work.join(format!("{NETWORK}.noise.{count}"));
        let mut command = Command::new(&self.bench.lowbit);
        command.arg("run").arg(model).args(["--data", "random", "--samples", &count.to_string(), "-o"]).arg(&folder);
        let found = self.bench.json(&mut command)?;
        let file = found["inputs"][0]["file"].as_str();
        file.map(PathBuf::from).ok_or_else(|| format!("no input was written: {found}"))
    }

    /// The integer models of a network, each for its runtime, that are loaded from a file.
    fn integer_models(&self, network: &str) -> Result<Vec<Case>> {
        let models = models_by_name(&self.bench, &self.peers, network)?.into_iter();
        Ok(models.filter(|m| m.name.ends_with(" int8") && m.runtime != "litert").collect())
    }

    /// The command that loads and runs a model once in another runtime.
    fn first(&self, runtime: &str, model: &Path) -> Vec<String> {
        let mut command = self.peers.script("time.py");
        command.extend([runtime.to_string(), model.display().to_string()]);
        command.extend(["--threads", "2", "--first"].map(String::from));
        command
    }

    /// Time and memory of the processes of these commands. All count: they take so long that what others do meanwhile is
    /// much the same for all.
    fn processes(&self, cases: &[(String, Vec<String>)]) -> Result<Value> {
        let wrap = |(name, command): &(String, Vec<String>)| {
            (name.clone(), self.peers.script("process.py").into_iter().chain(command.iter().cloned()).collect())
        };
        self.peers.rounds_with(&cases.iter().map(wrap).collect::<Vec<_>>(), json!({"foreign": null}))
    }
}

/// A row for every case.
fn rows(table: &mut Table, what: &str, cases: &[(String, Vec<String>)], found: &Value) {
    for (name, _) in cases {
        let case = &found[name];
        if let Some(why) = case["error"].as_str() {
            eprintln!("{what}: {name}: {why}");
        }
        let told = |figure: Option<f64>| figure.map_or("-".into(), |x| format!("{x:.1}"));
        table.row(&[what.into(), name.clone(), told(median_of(case)), told(peak_of(case))]);
    }
}

fn words(of: &[&Path]) -> Vec<String> {
    of.iter().map(|word| word.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_medians_and_a_dash_for_what_was_not_found() {
        let cases = ["lowbit", "other", "broken"].map(|name| (name.to_string(), Vec::new()));
        let found = json!({
            "lowbit": {"by_round": {"0": 3.04, "1": 1.0, "2": 9.0}, "peaks": {"0": 46.94, "1": 46.9, "2": 47.5}},
            "other": {"by_round": {"1": 12.0}, "peaks": {}},
            "broken": {"by_round": {}, "peaks": {}, "error": "no such file"},
        });
        let mut table = Table::new("start", &["what", "program", "ms", "MB"]);
        rows(&mut table, &loading(), &cases, &found);
        let what = "loading resnet18 and running it once";
        let told = |cells: &str| format!("| {what} | {cells} |");
        assert_eq!(table.rows(), ["lowbit | 3.0 | 46.9", "other | 12.0 | -", "broken | - | -"].map(told));
    }

    #[test]
    fn every_row_of_the_page_has_its_place_in_the_order() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
        let page = fs::read_to_string(root.join(PERFORMANCE)).unwrap();
        let order = order();
        let place = page.split("<!-- start -->").nth(1).and_then(|rest| rest.split("<!-- /start -->").next()).unwrap();
        let rows = place.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
        let unknown: Vec<&str> =
            rows.filter(|row| !order.iter().any(|o| row.starts_with(&format!("| {o} |")))).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
