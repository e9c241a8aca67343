//! Statistics that outlive a run: what they are of, whether they fit, and how those of several runs become one.

use super::{Stats, Wanted, file, is_weight, observe_all, observed, source_name, wanted, within};
use crate::{Options, Samples};
use lowbit_ir::op::Category;
use lowbit_ir::request::Sharing;
use lowbit_ir::text::{Constants, print_with};
use lowbit_ir::{Engine, Error, Graph, Node, Op, Result, ValueId, meta};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Statistics of some samples, and what they are of: what a file of statistics holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// The graph that was run.
    pub model: Fingerprint,
    /// What tells apart the runs that it is the sum of, so that none is counted twice: a digest of what each saw.
    pub runs: BTreeSet<u64>,
    /// What the samples say of themselves, see [`Samples::properties`].
    pub properties: BTreeMap<String, String>,
    /// Which channels were looked at, of every value that there are statistics of.
    pub channels: BTreeMap<String, Sharing>,
    /// What was seen.
    pub stats: Stats,
}

/// What tells a graph from others: its operators, names, types and constants, and not its own name or metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of everything but what constants hold.
    pub structure: u64,
    /// Of everything.
    pub whole: u64,
}

impl Fingerprint {
    /// Of a graph.
    pub fn of(g: &Graph) -> Fingerprint {
        // A file may be renamed, and metadata changes no value.
        let mut bare = g.clone();
        (bare.name, bare.meta) = (String::new(), meta::Metadata::default());
        let text = print_with(&bare, Constants::Elided);
        let without_data = |line: &str| match line.trim_start().starts_with("const ") {
            true => line.split(" = ").next().unwrap_or_default().to_owned(),
            false => line.to_owned(),
        };
        let structure: Vec<String> = text.lines().map(without_data).collect();
        Fingerprint { structure: fnv(structure.join("\n").as_bytes()), whole: fnv(text.as_bytes()) }
    }

    /// Refuses another graph than `found`, and says what of it is another.
    fn check(self, found: Fingerprint) -> Result<()> {
        let what = match () {
            () if self == found => return Ok(()),
            () if self.structure == found.structure => "the same model with other weights",
            () => "another model (other operators, names or sizes)",
        };
        Err(Error::new(format!("expected statistics of the model {found}, found those of {self}: {what}"))
            .hint("calibrate this model, with the same --shape if sizes are given"))
    }
}

/// `1b6d0a2f9c3e4d58`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.whole)
    }
}

impl Shard {
    /// Runs samples, as many as the options say, through an annotated graph; `model` is the float graph that it was made of.
    ///
    /// What is observed is more than the graph waits for: also what leaves layers and the model, so that one run serves
    /// integers at the model's ends and narrow values behind layers. Of channels only what the graph waits for, since
    /// each of them takes as much memory as a value.
    pub fn gather(
        model: &Graph,
        annotated: &Graph,
        engine: &dyn Engine,
        samples: &dyn Samples,
        options: &Options,
    ) -> Result<Shard> {
        let mut all = wanted(annotated);
        let more = others(model, annotated, &all);
        all.extend(more);
        let room = |bins: usize| within(bins, options.max_memory).and_then(|()| file::check_bins(bins));
        let (stats, channels) = observe_all(annotated, &all, engine, samples, options, &room)?;
        let (model, properties) = (Fingerprint::of(model), samples.properties());
        let mut shard = Shard { model, runs: BTreeSet::new(), properties, channels, stats };
        shard.runs.insert(fnv(&file::write(&shard)?));
        Ok(shard)
    }

    /// Adds what other samples of the same model showed; the order of merging does not matter. Averages that depend on
    /// the order of the samples are forgotten.
    pub fn merge(&mut self, other: &Shard) -> Result<()> {
        self.model.check(other.model)?;
        if self.runs.intersection(&other.runs).next().is_some() {
            return Err(Error::new(
                "expected every run of samples once, found one that both have: it would count twice",
            )
            .hint("leave one of them out; another name makes no other samples"));
        }
        let keys = || self.properties.keys().chain(other.properties.keys());
        if let Some(key) = keys().find(|key| self.properties.get(*key) != other.properties.get(*key)) {
            let told = |shard: &Shard| shard.properties.get(key).cloned().unwrap_or_else(|| "nothing".into());
            return Err(Error::new(format!(
                "expected samples of one kind, found some whose {key} is {} and some whose {key} is {}",
                told(self),
                told(other)
            ))
            .hint("calibrate all of them with the same preprocessing"));
        }
        let names = || self.channels.keys().chain(other.channels.keys());
        if let Some(name) = names().find(|name| self.channels.get(*name) != other.channels.get(*name)) {
            let told = |shard: &Shard| shard.channels.get(name).map_or("nothing".into(), |s| describe(*s));
            return Err(Error::new(format!(
                "expected statistics of the same values, found {} here and {} there",
                told(self),
                told(other)
            ))
            .at_value(name)
            .hint("calibrate all of them with the same configuration"));
        }
        let mut merged = Stats::default();
        merged.merge(&self.stats);
        merged.merge(&other.stats);
        self.stats = merged;
        self.runs.extend(&other.runs);
        Ok(())
    }

