//! `cargo run --release -p lowbit-frontend --example onnx_conformance -- FOLDER [NAME_PART] [OPEN]`
//!
//! Runs ONNX's own operator tests: FOLDER holds one folder a test with `model.onnx` and `test_data_set_0/*.pb`, as the
//! Python package onnx makes them (`onnx.backend.test.case.node.collect_testcases`).
//! Tests of operators that are not in the table are left out.
//! All inputs but the first OPEN (1 if left out) are made constants, as in real models; where even those must be, they are.
//! Printed are the tests that differ or cannot be read, and the counts.

use lowbit_frontend::onnx::external::External;
use lowbit_frontend::onnx::proto::{ModelProto, TensorProto};
use lowbit_frontend::onnx::{OPS, tensor};
use lowbit_frontend::{ImportOptions, load_bytes};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Engine, Error, Result, Tensor};
use prost::Message;
use std::path::Path;

/// Largest difference allowed, relative to 1 + the expected value.
const TOLERANCE: f32 = 1e-5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = args.first() else {
        eprintln!("usage: onnx_conformance FOLDER [NAME_PART] [OPEN]");
        return;
    };
    let part = args.get(1).map_or("", String::as_str);
    let open = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut tests: Vec<_> = entries.map(|e| e.path()).filter(|p| p.to_string_lossy().contains(part)).collect();
    tests.sort();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for test in &tests {
        match run(test, open) {
            Ok(true) => passed += 1,
            Ok(false) => skipped += 1,
            Err(e) => {
                failed += 1;
                println!("{}: {e}", test.file_name().unwrap_or_default().to_string_lossy());
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} of operators not in the table");
}

fn run(test: &Path, open: usize) -> Result<bool> {
    let io = |e: std::io::Error| Error::new(e.to_string());
    let decode = |e: prost::DecodeError| Error::new(e.to_string());
    let bytes = std::fs::read(test.join("model.onnx")).map_err(io)?;
    let model = ModelProto::decode(bytes.as_slice()).map_err(decode)?;
    let nodes = model.graph.iter().flat_map(|g| &g.node);
    if nodes.into_iter().any(|n| !OPS.iter().any(|r| (r.domain, r.op_type) == (n.domain(), n.op_type()))) {
        return Ok(false);
    }
    let data = |kind: &str| -> Result<Vec<TensorProto>> {
        let file = |i: usize| test.join("test_data_set_0").join(format!("{kind}_{i}.pb"));
        let present = (0..).map(file).take_while(|p| p.exists());
        present.map(|p| TensorProto::decode(std::fs::read(p).map_err(io)?.as_slice()).map_err(decode)).collect()
    };
    let (inputs, expected) = (data("input")?, data("output")?);
    // The second output of a Dropout or MaxPool is not supported, but its first is to be compared all the same.
    let mut first = model.clone();
    first.graph.iter_mut().for_each(|g| g.output.truncate(1));
    let found = attempt(&model, &inputs, open)
        .or_else(|e| attempt(&model, &inputs, 0).or_else(|_| attempt(&first, &inputs, open)).map_err(|_| e))?;
    for (found, expected) in found.iter().zip(&expected) {
        compare(found, &tensor::import(expected, &mut External::new(None, 0))?)?;
    }
    Ok(true)
}

/// Runs the model with all inputs from `open` on made constants.
fn attempt(model: &ModelProto, inputs: &[TensorProto], open: usize) -> Result<Vec<Tensor>> {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph.initializer.extend(inputs.iter().skip(open).cloned());
    }
    let graph = load_bytes(model.encode_to_vec().into(), None, &ImportOptions::default())?;
    let given = inputs.iter().take(open).take(graph.inputs.len());
    let given: Vec<Tensor> = given
        .zip(&graph.inputs)
        .map(|(t, v)| Ok(tensor::import(t, &mut External::new(None, 0))?.with_quant(graph.ty(*v).quant.clone())))
        .collect::<Result<_>>()?;
    Ok(Interpreter::default().load(&graph, &[])?.run(&given)?.outputs)
}

fn compare(found: &Tensor, expected: &Tensor) -> Result<()> {
    if (found.dtype(), found.dims()) != (expected.dtype(), expected.dims()) {
        return Err(Error::new(format!("expected {}, found {}", expected.ty(), found.ty())));
    }
    let (a, b) = (found.with_quant(None), expected.reals()?);
    let a = a.reals()?;
    let near =
        |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * (1.0 + b.abs()) || a == b || (a.is_nan() && b.is_nan());
    match a.iter().zip(b.iter()).find(|(a, b)| !near((a, b))) {
        Some((a, b)) => Err(Error::new(format!("expected {b}, found {a}"))),
        None => Ok(()),
    }
}
