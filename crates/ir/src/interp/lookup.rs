//! Elements that are found by indices, or put where indices say, and the greatest and least.

use super::elementwise::{binary_f32, binary_i64};
use super::integers;
use super::movement::concat;
use super::positions::{pick, positions, strides};
use crate::op::{Binary, Scatter, TopK};
use crate::{Error, Result, Tensor, Type};
use std::cmp::Ordering;

/// The position that an index means along axis `at` of `n` elements; negative ones count from the end.
fn position(index: i64, n: usize, at: usize, data: &Tensor) -> Result<usize> {
    let from_start = if index < 0 { index.saturating_add(n as i64) } else { index };
    usize::try_from(from_start).ok().filter(|i| *i < n).ok_or_else(|| {
        Error::new(format!("expected indices in -{n}..{n} along axis {at} of {}, found {index}", data.ty()))
    })
}

pub fn gather(axis: i64, data: &Tensor, indices: &Tensor, ty: Type) -> Result<Tensor> {
    let at = data.ty().shape.axis(axis)?;
    let n = data.dims().get(at).copied().unwrap_or(1);
    let inner: usize = data.dims().iter().skip(at + 1).product();
    let outer: usize = data.dims().iter().take(at).product();
    let place = |i: i64| position(i, n, at, data).map(|i| i * inner);
    let chosen = indices.ints()?.into_iter().map(place).collect::<Result<Vec<_>>>()?;
    let tables = [(0..outer).map(|o| o * n * inner).collect(), chosen, (0..inner).collect()];
    pick(data, ty, &positions(&tables), None)
}

pub fn gather_elements(axis: i64, data: &Tensor, indices: &Tensor, ty: Type) -> Result<Tensor> {
    pick(data, ty, &beside(axis, data, indices)?, None)
}

/// For every index along an axis the position in `data` that it means, at its own place on the other axes.
fn beside(axis: i64, data: &Tensor, indices: &Tensor) -> Result<Vec<usize>> {
    let at = data.ty().shape.axis(axis)?;
    let steps = strides(data.dims());
    let (n, step) = data.dims().get(at).copied().zip(steps.get(at).copied()).unwrap_or((0, 0));
    let table = |(a, (size, step)): (usize, (&usize, &usize))| match a == at {
        true => vec![0; *size],
        false => (0..*size).map(|c| c * step).collect(),
    };
    let tables: Vec<Vec<usize>> = indices.dims().iter().zip(&steps).enumerate().map(table).collect();
    let along = |(base, index): (usize, i64)| Ok(base + position(index, n, at, data)? * step);
    positions(&tables).into_iter().zip(indices.ints()?).map(along).collect()
}

pub fn gather_nd(batch_dims: usize, data: &Tensor, indices: &Tensor, ty: Type) -> Result<Tensor> {
    pick(data, ty, &slices(batch_dims, data, indices)?, None)
}

/// For every row of `indices` the positions in `data` of the slice that it means.
fn slices(batch_dims: usize, data: &Tensor, indices: &Tensor) -> Result<Vec<usize>> {
    let m = indices.dims().last().copied().unwrap_or(1);
    let steps = strides(data.dims());
    let axes: Vec<(usize, (&usize, &usize))> =
        data.dims().iter().zip(&steps).enumerate().skip(batch_dims).take(m).collect();
    let batches: usize = data.dims().iter().take(batch_dims).product();
    let (batch, inner): (usize, usize) =
        (data.dims().iter().skip(batch_dims).product(), data.dims().iter().skip(batch_dims + m).product());
    let rows = indices.ints()?;
    let side_by_side = (rows.len() / m.max(1)).checked_div(batches).unwrap_or(0);
    let start = |(i, row): (usize, &[i64])| {
        let mut start = i.checked_div(side_by_side).unwrap_or(0) * batch;
        for (index, (at, (n, step))) in row.iter().zip(&axes) {
            start += position(*index, **n, *at, data)? * **step;
        }
        Ok(start)
    };
    let starts = rows.chunks_exact(m.max(1)).enumerate().map(start).collect::<Result<Vec<_>>>()?;
    Ok(positions(&[starts, (0..inner).collect()]))
}

pub fn scatter_elements(
    axis: i64,
    reduction: Scatter,
    data: &Tensor,
    indices: &Tensor,
    updates: &Tensor,
    ty: Type,
) -> Result<Tensor> {
    scatter(reduction, data, &beside(axis, data, indices)?, updates, ty)
}

