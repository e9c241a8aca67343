//! The plain rows.

use super::{Args, FArgs, Q16Args, QArgs, padded};
use crate::gemm::Epilogue16;
use lowbit_arithmetic::fma;

/// # Safety
/// As [`super::Dw::run`].
pub unsafe fn q8(a: &QArgs) {
    let step = |acc: i32, x: u8, w: i8| acc.wrapping_add(i32::from(x) * i32::from(w));
    // SAFETY: the caller's promise; the places are those of the call.
    unsafe {
        pixels(a, step, |acc, pixel, c| {
            let mut acc = acc;
            if !a.offset.is_null() {
                for tap in 0..a.taps {
                    let x = *(*a.x.add(pixel * a.taps + tap)).add(c);
                    acc = acc.wrapping_add(i32::from(x).wrapping_mul(*a.offset.add(c)));
                }
            }
            a.epilogue.store(acc, pixel, c, a.y, a.y_stride);
        });
    }
}

/// # Safety
/// As [`super::Dw::run`].
pub unsafe fn f32(a: &FArgs) {
    let step = |acc: f32, x: f32, w: f32| fma(x, w, acc);
    // SAFETY: as in `q8`.
    unsafe { pixels(a, step, |acc, pixel, c| a.epilogue.store(acc, pixel, c, a.y, a.y_stride)) }
}

/// # Safety
/// As [`super::Dw::run`].
pub unsafe fn q16(a: &Q16Args) {
    let step = |acc: i64, x: u16, w: i8| acc.wrapping_add(i64::from(i32::from(x) * i32::from(w)));
    // SAFETY: as in `q8`.
    unsafe { pixels(a, step, |acc, pixel, c| a.epilogue.store(acc, pixel, c, a.y, a.y_stride)) }
}

/// # Safety
/// As [`super::Dw::run`].
pub unsafe fn w16<X: Copy + Into<i32>>(a: &Args<X, i16, i64, u8, Epilogue16>) {
    // 65535 * -32768 fits 32 bits.
    let step = |acc: i64, x: X, w: i16| acc.wrapping_add(i64::from(x.into() * i32::from(w)));
    // SAFETY: as in `q8`.
    unsafe { pixels(a, step, |acc, pixel, c| a.epilogue.store(acc, pixel, c, a.y, a.y_stride)) }
}

/// Every sum by its taps in order, then `store` with the pixel and the channel.
///
/// # Safety
/// As [`super::Dw::run`].
#[inline(always)]
unsafe fn pixels<X: Copy, W: Copy, B: Copy, Y, E>(
    a: &Args<X, W, B, Y, E>,
    step: impl Fn(B, X, W) -> B,
    store: impl Fn(B, usize, usize),
) {
    let stride = padded(a.channels);
    // SAFETY: by the contract `x` has `pixels * taps` pointers to `channels` readable elements, and weights and bias are
    // padded beyond `channels`.
    unsafe {
        for pixel in 0..a.pixels {
            for channel in 0..a.channels {
                let mut acc = *a.bias.add(channel);
                for tap in 0..a.taps {
                    let x = *(*a.x.add(pixel * a.taps + tap)).add(channel);
                    acc = step(acc, x, *a.w.add(tap * stride + channel));
                }
                store(acc, pixel, channel);
            }
        }
    }
}
