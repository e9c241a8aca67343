//! Every kind of step in a valid program, and with one field broken: each is refused by [`Program::new`], by name and for
//! the reason that is meant.
//!
//! What holds of all kinds is tried without a list: every address is moved out of memory and off its alignment. The rest
//! is what each kind's pointers rest on besides, see `spans`.

use super::*;
use crate::spans::Store;
use lowbit_ir::{DType, Quant};
use lowbit_kernels::{Features, copy, dwconv, gemm};

/// Bytes of memory: of activations, and of constants, among which a table of 16 bits is the greatest.
const ARENA: usize = 4096;
const CONSTS: usize = 1 << 18;

/// Where a step reads, where it reads another operand, and where it writes.
const X: Place = Place::Arena(0);
const B: Place = Place::Arena(1024);
const Y: Place = Place::Arena(2048);
const W: Place = Place::Const(0);

/// A name for every variant of an enum of steps: the match is exhaustive, and so is the list that it is made of.
macro_rules! variants {
    ($all:ident, $of:ident, $each:ident, $kind:ident: $($name:ident)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum $each { $($name),* }
        const $all: &[$each] = &[$($each::$name),*];
        fn $of(kind: &$kind) -> $each {
            match kind { $($kind::$name { .. } => $each::$name),* }
        }
    };
}

variants!(KINDS, kind_of, EachKind, Kind:
    QGemm QGemm16 FGemm QDw QRow QDw16 QGemm16W16 QGemm8W16 QDw16W16 QDw8W16 FDw FMatMul QMatMul Pool Map Zip
    DequantizeAcc Rows Reduce Links Transpose CopyRows Gather Pad Reference);
variants!(MAPS, map_of, EachMap, MapFn:
    Quantize8 Quantize16 Dequantize8 Dequantize16 Table8 Table16 Unary Clamp RequantAcc RequantAny QuantizeAny);
variants!(ZIPS, zip_of, EachZip, ZipFn: Add8 Add16 Mul8 Mul16 Any Binary);
variants!(ROWS, rows_of, EachRows, RowsFn: Softmax LayerNorm);
variants!(POOLS, pool_of, EachPool, PoolKind: MaxU8 MaxU16 MaxF32 AvgU8 AvgU16 AvgAny AvgF32);

