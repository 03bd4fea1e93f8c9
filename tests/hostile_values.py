"""Values that no key or few keys take, for the walks over all keys of a tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from wsl_det.core import config
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError, WslError

VALUES = [
    *(None, "words", "", "1e400", "nan", -1, -(2**70), 10**400, 2**62, 1e308, -1e308, 0, 1, 0.5),
    *(math.nan, math.inf, -math.inf, True, [], [1], [-1], [[]], [math.nan], ["x"], [2**70], [0.5, 0.5]),
    *([[1], 2], [1, 2, 3], [[1, 2, 3, 4]], {"A": 1}, "(1", "\ud800", b"x", 1j),
]


def taken(cfg: Config, key: str) -> list[Config]:
    """The configs with one of the values at ``key``; whatever is refused is refused by its name."""
    found: list[Config] = []
    for value in VALUES:
        try:
            other = config.merge(cfg, {}, [key, value])
        except ConfigError as error:
            text = str(error)
            assert key in text and "expected" in text and len(text) < 600, text
            continue
        if other != cfg and other not in found:
            found.append(other)
    return found


def begins_or_is_refused(begin: Callable[[Config], Any], cfg: Config) -> None:
    """Run ``begin`` on a config; only our own errors may come of it."""
    try:
        begin(cfg)
    except WslError as error:
        assert str(error)
