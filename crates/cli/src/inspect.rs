//! `lowbit inspect`: what a model is.

use crate::args::{self, MemoryArguments, ModelArguments, Stored};
use crate::format;
use crate::output::{Outcome, Paper};
use crate::table::{Side, Table, clip};
use clap::Args;
use lowbit::inspect::{Share, Summary, inspect, layers};
use lowbit::ir::text::{Constants, print_with};
use lowbit::ir::{ValueId, meta};
use lowbit::left::Left;
use lowbit::{Graph, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest property shown.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Print the graph as text, large constants elided
    #[arg(long)]
    graph: bool,

    /// Look at the graph that is compiled: canonical, and of integers if the model is quantized
    #[arg(long)]
    lowered: bool,

    #[command(flatten)]
    memory: MemoryArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    quantized: bool,
    /// In order, by the names that choices such as layer."NAME" mean; of what is quantized with --lowered.
    nodes: Vec<Named>,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
    /// How many of a quantized model's layers compute on integers, by operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<BTreeMap<&'static str, Share>>,
    /// What the model would have on integers and stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_float: Option<Vec<Left>>,
    /// What was read differently than the file says it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<String>,
}

/// A node.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    op: &'static str,
    outputs: Vec<String>,
}

fn named(g: &Graph) -> Vec<Named> {
    let outputs = |values: &[ValueId]| values.iter().map(|v| g.value(*v).name.clone()).collect();
    g.nodes().map(|(_, n)| Named { name: n.name.clone(), op: n.op.name(), outputs: outputs(&n.outputs) }).collect()
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let model = arguments.model.load_silently(&arguments.memory)?;
    let mut notes = model.remarks().to_vec();
    // A quantized model that cannot be lowered is described all the same, unless that is what was asked for.
    let lowered = match arguments.lowered || model.is_quantized() {
        false => None,
        true => match args::lowered(&model) {
            Err(e) if !arguments.lowered => {
                notes.push(format!("it cannot be lowered, so what stays float is unknown: {e}"));
                None
            }
            lowered => Some(lowered?),
        },
    };
    let (lowered, left_float) = lowered.map_or((None, None), |(graph, left)| (Some(graph), left));
    let graph = lowered.as_ref().filter(|_| arguments.lowered).unwrap_or(model.graph());
    let found = Found {
        model: &arguments.model.path,
        quantized: model.is_quantized(),
        nodes: named(graph),
        summary: inspect(graph)?,
        config: args::stored_config(&model)?,
        layers: left_float.as_ref().and(lowered.as_ref()).map(layers),
        left_float,
        notes,
        graph: arguments.graph.then(|| print_with(graph, Constants::Elided)),
    };
    let text = match &found.graph {
        Some(graph) => graph.clone(),
        None => found.text(paper)?,
    };
    Outcome::new(text, &found)
}

impl Found<'_> {
    fn text(&self, paper: &Paper) -> Result<String> {
        let s = &self.summary;
        let mut facts = Table::new(&[("", Side::Left), ("", Side::Left)]);
        let mut fact = |name: &str, text: String| {
            if !text.is_empty() {
                facts.row([name.to_string(), text]);
            }
        };
        fact("name", s.name.clone());
        fact("producer", s.producer.clone());
        fact("kind", if self.quantized { "quantized" } else { "float" }.into());
        s.inputs.iter().for_each(|i| fact("input", i.clone()));
        s.outputs.iter().for_each(|o| fact("output", o.clone()));
        fact(
            "constants",
            format!("{} elements, {}", format::count(s.parameters as u64), format::bytes(s.constant_bytes as u64)),
        );
        fact(
            "work",
            match s.macs {
                Some(macs) => format!("{} multiply-accumulates", format::amount(macs)),
                None => "unknown, for sizes are open (--shape NAME=SIZES)".into(),
            },
        );
        if let Some(config) = &self.config {
            fact("config", format::of_stored(config));
        }
        let layers = self.layers.iter().flatten().map(|(op, s)| format!("{} of {} {op}", s.integer, s.all));
        fact("integers", layers.collect::<Vec<_>>().join(", "));
        let left = format::left_float(self.left_float.as_deref());
        fact("left float", left.trim_start_matches("left float: ").trim_end().into());
        self.notes.iter().for_each(|note| fact("note", note.clone()));
        let labels = s.properties.get(meta::LABELS).and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
        if let Some(labels) = &labels {
            fact("classes", format!("{}: {}", format::counted(labels.len(), "class"), clip(&labels.join(", "), WIDTH)));
        }
        let shown = |key: &str| labels.is_none() || key != meta::LABELS;
        for (key, value) in s.properties.iter().filter(|(key, _)| shown(key)) {
            let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
            fact("property", format!("{key} = {}", clip(&line, WIDTH)));
        }
        let mut operators = Table::new(&[("", Side::Right), ("operator", Side::Left)]);
        let mut counts: Vec<_> = s.operators.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        counts.into_iter().for_each(|(op, n)| operators.row([format::count(*n as u64), op.to_string()]));
        let title = paper.bold(&self.model.display().to_string());
        Ok(format!("{title}\n{}\n{}", facts.print(paper, 0), operators.print(paper, 0)))
    }
}
