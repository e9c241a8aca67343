//! Functions of one element.

use crate::mxnet::node::Site;
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::{Op, Result, bail};

/// Activation by its `act_type`.
pub fn activation(site: &mut Site<'_>) -> Result<()> {
    let Some(kind) = site.text("act_type") else { bail!("expected attribute 'act_type', found none") };
    let x = site.input(0)?;
    let op = match kind {
        "relu" => Op::Relu,
        "sigmoid" => Op::Unary(Unary::Sigmoid),
        "tanh" => Op::Unary(Unary::Tanh),
        "softrelu" => Op::Unary(Unary::Softplus),
        "softsign" => Op::Unary(Unary::Softsign),
        "mish" => Op::Unary(Unary::Mish),
        other => bail!("expected act_type relu, sigmoid, tanh, softrelu, softsign or mish, found '{other}'"),
    };
    site.finish(op, &[&x])
}

/// LeakyReLU by its `act_type`.
pub fn leaky(site: &mut Site<'_>) -> Result<()> {
    let kind = site.word("act_type", &["leaky", "elu", "gelu", "prelu", "rrelu", "selu"])?;
    let slope = site.float("slope", 0.25)?;
    let (lower, upper) = (site.float("lower_bound", 0.125)?, site.float("upper_bound", 0.334)?);
    let x = site.input(0)?;
    let op = match kind {
        "leaky" => Op::Unary(Unary::LeakyRelu { alpha: slope }),
        "rrelu" => Op::Unary(Unary::LeakyRelu { alpha: (lower + upper) / 2.0 }),
        "elu" => Op::Unary(Unary::Elu { alpha: slope }),
        "selu" => Op::Unary(Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 }),
        "gelu" => Op::Unary(Unary::Gelu),
        _ => {
            let mut gamma = site.parameter(1, "gamma")?;
            // One slope a channel stands on axis 1; a single one is the same everywhere.
            let spatial = site.shape(&x).rank().saturating_sub(2);
            if site.shape(&gamma).dims().is_some_and(|d| d.len() == 1 && d != [1]) && spatial > 0 {
                let axes = (1..=spatial as i64).collect();
                gamma = site.step("gamma", Op::Unsqueeze { axes }, &[&gamma])?;
            }
            return site.finish(Op::Binary(Binary::PRelu), &[&x, &gamma]);
        }
    };
    site.finish(op, &[&x])
}

/// The functions that are one operator here too.
pub fn unary(site: &mut Site<'_>) -> Result<()> {
    let f = match site.op() {
        "abs" => Unary::Abs,
        "ceil" => Unary::Ceil,
        "cos" => Unary::Cos,
        "erf" => Unary::Erf,
        "exp" => Unary::Exp,
        "floor" => Unary::Floor,
        "hard_sigmoid" => Unary::HardSigmoid { alpha: site.float("alpha", 0.2)?, beta: site.float("beta", 0.5)? },
        "log" => Unary::Log,
        "negative" => Unary::Neg,
        "reciprocal" => Unary::Reciprocal,
        "sigmoid" => Unary::Sigmoid,
        "sin" => Unary::Sin,
        "arccos" => Unary::Acos,
        "arccosh" => Unary::Acosh,
        "arcsin" => Unary::Asin,
        "arcsinh" => Unary::Asinh,
        "arctan" => Unary::Atan,
        "arctanh" => Unary::Atanh,
        "cosh" => Unary::Cosh,
        "sign" => Unary::Sign,
        "sinh" => Unary::Sinh,
        "tan" => Unary::Tan,
        "softsign" => Unary::Softsign,
        "sqrt" => Unary::Sqrt,
        "tanh" => Unary::Tanh,
        other => bail!("'{other}' is not a function of one element"),
    };
    let x = site.input(0)?;
    site.finish(Op::Unary(f), &[&x])
}

/// relu.
pub fn relu(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    site.finish(Op::Relu, &[&x])
}

/// LogisticRegressionOutput at inference.
pub fn logistic(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["grad_scale"]);
    let x = site.input(0)?;
    site.finish(Op::Unary(Unary::Sigmoid), &[&x])
}

/// clip between two bounds.
pub fn clip(site: &mut Site<'_>) -> Result<()> {
    let (min, max) = (site.float("a_min", f32::NEG_INFINITY)?, site.float("a_max", f32::INFINITY)?);
    if min.is_nan() || max.is_nan() || min > max {
        bail!("expected bounds in their order, found {min} and {max}");
    }
    let x = site.input(0)?;
    site.finish(Op::Clip { min, max }, &[&x])
}

/// square.
pub fn square(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    site.finish(Op::Binary(Binary::Mul), &[&x, &x])
}

/// rsqrt.
pub fn reciprocal_root(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let root = site.step("root", Op::Unary(Unary::Sqrt), &[&x])?;
    site.finish(Op::Unary(Unary::Reciprocal), &[&root])
}
