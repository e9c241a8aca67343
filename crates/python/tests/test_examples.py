"""Every numbered example runs and checks what it says; so does every snippet of the documents."""

import re
import runpy
import shutil
from pathlib import Path
from typing import List, Tuple

import numpy as np
import pytest

from conftest import DEMO, ROOT

EXAMPLES = sorted((ROOT / "crates/python/examples").glob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "docs/python.md"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, at_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def snippets(document: Path) -> List[str]:
    return re.findall(r"^```python\n(.*?)^```", document.read_text(), re.S | re.M)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_snippets(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mxnet_model: Tuple[Path, Path]
) -> None:
    """The snippets of a document are one program, run in a folder with the files that they speak of."""
    shutil.copy(DEMO / "model.onnx", tmp_path / "model.onnx")
    shutil.copytree(DEMO / "calibration", tmp_path / "photos")
    shutil.copytree(DEMO / "test", tmp_path / "labelled")
    for file in mxnet_model:
        shutil.copy(file, tmp_path / file.name)
    monkeypatch.chdir(tmp_path)
    found = snippets(document)
    assert found, f"{document} has no snippets of Python"
    random = np.random.default_rng(3)
    names = {"__name__": "__snippet__", "x": random.random((1, 3, 32, 32), np.float32)}
    for number, text in enumerate(found):
        exec(compile(text, f"{document.name}, snippet {number + 1}", "exec"), names)
