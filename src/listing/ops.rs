//! One of every operator, so that what the crates say of operators can be asked of all of them.

use super::Listing;
use crate::quantization::rules::standard;
use lowbit_ir::op::{
    Binary, Category, Conv, Coordinates, CustomId, MatMul, Pad, PadMode, Pool, QAvgPool, Reduce, ReduceKind, Rescale,
    Resize, ResizeMode, Unary,
};
use lowbit_ir::request::{ScaleForm, Sharing};
use lowbit_ir::text::spellings;
use lowbit_ir::{DType, Kind, Op, Request};

pub(super) fn listing() -> Listing {
    let row = |op: &Op| {
        vec![
            op.name().to_string(),
            family(op.category()).to_string(),
            inputs(op.arity()),
            standard(op).name.to_string(),
            meaning(op).to_string(),
            spellings(op.name()).join(", "),
        ]
    };
    Listing {
        name: "ops",
        summary: "the operators of the graph, the rule that annotates each for quantization, and the other names that rules and \
                  configurations may have for it",
        columns: vec!["operator", "family", "inputs", "rule", "meaning", "also spelled"],
        rows: examples().iter().map(row).collect(),
    }
}

/// The operators that a rule annotates.
pub(super) fn under(rule: &str) -> Vec<&'static str> {
    examples().iter().filter(|op| standard(op).name == rule).map(Op::name).collect()
}

fn inputs((least, most): (usize, usize)) -> String {
    match most {
        usize::MAX => format!("{least} or more"),
        most if most == least => least.to_string(),
        most => format!("{least} to {most}"),
    }
}

fn family(category: Category) -> &'static str {
    match category {
        Category::Layer => "layer",
        Category::Activation => "activation",
        Category::Pool => "pool",
        Category::Normalization => "normalization",
        Category::Transform => "transform",
        Category::Quantization => "quantization",
        Category::Custom => "custom",
    }
}

/// One of each, attributes as they come.
fn examples() -> Vec<Op> {
    let pool = || Pool {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        pads: vec![0; 4],
        dilations: vec![1, 1],
        ceil_mode: false,
        count_include_pad: false,
    };
    let reduce = |kind| Op::Reduce(Reduce { kind, axes: Vec::new(), keep_dims: true });
    let rescale = Rescale::default();
    let mut all = vec![
        Op::Conv(Conv { strides: vec![1, 1], pads: vec![0; 4], dilations: vec![1, 1], group: 1 }),
        Op::MatMul(MatMul::default()),
        Op::BatchNorm { epsilon: 0.0 },
        Op::LayerNorm { axis: -1, epsilon: 0.0 },
        Op::Softmax { axis: -1 },
        Op::Relu,
        Op::Clip { min: 0.0, max: 6.0 },
    ];
    all.extend(UNARY.map(Op::Unary));
    all.extend(BINARY.map(Op::Binary));
    all.extend([
        Op::Where,
        Op::Cast { to: DType::F32 },
        Op::MaxPool(pool()),
        Op::AvgPool(pool()),
        Op::GlobalAvgPool,
        reduce(ReduceKind::Sum),
        reduce(ReduceKind::Mean),
        reduce(ReduceKind::Max),
        reduce(ReduceKind::Min),
        Op::Concat { axis: 1 },
        Op::Split { axis: 1, sizes: Vec::new() },
        Op::Slice(Vec::new()),
        Op::Pad(Pad { begins: Vec::new(), ends: Vec::new(), mode: PadMode::Constant(0.0) }),
        Op::Reshape { dims: Vec::new() },
        Op::Flatten { axis: 1 },
        Op::Squeeze { axes: Vec::new() },
        Op::Unsqueeze { axes: Vec::new() },
        Op::Transpose { perm: Vec::new() },
        Op::Gather { axis: 0 },
        Op::Expand { dims: Vec::new() },
        Op::Resize(Resize {
            scales: Vec::new(),
            sizes: None,
            mode: ResizeMode::Linear,
            coordinates: Coordinates::HalfPixel,
        }),
        Op::Identity,
        Op::Quantize { rounding: rescale.rounding },
        Op::Dequantize,
        Op::Requantize(rescale),
        Op::QAdd(rescale),
        Op::QMul(rescale),
        Op::QAvgPool(QAvgPool { pool: None, rescale }),
        Op::Table,
        Op::Simulate(Request {
            kind: Kind::Input,
            bits: 8,
            signed: false,
            symmetric: false,
            narrow: false,
            sharing: Sharing::Tensor,
            scale: ScaleForm::Float,
            rounding: rescale.rounding,
            observer: "mse".into(),
        }),
        Op::Custom(CustomId("custom".into())),
    ]);
    all
}

const UNARY: [Unary; 28] = [
    Unary::Abs,
    Unary::Neg,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Reciprocal,
    Unary::Erf,
    Unary::Sin,
    Unary::Cos,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Silu,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Mish,
    Unary::Softplus,
    Unary::Softsign,
    Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Unary::HardSwish,
    Unary::LeakyRelu { alpha: 0.01 },
    Unary::Elu { alpha: 1.0 },
    Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
    Unary::Celu { alpha: 1.0 },
    Unary::ThresholdedRelu { alpha: 1.0 },
    Unary::Floor,
    Unary::Ceil,
    Unary::Round,
    Unary::Not,
];

const BINARY: [Binary; 13] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Pow,
    Binary::Min,
    Binary::Max,
    Binary::PRelu,
    Binary::Equal,
    Binary::Less,
    Binary::Greater,
    Binary::And,
    Binary::Or,
];

