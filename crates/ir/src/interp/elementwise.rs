//! Functions of single elements.

use super::integers;
use super::positions::{joint_dims, zip_broadcast};
use crate::op::{Binary, Unary};
use crate::tensor::entries;
use crate::{DType, Error, Result, Tensor, Type};
use lowbit_arithmetic::{activation, elementary as e, pool, sqrt};

/// A function of one float; `Not` and `BitNot` are none and give their operand back.
pub fn unary_f32(f: Unary, x: f32) -> f32 {
    match f {
        Unary::Abs => x.abs(),
        Unary::Neg => -x,
        Unary::Exp => e::exp(x),
        Unary::Log => e::ln(x),
        Unary::Sqrt => sqrt(x),
        Unary::Reciprocal => 1.0 / x,
        Unary::Erf => e::erf(x),
        Unary::Sin => e::sin(x),
        Unary::Cos => e::cos(x),
        Unary::Tanh => e::tanh(x),
        Unary::Sigmoid => e::sigmoid(x),
        Unary::Silu => e::silu(x),
        Unary::Gelu => e::gelu_erf(x),
        Unary::GeluTanh => e::gelu_tanh(x),
        Unary::Mish => e::mish(x),
        Unary::Softplus => e::softplus(x),
        Unary::Softsign => e::softsign(x),
        Unary::HardSigmoid { alpha, beta } => e::hard_sigmoid(x, alpha, beta),
        Unary::HardSwish => e::hard_swish(x),
        Unary::LeakyRelu { alpha } => e::leaky_relu(x, alpha),
        Unary::Elu { alpha } => e::elu(x, alpha),
        Unary::Selu { alpha, gamma } => e::selu(x, alpha, gamma),
        Unary::Celu { alpha } => e::celu(x, alpha),
        Unary::ThresholdedRelu { alpha } => e::thresholded_relu(x, alpha),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Sign => e::sign(x),
        Unary::Tan => e::tan(x),
        Unary::Asin => e::asin(x),
        Unary::Acos => e::acos(x),
        Unary::Atan => e::atan(x),
        Unary::Sinh => e::sinh(x),
        Unary::Cosh => e::cosh(x),
        Unary::Asinh => e::asinh(x),
        Unary::Acosh => e::acosh(x),
        Unary::Atanh => e::atanh(x),
        Unary::Not | Unary::BitNot => x,
    }
}

/// A function of two floats; comparisons and logic give 1 or 0. Those of bits are none and give the first back.
pub fn binary_f32(f: Binary, a: f32, b: f32) -> f32 {
    let truth = |t: bool| f32::from(u8::from(t));
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => e::pow(a, b),
        Binary::Min => pool::min2(a, b),
        Binary::Max => pool::max2(a, b),
        Binary::PRelu => e::leaky_relu(a, b),
        Binary::Equal => truth(a == b),
        Binary::Less => truth(a < b),
        Binary::Greater => truth(a > b),
        Binary::And => truth(a != 0.0 && b != 0.0),
        Binary::Or => truth(a != 0.0 || b != 0.0),
        Binary::Mod => modulo(a, b),
        // The remainder of the exact quotient: IEEE 754 has no rounding to say here.
        Binary::Fmod => a % b,
        Binary::BitAnd | Binary::BitOr | Binary::BitXor | Binary::ShiftLeft | Binary::ShiftRight => a,
    }
}

/// What is left of a / b, moved by b to its sign.
fn modulo(a: f32, b: f32) -> f32 {
    let left = a % b;
    if left != 0.0 && (left < 0.0) != (b < 0.0) { left + b } else { left }
}

