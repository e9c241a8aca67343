//! Post-training quantization: prepare, equalize, annotate, calibrate, refine, realize.
//!
//! ```text
//! float graph --prepare, equalize--> canonical --annotate--> placeholders --calibrate--> QDQ --refine--> QDQ --realize--> integers
//! ```
//!
//! [`quantize`] is the whole; every stage is a function of its own. Graphs run only through an [`Engine`].
//! To bend it: [`Config`] for the choices, [`Rules`] for what is quantized, the tables [`prepare::PREPARE`],
//! [`observe::OBSERVERS`] and [`refine::REFINEMENTS`] for what there is.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod annotate;
pub mod calibrate;
pub mod config;
pub mod equalize;
pub mod observe;
pub mod phase;
pub mod prepare;
pub mod realize;
pub mod refine;
pub mod report;
pub mod rules;
pub mod samples;

pub use annotate::{Annotator, Call, Decision, Declined, annotate};
pub use calibrate::{Chosen, Stats, calibrate};
pub use config::{Config, Spec};
pub use equalize::{Equalized, equalize};
pub use observe::{Observer, Observers};
pub use phase::{Passes, Phase};
pub use prepare::{Prepare, prepare};
pub use realize::{LeftFloat, Realizers, realize};
pub use refine::{Correction, Refine, Refinements, refine};
pub use report::Report;
pub use rules::Rules;
pub use samples::Samples;

use lowbit_ir::op::Category;
use lowbit_ir::pass::{Flow, Watch};
use lowbit_ir::{Customs, Engine, Error, Graph, Result, check_float_mode, hardware, meta, verify};
use std::collections::BTreeMap;

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
#[derive(Debug, Clone, Default)]
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
}

impl Options {
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
pub fn quantize(
    model: &Graph,
    options: &Options,
    engine: &dyn Engine,
    samples: &dyn Samples,
    watch: &mut dyn Watch,
) -> Result<Option<Quantized>> {
    options.check()?;
    check_float_mode()?;
    let config = &options.config;
    let own = |phase, g: &mut Graph, watch: &mut dyn Watch| options.passes.run(phase, g, watch);
    check_weights(model)?;
    let mut float = model.clone();
    if prepare(&mut float, &mut Prepare { customs: options.customs.clone() }, watch)? == Flow::Stop
        || own(Phase::Prepared, &mut float, watch)? == Flow::Stop
    {
        return Ok(None);
    }
    let equalized = stage("equalize", &mut float, watch, |g| equalize(g, config, engine, samples))?;
    let Some(equalized) = equalized else { return Ok(None) };
    if own(Phase::Equalized, &mut float, watch)? == Flow::Stop {
        return Ok(None);
    }
    let mut g = float.clone();
    let Some(declined) = stage("annotate", &mut g, watch, |g| annotate(g, options))? else { return Ok(None) };
    if own(Phase::Annotated, &mut g, watch)? == Flow::Stop {
        return Ok(None);
    }
    let Some(values) = stage("calibrate", &mut g, watch, |g| calibrate(g, options, engine, samples))? else {
        return Ok(None);
    };
    if own(Phase::Calibrated, &mut g, watch)? == Flow::Stop {
        return Ok(None);
    }
    let cx = Refine { float: &float, engine, samples, limit: config.refine_samples };
    let Some(corrections) = stage("refine", &mut g, watch, |g| refine(g, options, &cx))? else { return Ok(None) };
    if own(Phase::Refined, &mut g, watch)? == Flow::Stop {
        return Ok(None);
    }
    record(&mut g, &declined)?;
    let qdq = g.clone();
    let Some(left) = stage("realize", &mut g, watch, |g| realize(g, config, &options.realizers))? else {
        return Ok(None);
    };
    if own(Phase::Realized, &mut g, watch)? == Flow::Stop {
        return Ok(None);
    }
    hardware::check(&g, hardware::find(&config.hardware)?)?;
    let first = if samples.is_empty() { Vec::new() } else { samples.sample(0)? };
    let sizes: Vec<Vec<usize>> = first.iter().map(|t| t.dims().to_vec()).collect();
    let found = report::Findings {
        float: &float,
        integer: &g,
        sizes: &sizes,
        declined: &declined,
        left: &left,
        values,
        equalized,
        corrections,
    };
    let report = Report::new(config, found);
    if config.integer_only {
        report.only_integers()?;
    }
    Ok(Some(Quantized { float, qdq, integer: g, report }))
}

/// Refuses weights that are not finite, before they are folded into others and everything behind them is not either.
fn check_weights(g: &Graph) -> Result<()> {
    for (_, node) in g.nodes().filter(|(_, n)| matches!(n.op.category(), Category::Layer | Category::Normalization)) {
        for v in node.operands() {
            let Some(data) = g.constant(v).filter(|t| t.dtype().is_float()) else { continue };
            if let Some((at, bad)) = data.floats()?.iter().enumerate().find(|(_, x)| !x.is_finite()) {
                return Err(Error::new(format!("expected finite weights, found {bad} (element {at})"))
                    .at_value(&g.value(v).name)
                    .at_node(&node.name)
                    .hint("the model is damaged or diverged in training"));
            }
        }
    }
    Ok(())
}

/// Writes into the metadata why nodes stay float, so that whoever reads the file can say it too.
fn record(g: &mut Graph, declined: &[Declined]) -> Result<()> {
    if declined.is_empty() {
        return Ok(());
    }
    let reasons: BTreeMap<&str, &str> = declined.iter().map(|d| (d.node.as_str(), d.reason.as_str())).collect();
    let json = serde_json::to_string(&reasons).map_err(|e| Error::new(format!("writing the reasons: {e}")))?;
    g.meta.properties.insert(meta::DECLINED.into(), json);
    Ok(())
}

/// Runs one stage, then verifies and shows its graph; `None` if the watch has seen enough.
fn stage<T>(
    name: &str,
    g: &mut Graph,
    watch: &mut dyn Watch,
    run: impl FnOnce(&mut Graph) -> Result<T>,
) -> Result<Option<T>> {
    watch.before(name, g);
    let result = run(g).and_then(|result| {
        g.sweep();
        verify::verify(g).map(|()| result)
    });
    let result = result.map_err(|e| e.context(format!("running stage '{name}'")))?;
    Ok((watch.after(name, g, true) == Flow::Continue).then_some(result))
}
