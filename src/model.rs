//! Models: load, quantize, save, compile.

use crate::data::InputSpec;
use crate::engine::Compiled;
use lowbit_compile::{Target, compile};
use lowbit_frontend::ImportOptions;
use lowbit_ir::pass::Watch;
use lowbit_ir::{Customs, Engine, Error, Graph, Result, infer, meta};
use lowbit_quantize::realize::LeftFloat;
use lowbit_quantize::{Config, Options, Prepare, Report, Rules, Samples, prepare, realize};
use lowbit_runtime::Program;
use std::path::Path;
use std::sync::Arc;

/// Key of the configuration a model was quantized with, as TOML: how its integers rescale and round.
pub const CONFIG: &str = "lowbit.config";

/// A model: float, or quantized in the QDQ form that files have.
#[derive(Debug, Clone)]
pub struct Model {
    graph: Graph,
    customs: Customs,
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
    config: Config,
    rules: Rules,
    data: Option<Box<dyn Samples + 'a>>,
    engine: Option<Box<dyn Engine + 'a>>,
}

impl<'a> Quantize<'a> {
    /// What calibration looks at.
    #[must_use]
    pub fn data(self, data: impl Samples + 'a) -> Self {
        Quantize { data: Some(Box::new(data)), ..self }
    }

    /// The choices.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Quantize { config, ..self }
    }

    /// The rules that say what is quantized.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Quantize { rules, ..self }
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
        let options = ImportOptions { shapes: shapes.to_vec() };
        Ok(Model::from(lowbit_frontend::load(path.as_ref(), &options)?))
    }

    /// The same with operators of the user's.
    #[must_use]
    pub fn customs(self, customs: Customs) -> Model {
        Model { customs, ..self }
    }

    /// The graph as loaded.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether it has quantized values.
    pub fn is_quantized(&self) -> bool {
        self.graph.values().any(|(_, v)| v.ty.is_quantized())
    }

    /// What its inputs take, for [`Dataset::open`].
    pub fn inputs(&self) -> Vec<InputSpec> {
        let spec = |v: &lowbit_ir::ValueId| {
            let value = self.graph.value(*v);
            let shape = value.ty.shape.0.iter().map(lowbit_ir::Dim::known).collect();
            InputSpec { name: value.name.clone(), dtype: value.ty.dtype, shape }
        };
        self.graph.inputs.iter().map(spec).collect()
    }

    /// The image preprocessing that it stores, as JSON.
    pub fn preprocess(&self) -> Option<&str> {
        self.graph.meta.properties.get(meta::PREPROCESS).map(String::as_str)
    }

    /// Makes it store an image preprocessing.
    pub fn set_preprocess(&mut self, json: String) {
        self.graph.meta.properties.insert(meta::PREPROCESS.into(), json);
    }

    /// The configuration that it was quantized with; the default if it does not say.
    pub fn config(&self) -> Result<Config> {
        match self.graph.meta.properties.get(CONFIG) {
            Some(toml) => {
                Config::from_toml(toml).map_err(|e| e.context("reading the configuration that the model stores"))
            }
            None => Ok(Config::default()),
        }
    }

    /// The graph that is compiled: canonical, and of integers where the model is quantized; and what stays float
    /// although the model would have it quantized.
    pub fn lowered(&self) -> Result<(Graph, Vec<LeftFloat>)> {
        let mut g = self.graph.clone();
        let _ = prepare(&mut g, &mut Prepare { customs: self.customs.clone() }, &mut ())?;
        let left = match self.is_quantized() {
            true => realize(&mut g, &self.config()?)?,
            false => Vec::new(),
        };
        g.sweep();
        lowbit_ir::verify::verify_with(&g, &self.customs)?;
        Ok((g, left))
    }

    /// Compiles it for a target; open dimensions become 1.
    pub fn compile(&self, target: &Target) -> Result<Arc<Program>> {
        compile(&with_batch(&self.lowered()?.0, None)?, target)
    }

    /// Quantizes a float model.
    pub fn quantize(&self, how: Quantize<'_>) -> Result<Quantized> {
        self.quantize_watched(how, &mut ())?.ok_or_else(|| Error::new("the quantization was stopped"))
    }

    /// As [`Model::quantize`], showing the graph after every pass and stage; `None` if the watch stopped it.
    pub fn quantize_watched(&self, how: Quantize<'_>, watch: &mut dyn Watch) -> Result<Option<Quantized>> {
        if self.is_quantized() {
            return Err(Error::new("expected a float model, found one with quantized values")
                .hint("quantize the float model it came from"));
        }
        let Some(data) = how.data else {
            return Err(Error::new("expected calibration data, found none").hint("Quantize::default().data(samples)"));
        };
        let engine = match how.engine {
            Some(engine) => engine,
            None => Box::new(Compiled::new(Target::host().customs(self.customs.clone()), crate::cores())?),
        };
        let options = Options { config: how.config, rules: how.rules, customs: self.customs.clone() };
        let found = lowbit_quantize::quantize(&self.graph, &options, &*engine, &*data, watch)?;
        let Some(mut found) = found else { return Ok(None) };
        found.qdq.meta.properties.insert(CONFIG.into(), options.config.to_toml()?);
        Ok(Some(Quantized {
            float: found.float,
            model: Model { graph: found.qdq, customs: self.customs.clone() },
            integer: found.integer,
            report: found.report,
        }))
    }

    /// Writes it as ONNX, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        lowbit_frontend::save(&self.graph, path.as_ref())
    }
}

impl From<Graph> for Model {
    fn from(graph: Graph) -> Self {
        Model { graph, customs: Customs::default() }
    }
}

impl Quantized {
    /// Writes the QDQ model as ONNX, whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.model.save(path)
    }

    /// Compiles the integer program; open dimensions become 1.
    pub fn compile(&self, target: &Target) -> Result<Arc<Program>> {
        compile(&with_batch(&self.integer, None)?, target)
    }
}

/// The graph with all dimensions known: every input's first dimension is `batch` if given, open ones are 1 otherwise.
pub fn with_batch(g: &Graph, batch: Option<usize>) -> Result<Graph> {
    let mut shapes = Vec::new();
    for v in &g.inputs {
        let value = g.value(*v);
        let mut dims: Vec<usize> = value.ty.shape.0.iter().map(|d| d.known().unwrap_or(1)).collect();
        if let (Some(batch), Some(first)) = (batch, dims.first_mut()) {
            *first = batch;
        }
        shapes.push((value.name.as_str(), dims));
    }
    infer::bind(g, &shapes).map_err(|e| match batch {
        Some(n) => e.context(format!("giving the model a batch of {n}")),
        None => e,
    })
}
