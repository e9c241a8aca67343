//! Moving data: Concat, Split, Slice, Pad, Transpose, Expand, Tile, DepthToSpace, SpaceToDepth.

use crate::build::Item;
use crate::build::sizes::{Size, Sizes, open_error};
use crate::onnx::node::{Site, sizes_of, stands_for};
use crate::onnx::ops::quantize::alike;
use lowbit_ir::op::{Pad, PadMode, SliceAxis};
use lowbit_ir::{Dim, Error, Op, Result, Shape, Tensor, Type, bail};

/// Concat.
pub fn concat(site: &mut Site<'_>) -> Result<()> {
    let Some(axis) = site.int("axis")? else { bail!("expected attribute 'axis', found none") };
    let inputs = alike(site.builder, site.inputs()?)?;
    site.finish(Op::Concat { axis }, &inputs.iter().collect::<Vec<_>>())
}

/// Split: into parts of given sizes, or into as many nearly equal ones as there are outputs.
pub fn split(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    let x = site.input(0)?;
    let shape = site.shape(&x);
    let at = shape.axis(axis)?;
    let parts = site.outputs();
    if site.int("num_outputs")?.is_some_and(|n| usize::try_from(n) != Ok(parts)) {
        bail!("expected 'num_outputs' to be the number of outputs, {parts}");
    }
    let sizes = match site.ints_or_input("split", 1)? {
        Some(sizes) => sizes_of("split", &sizes)?,
        None => {
            let size = shape.0.get(at).and_then(Dim::known);
            let size = size.ok_or_else(|| open_error(format!("the parts of axis {axis} of {shape} are not known")))?;
            // All parts but the last are rounded up from opset 18 on, and must be equal before.
            let part = size.div_ceil(parts.max(1));
            if site.opset < 18 && part * parts != size {
                bail!("expected an axis that divides into {parts} equal parts, found {size} elements");
            }
            (0..parts).map(|i| size.saturating_sub(i * part).min(part)).collect()
        }
    };
    if sizes.len() != parts {
        bail!("expected {parts} sizes for {parts} outputs, found {sizes:?}");
    }
    site.finish_as(Op::Split { axis, sizes }, &[Some(x)], parts, &[])
}

/// Slice: positions are attributes before opset 10, then operands.
pub fn slice(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let shape = site.shape(&x);
    let known = |v: Vec<i64>| v.into_iter().map(Size::Known).collect::<Vec<_>>();
    let (starts, ends, axes, steps) = match site.opset < 10 {
        true => {
            let starts = site.ints("starts")?.map(known);
            (starts, site.ints("ends")?.map(known), site.ints("axes")?, None)
        }
        false => {
            let starts = site.sizes(1, "start")?.map(|s| s.elements);
            let ends = site.sizes(2, "end")?.map(|s| s.elements);
            (starts, ends, site.known_ints(3, "axes")?, site.known_ints(4, "steps")?)
        }
    };
    let (Some(starts), Some(ends)) = (starts, ends) else {
        bail!("expected 'starts' and 'ends', found only one or none")
    };
    let axes = axes.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        bail!("expected as many ends, axes and steps as the {} starts", starts.len());
    }
    let mut slices = Vec::with_capacity(starts.len());
    for (((start, end), axis), step) in starts.iter().zip(&ends).zip(axes).zip(steps) {
        let dim = shape.0.get(shape.axis(axis)?).map(Size::from);
        // An open end that is the whole dimension is 'as far as it goes'.
        let fixed = |s: &Size| match s {
            Size::Known(n) => Ok(*n),
            s if Some(s) == dim.as_ref() => Ok(i64::MAX),
            s => Err(open_error(format!("position {s} on axis {axis} of {shape} depends on open dimensions"))),
        };
        slices.push(SliceAxis { axis, start: fixed(start)?, end: fixed(end)?, step });
    }
    site.finish(Op::Slice(slices), &[&x])
}

