//! Functions of rows, with what makes the rows floats and integers again, and reductions of rows to a number each.

use super::{Layout, Lower, pool};
use crate::fuse::RowChain;
use lowbit_arithmetic::Affine;
use lowbit_ir::infer::reduced_axes;
use lowbit_ir::op::{self, ReduceKind};
use lowbit_ir::{DType, Op, Result, ValueId};
use lowbit_kernels::rows::ReduceFn;
use lowbit_kernels::{elementwise, rows};
use lowbit_runtime::Kind;
use lowbit_runtime::program::{AccumulatorRow, Reduce, Rows, RowsFn, RowsFrom, RowsTo};

/// Lowers a chain whose function is a Softmax over an axis that is last in memory, a LayerNorm over trailing axes or a
/// reduction over axes that are last in memory.
pub fn lower(cx: &mut Lower<'_>, chain: &RowChain) -> Result<()> {
    let node = cx.g.node(chain.f);
    if let Op::Reduce(r) = &node.op {
        return reduce(cx, chain, r);
    }
    let x = cx.input(chain.f, 0)?;
    let dims = cx.dims(x)?;
    let row = match &node.op {
        Op::Softmax { axis } => {
            let axis = cx.g.ty(x).shape.axis(*axis)?;
            let last = |l: &Layout| l.axes(dims.len()).last() == Some(&axis);
            let layout = [Layout::Plain, Layout::ChannelsLast].into_iter().find(last);
            layout.map(|layout| (layout, dims[axis]))
        }
        Op::LayerNorm { axis, .. } => {
            let n: usize = dims[cx.g.ty(x).shape.axis(*axis)?..].iter().product();
            let whole = |v: ValueId| cx.g.ty(v).shape.count() == Some(n) && cx.g.ty(v).dtype == DType::F32;
            let known = node.input(1).is_some_and(whole) && node.input(2).is_none_or(whole);
            known.then_some((Layout::Plain, n))
        }
        _ => None,
    };
    let (Some((layout, n)), DType::F32) = (row, cx.g.ty(x).dtype) else {
        return cx.reference_chain(chain.f, &chain.nodes);
    };
    let rows = dims.iter().product::<usize>().checked_div(n).unwrap_or(0);
    let f = match node.op {
        Op::LayerNorm { epsilon, .. } => {
            let row = cx.row(rows::LAYER_NORM)?;
            let scale = cx.input(chain.f, 1)?;
            let scale = cx.place(scale, Layout::Plain)?;
            let bias = node.input(2).map(|b| cx.place(b, Layout::Plain)).transpose()?;
            RowsFn::LayerNorm { row, scale, bias, epsilon }
        }
        _ => RowsFn::Softmax(cx.row(rows::SOFTMAX)?),
    };
    let affine = |cx: &Lower<'_>, v: ValueId| -> Result<Affine> { cx.g.ty(v).quant()?.affine() };
    let from = match cx.g.ty(chain.input).dtype {
        DType::F32 => RowsFrom::Float,
        DType::U8 => RowsFrom::Bytes(cx.row(elementwise::DEQUANTIZE8)?, affine(cx, chain.input)?),
        wide => {
            let row = match wide {
                DType::I64 => AccumulatorRow::Wide(cx.row(elementwise::DEQUANTIZE_WIDE)?),
                _ => AccumulatorRow::Narrow(cx.row(elementwise::DEQUANTIZE_ACC)?),
            };
            let scale = cx.g.ty(chain.input).quant()?.scale.clone();
            RowsFrom::Accumulator(row, cx.out.constants.numbers(&scale))
        }
    };
    let to = match cx.g.ty(chain.output).dtype {
        DType::F32 => RowsTo::Float,
        _ => RowsTo::Bytes(cx.row(elementwise::QUANTIZE8)?, affine(cx, chain.output)?),
    };
    let x = cx.place(chain.input, layout)?;
    let y = cx.define(chain.output, layout)?;
    cx.step(&chain.nodes, Kind::Rows(Rows { f, from, to, x, y, rows, n }), 0);
    Ok(())
}

