//! Transposed convolution as a plain one.
//!
//! With stride s, results whose positions leave the same rest by s come of the same taps of the kernel, and neighbours
//! among them of neighbouring elements: each rest, a phase, is a convolution of stride 1 with every s-th tap. One
//! convolution computes all phases as channels of its own, and their elements are then put side by side. So nothing is
//! multiplied by zeros but what fills the kernel up to a multiple of s, and the integer kernels of Conv serve it
//! (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?").

use super::sizes::{Size, Sizes, reshape_dims};
use super::{Builder, Item};
use lowbit_ir::op::{Conv, Pad, PadMode, SliceAxis};
use lowbit_ir::{Error, Granularity, Op, Quant, Result, Tensor, Type, bail};

/// The attributes of a transposed convolution, one entry a spatial axis.
#[derive(Debug, Clone)]
pub struct Transposed {
    /// Sizes of the kernel.
    pub kernel: Vec<usize>,
    /// Steps of the result for a step of the operand.
    pub strides: Vec<usize>,
    /// Distance between taps.
    pub dilations: Vec<usize>,
    /// Results cut off at the beginnings.
    pub begins: Vec<i64>,
    /// Results cut off at the ends; what is negative is added.
    pub ends: Vec<i64>,
    /// Number of channel groups.
    pub group: usize,
}

/// One axis, worked out.
#[derive(Debug, Clone, Copy)]
struct Axis {
    stride: i64,
    dilation: i64,
    kernel: i64,
    /// Taps of a phase.
    taps: i64,
    /// Zeros before and after the operand; negative: elements left out.
    pads: [i64; 2],
    /// Results to cut off when the phases are side by side.
    cut: [i64; 2],
}

/// Most taps of a kernel along an axis, dilation counted, and most padding: beyond, a mistake is more likely.
const MOST: i64 = 1 << 20;

/// The product of `x` [n, in, spatial...] with `w` [in, out / group, kernel...], and the bias [out], called `output`.
pub fn transposed(
    b: &mut Builder,
    node: &str,
    [x, w]: [&Item; 2],
    bias: Option<&Item>,
    how: &Transposed,
    output: &str,
) -> Result<Item> {
    let rank = how.kernel.len();
    if b.shape(x).rank() != rank + 2 || b.shape(w).rank() != rank + 2 {
        bail!("expected an input and a weight of {} dimensions, found {} and {}", rank + 2, b.shape(x), b.shape(w));
    }
    let axes = (0..rank).map(|i| axis(how, i)).collect::<Result<Vec<_>>>()?;
    let phases = axes.iter().try_fold(1i64, |n, a| n.checked_mul(a.stride)).filter(|n| *n <= MOST);
    let Some(phases) = phases else { bail!("expected strides of which the product is small, found {:?}", how.strides) };
    let weight = weights(b, node, w, how.group, &axes, phases)?;
    let bias = match bias {
        Some(bias) if phases > 1 => {
            let apart = b.step(node, "bias", Op::Unsqueeze { axes: vec![1] }, &[bias])?;
            let each = b.step(node, "biases", Op::Expand { dims: vec![1, phases as usize] }, &[&apart])?;
            Some(b.step(node, "bias.all", Op::Reshape { dims: vec![-1] }, &[&each])?)
        }
        bias => bias.cloned(),
    };
    let inside = axes.iter().all(|a| a.pads.iter().all(|p| *p >= 0));
    let pads: Vec<i64> = [0, 1].iter().flat_map(|end| axes.iter().map(|a| a.pads[*end])).collect();
    let (x, pads) = match inside {
        true => (x.clone(), pads.iter().map(|p| *p as usize).collect()),
        false => {
            let spatial = |end: usize| [0, 0].into_iter().chain(axes.iter().map(move |a| a.pads[end])).collect();
            let pad = Pad { begins: spatial(0), ends: spatial(1), mode: PadMode::Constant(0.0) };
            (b.step(node, "padded", Op::Pad(pad), &[x])?, vec![0; 2 * rank])
        }
    };
    let conv = Op::Conv(Conv { strides: vec![1; rank], pads, dilations: vec![1; rank], group: how.group });
    // The layer has the node's name, since it is what its reports speak of.
    let operands = [Some(x), Some(weight), bias];
    let given = if operands[2].is_some() { 3 } else { 2 };
    if phases == 1 {
        return single(b.emit(node, conv, &operands[..given], &[output.to_string()], &[])?);
    }
    let name = b.fresh(&format!("{node}.phases"));
    let y = single(b.emit(node, conv, &operands[..given], &[name], &[])?)?;
    side_by_side(b, node, &y, &axes, phases, output)
}

fn single(mut items: Vec<Item>) -> Result<Item> {
    items.pop().ok_or_else(|| Error::new("expected one output"))
}

