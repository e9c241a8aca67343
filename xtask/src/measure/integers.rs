//! What the integers are: the same everywhere, near their simulation, and what ONNX Runtime makes of the same files.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ACCURACY, Bench, Table, chosen, json, none_of, python, shared};
use crate::Result;

/// The interpreter against every executor on every model, and every layer against its simulation.
pub fn verify(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles = ["model", "samples", "values", "executors", "identical", "simulated values", "greatest step"];
    let mut table = Table::new("verify", &titles);
    let mut findings = Vec::new();
    for s in chosen(names)? {
        eprintln!("{}: quantize and verify", s.model);
        bench.quantize(s)?;
        let proof = bench.proof(s, &bench.integer(s))?;
        let found = &proof.verified;
        table.row(&[
            s.model.into(),
            found["samples"].to_string(),
            found["values"].to_string(),
            found["executors"].as_array().map_or(0, Vec::len).to_string(),
            yes(proof.identical),
            proof.steps.len().to_string(),
            proof.greatest().to_string(),
        ]);
        if !proof.holds() {
            findings.push(s.model.to_string());
        }
    }
    table.write(root, ACCURACY, names)?;
    none_of("these are not the same everywhere, or more than a step from their simulation", &findings)
}

fn yes(x: bool) -> String {
    if x { "yes" } else { "NO" }.into()
}

/// ONNX Runtime on our exported files, whole and layer by layer: a Python script does the work.
pub fn onnxruntime(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles = [
        "model",
        "n",
        "same class",
        "layers run as integers",
        "layers compared",
        "layers within one step",
        "greatest step",
        "values that differ",
        "last layer",
    ];
    let mut table = Table::new("onnxruntime", &titles);
    for s in chosen(names)? {
        eprintln!("{}: quantize and compare", s.model);
        bench.quantize(s)?;
        let mut command = python();
        command.arg(root.join("xtask/compare_onnxruntime.py")).arg("--lowbit").arg(&bench.lowbit);
        command.arg("--model").arg(bench.integer(s)).arg("--data").arg(bench.data(s.test)?);
        command.arg("--work").arg(bench.work.join("onnxruntime"));
        let found = json(&mut command)?;
        let exact = |x: f64| if x == 0.0 { "0".to_string() } else { format!("{x:.1e}") };
        table.row(&[
            s.model.into(),
            found["samples"].to_string(),
            format!("{:.2}", number(&found, "same_class")?),
            format!("{} of {}", found["integer_layers"], found["all_layers"]),
            found["layers"].to_string(),
            found["layers_within_one"].to_string(),
            found["greatest_step"].to_string(),
            format!("{:.4} %", number(&found, "differing_percent")?),
            found["last_relative"].as_f64().map_or("-".into(), exact),
        ]);
    }
    table.write(root, ACCURACY, names)
}

pub fn number(found: &Value, key: &str) -> Result<f64> {
    found[key].as_f64().ok_or_else(|| format!("no number named {key} in {found}"))
}

/// The files that other tools quantized, each with an archive of inputs and of what ONNX Runtime gave for them.
pub static PREQUANTIZED: &[&str] = &[
    "ort_qdq_pc_u8s8_mobilenetv2",
    "ort_qdq_pc_u8s8_mobilenet_v1_0.25",
    "ort_qdq_pc_u8s8_squeezenet1.1",
    "ort_qoperator_pc_u8s8_squeezenet1.1",
    "ort_qdq_pc_u8s8_resnet20",
    "nncf_qdq_performance_mobilenetv2",
    "nncf_qdq_performance_resnet20",
    "nncf_qdq_performance_resnet20_bnfold",
];

/// What is a finding here: a convolution that stays float, an output too far away, a layer more than one step away, an
/// executor with other bits. The table is written all the same.
pub fn prequantized(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    if let Some(unknown) = names.iter().find(|n| !PREQUANTIZED.contains(n)) {
        return Err(format!("no file is named {unknown}; there are {}", PREQUANTIZED.join(", ")));
    }
    let titles = [
        "file",
        "convolutions on integers",
        "distance",
        "bound",
        "layers compared",
        "layers within one step",
        "greatest step",
        "values that differ",
        "identical everywhere",
    ];
    let mut table = Table::new("prequantized", &titles);
    let mut findings = Vec::new();
    for name in PREQUANTIZED.iter().filter(|n| names.is_empty() || names.contains(n)) {
        eprintln!("{name}: inspect, compare and verify");
        let file = |kind: &str| bench.shared.join(format!("models/prequantized/{name}.{kind}"));
        let layers = bench.json(Command::new(&bench.lowbit).arg("inspect").arg(file("onnx")))?;
        let convolutions = &layers["layers"]["Conv"];
        let mut command = python();
        command.arg(root.join("xtask/compare_onnxruntime.py")).arg("--lowbit").arg(&bench.lowbit);
        command.arg("--model").arg(file("onnx")).arg("--archive").arg(file("npz"));
        command.arg("--work").arg(bench.work.join("prequantized"));
        let found = json(&mut command)?;
        let input = bench.work.join("prequantized").join(name).join("input.npy");
        let mut command = Command::new(&bench.lowbit);
        command.arg("verify").arg(file("onnx")).arg("--data").arg(input);
        let same = bench.json(&mut command)?["identical"] == Value::Bool(true);
        let (distance, bound) = (number(&found, "distance")?, number(&found, "bound")?);
        table.row(&[
            name.to_string(),
            format!("{} of {}", convolutions["integer"], convolutions["all"]),
            format!("{distance:.5}"),
            format!("{bound:.5}"),
            found["layers"].to_string(),
            found["layers_within_one"].to_string(),
            found["greatest_step"].to_string(),
            format!("{:.4} %", number(&found, "differing_percent")?),
            yes(same),
        ]);
        let integer = convolutions["integer"].is_u64() && convolutions["integer"] == convolutions["all"];
        let within = found["layers"].is_u64() && found["layers"] == found["layers_within_one"];
        if !(integer && within && same && distance <= bound) {
            findings.push(name.to_string());
        }
    }
    table.write(root, ACCURACY, names)?;
    none_of("these files do not run as they should", &findings)
}

/// Float models read, written, checked and run beside ONNX Runtime: a Python script does the work and prints a line a
/// model.
pub fn roundtrip(root: &Path, names: &[&str]) -> Result<()> {
    let folder = shared(root)?.join("models");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    let is = |f: &PathBuf, name: &str| f.file_stem().is_some_and(|stem| stem == name);
    if let Some(unknown) = names.iter().find(|name| !files.iter().any(|f| is(f, name))) {
        return Err(format!("no model is named {unknown} in {}", folder.display()));
    }
    files.retain(|f| names.is_empty() || names.iter().any(|name| is(f, name)));
    let mut command = python();
    command.current_dir(root).arg(root.join("xtask/roundtrip_onnxruntime.py")).args(&files);
    match command.status().map_err(|e| format!("cannot start {command:?}: {e}"))?.success() {
        true => Ok(()),
        false => Err("some models do not come back as they were".into()),
    }
}
