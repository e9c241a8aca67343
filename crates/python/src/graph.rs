//! Graphs: to look at, and in a pass to change.

use crate::array;
use crate::callbacks::{Callbacks, described, raised, wrong};
use crate::error::During;
use crate::interpreter::{attached, entered};
use crate::job;
use crate::model::Model;
use crate::types::{ValueType, told};
use lowbit::ir::suggest::did_you_mean;
use lowbit::ir::text::{self, Attr, Constants};
use lowbit::ir::{self, Customs, Def, NodeId, Op, ValueId, infer};
use lowbit::{Error, Passes, Phase, Result};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use std::sync::{Mutex, MutexGuard, TryLockError};

/// A graph of operators and values, which go by their names.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Graph {
    /// None once the pass has ended that it was given to.
    graph: Mutex<Option<ir::Graph>>,
    customs: Customs,
    /// Whether it is a copy, which nobody would look at if it were changed.
    is_copy: bool,
}

/// An operator applied to values.
#[pyclass(frozen, module = "lowbit")]
#[derive(Debug)]
pub struct Node {
    /// Its name.
    #[pyo3(get)]
    name: String,
    /// The operator's name.
    #[pyo3(get)]
    op: &'static str,
    /// The operator's attributes, by name.
    #[pyo3(get)]
    attrs: Py<PyDict>,
    /// Names of what it reads; None for what is left out.
    #[pyo3(get)]
    inputs: Vec<Option<String>>,
    /// Names of what it computes.
    #[pyo3(get)]
    outputs: Vec<String>,
    /// The rule that made it what it is, if any did.
    #[pyo3(get)]
    rule: Option<String>,
}

#[pymethods]
impl Node {
    fn __repr__(&self, py: Python<'_>) -> String {
        let inputs: Vec<&str> = self.inputs.iter().map(|i| i.as_deref().unwrap_or("_")).collect();
        let attrs = self.attrs.bind(py);
        let attrs = if attrs.is_empty() { String::new() } else { format!(" {attrs}") };
        format!("<lowbit.Node '{}': {}({}){attrs}>", self.name, self.op, inputs.join(", "))
    }
}

/// The attributes of an operator as Python has them.
pub fn attributes<'py>(py: Python<'py>, op: &Op) -> PyResult<Bound<'py, PyDict>> {
    fn one<'py>(py: Python<'py>, token: &str) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(i) = token.parse::<i64>() {
            return Ok(i.into_pyobject(py)?.into_any());
        }
        match token.parse::<f64>() {
            Ok(f) => Ok(f.into_pyobject(py)?.into_any()),
            Err(_) => Ok(token.into_pyobject(py)?.into_any()),
        }
    }
    let dict = PyDict::new(py);
    for (name, value) in text::attributes(op) {
        let value = match value {
            Attr::Flag => PyBool::new(py, true).to_owned().into_any(),
            Attr::Token(token) => one(py, &token)?,
            Attr::Text(text) => text.into_pyobject(py)?.into_any(),
            Attr::List(tokens) => {
                let items = tokens.iter().map(|t| one(py, t)).collect::<PyResult<Vec<_>>>()?;
                pyo3::types::PyList::new(py, items)?.into_any()
            }
        };
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// An attribute as the text form has it; none for a flag that is off.
fn attr(op: &str, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Attr<'static>>> {
    let token = |v: &Bound<'_, PyAny>| -> PyResult<String> {
        match v.is_instance_of::<PyInt>() || v.is_instance_of::<PyFloat>() {
            true => Ok(v.str()?.to_string()),
            false => v.extract(),
        }
    };
    Ok(if value.is_instance_of::<PyBool>() {
        value.extract::<bool>()?.then_some(Attr::Flag)
    } else if value.is_instance_of::<PyString>() {
        let text: String = value.extract()?;
        // The only strings in quotes are names of the user's.
        Some(if op == "Custom" && name == "op" { Attr::Text(text) } else { Attr::Token(text.into()) })
    } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        Some(Attr::Token(token(value)?.into()))
    } else {
        let tokens = value.try_iter().and_then(|items| items.map(|i| token(&i?).map(Into::into)).collect());
        let tokens = tokens.map_err(|_| {
            PyTypeError::new_err(format!("expected a number, a word or a list of them for '{name}', found {value}"))
        });
        Some(Attr::List(tokens?))
    })
}

