//! `lowbit quantize`: from a float model to an integer one, and the account of it.

use crate::account::{Account, Calibration, Data, Latency, Measured, Read};
use crate::args::{self, ImageArguments, MachineArguments, ModelArguments, QuantizeChoices, ResumeArguments};
use crate::format;
use crate::interrupt::Interrupt;
use crate::output::{Outcome, Paper};
use crate::progress::{Progress, Stages};
use clap::Args;
use lowbit::bench::{StepTime, Timing, interleaved, profile, reference_steps};
use lowbit::choices::{Sourced, Wish, Without, needing_samples};
use lowbit::compare::{Comparison, compare_graphs};
use lowbit::compiler::{PASSES, compile, compile_watched};
use lowbit::data::{Dataset, Preprocess};
use lowbit::evaluate::{check_output as check_scores, evaluate};
use lowbit::explain::explain;
use lowbit::frontend::files;
use lowbit::inspect::inspect;
use lowbit::ir::pass::{self, PrintAfter, StopAfter, Watch};
use lowbit::ir::text::{Constants, print_with};
use lowbit::ir::{Customs, Tensor, meta};
use lowbit::model::{NOISE, entering, sized_for, with_batch};
use lowbit::prefetch::Prefetch;
use lowbit::quantization;
use lowbit::quantization::analysis::{self, LayerError};
use lowbit::quantization::observe::Histogram;
use lowbit::report::data::{self, Accuracy};
use lowbit::report::{self, EFFORT, Sources};
use lowbit::{Config, Error, Model, Program, Quantize, Quantized, Result, Shard, stats};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Samples on which the error of every layer is measured.
const ERROR_SAMPLES: usize = 32;

/// Layers that are told to be the worst.
const WORST: usize = 10;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Calibration data: a folder of images or arrays, .npy, .npz, an idx pair, or random
    #[arg(long, value_name = "DATA", required_unless_present_any = ["stats", "no_data"])]
    data: Option<String>,

    /// Statistics in place of the data, one file or several of the same model: what lowbit calibrate wrote
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["data", "samples"])]
    stats: Vec<PathBuf>,

    /// Calibrate with nothing: b bits of every value have the scale S / 2^(b-1), where S is --set global_scale=S
    #[arg(long, conflicts_with_all = ["data", "stats", "samples"])]
    no_data: bool,

    #[command(flatten)]
    resume: ResumeArguments,

    /// The quantized model to write; required, unless the work stops before
    #[arg(short, long, value_name = "OUT.onnx", required_unless_present = "stop_after")]
    output: Option<PathBuf>,

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
    #[arg(long, conflicts_with_all = ["evaluate", "report"])]
    no_report: bool,

    /// A folder for a report: a page for browsers that holds all it shows, the same as JSON, and overlays for Model
    /// Explorer
    #[arg(long, value_name = "DIR", conflicts_with = "stop_after")]
    report: Option<PathBuf>,

    #[command(flatten)]
    choices: QuantizeChoices,

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

