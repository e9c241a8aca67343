//! The machine that measures, as pages name it.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

use super::Bench;
use crate::Result;

/// What times depend on.
pub struct Machine {
    /// The processor, in its own words.
    cpu: String,
    cores: usize,
    /// The best instruction set, which programs get unless they are told another.
    best: String,
    /// Every instruction set of kernels that it has.
    sets: Vec<String>,
}

impl Machine {
    /// This one, as the command line finds it with the demo's model.
    pub fn here(root: &Path, bench: &Bench) -> Result<Machine> {
        let mut command = Command::new(&bench.lowbit);
        command.arg("bench").arg(root.join("demo/model.onnx")).args(["--threads", "1", "--seconds", "0.05"]);
        let found = bench.json(&mut command)?;
        let word = |name: &str| found[name].as_str().map(str::to_string).ok_or_else(|| format!("no {name} in {found}"));
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let listing = bench.json(Command::new(&bench.lowbit).args(["list", "isas"]))?;
        Ok(Machine { cpu: word("cpu")?, cores, best: word("isa")?, sets: sets(&listing) })
    }

    /// Its processor, cores and best instruction set.
    pub fn name(&self) -> String {
        format!("{} ({} cores, {})", self.cpu, self.cores, self.best)
    }

    /// Whether it has an instruction set.
    pub fn has(&self, set: &str) -> bool {
        self.sets.iter().any(|s| s == set)
    }
}

/// The instruction sets of `lowbit list isas` that are said to be here.
fn sets(listing: &Value) -> Vec<String> {
    let column = listing["columns"].as_array().and_then(|all| all.iter().position(|c| c == "here"));
    let rows = listing["rows"].as_array().into_iter().flatten();
    let here = rows.filter(|row| column.is_some_and(|i| row[i] == "yes"));
    here.filter_map(|row| row[0].as_str().map(str::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_machine_has_the_sets_that_are_here_and_is_named_by_the_best() {
        let rows = json!([["scalar", "nothing", "yes"], ["avx2", "avx2", "yes"], ["amx", "avx2, amx", "no"]]);
        let sets = sets(&json!({"columns": ["set", "needs", "here"], "rows": rows}));
        let machine = Machine { cpu: "AMD EPYC".into(), cores: 2, best: "avx2".into(), sets };
        assert_eq!(machine.name(), "AMD EPYC (2 cores, avx2)");
        assert!(machine.has("scalar") && machine.has("avx2") && !machine.has("amx") && !machine.has("avx"));
    }
}
