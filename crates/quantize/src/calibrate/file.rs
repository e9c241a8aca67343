//! Statistics as bytes: the same statistics are the same bytes, on every machine.
//!
//! ```text
//! file    = "lowbitst" version:u32 structure:u64 whole:u64 samples runs properties values crc32:u32
//! runs    = count digest:u64*                          ascending
//! properties = count (key value)*                      sorted by key
//! values  = count (name channels seen)*                sorted by name
//! channels = 0 | 1 axis | 2 axis size                  tensor, channel, block
//! seen    = order min:f32 max:f32 zeros bins bins parts  bins above zero, bins below
//! order   = 0 | 1 | 2 low:f64 high:f64                 forgotten, of nothing, the moving averages
//! bins    = count (empty-bins-before count-of-values)* those that hold something, from zero outwards
//! parts   = count seen*                                the channels, which have none themselves
//! ```
//!
//! Fixed sizes are little-endian; every other number is a LEB128 in its shortest form, and a text is its length and
//! UTF-8. The checksum, CRC-32 of all bytes before it, finds damage; that a file which has a good one fits a model is
//! what its contents are checked for.

use super::Stats;
use super::shard::{Fingerprint, Shard};
use crate::observe::{Histogram, Moving, Parts, Seen};
use lowbit_ir::request::Sharing;
use lowbit_ir::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What a file starts with.
pub const MAGIC: [u8; 8] = *b"lowbitst";

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 2;

/// Bins that all statistics of a file may have together: 2 GiB in memory.
///
/// A few bytes can say that a histogram has all its bins, so that no limit on the size of a file would be one on the
/// memory.
const MOST_BINS: usize = 1 << 28;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// The bytes of a file.
pub fn write(shard: &Shard) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(shard.model.structure.to_le_bytes());
    out.extend(shard.model.whole.to_le_bytes());
    number(&mut out, shard.stats.samples);
    number(&mut out, shard.runs.len() as u64);
    shard.runs.iter().for_each(|run| out.extend(run.to_le_bytes()));
    number(&mut out, shard.properties.len() as u64);
    for (key, value) in &shard.properties {
        text(&mut out, key);
        text(&mut out, value);
    }
    number(&mut out, shard.stats.values.len() as u64);
    let mut budget = MOST_BINS;
    for (name, seen) in &shard.stats.values {
        text(&mut out, name);
        let sharing = shard.channels.get(name).copied().unwrap_or(Sharing::Tensor);
        let fields: &[usize] = match &sharing {
            Sharing::Tensor => &[0],
            Sharing::Channel(axis) => &[1, *axis],
            Sharing::Block { axis, size } => &[2, *axis, *size],
        };
        fields.iter().for_each(|n| number(&mut out, *n as u64));
        for histogram in std::iter::once(seen).chain(&seen.channels).map(|s| &s.histogram) {
            spend(&mut budget, histogram).map_err(|e| e.at_value(name))?;
        }
        write_seen(&mut out, seen);
        number(&mut out, seen.channels.len() as u64);
        seen.channels.iter().for_each(|channel| write_seen(&mut out, channel));
    }
    out.extend(crc32fast::hash(&out).to_le_bytes());
    Ok(out)
}

/// All of it but the channels.
fn write_seen(out: &mut Vec<u8>, seen: &Seen) {
    match seen.moving.map(|m| m.averages) {
        None => out.push(0),
        Some(None) => out.push(1),
        Some(Some((low, high))) => {
            out.push(2);
            out.extend(low.to_le_bytes());
            out.extend(high.to_le_bytes());
        }
    }
    let parts = seen.histogram.parts();
    out.extend(parts.min.to_le_bytes());
    out.extend(parts.max.to_le_bytes());
    number(out, parts.zeros);
    for bins in [&parts.positive, &parts.negative] {
        number(out, bins.len() as u64);
        let mut next = 0;
        for (i, count) in bins {
            number(out, (i - next) as u64);
            number(out, *count);
            next = i + 1;
        }
    }
}

/// Reads a file. Whatever the bytes are, the memory is bounded.
pub fn read(bytes: &[u8]) -> Result<Shard> {
    let again = |e: Error| e.hint("calibrate again");
    let content =
        checked(bytes, MAGIC, VERSION, "a file of statistics").map_err(|e| match bytes.starts_with(&MAGIC) {
            true => again(e),
            false => e.hint("such a file is written by: lowbit calibrate MODEL --data DATA -o FILE"),
        })?;
    let mut reader = Reader::new(content);
    let shard = reader.shard().map_err(again)?;
    match reader.rest.len() {
        0 => Ok(shard),
        n => Err(again(Error::new(format!("expected the end of the file, found {n} bytes more")))),
    }
}

/// What stands between the version and the checksum, of a file that begins so.
pub(super) fn checked<'a>(bytes: &'a [u8], magic: [u8; 8], newest: u32, what: &str) -> Result<&'a [u8]> {
    let cut_off = || Error::new(format!("expected {what}, found one that is cut off"));
    let (found, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
    if *found != magic {
        return Err(Error::new(format!("expected {what}, found something else")));
    }
    let (version, _) = rest.split_first_chunk().ok_or_else(cut_off)?;
    let version = u32::from_le_bytes(*version);
    if version != newest {
        return Err(Error::new(format!("expected {what} of version {newest}, found version {version}"))
            .hint("read it with the version of lowbit that wrote it"));
    }
    let damaged = || Error::new("expected the checksum of the file, found another: it is cut off or damaged");
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    content.get(magic.len() + size_of::<u32>()..).ok_or_else(damaged)
}

