"""The bytes of files of posts: decompressed, and refused in one message when they are no text."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from wsl_det.core import addresses, foreign
from wsl_det.errors import DataError

_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_ZSTANDARD = ".zst"
LONGEST_LINE = 64 << 20
_BUFFER = 8 << 20  # bytes of an address that are asked for at once
_LARGEST_WINDOW = 1 << 31  # zstd --long=31, the format's largest
_JSON_LINES = "expected one object per line"
# How other files begin, and what to do about them.
_FOREIGN = (
    (rb"\xff\xfe|\xfe\xff|(?:\0[ -~]){2}|(?:[ -~]\0){2}", "is UTF-16; convert it to UTF-8"),
    (rb"\x1f\x8b", "is gzip; let its name end in .gz"),
    (rb"BZh\d1AY", "is bzip2; let its name end in .bz2"),
    (rb"\xfd7zXZ", "is xz; let its name end in .xz"),
    (rb"\x28\xb5\x2f\xfd", "is zstandard; let its name end in .zst"),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!", "is an archive; unpack it, or export a sheet as csv"),
    (rb"(?s).{257}ustar", "is a tar; unpack it"),
    (rb"PAR1", "is parquet; let its name end in .parquet"),
)
_NO_LINES = (
    (rb"\s*\[\s*\{", f"is one JSON array; {_JSON_LINES}: jq -c '.[]' FILE > posts.jsonl"),
    (rb"\s*\{\s*\r?\n", f"is JSON over many lines; {_JSON_LINES}: jq -c . FILE > posts.jsonl"),
)


def suffixes(path: str) -> tuple[str, str]:
    """The endings of a file's name that say format and compression, in lower case; "" where there is none."""
    name = Path(path.partition("?")[0] if addresses.is_address(path) else path)
    suffix = name.suffix.lower()
    if suffix == _ZSTANDARD or suffix in _COMPRESSED:
        return name.with_suffix("").suffix.lower(), suffix
    return suffix, ""


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file; a broken or truncated stream is a DataError."""
    compression = suffixes(path)[1]
    unpacked: Callable[..., Any] = _COMPRESSED.get(compression, lambda file, mode: nullcontext(file))
    try:
        with ExitStack() as stack:
            packed = stack.enter_context(addresses.opened(path, _BUFFER))
            zstandard = compression == _ZSTANDARD
            yield stack.enter_context(_zstandard(path, packed) if zstandard else unpacked(packed, "rb"))
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno is not None:  # a fault of the disk; bz2 raises its own without a number
            raise DataError(f"posts file {path} cannot be read: {error.strerror}") from None
        raise _damaged(path, error) from None


def must_be_text(path: str, head: bytes, lines: bool = False) -> None:
    """Raise DataError when a file begins as another kind of file does; ``lines``: or as no JSON lines do."""
    for start, remedy in _FOREIGN + (_NO_LINES if lines else ()):
        if re.match(start, head):
            raise DataError(f"posts file {path} {remedy}")
    if found := foreign.instead(head, foreign.JSON):
        raise DataError(f"posts file {path} is {found[0]}: {found[1]}")


def too_long(path: str) -> DataError:
    """What is raised for a line of over ``LONGEST_LINE``."""
    told = "is it JSON lines, or a table of a post a row?"
    return DataError(f"posts file {path} has a line of over {LONGEST_LINE >> 20} MB; {told}")


def optional(module: str, purpose: str) -> Any:
    """A module of a package that need not be installed; DataError says how to install it."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise DataError(f"{package} is needed {purpose}: pip install {package}") from None


@contextmanager
def _zstandard(path: str, packed: IO[bytes]) -> Iterator[IO[bytes]]:
    module = optional("zstandard", f"to read {path}")
    try:
        with io.BufferedReader(_Frames(packed, module), 1 << 20) as file:
            yield file
    except module.ZstdError as error:
        raise _damaged(path, error) from None


class _Frames(io.RawIOBase):
    # zstandard's own reader ends a truncated file without a word; this one raises EOFError.
    def __init__(self, packed: IO[bytes], module: Any) -> None:
        self._packed = packed
        self._unpacker = module.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
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
            self._frame = self._frame or self._unpacker.decompressobj()
            self._ready, self._ahead = self._frame.decompress(packed), b""
            if self._frame.eof:
                self._ahead, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _damaged(path: str, error: Exception) -> DataError:
    if "ictionary" in str(error):
        return DataError(f"posts file {path} was packed with a dictionary of its own; pack it without one")
    if "llocat" in str(error) or "memory" in str(error):
        return DataError(f"posts file {path} needs more memory to unpack than there is ({error})")
    advice = foreign.remedy(addresses.head(path), "copy or export it again", *foreign.PACKED)
    return DataError(f"posts file {path} is damaged or truncated ({error}); {advice}")
