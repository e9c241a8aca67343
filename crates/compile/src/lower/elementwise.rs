//! Element by element: functions of one value and of two.

use super::layout::elem;
use super::mac::{add_params, requant, rescale_of, stored};
use super::movement::joined;
use super::{Layout, Lower};
use crate::fuse::{by_chance, limits};
use lowbit_arithmetic::{Affine, Rescale, Rounding, quantize, requantize};
use lowbit_ir::op::{Binary, Rescale as How, Unary};
use lowbit_ir::{DType, Error, Granularity, NodeId, Op, Quant, Result, Type, ValueId};
use lowbit_kernels::elementwise::{self, BinaryFn, MulParams, Pair, UnaryFn};
use lowbit_runtime::program::{
    AccumulatorRow, Affines, Entries, Gather, Indices, Integer, Map, MapFn, Narrow, PairAny, QuantizeAny, RequantAny,
    Zip, ZipFn,
};
use lowbit_runtime::{Kind, Place};

/// A function of one element, in whatever layout its operand lies.
pub fn map(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let (x, y) = (cx.input(id, 0)?, cx.g.node(id).outputs[0]);
    if matches!(cx.g.node(id).op, Op::Dequantize) && matches!(cx.g.ty(x).dtype, DType::I32 | DType::I64) {
        return dequantize_accumulator(cx, id, x, y);
    }
    let layout = cx.common(&[x]);
    let Some(f) = map_fn(cx, id, x, y, layout)? else { return cx.reference(id) };
    let n = cx.dims(x)?.iter().product();
    let x = cx.place(x, layout)?;
    let y = cx.define(y, layout)?;
    cx.step(&[id], Kind::Map(Map { f, x, y, n }), 0);
    Ok(())
}

/// The kernel for a node, if there is one.
fn map_fn(cx: &mut Lower<'_>, id: NodeId, x: ValueId, y: ValueId, layout: Layout) -> Result<Option<MapFn>> {
    let (xt, yt) = (cx.g.ty(x).clone(), cx.g.ty(y).clone());
    let dims = cx.dims(x)?;
    Ok(match (&cx.g.node(id).op, xt.dtype, yt.dtype) {
        (Op::Quantize { rounding: Rounding::HalfEven }, DType::F32, DType::U8) if per_tensor(&yt) => {
            Some(MapFn::Quantize8(cx.row(elementwise::QUANTIZE8)?, yt.quant()?.affine()?))
        }
        (Op::Quantize { rounding: Rounding::HalfEven }, DType::F32, DType::U16) if per_tensor(&yt) => {
            Some(MapFn::Quantize16(cx.row(elementwise::QUANTIZE16)?, yt.quant()?.affine()?))
        }
        (Op::Quantize { rounding }, DType::F32, _) if !dims.contains(&0) => {
            match (narrow(yt.dtype), affines(&yt, &dims, layout)?) {
                (Some(to), Some(affines)) => {
                    let indices = indices(*rounding, &dims, layout);
                    let how = QuantizeAny { to, affines, rounding: *rounding, indices };
                    Some(MapFn::QuantizeAny(cx.row(elementwise::QUANTIZE_ANY)?, how))
                }
                (None, _) | (_, None) => None,
            }
        }
        (Op::Dequantize, DType::U8, _) => match affines(&xt, &dims, layout)? {
            Some(of) => Some(MapFn::Dequantize8(cx.row(elementwise::DEQUANTIZE8)?, of)),
            None => None,
        },
        (Op::Dequantize, DType::U16, _) => match affines(&xt, &dims, layout)? {
            Some(of) => Some(MapFn::Dequantize16(cx.row(elementwise::DEQUANTIZE16)?, of)),
            None => None,
        },
        (Op::Relu | Op::Clip { .. }, DType::F32, _) => {
            let (lo, hi) = limits(&cx.g.node(id).op).unwrap_or(crate::fuse::OPEN);
            Some(MapFn::Clamp(cx.row(elementwise::CLAMP)?, lo, hi))
        }
        (Op::Relu | Op::Clip { .. }, DType::U8, _) if per_tensor(&xt) => {
            let of = xt.quant()?.affine()?;
            let (lo, hi) = limits(&cx.g.node(id).op).unwrap_or(crate::fuse::OPEN);
            let bound = |r: f32| quantize(r, &of, Rounding::HalfEven, 0);
            let (lo, hi) = (if lo == 0.0 { of.zero_point } else { bound(lo) }, bound(hi));
            Some(table8(cx, |q| q.max(lo).min(hi))?)
        }
        (Op::Requantize(how), DType::U8 | DType::I8, DType::U8 | DType::I8)
            if per_tensor(&xt) && per_tensor(&yt) && !matches!(how.rounding, Rounding::Stochastic { .. }) =>
        {
            let (from, to) = (xt.quant()?.affine()?, yt.quant()?.affine()?);
            let by = Rescale::new(how.method, from.scale, to.scale)?;
            // The table is indexed and filled by stored bytes, signed or not.
            let signed = xt.dtype == DType::I8;
            let rounding = how.rounding;
            let f = move |byte: i32| {
                let q = if signed { i32::from(byte as u8 as i8) } else { byte };
                requantize(i64::from(q - from.zero_point), by, rounding, to.zero_point, to.qmin, to.qmax, 0)
            };
            Some(table8(cx, f)?)
        }
        (Op::Requantize(how), ..) => requantize_any(cx, *how, x, y, layout)?,
        (Op::Table, DType::U8, DType::U8) => Some(MapFn::Table8(cx.row(elementwise::TABLE8)?, table(cx, id)?)),
        (Op::Table, DType::U16, DType::U16) => Some(MapFn::Table16(cx.row(elementwise::TABLE16)?, table(cx, id)?)),
        (Op::Unary(f), DType::F32, _) => match unary(*f) {
            Some(f) => Some(MapFn::Unary(cx.row(elementwise::UNARY)?, f)),
            None => None,
        },
        _ => None,
    })
}

