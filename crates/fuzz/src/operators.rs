//! A small file for every operator of ONNX that is read: what a fuzzer would hardly come upon, names of operators that
//! operands and attributes suit.

use lowbit::frontend::onnx::Message;
use lowbit::frontend::onnx::ops::{OPS, OpRow};
use lowbit::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto,
};
use lowbit::frontend::{self, ImportOptions};

/// ONNX's numbers of types.
const F32: i32 = 1;
const U8: i32 = 2;
const I64: i32 = 7;
const BOOL: i32 = 9;

/// The inputs: floats and bytes of these sizes.
const SIZES: [i64; 4] = [2, 4, 4, 4];
static INPUTS: [(&str, i32); 2] = [("x", F32), ("q", U8)];

/// What may be an operand besides: a name, a type, sizes, and the bytes of one element.
static CONSTANTS: [(&str, i32, &[i64], &[u8]); 11] = [
    ("one", F32, &[], &[0, 0, 128, 63]),
    ("channels", F32, &[4], &[0, 0, 0, 63]),
    ("window", F32, &[4, 4, 3, 3], &[0, 0, 128, 62]),
    ("matrix", F32, &[4, 8], &[0, 0, 128, 62]),
    ("square", F32, &[4, 4], &[0, 0, 128, 62]),
    ("index", I64, &[1], &[1, 0, 0, 0, 0, 0, 0, 0]),
    ("sizes", I64, &[4], &[1, 0, 0, 0, 0, 0, 0, 0]),
    ("zero", U8, &[], &[0]),
    ("mask", BOOL, &[4], &[1]),
    ("bytes", U8, &[4, 4, 3, 3], &[3]),
    ("weights", U8, &[4, 8], &[5]),
];

/// Operands of operators that want more than three, or others than floats first.
static KNOWN: [(&str, &[&str], Option<usize>); 18] = [
    ("BatchNormalization", &["x", "channels", "channels", "channels", "channels"], None),
    ("ConvInteger", &["q", "bytes"], None),
    ("GroupNormalization", &["x", "channels", "channels"], Some(10)),
    ("MatMulIntegerToFloat", &["q", "weights", "one", "one"], None),
    ("QLinearAdd", &["q", "one", "zero", "q", "one", "zero", "one", "zero"], None),
    ("QLinearAveragePool", &["q", "one", "zero", "one", "zero"], Some(1)),
    ("QLinearConcat", &["one", "zero", "q", "one", "zero", "q", "one", "zero"], Some(0)),
    ("QLinearConv", &["q", "one", "zero", "bytes", "one", "zero", "one", "zero"], None),
    ("QLinearGlobalAveragePool", &["q", "one", "zero", "one", "zero"], None),
    ("QLinearLeakyRelu", &["q", "one", "zero", "one", "zero"], None),
    ("QLinearMatMul", &["q", "one", "zero", "weights", "one", "zero", "one", "zero"], None),
    ("QLinearMul", &["q", "one", "zero", "q", "one", "zero", "one", "zero"], None),
    ("QLinearReduceMean", &["q", "one", "zero", "one", "zero"], Some(11)),
    ("QLinearSigmoid", &["q", "one", "zero", "one", "zero"], None),
    ("QLinearSoftmax", &["q", "one", "zero", "one", "zero"], Some(12)),
    ("QLinearWhere", &["mask", "q", "one", "zero", "q", "one", "zero", "one", "zero"], None),
    ("Gemm", &["square", "matrix"], None),
    ("Where", &["mask", "x", "x"], None),
];

