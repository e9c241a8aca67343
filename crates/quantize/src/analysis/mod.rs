//! How far a quantized graph is from its float source, or any graph from another, value by value.

mod parts;

pub use parts::{Parts, TensorError};

use crate::config::Rounding;
use crate::equalize::{self, Factors};
use crate::samples::{Samples, spread};
use lowbit_ir::{
    Def, Engine, Error, Graph, Node, NodeId, Op, Result, Tensor, Type, Users, ValueId, check_float_mode, meta,
};
use parts::Ends;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::iter::successors;

/// The error of one value over some samples, with the errors of all that was computed before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueError {
    /// The value, by its source's name.
    pub value: String,
    /// What computes it in the float graph.
    pub op: String,
    /// Signal to quantization noise, in decibels; infinite without noise, which JSON has as null.
    pub sqnr_db: f64,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// Greatest difference of an element.
    pub max_error: f64,
    /// The same in steps of the quantized graph's integers; `None` for floats and for accumulators, whose steps are finer
    /// than a float is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Mean squared error, in squared units of the value.
    #[serde(default)]
    pub mse: f64,
    /// The same in two parts, by where the reference's element lies: beyond the quantized graph's integers, or among them.
    /// Rounding is then all else that came together, also of what was handed on. None where nothing is quantized, or where
    /// the reference is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

/// The error of a multiply-accumulate layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerError {
    /// Name of the layer's node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The value that was compared: its result, or that of the activation in its kernel.
    pub value: String,
    /// Signal to quantization noise, in decibels; infinite without noise, which JSON has as null.
    pub sqnr_db: f64,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// Greatest difference of an element.
    pub max_error: f64,
}

/// The errors of the multiply-accumulate layers, in the order of the float graph.
///
/// A layer's own result may exist within a kernel only; then the first value behind it that was compared stands for it.
pub fn of_layers(float: &Graph, errors: &[ValueError]) -> Vec<LayerError> {
    let users = float.users();
    let by_value: HashMap<&str, &ValueError> = errors.iter().map(|e| (e.value.as_str(), e)).collect();
    let layers = float.nodes().filter(|(_, n)| n.op.is_layer());
    let error = |node: &Node| {
        let behind = |v: &ValueId| float.node(users.only(*v)?).outputs.first().copied();
        let mut values = successors(node.outputs.first().copied(), behind);
        let e = values.find_map(|v| by_value.get(float.value(v).name.as_str()))?;
        Some(LayerError {
            node: node.name.clone(),
            op: node.op.name().to_string(),
            value: e.value.clone(),
            sqnr_db: e.sqnr_db,
            cosine: e.cosine,
            max_error: e.max_error,
        })
    };
    layers.filter_map(|(_, node)| error(node)).collect()
}

/// How a graph computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// On floats, and nothing is quantized.
    Float,
    /// On floats, between values that are quantized and dequantized again.
    Simulated,
    /// On integers, at least in part.
    Integer,
}

/// How a graph computes.
///
/// Moving integers, as between another tool's Quantize and Dequantize, is no computing.
pub fn form(g: &Graph) -> Form {
    let quantized = |v: ValueId| g.ty(v).is_quantized();
    let integer = |n: &Node| match n.op {
        Op::Requantize(_) | Op::QAdd(_) | Op::QMul(_) | Op::QAvgPool(_) | Op::Table => true,
        _ => n.op.is_layer() && n.operands().any(quantized),
    };
    match g.nodes().any(|(_, n)| integer(n)) {
        true => Form::Integer,
        false if g.values().any(|(_, v)| v.ty.is_quantized()) => Form::Simulated,
        false => Form::Float,
    }
}

/// What two graphs have in common by name, and how far it is apart; in the order of the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Both graphs as they run.
    pub cumulative: Vec<ValueError>,
    /// Each value of the other graph from the reference's values before it; as many, in the same order.
    pub isolated: Vec<ValueError>,
    /// What quantizing does to each tensor by itself, in the order of the reference: what enters it, weights, and values of
    /// up to 16 bits. Only if isolated errors are measured, and the reference is all floats.
    pub tensors: Vec<TensorError>,
    /// Quantized weights of the other graph that are not among these, as the reference has no floats for them.
    pub unmatched: Vec<String>,
    /// Values that only the reference computes.
    pub only_reference: usize,
    /// Values that only the other graph computes, such as accumulators.
    pub only_other: usize,
    /// The first value of either graph that is not finite: what is said of it, and of what follows, is no number.
    pub not_finite: Option<NotFinite>,
}