    /// Refuses the statistics of another graph than this float one.
    pub fn check_model(&self, g: &Graph) -> Result<()> {
        self.model.check(Fingerprint::of(g))
    }

    /// Refuses statistics that lack a value which this annotated graph waits for.
    pub fn check_values(&self, annotated: &Graph) -> Result<()> {
        for (v, sharing) in wanted(annotated) {
            let name = source_name(annotated, v);
            let wrong = |what: String, hint: &str| {
                Err(Error::new(format!("expected statistics of what the configuration observes, {what}"))
                    .at_value(name)
                    .hint(hint))
            };
            match (sharing, self.channels.get(name)) {
                (_, None) => {
                    let what = "found none of this value: it observes more than there are";
                    return wrong(what.into(), "calibrate with the same configuration");
                }
                (Sharing::Tensor, Some(_)) => {}
                (wanted, Some(found)) if wanted == *found => {}
                (wanted, Some(found)) => {
                    let what = format!("{} of this value, found {}", describe(wanted), describe(*found));
                    return wrong(
                        what,
                        "channels are observed where they are asked for: lowbit calibrate --set input.per=channel, or the same choice for the same layers",
                    );
                }
            }
        }
        Ok(())
    }
}

/// What leaves layers and the model, where nothing waits for it yet, and what is the same integers as another value and
/// needs not be under another configuration.
fn others(model: &Graph, annotated: &Graph, wanted: &[Wanted]) -> Vec<Wanted> {
    let layers = model.nodes().filter(|(_, n)| n.op.is_layer()).flat_map(|(_, n)| n.outputs.iter().copied());
    let placeholders =
        annotated.nodes().filter(|(id, n)| matches!(n.op, Op::Simulate(_)) && !is_weight(annotated, *id));
    let narrow = placeholders.filter_map(|(id, _)| observed(annotated, id));
    let all: BTreeSet<ValueId> = layers.chain(leaving(model)).chain(narrow).collect();
    let observable =
        |v: &ValueId| annotated.has_value(*v) && annotated.ty(*v).dtype.is_float() && annotated.constant(*v).is_none();
    let new = |v: &ValueId| wanted.iter().all(|(of, _)| of != v);
    all.into_iter().filter(|v| observable(v) && new(v)).map(|v| (v, Sharing::Tensor)).collect()
}

/// What leaves a model, and what is only moved, limited or joined on its way out: integers that leave are those.
fn leaving(model: &Graph) -> BTreeSet<ValueId> {
    let (mut todo, mut found) = (model.outputs.clone(), BTreeSet::new());
    while let Some(v) = todo.pop() {
        let moves = |n: &&Node| n.op.category() == Category::Transform || matches!(n.op, Op::Relu | Op::Clip { .. });
        if found.insert(v)
            && let Some(node) = model.producer(v).map(|id| model.node(id)).filter(moves)
        {
            todo.extend(node.operands());
        }
    }
    found
}

fn describe(sharing: Sharing) -> String {
    match sharing {
        Sharing::Tensor => "the whole tensor".into(),
        Sharing::Channel(axis) => format!("the channels along axis {axis}"),
        Sharing::Block { axis, size } => format!("the blocks of {size} along axis {axis}"),
    }
}

/// FNV-1a: it tells models apart, and resists nobody who wants it not to.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_weights_from_operators() {
        let of = |text: &str| Fingerprint::of(&lowbit_ir::text::parse(text).unwrap());
        let text =
            "graph \"g\" {\n  input %x: f32[1x2]\n  const %c: f32[2] = [1, 2]\n  %y = Add(%x, %c)\n  output %y\n}\n";
        let g = of(text);
        assert_eq!(of(&text.replace("\"g\"", "\"other\"")), g);
        let weights = of(&text.replace("[1, 2]", "[1, 3]"));
        assert!(weights.structure == g.structure && weights.whole != g.whole);
        for other in [text.replace("Add", "Mul"), text.replace("%x", "%z"), text.replace("[1x2]", "[3x2]")] {
            assert!(of(&other).structure != g.structure, "{other}");
        }
    }
}
