"""What a key of a configuration takes: the type of its default, within the bounds of its rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Within what a key's value has to lie; of a list, what lies in it.

    ``low`` and ``high`` bound numbers, ``low`` itself being too small with ``above``; an int default
    takes whole numbers only. ``choices`` are the only values. ``like`` shows the value where the default
    does not (None, an empty list, rows of mixed types). ``none``: None means something. ``length`` is
    of the list, or of the text.
    """

    low: float = 0
    high: float = math.inf  # of whole numbers 2**31 - 1, of others 1e100: what arithmetic can bear
    above: bool = False
    choices: tuple[Any, ...] = ()
    like: Any = None
    none: bool = False
    length: tuple[int, int] = (0, 10_000)
    infinite: bool = False

    def told(self) -> str:
        """The bounds in words."""
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        high = f"at most {self.high:g}" if self.high < 1e9 else ""
        return " and ".join(words for words in (low if self.low > -1e9 else "", high) if words)


LENIENT = Rule(low=-math.inf, high=math.inf, infinite=True)
"""For trees without rules: the type alone is checked."""


class Tree(dict[str, Any]):
    """Nested defaults, with rules and texts about gone keys by their dotted names.

    A key without a rule of its own takes what ``Rule()`` says: numbers from 0 on, any text.
    """

    def __init__(
        self, tree: Mapping[str, Any], rules: Mapping[str, Rule], gone: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(tree)
        self.rules, self.gone = dict(rules), dict(gone or {})

    @classmethod
    def declared(cls, table: Mapping[str, Any], gone: Mapping[str, str] | None = None) -> Tree:
        """The tree of a nested table whose leaves are a default, or a tuple of a default and its rule."""
        rules: dict[str, Rule] = {}

        def default(value: Any, key: str) -> Any:
            if isinstance(value, dict):
                return {name: default(inner, f"{key}.{name}") for name, inner in value.items()}
            if isinstance(value, tuple):
                value, rules[key[1:]] = value
            return value

        return cls(default(dict(table), ""), rules, gone)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tree, (dict(self), self.rules, self.gone)


def rule_of(tree: Mapping[str, Any], key: str) -> Rule:
    """The rule of a dotted key."""
    return tree.rules.get(key, Rule()) if isinstance(tree, Tree) else LENIENT


def fit(value: Any, default: Any, rule: Rule) -> Any:
    """``value`` as the key holds it, an int as float where the default is one.

    Raises ValueError with what was expected, for a message that names the key.
    """
    like = default if rule.like is None else rule.like
    if value is None:
        if rule.none or like is None:
            return None
        raise ValueError(_expected(like, rule))
    if like is None or (rule is LENIENT and like == []):
        return value
    sized = isinstance(like, str | list | tuple)
    if not _fits(value, like, rule) or (sized and not rule.length[0] <= len(value) <= rule.length[1]):
        raise ValueError(_expected(like, rule))
    try:
        return float(value) if isinstance(like, float) else value
    except OverflowError:
        raise ValueError(_expected(like, rule)) from None


_INT_BOUND, _FLOAT_BOUND = 2**31 - 1, 1e100


def _fits(value: Any, like: Any, rule: Rule) -> bool:
    if isinstance(like, list | tuple):
        return isinstance(value, list | tuple) and (rule is LENIENT or _items_fit(value, like, rule))
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(like, bool) and isinstance(value, bool)
    if isinstance(like, str):
        return isinstance(value, str) and _encodes(value) and (not rule.choices or value in rule.choices)
    if not isinstance(value, int if isinstance(like, int) else int | float):
        return False
    high = min(rule.high, _INT_BOUND if isinstance(like, int) and rule.high == math.inf else _FLOAT_BOUND)
    bounded = (value > rule.low if rule.above else value >= rule.low) and (rule is LENIENT or value <= high)
    return bounded or (rule.infinite and value == math.inf)


def _items_fit(value: Sequence[Any], like: Sequence[Any], rule: Rule) -> bool:
    if not like:  # nobody said of what the list is
        return True
    if _is_row(like):
        return len(value) == len(like) and all(map(_fits, value, like, [rule] * len(like)))
    first = like[0]
    if not isinstance(first, list | tuple):
        return all(_fits(v, first, rule) for v in value)
    # Detectron2 takes the sizes of anchors as one list bare, or as one for each level.
    bare = not isinstance(first[0], str) and bool(value) and all(_fits(v, first[0], rule) for v in value)
    return bare or all(_fits(v, first, rule) and v for v in value)


def _encodes(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # a word of the command line that was no UTF-8
        return False


def _expected(like: Any, rule: Rule) -> str:
    if rule.choices:
        words = [str(c) or "nothing" for c in rule.choices]
        return f"{', '.join(words[:-1])} or {words[-1]}"
    kind = "text" if isinstance(like, str) else f"a {type(like).__name__}"
    if not isinstance(like, str) and rule.length != Rule.length:
        least, most = rule.length
        kind += f" of {least}" if least == most else f" of {least} to {most}"
    inner = like
    while isinstance(inner, list | tuple) and inner:
        inner = inner[0]
    if rule is LENIENT or not isinstance(inner, int | float) or isinstance(inner, bool):
        return f"{kind} such as {like!r}"
    return ", ".join(words for words in (f"{kind} such as {like!r}", rule.told()) if words)


def text_at(tree: Mapping[str, Any], place: Sequence[str | int]) -> bool:
    """Whether the value at this place of a settings file is text to its key."""
    found: Any = tree
    keys = [key for key in place if isinstance(key, str)]
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    like = rule_of(tree, ".".join(keys)).like
    like = found if like is None else like
    for index in (part for part in place if isinstance(part, int)):
        if not isinstance(like, list | tuple) or not like:
            return False
        like = like[min(index, len(like) - 1) if _is_row(like) else 0]
    return isinstance(like, str)


def _is_row(like: Sequence[Any]) -> bool:
    return len({type(x) for x in like}) > 1
