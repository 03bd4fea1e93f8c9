"""One family of errors whose text is a small letter to the user: found, expected, what to do."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

# Control characters but for tab and newline, marks that turn the order of text, and bytes that are no UTF-8:
# none of them may reach a terminal, a log or an id out of somebody else's file name.
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# User and token in an address, and what follows its "?", where signatures stand.
_SECRET = re.compile(r"(://)[^/\s?'\"]*@"), re.compile(r"(://[^\s?'\"]+)\?[^\s'\")]*")
# Where copies of what lies at addresses are kept (core.addresses): for people they bear the address.
MIRROR = "by_address"
_COPY = re.compile(rf"[^\s'\"=]*/{MIRROR}/(?:read|written[.\d]*)/([a-z][a-z0-9+.-]*)(?:~[0-9a-f]{{12}})?/")

# Foreign names and values may be a megabyte long; what they are and the remedy at the end must be seen.
_LONG = re.compile(r"[^\n]{2001,}")


class WslError(Exception):
    """A problem the user can mend; tools print its text on stderr and exit with code 2."""


class ConfigError(WslError):
    """A configuration key, value or command-line argument that cannot be honoured."""


class DataError(WslError):
    """Posts, images, annotations or predictions that break the rules of their format."""


class CheckpointError(WslError):
    """Weights or a run folder that do not fit what is asked of them."""


class EngineError(WslError):
    """A detection engine that is absent, broken, or unable to do what the config asks."""


class DownloadError(WslError):
    """A file that could not be fetched whole and verified."""


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Exit code of ``main``: a ``WslError`` becomes its message on stderr and code 2.

    A file that cannot be opened or written is the user's to mend too. Anything else is our
    bug and keeps its traceback.
    """
    try:
        with contextlib.redirect_stdout(_Printed(sys.stdout)):
            return main(argv)
    except WslError as error:
        print(printable(f"error: {_LONG.sub(_cut, public(str(error)))}"), file=sys.stderr)
    except BrokenPipeError:
        # The reader (head, less) left; writing more would only raise again at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        told = f"error: {error.strerror or error}{where}; check the path and its rights"
        print(printable(public(told)), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        return 130
    return 2


def printable(text: str) -> str:
    """``text`` with raw control characters and bytes that are no UTF-8 written as \\x1b or \\udce9."""
    return _RAW.sub(lambda found: ascii(found[0])[1:-1], text)


def public(text: str) -> str:
    """``text`` with addresses as anybody may see them: without users and tokens, local copies by theirs."""
    if "/" not in text:
        return text
    text = _COPY.sub(r"\1://", text)
    for secret in _SECRET:
        text = secret.sub(r"\1", text)
    return text


def _cut(line: re.Match[str]) -> str:
    return f"{line[0][:1500]} ... {line[0][-400:]}"


def first_line(error: BaseException) -> str:
    """What an error says first, or its kind; without torch's advice to execute what a file holds."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[0] if lines and "weights_only" not in lines[0] else type(error).__name__


def as_lines(items: Sequence[object], most: int = 20) -> str:
    """``items`` for a message, a line each below what was said; of many the first, and how many follow."""
    rest = [f"... and {len(items) - most} more"] if len(items) > most else []
    return "".join(f"\n  {item}" for item in [*items[:most], *rest])


def as_words(items: Sequence[object], most: int) -> str:
    """``items`` in a row for a message, dots standing for those after the first ``most``."""
    return ", ".join(map(str, items[:most])) + (", ..." if len(items) > most else "")


class _Printed:
    """Standard output of a tool: what names of foreign files hold is printed, never obeyed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable(public(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
