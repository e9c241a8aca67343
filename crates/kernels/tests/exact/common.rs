//! What the tests share: the CPU's features, random numbers, multipliers and reference epilogues.

use lowbit_arithmetic::requant::offset_and_clamp;
use lowbit_arithmetic::{AddRescale, Method, Rescale, Rounding, requantize};
use lowbit_kernels::gemm::Epilogue16;
use lowbit_kernels::requant::{AddParams, Epilogue, FloatEpilogue, Requant, Residual, Scales};
use lowbit_kernels::{Features, Row};
use std::io::Write;

/// The rows of a table that this CPU runs; prints the others, even if the test passes.
pub fn runnable<R: Row>(table: &'static [R]) -> impl Iterator<Item = &'static R> {
    let here = features();
    table.iter().filter(move |row| {
        let runs = here.has(row.needs());
        if !runs {
            // Not by a macro, whose output the harness keeps to itself.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "SKIPPED {}: this CPU lacks its features", row.name()).unwrap();
        }
        runs
    })
}

/// All of these cases, or only every so manieth where `LOWBIT_SAMPLE` says so: an emulator or an interpreter of machine
/// code takes minutes for what takes a second here.
pub fn sampled<T>(cases: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let step = std::env::var("LOWBIT_SAMPLE").map_or(1, |n| n.parse().expect("LOWBIT_SAMPLE is a number"));
    cases.into_iter().step_by(step)
}

fn features() -> Features {
    lowbit_kernels::detect!()
}

/// Bytes that start at a multiple of 64, with as many before them as memory happens to need for that.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    pub fn new(of: &[u8]) -> Self {
        let mut bytes = vec![0; of.len() + 64];
        let start = bytes.as_ptr().align_offset(64);
        bytes[start..start + of.len()].copy_from_slice(of);
        Aligned { bytes, start }
    }
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes[self.start..].as_mut_ptr()
    }
}

