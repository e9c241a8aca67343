//! Timing: warm-up and duration by time, medians to quote.

use crate::data::random;
use crate::model::input_as_is;
use lowbit_ir::{Error, Graph, Result, Tensor, Type, check_float_mode};
use lowbit_runtime::{Kind, Pool, Program, Session, Step, peak};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Latencies of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// The same, under the name that goes with the others.
    pub p50_ms: f64,
    /// The fastest run.
    pub min_ms: f64,
    /// Nine in ten runs were faster.
    pub p90_ms: f64,
    /// Nineteen in twenty runs were faster.
    pub p95_ms: f64,
    /// Ninety-nine in a hundred runs were faster.
    pub p99_ms: f64,
    /// How many runs were timed.
    pub runs: usize,
    /// Threads that took part.
    pub threads: usize,
    /// The instruction set.
    pub isa: &'static str,
    /// Samples a run.
    pub batch: usize,
    /// The inputs with their sizes, as `name: type`.
    pub inputs: Vec<String>,
    /// Multiply-accumulates a run.
    pub macs: u64,
    /// Products of bytes that the threads could make with this instruction set, in billions a second: what one core was
    /// measured to do, times the threads.
    pub peak_gmacs: f64,
    /// Bytes of activations and constants.
    pub memory_bytes: usize,
    /// Operators without a kernel, which the interpreter ran.
    pub reference_steps: Vec<ReferenceStep>,
    /// The processor's name.
    pub cpu: String,
}

/// An operator in a program that the interpreter runs, correctly and slowly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReferenceStep {
    /// The graph node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// Why no kernel runs it.
    pub reason: String,
}

/// What the interpreter runs in a program, for want of a kernel.
pub fn reference_steps(program: &Program) -> Vec<ReferenceStep> {
    let described = |step: &Step| match &step.kind {
        Kind::Reference(r) => {
            let plain = |ty: &Type| Type::plain(ty.dtype, ty.shape.clone()).to_string();
            let operands: Vec<String> = r.inputs.iter().flatten().map(|(_, ty)| plain(ty)).collect();
            let reason = format!("there is no kernel of {} for {}", r.op.name(), operands.join(", "));
            Some(ReferenceStep { node: step.name.clone(), op: r.op.name(), reason })
        }
        _ => None,
    };
    program.reference_steps().filter_map(described).collect()
}

/// Inputs of seeded noise for a graph whose dimensions are all known.
pub fn noise(g: &Graph) -> Result<Vec<Tensor>> {
    check_float_mode()?;
    random::of_size(&g.inputs.iter().map(|v| input_as_is(g, *v)).collect::<Vec<_>>())
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Runs that are not counted, until this much time has passed.
    pub warm_up: Duration,
    /// Counted runs, until this much time has passed (at least five).
    pub duration: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { warm_up: Duration::from_millis(300), duration: Duration::from_secs(2) }
    }
}

/// The time of a program's first run on these inputs, with what it takes to begin: a session and its threads.
pub fn first_run(program: &Arc<Program>, inputs: &[Tensor], threads: usize) -> Result<Duration> {
    let start = Instant::now();
    let mut session = Session::with_threads(program.clone(), threads)?;
    fill(&mut session, inputs)?;
    session.execute()?;
    Ok(start.elapsed())
}

/// Times a program on these inputs.
pub fn time(program: &Arc<Program>, inputs: &[Tensor], threads: usize, effort: Effort) -> Result<Timing> {
    interleaved(&[(program, inputs)], threads, effort)?
        .pop()
        .ok_or_else(|| Error::new("expected a program, found none"))
}

/// Times programs side by side, each on its inputs, a run of each in turn, so that whatever slows the machine slows them
/// all alike.
///
/// The effort is that of each program.
pub fn interleaved(programs: &[(&Arc<Program>, &[Tensor])], threads: usize, effort: Effort) -> Result<Vec<Timing>> {
    interleaved_while(programs, threads, effort, &|| Ok(()))
}

/// As [`interleaved`], asking between runs whether to go on; an error of `go_on` ends it.
pub fn interleaved_while(
    programs: &[(&Arc<Program>, &[Tensor])],
    threads: usize,
    effort: Effort,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Vec<Timing>> {
    // One pool for all: the waiting threads of another would take this one's cores.
    let pool = Pool::new(threads)?;
    let pool = Arc::new(pool);
    let mut lanes: Vec<Lane> = programs.iter().map(|(p, inputs)| Lane::new(p, inputs, &pool)).collect::<Result<_>>()?;
    while lanes.iter().any(|l| l.spent < effort.warm_up) {
        go_on()?;
        for lane in &mut lanes {
            lane.run()?;
        }
    }
    lanes.iter_mut().for_each(|lane| lane.spent = Duration::ZERO);
    // A program that has had its time waits for the others, unless it has too few runs to have a median.
    while lanes.iter().any(|l| l.wants_more(effort)) {
        go_on()?;
        for lane in lanes.iter_mut().filter(|l| l.wants_more(effort)) {
            let time = lane.run()?;
            lane.times.push(time.as_secs_f64() * 1e3);
        }
    }
    Ok(lanes.into_iter().map(Lane::timing).collect())
}

/// One program being timed.
struct Lane<'a> {
    session: Session,
    inputs: &'a [Tensor],
    /// Time of all runs, and of filling in their inputs: what somebody waits for.
    spent: Duration,
    times: Vec<f64>,
}

