//! Shapes and what is computed from them; constants; nodes that do nothing at inference.

use crate::build::sizes::{Size, Sizes, open_error, reshape_dims};
use crate::build::{Builder, Item, MOST_FOLDED};
use crate::onnx::node::Site;
use crate::onnx::walk::Thing;
use lowbit_ir::op::Binary;
use lowbit_ir::{DType, Dim, Error, Op, Result, Shape, Tensor, Type, bail};

/// Identity. A constant is the same constant under another name.
pub fn identity(site: &mut Site<'_>) -> Result<()> {
    let thing = site.thing(0)?;
    if let Thing::Nothing = thing
        && site.operands() == 0
    {
        bail!("expected an operand, found none");
    }
    site.pass_on(0, thing)
}

/// Dropout, which does nothing at inference.
pub fn dropout(site: &mut Site<'_>) -> Result<()> {
    site.ignore(&["ratio", "seed", "is_test"]);
    if let Some(training) = site.constant(2, "training mode")?
        && training.ints()?.iter().any(|t| *t != 0)
    {
        bail!("training mode is not supported; export the model for inference");
    }
    mask(site)?;
    identity(site)
}

/// The second output of Dropout says what was kept, which is all; older opsets do not say what it is at inference.
///
/// It is computed, so that one which nobody reads takes no memory: equal to itself or not.
fn mask(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    if site.outputs() < 2 || site.opset < 12 || site.ty(&x).is_quantized() {
        return Ok(());
    }
    let yes = Tensor::from_ints(Type::plain(DType::Bool, Vec::new()), &[1])?;
    let yes = site.known("yes", yes);
    let same = site.binary("same", Binary::Equal, &x, &x)?;
    let kept = site.binary("kept", Binary::Or, &same, &yes)?;
    site.give(1, kept)
}

/// Constant, in all its forms but texts and sparse tensors.
pub fn constant(site: &mut Site<'_>) -> Result<()> {
    let tensor = if let Some(t) = site.tensor("value")? {
        t
    } else if let Some(v) = site.floats("value_floats")? {
        Tensor::from_f32(&[v.len()], v)?
    } else if let Some(v) = site.ints("value_ints")? {
        Tensor::from_i64(&[v.len()], v)?
    } else if let Some(v) = site.int("value_int")? {
        Tensor::from_i64(&[], vec![v])?
    } else if site.has("value_float") {
        Tensor::scalar(site.float("value_float", 0.0)?)
    } else {
        bail!("expected a value as tensor, number or list of numbers");
    };
    site.set(0, Item::Const("".into(), tensor));
    Ok(())
}

/// ConstantOfShape.
pub fn constant_of_shape(site: &mut Site<'_>) -> Result<()> {
    let value = site.tensor("value")?.map_or_else(|| Ok(Tensor::scalar(0.0)), |t| t.reshaped(&[]))?;
    let Some(sizes) = site.sizes(0, "shape")? else { bail!("expected a shape, found none") };
    let Some(known) = sizes.tensor() else {
        return Err(open_error(format!("the shape {sizes} depends on open dimensions")));
    };
    let dims = crate::onnx::node::sizes_of("shape", &known.ints()?)?;
    let count = Shape::known(&dims).count().filter(|n| *n <= MOST_FOLDED);
    let Some(count) = count else { bail!("a constant of {dims:?} is too large") };
    let ty = Type::plain(value.dtype(), dims);
    // Integers are i64 on the way.
    let widest = if value.dtype().is_float() { DType::F32 } else { DType::I64 };
    site.builder.take(&[Type::plain(widest, vec![count])], 0)?;
    let tensor = match value.dtype().is_float() {
        true => Tensor::from_floats(ty, value.floats()?.repeat(count))?,
        false => Tensor::from_ints(ty, &value.ints()?.repeat(count))?,
    };
    site.set(0, Item::Const("".into(), tensor));
    Ok(())
}

/// Shape, whole or a part.
pub fn shape(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let dims = site.shape(&x).0;
    let rank = dims.len() as i64;
    let at = |p: i64| (if p < 0 { p.saturating_add(rank) } else { p }).clamp(0, rank) as usize;
    let (start, end) = (at(site.int("start")?.unwrap_or(0)), at(site.int("end")?.unwrap_or(rank)));
    let part = dims.get(start..end).unwrap_or_default();
    fold(site, Sizes::of_shape(part))
}

/// Size: the number of elements.
pub fn size(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let count = site.shape(&x).0.iter().map(Size::from).fold(Size::Known(1), |p, s| p.times(&s));
    fold(site, Sizes { dims: Vec::new(), elements: vec![count] })
}

