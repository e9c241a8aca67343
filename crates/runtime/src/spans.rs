//! What every step touches: its spans for the check and the memory plan, its scratch, the facts its pointers rest on.

use crate::program::{Epilogue, Kind, MapFn, Place, PoolKind, Requant16, Scales, Span, type_bytes};
use lowbit_ir::{Error, Result, Type};
use lowbit_kernels::{dwconv, gemm, rowconv};

fn read(place: Place, bytes: usize) -> Span {
    Span { place, bytes, written: false }
}

fn write(place: Place, bytes: usize) -> Span {
    Span { place, bytes, written: true }
}

impl Scales {
    fn spans(self, channels: usize, out: &mut Vec<Span>) {
        match self {
            Scales::Float32(p) | Scales::Shift(p) => out.push(read(p, channels * 4)),
            Scales::Fixed(m, s) => out.extend([read(m, channels * 4), read(s, channels * 4)]),
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

impl Kind {
    /// Everything this step reads and writes.
    pub fn spans(&self) -> Vec<Span> {
        let mut out = Vec::new();
        match self {
            Kind::QGemm(s) => {
                let padded = s.panels.len() * s.row.nr;
                let y_bytes = s.window.pixels() * s.channels * s.epilogue.size();
                let w_bytes = s.panels.len() * s.panel_bytes;
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, w_bytes),
                    read(s.bias, padded * 4),
                    write(s.y, y_bytes),
                ]);
                s.epilogue.spans(padded, y_bytes, &mut out);
            }
            Kind::QGemm16(s) => {
                let padded = s.panels.len() * s.row.nr;
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, s.panels.len() * s.panel_bytes),
                    read(s.bias, padded * 8),
                    write(s.y, s.window.pixels() * s.channels * size16(&s.requant)),
                ]);
            }
            Kind::QDw16(s) => out.extend([
                read(s.x, s.window.input_bytes()),
                read(s.zero, s.window.pixel),
                read(s.w, dwconv::packed_plain(s.channels, s.window.taps())),
                read(s.bias, dwconv::padded(s.channels) * 8),
                write(s.y, s.window.pixels() * s.channels * size16(&s.requant)),
            ]),
            Kind::FGemm(s) => {
                let padded = s.panels.len() * s.row.nr;
                let y_bytes = s.window.pixels() * s.channels * 4;
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, s.panels.len() * s.panel_bytes),
                    read(s.bias, padded * 4),
                    write(s.y, y_bytes),
                ]);
                out.extend(s.epilogue.add.map(|(other, _)| read(other, y_bytes)));
            }
            Kind::QDw(s) => {
                let padded = s.channels.next_multiple_of(64);
                let y_bytes = s.window.pixels() * s.channels * s.epilogue.size();
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, s.w_bytes),
                    read(s.bias, padded * 4),
                    write(s.y, y_bytes),
                ]);
                s.epilogue.spans(padded, y_bytes, &mut out);
            }
            Kind::QRow(s) => {
                let padded = rowconv::padded(s.channels);
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.w, s.w_bytes),
                    read(s.bias, padded * 4),
                    write(s.y, s.window.pixels() * s.channels),
                ]);
                s.requant.scales.spans(padded, &mut out);
            }
            Kind::FDw(s) => {
                let padded = s.channels.next_multiple_of(64);
                let y_bytes = s.window.pixels() * s.channels * 4;
                out.extend([
                    read(s.x, s.window.input_bytes()),
                    read(s.zero, s.window.pixel),
                    read(s.w, s.window.taps() * padded * 4),
                    read(s.bias, padded * 4),
                    write(s.y, y_bytes),
                ]);
                out.extend(s.epilogue.add.map(|(other, _)| read(other, y_bytes)));
            }
            Kind::FMatMul(s) => {
                let of = |f: fn(&(usize, usize)) -> usize| s.batch.iter().map(f).max().map_or(0, |m| m + 1);
                out.extend([
                    read(s.a, of(|b| b.0) * s.m * s.k * 4),
                    read(s.b, of(|b| b.1) * s.k * s.n * 4),
                    read(s.bias, s.n.next_multiple_of(s.row.nr) * 4),
                    write(s.y, s.batch.len() * s.m * s.n * 4),
                ]);
            }
            Kind::Pool(s) => {
                out.push(read(s.x, s.window.input_bytes()));
                out.push(write(s.y, s.window.pixels() * s.channels * s.kind.size()));
            }
            Kind::Map(s) => {
                let (x, y) = s.f.sizes();
                out.extend([read(s.x, s.n * x), write(s.y, s.n * y)]);
                match &s.f {
                    MapFn::Table8(_, table) => out.push(read(*table, 256)),
                    MapFn::Table16(_, table) => out.push(read(*table, 2 * 65536)),
                    MapFn::Quantize8(..)
                    | MapFn::Quantize16(..)
                    | MapFn::Dequantize8(..)
                    | MapFn::Dequantize16(..)
                    | MapFn::Unary(..)
                    | MapFn::Clamp(..) => {}
                }
            }
            Kind::Zip(s) => {
                let size = s.f.size();
                let (a, b) = s.f.steps();
                let extent = |stride: usize, step: usize| {
                    ((s.rows.max(1) - 1) * stride + s.n.saturating_sub(1) * step + usize::from(s.n > 0)) * size
                };
                out.extend([
                    read(s.a.0, extent(s.a.1, a)),
                    read(s.b.0, extent(s.b.1, b)),
                    write(s.y, s.rows * s.n * size),
                ]);
            }
            Kind::DequantizeAcc { x, y, rows, channels, scale, scale_step, .. } => {
                let scales = if *scale_step == 0 { 1 } else { *channels };
                out.extend([read(*x, rows * channels * 4), read(*scale, scales * 4), write(*y, rows * channels * 4)]);
            }
            Kind::Softmax { x, y, rows, n, .. } => out.extend([read(*x, rows * n * 4), write(*y, rows * n * 4)]),
            Kind::LayerNorm { x, y, scale, bias, rows, n, .. } => {
                out.extend([read(*x, rows * n * 4), read(*scale, n * 4), write(*y, rows * n * 4)]);
                out.extend(bias.map(|b| read(b, n * 4)));
            }
            Kind::Transpose { x, y, elem, batch, rows, cols, .. } => {
                let bytes = elem * batch * rows * cols;
                out.extend([read(*x, bytes), write(*y, bytes)]);
            }
            Kind::CopyRows { x, y, rows, bytes, x_stride, y_stride } => {
                let extent = |stride: usize| if *rows == 0 { 0 } else { (rows - 1) * stride + bytes };
                out.extend([read(*x, extent(*x_stride)), write(*y, extent(*y_stride))]);
            }
            Kind::Gather(s) => {
                let count: usize = s.tables.iter().map(Vec::len).product();
                out.extend([read(s.x, s.x_bytes), write(s.y, count * s.run)]);
            }
            Kind::Pad(s) => out.extend([read(s.x, s.offsets.len() * s.run), write(s.y, s.y_bytes)]),
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
            Kind::QGemm(s) => s.window.taps() * s.row.mr * pointer,
            Kind::QGemm16(s) => s.window.taps() * s.row.mr * pointer,
            Kind::FGemm(s) => s.window.taps() * s.row.mr * pointer,
            Kind::QDw(s) => s.window.taps() * s.window.output[1] * pointer,
            Kind::QDw16(s) => s.window.taps() * s.window.output[1] * pointer,
            Kind::QRow(s) => s.pointers_bytes() + s.lines(s.rows) * s.line_bytes(),
            Kind::FDw(s) => s.window.taps() * s.window.output[1] * pointer,
            Kind::FMatMul(s) => (s.row.mr * pointer).next_multiple_of(64) + s.k * s.row.nr * 4,
            Kind::Pool(s) => s.window.taps() * pointer,
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

    /// Facts that the pointers rest on besides the spans.
    pub(crate) fn check(&self) -> Result<()> {
        let fits = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(Error::new(format!("expected {what}, found otherwise: a defect of the compiler"))),
        };
        match self {
            Kind::QGemm(s) => {
                fits(s.panel_bytes == gemm::packed_q8(s.row.nr, s.window.taps(), s.k, s.row.nr), "whole panels")?;
                for p in &s.panels {
                    fits(p.x_offset + s.k <= s.window.pixel, "channels within a pixel")?;
                    fits(p.cols >= 1 && p.cols <= s.row.nr && p.channel + p.cols <= s.channels, "columns in range")?;
                }
                fits(s.cut.blocks > 0 && s.cut.panels > 0, "tiles")
            }
            Kind::FGemm(s) => {
                fits(s.panel_bytes == gemm::packed_f32(s.row.nr, s.window.taps(), s.k, s.row.nr) * 4, "whole panels")?;
                for p in &s.panels {
                    fits(p.x_offset + s.k * 4 <= s.window.pixel, "channels within a pixel")?;
                    fits(p.cols >= 1 && p.cols <= s.row.nr && p.channel + p.cols <= s.channels, "columns in range")?;
                }
                fits(s.cut.blocks > 0 && s.cut.panels > 0, "tiles")
            }
            Kind::QDw(s) => {
                fits(s.channels <= s.window.pixel, "channels within a pixel")?;
                fits(s.w_bytes == (s.row.packed)(s.channels, s.window.taps()), "whole weights")
            }
            Kind::QRow(s) => {
                fits(s.window.dilations[1] == 1, "neighbouring columns")?;
                fits(!s.depthwise || s.channels <= s.window.pixel, "channels within a pixel")?;
                fits(s.w_bytes == (s.row.packed)(&s.shape()), "whole weights")?;
                fits((s.row.suits)(&s.shape()), "a shape that suits the kernel")?;
                fits(s.rows > 0, "tiles")
            }
            Kind::QGemm16(s) => {
                fits(s.panel_bytes == gemm::packed_q16(s.row.nr, s.window.taps(), s.k, s.row.nr), "whole panels")?;
                for p in &s.panels {
                    fits(p.x_offset + s.k * 2 <= s.window.pixel, "channels within a pixel")?;
                    fits(p.cols >= 1 && p.cols <= s.row.nr && p.channel + p.cols <= s.channels, "columns in range")?;
                }
                let scales = s.requant.as_ref().map_or(usize::MAX, |r| r.scales.len());
                fits(scales >= s.panels.len() * s.row.nr, "a change of scale for every column")?;
                fits(s.cut.blocks > 0 && s.cut.panels > 0, "tiles")
            }
            Kind::QDw16(s) => {
                let scales = s.requant.as_ref().map_or(usize::MAX, |r| r.scales.len());
                fits(scales >= dwconv::padded(s.channels), "a change of scale for every channel")?;
                fits(s.channels * 2 <= s.window.pixel, "channels within a pixel")
            }
            Kind::FDw(s) => fits(s.channels * 4 <= s.window.pixel, "channels within a pixel"),
            Kind::Pool(s) => {
                fits(s.channels * s.kind.size() <= s.window.pixel, "channels within a pixel")?;
                match &s.kind {
                    PoolKind::AvgU8(_, a) | PoolKind::AvgU16(_, a) => {
                        fits(a.by_count.len() > s.window.taps(), "an average for every count")
                    }
                    PoolKind::MaxU8(_) | PoolKind::MaxU16(_) | PoolKind::MaxF32(_) | PoolKind::AvgF32(..) => Ok(()),
                }
            }
            Kind::Gather(s) => {
                let far: usize = s.tables.iter().map(|t| t.iter().copied().max().unwrap_or(0)).sum();
                let empty = s.tables.iter().any(Vec::is_empty);
                fits(empty || far + s.run <= s.x_bytes, "offsets within the input")
            }
            Kind::Pad(s) => {
                fits(s.offsets.iter().all(|o| o + s.run <= s.y_bytes), "runs within the output")?;
                fits(matches!(s.elem, 1 | 2 | 4 | 8) && s.y_bytes % s.elem == 0, "whole elements")
            }
            Kind::FMatMul(_)
            | Kind::Map(_)
            | Kind::Zip(_)
            | Kind::DequantizeAcc { .. }
            | Kind::Softmax { .. }
            | Kind::LayerNorm { .. }
            | Kind::Transpose { .. }
            | Kind::CopyRows { .. }
            | Kind::Reference(_) => Ok(()),
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
                    | MapFn::Clamp(..) => {}
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
