"""The classic workflow on real models, where there are some."""

import runpy
from pathlib import Path

import pytest

from conftest import ROOT

MODELS = [
    ("mxnet/det1-symbol.json", "mxnet/det1-0001.params", "1x3x32x40"),
    ("mxnet/det2-symbol.json", "mxnet/det2-0001.params", "1x3x24x24"),
    ("mxnet/det3-symbol.json", "mxnet/det3-0001.params", "1x3x48x48"),
    ("resnet20_cifar10.onnx",),
    ("mobilenet_v1_0.25_224.onnx",),
    ("squeezenet1.1.onnx",),
]


@pytest.mark.parametrize("arguments", MODELS, ids=lambda given: Path(given[0]).name)
def test_the_classic_workflow(shared: Path, arguments: "tuple[str, ...]") -> None:
    files = [str(shared / "models" / given) if "." in given else given for given in arguments]
    main = runpy.run_path(str(ROOT / "crates/python/examples/05_classic.py"))["main"]
    main(*files)
