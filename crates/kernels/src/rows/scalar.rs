//! The plain rows: `lowbit_arithmetic::rows`, by pointer because the output may be the input.

use super::ReduceFn;
use lowbit_arithmetic::float::lane_sum;
use lowbit_arithmetic::{elementary::exp, fma, pool, sqrt};

/// The row's elements, in order.
///
/// # Safety
/// `x` leads to `n` elements for as long as the iterator lives.
unsafe fn row(n: usize, x: *const f32) -> impl Iterator<Item = f32> {
    // SAFETY: i < n.
    (0..n).map(move |i| unsafe { *x.add(i) })
}

/// # Safety
/// Each pointer leads to `n` elements.
pub unsafe fn softmax(n: usize, x: *const f32, y: *mut f32) {
    // SAFETY: i < n; each element is read before its place is written.
    unsafe {
        let top = pool::max(row(n, x));
        for i in 0..n {
            *y.add(i) = exp(*x.add(i) - top);
        }
        let total = lane_sum(row(n, y));
        for i in 0..n {
            *y.add(i) /= total;
        }
    }
}

/// # Safety
/// Each pointer leads to `n` elements; `bias` may be null.
pub unsafe fn layer_norm(n: usize, x: *const f32, scale: *const f32, bias: *const f32, epsilon: f32, y: *mut f32) {
    // SAFETY: i < n; each element is read for the last time before its place is written.
    unsafe {
        let count = n as f32;
        let mean = lane_sum(row(n, x)) / count;
        let variance = lane_sum(row(n, x).map(|x| (x - mean) * (x - mean))) / count;
        let factor = 1.0 / sqrt(variance + epsilon);
        for i in 0..n {
            let bias = if bias.is_null() { 0.0 } else { *bias.add(i) };
            *y.add(i) = fma((*x.add(i) - mean) * factor, *scale.add(i), bias);
        }
    }
}

/// # Safety
/// `x` leads to `n` elements.
pub unsafe fn reduce(f: ReduceFn, n: usize, x: *const f32) -> f32 {
    // SAFETY: the caller's promise.
    let row = unsafe { row(n, x) };
    match f {
        ReduceFn::Max => pool::max(row),
        ReduceFn::Min => pool::min(row),
        ReduceFn::Largest => pool::largest(row),
        ReduceFn::Sum => pool::sum(row),
        ReduceFn::Mean => pool::sum(row) / n as f32,
    }
}
