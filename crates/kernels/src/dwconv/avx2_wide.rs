//! The AVX2 rows with accumulators of 64 bits: eight channels a register, whose products fit 32 bits.

use super::{Args, Q8W16Args, Q16Args, Q16W16Args, padded};
use crate::gemm::Epilogue16;
use crate::x86::wide8::{Store8, add_wide};
use core::arch::x86_64::*;

/// Numbers of which eight become a register of i32.
trait Eight {
    /// # Safety
    /// AVX2 is enabled; `from` is readable for eight.
    unsafe fn widen(from: *const Self) -> __m256i;
}

/// Each type by the instruction that widens it.
macro_rules! eight {
    ($($number:ty, $load:ident, $widen:ident;)*) => {$(
        impl Eight for $number {
            #[inline]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn widen(from: *const Self) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe { $widen($load(from.cast())) }
            }
        }
    )*};
}

eight! {
    u8, _mm_loadl_epi64, _mm256_cvtepu8_epi32;
    i8, _mm_loadl_epi64, _mm256_cvtepi8_epi32;
    u16, _mm_loadu_si128, _mm256_cvtepu16_epi32;
    i16, _mm_loadu_si128, _mm256_cvtepi16_epi32;
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn u16_by_bytes(a: &Q16Args) {
    // SAFETY: the caller's promise.
    unsafe { pixels(a) }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn u16_by_words(a: &Q16W16Args) {
    // SAFETY: the caller's promise.
    unsafe { pixels(a) }
}

/// # Safety
/// As [`super::Dw::run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn u8_by_words(a: &Q8W16Args) {
    // SAFETY: the caller's promise.
    unsafe { pixels(a) }
}

/// # Safety
/// As [`super::Dw::run`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn pixels<X: Eight, W: Eight>(a: &Args<X, W, i64, u8, Epilogue16>) {
    let stride = padded(a.channels);
    for first in (0..a.channels).step_by(8) {
        let n = (a.channels - first).min(8);
        // SAFETY: `x` has `pixels * taps` pointers, rows of it are readable for a register from any channel on, weights
        // and bias are padded to whole registers, and outputs are written within the channels.
        unsafe {
            let how = Store8::new(&a.epilogue, first, n);
            let bias = [0, 4].map(|i| _mm256_loadu_si256(a.bias.add(first + i).cast()));
            for pixel in 0..a.pixels {
                let mut sums = bias;
                for tap in 0..a.taps {
                    let x = X::widen((*a.x.add(pixel * a.taps + tap)).add(first));
                    let w = W::widen(a.w.add(tap * stride + first));
                    // 65535 * -32768 fits 32 bits.
                    sums = add_wide::<0>(sums, _mm256_mullo_epi32(x, w));
                }
                how.store(&a.epilogue, sums, pixel, first, n, a.y, a.y_stride);
            }
        }
    }
}
