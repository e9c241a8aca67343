//! What ONNX cannot say, kept in the file's metadata: key `lowbit.format` (the version of this room, now `1`) and key
//! `lowbit.notes`, a JSON object
//!
//! ```text
//! { "nodes": { "<node>": { "rule": ..., "rounding": ...,
//!                          "stands_for": { "op": ..., "inputs": [...], "steps": {...} } } },
//!   "types": { "<value>": { "qmin": ..., "qmax": ..., "dtype": ..., "axis": ... } } }
//! ```
//!
//! - `rule`: the rule or config line that made the node what it is.
//! - `rounding`: of a QuantizeLinear that does not round half to even.
//! - `stands_for`: this node is the last of several (`steps`: their names and op types) that together spell an operator
//!   that ONNX lacks. Reading it back gives that operator, if all the steps are still there.
//!   For Quantize and Dequantize the inputs name the scale and zero point too.
//! - `types`: the true range of a value whose width ONNX lacks; storage type and axis where several nodes spell the
//!   Quantize or Dequantize, which then do not state them.
//!
//! Everything else under `lowbit.` (the config, the recipe, why values have their parameters, preprocessing, labels) is in
//! the graph's own properties.

use lowbit_arithmetic::Rounding;
use lowbit_ir::op::{MatMul, Unary};
use lowbit_ir::{DType, Error, Op, Quant, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Metadata key of [`FORMAT`].
pub const FORMAT_KEY: &str = "lowbit.format";
/// The version of these notes.
pub const FORMAT: &str = "1";
/// Metadata key of [`Notes`].
pub const NOTES_KEY: &str = "lowbit.notes";

/// All notes of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notes {
    /// By node name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, NodeNote>,
    /// By value name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, TypeNote>,
}

impl Notes {
    /// The range that a note gives a value, where it is one of the storage type.
    pub fn range(&self, value: &str, dtype: DType, quant: Quant) -> Quant {
        match (self.types.get(value), dtype.range()) {
            (Some(note), Some((lo, hi))) if lo <= note.qmin && note.qmin <= note.qmax && note.qmax <= hi => {
                Quant { qmin: note.qmin, qmax: note.qmax, ..quant }
            }
            _ => quant,
        }
    }

    /// The rounding that a note gives a node.
    pub fn rounding(&self, node: &str) -> Result<Option<Rounding>> {
        let note = self.nodes.get(node).and_then(|n| n.rounding.as_ref());
        note.map(|r| r.parse().map_err(|_| Error::new(format!("expected a rounding in the metadata, found '{r}'"))))
            .transpose()
    }
}

/// What a node is, beyond ONNX.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeNote {
    /// Which rule made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How it rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<String>,
    /// Which operator it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<StandsFor>,
}

/// An operator spelled out in several nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandsFor {
    /// The operator: a name that [`standin`] knows.
    pub op: String,
    /// Names of its operands.
    pub inputs: Vec<String>,
    /// Node name to op type of all the nodes that spell it.
    pub steps: BTreeMap<String, String>,
}

/// What a value is, beyond ONNX.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeNote {
    /// Smallest integer used.
    pub qmin: i64,
    /// Largest integer used.
    pub qmax: i64,
    /// Storage type, where no QuantizeLinear or DequantizeLinear states it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dtype: Option<String>,
    /// Axis of the scales, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub axis: Option<usize>,
}

/// The operators that are spelled out where ONNX lacks them.
pub fn standin(name: &str) -> Option<Op> {
    Some(match name {
        "Silu" => Op::Unary(Unary::Silu),
        "Gelu" => Op::Unary(Unary::Gelu),
        "GeluTanh" => Op::Unary(Unary::GeluTanh),
        "Mish" => Op::Unary(Unary::Mish),
        "HardSwish" => Op::Unary(Unary::HardSwish),
        "MatMul" => Op::MatMul(MatMul { trans_b: false }),
        "MatMulTransB" => Op::MatMul(MatMul { trans_b: true }),
        "Quantize" => Op::Quantize { rounding: Rounding::HalfEven },
        "Dequantize" => Op::Dequantize,
        _ => return None,
    })
}

impl Notes {
    /// Drops the notes about operators of several nodes that somebody has changed since: their nodes speak for
    /// themselves then. `kinds` gives the op type of each node.
    pub fn prune(&mut self, kinds: &HashMap<&str, &str>) {
        let whole = |s: &StandsFor| s.steps.iter().all(|(n, t)| kinds.get(n.as_str()) == Some(&t.as_str()));
        for note in self.nodes.values_mut() {
            note.stands_for = note.stands_for.take().filter(|s| whole(s) && standin(&s.op).is_some());
        }
    }

    /// Takes the notes out of a model's properties.
    pub fn take(properties: &mut BTreeMap<String, String>) -> Result<Notes> {
        let format = properties.remove(FORMAT_KEY);
        let Some(json) = properties.remove(NOTES_KEY) else { return Ok(Notes::default()) };
        if format.as_deref() != Some(FORMAT) {
            let found = format.as_deref().unwrap_or("none");
            return Err(Error::new(format!("expected {FORMAT_KEY} {FORMAT} in the metadata, found {found}"))
                .hint("read the file with the lowbit that wrote it, or remove its metadata under lowbit."));
        }
        serde_json::from_str(&json)
            .map_err(|e| Error::new(format!("expected notes in the metadata under {NOTES_KEY}: {e}")))
    }

    /// Puts the notes into a model's properties.
    pub fn put(&self, properties: &mut BTreeMap<String, String>) -> Result<()> {
        properties.insert(FORMAT_KEY.into(), FORMAT.into());
        if *self != Notes::default() {
            let json = serde_json::to_string(self).map_err(|e| Error::new(e.to_string()))?;
            properties.insert(NOTES_KEY.into(), json);
        }
        Ok(())
    }
}
