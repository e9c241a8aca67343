//! Multiply-accumulates: convolution and matrix product, of floats and of integers.
//!
//! Both kinds of numbers go through one loop: the accumulators of all output channels start at the bias and take one
//! step for each k in ascending order; k is never split. For a convolution k runs over (kernel position, input
//! channel), the channel fastest. A float step is one fused multiply-add, and padded taps take part with x = +0.
//! Integers have their zero points subtracted first, so a padded tap is 0 as well, and sums are exact.

use super::integers;
use super::positions::{OUTSIDE, WindowAxis, Windows, broadcast_positions};
use crate::infer::broadcast;
use crate::op::{Conv, MatMul};
use crate::tensor::entries;
use crate::{Error, Result, Shape, Tensor, Type};
use lowbit_arithmetic::fma;

pub fn conv(c: &Conv, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, ty: Type) -> Result<Tensor> {
    if !ty.is_quantized() {
        let (x_data, w_data) = (x.floats()?, w.floats()?);
        let bias = bias.map(Tensor::floats).transpose()?;
        let y =
            correlate(c, (&x_data, x.dims()), (&w_data, w.dims()), bias.as_deref(), &ty, |acc, x, w| fma(x, w, acc))?;
        return Tensor::from_floats(ty, y);
    }
    let (x_data, w_data) = (centred(x)?, centred(w)?);
    let bias = bias.map(Tensor::ints).transpose()?;
    let depth = w.dims().iter().skip(1).product();
    check_exact(&x_data, &w_data, bias.as_deref(), depth)?;
    let y = correlate(c, (&x_data, x.dims()), (&w_data, w.dims()), bias.as_deref(), &ty, |acc, x, w| acc + x * w)?;
    integers(ty, &y)
}

pub fn matmul(m: &MatMul, a: &Tensor, b: &Tensor, bias: Option<&Tensor>, ty: Type) -> Result<Tensor> {
    if !ty.is_quantized() {
        let (a_data, b_data) = (a.floats()?, b.floats()?);
        let bias = bias.map(Tensor::floats).transpose()?;
        let y = product(m, (&a_data, a.dims()), (&b_data, b.dims()), bias.as_deref(), &ty, |acc, x, w| fma(x, w, acc))?;
        return Tensor::from_floats(ty, y);
    }
    let (a_data, b_data) = (centred(a)?, centred(b)?);
    let bias = bias.map(Tensor::ints).transpose()?;
    let depth = a.dims().last().copied().unwrap_or(1);
    check_exact(&a_data, &b_data, bias.as_deref(), depth)?;
    let y = product(m, (&a_data, a.dims()), (&b_data, b.dims()), bias.as_deref(), &ty, |acc, x, w| acc + x * w)?;
    integers(ty, &y)
}

/// The integers with their zero points subtracted.
fn centred(x: &Tensor) -> Result<Vec<i64>> {
    let q = x.ty().quant()?;
    let zero = |e: usize| q.zero_point.get(e).copied().map_or(0, i64::from);
    let centre = |(v, e): (i64, usize)| v.checked_sub(zero(e));
    let centred: Option<Vec<i64>> = x.ints()?.into_iter().zip(entries(q, x.dims())).map(centre).collect();
    centred.ok_or_else(|| Error::new(format!("a value minus its zero point leaves 64 bits in {}", x.ty())))
}

/// Refuses operands whose sums of products could leave the 64 bits that the loop computes in.
fn check_exact(x: &[i64], w: &[i64], bias: Option<&[i64]>, depth: usize) -> Result<()> {
    let largest = |v: &[i64]| v.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    let bias = bias.map_or(0, largest);
    let products =
        u128::from(largest(x)).checked_mul(u128::from(largest(w))).and_then(|p| p.checked_mul(depth as u128));
    match products.and_then(|p| p.checked_add(u128::from(bias))) {
        Some(sum) if sum <= i64::MAX as u128 => Ok(()),
        Some(_) | None => {
            Err(Error::new("sums of products of these operands could leave 64 bits").hint("fewer bits in the operands"))
        }
    }
}

/// One step of k for all output channels.
#[inline(always)]
fn accumulate<T: Copy>(acc: &mut [T], x: T, row: &[T], step: impl Fn(T, T, T) -> T) {
    for (acc, w) in acc.iter_mut().zip(row) {
        *acc = step(*acc, x, *w);
    }
}

