"""Ctrl-C for functions of the user's that run on threads of the core."""

import ctypes


def interrupt(thread: int) -> None:
    """Makes a thread raise KeyboardInterrupt at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
