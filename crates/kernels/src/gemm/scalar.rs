//! The plain rows.

use super::{Epilogue16, FArgs, Q16Args, QArgs};
use crate::requant::rounding_of;
use lowbit_arithmetic::{fma, requantize};

/// # Safety
/// As [`super::QGemm::run`].
pub unsafe fn q8<const MR: usize, const NR: usize>(a: &QArgs) {
    // SAFETY: by the contract `x` has `taps * MR` pointers to `k` readable bytes, the panel has `taps * k.next_multiple_of(4) * NR`
    // weights and NR biases, and `rows <= MR` by `cols <= NR` outputs are writable.
    unsafe {
        let mut acc = [[0i32; NR]; MR];
        for row in &mut acc {
            for (channel, acc) in row.iter_mut().enumerate() {
                *acc = *a.bias.add(channel);
            }
        }
        let tap_bytes = a.k.next_multiple_of(4) * NR;
        for tap in 0..a.taps {
            let w = a.w.add(tap * tap_bytes);
            for (row, acc) in acc.iter_mut().enumerate().take(a.rows) {
                let x = *a.x.add(tap * MR + row);
                for k in 0..a.k {
                    let x = i32::from(*x.add(k));
                    let w = w.add(k / 4 * 4 * NR + k % 4);
                    for (channel, acc) in acc.iter_mut().enumerate() {
                        *acc = acc.wrapping_add(x * i32::from(*w.add(channel * 4)));
                    }
                }
            }
        }
        for (row, acc) in acc.iter().enumerate().take(a.rows) {
            for (channel, &acc) in acc.iter().enumerate().take(a.cols) {
                a.epilogue.store(acc, row, channel, a.y, a.y_stride);
            }
        }
    }
}

/// # Safety
/// As [`super::FGemm::run`].
pub unsafe fn f32<const MR: usize, const NR: usize>(a: &FArgs) {
    // SAFETY: as in `q8`; the panel has `taps * k * NR` weights.
    unsafe {
        let mut acc = [[0.0f32; NR]; MR];
        for row in &mut acc {
            for (channel, acc) in row.iter_mut().enumerate() {
                *acc = *a.bias.add(channel);
            }
        }
        for tap in 0..a.taps {
            let w = a.w.add(tap * a.k * NR);
            for (row, acc) in acc.iter_mut().enumerate().take(a.rows) {
                let x = *a.x.add(tap * MR + row);
                for k in 0..a.k {
                    let x = *x.add(k);
                    for (channel, acc) in acc.iter_mut().enumerate() {
                        *acc = fma(x, *w.add(k * NR + channel), *acc);
                    }
                }
            }
        }
        for (row, acc) in acc.iter().enumerate().take(a.rows) {
            for (channel, &acc) in acc.iter().enumerate().take(a.cols) {
                a.epilogue.store(acc, row, channel, a.y, a.y_stride);
            }
        }
    }
}

/// # Safety
/// As [`super::QGemm16::run`].
pub unsafe fn q16<const MR: usize, const NR: usize>(a: &Q16Args) {
    // SAFETY: as in `q8`.
    unsafe {
        let mut acc = [[0i64; NR]; MR];
        for row in &mut acc {
            for (channel, acc) in row.iter_mut().enumerate() {
                *acc = *a.bias.add(channel);
            }
        }
        for tap in 0..a.taps {
            let w = a.w.add(tap * a.k.next_multiple_of(4) * NR);
            for (row, acc) in acc.iter_mut().enumerate().take(a.rows) {
                let x = *a.x.add(tap * MR + row);
                for k in 0..a.k {
                    let x = i32::from(*x.add(k));
                    let w = w.add(k / 4 * 4 * NR + k % 4);
                    for (channel, acc) in acc.iter_mut().enumerate() {
                        *acc = acc.wrapping_add(i64::from(x * i32::from(*w.add(channel * 4))));
                    }
                }
            }
        }
        for (row, acc) in acc.iter().enumerate().take(a.rows) {
            for (channel, &acc) in acc.iter().enumerate().take(a.cols) {
                a.epilogue.store(acc, row, channel, a.y, a.y_stride);
            }
        }
    }
}

/// As [`q16`], with activations of `T` and weights of 16 bits behind the arguments' pointers.
///
/// # Safety
/// As [`super::QGemm16::run`].
pub unsafe fn w16<T: Copy + Into<i32>, const MR: usize, const NR: usize>(a: &Q16Args) {
    // SAFETY: as in `q8`; the tables that hold this row say what the pointers lead to, and packed weights are aligned.
    unsafe {
        let (x_of, w_of) = (a.x.cast::<*const T>(), a.w.cast::<i16>());
        let mut acc = [[0i64; NR]; MR];
        for row in &mut acc {
            for (channel, acc) in row.iter_mut().enumerate() {
                *acc = *a.bias.add(channel);
            }
        }
        for tap in 0..a.taps {
            let w = w_of.add(tap * a.k.next_multiple_of(4) * NR);
            for (row, acc) in acc.iter_mut().enumerate().take(a.rows) {
                let x = *x_of.add(tap * MR + row);
                for k in 0..a.k {
                    let x: i32 = (*x.add(k)).into();
                    let w = w.add(k / 4 * 4 * NR + k % 4);
                    for (channel, acc) in acc.iter_mut().enumerate() {
                        // 65535 * -32768 fits 32 bits.
                        *acc = acc.wrapping_add(i64::from(x * i32::from(*w.add(channel * 4))));
                    }
                }
            }
        }
        for (row, acc) in acc.iter().enumerate().take(a.rows) {
            for (channel, &acc) in acc.iter().enumerate().take(a.cols) {
                a.epilogue.store(acc, row, channel, a.y, a.y_stride);
            }
        }
    }
}

impl Epilogue16 {
    /// Stores one accumulator at its row and channel of the tile that starts at `y`.
    ///
    /// # Safety
    /// Row and channel lie within the tile, and the tile's pointers are valid as its kernel's contract says.
    #[inline]
    pub unsafe fn store(&self, acc: i64, row: usize, channel: usize, y: *mut u8, y_stride: usize) {
        // SAFETY: the caller's promise covers the element's place and its channel's multiplier.
        unsafe {
            let y = y.add(row * y_stride);
            match *self {
                Epilogue16::Accumulator => y.cast::<i64>().add(channel).write_unaligned(acc),
                Epilogue16::Requant { scales, zero_point, lo, hi } => {
                    let rescale = *scales.add(channel);
                    let q = requantize(acc, rescale, rounding_of(&rescale), zero_point, lo, hi, 0);
                    y.cast::<u16>().add(channel).write_unaligned(q as u16);
                }
            }
        }
    }
}
