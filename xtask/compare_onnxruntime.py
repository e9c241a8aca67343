#!/usr/bin/env python3
"""Runs a quantized file in ONNX Runtime and compares it with lowbit, whole and layer by layer.

Whole: the share of images for which both predict the same class; or, with --archive, how far lowbit's outputs are from
those that ONNX Runtime gave for the inputs that lie beside them.
Layer by layer: every piece of the graph between DequantizeLinear and the next QuantizeLinear, or every operator on
integers, becomes a model of its own, gets the integers that lowbit has there, and its integer outputs are compared with
lowbit's.
The last layer, whose output is not quantized again, is such a piece too, and its floats are compared.
Which layers run on integers is read from the model that ONNX Runtime has optimized.

Prints one JSON object. Needs onnx, onnxruntime and numpy.
"""
import argparse
import json
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper


def lowbit_run(args, samples, folder, values):
    """Lets lowbit run on `samples` samples; gives {name: array} with the samples along the first axis."""
    command = [args.lowbit, "run", args.model, "--data", args.data, "--samples", str(samples)]
    command += ["--output", str(folder), "--json"] + (["--values"] if values else [])
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    arrays = {part: {o["name"]: np.load(o["file"]) for o in found[part]} for part in ("inputs", "outputs")}
    return arrays["inputs"], arrays["outputs"]


def session(model):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def same_class(args, folder):
    """Percent of samples with the same best class in ONNX Runtime and lowbit."""
    inputs, outputs = lowbit_run(args, args.samples, folder / "whole", values=False)
    run = session(args.model)
    name = run.get_outputs()[0].name
    count = len(next(iter(inputs.values())))
    theirs = []
    for i in range(count):
        result = run.run([name], {k: v[i : i + 1] for k, v in inputs.items()})[0]
        theirs.append(int(result.reshape(-1).argmax()))
    ours = outputs[name].reshape(count, -1).argmax(1)
    return 100.0 * float(np.mean(ours == np.array(theirs))), count


def rms(values):
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


def distances(args, folder):
    """How far the outputs are from those of the archive, and how far they may be.

    The bound is the greatest of twice the distance that ONNX Runtime's optimizations make, one step of the output's
    integers (0 if it is no integer) and 5 % of the float model's output.
    """
    archive = np.load(args.archive)
    _, outputs = lowbit_run(args, len(archive["input"]), folder / "whole", values=False)
    (ours,) = outputs.values()
    theirs, plain, real = (archive[k].reshape(ours.shape) for k in ("out_opt", "out_noopt", "out_float"))
    graph = onnx.load(args.model).graph
    last = next(n for n in graph.node if graph.output[0].name in n.output)
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    step = float(scales[last.input[1]]) if last.op_type == "DequantizeLinear" else 0.0
    own = 2.0 * rms(theirs - plain)
    return {
        "distance": rms(ours - theirs),
        "twice_optimizations": own,
        "step": step,
        "five_percent": 0.05 * rms(real),
        "bound": max(own, step, 0.05 * rms(real)),
        "same_class": int(np.sum(ours.reshape(len(ours), -1).argmax(1) == theirs.reshape(len(ours), -1).argmax(1))),
        "samples": len(ours),
    }


INTEGER = {"QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat"}
FLOAT = {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}


def layers_as_integers(args, folder):
    """How many convolutions and matrix products ONNX Runtime computes on integers, and how many there are."""
    path = folder / "optimized.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    kinds = [n.op_type for n in onnx.load(path).graph.node]
    integers = sum(k in INTEGER for k in kinds)
    return {"integer_layers": integers, "all_layers": integers + sum(k in FLOAT for k in kinds)}


def ends_in_integers(node):
    return node.op_type in ("QuantizeLinear", "QGemm") or node.op_type.startswith("QLinear")


