//! Pooling.

use super::mac::{Window, channels_first, window};
use crate::build::Item;
use crate::mxnet::node::Site;
use lowbit_ir::op::{Binary, Pool, Reduce, ReduceKind};
use lowbit_ir::{Op, Result, bail};

/// Pooling over windows or everything: max, avg and sum.
pub fn pooling(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["cudnn_off"]);
    let kind = site.word("pool_type", &["max", "avg", "sum"])?;
    let x = site.input(0)?;
    if site.flag("global_pool", false)? {
        site.ignore(&["kernel", "stride", "pad", "pooling_convention", "count_include_pad"]);
        channels_first(site)?;
        let axes = (2..site.shape(&x).rank() as i64).collect();
        let over = |kind| Op::Reduce(Reduce { kind, axes, keep_dims: true });
        return match kind {
            "avg" => site.finish(Op::GlobalAvgPool, &[&x]),
            "max" => site.finish(over(ReduceKind::Max), &[&x]),
            _ => site.finish(over(ReduceKind::Sum), &[&x]),
        };
    }
    let window = window(site)?;
    let counts_padding = site.flag("count_include_pad", true)?;
    let convention = site.word("pooling_convention", &["valid", "full", "same"])?;
    let mut pads = [window.pads.clone(), window.pads.clone()].concat();
    if convention == "same" {
        pads = same(site, &x, &window)?;
    }
    let ceil_mode = convention == "full";
    if ceil_mode {
        ends_inside(site, &x, &window)?;
    }
    let pool = |count_include_pad: bool| Pool {
        kernel: window.kernel.clone(),
        strides: window.strides.clone(),
        pads: pads.clone(),
        dilations: window.dilations.clone(),
        ceil_mode,
        count_include_pad,
    };
    match kind {
        "max" => site.finish(Op::MaxPool(pool(false)), &[&x]),
        "avg" => site.finish(Op::AvgPool(pool(counts_padding)), &[&x]),
        // An average that divides by the whole window everywhere, times its size.
        _ if ceil_mode => bail!("sums over partial windows (pooling_convention full) are not supported"),
        _ => {
            let mean = site.step("mean", Op::AvgPool(pool(true)), &[&x])?;
            let size = site.number("size", window.kernel.iter().map(|k| *k as f32).product());
            site.finish(Op::Binary(Binary::Mul), &[&mean, &size])
        }
    }
}

/// Padding of the convention `same`, which is for one spatial axis: ceil(size / stride) windows from the first element.
fn same(site: &mut Site<'_>, x: &Item, window: &Window) -> Result<Vec<usize>> {
    let ([kernel], [stride], [0]) = (window.kernel.as_slice(), window.strides.as_slice(), window.pads.as_slice())
    else {
        bail!("expected the convention same with one spatial axis and no padding");
    };
    let size = site.known_dim(x, 2)?;
    let last = size.div_ceil(*stride).saturating_sub(1).saturating_mul(*stride);
    Ok(vec![0, last.saturating_add(*kernel).saturating_sub(size)])
}

/// Refuses rounded up sizes whose last window would lie in the padding alone: elsewhere there is no such window.
fn ends_inside(site: &mut Site<'_>, x: &Item, window: &Window) -> Result<()> {
    for (i, ((kernel, stride), pad)) in window.kernel.iter().zip(&window.strides).zip(&window.pads).enumerate() {
        let known = site.shape(x).0.get(i + 2).and_then(lowbit_ir::Dim::known);
        // Of a window that is large enough the last one ends inside whatever the size is.
        if known.is_none() && *kernel >= stride.saturating_add(*pad) {
            continue;
        }
        let size = site.known_dim(x, i + 2)?;
        let padded = size.saturating_add(pad.saturating_mul(2));
        let windows = padded.saturating_sub(*kernel).div_ceil(*stride) + 1;
        if (windows - 1).saturating_mul(*stride) >= size.saturating_add(*pad) {
            bail!("the last window of axis {} lies in the padding alone, which is not supported", i + 2);
        }
    }
    Ok(())
}

/// Average pooling to wanted sizes.
pub fn adaptive(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let sizes = site.sizes("output_size")?.filter(|s| !s.is_empty()).unwrap_or_else(|| vec![1]);
    let (rows, columns) = match sizes.as_slice() {
        [n] => (*n, *n),
        [rows, columns] => (*rows, *columns),
        other => bail!("expected one or two sizes in 'output_size', found {other:?}"),
    };
    if site.shape(&x).rank() != 4 {
        bail!("expected an input [n, c, h, w], found {}", site.shape(&x));
    }
    if (rows, columns) == (1, 1) {
        return site.finish(Op::GlobalAvgPool, &[&x]);
    }
    let (height, width) = (site.known_dim(&x, 2)?, site.known_dim(&x, 3)?);
    if rows == 0 || columns == 0 || height % rows != 0 || width % columns != 0 {
        bail!("expected an 'output_size' that divides {height} x {width}, found {rows} x {columns}");
    }
    let kernel = vec![height / rows, width / columns];
    let pool = Pool {
        strides: kernel.clone(),
        kernel,
        pads: vec![0; 4],
        dilations: vec![1; 2],
        ceil_mode: false,
        count_include_pad: false,
    };
    site.finish(Op::AvgPool(pool), &[&x])
}