/// An element that is NaN or infinite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotFinite {
    /// The number of the sample.
    pub sample: usize,
    /// The value's name.
    pub value: String,
    /// Where in it, row-major.
    pub element: usize,
    /// `NaN`, `inf` or `-inf`.
    pub found: String,
}

impl NotFinite {
    /// The first of these values, by name.
    pub fn first<'a>(sample: usize, values: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Option<NotFinite> {
        values.into_iter().find_map(|(name, tensor)| {
            let (element, found) = tensor.first_not_finite()?;
            Some(NotFinite { sample, value: name.to_owned(), element, found: found.to_string() })
        })
    }
}

/// `value 'l' is NaN at element 1 on sample 3`.
impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value '{}' is {} at element {} on sample {}", self.value, self.found, self.element, self.sample)
    }
}

/// Compares the values that both graphs know by name, on up to `limit` samples (0: all); in the order of the float graph.
///
/// Integers are compared as the reals they stand for, and factors of equalization that one of the graphs records are
/// undone.
pub fn compare(
    float: &Graph,
    quantized: &Graph,
    engine: &dyn Engine,
    samples: &dyn Samples,
    limit: usize,
) -> Result<Vec<ValueError>> {
    Ok(measure(float, quantized, engine, samples, limit, false)?.cumulative)
}

/// As [`compare`], and besides each value by itself: computed by the quantized graph from the values that the float graph
/// has before it, quantized as the quantized graph says. That is the error which this layer alone adds.
pub fn compare_isolated(
    float: &Graph,
    quantized: &Graph,
    engine: &dyn Engine,
    samples: &dyn Samples,
    limit: usize,
) -> Result<Comparison> {
    measure(float, quantized, engine, samples, limit, true)
}

/// A value of both graphs.
struct Pair {
    name: String,
    /// What computes it in the reference.
    op: &'static str,
    /// What is compared of it in the reference.
    reference: ValueId,
    /// What is compared of it in the other graph.
    other: ValueId,
    /// The value of that name in the other graph.
    named: ValueId,
    /// What the other graph has multiplied each channel by, beyond the reference.
    factors: Option<Factors>,
    /// The type of the other's integers, if they fit a graph's inputs.
    integers: Option<Type>,
    /// How the other's integers were rounded.
    rounding: Rounding,
    /// Whether the reference is a float that is quantized later or otherwise: then what the other's type makes of it is
    /// compared, which cuts off what integers cannot be.
    cut_off: bool,
}

