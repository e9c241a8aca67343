"""Configurations and their blocks: nothing is ignored."""

import copy
import os
import pickle
import threading
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

import lowbit as lb
from lowbit import QFieldKind, qconfig
from lowbit.errors import ConfigError, DataError, QuantizeError, RunError

from conftest import DEMO


def test_choices_are_said_as_python_says_them() -> None:
    config = lb.Config(
        samples=np.int64(7), input={"bits": 4}, layer={"conv*": {"skip": True}}, refinements=[], io="int8"
    )
    assert (config["samples"], config["input.bits"], config["refinements"], config["io"]) == (7, 4, [], "int8")
    assert 'layer."conv*".skip = true' in repr(config)
    assert lb.Config.from_toml(config.to_toml()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert config.replace(samples=8)["samples"] == 8 and config["samples"] == 7
    assert config.set("weight.bits=5")["weight.bits"] == 5
    assert repr(lb.Config()) == "<lowbit.Config: the defaults>"


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"sampels": 3}, "did you mean 'samples'"),
        ({"input": {"bist": 3}}, "did you mean 'input.bits'"),
        ({"input": {"bits": 17}}, "2..=16"),
        ({"op": {"Convv": {"skip": True}, }}, "Conv"),
        ({"layer": {"conv1": {"skp": True}}}, "skip"),
        ({"hardware": "abacus"}, "abacus"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest(demo: lb.Model, choices: Dict[str, Any], text: str) -> None:
    with pytest.raises((ConfigError, QuantizeError)) as error:
        demo.quantize(data="random", config={"samples": 1, **choices})
    assert text in str(error.value)


def test_an_operator_or_layer_that_is_not_there_is_refused(demo: lb.Model) -> None:
    for choices in ({"op": {"LayerNorm": {"skip": True}}}, {"layer": {"nothing*": {"skip": True}}}):
        with pytest.raises(QuantizeError):
            demo.quantize(data="random", config={"samples": 1, **choices})


def test_other_objects_are_type_errors() -> None:
    with pytest.raises(TypeError, match="the choice samples"):
        lb.Config(samples=object())


def test_files_are_read(tmp_path: Any) -> None:
    path = tmp_path / "choices.toml"
    path.write_text("samples = 3\n[weight]\nbits = 4\n")
    assert lb.Config.load(path)["weight.bits"] == 4
    path.write_text("sample = 3\n")
    with pytest.raises(ConfigError, match="did you mean 'samples'"):
        lb.Config.load(path)
    with pytest.raises(ConfigError, match="no such file"):
        lb.Config.load(tmp_path / "other.toml")


def test_blocks_nest_and_end() -> None:
    assert lb.current_config() == lb.Config()
    with qconfig(samples=9, nbit_dict={QFieldKind.WEIGHT: 4}) as outer:
        assert outer["weight.bits"] == 4 and lb.current_config() == outer
        with qconfig(skip_k_conv=2, nbit_dict={"input": 6}) as inner:
            entries = inner["samples"], inner["weight.bits"], inner["input.bits"], inner["skip_k_conv"]
            assert entries == (9, 4, 6, 2)
        assert lb.current_config() == outer
        with pytest.raises(RuntimeError), qconfig(samples=1):
            raise RuntimeError
        assert lb.current_config() == outer
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(lb.current_config()))
        thread.start()
        thread.join()
        assert elsewhere == [lb.Config()]
    assert lb.current_config() == lb.Config()


def test_blocks_refuse_what_is_unknown_or_said_twice() -> None:
    with pytest.raises(ConfigError, match="did you mean 'global_scale'"), qconfig(global_scal=3.0):
        pass
    with pytest.raises(ConfigError, match="takes QFieldKind"), qconfig(nbit_dict={"bias": 8}):
        pass
    with pytest.raises(ConfigError, match="twice"):
        with qconfig(nbit_dict={QFieldKind.INPUT: 8}, input={"bits": 4}):
            pass


