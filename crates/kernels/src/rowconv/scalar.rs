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
    let Shape { kernel: [kh, kw], strides, channels, depthwise, .. } = a.shape;
    let k = a.shape.k();
    let epilogue = match a.residual {
        None => Epilogue::Requant(a.requant),
        Some(residual) => Epilogue::RequantAdd(a.requant, residual),
    };
    // SAFETY: by the contract each input line is readable for all taps of `pixels` pixels, there are weights for each
    // (output, tap, k), bias and multipliers for each output, and of each of `lines` by `pixels` pixels
    // the `outputs` bytes from its own place on, `y_stride` behind the one before, are writable.
    unsafe {
        for (line, pixel) in (0..a.lines).flat_map(|line| (0..a.pixels).map(move |pixel| (line, pixel))) {
            for output in a.first..a.last {
                let mut acc = *a.bias.add(output);
                let offset = if a.offset.is_null() { 0 } else { *a.offset.add(output) };
                for ky in 0..kh {
                    for kx in 0..kw {
                        let from = (pixel * strides[1] + kx) * channels + if depthwise { output } else { 0 };
                        let x = a.row(line, ky).add(from);
                        let w = a.w.add((output * kh * kw + ky * kw + kx) * k);
                        for i in 0..k {
                            let w = i32::from(*w.add(i)).wrapping_add(offset);
                            acc = acc.wrapping_add(i32::from(*x.add(i)).wrapping_mul(w));
                        }
                    }
                }
                epilogue.store(acc, line * a.pixels + pixel, output, a.y, a.y_stride);
            }
        }
    }
}

/// What pixels from `first` on of a call read, summed up: for weights with zero points, which are rare.
///
/// # Safety
/// As [`super::QRow::run`]; there are as many pixels as sums.
// The scalar row moves every weight by its zero point instead.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub unsafe fn window_sums(a: &QArgs, first: usize, sums: &mut [i32]) {
    for (pixel, sum) in (first..).zip(sums) {
        let (line, from) = (pixel / a.pixels, pixel % a.pixels * a.shape.step());
        // SAFETY: the caller's promise: these are the taps of the pixel.
        let bytes = |ky: usize| unsafe { core::slice::from_raw_parts(a.row(line, ky).add(from), a.shape.run()) };
        *sum = (0..a.shape.kernel[0]).flat_map(bytes).map(|x| i32::from(*x)).fold(0, i32::wrapping_add);
    }
}
