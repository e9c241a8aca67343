//! `lowbit list`: the registries.

use crate::output::{Outcome, Paper};
use crate::progress::Progress;
use crate::table::{Side, Table};
use clap::Args;
use lowbit::contests::{self, Case, Contests};
use lowbit::listing::{self, Listing};
use lowbit::runtime::Isa;
use lowbit::{Error, Result};
use serde_json::json;
use std::fmt::Write;

#[derive(Debug, Args)]
pub struct Arguments {
    /// What to list: ops, rules, kernels, passes, ...; without, what can be listed
    #[arg(value_name = "WHAT")]
    what: Option<String>,

    /// Print everything as one markdown document, the same on every machine
    #[arg(long, conflicts_with = "what")]
    markdown: bool,

    /// Of kernels: times each on this machine beside those that could do the same work, and marks the one that programs get
    /// (>); fails if that one is slower than another by over 5 %
    #[arg(long, requires = "what")]
    measure: bool,

    /// Only what kernels with this part of a name take part in
    #[arg(long, value_name = "PART", requires = "measure")]
    only: Option<String>,

    /// Restricts the kernels to an instruction set; the best one of this CPU unless given
    #[arg(long, value_name = "ISA", requires = "measure", value_parser = Isa::named)]
    isa: Option<Isa>,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    match &arguments.what {
        None if arguments.markdown => {
            let text = listing::markdown();
            let json = json!({ "markdown": text });
            Outcome::new(text, &json)
        }
        None => {
            let all = listing::all();
            let mut table = Table::new(&[("", Side::Left), ("", Side::Right), ("", Side::Left)]);
            for l in &all {
                table.row([paper.bold(l.name), l.rows.len().to_string(), l.summary.to_string()]);
            }
            Outcome::new(table.print(paper, 0), &json!({ "listings": all }))
        }
        Some(what) if arguments.measure => {
            if what != "kernels" {
                return Err(Error::new(format!("expected kernels to measure, found {what}"))
                    .hint("lowbit list kernels --measure"));
            }
            measure(arguments, paper)
        }
        Some(what) => {
            let listing = listing::here(listing::find(what)?);
            Outcome::new(text(&listing, paper), &listing)
        }
    }
}

fn measure(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let progress = Progress::new();
    let step = |of, done| match done {
        0 => progress.stage("measure", Some(of)),
        _ => progress.step(),
    };
    let isa = arguments.isa.unwrap_or_else(Isa::host);
    let found = contests::contests(isa, arguments.only.as_deref().unwrap_or_default(), step)?;
    drop(progress);
    let outcome = Outcome::new(contests_text(&found, paper), &found)?;
    Ok(Outcome { success: found.right, ..outcome })
}

fn contests_text(found: &Contests, paper: &Paper) -> String {
    let mut out = format!(
        "Kernels of {} on {}, least times with everything in the caches; > marks what programs get\n",
        paper.bold(found.isa),
        found.cpu
    );
    for case in &found.contests {
        let _ = write!(out, "\n{}\n", paper.bold(&case.case));
        let columns = [Side::Left, Side::Left, Side::Right, Side::Right, Side::Right];
        let mut table = Table::new(&columns.map(|side| ("", side)));
        let best = case.kernels.iter().map(|k| k.nanoseconds).fold(f64::INFINITY, f64::min);
        for kernel in &case.kernels {
            table.row([
                if kernel.picked { ">" } else { "" }.to_string(),
                kernel.kernel.to_string(),
                format!("{:.3} us", kernel.nanoseconds / 1000.0),
                format!("{:.2} G{}/s", kernel.rate, case.unit),
                format!("{:.2}", kernel.nanoseconds / best),
            ]);
        }
        out.push_str(&table.print(paper, 2));
    }
    let wrong: Vec<&Case> = found.contests.iter().filter(|c| !c.right).collect();
    let _ = match wrong.len() {
        0 => writeln!(
            out,
            "\nall {}: no kernel is faster than the one that programs get by over 5 %",
            found.contests.len()
        ),
        n => writeln!(
            out,
            "\n{} of {}: a kernel is faster than the one that programs get by over 5 %:",
            n,
            found.contests.len()
        ),
    };
    for case in wrong {
        let _ = writeln!(out, "  {} ({:.0} % slower)", case.case, 100.0 * (case.ratio - 1.0));
    }
    out
}

fn text(listing: &Listing, paper: &Paper) -> String {
    let columns: Vec<(&str, Side)> = listing.columns.iter().map(|c| (*c, Side::Left)).collect();
    let mut table = Table::new(&columns);
    listing.rows.iter().for_each(|row| table.row(row.clone()));
    format!("{}: {}\n\n{}", paper.bold(listing.name), listing.summary, table.print(paper, 0))
}
