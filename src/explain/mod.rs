//! Why a model is quantized as it is: of every tensor what its parameters are and who chose them, of every operator
//! whether it computes on integers, and why not.
//!
//! What a quantized model's file records (see [`origin`]) is told as it was recorded, what the file itself says is read
//! from it, and what it does not say is said to be missing. Of a float model it is told what annotation would do with it.

mod float;

use crate::choices::{Sourced, limit};
use crate::left::left_float;
use crate::model::{Model, Quantize};
use crate::recipe::Recipe;
use lowbit_ir::op::Category;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Def, Error, Granularity, Graph, Node, Op, Quant, Result, ValueId, bounds, hardware};
use lowbit_quantize::Config;
use lowbit_quantize::config::{Limit, Spec};
use lowbit_quantize::equalize::{self, Factors};
use lowbit_quantize::origin::{self, BIAS, Origin};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is said where a file does not say it.
pub const NOT_RECORDED: &str = "not recorded in the file";

/// What is said of a float model.
pub const NOT_CALIBRATED: &str = "known when it is calibrated";

/// A model, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether the model is quantized; else it is told what quantizing it would do.
    pub quantized: bool,
    /// Whether its file records where its parameters come from.
    pub recorded: bool,
    /// What it was made of and with, if the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// What the device of the configuration allows, where that is less than all.
    pub hardware: Vec<String>,
    /// What is not as it will be, such as stages that need data.
    pub notes: Vec<String>,
    /// The operators of the integer program, in order, of a float model those that would be annotated; and what was merged
    /// into them.
    pub layers: Vec<Layer>,
    /// The quantized tensors, in order.
    pub tensors: Vec<Tensor>,
    /// All other values, by name.
    #[serde(skip)]
    others: BTreeMap<String, Plain>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Whether it computes on integers.
    pub integer: bool,
    /// Whether it is a part of another operator by then, as a Relu is of the layer before it.
    pub merged: bool,
    /// The rule that decided, where it is known.
    pub rule: Option<String>,
    /// Why it stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its sums can reach, if it multiplies and accumulates integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accumulator: Option<Accumulator>,
    /// How it moves integers to another scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescaling: Option<Said>,
    /// What it reads, by name.
    pub reads: Vec<String>,
    /// What it gives.
    pub gives: Vec<Given>,
}

/// A result of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// Its type, with its scales summarised.
    #[serde(rename = "type")]
    pub ty: String,
}

impl Given {
    fn of(g: &Graph, v: ValueId) -> Given {
        Given { name: g.value(v).name.clone(), ty: brief(g, v) }
    }
}

/// The proven bound of sums.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accumulator {
    /// How it is stored.
    pub dtype: String,
    /// The least sum that any input can give.
    pub least: i64,
    /// The greatest.
    pub greatest: i64,
    /// Bits that hold both.
    pub bits: u32,
    /// Products in a sum.
    pub products: usize,
    /// What the width is allowed to be, and who says so.
    pub by: String,
}

/// Something, and who chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The key of the configuration, the rule or whatever else chose it.
    pub by: String,
    /// Who made that choice of the configuration; empty where it is none.
    pub source: String,
    /// What the configuration's device allows of it, where that is less than all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
}

/// A quantized tensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tensor {
    /// The float value that it stands for.
    pub name: String,
    /// The integers, if they have a name of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integers: Option<String>,
    /// `input`, `weight`, `activation` or `bias`, if the file says.
    pub kind: Option<String>,
    /// The rule that wanted it, with the keys of the configuration that had a say.
    pub rule: Option<String>,
    /// How an element is stored.
    pub dtype: String,
    /// Its sizes.
    pub shape: String,
    /// The least and the greatest integer used.
    pub range: (i64, i64),
    /// Who chose the integers.
    pub dtype_by: String,
    /// The scales, if they are known.
    pub scale: Option<Scales>,
    /// Who chose them.
    pub scale_by: String,
    /// The least and the greatest zero point.
    pub zero_point: Option<(i32, i32)>,
    /// Who chose them.
    pub zero_point_by: String,
    /// The reals that the integers reach; of several scales those of the greatest.
    pub covers: Option<(f64, f64)>,
    /// Least and greatest value seen, zero included.
    pub seen: Option<(f32, f32)>,
    /// What found the range.
    pub observer: Option<String>,
    /// Share of what was seen that is beyond the integers by more than half a step, 0..=100.
    pub clipped_percent: Option<f64>,
    /// Every choice that was asked for, and who made it.
    pub choices: Vec<Said>,
    /// What else became of it.
    pub notes: Vec<String>,
    /// Whether it is a constant.
    pub constant: bool,
    /// The node that computes it; none of constants and of what enters the model.
    pub writer: Option<String>,
    /// The nodes that read it.
    pub readers: Vec<String>,
}

