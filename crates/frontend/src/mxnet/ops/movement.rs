//! Moving data.

use crate::build::Item;
use crate::build::sizes::{Size, open_error};
use crate::mxnet::node::Site;
use lowbit_ir::op::{Binary, Pad, PadMode, SliceAxis};
use lowbit_ir::{Dim, Error, Op, Result, bail};

/// Concat.
pub fn concat(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("dim")?.unwrap_or(1);
    site.ignore(&["num_args"]);
    let inputs = site.inputs();
    site.finish(Op::Concat { axis }, &inputs.iter().collect::<Vec<_>>())
}

/// stack: Concat along a new axis.
pub fn stack(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    site.ignore(&["num_args"]);
    let mut parts = Vec::new();
    for (i, x) in site.inputs().iter().enumerate() {
        parts.push(site.step(&format!("part{i}"), Op::Unsqueeze { axes: vec![axis] }, &[x])?);
    }
    site.finish(Op::Concat { axis }, &parts.iter().collect::<Vec<_>>())
}

/// SliceChannel: equal parts along an axis, which may be dropped where it is 1 after that.
pub fn split(site: &mut Site<'_>) -> Result<()> {
    let parts = site.count("num_outputs", 0)?;
    let axis = site.int("axis")?.unwrap_or(1);
    let squeeze = site.flag("squeeze_axis", false)?;
    let x = site.input(0)?;
    let at = site.shape(&x).axis(axis)?;
    let size = site.known_dim(&x, at)?;
    if parts == 0 || size % parts != 0 || parts > size {
        bail!("expected 'num_outputs' to divide axis {axis} of {}, found {parts}", site.shape(&x));
    }
    let op = Op::Split { axis, sizes: vec![size / parts; parts] };
    if !squeeze {
        return site.finish_as(op, &[&x], parts);
    }
    if size != parts {
        bail!("expected parts of size 1 to squeeze, found {}", size / parts);
    }
    // Every part is an operator of its own, which also drops the axis.
    let mut results = Vec::new();
    for k in 0..parts.min(site.outputs().max(1)) {
        let start = k as i64;
        let slice = Op::Slice(vec![SliceAxis { axis, start, end: start + 1, step: 1 }]);
        let part = site.step(&format!("part{k}"), slice, &[&x])?;
        results.push(site.step(&format!("output{k}"), Op::Squeeze { axes: vec![axis] }, &[&part])?);
    }
    site.set(results);
    Ok(())
}

/// slice_axis.
pub fn slice_axis(site: &mut Site<'_>) -> Result<()> {
    let (axis, start) = (site.required("axis")?, site.required("begin")?);
    let end = site.int("end")?.unwrap_or(i64::MAX);
    let x = site.input(0)?;
    site.finish(Op::Slice(vec![SliceAxis { axis, start, end, step: 1 }]), &[&x])
}

/// slice over the first axes.
pub fn slice(site: &mut Site<'_>) -> Result<()> {
    let begin = site.maybe_ints("begin")?.unwrap_or_default();
    let end = site.maybe_ints("end")?.unwrap_or_default();
    let step = site.maybe_ints("step")?.unwrap_or_default();
    if begin.len() != end.len() || step.len() > begin.len() {
        bail!("expected as many entries in 'begin' and 'end', found {} and {}", begin.len(), end.len());
    }
    let x = site.input(0)?;
    let mut slices = Vec::new();
    for (axis, (begin, end)) in begin.iter().zip(&end).enumerate() {
        let step = step.get(axis).copied().flatten().unwrap_or(1);
        let (first, last) = if step < 0 { (-1, i64::MIN) } else { (0, i64::MAX) };
        slices.push(SliceAxis { axis: axis as i64, start: begin.unwrap_or(first), end: end.unwrap_or(last), step });
    }
    site.finish(Op::Slice(slices), &[&x])
}

/// slice_like: the first elements, as many as another value has along these axes.
pub fn slice_like(site: &mut Site<'_>) -> Result<()> {
    let (x, like) = (site.input(0)?, site.input(1)?);
    let shape = site.shape(&x);
    let axes = site.ints("axes")?.filter(|a| !a.is_empty());
    let axes = axes.unwrap_or_else(|| (0..shape.rank() as i64).collect());
    let mut slices = Vec::new();
    for axis in axes {
        let at = shape.axis(axis)?;
        let (own, other) = (shape.0.get(at), site.shape(&like).0.get(at).cloned());
        match (own, other) {
            (own, Some(other)) if own == Some(&other) => {}
            (_, Some(Dim::Known(n))) => slices.push(SliceAxis { axis, start: 0, end: n as i64, step: 1 }),
            _ => return Err(open_error(format!("axis {axis} of {} is not known", site.shape(&like)))),
        }
    }
    match slices.is_empty() {
        true => site.finish(Op::Identity, &[&x]),
        false => site.finish(Op::Slice(slices), &[&x]),
    }
}

