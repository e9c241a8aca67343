//! The plain rows.

use super::{Args, AvgAny, QAverage, Taps};
use crate::requant::rounding_of;
use lowbit_arithmetic::pool;

/// One channel's taps, in order.
///
/// # Safety
/// `args` holds to the module's contract for as long as the iterator lives, and `channel < args.channels`.
unsafe fn taps<T: Copy>(args: &Args<T>, channel: usize) -> impl Iterator<Item = T> {
    // SAFETY: `x` has `taps` pointers, each to at least `channels` elements.
    (0..args.taps).map(move |tap| unsafe { *(*args.x.add(tap)).add(channel) })
}

/// # Safety
/// The pointers are valid as the module's contract says.
pub unsafe fn max<T: Copy + Ord + Default>(args: &Args<T>) {
    for channel in 0..args.channels {
        // SAFETY: `channel` lies within the rows.
        unsafe { *args.y.add(channel) = taps(args, channel).max().unwrap_or_default() };
    }
}

/// # Safety
/// As [`max`].
pub unsafe fn max_f32(args: &Args<f32>) {
    for channel in 0..args.channels {
        // SAFETY: `channel` lies within the rows.
        unsafe { *args.y.add(channel) = pool::max(taps(args, channel)) };
    }
}

/// # Safety
/// As [`max`].
pub unsafe fn avg_u8(args: &Args<u8>, by: &QAverage) {
    for channel in 0..args.channels {
        // SAFETY: `channel` lies within the rows.
        unsafe { *args.y.add(channel) = average(taps(args, channel).map(i32::from), by) as u8 };
    }
}

/// # Safety
/// As [`max`].
pub unsafe fn avg_u16(args: &Args<u16>, by: &QAverage) {
    for channel in 0..args.channels {
        // SAFETY: `channel` lies within the rows.
        unsafe { *args.y.add(channel) = average(taps(args, channel).map(i32::from), by) as u16 };
    }
}

/// # Safety
/// As [`max`].
pub unsafe fn avg_any(a: &AvgAny) {
    let QAverage { rescale, zero_in, zero_out, lo, hi } = a.by;
    for channel in 0..a.channels {
        // SAFETY: there are `taps` pointers, each to at least `channels` elements; `channel` lies within the output.
        unsafe {
            let tap = |tap: usize| match a.x {
                Taps::U8(x) => i32::from(*(*x.add(tap)).add(channel)),
                Taps::U16(x) => i32::from(*(*x.add(tap)).add(channel)),
            };
            let index = a.index.wrapping_add(a.index_step.wrapping_mul(channel as u64));
            let q = pool::average((0..a.taps).map(tap), zero_in, rescale, a.rounding, zero_out, lo, hi, index);
            a.y.set(channel, q);
        }
    }
}

fn average(taps: impl Iterator<Item = i32>, by: &QAverage) -> i32 {
    pool::average(taps, by.zero_in, by.rescale, rounding_of(&by.rescale), by.zero_out, by.lo, by.hi, 0)
}

/// # Safety
/// As [`max`].
pub unsafe fn avg_f32(args: &Args<f32>, count: f32) {
    for channel in 0..args.channels {
        // SAFETY: `channel` lies within the rows.
        unsafe { *args.y.add(channel) = pool::sum(taps(args, channel)) / count };
    }
}
