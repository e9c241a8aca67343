//! Resize and its older self, Upsample.

use crate::build::Item;
use crate::build::sizes::{Size, open_error};
use crate::onnx::node::Site;
use lowbit_ir::op::{Coordinates, Nearest, Resize, ResizeMode};
use lowbit_ir::{Dim, Error, Op, Result, Shape, bail};

/// Upsample: scales are an attribute in opset 7 and an operand from 9 on.
pub fn upsample(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let scales = match site.floats("scales")? {
        Some(scales) => Some(scales),
        None => site.known_floats(1, "scales")?,
    };
    let Some(scales) = scales else { bail!("expected 'scales', found none") };
    plain(site, &x, scales)
}

/// Resize. In opset 10 it was as Upsample. The region of interest (operand 1) matters to `tf_crop_and_resize` alone,
/// which is refused.
pub fn resize(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    if site.opset < 11 {
        let Some(scales) = site.known_floats(1, "scales")? else { bail!("expected 'scales', found none") };
        return plain(site, &x, scales);
    }
    site.ignore(&["cubic_coeff_a", "extrapolation_value", "exclude_outside"]);
    if site.flag("antialias", false)? {
        bail!("antialiasing is not supported");
    }
    let mode = site.text("mode", "nearest")?;
    let nearest = match site.text("nearest_mode", "round_prefer_floor")?.as_str() {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => bail!("nearest_mode '{other}' is not supported"),
    };
    let mode = self::mode(&mode, nearest)?;
    let coordinates = match site.text("coordinate_transformation_mode", "half_pixel")?.as_str() {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => bail!("coordinate_transformation_mode '{other}' is not supported"),
    };
    let shape = site.shape(&x);
    let axes = match site.ints("axes")? {
        Some(axes) => axes.into_iter().map(|a| shape.axis(a)).collect::<Result<Vec<_>>>()?,
        None => (0..shape.rank()).collect(),
    };
    let policy = site.text("keep_aspect_ratio_policy", "stretch")?;
    let scales = site.known_floats(2, "scales")?.filter(|s| !s.is_empty());
    let sizes = site.sizes(3, "sizes")?;
    let resize = match (scales, sizes) {
        (Some(scales), None) => {
            let scales = spread(&axes, scales, vec![1.0; shape.rank()])?;
            Resize { scales, sizes: None, mode, coordinates }
        }
        (None, Some(sizes)) if policy == "stretch" => {
            let own: Vec<Size> = shape.0.iter().map(Size::from).collect();
            to_sizes(&shape, &spread(&axes, sizes.elements, own)?, mode, coordinates)?
        }
        (None, Some(_)) => bail!("keep_aspect_ratio_policy '{policy}' is not supported"),
        _ => bail!("expected either scales or sizes"),
    };
    site.finish(Op::Resize(resize), &[&x])
}

/// Resampling before opset 11, whose rounding ONNX left open: as ONNX Runtime has it, the element below where an axis
/// grows, and the one above where it shrinks.
fn plain(site: &mut Site<'_>, x: &Item, scales: Vec<f32>) -> Result<()> {
    let (shrinks, grows) = (scales.iter().any(|s| *s < 1.0), scales.iter().any(|s| *s > 1.0));
    let mode = site.text("mode", "nearest")?;
    let mode = self::mode(&mode, if shrinks { Nearest::Ceil } else { Nearest::Floor })?;
    if shrinks && grows && mode != ResizeMode::Linear {
        bail!("nearest elements while one axis grows and another shrinks are not supported before opset 11");
    }
    site.finish(Op::Resize(Resize { scales, sizes: None, mode, coordinates: Coordinates::Asymmetric }), &[x])
}

fn mode(name: &str, nearest: Nearest) -> Result<ResizeMode> {
    Ok(match name {
        "nearest" => ResizeMode::Nearest(nearest),
        "linear" | "bilinear" => ResizeMode::Linear,
        other => bail!("mode '{other}' is not supported"),
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
fn to_sizes(shape: &Shape, sizes: &[Size], mode: ResizeMode, coordinates: Coordinates) -> Result<Resize> {
    let known = |s: &Size| match s {
        Size::Known(n) => usize::try_from(*n).ok(),
        Size::Product(..) | Size::Unknown => None,
    };
    let open = || {
        let all: Vec<String> = sizes.iter().map(Size::to_string).collect();
        open_error(format!("{shape} cannot be resized to [{}] while dimensions are open", all.join(", ")))
    };
    let mut scales = Vec::with_capacity(sizes.len());
    let mut exact = true;
    for (dim, size) in shape.0.iter().zip(sizes) {
        match (dim, known(size)) {
            (Dim::Known(input), Some(output)) => {
                let scale = output as f32 / *input as f32;
                exact &= (*input as f32 * scale).floor() == output as f32;
                scales.push(scale);
            }
            (dim, None) if Size::from(dim) == *size => scales.push(1.0),
            _ => return Err(open()),
        }
    }
    let all: Option<Vec<usize>> = sizes.iter().map(known).collect();
    if all.is_none() && !exact {
        return Err(open());
    }
    Ok(Resize { scales, sizes: all, mode, coordinates })
}
