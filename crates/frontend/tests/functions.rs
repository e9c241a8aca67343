//! Functions that a model defines are read where they are called.

mod common;

use common::*;
use lowbit_frontend::onnx::proto::{
    AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto, attribute_proto::AttributeType,
};
use lowbit_ir::{DType, Graph};

/// A function of the domain `own` in opset 18, whose nodes are given as `(op, operands, results, attributes)`.
fn function(
    name: &str,
    inputs: &str,
    outputs: &str,
    nodes: Vec<(&str, &str, &str, Vec<AttributeProto>)>,
) -> FunctionProto {
    let names = |s: &str| s.split_whitespace().map(|n| n.replace('_', "")).collect::<Vec<String>>();
    let node = |(op, inputs, outputs, attribute): (&str, &str, &str, Vec<AttributeProto>)| {
        let (op, domain) = op.strip_prefix("own.").map_or((op, ""), |op| (op, "own"));
        let (op_type, domain) = (Some(op.into()), Some(domain.into()));
        let (input, output) = (names(inputs), names(outputs));
        NodeProto { op_type, domain, input, output, attribute, ..NodeProto::default() }
    };
    FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: names(inputs),
        output: names(outputs),
        node: nodes.into_iter().map(node).collect(),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(18) }],
        ..FunctionProto::default()
    }
}

/// A model `y = own.f(x, ...)` with `x` of four floats.
fn model(functions: Vec<FunctionProto>, operands: &str, attributes: Vec<AttributeProto>) -> Model {
    let mut model = Model::new(13).input("x", DType::F32, &["2", "2"]).node("f", operands, "y", attributes).output("y");
    let node = &mut model.graph().node[0];
    (node.domain, node.name) = (Some("own".into()), Some("call".into()));
    model.0.functions = functions;
    model
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().map(|(_, n)| n.name.as_str()).collect()
}

fn of(graph: &Graph) -> Vec<f32> {
    let x = f32s(&[2, 2], &[-1.0, 2.0, -3.0, 4.0]);
    run(graph, &[x])[0].floats().unwrap().to_vec()
}

/// A float attribute that is the function's attribute of another name.
fn refers(name: &str, to: &str) -> AttributeProto {
    AttributeProto { ref_attr_name: Some(to.into()), f: None, ..float(name, 0.0) }
}

#[test]
fn calls_within_calls_are_read_in_place_and_named_by_who_calls() {
    let outer = function("f", "a", "b", vec![("own.g", "a", "t", vec![]), ("Neg", "t", "b", vec![])]);
    let inner = function("g", "a", "b", vec![("Relu", "a", "t", vec![]), ("Add", "t t", "b", vec![])]);
    let graph = model(vec![outer, inner], "x", vec![]).import().unwrap();
    assert_eq!(names(&graph), ["call/g_t/Relu_t", "call/g_t/Add_b", "call/Neg_b"]);
    assert!(graph.find("call/g_t/t").is_some() && graph.find("call/t").is_some());
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
    assert_eq!(of(&graph), [-0.0, -4.0, -0.0, -8.0]);
}

#[test]
fn two_calls_do_not_share_names() {
    let f = function("f", "a", "b", vec![("Relu", "a", "t", vec![]), ("Neg", "t", "b", vec![])]);
    let mut model = model(vec![f], "x", vec![]).node("f", "y", "z", vec![]).output("z");
    let node = &mut model.graph().node[1];
    (node.domain, node.name) = (Some("own".into()), Some("call".into()));
    let graph = model.import().unwrap();
    assert_eq!(names(&graph), ["call/Relu_t", "call/Neg_b", "call.1/Relu_t", "call.1/Neg_b"]);
}