/// Scales, summarised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scales {
    /// How many there are.
    pub count: usize,
    /// What shares one.
    pub sharing: String,
    /// The least.
    pub least: f32,
    /// The greatest.
    pub greatest: f32,
}

/// A value that is not quantized.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    ty: String,
    writer: Option<String>,
    readers: Vec<String>,
    /// What it is in the integer program, if it is there.
    lowered: Option<String>,
}

/// Explains a model; of a float one, what these choices would do with it.
///
/// # Errors
///
/// Where a quantized model cannot be realized, or a float one not annotated with these choices.
pub fn explain(model: &Model, choices: &Sourced) -> Result<Explanation> {
    explain_with(model, choices, &Quantize::default())
}

/// The same where a float model would be quantized with rules and observers of the user's; passes of theirs have no say
/// here. The configuration is that of `choices`.
pub fn explain_with(model: &Model, choices: &Sourced, how: &Quantize<'_>) -> Result<Explanation> {
    match model.is_quantized() {
        true => quantized(model),
        false => float::explain(model, choices, how.chosen()),
    }
}

impl Explanation {
    /// Only what has to do with a value or a node of this name.
    ///
    /// # Errors
    ///
    /// A name that nothing has is an error with the nearest one.
    pub fn about(&self, name: &str) -> Result<Explanation> {
        let gives = |l: &Layer| l.gives.iter().any(|given| given.name == name);
        let is = |t: &Tensor| t.name == name || t.integers.as_deref() == Some(name);
        let named: Vec<&Layer> = self.layers.iter().filter(|l| l.node == name).collect();
        let mut found =
            Explanation { layers: Vec::new(), tensors: Vec::new(), others: BTreeMap::new(), ..self.clone() };
        // Who computes a value says how large its sums can get.
        let writers: Vec<&str> = self.tensors.iter().filter(|t| is(t)).filter_map(|t| t.writer.as_deref()).collect();
        let concerns = |l: &Layer| l.node == name || gives(l) || writers.contains(&l.node.as_str());
        found.layers = self.layers.iter().filter(|l| concerns(l)).cloned().collect();
        let around = |t: &Tensor| {
            let by = |node: &str| named.iter().any(|l| l.node == node);
            t.writer.as_deref().is_some_and(by) || t.readers.iter().any(|r| by(r))
        };
        found.tensors = self.tensors.iter().filter(|t| is(t) || around(t)).cloned().collect();
        if let Some(plain) = self.others.get(name).filter(|_| !self.tensors.iter().any(is)) {
            found.notes.push(plain.told(name));
        } else if found.layers.is_empty() && found.tensors.is_empty() {
            return Err(self.unknown(name));
        }
        Ok(found)
    }

    fn unknown(&self, name: &str) -> Error {
        let nodes = self.layers.iter().map(|l| l.node.as_str());
        let values = self.tensors.iter().map(|t| t.name.as_str()).chain(self.others.keys().map(String::as_str));
        let near = did_you_mean(name, nodes.chain(values).collect::<Vec<_>>());
        Error::new(format!("the model has no value and no node of the name '{name}'{near}"))
            .hint("the names that lowbit explain MODEL lists; what was merged into others before quantizing has none")
    }
}

impl Plain {
    fn told(&self, name: &str) -> String {
        let writer =
            self.writer.as_ref().map_or("no node computes it".to_string(), |node| format!("'{node}' computes it"));
        let readers: Vec<String> = self.readers.iter().map(|r| format!("'{r}'")).collect();
        let readers =
            if readers.is_empty() { "it leaves the model".into() } else { format!("{} read it", readers.join(", ")) };
        let lowered = match &self.lowered {
            Some(ty) => format!("in the integer program it is {ty}"),
            None => "in the integer program it is no value of its own".into(),
        };
        format!(
            "value '{name}' is {} in the file and has no quantization of its own: {writer}, {readers}; {lowered}",
            self.ty
        )
    }
}

