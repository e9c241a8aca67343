//! What every step touches: its spans for the check and the memory plan, its scratch, the facts its pointers rest on.

use crate::program::{
    Dw, Epilogue, Epilogue16, FloatEpilogue, Gemm, Kind, MapFn, Place, PoolKind, QMatMul, QRow, Scales, Span,
    type_bytes,
};
use lowbit_ir::{Error, Result, Type};
use lowbit_kernels::{dwconv, gemm, rowconv};

fn read(place: Place, bytes: usize) -> Span {
    Span { place, bytes, written: false }
}

fn write(place: Place, bytes: usize) -> Span {
    Span { place, bytes, written: true }
}

impl Scales {
    fn spans(self, channels: usize) -> Vec<Span> {
        match self {
            Scales::Float32(p) | Scales::Shift(p) => vec![read(p, channels * 4)],
            Scales::Fixed(m, s) => vec![read(m, channels * 4), read(s, channels * 4)],
        }
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        match self {
            Scales::Float32(p) | Scales::Shift(p) => vec![p],
            Scales::Fixed(m, s) => vec![m, s],
        }
    }
}

/// What a multiply-accumulate step stores, which also says on what numbers it works.
pub trait Store {
    /// Bytes an activation.
    const X: usize;
    /// Bytes a weight.
    const W: usize;
    /// Bytes a bias.
    const BIAS: usize;

    /// Bytes a stored element.
    fn size(&self) -> usize;

    /// What is read, of entries for `padded` channels and an output of `y_bytes`.
    fn spans(&self, padded: usize, y_bytes: usize) -> Vec<Span>;

    /// Its addresses.
    fn places_mut(&mut self) -> Vec<&mut Place>;

    /// Whether what lies outside the program's memory has entries for `padded` channels.
    fn serves(&self, padded: usize) -> bool;
}

impl Store for Epilogue {
    const X: usize = 1;
    const W: usize = 1;
    const BIAS: usize = 4;

    fn size(&self) -> usize {
        match self {
            Epilogue::Accumulator => 4,
            Epilogue::Requant(_) | Epilogue::RequantAdd(..) => 1,
        }
    }

    fn spans(&self, padded: usize, y_bytes: usize) -> Vec<Span> {
        match self {
            Epilogue::Accumulator => Vec::new(),
            Epilogue::Requant(r) => r.scales.spans(padded),
            Epilogue::RequantAdd(r, other, _) => {
                let mut out = r.scales.spans(padded);
                out.push(read(*other, y_bytes));
                out
            }
        }
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        match self {
            Epilogue::Accumulator => Vec::new(),
            Epilogue::Requant(r) => r.scales.places_mut(),
            Epilogue::RequantAdd(r, other, _) => {
                let mut all = r.scales.places_mut();
                all.push(other);
                all
            }
        }
    }

    fn serves(&self, _: usize) -> bool {
        true
    }
}

impl Store for FloatEpilogue {
    const X: usize = 4;
    const W: usize = 4;
    const BIAS: usize = 4;

    fn size(&self) -> usize {
        4
    }

    fn spans(&self, _: usize, y_bytes: usize) -> Vec<Span> {
        self.add.iter().map(|(other, _)| read(*other, y_bytes)).collect()
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        self.add.iter_mut().map(|(other, _)| other).collect()
    }

    fn serves(&self, _: usize) -> bool {
        true
    }
}

impl Store for Epilogue16 {
    const X: usize = 2;
    const W: usize = 1;
    const BIAS: usize = 8;

    fn size(&self) -> usize {
        if self.is_some() { 2 } else { 8 }
    }

    fn spans(&self, _: usize, _: usize) -> Vec<Span> {
        Vec::new()
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        Vec::new()
    }

    fn serves(&self, padded: usize) -> bool {
        self.as_ref().is_none_or(|r| r.scales.len() >= padded)
    }
}

/// An error unless a fact holds.
fn fits(holds: bool, what: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::new(format!("expected {what}, found otherwise: a defect of the compiler"))),
    }
}

impl<A, E: Store> Gemm<A, E> {
    fn padded(&self) -> usize {
        self.panels.len() * self.row.nr
    }

    fn spans(&self) -> Vec<Span> {
        let y_bytes = self.window.pixels() * self.channels * self.epilogue.size();
        let mut out = self.epilogue.spans(self.padded(), y_bytes);
        out.extend([
            read(self.x, self.window.input_bytes()),
            read(self.zero, self.window.pixel),
            read(self.w, self.panels.len() * self.panel_bytes),
            read(self.bias, self.padded() * E::BIAS),
            write(self.y, y_bytes),
        ]);
        out
    }

    fn scratch(&self) -> usize {
        self.window.taps() * self.row.mr * size_of::<*const u8>()
    }

    fn check(&self) -> Result<()> {
        let panel = self.row.packed(self.row.nr, self.window.taps(), self.k) * E::W;
        fits(self.panel_bytes == panel, "whole panels")?;
        for p in &self.panels {
            fits(p.x_offset + self.k * E::X <= self.window.pixel, "channels within a pixel")?;
            fits(p.cols >= 1 && p.cols <= self.row.nr && p.channel + p.cols <= self.channels, "columns in range")?;
        }
        fits(self.epilogue.serves(self.padded()), "a change of scale for every column")?;
        fits(self.cut.blocks > 0 && self.cut.panels > 0, "tiles")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.epilogue.places_mut();
        out.extend([&mut self.x, &mut self.zero, &mut self.w, &mut self.bias, &mut self.y]);
        out
    }
}

