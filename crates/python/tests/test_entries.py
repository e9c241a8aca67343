"""Every way from Python into Rust that may come back to Python is counted: the end of the interpreter waits for it."""

import re
from typing import Iterator, Tuple

from conftest import ROOT

#: What runs Python, which may be code of the user's, or let another thread run.
COMES_BACK = re.compile(r"\.(call0|call1|call|call_method\w*|getattr|hasattr|import|try_iter|repr|str|is_truthy|eq|get_item)\(|told\(")


def entries() -> Iterator[Tuple[str, str]]:
    """Methods and functions of Python's: where they are, and their text."""
    for file in sorted((ROOT / "crates/python/src").glob("*.rs")):
        text = file.read_text()
        blocks = [m for m in re.finditer(r"#\[pymethods\]\nimpl \w+ \{\n(.*?)\n\}\n", text, re.S)]
        for block in blocks:
            for method in re.finditer(r"\n?    (?:pub )?(fn \w+).*?\n    \}\n", block.group(1) + "\n", re.S):
                yield f"{file.name}: {method.group(1)}", method.group(0)
        for function in re.finditer(r"#\[pyfunction\]\n.*?(fn \w+).*?\n\}\n", text, re.S):
            yield f"{file.name}: {function.group(1)}", function.group(0)


def test_there_are_entries() -> None:
    assert len(list(entries())) > 100


def test_who_comes_back_is_counted() -> None:
    ways = ("entered(", "of_package(", "self.run(")
    uncounted = []
    for where, text in entries():
        body = text.partition("{\n")[2]
        if COMES_BACK.search(body) and not any(way in body for way in ways):
            uncounted.append(where)
    assert uncounted == []
