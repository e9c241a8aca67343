//! Control flow that folds is read as what it does; sequences are lists while reading.

mod common;

use common::*;
use lowbit_frontend::onnx::proto::{AttributeProto, GraphProto, attribute_proto::AttributeType};
use lowbit_ir::{DType, Graph, Tensor, Type};

fn subgraph(name: &str, body: Model) -> AttributeProto {
    let g: Option<GraphProto> = body.0.graph;
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g,
        ..AttributeProto::default()
    }
}

fn body() -> Model {
    Model::new(13)
}

fn truth(v: bool) -> Tensor {
    Tensor::from_ints(Type::plain(DType::Bool, Vec::new()), &[i64::from(v)]).unwrap()
}

fn one(v: i64) -> Tensor {
    Tensor::from_i64(&[], vec![v]).unwrap()
}

fn named(mut model: Model, name: &str) -> Model {
    model.graph().node.last_mut().unwrap().name = Some(name.into());
    model
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().map(|(_, n)| n.name.as_str()).collect()
}

#[track_caller]
fn refused(model: &Model, parts: &[&str]) {
    let error = model.import().map(|_| ()).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "expected '{part}' in: {error}");
    }
}

/// `y = -(x + x)` if the rank of `x` is 2, else `Det(x)`, which is not supported.
fn by_rank(dims: &[&str]) -> Model {
    let then = body().node("Neg", "twice", "t", vec![]).output("t");
    let other = body().node("Det", "twice", "t", vec![]).output("t");
    let model = body()
        .input("x", DType::F32, dims)
        .node("Add", "x x", "twice", vec![])
        .node("Shape", "x", "s", vec![])
        .node("Size", "s", "rank", vec![])
        .constant("two", &one(2))
        .node("Equal", "rank two", "flat", vec![])
        .node("If", "flat", "y", vec![subgraph("then_branch", then), subgraph("else_branch", other)]);
    named(model, "choice").output("y")
}

#[test]
fn the_branch_that_is_taken_is_read_alone() {
    let graph = by_rank(&["1", "2"]).import().unwrap();
    assert_eq!(names(&graph), ["Add_twice", "choice/Neg_t"]);
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
    assert_eq!(run(&graph, &[f32s(&[1, 2], &[1.0, -2.0])])[0].floats().unwrap().to_vec(), [-2.0, 4.0]);
    refused(&by_rank(&["1", "2", "2"]), &["Det", "choice/Det_t"]);
}

#[test]
fn a_branch_may_give_what_it_did_not_make() {
    let then = body().output("x");
    let other = body().constant("c", &f32s(&[2], &[5.0, 6.0])).output("c");
    let model = |c: bool| {
        let branches = vec![subgraph("then_branch", then.clone()), subgraph("else_branch", other.clone())];
        let model = body().input("x", DType::F32, &["2"]).constant("c", &truth(c));
        model.node("If", "c", "t", branches).node("Neg", "t", "y", vec![]).output("y").output("t")
    };
    let x = f32s(&[2], &[1.0, 2.0]);
    let result = |c| run(&model(c).import().unwrap(), std::slice::from_ref(&x))[0].floats().unwrap().to_vec();
    assert_eq!((result(true), result(false)), (vec![-1.0, -2.0], vec![-5.0, -6.0]));
    let graph = model(true).import().unwrap();
    assert_eq!(graph.value(graph.outputs[1]).name, "t");
}

#[test]
fn conditions_that_do_not_fold_are_refused_with_what_to_try() {
    let branch = || body().node("Neg", "x", "t", vec![]).output("t");
    let branches = vec![subgraph("then_branch", branch()), subgraph("else_branch", branch())];
    let running = body().input("x", DType::F32, &["1"]).constant("z", &f32s(&[1], &[0.0]));
    let running = running.node("Less", "x z", "c", vec![]).node("If", "c", "y", branches.clone()).output("y");
    refused(&running, &["If_y", "expected a constant condition", "computed while running"]);
    let open = body().input("x", DType::F32, &["N"]).constant("n", &i64s(&[3])).node("Shape", "x", "s", vec![]);
    let open = open.node("Equal", "s n", "c", vec![]).node("If", "c", "y", branches).output("y");
    refused(&open, &["If_y", "condition", "depends on open dimensions", "--shape"]);
    assert_eq!(names(&open.import_with(&[("x", &[3])]).unwrap()), ["If_y/Neg_t"]);
}

