"""Progress of long work: a line on a terminal, an element in a notebook, or a function of the user's."""

import sys
import time
from typing import Any, Callable, Optional, Union

#: Called with a stage and the samples that it looks at, if any; with None for a sample more; with "" at the end.
Tell = Callable[..., None]

#: What functions take: whether to show a bar, or a function that is told stage, samples done and samples in all.
Progress = Union[None, bool, Callable[[str, int, Optional[int]], None]]


def teller(progress: Progress) -> Optional[Tell]:
    """What the core tells its progress."""
    if progress is False:
        return None
    if callable(progress):
        return _Counting(progress)
    if progress is not None and progress is not True:
        raise TypeError(f"expected True, False, None or a function for progress, found {progress!r}")
    notebook = _notebook()
    if notebook is not None:
        return _Counting(_Bar(notebook))
    try:
        terminal = sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        terminal = False
    if terminal or (progress is True and sys.stderr is not None):
        return _Counting(_Bar(_line))
    return None


class _Counting:
    """Counts samples, and tells a function where the work is."""

    def __init__(self, tell: Callable[[str, int, Optional[int]], None]) -> None:
        self._tell = tell
        self._stage = ""
        self._done = 0
        self._samples: Optional[int] = None

    def __call__(self, stage: Optional[str], samples: Optional[int] = None) -> None:
        if stage is None:
            self._done += 1
        else:
            self._stage, self._done, self._samples = stage, 0, samples
        self._tell(self._stage, self._done, self._samples)


class _Bar:
    """Draws no more often than an eye can follow."""

    def __init__(self, draw: Callable[[str], None]) -> None:
        self._draw = draw
        self._drawn = 0.0
        self._stage: Optional[str] = None

    def __call__(self, stage: str, done: int, samples: Optional[int]) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._drawn < 0.1:
            return
        self._stage, self._drawn = stage, now
        self._draw(_text(stage, done, samples))


def _text(stage: str, done: int, samples: Optional[int]) -> str:
    if not stage:
        return ""
    if not samples:
        return f"{stage} ..." if not done else f"{stage} {done}"
    full = min(30, done * 30 // samples)
    return f"{stage:<12} [{'#' * full}{' ' * (30 - full)}] {min(done, samples)}/{samples}"


def _line(text: str) -> None:
    # A program may take it away meanwhile, as daemons do, or close it: no reason to end the work.
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _notebook() -> Optional[Callable[[str], None]]:
    """What shows a line in a notebook, if this is one."""
    module = sys.modules.get("IPython")
    shell: Any = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from html import escape

    from IPython.display import HTML, display  # type: ignore[import-not-found, unused-ignore]

    handle = display(HTML(""), display_id=True)
    return lambda text: handle.update(HTML(f"<pre>{escape(text)}</pre>" if text else ""))
