"""The one way this project compiles loops: numba, at the first call, kept on disk where that is possible."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from wsl_det.core import log

_ONE_AT_A_TIME = threading.RLock()
_MOST_NESTED = 8
"""Loops that call loops that are compiled, and cannot be kept, in one go."""


class Compiled:
    """A function as machine code, made at its first call and kept in numba's cache.

    The cache lies in ``__pycache__`` beside the source, else in the user's cache folder, else
    nowhere: a package folder and a home that cannot be written only cost the compile time again.
    No fast-math: results are those of the plain operations in the order in which they are written.
    numba, which takes longer to load than most files to score, is not imported before.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._dispatcher: Any = None

    def __call__(self, *arguments: Any) -> Any:
        for _ in range(_MOST_NESTED):
            try:
                return self.dispatcher(*arguments)
            except OSError:  # a full disk, when it was to be kept; what is compiled by now stays compiled
                continue
        return self.dispatcher(*arguments)

    @property
    def dispatcher(self) -> Any:
        """numba's function."""
        with _ONE_AT_A_TIME:
            if self._dispatcher is None:
                self._dispatcher = _made(self._function)
            return self._dispatcher

    @property
    def _numba_type_(self) -> Any:
        """What numba asks for where a compiled loop calls this one."""
        return self.dispatcher._numba_type_


def compiled(function: Callable[..., Any]) -> Compiled:
    """``function`` as ``Compiled``; the only way in which loops of this project are."""
    return Compiled(function)


def _made(function: Callable[..., Any]) -> Any:
    import numba

    told = _told_of_compilation()
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: "no locator available", neither place can be written
        told.how_often = "in every process: no folder for it can be written, NUMBA_CACHE_DIR may name one"
        return numba.njit(nogil=True)(function)


@functools.cache
def _told_of_compilation() -> Any:
    """Says once when numba compiles instead of loading what it kept: many seconds in which nothing moves."""
    from numba.core import event

    class Told(event.Listener):
        how_often = "once for an installation (wsl-det compile_loops does it ahead)"
        said = False

        def on_start(self, event: Any) -> None:
            if not self.said:
                self.said = True
                log.get("compiled").warning(
                    "compiling the loops of evaluation and report, 10 seconds or more, %s", self.how_often
                )

        def on_end(self, event: Any) -> None:
            pass

    told = Told()
    event.register("numba:compile", told)
    return told
