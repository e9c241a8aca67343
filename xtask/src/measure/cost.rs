//! Time and memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{ACCURACY, Bench, IMAGENET, README, Table, chosen, json, none_of, python};
use crate::Result;

/// Bytes that calibration with many images may take beyond that with few.
const MORE: u64 = 50 << 20;

/// The most memory that calibration holds at once, with 10 and with 1,000 images.
pub fn memory(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles = ["model", "10 images, MB", "1,000 images, MB", "difference, MB"];
    let mut table = Table::new("memory", &titles);
    let mut findings = Vec::new();
    for s in chosen(names)? {
        let peak = |samples: &str| -> Result<u64> {
            eprintln!("{}: calibrate with {samples} images", s.model);
            let mut command = bench.command("calibrate", s)?;
            command.args(["--samples", samples, "-o"]).arg(bench.work.join(format!("{}.few-or-many.stats", s.model)));
            peak_memory(&mut command)
        };
        let (few, many) = (peak("10")?, peak("1000")?);
        let mb = |bytes: f64| format!("{:.1}", bytes / f64::from(1 << 20));
        table.row(&[s.model.into(), mb(few as f64), mb(many as f64), mb(many as f64 - few as f64)]);
        if many > few + MORE {
            findings.push(s.model.to_string());
        }
    }
    table.write(root, ACCURACY, names)?;
    none_of("calibration of these holds over 50 MB more for 1,000 images than for 10", &findings)
}

/// The most bytes that a process had in memory, as Linux counts them: read while it runs, for the counter only grows.
fn peak_memory(command: &mut Command) -> Result<u64> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("cannot start {command:?}: {e}"))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().map_err(|e| e.to_string())?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        thread::sleep(Duration::from_millis(2));
    }
    match (child.wait().map_err(|e| e.to_string())?.success(), peak) {
        (false, _) => Err(format!("{command:?} failed")),
        (true, 0) => Err(format!("{status} does not say VmHWM: this is measured on Linux")),
        (true, peak) => Ok(peak),
    }
}

/// Latency of float and integer programs, with ONNX Runtime on the float file in the same rounds.
pub fn speed(root: &Path, names: &[&str]) -> Result<()> {
    let bench = Bench::new(root)?;
    let titles =
        ["model", "threads", "ONNX Runtime f32", "our f32", "int8", "against our f32", "against ONNX Runtime f32"];
    let mut table = Table::new("speed", &titles);
    // The ImageNet classifiers: the others take too little time to say much.
    for s in chosen(names)?.into_iter().filter(|s| s.labelled && s.test == IMAGENET[1]) {
        eprintln!("{}: quantize and time", s.model);
        bench.quantize(s)?;
        for threads in 1..=2 {
            let mut command = python();
            command.arg(root.join("xtask/time_onnxruntime.py")).arg("--lowbit").arg(&bench.lowbit);
            command.arg("--float").arg(bench.float(s)).arg("--integer").arg(bench.integer(s));
            command.arg("--threads").arg(threads.to_string());
            let found = json(&mut command)?;
            let ms = |key: &str| found[key].as_f64().ok_or_else(|| format!("no time named {key} in {found}"));
            let (peer, float, integer) = (ms("onnxruntime")?, ms("float")?, ms("integer")?);
            table.row(&[
                s.model.into(),
                threads.to_string(),
                format!("{peer:.2}"),
                format!("{float:.2}"),
                format!("{integer:.2}"),
                format!("{:.1}", float / integer),
                format!("{:.1}", peer / integer),
            ]);
        }
    }
    table.write(root, README, names)
}
