//! NumPy's `.npy`: one array a file.
//!
//! Reading takes format versions 1 to 3, either byte order and either memory order.
//! Types that tensors lack are read as the next one: f8 as f32 (rounded), u4 and u8 as i64 (checked).
//! Writing takes every tensor; bf16 is written as f4, packed integers as i1 or u1.

use bytes::Bytes;
use lowbit_frontend::files;
use lowbit_ir::{DType, Error, Result, Tensor, Type, bail, memory};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Tensor> {
    files::read(path).and_then(|bytes| parse(bytes.into())).map_err(|e| in_file(path, e))
}

/// Writes a file in one piece: it holds the whole tensor or does not change.
pub fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    let encoded = encode(tensor).map_err(|e| e.context(format!("writing '{}'", path.display())))?;
    files::write(path, |file| encoded.write_to(file))
}

/// The array in the bytes of a file.
pub fn parse(bytes: Bytes) -> Result<Tensor> {
    let header = Header::parse(&bytes)?;
    let data = header.data_bytes(bytes.len() as u64)?;
    let data = bytes.slice(header.offset..header.offset + data);
    header.tensor(&header.dims, data)
}

/// A file whose first axis is read row by row, so that memory does not grow with the file.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    header: Header,
    /// The whole array, if its rows do not lie together.
    whole: Option<Tensor>,
}

impl Rows {
    /// Reads and checks the header.
    pub fn open(path: &Path) -> Result<Rows> {
        Self::open_within(path, memory::MAX_MEMORY)
    }

    /// As [`Rows::open`], with at most this many bytes for an array whose rows do not lie together.
    pub fn open_within(path: &Path, max_memory: usize) -> Result<Rows> {
        Self::open_unnamed(path, max_memory).map_err(|e| in_file(path, e))
    }

    fn open_unnamed(path: &Path, max_memory: usize) -> Result<Rows> {
        let file = files::open(path)?;
        let length = file.metadata()?.len();
        let mut head = Vec::new();
        file.take(MAX_HEADER as u64).read_to_end(&mut head)?;
        let header = Header::parse(&head)?;
        let bytes = header.data_bytes(length)?;
        let whole = match header.fortran && header.dims.len() > 1 {
            true => {
                memory::check("an array in Fortran order, which is read whole", bytes, max_memory)?;
                Some(read(path)?)
            }
            false => None,
        };
        Ok(Rows { path: path.to_owned(), header, whole })
    }

    /// The sizes of the array, its first axis included.
    pub fn dims(&self) -> &[usize] {
        &self.header.dims
    }

    /// Row `i` of the first axis, or the whole array for `None`.
    pub fn get(&self, i: Option<usize>) -> Result<Tensor> {
        match (i, &self.whole) {
            (None, Some(whole)) => Ok(whole.clone()),
            (None, None) => read(&self.path),
            (Some(i), Some(whole)) => row(whole, i),
            (Some(i), None) => self.read_row(i).map_err(|e| in_file(&self.path, e)),
        }
    }

    fn read_row(&self, i: usize) -> Result<Tensor> {
        let Some((count, dims)) = self.header.dims.split_first().filter(|(count, _)| i < **count) else {
            bail!("expected a row of an array {:?}, asked for row {i}", self.header.dims);
        };
        // The product of all dimensions was checked against the file, so this one cannot overflow.
        let size = self.header.data_bytes(u64::MAX)? / count;
        let mut data = vec![0; size];
        File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start((self.header.offset + i * size) as u64))?;
            file.read_exact(&mut data)
        })?;
        self.header.tensor(dims, data.into())
    }
}

/// Row `i` of a tensor's first axis, without that axis. Shares the tensor's bytes.
pub fn row(tensor: &Tensor, i: usize) -> Result<Tensor> {
    let Some((count, dims)) = tensor.dims().split_first().filter(|(count, _)| i < **count) else {
        bail!("expected a row of {}, asked for row {i}", tensor.ty());
    };
    if tensor.dtype().is_packed() {
        bail!("expected whole bytes, found {}", tensor.ty());
    }
    let size = tensor.bytes().len() / count;
    Tensor::from_bytes(tensor.ty().with_shape(dims.to_vec()), tensor.bytes().slice(i * size..(i + 1) * size))
}

fn in_file(path: &Path, e: Error) -> Error {
    e.context(format!("reading '{}'", path.display()))
}

/// How an element of a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F2,
    F4,
    F8,
    I1,
    U1,
    I2,
    U2,
    I4,
    U4,
    I8,
    U8,
    Bool,
}

impl Element {
    const ALL: [(&str, Element); 12] = {
        use Element::*;
        [
            ("f2", F2),
            ("f4", F4),
            ("f8", F8),
            ("i1", I1),
            ("u1", U1),
            ("i2", I2),
            ("u2", U2),
            ("i4", I4),
            ("u4", U4),
            ("i8", I8),
            ("u8", U8),
            ("b1", Bool),
        ]
    };

    fn size(self) -> usize {
        match self {
            Element::I1 | Element::U1 | Element::Bool => 1,
            Element::F2 | Element::I2 | Element::U2 => 2,
            Element::F4 | Element::I4 | Element::U4 => 4,
            Element::F8 | Element::I8 | Element::U8 => 8,
        }
    }

