//! Every invariant of the verifier is broken once, by number.

use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::{CustomId, MatMul, Rescale};
use lowbit_ir::request::{Kind, Request, ScaleForm, Sharing};
use lowbit_ir::verify::{LIMIT, verify, verify_with};
use lowbit_ir::{
    CustomOp, Customs, DType, Dim, Granularity, Graph, NodeId, Op, Quant, Shape, Tensor, Type, ValueId, bounds,
};

fn f32s(dims: &[usize]) -> Type {
    Type::f32(dims.to_vec())
}

/// x: f32[2x3] -> MatMul(w: f32[3x4]) -> Relu -> y: f32[2x4].
fn valid() -> Graph {
    let mut g = Graph::new("g");
    let x = g.add_input("x", f32s(&[2, 3]));
    let w = g.add_const("w", Tensor::from_f32(&[3, 4], vec![0.5; 12]).unwrap());
    let dense = g.add_node("dense", Op::MatMul(MatMul::default()), vec![Some(x), Some(w)], &[("h", f32s(&[2, 4]))]);
    let h = g.node(dense).outputs[0];
    let relu = g.add_node("relu", Op::Relu, vec![Some(h)], &[("y", f32s(&[2, 4]))]);
    g.outputs = g.node(relu).outputs.clone();
    g
}

fn node(g: &Graph, name: &str) -> NodeId {
    g.nodes().find(|(_, n)| n.name == name).map(|(id, _)| id).unwrap()
}

fn value(g: &Graph, name: &str) -> ValueId {
    g.find(name).unwrap()
}

/// The graph breaks exactly these invariants, in words that contain `text`.
#[track_caller]
fn breaks(g: &Graph, invariants: &[usize], text: &str) {
    let message = verify(g).expect_err("an invalid graph").to_string();
    let mut found: Vec<usize> =
        message.lines().filter_map(|l| l.trim_start().strip_prefix('[')?.split_once(']')?.0.parse().ok()).collect();
    found.dedup();
    assert_eq!(found, invariants, "{message}");
    assert!(message.contains(text), "expected '{text}' in: {message}");
}

/// A graph with one input of this type, which is its output too.
fn typed(ty: Type) -> Graph {
    let mut g = Graph::new("g");
    let x = g.add_input("x", ty);
    g.outputs = vec![x];
    g
}

fn quantized(dtype: DType, dims: &[usize], q: Quant) -> Graph {
    typed(Type::quantized(dtype, dims.to_vec(), q))
}

#[test]
fn a_valid_graph_passes() {
    verify(&valid()).unwrap();
    verify(&Graph::new("empty")).unwrap();
    verify(&typed(f32s(&[]))).unwrap();
}

#[test]
fn order() {
    let mut g = valid();
    let late = g.add_node("late", Op::Relu, vec![g.find("x")], &[("z", f32s(&[2, 3]))]);
    let z = g.node(late).outputs[0];
    g.set_input(node(&g, "dense"), 0, Some(z));
    breaks(&g, &[2], "node 'dense': it reads 'z', which nothing before it computes");
    g.sort().unwrap();
    verify(&g).unwrap();
}

#[test]
fn references() {
    let mut g = valid();
    let w = value(&g, "w");
    g.remove_value(w);
    breaks(&g, &[3], "node 'dense': operand 1 is the value #1 (removed)");
    let mut g = valid();
    let foreign = ValueId(77);
    g.outputs.push(foreign);
    g.inputs.push(foreign);
    breaks(&g, &[3], "the graph's outputs list the value #77");
}

#[test]
fn definitions() {
    let mut g = valid();
    g.inputs.push(value(&g, "x"));
    breaks(&g, &[4], "value 'x': it is defined 2 times");
    let mut g = valid();
    g.inputs.push(value(&g, "y"));
    breaks(&g, &[4], "the graph's inputs list it, but it is none");
    let mut g = valid();
    g.inputs.clear();
    breaks(&g, &[4], "the graph's inputs do not list it");
    let mut g = valid();
    let (relu, h) = (node(&g, "relu"), value(&g, "h"));
    g.node_mut(relu).outputs = vec![h];
    g.outputs = vec![h];
    breaks(&g, &[4], "node 'relu': output 0 is 'h', which is defined elsewhere");
}

