//! Time beside other runtimes, each with its own quantizer, in the same rounds.
//!
//! The other tools come from their registry at pinned versions, into an environment of their own below the build folder.
//! Every case runs in a process of its own; `peers/rounds.py` interleaves them and leaves out what was disturbed.

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::machine::Machine;
use super::{Bench, PERFORMANCE, Table, figure};
use crate::Result;
use crate::python::{environment, output};

/// A network that is timed.
struct Network {
    name: &'static str,
    source: Source,
    /// The same network for LiteRT, which reads no ONNX: a file of the folder `models/tflite`, or one that is made.
    tflite: Option<&'static str>,
}

/// Where a network comes from.
enum Source {
    /// Made by a script: an architecture with weights of seeded noise.
    Made,
    /// A trained model of the folder of models.
    Trained,
}

const fn made(name: &'static str, tflite: bool) -> Network {
    Network { name, source: Source::Made, tflite: if tflite { Some(name) } else { None } }
}

const fn trained(name: &'static str, tflite: Option<&'static str>) -> Network {
    Network { name, source: Source::Trained, tflite }
}

static NETWORKS: &[Network] = &[
    made("resnet18", true),
    made("resnet50", true),
    made("mobilenet_v1", true),
    made("mobilenet_v2", true),
    made("encoder6x384", false),
    made("resnet8_tiny", true),
    trained("mobilenetv2_1.0_224", None),
    trained("mobilenet_v1_0.75_224", None),
    trained("mobilenet_v1_0.25_224", None),
    trained("squeezenet1.1", None),
    trained("resnet20_cifar10", None),
    trained("resnet56_cifar10", None),
    trained("resnet8_cifar10", Some("pretrainedResnet_quant.tflite")),
    trained("mobilenetv1_0.25_vww96", Some("vww_96_int8.tflite")),
    trained("ad01_toycar_fc", Some("ad01_int8.tflite")),
    trained("str_ww_dscnn", Some("str_ww_ref_model.tflite")),
    trained("ultraface_rfb320", None),
    trained("yolox_nano_b", None),
];

/// Rounds, of which every second goes backwards.
const ROUNDS: usize = 5;
/// Seconds that a case is timed in a round.
const SECONDS: &str = "0.3";
/// The program that is compared.
const OURS: &str = "lowbit int8";
/// What the others are compared with.
const BASELINE: &str = "ONNX Runtime int8";

/// Threads and samples a run.
const LOADS: [(usize, usize); 4] = [(1, 1), (2, 1), (1, 8), (2, 8)];

/// What is needed to run the other tools.
pub struct Peers {
    python: PathBuf,
    converter: PathBuf,
    scripts: PathBuf,
    tools: PathBuf,
    work: PathBuf,
}

impl Peers {
    /// Makes the environments, unless they are there.
    pub fn new(root: &Path, bench: &Bench) -> Result<Peers> {
        let (scripts, work) = (root.join("xtask/peers"), bench.work.join("peers"));
        fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
        Ok(Peers {
            python: environment(&work.join("environment"), &scripts.join("environment.txt"))?,
            converter: environment(&work.join("converter"), &scripts.join("converter.txt"))?,
            tools: bench.shared.join("tools"),
            scripts,
            work,
        })
    }

    /// The float model of this name.
    pub fn float_by_name(&self, bench: &Bench, name: &str) -> Result<PathBuf> {
        let network = NETWORKS.iter().find(|n| n.name == name).ok_or_else(|| unknown(name))?;
        self.float(bench, network)
    }

    /// The float model.
    fn float(&self, bench: &Bench, network: &Network) -> Result<PathBuf> {
        let folder = match network.source {
            Source::Trained => bench.shared.join("models"),
            Source::Made => self.work.join("models"),
        };
        let path = folder.join(format!("{}.onnx", network.name));
        if !path.exists() {
            output(Command::new(&self.python).arg(self.tools.join("make_models.py")).arg(&folder).arg(network.name))?;
        }
        Ok(path)
    }

    /// The network for LiteRT, if there is one.
    fn tflite(&self, bench: &Bench, network: &Network) -> Result<Option<PathBuf>> {
        let Some(name) = network.tflite else { return Ok(None) };
        if let Source::Trained = network.source {
            return Ok(Some(bench.shared.join("models/tflite").join(name)));
        }
        let path = self.work.join(format!("tfl/{name}.int8.tflite"));
        if !path.exists() {
            let mut command = Command::new(&self.converter);
            output(command.current_dir(&self.work).arg(self.tools.join("make_tflite.py")).arg(name))?;
        }
        Ok(Some(path))
    }

    /// A model that another tool makes of the float one, unless it is there. A tool that cannot is said, and left out.
    fn quantized(&self, float: &Path, tool: &str, kind: &str, flags: &[&str]) -> Result<Option<PathBuf>> {
        let stem = float.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.work.join(format!("{stem}.{kind}"));
        if !path.exists() {
            let mut command = Command::new(&self.python);
            command.arg(self.scripts.join("quantize.py")).arg(tool).arg(float).arg(&path).args(flags);
            if let Err(why) = output(&mut command) {
                eprintln!("{stem}: {tool} makes no {kind}: {}", why.lines().last().unwrap_or_default());
                return Ok(None);
            }
        }
        Ok(Some(path))
    }

