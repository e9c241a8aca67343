//! Sequences and optional values, which exist while reading only: a sequence is a list of tensors, whose length and
//! positions are known.

use super::control::beside;
use crate::build::Item;
use crate::build::sizes::open_error;
use crate::onnx::node::{Site, sizes_of};
use crate::onnx::walk::Thing;
use lowbit_ir::{DType, Dim, Error, Op, Result, Tensor, Type, bail};

/// SequenceConstruct.
pub fn construct(site: &mut Site<'_>) -> Result<()> {
    let items = site.inputs()?;
    site.set_sequence(0, items)
}

/// SequenceEmpty.
pub fn empty(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["dtype"]);
    site.set_sequence(0, Vec::new())
}

/// SequenceInsert: at the end unless a position is given.
pub fn insert(site: &mut Site<'_>) -> Result<()> {
    let mut items = site.sequence(0)?.to_vec();
    let item = site.input(1)?;
    let at = match site.known_ints(2, "position")? {
        Some(at) => position(&at, items.len(), items.len())?,
        None => items.len(),
    };
    items.insert(at, item);
    site.set_sequence(0, items)
}

/// SequenceErase: the last one unless a position is given.
pub fn erase(site: &mut Site<'_>) -> Result<()> {
    let mut items = site.sequence(0)?.to_vec();
    let Some(last) = items.len().checked_sub(1) else { bail!("expected a sequence with tensors, found an empty one") };
    let at = match site.known_ints(1, "position")? {
        Some(at) => position(&at, items.len(), last)?,
        None => last,
    };
    items.remove(at);
    site.set_sequence(0, items)
}

/// SequenceAt.
pub fn at(site: &mut Site<'_>) -> Result<()> {
    let items = site.sequence(0)?;
    let Some(at) = site.known_ints(1, "position")? else { bail!("expected a position, found none") };
    let Some(last) = items.len().checked_sub(1) else { bail!("expected a sequence with tensors, found an empty one") };
    let at = position(&at, items.len(), last)?;
    site.pass_on(0, Thing::Tensor(items[at].clone()))
}

/// A position in a list of this length, counted from the end if negative; at most `last`.
fn position(at: &[i64], length: usize, last: usize) -> Result<usize> {
    let [at] = at else { bail!("expected one position, found {}", at.len()) };
    // A list in memory is shorter than i64 can say.
    let from_start = if *at < 0 { at.saturating_add(length as i64) } else { *at };
    let place = usize::try_from(from_start).ok().filter(|i| *i <= last);
    place.ok_or_else(|| Error::new(format!("expected a position in a sequence of {length} tensors, found {at}")))
}

/// SequenceLength.
pub fn length(site: &mut Site<'_>) -> Result<()> {
    let count = site.sequence(0)?.len();
    site.set(0, Item::Const("".into(), Tensor::from_i64(&[], vec![count as i64])?));
    Ok(())
}

/// ConcatFromSequence: along an axis, perhaps a new one.
pub fn concat(site: &mut Site<'_>) -> Result<()> {
    let Some(axis) = site.int("axis")? else { bail!("expected attribute 'axis', found none") };
    let new_axis = site.flag("new_axis", false)?;
    let items = site.sequence(0)?;
    if items.is_empty() {
        bail!("expected a sequence with tensors, found an empty one");
    }
    let (node, output) = (site.name.clone(), site.output_name(0));
    let whole = beside(site.builder, &node, &output, &items, axis, new_axis, false)?;
    site.set(0, whole);
    Ok(())
}

/// SplitToSequence: parts of one size or of a list of sizes, or single elements whose axis goes unless it is kept.
pub fn split(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(0);
    let keep = site.flag("keepdims", true)?;
    let x = site.input(0)?;
    let shape = site.shape(&x);
    let whole = shape.0.get(shape.axis(axis)?).and_then(Dim::known);
    let whole = whole.ok_or_else(|| open_error(format!("the parts of axis {axis} of {shape} are not known")))?;
    let split = site.constant(1, "split")?;
    let single = split.is_none();
    let sizes = match &split {
        Some(list) if list.dims().len() == 1 => sizes_of("split", &list.ints()?)?,
        Some(one) => match sizes_of("split", &one.ints()?)?[..] {
            [part] if part > 0 => (0..whole.div_ceil(part)).map(|i| part.min(whole - i * part)).collect(),
            _ => bail!("expected parts of one size from 1 on, or a list of sizes"),
        },
        None => vec![1; whole],
    };
    site.file.limits.sequence(sizes.len())?;
    let base = site.output_name(0);
    let names: Vec<String> = (0..sizes.len()).map(|i| site.builder.fresh(&format!("{base}.{i}"))).collect();
    let node = site.name.clone();
    let mut parts = site.builder.emit(&node, Op::Split { axis, sizes }, &[Some(x)], &names, &[])?;
    if single && !keep {
        for (i, part) in parts.iter_mut().enumerate() {
            *part = site.step(&format!("{i}.element"), Op::Squeeze { axes: vec![axis] }, &[&*part])?;
        }
    }
    site.set_sequence(0, parts)
}

/// Optional: what it is given, or nothing.
pub fn optional(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["type"]);
    let thing = site.thing(0)?;
    site.pass_on(0, thing)
}

/// OptionalHasElement.
pub fn has_element(site: &mut Site<'_>) -> Result<()> {
    let has = !matches!(site.thing(0)?, Thing::Nothing);
    let told = Tensor::from_ints(Type::plain(DType::Bool, Vec::new()), &[i64::from(has)])?;
    site.set(0, Item::Const("".into(), told));
    Ok(())
}

/// OptionalGetElement.
pub fn get_element(site: &mut Site<'_>) -> Result<()> {
    match site.thing(0)? {
        Thing::Nothing => bail!("expected an optional value that is there, found none"),
        thing => site.pass_on(0, thing),
    }
}
