//! Moving data.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::isa::{Features, Kernel};

pub use scalar::{fill, gather};

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

/// A copy whose output is contiguous and whose input is anywhere.
///
/// Slices, flips, transpositions, broadcasts, nearest resizes and gathers along constant indices are all of this form.
#[derive(Debug, Clone, Copy)]
pub struct GatherArgs<'a> {
    /// The input; offsets count from here.
    pub x: *const u8,
    /// The output, whose runs follow each other in row-major order of the axes.
    pub y: *mut u8,
    /// Bytes from `x` to the place whose axes' offsets are all 0.
    pub base: isize,
    /// For each axis, outermost first, the byte offset that each of its positions adds. At most 8 axes.
    pub axes: &'a [&'a [isize]],
    /// Bytes that are contiguous in both: the innermost run.
    pub run: usize,
}