/// Crop of height and width, to sizes or to those of a second operand.
pub fn crop(site: &mut Site<'_>) -> Result<()> {
    let pair = |list: Vec<usize>| <[usize; 2]>::try_from(list);
    let offset = site.sizes("offset")?.unwrap_or_else(|| vec![0, 0]);
    let center = site.flag("center_crop", false)?;
    let sizes = site.sizes("h_w")?.unwrap_or_else(|| vec![0, 0]);
    site.ignore(&["num_args"]);
    let x = site.input(0)?;
    let sizes = match site.operands() {
        1 => sizes,
        _ => {
            let like = site.input(1)?;
            vec![site.known_dim(&like, 2)?, site.known_dim(&like, 3)?]
        }
    };
    let (Ok(mut offset), Ok(sizes)) = (pair(offset), pair(sizes)) else {
        bail!("expected two entries in 'offset' and in 'h_w'");
    };
    let mut slices = Vec::new();
    for (i, (offset, size)) in offset.iter_mut().zip(sizes).enumerate() {
        let whole = site.known_dim(&x, i + 2)?;
        if center {
            *offset = whole.saturating_sub(size) / 2;
        }
        if size == 0 || offset.checked_add(size).is_none_or(|end| end > whole) {
            bail!("expected a crop within axis {} of {}, found {size} from {offset}", i + 2, site.shape(&x));
        }
        let (start, end) = (*offset as i64, (*offset + size) as i64);
        slices.push(SliceAxis { axis: i as i64 + 2, start, end, step: 1 });
    }
    site.finish(Op::Slice(slices), &[&x])
}

/// Flatten: the batch, and all else.
pub fn flatten(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    site.finish(Op::Flatten { axis: 1 }, &[&x])
}

/// Reshape with its codes: 0 copies a size, -1 takes what is left, -2 copies all further sizes, -3 joins two, -4 divides
/// one into the next two entries; `reverse` counts from the right.
pub fn reshape(site: &mut Site<'_>) -> Result<()> {
    let reverse = site.flag("reverse", false)?;
    let old = site.ints("target_shape")?.filter(|t| t.iter().any(|n| *n != 0));
    let keep_first = site.flag("keep_highest", false)?;
    let codes = site.ints("shape")?.filter(|s| !s.is_empty());
    let x = site.input(0)?;
    let dims = site.dims(&x);
    let target = match (codes, old) {
        (Some(codes), _) => coded(&codes, &dims, reverse)?,
        // Before 0.8: the first size is kept or not, and one 0 takes what is left.
        (None, Some(old)) => {
            let entry = |(i, n): (usize, &i64)| match (i, *n) {
                (0, _) if keep_first => dims.first().cloned().unwrap_or(Size::Known(0)),
                (_, 0) => Size::Known(-1),
                (_, n) => Size::Known(n),
            };
            old.iter().enumerate().map(entry).collect()
        }
        (None, None) => bail!("expected attribute 'shape', found none"),
    };
    site.finish_reshape(&x, &target)
}

fn coded(codes: &[i64], dims: &[Size], reverse: bool) -> Result<Vec<Size>> {
    let (mut codes, mut dims) = (codes.to_vec(), dims.to_vec());
    if reverse {
        if codes.contains(&-4) {
            bail!("expected a shape without the code -4 where it is reversed, found {codes:?}");
        }
        codes.reverse();
        dims.reverse();
    }
    let mut target = Vec::new();
    let mut rest = dims.into_iter();
    let mut codes_left = codes.iter();
    let missing = || Error::new(format!("expected codes for the sizes that there are, found {codes:?}"));
    while let Some(code) = codes_left.next() {
        match *code {
            0 => target.push(rest.next().ok_or_else(missing)?),
            -1 => {
                rest.next();
                target.push(Size::Known(-1));
            }
            -2 => target.extend(rest.by_ref()),
            -3 => {
                let (a, b) = (rest.next().ok_or_else(missing)?, rest.next().ok_or_else(missing)?);
                target.push(a.times(&b));
            }
            -4 => {
                let whole = rest.next().ok_or_else(missing)?;
                let (a, b) = (*codes_left.next().ok_or_else(missing)?, *codes_left.next().ok_or_else(missing)?);
                let (a, b) = (Size::Known(a), Size::Known(b));
                match (&a, &b) {
                    (Size::Known(-1), _) => target.extend([whole.over(&b), b]),
                    (_, Size::Known(-1)) => target.extend([a.clone(), whole.over(&a)]),
                    _ => target.extend([a, b]),
                }
            }
            n if n > 0 => {
                rest.next();
                target.push(Size::Known(n));
            }
            other => bail!("expected sizes and the codes 0 to -4 in 'shape', found {other}"),
        }
    }
    if reverse {
        target.reverse();
    }
    Ok(target)
}

