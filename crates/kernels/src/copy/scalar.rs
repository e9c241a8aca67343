//! The plain rows.

use super::GatherArgs;
use core::ptr;

/// Rows and columns of a block that stays in the first cache while it is transposed.
const BLOCK: usize = 32;

/// # Safety
/// The rows of `x` and `y` are readable and writable; elements have 1, 2, 4 or 8 bytes.
pub unsafe fn transpose(
    elem_size: usize,
    rows: usize,
    cols: usize,
    x: *const u8,
    x_stride: usize,
    y: *mut u8,
    y_stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match elem_size {
            1 => transpose_of::<u8>(rows, cols, x, x_stride, y, y_stride),
            2 => transpose_of::<u16>(rows, cols, x, x_stride, y, y_stride),
            4 => transpose_of::<u32>(rows, cols, x, x_stride, y, y_stride),
            _ => transpose_of::<u64>(rows, cols, x, x_stride, y, y_stride),
        }
    }
}

unsafe fn transpose_of<T: Copy>(rows: usize, cols: usize, x: *const u8, x_stride: usize, y: *mut u8, y_stride: usize) {
    for first_row in (0..rows).step_by(BLOCK) {
        for first_col in (0..cols).step_by(BLOCK) {
            for col in first_col..cols.min(first_col + BLOCK) {
                for row in first_row..rows.min(first_row + BLOCK) {
                    // SAFETY: row < rows and col < cols.
                    unsafe {
                        let value = x.add(row * x_stride).cast::<T>().add(col).read_unaligned();
                        y.add(col * y_stride).cast::<T>().add(row).write_unaligned(value);
                    }
                }
            }
        }
    }
}

/// Copies as [`GatherArgs`] says.
///
/// # Safety
/// Every place that the axes' offsets lead to is readable for `run` bytes, and `y` is writable for as many runs as the
/// axes' lengths multiply to. Input and output do not overlap.
pub unsafe fn gather(args: &GatherArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        let x = args.x.offset(args.base);
        match args.run {
            1 => walk::<1>(args.axes, x, args.y, 1),
            2 => walk::<2>(args.axes, x, args.y, 2),
            4 => walk::<4>(args.axes, x, args.y, 4),
            8 => walk::<8>(args.axes, x, args.y, 8),
            run => walk::<ANY>(args.axes, x, args.y, run),
        };
    }
}

/// Stands for a run whose length is known only when it runs.
const ANY: usize = 0;

/// One run, of `N` bytes unless `N` is [`ANY`].
#[inline(always)]
unsafe fn copy<const N: usize>(x: *const u8, y: *mut u8, run: usize) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(x, y, if N == ANY { run } else { N }) };
}

/// Copies all runs below `x`, one axis a level, and returns the place behind the last.
unsafe fn walk<const N: usize>(axes: &[&[isize]], x: *const u8, mut y: *mut u8, run: usize) -> *mut u8 {
    // SAFETY: the caller's promise: offsets of every axis lead to readable places, and `y` has room for every run.
    unsafe {
        match axes {
            [] => {
                copy::<N>(x, y, run);
                y.add(run)
            }
            [last] => {
                for &offset in *last {
                    copy::<N>(x.offset(offset), y, run);
                    y = y.add(run);
                }
                y
            }
            [first, rest @ ..] => {
                for &offset in *first {
                    y = walk::<N>(rest, x.offset(offset), y, run);
                }
                y
            }
        }
    }
}

/// Fills `n` elements of 1, 2, 4 or 8 bytes with the low bytes of `value`.
///
/// # Safety
/// `y` is writable for `n` elements.
pub unsafe fn fill(elem_size: usize, n: usize, value: u64, y: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match elem_size {
            1 => ptr::write_bytes(y, value as u8, n),
            2 => (0..n).for_each(|i| y.cast::<u16>().add(i).write_unaligned(value as u16)),
            4 => (0..n).for_each(|i| y.cast::<u32>().add(i).write_unaligned(value as u32)),
            _ => (0..n).for_each(|i| y.cast::<u64>().add(i).write_unaligned(value)),
        }
    }
}
