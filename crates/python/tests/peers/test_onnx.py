"""Files and models of ONNX, beside ONNX Runtime."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import lowbit as lb
from lowbit import frontend

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import DEMO  # noqa: E402


def of_onnxruntime(path: Path, x: Any) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_float_models_are_read_as_they_run(demo: lb.Model, image: Any) -> None:
    expected = of_onnxruntime(DEMO / "model.onnx", image)
    np.testing.assert_allclose(demo.compile().run(image)[0], expected, rtol=1e-4, atol=1e-4)


def test_quantized_files_run_elsewhere(quantized: lb.Quantized, tmp_path: Path) -> None:
    quantized.save(tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    told = {node.name: {entry.key: entry.value for entry in node.metadata_props} for node in nodes}
    for left in quantized.report.left_float:
        assert told[left["node"]]["lowbit"] == f"on floats: {left['reason']}"
    layers = [node.name for node in nodes if node.op_type == "Conv"]
    assert layers and all(told[layer]["lowbit"] == "rule conv" for layer in layers)
    ranges = [told[node.name]["lowbit"] for node in nodes if node.op_type == "QuantizeLinear"]
    assert ranges and all("; seen " in text and " % clipped; " in text and "; rule " in text for text in ranges)
    data = lb.Dataset.open(DEMO / "test", quantized.model)
    program, same, worst = quantized.compile(), 0, 0.0
    count = 50
    for i in range(count):
        x = data.sample(i)["image"]
        expected, found = of_onnxruntime(tmp_path / "model.onnx", x), program.run(x)[0]
        same += int(np.argmax(expected) == np.argmax(found))
        worst = max(worst, float(np.abs(expected - found).max() / np.abs(expected).max()))
    # Between them are float steps of the other runtime: roundings that differ by one, not arithmetic that does.
    assert same == count and worst < 0.03, (same, worst)


def test_models_in_memory_are_taken() -> None:
    model = onnx.load(DEMO / "model.onnx")
    graph, params = frontend.from_onnx(model, (1, 3, 32, 32))
    assert graph.inputs["image"].shape == (1, 3, 32, 32)
    weights = {tensor.name for tensor in model.graph.initializer}
    assert weights & set(params)


def test_real_models(shared: Path) -> None:
    found = 0
    for path in sorted((shared / "models").rglob("*cifar10*.onnx")):
        model = lb.Model.load(path)
        if model.is_quantized or len(model.inputs) != 1:
            continue
        (ty,) = model.inputs.values()
        x = np.random.default_rng(5).random([n if isinstance(n, int) else 1 for n in ty.shape], np.float32)
        expected = of_onnxruntime(path, x)
        np.testing.assert_allclose(model.compile().run(x)[0], expected, rtol=1e-3, atol=1e-4)
        found += 1
    if not found:
        pytest.skip(f"NO REAL MODEL of this kind in {shared}")
