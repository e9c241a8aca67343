//! Choices that other tools' tables have too, beside the same rows as such a tool gave them.
//!
//! The other rows lie in a page of the shared folder, for one set of ranges and images that is nearly ours; without the
//! page, what the choices give is measured and nothing is compared.

use super::accuracy::cell;
use super::{ACCURACY, Bench, Subject, Table, chosen, none_of};
use crate::Result;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A row of the table.
struct Choice {
    name: &'static str,
    /// By plain rounding: nothing equalized, nothing corrected. `{first}` stands for the name of a model's first layer,
    /// `{classic}` for [`classic`].
    text: &'static str,
    /// The same row of the other tool's, if it has one.
    theirs: &'static str,
}

static CHOICES: &[Choice] = &[
    Choice { name: "global scale 2", text: "global_scale = 2.0\n{classic}", theirs: "gs2_all" },
    Choice { name: "global scale 4", text: "global_scale = 4.0\n{classic}", theirs: "gs4_all" },
    Choice { name: "global scale 8", text: "global_scale = 8.0\n{classic}", theirs: "gs8_all" },
    Choice { name: "global scale 16", text: "global_scale = 16.0\n{classic}", theirs: "gs16_all" },
    Choice {
        name: "global scale 2, first convolution float",
        text: "global_scale = 2.0\nskip_k_conv = 1\n{classic}",
        theirs: "gs2_skip1",
    },
    Choice {
        name: "global scale 4, first convolution float",
        text: "global_scale = 4.0\nskip_k_conv = 1\n{classic}",
        theirs: "gs4_skip1",
    },
    Choice {
        name: "global scale 8, first convolution float",
        text: "global_scale = 8.0\nskip_k_conv = 1\n{classic}",
        theirs: "gs8_skip1",
    },
    Choice {
        name: "global scale 16, first convolution float",
        text: "global_scale = 16.0\nskip_k_conv = 1\n{classic}",
        theirs: "gs16_skip1",
    },
    Choice {
        name: "16x8",
        text: "input.bits = 16\ninput.observer = 'minmax'\noutput = 'narrow'\naccumulator_bits = 64\n",
        theirs: "a16w8_minmax_512",
    },
    Choice {
        name: "4x8 (8-bit values)",
        text: "weight.bits = 4\ninput.observer = 'percentile(99.99)'\noutput = 'narrow'\n",
        theirs: "w4a8_rtn",
    },
    Choice {
        name: "4x8, weights by mse",
        text: "weight.bits = 4\nweight.observer = 'mse'\ninput.observer = 'percentile(99.99)'\noutput = 'narrow'\n",
        theirs: "w4a8_mse",
    },
    Choice {
        name: "4x4 (the model's input has 8 bits)",
        text: "weight.bits = 4\ninput.bits = 4\ninput.observer = 'percentile(99.99)'\noutput = 'narrow'\n\
               [layer.\"{first}\"]\ninput.bits = 8\n",
        theirs: "w4a4_rtn",
    },
    Choice {
        name: "4x4, weights by mse",
        text: "weight.bits = 4\nweight.observer = 'mse'\ninput.bits = 4\ninput.observer = 'percentile(99.99)'\n\
               output = 'narrow'\n[layer.\"{first}\"]\ninput.bits = 8\n",
        theirs: "w4a4_mse",
    },
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
    if !has(&"Add") {
        return Ok(text);
    }
    match bench.json(&mut trial) {
        Ok(_) => Ok(sums),
        Err(why) if why.contains("has no effect") => Ok(text),
        Err(why) => Err(why),
    }
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
    let theirs = theirs(&bench.shared.join("notes/accuracy.md"));
    if theirs.is_empty() {
        eprintln!("there are no rows of another tool's to compare with: the table of distances is SKIPPED");
    }
    let (mut columns, mut findings) = (Vec::new(), Vec::new());
    for s in subjects {
        let mut column = Vec::new();
        let (first, classic) = (first_layer(&bench, s)?, classic(&bench, s)?);
        for (i, choice) in CHOICES.iter().enumerate() {
            let text = choice.text.replace("{classic}", &classic).replace("{first}", &first);
            let path = bench.work.join(format!("{}.choice{i}.onnx", s.model));
            bench.quantize_from_statistics(s, &format!("equalize = false\nrefinements = []\n{text}"), &path)?;
            let found = cell(s, &bench.evaluate(s, &path)?, 1);
            let proof = bench.proof(s, &path)?;
            let distance = theirs.get(&(choice.theirs.into(), s.model.into())).and_then(|t| distance(&found, t));
            let steps = proof.greatest();
            eprintln!("{}: {}: {found}, {steps} steps, identical: {}", s.model, choice.name, proof.identical);
            if !proof.holds() {
                findings
                    .push(format!("{} with {}: not the same everywhere, or more than a step", s.model, choice.name));
            }
            if let Some((top1, _)) = distance.filter(|(top1, _)| choice.bound(s).is_some_and(|b| top1.abs() > b)) {
                findings.push(format!("{} with {}: {top1:+.1} points from the other tool", s.model, choice.name));
            }
            column.push((found, distance));
        }
        columns.push(column);
    }
    let mut table = Table::new("choices", &[&["choice"][..], &models].concat());
    for (i, choice) in CHOICES.iter().enumerate() {
        let cells = columns.iter().map(|c| c[i].0.clone());
        table.row(&std::iter::once(choice.name.to_string()).chain(cells).collect::<Vec<_>>());
    }
    table.write(root, ACCURACY, names)?;
    if !theirs.is_empty() {
        let mut table = Table::new("choices-distance", &[&["choice"][..], &models].concat());
        for (i, choice) in CHOICES.iter().enumerate() {
            if columns.iter().any(|c| c[i].1.is_some()) {
                let told = |d: Option<(f64, f64)>| d.map_or("-".into(), |(t, a)| format!("{t:+.1} / {a:+.1}"));
                let cells = columns.iter().map(|c| told(c[i].1));
                table.row(&std::iter::once(choice.name.to_string()).chain(cells).collect::<Vec<_>>());
            }
        }
        table.write(root, ACCURACY, names)?;
    }
    none_of("these programs or their accuracy are not as they must be", &findings)
}

