//! Moving data, by up to 18 axes, resampling it, and operators over rows of it.

use super::{Build, Case, Random, both_layouts, one_pixel};
use lowbit_ir::op::{Binary, Coordinates, Nearest, Pad, PadMode, Reduce, ReduceKind, Resize, ResizeMode, SliceAxis};
use lowbit_ir::{Op, Tensor, Type};

/// Rows, and moving data in both layouts.
pub fn movement(out: &mut Vec<Case>) {
    for (i, pooled) in [false, true].into_iter().enumerate() {
        let r = &mut Random((5000 + i as u64) << 32);
        let mut b = Build::new(&format!("movement.{i}"));
        let x = r.floats(&[2, 6, 4, 5]);
        let mut x = b.input(x);
        if pooled {
            x = b.op("pool", Op::MaxPool(one_pixel()), &[x]);
        }
        let slice = |axis, start, end, step| SliceAxis { axis, start, end, step };
        let mut outputs = vec![
            b.op("t0", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]),
            b.op("t1", Op::Transpose { perm: vec![3, 1, 0, 2] }, &[x]),
            b.op("s0", Op::Slice(vec![slice(2, 0, i64::MAX, 2), slice(-1, -2, 0, -1)]), &[x]),
            b.op("s1", Op::Slice(vec![slice(1, 1, 4, 1)]), &[x]),
            b.op("r0", Op::Reshape { dims: vec![0, -1, 10] }, &[x]),
            b.op("c0", Op::Concat { axis: 2 }, &[x, x]),
            b.op("c1", Op::Concat { axis: 0 }, &[x, x]),
            b.op("e0", Op::Expand { dims: vec![3, 2, 6, 4, 5] }, &[x]),
            b.op("softmax1", Op::Softmax { axis: 1 }, &[x]),
            b.op("softmax3", Op::Softmax { axis: 3 }, &[x]),
            b.op("softmax2", Op::Softmax { axis: 2 }, &[x]),
        ];
        let pad = |mode| Op::Pad(Pad { begins: vec![0, 1, 2, 0], ends: vec![1, 0, 1, 3], mode });
        outputs.push(b.op("p0", pad(PadMode::Constant(-1.5)), &[x]));
        outputs.push(b.op(
            "p1",
            Op::Pad(Pad { begins: vec![0, 0, 2, 1], ends: vec![0, 0, 1, 3], mode: PadMode::Reflect }),
            &[x],
        ));
        outputs.push(b.op(
            "p2",
            Op::Pad(Pad { begins: vec![0, -1, 0, 1], ends: vec![0, 0, -1, 0], mode: PadMode::Edge }),
            &[x],
        ));
        let split = Op::Split { axis: 1, sizes: vec![1, 3, 2] };
        let types = [1, 3, 2].map(|n| Type::f32(vec![2, n, 4, 5]));
        let parts: Vec<(&str, Type)> = ["a", "b", "c"].into_iter().zip(types).collect();
        let node = b.g.add_node("split", split, vec![Some(x)], &parts);
        outputs.extend(b.g.node(node).outputs.clone());
        let scale = r.floats(&[4, 5]);
        let scale = b.g.add_const("scale", scale);
        let bias = r.floats(&[4, 5]);
        let bias = b.g.add_const("bias", bias);
        outputs.push(b.op("norm", Op::LayerNorm { axis: 2, epsilon: 1e-5 }, &[x, scale, bias]));
        let indices = Tensor::from_i64(&[2, 2], vec![0, -1, 3, 1]).unwrap();
        let indices = b.g.add_const("indices", indices);
        outputs.push(b.op("gather", Op::Gather { axis: 1 }, &[x, indices]));
        out.push(b.case(&outputs));
    }
}

