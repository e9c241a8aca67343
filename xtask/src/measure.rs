//! Measured tables of docs/accuracy.md and the README: real models, from the folder that `LOWBIT_SHARED` names.
//!
//! Every figure comes out of the command line that users have, `lowbit quantize`, `evaluate`, `verify` and `run`, with
//! default settings; this room only calls it, model by model, and writes what it says between the markers of the page.

use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo};

/// A model with its data and the flags that preprocess it.
struct Subject {
    model: &'static str,
    calibration: &'static str,
    test: &'static str,
    flags: &'static [&'static str],
    /// Samples of the test set, evenly spread; 0 for all.
    samples: usize,
    /// Whether the test set's labels are this model's.
    labelled: bool,
}

const CROP: &[&str] = &["--preprocess", "imagenet", "--resize", "none", "--crop", "224"];
const INCEPTION: &[&str] = &["--preprocess", "inception", "--resize", "none", "--crop", "224"];
const TORCH_32: &[&str] = &["--preprocess", "imagenet", "--resize", "none", "--crop", "none"];
const IMAGENET: [&str; 2] = ["images/imagenet-calibration", "images/imagenet-val"];
const CIFAR: [&str; 2] = ["images/cifar10/calibration", "images/cifar10/test"];

const fn subject(
    model: &'static str,
    data: [&'static str; 2],
    flags: &'static [&'static str],
    samples: usize,
) -> Subject {
    Subject { model, calibration: data[0], test: data[1], flags, samples, labelled: true }
}

/// The classification models. MNIST has no training images here: its first 1,000 test images calibrate and the other
/// 9,000 are evaluated. The person detector has no data of its own: photographs tell its agreement with float.
static SUBJECTS: &[Subject] = &[
    subject("mobilenetv2_1.0_224", IMAGENET, CROP, 0),
    subject("mobilenet_v1_0.75_224", IMAGENET, INCEPTION, 0),
    subject("mobilenet_v1_0.25_224", IMAGENET, INCEPTION, 0),
    subject("squeezenet1.1", IMAGENET, CROP, 0),
    subject("resnet20_cifar10", CIFAR, TORCH_32, 5000),
    subject("resnet56_cifar10", CIFAR, TORCH_32, 5000),
    subject("resnet8_cifar10", CIFAR, &["--preprocess", "raw"], 5000),
    subject("mnist-7", ["mnist/calibration", "mnist/test"], &["--preprocess", "raw"], 0),
    Subject {
        model: "mobilenetv1_0.25_vww96",
        calibration: IMAGENET[0],
        test: IMAGENET[1],
        flags: &["--preprocess", "unit", "--resize", "96", "--crop", "96"],
        samples: 0,
        labelled: false,
    },
];

/// The page of accuracy.
const ACCURACY: &str = "docs/accuracy.md";

/// The page of latency.
const README: &str = "README.md";

/// What is needed for every measurement.
struct Bench {
    root: PathBuf,
    shared: PathBuf,
    lowbit: PathBuf,
    work: PathBuf,
}

impl Bench {
    fn new(root: &Path) -> Result<Bench> {
        let shared = shared(root)?;
        let build = ["build", "--release", "--package", "lowbit-cli"];
        if !cargo::command(root, &build).status().is_ok_and(|s| s.success()) {
            return Err("the command line does not build".into());
        }
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let lowbit = target.join("release").join(format!("lowbit{}", env::consts::EXE_SUFFIX));
        let work = target.join("measure");
        fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
        Ok(Bench { root: root.to_path_buf(), shared, lowbit, work })
    }

    fn float(&self, s: &Subject) -> PathBuf {
        self.shared.join("models").join(format!("{}.onnx", s.model))
    }

    fn integer(&self, s: &Subject) -> PathBuf {
        self.work.join(format!("{}.int8.onnx", s.model))
    }

    fn data(&self, name: &str) -> Result<PathBuf> {
        match name.strip_prefix("mnist/") {
            Some(part) => self.mnist(part),
            None => Ok(self.shared.join(name)),
        }
    }

