//! What every step touches: its spans for the check and the memory plan, its scratch, the facts its pointers rest on.

use crate::program::{
    AccumulatorRow, Affines, AverageAny, Dw, Entries, Epilogue, Epilogue16, FloatEpilogue, Gather, Gemm, Indices, Kind,
    LineTile, Link, LinksFrom, LinksTo, MapFn, Narrow, Other, Panel, Place, PoolKind, QMatMul, QRow, RowsFn, RowsFrom,
    RowsTo, Scales, Span, Window, ZipFn, product, type_bytes,
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
    fn spans(self, channels: usize) -> Vec<Span> {
        let bytes = product([channels, 4]);
        match self {
            Scales::Float32(p) | Scales::Shift(p) => vec![read(p, bytes)],
            Scales::Fixed(m, s) => vec![read(m, bytes), read(s, bytes)],
        }
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        match self {
            Scales::Float32(p) | Scales::Shift(p) => vec![p],
            Scales::Fixed(m, s) => vec![m, s],
        }
    }
}

/// What a multiply-accumulate step stores.
pub trait Store {
    /// Bytes a stored element.
    fn size(&self) -> usize;

    /// What is read, of entries for `padded` channels and an output of `y_bytes`.
    fn spans(&self, padded: usize, y_bytes: usize) -> Vec<Span>;

    /// Its addresses.
    fn places_mut(&mut self) -> Vec<&mut Place>;
}

impl Store for Epilogue {
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
}

impl Store for FloatEpilogue {
    fn size(&self) -> usize {
        4
    }

    fn spans(&self, _: usize, y_bytes: usize) -> Vec<Span> {
        self.add.iter().map(|(other, _)| read(*other, y_bytes)).collect()
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        self.add.iter_mut().map(|(other, _)| other).collect()
    }
}

impl Store for Epilogue16 {
    fn size(&self) -> usize {
        if self.is_some() { 2 } else { 8 }
    }

