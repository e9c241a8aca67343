//! Element by element.

use crate::common::{
    EDGE_MULTIPLIERS, EDGE_SHIFTS, METHODS, Random, ScaleTable, default, runnable, same, sampled, sum,
};
use lowbit_arithmetic::pool::max2;
use lowbit_arithmetic::{
    AddRescale, Affine, Rounding, dequantize, dequantize_wide, elementary, quantize, requantize, round_f64,
};
use lowbit_kernels::SLACK;
use lowbit_kernels::elementwise::{
    self, BinaryFn, Integers, MulParams, Pair, PairAny, QuantizeAny, RequantAny, Stored, UnaryFn,
};
use lowbit_kernels::requant::{AddParams, Requant};

/// Lengths around the steps of all rows.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=140).chain([192, 255, 256, 1000])
}

#[test]
fn sums() {
    for n in lengths() {
        let random = &mut Random(n as u64);
        for _ in 0..6 {
            let how = random.add_params(255);
            let (a, b) = (random.bytes(n + SLACK), random.bytes(n + SLACK));
            for row in runnable(elementwise::QADD) {
                let mut y = vec![9; n + 3];
                // SAFETY: this CPU has the features, and the buffers are as the contract says; so below.
                unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = sum(i32::from(a[i]), i32::from(b[i]), &how) as u8);
                assert_eq!(expected, y, "{} {n} {how:?}", row.name);
                let mut place = a.clone();
                // SAFETY: as above; the output may be an input.
                unsafe { (row.run)(n, place.as_ptr(), b.as_ptr(), place.as_mut_ptr(), &how) };
                assert_eq!(expected[..n], place[..n], "{} {n} in place", row.name);
            }
            let how = random.add_params(65535);
            let (a, b) = (random.words(n + SLACK), random.words(n + SLACK));
            for row in runnable(elementwise::QADD16) {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = sum(i32::from(a[i]), i32::from(b[i]), &how) as u16);
                assert_eq!(expected, y, "{} {n} {how:?}", row.name);
                let mut place = a.clone();
                // SAFETY: as above; the output may be an input.
                unsafe { (row.run)(n, place.as_ptr(), b.as_ptr(), place.as_mut_ptr(), &how) };
                assert_eq!(expected[..n], place[..n], "{} {n} in place", row.name);
            }
        }
    }
}

/// Multipliers and shifts at the edges, and words whose sums and differences are small, large or cancel each other.
#[test]
fn pairs_of_words_at_the_edges() {
    let shifts =
        [-70, -33, -20, -19, -16, -15, -14, -2, -1, 0, 1, 2, 29, 30, 31, 32, 33, 44, 47, 48, 49, 61, 62, 63, 64];
    let random = &mut Random(23);
    for _ in sampled(0..4000) {
        let n = 1 + random.below(70);
        let mut words = |n: usize| -> Vec<u16> {
            (0..n)
                .map(|_| match random.below(3) {
                    0 => random.pick(&[0, 1, 2, 32767, 32768, 32769, 65534, 65535]),
                    1 => 32768 + random.below(5) as u16,
                    _ => random.next() as u16,
                })
                .collect()
        };
        let (a, b) = (words(n + SLACK), words(n + SLACK));
        let zero = |random: &mut Random| random.pick(&[0, 32768, 32770, 65535]);
        let (zero_point, lo, hi) = random.range(65535);
        let (z1, z2) = (zero(random), zero(random));
        let anywhere = random.next() as i32 & i32::MAX;
        let m = random.pick(&[1 << 30, i32::MAX, 3 << 29, 1, 0, anywhere]);
        let m1 = random.pick(&[1 << 30, i32::MAX, (1 << 30) + 1]);
        let how = AddParams {
            rescale: AddRescale::Fixed { m1, m2: m, shift: random.pick(&shifts) },
            rounding: random.rounding(Rounding::HalfUp),
            z1,
            z2,
            zero_point,
            lo,
            hi,
        };
        for row in runnable(elementwise::QADD16) {
            let mut y = vec![9; n + 3];
            // SAFETY: as above.
            unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how) };
            let mut expected = vec![9; n + 3];
            (0..n).for_each(|i| expected[i] = sum(i32::from(a[i]), i32::from(b[i]), &how) as u16);
            assert_eq!(expected, y, "{} {n} {how:?}", row.name);
        }
        let method = random.pick(&METHODS);
        let rescale = random.edge_rescale(method, &shifts);
        let rounding = random.rounding(method.default_rounding());
        let how = MulParams { rescale, rounding, z1, z2, zero_point, lo, hi };
        for row in runnable(elementwise::QMUL16) {
            let mut y = vec![9; n + 3];
            // SAFETY: as above.
            unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how) };
            let mut expected = vec![9; n + 3];
            (0..n).for_each(|i| expected[i] = product(i32::from(a[i]), i32::from(b[i]), &how) as u16);
            assert_eq!(expected, y, "{} {n} {how:?}", row.name);
        }
    }
}

