//! Moving data: renaming where nothing moves, else runs of bytes.

use super::layout::{elem, same_bytes};
use super::{Layout, Lower};
use lowbit_arithmetic::{Rounding, quantize};
use lowbit_ir::interp::nearest_positions;
use lowbit_ir::op::{Coordinates, Pad, PadMode, Resize, ResizeMode, SliceAxis};
use lowbit_ir::{NodeId, Op, Quant, Result, ValueId};
use lowbit_kernels::copy;
use lowbit_runtime::program::{Gather, Pad as PadStep, Transpose};
use lowbit_runtime::{Kind, Place};

/// The same value under another name.
pub fn identity(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let layout = cx.common(&[x]);
    let place = cx.place(x, layout)?;
    cx.set(y, layout, place);
    Ok(())
}

/// The same row-major bytes under another shape.
pub fn reshape(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let place = cx.place(x, Layout::Plain)?;
    cx.set(y, Layout::Plain, place);
    Ok(())
}

/// A permutation of axes; free where the bytes are in that order already.
pub fn transpose(cx: &mut Lower<'_>, id: NodeId, perm: &[usize]) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let dims = cx.dims(x)?;
    let layout = cx.common(&[x]);
    let from = cx.place(x, layout)?;
    let moving = |axes: &[usize]| axes.iter().copied().filter(|a| dims[*a] != 1).collect::<Vec<_>>();
    if moving(perm) == moving(&layout.axes(dims.len())) {
        cx.set(y, Layout::Plain, from);
        return Ok(());
    }
    let size = elem(cx.g.ty(x).dtype)?;
    let strides = layout.strides(&dims);
    if let Some(matrices) = matrices(&dims, &strides, perm, size) {
        let (y, row) = (cx.define(y, Layout::Plain)?, cx.row(copy::TRANSPOSE)?);
        let Matrices { batch, rows, cols, x_stride } = matrices;
        let kind = Kind::Transpose(Transpose { row, x: from, y, elem: size, batch, rows, cols, x_stride });
        cx.step(&[id], kind, 0);
        return Ok(());
    }
    cx.ask_tables(dims.iter().copied())?;
    let tables = perm.iter().map(|a| (0..dims[*a]).map(|i| i * strides[*a] * size).collect()).collect();
    gather(cx, id, from, y, Layout::Plain, tables, size)
}

/// A transposition that turns matrices, as [`Transpose`] has them.
struct Matrices {
    batch: Vec<(usize, usize)>,
    rows: usize,
    cols: usize,
    x_stride: usize,
}

/// Fewer elements than these are copied in the time that a kernel takes to be called.
const FEW: usize = 32;

/// The matrices that a permutation turns: where it exchanges the axes that it leaves last, joined with their neighbours.
fn matrices(dims: &[usize], strides: &[usize], perm: &[usize], size: usize) -> Option<Matrices> {
    // The axes in the output's order; neighbours of the input that stay neighbours are one.
    let mut axes: Vec<(usize, usize)> = Vec::new();
    for (n, stride) in perm.iter().map(|a| (dims[*a], strides[*a].saturating_mul(size))).filter(|(n, _)| *n != 1) {
        match axes.last_mut() {
            Some((before, wide)) if *wide == n.saturating_mul(stride) => {
                (*before, *wide) = (before.saturating_mul(n), stride);
            }
            Some(_) | None => axes.push((n, stride)),
        }
    }
    let ((rows, x_stride), (cols, step)) = (axes.pop()?, axes.pop()?);
    let turns = step == size && rows >= 2 && cols >= 2 && rows.saturating_mul(cols) >= FEW;
    turns.then_some(Matrices { batch: axes, rows, cols, x_stride })
}