def pieces(model, values, ends):
    """For every node that `ends` picks: its nodes back to quantized values, and those values."""
    producer = {o: n for n in model.graph.node for o in n.output}
    constants = {t.name for t in model.graph.initializer}
    for last in model.graph.node:
        if not ends(last) or last.output[0] not in values:
            continue
        nodes, inputs, queue, complete = [], [], list(last.input), True
        nodes.append(last)
        while queue:
            name = queue.pop()
            if not name or name in constants or name in inputs:
                continue
            node = producer.get(name)
            if node is None or ends_in_integers(node):
                # A graph input is a float: the first layer's piece is its Quantize alone, which is compared as well.
                complete &= name in values
                inputs.append(name)
                continue
            if node not in nodes:
                nodes.append(node)
                queue += list(node.input)
        if complete and inputs:
            order = [n for n in model.graph.node if n in nodes]
            yield last.output[0], order, sorted(set(inputs))


TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "uint8": onnx.TensorProto.UINT8,
    "int8": onnx.TensorProto.INT8,
    "uint16": onnx.TensorProto.UINT16,
    "int16": onnx.TensorProto.INT16,
}


def both(model, values, output, nodes, names):
    """The output of a piece for every sample: lowbit's, and ONNX Runtime's for lowbit's inputs."""
    weights = {t.name: t for t in model.graph.initializer}
    needed = {i: weights[i] for n in nodes for i in n.input if i in weights}
    info = lambda n: helper.make_tensor_value_info(n, TYPES[str(values[n].dtype)], (1,) + values[n].shape[1:])
    graph = helper.make_graph(nodes, "piece", [info(n) for n in names], [info(output)], list(needed.values()))
    piece = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    run = session(piece.SerializeToString())
    for i in range(len(values[output])):
        theirs = run.run([output], {n: values[n][i : i + 1] for n in names})[0]
        yield values[output][i : i + 1], theirs


def last_layers(model, values):
    """The greatest difference of what is no integer at the model's end, relative to the greatest value there.

    None if all of the model's outputs are integers that were only dequantized.
    """
    outputs = {o.name for o in model.graph.output}
    wide = lambda n: n.output[0] in outputs and n.op_type not in ("QuantizeLinear", "DequantizeLinear")
    found = None
    for output, nodes, names in pieces(model, values, wide):
        for ours, theirs in both(model, values, output, nodes, names):
            ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
            difference = float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-30))
            found = max(found or 0.0, difference)
    return found


def compare_layers(args, folder):
    model = onnx.load(args.model)
    inputs, values = lowbit_run(args, 2, folder / "layers", values=True)
    values = {**values, **inputs}
    # Where a float value is followed by its Quantize, lowbit's integers go by the float value's name.
    for n in model.graph.node:
        if n.op_type == "QuantizeLinear" and n.output[0] not in values and n.input[0] in values:
            integers = values[n.input[0]]
            if n.input[0] not in inputs and integers.dtype != np.float32:
                values[n.output[0]] = integers
    layers = within = differing = total = greatest = 0
    worst = ""
    for output, nodes, names in pieces(model, values, ends_in_integers):
        step = 0
        for ours, theirs in both(model, values, output, nodes, names):
            difference = np.abs(theirs.astype(np.int64) - ours.astype(np.int64))
            step = max(step, int(difference.max(initial=0)))
            differing += int(np.count_nonzero(difference))
            total += difference.size
        layers += 1
        within += step <= 1
        if step > greatest:
            greatest, worst = step, output
    return {
        "layers": layers,
        "layers_within_one": within,
        "greatest_step": greatest,
        "worst_layer": worst,
        "differing_percent": 100.0 * differing / max(total, 1),
        "last_relative": last_layers(model, values),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowbit", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data")
    parser.add_argument("--archive", help="an .npz with input, out_opt, out_noopt and out_float, instead of data")
    parser.add_argument("--work", required=True)
    parser.add_argument("--samples", type=int, default=200)
    args = parser.parse_args()
    folder = pathlib.Path(args.work) / pathlib.Path(args.model).stem
    if args.archive:
        folder.mkdir(parents=True, exist_ok=True)
        args.data = str(folder / "input.npy")
        np.save(args.data, np.load(args.archive)["input"])
        print(json.dumps({**distances(args, folder), **compare_layers(args, folder)}))
        return
    share, count = same_class(args, folder)
    found = {**compare_layers(args, folder), **layers_as_integers(args, folder)}
    print(json.dumps({"samples": count, "same_class": share, **found}))


if __name__ == "__main__":
    main()
