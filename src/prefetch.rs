//! Samples decoded ahead: while a network runs on one sample, other threads read the next ones.

use crate::data::{Dataset, Sample};
use crate::engine::cores;
use lowbit_ir::{Error, Result, Tensor};
use lowbit_quantize::Samples;
use std::collections::HashMap;
use std::sync::Mutex;

/// Samples read at once.
const AHEAD: usize = 16;

/// A data set seen through a small window of decoded samples.
pub struct Prefetch<'a> {
    data: &'a Dataset,
    /// Which samples are read, in order.
    order: Vec<usize>,
    window: Mutex<HashMap<usize, Result<Sample>>>,
    seen: Box<dyn Fn() + Sync + Send + 'a>,
}

impl<'a> Prefetch<'a> {
    /// An even spread of `n` samples over the data set (0: all of them).
    pub fn new(data: &'a Dataset, n: usize) -> Self {
        let n = if n == 0 { data.len() } else { n };
        Prefetch { data, order: data.spread(n), window: Mutex::default(), seen: Box::new(|| ()) }
    }

    /// Calls `seen` for every sample handed out, for progress.
    #[must_use]
    pub fn seen(self, seen: impl Fn() + Sync + Send + 'a) -> Self {
        Prefetch { seen: Box::new(seen), ..self }
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Sample `i` of the spread, with its label and name.
    pub fn get(&self, i: usize) -> Result<Sample> {
        (self.seen)();
        let mut window = self.window.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(sample) = window.remove(&i) {
            return sample;
        }
        // Whoever reads in order finds the next ones here; whoever jumps starts a new window.
        window.clear();
        let wanted: Vec<usize> = (i..self.order.len().min(i + AHEAD)).collect();
        let per = wanted.len().div_ceil(cores()).max(1);
        std::thread::scope(|scope| {
            let read = |part: &[usize]| -> Vec<(usize, Result<Sample>)> {
                part.iter().filter_map(|k| Some((*k, self.data.sample(*self.order.get(*k)?)))).collect()
            };
            let threads: Vec<_> = wanted.chunks(per).map(|part| scope.spawn(move || read(part))).collect();
            for thread in threads {
                window.extend(thread.join().unwrap_or_default());
            }
        });
        window.remove(&i).unwrap_or_else(|| {
            Err(Error::new(format!("expected a sample number below {}, found {i}", self.order.len())))
        })
    }
}

impl Samples for Prefetch<'_> {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        Ok(self.get(i)?.inputs.into_iter().map(|(_, tensor)| tensor).collect())
    }
}
