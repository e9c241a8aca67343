//! AVX-512 rows: the sixteen partial sums of the definition are the sixteen lanes of a register.

use super::{Ordered, ReduceFn, scalar};
use crate::x86::lanes::{Zmm, first16};
use core::arch::x86_64::*;
use lowbit_arithmetic::{Lanes, elementary, sqrt};

/// # Safety
/// The CPU has AVX-512; each pointer leads to `n` elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn softmax(n: usize, x: *const f32, y: *mut f32) {
    // SAFETY: elements are accessed within n; each is read for the last time before its place is written.
    unsafe {
        // A NaN, which this may lose, makes the sum below one, and a zero of either sign is the same to a difference.
        let least = _mm512_set1_ps(f32::NEG_INFINITY);
        let mut top = least;
        for i in (0..n).step_by(16) {
            top = _mm512_max_ps(top, _mm512_mask_loadu_ps(least, first16(n - i), x.add(i)));
        }
        let top = Zmm::splat(_mm512_reduce_max_ps(top));
        let mut total = _mm512_setzero_ps();
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            let e = elementary::exp(Zmm::load(x.add(i), mask).sub(top));
            total = _mm512_mask_add_ps(total, mask, total, e.0);
            e.store(y.add(i), mask);
        }
        let total = Zmm::splat(fold(total));
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            Zmm::load(y.add(i), mask).div(total).store(y.add(i), mask);
        }
    }
}

/// The tree of `lowbit_arithmetic::float::fold_lanes`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fold(lanes: __m512) -> f32 {
    let eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// # Safety
/// As [`softmax`]; `bias` may be null.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn layer_norm(n: usize, x: *const f32, scale: *const f32, bias: *const f32, epsilon: f32, y: *mut f32) {
    // SAFETY: as in `softmax`.
    unsafe {
        let count = n as f32;
        let mut sum = _mm512_setzero_ps();
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            sum = _mm512_mask_add_ps(sum, mask, sum, Zmm::load(x.add(i), mask).0);
        }
        let mean = Zmm::splat(fold(sum) / count);
        let mut sum = _mm512_setzero_ps();
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            let centred = Zmm::load(x.add(i), mask).sub(mean);
            sum = _mm512_mask_add_ps(sum, mask, sum, centred.mul(centred).0);
        }
        let variance = fold(sum) / count;
        let factor = Zmm::splat(1.0 / sqrt(variance + epsilon));
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            let normal = Zmm::load(x.add(i), mask).sub(mean).mul(factor);
            let bias = if bias.is_null() { Zmm::splat(0.0) } else { Zmm::load(bias.add(i), mask) };
            normal.fma(Zmm::load(scale.add(i), mask), bias).store(y.add(i), mask);
        }
    }
}

/// # Safety
/// The CPU has AVX-512; `x` leads to `n` elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn reduce(f: ReduceFn, n: usize, x: *const f32) -> f32 {
    let Some(how) = Ordered::of(f) else {
        // SAFETY: the caller's promise.
        return unsafe { scalar::reduce(f, n, x) };
    };
    let (mask, flip, sizes) = (_mm512_set1_epi32(how.mask), _mm512_set1_epi32(how.flip), _mm512_set1_epi32(i32::MAX));
    let (mut top, mut nan) = (_mm512_set1_epi32(Ordered::LEAST), 0);
    for i in (0..n).step_by(16) {
        let inside = first16(n - i);
        // SAFETY: elements are accessed within n.
        let x = unsafe { _mm512_maskz_loadu_ps(inside, x.add(i)) };
        nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let bits = _mm512_xor_si512(_mm512_and_si512(_mm512_castps_si512(x), mask), flip);
        let order = _mm512_xor_si512(bits, _mm512_and_si512(_mm512_srai_epi32::<31>(bits), sizes));
        top = _mm512_mask_max_epi32(top, inside, top, order);
    }
    how.number(_mm512_reduce_max_epi32(top), nan != 0)
}