#[test]
fn names() {
    let mut g = valid();
    let relu = node(&g, "relu");
    g.node_mut(relu).name = "dense".into();
    breaks(&g, &[5], "node 'dense': another node has this name");
    g.node_mut(relu).name.clear();
    breaks(&g, &[5], "has no name");
}

#[test]
fn reads() {
    let mut g = valid();
    g.add_const("unread", Tensor::scalar(1.0));
    g.add_node("idle", Op::Relu, vec![g.find("x")], &[("z", f32s(&[2, 3]))]);
    breaks(&g, &[6], "value 'unread': nothing reads this constant");
    breaks(&g, &[6], "node 'idle': nothing reads any output of it");
    assert!(g.sweep());
    verify(&g).unwrap();
}

#[test]
fn arity() {
    let mut g = valid();
    let dense = node(&g, "dense");
    g.node_mut(dense).inputs.push(None);
    verify(&g).unwrap();
    g.node_mut(dense).inputs.push(None);
    breaks(&g, &[7], "node 'dense': expected 2 to 3 operands of MatMul, found 4");
    let mut g = valid();
    g.set_input(node(&g, "relu"), 0, None);
    let h = value(&g, "h");
    g.outputs.push(h);
    breaks(&g, &[7], "node 'relu': operand 0 of Relu is absent but not optional");
    let mut g = valid();
    let relu = node(&g, "relu");
    g.node_mut(relu).op = Op::Split { axis: 0, sizes: vec![1, 1] };
    breaks(&g, &[7], "node 'relu': found 1 outputs, which Split does not give");
}

#[test]
fn constants() {
    let mut g = valid();
    let w = value(&g, "w");
    g.set_ty(w, f32s(&[3, 4]).with_shape(vec![4, 3]));
    let message = verify(&g).unwrap_err().to_string();
    assert!(message.contains("[8] value 'w': the type is f32[4x3], but the tensor's is f32[3x4]"), "{message}");

    let ty = Type::quantized(DType::I8, vec![2], Quant::per_tensor(0.5, 0, -127, 127));
    let mut g = Graph::new("g");
    let c = g.add_const("c", Tensor::from_ints(ty, &[127, -128]).unwrap());
    g.outputs = vec![c];
    breaks(&g, &[8], "value 'c': it contains -128, outside of its range -127..127");
}

#[test]
fn quantized_dtypes() {
    breaks(&quantized(DType::F32, &[2], Quant::per_tensor(0.5, 0, 0, 255)), &[9], "f32 cannot be quantized");
    breaks(&quantized(DType::Bool, &[2], Quant::per_tensor(0.5, 0, 0, 1)), &[9], "bool cannot be quantized");
    verify(&quantized(DType::U4, &[2], Quant::per_tensor(0.5, 3, 0, 15))).unwrap();
}

