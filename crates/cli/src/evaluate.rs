//! `lowbit evaluate`: accuracy where labels are known, agreement where there is a reference.

use crate::args::{self, ImageArguments, MachineArguments, ModelArguments, Stored};
use crate::format;
use crate::output::{Outcome, Paper};
use crate::progress::Progress;
use crate::table::{Side, Table};
use clap::Args;
use lowbit::bench::ReferenceStep;
use lowbit::evaluate::{Evaluation, check_output, evaluate};
use lowbit::left::Left;
use lowbit::{Error, Result, Tensor};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Data: a folder of images or arrays, .npy, .npz, an idx pair, or random
    #[arg(long, value_name = "DATA")]
    data: String,

    /// A model to compare with, such as the float one
    #[arg(long, value_name = "FLOAT.onnx")]
    reference: Option<PathBuf>,

    /// Compare with the reference alone: the labels of the data are another model's
    #[arg(long, requires = "reference")]
    no_labels: bool,

    /// The output that has the scores of the classes, where several outputs have the shape [batch, classes]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    /// Samples, evenly spread over the data; all unless given
    #[arg(long, value_name = "N", value_parser = args::samples)]
    samples: Option<usize>,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    machine: MachineArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    data: &'a str,
    random: bool,
    #[serde(flatten)]
    evaluation: Evaluation,
    /// What a quantized model would have on integers and stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_float: Option<Vec<Left>>,
    /// The same of the reference, if that is quantized.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_left_float: Option<Vec<Left>>,
    /// What the interpreter runs for want of a kernel.
    reference_steps: Vec<ReferenceStep>,
    threads: usize,
    isa: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let progress = Progress::new();
    let model = arguments.model.load(&arguments.machine.memory)?;
    let reference = match &arguments.reference {
        Some(path) => Some(args::load(path, &arguments.model.shapes, &arguments.machine.memory)?),
        None => None,
    };
    if let Some(reference) = &reference {
        // A model that takes integers gets the floats that they stand for.
        args::check_alike(&model.inputs(), &reference.inputs(), |ours, theirs| {
            ours.dtype == theirs.dtype || (ours.quant.is_some() && theirs.dtype.is_float())
        })?;
    }
    let output = arguments.output.as_deref();
    output.map_or(Ok(()), |name| check_output(model.graph(), name))?;
    let preprocess = arguments.images.resolve(&model, [arguments.data.as_str()])?;
    let memory = arguments.machine.memory;
    let opened = args::open(&arguments.data, &model, preprocess.as_ref(), memory, &progress)?;
    let data = if arguments.no_labels { opened.without_labels() } else { opened };
    if !data.has_labels() && reference.is_none() {
        return Err(Error::new(format!(
            "expected data with labels, or a reference; '{}' has no labels",
            arguments.data
        ))
        .hint("class sub-folders, a labels.csv, an array named label in the .npz, or --reference FLOAT.onnx"));
    }
    let (graph, left_float) = args::lowered(&model)?;
    let other = reference.as_ref().map(args::lowered).transpose()?;
    let (other, reference_left_float) = other.map_or((None, None), |(graph, left)| (Some(graph), left));
    let samples = args::spread(&data, arguments.samples.unwrap_or(0), &progress);
    let first: Vec<Tensor> = data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor).collect();
    let reference_steps = args::reference_steps(&graph, &first, &arguments.machine.target())?;
    progress.stage("evaluate", Some(samples.count()));
    let evaluation = evaluate(&graph, other.as_ref(), &arguments.machine.engine()?, &samples, output)?;
    drop(samples);
    drop(progress);
    let found = Found {
        model: &arguments.model.path,
        data: &arguments.data,
        random: data.is_random(),
        evaluation,
        left_float,
        reference_left_float,
        reference_steps,
        threads: arguments.machine.threads(),
        isa: arguments.machine.isa().name,
        config: args::stored_config(&model)?,
    };
    Outcome::new(found.text(paper)?, &found)
}

impl Found<'_> {
    fn text(&self, paper: &Paper) -> Result<String> {
        let e = &self.evaluation;
        let mut columns = vec![("", Side::Left), ("model", Side::Right)];
        if e.reference.is_some() {
            columns.push(("reference", Side::Right));
        }
        let mut table = Table::new(&columns);
        let unit = |p: f64| format!("{} %", format::percent(p));
        let mut row = |name: &str, ours: Option<f64>, theirs: Option<f64>| {
            if let Some(ours) = ours {
                table.row([name.to_string(), unit(ours), theirs.map(unit).unwrap_or_default()]);
            }
        };
        row("top-1", e.top1, e.reference.map(|r| r.top1));
        row("top-5", e.top5, e.reference.map(|r| r.top5));
        row("agreement", e.agreement, None);
        for (name, error) in format::output_errors(e) {
            row(&name, Some(error), None);
        }
        let noise = if self.random { paper.loud(" (RANDOM NOISE)") } else { String::new() };
        let on = format!("{} of {}{noise}", format::counted(e.samples, "sample"), self.data);
        let config = format::stored(self.config.as_ref());
        let classes = format::classes(e, "--output").map_or(String::new(), |line| format!("classes  {line}\n"));
        let mut left = format::left_float(self.left_float.as_deref());
        if self.reference_left_float.is_some() {
            left += &format!("reference, {}", format::left_float(self.reference_left_float.as_deref()));
        }
        let slow = format::reference_steps(&self.reference_steps, paper);
        let title = paper.bold(&self.model.display().to_string());
        Ok(format!("{title}: {on}\n{config}{classes}{left}\n{}{slow}", table.print(paper, 0)))
    }
}
