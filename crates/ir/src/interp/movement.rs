//! Moving data: every result element is a source element (or a fill), except in linear resampling.

use super::positions::{OUTSIDE, broadcast_positions, pick, positions, strides};
use crate::infer::slice_range;
use crate::op::{Coordinates, Nearest, Pad, PadMode, Resize, ResizeMode, SliceAxis};
use crate::{DType, Error, Result, Tensor, Type};
use lowbit_arithmetic::{Rounding, fma, quantize};

pub fn transpose(perm: &[usize], x: &Tensor, ty: Type) -> Result<Tensor> {
    let steps = strides(x.dims());
    let axis = |p: &usize| Some((*x.dims().get(*p)?, *steps.get(*p)?));
    let tables: Vec<Vec<usize>> =
        perm.iter().filter_map(axis).map(|(n, step)| (0..n).map(|c| c * step).collect()).collect();
    pick(x, ty, &positions(&tables), None)
}

pub fn slice(axes: &[SliceAxis], x: &Tensor, ty: Type) -> Result<Tensor> {
    let mut tables = whole(x.dims());
    for s in axes {
        let at = x.ty().shape.axis(s.axis)?;
        let (Some(table), Some(n)) = (tables.get_mut(at), x.dims().get(at)) else { continue };
        let (start, count) = slice_range(s, *n);
        let index = |i: usize| usize::try_from(start + i as i64 * s.step).ok();
        *table = (0..count).filter_map(|i| table.get(index(i)?).copied()).collect();
    }
    pick(x, ty, &positions(&tables), None)
}

pub fn split(axis: i64, sizes: &[usize], x: &Tensor, types: Vec<Type>) -> Result<Vec<Tensor>> {
    let mut start = 0usize;
    let mut parts = Vec::with_capacity(types.len());
    for (size, ty) in sizes.iter().zip(types) {
        let end = start + size;
        parts.push(slice(&[SliceAxis { axis, start: start as i64, end: end as i64, step: 1 }], x, ty)?);
        start = end;
    }
    Ok(parts)
}

/// The tables of an unchanged tensor of this shape.
fn whole(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().zip(strides(dims)).map(|(n, step)| (0..*n).map(|c| c * step).collect()).collect()
}

pub fn pad(p: &Pad, x: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    let amounts = p.begins.iter().zip(&p.ends);
    let tables: Vec<Vec<usize>> = (whole(x.dims()).iter().zip(amounts).zip(&dims))
        .map(|((table, (begin, end)), n)| {
            // What is taken away goes first, so that it is in no mirror image and at no other end.
            let removed = |amount: &i64| usize::try_from(amount.saturating_neg()).unwrap_or(0);
            let kept = table.get(removed(begin)..table.len().saturating_sub(removed(end))).unwrap_or_default();
            let last = kept.len() as i64 - 1;
            let source = |c: usize| {
                let at = c as i64 - (*begin).max(0);
                let inside = match p.mode {
                    PadMode::Constant(_) => at,
                    PadMode::Edge => at.clamp(0, last.max(0)),
                    PadMode::Reflect if at < 0 => -at,
                    PadMode::Reflect if at > last => 2 * last - at,
                    PadMode::Reflect => at,
                    PadMode::Wrap => at.checked_rem_euclid(last + 1).unwrap_or(at),
                };
                usize::try_from(inside).ok().and_then(|i| kept.get(i)).copied().unwrap_or(OUTSIDE)
            };
            (0..*n).map(source).collect()
        })
        .collect();
    let fill = match p.mode {
        PadMode::Constant(value) => Some(fill(value, &ty)?),
        PadMode::Reflect | PadMode::Edge | PadMode::Wrap => None,
    };
    pick(x, ty, &positions(&tables), fill.as_ref())
}

/// One element of this storage type that stands for a real value.
fn fill(value: f32, ty: &Type) -> Result<Tensor> {
    if ty.dtype.is_float() {
        return Tensor::from_floats(Type::plain(ty.dtype, vec![1]), vec![value]);
    }
    let q = match &ty.quant {
        None if ty.dtype == DType::Bool => i64::from(value != 0.0),
        None => value as i64,
        Some(q) if q.is_per_tensor() && value != 0.0 => i64::from(quantize(value, &q.affine()?, Rounding::HalfEven, 0)),
        // Zero is the zero point in every channel, and needs no scale; inference refuses other values here.
        Some(q) => match &*q.zero_point {
            [zero, rest @ ..] if rest.iter().all(|z| z == zero) => i64::from(*zero).clamp(q.qmin, q.qmax),
            _ => return Err(Error::new("expected one zero point for all channels to pad with, found several")),
        },
    };
    Tensor::from_ints(Type::plain(ty.dtype, vec![1]), &[q])
}

pub fn expand(x: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    pick(x, ty, &broadcast_positions(x.dims(), &dims), None)
}

pub fn concat(axis: i64, inputs: &[Option<&Tensor>], ty: Type) -> Result<Tensor> {
    let at = ty.shape.axis(axis)?;
    let parts: Vec<&Tensor> = inputs.iter().copied().flatten().collect();
    let outer: usize = ty.shape.require()?.iter().take(at).product();
    let len = |t: &Tensor| t.dims().iter().skip(at).product::<usize>();
    if ty.dtype.is_packed() {
        let ints = parts.iter().map(|t| t.ints()).collect::<Result<Vec<_>>>()?;
        let joined = join(outer, &parts.iter().zip(&ints).map(|(t, v)| (v.as_slice(), len(t))).collect::<Vec<_>>());
        return Tensor::from_ints(ty, &joined);
    }
    let width = ty.dtype.bits() / 8;
    let joined = join(outer, &parts.iter().map(|t| (t.bytes().as_ref(), len(t) * width)).collect::<Vec<_>>());
    Tensor::from_bytes(ty, joined.into())
}

