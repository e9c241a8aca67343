//! Inference of multiply-accumulates.

use super::dims::{Window, broadcast};
use crate::op::{Conv, Layer, MatMul};
use crate::{DType, Dim, Error, Granularity, Graph, NodeId, Op, Quant, Result, Shape, Type};
use lowbit_arithmetic::requant::check_scale;
use std::sync::Arc;

pub fn conv(c: &Conv, x: &Type, w: &Type, bias: Option<&Type>, declared: Option<&Type>) -> Result<Type> {
    let Some(spatial) = x.shape.rank().checked_sub(2).filter(|n| (1..=3).contains(n)) else {
        return Err(Error::new(format!("expected an input [n, c, 1 to 3 spatial axes], found {x}")));
    };
    if w.shape.rank() != x.shape.rank() {
        return Err(Error::new(format!("expected weights of rank {} as the input, found {w}", x.shape.rank())));
    }
    let attributes =
        [(&c.strides, spatial, "strides"), (&c.pads, 2 * spatial, "pads"), (&c.dilations, spatial, "dilations")];
    for (list, expected, name) in attributes {
        if list.len() != expected {
            return Err(Error::new(format!("expected {expected} {name}, found {list:?}")));
        }
    }
    let (Some(Dim::Known(out)), Some(Dim::Known(per_group))) = (w.shape.0.first(), w.shape.0.get(1)) else {
        return Err(Error::new(format!("expected weights of known channels, found {w}")));
    };
    if c.group == 0 || out % c.group != 0 {
        return Err(Error::new(format!("expected {out} output channels to divide into {} groups", c.group)));
    }
    match x.shape.0.get(1) {
        Some(Dim::Known(channels)) if per_group.checked_mul(c.group) != Some(*channels) => {
            return Err(Error::new(format!(
                "expected {per_group} * {} input channels (weights {}, {} groups), found {channels}",
                c.group, w.shape, c.group
            )));
        }
        Some(Dim::Known(_) | Dim::Symbol(_)) | None => {}
    }
    check_bias(bias, &Dim::Known(*out))?;
    let mut dims = vec![x.shape.0.first().cloned().unwrap_or(Dim::Known(1)), Dim::Known(*out)];
    let sizes = x.shape.0.iter().zip(&w.shape.0).skip(2);
    let pads = c.pads.iter().zip(c.pads.iter().skip(spatial));
    for ((((dim, kernel), stride), dilation), (begin, end)) in sizes.zip(&c.strides).zip(&c.dilations).zip(pads) {
        let Dim::Known(kernel) = *kernel else {
            return Err(Error::new(format!("expected weights of a known kernel, found {w}")));
        };
        let (stride, dilation, begin, end) = (*stride, *dilation, *begin, *end);
        dims.push(Window { kernel, stride, begin, end, dilation, ceil: false }.positions(dim)?);
    }
    accumulate(&Op::Conv(c.clone()), x, w, bias, Shape(dims), 1, declared)
}

pub fn matmul(m: &MatMul, a: &Type, b: &Type, bias: Option<&Type>, declared: Option<&Type>) -> Result<Type> {
    let (a_rank, b_rank) = (a.shape.rank(), b.shape.rank());
    if a_rank == 0 || b_rank == 0 || (b_rank == 1 && (m.trans_b || bias.is_some())) {
        return Err(Error::new(format!(
            "expected matrices (or vectors, without transposition or bias), found {a} and {b}"
        )));
    }
    // A vector is a matrix of one row on the left, of one column on the right; the axis goes again afterwards.
    let one = Dim::Known(1);
    let rows = |s: &Shape, n: usize| s.rank().checked_sub(n).and_then(|i| s.0.get(i)).cloned();
    let (k_a, batch_a) = (rows(&a.shape, 1).unwrap_or(one.clone()), leading(&a.shape));
    let batch_b = leading(&b.shape);
    let (k_b, n) = match (b_rank, m.trans_b) {
        (1, _) => (rows(&b.shape, 1), Some(one.clone())),
        (_, true) => (rows(&b.shape, 1), rows(&b.shape, 2)),
        (_, false) => (rows(&b.shape, 2), rows(&b.shape, 1)),
    };
    let (k_b, n) = (k_b.unwrap_or(one.clone()), n.unwrap_or(one.clone()));
    if let (Dim::Known(x), Dim::Known(y)) = (&k_a, &k_b)
        && x != y
    {
        let turned = if m.trans_b { " transposed" } else { "" };
        return Err(Error::new(format!(
            "the inner dimensions of {} and {}{turned} differ: {x} and {y}",
            a.shape, b.shape
        )));
    }
    check_bias(bias, &n)?;
    let mut dims = broadcast(&batch_a, &batch_b)?;
    if a_rank > 1 {
        dims.0.extend(rows(&a.shape, 2));
    }
    if b_rank > 1 {
        dims.0.push(n);
    }
    let out_axis = dims.rank().saturating_sub(1);
    accumulate(&Op::MatMul(*m), a, b, bias, dims, out_axis, declared)
}

