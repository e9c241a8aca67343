//! Inference of normalization and of functions of single elements.

use super::dims::broadcast;
use crate::op::{Binary, Pairs, Takes, Unary};
use crate::{DType, Dim, Error, Granularity, Quant, Result, Shape, Type};

/// The type itself if it is a float, or an error.
pub fn float<'a>(what: &str, x: &'a Type) -> Result<&'a Type> {
    match x.dtype.is_float() {
        true => Ok(x),
        false => {
            let error = Error::new(format!("expected a float {what}, found {x}"));
            Err(if x.is_quantized() { error.hint("put a Dequantize before it") } else { error })
        }
    }
}

/// The type under another shape; `axis` says where a channel axis goes, if it survives.
pub fn keep_quant(x: &Type, shape: Shape, axis: impl Fn(usize) -> Option<usize>) -> Result<Type> {
    let Some(q) = &x.quant else { return Ok(x.with_shape(shape)) };
    let granularity = match q.granularity {
        Granularity::Tensor => Granularity::Tensor,
        Granularity::Channel { axis: old } => match axis(old) {
            Some(axis) => Granularity::Channel { axis },
            None if q.is_per_tensor() => Granularity::Tensor,
            None => {
                return Err(Error::new(format!(
                    "the scales along axis {old} of {x} have no place in the output {shape}"
                ))
                .hint("put a Dequantize before it, or use one scale for the whole tensor"));
            }
        },
        Granularity::Block { .. } if shape == x.shape => q.granularity,
        Granularity::Block { .. } => {
            return Err(Error::new(format!("block-quantized values cannot be moved, found {x}"))
                .hint("put a Dequantize before it"));
        }
    };
    let quant = Some(Quant { granularity, ..q.clone() });
    Ok(Type { dtype: x.dtype, shape, quant })
}

pub fn batch_norm(epsilon: f32, x: &Type, operands: &[&Type]) -> Result<Type> {
    let x = float("input", x)?;
    let Some(channels) = x.shape.0.get(1) else {
        return Err(Error::new(format!("expected an input [n, c, ...], found {x}")));
    };
    check_epsilon(epsilon)?;
    for (p, name) in operands.iter().skip(1).zip(["scale", "bias", "mean", "variance"]) {
        let fits = p.shape.rank() == 1 && p.shape.0.first().is_some_and(|d| may_equal(d, channels));
        if !fits || p.dtype != x.dtype {
            return Err(Error::new(format!("expected a {name} of {}[{channels}], found {p}", x.dtype)));
        }
    }
    Ok(x.clone())
}

pub fn layer_norm(axis: i64, epsilon: f32, x: &Type, scale: &Type, bias: Option<&Type>) -> Result<Type> {
    let x = float("input", x)?;
    let axis = x.shape.axis(axis)?;
    check_epsilon(epsilon)?;
    let row = Shape(x.shape.0.iter().skip(axis).cloned().collect());
    for (p, name) in [(Some(scale), "scale"), (bias, "bias")] {
        if let Some(p) = p.filter(|p| p.shape != row || p.dtype != x.dtype) {
            return Err(Error::new(format!(
                "expected a {name} of {}[{row}] as the normalized axes, found {p}",
                x.dtype
            )));
        }
    }
    Ok(x.clone())
}

fn check_epsilon(epsilon: f32) -> Result<()> {
    match epsilon >= 0.0 && epsilon.is_finite() {
        true => Ok(()),
        false => Err(Error::new(format!("expected an epsilon of at least 0, found {epsilon}"))),
    }
}

/// Whether two dimensions are the same number, as far as is known.
pub fn may_equal(a: &Dim, b: &Dim) -> bool {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) => a == b,
        (Dim::Known(_), Dim::Symbol(_)) | (Dim::Symbol(_), Dim::Known(_)) | (Dim::Symbol(_), Dim::Symbol(_)) => true,
    }
}

pub fn softmax(axis: i64, x: &Type) -> Result<Type> {
    x.shape.axis(axis)?;
    float("input", x).cloned()
}

pub fn relu(x: &Type) -> Result<Type> {
    match x.dtype == DType::Bool {
        true => Err(Error::new(format!("expected numbers, found {x}"))),
        false => Ok(x.clone()),
    }
}

pub fn clip(min: f32, max: f32, x: &Type) -> Result<Type> {
    if min.is_nan() || max.is_nan() || min > max {
        return Err(Error::new(format!("expected min <= max, found {min} and {max}")));
    }
    relu(x)
}

pub fn unary(f: Unary, x: &Type) -> Result<Type> {
    let integers = x.dtype.is_integer() && !x.is_quantized();
    match f.facts().takes {
        Takes::Bools if x.dtype == DType::Bool => Ok(x.clone()),
        Takes::Bools => Err(Error::new(format!("expected bool, found {x}"))),
        Takes::Numbers | Takes::Integers if integers => Ok(x.clone()),
        Takes::Integers => Err(Error::new(format!("expected plain integers, found {x}"))),
        Takes::Numbers | Takes::Floats => {
            float("input", x).cloned().map_err(|e| e.hint("use Table on quantized values"))
        }
    }
}

pub fn binary(f: Binary, a: &Type, b: &Type) -> Result<Type> {
    let shape = broadcast(&a.shape, &b.shape)?;
    if a.dtype != b.dtype {
        return Err(
            Error::new(format!("expected operands of one type, found {a} and {b}")).hint("put a Cast before one")
        );
    }
    let (float, bool) = (a.dtype.is_float(), a.dtype == DType::Bool);
    let quantized = a.is_quantized() || b.is_quantized();
    let plain = !quantized && !bool;
    let allowed = match f.facts().pairs {
        Pairs::Numbers => plain,
        Pairs::Floats => float,
        Pairs::Ordered => !bool,
        Pairs::Plain => !quantized,
        Pairs::Integers => plain && !float,
        Pairs::Bools => bool,
    };
    if !allowed {
        let error = Error::new(format!("{} is not defined on {a} and {b}", f.name()));
        return Err(if quantized { error.hint("use QAdd or QMul, or put a Dequantize before it") } else { error });
    }
    match f.facts().tells {
        true => Ok(Type::plain(DType::Bool, shape)),
        false => same_quant(a, b, shape),
    }
}

/// The common type of two operands that may be quantized, but only alike and with one scale.
fn same_quant(a: &Type, b: &Type, shape: Shape) -> Result<Type> {
    require_same_quant(a, b)?;
    keep_quant(a, shape, |_| None)
}

/// Refuses values that mean different reals by the same integer.
pub fn require_same_quant(a: &Type, b: &Type) -> Result<()> {
    match a.quant == b.quant {
        true => Ok(()),
        false => Err(Error::new(format!("expected operands of the same quantization, found {a} and {b}"))
            .hint("put a Requantize before one of them")),
    }
}

pub fn select(condition: &Type, a: &Type, b: &Type) -> Result<Type> {
    if condition.dtype != DType::Bool {
        return Err(Error::new(format!("expected a condition of bool, found {condition}")));
    }
    if a.dtype != b.dtype {
        return Err(
            Error::new(format!("expected operands of one type, found {a} and {b}")).hint("put a Cast before one")
        );
    }
    same_quant(a, b, broadcast(&condition.shape, &broadcast(&a.shape, &b.shape)?)?)
}

pub fn cast(to: DType, x: &Type) -> Result<Type> {
    match x.is_quantized() {
        true => Err(Error::new(format!("expected a plain value, found {x}")).hint("use Dequantize or Requantize")),
        false => Ok(Type::plain(to, x.shape.clone())),
    }
}
