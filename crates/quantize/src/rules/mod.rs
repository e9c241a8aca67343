//! The annotate rules: for every operator, whether it computes on integers and which operands must be narrow.
//!
//! One function per family of operators; [`standard`] is the table, exhaustive over [`Op`].
//! A user replaces the rule of an operator with a closure: [`Rules::override_op`].

mod element;
mod island;
mod mac;
mod movement;
mod pool;

pub(crate) use mac::dynamic_input;

use crate::annotate::{Annotator, Call, Decision};
use crate::config::Mode;
use lowbit_ir::op::facts::Results;
use lowbit_ir::op::{Binary, Category, ReduceKind, ResizeMode};
use lowbit_ir::text::{OPERATORS, canonical, operator_meant};
use lowbit_ir::{Error, Op, Result, catching};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One way to annotate.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name, which reports carry.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// Annotates a call.
    pub run: fn(&Call, &mut Annotator) -> Result<Decision>,
}

/// Every rule, for lists.
pub static RULES: &[&Rule] = &[
    &mac::CONV,
    &mac::MATMUL,
    &element::LIMIT,
    &element::TABLE,
    &element::ADD,
    &element::MUL,
    &pool::AVERAGE,
    &movement::MOVE,
    &movement::PAD,
    &movement::CONCAT,
    &island::BATCH_NORM,
    &island::LAYER_NORM,
    &island::SOFTMAX,
    &island::LINEAR_RESIZE,
    &island::REDUCE,
    &island::ELEMENT,
    &island::CUSTOM,
    &island::QUANTIZED,
];

/// The rule of an operator.
pub fn standard(op: &Op) -> &'static Rule {
    match op {
        Op::Conv(_) => &mac::CONV,
        Op::MatMul(_) => &mac::MATMUL,
        Op::BatchNorm { .. } => &island::BATCH_NORM,
        Op::LayerNorm { .. } => &island::LAYER_NORM,
        Op::Softmax { .. } => &island::SOFTMAX,
        Op::Relu | Op::Clip { .. } => &element::LIMIT,
        Op::Unary(f) if f.facts().table => &element::TABLE,
        Op::Binary(Binary::Add) => &element::ADD,
        Op::Binary(Binary::Mul) => &element::MUL,
        Op::AvgPool(_) | Op::GlobalAvgPool => &pool::AVERAGE,
        Op::Reduce(r) if matches!(r.kind, ReduceKind::Sum | ReduceKind::Mean) => &island::REDUCE,
        Op::Pad(_) => &movement::PAD,
        Op::Concat { .. } => &movement::CONCAT,
        Op::Resize(r) if !matches!(r.mode, ResizeMode::Nearest(_)) => &island::LINEAR_RESIZE,
        Op::Custom(_) => &island::CUSTOM,
        // Operators without a rule of their own, by what their results are made of.
        op => match (op.category(), op.facts().results) {
            (Category::Quantization, _) => &island::QUANTIZED,
            (Category::Pool | Category::Transform, Results::Elements) => &movement::MOVE,
            (_, Results::Elements | Results::Computed | Results::Integers | Results::Sums) => &island::ELEMENT,
        },
    }
}

/// Whether an operator's result has the quantization of its operand: the same integers, moved, chosen or limited.
pub fn keeps_quantization(op: &Op) -> bool {
    let rule = standard(op).name;
    rule == movement::MOVE.name || rule == movement::PAD.name || rule == element::LIMIT.name
}

type Closure = Arc<dyn Fn(&Call, &mut Annotator) -> Result<Decision> + Send + Sync>;

/// The rules in force: the standard ones, and the user's for some operators.
#[derive(Clone, Default)]
pub struct Rules {
    /// By operator: what a rule is called in reports, and the rule.
    overrides: BTreeMap<String, (Arc<str>, Closure)>,
}

impl Rules {
    /// The standard rules.
    pub fn standard() -> Self {
        Rules::default()
    }

    /// Replaces the rule of the operator of this name, such as `Conv`, or of another spelling of it, such as `nn.conv2d`
    /// (see [`SPELLINGS`](lowbit_ir::text::SPELLINGS)).
    ///
    /// A name that no operator has is an error of [`annotate`](crate::annotate::annotate), before any rule is applied.
    #[must_use]
    pub fn override_op(
        self,
        op: &str,
        rule: impl Fn(&Call, &mut Annotator) -> Result<Decision> + Send + Sync + 'static,
    ) -> Self {
        self.insert(op, None, Arc::new(rule))
    }

    /// As [`Rules::override_op`], by a rule that has a name: reports and files carry it.
    #[must_use]
    pub fn override_op_by(
        self,
        op: &str,
        name: &str,
        rule: impl Fn(&Call, &mut Annotator) -> Result<Decision> + Send + Sync + 'static,
    ) -> Self {
        self.insert(op, Some(name), Arc::new(rule))
    }

    fn insert(mut self, op: &str, name: Option<&str>, rule: Closure) -> Self {
        let op = canonical(op).unwrap_or(op);
        let told = name.map_or_else(|| format!("override {op}"), |name| format!("override {op} ({name})"));
        self.overrides.insert(op.to_string(), (told.into(), rule));
        self
    }

    /// What the rules of the user's are called in reports.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.overrides.values().map(|(name, _)| &**name)
    }

    /// Whether every rule of the user's is for an operator that there is.
    pub(crate) fn check(&self) -> Result<()> {
        match self.overrides.keys().find(|name| !OPERATORS.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!(
                "a rule overrides the operator '{name}', which does not exist{}",
                operator_meant(name)
            ))
            .hint("the names that lowbit list ops gives")),
        }
    }

    /// Applies the rule in force; gives its name and what it decided.
    pub(crate) fn apply(&self, call: &Call, cx: &mut Annotator) -> Result<(Arc<str>, Decision)> {
        let own = self.overrides.get(call.op.name());
        let rule = standard(&call.op);
        let name: Arc<str> = match own {
            Some((name, _)) => name.clone(),
            None => rule.name.into(),
        };
        cx.enter(&name, call);
        let decision = match own {
            Some((_, own)) => catching("the rule", || own(call, cx)),
            None => match without_weights(call, cx) {
                Some(float) => Ok(float),
                None => (rule.run)(call, cx),
            },
        };
        let decision = decision.map_err(|e| e.context(format!("applying the rule '{name}'")))?;
        Ok((name, decision))
    }
}

/// What has no weights stays float where only weights, or what layers read, is quantized.
fn without_weights(call: &Call, cx: &mut Annotator) -> Option<Decision> {
    if matches!(call.op, Op::Conv(_) | Op::MatMul(_)) {
        return None;
    }
    match cx.mode(call) {
        Mode::Static => None,
        mode @ (Mode::Dynamic | Mode::WeightOnly) => {
            Some(Decision::Float(format!("mode = \"{}\": it has no weights", mode.name())))
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "standard rules")?;
        match self.overrides.is_empty() {
            true => Ok(()),
            false => write!(f, ", overridden for {:?}", self.overrides.keys()),
        }
    }
}

/// The reason to stay float of a call whose result nobody reads as integers.
fn follows_readers() -> Decision {
    Decision::Unread("only float operators read its result".into())
}

/// The reason to stay float of a call behind the last layer.
fn leaves_model() -> Decision {
    Decision::Tail("only results of the model depend on it (output = \"wide\")".into())
}
