//! Element by element, and choices between elements.

use super::{Build, Case, Random, one_pixel, rescale};
use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::{Binary, Pad, PadMode, Takes, Unary};
use lowbit_ir::{Op, Tensor, Type, ValueId};

/// Element by element, on integers and floats, with broadcasting.
pub fn elementwise(out: &mut Vec<Case>) {
    let r = &mut Random(4000 << 32);
    let mut functions: Vec<Unary> =
        Unary::all().into_iter().filter(|f| !matches!(f.facts().takes, Takes::Bools | Takes::Integers)).collect();
    functions.extend([
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Elu { alpha: 1.5 },
        Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        Unary::Celu { alpha: 1.5 },
        Unary::ThresholdedRelu { alpha: 0.75 },
    ]);
    let mut b = Build::new("unary");
    let mut data: Vec<f32> = (0..1000).map(|_| r.float() * 10.0).collect();
    data.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, 88.8, -103.0, 3e38, f32::MIN_POSITIVE]);
    let x = Tensor::from_f32(&[data.len()], data).unwrap();
    let x = b.input(x);
    let outputs: Vec<ValueId> =
        functions.iter().enumerate().map(|(i, f)| b.op(&format!("{}.{i}", f.name()), Op::Unary(*f), &[x])).collect();
    out.push(b.case(&outputs));
    for (i, (a, c)) in [
        (vec![2, 3, 4, 5], vec![2, 3, 4, 5]),
        (vec![2, 3, 4, 5], vec![3, 1, 1]),
        (vec![2, 3, 4, 5], vec![]),
        (vec![2, 3, 4, 5], vec![5]),
        (vec![2, 3, 1, 1], vec![2, 3, 4, 5]),
        (vec![1, 3, 4, 1], vec![2, 1, 4, 5]),
        (vec![7], vec![6, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut b = Build::new(&format!("binary.{i}"));
        let (x, y) = (r.floats(&a), r.floats(&c));
        let (x, y) = (b.input(x), b.input(y));
        // Through a pool of one pixel, so that one side lies channels last.
        let x = match a.len() {
            4 => b.op("pool", Op::MaxPool(one_pixel()), &[x]),
            _ => x,
        };
        use Binary::*;
        let outputs: Vec<ValueId> = [Add, Sub, Mul, Div, Min, Max, Pow, PRelu, Less, Mod, Fmod]
            .iter()
            .map(|f| b.op(f.name(), Op::Binary(*f), &[x, y]))
            .collect();
        out.push(b.case(&outputs));
    }
    for seed in 0..24 {
        let r = &mut Random((4100 + seed) << 32);
        let mut b = Build::new(&format!("quantized.{seed}"));
        let signed = seed.is_multiple_of(2);
        let dims = [r.range(1, 2), r.pick(&[1, 3, 16, 70]), r.range(1, 9), r.range(1, 9)];
        let x = r.floats(&dims);
        let x = b.input(x);
        let t = r.narrow(&dims, signed);
        let q = b.op_as("q", Op::Quantize { rounding: Rounding::HalfEven }, &[x], t);
        let same = b.g.ty(q).clone();
        let relu = b.op("relu", Op::Relu, &[q]);
        let clip = b.op("clip", Op::Clip { min: -0.3, max: 0.7 }, &[relu]);
        let method = r.pick(&[Method::Float32, Method::Fixed]);
        let t = r.narrow(&dims, signed);
        let re = b.op_as("re", Op::Requantize(rescale(method)), &[clip], t);
        let t = r.narrow(&dims, signed);
        let sum = b.op_as("sum", Op::QAdd(rescale(method)), &[re, q], t);
        // A value that starts at its zero point: its table is shorter.
        let mut t = r.narrow(&dims, signed);
        let q8 = t.quant.as_mut().unwrap();
        q8.qmin = i64::from(q8.zero_point[0]);
        let entries = (q8.qmax - q8.qmin + 1) as usize;
        let product = b.op_as("product", Op::QMul(rescale(method)), &[sum, q], t);
        let t = r.narrow(&dims, signed);
        let (low, high) = t.quant.as_ref().map_or((0, 0), |q| (q.qmin, q.qmax));
        let table: Vec<i64> = (0..entries).map(|_| r.int(low, high)).collect();
        let table = b.g.add_const("table", Tensor::from_ints(Type::plain(t.dtype, vec![entries]), &table).unwrap());
        let looked = b.op_as("looked", Op::Table, &[product, table], t);
        let joined = b.op("joined", Op::Concat { axis: 1 }, &[q, clip]);
        let pad = Pad { begins: vec![0, 1, 2, 0], ends: vec![0, 0, 1, 3], mode: PadMode::Constant(0.1) };
        let padded = b.op("padded", Op::Pad(pad), &[joined]);
        let y = b.op("y", Op::Dequantize, &[looked]);
        assert_eq!(b.g.ty(clip), &same);
        let stochastic = Op::Quantize { rounding: Rounding::Stochastic { seed: 7 } };
        let t = r.narrow(&dims, signed);
        let s = b.op_as("stochastic", stochastic, &[x], t);
        out.push(b.case(&[y, padded, sum, s]));
    }
}
