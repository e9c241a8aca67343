"""An operator of your own, computed by numpy, in the middle of integers.

It is given to the model that calls it: nothing is registered anywhere. Around it the network is quantized as usual; the
operator itself stays float and is listed with its reason.

Run it with ``python crates/python/examples/04_custom_op.py``.
"""

import tempfile
from typing import Any

import numpy as np

import lowbit as lb

MODEL = """
graph "own" {
  input %x: f32[1x4]
  const %w: f32[4x4] = [1, -2, 3, -4, 0.5, 0.25, -0.125, 1, 2, 2, -2, -2, 0, 1, 0, -1]
  %a: f32[1x4] = MatMul(%x, %w)
  %b: f32[1x4] = Custom(%a) {op "cube"}
  %y: f32[1x4] = MatMul(%b, %w)
  output %y
}
"""


class Cube(lb.CustomOp):
    """x**3, element by element."""

    name = "cube"

    def infer(self, x: lb.ValueType) -> lb.ValueType:
        return x

    def run(self, x: Any) -> Any:
        return x**3


def main() -> None:
    model = lb.Model.from_text(MODEL, customs=[Cube()])
    quantized = model.quantize(data="random", config={"samples": 64, "input": {"bits": 16, "observer": "minmax"}})
    for left in quantized.report.left_float:
        print(f"{left['op']} '{left['node']}' stays float: {left['reason']}")
    assert quantized.report.integer_macs_percent == 100.0

    x = np.array([[0.5, 0.25, 0.125, 0.75]], np.float32)
    (y,) = quantized.compile().run(x)
    (expected,) = model.compile().run(x)
    print(y, expected)
    assert np.abs(y - expected).max() < 0.05 * np.abs(expected).max()

    # In a file it goes by its name, and whoever reads the file has to have it.
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/own.int8.onnx"
        quantized.save(file)
        again = lb.Model.load(file, customs=[Cube()])
        np.testing.assert_array_equal(again.compile().run(x)[0], y)


if __name__ == "__main__":
    main()
