//! Arithmetic on dimensions, known or open.
//!
//! What follows from an open dimension is another symbol whose name is the formula, so equal formulas stay equal
//! dimensions: `(H-1)/2+1` after a strided convolution of `H`, but `H` itself after one that keeps the size.

use crate::{Dim, Error, Result, Shape};

/// The numpy broadcast of two shapes.
pub fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.rank().max(b.rank());
    let one = Dim::Known(1);
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).and_then(|i| s.0.get(i).cloned());
    let dims = (0..rank).map(|i| {
        let (x, y) = (at(a, i).unwrap_or(one.clone()), at(b, i).unwrap_or(one.clone()));
        match (&x, &y) {
            _ if x == y => Ok(x),
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other.clone()),
            (Dim::Known(_), Dim::Known(_)) => Err(Error::new(format!("the shapes {a} and {b} do not broadcast"))),
            // An open dimension beside a known one can only be that size, or 1.
            (Dim::Known(n), Dim::Symbol(_)) | (Dim::Symbol(_), Dim::Known(n)) => Ok(Dim::Known(*n)),
            (Dim::Symbol(s), Dim::Symbol(t)) => Ok(symbol(format!("either({s},{t})"))),
        }
    });
    dims.collect::<Result<_>>().map(Shape)
}

/// A dimension that is known by this formula.
pub fn symbol(formula: String) -> Dim {
    Dim::Symbol(formula.into())
}

/// The name of a dimension as a part of a product.
fn factor(d: &Dim) -> String {
    let name = d.to_string();
    match name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        true => name,
        false => format!("({name})"),
    }
}

/// The product of dimensions.
pub fn product(dims: &[Dim]) -> Result<Dim> {
    let (known, open) = factors(dims)?;
    Ok(of_factors(known, &open))
}

/// The known part of a product, and its symbols in order of their names.
pub fn factors(dims: &[Dim]) -> Result<(usize, Vec<&Dim>)> {
    let known = dims
        .iter()
        .filter_map(Dim::known)
        .try_fold(1usize, usize::checked_mul)
        .ok_or_else(|| Error::new("the product of the dimensions overflows"))?;
    let mut open: Vec<&Dim> = dims.iter().filter(|d| d.known().is_none()).collect();
    open.sort_by_key(|d| d.to_string());
    Ok((known, open))
}

/// The dimension with these factors.
pub fn of_factors(known: usize, open: &[&Dim]) -> Dim {
    match (known, open) {
        (0, _) => Dim::Known(0),
        (n, []) => Dim::Known(n),
        (1, [d]) => (*d).clone(),
        (n, open) => {
            let mut parts: Vec<String> = open.iter().map(|d| factor(d)).collect();
            if n != 1 {
                parts.push(n.to_string());
            }
            symbol(parts.join("*"))
        }
    }
}

/// A dimension plus an offset.
pub fn offset(dim: &Dim, by: i64) -> Result<Dim> {
    let short = || Error::new(format!("expected a size that stays at least 0, found {dim} changed by {by}"));
    match dim {
        Dim::Known(n) => {
            let size = i64::try_from(*n).ok().and_then(|n| n.checked_add(by)).ok_or_else(short)?;
            usize::try_from(size).map(Dim::Known).map_err(|_| short())
        }
        Dim::Symbol(_) if by == 0 => Ok(dim.clone()),
        Dim::Symbol(_) => Ok(symbol(format!("{}{by:+}", factor(dim)))),
    }
}

/// The sum of dimensions.
pub fn sum(dims: &[&Dim]) -> Result<Dim> {
    let known = dims
        .iter()
        .filter_map(|d| d.known())
        .try_fold(0usize, usize::checked_add)
        .ok_or_else(|| Error::new("the sum of the dimensions overflows"))?;
    let open: Vec<String> = dims.iter().filter(|d| d.known().is_none()).map(|d| factor(d)).collect();
    Ok(match (open.as_slice(), known) {
        ([], n) => Dim::Known(n),
        (open, 0) => symbol(open.join("+")),
        (open, n) => symbol(format!("{}+{n}", open.join("+"))),
    })
}

