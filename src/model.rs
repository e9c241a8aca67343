//! Models: load, quantize, save, compile.

use crate::data::{InputSpec, Overrides, Preprocess, preprocess};
use crate::engine::Compiled;
use crate::recipe::{self, Evidence, Recipe, Witnessed};
use lowbit_compile::{Target, compile};
use lowbit_frontend::{ImportOptions, Source, files};
use lowbit_ir::op::Category;
use lowbit_ir::pass::Watch;
use lowbit_ir::{
    Customs, Dim, Engine, Error, Graph, Node, Op, Result, Shape, Tensor, Type, ValueId, check_float_mode, infer,
    memory, meta,
};
use lowbit_quantize::config::{Limit, Rounding};
use lowbit_quantize::origin;
use lowbit_quantize::realize::LeftFloat;
use lowbit_quantize::{
    Checkpoint, Config, Correction, Observer, Options, Passes, Phase, Prepare, Realizers, Refine, Report, Rules,
    Samples, Shard, prepare, realize,
};
use lowbit_runtime::Program;
use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Key of the configuration a model was quantized with, as TOML: how its integers rescale and round.
pub const CONFIG: &str = "lowbit.config";

/// Key that says of a model, or of statistics, that nothing but random noise was calibrated with.
pub const NOISE: &str = "lowbit.noise";

/// Key of the operators that functions of the user's make integers of, which a file cannot hold.
pub const REALIZERS: &str = "lowbit.realizers";

/// Key of the passes of the user's on the integers, as a list of names, which a file cannot hold.
pub const PASSES: &str = "lowbit.passes";

/// The version of this library, which recipes name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A model: float, or quantized in the QDQ form that files have.
#[derive(Debug, Clone)]
pub struct Model {
    graph: Graph,
    customs: Customs,
    realizers: Realizers,
    passes: Passes,
    remarks: Vec<String>,
    max_memory: usize,
}

/// A quantized model and the account of how it came about.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The float graph in canonical form.
    pub float: Graph,
    /// The QDQ model: what is saved.
    pub model: Model,
    /// The integer program's graph: what is compiled.
    pub integer: Graph,
    /// What was done and chosen.
    pub report: Report,
}

/// How to quantize.
#[derive(Default)]
pub struct Quantize<'a> {
    options: Options,
    data: Option<Box<dyn Samples + 'a>>,
    stats: Option<Shard>,
    without_data: bool,
    engine: Option<Box<dyn Engine + 'a>>,
}

impl<'a> Quantize<'a> {
    /// What calibration looks at.
    #[must_use]
    pub fn data(self, data: impl Samples + 'a) -> Self {
        Quantize { data: Some(Box::new(data)), ..self }
    }

    /// What [`Model::calibrate`] saw, in place of data; of several shards see [`Shard::merge`].
    #[must_use]
    pub fn stats(self, stats: Shard) -> Self {
        Quantize { stats: Some(stats), ..self }
    }

    /// Nothing to look at, in place of data: every value has the scale that [`Config::global_scale`] gives integers of its
    /// width, and what needs samples besides is left out ([`Report::skipped`]).
    #[must_use]
    pub fn without_data(self) -> Self {
        Quantize { without_data: true, ..self }
    }

    /// The choices.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        self.options(|o| Options { config, ..o })
    }

    /// The rules that say what is quantized.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        self.options(|o| Options { rules, ..o })
    }

    /// An observer more, which the configuration can name.
    #[must_use]
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        self.options(|o| Options { observers: o.observers.with(observer), ..o })
    }

    /// A refinement more, which the configuration's `refinements` can name.
    #[must_use]
    pub fn refinement(
        self,
        name: &str,
        run: impl Fn(&mut Graph, &Refine) -> Result<Vec<Correction>> + Send + Sync + 'static,
    ) -> Self {
        self.options(|o| Options { refinements: o.refinements.with(name, run), ..o })
    }

    /// A pass more, at a phase: it changes the graph and tells whether it did.
    #[must_use]
    pub fn pass(
        self,
        phase: Phase,
        name: &str,
        change: impl Fn(&mut Graph) -> Result<bool> + Send + Sync + 'static,
    ) -> Self {
        self.options(|o| Options { passes: o.passes.at(phase, name, change), ..o })
    }

    /// As many passes more, behind those that are there.
    #[must_use]
    pub fn passes(self, passes: &Passes) -> Self {
        self.options(|o| Options { passes: o.passes.and(passes), ..o })
    }

    /// All but the data.
    pub(crate) fn chosen(&self) -> &Options {
        &self.options
    }

    /// Keeps what calibration sees, and goes on from what was kept: [`stats::checkpoint`](crate::stats::checkpoint) makes one
    /// of a file. Only with [`Quantize::data`]; stages besides calibration run their samples again.
    #[must_use]
    pub fn checkpoint(self, checkpoint: Checkpoint) -> Self {
        self.options(|o| Options { checkpoint: Some(checkpoint), ..o })
    }

    fn options(self, change: impl FnOnce(Options) -> Options) -> Self {
        Quantize { options: change(self.options), ..self }
    }

    /// What runs the graphs; the compiled engine of this machine unless said otherwise.
    #[must_use]
    pub fn engine(self, engine: impl Engine + 'a) -> Self {
        Quantize { engine: Some(Box::new(engine)), ..self }
    }
}

