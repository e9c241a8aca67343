//! Pooling.

use crate::common::{Random, default, runnable, same, sampled};
use lowbit_arithmetic::pool::{average, max, mean};
use lowbit_arithmetic::{Method, Rescale, Rounding};
use lowbit_kernels::SLACK;
use lowbit_kernels::elementwise::Stored;
use lowbit_kernels::pool::{self, Args, AvgAny, QAverage, Taps};

/// (channels, taps), with more taps than 16 bits hold sums of.
fn shapes(random: &mut Random) -> Vec<(usize, usize)> {
    let mut shapes: Vec<_> = (1..=140).map(|channels| (channels, 1 + random.below(12))).collect();
    shapes.extend((1..=60).map(|taps| (1 + random.below(70), taps)));
    shapes.extend([(3, 255), (5, 256), (70, 257), (17, 300), (64, 1023), (2, 65536)]);
    shapes
}

fn inputs<T>(random: &mut Random, data: &[T], taps: usize, channels: usize) -> Vec<*const T> {
    (0..taps).map(|_| data[random.below(data.len() - channels - SLACK)..].as_ptr()).collect()
}

/// One channel's taps.
fn taps<T: Copy>(x: &[*const T], channel: usize) -> impl Iterator<Item = T> + use<'_, T> {
    // SAFETY: each pointer leads to all channels.
    x.iter().map(move |x| unsafe { *x.add(channel) })
}

#[test]
fn maxima() {
    let random = &mut Random(7);
    for (channels, n) in sampled(shapes(random)) {
        let (bytes, words) = (random.bytes(3 * channels + SLACK), random.words(3 * channels + SLACK));
        let mut floats = random.floats(3 * channels + SLACK);
        if random.chance(2) {
            floats = floats.iter().map(|&x| if x.abs() < 1.0 { 0f32.copysign(x) } else { x.min(0.0) }).collect();
        }
        let (x8, x16) = (inputs(random, &bytes, n, channels), inputs(random, &words, n, channels));
        let x32 = inputs(random, &floats, n, channels);
        for row in runnable(pool::MAX_U8) {
            let mut y = vec![7; channels + 3];
            // SAFETY: this CPU has the features, and the buffers are as the contract says; so below.
            unsafe { (row.run)(&Args { channels, taps: n, x: x8.as_ptr(), y: y.as_mut_ptr() }) };
            let mut expected = vec![7; channels + 3];
            (0..channels).for_each(|c| expected[c] = taps(&x8, c).max().unwrap_or_default());
            assert_eq!(expected, y, "{} {channels} channels, {n} taps", row.name);
        }
        for row in runnable(pool::MAX_U16) {
            let mut y = vec![7; channels + 3];
            // SAFETY: as above.
            unsafe { (row.run)(&Args { channels, taps: n, x: x16.as_ptr(), y: y.as_mut_ptr() }) };
            let mut expected = vec![7; channels + 3];
            (0..channels).for_each(|c| expected[c] = taps(&x16, c).max().unwrap_or_default());
            assert_eq!(expected, y, "{} {channels} channels, {n} taps", row.name);
        }
        for row in runnable(pool::MAX_F32) {
            let mut y = vec![7.5; channels + 3];
            // SAFETY: as above.
            unsafe { (row.run)(&Args { channels, taps: n, x: x32.as_ptr(), y: y.as_mut_ptr() }) };
            let mut expected = vec![7.5; channels + 3];
            (0..channels).for_each(|c| expected[c] = max(taps(&x32, c)));
            same(row.name, &expected, &y, |_| format!("{channels} channels, {n} taps"));
        }
    }
}

