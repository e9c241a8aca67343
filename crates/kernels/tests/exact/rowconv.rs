//! Convolutions by padded rows.

use crate::common::{Aligned, Random, ScaleTable, offset_of, runnable, sampled, sum};
use lowbit_arithmetic::{Method, requantize};
use lowbit_kernels::SLACK;
use lowbit_kernels::requant::{Requant, Residual};
use lowbit_kernels::rowconv::{self, QArgs, QRow, Shape};

/// Shapes of every kind that some row suits, and some more for the reference.
fn shapes(random: &mut Random) -> Vec<Shape> {
    let mut shapes = vec![];
    for channels in (8..=128).step_by(8) {
        for stride in [1, 2] {
            shapes.push(Shape {
                kernel: [3, 3],
                strides: [stride; 2],
                channels,
                outputs: channels,
                depthwise: true,
                residual: false,
            });
        }
    }
    for (outputs, channels) in [(64, 64), (100, 128), (128, 64), (130, 256)] {
        let strides = [1; 2];
        shapes.push(Shape { kernel: [3, 3], strides, channels, outputs, depthwise: false, residual: outputs == 64 });
        // Of one tap, also with gaps between pixels and between lines.
        for strides in [[1, 1], [2, 1], [1, 2]] {
            shapes.push(Shape {
                kernel: [1, 1],
                strides,
                channels,
                outputs,
                depthwise: false,
                residual: outputs == 100,
            });
        }
    }
    for outputs in 1..=70 {
        for kernel in [[3, 3], [7, 7], [5, 5], [1, 3], [3, 1], [2, 2]] {
            let (strides, channels) = ([1 + random.below(3), 1 + random.below(3)], 1 + random.below(6));
            shapes.push(Shape { kernel, strides, channels, outputs, depthwise: false, residual: random.below(4) == 0 });
        }
        let strides = [2; 2];
        shapes.push(Shape { kernel: [3, 3], strides, channels: 3, outputs, depthwise: false, residual: false });
        // Pixels that are 16, 32 or 64 bytes apart.
        for (stride, channels) in [(1, 16), (2, 16), (1, 32), (2, 32), (2, 8), (1, 64)] {
            let kernel = [1 + random.below(3), 2 + random.below(2)];
            let (strides, residual) = ([1 + random.below(2), stride], random.below(2) == 0);
            shapes.push(Shape { kernel, strides, channels, outputs, depthwise: false, residual });
        }
    }
    shapes
}

#[test]
fn integers() {
    for row in runnable(rowconv::Q8) {
        let scalar = row.name.ends_with("scalar");
        let random = &mut Random(8);
        let mut suited = 0;
        for shape in sampled(shapes(random)) {
            if !scalar && !(row.suits)(&shape) {
                continue;
            }
            suited += 1;
            for pixels in [1, 2 + random.below(14), 16, 17 + random.below(100)] {
                let few = 1 + random.below(40 / pixels.min(20));
                let lines = random.pick(&[1, 1, 2, 3, few]);
                let method = random.pick(&[Method::Float32, Method::Fixed, Method::Shift]);
                check(row, random, shape, [lines, pixels], method);
            }
        }
        assert!(suited > 10, "{} suits {suited} shapes", row.name);
    }
}

fn check(row: &QRow, random: &mut Random, shape: Shape, [lines, pixels]: [usize; 2], method: Method) {
    let [kh, kw] = shape.kernel;
    let (k, taps, outputs) = (shape.k(), shape.taps(), shape.outputs);
    // Lines that follow each other at once, at the next whole register, and further apart.
    let row_bytes = shape.row_bytes(pixels);
    let gap =
        [row_bytes.next_multiple_of(shape.channels), row_bytes.next_multiple_of(64), row_bytes + random.below(99)];
    let line = random.pick(&gap);
    let input_lines = (lines - 1) * shape.strides[0] + kh;
    let x = Aligned::new(&random.bytes(input_lines * line + SLACK));
    // Some panels, or all.
    let panels = outputs.div_ceil(row.panel);
    let (from, to) = (random.below(panels), 1 + random.below(panels));
    let (first, last) = match from < to && random.chance(2) {
        true => (from * row.panel, outputs.min(to.saturating_mul(row.panel))),
        false => (0, outputs),
    };
    let mut scratch = Aligned::new(&vec![0xc3; (row.scratch)(&shape, lines, pixels)]);
    let plain = random.weights(outputs * taps * k);
    let mut w = vec![1; (row.packed)(&shape)];
    (row.pack)(&shape, &plain, &mut w);
    let all = lines * pixels;
    let padded = rowconv::padded(outputs);
    let mut bias = random.bias(outputs);
    bias.resize(padded, 0);
    let table = ScaleTable::random(random, method, outputs, padded);
    let (zero_point, lo, hi) = random.range(255);
    let rounding = random.rounding(method.default_rounding());
    let offsets = random.offsets(outputs, padded);
    let (offset, of) = offset_of(&offsets);
    let other = random.bytes(all * outputs + SLACK);
    let add = random.add_params(255);
    let residual = shape.residual.then_some(Residual { r: other.as_ptr(), r_stride: outputs, add });
    // Pixels of their own, or those of a value that channels of others are joined in.
    let alone = shape.depthwise || shape.residual || random.chance(2);
    // Compilers choose multiples of 8, of which the next one is the least room.
    let apart = if random.chance(2) { (outputs + 1).next_multiple_of(8) } else { outputs + 1 + random.below(70) };
    let y_stride = if alone { outputs } else { apart };
    let mut y = vec![0xa5u8; all * y_stride + 64];
    let args = QArgs {
        shape,
        lines,
        pixels,
        first,
        last,
        x: x.as_ptr(),
        line,
        w: w.as_ptr(),
        bias: bias.as_ptr(),
        offset,
        y: y.as_mut_ptr(),
        y_stride,
        requant: Requant { scales: table.scales(), rounding, zero_point, lo, hi },
        residual,
        scratch: scratch.as_mut_ptr(),
    };
    // SAFETY: this CPU has the features, the row suits the shape, and the buffers are as the contract says.
    unsafe { (row.run)(&args) };
    let mut expected = vec![0xa5u8; y.len()];
    for pixel in 0..all {
        for output in first..last {
            let mut acc = i64::from(bias[output]);
            for (tap, i) in (0..taps).flat_map(|tap| (0..k).map(move |i| (tap, i))) {
                let channel = if shape.depthwise { output } else { i };
                let from = (pixel / pixels * shape.strides[0] + tap / kw) * line;
                let column = pixel % pixels * shape.strides[1] + tap % kw;
                let x = x.bytes()[from + column * shape.channels + channel];
                acc += i64::from(x) * (i64::from(plain[(output * taps + tap) * k + i]) + of(output));
            }
            let acc = i64::from(acc as i32);
            let q = requantize(acc, table.rescales[output], rounding, zero_point, lo, hi, 0);
            let at = pixel * y_stride + output;
            expected[at] = if shape.residual { sum(q as i32, i32::from(other[at]), &add) as u8 } else { q as u8 };
        }
    }
    assert_eq!(
        expected, y,
        "{} {shape:?}, {lines} lines of {pixels} pixels, {first}..{last}, {method:?} {rounding}",
        row.name
    );
}
