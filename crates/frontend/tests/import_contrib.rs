//! What ONNX Runtime's optimizer writes, against numbers that it computed.

mod common;

use common::*;
use lowbit_ir::DType;

const MS: &str = "com.microsoft";

#[test]
fn fused_products() {
    Case::new(
        "FusedConv",
        13,
        vec![
            Some(ramp(3, &[1, 1, 3, 3])),
            Some(ramp(5, &[2, 1, 2, 2])),
            Some(ramp(8, &[2])),
            Some(ramp(1, &[1, 2, 2, 2])),
        ],
    )
    .of(MS)
    .with(vec![text("activation", "Relu")])
    .gives(&[1, 2, 2, 2], &[0.0, 2.0, 0.0, 0.125, 3.125, 0.0, 3.875, 0.0])
    .check();
    Case::new(
        "FusedConv",
        13,
        vec![
            Some(ramp(3, &[1, 1, 3, 3])),
            Some(ramp(5, &[2, 1, 2, 2])),
            Some(ramp(8, &[2])),
            Some(ramp(1, &[1, 2, 2, 2])),
        ],
    )
    .of(MS)
    .with(vec![text("activation", "Tanh")])
    .gives(
        &[1, 2, 2, 2],
        &[-0.9805831, 0.9640276, -0.8931933, 0.124353, 0.9961465, -0.99078083, 0.9991389, -0.95933527],
    )
    .check();
    Case::new("FusedConv", 13, vec![Some(ramp(3, &[1, 1, 3, 3])), Some(ramp(5, &[2, 1, 2, 2])), Some(ramp(8, &[2]))])
        .of(MS)
        .with(vec![text("activation", "LeakyRelu"), floats("activation_params", &[0.25])])
        .gives(&[1, 2, 2, 2], &[-0.328125, 1.25, -0.296875, 1.375, 2.625, -0.546875, 2.625, -0.546875])
        .check();
    Case::new("FusedConv", 13, vec![Some(ramp(3, &[1, 1, 3, 3])), Some(ramp(5, &[2, 1, 2, 2])), Some(ramp(8, &[2]))])
        .of(MS)
        .with(vec![text("activation", "Clip"), floats("activation_params", &[-0.5, 1.0])])
        .gives(&[1, 2, 2, 2], &[-0.5, 1.0, -0.5, 1.0, 1.0, -0.5, 1.0, -0.5])
        .check();
    Case::new("FusedConv", 13, vec![Some(ramp(3, &[1, 1, 3, 3])), Some(ramp(5, &[2, 1, 2, 2])), Some(ramp(8, &[2]))])
        .of(MS)
        .with(vec![text("activation", "HardSigmoid"), floats("activation_params", &[0.25, 0.5])])
        .gives(&[1, 2, 2, 2], &[0.171875, 0.8125, 0.203125, 0.84375, 1.0, 0.0, 1.0, 0.0])
        .check();
    Case::new("FusedGemm", 13, vec![Some(ramp(3, &[2, 2])), Some(ramp(5, &[2, 2])), Some(ramp(8, &[2]))])
        .of(MS)
        .with(vec![
            text("activation", "LeakyRelu"),
            float("activation_alpha", 0.5),
            int("transA", 1),
            float("alpha", 2.0),
        ])
        .gives(&[2, 2], &[1.125, 0.625, -0.1875, -1.1875])
        .check();
    Case::new("FusedGemm", 13, vec![Some(ramp(3, &[2, 2])), Some(ramp(5, &[2, 2]))])
        .of(MS)
        .with(vec![text("activation", "Sigmoid"), int("transB", 1)])
        .gives(&[2, 2], &[0.22270015, 0.33458942, 0.6791787, 0.5926666])
        .check();
    Case::new("FusedMatMul", 13, vec![Some(ramp(3, &[1, 3, 2])), Some(ramp(5, &[1, 2, 3]))])
        .of(MS)
        .with(vec![float("alpha", 0.5), int("transA", 1), int("transB", 1)])
        .gives(&[1, 2, 2], &[0.25, 0.15625, 0.375, 0.3125])
        .check();
    Case::new("FusedMatMul", 13, vec![Some(ramp(3, &[2, 2, 3])), Some(ramp(5, &[2, 3, 2]))])
        .of(MS)
        .with(vec![int("transBatchA", 1)])
        .gives(&[2, 2, 2], &[0.625, 0.3125, 0.875, 0.6875, 0.625, -1.6875, 0.25, -1.9375])
        .check();
    Case::new("FusedMatMul", 13, vec![Some(ramp(3, &[2, 2, 3])), Some(ramp(5, &[2, 2, 3]))])
        .of(MS)
        .with(vec![int("transBatchA", 1), int("transBatchB", 1), int("transB", 1)])
        .gives(&[2, 2, 2], &[-1.0625, 1.875, -0.9375, 1.375, -1.0625, 1.5625, -0.5625, 1.4375])
        .check();
}

