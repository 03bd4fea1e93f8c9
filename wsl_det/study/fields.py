"""Typed reading of a YAML mapping: each key once, whatever is left over or wrong named with its place."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

from wsl_det.errors import ConfigError

T = TypeVar("T")
_REQUIRED: Any = object()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Fields:
    """A section of a file; ``where`` is its place in messages. Without a default a key is required."""

    def __init__(self, tree: Mapping[Any, Any], where: str) -> None:
        self.tree, self.where = tree, where
        self._asked: set[str] = set()

    def any(self, key: str, default: Any = _REQUIRED) -> Any:
        """The raw value."""
        self._asked.add(key)
        if self.tree.get(key) is not None:
            return self.tree[key]
        if default is _REQUIRED:
            raise ConfigError(f"{self.where}: {key} is missing{self._near(key)}")
        return default

    def wrong(self, key: str, value: Any, expected: str) -> ConfigError:
        """The error for a value that cannot be meant."""
        return ConfigError(f"{self.where}: {key} is {value!r:.120}; expected {expected}")

    def section(self, key: str, default: Any = _REQUIRED) -> Fields:
        """A mapping below ``key``."""
        return Fields(self.mapping(key, default), f"{self.where}: {key}")

    def mapping(self, key: str, default: Any = _REQUIRED) -> Mapping[str, Any]:
        """A mapping whose keys are strings."""
        value = self.any(key, default)
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise self.wrong(key, value, "NAME: VALUE lines")
        return value

    def names(self) -> list[str]:
        """The keys of this section, at least one."""
        if not self.tree:
            raise ConfigError(f"{self.where} is empty; expected at least one entry")
        return list(self.tree)

    @overload
    def text(self, key: str) -> str: ...
    @overload
    def text(self, key: str, default: str) -> str: ...
    @overload
    def text(self, key: str, default: None) -> str | None: ...
    def text(self, key: str, default: Any = _REQUIRED) -> str | None:
        """A string that is not empty; a bare number such as ``101`` is taken as its text."""
        value = self.any(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is not default and (not isinstance(value, str) or not value):
            raise self.wrong(key, value, "a text")
        return value

    def name(self, key: str) -> str:
        """A word that can be part of a path."""
        return self.checked_name(self.text(key), f"{self.where}: {key}")

    @staticmethod
    def checked_name(value: str, where: str) -> str:
        """``value`` if it can be part of a path."""
        if not _NAME.fullmatch(value):
            raise ConfigError(f"{where}: the name {value!r} is to be letters, digits, '.', '_' and '-'")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """One of ``choices``."""
        value = self.any(key, default)
        if value not in choices:
            raise self.wrong(key, value, f"one of {', '.join(choices)}")
        return str(value)

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.any(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def integer(self, key: str, default: int, *, least: int | None = None) -> int:
        """A whole number, not under ``least``."""
        value = self.any(key, default)
        if type(value) is not int or (least is not None and value < least):
            raise self.wrong(key, value, f"a whole number{'' if least is None else f', {least} or more'}")
        return value

    def integers(self, key: str) -> list[int]:
        """A list of whole numbers, 0 or more, at least one."""
        value = self.any(key)
        if not isinstance(value, list) or not value or not all(type(v) is int and v >= 0 for v in value):
            raise self.wrong(key, value, "a list of whole numbers, 0 or more, such as [1, 2, 3]")
        return value

    @overload
    def number(self, key: str, default: float) -> float: ...
    @overload
    def number(self, key: str, default: float | None) -> float | None: ...
    def number(self, key: str, default: float | None) -> float | None:
        """A finite number above 0."""
        value = self.any(key, default)
        return value if value is default else self._positive(key, value)

    def rates(self, key: str, default: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """A list of different numbers above 0, at least one."""
        value = self.any(key, default)
        if value is default:
            return default
        if not isinstance(value, list) or not value:
            raise self.wrong(key, value, "a list of numbers above 0, such as [0.01, 0.02]")
        return self.distinct(key, [self._positive(key, v) for v in value])

    def distinct(self, key: str, values: Sequence[T]) -> tuple[T, ...]:
        """``values`` as a tuple; none may stand twice."""
        if len(set(values)) < len(values):
            raise self.wrong(key, list(values), "every value once")
        return tuple(values)

    def done(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self.tree:
            if key not in self._asked:
                raise ConfigError(f"{self.where}: unknown key {key!r}{self._near(str(key), self._asked)}")

    def _positive(self, key: str, value: Any) -> float:
        if isinstance(value, str):
            # YAML 1.1 reads 1e-3 as text: it wants 1.0e-3.
            try:
                value = float(value)
            except ValueError:
                raise self.wrong(key, value, "a number above 0") from None
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self.wrong(key, value, "a number above 0")
        return float(value)

    def _near(self, key: str, known: Any = None) -> str:
        near = difflib.get_close_matches(key, [str(k) for k in (known or self.tree)], n=1)
        return f"; did you mean {near[0]!r}?" if near and known else (f" (found {near[0]!r})" if near else "")
