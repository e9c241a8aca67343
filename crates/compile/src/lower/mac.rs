//! Convolutions and dense layers, with what follows them in registers.

use super::{Layout, Lower};
use crate::constants::Number;
use crate::fuse::{self, Chain, Tail};
use crate::weights::{self, Width};
use lowbit_arithmetic::{AddRescale, Affine, Rescale};
use lowbit_ir::infer::macs;
use lowbit_ir::op::{Conv, Layer, MatMul, Rescale as How};
use lowbit_ir::{DType, Error, Graph, Quant, Result, Tensor, Type, ValueId, bounds};
use lowbit_kernels::requant::AddParams;
use lowbit_kernels::{Features, SLACK, copy, dwconv, gemm, pick, rowconv};
use lowbit_runtime::program::{
    Cut, Dw, Epilogue, FMatMul, FloatEpilogue, Gemm, LineTile, Offset, Panel, QMatMul, QRow, Requant, Requant16,
    Scales, Window,
};
use lowbit_runtime::{Kind, Place};
use std::ops::Range;

/// Lowers a chain whose head is a Conv or MatMul.
pub fn lower(cx: &mut Lower<'_>, chain: &Chain) -> Result<()> {
    match cx.g.node(chain.mac).op.layer() {
        Some(Layer::Conv(c)) => conv(cx, chain, c),
        Some(Layer::MatMul(m)) => matmul(cx, chain, m),
        None => Err(Error::new("expected a Conv or MatMul at the head of a chain: a defect of the compiler")),
    }
}

/// The geometry of one multiply-accumulate, in kernel terms.
struct Geometry {
    window: Window,
    /// Bytes an activation.
    elem: usize,
    groups: usize,
    /// Input channels a group.
    k: usize,
    /// Output channels of all groups.
    channels: usize,
    layout: Layout,
    depthwise: bool,
}

impl Geometry {
    /// Of a group, by which a row of `gemm` is chosen.
    fn sizes(&self) -> gemm::Sizes {
        let (outputs, depth) = (self.channels / self.groups, self.window.taps() * self.k);
        gemm::Sizes { outputs, pixels: self.window.pixels(), depth }
    }
}

/// What a kernel can do with a chain.
enum Plan {
    /// u8 activations, i8 weights with an offset a channel or none, i32 accumulators.
    Integer,
    /// Activations or weights of 16 bits, i64 accumulators.
    Wide(Operands),
    /// f32.
    Float,
    /// None of these.
    Reference,
}

/// What is multiplied into 64 bits.
#[derive(Debug, Clone, Copy)]
enum Operands {
    /// u16 by i8.
    WordsByBytes,
    /// u16 by i16.
    WordsByWords,
    /// u8 by i16.
    BytesByWords,
}

fn plan(g: &Graph, chain: &Chain) -> Plan {
    let node = g.node(chain.mac);
    let known = node.input(2).is_none_or(|v| g.constant(v).is_some());
    let (Some(x), Some(w), true) = (node.input(0), node.input(1), known) else { return Plan::Reference };
    let (x, acc) = (g.ty(x), g.ty(node.outputs[0]).dtype);
    if (x.dtype, acc) == (DType::F32, DType::F32) && weights::floats(g, w).is_some() {
        return Plan::Float;
    }
    let (true, Some(width)) = (x.is_quantized(), weights::width(g, w)) else { return Plan::Reference };
    // Accumulators of 64 bits; only what stays in registers may be declared narrower.
    let wide = acc == DType::I64 || (acc == DType::I32 && matches!(chain.tail, Tail::Requant { .. }));
    match (x.dtype, width) {
        (DType::U8, Width::Bytes | Width::Shifted) if acc == DType::I32 => Plan::Integer,
        (DType::U8, Width::Bytes | Width::Shifted | Width::Words) if acc == DType::I64 => {
            Plan::Wide(Operands::BytesByWords)
        }
        (DType::U16, Width::Bytes) if wide => Plan::Wide(Operands::WordsByBytes),
        (DType::U16, Width::Shifted | Width::Words) if wide => Plan::Wide(Operands::WordsByWords),
        _ => Plan::Reference,
    }
}

fn conv(cx: &mut Lower<'_>, chain: &Chain, c: &Conv) -> Result<()> {
    let (x, w) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let (xd, wd, yd) = (cx.dims(x)?, cx.dims(w)?, cx.dims(chain.output)?);
    let elem = cx.g.ty(x).dtype.bits() / 8;
    let plan = plan(cx.g, chain);
    if !(3..=4).contains(&xd.len()) || matches!(plan, Plan::Reference) {
        return cx.reference_chain(chain.mac, &chain.nodes);
    }
    // One spatial axis is a height of 1.
    let two = |d: &[usize], one: usize| match *d {
        [h, w] => [h, w],
        [w] => [one, w],
        _ => [one, one],
    };
    let spatial = xd.len() - 2;
    let (pixel, kernel, strides) = (xd[1] * elem, two(&wd[2..], 1), two(&c.strides, 1));
    let mut window = Window {
        batch: xd[0],
        input: two(&xd[2..], 1),
        output: two(&yd[2..], 1),
        kernel,
        strides,
        pads: two(&c.pads[..spatial], 0),
        dilations: two(&c.dilations, 1),
        pixel,
    };
    let unpadded = c.pads.iter().all(|p| *p == 0);
    if kernel == [1, 1] && strides == [1, 1] && unpadded {
        window = Window::dense(window.pixels(), pixel);
    }
    let depthwise = wd[1] == 1 && c.group == xd[1] && wd[0] == xd[1] && c.group > 1;
    let geometry =
        Geometry { window, elem, groups: c.group, k: wd[1], channels: wd[0], layout: Layout::ChannelsLast, depthwise };
    // Weights are [out, in / group, taps...].
    let taps = kernel[0] * kernel[1];
    let order = Order { channel: wd[1] * taps, tap: 1, k: taps };
    match plan {
        Plan::Integer => integer(cx, chain, geometry, order),
        Plan::Wide(operands) => wide(cx, chain, geometry, operands, order),
        Plan::Float => float(cx, chain, geometry, order),
        Plan::Reference => cx.reference_chain(chain.mac, &chain.nodes),
    }
}

