//! Each operator as ONNX nodes.

use super::{
    AttributeProto, AttributeType, Spelled, Writer, attribute, float, int, ints, quantize, resample, sizes, text,
};
use crate::onnx::tensor;
use lowbit_ir::op::{
    Binary, Cell, MatMul, Pad, PadMode, Pool, Recurrent, Reduce, ReduceKind, Scatter, SliceAxis, Unary,
};
use lowbit_ir::{DType, Error, Graph, Node, Op, Result, Tensor, Type, ValueId, bail};

/// The oldest opset with what a node needs, or an error if ONNX cannot say it.
pub fn needed_opset(graph: &Graph, node: &Node) -> Result<i64> {
    let quantized = node.operands().chain(node.outputs.iter().copied()).filter(|v| graph.ty(*v).is_quantized());
    let by_type = quantized.map(|v| quantize::opset_of(graph.ty(v))).max().unwrap_or(super::BASE_OPSET);
    let dtype = node.operands().next().map_or(DType::F32, |v| graph.ty(v).dtype);
    let reads_integers = node.operands().any(|v| graph.ty(v).is_quantized());
    let integer = |what: &str| {
        Err(Error::new(format!("{what} has no form in ONNX"))
            .hint("export the annotated, calibrated (QDQ) graph, before it is realized as integers"))
    };
    let by_op = match &node.op {
        Op::Requantize(_) | Op::QAdd(_) | Op::QMul(_) | Op::QAvgPool(_) | Op::Table => return integer(node.op.name()),
        Op::Simulate(_) => {
            return Err(
                Error::new("a value still to be calibrated has no form in ONNX").hint("calibrate the graph first")
            );
        }
        // Whoever runs the file must know it, as we must when we read it again.
        Op::Custom(_) => super::BASE_OPSET,
        Op::Quantize { .. } | Op::Dequantize => super::BASE_OPSET,
        Op::LayerNorm { .. } => 17,
        Op::Unary(Unary::BitNot) | Op::Binary(Binary::BitAnd | Binary::BitOr | Binary::BitXor) => 18,
        // Plain integers came later than floats.
        Op::Relu if dtype.is_integer() && !reads_integers => 14,
        Op::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div)
            if matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16) && !reads_integers =>
        {
            14
        }
        Op::AvgPool(p) if p.dilations.iter().any(|d| *d != 1) => 19,
        Op::ScatterElements { reduction, .. } | Op::ScatterNd { reduction } => match reduction {
            Scatter::Replace => super::BASE_OPSET,
            Scatter::Add | Scatter::Mul => 16,
            Scatter::Min | Scatter::Max => 18,
        },
        Op::Pad(Pad { mode: PadMode::Wrap, .. }) if !reads_integers => 19,
        Op::MaxPool(_)
        | Op::Concat { .. }
        | Op::Split { .. }
        | Op::Slice(_)
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. }
        | Op::Transpose { .. }
        | Op::Gather { .. }
        | Op::GatherElements { .. }
        | Op::GatherNd { .. }
        | Op::Expand { .. }
        | Op::Identity => super::BASE_OPSET,
        other if reads_integers => return integer(&format!("{} on integers", other.name())),
        Op::Conv(_)
        | Op::MatMul(_)
        | Op::BatchNorm { .. }
        | Op::Softmax { .. }
        | Op::Recurrent(_)
        | Op::Relu
        | Op::Clip { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Where
        | Op::Cast { .. }
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Reduce(_)
        | Op::CumSum(_)
        | Op::TopK(_)
        | Op::Pad(_) => super::BASE_OPSET,
        Op::Resize(r) => resample::opset(r),
        Op::NonMaxSuppression(_) => super::BASE_OPSET,
        Op::RoiAlign(_) => 16,
        Op::GridSample(g) => resample::grid_opset(g, node.input(0).map_or(0, |v| graph.ty(v).shape.rank())),
    };
    Ok(by_type.max(by_op))
}

pub fn integers(data: &[i64]) -> Result<Tensor> {
    Tensor::from_i64(&[data.len()], data.to_vec())
}