/// Sums at the very edge of what a row says it holds.
#[test]
fn averages_at_the_edge() {
    let (high, low) = (vec![255u8; 1 + SLACK], vec![0u8; 1 + SLACK]);
    // 255 * 8421504 is the largest such sum below 2^31.
    let taps = 8_421_504;
    for row in runnable(pool::AVG_U8) {
        for (data, zero_in) in [(&high, 0), (&low, 255)] {
            assert!(row.sum_bits >= 32, "{}", row.name);
            let x = vec![data.as_ptr(); taps];
            let rescale = Rescale::for_average(Method::Fixed, 1.0, 2.0, taps as u32).unwrap();
            let by = QAverage { rescale, zero_in, zero_out: 128, lo: 0, hi: 255 };
            let mut y = [7];
            // SAFETY: this CPU has the features, and the buffers are as the contract says.
            unsafe { (row.run)(&Args { channels: 1, taps, x: x.as_ptr(), y: y.as_mut_ptr() }, &by) };
            let qs = x.iter().map(|_| i32::from(data[0]));
            let expected = average(qs, zero_in, rescale, Method::Fixed.default_rounding(), 128, 0, 255, 0);
            assert_eq!(i32::from(y[0]), expected, "{}", row.name);
        }
    }
}

/// Windows around those whose sums 32 bits hold.
#[test]
fn averages_of_many_words() {
    let random = &mut Random(10);
    for row in runnable(pool::AVG_U16) {
        for (channels, n) in [(40, 32767), (33, 32768), (40, 32769), (7, 65537), (70, 100_000)] {
            for value in [0, 65535] {
                let data = vec![value; channels + SLACK];
                let x = vec![data.as_ptr(); n];
                let s_out = random.pick(&[1.0, 0.3, 1e9]);
                for rescale in [
                    Rescale::for_average(Method::Float32, 1.0, s_out, n as u32).unwrap(),
                    Rescale::for_average(Method::Fixed, 1.0, s_out, n as u32).unwrap(),
                    Rescale::Shift { shift: 15 + random.below(4) as i32 },
                    random.edge_rescale(Method::Fixed, &[31, 32, 33, 45, 46, 47]),
                ] {
                    let (zero_out, lo, hi) = random.range(65535);
                    let by = QAverage { rescale, zero_in: random.pick(&[0, 65535, 32768]), zero_out, lo, hi };
                    let mut y = vec![7; channels + 3];
                    // SAFETY: this CPU has the features, and the buffers are as the contract says.
                    unsafe { (row.run)(&Args { channels, taps: n, x: x.as_ptr(), y: y.as_mut_ptr() }, &by) };
                    let qs = (0..n).map(|_| i32::from(value));
                    let q = average(qs, by.zero_in, rescale, default(rescale), zero_out, lo, hi, 0);
                    let mut expected = vec![q as u16; channels];
                    expected.resize(channels + 3, 7);
                    assert_eq!(expected, y, "{} {channels} channels, {n} taps of {value}, {by:?}", row.name);
                }
            }
        }
    }
}