#[test]
fn fused_activations() {
    Case::new("FastGelu", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(8, &[3]))])
        .of(MS)
        .gives(&[2, 3], &[0.14967535, 0.841192, -0.15880796, 0.0, 0.5799606, -0.13228577])
        .check();
    Case::new("FastGelu", 13, vec![Some(ramp(3, &[3]))])
        .of(MS)
        .gives(&[3], &[-0.154286, 1.1177142, 0.14967535])
        .check();
    Case::new("BiasGelu", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(8, &[3]))])
        .of(MS)
        .gives(&[2, 3], &[0.14967658, 0.8413447, -0.15865526, 0.0, 0.5800295, -0.13206221])
        .check();
    Case::new("QuickGelu", 13, vec![Some(ramp(3, &[4]))])
        .of(MS)
        .gives(&[4], &[-0.14961158, 1.1169343, 0.15119965, -0.16360995])
        .check();
    Case::new("QuickGelu", 13, vec![Some(ramp(3, &[4]))])
        .of(MS)
        .with(vec![float("alpha", 1.0)])
        .gives(&[4], &[-0.18877035, 0.97162485, 0.14054412, -0.240616])
        .check();
    Case::new("BiasAdd", 13, vec![Some(ramp(3, &[1, 2, 2])), Some(ramp(8, &[2])), Some(ramp(5, &[1, 2, 2]))])
        .of(MS)
        .gives(&[1, 2, 2], &[0.25, 0.0, 1.75, -1.25])
        .check();
    Case::new("BiasSplitGelu", 13, vec![Some(ramp(3, &[1, 2, 4])), Some(ramp(8, &[4]))])
        .of(MS)
        .gives(&[1, 2, 2], &[-0.039663814, -0.10032342, -0.04813386, -0.27948445])
        .check();
}

#[test]
fn fused_normalization() {
    Case::new(
        "SkipLayerNormalization",
        13,
        vec![
            Some(ramp(3, &[1, 2, 3])),
            Some(ramp(5, &[1, 2, 3])),
            Some(ramp(8, &[3])),
            Some(ramp(1, &[3])),
            Some(ramp(6, &[3])),
        ],
    )
    .of(MS)
    .with(vec![float("epsilon", 1e-05)])
    .gives(&[1, 2, 3], &[-1.4447479, 0.95384276, -2.0104601, -1.4447479, 0.95384276, -2.0104601])
    .skips()
    .skips()
    .gives(&[1, 2, 3], &[-0.25, -0.5, 2.0, -0.75, -1.0, 1.5])
    .check();
    Case::new(
        "SkipLayerNormalization",
        13,
        vec![Some(ramp(3, &[1, 2, 3])), Some(ramp(5, &[2, 3])), Some(ramp(8, &[3]))],
    )
    .of(MS)
    .gives(&[1, 2, 3], &[-0.9185586, 0.0, -1.530931, -0.9185586, 0.0, -1.530931])
    .check();
    Case::new(
        "SkipSimplifiedLayerNormalization",
        13,
        vec![Some(ramp(3, &[1, 2, 3])), Some(ramp(5, &[1, 2, 3])), Some(ramp(8, &[3])), Some(ramp(6, &[3]))],
    )
    .of(MS)
    .with(vec![float("epsilon", 1e-05)])
    .gives(&[1, 2, 3], &[-0.15638526, 0.10425684, -2.085137, -0.49897236, 0.22176549, -1.6632413])
    .skips()
    .skips()
    .gives(&[1, 2, 3], &[-0.25, -0.5, 2.0, -0.75, -1.0, 1.5])
    .check();
    Case::new(
        "EmbedLayerNormalization",
        13,
        vec![
            Some(integers(DType::I32, &[2, 2], &[1, 0, 2, 2])),
            Some(integers(DType::I32, &[2, 2], &[0, 1, 1, 1])),
            Some(ramp(3, &[3, 2])),
            Some(ramp(5, &[4, 2])),
            Some(ramp(7, &[2, 2])),
            Some(ramp(8, &[2])),
            Some(ramp(1, &[2])),
            Some(integers(DType::I32, &[2, 2], &[1, 0, 1, 1])),
        ],
    )
    .of(MS)
    .with(vec![float("epsilon", 1e-05)])
    .gives(
        &[2, 2, 2],
        &[-0.25000167, 0.99999946, -0.25023985, 0.99992, -0.25000167, 0.99999946, -0.25000167, 0.99999946],
    )
    .gives(&[2], &[1.0, 2.0])
    .gives(&[2, 2, 2], &[0.75, -2.25, 1.5, 1.25, 2.25, -0.75, 3.0, 0.0])
    .check();
    Case::new(
        "EmbedLayerNormalization",
        13,
        vec![
            Some(integers(DType::I32, &[2, 2], &[1, 0, 2, 2])),
            None,
            Some(ramp(3, &[3, 2])),
            Some(ramp(5, &[4, 2])),
            None,
            Some(ramp(8, &[2])),
            Some(ramp(1, &[2])),
            None,
            Some(integers(DType::I32, &[1, 2], &[3, 1])),
        ],
    )
    .of(MS)
    .with(vec![float("epsilon", 1e-05)])
    .gives(&[2, 2, 2], &[-1.7499733, 0.5000089, -1.7499733, 0.5000089, -1.7499733, 0.5000089, -0.25000376, 0.99999875])
    .gives(&[2], &[0.0, 0.0])
    .check();
}

