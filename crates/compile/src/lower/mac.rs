//! Convolutions and dense layers, with what follows them in registers.

use super::{Layout, Lower};
use crate::fuse::{Chain, Tail};
use crate::weights::{self, Width};
use lowbit_arithmetic::{AddRescale, Rescale};
use lowbit_ir::op::{Conv, MatMul, Rescale as How};
use lowbit_ir::{DType, Error, Graph, NodeId, Op, Quant, Result, Tensor, ValueId, bounds};
use lowbit_kernels::requant::AddParams;
use lowbit_kernels::{Features, dwconv, gemm, pick, rowconv};
use lowbit_runtime::Kind;
use lowbit_runtime::program::{
    Cut, Epilogue, FDw, FGemm, FMatMul, FloatEpilogue, Operands16, Panel, QDw, QDw16, QGemm, QGemm16, QRow, Requant,
    Requant16, Scales, Window,
};

/// Lowers a chain whose head is a Conv or MatMul.
pub fn lower(cx: &mut Lower<'_>, chain: &Chain) -> Result<()> {
    match &cx.g.node(chain.mac).op {
        Op::Conv(c) => conv(cx, chain, c),
        Op::MatMul(m) => matmul(cx, chain, *m),
        _ => Err(Error::new("expected a Conv or MatMul at the head of a chain: a defect of the compiler")),
    }
}

/// Multiply-accumulates of a node, 0 for those that have none.
pub fn macs(g: &Graph, id: NodeId) -> u64 {
    let node = g.node(id);
    let count = |v: ValueId| g.ty(v).shape.count().unwrap_or(0) as u64;
    let Some(w) = node.input(1) else { return 0 };
    let dims = g.ty(w).shape.dims().unwrap_or_default();
    let outputs: u64 = node.outputs.iter().map(|v| count(*v)).sum();
    match &node.op {
        Op::Conv(_) => outputs * dims.get(1..).map_or(0, |d| d.iter().product::<usize>() as u64),
        Op::MatMul(_) => {
            let k = node.input(0).and_then(|a| g.ty(a).shape.0.last()?.known()).unwrap_or(0);
            outputs * k as u64
        }
        _ => 0,
    }
}

/// The geometry of one multiply-accumulate, in kernel terms.
struct Geometry {
    window: Window,
    groups: usize,
    /// Input channels a group.
    k: usize,
    /// Output channels of all groups.
    channels: usize,
    layout: Layout,
    depthwise: bool,
}

/// What a kernel can do with a chain.
enum Plan {
    /// u8 activations, i8 weights, i32 accumulators.
    Integer,
    /// Activations or weights of 16 bits, i64 accumulators.
    Wide(Operands16),
    /// f32.
    Float,
    /// None of these.
    Reference,
}

fn plan(g: &Graph, chain: &Chain) -> Plan {
    let node = g.node(chain.mac);
    let known = |i: usize| node.input(i).is_none_or(|v| g.constant(v).is_some());
    let (Some(x), Some(w), true) = (node.input(0), node.input(1), known(1) && known(2)) else { return Plan::Reference };
    let (x, acc) = (g.ty(x), g.ty(node.outputs[0]).dtype);
    if (x.dtype, g.ty(w).dtype, acc) == (DType::F32, DType::F32, DType::F32) {
        return Plan::Float;
    }
    let (true, Some(width)) = (x.quant.as_ref().is_some_and(Quant::is_per_tensor), weights::width(g, w)) else {
        return Plan::Reference;
    };
    // Accumulators of 64 bits; only what stays in registers may be declared narrower.
    let wide = acc == DType::I64 || (acc == DType::I32 && matches!(chain.tail, Tail::Requant { .. }));
    match (x.dtype, width) {
        (DType::U8, Width::Bytes) if acc == DType::I32 => Plan::Integer,
        (DType::U8, Width::Bytes | Width::Words) if acc == DType::I64 => Plan::Wide(Operands16::BytesByWords),
        (DType::U16, Width::Bytes) if wide => Plan::Wide(Operands16::WordsByBytes),
        (DType::U16, Width::Words) if wide => Plan::Wide(Operands16::WordsByWords),
        _ => Plan::Reference,
    }
}