fn correlate<T: Copy + Default>(
    c: &Conv,
    (x, x_dims): (&[T], &[usize]),
    (w, w_dims): (&[T], &[usize]),
    bias: Option<&[T]>,
    ty: &Type,
    step: impl Fn(T, T, T) -> T + Copy,
) -> Result<Vec<T>> {
    let y_dims = ty.shape.require()?;
    let (&[batch, in_channels, ref image @ ..], &[out_channels, per_group, ref kernel @ ..], &[_, _, ref output @ ..]) =
        (x_dims, w_dims, y_dims.as_slice())
    else {
        return Err(Error::new(format!("expected [n, c, spatial axes], found {x_dims:?} and {w_dims:?}")));
    };
    let axes: Vec<WindowAxis> = (image.iter().zip(output).zip(kernel).zip(&c.strides).zip(&c.pads).zip(&c.dilations))
        .map(|(((((input, output), kernel), stride), begin), dilation)| WindowAxis {
            input: *input,
            output: *output,
            kernel: *kernel,
            stride: *stride,
            begin: *begin,
            dilation: *dilation,
        })
        .collect();
    let windows = Windows::new(&axes)?;
    let (plane, pixels, tap_count) =
        (image.iter().product::<usize>(), windows.count(), kernel.iter().product::<usize>());
    let group_size = out_channels / c.group;
    // [group][tap][input channel][output channel], so that a step of k reads consecutive weights.
    let weights = by_step(w, c.group, group_size, per_group, tap_count);

    let mut y = vec![T::default(); batch * out_channels * pixels];
    let mut acc = vec![T::default(); group_size];
    let mut taps = Vec::new();
    for n in 0..batch {
        let sample = slice(x, n * in_channels * plane, in_channels * plane)?;
        let result = slice_mut(&mut y, n * out_channels * pixels, out_channels * pixels)?;
        for pixel in 0..pixels {
            windows.taps(pixel, &mut taps);
            for g in 0..c.group {
                match bias {
                    Some(bias) => acc.copy_from_slice(slice(bias, g * group_size, group_size)?),
                    None => acc.fill(T::default()),
                }
                let planes = slice(sample, g * per_group * plane, per_group * plane)?;
                let rows = slice(&weights, g * tap_count * per_group * group_size, tap_count * per_group * group_size)?;
                let mut rows = rows.chunks_exact(group_size);
                for tap in &taps {
                    for channel in 0..per_group {
                        let x = if *tap == OUTSIDE { T::default() } else { planes[channel * plane + tap] };
                        accumulate(&mut acc, x, rows.next().unwrap_or_default(), step);
                    }
                }
                for (o, acc) in acc.iter().enumerate() {
                    result[(g * group_size + o) * pixels + pixel] = *acc;
                }
            }
        }
    }
    Ok(y)
}

/// Weights [group][output channel][input channel][tap] as [group][tap][input channel][output channel].
fn by_step<T: Copy>(w: &[T], groups: usize, outs: usize, ins: usize, taps: usize) -> Vec<T> {
    let mut sorted = Vec::with_capacity(w.len());
    for g in 0..groups {
        for tap in 0..taps {
            for i in 0..ins {
                sorted.extend((0..outs).filter_map(|o| w.get(((g * outs + o) * ins + i) * taps + tap)).copied());
            }
        }
    }
    sorted
}

fn product<T: Copy + Default>(
    m: &MatMul,
    (a, a_dims): (&[T], &[usize]),
    (b, b_dims): (&[T], &[usize]),
    bias: Option<&[T]>,
    ty: &Type,
    step: impl Fn(T, T, T) -> T + Copy,
) -> Result<Vec<T>> {
    // A vector is a matrix of one row on the left, of one column on the right.
    let (a_batch, rows, k) = match *a_dims {
        [k] => (&[][..], 1, k),
        [ref batch @ .., rows, k] => (batch, rows, k),
        [] => return Err(Error::new("expected a matrix, found a scalar")),
    };
    let (b_batch, columns) = match (b_dims, m.trans_b) {
        (&[_], _) => (&[][..], 1),
        (&[ref batch @ .., n, _], true) | (&[ref batch @ .., _, n], false) => (batch, n),
        (&[], _) => return Err(Error::new("expected a matrix, found a scalar")),
    };
    let batch = broadcast(&Shape::known(a_batch), &Shape::known(b_batch))?.require()?;
    let mut y = Vec::with_capacity(ty.shape.count().unwrap_or(0));
    let mut acc = vec![T::default(); columns];
    let mut turned = Vec::new();
    for (i, j) in broadcast_positions(a_batch, &batch).into_iter().zip(broadcast_positions(b_batch, &batch)) {
        let mut b = slice(b, j * k * columns, k * columns)?;
        if m.trans_b {
            turned.clear();
            turned.extend((0..k).flat_map(|k_at| b.iter().skip(k_at).step_by(k.max(1)).copied()));
            b = &turned;
        }
        for row in 0..rows {
            let a = slice(a, (i * rows + row) * k, k)?;
            match bias {
                Some(bias) => acc.copy_from_slice(slice(bias, 0, columns)?),
                None => acc.fill(T::default()),
            }
            for (x, b) in a.iter().zip(b.chunks_exact(columns.max(1))) {
                accumulate(&mut acc, *x, b, step);
            }
            y.extend_from_slice(&acc);
        }
    }
    Ok(y)
}

fn slice<T>(xs: &[T], start: usize, len: usize) -> Result<&[T]> {
    let found = xs.len();
    xs.get(start..start + len)
        .ok_or_else(|| Error::new(format!("expected {len} elements at {start}, found {found} in all")))
}

fn slice_mut<T>(xs: &mut [T], start: usize, len: usize) -> Result<&mut [T]> {
    let found = xs.len();
    xs.get_mut(start..start + len)
        .ok_or_else(|| Error::new(format!("expected {len} elements at {start}, found {found} in all")))
}