/// Weights of 4 bits in two blocks a row; the second row's last block has two columns of padding.
fn four_bits(extra: Vec<Option<lowbit_ir::Tensor>>, k: i64) -> Case {
    let packed = integers(DType::U8, &[2, 2, 2], &[0x98, 0xba, 0x76, 0x54, 0x0f, 0x1e, 0x2d, 0x3c]);
    let scales = f32s(&[2, 2], &[0.5, 0.25, 1.0, 2.0]);
    let operands = [vec![Some(ramp(3, &[1, k.max(1) as usize])), Some(packed), Some(scales)], extra].concat();
    let sizes = [int("K", k), int("N", 2), int("bits", 4), int("block_size", 4)];
    Case::new("MatMulNBits", 17, operands).of(MS).with(sizes.to_vec())
}

/// The product of a ramp with the rows.
fn rows(weights: &[&[f32]], bias: f32) -> Vec<f32> {
    let dot = |row: &&[f32]| {
        let x = ramp(3, &[row.len()]);
        x.f32s().unwrap().iter().zip(row.iter()).map(|(a, b)| a * b).sum::<f32>() + bias
    };
    weights.iter().map(dot).collect()
}

#[test]
fn weights_of_four_bits_in_blocks() {
    // (q - 8) * scale, low halves of bytes first.
    let first = [0.0, 0.5, 1.0, 1.5, -0.5, -0.25, -1.0, -0.75];
    let second = [7.0, -8.0, 6.0, -7.0, 10.0, -12.0, 8.0, -10.0];
    four_bits(vec![], 8).gives(&[1, 2], &rows(&[&first, &second], 0.0)).check_opened(&[1, 0]);
    four_bits(vec![], 6).gives(&[1, 2], &rows(&[&first[..6], &second[..6]], 0.0)).check_opened(&[1, 0]);
    let bias = [None, None, Some(f32s(&[2], &[1.0; 2]))];
    four_bits(bias.to_vec(), 8).gives(&[1, 2], &rows(&[&first, &second], 1.0)).check_opened(&[1, 0]);
    // Packed zero points, one row a byte: 8 and 7, then 0 and 15.
    let zeros = vec![Some(integers(DType::U8, &[2, 1], &[0x78, 0xf0]))];
    let moved = [15.0, 0.0, 14.0, 1.0, -4.0, -26.0, -6.0, -24.0];
    let nearer = [0.0, 0.5, 1.0, 1.5, -0.25, 0.0, -0.75, -0.5];
    four_bits(zeros, 8).gives(&[1, 2], &rows(&[&nearer, &moved], 0.0)).check_opened(&[1, 0]);
    // Zero points between integers.
    let halves = vec![Some(f32s(&[2, 2], &[8.5, 8.0, 8.0, 8.0]))];
    let lower: Vec<f32> = first.iter().enumerate().map(|(i, w)| if i < 4 { w - 0.25 } else { *w }).collect();
    four_bits(halves, 8).gives(&[1, 2], &rows(&[&lower, &second], 0.0)).check_opened(&[1, 0]);
}

