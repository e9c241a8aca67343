//! UpSampling and bilinear resizing.

use super::mac::{Window, spread};
use crate::mxnet::node::Site;
use lowbit_ir::op::{Coordinates, Nearest, Resize, ResizeMode};
use lowbit_ir::{Op, Result, bail};

/// UpSampling of one operand: by the nearest element, or by a transposed convolution with weights of its own.
pub fn up_sampling(site: &mut Site<'_>) -> Result<()> {
    let Some(kind) = site.text("sample_type") else { bail!("expected attribute 'sample_type', found none") };
    let scale = site.count("scale", 0)?;
    site.ignore(&["workspace", "multi_input_mode", "num_filter"]);
    let args = site.count("num_args", 1)?;
    let x = site.input(0)?;
    if !(1..=1024).contains(&scale) || site.shape(&x).rank() != 4 {
        bail!("expected a 'scale' of 1 to 1024 and an input [n, c, h, w], found {scale} and {}", site.shape(&x));
    }
    match kind {
        "nearest" if args == 1 => {
            let scale = scale as f32;
            site.finish(
                Op::Resize(Resize {
                    scales: vec![1.0, 1.0, scale, scale],
                    mode: ResizeMode::Nearest(Nearest::Floor),
                    coordinates: Coordinates::Asymmetric,
                    ..Resize::default()
                }),
                &[&x],
            )
        }
        "nearest" => bail!("expected one operand, found {args}: joining several of them is not supported"),
        "bilinear" => {
            let weight = site.input(1)?;
            let channels = site.known_dim(&x, 1)?;
            let window = Window {
                kernel: vec![2 * scale - scale % 2; 2],
                strides: vec![scale; 2],
                pads: vec![(scale - 1).div_ceil(2); 2],
                dilations: vec![1; 2],
            };
            spread(site, &x, &weight, None, &window, &[0, 0], channels)
        }
        other => bail!("expected sample_type nearest or bilinear, found '{other}'"),
    }
}

/// Bilinear resizing whose corners stay corners, or whose pixels are areas.
pub fn bilinear(site: &mut Site<'_>) -> Result<()> {
    let (height, width) = (site.count("height", 1)?, site.count("width", 1)?);
    let scales = (site.float("scale_height", 0.0)?, site.float("scale_width", 0.0)?);
    let corners = site.flag("align_corners", true)?;
    if site.word("mode", &["size", "odd_scale", "like", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up"])?
        != "size"
    {
        bail!("only sizes and scales (mode size) are supported");
    }
    let x = site.input(0)?;
    let (rows, columns) = match scales {
        (0.0, 0.0) => (height, width),
        (h, w) => {
            let scaled = |size: usize, by: f32| (size as f32 * by) as usize;
            (scaled(site.known_dim(&x, 2)?, h), scaled(site.known_dim(&x, 3)?, w))
        }
    };
    let Some([n, c, _, _]) = site.shape(&x).dims().and_then(|d| <[usize; 4]>::try_from(d).ok()) else {
        return Err(crate::build::sizes::open_error(format!(
            "expected an input [n, c, h, w] of known sizes, found {}",
            site.shape(&x)
        )));
    };
    site.finish(
        Op::Resize(Resize {
            sizes: Some(vec![n, c, rows, columns]),
            mode: ResizeMode::Linear,
            coordinates: if corners { Coordinates::AlignCorners } else { Coordinates::HalfPixel },
            ..Resize::default()
        }),
        &[&x],
    )
}
