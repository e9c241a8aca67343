//! `lowbit compare`: two models layer by layer, and which layer is to blame.

use crate::account::GOOD_DB;
use crate::args::{self, ImageArguments, MachineArguments, ModelArguments, Stored};
use crate::format;
use crate::output::{Outcome, Paper, tell};
use crate::progress::Progress;
use crate::table::{Side, Table, clip};
use clap::Args;
use lowbit::bench::ReferenceStep;
use lowbit::compare::{Comparison, Errors, Layer, Sort, compare_graphs, is_swapped};
use lowbit::data::InputSpec;
use lowbit::left::Left;
use lowbit::quantization::Samples;
use lowbit::quantization::analysis::Parts;
use lowbit::report::{self, Look, Pair};
use lowbit::{Model, Result, Tensor};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// The model that is compared with it; of a float and a quantized model the float one is the reference, in either
    /// order. Without it a quantized model is compared with its own simulation: floats between what it quantizes
    #[arg(value_name = "OTHER")]
    other: Option<PathBuf>,

    /// Data: a folder of images or arrays, .npy, .npz, an idx pair, or random
    #[arg(long, value_name = "DATA")]
    data: String,

    /// Samples, evenly spread over the data
    #[arg(long, value_name = "N", default_value = "8", value_parser = args::samples)]
    samples: usize,

    /// What comes first: the least signal to noise, the least cosine, the greatest error, or what is computed first; of
    /// each layer alone where that is measured
    #[arg(long, value_name = "sqnr|cosine|error|order", default_value = "sqnr")]
    sort: Sort,

    /// Rows of the table; --json has all layers
    #[arg(long, value_name = "N", default_value = "20")]
    top: usize,

    /// A folder for a report: a page for browsers that holds all it shows, the same as JSON, and overlays for Model
    /// Explorer; made if it is not there
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    machine: MachineArguments,
}

/// How much of a squared error clipping is.
fn share(parts: &Parts) -> String {
    match parts.clipping + parts.rounding {
        0.0 => "-".into(),
        all => format!("{:.0}%", 100.0 * parts.clipping / all),
    }
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    reference: &'a Path,
    model: &'a Path,
    /// Whether the reference is the model's own simulation.
    simulated: bool,
    data: &'a str,
    random: bool,
    #[serde(flatten)]
    comparison: Comparison,
    /// What a quantized model would have on integers and stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_float: Option<Vec<Left>>,
    /// What the interpreter runs in the compared model for want of a kernel.
    reference_steps: Vec<ReferenceStep>,
    threads: usize,
    isa: &'static str,
    /// What a quantized reference was made with, unless it is the model's own simulation.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_config: Option<Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
    /// The files of the report, the page first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    report_files: Vec<PathBuf>,
    #[serde(skip)]
    top: usize,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    arguments.report.as_deref().map_or(Ok(()), |folder| args::check_report(folder, [&arguments.data]))?;
    let progress = Progress::new();
    let memory = arguments.machine.memory;
    let given = (arguments.model.path.as_path(), arguments.model.load(&memory)?);
    let mut models = match &arguments.other {
        Some(other) => [given, (other, args::load(other, &arguments.model.shapes, &memory)?)],
        None => {
            let simulated = given.1.simulated().map_err(|e| e.hint("or name the model that it is compared with"))?;
            [(given.0, simulated), given]
        }
    };
    if is_swapped(&models[0].1, &models[1].1) {
        models.reverse();
    }
    let [(path, reference), (other_path, other)] = models;
    // A model that takes integers gets the reference's floats, quantized as it says.
    let same_type = |a: &InputSpec, b: &InputSpec| a.dtype == b.dtype || (a.dtype.is_float() && b.quant.is_some());
    args::check_alike(&other.inputs(), &reference.inputs(), |other, reference| same_type(reference, other))?;
    let preprocess = arguments
        .images
        .resolve(if reference.preprocess().is_some() { &reference } else { &other }, [arguments.data.as_str()])?;
    let data = args::open(&arguments.data, &reference, preprocess.as_ref(), memory, &progress)?;
    let (graph, _) = args::lowered(&reference)?;
    let (other_graph, left_float) = args::lowered(&other)?;
    let first: Vec<Tensor> = data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor).collect();
    let first = lowbit::model::entering(&other_graph, &first)?;
    let reference_steps = args::reference_steps(&other_graph, &first, &arguments.machine.target())?;
    let samples = args::spread(&data, arguments.samples, &progress);
    progress.stage("compare", Some(samples.count()));
    let mut comparison = compare_graphs(&graph, &other_graph, &arguments.machine.engine()?, &samples, 0)?;
    let looked = Reporting { arguments, models: [(path, &reference), (other_path, &other)], random: data.is_random() };
    let reported = arguments.report.as_deref().map(|folder| looked.write(&comparison, &samples, folder, &progress));
    let report_files = reported.transpose()?.unwrap_or_default();
    comparison.sort(arguments.sort);
    drop(samples);
    drop(progress);
    if let Some(n) = &comparison.not_finite {
        tell(&format!("warning: {n}: there are no figures for it and for what follows from it"));
    }
    let found = Found {
        reference: path,
        model: other_path,
        simulated: arguments.other.is_none(),
        data: &arguments.data,
        random: data.is_random(),
        comparison,
        left_float,
        reference_steps,
        threads: arguments.machine.threads(),
        isa: arguments.machine.isa().name,
        reference_config: args::stored_config(&reference)?.filter(|_| arguments.other.is_some()),
        config: args::stored_config(&other)?,
        report_files,
        top: arguments.top,
    };
    Outcome::new(found.text(paper), &found)
}

