//! What a model is: inputs, outputs, operators, size, work.

use crate::model::with_batch;
use lowbit_ir::{Def, Graph, Op, Result, infer};
use serde::Serialize;
use std::collections::BTreeMap;

/// A description of a graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// Who wrote the file.
    pub producer: String,
    /// Inputs, as `name: type`.
    pub inputs: Vec<String>,
    /// Outputs, as `name: type`.
    pub outputs: Vec<String>,
    /// How often each operator occurs.
    pub operators: BTreeMap<&'static str, usize>,
    /// Elements of all constants.
    pub parameters: usize,
    /// Bytes of all constants.
    pub constant_bytes: usize,
    /// Multiply-accumulates, for a batch of one if the batch is open; `None` if other dimensions are.
    pub macs: Option<u64>,
    /// String properties that the file carries.
    pub properties: BTreeMap<String, String>,
}

/// How many of a kind of layer compute on integers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// On integers.
    pub integer: usize,
    /// In all.
    pub all: usize,
}

/// The convolutions and matrix products of a graph, and how many of them multiply integers; kinds that do not occur are
/// left out.
pub fn layers(g: &Graph) -> BTreeMap<&'static str, Share> {
    let mut shares = BTreeMap::new();
    for (_, node) in g.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_) | Op::MatMul(_))) {
        let share: &mut Share = shares.entry(node.op.name()).or_default();
        share.all += 1;
        share.integer += usize::from(node.outputs.first().is_some_and(|y| g.ty(*y).dtype.is_integer()));
    }
    shares
}

/// Describes a graph.
pub fn inspect(g: &Graph) -> Result<Summary> {
    let typed = |v: &lowbit_ir::ValueId| format!("{}: {}", g.value(*v).name, g.ty(*v));
    let mut operators = BTreeMap::new();
    for (_, node) in g.nodes() {
        *operators.entry(node.op.name()).or_insert(0) += 1;
    }
    let constants = || g.values().filter_map(|(_, v)| if let Def::Const(t) = &v.def { Some(t) } else { None });
    let known = with_batch(g, None).ok();
    Ok(Summary {
        name: g.name.clone(),
        producer: g.meta.producer.clone(),
        inputs: g.inputs.iter().map(typed).collect(),
        outputs: g.outputs.iter().map(typed).collect(),
        operators,
        parameters: constants().map(|t| t.count()).sum(),
        constant_bytes: constants().map(|t| t.bytes().len()).sum(),
        macs: known.map(|g| g.nodes().map(|(id, _)| infer::macs(&g, id)).sum()),
        properties: g.meta.properties.clone(),
    })
}