impl Choice {
    /// How many points of top-1 the classic workflow may differ from the other tool's.
    fn bound(&self, s: &Subject) -> Option<f64> {
        let of = if s.model.ends_with("_cifar10") { 1.0 } else { 2.0 };
        self.text.contains("{classic}").then_some(of)
    }
}

/// Top-1 and agreement of a cell, in percent.
fn pair(cell: &str) -> Option<(f64, f64)> {
    let (top1, agreement) = cell.split_once(" / ")?;
    Some((top1.trim().parse().ok()?, agreement.trim().parse().ok()?))
}

/// How far a cell is from theirs, in points.
fn distance(ours: &str, theirs: &str) -> Option<(f64, f64)> {
    let (ours, theirs) = (pair(ours)?, pair(theirs)?);
    Some((ours.0 - theirs.0, ours.1 - theirs.1))
}

/// The cells of another tool's table by row and model; none where there is no such page.
fn theirs(page: &Path) -> HashMap<(String, String), String> {
    let text = fs::read_to_string(page).unwrap_or_default();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_string()).collect::<Vec<_>>();
    let mut titles = Vec::new();
    let mut found = HashMap::new();
    for line in text.lines().filter(|line| line.starts_with('|')).map(cells) {
        match line.split_first() {
            Some((name, models)) if name == "method" => titles = models.to_vec(),
            Some((name, values)) => {
                found.extend(titles.iter().zip(values).map(|(m, v)| ((name.clone(), m.clone()), v.clone())));
            }
            None => {}
        }
    }
    found
}
