//! Transposed convolutions, which are read as plain ones, against the sum that defines them: every element of the input
//! adds its products to the results under its window.

mod common;

use common::*;
use lowbit_ir::{DType, Op, Quant, Tensor, Type};

/// One axis: kernel, stride, dilation, padding before and after, what is added behind.
#[derive(Debug, Clone, Copy)]
struct Axis(usize, usize, usize, usize, usize, usize);

/// By definition, in f64: [n, in, h, w] and [in, out / group, kh, kw].
fn scattered(
    x: &[f32],
    [n, inputs, h, w]: [usize; 4],
    k: &[f32],
    out: usize,
    group: usize,
    axes: [Axis; 2],
) -> Vec<f32> {
    let size = |Axis(k, s, d, b, e, more): Axis, n: usize| s * (n - 1) + d * (k - 1) + 1 + more - b - e;
    let (oh, ow) = (size(axes[0], h), size(axes[1], w));
    let mut y = vec![0f64; n * out * oh * ow];
    let (kh, kw, per_group) = (axes[0].0, axes[1].0, out / group);
    for (i, value) in x.iter().enumerate() {
        let (b, c, row, column) = (i / (inputs * h * w), i / (h * w) % inputs, i / w % h, i % w);
        for o in 0..per_group {
            for ky in 0..kh {
                for kx in 0..kw {
                    let at = |Axis(_, s, d, begin, ..): Axis, i: usize, k: usize| (i * s + k * d).checked_sub(begin);
                    let (Some(r), Some(q)) = (at(axes[0], row, ky), at(axes[1], column, kx)) else { continue };
                    if r < oh && q < ow {
                        let channel = c / (inputs / group) * per_group + o;
                        let tap = k[((c * per_group + o) * kh + ky) * kw + kx];
                        y[((b * out + channel) * oh + r) * ow + q] += f64::from(*value) * f64::from(tap);
                    }
                }
            }
        }
    }
    y.into_iter().map(|y| y as f32).collect()
}

/// Numbers of few bits, so that sums are exact in any order.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let hash = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (0..count as u64).map(|i| ((hash(i) >> 40) % 15) as f32 - 7.0).collect()
}

fn attributes(axes: [Axis; 2], group: usize) -> Vec<lowbit_frontend::onnx::proto::AttributeProto> {
    let of = |f: fn(Axis) -> usize| axes.map(|a| f(a) as i64);
    let pads = [axes[0].3, axes[1].3, axes[0].4, axes[1].4].map(|p| p as i64);
    vec![
        ints("strides", &of(|a| a.1)),
        ints("dilations", &of(|a| a.2)),
        ints("pads", &pads),
        ints("output_padding", &of(|a| a.5)),
        int("group", group as i64),
    ]
}

#[test]
fn every_window_gives_the_sums_that_define_it() {
    let mut seed = 0;
    for kernel in [1, 2, 3, 4, 5] {
        for stride in [1, 2, 3] {
            for dilation in [1, 2] {
                for (begin, end, more) in [(0, 0, 0), (1, 1, 0), (0, 1, 1), (2, 0, 2)] {
                    let span = dilation * (kernel - 1) + 1;
                    if more >= stride.max(dilation) || begin + end >= span + stride {
                        continue;
                    }
                    let axes = [Axis(kernel, stride, dilation, begin, end, more), Axis(3, 2, 1, 1, 1, 1)];
                    for (inputs, out, group) in [(1, 1, 1), (4, 6, 2)] {
                        seed += 1;
                        let dims = [2, inputs, 4, 3];
                        let x = numbers(dims.iter().product(), seed);
                        let k = numbers(inputs * out / group * kernel * 3, seed + 1000);
                        let bias: Vec<f32> = numbers(out, seed + 2000);
                        let mut expected = scattered(&x, dims, &k, out, group, axes);
                        let plane = expected.len() / (2 * out);
                        expected.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i / plane % out]);
                        let weight = f32s(&[inputs, out / group, kernel, 3], &k);
                        let file = Model::new(13)
                            .input("x", DType::F32, &["N", &inputs.to_string(), "H", "3"])
                            .constant("w", &weight)
                            .constant("b", &f32s(&[out], &bias))
                            .node("ConvTranspose", "x w b", "y", attributes(axes, group))
                            .output("y");
                        let graph = file.import().unwrap_or_else(|e| panic!("{axes:?}: {e}"));
                        let y = run(&graph, &[f32s(&dims, &x)]);
                        assert_eq!(*y[0].f32s().unwrap(), *expected, "{axes:?} group {group}");
                        // One layer, under its own name, whatever is moved behind it.
                        let layers: Vec<&str> =
                            graph.nodes().filter(|(_, n)| n.op.is_layer()).map(|(_, n)| n.name.as_str()).collect();
                        assert_eq!(layers.len(), 1);
                    }
                }
            }
        }
    }
    assert!(seed > 100, "{seed}");
}

