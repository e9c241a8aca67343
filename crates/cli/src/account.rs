//! The account of a quantization: what `lowbit quantize` tells.

use crate::format;
use crate::output::Paper;
use crate::table::{Side, Table, clip};
use lowbit::Report;
use lowbit::bench::{ReferenceStep, Timing};
use lowbit::data::Preprocess;
use lowbit::quantization::analysis::LayerError;
use lowbit::quantization::report::Left;
use lowbit::report::data::{Accuracy, Fact};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A full bar: an error that nobody sees.
pub const GOOD_DB: f64 = 40.0;

/// Everything, as `--json` gives it.
#[derive(Debug, Serialize)]
pub struct Account<'a> {
    pub model: &'a Path,
    #[serde(skip)]
    pub read: Read,
    pub output: &'a Path,
    pub calibration: Calibration<'a>,
    pub preprocess: Option<Preprocess>,
    pub layers_total: usize,
    pub layers_integer: usize,
    pub file_bytes_before: u64,
    pub file_bytes_after: u64,
    /// What the interpreter runs in the integer program.
    pub reference_steps: Vec<ReferenceStep>,
    /// The files of the report, the page first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub report_files: Vec<PathBuf>,
    #[serde(flatten)]
    pub measured: Measured,
    #[serde(flatten)]
    pub report: &'a Report,
}

/// The float model, as it was in its file.
#[derive(Debug)]
pub struct Read {
    pub nodes: usize,
    pub parameters: u64,
}

/// What was measured, unless the user wants no report.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_layers: Option<Vec<LayerError>>,
    /// What was not, and why, where the user wants a report and there is nothing to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_measured: Option<String>,
}

/// What was calibrated with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Calibration<'a> {
    Data(Data<'a>),
    /// What others saw of so many samples of the model with this fingerprint.
    Stats {
        stats: &'a [PathBuf],
        samples: u64,
        fingerprint: String,
        random: bool,
    },
    /// No data, which JSON has as null: all values have the one range that this says.
    Nothing {
        data: Option<&'a str>,
        samples: usize,
        global_scale: f32,
    },
}

/// Samples that were run.
#[derive(Debug, Serialize)]
pub struct Data<'a> {
    pub data: &'a str,
    pub samples: usize,
    pub of: usize,
    pub random: bool,
}

/// Medians of both programs, and how many times faster the integer one is.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub float: Timing,
    pub integer: Timing,
    pub speedup: f64,
}

