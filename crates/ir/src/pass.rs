//! Passes as readable lists: what a stage does to a graph, one line each.
//!
//! [`run`] goes down such a list. After every pass it sweeps what the pass left unread and verifies the graph, so a
//! pass that breaks an invariant is found at once and by name.

use crate::suggest::did_you_mean;
use crate::{Error, Graph, Result, verify};
use std::fmt;
use std::time::{Duration, Instant};

/// One step from graph to graph; `C` is what the steps of its list share (a configuration, a report).
#[derive(Debug)]
pub struct Pass<C: 'static> {
    /// The name that `--stop-after` and `--print-after` take; unique in its list.
    pub name: &'static str,
    /// One sentence for `lowbit list passes`.
    pub summary: &'static str,
    /// Changes the graph and tells whether it did.
    pub run: fn(&mut Graph, &mut C) -> Result<bool>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// With the next pass.
    Continue,
    /// No pass runs any more.
    Stop,
}

/// Somebody who looks at the graph between passes.
pub trait Watch {
    /// A pass is about to run.
    fn before(&mut self, _pass: &str, _g: &Graph) {}

    /// A pass has run and the graph is verified.
    fn after(&mut self, pass: &str, g: &Graph, changed: bool) -> Flow;
}

/// Runs the passes in order and verifies after each; tells whether a watch stopped it early.
pub fn run<C>(g: &mut Graph, passes: &[Pass<C>], cx: &mut C, watch: &mut dyn Watch) -> Result<Flow> {
    for pass in passes {
        watch.before(pass.name, g);
        let step = |g: &mut Graph, cx: &mut C| {
            let changed = (pass.run)(g, cx)?;
            let swept = g.sweep();
            verify::verify(g)?;
            Ok(changed || swept)
        };
        let changed = step(g, cx).map_err(|e: Error| e.context(format!("running pass '{}'", pass.name)))?;
        if watch.after(pass.name, g, changed) == Flow::Stop {
            return Ok(Flow::Stop);
        }
    }
    Ok(Flow::Continue)
}

/// The names of a list, in order.
pub fn names<C>(passes: &[Pass<C>]) -> Vec<&'static str> {
    passes.iter().map(|p| p.name).collect()
}

/// Checks that a name given by a user is one of `known` (see [`names`]; several lists may be joined).
pub fn check_name(name: &str, known: &[&str]) -> Result<()> {
    if known.contains(&name) {
        return Ok(());
    }
    Err(Error::new(format!("no pass is named '{name}'{}", did_you_mean(name, known)))
        .hint(format!("one of {}", known.join(", "))))
}

/// Nobody watches.
impl Watch for () {
    fn after(&mut self, _pass: &str, _g: &Graph, _changed: bool) -> Flow {
        Flow::Continue
    }
}

/// All watch; the list stops if any of them says so.
impl<W: Watch + ?Sized> Watch for Vec<&mut W> {
    fn before(&mut self, pass: &str, g: &Graph) {
        self.iter_mut().for_each(|w| w.before(pass, g));
    }

    fn after(&mut self, pass: &str, g: &Graph, changed: bool) -> Flow {
        // Everybody is told, also those behind the one that stops.
        self.iter_mut().map(|w| w.after(pass, g, changed)).fold(Flow::Continue, |all, flow| match flow {
            Flow::Continue => all,
            Flow::Stop => Flow::Stop,
        })
    }
}

/// Stops after a pass.
#[derive(Debug, Clone)]
pub struct StopAfter(String);

impl StopAfter {
    /// Stops after the pass of this name, which must be one of `known`.
    pub fn new(name: &str, known: &[&str]) -> Result<Self> {
        check_name(name, known)?;
        Ok(StopAfter(name.to_string()))
    }
}

impl Watch for StopAfter {
    fn after(&mut self, pass: &str, _g: &Graph, _changed: bool) -> Flow {
        if pass == self.0 { Flow::Stop } else { Flow::Continue }
    }
}

/// Shows the graph after some passes; `show` gets the pass's name and decides where the text goes.
pub struct PrintAfter<F> {
    passes: Vec<String>,
    show: F,
}

impl<F: FnMut(&str, &Graph)> PrintAfter<F> {
    /// Shows the graph after each of these passes, which must all be among `known`; `all` stands for every pass.
    pub fn new(passes: &[impl AsRef<str>], known: &[&str], show: F) -> Result<Self> {
        let passes: Vec<String> = passes.iter().map(|p| p.as_ref().to_string()).collect();
        passes.iter().filter(|p| *p != "all").try_for_each(|p| check_name(p, known))?;
        Ok(PrintAfter { passes, show })
    }
}

impl<F: FnMut(&str, &Graph)> Watch for PrintAfter<F> {
    fn after(&mut self, pass: &str, g: &Graph, _changed: bool) -> Flow {
        if self.passes.iter().any(|p| p == pass || p == "all") {
            (self.show)(pass, g);
        }
        Flow::Continue
    }
}

