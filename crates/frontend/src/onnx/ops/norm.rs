//! Normalization over channels, groups and rows; Softmax and LogSoftmax.

use crate::build::compose::known_from;
use crate::build::sizes::{Size, Sizes};
use crate::build::{Item, compose};
use crate::onnx::node::Site;
use lowbit_ir::op::{Binary, ReduceKind, Unary};
use lowbit_ir::{Dim, Op, Result, Shape, bail};

/// BatchNormalization with the statistics of training.
pub fn batch(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["momentum"]);
    if site.flag("training_mode", false)? {
        bail!("training mode is not supported; export the model for inference");
    }
    if !site.flag("spatial", true)? {
        bail!("statistics per activation (spatial = 0) are not supported");
    }
    let inputs = site.inputs()?;
    site.finish(Op::BatchNorm { epsilon }, &inputs.iter().collect::<Vec<_>>())
}

/// LayerNormalization: (x, scale, bias?) -> (y, mean?, 1 / deviation?).
pub fn layer(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(-1);
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let (x, scale, bias) = (site.input(0)?, site.input(1)?, site.maybe(2)?);
    statistics(site, &x, axis, epsilon)?;
    normalized(site, [Some(x), Some(scale), bias], axis, epsilon)
}

/// The first output of a layer normalization of (x, scale, bias?).
pub fn normalized(site: &mut Site<'_>, operands: [Option<Item>; 3], axis: i64, epsilon: f32) -> Result<()> {
    let [Some(x), Some(scale), bias] = &operands else { bail!("expected an operand and a scale, found one or none") };
    let shape = site.shape(x);
    let row = Shape(shape.0.get(shape.axis(axis)?..).unwrap_or_default().to_vec());
    if site.shape(scale) == row && bias.as_ref().is_none_or(|b| site.shape(b) == row) {
        return site.finish_as(Op::LayerNorm { axis, epsilon }, &operands, 1, &[]);
    }
    // Scale and bias may have any shape that broadcasts to x.
    let ones = site.builder.ones(&known_from(&row, 0)?)?;
    let ones = site.known("ones", ones);
    let normal = site.step("normal", Op::LayerNorm { axis, epsilon }, &[x, &ones])?;
    let scaled = site.binary("scaled", Binary::Mul, &normal, scale)?;
    let y = match bias {
        Some(bias) => site.binary("whole", Binary::Add, &scaled, bias)?,
        None => scaled,
    };
    if site.shape(&y) != shape {
        bail!("expected scale and bias that broadcast to {shape}, found a result of {}", site.shape(&y));
    }
    site.give(0, y)
}

/// The optional outputs of LayerNormalization: mean and reciprocal deviation.
pub fn statistics(site: &mut Site<'_>, x: &Item, axis: i64, epsilon: f32) -> Result<()> {
    if site.outputs() < 2 {
        return Ok(());
    }
    let shape = site.shape(x);
    let axes: Vec<i64> = (shape.axis(axis)?..shape.rank()).map(|a| a as i64).collect();
    let mean = site.reduced("mean", ReduceKind::Mean, &axes, x)?;
    let centered = site.binary("centered", Binary::Sub, x, &mean)?;
    let squares = site.binary("squares", Binary::Mul, &centered, &centered)?;
    let variance = site.reduced("variance", ReduceKind::Mean, &axes, &squares)?;
    let sum = site.with_number("above", Binary::Add, &variance, epsilon)?;
    let deviation = site.unary("deviation", Unary::Sqrt, &sum)?;
    let reciprocal = site.unary("reciprocal", Unary::Reciprocal, &deviation)?;
    site.give(1, mean)?;
    site.give(2, reciprocal)
}

/// InstanceNormalization: every channel of every sample by its own statistics.
pub fn instance(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    let (x, scale, bias) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let (op, [a, b]) = compose::instance_norm(site.builder, &site.name, &x, &scale, &bias, epsilon)?;
    site.finish(op, &[&a, &b])
}

/// GroupNormalization: groups of channels by their own statistics, then scale and bias per channel, before opset 21 per
/// group.
pub fn group(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let groups = site.int("num_groups")?.unwrap_or(0);
    let (x, mut scale, mut bias) = (site.input(0)?, site.input(1)?, site.input(2)?);
    if site.opset < 21 {
        scale = per_channel(site, "scales", scale, &x, groups)?;
        bias = per_channel(site, "biases", bias, &x, groups)?;
    }
    let (op, [a, b]) = compose::group_norm(site.builder, &site.name, &x, &scale, &bias, groups, epsilon)?;
    site.finish(op, &[&a, &b])
}

