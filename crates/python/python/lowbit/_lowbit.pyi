"""The native half of the package."""

import os
import pathlib
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, final

import numpy as np

from ._own import CustomOp, Observer, Pass
from ._progress import Progress
from ._rules import Rules
from .reports import (
    Comparison,
    Difference,
    Evaluation,
    Explanation,
    Report,
    Reproduction,
    Summary,
    Timing,
    Verification,
)

_Path = Union[str, "os.PathLike[str]"]
_Memory = Union[None, int, str]
_Array = np.ndarray[Any, Any]
_Tell = Optional[Callable[..., None]]
_Preprocess = Union[None, str, Mapping[str, Any]]
_Choices = Union[None, Config, Mapping[str, Any]]

__all__ = [
    "Call",
    "Called",
    "Config",
    "Context",
    "Dataset",
    "Graph",
    "Model",
    "Node",
    "Program",
    "Quantized",
    "Request",
    "Seen",
    "Session",
    "Standard",
    "Stats",
    "Value",
    "ValueType",
    "bench",
    "calibrate",
    "cli",
    "compare",
    "diff",
    "end",
    "evaluate",
    "explain",
    "forked",
    "inside",
    "listing",
    "operator",
    "quantize",
    "reproduce",
    "verify",
    "write_report",
    "version",
]

@final
class Config:
    """The choices of a quantization: ``Config(samples=64, input={"bits": 8})``."""

    def __new__(cls, **choices: Any) -> Config: ...
    @staticmethod
    def load(path: _Path) -> Config:
        """Reads a TOML file."""
    @staticmethod
    def from_toml(text: str) -> Config:
        """Reads the TOML form."""
    def to_toml(self) -> str:
        """The TOML form, every choice included."""
    def replace(self, **choices: Any) -> Config:
        """This configuration with other choices in place of its own."""
    def set(self, assignment: str) -> Config:
        """This configuration with one choice changed, as ``input.bits=4``."""
    def entries(self) -> List[Tuple[str, str]]:
        """Every choice by its dotted key, as TOML has it."""
    def choices(self) -> List[Dict[str, Any]]:
        """Every choice in force, as ``lowbit config --json`` has it: its ``key``, its ``value`` in TOML, the ``source`` that
        made it, and ``hardware`` where the device allows less than all."""
    @staticmethod
    def schema() -> Dict[str, Any]:
        """The JSON schema of the TOML form."""
    def differing(self) -> List[Tuple[str, str]]:
        """The choices that differ from the default."""
    def __getitem__(self, key: str, /) -> Any: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> Tuple[Any, Tuple[str, str]]: ...
    @staticmethod
    def _said(text: str, said: str) -> Config: ...

@final
class ValueType:
    """What a value is: its element type and its sizes, of which those that are open are names."""

    def __new__(cls, dtype: Any, shape: Sequence[Union[int, str]]) -> ValueType: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Tuple[Union[int, str], ...]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Node:
    """An operator applied to values, which go by their names."""

    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def attrs(self) -> Dict[str, Any]: ...
    @property
    def inputs(self) -> List[Optional[str]]: ...
    @property
    def outputs(self) -> List[str]: ...
    @property
    def rule(self) -> Optional[str]: ...

