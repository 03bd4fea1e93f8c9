"""Files of posts: jsonl, csv, tsv and parquet, plain or compressed, cut into parts for many readers."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.posts import opening
from pretrain.posts.opening import must_be_text, open_bytes, suffixes
from pretrain.posts.records import Columns, Ledger, Post, from_record
from pretrain.posts.tables import DELIMITERS, read_parquet, read_table
from wsl_det.core import addresses
from wsl_det.errors import DataError

# Bytes of a part. It decides nothing but who reads what: the same for any number of workers.
PART_BYTES = 32 << 20
_BLOCK = 8 << 20
_LONGEST_NUMBER = 4300  # digits; beyond, int() refuses
_NO_NAME = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


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
        return self.path if addresses.is_address(self.path) else os.path.join(self.folder, self.path)


def expand(patterns: Sequence[str | Path]) -> list[str]:
    """The files that names and globs (``posts-*.jsonl.gz``) stand for; a glob's files are sorted.

    Raises DataError when a file is missing, is a folder, is named twice, or a glob finds nothing.
    """
    found: list[str] = []
    for pattern in map(str, patterns):
        matches = addresses.matching(pattern)
        if not matches:
            raise DataError(f"no posts file matches {pattern}")
        found += matches
    for path in found:
        if _NO_NAME.search(path):
            # Half characters cannot be written, and control characters would steer the terminal.
            raise DataError(f"posts file {path!r} has a name that is no plain UTF-8 text; rename it")
        if os.path.isdir(path):
            raise DataError(f"posts {path} is a folder; name its files, or a glob such as {path}/*.jsonl")
        if not addresses.exists(path):
            raise DataError(f"posts file {path} does not exist")
    if len({path if addresses.is_address(path) else os.path.realpath(path) for path in found}) < len(found):
        raise DataError("a posts file is named twice; its posts would count double")
    return found


def parts(paths: Iterable[str]) -> list[Part]:
    """The files in parts of about ``PART_BYTES``, in order; only plain jsonl files are cut."""
    cut: list[Part] = []
    folder = os.getcwd()
    for path in paths:
        if is_lines(path) and not suffixes(path)[1] and (size := addresses.size(path)) > PART_BYTES:
            starts = range(0, size, PART_BYTES)
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
    form, _ = suffixes(part.path)
    if form == ".parquet":
        records = read_parquet(part.place, columns)
    elif form in DELIMITERS:
        records = read_table(part.place, DELIMITERS[form], columns)
    else:
        records = map(record_of_line, lines(part))
    for record in records:
        if (post := admit(record, part, columns, ledger)) is not None:
            yield post


def admit(record: Any, part: Part, columns: Columns, ledger: Ledger) -> Post | None:
    """The post in the next record of a part (or in the reason why it is no record), counted in ``ledger``."""
    ledger.records[part.path] += 1
    post = record if isinstance(record, str) else from_record(record, columns)
    if isinstance(post, Post):
        ledger.read += 1
        return post
    if post:
        ledger.skip(post, part.path, ledger.records[part.path])
    return None


def lines(part: Part) -> Iterator[bytes]:
    """The lines that start in a part; see ``blocks``."""
    for block in blocks(part):
        found = block.split(b"\n")
        yield from found[:-1] if not found[-1] else found


def blocks(part: Part) -> Iterator[bytes]:
    """The lines that start in a part, many at a time.

    Raises DataError for files that are no lines of text, and for lines too long to be posts.
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
                must_be_text(part.path, block.removeprefix(_BOM), lines=True)
            block = rest + block
            first, cut = False, block.rfind(b"\n") + 1
            rest = block[cut:]
            if len(rest) > opening.LONGEST_LINE:
                raise opening.too_long(part.path)
            if cut:
                yield block[:cut]
        if rest:
            yield rest + file.readline(opening.LONGEST_LINE)


def record_of_line(line: bytes) -> Any:
    """The JSON value of a line, "" for an empty one, or the reason why it is none, as a string."""
    # A mark within the file is what appending one export to another leaves.
    line = line.removeprefix(_BOM).strip()
    if not line:
        return ""
    try:
        value = _JSON.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return "not an object with columns" if isinstance(value, str) else value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


_JSON = json.JSONDecoder(parse_int=_integer)


def is_lines(path: str) -> bool:
    """Whether a file holds one JSON object per line."""
    return suffixes(path)[0] not in (*DELIMITERS, ".parquet")
