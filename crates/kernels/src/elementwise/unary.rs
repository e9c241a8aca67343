//! Which function of `arithmetic` a name means: one list, expanded into each row's loop.
//!
//! A macro, because a closure would not be compiled with the instruction set of the row that calls it.

use lowbit_arithmetic::Lanes;

/// `unary!(f, each)` runs `each!(v => expression of v)` with the expression that the [`UnaryFn`](super::UnaryFn) `f` means.
macro_rules! unary {
    ($f:expr, $each:ident, $V:ty) => {{
        use $crate::elementwise::UnaryFn;
        use lowbit_arithmetic::{Lanes, elementary as e};
        match $f {
            UnaryFn::Abs => $each!(v => Lanes::abs(v)),
            UnaryFn::Neg => $each!(v => Lanes::neg(v)),
            UnaryFn::Exp => $each!(v => e::exp(v)),
            UnaryFn::Log => $each!(v => e::ln(v)),
            UnaryFn::Sqrt => $each!(v => Lanes::sqrt(v)),
            UnaryFn::Reciprocal => $each!(v => <$V as Lanes>::splat(1.0).div(v)),
            UnaryFn::Erf => $each!(v => e::erf(v)),
            UnaryFn::Sin => $each!(v => e::sin(v)),
            UnaryFn::Cos => $each!(v => e::cos(v)),
            UnaryFn::Tanh => $each!(v => e::tanh(v)),
            UnaryFn::Sigmoid => $each!(v => e::sigmoid(v)),
            UnaryFn::Silu => $each!(v => e::silu(v)),
            UnaryFn::Gelu => $each!(v => e::gelu_erf(v)),
            UnaryFn::GeluTanh => $each!(v => e::gelu_tanh(v)),
            UnaryFn::Mish => $each!(v => e::mish(v)),
            UnaryFn::Softplus => $each!(v => e::softplus(v)),
            UnaryFn::Softsign => $each!(v => e::softsign(v)),
            UnaryFn::HardSigmoid { alpha, beta } => $each!(v => e::hard_sigmoid(v, alpha, beta)),
            UnaryFn::HardSwish => $each!(v => e::hard_swish(v)),
            UnaryFn::LeakyRelu { alpha } => $each!(v => e::leaky_relu(v, <$V as Lanes>::splat(alpha))),
            UnaryFn::Elu { alpha } => $each!(v => e::elu(v, alpha)),
            UnaryFn::Selu { alpha, gamma } => $each!(v => e::selu(v, alpha, gamma)),
            UnaryFn::Celu { alpha } => $each!(v => e::celu(v, alpha)),
            UnaryFn::ThresholdedRelu { alpha } => $each!(v => e::thresholded_relu(v, alpha)),
            UnaryFn::Floor => $each!(v => $crate::elementwise::floor(v)),
            UnaryFn::Ceil => $each!(v => $crate::elementwise::ceil(v)),
            UnaryFn::Round => $each!(v => Lanes::round_even(v)),
        }
    }};
}

/// `binary!(f, each)` runs `each!(a, b => expression)` with the expression that the [`BinaryFn`](super::BinaryFn) means.
macro_rules! binary {
    ($f:expr, $each:ident) => {{
        use $crate::elementwise::{BinaryFn, max2, min2};
        use lowbit_arithmetic::{Lanes, elementary as e};
        match $f {
            BinaryFn::Add => $each!(a, b => Lanes::add(a, b)),
            BinaryFn::Sub => $each!(a, b => Lanes::sub(a, b)),
            BinaryFn::Mul => $each!(a, b => Lanes::mul(a, b)),
            BinaryFn::Div => $each!(a, b => Lanes::div(a, b)),
            BinaryFn::Min => $each!(a, b => min2(a, b)),
            BinaryFn::Max => $each!(a, b => max2(a, b)),
            BinaryFn::Pow => $each!(a, b => e::pow(a, b)),
            BinaryFn::PRelu => $each!(a, b => e::leaky_relu(a, b)),
        }
    }};
}

pub(super) use {binary, unary};

/// The greatest integer not above; infinities, NaN and the sign of zero pass through.
#[inline(always)]
pub fn floor<V: Lanes>(x: V) -> V {
    let near = x.round_even();
    let below = near.sub(V::splat(1.0));
    V::select(x.lt(near), below, near).copysign(x)
}

/// The least integer not below; infinities, NaN and the sign of zero pass through.
#[inline(always)]
pub fn ceil<V: Lanes>(x: V) -> V {
    floor(x.neg()).neg()
}

/// `arithmetic::pool::max2` over lanes: NaN if either is NaN, +0 greater than -0.
#[inline(always)]
pub fn max2<V: Lanes>(a: V, b: V) -> V {
    // `max` gives the second operand for two zeros or a NaN: +0 if both zeros agree on a clear sign.
    let zeros = V::from_bits(V::int_and(a.to_bits(), b.to_bits()));
    let greater = V::select(a.eq(b), zeros, a.max(b));
    V::select(V::either(a.is_nan(), b.is_nan()), V::splat(f32::NAN), greater)
}

/// The lesser: NaN if either is NaN, -0 less than +0.
#[inline(always)]
pub fn min2<V: Lanes>(a: V, b: V) -> V {
    max2(a.neg(), b.neg()).neg()
}