/// Every pair of multipliers and every shift at the edges, and bytes whose sums and differences are small, large or cancel
/// each other.
#[test]
fn sums_of_bytes_at_the_edges() {
    let random = &mut Random(29);
    let rows: Vec<_> = runnable(elementwise::QADD).collect();
    let rescales = EDGE_MULTIPLIERS.iter().flat_map(|m1| {
        EDGE_MULTIPLIERS.iter().flat_map(move |m2| {
            EDGE_SHIFTS.iter().map(move |shift| AddRescale::Fixed { m1: *m1, m2: *m2, shift: *shift })
        })
    });
    for rescale in rescales {
        let n = 1 + random.below(70);
        let mut bytes = |n: usize| -> Vec<u8> {
            (0..n)
                .map(|_| match random.below(3) {
                    0 => random.pick(&[0, 1, 2, 127, 128, 129, 254, 255]),
                    1 => 128 + random.below(5) as u8,
                    _ => random.next() as u8,
                })
                .collect()
        };
        let (a, b) = (bytes(n + SLACK), bytes(n + SLACK));
        let zero = |random: &mut Random| random.pick(&[0, 128, 130, 255]);
        let (z1, z2) = (zero(random), zero(random));
        // The one that sums in 32 bits are rounded by, and another.
        for rounding in [Rounding::HalfUp, random.rounding(Rounding::HalfEven)] {
            let (zero_point, lo, hi) = random.range(255);
            let how = AddParams { rescale, rounding, z1, z2, zero_point, lo, hi };
            for row in &rows {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = sum(i32::from(a[i]), i32::from(b[i]), &how) as u8);
                assert_eq!(expected, y, "{} {n} {how:?}", row.name);
            }
        }
    }
}

fn product(q1: i32, q2: i32, how: &MulParams) -> i32 {
    let acc = i64::from(q1 - how.z1) * i64::from(q2 - how.z2);
    requantize(acc, how.rescale, how.rounding, how.zero_point, how.lo, how.hi, 0)
}

#[test]
fn products() {
    for n in lengths() {
        let random = &mut Random(n as u64);
        for method in METHODS {
            let mut params = |max: i32| {
                let (zero_point, lo, hi) = random.range(max);
                let rescale = random.rescale(method);
                let rounding = random.rounding(method.default_rounding());
                MulParams { rescale, rounding, z1: random.range(max).0, z2: random.range(max).0, zero_point, lo, hi }
            };
            let (how, how16) = (params(255), params(65535));
            let (a, b) = (random.bytes(n + SLACK), random.bytes(n + SLACK));
            for row in runnable(elementwise::QMUL) {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = product(i32::from(a[i]), i32::from(b[i]), &how) as u8);
                assert_eq!(expected, y, "{} {n} {how:?}", row.name);
            }
            let (a, b) = (random.words(n + SLACK), random.words(n + SLACK));
            for row in runnable(elementwise::QMUL16) {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, a.as_ptr(), b.as_ptr(), y.as_mut_ptr(), &how16) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = product(i32::from(a[i]), i32::from(b[i]), &how16) as u16);
                assert_eq!(expected, y, "{} {n} {how16:?}", row.name);
            }
        }
    }
}

