//! What is stored of accumulators of 64 bits, eight channels at a time.

use super::rescale8::store_bytes8;
use crate::gemm::Epilogue16;
use crate::requant::{Requant, Scales};
use core::arch::x86_64::*;

/// An epilogue of eight channels.
#[derive(Clone, Copy)]
pub enum Store8 {
    /// To u16 by multipliers that are floats.
    Float {
        /// One a channel.
        m: __m256,
        /// A bound above, because too large a value would become the least integer.
        top: __m256,
        /// Added after rounding.
        zero_point: __m256i,
        /// Lowest stored value.
        lo: __m256i,
        /// Highest stored value.
        hi: __m256i,
    },
    /// Anything else, an element at a time.
    Plain,
}

impl Store8 {
    /// For `n` channels, up to eight, from `channel` on.
    ///
    /// # Safety
    /// AVX2 is enabled; there are multipliers for the channels.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn new(epilogue: &Epilogue16, channel: usize, n: usize) -> Self {
        let Epilogue16::Requant { how: Requant { scales: Scales::Float32(of), zero_point, lo, hi, .. }, .. } =
            *epilogue
        else {
            return Store8::Plain;
        };
        if !matches!(epilogue, Epilogue16::Requant { how, .. } if how.is_default()) {
            return Store8::Plain;
        }
        let mut m = [0.0f32; 8];
        for (i, m) in m.iter_mut().enumerate().take(n) {
            // SAFETY: the caller's promise.
            *m = unsafe { *of.add(channel + i) };
        }
        Store8::Float {
            // SAFETY: eight floats are a register.
            m: unsafe { _mm256_loadu_ps(m.as_ptr()) },
            top: _mm256_set1_ps((hi - zero_point) as f32),
            zero_point: _mm256_set1_epi32(zero_point),
            lo: _mm256_set1_epi32(lo),
            hi: _mm256_set1_epi32(hi),
        }
    }

    /// Stores the first `n` of eight sums at their row and channels of the tile that starts at `y`.
    ///
    /// # Safety
    /// As [`Epilogue16::store`] for each; this is [`Store8::new`] of the same epilogue and channels.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    #[allow(clippy::too_many_arguments, reason = "a place and what is put there")]
    pub unsafe fn store(
        self,
        epilogue: &Epilogue16,
        sums: [__m256i; 2],
        row: usize,
        channel: usize,
        n: usize,
        y: *mut u8,
        y_stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if let Store8::Float { m, top, zero_point, lo, hi } = self
                && let Some(v) = to_floats(sums)
            {
                let q = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(v, m), top));
                let q = _mm256_min_epi32(_mm256_max_epi32(_mm256_add_epi32(q, zero_point), lo), hi);
                let words = _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
                let y = y.add(row * y_stride).cast::<u16>().add(channel);
                return store_bytes8(y.cast(), 2 * n.min(8), _mm256_castsi128_si256(words));
            }
            let mut lanes = [0i64; 8];
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(lanes.as_mut_ptr().add(4).cast(), sums[1]);
            for (i, &acc) in lanes.iter().enumerate().take(n) {
                epilogue.store(acc, row, channel + i, y, y_stride);
            }
        }
    }
}

/// Eight integers as floats with one rounding, unless one is 2^51 or more in magnitude.
///
/// AVX2 does not convert 64-bit integers. Those below 2^51 are added to the bits of the double 2^52 + 2^51, whose last bit
/// is 1: what is left without it is exact, and the conversion to float is the only rounding.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_floats(x: [__m256i; 2]) -> Option<__m256> {
    let bound = _mm256_set1_epi64x(1 << 51);
    let above = |x: __m256i| _mm256_srli_epi64::<52>(_mm256_add_epi64(x, bound));
    let above = _mm256_or_si256(above(x[0]), above(x[1]));
    if _mm256_testz_si256(above, above) == 0 {
        return None;
    }
    let large = _mm256_set1_pd(((1u64 << 52) + (1 << 51)) as f64);
    let float = |x: __m256i| {
        let sum = _mm256_castsi256_pd(_mm256_add_epi64(x, _mm256_castpd_si256(large)));
        _mm256_cvtpd_ps(_mm256_sub_pd(sum, large))
    };
    Some(_mm256_set_m128(float(x[1]), float(x[0])))
}

/// Adds eight integers of 32 bits, times 2^`SHIFT`, to sums of 64.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn add_wide<const SHIFT: i32>(sums: [__m256i; 2], x: __m256i) -> [__m256i; 2] {
    let low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(x));
    let high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(x));
    [
        _mm256_add_epi64(sums[0], _mm256_slli_epi64::<SHIFT>(low)),
        _mm256_add_epi64(sums[1], _mm256_slli_epi64::<SHIFT>(high)),
    ]
}
