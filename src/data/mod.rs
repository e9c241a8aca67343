//! Data sets: what `--data` names, sample by sample as a model's inputs.
//!
//! [`Dataset::open`] takes a folder of images ([`images`]), an MNIST-style pair ([`idx`]), an array file ([`npy`],
//! [`npz`]), a folder of these ([`parts`]) or the word `random`.
//! Pixels go through [`preprocess`] (on [`decode`] and [`resize`]); arrays are taken as they are.

pub mod decode;
pub mod idx;
pub mod images;
pub mod npy;
pub mod npz;
pub mod parts;
pub mod preprocess;
pub(crate) mod random;
pub mod resize;
mod room;

pub use preprocess::{Channels, Overrides, PRESETS, Preprocess, Preset};

use crate::prefetch::ReadAhead;
use idx::Idx;
use images::Folder;
use lowbit_frontend::files;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{DType, Error, Quant, Result, Tensor, Type, bail, check_float_mode, memory};
use npz::Npz;
use parts::Parts;
use preprocess::ImageInput;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Samples for a model, read when asked for. Threads may share one.
#[derive(Debug)]
pub struct Dataset {
    inputs: Vec<InputSpec>,
    source: Source,
    labels: Option<Vec<u32>>,
    len: usize,
    /// Bytes that samples may take.
    pub(crate) max_memory: usize,
    /// What calibration has decoded.
    pub(crate) ahead: ReadAhead,
}

/// What a model's input takes. A first dimension that is open, or 1, is the batch; one of another size is a part of
/// every sample.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its sizes; `None` where any will do.
    pub shape: Vec<Option<usize>>,
    /// What its elements stay below, if the model looks up by them.
    pub below: Option<usize>,
    /// Which reals its integers stand for, if it is quantized: floats may be given for those.
    pub quant: Option<Quant>,
}

/// One sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// A tensor for every input of the model, in the model's order, with batch dimension 1 where there is a batch.
    pub inputs: Vec<(String, Tensor)>,
    /// The right class, if known.
    pub label: Option<u32>,
    /// What it is called in messages: a file, or a number in one.
    pub name: String,
}

/// Reads one sample: a tensor for every input.
type ReadSample = Box<dyn Fn(usize) -> Result<Vec<Tensor>> + Send + Sync>;

enum Source {
    Images {
        folder: Folder,
        preprocess: Preprocess,
        input: ImageInput,
    },
    Idx {
        idx: Idx,
        preprocess: Preprocess,
        input: ImageInput,
    },
    Arrays {
        name: String,
        arrays: Vec<Array>,
    },
    /// Array files of a folder.
    Parts(Parts),
    /// What the caller holds, and how to read it.
    Given {
        name: String,
        read: ReadSample,
    },
    Random,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Images { folder, .. } => f.debug_tuple("Images").field(folder).finish(),
            Source::Idx { idx, .. } => f.debug_tuple("Idx").field(idx).finish(),
            Source::Arrays { name, .. } => f.debug_tuple("Arrays").field(name).finish(),
            Source::Parts(parts) => f.debug_tuple("Parts").field(parts).finish(),
            Source::Given { name, .. } => f.debug_tuple("Given").field(name).finish(),
            Source::Random => f.write_str("Random"),
        }
    }
}

impl Source {
    /// Whether samples lie in memory or in files as the model takes them.
    fn is_decoded(&self) -> bool {
        match self {
            Source::Arrays { .. } | Source::Parts(_) | Source::Given { .. } => true,
            // What looks random is computed, a number at a time.
            Source::Images { .. } | Source::Idx { .. } | Source::Random => false,
        }
    }
}

/// The samples of one input.
#[derive(Debug)]
struct Array {
    rows: Rows,
    axis: SampleAxis,
}

#[derive(Debug)]
enum Rows {
    File(npy::Rows),
    Memory(Tensor),
}

/// What an array's first axis is, by its rank beside the input's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleAxis {
    /// As many dimensions: the batch dimension counts samples.
    Batch,
    /// One more: samples, each with its own batch dimension.
    Outer,
    /// One fewer: the array is a single sample without the batch dimension.
    None,
    /// As many dimensions, of which none is a batch: the array is a single sample.
    Whole,
}

