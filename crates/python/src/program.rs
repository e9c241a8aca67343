//! Programs and sessions: what runs.
//!
//! A run copies arrays into the session's memory and results out of it, once each, and lets the interpreter go in between.

use crate::array::{self, Elements};
use crate::callbacks::Callbacks;
use crate::error::During;
use crate::interpreter::{Place, attached, away, entered, is_ending};
use crate::job::{self, deeper};
use crate::model::{check_called, options, threads_of};
use crate::turn::{Thing, Waiting};
use crate::types::{Count, FilePath, Listed, count, listed, mapping, types};
use lowbit::bench::reference_steps;
use lowbit::compiler::compile;
use lowbit::ir::Type;
use lowbit::ir::suggest::did_you_mean;
use lowbit::model::entering_as;
use lowbit::{Error, Programs, Result, Target};
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Who finds a session at work asks again after this.
const WAIT: Duration = Duration::from_micros(50);

/// How often a run listens for signals.
const HEAR: Duration = Duration::from_millis(100);

/// A run that takes longer than this goes on beside the main thread, which listens meanwhile: one step may be most of it.
const SLOW: Duration = Duration::from_millis(250);

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
    desk: Arc<Mutex<Desk>>,
}

/// Where what runs lies between runs.
#[derive(Debug)]
struct Desk {
    /// None while somebody runs it.
    running: Option<Running>,
    /// The thread and the process that have it, or had it last.
    taken: Option<(ThreadId, u32)>,
    /// What it is to who waits for whom.
    thing: Arc<Thing>,
}

/// What runs.
#[derive(Debug)]
struct Running {
    /// How long the last run took, if there was one for these sizes.
    took: Option<Duration>,
    of: Sized,
}

#[derive(Debug)]
enum Sized {
    /// A session for sizes that are known.
    Known(lowbit::Session),
    /// One for all sizes of late.
    Open(lowbit::Sessions),
}

/// What runs, in the hands of who runs it.
#[derive(Debug)]
struct Taken {
    desk: Arc<Mutex<Desk>>,
    running: Option<Running>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.desk).running = self.running.take();
    }
}

