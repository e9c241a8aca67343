//! Resampling: axes one after the other, the last first; an axis of scale 1 and unchanged size is left alone.
//!
//! Coordinates are computed in f32, one operation at a time in the order of ONNX Runtime's formulas.

use super::movement::{fill, whole};
use super::positions::{OUTSIDE, pick, positions};
use crate::op::{Coordinates, Nearest, Resize, ResizeMode};
use crate::{Result, Tensor, Type};
use lowbit_arithmetic::fma;

pub fn resize(r: &Resize, x: &Tensor, ty: Type) -> Result<Tensor> {
    let dims = ty.shape.require()?;
    let axes = sampled(r, x.dims(), &dims);
    if let ResizeMode::Nearest(rounding) = r.mode {
        return nearest(r, rounding, &axes, x, ty);
    }
    let mut data = x.floats()?.into_owned();
    let mut now = x.dims().to_vec();
    for (axis, sampled) in axes.iter().enumerate().rev() {
        let Some(sampled) = sampled else { continue };
        data = match r.mode {
            ResizeMode::Linear if !r.antialias => interpolate(&data, &now, axis, &sampled.coordinates),
            _ => convolve(&data, &now, axis, sampled, r),
        };
        if let Some(n) = now.get_mut(axis) {
            *n = sampled.coordinates.len();
        }
    }
    if let Coordinates::Crop(crop) = &r.coordinates {
        let tables: Vec<Vec<usize>> = axes.iter().zip(&dims).map(|(axis, n)| outside(axis.as_ref(), *n)).collect();
        let beyond = positions(&tables);
        data.iter_mut().zip(beyond).filter(|(_, at)| *at == OUTSIDE).for_each(|(y, _)| *y = crop.outside);
    }
    Tensor::from_floats(ty, data)
}

/// The most elements that there are between two axes.
pub fn most_between(r: &Resize, from: &[usize], to: &[usize]) -> usize {
    if matches!(r.mode, ResizeMode::Nearest(_)) {
        return 0;
    }
    let mut now = from.to_vec();
    let mut most = 0;
    for (now_at, to) in (0..now.len()).rev().zip(to.iter().rev()) {
        if let Some(n) = now.get_mut(now_at) {
            *n = *to;
        }
        most = most.max(now.iter().copied().fold(1, usize::saturating_mul));
    }
    most
}

/// Where the output positions of one axis lie in its input.
struct Sampled {
    /// Elements of the input.
    input: usize,
    scale: f32,
    /// Before limiting them to the input.
    coordinates: Vec<f32>,
}

/// Every axis that is resampled.
fn sampled(r: &Resize, from: &[usize], to: &[usize]) -> Vec<Option<Sampled>> {
    let axis = |(axis, (input, output)): (usize, (&usize, &usize))| {
        let scale = r.scales.get(axis).copied().unwrap_or(*output as f32 / *input as f32);
        let cropped = match &r.coordinates {
            Coordinates::Crop(c) => c.begins.get(axis) != Some(&0.0) || c.ends.get(axis) != Some(&1.0),
            _ => false,
        };
        let untouched = scale == 1.0 && input == output && !cropped;
        let place = |i| coordinate(&r.coordinates, axis, i, scale, *input, *output);
        (!untouched).then(|| Sampled { input: *input, scale, coordinates: (0..*output).map(place).collect() })
    };
    from.iter().zip(to).enumerate().map(axis).collect()
}

/// Where output index `i` of an axis lies in the input, before limiting.
fn coordinate(c: &Coordinates, axis: usize, i: usize, scale: f32, input: usize, output: usize) -> f32 {
    let (at, n, m) = (i as f32, input as f32, output as f32);
    match c {
        Coordinates::HalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel if output <= 1 => 0.0,
        Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if output <= 1 => 0.0,
        Coordinates::AlignCorners => at * (n - 1.0) / (m - 1.0),
        Coordinates::Asymmetric => at / scale,
        Coordinates::HalfPixelSymmetric => {
            let adjustment = m / (scale * n);
            let offset = n / 2.0 * (1.0 - adjustment);
            offset + (at + 0.5) / scale - 0.5
        }
        Coordinates::Crop(crop) => {
            let (begin, end) = crop.begins.get(axis).copied().zip(crop.ends.get(axis).copied()).unwrap_or((0.0, 1.0));
            match output <= 1 {
                true => 0.5 * (begin + end) * (n - 1.0),
                false => begin * (n - 1.0) + at * (end - begin) * (n - 1.0) / (m - 1.0),
            }
        }
    }
}

/// 0 for every output position of an axis, and [`OUTSIDE`] where a crop leaves the input there.
fn outside(axis: Option<&Sampled>, n: usize) -> Vec<usize> {
    match axis {
        Some(axis) => axis.coordinates.iter().map(|c| if is_outside(*c, axis.input) { OUTSIDE } else { 0 }).collect(),
        None => vec![0; n],
    }
}

fn is_outside(c: f32, n: usize) -> bool {
    c < 0.0 || c > n as f32 - 1.0
}

fn nearest(r: &Resize, rounding: Nearest, axes: &[Option<Sampled>], x: &Tensor, ty: Type) -> Result<Tensor> {
    let crop = match &r.coordinates {
        Coordinates::Crop(crop) => Some(crop),
        _ => None,
    };
    let mut tables = whole(x.dims());
    for (table, sampled) in tables.iter_mut().zip(axes) {
        let Some(sampled) = sampled else { continue };
        let place = |c: &f32| match crop.is_some() && is_outside(*c, sampled.input) {
            true => Some(OUTSIDE),
            false => table.get(nearest_to(rounding, *c, sampled.input)).copied(),
        };
        *table = sampled.coordinates.iter().filter_map(place).collect();
    }
    let fill = crop.map(|crop| fill(crop.outside, &ty)).transpose()?;
    pick(x, ty, &positions(&tables), fill.as_ref())
}

