"""Tars by their headers: where plain files lie, and which members are refused, without unpacking any."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wsl_det.errors import DataError

_BLOCK = 512
# What reading a member of these would mean running code of whoever made the tar.
_PICKLES = frozenset((".pkl", ".pickle", ".pyd", ".pth", ".pt", ".npy", ".npz"))


class Contents(NamedTuple):
    """Members of a tar by their clean names, in the tar's order."""

    files: dict[str, tuple[int, int]]  # offset and size of the bytes
    refused: dict[str, str]  # why


def contents(path: str | Path) -> Contents:
    """What a plain tar holds; folders are passed over.

    Links, devices, names that leave the archive and pickles are refused, each with its reason.
    Raises DataError when the tar is compressed, damaged or truncated.
    """
    found = Contents({}, {})
    end = 0
    try:
        # "r:" takes plain tars only: a compressed one has no random access.
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if (why := _refusal(member)) is None:
                    found.files[str(PurePosixPath(member.name))] = (member.offset_data, member.size)
                elif why:
                    found.refused[member.name] = why
                end = member.offset_data + (-(-member.size // _BLOCK) * _BLOCK if member.isreg() else 0)
        _must_end(path, end)
    except FileNotFoundError:
        raise DataError(f"tar {path} does not exist") from None
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise DataError(
            f"{path} is no whole, uncompressed tar ({error}); copy or download it again, and unpack a "
            "compressed one to a plain .tar"
        ) from None
    return found


def _refusal(member: tarfile.TarInfo) -> str | None:
    """None for a file to use, "" for what is passed over, else the reason."""
    if member.isdir():
        return ""
    if member.issym() or member.islnk():
        return "a link in a tar"
    if not member.isreg() or member.issparse():
        return "not a plain file in a tar"
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        return "name leaves the tar"
    return "a pickle in a tar" if name.suffix.lower() in _PICKLES else None


def _must_end(path: str | Path, end: int) -> None:
    # A tar cut off between two members looks whole but for the zeros that end one.
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("it is truncated: the mark of its end is missing")
