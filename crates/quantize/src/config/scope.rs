//! Choices for some nodes: of an operator, or of layers by name. The more specific wins.

use super::keys::key_of;
use super::{Config, MethodName, Mode, Output, Scale, Spec};
use crate::observe::GLOBAL_SCALE;
use crate::prepare::fold_batch_norm;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::text::{OPERATORS, operator_meant};
use lowbit_ir::{Error, Graph, Kind, Node, NodeId, Op, Result, hardware};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What an operator or a layer has of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
    /// Whether it stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<bool>,
    /// What is quantized of it, and when the scale of what it reads is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What leaves it, to floats behind it or out of the model: narrow values, or what it computed; else its rule decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// What it reads from memory.
    #[serde(skip_serializing_if = "Spec::is_open")]
    pub input: Spec,
    /// Its weights.
    #[serde(skip_serializing_if = "Spec::is_open")]
    pub weight: Spec,
    /// Its wide results.
    #[serde(skip_serializing_if = "Spec::is_open")]
    pub activation: Spec,
}

impl Choices {
    /// What is wanted of a kind.
    pub fn of(&self, kind: Kind) -> &Spec {
        match kind {
            Kind::Input => &self.input,
            Kind::Weight => &self.weight,
            Kind::Activation => &self.activation,
        }
    }

    /// [`Spec::check`] of all kinds.
    pub fn check(&self) -> Result<()> {
        for (kind, name) in super::KINDS {
            self.of(kind).check(kind).map_err(|e| e.context(format!("checking the choices of {name}")))?;
        }
        Ok(())
    }
}

/// Why a node stays float by the configuration's will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip(pub String);

/// A choice for a node that is not the default's.
#[derive(Debug, Clone)]
pub struct Say<'c> {
    /// Whose it is: `op.Conv`, `layer."conv*"`.
    pub key: String,
    /// What it says of the kind that was asked about.
    pub spec: &'c Spec,
}

/// Who made a choice, by the choice: `bits` and `layer."conv*".input.bits`. What the kind's own key says is left out.
pub type By = BTreeMap<String, String>;

/// What is wanted of a tensor, and who had a say.
#[derive(Debug, Clone, Default)]
pub struct Wish<'c> {
    /// All of it, nothing left open.
    pub spec: Spec,
    /// Who else than the default had a say.
    pub said: Vec<Say<'c>>,
    /// Which of them, or the rule, made which choice.
    pub by: By,
}

/// The configuration's choices for the nodes of a graph.
///
/// For every node: the default, over it what its operator has, over it what layers of its name have.
#[derive(Debug, Clone, Default)]
pub struct Scopes {
    /// The keys of the layers that name a node, the least specific first.
    layers: HashMap<NodeId, Vec<String>>,
    skips: HashMap<NodeId, Skip>,
}

impl Scopes {
    /// Finds which choices are which node's; names that match nothing are an error.
    pub fn new(g: &Graph, config: &Config) -> Result<Scopes> {
        check_operators(g, config)?;
        let mut scopes = Scopes::default();
        for (pattern, choices) in &config.layer {
            let matching: Vec<NodeId> = g.nodes().filter(|(_, n)| names(g, n, pattern)).map(|(id, _)| id).collect();
            if matching.is_empty() {
                let all: Vec<&str> = g.nodes().map(|(_, n)| n.name.as_str()).collect();
                return Err(Error::new(format!(
                    "layer.\"{pattern}\" names no node of the model{}",
                    did_you_mean(pattern, all)
                ))
                .hint(
                    "the names that lowbit inspect --lowered --json gives of the float model, where nodes are merged as they \
                     will be (a Sigmoid into a Silu); * stands for any letters, ? for one",
                ));
            }
            for id in matching {
                scopes.add(g.node(id), id, pattern, choices, config)?;
            }
        }
        scopes.skip(g, config)?;
        Ok(scopes)
    }

    /// Why a node stays float, if the configuration wants it.
    pub fn skipped(&self, id: NodeId) -> Option<&Skip> {
        self.skips.get(&id)
    }

    /// The mode of a node, as operators and layers say it, and the keys that do; the last one decides.
    pub fn modes(&self, config: &Config, id: NodeId, op: &Op) -> Vec<(String, Mode)> {
        let layers = self.layers.get(&id).into_iter().flatten();
        let layers = layers.filter_map(|p| Some((layer_key(p), config.layer.get(p)?.mode?)));
        let of_op = config.op.get(op.name()).and_then(|c| Some((op_key(op.name()), c.mode?)));
        of_op.into_iter().chain(layers).collect()
    }