/// transpose; without axes they are reversed.
pub fn transpose(site: &mut Site<'_>) -> Result<()> {
    let axes = site.sizes("axes")?.filter(|a| !a.is_empty());
    let x = site.input(0)?;
    let perm = axes.unwrap_or_else(|| (0..site.shape(&x).rank()).rev().collect());
    site.finish(Op::Transpose { perm }, &[&x])
}

/// SwapAxis.
pub fn swap_axis(site: &mut Site<'_>) -> Result<()> {
    let (a, b) = (site.int("dim1")?.unwrap_or(0), site.int("dim2")?.unwrap_or(0));
    let x = site.input(0)?;
    let shape = site.shape(&x);
    let (a, b) = (shape.axis(a)?, shape.axis(b)?);
    let mut perm: Vec<usize> = (0..shape.rank()).collect();
    perm.swap(a, b);
    site.finish(Op::Transpose { perm }, &[&x])
}

/// expand_dims.
pub fn expand_dims(site: &mut Site<'_>) -> Result<()> {
    let axis = site.required("axis")?;
    let x = site.input(0)?;
    site.finish(Op::Unsqueeze { axes: vec![axis] }, &[&x])
}

/// squeeze: some axes, or all of size 1.
pub fn squeeze(site: &mut Site<'_>) -> Result<()> {
    let axes = site.ints("axis")?;
    let x = site.input(0)?;
    let ones = |site: &Site<'_>| {
        let shape = site.shape(&x);
        (0..).zip(&shape.0).filter(|(_, d)| **d == Dim::Known(1)).map(|(i, _)| i).collect()
    };
    let axes = axes.unwrap_or_else(|| ones(site));
    site.finish(Op::Squeeze { axes }, &[&x])
}

/// Pad; amounts stand by axis: before, after.
pub fn pad(site: &mut Site<'_>) -> Result<()> {
    let Some(widths) = site.sizes("pad_width")? else { bail!("expected attribute 'pad_width', found none") };
    let Some(mode) = site.text("mode") else { bail!("expected attribute 'mode', found none") };
    let value = site.float("constant_value", 0.0)?;
    let mode = match mode {
        "constant" => PadMode::Constant(value),
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        other => bail!("expected mode constant, edge or reflect, found '{other}'"),
    };
    let x = site.input(0)?;
    let rank = site.shape(&x).rank();
    let (pairs, []) = widths.as_chunks::<2>() else {
        bail!("expected two entries an axis in 'pad_width', found {widths:?}");
    };
    if pairs.len() != rank {
        bail!("expected {} entries in 'pad_width', found {widths:?}", 2 * rank);
    }
    let narrow = |n: usize| i64::try_from(n).map_err(|_| Error::new(format!("expected amounts that fit, found {n}")));
    let begins = pairs.iter().map(|p| narrow(p[0])).collect::<Result<_>>()?;
    let ends = pairs.iter().map(|p| narrow(p[1])).collect::<Result<_>>()?;
    site.finish(Op::Pad(Pad { begins, ends, mode }), &[&x])
}

/// broadcast_axis: axes of size 1 repeated.
pub fn broadcast_axis(site: &mut Site<'_>) -> Result<()> {
    let axes = site.ints("axis")?.unwrap_or_default();
    let sizes = site.sizes("size")?.unwrap_or_default();
    let x = site.input(0)?;
    let shape = site.shape(&x);
    if axes.len() != sizes.len() {
        bail!("expected as many sizes as axes, found {sizes:?} for {axes:?}");
    }
    let mut dims = vec![1; shape.rank()];
    for (axis, size) in axes.iter().zip(sizes) {
        dims[shape.axis(*axis)?] = size;
    }
    site.finish(Op::Expand { dims }, &[&x])
}

/// broadcast_to; 0 keeps a size.
pub fn broadcast_to(site: &mut Site<'_>) -> Result<()> {
    let Some(sizes) = site.sizes("shape")? else { bail!("expected attribute 'shape', found none") };
    let x = site.input(0)?;
    let dims = sizes.into_iter().map(|n| n.max(1)).collect();
    site.finish(Op::Expand { dims }, &[&x])
}

/// where: the first value where the condition is not 0.
pub fn select(site: &mut Site<'_>) -> Result<()> {
    let (condition, x, y) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let zero = site.number("zero", 0.0);
    let is_zero: Item = site.step("is_zero", Op::Binary(Binary::Equal), &[&condition, &zero])?;
    site.finish(Op::Where, &[&is_zero, &y, &x])
}
