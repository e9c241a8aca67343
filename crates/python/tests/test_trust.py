"""Why a model is as it is, what changed, and making it again."""

import json
import re
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

import lowbit as lb
from lowbit.errors import ConfigError, ModelError

from conftest import DEMO


@pytest.fixture(scope="module")
def saved(quantized: lb.Quantized, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "demo.int8.onnx"
    quantized.save(path)
    return path


def test_every_tensor_says_who_chose_it(saved: Path) -> None:
    model = lb.Model.load(saved)
    found = lb.explain(model)
    assert found.quantized and len(found.layers) > 10 and len(found.tensors) > 10
    for tensor in found.tensors:
        assert tensor["scale_by"] and tensor["dtype_by"] and tensor["rule"]
    (conv, *_) = [layer for layer in found.layers if layer["op"] == "Conv"]
    about = lb.explain(model, conv["node"])
    assert [layer["node"] for layer in about.layers] == [conv["node"]] and 0 < len(about.tensors) < len(found.tensors)
    assert about.layers[0]["accumulator"]["bits"] <= 32
    assert "<table>" in found._repr_html_() and "layers on integers" in repr(found)
    with pytest.raises(lb.Error, match="did you mean"):
        lb.explain(model, conv["node"] + "x")
    with pytest.raises(ConfigError, match="its choices are made"):
        lb.explain(model, config={"samples": 3})


def test_a_float_model_is_told_what_would_become_of_it(demo: lb.Model) -> None:
    line = re.escape(__file__)
    with lb.qconfig(weight={"bits": 5}):
        found = lb.explain(demo, config={"layer": {"node_Conv_276": {"skip": True}}})
    (kept,) = [layer for layer in found.layers if layer["node"] == "node_Conv_276"]
    assert not kept["integer"] and "skip" in kept["reason"]
    weights = [tensor for tensor in found.tensors if tensor["kind"] == "weight"]
    assert weights and all(tensor["range"] == [-15, 15] or tensor["range"] == [-16, 15] for tensor in weights)
    (bits,) = [choice for choice in weights[0]["choices"] if choice["name"] == "bits"]
    assert re.search(f"{line}, line \\d+", bits["source"])

    rules = lb.Rules()

    @rules.register("Conv", override=True)
    def mine(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        return None

    found = lb.explain(demo, rules=rules)
    assert all(not layer["integer"] for layer in found.layers if layer["op"] == "Conv")


def test_choices_say_who_made_them(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("samples = 64\n\n[weight]\nbits = 4\n")
    config = lb.Config.load(tmp_path / "c.toml").set("input.bits=6").replace(rounding="floor")
    found = {choice["key"]: choice for choice in config.choices()}
    assert found["weight.bits"]["source"] == {"by": "file", "file": str(tmp_path / "c.toml"), "line": 4}
    assert found["input.bits"]["value"] == "6"
    for key in ("input.bits", "rounding"):
        assert found[key]["source"]["file"] == __file__ and found[key]["source"]["line"] > 60
    assert found["global_scale"]["source"] == {"by": "default"}
    assert set(found) == {key for key, _ in config.entries()}
    schema = lb.Config.schema()
    assert "samples" in schema["properties"]


def test_what_changed_is_told(demo: lb.Model, quantized: lb.Quantized, saved: Path) -> None:
    same = lb.diff(quantized, lb.Model.load(saved))
    assert same and same.values > 20
    narrow = demo.quantize(data=DEMO / "calibration", config={"samples": 32, "weight": {"bits": 4}})
    changed = lb.diff(quantized, narrow)
    assert not changed and changed.types and "<table>" in changed._repr_html_()
    with pytest.raises(lb.Error):
        lb.diff(demo, quantized)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="expected a number from 0 for tolerance"):
            lb.diff(quantized, narrow, tolerance=wrong)


def test_a_model_is_made_again_to_the_byte(demo: lb.Model, saved: Path) -> None:
    found = lb.reproduce(saved, DEMO / "model.onnx", DEMO / "calibration", threads=1)
    assert found and found.bytes[0] == found.bytes[1] == saved.stat().st_size
    assert lb.reproduce(saved, demo, data=str(DEMO / "calibration"))
    other = lb.reproduce(saved, demo, DEMO / "test")
    assert not other and other.others[0]["what"] == "data" and "same False" in repr(other)
    for data, stats in ((None, None), (None, demo.calibrate(DEMO / "calibration", config={"samples": 2}))):
        with pytest.raises(ModelError, match="the model was quantized from 32 samples"):
            lb.reproduce(saved, demo, data, stats=stats)
    with pytest.raises(ModelError, match="found a quantized one"):
        lb.reproduce(saved, saved, DEMO / "calibration")
    with pytest.warns(UserWarning, match="not the float model of the recipe"):
        lb.reproduce(saved, demo.with_params({k: v * 1.5 for k, v in demo.params().items()}), DEMO / "calibration")


def test_functions_of_the_users_are_needed_again(demo: lb.Model, tmp_path: Path) -> None:
    rules = lb.Rules()

    @rules.register("MatMul", override=True)
    def mine(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> Any:
        return None

    x = np.random.default_rng(3).random((4, 3, 32, 32), np.float32)
    demo.quantize(data=x, rules=rules).save(tmp_path / "mine.onnx")
    assert lb.reproduce(tmp_path / "mine.onnx", demo, x, rules=rules)
    with pytest.raises(lb.Error, match="mine"):
        lb.reproduce(tmp_path / "mine.onnx", demo, x)
    # What the package says is what the command line says.
    assert json.loads(json.dumps(lb.explain(lb.Model.load(tmp_path / "mine.onnx")).to_dict()))["quantized"]


def test_a_report_is_a_page(quantized: lb.Quantized, demo: lb.Model, saved: Path, tmp_path: Path) -> None:
    data = lb.Dataset.open(DEMO / "test", demo)
    stages: List[str] = []
    files = lb.write_report(
        tmp_path / "report", demo, quantized, data, samples=4, progress=lambda stage, done, samples: stages.append(stage)
    )
    assert [file.name for file in files[:2]] == ["index.html", "report.json"] and all(file.is_file() for file in files)
    assert {"compare", "histograms", "time", "profile"} <= set(stages)
    found = json.loads(files[1].read_text())
    compared = lb.compare(demo, quantized, data, samples=4)
    errors = {layer["node"]: layer["cumulative"]["mse"] for layer in compared.layers}
    told = {node["name"]: node["together"]["mse"] for node in found["nodes"] if "together" in node}
    assert errors and errors.items() <= told.items() and found["compared"]["samples"] == 4
    # The same of the quantized model, and of a loaded one, in either order.
    assert quantized.write_report(tmp_path / "own", data, samples=2)[0] == tmp_path / "own" / "index.html"
    assert len(lb.Model.load(saved).write_report(tmp_path / "loaded", demo, data, samples=2)) == len(files)
    (tmp_path / "file").write_text("x")
    with pytest.raises(lb.Error, match="expected a folder, found a file"):
        lb.write_report(tmp_path / "file", demo, quantized, data)


def test_a_saved_model_is_the_same_in_every_mode(demo: lb.Model, tmp_path: Path) -> None:
    for mode in ("dynamic", "weight-only"):
        made = demo.quantize(data="random", config={"mode": mode, "samples": 2})
        made.save(tmp_path / "model.onnx")
        assert lb.diff(lb.Model.load(tmp_path / "model.onnx"), made).same, mode
