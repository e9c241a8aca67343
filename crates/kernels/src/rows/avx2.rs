//! AVX2 rows: the sixteen partial sums of the definition are the lanes of two registers.

use super::{Ordered, ReduceFn, scalar};
use crate::elementwise::max2;
use crate::x86::lanes8::{Ymm, first8};
use core::arch::x86_64::*;
use lowbit_arithmetic::float::fold_lanes;
use lowbit_arithmetic::{Lanes, elementary, pool, sqrt};

/// Sixteen partial sums.
#[derive(Clone, Copy)]
struct Sums([Ymm; 2]);

impl Sums {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn zero() -> Self {
        Sums([Ymm(_mm256_setzero_ps()); 2])
    }

    /// Adds elements `i..i + 8`, of which there are `n` more, to their lanes. `i` is a multiple of 8.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&mut self, i: usize, n: usize, x: Ymm) {
        let sum = &mut self.0[i / 8 % 2];
        // Lanes beyond the end keep what they have: what is computed of nothing need not be 0.
        *sum = Ymm(_mm256_blendv_ps(sum.0, sum.add(x).0, _mm256_castsi256_ps(first8(n))));
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn total(self) -> f32 {
        let [low, high] = self.0.map(Ymm::to_array);
        let mut lanes = [0.0; 16];
        lanes[..8].copy_from_slice(&low);
        lanes[8..].copy_from_slice(&high);
        fold_lanes(lanes)
    }
}

/// # Safety
/// The CPU has AVX2 and FMA; each pointer leads to `n` elements.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn softmax(n: usize, x: *const f32, y: *mut f32) {
    // SAFETY: elements are accessed within n; each is read for the last time before its place is written.
    unsafe {
        let mut top = Ymm::splat(f32::NEG_INFINITY);
        for i in (0..n).step_by(8) {
            let inside = _mm256_castsi256_ps(first8(n - i));
            top = Ymm::select(inside, max2(top, Ymm::load(x.add(i), n - i)), top);
        }
        let top = Ymm::splat(pool::max(top.to_array().into_iter()));
        let mut sums = Sums::zero();
        for i in (0..n).step_by(8) {
            let e = elementary::exp(Ymm::load(x.add(i), n - i).sub(top));
            sums.add(i, n - i, e);
            e.store(y.add(i), n - i);
        }
        let total = Ymm::splat(sums.total());
        for i in (0..n).step_by(8) {
            Ymm::load(y.add(i), n - i).div(total).store(y.add(i), n - i);
        }
    }
}

/// # Safety
/// As [`softmax`]; `bias` may be null.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn layer_norm(n: usize, x: *const f32, scale: *const f32, bias: *const f32, epsilon: f32, y: *mut f32) {
    // SAFETY: as in `softmax`.
    unsafe {
        let count = n as f32;
        let mut sums = Sums::zero();
        for i in (0..n).step_by(8) {
            sums.add(i, n - i, Ymm::load(x.add(i), n - i));
        }
        let mean = Ymm::splat(sums.total() / count);
        let mut sums = Sums::zero();
        for i in (0..n).step_by(8) {
            let centred = Ymm::load(x.add(i), n - i).sub(mean);
            sums.add(i, n - i, centred.mul(centred));
        }
        let variance = sums.total() / count;
        let factor = Ymm::splat(1.0 / sqrt(variance + epsilon));
        for i in (0..n).step_by(8) {
            let normal = Ymm::load(x.add(i), n - i).sub(mean).mul(factor);
            let bias = if bias.is_null() { Ymm::splat(0.0) } else { Ymm::load(bias.add(i), n - i) };
            normal.fma(Ymm::load(scale.add(i), n - i), bias).store(y.add(i), n - i);
        }
    }
}

/// # Safety
/// The CPU has AVX2 and FMA; `x` leads to `n` elements.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn reduce(f: ReduceFn, n: usize, x: *const f32) -> f32 {
    let Some(how) = Ordered::of(f) else {
        // SAFETY: the caller's promise.
        return unsafe { scalar::reduce(f, n, x) };
    };
    let (mask, flip, sizes) = (_mm256_set1_epi32(how.mask), _mm256_set1_epi32(how.flip), _mm256_set1_epi32(i32::MAX));
    let (mut top, mut nan) = (_mm256_set1_epi32(Ordered::LEAST), _mm256_setzero_ps());
    for i in (0..n).step_by(8) {
        // SAFETY: elements are accessed within n.
        let x = unsafe { Ymm::load(x.add(i), n - i) };
        nan = _mm256_or_ps(nan, x.is_nan());
        let bits = _mm256_xor_si256(_mm256_and_si256(x.to_bits(), mask), flip);
        let order = _mm256_xor_si256(bits, _mm256_and_si256(_mm256_srai_epi32::<31>(bits), sizes));
        // Lanes beyond the end keep what they have.
        let order = if n - i >= 8 { order } else { _mm256_blendv_epi8(top, order, first8(n - i)) };
        top = _mm256_max_epi32(top, order);
    }
    let four = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256::<1>(top));
    let two = _mm_max_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
    let one = _mm_max_epi32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two));
    how.number(_mm_cvtsi128_si32(one), _mm256_movemask_ps(nan) != 0)
}