impl<'a> Lane<'a> {
    fn new(program: &Arc<Program>, inputs: &'a [Tensor], pool: &Arc<Pool>) -> Result<Lane<'a>> {
        let session = Session::with_pool(program.clone(), pool.clone())?;
        Ok(Lane { session, inputs, spent: Duration::ZERO, times: Vec::new() })
    }

    /// Runs once; gives the time of the run alone.
    fn run(&mut self) -> Result<Duration> {
        let filling = Instant::now();
        fill(&mut self.session, self.inputs)?;
        let start = Instant::now();
        self.session.execute()?;
        let took = start.elapsed();
        self.spent += filling.elapsed();
        Ok(took)
    }

    fn wants_more(&self, effort: Effort) -> bool {
        self.spent < effort.duration || self.times.len() < 5
    }

    fn timing(mut self) -> Timing {
        self.times.sort_by(f64::total_cmp);
        let at = |share: f64| self.times[((self.times.len() - 1) as f64 * share).round() as usize];
        let program = self.session.program();
        Timing {
            median_ms: at(0.5),
            p50_ms: at(0.5),
            min_ms: at(0.0),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            runs: self.times.len(),
            threads: self.session.threads(),
            isa: program.isa().name,
            batch: program.inputs().first().and_then(|p| p.ty.shape.0.first()?.known()).unwrap_or(1),
            inputs: program.inputs().iter().map(|p| format!("{}: {}", p.name, p.ty)).collect(),
            macs: program.macs(),
            peak_gmacs: peak_gmacs(program, self.session.threads()),
            memory_bytes: program.arena() + program.consts().len(),
            reference_steps: reference_steps(program),
            cpu: lowbit_runtime::isa::cpu_name(),
        }
    }
}

/// Products of bytes that so many threads can make, in billions a second.
fn peak_gmacs(program: &Program, threads: usize) -> f64 {
    peak::products(program.isa()).unwrap_or(0.0) / 1e9 * threads as f64
}

/// What one step of a program costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// The graph nodes it stands for.
    pub step: String,
    /// The kernel's name.
    pub kernel: &'static str,
    /// Mean time of a run.
    pub ms: f64,
    /// Its share of all steps, 0..=100.
    pub percent: f64,
    /// Multiply-accumulates a run.
    pub macs: u64,
    /// What its integer multiply-accumulates are of the products of bytes that the threads could make, 0..=100; none for
    /// steps without.
    pub peak_percent: Option<f64>,
    /// Bytes that it reads and writes, each once: weights, inputs and results.
    pub bytes: usize,
}

/// Times every step of a program on these inputs, in order.
pub fn profile(program: &Arc<Program>, inputs: &[Tensor], threads: usize, effort: Effort) -> Result<Vec<StepTime>> {
    let mut session = Session::with_threads(program.clone(), threads)?;
    let start = Instant::now();
    while start.elapsed() < effort.warm_up {
        fill(&mut session, inputs)?;
        session.execute()?;
    }
    let (mut nanoseconds, mut runs) = (Vec::new(), 0u32);
    let start = Instant::now();
    while start.elapsed() < effort.duration || runs < 5 {
        fill(&mut session, inputs)?;
        session.profile(&mut nanoseconds)?;
        runs += 1;
    }
    let total: u64 = nanoseconds.iter().sum();
    let peak = peak_gmacs(program, threads) * 1e6;
    let step = |(step, &ns): (&Step, &u64)| {
        let (ms, kernel) = (ns as f64 / 1e6 / f64::from(runs), step.kind.kernel());
        let integer = step.macs > 0 && !kernel.starts_with("f32") && peak > 0.0;
        StepTime {
            step: step.name.clone(),
            kernel,
            ms,
            percent: 100.0 * ns as f64 / total.max(1) as f64,
            macs: step.macs,
            peak_percent: integer.then(|| 100.0 * step.macs as f64 / ms / peak),
            bytes: step.kind.spans().iter().map(|span| span.bytes).sum(),
        }
    };
    Ok(program.steps().iter().zip(&nanoseconds).map(step).collect())
}

/// Puts the inputs where the program expects them. Each run needs that anew: what an input lies in is used again.
fn fill(session: &mut Session, inputs: &[Tensor]) -> Result<()> {
    let expected = session.program().inputs().len();
    if inputs.len() != expected {
        return Err(Error::new(format!("expected {expected} inputs, found {}", inputs.len())));
    }
    for (i, tensor) in inputs.iter().enumerate() {
        let bytes = session.input_mut(i)?;
        if bytes.len() != tensor.bytes().len() {
            return Err(Error::new(format!("expected {} bytes for input {i}, found {}", bytes.len(), tensor.ty())));
        }
        bytes.copy_from_slice(tensor.bytes());
    }
    Ok(())
}