/// Compares two graphs of any kind by the names of their values; in isolation too if that is asked for.
///
/// Of a float that is quantized right behind, what quantizing makes of it is compared: the range cuts off what is beyond
/// it, and a Relu that the range implies is left to it, so that the float is what was before the Relu.
/// Integers of another type are compared with what that type makes of the float.
pub fn measure(
    reference: &Graph,
    other: &Graph,
    engine: &dyn Engine,
    samples: &dyn Samples,
    limit: usize,
    isolated: bool,
) -> Result<Comparison> {
    check_float_mode()?;
    let pairs = pairs(reference, other)?;
    let (ours, theirs): (Vec<ValueId>, Vec<ValueId>) = pairs.iter().map(|p| (p.reference, p.other)).unzip();
    let mut expect = engine.load(reference, &ours)?;
    let mut run = engine.load(other, &theirs)?;
    let cut = cut(other, &pairs);
    let mut alone = if isolated { Some(engine.load(&cut.graph, &theirs)?) } else { None };
    let mut cumulative = vec![Sums::default(); pairs.len()];
    let (mut by_itself, mut own) = (cumulative.clone(), cumulative.clone());
    let split = form(reference) == Form::Float;
    let entries = if isolated && split { entries(reference, other) } else { Vec::new() };
    let mut entered = vec![Sums::default(); entries.len()];
    let mut not_finite = None;
    for i in spread(samples.len(), limit) {
        let sample = samples.sample(i)?;
        let expected = expect.run(&sample)?.taps;
        let found = run.run(&sample)?.taps;
        let inputs = reference.inputs.iter().zip(&sample).map(|(v, t)| (&*reference.value(*v).name, t));
        let both = pairs.iter().zip(expected.iter().zip(&found)).flat_map(|(p, (a, b))| [(&*p.name, a), (&*p.name, b)]);
        not_finite = not_finite.or_else(|| NotFinite::first(i, inputs.chain(both)));
        let known = pairs.iter().zip(&expected).map(|(p, a)| p.known(a, split)).collect::<Result<Vec<Known>>>()?;
        add(&mut cumulative, &pairs, &known, &expected, &found)?;
        if let Some(alone) = &mut alone {
            let given = cut.given.iter().map(|at| {
                let (pair, v) = (&pairs[at.pair], at.value);
                let given = pair.given(other.ty(v), rounding_of(other, v), &expected[at.pair]);
                given.map_err(|e| e.at_value(&pair.name))
            });
            let inputs = sample.iter().cloned().map(Ok).chain(given).collect::<Result<Vec<Tensor>>>()?;
            let found = alone.run(&inputs).map_err(|e| e.context("computing each value by itself"))?.taps;
            add(&mut by_itself, &pairs, &known, &expected, &found)?;
            for ((sums, known), a) in own.iter_mut().zip(&known).zip(&expected) {
                known.add_own(sums, a)?;
            }
            for (sums, entry) in entered.iter_mut().zip(&entries) {
                let a = sample.get(entry.input).ok_or_else(|| Error::new("expected an input more, found none"))?;
                entry.pair.known(a, split)?.add_own(sums, a)?;
            }
        }
    }
    let kept = |ty: &Option<Type>| ty.clone().filter(steps_matter);
    let activations: Vec<(ValueId, TensorError)> = pairs
        .iter()
        .zip(&own)
        .filter(|_| isolated && split)
        .filter_map(|(p, sums)| {
            let node = reference.producer(p.reference).map_or("", |id| &reference.node(id).name);
            let e = TensorError::new(&p.name, "activation", node, &kept(&p.integers)?, sums);
            Some((p.reference, e))
        })
        .collect();
    let mut tensors: Vec<TensorError> = entries
        .iter()
        .zip(&entered)
        .filter_map(|(e, sums)| Some(TensorError::new(&e.pair.name, "input", "", &kept(&e.pair.integers)?, sums)))
        .collect();
    let unmatched = match isolated && split {
        true => join(&mut tensors, activations, reference, other)?,
        false => Vec::new(),
    };
    tensors.iter_mut().enumerate().for_each(|(i, t)| t.order = i);
    let describe = |(pair, sum): (&Pair, Sums)| sum.error(&pair.name, pair.op, split && pair.integers.is_some());
    let errors = |sums: Vec<Sums>| pairs.iter().zip(sums).map(describe).collect::<Vec<_>>();
    Ok(Comparison {
        cumulative: errors(cumulative),
        isolated: if isolated { errors(by_itself) } else { Vec::new() },
        tensors,
        unmatched,
        only_reference: computed(reference).saturating_sub(pairs.len()),
        only_other: computed(other).saturating_sub(pairs.len()),
        not_finite,
    })
}

/// What enters both graphs, and is quantized in the other one.
struct Entry {
    /// Its place among the inputs.
    input: usize,
    pair: Pair,
}

fn entries(reference: &Graph, other: &Graph) -> Vec<Entry> {
    let users = other.users();
    let mut found = Vec::new();
    for (input, (ours, theirs)) in reference.inputs.iter().zip(&other.inputs).enumerate() {
        let forms = match other.ty(*theirs).is_quantized() {
            true => vec![*theirs],
            false => quantized(other, &users, *theirs),
        };
        found.extend(forms.into_iter().map(|form| {
            let (integers, rounding) = (Some(other.ty(form).clone()), rounding_of(other, form));
            let (name, named) = (reference.value(*ours).name.clone(), *theirs);
            let pair = Pair {
                name,
                op: "Input",
                reference: *ours,
                other: form,
                named,
                factors: None,
                integers,
                rounding,
                cut_off: false,
            };
            Entry { input, pair }
        }));
    }
    found
}

