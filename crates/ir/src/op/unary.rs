//! Functions of one element, and what is known of each.

use strum::{EnumIter, IntoEnumIterator};

/// Functions of one element.
#[derive(Debug, Clone, Copy, PartialEq, EnumIter, Default)]
pub enum Unary {
    /// |x|.
    #[default]
    Abs,
    /// -x.
    Neg,
    /// e^x.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// 1 / x.
    Reciprocal,
    /// Error function.
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x * sigmoid(x).
    Silu,
    /// x * (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// The tanh form of Gelu.
    GeluTanh,
    /// x * tanh(softplus(x)).
    Mish,
    /// ln(1 + e^x).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
    /// clamp(alpha * x + beta, 0, 1).
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// x * HardSigmoid(1/6, 1/2)(x).
    HardSwish,
    /// x or alpha * x below 0.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// x or alpha * (e^x - 1) below 0.
    Elu {
        /// Limit below 0.
        alpha: f32,
    },
    /// gamma * x or gamma * alpha * (e^x - 1) below 0.
    Selu {
        /// Limit below 0, before `gamma`.
        alpha: f32,
        /// Slope above 0.
        gamma: f32,
    },
    /// x or alpha * (e^(x / alpha) - 1) below 0.
    Celu {
        /// Limit below 0.
        alpha: f32,
    },
    /// x above alpha, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// Toward minus infinity.
    Floor,
    /// Toward plus infinity.
    Ceil,
    /// Half to even.
    Round,
    /// Boolean negation.
    Not,
    /// -1 below 0, 1 above, 0 at either zero.
    Sign,
    /// Tangent.
    Tan,
    /// Arcsine.
    Asin,
    /// Arccosine.
    Acos,
    /// Arctangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse of the hyperbolic sine.
    Asinh,
    /// Inverse of the hyperbolic cosine.
    Acosh,
    /// Inverse of the hyperbolic tangent.
    Atanh,
    /// Every bit of an integer inverted.
    BitNot,
}

/// What is known of a [`Unary`] beside its values, which the interpreter computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnaryFacts {
    /// The name that configs, reports and the text form use.
    pub name: &'static str,
    /// What it computes, in a few words.
    pub meaning: &'static str,
    /// What it is a function of.
    pub takes: Takes,
    /// Whether a table of it makes sense on quantized values: it must stay bounded near every input.
    pub table: bool,
    /// The limits of its values, where they are of use.
    pub image: (f32, f32),
    /// Between which operands it is further than 1e-4 from its limits, so that integers are best spent there; `None` if
    /// it has no limits.
    pub varies: Option<(f32, f32)>,
}

/// What a function of one element is a function of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Floats.
    Floats,
    /// Floats and integers that are not quantized.
    Numbers,
    /// Integers that are not quantized.
    Integers,
    /// Bools.
    Bools,
}

const INF: f32 = f32::INFINITY;
const EVERYTHING: (f32, f32) = (-INF, INF);

/// A function of floats without limits that a table can hold.
const fn float(name: &'static str, meaning: &'static str) -> UnaryFacts {
    UnaryFacts { name, meaning, takes: Takes::Floats, table: true, image: EVERYTHING, varies: None }
}

impl UnaryFacts {
    const fn within(self, low: f32, high: f32) -> Self {
        UnaryFacts { image: (low, high), ..self }
    }

    const fn varies(self, low: f32, high: f32) -> Self {
        UnaryFacts { varies: Some((low, high)), ..self }
    }

    const fn takes(self, takes: Takes) -> Self {
        UnaryFacts { takes, ..self }
    }

    const fn no_table(self) -> Self {
        UnaryFacts { table: false, ..self }
    }
}

impl Unary {
    /// Every function, with attributes of no meaning.
    pub fn all() -> Vec<Unary> {
        Unary::iter().collect()
    }

