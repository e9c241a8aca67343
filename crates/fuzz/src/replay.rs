//! The corpus on disk, and how it is changed where no fuzzer does it.

use crate::choices::Numbers;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the corpus of a target lies.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// What a corpus holds, by name, in the order of names.
///
/// # Errors
///
/// Those of the file system.
pub fn read(target: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder(target))? {
        let path = entry?.path();
        files.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), fs::read(&path)?));
    }
    files.sort();
    Ok(files)
}

/// Bytes with a few things changed: bits, numbers, runs that are left out, doubled or taken from another.
pub fn changed(bytes: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'{', b'-'];
    let mut out = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(out.len().max(1));
        let run = numbers.below(16).min(out.len() - at.min(out.len()));
        match numbers.below(7) {
            0 | 1 if !out.is_empty() => out[at] ^= 1 << numbers.below(8),
            2 if !out.is_empty() => out[at] = numbers.pick(&ODD),
            3 => drop(out.drain(at..at + run)),
            4 => {
                let again = out.get(at..at + run).unwrap_or_default().to_vec();
                out.splice(at..at, again);
            }
            5 if !other.is_empty() => {
                let from = numbers.below(other.len());
                let some = other.iter().skip(from).take(run).copied().collect::<Vec<u8>>();
                out.splice(at..(at + run).min(out.len()), some);
            }
            _ => out.truncate(out.len() - numbers.below(8).min(out.len())),
        }
    }
    out
}