pub fn run(arguments: &Arguments, paper: &Paper, interrupt: &Interrupt) -> Result<Outcome> {
    // Everything that can be refused is refused before the long work.
    let choices = configuration(arguments)?;
    let config = choices.config.clone();
    if let Some(output) = &arguments.output {
        args::check_output(output, sources(arguments))?;
    }
    if arguments.resume.resume.is_some() && arguments.data.is_none() {
        return Err(Error::new("expected --data for --resume, found none: no samples are run").hint("leave it out"));
    }
    let output = arguments.output.as_deref().map(|path| ("the output", path));
    let checkpoint = arguments.resume.checkpoint(interrupt, sources(arguments).chain(output))?;
    let data_given = [&arguments.data, &arguments.evaluate];
    arguments
        .report
        .as_deref()
        .map_or(Ok(()), |folder| args::check_report(folder, data_given.into_iter().flatten()))?;
    let progress = Progress::new();
    let mut model = arguments.model.load(&arguments.machine.memory)?;
    arguments.evaluate_output.as_deref().map_or(Ok(()), |name| check_scores(model.graph(), name))?;
    refuse_what_needs_samples(arguments)?;
    let stats = statistics(arguments)?;
    let preprocess = match &stats {
        Some(stats) => preprocess_of(stats, &mut model, arguments)?,
        None if arguments.no_data && arguments.evaluate.is_none() => {
            arguments.images.refuse_without_images("--no-data").map(|()| None)?
        }
        None => {
            let specs = [arguments.data.as_deref(), arguments.evaluate.as_deref()];
            arguments.images.resolve(&model, specs.into_iter().flatten())?
        }
    };
    let open = |spec: &str| args::open(spec, &model, preprocess.as_ref(), arguments.machine.memory, &progress);
    let data = arguments.data.as_deref().map(open).transpose()?;
    let test = arguments.evaluate.as_deref().map(open).transpose()?;
    let same = |spec: &&str| arguments.data.as_ref().is_some_and(|data| files::same((*spec).as_ref(), data.as_ref()));
    if let Some(spec) = arguments.evaluate.as_deref().filter(same) {
        progress
            .warn(&format!("'{spec}' is what is calibrated with too: on other data the model may be less accurate"));
    }
    // Statistics hold no samples, so that what runs some has those to evaluate on, if any; so it is without data.
    let shown = data.as_ref().or(test.as_ref());
    let test = test.as_ref().map(|t| Test::new(t, arguments, &progress));
    let samples = data.as_ref().map(|data| args::spread(data, config.samples, &progress));
    samples.as_ref().map_or(Ok(()), Prefetch::check)?;
    test.as_ref().map_or(Ok(()), |t| t.samples.check())?;

    let calibration = calibration(arguments, &config, data.as_ref(), samples.as_ref(), stats.as_ref());
    // What statistics saw, for the report; they go to whoever quantizes.
    let seen = stats.as_ref().filter(|_| arguments.report.is_some()).map(seen);
    let mut stages = Stages { progress: &progress, samples: samples.as_ref().map(Prefetch::count), interrupt };
    let how = Quantize::default().config(config).engine(arguments.machine.engine()?);
    let how = match (samples, stats) {
        (Some(samples), _) => how.data(samples),
        (None, Some(stats)) => how.stats(stats),
        (None, None) if arguments.no_data => how.without_data(),
        (None, None) => how,
    };
    let how = match checkpoint {
        Some(checkpoint) => how.checkpoint(checkpoint),
        None => how,
    };
    let mut printing = Printing { arguments, paper, stopped: None, failed: None };
    let read = Read { nodes: model.graph().nodes().count(), parameters: inspect(model.graph())?.parameters as u64 };
    let quantized = printing.watching(&mut stages, |watch| model.quantize_watched(how, watch))?;
    let Some(quantized) = quantized else { return printing.outcome() };
    let programs = printing.watching(&mut stages, |watch| Programs::new(&quantized, shown, arguments, watch))?;
    let (Some(programs), Some(output)) = (programs, &arguments.output) else { return printing.outcome() };

    let accuracy = test.map(|t| t.accuracy(&quantized, arguments, &progress)).transpose()?;
    let mut comparison = None;
    let measured = match (arguments.no_report, shown) {
        (true, _) => Measured::default(),
        (false, None) => Measured { not_measured: Some(programs.unmeasured(arguments)), ..Measured::default() },
        (false, Some(shown)) => {
            let latency = programs.latency(&arguments.machine, &progress)?;
            let worst_layers = match arguments.report {
                // A report tells of every layer, also by itself.
                Some(_) => worst(comparison.insert(compared(&quantized, shown, &arguments.machine, &progress)?)),
                None => worst_layers(&quantized, shown, &arguments.machine, &progress)?,
            };
            Measured { latency, worst_layers: Some(worst_layers), accuracy, not_measured: None }
        }
    };
    let bytes = quantized.model.to_onnx()?;
    let mut account = Account {
        model: &arguments.model.path,
        read,
        output,
        calibration,
        preprocess,
        layers_total: quantized.report.layers.len(),
        layers_integer: quantized.report.layers.iter().filter(|l| l.integer).count(),
        file_bytes_before: file_size(&arguments.model.path),
        file_bytes_after: bytes.len() as u64,
        reference_steps: programs.integer.as_deref().map(reference_steps).unwrap_or_default(),
        report_files: Vec::new(),
        measured,
        report: &quantized.report,
    };
    let reporting =
        Reporting { arguments, quantized: &quantized, choices, shown, seen, comparison, programs: &programs };
    let folder = arguments.report.as_deref();
    let report = folder.map(|folder| report::write(&reporting.data(&account, &progress)?, folder)).transpose()?;
    // The files are there when all has gone well, and only then.
    if let Err(e) = interrupt.writing(output, || files::write(output, |file| file.write_all(&bytes))) {
        report.into_iter().for_each(report::Written::undo);
        return Err(e);
    }
    arguments.resume.done()?;
    account.report_files = report.map(|report| report.files).unwrap_or_default();
    drop(progress);
    Outcome::new(account.text(paper), &account)
}