    /// One half of the MNIST test set as an idx pair of its own.
    fn mnist(&self, part: &str) -> Result<PathBuf> {
        let folder = self.work.join("mnist").join(part);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let (first, count) = if part == "calibration" { (0, 1000) } else { (1000, 9000) };
        for (name, header, item) in [("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)] {
            let packed = self.shared.join(format!("images/mnist/t10k-{name}-ubyte.gz"));
            let bytes = output(Command::new("gzip").arg("-dc").arg(&packed))?;
            let whole = bytes.get(header + first * item..header + (first + count) * item);
            let (Some(head), Some(items)) = (bytes.get(..header), whole) else {
                return Err(format!("{} is shorter than expected", packed.display()));
            };
            let mut part = head.to_vec();
            part[4..8].copy_from_slice(&(count as u32).to_be_bytes());
            part.extend_from_slice(items);
            fs::write(folder.join(format!("t10k-{name}-ubyte")), part).map_err(|e| e.to_string())?;
        }
        Ok(folder)
    }

    /// Makes the integer model, unless it is there and newer than the program that makes it.
    fn quantize(&self, s: &Subject) -> Result<()> {
        self.quantize_by(s, "", &self.integer(s))
    }

    /// As [`Self::quantize`], by the choices of a configuration file's text.
    fn quantize_by(&self, s: &Subject, choices: &str, path: &Path) -> Result<()> {
        let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        if time(path).zip(time(&self.lowbit)).is_some_and(|(made, maker)| made > maker) {
            return Ok(());
        }
        let config = path.with_extension("toml");
        fs::write(&config, choices).map_err(|e| format!("{}: {e}", config.display()))?;
        let mut command = Command::new(&self.lowbit);
        command.arg("quantize").arg(self.float(s)).arg("--data").arg(self.data(s.calibration)?);
        command.args(s.flags).arg("--no-report").arg("--config").arg(config).arg("-o").arg(path);
        output(&mut command).map(|_| ())
    }

    /// The name of a model's first layer.
    fn first_layer(&self, s: &Subject) -> Result<String> {
        let mut command = Command::new(&self.lowbit);
        command.arg("quantize").arg(self.float(s)).arg("--data").arg(self.data(s.calibration)?);
        command.args(s.flags).args(["--no-report", "--samples", "1", "-o"]).arg(self.work.join("first.onnx"));
        let found = self.json(&mut command)?;
        let name = found["layers"][0]["node"].as_str();
        name.map(str::to_string).ok_or_else(|| format!("no layers in {found}"))
    }

    /// Choices that leave a model's averages float: other tools' tables quantize what layers and sums read, and averages
    /// of values that were cut off first are others.
    fn float_averages(&self, s: &Subject) -> Result<String> {
        let mut command = Command::new(&self.lowbit);
        command.arg("quantize").arg(self.float(s)).arg("--data").arg(self.data(s.calibration)?);
        let found = self.json(command.args(s.flags).args(["--samples", "1", "--stop-after", "global-pools"]))?;
        let graph = found["graph"].as_str().unwrap_or_default();
        let averages = ["GlobalAvgPool", "AvgPool"].into_iter().filter(|op| graph.contains(&format!("= {op}(")));
        Ok(averages.map(|op| format!("[op.{op}]\nskip = true\n")).collect())
    }

    /// What `lowbit evaluate` says of an integer model beside the float one.
    fn evaluate(&self, s: &Subject, integer: &Path) -> Result<Value> {
        let mut command = Command::new(&self.lowbit);
        command.arg("evaluate").arg(integer).arg("--data").arg(self.data(s.test)?);
        command.arg("--reference").arg(self.float(s));
        if !s.labelled {
            command.arg("--no-labels");
        }
        if s.samples > 0 {
            command.args(["--samples", &s.samples.to_string()]);
        }
        self.json(&mut command)
    }

    fn json(&self, arguments: &mut Command) -> Result<Value> {
        serde_json::from_slice(&output(arguments.arg("--json"))?).map_err(|e| format!("unreadable JSON: {e}"))
    }
}

/// The folder of the models and images.
fn shared(root: &Path) -> Result<PathBuf> {
    let shared = env::var_os("LOWBIT_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    shared.canonicalize().map_err(|e| {
        format!("the models are not in {}: {e}; set LOWBIT_SHARED to the folder that holds them", shared.display())
    })
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let out = command.output().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    match out.status.success() {
        true => Ok(out.stdout),
        false => Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr))),
    }
}