/// A function of two plain integers or bools (0 and 1) of this type, exact or refused.
pub fn binary_i64(f: Binary, dtype: DType, a: i64, b: i64) -> Result<i64> {
    let exact = match f {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div => a.checked_div(b),
        Binary::Pow => power(a, b),
        Binary::Min => Some(a.min(b)),
        Binary::Max => Some(a.max(b)),
        Binary::PRelu if a < 0 => a.checked_mul(b),
        Binary::PRelu => Some(a),
        Binary::Equal => Some(i64::from(a == b)),
        Binary::Less => Some(i64::from(a < b)),
        Binary::Greater => Some(i64::from(a > b)),
        Binary::And => Some(a & b),
        Binary::Or => Some(a | b),
        Binary::Mod => a.checked_rem(b).map(|left| if left != 0 && (left < 0) != (b < 0) { left + b } else { left }),
        Binary::Fmod => a.checked_rem(b),
        Binary::BitAnd => Some(a & b),
        Binary::BitOr => Some(a | b),
        Binary::BitXor => Some(a ^ b),
        Binary::ShiftLeft => shifted(b, dtype).map(|by| by.map_or(0, |by| low_bits(a << by, dtype))),
        Binary::ShiftRight => shifted(b, dtype).map(|by| a >> by.unwrap_or(63)),
    };
    exact.ok_or_else(|| Error::new(format!("{} of {a} and {b} is no 64-bit integer", f.name())))
}

/// By how many bits to shift; none if all bits of the type are shifted out. A negative number is refused.
fn shifted(by: i64, dtype: DType) -> Option<Option<u32>> {
    let by = u64::try_from(by).ok()?;
    Some(u32::try_from(by).ok().filter(|by| (*by as usize) < dtype.bits()))
}

fn power(base: i64, exponent: i64) -> Option<i64> {
    match (base, u32::try_from(exponent)) {
        (1, _) => Some(1),
        (-1, _) => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        (0, Err(_)) if exponent > 0 => Some(0),
        (_, Ok(exponent)) => base.checked_pow(exponent),
        (_, Err(_)) => None,
    }
}

pub fn unary(f: Unary, x: &Tensor, ty: Type) -> Result<Tensor> {
    if x.dtype().is_float() {
        let y = x.floats()?.iter().map(|x| unary_f32(f, *x)).collect();
        return Tensor::from_floats(ty, y);
    }
    let signed = x.dtype().range().is_some_and(|(least, _)| least < 0);
    let ones = x.dtype().range().map_or(-1, |(_, most)| if signed { -1 } else { most });
    let exact = |v: i64| match f {
        Unary::Not => Some(1 - v),
        Unary::Neg => v.checked_neg(),
        Unary::Sign => Some(v.signum()),
        Unary::BitNot => Some(v ^ ones),
        // Inference leaves Abs alone of the others.
        _ => v.checked_abs(),
    };
    let wide = || Error::new(format!("{} of the least 64-bit integer is none", f.name()));
    let y = x.ints()?.into_iter().map(|v| exact(v).ok_or_else(wide)).collect::<Result<Vec<_>>>()?;
    integers(ty, &y)
}

pub fn binary(f: Binary, a: &Tensor, b: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    if !a.dtype().is_float() {
        let (x, y) = (a.ints()?, b.ints()?);
        let z = zip_broadcast((&x, a.dims()), (&y, b.dims()), &dims, |x, y| binary_i64(f, a.dtype(), x, y));
        return integers(ty, &z.into_iter().collect::<Result<Vec<_>>>()?);
    }
    let (x, y) = (a.floats()?, b.floats()?);
    let z = zip_broadcast((&x, a.dims()), (&y, b.dims()), &dims, |x, y| binary_f32(f, x, y));
    match ty.dtype == DType::Bool {
        true => Tensor::from_ints(ty, &z.into_iter().map(|t| i64::from(t != 0.0)).collect::<Vec<_>>()),
        false => Tensor::from_floats(ty, z),
    }
}

