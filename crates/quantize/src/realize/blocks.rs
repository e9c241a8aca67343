//! Weights with scales by block become weights with one scale an output channel, of more bits.
//!
//! A sum has one scale, but the products of two blocks have two. So every weight becomes a multiple of one step for its
//! output channel, fine enough for the finest of its blocks: to the nearest, at 16 bits or the most with which the sums
//! fit their accumulator. That serves blocks along any axis, those of a convolution's taps included, with one product
//! of integers and the usual kernels for wide weights.

use super::settle::sinks;
use super::{Realize, accumulator, layer};
use crate::prepare::rewrite;
use lowbit_arithmetic::Method;
use lowbit_ir::tensor::entries;
use lowbit_ir::{DType, Error, Granularity, Graph, NodeId, Quant, Result, Tensor, Type, ValueId, infer};

/// The widest weights that kernels take.
const MOST_BITS: u32 = 16;
/// What a step must be finer than those of the blocks, in bits, and the least width; and how many more bits weights must
/// have than what they are multiplied with. Otherwise the results of a layer could be steps away from those of the blocks.
const FINER_BITS: u32 = 4;
const LEAST_BITS: u32 = 12;
const FINER_THAN_DATA: u32 = 2;
/// The widest data, and the widest results, for which the widest weights are fine enough.
const MOST_DATA_BITS: u32 = MOST_BITS - FINER_THAN_DATA;

/// The step of weights that are all zero, where any would do for them: fine enough for the bias beside them.
const STEP_OF_NOTHING: f32 = 1.0 / 32768.0;

/// Whether weights have scales by block.
pub fn has(g: &Graph, w: ValueId) -> bool {
    g.ty(w).quant.as_ref().is_some_and(|q| matches!(q.granularity, Granularity::Block { .. }))
}

/// The operands and the accumulator of a layer whose weights have scales by block, or why it stays float.
pub fn operands(
    g: &mut Graph,
    id: NodeId,
    x: ValueId,
    w: ValueId,
    cx: &Realize,
) -> Result<std::result::Result<layer::Operands, String>> {
    let name = format!("{}.by-channel", g.value(w).name);
    let Some(tensor) = g.constant(w).cloned() else {
        return Ok(Err("its weights have scales by block and are computed".into()));
    };
    let Some(axis) = infer::weight_axis(&g.node(id).op, &tensor.ty().shape) else {
        return Ok(Err("its weights have no output channels".into()));
    };
    let own = match same_in_channels(&tensor, axis)? {
        Some(same) => {
            let w = g.add_const(&name, same);
            return layer::operands(g, id, x, w, cx.accumulator);
        }
        None => lowbit_ir::bounds::bits_needed(tensor.ty().quant()?.qmin, tensor.ty().quant()?.qmax),
    };
    let power_of_two = cx.rescale.method == Method::Shift;
    let data = width(g.ty(x)).unwrap_or(0);
    if data > MOST_DATA_BITS {
        return Ok(Err(format!(
            "its weights have scales by block, and joined at {MOST_BITS} bits they are too coarse for data of {data}; \
             up to {MOST_DATA_BITS} will do"
        )));
    }
    let results = rewrite::output(g.node(id)).map_or(Vec::new(), |y| sinks(g, y, cx).0);
    if let Some(bits) = results.iter().filter_map(|sink| width(&sink.ty)).max().filter(|bits| *bits > MOST_DATA_BITS) {
        return Ok(Err(format!(
            "its weights have scales by block, and joined at {MOST_BITS} bits they are too coarse for results of {bits}; \
             up to {MOST_DATA_BITS} will do"
        )));
    }
    let least = (own + FINER_BITS).max(data + FINER_THAN_DATA).clamp(LEAST_BITS, MOST_BITS);
    // Accumulators of 32 bits are the fast ones, and worth some bits of the weights.
    let narrow = accumulator::Allowed { bits: cx.accumulator.bits.min(32), ..accumulator::Allowed::OR_FLOAT };
    for bits in (least..=MOST_BITS).rev() {
        let w = g.add_const(&name, by_channel(&tensor, axis, bits, power_of_two)?);
        if let Ok(found) = layer::operands(g, id, x, w, narrow)? {
            return Ok(Ok(found));
        }
        g.remove_value(w);
    }
    let w = g.add_const(&name, by_channel(&tensor, axis, MOST_BITS, power_of_two)?);
    layer::operands(g, id, x, w, cx.accumulator)
}

