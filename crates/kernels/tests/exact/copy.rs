//! Moving data.

use crate::common::{Random, runnable};
use lowbit_kernels::copy::{GatherArgs, TRANSPOSE, fill, gather};

#[test]
fn transposes() {
    for row in runnable(TRANSPOSE) {
        let random = &mut Random(11);
        for _ in 0..600 {
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
    for _ in 0..500 {
        let rank = random.below(5);
        let run = random.pick(&[1, 2, 3, 4, 8, 12, 31]);
        let sizes: Vec<usize> = (0..rank).map(|_| random.below(5)).collect();
        let tables: Vec<Vec<isize>> =
            sizes.iter().map(|&n| (0..n).map(|_| random.int(-40, 40) as isize).collect()).collect();
        let axes: Vec<&[isize]> = tables.iter().map(Vec::as_slice).collect();
        let x = random.bytes(500);
        let total: usize = sizes.iter().product();
        let mut y = vec![0x5a; total * run + 9];
        // SAFETY: four axes reach 160 bytes to both sides of the middle.
        unsafe { gather(&GatherArgs { x: x.as_ptr(), y: y.as_mut_ptr(), base: 250, axes: &axes, run }) };
        let mut expected = vec![];
        for i in 0..total {
            let mut rest = i;
            let mut offset = 250;
            for (size, table) in sizes.iter().zip(&tables).rev() {
                offset += table[rest % size];
                rest /= size;
            }
            expected.extend_from_slice(&x[offset as usize..offset as usize + run]);
        }
        expected.extend([0x5a; 9]);
        assert_eq!(expected, y, "{sizes:?} runs of {run}");
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
