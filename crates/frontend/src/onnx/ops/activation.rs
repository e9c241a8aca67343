//! Functions of one element.

use crate::build::Item;
use crate::onnx::node::{Site, stands_for};
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::{DType, Error, Op, Result, Tensor, bail};

/// The functions that are one operator here too.
pub fn unary(site: &mut Site<'_>) -> Result<()> {
    let f = function(site)?;
    let x = site.input(0)?;
    site.finish(Op::Unary(f), &[&x])
}

fn function(site: &mut Site<'_>) -> Result<Unary> {
    Ok(match site.op_type() {
        "Abs" => Unary::Abs,
        "Acos" => Unary::Acos,
        "Acosh" => Unary::Acosh,
        "Asin" => Unary::Asin,
        "Asinh" => Unary::Asinh,
        "Atan" => Unary::Atan,
        "Atanh" => Unary::Atanh,
        "BitwiseNot" => Unary::BitNot,
        "Ceil" => Unary::Ceil,
        "Celu" => Unary::Celu { alpha: site.float("alpha", 1.0)? },
        "Cos" => Unary::Cos,
        "Cosh" => Unary::Cosh,
        "Elu" => Unary::Elu { alpha: site.float("alpha", 1.0)? },
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Floor" => Unary::Floor,
        "Gelu" => match site.text("approximate", "none")?.as_str() {
            "none" => Unary::Gelu,
            "tanh" => Unary::GeluTanh,
            other => bail!("expected approximate 'none' or 'tanh', found '{other}'"),
        },
        "HardSigmoid" => Unary::HardSigmoid { alpha: site.float("alpha", 0.2)?, beta: site.float("beta", 0.5)? },
        "HardSwish" => Unary::HardSwish,
        "LeakyRelu" => Unary::LeakyRelu { alpha: site.float("alpha", 0.01)? },
        "Log" => Unary::Log,
        "Mish" => Unary::Mish,
        "Neg" => Unary::Neg,
        "Not" => Unary::Not,
        "Reciprocal" => Unary::Reciprocal,
        "Round" => Unary::Round,
        "Selu" => Unary::Selu { alpha: site.float("alpha", 1.673_263_2)?, gamma: site.float("gamma", 1.050_701)? },
        "Sigmoid" => Unary::Sigmoid,
        "Sign" => Unary::Sign,
        "Sin" => Unary::Sin,
        "Sinh" => Unary::Sinh,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Sqrt" => Unary::Sqrt,
        "Tan" => Unary::Tan,
        "Tanh" => Unary::Tanh,
        "ThresholdedRelu" => Unary::ThresholdedRelu { alpha: site.float("alpha", 1.0)? },
        other => bail!("'{other}' is not a function of one element"),
    })
}

/// Relu; of integers it is the greater of them and the integer 0, whatever their zero point is.
pub fn relu(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let least = site.ty(&x).quant.as_ref().map_or(Ok(0.0), |quant| stands_for(quant, 0))?;
    match least == 0.0 {
        true => site.finish(Op::Relu, &[&x]),
        false => site.finish(Op::Clip { min: least, max: f32::INFINITY }, &[&x]),
    }
}

/// Clip: bounds are attributes before opset 11, then operands.
pub fn clip(site: &mut Site<'_>) -> Result<()> {
    let mut x = site.input(0)?;
    if site.opset < 11 {
        let (min, max) = (site.float("min", f32::NEG_INFINITY)?, site.float("max", f32::INFINITY)?);
        return bounded(site, &x, min, max);
    }
    let (low, high) = (site.maybe(1)?, site.maybe(2)?);
    let known = [(1, "lower bound"), (2, "upper bound")].map(|(i, what)| site.known_floats(i, what));
    let ty = site.ty(&x);
    if let Some(quant) = &ty.quant {
        // Bounds of integers are integers, whatever those stand for.
        let bound = |i: usize, what: &str, open: f32| match site.constant(i, what)?.map(|t| t.ints()).transpose()? {
            None => Ok(open),
            Some(q) => match *q {
                [q] => stands_for(quant, i32::try_from(q).map_err(|e| Error::new(format!("{what} {q}: {e}")))?),
                _ => Err(Error::new(format!("expected a {what} of one element, found {}", q.len()))),
            },
        };
        let (min, max) = (bound(1, "lower bound", f32::NEG_INFINITY)?, bound(2, "upper bound", f32::INFINITY)?);
        return bounded(site, &x, min, max);
    }
    if let (true, [Ok(low), Ok(high)]) = (ty.dtype == DType::F32, known) {
        let one = |bound: Option<Vec<f32>>, open: f32| match bound.as_deref() {
            None => Ok(open),
            Some([b]) => Ok(*b),
            Some(all) => Err(Error::new(format!("expected a bound of one element, found {}", all.len()))),
        };
        let (min, max) = (one(low, f32::NEG_INFINITY)?, one(high, f32::INFINITY)?);
        return bounded(site, &x, min, max);
    }
    match (low, high) {
        (None, None) => site.finish(Op::Identity, &[&x]),
        (Some(low), None) => site.finish(Op::Binary(Binary::Max), &[&x, &low]),
        (low, Some(high)) => {
            if let Some(low) = low {
                x = site.step("low", Op::Binary(Binary::Max), &[&x, &low])?;
            }
            site.finish(Op::Binary(Binary::Min), &[&x, &high])
        }
    }
}

/// ONNX takes the lower of both where they are the wrong way round.
fn bounded(site: &mut Site<'_>, x: &Item, min: f32, max: f32) -> Result<()> {
    let min = if min > max { max } else { min };
    site.finish(Op::Clip { min, max }, &[x])
}

/// Swish: x * sigmoid(alpha * x).
pub fn swish(site: &mut Site<'_>) -> Result<()> {
    gated(site, 1.0)
}

/// x * sigmoid(alpha * x), with this alpha where the file says none.
pub fn gated(site: &mut Site<'_>, default: f32) -> Result<()> {
    let alpha = site.float("alpha", default)?;
    let x = site.input(0)?;
    if alpha == 1.0 {
        return site.finish(Op::Unary(Unary::Silu), &[&x]);
    }
    let by = site.known("alpha", Tensor::scalar(alpha));
    let scaled = site.step("scaled", Op::Binary(Binary::Mul), &[&x, &by])?;
    let gate = site.step("gate", Op::Unary(Unary::Sigmoid), &[&scaled])?;
    site.finish(Op::Binary(Binary::Mul), &[&x, &gate])
}
