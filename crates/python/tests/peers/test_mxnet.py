"""MXNet models, beside MXNet itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import mxnet
import numpy as np
import pytest

import lowbit as lb
from lowbit import QFieldKind, frontend, qconfig, quantize

sys.path.insert(0, str(Path(__file__).parents[1]))

REAL = [
    ("det1-symbol.json", "det1-0001.params", (1, 3, 32, 40)),
    ("det2-symbol.json", "det2-0001.params", (3, 3, 24, 24)),
    ("det3-symbol.json", "det3-0001.params", (2, 3, 48, 48)),
]


def of_mxnet(symbol: Path, params: Path, x: Any) -> List[Any]:
    net = mxnet.sym.load(str(symbol))
    arrays = mxnet.nd.load(str(params))
    arguments = {name[4:]: value for name, value in arrays.items() if name.startswith("arg:")}
    auxiliary = {name[4:]: value for name, value in arrays.items() if name.startswith("aux:")}
    # What else has no array is what only training reads.
    data, *labels = [name for name in net.list_inputs() if name not in arguments and name not in auxiliary]
    shapes = dict(zip(net.list_arguments(), net.infer_shape(**{data: x.shape})[0]))
    given = {data: mxnet.nd.array(x), **{label: mxnet.nd.zeros(shapes[label]) for label in labels}}
    bound = net.bind(mxnet.cpu(), {**arguments, **given}, aux_states=auxiliary, grad_req="null")
    return [y.asnumpy() for y in bound.forward()]


def check(symbol: Path, params: Path, sizes: Sequence[int]) -> None:
    x = np.random.default_rng(0).random(sizes, np.float32)
    graph, arrays = frontend.from_mxnet(symbol, params, sizes)
    expected, found = of_mxnet(symbol, params, x), lb.build(graph, arrays).run(x)
    assert len(expected) == len(found)
    for wanted, given in zip(expected, found):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_every_operator(tmp_path: Path) -> None:
    """Symbols of one operator each, in all of its forms, by the command line that comes with the package."""
    cases = Path(__file__).parents[4] / "xtask/peers/mxnet_cases.py"
    command = [sys.executable, str(cases), "--lowbit", str(Path(sys.executable).parent / "lowbit"), "--folder", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] > 100 and found["failed"] == 0 and found["worst"] <= 2e-5


def test_a_small_model(mxnet_model: Tuple[Path, Path]) -> None:
    check(*mxnet_model, (2, 3, 9, 7))


@pytest.mark.parametrize(("symbol", "params", "sizes"), REAL, ids=[symbol for symbol, _, _ in REAL])
def test_real_models(shared: Path, symbol: str, params: str, sizes: Sequence[int]) -> None:
    folder = shared / "models/mxnet"
    check(folder / symbol, folder / params, sizes)


@pytest.mark.parametrize(("symbol", "params", "sizes"), REAL, ids=[symbol for symbol, _, _ in REAL])
def test_the_classic_workflow(shared: Path, symbol: str, params: str, sizes: Sequence[int]) -> None:
    """Calibrated on the data that is run, what the integers give stays near what MXNet does."""
    folder = shared / "models/mxnet"
    x = np.random.default_rng(0).random(sizes, np.float32)
    graph, arrays = frontend.from_mxnet(folder / symbol, folder / params, (1, *sizes[1:]))
    with qconfig(nbit_dict={QFieldKind.ACTIVATION: 24}, skip_k_conv=1):
        qgraph, qparams = quantize(graph, arrays, data=x)
    program = lb.build(qgraph, qparams)
    assert lb.verify(qgraph, samples=1)
    for i, one in enumerate(x):
        found = program.run(one[None])
        expected = [y[i : i + 1] for y in of_mxnet(folder / symbol, folder / params, x)]
        for wanted, given in zip(expected, found):
            error = np.linalg.norm(wanted - given) / np.linalg.norm(wanted)
            assert error < 0.2, (symbol, error)
