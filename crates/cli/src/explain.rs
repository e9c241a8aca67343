//! `lowbit explain`: what every tensor's parameters are and who chose them, and why what is float is float.

use crate::args::{self, MemoryArguments, ModelArguments, QuantizeChoices};
use crate::format;
use crate::output::{Outcome, Paper};
use crate::table::{Side, Table, clip};
use clap::Args;
use lowbit::choices::Sourced;
use lowbit::explain::{Explanation, Layer, NOT_CALIBRATED, NOT_RECORDED, Said, Tensor, explain};
use lowbit::recipe::{Evidence, Recipe};
use lowbit::{Error, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Longest name in a table.
const WIDTH: usize = 40;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// A value or a node, by its name; all unless given
    #[arg(value_name = "VALUE|LAYER")]
    name: Option<String>,

    #[command(flatten)]
    choices: QuantizeChoices,

    #[command(flatten)]
    memory: MemoryArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'a str>,
    #[serde(flatten)]
    explanation: Explanation,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let made = arguments.choices.over(Sourced::default())?;
    args::check(&made.config)?;
    let model = arguments.model.load(&arguments.memory)?;
    if model.is_quantized() && arguments.choices.given() {
        return Err(Error::new("expected a float model for --config, --set, --samples and --io, found a quantized one: its choices are made")
            .hint("leave these flags out, or name the float model it came from"));
    }
    let all = explain(&model, &made)?;
    let explanation = match &arguments.name {
        Some(name) => all.about(name)?,
        None => all,
    };
    let found = Found { model: &arguments.model.path, about: arguments.name.as_deref(), explanation };
    Outcome::new(found.text(paper), &found)
}

impl Found<'_> {
    fn text(&self, paper: &Paper) -> String {
        let e = &self.explanation;
        let mut out = String::new();
        match self.about {
            None => self.summary(&mut out, paper),
            Some(_) => {
                e.layers.iter().for_each(|l| layer(l, &mut out, paper));
                e.tensors.iter().for_each(|t| tensor(t, self.missing(), &mut out, paper));
            }
        }
        for note in e.notes.iter().chain(&e.hardware) {
            let _ = writeln!(out, "note: {note}");
        }
        out
    }

    /// What is said where something is not known.
    fn missing(&self) -> &'static str {
        if self.explanation.quantized { NOT_RECORDED } else { NOT_CALIBRATED }
    }

    fn summary(&self, out: &mut String, paper: &Paper) {
        let e = &self.explanation;
        let kind = if e.quantized { "quantized" } else { "float" };
        let _ = writeln!(out, "{}: {kind}", paper.bold(&self.model.display().to_string()));
        if let Some(recipe) = &e.recipe {
            let _ = writeln!(out, "{}", told(recipe));
        }
        let columns = [
            ("op", Side::Left),
            ("node", Side::Left),
            ("computes", Side::Left),
            ("sums", Side::Right),
            ("rule", Side::Left),
            ("why float", Side::Left),
        ];
        let mut table = Table::new(&columns);
        for l in &e.layers {
            let sums = l.accumulator.as_ref().map_or(String::new(), |a| format!("{} bits in {}", a.bits, a.dtype));
            table.row([
                l.op.clone(),
                clip(&l.node, WIDTH),
                computes(l).into(),
                sums,
                l.rule.clone().unwrap_or_default(),
                l.reason.clone().unwrap_or_default(),
            ]);
        }
        let (merged, own): (Vec<&Layer>, Vec<&Layer>) = e.layers.iter().partition(|l| l.merged);
        let float = own.iter().filter(|l| !l.integer).count();
        let title =
            format!("{}, {float} float, {} merged into them", format::counted(own.len(), "operator"), merged.len());
        let _ = write!(out, "\n{}\n{}", paper.bold(&title), table.print(paper, 0));
        let columns = [
            ("kind", Side::Left),
            ("tensor", Side::Left),
            ("type", Side::Left),
            ("scale", Side::Right),
            ("zero point", Side::Right),
            ("seen", Side::Left),
            ("observer", Side::Left),
            ("clipped %", Side::Right),
            ("asked by", Side::Left),
        ];
        let mut table = Table::new(&columns);
        for t in &e.tensors {
            table.row([
                t.kind.clone().unwrap_or_default(),
                clip(&t.name, WIDTH),
                t.dtype.clone(),
                t.scale.as_ref().map_or(String::new(), |s| {
                    if s.count == 1 {
                        format!("{:.4e}", s.greatest)
                    } else {
                        format!("{} up to {:.4e}", s.count, s.greatest)
                    }
                }),
                t.zero_point.map_or(String::new(), |(low, high)| {
                    if low == high { low.to_string() } else { format!("{low}..{high}") }
                }),
                t.seen.map_or(String::new(), |(low, high)| format!("{low:.4}..{high:.4}")),
                t.observer.clone().unwrap_or_default(),
                t.clipped_percent.map_or(String::new(), percent),
                t.rule.clone().unwrap_or_default(),
            ]);
        }
        let _ = write!(out, "\n{}\n{}", paper.bold(&format::counted(e.tensors.len(), "tensor")), table.print(paper, 0));
        let _ =
            writeln!(out, "\nlowbit explain {} NAME says who chose what of a value or a node", self.model.display());
    }
}

