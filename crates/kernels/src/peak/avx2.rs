//! The AVX2 row: products of words, as its matrix products use them.

use core::arch::x86_64::*;

/// Sums.
const SUMS: usize = 12;
/// Products a step.
pub const MACS: usize = SUMS * 16;

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn q8(steps: usize) -> i32 {
    let (mut sums, w) = ([_mm256_set1_epi16(1); SUMS], _mm256_set1_epi16(core::hint::black_box(3)));
    for _ in 0..steps {
        // What is multiplied is the sum itself: a product that stays the same would be made once.
        for sum in &mut sums {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*sum, w));
        }
    }
    let all = sums.into_iter().fold(_mm256_setzero_si256(), |all, sum| _mm256_add_epi32(all, sum));
    _mm256_extract_epi32::<0>(all)
}
