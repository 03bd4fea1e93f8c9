"""Files of posts: jsonl, csv, tsv and parquet, plain or compressed, cut into parts for many readers."""

from __future__ import annotations

import csv
import glob
import gzip
import importlib
import io
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from pretrain.posts.records import Columns, Ledger, Post, from_record
from wsl_det.errors import DataError

# Bytes of a part. It decides nothing but who reads what: the same for any number of workers.
PART_BYTES = 32 << 20
_BLOCK = 1 << 20
_LONGEST_LINE = 64 << 20
_TABLES = {".csv": ",", ".tsv": "\t"}
_COMPRESSED = (".gz", ".zst")
_FIELD_LIMIT = 1 << 24


class Part(NamedTuple):
    """The lines of ``path`` that start in bytes start..stop-1; the whole file when ``stop`` is None.

    A relative path is one from ``folder``: whoever reads the part may run in another.
    """

    path: str
    start: int = 0
    stop: int | None = None
    folder: str = ""

    @property
    def place(self) -> str:
        """Where the file is to be opened."""
        return os.path.join(self.folder, self.path)


def expand(patterns: Sequence[str | Path]) -> list[str]:
    """The files that names and globs (``posts-*.jsonl.gz``) stand for; a glob's files are sorted.

    Raises DataError when a file is missing, is a folder, is named twice, or a glob finds nothing.
    """
    found: list[str] = []
    for pattern in map(str, patterns):
        if os.path.exists(pattern) or not glob.has_magic(pattern):
            found.append(pattern)
            continue
        matches = sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise DataError(f"no posts file matches {pattern}")
        found += matches
    for path in found:
        _must_be_file(Path(path))
    if len({os.path.realpath(path) for path in found}) < len(found):
        raise DataError("a posts file is named twice; its posts would count double")
    return found


def parts(paths: Iterable[str]) -> list[Part]:
    """The files in parts of about ``PART_BYTES``, in order; only plain jsonl files are cut."""
    cut: list[Part] = []
    folder = os.getcwd()
    for path in paths:
        if is_lines(path) and not _suffixes(path)[1] and size(path) > PART_BYTES:
            starts = range(0, size(path), PART_BYTES)
            cut += [Part(path, start, start + PART_BYTES, folder) for start in starts]
        else:
            cut.append(Part(path, folder=folder))
    return cut


def read(paths: Sequence[str], columns: Columns, ledger: Ledger) -> Iterator[Post]:
    """The posts of all files in order; records that are none are counted in ``ledger``.

    Raises DataError when a file cannot be read, and at the end when no file held a post.
    """
    for path in paths:
        yield from read_part(Part(path), columns, ledger)
    must_hold_posts(paths, columns, ledger)


def must_hold_posts(paths: Sequence[str], columns: Columns, ledger: Ledger) -> None:
    """Raise DataError, saying what was met instead, when no post was read."""
    if ledger.read:
        return
    names = ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    details = "; ".join(ledger.summary()) or "nothing is in there"
    raise DataError(
        f"no posts in {names}: {details}; expected records with "
        f'"{columns.id}", "{columns.image}" and "{columns.caption}" or "{columns.hashtags}"'
    )


def read_part(part: Part, columns: Columns, ledger: Ledger) -> Iterator[Post]:
    """The posts of one part; format and compression by the file's name (unknown endings: jsonl)."""
    form, _ = _suffixes(part.path)
    if form == ".parquet":
        records = _parquet(part.place, columns)
    elif form in _TABLES:
        records = _table(part.place, _TABLES[form], columns)
    else:
        records = map(record_of_line, lines(part))
    for record in records:
        ledger.records[part.path] += 1
        post = record if isinstance(record, str) else from_record(record, columns)
        if isinstance(post, Post):
            ledger.read += 1
            yield post
        elif post:
            ledger.skip(post, part.path, ledger.records[part.path])


def lines(part: Part) -> Iterator[bytes]:
    """The lines that start in a part; see ``blocks``."""
    for block in blocks(part):
        found = block.split(b"\n")
        yield from found[:-1] if not found[-1] else found


def blocks(part: Part) -> Iterator[bytes]:
    """The lines that start in a part, many at a time, without a byte order mark.

    Raises DataError for UTF-16 and for lines too long to be posts.
    """
    with open_bytes(part.place) as file:
        left = sys.maxsize if part.stop is None else part.stop - part.start
        if part.start:
            # The line that runs into this part belongs to the part before.
            file.seek(part.start - 1)
            left -= len(file.readline()) - 1
        first, rest = not part.start, b""
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            if first:
                _must_not_be_utf16(part.path, block)
            block = rest + (block.removeprefix(b"\xef\xbb\xbf") if first else block)
            first, cut = False, block.rfind(b"\n") + 1
            rest = block[cut:]
            if len(rest) > _LONGEST_LINE:
                raise DataError(
                    f"posts file {part.path} has a line of over {_LONGEST_LINE >> 20} MB; is it JSON lines?"
                )
            if cut:
                yield block[:cut]
        if rest:
            yield rest + file.readline(_LONGEST_LINE)