/// Random numbers: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        lowbit_arithmetic::rounding::hash(7, self.0)
    }
    /// 0..n
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }
    /// from..=to
    pub fn int(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1) as u64) as i64
    }
    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        match self.below(6) {
            0 => vec![255; n],
            1 => (0..n).map(|_| self.pick(&[0, 255])).collect(),
            _ => (0..n).map(|_| self.next() as u8).collect(),
        }
    }
    pub fn words(&mut self, n: usize) -> Vec<u16> {
        match self.below(6) {
            0 => vec![65535; n],
            1 => (0..n).map(|_| self.pick(&[0, 65535])).collect(),
            _ => (0..n).map(|_| self.next() as u16).collect(),
        }
    }
    pub fn weights(&mut self, n: usize) -> Vec<i8> {
        let extreme = self.chance(4);
        (0..n).map(|_| if extreme { self.pick(&[-128, 127]) } else { self.next() as i8 }).collect()
    }
    /// A bias: small, anywhere in i32 or at its ends.
    pub fn bias(&mut self, n: usize) -> Vec<i32> {
        let kind = self.below(3);
        (0..n)
            .map(|_| match kind {
                0 => self.int(-5000, 5000) as i32,
                1 => self.next() as i32,
                _ => self.pick(&[i32::MIN, i32::MAX, i32::MIN + 1, 0, -1, 1]),
            })
            .collect()
    }
    /// Any magnitude, with infinities, NaN and zeros of both signs now and then.
    pub fn float(&mut self) -> f32 {
        match self.below(16) {
            0 => {
                self.pick(&[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-42, f32::MAX])
            }
            1 => f32::from_bits(self.next() as u32),
            2 => self.int(-200, 200) as f32 * 0.5,
            _ => self.plain(),
        }
    }
    /// A finite number of ordinary size.
    pub fn plain(&mut self) -> f32 {
        (self.next() as i32) as f32 * 1e-8
    }
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
    pub fn plains(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.plain()).collect()
    }
    /// (zero point, lo, hi) of stored values up to `max`.
    pub fn range(&mut self, max: i32) -> (i32, i32, i32) {
        let zero = match self.below(4) {
            0 => 0,
            1 => max,
            _ => self.int(0, i64::from(max)) as i32,
        };
        match self.below(3) {
            0 => (zero, 0, max),
            1 => (zero, zero, max),
            _ => {
                let (a, b) = (self.int(0, i64::from(max)) as i32, self.int(0, i64::from(max)) as i32);
                (zero, a.min(b), a.max(b))
            }
        }
    }
    /// A rescaling of a method, mostly of an ordinary ratio, sometimes of any.
    pub fn rescale(&mut self, method: Method) -> Rescale {
        loop {
            let wild = self.chance(5);
            let (s_in, s_out) = match method {
                Method::Shift => {
                    let (least, most) = if wild { (-100, 40) } else { (-18, 3) };
                    (self.int(least, most).exp2(), 1.0)
                }
                Method::Float32 | Method::Fixed => {
                    let exponent = if wild { self.int(-100, 60) } else { self.int(-20, 0) };
                    ((1.0 + self.int(0, 8_388_607) as f32 / 8_388_608.0) * exponent.exp2(), 1.0)
                }
            };
            if let Ok(rescale) = Rescale::new(method, s_in, s_out) {
                return rescale;
            }
        }
    }
    /// Multipliers of `n` channels for wide accumulators: of one kind, of any kind, at the edges or of several methods.
    pub fn wide_rescales(&mut self, method: Method, n: usize) -> Vec<Rescale> {
        let kind = 1 + self.below(7);
        self.rescales_of_kind(kind, method, n)
    }
    /// As [`Random::wide_rescales`], and sometimes of more than one method.
    pub fn mixed_rescales(&mut self, method: Method, n: usize) -> Vec<Rescale> {
        let kind = self.below(8);
        self.rescales_of_kind(kind, method, n)
    }
    fn rescales_of_kind(&mut self, kind: usize, method: Method, n: usize) -> Vec<Rescale> {
        (0..n)
            .map(|_| match kind {
                0 => {
                    let other = self.pick(&METHODS);
                    self.rescale(other)
                }
                1 | 2 => self.edge_rescale(method, &[33, 34, 40, 44, 45, 48, 62, 63, 64, 65, 90, 94, 95, 96, 127, 200]),
                3 => self.edge_rescale(method, &[-300, -65, -64, -31, -30, -1, 0, 1, 2, 30, 31, 32, 33, 34, 60]),
                _ => self.rescale(method),
            })
            .collect()
    }
    /// A multiplier at the edges of its range or anywhere in it, with one of some shifts of a product with 2^30.
    pub fn edge_rescale(&mut self, method: Method, shifts: &[i32]) -> Rescale {
        let shift = self.pick(shifts);
        let anywhere = self.int(1 << 30, i32::MAX.into()) as i32;
        let m = self.pick(&[1 << 30, (1 << 30) + 1, 3 << 29, i32::MAX - 1, i32::MAX, anywhere]);
        match method {
            Method::Float32 => Rescale::Float32 { m: m as f32 * i64::from(-shift).min(90).exp2() },
            Method::Fixed => Rescale::Fixed { m, shift },
            Method::Shift => Rescale::Shift { shift: shift - 30 },
        }
    }
    /// An accumulator: of any magnitude, near a power of two or at the ends.
    pub fn wide(&mut self) -> i64 {
        match self.below(5) {
            0 => self.pick(&[i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1, 0, 1, -1]),
            1 | 2 => {
                let power = (1i64 << self.below(63)).wrapping_add(self.int(-2, 2));
                if self.chance(2) { power.wrapping_neg() } else { power.wrapping_mul(self.pick(&[1, 3, 5])) }
            }
            _ => self.next() as i64 >> self.below(64),
        }
    }
    /// A method's default rounding, or any other but the one by chance.
    pub fn rounding(&mut self, default: Rounding) -> Rounding {
        if self.chance(2) { default } else { self.pick(&ROUNDINGS) }
    }
    /// Weights of channels as bytes and what is added to all of a channel's; nothing now and then.
    pub fn offsets(&mut self, channels: usize, padded: usize) -> Vec<i32> {
        match self.below(3) {
            0 => vec![],
            _ => (0..padded).map(|c| if c < channels { self.int(-255, 255) as i32 } else { 0 }).collect(),
        }
    }
    pub fn add_params(&mut self, max: i32) -> AddParams {
        let (zero_point, lo, hi) = self.range(max);
        let method = self.pick(&[Method::Float32, Method::Fixed, Method::Shift]);
        let rescale = loop {
            let spread = if self.chance(4) { 40 } else { 3 };
            let mut scale = |fraction: bool| {
                let m = if fraction { 1.0 + self.int(0, 8_388_607) as f32 / 8_388_608.0 } else { 1.0 };
                m * self.int(-spread, spread).exp2()
            };
            let fraction = method != Method::Shift;
            if let Ok(rescale) = AddRescale::new(method, scale(fraction), scale(fraction), scale(fraction)) {
                break rescale;
            }
        };
        let rounding = self.rounding(method.default_rounding());
        AddParams { rescale, rounding, z1: self.range(max).0, z2: self.range(max).0, zero_point, lo, hi }
    }
    /// As [`Random::add_params`], by multipliers and a shift at the edges of what sums of bytes in 32 bits take.
    pub fn edge_add_params(&mut self, max: i32) -> AddParams {
        let (m1, m2) = (self.pick(&EDGE_MULTIPLIERS), self.pick(&EDGE_MULTIPLIERS));
        // The first and the last that are taken, and their neighbours, or any.
        let shift = if self.chance(2) { self.pick(&[16, 17, 46, 47]) } else { self.pick(&EDGE_SHIFTS) };
        let rescale = AddRescale::Fixed { m1, m2, shift };
        AddParams { rescale, rounding: self.rounding(Rounding::HalfUp), ..self.add_params(max) }
    }
}

