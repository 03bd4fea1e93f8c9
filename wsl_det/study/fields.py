"""Sections of a YAML file as msgspec structs; whatever is left over or wrong is named with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import Meta

from wsl_det.core import yaml_files
from wsl_det.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)
Text = Annotated[str, Meta(min_length=1, description="a text")]
Name = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="letters, digits, '.', '_' and '-'")
]
Flag = Annotated[bool, Meta(description="true or false")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a whole number, 0 or more")]
Positive = Annotated[float, Meta(gt=0, le=1e300, description="a number above 0")]
Percent = Annotated[float, Meta(ge=0, le=100, description="percent, 0 to 100")]
Files = Annotated[list[Text], Meta(min_length=1, description="a result file, or a list of them")] | Text
# YAML 1.1 reads 1e-3 as text: it wants 1.0e-3.
_EXPONENT = re.compile(r"[+-]?\d+\.?\d*[eE][+-]?\d+")


def read(path: str | Path, what: str, form: str) -> Mapping[str, Any]:
    """The mapping in a YAML file; ConfigError, which names the ``form`` expected, for anything else."""
    tree = yaml_files.read(path, what)
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise ConfigError(f"{path} holds {found}; expected {form}")
    return tree


def section(given: Any, into: type[T], where: str, /, **fixed: Any) -> T:
    """``given`` as a struct; ``where`` is its place in messages, ``fixed`` are fields that no key sets.

    Null is as good as left out. Raises ConfigError for unknown and missing keys, and for a value that is
    not what its field's description says.
    """
    if not isinstance(given, Mapping):
        raise wrong(where, given, "NAME: VALUE lines")
    known = {field.name: field for field in msgspec.structs.fields(into) if field.name not in fixed}
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{near(str(key), known)}")
    values = dict(fixed)
    for name, field in known.items():
        if given.get(name) is not None:
            values[name] = value(given[name], field.type, f"{where}: {name}")
        elif field.required:
            raise ConfigError(f"{where}: {name} is missing")
    return into(**values)


def value(given: Any, kind: Any, where: str) -> Any:
    """``given`` as ``kind``; a bare number such as ``101`` passes for a text, ``1e-3`` for a number."""
    for written in (given, _as_text(given), _as_number(given)):
        try:
            return msgspec.convert(written, kind)
        except (msgspec.ValidationError, OverflowError):
            continue
    raise wrong(where, given, _expected(kind))


def files(named: Sequence[str] | str, folder: Path) -> tuple[Path, ...]:
    """The paths of one file or a list of them; relative ones start at ``folder``, an empty text is none."""
    return tuple(folder / name for name in ([named] if isinstance(named, str) else named) if name)


def wrong(where: str, given: Any, expected: str) -> ConfigError:
    """The error for a value that cannot be meant."""
    return ConfigError(f"{where} is {given!r:.120}; expected {expected}")


def near(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, as the end of a message."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _as_text(given: Any) -> Any:
    return str(given) if isinstance(given, int | float) and not isinstance(given, bool) else given


def _as_number(given: Any) -> Any:
    if isinstance(given, list):
        return [_as_number(one) for one in given]
    return float(given) if isinstance(given, str) and _EXPONENT.fullmatch(given) else given


def _expected(kind: Any) -> str:
    """The description nearest to the top of a type."""
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    return next((said for one in get_args(kind) if (said := _expected(one))), "another value")
