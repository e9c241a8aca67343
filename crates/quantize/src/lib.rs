//! Post-training quantization: prepare, equalize, annotate, calibrate, refine, realize.
//!
//! ```text
//! float graph --prepare, equalize--> canonical --annotate--> placeholders --calibrate--> QDQ --refine--> QDQ --realize--> integers
//! ```
//!
//! [`quantize`] is the whole, in one run; [`gather`] and [`quantize_with_stats`] are its halves for statistics that are
//! made in several; [`quantize_without_samples`] looks at nothing and takes one range for all values. Every stage is a function of its own. Graphs run only through an [`Engine`].
//! To bend it: [`Config`] for the choices, [`Rules`] for what is quantized, the tables [`prepare::PREPARE`],
//! [`observe::OBSERVERS`] and [`refine::REFINEMENTS`] for what there is.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod annotate;
pub mod calibrate;
mod channels;
pub mod config;
pub mod declined;
mod dynamic;
mod each_sample;
pub mod equalize;
pub mod observe;
pub mod origin;
pub mod phase;
pub mod prepare;
pub mod realize;
pub mod refine;
pub mod report;
pub mod rules;
pub mod samples;
mod share;

pub use annotate::{Annotator, Call, Decision, Declined, annotate};
pub use calibrate::{Checkpoint, Chosen, Shard, Stats, calibrate};
pub use config::{Config, Spec};
pub use equalize::{Equalized, equalize};
pub use observe::{Observer, Observers};
pub use phase::{Passes, Phase};
pub use prepare::{Prepare, prepare};
pub use realize::{LeftFloat, Realizers, realize};
pub use refine::{Correction, Refine, Refinements, refine};
pub use report::{Report, Skipped};
pub use rules::Rules;
pub use samples::Samples;

use lowbit_ir::op::Category;
use lowbit_ir::pass::{Flow, Watch};
use lowbit_ir::{
    Customs, Dim, Engine, Error, Graph, Result, Run, Tensor, ValueId, check_float_mode, hardware, memory, verify,
};
use std::collections::HashSet;

/// A quantized model in its three forms, and the account of how it came about.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The float graph in canonical form, equalized: what the integers are compared with.
    pub float: Graph,
    /// The calibrated graph: what is exported.
    pub qdq: Graph,
    /// The integer program: what is compiled.
    pub integer: Graph,
    /// What was done and chosen.
    pub report: Report,
}

/// What the pipeline is told besides the model and the data.
#[derive(Debug, Clone)]
pub struct Options {
    /// The choices.
    pub config: Config,
    /// What is quantized.
    pub rules: Rules,
    /// What finds ranges.
    pub observers: Observers,
    /// What corrects the calibrated graph.
    pub refinements: Refinements,
    /// What becomes integers, and how.
    pub realizers: Realizers,
    /// Passes of the user's.
    pub passes: Passes,
    /// Operators of the user's.
    pub customs: Customs,
    /// Bytes that statistics, and constants that are computed, may take beyond the model.
    pub max_memory: usize,
    /// Where calibration keeps what it has seen, to go on from there if it ends before its end.
    pub checkpoint: Option<Checkpoint>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            config: Config::default(),
            rules: Rules::default(),
            observers: Observers::default(),
            refinements: Refinements::default(),
            realizers: Realizers::default(),
            passes: Passes::default(),
            customs: Customs::default(),
            max_memory: memory::MAX_MEMORY,
            checkpoint: None,
        }
    }
}

impl Options {
    /// The functions of the user's that have a say, which no file can hold.
    pub fn own(&self) -> Vec<String> {
        let named: Vec<String> = self
            .config
            .entries()
            .into_iter()
            .filter(|(key, _)| key.ends_with(".observer"))
            .map(|(_, name)| name)
            .collect();
        let quoted = |name: &str| toml::Value::String(name.into()).to_string();
        let rules = self.rules.names().map(|name| format!("the rule '{name}'"));
        let observers = self.observers.names().filter(|name| named.contains(&quoted(name)));
        let refinements = self.refinements.names().filter(|name| self.config.refinements.iter().any(|n| n == name));
        rules
            .chain(observers.map(|name| format!("the observer '{name}'")))
            .chain(refinements.map(|name| format!("the refinement '{name}'")))
            .chain(self.passes.names().map(|name| format!("the pass '{name}'")))
            .chain(self.realizers.names().map(|op| format!("the realize function of {op}")))
            .collect()
    }

    /// Refuses what cannot work, before any data is read; what depends on the model is found when it is annotated.
    pub fn check(&self) -> Result<()> {
        self.config.check()?;
        self.observers.check(&self.config)?;
        self.refinements.check(&self.config.refinements)?;
        self.realizers.check()?;
        self.rules.check()
    }
}

