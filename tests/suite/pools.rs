//! Pools of every kind and size.

use super::{Build, Case, KERNELS, Random, both_layouts, rescale};
use lowbit_arithmetic::Method;
use lowbit_ir::op::{Pool, QAvgPool, Reduce, ReduceKind, Unary};
use lowbit_ir::{DType, Op, Quant, Tensor, Type};

/// Pools of every kind.
pub fn pools(out: &mut Vec<Case>) {
    for seed in 0..60 {
        let r = &mut Random((3000 + seed) << 32);
        let kernel = vec![r.range(1, 4), r.range(1, 4)];
        let pads: Vec<usize> = (0..4).map(|i| r.below(kernel[i % 2])).collect();
        let dims = [r.range(1, 2), r.pick(&[1, 3, 16, 64, 100]), 4 + r.below(8), 4 + r.below(8)];
        let pool = Pool {
            kernel,
            strides: vec![r.range(1, 3), r.range(1, 3)],
            pads,
            dilations: vec![1, 1],
            ceil_mode: r.below(3) == 0,
            count_include_pad: r.below(2) == 0,
        };
        let mut b = Build::new(&format!("pool.{seed}"));
        let integer = seed.is_multiple_of(2);
        let x = match integer {
            true => {
                let ty = r.narrow(&dims, r.0.is_multiple_of(3));
                r.ints(&ty)
            }
            false => r.floats(&dims),
        };
        let x = b.input(x);
        // A convolution before it, so that the pool reads channels last.
        let max = b.op("max", Op::MaxPool(pool.clone()), &[x]);
        let (avg, global) = match integer {
            true => {
                let method = r.pick(&[Method::Float32, Method::Fixed]);
                let signed = b.g.ty(x).dtype == DType::I8;
                let (t1, t2) = (r.narrow(&dims, signed), r.narrow(&dims, signed));
                let q = |pool| Op::QAvgPool(QAvgPool { pool, rescale: rescale(method) });
                (b.op_as("avg", q(Some(pool)), &[x], t1), b.op_as("global", q(None), &[x], t2))
            }
            false => (b.op("avg", Op::AvgPool(pool), &[x]), b.op("global", Op::GlobalAvgPool, &[x])),
        };
        let flat = b.op("flat", Op::Flatten { axis: 1 }, &[global]);
        out.push(b.case(&[max, avg, flat]));
    }
    // More than 32 bits hold sums of.
    let mut b = Build::new("pool.large");
    let ty = Type::quantized(DType::U8, vec![1, 1, 2912, 2912], Quant::per_tensor(1.0, 0, 0, 255));
    let x = b.input(Tensor::from_bytes(ty, vec![255u8; 2912 * 2912].into()).unwrap());
    let ty = Type::quantized(DType::U8, vec![], Quant::per_tensor(2.0, 3, 0, 255));
    let y = b.op_as("y", Op::QAvgPool(QAvgPool { pool: None, rescale: rescale(Method::Float32) }), &[x], ty);
    out.push(b.case(&[y]));
    let r = &mut Random(3999 << 32);
    let mut b = Build::new("reduce");
    let x = r.floats(&[2, 5, 6, 7]);
    let x = b.input(x);
    let mut outputs = Vec::new();
    for kind in [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min] {
        let spatial = [(vec![2, 3], true), (vec![-1, 2], true), (vec![2, 3], false)];
        for (axes, keep_dims) in spatial.into_iter().chain([(vec![1], false), (vec![], true)]) {
            let name = format!("{kind:?}.{axes:?}.{keep_dims}");
            outputs.push(b.op(&name, Op::Reduce(Reduce { kind, axes, keep_dims }), &[x]));
        }
    }
    out.push(b.case(&outputs));
}

