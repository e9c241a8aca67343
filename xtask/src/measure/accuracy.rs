//! What quantization costs: default settings, every observer and every mode.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

use super::{ACCURACY, Bench, Subject, Table, chosen, figure, none_of};
use crate::Result;

/// Float and integer accuracy of every model.
pub fn accuracy(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles = ["model", "n", "float top-1", "int8 top-1", "drop", "agreement", "int8 top-5"];
    let mut table = Table::new("accuracy", &titles);
    for s in chosen(names)? {
        eprintln!("{}: quantize and evaluate", s.model);
        bench.quantize(s)?;
        let found = bench.evaluate(s, &bench.integer(s))?;
        let (float, int8) = (&found["reference"]["top1"], &found["top1"]);
        let drop = float.as_f64().zip(int8.as_f64()).map_or("-".into(), |(a, b)| format!("{:.2}", a - b));
        let labelled = |text: String| if s.labelled { text } else { "-".into() };
        table.row(&[
            s.model.into(),
            found["samples"].to_string(),
            labelled(figure(float, 2)),
            labelled(figure(int8, 2)),
            labelled(drop),
            figure(&found["agreement"], 2),
            labelled(figure(&found["top5"], 2)),
        ]);
    }
    table.write(root, ACCURACY, names)
}

/// Top-1, where there are labels, and agreement.
pub fn cell(s: &Subject, found: &Value, digits: usize) -> String {
    let top1 = if s.labelled { format!("{} / ", figure(&found["top1"], digits)) } else { String::new() };
    format!("{top1}{}", figure(&found["agreement"], digits))
}

/// What every observer of values in memory makes of every model; each program is proven too.
pub fn observers(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let listing = bench.json(Command::new(&bench.lowbit).args(["list", "observers"]))?;
    let rows = listing["rows"].as_array().into_iter().flatten();
    let of_values = rows.filter(|row| row[1].as_str() == Some("values in memory"));
    // With its parameter, where it has one.
    let named =
        of_values.filter_map(|row| [&row[2], &row[0]].into_iter().filter_map(Value::as_str).find(|s| !s.is_empty()));
    let observers: Vec<&str> = named.chain(["percentile(99.99)"]).collect();
    let mut table = Table::new("observers", &[&["model", "n"][..], &observers].concat());
    let mut findings = Vec::new();
    for s in chosen(names)? {
        let mut cells = vec![s.model.to_string()];
        for observer in &observers {
            eprintln!("{}: {observer}", s.model);
            let path = bench.work.join(format!("{}.{observer}.onnx", s.model));
            bench.quantize_by(s, &format!("input.observer = \"{observer}\"\n"), &path)?;
            let found = bench.evaluate(s, &path)?;
            if cells.len() == 1 {
                cells.push(found["samples"].to_string());
            }
            cells.push(cell(s, &found, 2));
            if !bench.proof(s, &path)?.holds() {
                findings.push(format!("{} by {observer}", s.model));
            }
        }
        table.row(&cells);
    }
    table.write(root, ACCURACY, names)?;
    none_of("these are not the same everywhere, or more than a step from their simulation", &findings)
}

/// The modes of layers, and the choices that ask for them.
static MODES: [(&str, &str); 4] = [
    ("static", ""),
    ("dynamic", "mode = \"dynamic\"\n"),
    ("weight-only, 8 bits", "mode = \"weight-only\"\n"),
    ("weight-only, 4 bits", "mode = \"weight-only\"\nweight.bits = 4\n"),
];

/// What every mode makes of the labelled models; each program is proven too.
pub fn modes(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles = [&["model", "n", "float"][..], &MODES.map(|(name, _)| name)].concat();
    let mut table = Table::new("modes", &titles);
    let mut findings = Vec::new();
    for s in chosen(names)?.into_iter().filter(|s| s.labelled) {
        let mut cells = vec![s.model.to_string()];
        for (mode, choices) in MODES {
            eprintln!("{}: {mode}", s.model);
            let path = bench.work.join(format!("{}.{}.onnx", s.model, mode.replace(", ", ".").replace(' ', "-")));
            bench.quantize_by(s, choices, &path)?;
            let found = bench.evaluate(s, &path)?;
            if cells.len() == 1 {
                cells.extend([found["samples"].to_string(), figure(&found["reference"]["top1"], 2)]);
            }
            cells.push(cell(s, &found, 2));
            // Where weights alone are narrow there are no integers to be a step away from anything.
            let proof = bench.proof(s, &path)?;
            if !proof.identical || proof.greatest() > 1 {
                findings.push(format!("{} as {mode}", s.model));
            }
        }
        table.row(&cells);
    }
    table.write(root, ACCURACY, names)?;
    none_of("these are not the same everywhere, or more than a step from their simulation", &findings)
}