/// The stages after prepare, for `--stop-after` and `--print-after`; prepare's passes are in [`prepare::PREPARE`].
pub const STAGES: [&str; 5] = ["equalize", "annotate", "calibrate", "refine", "realize"];

/// The names that `--stop-after` and `--print-after` take, in order.
pub fn pass_names() -> Vec<&'static str> {
    lowbit_ir::pass::names(prepare::PREPARE).into_iter().chain(STAGES).collect()
}

/// Quantizes a float model; `None` if the watch stopped it, which by then has seen the graph it wanted.
///
/// Whoever gives the model away, and keeps no clone, which shares its weights, gets back the memory of its file once
/// equalization has replaced most of them.
pub fn quantize(
    model: Graph,
    options: &Options,
    engine: &dyn Engine,
    samples: &dyn Samples,
    watch: &mut dyn Watch,
) -> Result<Option<Quantized>> {
    check_refined(&options.config)?;
    run(model, options, &Evidence { engine, samples, of: Ranges::Samples }, Vec::new(), watch)
}

/// As [`quantize`], from statistics that [`gather`] made instead of samples.
///
/// What needs samples besides, equalization and the refinements, is left out: the report lists it, and its
/// configuration is the one without, and with the number of samples that were run.
pub fn quantize_with_stats(
    model: Graph,
    options: &Options,
    shard: &Shard,
    watch: &mut dyn Watch,
) -> Result<Option<Quantized>> {
    options.check()?;
    let (mut options, skipped) = without_samples(options, &STATISTICS_ONLY);
    // The choice was made when they were gathered: what is in force is what was run.
    options.config.samples = usize::try_from(shard.stats.samples).unwrap_or(usize::MAX);
    let evidence = Evidence { engine: &NoEngine, samples: &Vec::new(), of: Ranges::Stats(shard) };
    run(model, &options, &evidence, skipped, watch)
}

/// As [`quantize`], with nothing to look at: all values have the one range that the configuration's `global_scale` says.
///
/// The observers of inputs and activations that the configuration leaves as they usually are become `global_scale`; any
/// other that looks at samples is an error. What needs samples besides is left out, as with statistics. The report's
/// configuration is the one in force: it names the observer, and says that no samples were run.
pub fn quantize_without_samples(model: Graph, options: &Options, watch: &mut dyn Watch) -> Result<Option<Quantized>> {
    options.check()?;
    let (options, skipped) = without_data(options)?;
    let evidence = Evidence { engine: &NoEngine, samples: &Vec::new(), of: Ranges::Global };
    run(model, &options, &evidence, skipped, watch)
}

/// Runs samples through the prepared model and keeps what [`quantize_with_stats`] needs of them; `None` if the watch
/// stopped it.
///
/// The model is not equalized: its factors would depend on the samples, and statistics of several runs would be of
/// several models.
pub fn gather(
    model: Graph,
    options: &Options,
    engine: &dyn Engine,
    samples: &dyn Samples,
    watch: &mut dyn Watch,
) -> Result<Option<Shard>> {
    options.check()?;
    let (options, _) = without_samples(options, &STATISTICS_ONLY);
    let evidence = Evidence { engine, samples, of: Ranges::Samples };
    let Some(annotated) = annotated(model, &options, &evidence, watch)? else { return Ok(None) };
    let Annotated { float, graph: mut g, .. } = annotated;
    let mut way = Way { passes: &Passes::default(), watch };
    way.stage("calibrate", Phase::Calibrated, &mut g, |g| Shard::gather(&float, g, engine, samples, &options))
}

/// Refuses a number of samples for what is not asked to look at any.
fn check_refined(config: &Config) -> Result<()> {
    let n = config.refine_samples;
    match n != Config::default().refine_samples && !config.equalize && config.refinements.is_empty() {
        false => Ok(()),
        true => {
            Err(Error::new(format!("refine_samples = {n} has no effect: equalize is false, and refinements is empty")))
        }
    }
}

/// What ranges are found from.
struct Evidence<'a> {
    engine: &'a dyn Engine,
    samples: &'a dyn Samples,
    of: Ranges<'a>,
}

/// What calibration looks at. There are no samples but with the first.
enum Ranges<'a> {
    /// The samples.
    Samples,
    /// What others saw of some.
    Stats(&'a Shard),
    /// Nothing: every observer takes the same range for all values.
    Global,
}

/// Where there are no samples, nothing is run.
struct NoEngine;

impl Engine for NoEngine {
    fn name(&self) -> String {
        "none".into()
    }

    fn load(&self, _: &Graph, _: &[ValueId]) -> Result<Box<dyn Run>> {
        Err(Error::new("expected samples to run, found none"))
    }
}

/// Why what looks at samples is left out.
struct Unseen {
    equalize: &'static str,
    refinement: &'static str,
    count: &'static str,
}