    /// Little-endian row-major elements as a tensor's dtype and bytes.
    fn convert(self, data: Bytes) -> Result<(DType, Bytes)> {
        Ok(match self {
            Element::F2 => (DType::F16, data),
            Element::F4 => (DType::F32, data),
            Element::F8 => (DType::F32, map(&data, |x| Ok((f64::from_le_bytes(x) as f32).to_le_bytes()))?),
            Element::I1 => (DType::I8, data),
            Element::U1 => (DType::U8, data),
            Element::I2 => (DType::I16, data),
            Element::U2 => (DType::U16, data),
            Element::I4 => (DType::I32, data),
            Element::U4 => (DType::I64, map(&data, |x| Ok(i64::from(u32::from_le_bytes(x)).to_le_bytes()))?),
            Element::I8 => (DType::I64, data),
            Element::U8 => {
                let checked = |x| {
                    let x = u64::from_le_bytes(x);
                    let wide = i64::try_from(x).map_err(|_| Error::new(format!("{x} does not fit in i64")))?;
                    Ok(wide.to_le_bytes())
                };
                (DType::I64, map(&data, checked)?)
            }
            Element::Bool => (DType::Bool, map(&data, |[x]: [u8; 1]| Ok([u8::from(x != 0)]))?),
        })
    }
}

/// Each group of `A` bytes as `B` bytes.
fn map<const A: usize, const B: usize>(data: &[u8], f: impl Fn([u8; A]) -> Result<[u8; B]>) -> Result<Bytes> {
    let (groups, _) = data.as_chunks::<A>();
    let mapped: Vec<[u8; B]> = groups.iter().map(|x| f(*x)).collect::<Result<_>>()?;
    Ok(mapped.into_flattened().into())
}

/// Headers are a line of text; NumPy itself refuses far shorter ones than this.
const MAX_HEADER: usize = 1 << 20;

/// What stands before the data.
#[derive(Debug, PartialEq)]
struct Header {
    element: Element,
    big_endian: bool,
    fortran: bool,
    dims: Vec<usize>,
    offset: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Header> {
        let short = || Error::new("truncated .npy header");
        let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
            bail!("expected an .npy file, found one without its signature");
        };
        let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (length, text) = match version {
            [1, _] => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
            [2 | 3, _] => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
            [major, minor] => bail!("expected .npy version 1 to 3, found {major}.{minor}"),
        }
        .ok_or_else(short)?;
        let offset = bytes.len() - text.len() + length;
        let text = text.get(..length).ok_or_else(short)?;
        let text = std::str::from_utf8(text).map_err(|_| Error::new("the .npy header is not text"))?;
        Literal { rest: text.trim() }.header(offset)
    }

    /// Bytes of the data, if a file of `length` bytes can hold them.
    fn data_bytes(&self, length: u64) -> Result<usize> {
        let size = self.dims.iter().try_fold(self.element.size(), |n, d| n.checked_mul(*d));
        size.filter(|n| n.checked_add(self.offset).is_some_and(|n| n as u64 <= length)).ok_or_else(|| {
            let has = length.saturating_sub(self.offset as u64);
            Error::new(format!("the .npy header says {:?}, but only {has} bytes of data follow", self.dims))
        })
    }

    /// The elements of an array of `dims` (all of it, or rows of one that lie together).
    fn tensor(&self, dims: &[usize], data: Bytes) -> Result<Tensor> {
        let size = self.element.size();
        let data = match self.fortran && dims.len() > 1 {
            true => Bytes::from(row_major(dims, size, &data)),
            false => data,
        };
        let data = match self.big_endian && size > 1 {
            true => data.chunks_exact(size).flat_map(|x| x.iter().rev().copied()).collect(),
            false => data,
        };
        let (dtype, data) = self.element.convert(data)?;
        Tensor::from_bytes(Type::plain(dtype, dims.to_vec()), data)
    }
}

/// Elements stored with the first axis fastest, reordered to the last axis fastest.
fn row_major(dims: &[usize], size: usize, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut coords = vec![0; dims.len()];
    for _ in 0..data.len() / size {
        let index = coords.iter().zip(dims).rev().fold(0, |n, (c, d)| n * d + c);
        out.extend_from_slice(&data[index * size..(index + 1) * size]);
        for (c, d) in coords.iter_mut().zip(dims).rev() {
            *c += 1;
            if *c < *d {
                break;
            }
            *c = 0;
        }
    }
    out
}

