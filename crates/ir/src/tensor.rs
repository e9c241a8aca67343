//! A type with bytes. Cloning a tensor shares its bytes.

use crate::{DType, Error, Granularity, Quant, Result, Type};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Constant data: little-endian elements in row-major order, packed types padded to whole bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    ty: Type,
    dims: Vec<usize>,
    bytes: Bytes,
    ends: Ends,
}

/// The least and the greatest integer, once somebody has asked: whoever checks a graph does so after every pass, and most
/// tensors go through all of them. Clones share it, and it says nothing that the bytes do not.
#[derive(Debug, Clone, Default)]
struct Ends(Arc<OnceLock<Option<(i64, i64)>>>);

impl PartialEq for Ends {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Lets `Bytes` own a typed vector, so that making a tensor copies nothing.
struct Owned<T>(Vec<T>);

impl<T: bytemuck::NoUninit> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn owned<T: bytemuck::NoUninit + Send + 'static>(data: Vec<T>) -> Bytes {
    Bytes::from_owner(Owned(data))
}

impl Tensor {
    /// A tensor over these bytes, whose number must be what the type takes.
    pub fn from_bytes(ty: Type, bytes: Bytes) -> Result<Self> {
        let dims = ty.shape.require()?;
        let expected = ty.shape.count().and_then(|n| ty.dtype.bytes(n));
        if expected != Some(bytes.len()) {
            return Err(Error::new(format!(
                "expected {} bytes for {ty}, found {}",
                expected.map_or("too many".into(), |n| n.to_string()),
                bytes.len()
            )));
        }
        Ok(Tensor { ty, dims, bytes, ends: Ends::default() })
    }

    /// An f32 tensor that takes over `data`.
    pub fn from_f32(dims: &[usize], data: Vec<f32>) -> Result<Self> {
        Self::from_bytes(Type::f32(dims.to_vec()), owned(data))
    }

    /// An i64 tensor that takes over `data`.
    pub fn from_i64(dims: &[usize], data: Vec<i64>) -> Result<Self> {
        Self::from_bytes(Type::plain(DType::I64, dims.to_vec()), owned(data))
    }

    /// A u8 tensor that takes over `data`.
    pub fn from_u8(dims: &[usize], data: Vec<u8>) -> Result<Self> {
        Self::from_bytes(Type::plain(DType::U8, dims.to_vec()), Bytes::from(data))
    }

    /// An f32 scalar.
    pub fn scalar(x: f32) -> Self {
        Tensor { ty: Type::f32(Vec::new()), dims: Vec::new(), bytes: owned(vec![x]), ends: Ends::default() }
    }

    /// A tensor of any integer type or bool from wide integers, each checked against the storage type's range.
    pub fn from_ints(ty: Type, data: &[i64]) -> Result<Self> {
        let (lo, hi) = ty.dtype.range().ok_or_else(|| Error::new(format!("expected an integer type, found {ty}")))?;
        if let Some(bad) = data.iter().find(|v| !(lo..=hi).contains(*v)) {
            return Err(Error::new(format!("expected integers in {lo}..={hi} for {}, found {bad}", ty.dtype)));
        }
        // The range check above makes every cast below exact.
        let bytes = match ty.dtype {
            DType::I64 => owned(data.to_vec()),
            DType::I32 => owned(data.iter().map(|v| *v as i32).collect()),
            DType::I16 => owned(data.iter().map(|v| *v as i16).collect()),
            DType::U16 => owned(data.iter().map(|v| *v as u16).collect()),
            DType::I8 | DType::U8 | DType::Bool => Bytes::from(data.iter().map(|v| *v as u8).collect::<Vec<_>>()),
            DType::I4 | DType::U4 | DType::I2 | DType::U2 => pack(ty.dtype.bits(), data),
            DType::F32 | DType::F16 | DType::BF16 => unreachable!("floats have no integer range"),
        };
        Self::from_bytes(ty, bytes)
    }

    /// A tensor of any float type from f32 values, rounded to the type.
    pub fn from_floats(ty: Type, data: Vec<f32>) -> Result<Self> {
        let bytes = match ty.dtype {
            DType::F32 => owned(data),
            DType::F16 => owned(data.into_iter().map(half::f16::from_f32).collect()),
            DType::BF16 => owned(data.into_iter().map(half::bf16::from_f32).collect()),
            _ => return Err(Error::new(format!("expected a float type, found {ty}"))),
        };
        Self::from_bytes(ty, bytes)
    }