@final
class Graph:
    """A graph of operators and values, which go by their names: to look at, and in a pass to change."""

    @staticmethod
    def parse(text: str) -> Graph:
        """A graph from its text form."""
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> List[str]: ...
    @property
    def outputs(self) -> List[str]: ...
    @property
    def nodes(self) -> List[Node]:
        """In an order in which they can be computed."""
    @property
    def constants(self) -> List[str]: ...
    def node(self, name: str) -> Node: ...
    def type(self, name: str) -> ValueType:
        """What a value is."""
    def quantization(self, name: str) -> Optional[Dict[str, Any]]:
        """``scale``, ``zero_point``, ``qmin``, ``qmax``, ``axis`` and ``block`` of a value; None of what has none."""
    def producer(self, name: str) -> Optional[Node]:
        """The node that computes a value; None of inputs and constants."""
    def readers(self, name: str) -> List[Node]:
        """The nodes that read a value."""
    def constant(self, name: str) -> Optional[_Array]:
        """The elements of a constant; None of what is none."""
    def set_constant(self, name: str, elements: Any) -> None:
        """Gives a constant other elements, of its type and sizes."""
    def add_constant(self, name: str, elements: Any) -> str:
        """Adds a constant, and gives the name that it got."""
    def add_node(
        self,
        op: str,
        inputs: Sequence[Optional[str]],
        attrs: Optional[Dict[str, Any]] = None,
        name: Optional[str] = None,
    ) -> List[str]:
        """Adds a node, and gives the names of its results."""
    def replace(self, old: str, new: str) -> None:
        """Makes whoever reads ``old``, and the results, read ``new`` instead; the node that computes ``new`` may go on
        reading ``old``. A result keeps its name."""
    def set_input(self, node: str, i: int, value: Optional[str]) -> None:
        """Makes operand ``i`` of a node another value, or none."""
    def text(self, full: bool = False) -> str:
        """Its text form; large constants as size and hash, unless all is wanted."""
    def __len__(self) -> int: ...
    def _repr_html_(self) -> str: ...

