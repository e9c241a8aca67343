//! Activations that exporters write out become one operator again.
//!
//! Most of them are a product of x, a gate g(x) and a constant, and the factors come in any order and grouping.
//! So the product is flattened first, and then there is one line per activation.

use super::{Prepare, rewrite};
use lowbit_ir::op::{Binary, Unary};
use lowbit_ir::pass::Pass;
use lowbit_ir::{Graph, NodeId, Op, Result, ValueId};

pub const PASS: Pass<Prepare> = Pass {
    name: "recognize-activations",
    summary: "Silu, Gelu (erf and tanh), HardSigmoid, HardSwish, Mish, Sigmoid and LeakyRelu as exporters write them out",
    run,
};

fn run(g: &mut Graph, _: &mut Prepare) -> Result<bool> {
    rewrite::each_node(g, recognize)
}

fn recognize(g: &mut Graph, id: NodeId) -> Result<bool> {
    let Some(y) = rewrite::output(g.node(id)) else { return Ok(false) };
    let found = product(g, id).or_else(|| logistic(g, id)).or_else(|| leaky(g, id));
    let Some((x, f)) = found.filter(|(x, _)| g.ty(*x).shape == g.ty(y).shape) else { return Ok(false) };
    let node = g.node_mut(id);
    node.op = Op::Unary(f);
    node.inputs = vec![Some(x)];
    Ok(true)
}

/// A product that is an activation.
fn product(g: &Graph, id: NodeId) -> Option<(ValueId, Unary)> {
    let (a, b) = rewrite::binary(g.node(id), Binary::Mul)?;
    let mut product = Product { constant: 1.0, factors: Vec::new() };
    product.multiply(g, a, 0);
    product.multiply(g, b, 0);
    product.activation(g)
}

/// Sigmoid as 1 / (1 + e^-x), and Silu as x / (1 + e^-x).
fn logistic(g: &Graph, id: NodeId) -> Option<(ValueId, Unary)> {
    let node = g.node(id);
    let (above, below) = match node.op {
        Op::Unary(Unary::Reciprocal) => (None, node.input(0)?),
        _ => rewrite::binary(node, Binary::Div).map(|(above, below)| (Some(above), below))?,
    };
    let (power, Unary::Exp) = unary(g, plus_one(g, below)?)? else { return None };
    let x = match unary(g, power) {
        Some((x, Unary::Neg)) => x,
        _ => scaled(g, power, -1.0)?,
    };
    match above {
        Some(above) if above == x => Some((x, Unary::Silu)),
        Some(above) => near(rewrite::uniform(g, above)?, 1.0).then_some((x, Unary::Sigmoid)),
        None => Some((x, Unary::Sigmoid)),
    }
}

/// LeakyRelu as max(x, alpha * x).
fn leaky(g: &Graph, id: NodeId) -> Option<(ValueId, Unary)> {
    let (a, b) = rewrite::binary(g.node(id), Binary::Max)?;
    let slope = |x: ValueId, v: ValueId| {
        let (inner, c) = rewrite::binary(rewrite::producer(g, v)?.1, Binary::Mul)?;
        let alpha = rewrite::uniform(g, c).filter(|alpha| inner == x && (0.0..1.0).contains(alpha))?;
        Some((x, Unary::LeakyRelu { alpha }))
    };
    slope(a, b).or_else(|| slope(b, a))
}

/// constant * factors.
struct Product {
    constant: f32,
    factors: Vec<ValueId>,
}

/// How deep a product is flattened.
const DEEPEST: usize = 4;

impl Product {
    fn multiply(&mut self, g: &Graph, v: ValueId, depth: usize) {
        if let Some(c) = rewrite::uniform(g, v) {
            self.constant *= c;
            return;
        }
        // An inner product that somebody else reads is a value of its own.
        let inner = rewrite::producer(g, v)
            .filter(|_| depth < DEEPEST && rewrite::sole_user(g, v).is_some())
            .and_then(|(_, n)| rewrite::binary(n, Binary::Mul));
        match inner {
            Some((a, b)) => {
                self.multiply(g, a, depth + 1);
                self.multiply(g, b, depth + 1);
            }
            None => self.factors.push(v),
        }
    }

