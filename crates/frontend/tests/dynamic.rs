//! Models whose scales are known only while running, as dynamic quantizers write them: they give what their definitions
//! say, to the bit.

mod common;

use common::*;
use lowbit_ir::text::print;
use lowbit_ir::{DType, Graph, Tensor, verify};

fn imported(model: &Model) -> Graph {
    let g = model.import().unwrap();
    verify::verify(&g).unwrap();
    g
}

/// Scale, zero point and integers that DynamicQuantizeLinear makes of x.
fn quantized(x: &[f32]) -> (f32, f32, Vec<f32>) {
    let low = x.iter().copied().fold(0.0, f32::min);
    let high = x.iter().copied().fold(0.0, f32::max);
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero = (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even();
    let integers = x.iter().map(|x| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0)).collect();
    (scale, zero, integers)
}

const CASES: [[f32; 6]; 4] = [
    [-1.5, 0.25, 3.0, 0.0, 1.0, -0.375],
    [0.5, 0.25, 3.0, 2.0, 1.0, 0.375],
    [-0.5, -0.25, -3.0, -2.0, -1.0, -0.375],
    [0.0; 6],
];

#[test]
fn dynamic_quantize_linear_gives_three_results() {
    let mut model = Model::new(13).input("x", DType::F32, &["2", "3"]).output("y").output("s").output("z");
    model = model.node("DynamicQuantizeLinear", "x", "y s z", vec![]);
    let g = imported(&model);
    for x in CASES {
        let (scale, zero, integers) = quantized(&x);
        let found = run(&g, &[f32s(&[2, 3], &x)]);
        let ints = |t: &Tensor| t.ints().unwrap().iter().map(|i| *i as f32).collect::<Vec<_>>();
        assert_eq!((ints(&found[0]), found[0].dtype()), (integers, DType::U8));
        assert_eq!(found[1].floats().unwrap().as_ref(), [scale]);
        assert_eq!((ints(&found[2]), found[2].dtype()), (vec![zero], DType::U8));
    }
}

/// 3 x 2, of which the second column has another zero point.
const W: [i64; 6] = [-100, 120, 3, 127, 5, -128];

#[test]
fn a_dynamically_quantized_product_is_one_of_integers() {
    for b_zeros in [vec![], vec![3], vec![3, -7]] {
        let mut model = Model::new(13)
            .input("x", DType::F32, &["2", "3"])
            .output("y")
            .constant("w", &integers(DType::I8, &[3, 2], &W))
            .node("DynamicQuantizeLinear", "x", "q s z", vec![]);
        let operands = if b_zeros.is_empty() { "q w z" } else { "q w z wz" };
        if !b_zeros.is_empty() {
            let dims: &[usize] = if b_zeros.len() == 1 { &[] } else { &[2] };
            model = model.constant("wz", &integers(DType::I8, dims, &b_zeros));
        }
        model = model.node("MatMulInteger", operands, "sums", vec![]);
        model = model.node("Cast", "sums", "real", vec![int("to", 1)]).node("Mul", "real s", "y", vec![]);
        let g = imported(&model);
        // Sums of differences are exact in integers, and nothing of them is a float.
        assert!(print(&g).contains("MatMul"), "{}", print(&g));
        for x in CASES {
            let (scale, zero, q) = quantized(&x);
            let expected: Vec<f32> = (0..4)
                .map(|i| {
                    let (row, column) = (i / 2, i % 2);
                    let wz = *b_zeros.get(column).or(b_zeros.first()).unwrap_or(&0);
                    let one = |k: usize| (q[3 * row + k] as i64 - zero as i64) * (W[2 * k + column] - wz);
                    (0..3).map(one).sum::<i64>() as f32 * scale
                })
                .collect();
            assert_eq!(run(&g, &[f32s(&[2, 3], &x)])[0].floats().unwrap().as_ref(), expected);
        }
    }
}