/// What statistics saw of every value.
fn seen(stats: &Shard) -> Seen {
    let values = stats.stats.values.iter().map(|(name, seen)| (name.clone(), seen.histogram.clone()));
    Seen { histograms: values.collect(), of: format!("the {} samples of the statistics", stats.stats.samples) }
}

/// What values held, and on which samples.
struct Seen {
    histograms: BTreeMap<String, Histogram>,
    of: String,
}

/// What a report is made of.
struct Reporting<'a> {
    arguments: &'a Arguments,
    quantized: &'a Quantized,
    choices: Sourced,
    /// What runs samples, if anything does.
    shown: Option<&'a Dataset>,
    /// What statistics saw, if there are some.
    seen: Option<Seen>,
    comparison: Option<Comparison>,
    programs: &'a Programs,
}

impl Reporting<'_> {
    fn data(self, account: &Account, progress: &Progress) -> Result<report::Data> {
        let shown_name = self.shown_name();
        let Reporting { arguments, quantized, shown, .. } = self;
        let explained = explain(&quantized.model, &Sourced::default())?;
        let steps = self.programs.steps(&arguments.machine, progress)?;
        let seen = match (self.seen, shown) {
            (Some(seen), _) => Some(seen),
            (None, Some(shown)) => {
                let samples = args::spread(shown, ERROR_SAMPLES, progress);
                progress.stage("histograms", Some(samples.count()));
                let of = format!("{} of {}", format::counted(samples.count(), "sample"), shown_name);
                let names = data::observed(&quantized.float, quantized.model.graph(), &explained)?;
                let engine = arguments.machine.engine()?;
                Some(Seen { histograms: data::histograms(&quantized.float, &names, &engine, &samples, 0)?, of })
            }
            (None, None) => None,
        };
        progress.stage("report", None);
        let (histograms, of) = seen.map_or((BTreeMap::new(), None), |seen| (seen.histograms, Some(seen.of)));
        // What is in force is what the account says: without data some choices are others.
        let mut choices = if arguments.no_data { self.choices.without_data("--no-data")? } else { self.choices };
        choices.config = quantized.report.config.clone();
        let choices = choices.choices();
        let sources = Sources {
            reference: &quantized.float,
            model: &quantized.model,
            compared: &quantized.integer,
            explained: Some(&explained),
            left_float: &quantized.report.left_float,
            choices: &choices,
            comparison: self.comparison.as_ref(),
            steps: &steps,
            histograms: &histograms,
        };
        let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let reference = format!("the float model it was made from, {}", arguments.model.path.display());
        let gathered = report::gather(&name(account.output), &reference, &sources)?;
        let size = |name: &str, before, after| data::Size { name: name.into(), before, after };
        let noise = shown.is_some_and(Dataset::is_random);
        let compared = self.comparison.as_ref().map(|c| data::compared(&quantized.float, c, &shown_name, noise));
        let latency = account.measured.latency.as_ref();
        Ok(report::Data {
            facts: account.facts(&Paper::plain()),
            not_measured: account.measured.not_measured.iter().cloned().collect(),
            sizes: vec![
                size("Constants", quantized.report.bytes_before, quantized.report.bytes_after),
                size("File", account.file_bytes_before, account.file_bytes_after),
            ],
            accuracy: account.measured.accuracy.clone(),
            compared,
            latency: latency.map(|l| data::Latency { float: l.float.clone(), integer: l.integer.clone() }),
            histograms_of: of,
            ..gathered
        })
    }

    /// What runs samples, as it was given.
    fn shown_name(&self) -> String {
        self.arguments.data.clone().or_else(|| self.arguments.evaluate.clone()).unwrap_or_default()
    }
}

