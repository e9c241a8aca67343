//! What a report shows, as plain values: gathered once, and written as a page, as JSON and as overlays.

use crate::bench::{StepTime, Timing};
use crate::choices::Choice;
use crate::compare::{Comparison, Errors};
use crate::evaluate::Evaluation;
use crate::explain::{Explanation, Tensor};
use crate::left::Left;
use crate::model::{Model, VERSION, with_batch};
use crate::recipe::Recipe;
use lowbit_ir::{Def, Engine, Graph, Node as IrNode, NodeId, Result, ValueId, infer, meta};
use lowbit_quantize::observe::Histogram;
use lowbit_quantize::origin::BIAS;
use lowbit_quantize::samples::spread;
use lowbit_quantize::{Samples, equalize};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Bars of a histogram.
pub const BARS: usize = 48;

/// Everything that a report shows. Nothing but [`Self::latency`] and [`Self::steps`] is measured time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Data {
    /// The version that wrote it.
    pub lowbit: String,
    /// What the page is called: the model's file.
    pub title: String,
    /// What the model is compared with, for people: `the float model it came from`.
    pub reference: String,
    /// What was read, looked at and written, in the order in which it is told.
    pub facts: Vec<Fact>,
    /// What was not measured, and why.
    pub not_measured: Vec<String>,
    /// Sizes before and after.
    pub sizes: Vec<Size>,
    /// Both on labelled data, if there was some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Both on data without labels: the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Times of both, if they ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The operators of the reference, in order.
    pub nodes: Vec<Node>,
    /// Which reads which: places in [`Self::nodes`], each pair once, the writer first.
    pub edges: Vec<(usize, usize)>,
    /// The model's inputs, with the places of the nodes that read them.
    pub inputs: Vec<End>,
    /// The model's outputs, with the place of the node that computes each.
    pub outputs: Vec<End>,
    /// The steps of the compared program, in order, if they were timed.
    pub steps: Vec<Step>,
    /// The quantized values.
    pub values: Vec<Value>,
    /// What the histograms of values that are computed are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histograms_of: Option<String>,
    /// What stays float although the model is quantized, and why.
    pub left_float: Vec<Left>,
    /// Every choice in force, with who made it.
    pub config: Vec<Choice>,
    /// What the model was made of, if its file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// What is to be known besides.
    pub notes: Vec<String>,
}

/// A line about the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about.
    pub name: String,
    /// What is so.
    pub text: String,
}

/// Bytes before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Of what.
    pub name: String,
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Both programs on data; the reference is the float one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// The data.
    pub data: String,
    /// Whether it is noise, which says nothing.
    pub random: bool,
    /// What was found.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// What the layers were compared on, and what came out at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The data.
    pub data: String,
    /// Whether it is noise, which says nothing.
    pub random: bool,
    /// How many samples.
    pub samples: usize,
    /// Whether each layer was also measured by itself.
    pub isolated: bool,
    /// The outputs that both have.
    pub outputs: Vec<Output>,
    /// The first value that is not finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_finite: Option<String>,
}

/// An output, and how far it is from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// How far.
    #[serde(flatten)]
    pub errors: Errors,
}

/// Medians of both programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// The reference.
    pub float: Timing,
    /// The compared one.
    pub integer: Timing,
}

/// How an operator computes in the compared model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Computes {
    /// On integers.
    Integers,
    /// It is a part of another operator by then, as a Relu is of the range of the integers before it.
    Merged,
    /// On floats.
    Floats,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is.
    pub op: String,
    /// Its results.
    pub values: Vec<String>,
    /// Whether it multiplies and accumulates.
    pub layer: bool,
    /// How it computes.
    pub computes: Computes,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its first result is stored as in the compared model, such as `u8`, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
    /// Bits that hold its sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum_bits: Option<u32>,
    /// Its multiply-accumulates for a batch of one; 0 where sizes are open.
    pub macs: u64,
    /// Bytes of its constants before.
    pub bytes_before: u64,
    /// Bytes of its constants after.
    pub bytes_after: u64,
    /// The error that it adds alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Errors>,
    /// The error with those of all before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<Errors>,
    /// The step of the compared program that it leads, as a place in [`Data::steps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The node in whose step it is computed, where it leads none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<usize>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The nodes at it.
    pub nodes: Vec<usize>,
}

