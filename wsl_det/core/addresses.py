"""A path or an address: the one place that turns it into what is read and written.

What lies at an address is copied into a cache, by a path that bears the address, and read there as any
file is; messages, logs and headers name the address (``errors.public``). Only posts, photos and shards
are read in place, by ranges.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import io
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from wsl_det.core import files, foreign, locks, log, stores
from wsl_det.errors import MIRROR, DataError, public

CACHE = "WSL_DET_CACHE"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/")
# What is written so and opened by others.
_OTHERS = ("zoo", "tcp", "tls", "ucx", "ws", "wss", "detectron2", "catalog", "file", "env")
_PIECE, _AT_ONCE = 8 << 20, 16
_BESIDE = {".json": ".meta.json", ".pth": ".json", ".safetensors": ".json"}


def is_address(value: object) -> bool:
    """Whether a text, or a path made of one, is an address (``s3://...``)."""
    text = str(value) if isinstance(value, str | Path) else ""
    found = _ADDRESS.match(text)
    # A Path has made one slash of two.
    slashes = found is not None and (text.startswith("/", found.end()) or isinstance(value, Path))
    return found is not None and slashes and found[1] not in _OTHERS


def text(value: str | Path) -> str:
    """An address as text, whatever became of its slashes."""
    return (
        _ADDRESS.sub(r"\1://", str(value), count=1)
        if is_address(value) and isinstance(value, Path)
        else str(value)
    )


def join(folder: str | Path, name: str) -> str | Path:
    """``name`` as it stands in ``folder``: an address or a path of its own, or one below or beside it."""
    if is_address(name):
        return name
    if not is_address(folder):
        return Path(folder) / name
    head, _, path = text(folder).partition("://")
    host, _, path = path.partition("/")
    return f"{head}://{host}/{posixpath.normpath(posixpath.join(path, name))}".replace("/../", "/")


def cache() -> Path:
    """The folder of what is kept of addresses: WSL_DET_CACHE, else wsl_det in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE) or Path(home) / "wsl_det").absolute()


def place(address: str, kind: str = "read") -> Path:
    """Where the copy of an address is kept: a path that bears its name, without user and token."""
    scheme, _, rest = address.partition("://")
    path, _, query = rest.partition("?")
    host, _, path = path.partition("/")
    if query:  # part of the name, and often a secret
        scheme += f"~{hashlib.sha256(query.encode()).hexdigest()[:12]}"
    clean = posixpath.normpath("/" + path).lstrip("/")
    return cache() / MIRROR / kind / scheme / (host.rpartition("@")[2] or "_") / clean


def of(path: str | Path) -> str:
    """The address that a scratch folder of ``folder`` stands for; empty for a path of the user's."""
    found = public(str(path)) if f"/{MIRROR}/written/" in str(path) else ""
    return found if is_address(found) else ""


def local(value: str | Path) -> Path:
    """A path to read ``value`` at; of an address, the copy in the cache, fetched anew when it has changed.

    A folder (of https, one whose address ends in /) is fetched with all that is below it.
    """
    if not is_address(value):
        return Path(value)
    address = text(value)
    if address.endswith("/"):
        return _folder(address.rstrip("/"))
    path = place(address)
    notes = path.with_name(f".{path.name}.json")
    if foreign.offline():
        if path.is_file():
            return path
        raise DataError(f"{public(address)} is not in {cache()} and {foreign.OFFLINE} is set")
    with locks.alone(path.with_name(f".{path.name}.lock"), public(address), "wait for it", wait_s=-1):
        try:
            found = stores.info(address)
        except stores.Folder:
            return _folder(address)
        same = bool(found.tag) and path.is_file() and _noted(notes) == [*found]
        if not (same and path.stat().st_size == found.size):
            _fetch(address, path, found)
            files.write_json(notes, [*found])
    return path


def _folder(address: str) -> Path:
    names = [name for name in stores.listed(address) if not Path(name).name.startswith(".")]
    if not names:
        raise DataError(f"{public(address)} does not exist, or its store lists nothing there")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        work = pool.map(lambda name: local(f"{address}/{name}"), names)
        kept = {*log.progress(work, len(names), f"{public(address)} (files)")}
    for path in place(address).rglob("*"):
        if path.is_file() and not path.name.startswith(".") and path not in kept:
            path.unlink(missing_ok=True)  # of an earlier copy, and gone from the store
    return place(address)


def with_companion(value: str | Path) -> Path:
    """As ``local``, and the file that is read beside it, where there is one: a header, a certificate."""
    path = local(value)
    beside = _BESIDE.get(path.suffix)
    if is_address(value) and beside and "?" not in text(value) and not foreign.offline():
        other = text(value).removesuffix(path.suffix) + beside
        with suppress(stores.Refused):  # as many stores answer who may not list what is there
            if stores.exists(other):
                local(other)
                return path
        path.with_suffix(beside).unlink(missing_ok=True)
    return path


def _noted(notes: Path) -> Any:
    try:
        return files.read_json(notes)
    except DataError:
        return None


def _fetch(address: str, path: Path, found: stores.Info) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < found.size:
        raise DataError(
            f"{cache()} has {free >> 20:,} MiB left, {public(address)} {found.size >> 20:,}: make room or "
            f"set {CACHE} to another folder"
        )
    with files.atomic_path(path) as scratch, open(scratch, "wb") as file:
        starts = range(0, found.size, _PIECE)
        for start in (
            log.progress(starts, len(starts), f"{public(address)} (8 MiB)") if len(starts) > 1 else starts
        ):
            file.write(stores.read(address, start, min(start + _PIECE, found.size)))
        _must_be(found, address)


def _must_be(found: stores.Info, address: str) -> None:
    if stores.info(address) != found:
        raise DataError(f"{public(address)} changed while it was read; give the same command again")


class _Ranges(io.RawIOBase):
    """An object of a store as a file: every read is a range."""

    def __init__(self, address: str) -> None:
        self.address, self.info, self._at = address, stores.info(address), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self.info.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = stores.read(self.address, self._at, min(self._at + len(buffer), self.info.size))
        buffer[: len(data)] = data
        self._at += len(data)
        if data and self._at == self.info.size:
            _must_be(self.info, self.address)
        return len(data)


def raw(value: str | Path) -> io.RawIOBase:
    """A file or an object, unbuffered."""
    return _Ranges(text(value)) if is_address(value) else io.FileIO(value)


def opened(value: str | Path, buffer: int = 1 << 20) -> IO[bytes]:
    """The bytes of a file or, read in place and ``buffer`` bytes at a time, of an address."""
    return io.BufferedReader(_Ranges(text(value)), buffer) if is_address(value) else open(value, "rb")


def head(value: str | Path) -> bytes:
    """The first bytes, enough to tell what kind of file it is."""
    with opened(value, 512) as file:
        return file.read(512)


def sha256(value: str | Path) -> str:
    """SHA-256 of the bytes of a file or of what lies at an address, as 64 hex digits."""
    with opened(value, _PIECE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def size(value: str | Path) -> int:
    """Bytes of a file or of what lies at an address."""
    return stores.info(text(value)).size if is_address(value) else os.path.getsize(value)


def exists(value: str | Path) -> bool:
    """Whether there is such a file, folder or object."""
    return stores.exists(text(value)) if is_address(value) else os.path.exists(value)


def matching(pattern: str) -> list[str]:
    """The paths or addresses that a name or a glob stands for, sorted; a name stands for itself."""
    if is_address(pattern):
        path = pattern.partition("?")[0] if pattern.startswith("http") else pattern
        return stores.matching(pattern) if glob.has_magic(path) else [pattern]
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        return [pattern]
    return sorted(glob.glob(pattern, recursive=True))


def folder(value: str | Path) -> Path:
    """A folder to write ``value`` in: itself, or the scratch folder of an address (``of`` knows it again)."""
    return place(text(value), "written") if is_address(value) else Path(value)


def put(below: Path, address: str, last: Collection[str] = (), without: Path | None = None) -> None:
    """Copy the files below a folder there, but for hidden ones, those named in ``last`` at the end."""
    found = [path for path in below.rglob("*") if path.is_file() and not path.name.startswith(".")]
    found = [path for path in found if without not in path.parents]
    for path in sorted(found, key=lambda path: (path.name in last, path)):
        stores.put(path, f"{address.rstrip('/')}/{path.relative_to(below).as_posix()}")


@contextmanager
def arguments(
    values: Mapping[str, Any], written: Collection[str], kept: Collection[str], new: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """The values of a command line with a local path for every address among them.

    Those of options in ``kept`` stay addresses, which the tool knows; those in ``written`` are scratch
    paths, put to their addresses when the block succeeds, refused first where ``new`` ones hold
    something. All others are fetched.
    """
    puts: list[tuple[Path, str]] = []
    with ExitStack() as stack:

        @functools.cache
        def home() -> str:  # made for addresses alone: there may be no room for it
            return stack.enter_context(tempfile.TemporaryDirectory(prefix="wsl_det."))

        def scratch(value: str | Path) -> Path:
            address = text(value).rstrip("/")
            path = Path(home()) / place(address, f"written.{os.getpid()}").relative_to(cache())
            path.parent.mkdir(parents=True, exist_ok=True)
            puts.append((path, address))
            return path

        found = dict(values)
        for name, value in values.items():
            if name in new and is_address(value) and exists(value):
                raise DataError(f"{public(text(value))} already holds something; choose another --{name}")
            if name not in kept:
                found[name] = _each(value, scratch if name in written else with_companion)
        yield found
        for path, address in puts:
            if path.is_dir():
                put(path, address)
            for beside in path.parent.glob(f"{glob.escape(path.stem)}*") if not path.is_dir() else ():
                if beside.is_file():
                    stores.put(beside, f"{address.rpartition('/')[0]}/{beside.name}")


def _each(value: Any, change: Callable[[str | Path], Path]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_each(part, change) for part in value)
    if not is_address(value):
        return value
    return change(value) if isinstance(value, Path) else str(change(value))
