//! `lowbit quantize`: from a float model to an integer one, and the account of it.

use crate::account::{Account, Accuracy, Data, Latency, Measured};
use crate::args::{self, ImageArguments, MachineArguments, ModelArguments};
use crate::output::{Outcome, Paper};
use crate::progress::{Progress, Stages};
use clap::Args;
use lowbit::bench::{Effort, Timing, interleaved, reference_steps};
use lowbit::compiler::{PASSES, compile, compile_watched};
use lowbit::data::Dataset;
use lowbit::evaluate::{check_output as check_scores, evaluate};
use lowbit::frontend::files;
use lowbit::ir::pass::{self, PrintAfter, StopAfter, Watch};
use lowbit::ir::text::{Constants, print_with};
use lowbit::ir::{Customs, Tensor};
use lowbit::model::{entering, sized_for};
use lowbit::prefetch::Prefetch;
use lowbit::quantization::analysis::{self, LayerError};
use lowbit::quantization::{self, Options, Samples};
use lowbit::{Config, Error, Program, Quantize, Quantized, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

    /// The quantized model to write; required, unless the work stops before
    #[arg(short, long, value_name = "OUT.onnx", required_unless_present = "stop_after")]
    output: Option<PathBuf>,

    /// Samples to calibrate with, evenly spread over the data; 512 unless given
    #[arg(long, value_name = "N", value_parser = args::samples)]
    samples: Option<usize>,

    /// Data on which the float and the integer program are compared
    #[arg(long, value_name = "DATA")]
    evaluate: Option<String>,

    /// Samples to evaluate on, evenly spread over the data; all unless given
    #[arg(long, value_name = "N", value_parser = args::samples, requires = "evaluate")]
    evaluate_samples: Option<usize>,

    /// The output that has the scores of the classes, where several outputs have the shape [batch, classes]
    #[arg(long, value_name = "NAME", requires = "evaluate")]
    evaluate_output: Option<String>,

    /// Measure nothing: only quantize and write
    #[arg(long, conflicts_with = "evaluate")]
    no_report: bool,

    /// The choices, a TOML file (their names: lowbit list config)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// One choice, as input.bits=4, over those of the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Integers instead of floats at the model's inputs and outputs; the same as --set io=...
    #[arg(long, value_name = "float|int8|uint8|int16|uint16")]
    io: Option<String>,

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
        check_output(output, arguments)?;
    }
    let progress = Progress::new();
    let model = arguments.model.load(&arguments.machine.memory)?;
    arguments.evaluate_output.as_deref().map_or(Ok(()), |name| check_scores(model.graph(), name))?;
    let specs = [Some(arguments.data.as_str()), arguments.evaluate.as_deref()];
    let preprocess = arguments.images.resolve(&model, specs.into_iter().flatten())?;
    let open = |spec: &str| args::open(spec, &model, preprocess.as_ref(), arguments.machine.memory, &progress);
    let data = open(&arguments.data)?;
    let test = arguments.evaluate.as_deref().map(open).transpose()?;
    if let Some(spec) = arguments.evaluate.as_deref().filter(|spec| files::same(spec.as_ref(), arguments.data.as_ref()))
    {
        progress
            .warn(&format!("'{spec}' is what is calibrated with too: on other data the model may be less accurate"));
    }
    let test = test.as_ref().map(|t| Test::new(t, arguments, &progress));
    let samples = args::spread(&data, config.samples, &progress);
    samples.check()?;
    test.as_ref().map_or(Ok(()), |t| t.samples.check())?;

    let calibration = samples.len();
    let how = Quantize::default().data(samples).config(config).engine(arguments.machine.engine()?);
    let mut stages = Stages { progress: &progress, samples: calibration };
    let mut printing = Printing { arguments, paper, stopped: None, failed: None };
    let quantized = printing.watching(&mut stages, |watch| model.quantize_watched(how, watch))?;
    let Some(quantized) = quantized else { return printing.outcome() };
    let programs =
        printing.watching(&mut stages, |watch| Programs::new(&quantized, &data, &arguments.machine, watch))?;
    let (Some(programs), Some(output)) = (programs, &arguments.output) else { return printing.outcome() };

    let accuracy = test.map(|t| t.accuracy(&quantized, arguments, &progress)).transpose()?;
    let measured = match arguments.no_report {
        true => Measured::default(),
        false => Measured {
            latency: Some(programs.latency(&arguments.machine, &progress)?),
            worst_layers: Some(worst_layers(&quantized, &data, &arguments.machine, &progress)?),
            accuracy,
        },
    };
    // The file is there when all has gone well, and only then.
    quantized.save(output)?;
    drop(progress);
    let account = Account {
        model: &arguments.model.path,
        output,
        calibration: Data { data: &arguments.data, samples: calibration, of: data.len(), random: data.is_random() },
        preprocess,
        layers_total: quantized.report.layers.len(),
        layers_integer: quantized.report.layers.iter().filter(|l| l.integer).count(),
        file_bytes_before: file_size(&arguments.model.path),
        file_bytes_after: file_size(output),
        reference_steps: reference_steps(&programs.integer),
        measured,
        report: &quantized.report,
    };
    Outcome::new(account.text(&model, paper)?, &account)
}

/// The float and the integer program, for inputs of the size that the data has.
struct Programs {
    float: Arc<Program>,
    integer: Arc<Program>,
    inputs: Vec<Tensor>,
    /// The same, as integers where the integer program takes them.
    integers: Vec<Tensor>,
}