/// Attributes of which operators want one.
enum Given {
    Number(i64),
    Numbers(&'static [i64]),
    Text(&'static str),
}

static ATTRIBUTES: [(&str, Given); 13] = [
    ("axis", Given::Number(1)),
    ("kernel_shape", Given::Numbers(&[2, 2])),
    ("to", Given::Number(F32 as i64)),
    ("size", Given::Number(3)),
    ("blocksize", Given::Number(2)),
    ("hidden_size", Given::Number(2)),
    ("equation", Given::Text("abcd->abdc")),
    ("num_heads", Given::Number(1)),
    ("shape", Given::Numbers(&[2, 3])),
    ("num_outputs", Given::Number(2)),
    ("num_groups", Given::Number(2)),
    ("axes", Given::Numbers(&[1])),
    ("opset", Given::Number(13)),
];

/// The versions of the operators' set that are tried.
const OPSETS: [i64; 2] = [23, 9];

/// A file for every row of the table that some operands suit, in the table's order.
pub fn each() -> Vec<Vec<u8>> {
    OPS.iter().filter_map(one).collect()
}

/// The first arrangement that is read: few operands before many.
fn one(row: &OpRow) -> Option<Vec<u8>> {
    let known = |opset| {
        let (_, operands, attribute) = KNOWN.iter().find(|(op, ..)| *op == row.op_type)?;
        Some(model(row, operands, attribute.map(|at| &ATTRIBUTES[at]), 1, opset).encode_to_vec())
    };
    let read = |bytes: &Vec<u8>| frontend::load_bytes(bytes.clone().into(), None, &ImportOptions::default()).is_ok();
    if let Some(found) = OPSETS.iter().filter_map(|opset| known(*opset)).find(read) {
        return Some(found);
    }
    let names = || std::iter::once("x").chain(CONSTANTS.iter().map(|(name, ..)| *name));
    let (one, two) = (names().map(|a| vec![a]), names().flat_map(|a| names().map(move |b| vec![a, b])));
    let three = names().flat_map(|b| names().map(move |c| vec!["x", b, c]));
    let operands: Vec<Vec<&str>> = std::iter::once(Vec::new()).chain(one).chain(two).chain(three).collect();
    let [new, old] = OPSETS;
    let named = |name: &str| ATTRIBUTES.iter().find(|(n, _)| *n == name);
    let each = || ATTRIBUTES.iter().map(Some);
    // Few operands where there is an attribute, several results, or an old version: what else would be there to find?
    let tries = std::iter::once((new, 1, 3, None))
        .chain(each().map(|attribute| (new, 1, 2, attribute)))
        .chain([None, named("axis"), named("num_outputs")].map(|attribute| (new, 2, 2, attribute)))
        .chain([(old, 1, 2, None)])
        .chain(each().map(|attribute| (old, 1, 1, attribute)));
    let made = tries.flat_map(|(opset, outputs, most, attribute)| {
        let few = operands.iter().filter(move |o| o.len() <= most);
        few.map(move |operands| model(row, operands, attribute, outputs, opset).encode_to_vec())
    });
    made.into_iter().find(read)
}

fn model(row: &OpRow, operands: &[&str], attribute: Option<&(&str, Given)>, outputs: usize, opset: i64) -> ModelProto {
    let names: Vec<String> = (0..outputs).map(|i| format!("y{i}")).collect();
    let node = NodeProto {
        op_type: Some(row.op_type.into()),
        domain: (!row.domain.is_empty()).then(|| row.domain.into()),
        name: Some("node".into()),
        input: operands.iter().map(ToString::to_string).collect(),
        output: names.clone(),
        attribute: attribute.map(|(name, given)| given.proto(name)).into_iter().collect(),
        ..NodeProto::default()
    };
    let constant = |(name, code, dims, element): &(&str, i32, &[i64], &[u8])| TensorProto {
        name: Some(name.to_string()),
        data_type: Some(*code),
        dims: dims.to_vec(),
        raw_data: Some(element.repeat(dims.iter().product::<i64>() as usize).into()),
        ..TensorProto::default()
    };
    let used = CONSTANTS.iter().filter(|(name, ..)| operands.contains(name));
    let inputs = INPUTS.iter().filter(|(name, _)| operands.contains(name));
    let set = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![set("", opset), set("com.microsoft", 1)],
        graph: Some(GraphProto {
            name: Some(row.op_type.into()),
            node: vec![node],
            initializer: used.map(constant).collect(),
            input: inputs.map(|(name, code)| value(name, Some(*code))).collect(),
            output: names.iter().map(|name| value(name, None)).collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

impl Given {
    fn proto(&self, name: &str) -> AttributeProto {
        let of = |kind: AttributeType| AttributeProto {
            name: Some(name.into()),
            r#type: Some(kind as i32),
            ..AttributeProto::default()
        };
        match self {
            Given::Number(n) => AttributeProto { i: Some(*n), ..of(AttributeType::Int) },
            Given::Numbers(n) => AttributeProto { ints: n.to_vec(), ..of(AttributeType::Ints) },
            Given::Text(t) => AttributeProto { s: Some(t.as_bytes().to_vec().into()), ..of(AttributeType::String) },
        }
    }
}

/// An input of this type, or a value of which nothing is said.
fn value(name: &str, code: Option<i32>) -> ValueInfoProto {
    let size = |n: &i64| Dimension { value: Some(dimension::Value::DimValue(*n)), ..Dimension::default() };
    let tensor = code.map(|code| type_proto::Tensor {
        elem_type: Some(code),
        shape: Some(TensorShapeProto { dim: SIZES.iter().map(size).collect() }),
    });
    let ty = tensor.map(|t| TypeProto { value: Some(type_proto::Value::TensorType(t)), ..TypeProto::default() });
    ValueInfoProto { name: Some(name.into()), r#type: ty, ..ValueInfoProto::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_operators_have_a_file() {
        let found = each().len();
        assert!(found * 10 >= OPS.len() * 8, "{found} of {}", OPS.len());
    }
}