/// Multipliers of a requantization of one scale: as many as a run of elements takes.
const ALIKE: usize = 1024;

/// A requantization that is no table: of accumulators, to or from 16 bits, with chance.
fn requantize_any(cx: &mut Lower<'_>, how: How, x: ValueId, y: ValueId, layout: Layout) -> Result<Option<MapFn>> {
    let (xt, yt) = (cx.g.ty(x).clone(), cx.g.ty(y).clone());
    let dims = cx.dims(x)?;
    let (Some(from), Some(to)) = (integer(xt.dtype), narrow(yt.dtype)) else { return Ok(None) };
    let (quant, target) = (xt.quant()?, yt.quant()?);
    // Scales of either side may differ along one axis, the same for both.
    let axis = |q: &Quant| match q.granularity {
        _ if q.is_per_tensor() => Some(None),
        Granularity::Channel { axis } => Some(Some(axis)),
        Granularity::Tensor | Granularity::Block { .. } => None,
    };
    let axis = match (axis(quant), axis(target)) {
        (Some(a), Some(b)) if a.is_none() || b.is_none() || a == b => a.or(b),
        _ => return Ok(None),
    };
    let entries = axis.map_or(Entries::ONE, |axis| along(axis, &dims, layout));
    let (Some(zero_in), Some(_)) = (quant.common_zero_point(), target.common_zero_point()) else { return Ok(None) };
    if dims.contains(&0) {
        return Ok(None);
    }
    if !by_chance(how) && (from, to, zero_in, entries.inner) == (Integer::I32, Narrow::U8, 0, 1) {
        let list: Vec<Option<usize>> = match axis {
            None => vec![Some(0); ALIKE],
            Some(_) => (0..entries.count).map(Some).collect(),
        };
        let requant = requant(cx, how, quant, y, &list)?;
        return Ok(Some(MapFn::RequantAcc(cx.row(elementwise::REQUANT_ACC)?, requant, list.len())));
    }
    let out = stored(target)?;
    let rescales = (0..entries.count).map(|e| rescale_of(how, quant, target, Some(e))).collect::<Result<_>>()?;
    let indices = indices(how.rounding, &dims, layout);
    let (zero_point, lo, hi, rounding) = (out.zero_point, out.qmin, out.qmax, how.rounding);
    let how = RequantAny { from, to, zero_in, rescales, entries, rounding, indices, zero_point, lo, hi };
    Ok(Some(MapFn::RequantAny(cx.row(elementwise::REQUANT_ANY)?, how)))
}

