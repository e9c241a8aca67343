//! Integers that exporters compute from shapes, while some dimensions are open.
//!
//! `x.view(x.size(0), -1)` becomes Shape, Gather, Unsqueeze, Concat and Reshape nodes in a file.
//! Their values are followed here while a model is read, element by element, so that the Reshape gets plain attributes
//! although the batch size is a symbol.

use lowbit_ir::op::{Binary, Scatter};
use lowbit_ir::{Customs, DType, Dim, Error, Op, Result, Shape, Tensor, Type, bail, interp};
use std::fmt;
use std::sync::Arc;

/// One integer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Size {
    /// It is known.
    Known(i64),
    /// A product: the factor (not 0) times the symbols (sorted, at least one), each of which is at least 1.
    Product(i64, Vec<Arc<str>>),
    /// It depends on open dimensions in a way that is not followed.
    Unknown,
}

impl From<&Dim> for Size {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Known(n) => i64::try_from(*n).map_or(Size::Unknown, Size::Known),
            Dim::Symbol(s) => product_of(s),
        }
    }
}

/// Inference calls the joined dimensions `N` and 12 `N*12`: the factors are found again, so that they can be divided.
fn product_of(symbol: &Arc<str>) -> Size {
    let word = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_alphanumeric() || c == '_');
    let parts: Vec<&str> = symbol.split('*').collect();
    if parts.len() < 2 || !parts.iter().all(|p| word(p)) {
        return Size::Product(1, vec![symbol.clone()]);
    }
    parts.iter().fold(Size::Known(1), |all, part| {
        all.times(&part.parse().map_or_else(|_| Size::Product(1, vec![(*part).into()]), Size::Known))
    })
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Known(n) => write!(f, "{n}"),
            Size::Product(1, symbols) => f.write_str(&symbols.join("*")),
            Size::Product(n, symbols) => write!(f, "{n}*{}", symbols.join("*")),
            Size::Unknown => f.write_str("?"),
        }
    }
}

impl Size {
    fn product(factor: i64, mut symbols: Vec<Arc<str>>) -> Size {
        symbols.sort();
        match (factor, symbols.is_empty()) {
            (0, _) => Size::Known(0),
            (_, true) => Size::Known(factor),
            (_, false) => Size::Product(factor, symbols),
        }
    }

    /// Factor and symbols, if this is followed.
    fn parts(&self) -> Option<(i64, &[Arc<str>])> {
        match self {
            Size::Known(n) => Some((*n, &[])),
            Size::Product(n, symbols) => Some((*n, symbols)),
            Size::Unknown => None,
        }
    }

    /// The product.
    pub fn times(&self, other: &Size) -> Size {
        let (Some((a, s)), Some((b, t))) = (self.parts(), other.parts()) else { return Size::Unknown };
        a.checked_mul(b).map_or(Size::Unknown, |n| Size::product(n, [s, t].concat()))
    }

    /// The quotient, where it is exact or between known numbers.
    pub fn over(&self, other: &Size) -> Size {
        let (Some((a, s)), Some((b, t))) = (self.parts(), other.parts()) else { return Size::Unknown };
        let mut rest = s.to_vec();
        for symbol in t {
            match rest.iter().position(|r| r == symbol) {
                Some(i) => drop(rest.remove(i)),
                None => return Size::Unknown,
            }
        }
        match (rest.is_empty(), a.checked_rem(b)) {
            (true, Some(0)) | (false, Some(0)) => a.checked_div(b).map_or(Size::Unknown, |n| Size::product(n, rest)),
            (true, Some(_)) if t.is_empty() && s.is_empty() => a.checked_div(b).map_or(Size::Unknown, Size::Known),
            _ => Size::Unknown,
        }
    }

    fn plus(&self, other: &Size, sign: i64) -> Size {
        let (Some((a, s)), Some((b, t))) = (self.parts(), other.parts()) else { return Size::Unknown };
        match b.checked_mul(sign).and_then(|b| a.checked_add(b)) {
            Some(n) if s == t => Size::product(n, s.to_vec()),
            _ if b == 0 => self.clone(),
            _ if a == 0 && sign == 1 => other.clone(),
            _ => Size::Unknown,
        }
    }

    /// Whether both are the same, if that is certain. A positive multiple of dimensions is never below 1.
    fn equals(&self, other: &Size) -> Option<bool> {
        match (self, other) {
            (Size::Known(a), Size::Known(b)) => Some(a == b),
            (Size::Product(n, _), Size::Known(k)) | (Size::Known(k), Size::Product(n, _)) if *n > 0 && k < n => {
                Some(false)
            }
            (Size::Product(..), Size::Product(..)) if self == other => Some(true),
            _ => None,
        }
    }

