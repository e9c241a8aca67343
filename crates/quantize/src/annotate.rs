//! Annotate: decide per node whether it computes on integers, and mark the operands that must be narrow for it.
//!
//! Nodes are visited from the outputs back, so a rule knows what the readers of its result want. It puts placeholders
//! ([`Op::Simulate`](lowbit_ir::Op::Simulate)) on operands; two readers that ask the same of a value share one.
//! Between a multiply-accumulate and the Relu or Clip behind it stands none: within one kernel the value stays wide.

use crate::config::{Config, Output};
use crate::prepare::rewrite;
use crate::rules::Rules;
use lowbit_ir::{Error, Graph, Kind, NodeId, Op, Result, Spec, ValueId, check_float_mode};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A node that stays float, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined {
    /// Name of the node.
    pub node: String,
    /// Name of its operator.
    pub op: &'static str,
    /// Name of the rule that declined it.
    pub rule: Arc<str>,
    /// Why.
    pub reason: String,
}

/// Puts placeholders where the rules want narrow values; gives back what the rules declined, in graph order.
pub fn annotate(g: &mut Graph, config: &Config, rules: &Rules) -> Result<Vec<Declined>> {
    check_float_mode()?;
    config.check()?;
    rules.check()?;
    let mut cx = Annotator { g, config, simulated: HashMap::new(), decisions: HashMap::new(), rule: "outputs".into() };
    if config.output == Output::Narrow {
        cx.narrow_outputs()?;
    }
    let mut declined = Vec::new();
    for id in cx.g.order().iter().rev().copied().collect::<Vec<_>>() {
        let Some(call) = Call::of(cx.g, id) else { continue };
        let (name, decision) = rules.apply(&call, &mut cx).map_err(|e| e.at_node(&call.name))?;
        cx.g.node_mut(id).rule = Some(name.clone());
        if let Decision::Float(reason) | Decision::Tail(reason) = &decision {
            let reason = reason.clone();
            declined.push(Declined { node: call.name.clone(), op: call.op.name(), rule: name, reason });
        }
        cx.decisions.insert(id, decision);
        cx.unify_readers(&call);
    }
    declined.reverse();
    Ok(declined)
}

/// What a rule decided about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It computes on integers.
    Integer,
    /// It is computed by the kernel of the node before it, on the wide value.
    Fused,
    /// It stays float, for this reason.
    Float(String),
    /// It stays float, since only results of the model depend on it.
    Tail(String),
}

/// Who reads a value, as far as decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// At least one computes on integers.
    Integer,
    /// All are float, at least one of them in the middle of the graph.
    Float,
    /// All are results of the model, or nodes that lead only there.
    Tail,
}

/// A node as a rule sees it: its operands are data and weight; the bias stays with the call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op: Op,
    /// Its operands, those left out included.
    pub operands: Vec<Option<ValueId>>,
    /// Its first result.
    pub output: ValueId,
}

impl Call {
    /// The call of a node that computes floats; `None` for one that computes shapes, masks or integers.
    fn of(g: &Graph, id: NodeId) -> Option<Self> {
        let node = g.node(id);
        let output = rewrite::output(node)?;
        let quantizes = matches!(node.op, Op::Simulate(_) | Op::Quantize { .. } | Op::Dequantize);
        (g.ty(output).dtype.is_float() && !quantizes).then(|| Call {
            node: id,
            name: node.name.clone(),
            op: node.op.clone(),
            operands: node.inputs.clone(),
            output,
        })
    }

    /// Operand `i`, or an error that says it is missing.
    pub fn operand(&self, i: usize) -> Result<ValueId> {
        let given = self.operands.get(i).copied().flatten();
        given.ok_or_else(|| {
            Error::new(format!("expected an operand {i} of {}, found none", self.op.name())).at_node(&self.name)
        })
    }

    /// What a layer works on.
    pub fn data(&self) -> Result<ValueId> {
        self.operand(0)
    }

    /// What a layer learned.
    pub fn weight(&self) -> Result<ValueId> {
        self.operand(1)
    }
}

/// What a rule can do.
pub struct Annotator<'a> {
    g: &'a mut Graph,
    config: &'a Config,
    simulated: HashMap<(ValueId, Spec), ValueId>,
    decisions: HashMap<NodeId, Decision>,
    rule: Arc<str>,
}

