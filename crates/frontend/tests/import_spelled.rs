//! Operators that become several of the graph's, against numbers that ONNX Runtime and numpy computed.
#![allow(clippy::approx_constant, reason = "results that happen to be near constants are none")]

mod common;

use common::*;
use lowbit_ir::DType;

#[test]
fn channel_windows_and_norms() {
    Case::new("LRN", 13, vec![Some(ramp(3, &[1, 4, 1, 2]))])
        .with(vec![int("size", 3), float("alpha", 0.5), float("beta", 0.75), float("bias", 2.0)])
        .gives(
            &[1, 4, 1, 2],
            &[-0.29162434, 0.6577064, 0.13751772, -0.39462385, 0.52791804, 0.0, -0.5296846, 0.43089122],
        )
        .check();
    Case::new("LRN", 13, vec![Some(ramp(3, &[1, 4, 2]))])
        .with(vec![int("size", 4), float("alpha", 0.5), float("beta", 0.5), float("bias", 1.0)])
        .gives(&[1, 4, 2], &[-0.46342757, 1.1111112, 0.22019276, -0.64888567, 0.89164513, 0.0, -0.8944272, 0.7249465])
        .check();
    Case::new(
        "LpNormalization",
        13,
        vec![Some(f32s(&[3, 4], &[-0.5, 1.25, 0.25, -0.75, 0.0, 0.0, 0.0, 0.0, -0.25, -1.25, 0.5, -0.5]))],
    )
    .with(vec![int("p", 1), int("axis", 1)])
    .gives(&[3, 4], &[-0.18181819, 0.45454547, 0.09090909, -0.27272728, 0.0, 0.0, 0.0, 0.0, -0.1, -0.5, 0.2, -0.2])
    .check();
    Case::new(
        "LpNormalization",
        13,
        vec![Some(f32s(&[3, 4], &[-0.5, 1.25, 0.25, -0.75, 0.0, 0.0, 0.0, 0.0, -0.25, -1.25, 0.5, -0.5]))],
    )
    .with(vec![int("p", 2), int("axis", 1)])
    .gives(
        &[3, 4],
        &[
            -0.32025632,
            0.80064076,
            0.16012816,
            -0.48038447,
            0.0,
            0.0,
            0.0,
            0.0,
            -0.1714986,
            -0.857493,
            0.3429972,
            -0.3429972,
        ],
    )
    .check();
    Case::new("MeanVarianceNormalization", 13, vec![Some(ramp(3, &[2, 2, 1, 3]))])
        .gives(
            &[2, 2, 1, 3],
            &[
                -0.7683498,
                1.5366997,
                0.21952851,
                -0.7683498,
                1.5366997,
                0.21952853,
                -1.4269354,
                0.8781141,
                -0.43905705,
                -1.4269354,
                0.8781141,
                -0.43905702,
            ],
        )
        .check();
    Case::new("MeanVarianceNormalization", 13, vec![Some(ramp(3, &[2, 2, 1, 3]))])
        .with(vec![ints("axes", &[1, 3])])
        .gives(
            &[2, 2, 1, 3],
            &[
                -0.9734172,
                1.4314959,
                0.057259846,
                -1.3169763,
                1.087937,
                -0.2862992,
                -0.9734172,
                1.4314958,
                0.05725982,
                -1.3169762,
                1.0879368,
                -0.28629917,
            ],
        )
        .check();
    Case::new("GroupNormalization", 18, vec![Some(ramp(3, &[1, 4, 2])), Some(ramp(8, &[2])), Some(ramp(5, &[2]))])
        .with(vec![int("num_groups", 2)])
        .gives(
            &[1, 4, 2],
            &[-0.54216856, 1.1445781, 0.18072285, -0.7831323, -1.2610441, -0.9397591, -0.618474, -1.1807228],
        )
        .check();
    Case::new("GroupNormalization", 21, vec![Some(ramp(3, &[1, 4, 2])), Some(ramp(8, &[4])), Some(ramp(5, &[4]))])
        .with(vec![int("num_groups", 2)])
        .gives(
            &[1, 4, 2],
            &[-0.54216856, 1.1445781, -1.060241, -0.73895586, -0.5552206, 1.0512047, -1.013052, 0.111445695],
        )
        .check();
    Case::new("LayerNormalization", 17, vec![Some(ramp(3, &[1, 2, 3])), Some(ramp(8, &[3])), Some(ramp(5, &[3]))])
        .gives(&[1, 2, 3], &[-0.8718488, -1.3196778, 0.89530814, -0.8718487, -1.3196778, 0.89530814])
        .gives(&[1, 2, 1], &[0.33333334, 0.08333333])
        .gives(&[1, 2, 1], &[1.394958, 1.394958])
        .check();
    Case::new("LayerNormalization", 17, vec![Some(ramp(3, &[1, 2, 3])), Some(ramp(8, &[2, 1]))])
        .with(vec![int("axis", 1)])
        .gives(&[1, 2, 3], &[-0.730056, 1.0736117, 0.04294447, 0.32924095, -0.27198163, 0.071574114])
        .check();
    Case::new("SimplifiedLayerNormalization", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(8, &[3]))])
        .with(vec![int("axis", -1), float("epsilon", 0.001)])
        .gives(&[2, 3], &[-0.47396266, -0.39496887, -0.39496887, -0.7786758, -0.3460781, 0.0])
        .gives(&[2, 1], &[1.2639004, 1.3843124])
        .check();
}