/// The entries of scales along an axis.
fn along(axis: usize, dims: &[usize], layout: Layout) -> Entries {
    let inside = layout.axes(dims.len()).into_iter().skip_while(|a| *a != axis).skip(1);
    Entries { count: dims[axis], inner: inside.map(|a| dims[a]).product() }
}

/// What integers of a type mean, where a tensor or its channels share a scale.
fn affines(ty: &Type, dims: &[usize], layout: Layout) -> Result<Option<Affines>> {
    let quant = ty.quant()?;
    let entries = match quant.granularity {
        _ if quant.is_per_tensor() => Entries::ONE,
        Granularity::Channel { axis } if !dims.contains(&0) => along(axis, dims, layout),
        Granularity::Tensor | Granularity::Channel { .. } | Granularity::Block { .. } => return Ok(None),
    };
    let list = (0..quant.scale.len()).map(|e| quant.affine_at(e)).collect::<Result<_>>()?;
    Ok(Some(Affines { list, entries }))
}

/// How a kernel reads integers of a type.
fn integer(dtype: DType) -> Option<Integer> {
    match dtype {
        DType::I32 => Some(Integer::I32),
        DType::I64 => Some(Integer::I64),
        narrower => narrow(narrower).map(Integer::from),
    }
}

/// How a kernel stores integers of a type.
pub fn narrow(dtype: DType) -> Option<Narrow> {
    match dtype {
        DType::U8 => Some(Narrow::U8),
        DType::U16 => Some(Narrow::U16),
        DType::I16 => Some(Narrow::I16),
        DType::F32
        | DType::F16
        | DType::BF16
        | DType::I8
        | DType::I32
        | DType::I64
        | DType::Bool
        | DType::I4
        | DType::U4
        | DType::I2
        | DType::U2 => None,
    }
}

/// Where elements lie in their sample, for roundings that ask.
fn indices(rounding: Rounding, dims: &[usize], layout: Layout) -> Indices {
    match (rounding, layout, dims) {
        (Rounding::Stochastic { .. }, Layout::ChannelsLast, [_, channels, pixels @ ..]) => {
            Indices { channels: *channels, pixels: pixels.iter().product() }
        }
        (Rounding::Stochastic { .. }, ..) => Indices { channels: dims.iter().skip(1).product(), pixels: 1 },
        (Rounding::HalfEven | Rounding::HalfUp | Rounding::HalfAway | Rounding::TowardZero | Rounding::Floor, ..) => {
            Indices::NONE
        }
    }
}

fn per_tensor(ty: &Type) -> bool {
    ty.quant.as_ref().is_some_and(Quant::is_per_tensor)
}

fn table8(cx: &mut Lower<'_>, f: impl Fn(i32) -> i32) -> Result<MapFn> {
    let bytes: Vec<u8> = (0..256).map(|q| f(q) as u8).collect();
    let place = cx.out.constants.add(&bytes);
    Ok(MapFn::Table8(cx.row(elementwise::TABLE8)?, place))
}

/// A table operator's constant, whose first entry is for the lowest integer of the operand's type, spread over all that
/// the storage can hold, so that the kernel looks up what it finds.
fn table(cx: &mut Lower<'_>, id: NodeId) -> Result<Place> {
    let (x, table) = (cx.input(id, 0)?, cx.input(id, 1)?);
    let lowest = cx.g.ty(x).quant()?.qmin;
    let size = elem(cx.g.ty(x).dtype)?;
    let entries = match cx.g.constant(table) {
        Some(tensor) => tensor.ints()?,
        None => return Err(Error::new("expected a constant table").at_value(cx.g.value(table).name.clone())),
    };
    let last = entries.len() as i64 - 1;
    let at = |q: i64| entries.get((q - lowest).clamp(0, last.max(0)) as usize).copied().unwrap_or(0) as u64;
    let bytes: Vec<u8> = (0..1i64 << (8 * size)).flat_map(|q| at(q).to_le_bytes().into_iter().take(size)).collect();
    Ok(cx.out.constants.add(&bytes))
}

