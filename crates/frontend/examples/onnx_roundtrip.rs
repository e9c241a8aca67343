//! `cargo run -p lowbit-frontend --example onnx_roundtrip -- MODEL.onnx FOLDER`
//!
//! Reads a model, writes it to FOLDER/model.onnx, checks that this file gives the same graph again, runs the graph in
//! the interpreter on numbers of a fixed sequence, and leaves inputs and outputs as raw little-endian files with their
//! shapes in FOLDER/tensors.txt. `cargo xtask roundtrip` compares them with ONNX Runtime.

use lowbit_frontend::{ImportOptions, load, save};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Dim, Engine, Error, Result, Shape, Tensor, Type};
use std::fmt::Write;
use std::path::Path;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder] = args.as_slice() else {
        eprintln!("usage: onnx_roundtrip MODEL.onnx FOLDER");
        return std::process::ExitCode::FAILURE;
    };
    match run(Path::new(model), Path::new(folder)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(model: &Path, folder: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::new(e.to_string());
    std::fs::create_dir_all(folder).map_err(io)?;
    let options = ImportOptions::default();
    let graph = load(model, &options)?;
    let copy = folder.join("model.onnx");
    save(&graph, &copy)?;
    let again = load(&copy, &options)?;
    if again != graph {
        let text = |g| lowbit_ir::text::print_with(g, lowbit_ir::text::Constants::Elided);
        std::fs::write(folder.join("before.txt"), text(&graph)).map_err(io)?;
        std::fs::write(folder.join("after.txt"), text(&again)).map_err(io)?;
        return Err(Error::new("the written file gives another graph: see before.txt and after.txt"));
    }

    let mut listing = String::new();
    let mut inputs = Vec::new();
    for (i, v) in graph.inputs.iter().enumerate() {
        // One sample where the batch is open.
        let dims: Vec<usize> = graph.ty(*v).shape.0.iter().map(|d: &Dim| d.known().unwrap_or(1)).collect();
        let tensor = numbers(graph.ty(*v).with_shape(Shape::known(&dims)), i as u64 + 1)?;
        dump(folder, "in", i, &graph.value(*v).name, &tensor, &mut listing)?;
        inputs.push(tensor);
    }
    let outputs = Interpreter::default().load(&graph, &[])?.run(&inputs)?.outputs;
    for (i, (v, tensor)) in graph.outputs.iter().zip(&outputs).enumerate() {
        dump(folder, "out", i, &graph.value(*v).name, tensor, &mut listing)?;
    }
    std::fs::write(folder.join("tensors.txt"), listing).map_err(io)
}

/// A fixed sequence: floats in -1..1, integers in 0..16.
fn numbers(ty: Type, seed: u64) -> Result<Tensor> {
    let count = ty.shape.count().ok_or_else(|| Error::new("the input is too large"))?;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 40
    };
    match ty.dtype.is_float() {
        true => Tensor::from_floats(ty, (0..count).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect()),
        false => Tensor::from_ints(ty, &(0..count).map(|_| (next() % 16) as i64).collect::<Vec<_>>()),
    }
}

fn dump(folder: &Path, kind: &str, i: usize, name: &str, tensor: &Tensor, listing: &mut String) -> Result<()> {
    let file = format!("{kind}{i}.bin");
    std::fs::write(folder.join(&file), tensor.bytes()).map_err(|e| Error::new(e.to_string()))?;
    let dims: Vec<String> = tensor.dims().iter().map(usize::to_string).collect();
    writeln!(listing, "{file}\t{}\t{}\t{name}", tensor.dtype(), dims.join(",")).map_err(|e| Error::new(e.to_string()))
}