def test_what_is_in_force_quantizes(demo: lb.Model) -> None:
    with qconfig(samples=4, nbit_dict={QFieldKind.INPUT: 6}):
        q = demo.quantize(data=DEMO / "calibration")
    assert (q.config["samples"], q.config["input.bits"]) == (4, 6)
    assert any(value["integers"] == [0, 63] for value in q.report.values)
    with qconfig(samples=4):
        assert demo.quantize(data=DEMO / "calibration", config={"samples": 5}).config["samples"] == 5
    # A dictionary is said over the block, a configuration in its place.
    with qconfig(nbit_dict={QFieldKind.WEIGHT: 4}):
        assert demo.quantize(data="random", config={"samples": 1}).config["weight.bits"] == 4
        assert demo.quantize(data="random", config=lb.Config(samples=1)).config["weight.bits"] == 8


def test_what_needs_samples_is_refused_without(demo: lb.Model) -> None:
    given: Dict[str, Any] = {"stats": demo.calibrate("random", config={"samples": 2})}
    nothing: Dict[str, Any] = {}
    for choices, text in (
        ({"samples": 5}, "samples = 5"),
        ({"equalize": True}, "equalize = true"),
        ({"refinements": ["bias-correction"]}, "refinements"),
    ):
        for more in (given, nothing):
            with pytest.raises(ConfigError, match=text):
                demo.quantize(config=choices, **more)
    with pytest.raises(ConfigError, match="looks at samples"):
        demo.quantize(config={"input": {"observer": "mse"}})
    with pytest.raises(ConfigError, match="equalize = true"):
        demo.calibrate("random", config={"equalize": True})
    with pytest.raises(TypeError, match="preprocess"):
        demo.quantize(preprocess="imagenet")


def test_nothing_else_is_passed_over(demo: lb.Model) -> None:
    with pytest.raises(TypeError, match="the choice sampels is None"):
        lb.Config(sampels=None)
    cases: List[Dict[str, Any]] = [{"progress": "tqdm"}, {"rules": {}}, {"passes": [print]}, {"config": 3}]
    for wrong in cases:
        with pytest.raises(TypeError, match="expected"):
            demo.quantize(data="random", **wrong)
    with pytest.raises(ValueError, match="from 1 to 256, found 0"):
        demo.quantize(data="random", threads=0)
    with pytest.raises(TypeError, match="a method range"):
        demo.quantize(data="random", observers=[Unasked])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="already"):
        demo.quantize(data="random", observers=[Unasked(), Unasked()])
    endless: Dict[str, Any] = {}
    endless["op"] = endless
    with pytest.raises(TypeError, match="in one another"):
        lb.Config(**endless)


class Unasked(lb.Observer):
    name = "unasked"

    def range(self, seen: lb.Seen, request: lb.Request) -> Any:
        return seen.low, seen.high


def test_an_observer_that_nothing_names_is_told(demo: lb.Model) -> None:
    with pytest.raises(ConfigError, match="nothing asked it"):
        demo.quantize(data="random", config={"samples": 1}, observers=[Unasked()])


def test_both_spellings_of_operators(demo: lb.Model) -> None:
    left = []
    for name in ("nn.conv2d", "Conv"):
        q = demo.quantize(data="random", config={"samples": 2, "op": {name: {"skip": True}}})
        left.append([(n["op"], n["node"]) for n in q.report.left_float])
    assert left[0] == left[1] and ("Conv" in {op for op, _ in left[0]})


def test_a_copied_configuration_says_what_the_first_said(demo: lb.Model) -> None:
    config = lb.Config(global_scale=4.0).set("input.bits=6")
    for same in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
        assert same == config
        # Nobody said anything of samples, so that there may be none.
        assert demo.quantize(config=same).config["global_scale"] == 4.0


