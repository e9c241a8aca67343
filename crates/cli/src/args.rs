//! Arguments that verbs share.

use crate::interrupt::Interrupt;
use crate::output::tell;
use crate::progress::Progress;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use lowbit::bench::{self, ReferenceStep};
use lowbit::choices::Sourced;
use lowbit::compiler::compile;
use lowbit::data::{Channels, Dataset, InputSpec, Overrides, PRESETS, Preprocess, preprocess};
use lowbit::frontend::{ImportOptions, Source, files};
use lowbit::ir::memory;
use lowbit::ir::suggest::did_you_mean;
use lowbit::left::{Left, left_float};
use lowbit::model::{CONFIG, sized_for};
use lowbit::prefetch::Prefetch;
use lowbit::quantization::Options;
use lowbit::{Checkpoint, Compiled, Config, Error, Graph, Isa, Model, Result, Target, Tensor, report, stats};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model and the sizes that it leaves open.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// The model: an ONNX file, or the -symbol.json file of an MXNet model
    #[arg(value_name = "MODEL")]
    pub path: PathBuf,

    /// The parameters of an MXNet model; looked for beside it unless given
    #[arg(long, value_name = "FILE.params")]
    pub params: Option<PathBuf>,

    /// Sizes of an input that the model leaves open, as name=1x3x224x224, or 1x3x224x224 of the only one; may be given for every input
    #[arg(long = "shape", value_name = "[NAME=]SIZES", value_parser = shape)]
    pub shapes: Vec<(String, Vec<usize>)>,
}

impl ModelArguments {
    /// Reads it, and says on standard error what was read differently than the file says it.
    pub fn load(&self, memory: &MemoryArguments) -> Result<Model> {
        let model = self.load_silently(memory)?;
        tell_remarks(&self.path, &model);
        Ok(model)
    }

    /// Reads it for a verb that tells the remarks itself.
    pub fn load_silently(&self, memory: &MemoryArguments) -> Result<Model> {
        Model::of_source(&self.source(memory)?, None)
    }

    /// The file, which is not read as a model yet.
    pub fn source(&self, memory: &MemoryArguments) -> Result<Source> {
        self.check_shapes()?;
        let options = ImportOptions {
            shapes: self.shapes.clone(),
            max_memory: memory.max_memory,
            params: self.params.clone(),
            ..ImportOptions::default()
        };
        Source::open(&self.path, &options)
    }

    /// Refuses two sizes for one input.
    fn check_shapes(&self) -> Result<()> {
        let twice = |i: &usize| self.shapes[..*i].iter().any(|(name, _)| *name == self.shapes[*i].0);
        match (0..self.shapes.len()).find(twice) {
            Some(i) => Err(Error::new(format!(
                "expected --shape once for every input, found it twice for '{}'",
                self.shapes[i].0
            ))
            .hint("leave one of them out")),
            None => Ok(()),
        }
    }
}

/// Reads another model than the verb's own, and says on standard error what was read differently than the file says it.
pub fn load(path: &Path, shapes: &[(String, Vec<usize>)], memory: &MemoryArguments) -> Result<Model> {
    let model = Model::load_within(path, shapes, memory.max_memory)?;
    tell_remarks(path, &model);
    Ok(model)
}

pub fn tell_remarks(path: &Path, model: &Model) {
    model.remarks().iter().for_each(|line| tell(&format!("note: '{}': {line}", path.display())));
}

/// The graph that is compiled; and, of a quantized model, what stays float.
pub fn lowered(model: &Model) -> Result<(Graph, Option<Vec<Left>>)> {
    let (graph, left) = model.lowered()?;
    let left = model.is_quantized().then(|| left_float(&graph, &left));
    Ok((graph, left))
}

/// What the interpreter runs in the program of a graph for inputs like these.
pub fn reference_steps(graph: &Graph, inputs: &[Tensor], target: &Target) -> Result<Vec<ReferenceStep>> {
    let sized = sized_for(graph, inputs, &target.customs)?;
    Ok(bench::reference_steps(&*compile(&sized, target)?))
}

/// How images become inputs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images (what the model stores needs no flags)")]
pub struct ImageArguments {
    /// How images are preprocessed: imagenet (short side 256, centre 224, torchvision's mean and std),
    /// inception (-1..1), unit (0..1), raw (0..255)
    #[arg(long, value_name = "PRESET", value_parser = preset)]
    pub preprocess: Option<String>,

    /// Length of the short side after a bilinear resize, or none
    #[arg(long, value_name = "N|none", value_parser = side)]
    pub resize: Option<Side>,

    /// Side of the square cut from the centre, or none
    #[arg(long, value_name = "N|none", value_parser = side)]
    pub crop: Option<Side>,

