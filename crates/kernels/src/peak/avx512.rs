//! The AVX-512 VNNI row.

use core::arch::x86_64::*;

/// Sums.
const SUMS: usize = 16;
/// Products a step.
pub const MACS: usize = SUMS * 64;

/// # Safety
/// The CPU has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn q8(steps: usize) -> i32 {
    let (mut sums, w) = ([_mm512_set1_epi32(1); SUMS], _mm512_set1_epi8(core::hint::black_box(3)));
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, w, w);
        }
    }
    let all = sums.into_iter().fold(_mm512_setzero_si512(), |all, sum| _mm512_add_epi32(all, sum));
    _mm512_reduce_add_epi32(all)
}