@final
class Model:
    """A model: float, or quantized in the form that files have."""

    @staticmethod
    def load(
        path: _Path,
        *,
        shapes: Union[None, Sequence[int], Mapping[str, Sequence[int]]] = None,
        params: Optional[_Path] = None,
        customs: Iterable[CustomOp] = ...,
        max_memory: _Memory = None,
    ) -> Model:
        """Loads an ONNX file, or the -symbol.json file of an MXNet model, whose parameters ``params`` names if they are not
        beside it; ``shapes`` gives open dimensions of inputs their sizes, by name, or those of the only input."""
    @staticmethod
    def from_bytes(
        data: bytes,
        *,
        shapes: Union[None, Sequence[int], Mapping[str, Sequence[int]]] = None,
        customs: Iterable[CustomOp] = ...,
        max_memory: _Memory = None,
    ) -> Model:
        """A model from the bytes of an ONNX file; external data files would be beside a file, and are refused."""
    @staticmethod
    def from_text(text: str, *, customs: Iterable[CustomOp] = ..., max_memory: _Memory = None) -> Model:
        """A model from the text form of a graph."""
    @property
    def graph(self) -> Graph: ...
    @property
    def remarks(self) -> List[str]:
        """What was read differently than the file says it."""
    @property
    def is_quantized(self) -> bool: ...
    @property
    def inputs(self) -> Dict[str, ValueType]: ...
    @property
    def outputs(self) -> Dict[str, ValueType]: ...
    @property
    def preprocess(self) -> Optional[str]:
        """The image preprocessing that it stores, as JSON."""
    @property
    def config(self) -> Config:
        """The configuration that it was quantized with."""
    def params(self) -> Dict[str, _Array]:
        """Its constants by name: a copy of their elements."""
    def with_params(self, params: Mapping[str, Any]) -> Model:
        """This model with constants from a dictionary, which names all of them and no others."""
    def save(self, path: _Path) -> None:
        """Writes it as ONNX, whole or not at all."""
    def simulated(self) -> Model:
        """A quantized model as its simulation: floats between its Quantize and Dequantize."""
    def compile(
        self,
        *,
        batch: Optional[int] = None,
        isa: Optional[str] = None,
        threads: Optional[int] = None,
        max_memory: _Memory = None,
    ) -> Program:
        """Compiles it for this machine, for a batch of 1 where the model leaves the batch open; ``threads`` pack weights."""
    def build(
        self, *, isa: Optional[str] = None, threads: Optional[int] = None, max_memory: _Memory = None
    ) -> Program:
        """Compiles it for this machine, for any sizes that it leaves open: these are compiled for when arrays first have
        them."""
    def run(self, *args: Any, **kwargs: Any) -> List[_Array]:
        """Runs it on arrays of any sizes that fit, as :meth:`Session.run`: in a program that the model keeps for this."""
    def inspect(self) -> Summary: ...
    def quantize(
        self,
        data: Any = None,
        *,
        stats: Optional[Stats] = None,
        config: _Choices = None,
        rules: Optional[Rules] = None,
        observers: Iterable[Observer] = ...,
        passes: Iterable[Pass] = ...,
        preprocess: _Preprocess = None,
        resume: Optional[_Path] = None,
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> Quantized:
        """As :func:`lowbit.quantize`, of this model."""
    def calibrate(
        self,
        data: Any,
        *,
        config: _Choices = None,
        rules: Optional[Rules] = None,
        observers: Iterable[Observer] = ...,
        passes: Iterable[Pass] = ...,
        preprocess: _Preprocess = None,
        resume: Optional[_Path] = None,
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> Stats:
        """As :func:`lowbit.calibrate`, of this model."""
    def evaluate(
        self,
        data: Any,
        *,
        reference: Union[None, Model, Quantized] = None,
        labels: Any = None,
        preprocess: _Preprocess = None,
        samples: int = 0,
        output: Optional[str] = None,
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> Evaluation:
        """As :func:`lowbit.evaluate`, of this model."""
    def verify(
        self, data: Any = "random", *, preprocess: _Preprocess = None, samples: int = 8, progress: Progress = None
    ) -> Verification:
        """As :func:`lowbit.verify`, of this model."""
    def compare(
        self,
        other: Union[Model, Quantized],
        data: Any,
        *,
        preprocess: _Preprocess = None,
        samples: int = 32,
        sort: str = "sqnr",
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> Comparison:
        """As :func:`lowbit.compare`, of this model with another one."""
    def write_report(
        self,
        folder: _Path,
        other: Union[Model, Quantized],
        data: Any,
        *,
        preprocess: _Preprocess = None,
        samples: int = 32,
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> List[pathlib.Path]:
        """As :func:`lowbit.write_report`, of this model beside another one."""
    def explain(
        self,
        name: Optional[str] = None,
        *,
        config: _Choices = None,
        rules: Optional[Rules] = None,
        observers: Iterable[Observer] = ...,
    ) -> Explanation:
        """As :func:`lowbit.explain`, of this model."""
    def _repr_html_(self) -> str: ...

@final
class Quantized:
    """A quantized model and the account of how it came about. It unpacks into the model and its parameters."""

    @property
    def model(self) -> Model:
        """The quantized model, which is what is saved."""
    @property
    def reference(self) -> Model:
        """The float model in canonical form: what the integers are compared with."""
    @property
    def float(self) -> Graph:
        """The graph of the reference."""
    @property
    def integer(self) -> Graph:
        """The integer program's graph: what is compiled."""
    @property
    def report(self) -> Report: ...
    @property
    def config(self) -> Config:
        """The choices in force."""
    def params(self) -> Dict[str, _Array]: ...
    def save(self, path: _Path) -> None: ...
    def compile(
        self,
        *,
        batch: Optional[int] = None,
        isa: Optional[str] = None,
        threads: Optional[int] = None,
        max_memory: _Memory = None,
    ) -> Program:
        """Compiles the integer program for this machine, and for a batch of 1 where the model leaves the batch open."""
    def run(self, *args: Any, **kwargs: Any) -> List[_Array]:
        """As :meth:`Model.run`, of the quantized model."""
    def evaluate(
        self,
        data: Any,
        *,
        reference: Union[None, Model, Quantized] = None,
        labels: Any = None,
        preprocess: _Preprocess = None,
        samples: int = 0,
        output: Optional[str] = None,
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> Evaluation:
        """As :meth:`Model.evaluate`, of the quantized model."""
    def verify(
        self, data: Any = "random", *, preprocess: _Preprocess = None, samples: int = 8, progress: Progress = None
    ) -> Verification:
        """As :meth:`Model.verify`, of the quantized model."""
    def explain(self, name: Optional[str] = None) -> Explanation:
        """As :meth:`Model.explain`, of the quantized model."""
    def write_report(
        self,
        folder: _Path,
        data: Any,
        *,
        preprocess: _Preprocess = None,
        samples: int = 32,
        threads: Optional[int] = None,
        isa: Optional[str] = None,
        progress: Progress = None,
    ) -> List[pathlib.Path]:
        """As :func:`lowbit.write_report`, of the quantized model beside the float one."""
    def __iter__(self) -> Iterator[Any]: ...
    def _repr_html_(self) -> str: ...

@final
class Program:
    """A compiled model. Threads may share it. Where the model leaves sizes open, it is compiled when arrays first have them,
    and the programs for the latest four sets of sizes are kept."""

    @staticmethod
    def load(
        path: _Path,
        *,
        shapes: Union[None, Sequence[int], Mapping[str, Sequence[int]]] = None,
        params: Optional[_Path] = None,
        customs: Iterable[CustomOp] = ...,
        max_memory: _Memory = None,
        isa: Optional[str] = None,
        threads: Optional[int] = None,
    ) -> Program:
        """The program of a model file for arrays of any sizes that fit; what the file says only to known sizes, such as a
        branch that they decide, is read when they are. ``threads`` pack weights."""
    def session(self, threads: int = 1) -> Session:
        """A session on this many threads, the calling one among them."""
    def run(self, *args: Any, **kwargs: Any) -> List[_Array]:
        """As :meth:`Session.run`, of a session that the program keeps for this."""
    @property
    def inputs(self) -> Dict[str, ValueType]: ...
    @property
    def outputs(self) -> Dict[str, ValueType]: ...
    @property
    def isa(self) -> str: ...
    @property
    def reference_steps(self) -> List[Tuple[str, str, str]]:
        """Nodes that the interpreter runs, for want of a kernel: name, operator and reason."""

@final
class Session:
    """Runs a program: it owns the memory of its activations, so that its runs take turns."""

    def run(self, *args: Any, **kwargs: Any) -> List[_Array]:
        """Runs on an array for every input: by name as keywords or in a dictionary, or in order. Gives a list of arrays in
        the order of the program's outputs."""
    @property
    def threads(self) -> int: ...

@final
class Dataset:
    """Samples for a model, read when asked for."""

    @staticmethod
    def open(spec: _Path, model: Model, *, preprocess: _Preprocess = None, max_memory: _Memory = None) -> Dataset:
        """Opens a folder of images or of .npy or .npz files, one of these, an idx pair, or "random"."""
    @staticmethod
    def of(
        samples: Any, model: Model, *, labels: Any = None, name: str = "data", max_memory: _Memory = None
    ) -> Dataset:
        """Samples that Python holds: arrays whose first axis counts them, or a sequence with a sample at every index."""
    @property
    def has_labels(self) -> bool: ...
    @property
    def is_random(self) -> bool: ...
    @property
    def preprocess(self) -> Optional[str]: ...
    def sample(self, i: int) -> Dict[str, _Array]: ...
    def label(self, i: int) -> Optional[int]: ...
    def __len__(self) -> int: ...

@final
class Stats:
    """What calibration data showed of a model. Statistics of several parts of the data merge in any order."""

    @staticmethod
    def load(*paths: _Path) -> Stats: ...
    def save(self, path: _Path) -> None: ...
    def merge(self, other: Stats) -> Stats: ...
    @property
    def samples(self) -> int: ...
    @property
    def skipped(self) -> List[Dict[str, str]]:
        """What took no part in gathering them, and why: rules that were given and that nothing asked. No file holds it."""

@final
class Seen:
    """What was seen of a value: a histogram, which merges with those of other data."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def zeros(self) -> int: ...
    def histogram(self) -> Tuple[_Array, _Array]:
        """The middles of the bins that are not empty, in ascending order, and how many values each has."""

@final
class Request:
    """What is asked of a value: the integers that a range is found for."""

    @property
    def kind(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def signed(self) -> bool: ...
    @property
    def symmetric(self) -> bool: ...
    @property
    def integers(self) -> Tuple[int, int]: ...

@final
class Value:
    """A value that a call reads, perhaps simulated: to be made narrow."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Tuple[Union[int, str], ...]: ...
    @property
    def producer(self) -> Optional[str]:
        """The operator that computes it; None of inputs and constants."""
    @property
    def is_constant(self) -> bool: ...
    @property
    def is_simulated(self) -> bool: ...
    def numpy(self) -> _Array:
        """The elements of a constant."""
    def simulated(
        self,
        kind: Optional[str] = None,
        signed: Optional[bool] = None,
        rounding: Optional[str] = None,
        bits: Optional[int] = None,
        symmetric: Optional[bool] = None,
        narrow: Optional[bool] = None,
        per: Optional[str] = None,
        scale: Optional[str] = None,
        observer: Optional[str] = None,
    ) -> Value: ...

@final
class Call:
    """A call of an operator: what a rule is asked about, and what it gives."""

    def __new__(cls, op: str, args: Sequence[Value], attrs: Optional[Dict[str, Any]] = None) -> Call: ...
    @property
    def op(self) -> str: ...
    @property
    def args(self) -> List[Value]: ...
    @property
    def attrs(self) -> Dict[str, Any]: ...
    @property
    def name(self) -> Optional[str]:
        """The name of the node; None of a call that a rule made."""

@final
class Called:
    """A call of a function on a thread that Python started for it."""

    def begin(self, thread: int) -> None: ...
    def gave(self, given: Any) -> None: ...
    def failed(self, raised: BaseException) -> None: ...

@final
class Standard:
    """Stands for the decision of the standard rule."""

@final
class Context:
    """What a rule knows besides the call."""

    @property
    def config(self) -> Config:
        """The choices in force."""
    @property
    def standard(self) -> Standard:
        """What a rule gives that wants the standard rule to decide."""

def quantize(
    model: Model,
    *,
    config: Config,
    rules: Mapping[str, Any],
    data: Any = None,
    stats: Optional[Stats] = None,
    preprocess: _Preprocess = None,
    resume: Optional[_Path] = None,
    observers: Iterable[Observer] = ...,
    passes: Iterable[Pass] = ...,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: _Tell = None,
) -> Quantized: ...
def calibrate(
    model: Model,
    data: Any,
    *,
    config: Config,
    rules: Mapping[str, Any],
    preprocess: _Preprocess = None,
    resume: Optional[_Path] = None,
    observers: Iterable[Observer] = ...,
    passes: Iterable[Pass] = ...,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: _Tell = None,
) -> Stats: ...
def evaluate(
    model: Model,
    data: Any,
    *,
    reference: Optional[Model] = None,
    labels: Any = None,
    preprocess: _Preprocess = None,
    samples: int = 0,
    output: Optional[str] = None,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: _Tell = None,
) -> Evaluation: ...
def compare(
    reference: Model,
    model: Model,
    data: Any,
    *,
    preprocess: _Preprocess = None,
    samples: int = 32,
    sort: str = "sqnr",
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: _Tell = None,
) -> Comparison: ...
def write_report(
    folder: _Path,
    reference: Model,
    model: Model,
    data: Any,
    *,
    preprocess: _Preprocess,
    samples: int,
    threads: Optional[int],
    isa: Optional[str],
    progress: _Tell,
) -> List[pathlib.Path]: ...
def verify(
    model: Model, data: Any, *, preprocess: _Preprocess = None, samples: int = 8, progress: _Tell = None
) -> Verification: ...
def bench(
    model: Model,
    *,
    threads: int,
    seconds: float,
    isa: Optional[str] = None,
    batch: Optional[int] = None,
    progress: _Tell = None,
) -> Timing: ...
def explain(
    model: Model, name: Optional[str], *, config: Config, rules: Mapping[str, Any], observers: Iterable[Observer]
) -> Explanation: ...
def diff(before: Model, after: Model, *, tolerance: float) -> Difference: ...
def reproduce(
    path: _Path,
    source: Union[Model, _Path],
    *,
    params: Optional[_Path],
    data: Any,
    stats: Optional[Stats],
    rules: Mapping[str, Any],
    observers: Iterable[Observer],
    passes: Iterable[Pass],
    threads: Optional[int],
    isa: Optional[str],
    progress: _Tell,
) -> Reproduction: ...
def listing(name: str) -> Tuple[List[str], List[List[str]]]:
    """A registry as ``lowbit list`` prints it: column titles and rows."""

def operator(name: str) -> str:
    """The operator that a name means, in either spelling; an error names the nearest."""

def version() -> Tuple[str, List[str]]: ...
def end() -> None:
    """The interpreter ends: nobody comes to it from the core any more but who calls this."""

def forked() -> None:
    """This process is a copy, which has this thread alone."""

def inside() -> Tuple[int, List[int]]:
    """How many threads are in the way of the end, and those of them that are in functions of the user's."""

def cli(arguments: Sequence[str]) -> int: ...
