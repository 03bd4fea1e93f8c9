"""Lists of objects from foreign JSON: typed at once where all is well, row by row for a message where not."""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from wsl_det.core import files
from wsl_det.errors import DataError

Row = TypeVar("Row", bound=msgspec.Struct)
T = TypeVar("T")
_NOT_ONE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What conversion raises; ValueError for half a surrogate pair where no text belongs."""
_FIELD = re.compile(r"at `\$\.(\w+)")
_MISSING = re.compile(r"missing required field `(\w+)`")


def quick(data: bytes, type_: type[T]) -> T | None:
    """The JSON text ``data`` as ``type_``, or None when that is for ``slow`` to judge.

    Whatever is accepted here is accepted by ``slow`` and ``typed`` with the same values.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        # Strings of fields that nobody reads are passed over unread: what is no text must not pass so.
        if not data.isascii():
            data.decode("utf-8", "surrogatepass")
        return msgspec.json.decode(data, type=type_)
    except _NOT_ONE:
        return None


@contextmanager
def without_collection() -> Iterator[None]:
    """For who reads rows and drops them: the collector would search hundreds of thousands for cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def each_once(data: bytes, keys: Mapping[str, int], texts: int = 0) -> bool:
    """Whether keys stand in the text as often as they were read, so that none stands twice in an object.

    texts: how many values are strings, where these keys are all that there are: two quotes make each.
    """
    if np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == ord('"')) == 2 * (sum(keys.values()) + texts):
        return True
    return all(data.count(f'"{key}"'.encode()) == count for key, count in keys.items())


def slow(path: Path, what: str) -> Any:
    """The tree of a JSON file by Python's own reader, its integers read by ``whole``."""
    return files.read_json(path, what, parse_int=whole)


def typed(
    rows: Sequence[Any], type_: type[Row], name: Callable[[int, Any], str], expected: Mapping[str, str]
) -> list[Row]:
    """``rows`` as structs; a DataError names the first that is not one, its field, value and what goes there.

    name(place, row) begins the message: the file and the row. expected: what goes into a field.
    """
    try:
        return msgspec.convert(rows, list[type_])  # type: ignore[valid-type]
    except _NOT_ONE:
        pass
    for place, row in enumerate(rows):
        try:
            msgspec.convert(row, type_)
        except _NOT_ONE as error:
            where = name(place, row)
            if not isinstance(row, Mapping):
                raise DataError(f"{where} is {short(row)}; expected an object") from None
            if missing := _MISSING.search(str(error)):
                raise DataError(f"{where} has no {missing[1]!r}; it needs {expected[missing[1]]}") from None
            field = _FIELD.search(str(error))
            if field is None or field[1] not in expected:
                raise DataError(f"{where} cannot be read: {error}") from None
            raise refused(where, field[1], row.get(field[1]), expected, wrong_type=True) from None
    raise DataError(f"{name(0, None)} and those after it cannot be read together")


def refused(
    where: str, field: str, value: Any, expected: Mapping[str, str], *, wrong_type: bool = False
) -> DataError:
    """The refusal of a value: which row of which file, which field, what it holds and what goes there."""
    kind = f" ({type(value).__name__})" if wrong_type and isinstance(value, str | bool | int | float) else ""
    return DataError(f"{where} has {field} {short(value)}{kind}; expected {expected[field]}")


def short(value: Any) -> str:
    """A value for a message, cut at 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes out
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(text: str) -> int | float:
    """A JSON integer; one of hundreds of digits, which fits no field, as an infinite float."""
    return int(text) if len(text) < 400 else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def parse(data: bytes) -> Any:
    """A JSON value, quickly; what only Python's own reader takes, such as 1e999, by that one."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError):
        return json.loads(data, parse_int=whole)
    except RecursionError:
        return "a value nested too deeply"
