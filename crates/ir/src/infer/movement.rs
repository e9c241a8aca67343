//! Inference of operators that move data.

use super::dims::{broadcast, factors, of_factors, offset, product, sum, symbol};
use super::elementwise::{keep_quant, may_equal, require_same_quant};
use crate::op::{Pad, PadMode, SliceAxis};
use crate::{Dim, Error, Result, Shape, Type};

pub fn concat(axis: i64, xs: &[&Type]) -> Result<Type> {
    let Some(first) = xs.first() else { return Err(Error::new("expected at least one input of Concat, found none")) };
    let at = first.shape.axis(axis)?;
    for x in xs {
        let dims = x.shape.0.iter().zip(&first.shape.0).enumerate();
        let fits =
            x.shape.rank() == first.shape.rank() && dims.into_iter().all(|(i, (a, b))| i == at || may_equal(a, b));
        if x.dtype != first.dtype || !fits {
            return Err(Error::new(format!("expected {first} but for axis {at} in every input of Concat, found {x}")));
        }
        require_same_quant(first, x)?;
    }
    let joined: Vec<&Dim> = xs.iter().filter_map(|x| x.shape.0.get(at)).collect();
    let joined = sum(&joined)?;
    let dims = first.shape.0.iter().enumerate().map(|(i, d)| {
        let known = || xs.iter().filter_map(|x| x.shape.0.get(i)).find(|d| d.known().is_some());
        if i == at { joined.clone() } else { known().unwrap_or(d).clone() }
    });
    let shape = Shape(dims.collect());
    keep_quant(first, shape, |a| (a != at).then_some(a))
}

pub fn split(axis: i64, sizes: &[usize], x: &Type) -> Result<Vec<Type>> {
    let at = x.shape.axis(axis)?;
    let total = sizes.iter().try_fold(0usize, |n, s| n.checked_add(*s));
    match x.shape.0.get(at) {
        Some(Dim::Known(n)) if total != Some(*n) => {
            return Err(Error::new(format!("expected parts that sum to {n} (axis {at} of {x}), found {sizes:?}")));
        }
        Some(Dim::Known(_) | Dim::Symbol(_)) | None => {}
    }
    let part = |size: &usize| {
        let dims = x.shape.0.iter().enumerate().map(|(i, d)| if i == at { Dim::Known(*size) } else { d.clone() });
        keep_quant(x, Shape(dims.collect()), |a| (a != at).then_some(a))
    };
    sizes.iter().map(part).collect()
}

pub fn slice(axes: &[SliceAxis], x: &Type) -> Result<Type> {
    let mut dims = x.shape.0.clone();
    let mut seen = vec![false; dims.len()];
    for s in axes {
        let at = x.shape.axis(s.axis)?;
        let (Some(dim), Some(seen)) = (dims.get_mut(at), seen.get_mut(at)) else { continue };
        if std::mem::replace(seen, true) {
            return Err(Error::new(format!("the axis {} is sliced twice", s.axis)));
        }
        if s.step == 0 {
            return Err(Error::new(format!("expected a step other than 0 along axis {}", s.axis)));
        }
        *dim = match dim {
            Dim::Known(n) => Dim::Known(slice_range(s, *n).1),
            // ONNX writes "to the end" as the largest integer of 32 or 64 bits.
            Dim::Symbol(_) if s.start == 0 && s.step == 1 && s.end >= i64::from(i32::MAX) => dim.clone(),
            Dim::Symbol(name) => symbol(format!("slice({name},{},{},{})", s.start, s.end, s.step)),
        };
    }
    let unsliced = |a: usize| x.shape.0.get(a) == dims.get(a) && !seen.get(a).copied().unwrap_or(false);
    keep_quant(x, Shape(dims.clone()), |a| unsliced(a).then_some(a))
}

/// The first position and the number of positions of a slice along an axis of `n` elements.
pub fn slice_range(s: &SliceAxis, n: usize) -> (i64, usize) {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    let from_end = |p: i64| if p < 0 { p.saturating_add(n) } else { p };
    let (start, end) = (from_end(s.start), from_end(s.end));
    if s.step > 0 {
        let (start, end) = (start.clamp(0, n), end.clamp(0, n));
        let step = s.step.unsigned_abs();
        (start, end.saturating_sub(start).max(0).unsigned_abs().div_ceil(step) as usize)
    } else {
        // ONNX: the start is limited to an element, the end may be the place before the first.
        let (start, end) = (start.clamp(0.min(n - 1), n - 1), end.clamp(-1, n - 1));
        let step = s.step.unsigned_abs().max(1);
        (start, start.saturating_sub(end).max(0).unsigned_abs().div_ceil(step) as usize)
    }
}

