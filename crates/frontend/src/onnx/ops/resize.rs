//! Resize and its older self, Upsample.

use crate::build::Item;
use crate::build::sizes::{Size, open_error};
use crate::onnx::node::Site;
use lowbit_ir::op::{Coordinates, Crop, Nearest, Resize, ResizeMode};
use lowbit_ir::{Dim, Error, Op, Result, Shape, bail};

/// Upsample: scales are an attribute in opset 7, two for the last axes in opset 1, and an operand from 9 on.
pub fn upsample(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let scales = match site.opset < 7 {
        true => {
            let (height, width) = (site.float("height_scale", 0.0)?, site.float("width_scale", 0.0)?);
            Some(vec![1.0, 1.0, height, width])
        }
        false => match site.floats("scales")? {
            Some(scales) => Some(scales),
            None => site.known_floats(1, "scales")?,
        },
    };
    let Some(scales) = scales else { bail!("expected 'scales', found none") };
    plain(site, &x, scales)
}

/// Resize. In opset 10 it was as Upsample.
pub fn resize(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    if site.opset < 11 {
        let Some(scales) = site.known_floats(1, "scales")? else { bail!("expected 'scales', found none") };
        return plain(site, &x, scales);
    }
    let mode = resize_mode(site)?;
    let antialias = site.flag("antialias", false)?;
    let shape = site.shape(&x);
    let axes = match site.ints("axes")? {
        Some(axes) => axes.into_iter().map(|a| shape.axis(a)).collect::<Result<Vec<_>>>()?,
        None => (0..shape.rank()).collect(),
    };
    let coordinates = coordinates(site, &axes, shape.rank())?;
    // Without a filter linear samples are of no more than two elements, of which one outside is as good as none.
    let exclude = site.flag("exclude_outside", false)?;
    let exclude_outside = exclude && (antialias || matches!(mode, ResizeMode::Cubic { .. }));
    let how = Resize { mode, coordinates, antialias, exclude_outside, ..Resize::default() };
    let policy = site.text("keep_aspect_ratio_policy", "stretch")?;
    let scales = site.known_floats(2, "scales")?.filter(|s| !s.is_empty());
    // An operand that is empty is one that is left out.
    let sizes = site.sizes(3, "sizes")?.map(|s| s.elements).filter(|s| !s.is_empty());
    if axes.is_empty() && scales.is_none() && sizes.is_none() {
        // Of a number without axes, scales are empty too.
        return site.finish(Op::Identity, &[&x]);
    }
    let resize = match (scales, sizes) {
        (Some(scales), None) => Resize { scales: spread(&axes, scales, vec![1.0; shape.rank()])?, ..how },
        (None, Some(sizes)) if policy == "stretch" => {
            let own: Vec<Size> = shape.0.iter().map(Size::from).collect();
            to_sizes(&shape, &spread(&axes, sizes, own)?, how)?
        }
        (None, Some(sizes)) => fitted(&shape, &axes, &sizes, &policy, how)?,
        _ => bail!("expected either scales or sizes"),
    };
    site.finish(Op::Resize(resize), &[&x])
}

fn resize_mode(site: &mut Site<'_>) -> Result<ResizeMode> {
    let mode = site.text("mode", "nearest")?;
    let nearest = match site.text("nearest_mode", "round_prefer_floor")?.as_str() {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => bail!("expected a nearest_mode of ONNX, found '{other}'"),
    };
    let a = site.float("cubic_coeff_a", -0.75)?;
    match mode.as_str() {
        "cubic" => Ok(ResizeMode::Cubic { a }),
        other => self::mode(other, nearest),
    }
}

/// How places are computed. The region of interest (operand 1), of `axes`, matters to one of them alone.
fn coordinates(site: &mut Site<'_>, axes: &[usize], rank: usize) -> Result<Coordinates> {
    let outside = site.float("extrapolation_value", 0.0)?;
    Ok(match site.text("coordinate_transformation_mode", "half_pixel")?.as_str() {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "tf_crop_and_resize" => {
            let Some(mut begins) = site.known_floats(1, "region of interest")? else {
                bail!("expected a region of interest for tf_crop_and_resize, found none")
            };
            if begins.len() != 2 * axes.len() {
                bail!("expected a region of interest of {} numbers, found {}", 2 * axes.len(), begins.len());
            }
            let ends = begins.split_off(axes.len());
            let (begins, ends) = (spread(axes, begins, vec![0.0; rank])?, spread(axes, ends, vec![1.0; rank])?);
            Coordinates::Crop(Crop { begins, ends, outside })
        }
        other => bail!("expected a coordinate_transformation_mode of ONNX, found '{other}'"),
    })
}

