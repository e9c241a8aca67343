//! The attributes of every operator as names and tokens, and back.

mod sampling;

use super::number::{f32_of, f32_text, int_of};
use super::scan::{Problem, Scanned};
use crate::op::{
    Cell, Conv, CumSum, CustomId, MatMul, Pad, PadMode, Pool, QAvgPool, Recurrent, Reduce, ReduceKind, Rescale,
    Scatter, SliceAxis, TopK, Unary,
};
use crate::request::{Kind, Request, ScaleForm, Sharing};
use crate::suggest::did_you_mean;
use crate::{DType, Error, Op, Result, bail};
use lowbit_arithmetic::{Method, Rounding};
use std::borrow::Cow;
use std::fmt::Display;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attr<'a> {
    /// None: that it is there says it all.
    Flag,
    /// A number or word.
    Token(Cow<'a, str>),
    /// A string, in quotes.
    Text(String),
    /// Numbers in brackets.
    List(Vec<Cow<'a, str>>),
}

type Named = (&'static str, Attr<'static>);

fn token(name: &'static str, x: impl Display) -> Named {
    (name, Attr::Token(x.to_string().into()))
}

fn float(name: &'static str, x: f32) -> Named {
    token(name, f32_text(x))
}

fn list<T: Display>(name: &'static str, xs: impl IntoIterator<Item = T>) -> Named {
    (name, Attr::List(xs.into_iter().map(|x| x.to_string().into()).collect()))
}

fn flag(name: &'static str, on: bool) -> Option<Named> {
    on.then_some((name, Attr::Flag))
}

/// What is printed of an operator besides its name.
pub fn attributes(op: &Op) -> Vec<Named> {
    match op {
        Op::Conv(c) => vec![
            list("strides", &c.strides),
            list("pads", &c.pads),
            list("dilations", &c.dilations),
            token("group", c.group),
        ],
        Op::MatMul(m) => flag("trans_b", m.trans_b).into_iter().collect(),
        Op::BatchNorm { epsilon } => vec![float("epsilon", *epsilon)],
        Op::LayerNorm { axis, epsilon } => vec![token("axis", axis), float("epsilon", *epsilon)],
        Op::Clip { min, max } => vec![float("min", *min), float("max", *max)],
        Op::Recurrent(r) => recurrent_attributes(r),
        Op::Unary(f) => unary_attributes(*f),
        Op::Cast { to } => vec![token("to", to)],
        Op::MaxPool(p) | Op::AvgPool(p) => pool_attributes(p),
        Op::Reduce(r) => [list("axes", &r.axes)].into_iter().chain(flag("keep_dims", r.keep_dims)).collect(),
        Op::CumSum(c) => {
            let flags = [flag("exclusive", c.exclusive), flag("reverse", c.reverse)];
            [token("axis", c.axis)].into_iter().chain(flags.into_iter().flatten()).collect()
        }
        Op::Softmax { axis }
        | Op::Concat { axis }
        | Op::Flatten { axis }
        | Op::Gather { axis }
        | Op::GatherElements { axis } => vec![token("axis", axis)],
        Op::GatherNd { batch_dims } => vec![token("batch_dims", batch_dims)],
        Op::ScatterElements { axis, reduction } => {
            vec![token("axis", axis), token("reduction", word_of(&SCATTER, reduction))]
        }
        Op::ScatterNd { reduction } => vec![token("reduction", word_of(&SCATTER, reduction))],
        Op::TopK(t) => {
            let flags = [flag("largest", t.largest), flag("sorted", t.sorted)];
            [token("axis", t.axis), token("k", t.k)].into_iter().chain(flags.into_iter().flatten()).collect()
        }
        Op::Split { axis, sizes } => vec![token("axis", axis), list("sizes", sizes)],
        Op::Slice(s) => vec![
            list("axes", s.iter().map(|a| a.axis)),
            list("starts", s.iter().map(|a| a.start)),
            list("ends", s.iter().map(|a| a.end)),
            list("steps", s.iter().map(|a| a.step)),
        ],
        Op::Pad(p) => pad_attributes(p),
        Op::Reshape { dims } => vec![list("dims", dims)],
        Op::Squeeze { axes } | Op::Unsqueeze { axes } => vec![list("axes", axes)],
        Op::Transpose { perm } => vec![list("perm", perm)],
        Op::Expand { dims } => vec![list("dims", dims)],
        Op::Resize(r) => sampling::resize_attributes(r),
        Op::GridSample(g) => sampling::grid_attributes(g),
        Op::RoiAlign(r) => sampling::roi_attributes(r),
        Op::NonMaxSuppression(n) => sampling::suppression_attributes(n),
        Op::Quantize { rounding } => vec![token("rounding", rounding)],
        Op::Requantize(r) | Op::QAdd(r) | Op::QMul(r) => rescale_attributes(*r),
        Op::QAvgPool(p) => {
            let window = p.pool.as_ref().map(pool_attributes).unwrap_or_default();
            window.into_iter().chain(rescale_attributes(p.rescale)).collect()
        }
        Op::Simulate(s) => simulate_attributes(s),
        Op::Custom(id) => vec![("op", Attr::Text(id.0.to_string()))],
        Op::Relu | Op::Binary(_) | Op::Where | Op::GlobalAvgPool | Op::Identity | Op::Dequantize | Op::Table => {
            Vec::new()
        }
    }
}

fn recurrent_attributes(r: &Recurrent) -> Vec<Named> {
    let parameters = r.activations.iter().flat_map(|f| unary_attributes(*f));
    let tokens = parameters.filter_map(|(_, value)| match value {
        Attr::Token(t) => Some(t),
        Attr::Flag | Attr::Text(_) | Attr::List(_) => None,
    });
    let mut attrs = vec![token("hidden", r.hidden), list("functions", r.activations.iter().map(|f| f.name()))];
    attrs.extend([list("parameters", tokens), float("clip", r.clip)]);
    attrs.extend(flag("reverse", r.reverse));
    attrs
}

fn unary_attributes(f: Unary) -> Vec<Named> {
    match f {
        Unary::HardSigmoid { alpha, beta } => vec![float("alpha", alpha), float("beta", beta)],
        Unary::Selu { alpha, gamma } => vec![float("alpha", alpha), float("gamma", gamma)],
        Unary::LeakyRelu { alpha }
        | Unary::Elu { alpha }
        | Unary::Celu { alpha }
        | Unary::ThresholdedRelu { alpha } => vec![float("alpha", alpha)],
        _ => Vec::new(),
    }
}

fn pool_attributes(p: &Pool) -> Vec<Named> {
    let lists = [
        list("kernel", &p.kernel),
        list("strides", &p.strides),
        list("pads", &p.pads),
        list("dilations", &p.dilations),
    ];
    let flags = [flag("ceil_mode", p.ceil_mode), flag("count_include_pad", p.count_include_pad)];
    lists.into_iter().chain(flags.into_iter().flatten()).collect()
}

fn pad_attributes(p: &Pad) -> Vec<Named> {
    let mode = match p.mode {
        PadMode::Constant(_) => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
        PadMode::Wrap => "wrap",
    };
    let mut attrs = vec![list("begins", &p.begins), list("ends", &p.ends), token("mode", mode)];
    if let PadMode::Constant(value) = p.mode {
        attrs.push(float("value", value));
    }
    attrs
}

fn rescale_attributes(r: Rescale) -> Vec<Named> {
    vec![token("method", r.method), token("rounding", r.rounding)]
}

fn simulate_attributes(s: &Request) -> Vec<Named> {
    let mut attrs = vec![token("kind", word_of(&KINDS, &s.kind)), token("bits", s.bits)];
    let flags = [("signed", s.signed), ("symmetric", s.symmetric), ("narrow", s.narrow)];
    attrs.extend(flags.into_iter().filter_map(|(name, on)| flag(name, on)));
    match s.sharing {
        Sharing::Tensor => {}
        Sharing::Channel(axis) => attrs.push(token("axis", axis)),
        Sharing::Block { axis, size } => attrs.extend([token("axis", axis), token("block", size)]),
    }
    attrs.extend(match s.scale {
        ScaleForm::Float => None,
        ScaleForm::PowerOfTwo => flag("power_of_two", true),
    });
    attrs.extend([token("rounding", s.rounding), ("observer", Attr::Text(s.observer.to_string()))]);
    attrs
}

const SCATTER: [(&str, Scatter); 5] = [
    ("none", Scatter::Replace),
    ("add", Scatter::Add),
    ("mul", Scatter::Mul),
    ("min", Scatter::Min),
    ("max", Scatter::Max),
];

const KINDS: [(&str, Kind); 3] = [("input", Kind::Input), ("weight", Kind::Weight), ("activation", Kind::Activation)];

fn word_of<T: PartialEq>(words: &[(&'static str, T)], of: &T) -> &'static str {
    words.iter().find(|(_, x)| x == of).map_or("?", |(w, _)| w)
}

/// The attributes that a text gives a node, to be taken out by name.
pub(super) struct Given<'a> {
    /// Where the operator stands, for attributes that are missing.
    at: usize,
    left: Vec<(usize, &'a str, Attr<'a>)>,
    asked: Vec<&'static str>,
}

impl<'a> Given<'a> {
    pub fn new(at: usize, attrs: Vec<(usize, &'a str, Attr<'a>)>) -> Self {
        Given { at, left: attrs, asked: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<(usize, Attr<'a>)> {
        self.asked.push(name);
        let i = self.left.iter().position(|(_, n, _)| *n == name)?;
        let (at, _, attr) = self.left.remove(i);
        Some((at, attr))
    }

    fn required<T>(&self, name: &str, found: Option<T>) -> Scanned<T> {
        found.ok_or_else(|| Problem::new(self.at, format!("expected the attribute '{name}', found none")))
    }

    fn flag(&mut self, name: &'static str) -> Scanned<bool> {
        match self.take(name) {
            None => Ok(false),
            Some((_, Attr::Flag)) => Ok(true),
            Some((at, _)) => Err(Problem::new(at, format!("'{name}' takes no value"))),
        }
    }

    /// A single token, read by `of`.
    fn one<T>(&mut self, name: &'static str, of: impl Fn(&str) -> Result<T>) -> Scanned<Option<T>> {
        match self.take(name) {
            None => Ok(None),
            Some((at, Attr::Token(t))) => of(&t).map(Some).map_err(|e| about(at, name, &e)),
            Some((at, _)) => Err(Problem::new(at, format!("expected one value for '{name}'"))),
        }
    }

    /// A list of tokens, each read by `of`.
    fn many<T>(&mut self, name: &'static str, of: impl Fn(&str) -> Result<T>) -> Scanned<Option<Vec<T>>> {
        match self.take(name) {
            None => Ok(None),
            Some((at, Attr::List(ts))) => {
                ts.iter().map(|t| of(t)).collect::<Result<Vec<T>>>().map(Some).map_err(|e| about(at, name, &e))
            }
            Some((at, _)) => Err(Problem::new(at, format!("expected a list such as [1, 2] for '{name}'"))),
        }
    }

    fn text(&mut self, name: &'static str) -> Scanned<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some((_, Attr::Text(s))) => Ok(Some(s)),
            Some((at, _)) => Err(Problem::new(at, format!("expected a string in quotes for '{name}'"))),
        }
    }

    fn float(&mut self, name: &'static str, usual: f32) -> Scanned<f32> {
        Ok(self.one(name, f32_of)?.unwrap_or(usual))
    }

    fn int<T: TryFrom<i128>>(&mut self, name: &'static str) -> Scanned<Option<T>> {
        self.one(name, int_of)
    }

    fn ints<T: TryFrom<i128>>(&mut self, name: &'static str) -> Scanned<Vec<T>> {
        let found = self.many(name, int_of)?;
        self.required(name, found)
    }

    /// One of these words.
    fn word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Scanned<Option<T>> {
        self.one(name, |t| match words.iter().find(|(w, _)| *w == t) {
            Some((_, x)) => Ok(*x),
            None => {
                let known: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                bail!("expected one of {}, found '{t}'", known.join(", "))
            }
        })
    }

    fn rounding(&mut self, usual: Rounding) -> Scanned<Rounding> {
        Ok(self.one("rounding", |t| t.parse().map_err(|e| Error::new(format!("{e}, found '{t}'"))))?.unwrap_or(usual))
    }

    /// Nothing may be left when the operator has taken its attributes.
    fn finish(self, op: &str) -> Scanned<()> {
        let Some((at, name, _)) = self.left.first() else { return Ok(()) };
        let message = match self.asked.contains(name) {
            true => format!("the attribute '{name}' is given twice"),
            false => format!("{op} has no attribute '{name}'{}", did_you_mean(name, &self.asked)),
        };
        Err(Problem::new(*at, message))
    }
}

fn about(at: usize, name: &str, e: &Error) -> Problem {
    Problem::new(at, format!("attribute '{name}': {}", e.message()))
}

/// The operator of this name with these attributes. `rank` is the first operand's, for usual values of windows.
pub(super) fn operator(name: &str, mut given: Given<'_>, rank: usize) -> Scanned<Op> {
    let Some(op) = Op::named(name) else {
        let message = format!("no operator is named '{name}'{}", super::operator_meant(name));
        return Err(Problem::new(given.at, message));
    };
    let op = build(op, &mut given, rank.saturating_sub(2))?;
    given.finish(name)?;
    Ok(op)
}

/// The operator of this name with these attributes, as they stand in the text form; those with a usual value may be left
/// out. `rank` is the first operand's.
pub fn op_of(name: &str, attributes: Vec<(&str, Attr<'_>)>, rank: usize) -> Result<Op> {
    let given = Given::new(0, attributes.into_iter().map(|(name, value)| (0, name, value)).collect());
    operator(name, given, rank).map_err(|problem| Error::new(problem.message))
}

fn build(op: Op, a: &mut Given<'_>, spatial: usize) -> Scanned<Op> {
    Ok(match op {
        Op::Conv(_) => Op::Conv(Conv {
            strides: a.many("strides", int_of)?.unwrap_or_else(|| vec![1; spatial]),
            pads: a.many("pads", int_of)?.unwrap_or_else(|| vec![0; 2 * spatial]),
            dilations: a.many("dilations", int_of)?.unwrap_or_else(|| vec![1; spatial]),
            group: a.int("group")?.unwrap_or(1),
        }),
        Op::MatMul(_) => Op::MatMul(MatMul { trans_b: a.flag("trans_b")? }),
        Op::BatchNorm { .. } => Op::BatchNorm { epsilon: a.float("epsilon", 1e-5)? },
        Op::LayerNorm { .. } => {
            Op::LayerNorm { axis: a.int("axis")?.unwrap_or(-1), epsilon: a.float("epsilon", 1e-5)? }
        }
        Op::Softmax { .. } => Op::Softmax { axis: a.int("axis")?.unwrap_or(-1) },
        Op::Clip { .. } => Op::Clip { min: a.float("min", f32::NEG_INFINITY)?, max: a.float("max", f32::INFINITY)? },
        Op::Cast { .. } => {
            let to = a.one("to", |t| t.parse::<DType>())?;
            Op::Cast { to: a.required("to", to)? }
        }
        Op::MaxPool(_) => Op::MaxPool(pool(a)?),
        Op::AvgPool(_) => Op::AvgPool(pool(a)?),
        Op::Reduce(r) => reduce(r.kind, a)?,
        Op::CumSum(_) => {
            let axis = a.int("axis")?;
            Op::CumSum(CumSum {
                axis: a.required("axis", axis)?,
                exclusive: a.flag("exclusive")?,
                reverse: a.flag("reverse")?,
            })
        }
        Op::Concat { .. } => {
            let axis = a.int("axis")?;
            Op::Concat { axis: a.required("axis", axis)? }
        }
        Op::Split { .. } => Op::Split { axis: a.int("axis")?.unwrap_or(0), sizes: a.ints("sizes")? },
        Op::Slice(_) => slice(a)?,
        Op::Pad(_) => pad(a)?,
        Op::Reshape { .. } => Op::Reshape { dims: a.ints("dims")? },
        Op::Flatten { .. } => Op::Flatten { axis: a.int("axis")?.unwrap_or(1) },
        Op::Squeeze { .. } => Op::Squeeze { axes: a.ints("axes")? },
        Op::Unsqueeze { .. } => Op::Unsqueeze { axes: a.ints("axes")? },
        Op::Transpose { .. } => Op::Transpose { perm: a.ints("perm")? },
        Op::Gather { .. } => Op::Gather { axis: a.int("axis")?.unwrap_or(0) },
        Op::GatherElements { .. } => Op::GatherElements { axis: a.int("axis")?.unwrap_or(0) },
        Op::GatherNd { .. } => Op::GatherNd { batch_dims: a.int("batch_dims")?.unwrap_or(0) },
        Op::ScatterElements { .. } => Op::ScatterElements {
            axis: a.int("axis")?.unwrap_or(0),
            reduction: a.word("reduction", &SCATTER)?.unwrap_or_default(),
        },
        Op::ScatterNd { .. } => Op::ScatterNd { reduction: a.word("reduction", &SCATTER)?.unwrap_or_default() },
        Op::TopK(_) => {
            let k = a.int("k")?;
            Op::TopK(TopK {
                axis: a.int("axis")?.unwrap_or(-1),
                k: a.required("k", k)?,
                largest: a.flag("largest")?,
                sorted: a.flag("sorted")?,
            })
        }
        Op::Expand { .. } => Op::Expand { dims: a.ints("dims")? },
        Op::Resize(_) => sampling::resize(a)?,
        Op::GridSample(_) => sampling::grid(a)?,
        Op::RoiAlign(_) => sampling::roi(a)?,
        Op::NonMaxSuppression(_) => sampling::suppression(a)?,
        Op::Quantize { .. } => Op::Quantize { rounding: a.rounding(Rounding::HalfEven)? },
        Op::Requantize(_) => Op::Requantize(rescale(a)?),
        Op::QAdd(_) => Op::QAdd(rescale(a)?),
        Op::QMul(_) => Op::QMul(rescale(a)?),
        Op::QAvgPool(_) => {
            let windowed = a.left.iter().any(|(_, name, _)| *name == "kernel");
            let pool = if windowed { Some(pool(a)?) } else { None };
            Op::QAvgPool(QAvgPool { pool, rescale: rescale(a)? })
        }
        Op::Simulate(_) => Op::Simulate(simulate(a)?),
        Op::Custom(_) => {
            let id = a.text("op")?;
            Op::Custom(CustomId(a.required("op", id)?.into()))
        }
        Op::Recurrent(r) => Op::Recurrent(recurrent(r.cell, a)?),
        Op::Unary(f) => Op::Unary(unary(f, a)?),
        Op::Relu | Op::Binary(_) | Op::Where | Op::GlobalAvgPool | Op::Identity | Op::Dequantize | Op::Table => op,
    })
}

/// Functions by name, and the parameters of all of them in one list.
fn recurrent(cell: Cell, a: &mut Given<'_>) -> Scanned<Recurrent> {
    let hidden: Option<usize> = a.int("hidden")?;
    let hidden = a.required("hidden", hidden)?;
    let name = |t: &str| match Op::named(t) {
        Some(Op::Unary(f)) => Ok(f),
        _ => bail!("expected a function of one element, found '{t}'"),
    };
    let functions: Option<Vec<Unary>> = a.many("functions", name)?;
    let mut left = a.many("parameters", f32_of)?.unwrap_or_default().into_iter();
    let activations = a.required("functions", functions)?.into_iter().map(|f| f.with(|| left.next().unwrap_or(0.0)));
    let activations = activations.collect();
    let clip = a.float("clip", f32::INFINITY)?;
    Ok(Recurrent { cell, hidden, reverse: a.flag("reverse")?, activations, clip })
}

fn unary(f: Unary, a: &mut Given<'_>) -> Scanned<Unary> {
    Ok(match f {
        Unary::HardSigmoid { .. } => Unary::HardSigmoid { alpha: a.float("alpha", 0.2)?, beta: a.float("beta", 0.5)? },
        Unary::LeakyRelu { .. } => Unary::LeakyRelu { alpha: a.float("alpha", 0.01)? },
        Unary::Elu { .. } => Unary::Elu { alpha: a.float("alpha", 1.0)? },
        Unary::Selu { .. } => {
            Unary::Selu { alpha: a.float("alpha", 1.673_263_2)?, gamma: a.float("gamma", 1.050_701)? }
        }
        Unary::Celu { .. } => Unary::Celu { alpha: a.float("alpha", 1.0)? },
        Unary::ThresholdedRelu { .. } => Unary::ThresholdedRelu { alpha: a.float("alpha", 1.0)? },
        // Those without attributes.
        f => f,
    })
}

fn pool(a: &mut Given<'_>) -> Scanned<Pool> {
    let kernel: Vec<usize> = a.ints("kernel")?;
    let axes = kernel.len();
    Ok(Pool {
        kernel,
        strides: a.many("strides", int_of)?.unwrap_or_else(|| vec![1; axes]),
        pads: a.many("pads", int_of)?.unwrap_or_else(|| vec![0; 2 * axes]),
        dilations: a.many("dilations", int_of)?.unwrap_or_else(|| vec![1; axes]),
        ceil_mode: a.flag("ceil_mode")?,
        count_include_pad: a.flag("count_include_pad")?,
    })
}

fn reduce(kind: ReduceKind, a: &mut Given<'_>) -> Scanned<Op> {
    let axes = a.many("axes", int_of)?.unwrap_or_default();
    Ok(Op::Reduce(Reduce { kind, axes, keep_dims: a.flag("keep_dims")? }))
}

fn slice(a: &mut Given<'_>) -> Scanned<Op> {
    let axes: Vec<i64> = a.ints("axes")?;
    let starts: Vec<i64> = a.ints("starts")?;
    let ends: Vec<i64> = a.ints("ends")?;
    let steps: Vec<i64> = a.many("steps", int_of)?.unwrap_or_else(|| vec![1; axes.len()]);
    if [starts.len(), ends.len(), steps.len()].iter().any(|n| *n != axes.len()) {
        let message = "expected as many starts, ends and steps as axes".to_string();
        return Err(Problem::new(a.at, message));
    }
    let bounds = starts.into_iter().zip(ends).zip(steps);
    let axes = axes.into_iter().zip(bounds);
    Ok(Op::Slice(axes.map(|(axis, ((start, end), step))| SliceAxis { axis, start, end, step }).collect()))
}

fn pad(a: &mut Given<'_>) -> Scanned<Op> {
    let (begins, ends) = (a.ints("begins")?, a.ints("ends")?);
    let modes = [
        ("constant", PadMode::Constant(0.0)),
        ("reflect", PadMode::Reflect),
        ("edge", PadMode::Edge),
        ("wrap", PadMode::Wrap),
    ];
    let mode = match a.word("mode", &modes)? {
        None | Some(PadMode::Constant(_)) => PadMode::Constant(a.float("value", 0.0)?),
        Some(mode @ (PadMode::Reflect | PadMode::Edge | PadMode::Wrap)) => mode,
    };
    Ok(Op::Pad(Pad { begins, ends, mode }))
}

fn rescale(a: &mut Given<'_>) -> Scanned<Rescale> {
    let method: Method =
        a.one("method", |t| t.parse().map_err(|e| Error::new(format!("{e}, found '{t}'"))))?.unwrap_or_default();
    Ok(Rescale { method, rounding: a.rounding(method.default_rounding())? })
}

fn simulate(a: &mut Given<'_>) -> Scanned<Request> {
    let (axis, block) = (a.int("axis")?, a.int("block")?);
    Ok(Request {
        kind: a.word("kind", &KINDS)?.unwrap_or(Kind::Input),
        bits: a.int("bits")?.unwrap_or(8),
        signed: a.flag("signed")?,
        symmetric: a.flag("symmetric")?,
        narrow: a.flag("narrow")?,
        sharing: match (axis, block) {
            (None, None) => Sharing::Tensor,
            (Some(axis), None) => Sharing::Channel(axis),
            (axis, Some(size)) => Sharing::Block { axis: a.required("axis", axis)?, size },
        },
        scale: if a.flag("power_of_two")? { ScaleForm::PowerOfTwo } else { ScaleForm::Float },
        rounding: a.rounding(Rounding::HalfEven)?,
        observer: a.text("observer")?.unwrap_or_else(|| "minmax".into()).into(),
    })
}
