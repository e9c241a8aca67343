"""Long work: progress, Ctrl-C, and other threads that go on."""

import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, List, Optional, Tuple

import numpy as np
import pytest

import lowbit as lb

from conftest import DEMO


def test_progress_is_told(demo: lb.Model) -> None:
    told: List[Tuple[str, int, Optional[int]]] = []
    demo.quantize(data=DEMO / "calibration", config={"samples": 20}, progress=lambda *a: told.append(a))
    assert ("calibrate", 20, 20) in told
    assert {stage for stage, _, _ in told} >= {"equalize", "annotate", "calibrate", "refine", "realize"}
    assert told[-1][0] == ""


def test_a_bar_is_drawn_when_it_is_asked_for(demo: lb.Model, capsys: pytest.CaptureFixture[str]) -> None:
    demo.quantize(data=DEMO / "calibration", config={"samples": 20})
    assert capsys.readouterr().err == ""
    demo.quantize(data=DEMO / "calibration", config={"samples": 20}, progress=True)
    assert "calibrate    [" in capsys.readouterr().err


def test_a_notebook_shows_it_in_place(demo: lb.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        pass

    class Handle:
        shown: List[str] = []

        def update(self, html: str) -> None:
            self.shown.append(html)

    display = types.ModuleType("IPython.display")
    display.HTML = str  # type: ignore[attr-defined]
    display.display = lambda *_, **__: Handle()  # type: ignore[attr-defined]
    notebook = types.ModuleType("IPython")
    notebook.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    demo.quantize(data=DEMO / "calibration", config={"samples": 20})
    assert any("calibrate" in html for html in Handle.shown)
    # Nothing is left of it at the end.
    assert Handle.shown[-1] == ""


def test_progress_that_raises_ends_the_work(demo: lb.Model) -> None:
    def raising(*_: Any) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        demo.quantize(data="random", progress=raising)


def test_other_threads_go_on_while_the_core_works(demo: lb.Model) -> None:
    turns, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0.001)

    counting = threading.Thread(target=count)
    counting.start()
    before = turns[0]
    demo.quantize(data=DEMO / "calibration", config={"samples": 200})
    during = turns[0] - before
    stop.set()
    counting.join()
    assert during > 10


WORK = """
import sys, time
import numpy as np
import lowbit as lb

class Endless:
    def __len__(self):
        return 1_000_000
    def __getitem__(self, i):
        return np.zeros((3, 32, 32), np.float32)

def rule(call, args, ctx):
    while True:
        time.sleep(0.01)

model = lb.Model.load(sys.argv[1])
print("ready", flush=True)
try:
    if sys.argv[2] == "data":
        model.quantize(data=Endless(), config={"samples": 0})
    elif sys.argv[2] == "bench":
        lb.bench(model, seconds=100)
    elif sys.argv[2] == "run":
        # One run of many seconds: without kernels for vectors.
        program = model.compile(batch=1024, isa="scalar")
        images = np.zeros((1024, 3, 32, 32), np.float32)
        print("ready", flush=True)
        program.run(images)
        print("not interrupted", flush=True)
    else:
        rules = lb.Rules()
        rules.register("Conv", rule, override=True)
        model.quantize(data=Endless(), config={"samples": 1}, rules=rules)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
@pytest.mark.parametrize("what", ["data", "rule", "bench", "run"])
def test_ctrl_c_is_heard(what: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK, str(DEMO / "model.onnx"), what], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if what == "run":
            assert child.stdout.readline() == "ready\n"
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        sent = time.monotonic()
        line = child.stdout.readline()
        heard = time.monotonic() - sent
        code = child.wait()
    assert line == "interrupted\n"
    # The interpreter ends as if nothing had been going on.
    assert code == 0
    # A second is what is promised; more is a machine that is busy with something else.
    assert heard < 3, heard


class Slow:
    """Takes its time for a sample."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        for _ in range(10):
            time.sleep(0.002)
        return np.zeros((3, 32, 32), np.float32)


def test_an_interruption_ends_one_work_and_not_another_on_the_same_data(demo: lb.Model) -> None:
    data = lb.Dataset.of(Slow(), demo)
    found: List[Any] = []

    def beside() -> None:
        try:
            found.append(lb.evaluate(demo, data, reference=demo).samples)
        except BaseException as error:
            found.append(error)

    working = threading.Thread(target=beside)
    working.start()
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        lb.evaluate(demo, data, reference=demo)
    working.join()
    assert found == [40]


POOLED = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import lowbit as lb

class Pooled:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: data.sample(0)["image"]).result()

data = lb.Dataset.of(Pooled(), lb.Model.load(sys.argv[1]))
print("begins", flush=True)
data.sample(0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are otherwise there")
def test_who_waits_for_himself_by_threads_of_his_own_can_be_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", POOLED, str(DEMO / "model.onnx")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors


RESUMED = """
import sys, time
import numpy as np
import lowbit as lb

class Slow:
    def __len__(self):
        return 60
    def __getitem__(self, i):
        time.sleep(float(sys.argv[2]))
        return np.random.default_rng(i).random((3, 32, 32), np.float32)

model = lb.Model.load(sys.argv[1])
config = {"samples": 0, "equalize": False, "refinements": []}
resume = None if sys.argv[4] == "-" else sys.argv[4]
print("begins", flush=True)
lb.quantize(model, data=Slow(), config=config, resume=resume, threads=1).save(sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are otherwise there")
def test_calibration_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    whole, parts, kept = tmp_path / "whole.onnx", tmp_path / "parts.onnx", tmp_path / "kept"
    command = [sys.executable, "-c", RESUMED, str(DEMO / "model.onnx")]
    subprocess.run([*command, "0", str(whole), "-"], check=True, capture_output=True)
    with subprocess.Popen([*command, "0.1", str(parts), str(kept)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begins\n"
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors and kept.exists() and not parts.exists()
    subprocess.run([*command, "0", str(parts), str(kept)], check=True, capture_output=True)
    assert parts.read_bytes() == whole.read_bytes() and not kept.exists()


def test_what_runs_no_samples_keeps_none(demo: lb.Model, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected data for resume"):
        demo.quantize(resume=tmp_path / "kept")
    (tmp_path / "other").write_text("something else")
    with pytest.raises(lb.Error, match="expected a checkpoint"):
        demo.quantize(data="random", config={"samples": 2}, resume=tmp_path / "other")
