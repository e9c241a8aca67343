//! Overlays for Model Explorer: node data in its JSON, one file a measure.
//!
//! A file is of one graph: `results` has a value for the id of each node, which for ONNX files is its name, and
//! `thresholds` say up to which value a colour goes. It is loaded there beside the quantized model.

use super::bands::{Band, ERROR, TIME};
use super::data::{Computes, Data, Node, shown};
use lowbit_ir::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// What stands for no error at all: numbers are all that the format has, and this is more than floats tell apart.
pub const EXACT_DB: f64 = 200.0;

/// A measure: its file, its name, and the value of a node.
struct Measure {
    file: &'static str,
    name: &'static str,
    of: fn(&Data, &Node) -> Option<f64>,
    thresholds: fn() -> Vec<Threshold>,
}

static MEASURES: [Measure; 4] = [
    Measure {
        file: "model-explorer.sqnr.json",
        name: "SQNR of each layer [dB]",
        of: |_, node| shown(node).map(|e| finite(e.sqnr_db)),
        thresholds: by_error,
    },
    Measure {
        file: "model-explorer.sqnr-together.json",
        name: "SQNR with all layers before [dB]",
        of: |_, node| node.together.map(|e| finite(e.sqnr_db)),
        thresholds: by_error,
    },
    Measure {
        file: "model-explorer.time.json",
        name: "Time [% of a run]",
        of: |data, node| node.step.map(|step| data.steps[step].time.percent),
        thresholds: by_time,
    },
    Measure {
        file: "model-explorer.float.json",
        name: "Computes on floats (1) or integers (0)",
        of: |_, node| Some(if node.computes == Computes::Floats { 1.0 } else { 0.0 }),
        thresholds: || vec![Threshold::new(0.0, ERROR[0]), Threshold::new(1.0, ERROR[3])],
    },
];

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Overlay<'a> {
    name: &'a str,
    results: BTreeMap<&'a str, Value>,
    thresholds: Vec<Threshold>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Value {
    value: f64,
}

/// Colours of values up to this one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Threshold {
    value: f64,
    bg_color: &'static str,
    text_color: &'static str,
}

impl Threshold {
    fn new(value: f64, band: Band) -> Threshold {
        Threshold { value, bg_color: band.colour, text_color: band.ink }
    }
}

/// From the worst up: a band ends where the one before it begins.
fn by_error() -> Vec<Threshold> {
    let ends = std::iter::once(EXACT_DB).chain(ERROR.iter().map(|band| band.from));
    let mut all: Vec<Threshold> = ERROR.iter().zip(ends).map(|(band, end)| Threshold::new(end, *band)).collect();
    all.reverse();
    all
}

fn by_time() -> Vec<Threshold> {
    let ends = TIME.iter().skip(1).map(|band| band.from).chain([100.0]);
    TIME.iter().zip(ends).map(|(band, end)| Threshold::new(end, *band)).collect()
}

/// Within what the format can say; what is no number is the worst.
fn finite(db: f64) -> f64 {
    if db.is_nan() { -EXACT_DB } else { db.clamp(-EXACT_DB, EXACT_DB) }
}

/// The files with their contents; a measure of which nothing is known has none.
///
/// # Errors
///
/// Where JSON cannot be written.
pub fn files(data: &Data) -> Result<Vec<(&'static str, String)>> {
    let mut all = Vec::new();
    for measure in &MEASURES {
        let of = |node| Some(((measure.of)(data, node)?, node));
        let results: BTreeMap<&str, Value> =
            data.nodes.iter().filter_map(of).map(|(value, node)| (node.name.as_str(), Value { value })).collect();
        if !results.is_empty() {
            let overlay = Overlay { name: measure.name, results, thresholds: (measure.thresholds)() };
            let json = serde_json::to_string_pretty(&overlay);
            all.push((measure.file, json.map_err(|e| Error::new(format!("writing {}: {e}", measure.file)))?));
        }
    }
    Ok(all)
}

/// The names of all files that there may be.
pub fn names() -> impl Iterator<Item = &'static str> {
    MEASURES.iter().map(|measure| measure.file)
}