    /// The command that times a model in a runtime.
    fn time(&self, runtime: &str, model: &Path, (threads, batch): (usize, usize)) -> Vec<String> {
        let flags = ["--threads", &threads.to_string(), "--batch", &batch.to_string(), "--seconds", SECONDS];
        let words = self.script("time.py").into_iter().chain([runtime.into(), model.display().to_string()]);
        words.chain(flags.map(str::to_string)).collect()
    }

    /// The command that runs one of the scripts.
    pub fn script(&self, name: &str) -> Vec<String> {
        vec![self.python.display().to_string(), self.scripts.join(name).display().to_string()]
    }

    /// The figures of all cases over all rounds.
    pub fn rounds(&self, cases: &[(String, Vec<String>)]) -> Result<Value> {
        self.rounds_with(cases, json!({}))
    }

    /// As [`Self::rounds`], with what `peers/rounds.py` is told besides.
    pub fn rounds_with(&self, cases: &[(String, Vec<String>)], told: Value) -> Result<Value> {
        let cases: Vec<Value> = cases.iter().map(|(name, command)| json!({"name": name, "command": command})).collect();
        let mut command = Command::new(&self.python);
        let failed = |e: std::io::Error| format!("cannot run the rounds: {e}");
        let child = command.arg(self.scripts.join("rounds.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(failed)?;
        let mut text = json!({"rounds": ROUNDS, "cases": cases});
        for (key, value) in told.as_object().into_iter().flatten() {
            text[key] = value.clone();
        }
        let text = text.to_string();
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes())).map_err(failed)?;
        let out = child.wait_with_output().map_err(failed)?;
        let found: Value =
            serde_json::from_slice(&out.stdout).map_err(|e| format!("unreadable JSON from the rounds: {e}"))?;
        // A table shows nothing where a case has no figures; why is told here.
        for (name, case) in found.as_object().into_iter().flatten() {
            if let Some(why) = case["error"].as_str() {
                eprintln!("{name} did not run: {why}");
            }
        }
        Ok(found)
    }
}

