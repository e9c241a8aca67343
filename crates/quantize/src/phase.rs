//! Passes of the user's, at any phase of the workflow.

use lowbit_ir::pass::{Flow, Watch};
use lowbit_ir::{Error, Graph, Result, catching, verify};
use std::fmt;
use std::sync::Arc;

/// A point of the workflow: behind the stage of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The float graph is in canonical form.
    Prepared,
    /// Its channels are equalized: what the integers are compared with.
    Equalized,
    /// Placeholders stand where values become narrow.
    Annotated,
    /// It is a QDQ graph.
    Calibrated,
    /// Its biases are corrected: what is exported.
    Refined,
    /// It computes on integers.
    Realized,
}

type Change = Arc<dyn Fn(&mut Graph) -> Result<bool> + Send + Sync>;

/// Passes of the user's, in the order they were given.
#[derive(Clone, Default)]
pub struct Passes {
    own: Vec<(Phase, String, Change)>,
}

impl Passes {
    /// One more, at a phase: it changes the graph and tells whether it did.
    ///
    /// A pass before [`Phase::Annotated`] sees and changes the float graph that the integers are compared with.
    #[must_use]
    pub fn at(
        mut self,
        phase: Phase,
        name: &str,
        change: impl Fn(&mut Graph) -> Result<bool> + Send + Sync + 'static,
    ) -> Self {
        self.own.push((phase, name.into(), Arc::new(change)));
        self
    }

    /// Runs those of a phase, and sweeps and verifies after each.
    pub(crate) fn run(&self, phase: Phase, g: &mut Graph, watch: &mut dyn Watch) -> Result<Flow> {
        for (_, name, change) in self.own.iter().filter(|(at, _, _)| *at == phase) {
            watch.before(name, g);
            let done = catching("the pass", || change(g)).and_then(|changed| {
                let swept = g.sweep();
                verify::verify(g).map(|()| changed || swept)
            });
            let changed = done.map_err(|e: Error| e.context(format!("running the pass '{name}'")))?;
            if watch.after(name, g, changed) == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.own.iter().map(|(phase, name, _)| (phase, name))).finish()
    }
}