#[test]
fn tables() {
    for n in lengths() {
        let random = &mut Random(n as u64);
        let (table, x): (Vec<u8>, _) = ((0..256).map(|_| random.next() as u8).collect(), random.bytes(n + SLACK));
        for row in runnable(elementwise::TABLE8) {
            let mut y = vec![9; n + 3];
            // SAFETY: as above.
            unsafe { (row.run)(n, x.as_ptr(), table.as_ptr(), y.as_mut_ptr()) };
            let mut expected = vec![9; n + 3];
            (0..n).for_each(|i| expected[i] = table[usize::from(x[i])]);
            assert_eq!(expected, y, "{} {n}", row.name);
        }
        let (table, x) = (random.words(65536), random.words(n + SLACK));
        for row in runnable(elementwise::TABLE16) {
            let mut y = vec![9; n + 3];
            // SAFETY: as above.
            unsafe { (row.run)(n, x.as_ptr(), table.as_ptr(), y.as_mut_ptr()) };
            let mut expected = vec![9; n + 3];
            (0..n).for_each(|i| expected[i] = table[usize::from(x[i])]);
            assert_eq!(expected, y, "{} {n}", row.name);
        }
    }
}

fn affine(random: &mut Random, max: i32) -> Affine {
    let (zero_point, qmin, qmax) = random.range(max);
    let scale = random.pick(&[1.0, 0.5, 0.023_456, 1e-30, 3e20, f32::MIN_POSITIVE, 7.7]);
    Affine { scale, zero_point, qmin, qmax }
}

/// Neighbours of ties, where a product with the reciprocal would round to other integers than the quotient.
#[test]
fn quantization_near_ties() {
    let random = &mut Random(9);
    for _ in sampled(0..200) {
        let scale = (1.0 + random.below(1 << 23) as f32 / (1 << 23) as f32) * random.pick(&[1.0, 1e-3, 0.3, 40.0]);
        let to = Affine { scale, zero_point: 128, qmin: 0, qmax: 255 };
        let to16 = Affine { scale, zero_point: 32768, qmin: 0, qmax: 65535 };
        let n = 64 * 9;
        let mut x: Vec<f32> = (0..n)
            .map(|i| {
                let tie = (random.int(-140, 140) * random.pick(&[1, 200])) as f32 + 0.5;
                let ulps = i as i32 % 9 - 4;
                f32::from_bits((tie * scale).to_bits().wrapping_add_signed(ulps))
            })
            .collect();
        x.resize(n + SLACK, 0.0);
        for row in runnable(elementwise::QUANTIZE8) {
            let mut y = vec![9; n];
            // SAFETY: as above.
            unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr(), &to) };
            let expected: Vec<u8> = x[..n].iter().map(|x| quantize(*x, &to, Rounding::HalfEven, 0) as u8).collect();
            assert_eq!(expected, y, "{} {to:?}", row.name);
        }
        for row in runnable(elementwise::QUANTIZE16) {
            let mut y = vec![9; n];
            // SAFETY: as above.
            unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr(), &to16) };
            let expected: Vec<u16> = x[..n].iter().map(|x| quantize(*x, &to16, Rounding::HalfEven, 0) as u16).collect();
            assert_eq!(expected, y, "{} {to16:?}", row.name);
        }
    }
}

