//! The lanes that the elementary functions are written over.
//!
//! A function of `elementary` is written once for any `V: Lanes`: for `f32` (one lane, here) and for
//! the vector registers of `kernels`.
//! Every operation below is defined to the bit for every input, so scalar and vector results agree
//! by construction; only the bits of a NaN are left open.
//!
//! An implementation on a vector register marks every method `#[inline(always)]`, as the elementary
//! functions are, so that all of it is compiled into the caller that enables the instruction set.

use crate::float;

/// One or more f32 values that are computed upon alike.
pub trait Lanes: Copy {
    /// One truth value per lane (a mask register).
    type Mask: Copy;
    /// One i32 per lane, wrapping on overflow.
    type Ints: Copy;

    /// The same value in every lane.
    fn splat(x: f32) -> Self;
    /// self + b
    fn add(self, b: Self) -> Self;
    /// self - b
    fn sub(self, b: Self) -> Self;
    /// self * b
    fn mul(self, b: Self) -> Self;
    /// self / b
    fn div(self, b: Self) -> Self;
    /// self * b + c with one rounding
    fn fma(self, b: Self, c: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// To the nearest integer, ties to even; keeps the sign of zero.
    fn round_even(self) -> Self;

    /// self < b, false where either is NaN
    fn lt(self, b: Self) -> Self::Mask;
    /// self <= b, false where either is NaN
    fn le(self, b: Self) -> Self::Mask;
    /// self == b, false where either is NaN
    fn eq(self, b: Self) -> Self::Mask;
    /// `yes` where the mask is set, else `no`
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// Both masks set.
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Either mask set.
    fn either(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// The mask not set.
    fn not(a: Self::Mask) -> Self::Mask;
    /// Whether any lane is set.
    fn any(mask: Self::Mask) -> bool;

    /// The bit patterns.
    fn to_bits(self) -> Self::Ints;
    /// The values of bit patterns.
    fn from_bits(bits: Self::Ints) -> Self;
    /// The integer of an integral value within i32; of any other value an unspecified integer,
    /// so that a caller selects the lane away.
    fn to_int(self) -> Self::Ints;
    /// The f32 of an integer, to nearest even.
    fn from_int(i: Self::Ints) -> Self;

    /// The same integer in every lane.
    fn int(i: i32) -> Self::Ints;
    /// a + b
    fn int_add(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// a - b
    fn int_sub(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// The bits set in both.
    fn int_and(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// The bits set in either.
    fn int_or(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// The bits set in one of the two.
    fn int_xor(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// a * 2^N
    fn int_shl<const N: u32>(a: Self::Ints) -> Self::Ints;
    /// floor(a / 2^N)
    fn int_shr<const N: u32>(a: Self::Ints) -> Self::Ints;

    /// The scalar function in every lane, for rare inputs.
    fn map(self, f: fn(f32) -> f32) -> Self;

    /// `self < b ? self : b`: the second operand where either is NaN or both are zeros.
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        Self::select(self.lt(b), self, b)
    }
    /// `b < self ? self : b`: the second operand where either is NaN or both are zeros.
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        Self::select(b.lt(self), self, b)
    }
    /// The sign bit cleared.
    #[inline(always)]
    fn abs(self) -> Self {
        Self::from_bits(Self::int_and(self.to_bits(), Self::int(i32::MAX)))
    }
    /// The sign bit inverted.
    #[inline(always)]
    fn neg(self) -> Self {
        Self::from_bits(Self::int_xor(self.to_bits(), Self::int(i32::MIN)))
    }
    /// The magnitude of self with the sign bit of `sign`.
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        let magnitude = Self::int_and(self.to_bits(), Self::int(i32::MAX));
        let sign = Self::int_and(sign.to_bits(), Self::int(i32::MIN));
        Self::from_bits(Self::int_or(magnitude, sign))
    }
    /// Where self is NaN.
    #[inline(always)]
    fn is_nan(self) -> Self::Mask {
        Self::not(self.eq(self))
    }
}

impl Lanes for f32 {
    type Mask = bool;
    type Ints = i32;

    #[inline(always)]
    fn splat(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn add(self, b: f32) -> f32 {
        self + b
    }
    #[inline(always)]
    fn sub(self, b: f32) -> f32 {
        self - b
    }
    #[inline(always)]
    fn mul(self, b: f32) -> f32 {
        self * b
    }
    #[inline(always)]
    fn div(self, b: f32) -> f32 {
        self / b
    }
    #[inline(always)]
    fn fma(self, b: f32, c: f32) -> f32 {
        float::fma(self, b, c)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        float::sqrt(self)
    }
    #[inline(always)]
    fn round_even(self) -> f32 {
        // Adding 2^23 leaves no fraction bits, so the addition itself rounds to an integer.
        let big = 8_388_608f32.copysign(self);
        if self.abs() < 8_388_608.0 { ((self + big) - big).copysign(self) } else { self }
    }
    #[inline(always)]
    fn lt(self, b: f32) -> bool {
        self < b
    }
    #[inline(always)]
    fn le(self, b: f32) -> bool {
        self <= b
    }
    #[inline(always)]
    fn eq(self, b: f32) -> bool {
        self == b
    }
    #[inline(always)]
    fn select(mask: bool, yes: f32, no: f32) -> f32 {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn both(a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn either(a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn not(a: bool) -> bool {
        !a
    }
    #[inline(always)]
    fn any(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn to_bits(self) -> i32 {
        f32::to_bits(self) as i32
    }
    #[inline(always)]
    fn from_bits(bits: i32) -> f32 {
        f32::from_bits(bits as u32)
    }
    #[inline(always)]
    fn to_int(self) -> i32 {
        self as i32
    }
    #[inline(always)]
    fn from_int(i: i32) -> f32 {
        i as f32
    }
    #[inline(always)]
    fn int(i: i32) -> i32 {
        i
    }
    #[inline(always)]
    fn int_add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn int_sub(a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    fn int_and(a: i32, b: i32) -> i32 {
        a & b
    }
    #[inline(always)]
    fn int_or(a: i32, b: i32) -> i32 {
        a | b
    }
    #[inline(always)]
    fn int_xor(a: i32, b: i32) -> i32 {
        a ^ b
    }
    #[inline(always)]
    fn int_shl<const N: u32>(a: i32) -> i32 {
        a << N
    }
    #[inline(always)]
    fn int_shr<const N: u32>(a: i32) -> i32 {
        a >> N
    }
    #[inline(always)]
    fn map(self, f: fn(f32) -> f32) -> f32 {
        f(self)
    }
}
