//! Calibrate: run samples, find ranges, and turn placeholders into Quantize and Dequantize.
//!
//! One pass over the samples; what is kept of a tensor is a [`Histogram`], whatever the number of samples.
//! The result is a QDQ graph: the exchange form between tools, and what [`realize`](crate::realize()) starts from.

mod border;
mod constants;
pub mod file;
mod insert;
mod resume;
mod shard;
mod ties;

pub(crate) use constants::{integer_bias, source};
pub use insert::storage;
pub use resume::{Checkpoint, Save, is_checkpoint};
pub use shard::{Fingerprint, Shard};

use crate::Options;
use crate::config::{self, By, Config, Spec};
use crate::each_sample::{Work, each_sample};
use crate::observe::{self, Affine, Bounds, Ends, Fit, Histogram, Observers, Range, Seen};
use crate::origin;
use crate::prepare::rewrite;
use crate::samples::{Samples, spread};
use crate::share;
use lowbit_ir::request::Sharing;
use lowbit_ir::{
    Engine, Error, Graph, Kind, NodeId, Op, Outputs, Request, Result, Tensor, ValueId, check_float_mode, memory,
};
use resume::{Begun, Kept};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What was seen of the values of a graph, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// How many samples were run.
    pub samples: u64,
    /// The values.
    pub values: BTreeMap<String, Seen>,
}

impl Stats {
    /// Adds what other samples showed; the order of merging does not matter.
    pub fn merge(&mut self, other: &Stats) {
        self.samples += other.samples;
        for (name, seen) in &other.values {
            match self.values.get_mut(name) {
                Some(mine) => mine.merge(seen),
                // Of nothing and something the order is known, but a part must not tell more than the whole.
                None => {
                    self.values.insert(name.clone(), seen.without_order());
                }
            }
        }
    }
}

/// The parameters that calibration chose for a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The value.
    pub value: String,
    /// Its integer type, such as `u8`.
    pub dtype: String,
    /// The least and the greatest integer used.
    pub integers: (i64, i64),
    /// How many scales there are: one, or one a channel.
    pub scales: usize,
    /// The scale; of several the greatest.
    pub scale: f32,
    /// The least of the scales.
    pub least_scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i32,
    /// Least and greatest value seen; nothing but zero where there were no samples.
    pub seen: (f32, f32),
    /// What found the range; of a bias `accumulator`, whose scale it has.
    pub observer: String,
    /// What limited the range besides the observer: `producer`, by what the value's operator can give, or `readers`, by
    /// what those who read it can tell apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// The rule that wanted the value narrow.
    pub rule: String,
    /// How many channels got a coarser scale, so that the bias fits its integer.
    pub widened_for_bias: usize,
    /// How many scales would be below the least there is: what they stand for became nearly or all zero.
    pub too_small: usize,
    /// The kind of tensor that was asked for, `input`, `weight` or `activation`; else `bias`.
    #[serde(default)]
    pub kind: String,
    /// The name of the integers in the calibrated graph.
    #[serde(default)]
    pub stored_as: String,
    /// All that was asked; open for a bias.
    #[serde(default)]
    pub asked: Spec,
    /// Who made a choice, where it was not the kind's own key.
    #[serde(default)]
    pub by: By,
    /// Share of the values seen that are beyond the integers by more than half a step, 0..=100; of values in memory to a
    /// bin of their histogram. None where nothing was looked at.
    #[serde(default)]
    pub clipped_percent: Option<f64>,
    /// The value whose parameters it has, as the same integers in another place.
    #[serde(default)]
    pub shares_with: Option<String>,
}

/// Observes samples and makes the annotated graph a QDQ graph.
pub fn calibrate(g: &mut Graph, options: &Options, engine: &dyn Engine, samples: &dyn Samples) -> Result<Vec<Chosen>> {
    let room = |bins: usize| within(bins, options.max_memory);
    let (stats, _) = observe_all(g, &wanted(g), engine, samples, options, &room)?;
    let chosen = apply_on(engine.threads(), g, &stats, &options.observers)?;
    border::integers(g, options.config.io)?;
    Ok(chosen)
}

