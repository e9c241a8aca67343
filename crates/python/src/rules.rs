//! Rules written in Python: for an operator, which operands of its calls are made narrow, and how.

use crate::call::{Call, Value};
use crate::callbacks::{Callbacks, described, raised, wrong};
use crate::config::Config;
use crate::interpreter::attached;
use lowbit::quantization::{Annotator, Call as Asked, Decision, rules};
use lowbit::{Error, Result, Rules};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a rule knows besides the call.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Context {
    /// The choices in force.
    #[pyo3(get)]
    config: Config,
    /// What a rule gives that wants the standard rule to decide.
    #[pyo3(get)]
    standard: Py<Standard>,
}

/// Stands for the decision of the standard rule.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Standard;

#[pymethods]
impl Standard {
    fn __repr__(&self) -> &'static str {
        "<lowbit: what the standard rule says>"
    }
}

/// A rule of Python's, and whether it was asked.
#[derive(Debug)]
pub struct Own {
    /// Its operator.
    pub op: String,
    /// Its function, and where that is.
    pub who: String,
    asked: Arc<AtomicBool>,
}

impl Own {
    /// Whether it was asked about any call.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The standard rules, and Python's functions by operator in place of theirs.
pub fn rules(functions: &Bound<'_, PyDict>, callbacks: &Callbacks) -> PyResult<(Rules, Vec<Own>)> {
    let mut own = Vec::new();
    let rules = functions.iter().try_fold(Rules::standard(), |all, (op, function)| {
        let (op, callbacks) = (op.extract::<String>()?, callbacks.clone());
        let asked = Arc::new(AtomicBool::new(false));
        let who = described("the rule", &function);
        // Files carry the name of the rule, so it says nothing of whose machine it was on.
        let name = function.getattr("__name__").map_or_else(|_| "a rule".into(), |name| name.to_string());
        let function = function.unbind();
        own.push(Own { op: op.clone(), who: who.clone(), asked: asked.clone() });
        Ok::<_, PyErr>(all.override_op_by(&op, &name, move |call, cx| {
            asked.store(true, Ordering::Relaxed);
            apply(&function, call, cx, &who, &callbacks)
        }))
    })?;
    Ok((rules, own))
}

/// What a rule decided, while Python was there to be asked.
enum Said {
    Float,
    Standard,
    Simulated(Vec<Value>),
}

fn apply(function: &Py<PyAny>, call: &Asked, cx: &mut Annotator, who: &str, callbacks: &Callbacks) -> Result<Decision> {
    let said = attached(|py| -> Result<Said> {
        let asked = || -> PyResult<_> {
            let asked = Bound::new(py, Call::of(py, cx.graph(), call)?)?;
            let standard = Py::new(py, Standard)?;
            let context = Bound::new(py, Context { config: Config::in_force(cx.config().clone()), standard })?;
            let args = PyList::new(py, asked.get().args.clone())?;
            let arguments = vec![asked.clone().into_any(), args.into_any(), context.into_any()];
            Ok((callbacks.call(py, function.bind(py), arguments)?, asked))
        };
        let (said, asked) = asked().map_err(|e| raised(py, "RuleError", e, who))?;
        if said.is_none() {
            return Ok(Said::Float);
        }
        if said.is_instance_of::<Standard>() {
            return Ok(Said::Standard);
        }
        let wrong = |message: String| wrong("RuleError", Error::new(message), who);
        let Ok(said) = said.cast::<Call>() else {
            return Err(wrong(format!(
                "expected a lowbit.Call over simulated values, or None to leave it in float, found {}",
                said.repr().map_or_else(|_| said.get_type().to_string(), |r| r.to_string())
            )));
        };
        let said = said.get();
        let other = said.check_same(py, &call.op).map_err(|e| raised(py, "RuleError", e, who))?;
        if let Some(other) = other {
            return Err(wrong(format!("{other}: a rule says what a call reads, and leaves the rest as it is")));
        }
        let (expected, found) = (asked.get().args.len(), said.args.len());
        if expected != found {
            let bias = if call.op.is_layer() { " (a bias stays with the call)" } else { "" };
            return Err(wrong(format!("expected {expected} arguments of {}, found {found}{bias}", call.op.name())));
        }
        let own = |(a, b): (&Value, &Value)| Arc::ptr_eq(&a.of, &b.of) && a.id == b.id;
        if let Some(i) = (0..found).find(|i| !own((&asked.get().args[*i], &said.args[*i]))) {
            let (wanted, given) = (&asked.get().args[i].name, &said.args[i].name);
            return Err(wrong(format!(
                "expected '{wanted}' as argument {i}, as it was given to the rule, found '{given}', which is another value: \
                 a rule says how what a call reads is made narrow, not what it reads"
            )));
        }
        if said.args.iter().all(|a| a.simulate.is_none()) {
            return Err(wrong(
                "expected a simulated value among the arguments, found none: None leaves the call in float".into(),
            ));
        }
        Ok(Said::Simulated(said.args.clone()))
    })?;
    match said {
        Said::Float => Ok(Decision::Float("the rule gave None".into())),
        Said::Standard => (rules::standard(&call.op).run)(call, cx),
        Said::Simulated(args) => {
            let operand = |a: &Value, cx: &mut Annotator| match &a.simulate {
                Some((kind, spec)) => cx.simulate(a.id, *kind, spec.clone()),
                None => Ok(a.id),
            };
            let operands = args.iter().map(|a| operand(a, cx)).collect::<Result<Vec<_>>>();
            let operands = operands.map_err(|e| wrong("RuleError", e, who))?;
            let kept = || {
                if call.op.is_layer() {
                    // How wide its result may be is no question of what it reads.
                    cx.simulate_activation(call)?;
                }
                cx.keep(call, operands)
            };
            kept().map_err(|e| wrong("RuleError", e, who))
        }
    }
}
