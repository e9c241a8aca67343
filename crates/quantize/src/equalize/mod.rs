//! Equalize: channels that will share one scale get ranges that fill it.
//!
//! A value in memory has one scale for all its channels, so a channel that stays far below the widest one is coarse.
//! What computes a value can hand its channel c on multiplied by s[c] >= 1, and what reads it divide its weights by
//! s[c]; between them may stand whatever commutes with a positive factor: Relu, Clip from zero, pooling, sums of values
//! that are multiplied alike. Weights per output channel take the factor of their own output for nothing, and depthwise
//! weights that of their input too; where a reader sums over channels, dividing costs its small weights precision, and
//! how far to go is decided by the noise that both roundings are predicted to leave in its results.
//!
//! The network computes what it did for every value within what the samples showed; beyond it, a channel below a Clip
//! may meet the bound earlier, as it would meet the end of a calibrated range.
//!
//! Source: Meller et al., "Same, Same But Different: Recovering Neural Network Quantization Error Through Weight
//! Factorization", 2019, section 4; the trade between activations and weights is that of Xiao et al., "SmoothQuant",
//! 2023, with the exponent found by prediction.

mod groups;

use crate::config::{Config, Per, Scopes, Spec};
use crate::each_sample::{Work, each_sample, no_pause};
use crate::observe::check_finite;
use crate::prepare::linear;
use crate::samples::Samples;
use groups::Group;
use lowbit_ir::{
    Engine, Error, Graph, Kind, Node, NodeId, Op, Outputs, Result, Tensor, ValueId, check_float_mode, meta,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Values whose channels were multiplied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Equalized {
    /// The values in memory that share the factors.
    pub values: Vec<String>,
    /// How far the narrower channels were widened: 0 not at all, 1 to the full range.
    pub exponent: f64,
    /// The greatest factor of a channel.
    pub largest: f64,
    /// Predicted noise power in the readers' results, as a share of what it was.
    pub noise: f64,
}

/// How far narrower channels may be widened, in quarters of the way to the full range.
const QUARTERS: [u32; 5] = [0, 1, 2, 3, 4];

/// Noise that is not lowered by at least a percent is not worth a difference from the source.
const WORTH: f64 = 0.99;

/// Multiplies channels and divides weights by factors that the samples suggest; tells which.
///
/// The factors stand in the graph's metadata, under [`meta::EQUALIZATION`], so that whoever compares values with those
/// of the source can undo them.
pub fn equalize(g: &mut Graph, config: &Config, engine: &dyn Engine, samples: &dyn Samples) -> Result<Vec<Equalized>> {
    check_float_mode()?;
    let groups = groups::find(g);
    let scopes = Scopes::new(g, config)?;
    if !config.equalize || groups.is_empty() {
        return Ok(Vec::new());
    }
    let seen = observe(g, &groups, engine, samples, config.refine_samples)?;
    let mut equalized = Vec::new();
    let mut record = Vec::new();
    for group in &groups {
        let room = room(group, &seen);
        let mut best: Option<(u32, f64)> = None;
        let mut before = 0.0;
        for quarters in QUARTERS {
            let noise = noise(g, (config, &scopes), group, &seen, &factors(&room, quarters))?;
            if quarters == 0 {
                before = noise;
            } else if noise < best.map_or(WORTH * before, |(_, least)| least) {
                best = Some((quarters, noise));
            }
        }
        let Some((quarters, least)) = best else { continue };
        let factors = factors(&room, quarters);
        apply(g, group, &factors)?;
        let names = |of: &[ValueId]| of.iter().map(|v| g.value(*v).name.clone()).collect();
        let eighths = room.iter().map(|k| taken(*k, quarters)).collect();
        record.push(Record { values: names(&group.members), eighths, last: group.last });
        equalized.push(Equalized {
            values: names(&group.values),
            exponent: f64::from(quarters) / 4.0,
            largest: factors.iter().copied().fold(1.0, f64::max),
            noise: least / before,
        });
    }
    if !record.is_empty() {
        let json = serde_json::to_string(&record).map_err(|e| Error::new(format!("writing the factors: {e}")))?;
        g.meta.properties.insert(meta::EQUALIZATION.into(), json);
    }
    Ok(equalized)
}

/// What samples showed of the channels of a value.
#[derive(Debug, Clone)]
struct Seen {
    /// Greatest magnitude.
    largest: Vec<f64>,
    /// Sum of squares.
    squares: Vec<f64>,
    /// Elements of each channel.
    count: f64,
}

/// Channels that are summed side by side: a sum alone would wait for itself at every element.
const ABREAST: usize = 4;

impl Seen {
    fn new(channels: usize) -> Self {
        Seen { largest: vec![0.0; channels], squares: vec![0.0; channels], count: 0.0 }
    }

    /// What one sample shows: a tensor whose channels lie along `axis`. NaN and infinities are errors.
    fn of(channels: usize, data: &[f32], dims: &[usize], axis: usize) -> Result<Self> {
        let mut seen = Seen::new(channels);
        let inner = dims.iter().skip(axis + 1).product::<usize>().max(1);
        for all in data.chunks_exact((channels * inner).max(1)) {
            let rows = all.chunks(ABREAST * inner);
            let places = seen.largest.chunks_mut(ABREAST).zip(seen.squares.chunks_mut(ABREAST));
            for (rows, (largest, squares)) in rows.zip(places) {
                let (mut most, mut sums) = ([0.0f32; ABREAST], [0.0f64; ABREAST]);
                let mut add = |row: usize, x: f32| {
                    most[row] = if x.abs() > most[row] { x.abs() } else { most[row] };
                    sums[row] += f64::from(x) * f64::from(x);
                };
                if let Some([a, b, c, d]) = abreast(rows, inner) {
                    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                        [*a, *b, *c, *d].into_iter().enumerate().for_each(|(row, x)| add(row, x));
                    }
                } else {
                    let rows = rows.chunks_exact(inner).enumerate();
                    rows.for_each(|(row, data)| data.iter().for_each(|x| add(row, *x)));
                }
                largest.iter_mut().zip(most).for_each(|(l, m)| *l = l.max(f64::from(m)));
                squares.iter_mut().zip(sums).for_each(|(s, sum)| *s += sum);
            }
        }
        // Squares of floats are far within doubles, so that only what is not finite has a sum that is not.
        if seen.squares.iter().any(|sum| !sum.is_finite()) {
            check_finite(data)?;
        }
        seen.count = (data.len() / channels.max(1)) as f64;
        Ok(seen)
    }

    /// Adds what another sample showed.
    fn add(&mut self, other: &Seen) {
        self.largest.iter_mut().zip(&other.largest).for_each(|(l, m)| *l = l.max(*m));
        self.squares.iter_mut().zip(&other.squares).for_each(|(s, sum)| *s += sum);
        self.count += other.count;
    }

    fn reach(&self) -> f64 {
        self.largest.iter().copied().fold(0.0, f64::max)
    }
}

