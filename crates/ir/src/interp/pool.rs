//! Pooling and reduction.
//!
//! Float sums start at +0 and add in ascending row-major order of the pooled coordinates; a mean divides once. Products
//! start at 1 and multiply in that order.
//! The largest value is NaN if any is.

use super::elementwise::binary_f32;
use super::integers;
use super::positions::{OUTSIDE, WindowAxis, Windows, positions, strides};
use crate::infer::reduced_axes;
use crate::op::{Binary, CumSum, Pool, Reduce, ReduceKind};
use crate::{Error, Result, Tensor, Type};
use lowbit_arithmetic::pool as arithmetic;

pub fn max_pool(p: &Pool, x: &Tensor, ty: Type) -> Result<Tensor> {
    if x.dtype().is_float() {
        let y = windowed(p, &x.floats()?, x.dims(), &ty, |taps, _| Ok(arithmetic::max(taps.iter().copied())))?;
        return Tensor::from_floats(ty, y);
    }
    let lowest = ty.quant.as_ref().map(|q| q.qmin).or(ty.dtype.range().map(|r| r.0)).unwrap_or(i64::MIN);
    let y = windowed(p, &x.ints()?, x.dims(), &ty, |taps, _| Ok(taps.iter().copied().max().unwrap_or(lowest)))?;
    integers(ty, &y)
}

pub fn avg_pool(p: &Pool, x: &Tensor, ty: Type) -> Result<Tensor> {
    let y = windowed(p, &x.floats()?, x.dims(), &ty, |taps, count| {
        Ok(arithmetic::sum(taps.iter().copied()) / count as f32)
    })?;
    Tensor::from_floats(ty, y)
}

pub fn global_avg_pool(x: &Tensor, ty: Type) -> Result<Tensor> {
    let plane: usize = x.dims().iter().skip(2).product();
    let mean = |plane: &[f32]| arithmetic::sum(plane.iter().copied()) / plane.len() as f32;
    let y = match plane {
        0 => vec![f32::NAN; ty.shape.count().unwrap_or(0)],
        _ => x.floats()?.chunks(plane).map(mean).collect(),
    };
    Tensor::from_floats(ty, y)
}