/// Emits a gather, joining innermost axes that are contiguous in the input.
#[allow(clippy::too_many_arguments, reason = "the parts of one step")]
fn gather(
    cx: &mut Lower<'_>,
    id: NodeId,
    x: Place,
    y: ValueId,
    layout: Layout,
    mut tables: Vec<Vec<usize>>,
    size: usize,
) -> Result<()> {
    let mut run = size;
    let mut x = x;
    if tables.iter().any(Vec::is_empty) {
        // Nothing is read, and where the others start may lie beyond an empty input.
        tables = vec![Vec::new()];
    }
    while let Some(inner) = tables.last() {
        let contiguous = inner.windows(2).all(|w| w[1] == w[0] + run);
        let Some(first) = inner.first().copied().filter(|_| contiguous) else { break };
        run *= inner.len();
        x = x.plus(first);
        tables.pop();
    }
    let (x, tables) = joined(cx, x, tables)?;
    // What is read from the moved start on.
    let far = tables.iter().map(|t| t.iter().copied().max()).sum::<Option<usize>>();
    let reach = far.map_or(0, |far| far + run);
    let y = cx.define(y, layout)?;
    let step = Gather::even(&tables);
    cx.step(&[id], Kind::Gather(Gather { x, x_bytes: reach, y, tables, run, step }), 0);
    Ok(())
}

/// The same movement over no more axes than a gather has: those of one position go, and where there are still too many,
/// the two neighbours with the fewest positions become one.
pub fn joined(cx: &mut Lower<'_>, x: Place, tables: Vec<Vec<usize>>) -> Result<(Place, Vec<Vec<usize>>)> {
    let (ones, mut tables): (Vec<_>, Vec<_>) = tables.into_iter().partition(|t| t.len() == 1);
    let start: usize = ones.iter().flatten().sum();
    while tables.len() > Gather::AXES {
        let pairs = tables.windows(2).map(|pair| pair[0].len().saturating_mul(pair[1].len())).enumerate();
        let Some((at, size)) = pairs.min_by_key(|(_, size)| *size) else { break };
        cx.ask_tables([size])?;
        let inner = tables.remove(at + 1);
        tables[at] = tables[at].iter().flat_map(|outer| inner.iter().map(move |i| outer + i)).collect();
    }
    Ok((x.plus(start), tables))
}

/// Takes positions along axes, in the operand's own layout.
fn take(cx: &mut Lower<'_>, id: NodeId, x: ValueId, y: ValueId, positions: &[Vec<usize>]) -> Result<()> {
    let dims = cx.dims(x)?;
    let layout = cx.common(&[x]);
    let size = elem(cx.g.ty(x).dtype)?;
    let from = cx.place(x, layout)?;
    let strides = layout.strides(&dims);
    let table = |axis: usize| positions[axis].iter().map(|i| i * strides[axis] * size).collect();
    let tables = layout.axes(dims.len()).into_iter().map(table).collect();
    gather(cx, id, from, y, layout, tables, size)
}

/// Start, end and step per axis, as inference limited them.
pub fn slice(cx: &mut Lower<'_>, id: NodeId, axes: &[SliceAxis]) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let (xd, yd) = (cx.dims(x)?, cx.dims(y)?);
    // Positions of elements, and then of bytes.
    cx.ask_tables(xd.iter().chain(&yd).copied().chain(yd.iter().copied()))?;
    let mut positions: Vec<Vec<usize>> = xd.iter().map(|n| (0..*n).collect()).collect();
    for s in axes {
        let axis = cx.g.ty(x).shape.axis(s.axis)?;
        let n = xd[axis] as i64;
        let from = if s.start < 0 { s.start.saturating_add(n) } else { s.start };
        let first = if s.step > 0 { from.clamp(0, n) } else { from.clamp(0, (n - 1).max(0)) };
        positions[axis] = (0..yd[axis] as i64).map(|i| (first + i * s.step) as usize).collect();
    }
    take(cx, id, x, y, &positions)
}

