//! Types of values: dtype, shape and, for integers that stand for reals, quantization.

use crate::{DType, Error, Quant, Result};
use std::fmt;
use std::sync::Arc;

/// One dimension: known, or a name that stands for one number throughout a graph.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A size.
    Known(usize),
    /// A symbol such as `N`; equal symbols are equal sizes.
    Symbol(Arc<str>),
}

impl Dim {
    /// The size, if known.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(n) => Some(*n),
            Dim::Symbol(_) => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Known(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
        }
    }
}

/// The dimensions of a tensor, outermost first. A scalar has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of known sizes.
    pub fn known(dims: &[usize]) -> Self {
        Shape(dims.iter().map(|d| Dim::Known(*d)).collect())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// All sizes, if all are known.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::known).collect()
    }

    /// All sizes, or an error that names the first symbol.
    pub fn require(&self) -> Result<Vec<usize>> {
        self.dims().ok_or_else(|| {
            Error::new(format!("expected known dimensions, found {self}"))
                .hint("bind the open dimensions, for instance --shape input=1x3x224x224")
        })
    }

    /// Number of elements, if all sizes are known and their product fits.
    pub fn count(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |n, d| n.checked_mul(d.known()?))
    }

    /// An axis counted from the end if negative, checked against the rank.
    pub fn axis(&self, axis: i64) -> Result<usize> {
        let rank = self.rank() as i64;
        if (-rank..rank).contains(&axis) {
            Ok(axis.rem_euclid(rank) as usize)
        } else {
            Err(Error::new(format!("expected an axis in {}..{}, found {axis} (shape {self})", -rank, rank)))
        }
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape::known(&dims)
    }
}

/// `1x3x224x224`, `Nx10`, and `scalar`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("x")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    /// How an element is stored.
    pub dtype: DType,
    /// How many elements, in which order.
    pub shape: Shape,
    /// What the integers mean; `None` for floats and for plain integers (indices, shapes).
    pub quant: Option<Quant>,
}

impl Type {
    /// An f32 value.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Type { dtype: DType::F32, shape: shape.into(), quant: None }
    }

    /// A value without quantization.
    pub fn plain(dtype: DType, shape: impl Into<Shape>) -> Self {
        Type { dtype, shape: shape.into(), quant: None }
    }

    /// A quantized value.
    pub fn quantized(dtype: DType, shape: impl Into<Shape>, quant: Quant) -> Self {
        Type { dtype, shape: shape.into(), quant: Some(quant) }
    }

    /// The same dtype and quantization with another shape.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Type { shape: shape.into(), ..self.clone() }
    }

    /// Whether integers stand for reals here.
    pub fn is_quantized(&self) -> bool {
        self.quant.is_some()
    }

    /// The quantization, or an error that says it is missing.
    pub fn quant(&self) -> Result<&Quant> {
        self.quant.as_ref().ok_or_else(|| Error::new(format!("expected a quantized type, found {self}")))
    }
}

/// `f32[1x3x224x224]`, `u8[1x8]{0.02 * (q - 3) in 0..255}`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype, self.shape)?;
        match &self.quant {
            Some(q) => write!(f, "{{{q}}}"),
            None => Ok(()),
        }
    }
}
