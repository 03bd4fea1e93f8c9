"""Files from elsewhere: whether anybody may be asked for one, and what is refused before it is unpickled."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

from wsl_det.errors import CheckpointError

OFFLINE = "WSL_DET_OFFLINE"
_AGAIN = "copy or download it again"
_STARTS = {
    "is an HTML page of {size} bytes, not weights (a portal's, or a page about the file): "
    "look at it in a browser and download the file itself": (b"<!doctype html", b"<html", b"<head", b"<?xml"),
    "is a git-lfs pointer, not the weights it stands for: run `git lfs pull` where it was cloned": (
        *(b"version https://git-lfs", b"version https://hawser"),
    ),
    "is a git-annex pointer, not the weights it stands for: run `git annex get` where it was cloned": (
        *(b"/annex/objects/", b"../.git/annex", b".git/annex"),
    ),
    "is JSON text of {size} bytes, not weights: a server's refusal often comes so": (b'{"', b"{}", b"{\n"),
    "is packed (gzip, bzip2, xz, zstd or 7z): unpack it and give what lies inside": (
        *(b"\x1f\x8b\x08", b"bzh", b"\xfd7zxz", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf"),
    ),
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


def instead_of_weights(path: str | Path) -> str | None:
    """What a file that should be weights is by its first bytes, with the remedy; None when it may be some."""
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(512)
    size, text = path.stat().st_size, head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = next((what for what, starts in _STARTS.items() if text.startswith(starts)), None)
    if not size:
        found = f"is empty: {_AGAIN}"
    elif head.startswith(b"PK\x03\x04") and not is_zip(path):
        found = f"is a truncated archive, its {{size}} bytes have no end: {_AGAIN}"
    return found and found.format(size=size)


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
