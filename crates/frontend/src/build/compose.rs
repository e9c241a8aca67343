//! Operators that formats have and the graph has not, spelled out in its own.
//!
//! Each returns its last operator with the operands of it, which whoever asks then emits under the file's names.

use super::sizes::Sizes;
use super::{Builder, Item};
use crate::build::sizes::open_error;
use lowbit_ir::op::{Binary, Reduce, ReduceKind, Unary};
use lowbit_ir::{Dim, Op, Result, Shape, bail};

/// An operator and its two operands.
pub type Last = (Op, [Item; 2]);

/// Every channel of every sample by its own statistics, then scale and bias per channel.
pub fn instance_norm(b: &mut Builder, node: &str, x: &Item, scale: &Item, bias: &Item, epsilon: f32) -> Result<Last> {
    let spatial = known_from(&b.shape(x), 2)?;
    let ones = b.ones(&spatial)?;
    let ones = b.known(node, "ones", ones);
    let normal = b.step(node, "normal", Op::LayerNorm { axis: 2, epsilon }, &[x, &ones])?;
    per_channel(b, node, &normal, scale, bias, spatial.len())
}

/// Groups of channels by their own statistics, then scale and bias per channel.
pub fn group_norm(
    b: &mut Builder,
    node: &str,
    x: &Item,
    scale: &Item,
    bias: &Item,
    groups: i64,
    epsilon: f32,
) -> Result<Last> {
    let shape = b.shape(x);
    let known = known_from(&shape, 1)?;
    let count = usize::try_from(groups).ok().filter(|g| *g > 0 && known.first().is_some_and(|c| c % g == 0));
    let (Some(count), Some(channels)) = (count, known.first()) else {
        bail!("expected 'num_groups' to divide the channels of {shape}, found {groups}");
    };
    if b.shape(scale).dims() != Some(vec![*channels]) {
        bail!("expected one scale for each of {channels} channels, found {}", b.shape(scale));
    }
    let Some(size) = Shape::known(&known).count().map(|n| n / count) else {
        bail!("expected sizes that fit in memory, found {shape}");
    };
    let apart = b.step(node, "groups", Op::Reshape { dims: vec![0, groups, -1] }, &[x])?;
    let ones = b.ones(&[size])?;
    let ones = b.known(node, "ones", ones);
    let normal = b.step(node, "normal", Op::LayerNorm { axis: 2, epsilon }, &[&apart, &ones])?;
    let whole = b.reshape(node, "whole", &normal, &Sizes::of_shape(&shape.0).elements)?;
    per_channel(b, node, &whole, scale, bias, known.len() - 1)
}

/// Scale and bias of each channel, which have `spatial` axes after them.
fn per_channel(b: &mut Builder, node: &str, normal: &Item, scale: &Item, bias: &Item, spatial: usize) -> Result<Last> {
    let axes: Vec<i64> = (1..).take(spatial).collect();
    let scale = b.step(node, "scale", Op::Unsqueeze { axes: axes.clone() }, &[scale])?;
    let bias = b.step(node, "bias", Op::Unsqueeze { axes }, &[bias])?;
    let scaled = b.step(node, "scaled", Op::Binary(Binary::Mul), &[normal, &scale])?;
    Ok((Op::Binary(Binary::Add), [scaled, bias]))
}

/// x - max - ln(sum(exp(x - max))) along an axis.
pub fn log_softmax(b: &mut Builder, node: &str, x: &Item, axis: i64) -> Result<Last> {
    let over = |kind| Op::Reduce(Reduce { kind, axes: vec![axis], keep_dims: true });
    let max = b.step(node, "max", over(ReduceKind::Max), &[x])?;
    let shifted = b.step(node, "shifted", Op::Binary(Binary::Sub), &[x, &max])?;
    let exp = b.step(node, "exp", Op::Unary(Unary::Exp), &[&shifted])?;
    let sum = b.step(node, "sum", over(ReduceKind::Sum), &[&exp])?;
    let log = b.step(node, "log", Op::Unary(Unary::Log), &[&sum])?;
    Ok((Op::Binary(Binary::Sub), [shifted, log]))
}

/// The known sizes from axis `from` on, or an error with a hint.
pub fn known_from(shape: &Shape, from: usize) -> Result<Vec<usize>> {
    let all: Option<Vec<usize>> = shape.0.iter().skip(from).map(Dim::known).collect();
    all.ok_or_else(|| open_error(format!("expected known sizes from axis {from} on, found {shape}")))
}
