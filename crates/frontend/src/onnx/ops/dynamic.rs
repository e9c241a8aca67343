//! Scales that are known only while running: DynamicQuantizeLinear and what reads its results.
//!
//! Types have scales that are known before, so these are spelled out: the integers are whole numbers that count, of scale
//! 1 and zero point 0, and the scale and the zero point are floats beside them. What the sums of integers minus a zero
//! point need is a range twice as wide, so that they are exact, and right at the border of an image too.

use super::qoperator::{counted, known_zero};
use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_arithmetic::Rounding;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{DType, Granularity, Op, Quant, Result, Tensor, Type, bail};

/// DynamicQuantizeLinear: (x) -> (y: u8, scale, zero point: u8).
pub fn quantize(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let found = measured(site, &x)?;
    let y = stored(site, &x, &found)?;
    site.give(0, y)?;
    site.give(1, found.scale.clone())?;
    let zero = site.step("zero_point", Op::Cast { to: DType::U8 }, &[&found.zero])?;
    site.give(2, zero)
}

/// DynamicQuantizeMatMul: (a, b, b's scale, b's zero?, bias?), a in floats.
pub fn quantize_matmul(site: &mut Site<'_>) -> Result<()> {
    let a = site.input(0)?;
    let found = measured(site, &a)?;
    let integers = stored(site, &a, &found)?;
    let a = centred(site, &integers, &found.zero)?;
    let b = counted(site, 1, 3, columns(site, 1)?)?;
    let scale = site.input(2)?;
    let by = site.step("scales", Op::Binary(Binary::Mul), &[&found.scale, &scale])?;
    matmul_to_float(site, &a, &b, &by, 4)
}

/// MatMulIntegerToFloat: (a, b, a's scale, b's scale, a's zero?, b's zero?, bias?).
pub fn matmul_integer_to_float(site: &mut Site<'_>) -> Result<()> {
    let a = counted_from(site, 0, 4, None)?;
    let b = counted(site, 1, 5, columns(site, 1)?)?;
    let (of_a, of_b) = (site.input(2)?, site.input(3)?);
    let by = site.step("scales", Op::Binary(Binary::Mul), &[&of_a, &of_b])?;
    matmul_to_float(site, &a, &b, &by, 6)
}

fn matmul_to_float(site: &mut Site<'_>, a: &Item, b: &Item, by: &Item, bias: usize) -> Result<()> {
    let sums = site.step("sums", Op::MatMul(Default::default()), &[a, b])?;
    let counts = site.step("counts", Op::Dequantize, &[&sums])?;
    match site.maybe(bias)? {
        None => site.finish(Op::Binary(Binary::Mul), &[&counts, by]),
        Some(bias) => {
            let real = site.step("real", Op::Binary(Binary::Mul), &[&counts, by])?;
            site.finish(Op::Binary(Binary::Add), &[&real, &bias])
        }
    }
}

/// Which axis of operand `i` has the columns of a matrix.
pub fn columns(site: &Site<'_>, i: usize) -> Result<Option<usize>> {
    Ok(site.shape(&site.input(i)?).rank().checked_sub(1))
}

/// Operand `i` as integers that count, whose zero point, operand `zero`, may be known only while running.
pub fn counted_from(site: &mut Site<'_>, i: usize, zero: usize, axis: Option<usize>) -> Result<Item> {
    if known_zero(site, zero)? {
        return counted(site, i, zero, axis);
    }
    let (q, zero) = (site.input(i)?, site.input(zero)?);
    let (ty, of_zero) = (site.ty(&q), site.ty(&zero));
    if of_zero.dtype != ty.dtype || of_zero.shape.count() != Some(1) {
        bail!("expected one zero point of the integers' type, {}, found {of_zero}", ty.dtype);
    }
    let zero = site.step("zero", Op::Cast { to: DType::F32 }, &[&zero])?;
    let zero = site.step("one_zero", Op::Reshape { dims: Vec::new() }, &[&zero])?;
    centred(site, &q, &zero)
}

/// DequantizeLinear: (q, scale, zero?), of which the latter two are known only while running; one of each.
pub fn dequantize(site: &mut Site<'_>) -> Result<()> {
    let q = site.input(0)?;
    let scale = one(site, 1)?;
    let counts = counts(site, &q)?;
    let counts = match site.maybe(2)? {
        None => counts,
        Some(_) => {
            let zero = one(site, 2)?;
            let zero = site.step("zero", Op::Cast { to: DType::F32 }, &[&zero])?;
            site.step("centred", Op::Binary(Binary::Sub), &[&counts, &zero])?
        }
    };
    site.finish(Op::Binary(Binary::Mul), &[&counts, &scale])
}

/// QuantizeLinear: (x, scale, zero?), of which the latter two are known only while running; one of each. The integers
/// are of this type.
pub fn quantize_by(site: &mut Site<'_>, dtype: DType) -> Result<()> {
    let x = site.input(0)?;
    let scale = one(site, 1)?;
    let zero = match site.maybe(2)? {
        None => site.known("zero", Tensor::scalar(0.0)),
        Some(_) => {
            let zero = one(site, 2)?;
            site.step("zero", Op::Cast { to: DType::F32 }, &[&zero])?
        }
    };
    let y = stored_as(site, &x, &Found { scale, zero }, dtype)?;
    site.give(0, y)
}

