//! The plain rows.

use super::{FArgs, Q16Args, QArgs, padded};
use lowbit_arithmetic::fma;

/// # Safety
/// As [`super::QDw::run`].
pub unsafe fn q8(a: &QArgs) {
    let stride = padded(a.channels);
    // SAFETY: by the contract `x` has `pixels * taps` pointers to `channels` readable bytes, weights and bias are padded
    // beyond `channels`, and `pixels` by `channels` outputs are writable.
    unsafe {
        for pixel in 0..a.pixels {
            for channel in 0..a.channels {
                let mut acc = *a.bias.add(channel);
                for tap in 0..a.taps {
                    let x = *(*a.x.add(pixel * a.taps + tap)).add(channel);
                    acc = acc.wrapping_add(i32::from(x) * i32::from(*a.w.add(tap * stride + channel)));
                }
                a.epilogue.store(acc, pixel, channel, a.y, a.y_stride);
            }
        }
    }
}

/// # Safety
/// As [`super::FDw::run`].
pub unsafe fn f32(a: &FArgs) {
    let stride = padded(a.channels);
    // SAFETY: as in `q8`.
    unsafe {
        for pixel in 0..a.pixels {
            for channel in 0..a.channels {
                let mut acc = *a.bias.add(channel);
                for tap in 0..a.taps {
                    let x = *(*a.x.add(pixel * a.taps + tap)).add(channel);
                    acc = fma(x, *a.w.add(tap * stride + channel), acc);
                }
                a.epilogue.store(acc, pixel, channel, a.y, a.y_stride);
            }
        }
    }
}

/// # Safety
/// As [`super::QDw16::run`].
pub unsafe fn q16(a: &Q16Args) {
    let stride = padded(a.channels);
    // SAFETY: as in `q8`.
    unsafe {
        for pixel in 0..a.pixels {
            for channel in 0..a.channels {
                let mut acc = *a.bias.add(channel);
                for tap in 0..a.taps {
                    let x = *(*a.x.add(pixel * a.taps + tap)).add(channel);
                    let product = i32::from(x) * i32::from(*a.w.add(tap * stride + channel));
                    acc = acc.wrapping_add(i64::from(product));
                }
                a.epilogue.store(acc, pixel, channel, a.y, a.y_stride);
            }
        }
    }
}
