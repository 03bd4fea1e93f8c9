"""YAML with ``_BASE_`` and ``KEY VALUE`` overrides, checked against a tree of defaults.

The dialect is Detectron2's (yacs): a value in the tree fixes the type, a string that reads as a
Python literal is that literal, tuples and lists are interchangeable. Stricter: None fits only where
it means something, a text stays as it is written, and rules bound the values (``core.keys``).
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from wsl_det.core import addresses, files, keys, log, rows, yaml_files
from wsl_det.errors import ConfigError, public

BASE_KEY = "_BASE_"
_LONGEST_CHAIN = 50
_LONGEST_LITERAL = 10_000
# What is written, and what is read in place; other keys' addresses become copies in the cache.
_WRITTEN, _IN_PLACE = ("OUTPUT_DIR",), ("DATA.SHARDS",)


class Config(Mapping[str, Any]):
    """A frozen tree of settings; ``cfg.SOLVER.BASE_LR`` and ``cfg["SOLVER"]["BASE_LR"]`` are the same."""

    def __init__(self, tree: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
        """``defaults`` go on telling what each key takes."""
        object.__setattr__(self, "_defaults", tree if defaults is None else defaults)
        frozen = {k: Config(v) if isinstance(v, Mapping) else _freeze(v) for k, v in tree.items()}
        object.__setattr__(self, "_tree", frozen)

    def __getitem__(self, key: str) -> Any:
        return self._tree[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_tree"][key]
        except KeyError:
            raise AttributeError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise ConfigError(f"the configuration is frozen; {key} cannot be set, use override()")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __repr__(self) -> str:
        return f"Config({self.to_dict()!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (self._plain(), self._defaults)

    def to_dict(self) -> dict[str, Any]:
        """A plain nested dict with lists, as YAML and JSON hold it; addresses without users and tokens."""
        return {k: _each(v, public) for k, v in self._plain().items()}

    def _plain(self) -> dict[str, Any]:
        return {k: v._plain() if isinstance(v, Config) else _thaw(v) for k, v in self._tree.items()}

    def flat(self) -> dict[str, Any]:
        """Every leaf by its dotted key."""
        return dict(_leaves(self.to_dict(), ""))

    def override(self, **dotted: Any) -> Config:
        """A copy with leaves replaced; keys are dotted, written with ``__`` for the dot."""
        return merge(self, {}, [x for k, v in dotted.items() for x in (k.replace("__", "."), v)])

    def dump(self) -> str:
        """The tree as YAML that ``load`` (and stock Detectron2, for its keys) reads back."""
        return yaml.safe_dump(self.to_dict(), sort_keys=True, default_flow_style=None, width=100)


def load(path: str | Path, defaults: Mapping[str, Any], overrides: Sequence[Any] = ()) -> Config:
    """The configuration of a YAML file over ``defaults``, with ``KEY VALUE`` pairs on top.

    Raises ConfigError for a missing file, bad YAML, a ``_BASE_`` loop, an unknown key (with its
    nearest neighbours) and a value that its key does not take.
    """
    tree = _read_chain(Path(path), (), lambda place: keys.text_at(defaults, place))
    return merge(defaults, tree, overrides, where=str(path))


def merge(
    defaults: Mapping[str, Any],
    tree: Mapping[str, Any],
    overrides: Sequence[Any] = (),
    *,
    where: str = "the configuration",
) -> Config:
    """``defaults`` with ``tree`` and then the ``KEY VALUE`` pairs laid over them, each value checked."""
    kinds = defaults._defaults if isinstance(defaults, Config) else defaults
    base = (defaults if isinstance(defaults, Config) else Config(defaults))._plain()
    _lay(base, tree, "", kinds, where)
    if len(overrides) % 2:
        raise ConfigError(
            f"overrides come in KEY VALUE pairs; {len(overrides)} words were given: {list(overrides)}"
        )
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        nested: Any = value
        for part in reversed(str(key).split(".")):
            nested = {part: nested}
        _lay(base, nested, "", kinds, "the command line")
    return Config(base, kinds)


def config_path(name: str | Path, folder: str = "configs") -> Path:
    """A YAML file by path, or by its name below ``folder`` of the checkout or of the installed package."""
    given = Path(name)
    if given.exists():
        return given
    inside = given.relative_to(folder) if given.is_relative_to(folder) else given
    package = Path(__file__).parents[1]
    for root in (package / folder, package.parent / folder):
        if (root / inside).is_file():
            return root / inside
    raise ConfigError(f"config file {name} does not exist, here or among the shipped ones in {folder}/")


def _read_chain(
    path: Path, seen: tuple[Path, ...], is_text: Callable[[yaml_files.Place], bool]
) -> dict[str, Any]:
    text = lambda place: place == (BASE_KEY,) or is_text(place)  # noqa: E731
    tree = yaml_files.read(path, "config file", is_text=text) or {}
    if path.resolve() in seen or len(seen) > _LONGEST_CHAIN:
        raise ConfigError(f"{path}: {BASE_KEY} refers back to itself through {[str(p) for p in seen[:9]]}")
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}; expected KEY: value lines")
    if BASE_KEY not in tree:
        return tree
    base = tree.pop(BASE_KEY)
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{path}: {BASE_KEY} is {base!r}; expected one file name")
    parent = _read_chain(path.parent / base, (*seen, path.resolve()), is_text)
    _overlay(parent, tree)
    return parent


def _overlay(base: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _overlay(base[key], value)
        else:
            base[key] = value


def _lay(
    base: dict[str, Any], tree: Mapping[str, Any], prefix: str, kinds: Mapping[str, Any], where: str
) -> None:
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if key not in base:
            _check_gone(dotted, value, kinds, where)
        elif isinstance(base[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{where}: {dotted} is a section; expected keys below it, found {rows.short(value)}"
                )
            _lay(base[key], value, f"{dotted}.", kinds, where)
        else:
            base[key] = _each(_checked(value, dotted, kinds, where), partial(_local, dotted))


def _check_gone(key: str, value: Any, kinds: Mapping[str, Any], where: str) -> None:
    if isinstance(kinds, keys.Tree) and key in kinds.gone:
        if value:
            log.get("config").warning("%s: %s is gone and passed over: %s", where, key, kinds.gone[key])
        return
    while isinstance(value, Mapping) and len(value) == 1:  # a dotted key of the command line is one key
        (part, value), *_ = value.items()
        key = f"{key}.{part}"
    known = dict(_leaves(kinds, ""))
    # In the case of keys, whatever was typed; and the last word of a key is often all that is remembered.
    near = difflib.get_close_matches(key[:80].upper(), known, n=3, cutoff=0.6)
    near = [k for k in known if k.endswith(f".{key.upper()}")][:3] or near
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"{where}: unknown key {key[:80]}{hint}")


def _checked(value: Any, key: str, kinds: Mapping[str, Any], where: str) -> Any:
    default: Any = kinds
    for part in key.split("."):
        default = default[part]
    text = keys.text_at(kinds, key.split("."))
    if isinstance(value, str):
        literal = _literal(value)
        value = literal if isinstance(literal, str) or not text else value
    elif value is None and text and default == "":
        value = ""
    value = _thaw(value)
    try:
        return keys.fit(value, _thaw(default), keys.rule_of(kinds, key))
    except ValueError as error:
        found = "is empty" if value is None else f"is {rows.short(value)}"
        raise ConfigError(f"{where}: {key} {found}; expected {error}") from None


def _literal(text: str) -> Any:
    if len(text) > _LONGEST_LITERAL:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and numbers in what is no Python
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _freeze(value: Any) -> Any:
    return tuple(_freeze(v) for v in value) if isinstance(value, list | tuple) else value


def _thaw(value: Any) -> Any:
    return [_thaw(v) for v in value] if isinstance(value, list | tuple) else value


def _each(value: Any, change: Callable[[str], Any]) -> Any:
    """``value`` with every text in it changed."""
    if isinstance(value, Mapping):
        return {k: _each(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_each(v, change) for v in value]
    return change(value) if isinstance(value, str) else value


def _local(key: str, value: str) -> str:
    if not addresses.is_address(value) or key in _IN_PLACE:
        return value
    return str(addresses.folder(value) if key in _WRITTEN else addresses.with_companion(value))


def write_resolved(cfg: Config, path: str | Path) -> None:
    """Write the resolved configuration as YAML, whole or not at all."""
    files.write_text(path, cfg.dump())
