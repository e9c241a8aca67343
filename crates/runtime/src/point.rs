//! Where the taps of output pixels lie: the pointers that kernels gather their input by.
//!
//! This runs for every pixel of every convolution. Pixels that follow each other in an output row read input pixels at
//! equal distances, but for those that a tap leads beyond the image: so a row is pointed at tap by tap, with no decision
//! a pixel.

use crate::program::Window;
use lowbit_kernels::gemm::Run;

/// How far apart pointers are written.
#[derive(Debug, Clone, Copy)]
struct Apart {
    /// From tap to tap.
    tap: usize,
    /// From pixel to pixel.
    pixel: usize,
}

/// Fills the pointers of `n` output pixels of one row from `[image, oy, ox]` on.
///
/// # Safety
/// `pointers` has room for the last pixel's last tap; the pixels lie in one row of the window's output.
#[inline]
unsafe fn segment(
    window: &Window,
    [image, oy, ox]: [usize; 3],
    n: usize,
    x: *const u8,
    zero: *const u8,
    pointers: *mut *const u8,
    apart: Apart,
) {
    let [height, width] = window.input;
    let step = window.strides[1] * window.pixel;
    let mut to = pointers;
    for ky in 0..window.kernel[0] {
        let y = oy * window.strides[0] + ky * window.dilations[0];
        let y = y.checked_sub(window.pads[0]).filter(|y| *y < height);
        for kx in 0..window.kernel[1] {
            // Columns count from the padding's first, so that none is negative.
            let column = ox * window.strides[1] + kx * window.dilations[1];
            let inside = |i: usize| (column + i * window.strides[1]).wrapping_sub(window.pads[1]) < width;
            let (mut low, mut high) = (0, n);
            if y.is_none() {
                low = n;
            }
            while low < high && !inside(low) {
                low += 1;
            }
            while high > low && !inside(high - 1) {
                high -= 1;
            }
            let row = x.wrapping_add((image * height + y.unwrap_or(0)) * width * window.pixel);
            let first = row.wrapping_add(column.wrapping_sub(window.pads[1]).wrapping_mul(window.pixel));
            // SAFETY: every place is that of a pixel and tap for which there is room.
            unsafe {
                (0..low).for_each(|i| *to.add(i * apart.pixel) = zero);
                (low..high).for_each(|i| *to.add(i * apart.pixel) = first.wrapping_add(i * step));
                (high..n).for_each(|i| *to.add(i * apart.pixel) = zero);
            }
            to = to.wrapping_add(apart.tap);
        }
    }
}

/// Fills `pointers[tap * mr + row]` for `rows` output pixels from `first`; the rest repeats the last row's.
///
/// # Safety
/// `pointers` has room for `taps * mr`; `1 <= rows <= mr`, all of them pixels of the window's output.
pub unsafe fn point(
    window: &Window,
    first: usize,
    rows: usize,
    mr: usize,
    x: *const u8,
    zero: *const u8,
    pointers: *mut *const u8,
) {
    if window.is_pointwise() {
        for row in 0..mr {
            // SAFETY: there is one tap, so `mr` places.
            unsafe { *pointers.add(row) = x.wrapping_add((first + row.min(rows - 1)) * window.pixel) };
        }
        return;
    }
    let mut position = window.position(first);
    let mut row = 0;
    while row < rows {
        let [image, oy, ox] = position;
        let n = (window.output[1] - ox).min(rows - row);
        // SAFETY: these are n pixels of a row, and the last tap's place is (taps - 1) * mr + row + n - 1.
        unsafe { segment(window, position, n, x, zero, pointers.add(row), Apart { tap: mr, pixel: 1 }) };
        row += n;
        position = if oy + 1 < window.output[0] { [image, oy + 1, 0] } else { [image + 1, 0, 0] };
    }
    if rows < mr {
        for tap in 0..window.taps() {
            // SAFETY: a tap has `mr` places, of which `rows` are filled.
            unsafe {
                let last = *pointers.add(tap * mr + rows - 1);
                (rows..mr).for_each(|row| *pointers.add(tap * mr + row) = last);
            }
        }
    }
}

/// Fills `pointers[pixel * taps + tap]` for the output row `row`; returns its first pixel.
///
/// # Safety
/// `pointers` has room for a row's pixels times taps; the row is one of the window's output.
pub unsafe fn point_row(window: &Window, row: usize, x: *const u8, zero: *const u8, pointers: *mut *const u8) -> usize {
    let (n, taps) = (window.output[1], window.taps());
    let (image, oy) = (row / window.output[0], row % window.output[0]);
    // SAFETY: ox * taps + tap places exist for every ox below the row's length.
    unsafe { segment(window, [image, oy, 0], n, x, zero, pointers, Apart { tap: 1, pixel: taps }) };
    row * n
}

