//! `lowbit reproduce`: makes a quantized model again by the recipe in its file, and says whether it is the same.

use crate::args::{self, MachineArguments, ModelArguments};
use crate::diff;
use crate::output::{Outcome, Paper};
use crate::progress::Progress;
use clap::Args;
use lowbit::data::Dataset;
use lowbit::recipe::Recipe;
use lowbit::reproduce::{Reproduction, check_evidence, is_source, recipe, reproduce, source};
use lowbit::{Model, Quantize, Result, stats};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The quantized model
    #[arg(value_name = "MODEL.onnx")]
    quantized: PathBuf,

    /// The float model it came from: an ONNX file, or the -symbol.json file of an MXNet model
    #[arg(value_name = "SOURCE")]
    source: PathBuf,

    /// The parameters of an MXNet model; looked for beside it unless given
    #[arg(long, value_name = "FILE.params")]
    params: Option<PathBuf>,

    /// The data it was calibrated with; images are preprocessed as the quantized model says
    #[arg(long, value_name = "DATA", conflicts_with = "stats")]
    data: Option<String>,

    /// The statistics it was made from, if it was
    #[arg(long, value_name = "FILE", num_args = 1..)]
    stats: Vec<PathBuf>,

    #[command(flatten)]
    machine: MachineArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    source: &'a Path,
    #[serde(flatten)]
    reproduction: Reproduction,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let memory = &arguments.machine.memory;
    let model = args::load(&arguments.quantized, &[], memory)?;
    let wanted = recipe(&model)?;
    check(&wanted, arguments)?;
    let source = float(&model, arguments)?;
    let progress = Progress::new();
    if !is_source(&wanted, &source) {
        progress.warn(&format!("'{}' is not the float model of the recipe", arguments.source.display()));
    }
    let preprocess = model.stored_preprocess()?;
    let open = |spec: &String| {
        let preprocess = if Dataset::takes_preprocess(spec)? { preprocess.as_ref() } else { None };
        args::open_quietly(spec, &source, preprocess, *memory)
    };
    let data = arguments.data.as_ref().map(open).transpose()?;
    let limit = model.config()?.samples;
    let samples = data.as_ref().map(|data| args::spread(data, limit, &progress));
    let how = Quantize::default().engine(arguments.machine.engine()?);
    let how = match (samples, arguments.stats.is_empty()) {
        (Some(samples), _) => {
            samples.check()?;
            progress.stage("reproduce", Some(samples.count()));
            how.data(samples)
        }
        (None, true) => how.without_data(),
        (None, false) => how.stats(stats::load_all(&arguments.stats)?),
    };
    let reproduction = reproduce(&arguments.quantized, &source, how)?;
    drop(progress);
    let found = Found { model: &arguments.quantized, source: &arguments.source, reproduction };
    Ok(Outcome { success: found.reproduction.same, ..Outcome::new(found.text(paper), &found)? })
}

/// Refuses other evidence than the recipe's: the result could not be the same.
fn check(wanted: &Recipe, arguments: &Arguments) -> Result<()> {
    const WORDS: [&str; 3] = ["--data", "--stats", "neither --data nor --stats"];
    let [data, statistics, nothing] = WORDS;
    let given = match (&arguments.data, arguments.stats.is_empty()) {
        (Some(_), _) => data,
        (None, false) => statistics,
        (None, true) => nothing,
    };
    check_evidence(wanted, given, WORDS)
}

/// The float model.
fn float(quantized: &Model, arguments: &Arguments) -> Result<Model> {
    let load = |shapes| {
        let (path, params) = (arguments.source.clone(), arguments.params.clone());
        ModelArguments { path, params, shapes }.load_silently(&arguments.machine.memory)
    };
    source(quantized, load).map_err(|e| e.context(format!("reading '{}'", arguments.source.display())))
}

impl Found<'_> {
    fn text(&self, paper: &Paper) -> String {
        let r = &self.reproduction;
        let what = format!("'{}' from '{}'", self.model.display(), self.source.display());
        if r.same {
            return format!("{}: {what}, all {} bytes\n", paper.bold("the same"), r.bytes.0);
        }
        let mut out =
            format!("{}: {what}, {} bytes in the file and {} made\n", paper.loud("NOT the same"), r.bytes.0, r.bytes.1);
        for other in &r.others {
            let _ = writeln!(out, "another {}: the recipe says {}, found {}", other.what, other.expected, other.found);
        }
        if let Some(diff) = &r.diff {
            if diff.same {
                let _ = writeln!(out, "both compute the same");
            }
            out.push_str(&diff::text(diff, paper));
        }
        out
    }
}