impl<A, W, E: Store> Dw<A, W, E> {
    fn spans(&self) -> Vec<Span> {
        let padded = dwconv::padded(self.channels);
        let y_bytes = self.window.pixels() * self.channels * self.epilogue.size();
        let mut out = self.epilogue.spans(padded, y_bytes);
        out.extend([
            read(self.x, self.window.input_bytes()),
            read(self.zero, self.window.pixel),
            read(self.w, self.w_bytes),
            read(self.bias, padded * E::BIAS),
            write(self.y, y_bytes),
        ]);
        out
    }

    fn scratch(&self) -> usize {
        self.window.taps() * self.window.output[1] * size_of::<*const u8>()
    }

    fn check(&self) -> Result<()> {
        fits(self.channels * E::X <= self.window.pixel, "channels within a pixel")?;
        fits(self.epilogue.serves(dwconv::padded(self.channels)), "a change of scale for every channel")?;
        let bytes = (self.row.packed)(self.channels, self.window.taps()) * E::W;
        fits(self.w_bytes == bytes, "whole weights")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.epilogue.places_mut();
        out.extend([&mut self.x, &mut self.zero, &mut self.w, &mut self.bias, &mut self.y]);
        out
    }
}

impl QRow {
    fn spans(&self) -> Vec<Span> {
        let padded = rowconv::padded(self.channels);
        let mut out = self.requant.scales.spans(padded);
        out.extend([
            read(self.x, self.window.input_bytes()),
            read(self.w, self.w_bytes),
            read(self.bias, padded * 4),
            write(self.y, self.window.pixels() * self.channels),
        ]);
        out
    }

    fn check(&self) -> Result<()> {
        fits(self.window.dilations[1] == 1, "neighbouring columns")?;
        fits(!self.depthwise || self.channels <= self.window.pixel, "channels within a pixel")?;
        fits(self.w_bytes == (self.row.packed)(&self.shape()), "whole weights")?;
        fits((self.row.suits)(&self.shape()), "a shape that suits the kernel")?;
        fits(self.rows > 0, "tiles")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.requant.scales.places_mut();
        out.extend([&mut self.x, &mut self.w, &mut self.bias, &mut self.y]);
        out
    }
}

impl QMatMul {
    fn spans(&self) -> Vec<Span> {
        let padded = self.n.next_multiple_of(self.row.nr);
        let y_bytes = product([self.batch.len(), self.m, self.n, self.epilogue.size()]);
        let of = |f: fn(&(usize, usize)) -> usize| self.batch.iter().map(f).max().map_or(0, |m| m + 1);
        let mut out = self.epilogue.spans(padded, y_bytes);
        out.extend(self.zero.map(|zero| read(zero, self.k)));
        out.extend([
            read(self.a, product([of(|b| b.0), self.m, self.k])),
            read(self.b, product([of(|b| b.1), self.k, self.n])),
            read(self.bias, product([padded, 4])),
            write(self.y, y_bytes),
        ]);
        out
    }

    /// Pointers; the bias with the zero point of `a` folded in, and what is folded; columns of `b`, the same as a panel,
    /// the panel's digits.
    fn scratch(&self) -> usize {
        self.pointers_bytes() + 2 * self.bias_bytes() + product([2 + gemm::DIGITS, self.panel_bytes()])
    }

    fn check(&self) -> Result<()> {
        fits(self.row.group == 4 && self.panel_bytes() == self.row.nr * self.column_bytes(), "weights in groups of 4")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.epilogue.places_mut();
        out.extend(&mut self.zero);
        out.extend([&mut self.a, &mut self.b, &mut self.bias, &mut self.y]);
        out
    }
}

/// The product of sizes; the largest number if it is no number, which no memory has room for.
fn product<const N: usize>(sizes: [usize; N]) -> usize {
    match sizes.contains(&0) {
        true => 0,
        false => sizes.into_iter().fold(1, usize::saturating_mul),
    }
}

impl Kind {
    /// Everything this step reads and writes.
    pub fn spans(&self) -> Vec<Span> {
        let mut out = Vec::new();
        match self {
            Kind::QGemm(s) => out = s.spans(),
            Kind::QGemm16(s) => out = s.spans(),
            Kind::FGemm(s) => out = s.spans(),
            Kind::QDw(s) => out = s.spans(),
            Kind::QDw16(s) => out = s.spans(),
            Kind::FDw(s) => out = s.spans(),
            Kind::QRow(s) => out = s.spans(),
            Kind::QMatMul(s) => out = s.spans(),
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
            Kind::QGemm(s) => s.scratch(),
            Kind::QGemm16(s) => s.scratch(),
            Kind::FGemm(s) => s.scratch(),
            Kind::QDw(s) => s.scratch(),
            Kind::QDw16(s) => s.scratch(),
            Kind::FDw(s) => s.scratch(),
            Kind::QRow(s) => s.pointers_bytes() + s.lines(s.rows) * s.line_bytes(),
            Kind::QMatMul(s) => s.scratch(),
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
        match self {
            Kind::QGemm(s) => s.check(),
            Kind::QGemm16(s) => s.check(),
            Kind::FGemm(s) => s.check(),
            Kind::QDw(s) => s.check(),
            Kind::QDw16(s) => s.check(),
            Kind::FDw(s) => s.check(),
            Kind::QRow(s) => s.check(),
            Kind::QMatMul(s) => s.check(),
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
        let mut out: Vec<&mut Place> = Vec::new();
        match self {
            Kind::QGemm(s) => out = s.places_mut(),
            Kind::QGemm16(s) => out = s.places_mut(),
            Kind::FGemm(s) => out = s.places_mut(),
            Kind::QDw(s) => out = s.places_mut(),
            Kind::QDw16(s) => out = s.places_mut(),
            Kind::FDw(s) => out = s.places_mut(),
            Kind::QRow(s) => out = s.places_mut(),
            Kind::QMatMul(s) => out = s.places_mut(),
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