/// The nearest elements, in the operand's own layout: they are only moved, whatever they mean. What is computed of
/// several is left to the interpreter.
pub fn resize(cx: &mut Lower<'_>, id: NodeId, r: &Resize) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let ResizeMode::Nearest(rounding) = r.mode else { return cx.reference(id) };
    // What lies outside of the operand is none of its elements.
    if matches!(r.coordinates, Coordinates::Crop(_)) {
        return cx.reference(id);
    }
    let (xd, yd) = (cx.dims(x)?, cx.dims(y)?);
    if cx.g.ty(x).dtype.bits() < 8 {
        return cx.reference(id);
    }
    // Coordinates, positions of elements, and then of bytes.
    cx.ask_tables(xd.iter().chain(&yd).copied().chain(yd.iter().flat_map(|n| [*n, *n])))?;
    take(cx, id, x, y, &nearest_positions(r, rounding, &xd, &yd))
}

/// Consecutive parts along an axis.
pub fn split(cx: &mut Lower<'_>, id: NodeId, axis: i64, sizes: &[usize]) -> Result<()> {
    let x = cx.input(id, 0)?;
    let dims = cx.dims(x)?;
    let axis = cx.g.ty(x).shape.axis(axis)?;
    let mut from = 0;
    cx.ask_tables(cx.g.node(id).outputs.iter().flat_map(|_| dims.iter().copied()))?;
    for (y, size) in cx.g.node(id).outputs.iter().zip(sizes) {
        let mut positions: Vec<Vec<usize>> = dims.iter().map(|n| (0..*n).collect()).collect();
        positions[axis] = (from..from + size).collect();
        take(cx, id, x, *y, &positions)?;
        from += size;
    }
    Ok(())
}

/// Repeats to a larger shape.
pub fn expand(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let (xd, yd) = (cx.dims(x)?, cx.dims(y)?);
    let size = elem(cx.g.ty(x).dtype)?;
    let from = cx.place(x, Layout::Plain)?;
    let strides = Layout::Plain.strides(&xd);
    let ahead = yd.len() - xd.len();
    cx.ask_tables(yd.iter().copied())?;
    let table = |axis: usize| {
        let stride = match axis.checked_sub(ahead) {
            Some(a) if xd[a] != 1 => strides[a] * size,
            Some(_) | None => 0,
        };
        (0..yd[axis]).map(|i| i * stride).collect()
    };
    let tables = (0..yd.len()).map(table).collect();
    gather(cx, id, from, y, Layout::Plain, tables, size)
}

/// Joins along an axis: runs of every operand, side by side.
pub fn concat(cx: &mut Lower<'_>, id: NodeId, axis: i64) -> Result<()> {
    let y = cx.g.node(id).outputs[0];
    let operands: Vec<ValueId> = cx.g.node(id).operands().collect();
    let yd = cx.dims(y)?;
    let axis = cx.g.ty(y).shape.axis(axis)?;
    let size = elem(cx.g.ty(y).dtype)?;
    // What lies there already lies channels last.
    let joined = operands.iter().any(|x| cx.within.contains(x));
    let layout = if joined { Layout::ChannelsLast } else { cx.common(&operands) };
    let order = layout.axes(yd.len());
    let at = order.iter().position(|a| *a == axis).unwrap_or(0);
    let rows: usize = order[..at].iter().map(|a| yd[*a]).product();
    let inner = |dims: &[usize]| order[at..].iter().map(|a| dims[*a]).product::<usize>() * size;
    let y_stride = inner(&yd);
    let mut places = Vec::new();
    for x in operands {
        let from = if cx.within.contains(&x) { None } else { Some(cx.place(x, layout)?) };
        places.push((from, inner(&cx.dims(x)?)));
    }
    let to = match cx.places[y.0 as usize][layout as usize] {
        Some(place) => place,
        None => cx.define(y, layout)?,
    };
    let mut offset = 0;
    for (x, bytes) in places {
        if let Some(x) = x {
            let kind = Kind::CopyRows { x, y: to.plus(offset), rows, bytes, x_stride: bytes, y_stride };
            cx.step(&[id], kind, 0);
        }
        offset += bytes;
    }
    Ok(())
}

