//! Arithmetic of two values, and of a value and a number.

use crate::mxnet::node::Site;
use lowbit_ir::op::Binary;
use lowbit_ir::{Op, Result, bail};

/// Two values, with broadcasting or without.
pub fn binary(site: &mut Site<'_>) -> Result<()> {
    let f = match site.op().trim_start_matches("elemwise_").trim_start_matches("broadcast_").trim_start_matches('_') {
        "add" | "plus" | "Plus" => Binary::Add,
        "sub" | "minus" | "Minus" => Binary::Sub,
        "mul" | "Mul" => Binary::Mul,
        "div" | "Div" => Binary::Div,
        "power" | "Power" => Binary::Pow,
        "maximum" | "Maximum" => Binary::Max,
        "minimum" | "Minimum" => Binary::Min,
        other => bail!("'{other}' is not an operator of two values"),
    };
    let (a, b) = (site.input(0)?, site.input(1)?);
    site.finish(Op::Binary(f), &[&a, &b])
}

/// A value and the number in `scalar`; an `r` says that the number stands first.
pub fn scalar(site: &mut Site<'_>) -> Result<()> {
    let (f, number_first) = match site.op() {
        "_PlusScalar" | "_plus_scalar" => (Binary::Add, false),
        "_MinusScalar" | "_minus_scalar" => (Binary::Sub, false),
        "_RMinusScalar" | "_rminus_scalar" => (Binary::Sub, true),
        "_MulScalar" | "_mul_scalar" => (Binary::Mul, false),
        "_DivScalar" | "_div_scalar" => (Binary::Div, false),
        "_RDivScalar" | "_rdiv_scalar" => (Binary::Div, true),
        "_PowerScalar" | "_power_scalar" => (Binary::Pow, false),
        "_rpower_scalar" => (Binary::Pow, true),
        "_MaximumScalar" | "_maximum_scalar" => (Binary::Max, false),
        "_MinimumScalar" | "_minimum_scalar" => (Binary::Min, false),
        other => bail!("'{other}' is not an operator of a value and a number"),
    };
    site.ignore(&["is_int"]);
    let number = site.float("scalar", 0.0)?;
    // Files before version 0.9 say so of the operators of old names.
    let number_first = site.flag("scalar_on_left", number_first)?;
    let x = site.input(0)?;
    let number = site.number("scalar", number);
    match number_first {
        true => site.finish(Op::Binary(f), &[&number, &x]),
        false => site.finish(Op::Binary(f), &[&x, &number]),
    }
}

/// The sum of any number of values.
pub fn sum(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["num_args"]);
    let inputs = site.inputs();
    let [first, middle @ .., last] = inputs.as_slice() else {
        let x = site.input(0)?;
        return site.finish(Op::Identity, &[&x]);
    };
    let mut total = first.clone();
    for (i, item) in middle.iter().enumerate() {
        total = site.step(&format!("sum{i}"), Op::Binary(Binary::Add), &[&total, item])?;
    }
    site.finish(Op::Binary(Binary::Add), &[&total, last])
}
