"""One address into one partial file, resumed and retried until it is whole; https only, mirrors included."""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from wsl_det import __version__
from wsl_det.core import files, log
from wsl_det.errors import DataError, DownloadError

CHUNK = 1 << 20
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 600.0
_BROKEN = (OSError, http.client.HTTPException)  # timeouts, resets, refused and cut connections, bad chunking


@dataclass(frozen=True)
class Patience:
    """How long to bear a bad network.

    ``attempts`` in a row without a new byte end the download; waits double from ``first_wait`` seconds;
    a server that sends nothing for ``timeout`` seconds counts as a failed attempt.
    """

    attempts: int = 6
    first_wait: float = 1.0
    timeout: float = 30.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class _Interrupted(Exception):
    """The transfer stopped early; what has arrived is kept and continued, after ``wait`` seconds at least."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def download(url: str, part: Path, *, size: int | None = None, patience: Patience | None = None) -> None:
    """Fetch ``url`` into ``part``, continuing what is there from an earlier attempt or process.

    ``size`` in bytes is checked as soon as the server says its own. A partial file is only continued
    while the server's validator (ETag or date) is the same; a server without ranges is asked for the
    whole. Never falls from https to http. Raises DownloadError; the partial file stays for the next
    attempt unless it can be of no use.
    """
    _check_scheme(url)
    patience = patience or Patience()
    failures, best = 0, _length(part)
    while True:
        try:
            _transfer(url, part, size, patience.timeout)
            return
        except _Interrupted as reason:
            arrived = _length(part)
            failures = 1 if arrived > best else failures + 1
            best = max(best, arrived)
            if failures >= patience.attempts:
                kept = f"{arrived} bytes are kept, run the same command again to continue"
                nothing = "nothing arrived: look at the network, or set WSL_DET_MIRROR to a mirror"
                raise DownloadError(
                    f"{url}: gave up after {failures} attempts without progress ({reason}); "
                    f"{kept if arrived else nothing}"
                ) from None
            wait = max(patience.first_wait * 2 ** (failures - 1), reason.wait)
            log.get("zoo").warning("%s: %s; next attempt in %g s", url, reason, wait)
            patience.sleep(wait)


def _transfer(url: str, part: Path, size: int | None, timeout: float) -> None:
    """One request; returns when ``part`` is whole, raises _Interrupted when it may become so."""
    have = _length(part)
    known = _read_notes(part) if have else {}
    if have and known.get("url") != url:
        have = 0  # of another address, or of unknown origin
    headers = {"User-Agent": f"wsl_det/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    try:
        with open_url(url, headers, timeout) as response:
            start, total = _position(response, have)
            if size is not None and total is not None and total != size:
                discard(part)
                raise DownloadError(f"{url} has {total} bytes, the catalogue says {size}; nothing was kept")
            _write_notes(part, url, response)
            _copy(response, part, start, total)
    except urllib.error.HTTPError as error:
        _judge(error, url, part, size)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{url}: the server's certificate is not trusted ({error.reason}); behind a "
                "company's proxy, name its certificates in SSL_CERT_FILE"
            ) from None
        raise _Interrupted(str(error.reason)) from None
    except _BROKEN as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from None


def _position(response: Any, have: int) -> tuple[int, int | None]:
    """Where the response starts in the file, and the file's whole length if the server tells it."""
    length = response.headers.get("Content-Length")
    if response.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length and length.isdigit() else None
    span = response.headers.get("Content-Range", "")
    told = re.fullmatch(r"bytes (\d+)-[^/]*(?:/(\d+))?.*", span, re.ASCII)
    if told is None or told[1] != str(have):
        raise _Interrupted(f"the server answered with the range {span!r}, asked for {have}-")
    return have, int(told[2]) if told[2] else None


