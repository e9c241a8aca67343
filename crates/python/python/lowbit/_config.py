"""Configurations in scopes: ``with qconfig(...)``."""

import enum
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Dict, Iterator, Mapping, Optional, Union

from ._lowbit import Config
from .errors import ConfigError

__all__ = ["QFieldKind", "current_config", "qconfig"]


class QFieldKind(enum.Enum):
    """What a quantized value is to the operators around it."""

    #: What a layer reads from memory, and in general any value that is written there.
    INPUT = "input"
    #: A constant that a layer reads.
    WEIGHT = "weight"
    #: The wide value between a layer and the next input.
    ACTIVATION = "activation"


_CURRENT: ContextVar[Optional[Config]] = ContextVar("lowbit.config", default=None)


def current_config() -> Config:
    """The configuration in force: that of the innermost ``with qconfig(...)``, or the defaults."""
    return _CURRENT.get() or Config()


def kind_of(kind: Union[QFieldKind, str]) -> str:
    """The name of a kind."""
    return kind.value if isinstance(kind, QFieldKind) else str(kind)


@contextmanager
def qconfig(
    nbit_dict: Union[None, Mapping[QFieldKind, int], Mapping[str, int], Mapping[Union[QFieldKind, str], int]] = None,
    **choices: Any,
) -> Iterator[Config]:
    """Makes choices for what is quantized inside the block, over those of an outer block.

    ``nbit_dict`` has widths by kind; all other keywords are keys of a configuration (``lowbit list config``), where those
    of a kind, an operator or a layer are dictionaries: ``weight={"bits": 4}``, ``op={"nn.dense": {"skip": True}}``.
    A key that does not exist raises :class:`~lowbit.errors.ConfigError` and names the nearest.
    """
    all_choices: Dict[str, Any] = dict(choices)
    if nbit_dict is not None and not isinstance(nbit_dict, Mapping):
        raise TypeError(f"expected a dictionary of widths by kind for nbit_dict, found {nbit_dict!r}")
    for kind, bits in (nbit_dict or {}).items():
        name = kind_of(kind)
        if name not in {k.value for k in QFieldKind}:
            raise ConfigError(f"nbit_dict has no kind {kind!r}: it takes QFieldKind.INPUT, WEIGHT and ACTIVATION")
        of_kind = all_choices.get(name, {})
        if not isinstance(of_kind, Mapping):
            raise TypeError(f"expected a dictionary of choices for {name}, found {of_kind!r}")
        if "bits" in of_kind:
            raise ConfigError(f"the width of {name} is said twice, by nbit_dict and by {name}: leave one of them out")
        all_choices[name] = {**of_kind, "bits": bits}
    config = current_config().replace(**all_choices)
    token = _CURRENT.set(config)
    try:
        yield config
    finally:
        _CURRENT.reset(token)


def config_of(given: Union[None, Config, Mapping[str, Any]]) -> Config:
    """A configuration, a dictionary of choices over what is in force, or what is in force."""
    if given is None:
        return current_config()
    if isinstance(given, Config):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a Config or a dictionary of choices, found {given!r}")
    return current_config().replace(**dict(given))
