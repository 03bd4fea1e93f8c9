"""YAML files of settings: read strictly and within bounds, values kept as they were written where asked."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from wsl_det.errors import ConfigError

Place = tuple[str | int, ...]
"""Keys and list indices from the top of a file to one of its values."""

_MOST_BYTES = 1 << 19
_DEEPEST = 50
_MOST_VALUES = 200_000  # with every alias written out
_LARGEST = 1 << 63
_OCTAL = re.compile("[+-]?0[0-7_]")
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value"))


def read(path: str | Path, what: str = "file", *, is_text: Callable[[Place], bool] | None = None) -> Any:
    """The value in a YAML file: dict with text keys, list, str, int, float, bool or None.

    Where ``is_text`` holds for the place of a scalar, its text comes back as written (``no``, ``1e3``,
    ``2026_11_29``), and None only for nothing or ``~``. ``what`` names the file's role. Raises ConfigError
    for what is no regular file of UTF-8 text, no YAML, repeats a key, or goes beyond bounds of size,
    nesting, aliases and 64-bit numbers.
    """
    path = Path(path)
    text = _text(path, what)
    try:
        loader = _Loader(text)  # which refuses control characters
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from None
    loader.name = str(path)  # in PyYAML's messages
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _values(node, {})
        return _built(loader, node, (), is_text or (lambda place: False))
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # of \\UFFFFFFFF and %YAML 999...
        raise ConfigError(f"{path} is not readable YAML: {error}") from None
    finally:
        loader.dispose()


def _text(path: Path, what: str) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # A pipe or a device may never end.
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise ConfigError(f"{what} {path} is {kind}; expected a YAML file")
        if found.st_size > _MOST_BYTES:
            raise ConfigError(f"{what} {path} has {found.st_size:,} bytes; expected at most {_MOST_BYTES:,}")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{what} {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from None


class _Loader(yaml.SafeLoader):
    """Composes nodes no deeper than ``_DEEPEST``: PyYAML recurses, and so does what reads its values."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _error(self.peek_event(), f"nested more than {_DEEPEST} levels deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _error(where: Any, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values ``node`` holds with every alias written out; refuses too many, and endless ones."""
    if isinstance(node, yaml.ScalarNode):
        if "\0" in node.value or any("\ud800" <= c <= "\udfff" for c in node.value):
            raise _error(node, "NUL and halves of characters (\\0, \\ud800) stand in no name")
        return 1
    if id(node) not in known:
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        known[id(node)] = -1
        pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
        known[id(node)] = 1 + sum(_values(x, known) for pair in pairs for x in pair)
    number = known[id(node)]
    if number < 0:
        raise _error(node, "an alias stands inside what it stands for")
    if number > _MOST_VALUES:
        raise _error(node, f"more than {_MOST_VALUES:,} values with all aliases written out")
    return number


def _built(loader: _Loader, node: yaml.Node, place: Place, is_text: Callable[[Place], bool]) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        loader.flatten_mapping(node)  # of << : *alias; the keys written out come last and win
        return {k.value: _built(loader, v, (*place, k.value), is_text) for k, v in node.value}
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_built(loader, v, (*place, i), is_text) for i, v in enumerate(node.value)]
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
        raise _error(node, f"the tag {node.tag} means nothing here")
    return _scalar(loader, node, is_text(place))


def _check_keys(node: yaml.MappingNode) -> None:
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error(key, "a key is a list or a section; expected text")
    counts = Counter(key.value for key, _ in node.value if key.tag != f"{_TAG}merge")
    for key, _ in node.value:
        if counts[key.value] > 1:
            again = [k.start_mark.line + 1 for k, _ in node.value if k.value == key.value]
            raise _error(key, f"{key.value[:80]} stands twice, on lines {again[0]} and {again[1]}; leave one")


def _scalar(loader: _Loader, node: yaml.ScalarNode, as_written: bool) -> Any:
    text, tag = node.value, node.tag.removeprefix(_TAG)
    if as_written:
        return None if tag == "null" and text in ("", "~") else text
    if tag in ("str", "timestamp", "value"):
        return text
    if tag in ("int", "float") and (":" in text or (tag == "int" and _OCTAL.match(text))):
        raise _error(node, f"{text} is another number in YAML; write it in decimal, or in quotes as text")
    try:
        value = loader.construct_object(node)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):  # PyYAML's constructors
        raise _error(node, f"{text[:40]} is no {tag} that can be read") from None
    if tag == "int" and abs(value) >= _LARGEST:
        raise _error(node, "a whole number beyond 64 bits")
    return value
