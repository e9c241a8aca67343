//! Programs and sessions: what runs.
//!
//! A run copies arrays into the session's memory and results out of it, once each, and lets the interpreter go in between.

use crate::array::{self, Elements};
use crate::callbacks::Callbacks;
use crate::custom::in_operator;
use crate::error::During;
use crate::job;
use crate::model::{options, threads_of};
use crate::types::{listed, types};
use lowbit::bench::reference_steps;
use lowbit::compiler::compile;
use lowbit::ir::Type;
use lowbit::ir::suggest::did_you_mean;
use lowbit::model::entering_as;
use lowbit::{Error, Programs, Result, Target};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Who finds a session at work asks again after this.
const WAIT: Duration = Duration::from_micros(50);

/// How often a run listens for signals.
const HEAR: Duration = Duration::from_millis(100);

/// A compiled model. Threads may share it. Where the model leaves sizes open, it is compiled when arrays first have them.
#[pyclass(frozen, module = "lowbit", from_py_object)]
#[derive(Debug, Clone)]
pub struct Program {
    pub source: Arc<Source>,
    pub callbacks: Callbacks,
    /// For [`Program::run`].
    session: Arc<Mutex<Option<Py<Session>>>>,
}

/// What there is to run.
#[derive(Debug)]
pub enum Source {
    /// A program.
    Known(Arc<lowbit::Program>),
    /// Programs for any sizes.
    Open(Arc<lowbit::Programs>),
}

/// Runs a program: it owns the memory of its activations, so that its runs take turns.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Session {
    source: Arc<Source>,
    callbacks: Callbacks,
    /// How many threads take part, the calling one among them.
    #[pyo3(get)]
    threads: usize,
    running: Mutex<Running>,
}

/// What runs.
#[derive(Debug)]
enum Running {
    /// A session for sizes that are known.
    Known(lowbit::Session),
    /// One for all sizes of late.
    Open(lowbit::Sessions),
}

impl Source {
    /// What is taken: of open sizes the names.
    fn inputs(&self) -> Vec<(&str, &Type)> {
        match self {
            Source::Known(program) => program.inputs().iter().map(|p| (p.name.as_str(), &p.ty)).collect(),
            Source::Open(programs) => programs.inputs().iter().map(|(name, ty)| (name.as_str(), ty)).collect(),
        }
    }

    fn outputs(&self) -> Vec<(String, Type)> {
        match self {
            Source::Known(program) => program.outputs().iter().map(|p| (p.name.clone(), p.ty.clone())).collect(),
            Source::Open(programs) => programs.outputs(),
        }
    }

    /// The program that was made last, if any was.
    fn latest(&self) -> Option<Arc<lowbit::Program>> {
        match self {
            Source::Known(program) => Some(program.clone()),
            Source::Open(programs) => programs.latest(),
        }
    }
}

impl Program {
    pub fn new(program: Arc<lowbit::Program>, callbacks: Callbacks) -> Program {
        Program { source: Arc::new(Source::Known(program)), callbacks, session: Arc::default() }
    }

    /// Of a model whose sizes may be open; it is compiled now if none is.
    pub fn any_of(model: &lowbit::Model, target: Target, callbacks: Callbacks) -> Result<Program> {
        let graph = model.graph();
        match graph.inputs.iter().all(|v| graph.ty(*v).shape.dims().is_some()) {
            true => Ok(Program::new(compile(&model.lowered()?.0, &target)?, callbacks)),
            false => Ok(Program::any(Programs::of(model, target)?, callbacks)),
        }
    }

    /// Of a model for any sizes that fit.
    pub fn any(programs: Programs, callbacks: Callbacks) -> Program {
        Program { source: Arc::new(Source::Open(Arc::new(programs))), callbacks, session: Arc::default() }
    }
}

