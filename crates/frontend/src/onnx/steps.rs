//! Arithmetic in one line a step, for operators that are spelled out in others.

use super::node::Site;
use crate::build::Item;
use crate::build::compose::known_from;
use crate::build::sizes::Size;
use lowbit_ir::op::{Binary, MatMul, Reduce, ReduceKind, SliceAxis, Unary};
use lowbit_ir::{DType, Op, Result, Shape, Tensor, Type, bail};

impl Site<'_> {
    /// A function of one element.
    pub fn unary(&mut self, suffix: &str, f: Unary, x: &Item) -> Result<Item> {
        self.step(suffix, Op::Unary(f), &[x])
    }

    /// A function of two elements.
    pub fn binary(&mut self, suffix: &str, f: Binary, a: &Item, b: &Item) -> Result<Item> {
        self.step(suffix, Op::Binary(f), &[a, b])
    }

    /// A function of the elements and one number, which is of their type: floats.
    pub fn with_number(&mut self, suffix: &str, f: Binary, x: &Item, number: f32) -> Result<Item> {
        let number = self.known(&format!("{suffix}.by"), Tensor::scalar(number));
        self.binary(suffix, f, x, &number)
    }

    /// `x * factor`, which is `x` itself where the factor is 1.
    pub fn scaled(&mut self, suffix: &str, x: &Item, factor: f32) -> Result<Item> {
        match factor == 1.0 {
            true => Ok(x.clone()),
            false => self.with_number(suffix, Binary::Mul, x, factor),
        }
    }

    /// A reduction that keeps the axes with size 1.
    pub fn reduced(&mut self, suffix: &str, kind: ReduceKind, axes: &[i64], x: &Item) -> Result<Item> {
        self.step(suffix, Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims: true }), &[x])
    }

    /// `a` times `b`, the last two axes of `b` turned or not.
    pub fn product(&mut self, suffix: &str, a: &Item, b: &Item, trans_b: bool) -> Result<Item> {
        self.step(suffix, Op::MatMul(MatMul { trans_b }), &[a, b])
    }

    /// The axes in this order; the item itself if they are.
    pub fn turned(&mut self, suffix: &str, x: &Item, perm: &[usize]) -> Result<Item> {
        match perm.iter().enumerate().all(|(i, p)| i == *p) {
            true => Ok(x.clone()),
            false => self.step(suffix, Op::Transpose { perm: perm.to_vec() }, &[x]),
        }
    }

    /// The elements from `start` to before `end` of an axis, `step` apart.
    pub fn part(&mut self, suffix: &str, x: &Item, axis: i64, (start, end, step): (i64, i64, i64)) -> Result<Item> {
        self.step(suffix, Op::Slice(vec![SliceAxis { axis, start, end, step }]), &[x])
    }

    /// Joined along an axis.
    pub fn joined(&mut self, suffix: &str, axis: i64, items: &[&Item]) -> Result<Item> {
        self.step(suffix, Op::Concat { axis }, items)
    }

    /// New axes of size 1; the item itself if there are none.
    pub fn widened(&mut self, suffix: &str, x: &Item, axes: &[i64]) -> Result<Item> {
        match axes.is_empty() {
            true => Ok(x.clone()),
            false => self.step(suffix, Op::Unsqueeze { axes: axes.to_vec() }, &[x]),
        }
    }

    /// The elements in another type; the item itself if it has that.
    pub fn converted(&mut self, suffix: &str, x: &Item, to: DType) -> Result<Item> {
        match self.ty(x).dtype == to {
            true => Ok(x.clone()),
            false => self.step(suffix, Op::Cast { to }, &[x]),
        }
    }

    /// `condition ? a : b`.
    pub fn chosen(&mut self, suffix: &str, condition: &Item, a: &Item, b: &Item) -> Result<Item> {
        self.step(suffix, Op::Where, &[condition, a, b])
    }

    /// A constant of bools, whose memory is asked for first.
    pub fn bools(&mut self, suffix: &str, dims: &[usize], tell: impl Fn(usize) -> bool) -> Result<Item> {
        let ty = Type::plain(DType::Bool, dims.to_vec());
        let count = self.room_for(DType::I64, dims)?;
        let data: Vec<i64> = (0..count).map(|i| i64::from(tell(i))).collect();
        let tensor = Tensor::from_ints(ty, &data)?;
        Ok(self.known(suffix, tensor))
    }

    /// The number of elements of a constant of these sizes, after its memory was taken off what is allowed.
    pub fn room_for(&mut self, widest: DType, dims: &[usize]) -> Result<usize> {
        let Some(count) = Shape::known(dims).count() else { bail!("a constant of {dims:?} is too large") };
        self.builder.take(&[Type::plain(widest, dims.to_vec())], 0)?;
        Ok(count)
    }

    /// The known size of an axis, counted from the end if negative.
    pub fn known_size(&self, x: &Item, axis: i64) -> Result<usize> {
        let shape = self.shape(x);
        let at = shape.axis(axis)?;
        match known_from(&Shape(vec![shape.0[at].clone()]), 0)?[..] {
            [size] => Ok(size),
            _ => bail!("expected an axis {axis} of {shape}"),
        }
    }

    /// The sizes of an item, open ones as symbols.
    pub fn sizes_of(&self, x: &Item) -> Vec<Size> {
        self.shape(x).0.iter().map(Size::from).collect()
    }
}