impl Dataset {
    /// Opens what `spec` names for a model with these inputs.
    ///
    /// Images (a folder, or an idx pair named by its images file or its folder) feed a single input and need a
    /// `preprocess`.
    /// An `.npy` feeds a single input; an `.npz` holds an array for every input by name (for a single input it may be
    /// NumPy's `arr_0`) and optionally `label`, and no others.
    /// An array's first axis counts samples if the array has as many dimensions as the input (the rest must fit), or
    /// one more (then each sample has the input's full shape); with one fewer it is a single sample.
    pub fn open(spec: &str, inputs: &[InputSpec], preprocess: Option<&Preprocess>) -> Result<Dataset> {
        Self::open_within(spec, inputs, preprocess, memory::MAX_MEMORY)
    }

    /// As [`Dataset::open`], with at most this many bytes for a sample, for arrays that are not read row by row, and for
    /// what is read ahead.
    pub fn open_within(
        spec: &str,
        inputs: &[InputSpec],
        preprocess: Option<&Preprocess>,
        max_memory: usize,
    ) -> Result<Dataset> {
        for input in inputs {
            // The batch of a sample is 1, and sizes that are open are the data's.
            let dims: Vec<usize> = input.shape.iter().map(|d| d.unwrap_or(1)).collect();
            let bytes = memory::bytes(&Type::plain(input.dtype, dims));
            memory::check("a sample of this input", bytes, max_memory).map_err(|e| e.at_value(&input.name))?;
        }
        let opened = Self::open_unnamed(spec, inputs, preprocess, max_memory)
            .map_err(|e| e.context(format!("opening the data '{spec}'")))?;
        if opened.len == 0 {
            let hint = match opened.source {
                Source::Images { .. } => {
                    "a folder of .jpg or .png images, class folders of them, or images with a labels.csv"
                }
                Source::Idx { .. } | Source::Arrays { .. } | Source::Parts(_) | Source::Given { .. } => {
                    "the file is whole, but its first axis, which counts samples, is 0"
                }
                Source::Random => "random is never empty",
            };
            return Err(Error::new(format!("expected at least one sample in '{spec}', found none")).hint(hint));
        }
        Ok(opened)
    }

    fn open_unnamed(
        spec: &str,
        inputs: &[InputSpec],
        preprocess: Option<&Preprocess>,
        max_memory: usize,
    ) -> Result<Dataset> {
        if inputs.is_empty() {
            bail!("expected a model with inputs, found one without");
        }
        let path = Path::new(spec);
        let (source, labels, len) = match kind(spec)? {
            Kind::Random => (Source::Random, None, random::LEN),
            Kind::Images => {
                let folder = Folder::open(path, max_memory)?;
                let (input, preprocess) = pipeline(inputs, preprocess)?;
                let (labels, len) = (folder.labels.clone(), folder.files.len());
                (Source::Images { folder, preprocess, input }, labels, len)
            }
            Kind::Idx(path) => {
                let mut idx = Idx::open(&path, max_memory)?;
                let (input, preprocess) = pipeline(inputs, preprocess)?;
                let (labels, len) = (idx.labels.take(), idx.count);
                (Source::Idx { idx, preprocess, input }, labels, len)
            }
            Kind::Npy | Kind::Npz => {
                let (arrays, labels, len) = open_arrays(path, inputs, max_memory)?;
                (Source::Arrays { name: file_name(path), arrays }, labels, len)
            }
            Kind::Parts(files) => {
                let (parts, labels) = Parts::open(files, inputs, max_memory)?;
                let len = parts.len();
                (Source::Parts(parts), labels, len)
            }
        };
        if matches!(source, Source::Random) {
            random::check(inputs)?;
        }
        let ahead = ReadAhead::within(max_memory, source.is_decoded());
        Ok(Dataset { inputs: inputs.to_vec(), source, labels, len, max_memory, ahead })
    }

