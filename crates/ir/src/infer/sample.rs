//! Inference of operators that sample images between their pixels.

use super::dims::{product, symbol};
use super::elementwise::{float, keep_quant, may_equal};
use super::movement::check_fill;
use crate::op::{Coordinates, NonMaxSuppression, Resize, ResizeMode, RoiAlign};
use crate::{DType, Dim, Error, Result, Shape, Type};

pub fn resize(r: &Resize, x: &Type) -> Result<Type> {
    check_sampling(r, x)?;
    let dims = resized(r, x)?;
    let empty = |(from, to): (&Dim, &Dim)| from.known() == Some(0) && to.known() != Some(0);
    if x.shape.0.iter().zip(&dims).any(empty) {
        return Err(Error::new(format!("an empty axis of {x} cannot be resampled")));
    }
    let same: Vec<bool> = (0..dims.len()).map(|a| x.shape.0.get(a) == dims.get(a) && !moves(r, a)).collect();
    keep_quant(x, Shape(dims), |a| (same.get(a) == Some(&true)).then_some(a))
}

/// Whether an axis whose size stays is resampled all the same.
fn moves(r: &Resize, axis: usize) -> bool {
    let cropped = match &r.coordinates {
        Coordinates::Crop(c) => c.begins.get(axis) != Some(&0.0) || c.ends.get(axis) != Some(&1.0),
        _ => false,
    };
    cropped || r.scales.get(axis).is_some_and(|s| *s != 1.0)
}

/// The choices of a resampling, but for its sizes.
fn check_sampling(r: &Resize, x: &Type) -> Result<()> {
    let interpolates = !matches!(r.mode, ResizeMode::Nearest(_));
    if interpolates && !x.dtype.is_float() {
        return Err(Error::new(format!("expected floats for linear and cubic resampling, found {x}"))
            .hint("put a Dequantize before it, or sample the nearest element"));
    }
    if x.dtype == DType::Bool {
        return Err(Error::new(format!("expected numbers, found {x}")));
    }
    if r.antialias && !interpolates {
        return Err(Error::new("expected linear or cubic resampling for antialias, found nearest"));
    }
    if let ResizeMode::Cubic { a } = r.mode
        && !a.is_finite()
    {
        return Err(Error::new(format!("expected a finite cubic coefficient, found {a}")));
    }
    let Coordinates::Crop(crop) = &r.coordinates else { return Ok(()) };
    let rank = x.shape.rank();
    let finite = crop.begins.iter().chain(&crop.ends).all(|b| b.is_finite());
    if crop.begins.len() != rank || crop.ends.len() != rank || !finite {
        return Err(Error::new(format!(
            "expected {rank} finite begins and ends of the part to sample of {x}, found {:?} and {:?}",
            crop.begins, crop.ends
        )));
    }
    check_fill(crop.outside, x)
}

/// The sizes after resampling.
fn resized(r: &Resize, x: &Type) -> Result<Vec<Dim>> {
    let rank = x.shape.rank();
    let listed =
        [r.sizes.as_ref().map(Vec::len), (r.sizes.is_none() || !r.scales.is_empty()).then_some(r.scales.len())];
    if let Some(found) = listed.into_iter().flatten().find(|n| *n != rank) {
        return Err(Error::new(format!("expected {rank} scales or sizes for {x}, found {found}")));
    }
    if let Some(scale) = r.scales.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
        return Err(Error::new(format!("expected scales above 0, found {scale}")));
    }
    let Some(sizes) = &r.sizes else {
        return x.shape.0.iter().zip(&r.scales).map(|(dim, scale)| scaled(dim, *scale)).collect();
    };
    for ((dim, size), scale) in x.shape.0.iter().zip(sizes).zip(&r.scales) {
        // The scale of one is rounded to the other in some way: by a scale far off there were no end of taps.
        if let Dim::Known(n) = dim
            && (*n as f32 * scale - *size as f32).abs() > 1.0
        {
            return Err(Error::new(format!("expected a scale from {n} to {size} elements, found {scale}")));
        }
    }
    Ok(sizes.iter().map(|s| Dim::Known(*s)).collect())
}

fn scaled(dim: &Dim, scale: f32) -> Result<Dim> {
    Ok(match dim {
        _ if scale == 1.0 => dim.clone(),
        // The product in f32, as ONNX Runtime takes it; the cast saturates, and counting refuses the result.
        Dim::Known(n) => Dim::Known((*n as f32 * scale).floor() as usize),
        Dim::Symbol(_) if scale.fract() == 0.0 && scale < 1e9 => product(&[dim.clone(), Dim::Known(scale as usize)])?,
        Dim::Symbol(name) => symbol(format!("floor({name}*{scale:?})")),
    })
}