/// Multipliers of sums around where a word of theirs, both of which have signs, changes: 0x7fff_7fff is the largest whose
/// upper word fits.
pub const EDGE_MULTIPLIERS: [i32; 15] = [
    0,
    1,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    1 << 30,
    (1 << 30) + 0x7fff,
    (1 << 30) + 0x8000,
    3 << 29,
    0x7fff_7ffe,
    0x7fff_7fff,
    0x7fff_8000,
    0x7fff_8001,
    i32::MAX,
];

/// Shifts of sums: around 17 and 46, within which sums of bytes are taken in 32 bits, around those at which large sums
/// become small ones, and around the ends of integers.
pub const EDGE_SHIFTS: [i32; 31] = [
    -70, -17, -16, -15, -1, 0, 1, 2, 15, 16, 17, 18, 29, 30, 31, 32, 33, 37, 38, 39, 40, 41, 42, 45, 46, 47, 48, 61,
    62, 63, 64,
];

trait Exp2 {
    fn exp2(self) -> f32;
}

impl Exp2 for i64 {
    fn exp2(self) -> f32 {
        f32::from_bits(((self.clamp(-126, 127) + 127) as u32) << 23)
    }
}

/// Multipliers of many channels in the form kernels read them.
#[derive(Debug)]
pub struct ScaleTable {
    pub method: Method,
    pub rescales: Vec<Rescale>,
    float: Vec<f32>,
    m: Vec<i32>,
    shift: Vec<i32>,
}