/// So many nodes are made between two looks for signals.
const LOOK: usize = 256;

impl Graph {
    /// A copy to look at.
    pub fn copy(graph: ir::Graph, of: &Model) -> Graph {
        Graph { is_copy: true, ..Graph::lent(graph, of.model.operators()) }
    }

    /// The graph itself, to be changed.
    fn lent(graph: ir::Graph, customs: &Customs) -> Graph {
        Graph { graph: Mutex::new(Some(graph)), customs: customs.clone(), is_copy: false }
    }

    /// The graph, unless somebody works on it: to wait for that, with the interpreter held, could be for ever.
    fn lock(&self) -> Result<MutexGuard<'_, Option<ir::Graph>>> {
        match self.graph.try_lock() {
            Ok(graph) => Ok(graph),
            Err(TryLockError::Poisoned(e)) => Ok(e.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::new("the graph is being worked on")
                .hint("one thread at a time, and no operator of your own that uses the graph while it is asked")),
        }
    }

    /// Works on the graph, if it is still there.
    fn with<T>(&self, work: impl FnOnce(&mut ir::Graph) -> Result<T>) -> PyResult<T> {
        let gone = || {
            Error::new("the graph is gone: a pass may use it until it returns").hint("keep what you read of it instead")
        };
        let found = self.lock().and_then(|mut graph| graph.as_mut().ok_or_else(gone).and_then(work));
        found.map_err(|e| During::Model.raise(&e))
    }

    /// Changes the graph, unless it is a copy.
    fn change<T>(&self, work: impl FnOnce(&mut ir::Graph) -> Result<T>) -> PyResult<T> {
        self.with(|g| match self.is_copy {
            false => work(g),
            true => Err(Error::new("expected a graph that a pass was given, found a copy of one, to look at")
                .hint("change it in a pass: quantize(..., passes=[...])")),
        })
    }
}

fn value_named(g: &ir::Graph, name: &str) -> Result<ValueId> {
    g.find(name).ok_or_else(|| {
        let near = did_you_mean(name, g.values().map(|(_, v)| v.name.as_str()));
        Error::new(format!("the graph has no value '{name}'{near}"))
    })
}

fn node_named(g: &ir::Graph, name: &str) -> Result<NodeId> {
    g.nodes().find(|(_, n)| n.name == name).map(|(id, _)| id).ok_or_else(|| {
        let near = did_you_mean(name, g.nodes().map(|(_, n)| n.name.as_str()));
        Error::new(format!("the graph has no node '{name}'{near}"))
    })
}

fn names(g: &ir::Graph, values: &[ValueId]) -> Vec<String> {
    values.iter().map(|v| g.value(*v).name.clone()).collect()
}

fn node(py: Python<'_>, g: &ir::Graph, id: NodeId) -> PyResult<Node> {
    let node = g.node(id);
    Ok(Node {
        name: node.name.clone(),
        op: node.op.name(),
        attrs: attributes(py, &node.op)?.unbind(),
        inputs: node.inputs.iter().map(|v| v.map(|v| g.value(v).name.clone())).collect(),
        outputs: names(g, &node.outputs),
        rule: node.rule.as_ref().map(|rule| rule.to_string()),
    })
}

#[pymethods]
impl Graph {
    /// A graph from its text form.
    #[staticmethod]
    fn parse(py: Python<'_>, text: String) -> PyResult<Graph> {
        let graph = job::run(py, During::Model, None, &[], move |_| text::parse(&text))?;
        Ok(Graph { is_copy: true, ..Graph::lent(graph, &Customs::default()) })
    }

