//! What ONNX Runtime's optimizer makes of several operators, as these operators again (domain com.microsoft).

use super::{mac, norm};
use crate::build::Item;
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{DType, Op, Result, Tensor, Type, bail};

/// FusedConv: (x, w, bias?, addend?), activation(Conv + addend).
pub fn conv(site: &mut Site<'_>) -> Result<()> {
    let parameters = site.floats("activation_params")?.unwrap_or_default();
    let (x, w, bias, addend) = (site.input(0)?, site.input(1)?, site.maybe(2)?, site.maybe(3)?);
    let op = mac::convolution(site, &x, &w)?;
    let operands: Vec<&Item> = [Some(&x), Some(&w), bias.as_ref()].into_iter().flatten().collect();
    let mut y = site.step("conv", op, &operands)?;
    if let Some(addend) = addend {
        y = site.binary("sum", Binary::Add, &y, &addend)?;
    }
    activated(site, y, &parameters)
}

/// FusedGemm: activation(Gemm).
pub fn gemm(site: &mut Site<'_>) -> Result<()> {
    let mut parameters = Vec::new();
    for name in ["activation_alpha", "activation_beta", "activation_gamma"] {
        if site.has(name) {
            parameters.push(site.float(name, 0.0)?);
        }
    }
    let (op, operands) = mac::general_product(site)?;
    let y = site.step("product", op, &operands.iter().collect::<Vec<_>>())?;
    activated(site, y, &parameters)
}

/// The function that attribute `activation` names, of these parameters.
fn activated(site: &mut Site<'_>, y: Item, parameters: &[f32]) -> Result<()> {
    let name = site.text("activation", "")?;
    let expected = match name.as_str() {
        "" | "Relu" | "Tanh" | "Sigmoid" => 0,
        "LeakyRelu" => 1,
        "Clip" | "HardSigmoid" => 2,
        other => bail!("expected an activation Relu, Tanh, Sigmoid, LeakyRelu, Clip or HardSigmoid, found '{other}'"),
    };
    let op = match (name.as_str(), parameters) {
        ("", []) => return site.give(0, y),
        ("Relu", []) => Op::Relu,
        ("Tanh", []) => Op::Unary(Unary::Tanh),
        ("Sigmoid", []) => Op::Unary(Unary::Sigmoid),
        ("LeakyRelu", [alpha]) => Op::Unary(Unary::LeakyRelu { alpha: *alpha }),
        ("Clip", [min, max]) => Op::Clip { min: min.min(*max), max: *max },
        ("HardSigmoid", [alpha, beta]) => Op::Unary(Unary::HardSigmoid { alpha: *alpha, beta: *beta }),
        (name, found) => bail!("expected {expected} parameters of the activation '{name}', found {found:?}"),
    };
    site.finish(op, &[&y])
}

/// FusedMatMul: alpha * a * b, either turned in its last axes, or from its first axis to the last but one.
pub fn matmul(site: &mut Site<'_>) -> Result<()> {
    let alpha = site.float("alpha", 1.0)?;
    let (a, b) = (site.input(0)?, site.input(1)?);
    let (rows, turned) = (site.flag("transBatchA", false)?, site.flag("transA", false)?);
    let a = operand(site, "a", a, rows, turned)?;
    let (rows, turned) = (site.flag("transBatchB", false)?, site.flag("transB", false)?);
    let b = operand(site, "b", b, rows, false)?;
    let turned = turned && site.shape(&b).rank() > 1;
    let y = site.product("product", &a, &b, turned)?;
    let y = site.scaled("scaled", &y, alpha)?;
    site.give(0, y)
}

fn operand(site: &mut Site<'_>, name: &str, x: Item, batch: bool, turned: bool) -> Result<Item> {
    let rank = site.shape(&x).rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    if batch && rank > 2 {
        perm[..rank - 1].rotate_left(1);
    }
    if turned && rank > 1 {
        perm.swap(rank - 2, rank - 1);
    }
    site.turned(name, &x, &perm)
}

/// FastGelu and BiasGelu: a form of Gelu of (x + bias?).
pub fn gelu(site: &mut Site<'_>) -> Result<()> {
    let f = if site.op_type() == "FastGelu" { Unary::GeluTanh } else { Unary::Gelu };
    let mut x = site.input(0)?;
    if let Some(bias) = site.maybe(1)? {
        x = site.binary("sum", Binary::Add, &x, &bias)?;
    }
    site.finish(Op::Unary(f), &[&x])
}

/// QuickGelu: x * sigmoid(alpha * x).
pub fn quick_gelu(site: &mut Site<'_>) -> Result<()> {
    super::activation::gated(site, 1.702)
}

