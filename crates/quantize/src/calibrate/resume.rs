//! Calibration that may be interrupted: what was seen so far as bytes, and whether it fits what goes on from it.
//!
//! ```text
//! checkpoint = "lowbitck" version:u32 samples done digest:u64* config statistics crc32:u32
//! ```
//!
//! `samples` is how many there are to run in all, `done` how many of them, from the first on, were run, with a digest of
//! each; `config` is the TOML that is in force, and `statistics` a file of statistics (see [`file`](super::file)),
//! whose values are named by their place.
//! Counting has no order and averages are kept as they were, so that whoever goes on from a checkpoint sees, to the bit,
//! what it would have seen without an end in between.

use super::file::{self, Reader, number, text};
use super::shard::{Fingerprint, Shard, fnv};
use super::{Stats, Wanted, source_name};
use crate::observe::Seen;
use crate::samples::Samples;
use lowbit_ir::{Error, Graph, Result, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a checkpoint starts with.
pub const MAGIC: [u8; 8] = *b"lowbitck";

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The time between two checkpoints at least.
const EVERY: Duration = Duration::from_secs(2);

/// Writing takes no more than this part of the time.
const SHARE: u32 = 20;

/// The time between two looks at whether to go on.
const LOOK: Duration = Duration::from_millis(200);

/// Keeps some bytes.
pub type Save = dyn Fn(&[u8]) -> Result<()> + Send + Sync;

/// How a calibration keeps what it has seen, so that another one can go on from there.
#[derive(Clone)]
pub struct Checkpoint {
    /// What errors call it.
    pub name: String,
    /// What was kept before; none at the beginning.
    pub load: Arc<dyn Fn() -> Result<Option<Vec<u8>>> + Send + Sync>,
    /// Keeps this in the place of what was kept before, whole or not at all.
    pub save: Arc<Save>,
    /// Asked now and then whether to end here: then what was seen is kept, and the calibration is an error that says so.
    pub stop: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether bytes begin as a checkpoint does.
pub fn is_checkpoint(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// What is kept beside the statistics themselves.
pub(super) struct Kept<'a> {
    pub checkpoint: &'a Checkpoint,
    /// Of the annotated graph, whose placeholders are what is observed.
    model: Fingerprint,
    config: &'a str,
    properties: BTreeMap<String, String>,
    wanted: &'a [Wanted],
    graph: &'a Graph,
    /// How many samples there are to run.
    samples: usize,
    written: Instant,
    looked: Instant,
    cost: Duration,
    /// Samples between two looks.
    stride: usize,
}

/// What a checkpoint holds.
#[derive(Default)]
pub(super) struct Begun {
    /// A digest of each sample that was run.
    pub digests: Vec<u64>,
    /// What was seen, in the order of what is wanted; empty if nothing was kept.
    pub seen: Vec<Seen>,
}

/// A digest of a sample.
pub(super) fn digest(sample: &[Tensor]) -> u64 {
    let mut bytes = Vec::new();
    for tensor in sample {
        bytes.extend(tensor.ty().to_string().as_bytes());
        bytes.extend(fnv(tensor.bytes()).to_le_bytes());
    }
    fnv(&bytes)
}

impl<'a> Kept<'a> {
    pub fn new(
        checkpoint: &'a Checkpoint,
        graph: &'a Graph,
        wanted: &'a [Wanted],
        config: &'a str,
        samples: (usize, &dyn Samples),
    ) -> Kept<'a> {
        let now = Instant::now();
        Kept {
            checkpoint,
            model: Fingerprint::of(graph),
            config,
            properties: samples.1.properties(),
            wanted,
            graph,
            samples: samples.0,
            written: now,
            looked: now,
            cost: Duration::ZERO,
            stride: 1,
        }
    }

    /// What was kept, if it is of this calibration.
    pub fn begun(&self) -> Result<Begun> {
        let Some(bytes) = (self.checkpoint.load)()? else { return Ok(Begun::default()) };
        let again = |e: Error| {
            e.hint("go on with what it was begun with; or name another file, or delete this one, to begin anew")
        };
        self.read(&bytes).map_err(|e| again(e).context(format!("going on from {}", self.checkpoint.name)))
    }

    fn read(&self, bytes: &[u8]) -> Result<Begun> {
        let content = file::checked(bytes, MAGIC, VERSION, "a checkpoint of a calibration")?;
        let mut reader = Reader::new(content);
        let samples = reader.number()?;
        let done = reader.count()?;
        let digests = (0..done).map(|_| reader.array().map(u64::from_le_bytes)).collect::<Result<Vec<u64>>>()?;
        let config = reader.text()?;
        let shard = file::read(reader.rest())?;
        // The configuration first: what it says also decides what the graph observes.
        if let Some((ours, theirs)) = other_line(self.config, &config) {
            return Err(Error::new(format!(
                "expected a checkpoint with the configuration in force, which says {ours}, found one that says {theirs}"
            )));
        }
        if shard.model != self.model {
            let what = match shard.model.structure == self.model.structure {
                true => "the same model with other weights",
                false => "another model, other sizes or another choice of what is quantized",
            };
            return Err(Error::new(format!(
                "expected a checkpoint of the model {}, found one of {}: {what}",
                self.model, shard.model
            )));
        }
        let keys = || self.properties.keys().chain(shard.properties.keys());
        if let Some(key) = keys().find(|key| self.properties.get(*key) != shard.properties.get(*key)) {
            let told = |of: &BTreeMap<String, String>| of.get(key).cloned().unwrap_or_else(|| "nothing".into());
            return Err(Error::new(format!(
                "expected a checkpoint of samples whose {key} is {}, found {}",
                told(&self.properties),
                told(&shard.properties)
            )));
        }
        if samples != self.samples as u64 || digests.len() > self.samples {
            return Err(Error::new(format!(
                "expected a checkpoint of {} samples, found one of {samples}, {} of them done",
                self.samples,
                digests.len()
            )));
        }
        let names: Vec<String> = (0..self.wanted.len()).map(|i| self.name(i)).collect();
        let fits = names.iter().zip(self.wanted).all(|(name, (_, sharing))| shard.channels.get(name) == Some(sharing));
        if !fits || shard.stats.values.len() != names.len() || shard.stats.samples != digests.len() as u64 {
            return Err(Error::new("expected a checkpoint of the values that are observed, found one of others"));
        }
        // Names begin with their place, so that their order is that of what is wanted.
        Ok(Begun { digests, seen: shard.stats.values.into_values().collect() })
    }

    /// Keeps what was seen.
    pub fn write(&mut self, digests: &[u64], seen: Vec<Seen>) -> Result<()> {
        let begin = Instant::now();
        let values: BTreeMap<String, Seen> = seen.into_iter().enumerate().map(|(i, s)| (self.name(i), s)).collect();
        let channels = self.wanted.iter().enumerate().map(|(i, (_, sharing))| (self.name(i), *sharing)).collect();
        let stats = Stats { samples: digests.len() as u64, values };
        let properties = self.properties.clone();
        let shard = Shard { model: self.model, runs: BTreeSet::new(), properties, channels, stats };
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        number(&mut out, self.samples as u64);
        number(&mut out, digests.len() as u64);
        digests.iter().for_each(|digest| out.extend(digest.to_le_bytes()));
        text(&mut out, self.config);
        out.extend(file::write(&shard)?);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        (self.checkpoint.save)(&out)?;
        (self.written, self.cost) = (Instant::now(), begin.elapsed());
        Ok(())
    }

    fn name(&self, i: usize) -> String {
        let value = self.wanted.get(i).map_or("", |(v, _)| source_name(self.graph, *v));
        format!("{i:08} {value}")
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= EVERY.max(self.cost * SHARE)
    }

    /// After how many samples to look again, so that nobody waits long who wants an end.
    pub fn stride(&mut self) -> usize {
        let took = self.looked.elapsed();
        self.looked = Instant::now();
        self.stride = match took < LOOK / 2 {
            true => (2 * self.stride).min(4096),
            false if took > LOOK => (self.stride / 2).max(1),
            false => self.stride,
        };
        self.stride
    }

    /// The error of an end that somebody wanted.
    pub fn stopped(&self, done: usize) -> Error {
        Error::new(format!("the calibration was stopped after {done} of {} samples, which are kept", self.samples))
            .hint("the same again goes on from there")
    }
}

/// The first line of two texts that is another.
fn other_line(ours: &str, theirs: &str) -> Option<(String, String)> {
    let (a, b): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let at = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i))?;
    let told = |lines: &[&str]| lines.get(at).map_or("nothing more".into(), |line| format!("'{line}'"));
    Some((told(&a), told(&b)))
}
