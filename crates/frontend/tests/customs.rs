//! Operators of the user's in ONNX files: written by name, read again by whoever has them.

use lowbit_frontend::{ImportOptions, export, load_bytes};
use lowbit_ir::{CustomOp, Customs, Result, Tensor, Type, text};
use std::sync::Arc;

const GRAPH: &str = r#"
graph "own" {
  input %x: f32[Nx4]
  %a = Relu(%x)
  %b: f32[Nx4] = Custom(%a) {op "cube"}
  %y = Neg(%b)
  output %y
}
"#;

struct Cube;

impl CustomOp for Cube {
    fn name(&self) -> &str {
        "cube"
    }

    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        Ok(inputs.iter().map(|ty| (*ty).clone()).collect())
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        inputs.iter().map(|t| Tensor::from_f32(t.dims(), t.floats()?.iter().map(|x| x * x * x).collect())).collect()
    }
}

#[test]
fn they_go_through_files() {
    let graph = text::parse(GRAPH).unwrap();
    let bytes = export(&graph).unwrap();
    let customs = Customs::default().with(Arc::new(Cube)).unwrap();
    let options = ImportOptions { customs, ..ImportOptions::default() };
    let back = load_bytes(bytes.clone().into(), None, &options).unwrap();
    assert_eq!(text::print(&back), text::print(&graph.compact()));

    let unknown = load_bytes(bytes.into(), None, &ImportOptions::default()).unwrap_err().to_string();
    assert!(unknown.contains("cube") && unknown.contains("lowbit.custom") && unknown.contains("customs"), "{unknown}");
}