/// Adds weights and activations in the order of the reference; tells which weights have no floats there.
fn join(
    tensors: &mut Vec<TensorError>,
    activations: Vec<(ValueId, TensorError)>,
    reference: &Graph,
    other: &Graph,
) -> Result<Vec<String>> {
    let (before, after) = recorded(reference, other)?;
    let factors = |name: &str| beyond(before.get(name), after.get(name));
    let theirs = parts::by_name(other);
    let mut activations = activations.into_iter().peekable();
    let mut unmatched = Vec::new();
    for (_, node) in reference.nodes() {
        if let Some(theirs) = theirs.get(node.name.as_str()).filter(|n| node.op.is_layer() && n.op.is_layer()) {
            match parts::weights((reference, node), (other, theirs), &factors) {
                Ok(None) => {}
                Ok(Some((name, ty, sums))) => {
                    tensors.push(TensorError::new(&name, "weight", &node.name, &ty, &sums));
                }
                Err(name) => unmatched.push(name),
            }
        }
        let own = |(v, _): &(ValueId, TensorError)| node.outputs.contains(v);
        while let Some((_, e)) = activations.next_if(own) {
            tensors.push(e);
        }
    }
    tensors.extend(activations.map(|(_, e)| e));
    Ok(unmatched)
}

/// What equalization has multiplied values by in each of two graphs, by name; nothing where both were alike.
fn recorded(reference: &Graph, other: &Graph) -> Result<(HashMap<String, Factors>, HashMap<String, Factors>)> {
    // Forms of one network were multiplied alike, whatever their values are called.
    let property = |g: &Graph| g.meta.properties.get(meta::EQUALIZATION).cloned();
    match property(reference) == property(other) {
        true => Ok(Default::default()),
        false => Ok((equalize::recorded(reference)?, equalize::recorded(other)?)),
    }
}

/// How many values of a graph could be compared.
fn computed(g: &Graph) -> usize {
    g.nodes().flat_map(|(_, n)| &n.outputs).filter(|v| is_comparable(g, **v)).count()
}

/// The values of both graphs, in the order of the reference.
fn pairs(reference: &Graph, other: &Graph) -> Result<Vec<Pair>> {
    let (before, after) = recorded(reference, other)?;
    let simulated = form(reference) == Form::Simulated;
    let (ours_read, theirs_read) = (reference.users(), other.users());
    let pair = |op: &'static str, v: ValueId| {
        let name = &reference.value(v).name;
        let named = other.find(name).filter(|q| is_comparable(other, *q))?;
        // Integers of another width under one name are something else: a narrow form here, a wide one there.
        let (ours, theirs) = (reference.ty(v), other.ty(named));
        if ours.is_quantized() && theirs.is_quantized() && ours.dtype.bits() != theirs.dtype.bits() {
            return None;
        }
        let found = narrowed(other, &theirs_read, named, reference.ty(v), rounding_of(reference, v));
        let ty = other.ty(found);
        let integers = Some(ty).filter(|ty| ty.is_quantized() && ty.dtype.bits() <= 32).cloned();
        let factors = beyond(before.get(name), after.get(name));
        let ours = match (steps_matter(ty), ty.is_quantized()) {
            (true, _) => same_integers(reference, &ours_read, v, ty, rounding_of(other, found)).unwrap_or(v),
            // An accumulator has not been rounded yet, and its narrow form is another value.
            (false, true) => v,
            (false, false) => narrowed(reference, &ours_read, v, ty, Rounding::HalfEven),
        };
        // Integers of a wider range are cut off where a limit behind them was absorbed.
        let wider = ours != v && reference.ty(ours).quant != ty.quant;
        let later = ours == v && (simulated || !quantized(reference, &ours_read, v).is_empty());
        let cut_off = integers.is_some() && (wider || later);
        let (name, rounding) = (name.clone(), rounding_of(other, found));
        Some(Pair { name, op, reference: ours, other: found, named, factors, integers, rounding, cut_off })
    };
    let values = reference.nodes().flat_map(|(_, n)| n.outputs.iter().map(|v| (n.op.name(), *v)));
    Ok(values.filter(|(_, v)| is_comparable(reference, *v)).filter_map(|(op, v)| pair(op, v)).collect())
}

/// Whether a step of a type's integers says something: those of accumulators are finer than a float is.
fn steps_matter(ty: &Type) -> bool {
    ty.is_quantized() && ty.dtype.bits() <= 16
}

/// What a graph makes of a float where it quantizes it: the integers of type `like` if it makes such, else the first if
/// nobody reads the float itself; else the value as it is.
fn narrowed(g: &Graph, users: &Users, v: ValueId, like: &Type, rounding: Rounding) -> ValueId {
    let narrow = quantized(g, users, v);
    let only = !g.is_output(v) && narrow.len() == users.of(v).len();
    same_integers(g, users, v, like, rounding).or(narrow.first().copied().filter(|_| only)).unwrap_or(v)
}

