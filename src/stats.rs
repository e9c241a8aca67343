//! Files of statistics: what [`Model::calibrate`](crate::Model::calibrate) saw, for quantizing without the data.

use lowbit_frontend::files;
use lowbit_ir::{Error, Result};
use lowbit_quantize::calibrate::{file, is_checkpoint};
use lowbit_quantize::{Checkpoint, Shard};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// A checkpoint of calibration in a file: what [`Quantize::checkpoint`](crate::Quantize::checkpoint) goes on from if it is
/// there, and keeps while it goes on. Who quantizes removes it when all is done, by [`done`]; set its `stop` to end before that.
///
/// # Errors
///
/// Where the file is there and is something else, which a checkpoint would replace.
pub fn checkpoint(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref().to_owned();
    let name = format!("'{}'", path.display());
    let reading = name.clone();
    let load = {
        let path = path.clone();
        move || match path.exists() {
            true => files::read(&path).map(Some).map_err(|e| e.context(format!("reading {reading}"))),
            false => Ok(None),
        }
    };
    if load()?.is_some_and(|bytes| !is_checkpoint(&bytes)) {
        return Err(Error::new(format!("expected a checkpoint of a calibration in {name}, found something else"))
            .hint("another name: what is there would be replaced"));
    }
    let save = move |bytes: &[u8]| files::write(&path, |file| file.write_all(bytes));
    Ok(Checkpoint { name, load: Arc::new(load), save: Arc::new(save), stop: Arc::new(|| false) })
}

/// Removes the file of a checkpoint when all is done; it need not be there.
pub fn done(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match path.exists() {
        true => {
            std::fs::remove_file(path).map_err(|e| Error::from(e).context(format!("removing '{}'", path.display())))
        }
        false => Ok(()),
    }
}

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
    let mut added = vec![(first.as_ref(), all.runs.clone())];
    for path in rest {
        let (path, one) = (path.as_ref(), load(path)?);
        // Of several the one that has the same samples, if any has.
        let twin = added.iter().find(|(_, runs)| !runs.is_disjoint(&one.runs)).map_or(first.as_ref(), |(twin, _)| twin);
        all.merge(&one).map_err(|e| e.context(format!("adding '{}' to '{}'", path.display(), twin.display())))?;
        added.push((path, one.runs));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, Quantize, Tensor};

    #[test]
    fn files_of_shards_quantize_in_any_order() {
        let text = "graph \"g\" {\n  input %x: f32[Nx2]\n  const %w: f32[2x2] = [1, 2, -3, 4]\n  %y = MatMul(%x, %w)\n  output %y\n}\n";
        let model = Model::from(lowbit_ir::text::parse(text).unwrap());
        let samples = |x: f32| vec![vec![Tensor::from_f32(&[1, 2], vec![x, -x / 2.0]).unwrap()]];
        let folder = std::env::temp_dir().join(format!("lowbit-stats-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let paths = ["a", "b"].map(|name| folder.join(name));
        for (path, x) in paths.iter().zip([1.0, -7.0]) {
            let shard = model.calibrate(Quantize::default().data(samples(x))).unwrap();
            assert_eq!(save(&shard, path).unwrap(), std::fs::metadata(path).unwrap().len());
            assert_eq!(load(path).unwrap(), shard);
        }
        let [a, b] = &paths;
        let all = load_all(&[a, b]).unwrap();
        assert_eq!(all, load_all(&[b, a]).unwrap());
        assert_eq!(all.stats.samples, 2);
        // A copy is the same samples, whatever its name.
        let copy = folder.join("copy");
        std::fs::copy(b, &copy).unwrap();
        let twice = load_all(&[a, b, &copy]).unwrap_err().to_string();
        assert!(twice.contains("it would count twice") && twice.contains("copy' to '"), "{twice}");
        assert!(twice.contains(&format!("to '{}'", b.display())), "{twice}");
        let quantized = model.quantize(Quantize::default().stats(all.clone())).unwrap();
        assert_eq!(quantized.report.integer_macs_percent, 100.0);
        let config = quantized.model.config().unwrap();
        assert!(!config.equalize && config.samples == 2);
        let both = model.quantize(Quantize::default().stats(all).data(samples(1.0))).unwrap_err().to_string();
        assert!(both.contains("found both"), "{both}");
        assert!(load(folder.join("none")).unwrap_err().to_string().contains("none"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