pub fn select(condition: &Tensor, a: &Tensor, b: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    let pair_dims = joint_dims(&[a.dims(), b.dims()])?;
    let condition = (&*condition.ints()?, condition.dims());
    if a.dtype().is_float() {
        let (x, y) = (a.floats()?, b.floats()?);
        let pairs = zip_broadcast((&x, a.dims()), (&y, b.dims()), &pair_dims, |x, y| (x, y));
        let z = zip_broadcast(condition, (&pairs, &pair_dims), &dims, |c, (x, y)| if c != 0 { x } else { y });
        return Tensor::from_floats(ty, z);
    }
    let (x, y) = (a.ints()?, b.ints()?);
    let pairs = zip_broadcast((&x, a.dims()), (&y, b.dims()), &pair_dims, |x, y| (x, y));
    let z = zip_broadcast(condition, (&pairs, &pair_dims), &dims, |c, (x, y)| if c != 0 { x } else { y });
    integers(ty, &z)
}

/// max(x, 0), on quantized integers max(q, zero point).
pub fn relu(x: &Tensor, ty: Type) -> Result<Tensor> {
    if x.dtype().is_float() {
        return Tensor::from_floats(ty, x.floats()?.iter().map(|x| e::relu(*x)).collect());
    }
    let data = x.ints()?;
    let y: Vec<i64> = match &ty.quant {
        None => data.into_iter().map(|v| v.max(0)).collect(),
        Some(q) => {
            let zero = |e: usize| q.zero_point.get(e).copied().map_or(0, i64::from);
            data.into_iter().zip(entries(q, x.dims())).map(|(v, e)| v.max(zero(e))).collect()
        }
    };
    integers(ty, &y)
}

/// min(max(x, low), high), on quantized integers with the bounds quantized like any value.
pub fn clip(min: f32, max: f32, x: &Tensor, ty: Type) -> Result<Tensor> {
    if x.dtype().is_float() {
        return Tensor::from_floats(ty, x.floats()?.iter().map(|x| e::clip(*x, min, max)).collect());
    }
    let data = x.ints()?;
    let y: Vec<i64> = match &ty.quant {
        // Integers between real bounds; the casts saturate, so infinite bounds are open.
        None => data.into_iter().map(|v| v.max(min.ceil() as i64).min(max.floor() as i64)).collect(),
        Some(q) => {
            let bounds = (0..q.scale.len())
                .map(|e| q.affine_at(e).map(|a| activation::clip_bounds(min, max, &a)))
                .collect::<Result<Vec<_>>>()?;
            let clipped = |(v, e): (i64, usize)| {
                let (low, high) = bounds.get(e).copied().unwrap_or((i32::MIN, i32::MAX));
                v.max(i64::from(low)).min(i64::from(high))
            };
            data.into_iter().zip(entries(q, x.dims())).map(clipped).collect()
        }
    };
    integers(ty, &y)
}

/// Floats to integers truncate and saturate, NaN gives 0; integers to narrower ones keep their low bits.
pub fn cast(x: &Tensor, ty: Type) -> Result<Tensor> {
    let to = ty.dtype;
    let Some((lo, hi)) = to.range() else {
        let y = match x.dtype().is_float() {
            true => x.floats()?.into_owned(),
            false => x.ints()?.into_iter().map(|v| v as f32).collect(),
        };
        return Tensor::from_floats(ty, y);
    };
    let y: Vec<i64> = match (x.dtype().is_float(), to == DType::Bool) {
        (true, true) => x.floats()?.iter().map(|x| i64::from(*x != 0.0)).collect(),
        (true, false) => x.floats()?.iter().map(|x| (*x as i64).clamp(lo, hi)).collect(),
        (false, true) => x.ints()?.into_iter().map(|v| i64::from(v != 0)).collect(),
        (false, false) => x.ints()?.into_iter().map(|v| low_bits(v, to)).collect(),
    };
    integers(ty, &y)
}

fn low_bits(v: i64, to: DType) -> i64 {
    let unused = 64 - to.bits() as u32;
    match to.range() {
        Some((0, _)) => ((v as u64) << unused >> unused) as i64,
        Some(_) | None => v << unused >> unused,
    }
}
