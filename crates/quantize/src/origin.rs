//! Where the parameters of values come from, as the model's metadata tells it to whoever reads the file.
//!
//! It is written where choices are made: annotate notes who asked for what, calibrate what was seen and what became of
//! it, and the end of the quantization puts both into the file. Nothing of it is derived from the file afterwards.

use crate::calibrate::{Chosen, source};
use crate::config::{By, Config, KINDS, Spec};
use crate::declined;
use crate::refine::Correction;
use lowbit_ir::{Error, Graph, Node, NodeId, Op, Result, meta};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kind of a constant that has the accumulator's scale, and no observer.
pub const BIAS: &str = "bias";

/// Why a value has its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The float value that the integers stand for.
    pub of: String,
    /// The kind of tensor that was asked for, `input`, `weight` or `activation`; else [`BIAS`].
    pub kind: String,
    /// The rule that wanted it, and the keys of the configuration that had a say.
    pub rule: String,
    /// What was asked and differs from what the configuration says of the kind.
    #[serde(default, skip_serializing_if = "Spec::is_open")]
    pub asked: Spec,
    /// Who made a choice, where it was not the kind's own key.
    #[serde(default, skip_serializing_if = "By::is_empty")]
    pub by: By,
    /// Least and greatest value seen, zero included; none where nothing was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<(f32, f32)>,
    /// Share of the values seen that are beyond the integers by more than half a step, 0..=100; of values in memory to a
    /// bin of their histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipped_percent: Option<f64>,
    /// What limited the range besides the observer, see [`Chosen::limited_by`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// The value whose parameters it has, as the same integers in another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_with: Option<String>,
    /// See [`Chosen::widened_for_bias`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub widened_for_bias: usize,
    /// See [`Chosen::too_small`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub too_small: usize,
    /// The refinements that changed it since, with the greatest change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrected: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Origin {
    /// All that was asked, under the configuration that the file stores; open for a bias.
    pub fn spec(&self, config: &Config) -> Spec {
        of_kind(config, &self.kind).map_or_else(Spec::default, |usual| self.asked.over(&usual))
    }
}

/// What a configuration says of a kind, by its name.
fn of_kind(config: &Config, kind: &str) -> Option<Spec> {
    let (kind, _) = KINDS.into_iter().find(|(_, name)| *name == kind)?;
    Some(config.filled().of(kind).clone())
}

/// Notes who made the choices of placeholders.
pub(crate) fn record_asked(g: &mut Graph, by: &BTreeMap<NodeId, By>) -> Result<()> {
    let there = by.iter().filter(|(id, by)| g.has_node(**id) && !by.is_empty());
    let named: BTreeMap<&str, &By> = there.map(|(id, by)| (g.node(*id).name.as_str(), by)).collect();
    put(g, meta::ASKED, (!named.is_empty()).then(|| json(&named)).transpose()?);
    Ok(())
}

/// Who made the choices of an annotated graph's placeholders, by the names of the nodes.
pub fn asked(g: &Graph) -> Result<BTreeMap<String, By>> {
    match g.meta.properties.get(meta::ASKED) {
        Some(json) => serde_json::from_str(json).map_err(|e| unreadable(meta::ASKED, &e)),
        None => Ok(BTreeMap::new()),
    }
}

/// The same, taken out of the metadata.
pub(crate) fn take_asked(g: &mut Graph) -> Result<BTreeMap<String, By>> {
    let asked = asked(g)?;
    g.meta.properties.remove(meta::ASKED);
    Ok(asked)
}

