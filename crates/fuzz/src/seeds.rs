//! Small well-formed things: what targets put beside the bytes they are given, and what a corpus begins with.

use crate::choices::Numbers;
use crate::damage;
use crate::operators;
use lowbit::frontend::onnx::Message;
use lowbit::ir::text;
use lowbit::{Model, Quantize, Result, Tensor, frontend};

/// A network of windows and a layer; `random` stands for constants of small numbers.
pub const WINDOWS: &str = r#"graph "windows" {
  input %x: f32[Nx3x8x8]
  const %w: f32[4x3x3x3] = random
  const %b: f32[4] = [1, 2, 3, 4]
  const %d: f32[4x1x3x3] = random
  const %f: f32[16x5] = random
  %c = Conv(%x, %w, %b) {strides [2, 2], pads [1, 1, 1, 1], dilations [1, 1], group 1}
  %r = Relu(%c)
  %g = Conv(%r, %d) {strides [1, 1], pads [1, 1, 1, 1], dilations [1, 1], group 4}
  %p = MaxPool(%g) {kernel [2, 2], strides [2, 2], pads [0, 0, 0, 0], dilations [1, 1]}
  %q = Pad(%p) {begins [0, 0, 1, 1], ends [0, 0, 1, 1], value 0}
  %a = AvgPool(%q) {kernel [3, 3], strides [1, 1], pads [0, 0, 0, 0], dilations [1, 1]}
  %t = Transpose(%a) {perm [0, 2, 3, 1]}
  %l = Flatten(%t) {axis 1}
  %y = MatMul(%l, %f)
  output %y
}
"#;

/// Operators that move elements, and two of rows; `random` as above.
pub const MOVEMENT: &str = r#"graph "movement" {
  input %x: f32[2x4x6]
  const %s: f32[6] = [1, 1, 1, 1, 1, 1]
  const %o: f32[1x1x6] = [1, 2, 3, 4, 5, 6]
  const %i: i64[3] = [0, 2, 1]
  %n = LayerNorm(%x, %s) {axis 2, epsilon 1e-5}
  %e = Expand(%o) {dims [2, 4, 6]}
  %a = Add(%n, %e)
  %g = Gather(%a, %i) {axis 1}
  %c = Slice(%g) {axes [2], starts [1], ends [5], steps [1]}
  %m = Softmax(%c) {axis 2}
  %h = Split(%m) {axis 2, sizes [4]}
  %k = Concat(%h, %c) {axis 1}
  %r = Reshape(%k) {dims [2, -1]}
  %y = Clip(%r) {min -1, max 1}
  output %y
}
"#;

/// Pixels to floats, as a model stores it.
pub const PREPROCESS: &str = r#"{"resize":7,"crop":6,"mean":[0.5],"std":[0.25]}"#;

/// A picture of a few pixels.
pub const PNG: &[u8] = include_bytes!("../../../tests/data/images/rgb8.png");

/// A convolution, its activation, a pool and a dense layer, with the keys that they have.
pub const MXNET_SYMBOL: &str = r#"{"nodes": [
{"op": "null", "name": "data", "inputs": []},
{"op": "null", "name": "conv_weight", "inputs": []},
{"op": "null", "name": "conv_bias", "inputs": []},
{"op": "Convolution", "name": "conv", "attrs": {"kernel": "(3, 3)", "num_filter": "4", "pad": "(1, 1)"}, "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]]},
{"op": "Activation", "name": "relu", "attrs": {"act_type": "relu"}, "inputs": [[3, 0, 0]]},
{"op": "Pooling", "name": "pool", "attrs": {"kernel": "(2, 2)", "stride": "(2, 2)", "pool_type": "max", "pooling_convention": "full"}, "inputs": [[4, 0, 0]]},
{"op": "Pooling", "name": "mean", "attrs": {"kernel": "(1, 1)", "pool_type": "avg", "global_pool": "True"}, "inputs": [[5, 0, 0]]},
{"op": "null", "name": "fc_weight", "inputs": []},
{"op": "null", "name": "fc_bias", "inputs": []},
{"op": "FullyConnected", "name": "fc", "attrs": {"num_hidden": "2"}, "inputs": [[6, 0, 0], [7, 0, 0], [8, 0, 0]]}],
"arg_nodes": [0, 1, 2, 7, 8], "heads": [[9, 0, 0]]}"#;

