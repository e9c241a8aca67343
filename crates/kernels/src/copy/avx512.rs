//! AVX-512 rows.

use super::scalar;
use core::arch::x86_64::*;

/// Transposes whole blocks of 1-byte and 4-byte elements in registers, and leaves the rest to the plain row.
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
    let (height, width) = match elem_size {
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
                if elem_size == 1 {
                    bytes_16x16(x, x_stride, y, y_stride)
                } else {
                    words_4x16(x, x_stride, y, y_stride)
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn bytes_16x16(x: *const u8, x_stride: usize, y: *mut u8, y_stride: usize) {
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