impl Annotator<'_> {
    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        self.g
    }

    /// The choices.
    pub fn config(&self) -> &Config {
        self.config
    }

    /// Says which rule is at work, for the placeholders it makes.
    pub(crate) fn enter(&mut self, rule: &Arc<str>) {
        self.rule = rule.clone();
    }

    /// A narrow form of `value`: one placeholder for all who ask the same.
    pub fn simulate(&mut self, value: ValueId, kind: Kind, spec: Spec) -> Result<ValueId> {
        if !self.g.ty(value).dtype.is_float() {
            let v = self.g.value(value);
            return Err(Error::new(format!("expected a float to quantize, found {}", v.ty)).at_value(&v.name));
        }
        let spec = Spec { kind, ..spec };
        if let Some(found) = self.simulated.get(&(value, spec.clone())) {
            return Ok(*found);
        }
        let (name, ty) = (self.g.value(value).name.clone(), self.g.ty(value).clone());
        let node = format!("{name}.simulate");
        let outputs = [(&*format!("{name}.s"), ty)];
        let (op, inputs) = (Op::Simulate(spec.clone()), vec![Some(value)]);
        let id = match (self.g.producer(value), self.g.order().first().copied()) {
            (Some(producer), _) => self.g.add_node_after(producer, &node, op, inputs, &outputs),
            (None, Some(first)) => self.g.add_node_before(first, &node, op, inputs, &outputs),
            (None, None) => self.g.add_node(&node, op, inputs, &outputs),
        };
        self.g.node_mut(id).rule = Some(self.rule.clone());
        let result = rewrite::output(self.g.node(id)).unwrap_or(value);
        self.simulated.insert((value, spec), result);
        Ok(result)
    }

    /// A narrow form of a value in memory, as the configuration says.
    pub fn simulate_input(&mut self, value: ValueId) -> Result<ValueId> {
        let spec = self.config.input_spec()?;
        self.simulate(value, Kind::Input, spec)
    }

    /// Keeps a call, on these operands in place of its first ones; the rest, such as a bias, stays.
    pub fn keep(&mut self, call: &Call, operands: impl IntoIterator<Item = ValueId>) -> Result<Decision> {
        for (i, v) in operands.into_iter().enumerate() {
            call.operand(i)?;
            self.g.set_input(call.node, i, Some(v));
        }
        Ok(Decision::Integer)
    }

    /// Makes every reader of the call's results read them narrow: for calls whose results go to memory.
    pub fn narrow_results(&mut self, call: &Call) -> Result<()> {
        for v in self.g.node(call.node).outputs.clone() {
            self.simulate_input(v)?;
        }
        Ok(())
    }

    /// Who reads the results of a call.
    pub fn readers(&self, call: &Call) -> Readers {
        let outputs = &self.g.node(call.node).outputs;
        let mut readers = Readers::Tail;
        for (id, node) in self.g.nodes().filter(|(_, n)| n.operands().any(|v| outputs.contains(&v))) {
            match self.decisions.get(&id) {
                Some(Decision::Integer | Decision::Fused) => return Readers::Integer,
                // A placeholder has no decision of its own: somebody wants the value narrow.
                None if matches!(node.op, Op::Simulate(_)) => return Readers::Integer,
                // What makes masks, indices or shapes of floats reads them as they are.
                None | Some(Decision::Float(_)) => readers = Readers::Float,
                Some(Decision::Tail(_)) => {}
            }
        }
        readers
    }

    /// Whether a value leads only to results of the model, by way of this call or of others that stay float for that.
    pub fn leads_only_out(&self, v: ValueId, by: &Call) -> bool {
        let tail = |id: &NodeId| *id == by.node || matches!(self.decisions.get(id), Some(Decision::Tail(_)));
        self.g.nodes().filter(|(_, n)| n.operands().any(|o| o == v)).all(|(id, _)| tail(&id))
    }

    /// A result that somebody reads narrow is written narrow, so everybody reads it so.
    fn unify_readers(&mut self, call: &Call) {
        for v in self.g.node(call.node).outputs.clone() {
            let placeholders: HashSet<ValueId> =
                self.simulated.iter().filter(|((of, _), _)| *of == v).map(|(_, s)| *s).collect();
            // Of several forms, the one made first in the graph; the choice must not depend on hashing.
            let Some(narrow) = placeholders.iter().min().copied() else { continue };
            let raw: Vec<(NodeId, usize)> = self
                .g
                .nodes()
                .filter(|(_, n)| !matches!(n.op, Op::Simulate(_)))
                .flat_map(|(id, n)| {
                    n.inputs.iter().enumerate().filter(|(_, o)| **o == Some(v)).map(move |(i, _)| (id, i))
                })
                .collect();
            for (reader, i) in raw {
                self.g.set_input(reader, i, Some(narrow));
            }
            if self.g.is_output(v) {
                self.redirect_output(v, narrow);
            }
        }
    }

    fn narrow_outputs(&mut self) -> Result<()> {
        for v in self.g.outputs.clone() {
            if self.g.producer(v).is_some() && self.g.ty(v).dtype.is_float() {
                let narrow = self.simulate_input(v)?;
                self.redirect_output(v, narrow);
            }
        }
        Ok(())
    }

    /// Makes `narrow` the graph's output in place of `wide`, under its name.
    fn redirect_output(&mut self, wide: ValueId, narrow: ValueId) {
        for v in self.g.outputs.iter_mut().filter(|v| **v == wide) {
            *v = narrow;
        }
        let name = self.g.value(wide).name.clone();
        let wide_name = self.g.fresh_name(&format!("{name}.wide"));
        self.g.rename(wide, &wide_name);
        self.g.rename(narrow, &name);
    }
}