    /// Mean of pixel/255: one number, or one a channel in the order in which the model takes them, which is B,G,R with
    /// --channels bgr
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_negative_numbers = true)]
    pub mean: Option<Vec<f32>>,

    /// Standard deviation of pixel/255: one number, or one a channel in the same order as the mean
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_negative_numbers = true)]
    pub std: Option<Vec<f32>>,

    /// Order in which the model takes the colours: rgb or bgr; a mean and std of three numbers that are not given with
    /// it (a preset's, the model's) are turned round with the colours
    #[arg(long, value_name = "ORDER")]
    pub channels: Option<Channels>,
}

/// A length, or none.
#[derive(Debug, Clone, Copy)]
pub struct Side(Option<u32>);

impl ImageArguments {
    fn overrides(&self) -> Overrides {
        Overrides {
            resize: self.resize.map(|s| s.0),
            crop: self.crop.map(|s| s.0),
            mean: self.mean.clone(),
            std: self.std.clone(),
            channels: self.channels,
        }
    }

    /// Whether any is given.
    pub fn given(&self) -> bool {
        self.preprocess.is_some() || self.overrides() != Overrides::default()
    }

    /// Refuses flags for images where there is only `data` that is none.
    pub fn refuse_without_images(&self, data: &str) -> Result<()> {
        match self.given() {
            false => Ok(()),
            true => Err(Error::new(format!(
                "expected images for --preprocess, --mean and the like, found {data}: arrays and noise are taken as they are"
            ))
            .hint("leave these flags out; an array holds what the model takes, already normalized")),
        }
    }

    /// What is in force for the images among these data: the flags over what the model stores; nothing if there are none.
    ///
    /// Flags that nothing would go by are refused, so that no file says it was made with them.
    pub fn resolve<'a>(&self, model: &Model, data: impl IntoIterator<Item = &'a str>) -> Result<Option<Preprocess>> {
        self.resolve_stored(model.preprocess(), data)
    }

    /// The same of a model that is known to store this.
    pub fn resolve_stored<'a>(
        &self,
        stored: Option<&str>,
        data: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Preprocess>> {
        let (mut images, mut others) = (None, Vec::new());
        for spec in data {
            match Dataset::takes_preprocess(spec)? {
                true => images = Some(spec),
                false => others.push(format!("'{spec}'")),
            }
        }
        let Some(images) = images else {
            self.refuse_without_images(&others.join(", "))?;
            return Ok(None);
        };
        let resolved = preprocess::resolve(self.preprocess.as_deref(), stored, &self.overrides())?;
        match resolved {
            Some(preprocess) => Ok(Some(preprocess)),
            None => Err(Error::new(format!(
                "expected a preprocessing for the images of '{images}': the model stores none and none was given"
            ))
            .hint(format!("--preprocess with one of {}; or --mean and --std", preprocess::preset_names()))),
        }
    }
}

/// What runs programs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArguments {
    /// Number of threads; all cores unless given
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=lowbit::MAX_THREADS as u64))]
    threads: Option<usize>,

    /// Restricts the kernels to an instruction set, such as scalar; the best one of this CPU unless given
    #[arg(long, value_name = "ISA", value_parser = Isa::named)]
    isa: Option<Isa>,

    #[command(flatten)]
    pub memory: MemoryArguments,
}

/// How much may be asked for.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Machine")]
pub struct MemoryArguments {
    /// Memory that the work may take beyond the model: what needs more is refused before it is asked for
    #[arg(long, value_name = "512M|2G|none", default_value = "2G", value_parser = memory::parse)]
    pub max_memory: usize,
}

impl MachineArguments {
    /// How many threads.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(lowbit::cores)
    }

    /// Which kernels.
    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(Isa::host)
    }

    /// What programs are compiled for.
    pub fn target(&self) -> Target {
        let memory = self.memory.max_memory;
        Target { isa: self.isa(), threads: self.threads(), max_memory: memory, ..Target::host() }
    }

    /// What runs graphs.
    pub fn engine(&self) -> Result<Compiled> {
        Compiled::new(self.target(), self.threads())
    }
}

/// A number of samples.
pub fn samples(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Error::new(format!("expected a number of samples from 1, found '{text}'"))),
    }
}

/// Opens what `--data` names; noise is said loudly.
pub fn open(
    spec: &str,
    model: &Model,
    preprocess: Option<&Preprocess>,
    memory: MemoryArguments,
    progress: &Progress,
) -> Result<Dataset> {
    let data = open_quietly(spec, model, preprocess, memory)?;
    warn_of_noise(&data, progress);
    Ok(data)
}

/// Says so where the data is noise.
pub fn warn_of_noise(data: &Dataset, progress: &Progress) {
    if data.is_random() {
        progress.warn("the data is RANDOM NOISE: nothing measured with it says how good the model is");
    }
}

