//! Moving data.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::isa::{Features, Kernel};

pub use scalar::{fill, gather, runs};

/// (bytes an element: 1, 2, 4 or 8, rows, columns, x, bytes from row to row of x, y, bytes from row to row of y).
pub type TransposeFn = unsafe fn(usize, usize, usize, *const u8, usize, *mut u8, usize);

/// A matrix transposed: `y[column][row] = x[row][column]`; x and y do not overlap.
pub static TRANSPOSE: &[Kernel<TransposeFn>] = &[
    Kernel { name: "any_transpose__scalar", needs: Features::NONE, run: scalar::transpose },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "any_transpose__avx2", needs: crate::x86::AVX2, run: avx2::transpose },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "any_transpose__avx512", needs: crate::x86::AVX512, run: avx512::transpose },
];
