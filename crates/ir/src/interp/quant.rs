//! The quantization operators: thin loops over the functions of the arithmetic.

use super::integers;
use super::pool::windowed;
use super::positions::zip_broadcast;
use crate::op::{Pool, QAvgPool, Rescale};
use crate::tensor::entries;
use crate::{Error, Quant, Result, Tensor, Type};
use lowbit_arithmetic::requant::offset_and_clamp;
use lowbit_arithmetic::{self as arithmetic, AddRescale, Affine, Rounding};
use std::collections::HashMap;

pub fn quantize(rounding: Rounding, x: &Tensor, ty: Type) -> Result<Tensor> {
    let q = ty.quant()?.clone();
    let to = affines(&q)?;
    let elements = x.floats()?;
    let y = (elements.iter().zip(entries(&q, x.dims())).zip(indices(x.dims())))
        .map(|((x, e), index)| Ok(i64::from(arithmetic::quantize(*x, entry(&to, e)?, rounding, index))))
        .collect::<Result<Vec<_>>>()?;
    integers(ty, &y)
}

pub fn requantize(r: &Rescale, x: &Tensor, ty: Type) -> Result<Tensor> {
    let (from, to) = (x.ty().quant()?.clone(), ty.quant()?.clone());
    let targets = affines(&to)?;
    let mut rescales = HashMap::new();
    // Neighbours mostly share a channel, so the last pair is looked at before the table.
    let mut last = None;
    let mut y = Vec::with_capacity(x.count());
    let channels = entries(&from, x.dims()).zip(entries(&to, x.dims()));
    for ((q, (i, o)), index) in x.ints()?.into_iter().zip(channels).zip(indices(x.dims())) {
        let out = entry(&targets, o)?;
        let by = match last {
            Some((pair, by)) if pair == (i, o) => by,
            _ => match rescales.get(&(i, o)) {
                Some(by) => *by,
                None => {
                    let by = arithmetic::Rescale::new(r.method, *entry(&from.scale, i)?, out.scale)?;
                    rescales.insert((i, o), by);
                    by
                }
            },
        };
        last = Some(((i, o), by));
        let acc = q.saturating_sub(i64::from(*entry(&from.zero_point, i)?));
        y.push(i64::from(arithmetic::requantize(acc, by, r.rounding, out.zero_point, out.qmin, out.qmax, index)));
    }
    integers(ty, &y)
}

pub fn add(r: &Rescale, a: &Tensor, b: &Tensor, ty: Type) -> Result<Tensor> {
    let (s1, s2, to) = (scale(a)?, scale(b)?, ty.quant()?.affine()?);
    let by = AddRescale::new(r.method, s1, s2, to.scale)?;
    pairwise(a, b, ty, |a, b, index| by.apply(a, b, r.rounding, index), to)
}

pub fn mul(r: &Rescale, a: &Tensor, b: &Tensor, ty: Type) -> Result<Tensor> {
    let (s1, s2, to) = (scale(a)?, scale(b)?, ty.quant()?.affine()?);
    let by = arithmetic::Rescale::for_product(r.method, s1, s2, to.scale)?;
    // Operands of more than 32 bits could leave 64; their product then saturates far outside any output range.
    pairwise(a, b, ty, |a, b, index| by.apply(a.saturating_mul(b), r.rounding, index), to)
}

/// `f` of both operands less their zero points, in the output's range.
fn pairwise(a: &Tensor, b: &Tensor, ty: Type, f: impl Fn(i64, i64, u64) -> i64, to: Affine) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    let (za, zb) = (zero(a)?, zero(b)?);
    let (x, y) = (a.ints()?, b.ints()?);
    let pairs =
        zip_broadcast((&x, a.dims()), (&y, b.dims()), &dims, |x, y| (x.saturating_sub(za), y.saturating_sub(zb)));
    let z: Vec<i64> = (pairs.into_iter().zip(indices(&dims)))
        .map(|((x, y), index)| i64::from(offset_and_clamp(f(x, y, index), to.zero_point, to.qmin, to.qmax)))
        .collect();
    integers(ty, &z)
}

pub fn avg_pool(q: &QAvgPool, x: &Tensor, ty: Type) -> Result<Tensor> {
    let (s, z, to) = (scale(x)?, zero(x)?, ty.quant()?.affine()?);
    let image = x.dims().get(2..).unwrap_or_default();
    let everything = || Pool {
        kernel: image.to_vec(),
        strides: vec![1; image.len()],
        pads: vec![0; 2 * image.len()],
        dilations: vec![1; image.len()],
        ceil_mode: false,
        count_include_pad: false,
    };
    let pool = q.pool.clone().unwrap_or_else(everything);
    let large = || Error::new("the sum of a window leaves 64 bits");
    let sums = windowed(&pool, &x.ints()?, x.dims(), &ty, |taps, count| {
        let sum = taps.iter().try_fold(0i64, |sum, q| sum.checked_add(q.checked_sub(z)?)).ok_or_else(large)?;
        let count = u32::try_from(count).map_err(|_| Error::new(format!("cannot average over {count} elements")))?;
        Ok((sum, count))
    })?;
    let mut rescales = HashMap::new();
    let dims = ty.shape.require()?;
    let mut y = Vec::with_capacity(sums.len());
    for ((sum, count), index) in sums.into_iter().zip(indices(&dims)) {
        let by = match rescales.get(&count) {
            Some(by) => *by,
            None => {
                let by = arithmetic::Rescale::for_average(q.rescale.method, s, to.scale, count)?;
                rescales.insert(count, by);
                by
            }
        };
        let rounding = q.rescale.rounding;
        y.push(i64::from(arithmetic::requantize(sum, by, rounding, to.zero_point, to.qmin, to.qmax, index)));
    }
    integers(ty, &y)
}

/// table[q - qmin], with qmin of the input's type.
pub fn table(x: &Tensor, table: &Tensor, ty: Type) -> Result<Tensor> {
    let qmin = x.ty().quant()?.qmin;
    let table = table.ints()?;
    let look = |q: i64| {
        let at = usize::try_from(q.saturating_sub(qmin)).ok().and_then(|i| table.get(i));
        at.copied().ok_or_else(|| Error::new(format!("the table of {} entries has none for {q}", table.len())))
    };
    integers(ty, &x.ints()?.into_iter().map(look).collect::<Result<Vec<_>>>()?)
}

/// The index of each element within its sample, for stochastic rounding: the batch does not count.
fn indices(dims: &[usize]) -> impl Iterator<Item = u64> {
    let sample = dims.iter().skip(1).map(|d| *d as u64).product::<u64>().max(1);
    (0..).map(move |i: u64| i % sample)
}

fn affines(q: &Quant) -> Result<Vec<Affine>> {
    (0..q.scale.len()).map(|e| q.affine_at(e)).collect()
}

fn entry<T>(list: &[T], i: usize) -> Result<&T> {
    list.get(i)
        .ok_or_else(|| Error::new(format!("expected at least {} quantization entries, found {}", i + 1, list.len())))
}

fn scale(x: &Tensor) -> Result<f32> {
    entry(&x.ty().quant()?.scale, 0).copied()
}

fn zero(x: &Tensor) -> Result<i64> {
    entry(&x.ty().quant()?.zero_point, 0).copied().map(i64::from)
}