#[test]
fn quantization() {
    for n in lengths() {
        let random = &mut Random(n as u64);
        for _ in 0..8 {
            let x = random.floats(n + SLACK);
            let (to8, to16) = (affine(random, 255), affine(random, 65535));
            for row in runnable(elementwise::QUANTIZE8) {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr(), &to8) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = quantize(x[i], &to8, Rounding::HalfEven, 0) as u8);
                assert_eq!(expected, y, "{} {n} {to8:?} {x:?}", row.name);
            }
            for row in runnable(elementwise::QUANTIZE16) {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr(), &to16) };
                let mut expected = vec![9; n + 3];
                (0..n).for_each(|i| expected[i] = quantize(x[i], &to16, Rounding::HalfEven, 0) as u16);
                assert_eq!(expected, y, "{} {n} {to16:?} {x:?}", row.name);
            }
            let (x8, x16) = (random.bytes(n + SLACK), random.words(n + SLACK));
            for row in runnable(elementwise::DEQUANTIZE8) {
                let mut y = vec![9.5; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, x8.as_ptr(), y.as_mut_ptr(), &to8) };
                let mut expected = vec![9.5; n + 3];
                (0..n).for_each(|i| expected[i] = dequantize(i32::from(x8[i]), &to8));
                same(row.name, &expected, &y, |_| format!("{n} {to8:?}"));
            }
            for row in runnable(elementwise::DEQUANTIZE16) {
                let mut y = vec![9.5; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, x16.as_ptr(), y.as_mut_ptr(), &to16) };
                let mut expected = vec![9.5; n + 3];
                (0..n).for_each(|i| expected[i] = dequantize(i32::from(x16[i]), &to16));
                same(row.name, &expected, &y, |_| format!("{n} {to16:?}"));
            }
            let (acc, scale) = (random.bias(n + SLACK), random.floats(n + SLACK));
            for row in runnable(elementwise::DEQUANTIZE_ACC) {
                for step in [0, 1] {
                    let mut y = vec![9.5; n + 3];
                    // SAFETY: as above.
                    unsafe { (row.run)(n, acc.as_ptr(), scale.as_ptr(), step, y.as_mut_ptr()) };
                    let mut expected = vec![9.5; n + 3];
                    (0..n).for_each(|i| expected[i] = dequantize_wide(i64::from(acc[i]), scale[i * step], 0));
                    same(row.name, &expected, &y, |_| format!("{n} step {step}"));
                }
            }
        }
    }
}

#[test]
fn requantization() {
    for n in lengths() {
        let random = &mut Random(n as u64);
        for method in METHODS {
            let acc = random.bias(n + SLACK);
            let table = ScaleTable::random(random, method, n, n + SLACK);
            let (zero_point, lo, hi) = random.range(255);
            let rounding = random.rounding(method.default_rounding());
            let how = Requant { scales: table.scales(), rounding, zero_point, lo, hi };
            for row in runnable(elementwise::REQUANT_ACC) {
                let mut y = vec![9; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, acc.as_ptr(), y.as_mut_ptr(), &how) };
                let mut expected = vec![9; n + 3];
                for i in 0..n {
                    expected[i] =
                        requantize(i64::from(acc[i]), table.rescales[i], rounding, zero_point, lo, hi, 0) as u8;
                }
                assert_eq!(expected, y, "{} {n} {how:?} {acc:?}", row.name);
            }
        }
    }
}

const ROUNDINGS: [Rounding; 6] = [
    Rounding::HalfEven,
    Rounding::HalfUp,
    Rounding::HalfAway,
    Rounding::TowardZero,
    Rounding::Floor,
    Rounding::Stochastic { seed: 5 },
];

#[test]
fn requantization_with_any_rounding() {
    let random = &mut Random(13);
    for row in runnable(elementwise::REQUANT_ANY) {
        for case in sampled(0..3000) {
            let n = random.below(100);
            let (bytes, words, narrow) = (random.bytes(n + 1), random.words(n + 1), random.bias(n + 1));
            let wide: Vec<i64> = (0..n).map(|_| random.wide()).collect();
            let x = match case % 5 {
                0 => Integers::U8(bytes.as_ptr()),
                1 => Integers::U16(words.as_ptr()),
                2 => Integers::I32(narrow.as_ptr()),
                3 => Integers::I16(words.as_ptr().cast()),
                _ => Integers::I64(wide.as_ptr()),
            };
            let method = random.pick(&METHODS);
            let rescales = random.mixed_rescales(method, n + 1);
            let any = random.pick(&ROUNDINGS);
            let (rounding, step) = (if random.chance(3) { any } else { default(rescales[0]) }, random.below(2));
            let (zero_in, (zero_point, lo, hi)) =
                (random.range(65535).0 * random.below(2) as i32, random.range([255, 65535][case % 2]));
            let (index, index_step) = (random.next(), random.below(100) as u64);
            let (mut y8, mut y16, mut signed) = (vec![9u8; n + 3], vec![9u16; n + 3], vec![9i16; n + 3]);
            for y in [Stored::U8(y8.as_mut_ptr()), Stored::U16(y16.as_mut_ptr()), Stored::I16(signed.as_mut_ptr())] {
                let rescale = rescales.as_ptr();
                let args = RequantAny {
                    n,
                    x,
                    zero_in,
                    rescale,
                    rescale_step: step,
                    rounding,
                    index,
                    index_step,
                    zero_point,
                    lo,
                    hi,
                    y,
                };
                // SAFETY: as above.
                unsafe { (row.run)(&args) };
            }
            let (mut expected8, mut expected16) = (vec![9u8; n + 3], vec![9u16; n + 3]);
            for i in 0..n {
                let q = match case % 5 {
                    0 => i64::from(bytes[i]),
                    1 => i64::from(words[i]),
                    2 => i64::from(narrow[i]),
                    3 => i64::from(words[i] as i16),
                    _ => wide[i],
                };
                let at = index.wrapping_add(index_step * i as u64);
                let acc = q.saturating_sub(i64::from(zero_in));
                let q = requantize(acc, rescales[i * step], rounding, zero_point, lo, hi, at);
                (expected8[i], expected16[i]) = (q as u8, q as u16);
            }
            assert!(expected16.iter().zip(&signed).all(|(a, b)| *a as i16 == *b));
            assert_eq!((expected8, expected16), (y8, y16), "{} {n} {method} {rounding}", row.name);
        }
    }
}

