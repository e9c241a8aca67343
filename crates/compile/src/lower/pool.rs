//! Pooling: windows over pixels, channels last.

use super::elementwise::narrow;
use super::{Layout, Lower};
use lowbit_arithmetic::Rescale;
use lowbit_ir::op::{Pool, Reduce, ReduceKind};
use lowbit_ir::{DType, NodeId, Op, Quant, Result, ValueId, bounds};
use lowbit_kernels::pool::{self, QAverage};
use lowbit_runtime::Kind;
use lowbit_runtime::program::{self, AverageAny, Averages, PoolKind, Window};

/// What is pooled.
struct Request<'a> {
    /// The window; `None` for all spatial axes.
    pool: Option<&'a Pool>,
    average: Option<Average>,
}

#[derive(Clone, Copy)]
enum Average {
    Float,
    Integer(lowbit_ir::op::Rescale),
}

/// Lowers a pooling node, or a mean or maximum over all spatial axes.
pub fn lower(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let g = cx.g;
    let x = cx.input(id, 0)?;
    let rank = g.ty(x).shape.rank();
    let request = match &g.node(id).op {
        Op::MaxPool(p) => Request { pool: Some(p), average: None },
        Op::AvgPool(p) => Request { pool: Some(p), average: Some(Average::Float) },
        Op::GlobalAvgPool => Request { pool: None, average: Some(Average::Float) },
        Op::QAvgPool(q) => Request { pool: q.pool.as_ref(), average: Some(Average::Integer(q.rescale)) },
        // Whether one pixel is kept as axes or not, it is the same bytes.
        Op::Reduce(r) if spatial(&r.axes, rank) => match r.kind {
            ReduceKind::Mean => Request { pool: None, average: Some(Average::Float) },
            ReduceKind::Max if g.ty(x).dtype == DType::F32 => Request { pool: None, average: None },
            ReduceKind::Max | ReduceKind::Min | ReduceKind::Sum | ReduceKind::Prod => return cx.reference(id),
        },
        _ => return cx.reference(id),
    };
    // No window slides over nothing.
    if cx.dims(x)?.contains(&0) {
        return cx.reference(id);
    }
    let y = g.node(id).outputs[0];
    let elem = g.ty(x).dtype.bits() / 8;
    let Some(window) = window(cx, &request, x, y, elem)? else { return cx.reference(id) };
    let Some(kind) = kernel(cx, &request, id, &window, x, y)? else { return cx.reference(id) };
    let channels = cx.dims(x)?[1];
    let x = cx.place(x, Layout::ChannelsLast)?;
    let y = cx.define(y, Layout::ChannelsLast)?;
    cx.step(&[id], Kind::Pool(program::Pool { kind, window, channels, x, y }), 0);
    Ok(())
}

/// Whether a reduction is over exactly the spatial axes and has a pooling kernel.
pub fn is_global(r: &Reduce, rank: usize) -> bool {
    matches!(r.kind, ReduceKind::Mean | ReduceKind::Max) && spatial(&r.axes, rank)
}

/// Whether the axes are exactly those after the channel axis.
fn spatial(axes: &[i64], rank: usize) -> bool {
    let mut axes: Vec<i64> = axes.iter().map(|a| if *a < 0 { a + rank as i64 } else { *a }).collect();
    axes.sort_unstable();
    (3..=4).contains(&rank) && axes == (2..rank as i64).collect::<Vec<_>>()
}

fn window(cx: &Lower<'_>, r: &Request<'_>, x: ValueId, y: ValueId, elem: usize) -> Result<Option<Window>> {
    let (xd, yd) = (cx.dims(x)?, cx.dims(y)?);
    let spatial = match xd.len() {
        3 | 4 => xd.len() - 2,
        _ => return Ok(None),
    };
    let two = |d: &[usize], one: usize| match *d {
        [h, w] => [h, w],
        [w] => [one, w],
        _ => [one, one],
    };
    let input = two(&xd[2..], 1);
    let base = Window {
        batch: xd[0],
        input,
        output: [1, 1],
        kernel: input,
        strides: [1, 1],
        pads: [0, 0],
        dilations: [1, 1],
        pixel: xd[1] * elem,
    };
    Ok(Some(match r.pool {
        None => base,
        Some(p) => Window {
            output: two(&yd[2..], 1),
            kernel: two(&p.kernel, 1),
            strides: two(&p.strides, 1),
            pads: two(&p.pads[..spatial], 0),
            dilations: two(&p.dilations, 1),
            ..base
        },
    }))
}

