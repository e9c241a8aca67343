//! The AVX-VNNI row.
//!
//! Few input channels: the bytes under a kernel row are one run, so that a layer is a matrix product of as many taps as
//! there are kernel rows, with pointers that need no table. `gemm`'s tiles compute it.

use super::{QArgs, Shape};
use crate::gemm::{self, avx2::MR, avx2::NR};
use crate::requant::{Epilogue, Requant};

/// The most kernel rows.
const ROWS: usize = 8;

/// Layers that it computes. With more channels `gemm` is faster, for which nothing is copied.
pub fn suits(shape: &Shape) -> bool {
    !shape.depthwise && !shape.residual && shape.channels < 16 && shape.kernel[0] <= ROWS && shape.taps() > 1
}

/// Bytes of input under a kernel row.
fn k(shape: &Shape) -> usize {
    shape.kernel[1] * shape.channels
}

/// Bytes of packed weights: panels of `gemm`.
pub fn packed(shape: &Shape) -> usize {
    shape.outputs.next_multiple_of(NR) * shape.kernel[0] * k(shape).next_multiple_of(4)
}

/// Packs `[panel][kernel row][group of its bytes][channel][4]`.
pub fn pack(shape: &Shape, w: &[i8], out: &mut [i8]) {
    let (rows, k) = (shape.kernel[0], k(shape));
    let mut slots = out.iter_mut();
    for first in (0..shape.outputs).step_by(NR) {
        for ky in 0..rows {
            for group in (0..k).step_by(4) {
                for output in first..first + NR {
                    for i in group..group + 4 {
                        let Some(slot) = slots.next() else { return };
                        let at = (output * rows + ky) * k + i;
                        *slot = if output < shape.outputs && i < k { w.get(at).copied().unwrap_or(0) } else { 0 };
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`super::QRow::run`], on a CPU with AVX-VNNI.
pub unsafe fn run(a: &QArgs) {
    let shape = &a.shape;
    let (taps, k, step) = (shape.kernel[0], k(shape), shape.step());
    let mut x = [core::ptr::null(); ROWS * MR];
    let blocks = || (0..a.pixels).step_by(MR);
    for (line, first) in (0..a.lines).flat_map(|line| blocks().map(move |first| (line, first))) {
        let rows = (a.pixels - first).min(MR);
        for (ky, x) in x.chunks_exact_mut(MR).enumerate().take(taps) {
            for (row, x) in x.iter_mut().enumerate() {
                // SAFETY: there is an input line for every kernel row, and it has every pixel; the last stands for those beyond.
                *x = unsafe { a.row(line, ky).add((first + row.min(rows - 1)) * step) };
            }
        }
        let mut sums = [0i32; MR.next_multiple_of(4)];
        if !a.offset.is_null() {
            let (x, sums) = (x.as_ptr(), sums.as_mut_ptr());
            // SAFETY: the CPU has what this row needs, there are pointers for all taps, and room for whole fours.
            unsafe { gemm::sums::avx2(&gemm::SumsArgs { rows, x, taps, apart: MR, k, sums }) };
        }
        for channel in (0..shape.outputs).step_by(NR) {
            // SAFETY: what a kernel row reads is as long as the tile's k, with slack behind it. Weights are whole panels,
            // bias and multipliers are padded to them, and outputs lie within the pixels and channels.
            unsafe {
                gemm::avxvnni::q8(&gemm::QArgs {
                    rows,
                    cols: (shape.outputs - channel).min(NR),
                    x: x.as_ptr(),
                    taps,
                    k,
                    w: a.w.add(channel * taps * k.next_multiple_of(4)),
                    bias: a.bias.add(channel),
                    offset: if a.offset.is_null() { a.offset } else { a.offset.add(channel) },
                    sums: sums.as_ptr(),
                    y: a.y.add((line * a.pixels + first) * a.y_stride + channel),
                    y_stride: a.y_stride,
                    epilogue: Epilogue::Requant(Requant { scales: a.requant.scales.from(channel), ..a.requant }),
                });
            }
        }
    }
}