const STATISTICS_ONLY: Unseen = Unseen {
    equalize: "its factors are found on samples, and statistics are of the model without them",
    refinement: "it runs samples, and there are statistics only",
    count: "nothing looks at samples, as there are statistics only",
};

const NO_SAMPLES: Unseen = Unseen {
    equalize: "its factors are found on samples, and there are none",
    refinement: "it runs samples, and there are none",
    count: "nothing looks at samples, as there are none",
};

/// The options without what looks at samples besides calibration, and what that leaves out.
fn without_samples(options: &Options, why: &Unseen) -> (Options, Vec<Skipped>) {
    let mut options = options.clone();
    let mut skipped = Vec::new();
    if std::mem::take(&mut options.config.equalize) {
        skipped.push(Skipped::new("equalize", why.equalize));
    }
    let refinements = std::mem::take(&mut options.config.refinements);
    skipped.extend(refinements.iter().map(|name| Skipped::new(name, why.refinement)));
    let refined = std::mem::replace(&mut options.config.refine_samples, Config::default().refine_samples);
    if refined != options.config.refine_samples {
        skipped.push(Skipped::new("refine_samples", why.count));
    }
    (options, skipped)
}

/// The options without anything that looks at samples, and what that leaves out: those with which
/// [`quantize_without_samples`] works.
///
/// # Errors
///
/// Where an observer of values that looks at samples was asked for.
pub fn without_data(options: &Options) -> Result<(Options, Vec<Skipped>)> {
    let (mut options, mut skipped) = without_samples(options, &NO_SAMPLES);
    let (config, usual) = (&mut options.config, Config::default());
    for (spec, usual) in [(&mut config.input, usual.input), (&mut config.activation, usual.activation)] {
        if spec.observer.is_none() || spec.observer == usual.observer {
            spec.observer = Some(observe::GLOBAL_SCALE.into());
        }
    }
    // None is how many were run, and whoever wants all of none gets them.
    let samples = std::mem::take(&mut config.samples);
    if ![0, usual.samples].contains(&samples) {
        skipped.push(Skipped::new("samples", NO_SAMPLES.count));
    }
    options.observers.check_without_samples(&options.config)?;
    Ok((options, skipped))
}

/// A model up to the stage `annotate`.
struct Annotated {
    float: Graph,
    graph: Graph,
    equalized: Vec<Equalized>,
    declined: Vec<Declined>,
}

/// Runs the stages before calibration; `None` if the watch stopped them.
fn annotated(model: Graph, options: &Options, evidence: &Evidence, watch: &mut dyn Watch) -> Result<Option<Annotated>> {
    check_float_mode()?;
    let passes = &options.passes;
    let (given, mut float) = (bytes_of(&model), model);
    if passes.run(Phase::Imported, &mut float, watch)? == Flow::Stop {
        return Ok(None);
    }
    check_weights(&float)?;
    if prepare(&mut float, &mut Prepare::new(options.customs.clone(), options.max_memory), watch)? == Flow::Stop
        || passes.run(Phase::Prepared, &mut float, watch)? == Flow::Stop
    {
        return Ok(None);
    }
    let mut way = Way { passes, watch };
    let (engine, samples) = (evidence.engine, evidence.samples);
    let equalized =
        way.stage("equalize", Phase::Equalized, &mut float, |g| equalize(g, &options.config, engine, samples))?;
    let Some(equalized) = equalized else { return Ok(None) };
    let_go(&mut float, &given);
    if let Ranges::Stats(shard) = evidence.of {
        shard.check_model(&float)?;
    }
    let mut graph = float.clone();
    let declined = way.stage("annotate", Phase::Annotated, &mut graph, |g| annotate(g, options))?;
    Ok(declined.map(|declined| Annotated { float, graph, equalized, declined }))
}

/// Where the bytes of the constants lie: what a model shares with the file it came from.
fn bytes_of(g: &Graph) -> HashSet<*const u8> {
    constants(g).map(|(_, tensor)| tensor.bytes().as_ptr()).collect()
}

fn constants(g: &Graph) -> impl Iterator<Item = (ValueId, &Tensor)> {
    g.values().filter_map(|(v, _)| Some((v, g.constant(v)?)))
}

/// Lets go of the file that a model came from, where most of its weights were replaced: a single one that is left would
/// keep all bytes of the file, so what is left is copied.
fn let_go(g: &mut Graph, given: &HashSet<*const u8>) {
    let is_left = |tensor: &Tensor| given.contains(&tensor.bytes().as_ptr());
    let size =
        |left: bool| -> usize { constants(g).filter(|(_, t)| is_left(t) == left).map(|(_, t)| t.bytes().len()).sum() };
    if size(true) < size(false) {
        let copies: Vec<_> = constants(g).filter(|(_, t)| is_left(t)).map(|(v, t)| (v, t.copied())).collect();
        copies.into_iter().for_each(|(v, copy)| g.set_const(v, copy));
    }
}