/// Bytes that every place of a step is a multiple of.
const STEP: usize = 8;

impl Lower<'_> {
    /// Where a value lies, channels last, within the one that a Concat of channels makes of it and of others, and the bytes
    /// from pixel to pixel there, if nothing else reads it: what writes it there saves the copy, of which both sides are in
    /// no near cache for larger batches. Whatever else asks for its place would take it for a value that lies alone, so
    /// it is given none.
    pub(super) fn within(&mut self, x: ValueId) -> Result<Option<(Place, usize)>> {
        let Some(id) = self.users.only(x).filter(|_| !self.g.outputs.contains(&x)) else { return Ok(None) };
        let node = self.g.node(id);
        let Op::Concat { axis } = node.op else { return Ok(None) };
        let (y, dims) = (node.outputs[0], self.dims(x)?);
        let ty = self.g.ty(y);
        let channels = ty.shape.axis(axis)? == 1 && (3..=4).contains(&dims.len());
        if !channels || same_bytes(ty) || same_bytes(self.g.ty(x)) {
            return Ok(None);
        }
        let size = elem(ty.dtype)?;
        let mut before = 0;
        for v in node.operands().take_while(|v| *v != x) {
            before += self.dims(v)?[1] * size;
        }
        let stride = self.dims(y)?[1] * size;
        // Steps keep to places that elements of any size can have.
        if !before.is_multiple_of(STEP) || !stride.is_multiple_of(STEP) {
            return Ok(None);
        }
        let to = match self.places[y.0 as usize][Layout::ChannelsLast as usize] {
            Some(place) => place,
            None => self.define(y, Layout::ChannelsLast)?,
        };
        self.within.insert(x);
        Ok(Some((to.plus(before), stride)))
    }
}

/// A constant border; other borders, and borders that take away, are left to the interpreter.
pub fn pad(cx: &mut Lower<'_>, id: NodeId, p: &Pad) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    let PadMode::Constant(value) = p.mode else { return cx.reference(id) };
    let ty = cx.g.ty(x).clone();
    let fill = match (&ty.quant, ty.dtype) {
        (None, lowbit_ir::DType::F32) => u64::from(value.to_bits()),
        (Some(q), lowbit_ir::DType::U8 | lowbit_ir::DType::U16) if q.is_per_tensor() => {
            quantize(value, &Quant::affine(q)?, Rounding::HalfEven, 0) as u64
        }
        _ => return cx.reference(id),
    };
    if p.begins.iter().chain(&p.ends).any(|n| *n < 0) {
        return cx.reference(id);
    }
    let (xd, yd) = (cx.dims(x)?, cx.dims(y)?);
    let size = elem(ty.dtype)?;
    let layout = cx.common(&[x]);
    let axes = layout.axes(xd.len());
    let strides = layout.strides(&yd);
    // Innermost axes without a border make one run with the axis before them.
    let mut outer = axes.len();
    let mut run = size;
    while outer > 0 {
        outer -= 1;
        run *= xd[axes[outer]];
        if xd[axes[outer]] != yd[axes[outer]] {
            break;
        }
    }
    let start: usize = axes.iter().map(|a| p.begins[*a] as usize * strides[*a] * size).sum();
    let mut offsets = vec![start];
    cx.ask_tables([axes[..outer].iter().map(|a| xd[*a]).product::<usize>()])?;
    for a in &axes[..outer] {
        let (count, step) = (xd[*a], strides[*a] * size);
        offsets = offsets.iter().flat_map(|at| (0..count).map(move |i| at + i * step)).collect();
    }
    let from = cx.place(x, layout)?;
    let to = cx.define(y, layout)?;
    let y_bytes = yd.iter().product::<usize>() * size;
    cx.step(&[id], Kind::Pad(PadStep { x: from, y: to, y_bytes, elem: size, fill, offsets, run }), 0);
    Ok(())
}