/// In turn a run of each part, as long as its number says, `outer` times.
fn join<T: Copy>(outer: usize, parts: &[(&[T], usize)]) -> Vec<T> {
    let mut joined = Vec::with_capacity(parts.iter().map(|(data, _)| data.len()).sum());
    for o in 0..outer {
        for (data, run) in parts {
            joined.extend_from_slice(data.get(o * run..(o + 1) * run).unwrap_or_default());
        }
    }
    joined
}

/// Resampling: axes one after the other, the last first; an axis of scale 1 and unchanged size is left alone.
///
/// Coordinates are computed in f32, one operation at a time in the order of ONNX Runtime's formulas, and limited to the
/// image. Linear: with t the distance from the lower neighbour a to the upper one b, fma(t, b - a, a).
pub fn resize(r: &Resize, x: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    let axes = coordinates(r, x.dims(), &dims);
    match r.mode {
        ResizeMode::Nearest(rounding) => {
            let mut tables = whole(x.dims());
            for (table, coordinates) in tables.iter_mut().zip(&axes) {
                let Some(coordinates) = coordinates else { continue };
                let at = nearest_of(rounding, coordinates, table.len());
                *table = at.into_iter().filter_map(|at| table.get(at).copied()).collect();
            }
            pick(x, ty, &positions(&tables), None)
        }
        ResizeMode::Linear => {
            let mut data = x.floats()?.into_owned();
            let mut now = x.dims().to_vec();
            for (axis, coordinates) in axes.iter().enumerate().rev() {
                let Some(coordinates) = coordinates else { continue };
                data = interpolate(&data, &now, axis, coordinates);
                if let Some(n) = now.get_mut(axis) {
                    *n = coordinates.len();
                }
            }
            Tensor::from_floats(ty, data)
        }
    }
}

/// For every axis that is resampled where the indices of its output lie in its input, before limiting.
fn coordinates(r: &Resize, from: &[usize], to: &[usize]) -> Vec<Option<Vec<f32>>> {
    let axis = |(axis, (input, output)): (usize, (&usize, &usize))| {
        let scale = match &r.sizes {
            Some(_) => *output as f32 / *input as f32,
            None => r.scales.get(axis).copied().unwrap_or(1.0),
        };
        let untouched = scale == 1.0 && input == output;
        (!untouched).then(|| (0..*output).map(|i| coordinate(r.coordinates, i, scale, *input, *output)).collect())
    };
    from.iter().zip(to).enumerate().map(axis).collect()
}

/// For every axis of a resampled value the positions of the input that its indices take, where the nearest are taken.
pub fn nearest_positions(r: &Resize, rounding: Nearest, from: &[usize], to: &[usize]) -> Vec<Vec<usize>> {
    let axis = |(coordinates, n): (Option<Vec<f32>>, &usize)| match coordinates {
        Some(coordinates) => nearest_of(rounding, &coordinates, *n),
        None => (0..*n).collect(),
    };
    coordinates(r, from, to).into_iter().zip(from).map(axis).collect()
}

fn nearest_of(rounding: Nearest, coordinates: &[f32], n: usize) -> Vec<usize> {
    coordinates.iter().map(|c| nearest(rounding, *c, n)).collect()
}

/// Where output index `i` lies in the input, before limiting.
fn coordinate(c: Coordinates, i: usize, scale: f32, input: usize, output: usize) -> f32 {
    let at = i as f32;
    match c {
        Coordinates::HalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel if output <= 1 => 0.0,
        Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if output <= 1 => 0.0,
        Coordinates::AlignCorners => at * (input as f32 - 1.0) / (output as f32 - 1.0),
        Coordinates::Asymmetric => at / scale,
    }
}

fn nearest(rounding: Nearest, at: f32, n: usize) -> usize {
    let whole = match rounding {
        Nearest::RoundPreferFloor => (at - 0.5).ceil(),
        Nearest::RoundPreferCeil => (at + 0.5).floor(),
        Nearest::Floor => at.floor(),
        Nearest::Ceil => at.ceil(),
    };
    // The cast saturates at 0.
    (whole as usize).min(n.saturating_sub(1))
}

fn interpolate(x: &[f32], dims: &[usize], axis: usize, coordinates: &[f32]) -> Vec<f32> {
    let n = dims.get(axis).copied().unwrap_or(1);
    let inner: usize = dims.iter().skip(axis + 1).product();
    let last = n.saturating_sub(1);
    let mut y = Vec::with_capacity(x.len() / n.max(1) * coordinates.len());
    for block in x.chunks_exact((n * inner).max(1)) {
        for c in coordinates {
            let c = c.max(0.0).min(last as f32);
            let low = c.floor();
            let (t, low) = (c - low, low as usize);
            let high = (low + 1).min(last);
            let row = |i: usize| block.get(i * inner..(i + 1) * inner).unwrap_or_default();
            y.extend(row(low).iter().zip(row(high)).map(|(a, b)| fma(t, b - a, *a)));
        }
    }
    y
}
