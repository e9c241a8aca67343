//! What every step touches: its spans for the check and the memory plan, its scratch, the facts its pointers rest on.

use crate::program::{
    AccumulatorRow, AverageAny, Cut, Entries, Epilogue, Gather, Indices, Kind, MapFn, Narrow, Operands16, Panel, Place,
    PoolKind, Requant16, Scales, Span, Window, ZipFn, product, type_bytes,
};
use lowbit_ir::{Error, Result, Type};
use lowbit_kernels::{Features, Row, copy, dwconv, elementwise, gemm, pool, rowconv, rows};

fn read(place: Place, bytes: usize) -> Span {
    Span { place, bytes, written: false }
}

fn write(place: Place, bytes: usize) -> Span {
    Span { place, bytes, written: true }
}

impl Scales {
    fn spans(self, channels: usize, out: &mut Vec<Span>) {
        let bytes = product([channels, 4]);
        match self {
            Scales::Float32(p) | Scales::Shift(p) => out.push(read(p, bytes)),
            Scales::Fixed(m, s) => out.extend([read(m, bytes), read(s, bytes)]),
        }
    }
}

impl Epilogue {
    /// Bytes a stored element.
    pub fn size(&self) -> usize {
        match self {
            Epilogue::Accumulator => 4,
            Epilogue::Requant(_) | Epilogue::RequantAdd(..) => 1,
        }
    }

    fn spans(&self, padded: usize, y_bytes: usize, out: &mut Vec<Span>) {
        match self {
            Epilogue::Accumulator => {}
            Epilogue::Requant(r) => r.scales.spans(padded, out),
            Epilogue::RequantAdd(r, other, _) => {
                r.scales.spans(padded, out);
                out.push(read(*other, y_bytes));
            }
        }
    }
}

/// Bytes a stored element of a 16-bit layer.
pub(crate) fn size16(requant: &Option<Requant16>) -> usize {
    if requant.is_some() { 2 } else { 8 }
}

/// The next multiple, or the largest number: no memory has room for either.
fn padded(n: usize, to: usize) -> usize {
    n.checked_next_multiple_of(to).unwrap_or(usize::MAX)
}

/// Bytes from the first of `rows` runs to the end of the last.
fn extent(rows: usize, stride: usize, bytes: usize) -> usize {
    if rows == 0 { 0 } else { product([rows - 1, stride]).saturating_add(bytes) }
}

/// Holds, or the program is refused. Sizes that are no numbers have become the largest one, which no memory holds.
fn fits(holds: bool, what: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::new(format!("expected {what}, found otherwise: a defect of the compiler"))),
    }
}

/// Whether a kernel is what its table says it is, and may run.
fn row<R: Row>(row: &'static R, table: &'static [R], allowed: Features) -> Result<()> {
    if !table.iter().any(|r| std::ptr::eq(r, row)) {
        return Err(Error::new(format!("expected a row of the kernel tables, found another '{}'", row.name())));
    }
    match allowed.has(row.needs()) {
        true => Ok(()),
        false => Err(Error::new(format!("the kernel '{}' needs more than the program's instruction set", row.name()))),
    }
}

fn window(w: &Window) -> Result<()> {
    fits(w.is_countable(), "a window whose positions can be counted")
}