/// This thread, of this process.
fn me() -> (ThreadId, u32) {
    (thread::current().id(), std::process::id())
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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
        path, *, shapes = None, params = None, customs = Listed::default(), max_memory = None, isa = None, threads = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn load(
        py: Python<'_>,
        path: FilePath,
        shapes: Option<&Bound<'_, PyAny>>,
        params: Option<FilePath>,
        customs: Listed<'_>,
        max_memory: Option<&Bound<'_, PyAny>>,
        isa: Option<String>,
        threads: Option<Count>,
    ) -> PyResult<Program> {
        let _inside = entered(py);
        let callbacks = Callbacks::default();
        let options = options(shapes, params, &customs.0, max_memory, &callbacks)?;
        let threads = threads_of(threads)?;
        let programs = job::run(py, During::Model, None, &[&callbacks], move |_| {
            let target = isa.as_deref().map_or_else(|| Ok(Target::host()), Target::isa)?;
            let target = target.customs(options.customs.clone()).max_memory(options.max_memory).threads(threads);
            let programs = Programs::load(&path.0, &options, target)?;
            // A file that can be read only with sizes says later what it calls.
            programs.graph().map_or(Ok(()), |graph| check_called(graph, &options.customs)).map(|()| programs)
        })?;
        Ok(Program::any(programs, callbacks))
    }

    /// A session on this many threads, the calling one among them.
    #[pyo3(signature = (threads = 1))]
    fn session(&self, py: Python<'_>, #[pyo3(from_py_with = count)] threads: usize) -> PyResult<Session> {
        let _inside = entered(py);
        let threads = threads_of(Some(Count(threads)))?;
        let of = away(py, || match &*self.source {
            Source::Known(program) => lowbit::Session::with_threads(program.clone(), threads).map(Sized::Known),
            Source::Open(programs) => lowbit::Sessions::new(programs.clone(), threads).map(Sized::Open),
        });
        let running = Running { took: None, of: of.map_err(|e| During::Run.raise(&e))? };
        let desk = Arc::new(Mutex::new(Desk { running: Some(running), taken: None, thing: Arc::default() }));
        let (source, callbacks) = (self.source.clone(), self.callbacks.clone());
        Ok(Session { source, callbacks, threads, desk })
    }

    /// As `Session.run`, of a session that the program keeps for this.
    #[pyo3(signature = (*args, **kwargs))]
    pub fn run<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kept = || lock(&self.session).as_ref().map(|s| s.clone_ref(py));
        let session = match kept() {
            Some(session) => session,
            None => {
                let made = Py::new(py, self.session(py, 1)?)?;
                // Another thread may have been faster.
                lock(&self.session).get_or_insert(made).clone_ref(py)
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
        let _inside = entered(py);
        let mut arrays: Vec<Option<Bound<'py, PyAny>>> = vec![None; self.source.inputs().len()];
        self.take(args, kwargs, &mut arrays)?;
        // What becomes an array by code of the user's does so before anything is taken.
        let arrays = arrays.into_iter().flatten().map(|a| array::plain(&a)).collect::<PyResult<Vec<_>>>()?;
        let place = deeper(During::Run)?;
        let mut taken = self.taken(py)?.fitting(py, &arrays, &self.callbacks)?;
        let program = {
            let session = taken.session().map_err(|e| During::Run.raise(&e))?;
            let program = session.program().clone();
            for (i, (array, port)) in arrays.iter().zip(program.inputs()).enumerate() {
                let place = session.input_mut(i).map_err(|e| During::Run.raise(&e))?;
                if whole(&port.ty) && array::fill(array, &port.ty, place) {
                    continue;
                }
                let entered = taken_in(array, &port.ty)?.map_err(|e| During::Run.raise(&e.at_value(&port.name)))?;
                place.copy_from_slice(entered.bytes());
            }
            program
        };
        drop(arrays);
        let beside = program.customs().is_empty() && taken.is_slow() && !is_ending() && is_main(py)?;
        let found = match beside {
            true => job::run(py, During::Run, None, &[], move |job| taken.run(&|| job.check()))?,
            false => here(py, place, taken)?,
        };
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

/// Runs on this thread, which listens between steps.
fn here(py: Python<'_>, mut place: Place, taken: Taken) -> PyResult<Vec<Elements>> {
    place.hold(&lock(&taken.desk).thing);
    // A run of its own, of which no other work's interruption ends an operator.
    place.work.get_or_insert_default();
    let heard = Mutex::new(Instant::now());
    let signal = Mutex::new(None);
    let listen = || {
        // To ask takes the interpreter, so it is done seldom.
        if lock(&heard).elapsed() < HEAR {
            return Ok(());
        }
        *lock(&heard) = Instant::now();
        attached(|py| py.check_signals()).map_err(|e| {
            *lock(&signal) = Some(e);
            Error::new("the run was interrupted")
        })
    };
    let ran = away(py, || place.during(|| taken.run(&listen)));
    match lock(&signal).take() {
        Some(e) => Err(e),
        None => ran.map_err(|e| During::Run.raise(&e)),
    }
}

/// Whether this is the thread that hears signals.
fn is_main(py: Python<'_>) -> PyResult<bool> {
    let main = py.import("threading")?.call_method0("main_thread")?.getattr("ident")?;
    main.eq(py.import("_thread")?.call_method0("get_ident")?)
}

impl Taken {
    /// Makes it fit arrays of these sizes: where none of late had them, the model is compiled for them.
    fn fitting(mut self, py: Python<'_>, arrays: &[Bound<'_, PyAny>], callbacks: &Callbacks) -> PyResult<Taken> {
        let Some(Running { of: Sized::Open(sessions), took }) = &mut self.running else { return Ok(self) };
        let sizes = arrays.iter().map(|a| a.getattr("shape")?.extract()).collect::<PyResult<Vec<Vec<usize>>>>()?;
        if sessions.has(&sizes) {
            sessions.sized(&sizes).map_err(|e| During::Compile.raise(&e))?;
            return Ok(self);
        }
        *took = None;
        // Operators are asked for their types by who has the session.
        let mut place = Place::here();
        place.hold(&lock(&self.desk).thing);
        place.during(|| {
            job::run(py, During::Compile, None, &[callbacks], move |_| {
                if let Some(Running { of: Sized::Open(sessions), .. }) = &mut self.running {
                    sessions.sized(&sizes)?;
                }
                Ok(self)
            })
        })
    }

    /// The session of the sizes at hand.
    fn session(&mut self) -> Result<&mut lowbit::Session> {
        match self.running.as_mut().map(|running| &mut running.of) {
            Some(Sized::Known(session)) => Ok(session),
            Some(Sized::Open(sessions)) => sessions.latest().ok_or_else(|| Error::new("no sizes are known")),
            None => Err(Error::new("nothing is there to run")),
        }
    }

    /// Whether its next run may take long.
    fn is_slow(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.took.is_none_or(|took| took > SLOW))
    }

    /// Runs it, if `go_on` lets it, and gives it back.
    fn run(mut self, go_on: &(dyn Fn() -> Result<()> + Sync)) -> Result<Vec<Elements>> {
        // Perhaps not the thread that took it, which may be interrupted and come again.
        lock(&self.desk).taken = Some(me());
        let start = Instant::now();
        self.session()?.execute_while(go_on)?;
        let took = start.elapsed();
        self.running.iter_mut().for_each(|running| running.took = Some(took));
        let session = self.session()?;
        let program = session.program().clone();
        let ports = program.outputs().iter().enumerate();
        ports.map(|(i, port)| array::elements(&port.ty, session.output(i)?)).collect()
    }
}

impl Session {
    /// Takes what runs, as soon as it is there.
    fn taken(&self, py: Python<'_>) -> PyResult<Taken> {
        let (me, place) = (me(), Place::here());
        let mut waiting = None;
        let wrong = |message: &str| {
            Err(During::Run.raise(&Error::new(message).hint("a session of its own, program.session()")))
        };
        loop {
            let mut desk = lock(&self.desk);
            if self.threads > 1 && desk.taken.is_some_and(|(_, process)| process != me.1) {
                return wrong("the session's threads are in the process that this one is a copy of");
            }
            if let Some(running) = desk.running.take() {
                desk.taken = Some(me);
                return Ok(Taken { desk: self.desk.clone(), running: Some(running) });
            }
            let (taken, thing) = (desk.taken, desk.thing.clone());
            drop(desk);
            match taken {
                Some((thread, process)) if (thread, process) == me => {
                    return wrong(
                        "the session is running on this thread: what it calls, or a signal's handler, runs it again",
                    );
                }
                Some((_, process)) if process != me.1 => {
                    return wrong("the session was running in the process that this one is a copy of");
                }
                Some(_) | None => {
                    waiting.get_or_insert_with(|| Waiting::of(&place.held, &thing));
                    if thing.would_wait_for(&place.held) {
                        return wrong(
                            "the session is running, and what it runs waits, by functions of yours, for who wants it",
                        );
                    }
                    if place.work.as_ref().is_some_and(|work| work.interrupted_for().is_some()) {
                        return Err(During::Run.raise(&Error::new("the work was interrupted")));
                    }
                    away(py, || thread::sleep(WAIT));
                    job::hear(py)?;
                }
            }
        }
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
            1 if !args.get_item(0)?.is_exact_instance_of::<PyUntypedArray>() => mapping(&args.get_item(0)?)?,
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

/// A tensor for an input of this type of an array: sizes are compared before anything is made of it.
fn taken_in(array: &Bound<'_, PyAny>, ty: &Type) -> PyResult<Result<lowbit::Tensor>> {
    let sizes: Vec<usize> = array.getattr("shape")?.extract()?;
    match ty.shape.require() {
        Ok(expected) if sizes == expected => Ok(enter(array::tensor(array)?, ty)),
        Ok(expected) => Ok(Err(Error::new(format!("expected the sizes {expected:?}, found {sizes:?}")))),
        Err(e) => Ok(Err(e)),
    }
}

/// Floats for integers are quantized as the type says.
fn enter(tensor: lowbit::Tensor, ty: &Type) -> Result<lowbit::Tensor> {
    let tensor = entering_as(ty, &tensor)?;
    let tensor = match (tensor.dtype() == ty.dtype, tensor.dtype().is_float(), ty.dtype.is_float()) {
        (true, _, _) => tensor,
        (false, true, true) => array::as_floats(ty, &tensor)?,
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