fn conv(cx: &mut Lower<'_>, chain: &Chain, c: &Conv) -> Result<()> {
    let (x, w) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let (xd, wd, yd) = (cx.dims(x)?, cx.dims(w)?, cx.dims(chain.output)?);
    let elem = cx.g.ty(x).dtype.bits() / 8;
    let plan = plan(cx.g, chain);
    if !(3..=4).contains(&xd.len()) || matches!(plan, Plan::Reference) {
        return cx.reference_chain(chain);
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
        Geometry { window, groups: c.group, k: wd[1], channels: wd[0], layout: Layout::ChannelsLast, depthwise };
    // Weights are [out, in / group, taps...].
    let taps = kernel[0] * kernel[1];
    let at = move |channel: usize, tap: usize, k: usize| (channel * wd[1] + k) * taps + tap;
    match plan {
        Plan::Integer => integer(cx, chain, geometry, at),
        Plan::Wide(operands) => wide(cx, chain, geometry, operands, at),
        Plan::Float => float(cx, chain, geometry, at),
        Plan::Reference => cx.reference_chain(chain),
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
    let geometry = Geometry { window, groups: 1, k, channels: n, layout: Layout::Plain, depthwise: false };
    let at = move |channel: usize, _: usize, i: usize| if m.trans_b { channel * k + i } else { i * n + channel };
    match plan(cx.g, chain) {
        Plan::Integer => integer(cx, chain, geometry, at),
        Plan::Wide(operands) => wide(cx, chain, geometry, operands, at),
        Plan::Float => float(cx, chain, geometry, at),
        Plan::Reference => batched(cx, chain, m),
    }
}

/// A product of two activations: floats have a kernel, all else is left to the interpreter.
fn batched(cx: &mut Lower<'_>, chain: &Chain, m: MatMul) -> Result<()> {
    let (a, b) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let (ad, bd, yd) = (cx.dims(a)?, cx.dims(b)?, cx.dims(chain.output)?);
    let bias = cx.g.node(chain.mac).input(2);
    let float = [a, b, chain.output].iter().all(|v| cx.g.ty(*v).dtype == DType::F32);
    let Tail::Float { clamp, add: None } = chain.tail else { return cx.reference_chain(chain) };
    let bias_known = bias.is_none_or(|v| cx.g.constant(v).is_some());
    if !float || !bias_known || ad.len() < 2 || bd.len() < 2 {
        return cx.reference_chain(chain);
    }
    let (rank, k) = (yd.len(), ad[ad.len() - 1]);
    let (rows, n) = (yd[rank - 2], yd[rank - 1]);
    let row = cx.row(gemm::F32)?;
    let mut padded = vec![0.0; n.next_multiple_of(row.nr)];
    if let Some(tensor) = bias.and_then(|v| cx.g.constant(v)) {
        padded.iter_mut().zip(tensor.f32s()?.iter()).for_each(|(p, b)| *p = *b);
    }
    let batch = broadcast_batches(&yd[..rank - 2], &ad[..ad.len() - 2], &bd[..bd.len() - 2]);
    let bias = cx.out.constants.f32s(&padded);
    let (a, b) = (cx.place(a, Layout::Plain)?, cx.place(b, Layout::Plain)?);
    let y = cx.define(chain.output, Layout::Plain)?;
    let kind = Kind::FMatMul(FMatMul { row, a, b, trans_b: m.trans_b, batch, m: rows, k, n, bias, y, clamp });
    let macs = macs(cx.g, chain.mac);
    cx.step(&chain.nodes, kind, macs);
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

fn integer(cx: &mut Lower<'_>, chain: &Chain, geo: Geometry, at: impl Fn(usize, usize, usize) -> usize) -> Result<()> {
    let node = cx.g.node(chain.mac);
    let (x, w) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let zero_point = cx.g.ty(x).quant()?.affine()?.zero_point;
    // Widths below 8 are unpacked here; less their zero points they fit i8 (`plan`).
    let weights: Vec<i8> = weights::centred(constant(cx.g, w)?)?.into_iter().map(|v| v as i8).collect();
    let bias = match node.input(2) {
        Some(v) => constant(cx.g, v)?.ints()?,
        None => vec![0; geo.channels],
    };
    let taps = geo.window.taps();
    let per_group = geo.channels / geo.groups;
    // sum (x - z) * w = sum x * w - z * sum w: the second part joins the bias. Modulo 2^32, as the kernels sum.
    let folded = |channel: usize| -> i32 {
        let sum: i64 = (0..taps)
            .flat_map(|t| (0..geo.k).map(move |k| (t, k)))
            .map(|(t, k)| i64::from(weights[at(channel, t, k)]))
            .sum();
        bias.get(channel).copied().unwrap_or(0).wrapping_sub(i64::from(zero_point).wrapping_mul(sum)) as i32
    };
    let place = cx.place(x, geo.layout)?;
    let zero = cx.out.constants.add(&vec![zero_point as u8; geo.window.pixel + lowbit_kernels::SLACK]);
    let macs = macs(cx.g, chain.mac);
    let (g, mac) = (cx.g, chain.mac);
    if let Some(row) = by_rows(cx, chain, &geo) {
        let shape = geo.window.row_shape(geo.channels, geo.depthwise);
        let all = |c: usize| (0..taps).flat_map(move |t| (0..geo.k).map(move |k| (c, t, k)));
        let order: Vec<i8> = (0..geo.channels).flat_map(all).map(|(c, t, k)| weights[at(c, t, k)]).collect();
        let w_bytes = (row.packed)(&shape);
        let mut packed = vec![0i8; w_bytes];
        (row.pack)(&shape, &order, &mut packed);
        let channels = geo.channels;
        let entries: Vec<Option<usize>> = (0..rowconv::padded(channels)).map(|c| (c < channels).then_some(c)).collect();
        let w = cx.out.constants.i8s(&packed);
        let bias: Vec<i32> = entries.iter().map(|c| c.map_or(0, folded)).collect();
        let bias = cx.out.constants.i32s(&bias);
        if let Epilogue::Requant(requant) = epilogue(cx, chain, &entries, geo.layout)? {
            let y = cx.define(chain.output, geo.layout)?;
            let (window, x, fill, depthwise) = (geo.window, place, zero_point as u8, geo.depthwise);
            let rows = LINES.min(window.output[0].div_ceil(8)).max(1);
            let kind =
                Kind::QRow(QRow { row, window, x, fill, channels, depthwise, w, w_bytes, bias, y, requant, rows });
            cx.step(&chain.nodes, kind, macs);
            return Ok(());
        }
    }
    if geo.depthwise {
        let row = cx.row_for(dwconv::Q8, |row| sums_exactly(row.needs, g, mac))?;
        let channels = geo.channels;
        let order: Vec<i8> =
            (0..channels).flat_map(|c| (0..taps).map(move |t| (c, t))).map(|(c, t)| weights[at(c, t, 0)]).collect();
        let w_bytes = (row.packed)(channels, taps);
        let mut packed = vec![0i8; w_bytes];
        (row.pack)(&order, channels, taps, &mut packed);
        let entries: Vec<Option<usize>> = (0..dwconv::padded(channels)).map(|c| (c < channels).then_some(c)).collect();
        let w = cx.out.constants.i8s(&packed);
        let bias: Vec<i32> = entries.iter().map(|c| c.map_or(0, folded)).collect();
        let bias = cx.out.constants.i32s(&bias);
        let epilogue = epilogue(cx, chain, &entries, geo.layout)?;
        let y = cx.define(chain.output, geo.layout)?;
        let kind = Kind::QDw(QDw { row, window: geo.window, x: place, zero, channels, w, w_bytes, bias, y, epilogue });
        cx.step(&chain.nodes, kind, macs);
        return Ok(());
    }
    let row = cx.row_for(gemm::Q8, |row| per_group <= row.most && sums_exactly(row.needs, g, mac))?;
    let (panels, entries) = panels(geo.groups, per_group, geo.k, row.nr);
    let panel_bytes = gemm::packed_q8(row.nr, taps, geo.k, row.nr);
    let mut packed = vec![0i8; panel_bytes * panels.len()];
    for (panel, out) in panels.iter().zip(packed.chunks_exact_mut(panel_bytes.max(1))) {
        let of = |c: usize, t: usize, k: usize| weights[at(panel.channel + c, t, k)];
        gemm::pack_q8(of, panel.cols, taps, geo.k, row.nr, out);
    }
    let w = cx.out.constants.i8s(&packed);
    let bias: Vec<i32> = entries.iter().map(|c| c.map_or(0, folded)).collect();
    let bias = cx.out.constants.i32s(&bias);
    let epilogue = epilogue(cx, chain, &entries, geo.layout)?;
    let y = cx.define(chain.output, geo.layout)?;
    let cut = cut(geo.window.pixels(), panels.len(), row.mr, row.nr, taps * geo.k, panel_bytes, 1 << 21);
    let kind = Kind::QGemm(QGemm {
        row,
        window: geo.window,
        x: place,
        zero,
        k: geo.k,
        w,
        panel_bytes,
        panels,
        bias,
        y,
        channels: geo.channels,
        epilogue,
        cut,
    });
    cx.step(&chain.nodes, kind, macs);
    Ok(())
}

/// Whether an integer kernel of these needs sums a layer exactly: if its instructions saturate sums of pairs, the layer's
/// weights must be proven small enough, whatever order the kernel takes them in.
fn sums_exactly(needs: Features, g: &Graph, mac: NodeId) -> bool {
    let pairs_fit = || match bounds::bound(g, g.node(mac)) {
        Ok(Some(bound)) => bound.any_pair_sum <= i64::from(i16::MAX),
        Ok(None) | Err(_) => false,
    };
    !needs.saturates_pairs() || pairs_fit()
}

/// Output rows a tile of a convolution by rows: their windows overlap, and what they share is copied once.
const LINES: usize = 4;

/// The row that computes an integer layer by rows, where that is faster.
fn by_rows(cx: &Lower<'_>, chain: &Chain, geo: &Geometry) -> Option<&'static rowconv::QRow> {
    let requantized = matches!(chain.tail, Tail::Requant { add: None, .. });
    // With gaps between windows or taps, input would be copied that nobody reads.
    let w = &geo.window;
    let gapless = w.dilations == [1, 1] && w.strides[0] <= w.kernel[0] && w.strides[1] <= w.kernel[1];
    let one_run = geo.layout == Layout::ChannelsLast && gapless;
    let ungrouped = geo.groups == 1 || geo.depthwise;
    let shape = geo.window.row_shape(geo.channels, geo.depthwise);
    let row = pick(rowconv::Q8, cx.features, |row| (row.suits)(&shape) && sums_exactly(row.needs, cx.g, chain.mac));
    row.filter(|_| requantized && one_run && ungrouped)
}

/// As [`integer`], for activations or weights of 16 bits: 64-bit accumulators.
fn wide(
    cx: &mut Lower<'_>,
    chain: &Chain,
    geo: Geometry,
    operands: Operands16,
    at: impl Fn(usize, usize, usize) -> usize,
) -> Result<()> {
    let node = cx.g.node(chain.mac);
    let (x, w) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let zero_point = cx.g.ty(x).quant()?.affine()?.zero_point;
    let weights: Vec<i16> = weights::centred(constant(cx.g, w)?)?.into_iter().map(|v| v as i16).collect();
    let bias = match node.input(2) {
        Some(v) => constant(cx.g, v)?.ints()?,
        None => vec![0; geo.channels],
    };
    let taps = geo.window.taps();
    let folded = |channel: Option<usize>| -> i64 {
        let Some(channel) = channel else { return 0 };
        let of = |(t, k): (usize, usize)| i64::from(weights[at(channel, t, k)]);
        let sum: i64 = (0..taps).flat_map(|t| (0..geo.k).map(move |k| (t, k))).map(of).sum();
        bias.get(channel).copied().unwrap_or(0).wrapping_sub(i64::from(zero_point).wrapping_mul(sum))
    };
    let place = cx.place(x, geo.layout)?;
    let size = operands.size();
    let pixel: Vec<u8> =
        (0..geo.window.pixel / size).flat_map(|_| zero_point.to_le_bytes().into_iter().take(size)).collect();
    let zero = cx.out.constants.add(&pixel);
    let macs = macs(cx.g, chain.mac);
    let biases = |cx: &mut Lower<'_>, entries: &[Option<usize>]| {
        let bytes: Vec<u8> = entries.iter().flat_map(|c| folded(*c).to_le_bytes()).collect();
        cx.out.constants.add(&bytes)
    };
    if geo.depthwise && operands == Operands16::WordsByBytes {
        let row = cx.row(dwconv::Q16)?;
        let channels = geo.channels;
        let order: Vec<i8> = (0..channels)
            .flat_map(|c| (0..taps).map(move |t| (c, t)))
            .map(|(c, t)| weights[at(c, t, 0)] as i8)
            .collect();
        let mut packed = vec![0i8; dwconv::packed_plain(channels, taps)];
        dwconv::pack_plain(&order, channels, taps, &mut packed);
        let entries: Vec<Option<usize>> = (0..dwconv::padded(channels)).map(|c| (c < channels).then_some(c)).collect();
        let w = cx.out.constants.i8s(&packed);
        let bias = biases(cx, &entries);
        let requant = requant16(cx, chain, &entries)?;
        let y = cx.define(chain.output, geo.layout)?;
        let kind = Kind::QDw16(QDw16 { row, window: geo.window, x: place, zero, channels, w, bias, y, requant });
        cx.step(&chain.nodes, kind, macs);
        return Ok(());
    }
    let row = cx.row(operands.table())?;
    let (mut panels, entries) = panels(geo.groups, geo.channels / geo.groups, geo.k, row.nr);
    panels.iter_mut().for_each(|p| p.x_offset *= size);
    let panel_bytes = operands.packed(row.nr, taps, geo.k, row.nr);
    let mut packed = Vec::with_capacity(panel_bytes * panels.len());
    for panel in &panels {
        let of = |c: usize, t: usize, k: usize| weights[at(panel.channel + c, t, k)];
        match operands {
            Operands16::WordsByBytes => {
                let mut out = vec![0i8; panel_bytes];
                gemm::pack_q16(|c, t, k| of(c, t, k) as i8, panel.cols, taps, geo.k, row.nr, &mut out);
                packed.extend(out.iter().map(|v| *v as u8));
            }
            Operands16::WordsByWords | Operands16::BytesByWords => {
                let mut out = vec![0i16; panel_bytes / 2];
                gemm::pack_w16(of, panel.cols, taps, geo.k, row.nr, &mut out);
                packed.extend(out.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
    }
    let w = cx.out.constants.add(&packed);
    let bias = biases(cx, &entries);
    let requant = requant16(cx, chain, &entries)?;
    let y = cx.define(chain.output, geo.layout)?;
    let cut = cut(geo.window.pixels(), panels.len(), row.mr, row.nr, taps * geo.k, panel_bytes, 1 << 19);
    let kind = Kind::QGemm16(QGemm16 {
        operands,
        row,
        window: geo.window,
        x: place,
        zero,
        k: geo.k,
        w,
        panel_bytes,
        panels,
        bias,
        y,
        channels: geo.channels,
        requant,
        cut,
    });
    cx.step(&chain.nodes, kind, macs);
    Ok(())
}

fn requant16(cx: &Lower<'_>, chain: &Chain, entries: &[Option<usize>]) -> Result<Option<Requant16>> {
    match &chain.tail {
        Tail::Accumulator => Ok(None),
        Tail::Requant { rescale, to, add: None } => {
            let out = cx.g.ty(*to).quant()?.affine()?;
            let acc = cx.g.ty(cx.g.node(chain.mac).outputs[0]).quant()?;
            let of = |entry: &Option<usize>| {
                let scale = entry.and_then(|c| if acc.is_per_tensor() { acc.scale.first() } else { acc.scale.get(c) });
                Rescale::new(rescale.method, scale.copied().unwrap_or(out.scale), out.scale)
            };
            let scales = entries.iter().map(of).collect::<Result<_, _>>()?;
            Ok(Some(Requant16 { scales, zero_point: out.zero_point, lo: out.qmin, hi: out.qmax }))
        }
        Tail::Requant { .. } | Tail::Float { .. } => {
            Err(Error::new("expected a 16-bit tail: a defect of the compiler"))
        }
    }
}

fn float(cx: &mut Lower<'_>, chain: &Chain, geo: Geometry, at: impl Fn(usize, usize, usize) -> usize) -> Result<()> {
    let node = cx.g.node(chain.mac);
    let (x, w) = (cx.input(chain.mac, 0)?, cx.input(chain.mac, 1)?);
    let weights = constant(cx.g, w)?.f32s()?.into_owned();
    let bias = match node.input(2) {
        Some(v) => constant(cx.g, v)?.f32s()?.into_owned(),
        None => vec![0.0; geo.channels],
    };
    let Tail::Float { clamp, add } = chain.tail else {
        return Err(Error::new("expected a float tail: a defect of the compiler"));
    };
    let place = cx.place(x, geo.layout)?;
    let taps = geo.window.taps();
    let zero = cx.out.constants.add(&vec![0; geo.window.pixel + lowbit_kernels::SLACK]);
    let add = match add {
        Some((other, second)) => Some((cx.place(other, geo.layout)?, second)),
        None => None,
    };
    let epilogue = FloatEpilogue { clamp, add };
    let of_channel = |c: &Option<usize>| c.and_then(|c| bias.get(c).copied()).unwrap_or(0.0);
    let macs = macs(cx.g, chain.mac);
    if geo.depthwise {
        let row = cx.row(dwconv::F32)?;
        let channels = geo.channels;
        let order: Vec<f32> =
            (0..channels).flat_map(|c| (0..taps).map(move |t| (c, t))).map(|(c, t)| weights[at(c, t, 0)]).collect();
        let mut packed = vec![0.0; dwconv::packed_plain(channels, taps)];
        dwconv::pack_plain(&order, channels, taps, &mut packed);
        let entries: Vec<Option<usize>> = (0..dwconv::padded(channels)).map(|c| (c < channels).then_some(c)).collect();
        let w = cx.out.constants.f32s(&packed);
        let bias: Vec<f32> = entries.iter().map(of_channel).collect();
        let bias = cx.out.constants.f32s(&bias);
        let y = cx.define(chain.output, geo.layout)?;
        let kind = Kind::FDw(FDw { row, window: geo.window, x: place, zero, channels, w, bias, y, epilogue });
        cx.step(&chain.nodes, kind, macs);
        return Ok(());
    }
    let row = cx.row(gemm::F32)?;
    let (mut panels, entries) = panels(geo.groups, geo.channels / geo.groups, geo.k, row.nr);
    panels.iter_mut().for_each(|p| p.x_offset *= 4);
    let floats = gemm::packed_f32(row.nr, taps, geo.k, row.nr);
    let mut packed = vec![0.0; floats * panels.len()];
    for (panel, out) in panels.iter().zip(packed.chunks_exact_mut(floats.max(1))) {
        let of = |c: usize, t: usize, k: usize| weights[at(panel.channel + c, t, k)];
        gemm::pack_f32(of, panel.cols, taps, geo.k, row.nr, out);
    }
    let w = cx.out.constants.f32s(&packed);
    let bias: Vec<f32> = entries.iter().map(of_channel).collect();
    let bias = cx.out.constants.f32s(&bias);
    let y = cx.define(chain.output, geo.layout)?;
    let panel_bytes = floats * 4;
    let cut = cut(geo.window.pixels(), panels.len(), row.mr, row.nr, taps * geo.k, panel_bytes, 1 << 19);
    let kind = Kind::FGemm(FGemm {
        row,
        window: geo.window,
        x: place,
        zero,
        k: geo.k,
        w,
        panel_bytes,
        panels,
        bias,
        y,
        channels: geo.channels,
        epilogue,
        cut,
    });
    cx.step(&chain.nodes, kind, macs);
    Ok(())
}

fn constant(g: &Graph, v: ValueId) -> Result<&Tensor> {
    g.constant(v).ok_or_else(|| Error::new("expected a constant").at_value(g.value(v).name.clone()))
}

/// Panels of all groups, and for each panel entry its output channel (`None` for the padding).
fn panels(groups: usize, per_group: usize, k: usize, nr: usize) -> (Vec<Panel>, Vec<Option<usize>>) {
    let mut panels = Vec::new();
    let mut entries = Vec::new();
    for group in 0..groups {
        for first in (0..per_group).step_by(nr) {
            let cols = nr.min(per_group - first);
            let channel = group * per_group + first;
            panels.push(Panel { x_offset: group * k, channel, cols });
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
    let out = cx.g.ty(to).quant()?.affine()?;
    let mut floats = Vec::new();
    let (mut multipliers, mut shifts) = (Vec::new(), Vec::new());
    for entry in entries {
        let scale = entry.and_then(|c| if acc.is_per_tensor() { acc.scale.first() } else { acc.scale.get(c) });
        // Padding channels are computed and thrown away; any multiplier does.
        match Rescale::new(how.method, scale.copied().unwrap_or(out.scale), out.scale)? {
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
        (false, _) => Scales::Float32(constants.f32s(&floats)),
        (true, false) => Scales::Fixed(constants.i32s(&multipliers), constants.i32s(&shifts)),
        (true, true) => Scales::Shift(constants.i32s(&shifts)),
    };
    Ok(Requant { scales, zero_point: out.zero_point, lo: out.qmin, hi: out.qmax })
}

/// Parameters of `first + second -> sum`.
pub fn add_params(g: &Graph, how: How, first: ValueId, second: ValueId, sum: ValueId) -> Result<AddParams> {
    let affine = |v: ValueId| g.ty(v).quant().and_then(Quant::affine).map_err(|e| e.at_value(g.value(v).name.clone()));
    let (a, b, y) = (affine(first)?, affine(second)?, affine(sum)?);
    let rescale = AddRescale::new(how.method, a.scale, b.scale, y.scale)?;
    Ok(AddParams { rescale, z1: a.zero_point, z2: b.zero_point, zero_point: y.zero_point, lo: y.qmin, hi: y.qmax })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_ir::Type;
    use lowbit_ir::infer::apply;

    #[test]
    fn kernels_that_saturate_pairs_take_only_what_fits() {
        let layer = |weights: [i64; 3]| {
            let mut g = Graph::new("g");
            let x = g.add_input("x", Type::quantized(DType::U8, vec![1, 3], Quant::per_tensor(1.0, 7, 0, 255)));
            let ty = Type::quantized(DType::I8, vec![3, 1], Quant::per_tensor(1.0, 0, -127, 127));
            let w = g.add_const("w", Tensor::from_ints(ty, &weights).unwrap());
            let y = apply(&mut g, "y", Op::MatMul(MatMul::default()), &[Some(x), Some(w)]).unwrap();
            g.outputs.push(y);
            g
        };
        // 255 * (64 + 64) fits 16 bits, 255 * (64 + 65) does not, wherever the two stand.
        for (weights, fits) in
            [([64, 1, 64], true), ([64, 1, 65], false), ([-64, 1, -65], false), ([-127, 127, 1], true)]
        {
            let g = layer(weights);
            let mac = g.order()[0];
            for needs in [Features::AVX2, Features::AVX512, Features::AVX2.and(Features::AVX512)] {
                assert_eq!(sums_exactly(needs, &g, mac), fits, "{weights:?}");
            }
            for needs in [Features::NONE, Features::AVX512.and(Features::AVX512_VNNI)] {
                assert!(sums_exactly(needs, &g, mac));
            }
        }
    }
}
