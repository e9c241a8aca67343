//! What belongs to no family, and an operator of the user's.

use super::{Build, Case, Random, both_layouts, rescale};
use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::{Binary, Cell, CustomId, Recurrent, Unary};
use lowbit_ir::{CustomOp, Customs, DType, Error, Op, Result, Tensor, Type, ValueId};
use std::sync::Arc;

/// Stored statistics, choices, conversions, axes of size 1, and an operator of the user's.
pub fn sundry(out: &mut Vec<Case>) {
    let r = &mut Random(6000 << 32);
    let mut b = Build::new("batch_norm");
    let mut outputs = Vec::new();
    let x = r.floats(&[2, 19, 4, 5]);
    let parameters: Vec<ValueId> = ["scale", "bias", "mean", "variance"]
        .map(|name| {
            let t = r.floats(&[19]);
            let data = t.f32s().unwrap().iter().map(|v| if name == "variance" { v.abs() } else { *v }).collect();
            b.g.add_const(name, Tensor::from_f32(&[19], data).unwrap())
        })
        .to_vec();
    for (i, x) in both_layouts(&mut b, x).into_iter().enumerate() {
        let operands = [&[x], parameters.as_slice()].concat();
        outputs.push(b.op(&format!("y{i}"), Op::BatchNorm { epsilon: 1e-3 }, &operands));
    }
    out.push(b.case(&outputs));

    for (i, (condition, x, y)) in [
        (vec![2, 3, 4, 5], vec![2, 3, 4, 5], vec![2, 3, 4, 5]),
        (vec![3, 1, 1], vec![2, 3, 4, 5], vec![]),
        (vec![2, 1, 4, 1], vec![5], vec![3, 1, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut b = Build::new(&format!("where.{i}"));
        let (a, zero) = (r.floats(&condition), b.g.add_const("zero", Tensor::scalar(0.0)));
        let a = b.input(a);
        let condition = b.op("condition", Op::Binary(Binary::Less), &[a, zero]);
        let (s, t) = (r.floats(&x), r.floats(&y));
        let (s, t) = (b.input(s), b.input(t));
        let floats = b.op("floats", Op::Where, &[condition, s, t]);
        let ty = r.narrow(&x, false);
        let (p, q) = (r.ints(&ty), r.ints(&ty.with_shape(y.clone())));
        let (p, q) = (b.input(p), b.input(q));
        let bytes = b.op("bytes", Op::Where, &[condition, p, q]);
        let (p, q) = (r.ints(&Type::plain(DType::I64, x.clone())), r.ints(&Type::plain(DType::I64, y)));
        let (p, q) = (b.input(p), b.input(q));
        let wide = b.op("wide", Op::Where, &[condition, p, q]);
        out.push(b.case(&[floats, bytes, wide, condition]));
    }

    let mut b = Build::new("cast");
    let mut data: Vec<f32> = (0..200).map(|_| r.float() * 300.0).collect();
    data.extend([
        0.0,
        -0.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-40,
        65504.0,
        65520.0,
        3e38,
        -3e38,
        0.5,
        2.5,
    ]);
    let n = data.len();
    let x = b.input(Tensor::from_f32(&[n], data).unwrap());
    let i = r.ints(&Type::plain(DType::I64, vec![n]));
    let i = b.input(i);
    let mut outputs = Vec::new();
    for to in DType::ALL {
        let y = b.op(&format!("float.{to}"), Op::Cast { to }, &[x]);
        let z = b.op(&format!("int.{to}"), Op::Cast { to }, &[i]);
        // Read back as f32, which shows the halves and what integers become.
        for (y, name) in [(y, "float"), (z, "int")] {
            outputs.push(match to {
                DType::F32 => y,
                _ => b.op(&format!("{name}.{to}.f32"), Op::Cast { to: DType::F32 }, &[y]),
            });
        }
    }
    out.push(b.case(&outputs));

    for integer in [false, true] {
        let mut b = Build::new(if integer { "squeeze.u8" } else { "squeeze.f32" });
        let dims = [1, 6, 1, 5];
        let x = match integer {
            true => {
                let ty = r.narrow(&dims, false);
                r.ints(&ty)
            }
            false => r.floats(&dims),
        };
        let mut outputs = Vec::new();
        for (i, x) in both_layouts(&mut b, x).into_iter().enumerate() {
            outputs.push(b.op(&format!("squeezed{i}"), Op::Squeeze { axes: vec![0, -2] }, &[x]));
            let wide = b.op(&format!("wide{i}"), Op::Unsqueeze { axes: vec![1, -1] }, &[x]);
            outputs.push(b.op(&format!("turned{i}"), Op::Transpose { perm: vec![3, 0, 5, 1, 4, 2] }, &[wide]));
            outputs.push(wide);
        }
        out.push(b.case(&outputs));
    }

    let mut b = Build::new("custom");
    let x = r.floats(&[2, 7, 3, 5]);
    let mut outputs = Vec::new();
    for (i, x) in both_layouts(&mut b, x).into_iter().enumerate() {
        let before = b.op(&format!("before{i}"), Op::Unary(Unary::Sigmoid), &[x]);
        let (y, ty) = (format!("own{i}"), Type::f32(vec![2, 7, 3, 5]));
        let own = Op::Custom(CustomId("Reversed".into()));
        let node = b.g.add_node(&y, own, vec![Some(before)], &[(&y, ty)]);
        let own = b.g.node(node).outputs[0];
        outputs.push(b.op(&format!("after{i}"), Op::Relu, &[own]));
        outputs.push(own);
    }
    // Of integers too, signed ones among them, which are its author's and not the compiler's.
    for signed in [false, true, true, true] {
        let x = b.op(&format!("moved{}", outputs.len()), Op::Unary(Unary::Sin), &[outputs[0]]);
        let name = |what: &str| format!("{what}{}", outputs.len());
        let (first, second) = (name("own.first"), name("own.second"));
        let ty = r.narrow(&[2, 7, 3, 5], signed);
        let q = b.op_as(&name("q"), Op::Quantize { rounding: Rounding::HalfEven }, &[x], ty.clone());
        let own = |b: &mut Build, name: &str, v: ValueId| {
            let node =
                b.g.add_node(name, Op::Custom(CustomId("Reversed".into())), vec![Some(v)], &[(name, ty.clone())]);
            b.g.node(node).outputs[0]
        };
        let once = own(&mut b, &first, q);
        let twice = own(&mut b, &second, once);
        let relu = b.op(&name("relu"), Op::Relu, &[once]);
        let sum = r.narrow(&[2, 7, 3, 5], signed);
        let sum = b.op_as(&name("sum"), Op::QAdd(rescale(Method::Float32)), &[relu, twice], sum);
        outputs.extend([twice, sum, b.op(&name("real"), Op::Dequantize, &[once])]);
    }
    out.push(b.case(&outputs));
}

/// The operator of the user's in these cases: the elements of its operand in reverse order.
struct Reversed;

impl CustomOp for Reversed {
    fn name(&self) -> &str {
        "Reversed"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        inputs.first().map(|x| vec![(*x).clone()]).ok_or_else(|| Error::new("expected one input"))
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let reversed = |x: &&Tensor| match x.dtype() {
            DType::F32 => Tensor::from_f32(x.dims(), x.f32s()?.iter().rev().copied().collect()),
            _ => Tensor::from_ints(x.ty().clone(), &x.ints()?.into_iter().rev().collect::<Vec<_>>()),
        };
        inputs.iter().map(reversed).collect()
    }
}

/// What an executor needs to know of the cases.
pub fn customs() -> Customs {
    Customs::default().with(Arc::new(Reversed)).unwrap()
}

/// Recurrent cells, forward and backward, with and without what is optional.
pub fn recurrent(out: &mut Vec<Case>) {
    let r = &mut Random(6500 << 32);
    for cell in Cell::all() {
        for reverse in [false, true] {
            let mut b = Build::new(&format!("{cell:?}.{reverse}"));
            let (steps, batch, inputs, hidden) = (4, 3, 5, 6);
            let gates = cell.gates();
            let x = r.floats(&[steps, batch, inputs]);
            let x = b.input(x);
            let known = |b: &mut Build, name: &str, t: Tensor| Some(b.g.add_const(name, t));
            let w = known(&mut b, "w", r.floats(&[1, gates * hidden, inputs]));
            let u = known(&mut b, "u", r.floats(&[1, gates * hidden, hidden]));
            let bias = known(&mut b, "bias", r.floats(&[1, 2 * gates * hidden]));
            let lengths = Tensor::from_ints(Type::plain(DType::I32, vec![batch]), &[4, 0, 2]).unwrap();
            let lengths = if reverse { known(&mut b, "lengths", lengths) } else { None };
            let first = known(&mut b, "first", r.floats(&[1, batch, hidden]));
            let operands = [Some(x), w, u, bias, lengths, first];
            let functions = [Unary::Sigmoid, Unary::Tanh, Unary::Softsign];
            let activations = functions.into_iter().skip(3 - cell.functions()).collect();
            let clip = if reverse { 1.5 } else { f32::INFINITY };
            let op = Op::Recurrent(Recurrent { cell, hidden, reverse, activations, clip });
            let types: Vec<Option<&Type>> = operands.iter().map(|v| v.map(|v| b.g.ty(v))).collect();
            let types = lowbit_ir::infer::infer(&op, &types, &[], &Customs::default()).unwrap();
            let outputs: Vec<(&str, Type)> = ["y", "h", "c"].into_iter().zip(types).collect();
            let node = b.g.add_node("cell", op, operands.to_vec(), &outputs);
            let outputs = b.g.node(node).outputs.clone();
            out.push(b.case(&outputs));
        }
    }
}
