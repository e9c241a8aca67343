//! Operators that sample images, as ONNX nodes.

use super::ops::integers;
use super::{AttributeProto, BASE_OPSET, Spelled, Writer, float, int, sizes, text};
use lowbit_ir::op::{Coordinates, GridMode, GridPadding, GridSample, Nearest, NonMaxSuppression};
use lowbit_ir::op::{Resize, ResizeMode, RoiAlign, RoiMode};
use lowbit_ir::{Dim, Error, Node, Result, Tensor};

/// The oldest opset with all of a resampling.
pub fn opset(r: &Resize) -> i64 {
    match r.coordinates {
        Coordinates::HalfPixelSymmetric => 19,
        _ if r.antialias || (r.sizes.is_some() && !r.scales.is_empty()) => 18,
        _ => BASE_OPSET,
    }
}

impl Writer<'_> {
    /// The attributes of a Resize; its operands beside the image are added to `x`.
    pub fn resize(&mut self, node: &Node, r: &Resize, x: &mut Vec<String>) -> Result<Vec<AttributeProto>> {
        let mut attributes = sampling(r);
        let fit = self.fit(node, r)?;
        let axes: Vec<usize> = fit.as_ref().map_or((0..rank(r)).collect(), |(axes, _)| axes.clone());
        x.push(match &r.coordinates {
            Coordinates::Crop(crop) => {
                attributes.push(float("extrapolation_value", crop.outside));
                let of = |list: &[f32]| axes.iter().filter_map(|a| list.get(*a).copied()).collect::<Vec<_>>();
                let roi = [of(&crop.begins), of(&crop.ends)].concat();
                self.constant(&format!("{}.roi", node.name), &Tensor::from_f32(&[roi.len()], roi)?)
            }
            _ => String::new(),
        });
        let to = match (&fit, &r.sizes) {
            (Some((axes, to)), _) => {
                attributes.extend([sizes("axes", axes), text("keep_aspect_ratio_policy", "not_larger")]);
                to
            }
            (None, Some(to)) => to,
            (None, None) => {
                let scales = Tensor::from_f32(&[r.scales.len()], r.scales.clone())?;
                x.push(self.constant(&format!("{}.scales", node.name), &scales));
                return Ok(attributes);
            }
        };
        x.push(String::new());
        let to = integers(&to.iter().map(|s| *s as i64).collect::<Vec<_>>())?;
        x.push(self.constant(&format!("{}.sizes", node.name), &to));
        Ok(attributes)
    }

    /// Axes, and sizes to ask for, of a resampling that has sizes and a scale of its own: ONNX has these where one scale
    /// takes one of the axes to its size, and the others to sizes that are rounded. `None` where sizes or scales do.
    fn fit(&self, node: &Node, r: &Resize) -> Result<Option<(Vec<usize>, Vec<usize>)>> {
        let Some(to) = r.sizes.as_ref().filter(|_| !r.scales.is_empty()) else { return Ok(None) };
        let from = node.input(0).map(|v| self.graph.ty(v).shape.clone()).unwrap_or_default();
        let ratio = |axis: usize| Some(*to.get(axis)? as f32 / from.0.get(axis).and_then(Dim::known)? as f32);
        let changed: Vec<usize> = (0..to.len()).filter(|a| ratio(*a) != r.scales.get(*a).copied()).collect();
        if changed.is_empty() {
            return Ok(None);
        }
        let refused = || {
            Error::new(format!("resampling to {to:?} by the scales {:?} has no form in ONNX", r.scales))
                .hint("sizes alone, or scales alone")
        };
        let scale = changed.first().and_then(|a| r.scales.get(*a)).ok_or_else(refused)?;
        let axes: Vec<usize> = (0..to.len()).filter(|a| r.scales.get(*a) == Some(scale)).collect();
        let given = axes.iter().find(|a| ratio(**a) == Some(*scale));
        if given.is_none() || changed.iter().any(|a| !axes.contains(a)) {
            return Err(refused());
        }
        // Of the others one more is asked for than there are, so that none of them is the least.
        let asked = |a: &usize| to.get(*a).map(|n| if changed.contains(a) { n + 1 } else { *n });
        Ok(Some((axes.clone(), axes.iter().filter_map(asked).collect())))
    }
}