/// Explains a quantized model by its file and by the integer program that it becomes.
fn quantized(model: &Model) -> Result<Explanation> {
    let g = model.graph();
    let (lowered, left) = model.lowered()?;
    let left = left_float(&lowered, &left);
    let stored = model.stored_config()?;
    let config = stored.clone().unwrap_or(model.config()?);
    let choices = stored.map(|config| Sourced::of_model(config, "the file"));
    let origins = origin::read(g)?;
    let cx = Context {
        g,
        config: &config,
        choices: choices.as_ref(),
        origins: origins.as_ref(),
        links: Links::new(g),
        factors: equalize::recorded(g)?,
    };
    let layer = |node: &Node| {
        let why = left.iter().find(|l| l.node == node.name);
        let rule = why.map(|l| l.rule.clone()).or_else(|| node.rule.as_deref().map(String::from));
        Ok(Layer {
            node: node.name.clone(),
            op: node.op.name().into(),
            integer: why.is_none(),
            merged: false,
            rule,
            reason: why.map(|l| l.reason.clone()),
            accumulator: cx.accumulator(&lowered, node)?,
            rescaling: cx.rescaling(node),
            reads: node.operands().map(|v| lowered.value(v).name.clone()).collect(),
            gives: node.outputs.iter().map(|v| Given::of(&lowered, *v)).collect(),
        })
    };
    // What only changes between floats and integers is no operator of the model's.
    let edges = |node: &Node| matches!(node.op, Op::Quantize { .. } | Op::Dequantize);
    let layers = lowered.nodes().filter(|(_, n)| !edges(n) || left.iter().any(|l| l.node == n.name));
    let mut layers = layers.map(|(_, n)| layer(n)).collect::<Result<Vec<Layer>>>()?;
    layers.extend(merged(g, &lowered));
    let tensors: Vec<Tensor> = cx.in_order().into_iter().map(|v| cx.tensor(v)).collect::<Result<_>>()?;
    let mut notes = Vec::new();
    if origins.is_none() {
        notes.push(
            "the file was not quantized here, or by a version that did not record why: what it does not say is told so"
                .into(),
        );
    }
    let others = others(g, &cx.links, &tensors, Some(&lowered));
    Ok(Explanation {
        quantized: true,
        recorded: origins.is_some(),
        recipe: Recipe::of(g)?,
        hardware: limits(&config),
        notes,
        layers,
        tensors,
        others,
    })
}

/// The operators of a graph that another, which it became, has not any more.
fn merged(before: &Graph, after: &Graph) -> Vec<Layer> {
    let left: HashSet<&str> = after.nodes().map(|(_, n)| n.name.as_str()).collect();
    let gone = before.nodes().filter(|(_, n)| is_operator(before, n) && !left.contains(n.name.as_str()));
    let layer = |(_, node): (lowbit_ir::NodeId, &Node)| Layer {
        node: node.name.clone(),
        op: node.op.name().into(),
        integer: true,
        merged: true,
        rule: node.rule.as_deref().map(String::from),
        reason: None,
        accumulator: None,
        rescaling: None,
        reads: node.operands().map(|v| before.value(v).name.clone()).collect(),
        gives: node.outputs.iter().map(|v| Given::of(before, *v)).collect(),
    };
    gone.map(layer).collect()
}

/// The values that are not quantized.
fn others(g: &Graph, links: &Links, tensors: &[Tensor], lowered: Option<&Graph>) -> BTreeMap<String, Plain> {
    let names = tensors.iter().flat_map(|t| t.integers.iter().chain([&t.name]));
    let told: HashSet<&str> = names.map(String::as_str).collect();
    let plain = |v: ValueId| Plain {
        ty: brief(g, v),
        writer: g.producer(v).map(|id| g.node(id).name.clone()),
        readers: links.readers(v),
        lowered: lowered.and_then(|l| Some(brief(l, l.find(&g.value(v).name)?))),
    };
    let all = g.values().filter(|(_, value)| !told.contains(value.name.as_str())).map(|(v, _)| v);
    all.map(|v| (g.value(v).name.clone(), plain(v))).collect()
}

/// What the device allows, where that is less than all.
fn limits(config: &Config) -> Vec<String> {
    let Ok(device) = hardware::find(&config.hardware) else { return Vec::new() };
    if device.name == hardware::HOST {
        return Vec::new();
    }
    let methods: Vec<&str> = device.methods.iter().map(|m| m.name()).collect();
    let mut all = vec![
        format!("operands of layers up to {} bits", device.operand_bits),
        format!("accumulators up to {} bits", device.accumulator_bits),
        format!("rescaling by {}", methods.join(" or ")),
    ];
    all.extend(
        [
            (!device.float).then(|| "no float operators".to_string()),
            (!device.per_channel).then(|| "one scale a tensor".to_string()),
            (!device.zero_points).then(|| "zero points of 0 alone".to_string()),
            (!device.tables).then(|| "no tables".to_string()),
        ]
        .into_iter()
        .flatten(),
    );
    all.into_iter().map(|limit| format!("hardware = \"{}\" allows {limit}", device.name)).collect()
}