/// Rows of equal length as many as are taken abreast, if there are so many.
fn abreast(rows: &[f32], inner: usize) -> Option<[&[f32]; ABREAST]> {
    let mut rows = rows.chunks_exact(inner);
    let rows = [rows.next()?, rows.next()?, rows.next()?, rows.next()?];
    Some(rows)
}

/// Values that were multiplied alike, as the metadata holds them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Their names: those in memory, and those in front of an activation, which are wide or inside a kernel.
    values: Vec<String>,
    /// For every channel the eighths of an octave.
    eighths: Vec<u32>,
    /// Whether channels lie along the last axis.
    last: bool,
}

/// What the channels of a value were multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// A factor for every channel.
    pub channels: Vec<f64>,
    /// Whether channels lie along the last axis; else along the second.
    pub last: bool,
}

/// What a graph's metadata says its values were multiplied by, by their names; none if it says nothing.
///
/// A wide, narrow or dequantized form of such a value was multiplied alike.
pub fn recorded(g: &Graph) -> Result<HashMap<String, Factors>> {
    let Some(json) = g.meta.properties.get(meta::EQUALIZATION) else { return Ok(HashMap::new()) };
    let wrong =
        |found: String| Error::new(format!("expected factors of channels under {}, {found}", meta::EQUALIZATION));
    let record: Vec<Record> =
        serde_json::from_str(json).map_err(|e| wrong(format!("found {e}")).hint("quantize the float model again"))?;
    if let Some(k) = record.iter().flat_map(|r| &r.eighths).find(|k| **k > MOST) {
        return Err(wrong(format!("found {k}, which is above {MOST}")));
    }
    let factors = |r: Record| {
        let channels: Vec<f64> = r.eighths.into_iter().map(eighths).collect();
        r.values.into_iter().map(move |name| (name, Factors { channels: channels.clone(), last: r.last }))
    };
    let mut found: HashMap<String, Factors> = record.into_iter().flat_map(factors).collect();
    // Quantizing gives values further forms, such as accumulators, which have names of their own.
    let forms = |n: &Node| match (&n.op, n.input(0), n.outputs.first()) {
        (Op::Quantize { .. } | Op::Requantize(_) | Op::Dequantize, Some(x), Some(y)) => Some((x, *y)),
        _ => None,
    };
    let forms: Vec<(ValueId, ValueId)> = g.nodes().filter_map(|(_, n)| forms(n)).collect();
    let backwards = forms.iter().rev().map(|(x, y)| (*y, *x));
    for (from, to) in backwards.chain(forms.iter().copied()) {
        let (from, to) = (&g.value(from).name, &g.value(to).name);
        if let Some(factors) = found.get(from).filter(|_| !found.contains_key(to)).cloned() {
            found.insert(to.clone(), factors);
        }
    }
    Ok(found)
}

