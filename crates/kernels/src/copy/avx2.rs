//! AVX2 rows; the blocks of bytes, which take registers of 128 bits, serve AVX-512 too.

use super::scalar;
use core::arch::x86_64::*;

/// Transposes whole blocks of 1-byte and 4-byte elements in registers, and leaves the rest to the plain row.
///
/// Three rows that become three contiguous columns, as of a colour image, are blocks of their own.
///
/// # Safety
/// As [`scalar::transpose`], on a CPU with AVX2.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn transpose(
    elem_size: usize,
    rows: usize,
    cols: usize,
    x: *const u8,
    x_stride: usize,
    y: *mut u8,
    y_stride: usize,
) {
    // Rows and columns of a block.
    let three = rows == 3 && y_stride == 3 * elem_size;
    let (height, width) = match elem_size {
        1 if three => (3, 16),
        4 if three => (3, 8),
        1 => (16, 16),
        4 => (4, 8),
        _ => (usize::MAX, usize::MAX),
    };
    let (whole_rows, whole_cols) = (rows - rows % height, cols - cols % width);
    // Down the columns, so that lines of the output are filled while they are near.
    for col in (0..whole_cols).step_by(width) {
        for row in (0..whole_rows).step_by(height) {
            // SAFETY: the block lies within the matrix.
            unsafe {
                let x = x.add(row * x_stride + col * elem_size);
                let y = y.add(col * y_stride + row * elem_size);
                match (elem_size, three) {
                    (1, true) => bytes_3x16(x, x_stride, y),
                    (1, false) => bytes_16x16(x, x_stride, y, y_stride),
                    (_, true) => words_3x8(x, x_stride, y),
                    (_, false) => words_4x8(x, x_stride, y, y_stride),
                }
            }
        }
    }
    // SAFETY: the right and the lower rest lie within the matrix.
    unsafe {
        let right = (x.add(whole_cols * elem_size), y.add(whole_cols * y_stride));
        scalar::transpose(elem_size, whole_rows, cols - whole_cols, right.0, x_stride, right.1, y_stride);
        let below = (x.add(whole_rows * x_stride), y.add(whole_rows * elem_size));
        scalar::transpose(elem_size, rows - whole_rows, cols, below.0, x_stride, below.1, y_stride);
    }
}

/// # Safety
/// 16 rows of 16 bytes are readable and writable.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn bytes_16x16(x: *const u8, x_stride: usize, y: *mut u8, y_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = [_mm_setzero_si128(); 16];
        for (i, a) in a.iter_mut().enumerate() {
            *a = _mm_loadu_si128(x.add(i * x_stride).cast());
        }
        // Four rounds of a perfect shuffle: each interleaves the upper half of the rows with the lower.
        for _ in 0..4 {
            let b = a;
            for i in 0..8 {
                a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
                a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
            }
        }
        for (i, a) in a.iter().enumerate() {
            _mm_storeu_si128(y.add(i * y_stride).cast(), *a);
        }
    }
}

/// # Safety
/// 4 rows of 8 elements of 4 bytes are readable, and as many writable.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn words_4x8(x: *const u8, x_stride: usize, y: *mut u8, y_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = |i: usize| _mm256_loadu_si256(x.add(i * x_stride).cast());
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let low = [_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d)];
        let high = [_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d)];
        // Register j has column 4 * lane + j in each lane.
        let columns = [
            _mm256_unpacklo_epi64(low[0], low[1]),
            _mm256_unpackhi_epi64(low[0], low[1]),
            _mm256_unpacklo_epi64(high[0], high[1]),
            _mm256_unpackhi_epi64(high[0], high[1]),
        ];
        for (j, &column) in columns.iter().enumerate() {
            let y = y.add(j * y_stride);
            _mm_storeu_si128(y.cast(), _mm256_castsi256_si128(column));
            _mm_storeu_si128(y.add(4 * y_stride).cast(), _mm256_extracti128_si256::<1>(column));
        }
    }
}

/// Where element `i` of three interleaved rows comes from: its row and its column.
pub const fn source(i: usize) -> (usize, usize) {
    (i % 3, i / 3)
}

/// # Safety
/// 3 rows of 16 bytes are readable, 48 bytes are writable.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn bytes_3x16(x: *const u8, x_stride: usize, y: *mut u8) {
    /// For each register of the output and each row the column of each byte, or none.
    const COLUMNS: [[[u8; 16]; 3]; 3] = {
        let mut columns = [[[0x80; 16]; 3]; 3];
        let mut i = 0;
        while i < 48 {
            let (row, column) = source(i);
            columns[i / 16][row][i % 16] = column as u8;
            i += 1;
        }
        columns
    };
    // SAFETY: the caller's promise.
    unsafe {
        let row = |i: usize| _mm_loadu_si128(x.add(i * x_stride).cast());
        let rows = [row(0), row(1), row(2)];
        for (i, columns) in COLUMNS.iter().enumerate() {
            let part = |r: usize| _mm_shuffle_epi8(rows[r], _mm_loadu_si128(columns[r].as_ptr().cast()));
            _mm_storeu_si128(y.add(16 * i).cast(), _mm_or_si128(_mm_or_si128(part(0), part(1)), part(2)));
        }
    }
}

/// # Safety
/// 3 rows of 8 elements of 4 bytes are readable, 24 elements are writable.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn words_3x8(x: *const u8, x_stride: usize, y: *mut u8) {
    /// For each register of the output: the column of each element, and masks of those of the second and third row.
    const PLACES: [[[i32; 8]; 3]; 3] = {
        let mut places = [[[0; 8]; 3]; 3];
        let mut i = 0;
        while i < 24 {
            let (row, column) = source(i);
            places[i / 8][0][i % 8] = column as i32;
            if row > 0 {
                places[i / 8][row][i % 8] = -1;
            }
            i += 1;
        }
        places
    };
    // SAFETY: the caller's promise.
    unsafe {
        let load = |x: *const i32| _mm256_loadu_si256(x.cast());
        let row = |i: usize| load(x.add(i * x_stride).cast());
        let rows = [row(0), row(1), row(2)];
        for (i, [column, second, third]) in PLACES.iter().enumerate() {
            let part = |r: usize| _mm256_permutevar8x32_epi32(rows[r], load(column.as_ptr()));
            let two = _mm256_blendv_epi8(part(0), part(1), load(second.as_ptr()));
            let all = _mm256_blendv_epi8(two, part(2), load(third.as_ptr()));
            _mm256_storeu_si256(y.add(32 * i).cast(), all);
        }
    }
}
