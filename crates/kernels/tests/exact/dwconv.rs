//! Depthwise convolutions.

use crate::common::{Case, Case16, FloatCase, Random, offset_of, runnable, same, sampled};
use lowbit_arithmetic::fma;
use lowbit_kernels::SLACK;
use lowbit_kernels::dwconv::{self, Args, FArgs, Q16Args, QArgs};
use lowbit_kernels::gemm::Epilogue16;

/// (pixels, channels, taps): every number of channels up to 140 and of taps up to 25.
fn shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![];
    for channels in 1..=140 {
        for _ in 0..4 {
            shapes.push((1 + random.below(12), channels, 9));
        }
        for _ in 0..6 {
            shapes.push((1 + random.below(5), channels, 1 + random.below(25)));
        }
    }
    for taps in 1..=25 {
        for channels in [8, 16, 24, 32, 48, 64, 96, 130, 192] {
            shapes.push((3, channels, taps));
        }
    }
    // More taps than 32 bits hold sums of words by.
    shapes.extend([(2, 5, 255), (3, 33, 256), (2, 70, 257), (1, 40, 515), (2, 31, 1000)]);
    shapes
}

/// Pointers anywhere into the data; for 3x3 kernels often those of neighbouring pixels at stride 1 or 2, with breaks.
fn inputs<T>(random: &mut Random, data: &[T], pixels: usize, taps: usize, channels: usize) -> Vec<*const T> {
    let places = data.len() - channels - SLACK;
    let stride = random.below(4);
    let mut x: Vec<*const T> = vec![];
    for pixel in 0..pixels {
        for tap in 0..taps {
            let column = tap % 3 + stride;
            let shared = taps == 9 && stride > 0 && pixel > 0 && column < 3 && !random.chance(20);
            x.push(if shared {
                x[(pixel - 1) * 9 + tap / 3 * 3 + column]
            } else {
                data[random.below(places)..].as_ptr()
            });
        }
    }
    x
}