fn observe(
    g: &Graph,
    groups: &[Group],
    engine: &dyn Engine,
    samples: &dyn Samples,
    limit: usize,
) -> Result<HashMap<ValueId, Seen>> {
    let taps: Vec<(ValueId, &Group)> = groups.iter().flat_map(|k| k.values.iter().map(move |v| (*v, k))).collect();
    let mut seen: Vec<Seen> = taps.iter().map(|(_, group)| Seen::new(group.channels)).collect();
    let values: Vec<ValueId> = taps.iter().map(|(v, _)| *v).collect();
    let look = |inputs: &[Tensor], outputs: &Outputs| {
        // Data before what comes of it, so that the error names the cause.
        for (tensor, v) in inputs.iter().zip(&g.inputs).filter(|(t, _)| t.dtype().is_float()) {
            check_finite(&tensor.floats()?).map_err(|e| e.at_value(&g.value(*v).name))?;
        }
        let of = |(tensor, (v, group)): (&Tensor, &(ValueId, &Group))| {
            let (data, dims) = (tensor.floats()?, tensor.dims());
            let seen = Seen::of(group.channels, &data, dims, group.axis(dims.len()));
            seen.map_err(|e| e.at_value(&g.value(*v).name))
        };
        outputs.taps.iter().zip(&taps).map(of).collect::<Result<Vec<Seen>>>()
    };
    let mut add = |sample: Vec<Seen>| {
        seen.iter_mut().zip(&sample).for_each(|(seen, of_sample)| seen.add(of_sample));
        Ok(())
    };
    let work = Work { engine, graph: g, taps: &values, samples, limit, skip: 0, doing: "equalizing on" };
    each_sample(&work, &look, &mut add, &mut no_pause)?;
    Ok(values.into_iter().zip(seen).collect())
}

/// For each channel how many eighths of an octave it can be multiplied by until it fills the range of one of its values.
///
/// Eighths are fine enough to fill ranges to nine tenths, and one byte or two of text hold a factor. They are counted by
/// comparing, without a logarithm, so that every machine counts the same.
fn room(group: &Group, seen: &HashMap<ValueId, Seen>) -> Vec<u32> {
    let seen: Vec<&Seen> = group.values.iter().filter_map(|v| seen.get(v)).collect();
    let fits = |c: usize, k: u32| seen.iter().all(|s| s.largest[c] * eighths(k) <= s.reach());
    let silent = |c: usize| seen.iter().all(|s| s.largest[c] == 0.0);
    // A channel that showed nothing says nothing of its range.
    let of = |c: usize| if silent(c) { 0 } else { (1..=MOST).take_while(|k| fits(c, *k)).last().unwrap_or(0) };
    (0..group.channels).map(of).collect()
}