#[test]
fn quantization() {
    let good = Quant::per_tensor(0.5, 3, 0, 255);
    verify(&quantized(DType::U8, &[2, 3], good.clone())).unwrap();
    let wrong = |q: Quant, text: &str| breaks(&quantized(DType::U8, &[2, 3], q), &[10], text);
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        wrong(Quant { scale: [scale].into(), ..good.clone() }, "entry 0: ");
    }
    wrong(Quant { zero_point: [256].into(), ..good.clone() }, "the zero point 256 is outside of u8 (0..255)");
    wrong(Quant { qmin: 7, qmax: 6, ..good.clone() }, "the range 7..6 is empty or outside");
    wrong(Quant { qmax: 256, ..good.clone() }, "the range 0..256 is empty or outside");
    wrong(Quant { zero_point: [0, 0].into(), ..good.clone() }, "expected 1 zero points");
    wrong(Quant { scale: [].into(), zero_point: [].into(), ..good.clone() }, "expected 1 scales");
    wrong(Quant { granularity: Granularity::Channel { axis: 1 }, ..good.clone() }, "expected 3 scales");
    wrong(
        Quant { granularity: Granularity::Channel { axis: 2 }, ..good.clone() },
        "axis 2 is outside of the shape 2x3",
    );
    wrong(Quant { granularity: Granularity::Block { axis: 1, size: 0 }, ..good.clone() }, "at least one element");
    wrong(Quant { granularity: Granularity::Block { axis: 1, size: 2 }, ..good }, "expected 4 scales");

    let blocks = Quant {
        granularity: Granularity::Block { axis: 1, size: 2 },
        ..Quant::accumulator(vec![0.5; 4].into(), None, DType::U8)
    };
    verify(&quantized(DType::U8, &[2, 3], blocks)).unwrap();
    let open = Shape(vec![Dim::Symbol("N".into()), Dim::Known(3)]);
    let per_batch = Quant { granularity: Granularity::Channel { axis: 0 }, ..Quant::per_tensor(0.5, 3, 0, 255) };
    verify(&typed(Type::quantized(DType::U8, open, per_batch))).unwrap();
}

#[test]
fn types() {
    let mut g = valid();
    let h = value(&g, "h");
    g.set_ty(h, f32s(&[2, 5]));
    breaks(&g, &[11], "node 'dense': its output 'h' is f32[2x5], but inference says f32[2x4]");
}

/// Doubles the first dimension.
struct Twice;

impl CustomOp for Twice {
    fn name(&self) -> &str {
        "twice"
    }

    fn infer(&self, inputs: &[&Type]) -> lowbit_ir::Result<Vec<Type>> {
        let n = inputs.first().and_then(|t| t.shape.count()).unwrap_or(0);
        Ok(vec![f32s(&[2 * n])])
    }

    fn run(&self, _: &[&Tensor]) -> lowbit_ir::Result<Vec<Tensor>> {
        unreachable!("the verifier runs nothing")
    }
}

#[test]
fn custom_operators_are_believed_unless_their_table_is_given() {
    let mut g = typed(f32s(&[3]));
    let op = Op::Custom(CustomId("twice".into()));
    let n = g.add_node("n", op, vec![g.find("x")], &[("y", f32s(&[7]))]);
    g.outputs = g.node(n).outputs.clone();
    verify(&g).unwrap();
    let customs = Customs::default().with(std::sync::Arc::new(Twice)).unwrap();
    let e = verify_with(&g, &customs).unwrap_err().to_string();
    assert!(e.contains("[11] node 'n': its output 'y' is f32[7], but inference says f32[6]"), "{e}");
    assert!(
        verify_with(&g, &Customs::default()).unwrap_err().to_string().contains("no custom operator is named 'twice'")
    );
}

#[test]
fn rescaling() {
    let requantize = |s_out: f32, qmax: i64, method: Method| {
        let dtype = if qmax > 255 { DType::I64 } else { DType::U8 };
        let mut g = Graph::new("g");
        let acc = Quant::accumulator([0.25].into(), None, DType::I32);
        let x = g.add_input("x", Type::quantized(DType::I32, vec![2], acc));
        let out = Type::quantized(dtype, vec![2], Quant::per_tensor(s_out, 0, 0, qmax));
        let op = Op::Requantize(Rescale { method, rounding: Rounding::HalfUp });
        let n = g.add_node("rq", op, vec![Some(x)], &[("y", out)]);
        g.outputs = g.node(n).outputs.clone();
        g
    };
    verify(&requantize(0.5, 255, Method::Shift)).unwrap();
    verify(&requantize(0.3, 255, Method::Fixed)).unwrap();
    breaks(&requantize(0.3, 255, Method::Shift), &[12], "not a power of two");
    breaks(&requantize(3e38, 255, Method::Float32), &[12], "not a normal f32");

    let mut g = typed(f32s(&[2]));
    let spec = Request {
        kind: Kind::Input,
        bits: 33,
        signed: true,
        symmetric: true,
        narrow: false,
        sharing: Sharing::Tensor,
        scale: ScaleForm::Float,
        rounding: Rounding::HalfEven,
        observer: "minmax".into(),
    };
    let n = g.add_node("s", Op::Simulate(spec), vec![g.find("x")], &[("y", f32s(&[2]))]);
    g.outputs = g.node(n).outputs.clone();
    breaks(&g, &[12], "expected a width of 2 to 32 bits, found 33");
}