    /// The operand and function that this product is.
    fn activation(&self, g: &Graph) -> Option<(ValueId, Unary)> {
        match self.factors.as_slice() {
            [gate] => {
                let x = clip_of_x_plus_3(g, *gate)?;
                near(self.constant, SIXTH).then_some((x, Unary::HardSigmoid { alpha: SIXTH, beta: 0.5 }))
            }
            [a, b] => gated(g, self.constant, *a, *b).or_else(|| gated(g, self.constant, *b, *a)),
            _ => None,
        }
    }
}

const SIXTH: f32 = 1.0 / 6.0;

/// constant * x * gate(x).
fn gated(g: &Graph, constant: f32, x: ValueId, gate: ValueId) -> Option<(ValueId, Unary)> {
    if clip_of_x_plus_3(g, gate) == Some(x) && near(constant, SIXTH) {
        return Some((x, Unary::HardSwish));
    }
    if clip_of_line(g, gate) == Some(x) && near(constant, 1.0) {
        return Some((x, Unary::HardSwish));
    }
    if let Some((arg, f)) = unary(g, gate) {
        let found = match f {
            Unary::Sigmoid if arg == x => Unary::Silu,
            Unary::HardSigmoid { alpha, beta } if arg == x && near(alpha, SIXTH) && near(beta, 0.5) => Unary::HardSwish,
            Unary::Tanh if softplus(g, arg) == Some(x) => Unary::Mish,
            _ => return None,
        };
        return near(constant, 1.0).then_some((x, found));
    }
    // 0.5 * x * (1 + f(...)), the half also spread over the sum.
    let (f, offset) = rewrite::binary(rewrite::producer(g, gate)?.1, Binary::Add)?;
    let (f, scale) = match unary(g, f) {
        Some(_) => (f, 1.0),
        None => {
            let (f, c) = rewrite::binary(rewrite::producer(g, f)?.1, Binary::Mul)?;
            (f, rewrite::uniform(g, c)?)
        }
    };
    if !near(constant * rewrite::uniform(g, offset)?, 0.5) || !near(constant * scale, 0.5) {
        return None;
    }
    let (arg, f) = unary(g, f)?;
    match f {
        Unary::Erf if scaled(g, arg, std::f32::consts::FRAC_1_SQRT_2) == Some(x) => Some((x, Unary::Gelu)),
        Unary::Tanh if cubic(g, arg, x) => Some((x, Unary::GeluTanh)),
        _ => None,
    }
}

/// Whether `v` is sqrt(2 / pi) * (x + 0.044715 * x^3), or sqrt(2 / pi) * x * (1 + 0.044715 * x^2).
fn cubic(g: &Graph, v: ValueId, x: ValueId) -> bool {
    let mut product = Product { constant: 1.0, factors: Vec::new() };
    product.multiply(g, v, 0);
    let sum = |v: ValueId| rewrite::binary(rewrite::producer(g, v)?.1, Binary::Add);
    let power = |v: ValueId, exponent| {
        power_of(g, v, x).is_some_and(|(constant, n)| near(constant, 0.044_715) && n == exponent)
    };
    let found = match product.factors.as_slice() {
        [s] => sum(*s).is_some_and(|(a, b)| (a == x && power(b, 3)) || (b == x && power(a, 3))),
        [a, b] if *a == x || *b == x => {
            let s = if *a == x { *b } else { *a };
            plus_one(g, s).is_some_and(|square| power(square, 2))
        }
        _ => false,
    };
    found && near(product.constant, 0.797_884_6)
}

/// The constant and exponent of `v` as a constant times a power of `x`.
fn power_of(g: &Graph, v: ValueId, x: ValueId) -> Option<(f32, usize)> {
    let mut product = Product { constant: 1.0, factors: Vec::new() };
    product.multiply(g, v, 0);
    let exponent = |factor: &ValueId| {
        if *factor == x {
            return Some(1);
        }
        let node = rewrite::producer(g, *factor)?.1;
        // A square that several products share is a factor too.
        if rewrite::binary(node, Binary::Mul) == Some((x, x)) {
            return Some(2);
        }
        let (base, power) = rewrite::binary(node, Binary::Pow)?;
        match rewrite::uniform(g, power)? {
            2.0 if base == x => Some(2),
            3.0 if base == x => Some(3),
            _ => None,
        }
    };
    let all: Option<Vec<usize>> = product.factors.iter().map(exponent).collect();
    Some((product.constant, all?.iter().sum()))
}

