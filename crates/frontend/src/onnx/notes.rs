//! What ONNX cannot say, kept in the file's metadata: key `lowbit.format` (the version of this room, now `1`) and key
//! `lowbit.notes`, a JSON object
//!
//! ```text
//! { "nodes": { "<node>": { "rule": ..., "rounding": ..., "stands_for": { "op": ..., "inputs": [...], "steps": {...} } } },
//!   "types": { "<value>": { "qmin": ..., "qmax": ..., "dtype": ..., "scale": ..., "zero_point": ... } } }
//! ```
//!
//! - `rule`: the rule or config line that made the node what it is.
//! - `rounding`: of a QuantizeLinear that does not round half to even.
//! - `stands_for`: this node is the last of several (`steps`: their names and op types) that together spell an operator
//!   that ONNX lacks. Reading it back gives that operator, if all the steps are still there.
//! - `types`: the true range of a value whose width ONNX lacks, and all of the type where ONNX has no quantized one.
//!
//! Everything else under `lowbit.` (the config, preprocessing, labels) is in the graph's own properties.

use lowbit_arithmetic::Rounding;
use lowbit_ir::op::{MatMul, Unary};
use lowbit_ir::{Error, Op, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The rest of a type that the file has no quantization parameters for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub whole: Option<WholeType>,
}

/// A per-tensor quantized type that QuantizeLinear cannot make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WholeType {
    /// Storage type.
    pub dtype: String,
    /// Bits of the f32 scale: exact, unlike decimals.
    pub scale_bits: u32,
    /// Zero point.
    pub zero_point: i32,
}

/// The operators that are spelled out where ONNX lacks them; Quantize and Dequantize have their types in the notes too.
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
