"""The workflow as functions: what is in force in the scopes around goes into the core's."""

import os
import pathlib
from typing import Any, Iterable, List, Mapping, Optional, Union

from . import _lowbit, _rules
from ._config import config_of
from ._lowbit import Config, Model, Program, Quantized, Stats
from ._own import Observer, Pass
from ._progress import Progress, teller
from .errors import ConfigError
from .reports import Comparison, Difference, Evaluation, Explanation, Reproduction, Timing, Verification

__all__ = [
    "bench",
    "build",
    "calibrate",
    "compare",
    "diff",
    "evaluate",
    "explain",
    "quantize",
    "reproduce",
    "verify",
    "write_report",
]

#: Data: a :class:`Dataset`, a path (a folder of images, .npy, .npz, an idx pair) or "random", an array whose first axis
#: counts samples, a dictionary of arrays by input, or a sequence with a sample at every index.
Data = Any

#: How images become inputs: a preset by name, or a dictionary with any of preset, resize, crop, mean, std, channels.
Preprocess = Union[None, str, Mapping[str, Any]]

Path = Union[str, "os.PathLike[str]"]

Choices = Union[None, Config, Mapping[str, Any]]


def _model(given: Union[Model, Quantized]) -> Model:
    if isinstance(given, Quantized):
        return given.model
    if not isinstance(given, Model):
        raise TypeError(f"expected a lowbit.Model or a lowbit.Quantized, found {type(given).__name__}")
    return given


def _float(given: Model) -> Model:
    if isinstance(given, Quantized):
        raise TypeError("expected a float model, found a lowbit.Quantized: its float model is .reference")
    if not isinstance(given, Model):
        raise TypeError(f"expected a lowbit.Model, found {type(given).__name__}")
    return given


def _listed(what: str, given: Iterable[Any]) -> List[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"expected a list of {what}, found {type(given).__name__}")
    return list(given)


def _passes(given: Iterable[Pass]) -> List[Pass]:
    passes = _listed("passes", given)
    for one in passes:
        if not isinstance(one, Pass):
            raise TypeError(f"expected passes, as @lowbit.graph_pass(phase) makes them of functions, found {one!r}")
    return passes


def quantize(
    model: Model,
    params: Optional[Mapping[str, Any]] = None,
    data: Optional[Data] = None,
    *,
    stats: Optional[Stats] = None,
    config: Choices = None,
    rules: Optional[_rules.Rules] = None,
    observers: Iterable[Observer] = (),
    passes: Iterable[Pass] = (),
    preprocess: Preprocess = None,
    resume: Union[None, str, "os.PathLike[str]"] = None,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: Progress = None,
) -> Quantized:
    """Quantizes a float model; the result unpacks into the quantized model and its parameters.

    ``params`` are constants in place of the model's, as :mod:`lowbit.frontend` gives them. ``data`` calibrates, or
    ``stats`` that :func:`calibrate` made; with neither, values in memory get the global scale of the configuration.
    ``config`` is a configuration, or a dictionary of choices over that of ``with qconfig(...)``, which else is in force;
    ``rules`` are taken in place of what is registered. Rules, observers and passes run on a thread of the core, in the
    scopes of who calls. ``resume`` is a file in which calibration keeps what it has seen, and from which it goes on if it
    is there.
    """
    model = _float(model)
    if params is not None:
        if not isinstance(params, Mapping):
            raise TypeError(
                f"expected the parameters, a dictionary of arrays, found {type(params).__name__}: "
                "calibration data goes by its name, data=..."
            )
        model = model.with_params(params)
    return _lowbit.quantize(
        model,
        config=config_of(config),
        rules=_rules.in_force(rules),
        data=data,
        stats=stats,
        preprocess=preprocess,
        resume=resume,
        observers=_listed("observers", observers),
        passes=_passes(passes),
        threads=threads,
        isa=isa,
        progress=teller(progress),
    )


def calibrate(
    model: Model,
    data: Data,
    *,
    config: Choices = None,
    rules: Optional[_rules.Rules] = None,
    observers: Iterable[Observer] = (),
    passes: Iterable[Pass] = (),
    preprocess: Preprocess = None,
    resume: Union[None, str, "os.PathLike[str]"] = None,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: Progress = None,
) -> Stats:
    """Runs calibration data through a float model and keeps what ``quantize(stats=...)`` needs of it.

    What is kept does not grow with the data, serves all observers and widths, and merges in any order. ``resume`` as of
    :func:`quantize`.
    """
    return _lowbit.calibrate(
        _float(model),
        data,
        config=config_of(config),
        rules=_rules.in_force(rules),
        preprocess=preprocess,
        resume=resume,
        observers=_listed("observers", observers),
        passes=_passes(passes),
        threads=threads,
        isa=isa,
        progress=teller(progress),
    )


def evaluate(
    model: Union[Model, Quantized],
    data: Data,
    *,
    reference: Union[None, Model, Quantized] = None,
    labels: Any = None,
    preprocess: Preprocess = None,
    samples: int = 0,
    output: Optional[str] = None,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: Progress = None,
) -> Evaluation:
    """Accuracy on labelled data, agreement with a reference, or both.

    ``samples`` of the data are looked at, evenly spread, or all where there are fewer (0: all). ``labels`` are the classes
    of data that Python holds, integers from 0. ``output`` names the output with the scores of the classes, where several
    could have them.
    """
    return _lowbit.evaluate(
        _model(model),
        data,
        reference=None if reference is None else _model(reference),
        labels=labels,
        preprocess=preprocess,
        samples=samples,
        output=output,
        threads=threads,
        isa=isa,
        progress=teller(progress),
    )


