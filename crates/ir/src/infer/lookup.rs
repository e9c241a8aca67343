//! Inference of operators that find elements by indices, or give them.

use super::elementwise::{keep_quant, may_equal};
use crate::op::{Scatter, TopK};
use crate::{DType, Dim, Error, Result, Shape, Type};
use std::cmp::Ordering;

fn check_indices(indices: &Type) -> Result<()> {
    match matches!(indices.dtype, DType::I32 | DType::I64) && !indices.is_quantized() {
        true => Ok(()),
        false => Err(Error::new(format!("expected indices of i32 or i64, found {indices}"))),
    }
}

pub fn gather(axis: i64, data: &Type, indices: &Type) -> Result<Type> {
    let at = data.shape.axis(axis)?;
    check_indices(indices)?;
    let (head, tail) = (data.shape.0.iter().take(at), data.shape.0.iter().skip(at + 1));
    let shape = Shape(head.chain(&indices.shape.0).chain(tail).cloned().collect());
    let more = indices.shape.rank();
    keep_quant(data, shape, |a| match a.cmp(&at) {
        Ordering::Less => Some(a),
        Ordering::Equal => None,
        Ordering::Greater => Some(a + more - 1),
    })
}

pub fn gather_elements(axis: i64, data: &Type, indices: &Type) -> Result<Type> {
    let at = data.shape.axis(axis)?;
    check_indices(indices)?;
    check_beside(at, data, indices)?;
    // A scale of a channel stays with it where all channels are there.
    let whole = |a: usize| a != at && data.shape.0.get(a) == indices.shape.0.get(a);
    keep_quant(data, indices.shape.clone(), |a| whole(a).then_some(a))
}

/// Indices along axis `at` stand at their own places on all others: these must be places of the data.
fn check_beside(at: usize, data: &Type, indices: &Type) -> Result<()> {
    let beyond = |(a, (d, i)): (usize, (&Dim, &Dim))| a != at && d.known().zip(i.known()).is_some_and(|(d, i)| i > d);
    let beyond = data.shape.0.iter().zip(&indices.shape.0).enumerate().any(beyond);
    match data.shape.rank() != indices.shape.rank() || beyond {
        true => Err(Error::new(format!(
            "expected indices of the rank of {data}, and no larger than it but along axis {at}, found {indices}"
        ))),
        false => Ok(()),
    }
}

/// How many numbers make a place: the last dimension of `indices`, of the axes of `data` from `batch_dims` on.
fn place_rank(batch_dims: usize, data: &Type, indices: &Type) -> Result<usize> {
    check_indices(indices)?;
    let (r, q) = (data.shape.rank(), indices.shape.rank());
    if batch_dims >= r.min(q) {
        return Err(Error::new(format!(
            "expected fewer than {} leading axes side by side for {data} and {indices}, found {batch_dims}",
            r.min(q)
        )));
    }
    match indices.shape.0.last() {
        Some(Dim::Known(m)) if (1..=r - batch_dims).contains(m) => Ok(*m),
        _ => Err(Error::new(format!(
            "expected places of 1 to {} numbers, which is the last dimension of the indices, for {data}, found {indices}",
            r - batch_dims
        ))),
    }
}

pub fn gather_nd(batch_dims: usize, data: &Type, indices: &Type) -> Result<Type> {
    let m = place_rank(batch_dims, data, indices)?;
    let q = indices.shape.rank();
    let mut dims: Vec<Dim> = indices.shape.0.iter().take(q - 1).cloned().collect();
    for (own, of_data) in dims.iter_mut().zip(&data.shape.0).take(batch_dims) {
        if !may_equal(own, of_data) {
            return Err(Error::new(format!(
                "expected the first {batch_dims} dimensions of {data} and {indices} to be the same"
            )));
        }
        if own.known().is_none() {
            *own = of_data.clone();
        }
    }
    dims.extend(data.shape.0.iter().skip(batch_dims + m).cloned());
    keep_quant(data, Shape(dims), |a| match a {
        a if a < batch_dims => Some(a),
        a if a < batch_dims + m => None,
        a => Some(a - (batch_dims + m) + (q - 1)),
    })
}

/// Data that updates of its own type can be put into.
fn check_updates(reduction: Scatter, data: &Type, updates: &Type, shape: &Shape) -> Result<()> {
    if data.is_quantized() || updates.is_quantized() {
        return Err(Error::new(format!("expected floats, plain integers or bools, found {data} and {updates}"))
            .hint("put a Dequantize before them"));
    }
    if data.dtype == DType::Bool && reduction != Scatter::Replace {
        return Err(Error::new(format!("expected numbers to compute with, found {data}")));
    }
    let fits =
        updates.shape.rank() == shape.rank() && updates.shape.0.iter().zip(&shape.0).all(|(a, b)| may_equal(a, b));
    match updates.dtype == data.dtype && fits {
        true => Ok(()),
        false => Err(Error::new(format!("expected updates {}[{shape}], found {updates}", data.dtype))),
    }
}

pub fn scatter_elements(axis: i64, reduction: Scatter, data: &Type, indices: &Type, updates: &Type) -> Result<Type> {
    let at = data.shape.axis(axis)?;
    check_indices(indices)?;
    check_beside(at, data, indices)?;
    check_updates(reduction, data, updates, &indices.shape)?;
    Ok(data.clone())
}

pub fn scatter_nd(reduction: Scatter, data: &Type, indices: &Type, updates: &Type) -> Result<Type> {
    let m = place_rank(0, data, indices)?;
    let rows = indices.shape.0.iter().take(indices.shape.rank() - 1);
    let shape = Shape(rows.chain(data.shape.0.iter().skip(m)).cloned().collect());
    check_updates(reduction, data, updates, &shape)?;
    Ok(data.clone())
}

pub fn top_k(t: &TopK, x: &Type) -> Result<Vec<Type>> {
    let at = x.shape.axis(t.axis)?;
    if x.dtype == DType::Bool {
        return Err(Error::new(format!("expected numbers, found {x}")));
    }
    let mut shape = x.shape.clone();
    if let Some(dim) = shape.0.get_mut(at) {
        if let Dim::Known(n) = dim
            && t.k > *n
        {
            return Err(Error::new(format!("expected k of at most {n}, the size of axis {at} of {x}, found {}", t.k)));
        }
        *dim = Dim::Known(t.k);
    }
    let values = keep_quant(x, shape.clone(), |a| (a != at).then_some(a))?;
    Ok(vec![values, Type::plain(DType::I64, shape)])
}
