"""Records of csv, tsv and parquet."""

from __future__ import annotations

import csv
import importlib
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO, Any

from pretrain.posts import opening
from pretrain.posts.opening import must_be_text, open_bytes, optional
from pretrain.posts.records import Columns
from wsl_det.core import addresses, foreign
from wsl_det.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FIELD_LIMIT = 1 << 24
_NO_ID = re.compile(r'[\s#\uff03"]')


def read_table(path: str, delimiter: str, columns: Columns) -> Iterator[Any]:
    """The rows of a csv or tsv as objects; for a row that is none, the reason.

    Fields may be quoted, and then hold line ends. A quote that closes nowhere, or not where csv
    wants it, or over lines that are rows of their own, is a character like others: no row is lost to it.
    """
    with open_bytes(path) as file:
        must_be_text(path, file.peek(512))  # type: ignore[attr-defined]
        # Bytes that are no UTF-8 become surrogates, so that one bad row does not end the file.
        decoded = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        text = _lines(path, decoded)
        csv.field_size_limit(_FIELD_LIMIT)
        if not (head := next(text, "")):
            return
        try:
            names = next(csv.reader([head], delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise DataError(f"posts file {path} has no readable header ({error})") from None
        must_have_columns(path, names, columns)
        for row in _rows(text, delimiter, len(names), names.index(columns.id)):
            if len(row) != len(names):
                yield f"{'more' if len(row) > len(names) else 'fewer'} fields than columns"
            elif any("\udc80" <= c <= "\udcff" for value in row if not value.isascii() for c in value):
                yield "not UTF-8"
            else:
                yield dict(zip(names, row, strict=True))


def _lines(path: str, text: IO[str]) -> Iterator[str]:
    while line := text.readline(opening.LONGEST_LINE):
        if len(line) == opening.LONGEST_LINE:
            raise opening.too_long(path)
        yield line


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._ahead: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._lines)
        self.taken.append(line)
        return line

    def keep_first(self) -> str:
        """The first line taken; all others will come again."""
        self._ahead.extendleft(reversed(self.taken[1:]))
        return self.taken[0]


def _rows(lines: Iterable[str], delimiter: str, width: int, key: int) -> Iterator[list[str]]:
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        source.taken = []
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row is None or (len(source.taken) > 1 and _swallows(source.taken, row, delimiter, width, key)):
            row = _unquoted(source.keep_first(), delimiter)
        if row:
            yield row


def _swallows(taken: list[str], row: list[str], delimiter: str, width: int, key: int) -> bool:
    """Whether the lines of a row read as rows: with as many fields, and an id like the first's."""
    first, *inner = (_unquoted(line, delimiter) for line in taken)
    if len(row) != width or len(first) < width:
        return len(row) != width
    alike = sum(len(fields) == width and _shape(fields[key]) == _shape(first[key]) for fields in inner)
    return 2 * alike > len(inner)


def _shape(name: str) -> tuple[bool, bool]:
    return name.isdecimal(), _NO_ID.search(name) is not None


def _unquoted(line: str, delimiter: str) -> list[str]:
    """The fields of a line whose quotes are no csv; those around a whole field are taken off."""
    fields = line.rstrip("\r\n").split(delimiter)
    return [f[1:-1].replace('""', '"') if len(f) > 1 and f[0] == f[-1] == '"' else f for f in fields]


def read_parquet(path: str, columns: Columns) -> Iterator[Any]:
    """The rows of a parquet file as objects; for a row that cannot be read, the reason."""
    parquet = optional("pyarrow.parquet", f"to read {path}")
    arrow = importlib.import_module("pyarrow")
    try:
        with addresses.opened(path) as bytes_, parquet.ParquetFile(bytes_) as file:
            names = file.schema_arrow.names
            must_have_columns(path, names, columns)
            wanted = [name for name in columns.names if name in names]
            for batch in file.iter_batches(batch_size=16_384, columns=wanted):
                yield from _records(batch)
    except (arrow.ArrowException, OSError) as error:
        advice = foreign.remedy(addresses.head(path), "export it again")
        raise DataError(f"posts file {path} is no whole parquet file ({error}); {advice}") from None


def _records(batch: Any) -> Iterable[Any]:
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:  # text that is no UTF-8, dates beyond Python's
        if len(batch) == 1:
            return ["not UTF-8" if isinstance(error, UnicodeError) else "a value beyond its type"]
    return [record for number in range(len(batch)) for record in _records(batch.slice(number, 1))]


def must_have_columns(path: str, names: Iterable[str], columns: Columns) -> None:
    """Raise DataError when a column that posts need is missing, or one of theirs stands twice."""
    found = list(names)
    if columns.id not in found or not {columns.caption, columns.hashtags} & set(found):
        raise DataError(
            f'posts file {path} has columns {", ".join(map(repr, found))}; expected "{columns.id}" and '
            f'"{columns.caption}" or "{columns.hashtags}": name them with --id-column and the like'
        )
    twice = next((name for name in columns.names if found.count(name) > 1), None)
    if twice is not None:
        raise DataError(f'column "{twice}" stands twice in posts file {path}; leave one')
