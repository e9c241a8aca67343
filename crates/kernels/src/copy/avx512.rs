//! AVX-512 rows.

use super::avx2::{bytes_3x16, bytes_16x16, source};
use super::scalar;
use core::arch::x86_64::*;

/// Transposes whole blocks of 1-byte and 4-byte elements in registers, and leaves the rest to the plain row.
///
/// Three rows that become three contiguous columns, as of a colour image, are blocks of their own.
///
/// # Safety
/// As [`scalar::transpose`], on a CPU with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
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
        1 | 4 if three => (3, 16),
        1 => (16, 16),
        4 => (4, 16),
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
                    (_, true) => words_3x16(x, x_stride, y),
                    (_, false) => words_4x16(x, x_stride, y, y_stride),
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
/// 4 rows of 16 elements of 4 bytes are readable, and as many writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn words_4x16(x: *const u8, x_stride: usize, y: *mut u8, y_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = |i: usize| _mm512_loadu_si512(x.add(i * x_stride).cast());
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let low = [_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)];
        let high = [_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)];
        // Register j has column 4 * lane + j in each lane.
        let columns = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
        for (j, &column) in columns.iter().enumerate() {
            let y = y.add(j * y_stride);
            _mm_storeu_si128(y.cast(), _mm512_castsi512_si128(column));
            _mm_storeu_si128(y.add(4 * y_stride).cast(), _mm512_extracti32x4_epi32::<1>(column));
            _mm_storeu_si128(y.add(8 * y_stride).cast(), _mm512_extracti32x4_epi32::<2>(column));
            _mm_storeu_si128(y.add(12 * y_stride).cast(), _mm512_extracti32x4_epi32::<3>(column));
        }
    }
}

/// # Safety
/// 3 rows of 16 elements of 4 bytes are readable, 48 elements are writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn words_3x16(x: *const u8, x_stride: usize, y: *mut u8) {
    /// For each register of the output: places in the first two rows, those that the third row has, places there.
    const PLACES: [([i32; 16], u16, [i32; 16]); 3] = {
        let mut places = [([0; 16], 0, [0; 16]); 3];
        let mut i = 0;
        while i < 48 {
            let (row, column) = source(i);
            places[i / 16].0[i % 16] = (row as i32 % 2) * 16 + column as i32;
            places[i / 16].1 |= (row as u16 / 2) << (i % 16);
            places[i / 16].2[i % 16] = column as i32;
            i += 1;
        }
        places
    };
    // SAFETY: the caller's promise.
    unsafe {
        let row = |i: usize| _mm512_loadu_si512(x.add(i * x_stride).cast());
        let (a, b, c) = (row(0), row(1), row(2));
        for (i, (first_two, in_third, third)) in PLACES.iter().enumerate() {
            let ab = _mm512_permutex2var_epi32(a, _mm512_loadu_si512(first_two.as_ptr().cast()), b);
            let all = _mm512_mask_permutexvar_epi32(ab, *in_third, _mm512_loadu_si512(third.as_ptr().cast()), c);
            _mm512_storeu_si512(y.add(64 * i).cast(), all);
        }
    }
}
