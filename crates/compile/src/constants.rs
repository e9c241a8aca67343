//! The constants of a program while it is being built: one run of bytes, every entry aligned.

use lowbit_kernels::SLACK;
use lowbit_runtime::Place;
use lowbit_runtime::memory::{ALIGN, Aligned, LEAD};
use std::collections::{BTreeMap, HashMap};

/// Bytes so far. Equal entries are stored once.
#[derive(Debug)]
pub struct Constants {
    /// All entries, behind [`LEAD`] bytes that count for nothing.
    bytes: Vec<u8>,
    known: HashMap<Vec<u8>, Place>,
    /// Where each entry ends, by where it starts.
    ends: BTreeMap<usize, usize>,
}

/// Entries up to this size are looked up before they are stored again: zero pixels, biases, tables.
const SHARED: usize = 4096;

impl Default for Constants {
    fn default() -> Self {
        Constants { bytes: vec![0; LEAD], known: HashMap::new(), ends: BTreeMap::new() }
    }
}

impl Constants {
    /// Stores bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Place {
        let shared = bytes.len() <= SHARED;
        // Looking up large ones would take longer than storing them: all of their bytes are hashed.
        if shared && let Some(place) = self.known.get(bytes) {
            return *place;
        }
        let at = self.next();
        self.bytes.extend_from_slice(bytes);
        let place = self.end(at);
        if shared {
            self.known.insert(bytes.to_vec(), place);
        }
        place
    }

    /// Stores numbers.
    pub fn numbers<T: Number>(&mut self, data: &[T]) -> Place {
        let size = size_of_val(data);
        if size <= SHARED {
            let mut bytes = vec![0; size];
            T::write(data, &mut bytes);
            return self.add(&bytes);
        }
        let at = self.next();
        self.bytes.resize(LEAD + at + size, 0);
        T::write(data, self.bytes.get_mut(LEAD + at..).unwrap_or_default());
        self.end(at)
    }

    /// Where the next entry starts.
    fn next(&mut self) -> usize {
        // Kernels may read a little beyond an entry; keeping that within the constants costs nothing.
        let at = self.len().next_multiple_of(ALIGN);
        self.bytes.resize(LEAD + at, 0);
        at
    }

    /// Ends the entry that starts there.
    fn end(&mut self, at: usize) -> Place {
        self.ends.insert(at, self.len());
        Place::Const(at)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - LEAD
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes from a place to the end of the entry that it lies in.
    pub fn rest(&self, at: usize) -> usize {
        self.ends.range(..=at).next_back().map_or(0, |(_, end)| end.saturating_sub(at))
    }

    /// All of them, aligned.
    pub fn finish(mut self) -> Aligned {
        let at = self.next();
        self.bytes.resize(LEAD + at + SLACK, 0);
        Aligned::taking(self.bytes)
    }
}

/// A number as it lies in memory.
pub trait Number: Copy + Default {
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
