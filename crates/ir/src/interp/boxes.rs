//! Rectangles of images, and the choice among boxes.

use super::elementwise::binary_f32;
use crate::op::{Binary, NonMaxSuppression, RoiAlign, RoiMode};
use crate::{Error, Result, Tensor, Type};
use std::cmp::Ordering;

/// Most samples of one cell, and of all: rectangles are data, and could ask for any number.
const MOST_OF_A_CELL: f32 = (1u32 << 20) as f32;
const MOST_SAMPLES: f32 = (1u32 << 28) as f32;

pub fn roi_align(r: &RoiAlign, x: &Tensor, rois: &Tensor, batch: &Tensor, ty: Type) -> Result<Tensor> {
    let [images, channels, height, width] = <[usize; 4]>::try_from(x.dims())
        .map_err(|_| Error::new(format!("expected an image [n, c, h, w], found {}", x.ty())))?;
    let (data, rois) = (x.floats()?, rois.floats()?);
    let (plane, cells) = (height * width, r.height * r.width);
    let mut y = vec![0.0; ty.shape.count().unwrap_or(0)];
    let (mut samples, mut spent) = (Vec::new(), 0.0);
    for (i, (roi, image)) in rois.as_chunks::<4>().0.iter().zip(batch.ints()?).enumerate() {
        let Some(image) = usize::try_from(image).ok().filter(|image| *image < images) else {
            return Err(Error::new(format!(
                "expected rectangles of the {images} images of {}, found image {image} for rectangle {i}",
                x.ty()
            )));
        };
        let [x_axis, y_axis] = axes(r, roi);
        spent += x_axis.count * y_axis.count * cells as f32;
        let (longest, of_a_cell) = (x_axis.count.max(y_axis.count), x_axis.count * y_axis.count);
        if longest > MOST_OF_A_CELL || of_a_cell > MOST_OF_A_CELL || spent > MOST_SAMPLES {
            return Err(Error::new(format!(
                "expected at most {MOST_OF_A_CELL} samples a cell and {MOST_SAMPLES} in all, found {} by {} for rectangle {i} {roi:?}",
                y_axis.count, x_axis.count
            ))
            .hint("a sampling_ratio above 0 takes as many samples of rectangles of any size"));
        }
        for cell in 0..cells {
            samples.clear();
            let (row, column) = (cell / r.width, cell % r.width);
            for v in y_axis.places(row) {
                samples.extend(x_axis.places(column).map(|u| Sample::new(v, u, height, width)));
            }
            for c in 0..channels {
                let start = (image * channels + c) * plane;
                let from = data.get(start..start + plane).unwrap_or_default();
                if let Some(y) = y.get_mut((i * channels + c) * cells + cell) {
                    *y = pooled(r.mode, &samples, from);
                }
            }
        }
    }
    Tensor::from_floats(ty, y)
}

/// One axis of a rectangle.
struct Axis {
    start: f32,
    /// Size of a cell.
    cell: f32,
    /// Samples of a cell, a whole number.
    count: f32,
}

impl Axis {
    /// The places of the samples of a cell.
    fn places(&self, cell: usize) -> impl Iterator<Item = f32> + '_ {
        let first = self.start + cell as f32 * self.cell;
        (0..self.count as usize).map(move |i| first + (i as f32 + 0.5) * self.cell / self.count)
    }
}

/// The second axis of the image, which a rectangle names first, and the first.
fn axes(r: &RoiAlign, roi: &[f32; 4]) -> [Axis; 2] {
    let offset = if r.half_pixel { 0.5 } else { 0.0 };
    let axis = |from: f32, to: f32, cells: usize| {
        let (start, end) = (from * r.scale - offset, to * r.scale - offset);
        let size = if r.half_pixel { end - start } else { (end - start).max(1.0) };
        let cell = size / cells as f32;
        let count = if r.sampling > 0 { r.sampling as f32 } else { cell.ceil().max(0.0) };
        Axis { start, cell, count }
    };
    let [x1, y1, x2, y2] = *roi;
    [axis(x1, x2, r.width), axis(y1, y2, r.height)]
}

/// One sample: four elements and their weights; all weights are 0 outside of the image.
struct Sample {
    at: [usize; 4],
    weights: [f32; 4],
}

impl Sample {
    fn new(v: f32, u: f32, height: usize, width: usize) -> Sample {
        if v < -1.0 || v > height as f32 || u < -1.0 || u > width as f32 {
            return Sample { at: [0; 4], weights: [0.0; 4] };
        }
        let ((top, bottom, down), (left, right, along)) = (between(v, height), between(u, width));
        let (up, back) = (1.0 - down, 1.0 - along);
        let at = [top * width + left, top * width + right, bottom * width + left, bottom * width + right];
        Sample { at, weights: [up * back, up * along, down * back, down * along] }
    }