def record_of_line(line: bytes) -> Any:
    """The JSON value of a line, "" for an empty one, or the reason why it is none, as a string."""
    if not line.strip():
        return ""
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return "not an object with columns" if isinstance(value, str) else value


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file; a broken or truncated stream is a DataError."""
    try:
        with _decompressed(path) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"posts file {path} is damaged or truncated ({error}); copy or export it again"
        ) from None


def size(path: str) -> int:
    """Bytes of a file as it lies on the disk."""
    return os.path.getsize(path)


def is_lines(path: str) -> bool:
    """Whether a file holds one JSON object per line."""
    return _suffixes(path)[0] not in (*_TABLES, ".parquet")


def _decompressed(path: str) -> Any:
    compression = _suffixes(path)[1]
    if compression == ".gz":
        return gzip.open(path, "rb")
    if compression == ".zst":
        return _zstandard(path)
    return open(path, "rb")


@contextmanager
def _zstandard(path: str) -> Iterator[IO[bytes]]:
    module = _optional("zstandard", f"to read {path}")
    try:
        with open(path, "rb") as packed, io.BufferedReader(_Frames(packed, module), 1 << 20) as file:
            yield file
    except module.ZstdError as error:
        raise DataError(
            f"posts file {path} is damaged or truncated ({error}); copy or export it again"
        ) from None


class _Frames(io.RawIOBase):
    # zstandard's own reader ends a truncated file without a word; this one raises EOFError.
    def __init__(self, packed: IO[bytes], module: Any) -> None:
        self._packed = packed
        self._module = module
        self._frame: Any = None
        self._ahead = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._ahead or self._packed.read(1 << 17)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last frame ends early")
                return 0
            # Exports appended to one another are several frames.
            self._frame = self._frame or self._module.ZstdDecompressor().decompressobj()
            self._ready, self._ahead = self._frame.decompress(packed), b""
            if self._frame.eof:
                self._ahead, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _table(path: str, delimiter: str, columns: Columns) -> Iterator[Any]:
    csv.field_size_limit(_FIELD_LIMIT)
    with open_bytes(path) as file:
        _must_not_be_utf16(path, file.peek(2))  # type: ignore[attr-defined]
        # Bytes that are no UTF-8 become surrogates, so that one bad row does not end the file.
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        rows = csv.DictReader(text, delimiter=delimiter, restkey="\0", strict=True)
        try:
            names = rows.fieldnames
        except csv.Error as error:
            raise DataError(f"posts file {path} has no readable header ({error})") from None
        if names is not None:
            _must_have_columns(path, names, columns)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"not a row ({str(error).split('(')[0].strip()[:40]})"
                continue
            yield _checked(row)


def _must_not_be_utf16(path: str, head: bytes) -> None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"posts file {path} is UTF-16; convert it to UTF-8")


def _checked(row: dict[Any, Any]) -> Any:
    if "\0" in row:
        return "more fields than columns"
    if None in row.values():
        return "fewer fields than columns"
    if any("\udc80" <= c <= "\udcff" for value in row.values() if not value.isascii() for c in value):
        return "not UTF-8"
    return row


def _parquet(path: str, columns: Columns) -> Iterator[Any]:
    parquet = _optional("pyarrow.parquet", f"to read {path}")
    arrow = importlib.import_module("pyarrow")
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _must_have_columns(path, names, columns)
            wanted = [name for name in columns.names if name in names]
            for batch in file.iter_batches(batch_size=16_384, columns=wanted):
                yield from batch.to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"posts file {path} is no whole parquet file ({error}); export it again") from None


def _must_have_columns(path: str, names: Iterable[str], columns: Columns) -> None:
    found = list(names)
    if columns.id not in found or not {columns.caption, columns.hashtags} & set(found):
        raise DataError(
            f'posts file {path} has columns {", ".join(map(repr, found))}; expected "{columns.id}" and '
            f'"{columns.caption}" or "{columns.hashtags}": name them with --id-column and the like'
        )


def _optional(module: str, purpose: str) -> Any:
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise DataError(f"{package} is needed {purpose}: pip install {package}") from None


def _suffixes(path: str) -> tuple[str, str]:
    name = Path(path)
    suffix = name.suffix.lower()
    if suffix in _COMPRESSED:
        return name.with_suffix("").suffix.lower(), suffix
    return suffix, ""


def _must_be_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"posts {path} is a folder; name its files, or a glob such as {path}/*.jsonl")
    if not path.exists():
        raise DataError(f"posts file {path} does not exist")