fn matmul(cx: &mut Lower<'_>, chain: &Chain, m: MatMul) -> Result<()> {
    let (a, b) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let (ad, bd) = (cx.dims(a)?, cx.dims(b)?);
    let elem = cx.g.ty(a).dtype.bits() / 8;
    let (Some(&k), true) = (ad.last(), bd.len() == 2 && ad.len() >= 2) else {
        return batched(cx, chain, m);
    };
    let n = if m.trans_b { bd[0] } else { bd[1] };
    let rows = ad[..ad.len() - 1].iter().product();
    let window = Window::dense(rows, k * elem);
    let geometry = Geometry { window, elem, groups: 1, k, channels: n, layout: Layout::Plain, depthwise: false };
    let order = match m.trans_b {
        true => Order { channel: k, tap: 0, k: 1 },
        false => Order { channel: 1, tap: 0, k: n },
    };
    match plan(cx.g, chain) {
        Plan::Integer => integer(cx, chain, geometry, order),
        Plan::Wide(operands) => wide(cx, chain, geometry, operands, order),
        Plan::Float => float(cx, chain, geometry, order),
        Plan::Reference => batched(cx, chain, m),
    }
}

/// A product of two activations: floats and u8 have kernels, all else is left to the interpreter.
fn batched(cx: &mut Lower<'_>, chain: &Chain, m: MatMul) -> Result<()> {
    if bytes(cx.g, chain) {
        return batched_integer(cx, chain, m);
    }
    let (a, b) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let (ad, bd, yd) = (cx.dims(a)?, cx.dims(b)?, cx.dims(chain.output)?);
    let bias = cx.g.node(chain.mac).input(2);
    let float = [a, b, chain.output].iter().all(|v| cx.g.ty(*v).dtype == DType::F32);
    let Tail::Float { clamp, add: None } = chain.tail else { return cx.reference_chain(chain.mac, &chain.nodes) };
    let bias_known = bias.is_none_or(|v| cx.g.constant(v).is_some());
    if !float || !bias_known || ad.len() < 2 || bd.len() < 2 {
        return cx.reference_chain(chain.mac, &chain.nodes);
    }
    let (rank, k) = (yd.len(), ad[ad.len() - 1]);
    let (rows, n) = (yd[rank - 2], yd[rank - 1]);
    let sizes = gemm::Sizes { outputs: n, pixels: rows, depth: k };
    let row = cx.row_for(gemm::F32, |row| (row.suits)(sizes))?;
    let mut padded = vec![0.0; n.next_multiple_of(row.nr)];
    if let Some(tensor) = bias.and_then(|v| cx.g.constant(v)) {
        padded.iter_mut().zip(tensor.f32s()?.iter()).for_each(|(p, b)| *p = *b);
    }
    let batch = broadcast_batches(&yd[..rank - 2], &ad[..ad.len() - 2], &bd[..bd.len() - 2]);
    let bias = cx.out.constants.numbers(&padded);
    let (a, b) = (cx.place(a, Layout::Plain)?, cx.place(b, Layout::Plain)?);
    let y = cx.define(chain.output, Layout::Plain)?;
    let kind = Kind::FMatMul(FMatMul { row, a, b, trans_b: m.trans_b, batch, m: rows, k, n, bias, y, clamp });
    let macs = macs(cx.g, chain.mac);
    cx.step(&chain.nodes, kind, macs);
    Ok(())
}

/// Whether a chain is a product of two matrices of u8 whose sums are proven to fit 32 bits.
fn bytes(g: &Graph, chain: &Chain) -> bool {
    let node = g.node(chain.mac);
    let known = node.input(2).is_none_or(|v| g.constant(v).is_some());
    let byte = |v: ValueId| {
        let ty = g.ty(v);
        let zero = ty.quant.as_ref().filter(|q| q.is_per_tensor()).is_some_and(|q| q.affine().is_ok());
        ty.dtype == DType::U8 && zero && ty.shape.0.len() >= 2
    };
    let fits = || matches!(bounds::bound(g, node), Ok(Some(b)) if b.fits(g.ty(node.outputs[0])));
    let acc = g.ty(node.outputs[0]).dtype == DType::I32;
    acc && known && (0..2).all(|i| node.input(i).is_some_and(byte)) && fits()
}

/// A product that [`bytes`] are the operands of.
fn batched_integer(cx: &mut Lower<'_>, chain: &Chain, m: MatMul) -> Result<()> {
    let (a, b, acc) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?, cx.g.node(chain.mac).outputs[0]);
    let (ad, bd, yd) = (cx.dims(a)?, cx.dims(b)?, cx.dims(acc)?);
    let (rank, k) = (yd.len(), ad[ad.len() - 1]);
    let (rows, n) = (yd[rank - 2], yd[rank - 1]);
    let sizes = gemm::Sizes { outputs: n, pixels: rows, depth: k };
    let row = cx.row_for(gemm::Q8, |row| (row.suits)(sizes))?;
    let (sums, transpose) = (cx.row(gemm::SUMS)?, cx.row(copy::TRANSPOSE)?);
    let entries = entries(n, n.next_multiple_of(row.nr));
    let bias: Vec<i32> = match cx.g.node(chain.mac).input(2) {
        Some(v) => constant(cx.g, v)?.ints()?.iter().map(|b| *b as i32).collect(),
        None => Vec::new(),
    };
    let bias = cx.out.constants.numbers(&by_entry(&entries, &bias));
    let batch = broadcast_batches(&yd[..rank - 2], &ad[..ad.len() - 2], &bd[..bd.len() - 2]);
    let zero_point = |v: ValueId| Ok::<_, Error>(cx.g.ty(v).quant()?.affine()?.zero_point as u8);
    let (a_zero, b_zero) = (zero_point(a)?, zero_point(b)?);
    let zero = (a_zero != 0).then(|| cx.out.constants.add(&vec![a_zero; k + SLACK]));
    let (a, b) = (cx.place(a, Layout::Plain)?, cx.place(b, Layout::Plain)?);
    let epilogue = epilogue(cx, chain, &entries, Layout::Plain)?;
    let y = cx.define(chain.output, Layout::Plain)?;
    let trans_b = m.trans_b;
    let step = QMatMul { row, sums, transpose, a, zero, b, b_zero, trans_b, batch, m: rows, k, n, bias, y, epilogue };
    let macs = macs(cx.g, chain.mac);
    cx.step(&chain.nodes, Kind::QMatMul(step), macs);
    Ok(())
}