    /// The mode of a node.
    pub fn mode(&self, config: &Config, id: NodeId, op: &Op) -> Mode {
        self.modes(config, id, op).last().map_or(config.mode, |(_, mode)| *mode)
    }

    /// What is to leave a node, if the configuration says it, and the keys that do; the last one decides.
    pub fn outputs(&self, config: &Config, id: NodeId, op: &Op) -> Vec<(String, Output)> {
        let layers = self.layers.get(&id).into_iter().flatten();
        let layers = layers.filter_map(|p| Some((layer_key(p), config.layer.get(p)?.output?)));
        let of_op = config.op.get(op.name()).and_then(|c| Some((op_key(op.name()), c.output?)));
        of_op.into_iter().chain(layers).collect()
    }

    /// What is to leave a node, if the configuration says it.
    pub fn output(&self, config: &Config, id: NodeId, op: &Op) -> Option<Output> {
        self.outputs(config, id, op).last().map(|(_, output)| *output)
    }

    /// What is wanted of a kind of tensor at a node: `rule` says what the rule wants, which is over the operator's and
    /// under a layer's.
    pub fn spec<'c>(&self, config: &'c Config, id: NodeId, op: &Op, kind: Kind, rule: &Spec) -> Result<Wish<'c>> {
        let of_op = config.op.get(op.name()).map(|c| Say { key: op_key(op.name()), spec: c.of(kind) });
        let of_layers = self
            .layers
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(|p| Some(Say { key: layer_key(p), spec: config.layer.get(p)?.of(kind) }));
        let (of_op, of_layers): (Vec<_>, Vec<_>) = (of_op.into_iter().collect(), of_layers.collect());
        let name = super::name(kind);
        let keyed = |say: &[Say<'c>]| say.iter().map(|s| (format!("{}.{name}", s.key), s.spec)).collect::<Vec<_>>();
        let levels = keyed(&of_op).into_iter().chain([(format!("the rule's {name}"), rule)]).chain(keyed(&of_layers));
        let (mut spec, mut rounding, mut by) = (config.of(kind).clone(), name.to_string(), config.rounded_by(kind));
        for (key, own) in levels.filter(|(_, own)| !own.is_open()) {
            // Who says nothing of the sign speaks of the one that is in force.
            if own.narrow == Some(true) && own.signed.or(spec.signed).or(Spec::usual(kind).signed) == Some(false) {
                return Err(Error::new(format!("{key}.narrow = true has no effect on unsigned integers"))
                    .hint(format!("{key}.signed = true, or leave it out")));
            }
            if own.signed == Some(false) && own.narrow.is_none() {
                spec.narrow = None;
                by.insert("narrow".into(), format!("{key}.signed"));
            }
            by.extend(own.entries().into_iter().map(|(choice, _)| {
                let line = format!("{key}.{choice}");
                (choice, line)
            }));
            spec = own.over(&spec);
            if own.rounding.is_some() {
                rounding = key;
            }
        }
        spec = config.completed(kind, spec, &rounding)?;
        let said = of_op.into_iter().chain(of_layers).filter(|say| !say.spec.is_open()).collect();
        Ok(Wish { spec, said, by })
    }

    /// Puts a layer's choices among those of a node, in the order of how specific they are.
    fn add(&mut self, node: &Node, id: NodeId, pattern: &str, choices: &Choices, config: &Config) -> Result<()> {
        let layers = self.layers.entry(id).or_default();
        let rival = layers.iter().find(|other| {
            let same = specific(other) == specific(pattern);
            same && config.layer.get(*other).is_some_and(|c| contradict(c, choices))
        });
        if let Some(rival) = rival {
            return Err(Error::new(format!(
                "layer.\"{rival}\" and layer.\"{pattern}\" are equally specific and want different things"
            ))
            .at_node(&node.name)
            .hint("the name with more letters that are no * or ? wins"));
        }
        layers.push(pattern.into());
        layers.sort_by_key(|p| specific(p));
        Ok(())
    }

    fn skip(&mut self, g: &Graph, config: &Config) -> Result<()> {
        let (mut convolutions, mut products) = (0, 0);
        for (id, node) in g.nodes() {
            let mut skip: Option<String> = None;
            // A normalization that became a convolution is none to the user.
            if matches!(node.op, Op::Conv(_)) && !fold_batch_norm::made(node) {
                convolutions += 1;
                skip = (convolutions <= config.skip_k_conv).then(|| format!("skip_k_conv = {}", config.skip_k_conv));
            }
            let dense = matches!(node.op, Op::MatMul(_)) && node.operands().take(2).any(|w| g.constant(w).is_some());
            products += usize::from(dense);
            if config.skip_dense && dense {
                skip = Some("skip_dense = true".into());
            }
            let own = config.op.get(node.op.name()).and_then(|c| c.skip).map(|s| (s, format!("op.{}", node.op.name())));
            let layers = self.layers.get(&id).into_iter().flatten();
            let layers = layers.filter_map(|p| Some((config.layer.get(p)?.skip?, format!("layer.\"{p}\""))));
            for (skips, key) in own.into_iter().chain(layers) {
                skip = skips.then(|| format!("{key}.skip = true"));
            }
            if let Some(key) = skip {
                self.skips.insert(id, Skip(key));
            }
        }
        if config.skip_k_conv > convolutions {
            return Err(Error::new(format!(
                "expected skip_k_conv up to {convolutions}, the number of convolutions, found {}",
                config.skip_k_conv
            ))
            .hint(match convolutions {
                0 => "skip_k_conv = 0",
                _ => "op.Conv.skip = true leaves all of them float",
            }));
        }
        if config.skip_dense && products == 0 {
            return Err(Error::new("skip_dense = true has no effect: the model has no product with constant weights"));
        }
        Ok(())
    }
}