    fn spans(&self, padded: usize, _: usize) -> Vec<Span> {
        self.iter().flat_map(|r| r.how.scales.spans(padded)).collect()
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        self.iter_mut().flat_map(|r| r.how.scales.places_mut()).collect()
    }
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

/// Whether weights are added nothing to, as it must be where kernels do not do it.
fn none<T>(offset: Option<T>) -> Result<()> {
    fits(offset.is_none(), "weights without an offset")
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

/// What reading pixels of elements of `size` bytes rests on.
fn pixels(w: &Window, size: usize) -> Result<()> {
    fits(w.is_countable(), "a window whose positions can be counted")?;
    fits(w.pixel.is_multiple_of(size), "pixels of whole channels")
}

/// Whether as many channels have weights whose bytes can be counted, however a kernel packs them.
fn few_weights(channels: usize, w: &Window) -> bool {
    product([padded(channels, 64), w.taps(), 64]) < usize::MAX
}

fn indices(of: &Indices) -> Result<()> {
    fits(of.channels >= 1 && of.pixels >= 1, "samples of at least one element")
}

fn affines(of: &Affines) -> Result<()> {
    let Entries { count, inner } = of.entries;
    fits(count >= 1 && inner >= 1 && of.list.len() >= count, "a scale for every entry")
}

/// Bytes from the first pixel's to the end of the last one's, which are so far apart.
fn joined(pixels: usize, stride: usize, pixel: usize) -> usize {
    if pixels == 0 { 0 } else { product([pixels - 1, stride]).saturating_add(pixel) }
}

/// A row of a product's table.
type GemmRow<X, W, B, Y, K> = gemm::Gemm<gemm::Args<X, W, B, Y, K>>;

impl<X, W, B, Y, K, E: Store> Gemm<gemm::Args<X, W, B, Y, K>, E> {
    fn padded(&self) -> usize {
        product([self.panels.len(), self.row.nr])
    }

    fn spans(&self) -> Vec<Span> {
        let y_bytes = joined(self.window.pixels(), self.y_stride, product([self.channels, self.epilogue.size()]));
        let mut out = self.epilogue.spans(self.padded(), y_bytes);
        out.extend([
            read(self.x, self.window.input_bytes()),
            read(self.zero, self.window.pixel),
            read(self.w, product([self.panels.len(), self.panel_bytes])),
            read(self.bias, product([self.padded(), size_of::<B>()])),
            write(self.y, y_bytes),
        ]);
        out.extend(self.offset.map(|offset| read(offset.place, product([self.padded(), size_of::<B>()]))));
        out
    }

    /// Scratch bytes of the pointers to a tile's taps and to its rows' planes, up to where the planes start.
    pub(crate) fn pointer_bytes(&self) -> usize {
        padded(product([self.window.taps().saturating_add(1), self.row.mr, size_of::<*const u8>()]), 64)
    }

    fn scratch(&self) -> usize {
        if self.split.is_some() {
            let (_, plane) = self.row.depth(self.window.taps(), self.k);
            let planes = product([self.row.mr, gemm::apart(plane)]);
            return self.pointer_bytes().saturating_add(planes);
        }
        let sums = if self.offset.is_some() { padded(self.row.mr, 4) * size_of::<B>() } else { 0 };
        product([self.window.taps(), self.row.mr, size_of::<*const u8>()]).saturating_add(sums)
    }

    fn check(&self, table: &'static [GemmRow<X, W, B, Y, K>], isa: Features) -> Result<()> {
        row(self.row, table, isa)?;
        pixels(&self.window, size_of::<X>())?;
        let (nr, taps) = (self.row.nr, self.window.taps());
        // The kernels' own formula for packed weights does not ask whether its products are numbers.
        let size = product([nr, taps, padded(self.k, 64), size_of::<W>()]);
        fits(size < usize::MAX, "weights of a size that fits")?;
        fits(self.panel_bytes == self.row.packed(nr, taps, self.k) * size_of::<W>(), "whole panels")?;
        for p in &self.panels {
            let bytes = product([self.k, size_of::<X>()]);
            fits(p.x_offset.saturating_add(bytes) <= self.window.pixel, "channels within a pixel")?;
            fits(p.x_offset.is_multiple_of(size_of::<X>()), "whole channels")?;
            let last = p.channel.saturating_add(p.cols);
            fits(p.cols >= 1 && p.cols <= nr && last <= self.channels, "columns in range")?;
        }
        // Two threads may hold two panels.
        let apart = |p: &[Panel]| p[0].channel + p[0].cols <= p[1].channel;
        fits(self.panels.windows(2).all(apart), "panels in the order of their channels")?;
        if let Some(offset) = self.offset {
            self::row(offset.sums, gemm::SUMS, isa)?;
        }
        fits(self.split.is_some() == (self.row.planes > 0), "planes for a kernel that wants them")?;
        fits(self.split.is_none() || (self.offset.is_none() && size_of::<X>() == 2), "planes of words")?;
        // Runs, of which there are no more than taps, take the place of the pointers to a tile's taps.
        let room = self.row.mr * size_of::<*const u8>() >= size_of::<gemm::Run>();
        fits(self.split.is_none() || room, "room for the runs of a row")?;
        if let Some(split) = self.split {
            self::row(split, gemm::SPLIT, isa)?;
        }
        fits(self.y_stride >= product([self.channels, self.epilogue.size()]), "pixels apart")?;
        fits(self.y_stride.is_multiple_of(self.epilogue.size().max(1)), "whole elements")?;
        fits(self.cut.blocks > 0 && self.cut.panels > 0, "tiles")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.epilogue.places_mut();
        out.extend(self.offset.as_mut().map(|offset| &mut offset.place));
        out.extend([&mut self.x, &mut self.zero, &mut self.w, &mut self.bias, &mut self.y]);
        out
    }
}

#[allow(clippy::type_complexity, reason = "a kernel's arguments are named by the numbers they lead to")]
impl<X, W, B, Y, K, E: Store> Dw<dwconv::Args<X, W, B, Y, K>, W, E> {
    fn spans(&self) -> Vec<Span> {
        let entries = padded(self.channels, 64);
        let y_bytes = product([self.window.pixels(), self.channels, self.epilogue.size()]);
        let mut out = self.epilogue.spans(entries, y_bytes);
        out.extend([
            read(self.x, self.window.input_bytes()),
            read(self.zero, self.window.pixel),
            read(self.w, self.w_bytes),
            read(self.bias, product([entries, size_of::<B>()])),
            write(self.y, y_bytes),
        ]);
        out.extend(self.offset.map(|offset| read(offset, product([entries, size_of::<B>()]))));
        out
    }

    fn scratch(&self) -> usize {
        product([self.window.taps(), self.window.output[1], size_of::<*const u8>()])
    }

    fn check(&self, table: &'static [dwconv::Dw<dwconv::Args<X, W, B, Y, K>, W>], isa: Features) -> Result<()> {
        row(self.row, table, isa)?;
        pixels(&self.window, size_of::<X>())?;
        fits(product([self.channels, size_of::<X>()]) <= self.window.pixel, "channels within a pixel")?;
        fits(few_weights(self.channels, &self.window), "weights of a size that fits")?;
        let bytes = (self.row.packed)(self.channels, self.window.taps()) * size_of::<W>();
        fits(self.w_bytes == bytes, "whole weights")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.epilogue.places_mut();
        out.extend(&mut self.offset);
        out.extend([&mut self.x, &mut self.zero, &mut self.w, &mut self.bias, &mut self.y]);
        out
    }
}

impl QRow {
    fn spans(&self) -> Vec<Span> {
        let entries = padded(self.channels, 64);
        let mut out = self.requant.scales.spans(entries);
        out.extend([
            read(self.x, self.window.input_bytes()),
            read(self.w, self.w_bytes),
            read(self.bias, product([entries, 4])),
            write(self.y, joined(self.window.pixels(), self.y_stride, self.channels)),
        ]);
        out.extend(self.offset.map(|offset| read(offset, product([entries, 4]))));
        out.extend(self.residual.map(|(other, _)| read(other, product([self.window.pixels(), self.channels]))));
        out
    }

    fn scratch(&self) -> usize {
        self.copied_bytes().saturating_add((self.row.scratch)(&self.shape(), self.tile.lines, self.tile.pixels))
    }

    fn check(&self, isa: Features) -> Result<()> {
        row(self.row, rowconv::Q8, isa)?;
        pixels(&self.window, 1)?;
        fits(self.window.dilations == [1, 1], "neighbouring lines and columns")?;
        fits(!self.depthwise || self.channels <= self.window.pixel, "channels within a pixel")?;
        let k = if self.depthwise { 1 } else { self.window.pixel };
        fits(
            few_weights(product([padded(self.channels, 64), padded(k, 64)]), &self.window),
            "weights of a size that fits",
        )?;
        fits((self.row.suits)(&self.shape()), "a shape that suits the kernel")?;
        fits(self.w_bytes == (self.row.packed)(&self.shape()), "whole weights")?;
        let dense = self.y_stride == self.channels;
        fits(dense || self.y_stride > self.channels && !self.depthwise && self.residual.is_none(), "pixels apart")?;
        let LineTile { lines, pixels, channels } = self.tile;
        let [height, width] = self.window.output.map(|n| n.max(1));
        let within = (1..=height).contains(&lines) && (1..=width).contains(&pixels);
        fits(within && (pixels == width || lines == 1 && self.window.is_within()), "tiles")?;
        let panels = channels > 0 && (channels >= self.channels || channels.is_multiple_of(self.row.panel.max(1)));
        fits(panels, "tiles of whole panels")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.requant.scales.places_mut();
        out.extend(&mut self.offset);
        out.extend(self.residual.as_mut().map(|(other, _)| other));
        out.extend([&mut self.x, &mut self.w, &mut self.bias, &mut self.y]);
        out
    }
}

impl QMatMul {
    fn spans(&self) -> Vec<Span> {
        let entries = padded(self.n, self.row.nr);
        let y_bytes = product([self.batch.len(), self.m, self.n, self.epilogue.size()]);
        let of = |f: fn(&(usize, usize)) -> usize| self.batch.iter().map(f).max().map_or(0, |m| m.saturating_add(1));
        let mut out = self.epilogue.spans(entries, y_bytes);
        out.extend(self.zero.map(|zero| read(zero, self.k)));
        out.extend([
            read(self.a, product([of(|b| b.0), self.m, self.k])),
            read(self.b, product([of(|b| b.1), self.k, self.n])),
            read(self.bias, product([entries, 4])),
            write(self.y, y_bytes),
        ]);
        out
    }

    /// Pointers; the bias with the zero point of `a` folded in, what is folded, and the offsets; columns of `b`, and the
    /// same as a panel; sums of rows of `a`.
    pub(crate) fn scratch(&self) -> usize {
        self.pointers_bytes() + 3 * self.bias_bytes() + product([2, self.panel_bytes()]) + self.sums_bytes()
    }

    fn check(&self, isa: Features) -> Result<()> {
        row(self.row, gemm::Q8, isa)?;
        row(self.sums, gemm::SUMS, isa)?;
        row(self.transpose, copy::TRANSPOSE, isa)?;
        let panels = product([4, self.row.nr, padded(self.k, self.row.group)]);
        fits(panels < usize::MAX, "panels of a size that fits")?;
        fits(self.row.group == 4 && self.panel_bytes() == self.row.nr * self.column_bytes(), "weights in groups of 4")
    }

    fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut out = self.epilogue.places_mut();
        out.extend(&mut self.zero);
        out.extend([&mut self.a, &mut self.b, &mut self.bias, &mut self.y]);
        out
    }
}

impl Kind {
    /// Everything this step reads and writes.
    pub fn spans(&self) -> Vec<Span> {
        let mut out = Vec::new();
        match self {
            Kind::QGemm(s) => out = s.spans(),
            Kind::QGemm16(s) => out = s.spans(),
            Kind::QGemm16W16(s) => out = s.spans(),
            Kind::QGemm8W16(s) => out = s.spans(),
            Kind::FGemm(s) => out = s.spans(),
            Kind::QDw(s) => out = s.spans(),
            Kind::QDw16(s) => out = s.spans(),
            Kind::QDw16W16(s) => out = s.spans(),
            Kind::QDw8W16(s) => out = s.spans(),
            Kind::FDw(s) => out = s.spans(),
            Kind::QRow(s) => out = s.spans(),
            Kind::QMatMul(s) => out = s.spans(),
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
                    MapFn::RequantAcc(_, requant, entries) => out.extend(requant.scales.spans(*entries)),
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
            Kind::Rows(s) => {
                let (from, to) = s.sizes();
                out.extend([read(s.x, product([s.rows, s.n, from])), write(s.y, product([s.rows, s.n, to]))]);
                if let RowsFrom::Accumulator(_, scale) = s.from {
                    out.push(read(scale, 4));
                }
                if let RowsFn::LayerNorm { scale, bias, .. } = s.f {
                    out.push(read(scale, product([s.n, 4])));
                    out.extend(bias.map(|b| read(b, product([s.n, 4]))));
                }
            }
            Kind::Links(s) => {
                let (from, to) = s.sizes();
                out.extend([read(s.x, product([s.rows, s.n, from])), write(s.y, product([s.rows, s.n, to]))]);
                out.extend(s.others().map(|(place, bytes)| read(place, bytes)));
            }
            Kind::Reduce(s) => {
                out.extend([read(s.x, product([s.rows, s.n, 4])), write(s.y, product([s.rows, 4]))]);
            }
            Kind::Transpose(s) => {
                let bytes = product([s.elem, s.matrices(), s.rows, s.cols]);
                let matrix = extent(s.rows, s.x_stride, product([s.cols, s.elem]));
                let apart = s.batch.iter().map(|(n, stride)| product([n.saturating_sub(1), *stride]));
                let far = if bytes == 0 { 0 } else { apart.fold(matrix, usize::saturating_add) };
                out.extend([read(s.x, far), write(s.y, bytes)]);
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
            Kind::QGemm(s) => s.scratch(),
            Kind::QGemm16(s) => s.scratch(),
            Kind::QGemm16W16(s) => s.scratch(),
            Kind::QGemm8W16(s) => s.scratch(),
            Kind::FGemm(s) => s.scratch(),
            Kind::QDw(s) => s.scratch(),
            Kind::QDw16(s) => s.scratch(),
            Kind::QDw16W16(s) => s.scratch(),
            Kind::QDw8W16(s) => s.scratch(),
            Kind::FDw(s) => s.scratch(),
            Kind::QRow(s) => s.scratch(),
            Kind::QMatMul(s) => s.scratch(),
            Kind::FMatMul(s) => padded(s.row.mr * pointer, 64).saturating_add(product([s.k, s.row.nr, 4])),
            Kind::Pool(s) => product([s.window.taps(), pointer]),
            Kind::Map(_)
            | Kind::Zip(_)
            | Kind::DequantizeAcc { .. }
            | Kind::Reduce(_)
            | Kind::Transpose(_)
            | Kind::CopyRows { .. }
            | Kind::Gather(_)
            | Kind::Pad(_)
            | Kind::Reference(_) => 0,
            Kind::Rows(s) => product([s.n, 4]),
            Kind::Links(s) => product([s.block, s.n, 4]),
        }
    }

    /// What every place must be a multiple of: kernels read and write whole elements, byte moves bytes.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Kind::CopyRows { .. } | Kind::Gather(_) | Kind::Pad(_) | Kind::Reference(_) => 1,
            Kind::QGemm(_)
            | Kind::QGemm16(_)
            | Kind::QGemm16W16(_)
            | Kind::QGemm8W16(_)
            | Kind::QDw16W16(_)
            | Kind::QDw8W16(_)
            | Kind::FGemm(_)
            | Kind::QDw(_)
            | Kind::QRow(_)
            | Kind::QDw16(_)
            | Kind::FDw(_)
            | Kind::FMatMul(_)
            | Kind::QMatMul(_)
            | Kind::Pool(_)
            | Kind::Map(_)
            | Kind::Zip(_)
            | Kind::DequantizeAcc { .. }
            | Kind::Rows(_)
            | Kind::Reduce(_)
            | Kind::Links(_)
            | Kind::Transpose(_) => 8,
        }
    }

