//! docs/arithmetic.md against the interpreter: the operators among its examples.

mod example;

use example::{run, show};
use lowbit_ir::Tensor;
use lowbit_ir::text::OPERATORS;

const DOCUMENT: &str = include_str!("../../../docs/arithmetic.md");

/// The lines `OPERATOR {ATTRIBUTES} | TYPE [ELEMENTS] | ... = TYPE [ELEMENTS] | ...`, where the results may be `refused`.
fn examples() -> impl Iterator<Item = (&'static str, &'static str)> {
    let (_, rest) = DOCUMENT.split_once("```operators\n").expect("a block of operators");
    let (block, _) = rest.split_once("```").expect("the end of the block");
    block.lines().map(|line| line.rsplit_once(" = ").expect("an example with a result"))
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
            (Ok((y, expected)), _) if y.len() == expected.len() && y.iter().zip(&expected).all(|(a, b)| same(a, b)) => {
            }
            (Ok((y, _)), _) => {
                wrong.push(format!("{left} = {}", y.iter().map(show).collect::<Vec<_>>().join(" | ")));
            }
            (Err(e), _) => wrong.push(format!("{left}: {e}")),
        }
    }
    assert!(examples().count() > 80);
    assert!(wrong.is_empty(), "computed differently:\n{}", wrong.join("\n"));
}

/// A new operator needs a place in the document.
#[test]
fn every_operator_is_named() {
    let missing: Vec<&&str> = OPERATORS.iter().filter(|name| !DOCUMENT.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/arithmetic.md does not say what these compute: {missing:?}");
}
