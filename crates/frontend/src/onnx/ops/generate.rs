//! Values that depend on positions: OneHot, Trilu, EyeLike, ReverseSequence, NonZero of what is known.

use crate::build::Item;
use crate::build::compose::known_from;
use crate::onnx::node::Site;
use lowbit_ir::op::Binary;
use lowbit_ir::{DType, Error, Op, Result, Tensor, Type, bail};

/// OneHot: (indices, depth, [off, on]); an index beyond the depth is off everywhere.
pub fn one_hot(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(-1);
    let (indices, values) = (site.input(0)?, site.input(2)?);
    let depth = one_integer(site, 1, "depth")?.unwrap_or(0);
    let Some(size) = usize::try_from(depth).ok().filter(|d| *d > 0) else {
        bail!("expected a positive depth, found {depth}")
    };
    let rank = site.shape(&indices).rank() as i64;
    if axis < -rank - 1 || axis > rank {
        bail!("expected 'axis' in {}..={rank}, found {axis}", -rank - 1);
    }
    let axis = if axis < 0 { axis + rank + 1 } else { axis };
    let indices = site.converted("integers", &indices, DType::I64)?;
    // Negative indices count from the end.
    let number = |n: i64| Tensor::from_i64(&[], vec![n]);
    let (zero, all) = (number(0)?, number(depth)?);
    let (zero, all) = (site.known("zero", zero), site.known("depth", all));
    let negative = site.binary("negative", Binary::Less, &indices, &zero)?;
    let from_end = site.binary("from_end", Binary::Add, &indices, &all)?;
    let indices = site.chosen("indices", &negative, &from_end, &indices)?;
    let indices = site.widened("column", &indices, &[axis])?;
    site.room_for(DType::I64, &[size])?;
    let mut dims = vec![1; (rank - axis) as usize + 1];
    dims[0] = size;
    let positions = Tensor::from_i64(&dims, (0..depth).collect())?;
    let positions = site.known("positions", positions);
    let hot = site.binary("hot", Binary::Equal, &indices, &positions)?;
    let off = site.part("off", &values, 0, (0, 1, 1))?;
    let on = site.part("on", &values, 0, (1, 2, 1))?;
    site.finish(Op::Where, &[&hot, &on, &off])
}

/// The one integer of a known operand, if that is given.
fn one_integer(site: &Site<'_>, i: usize, what: &str) -> Result<Option<i64>> {
    let Some(t) = site.constant(i, what)? else { return Ok(None) };
    let all = match t.dtype().is_float() {
        true => t.floats()?.iter().map(|v| *v as i64).collect(),
        false => t.ints()?,
    };
    match all[..] {
        [one] => Ok(Some(one)),
        _ => bail!("expected one {what}, found {}", all.len()),
    }
}

/// Trilu: (x, k?), the elements on one side of a diagonal, 0 elsewhere.
pub fn trilu(site: &mut Site<'_>) -> Result<()> {
    let upper = site.flag("upper", true)?;
    let k = i128::from(one_integer(site, 1, "diagonal")?.unwrap_or(0));
    let x = site.input(0)?;
    let ty = site.ty(&x);
    let [rows, columns] = known_from(&ty.shape, ty.shape.rank().saturating_sub(2))?[..] else {
        bail!("expected matrices, found {ty}")
    };
    let kept = site.bools("kept", &[rows, columns], |at| {
        let beyond = (at % columns) as i128 - (at / columns) as i128 - k;
        if upper { beyond >= 0 } else { beyond <= 0 }
    })?;
    let scalar = Type::plain(ty.dtype, Vec::new());
    let zero = match ty.dtype.is_float() {
        true => Tensor::from_floats(scalar, vec![0.0])?,
        false => Tensor::from_ints(scalar, &[0])?,
    };
    let zero = site.known("zero", zero);
    site.finish(Op::Where, &[&kept, &x, &zero])
}

