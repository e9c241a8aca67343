//! What detectors find: boxes of the float model that the quantized one finds again.

use std::path::Path;

use super::integers::number;
use super::{ACCURACY, Bench, Table, json, python};
use crate::Result;

/// A detector, what its widths are called, and the choices that make them.
struct Case {
    model: &'static str,
    widths: &'static str,
    choices: &'static [&'static str],
}

const fn case(model: &'static str, widths: &'static str, choices: &'static [&'static str]) -> Case {
    Case { model, widths, choices }
}

const WIDE: &str = "input.bits=16";

static CASES: &[Case] = &[
    case("ultraface_rfb320", "8 bits", &[]),
    case("yolox_nano_b", "8 bits", &[]),
    case(
        "yolox_nano_b",
        "8 bits, up to the ninth convolution 16",
        &["layer.\"*_4?\".input.bits=16", "layer.\"*_5?\".input.bits=16", "layer.\"*_6?\".input.bits=16"],
    ),
    case("yolox_nano_b", "weights 8 bits, all else 16", &[WIDE]),
];

pub fn boxes(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    if let Some(unknown) = names.iter().find(|n| !CASES.iter().any(|c| c.model == **n)) {
        return Err(format!("no detector is named {unknown}; there are ultraface_rfb320 and yolox_nano_b"));
    }
    let titles = [
        "model",
        "widths",
        "images",
        "layers on integers",
        "boxes of float",
        "boxes of integers",
        "found again",
        "mean overlap",
    ];
    let mut table = Table::new("boxes", &titles);
    for Case { model, widths, choices } in CASES.iter().filter(|c| names.is_empty() || names.contains(&c.model)) {
        eprintln!("{model}, {widths}: quantize, run and compare");
        let mut command = python();
        command.arg(root.join("xtask/compare_boxes.py")).arg("--lowbit").arg(&bench.lowbit);
        command.arg("--model").arg(bench.shared.join(format!("models/{model}.onnx")));
        command.arg("--calibration").arg(bench.shared.join("images/imagenet-calibration"));
        command.arg("--test").arg(bench.shared.join("images/imagenet-val"));
        command.arg("--work").arg(bench.work.join("boxes"));
        command.args(choices.iter().flat_map(|choice| ["--set", choice]));
        let found = json(&mut command)?;
        table.row(&[
            model.to_string(),
            widths.to_string(),
            found["samples"].to_string(),
            format!("{} of {}", found["layers_integer"], found["layers_total"]),
            found["float_boxes"].to_string(),
            found["integer_boxes"].to_string(),
            found["found_again"].to_string(),
            format!("{:.3}", number(&found, "mean_overlap")?),
        ]);
    }
    table.write(root, ACCURACY, names)
}