/// Chooses from statistics what [`calibrate`] chooses from samples.
pub fn calibrate_from(g: &mut Graph, options: &Options, shard: &Shard) -> Result<Vec<Chosen>> {
    shard.check_values(g)?;
    let chosen = apply(g, &shard.stats, &options.observers)?;
    border::integers(g, options.config.io)?;
    Ok(chosen)
}

/// Chooses where there are no samples, as observers do that look at none: of all values nothing was seen.
pub fn calibrate_without_samples(g: &mut Graph, options: &Options) -> Result<Vec<Chosen>> {
    let mut stats = Stats::default();
    for (v, spec) in observed_by_samples(g) {
        let at = |e: Error| e.at_value(source_name(g, v));
        if options.observers.find(&spec.observer).map_err(at)?.needs_samples() {
            let found = format!("the observer '{}' looks at samples, and there are none", spec.observer);
            return Err(at(Error::new(found)).hint(format!("{}, or calibration data", observe::GLOBAL_SCALE)));
        }
        let channels = match spec.sharing {
            Sharing::Tensor => Some(0),
            Sharing::Channel(axis) => g.ty(v).shape.0.get(axis).and_then(lowbit_ir::Dim::known),
            Sharing::Block { .. } => None,
        };
        let channels = channels.ok_or_else(|| {
            let what = format!("expected a known number of channels to have a scale each, found {}", g.ty(v));
            at(Error::new(what)).hint("input.per = \"tensor\", or --shape with the sizes")
        })?;
        let seen = stats.values.entry(source_name(g, v).into()).or_default();
        seen.channels.resize_with(seen.channels.len().max(channels), Seen::new);
    }
    let chosen = apply(g, &stats, &options.observers)?;
    border::integers(g, options.config.io)?;
    Ok(chosen)
}

/// A value that is observed, and what shares a scale there.
type Wanted = (ValueId, Sharing);

/// The values that placeholders wait for until samples were run; a value once for everybody who asks.
fn wanted(g: &Graph) -> Vec<Wanted> {
    observed_by_samples(g).into_iter().map(|(v, spec)| (v, spec.sharing)).collect()
}

/// The same with all that is asked of them.
fn observed_by_samples(g: &Graph) -> Vec<(ValueId, &Request)> {
    let groups = ties::groups(g);
    let roots = groups.iter().flat_map(|group| &group.roots);
    let all = roots.filter_map(|id| Some((observed(g, *id)?, spec(g, *id)?)));
    all.filter(|(v, _)| g.constant(*v).is_none()).collect()
}

/// Runs up to `limit` samples (0: all), evenly spread, and counts the values that placeholders wait for.
pub fn observe(g: &Graph, engine: &dyn Engine, samples: &dyn Samples, limit: usize) -> Result<Stats> {
    let room = |bins: usize| within(bins, memory::MAX_MEMORY);
    let options = Options { config: Config { samples: limit, ..Config::default() }, ..Options::default() };
    observe_all(g, &wanted(g), engine, samples, &options, &room).map(|(stats, _)| stats)
}

/// Refuses more bins than memory is allowed for.
fn within(bins: usize, max_memory: usize) -> Result<()> {
    memory::check("statistics of values and their channels", bins.saturating_mul(size_of::<u64>()), max_memory)
}