fn axis(how: &Transposed, i: usize) -> Result<Axis> {
    let at = |list: &[usize]| list.get(i).and_then(|n| i64::try_from(*n).ok()).filter(|n| (1..=MOST).contains(n));
    let ends = (how.begins.get(i).copied(), how.ends.get(i).copied());
    let span = |kernel: i64, dilation: i64| (kernel - 1).checked_mul(dilation).filter(|n| *n < MOST).map(|n| n + 1);
    let found = (at(&how.kernel), at(&how.strides), at(&how.dilations), ends);
    let (Some(kernel), Some(stride), Some(dilation), (Some(begin), Some(end))) = found else {
        bail!("expected a positive kernel, strides and dilations of one length, found {how:?}");
    };
    let (Some(span), true) = (span(kernel, dilation), begin.abs().max(end.abs()) <= MOST) else {
        bail!("the window {:?} with dilations {:?} or its padding is too large", how.kernel, how.dilations);
    };
    // Of the results s q + r for all of the operand, q counts from the first that is kept.
    let taps = (span + stride - 1) / stride;
    let first = begin.div_euclid(stride);
    // begin + (s (in - 1) + span - begin - end) rounded up to steps, less those of the operand.
    let more = (span - end - stride + stride - 1).div_euclid(stride);
    let over = stride * more - (span - end - stride);
    Ok(Axis { stride, dilation, kernel, taps, pads: [taps - 1 - first, more], cut: [begin - stride * first, over] })
}

/// The weights of all phases, [out phases, in / group, taps...].
fn weights(b: &mut Builder, node: &str, w: &Item, group: usize, axes: &[Axis], phases: i64) -> Result<Item> {
    let Some((integers, quant)) = quantized_constant(b, w)? else {
        return phased(b, node, w, group, axes, phases, 0.0);
    };
    // A quantizer's integers stay its integers: they are put in order, and their scales with them.
    let (per_group, zero) = (integers.dims().get(1).copied().unwrap_or(1), quant.common_zero_point().unwrap_or(0));
    let plain = Tensor::from_bytes(Type::plain(integers.dtype(), integers.dims().to_vec()), integers.bytes().clone())?;
    let plain = b.known(node, "integers", plain);
    let Item::Const(name, ordered) = phased(b, node, &plain, group, axes, phases, zero as f32)? else {
        bail!("expected constant weights");
    };
    let quant = match quant.granularity {
        Granularity::Channel { .. } => {
            let each = |o: usize| (0..phases).map(move |_| o);
            let of = (0..group).flat_map(|_| (0..per_group).flat_map(each));
            let scale: Vec<f32> = of.filter_map(|o| quant.scale.get(o).copied()).collect();
            Quant {
                zero_point: vec![zero; scale.len()].into(),
                scale: scale.into(),
                granularity: Granularity::Channel { axis: 0 },
                ..quant
            }
        }
        Granularity::Tensor | Granularity::Block { .. } => quant,
    };
    let ty = Type::quantized(ordered.dtype(), ordered.dims().to_vec(), quant);
    let integers = Item::Const(name, Tensor::from_bytes(ty, ordered.bytes().clone())?);
    b.step(node, "weights", Op::Dequantize, &[&integers])
}

/// The integers of weights that are dequantized, with one scale or one for each of axis 1.
fn quantized_constant(b: &Builder, w: &Item) -> Result<Option<(Tensor, Quant)>> {
    let Item::Value(v) = w else { return Ok(None) };
    let producer = b.graph.producer(*v).map(|id| b.graph.node(id));
    let Some(x) = producer.filter(|n| n.op == Op::Dequantize).and_then(|n| n.input(0)) else { return Ok(None) };
    let Some(integers) = b.graph.constant(x) else { return Ok(None) };
    let Some(quant) = integers.ty().quant.clone() else { return Ok(None) };
    let known = matches!(quant.granularity, Granularity::Tensor | Granularity::Channel { axis: 1 });
    Ok((known && quant.common_zero_point().is_some()).then(|| (integers.clone(), quant)))
}

