//! The table of MXNet operators that are read, one file a family.
//!
//! An import function reads attributes and operands of its [`Site`] and emits canonical operators.
//! To add one: write the function in its family's file and add its row here; another name of it is another row.

mod activation;
mod elementwise;
mod mac;
mod movement;
mod norm;
mod pass;
mod pool;
mod reduce;
mod resample;
mod softmax;

use super::node::Site;
use lowbit_ir::Result;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct OpRow {
    /// The operator's name in files.
    pub op: &'static str,
    /// What of it is read, or what it becomes; empty if it is read whole and stays one operator.
    pub note: &'static str,
    /// What its operands are from the second one on.
    pub rest: Rest,
    /// Reads it.
    pub import: fn(&mut Site<'_>) -> Result<()>,
}

/// What operands are from the second one on, which decides whether a variable without an array is an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Values like the first one.
    Data,
    /// Parameters: their arrays must be there.
    Parameters,
    /// What only training reads.
    Labels,
}

type Import = fn(&mut Site<'_>) -> Result<()>;

const fn data(op: &'static str, note: &'static str, import: Import) -> OpRow {
    OpRow { op, note, rest: Rest::Data, import }
}

const fn weights(op: &'static str, note: &'static str, import: Import) -> OpRow {
    OpRow { op, note, rest: Rest::Parameters, import }
}

const fn labels(op: &'static str, note: &'static str, import: Import) -> OpRow {
    OpRow { op, note, rest: Rest::Labels, import }
}

const BATCH: &str = "statistics of training, channels on axis 1";
const OUTPUT: &str = "inference only";

/// Every operator that is read, sorted by name.
pub static OPS: &[OpRow] = &[
    data("Activation", "", activation::activation),
    weights("BatchNorm", BATCH, norm::batch),
    weights("BatchNorm_v1", BATCH, norm::batch),
    data("BlockGrad", "becomes Identity", pass::identity),
    data("Cast", "to floats it becomes Identity", pass::cast),
    data("Concat", "", movement::concat),
    weights("Convolution", "channels first", mac::convolution),
    weights("Convolution_v1", "channels first", mac::convolution),
    data("Crop", "known sizes; becomes Slice", movement::crop),
    weights("CuDNNBatchNorm", BATCH, norm::batch),
    weights(
        "Deconvolution",
        "channels first; becomes Conv, and Reshape, Transpose and Slice where it strides",
        mac::deconvolution,
    ),
    data("Dropout", OUTPUT, pass::dropout),
    data("ElementWiseSum", "folded from the left", elementwise::sum),
    data("Flatten", "", movement::flatten),
    weights("FullyConnected", "becomes Flatten and MatMul", mac::fully_connected),
    weights("GroupNorm", "known sizes; becomes LayerNorm, Mul and Add", norm::group),
    weights("InstanceNorm", "known sizes; becomes LayerNorm, Mul and Add", norm::instance),
    data("L2Normalization", "becomes its arithmetic", norm::l2),
    data("LRN", "becomes its arithmetic", norm::local_response),
    weights("LayerNorm", "the last axis", norm::layer),
    weights("LeakyReLU", "rrelu by the mean of its bounds", activation::leaky),
    labels("LinearRegressionOutput", OUTPUT, pass::identity),
    labels("LogisticRegressionOutput", "becomes Sigmoid", activation::logistic),
    labels("MAERegressionOutput", OUTPUT, pass::identity),
    data("MakeLoss", "becomes Identity", pass::identity),
    data("Pad", "", movement::pad),
    data("Pooling", "no lp", pool::pooling),
    data("Pooling_v1", "no lp", pool::pooling),
    data("Reshape", "all codes; -4 not reversed", movement::reshape),
    data("SliceChannel", "", movement::split),
    labels("Softmax", OUTPUT, softmax::output),
    data("SoftmaxActivation", "", softmax::activation),
    labels("SoftmaxOutput", OUTPUT, softmax::output),
    data("SwapAxis", "becomes Transpose", movement::swap_axis),
    weights("SyncBatchNorm", BATCH, norm::batch),
    data("UpSampling", "one operand; bilinear becomes Pad and Conv", resample::up_sampling),
    data("_Div", "", elementwise::binary),
    data("_DivScalar", "", elementwise::scalar),
    data("_Maximum", "", elementwise::binary),
    data("_MaximumScalar", "", elementwise::scalar),
    data("_Minimum", "", elementwise::binary),
    data("_MinimumScalar", "", elementwise::scalar),
    data("_Minus", "", elementwise::binary),
    data("_MinusScalar", "", elementwise::scalar),
    data("_Mul", "", elementwise::binary),
    data("_MulScalar", "", elementwise::scalar),
    data("_Plus", "", elementwise::binary),
    data("_PlusScalar", "", elementwise::scalar),
    data("_Power", "", elementwise::binary),
    data("_PowerScalar", "", elementwise::scalar),
    data("_RDivScalar", "", elementwise::scalar),
    data("_RMinusScalar", "", elementwise::scalar),
    data("_contrib_AdaptiveAvgPooling2D", "to sizes that divide the input's", pool::adaptive),
    data("_contrib_BilinearResize2D", "to sizes or by scales", resample::bilinear),
    weights("_contrib_SyncBatchNorm", BATCH, norm::batch),
    data("_copy", "", pass::identity),
    data("_div", "", elementwise::binary),
    data("_div_scalar", "", elementwise::scalar),
    data("_maximum", "", elementwise::binary),
    data("_maximum_scalar", "", elementwise::scalar),
    data("_minimum", "", elementwise::binary),
    data("_minimum_scalar", "", elementwise::scalar),
    data("_minus", "", elementwise::binary),
    data("_minus_scalar", "", elementwise::scalar),
    data("_mul", "", elementwise::binary),
    data("_mul_scalar", "", elementwise::scalar),
    data("_plus", "", elementwise::binary),
    data("_plus_scalar", "", elementwise::scalar),
    data("_power", "", elementwise::binary),
    data("_power_scalar", "", elementwise::scalar),
    data("_rdiv_scalar", "", elementwise::scalar),
    data("_rminus_scalar", "", elementwise::scalar),
    data("_rpower_scalar", "", elementwise::scalar),
    data("_sub", "", elementwise::binary),
    data("abs", "", activation::unary),
    data("add_n", "folded from the left", elementwise::sum),
    data("amp_cast", "to floats it becomes Identity", pass::cast),
    data("arccos", "", activation::unary),
    data("arccosh", "", activation::unary),
    data("arcsin", "", activation::unary),
    data("arcsinh", "", activation::unary),
    data("arctan", "", activation::unary),
    data("arctanh", "", activation::unary),
    data("batch_dot", "", mac::batch_dot),
    data("broadcast_add", "", elementwise::binary),
    data("broadcast_axes", "becomes Expand", movement::broadcast_axis),
    data("broadcast_axis", "becomes Expand", movement::broadcast_axis),
    data("broadcast_div", "", elementwise::binary),
    data("broadcast_maximum", "", elementwise::binary),
    data("broadcast_minimum", "", elementwise::binary),
    data("broadcast_minus", "", elementwise::binary),
    data("broadcast_mul", "", elementwise::binary),
    data("broadcast_plus", "", elementwise::binary),
    data("broadcast_power", "", elementwise::binary),
    data("broadcast_sub", "", elementwise::binary),
    data("broadcast_to", "becomes Expand", movement::broadcast_to),
    data("cast", "to floats it becomes Identity", pass::cast),
    data("ceil", "", activation::unary),
    data("clip", "", activation::clip),
    data("concat", "", movement::concat),
    data("cos", "", activation::unary),
    data("cosh", "", activation::unary),
    data("dot", "matrices", mac::dot),
    data("elemwise_add", "", elementwise::binary),
    data("elemwise_div", "", elementwise::binary),
    data("elemwise_mul", "", elementwise::binary),
    data("elemwise_sub", "", elementwise::binary),
    data("erf", "", activation::unary),
    data("exp", "", activation::unary),
    data("expand_dims", "becomes Unsqueeze", movement::expand_dims),
    data("flatten", "", movement::flatten),
    data("floor", "", activation::unary),
    data("hard_sigmoid", "", activation::unary),
    data("identity", "", pass::identity),
    data("log", "", activation::unary),
    data("log_softmax", "becomes its arithmetic", softmax::log_softmax),
    data("make_loss", "becomes Identity", pass::identity),
    data("max", "", reduce::reduce),
    data("max_axis", "", reduce::reduce),
    data("mean", "", reduce::reduce),
    data("min", "", reduce::reduce),
    data("min_axis", "", reduce::reduce),
    data("negative", "", activation::unary),
    data("pad", "", movement::pad),
    data("reciprocal", "", activation::unary),
    data("relu", "", activation::relu),
    data("reshape", "all codes; -4 not reversed", movement::reshape),
    data("rsqrt", "becomes Sqrt and Reciprocal", activation::reciprocal_root),
    data("sigmoid", "", activation::unary),
    data("sign", "", activation::unary),
    data("sin", "", activation::unary),
    data("sinh", "", activation::unary),
    data("slice", "", movement::slice),
    data("slice_axis", "becomes Slice", movement::slice_axis),
    data("slice_like", "known sizes; becomes Slice", movement::slice_like),
    data("softmax", "no length", softmax::softmax),
    data("softmin", "becomes Neg and Softmax", softmax::softmin),
    data("softsign", "", activation::unary),
    data("split", "", movement::split),
    data("sqrt", "", activation::unary),
    data("square", "becomes Mul", activation::square),
    data("squeeze", "", movement::squeeze),
    data("stack", "becomes Unsqueeze and Concat", movement::stack),
    data("stop_gradient", "becomes Identity", pass::identity),
    data("sum", "", reduce::reduce),
    data("sum_axis", "", reduce::reduce),
    data("swapaxes", "becomes Transpose", movement::swap_axis),
    data("tan", "", activation::unary),
    data("tanh", "", activation::unary),
    data("transpose", "", movement::transpose),
    data("where", "becomes Equal and Where", movement::select),
];

/// The row of an operator.
pub fn find(op: &str) -> Option<&'static OpRow> {
    OPS.iter().find(|r| r.op == op)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_sorted_and_unique() {
        let names: Vec<_> = super::OPS.iter().map(|r| r.op).collect();
        assert!(names.windows(2).all(|w| w[0] < w[1]), "{names:?}");
    }
}
