//! What is read of MXNet models against MXNet itself, which an environment of its own holds.

use std::path::Path;
use std::process::Command;

use super::Bench;
use crate::Result;
use crate::python::environment;

/// Whole models that are compared besides single operators, and the shape of their input.
const MODELS: &[(&str, &str, &str)] = &[
    ("det1-symbol.json", "det1-0001.params", "1x3x32x40"),
    ("det2-symbol.json", "det2-0001.params", "3x3x24x24"),
    ("det3-symbol.json", "det3-0001.params", "2x3x48x48"),
];

/// Every operator and every model, or those of whose names a part is given: the greatest relative error of each.
pub fn compare(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let scripts = root.join("xtask/peers");
    let folder = bench.work.join("mxnet");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let python = environment(&folder.join("environment"), &scripts.join("mxnet.txt"))?;
    let models = bench.shared.join("models/mxnet");
    for only in if names.is_empty() { &[""] } else { names } {
        let mut command = Command::new(&python);
        command.arg(scripts.join("mxnet_cases.py")).arg("--lowbit").arg(&bench.lowbit);
        command.arg("--folder").arg(folder.join("cases")).args(["--only", only]);
        for (symbol, params, shape) in MODELS {
            let [symbol, params] = [symbol, params].map(|name| models.join(name).display().to_string());
            command.args(["--model", &format!("{symbol},{params},{shape}")]);
        }
        if !command.status().map_err(|e| format!("cannot run the comparison: {e}"))?.success() {
            return Err("some of what is read differs from MXNet".into());
        }
    }
    Ok(())
}