    /// What this is.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        self.ty.dtype
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same over bytes of its own.
    #[must_use]
    pub fn copied(&self) -> Self {
        Tensor { bytes: Bytes::copy_from_slice(&self.bytes), ..self.clone() }
    }

    /// Its bytes, and nothing else of it.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The elements of an f32 tensor, borrowed where the bytes are aligned.
    pub fn f32s(&self) -> Result<Cow<'_, [f32]>> {
        match self.ty.dtype {
            DType::F32 => Ok(view(&self.bytes)),
            _ => Err(Error::new(format!("expected f32 data, found {}", self.ty))),
        }
    }

    /// The elements of an i8 tensor.
    pub fn i8s(&self) -> Option<&[i8]> {
        (self.ty.dtype == DType::I8).then(|| bytemuck::cast_slice(&self.bytes))
    }

    /// The elements of any float tensor, widened to f32.
    pub fn floats(&self) -> Result<Cow<'_, [f32]>> {
        match self.ty.dtype {
            DType::F32 => Ok(view(&self.bytes)),
            DType::F16 => Ok(view::<half::f16>(&self.bytes).iter().map(|h| h.to_f32()).collect()),
            DType::BF16 => Ok(view::<half::bf16>(&self.bytes).iter().map(|h| h.to_f32()).collect()),
            _ => Err(Error::new(format!("expected float data, found {}", self.ty))),
        }
    }

    /// The first element that is NaN or infinite, and where it is; integers have none.
    pub fn first_not_finite(&self) -> Option<(usize, f32)> {
        self.floats().ok()?.iter().copied().enumerate().find(|(_, x)| !x.is_finite())
    }

    /// The elements of any integer or bool tensor, widened to i64.
    pub fn ints(&self) -> Result<Vec<i64>> {
        let b = &self.bytes;
        Ok(match self.ty.dtype {
            DType::I64 => view::<i64>(b).into_owned(),
            DType::I32 => view::<i32>(b).iter().map(|v| i64::from(*v)).collect(),
            DType::I16 => view::<i16>(b).iter().map(|v| i64::from(*v)).collect(),
            DType::U16 => view::<u16>(b).iter().map(|v| i64::from(*v)).collect(),
            DType::I8 => b.iter().map(|v| i64::from(*v as i8)).collect(),
            DType::U8 => b.iter().map(|v| i64::from(*v)).collect(),
            DType::Bool => b.iter().map(|v| i64::from(*v != 0)).collect(),
            DType::I4 | DType::I2 => unpack(self.ty.dtype.bits(), true, b, self.count()),
            DType::U4 | DType::U2 => unpack(self.ty.dtype.bits(), false, b, self.count()),
            DType::F32 | DType::F16 | DType::BF16 => {
                return Err(Error::new(format!("expected integer data, found {}", self.ty)));
            }
        })
    }

    /// The reals that this tensor stands for: floats as they are, quantized integers dequantized, plain ones converted.
    pub fn reals(&self) -> Result<Cow<'_, [f32]>> {
        if self.ty.dtype.is_float() {
            return self.floats();
        }
        let Some(q) = &self.ty.quant else {
            return Ok(self.ints()?.into_iter().map(|v| v as f32).collect());
        };
        if let Some(reals) = self.byte_reals(q, 0..self.count()) {
            return Ok(reals.into());
        }
        let entries = entries(q, &self.dims);
        let real = |(v, e): (i64, usize)| lowbit_arithmetic::dequantize_wide(v, q.scale[e], i64::from(q.zero_point[e]));
        Ok(self.ints()?.into_iter().zip(entries).map(real).collect())
    }

    /// As [`Tensor::reals`], of a run of elements in row-major order; none of what lies beyond the last.
    pub fn reals_within(&self, run: Range<usize>) -> Result<Cow<'_, [f32]>> {
        let run = run.start.min(self.count())..run.end.min(self.count());
        if self.ty.dtype == DType::F32 {
            let bytes = run.start * size_of::<f32>()..run.end * size_of::<f32>();
            return Ok(view(self.bytes.get(bytes).unwrap_or_default()));
        }
        let bytes = self.ty.quant.as_ref().and_then(|q| self.byte_reals(q, run.clone()));
        Ok(match bytes {
            Some(reals) => reals.into(),
            None => self.reals()?.get(run).unwrap_or_default().to_vec().into(),
        })
    }

    /// Reals of bytes whose neighbours have a scale in common: weights, which are many, so no wider copy is made and no
    /// element asks for its scale.
    fn byte_reals(&self, q: &Quant, run: Range<usize>) -> Option<Vec<f32>> {
        let signed = match self.ty.dtype {
            DType::I8 => true,
            DType::U8 => false,
            _ => return None,
        };
        let integer = |b: &u8| if signed { i64::from(*b as i8) } else { i64::from(*b) };
        let length = match q.granularity {
            _ if q.is_per_tensor() => self.count(),
            Granularity::Channel { axis } if self.dims.get(axis) == Some(&q.scale.len()) => {
                self.dims[axis + 1..].iter().product()
            }
            Granularity::Tensor | Granularity::Channel { .. } | Granularity::Block { .. } => return None,
        };
        let mut reals = Vec::with_capacity(run.len());
        while reals.len() < run.len() {
            let at = run.start + reals.len();
            let entry = at / length.max(1);
            let end = ((entry + 1) * length.max(1)).min(run.end);
            let entry = entry % q.scale.len().max(1);
            let (scale, zero) = (*q.scale.get(entry)?, i64::from(*q.zero_point.get(entry)?));
            let bytes = self.bytes.get(at..end)?.iter().map(integer);
            reals.extend(bytes.map(|v| lowbit_arithmetic::dequantize_wide(v, scale, zero)));
        }
        Some(reals)
    }

    /// Refuses integers outside `q.qmin..=q.qmax`, which storage wider than the range can hold.
    pub fn check_range(&self, q: &Quant) -> Result<()> {
        match self.first_outside(q.qmin, q.qmax)? {
            Some(bad) => Err(Error::new(format!("expected integers in {}..{}, found {bad}", q.qmin, q.qmax))),
            None => Ok(()),
        }
    }

    /// The first integer outside `low..=high`, if there is one.
    pub fn first_outside(&self, low: i64, high: i64) -> Result<Option<i64>> {
        if self.ty.dtype.range().is_some_and(|(lo, hi)| low <= lo && hi <= high) {
            return Ok(None);
        }
        let ends = match self.ends.0.get() {
            Some(ends) => *ends,
            None => {
                // Weights are mostly single bytes, and large: no widened copy of them.
                let ends = match self.ty.dtype {
                    // 128 higher they have no signs, and every processor finds the least of many of those at once.
                    DType::I8 => ends(self.bytes.iter().map(|b| b ^ 0x80)).map(|(low, high)| (low - 128, high - 128)),
                    DType::U8 => ends(self.bytes.iter().copied()),
                    _ => ends(self.ints()?.into_iter()),
                };
                *self.ends.0.get_or_init(|| ends)
            }
        };
        let outside = |v: &i64| !(low..=high).contains(v);
        match ends.is_some_and(|(least, greatest)| outside(&least) || outside(&greatest)) {
            true => Ok(self.ints()?.into_iter().find(outside)),
            false => Ok(None),
        }
    }

    /// The same bytes under another shape of as many elements.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Self> {
        Self::from_bytes(self.ty.with_shape(dims.to_vec()), self.bytes.clone())
    }

    /// The same bytes with these quantization parameters.
    pub fn with_quant(&self, quant: Option<Quant>) -> Self {
        Tensor { ty: Type { quant, ..self.ty.clone() }, ..self.clone() }
    }
}