impl Account<'_> {
    /// For people.
    pub fn text(&self, paper: &Paper) -> String {
        let mut out = String::new();
        self.origin(&mut out, paper);
        if let Some(latency) = &self.measured.latency {
            self.comparison(&mut out, latency, paper);
        }
        if let Some(what) = &self.measured.not_measured {
            let _ = writeln!(out, "\nnot measured: {what}");
        }
        self.left_float(&mut out, paper);
        self.too_small(&mut out, paper);
        self.widened(&mut out);
        out.push_str(&format::reference_steps(&self.reference_steps, paper));
        self.worst(&mut out, paper);
        out
    }

    /// What was read and written, in lines.
    fn origin(&self, out: &mut String, paper: &Paper) {
        let mut facts = Table::new(&[("", Side::Left), ("", Side::Left)]);
        self.facts(paper).into_iter().for_each(|fact| facts.row([paper.bold(&fact.name), fact.text]));
        out.push_str(&facts.print(paper, 0));
    }

    /// What was read and written.
    pub fn facts(&self, paper: &Paper) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut fact = |name: &str, text: String| facts.push(Fact { name: name.into(), text });
        let macs = format::amount(self.report.layers.iter().map(|l| l.macs).sum());
        fact(
            "read",
            format!(
                "{}: {}, {} parameters, {macs} multiply-accumulates",
                self.model.display(),
                format::counted(self.read.nodes, "node"),
                format::count(self.read.parameters)
            ),
        );
        fact("calibrated", self.calibration.text(paper));
        if let Some(p) = &self.preprocess {
            fact("images", format::preprocess(p));
        }
        fact("config", format::config(&self.report.config));
        fact(
            "layers",
            format!(
                "{} of {} on integers, {} % of the multiply-accumulates",
                self.layers_integer,
                self.layers_total,
                format::share(self.report.integer_macs_percent)
            ),
        );
        if !self.report.equalized.is_empty() {
            let largest = self.report.equalized.iter().map(|e| e.largest).fold(1.0, f64::max);
            let groups = format::counted(self.report.equalized.len(), "group");
            fact("equalized", format!("{groups} of channels (largest factor {largest:.1})"));
        }
        for skipped in &self.report.skipped {
            fact("left out", format!("{}: {}", skipped.stage, skipped.reason));
        }
        fact("written", self.output.display().to_string());
        if let Some(page) = self.report_files.first() {
            fact("report", page.display().to_string());
        }
        facts
    }

    /// Before and after.
    fn comparison(&self, out: &mut String, latency: &Latency, paper: &Paper) {
        let mut table =
            Table::new(&[("", Side::Left), ("float", Side::Right), ("integer", Side::Right), ("", Side::Left)]);
        let mut row = |name: &str, before: String, after: String, note: String| {
            table.row([name.to_string(), before, after, note]);
        };
        let bytes = |before: u64, after: u64| (format::bytes(before), format::bytes(after));
        let smaller = |before: u64, after: u64| match () {
            () if before == after => "the same".into(),
            () if before == 0 || after == 0 => String::new(),
            () if before > after => format!("{:.1}x smaller", before as f64 / after as f64),
            () => format!("{:.1}x larger", after as f64 / before as f64),
        };
        let (before, after) = (self.report.bytes_before, self.report.bytes_after);
        let (b, a) = bytes(before, after);
        row("constants", b, a, smaller(before, after));
        let (b, a) = bytes(self.file_bytes_before, self.file_bytes_after);
        row("file", b, a, smaller(self.file_bytes_before, self.file_bytes_after));
        let (float, integer) = (&latency.float, &latency.integer);
        row(
            "latency",
            format!("{} ms", format::milliseconds(float.median_ms)),
            format!("{} ms", format::milliseconds(integer.median_ms)),
            format!(
                "{} (medians; {}, {}, {})",
                faster(latency.speedup),
                format::counted(integer.threads, "thread"),
                integer.isa,
                integer.inputs.join(", ")
            ),
        );
        if let Some(accuracy) = &self.measured.accuracy {
            rows(accuracy, &mut row, paper);
        }
        let _ = write!(out, "\n{}", table.print(paper, 0));
        let accuracy = self.measured.accuracy.as_ref();
        if let Some(line) = accuracy.and_then(|a| format::classes(&a.evaluation, "--evaluate-output")) {
            let _ = writeln!(out, "classes: {line}");
        }
        if self.measured.accuracy.is_none() {
            let _ = writeln!(
                out,
                "accuracy was not measured: --evaluate DATA compares both on other data, with labels if it has some"
            );
        }
    }

    /// What stays float, by reason.
    fn left_float(&self, out: &mut String, paper: &Paper) {
        let mut groups: Vec<(&Left, usize, f64, f64)> = Vec::new();
        for left in &self.report.left_float {
            let same = |g: &&mut (&Left, usize, f64, f64)| {
                (&g.0.op, &g.0.rule, &g.0.reason) == (&left.op, &left.rule, &left.reason)
            };
            match groups.iter_mut().find(same) {
                Some((_, n, macs, elements)) => {
                    (*n, *macs, *elements) = (*n + 1, *macs + left.macs_percent, *elements + left.elements_percent);
                }
                None => groups.push((left, 1, left.macs_percent, left.elements_percent)),
            }
        }
        if groups.is_empty() {
            let _ = writeln!(out, "\n{}: nothing", paper.bold("left float"));
            return;
        }
        groups.sort_by(|a, b| (b.2, b.3).partial_cmp(&(a.2, a.3)).unwrap_or(std::cmp::Ordering::Equal));
        let mut table = Table::new(&[
            ("", Side::Right),
            ("op", Side::Left),
            ("MACs %", Side::Right),
            ("elements %", Side::Right),
            ("rule", Side::Left),
            ("why", Side::Left),
            ("first node", Side::Left),
        ]);
        for (left, n, macs, elements) in groups {
            table.row([
                n.to_string(),
                left.op.clone(),
                format::share(macs),
                format::share(elements),
                left.rule.clone(),
                left.reason.clone(),
                clip(&left.node, 40),
            ]);
        }
        let _ = write!(out, "\n{}\n{}", paper.bold("left float"), table.print(paper, 0));
    }

    /// What is so small that it became zero, or nearly so.
    /// Scales that are coarser than the weights need.
    fn widened(&self, out: &mut String) {
        for chosen in self.report.values.iter().filter(|c| c.widened_for_bias > 0) {
            let channels = format::counted(chosen.widened_for_bias, "scale");
            let _ = writeln!(
                out,
                "coarser     {channels} of '{}': with finer ones the bias would not fit its integer",
                chosen.value
            );
        }
    }

    fn too_small(&self, out: &mut String, paper: &Paper) {
        for chosen in self.report.values.iter().filter(|c| c.too_small > 0) {
            let channels = format::counted(chosen.too_small, "scale");
            let _ = writeln!(
                out,
                "{} {channels} of '{}' would be below the least there is: what it holds is nearly or all zero",
                paper.loud("too small:"),
                chosen.value
            );
        }
    }

    /// The worst layers.
    fn worst(&self, out: &mut String, paper: &Paper) {
        let Some(worst) = self.measured.worst_layers.as_ref().filter(|w| !w.is_empty()) else { return };
        let mut table = Table::new(&[
            ("SQNR dB", Side::Right),
            ("", Side::Left),
            ("cosine", Side::Right),
            ("max error", Side::Right),
            ("op", Side::Left),
            ("layer", Side::Left),
        ]);
        for layer in worst {
            table.row([
                format!("{:.1}", layer.sqnr_db),
                format!("{:<10}", format::bar(layer.sqnr_db, GOOD_DB, 10)),
                format!("{:.5}", layer.cosine),
                format!("{:.3}", layer.max_error),
                layer.op.clone(),
                clip(&layer.node, 60),
            ]);
        }
        let title = format!("worst {}", format::counted(worst.len(), "layer"));
        let note =
            format!("signal to quantization noise, with the errors of all layers before; a full bar is {GOOD_DB} dB");
        let _ = write!(out, "\n{} {}\n{}", paper.bold(&title), paper.dim(&format!("({note})")), table.print(paper, 0));
    }
}

