//! Convolution, Deconvolution, FullyConnected and products of matrices.

use crate::build::Item;
use crate::build::transposed::{Transposed, transposed};
use crate::mxnet::node::{Site, output_name};
use lowbit_ir::op::{Conv, MatMul};
use lowbit_ir::{Op, Result, bail};

/// What makes no difference to results.
const TUNING: &[&str] = &["workspace", "cudnn_tune", "cudnn_off"];

/// A window over spatial axes as MXNet describes it: the same padding on both sides.
pub struct Window {
    /// Window sizes.
    pub kernel: Vec<usize>,
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Zeros on each side.
    pub pads: Vec<usize>,
    /// Distance between taps.
    pub dilations: Vec<usize>,
}

/// Reads the attributes of a window, whose layout must have channels first.
pub fn window(site: &mut Site<'_>) -> Result<Window> {
    let Some(kernel) = site.sizes("kernel")? else { bail!("expected attribute 'kernel', found none") };
    let rank = kernel.len();
    let entries = |site: &mut Site<'_>, key: &str, default: usize| -> Result<Vec<usize>> {
        let list = site.sizes(key)?.filter(|l| !l.is_empty()).unwrap_or_else(|| vec![default; rank]);
        // The convention `same` is for one axis, but wants three zeros of padding.
        match list.len() == rank {
            true => Ok(list),
            false if key == "pad" && list.iter().all(|n| *n == 0) => Ok(vec![0; rank]),
            false => bail!("expected {rank} entries in '{key}', found {list:?}"),
        }
    };
    let window = Window {
        strides: entries(site, "stride", 1)?,
        pads: entries(site, "pad", 0)?,
        dilations: entries(site, "dilate", 1)?,
        kernel,
    };
    let all = window.kernel.iter().chain(&window.strides).chain(&window.dilations);
    if !(1..=3).contains(&rank) || all.into_iter().any(|n| *n == 0) {
        bail!(
            "expected a window over 1 to 3 axes with positive sizes, found kernel {:?}, stride {:?}, dilate {:?}",
            window.kernel,
            window.strides,
            window.dilations
        );
    }
    channels_first(site)?;
    Ok(window)
}

/// Refuses layouts with channels last.
pub fn channels_first(site: &mut Site<'_>) -> Result<()> {
    match site.text("layout") {
        None | Some("NCW" | "NCHW" | "NCDHW") => Ok(()),
        Some(other) => bail!("expected a layout with channels first, found {other}"),
    }
}

/// Convolution: (data, weight, bias?).
pub fn convolution(site: &mut Site<'_>) -> Result<()> {
    let window = window(site)?;
    let group = site.count("num_group", 1)?;
    let filters = site.count("num_filter", 0)?;
    site.ignore(TUNING);
    let no_bias = site.flag("no_bias", false)?;
    let (x, weight) = (site.input(0)?, site.parameter(1, "weight")?);
    check_weight(site, &weight, 0, filters, &window.kernel)?;
    let pads = [window.pads.clone(), window.pads].concat();
    let op = Op::Conv(Conv { strides: window.strides, pads, dilations: window.dilations, group });
    match no_bias {
        true => site.finish(op, &[&x, &weight]),
        false => {
            let bias = site.parameter(2, "bias")?;
            site.finish(op, &[&x, &weight, &bias])
        }
    }
}

/// Refuses a weight of other sizes than the attributes say: `outputs` on this axis, then those of the window.
fn check_weight(site: &Site<'_>, weight: &Item, axis: usize, outputs: usize, kernel: &[usize]) -> Result<()> {
    let shape = site.shape(weight);
    let fits = |dims: &[usize]| dims.get(axis) == Some(&outputs) && dims.get(2..) == Some(kernel);
    match shape.dims().is_none_or(|dims| fits(&dims)) {
        true => Ok(()),
        false => bail!("expected a weight for {outputs} channels and a window of {kernel:?}, found {shape}"),
    }
}

/// Deconvolution: (data, weight, bias?), its weight [in, out / group, k...].
pub fn deconvolution(site: &mut Site<'_>) -> Result<()> {
    let mut window = window(site)?;
    let group = site.count("num_group", 1)?;
    let filters = site.count("num_filter", 0)?;
    site.ignore(TUNING);
    let no_bias = site.flag("no_bias", true)?;
    let mut adjust = site.sizes("adj")?.filter(|a| !a.is_empty()).unwrap_or_else(|| vec![0; window.kernel.len()]);
    let target = site.sizes("target_shape")?.filter(|t| t.iter().any(|n| *n != 0));
    let (x, weight) = (site.input(0)?, site.parameter(1, "weight")?);
    check_weight(site, &weight, 1, filters / group.max(1), &window.kernel)?;
    if adjust.len() != window.kernel.len() {
        bail!("expected {} entries in 'adj', found {adjust:?}", window.kernel.len());
    }
    if let Some(target) = target {
        to_target(site, &x, &target, &mut window, &mut adjust)?;
    }
    let bias = if no_bias { None } else { Some(site.parameter(2, "bias")?) };
    spread(site, &x, &weight, bias.as_ref(), &window, &adjust, group)
}