/// For each output matrix, which matrices of the operands it takes.
fn broadcast_batches(y: &[usize], a: &[usize], b: &[usize]) -> Vec<(usize, usize)> {
    let count = y.iter().product();
    let index = |mut i: usize, dims: &[usize]| {
        let (mut at, mut step) = (0, 1);
        for (axis, size) in y.iter().enumerate().rev() {
            let c = i % size;
            i /= size;
            if let Some(d) = (axis + dims.len()).checked_sub(y.len()).map(|j| dims[j]) {
                at += if d == 1 { 0 } else { c * step };
                step *= d;
            }
        }
        at
    };
    (0..count).map(|i| (index(i, a), index(i, b))).collect()
}

/// What a multiply-accumulate reads, in the order that kernels walk.
struct Numbers<W, B> {
    x: Place,
    /// A pixel of zero points.
    zero: Place,
    /// `[channel][tap][k]`.
    weights: Weights<W>,
    /// One a channel, with the input offset folded in.
    bias: Vec<B>,
    /// What is added to the weights of each channel.
    offsets: Option<Vec<B>>,
}

/// The kernels of one arithmetic, and the steps they make.
struct Family<A: 'static, D: 'static, W: 'static, E> {
    gemm: &'static gemm::Gemm<A>,
    depthwise: &'static dwconv::Dw<D, W>,
    gemm_step: fn(Gemm<A, E>) -> Kind,
    depthwise_step: fn(Dw<D, W, E>) -> Kind,
    /// Multiply-accumulates that one tile should have.
    tile: usize,
}

