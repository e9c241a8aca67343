//! The plain rows.

use super::{Args, Epilogue16, FArgs, Q16Args, QArgs};
use lowbit_arithmetic::{fma, requantize};

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q8<const MR: usize, const NR: usize>(a: &QArgs) {
    let step = |acc: i32, x: u8, w: i8| acc.wrapping_add(i32::from(x) * i32::from(w));
    // SAFETY: the caller's promise; the places are those of the tile.
    unsafe {
        tile::<MR, NR, 4, _, _, _, _, _>(a, step, |acc, r, c| {
            let lacking = if a.offset.is_null() { 0 } else { (*a.offset.add(c)).wrapping_mul(*a.sums.add(r)) };
            let acc = acc.wrapping_add(lacking);
            a.epilogue.store(acc, r, c, a.y, a.y_stride);
        });
    }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn f32<const MR: usize, const NR: usize>(a: &FArgs) {
    let step = |acc: f32, x: f32, w: f32| fma(x, w, acc);
    // SAFETY: as in `q8`.
    unsafe { tile::<MR, NR, 1, _, _, _, _, _>(a, step, |acc, r, c| a.epilogue.store(acc, r, c, a.y, a.y_stride)) }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn q16<const MR: usize, const NR: usize>(a: &Q16Args) {
    let step = |acc: i64, x: u16, w: i8| acc.wrapping_add(i64::from(i32::from(x) * i32::from(w)));
    // SAFETY: as in `q8`.
    unsafe { tile::<MR, NR, 4, _, _, _, _, _>(a, step, |acc, r, c| a.epilogue.store(acc, r, c, a.y, a.y_stride)) }
}

/// # Safety
/// As [`super::Gemm::run`].
pub unsafe fn w16<const MR: usize, const NR: usize, X: Copy + Into<i32>>(a: &Args<X, i16, i64, u8, Epilogue16>) {
    // 65535 * -32768 fits 32 bits.
    let step = |acc: i64, x: X, w: i16| acc.wrapping_add(i64::from(x.into() * i32::from(w)));
    // SAFETY: as in `q8`.
    unsafe { tile::<MR, NR, 1, _, _, _, _, _>(a, step, |acc, r, c| a.epilogue.store(acc, r, c, a.y, a.y_stride)) }
}

/// One tile: every sum by its steps in order, then `store` with the row and the channel.
///
/// # Safety
/// As [`super::Gemm::run`].
#[inline(always)]
unsafe fn tile<const MR: usize, const NR: usize, const GROUP: usize, X: Copy, W: Copy, B: Copy, Y, E>(
    a: &Args<X, W, B, Y, E>,
    step: impl Fn(B, X, W) -> B,
    store: impl Fn(B, usize, usize),
) {
    // SAFETY: by the contract `x` has `taps * MR` pointers to `k` readable elements, the panel has NR weights for each tap
    // and each of `k` rounded up to whole groups, and NR biases.
    unsafe {
        let bias: [B; NR] = core::array::from_fn(|channel| *a.bias.add(channel));
        let mut acc = [bias; MR];
        let per_tap = a.k.next_multiple_of(GROUP) * NR;
        for tap in 0..a.taps {
            let w = a.w.add(tap * per_tap);
            for (row, acc) in acc.iter_mut().enumerate().take(a.rows) {
                let x = *a.x.add(tap * MR + row);
                for k in 0..a.k {
                    let x = *x.add(k);
                    let w = w.add(k / GROUP * GROUP * NR + k % GROUP);
                    for (channel, acc) in acc.iter_mut().enumerate() {
                        *acc = step(*acc, x, *w.add(channel * GROUP));
                    }
                }
            }
        }
        for (row, acc) in acc.iter().enumerate().take(a.rows) {
            for (channel, &acc) in acc.iter().enumerate().take(a.cols) {
                store(acc, row, channel);
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
                Epilogue16::Requant { how, .. } => {
                    let rescale = how.scales.at(channel);
                    let q = requantize(acc, rescale, how.rounding, how.zero_point, how.lo, how.hi, 0);
                    y.cast::<u16>().add(channel).write_unaligned(q as u16);
                }
            }
        }
    }
}