    /// Its name.
    #[getter]
    fn name(&self) -> PyResult<String> {
        self.with(|g| Ok(g.name.clone()))
    }

    /// Names of the values that are given at every run.
    #[getter]
    fn inputs(&self) -> PyResult<Vec<String>> {
        self.with(|g| Ok(names(g, &g.inputs)))
    }

    /// Names of the results.
    #[getter]
    fn outputs(&self) -> PyResult<Vec<String>> {
        self.with(|g| Ok(names(g, &g.outputs)))
    }

    /// Its nodes, in an order in which they can be computed.
    #[getter]
    fn nodes(&self, py: Python<'_>) -> PyResult<Vec<Node>> {
        let _inside = entered(py);
        let graph = self.with(|g| Ok(g.clone()))?;
        let one = |(i, id): (usize, &NodeId)| {
            if i % LOOK == 0 {
                py.check_signals()?;
            }
            node(py, &graph, *id)
        };
        graph.order().iter().enumerate().map(one).collect()
    }

    /// The node of this name.
    fn node(&self, py: Python<'_>, name: &str) -> PyResult<Node> {
        let found = self.with(|g| Ok((node_named(g, name)?, g.clone())))?;
        node(py, &found.1, found.0)
    }

    /// The names of its constants.
    #[getter]
    fn constants(&self) -> PyResult<Vec<String>> {
        self.with(|g| {
            Ok(g.values().filter(|(_, v)| matches!(v.def, Def::Const(_))).map(|(_, v)| v.name.clone()).collect())
        })
    }

    /// What a value is.
    #[pyo3(name = "type")]
    fn ty(&self, name: &str) -> PyResult<ValueType> {
        self.with(|g| Ok(ValueType::of(g.ty(value_named(g, name)?))))
    }

