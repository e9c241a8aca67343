//! The AVX-512 rows for weights of 16 bits: the plain loops, compiled for wide registers, which they fill by themselves.

use super::{Q8W16Args, Q16W16Args, scalar};

/// Rows of a tile.
pub const MR: usize = 4;
/// Channels of a tile.
pub const NR: usize = 16;

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn u16_by_words(a: &Q16W16Args) {
    // SAFETY: the caller's promise.
    unsafe { scalar::w16::<MR, NR, u16>(a) }
}

/// # Safety
/// As [`super::Gemm::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn u8_by_words(a: &Q8W16Args) {
    // SAFETY: the caller's promise.
    unsafe { scalar::w16::<MR, NR, u8>(a) }
}