/// Accumulators to floats, one scale a channel: channels must be last in memory.
fn dequantize_accumulator(cx: &mut Lower<'_>, id: NodeId, x: ValueId, y: ValueId) -> Result<()> {
    let quant = cx.g.ty(x).quant()?.clone();
    let dims = cx.dims(x)?;
    let count: usize = dims.iter().product();
    let layout = match quant.granularity {
        lowbit_ir::Granularity::Tensor => cx.common(&[x]),
        lowbit_ir::Granularity::Channel { axis: 1 } if (3..=4).contains(&dims.len()) => Layout::ChannelsLast,
        lowbit_ir::Granularity::Channel { axis } if axis + 1 == dims.len() => Layout::Plain,
        lowbit_ir::Granularity::Channel { .. } | lowbit_ir::Granularity::Block { .. } => return cx.reference(id),
    };
    if quant.zero_point.iter().any(|z| *z != 0) {
        return cx.reference(id);
    }
    let (channels, scale_step) = if quant.is_per_tensor() { (count, 0) } else { (quant.scale.len(), 1) };
    let rows = count.checked_div(channels).unwrap_or(0);
    let row = match cx.g.ty(x).dtype {
        DType::I64 => AccumulatorRow::Wide(cx.row(elementwise::DEQUANTIZE_WIDE)?),
        _ => AccumulatorRow::Narrow(cx.row(elementwise::DEQUANTIZE_ACC)?),
    };
    let scale = cx.out.constants.numbers(&quant.scale);
    let x = cx.place(x, layout)?;
    let y = cx.define(y, layout)?;
    cx.step(&[id], Kind::DequantizeAcc { row, x, y, rows, channels, scale, scale_step }, 0);
    Ok(())
}

/// A function of two elements, with broadcasting.
pub fn zip(cx: &mut Lower<'_>, id: NodeId) -> Result<()> {
    let (a, b, y) = (cx.input(id, 0)?, cx.input(id, 1)?, cx.g.node(id).outputs[0]);
    let dtypes = (cx.g.ty(a).dtype, cx.g.ty(b).dtype, cx.g.ty(y).dtype);
    let known = [a, b, y].iter().all(|v| per_tensor(cx.g.ty(*v)));
    let widths = match (narrow(dtypes.0), narrow(dtypes.1), narrow(dtypes.2)) {
        (Some(a), Some(b), Some(y)) => Some([a, b, y]),
        (None, ..) | (_, None, _) | (.., None) => None,
    };
    let f = match (&cx.g.node(id).op, dtypes) {
        (Op::QAdd(how), (DType::U8, DType::U8, DType::U8)) if known && !by_chance(*how) => {
            ZipFn::Add8(cx.row(elementwise::QADD)?, add_params(cx.g, *how, a, b, y)?)
        }
        (Op::QAdd(how), (DType::U16, DType::U16, DType::U16)) if known && !by_chance(*how) => {
            ZipFn::Add16(cx.row(elementwise::QADD16)?, add_params(cx.g, *how, a, b, y)?)
        }
        (Op::QMul(how), (DType::U8, DType::U8, DType::U8)) if known && !by_chance(*how) => {
            ZipFn::Mul8(cx.row(elementwise::QMUL)?, mul_params(cx, *how, a, b, y)?)
        }
        (Op::QMul(how), (DType::U16, DType::U16, DType::U16)) if known && !by_chance(*how) => {
            ZipFn::Mul16(cx.row(elementwise::QMUL16)?, mul_params(cx, *how, a, b, y)?)
        }
        (Op::QAdd(how), _) if known && widths.is_some() => {
            pair_any(cx, Pair::Add(add_params(cx.g, *how, a, b, y)?), widths)?
        }
        (Op::QMul(how), _) if known && widths.is_some() => {
            pair_any(cx, Pair::Mul(mul_params(cx, *how, a, b, y)?), widths)?
        }
        (Op::Binary(f), (DType::F32, DType::F32, DType::F32)) => match binary(*f) {
            Some(f) => ZipFn::Binary(cx.row(elementwise::BINARY)?, f, 1, 1),
            None => return cx.reference(id),
        },
        _ => return cx.reference(id),
    };
    broadcast(cx, id, f, a, b, y)
}

/// A sum or product with another rounding, or of different widths. Where its elements lie is told when the layout is.
fn pair_any(cx: &Lower<'_>, how: Pair, widths: Option<[Narrow; 3]>) -> Result<ZipFn> {
    let [a, b, to] = widths.ok_or_else(|| Error::new("expected integers of 8 or 16 bits"))?;
    let how = PairAny { from: [a, b], to, how, indices: Indices::NONE };
    Ok(ZipFn::Any(cx.row(elementwise::PAIR_ANY)?, how))
}