/// Operand `i`, one number.
fn one(site: &mut Site<'_>, i: usize) -> Result<Item> {
    let item = site.input(i)?;
    let ty = site.ty(&item);
    if ty.shape.count() != Some(1) {
        bail!("expected one scale and one zero point where they are known only while running, found {ty}");
    }
    site.step(&format!("one{i}"), Op::Reshape { dims: Vec::new() }, &[&item])
}

/// A scale and a zero point, in floats.
struct Found {
    scale: Item,
    zero: Item,
}

/// Those of the range of x and 0, for u8: the scale is 1 where there is nothing but 0, as ONNX Runtime has it.
fn measured(site: &mut Site<'_>, x: &Item) -> Result<Found> {
    if site.ty(x).dtype != DType::F32 {
        bail!("expected floats to quantize, found {}", site.ty(x));
    }
    let (none, most) = (site.known("none", Tensor::scalar(0.0)), site.known("most", Tensor::scalar(255.0)));
    let mut end = |suffix: &str, kind: ReduceKind, with: Binary| -> Result<Item> {
        let all = Op::Reduce(Reduce { kind, axes: Vec::new(), keep_dims: false });
        let found = site.step(&format!("{suffix}est"), all, &[x])?;
        site.step(suffix, Op::Binary(with), &[&found, &none])
    };
    let low = end("low", ReduceKind::Min, Binary::Min)?;
    let high = end("high", ReduceKind::Max, Binary::Max)?;
    let span = site.step("span", Op::Binary(Binary::Sub), &[&high, &low])?;
    let step = site.step("step", Op::Binary(Binary::Div), &[&span, &most])?;
    let is_none = site.step("is_none", Op::Binary(Binary::Equal), &[&span, &none])?;
    let one = site.known("one", Tensor::scalar(1.0));
    let scale = site.step("scale", Op::Where, &[&is_none, &one, &step])?;
    let below = site.step("below", Op::Binary(Binary::Div), &[&low, &scale])?;
    let above = site.step("above", Op::Binary(Binary::Sub), &[&none, &below])?;
    let inside = site.step("inside", Op::Clip { min: 0.0, max: 255.0 }, &[&above])?;
    let zero = site.step("zero", Op::Unary(Unary::Round), &[&inside])?;
    Ok(Found { scale, zero })
}

/// x as integers of u8 that count.
fn stored(site: &mut Site<'_>, x: &Item, by: &Found) -> Result<Item> {
    stored_as(site, x, by, DType::U8)
}

fn stored_as(site: &mut Site<'_>, x: &Item, by: &Found, dtype: DType) -> Result<Item> {
    let Some((low, high)) = dtype.range().filter(|_| dtype.is_integer() && dtype.bits() <= 16) else {
        bail!("expected integers of up to 16 bits to stand for reals, found {dtype}");
    };
    let scaled = site.step("scaled", Op::Binary(Binary::Div), &[x, &by.scale])?;
    let rounded = site.step("rounded", Op::Unary(Unary::Round), &[&scaled])?;
    let moved = site.step("moved", Op::Binary(Binary::Add), &[&rounded, &by.zero])?;
    // Quantize saturates.
    integers(site, "integers", &moved, dtype, (low, high))
}

/// Whole numbers as integers of scale 1.
fn integers(site: &mut Site<'_>, suffix: &str, x: &Item, dtype: DType, (qmin, qmax): (i64, i64)) -> Result<Item> {
    let quant = Quant { scale: [1.0].into(), zero_point: [0].into(), qmin, qmax, granularity: Granularity::Tensor };
    let declared = Type::quantized(dtype, site.shape(x), quant);
    let node = format!("{}.{suffix}", site.name);
    let name = site.builder.fresh(&format!("{}.{suffix}", site.name));
    let op = Op::Quantize { rounding: Rounding::HalfEven };
    let made = site.builder.emit(&node, op, &[Some(x.clone())], &[name], &[declared])?.pop();
    made.ok_or_else(|| lowbit_ir::Error::new("expected one output"))
}

/// What integers count, as floats.
fn counts(site: &mut Site<'_>, q: &Item) -> Result<Item> {
    let ty = site.ty(q);
    match &ty.quant {
        Some(quant)
            if quant.is_per_tensor() && quant.scale.first() == Some(&1.0) && quant.zero_point.first() == Some(&0) =>
        {
            site.step("counts", Op::Dequantize, &[q])
        }
        Some(found) => bail!("expected integers without a scale of their own, found {found}"),
        None => site.step("counts", Op::Cast { to: DType::F32 }, &[q]),
    }
}

/// Integers of 8 bits minus a zero point, in twice the range.
fn centred(site: &mut Site<'_>, q: &Item, zero: &Item) -> Result<Item> {
    let dtype = site.ty(q).dtype;
    let Some((low, high)) = dtype.range().filter(|_| dtype.is_integer() && dtype.bits() <= 8) else {
        bail!("expected integers of up to 8 bits with a zero point that is known only while running, found {dtype}");
    };
    let counts = counts(site, q)?;
    let moved = site.step("moved_back", Op::Binary(Binary::Sub), &[&counts, zero])?;
    integers(site, "centred", &moved, DType::I16, (low - high, high - low))
}
