"""The one way this project compiles loops: numba, kept on disk between runs where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` as machine code, compiled at its first call and kept in numba's cache.

    The cache lies in ``__pycache__`` beside the source, else in the user's cache folder, else
    nowhere: a package folder and a home that cannot be written only cost the compile time again.
    No fast-math: results are those of the plain operations in the order in which they are written.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: "no locator available", neither place can be written
        return numba.njit(nogil=True)(function)
