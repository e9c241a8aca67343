//! Timing: warm-up and duration by time, medians to quote.

use lowbit_ir::Result;
use lowbit_runtime::{Program, Session};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Latencies of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// The fastest run.
    pub min_ms: f64,
    /// Nine in ten runs were faster.
    pub p90_ms: f64,
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
    /// Multiply-accumulates a run.
    pub macs: u64,
    /// Bytes of activations and constants.
    pub memory_bytes: usize,
    /// Operators without a kernel, which the interpreter ran.
    pub reference_steps: Vec<String>,
    /// The processor's name.
    pub cpu: String,
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

/// Times a program on inputs of seeded noise.
pub fn time(program: &Arc<Program>, threads: usize, effort: Effort) -> Result<Timing> {
    let mut session = Session::with_threads(program.clone(), threads)?;
    for i in 0..program.inputs.len() {
        fill(session.input_mut(i)?, program.inputs[i].ty.dtype.is_float(), i as u64);
    }
    let start = Instant::now();
    while start.elapsed() < effort.warm_up {
        session.execute()?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < effort.duration || times.len() < 5 {
        let run = Instant::now();
        session.execute()?;
        times.push(run.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Ok(Timing {
        median_ms: at(0.5),
        min_ms: at(0.0),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        runs: times.len(),
        threads,
        isa: program.isa.name,
        batch: program.inputs.first().and_then(|p| p.ty.shape.0.first()?.known()).unwrap_or(1),
        macs: program.macs(),
        memory_bytes: program.arena + program.consts.len(),
        reference_steps: program.reference_steps().map(|s| s.name.clone()).collect(),
        cpu: lowbit_runtime::isa::cpu_name(),
    })
}

/// Noise: floats around zero, or any bytes.
fn fill(bytes: &mut [u8], float: bool, seed: u64) {
    for (i, chunk) in bytes.chunks_mut(4).enumerate() {
        let bits = lowbit_arithmetic::rounding::hash(seed, i as u64);
        let word = match float {
            true => (((bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 4.0).to_le_bytes(),
            false => (bits as u32).to_le_bytes(),
        };
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}
