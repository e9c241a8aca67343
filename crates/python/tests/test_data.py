"""Data: files, arrays, sequences; and statistics of them."""

from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pytest

import lowbit as lb
from lowbit.errors import CallbackError, DataError, QuantizeError

from conftest import DEMO


def scales(q: lb.Quantized) -> List[Any]:
    return [value["scale"] for value in q.report.values]


@pytest.fixture(scope="module")
def images(demo: lb.Model) -> Tuple[Any, List[int]]:
    data = lb.Dataset.open(DEMO / "test", demo)
    picked = range(0, len(data), 40)
    arrays = [data.sample(i)["image"] for i in picked]
    labels = [data.label(i) for i in picked]
    return np.concatenate(arrays), [label for label in labels if label is not None]


def test_all_forms_of_data_are_the_same_data(demo: lb.Model, images: Tuple[Any, Any], tmp_path: Path) -> None:
    array, _ = images
    np.save(tmp_path / "images.npy", array)
    config = {"samples": 0}
    forms = [
        array,
        array[:, None],
        {"image": array},
        list(array),
        list(array[:, None]),
        [{"image": one} for one in array],
        [(one,) for one in array],
        (one for one in array),
        lb.Dataset.of(array, demo),
        tmp_path / "images.npy",
        str(tmp_path / "images.npy"),
    ]
    found = [scales(demo.quantize(data=form, config=config)) for form in forms]
    assert all(one == found[0] for one in found)


def test_labels_are_counted(demo: lb.Model, quantized: lb.Quantized, images: Tuple[Any, Any]) -> None:
    array, labels = images
    found = lb.evaluate(quantized.model, array, labels=labels, reference=demo)
    assert found.samples == len(labels) and found.top1 > 80 and found.agreement > 90
    own = sum(int(np.argmax(demo.compile().run(one[None])[0])) == label for one, label in zip(array, labels))
    assert found.reference["top1"] == pytest.approx(100 * own / len(labels))
    assert lb.evaluate(quantized.model, lb.Dataset.of(array, demo, labels=np.array(labels))).top1 == found.top1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.zeros((4, 3, 31, 32), np.float32), "expected samples for 'image'"),
        ({"imag": np.zeros((4, 3, 32, 32))}, "did you mean 'image'"),
        ({}, "expected an array named 'image'"),
        (np.zeros((0, 3, 32, 32), np.float32), "at least one sample"),
        ([], "at least one sample"),
        (DEMO / "nothing", "there is no such file"),
    ],
)
def test_what_does_not_fit_is_refused(demo: lb.Model, data: Any, text: str) -> None:
    with pytest.raises(DataError) as error:
        demo.quantize(data=data)
    assert text in str(error.value)


def test_choices_that_nothing_goes_by_are_refused(demo: lb.Model) -> None:
    with pytest.raises(TypeError, match="preprocess"):
        demo.quantize(data=np.zeros((1, 3, 32, 32)), preprocess="imagenet")
    with pytest.raises(DataError, match="taken as they are"):
        demo.quantize(data="random", preprocess="imagenet")
    with pytest.raises(DataError, match="did you mean 'crop'"):
        demo.quantize(data=DEMO / "calibration", preprocess={"corp": 3})
    with pytest.raises(QuantizeError, match="found both"):
        stats = demo.calibrate("random", config={"samples": 1})
        demo.quantize(data="random", stats=stats)


class Broken:
    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Any:
        if i == 3:
            raise LookupError("the disk is gone")
        return np.zeros((3, 32, 32), np.float32)


class Endless:
    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, i: int) -> Any:
        return np.zeros((3, 32, 32), np.float32)


def test_of_endless_data_a_part_is_looked_at(demo: lb.Model, quantized: lb.Quantized) -> None:
    assert demo.quantize(data=Endless(), config={"samples": 3}).config["samples"] == 3
    with pytest.raises(lb.Error, match="the numbers of so many samples"):
        lb.evaluate(quantized, Endless(), reference=demo)
    with pytest.raises(lb.Error, match="the numbers of so many samples"):
        demo.quantize(data=Endless(), config={"samples": 0})


def test_a_sequence_that_raises_is_the_cause(demo: lb.Model) -> None:
    with pytest.raises(DataError) as error:
        demo.quantize(data=Broken())
    assert "the disk is gone" in str(error.value) and "sample 3" in str(error.value)
    assert isinstance(error.value.__cause__, LookupError)


def test_a_sample_of_other_sizes_is_refused(demo: lb.Model) -> None:
    with pytest.raises((DataError, QuantizeError, CallbackError), match="expected"):
        demo.quantize(data=[np.zeros((3, 32, 32), np.float32), np.zeros((3, 30, 32), np.float32)])


def test_statistics_merge_in_any_order(demo: lb.Model, images: Tuple[Any, Any], tmp_path: Path) -> None:
    array, _ = images
    config = {"equalize": False, "refinements": []}
    whole = demo.quantize(data=array, config=config)
    halves = [demo.calibrate(part, config={"samples": 0}) for part in (array[:10], array[10:])]
    assert [half.samples for half in halves] == [10, len(array) - 10]
    halves[0].save(tmp_path / "0.stats")
    halves[1].save(tmp_path / "1.stats")
    merged = [
        halves[0].merge(halves[1]),
        halves[1].merge(halves[0]),
        lb.Stats.load(tmp_path / "1.stats", tmp_path / "0.stats"),
    ]
    for stats in merged:
        assert stats.samples == len(array)
        assert scales(demo.quantize(stats=stats, config=config)) == scales(whole)
    skipped = [one["stage"] for one in demo.quantize(stats=merged[0]).report.skipped]
    assert "equalize" in skipped


def test_rules_that_gather_nothing_are_told(demo: lb.Model, images: Tuple[Any, Any]) -> None:
    rules = lb.Rules()

    @rules.register("Lstm", override=True)
    def idle(call: lb.Call, args: List[lb.Value], ctx: Any) -> None:
        return None

    stats = demo.calibrate(images[0], rules=rules, config={"samples": 2})
    assert len(stats.skipped) == 1
    assert "idle" in stats.skipped[0]["stage"] and "Lstm" in stats.skipped[0]["reason"]
    assert demo.calibrate(images[0], config={"samples": 2}).skipped == []
