"""The classic program, as it is written by those who know it."""

import shutil
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest

import lowbit

PROGRAM = '''
import lowbit as lb
from lowbit import frontend, QFieldKind, qconfig, quantize, register_annotate_function, attach_simulated_quantize

# the user overrides the annotate rule of an operator
@register_annotate_function("nn.conv2d", override=True)
def annotate_conv2d(ref_call, new_args, ctx):
    lhs, rhs = new_args
    lhs = attach_simulated_quantize(lhs, sign=False, rounding="round")
    rhs = attach_simulated_quantize(rhs, sign=True, rounding="stochastic_round")
    return lb.Call(ref_call.op, [lhs, rhs], ref_call.attrs)

graph, params = frontend.from_mxnet("model-symbol.json", "model-0000.params")   # shape=None: unknown dimensions stay symbolic
# graph, params = frontend.from_onnx("model.onnx")
with qconfig(nbit_dict={QFieldKind.ACTIVATION: 24}, global_scale=8.0, skip_k_conv=1):
    qgraph, qparams = quantize(graph, params)                                   # data=... calibrates instead of the global scale
program = lb.build(qgraph, qparams)                                             # compiled for this machine (a remote target will follow)
output = program.run(data=x)
'''


def run(program: str, x: Any) -> Dict[str, Any]:
    names: Dict[str, Any] = {"x": x}
    with lowbit.rules():
        exec(compile(program, "classic.py", "exec"), names)
    return names


def check(names: Dict[str, Any], x: Any) -> None:
    output, qgraph = names["output"], names["qgraph"]
    expected = lowbit.build(names["graph"], names["params"]).run(data=x)
    assert len(output) == len(expected)
    assert all(np.isfinite(found).all() for found in output)
    assert all(found.shape == wanted.shape for found, wanted in zip(output, expected))
    assert lowbit.verify(qgraph, x, samples=1)
    # The rule was asked of all convolutions but the first, which stays float, and 24 bits stand behind each.
    integer = qgraph.graph
    convolutions = [node for node in integer.nodes if node.op == "Conv"]
    by_rule = [node for node in convolutions if node.rule == "override Conv (annotate_conv2d)"]
    assert len(by_rule) == len(convolutions) - 1 > 0
    for node in by_rule:
        (result,) = node.outputs
        readers = [reader.outputs[0] for reader in integer.readers(result)]
        narrowed = [q["qmax"] for q in map(integer.quantization, readers) if q is not None]
        # What leaves the model is wide, as it was computed.
        assert narrowed == [2**23 - 1] * len(readers) and readers or result in integer.outputs, node


def test_on_a_small_model(mxnet_model: Tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in mxnet_model:
        shutil.copy(file, tmp_path / file.name)
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((1, 3, 16, 12), np.float32)
    names = run(PROGRAM, x)
    assert names["graph"].inputs["data"].shape[0] != 1, "what nobody says stays open"
    check(names, x)
    calibrated = run(PROGRAM.replace("quantize(graph, params) ", "quantize(graph, params, data=x)"), x)
    expected = lowbit.build(names["graph"], names["params"]).run(data=x)
    error, coarse = (
        np.linalg.norm(run["output"][0] - expected[0]) / np.linalg.norm(expected[0]) for run in (calibrated, names)
    )
    assert error < 0.05 and error < coarse


@pytest.mark.parametrize(("name", "size"), [("det1", (1, 3, 32, 40)), ("det2", (1, 3, 24, 24)), ("det3", (1, 3, 48, 48))])
def test_on_a_real_model_of_mxnet(
    shared: Path, name: str, size: Tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared / "models/mxnet"
    shutil.copy(folder / f"{name}-symbol.json", tmp_path / "model-symbol.json")
    shutil.copy(folder / f"{name}-0001.params", tmp_path / "model-0000.params")
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random(size, np.float32)
    check(run(PROGRAM, x), x)


def test_on_a_real_model_of_onnx(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(shared / "models/squeezenet1.1.onnx", tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    lines = PROGRAM.replace("# graph, params = frontend.from_onnx", "graph, params = frontend.from_onnx").splitlines()
    program = "\n".join(line for line in lines if "from_mxnet(" not in line)
    x = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    check(run(program, x), x)
