//! Values by hand, family by family.

use super::*;
use crate::op::*;
use crate::{DType, Engine, Graph, Quant, Shape};
use lowbit_arithmetic::{Method, Rounding};

fn f32s(dims: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_f32(dims, data.to_vec()).unwrap()
}

fn ints(dtype: DType, dims: &[usize], data: &[i64]) -> Tensor {
    Tensor::from_ints(Type::plain(dtype, dims.to_vec()), data).unwrap()
}

fn quantized(dtype: DType, dims: &[usize], (scale, zero): (f32, i32), data: &[i64]) -> Tensor {
    let (lo, hi) = dtype.range().unwrap();
    ints(dtype, dims, data).with_quant(Some(Quant::per_tensor(scale, zero, lo, hi)))
}

fn try_all(op: &Op, inputs: &[&Tensor], outputs: &[Type]) -> Result<Vec<Tensor>> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    eval(op, &inputs, outputs, &Customs::default())
}

fn all(op: Op, inputs: &[&Tensor]) -> Tensor {
    try_all(&op, inputs, &[]).unwrap().remove(0)
}

fn reals(op: Op, inputs: &[&Tensor]) -> Vec<f32> {
    all(op, inputs).reals().unwrap().into_owned()
}

/// The operator with an output of this dtype, scale and zero point (full range).
fn as_type(op: Op, inputs: &[&Tensor], dtype: DType, (scale, zero): (f32, i32)) -> Result<Vec<i64>> {
    let (lo, hi) = dtype.range().unwrap();
    let declared = Type::quantized(dtype, Shape::default(), Quant::per_tensor(scale, zero, lo, hi));
    let types: Vec<Option<&Type>> = inputs.iter().map(|t| Some(t.ty())).collect();
    let types = infer(&op, &types, &[declared], &Customs::default())?;
    try_all(&op, inputs, &types)?.remove(0).ints()
}

fn conv(strides: &[usize], pads: &[usize], group: usize) -> Op {
    Op::Conv(Conv { strides: strides.to_vec(), pads: pads.to_vec(), dilations: vec![1; strides.len()], group })
}

fn pool(kernel: &[usize], strides: &[usize], pads: &[usize]) -> Pool {
    Pool {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        dilations: vec![1; kernel.len()],
        ceil_mode: false,
        count_include_pad: false,
    }
}

// ---- mac ----