/// All axes but the last two.
fn leading(s: &Shape) -> Shape {
    Shape(s.0.iter().take(s.rank().saturating_sub(2)).cloned().collect())
}

/// The axis of the second operand that makes output channels.
fn matmul_axis(m: &MatMul, rank: usize) -> usize {
    rank.saturating_sub(if m.trans_b { 2 } else { 1 })
}

/// The axis of a multiply-accumulate's second operand that makes output channels; `None` for other operators.
pub fn weight_axis(op: &Op, w: &Shape) -> Option<usize> {
    match op.layer()? {
        Layer::Conv(_) => Some(0),
        Layer::MatMul(m) => Some(matmul_axis(&m, w.rank())),
    }
}

/// How many products a multiply-accumulate with a second operand of these sizes sums up for each element of its result;
/// `None` for other operators, and where that is no number.
pub fn depth(op: &Op, w: &[usize]) -> Option<usize> {
    match (op.layer()?, w) {
        (Layer::Conv(_), w) => w.iter().skip(1).try_fold(1usize, |n, d| n.checked_mul(*d)),
        (Layer::MatMul(_), []) => None,
        (Layer::MatMul(_), [k]) => Some(*k),
        (Layer::MatMul(m), [.., a, b]) => Some(if m.trans_b { *b } else { *a }),
    }
}

/// Multiply-accumulates of a node; 0 for those that have none, and where dimensions are open.
pub fn macs(g: &Graph, node: NodeId) -> u64 {
    let node = g.node(node);
    let known = || {
        let (w, y) = (node.input(1)?, node.outputs.first()?);
        let depth = depth(&node.op, &g.ty(w).shape.dims()?)?;
        (g.ty(*y).shape.count()? as u64).checked_mul(depth as u64)
    };
    known().unwrap_or(0)
}