/// How many bits a type's range takes, wherever zero lies in it.
fn width(ty: &Type) -> Option<u32> {
    ty.quant.as_ref().map(|q| (q.qmax - q.qmin).max(1).ilog2() + 1)
}

/// The same integers with one scale an output channel, where the blocks of a channel have one scale and zero point.
///
/// Channels of zeros have the least scale of the others, whatever they say: they give their bias, which is a multiple of
/// the scale, and with a scale that stands for nothing it would be rounded to nothing.
fn same_in_channels(tensor: &Tensor, axis: usize) -> Result<Option<Tensor>> {
    let (q, dims) = (tensor.ty().quant()?, tensor.dims());
    let channels = dims.get(axis).copied().unwrap_or(0);
    let mut found: Vec<Option<(f32, i32)>> = vec![None; channels];
    for (channel, entry) in channels_of(dims, axis).zip(entries(q, dims)) {
        let this = q.scale.get(entry).copied().zip(q.zero_point.get(entry).copied());
        match found.get_mut(channel) {
            Some(first @ None) => *first = this,
            Some(first) if *first == this => {}
            Some(_) | None => return Ok(None),
        }
    }
    let found: Option<Vec<(f32, i32)>> = found.into_iter().collect();
    let mut zeros = vec![true; channels];
    for (channel, real) in channels_of(dims, axis).zip(tensor.reals()?.iter()) {
        if let Some(zero) = zeros.get_mut(channel).filter(|_| *real != 0.0) {
            *zero = false;
        }
    }
    Ok(found.map(|found| {
        let (mut scale, zero_point): (Vec<f32>, Vec<i32>) = found.into_iter().unzip();
        let others = scale.iter().zip(&zeros).filter(|(_, zero)| !**zero).map(|(s, _)| *s);
        let least = others.reduce(f32::min).unwrap_or(STEP_OF_NOTHING);
        scale.iter_mut().zip(&zeros).filter(|(_, zero)| **zero).for_each(|(s, _)| *s = least);
        let granularity = Granularity::Channel { axis };
        let quant = Quant { scale: scale.into(), zero_point: zero_point.into(), granularity, ..q.clone() };
        tensor.clone().with_quant(Some(quant))
    }))
}

/// Every weight as a multiple of one step for its output channel, of so many bits.
fn by_channel(tensor: &Tensor, axis: usize, bits: u32, power_of_two: bool) -> Result<Tensor> {
    let (q, dims) = (tensor.ty().quant()?, tensor.dims());
    let most = f64::from((1i32 << (bits - 1)) - 1);
    let real = |(w, entry): (i64, usize)| {
        let zero = q.zero_point.get(entry).copied().unwrap_or(0);
        (w - i64::from(zero)) as f64 * f64::from(q.scale.get(entry).copied().unwrap_or(0.0))
    };
    let reals: Vec<f64> = tensor.ints()?.into_iter().zip(entries(q, dims)).map(real).collect();
    let mut largest = vec![0.0f64; dims.get(axis).copied().unwrap_or(0)];
    for (channel, x) in channels_of(dims, axis).zip(&reals) {
        if let Some(l) = largest.get_mut(channel) {
            *l = l.max(x.abs());
        }
    }
    // Channels of zeros take any step: that of the largest.
    let any = largest.iter().copied().fold(0.0, f64::max);
    let any = if any > 0.0 { any } else { f64::from(STEP_OF_NOTHING) * most };
    let step = |largest: f64| {
        let exact = if largest > 0.0 { largest } else { any } / most;
        if power_of_two { exact.log2().ceil().exp2() as f32 } else { exact as f32 }
    };
    let steps: Vec<f32> = largest.into_iter().map(step).collect();
    let integer = |(channel, x): (usize, f64)| {
        let step = steps.get(channel).copied().unwrap_or(1.0);
        (x / f64::from(step)).round_ties_even().clamp(-most, most) as i64
    };
    let integers: Vec<i64> = channels_of(dims, axis).zip(reals).map(integer).collect();
    for s in &steps {
        lowbit_arithmetic::requant::check_scale(*s)
            .map_err(|e| Error::from(e).context("joining the scales of blocks"))?;
    }
    let quant = Quant::per_channel(steps, axis, -(most as i64), most as i64);
    Tensor::from_ints(Type::quantized(DType::holding(bits, true), dims.to_vec(), quant), &integers)
}