    /// Samples that the caller holds: `len` of them, called `name` in messages, with their classes if known; `read` gives
    /// the tensors of one, in the order of the inputs and with the sizes that [`SampleAxis::sized`] gives.
    ///
    /// They are read when asked for, perhaps by several threads at a time, and converted to the inputs' element types.
    pub fn given(
        name: &str,
        inputs: &[InputSpec],
        len: usize,
        labels: Option<Vec<u32>>,
        max_memory: usize,
        read: impl Fn(usize) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Result<Dataset> {
        let opening = |e: Error| e.context(format!("opening the data '{name}'"));
        if len == 0 {
            return Err(opening(Error::new("expected at least one sample, found none")));
        }
        if let Some(found) = labels.as_ref().map(Vec::len).filter(|found| *found != len) {
            return Err(opening(Error::new(format!("expected {len} labels, found {found}"))));
        }
        let ahead = ReadAhead::within(max_memory, true);
        let source = Source::Given { name: name.into(), read: Box::new(read) };
        Ok(Dataset { inputs: inputs.to_vec(), source, labels, len, max_memory, ahead })
    }

    /// Whether what `spec` names goes through a preprocessing: images do, arrays and noise are taken as they are.
    pub fn takes_preprocess(spec: &str) -> Result<bool> {
        match kind(spec).map_err(|e| e.context(format!("opening the data '{spec}'")))? {
            Kind::Images | Kind::Idx(_) => Ok(true),
            Kind::Random | Kind::Npy | Kind::Npz | Kind::Parts(_) => Ok(false),
        }
    }

    /// Number of samples; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an empty data set cannot be opened")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the right classes are known.
    pub fn has_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// The class of sample `i`, if it is known.
    pub fn label(&self, i: usize) -> Result<Option<u32>> {
        if i >= self.len {
            bail!("expected a sample number below {}, found {i}", self.len);
        }
        Ok(self.labels.as_ref().and_then(|labels| labels.get(i)).copied())
    }

    /// The same samples without their labels, for a model that has other classes.
    #[must_use]
    pub fn without_labels(self) -> Dataset {
        Dataset { labels: None, ..self }
    }

    /// How its images become inputs; none of arrays and noise, which are inputs already.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        match &self.source {
            Source::Images { preprocess, .. } | Source::Idx { preprocess, .. } => Some(preprocess),
            Source::Arrays { .. } | Source::Parts(_) | Source::Given { .. } | Source::Random => None,
        }
    }

    /// Whether samples need no work before the model takes them.
    pub(crate) fn is_decoded(&self) -> bool {
        self.source.is_decoded()
    }

    /// Whether this is noise, which a caller should say loudly.
    pub fn is_random(&self) -> bool {
        matches!(self.source, Source::Random)
    }

    /// An even spread of `n` samples over the list (all of them if there are fewer), the same every time.
    pub fn spread(&self, n: usize) -> Vec<usize> {
        let n = n.min(self.len);
        (0..n).map(|i| (i as u128 * self.len as u128 / n as u128) as usize).collect()
    }

    /// Finds files that are not there or are no images, among an even spread of `n` samples, without decoding any: for
    /// whoever has long work to do before they are read.
    pub fn check(&self, n: usize) -> Result<()> {
        match &self.source {
            Source::Images { folder, .. } => self.spread(n).into_iter().try_for_each(|i| folder.check(i)),
            // These are one file each, which was opened.
            Source::Idx { .. } | Source::Arrays { .. } | Source::Parts(_) | Source::Given { .. } | Source::Random => {
                Ok(())
            }
        }
    }

    /// Reads sample `i`.
    pub fn sample(&self, i: usize) -> Result<Sample> {
        if i >= self.len {
            bail!("expected a sample number below {}, found {i}", self.len);
        }
        // Pixels are scaled, noise is computed and numbers are converted on this thread.
        check_float_mode()?;
        let one = |tensor: Tensor| match self.inputs.as_slice() {
            [input, ..] => Ok(vec![(input.name.clone(), convert(tensor, input)?)]),
            [] => bail!("expected a model with inputs, found one without"),
        };
        let (inputs, name) = match &self.source {
            Source::Images { folder, preprocess, input } => {
                let name = folder.files[i].display().to_string();
                let tensor = folder.image(i).and_then(|image| preprocess.apply(image, input)).and_then(one);
                (tensor, name)
            }
            Source::Idx { idx, preprocess, input } => {
                let tensor = idx.image(i).and_then(|image| preprocess.apply(image, input)).and_then(one);
                (tensor, format!("image {i}"))
            }
            Source::Arrays { name, arrays } => {
                let each = arrays
                    .iter()
                    .zip(&self.inputs)
                    .map(|(array, input)| Ok((input.name.clone(), convert(array.sample(i)?, input)?)));
                (each.collect(), format!("{name}[{i}]"))
            }
            Source::Parts(parts) => {
                let (part, at) = parts.find(i)?;
                let tensors = parts.sample(part, at, &self.inputs, self.max_memory);
                let each = tensors.and_then(|tensors| {
                    let one = |(tensor, input): (Tensor, &InputSpec)| Ok((input.name.clone(), convert(tensor, input)?));
                    tensors.into_iter().zip(&self.inputs).map(one).collect()
                });
                (each, format!("{}[{at}]", parts.name(part)))
            }
            Source::Given { name, read } => {
                let tensors = read(i).and_then(|tensors| match tensors.len() == self.inputs.len() {
                    true => Ok(tensors),
                    false => {
                        bail!("expected a tensor for each of {} inputs, found {}", self.inputs.len(), tensors.len())
                    }
                });
                let each = tensors.and_then(|tensors| {
                    let one = |(tensor, input): (Tensor, &InputSpec)| Ok((input.name.clone(), convert(tensor, input)?));
                    tensors.into_iter().zip(&self.inputs).map(one).collect()
                });
                (each, format!("{name}[{i}]"))
            }
            Source::Random => {
                let each = self
                    .inputs
                    .iter()
                    .enumerate()
                    .map(|(k, input)| Ok((input.name.clone(), random::tensor(input, i as u64, k as u64)?)));
                (each.collect(), format!("random[{i}]"))
            }
        };
        let inputs = inputs.map_err(|e: Error| e.context(format!("preparing sample {i} ('{name}')")))?;
        let label = self.labels.as_ref().and_then(|labels| labels.get(i)).copied();
        Ok(Sample { inputs, label, name })
    }
}

