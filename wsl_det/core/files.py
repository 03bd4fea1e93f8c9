"""Files come into being whole or not at all: atomic replacement, hashes, JSON in and out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsl_det.core import foreign
from wsl_det.errors import DataError


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """A scratch path beside ``final`` that replaces it only if the block succeeds.

    The folder is made when absent. The content is flushed to the disk before it gets its
    name, so a power cut leaves the old file or the new one, never half of either.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept at the end: torch, numpy and others choose the format by it.
    scratch = final.with_name(f".{final.stem}.{os.getpid()}{final.suffix}")
    # A folder that cannot be written is an OSError here, whatever the writer would make of it.
    scratch.touch()
    scratch.unlink()
    try:
        yield scratch
        with open(scratch, "rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, final)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_dir(final: str | Path) -> Iterator[Path]:
    """A scratch folder beside ``final`` that takes its place only if the block succeeds.

    Meant for folders that must not exist yet (or are empty); an existing, filled ``final``
    is the caller's to refuse first.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        scratch.mkdir()
        yield scratch
        if final.is_dir():
            final.rmdir()
        os.replace(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all; what is none in a name becomes \\udcXX, as in JSON."""
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data``, whole or not at all."""
    with atomic_path(path) as scratch:
        scratch.write_bytes(data)


def write_json(path: str | Path, value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON, whole or not at all; NaN and infinity are refused."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path, what: str = "file", **hooks: Any) -> Any:
    """The value in a JSON file; ``what`` names its role in the message when it is unreadable.

    hooks: as ``json.loads`` takes them. Raises DataError, also for a key that stands twice in an object.
    """
    path = Path(path)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{what} {path}: the key {twice!r:.60} stands twice in one object; keep one")
        return found

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{what} {path} does not exist") from None
    except IsADirectoryError:
        raise DataError(f"{what} {path} is a folder; expected a JSON file") from None
    try:
        return json.loads(data, object_pairs_hook=once, **hooks)
    except (ValueError, RecursionError) as error:  # of ValueErrors, a number of 5,000 digits is one too
        raise DataError(f"{what} {path} is not whole JSON ({error}); {_instead(data)}") from None


def _instead(data: bytes) -> str:
    """What bytes that are not one JSON value seem to be, and what to do."""
    lines = data.split(b"\n", 2)
    if len(lines) > 1 and lines[1].strip() and all(_is_json(line) for line in lines[:2]):
        return "it holds one JSON value a line (JSON lines): one value for the whole file is expected"
    return foreign.remedy(data, "it may be truncated: make or copy it again", foreign.JSON)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
