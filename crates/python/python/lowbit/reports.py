"""What was measured and done: the fields that ``--json`` of the command line has, as attributes."""

import copy
import json
from typing import Any, Dict, Iterable, List, Tuple

from . import _html

__all__ = [
    "Comparison",
    "Difference",
    "Evaluation",
    "Explanation",
    "Report",
    "Reproduction",
    "Summary",
    "Timing",
    "Verification",
]


class _Report:
    """What the core said: each of its fields is an attribute, and an item."""

    _fields: Dict[str, Any]

    def __init__(self, fields: Dict[str, Any]) -> None:
        object.__setattr__(self, "_fields", fields)

    @classmethod
    def _of(cls, text: str) -> "_Report":
        return cls(json.loads(text))

    def to_dict(self) -> Dict[str, Any]:
        """All of it, as ``--json`` of the command line has it."""
        return copy.deepcopy(self._fields)

    def keys(self) -> Iterable[str]:
        """The names of the fields, so that ``dict(report)`` works."""
        return self._fields.keys()

    def items(self) -> Iterable[Tuple[str, Any]]:
        """The fields by name."""
        return self._fields.items()

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("_fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(fields)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} says what was measured, and cannot be changed: to_dict() gives a copy")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Report) and type(self) is type(other) and self._fields == other._fields

    def _lines(self) -> List[Tuple[str, str]]:
        plain = (str, int, float, bool)
        return [(key, _figure(value)) for key, value in self._fields.items() if isinstance(value, plain)]

    def __repr__(self) -> str:
        told = ", ".join(f"{key} {value}" for key, value in self._lines())
        return f"<lowbit.{type(self).__name__}: {told}>"

    def _repr_html_(self) -> str:
        return _html.pairs(self._lines())


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


class Report(_Report):
    """What a quantization did and chose: ``layers``, ``left_float`` with reasons, ``values`` with their parameters,
    ``corrections``, ``equalized``, what was ``skipped`` and the ``config`` in force."""

    def _lines(self) -> List[Tuple[str, str]]:
        layers = self["layers"]
        integer = sum(1 for layer in layers if layer["integer"])
        before, after = self["bytes_before"], self["bytes_after"]
        lines = [
            ("layers on integers", f"{integer} of {len(layers)}"),
            ("multiply-accumulates on integers", f"{self['integer_macs_percent']:.2f} %"),
            ("bytes of constants", f"{before:,} -> {after:,}"),
            ("left in float", str(len(self["left_float"]))),
        ]
        lines += [(f"left out: {skip['stage']}", skip["reason"]) for skip in self["skipped"]]
        return lines

    def _repr_html_(self) -> str:
        return _html.report(self, self._lines())


class Evaluation(_Report):
    """Accuracy on labelled data, agreement with a reference, errors of the outputs; percentages are of 100."""


class Comparison(_Report):
    """The errors of every layer, worst first: ``layers`` with ``cumulative`` and, where measured, ``isolated``."""

    def _repr_html_(self) -> str:
        return _html.comparison(self)


class Verification(_Report):
    """Whether every executor gave the same bits: ``identical``, and the first ``difference`` if not."""

    def __bool__(self) -> bool:
        return bool(self["identical"])


class Timing(_Report):
    """Latencies in milliseconds: ``median_ms``, ``min_ms``, ``p90_ms``, ..."""


class Summary(_Report):
    """What a model is."""

    def _lines(self) -> List[Tuple[str, str]]:
        operators: Iterable[Tuple[str, int]] = self["operators"].items()
        counted = [("operators", ", ".join(f"{count} {op}" for op, count in operators))]
        return [("inputs", ", ".join(self["inputs"])), ("outputs", ", ".join(self["outputs"])), *counted, *super()._lines()]


class Explanation(_Report):
    """Why a model is as it is: ``layers`` with what their sums reach and why they are float, ``tensors`` with their
    parameters and who chose each, ``hardware`` and ``notes``."""

    def _lines(self) -> List[Tuple[str, str]]:
        layers = self["layers"]
        integer = sum(1 for layer in layers if layer["integer"])
        lines = [
            ("model", "quantized" if self["quantized"] else "float"),
            ("layers on integers", f"{integer} of {len(layers)}"),
            ("quantized tensors", str(len(self["tensors"]))),
        ]
        return lines + [("note", note) for note in (*self["notes"], *self["hardware"])]

    def _repr_html_(self) -> str:
        return _html.explanation(self, self._lines())


class Difference(_Report):
    """What changed between two quantized models: ``operators``, ``types``, ``scales``, ``zero_points``, ``constants``,
    ``islands``; true if nothing did."""

    def __bool__(self) -> bool:
        return bool(self["same"])

    def _lines(self) -> List[Tuple[str, str]]:
        lists = [(key.replace("_", " "), str(len(value))) for key, value in self.items() if isinstance(value, list) and value]
        return [("same", str(self["same"])), ("values compared", str(self["values"])), *lists]

    def _repr_html_(self) -> str:
        return _html.difference(self, self._lines())


class Reproduction(_Report):
    """Whether a model could be made again to the byte: ``same``, and if not what was other (``others``) and what differs
    (``diff``)."""

    def __bool__(self) -> bool:
        return bool(self["same"])

    def _lines(self) -> List[Tuple[str, str]]:
        others = [(f"another {o['what']}", f"the recipe says {o['expected']}, found {o['found']}") for o in self["others"]]
        return [("same", str(self["same"])), ("bytes", " and ".join(map(str, self["bytes"]))), *others]