impl Model {
    /// Loads a model file.
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        Model::load_with(path, &[])
    }

    /// Loads a model file and gives open dimensions of its inputs their sizes.
    pub fn load_with(path: impl AsRef<Path>, shapes: &[(String, Vec<usize>)]) -> Result<Model> {
        Model::load_within(path, shapes, memory::MAX_MEMORY)
    }

    /// As [`Model::load_with`], with at most this many bytes for what is made of the model besides it: constants that the
    /// file only says how to compute, statistics, and what runs in calibration.
    pub fn load_within(path: impl AsRef<Path>, shapes: &[(String, Vec<usize>)], max_memory: usize) -> Result<Model> {
        Model::read(path, &ImportOptions { shapes: shapes.to_vec(), max_memory, ..ImportOptions::default() })
    }

    /// Loads a model file with all that may be said about it: sizes, memory, where an MXNet symbol's parameters are.
    pub fn read(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Model> {
        Model::of_source(&Source::open(path.as_ref(), options)?, None)
    }

    /// Of a file that was read, with these sizes for its inputs in place of those that its options have.
    pub fn of_source(source: &Source, shapes: Option<&[(String, Vec<usize>)]>) -> Result<Model> {
        let (graph, remarks) = match shapes {
            Some(shapes) => source.sized(shapes)?,
            None => source.graph()?,
        };
        let remarks = lowbit_frontend::remark_lines(&remarks);
        let (customs, max_memory) = (source.options().customs.clone(), source.options().max_memory);
        Ok(Model { remarks, customs, max_memory, ..Model::from(graph) })
    }

    /// The same with another graph, such as one with other weights.
    #[must_use]
    pub fn with_graph(&self, graph: Graph) -> Model {
        Model { graph, ..self.clone() }
    }

    /// The same with operators of the user's.
    #[must_use]
    pub fn customs(self, customs: Customs) -> Model {
        Model { customs, ..self }
    }

    /// The same with functions of the user's that make integer operators; a file of the model does not hold them.
    #[must_use]
    pub fn realizers(self, realizers: Realizers) -> Model {
        Model { realizers, ..self }
    }

    /// The same with passes of the user's: when it is quantized they run before those of [`Quantize::pass`]. What they do
    /// at [`Phase::Realized`] a file of the model does not hold.
    #[must_use]
    pub fn passes(self, passes: Passes) -> Model {
        Model { passes, ..self }
    }

    /// The same with another limit to the bytes that are taken beside it, as [`Model::load_within`] has it.
    #[must_use]
    pub fn within(self, max_memory: usize) -> Model {
        Model { max_memory, ..self }
    }

    /// The operators of the user's.
    pub fn operators(&self) -> &Customs {
        &self.customs
    }

    /// The limit to the bytes that are taken beside it.
    pub fn max_memory(&self) -> usize {
        self.max_memory
    }

    /// The graph as loaded.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What was read differently than the file says it, such as another element type: a line each, for people.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether it has quantized values.
    pub fn is_quantized(&self) -> bool {
        self.graph.values().any(|(_, v)| v.ty.is_quantized())
    }

    /// What its inputs take, for [`Dataset::open`].
    pub fn inputs(&self) -> Vec<InputSpec> {
        inputs_of(&self.graph)
    }

    /// The image preprocessing that it stores, as JSON.
    pub fn preprocess(&self) -> Option<&str> {
        self.graph.meta.properties.get(meta::PREPROCESS).map(String::as_str)
    }

    /// The same, read.
    pub fn stored_preprocess(&self) -> Result<Option<Preprocess>> {
        preprocess::resolve(None, self.preprocess(), &Overrides::default())
    }

    /// Makes it store an image preprocessing.
    pub fn set_preprocess(&mut self, json: String) {
        self.graph.meta.properties.insert(meta::PREPROCESS.into(), json);
    }

    /// The configuration that it was quantized with. Where it does not say, as files of other tools, the default, with
    /// accumulators as wide as sums need: nobody chose a limit, and no choice could be changed to lift it.
    pub fn config(&self) -> Result<Config> {
        let foreign = || Config { accumulator_limit: Limit::Widen, ..Config::default() };
        Ok(self.stored_config()?.unwrap_or_else(foreign))
    }

    /// The configuration that it was quantized with, if it stores one.
    pub fn stored_config(&self) -> Result<Option<Config>> {
        let stored = self.graph.meta.properties.get(CONFIG).map(|toml| Config::from_toml(toml));
        stored.transpose().map_err(|e| e.context("reading the configuration that the model stores"))
    }

    /// The graph that is compiled: canonical, and of integers where the model is quantized; and what stays float
    /// although the model would have it quantized.
    pub fn lowered(&self) -> Result<(Graph, Vec<LeftFloat>)> {
        self.check_realizers()?;
        self.check_passes()?;
        // Tables and scales are computed on this thread.
        check_float_mode()?;
        let mut g = self.graph.clone();
        let _ = prepare(&mut g, &mut Prepare::new(self.customs.clone(), self.max_memory), &mut ())?;
        let left = match self.is_quantized() {
            true => realize(&mut g, &self.config()?, &self.realizers)?,
            false => Vec::new(),
        };
        g.sweep();
        if self.is_quantized() {
            let _ = self.passes.run(Phase::Realized, &mut g, &mut ())?;
        }
        lowbit_ir::verify::verify_with(&g, &self.customs)?;
        Ok((g, left))
    }

    /// Refuses a model whose operators were made integers by functions that are not here: its integers would be others.
    fn check_realizers(&self) -> Result<()> {
        let names = self.graph.meta.properties.get(REALIZERS).map(String::as_str).unwrap_or_default();
        let given: Vec<&str> = self.realizers.names().collect();
        match names.split(',').find(|name| !name.is_empty() && !given.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!(
                "the model was quantized with a function of its own for the operator '{name}', which a file cannot hold"
            ))
            .hint("load it in Rust and give it the function: Model::load(path)?.realizers(...)")),
        }
    }

    /// Refuses a model whose integers were changed by passes that are not here.
    fn check_passes(&self) -> Result<()> {
        let Some(json) = self.graph.meta.properties.get(PASSES) else { return Ok(()) };
        let recorded: Vec<String> = serde_json::from_str(json)
            .map_err(|e| Error::new(format!("expected names of passes under {PASSES}, found {json} ({e})")))?;
        let given = self.passes.of(Phase::Realized);
        match recorded.iter().find(|name| !given.names().any(|n| n == **name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!(
                "the model's integers were changed by a pass of its own, '{name}', which a file cannot hold"
            ))
            .hint("load it in Rust and give it the pass: Model::load(path)?.passes(Passes::default().at(Phase::Realized, ...))")),
        }
    }

    /// A quantized model as its simulation: floats between its Quantize and Dequantize, as in training frameworks.
    pub fn simulated(&self) -> Result<Model> {
        if !self.is_quantized() {
            return Err(Error::new("expected a quantized model to simulate, found a float one"));
        }
        // Floats are what is wanted of it.
        let config = Config { simulate_only: true, integer_only: false, ..self.config()? };
        let mut simulated = self.clone();
        simulated.graph.meta.properties.insert(CONFIG.into(), config.to_toml()?);
        Ok(simulated)
    }

    /// Compiles it for a target, and for a batch of 1 where the model leaves the batch open.
    pub fn compile(&self, target: impl Borrow<Target>) -> Result<Arc<Program>> {
        self.compile_batch(None, target)
    }

    /// As [`Model::compile`], for a batch of this size; an error where the model fixes another.
    pub fn compile_batch(&self, batch: Option<usize>, target: impl Borrow<Target>) -> Result<Arc<Program>> {
        let target = target.borrow();
        compile(&with_batch_and(&self.lowered()?.0, batch, &target.customs)?, target)
    }

    /// Quantizes a float model.
    pub fn quantize(&self, how: Quantize<'_>) -> Result<Quantized> {
        self.clone().quantize_watched(how, &mut ())?.ok_or_else(|| Error::new("the quantization was stopped"))
    }

    /// As [`Model::quantize`], showing the graph after every pass and stage; `None` if the watch stopped it.
    ///
    /// Takes the model: once equalization has replaced most of its weights, the memory of its file goes, unless a clone
    /// shares and keeps it.
    pub fn quantize_watched(self, how: Quantize<'_>, watch: &mut dyn Watch) -> Result<Option<Quantized>> {
        self.check_float()?;
        let options = self.options(how.options);
        if options.checkpoint.is_some() && how.data.is_none() {
            return Err(Error::new("expected data for a checkpoint of calibration, found none: nothing is run")
                .hint("Quantize::default().data(samples), or leave the checkpoint out"));
        }
        let source = recipe::digest(&self.graph);
        let (found, properties, evidence) = match (how.data, how.stats, how.without_data) {
            (Some(data), None, false) => {
                let engine = self.engine(how.engine)?;
                let samples = Witnessed::new(&*data);
                let found = lowbit_quantize::quantize(self.graph, &options, &*engine, &samples, watch)?;
                (found, data.properties(), samples.evidence())
            }
            (None, Some(stats), false) => {
                let found = lowbit_quantize::quantize_with_stats(self.graph, &options, &stats, watch)?;
                let evidence = recipe::of_statistics(&stats)?;
                (found, stats.properties, evidence)
            }
            (None, None, true) => {
                let found = lowbit_quantize::quantize_without_samples(self.graph, &options, watch)?;
                (found, BTreeMap::new(), Evidence::Nothing)
            }
            (Some(_), Some(_), _) => {
                return Err(Error::new("expected calibration data or statistics, found both").hint("one of the two"));
            }
            (data, _, true) => {
                let found = if data.is_some() { "data" } else { "statistics" };
                return Err(Error::new(format!(
                    "expected nothing to calibrate with (without_data), found {found} too"
                ))
                .hint("one of the two"));
            }
            (None, None, false) => {
                return Err(no_data().hint(
                    "Quantize::default().data(samples), or .without_data() for the scale of Config::global_scale",
                ));
            }
        };
        let Some(mut found) = found else { return Ok(None) };
        // What the data was is what the integers are for, whatever the float model says.
        found.qdq.meta.properties.extend(properties);
        // The report's: what statistics alone cannot do is not in force.
        found.qdq.meta.properties.insert(CONFIG.into(), found.report.config.to_toml()?);
        let recipe = Recipe { lowbit: VERSION.into(), model: source, evidence, own: options.own() };
        recipe.put(&mut found.qdq)?;
        let realizers: Vec<&str> = self.realizers.names().collect();
        if !realizers.is_empty() {
            found.qdq.meta.properties.insert(REALIZERS.into(), realizers.join(","));
        }
        let passes = options.passes.of(Phase::Realized);
        let names: Vec<&str> = passes.names().collect();
        if !names.is_empty() {
            let json = serde_json::to_string(&names).map_err(|e| Error::new(format!("writing the passes: {e}")))?;
            found.qdq.meta.properties.insert(PASSES.into(), json);
        }
        Ok(Some(Quantized {
            float: found.float,
            model: Model { graph: found.qdq, passes, ..self },
            integer: found.integer,
            report: found.report,
        }))
    }

    /// Runs calibration data through a float model and keeps what [`Quantize::stats`] needs of it.
    ///
    /// What is kept does not grow with the data, serves all observers and widths, and is added to what other data
    /// showed by [`Shard::merge`].
    pub fn calibrate(&self, how: Quantize<'_>) -> Result<Shard> {
        self.calibrate_watched(how, &mut ())?.ok_or_else(|| Error::new("the calibration was stopped"))
    }

    /// As [`Model::calibrate`], showing the graph after every pass and stage; `None` if the watch stopped it.
    pub fn calibrate_watched(&self, how: Quantize<'_>, watch: &mut dyn Watch) -> Result<Option<Shard>> {
        self.check_float()?;
        for phase in [Phase::Calibrated, Phase::Refined, Phase::Realized] {
            if let Some(name) = how.options.passes.of(phase).names().next() {
                let e = Error::new(format!(
                    "expected passes in front of calibration, found '{name}', which runs behind it"
                ));
                return Err(e.hint("give it where the statistics are quantized with"));
            }
        }
        let options = self.options(how.options);
        let data = how.data.ok_or_else(|| no_data().hint("Quantize::default().data(samples)"))?;
        lowbit_quantize::gather(self.graph.clone(), &options, &*self.engine(how.engine)?, &*data, watch)
    }

    fn check_float(&self) -> Result<()> {
        match self.graph.values().find(|(_, v)| v.ty.is_quantized()) {
            None => Ok(()),
            Some((_, value)) => Err(Error::new("expected a float model, found one with quantized values")
                .at_value(&value.name)
                .hint("the float model it came from")),
        }
    }

    fn options(&self, given: Options) -> Options {
        let (customs, realizers) = (self.customs.clone(), self.realizers.clone());
        let passes = self.passes.clone().and(&given.passes);
        Options { customs, realizers, passes, max_memory: self.max_memory, ..given }
    }

    /// The functions of the user's that quantizing it so would ask, see [`Options::own`].
    pub(crate) fn own(&self, how: &Quantize<'_>) -> Vec<String> {
        self.options(how.options.clone()).own()
    }

    fn target(&self) -> Target {
        Target::host().customs(self.customs.clone()).max_memory(self.max_memory)
    }

    fn engine<'a>(&self, given: Option<Box<dyn Engine + 'a>>) -> Result<Box<dyn Engine + 'a>> {
        match given {
            Some(engine) => Ok(engine),
            None => Ok(Box::new(Compiled::new(self.target(), crate::cores())?)),
        }
    }

    /// The bytes of its ONNX file. Of a quantized model every node tells people why it is as it is.
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        lowbit_frontend::export_told(&self.graph, &origin::told(&self.graph))
    }

    /// Writes it as ONNX, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.to_onnx()?;
        files::write(path.as_ref(), |file| file.write_all(&bytes))
    }
}

