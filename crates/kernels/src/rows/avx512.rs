//! AVX-512 rows: the sixteen partial sums of the definition are the sixteen lanes of a register.

use crate::elementwise::max2;
use crate::x86::lanes::{Zmm, first16};
use core::arch::x86_64::*;
use lowbit_arithmetic::float::fold_lanes;
use lowbit_arithmetic::{Lanes, elementary, pool, sqrt};

/// # Safety
/// The CPU has AVX-512; each pointer leads to `n` elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn softmax(n: usize, x: *const f32, y: *mut f32) {
    // SAFETY: elements are accessed within n; each is read for the last time before its place is written.
    unsafe {
        let mut top = Zmm::splat(f32::NEG_INFINITY);
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            top = Zmm(_mm512_mask_mov_ps(top.0, mask, max2(top, Zmm::load(x.add(i), mask)).0));
        }
        let top = Zmm::splat(pool::max(top.to_array().into_iter()));
        let mut total = _mm512_setzero_ps();
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            let e = elementary::exp(Zmm::load(x.add(i), mask).sub(top));
            total = _mm512_mask_add_ps(total, mask, total, e.0);
            e.store(y.add(i), mask);
        }
        let total = Zmm::splat(fold_lanes(Zmm(total).to_array()));
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            Zmm::load(y.add(i), mask).div(total).store(y.add(i), mask);
        }
    }
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
        let mean = Zmm::splat(fold_lanes(Zmm(sum).to_array()) / count);
        let mut sum = _mm512_setzero_ps();
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            let centred = Zmm::load(x.add(i), mask).sub(mean);
            sum = _mm512_mask_add_ps(sum, mask, sum, centred.mul(centred).0);
        }
        let variance = fold_lanes(Zmm(sum).to_array()) / count;
        let factor = Zmm::splat(1.0 / sqrt(variance + epsilon));
        for i in (0..n).step_by(16) {
            let mask = first16(n - i);
            let normal = Zmm::load(x.add(i), mask).sub(mean).mul(factor);
            let bias = if bias.is_null() { Zmm::splat(0.0) } else { Zmm::load(bias.add(i), mask) };
            normal.fma(Zmm::load(scale.add(i), mask), bias).store(y.add(i), mask);
        }
    }
}