#[test]
fn quantization_with_any_rounding() {
    let random = &mut Random(17);
    for row in runnable(elementwise::QUANTIZE_ANY) {
        for _ in sampled(0..300) {
            let n = random.below(40);
            let (x, to, rounding) = (random.floats(n + 1), affine(random, 255), random.pick(&ROUNDINGS));
            let (index, index_step) = (random.next(), random.below(100) as u64);
            let mut y = vec![9u8; n + 3];
            let stored = Stored::U8(y.as_mut_ptr());
            // SAFETY: as above.
            unsafe { (row.run)(&QuantizeAny { n, x: x.as_ptr(), to, rounding, index, index_step, y: stored }) };
            let mut expected = vec![9u8; n + 3];
            let at = |i: usize| index.wrapping_add(index_step * i as u64);
            (0..n).for_each(|i| expected[i] = quantize(x[i], &to, rounding, at(i)) as u8);
            assert_eq!(expected, y, "{} {n} {rounding}", row.name);
        }
    }
}

#[test]
fn pairs_with_any_rounding_and_widths() {
    let random = &mut Random(18);
    for row in runnable(elementwise::PAIR_ANY) {
        for case in sampled(0..600) {
            let n = random.below(40);
            let (bytes, words) = (random.bytes(n + 1), random.words(n + 1));
            let (method, rounding) = (random.pick(&METHODS), random.pick(&ROUNDINGS));
            let (index, index_step) = (random.next(), random.below(100) as u64);
            let add = AddParams { rounding, ..random.add_params(255) };
            let (zero_point, lo, hi) = random.range(255);
            let rescale = random.rescale(method);
            let mul =
                MulParams { rescale, rounding, z1: random.range(255).0, z2: random.range(65535).0, zero_point, lo, hi };
            let how = if case % 2 == 0 { Pair::Add(add) } else { Pair::Mul(mul) };
            let (a, b) = (Integers::U8(bytes.as_ptr()), Integers::U16(words.as_ptr()));
            let mut y = vec![9u16; n + 3];
            let stored = Stored::U16(y.as_mut_ptr());
            // SAFETY: as above.
            unsafe { (row.run)(&PairAny { n, a, b, how, index, index_step, y: stored }) };
            let mut expected = vec![9u16; n + 3];
            for i in 0..n {
                let (p, q) = (i64::from(bytes[i]), i64::from(words[i]));
                let at = index.wrapping_add(index_step * i as u64);
                let (v, zero_point, lo, hi) = match how {
                    Pair::Add(add) => {
                        let v = add.rescale.apply(p - i64::from(add.z1), q - i64::from(add.z2), rounding, at);
                        (v, add.zero_point, add.lo, add.hi)
                    }
                    Pair::Mul(mul) => {
                        let acc = (p - i64::from(mul.z1)) * (q - i64::from(mul.z2));
                        (mul.rescale.apply(acc, rounding, at), mul.zero_point, mul.lo, mul.hi)
                    }
                };
                expected[i] = lowbit_arithmetic::requant::offset_and_clamp(v, zero_point, lo, hi) as u16;
            }
            assert_eq!(expected, y, "{} {n} {rounding} {how:?}", row.name);
        }
    }
}

