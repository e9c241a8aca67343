//! Elements found by indices or put where they say, the greatest and least, and running sums.

use super::{Build, Case, Random};
use lowbit_ir::op::{CumSum, Pad, PadMode, Reduce, ReduceKind, Scatter, TopK};
use lowbit_ir::{DType, Op, Tensor, Type, ValueId};

/// Values of few numbers, so that some are equal.
fn data(r: &mut Random, kind: usize, dims: &[usize]) -> Tensor {
    match kind {
        0 => {
            let coarse = (0..dims.iter().product()).map(|_| (r.float() * 4.0).round() / 4.0).collect();
            Tensor::from_f32(dims, coarse).unwrap()
        }
        1 => {
            let ints: Vec<i64> = (0..dims.iter().product()).map(|_| r.int(-3, 3)).collect();
            Tensor::from_ints(Type::plain(DType::I32, dims.to_vec()), &ints).unwrap()
        }
        _ => {
            let ty = r.narrow(dims, kind == 3);
            r.ints(&ty)
        }
    }
}

fn indices(r: &mut Random, b: &mut Build, dims: &[usize], n: i64) -> ValueId {
    let at = (0..dims.iter().product()).map(|_| r.int(-n, n - 1)).collect();
    b.input(Tensor::from_i64(dims, at).unwrap())
}

/// Every operator that looks up, of floats, plain integers and bytes with and without a sign.
pub fn lookups(out: &mut Vec<Case>) {
    for (kind, name) in ["f32", "i32", "u8", "i8"].iter().enumerate() {
        let r = &mut Random((9500 + kind as u64) << 32);
        let mut b = Build::new(&format!("lookup.{name}"));
        let dims = [3, 4, 5, 2];
        let x = data(r, kind, &dims);
        let x = b.input(x);
        let along = indices(r, &mut b, &[3, 4, 7, 2], 5);
        let rows = indices(r, &mut b, &[3, 6, 2], 3);
        let mut outputs = vec![
            b.op("elements", Op::GatherElements { axis: 2 }, &[x, along]),
            b.op("places", Op::GatherNd { batch_dims: 0 }, &[x, rows]),
            b.op("places1", Op::GatherNd { batch_dims: 1 }, &[x, rows]),
        ];
        let wrap = Pad { begins: vec![0, 5, -2, 1], ends: vec![0, 1, 3, 4], mode: PadMode::Wrap };
        outputs.push(b.op("wrap", Op::Pad(wrap), &[x]));
        for (i, axis) in [0, -1, 2].into_iter().enumerate() {
            for (largest, sorted) in [(true, true), (false, true), (true, false)] {
                let top = TopK { axis, k: i + 1, largest, sorted };
                let mut few = dims;
                few[[0, 3, 2][i]] = i + 1;
                let types = [b.g.ty(x).with_shape(few.to_vec()), Type::plain(DType::I64, few.to_vec())];
                let names = ["values", "indices"].map(|what| format!("{what}.{i}.{largest}.{sorted}"));
                let named: Vec<(&str, Type)> = names.iter().map(String::as_str).zip(types).collect();
                let node = b.g.add_node(&format!("top.{i}.{largest}.{sorted}"), Op::TopK(top), vec![Some(x)], &named);
                outputs.extend(b.g.node(node).outputs.clone());
            }
        }
        if kind < 2 {
            computed(r, &mut b, kind, x, &mut outputs);
        }
        out.push(b.case(&outputs));
    }
}

/// What quantized values have no part in.
fn computed(r: &mut Random, b: &mut Build, kind: usize, x: ValueId, outputs: &mut Vec<ValueId>) {
    let along = indices(r, b, &[3, 4, 9, 2], 5);
    let rows = indices(r, b, &[8, 2], 3);
    let (beside, slices) = (data(r, kind, &[3, 4, 9, 2]), data(r, kind, &[8, 5, 2]));
    let (beside, slices) = (b.input(beside), b.input(slices));
    for reduction in [Scatter::Replace, Scatter::Add, Scatter::Mul, Scatter::Min, Scatter::Max] {
        let elements = Op::ScatterElements { axis: 2, reduction };
        outputs.push(b.op(&format!("elements.{reduction:?}"), elements, &[x, along, beside]));
        outputs.push(b.op(&format!("places.{reduction:?}"), Op::ScatterNd { reduction }, &[x, rows, slices]));
    }
    for (axis, exclusive, reverse) in [(0, false, false), (-2, true, false), (1, false, true), (3, true, true)] {
        let sums = CumSum { axis, exclusive, reverse };
        outputs.push(b.op(&format!("sums{axis}"), Op::CumSum(sums), &[x]));
    }
    let product = Reduce { kind: ReduceKind::Prod, axes: vec![1, 3], keep_dims: true };
    outputs.push(b.op("product", Op::Reduce(product), &[x]));
}
