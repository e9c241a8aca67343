//! Moving data.

use crate::common::{Random, runnable, sampled};
use lowbit_kernels::copy::{TRANSPOSE, fill, gather, runs};

#[test]
fn transposes() {
    for row in runnable(TRANSPOSE) {
        let random = &mut Random(11);
        for _ in sampled(0..600) {
            let size = random.pick(&[1, 2, 4, 8]);
            let rows = if random.chance(4) { 3 } else { random.below(70) };
            let cols = random.below(70);
            let beside = if random.chance(2) { 0 } else { random.below(9) };
            let (x_stride, y_stride) = (cols * size + random.below(9), rows * size + beside);
            let x = random.bytes(rows * x_stride);
            let mut y = vec![0x5a; cols * y_stride];
            // SAFETY: this CPU has the features, and the buffers are as the contract says.
            unsafe { (row.run)(size, rows, cols, x.as_ptr(), x_stride, y.as_mut_ptr(), y_stride) };
            let mut expected = vec![0x5a; cols * y_stride];
            for r in 0..rows {
                for c in 0..cols {
                    let (from, to) = (r * x_stride + c * size, c * y_stride + r * size);
                    expected[to..to + size].copy_from_slice(&x[from..from + size]);
                }
            }
            assert_eq!(expected, y, "{} {rows}x{cols} of {size} bytes", row.name);
        }
    }
}

#[test]
fn gathers() {
    let random = &mut Random(12);
    for _ in sampled(0..500) {
        let run = random.pick(&[0, 1, 2, 3, 4, 8, 12, 16, 31]);
        let x = random.bytes(500);
        let offsets: Vec<usize> = (0..random.below(40)).map(|_| random.below(500 - run)).collect();
        let mut y = vec![0x5a; offsets.len() * run + 9];
        // SAFETY: every run lies within x, and y has room for them.
        unsafe { gather(run, &offsets, x.as_ptr(), y.as_mut_ptr()) };
        let mut expected: Vec<u8> = offsets.iter().flat_map(|at| x[*at..at + run].to_vec()).collect();
        expected.extend([0x5a; 9]);
        assert_eq!(expected, y, "runs of {run} at {offsets:?}");
    }
}

#[test]
fn copies_runs() {
    let random = &mut Random(13);
    for _ in sampled(0..500) {
        let run = random.pick(&[0, 1, 2, 3, 4, 8, 12, 16, 31]);
        let count = random.below(40);
        let (x_stride, y_stride) = (random.below(40), run + random.below(9));
        let x = random.bytes(count * x_stride + run);
        let mut y = vec![0x5a; count * y_stride + run];
        let mut expected = y.clone();
        // SAFETY: every run lies within its buffer, and those of y lie apart.
        unsafe { runs(run, count, x.as_ptr(), x_stride, y.as_mut_ptr(), y_stride) };
        for i in 0..count {
            expected[i * y_stride..][..run].copy_from_slice(&x[i * x_stride..][..run]);
        }
        assert_eq!(expected, y, "{count} runs of {run} by {x_stride} and {y_stride}");
    }
}

#[test]
fn fills() {
    for size in [1, 2, 4, 8] {
        for n in 0..20 {
            let mut y = vec![0; (n + 1) * size];
            // SAFETY: the buffer has n elements and one more.
            unsafe { fill(size, n, 0x1122_3344_5566_7788, y.as_mut_ptr()) };
            let value = 0x1122_3344_5566_7788u64.to_le_bytes();
            let mut expected: Vec<u8> = (0..n).flat_map(|_| value[..size].to_vec()).collect();
            expected.resize(y.len(), 0);
            assert_eq!(expected, y);
        }
    }
}
