//! Tensors of ONNX files: every way a file can hold the bytes, checked before anything is allocated.
//!
//! Half, bfloat16 and double become f32, unsigned 32- and 64-bit integers become i64 (which [`remark`] tells);
//! all else keeps its type.

use super::external::External;
use super::proto::{TensorProto, tensor_proto::DataLocation, tensor_proto::DataType};
use crate::build::Builder;
use crate::build::remarks::{Place, Remark};
use bytes::Bytes;
use lowbit_ir::{DType, Error, Result, Shape, Tensor, Type, bail};

/// The tensor that a message describes; what it leaves to other files is read from below the model's folder.
pub fn import(proto: &TensorProto, external: &mut External) -> Result<Tensor> {
    let name = proto.name();
    read(proto, external).map_err(|e| if name.is_empty() { e } else { e.at_value(name) })
}

/// Whether what is read of a message shares the bytes of the file, and so takes no memory.
pub fn shares_bytes(proto: &TensorProto) -> bool {
    proto.raw_data.is_some() && widened(proto.data_type()).is_none()
}

/// The type that a value of this ONNX element type has in the graph.
pub fn dtype(code: i32) -> Result<DType> {
    Ok(match data_type(code)? {
        DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double => DType::F32,
        DataType::Int8 => DType::I8,
        DataType::Uint8 => DType::U8,
        DataType::Int16 => DType::I16,
        DataType::Uint16 => DType::U16,
        DataType::Int32 => DType::I32,
        DataType::Int64 | DataType::Uint32 | DataType::Uint64 => DType::I64,
        DataType::Bool => DType::Bool,
        DataType::Int4 => DType::I4,
        DataType::Uint4 => DType::U4,
        DataType::Int2 => DType::I2,
        DataType::Uint2 => DType::U2,
        other => bail!("elements of type {} are not supported", other.as_str_name()),
    })
}

/// Remarks on a value whose element type, of this code in the file, is another one in the graph.
pub fn remark(builder: &mut Builder, place: Place, value: &str, code: i32) {
    if let Some((from, to)) = widened(code) {
        builder.remarks.push(Remark::Type { from, to, place, value: value.to_string() });
    }
}

/// The name of an element type that the graph lacks, and what values of it become; `None` for a type that stays.
pub fn widened(code: i32) -> Option<(&'static str, DType)> {
    match DataType::try_from(code) {
        Ok(DataType::Float16) => Some(("f16", DType::F32)),
        Ok(DataType::Bfloat16) => Some(("bf16", DType::F32)),
        Ok(DataType::Double) => Some(("f64", DType::F32)),
        Ok(DataType::Uint32) => Some(("u32", DType::I64)),
        Ok(DataType::Uint64) => Some(("u64", DType::I64)),
        Ok(_) | Err(_) => None,
    }
}

/// The ONNX element type of a dtype.
pub fn code(dtype: DType) -> i32 {
    let code = match dtype {
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::BF16 => DataType::Bfloat16,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I16 => DataType::Int16,
        DType::U16 => DataType::Uint16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::Bool => DataType::Bool,
        DType::I4 => DataType::Int4,
        DType::U4 => DataType::Uint4,
        DType::I2 => DataType::Int2,
        DType::U2 => DataType::Uint2,
    };
    code as i32
}

/// The message of a tensor; the bytes are shared.
pub fn export(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        // Sizes of tensors that exist fit i64.
        dims: tensor.dims().iter().map(|d| *d as i64).collect(),
        data_type: Some(code(tensor.dtype())),
        name: Some(name.to_string()),
        raw_data: Some(tensor.bytes().clone()),
        ..TensorProto::default()
    }
}

fn data_type(code: i32) -> Result<DataType> {
    DataType::try_from(code).map_err(|_| Error::new(format!("expected an ONNX element type, found code {code}")))
}

fn read(proto: &TensorProto, external: &mut External) -> Result<Tensor> {
    if proto.segment.is_some() {
        bail!("tensors in segments are not supported");
    }
    let from = data_type(proto.data_type())?;
    let to = dtype(proto.data_type())?;
    let dims = dims(proto)?;
    let count = Shape::known(&dims)
        .count()
        .ok_or_else(|| Error::new(format!("expected a tensor that fits in memory, found sizes {dims:?}")))?;
    let ty = Type::plain(to, dims);
    let elsewhere = proto.data_location() == DataLocation::External;
    let raw = match (elsewhere, &proto.raw_data) {
        (true, _) => Some(external.read(proto, stored_bytes(from, to, count), &ty)?),
        (false, Some(raw)) => Some(raw.clone()),
        (false, None) => None,
    };
    match raw {
        Some(raw) => from_raw(from, ty, count, raw),
        None => from_typed(from, ty, count, proto),
    }
}

/// Bytes of so many elements as files hold them; more than there can be if they do not fit.
fn stored_bytes(from: DataType, to: DType, count: usize) -> usize {
    let bytes = match from {
        DataType::Float16 | DataType::Bfloat16 => count.checked_mul(2),
        DataType::Double | DataType::Uint64 => count.checked_mul(8),
        DataType::Uint32 => count.checked_mul(4),
        _ => to.bytes(count),
    };
    bytes.unwrap_or(usize::MAX)
}