#[test]
fn pools_of_powers() {
    Case::new("LpPool", 18, vec![Some(ramp(3, &[1, 1, 3, 4]))])
        .with(vec![ints("kernel_shape", &[2, 2]), int("p", 1), ints("pads", &[1, 0, 0, 0]), ints("strides", &[1, 2])])
        .gives(&[1, 1, 3, 2], &[1.75, 1.0, 2.75, 2.75, 2.5, 2.75])
        .check();
    Case::new("LpPool", 18, vec![Some(ramp(3, &[1, 1, 3, 4]))])
        .with(vec![ints("kernel_shape", &[2, 2]), int("p", 2), ints("pads", &[1, 0, 0, 0]), ints("strides", &[1, 2])])
        .gives(&[1, 1, 3, 2], &[1.3462912, 0.7905694, 1.677051, 1.47902, 1.6201851, 1.4361407])
        .check();
    Case::new("LpPool", 18, vec![Some(ramp(3, &[1, 1, 3, 4]))])
        .with(vec![ints("kernel_shape", &[2, 2]), int("p", 3), ints("pads", &[1, 0, 0, 0]), ints("strides", &[1, 2])])
        .gives(&[1, 1, 3, 2], &[1.2761172, 0.7591472, 1.454662, 1.2296712, 1.4372243, 1.1868649])
        .check();
    Case::new("LpPool", 18, vec![Some(ramp(3, &[1, 1, 3, 4]))])
        .with(vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 3]), int("ceil_mode", 1)])
        .gives(&[1, 1, 2, 2], &[1.677051, 1.0606601, 1.2747549, 0.5])
        .check();
    Case::new("LpPool", 18, vec![Some(ramp(3, &[1, 1, 4]))])
        .with(vec![ints("kernel_shape", &[2]), ints("dilations", &[2])])
        .gives(&[1, 1, 2], &[0.559017, 1.4577379])
        .check();
    Case::new("LpPool", 11, vec![Some(ramp(3, &[1, 1, 5]))])
        .with(vec![ints("kernel_shape", &[2]), ints("strides", &[2]), text("auto_pad", "SAME_LOWER")])
        .gives(&[1, 1, 3], &[0.5, 1.2747549, 1.25])
        .check();
    Case::new("GlobalLpPool", 13, vec![Some(ramp(3, &[1, 2, 2, 3]))])
        .with(vec![int("p", 1)])
        .gives(&[1, 2, 1, 1], &[3.75, 4.25])
        .check();
    Case::new("GlobalLpPool", 13, vec![Some(ramp(3, &[1, 2, 2, 3]))])
        .with(vec![int("p", 2)])
        .gives(&[1, 2, 1, 1], &[1.8540496, 1.9202864])
        .check();
    Case::new("GlobalLpPool", 13, vec![Some(ramp(3, &[1, 2, 2, 3]))])
        .with(vec![int("p", 3)])
        .gives(&[1, 2, 1, 1], &[1.5205505, 1.5383624])
        .check();
    Case::new("AveragePool", 19, vec![Some(ramp(3, &[1, 1, 5]))])
        .with(vec![ints("kernel_shape", &[2]), ints("dilations", &[3]), ints("pads", &[1, 1])])
        .gives(&[1, 1, 4], &[0.25, -0.625, 1.125, 0.25])
        .check();
    Case::new("MaxPool", 12, vec![Some(ramp(3, &[1, 1, 6]))])
        .with(vec![
            ints("kernel_shape", &[2]),
            ints("dilations", &[2]),
            ints("strides", &[3]),
            int("ceil_mode", 1),
            int("storage_order", 1),
        ])
        .gives(&[1, 1, 2], &[0.25, 0.0])
        .check();
}

