//! Integers element by element, and their pools.

use super::{Allowed, Contest, Method, Multipliers, Numbers, RESCALE, SUM, Unit, bytes, floats};
use lowbit_arithmetic::{AddRescale, Affine, Rounding};
use lowbit_ir::Result;
use lowbit_kernels::elementwise::{Integers, MulParams, Pair, PairAny, QuantizeAny, RequantAny, Stored};
use lowbit_kernels::pool::{Args, Average, AvgAny, QAverage, Taps};
use lowbit_kernels::requant::AddParams;
use lowbit_kernels::{elementwise, pool};
use std::hint::black_box;

/// Elements of a run.
const RUN: usize = 4096;
const WORK: (usize, Unit) = (RUN, Unit::Elements);

const PRODUCT: MulParams =
    MulParams { rescale: RESCALE, rounding: Rounding::HalfEven, z1: 1, z2: 2, zero_point: 3, lo: 0, hi: 255 };
const AVERAGE: QAverage = QAverage { rescale: RESCALE, zero_in: 3, zero_out: 4, lo: 0, hi: 255 };
const AFFINE: Affine = Affine { scale: 0.02, zero_point: 3, qmin: 0, qmax: 255 };
const AFFINE16: Affine = Affine { scale: 0.0002, zero_point: 3, qmin: 0, qmax: 65535 };

/// All tables of integers but those of layers.
pub fn contests(allowed: &Allowed) -> Vec<Contest> {
    [pairs(allowed), edges(allowed), any(allowed), pools(allowed)].into_iter().flatten().collect()
}

fn words(n: usize) -> Result<Numbers<u16>> {
    Numbers::of(n, |i| (i * 373 % 65521) as u16)
}

fn accumulators(n: usize) -> Result<Numbers<i32>> {
    Numbers::of(n, |i| (i * 37 % 50021) as i32 - 25000)
}

/// Sums, products and tables.
fn pairs(allowed: &Allowed) -> Vec<Contest> {
    let rescale = AddRescale::Fixed { m1: 1 << 30, m2: 1 << 29, shift: 31 };
    let fixed = AddParams { rescale, rounding: Rounding::HalfUp, ..SUM };
    let mut all = Vec::new();
    for (method, sum) in [("float32", SUM), ("fixed", fixed)] {
        all.push(Contest::of(
            allowed,
            format!("u8 sum, {method}"),
            WORK,
            elementwise::QADD,
            |_| true,
            move |row| {
                let (a, b, y) = (bytes(RUN)?, bytes(RUN)?, bytes(RUN)?);
                // SAFETY: rows enter only what the CPU can run, and the runs have their elements; so below.
                Ok(Box::new(move || unsafe { (row.run)(RUN, a.ptr(), b.ptr(), y.out(), black_box(&sum)) }))
            },
        ));
        let sum = AddParams { hi: 65535, ..sum };
        all.push(Contest::of(
            allowed,
            format!("u16 sum, {method}"),
            WORK,
            elementwise::QADD16,
            |_| true,
            move |row| {
                let (a, b, y) = (words(RUN)?, words(RUN)?, words(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(RUN, a.ptr(), b.ptr(), y.out(), black_box(&sum)) }))
            },
        ));
    }
    all.push(Contest::of(
        allowed,
        "u8 product".into(),
        WORK,
        elementwise::QMUL,
        |_| true,
        |row| {
            let (a, b, y) = (bytes(RUN)?, bytes(RUN)?, bytes(RUN)?);
            // SAFETY: as above.
            Ok(Box::new(move || unsafe { (row.run)(RUN, a.ptr(), b.ptr(), y.out(), black_box(&PRODUCT)) }))
        },
    ));
    all.push(Contest::of(
        allowed,
        "u16 product".into(),
        WORK,
        elementwise::QMUL16,
        |_| true,
        |row| {
            let (a, b, y) = (words(RUN)?, words(RUN)?, words(RUN)?);
            let product = MulParams { hi: 65535, ..PRODUCT };
            // SAFETY: as above.
            Ok(Box::new(move || unsafe { (row.run)(RUN, a.ptr(), b.ptr(), y.out(), black_box(&product)) }))
        },
    ));
    all.push(Contest::of(
        allowed,
        "u8 table".into(),
        WORK,
        elementwise::TABLE8,
        |_| true,
        |row| {
            let (x, table, y) = (bytes(RUN)?, bytes(256)?, bytes(RUN)?);
            // SAFETY: as above; the table has an entry for each byte.
            Ok(Box::new(move || unsafe { (row.run)(black_box(RUN), x.ptr(), table.ptr(), y.out()) }))
        },
    ));
    all.push(Contest::of(
        allowed,
        "u16 table".into(),
        WORK,
        elementwise::TABLE16,
        |_| true,
        |row| {
            let (x, table, y) = (words(RUN)?, words(1 << 16)?, words(RUN)?);
            // SAFETY: as above; the table has an entry for each 16 bits.
            Ok(Box::new(move || unsafe { (row.run)(black_box(RUN), x.ptr(), table.ptr(), y.out()) }))
        },
    ));
    all
}