/// The integers on the grid of this type that are made of a float right behind it: their range may be wider, since
/// limits become part of a type. Of several, those that are rounded so.
fn same_integers(g: &Graph, users: &Users, v: ValueId, like: &Type, rounding: Rounding) -> Option<ValueId> {
    let grid = |ty: &Type| ty.quant.as_ref().map(|q| (ty.dtype, q.scale.clone(), q.zero_point.clone()));
    let same: Vec<ValueId> = quantized(g, users, v).into_iter().filter(|q| grid(g.ty(*q)) == grid(like)).collect();
    same.iter().find(|q| rounding_of(g, **q) == rounding).or(same.first()).copied()
}

/// How a value's integers were rounded, by whoever made them before they were limited.
fn rounding_of(g: &Graph, v: ValueId) -> Rounding {
    let mut at = Some(v);
    while let Some((v, node)) = at.and_then(|v| Some((v, g.node(g.producer(v)?)))) {
        match &node.op {
            Op::Quantize { rounding } => return *rounding,
            Op::Requantize(r) | Op::QAdd(r) | Op::QMul(r) => return r.rounding,
            Op::QAvgPool(pool) => return pool.rescale.rounding,
            // A limit is its kernel's; what is moved was rounded before, and is what it was.
            Op::Relu | Op::Clip { .. } if g.ty(v).is_quantized() => at = node.input(0),
            _ => break,
        }
    }
    Rounding::HalfEven
}

/// The integers that are made of a float right behind it.
fn quantized(g: &Graph, users: &Users, v: ValueId) -> Vec<ValueId> {
    let quantizes = |n: &&Node| matches!(n.op, Op::Quantize { .. });
    let readers = users.of(v).iter().map(|(id, _)| g.node(*id));
    readers.filter(quantizes).filter_map(|n| n.outputs.first().copied()).collect()
}

/// What one graph has multiplied channels by that the other has not; none where both did the same.
fn beyond(before: Option<&Factors>, after: Option<&Factors>) -> Option<Factors> {
    let Factors { last, .. } = *before.or(after).filter(|_| before != after)?;
    let channels = |f: Option<&Factors>, count: usize| f.map_or_else(|| vec![1.0; count], |f| f.channels.clone());
    let count = before.or(after)?.channels.len();
    let ratio = channels(after, count).into_iter().zip(channels(before, count)).map(|(a, b)| a / b);
    Some(Factors { channels: ratio.collect(), last })
}

impl Pair {
    /// What the reference's elements are multiplied by in the other graph, element by element.
    fn factors(&self, dims: &[usize]) -> Result<Vec<f64>> {
        let Some(Factors { channels: factors, last }) = &self.factors else {
            return Ok(vec![1.0; dims.iter().product()]);
        };
        let axis = if *last { dims.len().saturating_sub(1) } else { 1 };
        if dims.get(axis) != Some(&factors.len()) {
            return Err(Error::new(format!(
                "expected a factor of equalization for every channel, found {} for sizes {dims:?}",
                factors.len()
            )));
        }
        let inner: usize = dims[axis + 1..].iter().product();
        Ok((0..dims.iter().product()).map(|i| factors[i / inner.max(1) % factors.len()]).collect())
    }

    /// The reference's value as the other graph has it.
    fn given(&self, ty: &Type, rounding: Rounding, expected: &Tensor) -> Result<Tensor> {
        let dims = expected.dims();
        let factors = self.factors(dims)?;
        let scaled = expected.reals()?.iter().zip(factors).map(|(x, f)| (f64::from(*x) * f) as f32).collect();
        let ty = ty.with_shape(dims.to_vec());
        if ty.quant.is_none() {
            return Tensor::from_floats(ty, scaled);
        }
        let floats = Tensor::from_f32(dims, scaled)?;
        // What is on the grid stays where it is: its real may be a little less than it stands for.
        let same = expected.ty().quant.as_ref().zip(ty.quant.as_ref());
        let on_grid = same.is_some_and(|(a, b)| a.scale == b.scale && a.zero_point == b.zero_point);
        parts::quantize(&floats, &ty, if on_grid { Rounding::HalfEven } else { rounding })
    }