/// The median of the rounds in which both cases were clean of the one's time relative to the other's.
pub fn ratio(case: &Value, baseline: &Value) -> Option<f64> {
    let base = baseline["by_round"].as_object()?;
    let pairs = case["by_round"].as_object()?.iter().filter_map(|(r, ms)| Some(ms.as_f64()? / base.get(r)?.as_f64()?));
    median(pairs.collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The networks in the order of the tables.
pub fn names_in_order() -> Vec<&'static str> {
    NETWORKS.iter().map(|n| n.name).collect()
}

fn unknown(name: &str) -> String {
    format!("no network is named {name}; there are {}", names_in_order().join(", "))
}

/// Refuses names that no network has, before anything is made for those that are known.
pub fn known(names: &[&str]) -> Result<()> {
    let is_known = |name: &str| NETWORKS.iter().any(|n| n.name == name);
    names.iter().find(|name| !is_known(name)).map_or(Ok(()), |name| Err(unknown(name)))
}

/// Times of every network in every runtime.
pub fn peers(root: &Path, names: &[&str]) -> Result<()> {
    known(names)?;
    let bench = Bench::new(root)?;
    let peers = Peers::new(root, &bench)?;
    let titles = [
        "network",
        "runtime",
        "1 thread",
        "least",
        "ratio",
        "% of peak",
        "2 threads",
        "least",
        "ratio",
        "batch 8, 1 thread",
        "batch 8, 2 threads",
    ];
    let machine = Machine::here(root, &bench)?;
    for network in NETWORKS.iter().filter(|n| names.is_empty() || names.contains(&n.name)) {
        let models = models(&bench, &peers, network)?;
        let at_peak = at_peak(&bench, &machine, &models)?;
        let mut table = Table::new("peers", &titles);
        let found: Vec<Value> = LOADS
            .iter()
            .map(|load| {
                eprintln!("{}: {} threads, batch {}", network.name, load.0, load.1);
                let command = |m: &Case| match m.runtime {
                    "lowbit" => ours(&bench, &m.model, *load),
                    runtime => peers.time(runtime, &m.model, *load),
                };
                // Floats have a time for comparison, of one sample a run.
                let timed = models.iter().filter(|m| load.1 == 1 || !m.is_float());
                peers.rounds(&timed.map(|m| (m.name.to_string(), command(m))).collect::<Vec<_>>())
            })
            .collect::<Result<_>>()?;
        for model in &models {
            let of = |load: usize| &found[load][model.name];
            let ms =
                |load: usize, images: f64| median_of(of(load)).map_or("-".into(), |ms| format!("{:.3}", ms / images));
            let least = |load: usize| figure(&of(load)["min_ms"], 3);
            let relative =
                |load: usize| ratio(of(load), &found[load][BASELINE]).map_or("-".into(), |r| format!("{r:.2}"));
            // Of a float program there are no products of bytes.
            let peak = match (median_of(of(0)), model.is_float()) {
                (Some(ms), false) => format!("{:.0}", 100.0 * at_peak / ms),
                (None, _) | (_, true) => "-".into(),
            };
            let name = network.name.to_string();
            let (one, two) = ([ms(0, 1.0), least(0), relative(0), peak], [ms(1, 1.0), least(1), relative(1)]);
            let cells = one.into_iter().chain(two).chain([ms(2, 8.0), ms(3, 8.0)]);
            table.row(&[name, model.name.into()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        // Network by network: what is measured stays, whatever becomes of the rest.
        table.update(root, PERFORMANCE, &machine, &names_in_order())?;
    }
    Ok(())
}

/// The instruction set whose products of bytes are the peak, where a machine has it.
const PEAK: &str = "avx512vnni";

/// The milliseconds that a network's multiply-accumulates would take as nothing but products of bytes on one core, by
/// [`PEAK`], or by the best instruction set of a machine that lacks it.
fn at_peak(bench: &Bench, machine: &Machine, models: &[Case]) -> Result<f64> {
    let integer = models.iter().find(|m| m.name == OURS).ok_or("lowbit made no model")?;
    let mut command = Command::new(&bench.lowbit);
    command.arg("bench").arg(&integer.model).args(["--threads", "1", "--seconds", "0.05"]);
    if machine.has(PEAK) {
        command.args(["--isa", PEAK]);
    }
    let found = bench.json(&mut command)?;
    let number = |name: &str| found[name].as_f64().ok_or_else(|| format!("no {name} in {found}"));
    Ok(number("macs")? / number("peak_gmacs")? / 1e6)
}

/// The median of a case's clean rounds.
pub fn median_of(case: &Value) -> Option<f64> {
    median_by_round(&case["by_round"])
}

/// The median of what a case's peak memory was in the same rounds, in MB.
pub fn peak_of(case: &Value) -> Option<f64> {
    median_by_round(&case["peaks"])
}

fn median_by_round(figures: &Value) -> Option<f64> {
    let rounds = figures.as_object().into_iter().flatten();
    median(rounds.filter_map(|(_, figure)| figure.as_f64()).collect())
}

/// A model in a runtime.
pub struct Case {
    pub name: &'static str,
    pub runtime: &'static str,
    pub model: PathBuf,
}

impl Case {
    fn is_float(&self) -> bool {
        self.name.ends_with("f32")
    }
}

/// A network in every runtime that takes it.
pub fn models_by_name(bench: &Bench, peers: &Peers, name: &str) -> Result<Vec<Case>> {
    let network = NETWORKS.iter().find(|n| n.name == name).ok_or_else(|| unknown(name))?;
    models(bench, peers, network)
}

/// As [`models_by_name`], of a network.
fn models(bench: &Bench, peers: &Peers, network: &Network) -> Result<Vec<Case>> {
    eprintln!("{}: quantize", network.name);
    let float = peers.float(bench, network)?;
    let integer = peers.work.join(format!("{}.lowbit.onnx", network.name));
    let mut command = Command::new(&bench.lowbit);
    command.arg("quantize").arg(&float).args(["--data", "random", "--samples", "8", "--no-report", "-o"]).arg(&integer);
    output(&mut command)?;
    let attention: &[&str] = if network.name.starts_with("encoder") { &["--transformer"] } else { &[] };
    let found = [
        (OURS, "lowbit", Some(integer)),
        ("lowbit f32", "lowbit", Some(float.clone())),
        (BASELINE, "onnxruntime", peers.quantized(&float, "onnxruntime", "u8.onnx", &[])?),
        ("ONNX Runtime f32", "onnxruntime", Some(float.clone())),
        ("OpenVINO int8", "openvino", peers.quantized(&float, "nncf", "nncf.xml", attention)?),
        ("OpenVINO int8, ONNX Runtime's file", "openvino", peers.quantized(&float, "onnxruntime", "u8.onnx", &[])?),
        ("OpenVINO f32", "openvino", Some(float.clone())),
        ("LiteRT int8", "litert", peers.tflite(bench, network)?),
    ];
    Ok(found.into_iter().filter_map(|(name, runtime, model)| Some(Case { name, runtime, model: model? })).collect())
}

/// The command that times a model in lowbit.
fn ours(bench: &Bench, model: &Path, (threads, batch): (usize, usize)) -> Vec<String> {
    let words = [bench.lowbit.display().to_string(), "bench".into(), model.display().to_string()];
    let flags = ["--threads", &threads.to_string(), "--batch", &batch.to_string(), "--seconds", SECONDS, "--json"];
    words.into_iter().chain(flags.map(str::to_string)).collect()
}