impl Writer<'_> {
    pub fn node(&mut self, node: &Node) -> Result<()> {
        match (&node.op, node.input(0), node.outputs.first()) {
            (Op::Quantize { rounding }, Some(x), Some(y)) => return self.quantize(node, *rounding, x, *y),
            (Op::Dequantize, Some(x), _) => return self.dequantize(node, x),
            _ => {}
        }
        let mut x = self.operands(node);
        let mut list = |writer: &mut Self, suffix: &str, data: &[i64]| -> Result<()> {
            let name = writer.constant(&format!("{}.{suffix}", node.name), &integers(data)?);
            x.push(name);
            Ok(())
        };
        let (op_type, attributes): (&str, Vec<AttributeProto>) = match &node.op {
            Op::Conv(c) => {
                let w = node.input(1).map(|w| self.graph.ty(w).shape.require()).transpose()?.unwrap_or_default();
                let kernel = sizes("kernel_shape", w.get(2..).unwrap_or_default());
                let window = [sizes("dilations", &c.dilations), int("group", c.group as i64), kernel];
                ("Conv", [window.as_slice(), &[sizes("pads", &c.pads), sizes("strides", &c.strides)]].concat())
            }
            Op::MatMul(m) => return self.matmul(node, *m, x),
            Op::BatchNorm { epsilon } => ("BatchNormalization", vec![float("epsilon", *epsilon)]),
            Op::LayerNorm { axis, epsilon } => {
                ("LayerNormalization", vec![int("axis", *axis), float("epsilon", *epsilon)])
            }
            Op::Softmax { axis } => ("Softmax", vec![int("axis", *axis)]),
            Op::Relu => ("Relu", Vec::new()),
            Op::Clip { min, max } => {
                for (bound, suffix) in [(*min, "min"), (*max, "max")] {
                    let open = bound.is_infinite();
                    x.push(if open { String::new() } else { self.scalar(&format!("{}.{suffix}", node.name), bound) });
                }
                ("Clip", Vec::new())
            }
            Op::Recurrent(r) => recurrent(r),
            Op::Unary(f) => match self.unary(node, *f, &x)? {
                Some(written) => written,
                None => return Ok(()),
            },
            Op::Binary(f) => binary(*f),
            Op::Where => ("Where", Vec::new()),
            Op::Cast { to } => ("Cast", vec![int("to", i64::from(tensor::code(*to)))]),
            Op::MaxPool(p) => ("MaxPool", [pool(p), vec![sizes("dilations", &p.dilations)]].concat()),
            Op::AvgPool(p) => {
                let mut all = pool(p);
                all.push(int("count_include_pad", i64::from(p.count_include_pad)));
                if p.dilations.iter().any(|d| *d != 1) {
                    all.push(sizes("dilations", &p.dilations));
                }
                ("AveragePool", all)
            }
            Op::GlobalAvgPool => ("GlobalAveragePool", Vec::new()),
            Op::Reduce(r) => {
                let (op_type, mut all, operand) = reduce(r, self.opset);
                if operand && !r.axes.is_empty() {
                    list(self, "axes", &r.axes)?;
                } else if !r.axes.is_empty() {
                    all.push(ints("axes", &r.axes));
                }
                (op_type, all)
            }
            Op::Concat { axis } => ("Concat", vec![int("axis", *axis)]),
            Op::Split { axis, sizes } => {
                list(self, "split", &sizes.iter().map(|s| *s as i64).collect::<Vec<_>>())?;
                ("Split", vec![int("axis", *axis)])
            }
            Op::Slice(axes) => {
                let of = |f: fn(&SliceAxis) -> i64| axes.iter().map(f).collect::<Vec<_>>();
                list(self, "starts", &of(|a| a.start))?;
                list(self, "ends", &of(|a| a.end))?;
                list(self, "axes", &of(|a| a.axis))?;
                list(self, "steps", &of(|a| a.step))?;
                ("Slice", Vec::new())
            }
            Op::Pad(p) => {
                list(self, "pads", &[p.begins.as_slice(), &p.ends].concat())?;
                let (mode, value) = pad_mode(p);
                if let Some(value) = value {
                    let ty = node.input(0).map(|v| self.graph.ty(v).dtype).unwrap_or(DType::F32);
                    let value = pad_value(ty, value)?;
                    x.push(self.constant(&format!("{}.value", node.name), &value));
                }
                ("Pad", vec![text("mode", mode)])
            }
            Op::Reshape { dims } => {
                list(self, "shape", dims)?;
                ("Reshape", Vec::new())
            }
            Op::Flatten { axis } => ("Flatten", vec![int("axis", *axis)]),
            Op::Squeeze { axes } => {
                list(self, "axes", axes)?;
                ("Squeeze", Vec::new())
            }
            Op::Unsqueeze { axes } => {
                list(self, "axes", axes)?;
                ("Unsqueeze", Vec::new())
            }
            Op::Transpose { perm } => ("Transpose", vec![sizes("perm", perm)]),
            Op::Gather { axis } => ("Gather", vec![int("axis", *axis)]),
            Op::GatherElements { axis } => ("GatherElements", vec![int("axis", *axis)]),
            Op::GatherNd { batch_dims } => {
                let batch_dims = i64::try_from(*batch_dims).unwrap_or(i64::MAX);
                ("GatherND", if batch_dims == 0 { Vec::new() } else { vec![int("batch_dims", batch_dims)] })
            }
            Op::ScatterElements { axis, reduction } => {
                ("ScatterElements", [vec![int("axis", *axis)], scatter(*reduction)].concat())
            }
            Op::ScatterNd { reduction } => ("ScatterND", scatter(*reduction)),
            Op::CumSum(c) => {
                let axis = Tensor::from_i64(&[], vec![c.axis])?;
                x.push(self.constant(&format!("{}.axis", node.name), &axis));
                let flags = [("exclusive", c.exclusive), ("reverse", c.reverse)];
                ("CumSum", flags.iter().map(|(name, on)| int(name, i64::from(*on))).collect())
            }
            Op::TopK(t) => {
                list(self, "k", &[i64::try_from(t.k).unwrap_or(i64::MAX)])?;
                let flags = [("largest", t.largest), ("sorted", t.sorted)];
                let flags = flags.iter().map(|(name, on)| int(name, i64::from(*on)));
                ("TopK", std::iter::once(int("axis", t.axis)).chain(flags).collect())
            }
            Op::Expand { dims } => {
                list(self, "shape", &dims.iter().map(|d| *d as i64).collect::<Vec<_>>())?;
                ("Expand", Vec::new())
            }
            Op::Resize(r) => ("Resize", self.resize(node, r, &mut x)?),
            Op::GridSample(g) => ("GridSample", resample::grid(g, self.opset)),
            Op::RoiAlign(r) => ("RoiAlign", resample::roi(r)),
            Op::NonMaxSuppression(n) => return self.suppress(node, n, x),
            Op::Identity => ("Identity", Vec::new()),
            Op::Custom(id) => {
                self.write(node, &id.0, x, Vec::new());
                self.in_domain(super::CUSTOM_DOMAIN);
                return Ok(());
            }
            Op::Quantize { .. }
            | Op::Dequantize
            | Op::Requantize(_)
            | Op::QAdd(_)
            | Op::QMul(_)
            | Op::QAvgPool(_)
            | Op::Table
            | Op::Simulate(_) => bail!("the operator has no form in ONNX"),
        };
        self.write(node, op_type, x, attributes);
        Ok(())
    }

    fn scalar(&mut self, base: &str, x: f32) -> String {
        self.constant(base, &Tensor::scalar(x))
    }

    /// A product of matrices is Gemm; one of more dimensions is MatMul, with Transpose before and Add after as needed.
    fn matmul(&mut self, node: &Node, m: MatMul, x: Vec<String>) -> Result<()> {
        let rank = |i: usize| node.input(i).map_or(0, |v: ValueId| self.graph.ty(v).shape.rank());
        let (rank_b, flat) = (rank(1), rank(0) == 2 && rank(1) == 2);
        let biased = node.input(2).is_some();
        if !m.trans_b && !biased {
            self.write(node, "MatMul", x, Vec::new());
            return Ok(());
        }
        if flat {
            self.write(node, "Gemm", x, vec![int("transB", i64::from(m.trans_b))]);
            return Ok(());
        }
        let op = if m.trans_b { "MatMulTransB" } else { "MatMul" };
        let mut spelled = Spelled { name: node.name.clone(), op, inputs: x.clone(), steps: Vec::new() };
        let (Some(a), Some(b)) = (x.first().cloned(), x.get(1).cloned()) else { bail!("expected two operands") };
        let b = match m.trans_b {
            true => {
                let mut perm: Vec<usize> = (0..rank_b).collect();
                if let [.., i, j] = perm.as_mut_slice() {
                    std::mem::swap(i, j);
                }
                self.step(&mut spelled, "turned", "Transpose", vec![b], vec![sizes("perm", &perm)])
            }
            false => b,
        };
        match x.get(2) {
            Some(bias) => {
                let y = self.step(&mut spelled, "product", "MatMul", vec![a, b], Vec::new());
                self.last(spelled, node, "Add", vec![y, bias.clone()], Vec::new());
            }
            None => self.last(spelled, node, "MatMul", vec![a, b], Vec::new()),
        }
        Ok(())
    }

    /// Functions that the opset has, or that are written as several nodes here (`None`).
    fn unary(&mut self, node: &Node, f: Unary, x: &[String]) -> Result<Option<(&'static str, Vec<AttributeProto>)>> {
        let plain = |op_type| Ok(Some((op_type, Vec::new())));
        match f {
            Unary::Abs => plain("Abs"),
            Unary::Neg => plain("Neg"),
            Unary::Exp => plain("Exp"),
            Unary::Log => plain("Log"),
            Unary::Sqrt => plain("Sqrt"),
            Unary::Reciprocal => plain("Reciprocal"),
            Unary::Erf => plain("Erf"),
            Unary::Sin => plain("Sin"),
            Unary::Cos => plain("Cos"),
            Unary::Tanh => plain("Tanh"),
            Unary::Sigmoid => plain("Sigmoid"),
            Unary::Softplus => plain("Softplus"),
            Unary::Softsign => plain("Softsign"),
            Unary::Floor => plain("Floor"),
            Unary::Ceil => plain("Ceil"),
            Unary::Round => plain("Round"),
            Unary::Not => plain("Not"),
            Unary::Sign => plain("Sign"),
            Unary::Tan => plain("Tan"),
            Unary::Asin => plain("Asin"),
            Unary::Acos => plain("Acos"),
            Unary::Atan => plain("Atan"),
            Unary::Sinh => plain("Sinh"),
            Unary::Cosh => plain("Cosh"),
            Unary::Asinh => plain("Asinh"),
            Unary::Acosh => plain("Acosh"),
            Unary::Atanh => plain("Atanh"),
            Unary::BitNot => plain("BitwiseNot"),
            Unary::HardSigmoid { alpha, beta } => {
                Ok(Some(("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)])))
            }
            Unary::LeakyRelu { alpha } => Ok(Some(("LeakyRelu", vec![float("alpha", alpha)]))),
            Unary::Elu { alpha } => Ok(Some(("Elu", vec![float("alpha", alpha)]))),
            Unary::Selu { alpha, gamma } => Ok(Some(("Selu", vec![float("alpha", alpha), float("gamma", gamma)]))),
            Unary::Celu { alpha } => Ok(Some(("Celu", vec![float("alpha", alpha)]))),
            Unary::ThresholdedRelu { alpha } => Ok(Some(("ThresholdedRelu", vec![float("alpha", alpha)]))),
            Unary::HardSwish if self.opset >= 14 => plain("HardSwish"),
            Unary::Mish if self.opset >= 18 => plain("Mish"),
            Unary::Gelu if self.opset >= 20 => plain("Gelu"),
            Unary::GeluTanh if self.opset >= 20 => Ok(Some(("Gelu", vec![text("approximate", "tanh")]))),
            Unary::Silu if self.opset >= 24 => plain("Swish"),
            Unary::HardSwish | Unary::Mish | Unary::Gelu | Unary::GeluTanh | Unary::Silu => {
                let [x] = x else { bail!("expected one operand, found {}", x.len()) };
                self.spell(node, f, x);
                Ok(None)
            }
        }
    }

    fn spell(&mut self, node: &Node, f: Unary, x: &str) {
        let x = x.to_string();
        let mut s = Spelled { name: node.name.clone(), op: f.name(), inputs: vec![x.clone()], steps: Vec::new() };
        let constant = |w: &mut Self, suffix: &str, c: f32| w.scalar(&format!("{}.{suffix}", node.name), c);
        let gate = match f {
            Unary::Silu => self.step(&mut s, "gate", "Sigmoid", vec![x.clone()], Vec::new()),
            Unary::Mish => {
                let soft = self.step(&mut s, "softplus", "Softplus", vec![x.clone()], Vec::new());
                self.step(&mut s, "gate", "Tanh", vec![soft], Vec::new())
            }
            Unary::Gelu | Unary::GeluTanh => {
                let (argument, squash) = match f {
                    Unary::Gelu => {
                        let by = constant(self, "sqrt_half", std::f32::consts::FRAC_1_SQRT_2);
                        (self.step(&mut s, "argument", "Mul", vec![x.clone(), by], Vec::new()), "Erf")
                    }
                    _ => {
                        // sqrt(2 / pi) * (x + 0.044715 * x^3)
                        let (cubic, root) = (constant(self, "cubic", 0.044_715), constant(self, "root", 0.797_884_6));
                        let square = self.step(&mut s, "square", "Mul", vec![x.clone(), x.clone()], Vec::new());
                        let cube = self.step(&mut s, "cube", "Mul", vec![square, x.clone()], Vec::new());
                        let bent = self.step(&mut s, "bent", "Mul", vec![cube, cubic], Vec::new());
                        let sum = self.step(&mut s, "sum", "Add", vec![x.clone(), bent], Vec::new());
                        (self.step(&mut s, "argument", "Mul", vec![sum, root], Vec::new()), "Tanh")
                    }
                };
                let squashed = self.step(&mut s, "squashed", squash, vec![argument], Vec::new());
                let (one, half) = (constant(self, "one", 1.0), constant(self, "half", 0.5));
                let raised = self.step(&mut s, "raised", "Add", vec![squashed, one], Vec::new());
                self.step(&mut s, "gate", "Mul", vec![raised, half], Vec::new())
            }
            // HardSwish is the last of those that `unary` sends here.
            _ => {
                let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.step(&mut s, "gate", "HardSigmoid", vec![x.clone()], attributes)
            }
        };
        self.last(s, node, "Mul", vec![x, gate], Vec::new());
    }
}

/// A cell of one direction, its functions in ONNX's names.
fn recurrent(r: &Recurrent) -> (&'static str, Vec<AttributeProto>) {
    let direction = if r.reverse { "reverse" } else { "forward" };
    let mut all = vec![int("hidden_size", r.hidden as i64), text("direction", direction)];
    let name = |f: &Unary| match f {
        // There Relu is a function of one element, as this is here.
        Unary::ThresholdedRelu { alpha } if *alpha == 0.0 => "Relu",
        f => f.name(),
    };
    let parameters = |f: &Unary| match f {
        Unary::HardSigmoid { alpha, beta } => (*alpha, *beta),
        Unary::LeakyRelu { alpha } | Unary::Elu { alpha } | Unary::ThresholdedRelu { alpha } => (*alpha, 0.0),
        _ => (0.0, 0.0),
    };
    all.push(AttributeProto {
        strings: r.activations.iter().map(|f| name(f).as_bytes().to_vec().into()).collect(),
        ..attribute("activations", AttributeType::Strings)
    });
    for (name, values) in [
        ("activation_alpha", r.activations.iter().map(|f| parameters(f).0).collect()),
        ("activation_beta", r.activations.iter().map(|f| parameters(f).1).collect()),
    ] {
        all.push(AttributeProto { floats: values, ..attribute(name, AttributeType::Floats) });
    }
    if r.clip < f32::INFINITY {
        all.push(float("clip", r.clip));
    }
    match r.cell {
        Cell::Lstm => ("LSTM", all),
        Cell::CoupledLstm => ("LSTM", [all, vec![int("input_forget", 1)]].concat()),
        Cell::Gru => ("GRU", all),
        Cell::LinearGru => ("GRU", [all, vec![int("linear_before_reset", 1)]].concat()),
        Cell::Rnn => ("RNN", all),
    }
}

/// Name and attributes.
fn binary(f: Binary) -> (&'static str, Vec<AttributeProto>) {
    let plain = match f {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Pow => "Pow",
        Binary::Min => "Min",
        Binary::Max => "Max",
        Binary::PRelu => "PRelu",
        Binary::Equal => "Equal",
        Binary::Less => "Less",
        Binary::Greater => "Greater",
        Binary::And => "And",
        Binary::Or => "Or",
        Binary::Mod => "Mod",
        Binary::Fmod => return ("Mod", vec![int("fmod", 1)]),
        Binary::BitAnd => "BitwiseAnd",
        Binary::BitOr => "BitwiseOr",
        Binary::BitXor => "BitwiseXor",
        Binary::ShiftLeft => return ("BitShift", vec![text("direction", "LEFT")]),
        Binary::ShiftRight => return ("BitShift", vec![text("direction", "RIGHT")]),
    };
    (plain, Vec::new())
}

fn pool(p: &Pool) -> Vec<AttributeProto> {
    vec![
        int("ceil_mode", i64::from(p.ceil_mode)),
        sizes("kernel_shape", &p.kernel),
        sizes("pads", &p.pads),
        sizes("strides", &p.strides),
    ]
}

/// Name and attributes of a reduction, and whether its axes are an operand in this opset.
fn reduce(r: &Reduce, opset: i64) -> (&'static str, Vec<AttributeProto>, bool) {
    let (op_type, since) = match r.kind {
        ReduceKind::Sum => ("ReduceSum", 13),
        ReduceKind::Mean => ("ReduceMean", 18),
        ReduceKind::Max => ("ReduceMax", 18),
        ReduceKind::Min => ("ReduceMin", 18),
        ReduceKind::Prod => ("ReduceProd", 18),
    };
    (op_type, vec![int("keepdims", i64::from(r.keep_dims))], opset >= since)
}

/// The reduction of a scatter; what old opsets have alone goes without saying.
fn scatter(reduction: Scatter) -> Vec<AttributeProto> {
    match reduction {
        Scatter::Replace => Vec::new(),
        Scatter::Add => vec![text("reduction", "add")],
        Scatter::Mul => vec![text("reduction", "mul")],
        Scatter::Min => vec![text("reduction", "min")],
        Scatter::Max => vec![text("reduction", "max")],
    }
}

fn pad_mode(p: &Pad) -> (&'static str, Option<f32>) {
    match p.mode {
        PadMode::Constant(value) => ("constant", Some(value)),
        PadMode::Reflect => ("reflect", None),
        PadMode::Edge => ("edge", None),
        PadMode::Wrap => ("wrap", None),
    }
}

/// The pad value as a scalar of the operand's type.
fn pad_value(dtype: DType, value: f32) -> Result<Tensor> {
    let ty = Type::plain(dtype, Vec::new());
    match dtype.is_float() {
        true => Tensor::from_floats(ty, vec![value]),
        // Of truth values every number but 0 is true, also one between 0 and 1.
        false if dtype == DType::Bool => Tensor::from_ints(ty, &[i64::from(value != 0.0)]),
        false => Tensor::from_ints(ty, &[value as i64]),
    }
}