/// Refuses a reference with other inputs: samples are prepared for one model and given to both.
pub fn check_alike(
    ours: &[InputSpec],
    theirs: &[InputSpec],
    same_type: impl Fn(&InputSpec, &InputSpec) -> bool,
) -> Result<()> {
    let same = |(a, b): (&InputSpec, &InputSpec)| {
        let mut sizes = a.shape.iter().zip(&b.shape).skip(1);
        same_type(a, b) && a.shape.len() == b.shape.len() && sizes.all(|(a, b)| a == b || a.is_none() || b.is_none())
    };
    if ours.len() == theirs.len() && ours.iter().zip(theirs).all(same) {
        return Ok(());
    }
    let list = |inputs: &[InputSpec]| inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Error::new(format!("expected a reference with the inputs {}, found {}", list(ours), list(theirs))))
}

/// As [`open`], where noise is as good as data.
pub fn open_quietly(
    spec: &str,
    model: &Model,
    preprocess: Option<&Preprocess>,
    memory: MemoryArguments,
) -> Result<Dataset> {
    Dataset::open_within(spec, &model.inputs(), preprocess, memory.max_memory)
}

/// An even spread of samples, whose reading moves the bar.
pub fn spread<'a>(data: &'a Dataset, samples: usize, progress: &'a Progress) -> Prefetch<'a> {
    Prefetch::new(data, samples).seen(|| progress.step())
}

/// Refuses an output that cannot be written, or that is one of the files it is made from.
pub fn check_output<'a>(output: &Path, sources: impl IntoIterator<Item = (&'a str, &'a Path)>) -> Result<()> {
    for (what, source) in sources {
        if files::same(output, source) {
            return Err(
                Error::new(format!("cannot write '{}': it is {what} itself", output.display())).hint("another name")
            );
        }
    }
    files::check(output)
}

/// Refuses a folder for a report that cannot be written to, or that holds the data which the report would lie among.
pub fn check_report<'a>(folder: &Path, data: impl IntoIterator<Item = &'a String>) -> Result<()> {
    if data.into_iter().map(Path::new).any(|data| files::same(folder, data)) {
        let e = format!("cannot write a report to '{}': it is the data itself", folder.display());
        return Err(Error::new(e).hint("another folder"));
    }
    report::check(folder)
}

/// Where a calibration keeps what it has seen.
#[derive(Debug, Args)]
pub struct ResumeArguments {
    /// Keep what calibration has seen in this file while it goes on, and go on from it if it is there; it goes away when
    /// all is done
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

impl ResumeArguments {
    /// The checkpoint in that file, if one is named; refuses a file that cannot be one.
    pub fn checkpoint<'a>(
        &self,
        interrupt: &Interrupt,
        others: impl IntoIterator<Item = (&'a str, &'a Path)>,
    ) -> Result<Option<Checkpoint>> {
        let Some(path) = &self.resume else { return Ok(None) };
        let others: Vec<(&str, &Path)> = others.into_iter().collect();
        if let Some((what, _)) = others.iter().find(|(_, other)| *other == path) {
            return Err(Error::new(format!("cannot keep a checkpoint in '{}': it is {what} itself", path.display()))
                .hint("another name"));
        }
        check_output(path, others)?;
        let mut checkpoint = stats::checkpoint(path)?;
        interrupt.keeps(path);
        let (save, asked, path) = (checkpoint.save.clone(), interrupt.clone(), path.clone());
        let writing = interrupt.clone();
        checkpoint.save = Arc::new(move |bytes| writing.writing(&path, || save(bytes)));
        checkpoint.stop = Arc::new(move || asked.is_asked());
        Ok(Some(checkpoint))
    }

    /// Removes it when all is done.
    pub fn done(&self) -> Result<()> {
        self.resume.as_ref().map_or(Ok(()), stats::done)
    }
}

/// The choices of a quantization.
#[derive(Debug, Args)]
pub struct ChoiceArguments {
    /// The choices, a TOML file (their names: lowbit list config)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// One choice, as input.bits=4, over those of the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The choices of a quantization, those that have flags of their own among them.
#[derive(Debug, Args)]
pub struct QuantizeChoices {
    #[command(flatten)]
    pub choices: ChoiceArguments,

    /// Samples to calibrate with, evenly spread over the data; 512 unless given
    #[arg(long, value_name = "N", value_parser = samples)]
    pub samples: Option<usize>,

    /// Integers instead of floats at the model's inputs and outputs; the same as --set io=...
    #[arg(long, value_name = "float|int8|uint8|int16|uint16")]
    pub io: Option<String>,
}

impl QuantizeChoices {
    /// Whether any is given.
    pub fn given(&self) -> bool {
        let ChoiceArguments { config, set } = &self.choices;
        config.is_some() || !set.is_empty() || self.samples.is_some() || self.io.is_some()
    }