/// Packs a layer and makes its step; `epilogue` is told which output channel each entry of the multipliers serves.
fn step<A, D, W: Number, B: Number, E>(
    cx: &mut Lower<'_>,
    chain: &Chain,
    geo: Geometry,
    family: Family<A, D, W, E>,
    numbers: Numbers<W, B>,
    epilogue: impl FnOnce(&mut Lower<'_>, &[Option<usize>]) -> Result<E>,
) -> Result<()> {
    let (taps, channels) = (geo.window.taps(), geo.channels);
    let Numbers { x, zero, weights, bias, offsets } = numbers;
    let macs = macs(cx.g, chain.mac);
    if geo.depthwise {
        let row = family.depthwise;
        let count = (row.packed)(channels, taps);
        let w = cx.out.constants.later(count, move |out| weights.lay(|w| (row.pack)(w, channels, taps, out)));
        let entries = entries(channels, dwconv::padded(channels));
        let bias = cx.out.constants.numbers(&by_entry(&entries, &bias));
        let offset = offsets.map(|o| cx.out.constants.numbers(&by_entry(&entries, &o)));
        let epilogue = epilogue(cx, &entries)?;
        let y = cx.define(chain.output, geo.layout)?;
        let (window, w_bytes) = (geo.window, count * size_of::<W>());
        let dw = Dw { row, window, x, zero, channels, w, w_bytes, bias, offset, y, epilogue };
        cx.step(&chain.nodes, (family.depthwise_step)(dw), macs);
        return Ok(());
    }
    let row = family.gemm;
    let (panels, entries) = panels(&geo, row.nr);
    let panel = row.packed(row.nr, taps, geo.k);
    let k = geo.k;
    let of: Vec<Range<usize>> = panels.iter().map(|p| p.channel..p.channel + p.cols).collect();
    let w = cx.out.constants.later(panel * panels.len(), move |out| {
        let mut out = out.chunks_exact_mut(panel.max(1));
        weights.lay_parts(&of, |i, w| {
            if let (Some(out), Some(of)) = (out.next(), of.get(i)) {
                row.pack(w, of.len(), taps, k, out);
            }
        });
    });
    let bias = cx.out.constants.numbers(&by_entry(&entries, &bias));
    let offset = match offsets {
        Some(of) => {
            let place = cx.out.constants.numbers(&by_entry(&entries, &of));
            Some(Offset { place, sums: cx.row(gemm::SUMS)? })
        }
        None => None,
    };
    let split = (row.planes > 0).then(|| cx.row(gemm::SPLIT)).transpose()?;
    let epilogue = epilogue(cx, &entries)?;
    let (y, y_stride) = joined(cx, chain, &geo)?;
    let panel_bytes = panel * size_of::<W>();
    let cut = cut(geo.window.pixels(), panels.len(), row.mr, row.nr, taps * geo.k, panel_bytes, family.tile);
    let window = geo.window;
    let gemm = Gemm {
        row,
        window,
        x,
        zero,
        k,
        w,
        panel_bytes,
        panels,
        bias,
        offset,
        split,
        y,
        y_stride,
        channels,
        epilogue,
        cut,
    };
    cx.step(&chain.nodes, (family.gemm_step)(gemm), macs);
    Ok(())
}

/// Where the output of a layer lies, and how many bytes its pixels are apart: within the value that a Concat makes of it,
/// where that is all that reads it, or alone.
fn joined(cx: &mut Lower<'_>, chain: &Chain, geo: &Geometry) -> Result<(Place, usize)> {
    // What is added lies as the output does, and depthwise kernels go by lines, not by pixels.
    let added = matches!(chain.tail, Tail::Requant { add: Some(_), .. } | Tail::Float { add: Some(_), .. });
    if geo.layout == Layout::ChannelsLast
        && !added
        && !geo.depthwise
        && let Some(found) = cx.within(chain.output)?
    {
        return Ok(found);
    }
    let size = super::layout::elem(cx.g.ty(chain.output).dtype)?;
    Ok((cx.define(chain.output, geo.layout)?, geo.channels * size))
}

/// Which channel each of `padded` entries serves.
fn entries(channels: usize, padded: usize) -> Vec<Option<usize>> {
    (0..padded).map(|c| (c < channels).then_some(c)).collect()
}

/// Numbers of channels, put where the entries say; zeros elsewhere.
fn by_entry<B: Number>(entries: &[Option<usize>], of: &[B]) -> Vec<B> {
    entries.iter().map(|c| c.and_then(|c| of.get(c).copied()).unwrap_or_default()).collect()
}

/// How weights lie in the model: elements from one to the next of another channel, tap or k.
#[derive(Debug, Clone, Copy)]
struct Order {
    channel: usize,
    tap: usize,
    k: usize,
}

/// The sizes of a layer's weights.
#[derive(Debug, Clone, Copy)]
struct Extent {
    channels: usize,
    taps: usize,
    k: usize,
}

impl Extent {
    fn of(geo: &Geometry) -> Extent {
        Extent { channels: geo.channels, taps: geo.window.taps(), k: geo.k }
    }

    /// Weights of a channel.
    fn channel(&self) -> usize {
        self.taps * self.k
    }

    /// Whether this order is that of kernels.
    fn is_kept(&self, order: Order) -> bool {
        let tap = self.taps == 1 || order.tap == self.k;
        let k = self.k == 1 || order.k == 1;
        tap && k && (self.channels == 1 || order.channel == self.channel())
    }
}

/// What is read when a layer is packed, which may be later and elsewhere.
struct Weights<W> {
    extent: Extent,
    kept: Kept<W>,
}

/// Where weights are kept until then.
enum Kept<W> {
    /// As kernels walk them.
    Ordered(Vec<W>),
    /// As the model has them.
    Stored(Order, Read<W>),
}

/// Reads a run of weights where they are stored, and gives them to what packs them.
type Read<W> = Box<dyn Fn(Range<usize>, &mut dyn FnMut(&[W])) + Send>;

impl<W: Copy + Default> Weights<W> {
    fn ordered(geo: &Geometry, weights: Vec<W>) -> Self {
        Weights { extent: Extent::of(geo), kept: Kept::Ordered(weights) }
    }

    fn stored(geo: &Geometry, order: Order, read: Read<W>) -> Self {
        Weights { extent: Extent::of(geo), kept: Kept::Stored(order, read) }
    }

    /// Gives all of them in the order `[channel][tap][k]`.
    fn lay(self, pack: impl FnOnce(&[W])) {
        let (all, mut pack) = (0..self.extent.channels, Some(pack));
        self.lay_parts(&[all], |_, weights| pack.take().map_or((), |pack| pack(weights)));
    }

    /// Gives those of some channels after those of others, each with its number among them, in the order
    /// `[channel][tap][k]`. What must be copied for that is copied a part at a time: the whole is as large as what it is
    /// packed into.
    fn lay_parts(self, parts: &[Range<usize>], mut pack: impl FnMut(usize, &[W])) {
        let Weights { extent, kept } = self;
        let run = |part: &Range<usize>| part.start * extent.channel()..part.end * extent.channel();
        let parts = parts.iter().enumerate();
        match kept {
            Kept::Ordered(weights) => {
                parts.for_each(|(i, part)| pack(i, weights.get(run(part)).unwrap_or_default()));
            }
            Kept::Stored(order, read) if order.channel == extent.channel() => parts.for_each(|(i, part)| {
                let extent = Extent { channels: part.len(), ..extent };
                read(run(part), &mut |stored| match extent.is_kept(order) {
                    true => pack(i, stored),
                    false => pack(i, &in_order(extent, stored, order)),
                });
            }),
            // The weights of a channel lie among those of all others.
            Kept::Stored(order, read) => {
                let mut parts = Some(parts);
                read(0..extent.channels * extent.channel(), &mut |stored| {
                    for (i, part) in parts.take().into_iter().flatten() {
                        let extent = Extent { channels: part.len(), ..extent };
                        let stored = stored.get(part.start * order.channel..).unwrap_or_default();
                        pack(i, &in_order(extent, stored, order));
                    }
                });
            }
        }
    }
}

/// Weights in the order `[channel][tap][k]`.
fn in_order<W: Copy + Default>(extent: Extent, weights: &[W], order: Order) -> Vec<W> {
    let mut out = vec![W::default(); extent.channels * extent.channel()];
    if extent.taps == 1 && order.channel == 1 {
        turn(extent, weights, order.k, &mut out);
        return out;
    }
    let rows = out.chunks_exact_mut(extent.k.max(1));
    for (i, row) in rows.enumerate() {
        let (channel, tap) = (i / extent.taps, i % extent.taps);
        let from = weights.get(channel * order.channel + tap * order.tap..).unwrap_or_default();
        match order.k {
            1 => row.iter_mut().zip(from).for_each(|(slot, w)| *slot = *w),
            step => row.iter_mut().zip(from.iter().step_by(step.max(1))).for_each(|(slot, w)| *slot = *w),
        }
    }
    out
}

/// Weights that lie channel by channel for each k, `step` apart, turned so that they lie by k for each channel: a few k at
/// a time, whose rows stay in the nearest cache.
fn turn<W: Copy>(extent: Extent, weights: &[W], step: usize, out: &mut [W]) {
    const ROWS: usize = 64;
    for first in (0..extent.k).step_by(ROWS) {
        for (channel, row) in out.chunks_exact_mut(extent.k.max(1)).enumerate() {
            let column = weights.get(first * step + channel..).unwrap_or_default().iter().step_by(step.max(1));
            row.iter_mut().skip(first).take(ROWS).zip(column).for_each(|(slot, w)| *slot = *w);
        }
    }
}

/// The bias with the input's zero point folded in: of sum (x - z) * w = sum x * w - z * sum w the second part joins the
/// bias. Modulo 2^64; where kernels sum modulo 2^32, that follows. `sums` are those of the weights, a channel each.
fn folded_bias(cx: &Lower<'_>, chain: &Chain, geo: &Geometry, sums: impl Iterator<Item = i64>) -> Result<Vec<i64>> {
    let mut bias = match cx.g.node(chain.mac).input(2) {
        Some(v) => constant(cx.g, v)?.ints()?,
        None => Vec::new(),
    };
    bias.resize(geo.channels, 0);
    // Where zero points differ, every output channel reads one input channel: group by group the same number of them.
    let zeros = zero_points(cx.g.ty(cx.input(chain.mac, 0)?), geo.groups * geo.k)?;
    let share = geo.channels / geo.groups;
    for (channel, (bias, sum)) in bias.iter_mut().zip(sums).enumerate() {
        let zero = zeros.get(channel / share.max(1) * geo.k).copied().unwrap_or(0);
        *bias = bias.wrapping_sub(i64::from(zero).wrapping_mul(sum));
    }
    Ok(bias)
}

/// Weights that are bytes without zero points, which most are, and the bias: they are many, so no wider copy is made.
fn plain_bytes(cx: &Lower<'_>, chain: &Chain, geo: &Geometry, order: Order) -> Result<Option<(Weights<i8>, Vec<i64>)>> {
    let tensor = constant(cx.g, cx.input(chain.mac, 1)?)?;
    let Some(bytes) = weights::plain_bytes(tensor) else { return Ok(None) };
    // So many bytes keep to 32 bits, which vectors add faster.
    let part = |w: &[i8]| i64::from(w.iter().map(|w| i32::from(*w)).sum::<i32>());
    let sum = |row: &[i8]| row.chunks(1 << 16).map(part).sum();
    let extent = Extent::of(geo);
    let channel = extent.channel().max(1);
    let sums: Vec<i64> = match order.channel {
        // A channel's weights lie together, in whichever order, which their sum does not need.
        n if n == channel => bytes.chunks_exact(channel).map(sum).collect(),
        // Or those of all channels for one k do.
        1 if extent.taps == 1 => {
            let mut sums = vec![0; extent.channels];
            let rows = bytes.chunks_exact(order.k.max(1));
            rows.for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += i64::from(*w)));
            sums
        }
        _ => in_order(extent, bytes, order).chunks_exact(channel).map(sum).collect(),
    };
    let bias = folded_bias(cx, chain, geo, sums.into_iter())?;
    let stored = tensor.clone();
    let read = move |run: Range<usize>, pack: &mut dyn FnMut(&[i8])| {
        pack(stored.i8s().and_then(|all| all.get(run)).unwrap_or_default());
    };
    Ok(Some((Weights::stored(geo, order, Box::new(read)), bias)))
}