/// Writes what output pixel `pixel` reads, `k` channels of each tap, as runs of neighbouring elements; returns how many.
///
/// # Safety
/// `runs` has room for as many as there are taps; the pixel is one of the window's output.
pub unsafe fn runs(window: &Window, pixel: usize, k: usize, x: *const u8, zero: *const u8, runs: *mut Run) -> usize {
    let [image, oy, ox] = window.position(pixel);
    let [height, width] = window.input;
    // Columns whose channels are all read follow each other without a gap.
    let joined = window.dilations[1] == 1 && k * size_of::<u16>() == window.pixel;
    let mut count = 0;
    let mut put = |x: *const u8, n: usize| {
        // SAFETY: no run is of less than a tap.
        unsafe { runs.add(count).write(Run { x: x.cast(), n }) };
        count += 1;
    };
    for ky in 0..window.kernel[0] {
        let y = oy * window.strides[0] + ky * window.dilations[0];
        let y = y.checked_sub(window.pads[0]).filter(|y| *y < height);
        let row = x.wrapping_add((image * height + y.unwrap_or(0)) * width * window.pixel);
        let mut kx = 0;
        while kx < window.kernel[1] {
            let column = (ox * window.strides[1] + kx * window.dilations[1]).wrapping_sub(window.pads[1]);
            let inside = y.is_some() && column < width;
            let taps = if inside && joined { (window.kernel[1] - kx).min(width - column) } else { 1 };
            put(if inside { row.wrapping_add(column * window.pixel) } else { zero }, taps * k);
            kx += taps;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pointer of every window is where `Window::offset` says, or the padding's.
    #[test]
    fn pointers_lead_where_the_window_says() {
        let plain = Window {
            batch: 2,
            input: [5, 6],
            output: [5, 6],
            kernel: [3, 3],
            strides: [1, 1],
            pads: [1, 1],
            dilations: [1, 1],
            pixel: 4,
        };
        let windows = [
            plain.clone(),
            Window { strides: [2, 2], output: [3, 3], ..plain.clone() },
            Window { strides: [2, 3], output: [2, 2], pads: [0, 2], kernel: [2, 5], ..plain.clone() },
            Window { dilations: [2, 3], output: [5, 6], pads: [2, 3], ..plain.clone() },
            Window { kernel: [1, 1], pads: [0, 0], strides: [2, 2], output: [3, 3], ..plain.clone() },
            Window { kernel: [1, 1], pads: [0, 0], ..plain.clone() },
            // More padding than image: some taps of some rows see nothing at all.
            Window { pads: [7, 9], kernel: [3, 2], output: [17, 23], ..plain },
        ];
        let image = [0u8; 2 * 5 * 6 * 4];
        let zero = [0u8; 4];
        for window in &windows {
            let (taps, pixels) = (window.taps(), window.pixels());
            let expected = |pixel: usize, tap: usize| {
                let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
                let at = window.offset(window.position(pixel), ky, kx);
                at.map_or(zero.as_ptr(), |at| image.as_ptr().wrapping_add(at))
            };
            for mr in [1, 4, 6, 24] {
                for first in (0..pixels).step_by(mr) {
                    let rows = mr.min(pixels - first);
                    let mut pointers = vec![std::ptr::null(); taps * mr];
                    // SAFETY: there are taps * mr places, and the rows are pixels of the window.
                    unsafe { point(window, first, rows, mr, image.as_ptr(), zero.as_ptr(), pointers.as_mut_ptr()) };
                    for (at, found) in pointers.iter().enumerate() {
                        let (tap, row) = (at / mr, (at % mr).min(rows - 1));
                        assert_eq!(*found, expected(first + row, tap), "{window:?}: {first} + {row}, tap {tap}");
                    }
                }
            }
            // All of a pixel's channels, two words, and one of them.
            for (pixel, k) in (0..pixels).flat_map(|pixel| [(pixel, 2), (pixel, 1)]) {
                let mut list = vec![Run { x: std::ptr::null(), n: 0 }; taps];
                // SAFETY: there is room for a run a tap.
                let count = unsafe { runs(window, pixel, k, image.as_ptr(), zero.as_ptr(), list.as_mut_ptr()) };
                let words = list[..count].iter().flat_map(|run| (0..run.n).map(|i| run.x.wrapping_add(i).cast::<u8>()));
                let of_tap = |tap| (0..k).map(move |i| (tap, i));
                let wanted = (0..taps).flat_map(of_tap).map(|(tap, i)| expected(pixel, tap).wrapping_add(2 * i));
                assert!(words.eq(wanted), "{window:?}: {pixel}, {k} words");
                assert!(k == 1 || window.dilations[1] > 1 || count < taps || list.iter().all(|run| run.n == k));
            }
            for row in 0..window.rows() {
                let mut pointers = vec![std::ptr::null(); taps * window.output[1]];
                // SAFETY: there is a place for each tap of a row's pixels.
                let first = unsafe { point_row(window, row, image.as_ptr(), zero.as_ptr(), pointers.as_mut_ptr()) };
                for (at, found) in pointers.iter().enumerate() {
                    assert_eq!(*found, expected(first + at / taps, at % taps), "{window:?}: row {row}, {at}");
                }
            }
        }
    }
}
