//! `lowbit list`: the registries.

use crate::output::{Outcome, Paper};
use crate::table::{Side, Table};
use clap::Args;
use lowbit::Result;
use lowbit::listing::{self, Listing};
use serde_json::json;

#[derive(Debug, Args)]
pub struct Arguments {
    /// What to list: ops, rules, kernels, passes, ...; without, what can be listed
    #[arg(value_name = "WHAT")]
    what: Option<String>,

    /// Print everything as one markdown document, the same on every machine
    #[arg(long, conflicts_with = "what")]
    markdown: bool,
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
        Some(what) => {
            let listing = listing::here(listing::find(what)?);
            Outcome::new(text(&listing, paper), &listing)
        }
    }
}

fn text(listing: &Listing, paper: &Paper) -> String {
    let columns: Vec<(&str, Side)> = listing.columns.iter().map(|c| (*c, Side::Left)).collect();
    let mut table = Table::new(&columns);
    listing.rows.iter().for_each(|row| table.row(row.clone()));
    format!("{}: {}\n\n{}", paper.bold(listing.name), listing.summary, table.print(paper, 0))
}