#[test]
fn a_dynamically_quantized_image_is_padded_with_its_zero_point() {
    let mut model = Model::new(13)
        .input("x", DType::F32, &["1", "1", "2", "3"])
        .output("sums")
        .constant("w", &integers(DType::I8, &[1, 1, 3, 3], &[1, 2, 3, 4, 5, 6, 7, 8, -9]))
        .node("DynamicQuantizeLinear", "x", "q s z", vec![]);
    model = model.node("ConvInteger", "q w z", "sums", vec![ints("pads", &[1, 1, 1, 1])]);
    let g = imported(&model);
    let w = [[1, 2, 3], [4, 5, 6], [7, 8, -9_i64]];
    for x in CASES {
        let (_, zero, q) = quantized(&x);
        let at = |r: i64, c: i64| match (0..2).contains(&r) && (0..3).contains(&c) {
            true => q[(3 * r + c) as usize] as i64 - zero as i64,
            false => 0,
        };
        let sum = |r: i64, c: i64| -> i64 {
            (0..9).map(|k| at(r + k / 3 - 1, c + k % 3 - 1) * w[(k / 3) as usize][(k % 3) as usize]).sum()
        };
        let expected: Vec<i64> = (0..6).map(|i| sum(i / 3, i % 3)).collect();
        assert_eq!(run(&g, &[f32s(&[1, 1, 2, 3], &x)])[0].ints().unwrap(), expected);
    }
}

#[test]
fn the_fused_products_of_onnx_runtime_are_the_same() {
    let base = || {
        Model::new(13)
            .input("x", DType::F32, &["2", "3"])
            .output("y")
            .constant("w", &integers(DType::I8, &[3, 2], &W))
            .constant("ws", &f32s(&[2], &[0.5, 0.25]))
            .constant("wz", &integers(DType::I8, &[2], &[3, -7]))
            .constant("b", &f32s(&[2], &[10.0, -10.0]))
    };
    let microsoft = |mut model: Model| {
        model.graph().node.last_mut().unwrap().domain = Some("com.microsoft".into());
        model
    };
    let fused = microsoft(base().node("DynamicQuantizeMatMul", "x w ws wz b", "y", vec![]));
    let apart = base().node("DynamicQuantizeLinear", "x", "q s z", vec![]);
    let apart = microsoft(apart.node("MatMulIntegerToFloat", "q w s ws z wz b", "y", vec![]));
    let (fused, apart) = (imported(&fused), imported(&apart));
    for x in CASES {
        let (scale, zero, q) = quantized(&x);
        let expected: Vec<f32> = (0..4)
            .map(|i| {
                let (row, column) = (i / 2, i % 2);
                let one = |k: usize| (q[3 * row + k] as i64 - zero as i64) * (W[2 * k + column] - [3, -7][column]);
                (0..3).map(one).sum::<i64>() as f32 * (scale * [0.5, 0.25][column]) + [10.0, -10.0][column]
            })
            .collect();
        for g in [&fused, &apart] {
            assert_eq!(run(g, &[f32s(&[2, 3], &x)])[0].floats().unwrap().as_ref(), expected);
        }
    }
}

#[test]
fn quantize_and_dequantize_by_what_is_computed_are_their_arithmetic() {
    let model = Model::new(13)
        .input("x", DType::F32, &["2", "3"])
        .output("y")
        .output("q2")
        .node("DynamicQuantizeLinear", "x", "q s z", vec![])
        .node("DequantizeLinear", "q s z", "y", vec![])
        .node("QuantizeLinear", "y s z", "q2", vec![]);
    let g = imported(&model);
    for x in CASES {
        let (scale, zero, q) = quantized(&x);
        let expected: Vec<f32> = q.iter().map(|q| (q - zero) * scale).collect();
        let found = run(&g, &[f32s(&[2, 3], &x)]);
        assert_eq!(found[0].floats().unwrap().as_ref(), expected);
        assert_eq!(found[1].ints().unwrap().iter().map(|i| *i as f32).collect::<Vec<_>>(), q);
    }
}

#[test]
fn integers_that_are_computed_are_dequantized_in_floats() {
    let scales = [0.5, 0.25, 0.125];
    for zeros in [vec![], vec![3_i64, -7, 0]] {
        let mut model = Model::new(13)
            .input("x", DType::F32, &["2", "3"])
            .output("y")
            .constant("scales", &f32s(&[3], &scales))
            .node("Cast", "x", "q", vec![int("to", 3)]);
        let mut operands = "q scales";
        if !zeros.is_empty() {
            model = model.constant("zeros", &integers(DType::I8, &[3], &zeros));
            operands = "q scales zeros";
        }
        let model = model.node("DequantizeLinear", operands, "y", vec![int("axis", 1)]);
        let x = [-100.0, 120.0, 3.0, 127.0, 5.0, -128.0];
        let expected: Vec<f32> =
            (0..6).map(|i| (x[i] - zeros.get(i % 3).map_or(0.0, |z| *z as f32)) * scales[i % 3]).collect();
        assert_eq!(run(&imported(&model), &[f32s(&[2, 3], &x)])[0].floats().unwrap().as_ref(), expected);
    }
}