/// A loop over `v = v + v`, which gives every `v` and the number of its iteration; `more` is what else its body does.
fn doubling(trips: Option<i64>, more: impl Fn(Model) -> Model) -> Model {
    let inner = body()
        .input("i", DType::I64, &[])
        .input("go", DType::Bool, &[])
        .input("v", DType::F32, &["2"])
        .node("Add", "v v", "w", vec![])
        .node("Identity", "i", "number", vec![]);
    let inner = more(inner).output("w").output("w").output("number");
    let mut model = body().input("x", DType::F32, &["2"]);
    if let Some(n) = trips {
        model = model.constant("trips", &one(n));
    }
    let operands = if trips.is_some() { "trips _ x" } else { "_ _ x" };
    let model = model.node("Loop", operands, "last all numbers", vec![subgraph("body", inner)]);
    named(model, "loop").output("last").output("all").output("numbers")
}

#[test]
fn a_loop_becomes_its_iterations() {
    let always = |m: Model| m.output("go");
    let graph = doubling(Some(3), always).import().unwrap();
    let adds: Vec<&str> = names(&graph).into_iter().filter(|n| n.contains("Add")).collect();
    assert_eq!(adds, ["loop/0/Add_w", "loop/1/Add_w", "loop/2/Add_w"]);
    assert!(graph.find("loop/1/w").is_some());
    let outputs = run(&graph, &[f32s(&[2], &[1.0, -1.0])]);
    assert_eq!(outputs[0].floats().unwrap().to_vec(), [8.0, -8.0]);
    assert_eq!(
        (outputs[1].dims(), outputs[1].floats().unwrap().to_vec()),
        (&[3, 2][..], vec![2.0, -2.0, 4.0, -4.0, 8.0, -8.0])
    );
    assert_eq!((outputs[2].dims(), outputs[2].ints().unwrap()), (&[3][..], vec![0, 1, 2]));
    // No iteration: what is carried goes through, and rows of nothing do not exist.
    let none = doubling(Some(0), always);
    refused(&none, &["loop", "'all'", "not supported, but something reads it"]);
    let mut none = none;
    none.graph().output.truncate(1);
    let graph = none.import().unwrap();
    assert_eq!(run(&graph, &[f32s(&[2], &[1.0, -1.0])])[0].floats().unwrap().to_vec(), [1.0, -1.0]);
}

#[test]
fn a_condition_that_folds_ends_the_loop() {
    // It goes on while the number is below 3.
    let below = |m: Model| m.constant("three", &one(3)).node("Less", "i three", "on", vec![]).output("on");
    for trips in [None, Some(i64::MAX), Some(100)] {
        let outputs = run(&doubling(trips, below).import().unwrap(), &[f32s(&[2], &[1.0, -1.0])]);
        assert_eq!(outputs[2].ints().unwrap(), [0, 1, 2, 3]);
    }
    // A count ends it before.
    let outputs = run(&doubling(Some(2), below).import().unwrap(), &[f32s(&[2], &[1.0, -1.0])]);
    assert_eq!(outputs[2].ints().unwrap(), [0, 1]);
    // A condition that is computed while running matters unless the count ends the loop there.
    let running = |m: Model| {
        let m = m.constant("z", &f32s(&[2], &[0.0, 0.0])).node("Less", "v z", "less", vec![]);
        m.node("Reshape", "less shape", "on", vec![]).constant("shape", &i64s(&[2])).output("on")
    };
    assert!(doubling(Some(1), running).import().is_ok());
    refused(&doubling(Some(2), running), &["loop", "condition that is known while reading", "computed while running"]);
}

#[test]
fn endless_and_huge_loops_are_refused_in_time() {
    let always = |m: Model| m.output("go");
    let start = std::time::Instant::now();
    refused(&doubling(None, always), &["loop", "at most 131072 nodes"]);
    refused(&doubling(Some(i64::MAX), always), &["loop", "at most 131072 nodes"]);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    refused(&doubling(Some(-1), |m| m.output("go")), &["something reads it"]);
}

