"""Models, graphs, reports: loaded, looked at, changed, saved."""

import subprocess
import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

import lowbit as lb
from lowbit import frontend
from lowbit.errors import CallbackError, ModelError, QuantizeError

from conftest import DEMO, ROOT


def test_a_model_says_what_it_is(demo: lb.Model) -> None:
    assert repr(demo.inputs["image"]) == "float32[Nx3x32x32]"
    assert demo.inputs["image"].shape == ("N", 3, 32, 32)
    assert list(demo.outputs) == ["logits"]
    assert not demo.is_quantized
    assert "main_graph" in repr(demo)
    assert "Conv" in demo.inspect().operators
    assert demo.inspect()["parameters"] == sum(array.size for array in demo.params().values())


def test_a_quantized_model_is_saved_and_loaded(quantized: lb.Quantized, tmp_path: Path, image: Any) -> None:
    quantized.save(tmp_path / "model.onnx")
    loaded = lb.Model.load(tmp_path / "model.onnx")
    assert loaded.is_quantized and loaded.config == quantized.config
    expected = quantized.compile().run(image)[0]
    np.testing.assert_array_equal(loaded.compile().run(image)[0], expected)
    np.testing.assert_array_equal(lb.build(loaded).run(image)[0], expected)
    graph, params = frontend.from_onnx(tmp_path / "model.onnx")
    np.testing.assert_array_equal(lb.build(graph, params).run(image)[0], expected)
    assert lb.verify(loaded, samples=2)
    simulated = loaded.simulated().compile().run(image)[0]
    assert np.abs(simulated - expected).max() < 0.1 * np.abs(expected).max()


def test_results_unpack_in_the_classic_form(quantized: lb.Quantized, image: Any) -> None:
    qgraph, qparams = quantized
    assert qgraph.is_quantized and any(array.dtype == np.int8 for array in qparams.values())
    np.testing.assert_array_equal(lb.build(qgraph, qparams).run(image)[0], quantized.compile().run(image)[0])


def test_parameters_are_taken_as_they_are_given(demo: lb.Model, image: Any) -> None:
    graph, params = frontend.from_onnx(DEMO / "model.onnx")
    expected = demo.compile().run(image)[0]
    np.testing.assert_array_equal(lb.build(graph, params).run(image)[0], expected)
    last = next(name for name in reversed(list(params)) if params[name].shape == (12,))
    params[last] = params[last] + np.float32(1)
    np.testing.assert_allclose(lb.build(graph, params).run(image)[0], expected + 1, rtol=1e-5)
    for name, array, text in (
        (last, np.zeros(13), "expected the sizes [12], found [13]"),
        (last, np.zeros(12, int), "expected elements of float32, found int64"),
        (last + "x", np.zeros(12), f"did you mean '{last}'"),
    ):
        with pytest.raises(ModelError) as error:
            graph.with_params({**params, name: array})
        assert text in str(error.value)
    del params[last]
    with pytest.raises(ModelError, match="expected a parameter"):
        graph.with_params(params)
    with pytest.raises(TypeError, match="data=..."):
        lb.quantize(graph, "photos")  # type: ignore[arg-type]


def test_open_dimensions_stay_open_or_get_their_sizes() -> None:
    path = DEMO / "model.onnx"
    assert frontend.from_onnx(path)[0].inputs["image"].shape == ("N", 3, 32, 32)
    for shape in ((2, 3, 32, 32), {"image": [2, 3, 32, 32]}):
        assert frontend.from_onnx(str(path), shape)[0].inputs["image"].shape == (2, 3, 32, 32)
    assert frontend.from_onnx(path.read_bytes())[0].graph.name == "main_graph"
    with pytest.raises(ModelError):
        frontend.from_onnx(path, {"imag": [1, 3, 32, 32]})
    with pytest.raises(TypeError, match="expected a path"):
        frontend.from_onnx(3)


