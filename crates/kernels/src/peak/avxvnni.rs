//! The AVX-VNNI row.

use core::arch::x86_64::*;

/// Sums.
const SUMS: usize = 12;
/// Products a step.
pub const MACS: usize = SUMS * 32;

/// # Safety
/// The CPU has AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn q8(steps: usize) -> i32 {
    let (mut sums, w) = ([_mm256_set1_epi32(1); SUMS], _mm256_set1_epi8(core::hint::black_box(3)));
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, w, w);
        }
    }
    let all = sums.into_iter().fold(_mm256_setzero_si256(), |all, sum| _mm256_add_epi32(all, sum));
    _mm256_extract_epi32::<0>(all)
}