/// x: u8 -> Table -> y: u8 in 0..1, with this operand as the table.
fn looked_up(table: impl FnOnce(&mut Graph) -> ValueId) -> Graph {
    let of = |quant| Type::quantized(DType::U8, vec![1, 4], quant);
    let mut g = typed(of(Quant::per_tensor(1.0, 0, 0, 255)));
    let table = table(&mut g);
    let y = ("y", of(Quant::per_tensor(1.0, 0, 0, 1)));
    let n = g.add_node("look", Op::Table, vec![g.find("x"), Some(table)], &[y]);
    g.outputs = g.node(n).outputs.clone();
    g
}

fn entries(data: &[i64]) -> Tensor {
    Tensor::from_ints(Type::plain(DType::U8, vec![data.len()]), data).unwrap()
}

#[test]
fn tables_keep_to_the_range_of_their_result() {
    let mut data = vec![1; 256];
    verify(&looked_up(|g| g.add_const("t", entries(&data)))).unwrap();
    data[7] = 2;
    let g = looked_up(|g| g.add_const("t", entries(&data)));
    breaks(&g, &[13], "node 'look': expected entries of the table 't' in the range 0..1 of its result, found 2");
    assert!(bounds::check(&g).unwrap_err().to_string().contains("node 'look': expected entries of the table 't'"));

    // What is computed may be all that its type allows.
    let ty = |quant| Type { quant, ..Type::plain(DType::U8, vec![256]) };
    let g = looked_up(|g| g.add_input("t", ty(None)));
    breaks(&g, &[13], "found one that is computed and can be 255");
    assert!(bounds::check(&g).is_err());
    let g = looked_up(|g| g.add_input("t", ty(Some(Quant::per_tensor(1.0, 0, 0, 1)))));
    verify(&g).unwrap();
}

#[test]
fn a_rectifier_does_not_lift_values_out_of_their_range() {
    let relu = |zero| {
        let ty = Type::quantized(DType::U8, vec![4], Quant::per_tensor(1.0, zero, 0, 1));
        let mut g = typed(ty.clone());
        let n = g.add_node("relu", Op::Relu, vec![g.find("x")], &[("y", ty)]);
        g.outputs = g.node(n).outputs.clone();
        g
    };
    verify(&relu(1)).unwrap();
    breaks(&relu(200), &[13], "node 'relu': expected a zero point of at most 1");
    assert!(bounds::check(&relu(200)).unwrap_err().to_string().contains("try: "));
}

#[test]
fn bounds_ask_for_constants_in_their_range() {
    let ty = Type::quantized(DType::U8, vec![1, 2], Quant::per_tensor(1.0, 0, 0, 1));
    let mut g = Graph::new("g");
    let x = g.add_const("x", Tensor::from_ints(ty.clone(), &[1, 255]).unwrap());
    let w = g.add_input("w", ty.with_shape(vec![2, 1]));
    let y = lowbit_ir::infer::apply(&mut g, "y", Op::MatMul(MatMul::default()), &[Some(x), Some(w)]).unwrap();
    g.outputs = vec![y];
    let e = bounds::check(&g).unwrap_err().to_string();
    assert!(e.contains("value 'x': it contains 255, outside of its range 0..1"), "{e}");
}

#[test]
fn all_are_reported_up_to_a_limit() {
    let mut g = valid();
    for i in 0..LIMIT + 5 {
        g.add_const(&format!("c{i}"), Tensor::scalar(0.0));
    }
    let message = verify(&g).unwrap_err().to_string();
    assert!(message.contains("found 25 violations") && message.ends_with("and 5 more"), "{message}");
    assert_eq!(message.matches("[6]").count(), LIMIT);
}