fn chosen(names: &[&str]) -> Result<Vec<&'static Subject>> {
    match names.iter().find(|n| !SUBJECTS.iter().any(|s| s.model == **n)) {
        Some(unknown) => {
            let known: Vec<&str> = SUBJECTS.iter().map(|s| s.model).collect();
            Err(format!("no model is named {unknown}; there are {}", known.join(", ")))
        }
        None => Ok(SUBJECTS.iter().filter(|s| names.is_empty() || names.contains(&s.model)).collect()),
    }
}

/// Float and integer accuracy of every model.
pub fn accuracy(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let mut rows = vec![
        "| model | n | float top-1 | int8 top-1 | drop | agreement | int8 top-5 |".to_string(),
        "|---|--:|--:|--:|--:|--:|--:|".to_string(),
    ];
    for s in chosen(names)? {
        eprintln!("{}: quantize and evaluate", s.model);
        bench.quantize(s)?;
        let found = bench.evaluate(s, &bench.integer(s))?;
        let figure = |v: &Value| v.as_f64().map_or("-".into(), |x| format!("{x:.2}"));
        let (float, int8) = (&found["reference"]["top1"], &found["top1"]);
        let drop = float.as_f64().zip(int8.as_f64()).map_or("-".into(), |(a, b)| format!("{:.2}", a - b));
        let labelled = |text: String| if s.labelled { text } else { "-".into() };
        rows.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            s.model,
            found["samples"],
            labelled(figure(float)),
            labelled(figure(int8)),
            labelled(drop),
            figure(&found["agreement"]),
            labelled(figure(&found["top5"])),
        ));
        eprintln!("{}", rows.last().map_or("", String::as_str));
    }
    write(&bench.root, ACCURACY, "accuracy", &rows)
}

/// What every observer of values in memory makes of every model.
pub fn observers(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let listing = bench.json(Command::new(&bench.lowbit).args(["list", "observers"]))?;
    let cells = listing["rows"].as_array().into_iter().flatten().map(|row| [row[0].as_str(), row[1].as_str()]);
    let observers: Vec<&str> =
        cells.filter(|[_, of]| *of == Some("values in memory")).filter_map(|[name, _]| name).collect();
    let mut rows = vec![
        format!("| model | n | {} |", observers.join(" | ")),
        format!("|---|{}", "--:|".repeat(1 + observers.len())),
    ];
    for s in chosen(names)? {
        let mut cells = vec![s.model.to_string()];
        for observer in &observers {
            eprintln!("{}: {observer}", s.model);
            let path = bench.work.join(format!("{}.{observer}.onnx", s.model));
            bench.quantize_by(s, &format!("input.observer = \"{observer}\"\n"), &path)?;
            let found = bench.evaluate(s, &path)?;
            if cells.len() == 1 {
                cells.push(found["samples"].to_string());
            }
            let figure = |v: &Value| v.as_f64().map_or("-".into(), |x| format!("{x:.2}"));
            let top1 = if s.labelled { format!("{} / ", figure(&found["top1"])) } else { String::new() };
            cells.push(format!("{top1}{}", figure(&found["agreement"])));
        }
        rows.push(format!("| {} |", cells.join(" | ")));
        eprintln!("{}", rows.last().map_or("", String::as_str));
    }
    write(&bench.root, ACCURACY, "observers", &rows)
}