/// The weights, less their own zero points, and the bias of an integer layer.
fn integers(cx: &Lower<'_>, chain: &Chain, geo: &Geometry, order: Order) -> Result<(Vec<i64>, Vec<i64>)> {
    let centred = weights::centred(constant(cx.g, cx.input(chain.mac, 1)?)?)?;
    let weights = in_order(Extent::of(geo), &centred, order);
    let rows = weights.chunks_exact((geo.window.taps() * geo.k).max(1));
    let bias = folded_bias(cx, chain, geo, rows.map(|w| w.iter().sum()))?;
    Ok((weights, bias))
}

/// Weights as their kernel takes them, which they fit (`plan`).
fn fitting<W: TryFrom<i64>>(cx: &Lower<'_>, chain: &Chain, weights: Vec<i64>) -> Result<Vec<W>> {
    let large = || {
        Error::new("expected weights that fit their kernel: a defect of the compiler")
            .at_node(cx.g.node(chain.mac).name.clone())
    };
    weights.into_iter().map(|w| W::try_from(w).map_err(|_| large())).collect()
}

/// A pixel of zero points of the input: one for all of its elements, or one a channel.
fn zero_points(x: &Type, elements: usize) -> Result<Vec<i32>> {
    let quant = x.quant()?;
    match &*quant.zero_point {
        [zero] => Ok(vec![*zero; elements]),
        zeros if zeros.len() == elements => Ok(zeros.to_vec()),
        zeros => Err(Error::new(format!("expected {elements} zero points, found {}", zeros.len()))),
    }
}

fn integer(cx: &mut Lower<'_>, chain: &Chain, geo: Geometry, order: Order) -> Result<()> {
    let x = cx.input(chain.mac, 0)?;
    let low_bits = |of: Vec<i64>| -> Vec<i32> { of.into_iter().map(|b| b as i32).collect() };
    let (weights, bias, offsets) = match plain_bytes(cx, chain, &geo, order)? {
        Some((weights, bias)) => (weights, bias, None),
        None => {
            let (mut weights, bias) = integers(cx, chain, &geo, order)?;
            let offsets = weights::offsets(&mut weights, geo.window.taps() * geo.k);
            (Weights::ordered(&geo, fitting(cx, chain, weights)?), bias, offsets)
        }
    };
    let (bias, offsets) = (low_bits(bias), offsets.map(low_bits));
    let mut zeros: Vec<u8> = zero_points(cx.g.ty(x), geo.window.pixel)?.into_iter().map(|z| z as u8).collect();
    let alike = cx.g.ty(x).quant()?.common_zero_point();
    let x = cx.place(x, geo.layout)?;
    let layout = geo.layout;
    let family = Family {
        gemm: cx.row_for(gemm::Q8, |row| (row.suits)(geo.sizes()))?,
        depthwise: cx.row(dwconv::Q8)?,
        gemm_step: Kind::QGemm,
        depthwise_step: Kind::QDw,
        tile: 1 << 21,
    };
    let other = if geo.depthwise { family.depthwise.needs } else { family.gemm.needs };
    if let (Some(row), Some(fill)) = (by_rows(cx, chain, &geo, other), alike) {
        return rows(cx, chain, geo, row, x, fill as u8, weights, &bias, offsets.as_deref());
    }
    zeros.resize(geo.window.pixel + SLACK, zeros.last().copied().unwrap_or(0));
    let zero = cx.out.constants.add(&zeros);
    let numbers = Numbers { x, zero, weights, bias, offsets };
    step(cx, chain, geo, family, numbers, |cx, entries| epilogue(cx, chain, entries, layout))
}