/// Resampling before opset 11, whose rounding ONNX left open: as ONNX Runtime has it, the element below where an axis
/// grows, and the one above where it shrinks. Where some do this and some that, one goes after the other.
fn plain(site: &mut Site<'_>, x: &Item, scales: Vec<f32>) -> Result<()> {
    let mode = site.text("mode", "nearest")?;
    let resize = |scales: Vec<f32>, nearest| -> Result<Op> {
        let mode = self::mode(&mode, nearest)?;
        Ok(Op::Resize(Resize { scales, mode, coordinates: Coordinates::Asymmetric, ..Resize::default() }))
    };
    let (shrinks, grows) = (scales.iter().any(|s| *s < 1.0), scales.iter().any(|s| *s > 1.0));
    if shrinks && grows && mode == "nearest" {
        let only = |f: fn(f32, f32) -> f32| scales.iter().map(|s| f(*s, 1.0)).collect::<Vec<_>>();
        let smaller = site.step("smaller", resize(only(f32::min), Nearest::Ceil)?, &[x])?;
        return site.finish(resize(only(f32::max), Nearest::Floor)?, &[&smaller]);
    }
    site.finish(resize(scales, if shrinks { Nearest::Ceil } else { Nearest::Floor })?, &[x])
}

fn mode(name: &str, nearest: Nearest) -> Result<ResizeMode> {
    Ok(match name {
        "nearest" => ResizeMode::Nearest(nearest),
        "linear" | "bilinear" => ResizeMode::Linear,
        other => bail!("expected mode nearest, linear or cubic, found '{other}'"),
    })
}

/// `values` at `axes`, and `rest` elsewhere.
fn spread<T>(axes: &[usize], values: Vec<T>, mut rest: Vec<T>) -> Result<Vec<T>> {
    if axes.len() != values.len() {
        bail!("expected {} entries for {} axes, found {}", axes.len(), axes.len(), values.len());
    }
    for (axis, value) in axes.iter().zip(values) {
        let slot =
            rest.get_mut(*axis).ok_or_else(|| Error::new(format!("expected axes of the input, found {axis}")))?;
        *slot = value;
    }
    Ok(rest)
}

/// A resize to sizes. Where other dimensions are open it is said by scales, if these give exactly the sizes.
fn to_sizes(shape: &Shape, sizes: &[Size], how: Resize) -> Result<Resize> {
    if let Some(sizes) = sizes.iter().map(known).collect::<Option<Vec<usize>>>() {
        return Ok(Resize { sizes: Some(sizes), ..how });
    }
    let scale = |(dim, size): (&Dim, &Size)| match (dim, known(size)) {
        (Dim::Known(input), Some(output)) => {
            let scale = output as f32 / *input as f32;
            ((*input as f32 * scale).floor() == output as f32).then_some(scale)
        }
        (dim, None) if Size::from(dim) == *size => Some(1.0),
        _ => None,
    };
    let scales = shape.0.iter().zip(sizes).map(scale).collect::<Option<Vec<f32>>>();
    let scales = scales.ok_or_else(|| cannot(shape, sizes))?;
    Ok(Resize { scales, ..how })
}

fn known(size: &Size) -> Option<usize> {
    match size {
        Size::Known(n) => usize::try_from(*n).ok(),
        Size::Product(..) | Size::Unknown => None,
    }
}

fn cannot(shape: &Shape, sizes: &[Size]) -> Error {
    let all: Vec<String> = sizes.iter().map(Size::to_string).collect();
    open_error(format!("{shape} cannot be resized to [{}] while dimensions are open", all.join(", ")))
}

/// A resize of some axes by one scale, the least or the greatest that takes one of them to its size.
fn fitted(shape: &Shape, axes: &[usize], sizes: &[Size], policy: &str, how: Resize) -> Result<Resize> {
    let pick = match policy {
        "not_larger" => f32::min,
        "not_smaller" => f32::max,
        other => bail!("expected keep_aspect_ratio_policy stretch, not_larger or not_smaller, found '{other}'"),
    };
    if sizes.len() != axes.len() {
        bail!("expected {} sizes for {} axes, found {}", axes.len(), axes.len(), sizes.len());
    }
    let size = |axis: &usize| shape.0.get(*axis).and_then(Dim::known);
    let ratio = |(axis, to): (&usize, &Size)| Some(known(to)? as f32 / size(axis)? as f32);
    let ratios: Option<Vec<f32>> = axes.iter().zip(sizes).map(ratio).collect();
    let scale = ratios.and_then(|r| r.into_iter().reduce(pick)).ok_or_else(|| cannot(shape, sizes))?;
    // Halves go up.
    let rounded = |n: usize| (n as f32 * scale + 0.5).floor() as usize;
    let to = axes.iter().map(|a| size(a).map(|n| Size::Known(rounded(n) as i64))).collect::<Option<Vec<_>>>();
    let all = spread(axes, to.unwrap_or_default(), shape.0.iter().map(Size::from).collect())?;
    let scales = spread(axes, vec![scale; axes.len()], vec![1.0; shape.rank()])?;
    match all.iter().map(known).collect::<Option<Vec<usize>>>() {
        Some(sizes) => Ok(Resize { scales, sizes: Some(sizes), ..how }),
        None => {
            // Sizes that the scale gives without rounding need not be said.
            let same = |(dim, to): (&Dim, &Size)| {
                dim.known().is_none_or(|n| known(to) == Some((n as f32 * scale).floor() as usize))
            };
            match shape.0.iter().zip(&all).enumerate().filter(|(a, _)| axes.contains(a)).all(|(_, pair)| same(pair)) {
                true => Ok(Resize { scales, ..how }),
                false => Err(cannot(shape, &all)),
            }
        }
    }
}
