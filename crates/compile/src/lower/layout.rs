//! Layouts: row-major as the graph says, or channels last.

use super::Lower;
use lowbit_ir::{DType, Error, Result, Type, ValueId};
use lowbit_kernels::copy;
use lowbit_runtime::program::Transpose;
use lowbit_runtime::{Kind, Place, Step};
use std::ops::RangeInclusive;

/// The ranks of values that have channels to put last.
const RANKS: RangeInclusive<usize> = 3..=4;

/// How a value lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row-major over its dimensions.
    Plain = 0,
    /// Row-major over its dimensions with axis 1 moved to the end, of values of [`RANKS`]; of others the same as plain.
    ChannelsLast = 1,
}

impl Layout {
    /// The value's axes, outermost in memory first.
    pub fn axes(self, rank: usize) -> Vec<usize> {
        match self {
            Layout::ChannelsLast if RANKS.contains(&rank) => std::iter::once(0).chain(2..rank).chain([1]).collect(),
            Layout::Plain | Layout::ChannelsLast => (0..rank).collect(),
        }
    }

    /// The sizes in memory order.
    pub fn order(self, dims: &[usize]) -> Vec<usize> {
        self.axes(dims.len()).into_iter().map(|a| dims[a]).collect()
    }

    /// Elements between neighbours along each of the value's axes.
    pub fn strides(self, dims: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; dims.len()];
        let mut step = 1;
        for axis in self.axes(dims.len()).into_iter().rev() {
            strides[axis] = step;
            step *= dims[axis];
        }
        strides
    }
}

/// Whether both layouts of a value are the same bytes: one channel, or one pixel.
pub fn same_bytes(ty: &Type) -> bool {
    match ty.shape.dims() {
        Some(dims) if RANKS.contains(&dims.len()) => dims[1] == 1 || dims[2..].iter().all(|d| *d == 1),
        Some(_) | None => true,
    }
}

/// Bytes an element of unpacked types.
pub fn elem(dtype: DType) -> Result<usize> {
    match dtype.bits() {
        bits @ 8.. => Ok(bits / 8),
        _ => Err(Error::new(format!("expected activations of whole bytes, found {dtype}"))),
    }
}

impl Lower<'_> {
    /// Where a value lies in a layout, after bringing it there if it must be.
    pub(super) fn place(&mut self, v: ValueId, want: Layout) -> Result<Place> {
        if let Some(place) = self.places[v.0 as usize][want as usize] {
            return Ok(place);
        }
        let value = self.g.value(v);
        let have = match want {
            Layout::Plain => Layout::ChannelsLast,
            Layout::ChannelsLast => Layout::Plain,
        };
        let from = match (self.places[v.0 as usize][have as usize], self.g.constant(v)) {
            (Some(place), _) => place,
            (None, Some(tensor)) => {
                let place = self.out.constants.add(tensor.bytes());
                self.set(v, Layout::Plain, place);
                return self.place(v, want);
            }
            (None, None) => {
                return Err(Error::new("the value is read before it is computed: a defect of the compiler")
                    .at_value(value.name.clone()));
            }
        };
        let dims = self.dims(v)?;
        let (&[batch, channels], spatial) = (dims.first_chunk::<2>().unwrap_or(&[1, 1]), dims.get(2..).unwrap_or(&[]));
        let pixels: usize = spatial.iter().product();
        let (rows, cols) = match want {
            Layout::ChannelsLast => (channels, pixels),
            Layout::Plain => (pixels, channels),
        };
        let elem = elem(value.ty.dtype)?;
        let to = self.define(v, want)?;
        let row = self.row(copy::TRANSPOSE)?;
        let (batch, x_stride) = (vec![(batch, rows * cols * elem)], cols * elem);
        let kind = Kind::Transpose(Transpose { row, x: from, y: to, elem, batch, rows, cols, x_stride });
        self.out.steps.push(Step { name: format!("{} (layout)", value.name), kind, macs: 0 });
        Ok(to)
    }

    /// The layout in which operands are cheapest to bring together: channels last if one lies so.
    pub(super) fn common(&self, values: &[ValueId]) -> Layout {
        match values.iter().any(|v| self.only_channels_last(*v)) {
            true => Layout::ChannelsLast,
            false => Layout::Plain,
        }
    }
}