/// Writes where all parameters come from into the metadata.
pub(crate) fn record(g: &mut Graph, config: &Config, values: &[Chosen], corrections: &[Correction]) -> Result<()> {
    let origin = |c: &Chosen| {
        let asked = of_kind(config, &c.kind).map_or_else(Spec::default, |usual| c.asked.beyond(&usual));
        Origin {
            of: c.value.clone(),
            kind: c.kind.clone(),
            rule: c.rule.clone(),
            asked,
            by: c.by.clone(),
            seen: c.clipped_percent.map(|_| c.seen),
            clipped_percent: c.clipped_percent,
            limited_by: c.limited_by.clone(),
            shares_with: c.shares_with.clone(),
            widened_for_bias: c.widened_for_bias,
            too_small: c.too_small,
            corrected: Vec::new(),
        }
    };
    let mut all: BTreeMap<&str, Origin> = values.iter().map(|c| (c.stored_as.as_str(), origin(c))).collect();
    for correction in corrections {
        let layer = g.nodes().find(|(_, n)| n.name == correction.node);
        let bias = layer.and_then(|(_, n)| source(g, n.input(2)?));
        if let Some(origin) = bias.and_then(|b| all.get_mut(g.value(b).name.as_str())) {
            origin.corrected.push(format!("{} (by up to {})", correction.refinement, correction.largest));
        }
    }
    let json = (!all.is_empty()).then(|| json(&all)).transpose()?;
    put(g, meta::CHOSEN, json);
    Ok(())
}

/// Where the parameters of a file's values come from, by the names of the integers; none where the file does not say, as
/// those of other tools.
pub fn read(g: &Graph) -> Result<Option<BTreeMap<String, Origin>>> {
    let json = g.meta.properties.get(meta::CHOSEN);
    json.map(|json| serde_json::from_str(json).map_err(|e| unreadable(meta::CHOSEN, &e))).transpose()
}

/// What is told of the nodes of a quantized model, by their names, to people who look at its file: where the parameters of
/// what is quantized come from, why a rule left a node float, and else which rule was asked. What is unreadable in the
/// metadata says nothing.
pub fn told(g: &Graph) -> BTreeMap<String, String> {
    let origins = read(g).ok().flatten().unwrap_or_default();
    let reasons = declined::reasons(g);
    let of_node = |node: &Node| match &node.op {
        Op::Quantize { .. } => node.outputs.first().and_then(|v| origins.get(&g.value(*v).name)).map(Origin::told),
        Op::Dequantize => node.input(0).and_then(|v| origins.get(&g.value(v).name)).map(Origin::told),
        _ => match (reasons.get(&node.name), &node.rule) {
            (Some(reason), _) => Some(format!("on floats: {reason}")),
            (None, Some(rule)) => Some(format!("rule {rule}")),
            (None, None) => None,
        },
    };
    g.nodes().filter_map(|(_, node)| Some((node.name.clone(), of_node(node)?))).collect()
}

impl Origin {
    /// In one line: what it is for, what was seen, what became of that, and who wanted it.
    fn told(&self) -> String {
        let mut parts = vec![self.kind.clone()];
        parts.extend(self.seen.map(|(low, high)| format!("seen {low} to {high}")));
        parts.extend(self.asked.observer.as_ref().map(|observer| format!("observer {observer}")));
        parts.extend(self.clipped_percent.map(|percent| format!("{percent:.3} % clipped")));
        parts.extend(self.limited_by.as_ref().map(|by| format!("limited by {by}")));
        parts.extend(self.shares_with.as_ref().map(|other| format!("shares the scale of '{other}'")));
        parts.push(format!("rule {}", self.rule));
        parts.extend(self.corrected.iter().cloned());
        parts.join("; ")
    }
}

fn json(of: &impl Serialize) -> Result<String> {
    serde_json::to_string(of).map_err(|e| Error::new(format!("writing where parameters come from: {e}")))
}

fn put(g: &mut Graph, key: &str, json: Option<String>) {
    match json {
        Some(json) => g.meta.properties.insert(key.into(), json),
        None => g.meta.properties.remove(key),
    };
}

fn unreadable(key: &str, e: &serde_json::Error) -> Error {
    Error::new(format!("expected where parameters come from in the metadata under {key}: {e}"))
        .hint("quantize again, or remove this metadata")
}