    /// What is known of the function. Its operand's place, its lowering and its ONNX form are asked for elsewhere.
    pub fn facts(self) -> UnaryFacts {
        match self {
            Unary::Abs => float("Abs", "|x|").takes(Takes::Numbers).within(0.0, INF),
            Unary::Neg => float("Neg", "-x").takes(Takes::Numbers),
            Unary::Exp => float("Exp", "e^x").within(0.0, INF).varies(-10.0, INF),
            // The logarithm and the reciprocal of a quantized zero are infinite.
            Unary::Log => float("Log", "natural logarithm").no_table(),
            Unary::Sqrt => float("Sqrt", "square root").within(0.0, INF),
            Unary::Reciprocal => float("Reciprocal", "1 / x").no_table(),
            Unary::Erf => float("Erf", "error function").within(-1.0, 1.0).varies(-3.0, 3.0),
            Unary::Sin => float("Sin", "sine").within(-1.0, 1.0),
            Unary::Cos => float("Cos", "cosine").within(-1.0, 1.0),
            Unary::Tanh => float("Tanh", "hyperbolic tangent").within(-1.0, 1.0).varies(-6.0, 6.0),
            Unary::Sigmoid => float("Sigmoid", "1 / (1 + e^-x)").within(0.0, 1.0).varies(-10.0, 10.0),
            Unary::Silu => float("Silu", "x * sigmoid(x)").varies(-12.0, INF),
            Unary::Gelu => float("Gelu", "x * (1 + erf(x / sqrt 2)) / 2").varies(-5.0, INF),
            Unary::GeluTanh => float("GeluTanh", "the tanh form of Gelu").varies(-5.0, INF),
            Unary::Mish => float("Mish", "x * tanh(softplus(x))").varies(-12.0, INF),
            Unary::Softplus => float("Softplus", "ln(1 + e^x)").within(0.0, INF).varies(-10.0, INF),
            Unary::Softsign => float("Softsign", "x / (1 + |x|)").within(-1.0, 1.0),
            Unary::HardSigmoid { alpha, beta } => {
                let facts = float("HardSigmoid", "alpha * x + beta limited to 0..1").within(0.0, 1.0);
                match alpha > 0.0 && (0.0..=1.0).contains(&beta) {
                    true => facts.varies(-beta / alpha, (1.0 - beta) / alpha),
                    false => facts,
                }
            }
            Unary::HardSwish => float("HardSwish", "x * (x / 6 + 1/2 limited to 0..1)").varies(-3.0, INF),
            Unary::LeakyRelu { .. } => float("LeakyRelu", "x, and alpha * x below 0"),
            Unary::Elu { .. } => float("Elu", "x, and alpha * (e^x - 1) below 0").varies(-10.0, INF),
            Unary::Selu { .. } => float("Selu", "gamma * x, and gamma * alpha * (e^x - 1) below 0").varies(-10.0, INF),
            Unary::Celu { alpha } => {
                let facts = float("Celu", "x, and alpha * (e^(x / alpha) - 1) below 0");
                if alpha > 0.0 { facts.varies(-10.0 * alpha, INF) } else { facts }
            }
            Unary::ThresholdedRelu { alpha } => {
                let facts = float("ThresholdedRelu", "x, and 0 up to alpha");
                if alpha >= 0.0 { facts.varies(0.0, INF) } else { facts }
            }
            Unary::Floor => float("Floor", "toward minus infinity"),
            Unary::Ceil => float("Ceil", "toward plus infinity"),
            Unary::Round => float("Round", "half to even"),
            Unary::Not => float("Not", "boolean negation").takes(Takes::Bools).no_table(),
            Unary::Sign => float("Sign", "-1, 0 or 1").takes(Takes::Numbers).within(-1.0, 1.0),
            // Infinite or undefined beside operands for which they are defined.
            Unary::Tan => float("Tan", "tangent").no_table(),
            Unary::Asin => float("Asin", "arcsine").no_table(),
            Unary::Acos => float("Acos", "arccosine").no_table(),
            Unary::Atan => {
                let quarter = std::f32::consts::FRAC_PI_2;
                float("Atan", "arctangent").within(-quarter, quarter)
            }
            Unary::Sinh => float("Sinh", "hyperbolic sine"),
            Unary::Cosh => float("Cosh", "hyperbolic cosine").within(1.0, INF),
            Unary::Asinh => float("Asinh", "inverse of the hyperbolic sine"),
            Unary::Acosh => float("Acosh", "inverse of the hyperbolic cosine").no_table(),
            Unary::Atanh => float("Atanh", "inverse of the hyperbolic tangent").no_table(),
            Unary::BitNot => float("BitNot", "every bit of an integer inverted").takes(Takes::Integers).no_table(),
        }
    }

    /// The function with parameters that `next` gives one after the other.
    #[must_use]
    pub fn with(self, mut next: impl FnMut() -> f32) -> Unary {
        match self {
            Unary::HardSigmoid { .. } => {
                let alpha = next();
                Unary::HardSigmoid { alpha, beta: next() }
            }
            Unary::Selu { .. } => {
                let alpha = next();
                Unary::Selu { alpha, gamma: next() }
            }
            Unary::LeakyRelu { .. } => Unary::LeakyRelu { alpha: next() },
            Unary::Elu { .. } => Unary::Elu { alpha: next() },
            Unary::Celu { .. } => Unary::Celu { alpha: next() },
            Unary::ThresholdedRelu { .. } => Unary::ThresholdedRelu { alpha: next() },
            f => f,
        }
    }

    /// The function's name.
    pub fn name(self) -> &'static str {
        self.facts().name
    }
}
