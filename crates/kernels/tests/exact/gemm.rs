//! Matrix products.

use crate::common::{Case, Case16, FloatCase, Random, offset_of, runnable, same, sampled};
use lowbit_arithmetic::fma;
use lowbit_kernels::SLACK;
use lowbit_kernels::gemm::{self, Args, Epilogue16, FArgs, Q16Args, QArgs, QGemm16, Run, SplitArgs, SumsArgs};

/// Every tile size up to the row's with random depths, then every depth and number of taps with random sizes.
fn shapes(random: &mut Random, mr: usize, nr: usize) -> Vec<(usize, usize, usize, usize)> {
    let mut shapes = vec![];
    for rows in 1..=mr {
        for cols in 1..=nr {
            shapes.push((rows, cols, 1 + random.below(3), 1 + random.below(20)));
            shapes.push((rows, cols, 1, 1 + random.below(70)));
        }
    }
    for k in 1..=70 {
        for taps in [1, 2] {
            shapes.push((1 + random.below(mr), 1 + random.below(nr), taps, k));
            shapes.push((mr, nr, taps, k));
        }
    }
    for taps in 1..=25 {
        shapes.push((1 + random.below(mr), 1 + random.below(nr), taps, 1 + random.below(17)));
        shapes.push((mr, nr, taps, 3));
    }
    shapes.push((mr, nr, 9, 515));
    // Nothing to sum up but the bias.
    shapes.extend([(mr, nr, 1, 0), (1, 1, 3, 0)]);
    shapes
}

/// Buffers of the input and pointers to its rows; `taps * mr` of them, those beyond `rows` repeat the first.
fn inputs<T: Copy>(random: &mut Random, data: &[T], mr: usize, rows: usize, taps: usize, k: usize) -> Vec<*const T> {
    (0..taps * mr)
        .map(|i| {
            let place = random.below(data.len() - k - SLACK);
            if i % mr < rows { data[place..].as_ptr() } else { data.as_ptr() }
        })
        .collect()
}

/// Planes of what pointers lead to as a row wants them, by every row that splits, and pointers to those of each of `mr` rows.
fn planes(x: &[*const u16], row: &QGemm16, rows: usize, taps: usize, k: usize) -> (Vec<u8>, Vec<*const u16>) {
    let (mr, size) = (row.mr, row.depth(taps, k).1);
    if row.planes == 0 {
        return (Vec::new(), Vec::new());
    }
    let apart = gemm::apart(size);
    let mut out = vec![0u8; mr * apart + 64];
    let skip = out.as_ptr().align_offset(64);
    let mut expected = vec![0xa5u8; mr * apart];
    for r in 0..rows {
        let planes = &mut expected[r * apart..][..2 * size];
        planes.fill(0);
        for i in 0..taps * k {
            // SAFETY: the pointer leads to k elements.
            let x = unsafe { *x[i / k * mr + r].add(i % k) };
            (planes[i], planes[size + i]) = ((x >> 8) as u8, x as u8);
        }
    }
    for kernel in runnable(gemm::SPLIT) {
        out.fill(0xa5);
        for r in 0..rows {
            let runs: Vec<Run> = (0..taps).map(|tap| Run { x: x[tap * mr + r], n: k }).collect();
            let planes = out[skip + r * apart..].as_mut_ptr();
            // SAFETY: this CPU has the features, and the buffers are as the contract says.
            unsafe { (kernel.run)(&SplitArgs { runs: runs.as_ptr(), count: taps, plane: size, planes }) };
        }
        for (r, (expected, found)) in expected.chunks(apart).zip(out[skip..].chunks(apart)).enumerate() {
            assert!(expected == found, "{} row {r} of {rows}, {taps} taps of {k}", kernel.name);
        }
    }
    let pointers = (0..mr).map(|r| out[skip + r * apart..].as_ptr().cast()).collect();
    (out, pointers)
}

