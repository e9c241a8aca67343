//! A graph on many samples: several at a time, where the engine gains by it.
//!
//! A network on one sample leaves threads waiting for each other at every layer; samples on threads of their own wait for
//! nobody, and what is made of their results is made by the thread that has them in its caches.

use crate::samples::{Samples, spread};
use lowbit_ir::{Engine, Error, Graph, Outputs, Result, Run, Tensor, ValueId, catching};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// What runs, and on which samples.
pub(crate) struct Work<'a> {
    pub engine: &'a dyn Engine,
    pub graph: &'a Graph,
    pub taps: &'a [ValueId],
    pub samples: &'a dyn Samples,
    /// How many samples; 0 for all.
    pub limit: usize,
    /// How many of these, from the first on, were run before.
    pub skip: usize,
    /// What is done to a sample, for errors: `calibrating on`.
    pub doing: &'static str,
}

/// What is made of a sample's inputs and results.
type Look<'a, T> = dyn Fn(&[Tensor], &Outputs) -> Result<T> + Sync + 'a;

/// A sample with its place among all that are run.
type Numbered = (usize, usize, Vec<Tensor>);

/// Asked with how many samples are taken, skipped ones among them, while nothing else is in the works: tells after how many
/// more to ask again.
type Pause<'a> = dyn FnMut(usize) -> Result<usize> + 'a;

/// Nobody looks on.
pub(crate) fn no_pause(_: usize) -> Result<usize> {
    Ok(usize::MAX)
}

/// Runs up to `limit` samples, evenly spread, and tells how many these are with those that were skipped.
///
/// `look` is called by the thread that ran a sample, in any order; `take` gets what it gave on the calling thread, in the
/// order of the samples. Of several errors that of the first sample is given.
pub(crate) fn each_sample<T: Send>(
    work: &Work,
    look: &Look<T>,
    take: &mut dyn FnMut(T) -> Result<()>,
    pause: &mut Pause,
) -> Result<u64> {
    let all: Vec<usize> = spread(work.samples.len(), work.limit).collect();
    let numbers = all.get(work.skip..).unwrap_or_default();
    let Some(first) = numbers.first() else {
        work.engine.load(work.graph, work.taps)?;
        return Ok(all.len() as u64);
    };
    let mut first = Some(work.sample(*first)?);
    let mut runs = work.engine.load_side_by_side(work.graph, work.taps, first.as_deref().unwrap_or_default())?;
    if runs.is_empty() {
        return Err(Error::new("expected at least one run of the engine, found none"));
    }
    let mut sample = |i: usize| first.take().map_or_else(|| work.sample(i), Ok);
    let mut pause = |taken: usize| pause(work.skip + taken);
    if let [run] = runs.as_mut_slice() {
        let mut next = pause(0)?;
        for (place, i) in numbers.iter().enumerate() {
            take(run_one(&mut **run, look, &sample(*i)?).map_err(|e| at(work.doing, *i, e))?)?;
            if place + 1 == next || place + 1 == numbers.len() {
                next = pause(place + 1)?.saturating_add(place + 1);
            }
        }
        return Ok(all.len() as u64);
    }
    // Samples in the works, whose results are not taken yet: two for every run, so that none waits for the next one.
    let most = 2 * runs.len();
    let (hand_out, samples) = sync_channel(most);
    let (done, results) = channel();
    let (samples, doing) = (Mutex::new(samples), work.doing);
    std::thread::scope(|scope| {
        for mut run in runs {
            let (samples, done) = (&samples, done.clone());
            let started = Builder::new().spawn_scoped(scope, move || {
                while let Some((place, i, sample)) = next(samples) {
                    let result = catching("the engine", || run_one(&mut *run, look, &sample));
                    if done.send((place, result.map_err(|e| at(doing, i, e)))).is_err() {
                        return;
                    }
                }
            });
            // Those that run end when nobody hands them samples.
            started.map_err(|e| Error::new(format!("cannot start a thread: {e}")).hint("fewer threads"))?;
        }
        drop(done);
        conduct(numbers, most, &mut sample, hand_out, &results, take, &mut pause)
    })?;
    Ok(all.len() as u64)
}

/// Hands out samples and takes results in their order.
fn conduct<T>(
    numbers: &[usize],
    most: usize,
    sample: &mut dyn FnMut(usize) -> Result<Vec<Tensor>>,
    hand_out: SyncSender<Numbered>,
    results: &Receiver<(usize, Result<T>)>,
    take: &mut dyn FnMut(T) -> Result<()>,
    pause: &mut Pause,
) -> Result<()> {
    let gone = || Error::new("expected runs for all samples, found that they ended");
    let (mut handed, mut taken) = (0, 0);
    let mut early: BTreeMap<usize, Result<T>> = BTreeMap::new();
    let mut until = pause(0)?;
    while taken < numbers.len() {
        while handed < numbers.len().min(taken + most).min(until) {
            match sample(numbers[handed]) {
                Ok(sample) => hand_out.send((handed, numbers[handed], sample)).map_err(|_| gone())?,
                // Its turn comes after those that are in the works.
                Err(e) => {
                    early.insert(handed, Err(e));
                }
            }
            handed += 1;
        }
        while let Some(result) = early.remove(&taken) {
            take(result?)?;
            taken += 1;
            if taken == until || taken == numbers.len() {
                until = pause(taken)?.saturating_add(taken);
            }
        }
        if taken < numbers.len() && taken < handed {
            let (place, result) = results.recv().map_err(|_| gone())?;
            early.insert(place, result);
        }
    }
    Ok(())
}

