"""Tars by their headers: where plain files lie, and which members are refused, without unpacking any."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from wsl_det.core import addresses, foreign
from wsl_det.errors import DataError

_BLOCK = 512
_LONGEST = 16 << 20  # bytes of a header with names and notes
# What reading a member of these would mean running code of whoever made the tar.
_PICKLES = frozenset((".pkl", ".pickle", ".pyd", ".pth", ".pt", ".npy", ".npz"))


class Member(NamedTuple):
    """A plain file in a tar: its clean name, and where its bytes lie."""

    name: str
    offset: int
    size: int


class Contents(NamedTuple):
    """Members of a tar, in its order; a name may stand twice."""

    files: list[Member]
    refused: dict[str, str]  # why


class _Headers(io.BufferedReader):
    """Gives no more at once than a header may have: tarfile asks for as many bytes as a damaged one names."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LONGEST:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def contents(path: str | Path, buffer: int = 1 << 14) -> Contents:
    """What a plain tar holds, and those that were appended to it (``cat``); folders are passed over.

    Links, devices, names that leave the archive, pickles and hidden files (``._x.jpg``, which macOS adds)
    are refused, each with its reason. Of an address, ``buffer`` bytes are read at a time. Raises DataError
    when the tar is compressed, damaged or truncated, or followed by bytes that are no tar.
    """
    found = Contents([], {})
    try:
        with _Headers(addresses.raw(path), buffer) as file:
            for member in _members(file):
                if (why := _refusal(member)) is None:
                    name = str(PurePosixPath(member.name))
                    found.files.append(Member(name, member.offset_data, member.size))
                elif why:
                    found.refused[member.name] = why
    except FileNotFoundError:
        raise DataError(f"tar {path} does not exist") from None
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        again = "copy or download it again, and unpack a compressed one to a plain .tar"
        advice = foreign.remedy(addresses.head(path), again)
        raise DataError(f"{path} is no whole, uncompressed tar ({error}); {advice}") from None
    return found


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    start = 0
    while True:
        end = start
        file.seek(start)
        # "r:" takes plain tars only: a compressed one has no random access.
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
                yield member
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them
                end = member.offset_data + (-(-member.size // _BLOCK) * _BLOCK if member.isreg() else 0)
        # A tar cut off between two members looks whole but for the zeros that end one.
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            if start and end == start:
                raise tarfile.ReadError("bytes that are no tar follow the mark of its end")
            raise tarfile.ReadError("it is truncated: the mark of its end is missing")
        while (block := file.read(_BLOCK)) and not any(block):
            pass
        if not block:
            return
        start = file.tell() - len(block)


def _refusal(member: tarfile.TarInfo) -> str | None:
    """None for a file to use, "" for what is passed over, else the reason."""
    if member.isdir():
        return ""
    if member.issym() or member.islnk():
        return "a link in a tar"
    if not member.isreg() or member.issparse():
        return "not a plain file in a tar"
    name = PurePosixPath(member.name)
    if not name.parts or name.is_absolute() or ".." in name.parts or "\0" in member.name:
        return "name leaves the tar"
    if name.name.startswith(".") or "__MACOSX" in name.parts:
        return "a hidden file in a tar"
    return "a pickle in a tar" if name.suffix.lower() in _PICKLES else None
