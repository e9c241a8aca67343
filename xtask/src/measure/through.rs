//! Every model of the shared folder through every verb that a stranger's model meets: quantize, verify, compare with its
//! report, explain, reproduce; what other tools quantized through all but the first and the last.
//!
//! Whatever fails is a finding, with what the command said; so are values that nobody is said to have chosen.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::integers::PREQUANTIZED;
use super::{Bench, Result, SUBJECTS, Table, figure, none_of};

/// The page of what was found.
const RELIABILITY: &str = "docs/reliability.md";

/// A float model without labelled data: noise says that it goes through, not how good it is.
struct Plain {
    model: &'static str,
    shape: Option<&'static str>,
}

const fn plain(model: &'static str, shape: Option<&'static str>) -> Plain {
    Plain { model, shape }
}

static PLAIN: &[Plain] = &[
    plain("ad01_toycar_fc.onnx", None),
    plain("str_ww_dscnn.onnx", None),
    plain("ultraface_rfb320.onnx", None),
    plain("yolox_nano_b.onnx", None),
    plain("mxnet/det1-symbol.json", Some("1x3x48x48")),
    plain("mxnet/det2-symbol.json", Some("1x3x24x24")),
    plain("mxnet/det3-symbol.json", Some("1x3x48x48")),
];

/// A model on its way.
struct Traveller {
    name: String,
    /// The float model, unless it comes quantized.
    float: Option<PathBuf>,
    quantized: PathBuf,
    calibration: String,
    test: String,
    flags: Vec<String>,
    shape: Option<&'static str>,
}

pub fn through(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles = [
        "model",
        "data",
        "layers on integers",
        "worst output, dB",
        "identical everywhere",
        "values explained",
        "report",
        "reproduced",
        "s",
    ];
    let mut table = Table::new("through", &titles);
    let mut findings = Vec::new();
    let all = travellers(&bench)?;
    if let Some(unknown) = names.iter().find(|n| !all.iter().any(|t| t.name == **n)) {
        let known: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
        return Err(format!("no model is named {unknown}; there are {}", known.join(", ")));
    }
    for traveller in all.iter().filter(|t| names.is_empty() || names.contains(&t.name.as_str())) {
        eprintln!("{}: quantize, verify, compare, explain, reproduce", traveller.name);
        match traveller.goes(&bench, &mut findings) {
            Ok(cells) => table.row(&cells),
            Err(e) => findings.push(format!("{}: {e}", traveller.name)),
        }
    }
    table.write(root, RELIABILITY, names)?;
    none_of("these do not go through", &findings)
}

fn travellers(bench: &Bench) -> Result<Vec<Traveller>> {
    let folder = bench.work.join("through");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let quantized = |name: &str| folder.join(format!("{}.int8.onnx", name.replace('/', "-")));
    let mut all = Vec::new();
    for s in SUBJECTS {
        all.push(Traveller {
            name: s.model.into(),
            float: Some(bench.float(s)),
            quantized: quantized(s.model),
            calibration: text(bench.data(s.calibration)?),
            test: text(bench.data(s.test)?),
            flags: s.flags.iter().map(|f| f.to_string()).collect(),
            shape: None,
        });
    }
    let noise = || "random".to_string();
    all.extend(PLAIN.iter().map(|p| Traveller {
        name: p.model.trim_end_matches(".onnx").trim_end_matches("-symbol.json").into(),
        float: Some(bench.shared.join("models").join(p.model)),
        quantized: quantized(p.model),
        calibration: noise(),
        test: noise(),
        flags: Vec::new(),
        shape: p.shape,
    }));
    all.extend(PREQUANTIZED.iter().map(|name| Traveller {
        name: name.to_string(),
        float: None,
        quantized: bench.shared.join(format!("models/prequantized/{name}.onnx")),
        calibration: noise(),
        test: noise(),
        flags: Vec::new(),
        shape: None,
    }));
    Ok(all)
}

impl Traveller {
    /// The cells of its row.
    fn goes(&self, bench: &Bench, findings: &mut Vec<String>) -> Result<Vec<String>> {
        let began = Instant::now();
        let report = bench.work.join("through/report");
        let command = |verb: &str| {
            let mut command = Command::new(&bench.lowbit);
            command.arg(verb);
            command
        };
        let layers = match &self.float {
            Some(float) => {
                let mut quantize = command("quantize");
                quantize.arg(float).args(["--data", &self.calibration, "--no-report", "-o"]).arg(&self.quantized);
                quantize.args(&self.flags).args(["--samples", "128"]);
                self.shape.map(|shape| quantize.args(["--shape", shape]));
                let told = bench.json(&mut quantize)?;
                format!("{} of {}", told["layers_integer"], told["layers_total"])
            }
            None => {
                let layers = bench.json(command("inspect").arg(&self.quantized))?["layers"].clone();
                let sum = |key: &str| -> u64 {
                    layers.as_object().into_iter().flatten().filter_map(|(_, layer)| layer[key].as_u64()).sum()
                };
                format!("{} of {}", sum("integer"), sum("all"))
            }
        };
        let verified = bench.json(command("verify").arg(&self.quantized).args(["--data", &self.test]))?;
        let same = verified["identical"] == Value::Bool(true);
        let mut compare = command("compare");
        match &self.float {
            Some(float) => compare.arg(float).arg(&self.quantized),
            None => compare.arg(&self.quantized),
        };
        self.shape.map(|shape| compare.args(["--shape", shape]));
        bench.json(compare.args(["--data", &self.test, "--samples", "8", "--report"]).arg(&report))?;
        let page = fs::read(report.join("report.json")).map_err(|e| format!("the report: {e}"))?;
        let page: Value = serde_json::from_slice(&page).map_err(|e| format!("the report: {e}"))?;
        let outputs = page["compared"]["outputs"].as_array().into_iter().flatten();
        let worst = outputs.filter_map(|o| o["sqnr_db"].as_f64()).min_by(f64::total_cmp);
        let told = bench.json(command("explain").arg(&self.quantized))?;
        let tensors: Vec<&Value> = told["tensors"].as_array().into_iter().flatten().collect();
        let said = tensors.iter().filter(|t| t["scale_by"].as_str().is_some_and(|by| !by.is_empty())).count();
        let again = match &self.float {
            Some(float) => {
                let mut reproduce = command("reproduce");
                reproduce.arg(&self.quantized).arg(float).args(["--data", &self.calibration, "--threads", "1"]);
                let same = bench.json(&mut reproduce)?["same"] == Value::Bool(true);
                Some(same)
            }
            None => None,
        };
        let yes = |x: bool| if x { "yes" } else { "NO" }.to_string();
        let mut finding = |wrong: bool, what: &str| {
            if wrong {
                findings.push(format!("{}: {what}", self.name));
            }
        };
        finding(!same, "not the same everywhere");
        finding(again == Some(false), "not reproduced");
        finding(tensors.is_empty() || said != tensors.len(), "values of which nobody is said to have chosen the scale");
        finding(
            !report.join("index.html").is_file() || page["nodes"].as_array().is_none_or(Vec::is_empty),
            "no report",
        );
        let data = if self.test == "random" { "noise" } else { "images" };
        Ok(vec![
            self.name.clone(),
            data.into(),
            layers,
            figure(&worst.map_or(Value::Null, Value::from), 1),
            yes(same),
            format!("{said} of {}", tensors.len()),
            format!("{} nodes", page["nodes"].as_array().map_or(0, Vec::len)),
            again.map_or("-".into(), yes),
            format!("{:.0}", began.elapsed().as_secs_f64()),
        ])
    }
}
