//! Moving data: every result element is a source element or a fill.

use super::positions::{OUTSIDE, broadcast_positions, pick, positions, strides};
use crate::infer::slice_range;
use crate::op::{Pad, PadMode, SliceAxis};
use crate::{DType, Error, Result, Tensor, Type};
use lowbit_arithmetic::{Rounding, quantize};

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
pub fn whole(dims: &[usize]) -> Vec<Vec<usize>> {
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
pub fn fill(value: f32, ty: &Type) -> Result<Tensor> {
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
