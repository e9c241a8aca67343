//! `lowbit calibrate`: what data shows of a model, kept for quantizing without the data.

use crate::account::Data;
use crate::args::{self, ChoiceArguments, ImageArguments, MachineArguments, ModelArguments, ResumeArguments};
use crate::format;
use crate::interrupt::Interrupt;
use crate::output::{Outcome, Paper};
use crate::progress::{Progress, Stages};
use crate::table::{Side, Table};
use clap::Args;
use lowbit::data::Preprocess;
use lowbit::quantization::Options;
use lowbit::{Config, Error, Quantize, Result, stats};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Calibration data: a folder of images or arrays, .npy, .npz, an idx pair, or random
    #[arg(long, value_name = "DATA")]
    data: String,

    /// The file of statistics to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Samples to run, evenly spread over the data; 512 unless given
    #[arg(long, value_name = "N", value_parser = args::samples)]
    samples: Option<usize>,

    #[command(flatten)]
    resume: ResumeArguments,

    #[command(flatten)]
    choices: ChoiceArguments,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    machine: MachineArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Account<'a> {
    model: &'a Path,
    output: &'a Path,
    calibration: Data<'a>,
    preprocess: Option<Preprocess>,
    /// How many samples were run.
    samples: u64,
    /// How many values there are statistics of.
    values: usize,
    /// Size of the file.
    bytes: u64,
    /// What the statistics are of: the model as it is prepared.
    fingerprint: String,
    /// What decided which values are looked at.
    config: Config,
}

pub fn run(arguments: &Arguments, paper: &Paper, interrupt: &Interrupt) -> Result<Outcome> {
    // Everything that can be refused is refused before the long work.
    let mut config = arguments.choices.over(Config::default())?;
    if let Some(samples) = arguments.samples {
        arguments.choices.refuse_twice("--samples", "samples")?;
        config.samples = samples;
    }
    let options = Options { config, ..Options::default() };
    options.check()?;
    let config = options.config;
    let sources = || {
        std::iter::once(("the float model", arguments.model.path.as_path()))
            .chain(arguments.choices.config.iter().map(|path| ("the configuration", path.as_path())))
            .chain(std::iter::once(("the data", Path::new(&arguments.data))))
    };
    args::check_output(&arguments.output, sources())?;
    let checkpoint =
        arguments.resume.checkpoint(interrupt, sources().chain([("the output", arguments.output.as_path())]))?;

    let progress = Progress::new();
    let model = arguments.model.load(&arguments.machine.memory)?;
    let preprocess = arguments.images.resolve(&model, [arguments.data.as_str()])?;
    let data = args::open(&arguments.data, &model, preprocess.as_ref(), arguments.machine.memory, &progress)?;
    let samples = args::spread(&data, config.samples, &progress);
    samples.check()?;
    let calibration =
        Data { data: &arguments.data, samples: samples.count(), of: data.len(), random: data.is_random() };
    let mut stages = Stages { progress: &progress, samples: Some(samples.count()), interrupt };
    let how = Quantize::default().data(samples).config(config.clone()).engine(arguments.machine.engine()?);
    let how = match checkpoint {
        Some(checkpoint) => how.checkpoint(checkpoint),
        None => how,
    };
    let shard = model.calibrate_watched(how, &mut stages)?;
    let shard = shard.ok_or_else(|| Error::new("the calibration was stopped"))?;
    let bytes = interrupt.writing(&arguments.output, || stats::save(&shard, &arguments.output))?;
    arguments.resume.done()?;
    drop(progress);
    let account = Account {
        model: &arguments.model.path,
        output: &arguments.output,
        calibration,
        preprocess,
        samples: shard.stats.samples,
        values: shard.stats.values.len(),
        bytes,
        fingerprint: shard.model.to_string(),
        config,
    };
    Outcome::new(account.text(paper), &account)
}

impl Account<'_> {
    /// For people.
    fn text(&self, paper: &Paper) -> String {
        let mut facts = Table::new(&[("", Side::Left), ("", Side::Left)]);
        let mut fact = |name: &str, text: String| facts.row([paper.bold(name), text]);
        fact("read", self.model.display().to_string());
        fact("calibrated", self.calibration.text(paper));
        if let Some(p) = &self.preprocess {
            fact("images", format::preprocess(p));
        }
        fact("config", format::config(&self.config));
        fact("values", format::count(self.values as u64));
        fact("model", format!("fingerprint {}", self.fingerprint));
        fact("written", format!("{}, {}", self.output.display(), format::bytes(self.bytes)));
        facts.print(paper, 0)
    }
}