/// As [`observe`], of these values and as many samples as the options say, with what the channels are that were looked at
/// of every one; `room` is asked whether there may be so many bins of all values together, from the first sample on.
/// With a checkpoint it goes on from there, and keeps what it sees.
fn observe_all(
    g: &Graph,
    wanted: &[Wanted],
    engine: &dyn Engine,
    samples: &dyn Samples,
    options: &Options,
    room: &(dyn Fn(usize) -> Result<()> + Sync),
) -> Result<(Stats, BTreeMap<String, Sharing>)> {
    check_float_mode()?;
    let taps: Vec<ValueId> = wanted.iter().map(|(v, _)| *v).collect();
    if samples.is_empty() && !taps.is_empty() {
        return Err(Error::new("expected at least one sample to calibrate on, found none")
            .hint("give images, arrays or --data random"));
    }
    let limit = options.config.samples;
    let numbers: Vec<usize> = spread(samples.len(), limit).collect();
    let config = options.checkpoint.as_ref().map(|_| options.config.to_toml()).transpose()?.unwrap_or_default();
    let mut kept = options.checkpoint.as_ref().map(|c| Kept::new(c, g, wanted, &config, (numbers.len(), samples)));
    let Begun { mut digests, seen } = kept.as_ref().map(Kept::begun).transpose()?.unwrap_or_default();
    // Whoever goes on with other samples would give what nobody could give again.
    for (place, (i, digest)) in numbers.iter().zip(&digests).enumerate() {
        if resume::digest(&samples.sample(*i)?) != *digest {
            return Err(Error::new(format!(
                "expected sample {i} as it was when it was run before, found another ({place} before it are the same)"
            ))
            .hint("go on with the same data; or name another file, or delete this one, to begin anew"));
        }
    }
    let done = digests.len();
    // Counting has no order, so whoever has run a sample counts, a value at a time; averages have one.
    let fresh = std::iter::repeat_with(Seen::new);
    let seen: Vec<Seen> = seen.into_iter().chain(fresh).take(taps.len()).collect();
    let bins = AtomicUsize::new(seen.iter().map(Seen::bins).sum());
    let seen: Vec<Mutex<Seen>> = seen.into_iter().map(Mutex::new).collect();
    let lock = |seen: &Mutex<Seen>| seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let keeps = kept.is_some();
    let count = |sample: &[Tensor], outputs: &Outputs| {
        let count = |((seen, tensor), (v, sharing)): ((&Mutex<Seen>, &Tensor), &Wanted)| {
            let data = tensor.floats()?;
            let parts = match sharing {
                Sharing::Tensor => Vec::new(),
                sharing => insert::shares(&data, tensor.dims(), *sharing),
            };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            // What others count meanwhile must see what this one is about to take. Wrapping: wider bins are fewer.
            let told = Cell::new(seen.bins());
            let tell = |own: usize| {
                let change = own.wrapping_sub(told.replace(own));
                bins.fetch_add(change, Ordering::Relaxed).wrapping_add(change)
            };
            let ends = seen.count(&data, &parts, &|own| room(tell(own)));
            tell(seen.bins());
            ends.map_err(|e| e.at_value(source_name(g, *v)))
        };
        let ends = seen.iter().zip(&outputs.taps).zip(wanted).map(count).collect::<Result<Vec<Vec<Ends>>>>()?;
        Ok((keeps.then(|| resume::digest(sample)), ends))
    };
    // Averages are kept where whoever ran the samples has taken all of them: see `pause`.
    let digests_of = Mutex::new(&mut digests);
    let mut average = |(digest, sample): (Option<u64>, Vec<Vec<Ends>>)| {
        let seen = seen.iter().map(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.zip(&sample).for_each(|(mut seen, ends)| seen.average(ends));
        digests_of.lock().unwrap_or_else(PoisonError::into_inner).extend(digest);
        Ok(())
    };
    let mut pause = |done: usize| {
        let Some(kept) = &mut kept else { return Ok(usize::MAX) };
        let (stop, last) = ((kept.checkpoint.stop)(), done == numbers.len());
        if stop || last || kept.is_due() {
            let digests = digests_of.lock().unwrap_or_else(PoisonError::into_inner);
            kept.write(&digests, seen.iter().map(lock).collect())?;
        }
        if stop && !last { Err(kept.stopped(done)) } else { Ok(kept.stride()) }
    };
    let graph = &float_form(g);
    let work = Work { engine, graph, taps: &taps, samples, limit, skip: done, doing: "calibrating on" };
    let mut stats = Stats { samples: each_sample(&work, &count, &mut average, &mut pause)?, values: BTreeMap::new() };
    let seen = seen.into_iter().map(|seen| seen.into_inner().unwrap_or_else(PoisonError::into_inner));
    let mut channels = BTreeMap::new();
    for ((v, sharing), seen) in wanted.iter().zip(seen) {
        // Of two who ask for one value, whoever also asks for its channels tells more.
        let name = source_name(g, *v);
        let entry = stats.values.entry(name.into()).or_default();
        if seen.channels.len() >= entry.channels.len() {
            *entry = seen;
            channels.insert(name.into(), *sharing);
        }
    }
    Ok((stats, channels))
}

/// The annotated graph without its placeholders; the ids of all other values stay.
pub fn float_form(g: &Graph) -> Graph {
    let mut float = g.clone();
    for id in g.order() {
        let node = g.node(*id);
        if let (Op::Simulate(_), Some(x), Some(y)) = (&node.op, float.node(*id).input(0), rewrite::output(node)) {
            float.replace_uses(y, x);
            float.remove_node(*id);
        }
    }
    float
}

/// Chooses scales from statistics and makes the annotated graph a QDQ graph.
pub fn apply(g: &mut Graph, stats: &Stats, observers: &Observers) -> Result<Vec<Chosen>> {
    apply_on(1, g, stats, observers)
}

/// As [`apply`], on so many threads.
fn apply_on(threads: usize, g: &mut Graph, stats: &Stats, observers: &Observers) -> Result<Vec<Chosen>> {
    check_float_mode()?;
    let asked = origin::take_asked(g)?;
    let choices = share::map(threads, &ties::groups(g), &|group| choose_group(g, group, stats, observers))?;
    let mut chosen = Parameters { of: choices.into_iter().flatten().collect() };
    constants::choose_weights(threads, g, observers, &mut chosen)?;
    let report = chosen.report(g, &asked);
    let mut names = insert::replace_placeholders(g, &chosen)?;
    let stored = |(id, chosen)| Chosen { stored_as: names.remove(&id).unwrap_or_default(), ..chosen };
    let mut report: Vec<Chosen> = report.into_iter().map(stored).collect();
    report.extend(constants::quantize_biases(g)?);
    insert::drop_redundant_limits(g)?;
    Ok(report)
}

/// What each placeholder becomes.
#[derive(Default)]
struct Parameters {
    of: HashMap<NodeId, Choice>,
}

struct Choice {
    /// One entry, or one per channel.
    affines: Vec<Affine>,
    seen: (f32, f32),
    /// How many values are beyond the integers, and how many there were.
    clipped: (u64, u64),
    limited_by: Option<&'static str>,
    widened_for_bias: usize,
    too_small: usize,
    /// The placeholder of the same integers in another place.
    shares_with: Option<NodeId>,
}

/// What the members of a group become.
fn choose_group(g: &Graph, group: &ties::Group, stats: &Stats, observers: &Observers) -> Result<Vec<(NodeId, Choice)>> {
    let Some(first) = group.members.first() else { return Ok(Vec::new()) };
    let Some(spec) = spec(g, *first) else { return Ok(Vec::new()) };
    let name = || observed(g, *first).map(|v| source_name(g, v)).unwrap_or_default();
    let observer = observers.find(&spec.observer).map_err(|e| e.at_value(name()))?;
    let mut seen: Option<Seen> = None;
    let mut bounds: Option<Bounds> = None;
    let mut constant = true;
    for v in group.roots.iter().filter_map(|id| observed(g, *id)) {
        let value = g.value(v);
        match rewrite::floats(g, v) {
            Some(data) => {
                let mut own = Seen::new();
                let parts = match spec.sharing {
                    Sharing::Tensor => Vec::new(),
                    sharing => insert::shares(&data, &value.ty.shape.require()?, sharing),
                };
                own.add_with_channels(&data, &parts).map_err(|e| e.at_value(&value.name))?;
                join(&mut seen, &own);
            }
            None => {
                constant = false;
                let name = source_name(g, v);
                let own = stats.values.get(name).ok_or_else(|| {
                    Error::new("the statistics know nothing of this value")
                        .at_value(name)
                        .hint("calibrate the same model with the same configuration")
                })?;
                join(&mut seen, own);
            }
        }
        let known = known_bounds(g, v);
        bounds = Some(bounds.map_or(known, |b| Bounds { low: b.low.min(known.low), high: b.high.max(known.high) }));
    }
    let mut seen = seen.unwrap_or_default();
    let (low, high) = seen.histogram.range();
    let whole = seen.histogram.clone();
    if let Some(useful) = useful_range(g, group).filter(|_| observer.known()) {
        seen.histogram = seen.histogram.limited(useful.low, useful.high);
    }
    // What a constant is, is known: nothing of it needs to be clipped.
    let range = match constant && observer.known() {
        true => Range { low, high },
        false => observer.range(&seen, spec).map_err(|e| e.at_value(name()))?,
    };
    let too_small = match observe::fit(Range { low, high }, spec) {
        Fit::Fits => 0,
        Fit::TooSmall => 1,
        Fit::TooLarge => return Err(too_large(g, group, stats, spec)),
    };
    let bounds = bounds.filter(|_| observer.known()).unwrap_or(Bounds::NONE);
    let limited_by = match () {
        () if range.low < bounds.low || range.high > bounds.high => Some("producer"),
        () if seen.histogram.range() != (low, high) => Some("readers"),
        () => None,
    };
    let affines = match spec.sharing {
        Sharing::Tensor => vec![observe::choose(range, bounds, spec)],
        Sharing::Channel(_) | Sharing::Block { .. } => {
            let choose = |seen: &Seen| Ok(observe::choose(observer.range(seen, spec)?, bounds, spec));
            let chosen = seen.channels.iter().map(choose).collect::<Result<Vec<Affine>>>();
            chosen.map_err(|e| e.at_value(name()))?
        }
    };
    if affines.is_empty() {
        return Err(Error::new("the statistics know nothing of the channels of this value")
            .at_value(name())
            .hint("calibrate with the same configuration"));
    }
    let each = match affines.as_slice() {
        [one] => vec![beyond(&whole, one)],
        many => seen.channels.iter().zip(many).map(|(seen, a)| beyond(&seen.histogram, a)).collect(),
    };
    let clipped = each.iter().fold((0, 0), |(n, of), (more, all)| (n + more, of + all));
    let leader = group.roots.first().unwrap_or(first);
    let choice = |id: &NodeId| {
        let (affines, shares_with) = (affines.clone(), Some(*leader).filter(|leader| leader != id));
        let seen = (low, high);
        (*id, Choice { affines, seen, clipped, limited_by, widened_for_bias: 0, too_small, shares_with })
    };
    Ok(group.members.iter().map(choice).collect())
}

/// How many values are beyond the integers by more than half a step, and how many there are.
fn beyond(histogram: &Histogram, a: &Affine) -> (u64, u64) {
    let real = |q: i32, half: f64| (f64::from(q) - f64::from(a.zero_point) + half) * f64::from(a.scale);
    let (least, greatest) = (real(a.qmin, -0.5), real(a.qmax, 0.5));
    let outside = histogram.bins().filter(|(centre, _)| *centre < least || *centre > greatest);
    (outside.map(|(_, n)| n).sum(), histogram.count())
}

/// A share of some values, 0..=100; none of nothing.
fn percent((part, whole): (u64, u64)) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

impl Parameters {
    fn report(&self, g: &Graph, asked: &BTreeMap<String, By>) -> Vec<(NodeId, Chosen)> {
        let describe = |id: &NodeId| {
            let node = g.node(*id);
            let (choice, spec, value) = (self.of.get(id)?, spec(g, *id)?, observed(g, *id)?);
            let by_scale = |a: &&Affine, b: &&Affine| a.scale.total_cmp(&b.scale);
            let (greatest, least) = (choice.affines.iter().max_by(by_scale)?, choice.affines.iter().min_by(by_scale)?);
            let chosen = Chosen {
                value: source_name(g, value).to_string(),
                dtype: insert::storage(g, value, spec).to_string(),
                integers: spec.range(),
                scales: choice.affines.len(),
                scale: greatest.scale,
                least_scale: least.scale,
                zero_point: greatest.zero_point,
                seen: choice.seen,
                observer: spec.observer.to_string(),
                limited_by: choice.limited_by.map(str::to_string),
                rule: node.rule.as_deref().unwrap_or_default().to_string(),
                widened_for_bias: choice.widened_for_bias,
                too_small: choice.too_small,
                kind: config::KINDS
                    .iter()
                    .find(|(kind, _)| *kind == spec.kind)
                    .map_or("", |(_, name)| name)
                    .to_string(),
                stored_as: String::new(),
                asked: Spec::of_request(spec),
                by: asked.get(&node.name).cloned().unwrap_or_default(),
                clipped_percent: percent(choice.clipped),
                shares_with: choice.shares_with.and_then(|id| Some(source_name(g, observed(g, id)?).to_string())),
            };
            Some((*id, chosen))
        };
        g.order().iter().filter_map(describe).collect()
    }
}

/// The error of a group whose values no scale fits, at the value that reaches furthest.
fn too_large(g: &Graph, group: &ties::Group, stats: &Stats, spec: &Request) -> Error {
    let reach = |v: ValueId| {
        let name = source_name(g, v);
        let (low, high) = match rewrite::floats(g, v) {
            Some(data) => data.iter().fold((0.0f32, 0.0f32), |(l, h), x| (l.min(*x), h.max(*x))),
            None => stats.values.get(name).map_or((0.0, 0.0), |seen| seen.histogram.range()),
        };
        (high.max(-low), name)
    };
    let values = group.roots.iter().filter_map(|id| observed(g, *id)).map(reach);
    let (found, name) = values.max_by(|a, b| a.0.total_cmp(&b.0)).unzip();
    let error = Error::new(format!(
        "expected magnitudes up to {:e} to quantize, found {:e}",
        observe::largest(spec),
        found.unwrap_or(f32::INFINITY)
    ));
    let error =
        error.hint("check the calibration data, the model's preprocessing and the weights of the layers before");
    name.into_iter().fold(error, |e, name| e.at_value(name))
}

/// Adds what was seen of one of the values that share parameters.
///
/// Samples showed them side by side, so their averages have an order: the range of all is the widest of each.
fn join(all: &mut Option<Seen>, own: &Seen) {
    match all {
        None => *all = Some(own.clone()),
        Some(all) => {
            let moving = all.moving.zip(own.moving).map(|(a, b)| a.widest(b));
            all.merge(own);
            all.moving = moving;
        }
    }
}

/// What a placeholder asks for.
fn spec(g: &Graph, id: NodeId) -> Option<&Request> {
    match &g.node(id).op {
        Op::Simulate(spec) => Some(spec),
        _ => None,
    }
}

/// The value that a placeholder waits for: the float one, also where it reads what another placeholder gives.
fn observed(g: &Graph, id: NodeId) -> Option<ValueId> {
    let mut v = g.node(id).input(0)?;
    while let Some((_, node)) = rewrite::producer(g, v).filter(|(_, n)| matches!(n.op, Op::Simulate(_))) {
        v = node.input(0)?;
    }
    Some(v)
}

/// The name of a value in the source: one that leaves the model narrow left its name to its narrow form. Statistics go by
/// it, whatever the configuration makes of the value.
pub fn source_name(g: &Graph, v: ValueId) -> &str {
    let leaves = |output: &ValueId| match rewrite::producer(g, *output) {
        Some((id, node)) if matches!(node.op, Op::Simulate(_)) => observed(g, id) == Some(v),
        Some(_) | None => false,
    };
    let named = g.outputs.iter().copied().find(leaves).unwrap_or(v);
    &g.value(named).name
}

/// Whether a placeholder waits for weights, which have their own observers.
fn is_weight(g: &Graph, id: NodeId) -> bool {
    spec(g, id).is_some_and(|s| s.kind == Kind::Weight) && g.node(id).input(0).is_some_and(|v| g.constant(v).is_some())
}

/// The range beyond which all readers of a group's values make the same of them, if they all are such functions.
fn useful_range(g: &Graph, group: &ties::Group) -> Option<Bounds> {
    let users = g.users();
    let readers = group.members.iter().filter_map(|id| rewrite::output(g.node(*id))).flat_map(|v| users.of(v));
    let mut useful: Option<Bounds> = None;
    for (reader, _) in readers {
        let Op::Unary(f) = g.node(*reader).op else { return None };
        let (low, high) = f.facts().varies?;
        let of = Bounds { low, high };
        useful = Some(useful.map_or(of, |u| Bounds { low: u.low.min(of.low), high: u.high.max(of.high) }));
    }
    useful
}

/// The limits that a value keeps by what computes it.
fn known_bounds(g: &Graph, v: ValueId) -> Bounds {
    match rewrite::producer(g, v).map(|(_, n)| &n.op) {
        Some(Op::Relu) => Bounds { low: 0.0, high: f32::INFINITY },
        Some(Op::Clip { min, max }) => Bounds { low: *min, high: *max },
        Some(Op::Softmax { .. }) => Bounds { low: 0.0, high: 1.0 },
        Some(Op::Unary(f)) => {
            let (low, high) = f.facts().image;
            Bounds { low, high }
        }
        Some(_) | None => Bounds::NONE,
    }
}