fn check_bias(bias: Option<&Type>, channels: &Dim) -> Result<()> {
    match bias {
        Some(b) if b.shape.0.as_slice() != std::slice::from_ref(channels) => {
            Err(Error::new(format!("expected a bias of shape {channels}, found {b}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// The output type from operand types: a float, or the accumulator.
fn accumulate(
    op: &Op,
    x: &Type,
    w: &Type,
    bias: Option<&Type>,
    shape: Shape,
    out_axis: usize,
    declared: Option<&Type>,
) -> Result<Type> {
    match (&x.quant, &w.quant) {
        (None, None) => {
            let same = |t: &Type| t.dtype == x.dtype && t.quant.is_none();
            if !x.dtype.is_float() || !same(w) || !bias.is_none_or(same) {
                let bias = bias.map(|b| format!(" and bias {b}")).unwrap_or_default();
                return Err(Error::new(format!(
                    "expected operands of one float type or quantized ones, found {x} and {w}{bias}"
                )));
            }
            Ok(Type { dtype: x.dtype, shape, quant: None })
        }
        (Some(_), Some(_)) => {
            let (scale, axis) = accumulator_scales(op, x, w)?;
            if let Some(bias) = bias {
                check_integer_bias(bias, &scale)?;
            }
            let axis = axis.then_some(out_axis);
            let mut quant = Quant::accumulator(scale, axis, DType::I32);
            let mut dtype = DType::I32;
            if let Some(Type { dtype: wide, quant: Some(range), .. }) = declared {
                if !matches!(wide, DType::I32 | DType::I64) {
                    return Err(Error::new(format!("expected an accumulator of i32 or i64, found {wide}"))
                        .hint("put a Requantize after the operator for a narrower result"));
                }
                (dtype, quant.qmin, quant.qmax) = (*wide, range.qmin, range.qmax);
            }
            Ok(Type { dtype, shape, quant: Some(quant) })
        }
        (Some(_), None) | (None, Some(_)) => {
            Err(Error::new(format!("expected both operands float or both quantized, found {x} and {w}"))
                .hint("put a Dequantize before the quantized operand, or quantize the other"))
        }
    }
}

/// How many output channels read each input channel, where every output channel reads a single one, as in a depthwise
/// convolution: output channel `o` then reads input channel `o` divided by this. `None` where sums mix input channels.
pub fn outputs_per_input(op: &Op, w: &Shape) -> Option<usize> {
    match (op, w.0.as_slice()) {
        (Op::Conv(c), [Dim::Known(out), Dim::Known(1), ..]) => out.checked_div(c.group).filter(|n| *n > 0),
        _ => None,
    }
}

/// Most scales that an accumulator gets, so that sizes which only a file states cannot ask for all memory.
const MOST_SCALES: usize = 1 << 26;

/// The scales f32(s_x * s_w) of an accumulator, and whether they differ by output channel.
///
/// The weights have one scale or one an output channel. The input has one scale, or one a channel where no sum mixes
/// channels (see [`outputs_per_input`]).
pub fn accumulator_scales(op: &Op, x: &Type, w: &Type) -> Result<(Arc<[f32]>, bool)> {
    let (xq, wq) = (x.quant()?, w.quant()?);
    let axis = weight_axis(op, &w.shape).unwrap_or(0);
    let weights_differ = match wq.granularity {
        _ if wq.is_per_tensor() => false,
        Granularity::Channel { axis: found } if found == axis => true,
        Granularity::Tensor | Granularity::Channel { .. } => {
            return Err(Error::new(format!("expected weights with scales along axis {axis}, found {wq}")));
        }
        Granularity::Block { .. } => {
            return Err(Error::new(format!("expected weights with one scale an output channel, found blocks: {wq}"))
                .hint(
                    "block-quantized weights have no single accumulator scale; put a Dequantize before the operator",
                ));
        }
    };
    let share = match (&*xq.scale, xq.granularity, outputs_per_input(op, &w.shape)) {
        ([_], ..) => None,
        (_, Granularity::Channel { axis: 1 }, Some(share)) => Some(share),
        (scales, ..) => {
            return Err(Error::new(format!("expected an input with one scale, found {} scales", scales.len())).hint(
                "only an input of a depthwise convolution, whose sums do not mix channels, can have a scale per channel",
            ));
        }
    };
    let outputs = match share {
        Some(share) => xq.scale.len().checked_mul(share).filter(|n| w.shape.0.first() == Some(&Dim::Known(*n))),
        None => Some(wq.scale.len()),
    };
    let Some(outputs) = outputs.filter(|n| *n <= MOST_SCALES) else {
        return Err(Error::new(format!(
            "expected an input with a scale for each input channel of weights {}, found {} scales",
            w.shape,
            xq.scale.len()
        )));
    };
    if weights_differ && wq.scale.len() != outputs {
        return Err(Error::new(format!("expected {outputs} scales of weights, found {}", wq.scale.len())));
    }
    let s_x = |o: usize| xq.scale.get(o.checked_div(share.unwrap_or(0)).unwrap_or(0)).copied().unwrap_or(f32::NAN);
    let s_w = |o: usize| wq.scale.get(if weights_differ { o } else { 0 }).copied().unwrap_or(f32::NAN);
    let scale: Arc<[f32]> = (0..outputs).map(|o| s_x(o) * s_w(o)).collect();
    for s in scale.iter() {
        check_scale(*s).map_err(|e| Error::from(e).context("multiplying the scales of input and weights"))?;
    }
    Ok((scale, weights_differ || share.is_some()))
}

fn check_integer_bias(bias: &Type, scale: &[f32]) -> Result<()> {
    let Some(q) = bias.quant.as_ref().filter(|_| matches!(bias.dtype, DType::I32 | DType::I64)) else {
        return Err(Error::new(format!("expected a quantized bias of i32 or i64, found {bias}")));
    };
    let count = bias.shape.count().unwrap_or(1).max(1);
    let at = |s: &[f32], i: usize| if s.len() == 1 { s.first().copied() } else { s.get(i).copied() };
    if let Some(i) = (0..count).find(|i| at(&q.scale, *i) != at(scale, *i)) {
        return Err(Error::new(format!(
            "expected a bias of the accumulator's scale {:?} in channel {i}, found {:?}",
            at(scale, i).unwrap_or(f32::NAN),
            at(&q.scale, i).unwrap_or(f32::NAN)
        ))
        .hint("quantize the bias with scale f32(s_x * s_w)"));
    }
    if q.zero_point.iter().any(|z| *z != 0) {
        return Err(Error::new(format!("expected a bias of zero point 0, found {bias}")));
    }
    Ok(())
}