/// Between floats and integers, and from accumulators.
fn edges(allowed: &Allowed) -> Vec<Contest> {
    let scales = || Numbers::of(RUN, |i| 0.01 + i as f32 * 1e-6);
    let mut all = vec![
        Contest::of(
            allowed,
            "quantize to u8".into(),
            WORK,
            elementwise::QUANTIZE8,
            |_| true,
            |row| {
                let (x, y) = (floats(RUN)?, bytes(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(RUN, x.ptr(), y.out(), black_box(&AFFINE)) }))
            },
        ),
        Contest::of(
            allowed,
            "quantize to u16".into(),
            WORK,
            elementwise::QUANTIZE16,
            |_| true,
            |row| {
                let (x, y) = (floats(RUN)?, words(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(RUN, x.ptr(), y.out(), black_box(&AFFINE16)) }))
            },
        ),
        Contest::of(
            allowed,
            "dequantize u8".into(),
            WORK,
            elementwise::DEQUANTIZE8,
            |_| true,
            |row| {
                let (x, y) = (bytes(RUN)?, floats(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(RUN, x.ptr(), y.out(), black_box(&AFFINE)) }))
            },
        ),
        Contest::of(
            allowed,
            "dequantize u16".into(),
            WORK,
            elementwise::DEQUANTIZE16,
            |_| true,
            |row| {
                let (x, y) = (words(RUN)?, floats(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(RUN, x.ptr(), y.out(), black_box(&AFFINE16)) }))
            },
        ),
        Contest::of(
            allowed,
            "dequantize i32".into(),
            WORK,
            elementwise::DEQUANTIZE_ACC,
            |_| true,
            move |row| {
                let (x, scale, y) = (accumulators(RUN)?, scales()?, floats(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(black_box(RUN), x.ptr(), scale.ptr(), 1, y.out()) }))
            },
        ),
        Contest::of(
            allowed,
            "dequantize i64".into(),
            WORK,
            elementwise::DEQUANTIZE_WIDE,
            |_| true,
            move |row| {
                let (x, scale, y) = (Numbers::of(RUN, |i| i as i64)?, scales()?, floats(RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(black_box(RUN), x.ptr(), scale.ptr(), 1, y.out()) }))
            },
        ),
    ];
    for method in [Method::Float32, Method::Fixed, Method::Shift] {
        let case = format!("requantize i32 to u8, {}", method.name());
        all.push(Contest::of(
            allowed,
            case,
            WORK,
            elementwise::REQUANT_ACC,
            |_| true,
            move |row| {
                let (x, y, by) = (accumulators(RUN)?, bytes(RUN)?, Multipliers::of(method, RUN)?);
                // SAFETY: as above.
                Ok(Box::new(move || unsafe { (row.run)(RUN, x.ptr(), y.out(), black_box(&by.requant(255))) }))
            },
        ));
    }
    all
}

/// The tables of any rounding.
fn any(allowed: &Allowed) -> Vec<Contest> {
    let rounding = Rounding::HalfAway;
    let requant = Contest::of(
        allowed,
        "requantize, any rounding".into(),
        WORK,
        elementwise::REQUANT_ANY,
        |_| true,
        move |row| {
            let (x, y) = (accumulators(RUN)?, bytes(RUN)?);
            Ok(Box::new(move || {
                let args = RequantAny {
                    n: RUN,
                    x: Integers::I32(x.ptr()),
                    zero_in: 0,
                    rescale: &RESCALE,
                    rescale_step: 0,
                    rounding,
                    index: 0,
                    index_step: 1,
                    zero_point: 3,
                    lo: 0,
                    hi: 255,
                    y: Stored::U8(y.out()),
                };
                // SAFETY: as above; so below.
                unsafe { (row.run)(black_box(&args)) };
            }))
        },
    );
    let quantize = Contest::of(
        allowed,
        "quantize, any rounding".into(),
        WORK,
        elementwise::QUANTIZE_ANY,
        |_| true,
        move |row| {
            let (x, y) = (floats(RUN)?, bytes(RUN)?);
            Ok(Box::new(move || {
                let y = Stored::U8(y.out());
                let args = QuantizeAny { n: RUN, x: x.ptr(), to: AFFINE, rounding, index: 0, index_step: 1, y };
                // SAFETY: as above.
                unsafe { (row.run)(black_box(&args)) };
            }))
        },
    );
    let pair = Contest::of(
        allowed,
        "sum, any rounding".into(),
        WORK,
        elementwise::PAIR_ANY,
        |_| true,
        move |row| {
            let (a, b, y) = (bytes(RUN)?, bytes(RUN)?, bytes(RUN)?);
            let how = Pair::Add(AddParams { rounding, ..SUM });
            Ok(Box::new(move || {
                let (a, b, y) = (Integers::U8(a.ptr()), Integers::U8(b.ptr()), Stored::U8(y.out()));
                // SAFETY: as above.
                unsafe { (row.run)(black_box(&PairAny { n: RUN, a, b, how, index: 0, index_step: 1, y })) };
            }))
        },
    );
    vec![requant, quantize, pair]
}

