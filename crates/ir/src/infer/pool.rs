//! Inference of pooling and reduction.

use super::dims::Window;
use super::elementwise::{float, keep_quant};
use crate::op::{CumSum, Pool, Reduce, ReduceKind};
use crate::{DType, Dim, Error, Result, Shape, Type};

pub fn max_pool(p: &Pool, x: &Type) -> Result<Type> {
    let shape = pooled(p, &x.shape)?;
    if x.dtype == DType::Bool {
        return Err(Error::new(format!("expected numbers, found {x}")));
    }
    keep_quant(x, shape, |axis| (axis < 2).then_some(axis))
}

pub fn avg_pool(p: &Pool, x: &Type) -> Result<Type> {
    let shape = pooled(p, &x.shape)?;
    Ok(only_float(x)?.with_shape(shape))
}

pub fn global_avg_pool(x: &Type) -> Result<Type> {
    let shape = spatial_mean(&x.shape)?;
    Ok(only_float(x)?.with_shape(shape))
}

fn only_float(x: &Type) -> Result<&Type> {
    float("input", x).map_err(|e| e.hint("use QAvgPool on quantized values"))
}

/// The shape after pooling over all spatial axes.
pub fn spatial_mean(x: &Shape) -> Result<Shape> {
    if x.rank() < 3 {
        return Err(Error::new(format!("expected [n, c, spatial axes], found {x}")));
    }
    Ok(Shape(x.0.iter().enumerate().map(|(i, d)| if i < 2 { d.clone() } else { Dim::Known(1) }).collect()))
}

/// The shape after a pooling window.
pub fn pooled(p: &Pool, x: &Shape) -> Result<Shape> {
    let Some(spatial) = x.rank().checked_sub(2).filter(|n| (1..=3).contains(n)) else {
        return Err(Error::new(format!("expected an input [n, c, 1 to 3 spatial axes], found {x}")));
    };
    let attributes = [
        (&p.kernel, spatial, "kernel sizes"),
        (&p.strides, spatial, "strides"),
        (&p.pads, 2 * spatial, "pads"),
        (&p.dilations, spatial, "dilations"),
    ];
    for (list, expected, name) in attributes {
        if list.len() != expected {
            return Err(Error::new(format!("expected {expected} {name}, found {list:?}")));
        }
    }
    let pads = p.pads.iter().zip(p.pads.iter().skip(spatial));
    let windows = p.kernel.iter().zip(&p.strides).zip(&p.dilations).zip(pads);
    let mut dims: Vec<Dim> = x.0.iter().take(2).cloned().collect();
    for (dim, (((kernel, stride), dilation), (begin, end))) in x.0.iter().skip(2).zip(windows) {
        let (kernel, stride, begin, end, dilation) = (*kernel, *stride, *begin, *end, *dilation);
        let window = Window { kernel, stride, begin, end, dilation, ceil: p.ceil_mode };
        let positions = window.positions(dim)?;
        window.refuse_empty(dim, &positions)?;
        dims.push(positions);
    }
    Ok(Shape(dims))
}

pub fn reduce(r: &Reduce, x: &Type) -> Result<Type> {
    let axes = reduced_axes(r, &x.shape)?;
    let dims = x.shape.0.iter().zip(&axes).filter_map(|(d, reduced)| match (reduced, r.keep_dims) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
    });
    let shape = Shape(dims.collect());
    let orders = match r.kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Prod => false,
        ReduceKind::Max | ReduceKind::Min => true,
    };
    if x.dtype == DType::Bool || (x.is_quantized() && !orders) {
        return Err(Error::new(format!("expected floats or plain integers, found {x}"))
            .hint("put a Dequantize before it, or use QAvgPool for spatial means"));
    }
    let new_axis = |axis: usize| {
        let gone = axes.iter().take(axis).filter(|reduced| **reduced && !r.keep_dims).count();
        match axes.get(axis) {
            Some(false) => Some(axis - gone),
            Some(true) | None => None,
        }
    };
    keep_quant(x, shape, new_axis)
}

pub fn cum_sum(c: &CumSum, x: &Type) -> Result<Type> {
    x.shape.axis(c.axis)?;
    match x.dtype == DType::Bool || x.is_quantized() {
        true => {
            Err(Error::new(format!("expected floats or plain integers, found {x}")).hint("put a Dequantize before it"))
        }
        false => Ok(x.clone()),
    }
}

/// For each axis whether it is reduced.
pub fn reduced_axes(r: &Reduce, x: &Shape) -> Result<Vec<bool>> {
    let mut reduced = vec![r.axes.is_empty(); x.rank()];
    for axis in &r.axes {
        let at = x.axis(*axis)?;
        match reduced.get_mut(at) {
            Some(seen @ false) => *seen = true,
            Some(true) | None => return Err(Error::new(format!("the axis {axis} is listed twice"))),
        }
    }
    Ok(reduced)
}
