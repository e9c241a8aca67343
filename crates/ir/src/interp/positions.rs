//! Moving data by positions: for each element of the result, where it stands in the source.
//!
//! Slices, pads, transpositions, broadcasts, gathers and nearest resampling differ only in one table an axis.

use crate::infer::broadcast;
use crate::{DType, Error, Result, Shape, Tensor, Type};

/// The position of an element that is not in the source.
pub const OUTSIDE: usize = usize::MAX;

/// Elements between neighbours along each axis.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> =
        dims.iter().rev().scan(1usize, |step, d| Some(std::mem::replace(step, step.saturating_mul(*d)))).collect();
    strides.reverse();
    strides
}

/// For every combination of one entry a table, the first table outermost, the sum of the entries.
pub fn positions(tables: &[Vec<usize>]) -> Vec<usize> {
    tables.iter().fold(vec![0], |bases, table| {
        let mut next = Vec::with_capacity(bases.len().saturating_mul(table.len()));
        for base in bases {
            next.extend(table.iter().map(|at| if base == OUTSIDE || *at == OUTSIDE { OUTSIDE } else { base + at }));
        }
        next
    })
}

/// The positions in a tensor of shape `from` that its broadcast to `to` reads.
pub fn broadcast_positions(from: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len().saturating_sub(from.len());
    let steps = strides(from);
    let tables: Vec<Vec<usize>> = to
        .iter()
        .enumerate()
        .map(|(i, n)| {
            let axis = i.checked_sub(missing).and_then(|i| from.get(i).zip(steps.get(i)));
            match axis {
                Some((d, step)) if *d != 1 => (0..*n).map(|c| c * step).collect(),
                Some(_) | None => vec![0; *n],
            }
        })
        .collect();
    positions(&tables)
}

/// Two operands' elements side by side, broadcast to `dims`.
pub fn zip_broadcast<T: Copy, U: Copy, R>(
    (a, a_dims): (&[T], &[usize]),
    (b, b_dims): (&[U], &[usize]),
    dims: &[usize],
    f: impl Fn(T, U) -> R,
) -> Vec<R> {
    if a_dims == b_dims {
        return a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
    }
    let (at_a, at_b) = (broadcast_positions(a_dims, dims), broadcast_positions(b_dims, dims));
    at_a.into_iter().zip(at_b).filter_map(|(i, j)| Some(f(*a.get(i)?, *b.get(j)?))).collect()
}

/// The shape that some shapes broadcast to together.
pub fn joint_dims(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    shapes.iter().try_fold(Shape::default(), |s, d| broadcast(&s, &Shape::known(d)))?.require()
}

/// The elements of `x` at these positions, and `fill` (one element of the same storage) outside.
pub fn pick(x: &Tensor, ty: Type, at: &[usize], fill: Option<&Tensor>) -> Result<Tensor> {
    let fill_bytes = fill.map(|f| f.bytes().as_ref()).unwrap_or_default();
    match ty.dtype {
        DType::I64 => from_raw::<8>(x, ty, at, fill_bytes),
        DType::F32 | DType::I32 => from_raw::<4>(x, ty, at, fill_bytes),
        DType::F16 | DType::BF16 | DType::I16 | DType::U16 => from_raw::<2>(x, ty, at, fill_bytes),
        DType::I8 | DType::U8 | DType::Bool => from_raw::<1>(x, ty, at, fill_bytes),
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            let fill = fill.map(Tensor::ints).transpose()?.and_then(|f| f.first().copied());
            Tensor::from_ints(ty, &take(&x.ints()?, at, fill)?)
        }
    }
}

fn from_raw<const BYTES: usize>(x: &Tensor, ty: Type, at: &[usize], fill: &[u8]) -> Result<Tensor> {
    let (elements, _) = x.bytes().as_chunks::<BYTES>();
    let picked = take(elements, at, fill.first_chunk::<BYTES>().copied())?;
    Tensor::from_bytes(ty, picked.into_flattened().into())
}

fn take<T: Copy>(xs: &[T], at: &[usize], fill: Option<T>) -> Result<Vec<T>> {
    let outside = || Error::new("a position lies outside the source and nothing fills it");
    at.iter().map(|i| xs.get(*i).copied().or(fill).ok_or_else(outside)).collect()
}

/// Most taps of a window, and most taps of all positions along one axis: padding can make windows of any size, and
/// their tables take memory.
const MOST_TAPS: usize = 1 << 28;

/// Index by index, the positions of a window's taps within one image, in row-major order of the taps.
pub struct Windows {
    /// Per axis, per output index, per tap: the offset, or [`OUTSIDE`].
    axes: Vec<Vec<Vec<usize>>>,
    output: Vec<usize>,
}

/// One axis of a sliding window over an axis of `input` elements.
#[derive(Debug, Clone, Copy)]
pub struct WindowAxis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub begin: usize,
    pub dilation: usize,
}

impl Windows {
    pub fn new(axes: &[WindowAxis]) -> Result<Self> {
        let taps = axes.iter().try_fold(1usize, |n, a| n.checked_mul(a.kernel));
        let largest = axes.iter().map(|a| a.kernel.saturating_mul(a.output)).chain(taps.or(Some(OUTSIDE))).max();
        if largest.is_some_and(|n| n > MOST_TAPS) {
            return Err(Error::new(format!(
                "a window of {:?} is too large",
                axes.iter().map(|a| a.kernel).collect::<Vec<_>>()
            )));
        }
        let input: Vec<usize> = axes.iter().map(|a| a.input).collect();
        let table = |(a, step): (&WindowAxis, usize)| {
            let tap = |o: usize, k: usize| match (o * a.stride + k * a.dilation).checked_sub(a.begin) {
                Some(at) if at < a.input => at * step,
                Some(_) | None => OUTSIDE,
            };
            (0..a.output).map(|o| (0..a.kernel).map(|k| tap(o, k)).collect()).collect()
        };
        let axes_tables = axes.iter().zip(strides(&input)).map(table).collect();
        Ok(Windows { axes: axes_tables, output: axes.iter().map(|a| a.output).collect() })
    }

    /// Number of positions of the window.
    pub fn count(&self) -> usize {
        self.output.iter().product()
    }

    /// The taps at output position `at`; padded ones are [`OUTSIDE`].
    pub fn taps(&self, at: usize, taps: &mut Vec<usize>) {
        taps.clear();
        taps.push(0);
        let mut rest = self.count();
        let mut at = at;
        for (table, size) in self.axes.iter().zip(&self.output) {
            rest /= size.max(&1);
            let index = at / rest.max(1);
            at %= rest.max(1);
            let Some(offsets) = table.get(index) else { return taps.clear() };
            let outer = std::mem::take(taps);
            for base in outer {
                taps.extend(offsets.iter().map(|o| if base == OUTSIDE || *o == OUTSIDE { OUTSIDE } else { base + o }));
            }
        }
    }
}
