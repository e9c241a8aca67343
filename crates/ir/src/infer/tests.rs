//! Shapes by hand.

use super::*;
use crate::op::{Conv, MatMul, Pool};
use crate::{DType, Quant};

fn shape(text: &str) -> Shape {
    let dim = |d: &str| d.parse().map_or_else(|_| Dim::Symbol(d.into()), Dim::Known);
    Shape(text.split(',').filter(|d| !d.is_empty()).map(dim).collect())
}

fn of(op: Op, inputs: &[&str]) -> String {
    let types: Vec<Type> = inputs.iter().map(|s| Type::f32(shape(s))).collect();
    let types: Vec<Option<&Type>> = types.iter().map(Some).collect();
    match infer(&op, &types, &[], &Customs::default()) {
        Ok(t) => t.iter().map(|t| t.shape.to_string()).collect::<Vec<_>>().join(" "),
        Err(e) => e.message().to_string(),
    }
}

fn conv(stride: usize, pad: usize, dilation: usize, group: usize) -> Op {
    Op::Conv(Conv { strides: vec![stride; 2], pads: vec![pad; 4], dilations: vec![dilation; 2], group })
}

#[test]
fn batches_stay_symbols() {
    assert_eq!(of(conv(2, 3, 1, 1), &["N,3,224,224", "64,3,7,7"]), "Nx64x112x112");
    assert_eq!(of(Op::Reshape { dims: vec![0, -1] }, &["N,256,6,6"]), "Nx9216");
    assert_eq!(of(Op::Reshape { dims: vec![-1, 9216] }, &["N,256,6,6"]), "Nx9216");
    assert_eq!(of(Op::Reshape { dims: vec![0, 0, 8, -1] }, &["N,S,256"]), "NxSx8x32");
    assert_eq!(of(Op::Reshape { dims: vec![-1, 256] }, &["N,S,256"]), "N*Sx256");
    assert_eq!(of(Op::Flatten { axis: 1 }, &["N,256,6,6"]), "Nx9216");
    assert_eq!(of(Op::Concat { axis: 1 }, &["N,3", "N,4"]), "Nx7");
    assert_eq!(of(Op::Concat { axis: 0 }, &["N,3", "1,3"]), "N+1x3");
    assert_eq!(of(Op::MatMul(MatMul::default()), &["N,8,S,32", "N,8,32,S"]), "Nx8xSxS");
    assert_eq!(of(Op::MatMul(MatMul { trans_b: true }), &["N,32", "10,32"]), "Nx10");
    assert_eq!(of(Op::Binary(crate::op::Binary::Add), &["N,1,S", "12,1"]), "Nx12xS");
}

#[test]
fn open_sizes_are_formulas() {
    assert_eq!(of(conv(1, 1, 1, 1), &["1,3,H,W", "8,3,3,3"]), "1x8xHxW");
    assert_eq!(of(conv(1, 0, 1, 1), &["1,3,H,W", "8,3,3,3"]), "1x8xH-2xW-2");
    assert_eq!(of(conv(2, 1, 1, 1), &["1,3,H,5", "8,3,3,3"]), "1x8x(H-1)/2+1x3");
}

#[test]
fn windows() {
    let pool = |ceil_mode, kernel, stride, pad| {
        Op::MaxPool(Pool {
            kernel: vec![kernel],
            strides: vec![stride],
            pads: vec![pad; 2],
            dilations: vec![1],
            ceil_mode,
            count_include_pad: false,
        })
    };
    assert_eq!(of(pool(false, 3, 2, 0), &["1,1,6"]), "1x1x2");
    assert_eq!(of(pool(true, 3, 2, 0), &["1,1,6"]), "1x1x3");
    // The third window would start in the padding after the input: it does not count.
    assert_eq!(of(pool(true, 2, 2, 1), &["1,1,3"]), "1x1x2");
    assert_eq!(of(conv(1, 0, 2, 2), &["1,4,5,5", "6,2,3,3"]), "1x6x1x1");
}

#[test]
fn bad_attributes_are_refused() {
    assert!(of(conv(0, 0, 1, 1), &["1,3,4,4", "8,3,3,3"]).contains("at least 1"));
    assert!(of(conv(1, 0, 1, 1), &["1,4,4,4", "8,3,3,3"]).contains("input channels"));
    assert!(of(conv(1, 0, 1, 3), &["1,3,4,4", "8,1,3,3"]).contains("groups"));
    assert!(of(conv(1, 0, 1, 1), &["1,3,2,2", "8,3,3,3"]).contains("at least 3"));
    assert!(of(conv(1, usize::MAX, 1, 1), &["1,3,2,2", "8,3,3,3"]).contains("overflow"));
    assert!(of(Op::Reshape { dims: vec![5] }, &["2,3"]).contains("reshape"));
    assert!(of(Op::Reshape { dims: vec![-1, -1] }, &["2,3"]).contains("reshape"));
    assert!(of(Op::Softmax { axis: 2 }, &["2,3"]).contains("axis"));
    assert!(of(Op::Expand { dims: vec![usize::MAX, 3] }, &["1,3"]).contains("counted"));
    let sliced = crate::op::SliceAxis { axis: 0, start: i64::MIN, end: i64::MAX, step: i64::MIN };
    assert_eq!(of(Op::Slice(vec![sliced]), &["4"]), "0");
    assert!(of(Op::Slice(vec![crate::op::SliceAxis { step: 0, ..sliced }]), &["4"]).contains("step"));
}