fn no_data() -> Error {
    Error::new("expected calibration data, found none")
}

impl From<Graph> for Model {
    fn from(graph: Graph) -> Self {
        Model {
            graph,
            customs: Customs::default(),
            realizers: Realizers::standard(),
            passes: Passes::default(),
            remarks: Vec::new(),
            max_memory: memory::MAX_MEMORY,
        }
    }
}

impl Quantized {
    /// Writes the QDQ model as ONNX, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.model.save(path)
    }

    /// Compiles the integer program, for a batch of 1 where the model leaves the batch open.
    pub fn compile(&self, target: impl Borrow<Target>) -> Result<Arc<Program>> {
        self.compile_batch(None, target)
    }

    /// The same for a batch of so many, where the model leaves it open.
    pub fn compile_batch(&self, batch: Option<usize>, target: impl Borrow<Target>) -> Result<Arc<Program>> {
        let target = target.borrow();
        compile(&with_batch_and(&self.integer, batch, &target.customs)?, target)
    }
}

/// What the inputs of a graph take: any batch where the batch may change, else the sizes that the graph says.
pub fn inputs_of(g: &Graph) -> Vec<InputSpec> {
    let free = free_batch(g);
    let spec = |v: &ValueId| {
        let spec = input_as_is(g, *v);
        let shape = spec.shape.iter().enumerate().map(|(i, d)| d.filter(|_| i > 0 || !free.contains(v))).collect();
        InputSpec { shape, ..spec }
    };
    g.inputs.iter().map(spec).collect()
}