/// Who reads what.
struct Links(HashMap<ValueId, Vec<String>>);

impl Links {
    fn new(g: &Graph) -> Links {
        let mut readers: HashMap<ValueId, Vec<String>> = HashMap::new();
        for (_, node) in g.nodes() {
            for v in node.operands() {
                let names = readers.entry(v).or_default();
                if !names.contains(&node.name) {
                    names.push(node.name.clone());
                }
            }
        }
        Links(readers)
    }

    fn readers(&self, v: ValueId) -> Vec<String> {
        self.0.get(&v).cloned().unwrap_or_default()
    }
}

/// What explaining a quantized model needs to know.
struct Context<'a> {
    g: &'a Graph,
    config: &'a Config,
    /// The stored choices with who made them; none of another tool's file.
    choices: Option<&'a Sourced>,
    origins: Option<&'a BTreeMap<String, Origin>>,
    links: Links,
    factors: HashMap<String, Factors>,
}

impl Context<'_> {
    /// The quantized values, each where it is first there.
    fn in_order(&self) -> Vec<ValueId> {
        let (g, mut seen) = (self.g, HashSet::new());
        let inputs = g.inputs.iter().copied();
        let of_nodes = g.nodes().flat_map(|(_, n)| n.operands().chain(n.outputs.iter().copied()).collect::<Vec<_>>());
        inputs.chain(of_nodes).filter(|v| g.ty(*v).is_quantized() && seen.insert(*v)).collect()
    }

    /// What is recorded of quantized integers: under their name, or, where they are what enters or leaves the model,
    /// under that of the float they stand for.
    fn origin(&self, v: ValueId) -> Option<&Origin> {
        let (all, name) = (self.origins?, &self.g.value(v).name);
        all.get(name).or_else(|| {
            let border = self.g.value(v).def == Def::Input || self.g.is_output(v);
            all.values().find(|o| border && o.of == *name)
        })
    }

    fn tensor(&self, v: ValueId) -> Result<Tensor> {
        let (g, ty) = (self.g, self.g.ty(v));
        let q = ty.quant()?;
        let origin = self.origin(v);
        let name = g.value(v).name.clone();
        let quantizes = g.producer(v).map(|id| g.node(id)).filter(|n| matches!(n.op, Op::Quantize { .. }));
        let float = quantizes.and_then(|n| n.input(0));
        let of = origin.map(|o| o.of.clone()).or_else(|| float.map(|x| g.value(x).name.clone()));
        let source = match quantizes {
            Some(_) => float.and_then(|x| g.producer(x)),
            None => g.producer(v),
        };
        // Who reads the reals is who the integers are for.
        let reals = |id: lowbit_ir::NodeId| g.node(id).outputs.first().copied();
        let direct = g.nodes().filter(|(_, n)| n.operands().any(|o| o == v));
        let readers = direct.flat_map(|(id, n)| match n.op {
            Op::Dequantize => reals(id).map(|x| self.links.readers(x)).unwrap_or_default(),
            _ => vec![n.name.clone()],
        });
        let mut readers: Vec<String> = readers.collect();
        readers.dedup();
        let mut tensor = Tensor {
            name: of.clone().unwrap_or_else(|| name.clone()),
            integers: of.filter(|of| *of != name).map(|_| name),
            kind: origin.map(|o| o.kind.clone()),
            rule: origin.map(|o| o.rule.clone()),
            dtype: ty.dtype.to_string(),
            shape: ty.shape.to_string(),
            range: (q.qmin, q.qmax),
            scale: scales(q),
            zero_point: q.zero_point.iter().min().copied().zip(q.zero_point.iter().max().copied()),
            covers: covers(q),
            seen: origin.and_then(|o| o.seen),
            clipped_percent: origin.and_then(|o| o.clipped_percent),
            constant: g.constant(v).is_some(),
            writer: source.map(|id| g.node(id).name.clone()),
            readers,
            ..Tensor::default()
        };
        match origin {
            Some(origin) => {
                let spec = origin.spec(self.config);
                self.chosen(&mut tensor, origin, &spec);
            }
            None => {
                let missing = || NOT_RECORDED.to_string();
                (tensor.dtype_by, tensor.scale_by, tensor.zero_point_by) = (missing(), missing(), missing());
            }
        }
        self.equalized(&mut tensor);
        Ok(tensor)
    }

    /// Fills in who chose the parameters.
    fn chosen(&self, tensor: &mut Tensor, origin: &Origin, spec: &Spec) {
        if origin.kind == BIAS {
            let by = "the accumulator's, the product of the scales of its layer's input and weights";
            tensor.observer = Some("accumulator".into());
            (tensor.dtype_by, tensor.scale_by) = ("a bias is added to the accumulator".into(), by.into());
            tensor.zero_point_by = "an accumulator has none".into();
        } else {
            let choices = self.choices;
            tensor.choices = said(choices, &origin.kind, spec, &origin.by);
            tensor.observer = spec.observer.clone();
            who(tensor, spec);
        }
        if let Some(by) = &origin.limited_by {
            let how = match by.as_str() {
                "producer" => "the range is cut where its operator gives nothing beyond",
                "readers" => "the range is cut where its readers make the same of all that is beyond",
                other => other,
            };
            tensor.notes.push(how.into());
        }
        if let Some(other) = &origin.shares_with {
            tensor.notes.push(format!("it has the parameters of '{other}': the same integers in another place"));
        }
        if origin.widened_for_bias > 0 {
            tensor.notes.push(format!(
                "so that the bias fits its integer, {} of its scales had to be coarser than asked",
                origin.widened_for_bias
            ));
        }
        if origin.too_small > 0 {
            tensor.notes.push(format!(
                "{} of its scales would be below the least there is: what they stand for is nearly or all zero",
                origin.too_small
            ));
        }
        tensor.notes.extend(origin.corrected.iter().map(|by| format!("changed afterwards by {by}")));
    }

    /// Says so where equalization multiplied the channels.
    fn equalized(&self, tensor: &mut Tensor) {
        if let Some(factors) = self.factors.get(&tensor.name) {
            let all = factors.channels.iter();
            let (least, greatest) = all.fold((f64::INFINITY, 0.0f64), |(l, h), f| (l.min(*f), h.max(*f)));
            tensor.notes.push(format!("equalize multiplied its channels by {least:.3} to {greatest:.3}"));
        }
    }

    /// What the sums of a layer of the integer program can reach.
    fn accumulator(&self, lowered: &Graph, node: &Node) -> Result<Option<Accumulator>> {
        let (Ok(Some(bound)), Some(y)) = (bounds::bound(lowered, node), node.outputs.first()) else { return Ok(None) };
        let (least, greatest) = bound.range();
        let by = match self.choices {
            None => format!("as wide as its sums need ({NOT_RECORDED} what was allowed)"),
            Some(choices) => {
                let config = self.config;
                let source = |key: &str| choices.source(key).to_string();
                let widened = bound.bits_needed() > u32::from(config.accumulator_bits)
                    && config.accumulator_limit == Limit::Widen;
                match widened {
                    true => format!("accumulator_limit = \"widen\" ({})", source("accumulator_limit")),
                    false => {
                        let key = "accumulator_bits";
                        let device = limit(config, key).map_or(String::new(), |limit| format!("; {limit}"));
                        format!("{key} = {} ({}){device}", config.accumulator_bits, source(key))
                    }
                }
            }
        };
        let (bits, products) = (bound.bits_needed(), bound.depth);
        Ok(Some(Accumulator { dtype: lowered.ty(*y).dtype.to_string(), least, greatest, bits, products, by }))
    }

    /// How a node changes scales, and who chose it.
    fn rescaling(&self, node: &Node) -> Option<Said> {
        let rescale = node.op.rescale()?;
        let source = self.choices.map_or(NOT_RECORDED.to_string(), |c| c.source("requantize").to_string());
        let value = format!("{}, {}", rescale.method, rescale.rounding);
        let hardware = self.choices.and_then(|choices| limit(&choices.config, "requantize"));
        Some(Said { name: "rescaling".into(), value, by: "requantize".into(), source, hardware })
    }
}

