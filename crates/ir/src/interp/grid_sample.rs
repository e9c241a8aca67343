//! Images sampled at places that a grid gives, from -1 to 1 along each axis.

use super::positions::strides;
use super::resize::cubic;
use crate::op::{GridMode, GridPadding, GridSample};
use crate::{Result, Tensor, Type};
use lowbit_arithmetic::fma;

/// Coordinates are limited to this distance from the image: further ones are no other elements.
const FAR: f32 = (1u32 << 30) as f32;

/// The slope of the cubic kernel at 1, as PyTorch has it.
const SLOPE: f32 = -0.75;

pub fn grid_sample(g: &GridSample, x: &Tensor, grid: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    let image = x.dims().get(2..).unwrap_or_default();
    let (channels, plane): (usize, usize) = (dims.get(1).copied().unwrap_or(0), image.iter().product());
    let points: usize = dims.iter().skip(2).product();
    let (data, places) = (x.floats()?, grid.floats()?);
    let mut y = vec![0.0; ty.shape.count().unwrap_or(0)];
    let mut values = Vec::new();
    for (i, place) in places.chunks_exact(image.len().max(1)).enumerate() {
        let (n, point) = (i / points.max(1), i % points.max(1));
        let sampled = Sampled::new(g, place, image);
        for c in 0..channels {
            let start = (n * channels + c) * plane;
            let from = data.get(start..start + plane).unwrap_or_default();
            if let Some(y) = y.get_mut((n * channels + c) * points + point) {
                *y = sampled.value(g.mode, from, &mut values);
            }
        }
    }
    Tensor::from_floats(ty, y)
}

/// One place of the grid: the elements that it is computed of.
struct Sampled {
    /// Whether a number of the place is none.
    nan: bool,
    /// Where the elements stand, the last axis fastest; `None` outside of the image.
    at: Vec<Option<usize>>,
    /// Axis by axis how far the place lies behind the element below it.
    distances: Vec<f32>,
}

impl Sampled {
    /// The numbers of `place` are of the axes in reverse.
    fn new(g: &GridSample, place: &[f32], image: &[usize]) -> Sampled {
        let mut at = vec![Some(0)];
        let mut distances = Vec::with_capacity(image.len());
        for ((v, n), step) in place.iter().rev().zip(image).zip(strides(image)) {
            let (low, t) = below(g, *v, *n);
            let (first, count) = match g.mode {
                GridMode::Nearest => (0, 1),
                GridMode::Linear => (0, 2),
                GridMode::Cubic => (-1, 4),
            };
            let elements: Vec<Option<usize>> =
                (0..count).map(|k| Some(element(g, low + first + k, *n)? * step)).collect();
            at = at.iter().flat_map(|base| elements.iter().map(move |e| Some((*base)? + (*e)?))).collect();
            distances.push(t);
        }
        Sampled { nan: place.iter().any(|v| v.is_nan()), at, distances }
    }

    /// The value in one plane: along one axis after the other, the last first.
    fn value(&self, mode: GridMode, plane: &[f32], values: &mut Vec<f32>) -> f32 {
        if self.nan {
            return f32::NAN;
        }
        values.clear();
        values.extend(self.at.iter().map(|at| at.and_then(|at| plane.get(at)).copied().unwrap_or(0.0)));
        for t in self.distances.iter().rev() {
            let next = match mode {
                GridMode::Nearest => break,
                GridMode::Linear => join::<2>(values, |[a, b]| fma(*t, b - a, *a)),
                GridMode::Cubic => {
                    let weights = cubic(SLOPE, *t);
                    let add = |y, (w, v): (&f32, &f32)| if *w == 0.0 { y } else { fma(*w, *v, y) };
                    join::<4>(values, |four| weights.iter().zip(four).fold(0.0, add))
                }
            };
            *values = next;
        }
        values.first().copied().unwrap_or(0.0)
    }
}

fn join<const N: usize>(values: &[f32], f: impl Fn(&[f32; N]) -> f32) -> Vec<f32> {
    values.as_chunks::<N>().0.iter().map(f).collect()
}

/// The first and the last coordinate of the image along an axis of `n` elements.
fn borders(g: &GridSample, n: usize) -> (f32, f32) {
    if g.align_corners { (0.0, n as f32 - 1.0) } else { (-0.5, n as f32 - 0.5) }
}

/// The element below a place along an axis, or the nearest, and how far the place lies behind it.
fn below(g: &GridSample, v: f32, n: usize) -> (i64, f32) {
    let size = n as f32;
    let c = match g.align_corners {
        true => (v + 1.0) / 2.0 * (size - 1.0),
        false => ((v + 1.0) * size - 1.0) / 2.0,
    };
    let c = c.clamp(-FAR, FAR);
    let c = if g.mode == GridMode::Nearest { c.round_ties_even() } else { c };
    let (first, last) = borders(g, n);
    let c = match g.padding {
        _ if first <= c && c <= last => c,
        // As PyTorch and ONNX Runtime have it: of four elements those that lie outside are limited, each on its own.
        _ if g.mode == GridMode::Cubic => c,
        GridPadding::Zeros => c,
        GridPadding::Border => c.max(0.0).min(size - 1.0),
        GridPadding::Reflection => reflect(c, first, last),
    };
    match g.mode {
        GridMode::Nearest => (c as i64, 0.0),
        GridMode::Linear | GridMode::Cubic => (c.floor() as i64, c - c.floor()),
    }
}

/// The element at index `i` of an axis, which may lie outside.
fn element(g: &GridSample, i: i64, n: usize) -> Option<usize> {
    let last = n as i64 - 1;
    let (first_border, last_border) = borders(g, n);
    match g.padding {
        _ if (0..=last).contains(&i) => usize::try_from(i).ok(),
        GridPadding::Zeros => None,
        GridPadding::Border => usize::try_from(i.clamp(0, last.max(0))).ok(),
        GridPadding::Reflection => {
            let at = reflect(i as f32, first_border, last_border) as i64;
            usize::try_from(at.clamp(0, last.max(0))).ok()
        }
    }
}

/// A coordinate mirrored at the borders until it lies between them.
fn reflect(c: f32, first: f32, last: f32) -> f32 {
    let range = last - first;
    if range <= 0.0 {
        return first;
    }
    let (from, to, over) = match c < first {
        true => (first, last, first - c),
        false if c > last => (last, first, c - last),
        false => return c,
    };
    let times = (over / range).floor();
    let rest = over - times * range;
    let inwards = if from < to { rest } else { -rest };
    if times % 2.0 == 0.0 { from + inwards } else { to - inwards }
}