/// The Python literal of a header: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn header(mut self, offset: usize) -> Result<Header> {
        let (mut descr, mut fortran, mut dims) = (None, None, None);
        self.expect('{')?;
        while !self.accept('}') {
            let key = self.string()?;
            self.expect(':')?;
            match key {
                "descr" => descr = Some(self.descr()?),
                "fortran_order" => fortran = Some(self.boolean()?),
                "shape" => dims = Some(self.tuple()?),
                other => bail!("expected descr, fortran_order or shape in the .npy header, found '{other}'"),
            }
            if !self.accept(',') {
                self.expect('}')?;
                break;
            }
        }
        let (Some((element, big_endian)), Some(fortran), Some(dims)) = (descr, fortran, dims) else {
            bail!("expected descr, fortran_order and shape in the .npy header, found fewer");
        };
        Ok(Header { element, big_endian, fortran, dims, offset })
    }

    fn descr(&mut self) -> Result<(Element, bool)> {
        if self.rest.starts_with('[') {
            bail!("expected an array of numbers, found one of records");
        }
        let text = self.string()?;
        let name = text.trim_start_matches(['<', '>', '|', '=']);
        let found = Element::ALL.into_iter().find(|(known, _)| *known == name);
        let Some((_, element)) = found.filter(|_| text.len() - name.len() <= 1) else {
            let known: Vec<&str> = Element::ALL.iter().map(|(name, _)| *name).collect();
            bail!("expected an array of {}, found '{text}'", known.join(", "));
        };
        Ok((element, text.starts_with('>')))
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut dims = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            // Python 2 wrote long integers with an L.
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            dims.push(digits.parse().map_err(|_| self.unexpected("a size"))?);
            self.rest = rest.strip_prefix('L').unwrap_or(rest).trim_start();
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(dims)
    }

    fn boolean(&mut self) -> Result<bool> {
        for (text, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(text) {
                self.rest = rest.trim_start();
                return Ok(value);
            }
        }
        Err(self.unexpected("True or False"))
    }

    fn string(&mut self) -> Result<&'a str> {
        let quoted = ['\'', '"'].into_iter().find_map(|q| self.rest.strip_prefix(q)?.split_once(q));
        let (text, rest) = quoted.ok_or_else(|| self.unexpected("a string"))?;
        self.rest = rest.trim_start();
        Ok(text)
    }

    fn accept(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest).trim_start();
        rest.is_some()
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.accept(c) { Ok(()) } else { Err(self.unexpected(&format!("'{c}'"))) }
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found: String = self.rest.chars().take(20).collect();
        Error::new(format!("expected {expected} in the .npy header, found '{}'", found.escape_debug()))
    }
}

/// Header and data of a file to write.
pub(super) struct Encoded {
    header: Vec<u8>,
    data: Bytes,
}

impl Encoded {
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header)?;
        out.write_all(&self.data)
    }

    pub(super) fn len(&self) -> u64 {
        self.header.len() as u64 + self.data.len() as u64
    }
}

/// The tensor as version 1.0, row-major, little-endian, the data aligned to 64 bytes as NumPy aligns it.
pub(super) fn encode(tensor: &Tensor) -> Result<Encoded> {
    let bytes = |ints: Vec<i64>| Bytes::from(ints.into_iter().map(|v| v as u8).collect::<Vec<_>>());
    let same = || tensor.bytes().clone();
    let (descr, data) = match tensor.dtype() {
        DType::F32 => ("<f4", same()),
        DType::F16 => ("<f2", same()),
        DType::BF16 => ("<f4", tensor.floats()?.iter().flat_map(|x| x.to_le_bytes()).collect()),
        DType::I8 => ("|i1", same()),
        DType::U8 => ("|u1", same()),
        DType::I16 => ("<i2", same()),
        DType::U16 => ("<u2", same()),
        DType::I32 => ("<i4", same()),
        DType::I64 => ("<i8", same()),
        DType::Bool => ("|b1", bytes(tensor.ints()?)),
        DType::I4 | DType::I2 => ("|i1", bytes(tensor.ints()?)),
        DType::U4 | DType::U2 => ("|u1", bytes(tensor.ints()?)),
    };
    let shape: String = tensor.dims().iter().map(|d| format!("{d},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 11;
    let length = u16::try_from(padded + 1).map_err(|_| Error::new("too many dimensions for an .npy file"))?;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(length.to_le_bytes());
    header.extend(format!("{text:padded$}\n").bytes());
    Ok(Encoded { header, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_writers_are_read() {
        let parse = |text: &str| Literal { rest: text }.header(0);
        let plain = parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }").unwrap();
        assert_eq!((plain.element, plain.dims.as_slice(), plain.fortran), (Element::F4, &[2, 3][..], false));
        let odd = parse("{\"shape\":(5L,),\"fortran_order\":True,\"descr\":\">u8\"}").unwrap();
        assert_eq!(
            (odd.element, odd.big_endian, odd.dims.as_slice(), odd.fortran),
            (Element::U8, true, &[5][..], true)
        );
        assert_eq!(parse("{'descr': '|b1', 'fortran_order': False, 'shape': ()}").unwrap().dims, [0usize; 0]);
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<>f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        ] {
            let header = Literal { rest: text }.header(0);
            assert!(header.is_err(), "{text}: {header:?}");
        }
    }

    #[test]
    fn sizes_are_checked_before_anything_is_allocated() {
        let dims = vec![usize::MAX / 2, 3];
        let header = Header { element: Element::F4, big_endian: false, fortran: false, dims, offset: 128 };
        assert!(header.data_bytes(u64::MAX).is_err());
    }
}
