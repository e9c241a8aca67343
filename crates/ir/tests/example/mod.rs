//! Operators with operands and results on one line: `OPERATOR {ATTRIBUTES} | TYPE [ELEMENTS] | ... = TYPE [ELEMENTS] | ...`.

use lowbit_ir::interp::Interpreter;
use lowbit_ir::text::parse;
use lowbit_ir::{Engine, Result, Tensor};

/// A constant of the text form, from `TYPE [ELEMENTS]`.
fn constant(name: &str, value: &str) -> String {
    let (ty, elements) = value.trim().rsplit_once(" [").expect("a type and elements");
    format!("const %{name}: {ty} = [{elements}\n")
}

/// What the interpreter gives for the left side of an example, and what the right side, which may be `refused`, expects.
pub fn run(left: &str, right: &str) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let mut parts = left.split(" | ");
    let operator = parts.next().expect("an operator").trim();
    let (name, attributes) = operator.split_once(' ').unwrap_or((operator, ""));
    let (mut constants, mut operands) = (String::new(), Vec::new());
    for (i, operand) in parts.enumerate() {
        constants += &constant(&format!("x{i}"), operand);
        operands.push(format!("%x{i}"));
    }
    let results: Vec<&str> = match right {
        "refused" => vec![""; if name == "TopK" { 2 } else { 1 }],
        right => right.split(" | ").collect(),
    };
    let (mut declared, mut outputs) = (Vec::new(), String::new());
    for (i, result) in results.iter().enumerate() {
        declared.push(match result.rsplit_once(" [") {
            Some((ty, _)) => format!("%y{i}: {ty}"),
            None => format!("%y{i}"),
        });
        outputs += &format!("output %y{i}\n");
    }
    for (i, result) in results.iter().enumerate().filter(|(_, result)| !result.is_empty()) {
        constants += &constant(&format!("expected{i}"), result);
        outputs += &format!("output %expected{i}\n");
    }
    let text = format!(
        "graph \"example\" {{\n{constants}{} = {name}({}) {attributes}\n{outputs}}}",
        declared.join(", "),
        operands.join(", ")
    );
    // Reading infers types, which is where some examples are refused.
    let graph = parse(&text)?;
    let mut outputs = Interpreter::default().load(&graph, &[])?.run(&[])?.outputs;
    let expected = outputs.split_off(results.len());
    Ok((outputs, expected))
}

/// A tensor as an example has it.
pub fn show(t: &Tensor) -> String {
    match t.floats() {
        Ok(f) => format!("{} {f:?}", t.ty()),
        Err(_) => format!("{} {:?}", t.ty(), t.ints().expect("integers")),
    }
}
