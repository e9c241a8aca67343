//! Properties of the quantization operators: one rounding away from the real result, bounds that are reached, no panic.

use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::bounds;
use lowbit_ir::infer::{apply, infer};
use lowbit_ir::interp::eval;
use lowbit_ir::op::*;
use lowbit_ir::{Customs, DType, Engine, Graph, Op, Quant, Result, Shape, Tensor, Type};
use proptest::collection::vec;
use proptest::prelude::*;

/// The operator with this output type; only the shape is inferred.
fn run_as(op: &Op, inputs: &[&Tensor], declared: &Type) -> Result<Tensor> {
    let types: Vec<Option<&Type>> = inputs.iter().map(|t| Some(t.ty())).collect();
    let types = infer(op, &types, std::slice::from_ref(declared), &Customs::default())?;
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    Ok(eval(op, &inputs, &types, &Customs::default())?.remove(0))
}

fn ty(dtype: DType, dims: &[usize], scale: f32, zero: i32) -> Type {
    let (lo, hi) = dtype.range().unwrap();
    Type::quantized(dtype, dims.to_vec(), Quant::per_tensor(scale, zero, lo, hi))
}

fn u8s(dims: &[usize], (scale, zero): (f32, i32), values: &[u8]) -> Tensor {
    Tensor::from_ints(ty(DType::U8, dims, scale, zero), &values.iter().map(|v| i64::from(*v)).collect::<Vec<_>>())
        .unwrap()
}

/// scale * (q - zero) in f64.
fn real((scale, zero): (f32, i32), q: f64) -> f64 {
    f64::from(scale) * (q - f64::from(zero))
}

fn parameters() -> impl Strategy<Value = (f32, i32)> {
    (0.01f32..2.0, 0i32..=255)
}

/// Whether `q` is the real number `r` after one rounding (with a little room for f32 before it) and the clamp.
fn is_rounded(q: i64, r: f64, (scale, zero): (f32, i32)) -> bool {
    let exact = (r / f64::from(scale) + f64::from(zero)).clamp(0.0, 255.0);
    (q as f64 - exact).abs() <= 0.501
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn results_are_one_rounding_from_the_real_ones(
        a in vec(any::<u8>(), 12), b in vec(any::<u8>(), 12),
        pa in parameters(), pb in parameters(), out in parameters(), fixed: bool,
    ) {
        let method = if fixed { Method::Fixed } else { Method::Float32 };
        let r = Rescale { method, rounding: method.default_rounding() };
        let dims = [1, 2, 6];
        let (x, y) = (u8s(&dims, pa, &a), u8s(&dims, pb, &b));
        let target = ty(DType::U8, &[], out.0, out.1);
        let sum = run_as(&Op::QAdd(r), &[&x, &y], &target).unwrap().ints().unwrap();
        let product = run_as(&Op::QMul(r), &[&x, &y], &target).unwrap().ints().unwrap();
        let same = run_as(&Op::Requantize(r), &[&x], &target).unwrap().ints().unwrap();
        let mean = run_as(&Op::QAvgPool(QAvgPool { pool: None, rescale: r }), &[&x], &target).unwrap().ints().unwrap();
        for i in 0..12 {
            let (ra, rb) = (real(pa, f64::from(a[i])), real(pb, f64::from(b[i])));
            prop_assert!(is_rounded(sum[i], ra + rb, out));
            prop_assert!(is_rounded(product[i], ra * rb, out));
            prop_assert!(is_rounded(same[i], ra, out));
        }
        for (i, row) in a.chunks(6).enumerate() {
            let average = row.iter().map(|q| real(pa, f64::from(*q))).sum::<f64>() / 6.0;
            prop_assert!(is_rounded(mean[i], average, out));
        }
        let back = run_as(&Op::Quantize { rounding: Rounding::HalfEven }, &[&run_as(&Op::Dequantize, &[&x], &target).unwrap()], x.ty());
        prop_assert_eq!(back.unwrap(), x);
    }

    #[test]
    fn bounds_are_reached_and_never_passed(
        w in vec(-128i64..128, 12), bias in vec(-5000i64..5000, 3), zx in 0i32..256, zw in -3i32..4, noise in vec(any::<u8>(), 4),
    ) {
        let mut g = Graph::new("g");
        let x = g.add_input("x", ty(DType::U8, &[1, 4], 1.0, zx));
        let weights = g.add_const("w", Tensor::from_ints(ty(DType::I8, &[3, 4], 1.0, zw), &w).unwrap());
        let b = g.add_const("b", Tensor::from_ints(ty(DType::I32, &[3], 1.0, 0), &bias).unwrap());
        let y = apply(&mut g, "y", Op::MatMul(MatMul { trans_b: true }), &[Some(x), Some(weights), Some(b)]).unwrap();
        g.outputs.push(y);
        let channels = bounds::check(&g).unwrap().remove(0).1.channels;
        let mut run = lowbit_ir::interp::Interpreter::default().load(&g, &[]).unwrap();
        let mut of = |x: &[u8]| run.run(&[u8s(&[1, 4], (1.0, zx), x)]).unwrap().outputs[0].ints().unwrap();
        for (c, row) in w.chunks(4).enumerate() {
            // The largest sum has the largest input wherever the centred weight is positive.
            let push = |positive: u8, negative: u8| -> Vec<u8> {
                row.iter().map(|w| if *w > i64::from(zw) { positive } else { negative }).collect()
            };
            prop_assert_eq!(of(&push(255, 0))[c], channels[c].1);
            prop_assert_eq!(of(&push(0, 255))[c], channels[c].0);
            let some = of(&noise)[c];
            prop_assert!(channels[c].0 <= some && some <= channels[c].1);
        }
    }
}

