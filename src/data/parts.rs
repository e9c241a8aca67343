//! A folder of `.npy` or `.npz` files, in the order of their names: each holds one or more samples, whose sizes may be others
//! than those of the other files where the model leaves them open.

use super::{Array, InputSpec, open_arrays};
use lowbit_ir::{Error, Result, Tensor, bail};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The files of a folder. All but the one that was read last are closed.
#[derive(Debug)]
pub(super) struct Parts {
    files: Vec<PathBuf>,
    /// Of every file, the number of the sample after its last one.
    ends: Vec<usize>,
    latest: Mutex<Option<(usize, Arc<Vec<Array>>)>>,
}

/// The array files of a folder by name, if there is nothing else in it than these; what a dot hides is passed over.
pub(super) fn in_folder(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let failed = |e: std::io::Error| Error::from(e).context(format!("listing '{}'", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let array = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy") || e.eq_ignore_ascii_case("npz"));
        match (hidden, array) {
            (true, _) => {}
            (false, true) => found.push(path),
            (false, false) => return Ok(None),
        }
    }
    found.sort();
    Ok((!found.is_empty()).then_some(found))
}

impl Parts {
    /// Looks at every file; and the classes, if all files have some.
    pub fn open(files: Vec<PathBuf>, inputs: &[InputSpec], max_memory: usize) -> Result<(Parts, Option<Vec<u32>>)> {
        let (mut ends, mut classes, mut end) = (Vec::with_capacity(files.len()), Some(Vec::new()), 0usize);
        for file in &files {
            let opened = open_arrays(file, inputs, max_memory);
            let (_, labels, len) = opened.map_err(|e| e.context(format!("opening '{}'", file.display())))?;
            end = end.saturating_add(len);
            ends.push(end);
            match (&mut classes, labels) {
                (Some(all), Some(labels)) => all.extend(labels),
                (all, _) => *all = None,
            }
        }
        Ok((Parts { files, ends, latest: Mutex::default() }, classes))
    }

    /// Number of samples in all files.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The file of sample `i`, and its number there.
    pub fn find(&self, i: usize) -> Result<(usize, usize)> {
        let part = self.ends.partition_point(|end| *end <= i);
        if part >= self.files.len() {
            bail!("expected a sample number below {}, found {i}", self.len());
        }
        let first = part.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        Ok((part, i - first))
    }

    /// What a file is called in messages.
    pub fn name(&self, part: usize) -> String {
        self.files.get(part).map(|f| f.display().to_string()).unwrap_or_default()
    }

    /// Sample `i` of a file: a tensor for every input.
    pub fn sample(&self, part: usize, i: usize, inputs: &[InputSpec], max_memory: usize) -> Result<Vec<Tensor>> {
        let arrays = self.arrays(part, inputs, max_memory)?;
        arrays.iter().map(|array| array.sample(i)).collect()
    }

    fn arrays(&self, part: usize, inputs: &[InputSpec], max_memory: usize) -> Result<Arc<Vec<Array>>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, arrays)) = latest.as_ref().filter(|(at, _)| *at == part) {
            return Ok(arrays.clone());
        }
        let Some(file) = self.files.get(part) else { bail!("expected a file number below {}", self.files.len()) };
        *latest = None;
        let arrays = Arc::new(open_arrays(file, inputs, max_memory)?.0);
        *latest = Some((part, arrays.clone()));
        Ok(arrays)
    }
}