fn mul_params(cx: &Lower<'_>, how: How, a: ValueId, b: ValueId, y: ValueId) -> Result<MulParams> {
    let affine = |v: ValueId| cx.g.ty(v).quant().and_then(Quant::affine);
    let (a, b, y): (Affine, Affine, Affine) = (affine(a)?, affine(b)?, affine(y)?);
    let rescale = Rescale::for_product(how.method, a.scale, b.scale, y.scale)?;
    let (z1, z2, zero_point) = (a.zero_point, b.zero_point, y.zero_point);
    Ok(MulParams { rescale, rounding: how.rounding, z1, z2, zero_point, lo: y.qmin, hi: y.qmax })
}

/// Finds rows over which each operand either runs along or repeats one element; expands an operand where there are none.
fn broadcast(cx: &mut Lower<'_>, id: NodeId, f: ZipFn, a: ValueId, b: ValueId, y: ValueId) -> Result<()> {
    let yd = cx.dims(y)?;
    if yd.contains(&0) {
        return cx.reference(id);
    }
    let full = |cx: &Lower<'_>, v: ValueId| -> Result<Vec<usize>> {
        let d = cx.dims(v)?;
        Ok(std::iter::repeat_n(1, yd.len() - d.len()).chain(d).collect())
    };
    let (ad, bd) = (full(cx, a)?, full(cx, b)?);
    // An operand of lower rank, or of rank 3 and 4 with other sizes, has the output's memory order only if it lies
    // row-major and has one axis of more than one element, or if its layout is the output's.
    let fits = |cx: &Lower<'_>, v: ValueId, d: &[usize]| {
        cx.g.ty(v).shape.rank() == yd.len() || d.iter().filter(|n| **n != 1).count() <= 1
    };
    let layout = match fits(cx, a, &ad) && fits(cx, b, &bd) {
        true => cx.common(&[a, b]),
        false => Layout::Plain,
    };
    let order = layout.order(&yd);
    let mut operands = Vec::new();
    for (v, d) in [(a, &ad), (b, &bd)] {
        let own = if cx.g.ty(v).shape.rank() == yd.len() { layout } else { Layout::Plain };
        operands.push((cx.place(v, own)?, layout.order(d)));
    }
    let steps_free = matches!(f, ZipFn::Binary(..));
    let split = (0..=order.len()).find_map(|split| {
        let form = |d: &[usize]| runs(d, &order, split);
        match (form(&operands[0].1), form(&operands[1].1)) {
            (Some(a), Some(b)) if steps_free || (a.1 == 1 && b.1 == 1) => Some((split, a, b)),
            _ => None,
        }
    });
    let (split, (a_stride, a_step), (b_stride, b_step)) = match split {
        Some(found) => found,
        None => {
            for ((place, d), size) in operands.iter_mut().zip(f.sizes()) {
                if *d != order {
                    *place = expand(cx, id, *place, d, &order, size)?;
                    *d = order.clone();
                }
            }
            (0, (0, 1), (0, 1))
        }
    };
    let rows = order[..split].iter().product();
    let n = order[split..].iter().product();
    let f = match f {
        ZipFn::Binary(row, f, _, _) => ZipFn::Binary(row, f, a_step, b_step),
        ZipFn::Any(row, how) => ZipFn::Any(row, PairAny { indices: indices(how.how.rounding(), &yd, layout), ..how }),
        f @ (ZipFn::Add8(..) | ZipFn::Add16(..) | ZipFn::Mul8(..) | ZipFn::Mul16(..)) => f,
    };
    let y = cx.define(y, layout)?;
    let kind = Kind::Zip(Zip { f, a: (operands[0].0, a_stride), b: (operands[1].0, b_stride), y, rows, n });
    cx.step(&[id], kind, 0);
    Ok(())
}

/// Row stride and step of an operand if axes from `split` on are one run: all of the output's sizes, or all 1, and the
/// same for the axes before.
fn runs(d: &[usize], order: &[usize], split: usize) -> Option<(usize, usize)> {
    let (outer, inner) = (&d[..split], &d[split..]);
    let n: usize = inner.iter().product();
    let one = |d: &[usize]| d.iter().all(|n| *n == 1);
    let step = match (inner == &order[split..], one(inner)) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => return None,
    };
    match (outer == &order[..split], one(outer)) {
        (true, _) => Some((n, step)),
        (false, true) => Some((0, step)),
        (false, false) => None,
    }
}

