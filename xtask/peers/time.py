#!/usr/bin/env python3
"""Times one model in one runtime, in this process; prints one JSON object with milliseconds.

    time.py onnxruntime|openvino|litert MODEL --threads N --batch N --seconds S
    time.py onnxruntime|openvino MODEL --threads N --first     from the file to the first result, once
"""
import argparse
import json
import statistics
import time

import numpy as np

WARM_UP = 3


def noise(shape, dtype=np.float32):
    x = np.random.default_rng(0).standard_normal(shape)
    return x.astype(dtype) if dtype == np.float32 else (x * 30).clip(-128, 127).astype(dtype)


def onnxruntime(args):
    import onnx
    import onnxruntime as ort

    model = onnx.load(args.model)
    weights = {t.name for t in model.graph.initializer}
    port = next(i for i in model.graph.input if i.name not in weights)
    for value in [port, *model.graph.output]:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = args.batch
    del model.graph.value_info[:]
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = args.threads, 1, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shape = [max(1, d.dim_value) for d in port.type.tensor_type.shape.dim]
    feed = {port.name: noise(shape)}
    return lambda: session.run(None, feed)


def openvino(args):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(args.model)
    shape = [d.get_length() if d.is_static else 1 for d in model.inputs[0].partial_shape]
    model.reshape([args.batch] + shape[1:])
    settings = {
        "INFERENCE_NUM_THREADS": args.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(noise([args.batch] + shape[1:])))
    return request.infer


def litert(args):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=args.model, num_threads=args.threads)
    port = interpreter.get_input_details()[0]
    if args.batch != port["shape"][0]:
        interpreter.resize_tensor_input(port["index"], [args.batch] + list(port["shape"][1:]))
    interpreter.allocate_tensors()
    port = interpreter.get_input_details()[0]
    interpreter.set_tensor(port["index"], noise(port["shape"], port["dtype"]))
    return interpreter.invoke


def first_onnxruntime(args):
    import onnxruntime as ort

    def load():
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = args.threads, 1, 3
        return ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])

    def feed(session):
        port = session.get_inputs()[0]
        return {port.name: noise([d if isinstance(d, int) else 1 for d in port.shape])}

    return load, feed, lambda session, feed: session.run(None, feed)


def first_openvino(args):
    import openvino as ov

    def load():
        settings = {"INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        return ov.Core().compile_model(args.model, "CPU", settings)

    def feed(model):
        return noise([d.get_length() if d.is_static else 1 for d in model.inputs[0].partial_shape])

    return load, feed, lambda model, x: model(x)


def first(load, feed, run):
    """Milliseconds from the file to the first result; making an input is no part of it."""
    begin = time.perf_counter()
    model = load()
    loaded = time.perf_counter() - begin
    x = feed(model)
    begin = time.perf_counter()
    run(model, x)
    return (loaded + time.perf_counter() - begin) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runtime", choices=["onnxruntime", "openvino", "litert"])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--first", action="store_true")
    args = parser.parse_args()
    if args.first:
        parts = {"onnxruntime": first_onnxruntime, "openvino": first_openvino}
        if args.runtime not in parts:
            parser.error(f"--first is measured with {' and '.join(parts)}, found {args.runtime}")
        print(json.dumps({"first_ms": first(*parts[args.runtime](args))}))
        return
    run = {"onnxruntime": onnxruntime, "openvino": openvino, "litert": litert}[args.runtime](args)
    for _ in range(WARM_UP):
        run()
    times, start = [], time.perf_counter()
    while (begin := time.perf_counter()) < start + args.seconds or len(times) < 5:
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps({"median_ms": statistics.median(times), "min_ms": min(times)}))


if __name__ == "__main__":
    main()
