//! Normalization: over rows by the row functions of the arithmetic, and by stored statistics.

use crate::{Result, Tensor, Type};
use lowbit_arithmetic::{fma, rows, sqrt};

/// y = fma(x - mean, scale / sqrt(variance + epsilon), bias), per channel.
pub fn batch_norm(epsilon: f32, x: &Tensor, parameters: [&Tensor; 4], ty: Type) -> Result<Tensor> {
    let [scale, bias, mean, variance] = parameters;
    let (scale, bias, mean, variance) = (scale.floats()?, bias.floats()?, mean.floats()?, variance.floats()?);
    let factors: Vec<f32> = scale.iter().zip(variance.iter()).map(|(s, v)| s / sqrt(v + epsilon)).collect();
    let plane: usize = x.dims().iter().skip(2).product();
    let mut y = x.floats()?.into_owned();
    // Planes follow each other as channels, over and over for each sample.
    let channels = factors.iter().zip(mean.iter()).zip(bias.iter()).cycle();
    for (plane, ((factor, mean), bias)) in y.chunks_mut(plane.max(1)).zip(channels) {
        for y in plane {
            *y = fma(*y - mean, *factor, *bias);
        }
    }
    Tensor::from_floats(ty, y)
}

pub fn layer_norm(epsilon: f32, x: &Tensor, scale: &Tensor, bias: Option<&Tensor>, ty: Type) -> Result<Tensor> {
    let (x, scale, bias) = (x.floats()?, scale.floats()?, bias.map(Tensor::floats).transpose()?);
    let mut y = vec![0.0; x.len()];
    let row = scale.len().max(1);
    for (x, y) in x.chunks(row).zip(y.chunks_mut(row)) {
        rows::layer_norm(x, Some(&scale), bias.as_deref(), epsilon, y);
    }
    Tensor::from_floats(ty, y)
}

pub fn softmax(axis: i64, x: &Tensor, ty: Type) -> Result<Tensor> {
    let axis = ty.shape.axis(axis)?;
    let n = x.dims().get(axis).copied().unwrap_or(1);
    let inner: usize = x.dims().iter().skip(axis + 1).product();
    let mut y = x.floats()?.into_owned();
    let (mut row, mut result) = (Vec::with_capacity(n), vec![0.0; n]);
    for block in y.chunks_mut((n * inner).max(1)) {
        for column in 0..inner {
            row.clear();
            row.extend(block.iter().skip(column).step_by(inner).copied());
            rows::softmax(&row, &mut result);
            for (y, r) in block.iter_mut().skip(column).step_by(inner).zip(&result) {
                *y = *r;
            }
        }
    }
    Tensor::from_floats(ty, y)
}