fn any_quant() -> impl Strategy<Value = Type> {
    let scale = prop_oneof![4 => 0.01f32..2.0, 1 => prop::sample::select(vec![0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40, 1e-38, 1e38])];
    let zero = prop_oneof![4 => -5i32..6, 1 => Just(i32::MIN), 1 => Just(i32::MAX)];
    let bound = prop_oneof![4 => -9i64..10, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => Just(i64::from(i32::MIN))];
    let axis = prop::option::of(0usize..4);
    (prop::sample::select(DType::ALL.to_vec()), scale, zero, (bound.clone(), bound), any::<bool>(), axis).prop_map(
        |(dtype, scale, zero, (qmin, qmax), full, axis)| {
            let (qmin, qmax) = dtype.range().filter(|_| full).unwrap_or((qmin, qmax));
            let quant = match axis {
                None => Quant::per_tensor(scale, zero, qmin, qmax),
                Some(axis) => Quant::per_channel(vec![scale, 0.5], axis, qmin, qmax),
            };
            Type::quantized(dtype, Shape::default(), quant)
        },
    )
}

/// Three types, or one sane one three times with other scales and zero points: those get further.
fn three_quants() -> impl Strategy<Value = (Type, Type, Type)> {
    let sane = vec((0.01f32..2.0, -5i32..6), 3).prop_map(|p| {
        let of = |i: usize| ty(DType::I8, &[], p[i].0, p[i].1);
        (of(0), of(1), of(2))
    });
    prop_oneof![
        (any_quant(), any_quant(), any_quant()),
        sane.clone(),
        (any_quant(), sane).prop_map(|(a, (b, c, _))| (b, c, a))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever the types say, there is a result within its type or an error.
    #[test]
    fn any_types_give_results_in_range_or_errors(
        (from, other, to) in three_quants(), which in 0usize..7,
        method in prop::sample::select(vec![Method::Float32, Method::Fixed, Method::Shift]),
        dims in prop::sample::select(vec![vec![], vec![2], vec![1, 2], vec![2, 2, 2], vec![1, 2, 2, 2]]),
    ) {
        let tensor = |t: &Type| {
            let count: usize = dims.iter().product();
            let (lo, hi) = t.dtype.range()?;
            let (lo, hi) = t.quant.as_ref().map_or((lo, hi), |q| (q.qmin.clamp(lo, hi), q.qmax.clamp(lo, hi)));
            let values: Vec<i64> = [lo, hi].into_iter().cycle().take(count).collect();
            Tensor::from_ints(t.with_shape(dims.clone()), &values).ok()
        };
        let (Some(x), Some(y)) = (tensor(&from), tensor(&other)) else { return Ok(()) };
        let floats = Tensor::from_f32(&dims, vec![f32::NAN; dims.iter().product()]).unwrap();
        let r = Rescale { method, rounding: Rounding::Stochastic { seed: 1 } };
        let result = match which {
            0 => run_as(&Op::Requantize(r), &[&x], &to),
            1 => run_as(&Op::QAdd(r), &[&x, &y], &to),
            2 => run_as(&Op::QMul(r), &[&x, &y], &to),
            3 => run_as(&Op::QAvgPool(QAvgPool { pool: None, rescale: r }), &[&x], &to),
            4 => run_as(&Op::Quantize { rounding: r.rounding }, &[&floats], &to),
            5 => run_as(&Op::MatMul(MatMul::default()), &[&x, &y], &to),
            _ => run_as(&Op::Dequantize, &[&x], &to),
        };
        if let Ok(t) = &result
            && let Some(q) = &t.ty().quant
        {
            prop_assert!(t.ints().unwrap().iter().all(|v| (q.qmin..=q.qmax).contains(v)));
        }
    }
}
