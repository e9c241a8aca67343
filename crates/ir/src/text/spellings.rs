//! What others call operators: so that a rule or a configuration may name them as its writer is used to.

use super::OPERATORS;
use crate::suggest::nearest;

/// An operator, and the names that it has elsewhere: in Relay, in ONNX where that is another than ours, in MXNet.
///
/// Letter case counts, since Relay's `max` reduces and our `Max` takes two. What a file's operator only becomes part of,
/// such as a DepthToSpace of a Reshape, is no spelling of it: see [`BECOMES`].
pub static SPELLINGS: &[(&str, &[&str])] = &[
    ("Conv", &["nn.conv1d", "nn.conv2d", "nn.conv3d", "Convolution"]),
    ("MatMul", &["nn.dense", "nn.matmul", "nn.batch_matmul", "Gemm", "FullyConnected", "dot", "batch_dot"]),
    ("BatchNorm", &["nn.batch_norm", "BatchNormalization"]),
    ("LayerNorm", &["nn.layer_norm", "LayerNormalization"]),
    ("Softmax", &["nn.softmax", "softmax", "SoftmaxOutput", "SoftmaxActivation"]),
    ("Relu", &["nn.relu", "relu"]),
    ("Clip", &["clip"]),
    ("Abs", &["abs"]),
    ("Neg", &["negative"]),
    ("Exp", &["exp"]),
    ("Log", &["log"]),
    ("Sqrt", &["sqrt"]),
    ("Reciprocal", &["reciprocal"]),
    ("Erf", &["erf"]),
    ("Sin", &["sin"]),
    ("Cos", &["cos"]),
    ("Sign", &["sign"]),
    ("Tan", &["tan"]),
    ("Asin", &["asin", "arcsin"]),
    ("Acos", &["acos", "arccos"]),
    ("Atan", &["atan", "arctan"]),
    ("Sinh", &["sinh"]),
    ("Cosh", &["cosh"]),
    ("Asinh", &["asinh", "arcsinh"]),
    ("Acosh", &["acosh", "arccosh"]),
    ("Atanh", &["atanh", "arctanh"]),
    ("BitNot", &["bitwise_not", "BitwiseNot"]),
    ("Mod", &["floor_mod"]),
    ("Fmod", &["mod"]),
    ("BitAnd", &["bitwise_and", "BitwiseAnd"]),
    ("BitOr", &["bitwise_or", "BitwiseOr"]),
    ("BitXor", &["bitwise_xor", "BitwiseXor"]),
    ("ShiftLeft", &["left_shift"]),
    ("ShiftRight", &["right_shift"]),
    ("Tanh", &["tanh"]),
    ("Sigmoid", &["sigmoid"]),
    ("Silu", &["Swish"]),
    ("Softsign", &["softsign"]),
    ("LeakyRelu", &["nn.leaky_relu"]),
    ("Floor", &["floor"]),
    ("Ceil", &["ceil"]),
    ("Round", &["round"]),
    ("Not", &["logical_not"]),
    ("Add", &["add", "nn.bias_add", "elemwise_add", "broadcast_add"]),
    ("Sub", &["subtract", "elemwise_sub", "broadcast_sub"]),
    ("Mul", &["multiply", "elemwise_mul", "broadcast_mul"]),
    ("Div", &["divide", "elemwise_div", "broadcast_div"]),
    ("Pow", &["power", "broadcast_power"]),
    ("Min", &["minimum", "broadcast_minimum"]),
    ("Max", &["maximum", "broadcast_maximum"]),
    ("PRelu", &["nn.prelu"]),
    ("Equal", &["equal"]),
    ("Less", &["less"]),
    ("Greater", &["greater"]),
    ("And", &["logical_and"]),
    ("Or", &["logical_or"]),
    ("Where", &["where"]),
    ("Cast", &["cast"]),
    ("MaxPool", &["nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d"]),
    ("AvgPool", &["nn.avg_pool1d", "nn.avg_pool2d", "nn.avg_pool3d", "AveragePool"]),
    // Adaptive pools are to one position in nearly every network; those to more are an AvgPool.
    (
        "GlobalAvgPool",
        &[
            "nn.global_avg_pool1d",
            "nn.global_avg_pool2d",
            "nn.global_avg_pool3d",
            "nn.adaptive_avg_pool1d",
            "nn.adaptive_avg_pool2d",
            "nn.adaptive_avg_pool3d",
            "GlobalAveragePool",
        ],
    ),
    ("ReduceSum", &["sum"]),
    ("ReduceMean", &["mean"]),
    ("ReduceMax", &["max", "nn.global_max_pool1d", "nn.global_max_pool2d", "nn.global_max_pool3d", "GlobalMaxPool"]),
    ("ReduceMin", &["min"]),
    ("ReduceProd", &["prod"]),
    ("CumSum", &["cumsum"]),
    ("Concat", &["concatenate", "concat"]),
    ("Split", &["split", "SliceChannel"]),
    ("Slice", &["strided_slice", "slice", "slice_axis"]),
    ("Pad", &["nn.pad", "pad"]),
    ("Reshape", &["reshape"]),
    ("Flatten", &["nn.batch_flatten", "flatten"]),
    ("Squeeze", &["squeeze"]),
    ("Unsqueeze", &["expand_dims"]),
    ("Transpose", &["transpose", "SwapAxis"]),
    ("Gather", &["take"]),
    ("GatherElements", &["gather"]),
    ("GatherNd", &["gather_nd", "GatherND"]),
    ("ScatterElements", &["scatter", "scatter_elements", "Scatter"]),
    ("ScatterNd", &["scatter_nd", "ScatterND"]),
    ("TopK", &["topk"]),
    ("Expand", &["broadcast_to"]),
    (
        "Resize",
        &[
            "image.resize1d",
            "image.resize2d",
            "image.resize3d",
            "nn.upsampling",
            "nn.upsampling3d",
            "Upsample",
            "UpSampling",
        ],
    ),
    ("GridSample", &["image.grid_sample", "BilinearSampler"]),
    ("RoiAlign", &["vision.roi_align", "ROIAlign"]),
    ("NonMaxSuppression", &["vision.all_class_non_max_suppression"]),
    ("Identity", &["identity", "copy"]),
    ("Quantize", &["qnn.quantize", "QuantizeLinear"]),
    ("Dequantize", &["qnn.dequantize", "DequantizeLinear"]),
    ("Requantize", &["qnn.requantize"]),
    ("QAdd", &["qnn.add"]),
    ("QMul", &["qnn.mul"]),
    ("Simulate", &["relay.op.annotation.simulated_quantize"]),
];