/// What the pointers of a matrix product rest on: `size` bytes an input element, `packed` bytes a panel.
fn panels(
    panels: &[Panel],
    (k, size): (usize, usize),
    nr: usize,
    w: &Window,
    channels: usize,
    cut: Cut,
    (panel_bytes, packed): (usize, fn(usize, usize, usize, usize) -> usize),
) -> Result<()> {
    window(w)?;
    fits(w.pixel % size == 0, "pixels of whole channels")?;
    // The kernels' own formula for packed weights does not ask whether its products are numbers.
    fits(product([nr, w.taps(), padded(k, 4), 4]) < usize::MAX, "weights of a size that fits")?;
    fits(panel_bytes == packed(nr, w.taps(), k, nr), "whole panels")?;
    for p in panels {
        fits(p.x_offset.saturating_add(product([k, size])) <= w.pixel, "channels within a pixel")?;
        fits(p.x_offset % size == 0, "whole channels")?;
        let last = p.channel.saturating_add(p.cols);
        fits(p.cols >= 1 && p.cols <= nr && last <= channels, "columns in range")?;
    }
    // Two threads may hold two panels.
    fits(panels.windows(2).all(|p| p[0].channel + p[0].cols <= p[1].channel), "panels in the order of their channels")?;
    fits(cut.blocks > 0 && cut.panels > 0, "tiles")
}

/// Weights of a depthwise convolution have a size, and a pixel has all its channels of `size` bytes.
fn depthwise(w: &Window, channels: usize, size: usize) -> Result<()> {
    window(w)?;
    fits(product([padded(channels, 64), w.taps(), 8]) < usize::MAX, "weights of a size that fits")?;
    fits(w.pixel % size == 0, "pixels of whole channels")?;
    fits(product([channels, size]) <= w.pixel, "channels within a pixel")
}

fn indices(of: &Indices) -> Result<()> {
    fits(of.channels >= 1 && of.pixels >= 1, "samples of at least one element")
}

fn rescales(requant: &Option<Requant16>, entries: usize) -> Result<()> {
    fits(requant.as_ref().is_none_or(|r| r.scales.len() >= entries), "a change of scale for every channel")
}