/// What an operator works on, in a word.
fn computes(l: &Layer) -> &'static str {
    match (l.merged, l.integer) {
        (true, _) => "as a part of another",
        (false, true) => "integers",
        (false, false) => "floats",
    }
}

/// A share that is small and not zero is not shown as zero.
fn percent(p: f64) -> String {
    if p > 0.0 && p < 0.0005 { "<0.001".into() } else { format!("{p:.3}") }
}

/// What a model was made of and with.
fn told(recipe: &Recipe) -> String {
    let from = match &recipe.evidence {
        Evidence::Data { samples, .. } => format!("from {}", format::counted(*samples, "sample")),
        Evidence::Statistics { samples, .. } => format!("from statistics of {samples} samples"),
        Evidence::Nothing => "without data".into(),
    };
    let own = if recipe.own.is_empty() { String::new() } else { format!(", with {}", recipe.own.join(", ")) };
    format!(
        "by lowbit {} {from}{own}, of the float model {}",
        recipe.lowbit,
        recipe.model.get(..16).unwrap_or(&recipe.model)
    )
}

fn layer(l: &Layer, out: &mut String, paper: &Paper) {
    let mut facts = Table::new(&[("", Side::Left), ("", Side::Left)]);
    let mut fact = |name: &str, text: String| facts.row([name.to_string(), text]);
    fact("computes", computes(l).into());
    fact("rule", l.rule.clone().unwrap_or_else(|| NOT_RECORDED.into()));
    if let Some(reason) = &l.reason {
        fact("why float", reason.clone());
    }
    if let Some(a) = &l.accumulator {
        fact(
            "sums",
            format!(
                "{}..{} of {}: {} bits, in {}",
                a.least,
                a.greatest,
                format::counted(a.products, "product"),
                a.bits,
                a.dtype
            ),
        );
        fact("allowed", a.by.clone());
    }
    if let Some(r) = &l.rescaling {
        let limit = r.hardware.as_ref().map_or(String::new(), |limit| format!("; {limit}"));
        fact("rescales", format!("{}: {} ({}){limit}", r.value, r.by, r.source));
    }
    fact("reads", l.reads.join(", "));
    l.gives.iter().for_each(|given| fact("gives", format!("{}: {}", given.name, given.ty)));
    let _ = write!(out, "{} '{}'\n{}\n", paper.bold(&l.op), l.node, facts.print(paper, 2));
}

fn tensor(t: &Tensor, missing: &str, out: &mut String, paper: &Paper) {
    let mut facts = Table::new(&[("", Side::Left), ("", Side::Left), ("", Side::Left)]);
    let mut fact = |name: &str, what: String, by: String| facts.row([name.to_string(), what, by]);
    let missing = || missing.to_string();
    fact("type", format!("{} {}..{}, {}", t.dtype, t.range.0, t.range.1, t.shape), t.dtype_by.clone());
    let scale = t.scale.as_ref().map_or_else(missing, |s| match s.count {
        1 => format!("{:e}", s.greatest),
        n => format!("{n}: {:e} to {:e}, {}", s.least, s.greatest, s.sharing),
    });
    fact("scale", scale, t.scale_by.clone());
    let zero_point = t
        .zero_point
        .map_or_else(missing, |(low, high)| if low == high { low.to_string() } else { format!("{low} to {high}") });
    fact("zero point", zero_point, t.zero_point_by.clone());
    if let Some((low, high)) = t.covers {
        fact("covers", format!("{low:.6} to {high:.6}"), String::new());
    }
    fact("seen", t.seen.map_or_else(missing, |(low, high)| format!("{low:.6} to {high:.6}")), String::new());
    fact("clipped", t.clipped_percent.map_or_else(missing, |p| format!("{} %", percent(p))), String::new());
    fact("observer", t.observer.clone().unwrap_or_else(missing), of(t, "observer"));
    // What type, scale and zero point do not tell already.
    for name in ["symmetric", "rounding"] {
        if let Some(said) = t.choices.iter().find(|s| s.name == name) {
            fact(name, said.value.clone(), said.told());
        }
    }
    fact(
        "asked by",
        t.rule.clone().map_or_else(|| NOT_RECORDED.to_string(), |rule| format!("the rule {rule}")),
        String::new(),
    );
    let outside = if t.constant { "nobody: it is constant" } else { "nobody: it enters the model" };
    let writer = t.writer.clone().unwrap_or_else(|| outside.into());
    fact("written by", writer, String::new());
    fact(
        "read by",
        if t.readers.is_empty() { "nobody: it leaves the model".into() } else { t.readers.join(", ") },
        String::new(),
    );
    for note in &t.notes {
        fact("note", note.clone(), String::new());
    }
    let integers = t.integers.as_ref().map_or(String::new(), |q| format!(" (integers '{q}')"));
    let kind = t.kind.as_deref().unwrap_or("tensor");
    let _ = write!(out, "{} '{}'{integers}\n{}\n", paper.bold(kind), t.name, facts.print(paper, 2));
}

fn of(t: &Tensor, name: &str) -> String {
    t.choices.iter().find(|s| s.name == name).map_or(String::new(), Said::told)
}