/// The next sample that is handed out; none after the last one.
fn next(samples: &Mutex<Receiver<Numbered>>) -> Option<Numbered> {
    samples.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn run_one<T>(run: &mut dyn Run, look: &Look<T>, sample: &[Tensor]) -> Result<T> {
    look(sample, &run.run(sample)?)
}

impl Work<'_> {
    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        self.samples.sample(i).map_err(|e| at(self.doing, i, e))
    }
}

fn at(doing: &str, i: usize, e: Error) -> Error {
    e.context(format!("{doing} sample {i}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Gives back its input, the earlier the larger it is; refuses a negative one, and panics at infinity.
    struct Echo;

    impl Run for Echo {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs> {
            let x = inputs[0].floats()?[0];
            assert!(x.is_finite(), "{x} echoes for ever");
            std::thread::sleep(Duration::from_micros(500 / (1 + x.abs() as u64)));
            match x < 0.0 {
                true => Err(Error::new(format!("found {x}"))),
                false => Ok(Outputs { outputs: inputs.to_vec(), taps: Vec::new() }),
            }
        }
    }

    struct Echoes(usize);

    impl Engine for Echoes {
        fn name(&self) -> String {
            "echoes".into()
        }

        fn load(&self, _: &Graph, _: &[ValueId]) -> Result<Box<dyn Run>> {
            Ok(Box::new(Echo))
        }

        fn load_side_by_side(&self, _: &Graph, _: &[ValueId], _: &[Tensor]) -> Result<Vec<Box<dyn Run>>> {
            Ok((0..self.0).map(|_| Box::new(Echo) as Box<dyn Run>).collect())
        }
    }

    fn echoed(runs: usize, data: &[f32]) -> Result<Vec<f32>> {
        let samples: Vec<Vec<Tensor>> = data.iter().map(|x| vec![Tensor::scalar(*x)]).collect();
        let graph = Graph::default();
        let (engine, taps, doing) = (&Echoes(runs), [].as_slice(), "echoing");
        let work = Work { engine, graph: &graph, taps, samples: &samples, limit: 0, skip: 0, doing };
        let mut all = Vec::new();
        let look = |_: &[Tensor], outputs: &Outputs| Ok(outputs.outputs[0].floats()?[0]);
        let count = each_sample(
            &work,
            &look,
            &mut |x| {
                all.push(x);
                Ok(())
            },
            &mut no_pause,
        )?;
        assert_eq!(count, data.len() as u64);
        Ok(all)
    }

    #[test]
    fn results_come_in_the_order_of_the_samples() {
        let data: Vec<f32> = (0..50).map(|i| (i * 7 % 11) as f32).collect();
        for runs in [1, 2, 5] {
            assert_eq!(echoed(runs, &data).unwrap(), data);
            assert_eq!(echoed(runs, &[]).unwrap(), [0.0; 0]);
        }
    }

    #[test]
    fn at_a_pause_all_is_taken_that_was_run() {
        let samples: Vec<Vec<Tensor>> = (0..50).map(|i| vec![Tensor::scalar((i * 7 % 11) as f32)]).collect();
        for (runs, skip) in [(1, 0), (2, 0), (5, 0), (3, 20), (1, 49), (2, 50)] {
            let (engine, graph, doing) = (&Echoes(runs), Graph::default(), "echoing");
            let work = Work { engine, graph: &graph, taps: &[], samples: &samples, limit: 0, skip, doing };
            let (looked, taken) = (Mutex::new(skip), Mutex::new(skip));
            let look = |_: &[Tensor], _: &Outputs| {
                *looked.lock().unwrap() += 1;
                Ok(())
            };
            let mut take = |()| {
                *taken.lock().unwrap() += 1;
                Ok(())
            };
            let mut pauses = Vec::new();
            let mut pause = |done: usize| {
                assert_eq!((*looked.lock().unwrap(), *taken.lock().unwrap()), (done, done));
                pauses.push(done);
                Ok(7)
            };
            assert_eq!(each_sample(&work, &look, &mut take, &mut pause).unwrap(), 50);
            let mut all: Vec<usize> = (skip..50).step_by(7).collect();
            all.extend((skip < 50).then_some(50));
            assert_eq!(pauses, all);
        }
    }

    #[test]
    fn the_first_of_several_errors_is_told() {
        let mut data = [0.0; 30];
        (data[20], data[21], data[22]) = (-1.0, -5.0, f32::INFINITY);
        for runs in [1, 2, 5] {
            let error = echoed(runs, &data).unwrap_err().to_string();
            assert!(error.contains("found -1") && error.contains("echoing sample 20"), "{error}");
        }
        let panicked = echoed(3, &[0.0, f32::INFINITY]).unwrap_err().to_string();
        assert!(panicked.contains("the engine panicked: inf echoes"), "{panicked}");
        let none = echoed(0, &data).unwrap_err().to_string();
        assert!(none.contains("at least one run"), "{none}");
    }
}
