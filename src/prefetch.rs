//! Samples decoded ahead: while a network runs on one sample, other threads read the next ones.

use crate::data::{Dataset, Sample};
use crate::engine::cores;
use crate::model::NOISE;
use lowbit_ir::{Error, Result, Tensor, catching, meta};
use lowbit_quantize::Samples;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::thread::Builder;

/// Samples read at once, on each core: enough that the cores are done at about the same time.
const AHEAD: usize = 4;

/// Bytes of samples that are read at once, unless one alone is larger: some of the largest images would be gigabytes.
const AHEAD_BYTES: usize = 256 << 20;

/// Bytes of samples that are kept for those who come back, however many samples there are: corrections read the same few
/// again and again. Of arrays none, which are read as fast as they are copied.
const KEPT_BYTES: usize = 40 << 20;

/// A data set seen through a small window of decoded samples.
pub struct Prefetch<'a> {
    data: &'a Dataset,
    /// Which samples are read, in order.
    order: Vec<usize>,
    ahead: ReadAhead,
    seen: Box<dyn Fn() + Sync + Send + 'a>,
    until: Box<dyn Fn() -> Result<()> + Sync + Send + 'a>,
}

/// The samples of a list that are decoded at the moment.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    window: Mutex<Window>,
    /// Bytes that may be read ahead.
    ahead: usize,
    /// Bytes that may be kept.
    kept: usize,
}

#[derive(Debug, Default)]
struct Window {
    /// Read ahead, not yet asked for.
    ahead: HashMap<usize, Result<Sample>>,
    /// Asked for more than once, as many as fit. Tensors share their bytes with those handed out.
    kept: HashMap<usize, Sample>,
    /// Asked for at least once.
    asked: HashSet<usize>,
    bytes: usize,
    /// The last sample asked for, to guess the next ones from.
    last: Option<usize>,
    /// How many were read at once the last time.
    size: usize,
    /// Bytes of the largest sample so far.
    largest: usize,
}

impl ReadAhead {
    /// What is read ahead, and kept unless it lies `decoded` in its file, takes a part of what is allowed, so that there is
    /// room for who reads.
    pub(crate) fn within(max_memory: usize, decoded: bool) -> Self {
        let kept = if decoded { 0 } else { (max_memory / 8).min(KEPT_BYTES) };
        let ahead = (max_memory / 4).min(AHEAD_BYTES);
        ReadAhead { window: Mutex::default(), ahead, kept }
    }

    /// Sample `i` of `len`; `read` decodes one.
    pub(crate) fn get(&self, i: usize, len: usize, read: impl Fn(usize) -> Result<Sample> + Sync) -> Result<Sample> {
        let mut window = self.window.lock().unwrap_or_else(|e| e.into_inner());
        let step = window.last.and_then(|last| i.checked_sub(last)).filter(|d| *d > 0).unwrap_or(1);
        window.last = Some(i);
        if let Some(sample) = window.kept.get(&i) {
            return Ok(sample.clone());
        }
        if !window.ahead.contains_key(&i) {
            // Whoever reads in even steps finds the next ones here, twice as many each time; whoever jumps starts a new
            // window, so that no more is decoded in vain than was of use.
            let guessed = window.ahead.is_empty();
            let most = (self.ahead / window.largest.max(1)).clamp(1, AHEAD * cores());
            window.size = if guessed { (2 * window.size).clamp(1, most) } else { 1 };
            window.ahead = decode((i..len).step_by(step).take(window.size).collect(), &read);
        }
        let outside = || Err(Error::new(format!("expected a sample number below {len}, found {i}")));
        let sample = window.ahead.remove(&i).unwrap_or_else(outside)?;
        let bytes: usize = sample.inputs.iter().map(|(_, tensor)| tensor.bytes().len()).sum();
        window.largest = window.largest.max(bytes);
        let again = !window.asked.insert(i);
        if again && window.bytes + bytes <= self.kept {
            window.bytes += bytes;
            window.kept.insert(i, sample.clone());
        }
        Ok(sample)
    }
}

/// Decodes samples on all cores, of which this thread's is one: the memory that a thread allocates from stays when it
/// ends, so that the fewer are started, the less is held.
fn decode(wanted: Vec<usize>, read: &(impl Fn(usize) -> Result<Sample> + Sync)) -> HashMap<usize, Result<Sample>> {
    let per = wanted.len().div_ceil(cores()).max(1);
    let one = |i: &usize| (*i, catching("the decoder", || read(*i)));
    let part = |part: &[usize]| part.iter().map(one).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let mut parts = wanted.chunks(per);
        let own = parts.next().unwrap_or_default();
        let start = |other| (other, Builder::new().spawn_scoped(scope, move || part(other)));
        let others: Vec<_> = parts.map(start).collect();
        let own = part(own);
        // What a thread that the system refuses would have decoded, this one does.
        let joined = others.into_iter().flat_map(|(other, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(_) => part(other),
        });
        own.into_iter().chain(joined).collect()
    })
}

impl<'a> Prefetch<'a> {
    /// An even spread of `n` samples over the data set (0: all of them).
    pub fn new(data: &'a Dataset, n: usize) -> Self {
        let n = if n == 0 { data.len() } else { n };
        let ahead = ReadAhead::within(data.max_memory, data.is_decoded());
        Prefetch { data, order: data.spread(n), ahead, seen: Box::new(|| ()), until: Box::new(|| Ok(())) }
    }

    /// Calls `seen` for every sample handed out, for progress.
    #[must_use]
    pub fn seen(self, seen: impl Fn() + Sync + Send + 'a) -> Self {
        Prefetch { seen: Box::new(seen), ..self }
    }

    /// Asks before every sample whether it is still wanted; an error is what whoever asked for it gets.
    #[must_use]
    pub fn until(self, until: impl Fn() -> Result<()> + Sync + Send + 'a) -> Self {
        Prefetch { until: Box::new(until), ..self }
    }

    /// [`Dataset::check`] of these samples.
    pub fn check(&self) -> Result<()> {
        self.data.check(self.order.len())
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Sample `i` of the spread, with its label and name.
    pub fn get(&self, i: usize) -> Result<Sample> {
        (self.until)()?;
        (self.seen)();
        self.ahead.get(i, self.order.len(), |i| self.data.sample(self.order[i]))
    }
}

impl Samples for Prefetch<'_> {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn properties(&self) -> BTreeMap<String, String> {
        Samples::properties(self.data)
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        Ok(self.get(i)?.inputs.into_iter().map(|(_, tensor)| tensor).collect())
    }
}

/// Calibration takes a data set as it is, and reads ahead of itself.
impl Samples for Dataset {
    fn len(&self) -> usize {
        Dataset::len(self)
    }

    fn properties(&self) -> BTreeMap<String, String> {
        // What a preprocessing is made of can always be written.
        let json = self.preprocess().and_then(|p| p.to_json().ok());
        let preprocess = json.map(|json| (meta::PREPROCESS.to_string(), json));
        let noise = self.is_random().then(|| (NOISE.to_string(), "true".to_string()));
        preprocess.into_iter().chain(noise).collect()
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        let sample = self.ahead.get(i, Dataset::len(self), |i| Dataset::sample(self, i))?;
        Ok(sample.inputs.into_iter().map(|(_, tensor)| tensor).collect())
    }
}

impl Samples for &Dataset {
    fn len(&self) -> usize {
        Dataset::len(self)
    }

    fn properties(&self) -> BTreeMap<String, String> {
        Samples::properties(*self)
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        Samples::sample(*self, i)
    }
}
