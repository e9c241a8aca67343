//! Passes of the user's, at any phase of the workflow.

use lowbit_ir::pass::{Flow, Watch};
use lowbit_ir::{Error, Graph, Result, ValueId, catching, verify};
use std::fmt;
use std::sync::Arc;

/// A point of the workflow: behind the stage of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The graph is as the file has it: in front of prepare.
    Imported,
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
    /// It computes on integers; compile's own passes come behind, and they know the target. A file holds the graph of
    /// [`Phase::Refined`], so it records the names of passes here: who loads it gives them again.
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

    /// These, and behind them others.
    #[must_use]
    pub fn and(mut self, others: &Passes) -> Self {
        self.own.extend(others.own.iter().cloned());
        self
    }

    /// Those of a phase alone.
    #[must_use]
    pub fn of(&self, phase: Phase) -> Self {
        Passes { own: self.own.iter().filter(|(at, _, _)| *at == phase).cloned().collect() }
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.iter().map(|(_, name, _)| name.as_str())
    }

    /// Runs those of a phase, and sweeps and verifies after each; what the model takes and gives must stay.
    pub fn run(&self, phase: Phase, g: &mut Graph, watch: &mut dyn Watch) -> Result<Flow> {
        for (_, name, change) in self.own.iter().filter(|(at, _, _)| *at == phase) {
            watch.before(name, g);
            let done = guarded(g, |g| catching("the pass", || change(g)));
            let (changed, swept) = done.map_err(|e: Error| e.context(format!("running the pass '{name}'")))?;
            let changed = changed || swept;
            if watch.after(name, g, changed) == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }
}

/// Lets the user's code change a graph, sweeps and verifies it, and refuses another model: one that takes or gives
/// something else. Tells what the code gave, and whether anything was swept.
pub(crate) fn guarded<T>(g: &mut Graph, change: impl FnOnce(&mut Graph) -> Result<T>) -> Result<(T, bool)> {
    let before = face(g);
    let given = change(g)?;
    for (what, before, after) in [("inputs", before.0, face(g).0), ("outputs", before.1, face(g).1)] {
        if before != after {
            let list = |of: Vec<String>| if of.is_empty() { "none".into() } else { of.join(", ") };
            return Err(Error::new(format!(
                "expected the model's {what} to stay {}, found {}",
                list(before),
                list(after)
            ))
            .hint("to take or give something else, change the model before it is quantized"));
        }
    }
    let swept = g.sweep();
    verify::verify(g).map(|()| (given, swept))
}

/// What a model takes and gives: names with types.
fn face(g: &Graph) -> (Vec<String>, Vec<String>) {
    let value = |v: &ValueId| match g.has_value(*v) {
        true => format!("'{}' {}", g.value(*v).name, g.ty(*v)),
        false => "a value that was removed".into(),
    };
    (g.inputs.iter().map(value).collect(), g.outputs.iter().map(value).collect())
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.own.iter().map(|(phase, name, _)| (phase, name))).finish()
    }
}