/// What a report is made of.
struct Reporting<'a> {
    arguments: &'a Arguments,
    /// The reference and the other one.
    models: [(&'a Path, &'a Model); 2],
    random: bool,
}

impl Reporting<'_> {
    /// Looks at what the comparison did not, and writes all of it.
    fn write(
        &self,
        comparison: &Comparison,
        samples: &dyn Samples,
        folder: &Path,
        progress: &Progress,
    ) -> Result<Vec<PathBuf>> {
        let [(path, reference), (other_path, model)] = self.models;
        let simulated = self.arguments.other.is_none();
        let reference_name = if simulated { "its own simulation".into() } else { path.display().to_string() };
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let machine = &self.arguments.machine;
        let pair = Pair {
            reference,
            reference_name: &reference_name,
            model,
            model_name: &other_path.file_name().unwrap_or(other_path.as_os_str()).to_string_lossy(),
            files: (!simulated).then(|| (size(path), size(other_path))),
        };
        let look = Look {
            samples,
            data: &self.arguments.data,
            random: self.random,
            target: &machine.target(),
            threads: machine.threads(),
            stage: &|stage, samples| progress.stage(stage, samples),
            go_on: &|| Ok(()),
        };
        let data = report::between(&pair, &look, Some(comparison.clone()))?;
        report::write(&data, folder).map(|written| written.files)
    }
}