/// Takes things off the front of bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Bins that may still be kept.
    budget: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Reader { rest, budget: MOST_BINS }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn shard(&mut self) -> Result<Shard> {
        let model =
            Fingerprint { structure: u64::from_le_bytes(self.array()?), whole: u64::from_le_bytes(self.array()?) };
        let samples = self.number()?;
        if samples > MOST_SAMPLES {
            return Err(Error::new(format!("expected a number of samples, found {samples}")));
        }
        let mut runs = BTreeSet::new();
        for _ in 0..self.count()? {
            let run = u64::from_le_bytes(self.array()?);
            if runs.last().is_some_and(|last| *last >= run) {
                return Err(Error::new("expected the digests of runs in order, found others"));
            }
            runs.insert(run);
        }
        let mut properties = BTreeMap::new();
        for _ in 0..self.count()? {
            let (key, value) = (self.text()?, self.text()?);
            insert(&mut properties, key, value)?;
        }
        let (mut values, mut channels) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..self.count()? {
            let name = self.text()?;
            let (sharing, seen) = self.value().map_err(|e| e.at_value(&name))?;
            channels.insert(name.clone(), sharing);
            insert(&mut values, name, seen)?;
        }
        Ok(Shard { model, runs, properties, channels, stats: Stats { samples, values } })
    }

    fn value(&mut self) -> Result<(Sharing, Seen)> {
        let sharing = match self.number()? {
            0 => Sharing::Tensor,
            1 => Sharing::Channel(self.index()?),
            2 => Sharing::Block { axis: self.index()?, size: self.index()? },
            n => return Err(Error::new(format!("expected the kind of channels, found {n}"))),
        };
        let mut seen = self.seen()?;
        for _ in 0..self.count()? {
            seen.channels.push(self.seen()?);
        }
        Ok((sharing, seen))
    }

    /// All of it but the channels.
    fn seen(&mut self) -> Result<Seen> {
        let [order] = self.array()?;
        let moving = match order {
            0 => None,
            1 => Some(Moving { averages: None }),
            2 => {
                let (low, high) = (f64::from_le_bytes(self.array()?), f64::from_le_bytes(self.array()?));
                if !(low.is_finite() && high.is_finite() && low <= high) {
                    return Err(Error::new(format!("expected averages, found {low} and {high}")));
                }
                Some(Moving { averages: Some((low, high)) })
            }
            n => return Err(Error::new(format!("expected the kind of averages, found {n}"))),
        };
        let (min, max) = (f32::from_le_bytes(self.array()?), f32::from_le_bytes(self.array()?));
        let zeros = self.number()?;
        let parts = Parts { min, max, zeros, positive: self.bins()?, negative: self.bins()? };
        let histogram = Histogram::from_parts(&parts)?;
        spend(&mut self.budget, &histogram)?;
        Ok(Seen { histogram, moving, channels: Vec::new() })
    }

    fn bins(&mut self) -> Result<Vec<(usize, u64)>> {
        let mut next = 0usize;
        let mut bins = Vec::new();
        for _ in 0..self.count()? {
            let (empty, count) = (self.index()?, self.number()?);
            if count == 0 {
                return Err(Error::new("expected the bins that hold something, found an empty one"));
            }
            let i = next.saturating_add(empty);
            bins.push((i, count));
            next = i.saturating_add(1);
        }
        Ok(bins)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let length = self.count()?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or_else(ended)?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Error::new("expected text (UTF-8), found other bytes"))
    }

    /// How many things follow: each takes a byte at least.
    pub(super) fn count(&mut self) -> Result<usize> {
        let n = self.number()?;
        let left = self.rest.len();
        usize::try_from(n).ok().filter(|n| *n <= left).ok_or_else(|| {
            Error::new(format!("expected no more things than the {left} bytes that are left, found {n}"))
        })
    }

    fn index(&mut self) -> Result<usize> {
        let n = self.number()?;
        usize::try_from(n).map_err(|_| Error::new(format!("expected an index, found {n}")))
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if (part << shift) >> shift != part || (byte == 0 && shift > 0) {
                break;
            }
            n |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Error::new("expected a number in its shortest form, found another"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// So many samples nobody has run.
const MOST_SAMPLES: u64 = 1 << 53;

/// Adds what comes after all that is there.
fn insert<T>(to: &mut BTreeMap<String, T>, key: String, value: T) -> Result<()> {
    if to.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(Error::new(format!("expected names in order, found '{key}' after those behind it")));
    }
    to.insert(key, value);
    Ok(())
}

fn spend(budget: &mut usize, histogram: &Histogram) -> Result<()> {
    *budget = budget.checked_sub(histogram.kept()).ok_or_else(too_many)?;
    Ok(())
}

/// Refuses more bins than a file may have: asked while samples are run, since it is known long before the file is written.
pub(super) fn check_bins(bins: usize) -> Result<()> {
    if bins > MOST_BINS { Err(too_many()) } else { Ok(()) }
}

fn too_many() -> Error {
    Error::new(format!("expected up to {MOST_BINS} bins in a file of statistics, found more"))
        .hint("fewer scales per channel (input.per = \"tensor\")")
}

fn ended() -> Error {
    Error::new("expected more of the file, found its end")
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend(text.as_bytes());
}

pub(super) fn number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