    fn binary(op: Binary, a: &Size, b: &Size) -> Size {
        let truth = |t: Option<bool>| t.map_or(Size::Unknown, |t| Size::Known(i64::from(t)));
        match op {
            Binary::Add => a.plus(b, 1),
            Binary::Sub => a.plus(b, -1),
            Binary::Mul => a.times(b),
            Binary::Div => a.over(b),
            Binary::Equal => truth(a.equals(b)),
            _ => Size::Unknown,
        }
    }
}

/// A small tensor of integers some of which are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its elements in row-major order.
    pub elements: Vec<Size>,
}

impl Sizes {
    /// The sizes of a shape as a vector.
    pub fn of_shape(dims: &[Dim]) -> Self {
        Sizes { dims: vec![dims.len()], elements: dims.iter().map(Size::from).collect() }
    }

    /// The elements of an integer tensor.
    pub fn of_tensor(t: &Tensor) -> Result<Self> {
        Ok(Sizes { dims: t.dims().to_vec(), elements: t.ints()?.into_iter().map(Size::Known).collect() })
    }

    /// All elements as a tensor, if all are known.
    pub fn tensor(&self) -> Option<Tensor> {
        let known = |s: &Size| match s {
            Size::Known(n) => Some(*n),
            Size::Product(..) | Size::Unknown => None,
        };
        Tensor::from_i64(&self.dims, self.elements.iter().map(known).collect::<Option<_>>()?).ok()
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.elements.iter().map(Size::to_string).collect();
        write!(f, "[{}]", all.join(", "))
    }
}