def compare(
    reference: Union[Model, Quantized],
    model: Union[Model, Quantized],
    data: Data,
    *,
    preprocess: Preprocess = None,
    samples: int = 32,
    sort: str = "sqnr",
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: Progress = None,
) -> Comparison:
    """What every layer adds alone and what has come together, on up to ``samples`` of the data (0: all), sorted by
    ``sqnr``, ``cosine``, ``error`` or ``order``.

    The two may be given in either order where one of them is quantized: it is compared with the other.
    """
    return _lowbit.compare(
        _model(reference),
        _model(model),
        data,
        preprocess=preprocess,
        samples=samples,
        sort=sort,
        threads=threads,
        isa=isa,
        progress=teller(progress),
    )


def write_report(
    folder: Path,
    reference: Union[Model, Quantized],
    model: Union[Model, Quantized],
    data: Data,
    *,
    preprocess: Preprocess = None,
    samples: int = 32,
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: Progress = None,
) -> List[pathlib.Path]:
    """Writes a report of a model beside a reference into a folder, which is made if it is not there: a page for browsers,
    the same as JSON, and overlays for Model Explorer. Gives the files, the page first.

    Errors and histograms are of up to ``samples`` of the data (0: all). The two may be given in either order where one of
    them is quantized.
    """
    return _lowbit.write_report(
        folder,
        _model(reference),
        _model(model),
        data,
        preprocess=preprocess,
        samples=samples,
        threads=threads,
        isa=isa,
        progress=teller(progress),
    )


def verify(
    model: Union[Model, Quantized],
    data: Data = "random",
    *,
    preprocess: Preprocess = None,
    samples: int = 8,
    progress: Progress = None,
) -> Verification:
    """Whether the interpreter, every instruction set of this machine and every number of threads give the same bits."""
    return _lowbit.verify(_model(model), data, preprocess=preprocess, samples=samples, progress=teller(progress))


def bench(
    model: Union[Model, Quantized],
    *,
    threads: int = 1,
    seconds: float = 1.0,
    isa: Optional[str] = None,
    batch: Optional[int] = None,
    progress: Progress = None,
) -> Timing:
    """Times a model on noise: ``seconds`` long, for ``batch`` samples at a time where the model leaves that open."""
    return _lowbit.bench(
        _model(model), threads=threads, seconds=seconds, isa=isa, batch=batch, progress=teller(progress)
    )


def build(
    model: Union[Model, Quantized],
    params: Optional[Mapping[str, Any]] = None,
    *,
    isa: Optional[str] = None,
    threads: Optional[int] = None,
    max_memory: Union[None, int, str] = None,
) -> Program:
    """Compiles a model for this machine, with constants from ``params`` if given: a :class:`Program`, which runs.

    Sizes that the model leaves open are compiled for when arrays first have them.
    """
    built = _model(model)
    if params is not None:
        built = built.with_params(params)
    return built.build(isa=isa, threads=threads, max_memory=max_memory)




def explain(
    model: Union[Model, Quantized],
    name: Optional[str] = None,
    *,
    config: Choices = None,
    rules: Optional[_rules.Rules] = None,
    observers: Iterable[Observer] = (),
) -> Explanation:
    """What every tensor's parameters are and who chose them, and why what is float is float: of the value or the layer of
    that name, or of all.

    A float model is told what quantizing it with ``config``, ``rules`` and ``observers`` would do, as :func:`quantize` takes
    them; the choices of a quantized one are made.
    """
    ours = _model(model)
    given = {"config": config is not None, "rules": rules is not None, "observers": bool(_listed("observers", observers))}
    for what in (what for what, is_there in given.items() if is_there and ours.is_quantized):
        raise ConfigError(
            f"expected a float model for {what}, found a quantized one: its choices are made\n"
            "  try: leave it out, or explain the float model"
        )
    return _lowbit.explain(
        ours,
        name,
        config=Config() if ours.is_quantized else config_of(config),
        rules={} if ours.is_quantized else _rules.in_force(rules),
        observers=_listed("observers", observers),
    )


def diff(
    before: Union[Model, Quantized], after: Union[Model, Quantized], *, tolerance: float = 0.0
) -> Difference:
    """What changed between two quantized models, in bits, scales, constants and float islands; true if nothing did.

    Scales, and constants as the reals they stand for, count as the same up to a relative change of ``tolerance``.
    """
    return _lowbit.diff(_model(before), _model(after), tolerance=tolerance)


def reproduce(
    path: Union[str, "os.PathLike[str]"],
    source: Union[Model, str, "os.PathLike[str]"],
    data: Optional[Data] = None,
    *,
    stats: Optional[Stats] = None,
    params: Union[None, str, "os.PathLike[str]"] = None,
    rules: Optional[_rules.Rules] = None,
    observers: Iterable[Observer] = (),
    passes: Iterable[Pass] = (),
    threads: Optional[int] = None,
    isa: Optional[str] = None,
    progress: Progress = None,
) -> Reproduction:
    """Makes the quantized model of a file again by the recipe in it, and says whether it is the same to the byte.

    ``source`` is the float model that it came from, or its file (``params`` beside an MXNet symbol); ``data`` or ``stats``
    are those that it was quantized with, and so are ``rules``, ``observers`` and ``passes``, which no file can hold. Images
    go the way that the quantized model stores.
    """
    return _lowbit.reproduce(
        path,
        source,
        params=params,
        data=data,
        stats=stats,
        rules=_rules.in_force(rules),
        observers=_listed("observers", observers),
        passes=_passes(passes),
        threads=threads,
        isa=isa,
        progress=teller(progress),
    )
