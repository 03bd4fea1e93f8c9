"""Factors over the base learning rate; pure functions of the step."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from wsl_det.errors import ConfigError


def multi_step(step: float, steps: Sequence[float], gamma: float) -> float:
    """``gamma`` to the number of entries in ``steps`` that are at or before ``step``."""
    return gamma ** bisect.bisect_right(list(steps), step)


def cosine(step: float, max_step: float, end: float = 0.0) -> float:
    """Half a cosine from 1 at step 0 to ``end`` at ``max_step``."""
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * min(step / max_step, 1.0)))


def warmup(step: float, length: float, factor: float, method: str = "linear") -> float:
    """The warm-up factor: from ``factor`` at step 0 to 1 at ``length``, and 1 from there on.

    ``method`` is "linear", or "constant" for ``factor`` until ``length`` (Detectron2's names).
    """
    if method not in ("linear", "constant"):
        raise ConfigError(f"warm-up method is {method!r}; expected 'linear' or 'constant'")
    if step >= length:
        return 1.0
    if method == "constant":
        return factor
    alpha = step / length
    return factor * (1.0 - alpha) + alpha
