//! Models with something wrong in them: their parts are changed one by one, so that nearly all can be decoded and most
//! faults are met behind the format.

use crate::choices::{Choices, Numbers};
use crate::graphs::{Of, graph};
use crate::seeds;
use lowbit::frontend::onnx::Message;
use lowbit::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, tensor_shape_proto::dimension, type_proto,
};
use lowbit::ir::{Graph, text};
use lowbit::{Model, Quantize, Result, frontend};
use std::sync::LazyLock;

/// [`originals`], made once.
pub static ORIGINALS: LazyLock<Vec<ModelProto>> =
    LazyLock::new(|| originals().unwrap_or_else(|e| panic!("the originals are models: {e}")));

/// A model, one of a few or one made of the bytes, in which up to four things are made wrong.
pub fn damaged(data: &[u8]) -> bool {
    let c = &mut Choices::of(data);
    let count = c.range(0, 4);
    let mut model = match c.below(6) {
        n if n < ORIGINALS.len() => ORIGINALS[n].clone(),
        _ => {
            let Some(bytes) = crate::executors::accepted(frontend::export(&graph(c, Of::Everything))) else {
                return false;
            };
            ModelProto::decode(&*bytes).unwrap_or_else(|e| panic!("what was written is decoded: {e}"))
        }
    };
    for _ in 0..count {
        mutate(&mut model, c);
    }
    crate::files::onnx(&model.encode_to_vec())
}

const SIZES: [i64; 16] =
    [-1, 0, 1, 2, 3, 7, 255, 65536, 1 << 20, 1 << 31, 1 << 32, 1 << 40, 1 << 62, i64::MAX, i64::MIN, -2];

const REALS: [f32; 8] = [0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, 1e38, -1e30];

/// Small networks with most kinds of attributes and constants.
pub fn originals() -> Result<Vec<ModelProto>> {
    let mut graphs: Vec<Graph> =
        [seeds::WINDOWS, seeds::MOVEMENT].iter().map(|t| text::parse(&filled(t))).collect::<Result<_>>()?;
    let quantized = |g: &Graph| Model::from(g.clone()).quantize(Quantize::default().without_data());
    let integers = graphs.iter().map(|g| Ok(quantized(g)?.model.graph().clone())).collect::<Result<Vec<Graph>>>()?;
    graphs.extend(integers);
    let decode = |g: &Graph| Ok(ModelProto::decode(&*frontend::export(g)?).unwrap_or_default());
    graphs.iter().map(decode).collect()
}

/// Constants of small numbers in place of the word `random`.
pub fn filled(text: &str) -> String {
    let mut random = Numbers(7);
    let line = |line: &str| {
        let Some(head) = line.strip_suffix("= random") else { return line.to_owned() };
        let sizes = head.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(sizes, _)| sizes);
        let count: usize = sizes.split('x').filter_map(|n| n.parse::<usize>().ok()).product();
        let data: Vec<String> = (0..count).map(|_| (random.below(9) as i64 - 4).to_string()).collect();
        format!("{head}= [{}]", data.join(", "))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// One thing made wrong.
pub fn mutate(model: &mut ModelProto, random: &mut Choices<'_>) {
    let Some(g) = model.graph.as_mut().filter(|g| !g.node.is_empty() && !g.input.is_empty()) else { return };
    let names: Vec<String> = g.node.iter().flat_map(|n| n.output.clone()).collect();
    match random.below(10) {
        0 => size_of_input(g, random),
        1 => {
            let (node, name) = (random.below(g.node.len()), random.pick(&names));
            g.node[node].output[0] = name;
        }
        2 | 3 => {
            let (node, name) = (random.below(g.node.len()), random.pick(&names));
            let inputs = &mut g.node[node].input;
            let at = random.below(inputs.len());
            if let Some(input) = inputs.get_mut(at) {
                *input = name;
            }
        }
        4 | 5 => attribute(g, random),
        6 | 7 => sizes_of_constant(g, random),
        8 => number_of_constant(g, random),
        _ => {
            let (from, to) = (random.below(g.node.len()), random.below(g.node.len()));
            g.node[to].op_type = g.node[from].op_type.clone();
        }
    }
}

fn size_of_input(g: &mut GraphProto, random: &mut Choices<'_>) {
    let infos = g.input.len();
    let info = &mut g.input[random.below(infos)];
    if let Some(type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut())
        && let Some(shape) = &mut t.shape
        && !shape.dim.is_empty()
    {
        let at = random.below(shape.dim.len());
        shape.dim[at].value = Some(dimension::Value::DimValue(random.pick(&SIZES)));
    }
}

fn attribute(g: &mut GraphProto, random: &mut Choices<'_>) {
    let mut all: Vec<&mut AttributeProto> = g.node.iter_mut().flat_map(|n| &mut n.attribute).collect();
    if all.is_empty() {
        return;
    }
    let at = random.below(all.len());
    let a = &mut all[at];
    match (a.i, a.f, a.ints.len()) {
        (Some(_), ..) => a.i = Some(random.pick(&SIZES)),
        (_, Some(_), _) => a.f = Some(random.pick(&REALS)),
        (.., 0) => a.ints.push(random.pick(&SIZES)),
        (.., n) if random.below(4) > 0 => a.ints[random.below(n)] = random.pick(&SIZES),
        _ => drop(a.ints.pop()),
    }
}

fn sizes_of_constant(g: &mut GraphProto, random: &mut Choices<'_>) {
    let count = g.initializer.len();
    if count == 0 {
        return;
    }
    let t = &mut g.initializer[random.below(count)];
    match random.below(4) {
        0 => t.dims.push(random.pick(&SIZES)),
        1 => drop(t.dims.pop()),
        2 => t.data_type = Some(random.below(24) as i32),
        _ => {
            let at = random.below(t.dims.len());
            if let Some(d) = t.dims.get_mut(at) {
                *d = random.pick(&SIZES);
            }
        }
    }
}

fn number_of_constant(g: &mut GraphProto, random: &mut Choices<'_>) {
    let count = g.initializer.len();
    if count == 0 {
        return;
    }
    let t = &mut g.initializer[random.below(count)];
    let Some(raw) = t.raw_data.as_ref().filter(|raw| raw.len() >= 8) else { return };
    let mut raw = raw.to_vec();
    let bytes = match t.data_type {
        Some(7) => random.pick(&SIZES).to_le_bytes().to_vec(),
        _ => random.pick(&REALS).to_le_bytes().to_vec(),
    };
    let at = random.below(raw.len() / bytes.len()) * bytes.len();
    raw[at..at + bytes.len()].copy_from_slice(&bytes);
    t.raw_data = Some(raw.into());
}