/// A step of the compared program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What it cost.
    #[serde(flatten)]
    pub time: StepTime,
    /// The node that it is told of, as a place in [`Data::nodes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<usize>,
}

/// A quantized value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// Its parameters, and who chose them.
    #[serde(flatten)]
    pub parameters: Tensor,
    /// How its elements lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Bars>,
}

/// How values lie: equal parts of a range that holds zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bars {
    /// Where the first part begins.
    pub low: f64,
    /// Where the last one ends.
    pub high: f64,
    /// How many values are in each part, exact zeros apart.
    pub counts: Vec<u64>,
    /// How many are exactly zero.
    pub zeros: u64,
}

/// What there is to gather from; whatever is empty is told to be so, or left out.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The reference as it ran.
    pub reference: &'a Graph,
    /// The compared model.
    pub model: &'a Model,
    /// The same as it ran.
    pub compared: &'a Graph,
    /// Why it is as it is, if it is quantized.
    pub explained: Option<&'a Explanation>,
    /// What stays float although the model is quantized.
    pub left_float: &'a [Left],
    /// Every choice in force.
    pub choices: &'a [Choice],
    /// How far the values are apart.
    pub comparison: Option<&'a Comparison>,
    /// The steps of the compared program.
    pub steps: &'a [StepTime],
    /// What values hold, by their names.
    pub histograms: &'a BTreeMap<String, Histogram>,
}

/// Gathers what does not depend on files and measurements of the whole; those are fields, for whoever made them.
///
/// # Errors
///
/// Where a constant of the compared model is not finite.
pub fn gather(title: &str, reference: &str, from: &Sources) -> Result<Data> {
    let explained = from.explained;
    let places: HashMap<&str, usize> =
        from.reference.nodes().enumerate().map(|(at, (_, node))| (node.name.as_str(), at)).collect();
    let mut nodes = nodes(from);
    let steps = steps(from.steps, &places, &mut nodes);
    let (inputs, outputs, edges) = wires(from.reference);
    Ok(Data {
        lowbit: VERSION.into(),
        title: title.into(),
        reference: reference.into(),
        facts: Vec::new(),
        not_measured: Vec::new(),
        sizes: Vec::new(),
        accuracy: None,
        compared: None,
        latency: None,
        edges,
        inputs,
        outputs,
        steps,
        values: explained.iter().flat_map(|e| &e.tensors).map(|t| value(from, t)).collect::<Result<_>>()?,
        histograms_of: None,
        left_float: from.left_float.to_vec(),
        config: from.choices.to_vec(),
        recipe: explained.and_then(|e| e.recipe.clone()),
        notes: explained.map(|e| [e.hardware.clone(), e.notes.clone()].concat()).unwrap_or_default(),
        nodes,
    })
}

/// What the outputs of a comparison are, for [`Data::compared`].
pub fn compared(reference: &Graph, found: &Comparison, data: &str, random: bool) -> Compared {
    let named = |v: &ValueId| {
        let name = &reference.value(*v).name;
        let layer = found.layers.iter().find(|l| l.value == *name)?;
        Some(Output { name: name.clone(), errors: layer.cumulative })
    };
    Compared {
        data: data.into(),
        random,
        samples: found.samples,
        isolated: found.isolated,
        outputs: reference.outputs.iter().filter_map(named).collect(),
        not_finite: found.not_finite.as_ref().map(ToString::to_string),
    }
}

/// Whether two graphs had their channels multiplied alike.
fn equalized_alike(a: &Graph, b: &Graph) -> bool {
    a.meta.properties.get(meta::EQUALIZATION) == b.meta.properties.get(meta::EQUALIZATION)
}

/// The quantized values that are computed and hold the same in the reference, for [`histograms`]: none whose channels
/// were multiplied in one of both.
///
/// # Errors
///
/// Where the factors in a file cannot be read.
pub fn observed<'a>(reference: &Graph, model: &Graph, explained: &'a Explanation) -> Result<Vec<&'a str>> {
    let factors = match equalized_alike(reference, model) {
        true => HashMap::new(),
        false => [equalize::recorded(reference)?, equalize::recorded(model)?].into_iter().flatten().collect(),
    };
    let computed = explained.tensors.iter().filter(|t| !t.constant && t.kind.as_deref() != Some(BIAS));
    Ok(computed.map(|t| t.name.as_str()).filter(|name| !factors.contains_key(*name)).collect())
}