/// A layer that [`by_rows`] has a kernel for.
#[allow(clippy::too_many_arguments, reason = "one layer's numbers, each computed by the one caller")]
fn rows(
    cx: &mut Lower<'_>,
    chain: &Chain,
    geo: Geometry,
    row: &'static rowconv::QRow,
    x: Place,
    fill: u8,
    weights: Weights<i8>,
    bias: &[i32],
    offsets: Option<&[i32]>,
) -> Result<()> {
    let residual = matches!(chain.tail, Tail::Requant { add: Some(_), .. });
    let shape = geo.window.row_shape(geo.channels, geo.depthwise, residual);
    let w_bytes = (row.packed)(&shape);
    let of = shape;
    let w = cx.out.constants.later(w_bytes, move |out| weights.lay(|w| (row.pack)(&of, w, out)));
    let entries = entries(geo.channels, rowconv::padded(geo.channels));
    let bias = cx.out.constants.numbers(&by_entry(&entries, bias));
    let offset = offsets.map(|o| cx.out.constants.numbers(&by_entry(&entries, o)));
    let (requant, residual) = match epilogue(cx, chain, &entries, geo.layout)? {
        Epilogue::Requant(requant) => (requant, None),
        Epilogue::RequantAdd(requant, other, add) => (requant, Some((other, add))),
        Epilogue::Accumulator => {
            return Err(Error::new("expected a layer that is requantized: a defect of the compiler"));
        }
    };
    let (y, y_stride) = joined(cx, chain, &geo)?;
    let Geometry { window, channels, depthwise, .. } = geo;
    let tile = line_tile(&window, &shape, row);
    let kind = Kind::QRow(QRow {
        row,
        window,
        x,
        fill,
        channels,
        depthwise,
        w,
        w_bytes,
        bias,
        offset,
        y,
        y_stride,
        requant,
        residual,
        tile,
    });
    let macs = macs(cx.g, chain.mac);
    cx.step(&chain.nodes, kind, macs);
    Ok(())
}

/// Tiles that a layer by lines should have at least: the first number however small it is, up to the second if each has
/// work enough.
const LINE_TILES: (usize, usize) = (4, 8);
/// Cycles of a tile that are work enough beside those that a call costs.
const LINE_CYCLES: f64 = 2500.0;
/// Bytes of input lines of a tile that should stay in the second-level cache, where much is computed of them.
const LINES_OF_PANELS: usize = 96 * 1024;
/// Bytes of input lines of a tile that should stay in the nearest cache, where little is.
const LINES_ALONE: usize = 16 * 1024;

/// Tiles enough for some threads, of those sizes that move the least and leave no thread idle.
fn line_tile(window: &Window, shape: &rowconv::Shape, row: &rowconv::QRow) -> LineTile {
    let [height, width] = window.output.map(|n| n.max(1));
    let (within, batch) = (window.is_within(), window.batch.max(1));
    let whole = row.panel == usize::MAX;
    let panels = if whole { 1 } else { shape.outputs.div_ceil(row.panel).max(1) };
    let (weights, line) = ((row.packed)(shape), shape.row_bytes(width).max(1));
    let most = (if whole { LINES_ALONE } else { LINES_OF_PANELS }) / (line * window.strides[0]).max(1);
    let macs: f64 = [window.pixels(), shape.taps(), shape.k(), shape.outputs].map(|n| n as f64).iter().product();
    let wanted = ((macs / 256.0 / LINE_CYCLES) as usize).clamp(LINE_TILES.0, LINE_TILES.1);
    let tile = |parts: usize, cuts: usize| {
        let channels = panels.div_ceil(parts).saturating_mul(row.panel).min(shape.outputs).max(1);
        let up = |n: usize, block: usize| n.div_ceil(cuts).next_multiple_of(block.max(1)).min(n);
        match height == 1 && within {
            true => LineTile { lines: 1, pixels: up(width, row.pace.block[1]), channels },
            false => LineTile { lines: up(height, row.pace.block[0]), pixels: width, channels },
        }
    };
    // Cycles: of computing, of copying lines, which windows share, and making them ready for each part of the channels, of
    // streaming weights for each part of the image, and of fetching from other cores what they computed of the same pixels:
    // the steps before and behind are mostly cut by pixels. An odd tile leaves one of two threads idle.
    let activations = window.pixels() * (window.pixel * window.strides[0] * window.strides[1] + shape.outputs);
    let pace = &row.pace;
    let cost = |tile: &LineTile| {
        let parts = shape.outputs.div_ceil(tile.channels);
        let cuts = batch * height.div_ceil(tile.lines) * width.div_ceil(tile.pixels);
        let read = (tile.lines - 1) * window.strides[0] + window.kernel[0];
        let lines = parts * cuts * read * line * tile.pixels / width;
        let copied = if within { lines / 32 } else { lines / 8 };
        let fetched = if parts > 1 { activations / 3 } else { 0 };
        let tiles = parts * cuts;
        let idle = tiles.next_multiple_of(2) as f64 / tiles as f64;
        // All tiles along an axis are alike, but for the last.
        let ends = |n: usize, tile: usize| [(n / tile, tile), (usize::from(!n.is_multiple_of(tile)), n % tile)];
        let pairs = ends(height, tile.lines).map(|down| ends(width, tile.pixels).map(|along| (down, along)));
        let pixels = |((down, lines), (along, pixels))| down * along * pace.whole(lines, pixels);
        let whole = batch * pairs.into_iter().flatten().map(pixels).sum::<usize>();
        let computed = macs / pace.macs * whole as f64 / window.pixels().max(1) as f64;
        let ready = lines as f64 / pace.input + (cuts * weights) as f64 / pace.weights;
        (computed + ready + (copied + fetched) as f64) * idle + 600.0 * tiles as f64
    };
    let fits = |tile: &LineTile| height == 1 || tile.lines <= most.max(1);
    let parts = [1, 2, 4, 8].into_iter().filter(|parts| *parts <= panels);
    let tiles = parts.flat_map(|parts| {
        // Of a flat layer there are no lines to cut between, and what a call makes ready stays in the caches too.
        let cached = if height == 1 && within { line.div_ceil(LINES_OF_PANELS) } else { 1 };
        let least = wanted.div_ceil(parts * batch).max(cached);
        (least..=least.max(height)).map(move |cuts| (parts, cuts))
    });
    let tiles = tiles.map(|(parts, cuts)| tile(parts, cuts)).filter(fits).map(|tile| (cost(&tile), tile));
    tiles.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(tile(1, height), |(_, tile)| tile)
}