fn run(
    model: Graph,
    options: &Options,
    evidence: &Evidence,
    skipped: Vec<Skipped>,
    watch: &mut dyn Watch,
) -> Result<Option<Quantized>> {
    options.check()?;
    let config = &options.config;
    let Some(annotated) = annotated(model, options, evidence, watch)? else { return Ok(None) };
    let Annotated { float, graph: mut g, equalized, declined } = annotated;
    let (engine, samples) = (evidence.engine, evidence.samples);
    let mut way = Way { passes: &options.passes, watch };
    let values = way.stage("calibrate", Phase::Calibrated, &mut g, |g| match evidence.of {
        Ranges::Samples => calibrate(g, options, engine, samples),
        Ranges::Stats(shard) => calibrate::calibrate_from(g, options, shard),
        Ranges::Global => calibrate::calibrate_without_samples(g, options),
    })?;
    let Some(values) = values else { return Ok(None) };
    let cx = Refine { float: &float, engine, samples, limit: config.refine_samples };
    let corrections = way.stage("refine", Phase::Refined, &mut g, |g| refine(g, options, &cx))?;
    let Some(corrections) = corrections else { return Ok(None) };
    let mut qdq = g.clone();
    let left = way.stage("realize", Phase::Realized, &mut g, |g| {
        let left = realize(g, config, &options.realizers)?;
        declined::record_left(g, &declined, &left)?;
        Ok(left)
    })?;
    let Some(left) = left else { return Ok(None) };
    declined::record_left(&mut qdq, &declined, &left)?;
    origin::record(&mut qdq, config, &values, &corrections)?;
    hardware::check(&g, hardware::find(&config.hardware)?)?;
    let sizes: Vec<Vec<usize>> = match samples.is_empty() {
        true => sizes_of_one(&float),
        false => samples.sample(0)?.iter().map(|t| t.dims().to_vec()).collect(),
    };
    let found = report::Findings {
        float: &float,
        integer: &g,
        sizes: &sizes,
        declined: &declined,
        left: &left,
        values,
        equalized,
        corrections,
        skipped,
    };
    let report = Report::new(config, found);
    if config.integer_only {
        report.only_integers()?;
    }
    Ok(Some(Quantized { float, qdq, integer: g, report }))
}

/// The sizes of the inputs for one sample where only the batch is open; none where more is.
fn sizes_of_one(g: &Graph) -> Vec<Vec<usize>> {
    let size = |(i, d): (usize, &Dim)| d.known().or((i == 0).then_some(1));
    let sizes = |v: &ValueId| g.ty(*v).shape.0.iter().enumerate().map(size).collect::<Option<Vec<usize>>>();
    g.inputs.iter().map(sizes).collect::<Option<_>>().unwrap_or_default()
}

/// Refuses weights that are not finite, before they are folded into others and everything behind them is not either.
fn check_weights(g: &Graph) -> Result<()> {
    for (_, node) in g.nodes().filter(|(_, n)| matches!(n.op.category(), Category::Layer | Category::Normalization)) {
        for v in node.operands() {
            let Some(data) = g.constant(v).filter(|t| t.dtype().is_float()) else { continue };
            let data = data.floats()?;
            if observe::ends(&data).is_err()
                && let Some((at, bad)) = data.iter().enumerate().find(|(_, x)| !x.is_finite())
            {
                return Err(Error::new(format!("expected finite weights, found {bad} (element {at})"))
                    .at_value(&g.value(v).name)
                    .at_node(&node.name)
                    .hint("the model is damaged or diverged in training"));
            }
        }
    }
    Ok(())
}

/// What every stage takes along.
struct Way<'a> {
    passes: &'a Passes,
    watch: &'a mut dyn Watch,
}

impl Way<'_> {
    /// Runs one stage, verifies and shows its graph, and runs the user's passes behind it; `None` if the watch has seen
    /// enough.
    fn stage<T>(
        &mut self,
        name: &str,
        phase: Phase,
        g: &mut Graph,
        run: impl FnOnce(&mut Graph) -> Result<T>,
    ) -> Result<Option<T>> {
        self.watch.before(name, g);
        let result = run(g).and_then(|result| {
            g.sweep();
            verify::verify(g).map(|()| result)
        });
        let result = result.map_err(|e| e.context(format!("running stage '{name}'")))?;
        let flow = match self.watch.after(name, g, true) {
            Flow::Continue => self.passes.run(phase, g, self.watch)?,
            Flow::Stop => Flow::Stop,
        };
        Ok((flow == Flow::Continue).then_some(result))
    }
}
