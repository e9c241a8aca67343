"""Models of other frameworks in the classic form: a graph, which is a :class:`lowbit.Model`, and its parameters as a
dictionary of arrays."""

import os
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ._lowbit import Model

__all__ = ["from_mxnet", "from_onnx"]

Shape = Union[None, Sequence[int], Mapping[str, Sequence[int]]]
Params = Dict[str, "np.ndarray[Any, Any]"]


def from_onnx(
    model: Any, shape: Shape = None, *, max_memory: Union[None, int, str] = None
) -> Tuple[Model, Params]:
    """Reads an ONNX file, or takes an ``onnx.ModelProto`` or its bytes.

    ``shape`` gives open dimensions of inputs their sizes, by name, or of the only input; those it says nothing of stay
    symbolic.
    """
    if isinstance(model, (str, os.PathLike)):
        return _read(os.fspath(model), shape, None, max_memory)
    data = bytes(model) if isinstance(model, (bytes, bytearray, memoryview)) else None
    if data is None and hasattr(model, "SerializeToString"):
        data = model.SerializeToString()
    if data is None:
        raise TypeError(f"expected a path, bytes or an onnx.ModelProto, found {type(model).__name__}")
    return _held(Model.from_bytes(data, shapes=shape, max_memory=max_memory))


def from_mxnet(
    symbol: Union[str, "os.PathLike[str]"],
    params: Union[None, str, "os.PathLike[str]"] = None,
    shape: Shape = None,
    *,
    max_memory: Union[None, int, str] = None,
) -> Tuple[Model, Params]:
    """Reads the symbol and the parameters of an MXNet model; the parameters are looked for beside it unless named.

    ``shape`` as of :func:`from_onnx`.
    """
    return _read(os.fspath(symbol), shape, None if params is None else os.fspath(params), max_memory)


def _read(
    path: str, shape: Shape, params: Optional[str], max_memory: Union[None, int, str]
) -> Tuple[Model, Params]:
    return _held(Model.load(path, shapes=shape, params=params, max_memory=max_memory))


def _held(model: Model) -> Tuple[Model, Params]:
    return model, model.params()