/// BiasAdd: (x, bias, skip), their sum.
pub fn bias_add(site: &mut Site<'_>) -> Result<()> {
    let (x, bias, skip) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let sum = site.binary("sum", Binary::Add, &x, &bias)?;
    site.finish(Op::Binary(Binary::Add), &[&sum, &skip])
}

/// BiasSplitGelu: (x, bias), of whose sum one half gates the other.
pub fn bias_split_gelu(site: &mut Site<'_>) -> Result<()> {
    let (x, bias) = (site.input(0)?, site.input(1)?);
    let sum = site.binary("sum", Binary::Add, &x, &bias)?;
    let size = site.known_size(&sum, -1)? as i64;
    if size % 2 != 0 {
        bail!("expected an even last dimension, found {size}");
    }
    let left = site.part("left", &sum, -1, (0, size / 2, 1))?;
    let right = site.part("right", &sum, -1, (size / 2, size, 1))?;
    let gate = site.unary("gate", Unary::Gelu, &right)?;
    site.finish(Op::Binary(Binary::Mul), &[&left, &gate])
}

/// SkipLayerNormalization: (x, skip, scale, bias of the result?, bias of the sum?) -> (y, mean?, 1 / deviation?, sum?).
pub fn skip_layer_norm(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-12)?;
    let (scale, bias) = (site.input(2)?, site.maybe(3)?);
    let sum = skipped(site, 4)?;
    norm::statistics(site, &sum, -1, epsilon)?;
    norm::normalized(site, [Some(sum), Some(scale), bias], -1, epsilon)
}

/// SkipSimplifiedLayerNormalization: (x, skip, scale, bias of the sum?) -> (y, unused, unused, sum?).
pub fn skip_simplified_layer_norm(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-12)?;
    let scale = site.input(2)?;
    let sum = skipped(site, 3)?;
    let (normal, _) = norm::root_mean_square(site, &sum, -1, epsilon)?;
    site.finish(Op::Binary(Binary::Mul), &[&normal, &scale])
}

/// x + skip + bias?, which is the fourth output too.
fn skipped(site: &mut Site<'_>, bias: usize) -> Result<Item> {
    let (x, skip) = (site.input(0)?, site.input(1)?);
    let mut sum = site.binary("skipped", Binary::Add, &x, &skip)?;
    if let Some(bias) = site.maybe(bias)? {
        sum = site.binary("biased", Binary::Add, &sum, &bias)?;
    }
    site.give(3, sum.clone())?;
    Ok(sum)
}

/// EmbedLayerNormalization: (words, segments?, tables of words, positions and segments?, scale, bias, mask?, positions?)
/// -> (y, length of each text?, sum?).
pub fn embed_layer_norm(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-12)?;
    site.ignore(&["mask_index_type"]);
    let (words, segments) = (site.input(0)?, site.maybe(1)?);
    let (table, places, kinds) = (site.input(2)?, site.input(3)?, site.maybe(4)?);
    let (scale, bias, mask, positions) = (site.input(5)?, site.input(6)?, site.maybe(7)?, site.maybe(8)?);
    let look_up = Op::Gather { axis: 0 };
    let word = site.step("words", look_up.clone(), &[&table, &words])?;
    let place = match positions {
        Some(positions) => site.step("places", look_up.clone(), &[&places, &positions])?,
        None => {
            let length = site.known_size(&words, 1)? as i64;
            site.part("places", &places, 0, (0, length, 1))?
        }
    };
    let mut sum = site.binary("placed", Binary::Add, &word, &place)?;
    match (segments, kinds) {
        (Some(segments), Some(kinds)) => {
            let kind = site.step("segments", look_up, &[&kinds, &segments])?;
            sum = site.binary("whole", Binary::Add, &sum, &kind)?;
        }
        (None, None) => {}
        _ => bail!("expected segments and their table together, found one of them"),
    }
    if site.outputs() > 1 {
        lengths(site, &words, mask)?;
    }
    site.give(2, sum.clone())?;
    // What became an output is read under that name.
    norm::normalized(site, [Some(sum), Some(scale), Some(bias)], -1, epsilon)
}

/// How many words of each text count: zeros if no mask says.
fn lengths(site: &mut Site<'_>, words: &Item, mask: Option<Item>) -> Result<()> {
    match mask {
        Some(mask) => {
            let count = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep_dims: false });
            let lengths = site.step("lengths", count, &[&mask])?;
            site.give(1, lengths)
        }
        None => {
            let dims = [site.known_size(words, 0)?];
            let count = site.room_for(DType::I64, &dims)?;
            let zeros = Tensor::from_ints(Type::plain(DType::I32, dims.to_vec()), &vec![0; count])?;
            let zeros = site.known("lengths", zeros);
            site.give(1, zeros)
        }
    }
}
