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
