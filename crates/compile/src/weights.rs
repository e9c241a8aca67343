//! What weights are to a kernel: integers less their zero points, or floats.

use lowbit_ir::graph::Users;
use lowbit_ir::op::Layer;
use lowbit_ir::tensor::entries;
use lowbit_ir::{DType, Error, Granularity, Graph, NodeId, Op, Result, Tensor, ValueId};

/// The narrowest integers that hold weights less their zero points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// i8.
    Bytes,
    /// i8 less an offset for each output channel ([`offsets`]): integers of 8 bits with any zero point.
    Shifted,
    /// i16.
    Words,
}

/// Constant weights of a layer of f32: floats, or bytes behind a Dequantize, which become floats when they are packed.
pub fn floats(g: &Graph, w: ValueId) -> Option<&Tensor> {
    match g.producer(w) {
        None => g.constant(w).filter(|t| t.dtype() == DType::F32),
        Some(id) => dequantized(g, id).filter(|_| g.ty(w).dtype == DType::F32),
    }
}

/// The constant bytes that a Dequantize makes floats.
fn dequantized(g: &Graph, id: NodeId) -> Option<&Tensor> {
    let node = g.node(id);
    let bytes = node.input(0).filter(|_| node.op == Op::Dequantize).and_then(|v| g.constant(v))?;
    let in_runs = match bytes.ty().quant.as_ref()?.granularity {
        Granularity::Tensor | Granularity::Channel { .. } => true,
        Granularity::Block { .. } => false,
    };
    (in_runs && matches!(bytes.dtype(), DType::I8 | DType::U8)).then_some(bytes)
}

/// Whether a Dequantize is no step and makes no constant, as all who read it are layers that pack what it reads.
pub fn is_packed(g: &Graph, users: &Users, id: NodeId) -> bool {
    let packs = |(user, i): &(NodeId, usize)| {
        let node = g.node(*user);
        let rank = |i: usize| node.input(i).map_or(0, |v| g.ty(v).shape.rank());
        let shapes = match node.op.layer() {
            Some(Layer::Conv(_)) => (3..=4).contains(&rank(0)),
            Some(Layer::MatMul(_)) => rank(0) >= 2 && rank(1) == 2,
            None => false,
        };
        let floats = node.input(0).is_some_and(|x| g.ty(x).dtype == DType::F32 && g.constant(x).is_none());
        // A bias may wait for a Dequantize that is computed before it is needed.
        let source = |v: ValueId| match g.producer(v).map(|id| g.node(id)) {
            None => Some(v),
            Some(node) if node.op == Op::Dequantize => node.input(0),
            Some(_) => None,
        };
        let known = |b: ValueId| source(b).is_some_and(|v| g.constant(v).is_some());
        *i == 1 && shapes && floats && node.input(2).is_none_or(known)
    };
    let read_by_layers = |v: &ValueId| !g.is_output(*v) && users.of(*v).iter().all(packs);
    dequantized(g, id).is_some() && g.node(id).outputs.iter().all(read_by_layers)
}

/// The width of constant weights, if a kernel takes them.
pub fn width(g: &Graph, w: ValueId) -> Option<Width> {
    let tensor = g.constant(w)?;
    let quant = tensor.ty().quant.as_ref()?;
    let symmetric = quant.zero_point.iter().all(|z| *z == 0);
    match (tensor.ty().dtype, quant.granularity) {
        (_, Granularity::Block { .. }) => None,
        (DType::I8 | DType::I4 | DType::I2, Granularity::Tensor | Granularity::Channel { .. }) if symmetric => {
            Some(Width::Bytes)
        }
        (_, Granularity::Tensor | Granularity::Channel { .. }) => {
            let centred = centred(tensor).ok()?;
            let within = |lo: i64, hi: i64| centred.iter().all(|w| (lo..=hi).contains(w));
            // Zero points are those of output channels (infer::accumulator_scales), so a channel keeps to 8 bits.
            let (lowest, highest) = tensor.ty().dtype.range().unwrap_or((i64::MIN, i64::MAX));
            match (within(-128, 127), within(-32768, 32767)) {
                (true, _) => Some(Width::Bytes),
                (false, true) if highest.saturating_sub(lowest) <= 255 => Some(Width::Shifted),
                (false, true) => Some(Width::Words),
                (false, false) => None,
            }
        }
    }
}

/// Weights as they are stored, where these are bytes without zero points.
pub fn plain_bytes(tensor: &Tensor) -> Option<&[i8]> {
    let quant = tensor.ty().quant.as_ref()?;
    tensor.i8s().filter(|_| quant.zero_point.iter().all(|z| *z == 0))
}

/// Takes the middle of what each channel's weights need from them, where i8 does not hold them: what is left it holds,
/// if they span no more than 8 bits. What was taken, if anything was.
pub fn offsets(weights: &mut [i64], a_channel: usize) -> Option<Vec<i64>> {
    let taken = |weights: &mut [i64]| {
        let (low, high) = weights.iter().fold((0, 0), |(low, high), w| (*w.min(&low), *w.max(&high)));
        // The least that does it.
        let offset = (low + 128).min(0) + (high - 127).max(0);
        weights.iter_mut().for_each(|w| *w -= offset);
        offset
    };
    let all: Vec<i64> = weights.chunks_exact_mut(a_channel.max(1)).map(taken).collect();
    all.iter().any(|offset| *offset != 0).then_some(all)
}

/// Weights less their zero points, in row-major order.
pub fn centred(tensor: &Tensor) -> Result<Vec<i64>> {
    let quant = tensor.ty().quant()?;
    if quant.zero_point.iter().all(|z| *z == 0) {
        return tensor.ints();
    }
    let large =
        || Error::new(format!("expected weights that stay 64 bits less their zero points, found {}", tensor.ty()));
    let dims = tensor.dims();
    let zeros = entries(quant, dims).map(|e| quant.zero_point.get(e).copied().map_or(0, i64::from));
    tensor.ints()?.into_iter().zip(zeros).map(|(w, z)| w.checked_sub(z).ok_or_else(large)).collect()
}