/// More axes than anybody writes: moved, and broadcast.
pub fn more_axes(out: &mut Vec<Case>) {
    let r = &mut Random(6000 << 32);
    let backwards: Vec<usize> = (0..18).rev().collect();
    for (name, dims) in [
        ("few", (0..18).map(|i| if i % 7 == 3 { 2 + i / 7 } else { 1 }).collect::<Vec<usize>>()),
        ("all", vec![2; 18]),
        ("mixed", (0..18).map(|i| if i < 8 { 1 } else { 1 + (i + 1) % 3 }).collect()),
    ] {
        let mut b = Build::new(&format!("more_axes.{name}"));
        let x = r.floats(&dims);
        let x = b.input(x);
        let turned = b.op("turned", Op::Transpose { perm: backwards.clone() }, &[x]);
        // Every other axis broadcast, which no run of elements can say.
        let comb: Vec<usize> = dims.iter().enumerate().map(|(i, d)| if i % 2 == 0 { 1 } else { *d }).collect();
        let y = r.floats(&comb);
        let y = b.input(y);
        let sum = b.op("sum", Op::Binary(Binary::Add), &[x, y]);
        out.push(b.case(&[turned, sum]));
    }
}

/// Transpositions that turn matrices, apart or one after another, and slices by steps, of which some have nothing.
pub fn turns(out: &mut Vec<Case>) {
    let slice = |axis, start, end, step| SliceAxis { axis, start, end, step };
    for (name, dims) in [
        ("large", [3, 33, 4, 17]),
        ("two", [1, 2, 1, 40]),
        ("tall", [2, 700, 3, 5]),
        ("empty", [0, 3, 4, 17]),
        ("none", [2, 3, 0, 17]),
    ] {
        for integer in [false, true] {
            let r = &mut Random((6700 + u64::from(integer)) << 32);
            let mut b = Build::new(&format!("kernels.turns.{name}.{}", if integer { "i8" } else { "f32" }));
            let x = match integer {
                true => {
                    let ty = r.narrow(&dims, true);
                    r.ints(&ty)
                }
                false => r.floats(&dims),
            };
            let x = b.input(x);
            let mut outputs = Vec::new();
            for perm in
                [[0, 1, 3, 2], [3, 0, 1, 2], [1, 0, 3, 2], [0, 3, 1, 2], [2, 3, 0, 1], [0, 2, 3, 1], [3, 2, 1, 0]]
            {
                let name = format!("t{}", outputs.len());
                outputs.push(b.op(&name, Op::Transpose { perm: perm.to_vec() }, &[x]));
            }
            for axes in [
                vec![slice(3, 1, i64::MAX, 2)],
                vec![slice(2, 1, i64::MAX, 2), slice(3, 0, i64::MAX, 3)],
                vec![slice(1, -1, i64::MIN, -1), slice(3, -1, i64::MIN, -2)],
                vec![slice(1, 1, 2, 1), slice(3, 2, 2, 1)],
                vec![slice(3, 1, 3, 1)],
            ] {
                let name = format!("s{}", outputs.len());
                outputs.push(b.op(&name, Op::Slice(axes), &[x]));
            }
            out.push(b.case(&outputs));
        }
    }
}