/// What an input takes, with the very sizes that the graph says.
pub(crate) fn input_as_is(g: &Graph, input: ValueId) -> InputSpec {
    let value = g.value(input);
    let shape = value.ty.shape.0.iter().map(Dim::known).collect();
    InputSpec {
        name: value.name.clone(),
        dtype: value.ty.dtype,
        shape,
        below: index_limit(g, input),
        quant: value.ty.quant.clone(),
    }
}

/// The inputs whose first dimension is known and yet a batch that may change: those of the size of the first of them, if
/// samples go through the graph side by side.
fn free_batch(g: &Graph) -> Vec<ValueId> {
    let first = |v: &ValueId| match g.ty(*v).shape.0.as_slice() {
        [Dim::Known(n), _, ..] => Some(*n),
        _ => None,
    };
    let Some(size) = g.inputs.iter().find_map(|v| first(v).filter(|n| *n > 1)) else { return Vec::new() };
    let alike: Vec<ValueId> = g.inputs.iter().copied().filter(|v| first(v) == Some(size)).collect();
    match infer::batch::fixed(g, &alike, &Customs::default()) {
        None => alike,
        Some(_) => Vec::new(),
    }
}

/// The graph with all dimensions known: the batch is `batch` if given, and an open one is 1 otherwise. Other open
/// dimensions, and the only one of a vector, have no size that could be guessed: they are an error.
pub fn with_batch(g: &Graph, batch: Option<usize>) -> Result<Graph> {
    with_batch_and(g, batch, &Customs::default())
}

