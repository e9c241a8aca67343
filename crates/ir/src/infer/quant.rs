//! Inference of the quantization operators.

use super::dims::broadcast;
use super::elementwise::float;
use super::pool::{pooled, spatial_mean};
use crate::op::QAvgPool;
use crate::{DType, Error, Granularity, Quant, Result, Shape, Type};

pub fn quantize(x: &Type, declared: Option<&Type>) -> Result<Type> {
    float("input", x)?;
    target(declared, x.shape.clone())
}

pub fn dequantize(x: &Type) -> Result<Type> {
    check_quant(x)?;
    Ok(Type::f32(x.shape.clone()))
}

pub fn requantize(x: &Type, declared: Option<&Type>) -> Result<Type> {
    check_quant(x)?;
    target(declared, x.shape.clone())
}

pub fn element_by_element(a: &Type, b: &Type, declared: Option<&Type>) -> Result<Type> {
    per_tensor("first input", a)?;
    per_tensor("second input", b)?;
    let out = target(declared, broadcast(&a.shape, &b.shape)?)?;
    per_tensor("output", &out)?;
    Ok(out)
}

pub fn avg_pool(q: &QAvgPool, x: &Type, declared: Option<&Type>) -> Result<Type> {
    per_tensor("input", x)?;
    let shape = match &q.pool {
        Some(pool) => pooled(pool, &x.shape)?,
        None => spatial_mean(&x.shape)?,
    };
    let out = target(declared, shape)?;
    per_tensor("output", &out)?;
    Ok(out)
}

pub fn table(x: &Type, table: &Type, declared: Option<&Type>) -> Result<Type> {
    let q = per_tensor("input", x)?;
    if !matches!(x.dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16) {
        return Err(Error::new(format!("expected an input of 8 or 16 bits, found {x}")));
    }
    let out = target(declared, x.shape.clone())?;
    per_tensor("output", &out)?;
    // One entry for each integer from qmin to qmax; the rest of the storage type's range may follow.
    let least = q.qmax.saturating_sub(q.qmin).saturating_add(1);
    let most = 1i64 << x.dtype.bits();
    let entries = table.shape.dims().and_then(|d| match d.as_slice() {
        [n] => i64::try_from(*n).ok(),
        _ => None,
    });
    if table.dtype != out.dtype || !entries.is_some_and(|n| (least..=most).contains(&n)) {
        return Err(Error::new(format!(
            "expected a table {}[{least}] to {}[{most}] for {x}, found {table}",
            out.dtype, out.dtype
        )));
    }
    Ok(out)
}

/// The declared dtype and quantization with the inferred shape.
fn target(declared: Option<&Type>, shape: Shape) -> Result<Type> {
    let Some(declared) = declared else {
        return Err(Error::new("expected a declared output type, whose quantization cannot be inferred, found none")
            .hint("add the node with infer::apply_as"));
    };
    let ty = declared.with_shape(shape);
    check_quant(&ty)?;
    Ok(ty)
}

fn per_tensor<'a>(what: &str, x: &'a Type) -> Result<&'a Quant> {
    let q = check_quant(x)?;
    match q.is_per_tensor() {
        true => Ok(q),
        false => Err(Error::new(format!("expected one scale for the {what}, found {x}"))
            .hint("put a Requantize to one scale before it")),
    }
}

/// The quantization of a type, if it fits the type's storage and shape.
pub fn check_quant(x: &Type) -> Result<&Quant> {
    let q = x.quant()?;
    let Some((lo, hi)) = x.dtype.range().filter(|_| x.dtype.is_integer()) else {
        return Err(Error::new(format!("expected integer storage for a quantized type, found {x}")));
    };
    if q.qmin > q.qmax || q.qmin < lo || q.qmax > hi {
        return Err(Error::new(format!("expected a range within {lo}..{hi} of {}, found {x}", x.dtype)));
    }
    let axis_size = |axis: usize| {
        let dim = x.shape.0.get(axis);
        dim.ok_or_else(|| Error::new(format!("expected scales along an axis of the shape, found {x}")))
    };
    let expected = match q.granularity {
        Granularity::Tensor => Some(1),
        Granularity::Channel { axis } => axis_size(axis)?.known(),
        Granularity::Block { size: 0, .. } => {
            return Err(Error::new(format!("expected blocks of at least 1, found {x}")));
        }
        Granularity::Block { axis, size } => {
            axis_size(axis)?;
            let blocks = |(i, n): (usize, usize)| if i == axis { n.div_ceil(size) } else { n };
            let dims = x.shape.dims();
            dims.and_then(|d| d.into_iter().enumerate().map(blocks).try_fold(1usize, usize::checked_mul))
        }
    };
    if q.scale.len() != q.zero_point.len() || expected.is_some_and(|n| n != q.scale.len() && q.scale.len() != 1) {
        return Err(Error::new(format!(
            "expected {} scales and zero points, found {} and {} in {x}",
            expected.map_or("as many".into(), |n| n.to_string()),
            q.scale.len(),
            q.zero_point.len()
        )));
    }
    for s in q.scale.iter() {
        lowbit_arithmetic::requant::check_scale(*s)?;
    }
    Ok(q)
}