pub fn pad(p: &Pad, x: &Type) -> Result<Type> {
    let rank = x.shape.rank();
    if p.begins.len() != rank || p.ends.len() != rank {
        return Err(Error::new(format!(
            "expected {rank} begins and ends for {x}, found {} and {}",
            p.begins.len(),
            p.ends.len()
        )));
    }
    let mut dims = Vec::with_capacity(rank);
    for ((dim, &begin), &end) in x.shape.0.iter().zip(&p.begins).zip(&p.ends) {
        let change = begin.checked_add(end).ok_or_else(|| Error::new("the padding overflows"))?;
        let padded = offset(dim, change)?;
        let most = match p.mode {
            PadMode::Constant(_) => None,
            PadMode::Reflect => Some(1),
            PadMode::Edge | PadMode::Wrap => Some(0),
        };
        if let Dim::Known(n) = dim {
            let n = i64::try_from(*n).unwrap_or(i64::MAX);
            if begin < -n || end < -n {
                return Err(Error::new(format!("cannot remove {begin} and {end} elements of {n}")));
            }
        }
        if let (Some(reserve), Dim::Known(n)) = (most, dim) {
            let n = i64::try_from(*n).unwrap_or(i64::MAX);
            let (widest, kept) = (begin.max(end), n + begin.min(0) + end.min(0));
            // Reflection needs the mirrored elements, an edge or the other end needs one element to repeat.
            let short = if reserve == 1 { widest > 0 && widest >= kept } else { widest > 0 && kept <= 0 };
            if short {
                return Err(Error::new(format!(
                    "an axis of {n} elements cannot be padded by {begin} and {end} in this mode"
                )));
            }
        }
        dims.push(padded);
    }
    if let PadMode::Constant(v) = p.mode {
        check_fill(v, x)?;
    }
    let untouched = |a: usize| p.begins.get(a) == Some(&0) && p.ends.get(a) == Some(&0);
    keep_quant(x, Shape(dims), |a| untouched(a).then_some(a))
}

/// Whether elements of this type can be the real value that fills what has no element.
pub fn check_fill(value: f32, x: &Type) -> Result<()> {
    if x.dtype.is_integer() && !x.is_quantized() && (value.fract() != 0.0 || !value.is_finite()) {
        return Err(Error::new(format!("expected an integer to pad {x} with, found {value}")));
    }
    if value != 0.0 && x.quant.as_ref().is_some_and(|q| !q.is_per_tensor()) {
        return Err(Error::new(format!("expected one scale for padding with a constant, found {x}")));
    }
    Ok(())
}

pub fn reshape(target: &[i64], x: &Type) -> Result<Type> {
    let unfit = || {
        Error::new(format!("cannot reshape {x} to {target:?}"))
            .hint("0 copies an input size, one -1 takes what is left; a batch written as a number does not change")
    };
    let mut dims = Vec::with_capacity(target.len());
    let mut rest = None;
    for (i, &d) in target.iter().enumerate() {
        dims.push(match d {
            0 => x.shape.0.get(i).cloned().ok_or_else(unfit)?,
            -1 if rest.replace(i).is_some() => return Err(unfit()),
            -1 => Dim::Known(1),
            d => Dim::Known(usize::try_from(d).map_err(|_| unfit())?),
        });
    }
    let (have, mut open) = factors(&x.shape.0)?;
    let (want, wanted) = factors(&dims)?;
    let mut foreign = false;
    for symbol in &wanted {
        match open.iter().position(|s| s == symbol) {
            Some(i) => drop(open.remove(i)),
            None => foreign = true,
        }
    }
    if let Some(i) = rest {
        let size = if foreign || want == 0 {
            return Err(unfit());
        } else if have % want == 0 {
            of_factors(have / want, &open)
        } else if open.is_empty() {
            return Err(unfit());
        } else {
            // The open dimensions bring the missing factors, or the run refuses it.
            symbol(format!("({})/{want}", of_factors(have, &open)))
        };
        if let Some(d) = dims.get_mut(i) {
            *d = size;
        }
    } else if open.is_empty() && ((!foreign && have != want) || (have == 0) != (want == 0)) {
        // Open dimensions may still turn out to fit; only what is certainly wrong is refused here.
        return Err(unfit());
    }
    reshaped(x, Shape(dims))
}

