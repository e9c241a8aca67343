"""The console script."""

import signal
import sys

from . import _lowbit


def main() -> int:
    """Runs the command line with the arguments of this process; gives its exit code."""
    # Python's own handler would wait for the core to return.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _lowbit.cli(["lowbit", *sys.argv[1:]])