#[test]
fn integers() {
    for row in runnable(gemm::Q8) {
        let random = &mut Random(1);
        for (rows, cols, taps, k) in sampled(shapes(random, row.mr, row.nr)) {
            let data = random.bytes(3 * k + SLACK + 64);
            let x = inputs(random, &data, row.mr, rows, taps, k);
            let plain = random.weights(cols * taps * k);
            let weight = |channel: usize, tap: usize, k_: usize| plain[(channel * taps + tap) * k + k_];
            let mut w = vec![1; row.packed(cols, taps, k)];
            row.pack(&plain, cols, taps, k, &mut w);
            let mut bias = random.bias(cols);
            bias.resize(row.nr, 0);
            let offsets = random.offsets(cols, row.nr);
            let (offset, of) = offset_of(&offsets);
            let mut sums = vec![7; row.mr.next_multiple_of(4)];
            for kernel in runnable(gemm::SUMS) {
                let (x, apart) = (x.as_ptr(), row.mr);
                // SAFETY: as below.
                unsafe { (kernel.run)(&SumsArgs { rows, x, taps, apart, k, sums: sums.as_mut_ptr() }) };
                for (r, sum) in sums.iter().enumerate().take(rows) {
                    // SAFETY: the pointers lead to k elements.
                    let of = |tap: usize, i: usize| unsafe { i64::from(*x.add(tap * apart).add(r).read().add(i)) };
                    let expected: i64 =
                        (0..taps).flat_map(|tap| (0..k).map(move |i| (tap, i))).map(|(t, i)| of(t, i)).sum();
                    assert_eq!(expected as i32, *sum, "{} {rows} rows, {taps} taps of {k}", kernel.name);
                }
            }
            let case = Case::random(random, rows, cols, row.nr);
            let y_stride = cols * case.size() + random.below(7);
            let mut y = vec![0xa5u8; rows * y_stride + 64];
            let args = QArgs {
                rows,
                cols,
                x: x.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset,
                sums: sums.as_ptr(),
                y: y.as_mut_ptr(),
                y_stride,
                epilogue: case.epilogue,
            };
            // SAFETY: this CPU has the features, and the buffers are as the contract says.
            unsafe { (row.run)(&args) };
            let mut expected = vec![0xa5u8; y.len()];
            for r in 0..rows {
                for (channel, &bias) in bias.iter().enumerate().take(cols) {
                    let mut acc = i64::from(bias);
                    for tap in 0..taps {
                        for i in 0..k {
                            // SAFETY: the pointer leads to k elements.
                            let x = unsafe { *x[tap * row.mr + r].add(i) };
                            acc += i64::from(x) * (i64::from(weight(channel, tap, i)) + of(channel));
                        }
                    }
                    let bytes = case.expected(acc as i32, r, channel);
                    let at = r * y_stride + channel * case.size();
                    expected[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(expected, y, "{} {rows}x{cols}, {taps} taps of {k}, {:?}", row.name, case.epilogue);
        }
    }
}

#[test]
fn words() {
    words_of(false);
}

/// Sums that 32 bits hold, and kernels that may rely on it.
#[test]
fn narrow_words() {
    words_of(true);
}

fn words_of(narrow: bool) {
    for row in runnable(gemm::Q16) {
        let random = &mut Random(2);
        let mut shapes = shapes(random, row.mr, row.nr);
        match narrow {
            true => shapes.retain(|(.., taps, k)| taps * k <= 120),
            // Deep enough for 32-bit sums of bytes to overflow.
            false => shapes.extend([(2, 3, 1, 70_000), (1, 2, 3, 30_001), (3, 17, 300, 513)]),
        }
        for (rows, cols, taps, k) in sampled(shapes) {
            let data = random.words(3 * k + SLACK + 64);
            let x = inputs(random, &data, row.mr, rows, taps, k);
            let plain = random.weights(cols * taps * k);
            let weight = |channel: usize, tap: usize, k_: usize| plain[(channel * taps + tap) * k + k_];
            let mut w = vec![1; row.packed(cols, taps, k)];
            row.pack(&plain, cols, taps, k, &mut w);
            let bias: Vec<i64> =
                (0..row.nr).map(|_| if narrow { random.int(-(1 << 30), 1 << 30) } else { random.wide() }).collect();
            let case = Case16::of(random, row.nr, narrow);
            let size = case.size();
            let y_stride = cols * size + random.below(7);
            let mut y = vec![0xa5u8; rows * y_stride + 64];
            let (_planes, of_planes) = planes(&x, row, rows, taps, k);
            let (seen, depth) = row.depth(taps, k);
            let args = Q16Args {
                rows,
                cols,
                x: if row.planes > 0 { of_planes.as_ptr() } else { x.as_ptr() },
                taps: seen,
                k: depth,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride,
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let mut expected = vec![0xa5u8; y.len()];
            for r in 0..rows {
                for (channel, &bias) in bias.iter().enumerate().take(cols) {
                    let mut acc = i128::from(bias);
                    for tap in 0..taps {
                        for i in 0..k {
                            // SAFETY: the pointer leads to k elements.
                            let x = unsafe { *x[tap * row.mr + r].add(i) };
                            acc += i128::from(x) * i128::from(weight(channel, tap, i));
                        }
                    }
                    let acc = acc as i64;
                    let at = r * y_stride + channel * size;
                    expected[at..at + size].copy_from_slice(&case.expected(acc, channel));
                }
            }
            assert_eq!(expected, y, "{} {rows}x{cols}, {taps} taps of {k}", row.name);
        }
    }
}

#[test]
fn floats() {
    for row in runnable(gemm::F32) {
        let random = &mut Random(3);
        for (rows, cols, taps, k) in sampled(shapes(random, row.mr, row.nr)) {
            let odd = random.chance(6);
            let mut some = |n: usize| if odd { random.floats(n) } else { random.plains(n) };
            let data = some(3 * k + SLACK + 64);
            let plain = some(cols * taps * k);
            let mut bias = some(cols);
            bias.resize(row.nr, 0.0);
            let x = inputs(random, &data, row.mr, rows, taps, k);
            let weight = |channel: usize, tap: usize, k_: usize| plain[(channel * taps + tap) * k + k_];
            let mut w = vec![1.0; row.packed(cols, taps, k)];
            row.pack(&plain, cols, taps, k, &mut w);
            let case = FloatCase::random(random, rows, cols, odd);
            let y_stride = cols + random.below(7);
            let mut y = vec![-7.25f32; rows * y_stride + 16];
            let args = FArgs {
                rows,
                cols,
                x: x.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: y_stride * 4,
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let mut expected = vec![-7.25f32; y.len()];
            for r in 0..rows {
                for (channel, start) in bias.iter().enumerate().take(cols) {
                    let mut acc = *start;
                    for tap in 0..taps {
                        for i in 0..k {
                            // SAFETY: the pointer leads to k elements.
                            acc = fma(unsafe { *x[tap * row.mr + r].add(i) }, weight(channel, tap, i), acc);
                        }
                    }
                    expected[r * y_stride + channel] = case.expected(acc, r, channel);
                }
            }
            same(row.name, &expected, &y, |_| format!("{rows}x{cols}, {taps} taps of {k}, {:?}", case.epilogue));
        }
    }
}

/// All sums of bytes as large as they can be, deeper than 32 bits hold.
#[test]
fn words_at_their_largest() {
    for row in runnable(gemm::Q16) {
        for (k, x_value, weight) in
            [(70_000, 65535, -128), (70_000, 65535, 127), (65_536, 0xff00, -128), (65_540, 255, -128)]
        {
            let data = vec![x_value; k + SLACK];
            let x = vec![data.as_ptr(); row.mr];
            let mut w = vec![0; row.packed(row.nr, 1, k)];
            row.pack(&vec![weight; row.nr * k], row.nr, 1, k, &mut w);
            let bias = vec![-3i64; row.nr];
            let mut y = vec![0i64; row.mr * row.nr];
            let (_planes, of_planes) = planes(&x, row, row.mr, 1, k);
            let (taps, depth) = row.depth(1, k);
            let args = Q16Args {
                rows: row.mr,
                cols: row.nr,
                x: if row.planes > 0 { of_planes.as_ptr() } else { x.as_ptr() },
                taps,
                k: depth,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr().cast(),
                y_stride: row.nr * 8,
                epilogue: Epilogue16::Accumulator,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let expected = i64::from(x_value) * i64::from(weight) * k as i64 - 3;
            assert!(y.iter().all(|&acc| acc == expected), "{} {k} of {x_value} by {weight}", row.name);
        }
    }
}

/// A row with sums of 64 bits.
type Wide<X, W> = gemm::Gemm<Args<X, W, i64, u8, Epilogue16>>;

/// Requantizes wide accumulators, biases of products with zero, by every row of a table.
fn requantized<X, W: Copy + Default>(table: &'static [Wide<X, W>]) {
    for row in runnable(table) {
        let random = &mut Random(22);
        for _ in sampled(0..2000) {
            let (rows, cols) = (1 + random.below(row.mr), 1 + random.below(row.nr));
            // Zeros, also where they are planes of bytes.
            let zeros = vec![0u8; row.mr * gemm::apart(64) + 2 * SLACK];
            let first = zeros.as_ptr().wrapping_add(zeros.as_ptr().align_offset(64));
            let pointers: Vec<*const X> = (0..row.mr).map(|r| first.wrapping_add(r * gemm::apart(64)).cast()).collect();
            let (taps, k) = row.depth(1, 1);
            let w = vec![W::default(); row.packed(cols, 1, 1)];
            let bias: Vec<i64> = (0..row.nr).map(|_| random.wide()).collect();
            let case = Case16::random(random, row.nr);
            let mut y = vec![0xa5u8; rows * cols * case.size() + 64];
            let args = Args {
                rows,
                cols,
                x: pointers.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: cols * case.size(),
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let line: Vec<u8> = (0..cols).flat_map(|c| case.expected(bias[c], c)).collect();
            let mut expected = line.repeat(rows);
            expected.resize(y.len(), 0xa5);
            assert_eq!(expected, y, "{} {rows}x{cols} {bias:?} {case:?}", row.name);
        }
    }
}

#[test]
fn wide_accumulators() {
    requantized(gemm::Q16);
    requantized(gemm::Q16_W16);
    requantized(gemm::Q8_W16);
}

/// A row with words as weights.
type Words<X> = gemm::Gemm<Args<X, i16, i64, u8, Epilogue16>>;

/// Words as weights, by activations of either width.
fn weights_of_words<X: Copy + Into<i64>>(table: &'static [Words<X>], data: impl Fn(&mut Random, usize) -> Vec<X>) {
    for row in runnable(table) {
        let random = &mut Random(4);
        for (rows, cols, taps, k) in sampled(shapes(random, row.mr, row.nr)) {
            let data = data(random, 3 * k + SLACK + 64);
            let plain: Vec<i16> = (0..cols * taps * k)
                .map(|_| if random.chance(3) { random.pick(&[-32768, 32767]) } else { random.next() as i16 })
                .collect();
            let bias: Vec<i64> = (0..row.nr).map(|_| random.wide()).collect();
            let x = inputs(random, &data, row.mr, rows, taps, k);
            let weight = |channel: usize, tap: usize, i: usize| plain[(channel * taps + tap) * k + i];
            let mut w = vec![1i16; row.packed(cols, taps, k)];
            row.pack(&plain, cols, taps, k, &mut w);
            let case = Case16::random(random, row.nr);
            let size = case.size();
            let mut y = vec![0xa5u8; rows * cols * size + 64];
            let args = Args {
                rows,
                cols,
                x: x.as_ptr(),
                taps,
                k,
                w: w.as_ptr(),
                bias: bias.as_ptr(),
                offset: std::ptr::null(),
                sums: std::ptr::null(),
                y: y.as_mut_ptr(),
                y_stride: cols * size,
                epilogue: case.epilogue,
            };
            // SAFETY: as above.
            unsafe { (row.run)(&args) };
            let mut expected = vec![0xa5u8; y.len()];
            for r in 0..rows {
                for (channel, start) in bias.iter().enumerate().take(cols) {
                    let mut acc = *start;
                    for tap in 0..taps {
                        for i in 0..k {
                            // SAFETY: the pointer leads to k elements.
                            let x: i64 = unsafe { *x[tap * row.mr + r].add(i) }.into();
                            acc = acc.wrapping_add(x * i64::from(weight(channel, tap, i)));
                        }
                    }
                    let bytes = case.expected(acc, channel);
                    let at = (r * cols + channel) * size;
                    expected[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(expected, y, "{} {rows}x{cols}, {taps} taps of {k}", row.name);
        }
    }
}

#[test]
fn words_by_words() {
    weights_of_words(gemm::Q16_W16, |random, n| random.words(n));
}

#[test]
fn bytes_by_words() {
    weights_of_words(gemm::Q8_W16, |random, n| random.bytes(n));
}
