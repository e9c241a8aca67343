//! Models: load, look at, save, compile.

use crate::array;
use crate::callbacks::Callbacks;
use crate::config::Config;
use crate::custom::customs;
use crate::error::During;
use crate::graph::Graph;
use crate::interpreter::{away, entered};
use crate::job;
use crate::program::Program;
use crate::types::{Count, FilePath, Listed, listed, mapping, told, typed, types};
use lowbit::frontend::{ImportOptions, Source};
use lowbit::ir::suggest::did_you_mean;
use lowbit::ir::{Customs, Def, Op, memory, text};
use lowbit::{Compiled, Error, Isa, MAX_THREADS, Result, Target, inspect, listing as lists};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use std::sync::{Arc, Mutex, PoisonError};

/// A model: float, or quantized in the form that files have.
#[pyclass(frozen, module = "lowbit", from_py_object)]
#[derive(Debug, Clone)]
pub struct Model {
    pub model: lowbit::Model,
    /// What is known of the functions that its operators call.
    pub callbacks: Callbacks,
    /// For [`Model::run`].
    program: Arc<Mutex<Option<Program>>>,
}

/// A limit to memory: bytes, or text such as "2G".
pub fn memory_of(given: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    match given {
        None => Ok(memory::MAX_MEMORY),
        Some(text) if text.is_instance_of::<PyString>() => {
            memory::parse(&text.extract::<String>()?).map_err(|e| PyValueError::new_err(e.to_string()))
        }
        Some(bytes) => bytes.extract::<Count>().map(|bytes| bytes.0).map_err(|e| {
            let message = format!("expected a number of bytes, or text such as \"2G\", found {}", told(bytes));
            match e.is_instance_of::<PyValueError>(bytes.py()) {
                true => PyValueError::new_err(message),
                false => PyTypeError::new_err(message),
            }
        }),
    }
}

/// A limit to memory, that of the model unless another one is given.
pub fn memory_or(given: Option<&Bound<'_, PyAny>>, model: &Model) -> PyResult<usize> {
    if given.is_some() { memory_of(given) } else { Ok(model.model.max_memory()) }
}

/// A number of threads, that of the cores unless one is given.
pub fn threads_of(given: Option<Count>) -> PyResult<usize> {
    match given.map(|threads| threads.0) {
        Some(threads @ 1..=MAX_THREADS) => Ok(threads),
        Some(other) => {
            Err(PyValueError::new_err(format!("expected a number of threads from 1 to {MAX_THREADS}, found {other}")))
        }
        None => Ok(lowbit::cores()),
    }
}

/// A number of samples at a time.
pub fn batch_of(given: Option<Count>) -> PyResult<Option<usize>> {
    match given {
        Some(Count(0)) => Err(PyValueError::new_err("expected a batch from 1, found 0")),
        given => Ok(given.map(|batch| batch.0)),
    }
}

/// What programs of a model are compiled for.
pub fn target(model: &lowbit::Model, isa: Option<&str>, threads: usize) -> Result<Target> {
    let target = isa.map_or_else(|| Ok(Target::host()), Target::isa)?;
    Ok(target.customs(model.operators().clone()).max_memory(model.max_memory()).threads(threads))
}

/// What runs graphs of a model.
pub fn engine(model: &lowbit::Model, isa: Option<&str>, threads: usize) -> Result<Compiled> {
    Compiled::new(target(model, isa, threads)?, threads)
}

/// How a file is read.
pub fn options(
    shapes: Option<&Bound<'_, PyAny>>,
    params: Option<FilePath>,
    customs: &[Bound<'_, PyAny>],
    max_memory: Option<&Bound<'_, PyAny>>,
    callbacks: &Callbacks,
) -> PyResult<ImportOptions> {
    let customs = self::customs(customs, callbacks)?;
    let max_memory = memory_of(max_memory)?;
    let wrong = |found: &Bound<'_, PyAny>| {
        let expected = "expected sizes by the names of inputs for shapes, or those of the only one";
        PyTypeError::new_err(format!("{expected}, found {}", told(found)))
    };
    let shapes = match shapes {
        Some(shapes) => {
            let one = |(name, sizes): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
                let sizes: Vec<Count> = sizes.extract().map_err(|_| wrong(shapes))?;
                let name: String = name.extract().map_err(|_| wrong(shapes))?;
                Ok((name, sizes.into_iter().map(|n| n.0).collect()))
            };
            match mapping(shapes)? {
                Some(by_name) => by_name.iter().map(one).collect::<PyResult<_>>()?,
                None => vec![one(("".into_pyobject(shapes.py())?.into_any(), shapes.clone()))?],
            }
        }
        None => Vec::new(),
    };
    Ok(ImportOptions { shapes, max_memory, params: params.map(|path| path.0), customs })
}