/// For every window, `f` of its elements inside the image and of the number that an average divides by.
pub fn windowed<T: Copy, R: Copy + Default>(
    p: &Pool,
    x: &[T],
    x_dims: &[usize],
    ty: &Type,
    f: impl Fn(&[T], usize) -> Result<R>,
) -> Result<Vec<R>> {
    let y_dims = ty.shape.require()?;
    let (image, output) = (x_dims.get(2..).unwrap_or_default(), y_dims.get(2..).unwrap_or_default());
    let axis = |begin_pad: bool| -> Vec<WindowAxis> {
        let spatial = image.len();
        let sizes = image.iter().zip(output).zip(&p.kernel).zip(&p.strides).zip(&p.dilations);
        sizes
            .zip(p.pads.iter().zip(p.pads.iter().skip(spatial)))
            .map(|(((((input, output), kernel), stride), dilation), (begin, end))| WindowAxis {
                // The second reading sees the padded image, to count what an average divides by.
                input: if begin_pad { *input } else { input + begin + end },
                output: *output,
                kernel: *kernel,
                stride: *stride,
                begin: if begin_pad { *begin } else { 0 },
                dilation: *dilation,
            })
            .collect()
    };
    let (inside, padded) = (Windows::new(&axis(true))?, Windows::new(&axis(false))?);
    let (plane, pixels) = (image.iter().product::<usize>(), inside.count());
    let planes: usize = x_dims.iter().take(2).product();
    let mut y = vec![R::default(); planes * pixels];
    let (mut taps, mut with_padding, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for pixel in 0..pixels {
        inside.taps(pixel, &mut taps);
        taps.retain(|t| *t != OUTSIDE);
        let count = if p.count_include_pad {
            padded.taps(pixel, &mut with_padding);
            with_padding.iter().filter(|t| **t != OUTSIDE).count()
        } else {
            taps.len()
        };
        for c in 0..planes {
            let Some(image) = x.get(c * plane..(c + 1) * plane) else { continue };
            values.clear();
            values.extend(taps.iter().map(|t| image[*t]));
            y[c * pixels + pixel] = f(&values, count)?;
        }
    }
    Ok(y)
}

pub fn reduce(r: &Reduce, x: &Tensor, ty: Type) -> Result<Tensor> {
    let reduced = reduced_axes(r, &x.ty().shape)?;
    let count: usize = x.dims().iter().zip(&reduced).filter(|(_, r)| **r).map(|(d, _)| *d).product();
    // The output position of every input element; reading the input in order, each output adds up in order.
    let kept: Vec<usize> = x.dims().iter().zip(&reduced).map(|(d, r)| if *r { 1 } else { *d }).collect();
    let steps = strides(&kept);
    let tables: Vec<Vec<usize>> = (x.dims().iter().zip(&reduced).zip(steps))
        .map(|((d, r), step)| (0..*d).map(|c| if *r { 0 } else { c * step }).collect())
        .collect();
    let at = positions(&tables);
    let size = ty.shape.count().unwrap_or(0);
    if x.dtype().is_float() {
        let x = x.floats()?;
        let max = |a, b| binary_f32(Binary::Max, a, b);
        let min = |a, b| binary_f32(Binary::Min, a, b);
        let mut y = match r.kind {
            ReduceKind::Sum | ReduceKind::Mean => fold(&x, &at, vec![0.0f32; size], |a, b| a + b),
            ReduceKind::Max => fold(&x, &at, vec![f32::NEG_INFINITY; size], max),
            ReduceKind::Min => fold(&x, &at, vec![f32::INFINITY; size], min),
            ReduceKind::Prod => fold(&x, &at, vec![1.0f32; size], |a, b| a * b),
        };
        match r.kind {
            ReduceKind::Mean => y.iter_mut().for_each(|y| *y /= count as f32),
            ReduceKind::Sum | ReduceKind::Max | ReduceKind::Min | ReduceKind::Prod => {}
        }
        return Tensor::from_floats(ty, y);
    }
    let x = x.ints()?;
    let empty = || Error::new("no integer is the mean, largest or smallest of no elements");
    let y = match r.kind {
        ReduceKind::Sum => exact_sums(&x, &at, size)?,
        ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min if count == 0 => return Err(empty()),
        ReduceKind::Mean => {
            let count = i64::try_from(count).map_err(|_| empty())?;
            exact_sums(&x, &at, size)?.into_iter().map(|sum| sum / count).collect()
        }
        ReduceKind::Max => fold(&x, &at, vec![i64::MIN; size], i64::max),
        ReduceKind::Min => fold(&x, &at, vec![i64::MAX; size], i64::min),
        ReduceKind::Prod => exact_products(&x, &at, size)?,
    };
    integers(ty, &y)
}

fn fold<T: Copy>(x: &[T], at: &[usize], mut y: Vec<T>, f: impl Fn(T, T) -> T) -> Vec<T> {
    for (x, at) in x.iter().zip(at) {
        if let Some(y) = y.get_mut(*at) {
            *y = f(*y, *x);
        }
    }
    y
}

/// A factor of 0 makes a product 0 that left 64 bits before it, so what left them is no error until the end.
fn exact_products(x: &[i64], at: &[usize], size: usize) -> Result<Vec<i64>> {
    let times = |a: Option<i64>, b: Option<i64>| match b {
        Some(0) => Some(0),
        b => a.zip(b).and_then(|(a, b)| a.checked_mul(b)),
    };
    let products = fold(&x.iter().copied().map(Some).collect::<Vec<_>>(), at, vec![Some(1i64); size], times);
    products.into_iter().map(|p| p.ok_or_else(|| Error::new("a product leaves 64 bits"))).collect()
}

/// Sums along an axis, each up to an element or, if it is left out, up to the one before.
pub fn cum_sum(c: &CumSum, x: &Tensor, ty: Type) -> Result<Tensor> {
    if x.dtype().is_float() {
        let y = running(c, x, &x.floats()?, 0.0, |a, b| Ok(a + b))?;
        return Tensor::from_floats(ty, y);
    }
    let wide = |a, b| Error::new(format!("the sum of {a} and {b} leaves 64 bits"));
    let y = running(c, x, &x.ints()?, 0, |a: i64, b| a.checked_add(b).ok_or_else(|| wide(a, b)))?;
    integers(ty, &y)
}

fn running<T: Copy>(c: &CumSum, x: &Tensor, xs: &[T], zero: T, add: impl Fn(T, T) -> Result<T>) -> Result<Vec<T>> {
    let at = x.ty().shape.axis(c.axis)?;
    let n = x.dims().get(at).copied().unwrap_or(0);
    let inner: usize = x.dims().iter().skip(at + 1).product();
    let mut y = xs.to_vec();
    for block in y.chunks_exact_mut((n * inner).max(1)) {
        for i in 0..inner {
            let mut sum = zero;
            for step in 0..n {
                let place = &mut block[if c.reverse { n - 1 - step } else { step } * inner + i];
                let (before, with) = (sum, add(sum, *place)?);
                *place = if c.exclusive { before } else { with };
                sum = with;
            }
        }
    }
    Ok(y)
}

fn exact_sums(x: &[i64], at: &[usize], size: usize) -> Result<Vec<i64>> {
    let sums = fold(&x.iter().map(|v| i128::from(*v)).collect::<Vec<_>>(), at, vec![0i128; size], |a, b| a + b);
    let narrow = |s: i128| i64::try_from(s).map_err(|_| Error::new(format!("the sum {s} leaves 64 bits")));
    sums.into_iter().map(narrow).collect()
}
