"""What users write in Python besides rules: observers, passes and operators."""

import abc
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence, Tuple, Union

from ._lowbit import Graph, Request, Seen, ValueType

__all__ = ["CustomOp", "Observer", "Pass", "graph_pass"]


class Observer(abc.ABC):
    """Finds the range that a value's integers cover, from what was seen of it.

    What was seen is a histogram, so that an observer need not know how it came about: statistics of several parts of the
    data, gathered apart and merged in any order, serve it like those of one run.
    """

    #: The name that configurations use: ``input={"observer": "mine"}``.
    name: str

    #: Whether what is known of a value besides, such as the limits of a Clip, cuts the range too.
    known: bool = True

    # A method `range_of_weights(self, weights, request)`, if there is one, is asked for weights, with all of them in an
    # array; without it they are shown as a histogram like all else.

    @abc.abstractmethod
    def range(self, seen: Seen, request: Request) -> Tuple[float, float]:
        """The lower and the upper end, for integers as the request asks."""


class Pass(NamedTuple):
    """A function that changes the graph, and when it does."""

    #: "imported", "prepared", "equalized", "annotated", "calibrated", "refined" or "realized".
    phase: str
    #: Its name, for messages.
    name: str
    #: Changes the graph that it is given, which it may not keep.
    function: Callable[[Graph], Any]


def graph_pass(phase: str, name: str = "") -> Callable[[Callable[[Graph], Any]], Pass]:
    """Makes a pass of a function: ``@graph_pass("prepared")``."""


    def made(function: Callable[[Graph], Any]) -> Pass:
        if not callable(function):
            raise TypeError(f"expected a function for a pass, found {function!r}")
        return Pass(phase, name or getattr(function, "__name__", "pass"), function)

    return made


class CustomOp:
    """An operator in floats, in the middle of a model: ``Model.load(path, customs=[Mine()])``.

    ``infer(*inputs)`` gives what its results are, a :class:`ValueType` or several, from those of what it reads;
    ``run(*inputs)`` gives an array for every result from an array for every input. Graphs call it ``Custom`` with the
    attribute ``op``, its name. It stays float, and is listed with that reason.
    """

    #: Its name.
    name: str

    if TYPE_CHECKING:
        # Each operator takes as many inputs as it has.
        infer: Callable[..., Union[ValueType, Sequence[ValueType]]]
        run: Callable[..., Any]