#[test]
fn reductions_of_logarithms_and_products() {
    Case::new("ReduceLogSum", 13, vec![Some(f32s(&[2, 3], &[1.0, 1.75, 0.75, 1.25, 1.5, 0.5]))])
        .with(vec![ints("axes", &[1]), int("keepdims", 0)])
        .gives(&[2], &[1.2527629, 1.178655])
        .check();
    Case::new(
        "ReduceLogSum",
        18,
        vec![Some(f32s(&[2, 3], &[1.0, 1.75, 0.75, 1.25, 1.5, 0.5])), Some(integers(DType::I64, &[1], &[0]))],
    )
    .gives(&[1, 3], &[0.8109302, 1.178655, 0.22314355])
    .check();
    Case::new(
        "ReduceLogSumExp",
        13,
        vec![Some(f32s(&[3, 2], &[1000.0, 999.0, -1000.0, -1000.0, f32::NEG_INFINITY, f32::NEG_INFINITY]))],
    )
    .with(vec![ints("axes", &[-1]), int("keepdims", 0)])
    .gives(&[3], &[1000.31323, -999.3068, f32::NEG_INFINITY])
    .check();
    Case::new("ReduceLogSumExp", 13, vec![Some(ramp(3, &[2, 3]))]).gives(&[1, 1], &[2.2587948]).check();
    Case::new("ReduceProd", 13, vec![Some(ramp(4, &[2, 5]))])
        .with(vec![ints("axes", &[1])])
        .gives(&[2, 1], &[-0.09765625, 0.0])
        .check();
    Case::new("ReduceProd", 13, vec![Some(ramp(4, &[2, 3]))])
        .with(vec![int("keepdims", 0)])
        .gives(&[], &[-0.024414062])
        .check();
    Case::new("ReduceProd", 13, vec![Some(integers(DType::I64, &[2, 3], &[2, 3, 4, -1, 5, 7]))])
        .with(vec![ints("axes", &[1]), int("keepdims", 0)])
        .gives(&[2], &[24.0, -35.0])
        .check();
    Case::new("ReduceL2", 18, vec![Some(ramp(3, &[2, 2])), Some(integers(DType::I64, &[0], &[]))])
        .with(vec![int("noop_with_empty_axes", 1)])
        .gives(&[2, 2], &[0.5, 1.25, 0.25, 0.75])
        .check();
    Case::new(
        "ReduceLogSum",
        18,
        vec![Some(f32s(&[2, 3], &[1.0, 1.75, 0.75, 1.25, 1.5, 0.5])), Some(integers(DType::I64, &[0], &[]))],
    )
    .with(vec![int("noop_with_empty_axes", 1)])
    .gives(&[2, 3], &[0.0, 0.5596158, -0.2876821, 0.22314355, 0.4054651, -0.6931472])
    .check();
    Case::new("ReduceSumSquare", 18, vec![Some(ramp(3, &[2, 2])), Some(integers(DType::I64, &[0], &[]))])
        .gives(&[1, 1], &[2.4375])
        .check();
    Case::new(
        "ReduceMax",
        20,
        vec![Some(integers(DType::Bool, &[2, 2], &[0, 0, 0, 1])), Some(integers(DType::I64, &[1], &[1]))],
    )
    .with(vec![int("keepdims", 0)])
    .gives(&[2], &[0.0, 1.0])
    .check();
    Case::new(
        "ReduceMin",
        20,
        vec![Some(integers(DType::Bool, &[2, 2], &[1, 1, 0, 1])), Some(integers(DType::I64, &[1], &[1]))],
    )
    .with(vec![int("keepdims", 0)])
    .gives(&[2], &[1.0, 0.0])
    .check();
}

