//! NumPy's `.npz`: a zip of `.npy` files, stored or deflated. Arrays are read when asked for.

use super::npy;
use lowbit_frontend::files;
use lowbit_ir::{Error, Result, Tensor, bail};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An open file; only its table of contents is in memory.
#[derive(Debug)]
pub struct Npz {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl Npz {
    /// Opens a file and reads its table of contents.
    pub fn open(path: &Path) -> Result<Npz> {
        let file = files::open(path).map_err(|e| in_file(path, e))?;
        let archive = ZipArchive::new(BufReader::new(file))
            .map_err(|e| in_file(path, Error::new(format!("expected an .npz file (a zip of .npy files): {e}"))))?;
        Ok(Npz { path: path.to_owned(), archive })
    }

    /// The arrays' names, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.archive.file_names().filter_map(|name| name.strip_suffix(".npy")).map(str::to_owned).collect()
    }

    /// Bytes of an array once it is read, as the file says.
    pub fn size(&mut self, name: &str) -> Result<usize> {
        let entry = self.archive.by_name(&format!("{name}.npy"));
        let size = entry.map(|file| file.size()).map_err(|e| in_file(&self.path, Error::new(e.to_string())))?;
        // What does not fit the address space is larger than any limit.
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// Reads one array.
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        let array = self.extract(&format!("{name}.npy")).and_then(|bytes| npy::parse(bytes.into()));
        array.map_err(|e| in_file(&self.path, e.context(format!("reading array '{name}'"))))
    }

    fn extract(&mut self, entry: &str) -> Result<Vec<u8>> {
        let mut file = self.archive.by_name(entry).map_err(|e| Error::new(e.to_string()))?;
        // Deflate shrinks at most 1032 to 1; a larger claim is a lie, and nothing is allocated for it.
        let (size, most) = (file.size(), file.compressed_size().saturating_mul(1032));
        if size > most {
            bail!("the archive says {size} bytes, the file is too short for that");
        }
        let mut bytes = Vec::new();
        let enough = usize::try_from(size).is_ok_and(|size| bytes.try_reserve_exact(size + 1).is_ok());
        if !enough {
            bail!("expected {size} bytes of memory, found less");
        }
        // Reading on to the end makes the archive compare its checksum.
        (&mut file).take(size + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            bail!("the archive says {size} bytes, found {}", bytes.len());
        }
        Ok(bytes)
    }
}

/// Writes named arrays, uncompressed, in one piece: the file holds all of them or does not change.
///
/// Names take the suffix `.npy` inside, as NumPy has it. The same arrays make the same bytes.
pub fn write(path: &Path, arrays: &[(&str, &Tensor)]) -> Result<()> {
    let encoded = arrays
        .iter()
        .map(|(name, tensor)| Ok((format!("{name}.npy"), npy::encode(tensor)?)))
        .collect::<Result<Vec<_>>>()
        .map_err(|e| e.context(format!("writing '{}'", path.display())))?;
    files::write(path, |file| {
        let mut archive = ZipWriter::new(file);
        for (name, array) in &encoded {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(array.len() > u64::from(u32::MAX));
            archive.start_file(name.as_str(), options).map_err(io::Error::from)?;
            array.write_to(&mut archive)?;
        }
        archive.finish().map(drop).map_err(io::Error::from)
    })
}

fn in_file(path: &Path, e: Error) -> Error {
    e.context(format!("reading '{}'", path.display()))
}
