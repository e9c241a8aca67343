//! The plain rows.

use super::unary::{binary, unary as unary_fn};
use super::{BinaryFn, Integers, MulParams, Pair, PairAny, QuantizeAny, RequantAny, Stored, UnaryFn};
use crate::requant::{AddParams, Requant};
use lowbit_arithmetic::requant::offset_and_clamp;
use lowbit_arithmetic::{Affine, Rounding, dequantize_wide, elementary, quantize, requantize};

// Every row reads and writes by pointer, element by element, as the output may be an input.
// SAFETY of all of them: by the contract each pointer leads to `n` elements, and a table to all values of its type.

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn add_u8(n: usize, a: *const u8, b: *const u8, y: *mut u8, how: &AddParams) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = how.apply(i32::from(*a.add(i)), i32::from(*b.add(i))) as u8 };
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn add_u16(n: usize, a: *const u16, b: *const u16, y: *mut u16, how: &AddParams) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = how.apply(i32::from(*a.add(i)), i32::from(*b.add(i))) as u16 };
    }
}

impl MulParams {
    /// The rescaled product of two stored values.
    #[inline]
    pub fn apply(&self, q1: i32, q2: i32) -> i32 {
        let acc = (i64::from(q1) - i64::from(self.z1)) * (i64::from(q2) - i64::from(self.z2));
        requantize(acc, self.rescale, self.rounding, self.zero_point, self.lo, self.hi, 0)
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn mul_u8(n: usize, a: *const u8, b: *const u8, y: *mut u8, how: &MulParams) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = how.apply(i32::from(*a.add(i)), i32::from(*b.add(i))) as u8 };
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn mul_u16(n: usize, a: *const u16, b: *const u16, y: *mut u16, how: &MulParams) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = how.apply(i32::from(*a.add(i)), i32::from(*b.add(i))) as u16 };
    }
}

/// # Safety
/// `x` and `y` lead to `n` elements, `table` to one for each value of `T`.
pub unsafe fn table<T: Copy + Into<usize>>(n: usize, x: *const T, table: *const T, y: *mut T) {
    for i in 0..n {
        // SAFETY: i < n, and the table has every value.
        unsafe { *y.add(i) = *table.add((*x.add(i)).into()) };
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn quantize_u8(n: usize, x: *const f32, y: *mut u8, to: &Affine) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = quantize(*x.add(i), to, Rounding::HalfEven, 0) as u8 };
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn quantize_u16(n: usize, x: *const f32, y: *mut u16, to: &Affine) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = quantize(*x.add(i), to, Rounding::HalfEven, 0) as u16 };
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn dequantize<T: Copy + Into<i64>>(n: usize, x: *const T, y: *mut f32, from: &Affine) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = dequantize_wide((*x.add(i)).into(), from.scale, i64::from(from.zero_point)) };
    }
}

/// # Safety
/// `x` and `y` lead to `n` elements, `scale` to `n` or, with step 0, to one.
pub unsafe fn dequantize_acc(n: usize, x: *const i32, scale: *const f32, scale_step: usize, y: *mut f32) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = dequantize_wide(i64::from(*x.add(i)), *scale.add(i * scale_step), 0) };
    }
}

/// # Safety
/// As [`dequantize_acc`].
pub unsafe fn dequantize_wide_acc(n: usize, x: *const i64, scale: *const f32, scale_step: usize, y: *mut f32) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = dequantize_wide(*x.add(i), *scale.add(i * scale_step), 0) };
    }
}

/// # Safety
/// Each pointer leads to `n` elements, those of `how` too.
pub unsafe fn requant_acc(n: usize, x: *const i32, y: *mut u8, how: &Requant) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = how.apply(*x.add(i), i) };
    }
}

