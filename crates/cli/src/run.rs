//! `lowbit run`: arrays in, arrays out.

use crate::args::{self, ImageArguments, MachineArguments, ModelArguments, Stored};
use crate::format;
use crate::interrupt::Interrupt;
use crate::output::{Outcome, Paper, tell};
use crate::progress::Progress;
use clap::Args;
use lowbit::bench::{self, ReferenceStep};
use lowbit::data::{Dataset, InputSpec, npy};
use lowbit::engine::Loaded;
use lowbit::frontend::Source;
use lowbit::ir::suggest::did_you_mean;
use lowbit::ir::{Dim, Run, Tensor, Type, ValueId, memory};
use lowbit::left::Left;
use lowbit::programs::KEPT;
use lowbit::quantization::analysis::NotFinite as Begins;
use lowbit::{Error, Graph, Model, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// An input as it is, an .npy file; the name may be left out if the model has one input
    #[arg(long, value_name = "[NAME=]FILE.npy", required_unless_present = "data")]
    input: Vec<String>,

    /// Instead of inputs: data to take samples from, one after the other; inputs and outputs are written, samples along
    /// the first axis
    #[arg(long, value_name = "DATA", conflicts_with = "input")]
    data: Option<String>,

    /// Samples, evenly spread over the data; all unless given
    #[arg(long, value_name = "N", value_parser = args::samples, requires = "data")]
    samples: Option<usize>,

    /// Also write every value that the program computes, integers as they are
    #[arg(long)]
    values: bool,

    /// The folder for the outputs, each as <name>.npy
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    machine: MachineArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Written>,
    /// Inputs and results with values that are no numbers or not finite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_finite: Vec<NotFinite>,
    /// The first value in the model's order that is not finite, where the inputs are.
    #[serde(skip_serializing_if = "Option::is_none")]
    begins: Option<Begins>,
    outputs: Vec<Written>,
    /// What a quantized model would have on integers and stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_float: Option<Vec<Left>>,
    /// What the interpreter runs for want of a kernel.
    reference_steps: Vec<ReferenceStep>,
    threads: usize,
    isa: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
}

#[derive(Debug, Serialize)]
struct Written {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    file: PathBuf,
}

/// An input, or a result, whose values are not all finite; what comes of them is hardly what was meant.
#[derive(Debug, Serialize)]
struct NotFinite {
    kind: &'static str,
    name: String,
    values: usize,
    of: usize,
    /// The first one's place, row-major.
    first: usize,
}