/// Which choices were asked for while a graph was annotated: what nobody asks for has no effect.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    scopes: HashSet<(String, Kind)>,
    /// What `io` said something else about.
    overruled: HashSet<(String, Kind)>,
    outputs: HashSet<String>,
    /// Who said the mode of layers that were asked; empty for the default.
    modes: HashSet<String>,
    kinds: HashSet<Kind>,
    /// Whether an observer was asked for the range of something that layers read.
    ranged: bool,
    global_scale: bool,
}

impl Asked {
    /// Notes that something of a kind was made narrow, by this observer and the say of these keys.
    pub fn note(&mut self, config: &Config, kind: Kind, observer: &str, keys: &[String]) {
        self.kinds.insert(kind);
        self.scopes.extend(keys.iter().map(|key| (key.clone(), kind)));
        self.global_scale |= observer == global_scale(config);
        self.ranged |= kind == Kind::Input && observer != crate::dynamic::OBSERVER;
    }

    /// Notes that the mode of a layer was asked, which these keys said.
    pub fn note_mode(&mut self, said: Vec<(String, Mode)>) {
        if said.is_empty() {
            self.modes.insert(String::new());
        }
        self.modes.extend(said.into_iter().map(|(key, _)| key));
    }

    /// Notes that these keys asked for another width or sign than `io` has for what enters or leaves the model.
    pub fn note_overruled(&mut self, kind: Kind, keys: Vec<String>) {
        self.overruled.extend(keys.into_iter().map(|key| (key, kind)));
    }

    /// Notes what left a node, narrow or as it was computed, where these keys had said something of it.
    pub fn note_output(&mut self, said: Vec<(String, Output)>, left: Output) {
        let decided = said.last().map(|(_, output)| *output);
        // What a more specific key overruled is explained by that one.
        self.outputs
            .extend(said.into_iter().filter(|(_, o)| decided == Some(left) || Some(*o) != decided).map(|s| s.0));
    }