/// # Safety
/// Each pointer leads to `n` elements, `rescale` with step 0 to one.
pub unsafe fn requant_any(a: &RequantAny) {
    for i in 0..a.n {
        // SAFETY: i < n.
        unsafe {
            let q = a.x.at(i);
            let acc = q.saturating_sub(i64::from(a.zero_in));
            let rescale = *a.rescale.add(i * a.rescale_step);
            let index = a.index.wrapping_add(a.index_step.wrapping_mul(i as u64));
            let q = requantize(acc, rescale, a.rounding, a.zero_point, a.lo, a.hi, index);
            a.y.set(i, q);
        }
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn quantize_any(a: &QuantizeAny) {
    for i in 0..a.n {
        let index = a.index.wrapping_add(a.index_step.wrapping_mul(i as u64));
        // SAFETY: i < n.
        unsafe { a.y.set(i, quantize(*a.x.add(i), &a.to, a.rounding, index)) };
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn pair_any(a: &PairAny) {
    let (z1, z2, zero_point, lo, hi) = match a.how {
        Pair::Add(AddParams { z1, z2, zero_point, lo, hi, .. }) => (z1, z2, zero_point, lo, hi),
        Pair::Mul(MulParams { z1, z2, zero_point, lo, hi, .. }) => (z1, z2, zero_point, lo, hi),
    };
    for i in 0..a.n {
        let index = a.index.wrapping_add(a.index_step.wrapping_mul(i as u64));
        // SAFETY: i < n.
        unsafe {
            let p = a.a.at(i).saturating_sub(i64::from(z1));
            let q = a.b.at(i).saturating_sub(i64::from(z2));
            let v = match a.how {
                Pair::Add(how) => how.rescale.apply(p, q, how.rounding, index),
                Pair::Mul(how) => how.rescale.apply(p.saturating_mul(q), how.rounding, index),
            };
            a.y.set(i, offset_and_clamp(v, zero_point, lo, hi));
        }
    }
}

impl Integers {
    /// Element `i`, widened.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    unsafe fn at(self, i: usize) -> i64 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Integers::U8(x) => i64::from(*x.add(i)),
                Integers::U16(x) => i64::from(*x.add(i)),
                Integers::I16(x) => i64::from(*x.add(i)),
                Integers::I32(x) => i64::from(*x.add(i)),
                Integers::I64(x) => *x.add(i),
            }
        }
    }
}

impl Stored {
    /// Stores element `i`, whose value the type holds.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    pub(crate) unsafe fn set(self, i: usize, q: i32) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Stored::U8(y) => *y.add(i) = q as u8,
                Stored::U16(y) => *y.add(i) = q as u16,
                Stored::I16(y) => *y.add(i) = q as i16,
            }
        }
    }
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn unary(f: UnaryFn, n: usize, x: *const f32, y: *mut f32) {
    macro_rules! each {
        ($v:ident => $result:expr) => {
            for i in 0..n {
                // SAFETY: i < n.
                let $v = unsafe { *x.add(i) };
                let result: f32 = $result;
                // SAFETY: i < n.
                unsafe { *y.add(i) = result };
            }
        };
    }
    unary_fn!(f, each, f32)
}

/// # Safety
/// `y` leads to `n` elements, `a` and `b` too or, with step 0, to one.
pub unsafe fn binary(f: BinaryFn, n: usize, a: *const f32, a_step: usize, b: *const f32, b_step: usize, y: *mut f32) {
    macro_rules! each {
        ($a:ident, $b:ident => $result:expr) => {
            for i in 0..n {
                // SAFETY: i < n.
                let ($a, $b) = unsafe { (*a.add(i * a_step), *b.add(i * b_step)) };
                let result: f32 = $result;
                // SAFETY: i < n.
                unsafe { *y.add(i) = result };
            }
        };
    }
    binary!(f, each)
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn clamp(n: usize, x: *const f32, y: *mut f32, lo: f32, hi: f32) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *y.add(i) = elementary::clip(*x.add(i), lo, hi) };
    }
}
