//! The AVX-VNNI row: as AVX2's, but for the dot product.

use super::QArgs;
use super::avx2::{Block, CHUNK, run, stored, sums};
use crate::x86::dot::Bytes4;

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx2,fma,avxvnni")]
pub unsafe fn q8(a: &QArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        match a.offset.is_null() {
            true => run(a, [q8_sums::<1, false>, q8_sums::<2, false>], stored::<Bytes4>()),
            false => run(a, [q8_sums::<1, true>, q8_sums::<2, true>], stored::<Bytes4>()),
        }
    }
}

/// # Safety
/// As [`sums`], on a CPU with AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn q8_sums<const P: usize, const OFFSET: bool>(
    a: &QArgs,
    first: usize,
    w: *const i8,
    block: usize,
    blocks: usize,
    out: &mut [Block; CHUNK],
) {
    // SAFETY: the caller's promise, and AVX-VNNI is enabled.
    unsafe { sums::<Bytes4, P, OFFSET>(a, first, w, block, blocks, out) }
}