/// The output channel of each element, in row-major order.
fn channels_of(dims: &[usize], axis: usize) -> impl Iterator<Item = usize> {
    let inner: usize = dims.iter().skip(axis + 1).product::<usize>().max(1);
    let channels = dims.get(axis).copied().unwrap_or(1).max(1);
    (0usize..).map(move |i| i / inner % channels).take(dims.iter().product())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(scales: &[f32], zeros: &[i32], size: usize) -> Tensor {
        let granularity = Granularity::Block { axis: 1, size };
        let quant = Quant { scale: scales.into(), zero_point: zeros.into(), qmin: -8, qmax: 7, granularity };
        let ty = Type::quantized(DType::I4, vec![2, 4], quant);
        Tensor::from_ints(ty, &[7, -3, 2, 1, -8, 0, 5, 6]).unwrap()
    }

    #[test]
    fn weights_are_multiples_of_their_channels_step() {
        let blocks = weights(&[0.5, 0.25, 2.0, 0.125], &[0, 1, 0, -1], 2);
        let joined = by_channel(&blocks, 0, 16, false).unwrap();
        for (a, b) in blocks.reals().unwrap().iter().zip(joined.reals().unwrap().iter()) {
            assert!((a - b).abs() <= 16.0 / 32767.0 / 2.0, "{a} {b}");
        }
        // Steps that are powers of two say blocks of such scales exactly.
        let joined = by_channel(&blocks, 0, 16, true).unwrap();
        assert_eq!(blocks.reals().unwrap(), joined.reals().unwrap());
        assert!(joined.ty().quant().unwrap().scale.iter().all(|s| s.log2().fract() == 0.0));
        assert_eq!(same_in_channels(&blocks, 0).unwrap(), None);
    }

    #[test]
    fn channels_of_zeros_have_the_least_scale_of_the_others() {
        let text = "graph \"g\" {\n const %w: i4[2x2]{[1.0, 1.0, 0.25, 0.25] * q in -7..7, axis 1, block 1} = [0, 0, 3, -2]\n output %w\n}\n";
        let g = lowbit_ir::text::parse(text).unwrap();
        let w = g.constant(g.outputs[0]).unwrap();
        let same = same_in_channels(w, 0).unwrap().unwrap();
        assert_eq!(
            (&*same.ty().quant().unwrap().scale, same.reals().unwrap()),
            (&[0.25, 0.25][..], w.reals().unwrap())
        );
        let nothing = text.replace("[0, 0, 3, -2]", "[0, 0, 0, 0]");
        let g = lowbit_ir::text::parse(&nothing).unwrap();
        let same = same_in_channels(g.constant(g.outputs[0]).unwrap(), 0).unwrap().unwrap();
        assert_eq!(&*same.ty().quant().unwrap().scale, &[STEP_OF_NOTHING; 2][..]);
    }

    #[test]
    fn blocks_of_one_scale_are_the_channels_own_integers() {
        let blocks = weights(&[0.5, 0.5, 2.0, 2.0], &[0, 0, 1, 1], 2);
        let same = same_in_channels(&blocks, 0).unwrap().unwrap();
        assert_eq!((same.ints().unwrap(), same.reals().unwrap()), (blocks.ints().unwrap(), blocks.reals().unwrap()));
        assert_eq!(same.ty().quant().unwrap().granularity, Granularity::Channel { axis: 0 });
    }
}
