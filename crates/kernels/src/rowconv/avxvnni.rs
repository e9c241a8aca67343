//! The AVX-VNNI row: as AVX2's, by its own tiles.

use super::QArgs;
use super::avx2::by_tiles;
use crate::gemm;

/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX-VNNI.
pub unsafe fn full(a: &QArgs) {
    // SAFETY: the caller's promise.
    unsafe { by_tiles(a, gemm::avxvnni::q8) }
}
