//! Row by row: softmax, layer normalization and reductions of contiguous rows to a number each.
//!
//! ## Contract
//! A row has `n` elements, `n >= 1`; the output may be the input. The order of operations is that of
//! `lowbit_arithmetic::rows`.
//!
//! A reduction gives what `lowbit_arithmetic::pool` does of the row: [`ReduceFn::Max`], [`ReduceFn::Min`] and
//! [`ReduceFn::Largest`] in any order, since a NaN anywhere is all that is left and zeros have an order; the sum of
//! [`ReduceFn::Sum`] and [`ReduceFn::Mean`] from left to right, which no lanes can share.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::isa::{Features, Kernel};

/// (n, x, y).
pub type SoftmaxFn = unsafe fn(usize, *const f32, *mut f32);
/// (n, x, scale, bias or null, epsilon, y).
pub type LayerNormFn = unsafe fn(usize, *const f32, *const f32, *const f32, f32, *mut f32);

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceFn {
    /// The greatest element.
    Max,
    /// The least element.
    Min,
    /// The largest magnitude.
    Largest,
    /// The sum.
    Sum,
    /// The sum divided by the number of elements.
    Mean,
}

impl ReduceFn {
    /// All of them.
    pub const ALL: [ReduceFn; 5] = [ReduceFn::Max, ReduceFn::Min, ReduceFn::Largest, ReduceFn::Sum, ReduceFn::Mean];

    /// Whether parts of a row may be reduced apart, and what they gave by the same function.
    pub const fn is_of_parts(self) -> bool {
        matches!(self, ReduceFn::Max | ReduceFn::Min | ReduceFn::Largest)
    }
}

/// (f, n, x).
pub type ReduceRun = unsafe fn(ReduceFn, usize, *const f32) -> f32;

/// One row of softmax.
pub static SOFTMAX: &[Kernel<SoftmaxFn>] = &[
    Kernel { name: "f32_softmax__scalar", needs: Features::NONE, run: scalar::softmax },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_softmax__avx2", needs: crate::x86::AVX2, run: avx2::softmax },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_softmax__avx512", needs: crate::x86::AVX512, run: avx512::softmax },
];

/// One row of layer normalization.
pub static LAYER_NORM: &[Kernel<LayerNormFn>] = &[
    Kernel { name: "f32_layernorm__scalar", needs: Features::NONE, run: scalar::layer_norm },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_layernorm__avx2", needs: crate::x86::AVX2, run: avx2::layer_norm },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_layernorm__avx512", needs: crate::x86::AVX512, run: avx512::layer_norm },
];

/// One row reduced to a number.
pub static REDUCE: &[Kernel<ReduceRun>] = &[
    Kernel { name: "f32_reduce__scalar", needs: Features::NONE, run: scalar::reduce },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_reduce__avx2", needs: crate::x86::AVX2, run: avx2::reduce },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "f32_reduce__avx512", needs: crate::x86::AVX512, run: avx512::reduce },
];

/// Bits of floats whose greatest, as integers, is what a function is after.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Ordered {
    /// Bits that are kept: all, or all but the sign.
    mask: i32,
    /// Bits that are inverted then: none, or the sign, where the least is wanted.
    flip: i32,
}

#[cfg(target_arch = "x86_64")]
impl Ordered {
    /// None for the functions that no lanes can share.
    const fn of(f: ReduceFn) -> Option<Ordered> {
        match f {
            ReduceFn::Max => Some(Ordered { mask: !0, flip: 0 }),
            ReduceFn::Min => Some(Ordered { mask: !0, flip: i32::MIN }),
            ReduceFn::Largest => Some(Ordered { mask: i32::MAX, flip: 0 }),
            ReduceFn::Sum | ReduceFn::Mean => None,
        }
    }

    /// -infinity's place in the order of integers.
    const LEAST: i32 = Self::turned(f32::NEG_INFINITY.to_bits() as i32);

    /// Integers in the order of the floats of these bits, -0 below +0; the same again turns them back.
    const fn turned(bits: i32) -> i32 {
        bits ^ ((bits >> 31) & i32::MAX)
    }

    /// The number that the greatest integer stands for.
    fn number(self, greatest: i32, any_nan: bool) -> f32 {
        let bits = if any_nan { f32::NAN.to_bits() as i32 } else { Self::turned(greatest) };
        f32::from_bits((bits ^ self.flip) as u32)
    }
}