/// Choices that other tools' tables have too, by plain rounding: nothing equalized, nothing corrected. `{first}` stands
/// for the name of a model's first layer.
static CHOICES: &[(&str, &str)] = &[
    ("global scale 2", "global_scale = 2.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 4", "global_scale = 4.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 8", "global_scale = 8.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 16", "global_scale = 16.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 8, first convolution float", "global_scale = 8.0\nskip_k_conv = 1\n{classic}"),
    ("global scale 16, first convolution float", "global_scale = 16.0\nskip_k_conv = 1\n{classic}"),
    ("16x8", "input.bits = 16\ninput.observer = 'minmax'\naccumulator_bits = 64\n"),
    ("4x8 (8-bit values)", "weight.bits = 4\ninput.observer = 'percentile(99.99)'\n"),
    ("4x8, weights by mse", "weight.bits = 4\nweight.observer = 'mse'\ninput.observer = 'percentile(99.99)'\n"),
    (
        "4x4 (the model's input has 8 bits)",
        "weight.bits = 4\ninput.bits = 4\ninput.observer = 'percentile(99.99)'\n[layer.\"{first}\"]\ninput.bits = 8\n",
    ),
];

/// 8 bits, symmetric, scales that are powers of two and one a tensor: the classic workflow.
const CLASSIC: &str = "input.signed = true\ninput.symmetric = true\ninput.scale = 'power-of-two'\n\
     input.observer = 'global_scale'\nweight.per = 'tensor'\nweight.narrow = false\n\
     weight.scale = 'power-of-two'\nweight.observer = 'power2'\n";

/// What the choices of other tools' tables make of the labelled models.
pub fn choices(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let subjects: Vec<&Subject> = chosen(names)?.into_iter().filter(|s| s.labelled && s.model != "mnist-7").collect();
    let mut rows = vec![
        format!("| choice | {} |", subjects.iter().map(|s| s.model).collect::<Vec<_>>().join(" | ")),
        format!("|---|{}", "--:|".repeat(subjects.len())),
    ];
    let mut columns: Vec<Vec<String>> = Vec::new();
    for s in subjects {
        let mut column = Vec::new();
        let first = bench.first_layer(s)?;
        let classic = format!("{CLASSIC}{}", bench.float_averages(s)?);
        for (i, (name, text)) in CHOICES.iter().enumerate() {
            let text = text.replace("{classic}", &classic).replace("{first}", &first);
            let path = bench.work.join(format!("{}.choice{i}.onnx", s.model));
            bench.quantize_by(s, &format!("equalize = false\nrefinements = []\n{text}"), &path)?;
            let found = bench.evaluate(s, &path)?;
            let figure = |v: &Value| v.as_f64().map_or("-".into(), |x| format!("{x:.1}"));
            column.push(format!("{} / {}", figure(&found["top1"]), figure(&found["agreement"])));
            eprintln!("{}: {name}: {}", s.model, column.last().map_or("", String::as_str));
        }
        columns.push(column);
    }
    for (i, (name, _)) in CHOICES.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().filter_map(|c| c.get(i).map(String::as_str)).collect();
        rows.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    write(&bench.root, ACCURACY, "choices", &rows)
}

/// The interpreter against every executor on every model.
pub fn verify(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let mut rows =
        vec!["| model | samples | values | executors | identical |".to_string(), "|---|--:|--:|--:|---|".to_string()];
    for s in chosen(names)? {
        eprintln!("{}: quantize and verify", s.model);
        bench.quantize(s)?;
        let mut command = Command::new(&bench.lowbit);
        command.arg("verify").arg(bench.integer(s)).arg("--data").arg(bench.data(s.test)?);
        let found = bench.json(&mut command)?;
        let identical = if found["identical"] == Value::Bool(true) { "yes" } else { "NO" };
        let executors = found["executors"].as_array().map_or(0, Vec::len);
        rows.push(format!("| {} | {} | {} | {executors} | {identical} |", s.model, found["samples"], found["values"]));
        eprintln!("{}", rows.last().map_or("", String::as_str));
    }
    write(&bench.root, ACCURACY, "verify", &rows)
}