def _copy(response: Any, part: Path, start: int, total: int | None) -> None:
    left = None if total is None else -(-(total - start) // CHUNK)
    name = part.name.removesuffix(".part").lstrip(".")
    if start:
        log.get("zoo").info("%s: going on after %.1f of %.1f MiB", name, start / CHUNK, (total or 0) / CHUNK)
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise DownloadError(
            f"{part.parent} has {free / CHUNK:.0f} MiB left, {(total - start) / CHUNK:.0f} MiB are needed; "
            "make room or choose another --dest"
        )
    with _open_part(part, start) as file:
        for _ in log.progress(_write_pieces(response, file), left, f"{name} (MiB)"):
            pass
        arrived = file.tell()
    if total is not None and arrived < total:
        raise _Interrupted(f"the connection ended at {arrived} of {total} bytes")
    if total is not None and arrived > total:
        part.unlink()
        raise DownloadError(f"{arrived} bytes arrived where the server promised {total}; nothing was kept")


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{part.parent} cannot be written ({error.strerror}); what has arrived is kept: make room or "
            "mend its rights and run the same command again"
        ) from None


def _open_part(part: Path, start: int) -> FileIO:
    with _writing(part):
        # Unbuffered: what has arrived is in the file, and closing a full disk's file raises nothing more.
        file = open(part, "r+b" if start else "wb", buffering=0)  # noqa: SIM115 - the caller closes it
        if start:
            file.truncate(start)
            file.seek(start)
    return file


def _write_pieces(response: Any, file: FileIO) -> Iterator[None]:
    """Write what arrives as it arrives, so that nothing is lost when it stops; one item for each CHUNK."""
    pending = 0
    while piece := response.read1(CHUNK):
        with _writing(Path(str(file.name))):
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
        pending += len(piece)
        while pending >= CHUNK:
            pending -= CHUNK
            yield
    if pending:
        yield


def _judge(error: urllib.error.HTTPError, url: str, part: Path, size: int | None) -> None:
    """What an HTTP error means: wait and retry, start over, be content, or give up at once."""
    error.close()
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        if size is not None and _length(part) == size:
            return  # a process was killed between the last byte and the check
        whole = error.headers.get("Content-Range", "").rpartition("/")[2]
        if size is None and whole == str(_length(part)):
            return
        part.unlink(missing_ok=True)
        raise _Interrupted("the partial file does not fit what the server has; starting over") from None
    if error.code in _RETRIED:
        wait = _asked_to_wait(error.headers.get("Retry-After", ""))
        if wait > _LONGEST_WAIT:
            raise DownloadError(
                f"{url}: HTTP {error.code} {error.reason}; the server asks to wait {wait / 60:.0f} minutes: "
                "run the same command again then, or set WSL_DET_MIRROR to a mirror"
            ) from None
        raise _Interrupted(f"HTTP {error.code} {error.reason}", wait) from None
    raise DownloadError(
        f"{url}: HTTP {error.code} {error.reason}; the file is not there any more or not for you: set "
        "WSL_DET_MIRROR to a mirror, or fetch the file by other means and run --verify on it"
    ) from None


def _asked_to_wait(text: str) -> float:
    """Seconds in a Retry-After header, which holds a number of them or a date; 0 for anything else."""
    if text.strip().isascii() and text.strip().isdigit():
        return float(text[:10])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _notes_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_notes(part: Path) -> dict[str, Any]:
    try:
        value = files.read_json(_notes_path(part), "download notes")
    except DataError:
        return {}
    return value if isinstance(value, dict) else {}


def _write_notes(part: Path, url: str, response: Any) -> None:
    etag = response.headers.get("ETag", "")
    # A weak ETag promises no equal bytes, so it may not stand in If-Range.
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    files.write_json(_notes_path(part), {"url": url, "validator": validator})


def discard(part: Path) -> None:
    """Remove a partial file and its notes."""
    part.unlink(missing_ok=True)
    _notes_path(part).unlink(missing_ok=True)


class NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else."""

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https://"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not https; refused")
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(url: str, headers: Mapping[str, str], timeout: float) -> Any:
    opener = urllib.request.build_opener(NoDowngrade)
    return opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=timeout)


def mirrored(url: str, mirror: str) -> str:
    """The address of ``url`` on a mirror that keeps hosts as folders (``wget --mirror``'s layout)."""
    parts = urllib.parse.urlsplit(url)
    return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}"


def _check_scheme(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(parts.hostname)):
        return
    raise DownloadError(f"{url} is not https; only https (and http on this machine) is fetched")


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
