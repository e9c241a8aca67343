//! `cargo run -p lowbit-frontend --example import -- MODEL.onnx`: reads a model and says what is in it.
use lowbit_frontend::{ImportOptions, load};
use std::path::Path;

fn main() {
    for path in std::env::args().skip(1) {
        match load(Path::new(&path), &ImportOptions::default()) {
            Ok(g) => {
                let ty = |v: &lowbit_ir::ValueId| format!("{} {}", g.value(*v).name, g.ty(*v));
                let inputs: Vec<String> = g.inputs.iter().map(ty).collect();
                let outputs: Vec<String> = g.outputs.iter().map(ty).collect();
                println!("{path}: {} nodes, {} -> {}", g.order().len(), inputs.join(", "), outputs.join(", "));
            }
            Err(e) => println!("{path}: {e}"),
        }
    }
}