/// A way to break a step, and a part of the error that it must give.
type Broken = (fn(&mut Kind), &'static str);

/// A valid step, made anew as often as it is broken.
struct Case {
    valid: Box<dyn Fn() -> Kind>,
    broken: Vec<Broken>,
}

fn case(valid: impl Fn() -> Kind + 'static, broken: impl IntoIterator<Item = Broken>) -> Case {
    Case { valid: Box::new(valid), broken: broken.into_iter().collect() }
}

/// `broken!(QDw(s) => s.channels = 0, "reason")`.
macro_rules! broken {
    ($pattern:pat => $change:expr, $why:expr) => {{
        let change: fn(&mut Kind) = |kind| match kind {
            $pattern => $change,
            other => panic!("expected another step, found {other:?}"),
        };
        (change, $why)
    }};
}

/// A copy of a row, which says of itself what it likes.
fn copied<R: Copy>(row: &'static R) -> &'static R {
    Box::leak(Box::new(*row))
}

const WITHIN: &str = "expected a span within";
const ROW: &str = "expected a row of the kernel tables";
const COUNTED: &str = "positions can be counted";

/// A window of 3x3 over 4x4 pixels of so many bytes.
fn window(pixel: usize) -> Window {
    Window {
        batch: 1,
        input: [4, 4],
        output: [4, 4],
        kernel: [3, 3],
        strides: [1, 1],
        pads: [1, 1],
        dilations: [1, 1],
        pixel,
    }
}

/// What every step with a field `window` must be refused for.
macro_rules! windows {
    ($kind:ident) => {
        [
            broken!(Kind::$kind(s) => s.window.batch = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.window.input = [usize::MAX, 4], WITHIN),
            broken!(Kind::$kind(s) => s.window.input = [1 << 20, 1 << 20], WITHIN),
            broken!(Kind::$kind(s) => s.window.output = [1 << 40, 1 << 40], WITHIN),
            broken!(Kind::$kind(s) => s.window.pixel *= 4096, WITHIN),
            broken!(Kind::$kind(s) => s.window.kernel = [0, 3], COUNTED),
            broken!(Kind::$kind(s) => s.window.strides = [usize::MAX, 1], COUNTED),
            broken!(Kind::$kind(s) => s.window.pads = [usize::MAX, 1], COUNTED),
            broken!(Kind::$kind(s) => s.window.dilations = [usize::MAX / 2, 1], COUNTED),
        ]
    };
}

fn requant() -> Requant {
    Requant { scales: Scales::Fixed(W, Place::Const(1024)), rounding: Rounding::HalfUp, zero_point: 3, lo: 0, hi: 255 }
}

fn requant16() -> Epilogue16 {
    Some(Requant16 { how: Requant { hi: 65535, ..requant() }, narrow: false })
}

fn rescale() -> Rescale {
    Rescale::Shift { shift: 3 }
}

fn affine() -> Affine {
    Affine { scale: 0.5, zero_point: 3, qmin: 0, qmax: 255 }
}

fn add() -> AddParams {
    let rescale = lowbit_arithmetic::AddRescale::Float32 { m1: 1.0, m2: 1.0 };
    AddParams { rescale, rounding: Rounding::HalfEven, z1: 0, z2: 0, zero_point: 0, lo: 0, hi: 255 }
}

fn mul() -> MulParams {
    MulParams { rescale: rescale(), rounding: Rounding::HalfUp, z1: 0, z2: 0, zero_point: 0, lo: 0, hi: 255 }
}

/// A convolution to six channels of four of the five channels that a pixel has.
fn gemm_step<A, E: Store>(row: &'static gemm::Gemm<A>, x: usize, w: usize, epilogue: E) -> Gemm<A, E> {
    let panel = Panel { x_offset: x, channel: 0, cols: 6 };
    Gemm {
        row,
        window: window(5 * x),
        x: X,
        zero: Place::Const(2048),
        k: 4,
        w: W,
        panel_bytes: row.packed(row.nr, 9, 4) * w,
        panels: vec![panel],
        bias: Place::Const(4096),
        offset: None,
        split: None,
        y: Y,
        y_stride: 6 * epilogue.size(),
        channels: 6,
        epilogue,
        cut: Cut { blocks: 1, panels: 1 },
    }
}

macro_rules! gemms {
    ($kind:ident) => {
        windows!($kind).into_iter().chain([
            broken!(Kind::$kind(s) => s.row = copied(s.row), ROW),
            broken!(Kind::$kind(s) => s.k = usize::MAX, "weights of a size that fits"),
            broken!(Kind::$kind(s) => s.k = 5, "whole panels"),
            broken!(Kind::$kind(s) => s.window.kernel = [3, 4], "whole panels"),
            broken!(Kind::$kind(s) => s.panel_bytes += 8, "whole panels"),
            broken!(Kind::$kind(s) => s.panel_bytes = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.panels[0].x_offset *= 2, "channels within a pixel"),
            broken!(Kind::$kind(s) => s.panels[0].x_offset = usize::MAX, "channels within a pixel"),
            broken!(Kind::$kind(s) => s.window.pixel = s.window.pixel / 5 * 4, "channels within a pixel"),
            broken!(Kind::$kind(s) => s.panels[0].cols = 0, "columns in range"),
            broken!(Kind::$kind(s) => s.panels[0].cols = s.row.nr + 1, "columns in range"),
            broken!(Kind::$kind(s) => s.panels[0].channel = 1, "columns in range"),
            broken!(Kind::$kind(s) => s.panels[0].channel = usize::MAX, "columns in range"),
            broken!(Kind::$kind(s) => s.channels = 5, "columns in range"),
            broken!(Kind::$kind(s) => s.channels = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.panels.push(s.panels[0]), "panels in the order of their channels"),
            broken!(Kind::$kind(s) => s.panels = vec![s.panels[0]; 1000], WITHIN),
            broken!(Kind::$kind(s) => s.y_stride -= 1, "pixels apart"),
            broken!(Kind::$kind(s) => s.y_stride = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.cut.blocks = 0, "tiles"),
            broken!(Kind::$kind(s) => s.cut.panels = 0, "tiles"),
        ])
    };
}

/// What only elements of more than a byte can be refused for.
macro_rules! words {
    ($kind:ident) => {
        [broken!(Kind::$kind(s) => s.window.pixel -= 1, "pixels of whole channels")]
    };
}

/// A depthwise convolution of six channels.
fn dw_step<A, W, E: Store>(row: &'static dwconv::Dw<A, W>, x: usize, epilogue: E) -> Dw<A, W, E> {
    Dw {
        row,
        window: window(6 * x),
        x: X,
        zero: Place::Const(2048),
        channels: 6,
        w: self::W,
        w_bytes: (row.packed)(6, 9) * size_of::<W>(),
        bias: Place::Const(4096),
        offset: None,
        y: Y,
        epilogue,
    }
}

macro_rules! dws {
    ($kind:ident) => {
        windows!($kind).into_iter().chain([
            broken!(Kind::$kind(s) => s.row = copied(s.row), ROW),
            broken!(Kind::$kind(s) => s.channels = 7, "channels within a pixel"),
            broken!(Kind::$kind(s) => s.channels = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.w_bytes += 1, "whole weights"),
            broken!(Kind::$kind(s) => s.w_bytes = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.window.kernel = [4, 3], "whole weights"),
            broken!(
                Kind::$kind(s) => (s.window.kernel, s.window.dilations) = ([1 << 60, 3], [0, 1]),
                "weights of a size that fits"
            ),
        ])
    };
}

/// An offset where there are numbers.
trait Offsets {
    fn offset(place: Place) -> Self;
}

impl Offsets for Offset {
    fn offset(place: Place) -> Self {
        Offset { place, sums: &gemm::SUMS[0] }
    }
}

impl Offsets for Place {
    fn offset(place: Place) -> Self {
        place
    }
}

fn offset<T: Offsets>(place: Place) -> T {
    T::offset(place)
}

/// The change of scale of one channel too few, and weights that the kernel would take for others.
macro_rules! scales16 {
    ($kind:ident) => {
        [
            broken!(Kind::$kind(s) => s.offset = Some(offset(s.bias)), "weights without an offset"),
            broken!(Kind::$kind(s) => s.epilogue.as_mut().unwrap().how.scales = Scales::Shift(Place::Const(CONSTS - 8)), WITHIN),
            broken!(Kind::$kind(s) => (s.epilogue, s.y) = (None, Place::Arena(ARENA - 200)), WITHIN),
        ]
    };
}

/// The offset of one channel too few.
macro_rules! offsets {
    ($kind:ident) => {
        [broken!(Kind::$kind(s) => s.offset = Some(offset(Place::Const(CONSTS - 8))), WITHIN)]
    };
}

/// What an epilogue in the program's memory is refused for.
macro_rules! scales8 {
    ($kind:ident) => {
        [
            broken!(Kind::$kind(s) => s.epilogue = Epilogue::Requant(Requant { scales: Scales::Shift(Place::Const(CONSTS - 8)), ..requant() }), WITHIN),
            broken!(Kind::$kind(s) => s.epilogue = Epilogue::RequantAdd(requant(), Place::Arena(ARENA - 8), add()), WITHIN),
            broken!(Kind::$kind(s) => s.epilogue = Epilogue::RequantAdd(requant(), Y, add()), "write what it does not read"),
            broken!(Kind::$kind(s) => (s.epilogue, s.y) = (Epilogue::Accumulator, Place::Arena(ARENA - 96)), WITHIN),
        ]
    };
}

fn fused() -> Epilogue {
    Epilogue::RequantAdd(requant(), B, add())
}

fn fused_f32() -> FloatEpilogue {
    FloatEpilogue { clamp: (0.0, 6.0), add: Some((B, (0.0, 6.0))) }
}

fn pool_step(kind: PoolKind) -> Kind {
    let window = window(6 * kind.sizes().0);
    Kind::Pool(Pool { kind, window, channels: 6, x: X, y: Y })
}

/// For every number of taps that a window has inside the image somewhere.
fn averages() -> Averages {
    let average = pool::QAverage { rescale: rescale(), zero_in: 0, zero_out: 0, lo: 0, hi: 255 };
    Averages { by_count: [4, 6, 9].map(|n| (n, average)).into(), include_pad: false }
}

/// Breaks the parameters of integer averages.
fn averages_of(kind: &mut PoolKind) -> &mut Averages {
    match kind {
        PoolKind::AvgU8(_, a) | PoolKind::AvgU16(_, a) | PoolKind::AvgAny(_, a, _) => a,
        PoolKind::MaxU8(_) | PoolKind::MaxU16(_) | PoolKind::MaxF32(_) | PoolKind::AvgF32(..) => {
            panic!("expected an average of integers")
        }
    }
}

fn pools(each: EachPool) -> Case {
    let integers = || {
        vec![
            broken!(Kind::Pool(s) => averages_of(&mut s.kind).by_count.truncate(2), "an average for every count"),
            broken!(Kind::Pool(s) => averages_of(&mut s.kind).by_count.swap(0, 2), "an average for every count"),
            broken!(Kind::Pool(s) => {
                let averages = averages_of(&mut s.kind);
                averages.include_pad = true;
                averages.by_count.truncate(2);
            }, "an average for every count"),
        ]
    };
    let any = || AverageAny { from: Narrow::U16, to: Narrow::I16, rounding: Rounding::HalfEven };
    let (valid, broken): (fn() -> PoolKind, Vec<Broken>) = match each {
        EachPool::MaxU8 => (
            || PoolKind::MaxU8(&pool::MAX_U8[0]),
            vec![broken!(Kind::Pool(s) => s.kind = PoolKind::MaxU8(copied(&pool::MAX_U8[0])), ROW)],
        ),
        EachPool::MaxU16 => (
            || PoolKind::MaxU16(&pool::MAX_U16[0]),
            vec![broken!(Kind::Pool(s) => s.kind = PoolKind::MaxU16(copied(&pool::MAX_U16[0])), ROW)],
        ),
        EachPool::MaxF32 => (
            || PoolKind::MaxF32(&pool::MAX_F32[0]),
            vec![broken!(Kind::Pool(s) => s.kind = PoolKind::MaxF32(copied(&pool::MAX_F32[0])), ROW)],
        ),
        EachPool::AvgU8 => {
            let mut broken = integers();
            broken.push(broken!(Kind::Pool(s) => s.kind = PoolKind::AvgU8(copied(&pool::AVG_U8[0]), averages()), ROW));
            (|| PoolKind::AvgU8(&pool::AVG_U8[0], averages()), broken)
        }
        EachPool::AvgU16 => {
            let mut broken = integers();
            broken
                .push(broken!(Kind::Pool(s) => s.kind = PoolKind::AvgU16(copied(&pool::AVG_U16[0]), averages()), ROW));
            (|| PoolKind::AvgU16(&pool::AVG_U16[0], averages()), broken)
        }
        EachPool::AvgAny => {
            let mut broken = integers();
            broken.push(broken!(Kind::Pool(s) => match &mut s.kind {
                PoolKind::AvgAny(row, ..) => *row = copied(row),
                other => panic!("expected any average, found {other:?}"),
            }, ROW));
            broken.push(broken!(Kind::Pool(s) => match &mut s.kind {
                PoolKind::AvgAny(.., how) => how.from = Narrow::I16,
                other => panic!("expected any average, found {other:?}"),
            }, "unsigned activations"));
            return case(
                move || pool_step(PoolKind::AvgAny(&pool::AVG_ANY[0], averages(), any())),
                pool_windows(broken),
            );
        }
        EachPool::AvgF32 => (
            || PoolKind::AvgF32(&pool::AVG_F32[0], false),
            vec![broken!(Kind::Pool(s) => s.kind = PoolKind::AvgF32(copied(&pool::AVG_F32[0]), false), ROW)],
        ),
    };
    case(move || pool_step(valid()), pool_windows(broken))
}

fn pool_windows(more: Vec<Broken>) -> Vec<Broken> {
    let all = [
        broken!(Kind::Pool(s) => s.channels = 7, "channels within a pixel"),
        broken!(Kind::Pool(s) => s.channels = usize::MAX, WITHIN),
    ];
    windows!(Pool).into_iter().chain(all).chain(more).collect()
}

fn map_step(f: MapFn) -> Kind {
    Kind::Map(Map { f, x: X, y: Y, n: 24 })
}

fn requant_any() -> RequantAny {
    RequantAny {
        from: Integer::I64,
        to: Narrow::I16,
        zero_in: 0,
        rescales: vec![rescale(); 6],
        entries: Entries { count: 6, inner: 1 },
        rounding: Rounding::Stochastic { seed: 7 },
        indices: Indices { channels: 6, pixels: 4 },
        zero_point: 0,
        lo: -5,
        hi: 5,
    }
}

fn quantize_any() -> QuantizeAny {
    let indices = Indices { channels: 6, pixels: 4 };
    QuantizeAny { to: Narrow::U16, affines: affine().into(), rounding: Rounding::HalfUp, indices }
}

/// What is broken in the function of a map.
macro_rules! map {
    ($pattern:pat => $change:expr, $why:expr) => {
        broken!(Kind::Map(s) => match &mut s.f {
            $pattern => $change,
            other => panic!("expected another function, found {other:?}"),
        }, $why)
    };
}

fn maps(each: EachMap) -> Case {
    let (valid, broken): (fn() -> MapFn, Vec<Broken>) = match each {
        EachMap::Quantize8 => (
            || MapFn::Quantize8(&elementwise::QUANTIZE8[0], affine()),
            vec![map!(MapFn::Quantize8(row, _) => *row = copied(row), ROW)],
        ),
        EachMap::Quantize16 => (
            || MapFn::Quantize16(&elementwise::QUANTIZE16[0], affine()),
            vec![map!(MapFn::Quantize16(row, _) => *row = copied(row), ROW)],
        ),
        EachMap::Dequantize8 => (
            || MapFn::Dequantize8(&elementwise::DEQUANTIZE8[0], affine().into()),
            vec![
                map!(MapFn::Dequantize8(row, _) => *row = copied(row), ROW),
                map!(MapFn::Dequantize8(_, of) => of.entries.count = 2, "a scale for every entry"),
            ],
        ),
        EachMap::Dequantize16 => (
            || MapFn::Dequantize16(&elementwise::DEQUANTIZE16[0], affine().into()),
            vec![
                map!(MapFn::Dequantize16(row, _) => *row = copied(row), ROW),
                map!(MapFn::Dequantize16(_, of) => of.entries.count = 2, "a scale for every entry"),
            ],
        ),
        EachMap::Table8 => (
            || MapFn::Table8(&elementwise::TABLE8[0], W),
            vec![
                map!(MapFn::Table8(row, _) => *row = copied(row), ROW),
                map!(MapFn::Table8(_, table) => *table = Place::Const(CONSTS - 248), WITHIN),
                map!(MapFn::Table8(_, table) => *table = Y, "write what it does not read"),
            ],
        ),
        EachMap::Table16 => (
            || MapFn::Table16(&elementwise::TABLE16[0], W),
            vec![
                map!(MapFn::Table16(row, _) => *row = copied(row), ROW),
                map!(MapFn::Table16(_, table) => *table = Place::Const(CONSTS - 2 * 65536 + 8), WITHIN),
            ],
        ),
        EachMap::Unary => (
            || MapFn::Unary(&elementwise::UNARY[0], UnaryFn::Abs),
            vec![map!(MapFn::Unary(row, _) => *row = copied(row), ROW)],
        ),
        EachMap::Clamp => (
            || MapFn::Clamp(&elementwise::CLAMP[0], 0.0, 1.0),
            vec![map!(MapFn::Clamp(row, ..) => *row = copied(row), ROW)],
        ),
        EachMap::RequantAcc => (
            || MapFn::RequantAcc(&elementwise::REQUANT_ACC[0], requant(), 6),
            vec![
                map!(MapFn::RequantAcc(row, ..) => *row = copied(row), ROW),
                map!(MapFn::RequantAcc(.., entries) => *entries = 0, "at least one multiplier"),
                map!(MapFn::RequantAcc(.., entries) => *entries = CONSTS, WITHIN),
                map!(MapFn::RequantAcc(.., entries) => *entries = usize::MAX, WITHIN),
            ],
        ),
        EachMap::RequantAny => (
            || MapFn::RequantAny(&elementwise::REQUANT_ANY[0], requant_any()),
            vec![
                map!(MapFn::RequantAny(row, _) => *row = copied(row), ROW),
                map!(MapFn::RequantAny(_, how) => how.rescales.truncate(5), "a change of scale for every entry"),
                map!(MapFn::RequantAny(_, how) => how.entries.count = 7, "a change of scale for every entry"),
                map!(MapFn::RequantAny(_, how) => how.entries.count = 0, "a change of scale for every entry"),
                map!(MapFn::RequantAny(_, how) => how.entries.inner = 0, "a change of scale for every entry"),
                map!(MapFn::RequantAny(_, how) => how.indices.channels = 0, "samples of at least one element"),
                map!(MapFn::RequantAny(_, how) => how.indices.pixels = 0, "samples of at least one element"),
            ],
        ),
        EachMap::QuantizeAny => (
            || MapFn::QuantizeAny(&elementwise::QUANTIZE_ANY[0], quantize_any()),
            vec![
                map!(MapFn::QuantizeAny(row, _) => *row = copied(row), ROW),
                map!(MapFn::QuantizeAny(_, how) => how.affines.list.clear(), "a scale for every entry"),
                map!(MapFn::QuantizeAny(_, how) => how.affines.entries.inner = 0, "a scale for every entry"),
                map!(MapFn::QuantizeAny(_, how) => how.indices.channels = 0, "samples of at least one element"),
                map!(MapFn::QuantizeAny(_, how) => how.indices.pixels = 0, "samples of at least one element"),
            ],
        ),
    };
    let all = [
        broken!(Kind::Map(s) => s.n = ARENA, WITHIN),
        broken!(Kind::Map(s) => s.n = (1 << 62) + 1, WITHIN),
        broken!(Kind::Map(s) => s.n = usize::MAX, WITHIN),
        broken!(Kind::Map(s) => s.y = s.x, "write what it does not read"),
    ];
    case(move || map_step(valid()), all.into_iter().chain(broken))
}

/// Two runs of six, of which the right operand has one.
fn zip_step(f: ZipFn) -> Kind {
    Kind::Zip(Zip { f, a: (X, 6), b: (B, 0), y: Y, rows: 2, n: 6 })
}

macro_rules! zip {
    ($pattern:pat => $change:expr, $why:expr) => {
        broken!(Kind::Zip(s) => match &mut s.f {
            $pattern => $change,
            other => panic!("expected another function, found {other:?}"),
        }, $why)
    };
}

fn zips(each: EachZip) -> Case {
    let (valid, broken): (fn() -> ZipFn, Vec<Broken>) = match each {
        EachZip::Add8 => {
            (|| ZipFn::Add8(&elementwise::QADD[0], add()), vec![zip!(ZipFn::Add8(row, _) => *row = copied(row), ROW)])
        }
        EachZip::Add16 => (
            || ZipFn::Add16(&elementwise::QADD16[0], add()),
            vec![zip!(ZipFn::Add16(row, _) => *row = copied(row), ROW)],
        ),
        EachZip::Mul8 => {
            (|| ZipFn::Mul8(&elementwise::QMUL[0], mul()), vec![zip!(ZipFn::Mul8(row, _) => *row = copied(row), ROW)])
        }
        EachZip::Mul16 => (
            || ZipFn::Mul16(&elementwise::QMUL16[0], mul()),
            vec![zip!(ZipFn::Mul16(row, _) => *row = copied(row), ROW)],
        ),
        EachZip::Any => (
            || {
                let how = PairAny {
                    from: [Narrow::U8, Narrow::U16],
                    to: Narrow::I16,
                    how: elementwise::Pair::Add(add()),
                    indices: Indices { channels: 6, pixels: 2 },
                };
                ZipFn::Any(&elementwise::PAIR_ANY[0], how)
            },
            vec![
                zip!(ZipFn::Any(row, _) => *row = copied(row), ROW),
                zip!(ZipFn::Any(_, how) => how.indices.channels = 0, "samples of at least one element"),
                zip!(ZipFn::Any(_, how) => how.indices.pixels = 0, "samples of at least one element"),
            ],
        ),
        EachZip::Binary => (
            || ZipFn::Binary(&elementwise::BINARY[0], BinaryFn::Add, 1, 0),
            vec![
                zip!(ZipFn::Binary(row, ..) => *row = copied(row), ROW),
                zip!(ZipFn::Binary(.., b) => *b = 2, "advance by one element or none"),
                zip!(ZipFn::Binary(_, _, a, _) => *a = 2, "advance by one element or none"),
                zip!(ZipFn::Binary(_, _, a, _) => *a = usize::MAX, WITHIN),
            ],
        ),
    };
    let all = [
        broken!(Kind::Zip(s) => s.n = 4096, WITHIN),
        broken!(Kind::Zip(s) => s.n = usize::MAX, WITHIN),
        broken!(Kind::Zip(s) => s.rows = usize::MAX, WITHIN),
        broken!(Kind::Zip(s) => s.a.1 = 4096, WITHIN),
        broken!(Kind::Zip(s) => s.a.1 = usize::MAX, WITHIN),
        broken!(Kind::Zip(s) => s.b.1 = usize::MAX, WITHIN),
        broken!(Kind::Zip(s) => s.y = s.a.0, "write what it does not read"),
        broken!(Kind::Zip(s) => s.y = s.b.0, "write what it does not read"),
    ];
    case(move || zip_step(valid()), all.into_iter().chain(broken))
}

/// Two matrices of 4x8 by two of 8x4.
fn qmatmul() -> Kind {
    Kind::QMatMul(QMatMul {
        row: &gemm::Q8[0],
        sums: &gemm::SUMS[0],
        transpose: &copy::TRANSPOSE[0],
        a: X,
        zero: Some(Place::Const(2048)),
        b: B,
        b_zero: 128,
        trans_b: false,
        batch: vec![(0, 0), (1, 1)],
        m: 4,
        k: 8,
        n: 4,
        bias: Place::Const(4096),
        y: Y,
        epilogue: fused_at(Place::Arena(1536)),
    })
}

fn fused_at(other: Place) -> Epilogue {
    Epilogue::RequantAdd(requant(), other, add())
}

fn fmatmul() -> Kind {
    Kind::FMatMul(FMatMul {
        row: &gemm::F32[0],
        a: X,
        b: B,
        trans_b: true,
        batch: vec![(0, 0), (1, 1)],
        m: 4,
        k: 8,
        n: 4,
        bias: W,
        y: Y,
        clamp: (0.0, 1.0),
    })
}

macro_rules! products {
    ($kind:ident) => {
        [
            broken!(Kind::$kind(s) => s.row = copied(s.row), ROW),
            broken!(Kind::$kind(s) => s.batch[1].0 = 128, WITHIN),
            broken!(Kind::$kind(s) => s.batch[1].1 = 128, WITHIN),
            broken!(Kind::$kind(s) => s.batch[1].0 = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.batch[1].1 = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.batch = vec![(0, 0); 1000], WITHIN),
            broken!(Kind::$kind(s) => s.m = 1000, WITHIN),
            broken!(Kind::$kind(s) => s.m = usize::MAX, WITHIN),
            broken!(Kind::$kind(s) => s.n = 1000, WITHIN),
            broken!(Kind::$kind(s) => s.n = usize::MAX / 2, WITHIN),
            broken!(Kind::$kind(s) => s.k = 1000, WITHIN),
            broken!(Kind::$kind(s) => s.k = 1 << 60, WITHIN),
            broken!(Kind::$kind(s) => s.k = usize::MAX - 1, WITHIN),
            broken!(Kind::$kind(s) => s.bias = Place::Const(CONSTS - 8), WITHIN),
            broken!(Kind::$kind(s) => s.y = Place::Arena(ARENA - 24), WITHIN),
            broken!(Kind::$kind(s) => s.y = s.a, "write what it does not read"),
            broken!(Kind::$kind(s) => s.y = s.b, "write what it does not read"),
        ]
    };
}

/// The fields of a step that is no struct of its own.
macro_rules! field {
    ($kind:ident.$field:ident = $value:expr, $why:expr) => {
        broken!(Kind::$kind { $field, .. } => *$field = $value, $why)
    };
}

fn cases(each: EachKind) -> Vec<Case> {
    match each {
        EachKind::QGemm => {
            vec![case(
                || Kind::QGemm(gemm_step(&gemm::Q8[0], 1, 1, fused())),
                gemms!(QGemm).chain(scales8!(QGemm)).chain(offsets!(QGemm)).chain([broken!(
                    Kind::QGemm(s) => s.offset = Some(Offset { place: s.bias, sums: copied(&gemm::SUMS[0]) }),
                    ROW
                )]),
            )]
        }
        EachKind::QGemm16 => [case(
            || Kind::QGemm16(gemm_step(&gemm::Q16[0], 2, 1, requant16())),
            gemms!(QGemm16).chain(words!(QGemm16)).chain(scales16!(QGemm16)).chain([
                broken!(Kind::QGemm16(s) => s.split = Some(&gemm::SPLIT[0]), "planes for a kernel that wants them"),
            ]),
        )]
        .into_iter()
        .chain(planes().map(|row| {
            case(
                move || Kind::QGemm16(Gemm { split: Some(&gemm::SPLIT[0]), ..gemm_step(row, 2, 1, requant16()) }),
                [
                    broken!(Kind::QGemm16(s) => s.split = None, "planes for a kernel that wants them"),
                    broken!(Kind::QGemm16(s) => s.split = Some(copied(&gemm::SPLIT[0])), ROW),
                    broken!(Kind::QGemm16(s) => s.panel_bytes += 8, "whole panels"),
                ],
            )
        }))
        .collect(),
        EachKind::QGemm16W16 => vec![case(
            || Kind::QGemm16W16(gemm_step(&gemm::Q16_W16[0], 2, 2, requant16())),
            gemms!(QGemm16W16).chain(words!(QGemm16W16)).chain(scales16!(QGemm16W16)),
        )],
        EachKind::QGemm8W16 => vec![case(
            || Kind::QGemm8W16(gemm_step(&gemm::Q8_W16[0], 1, 2, requant16())),
            gemms!(QGemm8W16).chain(scales16!(QGemm8W16)),
        )],
        EachKind::FGemm => vec![case(
            || Kind::FGemm(gemm_step(&gemm::F32[0], 4, 4, fused_f32())),
            gemms!(FGemm).chain(words!(FGemm)).chain([
                broken!(Kind::FGemm(s) => s.epilogue.add = Some((Place::Arena(ARENA - 8), (0.0, 1.0))), WITHIN),
                broken!(Kind::FGemm(s) => s.epilogue.add = Some((Y, (0.0, 1.0))), "write what it does not read"),
                broken!(Kind::FGemm(s) => s.panels[0].x_offset = 2, "whole channels"),
                broken!(Kind::FGemm(s) => s.y_stride += 1, "whole elements"),
            ]),
        )],
        EachKind::QDw => {
            vec![case(|| Kind::QDw(dw_step(&dwconv::Q8[0], 1, fused())), dws!(QDw).chain(scales8!(QDw)))]
        }
        EachKind::QDw16 => vec![case(
            || Kind::QDw16(dw_step(&dwconv::Q16[0], 2, requant16())),
            dws!(QDw16).chain(words!(QDw16)).chain(scales16!(QDw16)),
        )],
        EachKind::QDw16W16 => vec![case(
            || Kind::QDw16W16(dw_step(&dwconv::Q16_W16[0], 2, requant16())),
            dws!(QDw16W16).chain(words!(QDw16W16)).chain(scales16!(QDw16W16)),
        )],
        EachKind::QDw8W16 => vec![case(
            || Kind::QDw8W16(dw_step(&dwconv::Q8_W16[0], 1, requant16())),
            dws!(QDw8W16).chain(scales16!(QDw8W16)),
        )],
        EachKind::FDw => vec![case(
            || Kind::FDw(dw_step(&dwconv::F32[0], 4, fused_f32())),
            dws!(FDw).chain(words!(FDw)).chain([
                broken!(Kind::FDw(s) => s.epilogue.add = Some((Place::Arena(ARENA - 8), (0.0, 1.0))), WITHIN),
                broken!(Kind::FDw(s) => s.epilogue.add = Some((Y, (0.0, 1.0))), "write what it does not read"),
            ]),
        )],
        EachKind::QRow => qrows(),
        EachKind::FMatMul => vec![case(fmatmul, products!(FMatMul))],
        EachKind::QMatMul => vec![case(
            qmatmul,
            products!(QMatMul).into_iter().chain(scales8!(QMatMul)).chain([
                broken!(Kind::QMatMul(s) => s.transpose = copied(s.transpose), ROW),
                broken!(Kind::QMatMul(s) => s.sums = copied(s.sums), ROW),
                broken!(Kind::QMatMul(s) => s.zero = Some(Place::Const(CONSTS)), WITHIN),
                broken!(Kind::QMatMul(s) => s.zero = Some(Y), "write what it does not read"),
            ]),
        )],
        EachKind::Pool => POOLS.iter().map(|each| pools(*each)).collect(),
        EachKind::Map => MAPS.iter().map(|each| maps(*each)).collect(),
        EachKind::Zip => ZIPS.iter().map(|each| zips(*each)).collect(),
        EachKind::DequantizeAcc => {
            let step = |row: fn() -> AccumulatorRow| {
                move || Kind::DequantizeAcc { row: row(), x: X, y: Y, rows: 2, channels: 6, scale: W, scale_step: 1 }
            };
            let broken = || {
                [
                    field!(DequantizeAcc.rows = 100, WITHIN),
                    field!(DequantizeAcc.rows = usize::MAX, WITHIN),
                    field!(DequantizeAcc.channels = 1000, WITHIN),
                    field!(DequantizeAcc.channels = usize::MAX, WITHIN),
                    field!(DequantizeAcc.scale = Place::Const(CONSTS - 16), WITHIN),
                    field!(DequantizeAcc.scale_step = 2, "advance by one or none"),
                    field!(DequantizeAcc.y = X, "write what it does not read"),
                ]
            };
            vec![
                case(
                    step(|| AccumulatorRow::Narrow(&elementwise::DEQUANTIZE_ACC[0])),
                    broken().into_iter().chain([field!(
                        DequantizeAcc.row = AccumulatorRow::Narrow(copied(&elementwise::DEQUANTIZE_ACC[0])),
                        ROW
                    )]),
                ),
                case(
                    step(|| AccumulatorRow::Wide(&elementwise::DEQUANTIZE_WIDE[0])),
                    broken().into_iter().chain([field!(
                        DequantizeAcc.row = AccumulatorRow::Wide(copied(&elementwise::DEQUANTIZE_WIDE[0])),
                        ROW
                    )]),
                ),
            ]
        }
        EachKind::Rows => ROWS.iter().flat_map(|f| rowwise(*f)).collect(),
        EachKind::Reduce => vec![case(
            || {
                let (row, f) = (&rows::REDUCE[0], rows::ReduceFn::Largest);
                Kind::Reduce(Reduce { row, f, x: X, y: Y, rows: 3, n: 5 })
            },
            [
                broken!(Kind::Reduce(s) => s.row = copied(&rows::REDUCE[0]), ROW),
                broken!(Kind::Reduce(s) => s.rows = 10000, WITHIN),
                broken!(Kind::Reduce(s) => s.rows = usize::MAX, WITHIN),
                broken!(Kind::Reduce(s) => (s.rows, s.n) = (1 << 40, 0), WITHIN),
                broken!(Kind::Reduce(s) => s.n = usize::MAX, WITHIN),
                broken!(Kind::Reduce(s) => s.n = 0, "rows of at least one element"),
                broken!(Kind::Reduce(s) => s.y = X, "write what it does not read"),
                broken!(Kind::Reduce(s) => s.y = Place::Arena(56), "write what it does not read"),
            ],
        )],
        EachKind::Links => links(),
        EachKind::Transpose => vec![case(
            || {
                let (row, batch) = (&copy::TRANSPOSE[0], vec![(2, 60)]);
                Kind::Transpose(Transpose { row, x: X, y: Y, elem: 4, batch, rows: 3, cols: 5, x_stride: 20 })
            },
            [
                broken!(Kind::Transpose(s) => s.row = copied(&copy::TRANSPOSE[0]), ROW),
                broken!(Kind::Transpose(s) => s.elem = 3, "elements of 1, 2, 4 or 8 bytes"),
                broken!(Kind::Transpose(s) => s.elem = 0, "elements of 1, 2, 4 or 8 bytes"),
                broken!(Kind::Transpose(s) => s.elem = 16, "elements of 1, 2, 4 or 8 bytes"),
                broken!(Kind::Transpose(s) => s.batch[0].0 = usize::MAX, WITHIN),
                broken!(Kind::Transpose(s) => s.batch[0].1 = usize::MAX, WITHIN),
                broken!(Kind::Transpose(s) => s.batch[0].1 = 62, "whole elements"),
                broken!(Kind::Transpose(s) => s.rows = usize::MAX, WITHIN),
                broken!(Kind::Transpose(s) => s.cols = 1000, WITHIN),
                broken!(Kind::Transpose(s) => s.x_stride = usize::MAX, WITHIN),
                broken!(Kind::Transpose(s) => s.x_stride = 18, "whole elements"),
                broken!(Kind::Transpose(s) => s.y = Place::Arena(64), "write what it does not read"),
            ],
        )],
        EachKind::CopyRows => vec![case(
            || Kind::CopyRows { x: X, y: Y, rows: 4, bytes: 8, x_stride: 8, y_stride: 16 },
            [
                field!(CopyRows.rows = 1000, WITHIN),
                field!(CopyRows.rows = (1 << 61) + 1, WITHIN),
                field!(CopyRows.bytes = ARENA, WITHIN),
                field!(CopyRows.bytes = 17, "runs that lie apart"),
                field!(CopyRows.x_stride = ARENA, WITHIN),
                field!(CopyRows.x_stride = usize::MAX, WITHIN),
                field!(CopyRows.y_stride = ARENA, WITHIN),
                field!(CopyRows.y_stride = usize::MAX, WITHIN),
                field!(CopyRows.y_stride = 4, "runs that lie apart"),
                // A join whose operand is in place already has nothing to copy, and must not.
                field!(CopyRows.y = X, "write what it does not read"),
                field!(CopyRows.y = Place::Arena(31), "write what it does not read"),
            ],
        )],
        EachKind::Gather => vec![case(
            || {
                let tables = vec![vec![0, 8], vec![16, 0, 8]];
                Kind::Gather(Gather { x: X, x_bytes: 32, y: Y, tables, run: 8, step: None })
            },
            [
                broken!(Kind::Gather(s) => s.x_bytes = ARENA + 1, WITHIN),
                broken!(Kind::Gather(s) => s.x_bytes = 31, "offsets within the input"),
                broken!(Kind::Gather(s) => s.tables[0][1] = 9, "offsets within the input"),
                broken!(Kind::Gather(s) => s.tables[1][0] = usize::MAX, "offsets within the input"),
                broken!(Kind::Gather(s) => s.run = 9, "offsets within the input"),
                broken!(Kind::Gather(s) => s.step = Some(8), "offsets at equal distances"),
                broken!(Kind::Gather(s) => s.run = usize::MAX, WITHIN),
                broken!(Kind::Gather(s) => s.tables.push(vec![0; 1000]), WITHIN),
                broken!(Kind::Gather(s) => s.tables = vec![vec![0]; Gather::AXES + 1], "few enough axes"),
                broken!(Kind::Gather(s) => s.y = Place::Arena(31), "write what it does not read"),
            ],
        )],
        EachKind::Pad => vec![case(
            || Kind::Pad(Pad { x: X, y: Y, y_bytes: 64, elem: 4, fill: 7, offsets: vec![8, 32], run: 16 }),
            [
                broken!(Kind::Pad(s) => s.y_bytes = 1 << 20, WITHIN),
                broken!(Kind::Pad(s) => s.y_bytes = 44, "runs within the output"),
                broken!(Kind::Pad(s) => s.offsets[1] = 49, "runs within the output"),
                broken!(Kind::Pad(s) => s.offsets[0] = usize::MAX, "runs within the output"),
                broken!(Kind::Pad(s) => s.offsets = vec![0; 1000], WITHIN),
                broken!(Kind::Pad(s) => s.run = usize::MAX, WITHIN),
                broken!(Kind::Pad(s) => s.run = 57, "runs within the output"),
                broken!(Kind::Pad(s) => s.elem = 3, "whole elements"),
                broken!(Kind::Pad(s) => s.elem = 0, "whole elements"),
                broken!(Kind::Pad(s) => s.y_bytes = 62, "whole elements"),
                broken!(Kind::Pad(s) => s.y = Place::Arena(31), "write what it does not read"),
            ],
        )],
        EachKind::Reference => vec![case(
            || {
                let quantized = Type::quantized(DType::U8, vec![3], Quant::per_tensor(1.0, 0, 0, 255));
                let inputs = vec![Some((X, Type::f32(vec![3]))), None, Some((B, quantized))];
                Kind::Reference(Box::new(Reference { op: Op::Where, inputs, outputs: vec![(Y, Type::f32(vec![3]))] }))
            },
            [
                broken!(Kind::Reference(s) => s.inputs[0] = Some((X, Type::f32(vec![4096]))), WITHIN),
                broken!(Kind::Reference(s) => s.inputs[2] = Some((X, Type::f32(vec![usize::MAX, 2]))), WITHIN),
                broken!(Kind::Reference(s) => s.outputs[0].1 = Type::f32(vec![4096]), WITHIN),
                broken!(Kind::Reference(s) => s.outputs[0].1 = Type::f32(vec![usize::MAX, 2]), WITHIN),
                broken!(Kind::Reference(s) => s.outputs[0].0 = Place::Arena(8), "write what it does not read"),
                broken!(Kind::Reference(s) => s.outputs.push(s.outputs[0].clone()), "write what it does not read"),
            ],
        )],
    }
}

/// Functions of rows, of floats and of integers on both sides.
fn rowwise(f: EachRows) -> Vec<Case> {
    let f = move || match f {
        EachRows::Softmax => RowsFn::Softmax(&rows::SOFTMAX[0]),
        EachRows::LayerNorm => {
            RowsFn::LayerNorm { row: &rows::LAYER_NORM[0], scale: W, bias: Some(Place::Const(1024)), epsilon: 0.1 }
        }
    };
    let accumulator = AccumulatorRow::Narrow(&elementwise::DEQUANTIZE_ACC[0]);
    let of = [
        (RowsFrom::Float, RowsTo::Float),
        (RowsFrom::Accumulator(accumulator, W), RowsTo::Bytes(&elementwise::QUANTIZE8[0], affine())),
        (RowsFrom::Bytes(&elementwise::DEQUANTIZE8[0], affine()), RowsTo::Float),
    ];
    let mut out = Vec::new();
    for (from, to) in of {
        let mut all = vec![
            broken!(Kind::Rows(s) => s.rows = 10000, WITHIN),
            broken!(Kind::Rows(s) => s.rows = usize::MAX, WITHIN),
            broken!(Kind::Rows(s) => s.n = usize::MAX, WITHIN),
            broken!(Kind::Rows(s) => s.n = 0, "rows of at least one element"),
            broken!(Kind::Rows(s) => s.y = X, "write what it does not read"),
            match f() {
                RowsFn::Softmax(_) => broken!(Kind::Rows(s) => s.f = RowsFn::Softmax(copied(&rows::SOFTMAX[0])), ROW),
                RowsFn::LayerNorm { .. } => {
                    broken!(Kind::Rows(Rows { f: RowsFn::LayerNorm { row, .. }, .. }) => *row = copied(*row), ROW)
                }
            },
        ];
        if let RowsFn::LayerNorm { .. } = f() {
            all.extend([
                broken!(Kind::Rows(Rows { f: RowsFn::LayerNorm { scale, .. }, .. }) => *scale = Place::Const(CONSTS - 16), WITHIN),
                broken!(Kind::Rows(Rows { f: RowsFn::LayerNorm { bias, .. }, .. }) => *bias = Some(Place::Const(CONSTS - 16)), WITHIN),
                broken!(Kind::Rows(Rows { f: RowsFn::LayerNorm { scale, .. }, .. }) => *scale = Y, "write what it does not read"),
            ]);
        }
        match from {
            RowsFrom::Float => {}
            RowsFrom::Accumulator(..) => all.extend([
                broken!(Kind::Rows(Rows { from: RowsFrom::Accumulator(_, scale), .. }) => *scale = Place::Const(CONSTS), WITHIN),
                broken!(
                    Kind::Rows(s) => {
                        let row = AccumulatorRow::Narrow(copied(&elementwise::DEQUANTIZE_ACC[0]));
                        s.from = RowsFrom::Accumulator(row, W);
                    },
                    ROW
                ),
                broken!(
                    Kind::Rows(s) => {
                        s.from = RowsFrom::Accumulator(AccumulatorRow::Wide(copied(&elementwise::DEQUANTIZE_WIDE[0])), W);
                    },
                    ROW
                ),
            ]),
            RowsFrom::Bytes(..) => {
                all.push(broken!(Kind::Rows(Rows { from: RowsFrom::Bytes(row, _), .. }) => *row = copied(*row), ROW));
            }
        }
        if let RowsTo::Bytes(..) = to {
            all.push(broken!(Kind::Rows(Rows { to: RowsTo::Bytes(row, _), .. }) => *row = copied(*row), ROW));
        }
        out.push(case(move || Kind::Rows(Rows { f: f(), from, to, x: X, y: Y, rows: 2, n: 6 }), all));
    }
    out
}

/// Of floats and of accumulators, with every other operand.
fn links() -> Vec<Case> {
    let link = |i: usize| {
        let row = &elementwise::BINARY[0];
        let other = [Other::Full(B), Other::Number(B.plus(256), 2), Other::Block(W)][i];
        Link::Binary { row, f: elementwise::BinaryFn::Mul, other, other_first: i == 1 }
    };
    let step = move |from: LinksFrom, to: LinksTo| {
        let alone = [
            Link::Unary(&elementwise::UNARY[0], elementwise::UnaryFn::Abs),
            Link::Clamp(&elementwise::CLAMP[0], 0.0, 1.0),
        ];
        let links = alone.into_iter().chain((0..3).map(link)).collect();
        Kind::Links(Links { from, x: X, links, to, y: Y, rows: 5, n: 6, block: 2 })
    };
    let narrow = AccumulatorRow::Narrow(&elementwise::DEQUANTIZE_ACC[0]);
    let wide = AccumulatorRow::Wide(&elementwise::DEQUANTIZE_WIDE[0]);
    let scaled = |row, step| LinksFrom::Accumulator { row, scale: Place::Const(2048), step };
    let bytes = || LinksTo::Bytes(&elementwise::QUANTIZE8[0], affine());
    let all = || {
        [
            broken!(Kind::Links(s) => s.rows = 10000, WITHIN),
            broken!(Kind::Links(s) => s.rows = usize::MAX, WITHIN),
            broken!(Kind::Links(s) => s.n = usize::MAX, WITHIN),
            broken!(Kind::Links(s) => s.n = 0, "blocks of at least one element"),
            broken!(Kind::Links(s) => s.block = 0, "blocks of at least one element"),
            broken!(Kind::Links(s) => s.block = usize::MAX, WITHIN),
            broken!(Kind::Links(s) => s.links.clear(), "at least one function"),
            broken!(Kind::Links(s) => s.y = X, "write what it does not read"),
            broken!(Kind::Links(s) => s.y = B, "write what it does not read"),
            broken!(Kind::Links(Links { links, .. }) => links[0] = Link::Unary(copied(&elementwise::UNARY[0]), elementwise::UnaryFn::Abs), ROW),
            broken!(Kind::Links(Links { links, .. }) => links[1] = Link::Clamp(copied(&elementwise::CLAMP[0]), 0.0, 1.0), ROW),
            broken!(Kind::Links(Links { links, .. }) => if let Link::Binary { row, .. } = &mut links[2] { *row = copied(*row) }, ROW),
            broken!(Kind::Links(Links { links, .. }) => if let Link::Binary { other, .. } = &mut links[2] { *other = Other::Full(Place::Arena(ARENA - 112)) }, WITHIN),
            broken!(Kind::Links(Links { links, .. }) => if let Link::Binary { other, .. } = &mut links[3] { *other = Other::Number(Place::Arena(ARENA - 8), 2) }, WITHIN),
            broken!(Kind::Links(Links { links, .. }) => if let Link::Binary { other, .. } = &mut links[3] { *other = Other::Number(B, 0) }, "a number for at least one row"),
            broken!(Kind::Links(Links { links, .. }) => if let Link::Binary { other, .. } = &mut links[4] { *other = Other::Block(Place::Const(CONSTS - 40)) }, WITHIN),
        ]
    };
    vec![
        case(move || step(LinksFrom::Float, LinksTo::Float), all()),
        case(
            move || step(scaled(narrow, 1), bytes()),
            all().into_iter().chain([
                broken!(Kind::Links(Links { from: LinksFrom::Accumulator { step, .. }, .. }) => *step = 2, "advance by one or none"),
                broken!(Kind::Links(Links { from: LinksFrom::Accumulator { scale, .. }, .. }) => *scale = Place::Const(CONSTS - 40), WITHIN),
                broken!(Kind::Links(Links { from: LinksFrom::Accumulator { row, .. }, .. }) => *row = AccumulatorRow::Narrow(copied(&elementwise::DEQUANTIZE_ACC[0])), ROW),
                broken!(Kind::Links(Links { to: LinksTo::Bytes(row, _), .. }) => *row = copied(*row), ROW),
            ]),
        ),
        case(
            move || step(scaled(wide, 0), LinksTo::Float),
            all().into_iter().chain([
                broken!(Kind::Links(Links { from: LinksFrom::Accumulator { scale, .. }, .. }) => *scale = Place::Const(CONSTS), WITHIN),
                broken!(Kind::Links(Links { from: LinksFrom::Accumulator { row, .. }, .. }) => *row = AccumulatorRow::Wide(copied(&elementwise::DEQUANTIZE_WIDE[0])), ROW),
            ]),
        ),
    ]
}

/// The rows that want planes, which need a vector unit.
fn planes() -> impl Iterator<Item = &'static gemm::QGemm16> {
    gemm::Q16.iter().filter(|row| row.planes > 0)
}

/// All rows that are chosen for a shape need a vector unit, which a program can name without having it.
fn qrows() -> Vec<Case> {
    let full = || window(3);
    let depthwise = || window(8);
    let mut out = Vec::new();
    for (window, depthwise) in [(full as fn() -> Window, false), (depthwise, true)] {
        let step = move || {
            let window = window();
            let shape = window.row_shape(8, depthwise, false);
            // A row for just such layers, which others do not suit.
            let joined = rowconv::Shape { residual: true, ..shape };
            let row = rowconv::Q8.iter().find(|row| (row.suits)(&shape) && !(row.suits)(&joined))?;
            let w_bytes = (row.packed)(&shape);
            let (x, w, bias, y) = (X, Place::Const(8192), Place::Const(4096), Y);
            let (channels, requant) = (8, requant());
            Some(Kind::QRow(QRow {
                row,
                window,
                x,
                fill: 3,
                channels,
                depthwise,
                w,
                w_bytes,
                bias,
                offset: Some(bias),
                y,
                y_stride: channels,
                requant,
                residual: None,
                tile: LineTile { lines: 2, pixels: 4, channels: 8 },
            }))
        };
        if step().is_none() {
            continue;
        }
        let broken = [
            broken!(Kind::QRow(s) => s.row = copied(s.row), ROW),
            broken!(Kind::QRow(s) => s.row = &rowconv::Q8[0], "a shape that suits the kernel"),
            broken!(Kind::QRow(s) => s.window.dilations = [1, 2], "neighbouring lines and columns"),
            broken!(Kind::QRow(s) => s.window.dilations = [2, 1], "neighbouring lines and columns"),
            broken!(Kind::QRow(s) => s.channels = usize::MAX, WITHIN),
            broken!(Kind::QRow(s) => s.w_bytes += 1, "whole weights"),
            broken!(Kind::QRow(s) => s.w_bytes = usize::MAX, WITHIN),
            broken!(Kind::QRow(s) => s.window.kernel = [1 << 55, 3], "weights of a size that fits"),
            broken!(Kind::QRow(s) => s.bias = Place::Const(CONSTS - 248), WITHIN),
            broken!(Kind::QRow(s) => s.offset = Some(Place::Const(CONSTS - 248)), WITHIN),
            broken!(Kind::QRow(s) => s.requant.scales = Scales::Float32(Place::Const(CONSTS - 248)), WITHIN),
            broken!(Kind::QRow(s) => s.y_stride -= 1, "pixels apart"),
            broken!(Kind::QRow(s) => s.y_stride = usize::MAX, WITHIN),
            broken!(Kind::QRow(s) => s.residual = Some((B, add())), "a shape that suits the kernel"),
            broken!(Kind::QRow(s) => s.tile.lines = 0, "tiles"),
            broken!(Kind::QRow(s) => s.tile.lines = 5, "tiles"),
            broken!(Kind::QRow(s) => s.tile.pixels = 0, "tiles"),
            broken!(Kind::QRow(s) => s.tile.pixels = 3, "tiles"),
            broken!(Kind::QRow(s) => s.tile.channels = 0, "tiles of whole panels"),
            broken!(Kind::QRow(s) => s.tile.channels = 7, "tiles of whole panels"),
        ];
        let own: &[Broken] = match depthwise {
            true => &[
                broken!(Kind::QRow(s) => s.channels = 9, "channels within a pixel"),
                broken!(Kind::QRow(s) => s.y_stride += 1, "pixels apart"),
                broken!(Kind::QRow(s) => s.window.strides = [1, 3], "a shape that suits the kernel"),
            ],
            false => &[broken!(Kind::QRow(s) => s.window.kernel = [1, 1], "a shape that suits the kernel")],
        };
        let all: Vec<Broken> = windows!(QRow).into_iter().chain(broken).chain(own.iter().copied()).collect();
        out.push(case(move || step().unwrap_or_else(|| unreachable!("it was there")), all));
    }
    // There are no such rows for other machines.
    #[cfg(target_arch = "x86_64")]
    assert_eq!(out.len(), 2);
    out
}

fn program(kind: Kind) -> Result<Arc<Program>> {
    let narrow = [Features::AVX2, Features::AVX_VNNI];
    let wide = [Features::AVX512, Features::AVX512_VNNI, Features::AVX512_VBMI, Features::AMX_INT8];
    let features = narrow.into_iter().chain(wide);
    let features = features.fold(Features::NONE, Features::and);
    let steps = vec![Step { name: "step".into(), kind, macs: 0 }];
    let isa = Isa { name: "all", features };
    Program::new(Parts {
        name: "p".into(),
        isa,
        steps,
        arena: ARENA,
        consts: Aligned::zeroed(CONSTS)?,
        inputs: vec![],
        outputs: vec![],
        customs: Customs::default(),
        max_memory: usize::MAX,
    })
}

/// What is wrong with the refusal of a step, if anything is.
fn refused(kind: Kind, why: &str, what: String) -> Option<String> {
    let shown = format!("{kind:?}");
    match program(kind) {
        Ok(_) => Some(format!("{what}: expected '{why}', was accepted: {shown}")),
        Err(e) => {
            let e = e.to_string();
            let meant = e.contains(why) && e.contains("step");
            (!meant).then(|| format!("{what}: expected '{why}', found '{e}' for {shown}"))
        }
    }
}

#[test]
fn a_step_with_one_field_broken_is_refused() {
    let (mut count, mut wrong) = (0, Vec::new());
    for each in KINDS {
        let cases = cases(*each);
        assert!(!cases.is_empty() || (*each == EachKind::QRow && !cfg!(target_arch = "x86_64")), "{each:?}");
        for case in cases {
            assert_eq!(kind_of(&(case.valid)()), *each);
            program((case.valid)()).unwrap_or_else(|e| panic!("{each:?}: {e} in {:?}", (case.valid)()));
            for (i, (break_it, why)) in case.broken.iter().enumerate() {
                let mut kind = (case.valid)();
                break_it(&mut kind);
                wrong.extend(refused(kind, why, format!("{each:?}, number {i}")));
                count += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 400, "{count}");
}

/// No step can be broken so that a row's pointers have no room for its runs: that is up to the tables.
#[test]
fn every_row_that_wants_planes_has_room_for_the_runs_of_a_row() {
    for row in planes() {
        assert!(row.mr * size_of::<*const u8>() >= size_of::<gemm::Run>(), "{}", row.name);
    }
    // There are no such rows for other machines.
    assert!(planes().count() > 0 || !cfg!(target_arch = "x86_64"));
}

#[test]
fn every_address_of_every_step_is_checked() {
    let mut wrong = Vec::new();
    for each in KINDS {
        for case in cases(*each) {
            for i in 0..(case.valid)().places_mut().len() {
                let mut tried = |to: &dyn Fn(Place) -> Place, why: &str| {
                    let mut kind = (case.valid)();
                    let mut places = kind.places_mut();
                    *places[i] = to(*places[i]);
                    wrong.extend(refused(kind, why, format!("{each:?}, address {i}")));
                };
                for out in [ARENA, 1 << 40, usize::MAX - 7] {
                    tried(&|_| Place::Arena(out), WITHIN);
                }
                for out in [CONSTS, 1 << 40, usize::MAX - 7] {
                    tried(&|_| Place::Const(out), WITHIN);
                }
                let alignment = (case.valid)().alignment();
                if alignment > 1 {
                    tried(&|at| at.plus(alignment / 2), "multiples of");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_function_of_steps_has_its_case() {
    let kinds = |each: EachKind| cases(each).into_iter().map(|case| (case.valid)()).collect::<Vec<_>>();
    let of = |kind: &Kind| match kind {
        Kind::Map(s) => format!("{:?}", map_of(&s.f)),
        Kind::Zip(s) => format!("{:?}", zip_of(&s.f)),
        Kind::Pool(s) => format!("{:?}", pool_of(&s.kind)),
        Kind::Rows(s) => format!("{:?}", rows_of(&s.f)),
        other => panic!("expected a step with a function, found {other:?}"),
    };
    let names = |each| kinds(each).iter().map(of).collect::<Vec<_>>();
    assert_eq!(names(EachKind::Map), MAPS.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>());
    assert_eq!(names(EachKind::Zip), ZIPS.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>());
    let mut rows = names(EachKind::Rows);
    rows.dedup();
    assert_eq!(rows, ROWS.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>());
    assert_eq!(names(EachKind::Pool), POOLS.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>());
}
