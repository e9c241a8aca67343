//! Which variables are inputs, and of which shape.
//!
//! A symbol does not say the shape of its inputs. What can be known is read off the operators that read them: a
//! convolution says how many axes there are and how many channels, all else stays open.

use super::ops::{self, Rest};
use super::symbol::{Entry, Node, Symbol};
use crate::build::inputs::{named, symbol as open};
use crate::build::remarks::{Place, Remark};
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{DType, Dim, Error, Result, Shape, Tensor, Type};
use std::collections::{BTreeMap, BTreeSet};

/// Who reads what, of the nodes that the outputs need.
pub struct Uses {
    /// Whether the outputs need each node.
    pub needed: Vec<bool>,
    /// How many outputs of each node are read.
    pub outputs: Vec<usize>,
    /// Of each node, the nodes that read it and as which operand.
    readers: Vec<Vec<(usize, usize)>>,
}

/// Whether inference reads operand `i` of a node; labels it does not.
pub fn is_read(node: &Node, i: usize) -> bool {
    i == 0 || ops::find(&node.op).is_none_or(|row| row.rest != Rest::Labels)
}

impl Uses {
    /// From the outputs back: nodes read earlier ones only.
    pub fn of(symbol: &Symbol) -> Uses {
        let count = symbol.nodes.len();
        let mut uses = Uses { needed: vec![false; count], outputs: vec![0; count], readers: vec![Vec::new(); count] };
        let Uses { needed, outputs, readers } = &mut uses;
        let mut need = |entry: &Entry, needed: &mut Vec<bool>| {
            needed[entry.node] = true;
            outputs[entry.node] = outputs[entry.node].max(entry.output + 1);
        };
        symbol.heads.iter().for_each(|head| need(head, needed));
        for (at, node) in symbol.nodes.iter().enumerate().rev() {
            if !needed[at] {
                continue;
            }
            for (i, entry) in node.inputs.iter().enumerate().filter(|(i, _)| is_read(node, *i)) {
                need(entry, needed);
                readers[entry.node].push((at, i));
            }
        }
        uses
    }
}

/// The inputs: needed variables without an array, in the order of the file. A variable that only stands where
/// parameters do is one that lacks its array, which is an error. What they are of another type than they say is remarked.
pub fn find(
    symbol: &Symbol,
    uses: &Uses,
    arrays: &BTreeMap<String, Tensor>,
    shapes: &[(String, Vec<usize>)],
    remarks: &mut Vec<Remark>,
) -> Result<Vec<(String, Type)>> {
    let is_parameter = |(reader, i): &(usize, usize)| {
        let row = symbol.nodes.get(*reader).and_then(|n| ops::find(&n.op));
        *i > 0 && row.is_some_and(|row| row.rest == Rest::Parameters)
    };
    let lacks_array =
        |at: usize, node: &Node| uses.needed[at] && node.is_variable() && !arrays.contains_key(&node.name);
    let variables = symbol.nodes.iter().enumerate().filter(|(at, node)| lacks_array(*at, node));
    let (missing, open): (Vec<_>, Vec<_>) = variables.partition(|(at, _)| {
        let readers = &uses.readers[*at];
        !readers.is_empty() && readers.iter().all(is_parameter)
    });
    if let [(_, first), ..] = missing.as_slice() {
        let near = did_you_mean(&first.name, arrays.keys().map(String::as_str));
        let all = missing.iter().take(5).map(|(_, n)| format!("'{}'", n.name)).collect::<Vec<_>>().join(", ");
        return Err(Error::new(format!(
            "the file of parameters has no array for {} of them: {all}{near}",
            missing.len()
        ))
        .hint("name the file that belongs to this symbol: --params FILE"));
    }
    let names: Vec<&str> = open.iter().map(|(_, node)| node.name.as_str()).collect();
    let shapes = named(shapes, &names)?;
    let mut inputs = Vec::new();
    for (at, node) in open {
        let given = shapes.iter().find(|(name, _)| *name == node.name);
        // What is given need not look as what was guessed: a dense layer takes any number of axes.
        let shape = match (stated(node)?, given) {
            (Some(shape), _) => Some(shape),
            (None, Some((_, dims))) => Some(Shape::known(dims)),
            (None, None) => guess(symbol, uses, at, arrays),
        };
        let shape = match shape {
            Some(shape) => shape,
            None => {
                return Err(Error::new("expected the shape of this input, which the file does not tell, found none")
                    .at_value(&node.name)
                    .hint(format!("--shape {}=1x3x224x224, with the sizes that it has", node.name)));
            }
        };
        let (dtype, from) = stated_type(node)?;
        if let Some(from) = from {
            remarks.push(Remark::Type { from, to: dtype, place: Place::Input, value: node.name.clone() });
        }
        inputs.push((node.name.clone(), Type::plain(dtype, shape)));
    }
    Ok(inputs)
}

