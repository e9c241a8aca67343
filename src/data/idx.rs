//! MNIST's idx format, plain or gzip: an images file and a labels file beside it.

use super::decode::Image;
use lowbit_frontend::files;
use lowbit_ir::{Error, Result, bail, memory};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Images and, if their file was found, labels.
#[derive(Debug)]
pub struct Idx {
    /// Number of images.
    pub count: usize,
    /// Pixels a row of an image.
    pub width: usize,
    /// Rows of an image.
    pub height: usize,
    /// One label an image.
    pub labels: Option<Vec<u32>>,
    pixels: Vec<u8>,
}

impl Idx {
    /// Reads an images file and the labels file whose name differs only in `labels-idx1` for `images-idx3`.
    /// Both are read whole, which is refused beyond `max_memory` bytes.
    pub fn open(path: &Path, max_memory: usize) -> Result<Idx> {
        let in_file = |path: &Path, e: Error| e.context(format!("reading '{}'", path.display()));
        let images = read(path, max_memory).map_err(|e| in_file(path, e))?;
        let [count, height, width] = images.dims[..] else {
            let found = images.dims.len();
            let e = Error::new(format!("expected idx images (3 dimensions: count, rows, columns), found {found}"));
            return Err(in_file(path, e.hint("give the images file of the pair; the labels are found beside it")));
        };
        let Some(labels_path) = labels_beside(path) else {
            return Ok(Idx { count, width, height, labels: None, pixels: images.data });
        };
        let labels = read(&labels_path, max_memory).map_err(|e| in_file(&labels_path, e))?;
        if labels.dims != [count] {
            let e = Error::new(format!("expected {count} labels, found dimensions {:?}", labels.dims));
            return Err(in_file(&labels_path, e));
        }
        let labels = Some(labels.data.into_iter().map(u32::from).collect());
        Ok(Idx { count, width, height, labels, pixels: images.data })
    }

    /// Image `i`.
    pub fn image(&self, i: usize) -> Result<Image> {
        let size = self.width * self.height;
        let Some(pixels) = i.checked_mul(size).and_then(|from| self.pixels.get(from..from.checked_add(size)?)) else {
            bail!("expected an image number below {}, found {i}", self.count);
        };
        Image::new(self.width, self.height, 1, pixels.to_vec())
    }
}

/// Whether a file name is that of idx images, as `train-images-idx3-ubyte.gz`.
pub fn is_images_name(name: &str) -> bool {
    name.contains("idx3") && name.contains("images")
}

/// The labels file of an images file, with or without `.gz`.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    if !is_images_name(name) {
        return None;
    }
    let same = name.replace("images", "labels").replace("idx3", "idx1");
    let other = match same.strip_suffix(".gz") {
        Some(plain) => plain.to_owned(),
        None => format!("{same}.gz"),
    };
    [same, other].into_iter().map(|name| images.with_file_name(name)).find(|path| path.is_file())
}

/// One idx file of bytes.
struct Raw {
    dims: Vec<usize>,
    data: Vec<u8>,
}

fn read(path: &Path, max_memory: usize) -> Result<Raw> {
    let mut file = BufReader::new(files::open(path)?);
    let length = file.get_ref().metadata()?.len();
    match file.fill_buf()?.starts_with(b"\x1f\x8b") {
        // Deflate shrinks at most 1032 to 1.
        true => parse(flate2::bufread::MultiGzDecoder::new(file), length.saturating_mul(1032), max_memory),
        false => parse(file, length, max_memory),
    }
}

/// Parses a stream that can hold at most `most` bytes, and checks the header against that and against what is allowed before
/// it allocates.
fn parse(mut stream: impl Read, most: u64, max_memory: usize) -> Result<Raw> {
    let broken = |e: std::io::Error| Error::new(format!("truncated or corrupt idx file: {e}"));
    let mut magic = [0; 4];
    stream.read_exact(&mut magic).map_err(broken)?;
    let [0, 0, kind, rank] = magic else {
        bail!("expected an idx file (two zero bytes first), found {magic:?}");
    };
    if kind != 8 {
        bail!("expected an idx file of unsigned bytes (type 8), found type {kind}");
    }
    let mut dims = Vec::new();
    for _ in 0..rank {
        let mut dim = [0; 4];
        stream.read_exact(&mut dim).map_err(broken)?;
        dims.push(u32::from_be_bytes(dim) as usize);
    }
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n as u64 <= most);
    let Some(count) = count else {
        bail!("the idx header says {dims:?}, the file is too short for that");
    };
    memory::check("an idx file, which is read whole", count, max_memory)?;
    let mut data = Vec::with_capacity(count.min(1 << 20));
    // One byte more than is due shows a file that goes on.
    stream.take(count as u64 + 1).read_to_end(&mut data).map_err(broken)?;
    if data.len() != count {
        let found = if data.len() > count { "more".to_owned() } else { data.len().to_string() };
        bail!("the idx header says {count} bytes ({dims:?}), found {found}");
    }
    Ok(Raw { dims, data })
}