    /// A configuration with what is given in place of its own.
    pub fn over(&self, base: Sourced) -> Result<Sourced> {
        let mut made = self.choices.sourced(base)?;
        if let Some(io) = &self.io {
            self.choices.refuse_twice("--io", "io")?;
            made = made.set(&format!("io={io}"), &format!("--io {io}"))?;
        }
        if let Some(samples) = self.samples {
            self.choices.refuse_twice("--samples", "samples")?;
            made = made.set(&format!("samples={samples}"), &format!("--samples {samples}"))?;
        }
        Ok(made)
    }
}

/// Refuses a configuration that cannot work with what there is on the command line: no functions of the user's.
pub fn check(config: &Config) -> Result<()> {
    Options { config: config.clone(), ..Options::default() }.check()
}

impl ChoiceArguments {
    /// A configuration with what is given in place of its own; [`Config::check`] is left to whoever has changed all they
    /// want.
    pub fn over(&self, base: Config) -> Result<Config> {
        self.sourced(Sourced::from(base)).map(|made| made.config)
    }

    /// As [`Self::over`], with who made the choices.
    pub fn sourced(&self, base: Sourced) -> Result<Sourced> {
        let made = self.config.as_ref().map_or(Ok(base.clone()), |path| base.file(path))?;
        let mut seen = BTreeSet::new();
        for path in self.set.iter().map(|s| Config::assigned(s)).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            if !seen.insert(path.clone()) {
                return Err(Error::new(format!("--set makes the choice {path} twice")).hint("one of the two"));
            }
        }
        self.set.iter().try_fold(made, |made, assignment| made.set(assignment, &format!("--set {assignment}")))
    }

    /// Refuses a flag for a choice that `--set` makes too.
    pub fn refuse_twice(&self, flag: &str, key: &str) -> Result<()> {
        match self.sets(key) {
            None => Ok(()),
            Some(assignment) => {
                Err(Error::new(format!("expected {flag} or --set {key}=..., found {flag} and --set {assignment}"))
                    .hint("leave one of them out"))
            }
        }
    }

    /// The `--set` that makes a choice.
    pub fn sets(&self, key: &str) -> Option<&str> {
        let makes = |text: &&String| text.split('=').next().is_some_and(|k| k.trim() == key);
        self.set.iter().find(makes).map(String::as_str)
    }
}

/// The configuration that a quantized model stores: none in the file of another tool, which JSON has as null.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Stored(pub Option<Config>);

/// What a quantized model stores of how it was made; `None` of a float one.
pub fn stored_config(model: &Model) -> Result<Option<Stored>> {
    let stored = model.graph().meta.properties.contains_key(CONFIG);
    let stored = || Ok(Stored(stored.then(|| model.config()).transpose()?));
    model.is_quantized().then(stored).transpose()
}

fn shape(text: &str) -> Result<(String, Vec<usize>)> {
    let wrong = || Error::new(format!("expected name=1x3x224x224, or 1x3x224x224 of the only input, found '{text}'"));
    let (name, sizes) = text.rsplit_once('=').map_or((None, text), |(name, sizes)| (Some(name), sizes));
    let sizes = sizes.split('x').map(|size| size.parse().ok().filter(|n| *n > 0).ok_or_else(wrong));
    let sizes = sizes.collect::<Result<Vec<usize>>>()?;
    match name {
        Some("") => Err(wrong()),
        name => Ok((name.unwrap_or_default().into(), sizes)),
    }
}

fn preset(name: &str) -> Result<String> {
    let names = || PRESETS.iter().map(|p| p.name);
    match names().any(|n| n == name) {
        true => Ok(name.into()),
        false => {
            let known: Vec<&str> = names().collect();
            Err(Error::new(format!("no preset is named '{name}'{}", did_you_mean(name, names())))
                .hint(format!("one of {}", known.join(", "))))
        }
    }
}

fn side(text: &str) -> Result<Side> {
    match text {
        "none" => Ok(Side(None)),
        number => match number.parse() {
            Ok(n) if n > 0 => Ok(Side(Some(n))),
            _ => Err(Error::new(format!("expected a length from 1, or none, found '{text}'"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read() {
        assert_eq!(shape("data=1x3x8x8").unwrap(), ("data".into(), vec![1, 3, 8, 8]));
        assert_eq!(shape("a=b:0=7").unwrap(), ("a=b:0".into(), vec![7]));
        assert_eq!(shape("1x3x8x8").unwrap(), (String::new(), vec![1, 3, 8, 8]));
        for wrong in ["data", "=1x3", "data=", "data=1x", "data=0x3", "data=1x-3", "data=99999999999999999999"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }
}
