//! Programs for inputs of any sizes: a model that leaves sizes open is compiled when inputs first have them.

use crate::model::Model;
use lowbit_compile::{Target, compile};
use lowbit_frontend::{ImportOptions, Source};
use lowbit_ir::{Error, Graph, Result, Tensor, Type, infer};
use lowbit_runtime::{Pool, Port, Program, Session};
use std::borrow::Borrow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Programs, and sessions of one [`Sessions`], that are kept unless said otherwise, each for sizes of its own. Who goes on
/// with others than the latest compiles again.
pub const KEPT: usize = 4;

/// The programs of a model by the sizes of its inputs. Threads may share it.
///
/// Each is the one of the model with these sizes fixed, to the bit. The latest are kept, [`KEPT`] of them unless
/// [`Programs::kept`] says otherwise; a program has its own copy of the weights, packed for its kernels.
#[derive(Debug)]
pub struct Programs {
    of: Of,
    target: Target,
    inputs: Ports,
    /// With the names that outputs have, where they are known before the sizes.
    outputs: Option<Ports>,
    kept: usize,
    /// The latest first.
    latest: Mutex<Vec<Arc<Program>>>,
}

/// Names and types, in order.
pub type Ports = Vec<(String, Type)>;

/// What programs are made of.
#[derive(Debug)]
enum Of {
    /// A graph that is ready to be compiled, but for its sizes.
    Lowered(Box<Graph>),
    /// A model, which is lowered when its sizes are known.
    Model(Box<Model>),
    /// A file that can be read only when they are.
    File(Box<Source>),
}

impl Programs {
    /// Of a model file. What can be read of it only when sizes are known, such as a branch that they decide, is read then.
    pub fn load(path: impl AsRef<Path>, options: &ImportOptions, target: impl Borrow<Target>) -> Result<Programs> {
        let source = Source::open(path.as_ref(), options)?;
        let target = target.borrow();
        match Model::of_source(&source, None) {
            Ok(model) => Programs::of(&model, target),
            Err(e) if source.wants_sizes(&e) => {
                let inputs = source.inputs()?;
                Ok(Programs::new(Of::File(Box::new(source)), inputs, None, target))
            }
            Err(e) => Err(e),
        }
    }

    /// Of a model, float or quantized.
    pub fn of(model: &Model, target: impl Borrow<Target>) -> Result<Programs> {
        // What a quantized model takes and gives is what its integers are.
        let (inputs, outputs) = ports(&model.lowered()?.0);
        Ok(Programs::new(Of::Model(Box::new(model.clone())), inputs, Some(outputs), target.borrow()))
    }

    /// Of a graph as [`Model::lowered`] gives it.
    pub fn of_graph(graph: Graph, target: impl Borrow<Target>) -> Programs {
        let (inputs, outputs) = ports(&graph);
        Programs::new(Of::Lowered(Box::new(graph)), inputs, Some(outputs), target.borrow())
    }

    fn new(of: Of, inputs: Ports, outputs: Option<Ports>, target: &Target) -> Programs {
        Programs { of, target: target.clone(), inputs, outputs, kept: KEPT, latest: Mutex::default() }
    }

    /// The same, keeping so many programs, at least one.
    #[must_use]
    pub fn kept(self, kept: usize) -> Programs {
        Programs { kept: kept.max(1), ..self }
    }

    /// What the model takes: of open sizes the names.
    pub fn inputs(&self) -> &[(String, Type)] {
        &self.inputs
    }

    /// What it gives: of open sizes the names. Of a file that can be read only with sizes, what it gave last, if anything.
    pub fn outputs(&self) -> Ports {
        let of_latest = |p: Arc<Program>| p.outputs().iter().map(|p| (p.name.clone(), p.ty.clone())).collect();
        self.outputs.clone().or_else(|| self.latest().map(of_latest)).unwrap_or_default()
    }

    /// The graph that the programs are made of, but for their sizes; none of a file that can be read only with sizes.
    pub fn graph(&self) -> Option<&Graph> {
        match &self.of {
            Of::Lowered(graph) => Some(graph),
            Of::Model(model) => Some(model.graph()),
            Of::File(_) => None,
        }
    }

    /// What they are compiled for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The program that was asked for last, if any was.
    pub fn latest(&self) -> Option<Arc<Program>> {
        self.kept_programs().first().cloned()
    }

    /// How many programs there are.
    pub fn count(&self) -> usize {
        self.kept_programs().len()
    }

    /// The program for inputs of these sizes, in the order of the inputs.
    pub fn sized(&self, sizes: &[Vec<usize>]) -> Result<Arc<Program>> {
        if let Some(program) = self.find(sizes) {
            return Ok(program);
        }
        // Nothing is locked meanwhile: an operator of the user's may ask for what is.
        let program = self.compile(sizes)?;
        let mut latest = self.kept_programs();
        latest.truncate(self.kept - 1);
        latest.insert(0, program.clone());
        Ok(program)
    }

    fn find(&self, sizes: &[Vec<usize>]) -> Option<Arc<Program>> {
        let mut latest = self.kept_programs();
        let at = latest.iter().position(|p| is_for(p, sizes))?;
        let program = latest.remove(at);
        latest.insert(0, program.clone());
        Some(program)
    }