/// Weights in the order of phases: [in, out / group, k...] becomes [out phases, in / group, taps...], turned around.
fn phased(b: &mut Builder, node: &str, w: &Item, group: usize, axes: &[Axis], phases: i64, zero: f32) -> Result<Item> {
    let Some(dims) = b.shape(w).dims() else { bail!("expected a weight of known sizes, found {}", b.shape(w)) };
    let &[inputs, per_group, ref kernel @ ..] = dims.as_slice() else {
        bail!("expected a weight [in, out / group, kernel...], found {}", b.shape(w));
    };
    if group == 0 || inputs % group != 0 {
        bail!("expected the {inputs} input channels to divide into {group} groups");
    }
    if !kernel.iter().zip(axes).all(|(k, a)| i64::try_from(*k) == Ok(a.kernel)) {
        bail!("expected a kernel as in the weight {}, found other sizes", b.shape(w));
    }
    let rank = axes.len();
    let fill = PadMode::Constant(zero);
    let mut w = w.clone();
    if axes.iter().any(|a| a.dilation > 1) {
        // [k] -> [k, 1] -> [k, d] -> [k d]: each tap is followed by d - 1 zeros.
        w = b.step(node, "taps", Op::Unsqueeze { axes: (0..rank as i64).map(|i| 3 + 2 * i).collect() }, &[&w])?;
        let mut ends = vec![0; 2 + 2 * rank];
        axes.iter().enumerate().for_each(|(i, a)| ends[3 + 2 * i] = a.dilation - 1);
        let pad = Pad { begins: vec![0; ends.len()], ends, mode: fill };
        w = b.step(node, "taps.apart", Op::Pad(pad), &[&w])?;
        let dims = [0, 0].into_iter().chain(axes.iter().map(|a| a.kernel * a.dilation)).collect();
        w = b.step(node, "taps.all", Op::Reshape { dims }, &[&w])?;
    }
    // To whole phases; the zeros behind the last tap of a dilated kernel count.
    let more = |a: &Axis| a.taps * a.stride - a.kernel * a.dilation;
    if axes.iter().any(|a| more(a) != 0) {
        let ends: Vec<i64> = [0, 0].into_iter().chain(axes.iter().map(more)).collect();
        w = b.step(node, "filled", Op::Pad(Pad { begins: vec![0; ends.len()], ends, mode: fill }), &[&w])?;
    }
    // [group, in / group, out / group, taps, phases, taps, phases...]
    let mut dims = vec![group as i64, (inputs / group) as i64, per_group as i64];
    axes.iter().for_each(|a| dims.extend([a.taps, a.stride]));
    w = b.step(node, "split", Op::Reshape { dims }, &[&w])?;
    let reversed = |i: usize| SliceAxis { axis: 3 + 2 * i as i64, start: -1, end: i64::MIN, step: -1 };
    w = b.step(node, "reversed", Op::Slice((0..rank).map(reversed).collect()), &[&w])?;
    let phase = (0..rank).map(|i| 4 + 2 * i);
    let tap = (0..rank).map(|i| 3 + 2 * i);
    let perm = [0, 2].into_iter().chain(phase).chain([1]).chain(tap).collect();
    w = b.step(node, "turned", Op::Transpose { perm }, &[&w])?;
    let mut dims = vec![(group * per_group) as i64 * phases, (inputs / group) as i64];
    dims.extend(axes.iter().map(|a| a.taps));
    b.step(node, "ordered", Op::Reshape { dims }, &[&w])
}

/// [n, out phases, q...] with the elements of all phases in their places, and what is too much cut off.
fn side_by_side(b: &mut Builder, node: &str, y: &Item, axes: &[Axis], phases: i64, output: &str) -> Result<Item> {
    let rank = axes.len();
    let sizes = Sizes::of_shape(&b.shape(y).0).elements;
    let (Some(batch), Some(Size::Known(channels))) = (sizes.first(), sizes.get(1)) else {
        bail!("expected known channels, found {}", b.shape(y));
    };
    let out = Size::Known(channels / phases);
    let mut split = vec![batch.clone(), out.clone()];
    split.extend(axes.iter().map(|a| Size::Known(a.stride)));
    split.extend(sizes.iter().skip(2).cloned());
    let apart = b.reshape(node, "apart", y, &split)?;
    let pairs = (0..rank).flat_map(|i| [2 + rank + i, 2 + i]);
    let turned =
        b.step(node, "placed", Op::Transpose { perm: [0, 1].into_iter().chain(pairs).collect() }, &[&apart])?;
    let mut joined = vec![batch.clone(), out];
    joined.extend(sizes.iter().skip(2).zip(axes).map(|(q, a)| q.times(&Size::Known(a.stride))));
    let dims = reshape_dims(&joined, &b.shape(&turned))?;
    let (join, cut) = (format!("{node}.joined"), axes.iter().any(|a| a.cut != [0, 0]));
    if !cut {
        return single(b.emit(&join, Op::Reshape { dims }, &[Some(turned)], &[output.to_string()], &[])?);
    }
    let whole = b.step(node, "joined", Op::Reshape { dims }, &[&turned])?;
    let end = |over: i64| if over == 0 { i64::MAX } else { -over };
    let kept = |(i, a): (usize, &Axis)| SliceAxis { axis: 2 + i as i64, start: a.cut[0], end: end(a.cut[1]), step: 1 };
    let slice = Op::Slice(axes.iter().enumerate().map(kept).collect());
    single(b.emit(&format!("{node}.cut"), slice, &[Some(whole)], &[output.to_string()], &[])?)
}
