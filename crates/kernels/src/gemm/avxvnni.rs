//! The AVX-VNNI row: as AVX2's, but for the dot product.

use super::QArgs;
use super::avx2::{MR, NR, finish_here, products};
use crate::x86::dot::Bytes4;

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q8(a: &QArgs) {
    static TILES: [[unsafe fn(&QArgs); NR / 8]; MR] = [
        [tile::<1, 1>, tile::<1, 2>],
        [tile::<2, 1>, tile::<2, 2>],
        [tile::<3, 1>, tile::<3, 2>],
        [tile::<4, 1>, tile::<4, 2>],
        [tile::<5, 1>, tile::<5, 2>],
        [tile::<6, 1>, tile::<6, 2>],
    ];
    if let Some(tile) = TILES.get(a.rows.wrapping_sub(1)).and_then(|tiles| tiles.get(a.cols.wrapping_sub(1) / 8)) {
        // SAFETY: the caller's promise; the instance has the rows and at least the channels of the arguments.
        unsafe { tile(a) }
    }
}

/// # Safety
/// As [`super::Gemm::run`], with `a.rows == R` and `a.cols` in the last of `V` vectors.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn tile<const R: usize, const V: usize>(a: &QArgs) {
    // SAFETY: the caller's promise, and AVX-VNNI is enabled.
    unsafe { finish_here(products::<Bytes4, R, V>(a), a) }
}
