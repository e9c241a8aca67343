//! The plain rows.

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

/// Stands for a run whose length is known only when it runs.
const ANY: usize = 0;

/// Compiles a loop for the lengths of an element and of a few: a call takes longer than copying so little.
macro_rules! sized {
    ($run:expr, $N:ident => $loop:expr) => {
        match $run {
            1 => {
                const $N: usize = 1;
                $loop
            }
            2 => {
                const $N: usize = 2;
                $loop
            }
            4 => {
                const $N: usize = 4;
                $loop
            }
            8 => {
                const $N: usize = 8;
                $loop
            }
            16 => {
                const $N: usize = 16;
                $loop
            }
            _ => {
                const $N: usize = ANY;
                $loop
            }
        }
    };
}
/// Copies runs of bytes from anywhere to one after another: run `i` starts `offsets[i]` bytes behind `x`.
///
/// Strided slices, flips, transpositions, broadcasts and nearest resampling are of this form.
///
/// # Safety
/// `run` bytes at every offset are readable, and `y` is writable for as many runs as there are offsets. Input and output
/// do not overlap.
pub unsafe fn gather(run: usize, offsets: &[usize], x: *const u8, mut y: *mut u8) {
    sized!(run, N => for &offset in offsets {
        // SAFETY: the caller's promise.
        unsafe {
            copy::<N>(run, x.add(offset), y);
            y = y.add(run);
        }
    });
}

/// Copies `count` runs of bytes, each with its stride: joins and splits.
///
/// # Safety
/// The runs of `x` are readable, those of `y` writable. Input and output do not overlap.
pub unsafe fn runs(run: usize, count: usize, x: *const u8, x_stride: usize, y: *mut u8, y_stride: usize) {
    sized!(run, N => for i in 0..count {
        // SAFETY: the caller's promise; i < count.
        unsafe { copy::<N>(run, x.add(i * x_stride), y.add(i * y_stride)) };
    });
}

/// One run, of `N` bytes unless `N` is [`ANY`].
///
/// # Safety
/// The run of `x` is readable, that of `y` writable, and they do not overlap.
#[inline(always)]
unsafe fn copy<const N: usize>(run: usize, x: *const u8, y: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(x, y, if N == ANY { run } else { N }) };
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
