//! How wide the accumulator of a layer must be: bounded from its weights and the range of its input.

use lowbit_ir::{DType, Graph, Op, ValueId, tensor};

/// The narrowest accumulator that no input can overflow, or why there is none.
pub fn choose(
    g: &Graph,
    op: &Op,
    x: ValueId,
    w: ValueId,
    bias: Option<ValueId>,
    allowed_bits: u8,
) -> Result<DType, String> {
    let bound = bound(g, op, x, w, bias).ok_or("its operands' ranges are unknown")?;
    match (bound, allowed_bits) {
        (..=0x7fff_ffff, _) => Ok(DType::I32),
        (_, 64) => Ok(DType::I64),
        (bound, _) => Err(format!("its sums reach {bound}, more than a 32-bit accumulator holds")),
    }
}

/// A bound on the magnitude of every partial sum of any channel.
fn bound(g: &Graph, op: &Op, x: ValueId, w: ValueId, bias: Option<ValueId>) -> Option<i128> {
    let reach = |v: ValueId| {
        let q = g.ty(v).quant.as_ref()?;
        let far = |z: &i32| (q.qmax - i64::from(*z)).abs().max((q.qmin - i64::from(*z)).abs());
        q.zero_point.iter().map(far).max().map(i128::from)
    };
    let largest_bias = match bias.and_then(|b| g.constant(b)) {
        Some(b) => b.ints().ok()?.into_iter().map(|b| i128::from(b).abs()).max().unwrap_or(0),
        None => 0,
    };
    let x_reach = reach(x)?;
    let products = match g.constant(w) {
        Some(t) => channel_sums(op, t)?.into_iter().max().unwrap_or(0) * x_reach,
        None => {
            // The inner dimension of a product of two computed matrices is the last of the first.
            let k = g.ty(x).shape.0.last()?.known()?;
            x_reach * reach(w)? * k as i128
        }
    };
    Some(products + largest_bias)
}

/// Per output channel, the sum of the magnitudes of its weights.
fn channel_sums(op: &Op, w: &lowbit_ir::Tensor) -> Option<Vec<i128>> {
    let axis = lowbit_ir::infer::weight_axis(op, &w.ty().shape)?;
    let q = w.ty().quant.as_ref()?;
    let inner: usize = w.dims().iter().skip(axis + 1).product::<usize>().max(1);
    let count = w.dims().get(axis).copied()?.max(1);
    let mut sums = vec![0i128; count];
    // Leading axes of batched weights are other sums; adding them up only makes the bound coarser.
    for ((i, v), entry) in w.ints().ok()?.into_iter().enumerate().zip(tensor::entries(q, w.dims())) {
        let zero = i64::from(*q.zero_point.get(entry)?);
        *sums.get_mut(i / inner % count)? += i128::from((v - zero).abs());
    }
    Some(sums)
}