/// The one of two dimensions that are the same which is known.
fn either<'a>(a: &'a Dim, b: &'a Dim) -> &'a Dim {
    if a.known().is_some() { a } else { b }
}

pub fn grid_sample(x: &Type, grid: &Type) -> Result<Type> {
    let (x, grid) = (float("image", x)?, float("grid", grid)?);
    let unfit = || {
        Error::new(format!(
            "expected an image [n, c, 1 to 3 axes] and a grid [n, an axis for each of them, as many numbers], found {x} and {grid}"
        ))
    };
    let ([n, c, image @ ..], [batch, out @ .., last]) = (x.shape.0.as_slice(), grid.shape.0.as_slice()) else {
        return Err(unfit());
    };
    let fits = (1..=3).contains(&image.len())
        && out.len() == image.len()
        && may_equal(n, batch)
        && may_equal(last, &Dim::Known(image.len()));
    if !fits {
        return Err(unfit());
    }
    if image.iter().any(|d| d.known() == Some(0)) {
        return Err(Error::new(format!("an empty image cannot be sampled, found {x}")));
    }
    let dims = [either(n, batch), c].into_iter().chain(out).cloned();
    Ok(x.with_shape(Shape(dims.collect())))
}

pub fn roi_align(r: &RoiAlign, x: &Type, rois: &Type, batch: &Type) -> Result<Type> {
    let (x, rois) = (float("image", x)?, float("rectangles", rois)?);
    let ([_, c, h, w], [rows, four], [of_batch]) =
        (x.shape.0.as_slice(), rois.shape.0.as_slice(), batch.shape.0.as_slice())
    else {
        return Err(Error::new(format!(
            "expected an image [n, c, h, w], rectangles [r, 4] and their places in the batch [r], found {x}, {rois} and {batch}"
        )));
    };
    let indices = matches!(batch.dtype, DType::I32 | DType::I64) && !batch.is_quantized();
    if !indices || !may_equal(rows, of_batch) || !may_equal(four, &Dim::Known(4)) {
        return Err(Error::new(format!(
            "expected rectangles [r, 4] and r integers of i32 or i64, found {rois} and {batch}"
        )));
    }
    if r.height == 0 || r.width == 0 || !r.scale.is_finite() {
        return Err(Error::new(format!(
            "expected at least one cell and a finite scale, found {} by {} and {}",
            r.height, r.width, r.scale
        )));
    }
    if [h, w].iter().any(|d| d.known() == Some(0)) {
        return Err(Error::new(format!("an empty image cannot be sampled, found {x}")));
    }
    let dims = vec![either(rows, of_batch).clone(), c.clone(), Dim::Known(r.height), Dim::Known(r.width)];
    Ok(x.with_shape(Shape(dims)))
}

/// As many rows as there can be; how many are filled is known only while running.
pub fn non_max_suppression(n: &NonMaxSuppression, boxes: &Type, scores: &Type) -> Result<Type> {
    let (boxes, scores) = (float("list of boxes", boxes)?, float("list of scores", scores)?);
    let unfit =
        || Error::new(format!("expected boxes [n, k, 4] and scores [n, classes, k], found {boxes} and {scores}"));
    let ([batch, k, four], [of_scores, classes, scored]) = (boxes.shape.0.as_slice(), scores.shape.0.as_slice()) else {
        return Err(unfit());
    };
    if !may_equal(batch, of_scores) || !may_equal(k, scored) || !may_equal(four, &Dim::Known(4)) {
        return Err(unfit());
    }
    if !(0.0..=1.0).contains(&n.iou) || n.score.is_some_and(f32::is_nan) {
        return Err(Error::new(format!(
            "expected an iou threshold of 0 to 1 and a score threshold that is a number, found {} and {:?}",
            n.iou, n.score
        )));
    }
    let kept = match either(k, scored) {
        _ if n.most == 0 => Dim::Known(0),
        Dim::Known(k) => Dim::Known(n.most.min(*k)),
        Dim::Symbol(k) => symbol(format!("min({k},{})", n.most)),
    };
    let rows = product(&[either(batch, of_scores).clone(), classes.clone(), kept])?;
    Ok(Type::plain(DType::I64, Shape(vec![rows, Dim::Known(3)])))
}
