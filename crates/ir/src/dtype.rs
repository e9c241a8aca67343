//! Storage types of tensor elements.

use std::fmt;
use std::str::FromStr;

/// How one element is stored.
///
/// A quantized value of any width lives in the next larger storage type; its true range stands in
/// [`Quant`](crate::Quant)'s `qmin` and `qmax`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum DType {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// One byte, 0 or 1.
    Bool,
    /// Signed 4-bit integer, two a byte, the first in the low bits.
    I4,
    /// Unsigned 4-bit integer, two a byte, the first in the low bits.
    U4,
    /// Signed 2-bit integer, four a byte, the first in the low bits.
    I2,
    /// Unsigned 2-bit integer, four a byte, the first in the low bits.
    U2,
}

impl DType {
    /// Every storage type.
    pub const ALL: [DType; 14] = {
        use DType::*;
        [F32, F16, BF16, I8, U8, I16, U16, I32, I64, Bool, I4, U4, I2, U2]
    };

    /// Width of one element in bits.
    pub const fn bits(self) -> usize {
        match self {
            DType::I64 => 64,
            DType::F32 | DType::I32 => 32,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 16,
            DType::I8 | DType::U8 | DType::Bool => 8,
            DType::I4 | DType::U4 => 4,
            DType::I2 | DType::U2 => 2,
        }
    }

    /// Bytes that `count` elements take, packed types rounded up to whole bytes; `None` if that overflows.
    pub fn bytes(self, count: usize) -> Option<usize> {
        match self.bits() {
            bits @ 8.. => count.checked_mul(bits / 8),
            bits => Some(count.div_ceil(8 / bits)),
        }
    }

    /// Whether this is one of the floating point types.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16)
    }

    /// Whether this is an integer type (`Bool` is not).
    pub const fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }

    /// Whether several elements share a byte.
    pub const fn is_packed(self) -> bool {
        self.bits() < 8
    }

    /// Smallest and largest value of an integer type (`Bool`: 0 and 1); `None` for floats.
    pub const fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            DType::F32 | DType::F16 | DType::BF16 => return None,
            DType::I8 => (i8::MIN as i64, i8::MAX as i64),
            DType::U8 => (0, u8::MAX as i64),
            DType::I16 => (i16::MIN as i64, i16::MAX as i64),
            DType::U16 => (0, u16::MAX as i64),
            DType::I32 => (i32::MIN as i64, i32::MAX as i64),
            DType::I64 => (i64::MIN, i64::MAX),
            DType::Bool => (0, 1),
            DType::I4 => (-8, 7),
            DType::U4 => (0, 15),
            DType::I2 => (-2, 1),
            DType::U2 => (0, 3),
        })
    }

    /// The smallest unpacked storage type that holds integers of `bits` bits (2..=64).
    pub const fn holding(bits: u32, signed: bool) -> DType {
        match (bits, signed) {
            (..=8, true) => DType::I8,
            (..=8, false) => DType::U8,
            (..=16, true) => DType::I16,
            (..=16, false) => DType::U16,
            (..=32, _) => DType::I32,
            _ => DType::I64,
        }
    }

    /// As [`DType::holding`], with integers of up to 4 bits two a byte.
    pub const fn packing(bits: u32, signed: bool) -> DType {
        match (bits, signed) {
            (..=4, true) => DType::I4,
            (..=4, false) => DType::U4,
            _ => DType::holding(bits, signed),
        }
    }

    /// The name used in the text form and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::Bool => "bool",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I2 => "i2",
            DType::U2 => "u2",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = crate::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        DType::ALL
            .into_iter()
            .find(|d| d.name() == s)
            .ok_or_else(|| crate::Error::new(format!("expected a dtype such as f32, u8 or i4, found '{s}'")))
    }
}
