//! The container of parameters: arrays, then their names.
//!
//! ```text
//! u64 0x112, u64 reserved, u64 number of arrays, arrays, u64 number of names, names (u64 length, bytes)
//! ```
//!
//! An array came in four forms, told apart by its first four bytes: a magic number since version 0.12 (before, the
//! number of dimensions itself stood there, with sizes of 32 bits), a storage kind after it since 1.0, and other meanings
//! of "no dimensions" since 1.6. Sparse arrays are refused. All numbers are little-endian.

use crate::build::remarks::{Place, Remark};
use bytes::{Buf, Bytes};
use lowbit_ir::{DType, Error, Result, Shape, Tensor, Type, bail};
use std::collections::BTreeMap;

/// The first eight bytes of a list of arrays.
pub const LIST: u64 = 0x112;
const V1: u32 = 0xF993_FAC8;
const V2: u32 = 0xF993_FAC9;
const V3: u32 = 0xF993_FACA;

/// Most dimensions that an array has; in the oldest form this number stands where others have a magic one.
const MOST_DIMS: u32 = 32;

/// The arrays by name, `arg:` and `aux:` taken off, and what became another type.
pub fn read(bytes: Bytes) -> Result<(BTreeMap<String, Tensor>, Vec<Remark>)> {
    let mut at = Reader { rest: bytes };
    if at.rest.starts_with(b"PK\x03\x04") {
        return Err(Error::new("expected a list of arrays of MXNet 1.x, found a .npz file as MXNet 2 writes it")
            .hint("save the model with MXNet 1.x"));
    }
    if at.u64()? != LIST {
        return Err(Error::new("expected a list of MXNet arrays, found other data")
            .hint("check that the file is a .params file of mxnet.nd.save, Module or HybridBlock.export"));
    }
    at.u64()?;
    // Each takes more than a byte, so nothing is asked for that the file has no bytes for.
    let count = at.count("arrays")?;
    let mut arrays = Vec::with_capacity(count);
    for i in 0..count {
        arrays.push(array(&mut at).map_err(|e| e.context(format!("reading array {i} of {count}")))?);
    }
    let names = at.count("names")?;
    if names != count {
        return Err(Error::new(format!("expected a name for each of {count} arrays, found {names} names"))
            .hint("save the arrays as a dictionary"));
    }
    let (mut found, mut remarks) = (BTreeMap::new(), Vec::new());
    for made in arrays {
        let name = at.text()?;
        let name = name.strip_prefix("arg:").or_else(|| name.strip_prefix("aux:")).unwrap_or(&name).to_string();
        let Some((tensor, from)) = made else { continue };
        if let Some(from) = from {
            remarks.push(Remark::Type { from, to: tensor.dtype(), place: Place::Constant, value: name.clone() });
        }
        if found.insert(name.clone(), tensor).is_some() {
            return Err(Error::new("two arrays have this name").at_value(name));
        }
    }
    match at.rest.is_empty() {
        true => Ok((found, remarks)),
        false => bail!("expected the end of the file after the names, found {} more bytes", at.rest.len()),
    }
}

/// What is left of the file.
struct Reader {
    rest: Bytes,
}

impl Reader {
    fn take(&mut self, bytes: usize) -> Result<Bytes> {
        match bytes <= self.rest.len() {
            true => Ok(self.rest.split_to(bytes)),
            false => bail!("expected {bytes} more bytes, found the end of the file after {}", self.rest.len()),
        }
    }

    fn u32(&mut self) -> Result<u32> {
        self.take(4).map(|mut b| b.get_u32_le())
    }

    fn u64(&mut self) -> Result<u64> {
        self.take(8).map(|mut b| b.get_u64_le())
    }

    /// How many of something follow.
    fn count(&mut self, what: &str) -> Result<usize> {
        let count = self.u64()?;
        match usize::try_from(count).ok().filter(|n| *n <= self.rest.len()) {
            Some(n) => Ok(n),
            None => bail!("expected a number of {what}, found {count} where {} bytes are left", self.rest.len()),
        }
    }