/// What values hold over up to `limit` samples (0: all), by the names of those that are there.
pub fn histograms(
    graph: &Graph,
    names: &[&str],
    engine: &dyn Engine,
    samples: &dyn Samples,
    limit: usize,
) -> Result<BTreeMap<String, Histogram>> {
    let float = |v: &ValueId| graph.ty(*v).dtype.is_float() && graph.constant(*v).is_none();
    let found: Vec<ValueId> = names.iter().filter_map(|name| graph.find(name)).filter(float).collect();
    let (entering, computed): (Vec<ValueId>, Vec<ValueId>) =
        found.into_iter().partition(|v| graph.value(*v).def == Def::Input);
    let mut all: BTreeMap<String, Histogram> = BTreeMap::new();
    let mut add = |v: ValueId, tensor: &lowbit_ir::Tensor| {
        let name = &graph.value(v).name;
        all.entry(name.clone()).or_default().add(&tensor.floats()?).map_err(|e| e.at_value(name))
    };
    let mut run = engine.load(graph, &computed)?;
    for i in spread(samples.len(), limit) {
        let sample = samples.sample(i)?;
        let taps = run.run(&sample)?.taps;
        for (v, tensor) in computed.iter().zip(&taps) {
            add(*v, tensor)?;
        }
        for v in &entering {
            let place = graph.inputs.iter().position(|input| input == v);
            if let Some(tensor) = place.and_then(|at| sample.get(at)) {
                add(*v, tensor)?;
            }
        }
    }
    Ok(all)
}

/// The operators of the reference, as the compared model has them.
fn nodes(from: &Sources) -> Vec<Node> {
    let (graph, explained) = (from.reference, from.explained);
    let sized = with_batch(graph, None).ok();
    let layers: HashMap<&str, _> =
        explained.iter().flat_map(|e| &e.layers).map(|layer| (layer.node.as_str(), layer)).collect();
    let stored: HashMap<&str, &str> =
        explained.iter().flat_map(|e| &e.tensors).map(|t| (t.name.as_str(), t.dtype.as_str())).collect();
    let errors: HashMap<&str, _> =
        from.comparison.iter().flat_map(|c| &c.layers).map(|l| (l.value.as_str(), l)).collect();
    let by_node: HashMap<&str, _> =
        from.comparison.iter().flat_map(|c| &c.layers).map(|l| (l.node.as_str(), l)).collect();
    let after: HashMap<&str, NodeId> = from.compared.nodes().map(|(id, n)| (n.name.as_str(), id)).collect();
    let node = |(id, node): (NodeId, &IrNode)| {
        let values: Vec<String> = node.outputs.iter().map(|v| graph.value(*v).name.clone()).collect();
        let first = values.first().map(String::as_str).unwrap_or_default();
        let layer = layers.get(node.name.as_str());
        let computes = match (explained, layer) {
            (None, _) => Computes::Floats,
            (Some(_), Some(l)) if !l.integer => Computes::Floats,
            (Some(_), Some(l)) if !l.merged => Computes::Integers,
            (Some(_), Some(_) | None) => Computes::Merged,
        };
        let error = errors.get(first).or_else(|| by_node.get(node.name.as_str()));
        let bytes_after = after.get(node.name.as_str()).map(|id| bytes(from.compared, from.compared.node(*id)));
        Node {
            name: node.name.clone(),
            op: node.op.name().into(),
            layer: node.op.is_layer(),
            computes,
            rule: layer.and_then(|l| l.rule.clone()),
            reason: layer.and_then(|l| l.reason.clone()),
            stored: stored.get(first).map(|dtype| dtype.to_string()),
            sum_bits: layer.and_then(|l| l.accumulator.as_ref()).map(|a| a.bits),
            macs: sized.as_ref().map_or(0, |g| infer::macs(g, id)),
            bytes_before: bytes(graph, node),
            bytes_after: bytes_after.unwrap_or(0),
            alone: error.and_then(|l| l.isolated),
            together: error.map(|l| l.cumulative),
            step: None,
            within: None,
            values,
        }
    };
    graph.nodes().map(node).collect()
}