/// Where the ranges are from.
fn calibration<'a>(
    arguments: &'a Arguments,
    config: &Config,
    data: Option<&Dataset>,
    samples: Option<&Prefetch>,
    stats: Option<&Shard>,
) -> Calibration<'a> {
    match (data, stats) {
        (_, Some(shard)) => Calibration::Stats {
            stats: &arguments.stats,
            samples: shard.stats.samples,
            fingerprint: shard.model.to_string(),
            random: shard.properties.contains_key(NOISE),
        },
        (None, None) if arguments.no_data => {
            Calibration::Nothing { data: None, samples: 0, global_scale: config.global_scale }
        }
        (data, None) => Calibration::Data(Data {
            data: arguments.data.as_deref().unwrap_or_default(),
            samples: samples.map_or(0, Prefetch::count),
            of: data.map_or(0, Dataset::len),
            random: data.is_some_and(Dataset::is_random),
        }),
    }
}

/// The statistics of all files together, if any are given; refuses to count one twice.
fn statistics(arguments: &Arguments) -> Result<Option<Shard>> {
    let paths = &arguments.stats;
    if paths.is_empty() {
        return Ok(None);
    }
    for (i, path) in paths.iter().enumerate() {
        if paths.iter().take(i).any(|other| files::same(other, path)) {
            return Err(Error::new(format!(
                "expected every file of statistics once, found '{}' twice",
                path.display()
            ))
            .hint("leave one of them out"));
        }
    }
    stats::load_all(paths).map(Some)
}

/// Refuses choices that would need samples where there are none: what is on by default is left out and told, what was
/// asked for is not.
fn refuse_what_needs_samples(arguments: &Arguments) -> Result<()> {
    let (flag, without, of_samples, of_runs) = match (arguments.no_data, arguments.stats.is_empty()) {
        (true, _) => ("--no-data", Without::Data, "there are none", "no samples are run"),
        (false, false) => {
            let of_runs = "statistics hold no samples to run";
            ("--stats", Without::Samples, "they are of samples that were run", of_runs)
        }
        (false, true) => return Ok(()),
    };
    if let Some(assignment) = arguments.choices.choices.sets("samples") {
        return Err(Error::new(format!("expected --data for --set {assignment}, found {flag}: {of_samples}"))
            .hint("leave it out"));
    }
    match needing_samples(|nothing| arguments.choices.choices.over(nothing), without)? {
        None => Ok(()),
        Some(Wish { what, off: (key, value) }) => {
            Err(Error::new(format!("expected --data for {what}, found {flag}: {of_runs}"))
                .hint(format!("--data, or --set {key}={value}")))
        }
    }
}

/// The preprocessing that statistics were made with: the quantized model is for it, and is evaluated with it.
fn preprocess_of(stats: &Shard, model: &mut Model, arguments: &Arguments) -> Result<Option<Preprocess>> {
    let Some(json) = stats.properties.get(meta::PREPROCESS) else {
        return match &arguments.evaluate {
            Some(test) => arguments.images.resolve(model, [test.as_str()]),
            None => arguments.images.refuse_without_images("statistics of none").map(|()| None),
        };
    };
    model.set_preprocess(json.clone());
    let stored = model.stored_preprocess().map_err(|e| e.context("reading the preprocessing of the statistics"))?;
    if arguments.images.given() {
        return Err(Error::new(
            "expected no --preprocess, --mean and the like, found some: with --stats images are \
            preprocessed as they were for the statistics",
        )
        .hint("leave these flags out, or calibrate again with them"));
    }
    Ok(stored)
}

/// The float and the integer program.
struct Programs {
    /// None where nothing says for which sizes.
    integer: Option<Arc<Program>>,
    /// What is timed, if there is a sample and a report.
    timed: Option<Timed>,
}

/// The float program, and what both read: a sample.
struct Timed {
    float: Arc<Program>,
    inputs: Vec<Tensor>,
    /// The same, as integers where the integer program takes them.
    integers: Vec<Tensor>,
}

