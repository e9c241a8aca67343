//! Files of statistics: what [`Model::calibrate`](crate::Model::calibrate) saw, for quantizing without the data.

use lowbit_frontend::files;
use lowbit_ir::{Error, Result};
use lowbit_quantize::Shard;
use lowbit_quantize::calibrate::file;
use std::io::Write;
use std::path::Path;

/// Writes statistics, whole or not at all; tells how many bytes they are.
pub fn save(shard: &Shard, path: impl AsRef<Path>) -> Result<u64> {
    let path = path.as_ref();
    let bytes = file::write(shard).map_err(|e| e.context(format!("writing '{}'", path.display())))?;
    files::write(path, |file| file.write_all(&bytes))?;
    Ok(bytes.len() as u64)
}

/// Reads statistics.
pub fn load(path: impl AsRef<Path>) -> Result<Shard> {
    let path = path.as_ref();
    let read = files::read(path).and_then(|bytes| file::read(&bytes));
    read.map_err(|e| e.context(format!("reading '{}'", path.display())))
}

/// Reads statistics of one model and adds them up; their order does not matter.
pub fn load_all(paths: &[impl AsRef<Path>]) -> Result<Shard> {
    let Some((first, rest)) = paths.split_first() else {
        return Err(Error::new("expected files of statistics, found none"));
    };
    let mut all = load(first)?;
    for path in rest {
        let (first, path) = (first.as_ref().display(), path.as_ref());
        all.merge(&load(path)?).map_err(|e| e.context(format!("adding '{}' to '{first}'", path.display())))?;
    }
    Ok(all)
}