/// One axis of a sliding window.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Taps.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Padding before.
    pub begin: usize,
    /// Padding after.
    pub end: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Whether a partial window at the end counts.
    pub ceil: bool,
}

impl Window {
    /// Number of positions of the window.
    pub fn positions(&self, dim: &Dim) -> Result<Dim> {
        let Window { kernel, stride, begin, end, dilation, ceil } = *self;
        if kernel == 0 || stride == 0 || dilation == 0 {
            return Err(Error::new(format!(
                "expected kernel, stride and dilation of at least 1, found {kernel}, {stride} and {dilation}"
            )));
        }
        let large = || Error::new("the window's size overflows");
        let span = (kernel - 1).checked_mul(dilation).and_then(|n| n.checked_add(1)).ok_or_else(large)?;
        let pads = begin.checked_add(end).ok_or_else(large)?;
        let size = match dim {
            Dim::Known(n) => *n,
            Dim::Symbol(_) if stride == 1 => {
                let by = i64::try_from(pads).ok().zip(i64::try_from(span - 1).ok()).map(|(p, s)| p - s);
                return offset(dim, by.ok_or_else(large)?);
            }
            Dim::Symbol(_) => {
                let by = i64::try_from(pads).ok().zip(i64::try_from(span).ok()).map(|(p, s)| p - s);
                let inner = offset(dim, by.ok_or_else(large)?)?;
                let divide = if ceil { "//" } else { "/" };
                return Ok(symbol(format!("{}{divide}{stride}+1", factor(&inner))));
            }
        };
        let padded = size.checked_add(pads).ok_or_else(large)?;
        let Some(room) = padded.checked_sub(span) else {
            return Err(Error::new(format!(
                "expected an input of at least {span} elements for the window, found {size} plus {pads} of padding"
            )));
        };
        if !ceil {
            return Ok(Dim::Known(room / stride + 1));
        }
        // A partial window counts only if it starts inside the input or the padding before it.
        let count = room.div_ceil(stride) + 1;
        let outside = (count - 1).checked_mul(stride).is_none_or(|start| start >= size + begin);
        Ok(Dim::Known(if outside { count - 1 } else { count }))
    }

    /// Refuses a window that sees padding alone at some position: it has no largest element and no average.
    ///
    /// An open size passes; it is looked at again when it is bound.
    pub fn refuse_empty(&self, dim: &Dim, positions: &Dim) -> Result<()> {
        let Window { kernel, stride, begin, end, dilation, .. } = *self;
        let span = (kernel - 1).saturating_mul(dilation).saturating_add(1);
        if begin >= span || end >= span {
            return Err(Error::new(format!(
                "expected padding narrower than the window ({span}), found {begin} and {end}"
            )));
        }
        let (Dim::Known(size), Dim::Known(count)) = (dim, positions) else { return Ok(()) };
        let empty = |position: usize| {
            Err(Error::new(format!(
                "the window at position {position} sees padding alone (size {size}, dilation {dilation})"
            ))
            .hint("less padding, or a dilation of at most the input's size"))
        };
        let Some(last) = count.checked_sub(1) else { return Ok(()) };
        if last.saturating_mul(stride) >= size.saturating_add(begin) {
            return empty(last);
        }
        // Windows that start inside the input see their first tap. Those that start before it see the first tap at or
        // after the input's start, which taps closer than the input is long cannot miss.
        if dilation <= *size {
            return Ok(());
        }
        let before = begin.div_ceil(stride).min(*count);
        if before > MOST_POSITIONS {
            return Err(Error::new(format!(
                "expected at most {MOST_POSITIONS} positions in the padding, found {before}"
            )));
        }
        match (0..before).find(|i| (dilation - (begin - i * stride) % dilation) % dilation >= *size) {
            Some(position) => empty(position),
            None => Ok(()),
        }
    }
}

/// Positions in the padding that are looked at one by one.
const MOST_POSITIONS: usize = 1 << 16;