impl Found<'_> {
    fn text(&self, paper: &Paper) -> String {
        let c = &self.comparison;
        let noise = if self.random { paper.loud(" (RANDOM NOISE)") } else { String::new() };
        let mut out = format!(
            "{} against {}: {} of {}{noise}\n",
            paper.bold(&self.model.display().to_string()),
            if self.simulated { "its simulation".into() } else { self.reference.display().to_string() },
            format::counted(c.samples, "sample"),
            self.data
        );
        out += &format!(
            "{} in both, {} in the reference alone, {} in the other alone\n",
            format::counted(c.layers.len(), "value"),
            format::count(c.only_reference as u64),
            format::count(c.only_other as u64)
        );
        if let Some(config) = &self.reference_config {
            out += &format!("reference, {}", format::stored(Some(config)));
        }
        out += &format::stored(self.config.as_ref());
        out += &format::left_float(self.left_float.as_deref());
        let meaning = match c.isolated {
            true => "alone: from the reference's inputs; together: with the errors of all layers before",
            false => "signal to noise, with the differences of all layers before",
        };
        out += &format!("\n{}\n", paper.dim(&format!("({meaning}; a full bar is {GOOD_DB} dB)")));
        out += &self.table().print(paper, 0);
        if let Some(more) = c.layers.len().checked_sub(self.top).filter(|n| *n > 0) {
            out += &format!("and {} more (--top N shows more, --json all)\n", format::count(more as u64));
        }
        out += &self.tensors(paper);
        out += &format::reference_steps(&self.reference_steps, paper);
        if let Some(page) = self.report_files.first() {
            out += &format!("\n{} {}\n", paper.bold("report"), page.display());
        }
        out
    }

    /// What quantizing each tensor alone does.
    fn tensors(&self, paper: &Paper) -> String {
        let c = &self.comparison;
        if c.tensors.is_empty() && c.unmatched.is_empty() {
            return String::new();
        }
        let meaning = "(each tensor quantized by itself; clip: the share of the squared error that is of elements beyond \
            the integers, all else is rounding)";
        let mut out = format!("\n{}\n", paper.dim(meaning));
        let right = ["SQNR dB", "mse", "clip", "clipped"].map(|title| (title, Side::Right));
        let left = ["type", "kind", "tensor"].map(|title| (title, Side::Left));
        let mut table = Table::new(&[&right[..], &left].concat());
        for t in c.tensors.iter().take(self.top) {
            let numbers = [
                format!("{:.1}", t.sqnr_db),
                format!("{:.3e}", t.mse),
                share(&t.parts),
                format!("{:.3}%", t.parts.clipped_percent),
            ];
            table.row(numbers.into_iter().chain([t.dtype.clone(), t.kind.clone(), clip(&t.value, 60)]));
        }
        out += &table.print(paper, 0);
        if let Some(more) = c.tensors.len().checked_sub(self.top).filter(|n| *n > 0) {
            out += &format!("and {} more\n", format::count(more as u64));
        }
        if !c.unmatched.is_empty() {
            out += &format!("weights without floats of their sizes in the reference: {}\n", c.unmatched.join(", "));
        }
        out
    }

    fn table(&self) -> Table {
        let errors = |e: &Errors| {
            let bar = format!("{:<10}", format::bar(e.sqnr_db, GOOD_DB, 10));
            let steps = e.max_steps.map_or_else(String::new, |n| n.to_string());
            let clip = e.parts.map_or_else(String::new, |parts| share(&parts));
            [format!("{:.1}", e.sqnr_db), bar, format!("{:.5}", e.cosine), format!("{:.3}", e.max_error), steps, clip]
        };
        let name = |l: &Layer| [l.op.clone(), clip(&l.node, 60)];
        let numbers =
            [("cosine", Side::Right), ("max error", Side::Right), ("steps", Side::Right), ("clip", Side::Right)];
        let names = [("op", Side::Left), ("layer", Side::Left)];
        let layers = self.comparison.layers.iter().take(self.top);
        let columns = |title| [&[(title, Side::Right), ("", Side::Left)], &numbers[..]].concat();
        match self.comparison.isolated {
            false => {
                let mut table = Table::new(&[&columns("SQNR dB")[..], &names].concat());
                layers.for_each(|l| table.row(errors(&l.cumulative).into_iter().chain(name(l))));
                table
            }
            true => {
                let mut table = Table::new(&[&columns("alone dB")[..], &columns("together dB"), &names].concat());
                for l in layers {
                    let alone = l.isolated.unwrap_or(l.cumulative);
                    table.row(errors(&alone).into_iter().chain(errors(&l.cumulative)).chain(name(l)));
                }
                table
            }
        }
    }
}
