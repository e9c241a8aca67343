//! What weights are to a kernel: integers less their zero points.

use lowbit_ir::tensor::entries;
use lowbit_ir::{DType, Error, Granularity, Graph, Result, Tensor, ValueId};

/// The narrowest integers that hold weights less their zero points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// i8.
    Bytes,
    /// i16.
    Words,
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
            match (within(-128, 127), within(-32768, 32767)) {
                (true, _) => Some(Width::Bytes),
                (false, true) => Some(Width::Words),
                (false, false) => None,
            }
        }
    }
}

/// Weights less their zero points, in row-major order.
pub fn centred(tensor: &Tensor) -> Result<Vec<i64>> {
    let quant = tensor.ty().quant()?;
    let large =
        || Error::new(format!("expected weights that stay 64 bits less their zero points, found {}", tensor.ty()));
    let dims = tensor.dims();
    let zeros = entries(quant, dims).map(|e| quant.zero_point.get(e).copied().map_or(0, i64::from));
    tensor.ints()?.into_iter().zip(zeros).map(|(w, z)| w.checked_sub(z).ok_or_else(large)).collect()
}
