//! What an operator takes while it is computed, besides its operands and results: asked before it is taken.

use super::resize::most_between;
use crate::op::{Op, Pool};
use crate::{Shape, Type};

/// Bytes an element, of operands and results alike: integers are computed with as i64, and where operands are broadcast or
/// moved each element of the result has a position in both.
const ELEMENT: usize = 2 * size_of::<usize>();

/// Bytes that computing an operator takes beyond its operands and results, at most; more than there can be where sizes are
/// open.
pub fn workspace(op: &Op, operands: &[Option<&Type>], results: &[Type]) -> usize {
    let count = |ty: &Type| ty.shape.count().unwrap_or(usize::MAX);
    let elements = operands.iter().flatten().copied().chain(results).map(count).fold(0, usize::saturating_add);
    elements.saturating_mul(ELEMENT).saturating_add(windows(op, operands, results))
}

/// Bytes that computing a constant takes beyond what is in proportion to its operands, which are the model's own.
pub fn workspace_beyond(op: &Op, operands: &[Option<&Type>], results: &[Type]) -> usize {
    let elements = operands.iter().flatten().map(|ty| ty.shape.count().unwrap_or(usize::MAX));
    let own = elements.fold(0, usize::saturating_add).saturating_mul(2 * ELEMENT);
    workspace(op, operands, results).saturating_sub(own)
}

/// Bytes of the tables that say where the taps of a window lie: one an axis, with the taps of every position. What is
/// resampled axis by axis can be larger in between than before and after.
fn windows(op: &Op, operands: &[Option<&Type>], results: &[Type]) -> usize {
    let spatial = |shape: &Shape| shape.dims().unwrap_or_default().get(2..).unwrap_or_default().to_vec();
    let Some(result) = results.first() else { return 0 };
    let kernel = match op {
        Op::Conv(_) => operands.get(1).copied().flatten().map(|w| spatial(&w.shape)).unwrap_or_default(),
        Op::MaxPool(Pool { kernel, .. }) | Op::AvgPool(Pool { kernel, .. }) => kernel.clone(),
        Op::QAvgPool(q) => q.pool.as_ref().map(|p| p.kernel.clone()).unwrap_or_default(),
        // What one axis leaves to the next, and what that makes of it.
        Op::Resize(r) => {
            let sizes = |ty: &Type| ty.shape.dims().unwrap_or_default();
            let from = operands.first().copied().flatten().map(sizes).unwrap_or_default();
            return most_between(r, &from, &sizes(result)).saturating_mul(2 * size_of::<f32>());
        }
        _ => return 0,
    };
    // A row a position; pools have a second table, of the image with its padding.
    let row = |taps: usize| taps.saturating_mul(size_of::<usize>()).saturating_add(size_of::<Vec<usize>>());
    let axis = |(positions, taps): (usize, usize)| row(taps).saturating_mul(positions).saturating_mul(2);
    spatial(&result.shape).into_iter().zip(kernel).map(axis).fold(0, usize::saturating_add)
}