/// The choices of a kind, with who made each: a key of the kind, or another that had the last word.
fn said(choices: Option<&Sourced>, kind: &str, spec: &Spec, by: &BTreeMap<String, String>) -> Vec<Said> {
    let one = |(name, value): (String, String)| {
        let by = by.get(&name).cloned().unwrap_or_else(|| format!("{kind}.{name}"));
        // What is said by a line such as io = "int8" is said by its key.
        let key = by.split(" = ").next().unwrap_or_default();
        let source = match choices {
            Some(choices) if is_key(choices, key) => choices.source(key).to_string(),
            Some(_) | None => String::new(),
        };
        let hardware = choices.and_then(|choices| limit(&choices.config, &format!("{kind}.{name}")));
        Said { name, value, by, source, hardware }
    };
    spec.entries().into_iter().map(one).collect()
}

fn is_key(choices: &Sourced, key: &str) -> bool {
    choices.config.entries().iter().any(|(k, _)| k == key)
}

/// Who chose type, scale and zero point, in words of the choices.
fn who(tensor: &mut Tensor, spec: &Spec) {
    let of = |name: &str| tensor.choices.iter().find(|s| s.name == name).map_or(String::new(), Said::told);
    let join = |names: &[&str]| names.iter().map(|n| of(n)).filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ");
    let observer = spec.observer.clone().unwrap_or_default();
    let form = if of("scale").contains("power-of-two") { ", to the next power of two" } else { "" };
    let dtype = join(&["bits", "signed", "narrow"]);
    let of_what = if tensor.constant { "its elements" } else { "what was seen" };
    let scale = format!("the observer {observer} on {of_what}{form}: {}", join(&["observer", "per", "scale"]));
    let zero_point = match spec.symmetric {
        Some(true) => format!("the middle of the integers: {}", of("symmetric")),
        Some(false) | None => format!("where the range has its zero: {}", of("symmetric")),
    };
    (tensor.dtype_by, tensor.scale_by, tensor.zero_point_by) = (dtype, scale, zero_point);
}