pub fn run(arguments: &Arguments, paper: &Paper, interrupt: &Interrupt) -> Result<Outcome> {
    if arguments.output.exists() && !arguments.output.is_dir() {
        return Err(Error::new(format!("expected a folder for the outputs, found '{}'", arguments.output.display()))
            .hint("--output DIR; each output is written there as <name>.npy"));
    }
    let mut runs = Runs::open(arguments)?;
    let files = runs.files.clone();
    let ran = match &arguments.data {
        None => {
            arguments.images.refuse_without_images(&arguments.input.join(", "))?;
            let inputs = files.iter().map(|file| npy::read(file)).collect::<Result<Vec<Tensor>>>()?;
            let outputs = runs.run(&inputs)?;
            Ran {
                outputs: runs.results().into_iter().zip(outputs).collect(),
                inputs: Vec::new(),
                suspect: Some((0, inputs)),
            }
        }
        Some(data) => run_on_data(arguments, data, &mut runs)?,
    };
    let Ran { inputs, outputs, suspect } = ran;
    let Runs { model, graph, left_float, .. } = &runs;
    let reference_steps = runs.latest().and_then(Loaded::program).map(bench::reference_steps).unwrap_or_default();
    // What the user gave need not be written again.
    let given: Vec<(String, Tensor)> = match (&suspect, &arguments.data) {
        (Some((_, inputs)), None) => runs.names().into_iter().zip(inputs.iter().cloned()).collect(),
        _ => inputs.clone(),
    };
    let mut not_finite = not_finite("input", &given);
    // Of an input that is not finite it is no news that the results are not.
    let mut begins = None;
    if not_finite.is_empty() {
        not_finite = self::not_finite("result", &outputs);
        if let Some((sample, inputs)) = suspect.filter(|_| !not_finite.is_empty()) {
            begins = self::begins(arguments, graph, sample, &inputs)?;
        }
    }
    for n in &not_finite {
        tell(&format!(
            "warning: {} of {} values of {} '{}' are NaN or infinite, the first at element {}",
            format::count(n.values as u64),
            format::count(n.of as u64),
            n.kind,
            n.name,
            format::count(n.first as u64)
        ));
    }
    if let Some(begins) = &begins {
        tell(&format!("warning: {begins}, where it begins"));
    }

    let folder = &arguments.output;
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::from(e).context(format!("making the folder '{}'", folder.display())))?;
    let names: Vec<&str> = inputs.iter().chain(&outputs).map(|(name, _)| name.as_str()).collect();
    let targets: Vec<PathBuf> = file_names(&names).iter().map(|file| folder.join(file)).collect();
    for target in &targets {
        let sources = files.iter().map(|file| ("an input", file.as_path()));
        args::check_output(target, sources.chain([("the model", arguments.model.path.as_path())]))?;
    }
    let mut written = Vec::new();
    for (file, (name, tensor)) in targets.into_iter().zip(inputs.iter().chain(&outputs)) {
        interrupt.writing(&file, || npy::write(&file, tensor))?;
        written.push(Written { name: name.clone(), ty: tensor.ty().to_string(), file });
    }
    let text: String = written.iter().map(|o| format!("{}: {}  {}\n", o.name, o.ty, o.file.display())).collect();
    let config = args::stored_config(model)?;
    let text = text + &format::stored(config.as_ref());
    let text = text + &format::left_float(left_float.as_deref()) + &format::reference_steps(&reference_steps, paper);
    let outputs = written.split_off(inputs.len());
    let machine = &arguments.machine;
    let model = &arguments.model.path;
    let found = Found {
        model,
        inputs: written,
        not_finite,
        begins,
        outputs,
        left_float: left_float.clone(),
        reference_steps,
        threads: machine.threads(),
        isa: machine.isa().name,
        config,
    };
    Outcome::new(text, &found)
}

fn not_finite(kind: &'static str, tensors: &[(String, Tensor)]) -> Vec<NotFinite> {
    let of_one = |(name, tensor): &(String, Tensor)| {
        // Integers are always finite.
        let values = tensor.floats().ok()?;
        let first = values.iter().position(|x| !x.is_finite())?;
        let count = values.iter().filter(|x| !x.is_finite()).count();
        Some(NotFinite { kind, name: name.clone(), values: count, of: values.len(), first })
    };
    tensors.iter().filter_map(of_one).collect()
}

/// The first value of a sample that is not finite, every value of the model looked at, unless that takes too much memory.
fn begins(arguments: &Arguments, graph: &Graph, sample: usize, inputs: &[Tensor]) -> Result<Option<Begins>> {
    let values: Vec<ValueId> = graph.nodes().flat_map(|(_, n)| n.outputs.iter().copied()).collect();
    let mut run = arguments.machine.engine()?.load_compiled(graph, &values);
    let Ok(found) = run.run(inputs) else { return Ok(None) };
    let names = values.iter().map(|v| &*graph.value(*v).name);
    Ok(Begins::first(sample, names.zip(&found.taps)))
}

/// The model as it runs: read once, or for every set of sizes of its inputs where it can be read only when they are known.
struct Runs<'a> {
    arguments: &'a Arguments,
    /// What is read for other sizes; none if the graph is for all.
    source: Option<Source>,
    specs: Vec<InputSpec>,
    /// What is given with `--input`.
    files: Vec<PathBuf>,
    /// As it is for the first sizes.
    model: Model,
    graph: Graph,
    left_float: Option<Vec<Left>>,
    /// What was run of late, the latest first, by sizes unless the graph is for all.
    loaded: Vec<(Vec<Vec<usize>>, Loaded)>,
}

