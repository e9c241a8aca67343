//! Images sampled between their pixels, and the choice among boxes.

use super::{Build, Case, Random, both_layouts};
use lowbit_ir::op::{
    Coordinates, Crop, GridMode, GridPadding, GridSample, Nearest, NonMaxSuppression, Resize, ResizeMode, RoiAlign,
    RoiMode,
};
use lowbit_ir::{Op, Tensor};

/// Resampling by weighted sums, and of a part of the image.
pub fn resizes(out: &mut Vec<Case>) {
    let r = &mut Random(9700 << 32);
    let mut b = Build::new("sampled.resize");
    let x = r.floats(&[2, 3, 5, 6]);
    let xs = both_layouts(&mut b, x);
    let crop = Crop { begins: vec![0.0, 0.0, 0.25, -0.3], ends: vec![1.0, 1.0, 0.75, 1.1], outside: 0.5 };
    let (cubic, nearest) = (ResizeMode::Cubic { a: -0.75 }, ResizeMode::Nearest(Nearest::Floor));
    let mut outputs = Vec::new();
    for (mode, antialias, exclude_outside) in [
        (cubic, false, false),
        (cubic, false, true),
        (cubic, true, true),
        (cubic, true, false),
        (ResizeMode::Linear, true, false),
        (ResizeMode::Linear, false, false),
        (nearest, false, false),
    ] {
        for coordinates in [Coordinates::HalfPixel, Coordinates::HalfPixelSymmetric, Coordinates::Crop(crop.clone())] {
            for scales in [vec![1.0, 1.0, 0.4, 1.7], vec![1.0, 1.0, 2.0, 0.5]] {
                let (x, name) = (xs[outputs.len() % 2], format!("y{}", outputs.len()));
                let coordinates = coordinates.clone();
                let resize = Resize { scales, sizes: None, mode, coordinates, antialias, exclude_outside };
                outputs.push(b.op(&name, Op::Resize(resize), &[x]));
            }
        }
    }
    out.push(b.case(&outputs));
}

/// Grids over images of two and three axes, with places outside of them.
pub fn grids(out: &mut Vec<Case>) {
    let r = &mut Random(9800 << 32);
    let mut b = Build::new("sampled.grid");
    let (image, places) = (r.floats(&[2, 3, 4, 5]), r.floats(&[2, 3, 6, 2]));
    let (solid, inside) = (r.floats(&[1, 2, 3, 4, 2]), r.floats(&[1, 2, 2, 5, 3]));
    let (images, places) = (both_layouts(&mut b, image), b.input(places));
    let (solid, inside) = (b.input(solid), b.input(inside));
    let mut outputs = Vec::new();
    for mode in [GridMode::Linear, GridMode::Nearest, GridMode::Cubic] {
        for padding in [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection] {
            for align_corners in [false, true] {
                let op = Op::GridSample(GridSample { mode, padding, align_corners });
                let (x, name) = (images[outputs.len() / 2 % 2], outputs.len());
                outputs.push(b.op(&format!("plane{name}"), op.clone(), &[x, places]));
                outputs.push(b.op(&format!("solid{name}"), op, &[solid, inside]));
            }
        }
    }
    out.push(b.case(&outputs));
}

/// Rectangles, and boxes that overlap.
pub fn boxes(out: &mut Vec<Case>) {
    let r = &mut Random(9900 << 32);
    let mut b = Build::new("sampled.boxes");
    let x = r.floats(&[2, 3, 7, 8]);
    let images = both_layouts(&mut b, x);
    let corners = (0..20).map(|i| r.below(9) as f32 + if i % 4 < 2 { -1.5 } else { 4.25 }).collect();
    let rois = b.input(Tensor::from_f32(&[5, 4], corners).unwrap());
    let batch = b.input(Tensor::from_i64(&[5], vec![0, 1, 1, 0, 1]).unwrap());
    let mut outputs = Vec::new();
    for mode in [RoiMode::Avg, RoiMode::Max] {
        for (sampling, half_pixel) in [(0, false), (2, true), (0, true)] {
            let align = RoiAlign { mode, height: 2, width: 3, sampling, scale: 0.75, half_pixel };
            let (x, name) = (images[outputs.len() % 2], format!("cells{}", outputs.len()));
            outputs.push(b.op(&name, Op::RoiAlign(align), &[x, rois, batch]));
        }
    }
    let (centers, scores) = (r.floats(&[2, 12, 4]), r.floats(&[2, 3, 12]));
    let (boxes, scores) = (b.input(centers), b.input(scores));
    for (most, score, center) in [(4, None, false), (40, Some(0.1), false), (3, Some(-0.5), true)] {
        let choice = NonMaxSuppression { most, iou: 0.25, score, center };
        let name = format!("kept{}", outputs.len());
        outputs.push(b.op(&name, Op::NonMaxSuppression(choice), &[boxes, scores]));
    }
    out.push(b.case(&outputs));
}