/// Moves of five and six axes.
pub fn many_axes(out: &mut Vec<Case>) {
    for integer in [false, true] {
        let r = &mut Random((8000 + u64::from(integer)) << 32);
        let mut b = Build::new(if integer { "axes.i8" } else { "axes.f32" });
        let dims = [2, 3, 4, 2, 5, 3];
        let x = match integer {
            true => {
                let ty = r.narrow(&dims, true);
                r.ints(&ty)
            }
            false => r.floats(&dims),
        };
        let x = b.input(x);
        let slice = |axis, start, end, step| SliceAxis { axis, start, end, step };
        let mut outputs = vec![
            b.op("t0", Op::Transpose { perm: vec![0, 2, 4, 1, 3, 5] }, &[x]),
            b.op("t1", Op::Transpose { perm: vec![5, 4, 3, 2, 1, 0] }, &[x]),
            b.op("t2", Op::Transpose { perm: vec![0, 1, 2, 3, 5, 4] }, &[x]),
            b.op("s0", Op::Slice(vec![slice(1, 1, i64::MAX, 1), slice(-2, -1, i64::MIN, -2)]), &[x]),
            b.op("s1", Op::Slice(vec![slice(4, -99, i64::MIN, -1), slice(0, 99, 0, -1)]), &[x]),
            b.op("c0", Op::Concat { axis: 3 }, &[x, x]),
            b.op("c1", Op::Concat { axis: -1 }, &[x, x]),
            b.op("r0", Op::Reshape { dims: vec![2, 12, 2, 15] }, &[x]),
            b.op("e0", Op::Expand { dims: vec![2, 2, 3, 4, 2, 5, 3] }, &[x]),
        ];
        let mode = PadMode::Constant(0.25);
        let pad = Pad { begins: vec![0, 1, 0, 0, 2, 1], ends: vec![1, 0, 0, 1, -1, 0], mode };
        outputs.push(b.op("p0", Op::Pad(pad), &[x]));
        let edge = Pad { begins: vec![0, 1, 0, 0, 2, 1], ends: vec![1, 0, 0, 1, 0, 0], mode: PadMode::Edge };
        outputs.push(b.op("p1", Op::Pad(edge), &[x]));
        let indices = b.g.add_const("indices", Tensor::from_i64(&[2, 2], vec![0, -1, 3, 1]).unwrap());
        outputs.push(b.op("g0", Op::Gather { axis: 2 }, &[x, indices]));
        for axis in [1, 3] {
            let parts = [format!("a{axis}"), format!("b{axis}")];
            let types = [1, dims[axis] - 1].map(|n| {
                let mut part = dims.to_vec();
                part[axis] = n;
                b.g.ty(x).with_shape(part)
            });
            let split = Op::Split { axis: axis as i64, sizes: vec![1, dims[axis] - 1] };
            let named: Vec<(&str, Type)> = parts.iter().map(String::as_str).zip(types).collect();
            let node = b.g.add_node(&format!("split{axis}"), split, vec![Some(x)], &named);
            outputs.extend(b.g.node(node).outputs.clone());
        }
        if !integer {
            for axis in [1, 2, 5] {
                outputs.push(b.op(&format!("softmax{axis}"), Op::Softmax { axis }, &[x]));
            }
            for (kind, axes) in [(ReduceKind::Mean, vec![1, 4]), (ReduceKind::Max, vec![0, 2, 5])] {
                let reduce = Reduce { kind, axes, keep_dims: false };
                outputs.push(b.op(&format!("{kind:?}"), Op::Reduce(reduce), &[x]));
            }
        }
        out.push(b.case(&outputs));
    }
}

/// Resampling of floats and bytes, by every mode.
pub fn resizes(out: &mut Vec<Case>) {
    let sizes = [(vec![1.0, 1.0, 2.0, 3.0], None), (vec![1.0, 1.0, 0.6, 1.5], None), (vec![], Some(vec![2, 5, 3, 11]))];
    let nearest = [Nearest::RoundPreferFloor, Nearest::RoundPreferCeil, Nearest::Floor, Nearest::Ceil];
    let modes: Vec<ResizeMode> = nearest.map(ResizeMode::Nearest).into_iter().chain([ResizeMode::Linear]).collect();
    let coordinates =
        [Coordinates::HalfPixel, Coordinates::PytorchHalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric];
    for (i, (scales, sizes)) in sizes.iter().enumerate() {
        let r = &mut Random((6500 + i as u64) << 32);
        for integer in [false, true] {
            let mut b = Build::new(&format!("{}.{i}", if integer { "kernels.resize.u8" } else { "resize.f32" }));
            let dims = [2, 5, 5, 6];
            let x = match integer {
                true => {
                    let ty = r.narrow(&dims, false);
                    r.ints(&ty)
                }
                false => r.floats(&dims),
            };
            let xs = both_layouts(&mut b, x);
            let mut outputs = Vec::new();
            for mode in modes.iter().filter(|m| !integer || **m != ResizeMode::Linear) {
                for coordinates in &coordinates {
                    let (scales, sizes, coordinates) = (scales.clone(), sizes.clone(), coordinates.clone());
                    let resize = Resize { scales, sizes, mode: *mode, coordinates, ..Resize::default() };
                    for x in xs {
                        let name = format!("y{}", outputs.len());
                        outputs.push(b.op(&name, Op::Resize(resize.clone()), &[x]));
                    }
                }
            }
            out.push(b.case(&outputs));
        }
    }
}
