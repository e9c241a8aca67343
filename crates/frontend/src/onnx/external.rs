//! Data that a model leaves to other files: from inside its folder only, and no more than its tensors say they have.

use super::proto::TensorProto;
use crate::files;
use bytes::Bytes;
use lowbit_ir::{Error, Result, Type, memory};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The files beside a model, and what was read of them.
#[derive(Debug)]
pub struct External {
    /// The model's folder, if it has one.
    base: Option<PathBuf>,
    /// Bytes that may be read beyond what the files take.
    room: usize,
    /// Of every file, what was read of it and what it takes on the disk.
    read: HashMap<PathBuf, (u64, u64)>,
}

/// Where the data of a tensor lies.
struct Place<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Place<'a> {
    fn of(proto: &'a TensorProto) -> Result<Place<'a>> {
        let entry = |key: &str| proto.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
        let number = |key: &str| {
            let parsed =
                |v: &str| v.parse().map_err(|_| Error::new(format!("expected '{key}' as a number, found '{v}'")));
            entry(key).map(parsed).transpose()
        };
        let location = entry("location").filter(|l| !l.is_empty());
        let location = location.ok_or_else(|| Error::new("expected the location of external data, found none"))?;
        Ok(Place { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }

    /// Whether the name stays inside the folder, read as any system reads it.
    fn is_inside(&self) -> bool {
        let absolute = self.location.starts_with(['/', '\\']) || self.location.get(1..2) == Some(":");
        !absolute && !self.location.contains('\0') && self.location.split(['/', '\\']).all(|part| part != "..")
    }
}

impl External {
    /// Of a model in this folder; `room` is how many bytes may be read beyond what the files take on the disk.
    pub fn new(base: Option<&Path>, room: usize) -> External {
        External { base: base.map(Path::to_path_buf), room, read: HashMap::new() }
    }

    /// The bytes of a tensor, which must be as many as its sizes say.
    pub fn read(&mut self, proto: &TensorProto, expected: usize, ty: &Type) -> Result<Bytes> {
        let place = Place::of(proto)?;
        let location = place.location;
        let base = self.base.as_ref().ok_or_else(|| {
            Error::new(format!("the data is in the file '{location}', but the model was given without its folder"))
        })?;
        let outside = || Error::new(format!("expected external data inside the model's folder, found '{location}'"));
        if !place.is_inside() {
            return Err(outside());
        }
        let path = base.join(location);
        let fail = |e: Error| {
            e.context(format!("reading the external data file '{}'", path.display()))
                .hint("keep the data file beside the model, under the name the model gives it")
        };
        // A link may lead out although its name does not.
        // What to try is said here better than where no more is known than that there is no file.
        let real = |path: &Path| path.canonicalize().map_err(|e| fail(Error::new(Error::from(e).message())));
        let real_path = real(&path)?;
        if !real_path.starts_with(real(base)?) {
            return Err(outside());
        }
        // What the tensor says of itself comes first: no file is read because another number is large.
        let length = place.length.unwrap_or(expected as u64);
        if length != expected as u64 {
            return Err(Error::new(format!(
                "expected {expected} bytes of external data for {ty}, found a length of {length}"
            )));
        }
        let mut file = files::open(&real_path).map_err(fail)?;
        let found = file.metadata().map_err(|e| fail(e.into()))?;
        if place.offset.checked_add(length).is_none_or(|end| end > found.len()) {
            return Err(Error::new(format!(
                "expected {length} bytes at {} in external data file '{}', which has {}",
                place.offset,
                path.display(),
                found.len()
            ))
            .hint("the file is cut off, or is not the model's"));
        }
        self.count(&real_path, length, &found)?;
        part(&mut file, place.offset, expected).map_err(fail)
    }

    /// Compares what was read with what the files hold: tensors may share bytes, and a file may have holes, so that little
    /// on the disk is much in memory.
    fn count(&mut self, path: &Path, length: u64, found: &Metadata) -> Result<()> {
        let (read, _) = self.read.entry(path.to_path_buf()).or_insert((0, stored(found)));
        *read = read.saturating_add(length);
        let beyond = self.read.values().map(|(read, stored)| read.saturating_sub(*stored)).fold(0, u64::saturating_add);
        let beyond = usize::try_from(beyond).unwrap_or(usize::MAX);
        memory::check("external data beyond what its files take on the disk, up to this value's", beyond, self.room)
    }
}

/// The longest file that may lie where its name does, and so take no block of the disk.
#[cfg(unix)]
const INLINE: u64 = 64 << 10;

/// What a file takes on the disk, where the system tells; else its length.
///
/// A long file of no block is a hole from end to end. A file system that never tells is taken at its word too: what it
/// holds counts as memory then.
fn stored(found: &Metadata) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let blocks = found.blocks().saturating_mul(512);
        if blocks > 0 || found.len() > INLINE {
            return blocks.min(found.len());
        }
    }
    found.len()
}

fn part(file: &mut File, offset: u64, length: usize) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let enough = bytes.try_reserve_exact(length);
    enough.map_err(|_| Error::new(format!("expected {} of memory, found less", memory::text(length))))?;
    file.seek(SeekFrom::Start(offset))?;
    // Nothing is cleared that is read over: the file may be as large as memory.
    file.take(length as u64).read_to_end(&mut bytes)?;
    match bytes.len() == length {
        true => Ok(bytes.into()),
        false => Err(Error::new(format!("expected {length} bytes at {offset}, found {}", bytes.len()))),
    }
}