/// Refuses operators that no node calls: a name may be wrong.
fn all_called(model: lowbit::Model) -> Result<lowbit::Model> {
    check_called(model.graph(), model.operators()).map(|()| model)
}

/// The same of a graph.
pub fn check_called(graph: &lowbit::ir::Graph, customs: &Customs) -> Result<()> {
    let called = |name: &str| {
        let mut nodes = graph.nodes();
        nodes.any(|(_, node)| matches!(&node.op, Op::Custom(id) if *id.0 == *name))
    };
    match customs.names().find(|name| !called(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!("the operator '{name}' was given, and no node of the model calls it"))
            .hint("leave it out, or give it the name that the model has for it")),
    }
}

#[pymethods]
impl Model {
    /// Loads a model: an ONNX file, or the -symbol.json file of an MXNet model, whose parameters `params` names if they are
    /// not beside it.
    #[staticmethod]
    #[pyo3(signature = (path, *, shapes = None, params = None, customs = Listed::default(), max_memory = None))]
    fn load(
        py: Python<'_>,
        path: FilePath,
        shapes: Option<&Bound<'_, PyAny>>,
        params: Option<FilePath>,
        customs: Listed<'_>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Model> {
        let _inside = entered(py);
        let callbacks = Callbacks::default();
        let options = options(shapes, params, &customs.0, max_memory, &callbacks)?;
        let model = job::run(py, During::Model, None, &[&callbacks], move |_| {
            all_called(lowbit::Model::read(&path.0, &options)?)
        })?;
        Ok(Model::new(model, callbacks))
    }

    /// A model from the bytes of an ONNX file; external data files would be beside a file, and are refused.
    #[staticmethod]
    #[pyo3(signature = (data, *, shapes = None, customs = Listed::default(), max_memory = None))]
    fn from_bytes(
        py: Python<'_>,
        data: Vec<u8>,
        shapes: Option<&Bound<'_, PyAny>>,
        customs: Listed<'_>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Model> {
        let _inside = entered(py);
        let callbacks = Callbacks::default();
        let options = options(shapes, None, &customs.0, max_memory, &callbacks)?;
        let model = job::run(py, During::Model, None, &[&callbacks], move |_| {
            all_called(lowbit::Model::of_source(&Source::of_bytes(data.into(), &options), None)?)
        })?;
        Ok(Model::new(model, callbacks))
    }

    /// A model from the text form of a graph, perhaps with operators written in Python.
    #[staticmethod]
    #[pyo3(signature = (text, *, customs = Listed::default(), max_memory = None))]
    fn from_text(
        py: Python<'_>,
        text: String,
        customs: Listed<'_>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Model> {
        let _inside = entered(py);
        let callbacks = Callbacks::default();
        let customs = self::customs(&customs.0, &callbacks)?;
        let max_memory = memory_of(max_memory)?;
        let model = job::run(py, During::Model, None, &[&callbacks], move |_| {
            let graph = text::parse_with(&text, &customs)?;
            lowbit::ir::verify::verify_with(&graph, &customs)?;
            all_called(lowbit::Model::from(graph).customs(customs).within(max_memory))
        })?;
        Ok(Model::new(model, callbacks))
    }

    /// The graph as loaded: a copy, which shares its constants.
    #[getter]
    fn graph(&self) -> Graph {
        Graph::copy(self.model.graph().clone(), self)
    }

    /// What was read differently than the file says it.
    #[getter]
    fn remarks(&self) -> Vec<String> {
        self.model.remarks().to_vec()
    }

    /// Whether it has quantized values.
    #[getter]
    fn is_quantized(&self) -> bool {
        self.model.is_quantized()
    }

