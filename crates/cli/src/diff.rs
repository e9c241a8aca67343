//! `lowbit diff`: what changed between two quantized models, for people and for gates.

use crate::args::{self, MemoryArguments};
use crate::format;
use crate::output::{Outcome, Paper};
use crate::table::{Side, Table, clip};
use clap::Args;
use lowbit::diff::{Change, Diff, diff};
use lowbit::{Error, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Longest text in a table.
const WIDTH: usize = 60;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The quantized model before
    #[arg(value_name = "A.onnx")]
    before: PathBuf,

    /// The quantized model after
    #[arg(value_name = "B.onnx")]
    after: PathBuf,

    /// Relative change up to which scales, and constants as the reals they stand for, count as the same
    #[arg(long, value_name = "X", default_value = "0", allow_negative_numbers = true, value_parser = tolerance)]
    tolerance: f64,

    #[command(flatten)]
    memory: MemoryArguments,
}

fn tolerance(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err(Error::new(format!("expected a number from 0, such as 0.01, found '{text}'"))),
    }
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    before: &'a Path,
    after: &'a Path,
    #[serde(flatten)]
    diff: Diff,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let (before, after) = (arguments.before.as_path(), arguments.after.as_path());
    let load = |path: &Path| args::load(path, &[], &arguments.memory);
    let found = Found { before, after, diff: diff(&load(before)?, &load(after)?, arguments.tolerance)? };
    let title = match found.diff.same {
        true => paper.bold("the same"),
        false => paper.loud("different"),
    };
    let compared = format::counted(found.diff.values, "value");
    let text = format!(
        "{title}: {compared} of '{}' and '{}'\n{}",
        before.display(),
        after.display(),
        text(&found.diff, paper)
    );
    Ok(Outcome { success: found.diff.same, ..Outcome::new(text, &found)? })
}

/// All lists that have something.
pub fn text(diff: &Diff, paper: &Paper) -> String {
    let mut out = String::new();
    changes("what enters and leaves", &diff.borders, &mut out, paper);
    changes("operators", &diff.operators, &mut out, paper);
    changes("types", &diff.types, &mut out, paper);
    if !diff.scales.is_empty() {
        let mut table = Table::new(&[
            ("value", Side::Left),
            ("before", Side::Right),
            ("after", Side::Right),
            ("change", Side::Right),
            ("scales", Side::Right),
        ]);
        for s in &diff.scales {
            let change = s.change.map_or("other scales".into(), |c| format!("{:.3} %", 100.0 * c));
            let counts = if s.counts.0 == s.counts.1 {
                s.counts.0.to_string()
            } else {
                format!("{} to {}", s.counts.0, s.counts.1)
            };
            table.row([clip(&s.name, WIDTH), format!("{:e}", s.before), format!("{:e}", s.after), change, counts]);
        }
        section("scales", diff.scales.len(), &table, &mut out, paper);
    }
    changes("zero points", &diff.zero_points, &mut out, paper);
    if !diff.constants.is_empty() {
        let mut table = Table::new(&[
            ("constant", Side::Left),
            ("elements", Side::Right),
            ("of", Side::Right),
            ("change", Side::Right),
        ]);
        for c in &diff.constants {
            let change = c.change.map_or("from zero".into(), |c| format!("{:.3} %", 100.0 * c));
            table.row([clip(&c.name, WIDTH), c.elements.to_string(), c.of.to_string(), change]);
        }
        section("constants", diff.constants.len(), &table, &mut out, paper);
    }
    changes("float islands", &diff.islands, &mut out, paper);
    changes("configuration and metadata, which have no say here", &diff.notes, &mut out, paper);
    out
}

fn changes(title: &str, changes: &[Change], out: &mut String, paper: &Paper) {
    if changes.is_empty() {
        return;
    }
    let mut table = Table::new(&[("name", Side::Left), ("before", Side::Left), ("after", Side::Left)]);
    let cell = |text: &Option<String>| text.as_ref().map_or("none".into(), |text| clip(text, WIDTH));
    changes.iter().for_each(|c| table.row([clip(&c.name, WIDTH), cell(&c.before), cell(&c.after)]));
    section(title, changes.len(), &table, out, paper);
}

fn section(title: &str, n: usize, table: &Table, out: &mut String, paper: &Paper) {
    let _ = write!(out, "\n{} ({n})\n{}", paper.bold(title), table.print(paper, 0));
}