/// Pad: amounts are attributes before opset 11, then operands.
pub fn pad(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let rank = site.shape(&x).rank();
    let mode = site.text("mode", "constant")?;
    let (pads, value, axes) = match site.opset < 11 {
        true => (site.ints("pads")?, site.float("value", 0.0)?, None),
        false => {
            let given = site.constant(2, "pad value")?;
            // The other modes take none.
            let value = if mode == "constant" { pad_value(&site.ty(&x), given.as_ref())? } else { 0.0 };
            (site.known_ints(1, "pads")?, value, site.known_ints(3, "axes")?)
        }
    };
    let Some(pads) = pads else { bail!("expected 'pads', found none") };
    let axes = axes.unwrap_or_else(|| (0..).take(rank).collect());
    if pads.len() != 2 * axes.len() {
        bail!("expected {} pads for {} axes, found {pads:?}", 2 * axes.len(), axes.len());
    }
    let (mut begins, mut ends) = (vec![0; rank], vec![0; rank]);
    let (first, second) = pads.split_at(axes.len());
    for ((axis, begin), end) in axes.iter().zip(first).zip(second) {
        let at = site.shape(&x).axis(*axis)?;
        // `axis` checks that `at` is below the rank, which is both vectors' length.
        begins[at] = *begin;
        ends[at] = *end;
    }
    let mode = match mode.as_str() {
        "constant" => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => bail!("expected mode constant, reflect, edge or wrap, found '{other}'"),
    };
    site.finish(Op::Pad(Pad { begins, ends, mode }), &[&x])
}

/// The number to pad values of type `x` with, which the graph keeps as the f32 that it stands for: 0 unless the file says
/// another.
///
/// What a file pads integers with is an integer, whatever their zero point is.
fn pad_value(x: &Type, given: Option<&Tensor>) -> Result<f32> {
    let number = match given {
        None => 0.0,
        Some(t) => match *t.reals()? {
            [real] if t.dtype().is_float() || t.ints()? == [real as i64] => real,
            [_] => bail!("expected a pad value that f32 holds, found {:?}", t.ints()?),
            _ => bail!("expected one pad value, found {}", t.count()),
        },
    };
    match &x.quant {
        None => Ok(number),
        Some(quant) => stands_for(quant, number as i32),
    }
}

/// Transpose; without a permutation the axes are reversed.
pub fn transpose(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let perm = match site.ints("perm")? {
        Some(perm) => sizes_of("perm", &perm)?,
        None => (0..site.shape(&x).rank()).rev().collect(),
    };
    site.finish(Op::Transpose { perm }, &[&x])
}

/// Expand: an open size is fine where the operand has it already.
pub fn expand(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let Some(target) = site.sizes(1, "target shape")? else { bail!("expected a target shape, found none") };
    let dims = expand_dims(&target, &site.shape(&x))?;
    site.finish(Op::Expand { dims }, &[&x])
}

fn expand_dims(target: &Sizes, shape: &Shape) -> Result<Vec<usize>> {
    let offset = shape.rank() as i64 - target.elements.len() as i64;
    let size = |(i, s): (usize, &Size)| {
        let own = usize::try_from(i as i64 + offset).ok().and_then(|at| shape.0.get(at)).map(Size::from);
        match s {
            Size::Known(n) => {
                usize::try_from(*n).map_err(|_| Error::new(format!("expected target sizes, found {target}")))
            }
            s if own.as_ref() == Some(s) => Ok(1),
            _ => Err(open_error(format!("{shape} cannot be expanded to {target} while dimensions are open"))),
        }
    };
    target.elements.iter().enumerate().map(size).collect()
}