/// ONNX Runtime on our exported files, whole and layer by layer: a Python script does the work.
pub fn onnxruntime(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut rows = vec![
        "| model | n | same class | layers run as integers | layers compared | layers within one step | greatest step \
         | values that differ | last layer |"
            .to_string(),
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|".to_string(),
    ];
    for s in chosen(names)? {
        eprintln!("{}: quantize and compare", s.model);
        bench.quantize(s)?;
        let mut command = Command::new(&python);
        command.arg(root.join("xtask/compare_onnxruntime.py")).arg("--lowbit").arg(&bench.lowbit);
        command.arg("--model").arg(bench.integer(s)).arg("--data").arg(bench.data(s.test)?);
        command.arg("--work").arg(bench.work.join("onnxruntime"));
        let text = output(&mut command)?;
        let found: Value = serde_json::from_slice(&text).map_err(|e| format!("unreadable JSON: {e}"))?;
        rows.push(format!(
            "| {} | {} | {:.2} | {} of {} | {} | {} | {} | {:.4} % | {} |",
            s.model,
            found["samples"],
            found["same_class"].as_f64().unwrap_or(0.0),
            found["integer_layers"],
            found["all_layers"],
            found["layers"],
            found["layers_within_one"],
            found["greatest_step"],
            found["differing_percent"].as_f64().unwrap_or(0.0),
            found["last_relative"].as_f64().map_or("-".into(), |x| if x == 0.0 {
                "0".into()
            } else {
                format!("{x:.1e}")
            }),
        ));
        eprintln!("{}", rows.last().map_or("", String::as_str));
    }
    write(&bench.root, ACCURACY, "onnxruntime", &rows)
}

/// The files that other tools quantized, each with an archive of inputs and of what ONNX Runtime gave for them.
static PREQUANTIZED: &[&str] = &[
    "ort_qdq_pc_u8s8_mobilenetv2",
    "ort_qdq_pc_u8s8_mobilenet_v1_0.25",
    "ort_qdq_pc_u8s8_squeezenet1.1",
    "ort_qoperator_pc_u8s8_squeezenet1.1",
    "ort_qdq_pc_u8s8_resnet20",
    "nncf_qdq_performance_mobilenetv2",
    "nncf_qdq_performance_resnet20",
    "nncf_qdq_performance_resnet20_bnfold",
];

/// What is a finding here: a convolution that stays float, an output too far away, a layer more than one step away, an
/// executor with other bits. The table is written all the same.
pub fn prequantized(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    if let Some(unknown) = names.iter().find(|n| !PREQUANTIZED.contains(n)) {
        return Err(format!("no file is named {unknown}; there are {}", PREQUANTIZED.join(", ")));
    }
    let mut rows = vec![
        "| file | convolutions on integers | distance | bound | layers compared | layers within one step \
         | greatest step | values that differ | identical everywhere |"
            .to_string(),
        "|---|--:|--:|--:|--:|--:|--:|--:|---|".to_string(),
    ];
    let mut findings = Vec::new();
    for name in PREQUANTIZED.iter().filter(|n| names.is_empty() || names.contains(n)) {
        eprintln!("{name}: inspect, compare and verify");
        let file = |kind: &str| bench.shared.join(format!("models/prequantized/{name}.{kind}"));
        let layers = bench.json(Command::new(&bench.lowbit).arg("inspect").arg(file("onnx")))?;
        let convolutions = &layers["layers"]["Conv"];
        let mut command = Command::new(&python);
        command.arg(root.join("xtask/compare_onnxruntime.py")).arg("--lowbit").arg(&bench.lowbit);
        command.arg("--model").arg(file("onnx")).arg("--archive").arg(file("npz"));
        command.arg("--work").arg(bench.work.join("prequantized"));
        let text = output(&mut command)?;
        let found: Value = serde_json::from_slice(&text).map_err(|e| format!("unreadable JSON: {e}"))?;
        let input = bench.work.join("prequantized").join(name).join("input.npy");
        let mut command = Command::new(&bench.lowbit);
        command.arg("verify").arg(file("onnx")).arg("--data").arg(input);
        let same = bench.json(&mut command)?["identical"] == Value::Bool(true);
        let number = |key: &str| found[key].as_f64().ok_or_else(|| format!("no number named {key} in {found}"));
        let (distance, bound) = (number("distance")?, number("bound")?);
        rows.push(format!(
            "| {name} | {} of {} | {distance:.5} | {bound:.5} | {} | {} | {} | {:.4} % | {} |",
            convolutions["integer"],
            convolutions["all"],
            found["layers"],
            found["layers_within_one"],
            found["greatest_step"],
            number("differing_percent")?,
            if same { "yes" } else { "NO" },
        ));
        eprintln!("{}", rows.last().map_or("", String::as_str));
        let integer = convolutions["integer"].is_u64() && convolutions["integer"] == convolutions["all"];
        let within = found["layers"].is_u64() && found["layers"] == found["layers_within_one"];
        if !(integer && within && same && distance <= bound) {
            findings.push(*name);
        }
    }
    write(&bench.root, ACCURACY, "prequantized", &rows)?;
    match findings.is_empty() {
        true => Ok(()),
        false => Err(format!("these files do not run as they should: {}", findings.join(", "))),
    }
}

