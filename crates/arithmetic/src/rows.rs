//! Functions of a whole row: softmax and normalization, in their one order of operations.

use crate::elementary::exp;
use crate::float::{fma, lane_sum, sqrt};
use crate::pool::max;

/// Softmax of a row: exp(x - max) divided by the lane sum of them all; `x` and `y` are equally long.
pub fn softmax(x: &[f32], y: &mut [f32]) {
    let top = max(x.iter().copied());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = exp(x - top);
    }
    let total = lane_sum(y.iter().copied().take(x.len()));
    for y in y.iter_mut().take(x.len()) {
        *y /= total;
    }
}

/// Layer normalization of a row; a missing `scale` is 1 and a missing `bias` is +0.
pub fn layer_norm(x: &[f32], scale: Option<&[f32]>, bias: Option<&[f32]>, eps: f32, y: &mut [f32]) {
    let count = x.len() as f32;
    let mean = lane_sum(x.iter().copied()) / count;
    let variance = lane_sum(x.iter().map(|&x| (x - mean) * (x - mean))) / count;
    let factor = 1.0 / sqrt(variance + eps);
    let at = |row: Option<&[f32]>, i: usize, missing: f32| row.and_then(|row| row.get(i)).copied().unwrap_or(missing);
    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
        *y = fma((x - mean) * factor, at(scale, i, 1.0), at(bias, i, 0.0));
    }
}