impl ScaleTable {
    /// Random multipliers for `n` channels, padded with zeros to `padded`.
    pub fn random(random: &mut Random, method: Method, n: usize, padded: usize) -> Self {
        Self::of(method, (0..n).map(|_| random.rescale(method)).collect(), padded)
    }
    /// These multipliers of one method.
    pub fn of(method: Method, rescales: Vec<Rescale>, padded: usize) -> Self {
        let (mut float, mut m, mut shift) = (vec![0.0; padded], vec![0; padded], vec![0; padded]);
        for (i, rescale) in rescales.iter().enumerate() {
            match *rescale {
                Rescale::Float32 { m } => float[i] = m,
                Rescale::Fixed { m: multiplier, shift: s } => (m[i], shift[i]) = (multiplier, s),
                Rescale::Shift { shift: s } => shift[i] = s,
            }
        }
        ScaleTable { method, rescales, float, m, shift }
    }
    pub fn scales(&self) -> Scales {
        match self.method {
            Method::Float32 => Scales::Float32(self.float.as_ptr()),
            Method::Fixed => Scales::Fixed(self.m.as_ptr(), self.shift.as_ptr()),
            Method::Shift => Scales::Shift(self.shift.as_ptr()),
        }
    }
}

/// Everything an integer epilogue refers to, and what it must store.
pub struct Case {
    pub table: ScaleTable,
    pub other: Vec<u8>,
    pub other_stride: usize,
    pub epilogue: Epilogue,
}

impl Case {
    pub fn random(random: &mut Random, rows: usize, cols: usize, padded: usize) -> Box<Self> {
        let method = random.pick(&[Method::Float32, Method::Fixed, Method::Shift]);
        let other_stride = cols + random.below(5);
        let table = ScaleTable::random(random, method, cols, padded);
        let other = random.bytes(rows * other_stride + lowbit_kernels::SLACK);
        let mut case = Box::new(Case { table, other, other_stride, epilogue: Epilogue::Accumulator });
        let (zero_point, lo, hi) = random.range(255);
        let rounding = random.rounding(method.default_rounding());
        let requant = Requant { scales: case.table.scales(), rounding, zero_point, lo, hi };
        case.epilogue = match random.below(5) {
            0 => Epilogue::Accumulator,
            1 | 2 => Epilogue::Requant(requant),
            _ => {
                let add = if random.chance(3) { random.edge_add_params(255) } else { random.add_params(255) };
                Epilogue::RequantAdd(requant, Residual { r: case.other.as_ptr(), r_stride: other_stride, add })
            }
        };
        case
    }
    /// Bytes an element.
    pub fn size(&self) -> usize {
        if matches!(self.epilogue, Epilogue::Accumulator) { 4 } else { 1 }
    }
    /// The stored bytes of one accumulator.
    pub fn expected(&self, acc: i32, row: usize, channel: usize) -> Vec<u8> {
        let q = |requant: &Requant| {
            let rescale = self.table.rescales[channel];
            requantize(i64::from(acc), rescale, requant.rounding, requant.zero_point, requant.lo, requant.hi, 0)
        };
        match &self.epilogue {
            Epilogue::Accumulator => acc.to_le_bytes().to_vec(),
            Epilogue::Requant(requant) => vec![q(requant) as u8],
            Epilogue::RequantAdd(requant, residual) => {
                let r = i32::from(self.other[row * self.other_stride + channel]);
                vec![sum(q(requant), r, &residual.add) as u8]
            }
        }
    }
}

/// Those that epilogues know.
pub const ROUNDINGS: [Rounding; 5] =
    [Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfAway, Rounding::TowardZero, Rounding::Floor];

/// The pointer to offsets that kernels take, and the offset of a channel.
pub fn offset_of(offsets: &[i32]) -> (*const i32, impl Fn(usize) -> i64 + '_) {
    let start = if offsets.is_empty() { std::ptr::null() } else { offsets.as_ptr() };
    (start, |channel| offsets.get(channel).copied().map_or(0, i64::from))
}

pub const METHODS: [Method; 3] = [Method::Float32, Method::Fixed, Method::Shift];

/// As [`Case`], for 64-bit accumulators.
#[derive(Debug)]
pub struct Case16 {
    table: ScaleTable,
    pub epilogue: Epilogue16,
}