    /// Facts that the pointers rest on besides the spans, and that every kernel is a row of its table which needs no
    /// more than `isa`.
    pub(crate) fn check(&self, isa: Features) -> Result<()> {
        match self {
            Kind::QGemm(s) => s.check(gemm::Q8, isa),
            Kind::QGemm16(s) => none(s.offset).and_then(|()| s.check(gemm::Q16, isa)),
            Kind::QGemm16W16(s) => none(s.offset).and_then(|()| s.check(gemm::Q16_W16, isa)),
            Kind::QGemm8W16(s) => none(s.offset).and_then(|()| s.check(gemm::Q8_W16, isa)),
            Kind::FGemm(s) => none(s.offset).and_then(|()| s.check(gemm::F32, isa)),
            Kind::QDw(s) => s.check(dwconv::Q8, isa),
            Kind::QDw16(s) => none(s.offset).and_then(|()| s.check(dwconv::Q16, isa)),
            Kind::QDw16W16(s) => none(s.offset).and_then(|()| s.check(dwconv::Q16_W16, isa)),
            Kind::QDw8W16(s) => none(s.offset).and_then(|()| s.check(dwconv::Q8_W16, isa)),
            Kind::FDw(s) => none(s.offset).and_then(|()| s.check(dwconv::F32, isa)),
            Kind::QRow(s) => s.check(isa),
            Kind::FMatMul(s) => row(s.row, gemm::F32, isa),
            Kind::QMatMul(s) => s.check(isa),
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
                pixels(&s.window, s.kind.sizes().0)?;
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
                MapFn::Dequantize8(k, of) => {
                    row(*k, elementwise::DEQUANTIZE8, isa)?;
                    affines(of)
                }
                MapFn::Dequantize16(k, of) => {
                    row(*k, elementwise::DEQUANTIZE16, isa)?;
                    affines(of)
                }
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
                    affines(&how.affines)?;
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
            Kind::Rows(s) => {
                match s.f {
                    RowsFn::Softmax(k) => row(k, rows::SOFTMAX, isa)?,
                    RowsFn::LayerNorm { row: k, .. } => row(k, rows::LAYER_NORM, isa)?,
                }
                match s.from {
                    RowsFrom::Float => {}
                    RowsFrom::Accumulator(AccumulatorRow::Narrow(k), _) => row(k, elementwise::DEQUANTIZE_ACC, isa)?,
                    RowsFrom::Accumulator(AccumulatorRow::Wide(k), _) => row(k, elementwise::DEQUANTIZE_WIDE, isa)?,
                    RowsFrom::Bytes(k, _) => row(k, elementwise::DEQUANTIZE8, isa)?,
                }
                if let RowsTo::Bytes(k, _) = s.to {
                    row(k, elementwise::QUANTIZE8, isa)?;
                }
                fits(s.rows == 0 || s.n >= 1, "rows of at least one element")
            }
            Kind::Links(s) => {
                match s.from {
                    LinksFrom::Float => {}
                    LinksFrom::Accumulator { row: k, step, .. } => {
                        match k {
                            AccumulatorRow::Narrow(k) => row(k, elementwise::DEQUANTIZE_ACC, isa)?,
                            AccumulatorRow::Wide(k) => row(k, elementwise::DEQUANTIZE_WIDE, isa)?,
                        }
                        fits(step <= 1, "scales that advance by one or none")?;
                    }
                }
                for link in &s.links {
                    match *link {
                        Link::Unary(k, _) => row(k, elementwise::UNARY, isa)?,
                        Link::Clamp(k, ..) => row(k, elementwise::CLAMP, isa)?,
                        Link::Binary { row: k, other, .. } => {
                            row(k, elementwise::BINARY, isa)?;
                            fits(!matches!(other, Other::Number(_, 0)), "a number for at least one row")?;
                        }
                    }
                }
                if let LinksTo::Bytes(k, _) = s.to {
                    row(k, elementwise::QUANTIZE8, isa)?;
                }
                fits(!s.links.is_empty(), "at least one function")?;
                fits(s.block >= 1 && (s.rows == 0 || s.n >= 1), "blocks of at least one element")
            }
            Kind::Reduce(s) => {
                row(s.row, rows::REDUCE, isa)?;
                fits(s.rows == 0 || s.n >= 1, "rows of at least one element")
            }
            Kind::Transpose(s) => {
                row(s.row, copy::TRANSPOSE, isa)?;
                fits(matches!(s.elem, 1 | 2 | 4 | 8), "elements of 1, 2, 4 or 8 bytes")?;
                let strides = s.batch.iter().map(|(_, stride)| stride).chain([&s.x_stride]);
                fits(strides.into_iter().all(|stride| stride.is_multiple_of(s.elem)), "whole elements")
            }
            Kind::CopyRows { rows, bytes, y_stride, .. } => {
                fits(*rows <= 1 || y_stride >= bytes, "runs that lie apart in the output")
            }
            Kind::Gather(s) => {
                let most = |t: &Vec<usize>| t.iter().copied().max().unwrap_or(0);
                let far = s.tables.iter().map(most).fold(s.run, usize::saturating_add);
                fits(s.tables.len() <= Gather::AXES, "few enough axes")?;
                fits(s.count() == 0 || far <= s.x_bytes, "offsets within the input")?;
                fits(s.step.is_none() || s.step == Gather::even(&s.tables), "offsets at equal distances")
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
        let mut out: Vec<&mut Place> = Vec::new();
        match self {
            Kind::QGemm(s) => out = s.places_mut(),
            Kind::QGemm16(s) => out = s.places_mut(),
            Kind::QGemm16W16(s) => out = s.places_mut(),
            Kind::QGemm8W16(s) => out = s.places_mut(),
            Kind::FGemm(s) => out = s.places_mut(),
            Kind::QDw(s) => out = s.places_mut(),
            Kind::QDw16(s) => out = s.places_mut(),
            Kind::QDw16W16(s) => out = s.places_mut(),
            Kind::QDw8W16(s) => out = s.places_mut(),
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
                    | MapFn::Clamp(..)
                    | MapFn::RequantAny(..)
                    | MapFn::QuantizeAny(..) => {}
                    MapFn::RequantAcc(_, requant, _) => out.extend(requant.scales.places_mut()),
                }
            }
            Kind::Zip(s) => out.extend([&mut s.a.0, &mut s.b.0, &mut s.y]),
            Kind::DequantizeAcc { x, y, scale, .. } => out.extend([x, y, scale]),
            Kind::Reduce(s) => out.extend([&mut s.x, &mut s.y]),
            Kind::Links(s) => out = s.places_mut(),
            Kind::Transpose(s) => out.extend([&mut s.x, &mut s.y]),
            Kind::CopyRows { x, y, .. } => out.extend([x, y]),
            Kind::Rows(s) => {
                out.extend([&mut s.x, &mut s.y]);
                if let RowsFrom::Accumulator(_, scale) = &mut s.from {
                    out.push(scale);
                }
                if let RowsFn::LayerNorm { scale, bias, .. } = &mut s.f {
                    out.push(scale);
                    out.extend(bias.as_mut());
                }
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
