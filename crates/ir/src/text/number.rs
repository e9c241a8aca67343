//! Numbers as text: shortest digits that give the same bits back, NaN payloads included.

use crate::{DType, Result, Tensor, Type, bail};
use bytes::Bytes;

/// An f32 that [`f32_of`] reads back to the same bits.
pub(super) fn f32_text(x: f32) -> String {
    float_text(x, x.to_bits(), f32::NAN.to_bits())
}

fn float_text(x: f32, bits: u32, usual_nan: u32) -> String {
    match x.is_nan() {
        true if bits == usual_nan => "nan".into(),
        true => format!("nan({bits:#x})"),
        false => format!("{x:?}"),
    }
}

/// Reads an f32.
pub(super) fn f32_of(token: &str) -> Result<f32> {
    match nan_bits(token) {
        Some(bits) => Ok(f32::from_bits(bits?.unwrap_or(f32::NAN.to_bits()))),
        None => plain_f32(token),
    }
}

/// `nan` has usual bits (`None`), `nan(0x...)` its own; anything else is not a NaN.
fn nan_bits(token: &str) -> Option<Result<Option<u32>>> {
    if token == "nan" {
        return Some(Ok(None));
    }
    let digits = token.strip_prefix("nan(0x")?.strip_suffix(')')?;
    Some(match u32::from_str_radix(digits, 16) {
        Ok(bits) => Ok(Some(bits)),
        Err(_) => Err(crate::Error::new(format!("expected the bits of a NaN in hexadecimal, found '{token}'"))),
    })
}

fn plain_f32(token: &str) -> Result<f32> {
    let spelled_out = token.trim_start_matches(['+', '-']) == "inf";
    match token.parse::<f32>() {
        Ok(x) if x.is_finite() || spelled_out => Ok(x),
        Ok(_) => bail!("expected a number within the range of f32, found '{token}'"),
        Err(_) => bail!("expected a number, found '{token}'"),
    }
}

/// The elements of a tensor as tokens, if reading them gives the same bytes back (padding bits and odd bools do not).
pub(super) fn elements(t: &Tensor) -> Option<Vec<String>> {
    let tokens: Vec<String> = match t.dtype() {
        DType::F32 => t.f32s().ok()?.iter().map(|x| f32_text(*x)).collect(),
        DType::F16 => halves(t)
            .map(|b| float_text(half::f16::from_bits(b).to_f32(), b.into(), half::f16::NAN.to_bits().into()))
            .collect(),
        DType::BF16 => halves(t)
            .map(|b| float_text(half::bf16::from_bits(b).to_f32(), b.into(), half::bf16::NAN.to_bits().into()))
            .collect(),
        DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::I64
        | DType::Bool
        | DType::I4
        | DType::U4
        | DType::I2
        | DType::U2 => t.ints().ok()?.iter().map(i64::to_string).collect(),
    };
    let again = tensor(t.ty().clone(), tokens.iter().map(String::as_str)).ok()?;
    (again.bytes() == t.bytes()).then_some(tokens)
}

fn halves(t: &Tensor) -> impl Iterator<Item = u16> + '_ {
    t.bytes().chunks_exact(2).filter_map(|b| Some(u16::from_le_bytes(b.try_into().ok()?)))
}

/// A tensor of any type from its elements as tokens.
pub(super) fn tensor<'a>(ty: Type, tokens: impl Iterator<Item = &'a str>) -> Result<Tensor> {
    let mut bytes = Vec::new();
    match ty.dtype {
        DType::F32 => tokens.map(f32_of).try_for_each(|x| x.map(|x| bytes.extend(x.to_bits().to_le_bytes())))?,
        DType::F16 => {
            let of = |x| half::f16::from_f32(x).to_bits();
            tokens.map(|t| half_of(t, half::f16::NAN.to_bits(), of)).try_for_each(|b| b.map(|b| bytes.extend(b)))?;
        }
        DType::BF16 => {
            let of = |x| half::bf16::from_f32(x).to_bits();
            tokens.map(|t| half_of(t, half::bf16::NAN.to_bits(), of)).try_for_each(|b| b.map(|b| bytes.extend(b)))?;
        }
        DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::I64
        | DType::Bool
        | DType::I4
        | DType::U4
        | DType::I2
        | DType::U2 => return Tensor::from_ints(ty, &tokens.map(int_of).collect::<Result<Vec<i64>>>()?),
    }
    Tensor::from_bytes(ty, Bytes::from(bytes))
}

fn half_of(token: &str, usual_nan: u16, of: impl Fn(f32) -> u16) -> Result<[u8; 2]> {
    let bits = match nan_bits(token) {
        Some(bits) => bits?.map_or(Ok(usual_nan), u16::try_from),
        None => Ok(of(plain_f32(token)?)),
    };
    match bits {
        Ok(bits) => Ok(bits.to_le_bytes()),
        Err(_) => bail!("expected the 16 bits of a NaN, found '{token}'"),
    }
}

/// Reads an integer of a type that holds it.
pub(super) fn int_of<T: TryFrom<i128>>(token: &str) -> Result<T> {
    match token.parse::<i128>() {
        Ok(n) => match T::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => bail!("the integer {token} is out of range here"),
        },
        Err(_) => bail!("expected an integer, found '{token}'"),
    }
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for b in bytes {
        out.extend([DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]].map(char::from));
    }
}

/// The bytes of [`hex`], or the place of what is not two digits.
pub(super) fn unhex(digits: &str) -> Result<Vec<u8>, usize> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    digits
        .as_bytes()
        .chunks(2)
        .enumerate()
        .map(|(i, pair)| match pair {
            [high, low] => Ok(digit(*high).ok_or(2 * i)? << 4 | digit(*low).ok_or(2 * i + 1)?),
            _ => Err(2 * i),
        })
        .collect()
}

/// FNV-1a of 64 bits: tells equal constants from different ones in texts that leave them out.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
