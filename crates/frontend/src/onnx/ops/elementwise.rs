//! Functions of two or more elements, choice, conversion.

use crate::build::Item;
use crate::onnx::node::Site;
use crate::onnx::ops::quantize::alike;
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::{DType, Op, Quant, Result, Tensor, Type, bail};

/// The functions of two elements that are one operator here too.
pub fn binary(site: &mut Site<'_>) -> Result<()> {
    let f = match site.op_type() {
        "Add" => Binary::Add,
        "And" => Binary::And,
        "BitShift" => match site.text("direction", "")?.as_str() {
            "LEFT" => Binary::ShiftLeft,
            "RIGHT" => Binary::ShiftRight,
            other => bail!("expected direction 'LEFT' or 'RIGHT', found '{other}'"),
        },
        "BitwiseAnd" => Binary::BitAnd,
        "BitwiseOr" => Binary::BitOr,
        "BitwiseXor" => Binary::BitXor,
        "Div" => Binary::Div,
        "Equal" => Binary::Equal,
        "Greater" => Binary::Greater,
        "Less" => Binary::Less,
        "Mod" => match site.flag("fmod", false)? {
            true => Binary::Fmod,
            false => Binary::Mod,
        },
        "Mul" => Binary::Mul,
        "Or" => Binary::Or,
        "PRelu" => Binary::PRelu,
        "Pow" => Binary::Pow,
        "Sub" => Binary::Sub,
        other => bail!("'{other}' is not a function of two elements"),
    };
    let (a, mut b) = (site.input(0)?, site.input(1)?);
    let (ta, tb) = (site.ty(&a).dtype, site.ty(&b).dtype);
    if f == Binary::Pow && ta != tb {
        // Pow alone takes an exponent of another type; the result has the base's.
        if ta.is_integer() && tb.is_float() {
            let base = site.step("base", Op::Cast { to: tb }, &[&a])?;
            let power = site.step("power", Op::Binary(f), &[&base, &b])?;
            return site.finish(Op::Cast { to: ta }, &[&power]);
        }
        b = site.step("exponent", Op::Cast { to: ta }, &[&b])?;
    }
    site.finish(Op::Binary(f), &[&a, &b])
}

/// Max, Min, Sum and Mean of any number of operands, folded from the left.
pub fn variadic(site: &mut Site<'_>) -> Result<()> {
    let kind = site.op_type();
    let f = match kind {
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        _ => Binary::Add,
    };
    let inputs = alike(site.builder, site.inputs()?)?;
    let mean = (kind == "Mean" && inputs.len() > 1).then_some(inputs.len());
    let Some((last, first)) = inputs.split_last() else { bail!("expected at least one operand, found none") };
    let Some((head, middle)) = first.split_first() else { return site.finish(Op::Identity, &[last]) };
    let mut y = head.clone();
    for (i, item) in middle.iter().enumerate() {
        y = site.step(&format!("{}", i + 1), Op::Binary(f), &[&y, item])?;
    }
    match mean {
        None => site.finish(Op::Binary(f), &[&y, last]),
        Some(n) => {
            let sum = site.step("sum", Op::Binary(f), &[&y, last])?;
            let n = site.known("count", Tensor::scalar(n as f32));
            site.finish(Op::Binary(Binary::Div), &[&sum, &n])
        }
    }
}

/// GreaterOrEqual and LessOrEqual: two comparisons, so that NaN is neither.
pub fn or_equal(site: &mut Site<'_>) -> Result<()> {
    let strict = if site.op_type() == "GreaterOrEqual" { Binary::Greater } else { Binary::Less };
    let (a, b) = (site.input(0)?, site.input(1)?);
    let strict = site.step("strict", Op::Binary(strict), &[&a, &b])?;
    let equal = site.step("equal", Op::Binary(Binary::Equal), &[&a, &b])?;
    site.finish(Op::Binary(Binary::Or), &[&strict, &equal])
}

/// IsNaN and IsInf: only a NaN differs from itself, and only the infinities equal theirs.
pub fn special(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    if !site.ty(&x).dtype.is_float() {
        bail!("expected floats, found {}", site.ty(&x));
    }
    if site.op_type() == "IsNaN" {
        let same = site.step("same", Op::Binary(Binary::Equal), &[&x, &x])?;
        return site.finish(Op::Unary(Unary::Not), &[&same]);
    }
    let (negative, positive) = (site.flag("detect_negative", true)?, site.flag("detect_positive", true)?);
    let (x, end) = match (negative, positive) {
        (true, true) => (site.step("size", Op::Unary(Unary::Abs), &[&x])?, f32::INFINITY),
        (false, true) => (x, f32::INFINITY),
        (true, false) => (x, f32::NEG_INFINITY),
        // Nothing equals a NaN.
        (false, false) => (x, f32::NAN),
    };
    let dtype = site.ty(&x).dtype;
    let end = site.known("end", Tensor::from_floats(Type::plain(dtype, Vec::new()), vec![end])?);
    site.finish(Op::Binary(Binary::Equal), &[&x, &end])
}

/// Xor of booleans.
pub fn xor(site: &mut Site<'_>) -> Result<()> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    let same = site.step("same", Op::Binary(Binary::Equal), &[&a, &b])?;
    site.finish(Op::Unary(Unary::Not), &[&same])
}

/// Where.
pub fn select(site: &mut Site<'_>) -> Result<()> {
    let (cond, a, b) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let both = alike(site.builder, vec![a, b])?;
    let operands: Vec<&Item> = std::iter::once(&cond).chain(&both).collect();
    site.finish(Op::Where, &operands)
}

/// Cast.
pub fn cast(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["saturate", "round_mode"]);
    let Some(to) = site.int("to")? else { bail!("expected attribute 'to', found none") };
    let to = site.converts_to(to)?;
    let x = site.input(0)?;
    cast_to(site, x, to)
}

/// Cast to the type of the second operand.
pub fn cast_like(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["saturate", "round_mode"]);
    let (x, like) = (site.input(0)?, site.input(1)?);
    let to = site.ty(&like).dtype;
    cast_to(site, x, to)
}

/// A cast that changes nothing is the value itself (f64 to f32 for instance, both being f32 here).
fn cast_to(site: &mut Site<'_>, x: Item, to: DType) -> Result<()> {
    let ty = site.ty(&x);
    if let (Some(quant), true, DType::I32 | DType::I64) = (&ty.quant, to == DType::F32, ty.dtype) {
        return count(site, &x, quant);
    }
    match ty.dtype == to {
        true => site.finish(Op::Identity, &[&x]),
        false => site.finish(Op::Cast { to }, &[&x]),
    }
}

/// The sums of integers that a file knows no scale of, as floats: what they stand for, in units of their scale.
fn count(site: &mut Site<'_>, x: &Item, quant: &Quant) -> Result<()> {
    let Some(scale) = quant.scale.first().filter(|s| quant.scale.iter().all(|t| t == *s)) else {
        bail!("expected sums of one scale to convert, found {quant}");
    };
    if *scale == 1.0 {
        return site.finish(Op::Dequantize, &[x]);
    }
    let real = site.step("real", Op::Dequantize, &[x])?;
    let by = site.known("scale", Tensor::scalar(*scale));
    site.finish(Op::Binary(Binary::Div), &[&real, &by])
}