impl Programs {
    /// Compiles both; `None` if the watch stopped the integer one.
    fn new(
        quantized: &Quantized,
        data: &Dataset,
        machine: &MachineArguments,
        watch: &mut dyn Watch,
    ) -> Result<Option<Programs>> {
        let inputs: Vec<Tensor> = data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor).collect();
        let sized = |g| sized_for(g, &inputs, &Customs::default());
        let integer = compile_watched(&sized(&quantized.integer)?, &machine.target(), watch)?;
        let float = compile(&sized(&quantized.float)?, &machine.target())?;
        let integers = entering(&quantized.integer, &inputs)?.into_owned();
        Ok(integer.map(|integer| Programs { float, integer, inputs, integers }))
    }

    /// Times them side by side.
    fn latency(&self, machine: &MachineArguments, progress: &Progress) -> Result<Latency> {
        progress.stage("time", None);
        let lanes: [(&Arc<Program>, &[Tensor]); 2] = [(&self.float, &self.inputs), (&self.integer, &self.integers)];
        let times = interleaved(&lanes, machine.threads(), EFFORT)?;
        let [float, integer] = <[Timing; 2]>::try_from(times).map_err(|_| Error::new("expected two timings"))?;
        Ok(Latency { speedup: float.median_ms / integer.median_ms, float, integer })
    }
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

/// What the programs are evaluated on.
struct Test<'a> {
    data: &'a Dataset,
    samples: Prefetch<'a>,
}

impl<'a> Test<'a> {
    fn new(data: &'a Dataset, arguments: &Arguments, progress: &'a Progress) -> Test<'a> {
        Test { data, samples: args::spread(data, arguments.evaluate_samples.unwrap_or(0), progress) }
    }

    /// Evaluates the integer program and the float one on the same samples.
    fn accuracy(self, quantized: &Quantized, arguments: &Arguments, progress: &Progress) -> Result<Accuracy> {
        progress.stage("evaluate", Some(self.samples.count()));
        let engine = arguments.machine.engine()?;
        let scores = arguments.evaluate_output.as_deref();
        let found = evaluate(&quantized.integer, Some(&quantized.float), &engine, &self.samples, scores)?;
        let data = arguments.evaluate.clone().unwrap_or_default();
        Ok(Accuracy { data, random: self.data.is_random(), evaluation: found })
    }
}

fn configuration(arguments: &Arguments) -> Result<Config> {
    let mut config = args::config(arguments.config.as_ref())?;
    let io = arguments.io.iter().map(|io| format!("io={io}"));
    for assignment in io.chain(arguments.set.iter().cloned()) {
        config = config.set(&assignment)?;
    }
    config.samples = arguments.samples.unwrap_or(config.samples);
    let options = Options { config, ..Options::default() };
    options.check()?;
    Ok(options.config)
}

/// The names of all passes, in order.
fn pass_names() -> Vec<&'static str> {
    quantization::pass_names().into_iter().chain(pass::names(PASSES)).collect()
}

fn pass_name(name: &str) -> Result<String> {
    pass::check_name(name, &pass_names())?;
    Ok(name.into())
}

fn pass_name_or_all(name: &str) -> Result<String> {
    if name == "all" { Ok(name.into()) } else { pass_name(name) }
}

/// Refuses an output that cannot be written, or that would replace what it comes from.
fn check_output(output: &Path, arguments: &Arguments) -> Result<()> {
    let data = [Some(&arguments.data), arguments.evaluate.as_ref()].into_iter().flatten().map(Path::new);
    let config = arguments.config.iter().map(PathBuf::as_path);
    let sources = std::iter::once(("the float model", arguments.model.path.as_path()))
        .chain(config.map(|path| ("the configuration", path)))
        .chain(data.map(|path| ("the data", path)));
    args::check_output(output, sources)
}

fn file_size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Prints graphs between passes, and stops.
struct Printing<'a> {
    arguments: &'a Arguments,
    paper: &'a Paper,
    /// The graph at which it stopped.
    stopped: Option<String>,
    failed: Option<Error>,
}

impl Printing<'_> {
    /// Does some of the work under the watches that the arguments ask for.
    fn watching<T>(&mut self, stages: &mut Stages<'_>, work: impl FnOnce(&mut dyn Watch) -> Result<T>) -> Result<T> {
        let known = pass_names();
        let progress = stages.progress;
        let stop = self.arguments.stop_after.as_deref();
        let mut stopping = stop.map(|pass| StopAfter::new(pass, &known)).transpose()?;
        let printed: Vec<&String> = self.arguments.print_after.iter().chain(&self.arguments.stop_after).collect();
        let mut print = PrintAfter::new(&printed, &known, |pass, g| {
            let text = format!("// after {pass}\n{}\n", print_with(g, Constants::Elided));
            match stop == Some(pass) {
                true => self.stopped = Some(text),
                false => self.failed = progress.pause(|| self.paper.print_early(&text)).err().or(self.failed.take()),
            }
        })?;
        let mut watches: Vec<&mut dyn Watch> = vec![stages, &mut print];
        watches.extend(stopping.as_mut().map(|stop| stop as &mut dyn Watch));
        let done = work(&mut watches)?;
        match self.failed.take() {
            Some(e) => Err(e),
            None => Ok(done),
        }
    }

    /// What work that was stopped leaves to print.
    fn outcome(self) -> Result<Outcome> {
        let graph = self.stopped.unwrap_or_default();
        let json = json!({ "stopped_after": self.arguments.stop_after, "graph": graph });
        Outcome::new(graph, &json)
    }
}