impl Calibration<'_> {
    /// `24 of 240 samples of demo/calibration`, `480 samples, by the statistics in a.stats, b.stats`, `no samples: ...`.
    fn text(&self, paper: &Paper) -> String {
        match self {
            Calibration::Data(data) => data.text(paper),
            Calibration::Stats { stats, samples, random, .. } => {
                let files: Vec<String> = stats.iter().map(|path| path.display().to_string()).collect();
                let samples = format::counted(usize::try_from(*samples).unwrap_or(usize::MAX), "sample");
                format!("{samples}, by the statistics in {}{}", files.join(", "), noise(*random, paper))
            }
            Calibration::Nothing { global_scale, .. } => format!(
                "{}: b bits of every value have the scale {global_scale:?} / 2^(b-1), whatever it holds",
                paper.loud("no samples")
            ),
        }
    }
}

impl Data<'_> {
    /// `24 of 240 samples of demo/calibration`.
    pub fn text(&self, paper: &Paper) -> String {
        let samples = match self.samples == self.of {
            true => format!("all {}", format::counted(self.of, "sample")),
            false => format!("{} of {}", format::count(self.samples as u64), format::counted(self.of, "sample")),
        };
        format!("{samples} of {}{}", self.data, noise(self.random, paper))
    }
}

fn noise(random: bool, paper: &Paper) -> String {
    if random { paper.loud(" (RANDOM NOISE: calibrate with real data)") } else { String::new() }
}

/// `2.64x faster`, `1.10x slower`.
fn faster(speedup: f64) -> String {
    if speedup >= 1.0 { format!("{speedup:.2}x faster") } else { format!("{:.2}x slower", 1.0 / speedup) }
}

/// Both programs on the same samples.
fn rows(accuracy: &Accuracy, row: &mut impl FnMut(&str, String, String, String), paper: &Paper) {
    let found = &accuracy.evaluation;
    let on = format!("{} of {}", format::counted(found.samples, "sample"), accuracy.data);
    let noise = if accuracy.random { paper.loud(" (RANDOM NOISE)") } else { String::new() };
    let unit = |p: f64| format!("{} %", format::percent(p));
    if let (Some(top1), Some(top5), Some(float)) = (found.top1, found.top5, found.reference) {
        row("top-1", unit(float.top1), unit(top1), format!("{:+.2} points on {on}", top1 - float.top1));
        row("top-5", unit(float.top5), unit(top5), format!("{:+.2} points", top5 - float.top5));
    }
    if let Some(agreement) = found.agreement {
        row("agreement", String::new(), unit(agreement), format!("same class as float on {on}{noise}"));
    }
    for (name, error) in format::output_errors(found) {
        row(&name, String::new(), unit(error), format!("root mean square, relative to float's{noise}"));
    }
}