/// An operand repeated to the output's sizes, both in memory order.
fn expand(cx: &mut Lower<'_>, id: NodeId, x: Place, from: &[usize], to: &[usize], size: usize) -> Result<Place> {
    cx.ask_tables(to.iter().copied())?;
    let strides = Layout::Plain.strides(from);
    let tables = (0..to.len())
        .map(|axis| (0..to[axis]).map(|i| if from[axis] == 1 { 0 } else { i * strides[axis] * size }).collect())
        .collect();
    let y = cx.buffer(to.iter().product::<usize>() * size);
    let x_bytes = from.iter().product::<usize>() * size;
    let (x, tables) = joined(cx, x, tables)?;
    cx.step(&[id], Kind::Gather(Gather { x, x_bytes, y, step: Gather::even(&tables), tables, run: size }), 0);
    Ok(y)
}

/// The kernel's name for a function; `None` for those of integers and booleans, and for those that nobody waits for.
pub fn unary(f: Unary) -> Option<UnaryFn> {
    Some(match f {
        Unary::Abs => UnaryFn::Abs,
        Unary::Neg => UnaryFn::Neg,
        Unary::Exp => UnaryFn::Exp,
        Unary::Log => UnaryFn::Log,
        Unary::Sqrt => UnaryFn::Sqrt,
        Unary::Reciprocal => UnaryFn::Reciprocal,
        Unary::Erf => UnaryFn::Erf,
        Unary::Sin => UnaryFn::Sin,
        Unary::Cos => UnaryFn::Cos,
        Unary::Tanh => UnaryFn::Tanh,
        Unary::Sigmoid => UnaryFn::Sigmoid,
        Unary::Silu => UnaryFn::Silu,
        Unary::Gelu => UnaryFn::Gelu,
        Unary::GeluTanh => UnaryFn::GeluTanh,
        Unary::Mish => UnaryFn::Mish,
        Unary::Softplus => UnaryFn::Softplus,
        Unary::Softsign => UnaryFn::Softsign,
        Unary::HardSigmoid { alpha, beta } => UnaryFn::HardSigmoid { alpha, beta },
        Unary::HardSwish => UnaryFn::HardSwish,
        Unary::LeakyRelu { alpha } => UnaryFn::LeakyRelu { alpha },
        Unary::Elu { alpha } => UnaryFn::Elu { alpha },
        Unary::Selu { alpha, gamma } => UnaryFn::Selu { alpha, gamma },
        Unary::Celu { alpha } => UnaryFn::Celu { alpha },
        Unary::ThresholdedRelu { alpha } => UnaryFn::ThresholdedRelu { alpha },
        Unary::Floor => UnaryFn::Floor,
        Unary::Ceil => UnaryFn::Ceil,
        Unary::Round => UnaryFn::Round,
        Unary::Not | Unary::BitNot => return None,
        Unary::Sign
        | Unary::Tan
        | Unary::Asin
        | Unary::Acos
        | Unary::Atan
        | Unary::Sinh
        | Unary::Cosh
        | Unary::Asinh
        | Unary::Acosh
        | Unary::Atanh => return None,
    })
}

/// The kernel's name for a function; `None` for those of integers or booleans, and for those that nobody waits for.
pub fn binary(f: Binary) -> Option<BinaryFn> {
    Some(match f {
        Binary::Add => BinaryFn::Add,
        Binary::Sub => BinaryFn::Sub,
        Binary::Mul => BinaryFn::Mul,
        Binary::Div => BinaryFn::Div,
        Binary::Pow => BinaryFn::Pow,
        Binary::Min => BinaryFn::Min,
        Binary::Max => BinaryFn::Max,
        Binary::PRelu => BinaryFn::PRelu,
        Binary::Equal | Binary::Less | Binary::Greater | Binary::And | Binary::Or => return None,
        Binary::BitAnd | Binary::BitOr | Binary::BitXor | Binary::ShiftLeft | Binary::ShiftRight => return None,
        Binary::Mod | Binary::Fmod => return None,
    })
}