impl Kind {
    /// Everything this step reads and writes.
    pub fn spans(&self) -> Vec<Span> {
        let mut out = Vec::new();
        match self {
            Kind::QGemm(s) => {
                let entries = product([s.panels.len(), s.row.nr]);
                let y_bytes = product([s.window.pixels(), s.channels, s.epilogue.size()]);
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, product([s.panels.len(), s.panel_bytes])),
                    read(s.bias, product([entries, 4])),
                    write(s.y, y_bytes),
                ]);
                s.epilogue.spans(entries, y_bytes, &mut out);
            }
            Kind::QGemm16(s) => out.extend([
                read(s.x, s.window.input_bytes()),
                read(s.zero, s.window.pixel),
                read(s.w, product([s.panels.len(), s.panel_bytes])),
                read(s.bias, product([s.panels.len(), s.row.nr, 8])),
                write(s.y, product([s.window.pixels(), s.channels, size16(&s.requant)])),
            ]),
            Kind::QDw16(s) => out.extend([
                read(s.x, s.window.input_bytes()),
                read(s.zero, s.window.pixel),
                read(s.w, product([padded(s.channels, 64), s.window.taps()])),
                read(s.bias, product([padded(s.channels, 64), 8])),
                write(s.y, product([s.window.pixels(), s.channels, size16(&s.requant)])),
            ]),
            Kind::FGemm(s) => {
                let y_bytes = product([s.window.pixels(), s.channels, 4]);
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, product([s.panels.len(), s.panel_bytes])),
                    read(s.bias, product([s.panels.len(), s.row.nr, 4])),
                    write(s.y, y_bytes),
                ]);
                out.extend(s.epilogue.add.map(|(other, _)| read(other, y_bytes)));
            }
            Kind::QDw(s) => {
                let entries = padded(s.channels, 64);
                let y_bytes = product([s.window.pixels(), s.channels, s.epilogue.size()]);
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, s.w_bytes),
                    read(s.bias, product([entries, 4])),
                    write(s.y, y_bytes),
                ]);
                s.epilogue.spans(entries, y_bytes, &mut out);
            }
            Kind::QRow(s) => {
                let entries = padded(s.channels, 64);
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.w, s.w_bytes),
                    read(s.bias, product([entries, 4])),
                    write(s.y, product([s.window.pixels(), s.channels])),
                ]);
                s.requant.scales.spans(entries, &mut out);
            }
            Kind::FDw(s) => {
                let entries = padded(s.channels, 64);
                let y_bytes = product([s.window.pixels(), s.channels, 4]);
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, product([s.window.taps(), entries, 4])),
                    read(s.bias, product([entries, 4])),
                    write(s.y, y_bytes),
                ]);
                out.extend(s.epilogue.add.map(|(other, _)| read(other, y_bytes)));
            }
            Kind::FMatMul(s) => {
                let of =
                    |f: fn(&(usize, usize)) -> usize| s.batch.iter().map(f).max().map_or(0, |m| m.saturating_add(1));
                out.extend([
                    read(s.a, product([of(|b| b.0), s.m, s.k, 4])),
                    read(s.b, product([of(|b| b.1), s.k, s.n, 4])),
                    read(s.bias, product([padded(s.n, s.row.nr), 4])),
                    write(s.y, product([s.batch.len(), s.m, s.n, 4])),
                ]);
            }
            Kind::Pool(s) => {
                out.push(read(s.x, s.window.input_bytes()));
                out.push(write(s.y, product([s.window.pixels(), s.channels, s.kind.sizes().1])));
            }
            Kind::Map(s) => {
                let (x, y) = s.f.sizes();
                out.extend([read(s.x, product([s.n, x])), write(s.y, product([s.n, y]))]);
                match &s.f {
                    MapFn::Table8(_, table) => out.push(read(*table, 256)),
                    MapFn::Table16(_, table) => out.push(read(*table, 2 * 65536)),
                    MapFn::Quantize8(..)
                    | MapFn::Quantize16(..)
                    | MapFn::Dequantize8(..)
                    | MapFn::Dequantize16(..)
                    | MapFn::Unary(..)
                    | MapFn::Clamp(..)
                    | MapFn::RequantAny(..)
                    | MapFn::QuantizeAny(..) => {}
                    MapFn::RequantAcc(_, requant, entries) => requant.scales.spans(*entries, &mut out),
                }
            }
            Kind::Zip(s) => {
                let [a_size, b_size, y_size] = s.f.sizes();
                let (a, b) = s.f.steps();
                let elements = |step: usize| if s.n == 0 { 0 } else { product([s.n - 1, step]).saturating_add(1) };
                out.extend([
                    read(s.a.0, product([extent(s.rows, s.a.1, elements(a)), a_size])),
                    read(s.b.0, product([extent(s.rows, s.b.1, elements(b)), b_size])),
                    write(s.y, product([s.rows, s.n, y_size])),
                ]);
            }
            Kind::DequantizeAcc { row, x, y, rows, channels, scale, scale_step } => {
                let scales = if *scale_step == 0 { 1 } else { *channels };
                out.extend([
                    read(*x, product([*rows, *channels, row.size()])),
                    read(*scale, product([scales, 4])),
                    write(*y, product([*rows, *channels, 4])),
                ]);
            }
            Kind::Softmax { x, y, rows, n, .. } => {
                let bytes = product([*rows, *n, 4]);
                out.extend([read(*x, bytes), write(*y, bytes)]);
            }
            Kind::LayerNorm { x, y, scale, bias, rows, n, .. } => {
                let bytes = product([*rows, *n, 4]);
                out.extend([read(*x, bytes), read(*scale, product([*n, 4])), write(*y, bytes)]);
                out.extend(bias.map(|b| read(b, product([*n, 4]))));
            }
            Kind::Transpose { x, y, elem, batch, rows, cols, .. } => {
                let bytes = product([*elem, *batch, *rows, *cols]);
                out.extend([read(*x, bytes), write(*y, bytes)]);
            }
            Kind::CopyRows { x, y, rows, bytes, x_stride, y_stride } => {
                out.extend([read(*x, extent(*rows, *x_stride, *bytes)), write(*y, extent(*rows, *y_stride, *bytes))]);
            }
            Kind::Gather(s) => out.extend([read(s.x, s.x_bytes), write(s.y, product([s.count(), s.run]))]),
            Kind::Pad(s) => out.extend([read(s.x, product([s.offsets.len(), s.run])), write(s.y, s.y_bytes)]),
            Kind::Reference(s) => {
                let bytes = |ty: &Type| type_bytes(ty).unwrap_or(usize::MAX);
                out.extend(s.inputs.iter().flatten().map(|(p, ty)| read(*p, bytes(ty))));
                out.extend(s.outputs.iter().map(|(p, ty)| write(*p, bytes(ty))));
            }
        }
        out
    }

    /// Scratch bytes a thread.
    pub fn scratch(&self) -> usize {
        let pointer = size_of::<*const u8>();
        match self {
            Kind::QGemm(s) => product([s.window.taps(), s.row.mr, pointer]),
            Kind::QGemm16(s) => product([s.window.taps(), s.row.mr, pointer]),
            Kind::FGemm(s) => product([s.window.taps(), s.row.mr, pointer]),
            Kind::QDw(s) => product([s.window.taps(), s.window.output[1], pointer]),
            Kind::QDw16(s) => product([s.window.taps(), s.window.output[1], pointer]),
            Kind::QRow(s) => s.pointers_bytes().saturating_add(product([s.lines(s.rows), s.line_bytes()])),
            Kind::FDw(s) => product([s.window.taps(), s.window.output[1], pointer]),
            Kind::FMatMul(s) => padded(s.row.mr * pointer, 64).saturating_add(product([s.k, s.row.nr, 4])),
            Kind::Pool(s) => product([s.window.taps(), pointer]),
            Kind::Map(_)
            | Kind::Zip(_)
            | Kind::DequantizeAcc { .. }
            | Kind::Softmax { .. }
            | Kind::LayerNorm { .. }
            | Kind::Transpose { .. }
            | Kind::CopyRows { .. }
            | Kind::Gather(_)
            | Kind::Pad(_)
            | Kind::Reference(_) => 0,
        }
    }

    /// What every place must be a multiple of: kernels read and write whole elements, byte moves bytes.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Kind::CopyRows { .. } | Kind::Gather(_) | Kind::Pad(_) | Kind::Reference(_) => 1,
            Kind::QGemm(_)
            | Kind::QGemm16(_)
            | Kind::FGemm(_)
            | Kind::QDw(_)
            | Kind::QRow(_)
            | Kind::QDw16(_)
            | Kind::FDw(_)
            | Kind::FMatMul(_)
            | Kind::Pool(_)
            | Kind::Map(_)
            | Kind::Zip(_)
            | Kind::DequantizeAcc { .. }
            | Kind::Softmax { .. }
            | Kind::LayerNorm { .. }
            | Kind::Transpose { .. } => 8,
        }
    }

    /// Facts that the pointers rest on besides the spans, and that every kernel is a row of its table which needs no
    /// more than `isa`.
    pub(crate) fn check(&self, isa: Features) -> Result<()> {
        match self {
            Kind::QGemm(s) => {
                row(s.row, gemm::Q8, isa)?;
                let bytes = (s.panel_bytes, gemm::packed_q8 as fn(_, _, _, _) -> _);
                panels(&s.panels, (s.k, 1), s.row.nr, &s.window, s.channels, s.cut, bytes)
            }
            Kind::QRow(s) => {
                row(s.row, rowconv::Q8, isa)?;
                depthwise(&s.window, if s.depthwise { s.channels } else { 0 }, 1)?;
                fits(
                    product([padded(s.channels, 64), s.window.taps(), s.window.pixel, 8]) < usize::MAX,
                    "few weights",
                )?;
                fits(s.window.dilations[1] == 1, "neighbouring columns")?;
                fits(s.w_bytes == (s.row.packed)(&s.shape()), "whole weights")?;
                fits((s.row.suits)(&s.shape()), "a shape that suits the kernel")?;
                fits(s.rows > 0 && s.rows <= s.window.output[0].max(1), "tiles")
            }
            Kind::QGemm16(s) => {
                row(s.row, s.operands.table(), isa)?;
                let packed: fn(_, _, _, _) -> _ = match s.operands {
                    Operands16::WordsByBytes => gemm::packed_q16,
                    Operands16::WordsByWords | Operands16::BytesByWords => gemm::packed_w16,
                };
                let k = (s.k, s.operands.size());
                panels(&s.panels, k, s.row.nr, &s.window, s.channels, s.cut, (s.panel_bytes, packed))?;
                rescales(&s.requant, product([s.panels.len(), s.row.nr]))
            }
            Kind::FGemm(s) => {
                row(s.row, gemm::F32, isa)?;
                let packed = |channels, taps, k, nr| gemm::packed_f32(channels, taps, k, nr) * 4;
                panels(&s.panels, (s.k, 4), s.row.nr, &s.window, s.channels, s.cut, (s.panel_bytes, packed))
            }
            Kind::QDw(s) => {
                row(s.row, dwconv::Q8, isa)?;
                depthwise(&s.window, s.channels, 1)?;
                fits(s.w_bytes == (s.row.packed)(s.channels, s.window.taps()), "whole weights")
            }
            Kind::QDw16(s) => {
                row(s.row, dwconv::Q16, isa)?;
                depthwise(&s.window, s.channels, 2)?;
                rescales(&s.requant, padded(s.channels, 64))
            }
            Kind::FDw(s) => {
                row(s.row, dwconv::F32, isa)?;
                depthwise(&s.window, s.channels, 4)
            }
            Kind::FMatMul(s) => row(s.row, gemm::F32, isa),
            Kind::Pool(s) => {
                match &s.kind {
                    PoolKind::MaxU8(k) => row(*k, pool::MAX_U8, isa)?,
                    PoolKind::MaxU16(k) => row(*k, pool::MAX_U16, isa)?,
                    PoolKind::MaxF32(k) => row(*k, pool::MAX_F32, isa)?,
                    PoolKind::AvgU8(k, _) => row(*k, pool::AVG_U8, isa)?,
                    PoolKind::AvgU16(k, _) => row(*k, pool::AVG_U16, isa)?,
                    PoolKind::AvgAny(k, ..) => row(*k, pool::AVG_ANY, isa)?,
                    PoolKind::AvgF32(k, _) => row(*k, pool::AVG_F32, isa)?,
                }
                window(&s.window)?;
                fits(s.window.pixel % s.kind.sizes().0 == 0, "pixels of whole channels")?;
                fits(product([s.channels, s.kind.sizes().0]) <= s.window.pixel, "channels within a pixel")?;
                match &s.kind {
                    PoolKind::AvgAny(.., AverageAny { from: Narrow::I16, .. }) => fits(false, "unsigned activations"),
                    PoolKind::AvgU8(_, a) | PoolKind::AvgU16(_, a) | PoolKind::AvgAny(_, a, _) => {
                        let counts = s.window.counts(a.include_pad);
                        fits(counts.iter().all(|n| *n == 0 || a.at(*n).is_some()), "an average for every count")
                    }
                    PoolKind::MaxU8(_) | PoolKind::MaxU16(_) | PoolKind::MaxF32(_) | PoolKind::AvgF32(..) => Ok(()),
                }
            }
            Kind::Map(s) => match &s.f {
                MapFn::Quantize8(k, _) => row(*k, elementwise::QUANTIZE8, isa),
                MapFn::Quantize16(k, _) => row(*k, elementwise::QUANTIZE16, isa),
                MapFn::Dequantize8(k, _) => row(*k, elementwise::DEQUANTIZE8, isa),
                MapFn::Dequantize16(k, _) => row(*k, elementwise::DEQUANTIZE16, isa),
                MapFn::Table8(k, _) => row(*k, elementwise::TABLE8, isa),
                MapFn::Table16(k, _) => row(*k, elementwise::TABLE16, isa),
                MapFn::Unary(k, _) => row(*k, elementwise::UNARY, isa),
                MapFn::Clamp(k, ..) => row(*k, elementwise::CLAMP, isa),
                MapFn::RequantAcc(k, _, entries) => {
                    row(*k, elementwise::REQUANT_ACC, isa)?;
                    fits(*entries >= 1, "at least one multiplier")
                }
                MapFn::RequantAny(k, how) => {
                    row(*k, elementwise::REQUANT_ANY, isa)?;
                    let Entries { count, inner } = how.entries;
                    fits(count >= 1 && inner >= 1 && how.rescales.len() >= count, "a change of scale for every entry")?;
                    indices(&how.indices)
                }
                MapFn::QuantizeAny(k, how) => {
                    row(*k, elementwise::QUANTIZE_ANY, isa)?;
                    indices(&how.indices)
                }
            },
            Kind::Zip(s) => {
                match &s.f {
                    ZipFn::Add8(k, _) => row(*k, elementwise::QADD, isa)?,
                    ZipFn::Add16(k, _) => row(*k, elementwise::QADD16, isa)?,
                    ZipFn::Mul8(k, _) => row(*k, elementwise::QMUL, isa)?,
                    ZipFn::Mul16(k, _) => row(*k, elementwise::QMUL16, isa)?,
                    ZipFn::Any(k, how) => {
                        row(*k, elementwise::PAIR_ANY, isa)?;
                        indices(&how.indices)?;
                    }
                    ZipFn::Binary(k, ..) => row(*k, elementwise::BINARY, isa)?,
                }
                let (a, b) = s.f.steps();
                fits(a <= 1 && b <= 1, "operands that advance by one element or none")
            }
            Kind::DequantizeAcc { row: k, scale_step, .. } => {
                match k {
                    AccumulatorRow::Narrow(k) => row(*k, elementwise::DEQUANTIZE_ACC, isa)?,
                    AccumulatorRow::Wide(k) => row(*k, elementwise::DEQUANTIZE_WIDE, isa)?,
                }
                fits(*scale_step <= 1, "scales that advance by one or none")
            }
            Kind::Softmax { row: k, rows: count, n, .. } => {
                row(*k, rows::SOFTMAX, isa)?;
                fits(*count == 0 || *n >= 1, "rows of at least one element")
            }
            Kind::LayerNorm { row: k, rows: count, n, .. } => {
                row(*k, rows::LAYER_NORM, isa)?;
                fits(*count == 0 || *n >= 1, "rows of at least one element")
            }
            Kind::Transpose { row: k, elem, .. } => {
                row(*k, copy::TRANSPOSE, isa)?;
                fits(matches!(elem, 1 | 2 | 4 | 8), "elements of 1, 2, 4 or 8 bytes")
            }
            Kind::CopyRows { rows, bytes, y_stride, .. } => {
                fits(*rows <= 1 || y_stride >= bytes, "runs that lie apart in the output")
            }
            Kind::Gather(s) => {
                let most = |t: &Vec<usize>| t.iter().copied().max().unwrap_or(0);
                let far = s.tables.iter().map(most).fold(s.run, usize::saturating_add);
                fits(s.tables.len() <= Gather::AXES, "few enough axes")?;
                fits(s.count() == 0 || far <= s.x_bytes, "offsets within the input")
            }
            Kind::Pad(s) => {
                fits(s.offsets.iter().all(|o| o.saturating_add(s.run) <= s.y_bytes), "runs within the output")?;
                fits(matches!(s.elem, 1 | 2 | 4 | 8) && s.y_bytes % s.elem == 0, "whole elements")
            }
            Kind::Reference(_) => Ok(()),
        }
    }

    /// Every address of this step, for the compiler to settle.
    pub fn places_mut(&mut self) -> Vec<&mut Place> {
        fn scales(s: &mut Scales) -> Vec<&mut Place> {
            match s {
                Scales::Float32(p) | Scales::Shift(p) => vec![p],
                Scales::Fixed(m, s) => vec![m, s],
            }
        }
        fn epilogue(e: &mut Epilogue) -> Vec<&mut Place> {
            match e {
                Epilogue::Accumulator => Vec::new(),
                Epilogue::Requant(r) => scales(&mut r.scales),
                Epilogue::RequantAdd(r, other, _) => {
                    let mut all = scales(&mut r.scales);
                    all.push(other);
                    all
                }
            }
        }
        let mut out: Vec<&mut Place> = Vec::new();
        match self {
            Kind::QGemm(s) => {
                out.extend([&mut s.x, &mut s.zero, &mut s.w, &mut s.bias, &mut s.y]);
                out.extend(epilogue(&mut s.epilogue));
            }
            Kind::FGemm(s) => {
                out.extend([&mut s.x, &mut s.zero, &mut s.w, &mut s.bias, &mut s.y]);
                out.extend(s.epilogue.add.as_mut().map(|(other, _)| other));
            }
            Kind::QDw(s) => {
                out.extend([&mut s.x, &mut s.zero, &mut s.w, &mut s.bias, &mut s.y]);
                out.extend(epilogue(&mut s.epilogue));
            }
            Kind::FDw(s) => {
                out.extend([&mut s.x, &mut s.zero, &mut s.w, &mut s.bias, &mut s.y]);
                out.extend(s.epilogue.add.as_mut().map(|(other, _)| other));
            }
            Kind::QRow(s) => {
                out.extend([&mut s.x, &mut s.w, &mut s.bias, &mut s.y]);
                out.extend(scales(&mut s.requant.scales));
            }
            Kind::QGemm16(s) => out.extend([&mut s.x, &mut s.zero, &mut s.w, &mut s.bias, &mut s.y]),
            Kind::QDw16(s) => out.extend([&mut s.x, &mut s.zero, &mut s.w, &mut s.bias, &mut s.y]),
            Kind::FMatMul(s) => out.extend([&mut s.a, &mut s.b, &mut s.bias, &mut s.y]),
            Kind::Pool(s) => out.extend([&mut s.x, &mut s.y]),
            Kind::Map(s) => {
                out.extend([&mut s.x, &mut s.y]);
                match &mut s.f {
                    MapFn::Table8(_, table) | MapFn::Table16(_, table) => out.push(table),
                    MapFn::Quantize8(..)
                    | MapFn::Quantize16(..)
                    | MapFn::Dequantize8(..)
                    | MapFn::Dequantize16(..)
                    | MapFn::Unary(..)
                    | MapFn::Clamp(..)
                    | MapFn::RequantAny(..)
                    | MapFn::QuantizeAny(..) => {}
                    MapFn::RequantAcc(_, requant, _) => out.extend(scales(&mut requant.scales)),
                }
            }
            Kind::Zip(s) => out.extend([&mut s.a.0, &mut s.b.0, &mut s.y]),
            Kind::DequantizeAcc { x, y, scale, .. } => out.extend([x, y, scale]),
            Kind::Softmax { x, y, .. } | Kind::Transpose { x, y, .. } | Kind::CopyRows { x, y, .. } => {
                out.extend([x, y])
            }
            Kind::LayerNorm { x, y, scale, bias, .. } => {
                out.extend([x, y, scale]);
                out.extend(bias.as_mut());
            }
            Kind::Gather(s) => out.extend([&mut s.x, &mut s.y]),
            Kind::Pad(s) => out.extend([&mut s.x, &mut s.y]),
            Kind::Reference(s) => {
                out.extend(s.inputs.iter_mut().flatten().map(|(p, _)| p));
                out.extend(s.outputs.iter_mut().map(|(p, _)| p));
            }
        }
        out
    }
}