/// [`with_batch`] for graphs with operators of the user's.
pub fn with_batch_and(g: &Graph, batch: Option<usize>, customs: &Customs) -> Result<Graph> {
    let mut shapes = Vec::new();
    let free = if batch.is_some() { free_batch(g) } else { Vec::new() };
    let mut changes = false;
    for v in &g.inputs {
        let value = g.value(*v);
        let may_be_batch = value.ty.shape.rank() > 1;
        let size = |(i, d): (usize, &Dim)| match (i, d, batch) {
            (0, Dim::Symbol(_), _) if may_be_batch => Some(batch.unwrap_or(1)),
            (0, Dim::Known(n), Some(batch)) if free.contains(v) || (may_be_batch && *n == 1) => Some(batch),
            _ => d.known(),
        };
        let dims: Option<Vec<usize>> = value.ty.shape.0.iter().enumerate().map(size).collect();
        let dims = dims.ok_or_else(|| {
            Error::new(format!("expected known sizes, found {}", value.ty))
                .at_value(&value.name)
                .hint(crate::data::shape_hint(&value.name, value.ty.shape.rank()))
        })?;
        changes |= batch.is_some_and(|batch| dims.first() == Some(&batch));
        shapes.push((value.name.as_str(), dims));
    }
    if let Some(n) = batch.filter(|_| !changes) {
        return Err(Error::new(format!("expected a model whose batch may be {n}, found one that fixes it"))
            .hint("export it with an open batch"));
    }
    infer::bind_with(g, &shapes, customs).map_err(|e| match batch {
        Some(n) => e.context(format!("giving the model a batch of {n}")),
        None => e,
    })
}