/// The row that computes an integer layer by rows, where that is faster than a row that needs `other` of the CPU.
fn by_rows(cx: &Lower<'_>, chain: &Chain, geo: &Geometry, other: Features) -> Option<&'static rowconv::QRow> {
    let Tail::Requant { add, .. } = &chain.tail else { return None };
    // With gaps between windows, input would be copied that nobody reads.
    let w = &geo.window;
    let gapless = w.strides[0] <= w.kernel[0] && w.strides[1] <= w.kernel[1];
    let one_run = w.dilations == [1, 1] && (gapless || w.is_within());
    // A line with padding is copied whole.
    let short = w.is_within() || w.output[0] > 1 || w.input[1].saturating_mul(w.pixel) <= LINES_OF_PANELS;
    let ungrouped = geo.groups == 1 || geo.depthwise;
    let shape = geo.window.row_shape(geo.channels, geo.depthwise, add.is_some());
    pick(rowconv::Q8, cx.features, |row| row.beats(other, &shape, w.output[1]))
        .filter(|_| one_run && short && ungrouped)
}

/// As [`integer`], for activations or weights of 16 bits: 64-bit accumulators.
fn wide(cx: &mut Lower<'_>, chain: &Chain, geo: Geometry, operands: Operands, order: Order) -> Result<()> {
    let tile = 1 << 19;
    match operands {
        Operands::WordsByBytes => {
            let (gemm, depthwise) = (cx.row_for(gemm::Q16, |row| (row.suits)(geo.sizes()))?, cx.row(dwconv::Q16)?);
            let (gemm_step, depthwise_step) = (Kind::QGemm16, Kind::QDw16);
            wide_step::<_, _, i8>(cx, chain, geo, Family { gemm, depthwise, gemm_step, depthwise_step, tile }, order)
        }
        Operands::WordsByWords => {
            let (gemm, depthwise) = (cx.row(gemm::Q16_W16)?, cx.row(dwconv::Q16_W16)?);
            let (gemm_step, depthwise_step) = (Kind::QGemm16W16, Kind::QDw16W16);
            wide_step::<_, _, i16>(cx, chain, geo, Family { gemm, depthwise, gemm_step, depthwise_step, tile }, order)
        }
        Operands::BytesByWords => {
            let (gemm, depthwise) = (cx.row(gemm::Q8_W16)?, cx.row(dwconv::Q8_W16)?);
            let (gemm_step, depthwise_step) = (Kind::QGemm8W16, Kind::QDw8W16);
            wide_step::<_, _, i16>(cx, chain, geo, Family { gemm, depthwise, gemm_step, depthwise_step, tile }, order)
        }
    }
}

fn wide_step<A, D, W: Number + TryFrom<i64>>(
    cx: &mut Lower<'_>,
    chain: &Chain,
    geo: Geometry,
    family: Family<A, D, W, Option<Requant16>>,
    order: Order,
) -> Result<()> {
    let x = cx.input(chain.mac, 0)?;
    let (weights, bias) = integers(cx, chain, &geo, order)?;
    let weights = Weights::ordered(&geo, fitting(cx, chain, weights)?);
    let zeros = zero_points(cx.g.ty(x), geo.window.pixel / geo.elem)?;
    let x = cx.place(x, geo.layout)?;
    let pixel: Vec<u8> = zeros.into_iter().flat_map(|z| z.to_le_bytes().into_iter().take(geo.elem)).collect();
    let zero = cx.out.constants.add(&pixel);
    let numbers = Numbers { x, zero, weights, bias, offsets: None };
    step(cx, chain, geo, family, numbers, |cx, entries| requant16(cx, chain, entries))
}

fn requant16(cx: &mut Lower<'_>, chain: &Chain, entries: &[Option<usize>]) -> Result<Option<Requant16>> {
    match &chain.tail {
        Tail::Accumulator => Ok(None),
        Tail::Requant { rescale, to, add: None } => {
            let node = cx.g.node(chain.mac);
            let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
            let within = |b: bounds::MacBound| b.channels.iter().all(|(least, most)| low <= *least && *most <= high);
            let narrow = bounds::bound(cx.g, node)?.is_some_and(within);
            let acc = cx.g.ty(node.outputs[0]).quant()?;
            Ok(Some(Requant16 { how: requant(cx, *rescale, acc, *to, entries)?, narrow }))
        }
        Tail::Requant { .. } | Tail::Float { .. } => {
            Err(Error::new("expected a 16-bit tail: a defect of the compiler"))
        }
    }
}

fn float(cx: &mut Lower<'_>, chain: &Chain, geo: Geometry, order: Order) -> Result<()> {
    let Tail::Float { clamp, add } = chain.tail else {
        return Err(Error::new("expected a float tail: a defect of the compiler"));
    };
    let (x, w) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let stored = weights::floats(cx.g, w).ok_or_else(|| Error::new("expected constant floats as weights"))?.clone();
    let read = move |run: Range<usize>, pack: &mut dyn FnMut(&[f32])| {
        // That these are floats, or stand for some, was asked before.
        pack(&stored.reals_within(run).unwrap_or_default());
    };
    let weights = Weights::stored(&geo, order, Box::new(read));
    let bias = match cx.g.node(chain.mac).input(2) {
        Some(v) => constant(cx.g, v)?.f32s()?.into_owned(),
        None => Vec::new(),
    };
    let x = cx.place(x, geo.layout)?;
    let zero = cx.out.constants.add(&vec![0; geo.window.pixel + SLACK]);
    let add = match add {
        Some((other, second)) => Some((cx.place(other, geo.layout)?, second)),
        None => None,
    };
    let family = Family {
        gemm: cx.row_for(gemm::F32, |row| (row.suits)(geo.sizes()))?,
        depthwise: cx.row(dwconv::F32)?,
        gemm_step: Kind::FGemm,
        depthwise_step: Kind::FDw,
        tile: 1 << 19,
    };
    let numbers = Numbers { x, zero, weights, bias, offsets: None };
    step(cx, chain, geo, family, numbers, |_, _| Ok(FloatEpilogue { clamp, add }))
}

fn constant(g: &Graph, v: ValueId) -> Result<&Tensor> {
    g.constant(v).ok_or_else(|| Error::new("expected a constant").at_value(g.value(v).name.clone()))
}

/// Panels of all groups, and for each panel entry its output channel (`None` for the padding).
fn panels(geo: &Geometry, nr: usize) -> (Vec<Panel>, Vec<Option<usize>>) {
    let per_group = geo.channels / geo.groups;
    let mut panels = Vec::new();
    let mut entries = Vec::new();
    for group in 0..geo.groups {
        for first in (0..per_group).step_by(nr) {
            let cols = nr.min(per_group - first);
            let channel = group * per_group + first;
            panels.push(Panel { x_offset: group * geo.k * geo.elem, channel, cols });
            entries.extend((0..nr).map(|c| (c < cols).then_some(channel + c)));
        }
    }
    (panels, entries)
}

/// Weights of one tile that should stay in the second-level cache.
const PANEL_BYTES: usize = 256 * 1024;

/// Tiles of about `target` multiply-accumulates, small enough that threads share the work evenly.
fn cut(pixels: usize, panels: usize, mr: usize, nr: usize, k: usize, panel_bytes: usize, target: usize) -> Cut {
    let all_blocks = pixels.div_ceil(mr).max(1);
    let mut cut_panels = (PANEL_BYTES / panel_bytes.max(1)).clamp(1, panels.max(1));
    let mut blocks = (target / (mr * nr * k * cut_panels).max(1)).clamp(1, all_blocks);
    // A few tiles a thread, where there is that much to divide.
    while all_blocks.div_ceil(blocks) * panels.div_ceil(cut_panels) < 8 && (blocks > 1 || cut_panels > 1) {
        match blocks > 1 {
            true => blocks = blocks.div_ceil(2),
            false => cut_panels = cut_panels.div_ceil(2),
        }
    }
    Cut { blocks, panels: cut_panels }
}

/// The integer epilogue of a chain; `entries` says which output channel each multiplier serves.
fn epilogue(cx: &mut Lower<'_>, chain: &Chain, entries: &[Option<usize>], layout: Layout) -> Result<Epilogue> {
    match &chain.tail {
        Tail::Accumulator => Ok(Epilogue::Accumulator),
        Tail::Requant { rescale, to, add } => {
            let acc = cx.g.node(chain.mac).outputs[0];
            let requant = requant(cx, *rescale, cx.g.ty(acc).quant()?, *to, entries)?;
            let Some((how, other)) = add else { return Ok(Epilogue::Requant(requant)) };
            let add = add_params(cx.g, *how, *to, *other, chain.output)?;
            Ok(Epilogue::RequantAdd(requant, cx.place(*other, layout)?, add))
        }
        Tail::Float { .. } => Err(Error::new("expected an integer tail: a defect of the compiler")),
    }
}

/// Multipliers from an accumulator to the value `to`; `entries` as in [`epilogue`].
pub fn requant(cx: &mut Lower<'_>, how: How, acc: &Quant, to: ValueId, entries: &[Option<usize>]) -> Result<Requant> {
    if fuse::by_chance(how) {
        return Err(Error::new("expected a rounding that asks for no place in the sample: a defect of the compiler"));
    }
    let to = cx.g.ty(to).quant()?;
    let out = stored(to)?;
    let mut floats = Vec::new();
    let (mut multipliers, mut shifts) = (Vec::new(), Vec::new());
    for entry in entries {
        match rescale_of(how, acc, to, *entry)? {
            Rescale::Float32 { m } => floats.push(m),
            Rescale::Fixed { m, shift } => {
                multipliers.push(m);
                shifts.push(shift);
            }
            Rescale::Shift { shift } => shifts.push(shift),
        }
    }
    let constants = &mut cx.out.constants;
    let scales = match (floats.is_empty(), multipliers.is_empty()) {
        (false, _) => Scales::Float32(constants.numbers(&floats)),
        (true, false) => Scales::Fixed(constants.numbers(&multipliers), constants.numbers(&shifts)),
        (true, true) => Scales::Shift(constants.numbers(&shifts)),
    };
    Ok(Requant { scales, rounding: how.rounding, zero_point: out.zero_point, lo: out.qmin, hi: out.qmax })
}

/// The change of scale of an output channel. Padding channels (`None`) are computed and thrown away; any does.
pub fn rescale_of(how: How, acc: &Quant, to: &Quant, entry: Option<usize>) -> Result<Rescale> {
    let scales = entry.and_then(|c| acc.scale_at(c).zip(to.scale_at(c)));
    let any = to.scale_at(0).unwrap_or(1.0);
    let (from, to) = scales.unwrap_or((any, any));
    Ok(Rescale::new(how.method, from, to)?)
}

/// What all channels of a requantized value share: zero point and limits.
pub fn stored(to: &Quant) -> Result<Affine> {
    match to.common_zero_point() {
        Some(_) => to.affine_at(0),
        None => {
            Err(Error::new(format!("expected one zero point for all channels, found {to}: a defect of the compiler")))
        }
    }
}

/// Parameters of `first + second -> sum`.
pub fn add_params(g: &Graph, how: How, first: ValueId, second: ValueId, sum: ValueId) -> Result<AddParams> {
    let affine = |v: ValueId| g.ty(v).quant().and_then(Quant::affine).map_err(|e| e.at_value(g.value(v).name.clone()));
    let (a, b, y) = (affine(first)?, affine(second)?, affine(sum)?);
    let rescale = AddRescale::new(how.method, a.scale, b.scale, y.scale)?;
    let (z1, z2, zero_point) = (a.zero_point, b.zero_point, y.zero_point);
    Ok(AddParams { rescale, rounding: how.rounding, z1, z2, zero_point, lo: y.qmin, hi: y.qmax })
}