impl<'a> Runs<'a> {
    fn open(arguments: &'a Arguments) -> Result<Runs<'a>> {
        let source = arguments.model.source(&arguments.machine.memory)?;
        let (model, source, specs, files) = match Model::of_source(&source, None) {
            Ok(model) => {
                let specs = model.inputs();
                let files = Runs::given(arguments, &specs)?;
                (model, None, specs, files)
            }
            Err(e) if source.wants_sizes(&e) => {
                let specs: Vec<InputSpec> = source.inputs()?.into_iter().map(spec).collect();
                let files = Runs::given(arguments, &specs)?;
                let sizes = match &arguments.data {
                    None => files.iter().map(|file| npy::Rows::open(file).map(|rows| rows.dims().to_vec())).collect(),
                    Some(data) => first_sizes(arguments, data, &specs),
                };
                (Model::of_source(&source, Some(&shapes(&specs, &sizes?)))?, Some(source), specs, files)
            }
            Err(e) => return Err(e),
        };
        args::tell_remarks(&arguments.model.path, &model);
        let (graph, left_float) = args::lowered(&model)?;
        let mut runs = Runs { arguments, source, specs, files, model, graph, left_float, loaded: Vec::new() };
        if runs.source.is_none() {
            let loaded = load(arguments, &runs.graph)?;
            runs.loaded.push((Vec::new(), loaded));
        }
        Ok(runs)
    }

    fn given(arguments: &Arguments, specs: &[InputSpec]) -> Result<Vec<PathBuf>> {
        let names: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        if arguments.data.is_some() { Ok(Vec::new()) } else { input_files(&names, &arguments.input) }
    }

    fn names(&self) -> Vec<String> {
        self.specs.iter().map(|s| s.name.clone()).collect()
    }

    /// Names of what is given out, the values that are asked for besides among them.
    fn results(&self) -> Vec<String> {
        let taps = taps(self.arguments, &self.graph);
        self.graph.outputs.iter().chain(&taps).map(|v| self.graph.value(*v).name.clone()).collect()
    }

    fn latest(&self) -> Option<&Loaded> {
        self.loaded.first().map(|(_, loaded)| loaded)
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        if let Some(source) = &self.source {
            let sizes: Vec<Vec<usize>> = inputs.iter().map(|t| t.dims().to_vec()).collect();
            let loaded = match self.loaded.iter().position(|(of, _)| *of == sizes) {
                Some(at) => self.loaded.remove(at).1,
                None => {
                    let model = Model::of_source(source, Some(&shapes(&self.specs, &sizes)))?;
                    let (graph, _) = args::lowered(&model)?;
                    self.loaded.truncate(KEPT - 1);
                    load(self.arguments, &graph)?
                }
            };
            self.loaded.insert(0, (sizes, loaded));
        }
        let (_, loaded) = self.loaded.first_mut().ok_or_else(|| Error::new("expected a program, found none"))?;
        let found = loaded.run(inputs)?;
        Ok(found.outputs.into_iter().chain(found.taps).collect())
    }
}

/// The values that are asked for besides the outputs.
fn taps(arguments: &Arguments, graph: &Graph) -> Vec<ValueId> {
    if !arguments.values {
        return Vec::new();
    }
    let computed = graph.nodes().flat_map(|(_, n)| n.outputs.iter().copied());
    computed.filter(|v| !graph.is_output(*v)).collect()
}

fn load(arguments: &Arguments, graph: &Graph) -> Result<Loaded> {
    Ok(arguments.machine.engine()?.load_compiled(graph, &taps(arguments, graph)))
}

/// What an input of a file takes that was not read yet.
fn spec((name, ty): (String, Type)) -> InputSpec {
    let shape = ty.shape.0.iter().map(Dim::known).collect();
    InputSpec { name, dtype: ty.dtype, shape, below: None, quant: ty.quant }
}

fn shapes(specs: &[InputSpec], sizes: &[Vec<usize>]) -> Vec<(String, Vec<usize>)> {
    specs.iter().map(|s| s.name.clone()).zip(sizes.iter().cloned()).collect()
}

/// The sizes of the first sample of some data.
fn first_sizes(arguments: &Arguments, data: &str, specs: &[InputSpec]) -> Result<Vec<Vec<usize>>> {
    let preprocess = arguments.images.resolve_stored(None, [data])?;
    let data = Dataset::open_within(data, specs, preprocess.as_ref(), arguments.machine.memory.max_memory)?;
    Ok(data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor.dims().to_vec()).collect())
}

