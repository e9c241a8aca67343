"""Threads for functions of the user's that the core calls: how they start, how Ctrl-C reaches them, and how the
interpreter ends while they run."""

import atexit
import ctypes
import os
import threading
import time
from contextvars import Context
from typing import Any, Callable, Mapping, Optional, Tuple

import numpy as np

from ._lowbit import Called, end, forked, inside

# So long the interpreter waits, when it ends, for functions that are in the way.
_PATIENCE = 2.0


def is_waited_for() -> bool:
    """Whether the interpreter waits for the end of the running thread; else it may end it in the middle of a function."""
    # Of threads that Python did not start there is nothing, and nothing shall be made.
    thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    return thread is not None and not thread.daemon


def item(sequence: Any, i: int) -> Any:
    """A sample, whose parts are arrays: what makes them of something may be code of the user's too."""
    sample = sequence[i]
    if isinstance(sample, Mapping):
        return {name: _array(part) for name, part in sample.items()}
    return tuple(map(_array, sample)) if isinstance(sample, tuple) else _array(sample)


def results(method: Callable[..., Any], *arguments: Any) -> Any:
    """What an operator gives, as arrays: a list where it gives several."""
    given = method(*arguments)
    return [_array(part) for part in given] if isinstance(given, (list, tuple)) else _array(given)


def _array(part: Any) -> Any:
    # Those that are more than arrays, such as masked ones, stay what they are.
    # What is no array at all is told by who wants one.
    is_one = part is None or type(part) is np.ndarray or isinstance(part, (str, bytes)) or hasattr(part, "mask")
    return part if is_one else np.asarray(part)


def start(call: Called, context: Optional[Context], function: Callable[..., Any], arguments: Tuple[Any, ...]) -> None:
    """Calls a function on a thread of its own, which the interpreter may end at any time."""
    threading.Thread(target=_run, args=(call, context, function, arguments), name="lowbit", daemon=True).start()


def _run(call: Called, context: Optional[Context], function: Callable[..., Any], arguments: Tuple[Any, ...]) -> None:
    try:
        _call(call, context, function, arguments)
    except KeyboardInterrupt:
        # It came when all was done: the one who waits hears that this thread is gone.
        pass


def _call(call: Called, context: Optional[Context], function: Callable[..., Any], arguments: Tuple[Any, ...]) -> None:
    try:
        call.begin(threading.get_ident())
        given = function(*arguments) if context is None else context.run(function, *arguments)
    except BaseException as raised:
        call.failed(raised)
    else:
        call.gave(given)


def interrupt(thread: int) -> None:
    """Makes a thread raise KeyboardInterrupt at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))


def look() -> None:
    """A step in Python, at which a thread raises what it was interrupted with."""


@atexit.register
def _end() -> None:
    end()
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        count, threads = inside()
        if count == 0:
            return
        for thread in threads:
            interrupt(thread)
        # Others get on meanwhile.
        time.sleep(0.005)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forked)
