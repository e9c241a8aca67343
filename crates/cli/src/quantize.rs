//! `lowbit quantize`: from a float model to an integer one, and the account of it.

use crate::account::{Account, Accuracy, Data, Latency};
use crate::args::{self, ImageArguments, MachineArguments, ModelArguments};
use crate::output::{Outcome, Paper};
use crate::progress::{Progress, Stages};
use clap::Args;
use lowbit::bench::{Effort, Timing, interleaved};
use lowbit::compiler::compile;
use lowbit::data::Dataset;
use lowbit::evaluate::evaluate;
use lowbit::ir::pass::{self, PrintAfter, StopAfter, Watch};
use lowbit::ir::text::{Constants, print_with};
use lowbit::model::with_batch;
use lowbit::quantization::analysis::{self, LayerError};
use lowbit::quantization::{Samples, pass_names};
use lowbit::{Config, Error, Graph, Model, Quantize, Quantized, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Samples on which the error of every layer is measured.
const ERROR_SAMPLES: usize = 32;

/// Layers that are told to be the worst.
const WORST: usize = 10;

/// The time given to either program: enough for a median, not for a record.
const EFFORT: Effort = Effort { warm_up: Duration::from_millis(200), duration: Duration::from_millis(1000) };

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Calibration data: a folder of images, .npy, .npz, an idx pair, or random
    #[arg(long, value_name = "DATA")]
    data: String,

    /// The quantized model to write
    #[arg(short, long, value_name = "OUT.onnx", required_unless_present = "stop_after")]
    output: Option<PathBuf>,

    /// Samples to calibrate with, evenly spread over the data; 512 unless given
    #[arg(long, value_name = "N", value_parser = args::samples())]
    samples: Option<usize>,

    /// Data on which the float and the integer program are compared
    #[arg(long, value_name = "DATA")]
    evaluate: Option<String>,

    /// Samples to evaluate on, evenly spread over the data; all unless given
    #[arg(long, value_name = "N", value_parser = args::samples(), requires = "evaluate")]
    evaluate_samples: Option<usize>,

    /// Measure nothing after the model is written
    #[arg(long, conflicts_with = "evaluate")]
    no_report: bool,

    /// The choices, a TOML file (their names: lowbit list config)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the graph after this pass and stop; nothing is written
    #[arg(long, value_name = "PASS", value_parser = pass_name)]
    stop_after: Option<String>,

    /// Print the graph after this pass, or after all; may be given several times
    #[arg(long, value_name = "PASS|all", value_parser = pass_name_or_all)]
    print_after: Vec<String>,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    machine: MachineArguments,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    // Everything that can be refused is refused before the long work.
    let config = configuration(arguments)?;
    if let Some(output) = &arguments.output {
        check_output(output, &arguments.model.path)?;
    }
    let progress = Progress::new();
    let model = arguments.model.load()?;
    let preprocess = arguments.images.resolve(&model)?;
    let open = |spec: &str| args::open(spec, &model, preprocess.as_ref(), &progress);
    let data = open(&arguments.data)?;
    let test = arguments.evaluate.as_deref().map(open).transpose()?;

    let samples = args::spread(&data, config.samples, &progress);
    let calibration = samples.len();
    let how = Quantize::default().data(samples).config(config).engine(arguments.machine.engine()?);
    let mut printing = Printing { stop: arguments.stop_after.as_deref(), paper, stopped: None, failed: None };
    let quantized =
        printing.quantize(&model, how, arguments, &mut Stages { progress: &progress, samples: calibration })?;
    let (Some(mut quantized), Some(output)) = (quantized, &arguments.output) else { return printing.outcome() };

    if let Some(preprocess) = &preprocess {
        quantized.model.set_preprocess(preprocess.to_json()?);
    }
    quantized.save(output)?;
    let mut account = Account {
        model: &arguments.model.path,
        output,
        calibration: Data { data: &arguments.data, samples: calibration, of: data.len(), random: data.is_random() },
        preprocess,
        layers_total: quantized.report.layers.len(),
        layers_integer: quantized.report.layers.iter().filter(|l| l.integer).count(),
        file_bytes_before: file_size(&arguments.model.path),
        file_bytes_after: file_size(output),
        latency: None,
        accuracy: None,
        worst_layers: None,
        report: &quantized.report,
    };
    if !arguments.no_report {
        let saved = |e: Error| e.context(format!("measuring the model, which is written to '{}'", output.display()));
        account.latency = Some(latency(&quantized, &arguments.machine, &progress).map_err(saved)?);
        account.worst_layers = Some(worst_layers(&quantized, &data, &arguments.machine, &progress).map_err(saved)?);
        let accuracy = test.as_ref().map(|test| accuracy(&quantized, test, arguments, &progress));
        account.accuracy = accuracy.transpose().map_err(saved)?;
    }
    drop(progress);
    Outcome::new(account.text(&model, paper)?, &account)
}