#[test]
fn values_by_position() {
    Case::new(
        "OneHot",
        13,
        vec![
            Some(integers(DType::I64, &[2, 3], &[0, 2, -1, 3, -4, 1])),
            Some(integers(DType::I64, &[], &[3])),
            Some(f32s(&[2], &[2.0, 7.0])),
        ],
    )
    .with(vec![int("axis", -1)])
    .gives(&[2, 3, 3], &[7.0, 2.0, 2.0, 2.0, 2.0, 7.0, 2.0, 2.0, 7.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 7.0, 2.0])
    .check();
    Case::new(
        "OneHot",
        13,
        vec![
            Some(integers(DType::I64, &[2, 3], &[0, 2, -1, 3, -4, 1])),
            Some(integers(DType::I64, &[], &[3])),
            Some(f32s(&[2], &[2.0, 7.0])),
        ],
    )
    .with(vec![int("axis", 0)])
    .gives(&[3, 2, 3], &[7.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 7.0, 2.0, 7.0, 7.0, 2.0, 2.0, 2.0])
    .check();
    Case::new(
        "OneHot",
        13,
        vec![
            Some(integers(DType::I64, &[2, 3], &[0, 2, -1, 3, -4, 1])),
            Some(integers(DType::I64, &[], &[3])),
            Some(f32s(&[2], &[2.0, 7.0])),
        ],
    )
    .with(vec![int("axis", 1)])
    .gives(&[2, 3, 3], &[7.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 7.0, 7.0, 2.0, 2.0, 2.0, 2.0, 2.0, 7.0, 2.0, 2.0, 2.0])
    .check();
    Case::new("Trilu", 14, vec![Some(ramp(3, &[1, 2, 3])), Some(integers(DType::I64, &[], &[0]))])
        .with(vec![int("upper", 1)])
        .gives(&[1, 2, 3], &[-0.5, 1.25, 0.25, 0.0, 1.0, 0.0])
        .check();
    Case::new("Trilu", 14, vec![Some(ramp(3, &[1, 2, 3])), Some(integers(DType::I64, &[], &[1]))])
        .with(vec![int("upper", 1)])
        .gives(&[1, 2, 3], &[0.0, 1.25, 0.25, 0.0, 0.0, 0.0])
        .check();
    Case::new("Trilu", 14, vec![Some(ramp(3, &[1, 2, 3])), Some(integers(DType::I64, &[], &[-1]))])
        .with(vec![int("upper", 0)])
        .gives(&[1, 2, 3], &[0.0, 0.0, 0.0, -0.75, 0.0, 0.0])
        .check();
    Case::new("Trilu", 14, vec![Some(ramp(3, &[1, 2, 3])), Some(integers(DType::I64, &[], &[9]))])
        .with(vec![int("upper", 0)])
        .gives(&[1, 2, 3], &[-0.5, 1.25, 0.25, -0.75, 1.0, 0.0])
        .check();
    Case::new("Trilu", 14, vec![Some(integers(DType::I64, &[2, 2], &[1, 2, 3, 4]))])
        .with(vec![int("upper", 0)])
        .gives(&[2, 2], &[1.0, 0.0, 3.0, 4.0])
        .check();
    Case::new("EyeLike", 13, vec![Some(ramp(3, &[2, 3]))])
        .with(vec![int("k", 1)])
        .gives(&[2, 3], &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
        .check();
    Case::new("EyeLike", 13, vec![Some(ramp(3, &[3, 2]))])
        .with(vec![int("k", -1), int("dtype", 7)])
        .gives(&[3, 2], &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
        .check();
    Case::new("ReverseSequence", 13, vec![Some(ramp(3, &[3, 2, 1])), Some(integers(DType::I64, &[2], &[2, 3]))])
        .gives(&[3, 2, 1], &[0.25, 0.0, -0.5, -0.75, 1.0, 1.25])
        .check();
    Case::new("ReverseSequence", 13, vec![Some(ramp(3, &[2, 3])), Some(integers(DType::I64, &[2], &[1, 3]))])
        .with(vec![int("batch_axis", 0), int("time_axis", 1)])
        .gives(&[2, 3], &[-0.5, 1.25, 0.25, 0.0, 1.0, -0.75])
        .check();
    Case::new("NonZero", 13, vec![Some(f32s(&[2, 3], &[1.0, 0.0, 3.0, 0.0, 0.0, 2.0]))])
        .known()
        .gives(&[2, 3], &[0.0, 0.0, 1.0, 0.0, 2.0, 2.0])
        .check();
    Case::new("Hardmax", 13, vec![Some(f32s(&[2, 3], &[1.0, 3.0, 3.0, 2.0, 0.0, 1.0]))])
        .gives(&[2, 3], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0])
        .check();
    Case::new("Hardmax", 11, vec![Some(f32s(&[1, 3, 2], &[1.0, 3.0, 3.0, 2.0, 0.0, 1.0]))])
        .with(vec![int("axis", 1)])
        .gives(&[1, 3, 2], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        .check();
    Case::new("Dropout", 13, vec![Some(ramp(3, &[2, 2]))])
        .gives(&[2, 2], &[-0.5, 1.25, 0.25, -0.75])
        .gives(&[2, 2], &[1.0, 1.0, 1.0, 1.0])
        .check();
}