/// The type under a shape of as many elements: a channel axis survives where as many elements stand before it.
fn reshaped(x: &Type, shape: Shape) -> Result<Type> {
    let before = |s: &Shape, axis: usize| s.0.get(..axis).and_then(|d| product(d).ok());
    let place = |old: usize| {
        let (lead, dim) = (before(&x.shape, old), x.shape.0.get(old));
        (0..shape.rank()).find(|new| before(&shape, *new) == lead && shape.0.get(*new) == dim)
    };
    keep_quant(x, shape.clone(), place)
}

pub fn flatten(axis: i64, x: &Type) -> Result<Type> {
    let rank = x.shape.rank();
    let at = if usize::try_from(axis) == Ok(rank) { rank } else { x.shape.axis(axis)? };
    let (head, tail) = x.shape.0.split_at(at);
    reshaped(x, Shape(vec![product(head)?, product(tail)?]))
}

pub fn squeeze(axes: &[i64], x: &Type) -> Result<Type> {
    let mut gone = vec![false; x.shape.rank()];
    for axis in axes {
        let at = x.shape.axis(*axis)?;
        match (x.shape.0.get(at), gone.get_mut(at)) {
            (Some(Dim::Known(1)), Some(seen @ false)) => *seen = true,
            (Some(d), Some(false)) => {
                return Err(Error::new(format!("expected size 1 along axis {axis} of {x}, found {d}")));
            }
            (_, Some(true) | None) | (None, Some(false)) => {
                return Err(Error::new(format!("the axis {axis} is listed twice")));
            }
        }
    }
    let dims = x.shape.0.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(d, _)| d.clone());
    let place = |old: usize| match gone.get(old) {
        Some(false) => Some(old - gone.iter().take(old).filter(|g| **g).count()),
        Some(true) | None => None,
    };
    keep_quant(x, Shape(dims.collect()), place)
}

pub fn unsqueeze(axes: &[i64], x: &Type) -> Result<Type> {
    let rank = x.shape.rank() + axes.len();
    let mut new = vec![false; rank];
    for axis in axes {
        let from_end = i64::try_from(rank).unwrap_or(i64::MAX);
        let at = usize::try_from(if *axis < 0 { axis.saturating_add(from_end) } else { *axis }).ok();
        match at.and_then(|at| new.get_mut(at)) {
            Some(seen @ false) => *seen = true,
            Some(true) => return Err(Error::new(format!("the axis {axis} is listed twice"))),
            None => return Err(Error::new(format!("expected an axis of the output's rank {rank}, found {axis}"))),
        }
    }
    let mut old = x.shape.0.iter();
    let dims = new.iter().filter_map(|new| if *new { Some(Dim::Known(1)) } else { old.next().cloned() });
    let shape = Shape(dims.collect());
    let kept: Vec<usize> = new.iter().enumerate().filter(|(_, new)| !**new).map(|(i, _)| i).collect();
    keep_quant(x, shape, |a| kept.get(a).copied())
}

pub fn transpose(perm: &[usize], x: &Type) -> Result<Type> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if perm.len() != x.shape.rank() || sorted.iter().enumerate().any(|(i, p)| i != *p) {
        return Err(Error::new(format!(
            "expected a permutation of the {} axes of {x}, found {perm:?}",
            x.shape.rank()
        )));
    }
    let dims = perm.iter().filter_map(|p| x.shape.0.get(*p).cloned());
    keep_quant(x, Shape(dims.collect()), |old| perm.iter().position(|p| *p == old))
}

pub fn expand(dims: &[usize], x: &Type) -> Result<Type> {
    let shape = broadcast(&x.shape, &Shape::known(dims))?;
    let more = shape.rank() - x.shape.rank();
    keep_quant(x, shape.clone(), |a| (x.shape.0.get(a) == shape.0.get(a + more)).then_some(a + more))
}
