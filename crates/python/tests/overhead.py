"""What a run from Python costs beyond the same run in Rust, in microseconds: medians of rounds that take turns.

``python crates/python/tests/overhead.py``, from the folder of the repository; more models may be named behind.
"""

import statistics
import sys
import time
from typing import Callable, List

import numpy as np

import lowbit as lb

ROUNDS, RUNS = 7, 2000
TINY = 'graph "tiny" {\n  input %x: f32[1x4]\n  %y = Relu(%x)\n  output %y\n}\n'


def median(run: Callable[[], object], runs: int) -> float:
    times: List[int] = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e3


def measure(name: str, model: lb.Model) -> None:
    program = model.compile()
    session = program.session()
    (key, ty), *others = program.inputs.items()
    assert not others, "models of one input"
    x = np.random.default_rng(0).random([int(n) for n in ty.shape], np.float32).astype(ty.dtype)
    runs = max(20, min(RUNS, int(2e6 / max(1.0, median(lambda: session.run(x), 5)))))
    rust, in_order, by_name = [], [], []
    for _ in range(ROUNDS):
        rust.append(lb.bench(model, seconds=0.2).median_ms * 1e3)
        in_order.append(median(lambda: session.run(x), runs))
        by_name.append(median(lambda: session.run(**{key: x}), runs))
    figures = [statistics.median(of) for of in (rust, in_order, by_name)]
    beyond = [python - bare for python, bare in zip(in_order, rust)]
    print(
        f"{name:<28} Rust {figures[0]:10.2f}  Python in order {figures[1]:10.2f}, by name {figures[2]:10.2f}"
        f"  beyond {statistics.median(beyond):6.2f}"
    )


def main() -> None:
    measure("a Relu of 4 numbers", lb.Model.from_text(TINY))
    demo = lb.Model.load("demo/model.onnx")
    measure("the demo, float", demo)
    measure("the demo, int8", demo.quantize("demo/calibration", config={"samples": 32}, progress=False).model)
    for path in sys.argv[1:]:
        measure(path.rsplit("/", 1)[-1], lb.Model.load(path))


if __name__ == "__main__":
    main()
