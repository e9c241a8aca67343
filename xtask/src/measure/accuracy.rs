//! What quantization costs: default settings, every observer, and the choices of other tools' tables.

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
fn cell(s: &Subject, found: &Value, digits: usize) -> String {
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

/// Choices that other tools' tables have too, by plain rounding: nothing equalized, nothing corrected. `{first}` stands
/// for the name of a model's first layer, `{classic}` for [`classic`].
static CHOICES: &[(&str, &str)] = &[
    ("global scale 2", "global_scale = 2.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 4", "global_scale = 4.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 8", "global_scale = 8.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 16", "global_scale = 16.0\nskip_k_conv = 0\n{classic}"),
    ("global scale 8, first convolution float", "global_scale = 8.0\nskip_k_conv = 1\n{classic}"),
    ("global scale 16, first convolution float", "global_scale = 16.0\nskip_k_conv = 1\n{classic}"),
    ("16x8", "input.bits = 16\ninput.observer = 'minmax'\noutput = 'narrow'\naccumulator_bits = 64\n"),
    ("4x8 (8-bit values)", "weight.bits = 4\ninput.observer = 'percentile(99.99)'\noutput = 'narrow'\n"),
    (
        "4x8, weights by mse",
        "weight.bits = 4\nweight.observer = 'mse'\ninput.observer = 'percentile(99.99)'\noutput = 'narrow'\n",
    ),
    (
        "4x4 (the model's input has 8 bits)",
        "weight.bits = 4\ninput.bits = 4\ninput.observer = 'percentile(99.99)'\noutput = 'narrow'\n\
         [layer.\"{first}\"]\ninput.bits = 8\n",
    ),
    (
        "4x4, weights by mse",
        "weight.bits = 4\nweight.observer = 'mse'\ninput.bits = 4\ninput.observer = 'percentile(99.99)'\n\
         output = 'narrow'\n[layer.\"{first}\"]\ninput.bits = 8\n",
    ),
];

/// 8 bits, symmetric, scales that are powers of two and one a tensor, on what layers and sums read and on nothing else:
/// the classic workflow.
const CLASSIC: &str = "input.signed = true\ninput.symmetric = true\ninput.scale = 'power-of-two'\n\
     input.observer = 'global_scale'\nweight.per = 'tensor'\nweight.narrow = false\n\
     weight.scale = 'power-of-two'\nweight.observer = 'power2'\n";

/// The text of [`CLASSIC`] for a model: what floats read of sums is wide, averages are float.
fn classic(bench: &Bench, s: &Subject) -> Result<String> {
    let found = bench.json(bench.command("quantize", s)?.args(["--samples", "1", "--stop-after", "global-pools"]))?;
    let graph = found["graph"].as_str().unwrap_or_default();
    let has = |op: &&str| graph.contains(&format!("= {op}("));
    let averages = ["GlobalAvgPool", "AvgPool"].into_iter().filter(has).map(|op| format!("[op.{op}]\nskip = true\n"));
    let text: String = std::iter::once(CLASSIC.to_string()).chain(averages).collect();
    // Where layers read every sum, it is refused as without effect.
    let sums = format!("{text}[op.Add]\noutput = 'wide'\n");
    let path = bench.work.join("classic.toml");
    std::fs::write(&path, &sums).map_err(|e| e.to_string())?;
    let mut trial = bench.command("quantize", s)?;
    trial.args(["--samples", "1", "--stop-after", "annotate", "--config"]).arg(&path);
    Ok(if has(&"Add") && bench.json(&mut trial).is_ok() { sums } else { text })
}

/// The name of a model's first layer.
fn first_layer(bench: &Bench, s: &Subject) -> Result<String> {
    let mut command = bench.command("quantize", s)?;
    command.args(["--no-report", "--samples", "1", "-o"]).arg(bench.work.join("first.onnx"));
    let found = bench.json(&mut command)?;
    let name = found["layers"][0]["node"].as_str();
    name.map(str::to_string).ok_or_else(|| format!("no layers in {found}"))
}

/// What the choices of other tools' tables make of the labelled models; each program is proven too.
pub fn choices(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let subjects: Vec<&Subject> = chosen(names)?.into_iter().filter(|s| s.labelled && s.model != "mnist-7").collect();
    let models: Vec<&str> = subjects.iter().map(|s| s.model).collect();
    let (mut columns, mut findings) = (Vec::new(), Vec::new());
    for s in subjects {
        let mut column = Vec::new();
        let (first, classic) = (first_layer(&bench, s)?, classic(&bench, s)?);
        for (i, (name, text)) in CHOICES.iter().enumerate() {
            let text = text.replace("{classic}", &classic).replace("{first}", &first);
            let path = bench.work.join(format!("{}.choice{i}.onnx", s.model));
            bench.quantize_from_statistics(s, &format!("equalize = false\nrefinements = []\n{text}"), &path)?;
            let found = cell(s, &bench.evaluate(s, &path)?, 1);
            let proof = bench.proof(s, &path)?;
            eprintln!("{}: {name}: {found}, {} steps, identical: {}", s.model, proof.greatest(), proof.identical);
            column.push(found);
            if !proof.holds() {
                findings.push(format!("{} with {name}", s.model));
            }
        }
        columns.push(column);
    }
    let mut table = Table::new("choices", &[&["choice"][..], &models].concat());
    for (i, (name, _)) in CHOICES.iter().enumerate() {
        let cells = columns.iter().filter_map(|c| c.get(i).cloned());
        table.row(&std::iter::once(name.to_string()).chain(cells).collect::<Vec<_>>());
    }
    table.write(root, ACCURACY, names)?;
    none_of("these are not the same everywhere, or more than a step from their simulation", &findings)
}
