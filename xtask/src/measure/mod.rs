//! Measured tables of docs/accuracy.md, docs/performance.md and the README: real models, from the folder that
//! `LOWBIT_SHARED` names.
//!
//! Every figure comes out of the command line that users have, `lowbit quantize`, `evaluate`, `compare`, `verify` and so
//! on; this room only calls it, model by model, and writes what it says between the markers of the page. For models that
//! are named it prints the rows and leaves the page, which has all models; the page of times has a block for each machine
//! instead, in which the rows of what is measured are replaced.
//!
//! [`accuracy`], [`boxes`] and [`choices`] are about what quantization costs, [`integers`] about what the integers are, [`cost`] about
//! time and memory, [`peers`], [`variants`] and [`start`] about the same beside other runtimes and choices. [`through`] takes
//! every model through every verb. [`table`] writes the tables, [`machine`] says where times were measured.

mod accuracy;
mod boxes;
mod choices;
mod cost;
mod integers;
mod machine;
mod mxnet;
mod peers;
mod start;
mod table;
mod through;
mod variants;

use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::{output, python};
use crate::{Result, cargo};
pub use table::Table;

/// A measurement: its name, what it does with models or files of these names (all, if none), and a line for the help.
pub struct Measure {
    pub name: &'static str,
    pub names: &'static str,
    pub about: &'static str,
    pub run: fn(&Path, &[&str]) -> Result<()>,
}

/// Every measurement.
pub static MEASURES: &[Measure] = &[
    Measure { name: "accuracy", names: "MODEL", about: "float and integer accuracy", run: accuracy::accuracy },
    Measure {
        name: "observers",
        names: "MODEL",
        about: "the same of every observer of values in memory",
        run: accuracy::observers,
    },
    Measure {
        name: "modes",
        names: "MODEL",
        about: "the same of static and dynamic quantization, and of weights alone",
        run: accuracy::modes,
    },
    Measure {
        name: "choices",
        names: "MODEL",
        about: "the same of choices that other tools' tables have too",
        run: choices::choices,
    },
    Measure {
        name: "mxnet",
        names: "CASE",
        about: "operators and models of MXNet against MXNet (Python)",
        run: mxnet::compare,
    },
    Measure {
        name: "verify",
        names: "MODEL",
        about: "the interpreter against every executor, and integers against their simulation",
        run: integers::verify,
    },
    Measure {
        name: "onnxruntime",
        names: "MODEL",
        about: "our files in ONNX Runtime, layer by layer (Python)",
        run: integers::onnxruntime,
    },
    Measure {
        name: "prequantized",
        names: "FILE",
        about: "other tools' quantized files, beside ONNX Runtime (Python)",
        run: integers::prequantized,
    },
    Measure {
        name: "roundtrip",
        names: "MODEL",
        about: "float models read, written, checked and run beside ONNX Runtime (Python)",
        run: integers::roundtrip,
    },
    Measure {
        name: "boxes",
        names: "DETECTOR",
        about: "what detectors find, beside their float models (Python, with Pillow)",
        run: boxes::boxes,
    },
    Measure {
        name: "through",
        names: "MODEL",
        about: "every model through quantize, verify, compare, explain, the report and reproduce",
        run: through::through,
    },
    Measure { name: "memory", names: "MODEL", about: "calibration with 10 and with 1,000 images", run: cost::memory },
    Measure {
        name: "speed",
        names: "MODEL",
        about: "latency beside ONNX Runtime, for the README (Python)",
        run: cost::speed,
    },
    Measure {
        name: "bench-peers",
        names: "NETWORK",
        about: "latency beside ONNX Runtime, OpenVINO and LiteRT, which it installs (Python)",
        run: peers::peers,
    },
    Measure {
        name: "bench-variants",
        names: "NETWORK",
        about: "latency of other choices and older instruction sets beside the default (Python)",
        run: variants::variants,
    },
    Measure {
        name: "bench-start",
        names: "PART",
        about: "time and memory of quantizing, of loading and of a run, beside other runtimes (Python)",
        run: start::start,
    },
];

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

/// The page of times beside other runtimes.
const PERFORMANCE: &str = "docs/performance.md";

/// The page of latency.
const README: &str = "README.md";

/// What is needed for every measurement.
pub struct Bench {
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
        Ok(Bench { shared, lowbit, work })
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

    /// A verb on a float model and its calibration data.
    fn command(&self, verb: &str, s: &Subject) -> Result<Command> {
        let mut command = Command::new(&self.lowbit);
        command.arg(verb).arg(self.float(s)).arg("--data").arg(self.data(s.calibration)?).args(s.flags);
        Ok(command)
    }

