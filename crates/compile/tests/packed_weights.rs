//! Weights behind a Dequantize, which become floats while they are packed, wherever what is beside them comes from.

use lowbit_compile::{Target, compile};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Engine, Tensor, text};
use lowbit_runtime::{Program, Session};
use std::sync::Arc;

/// Compiles a graph, and compares what it gives with the interpreter's.
fn same(text: &str, inputs: &[Tensor]) -> Arc<Program> {
    let g = text::parse(text).unwrap();
    let expected = Interpreter::default().load(&g, &[]).unwrap().run(inputs).unwrap().outputs;
    let program = compile(&g, &Target::host()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let found = Session::new(program.clone()).unwrap().run(inputs).unwrap();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(&expected).for_each(|(a, b)| assert_eq!(a.bytes(), b.bytes(), "{text}"));
    program
}

fn floats(dims: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_f32(dims, data.to_vec()).unwrap()
}

#[test]
fn a_bias_may_be_computed_from_a_constant() {
    for op in ["Add(%c, %u)", "Add(%u, %c)", "Mul(%c, %u)", "Dequantize(%q)", "Neg(%c)"] {
        let text = format!(
            r#"
graph "g" {{
  input %x: f32[1x2]
  input %u: f32[2]
  const %c: f32[2] = [1.5, -2.0]
  const %q: i8[2]{{0.5 * q}} = [3, -4]
  const %w: i8[2x2]{{0.25 * q}} = [1, 2, 3, 4]
  %dq = Dequantize(%w)
  %b = {op}
  %y = MatMul(%x, %dq, %b)
  output %y
}}
"#
        );
        same(&text, &[floats(&[1, 2], &[0.5, -1.25]), floats(&[2], &[3.0, 7.0])]);
    }
}

#[test]
fn what_becomes_known_is_computed_with_its_weights() {
    let text = r#"
graph "g" {
  input %u: f32[1x2]
  const %c: f32[1x2] = [1.5, -2.0]
  const %w: i8[2x2]{0.25 * q} = [1, 2, 3, 4]
  %dq = Dequantize(%w)
  %x = Relu(%c)
  %y = MatMul(%x, %dq)
  %z = Add(%y, %u)
  output %z
}
"#;
    let program = same(text, &[floats(&[1, 2], &[0.5, -1.25])]);
    let steps: Vec<&str> = program.steps().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(steps, ["z"]);
}

#[test]
fn a_mean_over_nothing_is_what_the_interpreter_says() {
    for keep in ["keep_dims, ", ""] {
        let text = format!(
            "graph \"g\" {{\n  input %x: f32[1x3x0x4]\n  %y = ReduceMean(%x) {{{keep}axes [2, 3]}}\n  output %y\n}}\n"
        );
        same(&text, &[floats(&[1, 3, 0, 4], &[])]);
    }
}
