//! Quantization parameters: how integers stand for reals.

use crate::{DType, Error, Result};
use lowbit_arithmetic::Affine;
use std::fmt;
use std::sync::Arc;

/// What shares one scale and zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole tensor.
    Tensor,
    /// Each slice along `axis`.
    Channel {
        /// The axis along which parameters differ.
        axis: usize,
    },
    /// Each run of `size` elements along `axis` (the last may be shorter); all other axes have their own blocks.
    Block {
        /// The axis that is cut into blocks.
        axis: usize,
        /// Elements a block.
        size: usize,
    },
}

/// Affine quantization: real = scale * (q - zero_point), with q in `qmin..=qmax`.
///
/// `scale` and `zero_point` have one entry for [`Granularity::Tensor`], one per channel for `Channel`, and for `Block`
/// one per block in row-major order of the tensor's shape with `axis` divided (rounded up) by `size`.
/// The parameter vectors are shared, not copied, when a type is cloned.
#[derive(Debug, Clone, PartialEq)]
pub struct Quant {
    /// Real units per integer step: positive, normal, finite.
    pub scale: Arc<[f32]>,
    /// The integer that stands for 0.0; within the storage type, not necessarily within `qmin..=qmax`.
    pub zero_point: Arc<[i32]>,
    /// Smallest integer used.
    pub qmin: i64,
    /// Largest integer used.
    pub qmax: i64,
    /// What shares one entry.
    pub granularity: Granularity,
}

impl Quant {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(scale: f32, zero_point: i32, qmin: i64, qmax: i64) -> Self {
        Quant { scale: [scale].into(), zero_point: [zero_point].into(), qmin, qmax, granularity: Granularity::Tensor }
    }

    /// Symmetric (zero point 0) scales per slice of `axis`.
    pub fn per_channel(scale: Vec<f32>, axis: usize, qmin: i64, qmax: i64) -> Self {
        let zero_point = vec![0; scale.len()].into();
        Quant { scale: scale.into(), zero_point, qmin, qmax, granularity: Granularity::Channel { axis } }
    }

    /// The type of an accumulator: these scales, zero point 0, the full range of `dtype`.
    pub fn accumulator(scale: Arc<[f32]>, axis: Option<usize>, dtype: DType) -> Self {
        let (qmin, qmax) = dtype.range().unwrap_or((i64::MIN, i64::MAX));
        let zero_point = vec![0; scale.len()].into();
        let granularity = axis.map_or(Granularity::Tensor, |axis| Granularity::Channel { axis });
        Quant { scale, zero_point, qmin, qmax, granularity }
    }

    /// Whether one pair of parameters serves the whole tensor.
    pub fn is_per_tensor(&self) -> bool {
        self.scale.len() == 1
    }

    /// The scale of slice `i` along an axis: its own, or the one of the whole tensor. `None` outside, and for blocks.
    pub fn scale_at(&self, i: usize) -> Option<f32> {
        match self.granularity {
            _ if self.is_per_tensor() => self.scale.first().copied(),
            Granularity::Tensor | Granularity::Channel { .. } => self.scale.get(i).copied(),
            Granularity::Block { .. } => None,
        }
    }

    /// The zero point, if all entries have the same.
    pub fn common_zero_point(&self) -> Option<i32> {
        let first = *self.zero_point.first()?;
        self.zero_point.iter().all(|z| *z == first).then_some(first)
    }

    /// The sole parameters of a per-tensor quantization, as the arithmetic takes them.
    pub fn affine(&self) -> Result<Affine> {
        match (&*self.scale, &*self.zero_point) {
            ([scale], [zero_point]) => self.affine_of(*scale, *zero_point),
            _ => Err(Error::new(format!(
                "expected one scale and zero point for the whole tensor, found {} scales",
                self.scale.len()
            ))),
        }
    }

    /// The parameters of entry `i` (a channel or block), as the arithmetic takes them.
    pub fn affine_at(&self, i: usize) -> Result<Affine> {
        match (self.scale.get(i), self.zero_point.get(i)) {
            (Some(scale), Some(zero_point)) => self.affine_of(*scale, *zero_point),
            _ => Err(Error::new(format!("expected at least {} scales, found {}", i + 1, self.scale.len()))),
        }
    }

    fn affine_of(&self, scale: f32, zero_point: i32) -> Result<Affine> {
        let narrow = |q: i64| {
            i32::try_from(q)
                .map_err(|_| Error::new(format!("expected a quantized range within i32, found the bound {q}")))
        };
        Ok(Affine { scale, zero_point, qmin: narrow(self.qmin)?, qmax: narrow(self.qmax)? })
    }

    /// Which entry of `scale` the element with these coordinates uses.
    ///
    /// `dims` is the tensor's shape; both slices have the tensor's rank.
    pub fn entry(&self, dims: &[usize], coords: &[usize]) -> usize {
        match self.granularity {
            Granularity::Tensor => 0,
            Granularity::Channel { axis } => coords[axis],
            Granularity::Block { axis, size } => dims.iter().zip(coords).enumerate().fold(0, |at, (i, (&dim, &c))| {
                if i == axis { at * dim.div_ceil(size) + c / size } else { at * dim + c }
            }),
        }
    }
}

/// `0.0235 * (q - 128) in 0..255`, or with an axis `{0.1, 0.2, ...}[axis 0] * q in -127..127`.
impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.scale, &*self.zero_point) {
            ([s], [0]) => write!(f, "{s:?} * q")?,
            ([s], [z]) => write!(f, "{s:?} * (q - {z})")?,
            (scales, zeros) => {
                let some: Vec<String> = scales.iter().take(3).map(|s| format!("{s:?}")).collect();
                let dots = if scales.len() > 3 { ", ..." } else { "" };
                write!(f, "{{{}{dots}}}", some.join(", "))?;
                match self.granularity {
                    Granularity::Tensor => {}
                    Granularity::Channel { axis } => write!(f, "[axis {axis}]")?,
                    Granularity::Block { axis, size } => write!(f, "[axis {axis}, block {size}]")?,
                }
                match zeros.iter().all(|z| *z == 0) {
                    true => write!(f, " * q")?,
                    false => write!(f, " * (q - z)")?,
                }
            }
        }
        write!(f, " in {}..{}", self.qmin, self.qmax)
    }
}