    /// What it takes: types by name.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let g = self.model.graph();
        types(py, typed(g, &g.inputs))
    }

    /// What it gives: types by name.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let g = self.model.graph();
        types(py, typed(g, &g.outputs))
    }

    /// The image preprocessing that it stores, as JSON.
    #[getter]
    fn preprocess(&self) -> Option<&str> {
        self.model.preprocess()
    }

    /// The configuration that it was quantized with.
    #[getter]
    fn config(&self) -> PyResult<Config> {
        self.model.config().map(Config::in_force).map_err(|e| During::Config.raise(&e))
    }

    /// Its constants by name: a copy of their elements.
    pub fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let _inside = entered(py);
        let dict = PyDict::new(py);
        for (_, value) in self.model.graph().values() {
            if let Def::Const(tensor) = &value.def {
                dict.set_item(&value.name, array::array(py, tensor)?)?;
            }
        }
        Ok(dict)
    }

    /// This model with constants from a dictionary, which names all of them and no others.
    fn with_params(&self, params: &Bound<'_, PyAny>) -> PyResult<Model> {
        let _inside = entered(params.py());
        let wrong = |e: Error| During::Model.raise(&e);
        let Some(params) = mapping(params)? else {
            let message = format!("expected the parameters, arrays by name, found {}", params.get_type());
            return Err(PyTypeError::new_err(message));
        };
        let mut graph = self.model.graph().clone();
        let constants: Vec<_> = graph
            .values()
            .filter_map(|(id, v)| match &v.def {
                Def::Const(tensor) => Some((id, v.name.clone(), tensor.clone())),
                Def::Input | Def::Node(..) => None,
            })
            .collect();
        for key in params.keys() {
            let key: String = key.extract()?;
            let known = || constants.iter().map(|(_, name, _)| name.as_str());
            if !known().any(|name| name == key) {
                let near = did_you_mean(&key, known());
                return Err(wrong(Error::new(format!("the model has no parameter '{key}'{near}"))));
            }
        }
        for (id, name, tensor) in constants {
            let Some(given) = params.get_item(&name)? else {
                let e = Error::new(format!("expected a parameter '{name}', found none"));
                return Err(wrong(e.hint("all of the model's, as they came with it")));
            };
            let given = array::tensor_like(&given, &tensor)?.map_err(|e| wrong(e.at_value(&name)))?;
            if given.bytes() != tensor.bytes() {
                graph.set_const(id, given);
            }
        }
        let model = self.model.with_graph(graph);
        Ok(self.with(model))
    }

    /// Writes it as ONNX, whole or not at all.
    fn save(&self, py: Python<'_>, path: FilePath) -> PyResult<()> {
        let _inside = entered(py);
        away(py, || self.model.save(path.0)).map_err(|e| During::Model.raise(&e))
    }

    /// A quantized model as its simulation: floats between its Quantize and Dequantize.
    fn simulated(&self) -> PyResult<Model> {
        let model = self.model.simulated().map_err(|e| During::Model.raise(&e))?;
        Ok(self.with(model))
    }

    /// Compiles it for this machine, and for a batch of 1 where the model leaves the batch open.
    #[pyo3(signature = (*, batch = None, isa = None, threads = None, max_memory = None))]
    fn compile(
        &self,
        py: Python<'_>,
        batch: Option<Count>,
        isa: Option<&str>,
        threads: Option<Count>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Program> {
        let (model, threads) = (self.limited(max_memory)?, threads_of(threads)?);
        let (isa, batch) = (isa.map(String::from), batch_of(batch)?);
        let program = job::run(py, During::Compile, None, &[&self.callbacks], move |_| {
            model.compile_batch(batch, target(&model, isa.as_deref(), threads)?)
        })?;
        Ok(Program::new(program, self.callbacks.clone()))
    }

    /// Compiles it for this machine, for any sizes that it leaves open: these are compiled for when arrays first have them.
    #[pyo3(signature = (*, isa = None, threads = None, max_memory = None))]
    fn build(
        &self,
        py: Python<'_>,
        isa: Option<&str>,
        threads: Option<Count>,
        max_memory: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Program> {
        let (model, threads) = (self.limited(max_memory)?, threads_of(threads)?);
        let (isa, callbacks) = (isa.map(String::from), self.callbacks.clone());
        job::run(py, During::Compile, None, &[&self.callbacks], move |_| {
            Program::any_of(&model, target(&model, isa.as_deref(), threads)?, callbacks)
        })
    }

    /// Runs it on arrays of any sizes that fit, as `Session.run`: in a program that the model keeps for this, compiled when
    /// arrays first have these sizes.
    #[pyo3(signature = (*args, **kwargs))]
    pub fn run<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.program(py)?.run(py, args, kwargs)
    }

    /// What it is: operators, parameters, work.
    fn inspect(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let _inside = entered(py);
        let model = self.model.clone();
        let summary = job::run(py, During::Model, None, &[], move |_| inspect::inspect(model.graph()))?;
        report(py, "Summary", &summary)
    }

    /// As the function `lowbit.quantize`, of this model.
    #[pyo3(signature = (data = None, **choices))]
    fn quantize<'py>(
        slf: &Bound<'py, Self>,
        data: Option<Bound<'py, PyAny>>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        of_package(py, "quantize", (slf, py.None(), data), choices)
    }

    /// As the function `lowbit.calibrate`, of this model.
    #[pyo3(signature = (data, **choices))]
    fn calibrate<'py>(
        slf: &Bound<'py, Self>,
        data: Bound<'py, PyAny>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        of_package(slf.py(), "calibrate", (slf, data), choices)
    }

    /// As the function `lowbit.evaluate`, of this model.
    #[pyo3(signature = (data, **choices))]
    fn evaluate<'py>(
        slf: &Bound<'py, Self>,
        data: Bound<'py, PyAny>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        of_package(slf.py(), "evaluate", (slf, data), choices)
    }

    /// As the function `lowbit.verify`, of this model.
    #[pyo3(signature = (*data, **choices))]
    fn verify<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyTuple>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let all: Vec<_> = std::iter::once(slf.clone().into_any()).chain(data.iter()).collect();
        of_package(slf.py(), "verify", PyTuple::new(slf.py(), all)?, choices)
    }

    /// As the function `lowbit.compare`, of this model with another one.
    #[pyo3(signature = (other, data, **choices))]
    fn compare<'py>(
        slf: &Bound<'py, Self>,
        other: Bound<'py, PyAny>,
        data: Bound<'py, PyAny>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        of_package(slf.py(), "compare", (slf, other, data), choices)
    }

    /// As the function `lowbit.write_report`, of this model beside another one.
    #[pyo3(signature = (folder, other, data, **choices))]
    fn write_report<'py>(
        slf: &Bound<'py, Self>,
        folder: Bound<'py, PyAny>,
        other: Bound<'py, PyAny>,
        data: Bound<'py, PyAny>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        of_package(slf.py(), "write_report", (folder, other, slf, data), choices)
    }

    /// As the function `lowbit.explain`, of this model.
    #[pyo3(signature = (name = None, **choices))]
    fn explain<'py>(
        slf: &Bound<'py, Self>,
        name: Option<String>,
        choices: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        of_package(slf.py(), "explain", (slf, name), choices)
    }

    fn __repr__(&self) -> String {
        let g = self.model.graph();
        let form = if self.model.is_quantized() { "quantized" } else { "float" };
        format!(
            "<lowbit.Model '{}', {form}: {} -> {}, {} nodes>",
            g.name,
            listed(typed(g, &g.inputs)),
            listed(typed(g, &g.outputs)),
            g.order().len()
        )
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        let _inside = entered(slf.py());
        slf.py().import("lowbit._html")?.call_method1("model", (slf,))?.extract()
    }
}

