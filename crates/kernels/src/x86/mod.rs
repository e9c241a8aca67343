//! What the AVX-512 rows of several tables share. The rows themselves lie in their tables' folders.
//!
//! A row is a function with `#[target_feature]`; helpers carry the same features and `#[inline]`, so that they are
//! compiled into it. Methods of [`Zmm`](lanes::Zmm) are `#[inline(always)]` instead, because generic code calls them.

pub mod interleave;
pub mod lanes;
pub mod rescale;
pub mod wide;

use crate::Features;

/// What most rows here need.
pub const AVX512: Features = Features::AVX2.and(Features::AVX512);
/// What rows with byte dot products need.
pub const AVX512_VNNI: Features = AVX512.and(Features::AVX512_VNNI);
/// What rows with byte permutations need.
pub const AVX512_VBMI: Features = AVX512.and(Features::AVX512_VBMI);

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
