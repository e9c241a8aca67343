//! Time of other choices than the default ones, and of older instruction sets, beside the default program in the same
//! rounds.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::machine::Machine;
use super::peers::{Peers, known, median_of, names_in_order, ratio};
use super::{Bench, PERFORMANCE, Table, output};
use crate::Result;

/// A way to quantize or to run a network.
struct Variant {
    name: &'static str,
    /// What `lowbit quantize` is told.
    quantize: &'static [&'static str],
    /// The instruction set it runs with, if not the best.
    isa: Option<&'static str>,
}

const DEFAULT: &str = "default";

const fn choice(name: &'static str, quantize: &'static [&'static str]) -> Variant {
    Variant { name, quantize, isa: None }
}

const fn isa(name: &'static str) -> Variant {
    Variant { name, quantize: &[], isa: Some(name) }
}

static VARIANTS: &[Variant] = &[
    choice(DEFAULT, &[]),
    choice("signed symmetric activations", &["--set", "input.signed=true", "--set", "input.symmetric=true"]),
    choice("requantize = \"fixed\"", &["--set", "requantize=fixed"]),
    choice(
        "requantize = \"shift\"",
        &["--set", "requantize=shift", "--set", "input.scale=power-of-two", "--set", "weight.scale=power-of-two"],
    ),
    choice("4-bit weights", &["--set", "weight.bits=4"]),
    choice(
        "16-bit activations, accumulators as wide as they must be",
        &["--set", "input.bits=16", "--set", "accumulator_limit=widen"],
    ),
    isa("avx512vnni"),
    isa("avxvnni"),
    isa("avx2"),
];

/// Networks that are timed unless others are named.
const NETWORKS: &[&str] = &["resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2"];

/// Times of every variant that the machine can run.
pub fn variants(root: &Path, names: &[&str]) -> Result<()> {
    known(names)?;
    let bench = Bench::new(root)?;
    let peers = Peers::new(root, &bench)?;
    let machine = Machine::here(root, &bench)?;
    let can_run = |v: &&Variant| v.isa.is_none_or(|isa| machine.has(isa));
    let (here, lacking): (Vec<&Variant>, Vec<&Variant>) = VARIANTS.iter().partition(can_run);
    for v in lacking {
        eprintln!("{} is left out: this CPU lacks what it needs", v.name);
    }
    for name in if names.is_empty() { NETWORKS } else { names } {
        let mut table = Table::new("variants", &["network", "variant", "1 thread", "ratio", "2 threads", "ratio"]);
        let models: Vec<(&Variant, PathBuf)> =
            here.iter().map(|v| Ok((*v, model(&bench, &peers, name, v)?))).collect::<Result<_>>()?;
        let found: Vec<Value> = ["1", "2"]
            .into_iter()
            .map(|threads| {
                eprintln!("{name}: {threads} threads");
                let case = |(v, model): &(&Variant, PathBuf)| {
                    let flags = ["--threads", threads, "--seconds", "0.4", "--json"];
                    let words = [bench.lowbit.display().to_string(), "bench".into(), model.display().to_string()];
                    let isa = v.isa.iter().flat_map(|isa| ["--isa", isa]);
                    let flags = flags.into_iter().chain(isa).map(str::to_string);
                    (v.name.to_string(), words.into_iter().chain(flags).collect())
                };
                peers.rounds(&models.iter().map(case).collect::<Vec<_>>())
            })
            .collect::<Result<_>>()?;
        for v in &here {
            let cells = found.iter().flat_map(|found| {
                let digits = |x: Option<f64>, n: usize| x.map_or("-".into(), |x| format!("{x:.n$}"));
                [digits(median_of(&found[v.name]), 3), digits(ratio(&found[v.name], &found[DEFAULT]), 2)]
            });
            table.row(&[name.to_string(), v.name.into()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        // Network by network: what is measured stays, whatever becomes of the rest.
        table.update(root, PERFORMANCE, &machine, &names_in_order())?;
    }
    Ok(())
}

/// The integer model of a variant, made anew.
fn model(bench: &Bench, peers: &Peers, name: &str, variant: &Variant) -> Result<PathBuf> {
    let float = peers.float_by_name(bench, name)?;
    let file = variant.quantize.concat().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let path = bench.work.join(format!("peers/{name}.variant{file}.onnx"));
    let mut command = Command::new(&bench.lowbit);
    command.arg("quantize").arg(&float).args(["--data", "random", "--samples", "8", "--no-report", "-o"]).arg(&path);
    output(command.args(variant.quantize))?;
    Ok(path)
}