#[pymethods]
impl Program {
    /// The program of a model file for arrays of any sizes that fit: it is compiled when arrays first have them. What the
    /// file says only to known sizes, such as a branch that they decide, is read then.
    #[staticmethod]
    #[pyo3(signature = (
        path, *, shapes = None, params = None, customs = Vec::new(), max_memory = None, isa = None, threads = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        shapes: Option<&Bound<'_, PyDict>>,
        params: Option<PathBuf>,
        customs: Vec<Bound<'_, PyAny>>,
        max_memory: Option<&Bound<'_, PyAny>>,
        isa: Option<String>,
        threads: Option<usize>,
    ) -> PyResult<Program> {
        let callbacks = Callbacks::default();
        let options = options(shapes, params, &customs, max_memory, &callbacks)?;
        let threads = threads_of(threads)?;
        let programs = job::run(py, During::Model, None, &[&callbacks], move |_| {
            let target = isa.as_deref().map_or_else(|| Ok(Target::host()), Target::isa)?;
            let target = target.customs(options.customs.clone()).max_memory(options.max_memory).threads(threads);
            Programs::load(&path, &options, target)
        })?;
        Ok(Program::any(programs, callbacks))
    }

    /// A session on this many threads, the calling one among them.
    #[pyo3(signature = (threads = 1))]
    fn session(&self, py: Python<'_>, threads: usize) -> PyResult<Session> {
        let threads = threads_of(Some(threads))?;
        let running = py.detach(|| match &*self.source {
            Source::Known(program) => lowbit::Session::with_threads(program.clone(), threads).map(Running::Known),
            Source::Open(programs) => lowbit::Sessions::new(programs.clone(), threads).map(Running::Open),
        });
        let running = Mutex::new(running.map_err(|e| During::Run.raise(&e))?);
        let (source, callbacks) = (self.source.clone(), self.callbacks.clone());
        Ok(Session { source, callbacks, threads, running })
    }

    /// As `Session.run`, of a session that the program keeps for this.
    #[pyo3(signature = (*args, **kwargs))]
    pub fn run<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kept = self.session.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|s| s.clone_ref(py));
        let session = match kept {
            Some(session) => session,
            None => {
                let session = Py::new(py, self.session(py, 1)?)?;
                let kept = session.clone_ref(py);
                *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                session
            }
        };
        session.get().run(py, args, kwargs)
    }

    /// What it takes, by name: element type and sizes.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        types(py, self.source.inputs())
    }

    /// What it gives, by name and in order. Of a file that is read when its sizes are known, what it gave last.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        types(py, borrowed(&self.source.outputs()))
    }

    /// The instruction set that it is compiled for.
    #[getter]
    fn isa(&self) -> &'static str {
        match &*self.source {
            Source::Known(program) => program.isa().name,
            Source::Open(programs) => programs.target().isa.name,
        }
    }

    /// Nodes that the interpreter runs, for want of a kernel: name, operator and reason. Where sizes are open, those of the
    /// sizes that were run last.
    #[getter]
    fn reference_steps(&self) -> Vec<(String, &'static str, String)> {
        let steps = self.source.latest().map(|program| reference_steps(&program)).unwrap_or_default();
        steps.into_iter().map(|s| (s.node, s.op, s.reason)).collect()
    }

    fn __repr__(&self) -> String {
        let steps = match &*self.source {
            Source::Known(program) => format!("{} steps", program.steps().len()),
            Source::Open(_) => "compiled for sizes as they come".into(),
        };
        let (inputs, outputs) = (listed(self.source.inputs()), listed(borrowed(&self.source.outputs())));
        format!("<lowbit.Program for {}: {inputs} -> {outputs}, {steps}>", self.isa())
    }
}

#[pymethods]
impl Session {
    /// Runs on an array for every input: by name as keywords or in a dictionary, or in order. Gives a list of arrays in the
    /// order of the program's outputs.
    #[pyo3(signature = (*args, **kwargs))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut arrays: Vec<Option<Bound<'py, PyAny>>> = vec![None; self.source.inputs().len()];
        self.take(args, kwargs, &mut arrays)?;
        let arrays: Vec<Bound<'py, PyAny>> = arrays.into_iter().flatten().collect();
        // Another thread may be in a run, which may need the interpreter to end.
        let mut running = loop {
            match self.running.try_lock() {
                Ok(running) => break running,
                Err(TryLockError::Poisoned(e)) => break e.into_inner(),
                Err(TryLockError::WouldBlock) if in_operator() => {
                    let e = Error::new(
                        "the session is running, and an operator of your own waits for it: perhaps in that run",
                    );
                    return Err(During::Run.raise(&e.hint("a session of its own")));
                }
                Err(TryLockError::WouldBlock) => {
                    py.detach(|| std::thread::sleep(WAIT));
                    py.check_signals()?;
                }
            }
        };
        let (session, arrays) = self.fitting(py, &mut running, arrays)?;
        let program = session.program().clone();
        for (i, (array, port)) in arrays.iter().zip(program.inputs()).enumerate() {
            let place = session.input_mut(i).map_err(|e| During::Run.raise(&e))?;
            if whole(&port.ty) && array::fill(array, &port.ty, place) {
                continue;
            }
            let tensor = array::tensor(array)?;
            let entered = enter(tensor, &port.ty).map_err(|e| During::Run.raise(&e.at_value(&port.name)))?;
            place.copy_from_slice(entered.bytes());
        }
        drop(arrays);
        let ran = |session: &mut lowbit::Session| -> Result<Vec<Elements>> {
            let heard = Mutex::new(Instant::now());
            // Who would wait long may interrupt it. To ask takes the interpreter, so it is done seldom.
            session.execute_while(&|| {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.elapsed() < HEAR {
                    return Ok(());
                }
                *heard = Instant::now();
                drop(heard);
                Python::attach(|py| {
                    let keep = |e| self.callbacks.keep(py, "RunError", e, "a signal's handler");
                    py.check_signals().map_err(keep)
                })
            })?;
            let ports = program.outputs().iter().enumerate();
            ports.map(|(i, port)| array::elements(&port.ty, session.output(i)?)).collect()
        };
        let found = py.detach(|| ran(session)).map_err(|e| self.callbacks.told(py, During::Run, &e))?;
        let results = PyList::empty(py);
        for (elements, port) in found.into_iter().zip(program.outputs()) {
            let dims = port.ty.shape.require().map_err(|e| During::Run.raise(&e))?;
            results.append(elements.array(py, &dims)?)?;
        }
        Ok(results)
    }

    fn __repr__(&self) -> String {
        format!("<lowbit.Session on {} threads>", self.threads)
    }
}