pub fn scatter_nd(reduction: Scatter, data: &Tensor, indices: &Tensor, updates: &Tensor, ty: Type) -> Result<Tensor> {
    scatter(reduction, data, &slices(0, data, indices)?, updates, ty)
}

/// Update i at position `at[i]` of the data, one after the other.
fn scatter(reduction: Scatter, data: &Tensor, at: &[usize], updates: &Tensor, ty: Type) -> Result<Tensor> {
    let f = match reduction {
        Scatter::Replace => return replace(data, at, updates, ty),
        Scatter::Add => Binary::Add,
        Scatter::Mul => Binary::Mul,
        Scatter::Min => Binary::Min,
        Scatter::Max => Binary::Max,
    };
    match ty.dtype.is_float() {
        true => {
            let y = fold(&data.floats()?, at, &updates.floats()?, |a, b| Ok(binary_f32(f, a, b)))?;
            Tensor::from_floats(ty, y)
        }
        false => integers(ty, &fold(&data.ints()?, at, &updates.ints()?, |a, b| binary_i64(f, data.dtype(), a, b))?),
    }
}

fn fold<T: Copy>(data: &[T], at: &[usize], updates: &[T], f: impl Fn(T, T) -> Result<T>) -> Result<Vec<T>> {
    let mut y = data.to_vec();
    for (at, update) in at.iter().zip(updates) {
        if let Some(y) = y.get_mut(*at) {
            *y = f(*y, *update)?;
        }
    }
    Ok(y)
}

/// The bits of the last update of each place, or of the data where there is none.
fn replace(data: &Tensor, at: &[usize], updates: &Tensor, ty: Type) -> Result<Tensor> {
    let (n, more) = (data.count(), updates.count());
    let mut from: Vec<usize> = (0..n).collect();
    for (i, at) in at.iter().enumerate() {
        if let Some(from) = from.get_mut(*at) {
            *from = n + i;
        }
    }
    let (flat, new) = (data.reshaped(&[n])?, updates.reshaped(&[more])?);
    let all = concat(0, &[Some(&flat), Some(&new)], Type::plain(ty.dtype, vec![n + more]))?;
    pick(&all, ty, &from, None)
}

pub fn top_k(t: &TopK, x: &Tensor, types: Vec<Type>) -> Result<Vec<Tensor>> {
    let chosen = match x.dtype().is_float() {
        true => best(t, x, &x.floats()?, float_order)?,
        false => best(t, x, &x.ints()?, i64::cmp)?,
    };
    let [values, indices] = <[Type; 2]>::try_from(types).map_err(|_| Error::new("expected two results of TopK"))?;
    let at: Vec<usize> = chosen.iter().map(|(at, _)| *at).collect();
    let found: Vec<i64> = chosen.iter().map(|(_, index)| *index as i64).collect();
    Ok(vec![pick(x, values, &at, None)?, Tensor::from_i64(&indices.shape.require()?, found)?])
}

/// The order of floats: a NaN is above all others, -0 is +0.
fn float_order(a: &f32, b: &f32) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The positions in `x` of what is taken, in the order of the result, with their indices along the axis.
fn best<T>(t: &TopK, x: &Tensor, xs: &[T], order: impl Fn(&T, &T) -> Ordering) -> Result<Vec<(usize, usize)>> {
    let at = x.ty().shape.axis(t.axis)?;
    let n = x.dims().get(at).copied().unwrap_or(0);
    let inner: usize = x.dims().iter().skip(at + 1).product();
    let outer: usize = x.dims().iter().take(at).product();
    let mut chosen = vec![(0, 0); outer * t.k * inner];
    let mut line: Vec<usize> = Vec::with_capacity(n);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let start = o * n * inner + i;
        let first = |a: &usize, b: &usize| {
            let (x, y) = (&xs[start + a * inner], &xs[start + b * inner]);
            if t.largest { order(y, x) } else { order(x, y) }.then(a.cmp(b))
        };
        line.clear();
        line.extend(0..n);
        if let Some(last) = t.k.checked_sub(1).filter(|_| t.k < n) {
            line.select_nth_unstable_by(last, first);
        }
        line.truncate(t.k);
        match t.sorted {
            true => line.sort_unstable_by(first),
            false => line.sort_unstable(),
        }
        for (rank, index) in line.iter().enumerate() {
            chosen[(o * t.k + rank) * inner + i] = (start + index * inner, *index);
        }
    }
    Ok(chosen)
}