/// Reductions of rows that have kernels: of what lies last in memory in either layout, with what has an order to lose.
pub fn reductions(out: &mut Vec<Case>) {
    use ReduceKind::{Max, Mean, Min, Sum};
    let sizes = |b: &mut Build, name: &str, x| b.op(name, Op::Unary(Unary::Abs), &[x]);
    for (i, dims) in [vec![2, 5, 6, 7], vec![1, 16, 64, 67], vec![3, 8, 33, 41], vec![1, 1, 4, 1], vec![2, 3, 1, 5]]
        .into_iter()
        .enumerate()
    {
        let r = &mut Random((12000 + i as u64) << 32);
        let mut b = Build::new(&format!("{KERNELS}reduce.{i}"));
        let x = odd_floats(r, &dims);
        let mut outputs = Vec::new();
        for (layout, x) in both_layouts(&mut b, x).into_iter().enumerate() {
            let shapes =
                [(vec![1, 2, 3], true), (vec![-1], false), (vec![3, 1, 2], false), (vec![], true), (vec![1], true)];
            for (kind, (axes, keep_dims)) in [Max, Min].iter().flat_map(|kind| shapes.clone().map(|s| (*kind, s))) {
                let name = format!("{kind:?}.{layout}.{axes:?}");
                let reduce = Op::Reduce(Reduce { kind, axes, keep_dims });
                outputs.push(b.op(&name, reduce.clone(), &[x]));
                let sizes = sizes(&mut b, &format!("{name}.sizes"), x);
                outputs.push(b.op(&format!("{name}.largest"), reduce, &[sizes]));
            }
            for (kind, axes) in
                [(Max, vec![2, 3]), (Mean, vec![2, 3]), (Sum, vec![2, 3]), (Sum, vec![1]), (Mean, vec![1, 2, 3])]
            {
                let name = format!("{kind:?}.{layout}.{axes:?}.kept");
                outputs.push(b.op(&name, Op::Reduce(Reduce { kind, axes, keep_dims: true }), &[x]));
            }
            // Magnitudes that others read too.
            let sizes = sizes(&mut b, &format!("sizes.{layout}"), x);
            let reduce = Reduce { kind: Max, axes: vec![1, 2, 3], keep_dims: true };
            outputs.extend([b.op(&format!("shared.{layout}"), Op::Reduce(reduce), &[sizes]), sizes]);
        }
        out.push(b.case(&outputs));
    }
    // Rows of matrices, and of more axes than layouts have.
    for (i, dims) in [vec![9, 70], vec![2, 3, 130], vec![2, 2, 2, 3, 17]].into_iter().enumerate() {
        let r = &mut Random((12500 + i as u64) << 32);
        let mut b = Build::new(&format!("{KERNELS}reduce.rows.{i}"));
        let x = odd_floats(r, &dims);
        let x = b.input(x);
        let mut outputs = Vec::new();
        for kind in [Max, Min, Sum, Mean] {
            for axes in [vec![-1], vec![-2, -1]] {
                let reduce = Op::Reduce(Reduce { kind, axes: axes.clone(), keep_dims: axes.len() == 1 });
                outputs.push(b.op(&format!("{kind:?}.{axes:?}"), reduce.clone(), &[x]));
                let sizes = sizes(&mut b, &format!("{kind:?}.{axes:?}.sizes"), x);
                outputs.push(b.op(&format!("{kind:?}.{axes:?}.of_sizes"), reduce, &[sizes]));
            }
        }
        out.push(b.case(&outputs));
    }
}

/// Floats among which are zeros of either sign, NaNs and infinities, in some rows and not in others.
fn odd_floats(r: &mut Random, dims: &[usize]) -> Tensor {
    let odd = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(1)];
    let last = dims.last().copied().unwrap_or(1);
    let rows = dims.iter().product::<usize>() / last;
    let row = |r: &mut Random| {
        let kind = r.below(8);
        let element = |r: &mut Random| match kind {
            0 => r.pick(&[0.0, -0.0]),
            1 if r.below(last) == 0 => r.pick(&odd),
            2 => -r.float().abs(),
            _ => r.float(),
        };
        (0..last).map(|_| element(r)).collect::<Vec<f32>>()
    };
    Tensor::from_f32(dims, (0..rows).flat_map(|_| row(r)).collect()).unwrap()
}

/// Windows of hundreds of taps, whole images of thousands, and three spatial axes.
pub fn large_pools(out: &mut Vec<Case>) {
    for (i, (dims, kernel, strides, pads)) in [
        (vec![1, 19, 40, 33], vec![13, 17], vec![3, 2], vec![6, 8, 5, 0]),
        (vec![2, 3, 70, 65], vec![70, 65], vec![1, 1], vec![0; 4]),
        (vec![1, 64, 30, 30], vec![29, 1], vec![1, 7], vec![14, 0, 14, 0]),
        (vec![1, 5, 7, 8, 9], vec![3, 4, 5], vec![2, 1, 3], vec![1, 0, 2, 1, 2, 2]),
        (vec![1, 17, 300], vec![129], vec![64], vec![64, 0]),
    ]
    .into_iter()
    .enumerate()
    {
        let pool = Pool {
            dilations: vec![1; kernel.len()],
            kernel,
            strides,
            pads,
            ceil_mode: i % 2 == 0,
            count_include_pad: i % 3 == 0,
        };
        let r = &mut Random((9000 + i as u64) << 32);
        let mut b = Build::new(&format!("large_pool.f32.{i}"));
        let x = r.floats(&dims);
        let x = b.input(x);
        let outputs = [
            b.op("max", Op::MaxPool(pool.clone()), &[x]),
            b.op("avg", Op::AvgPool(pool.clone()), &[x]),
            b.op("global", Op::GlobalAvgPool, &[x]),
        ];
        out.push(b.case(&outputs));
        for signed in [false, true] {
            let mut b = Build::new(&format!("large_pool.{}.{i}", if signed { "i8" } else { "u8" }));
            let (x, ty, global) = (r.narrow(&dims, signed), r.narrow(&dims, signed), r.narrow(&dims, signed));
            let x = r.ints(&x);
            let x = b.input(x);
            let method = r.pick(&[Method::Float32, Method::Fixed]);
            let average = |pool| Op::QAvgPool(QAvgPool { pool, rescale: rescale(method) });
            let outputs = [
                b.op("max", Op::MaxPool(pool.clone()), &[x]),
                b.op_as("avg", average(Some(pool.clone())), &[x], ty),
                b.op_as("global", average(None), &[x], global),
            ];
            out.push(b.case(&outputs));
        }
    }
}
