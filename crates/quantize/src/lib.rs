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
pub mod prepare;
pub mod realize;
pub mod refine;
pub mod report;
pub mod rules;
pub mod samples;

pub use annotate::{Annotator, Call, Decision, Declined, annotate};
pub use calibrate::{Chosen, Stats, calibrate};
pub use config::Config;
pub use equalize::{Equalized, equalize};
pub use prepare::{Prepare, prepare};
pub use realize::{LeftFloat, realize};
pub use refine::{Correction, Refine, refine};
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
    /// Operators of the user's.
    pub customs: Customs,
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
    check_float_mode()?;
    let config = &options.config;
    check_weights(model)?;
    let mut float = model.clone();
    if prepare(&mut float, &mut Prepare { customs: options.customs.clone() }, watch)? == Flow::Stop {
        return Ok(None);
    }
    let equalized = stage("equalize", &mut float, watch, |g| equalize(g, config, engine, samples))?;
    let Some(equalized) = equalized else { return Ok(None) };
    let mut g = float.clone();
    let Some(declined) = stage("annotate", &mut g, watch, |g| annotate(g, config, &options.rules))? else {
        return Ok(None);
    };
    let Some(values) = stage("calibrate", &mut g, watch, |g| calibrate(g, config, engine, samples))? else {
        return Ok(None);
    };
    let cx = Refine { float: &float, engine, samples, limit: config.refine_samples };
    let Some(corrections) = stage("refine", &mut g, watch, |g| refine(g, &config.refinements, &cx))? else {
        return Ok(None);
    };
    record(&mut g, &declined)?;
    let qdq = g.clone();
    let Some(left) = stage("realize", &mut g, watch, |g| realize(g, config))? else { return Ok(None) };
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