#[test]
fn averages() {
    let random = &mut Random(8);
    for (channels, n) in sampled(shapes(random)) {
        for method in [Method::Float32, Method::Fixed, Method::Shift] {
            let s_in = if method == Method::Shift { 0.5 } else { 0.3 + random.below(1000) as f32 * 0.01 };
            let spread = if random.chance(3) { 100.0 } else { 1.0 };
            let s_out = if method == Method::Shift { 0.25 } else { spread * (0.3 + random.below(1000) as f32 * 0.01) };
            let Ok(rescale) = Rescale::for_average(method, s_in, s_out, n as u32) else { continue };
            let (bytes, words) = (random.bytes(3 * channels + SLACK), random.words(3 * channels + SLACK));
            let (x8, x16) = (inputs(random, &bytes, n, channels), inputs(random, &words, n, channels));
            for row in runnable(pool::AVG_U8) {
                let (zero_out, lo, hi) = random.range(255);
                let by = QAverage { rescale, zero_in: random.range(255).0, zero_out, lo, hi };
                let mut y = vec![7; channels + 3];
                // SAFETY: as above.
                unsafe { (row.run)(&Args { channels, taps: n, x: x8.as_ptr(), y: y.as_mut_ptr() }, &by) };
                let mut expected = vec![7; channels + 3];
                for (c, expected) in expected.iter_mut().enumerate().take(channels) {
                    let qs = taps(&x8, c).map(i32::from);
                    *expected = average(qs, by.zero_in, rescale, method.default_rounding(), zero_out, lo, hi, 0) as u8;
                }
                assert_eq!(expected, y, "{} {channels} channels, {n} taps, {by:?}", row.name);
            }
            for row in runnable(pool::AVG_U16) {
                let (zero_out, lo, hi) = random.range(65535);
                let by = QAverage { rescale, zero_in: random.range(65535).0, zero_out, lo, hi };
                let mut y = vec![7; channels + 3];
                // SAFETY: as above.
                unsafe { (row.run)(&Args { channels, taps: n, x: x16.as_ptr(), y: y.as_mut_ptr() }, &by) };
                let mut expected = vec![7; channels + 3];
                for (c, expected) in expected.iter_mut().enumerate().take(channels) {
                    let qs = taps(&x16, c).map(i32::from);
                    *expected = average(qs, by.zero_in, rescale, method.default_rounding(), zero_out, lo, hi, 0) as u16;
                }
                assert_eq!(expected, y, "{} {channels} channels, {n} taps, {by:?}", row.name);
            }
        }
        let floats =
            if random.chance(3) { random.floats(3 * channels + SLACK) } else { random.plains(3 * channels + SLACK) };
        let x = inputs(random, &floats, n, channels);
        for row in runnable(pool::AVG_F32) {
            let count = (n + random.below(3)) as u32;
            let mut y = vec![7.5; channels + 3];
            // SAFETY: as above.
            unsafe { (row.run)(&Args { channels, taps: n, x: x.as_ptr(), y: y.as_mut_ptr() }, count as f32) };
            let mut expected = vec![7.5; channels + 3];
            (0..channels).for_each(|c| expected[c] = mean(taps(&x, c), count));
            same(row.name, &expected, &y, |_| format!("{channels} channels, {n} taps"));
        }
    }
}

#[test]
fn averages_with_any_rounding() {
    let roundings = [Rounding::HalfEven, Rounding::HalfAway, Rounding::Floor, Rounding::Stochastic { seed: 3 }];
    let random = &mut Random(9);
    for (channels, n) in sampled(shapes(random)) {
        let method = random.pick(&[Method::Float32, Method::Fixed]);
        let rescale = Rescale::for_average(method, 0.3, 0.2, n as u32).unwrap();
        let (bytes, words) = (random.bytes(3 * channels + SLACK), random.words(3 * channels + SLACK));
        let (x8, x16) = (inputs(random, &bytes, n, channels), inputs(random, &words, n, channels));
        let (index, index_step) = (random.next(), random.below(100) as u64);
        let rounding = random.pick(&roundings);
        let (zero_out, lo, hi) = random.range(255);
        let by = QAverage { rescale, zero_in: random.range(255).0, zero_out, lo, hi };
        for row in runnable(pool::AVG_ANY) {
            for x in [Taps::U8(x8.as_ptr()), Taps::U16(x16.as_ptr())] {
                let mut y = vec![7u16; channels + 3];
                let stored = Stored::U16(y.as_mut_ptr());
                let args = AvgAny { channels, taps: n, x, by, rounding, index, index_step, y: stored };
                // SAFETY: as above.
                unsafe { (row.run)(&args) };
                let mut expected = vec![7u16; channels + 3];
                for (c, expected) in expected.iter_mut().enumerate().take(channels) {
                    let at = index.wrapping_add(index_step * c as u64);
                    let qs: Vec<i32> = match x {
                        Taps::U8(_) => taps(&x8, c).map(i32::from).collect(),
                        Taps::U16(_) => taps(&x16, c).map(i32::from).collect(),
                    };
                    *expected = average(qs.into_iter(), by.zero_in, rescale, rounding, zero_out, lo, hi, at) as u16;
                }
                assert_eq!(expected, y, "{} {channels} channels, {n} taps, {by:?} {rounding}", row.name);
            }
        }
    }
}