#[test]
fn convolutions() {
    let x = f32s(&[1, 1, 3, 3], &[1., 2., 3., 4., 5., 6., 7., 8., 9.]);
    let w = f32s(&[1, 1, 2, 2], &[1., 0., 0., 1.]);
    assert_eq!(reals(conv(&[1, 1], &[0; 4], 1), &[&x, &w]), [6., 8., 12., 14.]);
    let bias = f32s(&[1], &[0.5]);
    assert_eq!(reals(conv(&[2, 2], &[1, 1, 0, 0], 1), &[&x, &w, &bias]), [1.5, 3.5, 7.5, 14.5]);
    let x = f32s(&[1, 2, 3], &[1., 2., 3., 10., 20., 30.]);
    let depthwise = f32s(&[2, 1, 2], &[1., 1., 1., -1.]);
    assert_eq!(reals(conv(&[1], &[0, 0], 2), &[&x, &depthwise]), [3., 5., -10., -10.]);
    let x = f32s(&[1, 1, 2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
    let w = f32s(&[2, 1, 2, 2, 2], &[1.; 16]);
    assert_eq!(reals(conv(&[1, 1, 1], &[0; 6], 1), &[&x, &w]), [36., 36.]);
}

#[test]
fn float_steps_are_fused_and_in_order() {
    // Only a fused multiply-add sees the low bits of the product; only the order (channel fastest) keeps the 1.
    let e = f32::EPSILON;
    let y = reals(
        Op::MatMul(MatMul::default()),
        &[&f32s(&[1, 1], &[1. + e]), &f32s(&[1, 1], &[1. - e]), &f32s(&[1], &[-1.])],
    );
    assert_eq!(y, [-e * e]);
    let x = f32s(&[1, 2, 2], &[1e8, 1., -1e8, 1.]);
    let w = f32s(&[1, 2, 2], &[1.; 4]);
    // k: (tap 0: 1e8, -1e8), (tap 1: 1, 1) = 2; tap fastest would lose both ones.
    assert_eq!(reals(conv(&[1], &[0, 0], 1), &[&x, &w]), [2.]);
}

#[test]
fn padded_taps_take_part_in_floats() {
    let w = f32s(&[1, 1, 3], &[f32::INFINITY, 1., 1.]);
    let y = reals(conv(&[1], &[1, 1], 1), &[&f32s(&[1, 1, 2], &[1., 1.]), &w]);
    assert!(y[0].is_nan(), "+0 times infinity");
    assert_eq!(y[1], f32::INFINITY);
}

#[test]
fn matrix_products() {
    let a = f32s(&[2, 2], &[1., 2., 3., 4.]);
    let b = f32s(&[2, 3], &[1., 0., 2., 0., 1., 3.]);
    assert_eq!(reals(Op::MatMul(MatMul::default()), &[&a, &b]), [1., 2., 8., 3., 4., 18.]);
    let turned = f32s(&[3, 2], &[1., 0., 0., 1., 2., 3.]);
    assert_eq!(reals(Op::MatMul(MatMul { trans_b: true }), &[&a, &turned]), [1., 2., 8., 3., 4., 18.]);
    let row = f32s(&[2], &[1., 2.]);
    assert_eq!(all(Op::MatMul(MatMul::default()), &[&row, &b]).dims(), [3]);
    assert_eq!(reals(Op::MatMul(MatMul::default()), &[&a, &row]), [5., 11.]);
    let batch = f32s(&[2, 1, 2], &[1., 1., 2., 2.]);
    let product = all(Op::MatMul(MatMul::default()), &[&batch, &b]);
    assert_eq!((product.dims(), &*product.f32s().unwrap()), (&[2, 1, 3][..], &[1., 1., 5., 2., 2., 10.][..]));
}

#[test]
fn integer_products_subtract_zero_points_and_refuse_overflow() {
    let x = quantized(DType::U8, &[1, 1, 3], (0.5, 10), &[10, 12, 7]);
    let w = quantized(DType::I8, &[1, 1, 2], (0.25, 1), &[3, -1]);
    let bias = quantized(DType::I32, &[1], (0.125, 0), &[100]);
    let y = all(conv(&[1], &[1, 0], 1), &[&x, &w, &bias]);
    // taps (w - 1) = 2, -2 over 0 | 0, 2, -3
    assert_eq!(y.ints().unwrap(), [100, 96, 110]);
    assert_eq!(y.ty().quant.as_ref().unwrap().scale[..], [0.125]);
    let mut narrow = y.ty().clone();
    (narrow.quant.as_mut().unwrap().qmin, narrow.quant.as_mut().unwrap().qmax) = (-105, 105);
    let op = conv(&[1], &[1, 0], 1);
    let error = try_all(&op, &[&x, &w, &bias], &[narrow]).unwrap_err();
    assert!(error.to_string().contains("element 2 is 110, outside the range -105..105"), "{error}");
    let wide = quantized(DType::I32, &[1, 2], (1., 0), &[i32::MAX as i64; 2]);
    let error = try_all(&Op::MatMul(MatMul { trans_b: true }), &[&wide, &wide], &[]).unwrap_err();
    assert!(error.to_string().contains("outside the range"), "{error}");
}

// ---- element by element ----

#[test]
fn single_elements() {
    let x = f32s(&[4], &[-2., -0.5, 0., 3.]);
    assert_eq!(reals(Op::Relu, &[&x]), [0., 0., 0., 3.]);
    assert_eq!(reals(Op::Clip { min: -1., max: 2. }, &[&x]), [-1., -0.5, 0., 2.]);
    assert_eq!(reals(Op::Unary(Unary::LeakyRelu { alpha: 0.5 }), &[&x]), [-1., -0.25, 0., 3.]);
    assert_eq!(reals(Op::Unary(Unary::Round), &[&x]), [-2., -0., 0., 3.]);
    assert_eq!(reals(Op::Unary(Unary::Floor), &[&x]), [-2., -1., 0., 3.]);
    assert_eq!(reals(Op::Unary(Unary::Reciprocal), &[&x])[1], -2.);
    let sigmoid = reals(Op::Unary(Unary::Sigmoid), &[&x]);
    assert_eq!(sigmoid[2], 0.5);
    assert!((sigmoid[3] - 0.952_574_1).abs() < 1e-6);
    assert_eq!(all(Op::Cast { to: DType::I8 }, &[&x]).ints().unwrap(), [-2, 0, 0, 3]);
    assert_eq!(all(Op::Cast { to: DType::Bool }, &[&x]).ints().unwrap(), [1, 1, 0, 1]);
    let wide = ints(DType::I32, &[2], &[-1, 257]);
    assert_eq!(all(Op::Cast { to: DType::U8 }, &[&wide]).ints().unwrap(), [255, 1]);
    assert_eq!(all(Op::Unary(Unary::Neg), &[&wide]).ints().unwrap(), [1, -257]);
}

#[test]
fn bits_and_remainders() {
    let pair = |f, dtype, a: i64, b: i64| {
        let (a, b) = (ints(dtype, &[1], &[a]), ints(dtype, &[1], &[b]));
        try_all(&Op::Binary(f), &[&a, &b], &[]).map(|t| t[0].ints().unwrap()[0])
    };
    let of = |f, dtype, a, b| pair(f, dtype, a, b).unwrap();
    assert_eq!([of(Binary::Mod, DType::I32, -7, 3), of(Binary::Mod, DType::I32, 7, -3)], [2, -2]);
    assert_eq!([of(Binary::Fmod, DType::I32, -7, 3), of(Binary::Fmod, DType::I32, 7, -3)], [-1, 1]);
    assert!(pair(Binary::Mod, DType::I32, 1, 0).is_err());
    assert!(pair(Binary::Fmod, DType::I64, i64::MIN, -1).is_err());
    assert_eq!(of(Binary::BitAnd, DType::I8, -4, 6), 4);
    assert_eq!(of(Binary::BitOr, DType::I8, -4, 1), -3);
    assert_eq!(of(Binary::BitXor, DType::U8, 0b1100, 0b1010), 0b0110);
    assert_eq!(of(Binary::ShiftLeft, DType::U8, 200, 1), 144);
    assert_eq!([of(Binary::ShiftLeft, DType::U8, 200, 8), of(Binary::ShiftLeft, DType::I8, 64, 1)], [0, -128]);
    assert_eq!([of(Binary::ShiftRight, DType::U8, 200, 3), of(Binary::ShiftRight, DType::I8, -1, 99)], [25, -1]);
    assert!(pair(Binary::ShiftRight, DType::I8, 1, -1).is_err());
    let one = |f, dtype, v| all(Op::Unary(f), &[&ints(dtype, &[1], &[v])]).ints().unwrap()[0];
    assert_eq!(
        [one(Unary::BitNot, DType::U8, 5), one(Unary::BitNot, DType::I8, 5), one(Unary::Sign, DType::I8, -9)],
        [250, -6, -1]
    );
    let float = |f, a, b| reals(Op::Binary(f), &[&f32s(&[1], &[a]), &f32s(&[1], &[b])])[0];
    assert_eq!([float(Binary::Mod, -7.5, 2.), float(Binary::Mod, 7.5, -2.)], [0.5, -0.5]);
    assert_eq!([float(Binary::Fmod, -7.5, 2.), float(Binary::Fmod, 7.5, f32::INFINITY)], [-1.5, 7.5]);
    assert!(float(Binary::Fmod, 1., 0.).is_nan());
    let words = Op::Binary(Binary::BitAnd);
    assert!(try_all(&words, &[&f32s(&[1], &[1.]), &f32s(&[1], &[1.])], &[]).is_err());
}

#[test]
fn pairs_broadcast() {
    let a = f32s(&[2, 1], &[1., 2.]);
    let b = f32s(&[3], &[10., 20., 30.]);
    assert_eq!(reals(Op::Binary(Binary::Add), &[&a, &b]), [11., 21., 31., 12., 22., 32.]);
    assert_eq!(reals(Op::Binary(Binary::PRelu), &[&f32s(&[2], &[-1., 4.]), &f32s(&[1], &[0.25])]), [-0.25, 4.]);
    assert_eq!(reals(Op::Binary(Binary::Pow), &[&a, &f32s(&[], &[2.])]), [1., 4.]);
    assert_eq!(all(Op::Binary(Binary::Less), &[&a, &f32s(&[], &[2.])]).ints().unwrap(), [1, 0]);
    let i = ints(DType::I64, &[2], &[-7, 7]);
    assert_eq!(all(Op::Binary(Binary::Div), &[&i, &ints(DType::I64, &[], &[2])]).ints().unwrap(), [-3, 3]);
    assert!(try_all(&Op::Binary(Binary::Div), &[&i, &ints(DType::I64, &[], &[0])], &[]).is_err());
    assert!(try_all(&Op::Binary(Binary::Mul), &[&i, &ints(DType::I64, &[], &[i64::MAX])], &[]).is_err());
    let c = ints(DType::Bool, &[2, 1], &[1, 0]);
    assert_eq!(reals(Op::Where, &[&c, &b, &f32s(&[], &[0.])]), [10., 20., 30., 0., 0., 0.]);
}

#[test]
fn half_floats_round_once() {
    let of = |v: f32| Tensor::from_floats(Type::plain(DType::F16, vec![1]), vec![v]).unwrap();
    // 2048 + 1 is a tie that goes down in f16; through f32 it is exact first.
    assert_eq!(reals(Op::Binary(Binary::Add), &[&of(2048.), &of(1.)]), [2048.]);
    assert_eq!(all(Op::Binary(Binary::Add), &[&of(2048.), &of(3.)]).reals().unwrap()[0], 2052.);
}

#[test]
fn integers_keep_their_quantization() {
    let x = quantized(DType::U8, &[4], (0.1, 100), &[0, 99, 120, 255]);
    assert_eq!(all(Op::Relu, &[&x]).ints().unwrap(), [100, 100, 120, 255]);
    let clipped = all(Op::Clip { min: -1.04, max: f32::INFINITY }, &[&x]);
    assert_eq!((clipped.ints().unwrap(), clipped.ty()), (vec![90, 99, 120, 255], x.ty()));
    let other = quantized(DType::U8, &[4], (0.2, 100), &[0; 4]);
    let error = try_all(&Op::Concat { axis: 0 }, &[&x, &other], &[]).unwrap_err();
    assert!(error.to_string().contains("Requantize"), "{error}");
}

// ---- pooling, normalization ----

#[test]
fn pools() {
    let x = f32s(&[1, 1, 4], &[1., 2., 3., 7.]);
    assert_eq!(reals(Op::MaxPool(pool(&[2], &[2], &[0, 0])), &[&x]), [2., 7.]);
    assert_eq!(reals(Op::AvgPool(pool(&[2], &[2], &[1, 1])), &[&x]), [1., 2.5, 7.]);
    let counted = Pool { count_include_pad: true, ..pool(&[2], &[2], &[1, 1]) };
    assert_eq!(reals(Op::AvgPool(counted), &[&x]), [0.5, 2.5, 3.5]);
    // The last window has one element of the image and one beyond even the padding, which does not count.
    let ceil = Pool { ceil_mode: true, count_include_pad: true, ..pool(&[3], &[2], &[0, 0]) };
    assert_eq!(reals(Op::AvgPool(ceil), &[&x]), [2., 5.]);
    let dilated = Pool { dilations: vec![2], ..pool(&[2], &[1], &[0, 0]) };
    assert_eq!(reals(Op::MaxPool(dilated), &[&x]), [3., 7.]);
    assert_eq!(reals(Op::GlobalAvgPool, &[&x]), [3.25]);
    let q = quantized(DType::I8, &[1, 1, 2, 2], (1., 3), &[-128, -5, -7, -9]);
    assert_eq!(all(Op::MaxPool(pool(&[2, 2], &[1, 1], &[1, 1, 0, 0])), &[&q]).ints().unwrap(), [-128, -5, -7, -5]);
    let nan = f32s(&[1, 1, 2], &[f32::NAN, 1.]);
    assert!(reals(Op::MaxPool(pool(&[2], &[1], &[0, 0])), &[&nan])[0].is_nan());
}

#[test]
fn reductions() {
    let x = f32s(&[2, 3], &[1., 2., 3., 4., 5., 9.]);
    let of = |kind, axes: &[i64], keep_dims| all(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims }), &[&x]);
    assert_eq!(&*of(ReduceKind::Sum, &[0], false).f32s().unwrap(), [5., 7., 12.]);
    assert_eq!(&*of(ReduceKind::Mean, &[-1], true).f32s().unwrap(), [2., 6.]);
    assert_eq!(of(ReduceKind::Mean, &[-1], true).dims(), [2, 1]);
    assert_eq!(&*of(ReduceKind::Max, &[], false).f32s().unwrap(), [9.]);
    assert_eq!(&*of(ReduceKind::Min, &[1], false).f32s().unwrap(), [1., 4.]);
    // Sequential in row-major order: 1 is lost in 1e8, and is not where the large ones cancel first.
    let order = f32s(&[3], &[1e8, 1., -1e8]);
    let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![], keep_dims: false });
    assert_eq!(reals(sum, &[&order]), [0.]);
}

