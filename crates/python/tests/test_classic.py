"""The classic program, as it is written by those who know it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest

import lowbit as lb
from lowbit import frontend

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
    with lb.rules():
        exec(compile(program, "classic.py", "exec"), names)
    return names


def check(names: Dict[str, Any], x: Any) -> None:
    output, qgraph = names["output"], names["qgraph"]
    expected = lb.build(names["graph"], names["params"]).run(data=x)
    assert len(output) == len(expected)
    assert all(np.isfinite(found).all() for found in output)
    assert all(found.shape == wanted.shape for found, wanted in zip(output, expected))
    assert lb.verify(qgraph, x, samples=1)
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
    expected = lb.build(names["graph"], names["params"]).run(data=x)
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


def test_sizes_of_the_only_input_need_no_name(mxnet_model: Tuple[Path, Path], tmp_path: Path) -> None:
    graph, _ = frontend.from_mxnet(*mxnet_model, shape=(2, 3, 16, 16))
    assert graph.inputs["data"].shape == (2, 3, 16, 16)
    assert lb.Model.load(mxnet_model[0], shapes=[1, 3, 8, 8]).inputs["data"].shape == (1, 3, 8, 8)
    # Where the symbol tells no shape, it is read with the one that is given.
    nodes: List[Dict[str, Any]] = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "softmax", "name": "y", "attrs": {"dtype": "float16"}, "inputs": [[0, 0, 0]]},
    ]
    symbol = {"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]], "attrs": {"mxnet_version": ["int", 10901]}}
    (tmp_path / "plain-symbol.json").write_text(json.dumps(symbol))
    graph, _ = frontend.from_mxnet(tmp_path / "plain-symbol.json", mxnet_model[1], shape=(2, 5))
    assert graph.inputs["data"].shape == (2, 5) and any("f16 became f32" in remark for remark in graph.remarks)
    nodes[0]["attrs"] = {"__dtype__": "4", "__shape__": "(2, 5)"}
    nodes[1] = {"op": "Cast", "name": "y", "attrs": {"dtype": "float32"}, "inputs": [[0, 0, 0]]}
    (tmp_path / "plain-symbol.json").write_text(json.dumps(symbol))
    graph, _ = frontend.from_mxnet(tmp_path / "plain-symbol.json", mxnet_model[1])
    assert graph.inputs["data"] == lb.ValueType("int32", [2, 5])
    text = 'graph "g" {\n  input %a: f32[N]\n  input %b: f32[N]\n  %y = Add(%a, %b)\n  output %y\n}\n'
    lb.Model.from_text(text).save(tmp_path / "two.onnx")
    assert any("no use for" in remark and "conv0_weight" in remark for remark in graph.remarks)
    with pytest.raises(lb.Error, match="expected sizes by name for the inputs a, b"):
        frontend.from_onnx(tmp_path / "two.onnx", (3,))


def test_windows_that_end_in_the_padding_are_refused_for_open_sizes_too(mxnet_model: Tuple[Path, Path], tmp_path: Path) -> None:
    attrs = {"kernel": "(2, 2)", "stride": "(2, 2)", "pad": "(1, 1)", "pool_type": "max", "pooling_convention": "full"}
    conv = {"kernel": "(3, 3)", "pad": "(1, 1)", "num_filter": "8"}
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "conv0_weight", "inputs": []},
        {"op": "null", "name": "conv0_bias", "inputs": []},
        {"op": "Convolution", "name": "conv0", "attrs": conv, "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]]},
        {"op": "Pooling", "name": "pool", "attrs": attrs, "inputs": [[3, 0, 0]]},
    ]
    symbol = {"nodes": nodes, "arg_nodes": [0, 1, 2], "heads": [[4, 0, 0]], "attrs": {"mxnet_version": ["int", 10901]}}
    (tmp_path / "pool-symbol.json").write_text(json.dumps(symbol))
    for shape in (None, (1, 3, 5, 5)):
        with pytest.raises(lb.Error, match="to be known|lies in the padding alone"):
            frontend.from_mxnet(tmp_path / "pool-symbol.json", mxnet_model[1], shape)
    # With an even size the last window has something.
    graph, _ = frontend.from_mxnet(tmp_path / "pool-symbol.json", mxnet_model[1], (1, 3, 6, 6))
    assert next(iter(graph.outputs.values())).shape == (1, 8, 4, 4)


def test_the_command_line_quantizes_models_of_mxnet(mxnet_model: Tuple[Path, Path], tmp_path: Path) -> None:
    lowbit = Path(sys.executable).parent / "lowbit"
    out = tmp_path / "model.onnx"
    command = [str(lowbit), "quantize", str(mxnet_model[0]), "--shape", "1x3x16x12", "--data", "random", "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert lb.Model.load(out).is_quantized and lb.verify(lb.Model.load(out))
