//! Annotate: decide per node whether it computes on integers, and mark the operands that must be narrow for it.
//!
//! Nodes are visited from the outputs back, so a rule knows what the readers of its result want. It puts placeholders
//! ([`Op::Simulate`](lowbit_ir::Op::Simulate)) on operands; two readers that ask the same of a value share one.
//! Between a multiply-accumulate and the Relu or Clip behind it stands none: within one kernel the value stays wide.

use crate::Options;
use crate::channels;
use crate::config::{Asked, By, Config, Io, Mode, Output, Per, Say, Scopes, Skip, Spec, Wish};
use crate::declined;
use crate::dynamic;
use crate::observe::Observers;
use crate::origin;
use crate::prepare::rewrite;
use lowbit_ir::op::{Binary, Category};
use lowbit_ir::request::Sharing;
use lowbit_ir::{Def, Error, Graph, Kind, NodeId, Op, Request, Result, ValueId, check_float_mode, infer};
use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// Whether it must stay float; else it does so unless what it reads is integers in any case.
    pub firm: bool,
}

/// Puts placeholders where the rules want narrow values; gives back what the rules declined, in graph order.
///
/// What must stay float the metadata tells the stages that follow.
pub fn annotate(g: &mut Graph, options: &Options) -> Result<Vec<Declined>> {
    check_float_mode()?;
    options.check()?;
    let (config, rules, observers) = (&options.config, &options.rules, &options.observers);
    let scopes = Scopes::new(g, config)?;
    let spelled = dynamic::spell(g, config, &scopes)?;
    let (simulated, decisions, asked) = (HashMap::new(), HashMap::new(), Asked::default());
    let (rule, by) = ("outputs".into(), BTreeMap::new());
    let mut cx = Annotator { g, config, observers, scopes, asked, simulated, by, decisions, rule, call: None };
    cx.narrow_outputs()?;
    let mut declined = Vec::new();
    for id in cx.g.order().iter().rev().copied().collect::<Vec<_>>() {
        let Some(call) = Call::of(cx.g, id) else { continue };
        let (name, decision) = match (cx.scopes.skipped(id).cloned(), spelled.get(&id)) {
            // What the configuration leaves float, no rule is asked about.
            (Some(Skip(key)), _) => ("skip".into(), Decision::Float(key)),
            (None, Some(why)) => ("dynamic".into(), Decision::Float(why.clone())),
            (None, None) => rules.apply(&call, &mut cx).map_err(|e| e.at_node(&call.name))?,
        };
        if decision == Decision::Integer && cx.scopes.output(config, id, &call.op) == Some(Output::Narrow) {
            cx.narrow_results(&call)?;
        }
        cx.g.node_mut(id).rule = Some(name.clone());
        let said = match &decision {
            Decision::Integer | Decision::Fused => None,
            Decision::Float(reason) => Some((reason.clone(), true)),
            Decision::Unread(reason) | Decision::Tail(reason) => Some((reason.clone(), false)),
        };
        if let Some((reason, firm)) = said {
            declined.push(Declined { node: call.name.clone(), op: call.op.name(), rule: name, reason, firm });
        }
        cx.decisions.insert(id, decision);
        cx.unify_readers(&call);
    }
    cx.narrow_inputs()?;
    cx.note_outputs();
    declined.reverse();
    cx.asked.check(config, cx.g)?;
    let by = cx.by;
    origin::record_asked(g, &by)?;
    declined::record_firm(g, &declined)?;
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
    /// Nobody reads integers of it, so it may stay float; where what it reads is integers in any case, it can work on
    /// those.
    Unread(String),
    /// The same, since only results of the model depend on it.
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

/// What can be made narrow: a value, or an operand that may be missing.
pub trait Operand {
    /// The value.
    fn value(self) -> Result<ValueId>;
}

impl Operand for ValueId {
    fn value(self) -> Result<ValueId> {
        Ok(self)
    }
}

impl Operand for Result<ValueId> {
    fn value(self) -> Result<ValueId> {
        self
    }
}

/// What is asked of a value.
struct Asking {
    request: Request,
    /// The keys of the configuration that had a say.
    keys: Vec<String>,
    /// Those that `io` had none of.
    overruled: Vec<String>,
    /// Who made which choice.
    by: By,
}

/// What a rule can do.
pub struct Annotator<'a> {
    g: &'a mut Graph,
    config: &'a Config,
    observers: &'a Observers,
    scopes: Scopes,
    asked: Asked,
    simulated: HashMap<(ValueId, Request), ValueId>,
    /// Who made the choices of the placeholders.
    by: BTreeMap<NodeId, By>,
    decisions: HashMap<NodeId, Decision>,
    rule: Arc<str>,
    /// The call that a rule is asked about; none while the model's outputs are looked at.
    call: Option<Call>,
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

    /// What is to be quantized of a layer, and when; a rule that does not ask takes no such choice.
    pub fn mode(&mut self, call: &Call) -> Mode {
        let said = self.scopes.modes(self.config, call.node, &call.op);
        let mode = said.last().map_or(self.config.mode, |(_, mode)| *mode);
        self.asked.note_mode(said);
        mode
    }

    /// Says which rule is at work on which call, for the placeholders it makes.
    pub(crate) fn enter(&mut self, rule: &Arc<str>, call: &Call) {
        self.rule = rule.clone();
        self.call = Some(call.clone());
    }

    /// A narrow form of `value`: one placeholder for all who ask the same.
    ///
    /// What `spec` leaves open, the configuration says; what it says itself, only the choices of a layer can overrule.
    pub fn simulate(&mut self, value: impl Operand, kind: Kind, spec: Spec) -> Result<ValueId> {
        let value = value.value()?;
        let read = self.call.as_ref().is_some_and(|call| call.op.is_layer() && call.output != value);
        if read && kind == Kind::Activation {
            return Err(Error::new(
                "expected Kind::Input or Kind::Weight of what a layer reads, found Kind::Activation",
            )
            .at_value(&self.g.value(value).name)
            .hint("Kind::Activation is the wide value that a layer computes"));
        }
        let asking = self.asking(value, kind, &spec)?;
        self.place(value, asking)
    }

    /// A narrow form of a value in memory, as the configuration says.
    pub fn simulate_input(&mut self, value: ValueId) -> Result<ValueId> {
        self.simulate(value, Kind::Input, Spec::default())
    }

    /// What a sum or a move reads: narrow from memory, or wide as a layer left it where the configuration says so.
    pub fn simulate_joined(&mut self, value: ValueId) -> Result<ValueId> {
        self.check_value(value)?;
        match !self.config.store_lowbit && self.is_wide(value) {
            true => Ok(value),
            false => self.simulate_input(value),
        }
    }

    /// Whether a value comes from a layer, with nothing between that would need it narrow.
    fn is_wide(&self, value: ValueId) -> bool {
        let (mut todo, mut seen) = (vec![value], HashSet::new());
        while let Some(v) = todo.pop() {
            let Some((id, node)) = rewrite::producer(self.g, v).filter(|(id, _)| seen.insert(*id)) else { continue };
            if self.scopes.skipped(id).is_some() {
                continue;
            }
            match node.op.category() {
                Category::Layer => return true,
                Category::Activation => match node.op {
                    Op::Relu | Op::Clip { .. } => todo.extend(node.input(0)),
                    Op::Binary(Binary::Add) => todo.extend(node.operands()),
                    _ => {}
                },
                Category::Transform => match node.op {
                    Op::Concat { .. } | Op::Resize(_) => {}
                    _ => todo.extend(node.input(0)),
                },
                Category::Pool
                | Category::Normalization
                | Category::Recurrent
                | Category::Quantization
                | Category::Custom => {}
            }
        }
        false
    }

    /// Narrows what a layer computes to the width of the kind Activation, in front of all who read it; 32 bits hold every
    /// accumulator, so they need nothing.
    pub fn simulate_activation(&mut self, call: &Call) -> Result<()> {
        let asking = self.asking(call.output, Kind::Activation, &Spec::default())?;
        let leaves = self.g.is_output(call.output);
        if asking.request.bits >= 32 || leaves {
            return Ok(());
        }
        let narrow = self.place(call.output, asking)?;
        for (reader, i) in self.g.users().of(call.output).to_vec() {
            if rewrite::output(self.g.node(reader)) != Some(narrow) {
                self.g.set_input(reader, i, Some(narrow));
            }
        }
        // Whoever asks for the layer's result from now on is asked of the narrow one.
        self.simulated.retain(|(of, _), s| *of != call.output || *s == narrow);
        Ok(())
    }

    /// What is asked of a value on behalf of the call, and the keys of the configuration that had a say.
    pub fn request(&self, value: ValueId, kind: Kind, spec: &Spec) -> Result<(Request, Vec<String>)> {
        self.asking(value, kind, spec).map(|asking| (asking.request, asking.keys))
    }

    fn asking(&self, value: ValueId, kind: Kind, spec: &Spec) -> Result<Asking> {
        self.check_value(value)?;
        if kind == Kind::Weight && self.g.constant(value).is_none() {
            return Err(Error::new("expected a constant for Kind::Weight, found a computed value")
                .at_value(&self.g.value(value).name)
                .hint("Kind::Input is what a layer reads from memory"));
        }
        let Wish { spec, said, mut by } = match &self.call {
            Some(call) => self.scopes.spec(self.config, call.node, &call.op, kind, spec)?,
            None => Wish {
                spec: self.config.completed(kind, spec.over(self.config.of(kind)), "the rule's")?,
                said: Vec::new(),
                by: self.config.rounded_by(kind),
            },
        };
        let mut keys: Vec<String> = said.iter().map(|say| say.key.clone()).collect();
        let mut overruled = Vec::new();
        spec.check(kind)?;
        let shape = &self.g.ty(value).shape;
        let op = self.call.as_ref().map(|call| &call.op);
        let (axis, block) = match (kind, op) {
            (Kind::Weight, Some(op)) => {
                let outputs = infer::weight_axis(op, shape).unwrap_or(0);
                (outputs, if outputs == 0 { 1 } else { outputs.saturating_sub(1) })
            }
            (Kind::Input | Kind::Activation, _) | (Kind::Weight, None) => {
                (channels::axis(self.g, value), shape.rank().saturating_sub(1))
            }
        };
        let mut request = spec.request(kind, axis, block);
        // A block that is all that is summed over is an output channel.
        let others = |(i, d): (usize, &lowbit_ir::Dim)| i == axis || i == block || d.known() == Some(1);
        if let Sharing::Block { size, .. } = request.sharing
            && shape.0.get(block).and_then(lowbit_ir::Dim::known).is_some_and(|k| size >= k)
            && shape.0.iter().enumerate().all(others)
        {
            request.sharing = Sharing::Channel(axis);
            by.insert("per".into(), format!("a block of {size} is a whole channel"));
        }
        // A number has no axis along which it could have several scales.
        if shape.rank() == 0 {
            request.sharing = Sharing::Tensor;
            by.insert("per".into(), "a single number has one scale".into());
        }
        match kind {
            Kind::Weight => self.observers.find_for_weights(&request.observer),
            Kind::Input | Kind::Activation => self.observers.find(&request.observer),
        }
        .map_err(|e| e.at_value(&self.g.value(value).name))?;
        if let Some(dtype) = self.config.io.dtype().filter(|_| self.is_border(value)) {
            let io = self.config.io.name();
            if request.sharing != Sharing::Tensor {
                let per = spec.per.unwrap_or(Per::Tensor);
                let all = std::iter::once("input.per".to_string()).chain(keys.iter().map(|k| format!("{k}.input.per")));
                return Err(Error::new(format!(
                    "expected one scale for integers that enter or leave the model (io = \"{io}\"), found per = \
                     \"{per}\" (by {})",
                    all.collect::<Vec<_>>().join(", ")
                ))
                .at_value(&self.g.value(value).name)
                .hint("input.per = \"tensor\", with [op.NAME] or [layer.\"NAME\"] for what has a scale per channel; or io = \"float\""));
            }
            let (bits, signed) = (dtype.bits() as u8, dtype.range().is_some_and(|r| r.0 < 0));
            (request.bits, request.signed) = (bits, signed);
            // What the caller quantizes, the caller rounds.
            let entering = self.g.value(value).def == Def::Input;
            let rounds = |s: &Spec| entering && s.rounding.is_some();
            let width = |s: &Spec| s.bits.is_some_and(|b| b != bits) || s.signed.is_some_and(|s| s != signed);
            let differs = |s: &Spec| width(s) || rounds(s);
            // Who asks for another width, and speaks of nothing else, has no say here.
            let others =
                |s: &Spec| Spec { bits: None, signed: None, rounding: s.rounding.filter(|_| !entering), ..s.clone() };
            let has_say = |s: &Spec| !differs(s) || !others(s).is_open();
            let (heard, unheard): (Vec<_>, Vec<_>) = said.iter().partition(|say| has_say(say.spec));
            let names = |all: Vec<&Say>| all.into_iter().map(|say| say.key.clone()).collect::<Vec<_>>();
            (keys, overruled) = (names(heard), names(unheard));
            let line = format!("io = \"{io}\"");
            by.extend(["bits", "signed"].map(|choice| (choice.to_string(), line.clone())));
            keys.push(line);
        }
        Ok(Asking { request, keys, overruled, by })
    }

    /// Refuses ids that the graph does not have, such as those of another graph.
    fn check_value(&self, value: ValueId) -> Result<()> {
        match self.g.has_value(value) {
            true => Ok(()),
            false => Err(Error::new(format!(
                "expected a value of the graph that is annotated, found {value:?}, which is none"
            ))
            .hint("a rule takes values from its call and from cx.graph()")),
        }
    }

    /// Whether a value enters or leaves the model.
    fn is_border(&self, value: ValueId) -> bool {
        self.g.value(value).def == Def::Input || self.g.is_output(value)
    }

    fn place(&mut self, value: ValueId, asking: Asking) -> Result<ValueId> {
        let Asking { request, keys, overruled, by } = asking;
        self.asked.note_overruled(request.kind, overruled);
        if !self.g.ty(value).dtype.is_float() {
            let v = self.g.value(value);
            return Err(Error::new(format!("expected a float to quantize, found {}", v.ty)).at_value(&v.name));
        }
        self.asked.note(self.config, request.kind, &request.observer, &keys);
        if let Some(found) = self.simulated.get(&(value, request.clone())) {
            return Ok(*found);
        }
        let (name, ty) = (self.g.value(value).name.clone(), self.g.ty(value).clone());
        let node = format!("{name}.simulate");
        let outputs = [(&*format!("{name}.s"), ty)];
        let (op, inputs) = (Op::Simulate(request.clone()), vec![Some(value)]);
        let id = match (self.g.producer(value), self.g.order().first().copied()) {
            (Some(producer), _) => self.g.add_node_after(producer, &node, op, inputs, &outputs),
            (None, Some(first)) => self.g.add_node_before(first, &node, op, inputs, &outputs),
            (None, None) => self.g.add_node(&node, op, inputs, &outputs),
        };
        // Who chose: the rule, and the keys of the configuration that changed what it would have asked.
        let who = std::iter::once(self.rule.to_string()).chain(keys).collect::<Vec<_>>().join(", ");
        self.g.node_mut(id).rule = Some(who.into());
        self.by.insert(id, by);
        let result = rewrite::output(self.g.node(id)).unwrap_or(value);
        self.simulated.insert((value, request), result);
        Ok(result)
    }

    /// Keeps a call, on these operands in place of its first ones; the rest, such as a bias, stays.
    pub fn keep(&mut self, call: &Call, operands: impl IntoIterator<Item = ValueId>) -> Result<Decision> {
        for (i, v) in operands.into_iter().enumerate() {
            call.operand(i)?;
            self.check_value(v)?;
            self.g.set_input(call.node, i, Some(v));
        }
        Ok(Decision::Integer)
    }

    /// Makes every reader of the call's results read them narrow, unless the configuration wants what it computed: for
    /// calls whose results go to memory.
    pub fn narrow_results(&mut self, call: &Call) -> Result<()> {
        if self.scopes.output(self.config, call.node, &call.op) == Some(Output::Wide) {
            return Ok(());
        }
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
                None | Some(Decision::Float(_) | Decision::Unread(_)) => readers = Readers::Float,
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

    /// A result that somebody reads narrow is written narrow, so everybody reads it so; unless values stay wide.
    fn unify_readers(&mut self, call: &Call) {
        if !self.config.store_lowbit {
            return;
        }
        for v in self.g.node(call.node).outputs.clone() {
            let Some(narrow) = self.narrow_form(v) else { continue };
            self.read_narrow(v, narrow);
            if self.g.is_output(v) {
                self.redirect_output(v, narrow);
            }
        }
    }

    /// The narrow form of a value, if there is one: of several the one made first, as the choice must not depend on
    /// hashing.
    fn narrow_form(&self, v: ValueId) -> Option<ValueId> {
        self.simulated.iter().filter(|((of, _), _)| *of == v).map(|(_, s)| *s).min()
    }

    /// Makes whoever reads a value as it was computed read its narrow form.
    fn read_narrow(&mut self, v: ValueId, narrow: ValueId) {
        for (reader, i) in self.g.users().of(v).to_vec() {
            if !matches!(self.g.node(reader).op, Op::Simulate(_)) {
                self.g.set_input(reader, i, Some(narrow));
            }
        }
    }

    /// Makes whoever reads an input of the model read it narrow where integers enter: to a float operator they are the
    /// reals that they stand for.
    fn narrow_inputs(&mut self) -> Result<()> {
        for v in self.g.inputs.clone() {
            let floats = |(id, _): &(NodeId, usize)| !matches!(self.g.node(*id).op, Op::Simulate(_));
            let read = self.g.users().of(v).iter().any(floats);
            if self.config.io == Io::Float || !self.g.ty(v).dtype.is_float() || !read {
                continue;
            }
            let narrow = match self.narrow_form(v) {
                Some(narrow) => narrow,
                None => {
                    (self.rule, self.call) = ("inputs".into(), None);
                    self.simulate_input(v)?
                }
            };
            self.read_narrow(v, narrow);
        }
        Ok(())
    }

    /// Makes the model's outputs narrow where the configuration wants them so; integers that leave it always are.
    fn narrow_outputs(&mut self) -> Result<()> {
        for v in self.g.outputs.clone() {
            let Some((id, node)) = rewrite::producer(self.g, v) else { continue };
            let wanted = self.scopes.output(self.config, id, &node.op).unwrap_or(self.config.output);
            let narrow = wanted == Output::Narrow || self.config.io != Io::Float;
            if narrow && self.g.ty(v).dtype.is_float() {
                let narrow = self.simulate_input(v)?;
                self.redirect_output(v, narrow);
            }
        }
        Ok(())
    }

    /// Notes what left the nodes of which the configuration says something.
    fn note_outputs(&mut self) {
        let ids: Vec<NodeId> = self.g.nodes().map(|(id, _)| id).collect();
        for id in ids {
            let said = self.scopes.outputs(self.config, id, &self.g.node(id).op);
            if !said.is_empty() {
                let left = if self.leaves_narrow(id) { Output::Narrow } else { Output::Wide };
                self.asked.note_output(said, left);
            }
        }
    }

    /// Whether what a node computed, or what belongs to its kernel made of it, is narrow in memory.
    fn leaves_narrow(&self, id: NodeId) -> bool {
        let (mut todo, mut seen) = (vec![id], HashSet::new());
        while let Some(id) = todo.pop() {
            let outputs = &self.g.node(id).outputs;
            let users = self.g.users();
            let read = |v: &ValueId| !users.of(*v).is_empty() || self.g.is_output(*v);
            let narrow = |((of, r), s): (&(ValueId, Request), &ValueId)| {
                r.kind == Kind::Input && outputs.contains(of) && read(s)
            };
            if self.simulated.iter().any(narrow) {
                return true;
            }
            let readers = outputs.iter().flat_map(|v| users.of(*v)).map(|(reader, _)| *reader);
            let fused = |r: &NodeId| self.decisions.get(r) == Some(&Decision::Fused);
            todo.extend(readers.filter(|r| fused(r) && seen.insert(*r)));
        }
        false
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