    /// Refuses choices for the annotated graph that had no effect.
    pub fn check(&self, config: &Config, g: &Graph) -> Result<()> {
        let silent = |key: String, why: &str, hint: &str| {
            Err(Error::new(format!("{key} has no effect: {why}")).hint(hint.to_string()))
        };
        self.check_rescaling(config, g)?;
        let of_ops = config.op.iter().map(|(name, c)| (op_key(name), c));
        let scopes = of_ops.chain(config.layer.iter().map(|(name, c)| (layer_key(name), c)));
        for (at, choices) in scopes {
            for (kind, name) in super::KINDS {
                let Some((key, value)) = choices.of(kind).entries().into_iter().next() else { continue };
                if !self.scopes.contains(&(at.clone(), kind)) {
                    if self.overruled.contains(&(at.clone(), kind)) {
                        let why = format!("io = \"{}\" says what enters and leaves the model", config.io.name());
                        let hint = "io = \"float\", or leave the choice out";
                        return silent(format!("{at}.{name}.{key} = {value}"), &why, hint);
                    }
                    let (why, hint) = needs(kind);
                    return silent(
                        format!("{at}.{name}.{key} = {value}"),
                        &format!("nothing of that name {why}"),
                        hint,
                    );
                }
            }
            if let Some(mode) = choices.mode.filter(|_| !self.modes.contains(&at)) {
                let key = format!("{at}.mode = \"{}\"", mode.name());
                return silent(key, NO_LAYER, "say it of layers such as Conv and MatMul that are not skipped");
            }
            if let Some(output) = choices.output.filter(|_| !self.outputs.contains(&at)) {
                let (value, why, hint) = match output {
                    Output::Narrow => (
                        "narrow",
                        "nothing of that name leaves integers that somebody reads",
                        "say it of what computes on integers; activation.bits is the width of what a layer computes",
                    ),
                    Output::Wide => (
                        "wide",
                        "all of that name is read as integers, or leaves the model as such",
                        "say it of what floats read; activation.bits is the width of what a layer computes",
                    ),
                };
                return silent(format!("{at}.output = \"{value}\""), why, hint);
            }
        }
        if config.mode != Mode::Static && !self.modes.contains("") {
            let key = format!("mode = \"{}\"", config.mode.name());
            return silent(key, NO_LAYER, "leave it out, or skip fewer layers");
        }
        let unseen = config.samples == 0 && !config.equalize && config.refinements.is_empty();
        if self.kinds.contains(&Kind::Input) && !self.ranged {
            let observer = config.of(Kind::Input).filled(Kind::Input).observer;
            // Where nothing looks at samples, it is said of all.
            let asked = |o: &String| o == crate::dynamic::OBSERVER || unseen && o == GLOBAL_SCALE;
            let meant = |o: &String| Some(o) != Spec::usual(Kind::Input).observer.as_ref() && !asked(o);
            if let Some(observer) = observer.filter(meant) {
                let why = "the range of nothing is looked for, as all that layers read is in units of its own scale";
                return silent(format!("input.observer = \"{observer}\""), why, "mode = \"static\", or leave it out");
            }
            // Nor is anything asked of scales that are found while running.
            let usual = Spec::usual(Kind::Input).entries();
            let of_scales = |(key, _): &(String, String)| matches!(key.as_str(), "per" | "scale");
            let mut others = config.of(Kind::Input).filled(Kind::Input).entries().into_iter().filter(of_scales);
            if let Some((key, value)) = others.find(|entry| !usual.contains(entry)) {
                let why = "all that layers read has a float scale that is found while running, of every row or image";
                return silent(format!("input.{key} = {value}"), why, "mode = \"static\", or leave it out");
            }
        }
        for (kind, name) in super::KINDS.into_iter().filter(|(kind, _)| !self.kinds.contains(kind)) {
            let usual = Spec::usual(kind).entries();
            // What another choice demands of all kinds is none of this one.
            let demanded = |key: &str| match key {
                // Where nothing looks at samples, it is said of all kinds, of which a model need not have every one.
                "observer" => unseen && config.of(kind).observer.as_deref() == Some(GLOBAL_SCALE),
                "scale" => config.requantize == MethodName::Shift,
                "rounding" => kind != Kind::Weight && config.rounding_of_all() == config.of(kind).rounding,
                _ => false,
            };
            let of_kind = config.of(kind).filled(kind).entries();
            let mut others = of_kind.into_iter().filter(|(key, _)| !demanded(key));
            if let Some((key, value)) = others.find(|entry| !usual.contains(entry)) {
                let (why, hint) = needs(kind);
                return silent(format!("{name}.{key} = {value}"), &format!("nothing {why}"), hint);
            }
        }
        if config.global_scale != Config::default().global_scale && !self.global_scale {
            let key = format!("global_scale = {}", config.global_scale);
            return silent(
                key,
                "nothing has the observer global_scale",
                "input.observer = \"global_scale\" for all values in memory",
            );
        }
        Ok(())
    }

