//! The constants of a program while it is being built: one run of bytes, every entry aligned.

use lowbit_ir::Result;
use lowbit_kernels::SLACK;
use lowbit_runtime::Place;
use lowbit_runtime::memory::{ALIGN, Aligned};
use std::collections::{BTreeMap, HashMap};

/// Bytes so far. Equal entries are stored once.
#[derive(Debug, Default)]
pub struct Constants {
    bytes: Vec<u8>,
    known: HashMap<Vec<u8>, Place>,
    /// Where each entry ends, by where it starts.
    ends: BTreeMap<usize, usize>,
}

/// Entries up to this size are looked up before they are stored again: zero pixels, biases, tables.
const SHARED: usize = 4096;

impl Constants {
    /// Stores bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Place {
        if let Some(place) = self.known.get(bytes) {
            return *place;
        }
        // Kernels may read a little beyond an entry; keeping that within the constants costs nothing.
        let at = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(bytes);
        self.ends.insert(at, self.bytes.len());
        let place = Place::Const(at);
        if bytes.len() <= SHARED {
            self.known.insert(bytes.to_vec(), place);
        }
        place
    }

    /// Stores 32-bit floats.
    pub fn f32s(&mut self, data: &[f32]) -> Place {
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(&bytes)
    }

    /// Stores 32-bit integers.
    pub fn i32s(&mut self, data: &[i32]) -> Place {
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(&bytes)
    }

    /// Stores signed bytes.
    pub fn i8s(&mut self, data: &[i8]) -> Place {
        let bytes: Vec<u8> = data.iter().map(|v| *v as u8).collect();
        self.add(&bytes)
    }

    /// Bytes from a place to the end of the entry that it lies in.
    pub fn rest(&self, at: usize) -> usize {
        self.ends.range(..=at).next_back().map_or(0, |(_, end)| end.saturating_sub(at))
    }

    /// All of them, aligned.
    pub fn finish(self) -> Result<Aligned> {
        let mut bytes = self.bytes;
        bytes.resize(bytes.len().next_multiple_of(ALIGN) + SLACK, 0);
        Aligned::copy_of(&bytes)
    }
}