/// What enters a graph: floats for an input of integers are quantized as it says, which is the host's part where a model
/// takes integers (`io = "int8"`).
pub fn entering<'a>(g: &Graph, inputs: &'a [Tensor]) -> Result<Cow<'a, [Tensor]>> {
    if !g.inputs.iter().zip(inputs).any(|(v, t)| is_to_quantize(g.ty(*v), t)) {
        return Ok(Cow::Borrowed(inputs));
    }
    let one = |(v, t): (&ValueId, &Tensor)| entering_as(g.ty(*v), t).map_err(|e| e.at_value(&g.value(*v).name));
    Ok(Cow::Owned(g.inputs.iter().zip(inputs).map(one).collect::<Result<_>>()?))
}

/// What enters a value of this type: floats for integers are quantized as it says, all else is taken as it is.
pub fn entering_as(ty: &Type, tensor: &Tensor) -> Result<Tensor> {
    if !is_to_quantize(ty, tensor) {
        return Ok(tensor.clone());
    }
    check_float_mode()?;
    let affine = ty.quant().and_then(|q| q.affine())?;
    let quantize = |x: &f32| i64::from(lowbit_arithmetic::quantize(*x, &affine, Rounding::HalfEven, 0));
    let ints: Vec<i64> = tensor.floats()?.iter().map(quantize).collect();
    Tensor::from_ints(ty.with_shape(tensor.dims().to_vec()), &ints)
}

fn is_to_quantize(ty: &Type, tensor: &Tensor) -> bool {
    ty.is_quantized() && tensor.dtype().is_float()
}