    fn text(&mut self) -> Result<String> {
        let length = self.count("letters of a name")?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::new("expected a name in UTF-8"))
    }

    /// Dimensions of 32 or 64 bits.
    fn dims(&mut self, rank: u32, wide: bool) -> Result<Vec<usize>> {
        if rank > MOST_DIMS {
            bail!("expected an array of at most {MOST_DIMS} dimensions, found {rank}");
        }
        let mut dims = Vec::new();
        for _ in 0..rank {
            let size = if wide { self.u64()? } else { u64::from(self.u32()?) };
            dims.push(usize::try_from(size).map_err(|_| Error::new(format!("expected a size, found {size}")))?);
        }
        Ok(dims)
    }
}

/// What an array became: the tensor, and the type that it had if the graph lacks that. `None` for an empty place.
type Made = Option<(Tensor, Option<&'static str>)>;

/// One array.
fn array(at: &mut Reader) -> Result<Made> {
    let (version, rank) = match at.u32()? {
        V1 => (V1, at.u32()?),
        version @ (V2 | V3) => {
            let storage = at.u32()?;
            if storage != 0 {
                let kind = if storage == 1 { "row_sparse" } else { "csr" };
                return Err(Error::new(format!("sparse arrays ({kind}) are not supported"))
                    .hint("save it with tostype('default')"));
            }
            (version, at.u32()?)
        }
        rank @ 0..=MOST_DIMS => (0, rank),
        other => bail!("expected an array of MXNet, found {other:#x} in place of its version"),
    };
    match (version, rank) {
        // An array that is not there: it had no dimensions, until those of scalars were none.
        (V3, u32::MAX) | (0 | V1 | V2, 0) => return Ok(None),
        _ => {}
    }
    let dims = at.dims(rank, version != 0)?;
    // Where it was: kind and number of the device.
    at.take(8)?;
    let code = at.u32()?;
    elements(at, dims, code).map(Some)
}

fn elements(at: &mut Reader, dims: Vec<usize>, code: u32) -> Result<(Tensor, Option<&'static str>)> {
    let (from, width, to) = match code {
        0 => (None, 4, DType::F32),
        1 => (Some("f64"), 8, DType::F32),
        2 => (Some("f16"), 2, DType::F32),
        3 => (None, 1, DType::U8),
        4 => (None, 4, DType::I32),
        5 => (None, 1, DType::I8),
        6 => (None, 8, DType::I64),
        7 => (None, 1, DType::Bool),
        8 => (None, 2, DType::I16),
        9 => (None, 2, DType::U16),
        10 => (Some("u32"), 4, DType::I64),
        12 => (Some("bf16"), 2, DType::F32),
        other => bail!("elements of MXNet's type {other} are not supported"),
    };
    let count = Shape::known(&dims).count();
    let bytes = count.and_then(|n| n.checked_mul(width));
    let Some(bytes) = bytes else { bail!("expected an array that fits in memory, found sizes {dims:?}") };
    let raw = at.take(bytes)?;
    let ty = Type::plain(to, dims);
    let tensor = match code {
        1 => Tensor::from_floats(ty, narrowed(&raw)?)?,
        2 => Tensor::from_floats(ty, halves(&raw, |b| half::f16::from_le_bytes(b).to_f32()))?,
        10 => Tensor::from_ints(ty, &raw.chunks_exact(4).map(|mut b| i64::from(b.get_u32_le())).collect::<Vec<_>>())?,
        12 => Tensor::from_floats(ty, halves(&raw, |b| half::bf16::from_le_bytes(b).to_f32()))?,
        _ => Tensor::from_bytes(ty, raw)?,
    };
    Ok((tensor, from))
}

fn halves(raw: &[u8], make: impl Fn([u8; 2]) -> f32) -> Vec<f32> {
    raw.as_chunks::<2>().0.iter().map(|b| make(*b)).collect()
}

/// Doubles to the nearest f32; what is finite must stay so.
fn narrowed(raw: &[u8]) -> Result<Vec<f32>> {
    let narrow = |b: &[u8; 8]| {
        let wide = f64::from_le_bytes(*b);
        match wide as f32 {
            x if x.is_infinite() && wide.is_finite() => bail!("expected numbers within f32, found {wide:e}"),
            x => Ok(x),
        }
    };
    raw.as_chunks::<8>().0.iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(arrays: &[Vec<u8>], names: &[&str]) -> Bytes {
        let mut file = Vec::new();
        file.extend(LIST.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend((arrays.len() as u64).to_le_bytes());
        file.extend(arrays.concat());
        file.extend((names.len() as u64).to_le_bytes());
        for name in names {
            file.extend((name.len() as u64).to_le_bytes());
            file.extend(name.as_bytes());
        }
        file.into()
    }

    /// Header words of 32 bits, dimensions of 32 or 64, device, type, data.
    fn one(head: &[u32], dims: &[u64], wide: bool, code: u32, data: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> = head.iter().flat_map(|w| w.to_le_bytes()).collect();
        for d in dims {
            match wide {
                true => out.extend(d.to_le_bytes()),
                false => out.extend((*d as u32).to_le_bytes()),
            }
        }
        out.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(code.to_le_bytes());
        out.extend(data);
        out
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn all_versions_of_the_container() {
        let data = floats(&[1.5, -2.0]);
        let forms = [
            one(&[2], &[1, 2], false, 0, &data),
            one(&[V1, 2], &[1, 2], true, 0, &data),
            one(&[V2, 0, 2], &[1, 2], true, 0, &data),
            one(&[V3, 0, 2], &[1, 2], true, 0, &data),
        ];
        for form in forms {
            let (found, remarks) = read(list(&[form], &["arg:w"])).unwrap();
            assert_eq!(found["w"].dims(), [1, 2]);
            assert_eq!(*found["w"].floats().unwrap(), [1.5, -2.0]);
            assert!(remarks.is_empty());
        }
    }

    #[test]
    fn every_type_of_element() {
        let cases: &[(u32, Vec<u8>, DType, f32)] = &[
            (1, 2.5f64.to_le_bytes().to_vec(), DType::F32, 2.5),
            (2, half::f16::from_f32(2.5).to_le_bytes().to_vec(), DType::F32, 2.5),
            (12, half::bf16::from_f32(2.5).to_le_bytes().to_vec(), DType::F32, 2.5),
            (3, vec![7], DType::U8, 7.0),
            (4, (-7i32).to_le_bytes().to_vec(), DType::I32, -7.0),
            (5, vec![0xF9], DType::I8, -7.0),
            (6, (-7i64).to_le_bytes().to_vec(), DType::I64, -7.0),
            (8, (-7i16).to_le_bytes().to_vec(), DType::I16, -7.0),
            (9, 7u16.to_le_bytes().to_vec(), DType::U16, 7.0),
            (10, 7u32.to_le_bytes().to_vec(), DType::I64, 7.0),
        ];
        for (code, data, dtype, value) in cases {
            let (found, remarks) = read(list(&[one(&[V2, 0, 1], &[1], true, *code, data)], &["aux:w"])).unwrap();
            assert_eq!(found["w"].dtype(), *dtype);
            assert_eq!(*found["w"].reals().unwrap(), [*value]);
            assert_eq!(remarks.len(), usize::from(matches!(code, 1 | 2 | 10 | 12)), "type {code}");
        }
    }

    #[test]
    fn empty_places_and_scalars() {
        let (nothing, scalar) = (
            one(&[V3, 0, u32::MAX], &[], true, 0, &[])[..12].to_vec(),
            one(&[V3, 0, 0], &[], true, 0, &floats(&[3.0])),
        );
        let (found, _) = read(list(&[nothing, scalar], &["none", "three"])).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["three"]);
        assert_eq!(found["three"].dims(), [0usize; 0]);
    }

    #[test]
    fn damaged_containers_are_refused() {
        let good = list(&[one(&[V2, 0, 1], &[2], true, 0, &floats(&[1.0, 2.0]))], &["w"]);
        for cut in 0..good.len() {
            read(good.slice(..cut)).unwrap_err();
        }
        let longer: Bytes = [&good[..], &[0]].concat().into();
        let huge = list(&[one(&[V2, 0, 2], &[1 << 40, 1 << 40], true, 0, &[])], &["w"]);
        let sparse = list(&[one(&[V2, 1, 1], &[2], true, 0, &[])], &["w"]);
        let twice = one(&[V2, 0, 1], &[1], true, 0, &floats(&[1.0]));
        let cases = [
            (longer, "1 more bytes"),
            (huge, "fits in memory"),
            (sparse, "row_sparse"),
            (list(&[twice.clone(), twice.clone()], &["arg:w", "aux:w"]), "two arrays"),
            (list(&[twice], &[]), "found 0 names"),
            (Bytes::from_static(b"PK\x03\x04 and more"), "MXNet 2"),
            (Bytes::from_static(b"something else"), "found other data"),
        ];
        for (file, expected) in cases {
            let error = read(file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