    /// Refuses what is said of rescaling where nothing is rescaled: integers move from one scale to another only where
    /// layers read, or leave, values whose scale is known before they run.
    fn check_rescaling(&self, config: &Config, g: &Graph) -> Result<()> {
        // Integers that were there before are rescaled too.
        let before = g.nodes().any(|(_, n)| matches!(n.op, Op::Quantize { .. }) || n.op.rescale().is_some());
        if before || self.ranged || self.kinds.contains(&Kind::Activation) {
            return Ok(());
        }
        let usual = Config::default();
        let demanded = hardware::find(&config.hardware)?.methods;
        let free = usual.rescale().is_ok_and(|r| demanded.contains(&r.method));
        let method = config.rescale()?.method.name();
        let quantized = self.kinds.contains(&Kind::Input);
        let said = [
            (config.requantize != usual.requantize && free, format!("requantize = \"{method}\"")),
            (config.round_for_shift != usual.round_for_shift, "round_for_shift = false".into()),
            (config.store_lowbit != usual.store_lowbit, "store_lowbit = false".into()),
            // Floats that are quantized are rounded as it says.
            (!config.rounding.is_empty() && !quantized, format!("rounding = \"{}\"", config.rounding)),
        ];
        match said.into_iter().find(|(said, _)| *said) {
            None => Ok(()),
            Some((_, key)) => Err(Error::new(format!(
                "{key} has no effect: no layer reads or leaves integers whose scale is known before it runs"
            ))
            .hint("mode = \"static\", or leave it out")),
        }
    }
}

const NO_LAYER: &str = "nothing of that name that is quantized is asked";

/// What a choice of a kind speaks of, and what it takes for it to have an effect.
fn needs(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Input => (
            "reads a narrow value of its own",
            "say it of those who read from memory: what belongs to the kernel before it, or stays float, does not",
        ),
        Kind::Weight => {
            ("has weights that become integers", "say it of layers such as Conv and MatMul that are not skipped")
        }
        Kind::Activation => (
            "leaves a wide value that is narrowed before the next operator",
            "activation.bits below 32, of layers whose result is not the model's: that is said by output = \"narrow\"",
        ),
    }
}

/// Refuses a global scale that powers of two would change.
pub(super) fn whole_power(spec: &Spec, kind: &str) -> Result<()> {
    let observer = spec.observer.as_deref().unwrap_or_default();
    let given = observer.strip_prefix("global_scale(").and_then(|rest| rest.strip_suffix(')')?.parse::<f64>().ok());
    match given.filter(|s| spec.scale == Some(Scale::PowerOfTwo) && s.log2().fract() != 0.0) {
        None => Ok(()),
        Some(s) => Err(Error::new(format!(
            "{kind}.scale = \"power-of-two\" has no scale of global_scale = {s}, which is no power of two"
        ))
        .hint(format!("global_scale = {}, or {kind}.scale = \"float\"", s.log2().ceil().exp2()))),
    }
}

fn op_key(name: &str) -> String {
    format!("op.{name}")
}

fn layer_key(pattern: &str) -> String {
    format!("layer.\"{pattern}\"")
}

/// The observer with the configuration's parameter.
pub(super) fn global_scale(config: &Config) -> String {
    format!("global_scale({})", config.global_scale)
}

/// Whether a pattern is the name of a node or of one of its results.
fn names(g: &Graph, node: &Node, pattern: &str) -> bool {
    matches(pattern, &node.name) || node.outputs.iter().any(|v| matches(pattern, &g.value(*v).name))
}

/// How specific a pattern is: its letters that stand for themselves.
fn specific(pattern: &str) -> usize {
    pattern.chars().filter(|c| !matches!(c, '*' | '?')).count()
}

fn contradict(a: &Choices, b: &Choices) -> bool {
    let skip = a.skip.zip(b.skip).is_some_and(|(a, b)| a != b);
    let output = a.output.zip(b.output).is_some_and(|(a, b)| a != b);
    let mode = a.mode.zip(b.mode).is_some_and(|(a, b)| a != b);
    // Where neither changes the other, the order does not matter.
    skip || output
        || mode
        || super::KINDS.iter().any(|(kind, _)| {
            let (a, b) = (a.of(*kind), b.of(*kind));
            a.over(b) != b.over(a)
        })
}

/// Whether a pattern in which * stands for any letters, and ? for one, is this name.
fn matches(pattern: &str, name: &str) -> bool {
    wildmatch::WildMatch::new(pattern).matches(name)
}

fn check_operators(g: &Graph, config: &Config) -> Result<()> {
    for name in config.op.keys() {
        if !OPERATORS.contains(&name.as_str()) {
            return Err(Error::new(format!("op.{} names no operator{}", key_of(name), operator_meant(name)))
                .hint("the names that lowbit list ops gives"));
        }
        if !g.nodes().any(|(_, n)| n.op.name() == name) {
            let mut here: Vec<&str> = g.nodes().map(|(_, n)| n.op.name()).collect();
            here.sort_unstable();
            here.dedup();
            let near = did_you_mean(name, here.iter().copied());
            return Err(Error::new(format!("op.{name}: the model has no such operator{near}"))
                .hint(format!("prepared for quantization it has {}", here.join(", "))));
        }
    }
    Ok(())
}
