//! The constants of a program while it is being built: one run of bytes, every entry aligned.
//!
//! Packed weights are most of them. Their entries get places first and bytes last, when all sizes are known: by several
//! threads, straight into the program's memory.

use lowbit_ir::{Error, Result};
use lowbit_kernels::SLACK;
use lowbit_runtime::Place;
use lowbit_runtime::memory::{ALIGN, Aligned};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// Writes an entry, all of whose bytes are zero before.
type Fill = Box<dyn FnOnce(&mut [u8]) + Send>;

/// What an entry holds.
enum Content {
    /// These bytes.
    Known(Vec<u8>),
    /// What this writes.
    Later(Fill),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Known(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Later(_) => f.write_str("later"),
        }
    }
}

/// Entries so far. Equal ones are stored once where they are small.
#[derive(Debug, Default)]
pub struct Constants {
    /// Of each entry where it starts: where it ends, and what it holds.
    entries: BTreeMap<usize, (usize, Content)>,
    known: HashMap<Vec<u8>, Place>,
    len: usize,
}

/// Entries up to this size, of those that are known, are looked up before they are stored again: zero pixels, biases,
/// tables.
const SHARED: usize = 4096;

impl Constants {
    /// Stores bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Place {
        let shared = bytes.len() <= SHARED;
        // Looking up large ones would take longer than storing them: all of their bytes are hashed.
        if shared && let Some(place) = self.known.get(bytes) {
            return *place;
        }
        let place = self.put(bytes.len(), Content::Known(bytes.to_vec()));
        if shared {
            self.known.insert(bytes.to_vec(), place);
        }
        place
    }

    /// Stores numbers.
    pub fn numbers<T: Number>(&mut self, data: &[T]) -> Place {
        let mut bytes = vec![0; size_of_val(data)];
        T::write(data, &mut bytes);
        self.add(&bytes)
    }

    /// Makes room for `count` numbers that are written when all sizes are known, by whichever thread comes to them.
    pub fn later<T: Number>(&mut self, count: usize, fill: impl FnOnce(&mut [T]) + Send + 'static) -> Place {
        let fill = move |bytes: &mut [u8]| match bytemuck::try_cast_slice_mut(bytes) {
            Ok(numbers) => fill(numbers),
            // Entries are aligned for all numbers, so this does not happen; but then it is right too.
            Err(_) => {
                let mut numbers = vec![T::default(); count];
                fill(&mut numbers);
                T::write(&numbers, bytes);
            }
        };
        self.put(count * size_of::<T>(), Content::Later(Box::new(fill)))
    }

    fn put(&mut self, size: usize, content: Content) -> Place {
        // Kernels may read a little beyond an entry; keeping that within the constants costs nothing.
        let at = self.len.next_multiple_of(ALIGN);
        self.len = at + size;
        self.entries.insert(at, (self.len, content));
        Place::Const(at)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes from a place to the end of the entry that it lies in.
    pub fn rest(&self, at: usize) -> usize {
        self.entries.range(..=at).next_back().map_or(0, |(_, (end, _))| end.saturating_sub(at))
    }

    /// All of them, aligned, written by so many threads.
    pub fn finish(self, threads: usize) -> Result<Aligned> {
        let mut all = Aligned::zeroed(self.len.next_multiple_of(ALIGN) + SLACK)?;
        let mut rest = all.as_mut_slice();
        let (mut done, mut later) = (0, Vec::new());
        for (at, (end, content)) in self.entries {
            let (entry, beyond) = rest
                .split_at_mut_checked(end - done)
                .ok_or_else(|| Error::new("expected entries within the constants: a defect of the compiler"))?;
            let entry = entry.get_mut(at - done..).unwrap_or_default();
            (rest, done) = (beyond, end);
            match content {
                Content::Known(bytes) => entry.copy_from_slice(&bytes),
                Content::Later(fill) => later.push((entry, fill)),
            }
        }
        let count = threads.min(later.len());
        let jobs = Mutex::new(later.into_iter());
        let work = || {
            // The lock is held for taking an entry, not for writing it.
            let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((entry, fill)) = next() {
                fill(entry);
            }
        };
        std::thread::scope(|scope| {
            // A thread that the system refuses is not missed: this one takes what is left.
            (1..count).for_each(|_| drop(Builder::new().spawn_scoped(scope, work)));
            work();
        });
        Ok(all)
    }
}

/// A number as it lies in memory.
pub trait Number: bytemuck::Pod + Default + Send {
    /// Writes the bytes of many, for which there is room.
    fn write(of: &[Self], to: &mut [u8]);
}

macro_rules! numbers {
    ($($t:ty)*) => {
        $(impl Number for $t {
            fn write(of: &[Self], to: &mut [u8]) {
                let (places, _) = to.as_chunks_mut();
                places.iter_mut().zip(of).for_each(|(place, v)| *place = v.to_le_bytes());
            }
        })*
    };
}

numbers!(i8 i16 i32 i64 f32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_where_they_were_promised() {
        for threads in [1, 2, 7] {
            let mut constants = Constants::default();
            let first = constants.numbers(&[1i32, -2]);
            let later: Vec<Place> =
                (1..9).map(|i| constants.later(1000 * i, move |out: &mut [f32]| out.fill(i as f32))).collect();
            assert_eq!(constants.numbers(&[1i32, -2]), first);
            let nothing = constants.later(0, |out: &mut [i8]| out.fill(1));
            let last = constants.add(&[7; 5000]);
            let len = constants.len();
            assert!([first, nothing, last].iter().all(|p| matches!(p, Place::Const(at) if at % ALIGN == 0)));
            let all = constants.finish(threads).unwrap();
            assert!(all.len() >= len + SLACK);
            for (i, place) in (1..9).zip(later) {
                let Place::Const(at) = place else { panic!("{place:?}") };
                let floats: &[f32] = bytemuck::cast_slice(&all.as_slice()[at..at + 4000 * i]);
                assert!(floats.iter().all(|v| *v == i as f32));
            }
            let Place::Const(at) = last else { panic!("{last:?}") };
            assert_eq!(all.as_slice()[at..at + 5000], [7; 5000]);
        }
    }
}