/// The most eighths: a factor of 1024, beyond which a channel is as good as silent.
const MOST: u32 = 80;

/// The eighths that are taken of those there is room for.
fn taken(room: u32, quarters: u32) -> u32 {
    room * quarters / 4
}

fn factors(room: &[u32], quarters: u32) -> Vec<f64> {
    room.iter().map(|k| eighths(taken(*k, quarters))).collect()
}

/// 2^(k / 8).
fn eighths(k: u32) -> f64 {
    use std::f64::consts::SQRT_2;
    const FOURTH: f64 = 1.189_207_115_002_721; // 2^(1/4)
    const EIGHTH: f64 = 1.090_507_732_665_257_7; // 2^(1/8)
    let part = |bit: u32, root: f64| if k & bit == 0 { 1.0 } else { root };
    (1u64 << (k / 8)) as f64 * part(4, SQRT_2) * part(2, FOURTH) * part(1, EIGHTH)
}

/// Predicted noise power in the results of a group's readers: steps of the activations, and of the weights.
///
/// Rounding noise is a twelfth of a squared step. An activation's passes through the weights that read it; a weight's is
/// multiplied by the power of what it reads.
fn noise(
    g: &Graph,
    (config, scopes): (&Config, &Scopes),
    group: &Group,
    seen: &HashMap<ValueId, Seen>,
    factors: &[f64],
) -> Result<f64> {
    let mut total = 0.0;
    for (reader, value) in &group.readers {
        let Some(seen) = seen.get(value) else { continue };
        let rows = Rows::new(g, *reader)?;
        let reach = seen.largest.iter().zip(factors).map(|(m, f)| m * f).fold(0.0, f64::max);
        let wanted =
            |kind| scopes.spec(config, *reader, &g.node(*reader).op, kind, &Spec::default()).map(|wish| wish.spec);
        let steps = |spec: &Spec| f64::from(1u32 << spec.bits.unwrap_or(8)) - 1.0;
        let (input, weight) = (wanted(Kind::Input)?, wanted(Kind::Weight)?);
        let step = reach / steps(&input);
        let mut activations = 0.0;
        let mut largest = vec![0.0f64; rows.map.outputs];
        let mut power = vec![0.0f64; rows.map.outputs];
        for (i, w) in rows.weights.iter().enumerate() {
            let (output, input) = rows.map.of(i);
            let factor = factors.get(input).copied().unwrap_or(1.0);
            let w = f64::from(*w) / factor;
            activations += w * w;
            largest[output] = largest[output].max(w.abs());
            power[output] += seen.squares.get(input).copied().unwrap_or(0.0) / seen.count.max(1.0) * factor * factor;
        }
        if weight.per == Some(Per::Tensor) {
            let all = largest.iter().copied().fold(0.0, f64::max);
            largest.fill(all);
        }
        let weight_step = |largest: f64| 2.0 * largest / steps(&weight);
        let weights: f64 = largest.iter().zip(&power).map(|(m, p)| weight_step(*m).powi(2) * p).sum();
        total += (activations * step * step + weights) / 12.0;
    }
    Ok(total)
}

struct Rows {
    weights: Vec<f32>,
    map: linear::InputMap,
}

impl Rows {
    fn new(g: &Graph, layer: NodeId) -> Result<Rows> {
        let node = g.node(layer);
        let w = node.input(1).and_then(|w| g.constant(w));
        let w = w.ok_or_else(|| Error::new("expected constant weights").at_node(&node.name))?;
        Ok(Rows { weights: w.floats()?.into_owned(), map: linear::InputMap::new(&node.op, w.dims()) })
    }
}

fn apply(g: &mut Graph, group: &Group, factors: &[f64]) -> Result<()> {
    let inverse: Vec<f64> = factors.iter().map(|f| 1.0 / f).collect();
    let zeros = vec![0.0; factors.len()];
    for producer in &group.producers {
        linear::scale_outputs(g, *producer, factors, &zeros).map_err(|e| e.at_node(&g.node(*producer).name))?;
    }
    for (reader, _) in &group.readers {
        linear::scale_inputs(g, *reader, &inverse, &zeros).map_err(|e| e.at_node(&g.node(*reader).name))?;
    }
    Ok(())
}