#[test]
fn subgraphs_see_names_around_them_and_hide_their_own() {
    // The inner body reads `x` of the model, `v` of the loop around it, and has a `w` of its own.
    let inner = body().input("j", DType::I64, &[]).input("on", DType::Bool, &[]).input("u", DType::F32, &["2"]);
    let inner = inner.node("Add", "u x", "w", vec![]).node("Add", "w v", "r", vec![]).output("on").output("r");
    let outer = body().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).input("v", DType::F32, &["2"]);
    let outer = outer
        .constant("two", &one(2))
        .node("Loop", "two _ v", "w", vec![subgraph("body", inner)])
        .output("go")
        .output("w");
    let model = body().input("x", DType::F32, &["2"]).constant("two", &one(2));
    let model = model.node("Loop", "two _ x", "y", vec![subgraph("body", outer)]).output("y");
    let graph = model.import().unwrap();
    // v -> v + 2 (x + v) = 3 v + 2 x, twice, from x: 3 (5 x) + 2 x.
    assert_eq!(run(&graph, &[f32s(&[2], &[1.0, -2.0])])[0].floats().unwrap().to_vec(), [17.0, -34.0]);
    assert!(graph.find("Loop_y/1/Loop_w/0/w").is_some());
    let mut wrong = model.clone();
    let node = wrong.graph().node[0].attribute[0].g.as_mut().unwrap();
    node.node[0].input[2] = "nowhere".into();
    refused(&wrong, &["nothing gives this value", "'nowhere'"]);
}