/// The least and the greatest of these integers; none of none.
fn ends<T: Copy + Ord + Into<i64>>(mut all: impl Iterator<Item = T>) -> Option<(i64, i64)> {
    let first = all.next()?;
    let (least, greatest) = all.fold((first, first), |(low, high), v| (low.min(v), high.max(v)));
    Some((least.into(), greatest.into()))
}

/// For each element in row-major order, the entry of `q.scale` that it uses.
pub fn entries<'a>(q: &'a Quant, dims: &'a [usize]) -> Box<dyn Iterator<Item = usize> + 'a> {
    if q.is_per_tensor() {
        return Box::new(std::iter::repeat(0));
    }
    if let Granularity::Channel { axis } = q.granularity {
        let channels = dims.get(axis).copied().unwrap_or(0);
        let inner = dims.iter().skip(axis + 1).product::<usize>().max(1);
        return Box::new((0..channels).cycle().flat_map(move |channel| std::iter::repeat_n(channel, inner)));
    }
    let mut coords = vec![0; dims.len()];
    Box::new(std::iter::from_fn(move || {
        let entry = q.entry(dims, &coords);
        for (c, d) in coords.iter_mut().zip(dims).rev() {
            *c += 1;
            if *c < *d {
                break;
            }
            *c = 0;
        }
        Some(entry)
    }))
}

