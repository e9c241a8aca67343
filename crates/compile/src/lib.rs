//! From a graph to a [`Program`]: optimize -> lower -> pack -> plan.
//!
//! [`compile`] is the pipeline. `passes` rewrites the graph (still checked by its verifier), [`lower`] turns nodes into
//! steps over unplanned buffers and says where packed weights will lie, and [`plan`] gives every buffer its place in one
//! arena. What that takes is compared with what is allowed ([`memory`]) before it is asked for; then weights are packed
//! ([`constants`]).
#![forbid(unsafe_code)]

pub mod constants;
pub mod fuse;
pub mod lower;
pub mod memory;
pub mod passes;
pub mod plan;
pub mod target;
pub mod weights;

pub use passes::PASSES;
pub use target::Target;

use lowbit_ir::pass::{self, Flow, Watch};
use lowbit_ir::{Error, Graph, Result, bounds, check_float_mode, infer};
use lowbit_runtime::{Parts, Port, Program};
use std::sync::Arc;

/// Compiles a graph whose dimensions are all known (see [`lowbit_ir::infer::bind`]).
pub fn compile(graph: &Graph, target: &Target) -> Result<Arc<Program>> {
    compile_watched(graph, target, &mut ())?.ok_or_else(|| Error::new("nothing was compiled: a defect of the compiler"))
}

/// As [`compile`], showing the graph after every pass; `None` if the watch stopped it.
pub fn compile_watched(graph: &Graph, target: &Target, watch: &mut dyn Watch) -> Result<Option<Arc<Program>>> {
    // Scales of accumulators and changes of scale, and what is folded, are computed here.
    check_float_mode()?;
    let mut g = graph.clone();
    infer::refresh(&mut g, &target.customs)?;
    // No accumulator may overflow unproven: kernels sum modulo 2^32.
    bounds::check(&g)?;
    let mut cx = passes::Context { customs: target.customs.clone(), max_memory: target.max_memory };
    if pass::run(&mut g, PASSES, &mut cx, watch)? == Flow::Stop {
        return Ok(None);
    }
    let mut lowered = lower::lower(&g, target)?;
    let plan = plan::plan(&mut lowered)?;
    memory::check(graph, &lowered, &plan, target.max_memory)?;
    let port = |(value, place)| {
        let value = g.value(value);
        Port { name: value.name.clone(), ty: value.ty.clone(), place }
    };
    let (inputs, outputs) =
        (lowered.inputs.into_iter().map(port).collect(), lowered.outputs.into_iter().map(port).collect());
    let name = std::mem::take(&mut g.name);
    // What was computed of constants goes as soon as it is packed: nobody else holds it then.
    drop(g);
    Program::new(Parts {
        name,
        isa: target.isa,
        steps: lowered.steps,
        arena: plan.arena,
        consts: lowered.constants.finish(target.threads)?,
        inputs,
        outputs,
        customs: target.customs.clone(),
        max_memory: target.max_memory,
    })
    .map(Some)
}
