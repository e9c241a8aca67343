//! The plain row.

use super::{QArgs, Shape};
use crate::requant::Epilogue;

/// Bytes of weights as they are given.
pub fn packed(shape: &Shape) -> usize {
    shape.outputs * shape.taps() * shape.k()
}

/// Weights as they are given.
pub fn pack(_: &Shape, w: &[i8], out: &mut [i8]) {
    out.iter_mut().zip(w).for_each(|(out, w)| *out = *w);
}

/// # Safety
/// As [`super::QRow::run`].
pub unsafe fn q8(a: &QArgs) {
    let Shape { kernel: [kh, kw], stride, channels, outputs, depthwise, .. } = a.shape;
    let k = a.shape.k();
    let epilogue = match a.residual {
        None => Epilogue::Requant(a.requant),
        Some(residual) => Epilogue::RequantAdd(a.requant, residual),
    };
    // SAFETY: by the contract each of `kh` rows is readable for all taps of `pixels` pixels, there are weights for each
    // (output, tap, k), bias and multipliers for each output, and `pixels` by `outputs` bytes are writable.
    unsafe {
        for pixel in 0..a.pixels {
            for output in 0..outputs {
                let mut acc = *a.bias.add(output);
                let offset = if a.offset.is_null() { 0 } else { *a.offset.add(output) };
                for ky in 0..kh {
                    for kx in 0..kw {
                        let x =
                            (*a.x.add(ky)).add((pixel * stride + kx) * channels + if depthwise { output } else { 0 });
                        let w = a.w.add((output * kh * kw + ky * kw + kx) * k);
                        for i in 0..k {
                            let w = i32::from(*w.add(i)).wrapping_add(offset);
                            acc = acc.wrapping_add(i32::from(*x.add(i)).wrapping_mul(w));
                        }
                    }
                }
                epilogue.store(acc, pixel, output, a.y, outputs);
            }
        }
    }
}