#[test]
fn integers() {
    for row in runnable(dwconv::Q8) {
        let random = &mut Random(4);
        for (pixels, channels, taps) in sampled(shapes(random)) {
            let data = random.bytes(3 * channels + SLACK + 64);
            let x = inputs(random, &data, pixels, taps, channels);
            let plain = random.weights(channels * taps);
            let mut w = vec![0; (row.packed)(channels, taps)];
            (row.pack)(&plain, channels, taps, &mut w);
            let padded = dwconv::padded(channels);
            let mut bias = random.bias(channels);
            bias.resize(padded, 0);
            let offsets = random.offsets(channels, padded);
            let (offset, of) = offset_of(&offsets);
            let case = Case::random(random, pixels, channels, padded);
            let y_stride = channels * case.size() + random.below(7);
            let mut y = vec![0xa5u8; pixels * y_stride + 64];
            let args = QArgs {
                pixels,
                channels,
                taps,
                x: x.as_ptr(),
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset,
                y: y.as_mut_ptr(),
                y_stride,
                epilogue: case.epilogue,
            };
            // SAFETY: this CPU has the features, and the buffers are as the contract says.
            unsafe { (row.run)(&args) };
            let mut expected = vec![0xa5u8; y.len()];
            for pixel in 0..pixels {
                for channel in 0..channels {
                    let mut acc = i64::from(bias[channel]);
                    for tap in 0..taps {
                        // SAFETY: the pointer leads to all channels.
                        let x = unsafe { *x[pixel * taps + tap].add(channel) };
                        acc += i64::from(x) * (i64::from(plain[channel * taps + tap]) + of(channel));
                    }
                    let bytes = case.expected(acc as i32, pixel, channel);
                    let at = pixel * y_stride + channel * case.size();
                    expected[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(
                expected, y,
                "{} {pixels} pixels, {channels} channels, {taps} taps, {:?}",
                row.name, case.epilogue
            );
        }
    }
}

#[test]
fn words() {
    for row in runnable(dwconv::Q16) {
        let random = &mut Random(5);
        for (pixels, channels, taps) in sampled(shapes(random)) {
            let data = random.words(3 * channels + SLACK + 64);
            let x = inputs(random, &data, pixels, taps, channels);
            let plain = random.weights(channels * taps);
            let mut w = vec![0; (row.packed)(channels, taps)];
            (row.pack)(&plain, channels, taps, &mut w);
            let padded = dwconv::padded(channels);
            let bias: Vec<i64> = (0..padded).map(|_| random.wide()).collect();
            let case = Case16::random(random, padded);
            let size = case.size();
            let y_stride = channels * size + random.below(7);
            let mut y = vec![0xa5u8; pixels * y_stride + 64];
            let args = Q16Args {
                pixels,
                channels,
                taps,
                x: x.as_ptr(),
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride,
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let mut expected = vec![0xa5u8; y.len()];
            for pixel in 0..pixels {
                for channel in 0..channels {
                    let mut acc = bias[channel];
                    for tap in 0..taps {
                        // SAFETY: the pointer leads to all channels.
                        let x = unsafe { *x[pixel * taps + tap].add(channel) };
                        acc = acc.wrapping_add(i64::from(x) * i64::from(plain[channel * taps + tap]));
                    }
                    let at = pixel * y_stride + channel * size;
                    expected[at..at + size].copy_from_slice(&case.expected(acc, channel));
                }
            }
            assert_eq!(expected, y, "{} {pixels} pixels, {channels} channels, {taps} taps", row.name);
        }
    }
}

#[test]
fn floats() {
    for row in runnable(dwconv::F32) {
        let random = &mut Random(6);
        for (pixels, channels, taps) in sampled(shapes(random)) {
            let odd = random.chance(6);
            let mut some = |n: usize| if odd { random.floats(n) } else { random.plains(n) };
            let data = some(3 * channels + SLACK + 64);
            let plain = some(channels * taps);
            let mut bias = some(channels);
            let x = inputs(random, &data, pixels, taps, channels);
            let mut w = vec![0.0; (row.packed)(channels, taps)];
            (row.pack)(&plain, channels, taps, &mut w);
            bias.resize(dwconv::padded(channels), 0.0);
            let case = FloatCase::random(random, pixels, channels, odd);
            let y_stride = channels + random.below(7);
            let mut y = vec![-7.25f32; pixels * y_stride + 16];
            let args = FArgs {
                pixels,
                channels,
                taps,
                x: x.as_ptr(),
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: y_stride * 4,
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let mut expected = vec![-7.25f32; y.len()];
            for pixel in 0..pixels {
                for channel in 0..channels {
                    let mut acc = bias[channel];
                    for tap in 0..taps {
                        // SAFETY: the pointer leads to all channels.
                        let x = unsafe { *x[pixel * taps + tap].add(channel) };
                        acc = fma(x, plain[channel * taps + tap], acc);
                    }
                    expected[pixel * y_stride + channel] = case.expected(acc, pixel, channel);
                }
            }
            same(row.name, &expected, &y, |_| format!("{pixels} pixels, {channels} channels, {taps} taps"));
        }
    }
}

/// A row with words as weights.
type Words<X> = dwconv::Dw<Args<X, i16, i64, u8, Epilogue16>, i16>;

/// Words as weights, by activations of either width.
fn weights_of_words<X: Copy + Into<i64>>(table: &'static [Words<X>], data: impl Fn(&mut Random, usize) -> Vec<X>) {
    for row in runnable(table) {
        let random = &mut Random(21);
        for (pixels, channels, taps) in sampled(shapes(random)) {
            let data = data(random, 3 * channels + SLACK + 64);
            let x = inputs(random, &data, pixels, taps, channels);
            let plain: Vec<i16> = (0..channels * taps)
                .map(|_| if random.chance(3) { random.pick(&[-32768, 32767]) } else { random.next() as i16 })
                .collect();
            let mut w = vec![0; (row.packed)(channels, taps)];
            (row.pack)(&plain, channels, taps, &mut w);
            let padded = dwconv::padded(channels);
            let bias: Vec<i64> = (0..padded).map(|_| random.wide()).collect();
            let case = Case16::random(random, padded);
            let size = case.size();
            let mut y = vec![0xa5u8; pixels * channels * size + 64];
            let args = Args {
                pixels,
                channels,
                taps,
                x: x.as_ptr(),
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: channels * size,
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let mut expected = vec![0xa5u8; y.len()];
            for pixel in 0..pixels {
                for channel in 0..channels {
                    let mut acc = bias[channel];
                    for tap in 0..taps {
                        // SAFETY: the pointer leads to all channels.
                        let x: i64 = unsafe { *x[pixel * taps + tap].add(channel) }.into();
                        acc = acc.wrapping_add(x * i64::from(plain[channel * taps + tap]));
                    }
                    let bytes = case.expected(acc, channel);
                    let at = (pixel * channels + channel) * size;
                    expected[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(expected, y, "{} {pixels} pixels, {channels} channels, {taps} taps", row.name);
        }
    }
}

#[test]
fn words_by_words() {
    weights_of_words(dwconv::Q16_W16, |random, n| random.words(n));
}

#[test]
fn bytes_by_words() {
    weights_of_words(dwconv::Q8_W16, |random, n| random.bytes(n));
}