def test_errors_say_what_the_command_line_says(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07\x12")
    with pytest.raises(ModelError) as error:
        lb.Model.load(broken)
    told = subprocess.run(
        [sys.executable, "-m", "lowbit", "inspect", str(broken)], capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert str(error.value) in told.stderr


def test_the_command_line_comes_with_the_package() -> None:
    script = Path(sys.executable).parent / "lowbit"
    told = subprocess.run([script, "list", "observers"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "entropy" in told.stdout
    refused = subprocess.run([script, "lits"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "list" in refused.stderr


def test_graphs_can_be_looked_at(quantized: lb.Quantized) -> None:
    graph = quantized.integer
    node = next(node for node in graph.nodes if node.op == "Conv")
    weight = node.inputs[1]
    assert weight is not None
    elements, parameters = graph.constant(weight), graph.quantization(weight)
    assert elements is not None and parameters is not None
    assert elements.dtype == np.int8 and elements.shape == graph.type(weight).shape
    assert parameters["axis"] == 0 and len(parameters["scale"]) == elements.shape[0]
    assert graph.producer(node.outputs[0]).name == node.name  # type: ignore[union-attr]
    assert graph.readers(weight)[0].name == node.name
    assert lb.Graph.parse(graph.text(full=True)).text() == graph.text()
    with pytest.raises(ModelError, match="did you mean"):
        graph.node(node.name + "x")
    with pytest.raises(ModelError, match="a copy"):
        graph.set_constant(weight, elements)


TWO = """
graph "two" {
  input %x: f32[1x4]
  %y = Relu(%x)
  %z = Neg(%x)
  output %y
  output %z
}
"""


def test_results_may_become_one_another_or_an_input() -> None:
    x = np.array([[1, -2, 3, -4]], np.float32)
    for old, new, expected in (("y", "x", [x, -x]), ("y", "z", [-x, -x])):

        def replace(graph: lb.Graph) -> None:
            graph.replace(old, new)
            assert graph.outputs == ["y", "z"]

        config = {"samples": 1, "output": "wide"}
        q = lb.Model.from_text(TWO).quantize(data="random", config=config, passes=[change(replace)[0]])
        for found, wanted in zip(q.reference.compile().run(x), expected):
            np.testing.assert_array_equal(found, wanted)


def change(what: Any) -> Any:
    kept = []

    def function(graph: lb.Graph) -> Any:
        kept.append(graph)
        given = what(graph)
        return given if given is graph else None

    return lb.Pass("prepared", "own", function), kept


def test_passes_change_weights_and_results_keep_their_names(demo: lb.Model, image: Any) -> None:
    def scale(graph: lb.Graph) -> None:
        (result,) = graph.outputs
        two = graph.add_constant("two", np.float32(2))
        (doubled,) = graph.add_node("multiply", [result, two])
        graph.replace(result, doubled)

    own, kept = change(scale)
    # Beyond the ranges of two samples, a channel below a Clip that is equalized may meet the bound earlier.
    q = demo.quantize(data="random", config={"samples": 2, "equalize": False}, passes=[own])
    assert q.float.outputs == ["logits"]
    plain = demo.compile().run(image)[0]
    np.testing.assert_allclose(q.reference.compile().run(image)[0], 2 * plain, rtol=1e-4, atol=1e-3)
    with pytest.raises(ModelError, match="until it returns"):
        kept[0].nodes


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (lambda g: g.add_node("Conv", ["image"]), "expected"),
        (lambda g: g.add_node("Relu", ["imag"]), "did you mean 'image'"),
        (lambda g: g.add_node("Clip", ["image"], {"mim": 3}), "did you mean 'min'"),
        (lambda g: g.replace(g.outputs[0], "image"), "outputs"),
        (lambda g: g.replace("nothing", "image"), "no value 'nothing'"),
        (lambda g: g.set_constant("image", 3), "expected a constant"),
        (lambda g: 1 / 0, "ZeroDivisionError"),
        (lambda g: g, "expected None of a pass"),
    ],
)
def test_wrong_passes_are_told(demo: lb.Model, what: Any, text: str) -> None:
    own, _ = change(what)
    with pytest.raises((CallbackError, QuantizeError)) as error:
        demo.quantize(data="random", config={"samples": 1}, passes=[own])
    assert text in str(error.value) and "'own'" in str(error.value)
    with pytest.raises(QuantizeError, match="did you mean 'prepared'"):
        demo.quantize(data="random", passes=[lb.Pass("preparde", "own", print)])


class Wrong(lb.Observer):
    name = "wrong"

    def __init__(self, gives: Any) -> None:
        self.gives = gives

    def range(self, seen: lb.Seen, request: lb.Request) -> Any:
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


@pytest.mark.parametrize("gives", [3, (1, 2, 3), (2.0, 1.0), (0.0, float("nan")), None, ValueError("no")])
def test_wrong_observers_are_told(demo: lb.Model, gives: Any) -> None:
    config = {"samples": 2, "input": {"observer": "wrong"}}
    with pytest.raises((CallbackError, QuantizeError), match="wrong|range"):
        demo.quantize(data="random", config=config, observers=[Wrong(gives)])


def test_layers_are_compared(demo: lb.Model, quantized: lb.Quantized) -> None:
    found = lb.compare(demo, quantized.model, DEMO / "test", samples=4)
    assert found.samples == 4 and found.isolated
    worst = [layer["cumulative"]["sqnr_db"] for layer in found.layers if layer["cumulative"]["sqnr_db"] is not None]
    assert len(worst) > 10 and min(worst) > 10


def test_everything_can_show_itself(demo: lb.Model, quantized: lb.Quantized) -> None:
    shown: List[Any] = [
        demo,
        demo.graph,
        quantized,
        quantized.integer,
        quantized.model,
        quantized.report,
        lb.compare(demo, quantized.model, "random", samples=1),
        lb.bench(demo, seconds=0.01),
    ]
    for one in shown:
        html = one._repr_html_()
        assert "<table>" in html and html.count("<table>") == html.count("</table>")
    assert "&lt;" in lb.Model.from_text('graph "<b>" {\n input %x: f32[1]\n %y = Relu(%x)\n output %y\n}')._repr_html_()