/// EyeLike: ones on a diagonal, in the shape of the operand.
pub fn eye_like(site: &mut Site<'_>) -> Result<()> {
    let k = i128::from(site.int("k")?.unwrap_or(0));
    let x = site.input(0)?;
    let dtype = match site.int("dtype")? {
        Some(code) => site.converts_to(code)?,
        None => site.ty(&x).dtype,
    };
    let [rows, columns] = known_from(&site.shape(&x), 0)?[..] else {
        bail!("expected a matrix, found {}", site.shape(&x))
    };
    let count = site.room_for(DType::I64, &[rows, columns])?;
    let one = |at: usize| i64::from((at % columns) as i128 - (at / columns) as i128 == k);
    let ty = Type::plain(dtype, vec![rows, columns]);
    let tensor = match dtype.is_float() {
        true => Tensor::from_floats(ty, (0..count).map(|at| one(at) as f32).collect())?,
        false => Tensor::from_ints(ty, &(0..count).map(one).collect::<Vec<_>>())?,
    };
    site.set(0, Item::Const("".into(), tensor));
    Ok(())
}

/// ReverseSequence: (x, lengths), the first elements of each row reversed: rows and times joined, they are a Gather.
pub fn reverse_sequence(site: &mut Site<'_>) -> Result<()> {
    let (batch, time) = (site.int("batch_axis")?.unwrap_or(1), site.int("time_axis")?.unwrap_or(0));
    let x = site.input(0)?;
    let shape = site.shape(&x);
    if !matches!((batch, time), (0, 1) | (1, 0)) {
        bail!("expected 'batch_axis' and 'time_axis' to be 0 and 1 or 1 and 0, found {batch} and {time}");
    }
    let Some(lengths) = site.known_ints(1, "lengths")? else { bail!("expected lengths, found none") };
    let [first, second, ..] = known_from(&lowbit_ir::Shape(shape.0.iter().take(2).cloned().collect()), 0)?[..] else {
        bail!("expected at least two dimensions, found {shape}")
    };
    let (rows, times) = if batch == 0 { (first, second) } else { (second, first) };
    let fits = |n: &i64| usize::try_from(*n).is_ok_and(|n| n <= times);
    if lengths.len() != rows || !lengths.iter().all(fits) {
        bail!("expected {rows} lengths of up to {times}, found {lengths:?}");
    }
    let count = site.room_for(DType::I64, &[first, second])?;
    let from = |at: usize| {
        let (row, time) = if batch == 0 { (at / second, at % second) } else { (at % second, at / second) };
        let length = lengths.get(row).and_then(|n| usize::try_from(*n).ok()).unwrap_or(0);
        let time = if time < length { length - 1 - time } else { time };
        (if batch == 0 { row * second + time } else { time * second + row }) as i64
    };
    let order = Tensor::from_i64(&[count], (0..count).map(from).collect())?;
    let order = site.known("order", order);
    let sizes = site.sizes_of(&x);
    let joined = [vec![crate::build::sizes::Size::Known(count as i64)], sizes[2..].to_vec()].concat();
    let joined = site.reshape("joined", &x, &joined)?;
    let ordered = site.step("ordered", Op::Gather { axis: 0 }, &[&joined, &order])?;
    let apart = site.reshape("apart", &ordered, &sizes)?;
    site.give(0, apart)
}

/// NonZero of a known value: how many there are is then known too.
pub fn non_zero(site: &mut Site<'_>) -> Result<()> {
    let t = site.constant(0, "operand, of which the number of elements that are not 0 is part of a type")?;
    let t = t.ok_or_else(|| Error::new("expected an operand, found none"))?;
    let dims = if t.dims().is_empty() { vec![1] } else { t.dims().to_vec() };
    let set: Vec<usize> = match t.dtype().is_float() {
        true => t.floats()?.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect(),
        false => t.ints()?.iter().enumerate().filter(|(_, v)| **v != 0).map(|(i, _)| i).collect(),
    };
    site.room_for(DType::I64, &[dims.len(), set.len()])?;
    let mut inner: usize = dims.iter().product();
    let mut data = Vec::with_capacity(dims.len() * set.len());
    for size in &dims {
        inner /= (*size).max(1);
        data.extend(set.iter().map(|at| (at / inner.max(1) % size) as i64));
    }
    let tensor = Tensor::from_i64(&[dims.len(), set.len()], data)?;
    site.set(0, Item::Const("".into(), tensor));
    Ok(())
}