#[test]
fn attributes_are_the_callers_or_the_functions_or_left_out() {
    let elu = |attribute| vec![("Elu", "a", "b", vec![attribute])];
    let mut f = function("f", "a", "b", elu(refers("alpha", "slope")));
    f.attribute = vec!["slope".into()];
    let expected = |alpha: f32| [alpha * (-1.0f32).exp_m1(), 2.0, alpha * (-3.0f32).exp_m1(), 4.0];
    near(&of(&model(vec![f.clone()], "x", vec![float("slope", 2.0)]).import().unwrap()), &expected(2.0));
    // Neither says one: it is the operator's own.
    near(&of(&model(vec![f.clone()], "x", vec![]).import().unwrap()), &expected(1.0));
    f.attribute.clear();
    f.attribute_proto = vec![float("slope", 3.0)];
    near(&of(&model(vec![f.clone()], "x", vec![]).import().unwrap()), &expected(3.0));
    near(&of(&model(vec![f.clone()], "x", vec![float("slope", 0.5)]).import().unwrap()), &expected(0.5));
    // Through a second function.
    let outer = {
        let mut outer = function("f", "a", "b", vec![("own.g", "a", "b", vec![refers("slope", "outer")])]);
        outer.attribute = vec!["outer".into()];
        outer
    };
    f.name = Some("g".into());
    let both = vec![outer, f];
    near(&of(&model(both.clone(), "x", vec![float("outer", 4.0)]).import().unwrap()), &expected(4.0));
    near(&of(&model(both.clone(), "x", vec![]).import().unwrap()), &expected(3.0));
    let told = model(both, "x", vec![float("other", 4.0)]).import().unwrap_err().to_string();
    assert!(told.contains("no attribute 'other'") && told.contains("call"), "{told}");
}

#[test]
fn operands_may_be_left_out_and_passed_through() {
    let clip = function("f", "a low high", "b", vec![("Clip", "a low high", "b", vec![])]);
    let clipped = |operands: &str| model(vec![clip.clone()], operands, vec![]).constant("c", &f32s(&[], &[1.0]));
    assert_eq!(of(&clipped("x c").import().unwrap()), [1.0, 2.0, 1.0, 4.0]);
    assert_eq!(of(&clipped("x _ c").import().unwrap()), [-1.0, 1.0, -3.0, 1.0]);
    let through = function("f", "a", "a", vec![]);
    let graph = model(vec![through], "x", vec![]).import().unwrap();
    assert_eq!((of(&graph), graph.value(graph.outputs[0]).name.as_str()), (vec![-1.0, 2.0, -3.0, 4.0], "y"));
    let told = clipped("x c c c").import().unwrap_err().to_string();
    assert!(told.contains("at most 3 operands of 'f', found 4"), "{told}");
}

#[test]
fn a_function_has_its_own_opset_and_goes_before_operators() {
    // Positions of a Slice are attributes before opset 10.
    let slice = |version| {
        let at = vec![ints("starts", &[0]), ints("ends", &[1]), ints("axes", &[1])];
        let mut f = function("f", "a", "b", vec![("Slice", "a", "b", at)]);
        f.opset_import[0].version = Some(version);
        model(vec![f], "x", vec![]).import()
    };
    assert_eq!(of(&slice(9).unwrap()), [-1.0, -3.0]);
    assert!(slice(13).is_err());
    let told = slice(99).unwrap_err().to_string();
    assert!(told.contains("opset") && told.contains("99"), "{told}");
    // Its domain and name are those of an operator that is read here.
    let mut gelu = function("Gelu", "a", "b", vec![("Neg", "a", "b", vec![])]);
    gelu.domain = Some("com.microsoft".into());
    let mut calls = model(vec![gelu], "x", vec![]);
    let node = &mut calls.graph().node[0];
    (node.domain, node.op_type) = (Some("com.microsoft".into()), Some("Gelu".into()));
    assert_eq!(of(&calls.import().unwrap()), [1.0, -2.0, 3.0, -4.0]);
}

#[test]
fn overloads_are_told_apart() {
    let mut one = function("f", "a", "b", vec![("Neg", "a", "b", vec![])]);
    one.overload = Some("one".into());
    let two = function("f", "a", "b", vec![("Abs", "a", "b", vec![])]);
    let mut calls = model(vec![one.clone(), two], "x", vec![]);
    assert_eq!(of(&calls.import().unwrap()), [1.0, 2.0, 3.0, 4.0]);
    calls.graph().node[0].overload = Some("one".into());
    assert_eq!(of(&calls.import().unwrap()), [1.0, -2.0, 3.0, -4.0]);
    let told = model(vec![one.clone(), one], "x", vec![]).import().unwrap_err().to_string();
    assert!(told.contains("two with one domain, name and overload"), "{told}");
}