/// What a `--data` argument is.
enum Kind {
    Random,
    Images,
    Idx(PathBuf),
    Parts(Vec<PathBuf>),
    Npy,
    Npz,
}

fn kind(spec: &str) -> Result<Kind> {
    if spec == "random" {
        return Ok(Kind::Random);
    }
    let path = Path::new(spec);
    if path.is_dir() {
        return Ok(match idx_in(path)? {
            Some(images) => Kind::Idx(images),
            None => parts::in_folder(path)?.map_or(Kind::Images, Kind::Parts),
        });
    }
    let mut head = Vec::new();
    files::open(path)
        .and_then(|file| Ok(file.take(8).read_to_end(&mut head)?))
        .map_err(|e| Error::new(e.message()).hint(KINDS))?;
    match head.as_slice() {
        [0x93, b'N', b'U', b'M', ..] => Ok(Kind::Npy),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Kind::Npz),
        [0, 0, 8, ..] | [0x1f, 0x8b, ..] => Ok(Kind::Idx(path.to_owned())),
        _ => Err(Error::new("expected a data set, found a file of another kind (or an empty one)").hint(KINDS)),
    }
}

const KINDS: &str =
    "a folder of images or of .npy or .npz files, one of these, the images file of an idx pair, or the word random";

/// The idx images of a folder, if there are some.
fn idx_in(folder: &Path) -> Result<Option<PathBuf>> {
    let failed = |e: std::io::Error| Error::from(e).context(format!("listing '{}'", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(idx::is_images_name) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [first, ..] => Err(Error::new(format!("expected one pair of idx files, found {} images files", found.len()))
            .hint(format!("name the images file, as '{}'", first.display()))),
    }
}

fn pipeline(inputs: &[InputSpec], preprocess: Option<&Preprocess>) -> Result<(ImageInput, Preprocess)> {
    let input = ImageInput::new(single(inputs, "images")?)?;
    let preprocess = preprocess.ok_or_else(|| {
        Error::new("expected a preprocessing for the images, found none").hint(format!(
            "Preprocess::preset with one of {}; or what the model stores, if it does: model.stored_preprocess()",
            preprocess::preset_names()
        ))
    })?;
    Ok((input, preprocess.clone()))
}

fn single<'a>(inputs: &'a [InputSpec], what: &str) -> Result<&'a InputSpec> {
    match inputs {
        [one] => Ok(one),
        _ => {
            let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
            Err(Error::new(format!("expected a model of one input for {what}, found {}", names.join(", ")))
                .hint("an .npz file with an array for every input by name"))
        }
    }
}

/// The array of an `.npz` that has the right classes.
const LABEL: &str = "label";

/// NumPy's name for an array that was given none.
const UNNAMED: &str = "arr_0";

/// The arrays of an `.npy` or `.npz` file, told apart by how it begins.
fn open_arrays(path: &Path, inputs: &[InputSpec], max_memory: usize) -> Result<(Vec<Array>, Option<Vec<u32>>, usize)> {
    let mut head = Vec::new();
    files::open(path)?.take(1).read_to_end(&mut head)?;
    if head == *b"P" {
        return open_npz(path, inputs, max_memory);
    }
    let input = single(inputs, "an .npy file")?;
    let array = Array::new(Rows::File(npy::Rows::open_within(path, max_memory)?), input)?;
    let len = array.len();
    Ok((vec![array], None, len))
}