#[test]
fn a_scan_goes_along_axes_in_directions() {
    let inner = body().input("s", DType::F32, &["2"]).input("e", DType::F32, &["2"]);
    let inner = inner.node("Add", "s e", "t", vec![]).node("Neg", "t", "n", vec![]).output("t").output("n");
    let scan = |attributes: Vec<AttributeProto>| {
        let mut all = vec![subgraph("body", inner.clone()), int("num_scan_inputs", 1)];
        all.extend(attributes);
        let model = body().input("z", DType::F32, &["2"]).input("x", DType::F32, &["2", "3"]);
        let graph = model.node("Scan", "z x", "last all", all).output("last").output("all").import().unwrap();
        let found = run(&graph, &[f32s(&[2], &[0.0, 100.0]), f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
        assert_eq!(found[0].floats().unwrap().to_vec(), [6.0, 115.0]);
        (found[1].dims().to_vec(), found[1].floats().unwrap().to_vec())
    };
    let along = || ints("scan_input_axes", &[1]);
    assert_eq!(scan(vec![along()]), (vec![3, 2], vec![-1.0, -104.0, -3.0, -109.0, -6.0, -115.0]));
    let backwards = vec![along(), ints("scan_input_directions", &[1])];
    assert_eq!(scan(backwards), (vec![3, 2], vec![-3.0, -106.0, -5.0, -111.0, -6.0, -115.0]));
    let turned = vec![along(), ints("scan_output_axes", &[-1]), ints("scan_output_directions", &[1])];
    assert_eq!(scan(turned), (vec![2, 3], vec![-6.0, -3.0, -1.0, -115.0, -109.0, -104.0]));
    let open = body().input("z", DType::F32, &["2"]).input("x", DType::F32, &["N", "2"]);
    let all = vec![subgraph("body", inner.clone()), int("num_scan_inputs", 1)];
    refused(
        &open.node("Scan", "z x", "last", all).output("last"),
        &["Scan_last", "iterations along axis 0", "--shape"],
    );
}

#[test]
fn the_scan_of_opset_8_goes_over_a_batch() {
    let inner = body().input("s", DType::F32, &["1"]).input("e", DType::F32, &["1"]);
    let inner = inner.node("Add", "s e", "t", vec![]).node("Neg", "t", "n", vec![]).output("t").output("n");
    let all = vec![subgraph("body", inner), int("num_scan_inputs", 1)];
    let model = Model::new(8).input("z", DType::F32, &["2", "1"]).input("x", DType::F32, &["2", "3", "1"]);
    let graph = model.node("Scan", "_ z x", "last all", all).output("last").output("all").import().unwrap();
    let found = run(&graph, &[f32s(&[2, 1], &[0.0, 10.0]), f32s(&[2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
    assert_eq!((found[0].dims(), found[0].floats().unwrap().to_vec()), (&[2, 1][..], vec![6.0, 25.0]));
    assert_eq!(found[1].dims(), [2, 3, 1]);
    assert_eq!(found[1].floats().unwrap().to_vec(), [-1.0, -3.0, -6.0, -14.0, -19.0, -25.0]);
}

#[test]
fn sequences_are_lists_while_reading() {
    let model = body()
        .input("x", DType::F32, &["3", "2"])
        .constant("first", &one(0))
        .constant("last", &one(-1))
        .node("SplitToSequence", "x", "rows", vec![int("keepdims", 0)])
        .node("SequenceAt", "rows last", "a", vec![])
        .node("Neg", "a", "b", vec![])
        .node("SequenceInsert", "rows b first", "more", vec![])
        .node("SequenceErase", "more last", "less", vec![])
        .node("Identity", "less", "same", vec![])
        .node("SequenceLength", "same", "n", vec![])
        .node("ConcatFromSequence", "same", "y", vec![int("axis", 0), int("new_axis", 1)])
        .node("SequenceEmpty", "", "none", vec![])
        .node("SequenceConstruct", "a b", "two", vec![])
        .node("ConcatFromSequence", "two", "z", vec![int("axis", 0)])
        .node("OptionalHasElement", "same", "has", vec![])
        .output("y")
        .output("n")
        .output("z")
        .output("has");
    let found = run(&model.import().unwrap(), &[f32s(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
    assert_eq!(
        (found[0].dims(), found[0].floats().unwrap().to_vec()),
        (&[3, 2][..], vec![-5.0, -6.0, 1.0, 2.0, 3.0, 4.0])
    );
    assert_eq!((found[1].ints().unwrap(), found[3].ints().unwrap()), (vec![3], vec![1]));
    assert_eq!(found[2].floats().unwrap().to_vec(), [5.0, 6.0, -5.0, -6.0]);
    refused(&model.clone().output("less"), &["'less'", "expected a tensor, found a sequence"]);
    refused(&model.clone().node("Neg", "rows", "w", vec![]).output("w"), &["expected a tensor, found a sequence"]);
    let outside = model.constant("far", &one(7)).node("SequenceAt", "rows far", "w", vec![]).output("w");
    refused(&outside, &["sequence of 3 tensors, found 7"]);
}

#[test]
fn a_loop_carries_a_sequence() {
    let inner = body().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).input("s", DType::F32, &[]);
    let inner = inner
        .node("SequenceAt", "rows i", "row", vec![])
        .node("Neg", "row", "n", vec![])
        .node("SequenceInsert", "s n", "t", vec![])
        .output("go")
        .output("t");
    let model = body()
        .input("x", DType::F32, &["3", "2"])
        .node("SplitToSequence", "x", "rows", vec![])
        .node("SequenceLength", "rows", "n", vec![])
        .node("SequenceEmpty", "", "none", vec![])
        .node("Loop", "n _ none", "all", vec![subgraph("body", inner)])
        .node("ConcatFromSequence", "all", "y", vec![int("axis", 0)])
        .output("y");
    let found = run(&model.import().unwrap(), &[f32s(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]);
    assert_eq!(found[0].floats().unwrap().to_vec(), [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]);
    let each = body().input("r", DType::F32, &["1", "2"]).node("Abs", "r", "q", vec![]).output("q");
    let mapped = body()
        .input("x", DType::F32, &["2", "2"])
        .node("SplitToSequence", "x", "rows", vec![])
        .node("SequenceMap", "rows", "all", vec![subgraph("body", each)])
        .node("ConcatFromSequence", "all", "y", vec![int("axis", 1)])
        .output("y");
    let found = run(&mapped.import().unwrap(), &[f32s(&[2, 2], &[-1.0, 2.0, -3.0, 4.0])]);
    assert_eq!((found[0].dims(), found[0].floats().unwrap().to_vec()), (&[1, 4][..], vec![1.0, 2.0, 3.0, 4.0]));
}

#[test]
fn what_is_unsupported_in_a_loop_is_listed_once() {
    let inner = body().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).input("v", DType::F32, &["2"]);
    let inner = inner.node("STFT", "v", "w", vec![]).output("go").output("w");
    let model = body().input("x", DType::F32, &["2"]).constant("two", &one(2));
    let model = model.node("Loop", "two _ x", "y", vec![subgraph("body", inner)]).node("Det", "x", "z", vec![]);
    refused(&model.output("y").output("z"), &["2 nodes", "1 x STFT", "Loop_y/0/STFT_w", "1 x Det"]);
}
