//! Statistics that outlive a run: what they are of, whether they fit, and how those of several runs become one.

use super::{Stats, file, observe_wanted, wanted, within};
use crate::{Options, Samples};
use lowbit_ir::request::Sharing;
use lowbit_ir::text::{Constants, print_with};
use lowbit_ir::{Engine, Error, Graph, Result, meta};
use std::collections::BTreeMap;
use std::fmt;

/// Statistics of some samples, and what they are of: what a file of statistics holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// The graph that was run.
    pub model: Fingerprint,
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
    pub fn gather(
        model: &Graph,
        annotated: &Graph,
        engine: &dyn Engine,
        samples: &dyn Samples,
        options: &Options,
    ) -> Result<Shard> {
        let room = |bins: usize| within(bins, options.max_memory).and_then(|()| file::check_bins(bins));
        let (stats, channels) = observe_wanted(annotated, engine, samples, options.config.samples, &room)?;
        Ok(Shard { model: Fingerprint::of(model), properties: samples.properties(), channels, stats })
    }

    /// Adds what other samples of the same model showed; the order of merging does not matter. Averages that depend on
    /// the order of the samples are forgotten.
    pub fn merge(&mut self, other: &Shard) -> Result<()> {
        self.model.check(other.model)?;
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
        Ok(())
    }

    /// Refuses the statistics of another graph than this float one.
    pub fn check_model(&self, g: &Graph) -> Result<()> {
        self.model.check(Fingerprint::of(g))
    }

    /// Refuses statistics that lack a value which this annotated graph waits for.
    pub fn check_values(&self, annotated: &Graph) -> Result<()> {
        for (v, request) in wanted(annotated) {
            let name = &annotated.value(v).name;
            let wrong = |what: String| {
                Err(Error::new(format!("expected statistics of what the configuration observes, {what}"))
                    .at_value(name)
                    .hint("calibrate with the same configuration"))
            };
            match (request.sharing, self.channels.get(name)) {
                (_, None) => return wrong("found none of this value: it observes more than there are".into()),
                (Sharing::Tensor, Some(_)) => {}
                (wanted, Some(found)) if wanted == *found => {}
                (wanted, Some(found)) => {
                    return wrong(format!("{} of this value, found {}", describe(wanted), describe(*found)));
                }
            }
        }
        Ok(())
    }
}

fn describe(sharing: Sharing) -> String {
    match sharing {
        Sharing::Tensor => "the whole tensor".into(),
        Sharing::Channel(axis) => format!("the channels along axis {axis}"),
        Sharing::Block { axis, size } => format!("the blocks of {size} along axis {axis}"),
    }
}

/// FNV-1a: it tells models apart, and resists nobody who wants it not to.
fn fnv(bytes: &[u8]) -> u64 {
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