impl Session {
    /// The session for arrays of these sizes, and the arrays, which have sizes now.
    fn fitting<'py, 's>(
        &self,
        py: Python<'py>,
        running: &'s mut Running,
        arrays: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<(&'s mut lowbit::Session, Vec<Bound<'py, PyAny>>)> {
        let sessions = match running {
            Running::Known(session) => return Ok((session, arrays)),
            Running::Open(sessions) => sessions,
        };
        let numpy = py.import("numpy")?;
        let arrays = arrays.into_iter().map(|a| numpy.call_method1("asarray", (a,))).collect::<PyResult<Vec<_>>>()?;
        let sizes = arrays.iter().map(|a| a.getattr("shape")?.extract()).collect::<PyResult<Vec<Vec<usize>>>>()?;
        let found = py.detach(|| sessions.sized(&sizes));
        Ok((found.map_err(|e| self.callbacks.told(py, During::Compile, &e))?, arrays))
    }

    /// Sorts what is given to the inputs that it is for.
    fn take<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        arrays: &mut [Option<Bound<'py, PyAny>>],
    ) -> PyResult<()> {
        let ports = self.source.inputs();
        let wrong = |e: Error| Err(During::Run.raise(&e));
        let listed = |e: Error| {
            let all: Vec<String> = ports.iter().map(|(name, ty)| format!("'{name}' {ty}")).collect();
            wrong(e.hint(format!("the inputs are {}", all.join(", "))))
        };
        let mut put = |name: &Bound<'py, PyAny>, array: Bound<'py, PyAny>| -> PyResult<()> {
            let name: Cow<'_, str> = name.extract()?;
            let names = || ports.iter().map(|(name, _)| *name);
            let Some(slot) = names().position(|n| *n == *name).and_then(|i| arrays.get_mut(i)) else {
                return listed(Error::new(format!("no input is named '{name}'{}", did_you_mean(&name, names()))));
            };
            match slot.replace(array) {
                None => Ok(()),
                Some(_) => listed(Error::new(format!("input '{name}' is given twice"))),
            }
        };
        let named = match args.len() {
            1 => args.get_item(0)?.cast_into::<PyDict>().ok(),
            _ => None,
        };
        for dict in named.iter().chain(kwargs) {
            dict.iter().try_for_each(|(name, array)| put(&name, array))?;
        }
        if named.is_none() && !args.is_empty() {
            if kwargs.is_some_and(|k| !k.is_empty()) || args.len() != ports.len() {
                let given = args.len() + kwargs.map_or(0, |k| k.len());
                return listed(Error::new(format!(
                    "expected {} arrays in order, or by name, found {given}",
                    ports.len()
                )));
            }
            arrays.iter_mut().zip(args.iter()).for_each(|(slot, array)| *slot = Some(array));
        }
        match ports.iter().zip(&*arrays).find(|(_, a)| a.is_none()) {
            None => Ok(()),
            Some(((name, _), _)) => {
                listed(Error::new(format!("expected an array for every input, found none for '{name}'")))
            }
        }
    }
}

fn borrowed(ports: &[(String, Type)]) -> Vec<(&str, &Type)> {
    ports.iter().map(|(name, ty)| (name.as_str(), ty)).collect()
}

/// Whether the type's storage holds nothing but integers of its range, so that none need be looked for.
fn whole(ty: &Type) -> bool {
    ty.quant.as_ref().is_none_or(|q| ty.dtype.range().is_some_and(|(low, high)| q.qmin <= low && high <= q.qmax))
}

/// A tensor for an input of this type: floats for integers are quantized as it says.
fn enter(tensor: lowbit::Tensor, ty: &Type) -> Result<lowbit::Tensor> {
    let expected = ty.shape.require()?;
    if tensor.dims() != expected {
        return Err(Error::new(format!("expected the sizes {expected:?}, found {:?}", tensor.dims())));
    }
    let tensor = entering_as(ty, &tensor)?;
    let tensor = match (tensor.dtype() == ty.dtype, tensor.dtype().is_float(), ty.dtype.is_float()) {
        (true, _, _) => tensor,
        (false, true, true) => lowbit::Tensor::from_floats(ty.clone(), tensor.floats()?.into_owned())?,
        (false, false, false) => lowbit::Tensor::from_ints(ty.clone(), &tensor.ints()?)?,
        (false, _, _) => {
            let (wanted, found) = (array::dtype_name(ty.dtype), array::dtype_name(tensor.dtype()));
            return Err(Error::new(format!("expected elements of {wanted}, found {found}"))
                .hint(format!("array.astype(\"{wanted}\")")));
        }
    };
    ty.quant.as_ref().map_or(Ok(()), |q| tensor.check_range(q))?;
    Ok(tensor)
}
