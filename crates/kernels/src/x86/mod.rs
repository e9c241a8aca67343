//! What the x86 rows of several tables share. The rows themselves lie in their tables' folders.
//!
//! A row is a function with `#[target_feature]`; helpers carry the same features, or fewer, and `#[inline]`, so that they
//! are compiled into it. Methods of [`Zmm`](lanes::Zmm) and [`Ymm`](lanes8::Ymm) are `#[inline(always)]` instead, because
//! generic code calls them, and so is all that is generic over a [`Dot`](dot::Dot): it takes the features of its caller.
//!
//! Modules whose names end in 8 are for the 256-bit registers of AVX2, the others for those of AVX-512.

pub mod amx;
pub mod dot;
pub mod interleave;
pub mod lanes;
pub mod lanes8;
pub mod rescale;
pub mod rescale8;
pub mod wide;
pub mod wide8;

use crate::Features;

/// What most rows of 256 bits need.
pub const AVX2: Features = Features::AVX2;
/// What rows of 256 bits with byte dot products need.
pub const AVX_VNNI: Features = AVX2.and(Features::AVX_VNNI);
/// What most rows of 512 bits need.
pub const AVX512: Features = Features::AVX2.and(Features::AVX512);
/// What rows with byte dot products need.
pub const AVX512_VNNI: Features = AVX512.and(Features::AVX512_VNNI);
/// What rows with byte permutations need.
pub const AVX512_VBMI: Features = AVX512.and(Features::AVX512_VBMI);

/// What rows with tiles need.
pub const AMX: Features = AVX512_VNNI.and(Features::AMX_INT8);

/// `unroll!(n, i => body)`: the body for i = 0, 1, ... below a constant n of at most 6.
///
/// The compiler keeps a tile in registers only if every index is a constant, and it does not unroll large bodies itself.
macro_rules! unroll {
    ($n:expr, $i:ident => $body:expr) => {
        $crate::x86::unroll!(@ $n, $i => $body, 0 1 2 3 4 5)
    };
    (@ $n:expr, $i:ident => $body:expr, $($value:literal)*) => {{
        $(
            if $value < $n {
                let $i: usize = $value;
                $body
            }
        )*
    }};
}
pub(crate) use unroll;