    /// The quantization of a value: scale, zero_point, qmin, qmax and the axis of the scales; None of what has none.
    fn quantization<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(q) = self.with(|g| Ok(g.ty(value_named(g, name)?).quant.clone()))? else { return Ok(None) };
        let dict = PyDict::new(py);
        dict.set_item("scale", numpy::PyArray1::from_slice(py, &q.scale))?;
        dict.set_item("zero_point", numpy::PyArray1::from_slice(py, &q.zero_point))?;
        dict.set_item("qmin", q.qmin)?;
        dict.set_item("qmax", q.qmax)?;
        dict.set_item(
            "axis",
            match q.granularity {
                ir::Granularity::Channel { axis } => Some(axis),
                ir::Granularity::Block { axis, .. } => Some(axis),
                ir::Granularity::Tensor => None,
            },
        )?;
        dict.set_item(
            "block",
            match q.granularity {
                ir::Granularity::Block { size, .. } => Some(size),
                ir::Granularity::Channel { .. } | ir::Granularity::Tensor => None,
            },
        )?;
        Ok(Some(dict))
    }

    /// The node that computes a value; None of inputs and constants.
    fn producer(&self, py: Python<'_>, name: &str) -> PyResult<Option<Node>> {
        let (graph, id) = self.with(|g| Ok((g.clone(), g.producer(value_named(g, name)?))))?;
        id.map(|id| node(py, &graph, id)).transpose()
    }

    /// The nodes that read a value.
    fn readers(&self, py: Python<'_>, name: &str) -> PyResult<Vec<Node>> {
        let (graph, value) = self.with(|g| Ok((g.clone(), value_named(g, name)?)))?;
        graph.users().of(value).iter().map(|(id, _)| node(py, &graph, *id)).collect()
    }

    /// The elements of a constant; None of what is none.
    fn constant<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let tensor = self.with(|g| Ok(g.constant(value_named(g, name)?).cloned()))?;
        tensor.map(|tensor| array::array(py, &tensor)).transpose()
    }

    /// Gives a constant other elements, of its type and sizes.
    fn set_constant(&self, name: &str, elements: &Bound<'_, PyAny>) -> PyResult<()> {
        let _inside = entered(elements.py());
        let like = self.with(|g| {
            let value = value_named(g, name)?;
            g.constant(value).cloned().ok_or_else(|| Error::new("expected a constant").at_value(name))
        })?;
        let tensor = array::tensor_like(elements, &like)?;
        self.change(|g| {
            let tensor = tensor.map_err(|e| e.at_value(name))?;
            let value = value_named(g, name)?;
            g.set_const(value, tensor);
            Ok(())
        })
    }

    /// Adds a constant, and gives the name that it got.
    fn add_constant(&self, name: &str, elements: &Bound<'_, PyAny>) -> PyResult<String> {
        let _inside = entered(elements.py());
        let tensor = array::tensor(elements)?;
        self.change(|g| {
            let value = g.add_const(name, tensor);
            Ok(g.value(value).name.clone())
        })
    }

    /// Adds a node, and gives the names of its results.
    #[pyo3(signature = (op, inputs, attrs = None, name = None))]
    fn add_node(
        &self,
        py: Python<'_>,
        op: &str,
        inputs: Vec<Option<String>>,
        attrs: Option<&Bound<'_, PyDict>>,
        name: Option<&str>,
    ) -> PyResult<Vec<String>> {
        let _inside = entered(py);
        let op = text::canonical(op).unwrap_or(op);
        let named = attrs.map(|attrs| attrs.iter().map(|(k, v)| Ok((k.extract::<String>()?, v))).collect());
        let named: Vec<(String, Bound<'_, PyAny>)> = named.unwrap_or_else(|| Ok(Vec::new())).map_err(|e: PyErr| e)?;
        let mut given = Vec::new();
        for (key, value) in &named {
            given.extend(attr(op, key, value)?.map(|value| (key.as_str(), value)));
        }
        self.change(|g| {
            let find = |name: &Option<String>| name.as_ref().map(|name| value_named(g, name)).transpose();
            let inputs = inputs.iter().map(find).collect::<Result<Vec<_>>>()?;
            let rank = inputs.first().copied().flatten().map_or(0, |v| g.ty(v).shape.rank());
            let made = text::op_of(op, given, rank)?;
            let types: Vec<Option<&ir::Type>> = inputs.iter().map(|v| v.map(|v| g.ty(v))).collect();
            let types = infer::infer(&made, &types, &[], &self.customs)?;
            let name = name.unwrap_or(op);
            let outputs: Vec<(&str, ir::Type)> = types.into_iter().map(|ty| (name, ty)).collect();
            let id = g.add_node(name, made, inputs, &outputs);
            Ok(names(g, &g.node(id).outputs))
        })
    }

    /// Makes whoever reads `old`, and the results, read `new` instead; the node that computes `new` may go on reading
    /// `old`. A result keeps its name.
    fn replace(&self, old: &str, new: &str) -> PyResult<()> {
        self.change(|g| {
            let (old, new) = (value_named(g, old)?, value_named(g, new)?);
            // A result has a name of its own, so what is known by another one gets a node that gives it.
            let new = match g.is_output(old) && (g.producer(new).is_none() || g.is_output(new)) {
                true => infer::apply(g, "same", Op::Identity, &[Some(new)])?,
                false => new,
            };
            let itself = g.producer(new);
            for (node, i) in g.users().of(old).to_vec() {
                if Some(node) != itself {
                    g.set_input(node, i, Some(new));
                }
            }
            if g.is_output(old) {
                g.outputs.iter_mut().filter(|v| **v == old).for_each(|v| *v = new);
                g.take_name(new, old);
            }
            g.sort()
        })
    }

    /// Makes operand `i` of a node another value, or none.
    #[pyo3(signature = (node, i, value))]
    fn set_input(&self, node: &str, i: usize, value: Option<&str>) -> PyResult<()> {
        self.change(|g| {
            let node = node_named(g, node)?;
            let value = value.map(|value| value_named(g, value)).transpose()?;
            if i > g.node(node).inputs.len() {
                let found = g.node(node).inputs.len();
                return Err(
                    Error::new(format!("expected an operand up to {found}, found {i}")).at_node(&g.node(node).name)
                );
            }
            g.set_input(node, i, value);
            g.sort()
        })
    }

    /// Its text form; large constants as size and hash, unless all is wanted.
    #[pyo3(signature = (full = false))]
    fn text(&self, py: Python<'_>, full: bool) -> PyResult<String> {
        let graph = self.with(|g| Ok(g.clone()))?;
        let constants = if full { Constants::Full } else { Constants::Elided };
        job::run(py, During::Model, None, &[], move |_| Ok(text::print_with(&graph, constants)))
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        self.text(py, false)
    }

    fn __len__(&self) -> PyResult<usize> {
        self.with(|g| Ok(g.order().len()))
    }

    fn __repr__(&self) -> String {
        match self.lock().as_deref() {
            Ok(Some(g)) => format!("<lowbit.Graph '{}': {} nodes>", g.name, g.order().len()),
            Ok(None) => "<lowbit.Graph: gone, as its pass has ended>".into(),
            Err(_) => "<lowbit.Graph: being worked on>".into(),
        }
    }

    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let _inside = entered(py);
        py.import("lowbit._html")?.call_method1("graph", (self.nodes(py)?, self.name()?))?.extract()
    }
}