fn open_npz(path: &Path, inputs: &[InputSpec], max_memory: usize) -> Result<(Vec<Array>, Option<Vec<u32>>, usize)> {
    let mut file = Npz::open(path)?;
    let mut taken = 0usize;
    let names = file.names();
    let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != LABEL).collect();
    // NumPy names an array that it is given no name for; with one input there is no doubt what that is.
    let unnamed = inputs.len() == 1 && others == [UNNAMED];
    if let Some(stranger) = others.iter().find(|name| !unnamed && !inputs.iter().any(|i| i.name == **name)) {
        let known = || inputs.iter().map(|i| i.name.as_str()).chain([LABEL]);
        let near = did_you_mean(stranger, known());
        return Err(Error::new(format!("expected arrays with the names of inputs, found '{stranger}'{near}"))
            .hint(format!("arrays named {}, and no others", known().collect::<Vec<_>>().join(", "))));
    }
    let mut arrays: Vec<Array> = Vec::new();
    for input in inputs {
        let name = if unnamed { UNNAMED } else { &input.name };
        if !others.contains(&name) {
            let found = if names.is_empty() { "none".to_string() } else { names.join(", ") };
            bail!("expected an array named '{name}', found {found}");
        }
        taken = taken.saturating_add(file.size(name)?);
        let what = format!("the arrays of an .npz up to '{name}', which are read whole (.npy files are not)");
        memory::check(&what, taken, max_memory)?;
        let array = Array::new(Rows::Memory(file.read(name)?), input)?;
        if let Some(first) = arrays.first().filter(|first| first.len() != array.len()) {
            bail!("expected {} samples in array '{name}' as in the first, found {}", first.len(), array.len());
        }
        arrays.push(array);
    }
    let len = arrays.first().map_or(0, Array::len);
    let labels = match names.iter().any(|name| name == LABEL) {
        true => {
            memory::check("the arrays of an .npz with 'label'", taken.saturating_add(file.size(LABEL)?), max_memory)?;
            Some(labels(&file.read(LABEL)?, len)?)
        }
        false => None,
    };
    Ok((arrays, labels, len))
}

fn labels(tensor: &Tensor, len: usize) -> Result<Vec<u32>> {
    let found = tensor.count();
    if found != len {
        bail!("expected {len} labels, found {found}");
    }
    let label = |l: i64| u32::try_from(l).map_err(|_| Error::new(format!("expected labels from 0, found {l}")));
    tensor.ints().and_then(|ints| ints.into_iter().map(label).collect()).map_err(|e| e.context("reading 'label'"))
}

impl Array {
    fn new(rows: Rows, input: &InputSpec) -> Result<Array> {
        let dims = match &rows {
            Rows::File(file) => file.dims(),
            Rows::Memory(tensor) => tensor.dims(),
        };
        let axis = SampleAxis::of(dims, input)?;
        Ok(Array { rows, axis })
    }

    fn dims(&self) -> &[usize] {
        match &self.rows {
            Rows::File(file) => file.dims(),
            Rows::Memory(tensor) => tensor.dims(),
        }
    }

    fn len(&self) -> usize {
        self.axis.samples(self.dims())
    }

    fn sample(&self, i: usize) -> Result<Tensor> {
        let tensor = match (&self.rows, self.axis.row(i)) {
            (Rows::File(file), row) => file.get(row)?,
            (Rows::Memory(tensor), Some(i)) => npy::row(tensor, i)?,
            (Rows::Memory(tensor), None) => tensor.clone(),
        };
        self.axis.sized(tensor)
    }
}

impl SampleAxis {
    /// That of an array of these sizes for an input; an error if its samples do not fit.
    pub fn of(dims: &[usize], input: &InputSpec) -> Result<SampleAxis> {
        let rank = input.shape.len();
        let has_batch = input.has_batch();
        let (axis, sample, wanted) = match dims.len() {
            n if n == rank && !has_batch => (SampleAxis::Whole, dims, &input.shape[..]),
            n if n + 1 == rank && !has_batch => return Err(misfit(dims, input)),
            n if n == rank && rank > 0 => (SampleAxis::Batch, &dims[1..], &input.shape[1..]),
            n if n == rank + 1 => (SampleAxis::Outer, &dims[1..], &input.shape[..]),
            n if n + 1 == rank => (SampleAxis::None, dims, &input.shape[1..]),
            _ => return Err(misfit(dims, input)),
        };
        match sample.iter().zip(wanted).any(|(found, wanted)| wanted.is_some_and(|w| w != *found)) {
            true => Err(misfit(dims, input)),
            false => Ok(axis),
        }
    }