impl Programs {
    /// Compiles both for inputs of the sizes that the data has; without data the integer one for a batch of 1. `None` if
    /// the watch stopped the integer one.
    fn new(
        quantized: &Quantized,
        data: Option<&Dataset>,
        arguments: &Arguments,
        watch: &mut dyn Watch,
    ) -> Result<Option<Programs>> {
        let target = arguments.machine.target();
        let Some(data) = data else {
            return match with_batch(&quantized.integer, None) {
                Ok(sized) => {
                    let integer = compile_watched(&sized, &target, watch)?;
                    Ok(integer.map(|integer| Programs { integer: Some(integer), timed: None }))
                }
                // Whoever wants to see the graph of a compiler pass cannot do without.
                Err(e) if arguments.output.is_none() => Err(e),
                Err(_) => Ok(Some(Programs { integer: None, timed: None })),
            };
        };
        let inputs: Vec<Tensor> = data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor).collect();
        let sized = |g| sized_for(g, &inputs, &Customs::default());
        let integer = compile_watched(&sized(&quantized.integer)?, &target, watch)?;
        let timed = || -> Result<Timed> {
            let float = compile(&sized(&quantized.float)?, &target)?;
            let integers = entering(&quantized.integer, &inputs)?.into_owned();
            Ok(Timed { float, inputs: inputs.clone(), integers })
        };
        let timed = (!arguments.no_report).then(timed).transpose()?;
        Ok(integer.map(|integer| Programs { integer: Some(integer), timed }))
    }

    /// Times them side by side, if there is a sample.
    fn latency(&self, machine: &MachineArguments, progress: &Progress) -> Result<Option<Latency>> {
        let (Some(integer), Some(timed)) = (&self.integer, &self.timed) else { return Ok(None) };
        progress.stage("time", None);
        let lanes: [(&Arc<Program>, &[Tensor]); 2] = [(&timed.float, &timed.inputs), (integer, &timed.integers)];
        let times = interleaved(&lanes, machine.threads(), EFFORT)?;
        let [float, integer] = <[Timing; 2]>::try_from(times).map_err(|_| Error::new("expected two timings"))?;
        Ok(Some(Latency { speedup: float.median_ms / integer.median_ms, float, integer }))
    }

    /// Times every step of the integer one, if there is a sample.
    fn steps(&self, machine: &MachineArguments, progress: &Progress) -> Result<Vec<StepTime>> {
        let (Some(integer), Some(timed)) = (&self.integer, &self.timed) else { return Ok(Vec::new()) };
        progress.stage("profile", None);
        profile(integer, &timed.integers, machine.threads(), EFFORT)
    }

    /// Why nothing is measured where there is no sample.
    fn unmeasured(&self, arguments: &Arguments) -> String {
        let sizes = match self.integer {
            Some(_) => "",
            None => ", nor what the interpreter would run, since the model leaves sizes open",
        };
        let why = if arguments.no_data { "there are no samples" } else { "statistics hold no samples" };
        format!("latency, layers and accuracy{sizes}: {why} (--evaluate DATA)")
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
    progress.stage("compare", Some(samples.count()));
    let errors = analysis::compare(&quantized.float, &quantized.integer, &machine.engine()?, &samples, 0)?;
    Ok(analysis::worst_layers(&quantized.float, &errors, WORST))
}

/// Every layer, by itself and with those before it.
fn compared(
    quantized: &Quantized,
    data: &Dataset,
    machine: &MachineArguments,
    progress: &Progress,
) -> Result<Comparison> {
    let samples = args::spread(data, ERROR_SAMPLES, progress);
    progress.stage("compare", Some(samples.count()));
    compare_graphs(&quantized.float, &quantized.integer, &machine.engine()?, &samples, 0)
}

/// The layers of a comparison with the least signal to noise.
fn worst(comparison: &Comparison) -> Vec<LayerError> {
    let error = |l: &lowbit::compare::Layer| LayerError {
        node: l.node.clone(),
        op: l.op.clone(),
        value: l.value.clone(),
        sqnr_db: l.cumulative.sqnr_db,
        cosine: l.cumulative.cosine,
        max_error: l.cumulative.max_error,
    };
    let mut layers: Vec<LayerError> = comparison.layers.iter().filter(|l| l.layer).map(error).collect();
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    layers.truncate(WORST);
    layers
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

fn configuration(arguments: &Arguments) -> Result<Sourced> {
    let choices = arguments.choices.over(Sourced::default())?;
    args::check(&choices.config)?;
    Ok(choices)
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

/// What the model is made from, which no output may replace.
fn sources(arguments: &Arguments) -> impl Iterator<Item = (&str, &Path)> {
    let data = [&arguments.data, &arguments.evaluate].into_iter().flatten().map(Path::new);
    let config = arguments.choices.choices.config.iter().map(PathBuf::as_path);
    std::iter::once(("the float model", arguments.model.path.as_path()))
        .chain(config.map(|path| ("the configuration", path)))
        .chain(arguments.stats.iter().map(|path| ("the statistics", path.as_path())))
        .chain(data.map(|path| ("the data", path)))
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