impl Writer<'_> {
    /// A NonMaxSuppression, and behind it what adds rows of -1 until there are as many as the graph says.
    pub fn suppress(&mut self, node: &Node, n: &NonMaxSuppression, mut x: Vec<String>) -> Result<()> {
        let rows = node.outputs.first().map(|v| self.graph.ty(*v).shape.clone()).and_then(|s| s.0.first()?.known());
        let rows = rows.and_then(|rows| i64::try_from(rows).ok()).ok_or_else(|| {
            Error::new("the number of rows is open, and files must say it")
                .hint("bind the open dimensions of the inputs before exporting")
        })?;
        let name = |suffix: &str| format!("{}.{suffix}", node.name);
        x.push(self.constant(&name("most"), &integers(&[i64::try_from(n.most).unwrap_or(i64::MAX)])?));
        x.push(self.constant(&name("iou"), &Tensor::from_f32(&[1], vec![n.iou])?));
        if let Some(score) = n.score {
            x.push(self.constant(&name("score"), &Tensor::from_f32(&[1], vec![score])?));
        }
        let attributes = vec![int("center_point_box", i64::from(n.center))];
        let mut s = Spelled { name: node.name.clone(), op: "NonMaxSuppression", inputs: Vec::new(), steps: Vec::new() };
        let found = self.step(&mut s, "found", "NonMaxSuppression", x, attributes);
        let shape = self.step(&mut s, "shape", "Shape", vec![found.clone()], Vec::new());
        let all = self.constant(&name("all"), &integers(&[rows, 3])?);
        let missing = self.step(&mut s, "missing", "Sub", vec![all, shape], Vec::new());
        let none = self.constant(&name("none"), &integers(&[0, 0])?);
        let pads = self.step(&mut s, "pads", "Concat", vec![none, missing], vec![int("axis", 0)]);
        let unused = self.constant(&name("unused"), &Tensor::from_i64(&[], vec![-1])?);
        self.write(node, "Pad", vec![found, pads, unused], vec![text("mode", "constant")]);
        Ok(())
    }
}

/// The oldest opset with a sampling of images of this rank.
pub fn grid_opset(g: &GridSample, rank: usize) -> i64 {
    // More axes came with opset 20, and there the modes got their names.
    if rank == 4 && g.mode != GridMode::Cubic { 16 } else { 20 }
}

/// The attributes of a GridSample.
pub fn grid(g: &GridSample, opset: i64) -> Vec<AttributeProto> {
    let mode = match g.mode {
        GridMode::Linear if opset < 20 => "bilinear",
        GridMode::Linear => "linear",
        GridMode::Nearest => "nearest",
        GridMode::Cubic => "cubic",
    };
    let padding = match g.padding {
        GridPadding::Zeros => "zeros",
        GridPadding::Border => "border",
        GridPadding::Reflection => "reflection",
    };
    vec![text("mode", mode), text("padding_mode", padding), int("align_corners", i64::from(g.align_corners))]
}

/// The attributes of a RoiAlign.
pub fn roi(r: &RoiAlign) -> Vec<AttributeProto> {
    vec![
        text("mode", if r.mode == RoiMode::Avg { "avg" } else { "max" }),
        text("coordinate_transformation_mode", if r.half_pixel { "half_pixel" } else { "output_half_pixel" }),
        size("output_height", r.height),
        size("output_width", r.width),
        size("sampling_ratio", r.sampling),
        float("spatial_scale", r.scale),
    ]
}

fn size(name: &str, n: usize) -> AttributeProto {
    int(name, i64::try_from(n).unwrap_or(i64::MAX))
}

fn rank(r: &Resize) -> usize {
    r.sizes.as_ref().map_or(r.scales.len(), Vec::len)
}

/// The attributes that say how samples are taken.
fn sampling(r: &Resize) -> Vec<AttributeProto> {
    let coordinates = match r.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
        Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        Coordinates::Crop(_) => "tf_crop_and_resize",
    };
    let mut all = vec![text("coordinate_transformation_mode", coordinates)];
    match r.mode {
        ResizeMode::Linear => all.push(text("mode", "linear")),
        ResizeMode::Cubic { a } => all.extend([text("mode", "cubic"), float("cubic_coeff_a", a)]),
        ResizeMode::Nearest(nearest) => {
            let nearest = match nearest {
                Nearest::RoundPreferFloor => "round_prefer_floor",
                Nearest::RoundPreferCeil => "round_prefer_ceil",
                Nearest::Floor => "floor",
                Nearest::Ceil => "ceil",
            };
            all.extend([text("mode", "nearest"), text("nearest_mode", nearest)]);
        }
    }
    all.extend(r.antialias.then(|| int("antialias", 1)));
    all.extend(r.exclude_outside.then(|| int("exclude_outside", 1)));
    all
}