impl Model {
    /// A model of the core's.
    pub fn new(model: lowbit::Model, callbacks: Callbacks) -> Model {
        Model { model, callbacks, program: Arc::default() }
    }

    /// Another model that calls the same functions.
    pub fn with(&self, model: lowbit::Model) -> Model {
        Model::new(model, self.callbacks.clone())
    }

    /// The program that is kept for [`Model::run`].
    fn program(&self, py: Python<'_>) -> PyResult<Program> {
        let kept = || self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = kept().clone() {
            return Ok(program);
        }
        // Nothing is locked meanwhile: functions of the user's may run.
        let made = self.build(py, None, None, None)?;
        Ok(kept().get_or_insert(made).clone())
    }

    /// The core's, with another limit to memory if one is given.
    pub fn limited(&self, max_memory: Option<&Bound<'_, PyAny>>) -> PyResult<lowbit::Model> {
        Ok(self.model.clone().within(memory_or(max_memory, self)?))
    }
}

/// Calls a function of the package, which knows the scopes that Python's half keeps.
pub fn of_package<'py>(
    py: Python<'py>,
    name: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
    choices: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let _inside = entered(py);
    py.import("lowbit")?.getattr(name)?.call(arguments, choices)
}

/// A result as a report of the package: what `--json` gives, in Python's words.
pub fn report(py: Python<'_>, class: &str, of: &impl serde::Serialize) -> PyResult<Py<PyAny>> {
    let _inside = entered(py);
    let json = serde_json::to_string(of).map_err(|e| PyTypeError::new_err(e.to_string()))?;
    Ok(py.import("lowbit.reports")?.getattr(class)?.call_method1("_of", (json,))?.unbind())
}

/// The instruction sets of this machine, best last, and the version.
#[pyfunction]
pub fn version() -> (&'static str, Vec<&'static str>) {
    (env!("CARGO_PKG_VERSION"), Isa::available().iter().map(|isa| isa.name).collect())
}

/// A registry as `lowbit list` prints it: column titles and rows.
#[pyfunction]
pub fn listing(name: &str) -> PyResult<(Vec<&'static str>, Vec<Vec<String>>)> {
    let found = lists::find(name).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((found.columns, found.rows))
}

/// The operator that a name means, in either spelling; an error names the nearest.
#[pyfunction]
pub fn operator(name: &str) -> PyResult<&'static str> {
    text::canonical(name).ok_or_else(|| {
        let e = Error::new(format!("there is no operator '{name}'{}", text::operator_meant(name)));
        During::Config.raise(&e.hint("the names that lowbit list ops gives"))
    })
}