/// Padding and adjustment that give a wanted size: what is too much is cut off, half on each side.
fn to_target(site: &mut Site<'_>, x: &Item, target: &[usize], window: &mut Window, adjust: &mut [usize]) -> Result<()> {
    if target.len() != window.kernel.len() {
        bail!("expected {} entries in 'target_shape', found {target:?}", window.kernel.len());
    }
    for (axis, target) in target.iter().enumerate() {
        let size = site.known_dim(x, axis + 2)?;
        let whole = window.dilations[axis].checked_mul(window.kernel[axis] - 1).and_then(|span| {
            size.saturating_sub(1).checked_mul(window.strides[axis])?.checked_add(span)?.checked_add(1)
        });
        let Some(excess) = whole.and_then(|whole| whole.checked_sub(*target)) else {
            bail!("expected a 'target_shape' of at most what the window covers, found {target}");
        };
        adjust[axis] = excess % 2;
        window.pads[axis] = excess.div_ceil(2);
    }
    Ok(())
}

/// A transposed convolution as a plain one.
pub fn spread(
    site: &mut Site<'_>,
    x: &Item,
    weight: &Item,
    bias: Option<&Item>,
    window: &Window,
    adjust: &[usize],
    group: usize,
) -> Result<()> {
    let begins = window.pads.iter().map(|p| small(*p)).collect::<Result<Vec<_>>>()?;
    let ends = begins.iter().zip(adjust).map(|(p, more)| Ok(p - small(*more)?)).collect::<Result<Vec<_>>>()?;
    let how = Transposed {
        kernel: window.kernel.clone(),
        strides: window.strides.clone(),
        dilations: window.dilations.clone(),
        begins,
        ends,
        group,
    };
    let node = site.name().to_string();
    let output = output_name(&node, 0, 1);
    let y = transposed(site.builder, &node, [x, weight], bias, &how, &output)?;
    site.set(vec![y]);
    Ok(())
}

fn small(n: usize) -> Result<i64> {
    match i32::try_from(n) {
        Ok(n) => Ok(i64::from(n)),
        Err(_) => bail!("expected sizes of a window that fit in 31 bits, found {n}"),
    }
}

/// FullyConnected: (data, weight [n, k], bias?).
pub fn fully_connected(site: &mut Site<'_>) -> Result<()> {
    let (no_bias, flatten) = (site.flag("no_bias", false)?, site.flag("flatten", true)?);
    let hidden = site.count("num_hidden", 0)?;
    let (mut x, weight) = (site.input(0)?, site.parameter(1, "weight")?);
    if site.shape(&weight).dims().is_some_and(|dims| dims.first() != Some(&hidden)) {
        bail!("expected a weight for {hidden} outputs (num_hidden), found {}", site.shape(&weight));
    }
    if flatten && site.shape(&x).rank() != 2 {
        x = site.step("flat", Op::Flatten { axis: 1 }, &[&x])?;
    }
    let op = Op::MatMul(MatMul { trans_b: true });
    match no_bias {
        true => site.finish(op, &[&x, &weight]),
        false => {
            let bias = site.parameter(2, "bias")?;
            site.finish(op, &[&x, &weight, &bias])
        }
    }
}

/// dot of two matrices.
pub fn dot(site: &mut Site<'_>) -> Result<()> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    if site.shape(&a).rank() != 2 || site.shape(&b).rank() != 2 {
        bail!("expected two matrices, found {} and {}", site.shape(&a), site.shape(&b));
    }
    product(site, a, &b)
}

/// batch_dot: products of the matrices of two batches.
pub fn batch_dot(site: &mut Site<'_>) -> Result<()> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    if site.shape(&a).rank() != 3 || site.shape(&b).rank() != 3 {
        bail!("expected two batches of matrices, found {} and {}", site.shape(&a), site.shape(&b));
    }
    product(site, a, &b)
}

fn product(site: &mut Site<'_>, mut a: Item, b: &Item) -> Result<()> {
    let (trans_a, trans_b) = (site.flag("transpose_a", false)?, site.flag("transpose_b", false)?);
    site.ignore(&["forward_stype"]);
    if trans_a {
        let rank = site.shape(&a).rank();
        let perm = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
        a = site.step("a", Op::Transpose { perm }, &[&a])?;
    }
    site.finish(Op::MatMul(MatMul { trans_b }), &[&a, b])
}