def test_none_and_what_else_is_meant_otherwise_is_refused(demo: lb.Model, quantized: lb.Quantized) -> None:
    anything: Any = None
    with pytest.raises(TypeError, match="expected a list of observers"):
        demo.quantize(observers=anything)
    with pytest.raises(TypeError, match="expected a list of passes"):
        demo.quantize(passes=anything)
    with pytest.raises(TypeError, match="expected data, found"):
        demo.calibrate(anything)
    with pytest.raises(TypeError, match="expected a list, found None"):
        lb.Model.from_text("", customs=anything)
    with pytest.raises(TypeError, match="a lowbit.Quantized, found NoneType"):
        lb.build(anything)
    with pytest.raises(TypeError, match="its float model is .reference"):
        lb.quantize(quantized)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="widths by kind"):
        with qconfig([1]):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match="choices for weight, found None"):
        with qconfig({QFieldKind.WEIGHT: 4}, weight=None):
            pass
    with pytest.raises(TypeError, match="for the rule of 'Conv', found None"):
        lb.Rules().register("Conv", anything, override=True)
    with pytest.raises(TypeError, match="True or False for override"):
        lb.Rules().register("Conv", override="no")  # type: ignore[call-overload]
    for wrong in (True, 1.5, -1):
        number: Any = wrong
        with pytest.raises((TypeError, ValueError), match=f"expected a whole number from 0, found {wrong}"):
            lb.verify(demo, samples=number)
        with pytest.raises((TypeError, ValueError), match=f"expected a whole number from 0, found {wrong}"):
            demo.compile(threads=number)
    with pytest.raises(ValueError, match="from 1 to 256, found 1000000"):
        demo.compile().session(10**6)
    with pytest.raises(DataError, match="found none"):
        demo.quantize(data=DEMO / "calibration", preprocess={})
    with pytest.raises(TypeError, match="os.fsdecode"):
        demo.quantize(data=b"random")
    with pytest.raises(DataError, match="there is no such file"):
        demo.quantize(data=Path("random"))
    with pytest.raises(TypeError, match="Unicode text"):
        demo.quantize(data=os.fsdecode(b"caf\xe9"))
    with pytest.raises(RunError, match="expected data with labels, or a reference"):
        lb.evaluate(demo, "random")
    with pytest.raises(DataError, match="expected labels that are integers"):
        lb.evaluate(demo, np.zeros((2, 3, 32, 32), np.float32), labels=[0.5, 1])
    with pytest.raises(DataError, match="expected labels from 0 to 4294967295, found -1"):
        lb.evaluate(demo, np.zeros((2, 3, 32, 32), np.float32), labels=[0, -1])


def test_what_is_not_used_is_told(demo: lb.Model) -> None:
    with lb.rules():
        lb.register_annotate_function("LayerNorm", rule, override=True)
        skipped = demo.quantize(data="random", config={"samples": 2}).report.skipped
    assert [s["stage"].split(" (")[0] for s in skipped] == ["the rule 'rule'"]
    assert "no call of LayerNorm" in skipped[0]["reason"]
    with pytest.raises(ConfigError, match="nothing asks for it"):
        demo.calibrate("random", observers=[Unasked()])
    late = lb.graph_pass("refined")(lambda graph: None)
    with pytest.raises(lb.Error, match="which runs behind it"):
        demo.calibrate("random", passes=[late], config={"samples": 1})
    with pytest.raises(lb.errors.ModelError, match="no node of the model calls it"):
        lb.Model.load(DEMO / "model.onnx", customs=[Idle()])


def rule(call: lb.Call, args: List[lb.Value], ctx: lb.Context) -> None:
    return None


class Idle(lb.CustomOp):
    name = "idle"

    def infer(self, *inputs: lb.ValueType) -> lb.ValueType:
        return inputs[0]

    def run(self, *inputs: Any) -> Any:
        return inputs[0]


def test_a_report_stays_as_it_is(quantized: lb.Quantized) -> None:
    report = quantized.report
    with pytest.raises(AttributeError, match="cannot be changed"):
        report.layers = []
    report.to_dict()["layers"].clear()
    assert report.layers
    assert pickle.loads(pickle.dumps(report)) == report


def test_wide_values_are_proven_to_fit_or_refused(demo: lb.Model) -> None:
    """Without a width of activations accumulators are what is read, and what they need is computed from the weights."""
    choices: Dict[str, Any] = {"samples": 2, "accumulator_limit": "error"}
    proven = demo.quantize(data="random", config={**choices, "accumulator_bits": 24})
    ranges = [proven.integer.quantization(name) for node in proven.integer.nodes for name in node.outputs]
    # Nothing is limited to 24 bits, since no sum needs more.
    assert all(q is None or q["qmax"] != 2**23 - 1 for q in ranges)
    assert proven.report.integer_macs_percent == 100
    clipped = demo.quantize(data="random", config={"samples": 2, "activation": {"bits": 24}})
    ranges = [clipped.integer.quantization(name) for node in clipped.integer.nodes for name in node.outputs]
    assert any(q is not None and q["qmax"] == 2**23 - 1 for q in ranges)
    with pytest.raises(lb.errors.QuantizeError, match="more than the 16 of accumulator_bits"):
        demo.quantize(data="random", config={**choices, "accumulator_bits": 16})
