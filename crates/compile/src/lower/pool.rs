//! Pooling: windows over pixels, channels last.

use super::{Layout, Lower};
use lowbit_arithmetic::Rescale;
use lowbit_ir::op::{Pool, ReduceKind};
use lowbit_ir::{DType, NodeId, Op, Quant, Result, ValueId};
use lowbit_kernels::pool::{self, QAverage};
use lowbit_runtime::Kind;
use lowbit_runtime::program::{self, Averages, PoolKind, Window};

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

/// Lowers a pooling node, or a mean over all spatial axes.
pub fn lower(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let g = cx.g;
    let x = cx.input(id, 0)?;
    let rank = g.ty(x).shape.rank();
    let request = match &g.node(id).op {
        Op::MaxPool(p) => Request { pool: Some(p), average: None },
        Op::AvgPool(p) => Request { pool: Some(p), average: Some(Average::Float) },
        Op::GlobalAvgPool => Request { pool: None, average: Some(Average::Float) },
        Op::QAvgPool(q) => Request { pool: q.pool.as_ref(), average: Some(Average::Integer(q.rescale)) },
        Op::Reduce(r) if r.kind == ReduceKind::Mean && r.keep_dims && spatial(&r.axes, rank) => {
            Request { pool: None, average: Some(Average::Float) }
        }
        _ => return cx.reference(id),
    };
    let y = g.node(id).outputs[0];
    let Some(kind) = kernel(cx, &request, x, y)? else { return cx.reference(id) };
    let Some(window) = window(cx, &request, x, y, kind.size())? else { return cx.reference(id) };
    let channels = cx.dims(x)?[1];
    let x = cx.place(x, Layout::ChannelsLast)?;
    let y = cx.define(y, Layout::ChannelsLast)?;
    cx.step(&[id], Kind::Pool(program::Pool { kind, window, channels, x, y }), 0);
    Ok(())
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

fn kernel(cx: &Lower<'_>, r: &Request<'_>, x: ValueId, y: ValueId) -> Result<Option<PoolKind>> {
    let include_pad = r.pool.is_some_and(|p| p.count_include_pad);
    // A partial window at the end counts its own way when padding counts too: left to the interpreter.
    if r.average.is_some() && include_pad && r.pool.is_some_and(|p| p.ceil_mode) {
        return Ok(None);
    }
    let dtype = cx.g.ty(x).dtype;
    Ok(match (r.average, dtype) {
        (None, DType::U8) => Some(PoolKind::MaxU8(cx.row(pool::MAX_U8)?)),
        (None, DType::U16) => Some(PoolKind::MaxU16(cx.row(pool::MAX_U16)?)),
        (None, DType::F32) => Some(PoolKind::MaxF32(cx.row(pool::MAX_F32)?)),
        (Some(Average::Float), DType::F32) => Some(PoolKind::AvgF32(cx.row(pool::AVG_F32)?, include_pad)),
        (Some(Average::Integer(how)), DType::U8 | DType::U16) if how.rounding == how.method.default_rounding() => {
            let taps = match r.pool {
                Some(p) => p.kernel.iter().product(),
                None => cx.dims(x)?[2..].iter().product::<usize>(),
            };
            let Some(averages) = averages(cx, how.method, taps, include_pad, r, x, y)? else { return Ok(None) };
            Some(match dtype {
                DType::U8 => PoolKind::AvgU8(cx.row(pool::AVG_U8)?, averages),
                _ => PoolKind::AvgU16(cx.row(pool::AVG_U16)?, averages),
            })
        }
        _ => None,
    })
}

/// The parameters for every count a window of `taps` can have. A method that cannot divide by some count (a shift, by 3)
/// leaves the operator to the interpreter, whose word on it is final.
fn averages(
    cx: &Lower<'_>,
    method: lowbit_arithmetic::Method,
    taps: usize,
    include_pad: bool,
    r: &Request<'_>,
    x: ValueId,
    y: ValueId,
) -> Result<Option<Averages>> {
    let affine = |v: ValueId| cx.g.ty(v).quant().and_then(Quant::affine);
    let (from, to) = (affine(x)?, affine(y)?);
    let padded = r.pool.is_some_and(|p| p.pads.iter().any(|n| *n > 0) || p.ceil_mode);
    let least = if padded && !include_pad { 1 } else { taps };
    let at = |count: usize| {
        let rescale = Rescale::for_average(method, from.scale, to.scale, count as u32)?;
        Ok(QAverage { rescale, zero_in: from.zero_point, zero_out: to.zero_point, lo: to.qmin, hi: to.qmax })
    };
    let all: Result<Vec<QAverage>, lowbit_arithmetic::ScaleError> = (least..=taps).map(at).collect();
    let Ok(all) = all else { return Ok(None) };
    let Some(first) = all.first().copied() else { return Ok(None) };
    let by_count = std::iter::repeat_n(first, least).chain(all).collect();
    Ok(Some(Averages { by_count, include_pad }))
}
