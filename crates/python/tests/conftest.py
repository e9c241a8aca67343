"""What the tests share: the demo, a small MXNet model, and the folder of real models if there is one."""

import json
import os
import struct
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import pytest

import lowbit as lb

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "demo"


@pytest.fixture(scope="session")
def demo() -> lb.Model:
    return lb.Model.load(DEMO / "model.onnx")


@pytest.fixture(scope="session")
def quantized(demo: lb.Model) -> lb.Quantized:
    return demo.quantize(data=DEMO / "calibration", config={"samples": 32})


@pytest.fixture(scope="session")
def image() -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(1).random((1, 3, 32, 32), np.float32)


@pytest.fixture()
def at_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(ROOT)
    yield ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models; without it the test is skipped, and says so."""
    named = os.environ.get("LOWBIT_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("REAL MODELS ARE NOT THERE: LOWBIT_SHARED is not set, and ../shared/models does not exist")
    return folder


def _params_file(path: Path, arrays: Dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]) -> None:
    """Writes arrays as MXNet 1.x does: a list of dense arrays in its second version, and their names."""
    out = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        out += struct.pack("<IiI", 0xF993FAC9, 0, array.ndim)
        out += struct.pack(f"<{array.ndim}q", *array.shape)
        out += struct.pack("<iii", 1, 0, 0) + array.astype("<f4").tobytes()
    out += struct.pack("<Q", len(arrays))
    for name in arrays:
        out += struct.pack("<Q", len(name)) + name.encode()
    path.write_bytes(out)


@pytest.fixture(scope="session")
def mxnet_model(tmp_path_factory: pytest.TempPathFactory) -> Tuple[Path, Path]:
    """The symbol and the parameters of two convolutions, of which the second is quantized by the classic program."""
    folder = tmp_path_factory.mktemp("mxnet")
    conv = {"kernel": "(3, 3)", "pad": "(1, 1)", "num_filter": "8"}
    nodes: List[Dict[str, Any]] = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "conv0_weight", "inputs": []},
        {"op": "null", "name": "conv0_bias", "inputs": []},
        {"op": "Convolution", "name": "conv0", "attrs": conv, "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]]},
        {"op": "Activation", "name": "relu0", "attrs": {"act_type": "relu"}, "inputs": [[3, 0, 0]]},
        {"op": "null", "name": "conv1_weight", "inputs": []},
        {"op": "null", "name": "conv1_bias", "inputs": []},
        {"op": "Convolution", "name": "conv1", "attrs": conv, "inputs": [[4, 0, 0], [5, 0, 0], [6, 0, 0]]},
        {"op": "Pooling", "name": "pool", "attrs": {"global_pool": "True", "pool_type": "avg", "kernel": "(1, 1)"},
         "inputs": [[7, 0, 0]]},
        {"op": "Flatten", "name": "flat", "inputs": [[8, 0, 0]]},
    ]
    arguments = [i for i, node in enumerate(nodes) if node["op"] == "null"]
    symbol = {"nodes": nodes, "arg_nodes": arguments, "heads": [[9, 0, 0]], "attrs": {"mxnet_version": ["int", 10901]}}
    files = folder / "model-symbol.json", folder / "model-0000.params"
    files[0].write_text(json.dumps(symbol))
    random = np.random.default_rng(7)
    _params_file(files[1], {
        "arg:conv0_weight": random.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.3,
        "arg:conv0_bias": random.standard_normal(8).astype(np.float32) * 0.1,
        "arg:conv1_weight": random.standard_normal((8, 8, 3, 3)).astype(np.float32) * 0.2,
        "arg:conv1_bias": random.standard_normal(8).astype(np.float32) * 0.1,
    })
    return files