/// Channels of a pool.
const CHANNELS: usize = 256;

/// Maxima and averages.
fn pools(allowed: &Allowed) -> Vec<Contest> {
    let average = AvgAny {
        channels: CHANNELS,
        taps: 49,
        x: Taps::U8(std::ptr::null()),
        by: AVERAGE,
        rounding: Rounding::HalfAway,
        index: 0,
        index_step: 1,
        y: Stored::U8(std::ptr::null_mut()),
    };
    let work = |taps: usize| (taps * CHANNELS, Unit::Elements);
    let of = |what: &str, taps: usize| format!("{what} of {taps}, {CHANNELS} channels");
    vec![
        maximum(allowed, of("u8 maximum", 9), pool::MAX_U8),
        maximum(allowed, of("u16 maximum", 9), pool::MAX_U16),
        averages(allowed, of("u8 average", 49), pool::AVG_U8, AVERAGE),
        averages(allowed, of("u16 average", 49), pool::AVG_U16, QAverage { hi: 65535, ..AVERAGE }),
        Contest::of(
            allowed,
            of("average, any rounding,", 49),
            work(49),
            pool::AVG_ANY,
            |_| true,
            move |row| {
                let (x, y) = (bytes(CHANNELS)?, bytes(CHANNELS)?);
                let taps = vec![x.ptr(); 49];
                Ok(Box::new(move || {
                    let _ = &x;
                    let args = AvgAny { x: Taps::U8(taps.as_ptr()), y: Stored::U8(y.out()), ..average };
                    // SAFETY: as above.
                    unsafe { (row.run)(black_box(&args)) };
                }))
            },
        ),
    ]
}

fn maximum<T: Copy + From<u8> + 'static>(
    allowed: &Allowed,
    case: String,
    table: &'static [lowbit_kernels::Kernel<pool::MaxFn<T>>],
) -> Contest {
    Contest::of(
        allowed,
        case,
        (9 * CHANNELS, Unit::Elements),
        table,
        |_| true,
        |row| {
            let pixels = Pixels::of(9)?;
            // SAFETY: as above.
            Ok(Box::new(move || unsafe { (row.run)(black_box(&pixels.args())) }))
        },
    )
}

fn averages<T: Copy + From<u8> + 'static>(
    allowed: &Allowed,
    case: String,
    table: &'static [Average<T>],
    by: QAverage,
) -> Contest {
    // The sum of 49 words of 16 bits.
    let fits = |row: &Average<T>| row.sum_bits >= 24;
    Contest::of(allowed, case, (49 * CHANNELS, Unit::Elements), table, fits, move |row| {
        let pixels = Pixels::of(49)?;
        // SAFETY: as above.
        Ok(Box::new(move || unsafe { (row.run)(black_box(&pixels.args()), &by) }))
    })
}

/// What a pool reads and writes.
struct Pixels<T> {
    taps: Vec<*const T>,
    /// What the taps lead to.
    _x: Numbers<T>,
    y: Numbers<T>,
}

impl<T: Copy + From<u8>> Pixels<T> {
    fn of(taps: usize) -> Result<Self> {
        let value = |i: usize| T::from((i * 37 % 251) as u8);
        let (x, y) = (Numbers::of(CHANNELS, value)?, Numbers::of(CHANNELS, value)?);
        Ok(Pixels { taps: vec![x.ptr(); taps], _x: x, y })
    }

    fn args(&self) -> Args<T> {
        Args { channels: CHANNELS, taps: self.taps.len(), x: self.taps.as_ptr(), y: self.y.out() }
    }
}