/// Typed view of little-endian bytes; copies only where they are not aligned.
fn view<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(bytes: &[u8]) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(slice) => Cow::Borrowed(slice),
        Err(_) => Cow::Owned(bytemuck::allocation::pod_collect_to_vec(bytes)),
    }
}

fn pack(bits: usize, data: &[i64]) -> Bytes {
    let mask = (1u8 << bits) - 1;
    let byte = |chunk: &[i64]| chunk.iter().enumerate().fold(0u8, |b, (i, v)| b | ((*v as u8 & mask) << (i * bits)));
    data.chunks(8 / bits).map(byte).collect::<Vec<_>>().into()
}

fn unpack(bits: usize, signed: bool, bytes: &[u8], count: usize) -> Vec<i64> {
    let per = 8 / bits;
    (0..count)
        .map(|i| {
            let raw = (bytes[i / per] >> (i % per * bits)) << (8 - bits);
            match signed {
                true => i64::from((raw as i8) >> (8 - bits)),
                false => i64::from(raw >> (8 - bits)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_integers_come_back() {
        for dtype in [DType::I4, DType::U4, DType::I2, DType::U2] {
            let (lo, hi) = dtype.range().unwrap();
            let data: Vec<i64> = (lo..=hi).chain([lo, hi, 0]).collect();
            let t = Tensor::from_ints(Type::plain(dtype, vec![data.len()]), &data).unwrap();
            assert_eq!(t.bytes().len(), data.len().div_ceil(8 / dtype.bits()));
            assert_eq!(t.ints().unwrap(), data);
        }
    }

    #[test]
    fn unaligned_bytes_are_read() {
        let mut raw = vec![0u8];
        raw.extend(1.5f32.to_le_bytes());
        let bytes = Bytes::from(raw).slice(1..);
        let t = Tensor::from_bytes(Type::f32(vec![1]), bytes).unwrap();
        assert_eq!(&*t.f32s().unwrap(), [1.5]);
    }

    #[test]
    fn a_run_of_reals_is_that_of_all() {
        let of = |dtype: DType, quant: Quant| {
            let data: Vec<i64> = (0..24).map(|i| i % 7).collect();
            Tensor::from_ints(Type::quantized(dtype, vec![2, 3, 4], quant), &data).unwrap()
        };
        let channels = |axis: usize, scales: &[f32]| {
            let zero_point = (0..scales.len() as i32).collect();
            Quant { zero_point, ..Quant::per_channel(scales.to_vec(), axis, 0, 100) }
        };
        for dtype in [DType::I8, DType::U8, DType::I16] {
            for (axis, scales) in
                [(0, &[0.5, 2.0][..]), (1, &[0.5, 2.0, 3.0]), (2, &[1.0, 2.0, 3.0, 4.0]), (0, &[0.25])]
            {
                let tensor = of(dtype, channels(axis, scales));
                let q = tensor.ty().quant.clone().unwrap();
                let all: Vec<f32> = (tensor.ints().unwrap().into_iter().zip(entries(&q, &[2, 3, 4])))
                    .map(|(v, e)| lowbit_arithmetic::dequantize_wide(v, q.scale[e], i64::from(q.zero_point[e])))
                    .collect();
                assert_eq!(&*tensor.reals().unwrap(), all);
                for run in [0..24, 3..17, 8..12, 24..24] {
                    assert_eq!(&*tensor.reals_within(run.clone()).unwrap(), &all[run]);
                }
                assert_eq!(&*tensor.reals_within(20..99).unwrap(), &all[20..]);
            }
        }
    }

    #[test]
    fn block_entries_follow_the_divided_shape() {
        let q = Quant {
            scale: vec![1.0; 4].into(),
            zero_point: vec![0; 4].into(),
            qmin: -8,
            qmax: 7,
            granularity: Granularity::Block { axis: 1, size: 2 },
        };
        let found: Vec<usize> = entries(&q, &[2, 3]).take(6).collect();
        assert_eq!(found, [0, 0, 1, 2, 2, 3]);
    }

    #[test]
    fn wrong_lengths_and_ranges_are_refused() {
        assert!(Tensor::from_f32(&[2], vec![1.0]).is_err());
        assert!(Tensor::from_ints(Type::plain(DType::U8, vec![1]), &[256]).is_err());
        assert!(Tensor::from_bytes(Type::f32(vec![usize::MAX, 2]), Bytes::new()).is_err());
    }
}
