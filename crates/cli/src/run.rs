//! `lowbit run`: arrays in, arrays out.

use crate::args::{MachineArguments, ModelArguments};
use crate::output::Outcome;
use clap::Args;
use lowbit::data::npy;
use lowbit::ir::suggest::did_you_mean;
use lowbit::ir::{Engine, Tensor};
use lowbit::{Error, Graph, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// An input as it is, an .npy file; the name may be left out if the model has one input
    #[arg(long, value_name = "[NAME=]FILE.npy", required = true)]
    input: Vec<String>,

    /// The folder for the outputs, each as <name>.npy
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    machine: MachineArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    outputs: Vec<Written>,
    threads: usize,
    isa: &'static str,
}

#[derive(Debug, Serialize)]
struct Written {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    file: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let model = arguments.model.load()?;
    let (graph, _) = model.lowered()?;
    let files = input_files(&graph, &arguments.input)?;
    let inputs = files.iter().map(|file| npy::read(file)).collect::<Result<Vec<Tensor>>>()?;
    let found = arguments.machine.engine()?.load(&graph, &[])?.run(&inputs)?;

    let folder = &arguments.output;
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::new(e.to_string()).context(format!("making the folder '{}'", folder.display())))?;
    let names: Vec<&str> = graph.outputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
    let mut outputs = Vec::new();
    for ((name, file), tensor) in names.iter().zip(file_names(&names)).zip(&found.outputs) {
        let file = folder.join(file);
        npy::write(&file, tensor)?;
        outputs.push(Written { name: name.to_string(), ty: tensor.ty().to_string(), file });
    }
    let text: String = outputs.iter().map(|o| format!("{}: {}  {}\n", o.name, o.ty, o.file.display())).collect();
    let machine = &arguments.machine;
    let found = Found { model: &arguments.model.path, outputs, threads: machine.threads(), isa: machine.isa().name };
    Outcome::new(text, &found)
}

/// A file for every input of the graph, in order.
fn input_files(graph: &Graph, given: &[String]) -> Result<Vec<PathBuf>> {
    let names: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
    let mut files: Vec<Option<PathBuf>> = vec![None; names.len()];
    for text in given {
        let (place, file) = input_file(&names, text)?;
        if let Some(slot) = files.get_mut(place) {
            if let Some(before) = slot.replace(file) {
                return Err(Error::new(format!(
                    "input '{}' is given twice, also as '{}'",
                    names[place],
                    before.display()
                )));
            }
        }
    }
    let missing: Vec<&str> = names.iter().zip(&files).filter(|(_, f)| f.is_none()).map(|(n, _)| *n).collect();
    match missing.as_slice() {
        [] => Ok(files.into_iter().flatten().collect()),
        [first, ..] => {
            Err(Error::new(format!("expected a file for every input, found none for {}", missing.join(", ")))
                .hint(format!("--input {first}=FILE.npy")))
        }
    }
}

/// Which input an argument is for, and its file.
fn input_file(names: &[&str], text: &str) -> Result<(usize, PathBuf)> {
    // A name may hold an equals sign, and so may a path: the longest name that fits is meant.
    let named = names
        .iter()
        .enumerate()
        .filter_map(|(i, name)| Some((i, name.len(), text.strip_prefix(name)?.strip_prefix('=')?)))
        .max_by_key(|(_, length, _)| *length);
    if let Some((i, _, file)) = named {
        return Ok((i, file.into()));
    }
    match (names, text.split_once('=')) {
        ([_], None) => Ok((0, text.into())),
        ([_], Some(_)) if Path::new(text).exists() => Ok((0, text.into())),
        (_, Some((name, _))) => {
            let near = did_you_mean(name, names.iter().copied());
            Err(Error::new(format!("no input is named '{name}'{near}"))
                .hint(format!("the inputs are {}", names.join(", "))))
        }
        (_, None) => Err(Error::new(format!("expected name=file.npy, found '{text}'"))
            .hint(format!("the inputs are {}", names.join(", ")))),
    }
}

/// File names for outputs: letters, digits, `.`, `_` and `-` stay, and no two are the same whatever the case.
fn file_names(outputs: &[&str]) -> Vec<String> {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let mut taken = BTreeSet::new();
    let mut unique = |name: &str| {
        // A leading dot hides a file, and file systems end at 255 bytes.
        let base: String = name.chars().map(safe).take(200).collect();
        let base = match base.strip_prefix('.') {
            Some(rest) => format!("_{rest}"),
            None if base.is_empty() => "_".into(),
            None => base,
        };
        let mut file = base.clone();
        let mut number = 2;
        while !taken.insert(file.to_ascii_lowercase()) {
            file = format!("{base}_{number}");
            number += 1;
        }
        format!("{file}.npy")
    };
    outputs.iter().map(|name| unique(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_names_are_safe_and_unique() {
        let names = file_names(&["logits", "a/b:0", "a/b_0", "..", "", "Logits"]);
        assert_eq!(names, ["logits.npy", "a_b_0.npy", "a_b_0_2.npy", "_..npy", "_.npy", "Logits_2.npy"]);
    }

    #[test]
    fn inputs_are_named_or_alone() {
        assert_eq!(input_file(&["x"], "a.npy").unwrap(), (0, "a.npy".into()));
        assert_eq!(input_file(&["x", "x=y"], "x=y=a.npy").unwrap(), (1, "a.npy".into()));
        let e = input_file(&["image", "mask"], "imgae=a.npy").unwrap_err().to_string();
        assert!(e.contains("did you mean 'image'"), "{e}");
        assert!(input_file(&["image", "mask"], "a.npy").unwrap_err().to_string().contains("name=file.npy"));
    }
}