/// Tile: each repeated axis gets a new one before it, which is expanded and then joined with it.
pub fn tile(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let Some(repeats) = site.known_ints(1, "repeats")? else { bail!("expected repeats, found none") };
    let repeats = sizes_of("repeats", &repeats)?;
    let shape = site.shape(&x);
    if repeats.len() != shape.rank() {
        bail!("expected {} repeats for {shape}, found {repeats:?}", shape.rank());
    }
    if repeats.iter().all(|r| *r == 1) {
        return site.finish(Op::Identity, &[&x]);
    }
    let (mut axes, mut dims, mut target) = (Vec::new(), Vec::new(), Vec::new());
    for (repeat, dim) in repeats.iter().zip(&shape.0) {
        let count = i64::try_from(*repeat).map_err(|_| Error::new(format!("expected repeats, found {repeats:?}")))?;
        if *repeat != 1 {
            axes.push(dims.len() as i64);
            dims.push(*repeat);
        }
        dims.push(1);
        target.push(Size::from(dim).times(&Size::Known(count)));
    }
    let apart = site.step("apart", Op::Unsqueeze { axes }, &[&x])?;
    let repeated = site.step("repeated", Op::Expand { dims }, &[&apart])?;
    let dims = crate::build::sizes::reshape_dims(&target, &site.shape(&repeated))?;
    site.finish(Op::Reshape { dims }, &[&repeated])
}

/// DepthToSpace: blocks of channels become blocks of pixels.
pub fn depth_to_space(site: &mut Site<'_>) -> Result<()> {
    let (x, [n, c, h, w], block) = block_input(site)?;
    let b = Size::Known(block);
    let area = block.checked_mul(block).filter(|a| matches!(c, Size::Known(c) if c % a == 0));
    let (Some(area), Size::Known(channels)) = (area, &c) else {
        bail!("expected channels in multiples of {block}*{block}, found {c}")
    };
    let depth = Size::Known(channels / area);
    let (split, perm) = match site.text("mode", "DCR")?.as_str() {
        "DCR" => ([n.clone(), b.clone(), b.clone(), depth.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n.clone(), depth.clone(), b.clone(), b.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3]),
        other => bail!("expected mode DCR or CRD, found '{other}'"),
    };
    let target = [n, depth, h.times(&b), w.times(&b)];
    rearrange(site, &x, &split, &perm, &target)
}

/// SpaceToDepth: blocks of pixels become blocks of channels.
pub fn space_to_depth(site: &mut Site<'_>) -> Result<()> {
    let (x, [n, c, h, w], block) = block_input(site)?;
    let b = Size::Known(block);
    let part = |s: &Size| match s {
        Size::Known(s) if s % block == 0 => Ok(Size::Known(s / block)),
        s => Err(open_error(format!("expected height and width in multiples of {block}, found {s}"))),
    };
    let (h, w) = (part(&h)?, part(&w)?);
    let split = [n.clone(), c.clone(), h.clone(), b.clone(), w.clone(), b.clone()];
    let target = [n, c.times(&b).times(&b), h, w];
    // In which order the new channels stand: those of a pixel together, or the pixels of a channel.
    let perm = match site.text("mode", "DCR")?.as_str() {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => bail!("expected mode DCR or CRD, found '{other}'"),
    };
    rearrange(site, &x, &split, &perm, &target)
}

fn block_input(site: &mut Site<'_>) -> Result<(Item, [Size; 4], i64)> {
    let x = site.input(0)?;
    let shape = site.shape(&x);
    let block = site.int("blocksize")?.unwrap_or(0);
    match (<[Size; 4]>::try_from(Sizes::of_shape(&shape.0).elements), block) {
        (Ok(sizes), 1..) => Ok((x, sizes, block)),
        _ => bail!("expected an input of four dimensions and a positive blocksize, found {shape} and {block}"),
    }
}

fn rearrange(site: &mut Site<'_>, x: &Item, split: &[Size], perm: &[usize], target: &[Size]) -> Result<()> {
    let apart = site.reshape("apart", x, split)?;
    let turned = site.step("turned", Op::Transpose { perm: perm.to_vec() }, &[&apart])?;
    let dims = crate::build::sizes::reshape_dims(target, &site.shape(&turned))?;
    site.finish(Op::Reshape { dims }, &[&turned])
}
