"""Functions of the user's that run on threads of the core: how Ctrl-C reaches them, and how the interpreter waits for
them before it ends."""

import atexit
import ctypes
import threading

# An interpreter that ends takes threads away from under the core, which calls the functions and would have to go on.
_PATIENCE = 2.0

_turn = threading.Condition()
_running = 0
_ending = False


def enter() -> int:
    """Says that the core is about to call a function on this thread, and gives the thread."""
    global _running
    with _turn:
        if _ending:
            raise RuntimeError("the interpreter is ending: nothing is called any more")
        _running += 1
    return threading.get_ident()


def leave() -> None:
    """Says that the function has returned."""
    global _running
    with _turn:
        _running -= 1
        _turn.notify_all()


def interrupt(thread: int) -> None:
    """Makes a thread raise KeyboardInterrupt at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))


@atexit.register
def _end() -> None:
    global _ending
    with _turn:
        _ending = True
        _turn.wait_for(lambda: _running == 0, _PATIENCE)