fn meaning(op: &Op) -> &'static str {
    match op {
        Op::Conv(_) => "convolution",
        Op::MatMul(_) => "matrix product",
        Op::BatchNorm { .. } => "batch normalization with known statistics",
        Op::LayerNorm { .. } => "normalization over the last axes",
        Op::Softmax { .. } => "exponentials that sum to one along an axis",
        Op::Relu => "max(x, 0)",
        Op::Clip { .. } => "x limited to a range",
        Op::Unary(f) => unary(*f),
        Op::Binary(f) => binary(*f),
        Op::Where => "a where the condition holds, else b",
        Op::Cast { .. } => "another element type",
        Op::MaxPool(_) => "largest of a window",
        Op::AvgPool(_) => "mean of a window",
        Op::GlobalAvgPool => "mean over all spatial axes",
        Op::Reduce(r) => match r.kind {
            ReduceKind::Sum => "sum over axes",
            ReduceKind::Mean => "mean over axes",
            ReduceKind::Max => "largest over axes",
            ReduceKind::Min => "smallest over axes",
        },
        Op::Concat { .. } => "values joined along an axis",
        Op::Split { .. } => "consecutive parts along an axis",
        Op::Slice(_) => "a range of positions on some axes",
        Op::Pad(_) => "a border of a constant, of the edge or of the mirror image",
        Op::Reshape { .. } => "the same elements in another shape",
        Op::Flatten { .. } => "two dimensions, cut at an axis",
        Op::Squeeze { .. } => "without axes of size 1",
        Op::Unsqueeze { .. } => "with axes of size 1",
        Op::Transpose { .. } => "axes in another order",
        Op::Gather { .. } => "slices chosen by indices",
        Op::Expand { .. } => "repeated to a shape",
        Op::Resize(_) => "resampled, nearest or linear",
        Op::Identity => "x",
        Op::Quantize { .. } => "floats to integers",
        Op::Dequantize => "integers to floats",
        Op::Requantize(_) => "integers of one scale to integers of another",
        Op::QAdd(_) => "sum of integers of two scales in a third",
        Op::QMul(_) => "product of integers of two scales in a third",
        Op::QAvgPool(_) => "mean of integers, of a window or of all spatial axes",
        Op::Table => "a function of one integer, looked up",
        Op::Simulate(_) => "where a value will be quantized, until calibration knows its range",
        Op::Custom(_) => "an operator of the user's",
    }
}

fn unary(f: Unary) -> &'static str {
    match f {
        Unary::Abs => "|x|",
        Unary::Neg => "-x",
        Unary::Exp => "e^x",
        Unary::Log => "natural logarithm",
        Unary::Sqrt => "square root",
        Unary::Reciprocal => "1 / x",
        Unary::Erf => "error function",
        Unary::Sin => "sine",
        Unary::Cos => "cosine",
        Unary::Tanh => "hyperbolic tangent",
        Unary::Sigmoid => "1 / (1 + e^-x)",
        Unary::Silu => "x * sigmoid(x)",
        Unary::Gelu => "x * (1 + erf(x / sqrt 2)) / 2",
        Unary::GeluTanh => "the tanh form of Gelu",
        Unary::Mish => "x * tanh(softplus(x))",
        Unary::Softplus => "ln(1 + e^x)",
        Unary::Softsign => "x / (1 + |x|)",
        Unary::HardSigmoid { .. } => "alpha * x + beta limited to 0..1",
        Unary::HardSwish => "x * (x / 6 + 1/2 limited to 0..1)",
        Unary::LeakyRelu { .. } => "x, and alpha * x below 0",
        Unary::Elu { .. } => "x, and alpha * (e^x - 1) below 0",
        Unary::Selu { .. } => "gamma * x, and gamma * alpha * (e^x - 1) below 0",
        Unary::Celu { .. } => "x, and alpha * (e^(x / alpha) - 1) below 0",
        Unary::ThresholdedRelu { .. } => "x, and 0 up to alpha",
        Unary::Floor => "toward minus infinity",
        Unary::Ceil => "toward plus infinity",
        Unary::Round => "half to even",
        Unary::Not => "boolean negation",
    }
}

fn binary(f: Binary) -> &'static str {
    match f {
        Binary::Add => "a + b",
        Binary::Sub => "a - b",
        Binary::Mul => "a * b",
        Binary::Div => "a / b; integers truncate toward zero",
        Binary::Pow => "a ^ b",
        Binary::Min => "the smaller",
        Binary::Max => "the larger",
        Binary::PRelu => "a, and a * b below 0",
        Binary::Equal => "a == b",
        Binary::Less => "a < b",
        Binary::Greater => "a > b",
        Binary::And => "both",
        Binary::Or => "either",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_is_one_of_every_operator() {
        let ours: Vec<&str> = examples().iter().map(Op::name).collect();
        let set: BTreeSet<&str> = ours.iter().copied().collect();
        assert_eq!(set.len(), ours.len(), "an operator is listed twice");
        assert_eq!(set, lowbit_ir::text::OPERATORS.into_iter().collect());
    }

    #[test]
    fn layers_are_those_of_their_family() {
        for op in examples() {
            assert_eq!(op.is_layer(), op.category() == Category::Layer, "{}", op.name());
            let shape = lowbit_ir::Shape::known(&[3, 5]);
            assert_eq!(op.is_layer(), lowbit_ir::infer::weight_axis(&op, &shape).is_some(), "{}", op.name());
            assert_eq!(op.is_layer(), lowbit_ir::infer::depth(&op, &[3, 5]).is_some(), "{}", op.name());
        }
    }
}