/// The x of softplus(x), also as ln(1 + e^x).
fn softplus(g: &Graph, v: ValueId) -> Option<ValueId> {
    match unary(g, v)? {
        (x, Unary::Softplus) => Some(x),
        (sum, Unary::Log) => match unary(g, plus_one(g, sum)?)? {
            (x, Unary::Exp) => Some(x),
            _ => None,
        },
        _ => None,
    }
}

/// The x of x + 1.
fn plus_one(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (x, one) = rewrite::binary(rewrite::producer(g, v)?.1, Binary::Add)?;
    near(rewrite::uniform(g, one)?, 1.0).then_some(x)
}

/// The x of clip(x / 6 + 1/2, 0, 1).
fn clip_of_line(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (_, clip) = rewrite::producer(g, v)?;
    if clip.op != (Op::Clip { min: 0.0, max: 1.0 }) {
        return None;
    }
    let (line, half) = rewrite::binary(rewrite::producer(g, clip.input(0)?)?.1, Binary::Add)?;
    near(rewrite::uniform(g, half)?, 0.5).then(|| scaled(g, line, SIXTH)).flatten()
}

/// The x of clip(x + 3, 0, 6).
fn clip_of_x_plus_3(g: &Graph, v: ValueId) -> Option<ValueId> {
    let (_, clip) = rewrite::producer(g, v)?;
    match clip.op {
        Op::Clip { min: 0.0, max: 6.0 } => {}
        _ => return None,
    }
    let (x, three) = rewrite::binary(rewrite::producer(g, clip.input(0)?)?.1, Binary::Add)?;
    (rewrite::uniform(g, three) == Some(3.0)).then_some(x)
}

/// The x of x * factor.
fn scaled(g: &Graph, v: ValueId, factor: f32) -> Option<ValueId> {
    let (x, c) = rewrite::binary(rewrite::producer(g, v)?.1, Binary::Mul)?;
    near(rewrite::uniform(g, c)?, factor).then_some(x)
}

fn unary(g: &Graph, v: ValueId) -> Option<(ValueId, Unary)> {
    let (_, node) = rewrite::producer(g, v)?;
    match node.op {
        Op::Unary(f) => Some((node.input(0)?, f)),
        _ => None,
    }
}

/// Whether `a` is the constant `b` as exporters spell it: in f32, or exactly what f16 or bf16 make of it.
///
/// In f32 a few roundings add up (1 / 6 and 1 / sqrt 2 as divisions, products of constants), and people type six
/// digits; 2^-20 is both, and below what the rounding of the products around it does to a result. The half formats keep
/// 11 and 8 bits, and another constant as near as that is another function: 1.7 is not 1.702.
fn near(a: f32, b: f32) -> bool {
    const DIGITS: f32 = 1.0 / (1 << 20) as f32;
    (a - b).abs() <= DIGITS * b.abs() || a == to_bits(b, 11) || a == to_bits(b, 8)
}

/// A normal number with so many significant bits, ties to even.
fn to_bits(x: f32, significant: u32) -> f32 {
    let dropped = 24 - significant;
    let bits = x.to_bits();
    let half = (1 << (dropped - 1)) - 1 + (bits >> dropped & 1);
    f32::from_bits(bits.wrapping_add(half) >> dropped << dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;

    #[test]
    fn spellings_of_constants_are_known() {
        use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
        for (a, b) in [
            (1.0 / SQRT_2, FRAC_1_SQRT_2),
            (0.797_885, ROOT),
            ((2.0 / std::f32::consts::PI).sqrt(), ROOT),
            (0.166_666_7, SIXTH),
            (0.5 * (1.0 / 3.0), SIXTH),
            // f16, then bf16.
            (0.166_625_98, SIXTH),
            (0.044_708_252, CUBIC),
            (0.797_851_56, ROOT),
            (0.707_031_25, FRAC_1_SQRT_2),
            (0.166_992_19, SIXTH),
            (0.044_677_734, CUBIC),
            (0.796_875, ROOT),
        ] {
            assert!(near(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn other_constants_are_other_functions() {
        for (a, b) in [
            (0.1667, SIXTH),
            (0.166_6, SIXTH),
            (0.0447, CUBIC),
            (0.0448, CUBIC),
            (0.798, ROOT),
            (1.702, 1.7),
            (0.500_5, 0.5),
            (f32::NAN, 0.5),
        ] {
            assert!(!near(a, b), "{a} and {b}");
        }
    }
}
