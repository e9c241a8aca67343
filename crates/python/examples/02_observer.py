"""An observer of your own: from what was seen of a value to the range that its integers cover.

What was seen is a histogram. Statistics of parts of the data merge in any order, and the observer is asked once, at the
end, so that it gives the same range as if all had been seen in one run.

Run it with ``python crates/python/examples/02_observer.py``, from the folder of the repository.
"""

from typing import Any, Dict, Tuple

import numpy as np

import lowbit as lb


class Deviations(lb.Observer):
    """A few standard deviations on either side of zero, but no more than was seen."""

    name = "deviations"

    def __init__(self, reach: float) -> None:
        self.reach = reach

    def range(self, seen: lb.Seen, request: lb.Request) -> Tuple[float, float]:
        middles, counts = seen.histogram()
        deviation = float(np.sqrt(np.sum(middles**2 * counts) / max(1, seen.count)))
        reach = self.reach * deviation
        return max(seen.low, -reach), min(seen.high, reach)


def main() -> None:
    model = lb.Model.load("demo/model.onnx")
    choices = {"input": {"observer": "deviations"}, "equalize": False, "refinements": []}
    own: Dict[str, Any] = {"config": choices, "observers": [Deviations(6.0)]}
    quantized = model.quantize(data="demo/calibration", **own)

    observed = [value for value in quantized.report.values if value["observer"] == "deviations"]
    for value in observed[:4]:
        print(value["value"], "seen", value["seen"], "scale", value["scale"])
    assert len(observed) > 10

    # The same from the two halves of the data, whichever comes first.
    images = lb.Dataset.open("demo/calibration", model)
    half = len(images) // 2
    parts = [range(half), range(half, len(images))]
    halves = [[images.sample(i) for i in part] for part in parts]
    first, second = (model.calibrate(lb.Dataset.of(half, model), **own) for half in halves)
    merged = [model.quantize(stats=stats, **own) for stats in (first.merge(second), second.merge(first))]
    scales = [[value["scale"] for value in q.report.values] for q in (quantized, *merged)]
    assert scales[0] == scales[1] == scales[2]


if __name__ == "__main__":
    main()