    /// Makes the integer model, unless it is there and newer than the program that makes it.
    fn quantize(&self, s: &Subject) -> Result<()> {
        self.quantize_by(s, "", &self.integer(s))
    }

    /// As [`Self::quantize`], by the choices of a configuration file's text.
    fn quantize_by(&self, s: &Subject, choices: &str, path: &Path) -> Result<()> {
        self.make(path, choices, |config| {
            let mut command = self.command("quantize", s)?;
            output(command.arg("--no-report").arg("--config").arg(config).arg("-o").arg(path))
        })
    }

    /// As [`Self::quantize_by`], from the statistics of one calibration for all choices; these equalize and correct
    /// nothing, since that looks at samples.
    fn quantize_from_statistics(&self, s: &Subject, choices: &str, path: &Path) -> Result<()> {
        let stats = self.work.join(format!("{}.stats", s.model));
        self.make(&stats, "", |_| output(self.command("calibrate", s)?.arg("-o").arg(&stats)))?;
        self.make(path, choices, |config| {
            let mut command = Command::new(&self.lowbit);
            command.arg("quantize").arg(self.float(s)).arg("--stats").arg(&stats).arg("--no-report");
            output(command.arg("--config").arg(config).arg("-o").arg(path))
        })
    }

    /// Makes a file by the choices of a configuration, which lies beside it, unless it is there, by the same choices and
    /// newer than the program that makes it.
    fn make(&self, path: &Path, choices: &str, make: impl FnOnce(&Path) -> Result<Vec<u8>>) -> Result<()> {
        let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        let config = path.with_extension("toml");
        let newer = time(path).zip(time(&self.lowbit)).is_some_and(|(made, maker)| made > maker);
        if newer && fs::read_to_string(&config).is_ok_and(|found| found == choices) {
            return Ok(());
        }
        // The file beside it must not speak of another one if this fails.
        let _ = fs::remove_file(path);
        fs::write(&config, choices).map_err(|e| format!("{}: {e}", config.display()))?;
        make(&config).map(|_| ())
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

    /// Whether `lowbit verify` finds the same bits everywhere, and the greatest difference, in steps of the integers,
    /// that `lowbit compare` finds between a layer and its simulation.
    fn proof(&self, s: &Subject, integer: &Path) -> Result<Proof> {
        let data = self.data(s.test)?;
        let command = |verb: &str| {
            let mut command = Command::new(&self.lowbit);
            command.arg(verb).arg(integer).arg("--data").arg(&data);
            command
        };
        let verified = self.json(&mut command("verify"))?;
        let compared = self.json(command("compare").args(["--samples", "4"]))?;
        let layers = compared["layers"].as_array().into_iter().flatten();
        let steps: Vec<u64> = layers.filter_map(|l| l["isolated"]["max_steps"].as_u64()).collect();
        Ok(Proof { identical: verified["identical"] == Value::Bool(true), verified, steps })
    }

    fn json(&self, arguments: &mut Command) -> Result<Value> {
        json(arguments.arg("--json"))
    }
}

/// What was proven of an integer model.
struct Proof {
    identical: bool,
    /// What `lowbit verify` says.
    verified: Value,
    /// The greatest difference of each value of integers from its simulation.
    steps: Vec<u64>,
}

impl Proof {
    /// A model without integers of its own has nothing to be one step away.
    fn holds(&self) -> bool {
        self.identical && !self.steps.is_empty() && self.greatest() <= 1
    }

    fn greatest(&self) -> u64 {
        self.steps.iter().copied().max().unwrap_or(0)
    }
}

fn json(command: &mut Command) -> Result<Value> {
    serde_json::from_slice(&output(command)?).map_err(|e| format!("unreadable JSON: {e}"))
}

/// A figure as text, or a dash for none.
fn figure(v: &Value, digits: usize) -> String {
    v.as_f64().map_or("-".into(), |x| format!("{x:.digits$}"))
}

/// An error that lists what is not as it should be, if anything is.
fn none_of(what: &str, findings: &[String]) -> Result<()> {
    match findings.is_empty() {
        true => Ok(()),
        false => Err(format!("{what}: {}", findings.join(", "))),
    }
}

/// The folder of the models and images.
fn shared(root: &Path) -> Result<PathBuf> {
    let shared = env::var_os("LOWBIT_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    shared.canonicalize().map_err(|e| {
        format!("the models are not in {}: {e}; set LOWBIT_SHARED to the folder that holds them", shared.display())
    })
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
