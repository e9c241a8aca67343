#!/usr/bin/env python3
"""Compares the importer, the interpreter and the exporter with ONNX Runtime.

usage: roundtrip_onnxruntime.py MODEL.onnx... (needs numpy, onnx, onnxruntime), at the root of the workspace

For each model: the example `onnx_roundtrip` reads it, writes it, checks that the written file gives the same graph, and
runs it in the interpreter. Then ONNX's checker looks at the written file, and ONNX Runtime runs both files (without
graph optimization) on the same input. Printed are the largest differences relative to the largest output; the exit code is 1
if a model fails, or differs by more than the order of summation explains.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

# Relative to the largest output: ten times what the deepest model here shows, and far below what a wrong operator makes.
MOST = 1e-3

DTYPES = {"f32": np.float32, "i64": np.int64, "i32": np.int32, "u8": np.uint8, "i8": np.int8, "bool": np.bool_}


def session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def difference(a, b):
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) if a.size else 0.0


def worst(pairs):
    """The largest difference, and whether it may be: sums of floats differ in their order only."""
    found = [difference(a, b) for a, b in pairs]
    wrong = [d for d in found if isinstance(d, str)]
    return (wrong[0], False) if wrong else (f"{max(found):.2e}", max(found) <= MOST)


def compare(model, folder):
    command = ["cargo", "run", "-q", "--release", "-p", "lowbit-frontend", "--example", "onnx_roundtrip", "--"]
    ran = subprocess.run(command + [model, folder], capture_output=True, text=True)
    if ran.returncode:
        return "FAILED: " + ran.stderr.strip(), False
    tensors = {}
    for line in open(os.path.join(folder, "tensors.txt"), encoding="utf-8"):
        file, dtype, dims, name = line.rstrip("\n").split("\t")
        dims = [int(d) for d in dims.split(",") if d]
        tensors[file] = (name, np.fromfile(os.path.join(folder, file), DTYPES[dtype]).reshape(dims))
    feed = {n: t for f, (n, t) in tensors.items() if f.startswith("in")}
    ours = {n: t for f, (n, t) in tensors.items() if f.startswith("out")}
    written = os.path.join(folder, "model.onnx")
    try:
        onnx.checker.check_model(written, full_check=True)
    except onnx.checker.ValidationError as e:
        return f"FAILED: the checker refuses the written file: {e}", False
    original = session(model).run(list(ours), feed)
    exported = session(written).run(list(ours), feed)
    opset = onnx.load(written, load_external_data=False).opset_import[0].version
    (ran, same), (wrote, kept) = worst(zip(ours.values(), original)), worst(zip(exported, original))
    far = "" if same and kept else "TOO FAR: "
    return f"{far}interpreter {ran}, exported file {wrote}, opset {opset}", same and kept


if __name__ == "__main__":
    passed = True
    for path in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            text, good = compare(path, scratch)
            print(f"{os.path.basename(path)}: {text}", flush=True)
            passed &= good
    sys.exit(0 if passed else 1)