#[test]
fn wide_accumulators_to_floats() {
    let random = &mut Random(19);
    for row in runnable(elementwise::DEQUANTIZE_WIDE) {
        for n in sampled(0..150) {
            let x: Vec<i64> = (0..n).map(|_| random.wide()).collect();
            let scale = random.floats(n + SLACK);
            for step in [0, 1] {
                let mut y = vec![9.5; n + 3];
                // SAFETY: as above.
                unsafe { (row.run)(n, x.as_ptr(), scale.as_ptr(), step, y.as_mut_ptr()) };
                let mut expected = vec![9.5; n + 3];
                (0..n).for_each(|i| expected[i] = dequantize_wide(x[i], scale[i * step], 0));
                same(row.name, &expected, &y, |_| format!("{n} step {step}"));
            }
        }
    }
}

const UNARY: [UnaryFn; 27] = [
    UnaryFn::Abs,
    UnaryFn::Neg,
    UnaryFn::Exp,
    UnaryFn::Log,
    UnaryFn::Sqrt,
    UnaryFn::Reciprocal,
    UnaryFn::Erf,
    UnaryFn::Sin,
    UnaryFn::Cos,
    UnaryFn::Tanh,
    UnaryFn::Sigmoid,
    UnaryFn::Silu,
    UnaryFn::Gelu,
    UnaryFn::GeluTanh,
    UnaryFn::Mish,
    UnaryFn::Softplus,
    UnaryFn::Softsign,
    UnaryFn::HardSigmoid { alpha: 0.2, beta: 0.5 },
    UnaryFn::HardSwish,
    UnaryFn::LeakyRelu { alpha: 0.01 },
    UnaryFn::Elu { alpha: 1.3 },
    UnaryFn::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
    UnaryFn::Celu { alpha: 1.3 },
    UnaryFn::ThresholdedRelu { alpha: 0.7 },
    UnaryFn::Floor,
    UnaryFn::Ceil,
    UnaryFn::Round,
];

/// What a name means, as plainly as `arithmetic` can say it.
fn unary(f: UnaryFn, x: f32) -> f32 {
    match f {
        UnaryFn::Abs => x.abs(),
        UnaryFn::Neg => -x,
        UnaryFn::Exp => elementary::exp(x),
        UnaryFn::Log => elementary::ln(x),
        UnaryFn::Sqrt => lowbit_arithmetic::sqrt(x),
        UnaryFn::Reciprocal => 1.0 / x,
        UnaryFn::Erf => elementary::erf(x),
        UnaryFn::Sin => elementary::sin(x),
        UnaryFn::Cos => elementary::cos(x),
        UnaryFn::Tanh => elementary::tanh(x),
        UnaryFn::Sigmoid => elementary::sigmoid(x),
        UnaryFn::Silu => elementary::silu(x),
        UnaryFn::Gelu => elementary::gelu_erf(x),
        UnaryFn::GeluTanh => elementary::gelu_tanh(x),
        UnaryFn::Mish => elementary::mish(x),
        UnaryFn::Softplus => elementary::softplus(x),
        UnaryFn::Softsign => elementary::softsign(x),
        UnaryFn::HardSigmoid { alpha, beta } => elementary::hard_sigmoid(x, alpha, beta),
        UnaryFn::HardSwish => elementary::hard_swish(x),
        UnaryFn::LeakyRelu { alpha } => elementary::leaky_relu(x, alpha),
        UnaryFn::Elu { alpha } => elementary::elu(x, alpha),
        UnaryFn::Selu { alpha, gamma } => elementary::selu(x, alpha, gamma),
        UnaryFn::Celu { alpha } => elementary::celu(x, alpha),
        UnaryFn::ThresholdedRelu { alpha } => elementary::thresholded_relu(x, alpha),
        UnaryFn::Floor => round_f64(x.into(), Rounding::Floor, 0) as f32,
        UnaryFn::Ceil => x.ceil(),
        UnaryFn::Round => x.round_ties_even(),
    }
}