/// What was run, with names.
struct Ran {
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
    /// The number and the inputs of the first sample with results that are not finite.
    suspect: Option<(usize, Vec<Tensor>)>,
}

/// Inputs and results of all samples, joined along the first axis.
fn run_on_data(arguments: &Arguments, data: &str, runs: &mut Runs<'_>) -> Result<Ran> {
    let progress = Progress::new();
    let preprocess = arguments.images.resolve(&runs.model, [data])?;
    let data = Dataset::open_within(data, &runs.specs, preprocess.as_ref(), arguments.machine.memory.max_memory)?;
    args::warn_of_noise(&data, &progress);
    let samples = args::spread(&data, arguments.samples.unwrap_or(0), &progress);
    progress.stage("run", Some(samples.count()));
    let (mut inputs, mut results) = (Vec::new(), Vec::new());
    let (mut kept, mut suspect) = (0usize, None);
    for i in 0..samples.count() {
        let sample: Vec<Tensor> = samples.get(i)?.inputs.into_iter().map(|(_, tensor)| tensor).collect();
        let found = runs.run(&sample)?;
        // Twice, since they are joined.
        kept = sample.iter().chain(&found).map(|t| 2 * t.bytes().len()).fold(kept, usize::saturating_add);
        memory::check(
            &format!("inputs and results up to sample {i}, which are kept until all are written"),
            kept,
            arguments.machine.memory.max_memory,
        )
        .map_err(|e| e.hint("fewer samples at a time (--samples), or a larger --max-memory"))?;
        if suspect.is_none() && found.iter().any(|t| t.first_not_finite().is_some()) {
            suspect = Some((i, sample.clone()));
        }
        inputs.push(sample);
        results.push(found);
    }
    Ok(Ran { inputs: joined(&runs.names(), &inputs)?, outputs: joined(&runs.results(), &results)?, suspect })
}

/// The tensors of each place, one after the other along the first axis; one by one, with the numbers of their samples,
/// where they differ in their sizes.
fn joined(names: &[String], runs: &[Vec<Tensor>]) -> Result<Vec<(String, Tensor)>> {
    if let Some(other) = runs.iter().find(|run| run.len() != names.len()) {
        return Err(Error::new(format!(
            "expected {} values of every sample, found {} of one of other sizes",
            names.len(),
            other.len()
        ))
        .hint("without --values, or samples of one size at a time"));
    }
    let mut all = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let parts: Vec<&Tensor> = runs.iter().filter_map(|run| run.get(place)).collect();
        let Some(one) = parts.first() else { continue };
        if parts.iter().any(|t| t.dims() != one.dims()) {
            all.extend(parts.iter().enumerate().map(|(i, t)| (format!("{name}_{i}"), (*t).clone())));
            continue;
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|t| t.bytes().iter().copied()).collect();
        let mut dims = one.dims().to_vec();
        match dims.first_mut() {
            Some(batch) => *batch *= runs.len(),
            None => dims.push(runs.len()),
        }
        // A scale per batch does not exist, so the quantization of one is that of all.
        all.push((name.clone(), Tensor::from_bytes(one.ty().with_shape(dims), bytes.into())?));
    }
    Ok(all)
}

/// A file for every input of the graph, in order.
fn input_files(names: &[&str], given: &[String]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<Option<PathBuf>> = vec![None; names.len()];
    for text in given {
        let (place, file) = input_file(names, text)?;
        if let Some(before) = files.get_mut(place).and_then(|slot| slot.replace(file)) {
            let before = before.display();
            return Err(Error::new(format!("input '{}' is given twice, also as '{before}'", names[place])));
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