#[test]
fn computed_weights_are_put_in_order_while_running() {
    let axes = [Axis(3, 2, 1, 1, 1, 1); 2];
    let (x, k) = (numbers(2 * 9, 1), numbers(2 * 2 * 9, 2));
    let file = Model::new(13)
        .input("x", DType::F32, &["1", "2", "3", "3"])
        .input("w", DType::F32, &["2", "2", "3", "3"])
        .node("ConvTranspose", "x w", "y", attributes(axes, 1))
        .output("y");
    let y = run(&file.import().unwrap(), &[f32s(&[1, 2, 3, 3], &x), f32s(&[2, 2, 3, 3], &k)]);
    assert_eq!(*y[0].f32s().unwrap(), *scattered(&x, [1, 2, 3, 3], &k, 2, 1, axes));
}

#[test]
fn sizes_that_are_wanted_say_the_padding() {
    let shape = |attributes: Vec<_>| {
        let file = Model::new(13)
            .input("x", DType::F32, &["1", "1", "3", "3"])
            .constant("w", &f32s(&[1, 2, 3, 3], &[1.0; 18]))
            .node("ConvTranspose", "x w", "y", attributes)
            .output("y");
        run(&file.import().unwrap(), &[f32s(&[1, 1, 3, 3], &[1.0; 9])])[0].dims().to_vec()
    };
    let strides = || ints("strides", &[3, 2]);
    assert_eq!(shape(vec![strides(), ints("output_shape", &[10, 8]), ints("output_padding", &[1, 1])]), [1, 2, 10, 8]);
    assert_eq!(shape(vec![strides(), ints("output_shape", &[1, 2, 10, 8])]), [1, 2, 10, 8]);
    assert_eq!(shape(vec![ints("strides", &[2, 2]), text("auto_pad", "SAME_UPPER")]), [1, 2, 6, 6]);
    assert_eq!(shape(vec![ints("strides", &[4, 4]), text("auto_pad", "SAME_LOWER")]), [1, 2, 12, 12]);
    assert_eq!(shape(vec![ints("strides", &[2, 2]), ints("pads", &[1, 2, 1, 2])]), [1, 2, 5, 3]);
}

/// What a quantizer wrote stays: the same integers, in another order, with the same scales.
#[test]
fn integers_of_weights_stay_integers() {
    let axes = [Axis(2, 2, 1, 0, 0, 0); 2];
    let integers: Vec<i64> = numbers(4 * 3 * 4, 3).iter().map(|x| *x as i64).collect();
    let scales = [0.5, 0.25, 2.0];
    let real: Vec<f32> = integers.iter().enumerate().map(|(i, q)| *q as f32 * scales[i / 4 % 3]).collect();
    let x = numbers(4 * 4, 4);
    let file = Model::new(13)
        .input("x", DType::F32, &["1", "4", "2", "2"])
        .constant("q", &common::integers(DType::I8, &[4, 3, 2, 2], &integers))
        .constant("s", &f32s(&[3], &scales))
        .node("DequantizeLinear", "q s", "w", vec![int("axis", 1)])
        .node("ConvTranspose", "x w", "y", attributes(axes, 1))
        .output("y");
    let graph = file.import().unwrap();
    let y = run(&graph, &[f32s(&[1, 4, 2, 2], &x)]);
    assert_eq!(*y[0].f32s().unwrap(), *scattered(&x, [1, 4, 2, 2], &real, 3, 1, axes));
    let conv = graph.nodes().find(|(_, n)| matches!(n.op, Op::Conv(_))).unwrap().1;
    let weight = graph.node(graph.producer(conv.input(1).unwrap()).unwrap());
    assert_eq!(weight.op, Op::Dequantize);
    let kept: &Tensor = graph.constant(weight.input(0).unwrap()).unwrap();
    let quant: &Quant = kept.ty().quant.as_ref().unwrap();
    assert_eq!((kept.dims(), kept.dtype()), (&[12, 4, 1, 1][..], DType::I8));
    assert_eq!(*quant.scale, [0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 2.0, 2.0, 2.0, 2.0]);
    let mut sorted = (kept.ints().unwrap(), integers);
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
    let _: &Type = kept.ty();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let error = |weight: &[usize], attributes: Vec<_>| {
        let file = Model::new(13)
            .input("x", DType::F32, &["1", "2", "3", "3"])
            .constant("w", &f32s(weight, &vec![1.0; weight.iter().product()]))
            .node("ConvTranspose", "x w", "y", attributes)
            .output("y");
        file.import().unwrap_err().to_string()
    };
    let usual = [2, 1, 3, 3];
    for (weight, attribute, says) in [
        (&usual[..], ints("strides", &[0, 1]), "positive"),
        (&usual, ints("strides", &[i64::MAX, 1]), "small size"),
        (&usual, ints("strides", &[1 << 19, 1 << 19]), "strides"),
        (&usual, ints("dilations", &[1 << 19, 1 << 19]), "too large"),
        (&usual, int("group", 3), "groups"),
        (&usual, int("group", -1), "positive group"),
        (&usual, ints("pads", &[9, 9, 9, 9]), ""),
        (&usual, ints("output_shape", &[i64::MIN, 1]), "output_shape"),
        (&usual, ints("kernel_shape", &[2, 3]), "kernel_shape"),
        (&[2, 1, 3][..], ints("strides", &[1]), "dimensions"),
    ] {
        let found = error(weight, vec![attribute]);
        assert!(found.contains(says), "expected '{says}' in: {found}");
    }
}