/// All exponents and signs with random mantissas, and special values.
fn all_kinds(random: &mut Random) -> Vec<f32> {
    let mut x: Vec<f32> = (0..1u32 << 15).map(|i| f32::from_bits(i << 17 | random.next() as u32 >> 15)).collect();
    x.extend((-4000..4000).map(|i| i as f32 * 0.0078125));
    x.extend((-400..400).map(|i| i as f32 * 0.5));
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::MAX]);
    x
}

#[test]
fn unary_functions() {
    let x = all_kinds(&mut Random(14));
    for row in runnable(elementwise::UNARY) {
        for f in UNARY {
            let expected: Vec<f32> = x.iter().map(|&x| unary(f, x)).collect();
            let mut y = vec![0.0; x.len()];
            // SAFETY: as above.
            unsafe { (row.run)(f, x.len(), x.as_ptr(), y.as_mut_ptr()) };
            same(row.name, &expected, &y, |i| format!("{f:?} of {:?}", x[i]));
            for n in 0..40 {
                let mut y = x[..60].to_vec();
                // SAFETY: as above; the output may be the input.
                unsafe { (row.run)(f, n, y.as_ptr(), y.as_mut_ptr()) };
                same(row.name, &[&expected[..n], &x[n..60]].concat(), &y, |i| format!("{f:?}, {i} of {n}"));
            }
        }
    }
}

fn binary(f: BinaryFn, a: f32, b: f32) -> f32 {
    match f {
        BinaryFn::Add => a + b,
        BinaryFn::Sub => a - b,
        BinaryFn::Mul => a * b,
        BinaryFn::Div => a / b,
        BinaryFn::Min => -max2(-a, -b),
        BinaryFn::Max => max2(a, b),
        BinaryFn::Pow => elementary::pow(a, b),
        BinaryFn::PRelu => elementary::leaky_relu(a, b),
    }
}

#[test]
fn binary_functions() {
    use BinaryFn::*;
    let random = &mut Random(15);
    for row in runnable(elementwise::BINARY) {
        for f in [Add, Sub, Mul, Div, Min, Max, Pow, PRelu] {
            for n in lengths().chain([20000]) {
                let (a, b) = (random.floats(n.max(1)), random.floats(n.max(1)));
                for (a_step, b_step) in [(1, 1), (0, 1), (1, 0)] {
                    let mut y = vec![9.5; n + 3];
                    // SAFETY: as above.
                    unsafe { (row.run)(f, n, a.as_ptr(), a_step, b.as_ptr(), b_step, y.as_mut_ptr()) };
                    let mut expected: Vec<f32> = (0..n).map(|i| binary(f, a[i * a_step], b[i * b_step])).collect();
                    expected.resize(n + 3, 9.5);
                    same(row.name, &expected, &y, |i| {
                        format!("{f:?} of {:?}, {:?}", a.get(i * a_step), b.get(i * b_step))
                    });
                }
            }
        }
    }
}

#[test]
fn clamps() {
    let random = &mut Random(16);
    let x = all_kinds(random);
    for row in runnable(elementwise::CLAMP) {
        for (lo, hi) in [(0.0, 6.0), (-1.5, f32::INFINITY), (-0.0, 0.0), (f32::NEG_INFINITY, -0.0)] {
            let n = x.len() - random.below(40);
            let mut y = vec![9.5; n + 3];
            // SAFETY: as above.
            unsafe { (row.run)(n, x.as_ptr(), y.as_mut_ptr(), lo, hi) };
            let clamp = |&x: &f32| {
                if x < lo {
                    lo
                } else if x > hi {
                    hi
                } else {
                    x
                }
            };
            let mut expected: Vec<f32> = x.iter().map(clamp).take(n).collect();
            expected.resize(n + 3, 9.5);
            same(row.name, &expected, &y, |i| format!("{:?} in {lo:?}..{hi:?}", x[i]));
        }
    }
}