impl Case16 {
    pub fn random(random: &mut Random, padded: usize) -> Box<Self> {
        Self::of(random, padded, false)
    }
    /// Of accumulators that fit 32 bits if `narrow`, which then are requantized always.
    pub fn of(random: &mut Random, padded: usize, narrow: bool) -> Box<Self> {
        let method = random.pick(&METHODS);
        let table = ScaleTable::of(method, random.wide_rescales(method, padded), padded);
        let mut case = Box::new(Case16 { table, epilogue: Epilogue16::Accumulator });
        let (zero_point, lo, hi) = random.range(65535);
        if narrow || !random.chance(3) {
            let rounding = random.rounding(method.default_rounding());
            let how = Requant { scales: case.table.scales(), rounding, zero_point, lo, hi };
            case.epilogue = Epilogue16::Requant { how, narrow };
        }
        case
    }
    /// Bytes an element.
    pub fn size(&self) -> usize {
        if matches!(self.epilogue, Epilogue16::Accumulator) { 8 } else { 2 }
    }
    /// The stored bytes of one accumulator.
    pub fn expected(&self, acc: i64, channel: usize) -> Vec<u8> {
        match self.epilogue {
            Epilogue16::Accumulator => acc.to_le_bytes().to_vec(),
            Epilogue16::Requant { how: Requant { rounding, zero_point, lo, hi, .. }, .. } => {
                let q = requantize(acc, self.table.rescales[channel], rounding, zero_point, lo, hi, 0);
                (q as u16).to_le_bytes().to_vec()
            }
        }
    }
}

/// The default rounding of a rescaling's method.
pub fn default(rescale: Rescale) -> Rounding {
    match rescale {
        Rescale::Float32 { .. } => Method::Float32.default_rounding(),
        Rescale::Fixed { .. } => Method::Fixed.default_rounding(),
        Rescale::Shift { .. } => Method::Shift.default_rounding(),
    }
}

/// As [`Case`], for floats.
pub struct FloatCase {
    other: Vec<f32>,
    other_stride: usize,
    pub epilogue: FloatEpilogue,
}

impl FloatCase {
    /// The other tensor has numbers of any kind if `odd`.
    pub fn random(random: &mut Random, rows: usize, cols: usize, odd: bool) -> Self {
        let other_stride = cols + random.below(5);
        let n = rows * other_stride;
        let other = if odd { random.floats(n) } else { random.plains(n) };
        let bounds = [(f32::NEG_INFINITY, f32::INFINITY), (0.0, f32::INFINITY), (0.0, 6.0), (-1.0, 3.5)];
        let add = random.chance(2).then(|| (other.as_ptr(), other_stride * 4, random.pick(&bounds)));
        let epilogue = FloatEpilogue { clamp: random.pick(&bounds), add };
        FloatCase { other, other_stride, epilogue }
    }
    /// The stored value of one accumulator.
    pub fn expected(&self, acc: f32, row: usize, channel: usize) -> f32 {
        expected_float(&self.epilogue, acc, self.other[row * self.other_stride + channel])
    }
}

/// The sum of two stored values.
pub fn sum(q1: i32, q2: i32, by: &AddParams) -> i32 {
    let q = by.rescale.apply(i64::from(q1 - by.z1), i64::from(q2 - by.z2), by.rounding, 0);
    offset_and_clamp(q, by.zero_point, by.lo, by.hi)
}

/// What a float epilogue must store.
fn expected_float(epilogue: &FloatEpilogue, acc: f32, other: f32) -> f32 {
    let clamp = |x: f32, (lo, hi): (f32, f32)| {
        if x < lo {
            lo
        } else if x > hi {
            hi
        } else {
            x
        }
    };
    let v = clamp(acc, epilogue.clamp);
    match epilogue.add {
        None => v,
        Some((_, _, bounds)) => clamp(v + other, bounds),
    }
}

/// Equal bits, or both NaN.
#[track_caller]
pub fn same(name: &str, expected: &[f32], found: &[f32], what: impl Fn(usize) -> String) {
    assert_eq!(expected.len(), found.len());
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        let equal = e.to_bits() == f.to_bits() || (e.is_nan() && f.is_nan());
        assert!(equal, "{name}: element {i}: expected {e:?}, found {f:?} ({})", what(i));
    }
}