#[test]
fn what_calls_itself_is_refused() {
    let itself = function("f", "a", "b", vec![("own.f", "a", "b", vec![])]);
    let told = model(vec![itself], "x", vec![]).import().unwrap_err().to_string();
    assert!(told.contains("'f' calls itself"), "{told}");
    let f = function("f", "a", "b", vec![("own.g", "a", "b", vec![])]);
    let g = function("g", "a", "b", vec![("own.f", "a", "b", vec![])]);
    let told = model(vec![f, g], "x", vec![]).import().unwrap_err().to_string();
    assert!(told.contains("calls itself"), "{told}");
}

/// `count` functions, each of which calls the next one `times` times; the last one is empty.
fn chain(count: usize, times: usize) -> Model {
    let of = |i: usize| match i {
        0 => "f".to_string(),
        i => format!("f{i}"),
    };
    let mut all = Vec::new();
    for i in 0..count - 1 {
        let called = format!("own.{}", of(i + 1));
        let named: Vec<(String, String)> = (0..times)
            .map(|k| {
                (
                    if k == 0 { "a".into() } else { format!("t{k}") },
                    if k + 1 == times { "b".into() } else { format!("t{}", k + 1) },
                )
            })
            .collect();
        let nodes = named.iter().map(|(from, to)| (called.as_str(), from.as_str(), to.as_str(), vec![])).collect();
        all.push(function(&of(i), "a", "b", nodes));
    }
    all.push(function(&of(count - 1), "a", "b", vec![("Neg", "a", "b", vec![])]));
    model(all, "x", vec![])
}

#[test]
fn deep_and_exponential_calls_are_refused_in_time() {
    assert!(chain(60, 1).import().is_ok());
    let told = chain(100, 1).import().unwrap_err().to_string();
    assert!(told.contains("at most 64 deep"), "{told}");
    assert_eq!(names(&chain(5, 3).import().unwrap()).len(), 81);
    let start = std::time::Instant::now();
    let told = chain(60, 2).import().unwrap_err().to_string();
    assert!(told.contains("at most 131072 nodes"), "{told}");
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn what_is_unsupported_in_functions_is_listed_with_all_else() {
    let f = function("f", "a", "b", vec![("STFT", "a", "t", vec![]), ("Det", "t", "b", vec![])]);
    let told = model(vec![f], "x", vec![]).node("STFT", "x", "z", vec![]).output("z").import().unwrap_err();
    let told = told.to_string();
    for part in ["3 nodes", "2 x STFT", "'call/STFT_t', 'STFT_z'", "1 x Det", "'call/Det_b'"] {
        assert!(told.contains(part), "expected '{part}' in: {told}");
    }
}

#[test]
fn a_name_that_nothing_gives_and_a_reference_without_a_function_are_refused() {
    let f = function("f", "a", "b", vec![("Add", "a x", "b", vec![])]);
    let told = model(vec![f], "x", vec![]).import().unwrap_err().to_string();
    assert!(told.contains("nothing gives this value") && told.contains("'x'"), "{told}");
    let f = function("f", "a", "b", vec![]);
    let told = model(vec![f], "x", vec![]).import().unwrap_err().to_string();
    assert!(told.contains("nothing in the function gives this value"), "{told}");
    let wild =
        Model::new(13).input("x", DType::F32, &["2"]).node("Elu", "x", "y", vec![refers("alpha", "s")]).output("y");
    assert!(wild.import().unwrap_err().to_string().contains("outside of a function"));
    let mut graph = attribute_of_graph();
    graph.name = Some("slope".into());
    let mut f = function("f", "a", "b", vec![("Neg", "a", "b", vec![])]);
    f.attribute = vec!["slope".into()];
    let told = model(vec![f], "x", vec![graph]).import().unwrap_err().to_string();
    assert!(told.contains("subgraph as a function's attribute"), "{told}");
}

fn attribute_of_graph() -> AttributeProto {
    AttributeProto {
        g: Some(Default::default()),
        r#type: Some(AttributeType::Graph as i32),
        ..AttributeProto::default()
    }
}
