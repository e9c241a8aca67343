//! Functions of rows, with what makes the rows floats and integers again.

use super::{Layout, Lower};
use crate::fuse::RowChain;
use lowbit_arithmetic::Affine;
use lowbit_ir::{DType, Op, Result, ValueId};
use lowbit_kernels::{elementwise, rows};
use lowbit_runtime::Kind;
use lowbit_runtime::program::{AccumulatorRow, Rows, RowsFn, RowsFrom, RowsTo};

/// Lowers a chain whose function is a Softmax over an axis that is last in memory or a LayerNorm over trailing axes.
pub fn lower(cx: &mut Lower<'_>, chain: &RowChain) -> Result<()> {
    let node = cx.g.node(chain.f);
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