/// For every axis of a resampled value the positions of the input that its indices take, where the nearest are taken.
pub fn nearest_positions(r: &Resize, rounding: Nearest, from: &[usize], to: &[usize]) -> Vec<Vec<usize>> {
    let axis = |(sampled, n): (Option<Sampled>, &usize)| match sampled {
        Some(sampled) => sampled.coordinates.iter().map(|c| nearest_to(rounding, *c, *n)).collect(),
        None => (0..*n).collect(),
    };
    sampled(r, from, to).into_iter().zip(from).map(axis).collect()
}

fn nearest_to(rounding: Nearest, at: f32, n: usize) -> usize {
    let whole = match rounding {
        Nearest::RoundPreferFloor => (at - 0.5).ceil(),
        Nearest::RoundPreferCeil => (at + 0.5).floor(),
        Nearest::Floor => at.floor(),
        Nearest::Ceil => at.ceil(),
    };
    // The cast saturates at 0.
    (whole as usize).min(n.saturating_sub(1))
}

/// Linear: with t the distance from the lower neighbour a to the upper one b, fma(t, b - a, a).
fn interpolate(x: &[f32], dims: &[usize], axis: usize, coordinates: &[f32]) -> Vec<f32> {
    let n = dims.get(axis).copied().unwrap_or(1);
    let inner: usize = dims.iter().skip(axis + 1).product();
    let last = n.saturating_sub(1);
    let mut y = Vec::with_capacity(x.len() / n.max(1) * coordinates.len());
    for block in x.chunks_exact((n * inner).max(1)) {
        for c in coordinates {
            let c = c.max(0.0).min(last as f32);
            let low = c.floor();
            let (t, low) = (c - low, low as usize);
            let high = (low + 1).min(last);
            let row = |i: usize| block.get(i * inner..(i + 1) * inner).unwrap_or_default();
            y.extend(row(low).iter().zip(row(high)).map(|(a, b)| fma(t, b - a, *a)));
        }
    }
    y
}

/// Cubic, or filtered: weighted sums of several elements.
fn convolve(x: &[f32], dims: &[usize], axis: usize, sampled: &Sampled, r: &Resize) -> Vec<f32> {
    let (n, outputs) = (sampled.input, sampled.coordinates.len());
    let inner: usize = dims.iter().skip(axis + 1).product();
    let outer: usize = dims.iter().take(axis).product();
    let mut y = vec![0.0; outer * outputs * inner];
    for (j, c) in sampled.coordinates.iter().enumerate() {
        let taps = taps(r, *c, sampled.scale, n);
        for o in 0..outer {
            let start = (o * outputs + j) * inner;
            let row = y.get_mut(start..start + inner).unwrap_or_default();
            for (at, weight) in &taps {
                let start = (o * n + at) * inner;
                let from = x.get(start..start + inner).unwrap_or_default();
                row.iter_mut().zip(from).for_each(|(y, x)| *y = fma(*weight, *x, *y));
            }
        }
    }
    y
}

/// The elements that a coordinate is computed of, in ascending order, and their weights, none of which is 0.
fn taps(r: &Resize, c: f32, scale: f32, n: usize) -> Vec<(usize, f32)> {
    let (low, t) = (c.floor(), c - c.floor());
    let low = low as i64;
    let mut weights: Vec<(i64, f32)> = match r.mode {
        ResizeMode::Cubic { a } if !r.antialias => (-1..).zip(cubic(a, t)).collect(),
        mode => filtered(mode, scale.min(1.0), t),
    };
    weights.iter_mut().for_each(|(at, _)| *at = at.saturating_add(low));
    let last = n as i64 - 1;
    if r.exclude_outside {
        weights.retain(|(at, _)| (0..=last).contains(at));
    }
    if r.exclude_outside || r.antialias {
        let sum = weights.iter().fold(0.0, |sum, (_, w)| sum + w);
        weights.iter_mut().for_each(|(_, w)| *w /= sum);
    }
    let limited = |(at, w): (i64, f32)| (w != 0.0).then(|| (at.clamp(0, last.max(0)) as usize, w));
    weights.into_iter().filter_map(limited).collect()
}

/// The weights of the four elements around a place that lies t behind the second.
pub fn cubic(a: f32, t: f32) -> [f32; 4] {
    let near = |t: f32| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    let far = |t: f32| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
    [far(t + 1.0), near(t), near(1.0 - t), far(1.0 - t + 1.0)]
}

/// The weights of a filter that is as wide as the axis shrinks, by the distance from the element below a place.
fn filtered(mode: ResizeMode, scale: f32, t: f32) -> Vec<(i64, f32)> {
    let reach = if matches!(mode, ResizeMode::Cubic { .. }) { 2.0 } else { 1.0 };
    let first = (-reach / scale).floor() as i64 + 1;
    let weight = |k: i64| {
        let u = ((k as f32 - t) * scale).abs();
        match mode {
            ResizeMode::Cubic { a } if u <= 1.0 => (a + 2.0) * (u * (u * u)) - (a + 3.0) * (u * u) + 1.0,
            ResizeMode::Cubic { a } if u < 2.0 => a * (u * (u * u)) - 5.0 * a * (u * u) + 8.0 * a * u - 4.0 * a,
            ResizeMode::Cubic { .. } => 0.0,
            _ => (1.0 - u).max(0.0),
        }
    };
    (first..=1 - first).map(|k| (k, weight(k))).collect()
}