fn kernel(
    cx: &Lower<'_>,
    r: &Request<'_>,
    id: NodeId,
    window: &Window,
    x: ValueId,
    y: ValueId,
) -> Result<Option<PoolKind>> {
    let include_pad = r.pool.is_some_and(|p| p.count_include_pad);
    // A partial window at the end counts its own way when padding counts too: left to the interpreter.
    if r.average.is_some() && include_pad && r.pool.is_some_and(|p| p.ceil_mode) {
        return Ok(None);
    }
    Ok(match (r.average, cx.g.ty(x).dtype) {
        (None, DType::U8) => Some(PoolKind::MaxU8(cx.row(pool::MAX_U8)?)),
        (None, DType::U16) => Some(PoolKind::MaxU16(cx.row(pool::MAX_U16)?)),
        (None, DType::F32) => Some(PoolKind::MaxF32(cx.row(pool::MAX_F32)?)),
        (Some(Average::Float), DType::F32) => Some(PoolKind::AvgF32(cx.row(pool::AVG_F32)?, include_pad)),
        (Some(Average::Integer(how)), DType::U8 | DType::U16) => {
            let Some((low, high)) = bounds::average(cx.g, cx.g.node(id))? else { return Ok(None) };
            let Some(averages) = averages(cx, how.method, window, include_pad, x, y)? else { return Ok(None) };
            let bits = bounds::bits_needed(low, high);
            let default = how.rounding == how.method.default_rounding();
            match (cx.g.ty(x).dtype, cx.g.ty(y).dtype) {
                (DType::U8, DType::U8) if default => {
                    Some(PoolKind::AvgU8(cx.row_for(pool::AVG_U8, |row| row.sum_bits >= bits)?, averages))
                }
                (DType::U16, DType::U16) if default => {
                    Some(PoolKind::AvgU16(cx.row_for(pool::AVG_U16, |row| row.sum_bits >= bits)?, averages))
                }
                (from, to) => match (narrow(from), narrow(to)) {
                    (Some(from), Some(to)) => {
                        let how = AverageAny { from, to, rounding: how.rounding };
                        Some(PoolKind::AvgAny(cx.row(pool::AVG_ANY)?, averages, how))
                    }
                    (None, _) | (_, None) => None,
                },
            }
        }
        _ => None,
    })
}

/// Output rows or columns whose windows are looked at one by one.
const MOST_POSITIONS: usize = 1 << 24;

/// The parameters for every count that a window has somewhere. A count that no method can divide by leaves the operator
/// to the interpreter, whose word on it is final.
fn averages(
    cx: &Lower<'_>,
    method: lowbit_arithmetic::Method,
    window: &Window,
    include_pad: bool,
    x: ValueId,
    y: ValueId,
) -> Result<Option<Averages>> {
    if window.output.iter().any(|n| *n > MOST_POSITIONS) {
        return Ok(None);
    }
    let affine = |v: ValueId| cx.g.ty(v).quant().and_then(Quant::affine);
    let (from, to) = (affine(x)?, affine(y)?);
    let at = |count: usize| {
        let n = u32::try_from(count).ok()?;
        let rescale = Rescale::for_average(method, from.scale, to.scale, n).ok()?;
        let by = QAverage { rescale, zero_in: from.zero_point, zero_out: to.zero_point, lo: to.qmin, hi: to.qmax };
        Some((count, by))
    };
    let by_count: Option<Vec<_>> = window.counts(include_pad).into_iter().map(at).collect();
    Ok(by_count.map(|by_count| Averages { by_count, include_pad }))
}