fn dims(proto: &TensorProto) -> Result<Vec<usize>> {
    let size = |d: &i64| usize::try_from(*d).map_err(|_| Error::new(format!("expected tensor sizes, found {d}")));
    proto.dims.iter().map(size).collect()
}

/// Little-endian elements of a fixed width; the count is checked first.
fn elements<const N: usize, T>(raw: &[u8], count: usize, make: fn([u8; N]) -> T) -> Result<Vec<T>> {
    if count.checked_mul(N) != Some(raw.len()) {
        bail!("expected {count} elements of {N} bytes, found {} bytes", raw.len());
    }
    let mut chunk = [0u8; N];
    let next = |bytes: &[u8]| {
        chunk.copy_from_slice(bytes);
        make(chunk)
    };
    Ok(raw.chunks_exact(N).map(next).collect())
}

fn from_raw(from: DataType, ty: Type, count: usize, raw: Bytes) -> Result<Tensor> {
    match from {
        DataType::Float16 => Tensor::from_floats(ty, elements(&raw, count, |b| half::f16::from_le_bytes(b).to_f32())?),
        DataType::Bfloat16 => {
            Tensor::from_floats(ty, elements(&raw, count, |b| half::bf16::from_le_bytes(b).to_f32())?)
        }
        DataType::Double => from_f64(ty, &elements(&raw, count, f64::from_le_bytes)?),
        DataType::Uint32 => Tensor::from_ints(ty, &elements(&raw, count, |b| i64::from(u32::from_le_bytes(b)))?),
        DataType::Uint64 => from_u64(ty, &elements(&raw, count, u64::from_le_bytes)?),
        _ => Tensor::from_bytes(ty, raw),
    }
}

/// To the nearest f32; what is finite must stay so.
fn from_f64(ty: Type, data: &[f64]) -> Result<Tensor> {
    let narrow = |v: &f64| match *v as f32 {
        x if x.is_infinite() && v.is_finite() => Err(Error::new(format!("expected numbers within f32, found {v:e}"))),
        x => Ok(x),
    };
    Tensor::from_floats(ty, data.iter().map(narrow).collect::<Result<Vec<_>>>()?)
}

fn from_u64(ty: Type, data: &[u64]) -> Result<Tensor> {
    let narrow =
        |v: &u64| i64::try_from(*v).map_err(|_| Error::new(format!("expected integers within i64, found {v}")));
    Tensor::from_ints(ty, &data.iter().map(narrow).collect::<Result<Vec<_>>>()?)
}

/// Data in the typed fields, element by element.
fn from_typed(from: DataType, ty: Type, count: usize, proto: &TensorProto) -> Result<Tensor> {
    let check = |found: usize, expected: usize| match found == expected {
        true => Ok(()),
        false => Err(Error::new(format!("expected {expected} elements for {ty}, found {found}"))),
    };
    let bits = |v: &i32| u16::try_from(*v).map_err(|_| Error::new(format!("expected 16 bits, found {v}")));
    match from {
        DataType::Float => {
            check(proto.float_data.len(), count)?;
            Tensor::from_floats(ty, proto.float_data.clone())
        }
        DataType::Float16 => {
            check(proto.int32_data.len(), count)?;
            let half = |v| bits(v).map(|b| half::f16::from_bits(b).to_f32());
            Tensor::from_floats(ty.clone(), proto.int32_data.iter().map(half).collect::<Result<_>>()?)
        }
        DataType::Bfloat16 => {
            check(proto.int32_data.len(), count)?;
            let half = |v| bits(v).map(|b| half::bf16::from_bits(b).to_f32());
            Tensor::from_floats(ty.clone(), proto.int32_data.iter().map(half).collect::<Result<_>>()?)
        }
        DataType::Double => {
            check(proto.double_data.len(), count)?;
            from_f64(ty, &proto.double_data)
        }
        DataType::Int64 => {
            check(proto.int64_data.len(), count)?;
            Tensor::from_ints(ty, &proto.int64_data)
        }
        DataType::Uint32 | DataType::Uint64 => {
            check(proto.uint64_data.len(), count)?;
            from_u64(ty, &proto.uint64_data)
        }
        DataType::Int4 | DataType::Uint4 | DataType::Int2 | DataType::Uint2 => {
            check(proto.int32_data.len(), ty.dtype.bytes(count).unwrap_or(usize::MAX))?;
            let byte = |v: &i32| {
                // Writers differ in whether the byte is sign extended.
                u8::try_from(*v)
                    .or_else(|_| i8::try_from(*v).map(|b| b as u8))
                    .map_err(|_| Error::new(format!("expected packed bytes, found {v}")))
            };
            let bytes: Vec<u8> = proto.int32_data.iter().map(byte).collect::<Result<_>>()?;
            Tensor::from_bytes(ty, bytes.into())
        }
        _ => {
            check(proto.int32_data.len(), count)?;
            let wide: Vec<i64> = proto.int32_data.iter().map(|v| i64::from(*v)).collect();
            Tensor::from_ints(ty, &wide)
        }
    }
}
