//! docs/arithmetic.md against the interpreter: the operators among its examples.

use lowbit_ir::interp::Interpreter;
use lowbit_ir::text::{OPERATORS, parse};
use lowbit_ir::{Engine, Result, Tensor};

const DOCUMENT: &str = include_str!("../../../docs/arithmetic.md");

/// The lines `OPERATOR {ATTRIBUTES} | TYPE [ELEMENTS] | ... = TYPE [ELEMENTS]`, where the result may be `refused`.
fn examples() -> impl Iterator<Item = (&'static str, &'static str)> {
    let (_, rest) = DOCUMENT.split_once("```operators\n").expect("a block of operators");
    let (block, _) = rest.split_once("```").expect("the end of the block");
    block.lines().map(|line| line.rsplit_once(" = ").expect("an example with a result"))
}

/// A constant of the text form, from `TYPE [ELEMENTS]`.
fn constant(name: &str, value: &str) -> String {
    let (ty, elements) = value.trim().rsplit_once(" [").expect("a type and elements");
    format!("const %{name}: {ty} = [{elements}\n")
}

/// What the interpreter gives for the left side of an example, and what is expected of it.
fn run(left: &str, right: &str) -> Result<(Tensor, Tensor)> {
    let mut parts = left.split(" | ");
    let operator = parts.next().expect("an operator").trim();
    let (name, attributes) = operator.split_once(' ').unwrap_or((operator, ""));
    let (mut constants, mut operands) = (String::new(), Vec::new());
    for (i, operand) in parts.enumerate() {
        constants += &constant(&format!("x{i}"), operand);
        operands.push(format!("%x{i}"));
    }
    let declared = match right {
        "refused" => String::new(),
        right => {
            constants += &constant("expected", right);
            format!(": {}", right.rsplit_once(" [").expect("a type and elements").0)
        }
    };
    let expected = if right == "refused" { "x0" } else { "expected" };
    let text = format!(
        "graph \"example\" {{\n{constants}%y{declared} = {name}({}) {attributes}\noutput %y\noutput %{expected}\n}}",
        operands.join(", ")
    );
    // Reading infers types, which is where some examples are refused.
    let graph = parse(&text)?;
    let mut outputs = Interpreter::default().load(&graph, &[])?.run(&[])?.outputs;
    let expected = outputs.pop().expect("two outputs");
    Ok((outputs.pop().expect("two outputs"), expected))
}

/// The same type and bits; any NaN is any other.
fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |t: &Tensor| match t.floats() {
        Ok(f) => f.iter().map(|x| if x.is_nan() { i64::MIN } else { i64::from(x.to_bits()) }).collect(),
        Err(_) => t.ints().expect("integers"),
    };
    a.ty() == b.ty() && bits(a) == bits(b)
}

#[test]
fn examples_are_what_the_interpreter_computes() {
    let mut wrong = Vec::new();
    for (left, right) in examples() {
        match (run(left, right), right) {
            (Err(_), "refused") => {}
            (Ok((y, _)), "refused") => wrong.push(format!("{left} = {}", show(&y))),
            (Ok((y, expected)), _) if same(&y, &expected) => {}
            (Ok((y, _)), _) => wrong.push(format!("{left} = {}", show(&y))),
            (Err(e), _) => wrong.push(format!("{left}: {e}")),
        }
    }
    assert!(examples().count() > 80);
    assert!(wrong.is_empty(), "computed differently:\n{}", wrong.join("\n"));
}

fn show(t: &Tensor) -> String {
    match t.floats() {
        Ok(f) => format!("{} {f:?}", t.ty()),
        Err(_) => format!("{} {:?}", t.ty(), t.ints().expect("integers")),
    }
}

/// A new operator needs a place in the document.
#[test]
fn every_operator_is_named() {
    let missing: Vec<&&str> = OPERATORS.iter().filter(|name| !DOCUMENT.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/arithmetic.md does not say what these compute: {missing:?}");
}