    /// What is known of a value of the reference, whatever the other graph computes; `split` if errors are taken apart.
    fn known(&self, expected: &Tensor, split: bool) -> Result<Known> {
        let at = |e: Error| e.at_value(&self.name);
        let factors = self.factors(expected.dims()).map_err(at)?;
        let in_steps = self.integers.as_ref().is_some_and(steps_matter);
        let integers = self.integers.as_ref().filter(|_| in_steps || self.cut_off);
        let given = integers.map(|ty| self.given(ty, self.rounding, expected)).transpose().map_err(at)?;
        let quant = self.integers.as_ref().filter(|_| split).and_then(|ty| ty.quant.as_ref());
        let beyond = match quant {
            Some(quant) => {
                let reals = expected.reals()?;
                let scaled = reals.iter().zip(&factors).map(|(x, f)| f64::from(*x) * f);
                Ends::of(quant).beyond(expected.dims(), scaled)
            }
            None => Vec::new(),
        };
        Ok(Known { factors, given, in_steps, beyond })
    }
}

/// What is known of a value of the reference on one sample.
struct Known {
    /// What the other graph has multiplied each element by.
    factors: Vec<f64>,
    /// What the other's type makes of it, where that is compared.
    given: Option<Tensor>,
    /// Whether steps of that are told.
    in_steps: bool,
    /// Of every element whether it is beyond the other's integers; empty where errors are not taken apart.
    beyond: Vec<bool>,
}

impl Known {
    /// Whether each element is beyond; false where errors are not taken apart.
    fn beyond(&self) -> impl Iterator<Item = bool> {
        self.beyond.iter().copied().chain(std::iter::repeat(false))
    }

    /// Adds what quantizing alone does to the value.
    fn add_own(&self, sums: &mut Sums, expected: &Tensor) -> Result<()> {
        let Some(given) = self.given.as_ref().filter(|_| self.in_steps) else { return Ok(()) };
        let (a, b) = (expected.reals()?, given.reals()?);
        let elements = a.iter().zip(b.iter()).zip(&self.factors).zip(self.beyond());
        elements.for_each(|(((a, b), f), beyond)| sums.add(f64::from(*a), f64::from(*b) / f, beyond));
        Ok(())
    }
}

/// Adds a sample's differences.
fn add(sums: &mut [Sums], pairs: &[Pair], known: &[Known], expected: &[Tensor], found: &[Tensor]) -> Result<()> {
    for (((sum, pair), known), (a, b)) in sums.iter_mut().zip(pairs).zip(known).zip(expected.iter().zip(found)) {
        if a.dims() != b.dims() {
            return Err(Error::new(format!(
                "expected sizes {:?} as the reference has, found {:?}",
                a.dims(),
                b.dims()
            ))
            .at_value(&pair.name)
            .hint("two models of one network: these only share a name"));
        }
        if let Some(given) = known.given.as_ref().filter(|_| known.in_steps) {
            let (ours, theirs) = (given.ints()?, b.ints()?);
            let apart = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
            sum.max_steps = sum.max_steps.max(Some(apart));
        }
        let b = b.reals()?;
        match known.given.as_ref().filter(|_| pair.cut_off) {
            Some(given) => {
                let a = given.reals()?;
                a.iter().zip(b.iter()).for_each(|(a, b)| sum.add(f64::from(*a), f64::from(*b), false));
            }
            None => {
                let a = a.reals()?;
                let elements = a.iter().zip(b.iter()).zip(&known.factors).zip(known.beyond());
                elements.for_each(|(((a, b), f), beyond)| sum.add(f64::from(*a), f64::from(*b) / f, beyond));
            }
        }
    }
    Ok(())
}

/// A graph whose values are computed each from given ones.
struct Cut {
    graph: Graph,
    /// What is given, as inputs behind the graph's own.
    given: Vec<Given>,
}

/// A value that is given.
struct Given {
    /// Its pair.
    pair: usize,
    /// The value, or integers that are made of it.
    value: ValueId,
}

/// Lets whoever reads a value that is compared read an input instead, so that no error goes on from layer to layer.
fn cut(g: &Graph, pairs: &[Pair]) -> Cut {
    let users = g.users();
    let (mut graph, mut given) = (g.clone(), Vec::new());
    for (i, pair) in pairs.iter().enumerate() {
        // What is quantized right behind is compared there, and so cut there.
        let narrow = if pair.other == pair.named { Vec::new() } else { quantized(g, &users, pair.named) };
        for value in std::iter::once(pair.named).chain(narrow.iter().copied()) {
            let makes_one = |id: NodeId| g.node(id).outputs.iter().any(|v| narrow.contains(v));
            let readers: Vec<_> = users.of(value).iter().filter(|(id, _)| !makes_one(*id)).collect();
            // What is wider than integers that enter a graph is computed from what is given before it.
            if readers.is_empty() || g.ty(value).dtype.bits() > 32 {
                continue;
            }
            let name = graph.fresh_name(&format!("{}/given", pair.name));
            let input = graph.add_input(&name, g.ty(value).clone());
            readers.into_iter().for_each(|(node, operand)| graph.set_input(*node, *operand, Some(input)));
            given.push(Given { pair: i, value });
        }
    }
    Cut { graph, given }
}