/// Float models read, written, checked and run beside ONNX Runtime: a Python script does the work and prints a line a
/// model. True if all pass.
pub fn roundtrip(root: &Path, names: &[&str]) -> Result<bool> {
    let folder = shared(root)?.join("models");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    let is = |f: &PathBuf, name: &str| f.file_stem().is_some_and(|stem| stem == name);
    if let Some(unknown) = names.iter().find(|name| !files.iter().any(|f| is(f, name))) {
        return Err(format!("no model is named {unknown} in {}", folder.display()));
    }
    files.retain(|f| names.is_empty() || names.iter().any(|name| is(f, name)));
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(&python);
    command.current_dir(root).arg(root.join("xtask/roundtrip_onnxruntime.py")).args(&files);
    let status = command.status().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    Ok(status.success())
}

/// Latency of float and integer programs, with ONNX Runtime on the float file in the same rounds.
pub fn speed(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut rows = vec![
        "| model | threads | ONNX Runtime f32 | our f32 | int8 | against our f32 | against ONNX Runtime f32 |"
            .to_string(),
        "|---|--:|--:|--:|--:|--:|--:|".to_string(),
    ];
    // The ImageNet classifiers: the others take too little time to say much.
    for s in chosen(names)?.into_iter().filter(|s| s.labelled && s.test == IMAGENET[1]) {
        eprintln!("{}: quantize and time", s.model);
        bench.quantize(s)?;
        for threads in 1..=2 {
            let mut command = Command::new(&python);
            command.arg(root.join("xtask/time_onnxruntime.py")).arg("--lowbit").arg(&bench.lowbit);
            command.arg("--float").arg(bench.float(s)).arg("--integer").arg(bench.integer(s));
            command.arg("--threads").arg(threads.to_string());
            let text = output(&mut command)?;
            let found: Value = serde_json::from_slice(&text).map_err(|e| format!("unreadable JSON: {e}"))?;
            let ms = |key: &str| found[key].as_f64().ok_or_else(|| format!("no time named {key} in {found}"));
            let (peer, float, integer) = (ms("onnxruntime")?, ms("float")?, ms("integer")?);
            rows.push(format!(
                "| {} | {threads} | {peer:.2} | {float:.2} | {integer:.2} | {:.1} | {:.1} |",
                s.model,
                float / integer,
                peer / integer,
            ));
            eprintln!("{}", rows.last().map_or("", String::as_str));
        }
    }
    write(&bench.root, README, "speed", &rows)
}

/// Puts rows between a page's markers `<!-- NAME -->` and `<!-- /NAME -->`.
fn write(root: &Path, page: &str, name: &str, rows: &[String]) -> Result<()> {
    let path = root.join(page);
    let text = fs::read_to_string(&path).map_err(|e| format!("{page}: {e}"))?;
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let found = text.find(&open).map(|i| i + open.len()).zip(text.find(&close));
    let Some((from, to)) = found.filter(|(from, to)| from <= to) else {
        return Err(format!("{page} has no markers named {name}"));
    };
    let changed = format!("{}{}\n{}", &text[..from], rows.join("\n"), &text[to..]);
    // Beside the page first: it stays as it was if the disk is full.
    let half = path.with_extension("md.part");
    fs::write(&half, changed).and_then(|()| fs::rename(&half, &path)).map_err(|e| format!("{page}: {e}"))
}
