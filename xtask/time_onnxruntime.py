#!/usr/bin/env python3
"""Times a float model and its quantized form in lowbit, and the float model in ONNX Runtime, in turn.

Each round times all three, so that a machine that changes its speed changes them alike; prints the median of each over
the rounds as one JSON object. Needs onnxruntime and numpy.
"""
import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import onnxruntime as ort


def ours(args, model):
    command = [args.lowbit, "bench", model, "--threads", str(args.threads), "--seconds", str(args.seconds), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["median_ms"]


def peer(args, model):
    """Median of the runs in a session of its own, after as long a warm-up as lowbit's."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in port.shape]
    feed = {port.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    times, start = [], time.perf_counter()
    while (begin := time.perf_counter()) < start + 0.3 + args.seconds or not times:
        session.run(None, feed)
        if begin >= start + 0.3:
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowbit", required=True)
    parser.add_argument("--float", required=True)
    parser.add_argument("--integer", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    rounds = [(peer(args, args.float), ours(args, args.float), ours(args, args.integer)) for _ in range(args.rounds)]
    peer_ms, float_ms, integer_ms = (statistics.median(column) for column in zip(*rounds))
    print(json.dumps({"onnxruntime": peer_ms, "float": float_ms, "integer": integer_ms}))


if __name__ == "__main__":
    main()