/// Applies an operator to integers some of which are open; `None` if it is not one that exporters use for shapes.
pub fn eval(op: &Op, inputs: &[Option<Sizes>], outputs: &[Type], customs: &Customs) -> Result<Option<Vec<Sizes>>> {
    match (op, inputs) {
        (Op::Binary(f), [Some(a), Some(b)]) => binary(*f, a, b).map(|s| Some(vec![s])),
        (Op::Cast { to }, [Some(a)]) => Ok(to.is_integer().then(|| vec![a.clone()])),
        (Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd { .. }, [Some(data), Some(at)]) => {
            moved(op, &[Moved::Data(data), Moved::Known(at)], outputs, customs).map(Some)
        }
        (
            Op::ScatterElements { reduction: Scatter::Replace, .. } | Op::ScatterNd { reduction: Scatter::Replace },
            [Some(data), Some(at), Some(updates)],
        ) => {
            let operands = [Moved::Data(data), Moved::Known(at), Moved::Data(updates)];
            moved(op, &operands, outputs, customs).map(Some)
        }
        (Op::Where, [Some(cond), Some(a), Some(b)]) => Ok(choose(cond, a, b).map(|s| vec![s])),
        (
            Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice(_)
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Transpose { .. }
            | Op::Expand { .. }
            | Op::Identity,
            all,
        ) => match all.iter().map(|s| s.as_ref().map(Moved::Data)).collect::<Option<Vec<_>>>() {
            Some(all) => moved(op, &all, outputs, customs).map(Some),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// An operand of an operator that only moves elements.
enum Moved<'a> {
    /// Its elements are moved.
    Data(&'a Sizes),
    /// It says where to.
    Known(&'a Sizes),
}

/// An operator that only moves elements: it is applied to the elements' numbers in a list of all of them.
fn moved(op: &Op, operands: &[Moved<'_>], outputs: &[Type], customs: &Customs) -> Result<Vec<Sizes>> {
    let mut pool: Vec<&Size> = Vec::new();
    let mut tensors = Vec::new();
    for operand in operands {
        tensors.push(match operand {
            Moved::Data(s) => {
                let numbers = (pool.len() as i64..).take(s.elements.len()).collect();
                pool.extend(&s.elements);
                Tensor::from_i64(&s.dims, numbers)?
            }
            Moved::Known(s) => s.tensor().ok_or_else(|| Error::new(format!("expected known indices, found {s}")))?,
        });
    }
    let operands: Vec<Option<&Tensor>> = tensors.iter().map(Some).collect();
    let types: Vec<Type> = outputs.iter().map(|t| Type::plain(DType::I64, t.shape.clone())).collect();
    let results = interp::eval(op, &operands, &types, customs)?;
    let back = |t: &Tensor| -> Result<Sizes> {
        let at = |i: &i64| usize::try_from(*i).ok().and_then(|i| pool.get(i)).map_or(Size::Unknown, |s| (*s).clone());
        Ok(Sizes { dims: t.dims().to_vec(), elements: t.ints()?.iter().map(at).collect() })
    };
    results.iter().map(back).collect()
}

/// For every element of a broadcast pair, the positions in `a` and `b`; only a scalar or single one is stretched.
fn binary(f: Binary, a: &Sizes, b: &Sizes) -> Result<Sizes> {
    let (n, m) = (a.elements.len(), b.elements.len());
    let dims = match (n, m) {
        _ if a.dims == b.dims => &a.dims,
        (_, 1) if a.dims.len() >= b.dims.len() => &a.dims,
        (1, _) if b.dims.len() >= a.dims.len() => &b.dims,
        _ => bail!("expected operands of one shape, found {a} and {b}"),
    };
    let pick = |s: &Sizes, i: usize| s.elements.get(if s.elements.len() == 1 { 0 } else { i }).cloned();
    let element = |i| match (pick(a, i), pick(b, i)) {
        (Some(a), Some(b)) => Size::binary(f, &a, &b),
        _ => Size::Unknown,
    };
    Ok(Sizes { dims: dims.clone(), elements: (0..n.max(m)).map(element).collect() })
}

fn choose(cond: &Sizes, a: &Sizes, b: &Sizes) -> Option<Sizes> {
    if cond.dims != a.dims || a.dims != b.dims {
        return None;
    }
    let element = |((c, a), b): ((&Size, &Size), &Size)| match c {
        Size::Known(0) => b.clone(),
        Size::Known(_) => a.clone(),
        Size::Product(..) | Size::Unknown if a == b => a.clone(),
        Size::Product(..) | Size::Unknown => Size::Unknown,
    };
    let elements = cond.elements.iter().zip(&a.elements).zip(&b.elements).map(element).collect();
    Some(Sizes { dims: a.dims.clone(), elements })
}

/// The static `dims` attribute of a Reshape of `input` to `target`: open dimensions become 0 (copy) or -1 (what is
/// left).
pub fn reshape_dims(target: &[Size], input: &Shape) -> Result<Vec<i64>> {
    let open = |i: usize, s: &Size| match s {
        Size::Known(n) => Some(*n),
        Size::Product(..) if input.0.get(i).map(Size::from).as_ref() == Some(s) => Some(0),
        Size::Product(..) | Size::Unknown => None,
    };
    let mut dims: Vec<Option<i64>> = target.iter().enumerate().map(|(i, s)| open(i, s)).collect();
    let inferred = dims.iter().filter(|d| **d == Some(-1)).count();
    if inferred == 0
        && let [i] = dims.iter().enumerate().filter(|(_, d)| d.is_none()).map(|(i, _)| i).collect::<Vec<_>>()[..]
        && let Some(slot) = dims.get_mut(i)
    {
        *slot = Some(-1);
    }
    dims.into_iter().collect::<Option<Vec<i64>>>().ok_or_else(|| {
        let all: Vec<String> = target.iter().map(Size::to_string).collect();
        open_error(format!("the target sizes [{}] depend on open dimensions (input {input})", all.join(", ")))
    })
}

/// An error that the user can cure by fixing dimensions.
pub fn open_error(message: String) -> Error {
    Error::new(message).hint("bind the open dimensions of the inputs, for instance --shape name=1x3x224x224")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n() -> Size {
        Size::Product(1, vec!["N".into()])
    }

    #[test]
    fn products_follow() {
        let four_n = n().times(&Size::Known(4));
        assert_eq!(four_n.to_string(), "4*N");
        assert_eq!(four_n.over(&Size::Known(2)).to_string(), "2*N");
        assert_eq!(four_n.over(&n()), Size::Known(4));
        assert_eq!(four_n.over(&Size::Known(3)), Size::Unknown);
        assert_eq!(n().plus(&n(), 1).to_string(), "2*N");
        assert_eq!(n().plus(&n(), -1), Size::Known(0));
        assert_eq!(n().plus(&Size::Known(1), 1), Size::Unknown);
        assert_eq!(Size::Known(7).over(&Size::Known(2)), Size::Known(3));
        assert_eq!(Size::Known(7).over(&Size::Known(0)), Size::Unknown);
        assert_eq!(n().equals(&Size::Known(-1)), Some(false));
        assert_eq!(n().equals(&Size::Known(1)), None);
    }

    #[test]
    fn open_dimensions_become_zero_or_minus_one() {
        let input = Shape(vec![Dim::Symbol("N".into()), Dim::Known(12), Dim::Known(64)]);
        assert_eq!(reshape_dims(&[n(), Size::Known(768)], &input).unwrap(), [0, 768]);
        assert_eq!(reshape_dims(&[n().times(&Size::Known(12)), Size::Known(64)], &input).unwrap(), [-1, 64]);
        assert_eq!(reshape_dims(&[n(), Size::Known(-1)], &input).unwrap(), [0, -1]);
        let two = [Size::Known(64), n(), n().times(&Size::Known(12))];
        assert!(reshape_dims(&two, &input).unwrap_err().to_string().contains("--shape"));
    }
}