/// Times the float and the integer program side by side.
fn latency(quantized: &Quantized, machine: &MachineArguments, progress: &Progress) -> Result<Latency> {
    progress.stage("time", None);
    let program = |g: &Graph| compile(&with_batch(g, None)?, &machine.target());
    let (float, integer) = (program(&quantized.float)?, program(&quantized.integer)?);
    let times = interleaved(&[&float, &integer], machine.threads(), EFFORT)?;
    let [float, integer] = <[Timing; 2]>::try_from(times).map_err(|_| Error::new("expected two timings"))?;
    Ok(Latency { speedup: float.median_ms / integer.median_ms, float, integer })
}

/// The layers with the least signal to noise.
fn worst_layers(
    quantized: &Quantized,
    data: &Dataset,
    machine: &MachineArguments,
    progress: &Progress,
) -> Result<Vec<LayerError>> {
    let samples = args::spread(data, ERROR_SAMPLES, progress);
    progress.stage("compare", Some(samples.len()));
    let errors = analysis::compare(&quantized.float, &quantized.integer, &machine.engine()?, &samples, 0)?;
    Ok(analysis::worst_layers(&quantized.float, &errors, WORST))
}

/// Evaluates the integer program and the float one on the same samples.
fn accuracy(quantized: &Quantized, test: &Dataset, arguments: &Arguments, progress: &Progress) -> Result<Accuracy> {
    let samples = args::spread(test, arguments.evaluate_samples.unwrap_or(0), progress);
    progress.stage("evaluate", Some(samples.count()));
    let engine = arguments.machine.engine()?;
    let found = evaluate(&quantized.integer, Some(&quantized.float), &engine, &samples)?;
    let data = arguments.evaluate.clone().unwrap_or_default();
    Ok(Accuracy { data, random: test.is_random(), evaluation: found })
}

fn configuration(arguments: &Arguments) -> Result<Config> {
    let mut config = args::config(arguments.config.as_ref())?;
    config.samples = arguments.samples.unwrap_or(config.samples);
    config.check()?;
    Ok(config)
}

fn pass_name(name: &str) -> Result<String> {
    pass::check_name(name, &pass_names())?;
    Ok(name.into())
}

fn pass_name_or_all(name: &str) -> Result<String> {
    if name == "all" { Ok(name.into()) } else { pass_name(name) }
}

/// Refuses an output that cannot be written, or that would replace the model it comes from.
fn check_output(output: &Path, model: &Path) -> Result<()> {
    let refused = |why: &str| Err(Error::new(format!("cannot write '{}': {why}", output.display())));
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match () {
        () if output.file_name().is_none() => refused("expected the name of a file"),
        () if output.is_dir() => refused("it is a folder"),
        () if !folder.is_dir() => refused("its folder does not exist"),
        () if output.exists() && output.canonicalize().ok() == model.canonicalize().ok() => {
            refused("it is the float model itself")
        }
        () => Ok(()),
    }
}

fn file_size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Prints graphs between passes, and stops.
struct Printing<'a> {
    stop: Option<&'a str>,
    paper: &'a Paper,
    /// The graph at which it stopped.
    stopped: Option<String>,
    failed: Option<Error>,
}

impl Printing<'_> {
    fn quantize(
        &mut self,
        model: &Model,
        how: Quantize<'_>,
        arguments: &Arguments,
        stages: &mut Stages<'_>,
    ) -> Result<Option<Quantized>> {
        let known = pass_names();
        let progress = stages.progress;
        let mut stop = self.stop.map(|pass| StopAfter::new(pass, &known)).transpose()?;
        let printed: Vec<&String> = arguments.print_after.iter().chain(&arguments.stop_after).collect();
        let mut print = PrintAfter::new(&printed, &known, |pass, g| {
            let text = format!("// after {pass}\n{}\n", print_with(g, Constants::Elided));
            match self.stop == Some(pass) {
                true => self.stopped = Some(text),
                false => self.failed = progress.pause(|| self.paper.print_early(&text)).err().or(self.failed.take()),
            }
        })?;
        let mut watches: Vec<&mut dyn Watch> = vec![stages, &mut print];
        watches.extend(stop.as_mut().map(|stop| stop as &mut dyn Watch));
        let quantized = model.quantize_watched(how, &mut watches)?;
        match self.failed.take() {
            Some(e) => Err(e),
            None => Ok(quantized),
        }
    }

    /// What a stopped quantization leaves to print.
    fn outcome(self) -> Result<Outcome> {
        let graph = self.stopped.unwrap_or_default();
        let json = json!({ "stopped_after": self.stop, "graph": graph });
        Outcome::new(graph, &json)
    }
}