impl Said {
    /// `input.bits = 8 (default)`, `bits = 8 by io = "int8" (recipe of the file)`.
    pub fn told(&self) -> String {
        let source = if self.source.is_empty() { String::new() } else { format!(" ({})", self.source) };
        let limit = self.hardware.as_ref().map_or(String::new(), |limit| format!("; {limit}"));
        let name = self.by.rsplit_once('.').map_or(self.by.as_str(), |(_, last)| last);
        match name == self.name {
            true => format!("{} = {}{source}{limit}", self.by, self.value),
            false => format!("{} = {} by {}{source}{limit}", self.name, self.value, self.by),
        }
    }
}

/// What shares a scale, in words.
pub(crate) fn granularity(q: &Quant) -> String {
    match q.granularity {
        _ if q.is_per_tensor() => "one scale".into(),
        Granularity::Tensor => "one scale".into(),
        Granularity::Channel { axis } => format!("a scale per channel along axis {axis}"),
        Granularity::Block { axis, size } => format!("a scale per block of {size} along axis {axis}"),
    }
}

fn scales(q: &Quant) -> Option<Scales> {
    let least = q.scale.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = q.scale.iter().copied().fold(0.0, f32::max);
    (!q.scale.is_empty()).then(|| Scales { count: q.scale.len(), sharing: granularity(q), least, greatest })
}

/// The reals that the integers with the greatest scale reach.
fn covers(q: &Quant) -> Option<(f64, f64)> {
    let (i, scale) = q.scale.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let zero = q.zero_point.get(i).or(q.zero_point.first()).copied().unwrap_or(0);
    let real = |n: i64| (n as f64 - f64::from(zero)) * f64::from(*scale);
    Some((real(q.qmin), real(q.qmax)))
}

/// A type with its scales summarised.
fn brief(g: &Graph, v: ValueId) -> String {
    let ty = g.ty(v);
    let plain = format!("{}[{}]", ty.dtype, ty.shape);
    match &ty.quant {
        None => plain,
        Some(q) => {
            let most = q.scale.iter().copied().fold(0.0, f32::max);
            let zero = q.zero_point.first().copied().unwrap_or(0);
            let scale = if q.is_per_tensor() {
                format!("scale {most:e}")
            } else {
                format!("{} up to {most:e}", granularity(q))
            };
            format!("{plain} {}..{}, {scale}, zero point {zero}", q.qmin, q.qmax)
        }
    }
}

/// Whether a node is one that rules are asked about.
fn is_operator(g: &Graph, node: &Node) -> bool {
    let float = node.outputs.first().is_some_and(|v| g.ty(*v).dtype.is_float());
    float && node.op.category() != Category::Quantization
}
