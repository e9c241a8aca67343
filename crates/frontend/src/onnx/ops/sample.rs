//! Images sampled at computed places, and the choice among boxes.

use crate::build::remarks::Remark;
use crate::onnx::node::Site;
use lowbit_ir::op::{GridMode, GridPadding, GridSample, NonMaxSuppression, RoiAlign, RoiMode};
use lowbit_ir::{Error, Op, Result, bail};

/// GridSample; its modes have other names since opset 20.
pub fn grid_sample(site: &mut Site<'_>) -> Result<()> {
    let mode = match site.text("mode", "linear")?.as_str() {
        "linear" | "bilinear" => GridMode::Linear,
        "nearest" => GridMode::Nearest,
        "cubic" | "bicubic" => GridMode::Cubic,
        other => bail!("expected mode linear, nearest or cubic, found '{other}'"),
    };
    let padding = match site.text("padding_mode", "zeros")?.as_str() {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        other => bail!("expected padding_mode zeros, border or reflection, found '{other}'"),
    };
    let align_corners = site.flag("align_corners", false)?;
    let (x, grid) = (site.input(0)?, site.input(1)?);
    site.finish(Op::GridSample(GridSample { mode, padding, align_corners }), &[&x, &grid])
}

/// RoiAlign: before opset 16 rectangles were of centers of elements.
pub fn roi_align(site: &mut Site<'_>) -> Result<()> {
    let mode = match site.text("mode", "avg")?.as_str() {
        "avg" => RoiMode::Avg,
        "max" => RoiMode::Max,
        other => bail!("expected mode avg or max, found '{other}'"),
    };
    let usual = if site.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match site.text("coordinate_transformation_mode", usual)?.as_str() {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            bail!("expected coordinate_transformation_mode half_pixel or output_half_pixel, found '{other}'")
        }
    };
    let mut size = |name, usual| -> Result<usize> {
        let given = site.int(name)?.unwrap_or(usual);
        usize::try_from(given).map_err(|_| Error::new(format!("expected '{name}' of at least 0, found {given}")))
    };
    let (height, width) = (size("output_height", 1)?, size("output_width", 1)?);
    let sampling = size("sampling_ratio", 0)?;
    let scale = site.float("spatial_scale", 1.0)?;
    let (x, rois, batch) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let op = Op::RoiAlign(RoiAlign { mode, height, width, sampling, scale, half_pixel });
    site.finish(op, &[&x, &rois, &batch])
}

/// NonMaxSuppression. How many rows a file's has is known only while running; here it has as many as there can be.
pub fn non_max_suppression(site: &mut Site<'_>) -> Result<()> {
    let center = site.flag("center_point_box", false)?;
    let most = site.known_ints(2, "limit of boxes of a class")?.unwrap_or_default();
    let iou = site.known_floats(3, "iou threshold")?.unwrap_or_default();
    let score = site.known_floats(4, "score threshold")?.unwrap_or_default();
    if most.len() > 1 || iou.len() > 1 || score.len() > 1 {
        bail!("expected one limit and one of each threshold, found {most:?}, {iou:?} and {score:?}");
    }
    // A negative limit is none of any boxes, as one that is left out.
    let most = most.first().and_then(|most| usize::try_from(*most).ok()).unwrap_or(0);
    let iou = iou.first().copied().unwrap_or(0.0);
    let op = NonMaxSuppression { most, iou, score: score.first().copied(), center };
    let (boxes, scores) = (site.input(0)?, site.input(1)?);
    site.finish(Op::NonMaxSuppression(op), &[&boxes, &scores])?;
    let value = site.first_output().to_string();
    let rows = site.shape(&site.builder.find(&value)?).0.first().map(ToString::to_string).unwrap_or_default();
    site.builder.remarks.push(Remark::Rows { value, rows });
    Ok(())
}