    fn parts(&self, plane: &[f32]) -> [f32; 4] {
        let [a, b, c, d] = self.at.map(|at| plane.get(at).copied().unwrap_or(0.0));
        let [p, q, r, s] = self.weights;
        [p * a, q * b, r * c, s * d]
    }
}

/// The elements below and above a place along an axis, and how far it lies behind the first.
fn between(c: f32, n: usize) -> (usize, usize, f32) {
    let c = c.max(0.0);
    let low = c as usize;
    match low + 1 >= n {
        true => (n - 1, n - 1, 0.0),
        false => (low, low + 1, c - low as f32),
    }
}

fn pooled(mode: RoiMode, samples: &[Sample], plane: &[f32]) -> f32 {
    match mode {
        RoiMode::Avg => {
            let add = |sum: f32, sample: &Sample| {
                let [a, b, c, d] = sample.parts(plane);
                sum + (a + b + c + d)
            };
            samples.iter().fold(0.0, add) / samples.len().max(1) as f32
        }
        RoiMode::Max => {
            let largest = |a: f32, b: f32| binary_f32(Binary::Max, a, b);
            samples.iter().flat_map(|sample| sample.parts(plane)).reduce(largest).unwrap_or(0.0)
        }
    }
}

pub fn non_max_suppression(n: &NonMaxSuppression, boxes: &Tensor, scores: &Tensor, ty: Type) -> Result<Tensor> {
    let &[batches, classes, count] = scores.dims() else {
        return Err(Error::new(format!("expected scores [n, classes, boxes], found {}", scores.ty())));
    };
    let (all, scores) = (boxes.floats()?, scores.floats()?);
    let corners: Vec<Corners> = all.as_chunks::<4>().0.iter().map(|b| Corners::new(b, n.center)).collect();
    let mut rows = Vec::new();
    for (batch, class) in (0..batches).flat_map(|b| (0..classes).map(move |c| (b, c))) {
        let start = (batch * classes + class) * count;
        let of_class = scores.get(start..start + count).unwrap_or_default();
        let of_batch = corners.get(batch * count..(batch + 1) * count).unwrap_or_default();
        for kept in keep(n, of_batch, of_class) {
            rows.extend([batch as i64, class as i64, kept as i64]);
        }
    }
    rows.resize(ty.shape.count().unwrap_or(0), -1);
    Tensor::from_ints(ty, &rows)
}

/// The boxes of one class that are kept, the best first; of equal scores the first box is the better.
fn keep(n: &NonMaxSuppression, boxes: &[Corners], scores: &[f32]) -> Vec<usize> {
    let counts = |score: f32| !score.is_nan() && n.score.is_none_or(|least| score > least);
    let mut order: Vec<(usize, f32, &Corners)> =
        boxes.iter().zip(scores).enumerate().map(|(i, (b, s))| (i, *s, b)).filter(|(_, s, _)| counts(*s)).collect();
    order.sort_by(|(_, a, _), (_, b, _)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    let mut kept: Vec<(usize, &Corners)> = Vec::new();
    for (i, _, own) in order {
        if kept.len() >= n.most {
            break;
        }
        if !kept.iter().any(|(_, other)| own.overlaps(other, n.iou)) {
            kept.push((i, own));
        }
    }
    kept.into_iter().map(|(i, _)| i).collect()
}

/// A box by its least and greatest coordinates.
struct Corners {
    x: (f32, f32),
    y: (f32, f32),
}

impl Corners {
    fn new(&[a, b, c, d]: &[f32; 4], center: bool) -> Corners {
        let around = |at: f32, size: f32| (at - size / 2.0, at + size / 2.0);
        let ordered = |p: f32, q: f32| if p >= q { (q, p) } else { (p, q) };
        match center {
            true => Corners { x: around(a, c), y: around(b, d) },
            false => Corners { x: ordered(b, d), y: ordered(a, c) },
        }
    }

    fn area(&self) -> f32 {
        (self.x.1 - self.x.0) * (self.y.1 - self.y.0)
    }

    /// Whether what two boxes share is more of their union than a threshold.
    fn overlaps(&self, other: &Corners, threshold: f32) -> bool {
        let shared = |a: (f32, f32), b: (f32, f32)| a.1.min(b.1) - a.0.max(b.0);
        let (width, height) = (shared(self.x, other.x), shared(self.y, other.y));
        if !(width > 0.0 && height > 0.0) {
            return false;
        }
        let (both, own, others) = (width * height, self.area(), other.area());
        let union = own + others - both;
        both > 0.0 && own > 0.0 && others > 0.0 && union > 0.0 && both / union > threshold
    }
}
