//! The interpreter beside ONNX's reference implementation, which is written in numpy and computes in f64 (of cubic grids
//! without its limit to coordinates, which PyTorch has not).
//!
//! `reference.txt` has an example a line, whose results it gave.

mod example;

use example::{run, show};
use lowbit_ir::Tensor;

/// Integers alike, floats but for their rounding: interpolation has some tens of operations on values up to 10.
fn near(a: &Tensor, b: &Tensor) -> bool {
    let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-5 || a == b);
    a.ty() == b.ty()
        && match a.floats() {
            Ok(found) => same(&found, &b.floats().expect("floats")),
            Err(_) => a.ints().expect("integers") == b.ints().expect("integers"),
        }
}

#[test]
fn results_are_those_of_the_reference() {
    let lines = include_str!("reference.txt").lines();
    let mut wrong = Vec::new();
    for line in lines.clone() {
        let (left, right) = line.rsplit_once(" = ").expect("an example with a result");
        let (found, expected) = run(left, right).unwrap_or_else(|e| panic!("{left}: {e}"));
        if found.len() != expected.len() || found.iter().zip(&expected).any(|(a, b)| !near(a, b)) {
            let list = |ts: &[Tensor]| ts.iter().map(show).collect::<Vec<_>>().join(" | ");
            wrong.push(format!("{left}\n  found {}\n  expected {}", list(&found), list(&expected)));
        }
    }
    assert!(lines.count() > 20);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