/// The parameters of [`MXNET_SYMBOL`].
pub fn mxnet_params() -> Vec<u8> {
    let arrays: [(&str, &[u64]); 4] = [
        ("arg:conv_weight", &[4, 3, 3, 3]),
        ("arg:conv_bias", &[4]),
        ("arg:fc_weight", &[2, 4]),
        ("arg:fc_bias", &[2]),
    ];
    let mut numbers = Numbers(3);
    let mut file: Vec<u8> = [0x112u64, 0, arrays.len() as u64].iter().flat_map(|n| n.to_le_bytes()).collect();
    for (_, dims) in arrays {
        // A dense array of a CPU, its sizes, and f32.
        file.extend([0xF993_FAC9u32, 0, dims.len() as u32].iter().flat_map(|n| n.to_le_bytes()));
        file.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        file.extend([1u32, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
        (0..dims.iter().product()).for_each(|_| file.extend(numbers.float().to_le_bytes()));
    }
    file.extend((arrays.len() as u64).to_le_bytes());
    for (name, _) in arrays {
        file.extend((name.len() as u64).to_le_bytes());
        file.extend(name.as_bytes());
    }
    file
}

/// What the corpus of a target begins with: names and bytes.
pub fn corpus(target: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut numbers = Numbers(11);
    let models = damage::originals()?;
    let named = |i: usize, bytes: Vec<u8>| (format!("seed-{i:02}"), bytes);
    let bytes: Vec<Vec<u8>> = match target {
        "onnx" => models.iter().map(Message::encode_to_vec).chain(operators::each()).collect(),
        "text" => {
            let graphs = models.iter().map(|m| frontend::load_bytes(m.encode_to_vec().into(), None, &Default::default()));
            graphs.map(|g| Ok(text::print(&g?).into_bytes())).collect::<Result<_>>()?
        }
        "config" => [
            "samples = 8\nrequantize = 'fixed'\n[input]\nbits = 8\nobserver = 'entropy'\n",
            "weight.per = 'block(4)'\nweight.bits = 4\n[op.Conv]\ninput.rounding = 'floor'\nactivation.bits = 24\n",
            "io = 'int8'\noutput = 'narrow'\nrounding = 'stochastic(9)'\nrefinements = ['bias-correction']\n",
            "[layer.\"conv*\"]\nweight.bits = 6\n[layer.\"fc?\"]\nskip = true\n[hardware]\nbits = [8, 16]\n",
            "global_scale = 8.0\nskip_k_conv = 1\nskip_dense = true\naccumulator_bits = 64\naccumulator_limit = 'widen'\n",
            "equalize = false",
        ]
        .map(|t| t.as_bytes().to_vec())
        .into(),
        "idx" => vec![
            [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[7; 12]].concat(),
            [&[0, 0, 8, 1, 0, 0, 0, 2][..], &[7; 2]].concat(),
        ],
        "mxnet" => {
            let (symbol, params) = (MXNET_SYMBOL.as_bytes(), mxnet_params());
            vec![[&[0], symbol].concat(), [&[1], &params[..]].concat(), [&[2], symbol, &[0], &params].concat()]
        }
        "metadata" => {
            let config = b"samples = 2\nrequantize = 'fixed'\n";
            vec![
                [&[0, 0][..], config, &[0, 4, 0], PREPROCESS.as_bytes()].concat(),
                b"\x06\0{\"c\":\"because\"}\0\x07\0{\"r\":[0,1,-3,8]}\0\x05\0[\"cat\",\"dog\"]".to_vec(),
                b"\x08\x001\0\x09\0{}\0\x02\0Conv,MatMul\0\x03\0[\"own\"]".to_vec(),
            ]
        }
        "statistics" => {
            let graph = text::parse(&damage::filled(WINDOWS))?;
            let samples = vec![vec![Tensor::from_f32(&[1, 3, 8, 8], (0..192).map(|_| numbers.float()).collect())?]];
            let shard = Model::from(graph).calibrate(Quantize::default().data(samples))?;
            vec![lowbit::quantization::calibrate::file::write(&shard)?]
        }
        // Choices: any bytes are as good as others.
        "damaged" | "executors" | "roundtrip" | "quantized" => {
            (0..16).map(|i| (0..64 + 16 * i).map(|_| numbers.bits() as u8).collect()).collect()
        }
        // Those that the tests of the root package have.
        _ => Vec::new(),
    };
    Ok(bytes.into_iter().enumerate().map(|(i, bytes)| named(i, bytes)).collect())
}