/// The element type that a variable states of itself, by MXNet's number, and what it states where that is another one.
fn stated_type(node: &Node) -> Result<(DType, Option<&'static str>)> {
    Ok(match node.attributes.get("__dtype__").map(|text| text.trim()) {
        None | Some("None" | "-1" | "0") => (DType::F32, None),
        Some("1") => (DType::F32, Some("f64")),
        Some("2") => (DType::F32, Some("f16")),
        Some("3") => (DType::U8, None),
        Some("4") => (DType::I32, None),
        Some("5") => (DType::I8, None),
        Some("6") => (DType::I64, None),
        Some("7") => (DType::Bool, None),
        Some("12") => (DType::F32, Some("bf16")),
        Some(other) => {
            let e = Error::new(format!("expected the number of an element type in '__dtype__', found '{other}'"));
            return Err(e
                .at_value(&node.name)
                .hint("0 is float32, 1 float64, 2 float16, 3 uint8, 4 int32, 5 int8, 6 int64"));
        }
    })
}

/// The shape that a variable states of itself; 0 and -1 are open.
fn stated(node: &Node) -> Result<Option<Shape>> {
    let Some(text) = node.attributes.get("__shape__") else { return Ok(None) };
    let parts = text.trim_matches(['(', ')', '[', ']']).split(',').map(str::trim).filter(|p| !p.is_empty());
    let mut dims = Vec::new();
    for (axis, part) in parts.enumerate() {
        match part.trim_end_matches('L').parse::<i64>() {
            Ok(0 | -1) => dims.push(open(&node.name, axis)),
            Ok(n) if n > 0 => dims.push(Dim::Known(n as usize)),
            Ok(_) | Err(_) => {
                return Err(Error::new(format!("expected sizes in '__shape__', found '{text}'")).at_value(&node.name));
            }
        }
    }
    // Nothing but "()" says nothing.
    Ok((!dims.is_empty()).then_some(Shape(dims)))
}

/// Operators whose result has as many axes and channels as the first operand.
const KEEPING: &[&str] = &[
    "Activation",
    "BatchNorm",
    "BatchNorm_v1",
    "BlockGrad",
    "Cast",
    "CuDNNBatchNorm",
    "Dropout",
    "InstanceNorm",
    "L2Normalization",
    "LRN",
    "LeakyReLU",
    "Pooling",
    "Pooling_v1",
    "SyncBatchNorm",
    "_contrib_SyncBatchNorm",
    "_copy",
    "amp_cast",
    "cast",
    "clip",
    "identity",
    "relu",
    "sigmoid",
    "tanh",
];

fn keeps(op: &str) -> bool {
    KEEPING.contains(&op) || op.contains("calar") || op.contains("broadcast_")
}

/// What the operators that read a variable say of its shape.
fn guess(symbol: &Symbol, uses: &Uses, variable: usize, arrays: &BTreeMap<String, Tensor>) -> Option<Shape> {
    let name = &symbol.nodes.get(variable)?.name;
    let mut seen = BTreeSet::from([variable]);
    let mut queue = vec![variable];
    let mut flat = None;
    while let Some(at) = queue.pop() {
        for (reader, operand) in uses.readers.get(at)? {
            let node = symbol.nodes.get(*reader)?;
            let weight = || {
                let stored = node.inputs.get(1).and_then(|e| symbol.nodes.get(e.node));
                arrays.get(&stored?.name).map(|t| t.dims().to_vec())
            };
            let number = |key: &str| node.attributes.get(key).and_then(|v| v.parse::<usize>().ok()).unwrap_or(1);
            match node.op.as_str() {
                "Convolution" | "Convolution_v1" | "Deconvolution" if *operand == 0 => {
                    let dims = weight()?;
                    let channels = match node.op.as_str() {
                        "Deconvolution" => dims.first().copied(),
                        _ => dims.get(1).and_then(|c| c.checked_mul(number("num_group"))),
                    };
                    let axis = |axis| match axis {
                        1 => channels.map_or_else(|| open(name, 1), Dim::Known),
                        _ => open(name, axis),
                    };
                    return Some(Shape((0..dims.len()).map(axis).collect()));
                }
                "FullyConnected" if *operand == 0 => {
                    let width = weight().and_then(|dims| dims.get(1).copied());
                    flat = flat.or(width.map(|k| Shape(vec![open(name, 0), Dim::Known(k)])));
                }
                op if keeps(op) && seen.insert(*reader) => queue.push(*reader),
                _ => {}
            }
        }
    }
    flat
}