/// Records what every pass did and how long it took, verification included.
#[derive(Debug, Clone, Default)]
pub struct Timings {
    /// One record a pass, in the order they ran.
    pub records: Vec<Timing>,
    started: Option<Instant>,
}

/// What one pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// The pass.
    pub pass: String,
    /// From its start to the end of its verification.
    pub time: Duration,
    /// Whether it changed the graph.
    pub changed: bool,
    /// How many nodes the graph had then.
    pub nodes: usize,
}

impl Watch for Timings {
    fn before(&mut self, _pass: &str, _g: &Graph) {
        self.started = Some(Instant::now());
    }

    fn after(&mut self, pass: &str, g: &Graph, changed: bool) -> Flow {
        let time = self.started.take().map_or(Duration::ZERO, |t| t.elapsed());
        self.records.push(Timing { pass: pass.to_string(), time, changed, nodes: g.order().len() });
        Flow::Continue
    }
}

/// A table: milliseconds, nodes, pass; unchanged graphs are marked with `=`.
impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for r in &self.records {
            let mark = if r.changed { ' ' } else { '=' };
            writeln!(f, "{:>9.2} ms {:>6} nodes {mark} {}", r.time.as_secs_f64() * 1e3, r.nodes, r.pass)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Op, Type};

    fn graph() -> Graph {
        let mut g = Graph::new("g");
        let x = g.add_input("x", Type::f32(vec![4]));
        let n = g.add_node("relu", Op::Relu, vec![Some(x)], &[("y", Type::f32(vec![4]))]);
        g.outputs = g.node(n).outputs.clone();
        g
    }

    /// Appends a second Relu and leaves a third one unread.
    fn grow(g: &mut Graph, count: &mut usize) -> Result<bool> {
        *count += 1;
        for name in ["unread", "next"] {
            let ty = Type::f32(vec![4]);
            let n = g.add_node(name, Op::Relu, vec![g.outputs.first().copied()], &[(name, ty)]);
            if name == "next" {
                g.outputs = g.node(n).outputs.clone();
            }
        }
        Ok(true)
    }

    fn idle(_: &mut Graph, _: &mut usize) -> Result<bool> {
        Ok(false)
    }

    fn spoil(g: &mut Graph, _: &mut usize) -> Result<bool> {
        g.outputs.clone().into_iter().for_each(|v| g.set_ty(v, Type::f32(vec![5])));
        Ok(true)
    }

    const PASSES: [Pass<usize>; 3] = [
        Pass { name: "grow", summary: "Adds a node.", run: grow },
        Pass { name: "idle", summary: "Does nothing.", run: idle },
        Pass { name: "grow-again", summary: "Adds a node.", run: grow },
    ];

    #[test]
    fn passes_run_in_order_and_leave_nothing_unread() {
        let (mut g, mut count, mut times) = (graph(), 0, Timings::default());
        assert_eq!(run(&mut g, &PASSES, &mut count, &mut times).unwrap(), Flow::Continue);
        assert_eq!(count, 2);
        let seen: Vec<(&str, bool, usize)> = times.records.iter().map(|r| (&*r.pass, r.changed, r.nodes)).collect();
        assert_eq!(seen, [("grow", true, 2), ("idle", false, 2), ("grow-again", true, 3)]);
        assert_eq!(times.to_string().lines().count(), 3);
    }

    #[test]
    fn watches_stop_and_print() {
        let (mut g, mut count, mut shown) = (graph(), 0, Vec::new());
        let known = names(&PASSES);
        let mut stop = StopAfter::new("idle", &known).unwrap();
        let mut print = PrintAfter::new(&["all"], &known, |pass, g| shown.push((pass.to_string(), g.clone()))).unwrap();
        let mut watch: Vec<&mut dyn Watch> = vec![&mut stop, &mut print];
        assert_eq!(run(&mut g, &PASSES, &mut count, &mut watch).unwrap(), Flow::Stop);
        assert_eq!(count, 1);
        assert_eq!(shown.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["grow", "idle"]);
        assert_eq!(shown.last().map(|(_, g)| g), Some(&g));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let known = names(&PASSES);
        let e = StopAfter::new("grow-agian", &known).unwrap_err().to_string();
        assert!(e.contains("did you mean 'grow-again'?") && e.contains("grow, idle, grow-again"), "{e}");
        assert!(PrintAfter::new(&["idle", "nothing"], &known, |_, _| ()).is_err());
    }

    #[test]
    fn a_pass_that_breaks_an_invariant_is_named() {
        let spoiling = [Pass { name: "spoil", summary: "Breaks a type.", run: spoil }];
        let e = run(&mut graph(), &spoiling, &mut 0, &mut ()).unwrap_err().to_string();
        assert!(e.contains("while running pass 'spoil'"), "{e}");
        assert!(e.contains("f32[5]"), "{e}");
    }
}