#[test]
fn windows_that_see_padding_alone_are_refused() {
    let mut found = [0; 3];
    let cases = (0..4 * 3 * 5 * 5 * 6 * 7 * 2).map(|i: usize| {
        let digit = |place: usize, base: usize| i / place % base;
        (digit(1, 4) + 1, digit(4, 3) + 1, digit(12, 5), digit(60, 5), digit(300, 6) + 1, digit(1800, 7), i >= 12600)
    });
    for (kernel, stride, begin, end, dilation, size, ceil_mode) in cases {
        let pool = Op::MaxPool(Pool {
            kernel: vec![kernel],
            strides: vec![stride],
            pads: vec![begin, end],
            dilations: vec![dilation],
            ceil_mode,
            count_include_pad: false,
        });
        let text = format!("1,1,{size}");
        let result = of(pool, &[&text]);
        let sees = |position: usize| {
            let at = |tap: usize| (position * stride + tap * dilation).checked_sub(begin).filter(|at| *at < size);
            (0..kernel).any(|tap| at(tap).is_some())
        };
        if let Some(count) = result.strip_prefix("1x1x").map(|n| n.parse::<usize>().unwrap()) {
            assert!((0..count).all(sees), "{kernel} {stride} {begin} {end} {dilation} {size} {ceil_mode}");
            found[0] += 1;
        } else if let Some(rest) = result.strip_prefix("the window at position ") {
            let position = rest.split(' ').next().unwrap().parse().unwrap();
            assert!(!sees(position), "{result}: {kernel} {stride} {begin} {end} {dilation} {size} {ceil_mode}");
            found[1] += 1;
        } else {
            assert!(result.contains("narrower than the window") || result.contains("at least"), "{result}");
            found[2] += 1;
        }
    }
    assert!(found.iter().all(|n| *n > 1000), "{found:?}");
    // A window that nobody can walk through is refused, not walked.
    let far = usize::MAX / 8;
    let pool = Pool {
        kernel: vec![2],
        strides: vec![1],
        pads: vec![far, far],
        dilations: vec![far],
        ceil_mode: false,
        count_include_pad: false,
    };
    assert!(of(Op::MaxPool(pool), &["1,1,3"]).contains("positions in the padding"));
}

#[test]
fn accumulators() {
    let x = Type::quantized(DType::U8, shape("N,3,4,4"), Quant::per_tensor(0.5, 3, 0, 255));
    let w = Type::quantized(DType::I8, shape("2,3,1,1"), Quant::per_channel(vec![0.25, 2.0], 0, -127, 127));
    let of = |declared: &[Type]| infer(&conv(1, 0, 1, 1), &[Some(&x), Some(&w), None], declared, &Customs::default());
    assert_eq!(of(&[]).unwrap()[0].to_string(), "i32[Nx2x4x4]{{0.125, 1.0}[axis 1] * q in -2147483648..2147483647}");
    let mut narrow = of(&[]).unwrap()[0].clone();
    narrow.quant.as_mut().unwrap().qmax = 8388607;
    assert_eq!(of(std::slice::from_ref(&narrow)).unwrap()[0], narrow);
    let float = Type::f32(shape("2,3,1,1"));
    assert!(infer(&conv(1, 0, 1, 1), &[Some(&x), Some(&float)], &[], &Customs::default()).is_err());
}

#[test]
fn channel_axes_travel() {
    let x = Type::quantized(DType::I8, shape("6,4,1"), Quant::per_channel(vec![1.0; 4], 1, -127, 127));
    let of =
        |op: Op| infer(&op, &[Some(&x)], &[], &Customs::default()).map(|t| t[0].quant.clone().unwrap().granularity);
    let channel = |axis| crate::Granularity::Channel { axis };
    assert_eq!(of(Op::Transpose { perm: vec![1, 2, 0] }).unwrap(), channel(0));
    assert_eq!(of(Op::Reshape { dims: vec![2, 3, 4] }).unwrap(), channel(2));
    assert_eq!(of(Op::Unsqueeze { axes: vec![0] }).unwrap(), channel(2));
    assert!(of(Op::Reshape { dims: vec![24] }).is_err());
}

#[test]
fn binding_is_consistent_and_names_inputs() {
    let mut g = Graph::new("g");
    let a = g.add_input("left", Type::f32(shape("N,3")));
    let b = g.add_input("right", Type::f32(shape("N,3")));
    let y = apply(&mut g, "sum", Op::Binary(crate::op::Binary::Add), &[Some(a), Some(b)]).unwrap();
    g.outputs.push(y);
    let bound = bind(&g, &[("left", vec![5, 3])]).unwrap();
    assert_eq!(bound.ty(b).shape.to_string(), "5x3");
    assert_eq!(bound.ty(y).shape.to_string(), "5x3");
    let again = bind(&bound, &[("left", vec![2, 3]), ("right", vec![2, 3])]).unwrap();
    assert_eq!(again.ty(y).shape.to_string(), "2x3");
    assert!(bind(&g, &[("lefd", vec![5, 3])]).unwrap_err().to_string().contains("did you mean 'left'"));
    assert!(bind(&g, &[("left", vec![5, 4])]).is_err());
    assert!(bind(&g, &[("left", vec![5, 3]), ("right", vec![6, 3])]).unwrap_err().to_string().contains("N is 5"));
}
