//! Choices for some nodes: of an operator, or of layers by name. The more specific wins.

use super::{Config, Output, Spec};
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::text::{OPERATORS, operator_meant};
use lowbit_ir::{Error, Graph, Kind, Node, NodeId, Op, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What an operator or a layer has of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
    /// Whether it stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<bool>,
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
        scopes.skip(g, config);
        Ok(scopes)
    }

    /// Why a node stays float, if the configuration wants it.
    pub fn skipped(&self, id: NodeId) -> Option<&Skip> {
        self.skips.get(&id)
    }

    /// What is to leave a node, if the configuration says it.
    pub fn output(&self, config: &Config, id: NodeId, op: &Op) -> Option<Output> {
        let layers = self.layers.get(&id).into_iter().flatten().filter_map(|pattern| config.layer.get(pattern));
        config.op.get(op.name()).into_iter().chain(layers).filter_map(|c| c.output).next_back()
    }

    /// What is wanted of a kind of tensor at a node: `rule` says what the rule wants, which is over the operator's and
    /// under a layer's. Also the keys of the configuration, other than the default's, that had a say.
    pub fn spec(&self, config: &Config, id: NodeId, op: &Op, kind: Kind, rule: &Spec) -> (Spec, Vec<String>) {
        let mut spec = config.of(kind).over(&Spec::usual(kind));
        let mut keys = Vec::new();
        let own = config.op.get(op.name()).map(|c| c.of(kind)).filter(|s| !s.is_open());
        if let Some(own) = own {
            spec = own.over(&spec);
            keys.push(format!("op.{}", op.name()));
        }
        spec = rule.over(&spec);
        for pattern in self.layers.get(&id).into_iter().flatten() {
            if let Some(own) = config.layer.get(pattern).map(|c| c.of(kind)).filter(|s| !s.is_open()) {
                spec = own.over(&spec);
                keys.push(format!("layer.\"{pattern}\""));
            }
        }
        if spec.observer.as_deref() == Some("global_scale") {
            spec.observer = Some(format!("global_scale({})", config.global_scale));
        }
        (spec, keys)
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

    fn skip(&mut self, g: &Graph, config: &Config) {
        let mut convolutions = 0;
        for (id, node) in g.nodes() {
            let mut skip: Option<String> = None;
            if matches!(node.op, Op::Conv(_)) {
                convolutions += 1;
                skip = (convolutions <= config.skip_k_conv).then(|| format!("skip_k_conv = {}", config.skip_k_conv));
            }
            let dense = matches!(node.op, Op::MatMul(_)) && node.input(1).is_some_and(|w| g.constant(w).is_some());
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
    }
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
    // Where neither changes the other, the order does not matter.
    skip || output
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
            return Err(Error::new(format!("op.{name} names no operator{}", operator_meant(name)))
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
