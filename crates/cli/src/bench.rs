//! `lowbit bench`: how long a model takes.

use crate::args::{self, MachineArguments, ModelArguments, Stored};
use crate::format;
use crate::output::{Outcome, Paper};
use crate::progress::Progress;
use crate::table::{Side, Table, clip};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use lowbit::bench::{Effort, StepTime, Timing, first_run, noise, profile, time};
use lowbit::compiler::compile;
use lowbit::left::Left;
use lowbit::model::with_batch;
use lowbit::{Error, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Samples a run; what the model says unless given, and 1 where it says nothing
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    batch: Option<usize>,

    /// How long to measure, after a warm-up; told are the median (p50) and the percentiles 90, 95 and 99 of all runs
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: Duration,

    /// Time every step of the program too: mean of a run, share of all steps, rate and what it is of the peak, bytes moved, kernel
    #[arg(long)]
    profile: bool,

    #[command(flatten)]
    machine: MachineArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    integer: bool,
    /// What a quantized model would have on integers and stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_float: Option<Vec<Left>>,
    /// Time from reading the file to the first output, once, before the warm-up: loading, lowering, compiling, a session
    /// with its threads, and its first run.
    first_ms: f64,
    #[serde(flatten)]
    timing: Timing,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<StepTime>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let progress = Progress::new();
    let reading = Instant::now();
    let model = arguments.model.load(&arguments.machine.memory)?;
    let (graph, left_float) = args::lowered(&model)?;
    check_batch(arguments)?;
    let graph = with_batch(&graph, arguments.batch)?;
    let program = compile(&graph, &arguments.machine.target())?;
    let loaded = reading.elapsed();
    let inputs = noise(&graph)?;
    let effort = Effort { warm_up: Effort::default().warm_up.min(arguments.seconds), duration: arguments.seconds };
    progress.stage("time", None);
    let threads = arguments.machine.threads();
    let first = loaded + first_run(&program, &inputs, threads)?;
    let timing = time(&program, &inputs, threads, effort)?;
    progress.stage("profile", None);
    let profile = arguments.profile.then(|| profile(&program, &inputs, threads, effort)).transpose()?;
    drop(progress);
    let found = Found {
        model: &arguments.model.path,
        integer: model.is_quantized(),
        left_float,
        first_ms: first.as_secs_f64() * 1e3,
        timing,
        profile,
        config: args::stored_config(&model)?,
    };
    Outcome::new(found.text(paper)?, &found)
}

/// Refuses a batch beside a shape that says another.
fn check_batch(arguments: &Arguments) -> Result<()> {
    let Some(batch) = arguments.batch else { return Ok(()) };
    let differs = |(_, sizes): &&(String, Vec<usize>)| sizes.first().is_some_and(|first| *first != batch);
    match arguments.model.shapes.iter().find(differs) {
        Some((name, sizes)) => Err(Error::new(format!(
            "expected one batch, found --batch {batch} and a first size of {} in --shape {name}=...",
            sizes[0]
        ))
        .hint("leave --batch out, or give the shape that batch")),
        None => Ok(()),
    }
}

impl Found<'_> {
    fn text(&self, paper: &Paper) -> Result<String> {
        let t = &self.timing;
        let kind = if self.integer { "integer program" } else { "float program" };
        let mut out = format!(
            "{}: {kind}, {}, {}, batch {}, {}\n{}\n",
            paper.bold(&self.model.display().to_string()),
            format::counted(t.threads, "thread"),
            t.isa,
            t.batch,
            t.cpu,
            t.inputs.iter().map(|i| format!("input   {i}")).collect::<Vec<_>>().join("\n")
        );
        out.push_str(&format::stored(self.config.as_ref()));
        let mut table = Table::new(&[("", Side::Left), ("", Side::Right), ("", Side::Left)]);
        let mut ms =
            |name: &str, ms: f64, note: String| table.row([name.into(), format::milliseconds(ms), format!("ms{note}")]);
        let rate = t.macs as f64 / t.median_ms / 1e6;
        let peak = match self.integer && t.peak_gmacs > 0.0 {
            true => {
                format!(", {:.0} % of the {:.0} that {} could make", 100.0 * rate / t.peak_gmacs, t.peak_gmacs, t.isa)
            }
            false => String::new(),
        };
        ms("median", t.median_ms, format!("  {rate:.1} GMAC/s{peak}, {} runs", format::count(t.runs as u64)));
        ms("min", t.min_ms, String::new());
        ms("p90", t.p90_ms, String::new());
        ms("p95", t.p95_ms, String::new());
        ms("p99", t.p99_ms, String::new());
        ms("first result", self.first_ms, "  from reading the file".into());
        let _ = write!(out, "\n{}", table.print(paper, 0));
        let _ = writeln!(out, "memory  {} of activations and constants", format::bytes(t.memory_bytes as u64));
        out.push_str(&format::left_float(self.left_float.as_deref()));
        out.push_str(&format::reference_steps(&t.reference_steps, paper));
        if let Some(steps) = &self.profile {
            let _ = write!(out, "\n{}", steps_table(steps, paper));
        }
        Ok(out)
    }
}

fn steps_table(steps: &[StepTime], paper: &Paper) -> String {
    let most = steps.iter().map(|s| s.percent).fold(0.0, f64::max);
    let mut table = Table::new(&[
        ("ms", Side::Right),
        ("%", Side::Right),
        ("", Side::Left),
        ("GMAC/s", Side::Right),
        ("% of peak", Side::Right),
        ("MB", Side::Right),
        ("kernel", Side::Left),
        ("step", Side::Left),
    ]);
    for s in steps {
        let rate = if s.macs == 0 { String::new() } else { format!("{:.1}", s.macs as f64 / s.ms / 1e6) };
        table.row([
            format!("{:.4}", s.ms),
            format::share(s.percent),
            format!("{:<10}", format::bar(s.percent, most, 10)),
            rate,
            s.peak_percent.map_or(String::new(), |percent| format!("{percent:.0}")),
            format!("{:.2}", s.bytes as f64 / 1e6),
            s.kernel.to_string(),
            clip(&s.step, 70),
        ]);
    }
    table.print(paper, 0)
}

fn seconds(text: &str) -> Result<Duration> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(Duration::from_secs_f64(s)),
        _ => Err(Error::new(format!("expected seconds above 0 and up to 3600, found '{text}'"))),
    }
}