#[test]
fn weights_in_blocks_stay_packed() {
    let case = four_bits(vec![], 8).gives(&[1, 2], &[0.0; 2]);
    let graph = case.graph(1);
    let weight = graph.nodes().find_map(|(_, n)| (n.op == lowbit_ir::Op::Dequantize).then(|| n.inputs[0]));
    let ty = graph.ty(weight.flatten().unwrap());
    assert_eq!((ty.dtype, ty.shape.dims()), (DType::U4, Some(vec![2, 8])));
    let granularity = ty.quant.as_ref().unwrap().granularity;
    assert_eq!(granularity, lowbit_ir::Granularity::Block { axis: 1, size: 4 });
}

#[test]
fn scales_of_any_sign_become_positive() {
    let packed = integers(DType::U8, &[1, 2, 1], &[0x9a, 0x37]);
    let operands = vec![Some(ramp(3, &[1, 4])), Some(packed), Some(f32s(&[2], &[-0.5, 0.0]))];
    let sizes = vec![int("K", 4), int("N", 1), int("bits", 4), int("block_size", 2)];
    let case = Case::new("MatMulNBits", 17, operands).of(MS).with(sizes);
    case.gives(&[1, 1], &rows(&[&[-1.0, -0.5, 0.0, 0.0]], 0.0)).check_opened(&[1, 0]);
}

#[test]
fn what_is_refused_says_why() {
    let order = vec![None, Some(integers(DType::I32, &[8], &[0; 8]))];
    assert!(four_bits(order, 8).refusal().contains("g_idx"));
    assert!(four_bits(vec![], 9).refusal().contains("expected bytes"));
    assert!(four_bits(vec![], -1).refusal().contains("expected a positive 'K'"));
    let x = || Some(ramp(3, &[2, 4]));
    let conv = |attributes| {
        let operands = vec![Some(ramp(3, &[1, 1, 2, 2])), Some(ramp(3, &[1, 1, 1, 1]))];
        Case::new("FusedConv", 17, operands).of(MS).with(attributes).refusal()
    };
    assert!(conv(vec![text("activation", "Softplus")]).contains("found 'Softplus'"));
    assert!(conv(vec![text("activation", "Clip")]).contains("expected 2 parameters"));
    let packed = Case::new("MultiHeadAttention", 17, vec![Some(ramp(3, &[1, 2, 2, 3, 2]))]).of(MS);
    assert!(packed.with(vec![int("num_heads", 2)]).refusal().contains("packed"));
    let odd = Case::new("BiasSplitGelu", 17, vec![Some(ramp(3, &[1, 3])), Some(ramp(3, &[3]))]).of(MS);
    assert!(odd.refusal().contains("even last dimension"));
    let norm = Case::new("LpNormalization", 13, vec![x()]).with(vec![int("p", 3)]);
    assert!(norm.refusal().contains("1 or 2"));
    let window = Case::new("LRN", 13, vec![Some(ramp(3, &[1, 2, 2]))]).with(vec![int("size", i64::MAX)]);
    assert!(window.refusal().contains("'size'"));
    let depth = Some(lowbit_ir::Tensor::from_i64(&[], vec![i64::MAX]).unwrap());
    let hot = Case::new("OneHot", 13, vec![x(), depth, Some(f32s(&[2], &[0.0, 1.0]))]);
    assert!(hot.refusal().contains("memory"));
    for (equation, why) in [
        ("ij,jk->ik", "as many terms"),
        ("ijk->i", "at least 3 dimensions"),
        ("i->i", "expected 1 dimensions"),
        ("i1->i", "expected letters"),
        ("ij->ii", "every letter once"),
        ("ij->k", "letters of the operands"),
        ("...j->j", "expected '...' in the output"),
        ("ii->i", "equal sizes on the diagonal"),
    ] {
        let error = Case::new("Einsum", 13, vec![x()]).with(vec![text("equation", equation)]).refusal();
        assert!(error.contains(why), "{equation}: {error}");
    }
    let causal = Case::new("Attention", 24, vec![x(), x(), x()]).with(vec![int("is_causal", 1)]);
    assert!(causal.refusal().contains("three or four dimensions"));
}
