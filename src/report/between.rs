//! The report of two models: everything that can be told of one beside the other, on some samples.

use super::data::{self, Fact, Latency, Size, Sources, gather};
use super::{Data, EFFORT};
use crate::bench::{Timing, interleaved_while, profile};
use crate::choices::Sourced;
use crate::compare::{Comparison, compare_graphs};
use crate::engine::Compiled;
use crate::explain::explain;
use crate::left::{Left, left_float};
use crate::model::{Model, entering, sized_for};
use crate::numbers::{counted, share};
use lowbit_compile::{Target, compile};
use lowbit_ir::{Error, Result, Tensor};
use lowbit_quantize::Samples;
use lowbit_quantize::report::{constant_bytes, percent};
use std::collections::BTreeMap;

/// Two models, and what people call them.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// What the other one is compared with.
    pub reference: &'a Model,
    /// Its name.
    pub reference_name: &'a str,
    /// What the report is of.
    pub model: &'a Model,
    /// Its name.
    pub model_name: &'a str,
    /// Bytes of the files of both, where they are files.
    pub files: Option<(u64, u64)>,
}

/// What they are looked at with.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// All of them are looked at; the first is what times are of.
    pub samples: &'a dyn Samples,
    /// What people call the data.
    pub data: &'a str,
    /// Whether it is noise, which says nothing of how good a model is.
    pub random: bool,
    /// What programs are compiled for.
    pub target: &'a Target,
    /// On so many threads.
    pub threads: usize,
    /// Is told of every stage, with its samples if it looks at any.
    pub stage: &'a dyn Fn(&str, Option<usize>),
    /// Is asked between runs whether to go on.
    pub go_on: &'a dyn Fn() -> Result<()>,
}

/// What a report tells of a model beside a reference; `comparison` is theirs, if it was made before.
///
/// # Errors
///
/// Where the samples do not fit one of the models, or nothing of both has the same name.
pub fn between(pair: &Pair, look: &Look, comparison: Option<Comparison>) -> Result<Data> {
    let (reference, _) = pair.reference.lowered()?;
    let (compared, left) = pair.model.lowered()?;
    let left: Vec<Left> = if pair.model.is_quantized() { left_float(&compared, &left) } else { Vec::new() };
    let engine = Compiled::new(look.target.clone(), look.threads)?;
    let count = look.samples.len();
    let comparison = match comparison {
        Some(comparison) => comparison,
        None => {
            (look.stage)("compare", Some(count));
            compare_graphs(&reference, &compared, &engine, look.samples, 0)?
        }
    };
    let explained = pair.model.is_quantized().then(|| explain(pair.model, &Sourced::default())).transpose()?;
    let observed = match &explained {
        Some(explained) => data::observed(&reference, pair.model.graph(), explained)?,
        None => Vec::new(),
    };
    let histograms = match observed.is_empty() {
        true => BTreeMap::new(),
        false => {
            (look.stage)("histograms", Some(count));
            data::histograms(&reference, &observed, &engine, look.samples, 0)?
        }
    };
    drop(engine);
    (look.stage)("time", None);
    let inputs = look.samples.sample(0)?;
    let lane = |graph| -> Result<_> {
        let inputs: Vec<Tensor> = entering(graph, &inputs)?.into_owned();
        Ok((compile(&sized_for(graph, &inputs, &look.target.customs)?, look.target)?, inputs))
    };
    let (before, after) = (lane(&reference)?, lane(&compared)?);
    let lanes = [(&before.0, &before.1[..]), (&after.0, &after.1[..])];
    let times = interleaved_while(&lanes, look.threads, EFFORT, look.go_on)?;
    let [float, integer] = <[Timing; 2]>::try_from(times).map_err(|_| Error::new("expected two timings"))?;
    (look.stage)("profile", None);
    let steps = profile(&after.0, &after.1, look.threads, EFFORT)?;
    (look.go_on)()?;
    let choices = match pair.model.stored_config()? {
        Some(config) => Sourced::of_model(config, pair.model_name).choices(),
        None => Vec::new(),
    };
    (look.stage)("report", None);
    let sources = Sources {
        reference: &reference,
        model: pair.model,
        compared: &compared,
        explained: explained.as_ref(),
        left_float: &left,
        choices: &choices,
        comparison: Some(&comparison),
        steps: &steps,
        histograms: &histograms,
    };
    let gathered = gather(pair.model_name, pair.reference_name, &sources)?;
    let size = |name: &str, before, after| Size { name: name.into(), before, after };
    let constants = size("Constants", constant_bytes(&reference), constant_bytes(&compared));
    let files = pair.files.map(|(before, after)| size("File", before, after));
    let of = format!("{} of {}", counted(count, "sample"), look.data);
    Ok(Data {
        facts: facts(pair, &of, &gathered),
        sizes: std::iter::once(constants).chain(files).collect(),
        compared: Some(data::compared(&reference, &comparison, look.data, look.random)),
        latency: Some(Latency { float, integer }),
        histograms_of: (!histograms.is_empty()).then_some(of),
        ..gathered
    })
}

/// What was read and looked at.
fn facts(pair: &Pair, of: &str, data: &Data) -> Vec<Fact> {
    let fact = |name: &str, text: String| Fact { name: name.into(), text };
    let kind = |model: &Model| if model.is_quantized() { "quantized" } else { "float" };
    let layers: Vec<_> = data.nodes.iter().filter(|n| n.layer).collect();
    let on: Vec<_> = layers.iter().filter(|n| n.computes == data::Computes::Integers).collect();
    let work: u64 = layers.iter().map(|n| n.macs).sum();
    let integers = format!(
        "{} of {} on integers, {} % of the multiply-accumulates",
        on.len(),
        layers.len(),
        share(percent(on.iter().map(|n| n.macs).sum(), work))
    );
    vec![
        fact("reference", format!("{}, {}", pair.reference_name, kind(pair.reference))),
        fact("model", format!("{}, {}", pair.model_name, kind(pair.model))),
        fact("compared on", of.into()),
        fact("layers", integers),
    ]
}