    /// How many samples an array of these sizes holds.
    pub fn samples(self, dims: &[usize]) -> usize {
        match self {
            SampleAxis::Batch | SampleAxis::Outer => dims.first().copied().unwrap_or(0),
            SampleAxis::None | SampleAxis::Whole => 1,
        }
    }

    /// The row of the array that sample `i` is; none if it is the array.
    pub fn row(self, i: usize) -> Option<usize> {
        match self {
            SampleAxis::Batch | SampleAxis::Outer => Some(i),
            SampleAxis::None | SampleAxis::Whole => None,
        }
    }

    /// A row, or the array, with the sizes that the input has for one sample.
    pub fn sized(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            SampleAxis::Batch | SampleAxis::None => {
                let dims: Vec<usize> = std::iter::once(1).chain(tensor.dims().iter().copied()).collect();
                tensor.reshaped(&dims)
            }
            SampleAxis::Outer | SampleAxis::Whole => Ok(tensor),
        }
    }
}

impl InputSpec {
    /// Whether the first dimension is a batch, so that samples come without it.
    pub fn has_batch(&self) -> bool {
        self.shape.len() > 1 && self.shape.first().is_some_and(|d| d.is_none_or(|n| n == 1))
    }
}

fn misfit(dims: &[usize], input: &InputSpec) -> Error {
    let found = match dims {
        [] => "a single number".into(),
        dims => format!("an array of {}", sizes(dims.iter().map(Some))),
    };
    let error = Error::new(format!("expected samples for {input}, found {found}")).at_value(&input.name);
    error.hint(match input.has_batch() {
        true => "the first axis counts samples, the others are the input's without its batch dimension",
        false => "the input has no batch that may change: every sample has its full shape, and a first axis more counts samples",
    })
}

/// The tensor in the input's dtype. Floats are rounded to a float type; integers must be representable exactly.
fn convert(tensor: Tensor, input: &InputSpec) -> Result<Tensor> {
    let ty = Type { quant: input.quant.clone(), ..Type::plain(input.dtype, tensor.dims().to_vec()) };
    if *tensor.ty() == ty || (input.quant.is_some() && tensor.dtype().is_float()) {
        // Whoever runs the model quantizes floats as it says.
        return Ok(tensor);
    }
    let converted = match (tensor.dtype().is_float(), input.dtype.is_float()) {
        (_, true) => Tensor::from_floats(ty, tensor.reals()?.into_owned()),
        (false, false) => Tensor::from_ints(ty, &tensor.ints()?),
        (true, false) => tensor
            .floats()?
            .iter()
            .map(|x| whole(*x))
            .collect::<Result<Vec<_>>>()
            .and_then(|ints| Tensor::from_ints(ty, &ints)),
    };
    converted.map_err(|e| e.at_value(&input.name).context(format!("converting {} to {}", tensor.dtype(), input.dtype)))
}

fn whole(x: f32) -> Result<i64> {
    // Beyond 2^63 a cast would saturate; from 2^24 on every f32 is whole.
    if x.fract() != 0.0 || !x.is_finite() || x.abs() >= 9.2e18 {
        let e = Error::new(format!("expected whole numbers, found {x}"));
        return Err(e.hint("an integer input takes images with --preprocess raw only"));
    }
    Ok(x as i64)
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' {}[{}]", self.name, self.dtype, sizes(self.shape.iter().map(Option::as_ref)))
    }
}

fn sizes<'a>(dims: impl Iterator<Item = Option<&'a usize>>) -> String {
    let text: Vec<String> = dims.map(|d| d.map_or("?".into(), usize::to_string)).collect();
    text.join("x")
}

/// How to say the sizes of an input that the model leaves open.
pub(crate) fn shape_hint(name: &str, rank: usize) -> String {
    let example = ["1", "1x64", "1x128x64", "1x3x224x224"].get(rank.saturating_sub(1)).unwrap_or(&"1x3x8x224x224");
    format!("--shape {name}={example} (with the sizes that it shall have)")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