/// Elements of a part of a row that is reduced apart from others, and how many parts there are at most: rows of images
/// are few and long, and threads share what is many.
const PART: usize = 4096;
const PARTS: usize = 16;

fn reduce(cx: &mut Lower<'_>, chain: &RowChain, r: &op::Reduce) -> Result<()> {
    let f = match r.kind {
        ReduceKind::Max if chain.nodes.len() > 1 => Some(ReduceFn::Largest),
        ReduceKind::Max => Some(ReduceFn::Max),
        ReduceKind::Min => Some(ReduceFn::Min),
        ReduceKind::Sum => Some(ReduceFn::Sum),
        ReduceKind::Mean => Some(ReduceFn::Mean),
        ReduceKind::Prod => None,
    };
    let x = chain.input;
    let dims = cx.dims(x)?;
    let floats = [x, chain.output].iter().all(|v| cx.g.ty(*v).dtype == DType::F32);
    let f = f.filter(|_| floats && !dims.contains(&0));
    let reduced = reduced_axes(r, &cx.g.ty(x).shape)?;
    let rows_of = |layout| f.and_then(|f| Some((f, layout, rows_in(layout, &dims, &reduced, f)?)));
    let (here, elsewhere) = match cx.common(&[x]) {
        Layout::Plain => (Layout::Plain, Layout::ChannelsLast),
        Layout::ChannelsLast => (Layout::ChannelsLast, Layout::Plain),
    };
    // Over the pixels of all channels a pool does it in the layout of pools: the mean anyhow, since it computes channels
    // side by side where rows compute one after the other.
    let pooled = chain.nodes.len() == 1 && pool::is_global(r, dims.len());
    let found = match (pooled, r.kind) {
        (true, ReduceKind::Mean) => None,
        (true, _) => rows_of(here),
        (false, _) => rows_of(here).or_else(|| rows_of(elsewhere)),
    };
    let Some((f, layout, (rows, n))) = found else {
        return chain.nodes.iter().try_for_each(|id| match *id == chain.f {
            true => pool::lower(cx, *id),
            false => cx.node(*id, cx.g.node(*id)),
        });
    };
    let row = cx.row(rows::REDUCE)?;
    let mut x = cx.place(x, layout)?;
    // Behind the kept axes, in their order, nothing is left: the results lie as in either layout.
    let y = cx.define(chain.output, Layout::Plain)?;
    let parts = (1..=PARTS / rows.clamp(1, PARTS)).rev().find(|p| n.is_multiple_of(*p) && n / p >= PART).unwrap_or(1);
    let (mut last, mut n) = (f, n);
    if parts > 1 && f.is_of_parts() {
        let each = cx.buffer(rows * parts * 4);
        cx.step(&chain.nodes, Kind::Reduce(Reduce { row, f, x, y: each, rows: rows * parts, n: n / parts }), 0);
        (x, n) = (each, parts);
        // Magnitudes have no sign to lose.
        last = if f == ReduceFn::Largest { ReduceFn::Max } else { f };
    }
    cx.step(&chain.nodes, Kind::Reduce(Reduce { row, f: last, x, y, rows, n }), 0);
    Ok(())
}

/// How many rows there are and how long, if what is reduced lies behind what is kept, and the kept axes in their order. A
/// sum, which has an order, wants the reduced ones in theirs.
fn rows_in(layout: Layout, dims: &[usize], reduced: &[bool], f: ReduceFn) -> Option<(usize, usize)> {
    // Where an axis of one element lies is nobody's business.
    let axes: Vec<usize> = layout.axes(dims.len()).into_iter().filter(|a| dims[*a] != 1).collect();
    let (kept, gone) = axes.split_at(axes.iter().position(|a| reduced[*a]).unwrap_or(axes.len()));
    let fits = gone.iter().all(|a| reduced[*a]) && kept.is_sorted() && (f.is_of_parts() || gone.is_sorted());
    let size = |axes: &[usize]| axes.iter().map(|a| dims[*a]).product();
    fits.then(|| (size(kept), size(gone)))
}