/// The graph for inputs of just these sizes.
pub fn sized_for(g: &Graph, inputs: &[Tensor], customs: &Customs) -> Result<Graph> {
    if inputs.len() != g.inputs.len() {
        return Err(Error::new(format!("expected {} inputs, found {}", g.inputs.len(), inputs.len())));
    }
    let names = g.inputs.iter().map(|v| g.value(*v).name.as_str());
    let shapes: Vec<(&str, Vec<usize>)> = names.zip(inputs).map(|(name, t)| (name, t.dims().to_vec())).collect();
    infer::bind_with(g, &shapes, customs)
}

/// What the elements of an input stay below where the graph looks up by them: the least size of an axis that some
/// operator finds elements at by them, found behind operators that only move elements.
fn index_limit(g: &Graph, input: ValueId) -> Option<usize> {
    if g.ty(input).dtype.is_float() {
        return None;
    }
    let mut moved = HashSet::from([input]);
    let mut limit: Option<usize> = None;
    for (_, node) in g.nodes() {
        let reads = |i: usize| node.input(i).is_some_and(|v| moved.contains(&v));
        let places = if matches!(node.op, Op::RoiAlign(_)) { 2 } else { 1 };
        if let Some(sizes) = looked_up(g, node).filter(|_| reads(places)) {
            limit = limit.into_iter().chain(sizes).min();
        } else if matches!((&node.op, node.op.category()), (Op::Cast { .. }, _) | (_, Category::Transform))
            && (0..node.inputs.len()).any(reads)
        {
            moved.extend(&node.outputs);
        }
    }
    limit
}

/// The sizes of the axes in which an operator finds elements by the numbers of an operand; `None` if it does not.
fn looked_up(g: &Graph, node: &Node) -> Option<Vec<usize>> {
    let dims = |i: usize| node.input(i).map(|v| g.ty(v).shape.clone()).unwrap_or_default();
    let of = dims(0);
    let axes = match &node.op {
        Op::Gather { axis } | Op::GatherElements { axis } | Op::ScatterElements { axis, .. } => {
            let at = of.axis(*axis).ok()?;
            at..at + 1
        }
        Op::GatherNd { batch_dims } => places(*batch_dims, &dims(1))?,
        Op::ScatterNd { .. } => places(0, &dims(1))?,
        Op::RoiAlign(_) => 0..1,
        _ => return None,
    };
    Some(of.0.get(axes)?.iter().filter_map(Dim::known).collect())
}

/// The axes that a row of indices is of.
fn places(batch_dims: usize, indices: &Shape) -> Option<std::ops::Range<usize>> {
    let m = indices.0.last()?.known()?;
    Some(batch_dims..batch_dims.checked_add(m)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> Graph {
        lowbit_ir::text::parse(text).unwrap()
    }

    #[test]
    fn only_the_batch_may_be_left_open() {
        let g = graph("graph \"g\" {\n  input %x: f32[Nx3xHxW]\n  %y = Relu(%x)\n  output %y\n}\n");
        let e = with_batch(&g, None).unwrap_err().to_string();
        assert!(e.contains("value 'x'") && e.contains("--shape x=1x3x224x224"), "{e}");
        let sized = graph("graph \"g\" {\n  input %x: f32[Nx3x8x8]\n  %y = Relu(%x)\n  output %y\n}\n");
        let dims = |batch| {
            let g = with_batch(&sized, batch).unwrap();
            g.ty(g.inputs[0]).shape.dims().unwrap()
        };
        assert_eq!((dims(None), dims(Some(4))), (vec![1, 3, 8, 8], vec![4, 3, 8, 8]));
    }

    #[test]
    fn indices_stay_within_what_is_looked_up() {
        let g = graph(
            r#"
graph "g" {
  input %ids: i64[Nx4]
  input %other: i64[Nx4]
  input %places: i64[Nx2]
  input %columns: i64[7x1]
  const %table: f32[7x1] = [1, 2, 3, 4, 5, 6, 7]
  const %short: f32[1x5] = [1, 2, 3, 4, 5]
  %flat = Reshape(%ids) {dims [-1]}
  %a = Gather(%table, %flat) {axis 0}
  %b = Gather(%short, %ids) {axis 1}
  %c = Add(%other, %other)
  %d = GatherNd(%table, %places)
  %e = ScatterElements(%table, %columns, %table) {axis 1}
  output %a
  output %b
  output %c
  output %d
  output %e
}
"#,
        );
        let limits: Vec<Option<usize>> = inputs_of(&g).into_iter().map(|i| i.below).collect();
        assert_eq!(limits, [Some(5), None, Some(1), Some(1)]);
    }
}
