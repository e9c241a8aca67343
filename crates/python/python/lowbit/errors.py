"""The exceptions: the text is the command line's, the parts are there to look at."""

from typing import Optional

__all__ = [
    "CallbackError",
    "CompileError",
    "ConfigError",
    "DataError",
    "Error",
    "ModelError",
    "QuantizeError",
    "RuleError",
    "RunError",
]


class Error(Exception):
    """Something that lowbit refuses: where it happened, what was expected and found, what to try."""

    #: What was expected and found, without place and advice.
    message: str
    #: The node it happened at.
    node: Optional[str]
    #: The value it happened at.
    value: Optional[str]

    def __init__(
        self, text: str, message: Optional[str] = None, node: Optional[str] = None, value: Optional[str] = None
    ) -> None:
        super().__init__(text)
        self.message = text if message is None else message
        self.node = node
        self.value = value


class ModelError(Error):
    """A model or a graph cannot be read, changed or written."""


class ConfigError(Error, ValueError):
    """A configuration says what cannot be."""


class DataError(Error):
    """Data cannot be opened or read, or does not fit the model."""


class QuantizeError(Error):
    """A model cannot be quantized or calibrated."""


class CompileError(Error):
    """A model cannot be compiled."""


class RunError(Error):
    """A program cannot run, or cannot be measured."""


class CallbackError(Error):
    """A Python function of the user's raised, which is the cause, or gave what it must not."""


class RuleError(CallbackError):
    """A rule raised, which is the cause, or gave what it must not: the text points at its file and line."""