fn fold(site: &mut Site<'_>, sizes: Sizes) -> Result<()> {
    let name = site.output_name(0);
    site.set(0, Builder::of_sizes(&name, sizes));
    Ok(())
}

/// Range of known numbers.
pub fn range(site: &mut Site<'_>) -> Result<()> {
    // The type of the sum while it is computed: everything is f32 here.
    site.ignore(&["stash_type"]);
    let mut bounds = Vec::new();
    for (i, what) in ["start", "limit", "step"].into_iter().enumerate() {
        match site.constant(i, what)? {
            Some(t) if t.count() == 1 => bounds.push(t),
            _ => bail!("expected {what} as one known number"),
        }
    }
    let too_many = || Error::new(format!("expected a range of at most {MOST_FOLDED} elements and a step other than 0"));
    let all = |n: f64| (n <= MOST_FOLDED as f64).then(|| n.max(0.0) as usize).ok_or_else(too_many);
    let tensor = match bounds.iter().map(|t| t.dtype()).collect::<Vec<_>>()[..] {
        [DType::F32, DType::F32, DType::F32] => {
            let v: Vec<f32> =
                bounds.iter().map(|t| t.floats().map(|v| v.to_vec())).collect::<Result<Vec<_>>>()?.concat();
            let [start, limit, step] = v[..] else { bail!("expected three numbers") };
            let n = all(((f64::from(limit) - f64::from(start)) / f64::from(step)).ceil())?;
            site.builder.take(&[Type::plain(DType::F32, vec![n])], 0)?;
            Tensor::from_f32(&[n], (0..n).map(|i| start + i as f32 * step).collect())?
        }
        [a, b, c] if a == b && b == c && a.is_integer() => {
            let v: Vec<i64> = bounds.iter().map(Tensor::ints).collect::<Result<Vec<_>>>()?.concat();
            let [start, limit, step] = v[..] else { bail!("expected three numbers") };
            let span = i128::from(limit) - i128::from(start);
            let step = i128::from(step);
            let rounded =
                span.checked_div(step).ok_or_else(too_many)? + i128::from(span % step != 0 && (span > 0) == (step > 0));
            let n = all(rounded as f64)?;
            site.builder.take(&[Type::plain(DType::I64, vec![n])], 0)?;
            // Every element lies between start and limit, both i64.
            let data: Vec<i64> = (0..n).map(|i| (i128::from(start) + i as i128 * step) as i64).collect();
            Tensor::from_ints(Type::plain(a, vec![n]), &data)?
        }
        _ => bail!("expected start, limit and step of one type"),
    };
    site.set(0, Item::Const("".into(), tensor));
    Ok(())
}

/// Reshape: sizes that exporters compute become static.
pub fn reshape(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let Some(target) = site.sizes(1, "target shape")? else { bail!("expected a target shape, found none") };
    if site.flag("allowzero", false)? && target.elements.contains(&Size::Known(0)) {
        bail!("empty tensors (allowzero) are not supported");
    }
    let dims = reshape_dims(&target.elements, &site.shape(&x))?;
    site.finish(Op::Reshape { dims }, &[&x])
}

/// Flatten.
pub fn flatten(site: &mut Site<'_>) -> Result<()> {
    let axis = site.int("axis")?.unwrap_or(1);
    let x = site.input(0)?;
    site.finish(Op::Flatten { axis }, &[&x])
}

/// Squeeze: axes are an attribute before opset 13, then an operand; without them all axes of size 1 go.
pub fn squeeze(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let axes = match site.ints_or_input("axes", 1)? {
        Some(axes) => axes,
        None => {
            let shape = site.shape(&x);
            let ones = shape.0.iter().enumerate().filter(|(_, d)| **d == Dim::Known(1));
            if shape.0.iter().any(|d| d.known().is_none()) {
                return Err(open_error(format!("the axes of size 1 of {shape} are not known")));
            }
            ones.map(|(i, _)| i as i64).collect()
        }
    };
    site.finish(Op::Squeeze { axes }, &[&x])
}

/// Unsqueeze: axes are an attribute before opset 13, then an operand.
pub fn unsqueeze(site: &mut Site<'_>) -> Result<()> {
    let x = site.input(0)?;
    let Some(axes) = site.ints_or_input("axes", 1)? else { bail!("expected 'axes', found none") };
    site.finish(Op::Unsqueeze { axes }, &[&x])
}