#[test]
fn normalizations() {
    let x = f32s(&[1, 2, 2], &[1., 2., 3., 4.]);
    let p = |a: f32, b: f32| f32s(&[2], &[a, b]);
    let y = reals(Op::BatchNorm { epsilon: 0. }, &[&x, &p(1., 2.), &p(0., 1.), &p(1., 3.), &p(4., 1.)]);
    assert_eq!(y, [0., 0.5, 1., 3.]);
    let y = reals(Op::LayerNorm { axis: -1, epsilon: 0. }, &[&x, &p(1., 2.), &p(0., 0.5)]);
    assert_eq!(y, [-1., 2.5, -1., 2.5]);
    let y = reals(Op::Softmax { axis: 1 }, &[&f32s(&[1, 2, 2], &[0., 3., 0., 3.])]);
    assert_eq!(y, [0.5; 4]);
}

// ---- movement ----

#[test]
fn moves() {
    let x = ints(DType::I32, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    let of = |op: Op| all(op, &[&x]).ints().unwrap();
    assert_eq!(of(Op::Transpose { perm: vec![1, 0] }), [1, 4, 2, 5, 3, 6]);
    let axis = |axis, start, end, step| SliceAxis { axis, start, end, step };
    assert_eq!(of(Op::Slice(vec![axis(1, -1, i64::MIN, -2)])), [3, 1, 6, 4]);
    assert_eq!(of(Op::Slice(vec![axis(0, 1, i64::MAX, 1), axis(1, 0, 2, 1)])), [4, 5]);
    let pad = |begins: [i64; 2], ends: [i64; 2], mode| Op::Pad(Pad { begins: begins.into(), ends: ends.into(), mode });
    assert_eq!(of(pad([0, 1], [0, -1], PadMode::Constant(9.))), [9, 1, 2, 9, 4, 5]);
    assert_eq!(of(pad([0, 2], [0, 1], PadMode::Reflect)), [3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5]);
    assert_eq!(of(pad([1, 0], [0, 1], PadMode::Edge)), [1, 2, 3, 3, 1, 2, 3, 3, 4, 5, 6, 6]);
    assert_eq!(all(Op::Concat { axis: 1 }, &[&x, &x]).ints().unwrap(), [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    let parts = try_all(&Op::Split { axis: 1, sizes: vec![1, 2] }, &[&x], &[]).unwrap();
    assert_eq!((parts[0].ints().unwrap(), parts[1].ints().unwrap()), (vec![1, 4], vec![2, 3, 5, 6]));
    let indices = ints(DType::I64, &[2, 1], &[-1, 0]);
    let gathered = all(Op::Gather { axis: 1 }, &[&x, &indices]);
    assert_eq!((gathered.dims(), gathered.ints().unwrap()), (&[2, 2, 1][..], vec![3, 1, 6, 4]));
    assert!(try_all(&Op::Gather { axis: 1 }, &[&x, &ints(DType::I64, &[1], &[3])], &[]).is_err());
    assert_eq!(all(Op::Expand { dims: vec![2, 1, 1] }, &[&x]).dims(), [2, 2, 3]);
    let packed = ints(DType::I4, &[3], &[-8, 7, 1]);
    assert_eq!(all(Op::Concat { axis: 0 }, &[&packed, &packed]).ints().unwrap(), [-8, 7, 1, -8, 7, 1]);
    let q = quantized(DType::U8, &[1], (0.5, 7), &[1]);
    let padded = Op::Pad(Pad { begins: vec![1], ends: vec![0], mode: PadMode::Constant(2.) });
    assert_eq!(all(padded, &[&q]).ints().unwrap(), [11, 1]);
}

#[test]
fn resampling() {
    let x = f32s(&[1, 1, 1, 4], &[0., 1., 2., 3.]);
    let of = |width: f32, mode, coordinates| {
        reals(Op::Resize(Resize { scales: vec![1., 1., 1., width], mode, coordinates, ..Resize::default() }), &[&x])
    };
    let floor = ResizeMode::Nearest(Nearest::Floor);
    assert_eq!(of(2., floor, Coordinates::Asymmetric), [0., 0., 1., 1., 2., 2., 3., 3.]);
    assert_eq!(of(0.5, floor, Coordinates::Asymmetric), [0., 2.]);
    assert_eq!(of(0.5, ResizeMode::Nearest(Nearest::RoundPreferFloor), Coordinates::HalfPixel), [0., 2.]);
    assert_eq!(of(0.5, ResizeMode::Nearest(Nearest::RoundPreferCeil), Coordinates::HalfPixel), [1., 3.]);
    assert_eq!(of(0.5, ResizeMode::Nearest(Nearest::Ceil), Coordinates::HalfPixel), [1., 3.]);
    assert_eq!(of(2., ResizeMode::Linear, Coordinates::HalfPixel), [0., 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.]);
    assert_eq!(of(0.25, ResizeMode::Linear, Coordinates::PytorchHalfPixel), [0.]);
    assert_eq!(of(0.25, ResizeMode::Linear, Coordinates::HalfPixel), [1.5]);
    let corners = Resize {
        sizes: Some(vec![1, 1, 2, 7]),
        mode: ResizeMode::Linear,
        coordinates: Coordinates::AlignCorners,
        ..Resize::default()
    };
    let row = [0., 0.5, 1., 1.5, 2., 2.5, 3.];
    assert_eq!(reals(Op::Resize(corners), &[&x]), [row, row].concat());
}

// ---- quantization ----

#[test]
fn quantization_round_trip() {
    let x = f32s(&[2, 2], &[0.25, 0.75, -100., f32::NAN]);
    let q = |rounding| as_type(Op::Quantize { rounding }, &[&x], DType::U8, (0.5, 10)).unwrap();
    assert_eq!(q(Rounding::HalfEven), [10, 12, 0, 10]);
    assert_eq!(q(Rounding::HalfUp), [11, 12, 0, 10]);
    assert_eq!(reals(Op::Dequantize, &[&quantized(DType::U8, &[2], (0.5, 10), &[11, 0])]), [0.5, -5.]);
    let per_channel =
        ints(DType::I8, &[2, 2], &[1, 2, 3, 4]).with_quant(Some(Quant::per_channel(vec![1., 10.], 0, -128, 127)));
    assert_eq!(reals(Op::Dequantize, &[&per_channel]), [1., 2., 30., 40.]);
}

#[test]
fn stochastic_rounding_ignores_the_batch() {
    let x = f32s(&[2, 64], &[0.5; 128]);
    let rounding = Rounding::Stochastic { seed: 7 };
    let y = as_type(Op::Quantize { rounding }, &[&x], DType::I8, (1., 0)).unwrap();
    assert_eq!(y[..64], y[64..]);
    let ups = y[..64].iter().sum::<i64>();
    assert!((16..=48).contains(&ups), "{ups} of 64 went up");
}

#[test]
fn rescaling() {
    let r = |method| Rescale { method, rounding: lowbit_arithmetic::Method::default_rounding(method) };
    let acc = quantized(DType::I32, &[4], (0.25, 0), &[6, -6, 5, 10000]);
    let of = |method| as_type(Op::Requantize(r(method)), &[&acc], DType::I8, (1., 3)).unwrap();
    assert_eq!(of(Method::Float32), [5, 1, 4, 127]);
    assert_eq!(of(Method::Fixed), [5, 2, 4, 127]);
    assert_eq!(of(Method::Shift), [5, 2, 4, 127]);
    let (a, b) = (quantized(DType::U8, &[2], (0.5, 4), &[8, 5]), quantized(DType::U8, &[1], (0.25, 0), &[3]));
    assert_eq!(as_type(Op::QAdd(r(Method::Float32)), &[&a, &b], DType::U8, (0.5, 1)).unwrap(), [7, 3]);
    assert_eq!(as_type(Op::QAdd(r(Method::Fixed)), &[&a, &b], DType::U8, (0.5, 1)).unwrap(), [7, 4]);
    assert_eq!(as_type(Op::QMul(r(Method::Float32)), &[&a, &b], DType::I8, (0.5, 0)).unwrap(), [3, 1]);
    let x = quantized(DType::U8, &[1, 1, 4], (1., 1), &[1, 2, 3, 5]);
    let mean = Op::QAvgPool(QAvgPool { pool: None, rescale: r(Method::Float32) });
    assert_eq!(as_type(mean, &[&x], DType::U8, (0.5, 0)).unwrap(), [4]);
    let windows = Op::QAvgPool(QAvgPool { pool: Some(pool(&[2], &[2], &[1, 1])), rescale: r(Method::Shift) });
    assert_eq!(as_type(windows, &[&x], DType::U8, (1., 1)).unwrap(), [1, 3, 5]);
    let three = quantized(DType::U8, &[1, 1, 3], (1., 0), &[1, 2, 3]);
    let mean = Op::QAvgPool(QAvgPool { pool: None, rescale: r(Method::Shift) });
    // No shift divides by three, a multiplier does.
    assert_eq!(as_type(mean, &[&three], DType::U8, (1., 0)).unwrap(), [2]);
}

#[test]
fn tables() {
    let (lo, hi) = (-2, 1);
    let x = ints(DType::I8, &[4], &[1, -2, 0, -1]).with_quant(Some(Quant::per_tensor(1., 0, lo, hi)));
    let table = ints(DType::U8, &[4], &[10, 20, 30, 40]);
    assert_eq!(as_type(Op::Table, &[&x, &table], DType::U8, (1., 0)).unwrap(), [40, 10, 30, 20]);
    let short = ints(DType::U8, &[3], &[10, 20, 30]);
    assert!(as_type(Op::Table, &[&x, &short], DType::U8, (1., 0)).is_err());
}

// ---- graphs ----

#[test]
fn graphs_run_with_taps_and_open_batches() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", Type::f32(Shape(vec![crate::Dim::Symbol("N".into()), 2usize.into()])));
    let two = g.add_const("two", Tensor::scalar(2.));
    let double = crate::infer::apply(&mut g, "double", Op::Binary(Binary::Mul), &[Some(x), Some(two)]).unwrap();
    let y = crate::infer::apply(&mut g, "y", Op::Unary(Unary::Neg), &[Some(double)]).unwrap();
    g.outputs = vec![y, x];
    let mut run = Interpreter::default().load(&g, &[double, two]).unwrap();
    for n in [1, 3] {
        let out = run.run(&[f32s(&[n, 2], &vec![1.5; 2 * n])]).unwrap();
        assert_eq!(&*out.outputs[0].f32s().unwrap(), vec![-3.; 2 * n]);
        assert_eq!(out.outputs[1].dims(), [n, 2]);
        assert_eq!(&*out.taps[0].f32s().unwrap(), vec![3.; 2 * n]);
        assert_eq!(&*out.taps[1].f32s().unwrap(), [2.]);
    }
    let error = |inputs: &[Tensor]| Interpreter::default().load(&g, &[]).unwrap().run(inputs).unwrap_err().to_string();
    assert!(error(&[]).contains("expected 1 inputs (x f32[Nx2]), found 0"));
    assert!(error(&[f32s(&[1, 3], &[0.; 3])]).contains("value 'x'"));
    assert!(error(&[ints(DType::I32, &[1, 2], &[0; 2])]).contains("f32[Nx2]"));
}

#[test]
fn results_beyond_memory_are_refused() {
    let x = f32s(&[1], &[1.]);
    let error = try_all(&Op::Expand { dims: vec![1 << 20, 1 << 12] }, &[&x], &[]).unwrap_err();
    assert!(error.to_string().contains("at most 2147483648 elements"), "{error}");
    let huge = Op::Pad(Pad { begins: vec![i64::MAX], ends: vec![0], mode: PadMode::Edge });
    assert!(try_all(&huge, &[&x], &[]).is_err());
}

#[test]
fn errors_name_the_node_and_value() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", Type::f32(vec![2]));
    let i = g.add_const("i", ints(DType::I64, &[1], &[5]));
    let y = crate::infer::apply(&mut g, "picked", Op::Gather { axis: 0 }, &[Some(x), Some(i)]).unwrap();
    g.outputs = vec![y];
    let error = Interpreter::default().load(&g, &[]).unwrap().run(&[f32s(&[2], &[0.; 2])]).unwrap_err();
    assert_eq!((error.node(), error.value()), (Some("picked"), Some("picked")));
}

/// Not a test of values: `cargo test -p lowbit-ir --release -- --ignored speed --nocapture` prints MACs a second.
#[test]
#[ignore = "prints a measurement"]
fn speed() {
    let (c, o, s) = (256, 256, 28);
    let x = Tensor::from_f32(&[1, c, s, s], (0..c * s * s).map(|i| (i % 17) as f32 - 8.).collect()).unwrap();
    let w = Tensor::from_f32(&[o, c, 3, 3], (0..o * c * 9).map(|i| (i % 13) as f32 - 6.).collect()).unwrap();
    let qx = quantized(DType::U8, &[1, c, s, s], (1., 3), &(0..c * s * s).map(|i| i as i64 % 256).collect::<Vec<_>>());
    let qw = quantized(DType::I8, &[o, c, 3, 3], (1., 0), &(0..o * c * 9).map(|i| i as i64 % 127).collect::<Vec<_>>());
    let depthwise = f32s(&[64, 1, 3, 3], &[0.5; 576]);
    let image = Tensor::from_f32(&[1, 64, 112, 112], vec![1.0; 64 * 112 * 112]).unwrap();
    let same = |group| conv(&[1, 1], &[1, 1, 1, 1], group);
    let runs = [
        ("f32", same(1), &x, Some(&w), o * c * 9 * s * s),
        ("integer", same(1), &qx, Some(&qw), o * c * 9 * s * s),
        ("depthwise", same(64), &image, Some(&depthwise), 64 * 9 * 112 * 112),
        ("pool", Op::MaxPool(pool(&[3, 3], &[1, 1], &[1, 1, 1, 1])), &image, None, 64 * 9 * 112 * 112),
    ];
    for (name, op, x, w, taps) in runs {
        let start = std::time::Instant::now();
        let y = all(op, &[Some(x), w].into_iter().flatten().collect::<Vec<_>>());
        let seconds = start.elapsed().as_secs_f64();
        assert!(y.count() > 0);
        println!("{name}: {:.1} million taps in {seconds:.3} s", taps as f64 / 1e6);
    }
}

#[test]
fn a_run_that_would_take_too_much_is_refused_by_name() {
    use crate::Engine;
    let text = "graph \"g\" {\n  input %x: f32[1x8]\n  %big = Expand(%x) {dims [1000, 8]}\n  %y = Relu(%big)\n  output %y\n}\n";
    let graph = crate::text::parse(text).unwrap();
    let x = Tensor::from_f32(&[1, 8], vec![1.0; 8]).unwrap();
    let run = |max_memory| {
        let engine = super::Interpreter { max_memory, ..super::Interpreter::default() };
        engine.load(&graph, &[]).unwrap().run(std::slice::from_ref(&x))
    };
    run(400_000).unwrap();
    for too_little in [10_000, 100_000] {
        let e = run(too_little).unwrap_err().to_string();
        assert!(e.contains("node 'big', value 'big'") && e.contains("--max-memory"), "{e}");
    }
}

#[test]
fn tables_of_windows_are_memory_too() {
    use crate::Engine;
    let text = "graph \"g\" {\n  input %x: f32[1x1x8]\n  \
                %y = MaxPool(%x) {kernel [100000], strides [1], pads [50000, 50000], dilations [1]}\n  output %y\n}\n";
    let graph = crate::text::parse(text).unwrap();
    let x = Tensor::from_f32(&[1, 1, 8], vec![1.0; 8]).unwrap();
    let engine = super::Interpreter { max_memory: 1 << 20, ..super::Interpreter::default() };
    let e = engine.load(&graph, &[]).unwrap().run(std::slice::from_ref(&x)).unwrap_err().to_string();
    assert!(e.contains("node 'y'") && e.contains("at most 1 MiB"), "{e}");
}