/// Operators of files that become several here, with the one that does the work: no name of it, but worth a hint.
static BECOMES: &[(&str, &str)] = &[
    ("ArgMax", "TopK"),
    ("ArgMin", "TopK"),
    ("ConvInteger", "Conv"),
    ("ConvTranspose", "Conv"),
    ("Deconvolution", "Conv"),
    ("DepthToSpace", "Reshape"),
    ("GroupNormalization", "LayerNorm"),
    ("InstanceNormalization", "LayerNorm"),
    ("MatMulInteger", "MatMul"),
    ("QGemm", "MatMul"),
    ("QLinearAdd", "Add"),
    ("QLinearConv", "Conv"),
    ("QLinearMatMul", "MatMul"),
    ("SpaceToDepth", "Reshape"),
    ("Sum", "Add"),
    ("nn.conv2d_transpose", "Conv"),
    ("nn.depth_to_space", "Reshape"),
    ("nn.group_norm", "LayerNorm"),
    ("nn.instance_norm", "LayerNorm"),
    ("nn.space_to_depth", "Reshape"),
];

/// Our name of the operator that `name` is a name of, as [`Op::name`](crate::Op::name) gives it.
///
/// ```
/// # use lowbit_ir::text::canonical;
/// assert_eq!(canonical("nn.conv2d"), Some("Conv"));
/// assert_eq!(canonical("Conv"), Some("Conv"));
/// assert_eq!(canonical("conv"), None);
/// ```
pub fn canonical(name: &str) -> Option<&'static str> {
    let ours = OPERATORS.iter().find(|ours| **ours == name).copied();
    ours.or_else(|| SPELLINGS.iter().find(|(_, others)| others.contains(&name)).map(|(ours, _)| *ours))
}

/// What an operator is called elsewhere.
pub fn spellings(operator: &str) -> &'static [&'static str] {
    SPELLINGS.iter().find(|(ours, _)| *ours == operator).map_or(&[], |(_, others)| others)
}

/// Which operator a name that is none of ours most likely means, to be put at the end of a message.
pub fn operator_meant(name: &str) -> String {
    if let Some(ours) = canonical(name).filter(|ours| *ours != name) {
        return format!(" ({name} is {ours} here)");
    }
    if let Some((file, ours)) = BECOMES.iter().find(|(file, _)| file.eq_ignore_ascii_case(name)) {
        return format!(" (the file's {file} becomes {ours} here)");
    }
    // Ours come first, so that of names that differ in letter case only ours is meant.
    let all = OPERATORS.iter().chain(SPELLINGS.iter().flat_map(|(_, others)| *others));
    let Some(near) = nearest(name, all.copied()) else { return String::new() };
    match canonical(near).filter(|ours| *ours != near) {
        Some(ours) => format!(" (did you mean '{near}', which is {ours} here?)"),
        None => format!(" (did you mean '{near}'?)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_spelling_leads_to_one_operator() {
        let mut seen: BTreeSet<&str> = OPERATORS.iter().copied().collect();
        for (ours, others) in SPELLINGS {
            assert_eq!((canonical(ours), spellings(ours)), (Some(*ours), *others), "{ours} stands twice, or is none");
            for other in *others {
                assert!(seen.insert(other), "{other} is two operators");
                assert_eq!(canonical(other), Some(*ours));
            }
        }
        for (file, ours) in BECOMES {
            assert!(seen.insert(file) && canonical(file).is_none() && OPERATORS.contains(ours), "{file} {ours}");
        }
    }

    #[test]
    fn case_tells_operators_apart() {
        assert_eq!(["max", "Max", "maximum"].map(canonical), [Some("ReduceMax"), Some("Max"), Some("Max")]);
        assert_eq!(["MAX", "conv", "", "nn."].map(canonical), [None; 4]);
    }

    #[test]
    fn names_of_files_lead_to_operators() {
        for (name, meant) in [
            ("Gemm", " (Gemm is MatMul here)"),
            ("gemm", " (did you mean 'Gemm', which is MatMul here?)"),
            ("nn.conv2", " (did you mean 'nn.conv2d', which is Conv here?)"),
            ("nn.batchnorm", " (did you mean 'nn.batch_norm', which is BatchNorm here?)"),
            ("MAX", " (did you mean 'Max'?)"),
            ("Cnv", " (did you mean 'Conv'?)"),
            ("depthtospace", " (the file's DepthToSpace becomes Reshape here)"),
            ("zzzzzzzz", ""),
        ] {
            assert_eq!(operator_meant(name), meant);
        }
    }
}
