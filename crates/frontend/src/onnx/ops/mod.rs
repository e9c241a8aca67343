//! The table of ONNX operators that are read, one file a family.
//!
//! An import function reads attributes and operands of its [`Site`] and emits canonical operators.
//! To add one: write the function in its family's file and add its row here.

mod activation;
mod attention;
mod blocks;
mod contrib;
mod control;
mod dynamic;
mod einsum;
mod elementwise;
mod generate;
mod heads;
mod local;
mod lookup;
mod mac;
mod movement;
mod norm;
mod pool;
mod qoperator;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod sequence;
mod shape;
mod window;

pub use quantize::{dequantize_stand_in, quantize_stand_in};

use super::node::Site;
use lowbit_ir::Result;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct OpRow {
    /// The operator's domain; empty for ONNX's own.
    pub domain: &'static str,
    /// The operator's name in files.
    pub op_type: &'static str,
    /// What of it is read, or what it becomes; empty if it is read whole and stays one operator.
    pub note: &'static str,
    /// Reads it.
    pub import: fn(&mut Site<'_>) -> Result<()>,
}

const fn row(op_type: &'static str, note: &'static str, import: fn(&mut Site<'_>) -> Result<()>) -> OpRow {
    OpRow { domain: "", op_type, note, import }
}

const fn microsoft(op_type: &'static str, note: &'static str, import: fn(&mut Site<'_>) -> Result<()>) -> OpRow {
    OpRow { domain: "com.microsoft", op_type, note, import }
}

/// Every operator that is read, sorted by domain and name.
pub static OPS: &[OpRow] = &[
    row("Abs", "", activation::unary),
    row("Acos", "", activation::unary),
    row("Acosh", "", activation::unary),
    row("Add", "", elementwise::binary),
    row("And", "", elementwise::binary),
    row("ArgMax", "becomes TopK and Squeeze", lookup::arg),
    row("ArgMin", "becomes TopK and Squeeze", lookup::arg),
    row("Asin", "", activation::unary),
    row("Asinh", "", activation::unary),
    row("Atan", "", activation::unary),
    row("Atanh", "", activation::unary),
    row("Attention", "becomes MatMul and Softmax", attention::attention),
    row("AveragePool", "auto_pad becomes explicit padding", pool::average),
    row("BatchNormalization", "inference only", norm::batch),
    row("BitShift", "", elementwise::binary),
    row("BitwiseAnd", "", elementwise::binary),
    row("BitwiseNot", "", activation::unary),
    row("BitwiseOr", "", elementwise::binary),
    row("BitwiseXor", "", elementwise::binary),
    row("Cast", "", elementwise::cast),
    row("CastLike", "to the second operand's type", elementwise::cast_like),
    row("Ceil", "", activation::unary),
    row("Celu", "", activation::unary),
    row("Clip", "constant bounds; others become Max and Min", activation::clip),
    row("Concat", "", movement::concat),
    row("ConcatFromSequence", "becomes Concat", sequence::concat),
    row("Constant", "tensors, numbers and lists of numbers", shape::constant),
    row("ConstantOfShape", "folds", shape::constant_of_shape),
    row("Conv", "auto_pad becomes explicit padding", mac::conv),
    row(
        "ConvInteger",
        "the zero point of the image may be computed; becomes Conv of integers",
        qoperator::conv_integer,
    ),
    row("ConvTranspose", "becomes Conv, and Reshape, Transpose and Slice where it strides", mac::conv_transpose),
    row("Cos", "", activation::unary),
    row("Cosh", "", activation::unary),
    row("CumSum", "constant axis", lookup::cum_sum),
    row("DepthToSpace", "becomes Reshape and Transpose", movement::depth_to_space),
    row("DequantizeLinear", "where the scale is computed, one; then it becomes its arithmetic", quantize::dequantize),
    row("Div", "", elementwise::binary),
    row("Dropout", "inference only", shape::dropout),
    row("DynamicQuantizeLinear", "becomes its arithmetic and Quantize", dynamic::quantize),
    row("Einsum", "becomes Transpose, Reshape, MatMul, Mul and ReduceSum", einsum::einsum),
    row("Elu", "", activation::unary),
    row("Equal", "", elementwise::binary),
    row("Erf", "", activation::unary),
    row("Exp", "", activation::unary),
    row("Expand", "constant sizes", movement::expand),
    row("EyeLike", "folds", generate::eye_like),
    row("Flatten", "", shape::flatten),
    row("Floor", "", activation::unary),
    row("GRU", "one operator a direction", recurrent::recurrent),
    row("Gather", "", lookup::gather),
    row("GatherElements", "", lookup::gather_elements),
    row("GatherND", "", lookup::gather_nd),
    row("Gelu", "", activation::unary),
    row("Gemm", "becomes MatMul", mac::gemm),
    row("GlobalAveragePool", "", pool::global_average),
    row("GlobalLpPool", "becomes Abs, Pow and ReduceSum", pool::global_lp),
    row("GlobalMaxPool", "becomes ReduceMax", pool::global_max),
    row("Greater", "", elementwise::binary),
    row("GreaterOrEqual", "becomes Greater, Equal and Or", elementwise::or_equal),
    row("GridSample", "", sample::grid_sample),
    row("GroupNormalization", "known sizes; becomes LayerNorm, Mul and Add", norm::group),
    row("HardSigmoid", "", activation::unary),
    row("HardSwish", "", activation::unary),
    row("Hardmax", "becomes comparisons with ReduceMax", local::hardmax),
    row("Identity", "", shape::identity),
    row("If", "a condition that folds; becomes the branch", control::branch),
    row("InstanceNormalization", "known sizes; becomes LayerNorm, Mul and Add", norm::instance),
    row("IsInf", "becomes Equal", elementwise::special),
    row("IsNaN", "becomes Equal and Not", elementwise::special),
    row("LRN", "becomes AvgPool over the channels, Pow and Div", local::lrn),
    row("LSTM", "one operator a direction", recurrent::recurrent),
    row("LayerNormalization", "", norm::layer),
    row("LeakyRelu", "", activation::unary),
    row("Less", "", elementwise::binary),
    row("LessOrEqual", "becomes Less, Equal and Or", elementwise::or_equal),
    row("Log", "", activation::unary),
    row("LogSoftmax", "becomes its arithmetic", norm::log_softmax),
    row("Loop", "trip count and conditions that fold; becomes its iterations", control::repeat),
    row("LpNormalization", "becomes ReduceSum and Div", local::lp_normalization),
    row("LpPool", "becomes Abs, Pow and AvgPool", pool::lp),
    row("MatMul", "", mac::matmul),
    row(
        "MatMulInteger",
        "one zero point for the first operand, perhaps computed; becomes MatMul of integers",
        qoperator::matmul_integer,
    ),
    row("Max", "folded from the left", elementwise::variadic),
    row("MaxPool", "auto_pad becomes explicit padding; no indices", pool::max),
    row("Mean", "becomes Add and Div", elementwise::variadic),
    row("MeanVarianceNormalization", "becomes its arithmetic", local::mean_variance),
    row("Min", "folded from the left", elementwise::variadic),
    row("Mish", "", activation::unary),
    row("Mod", "", elementwise::binary),
    row("Mul", "", elementwise::binary),
    row("Neg", "", activation::unary),
    row("NonMaxSuppression", "known limits; always all rows, unused ones are -1", sample::non_max_suppression),
    row("NonZero", "of known values", generate::non_zero),
    row("Not", "", activation::unary),
    row("OneHot", "known depth; becomes Equal and Where", generate::one_hot),
    row("Optional", "while reading", sequence::optional),
    row("OptionalGetElement", "while reading", sequence::get_element),
    row("OptionalHasElement", "folds", sequence::has_element),
    row("Or", "", elementwise::binary),
    row("PRelu", "", elementwise::binary),
    row("Pad", "constant amounts", movement::pad),
    row("Pow", "", elementwise::binary),
    row("QLinearConv", "becomes Dequantize, Conv and Quantize", qoperator::conv),
    row("QLinearMatMul", "one scale for the first operand; becomes Dequantize, MatMul and Quantize", qoperator::matmul),
    row("QuantizeLinear", "where the scale is computed, one; then it becomes its arithmetic", quantize::quantize),
    row("RMSNormalization", "becomes its arithmetic", norm::rms),
    row("RNN", "one operator a direction", recurrent::recurrent),
    row("Range", "folds", shape::range),
    row("Reciprocal", "", activation::unary),
    row("ReduceL1", "becomes Abs and ReduceSum", reduce::reduce),
    row("ReduceL2", "becomes Mul, ReduceSum and Sqrt", reduce::reduce),
    row("ReduceLogSum", "becomes ReduceSum and Log", reduce::reduce),
    row("ReduceLogSumExp", "becomes its arithmetic", reduce::log_sum_exp),
    row("ReduceMax", "", reduce::reduce),
    row("ReduceMean", "", reduce::reduce),
    row("ReduceMin", "", reduce::reduce),
    row("ReduceProd", "", reduce::product),
    row("ReduceSum", "", reduce::reduce),
    row("ReduceSumSquare", "becomes Mul and ReduceSum", reduce::reduce),
    row("Relu", "", activation::relu),
    row("Reshape", "sizes that fold", shape::reshape),
    row("Resize", "constant scales and region of interest", resize::resize),
    row("ReverseSequence", "known lengths; becomes Gather", generate::reverse_sequence),
    row("RoiAlign", "", sample::roi_align),
    row("RotaryEmbedding", "becomes its arithmetic", attention::rotary),
    row("Round", "", activation::unary),
    row("Scan", "a known length; becomes its iterations", control::scan),
    row("Scatter", "as ScatterElements", lookup::scatter_elements),
    row("ScatterElements", "", lookup::scatter_elements),
    row("ScatterND", "", lookup::scatter_nd),
    row("Selu", "", activation::unary),
    row("SequenceAt", "a position that folds", sequence::at),
    row("SequenceConstruct", "while reading", sequence::construct),
    row("SequenceEmpty", "while reading", sequence::empty),
    row("SequenceErase", "a position that folds", sequence::erase),
    row("SequenceInsert", "a position that folds", sequence::insert),
    row("SequenceLength", "folds", sequence::length),
    row("SequenceMap", "becomes its iterations", control::map),
    row("Shape", "folds", shape::shape),
    row("Sigmoid", "", activation::unary),
    row("Sign", "", activation::unary),
    row("SimplifiedLayerNormalization", "of ONNX Runtime; becomes its arithmetic", norm::rms),
    row("Sin", "", activation::unary),
    row("Sinh", "", activation::unary),
    row("Size", "folds", shape::size),
    row("Slice", "constant positions", movement::slice),
    row("Softmax", "before opset 13 with flattening", norm::softmax),
    row("Softplus", "", activation::unary),
    row("Softsign", "", activation::unary),
    row("SpaceToDepth", "becomes Reshape and Transpose", movement::space_to_depth),
    row("Split", "", movement::split),
    row("SplitToSequence", "sizes that fold; becomes Split", sequence::split),
    row("Sqrt", "", activation::unary),
    row("Squeeze", "", shape::squeeze),
    row("Sub", "", elementwise::binary),
    row("Sum", "folded from the left", elementwise::variadic),
    row("Swish", "alpha 1 becomes Silu, others Mul and Sigmoid", activation::swish),
    row("Tan", "", activation::unary),
    row("Tanh", "", activation::unary),
    row("ThresholdedRelu", "", activation::unary),
    row("Tile", "becomes Unsqueeze, Expand and Reshape", movement::tile),
    row("TopK", "constant k", lookup::top_k),
    row("Transpose", "", movement::transpose),
    row("Trilu", "known sizes and diagonal; becomes Where", generate::trilu),
    row("Unsqueeze", "", shape::unsqueeze),
    row("Upsample", "becomes Resize", resize::upsample),
    row("Where", "", elementwise::select),
    row("Xor", "becomes Equal and Not", elementwise::xor),
    microsoft(
        "Attention",
        "masks of ends, [n, keys] and [n, queries, keys]; becomes MatMul and Softmax",
        heads::attention,
    ),
    microsoft("BiasAdd", "becomes Add", contrib::bias_add),
    microsoft("BiasGelu", "becomes Add and Gelu", contrib::gelu),
    microsoft("BiasSplitGelu", "becomes Add, Slice, Gelu and Mul", contrib::bias_split_gelu),
    microsoft("DequantizeLinear", "as ONNX's", quantize::dequantize),
    microsoft(
        "DynamicQuantizeMatMul",
        "becomes the arithmetic of the scale, and MatMul of integers",
        dynamic::quantize_matmul,
    ),
    microsoft("EmbedLayerNormalization", "becomes Gather, Add and LayerNorm", contrib::embed_layer_norm),
    microsoft("FastGelu", "becomes Add and GeluTanh", contrib::gelu),
    microsoft("FusedConv", "becomes Conv, Add and the activation", contrib::conv),
    microsoft("FusedGemm", "becomes MatMul and the activation", contrib::gemm),
    microsoft("FusedMatMul", "becomes Transpose, MatMul and Mul", contrib::matmul),
    microsoft("GatherND", "as ONNX's", lookup::gather_nd),
    microsoft("Gelu", "", activation::unary),
    microsoft("GridSample", "as ONNX's", sample::grid_sample),
    microsoft("MatMulIntegerToFloat", "becomes MatMul of integers, Mul and Add", dynamic::matmul_integer_to_float),
    microsoft("MatMulNBits", "known weights without g_idx; becomes Dequantize of blocks and MatMul", blocks::matmul),
    microsoft("MultiHeadAttention", "not packed; becomes MatMul and Softmax", heads::multi_head),
    microsoft("QGemm", "alpha 1; becomes Dequantize, MatMul and Quantize", qoperator::gemm),
    microsoft("QLinearAdd", "becomes Dequantize, Add and Quantize", qoperator::binary),
    microsoft("QLinearAveragePool", "channels first; becomes Dequantize, AvgPool and Quantize", qoperator::average),
    microsoft("QLinearConcat", "becomes Dequantize, Concat and Quantize", qoperator::concat),
    microsoft("QLinearConv", "channels first; becomes Dequantize, Conv and Quantize", qoperator::conv),
    microsoft(
        "QLinearGlobalAveragePool",
        "channels first; becomes Dequantize, GlobalAvgPool and Quantize",
        qoperator::global_average,
    ),
    microsoft("QLinearLeakyRelu", "becomes Dequantize, LeakyRelu and Quantize", qoperator::function),
    microsoft("QLinearMul", "becomes Dequantize, Mul and Quantize", qoperator::binary),
    microsoft("QLinearReduceMean", "becomes Dequantize, ReduceMean and Quantize", qoperator::mean),
    microsoft("QLinearSigmoid", "becomes Dequantize, Sigmoid and Quantize", qoperator::function),
    microsoft("QLinearSoftmax", "becomes Dequantize, Softmax and Quantize", qoperator::softmax),
    microsoft("QLinearWhere", "becomes Dequantize, Where and Quantize", qoperator::select),
    microsoft("QuantizeLinear", "as ONNX's", quantize::quantize),
    microsoft("QuickGelu", "becomes Mul and Sigmoid", contrib::quick_gelu),
    microsoft("RotaryEmbedding", "becomes its arithmetic", attention::rotary_with_offset),
    microsoft("SkipLayerNormalization", "becomes Add and LayerNorm", contrib::skip_layer_norm),
    microsoft("SkipSimplifiedLayerNormalization", "becomes its arithmetic", contrib::skip_simplified_layer_norm),
    microsoft("Trilu", "as ONNX's", generate::trilu),
];

/// The row of an operator.
pub fn find(domain: &str, op_type: &str) -> Option<&'static OpRow> {
    OPS.iter().find(|r| r.domain == domain && r.op_type == op_type)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_sorted_and_unique() {
        let keys: Vec<_> = super::OPS.iter().map(|r| (r.domain, r.op_type)).collect();
        assert!(keys.windows(2).all(|w| w[0] < w[1]), "{keys:?}");
    }
}