/// The values with the least signal to noise, worst first.
pub fn worst(errors: &[ValueError], count: usize) -> Vec<ValueError> {
    let mut sorted = errors.to_vec();
    sorted.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    sorted.truncate(count);
    sorted
}

/// The layers with the least signal to noise, worst first.
pub fn worst_layers(float: &Graph, errors: &[ValueError], count: usize) -> Vec<LayerError> {
    let mut layers = of_layers(float, errors);
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    layers.truncate(count);
    layers
}

fn is_comparable(g: &Graph, v: ValueId) -> bool {
    let value = g.value(v);
    matches!(value.def, Def::Node(..)) && (value.ty.dtype.is_float() || value.ty.is_quantized())
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    signal: f64,
    found: f64,
    product: f64,
    /// Noise of elements beyond the integers, and how many these are.
    clipping: f64,
    clipped: u64,
    /// Noise of all others.
    rounding: f64,
    count: u64,
    max_error: f64,
    max_steps: Option<u64>,
}

impl Sums {
    /// Adds an element, and whether it is beyond the integers.
    fn add(&mut self, a: f64, b: f64, beyond: bool) {
        let difference = a - b;
        self.signal += a * a;
        self.found += b * b;
        self.product += a * b;
        match beyond {
            true => self.clipping += difference * difference,
            false => self.rounding += difference * difference,
        }
        self.clipped += u64::from(beyond);
        self.count += 1;
        self.max_error = self.max_error.max(difference.abs());
    }

    fn noise(&self) -> f64 {
        self.clipping + self.rounding
    }

    fn sqnr_db(&self) -> f64 {
        let noise = self.noise();
        if noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / noise).log10() }
    }

    fn mse(&self) -> f64 {
        let parts = self.parts();
        parts.clipping + parts.rounding
    }

    fn parts(&self) -> Parts {
        let count = self.count.max(1) as f64;
        Parts {
            clipping: self.clipping / count,
            rounding: self.rounding / count,
            clipped_percent: 100.0 * self.clipped as f64 / count,
        }
    }

    fn error(&self, value: &str, op: &str, in_parts: bool) -> ValueError {
        // The squares of the least and greatest floats fit in f64, their products do not.
        let norms = self.signal.sqrt() * self.found.sqrt();
        let cosine = match (self.signal == 0.0, self.found == 0.0) {
            (false, false) => self.product / norms,
            // Nothing is like nothing, and unlike anything else.
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.0,
        };
        ValueError {
            value: value.to_string(),
            op: op.to_string(),
            sqnr_db: self.sqnr_db(),
            cosine,
            max_error: self.max_error,
            max_steps: self.max_steps,
            mse: self.mse(),
            parts: in_parts.then(|| self.parts()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pairs: &[(f64, f64)]) -> ValueError {
        let mut sums = Sums::default();
        pairs.iter().for_each(|(a, b)| sums.add(*a, *b, false));
        sums.error("x", "Conv", false)
    }

    #[test]
    fn nothing_is_not_like_something() {
        let lost = error(&[(1.0, 0.0), (2.0, 0.0)]);
        assert_eq!((lost.sqnr_db, lost.cosine), (0.0, 0.0));
        assert_eq!((error(&[(0.0, 0.0)]).sqnr_db, error(&[(0.0, 0.0)]).cosine), (f64::INFINITY, 1.0));
        assert_eq!(error(&[(0.0, 1.0)]).cosine, 0.0);
    }

    #[test]
    fn the_cosine_of_tiny_and_huge_values_is_one_too() {
        for size in [1e-45, 1e-38, 1.0, 3e38] {
            let same = error(&[(size, size), (-size, -size)]);
            assert!((same.cosine - 1.0).abs() < 1e-9, "{size}: {same:?}");
        }
    }
}
