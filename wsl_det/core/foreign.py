"""Files from elsewhere: whether anybody may be asked for one, and what is refused before it is unpickled."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

from wsl_det.errors import CheckpointError, WslError, first_line

OFFLINE = "WSL_DET_OFFLINE"
_AGAIN = "copy or download it again"
_LOOK = "a server's refusal often comes so; look at it"
_BEFORE = rb"(?:\xef\xbb\xbf)?\s*"
_PACKED = {
    "a gzip file": rb"\x1f\x8b\x08",
    "a bzip2 file": rb"BZh\d",
    "an xz file": rb"\xfd7zXZ",
    "a zstandard file": rb"\x28\xb5\x2f\xfd",
    "a 7z archive": rb"7z\xbc\xaf",
    "a zip archive": rb"PK\x03\x04",
}
PACKED, JSON = tuple(_PACKED), "JSON text"
_OTHERS = {
    "an HTML page": (
        "download the file itself, not a web page about it",
        _BEFORE + rb"(?i:<!doctype html|<html|<head)",
    ),
    "XML text": (_LOOK, _BEFORE + rb"<\?xml"),
    JSON: (_LOOK, _BEFORE + rb'\{\s*(?:"[ -~]|\}\s*\Z)'),
    "a git-lfs pointer": ("run git lfs pull where it was cloned", rb"version https://(git-lfs|hawser)"),
    "a git-annex pointer": (
        "run git annex get where it was cloned",
        rb"(\.\./)*(\.git/annex|/annex/objects/)",
    ),
    **{what: ("unpack it first", start) for what, start in _PACKED.items()},
}
NO_ARRAYS = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError),
    *(RecursionError, SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What ``numpy.load`` raises for damaged .npy and .npz files: it reads their headers as Python."""
_DEEPEST, _HEAVIEST, _KEY = 32, 30_000, 64
"""Bounds of a pickled tuple: levels, parts counted as often as they are named, and parts when it is a key."""
_TAKEN: dict[str, int | None] = {name: None for name in ("TUPLE", "APPENDS", "SETITEMS")}  # to the mark
_TAKEN |= dict(TUPLE1=1, TUPLE2=2, TUPLE3=3, APPEND=2, SETITEM=3, REDUCE=2, BUILD=2, NEWOBJ=2, BINPERSID=1)
_Size = tuple[int, int]  # levels and parts of a tuple; anything else counts as one part


def offline() -> bool:
    """Whether WSL_DET_OFFLINE asks to open no connection."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def head(path: str | Path) -> bytes:
    """The first bytes of a file, enough to tell its kind."""
    with open(path, "rb") as file:
        return file.read(512)


def instead(data: bytes, *expected: str) -> tuple[str, str] | None:
    """What a file is that begins with ``data`` and should be another kind, and what to do about it.

    ``expected`` are those of these kinds (JSON, PACKED) that the reader takes. None for none of the others.
    """
    others = ((what, *rest) for what, rest in _OTHERS.items() if what not in expected)
    return next(((what, remedy) for what, remedy, start in others if re.match(start, data)), None)


def remedy(data: bytes, otherwise: str, *expected: str) -> str:
    """What to do about an unreadable file: what it is ``instead``, if that is known, else ``otherwise``."""
    found = instead(data, *expected)
    return f"it is {found[0]}: {found[1]}" if found else otherwise


def instead_of_weights(path: str | Path) -> str | None:
    """What a file that should be weights is by its first bytes, with the remedy; None when it may be some."""
    path = Path(path)
    size, start = path.stat().st_size, head(path)
    if not size:
        return f"is empty: {_AGAIN}"
    if start.startswith(b"PK\x03\x04"):
        return None if is_zip(path) else f"is a truncated archive, its {size} bytes have no end: {_AGAIN}"
    found = instead(start)
    return f"is {found[0]} of {size} bytes, not weights: {found[1]}" if found else None


def damage(error: BaseException, path: str | Path) -> str:
    """What a reader said of a file that it could not read, in a line.

    Raises where the file is not at fault: PermissionError again, and WslError where the memory that is left
    does not hold as many bytes as the file has; a damaged header asks for any number of them.
    """
    if isinstance(error, PermissionError):
        raise error
    if is_lack_of_memory(error):
        size = Path(path).stat().st_size
        try:
            bytearray(size)
        except MemoryError:
            raise WslError(
                f"{path} has {size:,} bytes, more than the memory that is left ({first_line(error):.200}); "
                "end other programs, or use a machine with more"
            ) from None
    return first_line(error)[:200]


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether Python or torch found no room on the CPU; torch's is a RuntimeError like any other."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def is_zip(path: Path) -> bool:
    """Whether a file has a zip's end; ``zipfile.is_zipfile`` raises for some damaged ones."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def refuse_others(path: str | Path) -> None:
    """Raise CheckpointError for a file that is absent, or no weights by its first bytes."""
    if not Path(path).is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    if found := instead_of_weights(path):
        raise CheckpointError(f"{path} {found}")


def check_tuples(file: IO[bytes]) -> None:
    """Raise UnpicklingError when the pickle in ``file`` holds a tuple that no weights need.

    Python hashes a tuple without a limit to its depth, so that one that stands as a key can end the
    process, and one that names itself twice a level never ends. Nothing is built: the pickle is followed
    by the sizes of its tuples, to its end or the first instruction that torch does not know either.
    A damaged pickle raises what ``pickletools`` does: LookupError, ValueError or TypeError.
    """
    stack: list[_Size] = []
    marks: list[int] = []
    memo: dict[int, _Size] = {}
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif opcode.name == "MARK":
            marks.append(len(stack))
        elif opcode.name in _TAKEN:
            _follow(opcode.name, stack, marks)
        elif opcode.stack_before:
            return
        else:
            stack.extend([(0, 1)] * len(opcode.stack_after))


def _follow(name: str, stack: list[_Size], marks: list[int]) -> None:
    """What an instruction that takes values does to the stack."""
    count = _TAKEN[name]
    start = marks.pop() if count is None else len(stack) - count
    taken = stack[start:]
    del stack[start:]
    levels, parts = 1 + max((levels for levels, _ in taken), default=0), 1 + sum(n for _, n in taken)
    keys = taken[1:2] if name == "SETITEM" else taken[::2] if name == "SETITEMS" else ()
    if not name.startswith("TUPLE"):
        levels, parts = 0, 1
    if levels > _DEEPEST or parts > _HEAVIEST or any(n > _KEY for _, n in keys):
        raise pickle.UnpicklingError("it is nested deeper than any weights are")
    if name not in ("APPENDS", "SETITEMS"):  # their list or dict still lies beneath
        stack.append((levels, parts))