/// A number per group as one per channel. Some writers give one per channel in old opsets too.
fn per_channel(site: &mut Site<'_>, suffix: &str, numbers: Item, x: &Item, groups: i64) -> Result<Item> {
    let given = site.known_size(&numbers, 0)?;
    let channels = site.known_size(x, 1)?;
    if given == channels || usize::try_from(groups) != Ok(given) || given == 0 || channels % given != 0 {
        return Ok(numbers);
    }
    let column = site.widened(&format!("{suffix}.column"), &numbers, &[1])?;
    let rows = Op::Expand { dims: vec![given, channels / given] };
    let rows = site.step(&format!("{suffix}.rows"), rows, &[&column])?;
    site.step(suffix, Op::Reshape { dims: vec![-1] }, &[&rows])
}

/// RMSNormalization, and SimplifiedLayerNormalization with its second output: x / sqrt(mean(x^2) + epsilon) * scale, over
/// the axes from `axis` on.
pub fn rms(site: &mut Site<'_>) -> Result<()> {
    let epsilon = site.float("epsilon", 1e-5)?;
    site.ignore(&["stash_type"]);
    let axis = site.int("axis")?.unwrap_or(-1);
    let (x, scale) = (site.input(0)?, site.input(1)?);
    let (normal, root) = root_mean_square(site, &x, axis, epsilon)?;
    if site.outputs() > 1 {
        let reciprocal = site.unary("reciprocal", Unary::Reciprocal, &root)?;
        site.give(1, reciprocal)?;
    }
    site.finish(Op::Binary(Binary::Mul), &[&normal, &scale])
}

/// x / sqrt(mean(x^2) + epsilon), and the root.
pub fn root_mean_square(site: &mut Site<'_>, x: &Item, axis: i64, epsilon: f32) -> Result<(Item, Item)> {
    let shape = site.shape(x);
    let axes: Vec<i64> = (shape.axis(axis)?..shape.rank()).map(|a| a as i64).collect();
    let square = site.binary("square", Binary::Mul, x, x)?;
    let mean = site.reduced("mean", ReduceKind::Mean, &axes, &square)?;
    let sum = site.with_number("sum", Binary::Add, &mean, epsilon)?;
    let root = site.unary("root", Unary::Sqrt, &sum)?;
    Ok((site.binary("normal", Binary::Div, x, &root)?, root))
}

/// Softmax along one axis; before opset 13 over all axes from `axis` on together.
pub fn softmax(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    match joined_axes(site, &x)? {
        Axes::One(axis) => site.finish(Op::Softmax { axis }, &[&x]),
        Axes::Joined(axis) => {
            let flat = site.step("flat", Op::Flatten { axis }, &[&x])?;
            let y = site.step("rows", Op::Softmax { axis: -1 }, &[&flat])?;
            let back = unflatten(site, &x, &y)?;
            site.finish(back, &[&y])
        }
    }
}

/// LogSoftmax: x - max - ln(sum(exp(x - max))).
pub fn log_softmax(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    match joined_axes(site, &x)? {
        Axes::One(axis) => {
            let (op, [a, b]) = compose::log_softmax(site.builder, &site.name, &x, axis)?;
            site.finish(op, &[&a, &b])
        }
        Axes::Joined(axis) => {
            let flat = site.step("flat", Op::Flatten { axis }, &[&x])?;
            let (op, [a, b]) = compose::log_softmax(site.builder, &site.name, &flat, -1)?;
            let y = site.step("rows", op, &[&a, &b])?;
            let back = unflatten(site, &x, &y)?;
            site.finish(back, &[&y])
        }
    }
}

/// Applies what works along one axis, flattened where an old opset joins several.
pub fn along(
    site: &mut Site<'_>,
    x: Item,
    apply: impl FnOnce(&mut Site<'_>, &Item, i64) -> Result<Item>,
) -> Result<()> {
    match joined_axes(site, &x)? {
        Axes::One(axis) => {
            let y = apply(site, &x, axis)?;
            site.give(0, y)
        }
        Axes::Joined(axis) => {
            let flat = site.step("flat", Op::Flatten { axis }, &[&x])?;
            let y = apply(site, &flat, -1)?;
            let back = unflatten(site, &x, &y)?;
            site.finish(back, &[&y])
        }
    }
}

enum Axes {
    One(i64),
    Joined(i64),
}

/// Which axes sum to one: old opsets join all axes from `axis` on, which is one axis if the others there have size 1.
fn joined_axes(site: &mut Site<'_>, x: &Item) -> Result<Axes> {
    let shape = site.shape(x);
    if site.opset >= 13 {
        return Ok(Axes::One(site.int("axis")?.unwrap_or(-1)));
    }
    let axis = shape.axis(site.int("axis")?.unwrap_or(1))?;
    let alone = shape.0.iter().skip(axis + 1).all(|d| *d == Dim::Known(1));
    let axis = axis as i64;
    Ok(if alone { Axes::One(axis) } else { Axes::Joined(axis) })
}

fn unflatten(site: &mut Site<'_>, x: &Item, flat: &Item) -> Result<Op> {
    let target: Vec<Size> = Sizes::of_shape(&site.shape(x).0).elements;
    let dims = crate::build::sizes::reshape_dims(&target, &site.shape(flat))?;
    Ok(Op::Reshape { dims })
}