/// Bytes of the constants that a node reads.
fn bytes(g: &Graph, node: &IrNode) -> u64 {
    node.operands().filter_map(|v| g.constant(v)).map(|t| t.bytes().len() as u64).sum()
}

/// The steps, each told of the node that works most in it: a layer if it has one.
fn steps(times: &[StepTime], places: &HashMap<&str, usize>, nodes: &mut [Node]) -> Vec<Step> {
    let mut steps = Vec::with_capacity(times.len());
    for (at, time) in times.iter().enumerate() {
        let inside: Vec<usize> = time.step.split(" + ").filter_map(|name| places.get(name).copied()).collect();
        let leader = inside.iter().copied().find(|n| nodes[*n].layer).or(inside.first().copied());
        for n in inside {
            match Some(n) == leader {
                true => nodes[n].step = Some(at),
                false => nodes[n].within = leader,
            }
        }
        steps.push(Step { time: time.clone(), node: leader });
    }
    steps
}

/// Inputs, outputs, and who reads whom.
fn wires(g: &Graph) -> (Vec<End>, Vec<End>, Vec<(usize, usize)>) {
    let place: HashMap<NodeId, usize> = g.nodes().enumerate().map(|(at, (id, _))| (id, at)).collect();
    let users = g.users();
    let readers = |v: ValueId| {
        let mut all: Vec<usize> = users.of(v).iter().filter_map(|(id, _)| place.get(id).copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let end = |v: &ValueId, nodes: Vec<usize>| End { name: g.value(*v).name.clone(), ty: g.ty(*v).to_string(), nodes };
    let inputs = g.inputs.iter().map(|v| end(v, readers(*v))).collect();
    let writer = |v: &ValueId| g.producer(*v).and_then(|id| place.get(&id).copied());
    let outputs = g.outputs.iter().map(|v| end(v, writer(v).into_iter().collect())).collect();
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for (at, (_, node)) in g.nodes().enumerate() {
        edges.extend(node.outputs.iter().flat_map(|v| readers(*v)).map(|reader| (at, reader)));
    }
    edges.sort_unstable();
    edges.dedup();
    (inputs, outputs, edges)
}

/// A quantized value with what it holds: constants are looked at, all else was run.
fn value(from: &Sources, tensor: &Tensor) -> Result<Value> {
    let held = match (tensor.constant, tensor.kind.as_deref()) {
        // A bias has the accumulator's scale, which no range was chosen for.
        (_, Some(BIAS)) => None,
        (true, _) => constant(from, tensor)?,
        (false, _) => from.histograms.get(&tensor.name).cloned(),
    };
    Ok(Value { parameters: tensor.clone(), histogram: held.as_ref().and_then(Bars::of) })
}

/// A constant before it was quantized, or what its integers stand for where the reference does not have it so.
fn constant(from: &Sources, tensor: &Tensor) -> Result<Option<Histogram>> {
    let found = |g: &Graph, name: &str| g.find(name).and_then(|v| g.constant(v)).cloned();
    let integers = || found(from.model.graph(), tensor.integers.as_deref().unwrap_or(&tensor.name));
    let before = found(from.reference, &tensor.name).filter(|_| equalized_alike(from.reference, from.model.graph()));
    let Some(elements) = before.or_else(integers) else { return Ok(None) };
    let mut histogram = Histogram::default();
    histogram.add(&elements.reals()?).map_err(|e| e.at_value(&tensor.name))?;
    Ok(Some(histogram))
}

impl Bars {
    /// Of a histogram that holds more than one number.
    pub fn of(histogram: &Histogram) -> Option<Bars> {
        let (low, high) = histogram.range();
        let (low, high) = (f64::from(low), f64::from(high));
        if high <= low {
            return None;
        }
        let mut counts = vec![0u64; BARS];
        let at = |x: f64| (((x - low) / (high - low) * BARS as f64) as usize).min(BARS - 1);
        histogram.bins().filter(|(centre, _)| *centre != 0.0).for_each(|(centre, n)| counts[at(centre)] += n);
        Some(Bars { low, high, counts, zeros: histogram.zeros() })
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.zeros
    }
}

/// The errors that decide how a node is coloured: alone where that was measured.
pub fn shown(node: &Node) -> Option<Errors> {
    node.alone.or(node.together)
}
