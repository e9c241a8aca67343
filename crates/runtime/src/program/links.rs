//! Functions of one element after another, block by block: what is between them never leaves the nearest cache.

use super::{AccumulatorRow, Place, product};
use lowbit_arithmetic::Affine;
use lowbit_kernels::elementwise::{self, BinaryFn, UnaryFn};
use lowbit_kernels::isa::Kernel;

/// `rows` rows of `n` elements, of which a block is made floats, goes through functions and is stored.
#[derive(Debug)]
pub struct Links {
    /// What the floats are made of.
    pub from: LinksFrom,
    /// Input.
    pub x: Place,
    /// What is done with them, in order.
    pub links: Vec<Link>,
    /// What they become.
    pub to: LinksTo,
    /// Output.
    pub y: Place,
    /// Number of rows.
    pub rows: usize,
    /// Elements a row.
    pub n: usize,
    /// Rows of a block.
    pub block: usize,
}

/// What the floats of a block are made of.
#[derive(Debug, Clone, Copy)]
pub enum LinksFrom {
    /// Themselves.
    Float,
    /// Accumulators of one scale, or of one for each element of a block.
    Accumulator {
        /// Kernel row.
        row: AccumulatorRow,
        /// The scales.
        scale: Place,
        /// 0 for one scale in all, 1 for one an element.
        step: usize,
    },
}

/// What the floats of a block become.
#[derive(Debug, Clone, Copy)]
pub enum LinksTo {
    /// Themselves.
    Float,
    /// u8.
    Bytes(&'static Kernel<elementwise::QuantizeFn<u8>>, Affine),
}

/// A function of the elements of a block.
#[derive(Debug, Clone, Copy)]
pub enum Link {
    /// Of each alone.
    Unary(&'static Kernel<elementwise::UnaryRun>, UnaryFn),
    /// Limited to a range.
    Clamp(&'static Kernel<elementwise::ClampFn>, f32, f32),
    /// Of each and another number.
    Binary {
        /// Kernel row.
        row: &'static Kernel<elementwise::BinaryRun>,
        /// Which function.
        f: BinaryFn,
        /// The other number.
        other: Other,
        /// Whether the other is the left operand.
        other_first: bool,
    },
}

/// Where the other operand of a function lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// One number an element.
    Full(Place),
    /// One number for so many rows, after which comes the next.
    Number(Place, usize),
    /// The numbers of a block, the same for all blocks.
    Block(Place),
}

impl Other {
    /// Its address.
    pub fn place_mut(&mut self) -> &mut Place {
        match self {
            Other::Full(place) | Other::Number(place, _) | Other::Block(place) => place,
        }
    }
}

impl Links {
    /// Bytes an element of the input and of the output.
    pub fn sizes(&self) -> (usize, usize) {
        let from = match self.from {
            LinksFrom::Float => 4,
            LinksFrom::Accumulator { row, .. } => row.size(),
        };
        let to = match self.to {
            LinksTo::Float => 4,
            LinksTo::Bytes(..) => 1,
        };
        (from, to)
    }

    /// What it reads besides the input: where, and how many bytes.
    pub fn others(&self) -> impl Iterator<Item = (Place, usize)> {
        let block = product([self.block, self.n, 4]);
        let scale = match self.from {
            LinksFrom::Float => None,
            LinksFrom::Accumulator { scale, step: 0, .. } => Some((scale, 4)),
            LinksFrom::Accumulator { scale, .. } => Some((scale, block)),
        };
        let others = self.links.iter().filter_map(move |link| match *link {
            Link::Unary(..) | Link::Clamp(..) => None,
            Link::Binary { other: Other::Full(place), .. } => Some((place, product([self.rows, self.n, 4]))),
            Link::Binary { other: Other::Number(place, rows), .. } => {
                Some((place, product([self.rows.div_ceil(rows.max(1)), 4])))
            }
            Link::Binary { other: Other::Block(place), .. } => Some((place, block)),
        });
        scale.into_iter().chain(others)
    }

    /// Its addresses.
    pub fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = vec![&mut self.x, &mut self.y];
        if let LinksFrom::Accumulator { scale, .. } = &mut self.from {
            out.push(scale);
        }
        out.extend(self.links.iter_mut().filter_map(|link| match link {
            Link::Unary(..) | Link::Clamp(..) => None,
            Link::Binary { other, .. } => Some(other.place_mut()),
        }));
        out
    }

    /// How many rows from `row` on, of those before `end`, one call can do: no more than a block has, and such that every
    /// number is one for all of them.
    pub(crate) fn together(&self, row: usize, end: usize) -> usize {
        self.links.iter().fold(self.block.min(end - row), |most, link| match link {
            Link::Binary { other: Other::Number(_, rows), .. } => most.min(rows - row % rows),
            Link::Unary(..) | Link::Clamp(..) | Link::Binary { .. } => most,
        })
    }
}