    fn kept_programs(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Program>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, sizes: &[Vec<usize>]) -> Result<Arc<Program>> {
        if sizes.len() != self.inputs.len() {
            return Err(Error::new(format!("expected {} inputs, found {}", self.inputs.len(), sizes.len())));
        }
        let names = self.inputs.iter().map(|(name, _)| name.as_str());
        let shapes: Vec<(&str, Vec<usize>)> = names.zip(sizes.iter().cloned()).collect();
        let customs = &self.target.customs;
        let graph = match &self.of {
            Of::Lowered(graph) => infer::bind_with(graph, &shapes, customs)?,
            Of::Model(model) => {
                let bound = infer::bind_with(model.graph(), &shapes, customs)?;
                model.with_graph(bound).lowered()?.0
            }
            Of::File(source) => {
                // The file binds again what the options bind; they must agree.
                let mut symbols = infer::Bindings::new();
                for ((name, ty), dims) in self.inputs.iter().zip(sizes) {
                    infer::bind_dims(ty, dims, false, &mut symbols).map_err(|e| e.at_value(name))?;
                }
                let shapes: Vec<(String, Vec<usize>)> = shapes.into_iter().map(|(n, d)| (n.to_string(), d)).collect();
                Model::of_source(source, Some(&shapes))?.lowered()?.0
            }
        };
        compile(&graph, &self.target)
    }
}

fn ports(g: &Graph) -> (Ports, Ports) {
    let typed = |v: &lowbit_ir::ValueId| (g.value(*v).name.clone(), g.ty(*v).clone());
    (g.inputs.iter().map(typed).collect(), g.outputs.iter().map(typed).collect())
}

/// Whether a program is for inputs of these sizes.
fn is_for(program: &Program, sizes: &[Vec<usize>]) -> bool {
    let ports = program.inputs();
    let same = |(p, sizes): (&Port, &Vec<usize>)| p.ty.shape.dims().as_ref() == Some(sizes);
    ports.len() == sizes.len() && ports.iter().zip(sizes).all(same)
}

/// Runs a model on inputs of any sizes that it leaves open: a session for each of the latest sizes, on one set of threads.
///
/// ```
/// use lowbit::{Model, Programs, Sessions, Target, Tensor};
///
/// # fn main() -> lowbit::Result<()> {
/// let text = "graph \"g\" {\n  input %x: f32[Nx3]\n  %y = Relu(%x)\n  output %y\n}\n";
/// let model = Model::from(lowbit::ir::text::parse(text)?);
/// let mut sessions = Sessions::new(Programs::of(&model, Target::host())?, 1)?;
/// for rows in [2, 5] {
///     let x = Tensor::from_f32(&[rows, 3], vec![-1.0; 3 * rows])?;
///     assert_eq!(sessions.run(&[x])?[0].dims(), [rows, 3]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sessions {
    programs: Arc<Programs>,
    pool: Arc<Pool>,
    /// The latest last.
    sessions: Vec<Session>,
}

impl Sessions {
    /// On this many threads, the calling one among them.
    pub fn new(programs: impl Into<Arc<Programs>>, threads: usize) -> Result<Sessions> {
        let pool = Pool::new(threads)?;
        Ok(Sessions { programs: programs.into(), pool: Arc::new(pool), sessions: Vec::new() })
    }

    /// What it runs.
    pub fn programs(&self) -> &Arc<Programs> {
        &self.programs
    }

    /// Whether there is a session for inputs of these sizes already.
    pub fn has(&self, sizes: &[Vec<usize>]) -> bool {
        self.sessions.iter().any(|s| is_for(s.program(), sizes))
    }

    /// The session for the sizes of late, if there were any.
    pub fn latest(&mut self) -> Option<&mut Session> {
        self.sessions.last_mut()
    }

    /// The session for inputs of these sizes, in the order of the inputs.
    pub fn sized(&mut self, sizes: &[Vec<usize>]) -> Result<&mut Session> {
        match self.sessions.iter().position(|s| is_for(s.program(), sizes)) {
            Some(at) => {
                let session = self.sessions.remove(at);
                self.sessions.push(session);
            }
            None => {
                let program = self.programs.sized(sizes)?;
                // The oldest goes first: both would be memory that nobody needs.
                let surplus = (self.sessions.len() + 1).saturating_sub(self.programs.kept);
                self.sessions.drain(..surplus);
                self.sessions.push(Session::with_pool(program, self.pool.clone())?);
            }
        }
        self.sessions.last_mut().ok_or_else(|| Error::new("expected a session, found none"))
    }

    /// Runs on tensors in the order of the inputs; returns tensors in the order of the outputs. Floats for an input of
    /// integers are quantized as it says.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let sizes: Vec<Vec<usize>> = inputs.iter().map(|t| t.dims().to_vec()).collect();
        let session = self.sized(&sizes)?;
        let program = session.program().clone();
        let one = |(port, t): (&Port, &Tensor)| {
            crate::model::entering_as(&port.ty, t).map_err(|e| e.at_value(port.name.clone()))
        };
        let entered: Vec<Tensor> = program.inputs().iter().zip(inputs).map(one).collect::<Result<_>>()?;
        session.run(&entered)
    }
}