/// The phases by name.
const PHASES: [(&str, Phase); 7] = [
    ("imported", Phase::Imported),
    ("prepared", Phase::Prepared),
    ("equalized", Phase::Equalized),
    ("annotated", Phase::Annotated),
    ("calibrated", Phase::Calibrated),
    ("refined", Phase::Refined),
    ("realized", Phase::Realized),
];

/// Passes of Python functions: a phase, a name and a function that changes a graph each.
pub fn passes(given: &[Bound<'_, PyAny>], customs: &Customs, callbacks: &Callbacks) -> PyResult<Passes> {
    given.iter().try_fold(Passes::default(), |passes, pass| {
        let (phase, name): (String, String) = (pass.getattr("phase")?.extract()?, pass.getattr("name")?.extract()?);
        let function = pass.getattr("function")?;
        let known = || PHASES.iter().map(|(name, _)| *name);
        let Some((_, phase)) = PHASES.iter().find(|(name, _)| *name == phase) else {
            let e = Error::new(format!("no phase is named '{phase}'{}", did_you_mean(&phase, known())));
            return Err(During::Quantize.raise(&e.hint(format!("one of {}", known().collect::<Vec<_>>().join(", ")))));
        };
        let who = described("the pass", &function);
        let (function, customs, callbacks) = (function.unbind(), customs.clone(), callbacks.clone());
        Ok(passes.at(*phase, &name, move |g| change(&function, g, &customs, &who, &callbacks)))
    })
}

fn change(
    function: &Py<PyAny>,
    g: &mut ir::Graph,
    customs: &Customs,
    who: &str,
    callbacks: &Callbacks,
) -> Result<bool> {
    attached(|py| {
        let keep = |e: PyErr| raised(py, "CallbackError", e, who);
        let before = g.clone();
        let lent = Bound::new(py, Graph::lent(std::mem::take(g), customs)).map_err(keep)?;
        let called = callbacks.call(py, function.bind(py), vec![lent.clone().into_any()]);
        let back = lent.get().lock()?.take();
        *g = back.ok_or_else(|| Error::new("the graph is gone"))?;
        let given = called.map_err(keep)?;
        if !given.is_none() && !given.is_instance_of::<PyBool>() {
            let e =
                format!("expected None of a pass, which changes the graph that it is given, found {}", told(&given));
            return Err(wrong("CallbackError", Error::new(e), who));
        }
        infer::refresh(g, customs)?;
        Ok(*g != before)
    })
}
